//! Managers that unlock one another: the policy, consent, alarms.
//!
//! Not here: locking itself (`locking`), what is wrong with it (`status`).

use proto::Kind;
use proto::pb;

use super::super::Session;
use super::find_member;
use crate::cli::{AlarmCommand, PeersArg};
use crate::connection::{Connection, ask, request_key};
use crate::error::Error;
use crate::table::Table;
use crate::view;

/// Sets the policy.
pub(super) async fn update(session: &Session, peers: PeersArg) -> Result<(), Error> {
    let connection = session.connect().await?;
    let status = ask!(connection, control.get_cluster_status(pb::GetClusterStatusRequest {}))?;
    let policy = match peers {
        PeersArg::Off => pb::PeerPolicy::Off,
        PeersArg::Approve => pb::PeerPolicy::Approve,
        PeersArg::Auto => pb::PeerPolicy::Auto,
    };
    let request = pb::UpdatePeersRequest { request_key: request_key(), policy: policy.into() };
    ask!(connection, control.update_peers(request))?;
    let printer = &session.printer;
    if printer.json {
        return printer.json(&view::PeerPolicy { peers: view::policy(policy) });
    }
    match peers {
        PeersArg::Off => {
            printer.progress("managers do not unlock one another any more");
            printer.hint("a manager that starts needs a person, or a slot's command");
        }
        PeersArg::Approve => {
            printer.progress("managers unlock one another, each time with an operator's consent");
            printer.hint("`secretctl cluster status` shows who waits for it");
        }
        PeersArg::Auto => {
            printer.progress("managers unlock one another after a restart");
            printer.hint(
                "a manager whose machine is missing: `secretctl cluster member rm` at once, or who \
                 has its disk is let in (docs/operations/peers.md)",
            );
        }
    }
    if peers != PeersArg::Off && !status.autolock {
        printer.hint("autolock is off: managers open their own key files, and ask nobody");
    }
    Ok(())
}

/// Consents to one release, to a host that the operator saw: nobody else knows which one is the
/// manager's, and who asks may be another one by now.
pub(super) async fn approve(session: &Session, member: &str, from: String) -> Result<(), Error> {
    let connection = session.connect().await?;
    let member = find_member(&connection, member).await?;
    let request = pb::ApproveReleaseRequest { request_key: request_key(), member, from };
    let approved = ask!(connection, control.approve_release(request))?;
    let view = view::PendingRelease::from(&approved);
    if session.printer.json {
        return session.printer.json(&view);
    }
    session.printer.data(&format!("{} {}", view.member, view.from))?;
    session.printer.progress("it is unlocked when it asks again, within ten minutes");
    Ok(())
}

pub(super) async fn alarm(session: &Session, command: AlarmCommand) -> Result<(), Error> {
    let connection = session.connect().await?;
    match command {
        AlarmCommand::Ls => alarm_ls(session, &connection).await,
        AlarmCommand::Clear { member } => {
            // Who was removed is no member, and has a number.
            let member = match member.parse() {
                Ok(number) => number,
                Err(_) => find_member(&connection, &member).await?,
            };
            let request = pb::ClearAlarmRequest { request_key: request_key(), member };
            match ask!(connection, control.clear_alarm(request)) {
                Err(Error::Failed(failure)) if failure.kind == Kind::Precondition => {
                    Err(failure.hint("`secretctl cluster alarm ls` lists them").into())
                }
                Err(error) => Err(error),
                Ok(_) => session.printer.data(&member.to_string()),
            }
        }
    }
}

async fn alarm_ls(session: &Session, connection: &Connection) -> Result<(), Error> {
    let status = ask!(connection, control.get_cluster_status(pb::GetClusterStatusRequest {}))?;
    let alarms = status.peers.unwrap_or_default().alarms;
    let alarms: Vec<view::ReleaseAlarm> = alarms.iter().map(Into::into).collect();
    if session.printer.json {
        return session.printer.json(&alarms);
    }
    let mut table = Table::new(&["MEMBER", "REASON", "FROM", "FIRST", "LAST", "COUNT"]);
    for alarm in alarms {
        table.row(vec![
            alarm.member.to_string(),
            alarm.reason,
            alarm.from,
            alarm.first_at.unwrap_or_default(),
            alarm.last_at.unwrap_or_default(),
            alarm.count.to_string(),
        ]);
    }
    session.printer.data(&table.render())
}
