//! A secret that got another value, and who is redeployed for it.

use proto::pb;
use serde::Serialize;

/// Another value of a secret.
#[derive(Serialize)]
pub(crate) struct RotatedSecret {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: u64,
    /// Those that follow it.
    pub(crate) services: Vec<Follower>,
}

/// A service that follows a secret.
#[derive(Serialize)]
pub(crate) struct Follower {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Whether its update is.
    pub(crate) paused: bool,
}

impl From<pb::RotateSecretResponse> for RotatedSecret {
    fn from(rotated: pb::RotateSecretResponse) -> Self {
        let follower = |service: pb::Follower| Follower {
            id: service.id,
            name: service.name,
            paused: service.paused,
        };
        Self {
            id: rotated.id,
            name: rotated.name,
            version: rotated.version,
            services: rotated.services.into_iter().map(follower).collect(),
        }
    }
}
