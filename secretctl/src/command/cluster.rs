//! `cluster`: init, join, leave, join-token, token, member, replace, audit; `status`, `keys`,
//! `rotate` and what is about locking are beside.

pub(super) mod backup;
mod ca;
mod certificates;
mod compromised;
mod keys;
mod locking;
mod peers;
mod read_back;
mod restore;
mod root_key;
mod slots;
mod status;
mod typed;

pub(super) use self::keys::Watch;

use std::collections::VecDeque;

use proto::Kind;
use proto::id::Timestamp;
use proto::identity::Role;
use proto::pb;
use seal::UnlockKey;

use super::{Session, Tally, read_token, secret};
use crate::cli::{
    ClusterCommand, InitArgs, JoinArgs, JoinRoleArg, JoinTokenArgs, MemberCommand, TokenCommand,
};
use crate::connection::{Connection, ask, request_key};
use crate::error::Error;
use crate::instant;
use crate::table::Table;
use crate::view;

/// Records of the audit in one answer: what managers give at most.
const AUDIT_PAGE_RECORDS: u32 = 1_000;

pub(super) async fn run(session: &Session, command: ClusterCommand) -> Result<(), Error> {
    match command {
        ClusterCommand::Init(args) => init(session, args).await,
        ClusterCommand::Join(args) => join(session, args).await,
        ClusterCommand::Leave { force } => leave(session, force).await,
        ClusterCommand::Update(args) => locking::update(session, args).await,
        ClusterCommand::Approve { member, from } => peers::approve(session, &member, from).await,
        ClusterCommand::Alarm(command) => peers::alarm(session, command).await,
        ClusterCommand::Unlock { typed: Some(_), .. } => Err(locking::typed_as_argument()),
        ClusterCommand::Unlock { wait, typed: None } => locking::unlock(session, wait).await,
        ClusterCommand::UnlockKey(args) => locking::unlock_key(session, args).await,
        ClusterCommand::UnlockSlot(command) => slots::run(session, command).await,
        ClusterCommand::Status { check } => status::run(session, check).await,
        ClusterCommand::JoinToken(args) => join_token(session, args).await,
        ClusterCommand::Token(TokenCommand::Ls) => token_ls(session).await,
        ClusterCommand::Token(TokenCommand::Rm { tokens }) => token_rm(session, tokens).await,
        ClusterCommand::Member(MemberCommand::Ls) => member_ls(session).await,
        ClusterCommand::Member(MemberCommand::Rm { member, lost }) => {
            member_rm(session, &member, lost).await
        }
        ClusterCommand::Member(MemberCommand::SetAddress { member, address }) => {
            set_address(session, &member, address).await
        }
        ClusterCommand::Replace { dead, new } => replace(session, &dead, &new).await,
        ClusterCommand::Backup(args) => backup::run(session, args).await,
        ClusterCommand::Restore(args) => restore::run(session, args).await,
        ClusterCommand::Audit { after, limit } => audit(session, after, limit).await,
        ClusterCommand::Rotate(command) => keys::rotate(session, command).await,
        ClusterCommand::Keys { verify } => keys::keys(session, verify).await,
    }
}

async fn init(session: &Session, args: InitArgs) -> Result<(), Error> {
    let connection = Connection::own_machine(&session.global)?;
    if args.autolock {
        check_no_cluster(&connection).await?;
    }
    let key = args.autolock.then(UnlockKey::make);
    if let Some(key) = &key {
        locking::show(session, key, false)?;
    }
    let public = key.as_ref().map(locking::public_half);
    let request = pb::InitRequest {
        advertise_address: args.advertise_address,
        hostname: args.hostname,
        payload_quota_bytes: args.payload_quota,
        unlock_public_key: public.unwrap_or_default(),
    };
    let made = ask!(connection, local.init(request));
    let made = made.map_err(|error| locking::may_be_in_use(error, key.as_ref()))?;
    let view = view::Joined {
        realm: Some(proto::hex::encode(&made.realm)),
        node_id: made.node_id,
        member: made.member,
        address: made.address,
        ca_digest: Some(proto::hex::encode(&made.ca_digest)),
        unlock_key_id: key.as_ref().map(|key| key.id().to_string()),
    };
    if session.printer.json {
        return locking::json_after(session, key.as_ref(), &view);
    }
    session.printer.data(&view.node_id)?;
    session.printer.progress(&format!(
        "this machine is manager {} of a new cluster, at {}",
        view.member, view.address
    ));
    session.printer.hint(
        "admit nodes with `secretctl cluster join-token agent`, managers with `secretctl cluster \
         join-token manager`",
    );
    Ok(())
}

/// No key is shown for a manager that would refuse it.
async fn check_no_cluster(connection: &Connection) -> Result<(), Error> {
    let status = ask!(connection, local.get_local_status(pb::GetLocalStatusRequest {}))?;
    if !matches!(status.phase.as_str(), "serving" | "locked") {
        return Ok(());
    }
    Err(Error::failed(Kind::Precondition, "this manager is already part of a cluster")
        .hint("leave the present one first with `secretctl cluster leave`")
        .into())
}

async fn join(session: &Session, args: JoinArgs) -> Result<(), Error> {
    let connection = Connection::own_machine(&session.global)?;
    let (token, text) = read_token(&args.token)?;
    if token.role != Role::Manager {
        let failure = Error::failed(Kind::Invalid, "this token does not admit a manager");
        return Err(failure
            .because(format!("it was made for an {}", token.role))
            .hint("make one with `secretctl cluster join-token manager`")
            .into());
    }
    let request = pb::JoinRequest {
        token: text.trim().to_owned(),
        addresses: args.managers,
        advertise_address: args.advertise_address,
        hostname: args.hostname,
    };
    let joined = ask!(connection, local.join(request))?;
    let view = view::Joined {
        realm: None,
        node_id: joined.node_id,
        member: joined.member,
        address: joined.address,
        ca_digest: None,
        unlock_key_id: None,
    };
    if session.printer.json {
        return session.printer.json(&view);
    }
    session.printer.data(&view.node_id)?;
    session.printer.progress(&format!(
        "this machine is manager {} of the cluster, at {}",
        view.member, view.address
    ));
    session.printer.hint("`secretctl cluster status` shows when it has caught up and votes");
    Ok(())
}

async fn leave(session: &Session, force: bool) -> Result<(), Error> {
    let connection = Connection::own_machine(&session.global)?;
    ask!(connection, local.leave(pb::LeaveRequest { force }))?;
    session.printer.progress("this manager left its cluster");
    session.printer.hint("its data folder is of no use any more: remove it");
    Ok(())
}

async fn join_token(session: &Session, args: JoinTokenArgs) -> Result<(), Error> {
    let role = match args.role {
        JoinRoleArg::Agent => "agent",
        JoinRoleArg::Manager => "manager",
    };
    let connection = session.connect().await?;
    let request = pb::CreateJoinTokenRequest {
        request_key: request_key(),
        role: role.to_owned(),
        expires_after_ms: args.expires.map_or(0, instant::millis),
        uses: args.uses.unwrap_or(0),
    };
    let made = ask!(connection, control.create_join_token(request))?;
    let expires_at = Timestamp(made.expires_at).to_rfc3339();
    if session.printer.json {
        return session.printer.json(&view::NewToken {
            id: made.id,
            token: made.token,
            expires_at: Some(expires_at),
            uses: Some(made.uses),
        });
    }
    session.printer.data(&made.token)?;
    let uses = super::counted(usize::try_from(made.uses).unwrap_or(usize::MAX), "use");
    session
        .printer
        .progress(&format!("good for {uses}, until {expires_at}; it is not shown again"));
    session.printer.hint(match args.role {
        JoinRoleArg::Agent => "on the node: `secret-agent --join - --manager HOST:PORT`",
        JoinRoleArg::Manager => "on the new manager: `secretctl cluster join --token - HOST:PORT`",
    });
    Ok(())
}

async fn token_ls(session: &Session) -> Result<(), Error> {
    let connection = session.connect().await?;
    let tokens = ask!(connection, control.list_join_tokens(pb::ListJoinTokensRequest {}))?.tokens;
    if session.printer.json {
        let views: Vec<view::Token> = tokens.into_iter().map(Into::into).collect();
        return session.printer.json(&views);
    }
    if session.printer.quiet {
        return secret::ids(session, tokens.into_iter().map(|token| token.id));
    }
    let mut table = Table::new(&["ID", "ADMITS", "USES LEFT", "EXPIRES", "CREATED", "BY"]);
    for token in tokens {
        table.row(vec![
            token.id,
            token.role,
            token.uses_left.to_string(),
            session.ago(token.expires_at),
            session.ago(token.created_at),
            token.created_by,
        ]);
    }
    session.printer.data(&table.render())
}

async fn token_rm(session: &Session, tokens: Vec<String>) -> Result<(), Error> {
    let connection = session.connect().await?;
    let mut tally = Tally::default();
    let mut removed = Vec::new();
    for id in tokens {
        if tally.is_over() {
            break;
        }
        let request = pb::RevokeJoinTokenRequest { request_key: request_key(), id: id.clone() };
        let answer = ask!(connection, control.revoke_join_token(request));
        if tally.count(session.printer, answer).is_some() {
            if !session.printer.json {
                session.printer.data(&id)?;
            }
            removed.push(id);
        }
    }
    if session.printer.json {
        session.printer.json(&removed)?;
    }
    tally.end()
}

/// Members as a table.
fn member_table(members: &[view::Member]) -> Table {
    let mut table = Table::new(&[
        "MEMBER",
        "HOSTNAME",
        "ADDRESS",
        "STATE",
        "REACHABLE",
        "VERSION",
        "UNLOCKED BY",
    ]);
    for member in members {
        let leads = if member.leader { " *" } else { "" };
        table.row(vec![
            format!("{}{leads}", member.id),
            member.hostname.clone(),
            member.address.clone(),
            member.state.to_owned(),
            if member.reachable { "yes" } else { "no" }.to_owned(),
            member.version.clone(),
            member.unlocked_by.clone(),
        ]);
    }
    table
}

async fn members(connection: &Connection) -> Result<Vec<pb::MemberInfo>, Error> {
    Ok(ask!(connection, control.get_cluster_status(pb::GetClusterStatusRequest {}))?.members)
}

async fn member_ls(session: &Session) -> Result<(), Error> {
    let connection = session.connect().await?;
    let members: Vec<view::Member> =
        members(&connection).await?.into_iter().map(Into::into).collect();
    if session.printer.json {
        return session.printer.json(&members);
    }
    if session.printer.quiet {
        return secret::ids(session, members.into_iter().map(|member| member.id.to_string()));
    }
    session.printer.data(&member_table(&members).render())
}

/// The number of a member that is named by number, hostname or node id.
async fn find_member(connection: &Connection, wanted: &str) -> Result<u64, Error> {
    let members = members(connection).await?;
    let matches = |member: &&pb::MemberInfo| {
        member.id.to_string() == wanted || member.hostname == wanted || member.node_id == wanted
    };
    // A number goes before a hostname that looks like one.
    let by_number = members.iter().find(|member| member.id.to_string() == wanted);
    by_number.or_else(|| members.iter().find(matches)).map(|member| member.id).ok_or_else(|| {
        let known: Vec<String> =
            members.iter().map(|member| format!("{} ({})", member.id, member.hostname)).collect();
        Error::failed(Kind::NotFound, format!("member `{wanted}` not found"))
            .because(format!("the members are {}", super::listed(&known)))
            .hint("name it by number or hostname, as in `secretctl cluster member ls`")
            .into()
    })
}

fn show_member(session: &Session, member: pb::MemberInfo) -> Result<(), Error> {
    let view = view::Member::from(member);
    if session.printer.json {
        session.printer.json(&view)
    } else {
        session.printer.data(&format!("{} {} {}", view.id, view.hostname, view.address))
    }
}

async fn member_rm(session: &Session, member: &str, lost: bool) -> Result<(), Error> {
    let connection = session.connect().await?;
    let member = find_member(&connection, member).await?;
    let request = pb::RemoveMemberRequest {
        request_key: request_key(),
        member,
        lost,
        // Only the manager itself can say that it destroys its keys: `cluster leave`.
        leaving: false,
    };
    show_member(session, ask!(connection, control.remove_member(request))?)?;
    session.printer.progress(
        "removed without proof that its keys are destroyed: treat its disk as stolen \
         (docs/operations/stolen-disk.md)",
    );
    Ok(())
}

async fn set_address(session: &Session, member: &str, address: String) -> Result<(), Error> {
    let connection = session.connect().await?;
    let member = find_member(&connection, member).await?;
    let request = pb::SetMemberAddressRequest { request_key: request_key(), member, address };
    show_member(session, ask!(connection, control.set_member_address(request))?)
}

async fn replace(session: &Session, dead: &str, new: &str) -> Result<(), Error> {
    let connection = session.connect().await?;
    let dead = find_member(&connection, dead).await?;
    let new = find_member(&connection, new).await?;
    if dead == new {
        let failure = Error::usage("a member cannot replace itself");
        return Err(Error::Usage(failure.hint("name the dead member first, then the new one")));
    }
    let request = pb::ReplaceMemberRequest { request_key: request_key(), dead, new };
    let replaced = ask!(connection, control.replace_member(request))?;
    let view = view::Replaced {
        removed: replaced.removed.map(Into::into),
        added: replaced.added.map(Into::into),
    };
    if session.printer.json {
        return session.printer.json(&view);
    }
    let named = |member: &Option<view::Member>| {
        member
            .as_ref()
            .map_or_else(String::new, |member| format!("{} ({})", member.id, member.hostname))
    };
    session.printer.data(&format!("{} replaced by {}", named(&view.removed), named(&view.added)))
}

/// The last records. Managers give the oldest first, and some at a time.
async fn newest_audit(
    connection: &Connection,
    limit: usize,
) -> Result<Vec<pb::AuditRecord>, Error> {
    let (mut records, mut after) = (VecDeque::new(), 0);
    loop {
        let request = pb::ListAuditRequest { after, limit: AUDIT_PAGE_RECORDS };
        let page = ask!(connection, control.list_audit(request))?.records;
        match page.last() {
            Some(last) if last.index > after => after = last.index,
            _ => return Ok(records.into()),
        }
        records.extend(page);
        records.drain(..records.len().saturating_sub(limit));
    }
}

async fn audit(session: &Session, after: Option<u64>, limit: u32) -> Result<(), Error> {
    let connection = session.connect().await?;
    let records = match after {
        Some(after) => {
            let request = pb::ListAuditRequest { after, limit };
            ask!(connection, control.list_audit(request))?.records
        }
        None => newest_audit(&connection, usize::try_from(limit).unwrap_or(usize::MAX)).await?,
    };
    let records: Vec<view::Audit> = records.into_iter().map(Into::into).collect();
    if session.printer.json {
        return session.printer.json(&records);
    }
    let mut table =
        Table::new(&["INDEX", "TIME", "CALLER", "ACTION", "OBJECT", "OUTCOME", "CHAIN"]);
    for record in records {
        table.row(vec![
            record.index.to_string(),
            record.at.unwrap_or_default(),
            record.caller,
            record.action,
            record.object,
            record.outcome,
            record.chain.chars().take(16).collect(),
        ]);
    }
    session.printer.data(&table.render())
}
