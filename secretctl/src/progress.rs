//! Waiting until a service runs, and telling what it waits for.
//!
//! The rule is Docker's: every slot has a task of the current spec that runs, and it stays so for
//! the spec's monitor time. A task that may not be restarted counts when it completed. An update is
//! through when the managers say so; one that was paused, or rolled back though nobody asked for it,
//! is a failure. Asked again every so often: the operators' calls have no watch. Not here: printing.
//!
//! Invariant: nothing is told twice; an interrupt ends the waiting, not the service.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use proto::Kind;
use proto::convert::EnumField as _;
use proto::pb;
use proto::spec::{RestartCondition, UpdateConfig};
use proto::task::{DesiredState, TaskState};
use tokio::time::Instant;

use crate::connection::{Connection, ask};
use crate::error::Error;
use crate::message::Printer;
use crate::view::task_name;

/// Between two questions: Docker's number.
const PAUSE: Duration = Duration::from_millis(200);

/// How a service is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// So many of so many tasks run.
    Running { running: u64, wanted: u64 },
    /// All run, or completed.
    Converged,
    /// A slot ended badly and is not restarted.
    Failed { task: String, reason: String },
}

/// What a command asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// That what was declared runs.
    Declared,
    /// That what was declared before runs again.
    RolledBack,
}

/// What there is to wait for.
struct Watch<'a> {
    connection: &'a Connection,
    printer: Printer,
    goal: Goal,
    /// Why the managers roll back.
    rolled_back: Option<String>,
    told: BTreeSet<String>,
    last: Option<Standing>,
}

/// Waits until the service of this id converged.
pub(crate) async fn wait(
    connection: &Connection,
    service_id: &str,
    goal: Goal,
    printer: Printer,
) -> Result<(), Error> {
    let (told, last, rolled_back) = (BTreeSet::new(), None, None);
    let mut watch = Watch { connection, printer, goal, rolled_back, told, last };
    tokio::select! {
        ended = watch.until_converged(service_id) => ended,
        _ = tokio::signal::ctrl_c() => Err(Error::Interrupted(Some(format!(
            "the service goes on without being watched: `secretctl service ps {service_id}`"
        )))),
    }
}

impl Watch<'_> {
    async fn until_converged(&mut self, service_id: &str) -> Result<(), Error> {
        let mut since: Option<Instant> = None;
        loop {
            let request = pb::GetServiceRequest { service: service_id.to_owned() };
            let service = ask!(self.connection, control.get_service(request))?;
            let request = pb::ListTasksRequest {
                service: service_id.to_owned(),
                node: String::new(),
                all: true,
            };
            let tasks = ask!(self.connection, control.list_tasks(request))?.tasks;
            let name = service.spec.as_ref().map(|spec| spec.name.clone()).unwrap_or_default();
            let standing = standing(&service, &tasks);
            self.tell(&name, &tasks, &standing);
            let update = service.update.clone();
            let updating = self.follow(&name, update.as_ref())?;
            match &standing {
                Standing::Converged if updating => {}
                Standing::Converged => {
                    // The managers have watched an update themselves.
                    let since = *since.get_or_insert_with(Instant::now);
                    if update.is_some() || since.elapsed() >= monitor(&service) {
                        return self.converged(&name);
                    }
                }
                Standing::Failed { task, reason } if !updating => {
                    return Err(Error::failed(
                        Kind::Precondition,
                        format!("task {task} ended and is not restarted"),
                    )
                    .because(reason.clone())
                    .hint(format!(
                        "see what it printed with `secretctl service logs {name}`; the service is \
                         still there: `secretctl service rm {name}`"
                    ))
                    .into());
                }
                Standing::Running { .. } | Standing::Failed { .. } => since = None,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Follows the update that runs, or the last one; whether it runs.
    fn follow(&mut self, name: &str, update: Option<&pb::UpdateStatus>) -> Result<bool, Error> {
        let Some(update) = update else { return Ok(false) };
        let paused = |what: &str| {
            Err(Error::failed(Kind::Precondition, format!("{what} of service {name} is paused"))
                .because(update.message.clone())
                .hint(format!("see its tasks with `secretctl service ps --all {name}`"))
                .hint(format!(
                    "declare something better with `secretctl service update {name} …`, or go back \
                     with `secretctl service rollback {name}`"
                ))
                .into())
        };
        match update.state() {
            pb::UpdateState::Paused => paused("the update"),
            pb::UpdateState::RollbackPaused => paused("the rollback"),
            pb::UpdateState::RollbackStarted => {
                if self.rolled_back.is_none() && self.goal == Goal::Declared {
                    self.printer.progress(&format!("{name}: {}", update.message));
                }
                self.rolled_back = Some(update.message.clone());
                Ok(true)
            }
            pb::UpdateState::Updating => Ok(true),
            pb::UpdateState::RollbackCompleted => {
                // It may have been over before it was seen.
                self.rolled_back.get_or_insert_with(|| update.message.clone());
                Ok(false)
            }
            pb::UpdateState::Completed => Ok(false),
        }
    }

    /// Everything runs; whether it is what was asked for.
    fn converged(&self, name: &str) -> Result<(), Error> {
        if let (Some(why), Goal::Declared) = (&self.rolled_back, self.goal) {
            return Err(Error::failed(
                Kind::Precondition,
                format!("service {name} was rolled back: what was declared before runs again"),
            )
            .because(why.clone())
            .hint(format!("see the tasks that failed with `secretctl service ps --all {name}`"))
            .into());
        }
        self.printer.progress(&format!("service {name} converged"));
        Ok(())
    }

    /// Tells what changed: the count, why a task waits, how one ended.
    fn tell(&mut self, name: &str, tasks: &[pb::TaskInfo], standing: &Standing) {
        for task in tasks {
            let Some(text) = trouble(task) else { continue };
            if self.told.insert(format!("{} {text}", task.id)) {
                self.printer.progress(&text);
            }
        }
        if self.last.as_ref() == Some(standing) {
            return;
        }
        match standing {
            Standing::Running { running, wanted } => {
                self.printer.progress(&format!("{name}: {running} of {wanted} tasks running"));
            }
            Standing::Converged => {
                self.printer.progress(&format!("{name}: all tasks running, watching them"));
            }
            Standing::Failed { .. } => {}
        }
        self.last = Some(standing.clone());
    }
}

fn monitor(service: &pb::ServiceInfo) -> Duration {
    let update = service.spec.as_ref().and_then(|spec| spec.update.as_ref());
    let ms = update.map_or_else(|| UpdateConfig::default().monitor_ms, |update| update.monitor_ms);
    Duration::from_millis(ms)
}

fn state(task: &pb::TaskInfo) -> TaskState {
    let number = task.status.as_ref().map_or(0, |status| status.state);
    TaskState::from_number(number).unwrap_or(TaskState::New)
}

/// What is worth telling of a task that does not run.
fn trouble(task: &pb::TaskInfo) -> Option<String> {
    let status = task.status.as_ref()?;
    let state = state(task);
    let ended_badly =
        matches!(state, TaskState::Failed | TaskState::Rejected | TaskState::Orphaned);
    let waits = state == TaskState::Pending && !status.message.is_empty();
    if !(ended_badly || waits) {
        return None;
    }
    let mut text = format!("{}: {state}", task_name(task));
    if !status.message.is_empty() {
        write!(text, ": {}", status.message).ok();
    }
    if let Some(code) = status.exit_code.filter(|_| ended_badly) {
        write!(text, " (exit code {code})").ok();
    }
    Some(text)
}

/// How the service is doing by its tasks of the current spec: the newest one of each slot counts.
fn standing(service: &pb::ServiceInfo, tasks: &[pb::TaskInfo]) -> Standing {
    let restart = service
        .spec
        .as_ref()
        .and_then(|spec| spec.task.as_ref())
        .and_then(|task| task.restart.as_ref())
        .and_then(|restart| RestartCondition::from_number(restart.condition).ok())
        .unwrap_or_default();
    let mut newest: BTreeMap<(u64, &str), &pb::TaskInfo> = BTreeMap::new();
    for task in tasks.iter().filter(|task| task.spec_revision == service.spec_revision) {
        // A global service has no slots: its nodes are.
        let slot = (task.slot, if task.slot == 0 { task.node_id.as_str() } else { "" });
        let place = newest.entry(slot).or_insert(task);
        if (task.created_at, &task.id) > (place.created_at, &place.id) {
            *place = task;
        }
    }
    let mut good = 0;
    for task in newest.values() {
        let wanted = DesiredState::from_number(task.desired_state)
            .is_ok_and(|desired| desired <= DesiredState::Running);
        match (state(task), restart) {
            (TaskState::Running, _) if wanted => good += 1,
            (TaskState::Complete, RestartCondition::None | RestartCondition::OnFailure) => {
                good += 1;
            }
            (TaskState::Failed | TaskState::Rejected, RestartCondition::None) => {
                let reason = trouble(task).unwrap_or_default();
                return Standing::Failed { task: task_name(task), reason };
            }
            _ => {}
        }
    }
    let wanted = service.desired_tasks;
    if good >= wanted { Standing::Converged } else { Standing::Running { running: good, wanted } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(slot: u64, revision: u64, created_at: u64, state: TaskState) -> pb::TaskInfo {
        pb::TaskInfo {
            id: format!("t{slot}{created_at}"),
            service_name: "web".into(),
            slot,
            created_at,
            spec_revision: revision,
            desired_state: DesiredState::Running.number(),
            status: Some(pb::TaskStatus { state: state.number(), ..Default::default() }),
            ..Default::default()
        }
    }

    fn service(desired_tasks: u64, condition: RestartCondition) -> pb::ServiceInfo {
        let restart = pb::RestartPolicy { condition: condition.number(), ..Default::default() };
        let task = pb::TaskSpec { restart: Some(restart), ..Default::default() };
        pb::ServiceInfo {
            spec: Some(pb::ServiceSpec { task: Some(task), ..Default::default() }),
            desired_tasks,
            spec_revision: 2,
            ..Default::default()
        }
    }

    #[test]
    fn the_newest_task_of_each_slot_and_the_current_spec_counts() {
        let any = service(2, RestartCondition::Any);
        let tasks = [
            task(1, 2, 1, TaskState::Failed),
            task(1, 2, 2, TaskState::Running),
            task(2, 1, 1, TaskState::Running),
            task(2, 2, 2, TaskState::Starting),
        ];
        assert_eq!(standing(&any, &tasks), Standing::Running { running: 1, wanted: 2 });
        let tasks = [task(1, 2, 1, TaskState::Running), task(2, 2, 1, TaskState::Running)];
        assert_eq!(standing(&any, &tasks), Standing::Converged);
        assert_eq!(standing(&service(0, RestartCondition::Any), &[]), Standing::Converged);
    }

    #[test]
    fn what_is_not_restarted_is_done_or_failed() {
        let once = service(1, RestartCondition::None);
        assert_eq!(standing(&once, &[task(1, 2, 1, TaskState::Complete)]), Standing::Converged);
        let failed = standing(&once, &[task(1, 2, 1, TaskState::Failed)]);
        assert!(matches!(failed, Standing::Failed { .. }));
        let any = service(1, RestartCondition::Any);
        let waiting = Standing::Running { running: 0, wanted: 1 };
        assert_eq!(standing(&any, &[task(1, 2, 1, TaskState::Failed)]), waiting);
        assert_eq!(standing(&any, &[task(1, 2, 1, TaskState::Complete)]), waiting);
    }
}
