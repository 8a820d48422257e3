//! `context`: add, ls, use, rm, show, export-docker.

use std::path::Path;

use proto::Kind;
use proto::identity::Role;

use super::{Session, Tally, read_token};
use crate::cli::{ContextAddArgs, ContextCommand};
use crate::context::{Contexts, show_path};
use crate::enroll;
use crate::error::Error;
use crate::table::{Card, Table};
use crate::view::ContextView;

pub(super) async fn run(session: &Session, command: ContextCommand) -> Result<(), Error> {
    match command {
        ContextCommand::Add(args) => add(session, args).await,
        ContextCommand::Ls => ls(session),
        ContextCommand::Use { name } => choose(session, &name),
        ContextCommand::Rm { names } => rm(session, &names),
        ContextCommand::Show { name } => show(session, name),
        ContextCommand::ExportDocker { folder, name } => export_docker(session, &folder, name),
    }
}

async fn add(session: &Session, args: ContextAddArgs) -> Result<(), Error> {
    let contexts = Contexts::of_user()?;
    contexts.prepare(&args.name)?;
    let (token, text) = read_token(&args.token)?;
    drop(text);
    if token.role != Role::Operator {
        let failure = Error::failed(Kind::Invalid, "this token does not admit an operator");
        return Err(failure
            .because(format!("it admits a {} as part of the cluster", token.role))
            .hint("an admin makes one for you with `secretctl operator add`")
            .into());
    }
    let admitted = enroll::enrol(&token, &args.manager, session.global.timeout).await?;
    contexts.add(&args.name, &admitted.facts, &admitted.ca, &admitted.identity)?;
    let current = contexts.current()?;
    if session.printer.json {
        let stored = contexts.read(&args.name)?;
        let folder = show_path(&contexts.path(&args.name));
        let is_current = current.as_deref() == Some(&args.name);
        return session.printer.json(&ContextView::of(&stored, is_current, folder));
    }
    session.printer.data(&args.name)?;
    let subject = admitted.says.identity.subject;
    session.printer.progress(&format!("enrolled as {subject}"));
    if current.as_deref() != Some(&args.name) {
        session.printer.hint(&format!("choose it with `secretctl context use {}`", args.name));
    }
    Ok(())
}

fn views(contexts: &Contexts) -> Result<Vec<ContextView>, Error> {
    let current = contexts.current()?;
    let mut views = Vec::new();
    for name in contexts.names()? {
        let stored = contexts.read(&name)?;
        let folder = show_path(&contexts.path(&name));
        views.push(ContextView::of(&stored, current.as_ref() == Some(&name), folder));
    }
    Ok(views)
}

fn ls(session: &Session) -> Result<(), Error> {
    let views = views(&Contexts::of_user()?)?;
    if session.printer.json {
        return session.printer.json(&views);
    }
    if session.printer.quiet {
        return super::secret::ids(session, views.into_iter().map(|view| view.name));
    }
    let mut table = Table::new(&["NAME", "SUBJECT", "MANAGERS", "CERTIFICATE ENDS"]);
    for view in views {
        let current = if view.current { " *" } else { "" };
        table.row(vec![
            view.name + current,
            view.subject,
            view.managers.join(", "),
            view.certificate_not_after.unwrap_or_default(),
        ]);
    }
    session.printer.data(&table.render())
}

fn choose(session: &Session, name: &str) -> Result<(), Error> {
    let name = Some(name).filter(|name| *name != "-");
    Contexts::of_user()?.choose(name)?;
    match name {
        Some(name) if !session.printer.json => session.printer.data(name),
        _ => Ok(()),
    }
}

fn rm(session: &Session, names: &[String]) -> Result<(), Error> {
    let contexts = Contexts::of_user()?;
    let mut tally = Tally::default();
    let mut removed = Vec::new();
    for name in names {
        if tally.is_over() {
            break;
        }
        let outcome = contexts.remove(name).map_err(Error::from);
        if tally.count(session.printer, outcome).is_some() {
            if !session.printer.json {
                session.printer.data(name)?;
            }
            removed.push(name);
        }
    }
    if session.printer.json {
        session.printer.json(&removed)?;
    }
    tally.end()
}

fn show(session: &Session, name: Option<String>) -> Result<(), Error> {
    let contexts = Contexts::of_user()?;
    let current = contexts.current()?;
    let name = chosen(session, name, current.clone())?;
    let stored = contexts.read(&name)?;
    let is_current = current.as_ref() == Some(&name);
    let view = ContextView::of(&stored, is_current, show_path(&contexts.path(&name)));
    if session.printer.json {
        return session.printer.json(&view);
    }
    let mut card = Card::new(&view.name);
    card.line("current", if view.current { "yes" } else { "no" });
    card.line("subject", view.subject);
    card.line("managers", view.managers.join(", "));
    card.line("realm", view.realm);
    card.line("incarnation", view.incarnation.to_string());
    card.line("certificate ends", view.certificate_not_after.unwrap_or_default());
    card.line("renews from", view.renews_at.unwrap_or_default());
    card.line("folder", view.folder);
    session.printer.data(&card.render())
}

/// The context that is meant.
fn chosen(
    session: &Session,
    name: Option<String>,
    current: Option<String>,
) -> Result<String, Error> {
    name.or_else(|| session.global.context.clone()).or(current).ok_or_else(|| {
        Error::failed(Kind::NotFound, "no context is chosen")
            .because("commands talk to the unix socket of this machine")
            .hint("`secretctl context ls` shows those there are")
            .into()
    })
}

fn export_docker(session: &Session, folder: &Path, name: Option<String>) -> Result<(), Error> {
    let contexts = Contexts::of_user()?;
    let name = chosen(session, name, contexts.current()?)?;
    contexts.read(&name)?.export_docker(folder)?;
    if session.printer.json {
        return session.printer.json(&serde_json::json!({ "folder": show_path(folder) }));
    }
    session.printer.data(&show_path(folder))?;
    session.printer.hint(&format!(
        "`DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH={} DOCKER_HOST=tcp://HOST:PORT docker …`, at a \
         manager's docker-address",
        folder.display()
    ));
    Ok(())
}
