//! Configs: kept as they came, under names of their own, never from under a service or one of its tasks.

use proto::Kind;
use proto::id::{ConfigId, Revision, TaskId};
use proto::limits::{CONFIG_BYTES_MAX, CONFIGS_BYTES_MAX, CONFIGS_MAX};
use proto::name::Labels;
use proto::spec::{FailureAction, ServiceSpec};
use proto::task::TaskState;
use state::command::{Command, CreateConfig};
use state::object::Blob;
use state::{Outcome, Refusal, SnapshotReader, UpdateState, assignments, entitled_to_config};

use crate::world::*;

fn config(n: u8, name: &str, bytes: usize) -> Command {
    Command::CreateConfig(CreateConfig {
        id: config_id(n),
        name: name.parse().unwrap(),
        labels: Labels::default(),
        data: Blob(vec![n; bytes].into()),
    })
}

fn numbered(n: usize, data: &Blob) -> Command {
    let mut entropy = [9; 17];
    entropy[..8].copy_from_slice(&n.to_le_bytes());
    Command::CreateConfig(CreateConfig {
        id: ConfigId::from_entropy(entropy),
        name: format!("n{n}").parse().unwrap(),
        labels: Labels::default(),
        data: data.clone(),
    })
}

fn with(name: &str, configs: &[(u8, &str)]) -> ServiceSpec {
    let mut spec = World::spec(name, 1, &[]);
    spec.task.configs = configs.iter().map(|(n, name)| config_reference(*n, name)).collect();
    spec
}

const fn remove(forget_previous: bool) -> impl Fn(ConfigId) -> Command {
    move |id| Command::RemoveConfig { id, forget_previous }
}

#[test]
fn a_config_is_kept_as_it_came_through_log_and_snapshot() {
    let mut world = World::founded();
    let made = world.run(config(1, "site", 3)).outcome;
    assert_eq!(made, Ok(Outcome::Config { id: config_id(1) }));
    let made_at = world.state.now();
    let revision = world.state.config(config_id(1)).unwrap().revision;
    let labels = Labels::new([("tier".to_owned(), "web".to_owned())].into()).unwrap();
    let label = |id, revision| Command::UpdateConfigLabels { id, revision, labels: labels.clone() };
    let stale = world.run(label(config_id(1), Revision(revision.0 - 1))).outcome;
    assert_eq!(stale, Err(Refusal::Stale { current: revision }));
    world.did(label(config_id(1), revision));
    let labelled_at = world.state.now();
    assert!(world.run(label(config_id(2), revision)).outcome.is_err());

    let mut reader = SnapshotReader::new();
    reader.feed(&bytes_of(&world.state)).unwrap();
    let restored = reader.finish().unwrap();
    let found = restored.config(config_id(1)).unwrap();
    assert_eq!((found.name.as_str(), &found.data.0[..]), ("site", &[1; 3][..]));
    assert_eq!(found.labels, labels);
    assert_eq!((found.created_at, found.updated_at), (made_at, labelled_at));
    assert_eq!(restored.config_bytes(), 3);
}

#[test]
fn names_of_configs_are_unique_without_regard_to_case_and_not_those_of_secrets() {
    let mut world = World::founded();
    world.create_secret(1, "site");
    world.did(config(1, "site", 1));
    for name in ["site", "Site"] {
        let refused = world.run(config(2, name, 1)).outcome.unwrap_err();
        assert!(matches!(refused, Refusal::Exists { .. }), "{refused}");
    }
    assert!(matches!(world.run(config(1, "x", 1)).outcome, Err(Refusal::Precondition { .. })));
    world.did(remove(false)(config_id(1)));
    world.did(config(2, "SITE", 1));
}

#[test]
fn a_service_refers_to_configs_that_are_there_under_that_name() {
    let mut world = World::founded();
    world.did(config(1, "site", 1));
    let create = |n: u8, spec: ServiceSpec| Command::CreateService {
        id: service_id(n),
        spec: Box::new(spec),
    };
    for wrong in [[(2, "site")], [(1, "Site")]] {
        let refused = world.run(create(1, with("web", &wrong))).outcome.unwrap_err();
        assert_eq!(refused.kind(), Kind::NotFound);
        assert_eq!(refused.to_string(), format!("config {} not found", wrong[0].1));
    }
    world.did(create(1, with("web", &[(1, "site")])));
    let revision = world.revision_of_service(service_id(1));
    let update = Command::UpdateService {
        id: service_id(1),
        revision,
        spec: Box::new(with("web", &[(2, "other")])),
    };
    assert_eq!(world.run(update).outcome.unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn a_config_in_use_is_not_removed() {
    let mut world = World::founded();
    world.did(config(1, "site", 1));
    world.add_node(1, &[]);
    let service = world.create_service(1, with("web", &[(1, "site")]));
    world.settle();
    let refused = world.run(remove(true)(config_id(1))).outcome.unwrap_err();
    let text = "config site is in use by the following service: web";
    assert_eq!((refused.to_string().as_str(), refused.kind()), (text, Kind::InUse));
    // A task of before that is still wanted holds it, too.
    world.update_service(service, |spec| spec.task.configs.clear());
    let refused = world.run(remove(true)(config_id(1))).outcome.unwrap_err();
    assert!(matches!(refused, Refusal::InUse { previous_only: false, .. }));
    world.settle();
    // Then the declaration of before alone.
    let refused = world.run(remove(false)(config_id(1))).outcome.unwrap_err();
    assert!(matches!(refused, Refusal::InUse { previous_only: true, .. }));
    world.did(remove(true)(config_id(1)));
    assert_eq!(world.state.service(service).unwrap().previous_spec, None);
    assert_eq!(world.state.config_bytes(), 0);
    let gone = world.run(remove(true)(config_id(1))).outcome.unwrap_err();
    assert_eq!(gone.kind(), Kind::NotFound);
}

#[test]
fn a_node_gets_the_configs_of_its_own_tasks_while_they_may_run() {
    let mut world = World::founded();
    world.did(config(1, "site", 1));
    world.did(config(2, "unused", 1));
    let (one, other) = (world.add_node(1, &[("zone", "a")]), world.add_node(2, &[("zone", "b")]));
    let mut spec = with("web", &[(1, "site")]);
    spec.task.placement.constraints = vec!["node.labels.zone==a".parse().unwrap()];
    let service = world.create_service(1, spec);
    world.settle();
    let (task, _): (TaskId, _) = world.wanted(service).remove(0);
    let assigned = |world: &World, node| assignments(&world.state, node).configs.into_iter();
    assert_eq!(assigned(&world, one).collect::<Vec<_>>(), [config_id(1)]);
    assert_eq!(assigned(&world, other).count(), 0);
    let may = |world: &World, node, n| {
        entitled_to_config(&world.state, node, task, config_id(n)).is_some()
    };
    assert!(may(&world, one, 1) && !may(&world, one, 2) && !may(&world, other, 1));
    world.report(one, task, TaskState::Running);
    world.did(Command::RemoveService { id: service });
    assert!(!may(&world, one, 1), "it is on its way down");
    assert_eq!(assigned(&world, one).count(), 0);
}

#[test]
fn an_update_goes_back_to_what_had_a_config() {
    let mut world = World::founded();
    world.did(config(1, "site", 1));
    world.add_node(1, &[]);
    let service = world.create_service(1, with("web", &[(1, "site")]));
    world.go_on();
    world.update_service(service, |spec| {
        spec.task.configs.clear();
        spec.task.command = vec!["bad".into()];
        spec.update.failure_action = FailureAction::Rollback;
    });
    // It can go back while the config is there; so that is not removed under it.
    let held = world.run(remove(false)(config_id(1))).outcome;
    assert!(matches!(held, Err(Refusal::InUse { .. })));
    world.go_on();
    let now = world.state.service(service).unwrap();
    assert_eq!(now.spec.task.configs.len(), 1);
    assert!(matches!(
        now.update.as_ref().unwrap().state,
        UpdateState::RollbackStarted | UpdateState::RollbackCompleted
    ));
}

#[test]
fn configs_are_bounded_each_together_and_in_number() {
    let mut world = World::founded();
    assert!(matches!(world.run(config(1, "none", 0)).outcome, Err(Refusal::Precondition { .. })));
    world.did(config(1, "largest", CONFIG_BYTES_MAX));
    let over = world.run(config(2, "too-large", CONFIG_BYTES_MAX + 1)).outcome;
    assert!(matches!(over, Err(Refusal::Limit { .. })));
    world.did(remove(false)(config_id(1)));

    // The values share their bytes: what is counted is what a disk would hold.
    let largest = Blob(vec![1; CONFIG_BYTES_MAX].into());
    let fit = usize::try_from(CONFIGS_BYTES_MAX).unwrap() / CONFIG_BYTES_MAX;
    let mut full = World::founded();
    for n in 0..fit {
        let envelope = full.envelope(numbered(n, &largest));
        let index = full.state.index() + 1;
        state::apply(&mut full.state, index, envelope).unwrap().outcome.unwrap();
    }
    let rest = usize::try_from(CONFIGS_BYTES_MAX).unwrap() - fit * CONFIG_BYTES_MAX;
    let mut add = |n, bytes| {
        let envelope = full.envelope(config(n, &format!("c{n}"), bytes));
        let index = full.state.index() + 1;
        state::apply(&mut full.state, index, envelope).unwrap().outcome
    };
    assert!(matches!(add(1, rest + 1), Err(Refusal::Limit { .. })));
    assert!(add(2, rest).is_ok());
    assert!(matches!(add(3, 1), Err(Refusal::Limit { .. })));

    let small = Blob(vec![1].into());
    let mut many = World::founded();
    for n in 0..=CONFIGS_MAX {
        let envelope = many.envelope(numbered(n, &small));
        let index = many.state.index() + 1;
        let outcome = state::apply(&mut many.state, index, envelope).unwrap().outcome;
        assert_eq!(outcome.is_ok(), n < CONFIGS_MAX, "{n}: {outcome:?}");
    }
}
