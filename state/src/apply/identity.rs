//! Tokens, certificates, operators: who is admitted, and what the cluster stands by.

use std::sync::Arc;

use proto::id::{NodeId, OperatorId, Serial, TokenId};
use proto::identity::{Caller, Role, Subject};
use proto::limits::{
    CERTIFICATES_MAX, MANAGERS_MAX, NODES_MAX, OPERATORS_MAX, PLATFORM_BYTES_MAX, TOKENS_MAX,
};
use proto::name::{Hostname, Labels};

use super::task::truncate;
use super::{Applying, Context};
use crate::command::{AddOperator, AdmitAgent, AdmitManager, CreateToken};
use crate::object::{
    Availability, Certificate, Digest, Member, MemberState, Node, NodeReport, NodeState, ObjectId,
    Operator, Token,
};
use crate::refusal::Refusal;
use crate::remembered::Outcome;

/// How long an ended certificate is still known, in milliseconds: a node that slept may renew.
const EXPIRED_KNOWN_MS: u64 = 365 * 24 * 3600 * 1000;

fn token_refused(reason: &str) -> Refusal {
    Refusal::Token { reason: reason.into() }
}

impl Context<'_> {
    pub(super) fn create_token(&mut self, token: &CreateToken) -> Applying {
        self.put_token(token, None)?;
        let object = ObjectId::Token(token.id);
        Ok((Outcome::Token { id: token.id }, object))
    }

    fn put_token(
        &mut self,
        token: &CreateToken,
        operator: Option<OperatorId>,
    ) -> Result<(), Refusal> {
        let now = self.now;
        let lives = |token: &Token| token.expires_at > now && token.uses_left > 0;
        // Those that name a CA which was dropped are kept to say so.
        let admits = |token: &&Arc<Token>| lives(token) && self.state.leads_here(token);
        if self.state.tokens.values().filter(admits).count() >= TOKENS_MAX {
            return Err(Refusal::limit("the number of join tokens", TOKENS_MAX));
        }
        // Tokens that ended make room.
        self.state.tokens.retain(|_, token| lives(token));
        let made = Token {
            role: token.role,
            hash: token.hash,
            created_at: self.now,
            expires_at: token.expires_at,
            uses_left: token.uses,
            created_by: self.principal(),
            operator,
            authority: self.token_names(),
        };
        self.state.tokens.insert(token.id, Arc::new(made));
        self.created(ObjectId::Token(token.id));
        Ok(())
    }

    /// The CA that a token of now names; nothing is said of the first.
    fn token_names(&self) -> Option<Digest> {
        let pinned = self.state.pinned_authority().map(|authority| authority.digest);
        let rotations = &self.state.ca_rotations;
        pinned.filter(|_| rotations.number > 0 || !rotations.is_first())
    }

    pub(super) fn revoke_token(&mut self, id: TokenId) -> Applying {
        if self.state.tokens.remove(&id).is_none() {
            return Err(Refusal::not_found("join token", &id));
        }
        self.removed(ObjectId::Token(id));
        Ok((Outcome::Done, ObjectId::Token(id)))
    }

    /// Takes one use of a token for a role. Wrong secret and unknown token read the same.
    fn use_token(&mut self, id: TokenId, hash: &Digest, role: Role) -> Result<Token, Refusal> {
        let known = self.state.tokens.get(&id).filter(|token| token.hash == *hash);
        let Some(token) = known else {
            return Err(token_refused("it is not one of this cluster's, or was revoked"));
        };
        if token.role != role {
            return Err(token_refused(&format!("it is for joining as {}", token.role)));
        }
        if !self.state.leads_here(token) {
            return Err(token_refused("the cluster's CA was rotated since it was made"));
        }
        if token.expires_at <= self.now {
            return Err(token_refused("it has expired"));
        }
        if token.uses_left == 0 {
            return Err(token_refused("it was used up"));
        }
        let mut token = (**token).clone();
        token.uses_left -= 1;
        self.state.tokens.insert(id, Arc::new(token.clone()));
        Ok(token)
    }

    fn hostname_free(&self, hostname: &Hostname, but: NodeId) -> Result<(), Refusal> {
        match self.state.node_by_hostname(hostname.as_str()) {
            Some((id, _)) if id != but => Err(Refusal::Exists {
                what: "node".into(),
                name: hostname.to_string(),
                id: id.to_string(),
            }),
            _ => Ok(()),
        }
    }

    pub(super) fn new_node(&self, hostname: Hostname) -> Node {
        Node {
            hostname,
            labels: Labels::default(),
            availability: Availability::Active,
            state: NodeState::Unknown,
            state_since: self.now,
            has_agent: false,
            member: None,
            created_at: self.now,
            updated_at: self.now,
            revision: self.revision(),
            report: NodeReport::default(),
            machine: None,
        }
    }

    pub(super) fn admit_agent(&mut self, admit: AdmitAgent) -> Applying {
        self.hostname_free(&admit.hostname, admit.node_id)?;
        let existing = self.state.nodes.get(&admit.node_id).cloned();
        let mut node = match existing {
            Some(node) if admit.same_node && !node.has_agent => (*node).clone(),
            Some(node) if admit.same_node => {
                return Err(Refusal::precondition(format!(
                    "node {} has an agent already: remove the node first",
                    node.hostname
                )));
            }
            Some(_) => return Err(Refusal::precondition("the id of the node is taken")),
            None if admit.same_node => return Err(Refusal::not_found("node", &admit.node_id)),
            None if self.state.nodes.len() >= NODES_MAX => {
                return Err(Refusal::limit("the number of nodes", NODES_MAX));
            }
            None => self.new_node(admit.hostname),
        };
        self.room_for_certificate(&admit.certificate)?;
        self.use_token(admit.token_id, &admit.hash, Role::Agent)?;
        node.has_agent = true;
        node.report = NodeReport::default();
        node.machine = admit.machine.map(|mut machine| {
            truncate(&mut machine.os, PLATFORM_BYTES_MAX);
            truncate(&mut machine.architecture, PLATFORM_BYTES_MAX);
            machine
        });
        node.revision = self.revision();
        self.state.put_node(admit.node_id, node);
        self.put_certificate(admit.serial, admit.certificate);
        self.created(ObjectId::Node(admit.node_id));
        self.replan(None);
        Ok((Outcome::Node { id: admit.node_id }, ObjectId::Node(admit.node_id)))
    }

    pub(super) fn admit_manager(&mut self, admit: AdmitManager) -> Applying {
        if self.state.members.len() >= MANAGERS_MAX {
            return Err(Refusal::limit("the number of managers", MANAGERS_MAX));
        }
        self.hostname_free(&admit.hostname, admit.node_id)?;
        let taken = self.state.members.values().any(|member| member.address == admit.address);
        if taken {
            return Err(Refusal::Exists {
                what: "manager at".into(),
                name: admit.address,
                id: String::new(),
            });
        }
        let mut node = match self.state.nodes.get(&admit.node_id) {
            Some(node) if node.member.is_none() => (**node).clone(),
            Some(node) => {
                return Err(Refusal::precondition(format!(
                    "node {} is a manager already",
                    node.hostname
                )));
            }
            None => self.new_node(admit.hostname),
        };
        self.use_token(admit.token_id, &admit.hash, Role::Manager)?;
        let id = proto::id::MemberId(self.index);
        node.member = Some(id);
        node.revision = self.revision();
        self.state.put_node(admit.node_id, node);
        let member = Member {
            node_id: admit.node_id,
            address: admit.address,
            state: MemberState::Joining,
            admitted_at: self.now,
            level_max: admit.level_max,
            acknowledged_root: None,
            key_file_generation: 0,
            revision: self.revision(),
        };
        self.state.members.insert(id, Arc::new(member));
        self.log_key_is_new(id);
        self.created(ObjectId::Member(id));
        Ok((Outcome::Member { id, node_id: admit.node_id }, ObjectId::Member(id)))
    }

    pub(super) fn issue_certificate(
        &mut self,
        serial: Serial,
        certificate: Certificate,
    ) -> Applying {
        let exists = match certificate.subject {
            Subject::Manager(node, member) => {
                self.state.members.get(&member).is_some_and(|m| m.node_id == node)
            }
            Subject::Boot(_) => {
                return Err(Refusal::precondition(
                    "the certificate of a boot key comes with its generation",
                ));
            }
            Subject::Agent(node) => self.state.nodes.get(&node).is_some_and(|n| n.has_agent),
            Subject::Operator(operator) => self.state.operators.contains_key(&operator),
        };
        if !exists {
            return Err(Refusal::not_found("subject", &certificate.subject));
        }
        self.room_for_certificate(&certificate)?;
        self.put_certificate(serial, certificate);
        Ok((Outcome::Done, ObjectId::Certificate(serial)))
    }

    /// A certificate of a CA that is trusted, and not one too many.
    fn room_for_certificate(&self, certificate: &Certificate) -> Result<(), Refusal> {
        if !self.state.may_stand(certificate) {
            return Err(Refusal::OtherAuthority);
        }
        let known = self.state.certificates.values();
        if known.filter(|certificate| !self.is_forgotten(certificate)).count() >= CERTIFICATES_MAX {
            return Err(Refusal::limit("the number of certificates", CERTIFICATES_MAX));
        }
        Ok(())
    }

    /// Whether a certificate ended so long ago that its subject enrols anew.
    const fn is_forgotten(&self, certificate: &Certificate) -> bool {
        self.now.ms_since(certificate.not_after) > EXPIRED_KNOWN_MS
    }

    pub(super) fn put_certificate(&mut self, serial: Serial, mut certificate: Certificate) {
        // Of one subject, only certificates that have not ended and the newest are kept: an older
        // one that ended has been replaced. But not yet the one that this is the renewal of: the
        // answer may be lost, and then there is nothing else to renew with.
        let now = self.now;
        let subject = certificate.subject;
        let renewed = match self.caller {
            Caller::Certified { serial, .. } => Some(serial),
            _ => None,
        };
        let mut certificates = std::mem::take(&mut self.state.certificates);
        certificates.retain(|serial, old| {
            let ended = old.subject == subject && old.not_after <= now && !old.revoked;
            // Raft takes a manager's that nobody knows.
            let is_kept = old.superseded_at.is_some() && subject.role() == Role::Manager;
            let replaced = ended && renewed != Some(*serial) && !is_kept;
            !replaced && !self.is_forgotten(old)
        });
        self.state.certificates = certificates;
        let number = self.state.certificate_rotations.number;
        certificate.rotation = (number > 0).then_some(number);
        certificate.superseded_at = None;
        self.state.certificates.insert(serial, Arc::new(certificate));
        self.created(ObjectId::Certificate(serial));
    }

    pub(super) fn add_operator(&mut self, add: AddOperator) -> Applying {
        let same = |operator: &&Arc<Operator>| {
            operator.name.as_str().eq_ignore_ascii_case(add.name.as_str())
        };
        if self.state.operators.values().find(same).is_some() {
            let id = self.state.operators.iter().find(|(_, o)| same(o)).map(|(id, _)| *id);
            return Err(Refusal::Exists {
                what: "operator".into(),
                name: add.name.to_string(),
                id: id.map(|id| id.to_string()).unwrap_or_default(),
            });
        }
        if self.state.operators.len() >= OPERATORS_MAX {
            return Err(Refusal::limit("the number of operators", OPERATORS_MAX));
        }
        self.put_token(&add.token, Some(add.id))?;
        let operator = Operator {
            name: add.name,
            role: add.role,
            group: add.group,
            created_at: self.now,
            revision: self.revision(),
            request: self.request,
        };
        self.state.operators.insert(add.id, Arc::new(operator));
        let object = ObjectId::Operator(add.id);
        self.created(object);
        Ok((Outcome::Operator { id: add.id }, object))
    }

    pub(super) fn enroll_operator(
        &mut self,
        token_id: TokenId,
        hash: Digest,
        serial: Serial,
        certificate: Certificate,
    ) -> Applying {
        self.room_for_certificate(&certificate)?;
        let operator = self.state.tokens.get(&token_id).and_then(|token| token.operator);
        let names_it = operator.is_some_and(|id| certificate.subject == Subject::Operator(id));
        if operator.is_some() && !names_it {
            return Err(token_refused("it enrols another operator"));
        }
        let token = self.use_token(token_id, &hash, Role::Operator)?;
        let id = token.operator.ok_or_else(|| token_refused("it enrols nobody"))?;
        self.put_certificate(serial, certificate);
        Ok((Outcome::Operator { id }, ObjectId::Operator(id)))
    }

    pub(super) fn remove_operator(&mut self, id: OperatorId) -> Applying {
        if self.state.operators.remove(&id).is_none() {
            return Err(Refusal::not_found("operator", &id));
        }
        self.state.tokens.retain(|_, token| token.operator != Some(id));
        self.revoke_certificates(|subject| subject == Subject::Operator(id));
        self.removed(ObjectId::Operator(id));
        self.follow_rotations();
        Ok((Outcome::Done, ObjectId::Operator(id)))
    }
}
