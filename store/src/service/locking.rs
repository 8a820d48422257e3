//! Locking: whom all key files are sealed to, as operators change it.
//!
//! Unlock keys are made by secretctl, or for the docker client in `made_keys`; only public halves come
//! here, so nothing in this file could open anything. A change is one entry of the log; each manager
//! follows it by itself (`manager::reseal`) and says when it has. Where a slot is taken away, the same
//! entry wants new log keys of all (`state`). Not here: the list's form (`keys::recipients`).
//!
//! Invariant: a change begins only when every manager that answers has followed the last one.

use link::Failure;
use proto::id::MemberId;
use proto::identity::Caller;
use proto::{Kind, pb};
use seal::SlotPublicKey;
use state::command::Command;

use super::{Service, mark};
use crate::keys::recipients;

impl Service {
    pub(super) async fn update_locking(
        &self,
        caller: Caller,
        request: pb::UpdateLockingRequest,
    ) -> Result<pb::UpdateLockingResponse, Failure> {
        self.barrier().await?;
        let mark = mark(&caller, &request.request_key, &request)?;
        let cluster = self.cluster()?;
        let generation = request.recipients_generation;
        let list = &cluster.recipients;
        // What was read of another generation is refused by apply, unless it is a retry.
        if generation == cluster.recipients_generation {
            may_change(request.change(), list)?;
            self.must_be_followed(generation).await?;
        }
        let recipients = match request.change() {
            pb::LockingChange::On | pb::LockingChange::Rotate => {
                let public = unlock_key(&request.unlock_public_key)?;
                recipients::with_unlock_key(list, &public, generation + 1)
            }
            pb::LockingChange::Off => recipients::with_own_seeds(list),
            pb::LockingChange::Unspecified => {
                return Err(Failure::new(Kind::Invalid, "what is to change is not said"));
            }
        };
        let command = Command::SetRecipients { generation, recipients };
        self.propose(caller, Some(mark), command).await?;
        let log_key_epoch = self.raft.machine.state().log_keys().last();
        Ok(pb::UpdateLockingResponse { recipients_generation: generation + 1, log_key_epoch })
    }

    /// Refuses while a manager that answers is still behind: two changes at a time, and nobody
    /// could say which key opens what.
    pub(super) async fn must_be_followed(&self, generation: u64) -> Result<(), Failure> {
        let members = self.describe_members().await;
        let joining = pb::MemberState::Joining as i32;
        let there = members.iter().filter(|m| m.reachable && m.state != joining);
        let behind = there.filter(|m| m.key_file_generation < generation);
        let behind: Vec<_> = behind.map(|m| format!("{} ({})", m.id, m.hostname)).collect();
        if behind.is_empty() {
            return Ok(());
        }
        Err(Failure::new(Kind::Precondition, "another change of the locking is under way")
            .because(format!("not sealed anew yet: manager {}", behind.join(", ")))
            .hint("wait a moment; if it stays so, see that manager's log"))
    }

    /// A seed that opens nothing any more and could not be removed; empty if there is none.
    pub(super) fn unlock_seed_left(&self) -> String {
        let file = self.keys.file();
        let Ok(cluster) = self.cluster() else { return String::new() };
        let follows = self.keys.identity().generation >= cluster.recipients_generation;
        if follows && recipients::locks(&cluster.recipients) && file.has_seed() {
            return file.seed_path().display().to_string();
        }
        String::new()
    }

    /// Whether the `file` slot is out of use, and how many changes of the list this manager is
    /// behind.
    pub(crate) fn locking_figures(&self) -> (bool, u64) {
        let Ok(cluster) = self.cluster() else { return (false, 0) };
        let own = self.keys.identity().generation;
        let behind = cluster.recipients_generation.saturating_sub(own);
        (recipients::locks(&cluster.recipients), behind)
    }
}

/// The public half of an unlock key, if a key file can be sealed to it.
pub(crate) fn unlock_key(bytes: &bytes::Bytes) -> Result<SlotPublicKey, Failure> {
    let public = SlotPublicKey::parse(bytes.clone()).ok();
    public.filter(SlotPublicKey::can_be_sealed_to).ok_or_else(|| {
        Failure::new(Kind::Invalid, "the unlock key's public half is not one")
            .hint("let secretctl make the key: `secretctl cluster unlock-key --rotate`")
    })
}

fn may_change(
    change: pb::LockingChange,
    list: &[state::object::SlotRecipient],
) -> Result<(), Failure> {
    let locks = recipients::locks(list);
    let refused = |what, hint| Err(Failure::new(Kind::Precondition, what).hint(hint));
    match change {
        pb::LockingChange::On if locks => refused(
            "autolock is on already",
            "to change the unlock key: `secretctl cluster unlock-key --rotate`",
        ),
        pb::LockingChange::Rotate if !locks => refused(
            "there is no unlock key to replace: autolock is off",
            "to make one: `secretctl cluster update --autolock on`",
        ),
        pb::LockingChange::Off if !locks => {
            refused("autolock is off already", "managers open their own key files at start")
        }
        _ => Ok(()),
    }
}

/// Whom a new member's key file is sealed to.
pub(super) fn for_member(
    list: &[state::object::SlotRecipient],
    member: MemberId,
) -> Vec<pb::SlotRecipient> {
    let mine = list.iter().filter(|slot| slot.member.is_none_or(|m| m == member));
    mine.map(|slot| pb::SlotRecipient {
        kind: slot.kind.clone(),
        member: slot.member.map_or(0, |member| member.0),
        public_key: slot.public_key.0.clone(),
        parameters: slot.parameters.0.clone(),
    })
    .collect()
}
