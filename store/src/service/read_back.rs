//! The unlock key, where it is kept for admins to read back.
//!
//! It comes sealed to the transit key and is wrapped under the root key; it goes out sealed to a key
//! pair of the caller's. In between it is here for a moment, in memory that is wiped. Not here: that
//! it goes with its slot (state), making and showing it (secretctl).
//!
//! Invariant: each reading is in the log, and so in the audit, before the key is sealed to anybody.

use link::Failure;
use proto::identity::Caller;
use proto::sealed::{Encapsulation, WrappedKey};
use proto::{Kind, pb};
use seal::{ReadBack, ReadBackPublicKey, SlotPublicKey};
use state::object::Blob;
use state::{KeptUnlockKey, ReadBackCommand, Refusal};

use super::{Service, internal, locking, mark, refused, root_keys};
use crate::keys::KeyringError;

/// How often it is wrapped again when the active root key changes under a request.
const WRAPS_MAX: usize = 3;

/// Why an unlock key cannot be read back.
fn not_kept() -> Failure {
    Failure::new(Kind::Precondition, "the unlock key cannot be shown")
        .because("the cluster has its public half only")
        .hint("if it is lost: `secretctl cluster unlock-key --rotate`, while a manager serves")
        .hint("to have the next one kept: `secretctl cluster update --read-back on`")
}

fn failed(error: KeyringError) -> Failure {
    match error {
        KeyringError::Refused => {
            Failure::new(Kind::Denied, "the sealed unlock key does not belong to this request")
                .because("it was sealed by another caller or for another key, or damaged")
        }
        KeyringError::TransitRetired => refused(&Refusal::TransitRetired),
        KeyringError::NoRoot => root_keys::no_root_key(),
        KeyringError::Damaged => internal(&error),
    }
}

impl Service {
    pub(super) async fn keep_unlock_key(
        &self,
        caller: Caller,
        request: pb::KeepUnlockKeyRequest,
    ) -> Result<pb::KeepUnlockKeyResponse, Failure> {
        self.barrier().await?;
        let mark = mark(&caller, &request.request_key, &request)?;
        let malformed = || Failure::new(Kind::Invalid, "the sealed unlock key is not one");
        let public = locking::unlock_key(&request.unlock_public_key)?;
        let transit = (&*request.transit_key_id).try_into().map_err(|_| malformed())?;
        let encapsulation = Encapsulation::new(request.encapsulation).map_err(|_| malformed())?;
        let sealed = WrappedKey::new(request.sealed_key).map_err(|_| malformed())?;
        for _ in 0..WRAPS_MAX {
            let cluster = self.cluster()?;
            let sent = (transit, &encapsulation, caller.principal());
            let wrapped = self.keyring.keep_unlock_key(&cluster, sent, public.id(), &sealed);
            let kept = KeptUnlockKey {
                public_key: Blob(public.as_bytes().clone()),
                wrapped_key: wrapped.map_err(failed)?,
            };
            let command = ReadBackCommand::Keep(kept).into();
            match self.propose_raw(caller, Some(mark), command).await? {
                Ok(_) => return Ok(pb::KeepUnlockKeyResponse {}),
                // The root key was rotated in between: wrap again.
                Err(Refusal::WrongRoot) => {}
                Err(refusal @ Refusal::Precondition { .. }) => {
                    return Err(refused(&refusal)
                        .hint("`secretctl cluster keys` shows what rotates, and how far it is")
                        .hint(
                            "`secretctl cluster status` shows the id of the key that is in use",
                        ));
                }
                Err(refusal) => return Err(refused(&refusal)),
            }
        }
        Err(Failure::new(Kind::Unavailable, "the root key keeps changing").hint("try again"))
    }

    pub(super) async fn forget_unlock_key(
        &self,
        caller: Caller,
        request: pb::ForgetUnlockKeyRequest,
    ) -> Result<pb::ForgetUnlockKeyResponse, Failure> {
        self.barrier().await?;
        let mark = mark(&caller, &request.request_key, &request)?;
        self.propose(caller, Some(mark), ReadBackCommand::Forget.into()).await?;
        let log_key_epoch = self.raft.machine.state().log_keys().last();
        Ok(pb::ForgetUnlockKeyResponse { log_key_epoch })
    }

    pub(super) async fn read_unlock_key(
        &self,
        caller: Caller,
        request: pb::ReadUnlockKeyRequest,
    ) -> Result<pb::ReadUnlockKeyResponse, Failure> {
        self.barrier().await?;
        let public_key = ReadBackPublicKey::parse(request.public_key)
            .map_err(|_| Failure::new(Kind::Invalid, "the key to seal to is not one"))?;
        let kept = |cluster: &state::object::Cluster| cluster.kept_unlock_key.clone();
        let asked = kept(&*self.cluster()?).ok_or_else(not_kept)?;
        let command = ReadBackCommand::Read { public_key: asked.public_key.clone() };
        // Without a mark: a request that comes again is another reading, and another record.
        self.propose(caller, None, command.into()).await?;
        // As it is now: the root key may have been rotated meanwhile.
        let cluster = self.cluster()?;
        let kept = kept(&cluster).filter(|kept| kept.public_key == asked.public_key);
        let kept = kept.ok_or_else(not_kept)?;
        let slot = SlotPublicKey::parse(kept.public_key.0.clone()).map_err(|e| internal(&e))?;
        let call = ReadBack {
            realm: cluster.realm,
            unlock_key_id: slot.id(),
            principal: caller.principal(),
            public_key,
        };
        let (encapsulation, sealed) =
            self.keyring.read_unlock_key(&kept.wrapped_key, &call).map_err(failed)?;
        Ok(pb::ReadUnlockKeyResponse {
            unlock_key_id: slot.id().as_bytes().to_vec().into(),
            encapsulation: encapsulation.as_bytes().clone(),
            sealed_key: sealed.as_bytes().clone(),
        })
    }
}
