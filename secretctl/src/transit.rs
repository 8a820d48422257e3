//! The cluster's transit key, checked before anything is sealed to it.
//!
//! The manager sends the key with the CA's signature. Over TLS the CA is the one pinned in the
//! context; on the local unix socket it is the one the manager names, since the kernel vouches for
//! the socket and whoever owns it could replace the CA as well. Not here: cryptography (`seal`).
//!
//! Invariant: a sender exists only for a key that was signed for this cluster, that has not ended,
//! of a life of the cluster not before the latest one seen, and for the principal the caller is.

use link::Failure;
use proto::Kind;
use proto::convert::{ParseError, bytes_16};
use proto::id::{Incarnation, KeyId, Realm, Timestamp};
use proto::identity::{Principal, Subject};
use proto::pb;
use seal::{Context, TransitPublicKey, TransitSender};

use crate::error::Error;

/// What the caller knows of the cluster it talks to.
#[derive(Debug, Clone)]
pub(crate) enum Trust {
    /// A unix socket: the kernel vouches for who owns it.
    Kernel,
    /// A context.
    Pinned {
        /// The CA's public key (SubjectPublicKeyInfo, DER).
        ca_public_key: Vec<u8>,
        /// The cluster.
        realm: Realm,
        /// The highest life seen.
        incarnation: Incarnation,
        /// Whom the caller's certificate names.
        subject: Subject,
    },
}

/// A transit key is not one to seal to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TransitError {
    /// The answer cannot be read.
    #[error("the transit key cannot be read")]
    Parse(#[source] ParseError),
    /// It comes with another CA than the pinned one.
    #[error("the manager's transit key is signed by another CA than this context's")]
    ForeignCa,
    /// It is of another cluster.
    #[error("the manager's transit key is of another cluster than this context's")]
    ForeignRealm,
    /// Its signature is wrong.
    #[error("the manager's transit key is not signed by the cluster's CA")]
    Signature,
    /// It is not the key its id says.
    #[error("the manager's transit key is not the one its id names")]
    Id,
    /// It has ended.
    #[error("the manager's transit key has ended")]
    Ended,
    /// The cluster went back in time.
    #[error("the cluster is in life {offered} of it, though life {seen} was seen before")]
    Earlier {
        /// What the manager says.
        offered: Incarnation,
        /// What was seen.
        seen: Incarnation,
    },
    /// The manager takes the caller for somebody else.
    #[error("the manager takes this caller for `{0}`")]
    Caller(String),
}

impl From<TransitError> for Error {
    fn from(error: TransitError) -> Self {
        let hint = match &error {
            TransitError::Ended => {
                "compare this machine's clock with the manager's; if they agree, see \
                 `secretctl cluster status`"
            }
            TransitError::Earlier { .. } => {
                "somebody may have started an old backup; if that was meant, enrol again with \
                 `secretctl context add`"
            }
            _ => {
                "nothing was sent; find out who answers at this address before trying again, or \
                 enrol again with `secretctl context add`"
            }
        };
        let because = std::error::Error::source(&error).map(ToString::to_string);
        let mut failure = Failure::new(Kind::Unauthenticated, error.to_string()).hint(hint);
        failure.because = because;
        failure.into()
    }
}

/// Checks the key a manager sent and sets up a connection to it.
pub(crate) fn sender(
    key: pb::TransitKey,
    trust: &Trust,
    now: Timestamp,
) -> Result<TransitSender, TransitError> {
    let parse = TransitError::Parse;
    let realm: Realm = bytes_16("realm", &key.realm).map_err(parse)?;
    let id: KeyId = bytes_16("key_id", &key.key_id).map_err(parse)?;
    let public = TransitPublicKey::parse(key.public_key)
        .map_err(|error| parse(ParseError::new("public_key", error)))?;
    let principal = principal(&key.caller)
        .ok_or_else(|| parse(ParseError::new("caller", "not a principal")))?;
    let (ca, signature) = match trust {
        Trust::Kernel => {
            if !matches!(principal, Principal::Local { .. }) {
                return Err(TransitError::Caller(key.caller));
            }
            (&key.ca_public_key[..], &key.signature)
        }
        Trust::Pinned { ca_public_key, realm: known, incarnation, subject } => {
            // While the CA is rotated, both sign.
            let further = key.further.iter().map(|one| (&one.ca_public_key, &one.signature));
            let mut all = std::iter::once((&key.ca_public_key, &key.signature)).chain(further);
            let pinned = all.find(|(ca, _)| *ca == ca_public_key);
            let (_, signature) = pinned.ok_or(TransitError::ForeignCa)?;
            if realm != *known {
                return Err(TransitError::ForeignRealm);
            }
            let offered = Incarnation(key.incarnation);
            if offered < *incarnation {
                return Err(TransitError::Earlier { offered, seen: *incarnation });
            }
            if principal != Principal::Subject(*subject) {
                return Err(TransitError::Caller(key.caller));
            }
            (&ca_public_key[..], signature)
        }
    };
    if public.id() != id {
        return Err(TransitError::Id);
    }
    let announcement = Context::TransitAnnouncement {
        realm,
        transit_key_id: id,
        public_key: public.as_bytes(),
        not_after_ms: key.not_after,
    };
    if !link::certificate::verify(ca, &announcement.encode(), signature) {
        return Err(TransitError::Signature);
    }
    if key.not_after <= now.0 {
        return Err(TransitError::Ended);
    }
    TransitSender::set_up(public, realm, principal).map_err(|_| TransitError::Id)
}

/// Reads a principal as `Principal`'s `Display` writes it, in its one spelling.
fn principal(text: &str) -> Option<Principal> {
    let principal = if let Some(uid) = text.strip_prefix("local/") {
        Principal::Local { uid: uid.parse().ok()? }
    } else if text == "cluster" {
        Principal::Cluster
    } else {
        Principal::Subject(text.parse().ok()?)
    };
    (principal.to_string() == text).then_some(principal)
}

#[cfg(test)]
mod tests {
    use link::certificate::{make_key_pair, sign};
    use proto::id::OperatorId;
    use seal::TransitSecretKey;

    use super::*;

    const REALM: Realm = Realm::from_bytes([1; 16]);
    const NOW: Timestamp = Timestamp(1_000_000);

    fn subject() -> Subject {
        Subject::Operator(OperatorId::from_entropy([3; 17]))
    }

    fn announced(ca: &link::certificate::KeyPairDer, caller: &str) -> pb::TransitKey {
        let secret = TransitSecretKey::make();
        let public = secret.public();
        let context = Context::TransitAnnouncement {
            realm: REALM,
            transit_key_id: public.id(),
            public_key: public.as_bytes(),
            not_after_ms: 2_000_000,
        };
        pb::TransitKey {
            realm: REALM.as_bytes().to_vec().into(),
            incarnation: 2,
            key_id: public.id().as_bytes().to_vec().into(),
            public_key: public.as_bytes().clone(),
            not_after: 2_000_000,
            signature: sign(&ca.private, &context.encode()).unwrap().into(),
            ca_public_key: ca.public.clone().into(),
            caller: caller.to_owned(),
            further: Vec::new(),
        }
    }

    fn pinned(ca: &link::certificate::KeyPairDer) -> Trust {
        Trust::Pinned {
            ca_public_key: ca.public.clone(),
            realm: REALM,
            incarnation: Incarnation(2),
            subject: subject(),
        }
    }

    #[test]
    fn a_key_that_the_ca_signed_is_taken() {
        let ca = make_key_pair().unwrap();
        assert!(sender(announced(&ca, "local/0"), &Trust::Kernel, NOW).is_ok());
        let remote = announced(&ca, &subject().to_string());
        assert!(sender(remote, &pinned(&ca), NOW).is_ok());
    }

    #[test]
    fn while_the_ca_is_rotated_the_signature_of_the_pinned_one_counts() {
        let (old, new) = (make_key_pair().unwrap(), make_key_pair().unwrap());
        let mut key = announced(&old, &subject().to_string());
        assert_eq!(
            sender(key.clone(), &pinned(&new), NOW).err(),
            Some(TransitError::ForeignCa),
            "the new one has not signed"
        );
        let context = Context::TransitAnnouncement {
            realm: REALM,
            transit_key_id: key.key_id.as_ref().try_into().unwrap(),
            public_key: &key.public_key,
            not_after_ms: key.not_after,
        };
        let signature = sign(&new.private, &context.encode()).unwrap().into();
        let ca_public_key = new.public.clone().into();
        key.further = vec![pb::CaSignature { ca_public_key, signature }];
        assert!(sender(key.clone(), &pinned(&old), NOW).is_ok());
        assert!(sender(key.clone(), &pinned(&new), NOW).is_ok());
        // The other one's word for it is not.
        key.further[0].signature = key.signature.clone();
        assert_eq!(sender(key, &pinned(&new), NOW).err(), Some(TransitError::Signature));
    }

    #[test]
    fn any_other_key_is_refused() {
        let (ca, other) = (make_key_pair().unwrap(), make_key_pair().unwrap());
        let refused = |change: &dyn Fn(&mut pb::TransitKey), trust: &Trust, now| {
            let mut key = announced(&ca, &subject().to_string());
            change(&mut key);
            sender(key, trust, now).err().expect("it is refused")
        };
        let trust = pinned(&ca);
        let error = refused(&|_| (), &pinned(&other), NOW);
        assert_eq!(error, TransitError::ForeignCa);
        let error = refused(&|k| k.realm = vec![9; 16].into(), &trust, NOW);
        assert_eq!(error, TransitError::ForeignRealm);
        let error = refused(&|k| k.incarnation = 1, &trust, NOW);
        let earlier = TransitError::Earlier { offered: Incarnation(1), seen: Incarnation(2) };
        assert_eq!(error, earlier);
        let error = refused(&|k| k.not_after = 3_000_000, &trust, NOW);
        assert_eq!(error, TransitError::Signature);
        let error = refused(&|k| k.signature = b"junk".as_slice().into(), &trust, NOW);
        assert_eq!(error, TransitError::Signature);
        let another = TransitSecretKey::make().public().as_bytes().clone();
        let error = refused(&|k| k.public_key = another.clone(), &trust, NOW);
        assert_eq!(error, TransitError::Id);
        assert_eq!(refused(&|_| (), &trust, Timestamp(2_000_000)), TransitError::Ended);
        let error = refused(&|k| k.caller = "local/0".into(), &trust, NOW);
        assert_eq!(error, TransitError::Caller("local/0".into()));
        let remote = subject().to_string();
        let error = refused(&|_| (), &Trust::Kernel, NOW);
        assert_eq!(error, TransitError::Caller(remote));
        for bad in ["", "local/", "local/00", "local/x", "operator/x", "root"] {
            let error = refused(&|k| k.caller = bad.into(), &trust, NOW);
            assert!(matches!(error, TransitError::Parse(_)), "{bad}");
        }
    }
}
