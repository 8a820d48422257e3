//! `ls --removed` and the waiting of `rm --shred`: what was removed, and whether it is gone.
//!
//! Shredding goes on by itself; waiting for it only watches. Not here: removing (`secret`).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use proto::pb;

use super::cluster::Watch;
use super::cluster::backup::may_hold;
use super::secret::ids;
use super::{Session, counted, listed};
use crate::connection::{Connection, ask};
use crate::error::Error;
use crate::table::Table;
use crate::view::{RemovedSecret, StillNeeded};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(500);

/// Ids in one question: what many more are asked for is a list.
const IDS_MAX: usize = 1_000;

/// Everything that was removed, newest first, and how many more have no name.
async fn fetch(
    connection: &Connection,
    ids: &[String],
) -> Result<(Vec<pb::RemovedSecret>, Option<pb::RemovedWithoutName>), Error> {
    let asked = if ids.len() > IDS_MAX { &[] } else { ids };
    let mut all = Vec::new();
    let mut before = 0;
    loop {
        let request = pb::ListRemovedSecretsRequest { ids: asked.to_vec(), before };
        let page = ask!(connection, control.list_removed_secrets(request))?;
        all.extend(page.secrets);
        before = page.next_before;
        if before == 0 {
            return Ok((all, page.unnamed));
        }
    }
}

/// Lists what was removed.
pub(super) async fn ls(session: &Session) -> Result<(), Error> {
    let connection = session.connect().await?;
    let (removed, unnamed) = fetch(&connection, &[]).await?;
    if session.printer.json {
        let views: Vec<RemovedSecret> = removed.into_iter().map(Into::into).collect();
        return session.printer.json(&views);
    }
    if session.printer.quiet {
        return ids(session, removed.into_iter().map(|secret| secret.id));
    }
    session.printer.data(&table(session, removed))?;
    if let Some(unnamed) = unnamed {
        let needs = StillNeeded::from(unnamed.needs.unwrap_or_default()).describe();
        let many = counted(usize::try_from(unnamed.count).unwrap_or(usize::MAX), "secret");
        session.printer.warning(&format!(
            "{many} more, removed since {}, shredding without a name: for {needs}",
            session.ago(unnamed.removed_from)
        ));
    }
    Ok(())
}

fn numbers(members: impl IntoIterator<Item = u64>) -> String {
    members.into_iter().map(|id| id.to_string()).collect::<Vec<_>>().join(", ")
}

fn in_backups(count: u64) -> String {
    if count == 0 { String::new() } else { format!("in {count}") }
}

fn table(session: &Session, removed: Vec<pb::RemovedSecret>) -> String {
    let mut table = Table::new(&[
        "ID",
        "NAME",
        "REMOVED",
        "STATE",
        "WORD OF",
        "WITHOUT PROOF",
        "BACKUPS",
        "WAITS FOR",
    ]);
    for secret in removed {
        let ago = session.ago(secret.removed_at);
        let view = RemovedSecret::from(secret);
        table.row(vec![
            view.id,
            view.name,
            ago,
            view.state,
            numbers(view.words.iter().map(|word| word.member)),
            numbers(view.without_proof),
            in_backups(view.backups.len() as u64 + view.backups_not_remembered),
            view.needs.map(|needs| needs.describe()).unwrap_or_default(),
        ]);
    }
    table.render()
}

/// What became of secrets of these ids.
pub(super) async fn of(
    connection: &Connection,
    ids: &[String],
) -> Result<Vec<RemovedSecret>, Error> {
    let (removed, _) = fetch(connection, ids).await?;
    let known: BTreeSet<_> = ids.iter().collect();
    Ok(removed.into_iter().filter(|it| known.contains(&it.id)).map(Into::into).collect())
}

/// Watches until every manager gave word that secrets of these ids are gone.
pub(super) async fn until_shredded(
    session: &Session,
    connection: &Connection,
    ids: &[String],
) -> Result<Vec<RemovedSecret>, Error> {
    let removed = tokio::select! {
        removed = watch(session, connection, ids) => removed?,
        _ = tokio::signal::ctrl_c() => return Err(Error::Interrupted(Some(
            "it is shredded without being watched: `secretctl ls --removed`".into(),
        ))),
    };
    for secret in &removed {
        let words: Vec<_> = secret.words.iter().map(|word| word.member.to_string()).collect();
        let who = if words.len() == 1 { "manager" } else { "managers" };
        let mut text = format!("{} is shredded, by the word of {who}", secret.name);
        write!(text, " {}", listed(&words)).ok();
        session.printer.progress(&text);
        if !secret.without_proof.is_empty() {
            session.printer.warning(&format!(
                "{} may still open on the disks of managers that left without such word: {}",
                secret.name,
                numbers(secret.without_proof.iter().copied())
            ));
        }
    }
    for secret in &removed {
        may_hold(session, &secret.name, &secret.backups, secret.backups_not_remembered);
    }
    session.printer.progress(
        "it does not cover backups and copies of disks from before, nodes that had it mounted, and \
         who kept an old log key and reads freed places of a disk",
    );
    Ok(removed)
}

async fn watch(
    session: &Session,
    connection: &Connection,
    ids: &[String],
) -> Result<Vec<RemovedSecret>, Error> {
    let mut told = BTreeSet::new();
    let mut managers = Watch::new(session, connection);
    loop {
        let removed = of(connection, ids).await?;
        let mut number = 0;
        for needs in removed.iter().filter_map(|it| it.needs.as_ref()) {
            if needs.begun {
                number = number.max(needs.log_key_rotation);
            } else if told.insert(needs.describe()) {
                session.printer.progress(&format!("waiting for {}", needs.describe()));
            }
        }
        if removed.iter().all(|it| it.needs.is_none()) {
            return Ok(removed);
        }
        if number > 0 {
            managers.look(number).await?;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
