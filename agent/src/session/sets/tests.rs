use std::cell::RefCell;
use std::collections::BTreeSet;

use proptest::prelude::*;
use prost::Message as _;
use proto::id::ServiceId;
use proto::limits::{CONFIG_BYTES_MAX, CONFIGS_BYTES_MAX, CONFIGS_MAX, MESSAGE_BYTES_MAX};
use proto::sealed::{ALGORITHM_XCHACHA20_POLY1305, FORMAT};

use super::*;

/// Opens what [`delivery`] sealed, and remembers the numbers.
#[derive(Default)]
struct Fake(RefCell<Vec<u64>>);

impl Opener for Fake {
    type Key = u64;

    fn open(
        &self,
        delivery: &Delivery,
        sealed_dek: &WrappedKey,
        ciphertext: &Ciphertext,
    ) -> Result<u64, OpenError> {
        if *sealed_dek.as_bytes() != sealed_for(delivery, ciphertext.as_bytes()) {
            return Err(OpenError);
        }
        self.0.borrow_mut().push(delivery.message_number);
        Ok(delivery.message_number)
    }
}

/// Bytes with a header that depend on all that a delivery is bound to.
fn sealed_for(delivery: &Delivery, ciphertext: &[u8]) -> Bytes {
    let text = format!("{delivery:?} {ciphertext:?}");
    let mut bytes = vec![FORMAT, ALGORITHM_XCHACHA20_POLY1305];
    bytes.extend_from_slice(&seal::digest_of(text.as_bytes()));
    bytes.resize(100, 0);
    bytes.into()
}

fn task_id(number: usize) -> TaskId {
    let mut entropy = [0; 17];
    entropy[..8].copy_from_slice(&number.to_be_bytes());
    TaskId::from_entropy(entropy)
}

fn secret(number: usize) -> SecretVersion {
    let mut entropy = [1; 17];
    entropy[..8].copy_from_slice(&number.to_be_bytes());
    SecretVersion { secret_id: SecretId::from_entropy(entropy), version: Version(1) }
}

fn delivery_of(number: u64, task: usize, of: usize) -> Delivery {
    let SecretVersion { secret_id, version } = secret(of);
    let payload_id = PayloadId::from_bytes([7; 16]);
    Delivery { message_number: number, task_id: task_id(task), secret_id, version, payload_id }
}

fn delivery(number: u64, task: usize, of: usize) -> pb::SecretDelivery {
    let delivery = delivery_of(number, task, of);
    let mut ciphertext = vec![FORMAT, ALGORITHM_XCHACHA20_POLY1305];
    ciphertext.resize(100, 0);
    pb::SecretDelivery {
        message_number: number,
        task_id: delivery.task_id.to_string(),
        secret_id: delivery.secret_id.to_string(),
        version: delivery.version.0,
        payload_id: delivery.payload_id.as_bytes().to_vec().into(),
        sealed_dek: sealed_for(&delivery, &ciphertext),
        ciphertext: ciphertext.into(),
    }
}

fn assignment(
    task: usize,
    revision: u64,
    desired: DesiredState,
    refers_to: &[usize],
) -> pb::TaskAssignment {
    let reference = |of: &usize| pb::ResolvedReference {
        secret_id: secret(*of).secret_id.to_string(),
        secret_name: format!("s{of}"),
        version: 1,
        target: format!("t{of}"),
        uid: None,
        gid: None,
        mode: 0o400,
    };
    pb::TaskAssignment {
        task_id: task_id(task).to_string(),
        service_id: ServiceId::from_entropy([3; 17]).to_string(),
        service_name: "web".into(),
        slot: 1,
        revision,
        desired_state: pb::DesiredState::from(desired).into(),
        spec: Some(pb::TaskSpec::default()),
        secrets: refers_to.iter().map(reference).collect(),
        declared: None,
    }
}

fn runs(task: usize, refers_to: &[usize]) -> Message {
    Message::Task(Box::new(assignment(task, 1, DesiredState::Running, refers_to)))
}

fn begin(applies_to: u64) -> Message {
    Message::Begin(pb::Begin { applies_to, complete: false })
}

fn complete() -> Message {
    Message::Begin(pb::Begin { applies_to: 0, complete: true })
}

fn end(results_in: u64) -> Message {
    Message::End(pb::End { results_in })
}

fn delivers(number: u64, task: usize, of: usize) -> Message {
    Message::Secret(delivery(number, task, of))
}

fn no_task(task: usize) -> Message {
    Message::TaskRemoval(pb::TaskRemoval { task_id: task_id(task).to_string() })
}

fn no_secret(of: usize) -> Message {
    let secret_id = secret(of).secret_id.to_string();
    Message::SecretRemoval(pb::SecretRemoval { secret_id, version: 1 })
}

fn take(
    sets: &mut Sets<u64>,
    messages: impl IntoIterator<Item = Message>,
) -> Result<Step, SetError> {
    let mut last = Step::Nothing;
    for message in messages {
        last = sets.take(message, &Fake::default())?;
    }
    Ok(last)
}

fn fresh() -> Sets<u64> {
    Sets::new(Holdings::default())
}

fn tasks(sets: &Sets<u64>) -> Vec<TaskId> {
    sets.holdings().assigned.keys().copied().collect()
}

fn held(sets: &Sets<u64>) -> Vec<SecretVersion> {
    sets.holdings().held.keys().copied().collect()
}

#[test]
fn nothing_is_in_force_before_the_end_and_then_all_of_it_is() {
    let mut sets = fresh();
    // In any order: the end decides.
    let step = take(&mut sets, [complete(), delivers(1, 1, 1), runs(1, &[1]), runs(2, &[])]);
    assert_eq!(step, Ok(Step::Nothing));
    assert_eq!((tasks(&sets), held(&sets)), (vec![], vec![]));
    assert_eq!(take(&mut sets, [end(7)]), Ok(Step::Applied));
    assert_eq!(tasks(&sets), [task_id(1), task_id(2)]);
    assert_eq!(held(&sets), [secret(1)]);
    assert_eq!(sets.results_in(), 7);
}

#[test]
fn a_set_changes_what_the_one_before_resulted_in() {
    let mut sets = fresh();
    take(&mut sets, [complete(), runs(1, &[1]), runs(2, &[2]), delivers(1, 1, 1), end(7)]).unwrap();
    let step = take(&mut sets, [begin(7), delivers(2, 2, 2), no_task(1), runs(3, &[]), end(9)]);
    assert_eq!(step, Ok(Step::Applied));
    assert_eq!(tasks(&sets), [task_id(2), task_id(3)]);
    assert_eq!(held(&sets), [secret(2)], "nobody names the other one any more");
}

#[test]
fn a_complete_set_replaces_all_tasks_and_keeps_the_secrets_they_name() {
    let mut sets = fresh();
    let first = [complete(), runs(1, &[1]), runs(2, &[2]), delivers(1, 1, 1), delivers(2, 2, 2)];
    take(&mut sets, first).unwrap();
    take(&mut sets, [end(7)]).unwrap();
    take(&mut sets, [complete(), runs(2, &[2]), end(3)]).unwrap();
    assert_eq!((tasks(&sets), held(&sets)), (vec![task_id(2)], vec![secret(2)]));
}

#[test]
fn a_new_session_begins_with_what_it_said_it_holds() {
    let mut sets = fresh();
    take(&mut sets, [complete(), runs(1, &[1]), delivers(5, 1, 1), end(7)]).unwrap();
    let holdings = sets.holdings().clone();
    let (stated_tasks, stated_secrets) = holdings.statement();
    assert_eq!(
        (stated_tasks[0].task_id.as_str(), stated_tasks[0].revision),
        (task_id(1).as_str(), 1)
    );
    assert_eq!(stated_secrets[0].payload_id[..], [7; 16]);
    // Numbers and revisions begin anew; 0 is what was stated.
    let mut next = Sets::new(holdings);
    take(&mut next, [begin(0), runs(2, &[2]), delivers(1, 2, 2), end(3)]).unwrap();
    assert_eq!(held(&next), [secret(1), secret(2)]);
}

#[test]
fn after_a_gap_nothing_is_taken_until_everything_comes() {
    let mut sets = fresh();
    take(&mut sets, [complete(), runs(1, &[]), end(7)]).unwrap();
    assert_eq!(take(&mut sets, [begin(8)]), Ok(Step::WantEverything));
    let ignored = [runs(2, &[2]), delivers(1, 2, 2), no_task(1), no_secret(1), end(9), begin(7)];
    assert_eq!(take(&mut sets, ignored), Ok(Step::Nothing), "it is asked for once");
    assert_eq!(take(&mut sets, [runs(3, &[]), end(10)]), Ok(Step::Nothing));
    assert_eq!(tasks(&sets), [task_id(1)]);
    let replayed = take(&mut sets, [delivers(1, 2, 2)]);
    assert_eq!(
        replayed,
        Err(SetError::Replayed { number: 1, last: 1 }),
        "numbers are taken all the same"
    );
    let step = take(&mut sets, [complete(), runs(2, &[2]), delivers(2, 2, 2), end(11)]);
    assert_eq!(step, Ok(Step::Applied));
    assert_eq!((tasks(&sets), held(&sets)), (vec![task_id(2)], vec![secret(2)]));
    assert_eq!(take(&mut sets, [begin(11), end(12)]), Ok(Step::Applied));
}

#[test]
fn a_number_is_taken_once_and_in_order() {
    for numbers in [[1, 1], [2, 1], [0, 0]] {
        let mut sets = fresh();
        let messages = [complete(), runs(1, &[1]), delivers(numbers[0], 1, 1)];
        let result =
            take(&mut sets, messages).and_then(|_| take(&mut sets, [delivers(numbers[1], 1, 1)]));
        assert!(matches!(result, Err(SetError::Replayed { .. })), "{numbers:?}");
    }
    let mut sets = fresh();
    let messages =
        [complete(), runs(1, &[1]), delivers(1, 1, 1), end(1), begin(1), delivers(1, 1, 1)];
    assert_eq!(take(&mut sets, messages), Err(SetError::Replayed { number: 1, last: 1 }));
}

#[test]
fn an_altered_delivery_does_not_open() {
    type Change = fn(&mut pb::SecretDelivery);
    let changes: [Change; 6] = [
        |d| d.message_number = 2,
        |d| d.task_id = task_id(2).to_string(),
        |d| d.secret_id = secret(2).secret_id.to_string(),
        |d| d.version = 2,
        |d| d.payload_id = vec![8; 16].into(),
        |d| {
            d.ciphertext =
                delivery(1, 1, 1).ciphertext.iter().rev().copied().rev().chain([1]).collect();
        },
    ];
    for change in changes {
        let mut altered = delivery(1, 1, 1);
        change(&mut altered);
        let mut sets = fresh();
        take(&mut sets, [complete(), runs(1, &[1, 2]), runs(2, &[1])]).unwrap();
        let result = take(&mut sets, [Message::Secret(altered)]);
        assert!(matches!(result, Err(SetError::DoesNotOpen { .. })), "{result:?}");
    }
}

#[test]
fn a_delivery_that_no_assignment_names_spoils_the_whole_set() {
    let foreign = |messages: Vec<Message>| {
        let mut sets = fresh();
        take(&mut sets, [complete(), runs(9, &[9]), delivers(1, 9, 9), end(1)]).unwrap();
        let result = take(&mut sets, messages);
        assert!(matches!(result, Err(SetError::Foreign { .. })), "{result:?}");
        assert_eq!((tasks(&sets), held(&sets)), (vec![task_id(9)], vec![secret(9)]));
    };
    // Of no task, of a task that does not name it, of a task that goes, of another task's set.
    foreign(vec![begin(1), runs(1, &[1]), delivers(2, 2, 1), end(2)]);
    foreign(vec![begin(1), runs(1, &[1]), delivers(2, 1, 2), end(2)]);
    foreign(vec![begin(1), delivers(2, 9, 9), no_task(9), end(2)]);
    foreign(vec![complete(), delivers(2, 9, 9), end(2)]);
}

#[test]
fn a_secret_is_held_while_a_task_that_may_start_names_it() {
    let mut sets = fresh();
    take(&mut sets, [complete(), runs(1, &[1]), runs(2, &[1]), delivers(1, 1, 1), end(1)]).unwrap();
    let down = |task, desired| Message::Task(Box::new(assignment(task, 2, desired, &[1])));
    take(&mut sets, [begin(1), down(1, DesiredState::Shutdown), end(2)]).unwrap();
    assert_eq!(held(&sets), [secret(1)]);
    take(&mut sets, [begin(2), down(2, DesiredState::Remove), end(3)]).unwrap();
    assert_eq!((tasks(&sets).len(), held(&sets)), (2, vec![]));
    take(&mut sets, [begin(3), down(2, DesiredState::Ready), delivers(2, 2, 1), end(4)]).unwrap();
    assert_eq!(held(&sets), [secret(1)]);
    take(&mut sets, [begin(4), no_secret(1), end(5)]).unwrap();
    assert_eq!(held(&sets), []);
}

fn config_id(number: usize) -> ConfigId {
    let mut entropy = [0; 17];
    entropy[..8].copy_from_slice(&number.to_le_bytes());
    ConfigId::from_entropy(entropy)
}

fn with_config(task: usize, revision: u64, desired: DesiredState, configs: &[usize]) -> Message {
    let mut message = assignment(task, revision, desired, &[]);
    let configs = configs.iter().map(|number| pb::ConfigReference {
        config_id: config_id(*number).to_string(),
        config_name: format!("c{number}"),
        target: format!("c{number}"),
        ..Default::default()
    });
    message.spec.as_mut().unwrap().configs = configs.collect();
    Message::Task(Box::new(message))
}

fn gives(task: usize, number: usize, bytes: usize) -> Message {
    Message::Config(pb::ConfigDelivery {
        task_id: task_id(task).to_string(),
        config_id: config_id(number).to_string(),
        data: vec![7; bytes].into(),
    })
}

fn no_config(number: usize) -> Message {
    Message::ConfigRemoval(pb::ConfigRemoval { config_id: config_id(number).to_string() })
}

fn configs(sets: &Sets<u64>) -> Vec<ConfigId> {
    sets.holdings().configs.keys().copied().collect()
}

#[test]
fn a_config_is_held_while_a_task_that_may_start_names_it() {
    let mut sets = fresh();
    let runs = |task, configs: &[usize]| with_config(task, 1, DesiredState::Running, configs);
    let begun = [complete(), runs(1, &[1, 2]), runs(2, &[1]), gives(1, 1, 3), gives(1, 2, 3)];
    take(&mut sets, begun).unwrap();
    assert_eq!(configs(&sets), [], "not before the end");
    take(&mut sets, [end(1)]).unwrap();
    assert_eq!(configs(&sets).len(), 2);
    let down = |task, numbers: &[usize]| with_config(task, 2, DesiredState::Shutdown, numbers);
    take(&mut sets, [begin(1), down(1, &[1, 2]), end(2)]).unwrap();
    assert_eq!(configs(&sets), [config_id(1)]);
    // A new session keeps it without a delivery.
    let mut sets = Sets::new(sets.holdings().clone());
    take(&mut sets, [complete(), runs(2, &[1]), end(1)]).unwrap();
    assert_eq!(configs(&sets), [config_id(1)]);
    take(&mut sets, [begin(1), no_config(1), end(2)]).unwrap();
    assert_eq!(configs(&sets), []);
}

#[test]
fn a_config_that_no_assignment_names_spoils_the_whole_set() {
    for messages in [
        vec![begin(1), gives(1, 2, 3), end(2)],
        vec![begin(1), gives(2, 1, 3), end(2)],
        vec![begin(1), gives(1, 1, 3), no_task(1), end(2)],
    ] {
        let mut sets = fresh();
        let first = with_config(1, 1, DesiredState::Running, &[1]);
        take(&mut sets, [complete(), first, gives(1, 1, 3), end(1)]).unwrap();
        let result = take(&mut sets, messages);
        assert!(matches!(result, Err(SetError::ForeignConfig { .. })), "{result:?}");
        assert_eq!((tasks(&sets), configs(&sets)), (vec![task_id(1)], vec![config_id(1)]));
    }
}

#[test]
fn what_comes_of_configs_is_bounded() {
    let one = |bytes| {
        let mut sets = fresh();
        take(&mut sets, [complete(), gives(1, 1, bytes)])
    };
    assert_eq!(one(CONFIG_BYTES_MAX), Ok(Step::Nothing));
    let limit = CONFIG_BYTES_MAX;
    assert_eq!(one(limit + 1), Err(SetError::TooMany { what: "bytes of one config", limit }));
    assert!(matches!(one(0), Err(SetError::Malformed { .. })));
    assert!(matches!(take(&mut fresh(), [gives(1, 1, 1)]), Err(SetError::OutOfTurn(_))));

    let mut sets = fresh();
    take(&mut sets, [complete()]).unwrap();
    let limit = usize::try_from(CONFIGS_BYTES_MAX).unwrap();
    let fit = limit / CONFIG_BYTES_MAX;
    take(&mut sets, (0..fit).map(|number| gives(1, number, CONFIG_BYTES_MAX))).unwrap();
    let rest = limit - fit * CONFIG_BYTES_MAX;
    take(&mut sets, [gives(1, fit, rest)]).unwrap();
    let over = take(&mut sets, [gives(1, fit + 1, 1)]);
    assert_eq!(over, Err(SetError::TooMany { what: "bytes of configs", limit }));

    let mut sets = fresh();
    take(&mut sets, [complete()]).unwrap();
    let mut given =
        (0..=CONFIGS_MAX).map(|number| sets.take(gives(1, number, 1), &Fake::default()));
    let limit = CONFIGS_MAX;
    assert!(given.by_ref().take(limit).all(|step| step.is_ok()));
    assert_eq!(given.next(), Some(Err(SetError::TooMany { what: "configs", limit })));
}

#[test]
fn messages_out_of_turn_are_refused() {
    let out_of_turn = |messages: Vec<Message>| {
        let result = take(&mut fresh(), messages);
        assert!(matches!(result, Err(SetError::OutOfTurn(_))), "{result:?}");
    };
    for change in [runs(1, &[]), no_task(1), delivers(1, 1, 1), no_secret(1), end(1)] {
        out_of_turn(vec![change]);
    }
    out_of_turn(vec![complete(), complete()]);
    out_of_turn(vec![complete(), end(1), end(1)]);
}

#[test]
fn malformed_messages_are_refused() {
    let refused = |message: Message| {
        let result = take(&mut fresh(), [complete(), message]);
        assert!(matches!(result, Err(SetError::Malformed { .. })), "{result:?}");
    };
    refused(Message::TaskRemoval(pb::TaskRemoval { task_id: "x".into() }));
    refused(Message::SecretRemoval(pb::SecretRemoval { secret_id: "x".into(), version: 1 }));
    let mut nobody = assignment(1, 1, DesiredState::Running, &[]);
    nobody.task_id = String::new();
    refused(Message::Task(Box::new(nobody)));
    for change in [
        (|d| d.payload_id = Bytes::new()) as fn(&mut pb::SecretDelivery),
        |d| d.sealed_dek = Bytes::new(),
        |d| d.ciphertext = Bytes::new(),
        |d| d.task_id = "x".into(),
    ] {
        let mut message = delivery(1, 1, 1);
        change(&mut message);
        refused(Message::Secret(message));
    }
}

#[test]
fn a_task_that_is_not_understood_does_not_keep_the_others_away() {
    let mut sets = fresh();
    let mut strange = assignment(1, 1, DesiredState::Running, &[1]);
    strange.desired_state = 99;
    let strange = || Message::Task(Box::new(strange.clone()));
    let set = [complete(), strange(), delivers(1, 1, 1), runs(2, &[2]), delivers(2, 2, 2), end(1)];
    assert_eq!(take(&mut sets, set), Ok(Step::Applied));
    assert_eq!((tasks(&sets), held(&sets)), (vec![task_id(2)], vec![secret(2)]));
    assert_eq!(sets.holdings().not_understood[&task_id(1)], "desired_state: 99 is not known");
    take(&mut sets, [begin(1), runs(1, &[]), strange_again(2), end(2)]).unwrap();
    assert_eq!(tasks(&sets), [task_id(1)]);
    assert_eq!(sets.holdings().not_understood.len(), 1);
    take(&mut sets, [begin(2), no_task(2), end(3)]).unwrap();
    assert!(sets.holdings().not_understood.is_empty());
}

fn strange_again(task: usize) -> Message {
    let mut strange = assignment(task, 1, DesiredState::Running, &[]);
    strange.spec = None;
    Message::Task(Box::new(strange))
}

#[test]
fn bounds_hold_at_the_bound_and_one_past_it() {
    let many = |count: usize| {
        let mut sets = fresh();
        take(&mut sets, [complete()]).unwrap();
        take(&mut sets, (0..count).map(|task| runs(task, &[]))).unwrap();
        take(&mut sets, [end(1)])
    };
    assert_eq!(many(TASKS_MAX), Ok(Step::Applied));
    assert_eq!(many(TASKS_MAX + 1), Err(SetError::TooMany { what: "tasks", limit: TASKS_MAX }));

    let mut sets = fresh();
    take(&mut sets, [complete()]).unwrap();
    let per_task = 128;
    let tasks = (0..HELD_MAX / per_task).map(|task| {
        let secrets: Vec<usize> = (0..per_task).map(|n| task * per_task + n).collect();
        runs(task, &secrets)
    });
    take(&mut sets, tasks).unwrap();
    let deliveries = (0..HELD_MAX).map(|of| delivers(of as u64 + 1, of / per_task, of));
    take(&mut sets, deliveries).unwrap();
    let one_more = take(&mut sets, [delivers(HELD_MAX as u64 + 1, 0, 0)]);
    assert_eq!(one_more, Err(SetError::TooMany { what: "secrets", limit: HELD_MAX }));
    assert_eq!(take(&mut sets, [end(1)]), Ok(Step::Applied));
    assert_eq!(sets.holdings().held.len(), HELD_MAX);
}

#[test]
fn the_statement_of_all_that_can_be_held_fits_one_message() {
    let open = pb::Open {
        tasks: vec![
            pb::HeldTask { task_id: task_id(1).to_string(), revision: u64::MAX };
            TASKS_MAX
        ],
        secrets: vec![
            pb::HeldSecret {
                secret_id: secret(1).secret_id.to_string(),
                version: u64::MAX,
                payload_id: vec![7; 16].into(),
            };
            HELD_MAX
        ],
        configs: vec![config_id(1).to_string(); CONFIGS_MAX],
        ..Default::default()
    };
    assert!(open.encoded_len() < MESSAGE_BYTES_MAX - 4096, "{}", open.encoded_len());
}

/// What an honest dispatcher has in mind of one node.
#[derive(Debug, Clone, Default, PartialEq)]
struct World(BTreeMap<usize, (DesiredState, BTreeSet<usize>)>);

impl World {
    fn needs(&self) -> BTreeSet<usize> {
        let starting = self.0.values().filter(|(desired, _)| *desired <= DesiredState::Running);
        starting.flat_map(|(_, secrets)| secrets.iter().copied()).collect()
    }
}

/// An honest dispatcher: it keeps what it has sent, and sends the difference.
#[derive(Default)]
struct Dispatcher {
    world: World,
    sent: World,
    sent_secrets: BTreeSet<usize>,
    revision: u64,
    number: u64,
}

impl Dispatcher {
    /// The changes since the last set, in an order that `shuffle` chooses.
    fn set(&mut self, complete: bool, shuffle: u64) -> Vec<Message> {
        let applies_to = if complete { 0 } else { self.revision };
        if complete {
            (self.sent, self.sent_secrets) = Default::default();
        }
        self.revision += 1;
        let mut changes = Vec::new();
        for (task, (desired, secrets)) in &self.world.0 {
            if self.sent.0.get(task) != Some(&(*desired, secrets.clone())) {
                let secrets: Vec<usize> = secrets.iter().copied().collect();
                let task = assignment(*task, self.revision, *desired, &secrets);
                changes.push(Message::Task(Box::new(task)));
            }
        }
        let gone = self.sent.0.keys().filter(|task| !self.world.0.contains_key(task));
        changes.extend(gone.map(|task| no_task(*task)));
        let at = usize::try_from(shuffle % 7).unwrap() % (changes.len() + 1);
        let mut deliveries = Vec::new();
        for of in self.world.needs() {
            if self.sent_secrets.insert(of) {
                let needs =
                    |(_, (desired, secrets)): &(&usize, &(DesiredState, BTreeSet<usize>))| {
                        *desired <= DesiredState::Running && secrets.contains(&of)
                    };
                let task = self.world.0.iter().find(needs).map(|(task, _)| *task).unwrap();
                self.number += 1;
                deliveries.push(delivers(self.number, task, of));
            }
        }
        changes.splice(at..at, deliveries);
        let needs = self.world.needs();
        self.sent_secrets.retain(|of| needs.contains(of));
        self.sent = self.world.clone();
        let begin = Message::Begin(pb::Begin { applies_to, complete });
        std::iter::once(begin).chain(changes).chain([end(self.revision)]).collect()
    }
}

fn agrees(sets: &Sets<u64>, world: &World) -> bool {
    let holdings = sets.holdings();
    let tasks = holdings.assigned.values().map(|task| {
        let secrets: BTreeSet<SecretVersion> = task.secrets.iter().map(|r| r.secret).collect();
        (task.task_id, task.desired, secrets)
    });
    let wanted = world.0.iter().map(|(task, (desired, secrets))| {
        (task_id(*task), *desired, secrets.iter().copied().map(secret).collect())
    });
    let mut tasks: Vec<_> = tasks.collect();
    let mut wanted: Vec<_> = wanted.collect();
    tasks.sort_by_key(|task| task.0);
    wanted.sort_by_key(|task| task.0);
    let held: BTreeSet<SecretVersion> = holdings.held.keys().copied().collect();
    tasks == wanted && held == world.needs().into_iter().map(secret).collect()
}

fn desired() -> impl Strategy<Value = DesiredState> {
    prop::sample::select(vec![
        DesiredState::Ready,
        DesiredState::Running,
        DesiredState::Shutdown,
        DesiredState::Remove,
    ])
}

#[derive(Debug, Clone)]
enum Event {
    Assign(usize, DesiredState, BTreeSet<usize>),
    Unassign(usize),
    /// A set is sent whole.
    Send(u64),
    /// A set is made and never arrives.
    Lose,
    /// A set arrives without its end, and the session with it ends.
    Cut(u64, usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0..4_usize, desired(), prop::collection::btree_set(0..5_usize, 0..3))
            .prop_map(|(task, desired, secrets)| Event::Assign(task, desired, secrets)),
        1 => (0..4_usize).prop_map(Event::Unassign),
        3 => any::<u64>().prop_map(Event::Send),
        1 => Just(Event::Lose),
        1 => (any::<u64>(), 0..6_usize).prop_map(|(shuffle, kept)| Event::Cut(shuffle, kept)),
    ]
}

/// Any message, honest or not, from a small world so that they meet each other.
fn any_message() -> impl Strategy<Value = (u8, u64, usize, usize, bool, Vec<usize>)> {
    let refers_to = prop::collection::vec(0..4_usize, 0..3);
    (0..6_u8, 0..6_u64, 0..3_usize, 0..4_usize, any::<bool>(), refers_to)
}

fn message(
    (kind, number, task, of, flag, refers_to): (u8, u64, usize, usize, bool, Vec<usize>),
) -> Message {
    match kind {
        0 => Message::Begin(pb::Begin { applies_to: number, complete: flag }),
        1 => {
            let desired = if flag { DesiredState::Running } else { DesiredState::Shutdown };
            Message::Task(Box::new(assignment(task, number, desired, &refers_to)))
        }
        2 => no_task(task),
        3 => {
            let mut delivery = delivery(number, task, of);
            if refers_to.len() == 2 {
                delivery.message_number += 1;
            }
            Message::Secret(delivery)
        }
        4 => no_secret(of),
        _ => end(number),
    }
}

proptest! {
    #[test]
    fn the_agent_has_what_an_honest_dispatcher_means_whatever_is_lost(
        events in prop::collection::vec(event(), 0..40),
    ) {
        let mut dispatcher = Dispatcher::default();
        let mut sets = fresh();
        let mut in_force = World::default();
        let mut wants_everything = true;
        for event in events.into_iter().chain([Event::Send(0), Event::Send(0)]) {
            match event {
                Event::Assign(task, desired, secrets) => {
                    dispatcher.world.0.insert(task, (desired, secrets));
                }
                Event::Unassign(task) => drop(dispatcher.world.0.remove(&task)),
                Event::Send(shuffle) => {
                    let complete = wants_everything;
                    let set = dispatcher.set(complete, shuffle);
                    let mut wish = false;
                    let mut applied = false;
                    for message in set {
                        match sets.take(message, &Fake::default()) {
                            Ok(Step::Applied) => applied = true,
                            Ok(Step::WantEverything) => wish = true,
                            Ok(Step::Nothing) => {}
                            Err(error) => prop_assert!(false, "{error}"),
                        }
                    }
                    prop_assert!(applied != wish);
                    wants_everything = wish;
                    if applied {
                        in_force = dispatcher.world.clone();
                    }
                }
                Event::Lose if wants_everything => {}
                Event::Lose => drop(dispatcher.set(false, 0)),
                Event::Cut(shuffle, kept) => {
                    let set = dispatcher.set(wants_everything, shuffle);
                    let kept = kept.min(set.len() - 1);
                    for message in set.into_iter().take(kept) {
                        prop_assert!(sets.take(message, &Fake::default()).is_ok());
                    }
                    // The next session begins with what was in force.
                    sets = Sets::new(sets.holdings().clone());
                    dispatcher = Dispatcher { world: dispatcher.world, ..Default::default() };
                    wants_everything = true;
                }
            }
            prop_assert!(agrees(&sets, &in_force));
        }
        prop_assert!(agrees(&sets, &dispatcher.world));
    }

    #[test]
    fn whatever_comes_only_what_was_opened_and_is_named_is_held(
        messages in prop::collection::vec(any_message(), 0..60),
    ) {
        let opener = Fake::default();
        let mut sets = fresh();
        for message in messages.into_iter().map(message) {
            let before = sets.holdings().clone();
            let step = sets.take(message, &opener);
            let after = sets.holdings();
            if step != Ok(Step::Applied) {
                prop_assert!(Arc::ptr_eq(&before.assigned, &after.assigned));
                prop_assert!(Arc::ptr_eq(&before.held, &after.held));
            }
            for (secret, held) in &*after.held {
                prop_assert!(opener.0.borrow().contains(&held.key));
                let is_needed = |task: &Assignment| may_start(task) && names(task, *secret);
                prop_assert!(after.assigned.values().any(is_needed));
            }
            prop_assert!(opener.0.borrow().windows(2).all(|pair| pair[0] < pair[1]));
            if step.is_err() {
                // As the session does.
                sets = Sets::new(after.clone());
                opener.0.borrow_mut().clear();
                let keys = sets.holdings().held.values().map(|held| held.key);
                let mut keys: Vec<u64> = keys.collect();
                keys.sort_unstable();
                keys.dedup();
                opener.0.borrow_mut().extend(keys);
                // Numbers of an earlier session are no order of this one.
                if !opener.0.borrow().is_empty() {
                    break;
                }
            }
        }
    }
}
