//! What each command does, by example; refusals as well as successes.

use std::collections::BTreeMap;

use proto::Kind;
use proto::id::{KeyId, MemberId, Revision, Serial, Timestamp, TokenId, Version};
use proto::identity::{Caller, Principal, Role, Subject};
use proto::limits::REMEMBERED_REQUESTS_MAX;
use proto::spec::{Mode, RestartCondition, VersionChoice};
use proto::task::{DesiredState, TaskState};
use state::command::{
    AdmitAgent, AdmitManager, Command, CreateSecret, CreateToken, Envelope, Step, UpdateNode,
};
use state::object::{
    Availability, Certificate, Digest, MemberState, NodeState, ObjectId, OperatorRole, TransitKey,
};
use state::{Outcome, Refusal, Standing, Unapplicable, apply, assignments, entitled};

use crate::world::*;

fn create(n: u8, name: &str) -> CreateSecret {
    CreateSecret {
        id: secret_id(n),
        name: name.parse().unwrap(),
        labels: proto::name::Labels::default(),
        usable_by: vec![],
        payload: payload(n, ROOT, 64),
        transit_key_id: TRANSIT,
    }
}

fn kind(outcome: &Result<Outcome, Refusal>) -> Option<Kind> {
    outcome.as_ref().err().map(Refusal::kind)
}

#[test]
fn a_secrets_name_is_unique_without_regard_to_case() {
    let mut world = World::founded();
    world.create_secret(1, "db_password");
    let refused = world.run(Command::CreateSecret(create(2, "DB_Password"))).outcome;
    assert_eq!(kind(&refused), Some(Kind::Exists));
    let text = refused.unwrap_err().to_string();
    assert!(text.starts_with("secret db_password already exists (id "), "{text}");
    let folded = "Db_PassWord".parse::<proto::name::SecretName>().unwrap().folded();
    assert_eq!(world.state.secret_by_name(&folded).unwrap().0, secret_id(1));
}

#[test]
fn a_retry_gets_the_first_answer_and_another_request_does_not() {
    let mut world = World::founded();
    let mark = world.mark(1);
    let mut first = world.envelope(Command::CreateSecret(create(1, "a")));
    first.request = Some(mark);
    let done = world.apply(first.clone()).outcome;
    assert_eq!(done, Ok(Outcome::Secret { id: secret_id(1), version: Version(1) }));

    // The retry was given a new id and a new wrap by the service.
    let mut retry = world.envelope(Command::CreateSecret(create(2, "a")));
    retry.request = Some(mark);
    let again = world.apply(retry);
    assert_eq!((again.outcome, again.changes), (done, vec![]));
    assert_eq!(world.state.secrets().len(), 1);

    let mut other = world.envelope(Command::CreateSecret(create(3, "b")));
    other.request = Some(state::object::RequestMark { digest: Digest([2; 32]), ..mark });
    assert_eq!(world.apply(other).outcome, Err(Refusal::KeyReused));

    // Another caller's key is another key.
    let mut theirs = world.envelope(Command::CreateSecret(create(4, "c")));
    theirs.request =
        Some(state::object::RequestMark { principal: Principal::Local { uid: 5 }, ..mark });
    assert!(world.apply(theirs).outcome.is_ok());
}

#[test]
fn a_secret_remembers_its_request_when_the_table_has_forgotten() {
    let mut world = World::founded();
    let mark = world.mark(1);
    let mut first = world.envelope(Command::CreateSecret(create(1, "a")));
    first.request = Some(mark);
    world.apply(first).outcome.unwrap();
    for _ in 0..=REMEMBERED_REQUESTS_MAX {
        let filler = world.mark(9);
        let mut envelope = world.envelope(Command::SetQuota { payload_bytes: 100_000 });
        envelope.request = Some(filler);
        let index = world.state.index() + 1;
        apply(&mut world.state, index, envelope).unwrap().outcome.unwrap();
    }
    let mut retry = world.envelope(Command::CreateSecret(create(2, "a")));
    retry.request = Some(mark);
    let index = world.state.index() + 1;
    let again = apply(&mut world.state, index, retry).unwrap().outcome;
    assert_eq!(again, Ok(Outcome::Secret { id: secret_id(1), version: Version(1) }));
}

#[test]
fn a_payload_is_accepted_once_under_live_keys_within_the_quota() {
    let mut world = World::founded();
    world.create_secret(1, "a");
    let refused = |world: &mut World, change: &dyn Fn(&mut CreateSecret)| {
        let mut wrong = create(2, "b");
        change(&mut wrong);
        world.run(Command::CreateSecret(wrong)).outcome.unwrap_err()
    };
    let other = KeyId::from_bytes([8; 16]);
    assert_eq!(refused(&mut world, &|c| c.payload = payload(2, other, 64)), Refusal::WrongRoot);
    assert_eq!(refused(&mut world, &|c| c.transit_key_id = other), Refusal::TransitRetired);
    assert_eq!(
        refused(&mut world, &|c| c.payload.payload_id = proto::id::PayloadId::from_bytes([1; 16])),
        Refusal::PayloadReused
    );
    // Quota: what is there, and one byte more than the rest.
    let held = world.state.payload_bytes();
    let room = usize::try_from(100_000 - held).unwrap() - (42 + 64 + 16) - (42 + 16);
    let too_large = refused(&mut world, &|c| c.payload = payload(2, ROOT, room + 1));
    assert_eq!(too_large.kind(), Kind::TooLarge);
    let mut fits = create(2, "b");
    fits.payload = payload(2, ROOT, room);
    world.did(Command::CreateSecret(fits));
    assert_eq!(world.state.payload_bytes(), 100_000);
}

#[test]
fn a_secret_in_use_is_not_removed() {
    let mut world = World::founded();
    let id = world.create_secret(1, "a");
    let service = world.create_service(1, World::spec("web", 1, &[(1, "a")]));
    let remove = Command::RemoveSecret { id, forget_previous: false, shred: None };
    let refused = world.run(remove.clone()).outcome.unwrap_err();
    assert_eq!(refused.to_string(), "secret a is in use by the following service: web");
    world.create_service(2, World::spec("api", 1, &[(1, "a")]));
    let refused = world.run(remove.clone()).outcome.unwrap_err();
    assert_eq!(refused.to_string(), "secret a is in use by the following services: api, web");
    // A previous spec holds it, until it is let go.
    world.did(Command::RemoveService { id: service_id(2) });
    let revision = world.revision_of_service(service);
    let spec = Box::new(World::spec("web", 1, &[]));
    world.did(Command::UpdateService { id: service, revision, spec });
    let refused = world.run(remove).outcome.unwrap_err();
    assert!(matches!(refused, Refusal::InUse { previous_only: true, .. }));
    world.did(Command::RemoveSecret { id, forget_previous: true, shred: None });
    assert_eq!(world.state.service(service).unwrap().previous_spec, None);
    assert!(world.state.secrets().is_empty());
    assert_eq!(world.state.payload_bytes(), 0);
    let gone = world.run(Command::RemoveSecret { id, forget_previous: true, shred: None }).outcome;
    assert_eq!(kind(&gone), Some(Kind::NotFound));
}

#[test]
fn a_task_that_still_runs_holds_its_secret() {
    let mut world = World::founded();
    let id = world.create_secret(1, "a");
    world.add_node(1, &[]);
    let service = world.create_service(1, World::spec("web", 1, &[(1, "a")]));
    world.settle();
    let revision = world.revision_of_service(service);
    let spec = Box::new(World::spec("web", 1, &[]));
    world.did(Command::UpdateService { id: service, revision, spec });
    let refused =
        world.run(Command::RemoveSecret { id, forget_previous: true, shred: None }).outcome;
    assert_eq!(kind(&refused), Some(Kind::InUse), "its task is still wanted");
    world.settle();
    world.did(Command::RemoveSecret { id, forget_previous: true, shred: None });
}

#[test]
fn references_must_exist_under_their_name_and_be_usable() {
    let mut world = World::founded();
    let mut mine = create(1, "mine");
    mine.usable_by = vec!["team".parse().unwrap()];
    world.did(Command::CreateSecret(mine));
    let mut theirs = create(2, "theirs");
    theirs.usable_by = vec!["others".parse().unwrap()];
    world.did(Command::CreateSecret(theirs));
    let caller = world.operator(9, OperatorRole::Deployer, "team");

    let create_as = |world: &mut World, n: u8, secrets: &[(u8, &str)]| {
        let spec = Box::new(World::spec(&format!("web-{n}"), 1, secrets));
        let mut envelope = world.envelope(Command::CreateService { id: service_id(n), spec });
        envelope.caller = caller;
        world.apply(envelope).outcome
    };
    assert!(create_as(&mut world, 1, &[(1, "mine")]).is_ok());
    let refused = create_as(&mut world, 2, &[(2, "theirs")]);
    assert_eq!(kind(&refused), Some(Kind::Denied));
    let missing = create_as(&mut world, 3, &[(1, "theirs"), (7, "gone")]).unwrap_err();
    assert_eq!(missing.to_string(), "secrets gone, theirs not found");

    // A version that is pinned is there.
    let mut spec = World::spec("web-4", 1, &[(1, "mine")]);
    let pin = |spec: &mut proto::spec::ServiceSpec, version| {
        spec.task.secrets[0].version = VersionChoice::Pinned(Version(version));
    };
    pin(&mut spec, 9);
    let create = Command::CreateService { id: service_id(4), spec: Box::new(spec.clone()) };
    assert_eq!(
        world.run(create).outcome.unwrap_err().to_string(),
        "version 9 of secret mine not found"
    );
    pin(&mut spec, 1);
    world.did(Command::CreateService { id: service_id(4), spec: Box::new(spec) });

    // An update cannot slip in what a creation could not.
    let revision = world.revision_of_service(service_id(1));
    let spec = Box::new(World::spec("web-1", 1, &[(2, "theirs")]));
    let mut update = world.envelope(Command::UpdateService { id: service_id(1), revision, spec });
    update.caller = caller;
    assert_eq!(kind(&world.apply(update).outcome), Some(Kind::Denied));
}

#[test]
fn the_second_of_two_updates_conflicts() {
    let mut world = World::founded();
    let id = world.create_service(1, World::spec("web", 1, &[]));
    let revision = world.revision_of_service(id);
    let scale =
        |n| Command::UpdateService { id, revision, spec: Box::new(World::spec("web", n, &[])) };
    world.did(scale(2));
    let refused = world.run(scale(3)).outcome.unwrap_err();
    assert_eq!(refused, Refusal::Stale { current: world.revision_of_service(id) });
    assert_eq!(world.state.service(id).unwrap().spec.mode, Mode::Replicated(2));
}

#[test]
fn a_service_gets_its_replicas_spread_over_the_nodes() {
    let mut world = World::founded();
    let nodes = [world.add_node(1, &[]), world.add_node(2, &[]), world.add_node(3, &[])];
    let id = world.create_service(1, World::spec("web", 7, &[]));
    world.settle();
    let per_node = nodes.map(|node| world.state.tasks_of_node(node).count());
    assert_eq!(
        {
            let mut sorted = per_node;
            sorted.sort_unstable();
            sorted
        },
        [2, 2, 3]
    );
    let revision = world.revision_of_service(id);
    let spec = Box::new(World::spec("web", 2, &[]));
    world.did(Command::UpdateService { id, revision, spec });
    world.settle();
    let wanted =
        world.state.tasks_of_service(id).filter(|(_, t)| t.desired == DesiredState::Running);
    assert_eq!(wanted.map(|(_, t)| t.slot).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_pending_task_says_why() {
    let mut world = World::founded();
    world.add_node(1, &[("zone", "us")]);
    world.add_node(2, &[]);
    let drained = world.add_node(3, &[("zone", "eu")]);
    world.did(Command::UpdateNode(UpdateNode {
        id: drained,
        revision: None,
        label_add: BTreeMap::default(),
        label_rm: vec![],
        availability: Some(Availability::Drain),
    }));
    let mut spec = World::spec("web", 1, &[]);
    spec.task.placement.constraints = vec!["node.labels.zone==eu".parse().unwrap()];
    let id = world.create_service(1, spec);
    world.settle();
    let (_, task) = world.state.tasks_of_service(id).next().unwrap();
    assert_eq!(task.status.state, TaskState::Pending);
    assert_eq!(
        task.status.message,
        "no suitable node (2 nodes not available for new tasks: 1 draining, 1 without an agent; \
         scheduling constraints not satisfied on 2 nodes: node.labels.zone==eu)"
    );
    // A node that fits appears.
    let fit = world.add_node(4, &[("zone", "EU")]);
    world.settle();
    let (_, task) = world.state.tasks_of_service(id).next().unwrap();
    assert_eq!((task.status.state, task.node_id), (TaskState::Assigned, Some(fit)));
}

#[test]
fn an_ended_task_is_replaced_after_its_delay() {
    let mut world = World::founded();
    let node = world.add_node(1, &[]);
    let id = world.create_service(1, World::spec("web", 1, &[]));
    world.settle();
    let (first, _) = world.state.tasks_of_service(id).next().unwrap();
    world.report(node, first, TaskState::Running);
    world.report(node, first, TaskState::Failed);
    let failed_at = world.state.now().0;
    world.settle();
    let waiting: Vec<_> = world
        .state
        .tasks_of_service(id)
        .filter(|(_, task)| task.desired == DesiredState::Running)
        .collect();
    let [(second, task)] = waiting.as_slice() else { panic!("{waiting:?}") };
    assert_eq!(task.status.state, TaskState::New, "it waits for its delay");
    assert_eq!(task.not_before, Timestamp(failed_at + 100));
    assert_eq!(task.attempts, 1);
    let second = *second;
    world.now = failed_at + 100;
    world.settle();
    assert_eq!(world.state.task(second).unwrap().status.state, TaskState::Assigned);
    assert_eq!(world.state.task(first).unwrap().desired, DesiredState::Shutdown);
}

#[test]
fn restart_policies_are_kept() {
    use RestartCondition::{Any, None, OnFailure};
    let restarts = |condition, attempts_max, end: TaskState| {
        let mut world = World::founded();
        let node = world.add_node(1, &[]);
        let mut spec = World::spec("web", 1, &[]);
        spec.task.restart.condition = condition;
        spec.task.restart.attempts_max = attempts_max;
        spec.task.restart.delay_ms = 0;
        let id = world.create_service(1, spec);
        for ran in 0..10 {
            world.now += 1;
            world.settle();
            let wanted = world
                .state
                .tasks_of_service(id)
                .find(|(_, task)| task.desired == DesiredState::Running && task.is_live());
            let Some((task, _)) = wanted else { return ran };
            world.report(node, task, end);
        }
        10
    };
    assert_eq!(restarts(Any, 0, TaskState::Complete), 10);
    assert_eq!(restarts(OnFailure, 0, TaskState::Complete), 1);
    assert_eq!(restarts(OnFailure, 0, TaskState::Failed), 10);
    assert_eq!(restarts(None, 0, TaskState::Failed), 1);
    assert_eq!(restarts(Any, 3, TaskState::Failed), 4);
}

#[test]
fn history_is_bounded() {
    let mut world = World::founded();
    let node = world.add_node(1, &[]);
    let mut spec = World::spec("web", 1, &[]);
    spec.task.restart.delay_ms = 0;
    let id = world.create_service(1, spec);
    for _ in 0..20 {
        world.now += 1;
        world.settle();
        let live = world.state.tasks_of_service(id).find(|(_, task)| task.is_live());
        let task = live.unwrap().0;
        world.report(node, task, TaskState::Failed);
    }
    assert!(world.state.tasks_of_service(id).count() <= proto::limits::HISTORY_MAX + 1);
}

#[test]
fn tasks_leave_a_node_that_is_down_and_its_return_changes_nothing() {
    let mut world = World::founded();
    let lost = world.add_node(1, &[]);
    let id = world.create_service(1, World::spec("web", 1, &[]));
    world.settle();
    let (first, _) = world.state.tasks_of_service(id).next().unwrap();
    world.report(lost, first, TaskState::Running);
    world.add_node(2, &[]);
    world.node_is(lost, NodeState::Down);
    world.settle();
    let running = world
        .state
        .tasks_of_service(id)
        .find(|(_, task)| task.desired == DesiredState::Running)
        .unwrap();
    assert_eq!(running.1.node_id, Some(node_id(2)));
    assert_eq!(world.state.task(first).unwrap().desired, DesiredState::Shutdown);
    world.node_is(lost, NodeState::Ready);
    assert!(assignments(&world.state, lost).secrets.is_empty());
    assert_eq!(assignments(&world.state, lost).tasks.len(), 1, "it is told to stop it");
}

#[test]
fn a_removed_service_leaves_nothing() {
    let mut world = World::founded();
    let node = world.add_node(1, &[]);
    let id = world.create_service(1, World::spec("web", 2, &[]));
    world.settle();
    let ids: Vec<_> = world.state.tasks_of_service(id).map(|(id, _)| id).collect();
    world.did(Command::RemoveService { id });
    world.settle();
    assert_eq!(world.state.tasks().len(), 2, "they run until their agent says so");
    for task in ids {
        world.report(node, task, TaskState::Shutdown);
    }
    world.settle();
    assert!(world.state.tasks().is_empty());
}

#[test]
fn an_agent_speaks_of_its_own_tasks_and_only_forward() {
    let mut world = World::founded();
    let node = world.add_node(1, &[]);
    let other = world.add_node(2, &[]);
    let mut spec = World::spec("web", 1, &[]);
    spec.task.placement.constraints = vec!["node.hostname==node-1".parse().unwrap()];
    let id = world.create_service(1, spec);
    world.settle();
    let (task, _) = world.state.tasks_of_service(id).next().unwrap();
    let state_of = |world: &World| world.state.task(task).unwrap().status.state;
    world.report(other, task, TaskState::Failed);
    assert_eq!(state_of(&world), TaskState::Assigned, "another node's word");
    world.report(node, task, TaskState::Running);
    world.report(node, task, TaskState::Preparing);
    assert_eq!(state_of(&world), TaskState::Running, "backwards");
    world.report(node, task, TaskState::New);
    assert_eq!(state_of(&world), TaskState::Running, "a state that is not an agent's");
    world.report(node, task, TaskState::Complete);
    world.report(node, task, TaskState::Failed);
    assert_eq!(state_of(&world), TaskState::Complete, "after its end");
    let revision = world.state.task(task).unwrap().revision;
    assert!(revision < Revision(world.state.index()), "status bumps no revision");
}

#[test]
fn an_evicted_node_has_nothing() {
    let mut world = World::founded();
    let id = world.create_secret(1, "a");
    let node = world.add_node(1, &[]);
    let service = world.create_service(1, World::spec("web", 1, &[(1, "a")]));
    world.settle();
    let (task, _) = world.state.tasks_of_service(service).next().unwrap();
    world.report(node, task, TaskState::Running);
    assert!(entitled(&world.state, node, task, id, Version(1)).is_some());
    let subject = Subject::Agent(node);
    let serial = Serial::from_bytes([1; 16]);
    let key = Digest([9; 32]);
    assert_eq!(world.state.standing(serial, subject, &key), Standing::Good);
    assert_eq!(world.state.standing(serial, subject, &Digest([8; 32])), Standing::Unknown);

    let up = world.run(Command::RemoveNode { id: node, force: false }).outcome;
    assert_eq!(kind(&up), Some(Kind::Precondition));
    world.did(Command::RemoveNode { id: node, force: true });
    assert!(entitled(&world.state, node, task, id, Version(1)).is_none());
    assert!(assignments(&world.state, node).tasks.is_empty());
    assert_eq!(world.state.standing(serial, subject, &key), Standing::Revoked);
    world.add_node(2, &[]);
    world.settle();
    let running = world.state.tasks_of_node(node_id(2)).count();
    assert_eq!(running, 1, "its task moved");
}

#[test]
fn tokens_admit_their_role_once_before_they_expire() {
    let mut world = World::founded();
    let token = |n: u8, role, uses, expires_at| {
        Command::CreateToken(CreateToken {
            id: TokenId::from_entropy([n; 17]),
            role,
            hash: Digest([n; 32]),
            expires_at: Timestamp(expires_at),
            uses,
        })
    };
    let admit = |n: u8, token: u8, hash: u8| {
        Command::AdmitAgent(AdmitAgent {
            token_id: TokenId::from_entropy([token; 17]),
            hash: Digest([hash; 32]),
            node_id: node_id(n),
            same_node: false,
            hostname: format!("host-{n}").parse().unwrap(),
            serial: Serial::from_bytes([n; 16]),
            certificate: certificate(Subject::Agent(node_id(n))),
            machine: None,
        })
    };
    let refused = |world: &mut World, command| {
        let refusal = world.run(command).outcome.unwrap_err();
        assert_eq!(refusal.kind(), Kind::Unauthenticated);
        refusal.to_string()
    };
    world.did(token(1, Role::Agent, 1, u64::MAX));
    world.did(token(2, Role::Manager, 1, u64::MAX));
    world.did(token(3, Role::Agent, 5, world.now + 10));
    let unknown = refused(&mut world, admit(1, 99, 99));
    assert_eq!(refused(&mut world, admit(1, 1, 99)), unknown, "wrong and unknown read alike");
    assert!(refused(&mut world, admit(1, 2, 2)).contains("for joining as manager"));
    world.did(admit(1, 1, 1));
    assert!(refused(&mut world, admit(2, 1, 1)).contains("used up"));
    world.now += 100;
    assert!(refused(&mut world, admit(2, 3, 3)).contains("expired"));
    world.did(token(4, Role::Agent, 1, u64::MAX));
    world.did(Command::RevokeToken { id: TokenId::from_entropy([4; 17]) });
    assert_eq!(refused(&mut world, admit(2, 4, 4)), unknown);
}

#[test]
fn a_hostname_is_taken_once() {
    let mut world = World::founded();
    world.add_node(1, &[]);
    world.did(Command::CreateToken(CreateToken {
        id: TokenId::from_entropy([7; 17]),
        role: Role::Agent,
        hash: Digest([7; 32]),
        expires_at: Timestamp(u64::MAX),
        uses: 1,
    }));
    let refused = world
        .run(Command::AdmitAgent(AdmitAgent {
            token_id: TokenId::from_entropy([7; 17]),
            hash: Digest([7; 32]),
            node_id: node_id(7),
            same_node: false,
            hostname: "NODE-1".parse().unwrap(),
            serial: Serial::from_bytes([7; 16]),
            certificate: certificate(Subject::Agent(node_id(7))),
            machine: None,
        }))
        .outcome;
    assert_eq!(kind(&refused), Some(Kind::Exists));
    let token = world.state.token(TokenId::from_entropy([7; 17])).unwrap();
    assert_eq!(token.uses_left, 1, "a refused join does not use the token up");
}

#[test]
fn a_manager_is_the_index_of_its_admission() {
    let mut world = World::founded();
    world.did(Command::CreateToken(CreateToken {
        id: TokenId::from_entropy([7; 17]),
        role: Role::Manager,
        hash: Digest([7; 32]),
        expires_at: Timestamp(u64::MAX),
        uses: 2,
    }));
    let admit = |n: u8| {
        Command::AdmitManager(AdmitManager {
            token_id: TokenId::from_entropy([7; 17]),
            hash: Digest([7; 32]),
            node_id: node_id(n),
            hostname: format!("mgr-{n}").parse().unwrap(),
            address: format!("127.0.0.1:{n}"),
            level_max: 1,
        })
    };
    let Ok(Outcome::Member { id, .. }) = world.did(admit(2)).outcome else { panic!() };
    assert_eq!(id, MemberId(world.state.index()));
    assert_eq!(world.state.member(id).unwrap().state, MemberState::Joining);
    world.did(Command::RemoveMember { member: id, destroys: None });
    assert!(world.state.is_removed_member(id));
    assert!(world.state.node(node_id(2)).is_none(), "the machine had no agent");
    let Ok(Outcome::Member { id: next, .. }) = world.did(admit(3)).outcome else { panic!() };
    assert!(next > id, "an id is never used again");
}

#[test]
fn two_transit_keys_are_accepted_at_a_time() {
    let mut world = World::founded();
    let key = TransitKey {
        public_key: state::object::Blob::default(),
        wrapped_key: proto::sealed::WrappedKey::new(sealed(ROOT, 4, 32)).unwrap(),
        created_at: Timestamp(0),
        not_after: Timestamp(9),
        signature: state::object::Blob::default(),
        signatures: None,
    };
    let id = |n: u8| KeyId::from_bytes([n; 16]);
    world.did(Command::AddTransitKey { id: id(50), key: key.clone() });
    let third = world.run(Command::AddTransitKey { id: id(51), key: key.clone() }).outcome;
    assert_eq!(kind(&third), Some(Kind::TooLarge));
    world.create_secret(1, "under-the-old-one");
    let current = world.run(Command::RetireTransitKey { id: id(50) }).outcome;
    assert_eq!(kind(&current), Some(Kind::Precondition));
    world.did(Command::RetireTransitKey { id: TRANSIT });
    let retired = world.run(Command::CreateSecret(create(2, "late"))).outcome;
    assert_eq!(retired, Err(Refusal::TransitRetired));
    world.did(Command::AddTransitKey { id: id(51), key });
}

#[test]
fn a_later_format_and_a_diverged_state_stop_the_manager() {
    let mut world = World::founded();
    let mut late = world.envelope(Command::SetQuota { payload_bytes: 1 });
    late.format = 2;
    let index = world.state.index() + 1;
    let before = bytes_of(&world.state);
    let error = apply(&mut world.state, index, late).unwrap_err();
    assert_eq!(error, Unapplicable::Format { index, format: 2 });
    let digest = world.state.digest();
    let check = |world: &mut World, digest| {
        let index = world.state.index();
        let envelope = world.envelope(Command::CheckDigest { index, digest });
        apply(&mut world.state, index + 1, envelope).map(|_| ())
    };
    let at = world.state.index();
    assert_eq!(check(&mut world, Digest([0; 32])), Err(Unapplicable::Diverged { index: at }));
    assert_eq!(bytes_of(&world.state), before, "nothing was changed");
    assert_eq!(check(&mut world, digest), Ok(()));
}

#[test]
fn a_certificate_that_ended_is_kept_until_its_renewal_is_used() {
    let mut world = World::founded();
    let node = world.add_node(1, &[]);
    let subject = Subject::Agent(node);
    let of = |n: u8| Serial::from_bytes([n; 16]);
    let stands = |world: &World, n: u8| {
        world.state.standing(of(n), subject, &Digest([9; 32])) == Standing::Good
    };
    // The first one ends; the cluster was off.
    world.now = certificate(subject).not_after.0 + 1;
    let renew = |world: &mut World, with: u8, n: u8, ends: u64| {
        let command = Command::IssueCertificate {
            serial: of(n),
            certificate: Certificate { not_after: Timestamp(ends), ..certificate(subject) },
        };
        let caller = Caller::Certified { subject, serial: of(with) };
        let envelope = Envelope { caller, ..world.envelope(command) };
        world.apply(envelope).outcome.unwrap();
    };
    let ends = world.now + 1_000;
    renew(&mut world, 1, 2, ends);
    // The answer was lost: it is all that the agent has.
    assert!(stands(&world, 1));
    renew(&mut world, 1, 3, ends);
    assert!(stands(&world, 1) && stands(&world, 2) && stands(&world, 3));
    // Once another was used to renew, it is gone.
    renew(&mut world, 3, 4, ends + 1_000);
    assert!(!stands(&world, 1) && stands(&world, 3) && stands(&world, 4));
}

#[test]
fn the_audit_is_chained() {
    let mut world = World::founded();
    world.create_secret(1, "a");
    world.run(Command::CreateSecret(create(2, "A"))).outcome.unwrap_err();
    let records: Vec<_> = world.state.audit().records().cloned().collect();
    let actions: Vec<_> =
        records.iter().map(|(r, _)| (r.action.as_str(), r.outcome.as_str())).collect();
    assert_eq!(
        actions,
        [("init_cluster", "ok"), ("create_secret", "ok"), ("create_secret", "exists")]
    );
    let refused = records[2].0.object;
    assert_eq!(refused, ObjectId::Secret(secret_id(2)), "a refusal names what was asked for");
    let mut chain = Digest([0; 32]);
    for (record, link) in &records {
        chain = state::AuditLog::link(&chain, record);
        assert_eq!(chain, *link);
    }
    assert_eq!(chain, world.state.audit().chain());
    let mut altered = records[1].0.clone();
    altered.caller = Caller::Local { uid: 1, member: MemberId(1) };
    assert_ne!(state::AuditLog::link(&records[0].1, &altered), records[1].1);
}

#[test]
fn a_stale_step_is_skipped() {
    let mut world = World::founded();
    world.add_node(1, &[]);
    let id = world.create_service(1, World::spec("web", 1, &[]));
    world.settle();
    let (task, _) = world.state.tasks_of_service(id).next().unwrap();
    let steps =
        vec![Step::SetDesired { id: task, revision: Revision(1), desired: DesiredState::Shutdown }];
    let outcome = world.did(Command::Plan(steps)).outcome;
    assert_eq!(outcome, Ok(Outcome::Steps { applied: 0, stale: 1 }));
    assert_eq!(world.state.task(task).unwrap().desired, DesiredState::Running);
}
