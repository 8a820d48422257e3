//! `cluster rotate certificates`: everybody gets a certificate for another key, under the present CA.
//!
//! The rotation goes on by itself once it was asked for; waiting for it only watches. Not here: what
//! managers, agents and other operators' contexts do for it.

use proto::pb;

use super::super::Session;
use super::ca::watch;
use super::keys::{fetch, renewing};
use crate::cli::RotateCertificatesArgs;
use crate::connection::{Connection, ask, request_key};
use crate::error::Error;
use crate::view::CertificateRotation;

pub(super) async fn rotate(session: &Session, args: &RotateCertificatesArgs) -> Result<(), Error> {
    let connection = session.connect().await?;
    let cut_missing = args.cut_missing;
    let request = pb::RotateCertificatesRequest { request_key: request_key(), cut_missing };
    let number = ask!(connection, control.rotate_certificates(request))?.number;
    if !cut_missing {
        session.printer.progress(&format!("certificate rotation {number} has begun"));
    }
    if args.rotation.no_wait {
        session.printer.hint("`secretctl cluster keys` shows how far it is");
        return end(session, number, last(&connection).await?);
    }
    let rotation = tokio::select! {
        rotation = watch(session, number, || last(&connection)) => rotation?,
        _ = tokio::signal::ctrl_c() => return Err(Error::Interrupted(Some(
            "the rotation goes on without being watched: `secretctl cluster keys`".into(),
        ))),
    };
    end(session, number, rotation)
}

async fn last(connection: &Connection) -> Result<Option<CertificateRotation>, Error> {
    Ok(fetch(connection, false).await?.certificate_rotation)
}

fn end(session: &Session, number: u64, rotation: Option<CertificateRotation>) -> Result<(), Error> {
    if session.printer.json {
        return session.printer.json(&rotation);
    }
    if let Some(one) = rotation.as_ref().filter(|one| !one.complete) {
        return session.printer.data(&format!("certificate rotation {}", renewing(Some(one))));
    }
    session.printer.data(&format!(
        "certificate rotation {number} is complete: certificates of before are refused"
    ))?;
    let left_behind = rotation.map_or(0, |one| one.left_behind);
    if left_behind > 0 {
        session.printer.progress(&format!(
            "{left_behind} of the nodes and operators were left behind: they join, or enrol, anew"
        ));
    }
    session.printer.progress(
        "it heals the key of an agent, an operator or a manager that leaked: no manager takes what was \
         issued before, also if who has the key had renewed it",
    );
    session.printer.progress(
        "it does not heal: a manager's leaked key can pose as that manager to agents and operators until \
         its certificate ends, in 30 days at most; against that, and against a leaked CA key, `secretctl \
         cluster rotate ca`",
    );
    session.printer.hint(
        "whoever is refused now though it was there had somebody renew in its place: evict it, \
         docs/operations/rotate-certificates.md",
    );
    Ok(())
}
