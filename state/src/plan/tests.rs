//! Plans for a cluster that has as many tasks as it may; the others are tried from outside.

use proto::spec::ServiceSpec;

use super::*;

fn service(n: u8, replicas: u64) -> (ServiceId, Service) {
    let mut spec = ServiceSpec::new(format!("web-{n}").parse().unwrap());
    spec.mode = Mode::Replicated(replicas);
    let revision = Revision(u64::from(n));
    let service = Service {
        spec,
        previous_spec: None,
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

#[test]
fn no_task_is_planned_for_which_there_is_no_room() {
    let mut state = State::new();
    for (id, service) in [service(1, 2), service(2, 3)] {
        state.put_service(id, service);
    }
    let plan = |state: &State, tasks_max| {
        let mut made = 0;
        let mut ids = || {
            made += 1;
            TaskId::from_entropy([made; 17])
        };
        plan_within(tasks_max, state, Timestamp(7), &Scope::Everything, &mut ids)
    };
    let all = plan(&state, 5);
    assert_eq!((all.steps.len(), all.no_room_for, all.wake_at), (5, 0, None));
    let most = plan(&state, 4);
    assert_eq!((most.steps.len(), most.no_room_for), (4, 1));
    // Nothing says so when there is room again, so time has to.
    assert_eq!(most.wake_at, Some(Timestamp(7 + NO_ROOM_MS)));
    assert!(!most.more, "what there is no room for is not planned again at once");
    assert_eq!(plan(&state, 0).no_room_for, 5);
}
