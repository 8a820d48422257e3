//! Configs: values that are not secret, for the files of tasks.
//!
//! A config's value never changes; another value is another config. Any service may use any config.

use std::sync::Arc;

use proto::id::{ConfigId, Revision};
use proto::limits::{CONFIG_BYTES_MAX, CONFIGS_BYTES_MAX, CONFIGS_MAX};
use proto::name::{Labels, SecretName};
use proto::spec::TaskSpec;

use super::{Applying, Context};
use crate::command::CreateConfig;
use crate::object::{Config, ObjectId};
use crate::refusal::Refusal;
use crate::remembered::Outcome;

impl Context<'_> {
    pub(super) fn create_config(&mut self, create: CreateConfig) -> Applying {
        let CreateConfig { id, name, labels, data } = create;
        if let Some((other, config)) = self.state.config_by_name(&name.folded()) {
            return Err(Refusal::Exists {
                what: "config".into(),
                name: config.name.to_string(),
                id: other.to_string(),
            });
        }
        if self.state.configs.contains_key(&id) {
            return Err(Refusal::precondition("the id of the config is taken: try again"));
        }
        if data.0.is_empty() {
            return Err(Refusal::precondition("a config without a value would be no file"));
        }
        if data.0.len() > CONFIG_BYTES_MAX {
            return Err(Refusal::limit("the bytes of a config's value", CONFIG_BYTES_MAX));
        }
        if self.state.configs.len() >= CONFIGS_MAX {
            return Err(Refusal::limit("the number of configs", CONFIGS_MAX));
        }
        if self.state.config_bytes + data.0.len() as u64 > CONFIGS_BYTES_MAX {
            let what = "the cluster's configs, in bytes,".into();
            return Err(Refusal::Limit { what, limit: CONFIGS_BYTES_MAX });
        }
        let config = Config {
            name,
            labels,
            data,
            created_at: self.now,
            updated_at: self.now,
            revision: self.revision(),
        };
        self.state.put_config(id, config);
        self.created(ObjectId::Config(id));
        Ok((Outcome::Config { id }, ObjectId::Config(id)))
    }

    pub(super) fn update_config_labels(
        &mut self,
        id: ConfigId,
        revision: Revision,
        labels: Labels,
    ) -> Applying {
        let Some(config) = self.state.configs.get(&id) else {
            return Err(Refusal::not_found("config", &id));
        };
        Self::expect_revision(config.revision, revision)?;
        let mut config = (**config).clone();
        config.labels = labels;
        config.updated_at = self.now;
        config.revision = self.revision();
        self.state.configs.insert(id, Arc::new(config));
        self.updated(ObjectId::Config(id));
        Ok((Outcome::Config { id }, ObjectId::Config(id)))
    }

    pub(super) fn remove_config(&mut self, id: ConfigId, forget_previous: bool) -> Applying {
        let Some(config) = self.state.configs.get(&id) else {
            return Err(Refusal::not_found("config", &id));
        };
        let name = config.name.to_string();
        self.give_up("config", &name, forget_previous, |task| refers(task, id))?;
        self.state.take_config(id);
        self.removed(ObjectId::Config(id));
        Ok((Outcome::Done, ObjectId::Config(id)))
    }

    /// Every referred config exists under that name.
    pub(super) fn has_configs(&self, task: &TaskSpec) -> Result<(), Refusal> {
        let is_there = |id: ConfigId, name: &SecretName| {
            self.state.configs.get(&id).is_some_and(|config| config.name == *name)
        };
        let mut references = task.configs.iter();
        match references.find(|it| !is_there(it.config_id, &it.config_name)) {
            Some(missing) => Err(Refusal::not_found("config", &missing.config_name)),
            None => Ok(()),
        }
    }
}

fn refers(task: &TaskSpec, id: ConfigId) -> bool {
    task.configs.iter().any(|reference| reference.config_id == id)
}
