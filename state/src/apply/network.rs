//! Networks: kept for the fronts that know them; nothing is connected by one.

use std::sync::Arc;

use proto::id::NetworkId;
use proto::limits::{CLUSTER_NETWORKS_MAX, NETWORK_BODY_BYTES_MAX};

use super::{Applying, Context};
use crate::command::CreateNetwork;
use crate::object::{Network, ObjectId};
use crate::refusal::Refusal;
use crate::remembered::Outcome;

impl Context<'_> {
    pub(super) fn create_network(&mut self, create: CreateNetwork) -> Applying {
        let CreateNetwork { id, name, body } = create;
        let taken = |network: &Network| network.name.as_str().eq_ignore_ascii_case(name.as_str());
        if let Some((other, _)) = self.state.networks.iter().find(|(_, network)| taken(network)) {
            return Err(Refusal::Exists {
                what: "network".into(),
                name: name.to_string(),
                id: other.to_string(),
            });
        }
        if self.state.networks.contains_key(&id) {
            return Err(Refusal::precondition("the id of the network is taken: try again"));
        }
        if self.state.networks.len() >= CLUSTER_NETWORKS_MAX {
            return Err(Refusal::limit("the number of networks", CLUSTER_NETWORKS_MAX));
        }
        if body.0.len() > NETWORK_BODY_BYTES_MAX {
            let what = "the bytes of what is declared of a network";
            return Err(Refusal::limit(what, NETWORK_BODY_BYTES_MAX));
        }
        let network = Network { name, body, created_at: self.now, revision: self.revision() };
        self.state.networks.insert(id, Arc::new(network));
        self.created(ObjectId::Network(id));
        Ok((Outcome::Network { id }, ObjectId::Network(id)))
    }

    /// What a previous spec alone refers to goes, as with Swarm: nothing is connected by it.
    pub(super) fn remove_network(&mut self, id: NetworkId) -> Applying {
        let Some(network) = self.state.networks.get(&id) else {
            return Err(Refusal::not_found("network", &id));
        };
        if let Some(service) = self.state.service_on_network(id, network) {
            return Err(Refusal::NetworkInUse {
                network: id.to_string(),
                service: service.to_string(),
            });
        }
        self.state.networks.remove(&id);
        self.removed(ObjectId::Network(id));
        Ok((Outcome::Done, ObjectId::Network(id)))
    }
}
