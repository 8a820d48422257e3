//! Services and their tasks.

use std::collections::BTreeSet;

use link::Failure;
use proto::id::{Revision, ServiceId};
use proto::identity::Caller;
use proto::spec::{RuntimeKind, SECRETS_FOLDER, SecretReference, ServiceSpec, TaskSpec};
use proto::{Kind, pb};
use state::command::Command;
use state::{Outcome, State};

use super::secrets::unexpected;
use super::{Service, containers, lookup, mark, parse_failure, render};

/// What the native front refuses though state would take it.
fn check_native(spec: &ServiceSpec) -> Result<(), Failure> {
    let task = &spec.task;
    if task.runtime == RuntimeKind::Process && task.command.is_empty() {
        return Err(Failure::new(Kind::Invalid, "a service needs a command to run")
            .hint("`secretctl service create --name NAME … -- COMMAND ARGS…`"));
    }
    if task.runtime == RuntimeKind::Docker {
        return check_container(task);
    }
    let absolute = task.secrets.iter().find(|reference| reference.target.is_absolute());
    if let Some(reference) = absolute {
        return Err(Failure::new(
            Kind::Invalid,
            format!("the target `{}` leaves /run/secrets", reference.target),
        )
        .hint("give a file name; it appears under /run/secrets"));
    }
    let within = format!("{SECRETS_FOLDER}/");
    let outside = task.configs.iter().find(|reference| !reference.path().starts_with(&within));
    if let Some(reference) = outside {
        let message = format!(
            "config `{}` cannot be at {} for a process",
            reference.config_name,
            reference.path()
        );
        return Err(Failure::new(Kind::Invalid, message)
            .because("a process sees its node's own files, and only /run/secrets is its own")
            .hint(format!("give a target there: `target={within}{}`", reference.config_name)));
    }
    Ok(())
}

/// What an agent would refuse a container for.
fn check_container(task: &TaskSpec) -> Result<(), Failure> {
    if let Some(odd) = task.configs.iter().find(|reference| reference.mode.bits() & 0o7000 != 0) {
        let message = format!(
            "the mode {} of config `{}` has more than permissions",
            odd.mode, odd.config_name
        );
        return Err(Failure::new(Kind::Invalid, message)
            .because("a container gets its configs without set-id bits")
            .hint("give a mode of three digits"));
    }
    let mut places = BTreeSet::new();
    for SecretReference { secret_name: name, target, mode, .. } in &task.secrets {
        if mode.bits() & 0o7000 != 0 {
            let message = format!("the mode {mode} of secret `{name}` has more than permissions");
            return Err(Failure::new(Kind::Invalid, message)
                .because("a container gets its secrets without set-id bits")
                .hint("give a mode of three digits"));
        }
        let place = target.as_str();
        let place = place.strip_prefix("/run/secrets/").unwrap_or(place);
        if !places.insert(place) {
            let message = format!("two secrets are to be at /run/secrets/{place}");
            return Err(Failure::new(Kind::Invalid, message)
                .because(format!(
                    "a relative target is below that folder: `{target}` is the second"
                ))
                .hint("give each a target of its own"));
        }
    }
    Ok(())
}

/// What a front keeps with a declaration comes from admins only, at the sockets of managers or as
/// operators: it may ask for anything of a node, and whoever has it shown to them sends it back as their
/// own word.
fn check_kept(
    is_admin: bool,
    new: &ServiceSpec,
    before: Option<&ServiceSpec>,
) -> Result<(), Failure> {
    let had = before.map(|before| &before.extensions);
    let is_same = had.map_or(new.extensions.is_empty(), |had| *had == new.extensions);
    if is_same || is_admin {
        return Ok(());
    }
    Err(Failure::new(Kind::Denied, "what another front keeps with a service is not to be changed")
        .because("only admins declare what secretd itself has no words for")
        .hint("leave the declaration's extensions as they are"))
}

impl Service {
    pub(super) async fn create_service(
        &self,
        caller: Caller,
        request: pb::CreateServiceRequest,
    ) -> Result<pb::CreateServiceResponse, Failure> {
        let mark = mark(&caller, &request.request_key, &request)?;
        let spec = request
            .spec
            .ok_or_else(|| parse_failure(&proto::convert::ParseError::missing("spec")))?;
        let spec = ServiceSpec::try_from(spec).map_err(|error| parse_failure(&error))?;
        check_native(&spec)?;
        check_kept(self.is_admin(caller), &spec, None)?;
        let warnings = warnings(&spec, &self.raft.machine.state());
        let id = ServiceId::from_entropy(seal::random());
        let command = Command::CreateService { id, spec: Box::new(spec) };
        match self.propose(caller, Some(mark), command).await? {
            Outcome::Service { id } => {
                Ok(pb::CreateServiceResponse { id: id.to_string(), warnings })
            }
            other => Err(unexpected(&other)),
        }
    }

    pub(super) async fn update_service(
        &self,
        caller: Caller,
        request: pb::UpdateServiceRequest,
    ) -> Result<pb::ServiceInfo, Failure> {
        self.barrier().await?;
        let mark = mark(&caller, &request.request_key, &request)?;
        let (id, before) = {
            let state = self.raft.machine.state();
            let (id, service) = lookup::service(&state, &request.service)?;
            (id, service.spec.clone())
        };
        let revision = Revision(request.revision);
        let command = if request.rollback {
            if request.spec.is_some() {
                return Err(Failure::new(Kind::Invalid, "a rollback takes no spec"));
            }
            Command::RollBackService { id, revision }
        } else {
            let spec = request
                .spec
                .ok_or_else(|| parse_failure(&proto::convert::ParseError::missing("spec")))?;
            let spec = ServiceSpec::try_from(spec).map_err(|error| parse_failure(&error))?;
            check_native(&spec)?;
            check_kept(self.is_admin(caller), &spec, Some(&before))?;
            Command::UpdateService { id, revision, spec: Box::new(spec) }
        };
        self.propose(caller, Some(mark), command).await.map_err(|failure| {
            let nothing_before = request.rollback && failure.kind == Kind::Precondition;
            if !nothing_before {
                return failure;
            }
            failure.hint("declare what is wanted: `secretctl service update`")
        })?;
        let state = self.raft.machine.state();
        let (id, service) = lookup::service(&state, id.as_str())?;
        Ok(render::service(&state, id, service))
    }

    pub(super) async fn remove_service(
        &self,
        caller: Caller,
        request: pb::RemoveServiceRequest,
    ) -> Result<pb::RemoveServiceResponse, Failure> {
        self.barrier().await?;
        let mark = mark(&caller, &request.request_key, &request)?;
        let (id, name) = {
            let state = self.raft.machine.state();
            let (id, service) = lookup::service(&state, &request.service)?;
            (id, service.spec.name.to_string())
        };
        self.propose(caller, Some(mark), Command::RemoveService { id }).await?;
        Ok(pb::RemoveServiceResponse { id: id.to_string(), name })
    }

    pub(super) async fn list_services(
        &self,
        _: Caller,
        _: pb::ListServicesRequest,
    ) -> Result<pb::ListServicesResponse, Failure> {
        self.barrier().await?;
        let state = self.raft.machine.state();
        let services = state.services().iter();
        let services = services.map(|(id, service)| render::service(&state, *id, service));
        Ok(pb::ListServicesResponse { services: services.collect() })
    }

    pub(super) async fn get_service(
        &self,
        _: Caller,
        request: pb::GetServiceRequest,
    ) -> Result<pb::ServiceInfo, Failure> {
        self.barrier().await?;
        let state = self.raft.machine.state();
        let (id, service) = lookup::service(&state, &request.service)?;
        Ok(render::service(&state, id, service))
    }

    pub(super) async fn list_tasks(
        &self,
        _: Caller,
        request: pb::ListTasksRequest,
    ) -> Result<pb::ListTasksResponse, Failure> {
        self.barrier().await?;
        let state = self.raft.machine.state();
        let service = match request.service.as_str() {
            "" => None,
            text => Some(lookup::service(&state, text)?.0),
        };
        let node = match request.node.as_str() {
            "" => None,
            text => Some(lookup::node(&state, text)?.0),
        };
        let tasks = state.tasks().iter().filter(|(_, task)| {
            let wanted = request.all || task.desired <= proto::task::DesiredState::Running;
            wanted
                && service.is_none_or(|service| task.service_id == service)
                && node.is_none_or(|node| task.node_id == Some(node))
        });
        let mut tasks: Vec<_> = tasks.map(|(id, task)| render::task(&state, *id, task)).collect();
        tasks.sort_by(|one, other| {
            let key = |task: &pb::TaskInfo| (task.service_name.clone(), task.slot);
            key(one).cmp(&key(other)).then(other.created_at.cmp(&one.created_at))
        });
        Ok(pb::ListTasksResponse { tasks })
    }
}

/// What a deployer may not have meant.
fn warnings(spec: &ServiceSpec, state: &State) -> Vec<String> {
    let mut warnings = containers::warnings(spec, state);
    if spec.task.runtime == RuntimeKind::Process && !spec.task.networks.is_empty() {
        let text =
            "a process is on its node's own network: what the service is attached to is not used";
        warnings.push(text.to_owned());
    }
    for reference in &spec.task.secrets {
        let bits = reference.mode.bits();
        if bits & 0o222 != 0 {
            warnings.push(format!(
                "the mode {} of `{}` allows writing, but the mount is read-only",
                reference.mode, reference.target
            ));
        } else if bits & 0o444 == 0 {
            warnings.push(format!(
                "the mode {} of `{}` lets nobody but root read it",
                reference.mode, reference.target
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use proto::id::SecretId;
    use proto::spec::{Extension, FileMode, OnChange, VersionChoice};

    use super::*;

    #[test]
    fn what_a_front_keeps_comes_from_admins_or_stays() {
        let plain = ServiceSpec::new("web".parse().unwrap());
        let mut kept = plain.clone();
        kept.extensions.insert("docker".into(), Extension(b"{}".to_vec()));
        for (new, before) in [(&kept, None), (&kept, Some(&plain)), (&plain, Some(&kept))] {
            assert!(check_kept(true, new, before).is_ok());
            assert_eq!(check_kept(false, new, before).unwrap_err().kind, Kind::Denied);
        }
        for (new, before) in [(&plain, None), (&plain, Some(&plain)), (&kept, Some(&kept))] {
            assert!(check_kept(false, new, before).is_ok());
        }
    }

    #[test]
    fn a_containers_files_have_places_of_their_own() {
        let with = |targets: [&str; 2]| {
            let reference = |target: &str| SecretReference {
                secret_id: SecretId::from_entropy([1; 17]),
                secret_name: "key".parse().unwrap(),
                target: target.parse().unwrap(),
                version: VersionChoice::Follow,
                uid: None,
                gid: None,
                mode: FileMode::OWNER_READS,
                on_change: OnChange::Restart,
            };
            check_container(&TaskSpec {
                secrets: targets.map(reference).into(),
                runtime: RuntimeKind::Docker,
                ..TaskSpec::default()
            })
        };
        assert!(with(["key", "/etc/key"]).is_ok());
        let twice = with(["key", "/run/secrets/key"]).unwrap_err();
        assert_eq!(twice.message, "two secrets are to be at /run/secrets/key");
    }
}
