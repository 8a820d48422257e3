//! `config`: create, ls, inspect, rm; and the configs that services and stacks refer to.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use proto::Kind;
use proto::convert::EnumField as _;
use proto::limits::CONFIG_BYTES_MAX;
use proto::name::SecretName;
use proto::pb;
use proto::spec::{RuntimeKind, SECRETS_FOLDER};

use super::secret::ids;
use super::{Session, Tally};
use crate::cli::ConfigCommand;
use crate::connection::{Connection, ask, request_key};
use crate::error::Error;
use crate::reference::ConfigOption;
use crate::table::{Card, Table, natural_order};
use crate::value;
use crate::view::{self, Named};

pub(super) async fn run(session: &Session, command: ConfigCommand) -> Result<(), Error> {
    match command {
        ConfigCommand::Create { name, file, label } => {
            create(session, &name, &file, label.into_iter().collect()).await
        }
        ConfigCommand::Ls => ls(session).await,
        ConfigCommand::Inspect { configs } => inspect(session, &configs).await,
        ConfigCommand::Rm { configs, forget_previous } => {
            rm(session, &configs, forget_previous).await
        }
    }
}

/// The value of a config, from a file or from standard input.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, Error> {
    let opened = if file == Path::new("-") { value::stdin() } else { File::open(file) };
    let bytes = opened.and_then(bounded);
    bytes.map_err(|error| {
        let message = format!("no config in {}", file.display());
        Error::failed(Kind::Invalid, message)
            .because(error.to_string())
            .hint("FILE is the name of a file, or `-` for standard input; a config has 1 byte to 1,000 KiB")
            .into()
    })
}

fn bounded(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(CONFIG_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    match bytes.len() {
        0 => Err(io::Error::other("it is empty")),
        length if length > CONFIG_BYTES_MAX => {
            Err(io::Error::other(format!("it has more than {CONFIG_BYTES_MAX} bytes")))
        }
        _ => Ok(bytes),
    }
}

/// Makes a config; its id.
pub(super) async fn store(
    connection: &Connection,
    name: &str,
    data: Vec<u8>,
    labels: BTreeMap<String, String>,
) -> Result<String, Error> {
    let name = name.to_owned();
    let request =
        pb::CreateConfigRequest { request_key: request_key(), name, labels, data: data.into() };
    Ok(ask!(connection, control.create_config(request))?.id)
}

async fn create(
    session: &Session,
    name: &str,
    file: &Path,
    labels: BTreeMap<String, String>,
) -> Result<(), Error> {
    name.parse::<SecretName>().map_err(|error| {
        Error::Usage(Error::usage(error.to_string()).hint("see `secretctl config create --help`"))
    })?;
    let data = read(file)?;
    let connection = session.connect().await?;
    let id = store(&connection, name, data, labels).await?;
    if session.printer.json {
        return session.printer.json(&Named { id, name: name.to_owned() });
    }
    session.printer.data(&id)
}

async fn ls(session: &Session) -> Result<(), Error> {
    let connection = session.connect().await?;
    let request = pb::ListConfigsRequest { filter: None };
    let mut configs = ask!(connection, control.list_configs(request))?.configs;
    configs.sort_by(|one, other| natural_order(&one.name, &other.name));
    if session.printer.json {
        let views: Vec<view::Config> = configs.into_iter().map(Into::into).collect();
        return session.printer.json(&views);
    }
    if session.printer.quiet {
        return ids(session, configs.into_iter().map(|config| config.id));
    }
    let mut table = Table::new(&["ID", "NAME", "BYTES", "CREATED", "UPDATED", "USED BY"]);
    for config in configs {
        table.row(vec![
            config.id,
            config.name,
            config.bytes.to_string(),
            session.ago(config.created_at),
            session.ago(config.updated_at),
            config.used_by.join(", "),
        ]);
    }
    session.printer.data(&table.render())
}

async fn inspect(session: &Session, configs: &[String]) -> Result<(), Error> {
    let connection = session.connect().await?;
    let mut tally = Tally::default();
    let mut views = Vec::new();
    for config in configs {
        if tally.is_over() {
            break;
        }
        let request = pb::GetConfigRequest { config: config.clone() };
        let answer = ask!(connection, control.get_config(request));
        if let Some(info) = tally.count(session.printer, answer) {
            views.push(view::Config::from(info));
        }
    }
    if session.printer.json {
        session.printer.json(&views)?;
        return tally.end();
    }
    for view in views {
        let mut card = Card::new(&view.name);
        card.line("id", view.id);
        let labels = view.labels.iter().map(|(key, value)| format!("{key}={value}"));
        card.line("labels", labels.collect::<Vec<_>>().join(", "));
        card.line("used by", view.used_by.join(", "));
        card.line("created", view.created_at);
        card.line("updated", view.updated_at);
        card.line("revision", view.revision.to_string());
        // A terminal is not fed what somebody else wrote.
        card.line("value", format!("{} bytes; `--json` shows them", view.bytes));
        session.printer.data(&card.render())?;
    }
    tally.end()
}

async fn rm(session: &Session, configs: &[String], forget_previous: bool) -> Result<(), Error> {
    let connection = session.connect().await?;
    let mut tally = Tally::default();
    let mut done = Vec::new();
    for config in configs {
        if tally.is_over() {
            break;
        }
        let request = pb::RemoveConfigRequest {
            request_key: request_key(),
            config: config.clone(),
            forget_previous,
        };
        let answer = ask!(connection, control.remove_config(request));
        if let Some(answer) = tally.count(session.printer, answer) {
            if !session.printer.json {
                session.printer.data(&answer.name)?;
            }
            done.push(Named { id: answer.id, name: answer.name });
        }
    }
    if session.printer.json {
        session.printer.json(&done)?;
    }
    tally.end()
}

/// Configs by their full ids or exact names: one call for all of them.
pub(super) async fn named(
    connection: &Connection,
    names: Vec<String>,
) -> Result<Vec<pb::ConfigInfo>, Error> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let is_id = |name: &&String| name.parse::<proto::id::ConfigId>().is_ok();
    let ids = names.iter().filter(is_id).cloned().collect();
    let filter = pb::SecretFilter { ids, names, ..Default::default() };
    let request = pb::ListConfigsRequest { filter: Some(filter) };
    Ok(ask!(connection, control.list_configs(request))?.configs)
}

/// Finds the configs that a service is to use.
pub(super) async fn resolve(
    connection: &Connection,
    options: &[ConfigOption],
) -> Result<Vec<pb::ConfigReference>, Error> {
    let names = options.iter().map(|option| option.source.clone()).collect();
    let found = named(connection, names).await?;
    let references = options.iter().map(|option| {
        let by_id = found.iter().find(|config| config.id == option.source);
        let by_name =
            || found.iter().find(|config| config.name.eq_ignore_ascii_case(&option.source));
        let Some(config) = by_id.or_else(by_name) else {
            let name = &option.source;
            return Err(Error::from(
                Error::failed(Kind::NotFound, format!("config not found: {name}"))
                    .hint(format!("create it first: `secretctl config create {name} FILE`"))
                    .hint("`secretctl config ls` shows those there are"),
            ));
        };
        Ok(pb::ConfigReference {
            config_id: config.id.clone(),
            config_name: config.name.clone(),
            target: option.target.as_ref().map(ToString::to_string).unwrap_or_default(),
            uid: option.uid,
            gid: option.gid,
            mode: Some(option.mode.bits()),
        })
    });
    references.collect()
}

/// A target that was not given: the config's name, where a task of this kind can have it.
pub(super) fn place(references: &mut [pb::ConfigReference], runtime: i32) {
    let is_process = runtime == RuntimeKind::Process.number();
    for reference in references.iter_mut().filter(|reference| reference.target.is_empty()) {
        let name = &reference.config_name;
        reference.target =
            if is_process { format!("{SECRETS_FOLDER}/{name}") } else { format!("/{name}") };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_its_bounds() {
        assert!(bounded(&b""[..]).is_err());
        assert_eq!(bounded(&b"\xff"[..]).unwrap(), b"\xff");
        assert!(bounded(&vec![1; CONFIG_BYTES_MAX][..]).is_ok());
        assert!(bounded(&vec![1; CONFIG_BYTES_MAX + 1][..]).is_err());
    }

    #[test]
    fn a_place_that_is_not_given_is_one_that_the_task_can_have() {
        let placed = |target: &str, runtime: RuntimeKind| {
            let reference = pb::ConfigReference {
                config_name: "site".into(),
                target: target.into(),
                ..Default::default()
            };
            let mut all = [reference];
            place(&mut all, runtime.number());
            all[0].target.clone()
        };
        assert_eq!(placed("", RuntimeKind::Process), "/run/secrets/site");
        assert_eq!(placed("", RuntimeKind::Docker), "/site");
        assert_eq!(placed("/etc/site", RuntimeKind::Process), "/etc/site");
    }
}
