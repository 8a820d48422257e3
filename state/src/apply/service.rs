//! Services: declaring, changing, removing.

use std::collections::BTreeSet;

use proto::id::{Revision, ServiceId};
use proto::limits::SERVICES_MAX;
use proto::spec::{SecretReference, ServiceSpec, VersionChoice};
use proto::task::DesiredState;

use super::{Applying, Context};
use crate::object::{ObjectId, Service, VersionState};
use crate::refusal::Refusal;
use crate::remembered::Outcome;

impl Context<'_> {
    pub(super) fn create_service(&mut self, id: ServiceId, spec: ServiceSpec) -> Applying {
        spec.check().map_err(|error| Refusal::precondition(error.to_string()))?;
        let name = spec.name.as_str().to_ascii_lowercase();
        if let Some(other) = self.state.services_by_name.get(&name) {
            return Err(Refusal::Exists {
                what: "service".into(),
                name: spec.name.to_string(),
                id: other.to_string(),
            });
        }
        if self.state.services.contains_key(&id) {
            return Err(Refusal::precondition("the id of the service is taken: try again"));
        }
        if self.state.services.len() >= SERVICES_MAX {
            return Err(Refusal::limit("the number of services", SERVICES_MAX));
        }
        self.may_use(&spec.task.secrets)?;
        let service = Service {
            spec,
            previous_spec: None,
            created_at: self.now,
            updated_at: self.now,
            revision: self.revision(),
            spec_revision: self.revision(),
            request: self.request,
        };
        self.state.put_service(id, service);
        self.created(ObjectId::Service(id));
        self.replan(Some(id));
        Ok((Outcome::Service { id }, ObjectId::Service(id)))
    }

    pub(super) fn update_service(
        &mut self,
        id: ServiceId,
        revision: Revision,
        spec: ServiceSpec,
    ) -> Applying {
        spec.check().map_err(|error| Refusal::precondition(error.to_string()))?;
        let Some(service) = self.state.services.get(&id) else {
            return Err(Refusal::not_found("service", &id));
        };
        Self::expect_revision(service.revision, revision)?;
        if service.spec.name != spec.name {
            return Err(Refusal::precondition("renaming services is not supported"));
        }
        if std::mem::discriminant(&service.spec.mode) != std::mem::discriminant(&spec.mode) {
            return Err(Refusal::precondition("service mode change is not allowed"));
        }
        let mut service = (**service).clone();
        // Every reference counts anew: who deploys with a secret can read it.
        self.may_use(&spec.task.secrets)?;
        let concerns_tasks =
            service.spec.task != spec.task || service.spec.extensions != spec.extensions;
        if concerns_tasks {
            service.spec_revision = self.revision();
        }
        service.previous_spec = Some(std::mem::replace(&mut service.spec, spec));
        service.updated_at = self.now;
        service.revision = self.revision();
        self.state.put_service(id, service);
        self.updated(ObjectId::Service(id));
        self.replan(Some(id));
        Ok((Outcome::Service { id }, ObjectId::Service(id)))
    }

    pub(super) fn remove_service(&mut self, id: ServiceId) -> Applying {
        if self.state.take_service(id).is_none() {
            return Err(Refusal::not_found("service", &id));
        }
        self.removed(ObjectId::Service(id));
        let tasks: Vec<_> =
            self.state.tasks_of_service(id).map(|(id, task)| (id, task.clone())).collect();
        for (task_id, task) in tasks {
            let mut task = (*task).clone();
            task.desired = DesiredState::Remove;
            task.revision = self.revision();
            self.assignments(task.node_id);
            self.state.put_task(task_id, task);
            self.updated(ObjectId::Task(task_id));
        }
        self.replan(Some(id));
        Ok((Outcome::Done, ObjectId::Service(id)))
    }

    /// Every referred secret exists under that name, in the version that is pinned, and the caller's
    /// services may use it.
    fn may_use(&self, references: &[SecretReference]) -> Result<(), Refusal> {
        let mut missing = BTreeSet::new();
        for reference in references {
            let secret = self.state.secrets.get(&reference.secret_id);
            let named = secret.filter(|secret| secret.name == reference.secret_name);
            match named {
                Some(secret) if self.state.may_use(self.principal(), secret) => {
                    if let VersionChoice::Pinned(version) = reference.version
                        && !secret
                            .versions
                            .get(&version)
                            .is_some_and(|v| v.state == VersionState::Live)
                    {
                        let id = format!("{version} of secret {}", secret.name);
                        return Err(Refusal::not_found("version", &id));
                    }
                }
                Some(secret) => {
                    return Err(Refusal::NotUsable {
                        secret: secret.name.to_string(),
                        caller: self.principal().to_string(),
                    });
                }
                None => {
                    missing.insert(reference.secret_name.to_string());
                }
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = missing.into_iter().collect();
        Err(Refusal::not_found(
            if names.len() == 1 { "secret" } else { "secrets" },
            &names.join(", "),
        ))
    }
}
