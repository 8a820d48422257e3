//! What happened to the objects of a cluster, as this manager applied it: for who follows it.
//!
//! The state machine tells it, entry by entry, with the time that stands in the entry: so every manager
//! tells the same. The last [`KEPT`] are kept. Not here: who may follow, and how events are written (the
//! Docker front); what the dispatcher and the leader do about changes (they look at the state).
//!
//! Invariant: telling waits for nobody. Who does not keep up is told that it missed some.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::id::{ConfigId, NetworkId, NodeId, SecretId, ServiceId, Timestamp};
use proto::spec::Mode;
use state::object::{Availability, Config, Network, Node, NodeState, ObjectId, Service};
use state::{Change, State};
use tokio::sync::broadcast;

use crate::service::update_state;

/// Events that are kept for who comes later: as many as Docker keeps.
pub(crate) const KEPT: usize = 256;

/// Events that wait for who follows them; who is further behind has lost its place.
const BEHIND_MAX: usize = 256;

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Create,
    Update,
    Remove,
}

impl Action {
    /// Docker's word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Remove => "remove",
        }
    }
}

/// What is different, by Docker's names, and always `name`.
type Attributes = BTreeMap<String, String>;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) at: Timestamp,
    /// Docker's word for what kind of object it is.
    pub(crate) kind: &'static str,
    pub(crate) action: Action,
    pub(crate) id: String,
    pub(crate) attributes: Attributes,
}

/// Events of this manager; a handle is shared by who tells and who follows.
pub(crate) struct Events {
    inner: Mutex<Inner>,
}

struct Inner {
    live: broadcast::Sender<Arc<Event>>,
    kept: VecDeque<Arc<Event>>,
    seen: Seen,
}

/// The objects as they were when they were last looked at: pointers. Of secrets, of which there may be a
/// million, the state itself has the names of those that were removed.
#[derive(Default)]
struct Seen {
    services: BTreeMap<ServiceId, Arc<Service>>,
    networks: BTreeMap<NetworkId, Arc<Network>>,
    configs: BTreeMap<ConfigId, Arc<Config>>,
    nodes: BTreeMap<NodeId, Arc<Node>>,
}

impl Default for Events {
    fn default() -> Self {
        let live = broadcast::Sender::new(BEHIND_MAX);
        Self { inner: Mutex::new(Inner { live, kept: VecDeque::new(), seen: Seen::default() }) }
    }
}

impl Events {
    /// Takes the state for what it is after a leap: nobody knows how it came about. Whoever follows has
    /// missed that, and lost its place.
    pub(crate) fn leap(&self, state: &State) {
        self.look(state);
        let mut inner = self.inner();
        inner.kept.clear();
        inner.live = broadcast::Sender::new(BEHIND_MAX);
    }

    /// Takes the state for what it is; nothing is told of how it came about.
    pub(crate) fn look(&self, state: &State) {
        self.inner().seen = Seen {
            services: state.services().clone(),
            networks: state.networks().clone(),
            configs: state.configs().clone(),
            nodes: state.nodes().clone(),
        };
    }

    /// Tells what changed with the entry that the state has just come to.
    pub(crate) fn note(&self, state: &State, changes: &[Change]) {
        let mut inner = self.inner();
        for change in changes {
            let (Change::Created(object) | Change::Updated(object) | Change::Removed(object)) =
                *change
            else {
                continue;
            };
            let Some(event) = inner.seen.event(state, object, *change) else { continue };
            let event = Arc::new(event);
            if inner.kept.len() >= KEPT {
                inner.kept.pop_front();
            }
            inner.kept.push_back(event.clone());
            // Nobody listening is fine.
            drop(inner.live.send(event));
        }
    }

    /// What is kept, oldest first, and all that follows it.
    pub(crate) fn follow(&self) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let inner = self.inner();
        (inner.kept.iter().cloned().collect(), inner.live.subscribe())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes how an object is now, and what became of it since; nothing, if it is the same.
fn moved<K: Ord + Copy, V>(
    seen: &mut BTreeMap<K, Arc<V>>,
    id: K,
    now: Option<&Arc<V>>,
    name: impl Fn(&V) -> String,
    differences: impl Fn(&V, &V) -> Attributes,
) -> Option<(Action, Attributes)> {
    let before = match now {
        Some(now) => seen.insert(id, now.clone()),
        None => seen.remove(&id),
    };
    let (action, mut attributes, named) = match (&before, now) {
        (None, Some(now)) => (Action::Create, Attributes::new(), now),
        (Some(before), None) => (Action::Remove, Attributes::new(), before),
        (Some(before), Some(now)) if !Arc::ptr_eq(before, now) => {
            (Action::Update, differences(before, now), now)
        }
        _ => return None,
    };
    attributes.insert("name".into(), name(named));
    Some((action, attributes))
}

impl Seen {
    fn event(&mut self, state: &State, object: ObjectId, change: Change) -> Option<Event> {
        let (kind, id, moved) = match object {
            ObjectId::Secret(id) => ("secret", id.to_string(), secret(state, id, change)),
            ObjectId::Service(id) => {
                let (now, name) = (state.service(id), |it: &Service| it.spec.name.to_string());
                let moved = moved(&mut self.services, id, now, name, of_service);
                ("service", id.to_string(), moved)
            }
            ObjectId::Network(id) => {
                let (now, name) = (state.network(id), |it: &Network| it.name.to_string());
                let moved = moved(&mut self.networks, id, now, name, |_, _| Attributes::new());
                ("network", id.to_string(), moved)
            }
            ObjectId::Config(id) => {
                let (now, name) = (state.config(id), |it: &Config| it.name.to_string());
                let moved = moved(&mut self.configs, id, now, name, |_, _| Attributes::new());
                ("config", id.to_string(), moved)
            }
            ObjectId::Node(id) => ("node", id.to_string(), self.node(state, id)),
            // A manager is admitted as a member, and so is its node.
            ObjectId::Member(member) => {
                let id = state.member(member)?.node_id;
                ("node", id.to_string(), self.node(state, id))
            }
            _ => return None,
        };
        let (action, attributes) = moved?;
        Some(Event { at: state.now(), kind, action, id, attributes })
    }

    /// What an agent reports of itself (memory, engines) is no event.
    fn node(&mut self, state: &State, id: NodeId) -> Option<(Action, Attributes)> {
        let (now, name) = (state.node(id), |node: &Node| node.hostname.to_string());
        let (action, attributes) = moved(&mut self.nodes, id, now, name, of_node)?;
        let is_seen = attributes.len() > 1 || now.is_none_or(|it| it.revision.0 == state.index());
        is_seen.then_some((action, attributes))
    }
}

/// Changes of a secret that it does not show (its keys are wrapped anew) are none.
fn secret(state: &State, id: SecretId, change: Change) -> Option<(Action, Attributes)> {
    let name = match state.secret(id) {
        Some(secret) => secret.name.to_string(),
        None => state.shredding().of(id)?.1.name.to_string(),
    };
    let is_seen = || state.secret(id).is_some_and(|it| it.revision.0 == state.index());
    let action = match change {
        Change::Created(_) => Action::Create,
        Change::Removed(_) => Action::Remove,
        _ if is_seen() => Action::Update,
        _ => return None,
    };
    Some((action, Attributes::from([("name".to_owned(), name)])))
}

/// Names both values where they are two.
fn differ(found: &mut Attributes, what: &str, before: &str, now: &str) {
    if before != now {
        found.insert(format!("{what}.old"), before.to_owned());
        found.insert(format!("{what}.new"), now.to_owned());
    }
}

/// As moby's `logServiceEvent`.
fn of_service(before: &Service, now: &Service) -> Attributes {
    let mut found = Attributes::new();
    differ(&mut found, "image", &before.spec.task.image, &now.spec.task.image);
    if let (Mode::Replicated(before), Mode::Replicated(now)) = (&before.spec.mode, &now.spec.mode) {
        differ(&mut found, "replicas", &before.to_string(), &now.to_string());
    }
    let state_of = |service: &Service| {
        service.update.as_ref().map(|update| update_state(update.state).as_str())
    };
    match (state_of(before), state_of(now)) {
        (None, Some(now)) => drop(found.insert("updatestate.new".into(), now.into())),
        (Some(before), Some(now)) => differ(&mut found, "updatestate", before, now),
        (_, None) => {}
    }
    found
}

/// As moby's `logNodeEvent`, but for who leads: that is no change of the state.
fn of_node(before: &Node, now: &Node) -> Attributes {
    let mut found = Attributes::new();
    let availability = |node: &Node| match node.availability {
        Availability::Active => "active",
        Availability::Pause => "pause",
        Availability::Drain => "drain",
    };
    let state = |node: &Node| match node.state {
        NodeState::Unknown => "unknown",
        NodeState::Ready => "ready",
        NodeState::Down => "down",
    };
    let role = |node: &Node| if node.member.is_some() { "manager" } else { "worker" };
    differ(&mut found, "availability", availability(before), availability(now));
    differ(&mut found, "state", state(before), state(now));
    differ(&mut found, "role", role(before), role(now));
    found
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::TryRecvError;

    use super::*;

    /// What came about between two states that are not one entry apart is told to nobody.
    #[test]
    fn who_follows_over_a_leap_has_lost_its_place() {
        let (events, state) = (Events::default(), State::new());
        let event = Event {
            at: Timestamp(1),
            kind: "secret",
            action: Action::Create,
            id: "a".into(),
            attributes: Attributes::new(),
        };
        events.inner().kept.push_back(Arc::new(event));
        events.look(&state);
        let (kept, mut before) = events.follow();
        assert_eq!(kept.len(), 1);
        assert_eq!(before.try_recv(), Err(TryRecvError::Empty), "looking is no leap");
        events.leap(&state);
        assert_eq!(before.try_recv(), Err(TryRecvError::Closed));
        let (kept, mut after) = events.follow();
        assert!(kept.is_empty(), "a hole would not show");
        assert_eq!(after.try_recv(), Err(TryRecvError::Empty));
    }
}
