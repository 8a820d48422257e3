//! Secrets: taking sealed payloads, rotating, listing, removing.

use std::time::Instant;

use link::Failure;
use proto::convert::{labels, text};
use proto::id::{SecretId, Version};
use proto::identity::{Caller, Principal, Subject};
use proto::name::{Labels, OperatorName, SecretName};
use proto::sealed::{SealedPayload, StoredPayload};
use proto::spec::VersionChoice;
use proto::{Kind, pb};
use seal::{Operation, StoredAt};
use state::command::{Command, CreateSecret, RotateSecret};
use state::object::{Authority, Followed, Service as ServiceObject};
use state::{Outcome, Refusal, State};

use super::{
    CallName, Service, internal, lookup, mark, parse_failure, refused, render, root_keys, shredding,
};
use crate::keys::{AcceptedFor, KeyringError};

/// How often a payload is wrapped again when the active root key changes under a request.
const WRAPS_MAX: usize = 3;

impl Service {
    pub(super) async fn get_transit_key(
        &self,
        caller: Caller,
        _: pb::GetTransitKeyRequest,
    ) -> Result<pb::TransitKey, Failure> {
        self.barrier().await?;
        let cluster = self.cluster()?;
        let id = cluster.current_transit;
        let key = cluster.transit_keys.get(&id).ok_or_else(|| {
            Failure::new(Kind::Unavailable, "the cluster has no transit key right now")
        })?;
        let ca_key = |ca: &Authority| {
            let key = link::certificate::public_key_of(&ca.certificate.0);
            key.map(bytes::Bytes::from).map_err(|error| internal(&error))
        };
        let (present, next) = (&cluster.authority, self.next_authority());
        let ca_public_key = ca_key(present)?;
        let signed = next.and_then(|next| {
            let signature = key.signature_of(&next.digest, &present.digest)?.0.clone();
            Some(ca_key(&next).map(|ca_public_key| pb::CaSignature { ca_public_key, signature }))
        });
        Ok(pb::TransitKey {
            realm: cluster.realm.as_bytes().to_vec().into(),
            incarnation: cluster.incarnation.0,
            key_id: id.as_bytes().to_vec().into(),
            public_key: key.public_key.0.clone(),
            not_after: key.not_after.0,
            signature: key.signature.0.clone(),
            ca_public_key,
            caller: caller.principal().to_string(),
            further: signed.transpose()?.into_iter().collect(),
        })
    }

    /// The CA that is rotated in.
    fn next_authority(&self) -> Option<Authority> {
        let state = self.raft.machine.state();
        state.ca_rotations().rotation.as_ref().map(|rotation| rotation.authority.clone())
    }

    pub(super) async fn create_secret(
        &self,
        caller: Caller,
        mut request: pb::CreateSecretRequest,
    ) -> Result<pb::CreateSecretResponse, Failure> {
        let mark = mark(&caller, &request.request_key, &request)?;
        let name: SecretName =
            text("name", &request.name).map_err(|error| parse_failure(&error))?;
        let labels = labels(request.labels).map_err(|error| parse_failure(&error))?;
        let payload = sealed(request.payload.take())?;
        let usable_by = self.usable_by(&caller, &request.usable_by)?;
        let id = SecretId::from_entropy(seal::random());
        for _ in 0..WRAPS_MAX {
            let began = Instant::now();
            let place = (Operation::Create, id, Followed::FIRST);
            let stored = self.accept(&caller, &name, place, payload.clone())?;
            self.figures.count_part("unwrap", began.elapsed());
            let create = CreateSecret {
                id,
                name: name.clone(),
                labels: labels.clone(),
                usable_by: usable_by.clone(),
                payload: stored,
                transit_key_id: payload.transit_key_id,
            };
            let began = Instant::now();
            let proposed =
                self.propose_raw(caller, Some(mark), Command::CreateSecret(create)).await?;
            self.figures.count_part("propose", began.elapsed());
            match proposed {
                Ok(Outcome::Secret { id, version }) => {
                    return Ok(pb::CreateSecretResponse { id: id.to_string(), version: version.0 });
                }
                Ok(other) => return Err(unexpected(&other)),
                // The root key was rotated in between: wrap again.
                Err(Refusal::WrongRoot) => {}
                Err(refusal) => return Err(refused(&refusal)),
            }
        }
        Err(Failure::new(Kind::Unavailable, "the root key keeps changing").hint("try again"))
    }

    /// Another value of a secret. The name in the payload's context is that of the secret in the
    /// state: a box for another one does not open.
    pub(super) async fn rotate_secret(
        &self,
        caller: Caller,
        mut request: pb::RotateSecretRequest,
    ) -> Result<pb::RotateSecretResponse, Failure> {
        self.barrier().await?;
        let mark = mark(&caller, &request.request_key, &request)?;
        let payload = sealed(request.payload.take())?;
        for _ in 0..WRAPS_MAX {
            let (id, name, current) = {
                let state = self.raft.machine.state();
                let (id, secret) = lookup::secret(&state, &request.secret)?;
                (id, secret.name.clone(), secret.current)
            };
            let version = Version(current.0 + 1);
            let place = (Operation::Rotate, id, version);
            let rotate = RotateSecret {
                id,
                version,
                payload: self.accept(&caller, &name, place, payload.clone())?,
                transit_key_id: payload.transit_key_id,
            };
            match self.propose_raw(caller, Some(mark), Command::RotateSecret(rotate)).await? {
                Ok(Outcome::Secret { id, version }) => {
                    let state = self.raft.machine.state();
                    return Ok(pb::RotateSecretResponse {
                        id: id.to_string(),
                        name: name.to_string(),
                        version: version.0,
                        services: followers(&state, id),
                    });
                }
                Ok(other) => return Err(unexpected(&other)),
                // The root key was rotated in between, or the secret: wrap again.
                Err(Refusal::WrongRoot | Refusal::Stale { .. }) => {}
                Err(refusal) => return Err(refused(&refusal)),
            }
        }
        Err(Failure::new(Kind::Unavailable, "the secret, or the root key, keeps changing")
            .hint("try again"))
    }

    fn accept(
        &self,
        caller: &Caller,
        name: &SecretName,
        (operation, secret_id, version): (Operation, SecretId, Version),
        payload: SealedPayload,
    ) -> Result<StoredPayload, Failure> {
        let cluster = self.cluster()?;
        let at =
            StoredAt { realm: cluster.realm, secret_id, version, payload_id: payload.payload_id };
        let request =
            AcceptedFor { principal: caller.principal(), operation, name: &name.folded(), at };
        self.keyring.accept(&cluster, payload, &request).map_err(|error| match error {
            KeyringError::Refused => {
                self.denials.count(*caller, "foreign_sealed_payload");
                Failure::new(Kind::Denied, "the sealed payload does not belong to this request")
                    .because("it was sealed by another caller, for another name or operation, or damaged")
                    .hint("seal the value anew; `secretctl create` and `secretctl rotate` do")
            }
            KeyringError::TransitRetired => refused(&Refusal::TransitRetired),
            KeyringError::NoRoot => root_keys::no_root_key(),
            KeyringError::Damaged => internal(&error),
        })
    }

    /// Who may refer to a new secret: as asked, else the creator's group; admins always may.
    fn usable_by(&self, caller: &Caller, asked: &[String]) -> Result<Vec<OperatorName>, Failure> {
        if !asked.is_empty() {
            let names = asked.iter().map(|name| text("usable_by", name));
            return names.collect::<Result<_, _>>().map_err(|error| parse_failure(&error));
        }
        let Principal::Subject(Subject::Operator(id)) = caller.principal() else {
            return Ok(Vec::new());
        };
        let state = self.raft.machine.state();
        Ok(state.operator(id).map(|operator| operator.group.clone()).into_iter().collect())
    }

    pub(super) async fn list_secrets(
        &self,
        _: Caller,
        request: pb::ListSecretsRequest,
    ) -> Result<pb::ListSecretsResponse, Failure> {
        self.barrier().await?;
        let filter = request.filter.unwrap_or_default();
        let state = self.raft.machine.state();
        let secrets = state.secrets().iter().filter(|(id, secret)| {
            matches(&filter, id.as_str(), secret.name.as_str(), &secret.labels)
        });
        let secrets = secrets.map(|(id, secret)| render::secret(&state, *id, secret)).collect();
        Ok(pb::ListSecretsResponse { secrets })
    }

    pub(super) async fn get_secret(
        &self,
        _: Caller,
        request: pb::GetSecretRequest,
    ) -> Result<pb::SecretInfo, Failure> {
        self.barrier().await?;
        let state = self.raft.machine.state();
        let found = lookup::secret(&state, &request.secret);
        let (id, secret) = found
            .map_err(|failure| shredding::explain(state.shredding(), &request.secret, failure))?;
        Ok(render::secret(&state, id, secret))
    }

    pub(super) async fn remove_secret(
        &self,
        caller: Caller,
        request: pb::RemoveSecretRequest,
    ) -> Result<pb::RemoveSecretResponse, Failure> {
        self.barrier().await?;
        let shred = request.shred;
        if shred {
            let allowed = self.authorise(caller, CallName::RotateLogKeys);
            allowed.map_err(|failure| failure.because("it rotates keys on every manager"))?;
        }
        let mark = mark(&caller, &request.request_key, &request)?;
        let (id, name, command) = self.removal(&request)?;
        self.propose(caller, Some(mark), command).await?;
        let state = self.raft.machine.state();
        let (backups, backups_not_remembered) = shredding::held_by_backups(&state, id);
        Ok(pb::RemoveSecretResponse {
            id: id.to_string(),
            name: name.to_string(),
            backups,
            backups_not_remembered,
        })
    }

    /// What removes a secret. What was removed before can still be asked to be shredded.
    fn removal(
        &self,
        request: &pb::RemoveSecretRequest,
    ) -> Result<(SecretId, SecretName, Command), Failure> {
        let state = self.raft.machine.state();
        let failure = match lookup::secret(&state, &request.secret) {
            Ok((id, secret)) => {
                let forget_previous = request.forget_previous;
                let shred = request.shred.then_some(true);
                let command = Command::RemoveSecret { id, forget_previous, shred };
                return Ok((id, secret.name.clone(), command));
            }
            Err(failure) => failure,
        };
        let is_missing = failure.kind == Kind::NotFound && request.shred;
        match shredding::find(state.shredding(), &request.secret).filter(|_| is_missing) {
            Some(tombstone) => {
                let id = tombstone.secret_id;
                Ok((id, tombstone.name.clone(), Command::ShredSecret { id }))
            }
            None => Err(shredding::explain(state.shredding(), &request.secret, failure)),
        }
    }
}

/// Whether an object is asked for: by any of the names, and by all of the labels.
pub(super) fn matches(filter: &pb::SecretFilter, id: &str, name: &str, labels: &Labels) -> bool {
    let named = filter.ids.iter().any(|prefix| id.starts_with(prefix.as_str()))
        || filter.names.iter().any(|other| name.eq_ignore_ascii_case(other))
        || filter
            .name_prefixes
            .iter()
            .any(|prefix| name.get(..prefix.len()).is_some_and(|n| n.eq_ignore_ascii_case(prefix)));
    let any_name =
        filter.ids.is_empty() && filter.names.is_empty() && filter.name_prefixes.is_empty();
    let labelled = filter
        .labels
        .iter()
        .all(|(key, value)| labels.value(key).is_some_and(|has| value.is_empty() || has == value));
    (named || any_name) && labelled
}

/// The payload of a request.
fn sealed(payload: Option<pb::SealedPayload>) -> Result<SealedPayload, Failure> {
    let payload = payload.ok_or_else(|| {
        Failure::new(Kind::Invalid, "the request has no sealed payload")
            .hint("clients seal the value themselves: see docs/design/contexts.md")
    })?;
    SealedPayload::try_from(payload).map_err(|error| parse_failure(&error))
}

/// The services whose declaration follows a secret.
fn followers(state: &State, id: SecretId) -> Vec<pb::Follower> {
    let follows = |service: &ServiceObject| {
        let mut references = service.spec.task.secrets.iter();
        references.any(|it| it.secret_id == id && it.version == VersionChoice::Follow)
    };
    let services = state.services_of_secret(id).filter(|(_, service)| follows(service));
    let follower = services.map(|(id, service)| pb::Follower {
        id: id.to_string(),
        name: service.spec.name.to_string(),
        paused: service.update.as_ref().is_some_and(|update| update.state.is_paused()),
    });
    follower.collect()
}

/// State answered something else than the command can be answered: a fault of ours.
pub(super) fn unexpected(outcome: &Outcome) -> Failure {
    #[derive(Debug, thiserror::Error)]
    #[error("unexpected outcome {0}")]
    struct Unexpected(String);
    internal(&Unexpected(format!("{outcome:?}")))
}
