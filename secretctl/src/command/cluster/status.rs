//! `cluster status`: what is wrong first, then the managers, then what there is.

use std::fmt::Write as _;

use proto::Kind;
use proto::id::Incarnation;
use proto::pb;

use super::super::{Session, counted, listed};
use super::{keys, member_table};
use crate::connection::{Connection, ask};
use crate::error::Error;
use crate::table::Card;
use crate::view::{self, Problem};

pub(super) async fn run(session: &Session, check: bool) -> Result<(), Error> {
    let mut connection = session.connect().await?;
    if connection.is_local()
        && let Some(problems) = not_serving(session, &connection).await?
    {
        return judge(check, problems);
    }
    let status = ask!(connection, control.get_cluster_status(pb::GetClusterStatusRequest {}))?;
    connection.saw(Incarnation(status.incarnation))?;
    let view = view::Cluster::from(status);
    let problems = view.problems.len();
    if session.printer.json {
        session.printer.json(&view)?;
    } else {
        session.printer.data(&text(&view, session))?;
    }
    judge(check, problems)
}

fn judge(check: bool, problems: usize) -> Result<(), Error> {
    if check && problems > 0 { Err(Error::Reported(1)) } else { Ok(()) }
}

/// Shows a manager that does not serve a cluster, and says how many problems that makes.
async fn not_serving(session: &Session, connection: &Connection) -> Result<Option<usize>, Error> {
    let status = match ask!(connection, local.get_local_status(pb::GetLocalStatusRequest {})) {
        Ok(status) => status,
        // The socket's calls may be forwarded by what knows only the operators' ones.
        Err(Error::Failed(failure)) if failure.kind == Kind::Unimplemented => return Ok(None),
        Err(error) => return Err(error),
    };
    let locked = locked_hints(&status);
    let locked: Vec<&str> = locked.iter().map(String::as_str).collect();
    let (message, hints): (&str, &[&str]) = match status.phase.as_str() {
        "serving" => return Ok(None),
        "empty" => (
            "this manager is not part of a cluster",
            &[
                "make a new one with `secretctl cluster init`",
                "or join one with `secretctl cluster join`",
            ],
        ),
        "locked" => ("this manager is locked", &locked),
        "starting" => ("this manager is starting", &["look again in a moment"]),
        "stopping" => ("this manager is stopping", &["see its log for the reason"]),
        _ => ("this manager is in a phase that this program does not know", &["upgrade secretctl"]),
    };
    let problem = Problem {
        severity: "error".into(),
        message: message.into(),
        hints: hints.iter().map(|hint| (*hint).to_owned()).collect(),
    };
    let view = view::LocalManager {
        phase: status.phase,
        problems: vec![problem],
        version: status.version,
        realm: proto::hex::encode(&status.realm),
        incarnation: status.incarnation,
        member: status.member,
        node_id: status.node_id,
        address: status.address,
        slots: status.slots,
        unlock_key_id: view::some_hex(&status.unlock_key_id),
        entered_shares: status.entered_shares.iter().map(view::EnteredShares::from).collect(),
        failed_commands: status.failed_commands.iter().map(view::FailedCommand::from).collect(),
        peers_refusal: Some(status.peers_refusal.clone()).filter(|reason| !reason.is_empty()),
    };
    if session.printer.json {
        session.printer.json(&view)?;
    } else {
        let mut text = problems(&view.problems);
        let mut card = Card::new("manager");
        card.line("phase", view.phase.clone());
        card.line("version", view.version.clone());
        card.line("realm", view.realm.clone());
        if view.member > 0 {
            card.line("member", view.member.to_string());
        }
        card.line("address", view.address.clone());
        card.line("unlock key", view.unlock_key_id.clone().unwrap_or_default());
        text.push_str(&card.render());
        session.printer.data(&text)?;
    }
    Ok(Some(view.problems.len()))
}

/// What a locked manager waits for.
fn locked_hints(status: &pb::LocalStatus) -> Vec<String> {
    if !status.seed_path.is_empty() {
        return vec![
            format!("put its seed at {}: it looks again by itself", status.seed_path),
            "docs/operations/replace-manager.md, if the seed is lost".into(),
        ];
    }
    let held = status.entered_shares.iter().map(view::EnteredShares::from);
    let held = held.map(|held| {
        let slot = held.slot_id.as_deref().unwrap_or_default();
        format!("shares of slot {slot}: {held}")
    });
    let open = ["open it with `secretctl cluster unlock`".to_owned()].into_iter();
    let lost = "docs/operations/unlock.md; if the key is lost, docs/operations/lost-unlock-key.md";
    let failed = status.failed_commands.iter().map(view::FailedCommand::from);
    let failed = failed.map(|failed| {
        let slot = failed.slot_id.as_deref().unwrap_or_default();
        format!("the command of slot {slot} is tried again: {}", failed.reason)
    });
    let peers = Some(&status.peers_refusal).filter(|reason| !reason.is_empty());
    let peers = peers.map(|reason| format!("its peers were asked to open it: {reason}"));
    open.chain(peers).chain(held).chain(failed).chain([lost.to_owned()]).collect()
}

fn problems(problems: &[Problem]) -> String {
    let mut text = String::new();
    for problem in problems {
        writeln!(text, "{}: {}", problem.severity, problem.message).ok();
        for hint in &problem.hints {
            writeln!(text, "  hint: {hint}").ok();
        }
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

fn text(cluster: &view::Cluster, session: &Session) -> String {
    let mut text = problems(&cluster.problems);
    if text.is_empty() {
        text.push_str("no problems\n\n");
    }
    text.push_str(&member_table(&cluster.members).render());
    text.push('\n');
    let mut card = Card::new("cluster");
    card.line("realm", cluster.realm.clone());
    card.line("incarnation", cluster.incarnation.to_string());
    let leader = cluster.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string());
    card.line("leader", format!("{leader}, term {}", cluster.term));
    card.line("applied index", cluster.applied_index.to_string());
    let count = |number: u64, what| counted(usize::try_from(number).unwrap_or(usize::MAX), what);
    card.line(
        "holds",
        [
            count(cluster.secrets, "secret"),
            count(cluster.services, "service"),
            count(cluster.tasks, "task"),
            count(cluster.nodes, "node"),
        ]
        .join(", "),
    );
    card.line(
        "payloads",
        format!("{} of {} bytes", cluster.payload_bytes, cluster.payload_quota_bytes),
    );
    card.line("locking", if cluster.autolock { "on" } else { "off" });
    let readable = if cluster.unlock_key_readable { ", kept for admins" } else { "" };
    let unlock_key = cluster.unlock_key_id.as_ref().map(|id| format!("{id}{readable}"));
    card.line("unlock key", unlock_key.unwrap_or_default());
    if let Some(peers) = cluster.peers.as_ref().filter(|peers| peers.policy != "off") {
        card.line("unlocked by peers", peers.policy);
    }
    for slot in cluster.slots.iter().filter(|slot| slot.kind != "unlock-key" && slot.kind != "file")
    {
        let opened = if slot.works { "" } else { ", never opened" };
        card.line(&slot.kind, format!("{}{opened}", slot.id.clone().unwrap_or_default()));
    }
    if !session.printer.quiet {
        card.line("CA", cluster.ca_digest.clone());
        card.line("root key", cluster.root_key_id.clone());
        if let Some(rotation) = cluster.root_key_rotation.as_ref().filter(|one| !one.complete) {
            card.line("root key rotation", keys::root_rotation(Some(rotation)));
        }
        if let Some(rotation) = cluster.ca_rotation.as_ref().filter(|one| !one.complete) {
            card.line("CA rotation", keys::renewing(Some(rotation)));
            card.line("CA waits for", listed(&rotation.waits_for.named()));
        }
        let certificates = cluster.certificate_rotation.as_ref();
        if let Some(rotation) = certificates.filter(|one| !one.complete) {
            card.line("certificates", keys::renewing(Some(rotation)));
            card.line("they wait for", listed(&rotation.waits_for.named()));
        }
        card.line("transit key", cluster.transit_key_id.clone());
    }
    text.push_str(&card.render());
    text
}
