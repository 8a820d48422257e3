//! Networks: made under names of their own, kept as they came, and not removed from under a service.

use proto::limits::{CLUSTER_NETWORKS_MAX, NETWORK_BODY_BYTES_MAX};
use proto::spec::ServiceSpec;
use state::command::{Command, CreateNetwork};
use state::object::Blob;
use state::{Outcome, Refusal, SnapshotReader};

use crate::world::*;

fn network(n: u8, name: &str, body: usize) -> Command {
    Command::CreateNetwork(CreateNetwork {
        id: network_id(n),
        name: name.parse().unwrap(),
        body: Blob(vec![n; body].into()),
    })
}

fn attached(name: &str, to: &[&str]) -> ServiceSpec {
    let mut spec = World::spec(name, 1, &[]);
    spec.task.networks = to.iter().map(ToString::to_string).collect();
    spec
}

#[test]
fn a_network_is_kept_as_it_came_through_log_and_snapshot() {
    let mut world = World::founded();
    let made = world.run(network(1, "front", 3)).outcome;
    assert_eq!(made, Ok(Outcome::Network { id: network_id(1) }));
    let mut reader = SnapshotReader::new();
    reader.feed(&bytes_of(&world.state)).unwrap();
    let restored = reader.finish().unwrap();
    let found = restored.network(network_id(1)).unwrap();
    assert_eq!((found.name.as_str(), &found.body.0[..]), ("front", &[1; 3][..]));
    assert_eq!(found.created_at, world.state.now());
}

#[test]
fn names_of_networks_are_unique_without_regard_to_case() {
    let mut world = World::founded();
    world.did(network(1, "front", 0));
    for name in ["front", "Front"] {
        let refused = world.run(network(2, name, 0)).outcome.unwrap_err();
        assert!(matches!(refused, Refusal::Exists { .. }), "{refused}");
    }
    assert!(matches!(world.run(network(1, "back", 0)).outcome, Err(Refusal::Precondition { .. })));
    world.did(Command::RemoveNetwork { id: network_id(1) });
    world.did(network(2, "FRONT", 0));
}

#[test]
fn a_network_is_not_removed_from_under_a_service() {
    let mut world = World::founded();
    world.did(network(1, "front", 0));
    let by_id = world.create_service(1, attached("by-id", &[network_id(1).as_str()]));
    let by_name = world.create_service(2, attached("by-name", &["other", "front"]));
    let remove = || Command::RemoveNetwork { id: network_id(1) };
    for (service, goes) in [(by_id, true), (by_name, false)] {
        let said = world.run(remove()).outcome.unwrap_err();
        let network = network_id(1);
        let expected = format!("network {network} is in use by service {service}");
        assert_eq!((said.to_string(), said.kind()), (expected, proto::Kind::InUse));
        if goes {
            world.did(Command::RemoveService { id: service });
        } else {
            // What it was before does not hold it.
            world.update_service(service, |spec| spec.task.networks.clear());
        }
    }
    world.did(remove());
    assert!(matches!(world.run(remove()).outcome, Err(Refusal::NotFound { .. })));
}

#[test]
fn networks_and_what_is_kept_with_one_are_bounded() {
    let mut world = World::founded();
    world.did(network(1, "largest", NETWORK_BODY_BYTES_MAX));
    let over = world.run(network(2, "too-large", NETWORK_BODY_BYTES_MAX + 1)).outcome;
    assert!(matches!(over, Err(Refusal::Limit { .. })));
    let numbered = |n: usize| {
        let mut entropy = [9; 17];
        entropy[..8].copy_from_slice(&n.to_le_bytes());
        Command::CreateNetwork(CreateNetwork {
            id: proto::id::NetworkId::from_entropy(entropy),
            name: format!("n{n}").parse().unwrap(),
            body: Blob(Vec::new().into()),
        })
    };
    for n in 1..CLUSTER_NETWORKS_MAX {
        world.did(numbered(n));
    }
    let over = world.run(numbered(CLUSTER_NETWORKS_MAX)).outcome;
    assert!(matches!(over, Err(Refusal::Limit { .. })), "{over:?}");
}
