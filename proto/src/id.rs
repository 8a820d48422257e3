//! Identifiers: object ids in Swarm's form, and fixed random bytes.
//!
//! Object ids are 25 characters of base 36 (129 bits of randomness), as Docker prints them, kept
//! inline. Each kind of object has its own type, so that a task id is never taken for a node id.
//! Not here: making them. Randomness enters where a request is accepted, never in `state`.
//!
//! Invariant: a value of these types is well formed; what the network or the disk brings is
//! parsed on the way in.

use core::fmt;
use core::str::FromStr;

use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};

/// Length of an object id, in characters.
pub const ID_LEN: usize = 25;

const BASE_36: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// A text is not an id of the kind that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {kind}: expected {expected}")]
pub struct IdError {
    kind: &'static str,
    expected: &'static str,
}

/// Encodes 17 random bytes as 25 base-36 digits, most significant first, dropping the excess of
/// 136 bits over 129.
fn id_from_entropy(entropy: [u8; 17]) -> [u8; ID_LEN] {
    /// Digits that one division of the whole number yields.
    const AT_ONCE: usize = 5;
    const DIVISOR: u64 = 36 * 36 * 36 * 36 * 36;
    // In words of 32 bits, the first one of 8: what is left of one (less than 2^26) goes, with the next
    // one, into 64 bits.
    let [first, rest @ ..] = entropy;
    let mut number = [u64::from(first), 0, 0, 0, 0];
    let (words, _) = rest.as_chunks::<4>();
    for (word, bytes) in number.iter_mut().skip(1).zip(words) {
        *word = u32::from_be_bytes(*bytes).into();
    }
    let mut text = [b'0'; ID_LEN];
    for digits in text.rchunks_exact_mut(AT_ONCE) {
        let mut left = 0;
        for word in &mut number {
            let value = (left << 32) | *word;
            (*word, left) = (value / DIVISOR, value % DIVISOR);
        }
        for digit in digits.iter_mut().rev() {
            let value = usize::try_from(left % 36).unwrap_or_default();
            *digit = BASE_36.get(value).copied().unwrap_or(b'0');
            left /= 36;
        }
    }
    text
}

macro_rules! object_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; ID_LEN]);

        impl $name {
            /// The id that stands for 17 bytes of fresh randomness.
            pub fn from_entropy(entropy: [u8; 17]) -> Self {
                Self(id_from_entropy(entropy))
            }

            /// The id as text: 25 lower-case base-36 characters.
            pub fn as_str(&self) -> &str {
                core::str::from_utf8(&self.0).unwrap_or_default()
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let bytes: [u8; ID_LEN] = text.as_bytes().try_into().map_err(|_| IdError {
                    kind: $kind,
                    expected: "25 characters a-z 0-9",
                })?;
                if bytes.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z')) {
                    Ok(Self(bytes))
                } else {
                    Err(IdError { kind: $kind, expected: "25 characters a-z 0-9" })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: Write>(
                &self,
                e: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), EncodeError<W::Error>> {
                e.str(self.as_str())?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                d.str()?.parse().map_err(|_| DecodeError::message(concat!("bad ", $kind)))
            }
        }
    };
}

object_id!(
    /// A secret.
    SecretId,
    "secret id"
);
object_id!(
    /// A service.
    ServiceId,
    "service id"
);
object_id!(
    /// A task: one run of a service on a node.
    TaskId,
    "task id"
);
object_id!(
    /// A node: a machine, whatever runs on it.
    NodeId,
    "node id"
);
object_id!(
    /// An operator: a person or a program that may change the cluster.
    OperatorId,
    "operator id"
);
object_id!(
    /// A join token.
    TokenId,
    "token id"
);
object_id!(
    /// A network, kept for compose files.
    NetworkId,
    "network id"
);
object_id!(
    /// A config: a value that is not secret.
    ConfigId,
    "config id"
);

macro_rules! random_bytes {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Takes the bytes as they are.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = IdError;

            fn try_from(bytes: &[u8]) -> Result<Self, IdError> {
                bytes
                    .try_into()
                    .map(Self)
                    .map_err(|_| IdError { kind: $kind, expected: "16 bytes" })
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                crate::hex::decode(text).map(Self).ok_or(IdError {
                    kind: $kind,
                    expected: "32 lower-case hex digits",
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&crate::hex::encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: Write>(
                &self,
                e: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), EncodeError<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                Self::try_from(d.bytes()?)
                    .map_err(|_| DecodeError::message(concat!("bad ", $kind)))
            }
        }
    };
}

random_bytes!(
    /// The cluster, for ever: random at init, in the context of every payload and key.
    Realm,
    "realm"
);
random_bytes!(
    /// A key, derived from it; names the key in every header and list.
    KeyId,
    "key id"
);
random_bytes!(
    /// One sealed value, chosen by who sealed it.
    PayloadId,
    "payload id"
);
random_bytes!(
    /// One request of one caller, the same in every retry of it.
    RequestKey,
    "request key"
);
random_bytes!(
    /// One connection of an agent to a manager.
    SessionId,
    "session id"
);
random_bytes!(
    /// One backup of the cluster.
    BackupId,
    "backup id"
);
random_bytes!(
    /// One certificate: its serial number.
    Serial,
    "serial number"
);

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, minicbor::Encode, minicbor::Decode)]
        #[cbor(transparent)]
        pub struct $name(#[n(0)] pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

counter!(
    /// A manager as a Raft member: the log index of the entry that admitted it, so it is never
    /// used twice. The founder is member 1, the index of the first entry of the first leader,
    /// which admits nobody.
    MemberId
);
counter!(
    /// How often the cluster was started over from a backup or from one surviving manager: 1 at
    /// init. Agents and clients refuse a lower one than they have seen.
    Incarnation
);
counter!(
    /// The Raft index of the last change of an object, used for compare-and-set.
    Revision
);
counter!(
    /// The number of a value of a secret: 1, 2, 3, …
    Version
);
counter!(
    /// Milliseconds since the epoch, as the leader's clock said when it proposed.
    Timestamp
);

impl Timestamp {
    /// This instant and `ms` milliseconds, or the end of time.
    #[must_use]
    pub const fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// As RFC 3339 has it, in UTC: `2026-01-31T12:00:00.123Z`.
    pub fn to_rfc3339(self) -> String {
        let (seconds, ms) = (self.0 / 1_000, self.0 % 1_000);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3_600, second % 3_600 / 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }

    /// Milliseconds from `earlier` to this instant; 0 if it is not earlier.
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The date of a day since 1970-01-01 (Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `civil_from_days`).
const fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_id_has_25_base_36_digits() {
        for entropy in [[0; 17], [0xff; 17], [7; 17]] {
            let id = SecretId::from_entropy(entropy);
            assert_eq!(id.as_str().len(), ID_LEN);
            assert_eq!(id.as_str().parse::<SecretId>().unwrap(), id);
        }
        let small = TaskId::from_entropy([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 37]);
        assert_eq!(small.as_str(), "0000000000000000000000011");
    }

    #[test]
    fn an_object_id_is_the_entropy_in_base_36() {
        // Python: the number from its big-endian bytes, and its last 25 digits.
        let stepped = std::array::from_fn(|at| u8::try_from((at * 37 + 11) % 256).unwrap());
        assert_eq!(SecretId::from_entropy(stepped).as_str(), "pkpuhx0s41d2w68sj5bcz0t3v");
        assert_eq!(SecretId::from_entropy([0xff; 17]).as_str(), "rw1727u0mgg6ugs60vxe42e4f");
    }

    #[test]
    fn different_entropy_gives_different_ids() {
        let mut entropy = [0; 17];
        let first = NodeId::from_entropy(entropy);
        entropy[16] = 1;
        assert_ne!(first, NodeId::from_entropy(entropy));
        entropy[1] = 1;
        assert_ne!(NodeId::from_entropy(entropy), NodeId::from_entropy([0; 17]));
    }

    #[test]
    fn malformed_ids_are_refused() {
        for bad in ["", "short", "0123456789012345678901234X", "012345678901234567890123/"] {
            assert!(bad.parse::<SecretId>().is_err(), "{bad}");
        }
        for last in 0..=0x7f_u8 {
            let text = format!("012345678901234567890123{}", char::from(last));
            let is_digit = BASE_36.contains(&last);
            assert_eq!(text.parse::<SecretId>().is_ok(), is_digit, "{text:?}");
        }
        assert!("0123456789abcdef0123456789abcdeF".parse::<KeyId>().is_err());
        assert!("0123456789abcdef0123456789abcde".parse::<KeyId>().is_err());
    }

    #[test]
    fn hex_ids_round_trip() {
        let id = KeyId::from_bytes(*b"0123456789abcdef");
        assert_eq!(id.to_string().parse::<KeyId>().unwrap(), id);
    }
}
