//! Restarts as Swarm counts them: for one declaration, within a window that slides.

use proto::spec::RestartCondition;
use proto::task::TaskState;

use crate::world::*;

/// A service of one task that is restarted so often, so soon.
fn flapping(attempts_max: u64, window_ms: u64) -> (World, proto::id::ServiceId) {
    let mut world = World::founded();
    world.add_node(1, &[]);
    let mut spec = World::spec("web", 1, &[]);
    spec.task.restart.condition = RestartCondition::OnFailure;
    spec.task.restart.attempts_max = attempts_max;
    spec.task.restart.window_ms = window_ms;
    spec.task.restart.delay_ms = 0;
    let id = world.create_service(1, spec);
    world.go_on();
    (world, id)
}

/// Lets the task fail at a time; whether it was replaced.
fn fails_at(world: &mut World, id: proto::id::ServiceId, at: u64) -> bool {
    let (task, running) = world.wanted(id).remove(0);
    world.now = at.max(world.now + 1) - 1;
    world.report(running.node_id.unwrap(), task, TaskState::Failed);
    world.go_on();
    !world.wanted(id).is_empty()
}

#[test]
fn attempts_within_a_window_that_slides() {
    let (mut world, id) = flapping(2, 1_000);
    assert!(fails_at(&mut world, id, 10_000));
    assert!(fails_at(&mut world, id, 10_600));
    // The first is out of the window, the second is not.
    assert!(fails_at(&mut world, id, 11_300));
    // A window that began at the first restart would have begun again at 11,300.
    assert!(!fails_at(&mut world, id, 11_500), "two within the second before");
    let restarts = world.state.tasks_of_service(id).filter_map(|(_, t)| t.restarts.clone());
    assert!(restarts.map(|at| at.len()).max() <= Some(2), "only those are kept that may count");
}

#[test]
fn without_a_window_they_count_for_ever() {
    let (mut world, id) = flapping(2, 0);
    assert!(fails_at(&mut world, id, 10_000));
    assert!(fails_at(&mut world, id, 10_000_000));
    assert!(!fails_at(&mut world, id, 20_000_000));
}

#[test]
fn a_new_declaration_counts_anew_and_a_move_does_not() {
    let (mut world, id) = flapping(1, 0);
    assert!(fails_at(&mut world, id, 10_000));
    world.add_node(2, &[]);
    world.node_is(node_id(1), state::object::NodeState::Down);
    world.go_on();
    let (_, moved) = world.wanted(id).remove(0);
    assert_eq!((moved.node_id, moved.attempts), (Some(node_id(2)), 1));
    assert!(!fails_at(&mut world, id, 20_000), "its one attempt was used");
    world.update_service(id, |spec| spec.task.force_update = 1);
    world.go_on();
    assert_eq!(world.wanted(id).len(), 1);
    assert!(fails_at(&mut world, id, 30_000));
}
