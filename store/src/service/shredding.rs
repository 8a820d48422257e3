//! What was removed: whether every manager's disk is rid of it, and what that waits for.
//!
//! Not here: what makes it so (leader), when it is (state).
//!
//! Invariant: nothing is told of a removed secret but what a tombstone holds.

use link::Failure;
use proto::id::{MemberId, Revision, SecretId};
use proto::identity::Caller;
use proto::limits::SHREDDING_BEGINS_WITHIN_MS;
use proto::name::SecretName;
use proto::{Kind, pb};
use state::{Need, Shredding, State, Tombstone};

use super::status::problem;
use super::{Service, backups};

/// Removed secrets in one answer: some 300 bytes each, well under the bound of a message.
const PAGE: usize = 1_000;

impl Service {
    pub(super) async fn list_removed_secrets(
        &self,
        _: Caller,
        request: pb::ListRemovedSecretsRequest,
    ) -> Result<pb::ListRemovedSecretsResponse, Failure> {
        self.barrier().await?;
        let state = self.raft.machine.state();
        Ok(page(&state, &request))
    }
}

fn page(state: &State, request: &pb::ListRemovedSecretsRequest) -> pb::ListRemovedSecretsResponse {
    let shredding = state.shredding();
    let before = if request.before == 0 { u64::MAX } else { request.before };
    let mut found = shredding.tombstones().range(..Revision(before)).rev().filter(|(_, it)| {
        let id = it.secret_id.to_string();
        request.ids.is_empty() || request.ids.contains(&id)
    });
    let secrets: Vec<_> =
        found.by_ref().take(PAGE).map(|(at, it)| removed(state, *at, it)).collect();
    let next_before = match (found.next(), secrets.last()) {
        (Some(_), Some(last)) => last.revision,
        _ => 0,
    };
    let unnamed = shredding.unnamed().filter(|_| next_before == 0 && request.ids.is_empty());
    let unnamed = unnamed.map(|unnamed| pb::RemovedWithoutName {
        count: unnamed.count,
        removed_from: unnamed.removed_from.0,
        needs: Some(needs(state, &unnamed.need)),
    });
    pb::ListRemovedSecretsResponse { secrets, next_before, unnamed }
}

/// Backups that may still hold a secret that was removed, and how many older ones.
pub(super) fn held_by_backups(state: &State, id: SecretId) -> (Vec<pb::BackupInfo>, u64) {
    let tombstone = state.shredding().of(id);
    tombstone.map_or_else(Default::default, |(at, it)| held(state, at, it))
}

fn held(state: &State, at: Revision, tombstone: &Tombstone) -> (Vec<pb::BackupInfo>, u64) {
    let (known, created_at) = (state.backups(), tombstone.created_at);
    let holding = known.that_may_hold(created_at, Some(at));
    (backups::described(state, holding), known.forgotten_that_may_hold(created_at))
}

fn removed(state: &State, at: Revision, tombstone: &Tombstone) -> pb::RemovedSecret {
    let done = tombstone.shredded.as_ref();
    let words = done.into_iter().flat_map(|done| &done.words);
    let (backups, backups_not_remembered) = held(state, at, tombstone);
    pb::RemovedSecret {
        id: tombstone.secret_id.to_string(),
        name: tombstone.name.to_string(),
        versions: tombstone.versions.iter().map(|version| version.0).collect(),
        removed_at: tombstone.removed_at.0,
        removed_by: tombstone.removed_by.to_string(),
        state: state_of(tombstone).into(),
        needs: done.is_none().then(|| needs(state, &tombstone.need)),
        shredded_at: done.map_or(0, |done| done.at.0),
        words: words
            .map(|word| pb::ShreddingWord { member: word.member.0, log_key_epoch: word.epoch })
            .collect(),
        without_proof: state.shredding().without_proof(tombstone).map(|id| id.0).collect(),
        revision: at.0,
        backups,
        backups_not_remembered,
    }
}

const fn state_of(tombstone: &Tombstone) -> &'static str {
    if tombstone.shredded.is_some() { "shredded" } else { "shredding" }
}

/// Managers that the rotation waits for, or the one before it that is still in progress.
fn waits_for(state: &State, need: &Need) -> Vec<MemberId> {
    let keys = state.log_keys();
    let epoch = need.epoch.min(keys.wanted);
    state.members().keys().copied().filter(|id| keys.of(*id).epoch < epoch).collect()
}

fn needs(state: &State, need: &Need) -> pb::StillNeeded {
    let has_begun = need.epoch <= state.log_keys().wanted;
    let begins_by = need.since.after_ms(SHREDDING_BEGINS_WITHIN_MS).0;
    let named = |id: MemberId| {
        let node = state.member(id).and_then(|member| state.node(member.node_id));
        let hostname = node.map(|node| node.hostname.to_string()).unwrap_or_default();
        pb::ManagerName { member: id.0, hostname }
    };
    pb::StillNeeded {
        at_once: need.urgent,
        transit_key_ids: need.transit_keys.iter().map(|id| id.as_bytes().to_vec().into()).collect(),
        log_key_epoch: need.epoch,
        begins_by: if has_begun { 0 } else { begins_by },
        waits_for: waits_for(state, need).into_iter().map(named).collect(),
    }
}

/// A removed secret by its id, its name (the last one of it) or a unique beginning of its id.
pub(super) fn find<'a>(shredding: &'a Shredding, text: &str) -> Option<&'a Tombstone> {
    let newest_first = || shredding.tombstones().values().rev();
    let by_id = text.parse().ok().and_then(|id| Some(shredding.of(id)?.1));
    let by_name = || {
        let name = text.parse::<SecretName>().ok()?.folded();
        newest_first().find(|it| it.name.folded() == name)
    };
    let by_prefix = || {
        let mut fits = newest_first().filter(|it| it.secret_id.to_string().starts_with(text));
        let first = fits.next().filter(|_| !text.is_empty())?;
        fits.all(|other| other.secret_id == first.secret_id).then_some(first)
    };
    by_id.or_else(by_name).or_else(by_prefix)
}

/// What to say instead of `not found`, if it was removed.
pub(super) fn explain(shredding: &Shredding, text: &str, failure: Failure) -> Failure {
    if failure.kind != Kind::NotFound {
        return failure;
    }
    let Some(tombstone) = find(shredding, text) else { return failure };
    let because = match tombstone.shredded {
        Some(_) => "it was removed, and is shredded: every manager gave word that it is gone",
        None => "it was removed, and is shredding: managers' disks may still have it",
    };
    failure.because(because).hint("`secretctl ls --removed` lists what was removed")
}

/// Removed secrets that are not shredded yet.
pub(super) fn count(shredding: &Shredding) -> u64 {
    let named = shredding.tombstones().values().filter(|it| it.shredded.is_none()).count() as u64;
    named + shredding.unnamed().map_or(0, |unnamed| unnamed.count)
}

/// Managers out of reach that something removed waits for.
pub(super) fn problems(state: &State, members: &[pb::MemberInfo]) -> Option<pb::Problem> {
    let waited_for: std::collections::BTreeSet<_> =
        state.shredding().needs().flat_map(|need| waits_for(state, need)).collect();
    let is_missing =
        |member: &&pb::MemberInfo| !member.reachable && waited_for.contains(&MemberId(member.id));
    let missing: Vec<_> = members
        .iter()
        .filter(is_missing)
        .map(|member| format!("manager {} ({})", member.id, member.hostname))
        .collect();
    if missing.is_empty() {
        return None;
    }
    let what = match count(state.shredding()) {
        1 => "a removed secret is".to_owned(),
        many => format!("{many} removed secrets are"),
    };
    let text = format!("{what} shredding until {} has rotated its log key", missing.join(", "));
    let hints = [
        "once it runs it rotates by itself: `secretctl ls --removed`",
        "if it is gone for good: `secretctl cluster member rm`, and treat its disk as one that \
         still has them",
    ];
    Some(problem("warning", text, &hints))
}

#[cfg(test)]
mod tests;
