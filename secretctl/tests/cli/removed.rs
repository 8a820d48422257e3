//! What the fake manager knows of removed secrets: a smaller world than the state's.

use link::Failure;
use proto::pb;

use crate::world::World;

/// Within which a rotation begins by itself.
const WEEK_MS: u64 = 7 * 24 * 3600 * 1000;

impl World {
    pub(crate) fn remove_secret(
        &mut self,
        request: &pb::RemoveSecretRequest,
    ) -> Result<pb::RemoveSecretResponse, Failure> {
        let found = self.find_secret(&request.secret);
        let before = self.removed.iter_mut().rev().find(|it| it.name == request.secret);
        if let (Err(_), Some(known), true) = (&found, before, request.shred) {
            let (id, name) = (known.id.clone(), known.name.clone());
            if let Some(needs) = &mut known.needs {
                needs.at_once = true;
            }
            return Ok(pb::RemoveSecretResponse { id, name, ..Default::default() });
        }
        let id = found?;
        let info = self.secrets[&id].clone();
        if !info.used_by.is_empty() {
            let users = info.used_by.join(", ");
            let message =
                format!("secret `{}` is in use by the following service: {users}", info.name);
            let hint = "remove the service, or update it to do without the secret, first";
            return Err(crate::world::refused(proto::Kind::InUse, message, hint));
        }
        self.secrets.remove(&id);
        let removed_at = self.before();
        self.removed.push(pb::RemovedSecret {
            id: id.clone(),
            name: info.name.clone(),
            versions: vec![1],
            removed_at,
            removed_by: format!("local/{}", rustix::process::geteuid().as_raw()),
            state: "shredding".into(),
            needs: Some(pb::StillNeeded {
                at_once: request.shred,
                transit_key_ids: vec![vec![4; 16].into()],
                log_key_epoch: self.rotation + 1,
                begins_by: removed_at + WEEK_MS,
                waits_for: vec![],
            }),
            revision: self.removed.len() as u64 + 1,
            backups: self.backups.clone(),
            ..pb::RemovedSecret::default()
        });
        let backups = self.backups.clone();
        Ok(pb::RemoveSecretResponse { id, name: info.name, backups, backups_not_remembered: 0 })
    }

    /// What comes next for one that is wanted at once: the transit key, a rotation, a manager's
    /// word, in the order of the looks.
    pub(crate) fn list_removed(
        &mut self,
        request: &pb::ListRemovedSecretsRequest,
    ) -> pb::ListRemovedSecretsResponse {
        let fits = |it: &&pb::RemovedSecret| request.ids.is_empty() || request.ids.contains(&it.id);
        let secrets: Vec<_> = self.removed.iter().rev().filter(fits).cloned().collect();
        self.shred_on();
        pb::ListRemovedSecretsResponse { secrets, next_before: 0, unnamed: None }
    }

    fn shred_on(&mut self) {
        let wanted = |it: &pb::RemovedSecret| it.needs.as_ref().is_some_and(|it| it.at_once);
        let begins = self.removed.iter().any(|it| {
            wanted(it)
                && it.needs.as_ref().is_some_and(|it| {
                    it.transit_key_ids.is_empty() && it.log_key_epoch > self.rotation
                })
        });
        if begins && self.behind().is_none() {
            self.rotation += 1;
        }
        let rotated = |id: u64| self.rotated.get(&id).copied().unwrap_or(0);
        let members: Vec<_> =
            self.members.iter().map(|it| (it.id, it.hostname.clone(), rotated(it.id))).collect();
        for removed in &mut self.removed {
            let at = removed.removed_at + 1_000;
            let Some(needs) = removed.needs.as_mut() else { continue };
            if needs.at_once && !needs.transit_key_ids.is_empty() {
                needs.transit_key_ids.clear();
                continue;
            }
            if needs.log_key_epoch <= self.rotation {
                needs.begins_by = 0;
            }
            let epoch = needs.log_key_epoch.min(self.rotation);
            needs.waits_for = members
                .iter()
                .filter(|(.., rotated)| *rotated < epoch)
                .map(|(member, hostname, _)| pb::ManagerName {
                    member: *member,
                    hostname: hostname.clone(),
                })
                .collect();
            let is_met = members.iter().all(|(.., rotated)| *rotated >= needs.log_key_epoch);
            if is_met && needs.transit_key_ids.is_empty() {
                (removed.state, removed.needs, removed.shredded_at) = ("shredded".into(), None, at);
                removed.words = members
                    .iter()
                    .map(|(member, _, epoch)| pb::ShreddingWord {
                        member: *member,
                        log_key_epoch: *epoch,
                    })
                    .collect();
            }
        }
    }
}
