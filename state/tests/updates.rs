//! Updates and rollbacks: which tasks they touch, how many at a time, what a failure makes of them.
//!
//! Every plan in these tests is made twice, once by a leader that has just started from a snapshot
//! (`World::plan`).

use std::collections::BTreeMap;

use proptest::prelude::*;
use proto::Kind;
use proto::id::{NodeId, Revision, ServiceId, TaskId, Timestamp};
use proto::spec::{FailureAction, Mode, RestartCondition, ServiceSpec, UpdateConfig, UpdateOrder};
use proto::task::{DesiredState, TaskState, TaskStatus};
use state::command::{Command, NodeStatuses, Step};
use state::object::{NodeState, OperatorRole, Task};
use state::{MadeBy, Outcome, UpdateState, UpdateStatus};

use crate::world::*;

/// A service of so many replicas that run, on two nodes.
pub(crate) fn running(replicas: u64, change: impl FnOnce(&mut ServiceSpec)) -> (World, ServiceId) {
    let mut world = World::founded();
    world.add_node(1, &[("zone", "eu")]);
    world.add_node(2, &[]);
    world.create_secret(1, "a");
    world.create_secret(2, "b");
    let mut spec = World::spec("web", replicas, &[(1, "a")]);
    spec.update.monitor_ms = 1_000;
    spec.rollback.monitor_ms = 1_000;
    change(&mut spec);
    let id = world.create_service(1, spec);
    world.go_on();
    (world, id)
}

pub(crate) fn update(world: &World, id: ServiceId) -> UpdateStatus {
    world.state.service(id).unwrap().update.clone().unwrap()
}

fn ids(world: &World, id: ServiceId) -> Vec<TaskId> {
    world.wanted(id).into_iter().map(|(id, _)| id).collect()
}

/// Wanted tasks of what is declared, and of what was.
pub(crate) fn versions(world: &World, id: ServiceId) -> (usize, usize) {
    let declared = world.state.service(id).unwrap().spec_revision;
    let wanted = world.wanted(id);
    let new = wanted.iter().filter(|(_, task)| task.spec_revision == declared).count();
    (new, wanted.len() - new)
}

pub(crate) fn bad(spec: &mut ServiceSpec) {
    spec.task.command = vec!["bad".into()];
}

pub(crate) fn force(spec: &mut ServiceSpec) {
    spec.task.force_update += 1;
}

#[test]
fn a_label_and_a_number_restart_nothing() {
    let (mut world, id) = running(3, |_| ());
    let before = ids(&world, id);
    world.update_service(id, |spec| {
        spec.labels = proto::name::Labels::new([("a".into(), "b".into())].into()).unwrap();
        spec.update.parallelism = 2;
    });
    world.go_on();
    assert_eq!(ids(&world, id), before);
    world.update_service(id, |spec| spec.mode = Mode::Replicated(4));
    world.go_on();
    assert_eq!(ids(&world, id)[..3], before[..]);
    assert_eq!(world.wanted(id).len(), 4);
    assert_eq!(world.state.service(id).unwrap().update, None, "there was nothing to roll out");
}

#[test]
fn a_changed_secret_redeploys_one_after_the_other_with_the_delay_between() {
    let (mut world, id) = running(3, |spec| spec.update.delay_ms = 500);
    let before = ids(&world, id);
    let changed = World::spec("web", 3, &[(2, "b")]).task.secrets;
    world.update_service(id, |spec| spec.task.secrets = changed);
    let began = update(&world, id);
    assert_eq!(
        (began.state, began.message.as_str()),
        (UpdateState::Updating, "update in progress")
    );
    assert_eq!((began.places, began.failures, began.completed_at), (3, 0, None));
    world.settle();
    let stopping: Vec<_> = before
        .iter()
        .filter(|id| world.state.task(**id).unwrap().desired == DesiredState::Shutdown)
        .collect();
    assert_eq!(stopping, [&before[0]], "one at a time, the old one first");
    for slot in 1..=3 {
        world.go_on();
        assert_eq!(versions(&world, id), (slot, 3 - slot), "the rest waits for the delay");
        assert_eq!(update(&world, id).state, UpdateState::Updating);
        let ran_at = world.wanted(id).iter().filter_map(|(_, task)| task.ran_at).max().unwrap();
        let wake_at = world.plan().wake_at.unwrap();
        // After the last one, the time is that of watching.
        assert_eq!(wake_at.ms_since(ran_at), if slot < 3 { 500 } else { 1_000 });
        world.wake();
    }
    let done = update(&world, id);
    assert_eq!((done.state, done.message.as_str()), (UpdateState::Completed, "update completed"));
    assert_eq!(done.completed_at, Some(world.state.now()));
    assert_eq!(world.plan().wake_at, None);
    assert!(world.wanted(id).iter().all(|(_, t)| t.secrets[0].secret_id == secret_id(2)));
}

#[test]
fn start_first_lets_the_old_one_run_until_the_new_one_does() {
    let (mut world, id) = running(2, |spec| spec.update.order = UpdateOrder::StartFirst);
    let before = ids(&world, id);
    world.update_service(id, force);
    world.settle();
    assert_eq!(world.wanted(id).len(), 3, "the first slot has two");
    let all_up = |world: &World| {
        let up = |id: &&TaskId| world.state.task(**id).unwrap().is_wanted();
        before.iter().filter(up).count()
    };
    assert_eq!(all_up(&world), 2);
    let fresh = world.wanted(id).into_iter().find(|(id, _)| !before.contains(id)).unwrap();
    world.report(fresh.1.node_id.unwrap(), fresh.0, TaskState::Running);
    world.settle();
    assert_eq!(all_up(&world), 1);
    world.go_on();
    assert_eq!(versions(&world, id), (2, 0));
}

#[test]
fn a_parallelism_of_zero_is_all_at_once() {
    let (mut world, id) = running(5, |spec| spec.update.parallelism = 0);
    world.update_service(id, force);
    world.settle();
    assert_eq!(world.wanted(id).len(), 0);
}

#[test]
fn a_failure_pauses_and_the_next_declaration_goes_on() {
    let (mut world, id) = running(3, |_| ());
    let before = ids(&world, id);
    world.update_service(id, bad);
    world.go_on();
    let paused = update(&world, id);
    assert_eq!(paused.state, UpdateState::Paused);
    let task = paused.failed_task.unwrap();
    assert_eq!(
        paused.message,
        format!("update paused due to failure or early termination of task {task}")
    );
    assert_eq!(world.state.task(task).unwrap().status.state, TaskState::Failed);
    assert_eq!((paused.failures, paused.completed_at), (1, None));
    // The failed one is restarted, the others are as they were.
    while world.state.now().0 < 100_000 && world.wake() {
        world.go_on();
    }
    assert_eq!(ids(&world, id)[1..], before[1..]);
    assert_eq!(update(&world, id), paused);
    // Back to what was: tasks of then are not touched.
    world.update_service(id, |spec| spec.task.command = vec!["sleep".into(), "1000".into()]);
    assert_eq!(update(&world, id).places, 1);
    world.go_on();
    world.wake();
    assert_eq!(update(&world, id).state, UpdateState::Completed);
    assert_eq!(ids(&world, id)[1..], before[1..]);
}

#[test]
fn a_paused_update_that_is_declared_again_goes_on() {
    let (mut world, id) = running(3, |_| ());
    world.update_service(id, bad);
    world.go_on();
    let previous = world.state.service(id).unwrap().previous_spec.clone();
    world.update_service(id, |_| ());
    assert_eq!(update(&world, id).state, UpdateState::Updating);
    assert_eq!(world.state.service(id).unwrap().previous_spec, previous, "it can still go back");
    world.go_on();
    assert_eq!(update(&world, id).state, UpdateState::Paused);
    world.update_service(id, |spec| spec.update.failure_action = FailureAction::Continue);
    assert_eq!(update(&world, id).state, UpdateState::Updating);
    world.go_on();
    assert_eq!(versions(&world, id).1, 0);
}

#[test]
fn a_paused_update_that_had_reached_every_task_is_over_once_it_is_declared_again() {
    let (mut world, id) = running(1, |_| ());
    world.update_service(id, bad);
    world.go_on();
    assert_eq!(update(&world, id).state, UpdateState::Paused);
    world.update_service(id, |_| ());
    assert_eq!(world.state.service(id).unwrap().update, None, "there is nothing to go on with");
}

#[test]
fn failures_are_tolerated_up_to_the_ratio() {
    let paused_after = |millionths| {
        let (mut world, id) = running(4, |spec| {
            spec.update.failure_ratio_millionths_max = millionths;
            spec.task.restart.condition = RestartCondition::None;
        });
        world.update_service(id, bad);
        world.go_on();
        (update(&world, id).state, update(&world, id).failures)
    };
    assert_eq!(paused_after(0), (UpdateState::Paused, 1));
    assert_eq!(paused_after(249_999), (UpdateState::Paused, 1));
    assert_eq!(paused_after(250_000), (UpdateState::Paused, 2));
    assert_eq!(paused_after(500_000), (UpdateState::Paused, 3));
    assert_eq!(paused_after(1_000_000).1, 4);
    assert_ne!(paused_after(1_000_000).0, UpdateState::Paused);
}

#[test]
fn an_update_that_continues_reaches_every_task_and_says_that_it_completed() {
    let (mut world, id) = running(3, |spec| {
        spec.update.failure_action = FailureAction::Continue;
        spec.task.restart.condition = RestartCondition::None;
    });
    world.update_service(id, bad);
    world.go_on();
    world.wake();
    assert_eq!(update(&world, id).state, UpdateState::Completed);
    assert_eq!(world.wanted(id).len(), 0, "none of them was to be restarted");
}

#[test]
fn only_what_fails_while_it_is_watched_counts() {
    let (mut world, id) = running(2, |spec| spec.update.delay_ms = 5_000);
    world.update_service(id, force);
    world.go_on();
    let made = |world: &World| {
        let mut wanted = world.wanted(id).into_iter();
        wanted.find(|(_, task)| task.made_by.is_some() && task.ran_at.is_some())
    };
    let (task, at) = made(&world).unwrap();
    assert_eq!(at.made_by, Some(MadeBy { began: update(&world, id).began, counts: true }));
    world.now += 1_001;
    world.report(at.node_id.unwrap(), task, TaskState::Failed);
    world.go_on();
    assert_eq!((update(&world, id).state, update(&world, id).failures), (UpdateState::Updating, 0));
    // What replaces it is not the update's; its failure is the restart policy's matter.
    while made(&world).is_none() {
        world.wake();
        world.go_on();
    }
    let (task, again) = made(&world).unwrap();
    assert!(!again.made_by.unwrap().counts);
    world.report(again.node_id.unwrap(), task, TaskState::Failed);
    world.settle();
    assert_eq!(update(&world, id).failures, 0);
}

#[test]
fn the_end_of_a_watch_is_the_last_moment_that_counts() {
    let failures_at = |ms| {
        let (mut world, id) = running(1, |_| ());
        world.update_service(id, force);
        world.go_on();
        let (task, at) = world.wanted(id).remove(0);
        // The report is made one later.
        world.now = at.ran_at.unwrap().0 + ms - 1;
        world.report(at.node_id.unwrap(), task, TaskState::Complete);
        update(&world, id).failures
    };
    assert_eq!(failures_at(1_000), 1, "to end early is to fail, for what is to run on");
    assert_eq!(failures_at(1_001), 0);
}

#[test]
fn what_is_stopped_moved_or_done_is_no_failure() {
    let (mut world, id) = running(2, |spec| {
        spec.update.parallelism = 0;
        spec.task.restart.condition = RestartCondition::OnFailure;
    });
    world.update_service(id, force);
    world.go_on();
    let [(one, at_one), (other, at_other)] = world.wanted(id).try_into().unwrap();
    world.report(at_one.node_id.unwrap(), one, TaskState::Complete);
    assert_eq!(update(&world, id).failures, 0, "it was to run once");
    let node = at_other.node_id.unwrap();
    world.did(Command::RemoveNode { id: node, force: true });
    assert_eq!(world.state.task(other).unwrap().status.state, TaskState::Orphaned);
    assert_eq!(update(&world, id).failures, 0, "its node went");
    world.go_on();
    world.update_service(id, |spec| spec.mode = Mode::Replicated(0));
    world.go_on();
    let update = world.state.service(id).unwrap().update.clone();
    assert_eq!(update.map_or(0, |update| update.failures), 0, "nobody wants them");
}

#[test]
fn a_failure_rolls_back_to_the_previous_declaration() {
    let (mut world, id) = running(3, |spec| spec.update.failure_action = FailureAction::Rollback);
    let (before, spec) = (ids(&world, id), world.state.service(id).unwrap().spec.clone());
    let declared = world.state.service(id).unwrap().spec_revision;
    world.update_service(id, bad);
    let started_at = update(&world, id).started_at;
    let seen = world.revision_of_service(id);
    world.go_on();
    let rolling = update(&world, id);
    let task = rolling.failed_task;
    assert_eq!((rolling.state, task), (UpdateState::RollbackStarted, None), "it counts anew");
    assert!(rolling.message.starts_with("update rolled back due to failure or early termination"));
    assert_eq!((rolling.started_at, rolling.places), (started_at, 1));
    assert!(world.revision_of_service(id) > seen, "who read it before is refused");
    world.wake();
    let done = update(&world, id);
    assert_eq!(
        (done.state, done.message.as_str()),
        (UpdateState::RollbackCompleted, "rollback completed")
    );
    let service = world.state.service(id).unwrap();
    assert_eq!((&service.spec, service.spec_revision), (&spec, declared));
    assert_eq!((&service.previous_spec, service.previous_spec_revision), (&None, None));
    assert_eq!(ids(&world, id)[1..], before[1..], "those were never touched");
    assert_eq!(versions(&world, id), (3, 0));
}

#[test]
fn a_rollback_is_never_rolled_back() {
    let (mut world, id) = running(2, |spec| {
        spec.update.failure_action = FailureAction::Rollback;
        spec.rollback.failure_action = FailureAction::Rollback;
        // It ran once; it does not run again.
        spec.task.restart.delay_ms = 0;
    });
    world.update_service(id, bad);
    world.settle();
    // Agents of this test fail whatever is new.
    for _ in 0..20 {
        let fresh: Vec<_> =
            world.wanted(id).into_iter().filter(|(_, t)| t.ran_at.is_none()).collect();
        for (task, at) in fresh {
            if let Some(node) = at.node_id {
                world.report(node, task, TaskState::Rejected);
            }
        }
        let stopping: Vec<_> = world.state.tasks().iter().map(|(id, t)| (*id, t.clone())).collect();
        for (task, at) in stopping {
            if at.is_live() && !at.is_wanted() {
                world.report(at.node_id.unwrap(), task, TaskState::Shutdown);
            }
        }
        world.settle();
    }
    let paused = update(&world, id);
    assert_eq!(paused.state, UpdateState::RollbackPaused);
    let task = paused.failed_task.unwrap();
    assert_eq!(
        paused.message,
        format!("rollback paused due to failure or early termination of task {task}")
    );
}

#[test]
fn without_a_previous_declaration_an_update_pauses_and_says_so() {
    let (mut world, id) = running(1, |spec| spec.update.failure_action = FailureAction::Rollback);
    world.update_service(id, |spec| {
        bad(spec);
        spec.task.secrets.clear();
    });
    world.settle();
    let old = world.state.tasks().iter().find(|(_, t)| !t.is_wanted()).map(|(id, _)| *id).unwrap();
    let node = world.state.task(old).unwrap().node_id.unwrap();
    world.report(node, old, TaskState::Shutdown);
    let held =
        world.run(Command::RemoveSecret { id: secret_id(1), forget_previous: false, shred: None });
    assert_eq!(
        held.outcome.unwrap_err().to_string(),
        "secret a is in use by the following service: web"
    );
    world.did(Command::RemoveSecret { id: secret_id(1), forget_previous: true, shred: None });
    world.go_on();
    let paused = update(&world, id);
    assert_eq!(paused.state, UpdateState::Paused);
    assert!(paused.message.ends_with("there is no previous spec to roll back to"), "{paused:?}");
    let revision = world.revision_of_service(id);
    let refused = world.run(Command::RollBackService { id, revision }).outcome.unwrap_err();
    assert_eq!(refused.kind(), Kind::Precondition);
    assert_eq!(refused.to_string(), "service web does not have a previous spec");
}

#[test]
fn an_operator_rolls_back_and_a_second_time_undoes_it() {
    let (mut world, id) = running(2, |spec| spec.update.parallelism = 0);
    let first = world.state.service(id).unwrap().clone();
    world.update_service(id, force);
    world.go_on();
    world.wake();
    let second = world.state.service(id).unwrap().clone();
    let refused = world.run(Command::RollBackService { id, revision: first.revision }).outcome;
    assert_eq!(refused.unwrap_err().kind(), Kind::Conflict);
    for (now, before) in [(&first, &second), (&second, &first), (&first, &second)] {
        let revision = world.revision_of_service(id);
        world.did(Command::RollBackService { id, revision });
        let rolling = update(&world, id);
        assert_eq!(rolling.message, "manually requested rollback");
        assert_eq!((rolling.state, rolling.places), (UpdateState::RollbackStarted, 2));
        world.go_on();
        assert!(world.wake());
        assert_eq!(update(&world, id).state, UpdateState::RollbackCompleted);
        let service = world.state.service(id).unwrap();
        assert_eq!((&service.spec, service.spec_revision), (&now.spec, now.spec_revision));
        assert_eq!(service.previous_spec.as_ref(), Some(&before.spec));
        assert_eq!(versions(&world, id), (2, 0));
    }
}

#[test]
fn who_may_not_use_a_secret_does_not_roll_back_to_it() {
    let (mut world, id) = running(1, |_| ());
    world.update_service(id, |spec| spec.task.secrets.clear());
    let caller = world.operator(7, OperatorRole::Deployer, "team");
    let revision = world.revision_of_service(id);
    let mut envelope = world.envelope(Command::RollBackService { id, revision });
    envelope.caller = caller;
    let refused = world.apply(envelope).outcome.unwrap_err();
    assert_eq!(refused.kind(), Kind::Denied);
}

#[test]
fn where_only_the_placement_changes_only_what_does_not_fit_moves() {
    let (mut world, id) = running(4, |_| ());
    let before = world.wanted(id);
    world.update_service(id, |spec| {
        spec.task.placement.constraints = vec!["node.labels.zone==eu".parse().unwrap()];
    });
    assert_eq!(update(&world, id).places, 2);
    world.go_on();
    world.wake();
    assert_eq!(update(&world, id).state, UpdateState::Completed);
    let after: BTreeMap<_, _> = world.wanted(id).into_iter().collect();
    for (task, was) in &before {
        assert_eq!(after.contains_key(task), was.node_id == Some(node_id(1)), "{was:?}");
    }
    assert!(after.values().all(|task| task.node_id == Some(node_id(1))));
    let declared = world.state.service(id).unwrap().spec_revision;
    assert!(after.values().all(|task| task.spec_revision == declared));
    // And back: nothing has to.
    let stayed = ids(&world, id);
    let revision = world.revision_of_service(id);
    world.did(Command::RollBackService { id, revision });
    world.go_on();
    assert_eq!(update(&world, id).state, UpdateState::RollbackCompleted);
    assert_eq!(ids(&world, id), stayed);
}

#[test]
fn a_pending_task_is_placed_by_what_is_declared_now() {
    let mut world = World::founded();
    world.add_node(1, &[]);
    let mut spec = World::spec("web", 1, &[]);
    spec.task.placement.constraints = vec!["node.labels.zone==moon".parse().unwrap()];
    let id = world.create_service(1, spec);
    world.go_on();
    let (task, pending) = world.wanted(id).remove(0);
    assert_eq!(pending.status.state, TaskState::Pending);
    world.update_service(id, |spec| spec.task.placement.constraints.clear());
    world.go_on();
    let (same, placed) = world.wanted(id).remove(0);
    assert_eq!((same, placed.status.state), (task, TaskState::Running));
}

#[test]
fn what_was_done_is_done_again_when_it_is_declared_anew() {
    let (mut world, id) = running(2, |spec| {
        spec.task.restart.condition = RestartCondition::None;
        spec.update.parallelism = 2;
    });
    for (task, at) in world.wanted(id) {
        world.report(at.node_id.unwrap(), task, TaskState::Complete);
    }
    world.go_on();
    assert_eq!(world.wanted(id).len(), 0);
    world.update_service(id, |spec| {
        spec.labels = proto::name::Labels::new([("a".into(), "b".into())].into()).unwrap();
    });
    world.go_on();
    assert_eq!(world.wanted(id).len(), 0, "a label is no reason");
    world.update_service(id, force);
    world.go_on();
    assert_eq!(versions(&world, id), (2, 0));
}

#[test]
fn a_step_of_an_update_that_moved_on_is_skipped() {
    let (mut world, id) = running(1, |_| ());
    world.update_service(id, force);
    let began = update(&world, id).began;
    let message = String::new();
    let step = |began, from, to| Step::MoveUpdate {
        service_id: id,
        began,
        from,
        to,
        message: message.clone(),
    };
    let rollback = |revision| Step::RollBack { service_id: id, revision, message: message.clone() };
    let paused = UpdateState::Paused;
    let steps = vec![
        step(Revision(began.0 - 1), UpdateState::Updating, paused),
        step(began, UpdateState::RollbackStarted, paused),
        rollback(Revision(began.0 - 1)),
        step(began, UpdateState::Updating, paused),
        step(began, UpdateState::Updating, UpdateState::Completed),
        // A paused one is the operator's.
        rollback(world.revision_of_service(id)),
    ];
    let outcome = world.did(Command::Plan(steps)).outcome;
    assert_eq!(outcome, Ok(Outcome::Steps { applied: 1, stale: 5 }));
    assert_eq!(update(&world, id).state, paused);
}

#[test]
fn two_leaders_in_a_row_do_not_fill_a_place_twice() {
    let mut world = World::founded();
    world.add_node(1, &[]);
    let id = world.create_service(1, World::spec("web", 1, &[]));
    let (first, second) = (world.plan().steps, world.plan().steps);
    let outcomes = [first, second].map(|steps| world.did(Command::Plan(steps)).outcome.unwrap());
    let steps = |applied, stale| Outcome::Steps { applied, stale };
    assert_eq!(outcomes, [steps(1, 0), steps(0, 1)]);
    assert_eq!(world.wanted(id).len(), 1);
}

#[test]
fn tasks_of_before_run_on_though_they_had_no_node_yet() {
    let (mut world, id) = running(3, |_| ());
    let (last, at) = world.wanted(id).remove(2);
    world.report(at.node_id.unwrap(), last, TaskState::Failed);
    world.settle();
    // What replaces it waits for its delay when something else is declared.
    let (waiting, task) = world.wanted(id).remove(2);
    assert!(task.node_id.is_none() && task.slot == 3);
    world.update_service(id, bad);
    world.go_on();
    assert_eq!(update(&world, id).state, UpdateState::Paused);
    while world.state.now().0 < task.not_before.0 {
        assert!(world.wake(), "nothing waits for its time");
        world.go_on();
    }
    world.go_on();
    assert_eq!(world.state.task(waiting).unwrap().status.state, TaskState::Running);
}

#[test]
fn tasks_of_before_that_had_no_node_run_on_beside_what_never_does() {
    // It fails for good, or is never placed.
    let changes: [fn(&mut ServiceSpec); 2] = [
        |spec| {
            bad(spec);
            spec.task.restart.condition = RestartCondition::None;
        },
        |spec| {
            force(spec);
            spec.task.placement.constraints = vec!["node.labels.zone==moon".parse().unwrap()];
        },
    ];
    for change in changes {
        let (mut world, id) = running(1, |spec| spec.update.order = UpdateOrder::StartFirst);
        let (first, at) = world.wanted(id).remove(0);
        world.report(at.node_id.unwrap(), first, TaskState::Failed);
        world.settle();
        // What replaces it waits for its delay when something else is declared.
        let (waiting, task) = world.wanted(id).remove(0);
        assert_eq!(task.node_id, None);
        world.update_service(id, change);
        world.go_on();
        while world.state.now().0 < task.not_before.0 {
            assert!(world.wake(), "nothing waits for its time");
            world.go_on();
        }
        world.go_on();
        assert_eq!(world.state.task(waiting).unwrap().status.state, TaskState::Running);
    }
}

#[test]
fn what_is_done_at_once_leaves_nothing_of_before() {
    let ended_as = |condition, state| {
        let (mut world, id) = running(1, |spec| {
            spec.update.order = UpdateOrder::StartFirst;
            spec.task.restart.condition = condition;
        });
        let before = ids(&world, id);
        world.update_service(id, force);
        world.settle();
        let (task, at) = world.wanted(id).into_iter().find(|(id, _)| !before.contains(id)).unwrap();
        // It ran and ended before anybody planned again.
        let status = |state| TaskStatus {
            task_id: task,
            state,
            at: Timestamp(0),
            message: String::new(),
            exit_code: None,
            mounted: vec![],
        };
        let statuses = vec![status(TaskState::Running), status(state)];
        world.did(Command::ReportTasks(vec![NodeStatuses {
            node_id: at.node_id.unwrap(),
            statuses,
        }]));
        world.go_on();
        world.wake();
        let left = ids(&world, id).iter().filter(|id| before.contains(id)).count();
        (left, update(&world, id).state)
    };
    let (done, paused) = (UpdateState::Completed, UpdateState::Paused);
    assert_eq!(ended_as(RestartCondition::None, TaskState::Complete), (0, done));
    assert_eq!(ended_as(RestartCondition::OnFailure, TaskState::Complete), (0, done));
    assert_eq!(ended_as(RestartCondition::None, TaskState::Failed), (1, paused));
}

#[test]
fn that_a_node_is_gone_is_not_for_its_agent_to_say() {
    let (mut world, id) = running(1, |spec| spec.task.restart.condition = RestartCondition::None);
    let (task, before) = world.wanted(id).remove(0);
    world.report(before.node_id.unwrap(), task, TaskState::Orphaned);
    assert_eq!(**world.state.task(task).unwrap(), before);
    world.go_on();
    assert_eq!(ids(&world, id), [task]);
}

/// What a random rollout is made of.
#[derive(Debug, Clone)]
struct Run {
    replicas: u64,
    config: UpdateConfig,
    bad: bool,
    restarts: bool,
    /// Which task's agent acts next, whether it waits instead.
    picks: Vec<(u8, bool)>,
}

fn config() -> impl Strategy<Value = UpdateConfig> {
    let action = prop_oneof![
        Just(FailureAction::Pause),
        Just(FailureAction::Continue),
        Just(FailureAction::Rollback)
    ];
    let order = prop_oneof![Just(UpdateOrder::StopFirst), Just(UpdateOrder::StartFirst)];
    let numbers = (0_u64..4, 0_u64..60, 0_u64..60, prop_oneof![Just(0_u32), 0_u32..1_000_000]);
    (action, order, numbers).prop_map(|(failure_action, order, numbers)| UpdateConfig {
        parallelism: numbers.0,
        delay_ms: numbers.1,
        monitor_ms: numbers.2,
        failure_ratio_millionths_max: numbers.3,
        failure_action,
        order,
    })
}

prop_compose! {
    fn a_run()(
        replicas in 1_u64..6,
        config in config(),
        bad in any::<bool>(),
        restarts in any::<bool>(),
        picks in prop::collection::vec((any::<u8>(), prop::bool::weighted(0.2)), 0..80),
    ) -> Run {
        Run { replicas, config, bad, restarts, picks }
    }
}

/// What must hold at every moment of a rollout on healthy nodes.
fn hold(world: &World, id: ServiceId, run: &Run) {
    let service = world.state.service(id).unwrap();
    let began = service.update.as_ref().map(|update| update.began);
    let wanted = world.wanted(id);
    let in_flight = |task: &Task| {
        task.made_by.is_some_and(|by| Some(by.began) == began && by.counts) && task.ran_at.is_none()
    };
    let new = wanted.iter().filter(|(_, task)| in_flight(task)).count() as u64;
    let parallelism = service.rollout_config().parallelism;
    assert!(parallelism == 0 || new <= parallelism, "{new} of {parallelism} in flight");
    let state = |task: &Task| task.status.state;
    let tasks = || world.state.tasks_of_service(id);
    match run.config.order {
        UpdateOrder::StopFirst => {
            let mut placed: Vec<_> = tasks()
                .filter(|(_, task)| task.is_live() && task.node_id.is_some())
                .map(|(_, task)| task.slot)
                .collect();
            placed.sort_unstable();
            let count = placed.len();
            placed.dedup();
            assert_eq!(placed.len(), count, "two of one slot at once");
        }
        UpdateOrder::StartFirst => {
            // What fails here never ran: what ran before runs on.
            let up = wanted.iter().filter(|(_, task)| state(task) == TaskState::Running);
            assert!(up.count() as u64 >= run.replicas, "fewer than declared run");
        }
    }
}

fn carry_out(run: &Run) -> (World, ServiceId, ServiceSpec) {
    let (mut world, id) = running(run.replicas, |spec| {
        spec.update = run.config;
        spec.rollback = UpdateConfig { failure_action: FailureAction::Pause, ..run.config };
        if !run.restarts {
            spec.task.restart.condition = RestartCondition::None;
        }
    });
    let before = world.state.service(id).unwrap().spec.clone();
    world.update_service(id, if run.bad { bad } else { force });
    let act = |world: &mut World, pick: u8| {
        let due: Vec<(TaskId, NodeId, TaskState)> = world
            .state
            .tasks_of_service(id)
            .filter(|(_, task)| task.is_live() && task.node_id.is_some())
            .filter_map(|(task_id, task)| {
                let to = match task.status.state {
                    _ if !task.is_wanted() => TaskState::Shutdown,
                    TaskState::Running => return None,
                    _ if task.spec.command == ["bad"] => TaskState::Failed,
                    _ => TaskState::Running,
                };
                Some((task_id, task.node_id.unwrap(), to))
            })
            .collect();
        if let Some((task, node, to)) = due.get(usize::from(pick) % due.len().max(1)) {
            world.report(*node, *task, *to);
        }
        !due.is_empty()
    };
    let plan = |world: &mut World| {
        let plan = world.plan();
        if !plan.steps.is_empty() {
            world.did(Command::Plan(plan.steps));
            hold(world, id, run);
        }
    };
    for (pick, wait) in &run.picks {
        plan(&mut world);
        if *wait {
            world.now += u64::from(*pick);
        } else {
            act(&mut world, *pick);
        }
        hold(&world, id, run);
    }
    // Then to its end; what is restarted for ever is given some time.
    for _ in 0..200 {
        plan(&mut world);
        if !act(&mut world, 0) {
            match world.plan() {
                next if !next.steps.is_empty() => {}
                next => match next.wake_at {
                    Some(at) => world.now = world.now.max(at.0),
                    None => break,
                },
            }
        }
        hold(&world, id, run);
    }
    world.settle();
    (world, id, before)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_rollout_keeps_its_bounds_and_ends_as_configured(run in a_run()) {
        let (world, id, before) = carry_out(&run);
        let service = world.state.service(id).unwrap();
        let update = service.update.as_ref().unwrap();
        let failed = run.bad
            && run.config.failure_action != FailureAction::Continue
            // As many as there are may fail, if the ratio says so.
            && 1_000_000 > u64::from(run.config.failure_ratio_millionths_max);
        let (new, old) = versions(&world, id);
        match (failed, run.config.failure_action) {
            (false, _) => {
                prop_assert_eq!(update.state, UpdateState::Completed);
                if !run.bad {
                    prop_assert_eq!((new as u64, old), (run.replicas, 0));
                }
            }
            (true, FailureAction::Rollback) => {
                prop_assert_eq!(update.state, UpdateState::RollbackCompleted);
                prop_assert_eq!(&service.spec, &before);
                prop_assert_eq!((new as u64, old), (run.replicas, 0));
            }
            (true, _) => prop_assert_eq!(update.state, UpdateState::Paused),
        }
        // The same log, the same state.
        let mut again = state::State::new();
        for (index, envelope) in &world.log {
            state::apply(&mut again, *index, envelope.clone()).unwrap();
        }
        prop_assert_eq!(bytes_of(&again), bytes_of(&world.state));
        prop_assert!(world.state.nodes().values().all(|node| node.state != NodeState::Down));
    }
}
