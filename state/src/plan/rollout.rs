//! The updater: how many places of a service change at a time, and what a failure makes of it.
//!
//! Swarm's updater is a set of workers, each of which takes a place, replaces its task, waits until
//! the new one runs or ends, then for the delay, and takes the next. Here the workers are counted
//! from the tasks, so that any leader counts the same. Not here: the tasks of a place (`place`).
//!
//! Invariant: no more places are between an older and a newer task, or within the delay after, than
//! the parallelism says.

use proto::id::{ServiceId, Timestamp};
use proto::spec::{FailureAction, ServiceSpec};

use super::place::Look;
use crate::command::Step;
use crate::object::Service;
use crate::rollout::UpdateState;
use crate::state::State;

/// How far a rollout is, and how much of it may begin now.
pub(super) struct Rollout {
    /// Places that may begin now.
    free: u64,
    /// Tasks that are yet to be made in places that have begun: room is kept for them.
    pub(super) owed: usize,
    /// Whether a place has yet to begin.
    pub(super) waiting: bool,
    /// Whether a place has begun, and its new task has not come up.
    pub(super) in_flight: bool,
    /// When the last of its tasks came up.
    pub(super) last_up: Option<Timestamp>,
    /// When a delay ends.
    pub(super) next_free: Option<Timestamp>,
}

impl Rollout {
    pub(super) fn of<'a>(
        service: &Service,
        looks: impl Iterator<Item = &'a Look<'a>>,
        now: Timestamp,
    ) -> Self {
        let config = service.rollout_config();
        let mut rollout = Self {
            free: 0,
            owed: 0,
            waiting: false,
            in_flight: false,
            last_up: None,
            next_free: None,
        };
        let mut busy = 0;
        for look in looks.filter(|look| !look.held) {
            let Some(task) = look.made else {
                let between = look.is_between();
                rollout.in_flight |= between;
                busy += u64::from(between);
                rollout.owed += usize::from(between);
                continue;
            };
            let ended = (!task.is_live()).then_some(task.status.at);
            if let Some(up) = task.ran_at.or(ended) {
                rollout.last_up = rollout.last_up.max(Some(up));
                let free_at = up.after_ms(config.delay_ms);
                if free_at > now {
                    busy += 1;
                    let next = rollout.next_free.map_or(free_at, |next| next.min(free_at));
                    rollout.next_free = Some(next);
                }
            } else if task.is_wanted() {
                rollout.in_flight = true;
                busy += 1;
            }
        }
        let paused = service.update.as_ref().is_some_and(|update| update.state.is_paused());
        rollout.free = match config.parallelism {
            _ if paused => 0,
            0 => u64::MAX,
            parallelism => parallelism.saturating_sub(busy),
        };
        rollout
    }

    /// Whether it is the turn of one more place.
    pub(super) const fn may_begin(&self) -> bool {
        self.free > 0
    }

    /// Whether one more place may begin; it has, then.
    pub(super) fn begin(&mut self) -> bool {
        if !self.may_begin() {
            self.waiting = true;
            return false;
        }
        self.free -= 1;
        self.in_flight = true;
        true
    }
}

/// What becomes of an update of which too many tasks failed.
pub(super) fn verdict(state: &State, id: ServiceId, service: &Service) -> Option<Step> {
    let update = service.active_update()?;
    let config = service.rollout_config();
    if !update.failed_too_often(config) {
        return None;
    }
    let task = update.failed_task.map(|id| id.to_string()).unwrap_or_default();
    let why = format!("due to failure or early termination of task {task}");
    let pause = |message| Step::MoveUpdate {
        service_id: id,
        began: update.began,
        from: update.state,
        to: update.state.paused(),
        message,
    };
    // Swarm's rule: a rollback is never rolled back.
    if update.state == UpdateState::RollbackStarted {
        return Some(pause(format!("rollback paused {why}")));
    }
    if config.failure_action != FailureAction::Rollback {
        return Some(pause(format!("update paused {why}")));
    }
    let previous = service.previous_spec.as_ref();
    let previous = previous.filter(|_| service.previous_spec_revision.is_some());
    if service.previous_spec_revision == Some(service.spec_revision) {
        // What was declared since changed no task: to go back to it would go on with what fails.
        return Some(pause(format!("update paused {why}: the previous spec makes the same tasks")));
    }
    Some(match previous.map(|spec| missing(state, spec)) {
        Some(None) => Step::RollBack {
            service_id: id,
            revision: service.revision,
            message: format!("update rolled back {why}"),
        },
        Some(Some(gone)) => {
            pause(format!("update paused {why}: the previous spec uses {gone}, which is gone"))
        }
        None => pause(format!("update paused {why}: there is no previous spec to roll back to")),
    })
}

/// The first secret or config of a declaration that is not there any more.
fn missing(state: &State, spec: &ServiceSpec) -> Option<String> {
    let mut references = spec.task.secrets.iter();
    let gone = references.find(|reference| !state.secrets.contains_key(&reference.secret_id));
    let secret = gone.map(|reference| format!("secret {}", reference.secret_name));
    secret.or_else(|| {
        let mut references = spec.task.configs.iter();
        let gone = references.find(|reference| !state.configs.contains_key(&reference.config_id));
        gone.map(|reference| format!("config {}", reference.config_name))
    })
}
