//! The `process` runtime: the declared command, as a process of the node's own system in mount and
//! pid namespaces of its own.
//!
//! The task sees the host's files but for the agent's own, and its secrets and configs at `/run/secrets`. It
//! has what is declared: user, working directory, environment; of the agent's nothing. Not here:
//! images, absolute targets and networks; they are for runtimes with a root folder per task.

use proto::spec::{
    ConfigReference, RuntimeKind, SECRETS_FOLDER, STOP_GRACE_MS_DEFAULT, Signal, TaskSpec,
};
use sys::process::PATH_DEFAULT;
use sys::user::{self, User};

use super::{Node, Refused, Runtime};
use crate::assignment::Assignment;
use crate::supervisor::definition::Definition;
use crate::supervisor::status::explained;

/// Runs commands of the host.
#[derive(Debug, Clone, Copy, Default)]
pub struct Process;

impl Runtime for Process {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Process
    }

    fn define(&self, assignment: &Assignment, node: &Node) -> Result<Definition, Refused> {
        let spec = &assignment.spec;
        if let Some(reference) = assignment.secrets.iter().find(|r| r.target.is_absolute()) {
            return Err(Refused(format!(
                "secret `{}` cannot be mounted at {}: a process sees its secrets at /run/secrets, \
                 so its target must be relative",
                reference.secret_name, reference.target
            )));
        }
        for reference in &assignment.spec.configs {
            self.config_place(reference, 0)?;
        }
        let argv: Vec<String> = spec.command.iter().chain(&spec.args).cloned().collect();
        if argv.is_empty() {
            return Err(Refused("no command was declared, and a process has no image".into()));
        }
        let user = user(&spec.user)?;
        Ok(Definition {
            task_id: assignment.task_id,
            boot_id: node.boot_id.clone(),
            argv,
            env: environment(&spec.env, &user),
            dir: dir(spec)?,
            uid: user.uid,
            gid: user.gid,
            groups: user.groups,
            stop_signal: spec.stop_signal.unwrap_or(Signal::TERM).number(),
            stop_grace_ms: spec.stop_grace_ms.unwrap_or(STOP_GRACE_MS_DEFAULT),
            logs: spec.logs,
            secrets: assignment.secrets.iter().map(|file| file.secret.into()).collect(),
            // Set when the files are known to be held.
            mount_bytes_max: 0,
            mount_inodes_max: 0,
            core_soft: node.core_limit.soft,
            core_hard: node.core_limit.hard,
            hide: hidden(node)?,
            container: None,
        })
    }

    fn config_place(&self, file: &ConfigReference, _: usize) -> Result<String, Refused> {
        let path = file.path();
        let below = path.strip_prefix(SECRETS_FOLDER).and_then(|rest| rest.strip_prefix('/'));
        below.map(str::to_owned).ok_or_else(|| {
            Refused(format!(
                "config `{}` cannot be mounted at {path}: a process sees its node's own files, and what \
                 is its own at {SECRETS_FOLDER}, so its target must be there",
                file.config_name
            ))
        })
    }
}

fn user(declared: &str) -> Result<User, Refused> {
    let user = if declared.is_empty() { user::current() } else { user::resolve(declared) };
    user.map_err(|error| Refused(explained(&error)))
}

fn dir(spec: &TaskSpec) -> Result<String, Refused> {
    match spec.dir.as_str() {
        "" => Ok("/".into()),
        dir if dir.starts_with('/') => Ok(dir.into()),
        dir => Err(Refused(format!("the working directory `{dir}` is not an absolute path"))),
    }
}

/// What was declared, and the two variables without which few programs start.
fn environment(declared: &[String], user: &User) -> Vec<String> {
    let mut env = declared.to_vec();
    let mut default = |name: &str, value: &str| {
        let is_declared = declared
            .iter()
            .any(|entry| entry.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')));
        if !is_declared {
            env.push(format!("{name}={value}"));
        }
    };
    default("PATH", PATH_DEFAULT);
    let home = user.home.as_ref().and_then(|home| home.to_str()).unwrap_or("/");
    default("HOME", home);
    env
}

fn hidden(node: &Node) -> Result<Vec<String>, Refused> {
    let text = |path: &std::path::PathBuf| path.to_str().map(str::to_owned);
    let hidden: Option<Vec<String>> = node.hide.iter().map(text).collect();
    hidden.ok_or_else(|| Refused("a folder of the agent has a name that is not UTF-8".into()))
}

#[cfg(test)]
mod tests {
    use proto::id::{Revision, SecretId, ServiceId, TaskId, Version};
    use proto::spec::FileMode;
    use proto::task::DesiredState;
    use sys::harden::CoreLimit;

    use super::*;
    use crate::assignment::{ResolvedReference, SecretVersion};

    fn define(change: fn(&mut Assignment)) -> Result<Definition, Refused> {
        let mut assignment = Assignment {
            task_id: TaskId::from_entropy([1; 17]),
            service_id: ServiceId::from_entropy([2; 17]),
            service_name: "web".parse().unwrap(),
            slot: 1,
            revision: Revision(1),
            desired: DesiredState::Running,
            spec: TaskSpec { command: vec!["true".into()], ..TaskSpec::default() },
            secrets: vec![ResolvedReference {
                secret: SecretVersion {
                    secret_id: SecretId::from_entropy([3; 17]),
                    version: Version(4),
                },
                secret_name: "db".parse().unwrap(),
                target: "db".parse().unwrap(),
                uid: None,
                gid: None,
                mode: FileMode::OWNER_READS,
            }],
            declared: Some(Vec::new()),
        };
        change(&mut assignment);
        let node = Node {
            boot_id: "boot".into(),
            core_limit: CoreLimit { soft: Some(1), hard: None },
            hide: vec!["/run/secret-agent".into()],
            tasks: "/run/secret-agent/tasks".into(),
            engine: None,
        };
        Process.define(&assignment, &node)
    }

    #[test]
    fn defaults_are_filled_in() {
        let definition = define(|a| a.spec.args = vec!["-v".into()]).unwrap();
        assert_eq!(definition.argv, ["true", "-v"]);
        assert_eq!(definition.dir, "/");
        assert_eq!((definition.stop_signal, definition.stop_grace_ms), (15, 10_000));
        assert_eq!(definition.uid, user::current().unwrap().uid);
        assert!(definition.env.contains(&format!("PATH={PATH_DEFAULT}")));
        assert!(definition.env.iter().any(|entry| entry.starts_with("HOME=/")));
        assert_eq!(definition.secrets[0].version, Version(4));
        assert_eq!(definition.hide, ["/run/secret-agent"]);
    }

    #[test]
    fn what_is_declared_stays() {
        let definition = define(|a| {
            a.spec.env = vec!["PATH=/opt".into(), "HOMER=x".into()];
            a.spec.user = "root:7".into();
        });
        let definition = definition.unwrap();
        assert_eq!(definition.env[..2], ["PATH=/opt", "HOMER=x"]);
        assert_eq!(definition.env[2..], ["HOME=/root"]);
        assert_eq!((definition.uid, definition.gid, definition.groups), (0, 7, vec![7]));
    }

    #[test]
    fn what_cannot_be_run_is_refused_with_its_reason() {
        let reason = |change| define(change).unwrap_err().0;
        assert_eq!(
            reason(|a| a.secrets[0].target = "/etc/key".parse().unwrap()),
            "secret `db` cannot be mounted at /etc/key: a process sees its secrets at \
             /run/secrets, so its target must be relative"
        );
        let config = |target: &str| ConfigReference {
            config_id: proto::id::ConfigId::from_entropy([5; 17]),
            config_name: "site".parse().unwrap(),
            target: target.parse().unwrap(),
            uid: None,
            gid: None,
            mode: FileMode::ALL_READ,
        };
        assert_eq!(Process.config_place(&config("/run/secrets/a/site"), 0).unwrap(), "a/site");
        for wrong in ["site", "/run/secretsite", "/etc/site"] {
            let said = Process.config_place(&config(wrong), 0).unwrap_err().0;
            assert!(said.ends_with("/run/secrets, so its target must be there"), "{said}");
        }
        let elsewhere = |a: &mut Assignment| {
            a.spec.configs = vec![ConfigReference {
                config_id: proto::id::ConfigId::from_entropy([5; 17]),
                config_name: "site".parse().unwrap(),
                target: "site".parse().unwrap(),
                uid: None,
                gid: None,
                mode: FileMode::ALL_READ,
            }];
        };
        assert!(reason(elsewhere).starts_with("config `site` cannot be mounted at /site: "));
        assert!(reason(|a| a.spec.command.clear()).starts_with("no command was declared"));
        assert_eq!(
            reason(|a| a.spec.user = "no-such-user".into()),
            "there is no user `no-such-user` on this host"
        );
        assert!(reason(|a| a.spec.dir = "tmp".into()).contains("not an absolute path"));
    }
}
