//! Secrets: creating and removing them.

use std::collections::BTreeMap;

use proto::id::{SecretId, Version};
use proto::limits::{SECRETS_MAX, USABLE_BY_MAX};
use proto::spec::ServiceSpec;

use super::{Applying, Context};
use crate::command::CreateSecret;
use crate::object::{ObjectId, Secret, SecretVersion, VersionState};
use crate::refusal::Refusal;
use crate::remembered::Outcome;

impl Context<'_> {
    pub(super) fn create_secret(&mut self, create: CreateSecret) -> Applying {
        let folded = create.name.folded();
        if let Some((id, secret)) = self.state.secret_by_name(&folded) {
            return Err(Refusal::Exists {
                what: "secret".into(),
                name: secret.name.to_string(),
                id: id.to_string(),
            });
        }
        if self.state.secrets.contains_key(&create.id) {
            return Err(Refusal::precondition("the id of the secret is taken: try again"));
        }
        if self.state.secrets.len() >= SECRETS_MAX {
            return Err(Refusal::limit("the number of secrets", SECRETS_MAX));
        }
        if create.usable_by.len() > USABLE_BY_MAX {
            return Err(Refusal::limit("the number of users of a secret", USABLE_BY_MAX));
        }
        self.accept_payload(&create)?;
        let version = SecretVersion {
            payload: create.payload,
            created_at: self.now,
            created_by: self.principal(),
            state: VersionState::Live,
        };
        let secret = Secret {
            name: create.name,
            labels: create.labels,
            usable_by: create.usable_by,
            versions: BTreeMap::from([(Version(1), Box::new(version))]),
            current: Version(1),
            created_at: self.now,
            updated_at: self.now,
            revision: self.revision(),
            request: self.request,
        };
        self.state.put_secret(create.id, secret);
        let object = ObjectId::Secret(create.id);
        self.created(object);
        Ok((Outcome::Secret { id: create.id, version: Version(1) }, object))
    }

    /// The payload fits the quota, is wrapped under the active root key, came under a live transit
    /// key, and was not seen before.
    fn accept_payload(&mut self, create: &CreateSecret) -> Result<(), Refusal> {
        let payload = &create.payload;
        let cluster = self.state.cluster.clone();
        let cluster = cluster.ok_or_else(|| Refusal::precondition("there is no cluster yet"))?;
        let bytes = payload.ciphertext.as_bytes().len() + payload.wrapped_dek.as_bytes().len();
        let quota = cluster.payload_quota_bytes;
        if self.state.payload_bytes.saturating_add(bytes as u64) > quota {
            return Err(Refusal::Limit {
                what: "the cluster's sealed payloads, in bytes,".into(),
                limit: quota,
            });
        }
        if payload.wrapped_dek.key_id() != cluster.active_root {
            return Err(Refusal::WrongRoot);
        }
        if !cluster.transit_keys.contains_key(&create.transit_key_id) {
            return Err(Refusal::TransitRetired);
        }
        let seen = self.state.payloads_seen.entry(create.transit_key_id).or_default();
        if seen.insert(payload.payload_id) { Ok(()) } else { Err(Refusal::PayloadReused) }
    }

    pub(super) fn remove_secret(
        &mut self,
        id: SecretId,
        forget_previous: bool,
        shred: bool,
    ) -> Applying {
        let Some(secret) = self.state.secrets.get(&id) else {
            return Err(Refusal::not_found("secret", &id));
        };
        let name = secret.name.to_string();
        let users = self.users_of(id);
        if !users.is_empty() {
            return Err(Refusal::InUse { name, users, previous_only: false });
        }
        let previous: Vec<_> = self
            .state
            .services
            .iter()
            .filter(|(_, s)| s.previous_spec.as_ref().is_some_and(|spec| refers(spec, id)))
            .map(|(service_id, service)| (*service_id, service.clone()))
            .collect();
        if !previous.is_empty() && !forget_previous {
            let users = previous.iter().map(|(_, s)| s.spec.name.to_string()).collect();
            return Err(Refusal::InUse { name, users, previous_only: true });
        }
        for (service_id, service) in previous {
            let mut service = (*service).clone();
            service.previous_spec = None;
            service.previous_spec_revision = None;
            self.state.put_service(service_id, service);
            self.updated(ObjectId::Service(service_id));
        }
        if let Some(secret) = self.state.take_secret(id) {
            self.bury(id, &secret, shred);
        }
        self.removed(ObjectId::Secret(id));
        Ok((Outcome::Done, ObjectId::Secret(id)))
    }

    /// Names of services that hold the secret: by their current spec, or by a task that has it and
    /// is not on its way down.
    fn users_of(&self, id: SecretId) -> Vec<String> {
        let by_spec = self.state.services_of_secret(id).map(|(_, s)| s.spec.name.to_string());
        let by_task = self.state.tasks.values().filter(|task| {
            task.is_live()
                && task.desired <= proto::task::DesiredState::Running
                && task.spec.secrets.iter().any(|reference| reference.secret_id == id)
        });
        let by_task = by_task.map(|task| task.service_name.to_string());
        let names: std::collections::BTreeSet<_> = by_spec.chain(by_task).collect();
        names.into_iter().collect()
    }
}

fn refers(spec: &ServiceSpec, id: SecretId) -> bool {
    spec.task.secrets.iter().any(|reference| reference.secret_id == id)
}
