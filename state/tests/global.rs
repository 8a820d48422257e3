//! Global services: one task on each node where they belong, as nodes come and go.

use std::collections::{BTreeMap, BTreeSet};

use proto::id::{NodeId, ServiceId};
use proto::spec::{FailureAction, Mode, ServiceSpec};
use proto::task::TaskState;
use state::command::{Command, Step, UpdateNode};
use state::object::{Availability, NodeState};
use state::{Outcome, UpdateState, places_wanted};

use crate::world::*;

fn global(change: impl FnOnce(&mut ServiceSpec)) -> (World, ServiceId) {
    let mut world = World::founded();
    world.add_node(1, &[("zone", "eu")]);
    world.add_node(2, &[("zone", "eu")]);
    let mut spec = World::spec("web", 1, &[]);
    spec.mode = Mode::Global;
    spec.update.monitor_ms = 0;
    change(&mut spec);
    let id = world.create_service(1, spec);
    world.go_on();
    (world, id)
}

fn nodes(world: &World, id: ServiceId) -> BTreeSet<NodeId> {
    let wanted = world.wanted(id);
    let nodes: BTreeSet<_> = wanted.iter().filter_map(|(_, task)| task.node_id).collect();
    assert_eq!(nodes.len(), wanted.len(), "one on each");
    assert!(wanted.iter().all(|(_, task)| task.slot == 0 && task.for_node == task.node_id));
    nodes
}

fn of(ids: &[u8]) -> BTreeSet<NodeId> {
    ids.iter().map(|n| node_id(*n)).collect()
}

fn set(world: &mut World, n: u8, availability: Option<Availability>, label: Option<&str>) {
    let label_add = label.map(|zone| ("zone".to_owned(), zone.to_owned()));
    world.did(Command::UpdateNode(UpdateNode {
        id: node_id(n),
        revision: None,
        label_add: BTreeMap::from_iter(label_add),
        label_rm: vec![],
        availability,
    }));
    world.go_on();
}

#[test]
fn it_follows_the_nodes() {
    let (mut world, id) = global(|_| ());
    assert_eq!(nodes(&world, id), of(&[1, 2]), "the manager has no agent");
    world.add_node(3, &[]);
    world.go_on();
    assert_eq!(nodes(&world, id), of(&[1, 2, 3]));

    set(&mut world, 1, Some(Availability::Drain), None);
    assert_eq!(nodes(&world, id), of(&[2, 3]));
    set(&mut world, 1, Some(Availability::Active), None);
    assert_eq!(nodes(&world, id), of(&[1, 2, 3]));

    // Down: it is wanted there no more, and again once the node is back and has stopped the old one.
    world.node_is(node_id(2), NodeState::Down);
    world.go_on();
    assert_eq!((nodes(&world, id), places(&world, id)), (of(&[1, 3]), 2));
    world.node_is(node_id(2), NodeState::Ready);
    world.settle();
    assert_eq!(nodes(&world, id), of(&[1, 3]), "the old one has to stop first");
    world.go_on();
    assert_eq!(nodes(&world, id), of(&[1, 2, 3]));

    world.did(Command::RemoveNode { id: node_id(3), force: true });
    world.go_on();
    assert_eq!(nodes(&world, id), of(&[1, 2]));
    let left = world.state.tasks_of_service(id).filter(|(_, t)| t.for_node == Some(node_id(3)));
    assert_eq!(left.count(), 0, "nothing is left of the node");
}

fn places(world: &World, id: ServiceId) -> u64 {
    places_wanted(&world.state, id, world.state.service(id).unwrap())
}

#[test]
fn a_node_that_waits_for_its_agent_has_a_pending_task() {
    let (mut world, id) = global(|_| ());
    world.add_node(3, &[]);
    world.node_is(node_id(3), NodeState::Unknown);
    world.go_on();
    let wanted = world.wanted(id);
    let (_, waiting) = wanted.iter().find(|(_, t)| t.for_node == Some(node_id(3))).unwrap();
    assert_eq!(waiting.status.state, TaskState::Pending);
    assert!(waiting.status.message.starts_with("no suitable node"), "{:?}", waiting.status);
    world.node_is(node_id(3), NodeState::Ready);
    world.go_on();
    assert_eq!(nodes(&world, id), of(&[1, 2, 3]));
}

#[test]
fn it_follows_labels() {
    let (mut world, id) = global(|spec| {
        spec.task.placement.constraints = vec!["node.labels.zone==eu".parse().unwrap()];
    });
    world.add_node(3, &[]);
    world.go_on();
    assert_eq!((nodes(&world, id), places(&world, id)), (of(&[1, 2]), 2));
    set(&mut world, 3, None, Some("eu"));
    set(&mut world, 1, None, Some("us"));
    assert_eq!((nodes(&world, id), places(&world, id)), (of(&[2, 3]), 2));
}

#[test]
fn a_replica_leaves_a_node_that_its_constraints_hold_for_no_more() {
    let mut world = World::founded();
    world.add_node(1, &[("zone", "eu")]);
    let mut spec = World::spec("web", 1, &[]);
    spec.task.placement.constraints = vec!["node.labels.zone==eu".parse().unwrap()];
    let id = world.create_service(1, spec);
    world.add_node(2, &[("zone", "eu")]);
    world.go_on();
    let was = world.wanted(id).remove(0).1.node_id.unwrap();
    let n = if was == node_id(1) { 1 } else { 2 };
    set(&mut world, n, None, Some("us"));
    let (_, moved) = world.wanted(id).remove(0);
    assert_ne!(moved.node_id, Some(was));
    assert_eq!(moved.status.state, TaskState::Running);
}

#[test]
fn a_paused_node_keeps_what_it_has_and_gets_nothing_new() {
    let (mut world, id) = global(|_| ());
    set(&mut world, 1, Some(Availability::Pause), None);
    let kept = world.wanted(id);
    assert_eq!((nodes(&world, id), places(&world, id)), (of(&[1, 2]), 2));
    // An update goes past it, and is done.
    world.update_service(id, |spec| spec.task.force_update = 1);
    world.go_on();
    let update = |world: &World| world.state.service(id).unwrap().update.clone().unwrap().state;
    assert_eq!(update(&world), UpdateState::Completed);
    let on = |tasks: &[(proto::id::TaskId, state::object::Task)], n: u8| {
        tasks.iter().find(|(_, t)| t.for_node == Some(node_id(n))).unwrap().0
    };
    let now = world.wanted(id);
    assert_eq!(places(&world, id), 1, "what it keeps is not what is declared");
    assert_eq!(on(&now, 1), on(&kept, 1));
    assert_ne!(on(&now, 2), on(&kept, 2));
    // A task that ends there is not replaced.
    world.report(node_id(1), on(&now, 1), TaskState::Failed);
    world.now += 1_000;
    world.go_on();
    assert_eq!(nodes(&world, id), of(&[2]));
    set(&mut world, 1, Some(Availability::Active), None);
    world.wake();
    world.go_on();
    assert_eq!(nodes(&world, id), of(&[1, 2]));
    let declared = world.state.service(id).unwrap().spec_revision;
    assert!(world.wanted(id).iter().all(|(_, t)| t.spec_revision == declared));
}

#[test]
fn what_a_paused_node_missed_reaches_it_once_it_is_active() {
    let (mut world, id) = global(|_| ());
    set(&mut world, 1, Some(Availability::Pause), None);
    world.update_service(id, |spec| spec.task.force_update = 1);
    world.go_on();
    set(&mut world, 1, Some(Availability::Active), None);
    let declared = world.state.service(id).unwrap().spec_revision;
    assert_eq!(nodes(&world, id), of(&[1, 2]));
    assert!(world.wanted(id).iter().all(|(_, t)| t.spec_revision == declared));
}

#[test]
fn what_paused_nodes_missed_reaches_them_one_after_the_other() {
    let (mut world, id) = global(|spec| spec.update.delay_ms = 5_000);
    for n in 3..=5 {
        world.add_node(n, &[]);
    }
    world.go_on();
    for n in 2..=5 {
        set(&mut world, n, Some(Availability::Pause), None);
    }
    world.update_service(id, |spec| spec.task.force_update = 1);
    world.go_on();
    world.wake();
    let service = world.state.service(id).unwrap();
    assert_eq!(service.update.as_ref().unwrap().state, UpdateState::Completed);
    let declared = service.spec_revision;
    for n in 2..=5 {
        world.did(Command::UpdateNode(UpdateNode {
            id: node_id(n),
            revision: None,
            label_add: BTreeMap::new(),
            label_rm: vec![],
            availability: Some(Availability::Active),
        }));
    }
    // Those of what is declared, and those of before.
    let running = |world: &World| {
        let wanted = world.wanted(id).into_iter();
        let up = wanted.filter(|(_, task)| task.status.state == TaskState::Running);
        up.partition::<Vec<_>, _>(|(_, task)| task.spec_revision == declared)
    };
    for reached in 1..5 {
        // Until the next one runs, and for the delay after, no other place begins.
        assert!(world.wake(), "it waits for the delay");
        while running(&world).0.len() == reached {
            assert_eq!(running(&world).1.len(), 4 - reached, "one at a time");
            assert!(world.agents_act() > 0, "nothing goes on");
            world.settle();
        }
        world.go_on();
        assert_eq!(running(&world).0.len(), reached + 1);
    }
    assert_eq!(nodes(&world, id), of(&[1, 2, 3, 4, 5]));
}

#[test]
fn what_changed_no_task_is_not_gone_back_to() {
    let (mut world, id) = global(|spec| spec.update.failure_action = FailureAction::Rollback);
    set(&mut world, 2, Some(Availability::Pause), None);
    world.update_service(id, |spec| spec.task.force_update = 1);
    world.go_on();
    // The one before is another's declaration of the same tasks; one node has them not yet.
    world.update_service(id, |spec| spec.update.monitor_ms = 1_000);
    let declared = world.state.service(id).unwrap().clone();
    assert_eq!(declared.update.as_ref().unwrap().state, UpdateState::Updating);
    assert_eq!(declared.previous_spec_revision, Some(declared.spec_revision));
    set(&mut world, 2, Some(Availability::Active), None);
    let (task, at) =
        world.wanted(id).into_iter().find(|(_, task)| task.for_node == Some(node_id(2))).unwrap();
    assert_eq!(at.spec_revision, declared.spec_revision);
    world.report(node_id(2), task, TaskState::Failed);
    world.settle();
    let service = world.state.service(id).unwrap();
    let update = service.update.as_ref().unwrap();
    assert_eq!((&service.spec, update.state), (&declared.spec, UpdateState::Paused));
    assert!(update.message.ends_with("the previous spec makes the same tasks"), "{update:?}");
}

#[test]
fn its_history_is_kept_for_each_node() {
    let (mut world, id) = global(|spec| spec.task.restart.delay_ms = 0);
    for _ in 0..20 {
        let (task, at) =
            world.wanted(id).into_iter().find(|(_, t)| t.for_node == Some(node_id(1))).unwrap();
        world.report(at.node_id.unwrap(), task, TaskState::Failed);
        world.now += 1;
        world.go_on();
    }
    let of_node = world.state.tasks_of_service(id).filter(|(_, t)| t.for_node == Some(node_id(1)));
    assert!(of_node.count() <= proto::limits::HISTORY_MAX + 1);
}

#[test]
fn a_task_of_one_node_goes_to_no_other() {
    let (mut world, id) = global(|spec| spec.task.restart.delay_ms = 1_000_000);
    let (task, at) = world.wanted(id).remove(0);
    world.report(at.node_id.unwrap(), task, TaskState::Failed);
    world.settle();
    let (next, waiting) =
        world.wanted(id).into_iter().find(|(_, task)| task.node_id.is_none()).unwrap();
    let place = |world: &mut World, n: u8| {
        let node_revision = world.state.node(node_id(n)).unwrap().revision;
        let revision = waiting.revision;
        let step = Step::AssignTask { id: next, revision, node_id: node_id(n), node_revision };
        world.did(Command::Plan(vec![step])).outcome
    };
    let own = if waiting.for_node == Some(node_id(1)) { 1 } else { 2 };
    assert_eq!(place(&mut world, 3 - own), Ok(Outcome::Steps { applied: 0, stale: 1 }));
    assert_eq!(place(&mut world, own), Ok(Outcome::Steps { applied: 1, stale: 0 }));
}
