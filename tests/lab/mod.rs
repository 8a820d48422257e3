//! The laboratory itself: starting programs, asking them, ending them.

mod ctl;
mod daemon;
mod transcript;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use ctl::{Ctl, Ran};
pub use daemon::Daemon;
pub use transcript::Transcript;

/// Long enough for a machine that does other things as well; no test waits for it to pass.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at what is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits until `look` finds something.
///
/// # Panics
///
/// If it does not within [`PATIENCE`]; `what` says what was waited for.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A folder, the managers and agents in it, and how they are started.
pub struct Lab {
    folder: tempfile::TempDir,
    programs: PathBuf,
    /// The filter of the managers' logs.
    pub log: String,
    /// That of the agents' logs.
    pub agents_log: String,
    /// The container engine that agents are told of; none, whatever the machine has, unless set.
    pub engine: Option<PathBuf>,
    /// Managers in the order they were started.
    pub managers: Vec<Manager>,
    /// Agents in the order they were started.
    pub agents: Vec<Agent>,
}

/// A manager's process and its places.
pub struct Manager {
    /// The process.
    pub daemon: Daemon,
    /// Its data folder.
    pub data: PathBuf,
    /// Its unix socket.
    pub socket: PathBuf,
}

/// An agent's process and its places.
pub struct Agent {
    /// The process.
    pub daemon: Daemon,
    /// Its data folder.
    pub data: PathBuf,
    /// The folder of its tasks.
    pub tasks: PathBuf,
    /// Its node's name.
    pub hostname: String,
}

impl Lab {
    /// An empty laboratory; `programs` is `env!("CARGO_BIN_EXE_programs")`.
    pub fn new(programs: &str) -> Self {
        // Short: the path of a unix socket has 107 bytes at most.
        let folder = tempfile::Builder::new().prefix("lab").tempdir_in("/tmp").unwrap();
        Self {
            folder,
            programs: programs.into(),
            log: "info,openraft=error".into(),
            agents_log: "info".into(),
            engine: None,
            managers: Vec::new(),
            agents: Vec::new(),
        }
    }

    /// A laboratory with a cluster of that many managers.
    pub fn with_managers(programs: &str, count: usize) -> Self {
        let mut lab = Self::new(programs);
        lab.found();
        for _ in 1..count {
            lab.join();
        }
        lab
    }

    /// The laboratory's folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A place in the laboratory for a test's own files.
    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        sys::file::Folder::open(self.path())
            .and_then(|folder| folder.replace(name, 0o600, content))
            .unwrap();
        path
    }

    /// Starts a manager that has no cluster yet. `options` go before the usual ones.
    pub fn start_manager(&mut self, options: &[&str]) -> usize {
        self.start_manager_under(&[], options)
    }

    /// Starts a manager as [`Self::start_manager`] does, by a command that starts others and is
    /// replaced by them: `ip netns exec NAME`.
    pub fn start_manager_under(&mut self, under: &[&str], options: &[&str]) -> usize {
        let index = self.prepare_manager(under, options);
        self.managers[index].daemon.start_again();
        self.await_socket(index);
        index
    }

    /// A manager that is still to be started.
    pub fn prepare_manager(&mut self, under: &[&str], options: &[&str]) -> usize {
        let place = self.path().join(format!("m{}", self.managers.len() + 1));
        let (data, socket) = (place.join("data"), place.join("run/s.sock"));
        let mut arguments: Vec<String> = options.iter().map(ToString::to_string).collect();
        arguments.push("--allow-unlocked-memory".into());
        let mut usual = |name: &str, value: String| {
            if !options.contains(&name) {
                arguments.extend([name.to_owned(), value]);
            }
        };
        usual("--data", data.display().to_string());
        usual("--socket", socket.display().to_string());
        usual("--listen", "127.0.0.1:0".into());
        usual("--http", "none".into());
        usual("--log", self.log.clone());
        let daemon = Daemon::prepare("secretd", under, &self.programs, arguments, place);
        self.managers.push(Manager { daemon, data, socket });
        self.managers.len() - 1
    }

    /// Waits until a manager answers on its socket.
    pub fn await_socket(&mut self, index: usize) {
        let manager = &mut self.managers[index];
        until("the manager's socket", || {
            manager.daemon.assert_running();
            std::os::unix::net::UnixStream::connect(&manager.socket).ok()
        });
    }

    /// Starts a manager and makes a cluster of it.
    pub fn found(&mut self) -> usize {
        let index = self.start_manager(&[]);
        self.ctl_of(index).ok(&["cluster", "init", "--hostname", "m1"]);
        index
    }

    /// Starts a manager and joins it to the cluster.
    pub fn join(&mut self) -> usize {
        let token = self.token("manager");
        let address = self.address();
        let index = self.start_manager(&[]);
        let name = format!("m{}", index + 1);
        let join = ["cluster", "join", "--token", &token, "--hostname", &name, &address];
        self.ctl_of(index).ok(&join);
        index
    }

    /// Starts an agent on a node of that name, and waits until the cluster calls it ready.
    pub fn agent(&mut self, hostname: &str) -> usize {
        let index = self.start_agent(hostname);
        self.await_node(hostname, "ready");
        index
    }

    /// Starts an agent on a node of that name.
    pub fn start_agent(&mut self, hostname: &str) -> usize {
        let token = self.token("agent");
        self.start_agent_by(hostname, &token)
    }

    /// Starts an agent that joins with a token.
    pub fn start_agent_by(&mut self, hostname: &str, token: &str) -> usize {
        let name = format!("token{}", self.agents.len() + 1);
        let token = self.file(&name, token.as_bytes()).display().to_string();
        let mut options = vec!["--join-file", &token];
        let addresses = self.addresses();
        options.extend(addresses.iter().flat_map(|address| ["--manager", address]));
        let index = self.prepare_agent(hostname, &options);
        self.agents[index].daemon.start_again();
        index
    }

    /// An agent that is still to be started, with options beside the usual ones.
    pub fn prepare_agent(&mut self, hostname: &str, options: &[&str]) -> usize {
        let place = self.path().join(format!("a{}", self.agents.len() + 1));
        let (data, tasks) = (place.join("data"), place.join("tasks"));
        let mut arguments: Vec<String> = ["--hostname", hostname, "--log-level", &self.agents_log]
            .into_iter()
            .chain(["--stop-tasks-on-exit", "--allow-unlocked-memory"])
            .map(Into::into)
            .collect();
        let engine = self.engine.clone().unwrap_or_else(|| "none".into());
        let places = [("--data", &data), ("--tasks", &tasks), ("--docker-socket", &engine)];
        for (name, path) in places {
            arguments.extend([name.to_owned(), path.display().to_string()]);
        }
        arguments.extend(options.iter().map(ToString::to_string));
        let daemon = Daemon::prepare("secret-agent", &[], &self.programs, arguments, place);
        self.agents.push(Agent { daemon, data, tasks, hostname: hostname.to_owned() });
        self.agents.len() - 1
    }

    /// Waits until the cluster says that about a node.
    pub fn await_node(&self, hostname: &str, state: &str) {
        until(&format!("node {hostname} is {state}"), || {
            let nodes = self.ctl().json(&["node", "ls"]);
            let mut nodes = nodes.as_array().unwrap().iter();
            nodes.find(|node| node["hostname"] == hostname && node["state"] == state).map(|_| ())
        });
    }

    /// Waits until a service's tasks are in a state, and gives them.
    pub fn await_tasks(&self, service: &str, count: usize, state: &str) -> Vec<serde_json::Value> {
        until(&format!("{count} tasks of {service} are {state}"), || {
            let tasks = self.ctl().json(&["service", "ps", service]);
            let tasks = tasks.as_array().unwrap().iter();
            let there: Vec<_> = tasks.filter(|task| task["state"] == state).cloned().collect();
            (there.len() == count).then_some(there)
        })
    }

    /// A token to join with.
    pub fn token(&self, role: &str) -> String {
        self.ctl().ok(&["cluster", "join-token", role, "--quiet"]).trim().to_owned()
    }

    /// The operator's tool at the first manager that runs.
    pub fn ctl(&self) -> Ctl {
        let index = self.managers.iter().position(|manager| manager.daemon.runs());
        self.ctl_of(index.expect("a manager runs"))
    }

    /// The operator's tool at a manager's socket.
    pub fn ctl_of(&self, index: usize) -> Ctl {
        Ctl::at(&self.programs, self.path(), &self.managers[index].socket)
    }

    /// Where the first manager that runs is reached.
    pub fn address(&self) -> String {
        self.members()[0]["address"].as_str().unwrap().to_owned()
    }

    /// Where all managers are reached.
    pub fn addresses(&self) -> Vec<String> {
        let members = self.members();
        members.iter().map(|member| member["address"].as_str().unwrap().to_owned()).collect()
    }

    /// The members, as the cluster's status tells of them. A manager that was just started again has
    /// none to tell of.
    pub fn members(&self) -> Vec<serde_json::Value> {
        until("a manager tells of the members", || {
            let status = self.ctl().json(&["cluster", "status"]);
            status["members"].as_array().cloned()
        })
    }

    /// Which of the managers leads.
    pub fn leader(&self) -> usize {
        until("a leader", || {
            let members = self.members();
            let leader = members.iter().find(|member| member["leader"] == true)?;
            let name = leader["hostname"].as_str()?;
            name.strip_prefix('m')?.parse::<usize>().ok().map(|number| number - 1)
        })
    }

    /// Where everything that the programs wrote to disk stands, their logs excepted.
    pub fn data_folders(&self) -> Vec<PathBuf> {
        self.managers.iter().map(|manager| manager.data.clone()).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let managers = self.managers.iter().map(|manager| &manager.daemon);
            for daemon in managers.chain(self.agents.iter().map(|agent| &agent.daemon)) {
                daemon.tell();
            }
        }
        for agent in &mut self.agents {
            // A second panic while the first unwinds would hide what it has to say.
            if std::thread::panicking() {
                agent.daemon.kill();
            } else {
                agent.daemon.stop();
            }
        }
        for manager in &mut self.managers {
            manager.daemon.kill();
        }
        // Supervisors of agents that were killed, and their tasks with them.
        daemon::kill_all_of(self.folder.path());
    }
}

/// The library that sets the wall clock of a program; none, and it is said, if it is not there.
pub fn faketime(test: &str) -> Option<PathBuf> {
    let libraries = std::fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok);
    let mut found = libraries.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
    let library = found.find(|path| path.exists());
    if library.is_none() {
        let reason = "there is no /usr/lib/*/faketime/libfaketimeMT.so.1";
        sys::require::skip(test, sys::require::Need::Faketime, reason);
    }
    library
}

/// Gives a file another mode.
pub fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
