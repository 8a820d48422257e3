//! Updates under way: what changes no task meanwhile takes neither the way back nor the watch.

use proto::id::ServiceId;
use proto::spec::{FailureAction, Mode, ServiceSpec};
use proto::task::TaskState;
use state::command::Command;
use state::object::Task;
use state::{MadeBy, UpdateState};

use crate::updates::*;
use crate::world::*;

fn label(spec: &mut ServiceSpec) {
    spec.labels = proto::name::Labels::new([("a".into(), "b".into())].into()).unwrap();
}

/// One task that the update made fails.
fn fail_one(world: &mut World, id: ServiceId) {
    let began = update(world, id).began;
    let by_it = |task: &Task| task.made_by == Some(MadeBy { began, counts: true });
    let (task, at) = world.wanted(id).into_iter().find(|(_, task)| by_it(task)).unwrap();
    world.report(at.node_id.unwrap(), task, TaskState::Failed);
}

#[test]
fn what_changes_no_task_leaves_an_update_its_way_back_and_its_watch() {
    let changes: [fn(&mut ServiceSpec); 5] = [
        |spec| spec.mode = Mode::Replicated(4),
        |spec| spec.mode = Mode::Replicated(2),
        label,
        |spec| spec.update.failure_ratio_millionths_max = 1,
        |_| (),
    ];
    for change in changes {
        let (mut world, id) = running(3, |spec| {
            spec.update.failure_action = FailureAction::Rollback;
            spec.update.delay_ms = 5_000;
        });
        let before = world.state.service(id).unwrap().clone();
        world.update_service(id, force);
        world.settle();
        let under_way = world.state.service(id).unwrap().clone();
        // One place is in flight, and stays it.
        world.update_service(id, change);
        world.settle();
        let now = world.state.service(id).unwrap();
        assert_eq!(now.update, under_way.update);
        assert_eq!(now.previous_spec.as_ref(), Some(&before.spec));
        assert_eq!(now.previous_spec_revision, Some(before.spec_revision));
        let stopping = world.state.tasks().values().filter(|t| t.is_live() && !t.is_wanted());
        let only_one = stopping.filter(|task| task.slot <= 2).count();
        assert_eq!(only_one, 1, "no other place began");
        world.go_on();
        fail_one(&mut world, id);
        world.settle();
        assert_eq!(update(&world, id).state, UpdateState::RollbackStarted);
        let now = world.state.service(id).unwrap();
        assert_eq!((&now.spec, now.spec_revision), (&before.spec, before.spec_revision));
        for _ in 0..10 {
            world.go_on();
            world.wake();
        }
        assert_eq!(update(&world, id).state, UpdateState::RollbackCompleted);
        assert_eq!(versions(&world, id), (3, 0));
    }
}

#[test]
fn an_update_that_goes_on_after_a_pause_can_still_go_back() {
    let (mut world, id) = running(3, |_| ());
    let before = world.state.service(id).unwrap().clone();
    world.update_service(id, bad);
    world.go_on();
    assert_eq!(update(&world, id).state, UpdateState::Paused);
    world.update_service(id, |spec| spec.update.failure_action = FailureAction::Rollback);
    assert_eq!(update(&world, id).state, UpdateState::Updating);
    world.go_on();
    assert_eq!(update(&world, id).state, UpdateState::RollbackStarted);
    assert_eq!(world.state.service(id).unwrap().spec, before.spec);
}

#[test]
fn a_rollback_stays_one_whatever_else_is_declared() {
    let (mut world, id) = running(2, |spec| {
        spec.update.failure_action = FailureAction::Rollback;
        spec.rollback.delay_ms = 5_000;
    });
    world.update_service(id, force);
    world.go_on();
    world.wake();
    let revision = world.revision_of_service(id);
    world.did(Command::RollBackService { id, revision });
    world.settle();
    let rolling = update(&world, id);
    world.update_service(id, label);
    assert_eq!(update(&world, id), rolling);
    world.go_on();
    fail_one(&mut world, id);
    world.settle();
    assert_eq!(update(&world, id).state, UpdateState::RollbackPaused);
}

/// The way back from a rollback leads to what failed: it is for an operator to ask for.
#[test]
fn a_rollback_that_goes_on_after_a_pause_is_still_one() {
    let changes: [fn(&mut ServiceSpec); 3] =
        [|_| (), label, |spec| spec.rollback.failure_ratio_millionths_max = 1];
    for change in changes {
        let (mut world, id) = running(2, |spec| {
            spec.update.failure_action = FailureAction::Rollback;
            spec.rollback.delay_ms = 5_000;
        });
        world.update_service(id, force);
        world.go_on();
        while world.wake() {
            world.go_on();
        }
        let left = world.state.service(id).unwrap().clone();
        let revision = world.revision_of_service(id);
        world.did(Command::RollBackService { id, revision });
        world.go_on();
        fail_one(&mut world, id);
        world.settle();
        let paused = update(&world, id);
        assert_eq!(paused.state, UpdateState::RollbackPaused);
        world.update_service(id, change);
        let again = update(&world, id);
        assert_eq!(
            (again.state, again.message.as_str()),
            (UpdateState::RollbackStarted, "rollback in progress")
        );
        assert_eq!(again.failures, 0, "it counts anew");
        let now = world.state.service(id).unwrap();
        assert_eq!(now.previous_spec.as_ref(), Some(&left.spec));
        world.go_on();
        fail_one(&mut world, id);
        world.settle();
        assert_eq!(update(&world, id).state, UpdateState::RollbackPaused);
        // Every place is reached: what goes on again is done, and says so.
        while world.wake() {
            world.go_on();
        }
        world.update_service(id, |spec| spec.rollback.failure_action = FailureAction::Continue);
        world.go_on();
        while world.wake() {
            world.go_on();
        }
        assert_eq!(update(&world, id).state, UpdateState::RollbackCompleted);
        assert_eq!(versions(&world, id), (2, 0));
    }
}
