//! Joining a cluster as a manager: admission by token, root keys over mTLS, then the key file.
//!
//! The token's CA digest is compared with the server's chain before anything is sent. Root keys are
//! fetched only with the certificate that the admission gave, sealed to a key made for the call.

use std::sync::Arc;
use std::time::Duration;

use link::Failure;
use link::certificate::{self, KeyPairDer};
use link::dial::{self, Patience};
use link::rpc::enroll_client::EnrollClient;
use link::rpc::peer_client::PeerClient;
use link::tls::{self, Cluster, OwnCertificate};
use link::trust::{self, Trust};
use proto::id::{Incarnation, KeyId, MemberId, NodeId, RequestKey};
use proto::identity::{Role, Subject};
use proto::limits::RECIPIENTS_MAX;
use proto::name::Hostname;
use proto::token::JoinToken;
use proto::{Kind, pb};
use rustls_pki_types::CertificateDer;
use seal::{Disk, Fetch, FetchSecretKey, KeyFileContents, KeyFileOwner, LogKey, RootKey, SlotKind};
use state::object::{Blob, MemberState, SlotRecipient};
use sys::file::{FileError, PRIVATE_FILE_MODE};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::serve::{Running, Unsealed};
use super::{ADDRESS, Manager, UNFINISHED, listen, local_failure};
use crate::ca;
use crate::keys::{Chain, KeyFile};
use crate::roots::open_fetched;
use crate::service::{check_address, internal, parse_failure};

/// Managers a joiner asks.
const ADDRESSES_MAX: usize = 32;

/// Tries for the root keys, over all managers: the one that is asked may lag behind the admission.
const FETCH_ROUNDS: usize = 20;
const FETCH_AGAIN_AFTER: Duration = Duration::from_millis(250);

/// How long joining waits until this manager votes, for a small cluster's sake: it goes on by
/// itself after that, and the operator's tool does not wait for ever.
const VOTES_WITHIN: Duration = Duration::from_secs(5);

/// An admitted manager, before it has root keys.
struct Admitted {
    pair: KeyPairDer,
    chain: Chain,
    own: Arc<OwnCertificate>,
    disk: Disk,
    node_id: NodeId,
    addresses: Vec<String>,
}

/// What a new member's key file holds, and whom it is sealed to from the start: it never lies on
/// the disk under a seed that the cluster does not want there.
struct Fetched {
    roots: Vec<Arc<RootKey>>,
    active_root: KeyId,
    recipients: Vec<SlotRecipient>,
    generation: u64,
}

fn refuse(kind: Kind, message: &str) -> Failure {
    Failure::new(kind, message)
}

impl Manager {
    /// Joins a cluster.
    pub(super) async fn join_cluster(
        &self,
        request: pb::JoinRequest,
    ) -> Result<pb::JoinResponse, Failure> {
        let shared = &self.0;
        let mut running = shared.running.lock().await;
        shared.must_be_empty()?;
        let token: JoinToken = request.token.parse().map_err(|error| {
            Failure::new(Kind::Invalid, format!("the join token is not one: {error}"))
                .hint("copy it whole: it begins with SECTKN-1-")
        })?;
        if token.role != Role::Manager {
            return Err(refuse(Kind::Invalid, "the join token is not for a manager")
                .because(format!("it is for the role {}", token.role))
                .hint("make one: `secretctl cluster join-token manager`"));
        }
        if request.addresses.is_empty() || request.addresses.len() > ADDRESSES_MAX {
            return Err(refuse(Kind::Invalid, "name the address of a manager to join"));
        }
        let listener = listen(shared.options.listen).await.map_err(local_failure)?;
        let listening = listener.local_addr().map_err(|error| internal(&error))?;
        let address = shared.advertised(&request.advertise_address, listening)?;
        check_address(&address)?;
        shared.clear_unfinished().map_err(local_failure)?;

        let folder = &shared.folder;
        let file_failed = |error: FileError| local_failure(error);
        folder.replace(UNFINISHED, PRIVATE_FILE_MODE, b"join").map_err(file_failed)?;
        folder.replace(ADDRESS, PRIVATE_FILE_MODE, address.as_bytes()).map_err(file_failed)?;
        let admitted = enroll(&token, &request, &address).await?;
        let fetched = fetch_root_keys(&admitted).await?;
        let Admitted { pair, chain, own, disk, node_id, .. } = admitted;
        let recipients = shared.key_file.recipients(&fetched.recipients, disk.member);
        let recipients = recipients.map_err(local_failure)?;
        let owner = KeyFileOwner { disk, node_id, generation: fetched.generation };
        let log = LogKey::make();
        let contents = KeyFileContents {
            roots: fetched.roots,
            active_root: fetched.active_root,
            active_log: log.id(),
            logs: vec![log.into()],
            tls_key: pair.private,
        };
        chain.write(folder).map_err(file_failed)?;
        let by = recipients.first().map_or(SlotKind::File, |slot| slot.kind);
        let sealed = KeyFile::seal(&owner, &recipients, &contents).map_err(local_failure)?;
        shared.key_file.write(&sealed).map_err(local_failure)?;
        let unsealed = Unsealed {
            owner,
            recipients,
            contents,
            by,
            brought: None,
            chain,
            own,
            address: address.clone(),
        };
        self.serve_joined(&mut running, unsealed, listener).await?;
        folder.remove_if_there(UNFINISHED).map_err(file_failed)?;
        tracing::info!(member = %disk.member, address, "cluster_joined");
        Ok(pb::JoinResponse { node_id: node_id.to_string(), member: disk.member.0, address })
    }

    /// Serves, and waits until the leader has taken this manager in.
    async fn serve_joined(
        &self,
        running: &mut Option<Running>,
        unsealed: Unsealed,
        listener: TcpListener,
    ) -> Result<(), Failure> {
        let member = unsealed.owner.disk.member;
        let started = Running::start(self.clone(), unsealed, listener).await;
        let service = running.insert(started.map_err(local_failure)?).serving.service.clone();
        let mut changes = service.raft.machine.changes();
        let votes = async {
            loop {
                let state = {
                    let state = service.raft.machine.state();
                    state.member(member).map(|member| member.state)
                };
                if state == Some(MemberState::Voter) {
                    return;
                }
                // A change that was missed is seen with the next one.
                if let Err(tokio::sync::broadcast::error::RecvError::Closed) = changes.recv().await
                {
                    return;
                }
            }
        };
        if !before(votes, tokio::time::sleep(VOTES_WITHIN)).await {
            tracing::warn!(%member, "member_does_not_vote_yet");
        }
        Ok(())
    }
}

/// Whether something happened before its time was up; if both are there at once, it did.
async fn before(what: impl Future<Output = ()>, time_is_up: impl Future<Output = ()>) -> bool {
    tokio::select! {
        biased;
        () = what => true,
        () = time_is_up => false,
    }
}

/// Presents the token to one manager after the other until one admits.
async fn enroll(
    token: &JoinToken,
    request: &pb::JoinRequest,
    address: &str,
) -> Result<Admitted, Failure> {
    let hostname = match request.hostname.as_str() {
        "" => sys::host::hostname(),
        given => given.to_owned(),
    };
    let hostname: Hostname =
        proto::convert::text("hostname", &hostname).map_err(|error| parse_failure(&error))?;
    let pair = certificate::make_key_pair().map_err(|error| internal(&error))?;
    let message = pb::EnrollManagerRequest {
        request_key: RequestKey::from_bytes(seal::random()).as_bytes().to_vec().into(),
        token: Some(pb::TokenProof {
            token_id: token.id.to_string(),
            secret: token.secret.expose().to_vec().into(),
        }),
        public_key: pair.public.clone().into(),
        hostname: hostname.to_string(),
        address: address.to_owned(),
        level_max: state::command::LEVEL.into(),
    };
    let config = tls::joiner_config(token.ca_digest, token.realm).map_err(|e| internal(&e))?;
    let mut last = refuse(Kind::Unavailable, "no manager was reached");
    for manager in &request.addresses {
        let channel = dial::channel(manager, config.clone(), Patience::CLIENT)
            .map_err(|error| refuse(Kind::Invalid, &error.to_string()))?;
        match EnrollClient::new(channel).enroll_manager(message.clone()).await {
            Ok(enrolled) => return admitted(token, pair, enrolled.into_inner(), request),
            Err(status) => {
                let mut failure = Failure::from(status);
                tracing::warn!(manager, %failure, "not_admitted");
                if failure.is_of_foreign_peer() {
                    failure.kind = Kind::Unauthenticated;
                    failure.message = format!(
                        "whoever answers at {manager} is not of the cluster that the join token names"
                    );
                    failure.hints = vec![
                        "check the address, or make a token there: \
                                          `secretctl cluster join-token manager`"
                            .into(),
                    ];
                }
                let final_word = !failure.kind.is_retryable();
                last = unreached(manager, failure);
                if final_word {
                    break;
                }
            }
        }
    }
    Err(last)
}

/// A transport's failure says little by itself: name the manager and what may be wrong.
fn unreached(manager: &str, failure: Failure) -> Failure {
    if failure.kind != Kind::Unavailable || !failure.hints.is_empty() {
        return failure;
    }
    let because = failure.because.unwrap_or(failure.message);
    Failure::new(Kind::Unavailable, format!("the manager at {manager} could not be joined"))
        .because(because)
        .hint("is it running, and is the token one of its cluster?")
}

/// Reads what a manager handed out, and believes none of it that the token does not vouch for.
fn admitted(
    token: &JoinToken,
    pair: KeyPairDer,
    enrolled: pb::Enrolled,
    request: &pb::JoinRequest,
) -> Result<Admitted, Failure> {
    let unsound = || refuse(Kind::Internal, "the manager's answer is not an admission of this one");
    let (ca, told) = (&enrolled.ca_certificate, enrolled.authorities.as_ref());
    let leaf = CertificateDer::from(enrolled.certificate.to_vec());
    let authorities = ca::heard(&enrolled);
    let own =
        OwnCertificate::of(leaf.clone(), &authorities, &pair.private).map_err(|_| unsound())?;
    let says = own.says().ok_or_else(unsound)?;
    let Subject::Manager(node_id, member) = says.identity.subject else { return Err(unsound()) };
    // Another CA may take the place of the one that signed it: this manager moves like the others.
    let newest = authorities.trusted.last();
    let sound = trust::is_pinned(ca, told, &token.ca_digest)
        && certificate::is_signed_by(&leaf, ca)
        && authorities.issuer_of(&leaf).is_some()
        && newest.is_some_and(|ca| trust::is_pinned(ca, told, &token.ca_digest))
        && says.identity.realm == token.realm
        && says.identity.incarnation >= Incarnation(1)
        && member > MemberId(1);
    if !sound {
        return Err(unsound());
    }
    let mut addresses = enrolled.manager_addresses;
    addresses.extend(request.addresses.iter().cloned());
    addresses.truncate(ADDRESSES_MAX);
    let disk = Disk { realm: token.realm, incarnation: says.identity.incarnation, member };
    Ok(Admitted { pair, chain: Chain { leaf, authorities }, own, disk, node_id, addresses })
}

/// Fetches the root keys from whichever manager knows this one by now.
async fn fetch_root_keys(admitted: &Admitted) -> Result<Fetched, Failure> {
    let Disk { realm, incarnation, member } = admitted.disk;
    let cluster = Cluster { realm, incarnation };
    let met = watch::Sender::new(incarnation);
    let trust =
        Trust::new(&admitted.chain.authorities.trusted).map_err(|error| internal(&error))?;
    let config = tls::peer_config(admitted.own.clone(), trust, cluster, met)
        .map_err(|error| internal(&error))?;
    let mut last = refuse(Kind::Unavailable, "no manager was reached");
    for _ in 0..FETCH_ROUNDS {
        for address in &admitted.addresses {
            let Ok(channel) = dial::channel(address, config.clone(), Patience::PEER) else {
                continue;
            };
            let secret = FetchSecretKey::make();
            let fetch = Fetch { realm, incarnation, member, public_key: secret.public().clone() };
            let request =
                pb::FetchRootKeysRequest { public_key: secret.public().as_bytes().clone() };
            match PeerClient::new(channel).fetch_root_keys(request).await {
                Ok(answer) => return open_root_keys(&fetch, &secret, answer.into_inner()),
                Err(status) => last = Failure::from(status),
            }
        }
        tokio::time::sleep(FETCH_AGAIN_AFTER).await;
    }
    Err(last
        .because("this manager was admitted, but got no root keys")
        .hint("remove it with `secretctl cluster member rm` on another manager, then join again"))
}

fn open_root_keys(
    fetch: &Fetch,
    secret: &FetchSecretKey,
    answer: pb::FetchRootKeysResponse,
) -> Result<Fetched, Failure> {
    let unsound = || refuse(Kind::Internal, "the root keys in the manager's answer do not open");
    let roots = open_fetched(fetch, secret, &answer).map_err(|_| unsound())?;
    let roots: Vec<_> = roots.into_iter().map(Arc::new).collect();
    let active = KeyId::try_from(&*answer.active_key_id).map_err(|_| unsound())?;
    if !roots.iter().any(|root| root.id() == active) {
        return Err(unsound());
    }
    if answer.recipients.is_empty() || answer.recipients.len() > RECIPIENTS_MAX {
        return Err(unsound());
    }
    let recipients = answer.recipients.into_iter().map(|slot| SlotRecipient {
        kind: slot.kind,
        member: (slot.member != 0).then_some(MemberId(slot.member)),
        public_key: Blob(slot.public_key),
        parameters: Blob(slot.parameters),
    });
    let recipients = recipients.collect();
    let generation = answer.recipients_generation;
    Ok(Fetched { roots, active_root: active, recipients, generation })
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use link::trust::Authorities;
    use proto::id::TokenId;
    use proto::token::TokenSecret;

    use super::*;
    use crate::keys::credentials::tests::{Ca, REALM};

    /// Whether an answer with a certificate of a CA is an admission by a token that names `pinned`.
    fn is_believed(of: &Ca, authorities: &Authorities, pinned: &Ca) -> bool {
        let token = JoinToken {
            id: TokenId::from_entropy([2; 17]),
            role: Role::Manager,
            realm: REALM,
            ca_digest: seal::digest_of(&pinned.pair.public),
            secret: TokenSecret::new(Box::new([3; 32])),
        };
        let (leaf, pair) = of.issue();
        let enrolled = pb::Enrolled {
            certificate: leaf.to_vec().into(),
            ca_certificate: of.certificate.to_vec().into(),
            authorities: Some(ca::told(authorities)),
            ..pb::Enrolled::default()
        };
        let admitted = admitted(&token, pair, enrolled, &pb::JoinRequest::default());
        admitted.is_ok_and(|admitted| admitted.chain.authorities == *authorities)
    }

    /// It was signed before another CA was rotated in, and is answered afterwards.
    #[test]
    fn an_admission_by_either_ca_is_one_while_the_one_takes_the_place_of_the_other() {
        let (old, new, other) = (Ca::new(), Ca::new(), Ca::new());
        let both = old.and(&new);
        assert!(is_believed(&old, &both, &old), "the rotation began in between");
        assert!(is_believed(&new, &both, &old));
        assert!(is_believed(&new, &both, &new));
        let only = |ca: &Ca| Authorities::first(ca.certificate.clone());
        assert!(is_believed(&old, &only(&old), &old));
        assert!(!is_believed(&old, &only(&new), &old), "it is not of a CA that there is");
        assert!(!is_believed(&old, &both, &new), "nothing leads from the next one back");
        assert!(!is_believed(&other, &only(&other), &old));
        // A CA that the one which the token names has given no word for.
        let trusted = vec![old.certificate.clone(), other.certificate.clone()];
        assert!(!is_believed(&old, &Authorities { trusted, ..both }, &old));
        assert!(!is_believed(&old, &other.and(&new), &old));
    }

    #[tokio::test]
    async fn a_join_is_answered_once_it_votes_or_its_time_is_up() {
        assert!(before(ready(()), pending()).await);
        assert!(before(ready(()), ready(())).await);
        assert!(!before(pending(), ready(())).await);
    }
}
