//! `cluster unlock-key --rotate --compromised`: what is left to do when somebody may have had the
//! unlock key *and* a copy of a manager's disk.
//!
//! The unlock key was replaced, and log keys with it (`locking`). What such a copy opens further are
//! root keys, so the root key rotates, after the rotation of it that may be in progress: the key of
//! that one may be in the copy, too. What no rotation helps are the values of then: they are listed.
//! Not here: what each rotation is (`keys`, `root_key`).
//!
//! Invariant: the values are listed first, so that they are whatever becomes of the rotation.

use std::time::Duration;

use proto::pb;
use tokio::time::Instant;

use super::super::{Session, counted};
use super::root_key::{RotationEnd, begin_another, until_complete, waited_for};
use crate::connection::{Connection, ask};
use crate::error::Error;

use crate::table::{Table, natural_order};
use crate::view;

/// Lists what has to be replaced, and rotates the root key; whether that is complete.
pub(super) async fn go_on(
    session: &Session,
    connection: &Connection,
    wait: Duration,
) -> Result<bool, Error> {
    let mut secrets = secrets(connection).await?;
    secrets.sort_by(|one, other| natural_order(&one.name, &other.name));
    let printer = session.printer;
    if printer.json {
        let replace = secrets.iter().map(view::ToReplace::from).collect();
        printer.json_line(&view::Compromised { replace })?;
    } else if !secrets.is_empty() {
        let mut table = Table::new(&["REPLACE", "VERSION", "CREATED", "USED BY"]);
        for secret in &secrets {
            table.row(vec![
                secret.name.clone(),
                secret.current_version.to_string(),
                session.ago(secret.created_at),
                secret.used_by.join(", "),
            ]);
        }
        printer.data(&table.render())?;
    }
    let known = counted(secrets.len(), "secret");
    printer.warning(&format!(
        "who had the key and a copy of a disk has the values of {known}: give them new ones"
    ));
    printer.warning(
        "the CA's key was in that copy, too: `secretctl cluster rotate ca`, once this is done",
    );
    printer.hint("in which order, and what else: docs/operations/stolen-disk.md");
    rotate(session, connection, Instant::now() + wait).await
}

async fn secrets(connection: &Connection) -> Result<Vec<pb::SecretInfo>, Error> {
    let request = pb::ListSecretsRequest { filter: Some(pb::SecretFilter::default()) };
    Ok(ask!(connection, control.list_secrets(request))?.secrets)
}

async fn rotate(
    session: &Session,
    connection: &Connection,
    deadline: Instant,
) -> Result<bool, Error> {
    let number = begin_another(session, connection, deadline).await?;
    let printer = session.printer;
    let end = until_complete(session, connection, number, Some(deadline)).await?;
    if let RotationEnd::WaitsFor(members) = &end {
        printer.warning(&format!(
            "root key rotation {number} goes on by itself; it waits for {}: `secretctl cluster keys`",
            waited_for(members)
        ));
    } else {
        printer.progress(&format!("root key rotation {number} is complete"));
    }
    let complete = matches!(end, RotationEnd::Complete(_));
    if printer.json {
        printer.json_line(&view::RootRotated { root_key_rotation: number, complete })?;
    }
    Ok(complete)
}
