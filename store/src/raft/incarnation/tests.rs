//! What is read of a survivor's disk, and what another log begins with.

use proto::id::{Incarnation, KeyId, NodeId, Realm, Serial, Timestamp};
use proto::identity::{Caller, Subject};
use proto::sealed::WrappedKey;
use seal::LogKey;
use state::BeginIncarnation;
use state::command::{Command, Denial, InitCluster, LEVEL};
use state::object::{Authority, Blob, Certificate, Digest, TransitKey};

use super::*;
use crate::disk::SimulatedDisk;

const ME: MemberId = MemberId(1);
const OTHER: MemberId = MemberId(5);
const ROOT: KeyId = KeyId::from_bytes([1; 16]);

fn node() -> NodeId {
    NodeId::from_entropy([1; 17])
}

fn keys(incarnation: u64) -> Arc<LogKeys> {
    let (realm, incarnation) = (Realm::from_bytes([7; 16]), Incarnation(incarnation));
    let key = LogKey::make();
    let (id, disk) = (key.id(), seal::Disk { realm, incarnation, member: ME });
    Arc::new(LogKeys::new(disk, vec![key.into()], id))
}

fn certificate() -> Certificate {
    Certificate {
        subject: Subject::Manager(node(), ME),
        key_digest: Digest([9; 32]),
        issued_at: Timestamp(0),
        not_after: Timestamp(1_000_000_000),
        revoked: false,
        authority: None,
        rotation: None,
        superseded_at: None,
    }
}

fn wrapped() -> WrappedKey {
    let mut bytes = vec![proto::sealed::FORMAT, proto::sealed::ALGORITHM_XCHACHA20_POLY1305];
    bytes.extend_from_slice(ROOT.as_bytes());
    bytes.resize(200, 3);
    WrappedKey::new(bytes.into()).unwrap()
}

fn init() -> Command {
    let key = KeyId::from_bytes([2; 16]);
    Command::InitCluster(Box::new(InitCluster {
        realm: Realm::from_bytes([7; 16]),
        incarnation: Incarnation(1),
        authority: Authority {
            certificate: Blob::default(),
            digest: Digest([1; 32]),
            wrapped_key: wrapped(),
        },
        root: ROOT,
        transit_id: key,
        transit: TransitKey {
            public_key: Blob::default(),
            wrapped_key: wrapped(),
            created_at: Timestamp(0),
            not_after: Timestamp(1_000_000_000),
            signature: Blob::default(),
            signatures: None,
        },
        recipients: vec![],
        payload_quota_bytes: 1 << 20,
        member: ME,
        node_id: node(),
        hostname: "m1".parse().unwrap(),
        address: "127.0.0.1:1".into(),
        serial: Serial::from_bytes([1; 16]),
        certificate: certificate(),
        level_max: LEVEL,
    }))
}

fn envelope(body: Command) -> Envelope {
    let caller = Caller::Cluster { member: ME };
    Envelope { format: 1, request: None, caller, at: Timestamp(1_000), body }
}

fn begin(incarnation: u64, log_key: KeyId) -> Envelope {
    envelope(Command::BeginIncarnation(Box::new(BeginIncarnation {
        incarnation: Incarnation(incarnation),
        member: ME,
        serial: Serial::from_bytes([2; 16]),
        certificate: certificate(),
        log_key,
        root: ROOT,
        key_file_generation: 1,
        level_max: LEVEL,
    })))
}

fn denial(number: u64) -> Payload {
    let caller = Caller::Cluster { member: ME };
    let denial = Denial { caller, action: number.to_string(), count: 1 };
    Payload::Normal(Proposal::new(envelope(Command::RecordDenials(vec![denial]))))
}

fn two_vote() -> Payload {
    let node = |n: u64| PeerNode { address: format!("127.0.0.1:{n}"), node_id: "x".into() };
    let nodes = BTreeMap::from([(ME.0, node(1)), (OTHER.0, node(5))]);
    Payload::Membership(Membership::new(vec![[ME.0, OTHER.0].into()], nodes).unwrap())
}

/// A log of a member of two, in term 3 of the other one, with `count` denials at its end.
fn log_of_two(disk: &SimulatedDisk, keys: &Arc<LogKeys>, count: u64, committed: u64) {
    let (_, writer, _) =
        log::open(Arc::new(disk.clone()), keys.clone(), Box::new(|error| panic!("{error}")))
            .unwrap();
    let first = [two_vote(), Payload::Blank, Payload::Normal(Proposal::new(envelope(init())))];
    let entries = first.into_iter().chain((0..count).map(denial));
    let logged = (0..).zip(entries).map(|(index, payload)| {
        let log_id = LogId::new(LeaderId { term: 3, node_id: OTHER.0 }, index);
        entry_to_log(&Entry { log_id, payload })
    });
    let (tell, told) = mpsc::channel();
    writer.append(logged.collect(), Box::new(move |outcome| tell.send(outcome).unwrap()));
    told.recv().unwrap().unwrap();
    writer.save_committed(RecordPlace { term: 3, leader: OTHER, index: committed });
    writer.stop();
}

fn actions(state: &State) -> Vec<&str> {
    state.audit().records().map(|(record, _)| record.action.as_str()).collect()
}

fn read_all(disk: &SimulatedDisk, keys: &Arc<LogKeys>) -> Result<Survivor, StartError> {
    read(Arc::new(disk.clone()), keys.clone())
}

fn left() -> Left<'static> {
    Left { member: ME, address: "127.0.0.1:1", node_id: "x" }
}

#[test]
fn every_entry_of_the_log_counts_committed_or_not() {
    let (disk, keys) = (SimulatedDisk::new(), keys(1));
    log_of_two(&disk, &keys, 5, 4);
    let survivor = read_all(&disk, &keys).unwrap();
    // Entries 3 to 7; it was told of 3 and 4 only.
    assert_eq!(actions(&survivor.state), ["init_cluster", "0", "1", "2", "3", "4"]);
    assert_eq!(survivor.uncommitted, 3);
    assert_eq!(survivor.last.unwrap().index, 7);
    assert_eq!(survivor.voters, [ME, OTHER].into());
    // Reading changes nothing: it can be read again.
    assert_eq!(read_all(&disk, &keys).unwrap().state.digest(), survivor.state.digest());
}

#[test]
fn another_log_goes_on_from_the_first_with_one_voter() {
    let (disk, old) = (SimulatedDisk::new(), keys(1));
    log_of_two(&disk, &old, 5, 4);
    let survivor = read_all(&disk, &old).unwrap();
    let (link, term) = (survivor.link, survivor.term);
    let (next, new) = (SimulatedDisk::new(), keys(2));
    let command = begin(2, new.active().id());
    survivor.begin(Arc::new(next.clone()), new.clone(), &left(), command).unwrap();

    let begun = read_all(&next, &new).unwrap();
    assert_eq!(begun.state.cluster().unwrap().incarnation, Incarnation(2));
    assert_eq!(begun.voters, [ME].into());
    assert_eq!(actions(&begun.state).last(), Some(&"begin_incarnation"));
    // Entry 8 is the command, entry 9 the membership, in a term that nobody voted in.
    let last = begun.last.unwrap();
    assert_eq!((last.index, last.term, last.leader), (9, term + 1, ME));
    assert_eq!(begun.state.index(), 9);
    assert_eq!((begun.term, begun.uncommitted), (term + 1, 0));
    assert_ne!(begun.link, link);
    // Neither opens with the keys of the other, so neither passes for the other.
    assert!(read_all(&next, &old).is_err());
    assert!(read_all(&disk, &new).is_err());
    // And once more, from the snapshot this time.
    let (third, newest) = (SimulatedDisk::new(), keys(3));
    let command = begin(3, newest.active().id());
    begun.begin(Arc::new(third.clone()), newest.clone(), &left(), command).unwrap();
    let begun = read_all(&third, &newest).unwrap();
    assert_eq!(begun.state.cluster().unwrap().incarnation, Incarnation(3));
    assert_eq!(begun.last.unwrap().index, 11);
}

#[test]
fn a_command_that_is_refused_begins_nothing() {
    let (disk, old) = (SimulatedDisk::new(), keys(1));
    log_of_two(&disk, &old, 1, 1);
    let survivor = read_all(&disk, &old).unwrap();
    let (next, new) = (SimulatedDisk::new(), keys(2));
    let command = begin(3, new.active().id());
    let error = survivor.begin(Arc::new(next.clone()), new, &left(), command).unwrap_err();
    assert!(crate::chain(&error).contains("incarnation 3 does not follow 1"), "{error:?}");
    assert!(next.keys().is_empty(), "nothing was written");
}

#[test]
fn a_damaged_log_is_not_gone_on_from() {
    let (disk, keys) = (SimulatedDisk::new(), keys(1));
    log_of_two(&disk, &keys, 5, 4);
    disk.damage(crate::disk::Key::Log { index: 5, piece: 0 }, 60);
    let error = crate::chain(&read_all(&disk, &keys).err().unwrap());
    assert!(error.contains("log record 5 failed authentication"), "{error}");
}
