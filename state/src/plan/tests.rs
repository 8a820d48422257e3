//! Plans for a cluster that has as many tasks as it may; the others are tried from outside.

use proto::spec::{ServiceSpec, UpdateOrder};

use super::*;
use crate::object::StatusChange;

fn service(n: u8, replicas: u64) -> (ServiceId, Service) {
    let mut spec = ServiceSpec::new(format!("web-{n}").parse().unwrap());
    spec.mode = Mode::Replicated(replicas);
    let revision = Revision(u64::from(n));
    let service = Service {
        spec,
        previous_spec: None,
        followed: None,
        previous_followed: None,
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
        revision,
        spec_revision: revision,
        request: None,
        previous_spec_revision: None,
        update: None,
    };
    (ServiceId::from_entropy([n; 17]), service)
}

/// A task of this slot that runs, of what was declared before the service of [`service`].
fn outdated(id: ServiceId, service: &Service, slot: u64) -> Task {
    Task {
        service_id: id,
        service_name: service.spec.name.clone(),
        slot,
        spec: service.spec.task.clone(),
        spec_revision: Revision(0),
        node_id: None,
        desired: DesiredState::Running,
        status: StatusChange {
            state: TaskState::Running,
            at: Timestamp(0),
            message: String::new(),
            exit_code: None,
        },
        history: vec![],
        mounted: vec![],
        secrets: vec![],
        not_before: Timestamp(u64::MAX),
        attempts: 0,
        window_start: Timestamp(0),
        created_at: Timestamp(0),
        revision: Revision(0),
        for_node: None,
        made_by: None,
        ran_at: None,
        restarts: None,
        followed: None,
    }
}

fn plan(state: &State, tasks_max: usize) -> Plan {
    let mut made = 100;
    let mut ids = || {
        made += 1;
        TaskId::from_entropy([made; 17])
    };
    plan_within(tasks_max, state, Timestamp(7), &Scope::Everything, &mut ids)
}

#[test]
fn no_task_is_planned_for_which_there_is_no_room() {
    let mut state = State::new();
    for (id, service) in [service(1, 2), service(2, 3)] {
        state.put_service(id, service);
    }
    let all = plan(&state, 5);
    assert_eq!((all.steps.len(), all.no_room_for, all.wake_at), (5, 0, None));
    let most = plan(&state, 4);
    assert_eq!((most.steps.len(), most.no_room_for), (4, 1));
    // Nothing says so when there is room again, so time has to.
    assert_eq!(most.wake_at, Some(Timestamp(7 + NO_ROOM_MS)));
    assert!(!most.more, "what there is no room for is not planned again at once");
    assert_eq!(plan(&state, 0).no_room_for, 5);
}

#[test]
fn no_task_is_stopped_for_one_that_there_is_no_room_for() {
    let stopped = |plan: &Plan| {
        let stops = |step: &&Step| matches!(step, Step::SetDesired { .. });
        plan.steps.iter().filter(stops).count()
    };
    let made = |plan: &Plan| {
        let makes = |step: &&Step| matches!(step, Step::CreateTask { .. });
        plan.steps.iter().filter(makes).count()
    };
    let task_id = |slot: u64| TaskId::from_entropy([slot.to_le_bytes()[0]; 17]);
    for order in [UpdateOrder::StopFirst, UpdateOrder::StartFirst] {
        // Two services, three tasks: as many as there may be, or one fewer, or two.
        let mut state = State::new();
        let services = [service(1, 2), service(2, 1)];
        for ((id, mut service), slots) in services.into_iter().zip([1..=2, 3..=3]) {
            service.spec.update.parallelism = 0;
            service.spec.update.order = order;
            for slot in slots {
                let task = outdated(id, &service, if slot == 3 { 1 } else { slot });
                state.put_task(task_id(slot), task);
            }
            state.put_service(id, service);
        }
        for (room, missing) in [(0, 3), (1, 2), (2, 1), (3, 0)] {
            let plan = plan(&state, 3 + room);
            let begun = if order == UpdateOrder::StopFirst { stopped(&plan) } else { made(&plan) };
            assert_eq!((begun, plan.no_room_for), (room, missing), "{order:?}");
            assert_eq!(plan.wake_at, (missing > 0).then_some(Timestamp(7 + NO_ROOM_MS)));
        }
    }
    // One has stopped: the room is for what comes in its place, whichever is looked at first.
    for (gone, other) in [(1, 2), (2, 1)] {
        let mut state = State::new();
        let (id, mut web) = service(1, 2);
        web.spec.update.parallelism = 0;
        let mut stopped_one = outdated(id, &web, gone);
        stopped_one.desired = DesiredState::Shutdown;
        stopped_one.status.state = TaskState::Shutdown;
        state.put_task(task_id(gone), stopped_one);
        state.put_task(task_id(other), outdated(id, &web, other));
        state.put_service(id, web);
        let planned = |room: usize| {
            let plan = plan(&state, 2 + room);
            (stopped(&plan), made(&plan), plan.no_room_for)
        };
        assert_eq!([planned(1), planned(2)], [(0, 1, 1), (1, 1, 0)], "{gone}");
    }
}
