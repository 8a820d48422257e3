//! Rotating the managers' log keys: wanted once at a time, done when each has given word.
//!
//! An operator is refused a second one meanwhile. A slot that is taken away is not: a key that
//! leaked must go at once, though a manager may be down for long. Its rotation follows then. So it is
//! with a root key that was destroyed.

use proto::id::{KeyId, MemberId};

use super::{Applying, Context};
use crate::log_keys::MemberLogKey;
use crate::object::ObjectId;
use crate::refusal::Refusal;
use crate::remembered::Outcome;

impl Context<'_> {
    pub(super) fn rotate_log_keys(&mut self) -> Applying {
        if self.state.cluster.is_none() {
            return Err(Refusal::precondition("there is no cluster yet"));
        }
        self.log_keys_rest()?;
        self.want_log_keys();
        Ok((Outcome::Done, ObjectId::Cluster))
    }

    /// Refuses while a rotation is under way.
    pub(super) fn log_keys_rest(&self) -> Result<(), Refusal> {
        let pending: Vec<_> =
            self.state.log_keys_pending().iter().map(ToString::to_string).collect();
        if pending.is_empty() {
            return Ok(());
        }
        let who = if pending.len() == 1 { "manager" } else { "managers" };
        Err(Refusal::precondition(format!(
            "log key rotation {} is in progress: it waits for {who} {}",
            self.state.log_keys.wanted,
            pending.join(", ")
        )))
    }

    fn want_log_keys(&mut self) {
        self.state.log_keys.wanted += 1;
        self.state.log_keys.wanted_at = self.now;
        self.state.log_keys.next_since = None;
        self.updated(ObjectId::Cluster);
    }

    /// Something happened after which the log keys of now must go: a slot was taken away, whose older
    /// key files hold them; or a root key was destroyed, under which wraps are in the logs. Log keys
    /// that a rotation under way made before this are among them, so it does not count.
    pub(super) fn rotate_log_keys_at_once_or_next(&mut self) {
        if self.state.log_keys_pending().is_empty() {
            self.want_log_keys();
        } else {
            self.state.log_keys.next_since.get_or_insert(self.now);
        }
    }

    /// Begins the rotation that is to follow, once nobody is waited for any more.
    pub(super) fn begin_next_log_keys(&mut self) {
        let is_next = self.state.log_keys.next_since.is_some();
        if is_next && self.state.log_keys_pending().is_empty() {
            self.want_log_keys();
        }
    }

    pub(super) fn acknowledge_log_key(&mut self, id: MemberId, epoch: u64, key: KeyId) -> Applying {
        if !self.state.members.contains_key(&id) {
            return Err(Refusal::not_found("manager", &id));
        }
        let known = self.state.log_keys.of(id);
        if epoch < known.epoch || epoch > self.state.log_keys.wanted {
            return Err(Refusal::precondition(format!(
                "manager {id} speaks of log key rotation {epoch}: {} is wanted, it had finished {}",
                self.state.log_keys.wanted, known.epoch
            )));
        }
        if epoch > known.epoch && known.key == Some(key) {
            return Err(Refusal::precondition(format!(
                "manager {id} has the log key that it had before"
            )));
        }
        let said = MemberLogKey { epoch, key: Some(key), since: self.now };
        self.state.log_keys.members.insert(id, said);
        self.updated(ObjectId::Member(id));
        self.settle_tombstones();
        self.begin_next_log_keys();
        self.follow_root_rotation();
        Ok((Outcome::Done, ObjectId::Member(id)))
    }

    /// A manager that joins makes its log key after it was admitted: no older one is on its disk.
    ///
    /// While a rotation is under way it has to rotate all the same: it is sent the log or a snapshot
    /// of a manager that still has those of before, and seals what it is sent under its own key.
    pub(super) fn log_key_is_new(&mut self, id: MemberId) {
        let wanted = self.state.log_keys.wanted;
        let others = self.state.log_keys_pending().iter().any(|other| *other != id);
        let epoch = if others { wanted.saturating_sub(1) } else { wanted };
        if epoch > 0 {
            let said = MemberLogKey { epoch, key: None, since: self.now };
            self.state.log_keys.members.insert(id, said);
        }
    }
}
