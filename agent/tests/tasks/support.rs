//! An agent with a folder, secrets and tasks, and ways to wait for what becomes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::assignment::{Assignment, ResolvedReference, SecretVersion};
use agent::logs;
use agent::mount::{SecretSource, SourceError, Write};
use agent::output::{Line, Selection};
use agent::supervisor::client::Supervised;
use agent::supervisor::launch::Launcher;
use agent::supervisor::protocol::Request;
use agent::worker::{Assigned, Config, Handle, OpenError, Statuses, Worker};
use proto::id::{Revision, SecretId, ServiceId, TaskId, Version};
use proto::spec::{FileMode, LogPolicy, TaskSpec};
use proto::task::{DesiredState, TaskState, TaskStatus};
use sys::harden::CoreLimit;
use tokio::sync::{mpsc, watch};

/// Long enough for a machine that does other things as well; nothing waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(60);

/// An ordinary user, for tests that run as root.
pub(crate) const NOBODY: u32 = 65534;

/// What a child prints when it has come to where it is to be killed.
pub(crate) const SIGN: &str = "AGENT HAS COME SO FAR";

/// Secrets in clear, which only a test may keep.
#[derive(Default)]
pub(crate) struct Vault(Mutex<BTreeMap<SecretVersion, Vec<u8>>>);

impl Vault {
    pub(crate) fn put(&self, secret: SecretVersion, value: &[u8]) {
        self.0.lock().unwrap().insert(secret, value.to_vec());
    }
}

impl SecretSource for Vault {
    fn held(&self) -> BTreeSet<SecretVersion> {
        self.0.lock().unwrap().keys().copied().collect()
    }

    fn bytes_max(&self, secret: SecretVersion) -> Option<u64> {
        self.0.lock().unwrap().get(&secret).map(|value| value.len() as u64)
    }

    fn open(&self, _: TaskId, secret: SecretVersion, write: Write<'_>) -> Result<(), SourceError> {
        let values = self.0.lock().unwrap();
        let value = values.get(&secret).ok_or(SourceError::NotHeld)?;
        match &value[..] {
            b"cannot be opened" => return Err(SourceError::CannotOpen),
            b"blocks" => {
                println!("{SIGN}");
                loop {
                    std::thread::park();
                }
            }
            _ => {}
        }
        write(value).map_err(SourceError::Write)
    }
}

pub(crate) fn task_id(number: u8) -> TaskId {
    TaskId::from_entropy([number; 17])
}

pub(crate) fn secret(number: u8) -> SecretVersion {
    SecretVersion { secret_id: SecretId::from_entropy([number; 17]), version: Version(1) }
}

pub(crate) fn is_root() -> bool {
    sys::user::current().unwrap().uid == 0
}

/// A test that runs without root as well: as an ordinary user's task where the agent is root, else
/// in a user namespace, if there are any.
pub(crate) fn can_run(test: &str) -> bool {
    let probe = Command::new("unshare").args(["-Ur", "true"]).output();
    let possible = is_root() || probe.is_ok_and(|output| output.status.success());
    if !possible {
        sys::require::skip(test, sys::require::Need::UserNamespaces, "no user namespaces");
    }
    possible
}

/// One file of a task.
pub(crate) fn file(number: u8, target: &str) -> ResolvedReference {
    ResolvedReference {
        secret: secret(number),
        secret_name: format!("s{number}").parse().unwrap(),
        target: target.parse().unwrap(),
        uid: None,
        gid: None,
        mode: FileMode::OWNER_READS,
    }
}

/// A task that runs a shell script as an ordinary user.
pub(crate) fn task(number: u8, script: &str) -> Assignment {
    Assignment {
        task_id: task_id(number),
        service_id: ServiceId::from_entropy([9; 17]),
        service_name: "web".parse().unwrap(),
        slot: 1,
        revision: Revision(1),
        desired: DesiredState::Running,
        spec: TaskSpec {
            command: ["sh", "-c", script].map(Into::into).into(),
            user: if is_root() { format!("{NOBODY}:{NOBODY}") } else { String::new() },
            logs: LogPolicy::Files,
            ..TaskSpec::default()
        },
        secrets: Vec::new(),
        declared: None,
    }
}

/// An agent.
pub(crate) struct Rig {
    pub(crate) handle: Handle,
    pub(crate) vault: Arc<Vault>,
    pub(crate) dir: PathBuf,
    statuses: watch::Receiver<Statuses>,
    assigned: Assigned,
}

/// A folder that tasks of any user may write to, for what they have to tell.
pub(crate) fn temp() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    fs::set_permissions(temp.path(), Permissions::from_mode(0o777)).unwrap();
    temp
}

impl Rig {
    /// An agent with its state in `dir`, perhaps after another one.
    pub(crate) fn new(dir: &Path) -> Self {
        Self::try_new(dir).unwrap()
    }

    /// The same, where another agent may still be at work.
    pub(crate) fn try_new(dir: &Path) -> Result<Self, OpenError> {
        let vault = Arc::new(Vault::default());
        let config = Config {
            root: dir.join("agent"),
            launcher: Launcher::new(env!("CARGO_BIN_EXE_secret-agent").into(), Vec::new()),
            hide: Vec::new(),
            core_limit: CoreLimit::current(),
            engine: None,
        };
        let source = Arc::clone(&vault);
        let (worker, handle) = Worker::open(config, source)?;
        tokio::spawn(worker.run());
        let statuses = handle.statuses();
        let (dir, assigned) = (dir.to_owned(), Assigned::new());
        Ok(Self { handle, vault, dir, statuses, assigned })
    }

    /// Assigns a task beside those that are assigned already.
    pub(crate) fn assign(&mut self, task: Assignment) {
        self.assigned.insert(task.task_id, task);
        self.handle.assign(Arc::new(self.assigned.clone()));
    }

    /// Changes what is wanted of an assigned task.
    pub(crate) fn want(&mut self, number: u8, desired: DesiredState) {
        self.assigned.get_mut(&task_id(number)).unwrap().desired = desired;
        self.handle.assign(Arc::new(self.assigned.clone()));
    }

    /// Takes a task away.
    pub(crate) fn unassign(&mut self, number: u8) {
        self.assigned.remove(&task_id(number));
        self.handle.assign(Arc::new(self.assigned.clone()));
    }

    /// Waits until a task's status is as wanted.
    pub(crate) async fn until(
        &mut self,
        task_id: TaskId,
        wanted: impl Fn(&TaskStatus) -> bool,
    ) -> TaskStatus {
        let mut statuses = self.statuses.clone();
        let matches = |statuses: &Statuses| statuses.get(&task_id).is_some_and(&wanted);
        let waited = tokio::time::timeout(PATIENCE, statuses.wait_for(matches)).await;
        let late = || format!("still {:?}", self.statuses.borrow());
        match waited {
            Ok(statuses) => statuses.unwrap()[&task_id].clone(),
            Err(elapsed) => panic!("{elapsed}: {}", late()),
        }
    }

    pub(crate) async fn until_state(&mut self, number: u8, state: TaskState) -> TaskStatus {
        // One that is over cannot come to another state any more.
        let there = |status: &TaskStatus| status.state == state || status.state.is_terminal();
        let status = self.until(task_id(number), there).await;
        assert_eq!(status.state, state, "{status:?}");
        status
    }

    /// Waits until nothing is known of a task any more.
    pub(crate) async fn until_forgotten(&mut self, number: u8) {
        let forgotten = |statuses: &Statuses| !statuses.contains_key(&task_id(number));
        let waited = tokio::time::timeout(PATIENCE, self.statuses.wait_for(forgotten)).await;
        waited.expect("it is forgotten in time").unwrap();
    }

    /// Assigns a task and waits for its end.
    pub(crate) async fn run(&mut self, task: Assignment) -> TaskStatus {
        let task_id = task.task_id;
        self.assign(task);
        self.until(task_id, |status| status.state.is_terminal()).await
    }

    /// What a task wrote to a file of `dir`.
    pub(crate) fn read(&self, name: &str) -> String {
        let path = self.dir.join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The lines of a task's output that are there.
    pub(crate) async fn output(&self, number: u8, selection: Selection) -> Vec<Line> {
        let (sender, mut receiver) = mpsc::channel(1);
        let read = logs::read(self.handle.tasks(), task_id(number), selection, false, sender);
        let collect = async {
            let mut lines = Vec::new();
            while let Some(batch) = receiver.recv().await {
                lines.extend(batch);
            }
            lines
        };
        let both = async { tokio::join!(read, collect) };
        let (read, lines) = tokio::time::timeout(PATIENCE, both).await.unwrap();
        read.unwrap();
        lines
    }
}

/// A test that fails must not leave its tasks behind.
impl Drop for Rig {
    fn drop(&mut self) {
        let Ok(names) = self.handle.tasks().entries() else {
            return;
        };
        for name in names {
            let folder = self.handle.tasks().private_folder(name.to_str().unwrap());
            if let Ok(supervised) = folder.map(|folder| Supervised::connect(&folder).ok())
                && let Some(supervised) = supervised
            {
                supervised.request(&Request::Stop { grace_ms: Some(0) }).ok();
                supervised.request(&Request::Release).ok();
            }
        }
    }
}

/// A pipe with a name, by which a task and a test wait for each other.
pub(crate) struct Gate(PathBuf);

impl Gate {
    pub(crate) fn new(dir: &Path, name: &str) -> Self {
        let path = dir.join(name);
        if !path.exists() {
            let made = Command::new("mkfifo").args(["-m", "666"]).arg(&path).status().unwrap();
            assert!(made.success());
        }
        Self(path)
    }

    /// Waits until the task writes a line: `echo >$GATE`.
    pub(crate) async fn passed(&self) -> String {
        let path = self.0.clone();
        let line = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            File::open(path).unwrap().read_to_string(&mut text).unwrap();
            text
        });
        tokio::time::timeout(PATIENCE, line).await.expect("the task passes the gate").unwrap()
    }

    /// Lets the task pass that reads a line: `read _ <$GATE`.
    pub(crate) async fn open(&self) {
        let path = self.0.clone();
        let opened = tokio::task::spawn_blocking(move || {
            File::options().write(true).open(path).unwrap().write_all(b"go\n").unwrap();
        });
        tokio::time::timeout(PATIENCE, opened).await.expect("the task waits there").unwrap();
    }
}

/// Waits until no process has a folder in its arguments: the supervisors of its tasks do, and so do
/// tasks that are told to wait there.
pub(crate) async fn until_no_process_names(dir: &Path) {
    let dir = dir.to_str().unwrap();
    let found = || -> Vec<String> {
        let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let lines = processes.filter_map(|entry| {
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            Some(String::from_utf8_lossy(&line).into_owned())
        });
        lines.filter(|line| line.contains(dir)).collect()
    };
    let gone = async {
        // Not children of this process, so that there is nothing to wait for but their end.
        while !found().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, gone).await.is_ok(), "still there: {:?}", found());
}

/// This program again, to run one test as an agent of its own: `wrapper` starts it, e.g. in other
/// namespaces, and `DIR` tells it where.
pub(crate) fn child(wrapper: &[&str], test: &str, dir: &Path) -> Command {
    let own = std::env::current_exe().unwrap();
    let mut words = wrapper.iter().map(Into::into).chain([own.into_os_string()]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).args([test, "--exact", "--nocapture"]).env("AGENT_TEST_DIR", dir);
    command
}

/// Where [`child`] said that this process is to be an agent.
pub(crate) fn child_dir() -> Option<PathBuf> {
    std::env::var_os("AGENT_TEST_DIR").map(Into::into)
}
