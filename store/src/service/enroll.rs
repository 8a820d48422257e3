//! Enrolment: first certificates by token, the next ones by certificate.
//!
//! The admission and the certificate are committed before anything is handed out. From the request
//! only the public key is taken. A retry is answered with the same admission and a certificate for
//! the same subject.

use link::Failure;
use proto::convert::text;
use proto::id::{Incarnation, NodeId, Timestamp, TokenId};
use proto::identity::{Caller, Role, Subject};
use proto::name::Hostname;
use proto::token::{TOKEN_SECRET_BYTES, TokenSecret};
use proto::{Kind, pb};
use state::command::{AdmitAgent, AdmitManager, Command};
use state::object::{Authority, Digest, Machine};
use state::{Outcome, Refusal, Standing};

use super::members::check_address;
use super::secrets::unexpected;
use super::{Service, internal, mark, now, parse_failure, refused, root_keys};
use crate::ca::{self, CaError, Issued};
use crate::keys::KeyringError;

/// A token as it was presented.
struct Presented {
    id: TokenId,
    hash: Digest,
}

impl Service {
    fn presented(&self, token: Option<&pb::TokenProof>) -> Result<Presented, Failure> {
        let malformed = || {
            Failure::new(Kind::Unauthenticated, "a join token is needed")
                .hint("make one on a manager: `secretctl cluster join-token`")
        };
        let token = token.ok_or_else(malformed)?;
        let id: TokenId = token.token_id.parse().map_err(|_| malformed())?;
        let secret: [u8; TOKEN_SECRET_BYTES] =
            token.secret.as_ref().try_into().map_err(|_| malformed())?;
        let secret = TokenSecret::new(Box::new(secret));
        let realm = self.cluster()?.realm;
        if self.raft.machine.state().token(id).is_none() {
            // Nothing is proposed for an id that anybody can make up: neither the log nor the
            // audit is to be filled from outside. All of them are one line.
            let nobody = Caller::Token { id: TokenId::from_entropy([0; 17]) };
            self.denials.count(nobody, "unknown_token");
            let reason = "it is not one of this cluster's, or was revoked".into();
            return Err(refused(&Refusal::Token { reason }));
        }
        Ok(Presented { id, hash: Digest(seal::token_hash(realm, id, &secret)) })
    }

    pub(super) fn issue(
        &self,
        subject: Subject,
        public_key: &[u8],
        at: Timestamp,
    ) -> Result<Issued, Failure> {
        let cluster = self.cluster()?;
        let issuer = {
            let state = self.raft.machine.state();
            state.issuer(subject.role()).unwrap_or(&cluster.authority).clone()
        };
        ca::issue(&self.keyring, &cluster, &issuer, subject, public_key, at).map_err(|error| {
            match error {
                CaError::Certificate(link::certificate::CertificateError::Key) => {
                    Failure::new(Kind::Invalid, "the public key is not one for ECDSA on P-256")
                }
                CaError::Key(KeyringError::NoRoot) => root_keys::no_root_key(),
                error => internal(&error),
            }
        })
    }

    /// The certificate of a subject that was just admitted: the one that was committed with the
    /// admission, or, for a retry, a new one.
    async fn certificate_of(
        &self,
        caller: Caller,
        issued: Issued,
        public_key: &[u8],
    ) -> Result<pb::Enrolled, Failure> {
        let committed = self.raft.machine.state().certificate(issued.serial).is_some();
        if committed {
            return self.enrolled(&issued);
        }
        let issued = self.issue(issued.record.subject, public_key, now())?;
        self.commit_certificate(caller, &issued).await?;
        self.enrolled(&issued)
    }

    async fn commit_certificate(&self, caller: Caller, issued: &Issued) -> Result<(), Failure> {
        let command =
            Command::IssueCertificate { serial: issued.serial, certificate: issued.record.clone() };
        self.propose(caller, None, command).await.map(|_| ())
    }

    fn enrolled(&self, issued: &Issued) -> Result<pb::Enrolled, Failure> {
        let cluster = self.cluster()?;
        let (members, authorities, issuer) = {
            let state = self.raft.machine.state();
            let signed = |ca: &&Authority| Some(ca.digest) == issued.record.authority;
            let issuer = state.authorities().find(signed).map(|ca| ca.certificate.0.clone());
            (state.members().clone(), ca::authorities(&state), issuer)
        };
        // Dropped since it was signed: the state stands by it no more.
        let issuer = issuer.ok_or_else(|| refused(&Refusal::OtherAuthority))?;
        Ok(pb::Enrolled {
            certificate: issued.der.to_vec().into(),
            ca_certificate: issuer,
            subject: issued.record.subject.to_string(),
            realm: cluster.realm.as_bytes().to_vec().into(),
            incarnation: cluster.incarnation.0,
            not_after: issued.record.not_after.0,
            manager_addresses: members.values().map(|member| member.address.clone()).collect(),
            authorities: authorities.as_ref().map(ca::told),
        })
    }

    /// Admits an agent and gives it its first certificate.
    pub(super) async fn enroll_agent(
        &self,
        _: Caller,
        request: pb::EnrollAgentRequest,
    ) -> Result<pb::Enrolled, Failure> {
        let token = self.presented(request.token.as_ref())?;
        let caller = Caller::Token { id: token.id };
        // An agent that was started again meanwhile may count its processors anew.
        let asked = pb::EnrollAgentRequest { machine: None, ..request.clone() };
        let mark = mark(&caller, &request.request_key, &asked)?;
        let hostname: Hostname =
            text("hostname", &request.hostname).map_err(|error| parse_failure(&error))?;
        let known = if request.node_id.is_empty() {
            self.raft.machine.state().node_that_waits(&hostname)
        } else {
            Some(self.vouched_node(caller, &request)?)
        };
        let same_node = known.is_some();
        let node_id = known.unwrap_or_else(|| NodeId::from_entropy(seal::random()));
        let mut issued = self.issue(Subject::Agent(node_id), &request.public_key, now())?;
        let admit = AdmitAgent {
            token_id: token.id,
            hash: token.hash,
            node_id,
            same_node,
            hostname,
            serial: issued.serial,
            certificate: issued.record.clone(),
            machine: request.machine.map(|machine| Machine {
                nano_cpus: machine.nano_cpus,
                memory_bytes: machine.memory_bytes,
                os: machine.os,
                architecture: machine.architecture,
            }),
        };
        match self.propose(caller, Some(mark), Command::AdmitAgent(admit)).await? {
            // For a retry the node is the one of the first time.
            Outcome::Node { id } => issued.record.subject = Subject::Agent(id),
            other => return Err(unexpected(&other)),
        }
        self.certificate_of(caller, issued, &request.public_key).await
    }

    /// The node of the manager that vouched for an agent on its machine.
    fn vouched_node(
        &self,
        caller: Caller,
        request: &pb::EnrollAgentRequest,
    ) -> Result<NodeId, Failure> {
        let denied = || {
            self.denials.count(caller, "vouched_node");
            Failure::new(Kind::Denied, "no manager vouched for an agent on its machine")
                .hint("run `secret-agent` on the manager's machine, or let it join as a new node")
        };
        let node_id: NodeId =
            text("node_id", &request.node_id).map_err(|error| parse_failure(&error))?;
        let (proof_key, proof) = request.node_proof.split_first_chunk::<91>().ok_or_else(denied)?;
        let realm = self.cluster()?.realm;
        let digest = seal::digest_of(&request.public_key);
        let context = seal::Context::SameNode { realm, node_id, agent_key_digest: &digest };
        let key_digest = Digest(seal::digest_of(proof_key));
        let stands = self.raft.machine.state().certificates().values().any(|certificate| {
            !certificate.revoked
                && certificate.superseded_at.is_none()
                && certificate.key_digest == key_digest
                && matches!(certificate.subject, Subject::Manager(node, _) if node == node_id)
        });
        let signed = link::certificate::verify(proof_key, &context.encode(), proof);
        if stands && signed { Ok(node_id) } else { Err(denied()) }
    }

    /// Admits a manager and gives it its certificate. Root keys come later, over mTLS.
    pub(super) async fn enroll_manager(
        &self,
        _: Caller,
        request: pb::EnrollManagerRequest,
    ) -> Result<pb::Enrolled, Failure> {
        let token = self.presented(request.token.as_ref())?;
        let caller = Caller::Token { id: token.id };
        let mark = mark(&caller, &request.request_key, &request)?;
        let hostname: Hostname =
            text("hostname", &request.hostname).map_err(|error| parse_failure(&error))?;
        check_address(&request.address)?;
        let admit = AdmitManager {
            token_id: token.id,
            hash: token.hash,
            node_id: NodeId::from_entropy(seal::random()),
            hostname,
            address: request.address.clone(),
            level_max: u16::try_from(request.level_max).unwrap_or(u16::MAX),
        };
        let outcome = self.propose(caller, Some(mark), Command::AdmitManager(admit)).await?;
        let Outcome::Member { id, node_id } = outcome else { return Err(unexpected(&outcome)) };
        let issued = self.issue(Subject::Manager(node_id, id), &request.public_key, now())?;
        self.commit_certificate(caller, &issued).await?;
        self.enrolled(&issued)
    }

    /// Gives an operator its first certificate.
    pub(super) async fn enroll_operator(
        &self,
        _: Caller,
        request: pb::EnrollOperatorRequest,
    ) -> Result<pb::Enrolled, Failure> {
        let token = self.presented(request.token.as_ref())?;
        let caller = Caller::Token { id: token.id };
        let mark = mark(&caller, &request.request_key, &request)?;
        let operator = {
            let state = self.raft.machine.state();
            state.token(token.id).and_then(|kept| kept.operator)
        };
        let operator = operator.ok_or_else(|| {
            self.denials.count(caller, "enroll_operator");
            Failure::new(Kind::Unauthenticated, "join token was not accepted")
                .because("it enrols no operator, was used up, or is not one of this cluster's")
                .hint("ask an admin for a new one: `secretctl operator add`")
        })?;
        let issued = self.issue(Subject::Operator(operator), &request.public_key, now())?;
        let command = Command::EnrollOperator {
            token_id: token.id,
            hash: token.hash,
            serial: issued.serial,
            certificate: issued.record.clone(),
        };
        self.propose(caller, Some(mark), command).await?;
        self.certificate_of(caller, issued, &request.public_key).await
    }

    /// Gives somebody with a standing certificate, expired or not, the next one. The manager that
    /// was asked has compared the certificate's key with the record, if there is one.
    pub(super) async fn renew(
        &self,
        caller: Caller,
        request: pb::RenewRequest,
    ) -> Result<pb::Enrolled, Failure> {
        self.barrier().await?;
        let Caller::Certified { subject, serial } = caller else {
            return Err(Failure::new(Kind::Denied, "only a certificate can be renewed"));
        };
        if subject.role() == Role::Boot {
            self.denials.count(caller, "renew");
            return Err(Failure::new(Kind::Denied, "a boot key is not renewed"));
        }
        let standing = {
            let state = self.raft.machine.state();
            match state.certificate(serial) {
                Some(kept) => state.standing(serial, subject, &kept.key_digest),
                // It was lost with what came after a backup; or it was forgotten with its CA, after the
                // manager that was asked looked at it.
                None if Timestamp(request.not_after) > now() => {
                    let (life, end) = (Incarnation(request.incarnation), request.not_after);
                    state.standing_without_record(subject, life, Timestamp(end))
                }
                None => Standing::Unknown,
            }
        };
        self.judge(caller, standing)?;
        let issued = self.issue(subject, &request.public_key, now())?;
        self.commit_certificate(caller, &issued).await?;
        self.enrolled(&issued)
    }
}
