//! The fronts: parse, call, render; no decision of their own.
//!
//! gRPC for programs and operators (`grpc`), HTTP for machines that watch (`http`), a subset of the
//! Docker Engine's API for people who come from there (`docker`). What a manager
//! can answer depends on its phase, which they share.

pub(crate) mod docker;
pub(crate) mod grpc;
pub(crate) mod http;

use std::sync::Arc;

use link::Failure;
use proto::Kind;
use tokio::sync::watch;

use crate::dispatcher::Dispatcher;
use crate::events::Events;
use crate::keys::Needed;
use crate::leader::Inbox;
use crate::service::Service;

/// What a manager that is part of a cluster, and unlocked, offers.
#[derive(Clone)]
pub(crate) struct Serving {
    pub(crate) service: Arc<Service>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) dispatcher: Arc<Dispatcher>,
    /// What happened, if there is a front that tells it.
    pub(crate) events: Arc<Events>,
    /// Where other machines reach this one.
    pub(crate) address: String,
}

/// Where a manager stands.
#[derive(Clone)]
pub(crate) enum Phase {
    /// Its folder has not been looked at yet.
    Starting,
    /// Not part of a cluster.
    Empty,
    /// Its key file waits to be opened.
    Locked(Arc<Needed>),
    /// At work.
    Serving(Arc<Serving>),
    /// On its way out.
    Stopping,
}

impl Phase {
    /// The name in `LocalStatus`.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Empty => "empty",
            Self::Locked(_) => "locked",
            Self::Serving(_) => "serving",
            Self::Stopping => "stopping",
        }
    }
}

/// The phase, as the fronts see it.
#[derive(Clone)]
pub(crate) struct Stage(watch::Receiver<Phase>);

impl Stage {
    pub(crate) const fn new(phase: watch::Receiver<Phase>) -> Self {
        Self(phase)
    }

    pub(crate) fn phase(&self) -> Phase {
        self.0.borrow().clone()
    }

    /// Waits for a phase.
    pub(crate) async fn until(&self, is_it: impl Fn(&Phase) -> bool) -> Phase {
        let mut seen = self.0.clone();
        let found = seen.wait_for(is_it).await;
        found.map_or(Phase::Stopping, |phase| phase.clone())
    }

    /// What a serving manager offers.
    ///
    /// # Errors
    ///
    /// What a caller is told while the manager does not serve.
    pub(crate) fn serving(&self) -> Result<Arc<Serving>, Failure> {
        match self.phase() {
            Phase::Serving(serving) => Ok(serving),
            Phase::Starting => Err(Failure::new(Kind::Unavailable, "this manager is starting")
                .hint("ask again in a moment, or ask another one")),
            Phase::Empty => {
                Err(Failure::new(Kind::Precondition, "this manager is not part of a cluster yet")
                    .hint("make one here: `secretctl cluster init`")
                    .hint("or join one: `secretctl cluster join --token - HOST:PORT`"))
            }
            Phase::Locked(needed) => Err(locked(&needed)),
            Phase::Stopping => {
                Err(Failure::new(Kind::Unavailable, "this manager is stopping")
                    .hint("ask another one"))
            }
        }
    }
}

/// What whoever calls a locked manager is told.
fn locked(needed: &Needed) -> Failure {
    let failure = Failure::new(Kind::Locked, "this manager is locked");
    if let Some(path) = &needed.seed {
        return failure
            .because(format!("its key file waits for its unlock seed, {}", path.display()))
            .hint("put the seed there: the manager looks again by itself");
    }
    let failure = match needed.unlock_key() {
        Some(id) => failure.because(format!("its key file opens with the unlock key {id}")),
        None => failure,
    };
    failure
        .hint("on its own machine: `secretctl cluster unlock`")
        .hint("or ask another manager: what the cluster knows, they know")
}
