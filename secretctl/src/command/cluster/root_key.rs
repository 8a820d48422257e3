//! `cluster rotate root-key`: a new root key, and everything wrapped anew under it.
//!
//! The rotation goes on by itself once it was asked for; waiting for it only watches. Not here: what
//! the managers do for it.

use std::collections::BTreeSet;
use std::time::Duration;

use proto::{Kind, pb};
use tokio::time::Instant;

use super::super::{Session, counted, listed};
use super::keys::{fetch, named, show};
use super::locking::status;
use crate::cli::RotateArgs;
use crate::connection::{Connection, ask, request_key};
use crate::error::Error;
use crate::view::{ClusterKeys, MemberKeys, RootRotation};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) async fn rotate(session: &Session, args: &RotateArgs) -> Result<(), Error> {
    let connection = session.connect().await?;
    warn_if_the_unlock_key_is_kept(session, &connection).await?;
    let request = pb::RotateRootKeyRequest { request_key: request_key() };
    let number = ask!(connection, control.rotate_root_key(request))?.number;
    session.printer.progress(&format!("root key rotation {number} has begun"));
    if args.no_wait {
        let keys = fetch(&connection, false).await?;
        session.printer.hint("`secretctl cluster keys` shows how far it is");
        return show(session, &keys);
    }
    let end = tokio::select! {
        end = until_complete(session, &connection, number, None) => end?,
        _ = tokio::signal::ctrl_c() => return Err(Error::Interrupted(Some(
            "the rotation goes on without being watched: `secretctl cluster keys`".into(),
        ))),
    };
    let RotationEnd::Complete(keys) = end else { return Ok(()) };
    if session.printer.json {
        return session.printer.json(&*keys);
    }
    let done = counted(keys.members.len(), "manager");
    session.printer.data(&format!("root key rotation {number} is complete on {done}"))?;
    session.printer.progress(
        "it heals a root key that leaked, if who has it has no state of its time: what the disks \
         hold, and will hold, is wrapped under a new one",
    );
    session.printer.progress(
        "it does not heal: who had a root key and a copy of the state keeps the values of then, \
         since values keep their data keys; only new values help",
    );
    Ok(())
}

/// Who had a root key and the state of its time has the unlock key that was kept under it, and opens
/// every later key file with that.
async fn warn_if_the_unlock_key_is_kept(
    session: &Session,
    connection: &Connection,
) -> Result<(), Error> {
    if status(connection).await?.unlock_key_readable {
        let printer = session.printer;
        printer.warning(
            "the unlock key is kept under the root key: who had that and the state opens key files, \
             those with the next root key among them",
        );
        printer.hint(
            "if the root key may have leaked: `secretctl cluster update --read-back off`, \
             `cluster unlock-key --rotate`, `cluster rotate root-key` once more, and only then \
             `--read-back on`",
        );
    }
    Ok(())
}

/// Begins a rotation, after the one that is in progress.
///
/// # Errors
///
/// If that is not complete in time, among others.
pub(super) async fn begin_another(
    session: &Session,
    connection: &Connection,
    deadline: Instant,
) -> Result<u64, Error> {
    let rotation = fetch(connection, false).await?.root_key_rotation;
    if let Some(present) = rotation.filter(|rotation| !rotation.complete) {
        let number = present.number;
        session
            .printer
            .progress(&format!("root key rotation {number} is in progress: it goes first"));
        let end = until_complete(session, connection, number, Some(deadline)).await?;
        if let RotationEnd::WaitsFor(members) = end {
            let waited_for = waited_for(&members);
            return Err(Error::failed(Kind::Precondition, "the root key was not replaced")
                .because(format!(
                    "root key rotation {number} is in progress: it waits for {waited_for}"
                ))
                .hint("start them, or remove them: `secretctl cluster member rm --lost`")
                .hint("then: `secretctl cluster rotate root-key`")
                .into());
        }
    }
    let request = pb::RotateRootKeyRequest { request_key: request_key() };
    let number = ask!(connection, control.rotate_root_key(request))?.number;
    session.printer.progress(&format!("root key rotation {number} has begun"));
    Ok(number)
}

/// Whom a rotation waits for, for people.
pub(super) fn waited_for(members: &[MemberKeys]) -> String {
    if members.is_empty() {
        return "what is still wrapped anew".into();
    }
    listed(&members.iter().map(named).collect::<Vec<_>>())
}

/// How watching a rotation ends.
pub(super) enum RotationEnd {
    /// It is complete.
    Complete(Box<ClusterKeys>),
    /// It waits for these: they do not answer, or the time was over.
    WaitsFor(Vec<MemberKeys>),
}

/// Watches until the rotation is complete; what changes is told once. With a deadline, until then at
/// most, and no longer than it waits for somebody who answers.
pub(super) async fn until_complete(
    session: &Session,
    connection: &Connection,
    number: u64,
    deadline: Option<Instant>,
) -> Result<RotationEnd, Error> {
    let mut told = BTreeSet::new();
    loop {
        let keys = fetch(connection, false).await?;
        let rotation = keys.root_key_rotation.as_ref();
        // A later one is only begun when this one is complete.
        if rotation.is_some_and(|one| one.number > number || one.complete) {
            return Ok(RotationEnd::Complete(Box::new(keys)));
        }
        for text in rotation.into_iter().flat_map(|rotation| news(&keys, rotation)) {
            if told.insert(text.clone()) {
                session.printer.progress(&text);
            }
        }
        let awaited =
            |one: &MemberKeys| rotation.is_some_and(|r| r.waits_for.contains(&one.member));
        let wraps = rotation.is_some_and(|rotation| rotation.objects_left > 0);
        let (waits_for, _): (Vec<_>, Vec<_>) = keys.members.iter().partition(|one| awaited(one));
        let nobody_answers = !waits_for.is_empty() && waits_for.iter().all(|one| !one.reachable);
        let is_over = |deadline| Instant::now() >= deadline || nobody_answers && !wraps;
        if deadline.is_some_and(is_over) {
            let waits_for: Vec<_> = waits_for.iter().map(|one| one.member).collect();
            let members = keys.members.into_iter().filter(|one| waits_for.contains(&one.member));
            return Ok(RotationEnd::WaitsFor(members.collect()));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// How far it is, and who is waited for.
fn news(keys: &ClusterKeys, rotation: &RootRotation) -> Vec<String> {
    let mut all = vec![rotation.standing()];
    for member in &keys.members {
        if let Some(waits_for) = &member.root_key_waits_for {
            all.push(format!("{}: {waits_for}", named(member)));
        }
    }
    all
}
