//! Commands in tasks: who may run one, in which, and that it is in the audit.

use proto::Kind;
use proto::id::TaskId;
use proto::identity::Caller;
use proto::task::TaskState;
use state::command::Command;
use state::object::{ObjectId, OperatorRole};
use state::{Outcome, Refusal};

use crate::world::*;

/// A world in which the task of a service with the secret of that number runs.
fn with_a_task() -> (World, TaskId) {
    let mut world = World::founded();
    world.create_secret(1, "theirs");
    world.create_secret(2, "another");
    let node = world.add_node(1, &[]);
    let service = world.create_service(1, World::spec("web", 1, &[(1, "theirs")]));
    world.settle();
    let (task, _) = world.state.tasks_of_service(service).next().unwrap();
    world.report(node, task, TaskState::Running);
    (world, task)
}

fn exec_as(world: &mut World, caller: Caller, task: TaskId) -> Result<Outcome, Refusal> {
    let mut envelope = world.envelope(Command::RecordExec { task });
    envelope.caller = caller;
    let applied = world.apply(envelope);
    assert!(applied.changes.is_empty(), "it changes nothing");
    applied.outcome
}

#[test]
fn a_command_needs_the_right_to_deploy_with_the_tasks_secrets() {
    let (mut world, task) = with_a_task();
    let theirs = world.operator(8, OperatorRole::Deployer, "team");
    let others = world.operator(9, OperatorRole::Deployer, "others");
    world.state.check();
    assert_eq!(exec_as(&mut world, ADMIN, task), Ok(Outcome::Done));
    for caller in [theirs, others] {
        let refused = exec_as(&mut world, caller, task).unwrap_err();
        assert_eq!(refused.kind(), Kind::Denied, "{refused}");
        assert!(refused.to_string().contains("theirs"), "{refused}");
    }
    // Each is on record, with the task, whether it was let through or not.
    let records = world.state.audit().records().rev().take(3);
    let records: Vec<_> = records.map(|(record, _)| record).collect();
    for record in &records {
        assert_eq!((&*record.action, record.object), ("exec_task", ObjectId::Task(task)));
    }
    let outcomes: Vec<_> = records.iter().map(|record| &*record.outcome).collect();
    assert_eq!(outcomes, ["denied", "denied", "ok"]);
    assert_eq!((records[0].caller, records[2].caller), (others, ADMIN));
}

#[test]
fn a_task_without_secrets_whose_service_has_one_by_now_is_not_shown() {
    let mut world = World::founded();
    world.create_secret(1, "theirs");
    let node = world.add_node(1, &[]);
    let service = world.create_service(1, World::spec("web", 1, &[]));
    world.settle();
    let (task, _) = world.state.tasks_of_service(service).next().unwrap();
    world.report(node, task, TaskState::Running);
    let deployer = world.operator(9, OperatorRole::Deployer, "others");
    assert_eq!(exec_as(&mut world, deployer, task), Ok(Outcome::Done));
    world.update_service(service, |spec| {
        *spec = World::spec("web", 1, &[(1, "theirs")]);
    });
    let refused = exec_as(&mut world, deployer, task).unwrap_err();
    assert_eq!(refused.kind(), Kind::Denied, "{refused}");
}

#[test]
fn a_command_is_run_only_in_a_task_that_runs() {
    let (mut world, task) = with_a_task();
    let unknown = exec_as(&mut world, ADMIN, TaskId::from_entropy([77; 17])).unwrap_err();
    assert_eq!(unknown.kind(), Kind::NotFound);
    let node = world.state.task(task).unwrap().node_id.unwrap();
    world.report(node, task, TaskState::Failed);
    let over = exec_as(&mut world, ADMIN, task).unwrap_err();
    assert_eq!(over.to_string(), "the task does not run: it is failed");
    let pending = world.create_service(2, World::spec("waits", 1, &[]));
    world.plan();
    let task = world.state.tasks_of_service(pending).next().map(|(task, _)| task);
    if let Some(task) = task {
        let early = exec_as(&mut world, ADMIN, task).unwrap_err();
        assert_eq!(early.kind(), Kind::Precondition, "{early}");
    }
}
