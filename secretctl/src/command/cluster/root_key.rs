//! `cluster rotate root-key`: a new root key, and everything wrapped anew under it.
//!
//! The rotation goes on by itself once it was asked for; waiting for it only watches. Not here: what
//! the managers do for it.

use std::collections::BTreeSet;
use std::time::Duration;

use proto::pb;

use super::super::{Session, counted};
use super::keys::{fetch, named, show};
use crate::cli::RotateArgs;
use crate::connection::{Connection, ask, request_key};
use crate::error::Error;
use crate::view::{ClusterKeys, RootRotation};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) async fn rotate(session: &Session, args: &RotateArgs) -> Result<(), Error> {
    let connection = session.connect().await?;
    let request = pb::RotateRootKeyRequest { request_key: request_key() };
    let number = ask!(connection, control.rotate_root_key(request))?.number;
    session.printer.progress(&format!("root key rotation {number} has begun"));
    if args.no_wait {
        let keys = fetch(&connection, false).await?;
        session.printer.hint("`secretctl cluster keys` shows how far it is");
        return show(session, &keys);
    }
    let keys = tokio::select! {
        keys = until_complete(session, &connection, number) => keys?,
        _ = tokio::signal::ctrl_c() => return Err(Error::Interrupted(Some(
            "the rotation goes on without being watched: `secretctl cluster keys`".into(),
        ))),
    };
    if session.printer.json {
        return session.printer.json(&keys);
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

/// Watches until the rotation is complete; what changes is told once.
async fn until_complete(
    session: &Session,
    connection: &Connection,
    number: u64,
) -> Result<ClusterKeys, Error> {
    let mut told = BTreeSet::new();
    loop {
        let keys = fetch(connection, false).await?;
        let rotation = keys.root_key_rotation.as_ref();
        // A later one is only begun when this one is complete.
        if rotation.is_some_and(|one| one.number > number || one.complete) {
            return Ok(keys);
        }
        for text in rotation.into_iter().flat_map(|rotation| news(&keys, rotation)) {
            if told.insert(text.clone()) {
                session.printer.progress(&text);
            }
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
