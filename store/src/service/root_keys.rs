//! The root key's rotation, as operators ask for it and see it; and handing root keys to members.
//!
//! Not here: making, fetching and destroying keys, wrapping anew (roots), what is accepted (state).
//!
//! Invariant: a root key leaves only sealed, and only to a member by state that a majority confirms.

use link::Failure;
use proto::id::{KeyId, MemberId};
use proto::identity::Caller;
use proto::{Kind, pb};
use state::command::Command;
use state::{Phase, State};

use super::{Service, internal, locking, mark, not_proposed, refused};
use crate::roots::what_became;

fn bytes(id: KeyId) -> bytes::Bytes {
    id.as_bytes().to_vec().into()
}

impl Service {
    pub(super) async fn rotate_root_key(
        &self,
        caller: Caller,
        request: pb::RotateRootKeyRequest,
    ) -> Result<pb::RotateRootKeyResponse, Failure> {
        self.barrier().await?;
        let mark = mark(&caller, &request.request_key, &request)?;
        let announce = async |id| {
            let command = Command::AnnounceRoot { id, member: self.raft.me, replaces: None };
            let put = self.put(caller, Some(mark), command).await;
            // A retry is answered as the first time, and another key was announced then.
            let is_there = || {
                let state = self.raft.machine.state();
                let rotation = state.root_keys().rotation.as_ref();
                rotation.is_some_and(|rotation| rotation.id == id)
            };
            let announced = what_became(&put, is_there);
            (put, announced)
        };
        let put = self.roots.make(announce).await.map_err(|error| {
            internal(&error).because("no root key was announced: it could not be kept durably")
        })?;
        put.map_err(|error| not_proposed(&error))?.map_err(|refusal| {
            let failure = refused(&refusal);
            match failure.kind {
                Kind::Precondition => failure
                    .hint("`secretctl cluster keys` shows how far it is")
                    .hint("a manager that is gone for good: `secretctl cluster member rm --lost`"),
                _ => failure,
            }
        })?;
        let number = self.raft.machine.state().root_keys().number;
        Ok(pb::RotateRootKeyResponse { number })
    }

    /// Root keys for a member, sealed to a key it made for this call: those that are wanted of it.
    ///
    /// # Errors
    ///
    /// If it is not a member by state that a majority confirms, if its key cannot be agreed with, or
    /// if this manager does not hold the active root key itself.
    pub(crate) async fn release_root_keys(
        &self,
        (member, caller): (MemberId, Caller),
        request: pb::FetchRootKeysRequest,
    ) -> Result<pb::FetchRootKeysResponse, Failure> {
        self.barrier().await?;
        self.still_stands(caller)?;
        self.member_info(member)?;
        let cluster = self.cluster()?;
        let malformed = |_| Failure::new(Kind::Invalid, "the key to seal to is not one");
        let fetch = seal::Fetch {
            realm: cluster.realm,
            incarnation: cluster.incarnation,
            member,
            public_key: seal::FetchPublicKey::parse(request.public_key).map_err(malformed)?,
        };
        let wanted = self.raft.machine.state().root_keys_wanted();
        let roots = self.keyring.roots();
        let roots: Vec<_> =
            roots.iter().map(|root| &**root).filter(|root| wanted.contains(&root.id())).collect();
        if !roots.iter().any(|root| root.id() == cluster.active_root) {
            return Err(no_root_key());
        }
        let (encapsulation, sealed) = fetch
            .seal(&roots)
            .map_err(|_| Failure::new(Kind::Invalid, "the key to seal to is not one"))?;
        tracing::info!(target: "audit", action = "release_root_keys", member = %member, "root_keys_released");
        Ok(pb::FetchRootKeysResponse {
            encapsulation: encapsulation.as_bytes().clone(),
            sealed_keys: sealed.iter().map(|key| key.as_bytes().clone()).collect(),
            root_key_ids: roots.iter().map(|root| bytes(root.id())).collect(),
            active_key_id: bytes(cluster.active_root),
            recipients: locking::for_member(&cluster.recipients, member),
            recipients_generation: cluster.recipients_generation,
        })
    }
}

/// The root key was rotated and this manager has not fetched it yet: it does so by itself. Whoever
/// asks tries again, as when there is no leader, and nothing was done.
pub(super) fn no_root_key() -> Failure {
    Failure::new(Kind::NoLeader, "this manager fetches the root key")
        .because("it was rotated a moment ago")
        .hint("nothing was changed; try again in a moment")
}

/// The rotation that was asked for last; none if none was.
pub(super) fn rotation(state: &State) -> Option<pb::RootRotation> {
    let keys = state.root_keys();
    let number = keys.number;
    let Some(rotation) = &keys.rotation else {
        return keys.last.map(|last| pb::RootRotation {
            number,
            phase: pb::RootPhase::Complete.into(),
            new_key_id: bytes(last.id),
            old_key_id: bytes(last.old),
            began_at: last.began_at.0,
            ended_at: last.ended_at.0,
            ..pb::RootRotation::default()
        });
    };
    let phase = match rotation.phase {
        Phase::Announced => pb::RootPhase::Announced,
        Phase::Active => pb::RootPhase::Active,
        Phase::Retired => pb::RootPhase::Retired,
        Phase::LogKeys { .. } => pb::RootPhase::LogKeys,
    };
    let is_active = rotation.phase != Phase::Announced;
    Some(pb::RootRotation {
        number,
        phase: phase.into(),
        new_key_id: bytes(rotation.id),
        old_key_id: bytes(rotation.old),
        began_at: rotation.began_at.0,
        ended_at: 0,
        objects: rotation.objects,
        objects_left: if is_active { state.wraps_under(rotation.old) } else { 0 },
        waits_for: state.root_rotation_pending().into_iter().map(|id| id.0).collect(),
    })
}

/// Managers that were removed without proof.
pub(super) fn unproved(state: &State) -> Vec<pb::UnprovedMember> {
    let members = state.root_keys().unproved.iter();
    let unproved = members.map(|(id, member)| pb::UnprovedMember {
        member: id.0,
        hostname: member.hostname.clone(),
        address: member.address.clone(),
        removed_at: member.removed_at.0,
        root_key_id: member.root.map(bytes).unwrap_or_default(),
    });
    unproved.collect()
}

/// What the root key's rotation waits for at one manager, which it waits for.
pub(super) fn waits_for(
    rotation: &pb::RootRotation,
    member: &pb::MemberKeys,
    failure: Option<&str>,
) -> String {
    if !rotation.waits_for.contains(&member.member) {
        return String::new();
    }
    let (to_do, silent) = match rotation.phase() {
        pb::RootPhase::Announced | pb::RootPhase::Active => {
            ("fetches the new root key", "it fetches the new root key once it runs")
        }
        pb::RootPhase::Retired => {
            ("destroys the old root key", "it destroys the old root key once it runs")
        }
        _ => ("rotates its log key", "it rotates its log key once it runs"),
    };
    match (&member.held, failure) {
        (Some(held), _) if !held.root_failed.is_empty() => {
            format!("it {}, which failed: {}", held.root_doing, held.root_failed)
        }
        (Some(_), _) => format!("it {to_do}, or is about to give word"),
        (None, Some(why)) => format!("it does not answer ({why}); {silent}"),
        (None, None) => format!("it does not answer; {silent}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_waited_for_says_what_for() {
        let rotation = |phase: pb::RootPhase| pb::RootRotation {
            phase: phase.into(),
            waits_for: vec![2],
            ..pb::RootRotation::default()
        };
        let member = |member: u64, failed: Option<&str>| pb::MemberKeys {
            member,
            held: failed.map(|failed| pb::HeldKeys {
                root_doing: "fetches the new root key".into(),
                root_failed: failed.into(),
                ..pb::HeldKeys::default()
            }),
            ..pb::MemberKeys::default()
        };
        let announced = rotation(pb::RootPhase::Announced);
        assert_eq!(waits_for(&announced, &member(1, None), None), "");
        let text = waits_for(&announced, &member(2, None), Some("manager 2 is silent"));
        assert!(text.starts_with("it does not answer (manager 2 is silent); it fetches"), "{text}");
        let text = waits_for(&announced, &member(2, Some("no room")), None);
        assert_eq!(text, "it fetches the new root key, which failed: no room");
        let text = waits_for(&rotation(pb::RootPhase::Retired), &member(2, Some("")), None);
        assert_eq!(text, "it destroys the old root key, or is about to give word");
        let text = waits_for(&rotation(pb::RootPhase::LogKeys), &member(2, None), None);
        assert_eq!(text, "it does not answer; it rotates its log key once it runs");
    }
}
