//! `operator`: add, ls, rm.

use proto::name::OperatorName;
use proto::pb;

use super::{Session, Tally, secret};
use crate::cli::{OperatorCommand, RoleArg};
use crate::connection::{ask, request_key};
use crate::error::Error;
use crate::table::{Table, natural_order};
use crate::view::{self, Named};

pub(super) async fn run(session: &Session, command: OperatorCommand) -> Result<(), Error> {
    match command {
        OperatorCommand::Add { name, role, group } => add(session, name, role, group).await,
        OperatorCommand::Ls => ls(session).await,
        OperatorCommand::Rm { operators } => rm(session, operators).await,
    }
}

async fn add(session: &Session, name: String, role: RoleArg, group: String) -> Result<(), Error> {
    for text in [Some(&name), Some(&group).filter(|group| !group.is_empty())].into_iter().flatten()
    {
        text.parse::<OperatorName>().map_err(|error| {
            Error::Usage(
                Error::usage(error.to_string()).hint("see `secretctl operator add --help`"),
            )
        })?;
    }
    let connection = session.connect().await?;
    let request = pb::AddOperatorRequest {
        request_key: request_key(),
        name: name.clone(),
        role: role.as_str().to_owned(),
        group,
    };
    let added = ask!(connection, control.add_operator(request))?;
    let expires_at = proto::id::Timestamp(added.expires_at).to_rfc3339();
    if session.printer.json {
        return session.printer.json(&view::NewToken {
            id: added.id,
            token: added.token,
            expires_at: Some(expires_at),
            uses: Some(1),
        });
    }
    session.printer.data(&added.token)?;
    session.printer.hint(&format!(
        "{name} enrols with it, once, until {expires_at}: `secretctl context add NAME --token - \
         --manager HOST:PORT`"
    ));
    Ok(())
}

async fn ls(session: &Session) -> Result<(), Error> {
    let connection = session.connect().await?;
    let operators = ask!(connection, control.list_operators(pb::ListOperatorsRequest {}))?;
    let mut operators = operators.operators;
    operators.sort_by(|one, other| natural_order(&one.name, &other.name));
    if session.printer.json {
        let views: Vec<view::Operator> = operators.into_iter().map(Into::into).collect();
        return session.printer.json(&views);
    }
    if session.printer.quiet {
        return secret::ids(session, operators.into_iter().map(|operator| operator.id));
    }
    let mut table = Table::new(&["ID", "NAME", "ROLE", "GROUP", "CREATED", "CERTIFICATE ENDS"]);
    for operator in operators {
        let ends = if operator.enrolled {
            session.ago(operator.certificate_not_after)
        } else {
            "not enrolled".into()
        };
        table.row(vec![
            operator.id,
            operator.name,
            operator.role,
            operator.group,
            session.ago(operator.created_at),
            ends,
        ]);
    }
    session.printer.data(&table.render())
}

async fn rm(session: &Session, operators: Vec<String>) -> Result<(), Error> {
    let connection = session.connect().await?;
    let mut tally = Tally::default();
    let mut removed = Vec::new();
    for operator in operators {
        if tally.is_over() {
            break;
        }
        let request = pb::RemoveOperatorRequest { request_key: request_key(), operator };
        let answer = ask!(connection, control.remove_operator(request));
        if let Some(answer) = tally.count(session.printer, answer) {
            if !session.printer.json {
                session.printer.data(&answer.name)?;
            }
            removed.push(Named { id: answer.id, name: answer.name });
        }
    }
    if session.printer.json {
        session.printer.json(&removed)?;
    }
    tally.end()
}
