//! What the Docker front kept of a declaration beyond the typed part, and what an engine makes of it.
//!
//! The manager's front keeps it as it came; here it is read strictly: a key that is not known is refused
//! by its name, since it may be what somebody relies on. Keys and meanings are those of Docker's API for
//! services (`TaskTemplate.ContainerSpec`, `.Resources`, `EndpointSpec`). Not here: what else is told to
//! the engine ([`super`]), what a deployer is warned of (a manager).

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Node, Refused, SECRETS_FOLDER};

type Object = Map<String, Value>;

/// Everything that was kept.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Declared {
    service: Service,
    task: Task,
    container: ContainerSpec,
    resources: Resources,
    reservations: Nothing,
    placement: Placement,
    networks: Vec<Network>,
}

/// A part of which an engine knows nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
struct Service {
    endpoint_spec: EndpointSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
struct EndpointSpec {
    // Names are found by networks, whichever was declared.
    #[serde(rename = "Mode")]
    _mode: String,
    ports: Vec<Port>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
struct Port {
    // What it is called says nothing.
    #[serde(rename = "Name")]
    _name: String,
    protocol: String,
    #[serde(rename = "TargetPort")]
    target: u16,
    #[serde(rename = "PublishedPort")]
    published: u16,
    // A manager warns that a port is published on the task's node alone, whichever was declared.
    #[serde(rename = "PublishMode")]
    _publish_mode: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
struct Task {
    // A manager warns that output is kept by the agent.
    #[serde(rename = "LogDriver")]
    _log_driver: Object,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
struct Placement {
    // Clients list what an image is built for; the engine knows as well.
    #[serde(rename = "Platforms")]
    _platforms: Vec<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
struct Network {
    aliases: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
struct ContainerSpec {
    labels: Object,
    hostname: String,
    groups: Vec<String>,
    #[serde(rename = "TTY")]
    tty: bool,
    open_stdin: bool,
    read_only: bool,
    mounts: Vec<Object>,
    healthcheck: Option<Object>,
    hosts: Vec<String>,
    #[serde(rename = "DNSConfig")]
    dns_config: DnsConfig,
    isolation: String,
    init: Option<bool>,
    sysctls: Object,
    capability_add: Vec<String>,
    capability_drop: Vec<String>,
    ulimits: Vec<Object>,
    oom_score_adj: i64,
    pids_limit: i64,
    privileges: Privileges,
}

/// A stack's client names all of them, whether it says something of them or not.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
struct Privileges {
    credential_spec: Option<Object>,
    #[serde(rename = "SELinuxContext")]
    selinux_context: Option<Object>,
    #[serde(rename = "NoNewPrivileges")]
    no_new: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
struct DnsConfig {
    nameservers: Vec<String>,
    search: Vec<String>,
    options: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
struct Resources {
    limits: Limits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
struct Limits {
    #[serde(rename = "NanoCPUs")]
    nano_cpus: i64,
    memory_bytes: i64,
    pids: i64,
}

/// Fills one part of a request with what was given.
struct Fill<'a>(&'a mut Object);

impl Fill<'_> {
    fn set(&mut self, key: &str, value: Value) {
        let says = match &value {
            Value::Null | Value::Bool(false) => false,
            Value::Number(number) => number.as_i64() != Some(0),
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
            Value::Bool(true) => true,
        };
        if says {
            self.0.insert(key.to_owned(), value);
        }
    }
}

impl Declared {
    /// Reads what was kept; nothing, if that is it.
    pub(super) fn read(kept: &[u8]) -> Result<Self, Refused> {
        if kept.is_empty() {
            return Ok(Self::default());
        }
        let declared: Self = serde_json::from_slice(kept).map_err(|error| {
            Refused(format!("what is declared of its container cannot be done here: {error}"))
        })?;
        if !matches!(declared.container.isolation.as_str(), "" | "default") {
            return Err(Refused("containers are not isolated in Windows's ways here".into()));
        }
        let Privileges { credential_spec, selinux_context, .. } = &declared.container.privileges;
        for (name, part) in
            [("CredentialSpec", credential_spec), ("SELinuxContext", selinux_context)]
        {
            if part.as_ref().is_some_and(|part| !part.is_empty()) {
                return Err(Refused(format!(
                    "what is declared of its container cannot be done here: `Privileges.{name}`"
                )));
            }
        }
        Ok(declared)
    }

    pub(super) const fn labels(&self) -> &Object {
        &self.container.labels
    }

    pub(super) const fn has_terminal(&self) -> bool {
        self.container.tty
    }

    /// Further names in a network.
    pub(super) fn aliases(&self, names: &[String], network: &str) -> Vec<String> {
        let position = names.iter().position(|name| name == network);
        let declared = position.and_then(|position| self.networks.get(position));
        declared.map(|network| network.aliases.clone()).unwrap_or_default()
    }

    /// Mounts, which engines take in the words of services.
    pub(super) fn mounts(&self) -> Result<Vec<Value>, Refused> {
        let mounts = self.container.mounts.iter().map(|mount| {
            let kind = kind_of(mount);
            if !matches!(kind, "bind" | "volume" | "tmpfs") {
                return Err(Refused(format!("mounts of type `{kind}` cannot be made here")));
            }
            let target = mount.get("Target").and_then(Value::as_str).unwrap_or_default();
            if plain(Path::new(target)) == Path::new(SECRETS_FOLDER) {
                return Err(Refused(format!(
                    "{SECRETS_FOLDER} is the secrets' place, not to mount at"
                )));
            }
            Ok(mount.clone().into())
        });
        mounts.collect()
    }

    /// A container must not have the agent's own folders, by whatever name.
    pub(super) fn check_binds(&self, node: &Node) -> Result<(), Refused> {
        for mount in self.container.mounts.iter().filter(|mount| kind_of(mount) == "bind") {
            let Some(source) = mount.get("Source").and_then(Value::as_str) else { continue };
            let source = Path::new(source);
            let source = source.canonicalize().unwrap_or_else(|_| plain(source));
            let mut own = node.hide.iter();
            let is_near = |own: &&PathBuf| source.starts_with(own) || own.starts_with(&source);
            if let Some(own) = own.find(is_near) {
                return Err(Refused(format!(
                    "{} is not mounted: a container would have {}, which is the agent's own",
                    source.display(),
                    own.display()
                )));
            }
        }
        Ok(())
    }

    /// The rest, in the words of an engine.
    pub(super) fn fill(&self, body: &mut Object, host: &mut Object) -> Result<(), Refused> {
        let container = &self.container;
        self.publish(body, host);
        let mut body = Fill(body);
        body.set("Hostname", json!(container.hostname));
        body.set("Tty", json!(container.tty));
        body.set("OpenStdin", json!(container.open_stdin));
        body.set("Healthcheck", json!(container.healthcheck));
        let mut host = Fill(host);
        host.set("GroupAdd", json!(container.groups));
        host.set("ReadonlyRootfs", json!(container.read_only));
        // `false` says something: an engine may have one by itself.
        if let Some(init) = container.init {
            host.0.insert("Init".into(), init.into());
        }
        host.set("Sysctls", json!(container.sysctls));
        host.set("CapAdd", json!(container.capability_add));
        host.set("CapDrop", json!(container.capability_drop));
        host.set("Ulimits", json!(container.ulimits));
        host.set("OomScoreAdj", json!(container.oom_score_adj));
        if container.privileges.no_new {
            host.set("SecurityOpt", json!(["no-new-privileges"]));
        }
        let hosts = container.hosts.iter().map(|line| extra_hosts(line));
        host.set("ExtraHosts", json!(hosts.collect::<Result<Vec<_>, _>>()?.concat()));
        host.set("Dns", json!(container.dns_config.nameservers));
        host.set("DnsSearch", json!(container.dns_config.search));
        host.set("DnsOptions", json!(container.dns_config.options));
        let limits = &self.resources.limits;
        host.set("NanoCpus", json!(limits.nano_cpus));
        host.set("Memory", json!(limits.memory_bytes));
        // No more than that with swap: what it read of its secrets stays off a swap device.
        host.set("MemorySwap", json!(limits.memory_bytes));
        let pids = if limits.pids == 0 { container.pids_limit } else { limits.pids };
        host.set("PidsLimit", json!(pids));
        Ok(())
    }

    fn publish(&self, body: &mut Object, host: &mut Object) {
        let mut bindings: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for port in &self.service.endpoint_spec.ports {
            let protocol = if port.protocol.is_empty() { "tcp" } else { &port.protocol };
            // Any that is free, where none was declared.
            let published = match port.published {
                0 => String::new(),
                number => number.to_string(),
            };
            let key = format!("{}/{protocol}", port.target);
            bindings.entry(key).or_default().push(json!({ "HostPort": published }));
        }
        let exposed: Object = bindings.keys().map(|key| (key.clone(), json!({}))).collect();
        Fill(body).set("ExposedPorts", exposed.into());
        Fill(host).set("PortBindings", json!(bindings));
    }
}

fn kind_of(mount: &Object) -> &str {
    mount.get("Type").and_then(Value::as_str).unwrap_or("bind")
}

/// Services say it as /etc/hosts does, an address and names; engines take a name and its address.
fn extra_hosts(line: &str) -> Result<Vec<String>, Refused> {
    let mut words = line.split_ascii_whitespace();
    let address = words.next().unwrap_or_default();
    let names: Vec<String> = words.map(|name| format!("{name}:{address}")).collect();
    if names.is_empty() {
        return Err(Refused(format!("`{line}` is not an address and the name of a host")));
    }
    Ok(names)
}

/// A path without dots, whether or not there is something.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => drop(plain.pop()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    plain
}
