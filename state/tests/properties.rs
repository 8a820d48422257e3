//! Properties over random logs: determinism, totality, least privilege, planning at rest.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proto::id::{MemberId, RequestKey, Revision, Timestamp, Version};
use proto::identity::{Caller, Principal, Subject};
use proto::limits::{RECIPIENTS_MAX, SLOT_PARAMETERS_BYTES_MAX};
use proto::name::Labels;
use proto::spec::{ConfigReference, FailureAction, Mode};
use proto::task::{DesiredState, TaskState, TaskStatus};
use state::command::{
    Command, CreateConfig, CreateSecret, Envelope, NodeNews, NodeStatuses, RotateSecret, UpdateNode,
};
use state::object::{
    Availability, Blob, Digest, Node, NodeReport, NodeState, Place, RequestMark, Service,
    SlotRecipient,
};
use state::{Scope, SnapshotReader, State, apply, assignments, entitled, entitled_to_config, plan};

use crate::world::*;

/// What a random log is made of; numbers pick from small pools, so that things collide.
#[derive(Debug, Clone)]
enum Act {
    CreateSecret { n: u8, name: u8, size: u16, request: Option<u8> },
    RotateSecret { n: u8, stale: bool },
    RemoveSecret { n: u8, forget: bool },
    CreateConfig { n: u8 },
    RemoveConfig { n: u8, forget: bool },
    CreateService { n: u8, replicas: u8, secrets: Vec<u8>, zone: Option<u8>, global: bool },
    UpdateService { n: u8, replicas: u8, secrets: Vec<u8>, stale: bool },
    RollBack { n: u8, stale: bool },
    RemoveService { n: u8 },
    AddNode { n: u8, zone: u8 },
    NodeIs { n: u8, state: u8 },
    Availability { n: u8, to: u8 },
    RemoveNode { n: u8, force: bool },
    Report { n: u8, pick: u8, state: u8 },
    NodeSays { n: u8, text: String },
    Recipients { count: u8, size: u16, stale: bool },
    Sealed { generation: u8 },
    Plan,
    Wait(u16),
}

fn act() -> impl Strategy<Value = Act> {
    let secrets = || prop::collection::vec(0_u8..6, 0..3);
    prop_oneof![
        3 => (0_u8..6, 0_u8..6, 0_u16..4000, prop::option::of(0_u8..4))
            .prop_map(|(n, name, size, request)| Act::CreateSecret { n, name, size, request }),
        2 => (0_u8..6, prop::bool::weighted(0.1))
            .prop_map(|(n, stale)| Act::RotateSecret { n, stale }),
        1 => (0_u8..6, any::<bool>()).prop_map(|(n, forget)| Act::RemoveSecret { n, forget }),
        3 => (0_u8..6).prop_map(|n| Act::CreateConfig { n }),
        1 => (0_u8..6, any::<bool>()).prop_map(|(n, forget)| Act::RemoveConfig { n, forget }),
        3 => (0_u8..4, 0_u8..5, secrets(), prop::option::of(0_u8..3), prop::bool::weighted(0.3))
            .prop_map(|(n, replicas, secrets, zone, global)|
                Act::CreateService { n, replicas, secrets, zone, global }),
        2 => (0_u8..4, 0_u8..5, secrets(), prop::bool::weighted(0.2))
            .prop_map(|(n, replicas, secrets, stale)|
                Act::UpdateService { n, replicas, secrets, stale }),
        1 => (0_u8..4, prop::bool::weighted(0.2))
            .prop_map(|(n, stale)| Act::RollBack { n, stale }),
        1 => (0_u8..4).prop_map(|n| Act::RemoveService { n }),
        2 => (0_u8..4, 0_u8..3).prop_map(|(n, zone)| Act::AddNode { n, zone }),
        2 => (0_u8..4, 0_u8..3).prop_map(|(n, state)| Act::NodeIs { n, state }),
        1 => (0_u8..4, 0_u8..3).prop_map(|(n, to)| Act::Availability { n, to }),
        1 => (0_u8..4, any::<bool>()).prop_map(|(n, force)| Act::RemoveNode { n, force }),
        6 => (0_u8..4, any::<u8>(), 0_u8..13)
            .prop_map(|(n, pick, state)| Act::Report { n, pick, state }),
        1 => (0_u8..4, ".{0,8}").prop_map(|(n, text)| Act::NodeSays { n, text }),
        1 => (0_u8..20, 0_u16..1200, prop::bool::weighted(0.3))
            .prop_map(|(count, size, stale)| Act::Recipients { count, size, stale }),
        1 => (0_u8..9).prop_map(|generation| Act::Sealed { generation }),
        5 => Just(Act::Plan),
        1 => (0_u16..500).prop_map(Act::Wait),
    ]
}

fn references(secrets: &[u8]) -> Vec<(u8, String)> {
    let distinct: BTreeSet<_> = secrets.iter().copied().collect();
    distinct.into_iter().map(|n| (n, format!("s{n}"))).collect()
}

/// Those of the same numbers, as far as there are some.
fn configs_of(state: &State, secrets: &[u8]) -> Vec<ConfigReference> {
    let distinct: BTreeSet<_> = secrets.iter().copied().collect();
    let there = distinct.into_iter().filter(|n| state.config(config_id(*n)).is_some());
    there.map(|n| config_reference(n, &format!("c{n}"))).collect()
}

fn spec_of(n: u8, replicas: u8, secrets: &[u8]) -> proto::spec::ServiceSpec {
    let references = references(secrets);
    let borrowed: Vec<_> = references.iter().map(|(n, name)| (*n, name.as_str())).collect();
    let mut spec = World::spec(&format!("service-{n}"), replicas.into(), &borrowed);
    let actions = [FailureAction::Pause, FailureAction::Continue, FailureAction::Rollback];
    for config in [&mut spec.update, &mut spec.rollback] {
        config.failure_action = actions[usize::from(n) % 3];
        config.parallelism = u64::from(n) % 3;
        config.delay_ms = u64::from(n) * 20;
        config.monitor_ms = 40;
    }
    spec.task.resources.reserved_nano_cpus = u64::from(n) * 700_000_000;
    spec
}

/// Turns an act into a command; none if it is not one, or is done here.
#[expect(clippy::too_many_lines, reason = "one arm for each act")]
fn command(world: &mut World, act: &Act) -> Option<Command> {
    Some(match act {
        Act::CreateSecret { n, name, size, .. } => Command::CreateSecret(CreateSecret {
            id: secret_id(*n),
            name: format!("s{name}").parse().unwrap(),
            labels: Labels::default(),
            usable_by: vec![],
            payload: payload(world.now.to_le_bytes()[0], ROOT, (*size).into()),
            transit_key_id: TRANSIT,
        }),
        Act::RotateSecret { n, stale } => {
            let id = secret_id(*n);
            let current = world.state.secret(id).map_or(0, |secret| secret.current.0);
            Command::RotateSecret(RotateSecret {
                id,
                version: Version(current + 1 + u64::from(*stale)),
                payload: payload(world.now.to_le_bytes()[0], ROOT, 64),
                transit_key_id: TRANSIT,
            })
        }
        Act::RemoveSecret { n, forget } => {
            Command::RemoveSecret { id: secret_id(*n), forget_previous: *forget, shred: None }
        }
        Act::CreateConfig { n } => Command::CreateConfig(CreateConfig {
            id: config_id(*n),
            name: format!("c{n}").parse().unwrap(),
            labels: Labels::default(),
            data: Blob(vec![*n; 3].into()),
        }),
        Act::RemoveConfig { n, forget } => {
            Command::RemoveConfig { id: config_id(*n), forget_previous: *forget }
        }
        Act::CreateService { n, replicas, secrets, zone, global } => {
            let mut spec = spec_of(*n, *replicas, secrets);
            spec.task.configs = configs_of(&world.state, secrets);
            if *global {
                spec.mode = Mode::Global;
            }
            if let Some(zone) = zone {
                spec.task.placement.constraints =
                    vec![format!("node.labels.zone==z{zone}").parse().unwrap()];
            }
            Command::CreateService { id: service_id(*n), spec: Box::new(spec) }
        }
        Act::UpdateService { n, replicas, secrets, stale } => {
            let id = service_id(*n);
            let revision = world.state.service(id).map_or(Revision(0), |s| s.revision);
            let revision = if *stale { Revision(revision.0 + 1) } else { revision };
            let mut spec = spec_of(*n, *replicas, secrets);
            spec.task.configs = configs_of(&world.state, secrets);
            if let Some(service) = world.state.service(id) {
                spec.task.placement = service.spec.task.placement.clone();
                if service.spec.mode == Mode::Global {
                    spec.mode = Mode::Global;
                }
            }
            Command::UpdateService { id, revision, spec: Box::new(spec) }
        }
        Act::RollBack { n, stale } => {
            let id = service_id(*n);
            let revision = world.state.service(id).map_or(Revision(0), |s| s.revision);
            Command::RollBackService { id, revision: Revision(revision.0 + u64::from(*stale)) }
        }
        Act::RemoveService { n } => Command::RemoveService { id: service_id(*n) },
        Act::AddNode { n, zone } => {
            if world.state.node(node_id(*n)).is_none() {
                world.add_node(*n, &[("zone", &format!("z{zone}"))]);
            }
            return None;
        }
        Act::NodeIs { n, state } => Command::ReportNodes(vec![NodeNews {
            node_id: node_id(*n),
            state: Some([NodeState::Unknown, NodeState::Ready, NodeState::Down][*state as usize]),
            report: None,
        }]),
        Act::Availability { n, to } => Command::UpdateNode(UpdateNode {
            id: node_id(*n),
            revision: None,
            label_add: BTreeMap::default(),
            label_rm: vec![],
            availability: Some(
                [Availability::Active, Availability::Pause, Availability::Drain][*to as usize],
            ),
        }),
        Act::RemoveNode { n, force } => Command::RemoveNode { id: node_id(*n), force: *force },
        Act::Report { n, pick, state } => {
            // Any task at all: an agent may claim what it likes.
            let count = world.state.tasks().len();
            let task = world.state.tasks().keys().nth(*pick as usize % count.max(1)).copied()?;
            let status = TaskStatus {
                task_id: task,
                state: TaskState::ALL[*state as usize],
                at: Timestamp(u64::from(*pick)),
                message: "said".into(),
                exit_code: Some(3),
                mounted: vec![proto::task::Mounted {
                    secret_id: secret_id(*pick % 6),
                    version: Version(1),
                    since: Timestamp(1),
                }],
            };
            Command::ReportTasks(vec![NodeStatuses {
                node_id: node_id(*n),
                statuses: vec![status],
            }])
        }
        Act::NodeSays { n, text } => Command::ReportNodes(vec![NodeNews {
            node_id: node_id(*n),
            state: None,
            report: Some(NodeReport {
                message: text.clone(),
                agent_version: text.clone(),
                // No task of these worlds has an image.
                has_engine: Some(true),
            }),
        }]),
        Act::Recipients { count, size, stale } => {
            let generation = world.state.cluster().unwrap().recipients_generation;
            let slot = |n: u8| SlotRecipient {
                kind: "unlock-key".into(),
                member: None,
                public_key: Blob(vec![n; 34].into()),
                parameters: Blob(vec![n; usize::from(*size)].into()),
            };
            Command::SetRecipients {
                generation: generation + u64::from(*stale),
                recipients: (0..*count).map(slot).collect(),
            }
        }
        Act::Sealed { generation } => Command::AcknowledgeKeys {
            member: MemberId(1),
            root: ROOT,
            key_file_generation: (*generation).into(),
            level_max: state::command::LEVEL,
        },
        Act::Plan => {
            world.settle();
            return None;
        }
        Act::Wait(ms) => {
            world.now += u64::from(*ms);
            return None;
        }
    })
}

/// Runs the acts, calling `after` with the state before and after each.
fn run(acts: &[Act], mut after: impl FnMut(&Act, &State, &World, bool)) -> World {
    let mut world = World::founded();
    for act in acts {
        let before = world.state.clone();
        let refused = match command(&mut world, act) {
            None => false,
            Some(command) => {
                let mut envelope = world.envelope(command);
                if let Act::CreateSecret { n, request: Some(request), .. } = act {
                    envelope.request = Some(RequestMark {
                        principal: Principal::Local { uid: 0 },
                        key: RequestKey::from_bytes([*request; 16]),
                        digest: Digest([*n; 32]),
                    });
                }
                world.apply(envelope).outcome.is_err()
            }
        };
        after(act, &before, &world, refused);
    }
    world
}

fn replay(log: &[(u64, Envelope)], mut state: State) -> State {
    for (index, envelope) in log {
        if *index > state.index() {
            apply(&mut state, *index, envelope.clone()).unwrap();
        }
    }
    state
}

/// Whatever records say, a node may have exactly what a live, wanted task on it refers to.
fn least_privilege(state: &State) {
    for node in state.nodes().keys() {
        let assigned = assignments(state, *node);
        for (secret, version) in &assigned.secrets {
            let needed = state.tasks().values().any(|task| {
                task.node_id == Some(*node)
                    && task.is_live()
                    && task.desired <= DesiredState::Running
                    && task.spec.secrets.iter().any(|r| r.secret_id == *secret)
            });
            assert!(needed, "{node} is assigned {secret} version {version} for nothing");
        }
        for config in &assigned.configs {
            let needed = state.tasks_of_node(*node).any(|(id, task)| {
                task.spec.configs.iter().any(|r| r.config_id == *config)
                    && entitled_to_config(state, *node, id, *config).is_some()
            });
            assert!(needed, "{node} is assigned {config} for nothing");
        }
        for (task_id, task) in state.tasks() {
            for config in state.configs().keys() {
                let may = entitled_to_config(state, *node, *task_id, *config).is_some();
                let needs = task.node_id == Some(*node)
                    && task.is_live()
                    && task.desired <= DesiredState::Running
                    && task.spec.configs.iter().any(|r| r.config_id == *config);
                assert_eq!(may, needs, "{node} and {config} for {task_id}");
                assert!(!may || assigned.configs.contains(config));
            }
            let versions = state
                .secrets()
                .iter()
                .flat_map(|(id, secret)| secret.versions.keys().map(move |version| (id, *version)));
            for (secret, version) in versions {
                let may = entitled(state, *node, *task_id, *secret, version).is_some();
                let needs = task.node_id == Some(*node)
                    && task.is_live()
                    && task.desired <= DesiredState::Running
                    && task.spec.secrets.iter().any(|r| r.secret_id == *secret);
                assert!(!may || needs, "{node} may have {secret} for {task_id}");
                assert!(!may || assigned.secrets.contains(&(*secret, version)));
            }
        }
    }
}

/// What a task was made for is there for as long as it lives and its secret does.
fn versions_are_there(state: &State) {
    for (id, task) in state.tasks().iter().filter(|(_, task)| task.is_live()) {
        for reference in &task.secrets {
            let Some(secret) = state.secret(reference.secret_id) else { continue };
            let there = secret.versions.contains_key(&reference.version);
            assert!(there, "task {id} lost version {} of {}", reference.version, secret.name);
        }
    }
}

/// By what was admitted and what operators declared, the node fits the task.
fn placed_as_declared(state: &State) {
    for (id, node) in state.nodes() {
        let on_node = state.tasks_of_node(*id).filter(|(_, task)| task.is_live());
        let reserved: u64 = on_node.map(|(_, task)| task.spec.resources.reserved_nano_cpus).sum();
        let has = node.machine.as_ref().map_or(0, |machine| machine.nano_cpus);
        assert!(reserved <= has, "{reserved} of {has} on {id}");
    }
    for task in state.tasks().values().filter(|t| t.is_live()) {
        let Some(node) = task.node_id.and_then(|id| state.node(id)) else { continue };
        for constraint in &task.spec.placement.constraints {
            let label = constraint.key().strip_prefix("node.labels.").unwrap();
            assert!(constraint.accepts(node.labels.value(label)), "{constraint}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_same_log_gives_the_same_state_and_snapshot_bytes(
        acts in prop::collection::vec(act(), 1..60),
        cut in any::<prop::sample::Index>(),
    ) {
        let world = run(&acts, |_, _, _, _| ());
        let log = &world.log;
        let again = replay(log, State::new());
        prop_assert_eq!(bytes_of(&again), bytes_of(&world.state));
        prop_assert_eq!(again.digest(), world.state.digest());

        // A manager that starts from a snapshot in the middle gets there too, and every entry
        // goes through its stored form on the way.
        let half = replay(&log[..cut.index(log.len())], State::new());
        let mut reader = SnapshotReader::new();
        for piece in bytes_of(&half).chunks(97) {
            reader.feed(piece).unwrap();
        }
        let restored = reader.finish().unwrap();
        restored.check();
        let stored: Vec<_> = log
            .iter()
            .map(|(index, envelope)| {
                let bytes = minicbor::to_vec(envelope).unwrap();
                (*index, minicbor::decode(&bytes).unwrap())
            })
            .collect();
        prop_assert_eq!(bytes_of(&replay(&stored, restored)), bytes_of(&world.state));
    }

    #[test]
    fn a_refused_command_changes_nothing(acts in prop::collection::vec(act(), 1..60)) {
        run(&acts, |act, before, world, refused| {
            if refused {
                assert_eq!(objects(before), objects(&world.state), "{act:?}");
            }
        });
    }

    #[test]
    fn a_node_is_never_assigned_what_none_of_its_tasks_needs(
        acts in prop::collection::vec(act(), 1..60),
    ) {
        run(&acts, |_, _, world, _| {
            least_privilege(&world.state);
            versions_are_there(&world.state);
        });
    }

    #[test]
    fn what_an_agent_says_of_itself_widens_nothing(acts in prop::collection::vec(act(), 1..60)) {
        run(&acts, |act, before, world, _| {
            placed_as_declared(&world.state);
            let Act::NodeSays { .. } = act else { return };
            let planned = |state: &State| {
                let mut ids = || panic!("nothing is created by saying something");
                let settled = plan(state, Timestamp(0), &Scope::Services(BTreeSet::new()), &mut ids);
                let assigned: Vec<_> = state
                    .nodes()
                    .keys()
                    .map(|node| (*node, assignments(state, *node).secrets))
                    .collect();
                (settled, assigned)
            };
            assert_eq!(planned(before), planned(&world.state));
            let mut silent = before.clone();
            let mut said = world.state.clone();
            for state in [&mut silent, &mut said] {
                let index = state.index() + 1;
                let caller = Caller::Cluster { member: MemberId(1) };
                // At one time for both: a task's delay may be over between the two.
                let at = Timestamp(world.now);
                let command = Command::Plan(steps(state, at));
                let envelope = Envelope { format: 1, request: None, caller, at, body: command };
                apply(state, index, envelope).unwrap();
            }
            let places = |state: &State| -> Vec<_> {
                state.tasks().iter().map(|(id, task)| (*id, task.node_id)).collect()
            };
            assert_eq!(places(&silent), places(&said));
        });
    }

    #[test]
    fn an_agents_word_counts_for_its_own_tasks_only(acts in prop::collection::vec(act(), 1..60)) {
        run(&acts, |act, before, world, _| {
            let Act::Report { n, .. } = *act else { return };
            for (id, task) in before.tasks() {
                let now = world.state.task(*id).unwrap();
                if task.node_id != Some(node_id(n)) {
                    assert_eq!(task, now);
                }
                assert!(now.status.state >= task.status.state, "life goes forward");
                assert_eq!(task.revision, now.revision);
                assert!(now.mounted.iter().all(|m| {
                    now.secrets.iter().any(|s| s.secret_id == m.secret_id)
                }));
            }
        });
    }

    #[test]
    fn planning_comes_to_rest_with_what_is_declared(acts in prop::collection::vec(act(), 1..60)) {
        let mut world = run(&acts, |_, _, _, _| ());
        world.now += 1_000_000;
        world.settle();
        for (id, service) in world.state.services() {
            let wanted: Vec<_> = world
                .state
                .tasks_of_service(*id)
                .filter(|(_, task)| task.is_live() && task.desired <= DesiredState::Running)
                .map(|(_, task)| task.place())
                .collect();
            let distinct: BTreeSet<_> = wanted.iter().copied().collect();
            assert_eq!(distinct.len(), wanted.len(), "one task a place");
            let places: BTreeSet<_> = match service.spec.mode {
                Mode::Replicated(replicas) => {
                    (1..=replicas).map(|slot| Place { slot, node: None }).collect()
                }
                Mode::Global => nodes_of(&world.state, service),
            };
            assert!(distinct.is_subset(&places));
            let held = |place: &Place| {
                let node = place.node.and_then(|id| world.state.node(id));
                node.is_some_and(|node| node.availability == Availability::Pause)
            };
            // A place may wait for its predecessor to stop, but for nothing else.
            for place in places.difference(&distinct).filter(|place| !held(place)) {
                let stopping = world.state.tasks_of_service(*id).any(|(_, task)| {
                    task.place() == *place
                        && task.is_live()
                        && task.desired > DesiredState::Running
                });
                assert!(stopping, "{place:?} of {} is empty", service.spec.name);
            }
        }
    }

    #[test]
    fn recipients_change_one_after_the_other_within_bounds(
        acts in prop::collection::vec(act(), 1..60),
    ) {
        let cluster = |state: &State| state.cluster().unwrap().clone();
        run(&acts, |act, before, world, refused| {
            let (before, now) = (cluster(before), cluster(&world.state));
            let Act::Recipients { count, size, stale } = act else {
                assert_eq!(before.recipients, now.recipients, "nothing else changes them");
                assert_eq!(before.recipients_generation, now.recipients_generation);
                return;
            };
            let within = (1..=RECIPIENTS_MAX).contains(&usize::from(*count))
                && "unlock-key".len() + 34 + usize::from(*size) <= SLOT_PARAMETERS_BYTES_MAX;
            assert_eq!(refused, *stale || !within, "{act:?}");
            let generation = before.recipients_generation + u64::from(!refused);
            assert_eq!(now.recipients_generation, generation);
            assert!(refused || now.recipients.len() == usize::from(*count));
        });
    }

    #[test]
    fn arbitrary_bytes_are_not_a_snapshot(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut reader = SnapshotReader::new();
        let fed = bytes.chunks(13).try_for_each(|piece| reader.feed(piece));
        prop_assert!(fed.is_err() || reader.finish().is_err());
    }
}

/// Where a global service belongs, by the oracle's reading.
fn nodes_of(state: &State, service: &Service) -> BTreeSet<Place> {
    let belongs = |node: &Node| {
        let constraints = &service.spec.task.placement.constraints;
        let zone = node.labels.value("zone");
        node.has_agent
            && node.state != NodeState::Down
            && node.availability != Availability::Drain
            && constraints.iter().all(|constraint| constraint.accepts(zone))
    };
    let nodes = state.nodes().iter().filter(|(_, node)| belongs(node));
    nodes.map(|(id, _)| Place { slot: 0, node: Some(*id) }).collect()
}

fn steps(state: &State, now: Timestamp) -> Vec<state::command::Step> {
    let mut made = 0_u8;
    let mut ids = || {
        made += 1;
        proto::id::TaskId::from_entropy([made; 17])
    };
    plan(state, now, &Scope::Everything, &mut ids).steps
}

#[test]
fn subjects_without_a_record_have_no_standing() {
    let world = World::founded();
    let stranger = Subject::Agent(node_id(77));
    let serial = proto::id::Serial::from_bytes([77; 16]);
    let standing = world.state.standing(serial, stranger, &Digest([0; 32]));
    assert_eq!(standing, state::Standing::Unknown);
}
