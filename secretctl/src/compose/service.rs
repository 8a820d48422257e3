//! The keys of a service.
//!
//! Not here: what a secret of the stack is (`read`), what is declared of all this (`declare`).

use proto::spec::FileMode;

use super::node::{Key, Node, Value};
use super::read::{Reader, Unsupported, list, map, unknown};
use super::{
    Action, ComposeError, Condition, Deploy, Extension, Mode, Order, Placed, Preference,
    Reservations, Resources, Restart, Rolls, Runtime, SecretUse, Service, Span,
};
use crate::cli::quantity::{parse_bytes, parse_cpus, parse_ratio};
use crate::instant::{millis, parse_duration};
use crate::words::split;

/// Keys of the specification that say how a container is made or reached: a service runs without them.
const IGNORED: &[&str] = &[
    "annotations",
    "attach",
    "blkio_config",
    "build",
    "cap_add",
    "cap_drop",
    "cgroup",
    "cgroup_parent",
    "container_name",
    "cpu_count",
    "cpu_percent",
    "cpu_period",
    "cpu_quota",
    "cpu_rt_period",
    "cpu_rt_runtime",
    "cpu_shares",
    "cpus",
    "cpuset",
    "credential_spec",
    "depends_on",
    "develop",
    "device_cgroup_rules",
    "devices",
    "dns",
    "dns_opt",
    "dns_search",
    "domainname",
    "driver_opts",
    "expose",
    "external_links",
    "extra_hosts",
    "gpus",
    "group_add",
    "healthcheck",
    "hostname",
    "init",
    "ipc",
    "isolation",
    "label_file",
    "labels",
    "links",
    "logging",
    "mac_address",
    "mem_limit",
    "mem_reservation",
    "mem_swappiness",
    "memswap_limit",
    "models",
    "network_mode",
    "networks",
    "oom_kill_disable",
    "oom_score_adj",
    "pid",
    "pids_limit",
    "platform",
    "ports",
    "post_start",
    "pre_stop",
    "privileged",
    "profiles",
    "pull_policy",
    "read_only",
    "restart",
    "runtime",
    "scale",
    "security_opt",
    "shm_size",
    "stdin_open",
    "storage_opt",
    "sysctls",
    "tmpfs",
    "tty",
    "ulimits",
    "use_api_socket",
    "userns_mode",
    "uts",
    "volumes",
    "volumes_from",
];

pub(super) fn read(
    reader: &mut Reader<'_>,
    name: &Key,
    node: Node,
) -> Result<Service, ComposeError> {
    let mut service = Service::default();
    let mut from_files = Vec::new();
    let mut own = Vec::new();
    for (key, node) in map(node)? {
        match key.name.as_str() {
            "image" => service.image = Some(reader.text(&node)?),
            "entrypoint" => service.entrypoint = Some(words(reader, node)?),
            "command" => service.command = words_or_none(reader, node)?,
            "environment" => own = reader.settings(node)?,
            "env_file" => from_files = env_files(reader, node)?,
            "user" => service.user = Some(reader.text(&node)?),
            "working_dir" => service.working_dir = Some(reader.text(&node)?),
            "stop_signal" => service.stop_signal = Some(reader.text(&node)?),
            "stop_grace_period" => service.stop_grace_period = Some(span(reader, &node)?),
            "secrets" => service.secrets = files(reader, node, "secret")?,
            "deploy" => service.deploy = deploy(reader, node)?,
            "x-secretd" => service.extension = extension(reader, node)?,
            "configs" => service.configs = files(reader, node, "config")?,
            "extends" | "provider" => reader.unsupported(
                &key,
                &node,
                Unsupported::Refuse(
                    "a service is declared whole; `<<` and several `-c` put parts together",
                ),
            )?,
            known if IGNORED.contains(&known) => {
                reader.unsupported(&key, &node, Unsupported::Warn)?;
            }
            _ => unknown(&key, &format!("in service `{}`", name.name))?,
        }
    }
    // What is said here counts more than what a file says.
    for (key, value) in from_files.into_iter().chain(own) {
        // A key alone is that of whoever deploys; without one there it is none.
        let value = value.or_else(|| (reader.outside.variable)(&key));
        if let Some(value) = value {
            service.environment.insert(key, value);
        }
    }
    Ok(service)
}

/// A command: a list, or a text that is split as a shell does.
fn words(reader: &mut Reader<'_>, node: Node) -> Result<Vec<String>, ComposeError> {
    match node.value {
        Value::Scalar(..) => reader.parsed(&node, split),
        _ => reader.texts(node),
    }
}

/// A command that is null is that of the image.
fn words_or_none(reader: &mut Reader<'_>, node: Node) -> Result<Option<Vec<String>>, ComposeError> {
    if node.value == Value::Null { Ok(None) } else { words(reader, node).map(Some) }
}

fn span(reader: &mut Reader<'_>, node: &Node) -> Result<Span, ComposeError> {
    reader.parsed(node, |text| parse_duration(text).map(|span| Span(millis(span))))
}

/// What the files say that `env_file` names, one after the other.
fn env_files(
    reader: &mut Reader<'_>,
    node: Node,
) -> Result<Vec<(String, Option<String>)>, ComposeError> {
    let files = match node.value {
        Value::Scalar(..) => vec![node],
        _ => list(node)?,
    };
    let mut all = Vec::new();
    for file in files {
        let place = file.place.clone();
        let mut required = true;
        let path = if matches!(file.value, Value::Map(_)) {
            let mut path = String::new();
            for (key, node) in map(file)? {
                match key.name.as_str() {
                    "path" => path = reader.text(&node)?,
                    "required" => required = reader.truth(&node)?,
                    "format" => reader.unsupported(&key, &node, Unsupported::Warn)?,
                    _ => unknown(&key, "in `env_file`")?,
                }
            }
            path
        } else {
            reader.text(&file)?
        };
        let text = (reader.outside.env_file)(&path)
            .map_err(|why| place.wrong(format!("`{path}` cannot be read: {why}")))?;
        match text {
            Some(text) => all
                .extend(settings_of(&text).map_err(|why| place.wrong(format!("`{path}`: {why}")))?),
            None if required => return Err(place.wrong(format!("there is no file `{path}`"))),
            None => {}
        }
    }
    Ok(all)
}

/// Lines `KEY=VALUE`, taken as they are, or `KEY`; empty ones and those after `#` say nothing.
fn settings_of(text: &str) -> Result<Vec<(String, Option<String>)>, String> {
    let mut all = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = match line.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (line.trim_end(), None),
        };
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(format!("line {} has no name of a variable before its `=`", number + 1));
        }
        all.push((key.to_owned(), value));
    }
    Ok(all)
}

/// What of one kind a service uses, and the files of it.
fn files(reader: &mut Reader<'_>, node: Node, kind: &str) -> Result<Vec<SecretUse>, ComposeError> {
    let mut all = Vec::new();
    for item in list(node)? {
        let mut used =
            SecretUse { source: String::new(), target: None, uid: None, gid: None, mode: None };
        let place = item.place.clone();
        if matches!(item.value, Value::Map(_)) {
            for (key, node) in map(item)? {
                match key.name.as_str() {
                    "source" => used.source = reader.text(&node)?,
                    "target" => used.target = Some(reader.text(&node)?),
                    "uid" => used.uid = Some(owner(reader, &node)?),
                    "gid" => used.gid = Some(owner(reader, &node)?),
                    "mode" => used.mode = Some(mode(reader, &node)?),
                    _ if kind == "config" => unknown(&key, "in a config of a service")?,
                    _ => unknown(&key, "in a secret of a service")?,
                }
            }
        } else {
            used.source = reader.text(&item)?;
        }
        if used.source.is_empty() {
            return Err(place.wrong(format!("a {kind} of a service needs its `source`")));
        }
        all.push(used);
    }
    Ok(all)
}

fn owner(reader: &mut Reader<'_>, node: &Node) -> Result<u32, ComposeError> {
    reader.parsed(node, |text| text.parse().map_err(|_| format!("expected a number, not `{text}`")))
}

/// `0440`, `0o440` and every text in quotes are octal. What is left is decimal in YAML, as Docker takes
/// it: that is rarely meant, and said.
fn mode(reader: &mut Reader<'_>, node: &Node) -> Result<FileMode, ComposeError> {
    let place = &node.place;
    let is_plain = matches!(node.value, Value::Scalar(_, true));
    let text = reader.text(node)?;
    let wrong = || place.wrong(format!("expected a mode such as 0440, not `{text}`"));
    let digits = text.strip_prefix("0o").unwrap_or(&text);
    let is_decimal = is_plain && !text.starts_with('0');
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let radix = if is_decimal { 10 } else { 8 };
    let bits = u32::from_str_radix(digits, radix).map_err(|_| wrong())?;
    let mode = FileMode::new(bits).map_err(|error| place.wrong(error.to_string()))?;
    if is_decimal && u32::from_str_radix(digits, 8).is_ok() {
        reader.warn(
            place,
            &format!("the mode `{text}` is decimal and means {mode}: write `0{text}` for octal"),
        );
    }
    Ok(mode)
}

fn extension(reader: &mut Reader<'_>, node: Node) -> Result<Option<Extension>, ComposeError> {
    let mut runtime = None;
    for (key, node) in map(node)? {
        match key.name.as_str() {
            "runtime" => {
                runtime = Some(reader.parsed(&node, |text| match text {
                    "process" => Ok(Runtime::Process),
                    "docker" => Ok(Runtime::Docker),
                    _ => Err(format!("expected process or docker, not `{text}`")),
                })?);
            }
            // What is ours is known whole.
            _ => return Err(key.place.wrong(format!("unknown key `{}` in `x-secretd`", key.name))),
        }
    }
    Ok(runtime.map(|runtime| Extension { runtime }))
}

fn deploy(reader: &mut Reader<'_>, node: Node) -> Result<Deploy, ComposeError> {
    let mut deploy = Deploy::default();
    for (key, node) in map(node)? {
        match key.name.as_str() {
            "mode" => {
                deploy.mode = Some(reader.parsed(&node, |text| match text {
                    "replicated" => Ok(Mode::Replicated),
                    "global" => Ok(Mode::Global),
                    "replicated-job" | "global-job" => {
                        Err(format!("`{text}` is not supported: secretd runs services, not jobs"))
                    }
                    _ => Err(format!("expected replicated or global, not `{text}`")),
                })?);
            }
            "replicas" => deploy.replicas = Some(reader.number(&node)?),
            "labels" => deploy.labels = reader.pairs(node)?,
            "update_config" => deploy.update_config = rolls(reader, node, true)?,
            "rollback_config" => deploy.rollback_config = rolls(reader, node, false)?,
            "restart_policy" => deploy.restart_policy = restart(reader, node)?,
            "placement" => deploy.placement = placed(reader, node)?,
            "resources" => deploy.resources = resources(reader, node)?,
            "endpoint_mode" => reader.unsupported(&key, &node, Unsupported::Warn)?,
            _ => unknown(&key, "in `deploy`")?,
        }
    }
    Ok(deploy)
}

fn rolls(reader: &mut Reader<'_>, node: Node, is_update: bool) -> Result<Rolls, ComposeError> {
    let mut rolls = Rolls::default();
    for (key, node) in map(node)? {
        match key.name.as_str() {
            "parallelism" => rolls.parallelism = Some(reader.number(&node)?),
            "delay" => rolls.delay = Some(span(reader, &node)?),
            "failure_action" => {
                rolls.failure_action = Some(reader.parsed(&node, |text| match text {
                    "pause" => Ok(Action::Pause),
                    "continue" => Ok(Action::Continue),
                    "rollback" if is_update => Ok(Action::Rollback),
                    "rollback" => Err("a rollback is not rolled back".to_owned()),
                    _ => Err(format!("expected pause, continue or rollback, not `{text}`")),
                })?);
            }
            "monitor" => rolls.monitor = Some(span(reader, &node)?),
            "max_failure_ratio" => {
                rolls.max_failure_ratio = Some(reader.parsed(&node, parse_ratio)?);
            }
            "order" => {
                rolls.order = Some(reader.parsed(&node, |text| match text {
                    "stop-first" => Ok(Order::StopFirst),
                    "start-first" => Ok(Order::StartFirst),
                    _ => Err(format!("expected stop-first or start-first, not `{text}`")),
                })?);
            }
            _ => unknown(&key, "in how something rolls")?,
        }
    }
    Ok(rolls)
}

fn restart(reader: &mut Reader<'_>, node: Node) -> Result<Restart, ComposeError> {
    let mut restart = Restart::default();
    for (key, node) in map(node)? {
        match key.name.as_str() {
            "condition" => {
                restart.condition = Some(reader.parsed(&node, |text| match text {
                    "any" => Ok(Condition::Any),
                    "on-failure" => Ok(Condition::OnFailure),
                    "none" => Ok(Condition::None),
                    _ => Err(format!("expected none, on-failure or any, not `{text}`")),
                })?);
            }
            "delay" => restart.delay = Some(span(reader, &node)?),
            "max_attempts" => restart.max_attempts = Some(reader.number(&node)?),
            "window" => restart.window = Some(span(reader, &node)?),
            _ => unknown(&key, "in `restart_policy`")?,
        }
    }
    Ok(restart)
}

fn placed(reader: &mut Reader<'_>, node: Node) -> Result<Placed, ComposeError> {
    let mut placed = Placed::default();
    for (key, node) in map(node)? {
        match key.name.as_str() {
            "constraints" => {
                let check = |text: &str| {
                    text.parse::<proto::spec::Constraint>().map(|constraint| constraint.to_string())
                };
                for item in list(node)? {
                    let constraint = reader.parsed(&item, check)?;
                    placed.constraints.push(constraint);
                }
            }
            "preferences" => {
                for item in list(node)? {
                    for (key, node) in map(item)? {
                        match key.name.as_str() {
                            "spread" => {
                                let spread = reader.text(&node)?;
                                placed.preferences.push(Preference { spread });
                            }
                            _ => unknown(&key, "in a preference")?,
                        }
                    }
                }
            }
            "max_replicas_per_node" => {
                placed.max_replicas_per_node = Some(reader.number(&node)?);
            }
            _ => unknown(&key, "in `placement`")?,
        }
    }
    Ok(placed)
}

fn resources(reader: &mut Reader<'_>, node: Node) -> Result<Resources, ComposeError> {
    let mut resources = Resources::default();
    for (key, node) in map(node)? {
        match key.name.as_str() {
            "reservations" => resources.reservations = reservations(reader, node)?,
            "limits" => reader.unsupported(&key, &node, Unsupported::Warn)?,
            _ => unknown(&key, "in `resources`")?,
        }
    }
    Ok(resources)
}

fn reservations(reader: &mut Reader<'_>, node: Node) -> Result<Reservations, ComposeError> {
    let mut reserved = Reservations::default();
    for (key, node) in map(node)? {
        match key.name.as_str() {
            "cpus" => reserved.cpus = Some(reader.parsed(&node, parse_cpus)?),
            "memory" => reserved.memory = Some(reader.parsed(&node, parse_bytes)?),
            "pids" | "devices" | "generic_resources" => {
                reader.unsupported(&key, &node, Unsupported::Warn)?;
            }
            _ => unknown(&key, "in `reservations`")?,
        }
    }
    Ok(reserved)
}
