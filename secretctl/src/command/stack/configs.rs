//! The configs of a stack. The value of one never changes: what is there under the name has the value
//! that is declared, or nothing is deployed.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use proto::limits::CONFIG_BYTES_MAX;
use proto::{Kind, pb};

use super::{Action, Deployment, foreign};
use crate::command::config;
use crate::compose::{NAMESPACE, StackSecret, ValueFrom};
use crate::connection::{Connection, ask, request_key};
use crate::error::Error;
use crate::table::natural_order;

/// What is to be done for a config.
enum Plan {
    /// It is there, with this id.
    Keep(String),
    /// It is to be made, of this.
    Make(Vec<u8>),
}

/// A config, and what is to be done for it.
pub(super) struct Step(StackSecret, Plan);

/// Reads every value, and compares it with what is there; nothing is sent.
pub(super) async fn prepared(
    connection: &Connection,
    stack: &str,
    folder: &Path,
    configs: BTreeMap<String, StackSecret>,
) -> Result<Vec<Step>, Error> {
    let names = configs.values().map(|config| config.name.to_string()).collect();
    let known = config::named(connection, names).await?;
    let mut steps = Vec::with_capacity(configs.len());
    for config in configs.into_values() {
        let name = config.name.as_str();
        let before = known.iter().find(|info| info.name.eq_ignore_ascii_case(name));
        let plan = match (before, value(folder, &config)?) {
            (Some(info), None) => Plan::Keep(info.id.clone()),
            (Some(info), Some(_)) if info.labels.get(NAMESPACE).is_none_or(|of| of != stack) => {
                return Err(foreign("config", name, stack).into());
            }
            (Some(info), Some(value)) => {
                let request = pb::GetConfigRequest { config: info.id.clone() };
                let there = ask!(connection, control.get_config(request))?;
                if there.data != value {
                    let message = format!("config {name} is there with another value");
                    return Err(Error::failed(Kind::Exists, message)
                        .because("a config's value never changes; nothing was changed")
                        .hint(
                            "give it another `name` in the compose file, such as one with a number",
                        )
                        .into());
                }
                Plan::Keep(info.id.clone())
            }
            (None, Some(value)) => Plan::Make(value),
            (None, None) => {
                return Err(Error::failed(Kind::NotFound, format!("config not found: {name}"))
                    .because("the compose file says that it is external")
                    .hint(format!("create it first: `secretctl config create {name} FILE`"))
                    .into());
            }
        };
        steps.push(Step(config, plan));
    }
    Ok(steps)
}

/// The value that is declared; none of what is somebody else's.
fn value(folder: &Path, config: &StackSecret) -> Result<Option<Vec<u8>>, Error> {
    let bytes = match &config.from {
        ValueFrom::Cluster => return Ok(None),
        ValueFrom::File(path) => config::read(&folder.join(path))?,
        ValueFrom::Text(text) => text.clone().into_bytes(),
        ValueFrom::Variable(variable) => {
            let value = std::env::var_os(variable).ok_or_else(|| {
                Error::failed(Kind::NotFound, format!("the variable {variable} is not set"))
                    .because(format!("config {} has its value from there", config.name))
                    .hint("export it, or give the config a `file`")
            })?;
            value.into_vec()
        }
    };
    if bytes.is_empty() || bytes.len() > CONFIG_BYTES_MAX {
        let message = format!("config {} has {} bytes", config.name, bytes.len());
        let failure = Error::failed(Kind::Invalid, message);
        return Err(failure.hint("a config has 1 byte to 1,000 KiB").into());
    }
    Ok(Some(bytes))
}

/// The configs that carry a stack's label.
pub(super) async fn of_stack(
    connection: &Connection,
    name: &str,
) -> Result<Vec<pb::ConfigInfo>, Error> {
    let labels = BTreeMap::from([(NAMESPACE.to_owned(), name.to_owned())]);
    let filter = pb::SecretFilter { labels, ..Default::default() };
    let request = pb::ListConfigsRequest { filter: Some(filter) };
    let mut configs = ask!(connection, control.list_configs(request))?.configs;
    configs.sort_by(|one, other| natural_order(&one.name, &other.name));
    Ok(configs)
}

pub(super) async fn remove(connection: &Connection, info: &pb::ConfigInfo) -> Result<(), Error> {
    let request = pb::RemoveConfigRequest {
        request_key: request_key(),
        config: info.id.clone(),
        ..Default::default()
    };
    ask!(connection, control.remove_config(request)).map(|_| ())
}

impl Deployment<'_> {
    /// Makes those that are missing; the ids of all, by folded name.
    pub(super) async fn configs(
        &mut self,
        steps: Vec<Step>,
    ) -> Result<BTreeMap<String, String>, Error> {
        let mut ids = BTreeMap::new();
        for Step(config, plan) in steps {
            let name = config.name.as_str();
            let id = match plan {
                Plan::Keep(id) => id,
                Plan::Make(value) => {
                    let id =
                        config::store(&self.connection, name, value, config.labels.clone()).await?;
                    self.told.say(self.session, Action::Create, "config", name, &id)?;
                    id
                }
            };
            ids.insert(config.name.folded().as_str().to_owned(), id);
        }
        Ok(ids)
    }
}
