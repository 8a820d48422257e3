//! What a deployer should know of a service whose tasks are containers.
//!
//! A node's agent does what is declared or refuses the task; what it does in another way than a Swarm
//! would is said here, when it is declared. Not here: what an agent makes of it.

use std::collections::BTreeSet;

use proto::spec::{DOCKER_EXTENSION, RuntimeKind, ServiceSpec};
use serde_json::Value;
use state::State;

use super::networks::name_of;

/// What an engine has by itself, and does not make.
const ENGINES_OWN: &[&str] = &["bridge", "default", "host", "none"];

/// What is done in another way than it may have been meant.
pub(super) fn warnings(spec: &ServiceSpec, state: &State) -> Vec<String> {
    if spec.task.runtime != RuntimeKind::Docker {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    if !state.nodes().values().any(|node| node.report.has_engine == Some(true)) {
        warnings.push("no node has a container engine: the tasks stay pending".to_owned());
    }
    let networks = spec.task.networks.iter().map(|network| name_of(state, network));
    let networks = networks.filter(|name| !ENGINES_OWN.contains(&name.as_str()));
    warnings.extend(networks.map(|name| {
        format!(
            "network {name} is a bridge on each node, of its own: tasks on different nodes do not \
             reach one another by it"
        )
    }));
    let kept = spec.extensions.get(DOCKER_EXTENSION);
    let kept: Value =
        kept.and_then(|kept| serde_json::from_slice(&kept.0).ok()).unwrap_or_default();
    for port in list(&kept, "/service/EndpointSpec/Ports") {
        if port.get("PublishMode").and_then(Value::as_str) != Some("host") {
            let number = port.get("PublishedPort").and_then(Value::as_u64).unwrap_or(0);
            let port = if number == 0 { "a port".into() } else { format!("port {number}") };
            warnings.push(format!("{port} is published on the nodes that run a task, not on all"));
        }
    }
    if let Some(driver) = kept.pointer("/task/LogDriver/Name").and_then(Value::as_str) {
        warnings.push(format!(
            "the log driver {driver} is not used: what a task prints is kept by its node's agent"
        ));
    }
    let is_named = |user: &&str| !user.is_empty() && user.parse::<u32>().is_err();
    if let Some(user) = spec.task.user.split(':').next().filter(is_named) {
        let owned = spec.task.secrets.iter().filter(|reference| reference.uid.is_none());
        let names: BTreeSet<&str> = owned.map(|reference| reference.secret_name.as_str()).collect();
        warnings.extend(names.into_iter().map(|name| {
            format!(
                "secret {name} belongs to root in the container: only the image knows which number \
                 {user} has; say so with the secret's uid"
            )
        }));
    }
    warnings
}

fn list<'a>(kept: &'a Value, at: &str) -> impl Iterator<Item = &'a Value> {
    kept.pointer(at).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use proto::id::SecretId;
    use proto::spec::{Extension, FileMode, OnChange, SecretReference, VersionChoice};

    use super::*;

    #[test]
    fn what_is_done_in_another_way_is_said() {
        let mut spec = ServiceSpec::new("web".parse().unwrap());
        let nothing = State::default();
        assert!(warnings(&spec, &nothing).is_empty(), "it is no container");
        spec.task.runtime = RuntimeKind::Docker;
        spec.task.networks = vec!["back".into(), "host".into()];
        spec.task.user = "postgres".into();
        spec.task.secrets = vec![SecretReference {
            secret_id: SecretId::from_entropy([1; 17]),
            secret_name: "db".parse().unwrap(),
            version: VersionChoice::Follow,
            target: "db".parse().unwrap(),
            uid: None,
            gid: None,
            mode: FileMode::OWNER_READS,
            on_change: OnChange::Restart,
        }];
        let kept = br#"{
            "task": {"LogDriver": {"Name": "syslog"}},
            "service": {"EndpointSpec": {"Ports": [
                {"TargetPort": 80, "PublishedPort": 8080, "PublishMode": "ingress"},
                {"TargetPort": 81, "PublishMode": "host"}
            ]}}
        }"#;
        spec.extensions.insert(DOCKER_EXTENSION.into(), Extension(kept.to_vec()));
        let said = warnings(&spec, &nothing);
        let begins = [
            "no node has a container engine",
            "network back is a bridge",
            "port 8080 is published",
            "the log driver syslog",
            "secret db belongs to root",
        ];
        assert_eq!(said.len(), begins.len(), "{said:?}");
        assert!(said.iter().zip(begins).all(|(said, begin)| said.starts_with(begin)), "{said:?}");
    }
}
