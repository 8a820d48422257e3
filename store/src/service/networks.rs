//! Networks: kept for the fronts that know them; nothing is connected by one.
//!
//! Not here: what a front keeps with a network, which is its own (`front`).

use std::collections::BTreeSet;

use link::Failure;
use proto::convert::text;
use proto::id::NetworkId;
use proto::identity::Caller;
use proto::pb;
use state::command::{Command, CreateNetwork};
use state::object::Blob;
use state::{Outcome, State};

use super::secrets::unexpected;
use super::{Service, mark, parse_failure};

/// Those of every node's engine that a service can be attached to. They are not kept.
pub(crate) const OF_ENGINES: &[&str] = &["bridge", "host"];

/// The id of a network that there is without anybody having made it: on every manager the same.
pub(crate) fn predefined_id(name: &str) -> NetworkId {
    let digest = seal::digest_of(format!("Swarm network {name}").as_bytes());
    let mut entropy = [0; 17];
    entropy.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    NetworkId::from_entropy(entropy)
}

/// The name of a network that a declaration refers to by its id or its name: what a node's engine
/// calls it. One that is not there any more is called as it is referred to.
pub(crate) fn name_of(state: &State, reference: &str) -> String {
    let Ok(id) = reference.parse::<NetworkId>() else { return reference.to_owned() };
    if let Some(network) = state.networks().get(&id) {
        return network.name.to_string();
    }
    let own = OF_ENGINES.iter().find(|name| predefined_id(name) == id);
    own.map_or(reference, |name| *name).to_owned()
}

impl Service {
    pub(super) async fn create_network(
        &self,
        caller: Caller,
        request: pb::CreateNetworkRequest,
    ) -> Result<pb::CreateNetworkResponse, Failure> {
        let mark = mark(&caller, &request.request_key, &request)?;
        let name = text("name", &request.name).map_err(|error| parse_failure(&error))?;
        let id = NetworkId::from_entropy(seal::random());
        let create = CreateNetwork { id, name, body: Blob(request.body) };
        match self.propose(caller, Some(mark), Command::CreateNetwork(create)).await? {
            Outcome::Network { id } => Ok(pb::CreateNetworkResponse { id: id.to_string() }),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) async fn list_networks(
        &self,
        _: Caller,
        _: pb::ListNetworksRequest,
    ) -> Result<pb::ListNetworksResponse, Failure> {
        self.barrier().await?;
        let cluster_created_at = self.cluster()?.created_at.0;
        let state = self.raft.machine.state();
        let services = state.services().values();
        let used: BTreeSet<&str> =
            services.flat_map(|service| &service.spec.task.networks).map(String::as_str).collect();
        let networks = state.networks().iter().map(|(id, network)| pb::NetworkInfo {
            id: id.to_string(),
            name: network.name.to_string(),
            body: network.body.0.clone(),
            created_at: network.created_at.0,
            is_used: used.contains(id.as_str()) || used.contains(network.name.as_str()),
        });
        Ok(pb::ListNetworksResponse { networks: networks.collect(), cluster_created_at })
    }

    pub(super) async fn remove_network(
        &self,
        caller: Caller,
        request: pb::RemoveNetworkRequest,
    ) -> Result<pb::RemoveNetworkResponse, Failure> {
        let mark = mark(&caller, &request.request_key, &request)?;
        let id = text("id", &request.id).map_err(|error| parse_failure(&error))?;
        self.propose(caller, Some(mark), Command::RemoveNetwork { id }).await?;
        Ok(pb::RemoveNetworkResponse {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_called_by_its_name() {
        let state = State::default();
        let called = |reference: &str| name_of(&state, reference);
        assert_eq!(called(predefined_id("host").as_str()), "host");
        assert_eq!(called("front"), "front");
        let gone = NetworkId::from_entropy([7; 17]);
        assert_eq!(called(gone.as_str()), gone.as_str());
    }
}
