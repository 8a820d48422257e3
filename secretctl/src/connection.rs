//! Calls to managers: which, in what order, and how often.
//!
//! Without a context the one manager is the unix socket of this machine; with one, the managers of
//! the context over TLS, the first that answers. A request without an answer is sent to the next
//! manager under the same request key until the deadline; whoever answers stays first. A manager of
//! a CA that takes the place of the context's is noticed in the handshake; the context follows, in
//! the same command, and renews its certificate in it when an answer asks for that. Not here: what the
//! calls mean.
//!
//! Invariant: a request is built once, so every attempt carries the same request key.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use link::Failure;
use link::dial::{self, Patience};
use link::rpc::control_client::ControlClient;
use link::rpc::enroll_client::EnrollClient;
use link::rpc::local_client::LocalClient;
use link::status::RENEW_NOW;
use link::tls::{self, Cluster, OwnCertificate};
use proto::Kind;
use proto::id::{Incarnation, Serial};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::cli::GlobalArgs;
use crate::context::{Contexts, Stored};
use crate::enroll;
use crate::error::{Error, chain};
use crate::transit::Trust;

/// Where a manager of this machine listens.
const SOCKET: &str = "/run/secretd/secretd.sock";

/// The first pause between two rounds over all managers, and the longest.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// With several managers, how long one may take at least before the next is asked.
const ATTEMPT_MIN: Duration = Duration::from_secs(3);

/// One manager that can be asked.
#[derive(Debug, Clone)]
pub(crate) struct Manager {
    /// Its address or socket, for messages.
    pub(crate) name: String,
    /// How to reach it.
    pub(crate) channel: Channel,
}

/// At least so far apart: looks at whether the context is to follow to another CA, or to renew.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// Managers, and what is known of their cluster.
pub(crate) struct Connection {
    managers: RefCell<Vec<Manager>>,
    first: Cell<usize>,
    timeout: Duration,
    trust: RefCell<Trust>,
    context: RefCell<Option<Stored>>,
    /// Whether a manager was met whose CA takes the place of the context's.
    bridged: RefCell<Option<watch::Receiver<bool>>>,
    followed_at: Cell<Option<Instant>>,
}

/// What was chosen to talk to.
pub(crate) enum Choice {
    /// A unix socket.
    Socket(PathBuf),
    /// A context, by name.
    Context(String),
}

/// What to talk to: an option, the environment, the chosen context, the default socket.
pub(crate) fn choose(global: &GlobalArgs) -> Result<Choice, Error> {
    if let Some(socket) = &global.socket {
        return Ok(Choice::Socket(socket.clone()));
    }
    if let Some(context) = &global.context {
        return Ok(Choice::Context(context.clone()));
    }
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(name) = variable("SECRETD_CONTEXT") {
        return Ok(Choice::Context(name.to_string_lossy().into_owned()));
    }
    if let Some(path) = variable("SECRETD_SOCKET") {
        return Ok(Choice::Socket(path.into()));
    }
    // Without a place for contexts there is none that could have been chosen.
    let current = Contexts::of_user().ok().map(|contexts| contexts.current()).transpose()?;
    Ok(current.flatten().map_or_else(|| Choice::Socket(SOCKET.into()), Choice::Context))
}

impl Connection {
    /// Opens what was chosen; a context's certificate is renewed when it is time.
    pub(crate) async fn open(global: &GlobalArgs) -> Result<Self, Error> {
        match choose(global)? {
            Choice::Socket(path) => Self::local(&path, global.timeout),
            Choice::Context(name) => {
                let mut stored = Contexts::of_user()?.read(&name)?;
                enroll::renew_if_due(&mut stored, global.timeout).await?;
                Self::remote(stored, global.timeout)
            }
        }
    }

    /// The unix socket, for what only a manager's own machine may ask.
    pub(crate) fn own_machine(global: &GlobalArgs) -> Result<Self, Error> {
        match choose(global)? {
            Choice::Socket(path) => Self::local(&path, global.timeout),
            Choice::Context(name) => {
                let what = "this is asked of the manager on its own machine only";
                Err(Error::failed(Kind::Precondition, what)
                    .because(format!("context `{name}` is chosen, which talks over the network"))
                    .hint(format!("run it on the manager's machine, with `--socket {SOCKET}`"))
                    .into())
            }
        }
    }

    /// The one there is, for a call that cannot be tried again: of this machine.
    pub(crate) fn only(&self) -> Channel {
        let managers = self.managers.borrow();
        let manager = managers.first().expect("a connection has a manager");
        manager.channel.clone()
    }

    /// The one that answered last, for a call that must not be made twice.
    pub(crate) fn answering(&self) -> Channel {
        let managers = self.managers.borrow();
        let manager = managers.get(self.first.get()).or_else(|| managers.first());
        manager.expect("a connection has a manager").channel.clone()
    }

    /// Waits for each answer for as long as this at least.
    pub(crate) fn wait_at_least(&mut self, timeout: Duration) {
        self.timeout = self.timeout.max(timeout);
    }

    fn local(path: &Path, timeout: Duration) -> Result<Self, Error> {
        check_socket(path)?;
        let name = path.display().to_string();
        let manager = Manager { name, channel: dial::local_channel(path.to_owned()) };
        Ok(Self::bare(vec![manager], timeout))
    }

    fn remote(stored: Stored, timeout: Duration) -> Result<Self, Error> {
        let connection = Self::bare(Vec::new(), timeout);
        connection.go_by(stored)?;
        Ok(connection)
    }

    /// Talks by this context from now on.
    fn go_by(&self, stored: Stored) -> Result<(), Error> {
        let ca = link::certificate::public_key_of(&stored.ca).map_err(|error| {
            Error::failed(Kind::Precondition, format!("context `{}` is damaged", stored.name))
                .because(error.to_string())
                .hint("remove it with `secretctl context rm`, and enrol again")
        })?;
        let trust = Trust::Pinned {
            ca_public_key: ca,
            realm: stored.realm,
            incarnation: stored.incarnation(),
            subject: stored.says.identity.subject,
        };
        let (managers, bridged) = channels(&stored)?;
        self.managers.replace(managers);
        self.trust.replace(trust);
        self.bridged.replace(Some(bridged));
        self.context.replace(Some(stored));
        Ok(())
    }

    /// Follows the cluster to another CA, if a manager showed one. What fails is tried again by the
    /// next call, or the next command: the one that was asked for is done.
    async fn follow_ca_if_met(&self) {
        let is_bridged = self.bridged.borrow().as_ref().is_some_and(|seen| *seen.borrow());
        if is_bridged {
            self.follow_ca().await;
        }
    }

    /// Follows the cluster to another CA, if operators are to, though no manager showed it: this
    /// connection may be from before.
    pub(crate) fn follow_ca(&self) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(async {
            let Some((mut kept, serial)) = self.kept() else { return };
            // Another process may have done it.
            let has_moved = kept.says.serial != serial
                || enroll::follow_ca(&mut kept, self.timeout)
                    .await
                    .is_ok_and(|has_moved| has_moved);
            if has_moved {
                drop(self.go_by(kept));
            }
        })
    }

    /// Renews the context's certificate, since a manager asked for it. What fails is tried again by the
    /// next call, or the next command.
    fn renew_now(&self) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(async {
            let Some((mut kept, serial)) = self.kept() else { return };
            let has_renewed = kept.says.serial != serial
                || enroll::renew_now(&mut kept, self.timeout)
                    .await
                    .is_ok_and(|has_renewed| has_renewed);
            if has_renewed {
                drop(self.go_by(kept));
            }
        })
    }

    /// Whether another process renewed the context's certificate meanwhile, so that this one's is refused:
    /// it is gone by from now on.
    fn takes_over(&self, status: &Status) -> bool {
        let is_refused = status.code() == Code::Unauthenticated;
        let known = self.context.borrow().as_ref().map(|one| (one.name.clone(), one.says.serial));
        let Some((name, serial)) = known.filter(|_| is_refused) else { return false };
        let kept = Contexts::of_user().and_then(|contexts| contexts.read(&name));
        kept.is_ok_and(|kept| kept.says.serial != serial && self.go_by(kept).is_ok())
    }

    /// The context as it is kept now, and the serial number of the certificate that is in use; not
    /// again and again.
    fn kept(&self) -> Option<(Stored, Serial)> {
        let is_recent = self.followed_at.get().is_some_and(|at| at.elapsed() < FOLLOW_EVERY);
        let known = self.context.borrow().as_ref().map(|one| (one.name.clone(), one.says.serial));
        let (name, serial) = known.filter(|_| !is_recent)?;
        self.followed_at.set(Some(Instant::now()));
        let kept = Contexts::of_user().and_then(|contexts| contexts.read(&name)).ok()?;
        Some((kept, serial))
    }

    /// Only these managers: for enrolment, which has no context yet.
    pub(crate) fn bare(managers: Vec<Manager>, timeout: Duration) -> Self {
        Self {
            managers: RefCell::new(managers),
            first: Cell::new(0),
            timeout,
            trust: RefCell::new(Trust::Kernel),
            context: RefCell::new(None),
            bridged: RefCell::new(None),
            followed_at: Cell::new(None),
        }
    }

    /// What is known of the cluster.
    pub(crate) fn trust(&self) -> Trust {
        self.trust.borrow().clone()
    }

    /// Whether this is the unix socket of this machine.
    pub(crate) fn is_local(&self) -> bool {
        matches!(*self.trust.borrow(), Trust::Kernel)
    }

    /// The cluster said which life it is in: a context remembers the highest, and refuses a lower.
    pub(crate) fn saw(&mut self, incarnation: Incarnation) -> Result<(), Error> {
        let Some(stored) = self.context.get_mut() else { return Ok(()) };
        if incarnation < stored.incarnation() {
            let (offered, seen) = (incarnation, stored.incarnation());
            return Err(crate::transit::TransitError::Earlier { offered, seen }.into());
        }
        Ok(stored.remember(incarnation)?)
    }

    /// Calls until a manager answers, or the time is up.
    pub(crate) async fn call<A, F, Fut>(&self, call: F) -> Result<A, Error>
    where
        F: Fn(Channel) -> Fut,
        Fut: Future<Output = Result<Response<A>, Status>>,
    {
        let deadline = Instant::now() + self.timeout;
        let count = self.managers.borrow().len();
        let share = self.timeout / u32::try_from(count.max(1)).unwrap_or(u32::MAX);
        let mut pause = PAUSE;
        let mut failures: Vec<Attempt> = Vec::new();
        loop {
            let mut round = Vec::with_capacity(count);
            let first = self.first.get();
            for offset in 0..count {
                let index = (first + offset) % count;
                let manager = self.managers.borrow().get(index).cloned();
                let Some(manager) = manager else { continue };
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                let limit = if count > 1 { left.min(share.max(ATTEMPT_MIN)) } else { left };
                match tokio::time::timeout(limit, call(manager.channel.clone())).await {
                    Ok(Ok(answer)) => {
                        self.first.set(index);
                        if answer.metadata().contains_key(RENEW_NOW) {
                            self.renew_now().await;
                        }
                        self.follow_ca_if_met().await;
                        return Ok(answer.into_inner());
                    }
                    Ok(Err(status)) if self.takes_over(&status) => break,
                    Ok(Err(status)) => round.push(Attempt::failed(&manager, status)?),
                    Err(_) => round.push(Attempt::silent(&manager, limit)),
                }
            }
            let all_locked =
                !round.is_empty() && round.iter().all(|one| one.failure.kind == Kind::Locked);
            // A round that the deadline cut short does not replace what managers said before it.
            let tells_more =
                round.iter().any(|one| one.answered) || !failures.iter().any(|one| one.answered);
            if !round.is_empty() && tells_more {
                failures = round;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if all_locked || left.is_zero() {
                return Err(give_up(failures, self.timeout));
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// One manager that did not do what it was asked.
struct Attempt {
    name: String,
    failure: Failure,
    /// Whether the manager itself said so.
    answered: bool,
}

impl Attempt {
    /// Passes on what another manager would answer as well.
    fn failed(manager: &Manager, status: Status) -> Result<Self, Error> {
        let answered = !status.details().is_empty();
        let because = (!answered).then(|| {
            let source = std::error::Error::source(&status);
            source.map_or_else(|| status.message().to_owned(), chain)
        });
        let mut failure = Failure::from(status);
        if let Some(because) = because {
            failure.because = Some(because);
        }
        if failure.is_of_unknown_ca() {
            return Err(left_behind(manager).into());
        }
        if failure.kind.is_retryable() {
            Ok(Self { name: manager.name.clone(), failure, answered })
        } else {
            Err(failure.into())
        }
    }

    fn silent(manager: &Manager, limit: Duration) -> Self {
        let waited = crate::instant::format_duration(crate::instant::millis(limit));
        let failure = Failure::new(Kind::Timeout, format!("no answer within {waited}"));
        Self { name: manager.name.clone(), failure, answered: false }
    }
}

/// The context's certificate is of a CA that was dropped.
fn left_behind(manager: &Manager) -> Failure {
    let what = format!("the manager at {} does not know this context's CA any more", manager.name);
    Failure::new(Kind::Unauthenticated, what)
        .because("the cluster's CA was rotated, and the context was not used meanwhile")
        .hint(
            "enrol again: an admin runs `secretctl operator rm` and `operator add`; here `secretctl \
             context rm`, then `context add` with the new token",
        )
}

/// What to say when nobody did it: what a manager said goes before what the network did.
fn give_up(mut failures: Vec<Attempt>, timeout: Duration) -> Error {
    let urgency = |kind: Kind| match kind {
        Kind::NoLeader => 0,
        Kind::Locked => 1,
        _ => 2,
    };
    failures.sort_by_key(|one| (!one.answered, urgency(one.failure.kind)));
    let waited = crate::instant::format_duration(crate::instant::millis(timeout));
    let reasons: Vec<String> = failures
        .iter()
        .map(|one| {
            let reason = match (&one.failure.because, one.answered) {
                (Some(because), false) => because,
                _ => &one.failure.message,
            };
            format!("{}: {reason}", one.name)
        })
        .collect();
    let Some(worst) = failures.into_iter().next() else {
        return Error::failed(Kind::Timeout, format!("no manager answered within {waited}"))
            .hint("give it more time with `--timeout`")
            .into();
    };
    if worst.answered {
        return worst.failure.into();
    }
    let what = match reasons.as_slice() {
        [_] => format!("cannot reach the manager at {}", worst.name),
        _ => "cannot reach any manager".to_owned(),
    };
    let is_socket = worst.name.starts_with('/');
    let foreign = reasons.iter().any(|reason| reason.contains("certificate"));
    let mut failure = Failure::new(worst.failure.kind, what).because(reasons.join("; "));
    failure = if foreign {
        failure.hint(
            "whoever answers is not of this context's cluster, or the cluster was restored since; \
             enrol again with `secretctl context add`",
        )
    } else if is_socket {
        failure.hint("see secretd's own log: its socket is there, and nobody answers in time")
    } else {
        failure.hint("check that secretd runs there; `secretctl context show` has the addresses")
    };
    if worst.failure.kind == Kind::Timeout {
        failure = failure.hint(
            "a change may have been made though no answer came: look before repeating the command",
        );
    }
    failure.into()
}

/// Says at once what would otherwise be tried until the deadline.
fn check_socket(path: &Path) -> Result<(), Error> {
    let Err(error) = std::os::unix::net::UnixStream::connect(path) else { return Ok(()) };
    let what = format!("cannot reach the manager at {}", path.display());
    let failure = Error::failed(Kind::Unavailable, what);
    match error.kind() {
        io::ErrorKind::NotFound => Err(failure
            .because("there is no such socket")
            .hint("start secretd on this machine, or name its socket with `--socket`")
            .hint("to talk to another machine, enrol there: `secretctl context add`")
            .into()),
        io::ErrorKind::PermissionDenied => Err(Error::failed(Kind::Denied, failure.message)
            .because("this user may not enter the socket's folder")
            .hint("run it as root or as the manager's own user, or enrol: `secretctl context add`")
            .into()),
        // It may be starting.
        _ => Ok(()),
    }
}

/// Channels to a context's managers, with its certificate; and whether one was met whose CA takes
/// the place of the context's.
pub(crate) fn channels(stored: &Stored) -> Result<(Vec<Manager>, watch::Receiver<bool>), Error> {
    let unusable = |reason: &dyn std::error::Error| {
        Error::failed(Kind::Precondition, format!("context `{}` cannot be used", stored.name))
            .because(chain(reason))
            .hint("remove it with `secretctl context rm`, and enrol again")
    };
    let own = OwnCertificate::new(
        stored.identity.certificate.clone(),
        stored.ca.clone(),
        &stored.identity.key,
    )
    .map_err(|error| unusable(&error))?;
    let cluster = Cluster { realm: stored.realm, incarnation: stored.incarnation() };
    let (bridged, seen) = watch::channel(false);
    let config = tls::noting_client_config(own, &stored.ca, cluster, bridged);
    let config = config.map_err(|error| unusable(&error))?;
    let managers = dial_all(&stored.facts.managers, |address| {
        dial::channel(address, config.clone(), Patience::CLIENT)
    })?;
    Ok((managers, seen))
}

/// A channel to each address, by `dial`.
pub(crate) fn dial_all(
    addresses: &[String],
    dial: impl Fn(&str) -> Result<Channel, dial::AddressError>,
) -> Result<Vec<Manager>, Error> {
    let manager = |address: &String| {
        let channel = dial(address).map_err(|error| {
            Error::Usage(Error::usage(error.to_string()).hint("give it as HOST:PORT"))
        })?;
        Ok(Manager { name: address.clone(), channel })
    };
    addresses.iter().map(manager).collect()
}

/// The operators' calls.
pub(crate) fn control(channel: Channel) -> ControlClient<Channel> {
    ControlClient::new(channel)
}

/// A manager's own machine's calls.
pub(crate) fn local(channel: Channel) -> LocalClient<Channel> {
    LocalClient::new(channel)
}

/// Enrolment's calls.
pub(crate) fn enrolment(channel: Channel) -> EnrollClient<Channel> {
    EnrollClient::new(channel)
}

/// A fresh request key: the same in every attempt of one request.
pub(crate) fn request_key() -> bytes::Bytes {
    seal::random::<16>().to_vec().into()
}

/// One call of a service, built once and sent until it is answered.
macro_rules! ask {
    ($connection:expr, $client:ident . $method:ident ( $request:expr )) => {{
        let request = $request;
        $connection
            .call(|channel| {
                let request = request.clone();
                async move { $crate::connection::$client(channel).$method(request).await }
            })
            .await
    }};
}
pub(crate) use ask;
