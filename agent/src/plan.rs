//! What to do next: a pure function of what is assigned, what is held and what runs.
//!
//! No I/O and no clock, so that every rule below is property-tested on any combination of the
//! three. The worker ([`crate::worker`]) carries the actions out, notes what became of them, and
//! plans again. Not here: how a task is started or stopped.
//!
//! Invariants, each with its test:
//! - a task starts only if every secret it refers to is held in the version it refers to, and every
//!   config, and with exactly those files;
//! - a task that cannot start says which secret or config is missing, and never gets an empty file;
//! - what is not assigned, or assigned to be down, does not keep running;
//! - a task that is over never starts again, and no report moves back;
//! - when the actions are done, there is nothing more to do.

use std::collections::{BTreeMap, BTreeSet};

use proto::id::{ConfigId, TaskId};
use proto::task::{DesiredState, TaskState};

use crate::assignment::{Assignment, ResolvedReference, SecretVersion};

/// What can be seen of one task on this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// Where it is.
    pub life: Life,
    /// What the cluster was last told.
    pub reported: Option<Report>,
}

/// Where a task is, as its supervisor says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Life {
    /// There is no supervisor and never was.
    #[default]
    Idle,
    /// It is being started.
    Starting,
    /// It runs.
    Running,
    /// It was told to stop.
    Stopping,
    /// It is over, or could not be started; this says how.
    Over(Report),
}

/// What the cluster is told of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Where it is.
    pub state: TaskState,
    /// What there is to say, for people.
    pub message: String,
    /// How it ended: the exit code, or 128 and the signal's number.
    pub exit_code: Option<i32>,
}

impl Report {
    /// A report of a task that has not ended.
    pub fn new(state: TaskState, message: impl Into<String>) -> Self {
        Self { state, message: message.into(), exit_code: None }
    }
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start the task with exactly these files.
    Start {
        /// Which task.
        task_id: TaskId,
        /// Its files; each of their secrets is held.
        files: Vec<ResolvedReference>,
    },
    /// Stop the task as its spec declares.
    Stop {
        /// Which task.
        task_id: TaskId,
    },
    /// Remove what is left of a task that is over and no longer assigned.
    Forget {
        /// Which task.
        task_id: TaskId,
    },
    /// Tell the cluster.
    Report {
        /// Of which task.
        task_id: TaskId,
        /// What.
        report: Report,
    },
}

/// What this node has for its tasks now: secrets that it can open, and configs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Held {
    /// The secrets.
    pub secrets: BTreeSet<SecretVersion>,
    /// The configs.
    pub configs: BTreeSet<ConfigId>,
}

/// Works out what to do.
pub fn plan(
    assigned: &BTreeMap<TaskId, Assignment>,
    held: &Held,
    observed: &BTreeMap<TaskId, Observed>,
) -> Vec<Action> {
    let unassigned = observed.iter().filter(|(task_id, _)| !assigned.contains_key(task_id));
    let mut actions: Vec<Action> = unassigned
        .filter_map(|(task_id, observed)| plan_unassigned(*task_id, &observed.life))
        .collect();
    let unseen = Observed::default();
    for (task_id, assignment) in assigned {
        plan_assigned(assignment, held, observed.get(task_id).unwrap_or(&unseen), &mut actions);
    }
    actions
}

fn plan_unassigned(task_id: TaskId, life: &Life) -> Option<Action> {
    match life {
        Life::Starting | Life::Running => Some(Action::Stop { task_id }),
        Life::Stopping => None,
        Life::Idle | Life::Over(_) => Some(Action::Forget { task_id }),
    }
}

fn plan_assigned(
    assignment: &Assignment,
    held: &Held,
    observed: &Observed,
    actions: &mut Vec<Action>,
) {
    let task_id = assignment.task_id;
    let down = matches!(assignment.desired, DesiredState::Shutdown | DesiredState::Remove);
    let reported = observed.reported.as_ref();
    let report = match &observed.life {
        Life::Idle if reported.is_some_and(|report| report.state.is_terminal()) => return,
        Life::Idle if down => Report::new(TaskState::Shutdown, "stopped before it was started"),
        Life::Idle => match (missing(assignment, held), assignment.desired) {
            (Some(message), _) => Report::new(TaskState::Preparing, message),
            (None, DesiredState::Running) => {
                actions.push(Action::Start { task_id, files: assignment.secrets.clone() });
                Report::new(TaskState::Starting, "")
            }
            (None, _) => Report::new(TaskState::Ready, ""),
        },
        Life::Starting | Life::Running if down => {
            actions.push(Action::Stop { task_id });
            return;
        }
        Life::Starting => Report::new(TaskState::Starting, ""),
        Life::Running => Report::new(TaskState::Running, ""),
        Life::Stopping => return,
        Life::Over(report) => report.clone(),
    };
    if is_news(reported, &report) {
        actions.push(Action::Report { task_id, report });
    }
}

/// Whether a report moves forward, or says something new of the same state.
fn is_news(reported: Option<&Report>, report: &Report) -> bool {
    reported.is_none_or(|reported| {
        report.state > reported.state
            || report.state == reported.state
                && !report.state.is_terminal()
                && report.message != reported.message
    })
}

/// Which secrets a task still needs, or else which config, as a sentence for its owner.
fn missing(assignment: &Assignment, held: &Held) -> Option<String> {
    let missing: BTreeSet<String> = assignment
        .secrets
        .iter()
        .filter(|reference| !held.secrets.contains(&reference.secret))
        .map(|reference| {
            format!("`{}` version {}", reference.secret_name, reference.secret.version)
        })
        .collect();
    let Some(first) = missing.first() else {
        let mut configs = assignment.spec.configs.iter();
        let config = configs.find(|reference| !held.configs.contains(&reference.config_id))?;
        let name = &config.config_name;
        return Some(format!("waits for config `{name}`, which no manager has delivered"));
    };
    Some(match missing.len() {
        1 => format!("waits for secret {first}, which no manager has delivered"),
        count => format!(
            "waits for secret {first} and {} more, which no manager has delivered",
            count - 1
        ),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proto::id::{Revision, SecretId, ServiceId, Version};
    use proto::spec::{ConfigReference, FileMode, TaskSpec};

    use super::*;

    type World = (BTreeMap<TaskId, Assignment>, Held, BTreeMap<TaskId, Observed>);

    fn task_id(number: u8) -> TaskId {
        TaskId::from_entropy([number; 17])
    }

    fn secret(number: u8, version: u64) -> SecretVersion {
        let secret_id = SecretId::from_entropy([number; 17]);
        SecretVersion { secret_id, version: Version(version) }
    }

    fn reference((number, version): (u8, u64)) -> ResolvedReference {
        ResolvedReference {
            secret: secret(number, version),
            secret_name: format!("s{number}").parse().unwrap(),
            target: format!("t{number}-{version}").parse().unwrap(),
            uid: None,
            gid: None,
            mode: FileMode::OWNER_READS,
        }
    }

    fn config_id(number: u8) -> ConfigId {
        ConfigId::from_entropy([number; 17])
    }

    fn config(number: u8) -> ConfigReference {
        ConfigReference {
            config_id: config_id(number),
            config_name: format!("c{number}").parse().unwrap(),
            target: format!("c{number}").parse().unwrap(),
            uid: None,
            gid: None,
            mode: FileMode::ALL_READ,
        }
    }

    fn assignment(task: u8, desired: DesiredState, secrets: &[(u8, u64)]) -> Assignment {
        Assignment {
            task_id: task_id(task),
            service_id: ServiceId::from_entropy([0; 17]),
            service_name: "web".parse().unwrap(),
            slot: 1,
            revision: Revision(1),
            desired,
            spec: TaskSpec::default(),
            secrets: secrets.iter().copied().map(reference).collect(),
            declared: None,
        }
    }

    fn desired() -> impl Strategy<Value = DesiredState> {
        prop::sample::select(vec![
            DesiredState::Ready,
            DesiredState::Running,
            DesiredState::Shutdown,
            DesiredState::Remove,
        ])
    }

    fn end() -> impl Strategy<Value = Report> {
        let states = vec![
            (TaskState::Complete, Some(0)),
            (TaskState::Shutdown, Some(143)),
            (TaskState::Failed, Some(1)),
            (TaskState::Rejected, None),
        ];
        prop::sample::select(states).prop_map(|(state, exit_code)| Report {
            state,
            message: "it is over".into(),
            exit_code,
        })
    }

    fn observed() -> impl Strategy<Value = Observed> {
        let report = prop_oneof![
            end(),
            Just(Report::new(TaskState::Preparing, "waits")),
            Just(Report::new(TaskState::Ready, "")),
            Just(Report::new(TaskState::Running, "")),
        ];
        let life = prop_oneof![
            Just(Life::Idle),
            Just(Life::Starting),
            Just(Life::Running),
            Just(Life::Stopping),
            end().prop_map(Life::Over),
        ];
        (life, prop::option::of(report)).prop_map(|(life, reported)| Observed { life, reported })
    }

    fn world() -> impl Strategy<Value = World> {
        let secret_ids = || (0_u8..4, 1_u64..3);
        let secrets = prop::collection::btree_set(secret_ids(), 0..4);
        let config_ids = || prop::collection::btree_set(0_u8..3, 0..3);
        let task = (desired(), secrets, config_ids());
        let assigned = prop::collection::btree_map(0_u8..6, task, 0..6);
        let held = prop::collection::btree_set(secret_ids(), 0..8);
        let observed = prop::collection::btree_map(0_u8..6, observed(), 0..6);
        (assigned, held, config_ids(), observed).prop_map(|(assigned, held, configs, observed)| {
            let assign =
                |(task, (desired, secrets, configs)): (u8, (_, BTreeSet<_>, BTreeSet<u8>))| {
                    let secrets: Vec<_> = secrets.into_iter().collect();
                    let mut assignment = assignment(task, desired, &secrets);
                    assignment.spec.configs = configs.into_iter().map(config).collect();
                    (task_id(task), assignment)
                };
            (
                assigned.into_iter().map(assign).collect(),
                Held {
                    secrets: held
                        .into_iter()
                        .map(|(number, version)| secret(number, version))
                        .collect(),
                    configs: configs.into_iter().map(config_id).collect(),
                },
                observed.into_iter().map(|(task, observed)| (task_id(task), observed)).collect(),
            )
        })
    }

    /// What the worker does with the actions, all of them succeeding.
    fn carry_out(actions: &[Action], observed: &mut BTreeMap<TaskId, Observed>) {
        for action in actions {
            match action {
                Action::Start { task_id, .. } => {
                    observed.entry(*task_id).or_default().life = Life::Starting;
                }
                Action::Stop { task_id } => {
                    observed.entry(*task_id).or_default().life = Life::Stopping;
                }
                Action::Forget { task_id } => {
                    observed.remove(task_id);
                }
                Action::Report { task_id, report } => {
                    observed.entry(*task_id).or_default().reported = Some(report.clone());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_task_starts_only_with_exactly_its_files_and_all_of_them_held(world in world()) {
            let (assigned, held, observed) = world;
            let actions = plan(&assigned, &held, &observed);
            for action in &actions {
                let Action::Start { task_id, files } = action else { continue };
                prop_assert_eq!(files, &assigned[task_id].secrets);
                prop_assert!(files.iter().all(|file| held.secrets.contains(&file.secret)));
                let configs = &assigned[task_id].spec.configs;
                prop_assert!(configs.iter().all(|file| held.configs.contains(&file.config_id)));
                prop_assert_eq!(assigned[task_id].desired, DesiredState::Running);
            }
            // And one that may start does.
            for (task_id, assignment) in &assigned {
                let seen = observed.get(task_id).cloned().unwrap_or_default();
                let over = seen.reported.is_some_and(|report| report.state.is_terminal());
                let complete = assignment.secrets.iter().all(|r| held.secrets.contains(&r.secret))
                    && assignment.spec.configs.iter().all(|r| held.configs.contains(&r.config_id));
                let starts = actions.iter().any(
                    |action| matches!(action, Action::Start { task_id: t, .. } if t == task_id));
                prop_assert_eq!(
                    starts,
                    seen.life == Life::Idle && !over && complete
                        && assignment.desired == DesiredState::Running
                );
            }
        }

        #[test]
        fn a_task_that_lacks_a_secret_or_config_says_which(world in world()) {
            let (assigned, held, _) = world;
            let actions = plan(&assigned, &held, &BTreeMap::new());
            for (task_id, assignment) in &assigned {
                let lacking = assignment.secrets.iter().find(|r| !held.secrets.contains(&r.secret));
                let wanted = matches!(
                    assignment.desired, DesiredState::Running | DesiredState::Ready);
                let mut configs = assignment.spec.configs.iter();
                let config = configs.find(|r| !held.configs.contains(&r.config_id));
                let lacking = match (lacking, config) {
                    _ if !wanted => continue,
                    (Some(lacking), _) => {
                        format!("`{}` version {}", lacking.secret_name, lacking.secret.version)
                    }
                    (None, Some(lacking)) => format!("config `{}`", lacking.config_name),
                    (None, None) => continue,
                };
                let said = actions.iter().any(|action| matches!(
                    action,
                    Action::Report { task_id: t, report }
                        if t == task_id
                            && report.state == TaskState::Preparing
                            && report.message.contains(&lacking)
                ));
                prop_assert!(said, "{:?}", actions);
            }
        }

        #[test]
        fn nothing_unassigned_or_unwanted_keeps_running(world in world()) {
            let (assigned, held, mut observed) = world;
            carry_out(&plan(&assigned, &held, &observed), &mut observed);
            for (task_id, seen) in &observed {
                let wanted = assigned.get(task_id).is_some_and(|assignment| matches!(
                    assignment.desired, DesiredState::Running | DesiredState::Ready));
                let runs = matches!(seen.life, Life::Starting | Life::Running);
                prop_assert!(wanted || !runs, "{task_id}: {seen:?}");
            }
        }

        #[test]
        fn no_task_and_no_report_moves_back(world in world()) {
            let (assigned, held, observed) = world;
            for action in plan(&assigned, &held, &observed) {
                match action {
                    Action::Start { task_id, .. } => {
                        let seen = observed.get(&task_id).cloned().unwrap_or_default();
                        prop_assert_eq!(seen.life, Life::Idle);
                        prop_assert!(seen.reported.is_none_or(|r| !r.state.is_terminal()));
                    }
                    Action::Report { task_id, report } => {
                        let reported = observed.get(&task_id).and_then(|o| o.reported.as_ref());
                        prop_assert!(reported.is_none_or(|before| before.state <= report.state));
                    }
                    Action::Stop { .. } | Action::Forget { .. } => {}
                }
            }
        }

        #[test]
        fn when_all_is_done_there_is_nothing_to_do(world in world()) {
            let (assigned, held, mut observed) = world;
            carry_out(&plan(&assigned, &held, &observed), &mut observed);
            prop_assert_eq!(plan(&assigned, &held, &observed), vec![]);
        }
    }

    #[test]
    fn a_task_waits_for_all_its_secrets_and_then_starts() {
        let assigned =
            BTreeMap::from([(task_id(1), assignment(1, DesiredState::Running, &[(1, 2), (2, 1)]))]);
        let secrets = BTreeSet::from([secret(1, 1), secret(2, 1)]);
        let mut held = Held { secrets, configs: BTreeSet::new() };
        let mut observed = BTreeMap::new();
        let actions = plan(&assigned, &held, &observed);
        let message = "waits for secret `s1` version 2, which no manager has delivered";
        let report = Report::new(TaskState::Preparing, message);
        assert_eq!(actions, [Action::Report { task_id: task_id(1), report }]);
        carry_out(&actions, &mut observed);
        assert_eq!(plan(&assigned, &held, &observed), []);
        held.secrets.insert(secret(1, 2));
        let actions = plan(&assigned, &held, &observed);
        assert!(matches!(&actions[0], Action::Start { files, .. } if files.len() == 2));
    }
}
