//! What a service refers to, and the files that it becomes.
//!
//! Not here: whether a referred object exists (state decides).

use core::fmt;
use std::collections::BTreeSet;

use super::SpecError;
use crate::id::{SecretId, Version};
use crate::name::{SecretName, Target};

/// Permission bits of a file: 0 to 0o7777.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct FileMode(#[n(0)] u16);

impl FileMode {
    /// `r--------`, the native default: the task's own user alone.
    pub const OWNER_READS: Self = Self(0o400);

    /// Takes permission bits; more than 0o7777 are not permissions.
    pub fn new(bits: u32) -> Result<Self, SpecError> {
        u16::try_from(bits).ok().filter(|bits| *bits <= 0o7777).map(Self).ok_or_else(|| {
            SpecError::Value { what: "mode", rule: format!("{bits:#o} is more than 0o7777") }
        })
    }

    /// The permission bits.
    pub const fn bits(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl fmt::Debug for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which version of a secret a reference means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, minicbor::Encode, minicbor::Decode)]
pub enum VersionChoice {
    /// The current one, whatever it is when the task starts.
    #[default]
    #[n(0)]
    Follow,
    /// This one, for ever.
    #[n(1)]
    Pinned(#[n(0)] Version),
}

/// What happens to a running task when a followed secret gets a new version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum OnChange {
    /// The service is redeployed, rolling.
    #[default]
    #[n(0)]
    Restart,
}

/// One secret a service uses, and the file it becomes.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct SecretReference {
    /// The secret.
    #[n(0)]
    pub secret_id: SecretId,
    /// Its name as the user gave it.
    #[n(1)]
    pub secret_name: SecretName,
    /// Which version.
    #[n(2)]
    pub version: VersionChoice,
    /// The file.
    #[n(3)]
    pub target: Target,
    /// Owner of the file; the task's own user unless given.
    #[n(4)]
    pub uid: Option<u32>,
    /// Group of the file; the task's own group unless given.
    #[n(5)]
    pub gid: Option<u32>,
    /// Its permissions.
    #[n(6)]
    pub mode: FileMode,
    /// What a new version does to running tasks.
    #[n(7)]
    pub on_change: OnChange,
}

/// Two files of one task must not have one path, nor one be the folder of another.
pub(super) fn distinct_targets(references: &[SecretReference]) -> Result<(), SpecError> {
    let mut seen: BTreeSet<(&str, usize)> = BTreeSet::new();
    for (position, reference) in references.iter().enumerate() {
        let path = reference.target.as_str();
        let clash = seen.iter().find(|(other, _)| {
            let nested = |inner: &str, outer: &str| {
                inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
            };
            *other == path || nested(path, other) || nested(other, path)
        });
        if let Some((_, first)) = clash
            && let Some(first) = references.get(*first)
        {
            return Err(SpecError::ConflictingTarget {
                first: first.secret_name.clone(),
                second: reference.secret_name.clone(),
                target: reference.target.clone(),
            });
        }
        seen.insert((path, position));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_permissions() {
        assert_eq!(FileMode::new(0o440).unwrap().to_string(), "0440");
        assert!(FileMode::new(0o7777).is_ok());
        assert!(FileMode::new(0o10000).is_err());
    }
}
