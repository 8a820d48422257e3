//! Join tokens: what a new node, manager or operator presents once, to be admitted.
//!
//! Text form, one word, safe in a shell:
//! `SECTKN-1-<token id>-<role>-<realm>-<ca digest>-<secret>-<checksum>`; realm, digest and secret
//! in lower-case hex, the checksum a CRC-32 of all before it, so that a slip of the hand is told
//! from a wrong token. The joiner requires the digest (SHA-256 of the CA's public key) of the CA
//! that the server's chain ends in before it sends anything.
//!
//! Not here: whether a token is good (state knows its hash, expiry and uses).
//! Invariant: the secret part is wiped on drop and never printed but by [`JoinToken::reveal`].

use core::fmt;
use core::str::FromStr;

use zeroize::Zeroize as _;

use crate::hex;
use crate::id::{Realm, TokenId};
use crate::identity::Role;

/// The token's format and its readable prefix.
const PREFIX: &str = "SECTKN-1";

/// Bytes of the secret part.
pub const TOKEN_SECRET_BYTES: usize = 32;

/// Why a text is not a join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not look like one at all.
    #[error("not a join token: expected a word that starts with {PREFIX}-")]
    Form,
    /// It looks like one with a slip in it.
    #[error("join token is damaged: its checksum does not match; copy it again, whole")]
    Checksum,
}

/// The 32 random bytes of a token: whoever has them may join, once.
pub struct TokenSecret(Box<[u8; TOKEN_SECRET_BYTES]>);

impl TokenSecret {
    /// Takes fresh random bytes; the caller's copy is its own to wipe.
    pub fn new(bytes: Box<[u8; TOKEN_SECRET_BYTES]>) -> Self {
        Self(bytes)
    }

    /// The bytes, to be hashed or sent over a verified connection.
    pub fn expose(&self) -> &[u8; TOKEN_SECRET_BYTES] {
        &self.0
    }
}

impl Drop for TokenSecret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A parsed join token.
pub struct JoinToken {
    /// Which token.
    pub id: TokenId,
    /// As what it admits.
    pub role: Role,
    /// To which cluster.
    pub realm: Realm,
    /// SHA-256 of the CA's public key (SubjectPublicKeyInfo, DER).
    pub ca_digest: [u8; 32],
    /// The secret part.
    pub secret: TokenSecret,
}

impl JoinToken {
    /// The whole token as text. It holds the secret: show it once, log it never.
    pub fn reveal(&self) -> String {
        let mut text = String::with_capacity(256);
        text.push_str(PREFIX);
        for part in [self.id.as_str(), self.role.as_str()] {
            text.push('-');
            text.push_str(part);
        }
        for bytes in [&self.realm.as_bytes()[..], &self.ca_digest[..], &self.secret.expose()[..]] {
            text.push('-');
            hex::push(&mut text, bytes);
        }
        let checksum = crc32fast::hash(text.as_bytes());
        text.push('-');
        hex::push(&mut text, &checksum.to_be_bytes());
        text
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({}, {})", self.id, self.role)
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let rest = text.strip_prefix(PREFIX).and_then(|r| r.strip_prefix('-'));
        let rest = rest.ok_or(TokenError::Form)?;
        let (body, checksum) = text.rsplit_once('-').ok_or(TokenError::Form)?;
        let expected = crc32fast::hash(body.as_bytes()).to_be_bytes();
        if hex::decode::<4>(checksum) != Some(expected) {
            return Err(TokenError::Checksum);
        }
        let mut parts = rest.split('-');
        let mut next = || parts.next().ok_or(TokenError::Form);
        let token = Self {
            id: next()?.parse().map_err(|_| TokenError::Form)?,
            role: next()?.parse().map_err(|_| TokenError::Form)?,
            realm: Realm::from_bytes(hex::decode(next()?).ok_or(TokenError::Form)?),
            ca_digest: hex::decode(next()?).ok_or(TokenError::Form)?,
            secret: TokenSecret::new(Box::new(hex::decode(next()?).ok_or(TokenError::Form)?)),
        };
        // What is left is the checksum, already compared.
        if parts.count() == 1 { Ok(token) } else { Err(TokenError::Form) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken {
            id: TokenId::from_entropy([1; 17]),
            role: Role::Agent,
            realm: Realm::from_bytes([2; 16]),
            ca_digest: [3; 32],
            secret: TokenSecret::new(Box::new([4; 32])),
        }
    }

    #[test]
    fn a_token_survives_its_text() {
        let parsed: JoinToken = format!(" {}\n", token().reveal()).parse().unwrap();
        assert_eq!(parsed.reveal(), token().reveal());
    }

    #[test]
    fn a_slip_is_told_from_a_foreign_word() {
        let text = token().reveal();
        for at in 9..text.len() {
            let mut slipped = text.clone().into_bytes();
            slipped[at] = if slipped[at] == b'7' { b'8' } else { b'7' };
            let slipped = String::from_utf8(slipped).unwrap();
            assert_eq!(slipped.parse::<JoinToken>().unwrap_err(), TokenError::Checksum, "{at}");
        }
        for foreign in ["", "SWMTKN-1-aaa-bbb", "SECTKN", "SECTKN-2-x"] {
            assert_eq!(foreign.parse::<JoinToken>().unwrap_err(), TokenError::Form, "{foreign}");
        }
    }

    #[test]
    fn debug_does_not_show_the_secret() {
        assert!(!format!("{:?}", token()).contains("0404"));
    }
}
