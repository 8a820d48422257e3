//! Who somebody is: roles, the identity a certificate carries, the caller of a request.
//!
//! A certificate names realm, incarnation, role and subject in one SAN URI
//! (`spiffe://<realm>/<incarnation>/<role>/<subject>`, SPIFFE-ID form). It proves who speaks; what
//! they may do stands in the state. Not here: verification (link) and authorisation (store).
//!
//! Invariant: parsing what was formatted gives the same identity, and nothing else parses to it.

use core::fmt;
use core::str::FromStr;

use crate::id::{Incarnation, MemberId, NodeId, OperatorId, Realm, Serial, TokenId};

/// The role a certificate was issued for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode,
)]
#[cbor(index_only)]
pub enum Role {
    /// A Raft member.
    #[n(0)]
    Manager,
    /// A node agent.
    #[n(1)]
    Agent,
    /// An operator.
    #[n(2)]
    Operator,
    /// A manager's boot key: may ask its peers to unlock it, and nothing else.
    #[n(3)]
    Boot,
}

impl Role {
    /// The role as it stands in a certificate and a join token.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manager => "manager",
            Self::Agent => "agent",
            Self::Operator => "operator",
            Self::Boot => "boot",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        [Self::Manager, Self::Agent, Self::Operator, Self::Boot]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or(IdentityError)
    }
}

/// A text is not an identity of this system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an identity of a secretd cluster")]
pub struct IdentityError;

/// Whom a certificate names.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode,
)]
pub enum Subject {
    /// A manager: its machine and its Raft member.
    #[n(0)]
    Manager(#[n(0)] NodeId, #[n(1)] MemberId),
    /// An agent: its machine.
    #[n(1)]
    Agent(#[n(0)] NodeId),
    /// An operator.
    #[n(2)]
    Operator(#[n(0)] OperatorId),
    /// The boot key of a member.
    #[n(3)]
    Boot(#[n(0)] MemberId),
}

impl Subject {
    /// The role that goes with the subject.
    pub const fn role(self) -> Role {
        match self {
            Self::Manager(..) => Role::Manager,
            Self::Agent(_) => Role::Agent,
            Self::Operator(_) => Role::Operator,
            Self::Boot(_) => Role::Boot,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manager(node, member) => write!(f, "manager/{node}/{member}"),
            Self::Agent(node) => write!(f, "agent/{node}"),
            Self::Operator(operator) => write!(f, "operator/{operator}"),
            Self::Boot(member) => write!(f, "boot/{member}"),
        }
    }
}

impl FromStr for Subject {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let parts: Vec<&str> = text.split('/').collect();
        let subject = match parts.as_slice() {
            ["manager", node, member] => Self::Manager(
                node.parse().map_err(|_| IdentityError)?,
                MemberId(parse_counter(member)?),
            ),
            ["agent", node] => Self::Agent(node.parse().map_err(|_| IdentityError)?),
            ["operator", id] => Self::Operator(id.parse().map_err(|_| IdentityError)?),
            ["boot", member] => Self::Boot(MemberId(parse_counter(member)?)),
            _ => return Err(IdentityError),
        };
        Ok(subject)
    }
}

/// One spelling per number: no sign, no leading zero.
fn parse_counter(text: &str) -> Result<u64, IdentityError> {
    let number: u64 = text.parse().map_err(|_| IdentityError)?;
    if number.to_string() == text { Ok(number) } else { Err(IdentityError) }
}

/// What a certificate says: whose, of which cluster, of which incarnation of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The cluster.
    pub realm: Realm,
    /// The incarnation it was issued in.
    pub incarnation: Incarnation,
    /// Whom it names.
    pub subject: Subject,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/{}/{}", self.realm, self.incarnation, self.subject)
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let rest = text.strip_prefix("spiffe://").ok_or(IdentityError)?;
        let (realm, rest) = rest.split_once('/').ok_or(IdentityError)?;
        let (incarnation, subject) = rest.split_once('/').ok_or(IdentityError)?;
        Ok(Self {
            realm: realm.parse().map_err(|_| IdentityError)?,
            incarnation: Incarnation(parse_counter(incarnation)?),
            subject: subject.parse()?,
        })
    }
}

/// Who made a request, as authenticated by the manager that received it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode,
)]
pub enum Caller {
    /// A process on a manager's own machine, by the peer uid the kernel gave for its socket.
    #[n(0)]
    Local {
        /// The uid.
        #[n(0)]
        uid: u32,
        /// The manager whose socket it was.
        #[n(1)]
        member: MemberId,
    },
    /// Somebody with a certificate.
    #[n(1)]
    Certified {
        /// Whom the certificate names.
        #[n(0)]
        subject: Subject,
        /// Which certificate.
        #[n(1)]
        serial: Serial,
    },
    /// The cluster itself: orchestrator, scheduler, liveness, renewal of keys.
    #[n(2)]
    Cluster {
        /// The leader that decided.
        #[n(0)]
        member: MemberId,
    },
    /// Somebody who enrols and has nothing yet but a token.
    #[n(3)]
    Token {
        /// Which.
        #[n(0)]
        id: TokenId,
    },
}

impl Caller {
    /// The caller without what changes between two requests of the same one (its certificate):
    /// the identity that a sealed box is bound to, and that request keys are remembered under.
    pub fn principal(&self) -> Principal {
        match *self {
            Self::Local { uid, .. } => Principal::Local { uid },
            Self::Certified { subject, .. } => Principal::Subject(subject),
            Self::Cluster { .. } => Principal::Cluster,
            Self::Token { id } => Principal::Token(id),
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { uid, member } => write!(f, "local/{uid}@{member}"),
            Self::Certified { subject, serial } => write!(f, "{subject}#{serial}"),
            Self::Cluster { member } => write!(f, "cluster@{member}"),
            Self::Token { id } => write!(f, "token/{id}"),
        }
    }
}

/// A caller across its certificates and, for local ones, across the managers of a machine.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode,
)]
pub enum Principal {
    /// A local process, by uid.
    #[n(0)]
    Local {
        /// The uid.
        #[n(0)]
        uid: u32,
    },
    /// The subject of a certificate.
    #[n(1)]
    Subject(#[n(0)] Subject),
    /// The cluster itself.
    #[n(2)]
    Cluster,
    /// Somebody who enrols, by token.
    #[n(3)]
    Token(#[n(0)] TokenId),
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { uid } => write!(f, "local/{uid}"),
            Self::Subject(subject) => write!(f, "{subject}"),
            Self::Cluster => f.write_str("cluster"),
            Self::Token(id) => write!(f, "token/{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subjects() -> [Subject; 4] {
        let node = NodeId::from_entropy([9; 17]);
        [
            Subject::Manager(node, MemberId(7)),
            Subject::Agent(node),
            Subject::Operator(OperatorId::from_entropy([3; 17])),
            Subject::Boot(MemberId(1)),
        ]
    }

    #[test]
    fn an_identity_survives_its_text() {
        for subject in subjects() {
            let identity = Identity {
                realm: Realm::from_bytes([5; 16]),
                incarnation: Incarnation(3),
                subject,
            };
            assert_eq!(identity.to_string().parse(), Ok(identity));
        }
    }

    #[test]
    fn there_is_one_spelling_of_an_identity() {
        let realm = Realm::from_bytes([5; 16]);
        let node = NodeId::from_entropy([9; 17]);
        for bad in [
            format!("spiffe://{realm}/01/agent/{node}"),
            format!("spiffe://{realm}/+1/agent/{node}"),
            format!("spiffe://{realm}/1/agent/{node}/"),
            format!("spiffe://{realm}/1/manager/{node}"),
            format!("spiffe://{realm}/1/manager/{node}/007"),
            format!("https://{realm}/1/agent/{node}"),
            format!("spiffe://{realm}/1/root/{node}"),
        ] {
            assert!(bad.parse::<Identity>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_renewed_certificate_is_the_same_principal() {
        let subject = subjects()[1];
        let caller = |serial| Caller::Certified { subject, serial: Serial::from_bytes(serial) };
        assert_ne!(caller([1; 16]), caller([2; 16]));
        assert_eq!(caller([1; 16]).principal(), caller([2; 16]).principal());
    }
}
