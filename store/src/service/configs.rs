//! Configs: values that are not secret. They come and are shown in clear.
//!
//! Not here: what a config may be, and whether one is used (state); which node gets one (dispatcher).

use std::collections::BTreeMap;

use bytes::Bytes;
use link::Failure;
use proto::convert::{labels, text};
use proto::id::{ConfigId, Revision};
use proto::identity::Caller;
use proto::limits::CONFIG_BYTES_MAX;
use proto::pb;
use state::command::{Command, CreateConfig};
use state::object::{Blob, Config};
use state::{Outcome, Refusal, State};

use super::secrets::{matches, unexpected};
use super::{Service, lookup, mark, parse_failure, refused};

impl Service {
    pub(super) async fn create_config(
        &self,
        caller: Caller,
        request: pb::CreateConfigRequest,
    ) -> Result<pb::CreateConfigResponse, Failure> {
        let mark = mark(&caller, &request.request_key, &request)?;
        // Before it is written to a log that would refuse it.
        if request.data.len() > CONFIG_BYTES_MAX {
            let what = "the bytes of a config's value".to_owned();
            return Err(refused(&Refusal::Limit { what, limit: CONFIG_BYTES_MAX as u64 }));
        }
        let name = text("name", &request.name).map_err(|error| parse_failure(&error))?;
        let labels = labels(request.labels).map_err(|error| parse_failure(&error))?;
        let id = ConfigId::from_entropy(seal::random());
        // A copy of its own: what came is part of a larger buffer, which would live as long.
        let data = Blob(Bytes::copy_from_slice(&request.data));
        let create = CreateConfig { id, name, labels, data };
        match self.propose(caller, Some(mark), Command::CreateConfig(create)).await? {
            Outcome::Config { id } => Ok(pb::CreateConfigResponse { id: id.to_string() }),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) async fn list_configs(
        &self,
        _: Caller,
        request: pb::ListConfigsRequest,
    ) -> Result<pb::ListConfigsResponse, Failure> {
        self.barrier().await?;
        let filter = request.filter.unwrap_or_default();
        let state = self.raft.machine.state();
        let mut users = users(&state);
        let configs = state.configs().iter().filter(|(id, config)| {
            matches(&filter, id.as_str(), config.name.as_str(), &config.labels)
        });
        let configs = configs.map(|(id, config)| {
            let used_by = users.remove(id).unwrap_or_default();
            shown(*id, config, used_by)
        });
        Ok(pb::ListConfigsResponse { configs: configs.collect() })
    }

    pub(super) async fn get_config(
        &self,
        _: Caller,
        request: pb::GetConfigRequest,
    ) -> Result<pb::ConfigInfo, Failure> {
        self.barrier().await?;
        let state = self.raft.machine.state();
        let (id, config) = lookup::config(&state, &request.config)?;
        let used_by = users(&state).remove(&id).unwrap_or_default();
        Ok(pb::ConfigInfo { data: config.data.0.clone(), ..shown(id, config, used_by) })
    }

    pub(super) async fn update_config(
        &self,
        caller: Caller,
        request: pb::UpdateConfigRequest,
    ) -> Result<pb::ConfigInfo, Failure> {
        self.barrier().await?;
        let mark = mark(&caller, &request.request_key, &request)?;
        let labels = labels(request.labels).map_err(|error| parse_failure(&error))?;
        let id = lookup::config(&self.raft.machine.state(), &request.config)?.0;
        let revision = Revision(request.revision);
        let command = Command::UpdateConfigLabels { id, revision, labels };
        self.propose(caller, Some(mark), command).await?;
        let state = self.raft.machine.state();
        let (id, config) = lookup::config(&state, id.as_str())?;
        let used_by = users(&state).remove(&id).unwrap_or_default();
        Ok(shown(id, config, used_by))
    }

    pub(super) async fn remove_config(
        &self,
        caller: Caller,
        request: pb::RemoveConfigRequest,
    ) -> Result<pb::RemoveConfigResponse, Failure> {
        self.barrier().await?;
        let mark = mark(&caller, &request.request_key, &request)?;
        let (id, name) = {
            let state = self.raft.machine.state();
            let (id, config) = lookup::config(&state, &request.config)?;
            (id, config.name.to_string())
        };
        let forget_previous = request.forget_previous;
        self.propose(caller, Some(mark), Command::RemoveConfig { id, forget_previous }).await?;
        Ok(pb::RemoveConfigResponse { id: id.to_string(), name })
    }
}

/// The services that use each config, as they are declared now.
fn users(state: &State) -> BTreeMap<ConfigId, Vec<String>> {
    let mut users: BTreeMap<ConfigId, Vec<String>> = BTreeMap::new();
    for service in state.services().values() {
        let mut ids: Vec<_> = service.spec.task.configs.iter().map(|it| it.config_id).collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            users.entry(id).or_default().push(service.spec.name.to_string());
        }
    }
    for names in users.values_mut() {
        names.sort();
    }
    users
}

fn shown(id: ConfigId, config: &Config, used_by: Vec<String>) -> pb::ConfigInfo {
    pb::ConfigInfo {
        id: id.to_string(),
        name: config.name.to_string(),
        labels: config.labels.as_map().clone(),
        created_at: config.created_at.0,
        updated_at: config.updated_at.0,
        revision: config.revision.0,
        bytes: config.data.0.len() as u64,
        used_by,
        data: Bytes::new(),
    }
}
