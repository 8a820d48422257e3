//! The fake cluster's unlock key: changed, kept, forgotten, read back.

use link::Failure;
use proto::identity::Principal;
use proto::sealed::{Encapsulation, WrappedKey};
use proto::{Kind, pb};
use seal::{ReadBack, ReadBackPublicKey, TransitReceiver};

use crate::world::World;

impl World {
    pub(crate) fn update_locking(
        &mut self,
        request: pb::UpdateLockingRequest,
    ) -> Result<pb::UpdateLockingResponse, Failure> {
        if request.recipients_generation != self.recipients_generation {
            return Err(Failure::new(Kind::Conflict, "it was changed meanwhile"));
        }
        let key = |public: bytes::Bytes| {
            let public = seal::SlotPublicKey::parse(public).unwrap();
            assert!(public.can_be_sealed_to());
            public.id().as_bytes().to_vec().into()
        };
        let before = self.unlock_key_id.clone();
        self.unlock_key_id = match request.change() {
            pb::LockingChange::Off => {
                assert!(request.unlock_public_key.is_empty());
                bytes::Bytes::new()
            }
            _ => key(request.unlock_public_key),
        };
        self.kept_unlock_key = None;
        self.recipients_generation += 1;
        let generation = self.recipients_generation;
        for member in &mut self.members {
            if member.reachable {
                member.key_file_generation = generation;
            } else {
                member.unlock_key_id = before.clone();
            }
        }
        let log_key_epoch = self.rotate_after_a_slot();
        Ok(pb::UpdateLockingResponse { recipients_generation: generation, log_key_epoch })
    }

    pub(crate) fn keep_unlock_key(
        &mut self,
        caller: Principal,
        request: pb::KeepUnlockKeyRequest,
    ) -> Result<pb::KeepUnlockKeyResponse, Failure> {
        if let Some(what) = self.keys_rotate() {
            return Err(Failure::new(Kind::Precondition, what));
        }
        let public = seal::SlotPublicKey::parse(request.unlock_public_key).unwrap();
        assert_eq!(public.id().as_bytes()[..], self.unlock_key_id[..], "the one in use");
        let encapsulation = Encapsulation::new(request.encapsulation).unwrap();
        let receiver = TransitReceiver::set_up(&self.transit, self.realm, caller, &encapsulation);
        let sealed = WrappedKey::new(request.sealed_key).unwrap();
        let key = receiver.unwrap().open_unlock_key(public.id(), &sealed);
        self.kept_unlock_key = Some(key.unwrap());
        Ok(pb::KeepUnlockKeyResponse {})
    }

    /// What a manager would say of the rotation that is under way.
    fn keys_rotate(&self) -> Option<String> {
        let root = (self.root_phase() != pb::RootPhase::Complete)
            .then(|| "root key rotation 1 is in progress: it is about to go on".to_owned());
        let log = |id| {
            let number = self.rotation;
            format!("log key rotation {number} is in progress: it waits for manager {id}")
        };
        root.or_else(|| self.behind().map(log))
    }

    pub(crate) fn forget_unlock_key(&mut self) -> pb::ForgetUnlockKeyResponse {
        self.kept_unlock_key = None;
        pb::ForgetUnlockKeyResponse { log_key_epoch: self.rotate_after_a_slot() }
    }

    pub(crate) fn read_unlock_key(
        &self,
        caller: Principal,
        request: pb::ReadUnlockKeyRequest,
    ) -> pb::ReadUnlockKeyResponse {
        let key = self.kept_unlock_key.as_ref().unwrap();
        let public_key = ReadBackPublicKey::parse(request.public_key).unwrap();
        let call =
            ReadBack { realm: self.realm, unlock_key_id: key.id(), principal: caller, public_key };
        let (encapsulation, sealed) = call.seal(key).unwrap();
        pb::ReadUnlockKeyResponse {
            unlock_key_id: key.id().as_bytes().to_vec().into(),
            encapsulation: encapsulation.as_bytes().clone(),
            sealed_key: sealed.as_bytes().clone(),
        }
    }
}
