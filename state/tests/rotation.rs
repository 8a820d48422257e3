//! Another value of a secret: which tasks get it, and what a way back leads to.

use proto::Kind;
use proto::id::{KeyId, PayloadId, ServiceId, TaskId, Version};
use proto::limits::VERSIONS_MAX;
use proto::spec::{FailureAction, ServiceSpec, VersionChoice};
use proto::task::TaskState;
use state::command::{Command, RotateSecret, UpdateNode};
use state::object::{Availability, OperatorRole, Task};
use state::{Outcome, UpdateState};

use crate::updates::{bad, running, update, versions};
use crate::world::*;

fn next(world: &World, n: u8) -> RotateSecret {
    let id = secret_id(n);
    let version = Version(world.state.secret(id).unwrap().current.0 + 1);
    let mut payload = payload(n, ROOT, 64);
    // No other payload of these tests has it.
    let mut payload_id = [200 + n; 16];
    payload_id[0] = version.0.to_le_bytes()[0];
    payload.payload_id = PayloadId::from_bytes(payload_id);
    RotateSecret { id, version, payload, transit_key_id: TRANSIT }
}

fn rotate(world: &mut World, n: u8) -> Version {
    let rotate = next(world, n);
    let (id, version) = (rotate.id, rotate.version);
    let applied = world.did(Command::RotateSecret(rotate));
    assert_eq!(applied.outcome, Ok(Outcome::Secret { id, version }));
    version
}

/// The versions that the wanted tasks of a service get, by slot; 0 for one that has no node yet.
fn mounted(world: &World, id: ServiceId) -> Vec<u64> {
    let mut tasks: Vec<(TaskId, Task)> = world.wanted(id);
    tasks.sort_by_key(|(_, task)| task.slot);
    tasks.iter().map(|(_, task)| task.secrets.first().map_or(0, |it| it.version.0)).collect()
}

fn rolls_back(spec: &mut ServiceSpec) {
    spec.update.failure_action = FailureAction::Rollback;
}

/// Lets the tasks that are new end, as they do when the new value is no good.
fn fail_what_is_new(world: &mut World, id: ServiceId, version: Version) {
    for _ in 0..20 {
        let tasks: Vec<_> = world.state.tasks_of_service(id).map(|(i, t)| (i, t.clone())).collect();
        for (task, at) in tasks {
            let Some(node) = at.node_id else { continue };
            if at.is_live() && !at.is_wanted() {
                world.report(node, task, TaskState::Shutdown);
            } else if at.is_live() && at.secrets[0].version == version {
                world.report(node, task, TaskState::Failed);
            } else if at.is_live() && at.status.state < TaskState::Running {
                world.report(node, task, TaskState::Running);
            }
        }
        world.settle();
    }
}

#[test]
fn services_that_follow_get_the_next_version_one_task_after_the_other() {
    let (mut world, id) = running(3, |spec| spec.update.delay_ms = 500);
    assert_eq!(mounted(&world, id), [1, 1, 1]);
    assert_eq!(rotate(&mut world, 1), Version(2));
    let began = update(&world, id);
    assert_eq!((began.state, began.places), (UpdateState::Updating, 3));
    for slot in 1..=3 {
        world.go_on();
        assert_eq!(versions(&world, id), (slot, 3 - slot), "the rest waits for the delay");
        world.wake();
    }
    assert_eq!(mounted(&world, id), [2, 2, 2]);
    assert_eq!(update(&world, id).state, UpdateState::Completed);
    let again = restored(&world.state);
    assert_eq!(again.service(id), world.state.service(id), "a snapshot keeps what is followed");
    assert_eq!(again.tasks(), world.state.tasks());
}

#[test]
fn who_pins_a_version_or_uses_another_secret_is_left_alone() {
    let (mut world, id) =
        running(2, |spec| spec.task.secrets[0].version = VersionChoice::Pinned(Version(1)));
    let other = world.create_service(2, World::spec("other", 1, &[(2, "b")]));
    world.go_on();
    let before = (world.wanted(id), world.wanted(other));
    rotate(&mut world, 1);
    world.go_on();
    assert_eq!((world.wanted(id), world.wanted(other)), before);
    assert_eq!(world.state.service(id).unwrap().update, None);
    // The next version can be pinned, and one that is not there cannot.
    world.update_service(id, |spec| {
        spec.task.secrets[0].version = VersionChoice::Pinned(Version(2));
    });
    world.go_on();
    world.wake();
    assert_eq!(mounted(&world, id), [2, 2]);
    let revision = world.revision_of_service(id);
    let mut spec = world.state.service(id).unwrap().spec.clone();
    spec.task.secrets[0].version = VersionChoice::Pinned(Version(3));
    let refused = world.run(Command::UpdateService { id, revision, spec: Box::new(spec) });
    assert_eq!(refused.outcome.unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn what_starts_anew_meanwhile_gets_the_new_version() {
    let (mut world, id) = running(2, |spec| spec.update.delay_ms = 60_000);
    rotate(&mut world, 1);
    world.go_on();
    assert_eq!(mounted(&world, id), [2, 1], "the second waits for the delay");
    let (task, at) = world.wanted(id).into_iter().find(|(_, task)| task.slot == 2).unwrap();
    world.report(at.node_id.unwrap(), task, TaskState::Failed);
    world.go_on();
    world.now += 1_000;
    world.settle();
    world.go_on();
    assert_eq!(mounted(&world, id), [2, 2]);
    // One that was made before, and has no node yet, gets what it was made for: it is to be replaced.
    let (mut world, id) = running(1, |spec| spec.task.restart.delay_ms = 0);
    for n in [1, 2] {
        world.did(Command::UpdateNode(UpdateNode {
            id: node_id(n),
            revision: None,
            label_add: [].into(),
            label_rm: vec![],
            availability: Some(Availability::Pause),
        }));
    }
    world.update_service(id, |spec| spec.mode = proto::spec::Mode::Replicated(2));
    world.settle();
    let waits = world.wanted(id).into_iter().find(|(_, task)| task.node_id.is_none()).unwrap().0;
    rotate(&mut world, 1);
    world.did(Command::UpdateNode(UpdateNode {
        id: node_id(1),
        revision: None,
        label_add: [].into(),
        label_rm: vec![],
        availability: Some(Availability::Active),
    }));
    world.settle();
    let task = world.state.task(waits).unwrap();
    assert_eq!(task.secrets.first().map(|it| it.version), Some(Version(1)), "{task:?}");
}

#[test]
fn a_failing_version_goes_back_to_the_one_before() {
    let (mut world, id) = running(3, rolls_back);
    let before = world.wanted(id);
    let declared = world.state.service(id).unwrap().spec_revision;
    let version = rotate(&mut world, 1);
    fail_what_is_new(&mut world, id, version);
    world.wake();
    assert_eq!(update(&world, id).state, UpdateState::RollbackCompleted);
    assert_eq!(mounted(&world, id), [1, 1, 1]);
    let service = world.state.service(id).unwrap();
    assert_eq!(service.spec_revision, declared);
    let untouched =
        world.wanted(id).iter().filter(|(id, _)| before.iter().any(|b| b.0 == *id)).count();
    assert_eq!(untouched, 2, "tasks of before that still ran were not touched");
    // The secret keeps its new version; who starts there is of the old one until something is declared.
    assert_eq!(world.state.secret(secret_id(1)).unwrap().current, version);
    world.update_service(id, |spec| {
        spec.labels = proto::name::Labels::new([("a".into(), "b".into())].into()).unwrap();
    });
    world.go_on();
    assert_eq!(mounted(&world, id), [1, 1, 1], "a label brings nothing new");
    world.update_service(id, |spec| spec.task.force_update += 1);
    world.go_on();
    while world.wake() {
        world.go_on();
    }
    assert_eq!(mounted(&world, id), [2, 2, 2], "what is declared now follows the current version");
    // Declared again as it was then is another declaration: it means another version.
    world.update_service(id, |spec| spec.task.force_update -= 1);
    assert_ne!(world.state.service(id).unwrap().spec_revision, declared);
}

#[test]
fn an_operator_goes_back_and_forth_between_versions() {
    let (mut world, id) = running(2, |spec| spec.update.parallelism = 0);
    rotate(&mut world, 1);
    world.go_on();
    world.wake();
    for wanted in [1, 2, 1] {
        let revision = world.revision_of_service(id);
        world.did(Command::RollBackService { id, revision });
        world.go_on();
        while world.wake() {
            world.go_on();
        }
        assert_eq!(mounted(&world, id), [wanted; 2]);
    }
}

#[test]
fn a_rotation_during_an_update_keeps_the_way_back_to_what_ran() {
    let (mut world, id) = running(3, rolls_back);
    let first = world.state.service(id).unwrap().clone();
    world.update_service(id, |spec| spec.task.env = vec!["A=B".into()]);
    world.go_on();
    let (v2, v3) = (rotate(&mut world, 1), rotate(&mut world, 1));
    assert_eq!((v2, v3), (Version(2), Version(3)));
    let now = world.state.service(id).unwrap();
    assert_eq!(now.previous_spec.as_ref(), Some(&first.spec));
    assert_eq!(now.previous_spec_revision, Some(first.spec_revision));
    fail_what_is_new(&mut world, id, v3);
    world.wake();
    let back = world.state.service(id).unwrap();
    assert_eq!((&back.spec, back.spec_revision), (&first.spec, first.spec_revision));
    assert_eq!(mounted(&world, id), [1, 1, 1]);
}

#[test]
fn a_paused_update_stays_paused_and_what_starts_gets_the_new_version() {
    let (mut world, id) = running(2, |_| ());
    world.update_service(id, bad);
    world.go_on();
    let paused = update(&world, id);
    assert_eq!(paused.state, UpdateState::Paused);
    rotate(&mut world, 1);
    world.go_on();
    assert_eq!(update(&world, id), paused, "it did not go on and fail once more");
    assert!(mounted(&world, id).contains(&1), "{:?}", mounted(&world, id));
    // The operator declares something better, which goes on with the new version.
    world.update_service(id, |spec| spec.task.command = vec!["sleep".into(), "2000".into()]);
    world.go_on();
    while world.wake() {
        world.go_on();
    }
    assert_eq!(mounted(&world, id), [2, 2]);
}

#[test]
fn an_update_of_what_is_placed_alone_does_not_adopt_tasks_of_another_version() {
    let (mut world, id) = running(2, rolls_back);
    let version = rotate(&mut world, 1);
    fail_what_is_new(&mut world, id, version);
    world.wake();
    assert_eq!(mounted(&world, id), [1, 1]);
    world.update_service(id, |spec| spec.task.placement.replicas_per_node_max = 9);
    world.go_on();
    while world.wake() {
        world.go_on();
    }
    assert_eq!(mounted(&world, id), [2, 2]);
}

#[test]
fn a_rotation_that_must_not_be_changes_nothing() {
    let mut world = World::founded();
    world.create_secret(1, "a");
    let good = next(&world, 1);
    let refused = |world: &mut World, change: &dyn Fn(&mut RotateSecret)| {
        let mut wrong = good.clone();
        change(&mut wrong);
        let before = objects(&world.state);
        let refusal = world.run(Command::RotateSecret(wrong)).outcome.unwrap_err();
        assert_eq!(objects(&world.state), before);
        refusal.kind()
    };
    assert_eq!(refused(&mut world, &|it| it.id = secret_id(9)), Kind::NotFound);
    assert_eq!(refused(&mut world, &|it| it.version = Version(1)), Kind::Conflict);
    assert_eq!(refused(&mut world, &|it| it.version = Version(3)), Kind::Conflict);
    let other_root = KeyId::from_bytes([66; 16]);
    assert_eq!(
        refused(&mut world, &|it| it.payload = payload(90, other_root, 64)),
        Kind::Unavailable
    );
    assert_eq!(refused(&mut world, &|it| it.transit_key_id = other_root), Kind::Conflict);
    assert_eq!(refused(&mut world, &|it| it.payload = payload(1, ROOT, 64)), Kind::Invalid);
    assert_eq!(
        refused(&mut world, &|it| it.payload = payload(90, ROOT, 100_000)),
        Kind::TooLarge,
        "the quota"
    );
    world.did(Command::RotateSecret(good.clone()));
    assert_eq!(refused(&mut world, &|_| ()), Kind::Conflict, "somebody was quicker");
}

#[test]
fn a_retry_is_answered_with_the_version_it_made() {
    let (mut world, _) = running(1, |_| ());
    let mut envelope = world.envelope(Command::RotateSecret(next(&world, 1)));
    envelope.request = Some(world.mark(1));
    let first = world.apply(envelope.clone()).outcome;
    let index = world.state.secret(secret_id(1)).unwrap().revision;
    assert_eq!(first, Ok(Outcome::Secret { id: secret_id(1), version: Version(2) }));
    assert_eq!(world.apply(envelope).outcome, first);
    assert_eq!(world.state.secret(secret_id(1)).unwrap().revision, index);
    assert_eq!(world.state.secret(secret_id(1)).unwrap().current, Version(2));
}

#[test]
fn a_deployer_rotates_what_it_may_deploy_with() {
    let mut world = World::founded();
    world.create_secret(1, "a");
    for (n, role, may) in [(7, OperatorRole::Deployer, false), (8, OperatorRole::Writer, true)] {
        let caller = world.operator(n, role, "team");
        let mut envelope = world.envelope(Command::RotateSecret(next(&world, 1)));
        envelope.caller = caller;
        let outcome = world.apply(envelope).outcome;
        assert_eq!(outcome.is_ok(), may, "{outcome:?}");
    }
}

#[test]
fn the_oldest_version_that_nothing_uses_makes_room() {
    // One service holds version 1 by its pin, another version 2 by what it can go back to.
    let (mut world, id) = running(1, |spec| {
        spec.task.secrets[0].version = VersionChoice::Pinned(Version(1));
    });
    let kept = VERSIONS_MAX as u64;
    for _ in 1..kept {
        rotate(&mut world, 1);
    }
    let versions = |world: &World| -> Vec<u64> {
        world.state.secret(secret_id(1)).unwrap().versions.keys().map(|it| it.0).collect()
    };
    assert_eq!(versions(&world), (1..=kept).collect::<Vec<_>>(), "so many are kept");
    rotate(&mut world, 1);
    let mut expected: Vec<_> = (1..=kept + 1).collect();
    expected.remove(1);
    assert_eq!(versions(&world), expected, "2 is gone: 1 is in use");
    let (_, tombstone) = world.state.shredding().of(secret_id(1)).unwrap();
    assert_eq!(tombstone.versions, [Version(2)]);
    assert!(!tombstone.need.urgent && tombstone.shredded.is_none());
    // And all of them in use is told.
    world.update_service(id, |spec| {
        let reference = spec.task.secrets[0].clone();
        spec.task.secrets.clear();
        for version in expected.iter().filter(|version| **version != kept + 1) {
            let mut reference = reference.clone();
            reference.version = VersionChoice::Pinned(Version(*version));
            reference.target = format!("v{version}").parse().unwrap();
            spec.task.secrets.push(reference);
        }
    });
    let rotate = next(&world, 1);
    let refused = world.run(Command::RotateSecret(rotate)).outcome.unwrap_err();
    assert_eq!(refused.kind(), Kind::TooLarge);
    assert!(refused.to_string().contains("versions of a secret in use"), "{refused}");
}

/// A version that made room is as removed as the last one: who does not want to wait, waits for neither.
#[test]
fn versions_that_made_room_are_shredded_at_once_with_the_secret() {
    let mut world = World::founded();
    world.create_secret(1, "db-password");
    for _ in 0..=VERSIONS_MAX {
        rotate(&mut world, 1);
    }
    let waiting = |world: &World| -> Vec<bool> {
        let all = world.state.shredding().tombstones().values();
        all.filter(|it| it.secret_id == secret_id(1)).map(|it| it.need.urgent).collect()
    };
    assert_eq!(waiting(&world), [false, false]);
    let id = secret_id(1);
    world.did(Command::RemoveSecret { id, forget_previous: false, shred: Some(true) });
    assert_eq!(waiting(&world), [true; 3]);
}
