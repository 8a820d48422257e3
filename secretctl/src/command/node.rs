//! `node`: ls, inspect, update, promote, demote, rm.

use proto::Kind;
use proto::pb;

use super::{Session, Tally, counted, labels, listed, secret};
use crate::cli::{AvailabilityArg, NodeCommand, UpdateArgs};
use crate::connection::{ask, request_key};
use crate::error::Error;
use crate::table::{Card, Table, natural_order};
use crate::view;

pub(super) async fn run(session: &Session, command: NodeCommand) -> Result<(), Error> {
    match command {
        NodeCommand::Ls => ls(session).await,
        NodeCommand::Inspect { nodes } => inspect(session, &nodes).await,
        NodeCommand::Update(args) => update(session, args).await,
        NodeCommand::Promote { node } => promote(session, node).await,
        NodeCommand::Demote { node } => demote(session, node).await,
        NodeCommand::Rm { nodes, force } => rm(session, nodes, force).await,
    }
}

async fn promote(session: &Session, node: String) -> Result<(), Error> {
    let connection = session.connect().await?;
    let nodes = ask!(connection, control.list_nodes(pb::ListNodesRequest {}))?.nodes;
    let info = ask!(connection, control.get_node(pb::GetNodeRequest { node }))?;
    let hostname = &info.hostname;
    if info.member.is_some() {
        return session.printer.data(&format!("node {hostname} is a manager already"));
    }
    let members = nodes.iter().filter_map(|node| node.member.as_ref());
    let leader = members.max_by_key(|member| member.leader);
    let address = leader.map_or("ADDRESS", |member| member.address.as_str());
    Err(Error::failed(Kind::Precondition, format!("{hostname} is not made a manager from here"))
        .because("a manager makes its own keys: it joins from its own machine, with a token")
        .hint("make the token: `secretctl cluster join-token --quiet manager`")
        .hint(format!(
            "start secretd on {hostname}, and there: `secretctl cluster join {address} --token - \
             --hostname {hostname}-manager`, with the token on standard input"
        ))
        .hint(
            "the agent stays a node of its own, under its own hostname; docs/operations/install.md",
        )
        .into())
}

async fn demote(session: &Session, node: String) -> Result<(), Error> {
    let connection = session.connect().await?;
    let info = ask!(connection, control.get_node(pb::GetNodeRequest { node }))?;
    let hostname = &info.hostname;
    let Some(member) = info.member else {
        return session.printer.data(&format!("node {hostname} is no manager"));
    };
    Err(Error::failed(Kind::Precondition, format!("{hostname} is not demoted from here"))
        .because("a manager that leaves destroys its keys and gives word of it: only it can")
        .hint(format!("on {hostname}: `secretctl cluster leave`"))
        .hint(format!(
            "if it is gone for good: `secretctl cluster member rm {} --lost`; \
             docs/operations/replace-manager.md",
            member.id
        ))
        .into())
}

/// What a member is, in a table of nodes.
fn manager(node: &view::Node) -> String {
    match &node.member {
        None => String::new(),
        Some(member) if member.leader => "leader".into(),
        Some(member) if !member.reachable => "unreachable".into(),
        Some(member) if member.state == "voter" => "reachable".into(),
        Some(member) => member.state.into(),
    }
}

async fn ls(session: &Session) -> Result<(), Error> {
    let connection = session.connect().await?;
    let nodes = ask!(connection, control.list_nodes(pb::ListNodesRequest {}))?.nodes;
    let mut nodes: Vec<view::Node> = nodes.into_iter().map(Into::into).collect();
    nodes.sort_by(|one, other| natural_order(&one.hostname, &other.hostname));
    if session.printer.json {
        return session.printer.json(&nodes);
    }
    if session.printer.quiet {
        return secret::ids(session, nodes.into_iter().map(|node| node.id));
    }
    let mut table =
        Table::new(&["ID", "HOSTNAME", "STATE", "AVAILABILITY", "MANAGER", "LABELS", "AGENT"]);
    for node in nodes {
        let manager = manager(&node);
        let leads = if manager == "leader" { " *" } else { "" };
        table.row(vec![
            node.id + leads,
            node.hostname,
            node.state.to_owned(),
            node.availability.to_owned(),
            manager,
            labels(&node.labels),
            if node.has_agent { node.agent_version } else { "none".into() },
        ]);
    }
    session.printer.data(&table.render())
}

async fn inspect(session: &Session, nodes: &[String]) -> Result<(), Error> {
    let connection = session.connect().await?;
    let mut tally = Tally::default();
    let mut views = Vec::new();
    for node in nodes {
        if tally.is_over() {
            break;
        }
        let request = pb::GetNodeRequest { node: node.clone() };
        let answer = ask!(connection, control.get_node(request));
        if let Some(info) = tally.count(session.printer, answer) {
            views.push(view::Node::from(info));
        }
    }
    if session.printer.json {
        session.printer.json(&views)?;
    } else {
        for view in views {
            session.printer.data(&card(view))?;
        }
    }
    tally.end()
}

fn card(node: view::Node) -> String {
    let manager = manager(&node);
    let mut card = Card::new(&node.hostname);
    card.line("id", node.id);
    card.line("state", node.state);
    card.line("availability", node.availability);
    card.line("labels", labels(&node.labels));
    card.line("agent", if node.has_agent { node.agent_version } else { "none".into() });
    card.line(if node.has_agent { "agent says" } else { "remark" }, node.message);
    if let Some(machine) = node.machine {
        let processors = machine.nano_cpus / 1_000_000_000;
        let memory = machine.memory_bytes >> 20;
        card.line("platform", format!("{}/{}", machine.os, machine.architecture));
        card.line("machine", format!("{processors} processors, {memory} MiB"));
    }
    if let Some(member) = node.member {
        card.line("manager", format!("member {} at {}, {manager}", member.id, member.address));
    }
    card.line("certificate ends", node.certificate_not_after.unwrap_or_default());
    card.line("created", node.created_at.unwrap_or_default());
    card.line("updated", node.updated_at.unwrap_or_default());
    card.line("revision", node.revision.to_string());
    card.render()
}

async fn update(session: &Session, args: UpdateArgs) -> Result<(), Error> {
    let nothing =
        args.label_add.is_empty() && args.label_rm.is_empty() && args.availability.is_none();
    if nothing {
        let failure = Error::usage("nothing to change");
        return Err(Error::Usage(
            failure.hint("give `--label-add`, `--label-rm` or `--availability`"),
        ));
    }
    let availability = args.availability.map(|availability| match availability {
        AvailabilityArg::Active => pb::Availability::Active,
        AvailabilityArg::Pause => pb::Availability::Pause,
        AvailabilityArg::Drain => pb::Availability::Drain,
    });
    let connection = session.connect().await?;
    let request = pb::UpdateNodeRequest {
        request_key: request_key(),
        node: args.node,
        revision: 0,
        label_add: args.label_add.into_iter().collect(),
        label_rm: args.label_rm,
        availability: availability.map(i32::from),
    };
    let view = view::Node::from(ask!(connection, control.update_node(request))?);
    if session.printer.json {
        session.printer.json(&view)
    } else {
        session.printer.data(&view.hostname)
    }
}

async fn rm(session: &Session, nodes: Vec<String>, force: bool) -> Result<(), Error> {
    let connection = session.connect().await?;
    let mut tally = Tally::default();
    let mut removed = Vec::new();
    for node in nodes {
        if tally.is_over() {
            break;
        }
        let request = pb::RemoveNodeRequest { request_key: request_key(), node, force };
        let answer = ask!(connection, control.remove_node(request));
        let Some(answer) = tally.count(session.printer, answer) else { continue };
        let view = view::RemovedNode {
            id: answer.id,
            hostname: answer.hostname,
            delivered_secrets: answer.delivered_secrets,
        };
        if !session.printer.json {
            session.printer.data(&view.hostname)?;
            warn_of_delivered(session, &view);
        }
        removed.push(view);
    }
    if session.printer.json {
        session.printer.json(&removed)?;
    }
    tally.end()
}

/// Eviction does not take back what was delivered.
fn warn_of_delivered(session: &Session, node: &view::RemovedNode) {
    let secrets = &node.delivered_secrets;
    if secrets.is_empty() {
        return;
    }
    let count = counted(secrets.len(), "secret");
    let names = listed(secrets);
    session.printer.warning(&format!("node {} had been given {count}: {names}", node.hostname));
    session.printer.hint("if its machine is not trusted any more, give each of them a new value");
}
