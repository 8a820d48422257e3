//! Services: declaring, changing, rolling back, removing.

use std::collections::BTreeSet;

use proto::id::{Revision, SecretId, ServiceId, Version};
use proto::limits::SERVICES_MAX;
use proto::spec::{SecretReference, ServiceSpec, VersionChoice};
use proto::task::DesiredState;

use super::task::StaleStep;
use super::{Applying, Context};
use crate::object::{Followed, ObjectId, Service, Task, VersionState};
use crate::refusal::Refusal;
use crate::remembered::Outcome;
use crate::rollout::{UpdateState, UpdateStatus};
use crate::schedule;

/// Whether two declarations make the same tasks: what else they differ in restarts nothing.
fn same_tasks(one: &ServiceSpec, other: &ServiceSpec) -> bool {
    one.task == other.task && one.extensions == other.extensions
}

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
        self.has_configs(&spec.task)?;
        let followed = self.followed_now(&spec);
        let service = Service {
            spec,
            previous_spec: None,
            created_at: self.now,
            updated_at: self.now,
            revision: self.revision(),
            spec_revision: self.revision(),
            request: self.request,
            previous_spec_revision: None,
            update: None,
            followed,
            previous_followed: None,
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
        self.has_configs(&spec.task)?;
        let declared = service.spec_revision;
        let (mut goes_on_as, mut message) = (UpdateState::Updating, "update in progress");
        if same_tasks(&service.spec, &spec) {
            let is_unfinished =
                |update: &UpdateStatus| update.state.is_active() || update.state.is_paused();
            if service.update.as_ref().is_some_and(is_unfinished) {
                // What is on its way is about the tasks: what else changes meanwhile is not where it
                // would go back to, nor does it begin anew.
                service.spec = spec;
                if service.active_update().is_some() {
                    self.put_declared(id, service);
                    return Ok((Outcome::Service { id }, ObjectId::Service(id)));
                }
                if service.update.as_ref().is_some_and(|update| update.state.is_rollback()) {
                    // As an update it could be rolled back, to what was left because it failed.
                    (goes_on_as, message) = (UpdateState::RollbackStarted, "rollback in progress");
                }
            } else if service.spec != spec {
                service.previous_spec = Some(std::mem::replace(&mut service.spec, spec));
                service.previous_spec_revision = Some(declared);
                service.previous_followed.clone_from(&service.followed);
            }
        } else {
            let followed = self.followed_now(&spec);
            // What is declared again is what it was: tasks of then are of the declaration.
            let again = service.previous_spec.as_ref().filter(|before| same_tasks(before, &spec));
            let again = again.filter(|_| service.previous_followed == followed);
            let again = again.and(service.previous_spec_revision);
            service.spec_revision = again.unwrap_or_else(|| self.revision());
            service.previous_spec = Some(std::mem::replace(&mut service.spec, spec));
            service.previous_spec_revision = Some(declared);
            service.previous_followed = std::mem::replace(&mut service.followed, followed);
        }
        self.declare(id, service, goes_on_as, message);
        Ok((Outcome::Service { id }, ObjectId::Service(id)))
    }

    /// An operator's rollback. What is left becomes the previous declaration: a second one undoes it.
    pub(super) fn roll_back_service(&mut self, id: ServiceId, revision: Revision) -> Applying {
        let Some(service) = self.state.services.get(&id) else {
            return Err(Refusal::not_found("service", &id));
        };
        Self::expect_revision(service.revision, revision)?;
        let mut service = (**service).clone();
        let name = &service.spec.name;
        let (Some(spec), Some(spec_revision)) =
            (service.previous_spec.take(), service.previous_spec_revision)
        else {
            let reason = format!("service {name} does not have a previous spec");
            return Err(Refusal::precondition(reason));
        };
        self.may_use(&spec.task.secrets)?;
        self.has_configs(&spec.task)?;
        service.previous_spec = Some(std::mem::replace(&mut service.spec, spec));
        service.previous_spec_revision =
            Some(std::mem::replace(&mut service.spec_revision, spec_revision));
        std::mem::swap(&mut service.followed, &mut service.previous_followed);
        self.declare(id, service, UpdateState::RollbackStarted, "manually requested rollback");
        Ok((Outcome::Service { id }, ObjectId::Service(id)))
    }

    /// A followed secret has another version: the service is declared anew, with that. An update that
    /// is under way keeps its way back, to what ran before it; one that is paused stays paused, and
    /// what starts meanwhile gets the new version.
    pub(super) fn follow(&mut self, id: ServiceId, secret: SecretId, version: Version) {
        let Some(service) = self.state.services.get(&id) else { return };
        let mut service = (**service).clone();
        let followed = Followed::with(service.followed.as_ref(), secret, version);
        let declared = std::mem::replace(&mut service.spec_revision, self.revision());
        let before = std::mem::replace(&mut service.followed, followed);
        if service.update.as_ref().is_some_and(|update| update.state.is_paused()) {
            return self.put_declared(id, service);
        }
        let is_updating = service.active_update().is_some_and(|it| !it.state.is_rollback());
        if !is_updating {
            service.previous_spec = Some(service.spec.clone());
            service.previous_spec_revision = Some(declared);
            service.previous_followed = before;
        }
        self.declare(id, service, UpdateState::Updating, "update in progress");
    }

    /// What following means to what is declared now.
    fn followed_now(&self, spec: &ServiceSpec) -> Option<Followed> {
        let follows = |reference: &&SecretReference| reference.version == VersionChoice::Follow;
        let secrets = spec.task.secrets.iter().filter(follows);
        secrets.fold(None, |followed, reference| {
            let secret = self.state.secrets.get(&reference.secret_id);
            let version = secret.map_or(Followed::FIRST, |secret| secret.current);
            Followed::with(followed.as_ref(), reference.secret_id, version)
        })
    }

    /// The rollback of an update that failed. What failed is not kept: there is nothing to go back
    /// to from here (Swarm's rule).
    pub(super) fn roll_back(
        &mut self,
        id: ServiceId,
        revision: Revision,
        message: &str,
    ) -> Result<(), StaleStep> {
        let service = self.state.services.get(&id).filter(|service| service.revision == revision);
        let mut service = (**service.ok_or(StaleStep)?).clone();
        let update = service.update.take().filter(|update| update.state == UpdateState::Updating);
        let started_at = update.ok_or(StaleStep)?.started_at;
        let (Some(spec), Some(spec_revision)) =
            (service.previous_spec.take(), service.previous_spec_revision.take())
        else {
            return Err(StaleStep);
        };
        let left = std::mem::replace(&mut service.spec, spec);
        let left_revision = std::mem::replace(&mut service.spec_revision, spec_revision);
        let left_followed =
            std::mem::replace(&mut service.followed, service.previous_followed.take());
        self.adopt(id, (&left, left_followed.as_ref()), left_revision, &service);
        let mut update = self.begin_update(id, &service, UpdateState::RollbackStarted, message);
        update.started_at = started_at;
        service.update = Some(update);
        self.put_declared(id, service);
        Ok(())
    }

    /// Stores a service with another spec and its rollout; none if every task is of the spec.
    fn declare(&mut self, id: ServiceId, mut service: Service, state: UpdateState, message: &str) {
        if let (Some(left), Some(left_revision)) =
            (service.previous_spec.as_ref(), service.previous_spec_revision)
        {
            let left_followed = service.previous_followed.as_ref();
            self.adopt(id, (left, left_followed), left_revision, &service);
        }
        let update = self.begin_update(id, &service, state, message);
        // An update of no task is none; a rollback was asked for, and says that it is done.
        service.update = (update.places > 0 || state.is_rollback()).then_some(update);
        self.put_declared(id, service);
    }

    fn put_declared(&mut self, id: ServiceId, mut service: Service) {
        service.updated_at = self.now;
        service.revision = self.revision();
        self.state.put_service(id, service);
        self.updated(ObjectId::Service(id));
        self.replan(Some(id));
    }

    fn begin_update(
        &self,
        id: ServiceId,
        service: &Service,
        state: UpdateState,
        message: &str,
    ) -> UpdateStatus {
        let outdated = self
            .state
            .tasks_of_service(id)
            .filter(|(_, task)| task.is_wanted() && task.spec_revision != service.spec_revision);
        let places: BTreeSet<_> = outdated.map(|(_, task)| task.place()).collect();
        UpdateStatus {
            state,
            began: self.revision(),
            started_at: self.now,
            completed_at: None,
            message: message.to_owned(),
            places: places.len() as u64,
            failures: 0,
            failed_task: None,
        }
    }

    /// Where only the placement changed, tasks whose node still fits are of the new declaration as
    /// they are: nothing about them is to change (Swarm's rule).
    fn adopt(
        &mut self,
        id: ServiceId,
        (left, left_followed): (&ServiceSpec, Option<&Followed>),
        revision: Revision,
        now: &Service,
    ) {
        let mut as_placed_now = left.task.clone();
        as_placed_now.placement = now.spec.task.placement.clone();
        let only_placement = as_placed_now == now.spec.task
            && left.extensions == now.spec.extensions
            && left_followed == now.followed.as_ref();
        if !only_placement || revision == now.spec_revision {
            return;
        }
        let placement = &now.spec.task.placement;
        let fits = |task: &Task| {
            let node = task.node_id.filter(|_| task.is_live());
            node.is_none_or(|id| {
                let node = self.state.nodes.get(&id);
                node.is_some_and(|node| schedule::meets(placement, id, node))
            })
        };
        let staying = self
            .state
            .tasks_of_service(id)
            .filter(|(_, task)| task.is_wanted() && task.spec_revision == revision && fits(task));
        let staying: Vec<_> = staying.map(|(id, task)| (id, (**task).clone())).collect();
        for (task_id, mut task) in staying {
            task.spec = now.spec.task.clone();
            task.spec_revision = now.spec_revision;
            task.revision = self.revision();
            self.state.put_task(task_id, task);
            self.updated(ObjectId::Task(task_id));
        }
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
