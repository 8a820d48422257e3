//! Bounds of what goes into the state, and into one log entry: what is written must be read back.

use std::collections::{BTreeMap, BTreeSet};

use proto::id::{NodeId, Revision, Serial, ServiceId, TaskId, Timestamp, TokenId, Version};
use proto::identity::{Role, Subject};
use proto::limits::{
    AGENT_VERSION_BYTES_MAX, COMMAND_BYTES_MAX, MOUNTED_MAX, NETWORKS_MAX, NODE_NEWS_MAX,
    PREFERENCES_MAX, REFERENCES_MAX, RESTARTS_IN_WINDOW_MAX, STATUS_MESSAGE_BYTES_MAX,
    STATUSES_MAX, STEPS_MAX,
};
use proto::spec::{Constraint, Mode, ServiceSpec};
use proto::task::{DesiredState, Mounted, TaskState, TaskStatus};
use state::command::{AdmitAgent, Command, CreateToken, Envelope, NodeNews, NodeStatuses, Step};
use state::object::{Digest, NodeReport, NodeState};
use state::{MadeBy, Observed, liveness};

use crate::world::*;

fn encoded(body: Command) -> usize {
    let at = Timestamp(u64::MAX);
    minicbor::to_vec(Envelope { format: 1, request: None, caller: ADMIN, at, body }).unwrap().len()
}

/// So many tasks that no node takes, of a service of their own.
fn unplaceable(replicas: usize) -> (World, ServiceId) {
    let mut world = World::founded();
    let id = world.create_service(1, World::spec("web", replicas as u64, &[]));
    world.settle();
    assert_eq!(world.state.tasks().len(), replicas);
    (world, id)
}

/// How many steps the next plans have, until one has none.
fn plans(world: &mut World) -> Vec<(usize, bool)> {
    let mut plans = Vec::new();
    loop {
        let plan = world.plan();
        plans.push((plan.steps.len(), plan.more));
        if plan.steps.is_empty() {
            return plans;
        }
        world.did(Command::Plan(plan.steps));
    }
}

#[test]
fn tasks_of_a_removed_service_go_in_plans_that_fit_an_entry() {
    let (mut world, id) = unplaceable(STEPS_MAX);
    world.did(Command::RemoveService { id });
    assert_eq!(plans(&mut world), [(STEPS_MAX, false), (0, false)]);
    let (mut world, id) = unplaceable(STEPS_MAX + 1);
    world.did(Command::RemoveService { id });
    assert_eq!(plans(&mut world), [(STEPS_MAX, true), (1, false), (0, false)]);
}

#[test]
fn tasks_that_are_too_many_go_in_plans_that_fit_an_entry() {
    let (mut world, id) = unplaceable(STEPS_MAX + 1);
    world.update_service(id, |spec| spec.mode = Mode::Replicated(0));
    assert_eq!(plans(&mut world), [(STEPS_MAX, true), (1, false), (0, false)]);
}

#[test]
fn the_last_place_of_a_plan_gets_no_more_steps_than_there_is_room_for() {
    let mut world = World::founded();
    let node = world.add_node(1, &[]);
    // Each that failed gets a successor and is stopped: two steps a place.
    let places = STEPS_MAX / 2;
    world.create_service(2, World::spec("fails", places as u64, &[]));
    world.settle();
    let status = |task_id| TaskStatus {
        task_id,
        state: TaskState::Failed,
        at: Timestamp(0),
        message: String::new(),
        exit_code: None,
        mounted: vec![],
    };
    let statuses: Vec<_> = world.state.tasks().keys().copied().map(status).collect();
    world.did(Command::ReportTasks(vec![NodeStatuses { node_id: node, statuses }]));
    assert_eq!(world.plan().steps.len(), STEPS_MAX);
    // One step before them, and the last place has room for half of what it needs.
    let first = world.create_service(1, World::spec("first", 1, &[]));
    assert!(first < service_id(2));
    let plan = world.plan();
    assert_eq!((plan.steps.len(), plan.more), (STEPS_MAX, true));
    world.settle();
    assert_eq!(world.wanted(service_id(2)).len(), places);
}

#[test]
fn the_largest_plan_fits_an_entry() {
    let (revision, at) = (Revision(u64::MAX), Timestamp(u64::MAX));
    let id = TaskId::from_entropy([9; 17]);
    let message = "x".repeat(STATUS_MESSAGE_BYTES_MAX);
    let steps = [
        Step::CreateTask {
            id,
            service_id: service_id(1),
            spec_revision: revision,
            slot: u64::MAX,
            not_before: at,
            attempts: u64::MAX,
            window_start: at,
            for_node: Some(node_id(1)),
            made_by: Some(MadeBy { began: revision, counts: true }),
            restarts: Some(vec![at; usize::try_from(RESTARTS_IN_WINDOW_MAX).unwrap()]),
        },
        Step::ExplainPending { id, revision, message },
        Step::AssignTask { id, revision, node_id: node_id(1), node_revision: revision },
        Step::SetDesired { id, revision, desired: DesiredState::Remove },
    ];
    for step in steps {
        let length = encoded(Command::Plan(vec![step.clone(); STEPS_MAX]));
        assert!(length <= COMMAND_BYTES_MAX, "{length} bytes of {step:?}");
    }
}

#[test]
fn what_a_pending_task_says_is_cut_and_said_once() {
    let mut world = World::founded();
    let nodes: Vec<_> = (1..=30).map(|n| world.add_node(n, &[])).collect();
    let mut spec = World::spec("web", 1, &[]);
    let not = |id: &NodeId| format!("node.id!={id}").parse::<Constraint>().unwrap();
    spec.task.placement.constraints = nodes.iter().map(not).collect();
    let id = world.create_service(1, spec);
    // It comes to rest: what was told is compared with what would be.
    world.settle();
    let message = &world.wanted(id)[0].1.status.message;
    assert!(message.starts_with("no suitable node (1 node not available for new tasks"));
    assert_eq!(message.len(), STATUS_MESSAGE_BYTES_MAX);
}

#[test]
fn preferences_and_networks_are_so_many_and_none_is_empty() {
    type List = fn(&mut ServiceSpec) -> &mut Vec<String>;
    let preferences: List = |spec| &mut spec.task.placement.spread_over;
    let networks: List = |spec| &mut spec.task.networks;
    let preferences = (preferences, PREFERENCES_MAX, "preference");
    for (list, most, what) in [preferences, (networks, NETWORKS_MAX, "network")] {
        let mut world = World::founded();
        let mut declare = |texts: Vec<String>| {
            let mut spec = World::spec("web", 1, &[]);
            *list(&mut spec) = texts;
            let create = Command::CreateService { id: service_id(1), spec: Box::new(spec) };
            world.run(create).outcome.map_err(|refusal| refusal.to_string())
        };
        let too_many = declare(vec!["x".into(); most + 1]).unwrap_err();
        assert_eq!(too_many, format!("the number of {what}s is over its limit of {most}"));
        let empty = declare(vec!["x".into(), String::new()]).unwrap_err();
        assert_eq!(empty, format!("invalid {what}: it is empty"));
        assert!(declare(vec!["x".into(); most]).is_ok());
    }
}

fn status(mounted: usize, message: usize) -> TaskStatus {
    let at = Timestamp(u64::MAX);
    let value = Mounted { secret_id: secret_id(1), version: Version(u64::MAX), since: at };
    TaskStatus {
        task_id: TaskId::from_entropy([9; 17]),
        state: TaskState::Running,
        at,
        message: "x".repeat(message),
        exit_code: Some(i32::MIN),
        mounted: vec![value; mounted],
    }
}

/// What the commands are about: statuses and mounted values in each.
fn sizes(said: Vec<NodeStatuses>) -> Vec<(usize, usize)> {
    let size = |command: Command| {
        assert!(encoded(command.clone()) <= COMMAND_BYTES_MAX);
        let Command::ReportTasks(reports) = command else { panic!("{command:?}") };
        let statuses = reports.into_iter().flat_map(|report| report.statuses);
        statuses
            .fold((0, 0), |(count, mounted), status| (count + 1, mounted + status.mounted.len()))
    };
    Command::report_tasks(said).into_iter().map(size).collect()
}

#[test]
fn statuses_are_cut_and_go_in_commands_that_fit_an_entry() {
    let of = |n: u8, statuses| NodeStatuses { node_id: node_id(n), statuses };
    assert_eq!(sizes(vec![]), []);
    assert_eq!(sizes(vec![of(1, vec![])]), []);
    let short = |count| vec![status(0, STATUS_MESSAGE_BYTES_MAX + 1); count];
    assert_eq!(sizes(vec![of(1, short(STATUSES_MAX))]), [(STATUSES_MAX, 0)]);
    let two = vec![of(1, short(STATUSES_MAX)), of(2, short(1))];
    assert_eq!(sizes(two), [(STATUSES_MAX, 0), (1, 0)]);
    // No task has more values than references: what a liar adds is not kept.
    assert_eq!(sizes(vec![of(1, vec![status(MOUNTED_MAX * 2, 1 << 20)])]), [(1, REFERENCES_MAX)]);
    let full = MOUNTED_MAX / 100;
    let full = |more| vec![of(1, vec![status(100, 1 << 10); full + more])];
    assert_eq!(sizes(full(0)), [(200, MOUNTED_MAX)]);
    assert_eq!(sizes(full(1)), [(200, MOUNTED_MAX), (1, 100)]);
}

#[test]
fn the_largest_commands_of_statuses_and_of_nodes_fit_an_entry() {
    let each = MOUNTED_MAX / STATUSES_MAX;
    let statuses = vec![status(each, STATUS_MESSAGE_BYTES_MAX); STATUSES_MAX];
    // A node of its own each: nothing is shared.
    let said = statuses.into_iter();
    let said = said.map(|status| NodeStatuses { node_id: node_id(1), statuses: vec![status] });
    let length = encoded(Command::ReportTasks(said.collect()));
    assert!(length <= COMMAND_BYTES_MAX, "{length} bytes");
    let news = NodeNews {
        node_id: node_id(1),
        state: Some(NodeState::Down),
        report: Some(NodeReport {
            message: "x".repeat(STATUS_MESSAGE_BYTES_MAX),
            agent_version: "x".repeat(AGENT_VERSION_BYTES_MAX),
            has_engine: Some(true),
        }),
    };
    let length = encoded(Command::ReportNodes(vec![news; NODE_NEWS_MAX]));
    assert!(length <= COMMAND_BYTES_MAX, "{length} bytes");
}

/// So many agents are admitted; the world's log does not have it.
fn admitted(world: &mut World, count: usize) -> BTreeSet<NodeId> {
    let mut run = |body| {
        let envelope = world.envelope(body);
        let index = world.state.index() + 1;
        state::apply(&mut world.state, index, envelope).unwrap().outcome.unwrap();
    };
    let hash = Digest([1; 32]);
    let mut ids = BTreeSet::new();
    for number in 0..count as u64 {
        let mut entropy = [0; 17];
        entropy[9..].copy_from_slice(&number.to_be_bytes());
        let token_id = TokenId::from_entropy(entropy);
        let node_id = NodeId::from_entropy(entropy);
        let (role, expires_at) = (Role::Agent, Timestamp(u64::MAX));
        run(Command::CreateToken(CreateToken { id: token_id, role, hash, expires_at, uses: 1 }));
        run(Command::AdmitAgent(AdmitAgent {
            token_id,
            hash,
            node_id,
            same_node: false,
            hostname: format!("host-{number}").parse().unwrap(),
            serial: Serial::from_bytes(entropy[1..].try_into().unwrap()),
            certificate: certificate(Subject::Agent(node_id)),
            machine: None,
        }));
        ids.insert(node_id);
    }
    ids
}

#[test]
fn news_of_many_nodes_go_in_commands_that_fit_an_entry() {
    for (nodes, then) in [(NODE_NEWS_MAX, 0), (NODE_NEWS_MAX + 1, 1)] {
        let mut world = World::founded();
        let in_touch = admitted(&mut world, nodes);
        let observed = Observed { in_touch, ..Observed::default() };
        let (news, _) = liveness(&world.state, &observed, Timestamp(world.now));
        assert_eq!(news.len(), NODE_NEWS_MAX);
        world.did(Command::ReportNodes(news));
        let (news, _) = liveness(&world.state, &observed, Timestamp(world.now));
        assert_eq!(news.len(), then);
    }
}

#[test]
fn what_an_agent_says_of_its_node_is_cut_and_told_once() {
    let mut world = World::founded();
    let node = world.add_node(1, &[]);
    let said = NodeReport {
        message: "x".repeat(1 << 20),
        agent_version: "y".repeat(1 << 20),
        has_engine: None,
    };
    let reports = BTreeMap::from([(node, said)]);
    let observed = Observed { in_touch: [node].into(), reports, ..Observed::default() };
    let (news, _) = liveness(&world.state, &observed, Timestamp(world.now));
    let length = encoded(Command::ReportNodes(news.clone()));
    assert!(length < 2 * STATUS_MESSAGE_BYTES_MAX, "{length} bytes");
    world.did(Command::ReportNodes(news));
    let (news, _) = liveness(&world.state, &observed, Timestamp(world.now));
    assert_eq!(news, [], "it is known");
}
