//! Placement: reservations, preferences, bounds, platforms, and what a pending task says.

use proto::id::{NodeId, ServiceId};
use proto::limits::PLATFORM_BYTES_MAX;
use proto::spec::{Mode, RuntimeKind, ServiceSpec};
use proto::task::TaskState;
use state::command::{Command, NodeNews, Step};
use state::object::{NodeReport, NodeState};

use crate::world::*;

fn service(
    world: &mut World,
    n: u8,
    replicas: u64,
    change: impl FnOnce(&mut ServiceSpec),
) -> ServiceId {
    let mut spec = World::spec(&format!("web-{n}"), replicas, &[]);
    change(&mut spec);
    let id = world.create_service(n, spec);
    world.go_on();
    id
}

/// How many tasks of a service run on each of these nodes.
fn spread(world: &World, id: ServiceId, nodes: &[NodeId]) -> Vec<usize> {
    let wanted = world.wanted(id);
    let on = |node: &NodeId| wanted.iter().filter(|(_, t)| t.node_id == Some(*node)).count();
    nodes.iter().map(on).collect()
}

/// What the pending tasks of a service say.
fn says(world: &World, id: ServiceId) -> Vec<String> {
    let wanted = world.wanted(id).into_iter();
    let pending = wanted.filter(|(_, task)| task.status.state == TaskState::Pending);
    pending.map(|(_, task)| task.status.message).collect()
}

#[test]
fn reservations_fill_a_node_to_the_brim_and_not_over_it() {
    let mut world = World::founded();
    let node = world.add_node(1, &[]);
    let cpus = service(&mut world, 1, 3, |spec| {
        spec.task.resources.reserved_nano_cpus = 2_000_000_000;
    });
    assert_eq!(spread(&world, cpus, &[node]), [2], "twice two of four");
    let only = "no suitable node (1 node not available for new tasks: without an agent; \
                insufficient resources on 1 node)";
    assert_eq!(says(&world, cpus), [only]);
    let memory = service(&mut world, 2, 2, |spec| {
        spec.task.resources.reserved_memory_bytes = (1 << 29) + 1;
    });
    assert_eq!(spread(&world, memory, &[node]), [1], "twice that is two bytes too many");
    let nothing = service(&mut world, 3, 5, |_| ());
    assert_eq!(spread(&world, nothing, &[node]), [5], "what reserves nothing always fits");
    // What a task reserves is its own until it is over.
    world.update_service(cpus, |spec| spec.mode = Mode::Replicated(0));
    world.settle();
    let one = service_of_all(&mut world);
    assert_eq!(spread(&world, one, &[node]), [0]);
    world.go_on();
    assert_eq!(spread(&world, one, &[node]), [1]);
}

/// One that needs all four processors, planned for but with no agent that acts.
fn service_of_all(world: &mut World) -> ServiceId {
    let mut spec = World::spec("all", 1, &[]);
    spec.task.resources.reserved_nano_cpus = 4_000_000_000;
    let id = world.create_service(9, spec);
    world.settle();
    id
}

#[test]
fn a_machine_that_nobody_knows_takes_what_reserves_nothing() {
    let mut world = World::founded();
    let node = world.add_node(100, &[]);
    let some = service(&mut world, 1, 1, |spec| spec.task.resources.reserved_memory_bytes = 1);
    let none = service(&mut world, 2, 1, |_| ());
    assert_eq!((spread(&world, some, &[node]), spread(&world, none, &[node])), (vec![0], vec![1]));
}

#[test]
fn a_preference_spreads_over_values_first() {
    let mut world = World::founded();
    // Three nodes in one zone, one in another, one in none.
    let labels: [&[(&str, &str)]; 5] =
        [&[("zone", "a")], &[("zone", "a")], &[("zone", "a")], &[("zone", "b")], &[]];
    let nodes: Vec<_> = (1..).zip(labels).map(|(n, labels)| world.add_node(n, labels)).collect();
    let plain = service(&mut world, 1, 5, |_| ());
    assert_eq!(spread(&world, plain, &nodes), [1; 5]);
    let zones = service(&mut world, 2, 6, |spec| {
        spec.task.placement.spread_over = vec!["node.labels.zone".into()];
    });
    let on = spread(&world, zones, &nodes);
    assert_eq!((on[..3].iter().sum::<usize>(), on[3], on[4]), (2, 2, 2));
    // What nobody labels makes no difference.
    let unknown = service(&mut world, 3, 5, |spec| {
        spec.task.placement.spread_over = vec!["node.labels.rack".into(), "engine.x".into()];
    });
    assert_eq!(spread(&world, unknown, &nodes), [1; 5]);
}

#[test]
fn a_second_preference_spreads_within_the_first() {
    let mut world = World::founded();
    let labels = [("a", "1"), ("a", "1"), ("a", "2"), ("b", "1")];
    let nodes: Vec<_> = (1..)
        .zip(labels)
        .map(|(n, (zone, rack))| world.add_node(n, &[("zone", zone), ("rack", rack)]))
        .collect();
    let id = service(&mut world, 1, 8, |spec| {
        let over = ["node.labels.zone", "node.labels.rack"];
        spec.task.placement.spread_over = over.map(Into::into).to_vec();
    });
    assert_eq!(spread(&world, id, &nodes), [1, 1, 2, 4]);
}

#[test]
fn so_many_on_a_node_and_no_more() {
    let mut world = World::founded();
    let nodes = [world.add_node(1, &[]), world.add_node(2, &[])];
    let id = service(&mut world, 1, 5, |spec| spec.task.placement.replicas_per_node_max = 2);
    assert_eq!(spread(&world, id, &nodes), [2, 2]);
    let only = "no suitable node (1 node not available for new tasks: without an agent; \
                max replicas per node limit exceed on 2 nodes)";
    assert_eq!(says(&world, id), [only]);
}

#[test]
fn a_platform_is_that_of_the_admission() {
    let mut world = World::founded();
    let (intel, arm) = (world.add_node(1, &[]), world.add_node(50, &[]));
    let id = service(&mut world, 1, 2, |spec| {
        spec.task.placement.constraints = vec![
            "node.platform.os==linux".parse().unwrap(),
            "node.platform.arch==aarch64".parse().unwrap(),
        ];
    });
    assert_eq!(spread(&world, id, &[intel, arm]), [0, 2]);
}

#[test]
fn why_a_task_is_pending_is_looked_up_again_once_another_is_placed() {
    let mut world = World::founded();
    let id = service(&mut world, 1, 2, |spec| {
        spec.task.resources.reserved_nano_cpus = 2_000_000_000;
    });
    // The first replica is of what is declared now, the second waits for its turn, the third is new.
    world.update_service(id, |spec| {
        spec.task.resources.reserved_nano_cpus = 3_000_000_000;
        spec.task.placement.constraints = vec!["node.labels.zone==moon".parse().unwrap()];
    });
    world.go_on();
    world.update_service(id, |spec| spec.mode = Mode::Replicated(3));
    world.go_on();
    world.add_node(1, &[]);
    let messages = world.plan().steps.into_iter().filter_map(|step| match step {
        Step::ExplainPending { message, .. } => Some(message),
        _ => None,
    });
    let [first, third] = messages.collect::<Vec<_>>().try_into().unwrap();
    assert!(first.contains("scheduling constraints not satisfied on 1 node"), "{first}");
    assert!(third.contains("insufficient resources on 1 node"), "{third}");
}

#[test]
fn a_pending_task_of_a_global_service_speaks_of_its_own_node() {
    let mut world = World::founded();
    world.add_node(1, &[]);
    world.add_node(2, &[]);
    let id = service(&mut world, 1, 1, |spec| {
        spec.mode = Mode::Global;
        spec.task.resources.reserved_nano_cpus = 5_000_000_000;
    });
    assert_eq!(says(&world, id), ["no suitable node (insufficient resources on 1 node)"; 2]);
    world.node_is(node_id(2), NodeState::Unknown);
    world.settle();
    let waits = "no suitable node (1 node not available for new tasks: not seen yet)";
    assert!(says(&world, id).contains(&waits.to_owned()), "{:?}", says(&world, id));
    world.did(Command::RemoveService { id });
    world.settle();
    assert!(world.state.tasks().is_empty());
}

#[test]
fn what_an_agent_calls_its_platform_is_bounded() {
    let length_of = |length: usize| {
        let mut world = World::founded();
        let node = world.add_node_with(1, &[], |machine| machine.os = "x".repeat(length));
        world.state.node(node).unwrap().machine.as_ref().unwrap().os.len()
    };
    assert_eq!(length_of(PLATFORM_BYTES_MAX), PLATFORM_BYTES_MAX);
    assert_eq!(length_of(PLATFORM_BYTES_MAX + 1), PLATFORM_BYTES_MAX);
}

fn says_of_engine(world: &mut World, node: NodeId, has_engine: Option<bool>) {
    let report = NodeReport { has_engine, ..NodeReport::default() };
    let news = NodeNews { node_id: node, state: None, report: Some(report) };
    world.did(Command::ReportNodes(vec![news]));
    world.go_on();
}

/// What an agent says of its engine keeps images away from nodes that have none, and moves nothing.
#[test]
fn an_image_goes_where_an_engine_is_and_stays() {
    let mut world = World::founded();
    let [one, other] = [1, 2].map(|n| world.add_node(n, &[]));
    says_of_engine(&mut world, other, Some(false));
    let id = service(&mut world, 1, 2, |spec| {
        spec.task.runtime = RuntimeKind::Docker;
        spec.task.image = "bb:1".into();
    });
    let why = "no suitable node (1 node not available for new tasks: without an agent; \
               no docker runtime on 2 nodes)";
    assert_eq!(says(&world, id), [why, why]);
    says_of_engine(&mut world, one, Some(true));
    assert_eq!(spread(&world, id, &[one, other]), [2, 0]);
    let tasks = world.wanted(id);
    says_of_engine(&mut world, one, Some(false));
    says_of_engine(&mut world, other, Some(true));
    let ids = |tasks: Vec<(_, _)>| tasks.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    assert_eq!(ids(world.wanted(id)), ids(tasks), "they run, whether it answers or not");
    says_of_engine(&mut world, other, None);
    world.update_service(id, |spec| spec.mode = Mode::Replicated(3));
    world.go_on();
    assert_eq!(says(&world, id), [why], "nobody says that there is one any more");
}

/// A node without an engine is no place of a global service with an image: an update would wait for it.
#[test]
fn a_global_image_is_where_engines_are() {
    let mut world = World::founded();
    let [without, one, other] = [1, 2, 3].map(|n| world.add_node(n, &[]));
    for node in [one, other] {
        says_of_engine(&mut world, node, Some(true));
    }
    let id = service(&mut world, 1, 1, |spec| {
        spec.mode = Mode::Global;
        spec.task.runtime = RuntimeKind::Docker;
        spec.task.image = "bb:1".into();
    });
    let nodes = [without, one, other];
    assert_eq!(spread(&world, id, &nodes), [0, 1, 1]);
    world.update_service(id, |spec| spec.task.image = "bb:2".into());
    world.go_on();
    while world.wake() {
        world.go_on();
    }
    let images: Vec<_> = world.wanted(id).into_iter().map(|(_, task)| task.spec.image).collect();
    assert_eq!(images, ["bb:2", "bb:2"]);
    says_of_engine(&mut world, without, Some(true));
    assert_eq!(spread(&world, id, &nodes), [1, 1, 1]);
    says_of_engine(&mut world, one, Some(false));
    assert_eq!(spread(&world, id, &nodes), [1, 1, 1], "what runs is kept");
}
