//! A throwaway cluster as the commands have it: its folder, its managers, its agent.
//!
//! What is started is asked of the keeper; how a cluster is made is the same as anywhere: one
//! manager makes it, the others and the agent join with tokens. Not here: ending the processes
//! ([`super::keeper`]).
//!
//! Invariant: [`with`] returns only after the keeper has ended, and with it everything.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use proto::Kind;
use proto::pb;
use sys::file::Folder;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::{
    AGENT, ALSO, DAEMON, FOLDER_PREFIX, KEEPER, Layout, MANAGER, SOCKET_PATH_MAX, TO_SOCKET,
};
use crate::cli::GlobalArgs;
use crate::command::{Session, counted};
use crate::connection::{ask, request_key};
use crate::error::{Error, chain};

/// How long any step of starting may take. Each takes a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at whether a step is done.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The agent's name, as a node and in the folder.
pub(crate) const NODE: &str = "node1";

/// What is made of a process that ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deaths {
    /// The command cannot go on.
    Fail,
    /// It is told, and the rest of the cluster goes on.
    Tell,
}

/// A process of the cluster that ended, and how.
struct Ended {
    name: String,
    how: String,
}

/// A manager that runs.
#[derive(Debug, Clone)]
pub(crate) struct Manager {
    /// Its name, as a node and in the folder.
    pub(crate) name: String,
    /// Its process.
    pub(crate) pid: u32,
    /// Where others reach it.
    pub(crate) address: String,
}

/// A throwaway cluster.
pub(crate) struct Throwaway<'a> {
    session: &'a Session,
    layout: Layout,
    orders: ChildStdin,
    started: mpsc::UnboundedReceiver<u32>,
    /// Those that run, in the order they joined.
    pub(crate) managers: Vec<Manager>,
}

/// Makes an empty throwaway cluster, does `work` with it, and ends it, also on SIGINT and SIGTERM.
pub(crate) async fn with<T>(
    session: &Session,
    deaths: Deaths,
    work: impl AsyncFnOnce(&mut Throwaway<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let listen = |kind| signal(kind).map_err(|error| cannot_start(error.to_string()));
    let (mut interrupt, mut terminate) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let layout = Layout { folder: make_folder()? };
    let (mut keeper, orders) = start_keeper(&layout)?;
    let (started, ended, reading) = read_events(&mut keeper)?;
    let mut throwaway =
        Throwaway { session, layout: layout.clone(), orders, started, managers: Vec::new() };
    let outcome = tokio::select! {
        biased;
        _ = interrupt.recv() => Err(Error::Interrupted(None)),
        _ = terminate.recv() => Err(Error::Interrupted(None)),
        error = watch(ended, &layout, deaths, session) => Err(error),
        outcome = Box::pin(work(&mut throwaway)) => outcome,
    };
    // The keeper takes the end of its input for the end of the cluster.
    drop(throwaway);
    session.printer.progress("stopping the cluster and removing its folder");
    let status = keeper.wait().await.map_err(|error| cannot_start(error.to_string()))?;
    let left = reading.await.unwrap_or_default();
    if !status.success() || layout.folder.exists() {
        let what = format!("what was in {} is not all gone", layout.folder.display());
        let failure = Error::failed(Kind::Internal, what)
            .because(left.unwrap_or_else(|| format!("its keeper ended with {status}")))
            .hint("remove the folder; `ps` shows whether processes name it");
        return outcome.and(Err(failure.into()));
    }
    outcome
}

fn cannot_start(reason: impl Into<String>) -> Error {
    Error::failed(Kind::Internal, "a cluster cannot be started here")
        .because(reason)
        .hint("the limits on this user's processes may be too tight: see `ulimit -a`")
        .into()
}

/// A private folder with a path short enough for sockets in it.
fn make_folder() -> Result<PathBuf, Error> {
    let asked = std::env::var_os("TMPDIR").map(PathBuf::from);
    let usual = ["/tmp", "/var/tmp", "/dev/shm"].map(PathBuf::from);
    let mut reasons = Vec::new();
    for parent in asked.into_iter().chain(usual) {
        // Tasks cannot have a folder hidden that lies behind a symlink.
        let parent = match parent.canonicalize() {
            Ok(parent) => parent,
            Err(error) => {
                reasons.push(format!("{}: {error}", parent.display()));
                continue;
            }
        };
        let folder =
            parent.join(format!("{FOLDER_PREFIX}{}", proto::hex::encode(&seal::random::<4>())));
        if folder.as_os_str().len() + TO_SOCKET.len() > SOCKET_PATH_MAX {
            reasons.push(format!("{}: its path is too long for sockets", parent.display()));
            continue;
        }
        match make_private(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) => reasons.push(format!("{}: {error}", parent.display())),
        }
    }
    Err(Error::failed(Kind::Precondition, "there is no place for a temporary folder")
        .because(reasons.join("; "))
        .hint("name a folder that this user may write: `TMPDIR=… secretctl …`")
        .into())
}

/// A private folder in a given one.
pub(crate) fn make_folder_in(parent: &Path) -> io::Result<PathBuf> {
    let folder = parent.join(folder_name());
    make_private(&folder).map(|()| folder)
}

fn folder_name() -> String {
    format!("{FOLDER_PREFIX}{}", proto::hex::encode(&seal::random::<4>()))
}

fn make_private(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().mode(0o700).create(folder)
}

fn start_keeper(layout: &Layout) -> Result<(Child, ChildStdin), Error> {
    let mut keeper = Command::new("/proc/self/exe")
        .arg0("secretctl")
        .args([OsStr::new(DAEMON), OsStr::new(KEEPER), layout.folder.as_os_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .current_dir("/")
        .spawn()
        .map_err(|error| {
            // Nothing is in it yet.
            std::fs::remove_dir(&layout.folder).ok();
            cannot_start(error.to_string())
        })?;
    let orders = keeper.stdin.take().ok_or_else(|| cannot_start("there is no pipe"))?;
    Ok((keeper, orders))
}

type Reading = tokio::task::JoinHandle<Option<String>>;
type Events = (mpsc::UnboundedReceiver<u32>, mpsc::UnboundedReceiver<Ended>, Reading);

/// What the keeper tells: who was started, who ended, and at the end what it had to leave.
fn read_events(keeper: &mut Child) -> Result<Events, Error> {
    let output = keeper.stdout.take().ok_or_else(|| cannot_start("there is no pipe"))?;
    let (started_sender, started) = mpsc::unbounded_channel();
    let (ended_sender, ended) = mpsc::unbounded_channel();
    let reading = tokio::spawn(async move {
        let mut lines = BufReader::new(output).lines();
        let mut left = None;
        while let Ok(Some(line)) = lines.next_line().await {
            let words: Vec<&str> = line.splitn(3, ' ').collect();
            match words.as_slice() {
                ["started", _, pid] => {
                    // Nobody waits any more when the cluster is being ended.
                    drop(pid.parse().map(|pid| started_sender.send(pid)));
                }
                ["ended", name, how] => {
                    let (name, how) = ((*name).to_owned(), (*how).to_owned());
                    drop(ended_sender.send(Ended { name, how }));
                }
                _ => left = Some(line.trim_start_matches("left ").to_owned()),
            }
        }
        left
    });
    Ok((started, ended, reading))
}

/// Returns when the cluster is not what it should be any more, with the reason.
async fn watch(
    mut ended: mpsc::UnboundedReceiver<Ended>,
    layout: &Layout,
    deaths: Deaths,
    session: &Session,
) -> Error {
    while let Some(Ended { name, how }) = ended.recv().await {
        let what = format!("{name} ended with {how}");
        let last = last_line(&layout.log(&name));
        if deaths == Deaths::Tell {
            session.printer.warning(&what);
            continue;
        }
        let mut failure = Error::failed(Kind::Internal, what);
        failure.because = last.map(|line| format!("its log ends with: {line}"));
        return failure.hint("repeat the command; if it stays so, this is a bug").into();
    }
    cannot_start("the process that keeps it has ended")
}

fn last_line(log: &Path) -> Option<String> {
    let text = std::fs::read(log).ok()?;
    let text = String::from_utf8_lossy(&text);
    text.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned)
}

/// Looks until a step is done.
async fn until<T>(
    what: &str,
    mut done: impl AsyncFnMut() -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = done().await? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            return Err(Error::failed(Kind::Timeout, format!("{what} in time"))
                .because(format!("{} seconds were not enough", PATIENCE.as_secs()))
                .hint("this machine may be very busy: try again later")
                .into());
        }
        sleep(LOOK_EVERY).await;
    }
}

impl Throwaway<'_> {
    /// What is where.
    pub(crate) const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The socket of the first manager.
    pub(crate) fn socket(&self) -> PathBuf {
        self.layout.socket(&name(1))
    }

    /// The command's own session, with the first manager to talk to.
    pub(crate) fn session(&self) -> Session {
        self.session_with(&name(1))
    }

    fn session_with(&self, manager: &str) -> Session {
        let socket = Some(self.layout.socket(manager));
        let global = GlobalArgs { socket, context: None, ..self.session.global.clone() };
        Session { global, ..*self.session }
    }

    /// Has the keeper start a process; returns its number.
    async fn start(&mut self, order: &str) -> Result<u32, Error> {
        let written = self.orders.write_all(format!("{order}\n").as_bytes()).await;
        written.map_err(|error| cannot_start(error.to_string()))?;
        let pid = self.started.recv().await;
        pid.ok_or_else(|| cannot_start("the process that keeps it has ended"))
    }

    /// Starts managers and makes one cluster of them.
    pub(crate) async fn start_managers(&mut self, count: u8) -> Result<(), Error> {
        let printer = self.session.printer;
        printer.progress(&format!(
            "starting {} in {}",
            counted(count.into(), "manager"),
            self.layout.folder.display()
        ));
        for number in 1..=count {
            let pid = self.start(&format!("{MANAGER} {}", name(number))).await?;
            self.managers.push(Manager { name: name(number), pid, address: String::new() });
        }
        self.make_cluster().await?;
        for number in 1..=count {
            let session = self.listening(&name(number)).await?;
            let connection = session.connect().await?;
            if number > 1 {
                let first = self.managers.first().map(|first| first.address.clone());
                let request = pb::JoinRequest {
                    token: self.token("manager").await?,
                    addresses: first.into_iter().collect(),
                    advertise_address: String::new(),
                    hostname: name(number),
                };
                let joined = ask!(connection, local.join(request))?;
                if let Some(manager) = self.managers.get_mut(usize::from(number) - 1) {
                    manager.address = joined.address;
                }
                printer.progress(&format!("manager {} has joined", name(number)));
            }
        }
        self.until_all_vote(count).await
    }

    /// Makes a cluster of the first manager.
    async fn make_cluster(&mut self) -> Result<(), Error> {
        let session = self.listening(&name(1)).await?;
        let connection = session.connect().await?;
        let request = pb::InitRequest { hostname: name(1), ..Default::default() };
        let made = ask!(connection, local.init(request))?;
        self.session.printer.progress(&format!(
            "manager {} made a cluster, at {}",
            name(1),
            made.address
        ));
        if let Some(first) = self.managers.first_mut() {
            first.address = made.address;
        }
        Ok(())
    }

    /// Has a folder elsewhere removed with the cluster.
    pub(crate) async fn remove_also(&mut self, folder: &Path) -> Result<(), Error> {
        self.start(&format!("{ALSO} {}", folder.display())).await.map(drop)
    }

    /// A token for one who joins.
    pub(crate) async fn token(&self, role: &str) -> Result<String, Error> {
        let connection = self.session().connect().await?;
        let request = pb::CreateJoinTokenRequest {
            request_key: request_key(),
            role: role.to_owned(),
            expires_after_ms: 0,
            uses: 1,
        };
        Ok(ask!(connection, control.create_join_token(request))?.token)
    }

    /// Waits until a manager listens.
    async fn listening(&self, manager: &str) -> Result<Session, Error> {
        let socket = self.layout.socket(manager);
        until(&format!("manager {manager} did not start"), async || {
            Ok(UnixStream::connect(&socket).ok().map(drop))
        })
        .await?;
        Ok(self.session_with(manager))
    }

    async fn until_all_vote(&self, count: u8) -> Result<(), Error> {
        let connection = self.session().connect().await?;
        until("the managers did not come to vote", async || {
            let request = pb::GetClusterStatusRequest {};
            let members = ask!(connection, control.get_cluster_status(request))?.members;
            let voters =
                members.iter().filter(|member| member.state() == pb::MemberState::Voter).count();
            Ok((voters == usize::from(count)).then_some(()))
        })
        .await
    }

    /// Starts an agent, and waits until the cluster can place tasks on it.
    pub(crate) async fn start_agent(&mut self) -> Result<(), Error> {
        let token = self.token("agent").await?;
        let cannot = |error| {
            Error::from(
                Error::failed(Kind::Internal, "the agent's token cannot be handed over")
                    .because(chain(&error))
                    .hint("see whether the temporary folder's filesystem is full"),
            )
        };
        let folder = Folder::create_private(self.layout.of(NODE)).map_err(cannot)?;
        folder.replace("token", 0o600, token.as_bytes()).map_err(cannot)?;
        let address = self.managers.first().map(|first| first.address.clone()).unwrap_or_default();
        self.start(&format!("{AGENT} {NODE} {address}")).await?;
        let connection = self.session().connect().await?;
        until("the agent did not join", async || {
            let nodes = ask!(connection, control.list_nodes(pb::ListNodesRequest {}))?.nodes;
            let is_ready =
                |node: &pb::NodeInfo| node.hostname == NODE && node.state() == pb::NodeState::Ready;
            Ok(nodes.iter().any(is_ready).then_some(()))
        })
        .await?;
        self.session.printer.progress(&format!("agent {NODE} has joined"));
        Ok(())
    }
}

/// A manager's name.
fn name(number: u8) -> String {
    format!("m{number}")
}
