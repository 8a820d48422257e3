//! Secrets: creating, rotating and removing them.

use std::collections::{BTreeMap, BTreeSet};

use proto::id::{KeyId, SecretId, Version};
use proto::limits::{SECRETS_MAX, USABLE_BY_MAX, VERSIONS_MAX};
use proto::sealed::StoredPayload;
use proto::spec::{SecretReference, ServiceSpec, TaskSpec, VersionChoice};

use super::{Applying, Context};
use crate::command::{CreateSecret, RotateSecret};
use crate::object::{Followed, ObjectId, OperatorRole, Secret, SecretVersion, VersionState};
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
        self.accept_payload(&create.payload, create.transit_key_id)?;
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

    /// Another value: the current one from now on. Services that follow the secret are redeployed.
    pub(super) fn rotate_secret(&mut self, rotate: RotateSecret) -> Applying {
        let id = rotate.id;
        let Some(secret) = self.state.secrets.get(&id) else {
            return Err(Refusal::not_found("secret", &id));
        };
        let mut secret = (**secret).clone();
        // Writers look after all secrets; a deployer's word counts for those it may deploy with.
        let principal = self.principal();
        let is_deployer = self.state.operator_role(principal) == Some(OperatorRole::Deployer);
        if is_deployer && !self.state.may_use(principal, &secret) {
            let (secret, caller) = (secret.name.to_string(), principal.to_string());
            return Err(Refusal::NotUsable { secret, caller });
        }
        // The data key is wrapped for this version: whoever was quicker took it.
        if rotate.version != Version(secret.current.0 + 1) {
            return Err(Refusal::Stale { current: secret.revision });
        }
        let dropped = self.versions_to_drop(id, &secret)?;
        self.accept_payload(&rotate.payload, rotate.transit_key_id)?;
        let version = SecretVersion {
            payload: rotate.payload,
            created_at: self.now,
            created_by: principal,
            state: VersionState::Live,
        };
        if !dropped.is_empty() {
            let mut gone = secret.clone();
            gone.versions.retain(|version, _| dropped.contains(version));
            secret.versions.retain(|version, _| !dropped.contains(version));
            self.bury(id, &gone, false);
        }
        secret.versions.insert(rotate.version, Box::new(version));
        secret.current = rotate.version;
        secret.updated_at = self.now;
        secret.revision = self.revision();
        self.state.put_secret(id, secret);
        self.updated(ObjectId::Secret(id));
        let users = self.state.services_of_secret(id);
        let followers = users.filter(|(_, service)| follows(&service.spec, id));
        let followers: Vec<_> = followers.map(|(service, _)| service).collect();
        for service in followers {
            self.follow(service, id, rotate.version);
        }
        Ok((Outcome::Secret { id, version: rotate.version }, ObjectId::Secret(id)))
    }

    /// The oldest versions that nothing uses, so many that there is room for one more.
    fn versions_to_drop(
        &self,
        id: SecretId,
        secret: &Secret,
    ) -> Result<BTreeSet<Version>, Refusal> {
        let excess = (secret.versions.len() + 1).saturating_sub(VERSIONS_MAX);
        if excess == 0 {
            return Ok(BTreeSet::new());
        }
        let used = self.versions_in_use(id);
        let unused = secret.versions.keys().filter(|version| !used.contains(version));
        let unused = unused.filter(|version| **version != secret.current);
        let dropped: BTreeSet<_> = unused.take(excess).copied().collect();
        if dropped.len() < excess {
            return Err(Refusal::limit("the number of versions of a secret in use", VERSIONS_MAX));
        }
        Ok(dropped)
    }

    /// Versions that a declaration, one that can be gone back to, or a task means that is not over.
    fn versions_in_use(&self, id: SecretId) -> BTreeSet<Version> {
        let mut used = BTreeSet::new();
        let mut mean = |references: &[SecretReference], followed: Option<&Followed>| {
            let of_secret = references.iter().filter(|reference| reference.secret_id == id);
            used.extend(of_secret.map(|reference| Followed::version_of(followed, reference)));
        };
        for service in self.state.services.values() {
            mean(&service.spec.task.secrets, service.followed.as_ref());
            if let Some(before) = &service.previous_spec {
                mean(&before.task.secrets, service.previous_followed.as_ref());
            }
        }
        for task in self.state.tasks.values().filter(|task| task.is_live()) {
            mean(&task.spec.secrets, task.followed.as_ref());
        }
        used
    }

    /// The payload fits the quota, is wrapped under the active root key, came under a live transit
    /// key, and was not seen before.
    fn accept_payload(
        &mut self,
        payload: &StoredPayload,
        transit_key_id: KeyId,
    ) -> Result<(), Refusal> {
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
        if !cluster.transit_keys.contains_key(&transit_key_id) {
            return Err(Refusal::TransitRetired);
        }
        let seen = self.state.payloads_seen.entry(transit_key_id).or_default();
        let before = seen.insert(payload.payload_id, ());
        if before.is_none() { Ok(()) } else { Err(Refusal::PayloadReused) }
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
        self.give_up("secret", &name, forget_previous, |task| refers(task, id))?;
        if let Some(secret) = self.state.take_secret(id) {
            self.bury(id, &secret, shred);
        }
        if shred {
            self.hurry(id);
        }
        self.removed(ObjectId::Secret(id));
        Ok((Outcome::Done, ObjectId::Secret(id)))
    }

    /// Nothing that is used is removed: `refers` says whether a task's declaration needs it. What only
    /// declarations of before need is given up with them, if that is wanted.
    pub(super) fn give_up(
        &mut self,
        what: &'static str,
        name: &str,
        forget_previous: bool,
        refers: impl Fn(&TaskSpec) -> bool,
    ) -> Result<(), Refusal> {
        let services = self.state.services.iter();
        let name = name.to_owned();
        let users = self.users_of(&refers);
        if !users.is_empty() {
            return Err(Refusal::InUse { what, name, users, previous_only: false });
        }
        let refers = |spec: &ServiceSpec| refers(&spec.task);
        let previous: Vec<_> = services
            .filter(|(_, service)| service.previous_spec.as_ref().is_some_and(refers))
            .map(|(id, service)| (*id, service.clone()))
            .collect();
        if !previous.is_empty() && !forget_previous {
            let users = previous.iter().map(|(_, s)| s.spec.name.to_string()).collect();
            return Err(Refusal::InUse { what, name, users, previous_only: true });
        }
        for (id, service) in previous {
            let mut service = (*service).clone();
            service.previous_spec = None;
            service.previous_spec_revision = None;
            service.previous_followed = None;
            self.state.put_service(id, service);
            self.updated(ObjectId::Service(id));
        }
        Ok(())
    }

    /// Names of services that hold something: by their current spec, or by a task that has it and is
    /// not on its way down.
    fn users_of(&self, refers: impl Fn(&TaskSpec) -> bool) -> Vec<String> {
        let services = self.state.services.values();
        let by_spec = services.filter(|service| refers(&service.spec.task));
        let by_spec = by_spec.map(|service| service.spec.name.to_string());
        let by_task = self.state.tasks.values().filter(|task| {
            task.is_live()
                && task.desired <= proto::task::DesiredState::Running
                && refers(&task.spec)
        });
        let by_task = by_task.map(|task| task.service_name.to_string());
        let names: BTreeSet<_> = by_spec.chain(by_task).collect();
        names.into_iter().collect()
    }
}

fn follows(spec: &ServiceSpec, id: SecretId) -> bool {
    let mut references = spec.task.secrets.iter().filter(|reference| reference.secret_id == id);
    references.any(|reference| reference.version == VersionChoice::Follow)
}

fn refers(task: &TaskSpec, id: SecretId) -> bool {
    task.secrets.iter().any(|reference| reference.secret_id == id)
}
