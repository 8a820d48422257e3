//! Names that people choose: secrets, services, hosts, labels, targets under `/run/secrets`.
//!
//! Rules and texts follow Docker Swarm's, so that names move over unchanged. Not here: whether a
//! name is taken (state decides).
//!
//! Invariant: a value of these types satisfies its rule; there is no other way to make one.

use core::fmt;
use core::str::FromStr;
use std::collections::BTreeMap;

use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};

use crate::limits::{
    DNS_NAME_BYTES_MAX, HOSTNAME_BYTES_MAX, LABEL_KEY_BYTES_MAX, LABEL_VALUE_BYTES_MAX, LABELS_MAX,
    NAME_BYTES_MAX, TARGET_BYTES_MAX, TARGET_COMPONENT_BYTES_MAX,
};

/// A text breaks the rule of the name it was meant for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what}: {rule}")]
pub struct NameError {
    /// What the text was meant for.
    pub what: &'static str,
    /// The rule it breaks, as a sentence for its author.
    pub rule: &'static str,
}

const fn broken(what: &'static str, rule: &'static str) -> NameError {
    NameError { what, rule }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The name as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                $check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: Write>(
                &self,
                e: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), EncodeError<W::Error>> {
                e.str(&self.0)?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                d.str()?.parse().map_err(|_| DecodeError::message(stringify!(bad $name)))
            }
        }
    };
}

name_type!(
    /// The name of a secret or a config: 1 to 64 of `a-z A-Z 0-9 - _ .`, starting and ending with
    /// a letter or digit. Unique without regard to case.
    SecretName,
    check_secret_name
);
name_type!(
    /// The name of a service or a network: one DNS label with `_` allowed inside.
    ServiceName,
    check_service_name
);
name_type!(
    /// The hostname of a node: 1 to 64 of `a-z A-Z 0-9 - _ .`, starting with a letter or digit.
    Hostname,
    check_hostname
);
name_type!(
    /// The name of an operator or of a group of operators: the rule of a secret's name.
    OperatorName,
    check_operator_name
);
name_type!(
    /// Where a secret or a config appears in a task: a relative path, under `/run/secrets` or the root
    /// folder, or an absolute one for the fronts and runtimes that take it.
    Target,
    check_target
);

impl SecretName {
    /// The form in which names are compared: lower case.
    pub fn folded(&self) -> FoldedName {
        FoldedName(self.0.to_ascii_lowercase().into())
    }
}

/// A secret's name in lower case: the key of uniqueness.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FoldedName(Box<str>);

impl FoldedName {
    /// The lower-case name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Target {
    /// Whether the target says where it is by itself.
    pub fn is_absolute(&self) -> bool {
        self.0.starts_with('/')
    }
}

const SECRET_RULE: &str = "only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end \
                           character must be [a-zA-Z0-9]";

fn check_secret_name(text: &str) -> Result<(), NameError> {
    check_name("secret name", text)
}

fn check_operator_name(text: &str) -> Result<(), NameError> {
    check_name("operator name", text)
}

fn check_name(what: &'static str, text: &str) -> Result<(), NameError> {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return Err(broken(what, "name must be provided"));
    };
    let inner = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let fits = bytes.len() <= NAME_BYTES_MAX
        && first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes.iter().all(inner);
    if fits { Ok(()) } else { Err(broken(what, SECRET_RULE)) }
}

fn check_service_name(text: &str) -> Result<(), NameError> {
    const WHAT: &str = "service name";
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return Err(broken(WHAT, "name must be provided"));
    };
    if bytes.len() > DNS_NAME_BYTES_MAX {
        return Err(broken(WHAT, "name must be 63 characters or fewer"));
    }
    let inner = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() && bytes.iter().all(inner) {
        Ok(())
    } else {
        Err(broken(WHAT, "name must be valid as a DNS name component"))
    }
}

fn check_hostname(text: &str) -> Result<(), NameError> {
    const WHAT: &str = "hostname";
    let bytes = text.as_bytes();
    let inner = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let fits = bytes.len() <= HOSTNAME_BYTES_MAX
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(inner);
    if fits {
        Ok(())
    } else {
        Err(broken(WHAT, "1 to 64 of [a-zA-Z0-9-_.], starting with a letter or digit"))
    }
}

fn check_target(text: &str) -> Result<(), NameError> {
    const WHAT: &str = "target";
    if text.is_empty() {
        return Err(broken(WHAT, "a file name must be provided"));
    }
    if text.len() > TARGET_BYTES_MAX {
        return Err(broken(WHAT, "the path must be 1024 bytes or shorter"));
    }
    if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return Err(broken(WHAT, "control characters are not allowed"));
    }
    let path = text.strip_prefix('/').unwrap_or(text);
    for component in path.split('/') {
        match component {
            "" => return Err(broken(WHAT, "empty path components are not allowed")),
            "." | ".." => return Err(broken(WHAT, "`.` and `..` are not allowed in the path")),
            long if long.len() > TARGET_COMPONENT_BYTES_MAX => {
                return Err(broken(WHAT, "a path component must be 255 bytes or shorter"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Labels of an object: at most 64, keys 1 to 128 bytes, values to 1024, no control characters.
#[derive(Clone, PartialEq, Eq, Default, Debug, minicbor::Encode)]
#[cbor(transparent)]
pub struct Labels(#[n(0)] BTreeMap<String, String>);

impl Labels {
    /// Checks every key and value.
    pub fn new(labels: BTreeMap<String, String>) -> Result<Self, NameError> {
        const WHAT: &str = "label";
        if labels.len() > LABELS_MAX {
            return Err(broken(WHAT, "at most 64 labels are allowed"));
        }
        for (key, value) in &labels {
            if key.is_empty() || key.len() > LABEL_KEY_BYTES_MAX {
                return Err(broken(WHAT, "a key must be 1 to 128 bytes long"));
            }
            if value.len() > LABEL_VALUE_BYTES_MAX {
                return Err(broken(WHAT, "a value must be 1024 bytes or shorter"));
            }
            if key.chars().any(|c| c.is_control() || c == '=')
                || value.chars().any(char::is_control)
            {
                return Err(broken(WHAT, "control characters, and `=` in a key, are not allowed"));
            }
        }
        Ok(Self(labels))
    }

    /// The labels, by key.
    pub fn as_map(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// The value of one label.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Labels {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, DecodeError> {
        Self::new(BTreeMap::decode(d, ctx)?).map_err(|_| DecodeError::message("bad labels"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The lists are those of swarmkit's ValidateSecretSpec tests.
    #[test]
    fn secret_names_that_swarm_accepts_are_accepted() {
        let longest = "a".repeat(NAME_BYTES_MAX);
        for good in [
            "0",
            "a",
            "A",
            "name-with--dashes",
            "name.with..dots",
            "name_with__underscores",
            longest.as_str(),
        ] {
            assert!(good.parse::<SecretName>().is_ok(), "{good}");
        }
    }

    #[test]
    fn secret_names_that_swarm_refuses_are_refused() {
        let too_long = "a".repeat(NAME_BYTES_MAX + 1);
        for bad in [
            "",
            ".",
            "-",
            "_",
            ".name",
            "name.",
            "-name",
            "name-",
            "_name",
            "name_",
            "/a",
            "a/",
            "a/b",
            "..",
            "../a",
            "a/..",
            "withexclamation!",
            "with space",
            "with\nnewline",
            "with@splat",
            "with:colon",
            "with;semicolon",
            "snowman☃",
            too_long.as_str(),
        ] {
            assert!(bad.parse::<SecretName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn secret_names_compare_without_case() {
        let one: SecretName = "Db_Password".parse().unwrap();
        let two: SecretName = "db_pasSword".parse().unwrap();
        assert_ne!(one, two);
        assert_eq!(one.folded(), two.folded());
    }

    #[test]
    fn service_names_are_dns_labels() {
        let longest = "a".repeat(DNS_NAME_BYTES_MAX);
        let too_long = "a".repeat(DNS_NAME_BYTES_MAX + 1);
        for good in ["web", "web-1", "a__b", longest.as_str()] {
            assert!(good.parse::<ServiceName>().is_ok(), "{good}");
        }
        for bad in ["", "-web", "web-", "a.b", "a b", too_long.as_str()] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn targets_stay_where_they_are_put() {
        let component = "a".repeat(TARGET_COMPONENT_BYTES_MAX);
        let too_long_component = "a".repeat(TARGET_COMPONENT_BYTES_MAX + 1);
        for good in ["db", "tls/key.pem", "/etc/app/key", "with space", component.as_str()] {
            assert!(good.parse::<Target>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "/",
            "..",
            "../db",
            "a/../b",
            "a//b",
            "a/",
            "./a",
            "a\0b",
            "a\nb",
            too_long_component.as_str(),
        ] {
            assert!(bad.parse::<Target>().is_err(), "{bad:?}");
        }
        assert!("/etc/key".parse::<Target>().unwrap().is_absolute());
        let fits = "a/".repeat(511) + "ab";
        assert_eq!(fits.len(), TARGET_BYTES_MAX);
        assert!(fits.parse::<Target>().is_ok());
        assert!((fits + "c").parse::<Target>().is_err());
    }

    #[test]
    fn labels_are_bounded() {
        let label = |key: String, value: String| Labels::new(BTreeMap::from([(key, value)]));
        assert!(label("k".repeat(LABEL_KEY_BYTES_MAX), "v".repeat(LABEL_VALUE_BYTES_MAX)).is_ok());
        assert!(label("k".repeat(LABEL_KEY_BYTES_MAX + 1), String::new()).is_err());
        assert!(label("k".into(), "v".repeat(LABEL_VALUE_BYTES_MAX + 1)).is_err());
        assert!(label(String::new(), "v".into()).is_err());
        assert!(label("a=b".into(), "v".into()).is_err());
        let many = |n: usize| (0..n).map(|i| (format!("k{i}"), String::new())).collect();
        assert!(Labels::new(many(LABELS_MAX)).is_ok());
        assert!(Labels::new(many(LABELS_MAX + 1)).is_err());
    }
}
