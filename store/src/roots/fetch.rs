//! Fetching root keys from another manager, sealed to a key made for the call.
//!
//! Invariant: what is taken in is the key of the id that was asked for.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use proto::id::{KeyId, MemberId};
use proto::pb;
use proto::sealed::{Encapsulation, WrappedKey};
use seal::{Fetch, FetchSecretKey, OpenError, RootKey};

use super::Roots;
use crate::raft::Purpose;

/// Root keys in one answer: as many as a key file holds.
const ROOTS_MAX: usize = 16;

/// Time for a manager to answer: it is on the same network, and passes a barrier.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);

/// Opens the root keys in an answer, each checked against its id.
///
/// # Errors
///
/// If one of them does not open, or is another key than it says.
pub(crate) fn open(
    fetch: &Fetch,
    secret: &FetchSecretKey,
    answer: &pb::FetchRootKeysResponse,
) -> Result<Vec<RootKey>, OpenError> {
    if answer.sealed_keys.len() > ROOTS_MAX || answer.sealed_keys.len() != answer.root_key_ids.len()
    {
        return Err(OpenError);
    }
    let encapsulation = Encapsulation::new(answer.encapsulation.clone()).map_err(|_| OpenError)?;
    let sealed = answer.sealed_keys.iter().zip(&answer.root_key_ids);
    let opened = sealed.map(|(sealed, id)| {
        let id = KeyId::try_from(&**id).map_err(|_| OpenError)?;
        let sealed = WrappedKey::new(sealed.clone()).map_err(|_| OpenError)?;
        fetch.open(secret, &encapsulation, &sealed, id)
    });
    opened.collect()
}

impl Roots {
    /// Gets some of these keys from the first manager that has any: the leader is asked first.
    pub(super) async fn fetch(&self, ids: &BTreeSet<KeyId>) -> io::Result<Vec<RootKey>> {
        let leader = self.raft.leadership().borrow().leader;
        let others = {
            let state = self.raft.machine.state();
            state.members().keys().copied().filter(|id| *id != self.raft.me).collect::<Vec<_>>()
        };
        let first = leader.filter(|id| others.contains(id));
        let rest = others.into_iter().filter(|id| Some(*id) != first);
        let mut last = "no other manager is there".to_owned();
        for member in first.into_iter().chain(rest) {
            match self.fetch_from(member).await {
                Ok(keys) => {
                    let missing: Vec<_> =
                        keys.into_iter().filter(|key| ids.contains(&key.id())).collect();
                    if !missing.is_empty() {
                        return Ok(missing);
                    }
                    last = format!("manager {member} does not have it yet");
                }
                Err(error) => last = format!("manager {member}: {error}"),
            }
        }
        Err(io::Error::other(format!("the root key was got from nobody: {last}")))
    }

    async fn fetch_from(&self, member: MemberId) -> Result<Vec<RootKey>, link::Failure> {
        let internal = |what: &str| link::Failure::new(proto::Kind::Internal, what);
        let cluster = self.raft.machine.state().cluster().cloned();
        let cluster = cluster.ok_or_else(|| internal("there is no cluster yet"))?;
        let secret = FetchSecretKey::make();
        let fetch = Fetch {
            realm: cluster.realm,
            incarnation: cluster.incarnation,
            member: self.raft.me,
            public_key: secret.public().clone(),
        };
        let request = pb::FetchRootKeysRequest { public_key: secret.public().as_bytes().clone() };
        let mut client = self.raft.pool.client(member, Purpose::Calls)?;
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, client.fetch_root_keys(request)).await;
        let silent = |_| link::Failure::new(proto::Kind::Timeout, "it is silent");
        let answer = answer.map_err(silent)??.into_inner();
        open(&fetch, &secret, &answer).map_err(|_| internal("its answer does not open"))
    }
}
