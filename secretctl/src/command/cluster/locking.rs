//! `cluster update`, `unlock` and `unlock-key`: keys that only operators hold.
//!
//! An unlock key is made here, shown once and kept nowhere; the cluster gets its public half. It is
//! shown before that is sent: a key that nobody could read must never lock anything. Each change
//! takes a slot away, so the managers rotate their log keys with it; that is watched here, too. Not
//! here: how a key is spelled (`seal`).
//!
//! Invariant: a key leaves this program on standard output, or over the unix socket of this
//! machine, and in no other way.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use proto::Kind;
use proto::pb;
use seal::{Share, UnlockKey};
use serde::Serialize;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::super::{Session, counted, listed};
use super::typed::{self, Brought};
use super::{compromised, keys, peers, read_back};
use crate::cli::{ClusterUpdateArgs, SwitchArg, UnlockKeyArgs};
use crate::connection::{Connection, ask, request_key};
use crate::error::Error;
use crate::view;

/// Between two looks at how far the managers are.
pub(super) const PAUSE: Duration = Duration::from_millis(200);

/// What to do with a key that was shown when it is not known whether it is in use.
const KEEP: &str = "keep the key that was shown: it may be in use; `secretctl cluster status` shows \
                    the id of the one that is";

pub(super) fn public_half(key: &UnlockKey) -> Bytes {
    key.slot().public().as_bytes().clone()
}

/// Prints a key in clear.
pub(super) fn show_text(session: &Session, key: &UnlockKey) -> Result<(), Error> {
    let text = key.expose();
    if !session.printer.json {
        return session.printer.secret(&text);
    }
    let view = view::NewUnlockKey { unlock_key: &text, unlock_key_id: key.id().to_string() };
    let line = serde_json::to_string(&view).map(Zeroizing::new);
    session.printer.secret(&line.map_err(|error| Error::Output(io::Error::other(error)))?)
}

/// Shows a key that was just made: this once, unless the cluster is to keep it.
pub(super) fn show(session: &Session, key: &UnlockKey, is_kept: bool) -> Result<(), Error> {
    show_text(session, key)?;
    let kept = if is_kept {
        "; the cluster keeps it as well, once all is done"
    } else {
        "; it is not shown again, and the cluster does not have it"
    };
    session.printer.progress(&format!("this is the unlock key {}{kept}", key.id()));
    session.printer.hint(
        "keep it where no manager can read it, in two places: every start of a manager needs it",
    );
    Ok(())
}

/// What came of a request, as JSON: of a stream, if a key was shown before.
pub(super) fn json_after(
    session: &Session,
    key: Option<&UnlockKey>,
    view: &impl Serialize,
) -> Result<(), Error> {
    let printer = session.printer;
    if key.is_some() { printer.json_line(view) } else { printer.json(view) }
}

/// What to say when a manager that was to lock itself with a new key failed, or did not answer: its
/// key file may be sealed to it whatever the answer was, unlike in [`change_locking`].
pub(super) fn may_be_in_use(error: Error, key: Option<&UnlockKey>) -> Error {
    match error {
        Error::Failed(failure) if key.is_some() => failure.hint(KEEP).into(),
        error => error,
    }
}

pub(super) async fn update(session: &Session, args: ClusterUpdateArgs) -> Result<(), Error> {
    if let Some(autolock) = args.autolock {
        update_autolock(session, autolock, args.wait).await?;
    }
    if let Some(read_back) = args.read_back {
        read_back::update(session, read_back, args.wait).await?;
    }
    match args.peers {
        Some(peers) => peers::update(session, peers).await,
        None => Ok(()),
    }
}

async fn update_autolock(
    session: &Session,
    autolock: SwitchArg,
    wait: Duration,
) -> Result<(), Error> {
    let change = match autolock {
        SwitchArg::On => pb::LockingChange::On,
        SwitchArg::Off => pb::LockingChange::Off,
    };
    let connection = session.connect().await?;
    let status = status(&connection).await?;
    if status.autolock == (autolock == SwitchArg::On) {
        let (state, hint) = match autolock {
            SwitchArg::On => {
                ("on", "to change the unlock key: `secretctl cluster unlock-key --rotate`")
            }
            SwitchArg::Off => ("off", "managers open their own key files at start"),
        };
        let failure = Error::failed(Kind::Precondition, format!("autolock is {state} already"));
        return Err(failure.hint(hint).into());
    }
    let (_, done) = change_locking(session, &connection, change, &status).await?;
    follow_change(session, &connection, change, done, wait).await.map(drop)
}

pub(super) async fn unlock_key(session: &Session, args: UnlockKeyArgs) -> Result<(), Error> {
    let connection = session.connect().await?;
    let status = status(&connection).await?;
    if !status.autolock {
        return Err(Error::failed(Kind::Precondition, "there is no unlock key: autolock is off")
            .hint("to make one: `secretctl cluster update --autolock on`")
            .into());
    }
    if !args.rotate && status.unlock_key_readable {
        return read_back::show(session, &connection).await;
    }
    if !args.rotate {
        let Some(id) = view::some_hex(&status.unlock_key_id) else {
            return Err(Error::failed(
                Kind::Precondition,
                "there is no unlock key: it was removed",
            )
            .because("other slots open the managers: `secretctl cluster unlock-slot ls`")
            .hint("to make one: `secretctl cluster unlock-key --rotate`")
            .into());
        };
        return Err(Error::failed(Kind::Precondition, "the unlock key cannot be shown")
            .because(format!(
                "the cluster has the public half of key {id} only; the key was shown once, when \
                 it was made"
            ))
            .hint("if it is lost: `secretctl cluster unlock-key --rotate`, while a manager serves")
            .hint("to have it kept for admins: `secretctl cluster update --read-back on`")
            .into());
    }
    let change = pb::LockingChange::Rotate;
    let (key, done) = change_locking(session, &connection, change, &status).await?;
    let replaced = go_on(session, &connection, done, &args).await;
    match key.filter(|_| status.unlock_key_readable) {
        Some(key) => read_back::keep_next(session, &connection, &key, replaced).await,
        None => replaced.map(drop),
    }
}

/// Follows a new unlock key and, if there is a copy of a disk, rotates the root key. Whether all of it
/// is done: no manager has a key that the unlock key before opens.
async fn go_on(
    session: &Session,
    connection: &Connection,
    done: pb::UpdateLockingResponse,
    args: &UnlockKeyArgs,
) -> Result<bool, Error> {
    let change = pb::LockingChange::Rotate;
    let followed = follow_change(session, connection, change, done, args.wait).await;
    if !args.compromised {
        return followed;
    }
    match followed {
        // The key is another one; who has not followed yet holds up nothing that is left to do.
        Err(Error::Failed(failure)) if failure.kind == Kind::Timeout => {
            session.printer.warning(&failure.message);
        }
        followed => drop(followed?),
    }
    let unfinished = "the root key may not be rotated: `secretctl cluster rotate root-key`";
    tokio::select! {
        done = compromised::go_on(session, connection, args.wait) => done,
        _ = tokio::signal::ctrl_c() => Err(Error::Interrupted(Some(unfinished.into()))),
    }
}

pub(super) async fn status(connection: &Connection) -> Result<pb::ClusterStatus, Error> {
    ask!(connection, control.get_cluster_status(pb::GetClusterStatusRequest {}))
}

/// Makes and shows the key, if the change needs one, and has it done.
async fn change_locking(
    session: &Session,
    connection: &Connection,
    change: pb::LockingChange,
    seen: &pb::ClusterStatus,
) -> Result<(Option<UnlockKey>, pb::UpdateLockingResponse), Error> {
    let behind = Followed::of(seen, seen.recipients_generation).waited_for();
    if !behind.is_empty() {
        let failure = "another change of the locking is under way";
        return Err(Error::failed(Kind::Precondition, failure)
            .because(format!("not sealed anew yet: {}", listed(&behind)))
            .hint("wait a moment; if it stays so, see that manager's log")
            .into());
    }
    let key = (change != pb::LockingChange::Off).then(UnlockKey::make);
    if let Some(key) = &key {
        show(session, key, seen.unlock_key_readable)?;
    }
    let request = pb::UpdateLockingRequest {
        request_key: request_key(),
        change: change.into(),
        unlock_public_key: key.as_ref().map(public_half).unwrap_or_default(),
        recipients_generation: seen.recipients_generation,
    };
    match ask!(connection, control.update_locking(request)) {
        Ok(done) => Ok((key, done)),
        Err(Error::Failed(failure)) if key.is_some() => {
            let forget = "nothing was changed: the key that was shown opens nothing, forget it";
            let hint = if failure.kind.is_retryable() { KEEP } else { forget };
            Err(failure.hint(hint).into())
        }
        Err(error) => Err(error),
    }
}

/// Waits until a change is done, and tells; whether every manager has followed.
async fn follow_change(
    session: &Session,
    connection: &Connection,
    change: pb::LockingChange,
    done: pb::UpdateLockingResponse,
    wait: Duration,
) -> Result<bool, Error> {
    let followed = watched(follow(session, connection, done, wait)).await?;
    if session.printer.json {
        session.printer.json_line(&followed)?;
    } else {
        tell(session, change, &followed);
    }
    Ok(followed.done)
}

/// Watches what goes on without being watched, until it is interrupted.
pub(super) async fn watched<T>(
    watching: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::select! {
        seen = watching => seen,
        _ = tokio::signal::ctrl_c() => Err(Error::Interrupted(Some(
            "the managers go on by themselves: `secretctl cluster status`, `secretctl cluster keys`"
                .into(),
        ))),
    }
}

/// Which members have followed a change.
pub(super) struct Followed {
    pub(super) done: Vec<view::Member>,
    pub(super) pending: Vec<view::Member>,
}

pub(super) fn name(member: &view::Member) -> String {
    format!("manager {} ({})", member.id, member.hostname)
}

impl Followed {
    pub(super) fn of(status: &pb::ClusterStatus, generation: u64) -> Self {
        let members = status.members.iter().cloned().map(view::Member::from);
        // Who is joining has no key file yet, and gets one for the present recipients.
        let members = members.filter(|member| member.state != "joining");
        let (done, pending) = members.partition(|one| one.key_file_generation >= generation);
        Self { done, pending }
    }

    /// Those that answer, and so will follow in a moment.
    pub(super) fn waited_for(&self) -> Vec<String> {
        self.pending.iter().filter(|member| member.reachable).map(name).collect()
    }
}

/// Waits until every manager that answers has sealed its key file anew and has a new log key.
async fn follow(
    session: &Session,
    connection: &Connection,
    change: pb::UpdateLockingResponse,
    wait: Duration,
) -> Result<view::Locking, Error> {
    let deadline = Instant::now() + wait;
    let generation = change.recipients_generation;
    let status = follow_sealing(session, connection, generation, deadline).await?;
    let rotation = follow_rotation(session, connection, change.log_key_epoch, deadline).await?;
    let followed = Followed::of(&status, generation);
    Ok(view::Locking {
        autolock: status.autolock,
        unlock_key_id: view::some_hex(&status.unlock_key_id),
        recipients_generation: generation,
        done: followed.pending.is_empty() && rotation.complete,
        followed: followed.done,
        pending: followed.pending,
        log_key_rotation: rotation,
    })
}

pub(super) async fn follow_sealing(
    session: &Session,
    connection: &Connection,
    generation: u64,
    deadline: Instant,
) -> Result<pb::ClusterStatus, Error> {
    let mut told = usize::MAX;
    loop {
        let status = status(connection).await?;
        let followed = Followed::of(&status, generation);
        let waited_for = followed.waited_for();
        if told != followed.done.len() {
            told = followed.done.len();
            let all = counted(told + followed.pending.len(), "manager");
            session.printer.progress(&format!("{told} of {all} sealed anew"));
        }
        // The manager that answers may not have applied the change itself yet.
        if waited_for.is_empty() && status.recipients_generation >= generation {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            return Err(Error::failed(Kind::Timeout, "not every manager has followed in time")
                .because(format!("not sealed anew: {}", listed(&waited_for)))
                .hint("the change is made, and they go on by themselves: see their logs")
                .hint("`secretctl cluster status` shows who is behind")
                .into());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until a log key rotation is complete, or waits for nobody but managers that are down: as
/// itself, or as the one before, after which it begins.
pub(super) async fn follow_rotation(
    session: &Session,
    connection: &Connection,
    number: u64,
    deadline: Instant,
) -> Result<view::FollowingRotation, Error> {
    session.printer.progress(&format!("log key rotation {number} comes with it"));
    let mut watch = keys::Watch::new(session, connection);
    loop {
        let keys = watch.look(number).await?;
        let begun = keys.log_key_rotation.number >= number;
        let aim = number.min(keys.log_key_rotation.number);
        let behind = keys.members.into_iter().filter(|member| member.rotation < aim);
        let behind: Vec<_> = behind.collect();
        // One that is merely slow to say how far it is counts as there: the leader hears from it.
        let members = status(connection).await?.members;
        let there = |id| members.iter().any(|member| member.id == id && member.reachable);
        let waited_for: Vec<_> = behind.iter().filter(|one| there(one.member)).collect();
        if waited_for.is_empty() && (begun || !behind.is_empty()) {
            return Ok(view::FollowingRotation {
                number,
                begun,
                complete: begun && behind.is_empty(),
                waits_for: behind.into_iter().map(view::WaitedFor::from).collect(),
            });
        }
        if Instant::now() >= deadline {
            let waited_for: Vec<_> = waited_for.into_iter().map(keys::named).collect();
            let failure = format!("log key rotation {number} is not complete in time");
            return Err(Error::failed(Kind::Timeout, failure)
                .because(format!("not done: {}", listed(&waited_for)))
                .hint("the locking is changed, and the rotation goes on by itself")
                .hint("`secretctl cluster keys` shows how far it is")
                .into());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

pub(super) fn tell_rotation(session: &Session, rotation: &view::FollowingRotation) {
    let printer = session.printer;
    let number = rotation.number;
    for member in &rotation.waits_for {
        let name = format!("manager {} ({})", member.member, member.hostname);
        let reason = member.reason.as_deref().unwrap_or("it is about to finish");
        let which = if rotation.begun { "" } else { "follows the one in progress, which " };
        printer.warning(&format!("log key rotation {number} {which}waits for {name}: {reason}"));
    }
    if rotation.complete {
        printer.progress(&format!("log key rotation {number} is complete"));
    } else {
        let whose = if rotation.begun { "that manager's disk" } else { "every manager's disk" };
        printer.warning(&format!(
            "until then, what opened a key file before reads {whose} with a copy of that file"
        ));
    }
}

fn tell(session: &Session, change: pb::LockingChange, followed: &view::Locking) {
    let printer = session.printer;
    for member in &followed.pending {
        let opens = match &member.unlock_key_id {
            Some(id) => format!("with the unlock key {id}"),
            None if member.key_file_generation == 0 => "as when it joined".to_owned(),
            None => "by itself, with its seed".to_owned(),
        };
        let name = name(member);
        printer.warning(&format!("{name} was down: until it starts once, it still opens {opens}"));
    }
    tell_rotation(session, &followed.log_key_rotation);
    if !followed.pending.is_empty() || !followed.log_key_rotation.complete {
        printer.hint("start them, or remove those that are gone: `secretctl cluster member rm`");
    }
    match change {
        pb::LockingChange::Off => {
            printer.progress("autolock is off: managers open their own key files at start");
        }
        _ if followed.done => printer.progress("done: no manager opens by anything else"),
        _ if followed.log_key_rotation.begun => {
            printer.progress("done on all managers that answer");
        }
        _ => printer.progress("sealed anew on all managers that answer; new log keys are to come"),
    }
    if followed.done {
        printer.progress(
            "it heals a key or seed that leaked, though with a copy of a key file: that opens \
             nothing that the disks hold from now on",
        );
        printer.progress(
            "it does not heal: such a copy opens copies of a disk from before; the root and TLS \
             keys in it are those in use",
        );
    }
    printer.hint("what this heals and what not: docs/operations/rotate-unlock-key.md");
}

/// A key that was given as an argument is known to others; it is not used.
pub(super) fn typed_as_argument() -> Error {
    let failure = Error::usage("an unlock key is never an argument")
        .because("other users of this machine can see it, and your shell remembers it");
    Error::Usage(
        failure
            .hint("run `secretctl cluster unlock` alone: it asks, or reads standard input")
            .hint("if that was the key: unlock, then `secretctl cluster unlock-key --rotate`"),
    )
}

pub(super) async fn unlock(session: &Session, wait: Duration) -> Result<(), Error> {
    let connection = Connection::own_machine(&session.global)?;
    let status = local_status(&connection).await?;
    let not_locked = |message: &str, hint: &str| {
        Err(Error::failed(Kind::Precondition, message).hint(hint).into())
    };
    match status.phase.as_str() {
        "locked" => {}
        "serving" => {
            let hint = "`secretctl cluster status` shows how it is";
            return not_locked("this manager is not locked", hint);
        }
        "empty" => {
            let hint = "there is nothing to unlock: `secretctl cluster init` makes one";
            return not_locked("this manager is part of no cluster", hint);
        }
        phase => {
            return not_locked(&format!("this manager is {phase}"), "look again in a moment");
        }
    }
    if !typed::has_operators_slot(&status) && !status.seed_path.is_empty() {
        let hint = format!("put it at {}: the manager looks again by itself", status.seed_path);
        return not_locked("this manager waits for its seed, not for an unlock key", &hint);
    }
    let unlocked = match typed::brought_to(&status)? {
        Brought::Seed(seed) => {
            let request = pb::UnlockRequest { seed: Bytes::copy_from_slice(&**seed) };
            drop(seed);
            ask!(connection, local.unlock(request))?
        }
        Brought::Shares(shares) => match enter_shares(session, &connection, shares).await? {
            Some(unlocked) => unlocked,
            None => return Ok(()),
        },
    };
    session.printer.progress("unlocked; the manager reads its log");
    let deadline = Instant::now() + wait;
    loop {
        let phase = local_status(&connection).await?.phase;
        if phase == "serving" {
            break;
        }
        if Instant::now() >= deadline {
            return Err(Error::failed(Kind::Timeout, "the manager does not serve yet")
                .because(format!("it is {phase}"))
                .hint("its key file is open: see its log, or look at `secretctl cluster status`")
                .into());
        }
        tokio::time::sleep(PAUSE).await;
    }
    if session.printer.json {
        return session.printer.json(&view::Unlocked {
            slot: unlocked.slot,
            key_id: proto::hex::encode(&unlocked.key_id),
            phase: "serving".into(),
        });
    }
    session.printer.progress("this manager serves again");
    Ok(())
}

/// Enters shares one after another; none if more are needed to open the manager.
async fn enter_shares(
    session: &Session,
    connection: &Connection,
    shares: Vec<Share>,
) -> Result<Option<pb::UnlockResponse>, Error> {
    let mut entered = pb::EnteredShares::default();
    for share in shares {
        let word = share.expose();
        let request = pb::EnterShareRequest { share: Bytes::copy_from_slice(word.as_bytes()) };
        drop(word);
        let taken = ask!(connection, local.enter_share(request))?;
        if taken.opened.is_some() {
            session.printer.progress(&format!("share {} is taken: it was enough", share.number()));
            return Ok(taken.opened);
        }
        entered = taken.entered.unwrap_or_default();
        let entered = view::EnteredShares::from(&entered);
        session.printer.progress(&format!("share {} is taken: {entered}", share.number()));
    }
    if session.printer.json {
        session.printer.json(&view::EnteredShares::from(&entered))?;
    }
    session.printer.hint("the next holder runs `secretctl cluster unlock` on this machine");
    Ok(None)
}

async fn local_status(connection: &Connection) -> Result<pb::LocalStatus, Error> {
    ask!(connection, local.get_local_status(pb::GetLocalStatusRequest {}))
}
