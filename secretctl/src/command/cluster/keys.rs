//! `cluster keys` and `cluster rotate`: which keys there are, and replacing them.
//!
//! A rotation goes on by itself once it was asked for; waiting for it only watches. Changes of the
//! locking ask for one, too, and watch it in the same way (`locking`). Not here: what a manager does
//! for it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use proto::pb;

use super::super::{Session, counted};
use super::ca;
use super::certificates;
use super::root_key;
use crate::cli::{RotateArgs, RotateCommand};
use crate::connection::{Connection, ask, request_key};
use crate::error::Error;
use crate::table::{Card, Table};
use crate::view::{Check, ClusterKeys, Held, MemberKeys, Renewing, RootRotation};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(500);

/// Characters of a key's id in a table; `--json` has all of it.
const ID_SHOWN: usize = 16;

pub(super) async fn rotate(session: &Session, command: RotateCommand) -> Result<(), Error> {
    match command {
        RotateCommand::LogKey(args) => rotate_log_key(session, &args).await,
        RotateCommand::RootKey(args) => root_key::rotate(session, &args).await,
        RotateCommand::Ca(args) => ca::rotate(session, &args).await,
        RotateCommand::Certificates(args) => certificates::rotate(session, &args).await,
    }
}

async fn rotate_log_key(session: &Session, args: &RotateArgs) -> Result<(), Error> {
    let connection = session.connect().await?;
    let request = pb::RotateLogKeysRequest { request_key: request_key() };
    let number = ask!(connection, control.rotate_log_keys(request))?.epoch;
    session.printer.progress(&format!("log key rotation {number} has begun on every manager"));
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
    session.printer.data(&format!("log key rotation {number} is complete on {done}"))?;
    session.printer.progress(
        "it heals a log key that leaked: what the disks hold, and will hold, is under new ones",
    );
    session.printer.progress(
        "it does not heal: an old key opens copies of a disk from before, and what a disk still \
         has of them in freed places; root keys and values are the same as before",
    );
    Ok(())
}

pub(super) async fn fetch(connection: &Connection, verify: bool) -> Result<ClusterKeys, Error> {
    let request = pb::GetClusterKeysRequest { verify };
    Ok(ask!(connection, control.get_cluster_keys(request))?.into())
}

pub(super) fn named(member: &MemberKeys) -> String {
    format!("manager {} ({})", member.member, member.hostname)
}

/// Watches a log key rotation: what changes is told once.
pub(crate) struct Watch<'a> {
    session: &'a Session,
    connection: &'a Connection,
    told: BTreeSet<(u64, String)>,
}

impl<'a> Watch<'a> {
    pub(crate) const fn new(session: &'a Session, connection: &'a Connection) -> Self {
        Self { session, connection, told: BTreeSet::new() }
    }

    /// How far the managers are with a rotation, or with the one before while that is in progress.
    pub(crate) async fn look(&mut self, number: u64) -> Result<ClusterKeys, Error> {
        let keys = fetch(self.connection, false).await?;
        let number = number.min(keys.log_key_rotation.number);
        for member in &keys.members {
            let text = match &member.waits_for {
                _ if member.rotation >= number => format!("{}: done", named(member)),
                Some(waits_for) => format!("{}: {waits_for}", named(member)),
                None => continue,
            };
            if self.told.insert((number, text.clone())) {
                self.session.printer.progress(&text);
            }
        }
        Ok(keys)
    }
}

/// Watches until every manager has finished.
async fn until_complete(
    session: &Session,
    connection: &Connection,
    number: u64,
) -> Result<ClusterKeys, Error> {
    let mut watch = Watch::new(session, connection);
    loop {
        let keys = watch.look(number).await?;
        if keys.members.iter().all(|member| member.rotation >= number) {
            return Ok(keys);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

pub(super) async fn keys(session: &Session, verify: bool) -> Result<(), Error> {
    let connection = session.connect().await?;
    let keys = fetch(&connection, verify).await?;
    if !verify {
        return show(session, &keys);
    }
    session.printer.progress("every manager reads all that is on its disk");
    let keys = tokio::select! {
        keys = until_checked(&connection, keys) => keys?,
        _ = tokio::signal::ctrl_c() => return Err(Error::Interrupted(Some(
            "the managers finish reading; nothing is changed by it".into(),
        ))),
    };
    if session.printer.json {
        session.printer.json(&keys)?;
    } else {
        session.printer.data(&checks(&keys).render())?;
    }
    if keys.members.iter().all(is_sound) { Ok(()) } else { Err(Error::Reported(1)) }
}

async fn until_checked(
    connection: &Connection,
    mut keys: ClusterKeys,
) -> Result<ClusterKeys, Error> {
    let running = |member: &MemberKeys| member.check.as_ref().is_some_and(|check| check.running);
    while keys.members.iter().any(running) {
        tokio::time::sleep(PAUSE).await;
        keys = fetch(connection, false).await?;
    }
    Ok(keys)
}

fn is_sound(member: &MemberKeys) -> bool {
    let sound =
        |check: &Check| !check.running && check.damaged.is_none() && check.diverged.is_none();
    member.check.as_ref().is_some_and(sound)
}

fn short(id: &str) -> String {
    id.chars().take(ID_SHOWN).collect()
}

pub(super) fn show(session: &Session, keys: &ClusterKeys) -> Result<(), Error> {
    if session.printer.json {
        return session.printer.json(keys);
    }
    session.printer.data(&receipt(keys))
}

/// The receipt: what waits for whom first, then what each manager holds.
fn receipt(keys: &ClusterKeys) -> String {
    let mut text = String::new();
    for member in &keys.members {
        if let Some(waits_for) = &member.waits_for {
            writeln!(text, "waiting for {}: {waits_for}", named(member)).ok();
        }
        // That it rotates its log key is said once.
        let is_said = member.waits_for.is_some()
            && keys.root_key_rotation.as_ref().is_some_and(|one| one.phase == "log-keys");
        if let Some(waits_for) = member.root_key_waits_for.as_ref().filter(|_| !is_said) {
            writeln!(text, "waiting for {}: {waits_for}", named(member)).ok();
        }
    }
    for who in keys.ca_rotation.iter().flat_map(|one| one.waits_for.named()) {
        writeln!(text, "waiting for {who}: a certificate of the next CA, in use").ok();
    }
    for who in keys.certificate_rotation.iter().flat_map(|one| one.waits_for.named()) {
        writeln!(text, "waiting for {who}: a certificate for another key, in use").ok();
    }
    for member in &keys.removed_without_proof {
        let place = format!("manager {} ({}, {})", member.member, member.hostname, member.address);
        writeln!(text, "removed without proof: {place}: treat its disk as stolen").ok();
    }
    if !text.is_empty() {
        text.push('\n');
    }
    let mut table = Table::new(&[
        "MEMBER",
        "HOSTNAME",
        "ROTATION",
        "LOG KEYS",
        "OLDEST ON DISK",
        "ROOT KEYS",
        "ANSWERS",
    ]);
    for member in &keys.members {
        let of = |what: fn(&Held) -> String| member.held.as_ref().map(what).unwrap_or_default();
        table.row(vec![
            member.member.to_string(),
            member.hostname.clone(),
            member.rotation.to_string(),
            of(|held| marked(&held.log_keys, &held.active_log_key)),
            of(|held| short(&held.oldest_on_disk)),
            of(|held| marked(&held.root_keys, &held.active_root_key)),
            if member.reachable { "yes" } else { "no" }.to_owned(),
        ]);
    }
    text.push_str(&table.render());
    text.push('\n');
    let mut card = Card::new("cluster");
    let rotation = &keys.log_key_rotation;
    let mut standing = match (rotation.number, rotation.complete) {
        (0, _) => "none was asked for".to_owned(),
        (number, true) => format!("{number}, complete"),
        (number, false) => format!("{number}, in progress"),
    };
    if let Some(next) = rotation.next {
        write!(standing, "; {next} follows by itself").ok();
    }
    card.line("log key rotation", standing);
    if keys.shredding > 0 {
        card.line("shredding", format!("{}, see `ls --removed`", removed(keys.shredding)));
    }
    let rotation = keys.root_key_rotation.as_ref();
    card.line("root key rotation", root_rotation(rotation));
    card.line("CA rotation", renewing(keys.ca_rotation.as_ref()));
    card.line("certificates", renewing(keys.certificate_rotation.as_ref()));
    card.line("root key", keys.root_key.clone());
    card.line("transit key", keys.transit_key.clone());
    text.push_str(&card.render());
    text
}

fn removed(count: u64) -> String {
    counted(usize::try_from(count).unwrap_or(usize::MAX), "removed secret")
}

/// How far the root key's rotation is.
pub(super) fn root_rotation(rotation: Option<&RootRotation>) -> String {
    match rotation {
        None => "none was asked for".to_owned(),
        Some(one) if one.complete => format!("{}, complete", one.number),
        Some(one) => format!("{}, in progress: {}", one.number, one.standing()),
    }
}

/// How far the CA's rotation, or that of certificates, is.
pub(super) fn renewing(rotation: Option<&impl Renewing>) -> String {
    match rotation {
        None => "none was asked for".to_owned(),
        Some(one) if one.is_complete() => format!("{}, complete", one.number()),
        Some(one) => format!("{}, in progress: {}", one.number(), one.standing()),
    }
}

/// Ids, the active one marked.
fn marked(ids: &[String], active: &str) -> String {
    let mark = |id: &String| if id == active { format!("{} *", short(id)) } else { short(id) };
    ids.iter().map(mark).collect::<Vec<_>>().join(", ")
}

fn checks(keys: &ClusterKeys) -> Table {
    let mut table =
        Table::new(&["MEMBER", "HOSTNAME", "RECORDS", "SNAPSHOT BYTES", "CHAIN", "RESULT"]);
    for member in &keys.members {
        let Some(check) = &member.check else {
            table.row(vec![
                member.member.to_string(),
                member.hostname.clone(),
                String::new(),
                String::new(),
                String::new(),
                "not checked: it does not answer".into(),
            ]);
            continue;
        };
        let chain = match (&check.diverged, check.compared_at) {
            (Some(diverged), _) => diverged.clone(),
            (None, Some(at)) => format!("the leader's at {at}"),
            (None, None) => "nothing to compare with".into(),
        };
        table.row(vec![
            member.member.to_string(),
            member.hostname.clone(),
            check.records.to_string(),
            check.snapshot_bytes.to_string(),
            chain,
            check.damaged.clone().unwrap_or_else(|| "all of it opens".into()),
        ]);
    }
    table
}
