//! From a dispatcher to an agent: data keys under a session key.
//!
//! The agent makes a key pair for each connection and wipes it with the connection; the
//! dispatcher sets HPKE up to it once and wraps each data key with the delivery's own context.
//! Transport buffers never see a payload or its key.
//!
//! Invariant: a delivery opens only in its session, as its message number, for its task.

use bytes::Bytes;
use proto::id::{Incarnation, NodeId, PayloadId, Realm, SecretId, SessionId, TaskId, Version};
use proto::sealed::{Ciphertext, Encapsulation, WrappedKey};

use crate::context::Context;
use crate::hazmat::{self, KEY_BYTES};
use crate::key::{KeyBytes, key_pair};
use crate::payload::Dek;
use crate::{OpenError, digest_of};

key_pair!(
    /// An agent's key for one connection, in memory only.
    SessionSecretKey,
    SessionPublicKey,
    "session"
);

/// What a session is bound to: both ends must agree on every field.
#[derive(Clone)]
pub struct SessionBinding {
    /// The cluster.
    pub realm: Realm,
    /// Its life.
    pub incarnation: Incarnation,
    /// The agent's node.
    pub node_id: NodeId,
    /// SHA-256 of the public key in the agent's certificate.
    pub certificate_key_digest: [u8; 32],
    /// Random, of the dispatcher.
    pub session_id: SessionId,
    /// The agent's key for this connection.
    pub session_key: SessionPublicKey,
}

impl SessionBinding {
    fn info(&self) -> Vec<u8> {
        Context::Session {
            realm: self.realm,
            incarnation: self.incarnation,
            node_id: self.node_id,
            certificate_key_digest: &self.certificate_key_digest,
            session_id: self.session_id,
            session_public_key: self.session_key.as_bytes(),
        }
        .encode()
    }
}

/// What one delivery is: which value, for which task, as which message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// Counts the deliveries of the session from 1.
    pub message_number: u64,
    /// The task it is for.
    pub task_id: TaskId,
    /// The secret.
    pub secret_id: SecretId,
    /// Which of its values.
    pub version: Version,
    /// The payload.
    pub payload_id: PayloadId,
}

impl Delivery {
    fn context(&self, ciphertext: &Ciphertext) -> Vec<u8> {
        Context::Delivery {
            message_number: self.message_number,
            task_id: self.task_id,
            secret_id: self.secret_id,
            version: self.version,
            payload_id: self.payload_id,
            ciphertext_digest: &digest_of(ciphertext.as_bytes()),
        }
        .encode()
    }
}

/// The dispatcher's half of a session.
pub struct SessionSender {
    wrapping_key: KeyBytes,
    encapsulation: Encapsulation,
}

impl SessionSender {
    /// Sets a session up to the agent's key.
    ///
    /// # Errors
    ///
    /// If the agent's key is not one that can be agreed with (RFC 9180 §7.1.4).
    pub fn set_up(binding: &SessionBinding) -> Result<Self, OpenError> {
        let mut encapsulated = [0; 32];
        let wrapping_key = KeyBytes::try_born(|key| {
            encapsulated = hazmat::encapsulate(binding.session_key.key(), &binding.info(), key)?;
            Ok(())
        })?;
        Ok(Self { wrapping_key, encapsulation: Encapsulation::x25519(&encapsulated) })
    }

    /// What the agent needs to set up its half.
    pub const fn encapsulation(&self) -> &Encapsulation {
        &self.encapsulation
    }

    /// Wraps a data key for one delivery of its ciphertext.
    pub fn wrap(&self, delivery: &Delivery, dek: &Dek, ciphertext: &Ciphertext) -> WrappedKey {
        let wrapped = hazmat::encrypt(
            self.wrapping_key.bytes(),
            self.wrapping_key.id("session"),
            &delivery.context(ciphertext),
            &[dek.bytes.bytes()],
        );
        WrappedKey::new(Bytes::from(wrapped)).expect("what was just wrapped has a whole header")
    }
}

/// The agent's half of a session.
pub struct SessionReceiver {
    wrapping_key: KeyBytes,
}

impl SessionReceiver {
    /// Recomputes the session's key from what the dispatcher sent.
    ///
    /// # Errors
    ///
    /// If the encapsulation is not a usable key. A wrong one shows at the first delivery.
    pub fn set_up(
        secret: &SessionSecretKey,
        binding: &SessionBinding,
        encapsulation: &Encapsulation,
    ) -> Result<Self, OpenError> {
        let wrapping_key = KeyBytes::try_born(|key| {
            hazmat::decapsulate(secret.bytes.bytes(), encapsulation.key(), &binding.info(), key)
        })?;
        Ok(Self { wrapping_key })
    }

    /// Unwraps the data key of one delivery.
    ///
    /// # Errors
    ///
    /// Always the same one, whatever is wrong.
    pub fn unwrap(
        &self,
        delivery: &Delivery,
        sealed_dek: &WrappedKey,
        ciphertext: &Ciphertext,
    ) -> Result<Dek, OpenError> {
        let bytes = hazmat::decrypt_exact::<KEY_BYTES>(
            self.wrapping_key.bytes(),
            &delivery.context(ciphertext),
            sealed_dek.as_bytes(),
        )?;
        Ok(Dek::of(KeyBytes::born(|dek| dek.copy_from_slice(&**bytes))))
    }
}
