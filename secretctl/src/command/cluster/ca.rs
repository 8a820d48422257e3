//! `cluster rotate ca`: another CA, and everybody's certificates under it.
//!
//! The rotation goes on by itself once it was asked for; waiting for it only watches. Not here: what
//! managers, agents and other operators' contexts do for it.

use std::collections::BTreeSet;
use std::time::Duration;

use proto::pb;

use super::super::{Session, listed};
use super::keys::fetch;
use crate::cli::RotateCaArgs;
use crate::connection::{Connection, ask, request_key};
use crate::error::Error;
use crate::view::{CaRotation, Renewing};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) async fn rotate(session: &Session, args: &RotateCaArgs) -> Result<(), Error> {
    let connection = session.connect().await?;
    let drop_missing = args.drop_missing;
    let request = pb::RotateCaRequest { request_key: request_key(), drop_missing };
    let number = ask!(connection, control.rotate_ca(request))?.number;
    if !drop_missing {
        session.printer.progress(&format!("CA rotation {number} has begun"));
    }
    if args.rotation.no_wait {
        session.printer.hint("`secretctl cluster keys` shows how far it is");
        return end(session, number, last(&connection).await?);
    }
    let rotation = tokio::select! {
        rotation = until_complete(session, &connection, number) => rotation?,
        _ = tokio::signal::ctrl_c() => return Err(Error::Interrupted(Some(
            "the rotation goes on without being watched: `secretctl cluster keys`".into(),
        ))),
    };
    end(session, number, rotation)
}

fn end(session: &Session, number: u64, rotation: Option<CaRotation>) -> Result<(), Error> {
    let left_behind = rotation.as_ref().map_or(0, |one| one.left_behind);
    let is_complete = rotation.as_ref().is_none_or(|one| one.complete);
    if session.printer.json {
        return session.printer.json(&rotation);
    }
    if let Some(one) = rotation.filter(|one| !one.complete) {
        let standing = format!("CA rotation {}, in progress: {}", one.number, one.standing());
        session.printer.data(&standing)?;
    } else {
        session
            .printer
            .data(&format!("CA rotation {number} is complete: the old CA is dropped"))?;
    }
    if !is_complete {
        return Ok(());
    }
    if left_behind > 0 {
        session.printer.progress(&format!(
            "{left_behind} of the nodes and operators were left behind: they join, or enrol, anew"
        ));
    }
    session.printer.progress(
        "it heals a CA key that leaked: what is signed with it is refused from now on, whenever it was \
         signed; a manager that is down refuses it once it has reached the others",
    );
    session.printer.progress(
        "it does not heal what was read or changed by such a certificate; join tokens of before are \
         void: make new ones",
    );
    session.printer.hint(
        "take a backup now, `secretctl cluster backup`: one from before brings the old CA back, and \
         whoever opens it has that CA's key",
    );
    Ok(())
}

async fn last(connection: &Connection) -> Result<Option<CaRotation>, Error> {
    Ok(fetch(connection, false).await?.ca_rotation)
}

/// Watches until the rotation is complete; what changes is told once.
async fn until_complete(
    session: &Session,
    connection: &Connection,
    number: u64,
) -> Result<Option<CaRotation>, Error> {
    watch(session, number, async || {
        let rotation = last(connection).await?;
        if rotation.as_ref().is_some_and(|one| !one.waits_for.operators.is_empty()) {
            // This operator may be one of them.
            connection.follow_ca().await;
        }
        Ok(rotation)
    })
    .await
}

/// Watches a rotation for which managers, agents and operators get other certificates, until it is
/// complete; what changes is told once.
pub(super) async fn watch<T: Renewing>(
    session: &Session,
    number: u64,
    look: impl AsyncFn() -> Result<Option<T>, Error>,
) -> Result<Option<T>, Error> {
    let mut told = BTreeSet::new();
    loop {
        let rotation = look().await?;
        let Some(one) =
            rotation.as_ref().filter(|one| one.number() == number && !one.is_complete())
        else {
            return Ok(rotation);
        };
        let stragglers = one.waits_for().named();
        let waits =
            (!stragglers.is_empty()).then(|| format!("waiting for {}", listed(&stragglers)));
        for text in [Some(one.standing()), waits].into_iter().flatten() {
            if told.insert(text.clone()) {
                session.printer.progress(&text);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
