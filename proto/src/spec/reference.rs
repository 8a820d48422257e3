//! What a service refers to, and the files that it becomes.
//!
//! Not here: whether a referred object exists (state decides).

use core::fmt;
use std::collections::BTreeSet;

use super::SpecError;
use crate::id::{ConfigId, SecretId, Version};
use crate::name::{SecretName, Target};

/// Permission bits of a file: 0 to 0o7777.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct FileMode(#[n(0)] u16);

impl FileMode {
    /// `r--r--r--`, that of configs: what everybody may read.
    pub const ALL_READ: Self = Self(0o444);

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

/// One config a service uses, and the file it becomes. The value of a config never changes.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct ConfigReference {
    /// The config.
    #[n(0)]
    pub config_id: ConfigId,
    /// Its name as the user gave it.
    #[n(1)]
    pub config_name: SecretName,
    /// The file: below the task's root folder, unless absolute (Docker's rule).
    #[n(2)]
    pub target: Target,
    /// Owner of the file; the task's own user unless given.
    #[n(3)]
    pub uid: Option<u32>,
    /// Group of the file; the task's own group unless given.
    #[n(4)]
    pub gid: Option<u32>,
    /// Its permissions.
    #[n(5)]
    pub mode: FileMode,
}

impl ConfigReference {
    /// Where the file is, from the root folder on.
    pub fn path(&self) -> String {
        path_below("", &self.target)
    }
}

/// Where a target is that is below a folder unless it is absolute.
fn path_below(folder: &str, target: &Target) -> String {
    let text = target.as_str();
    if target.is_absolute() { text.to_owned() } else { format!("{folder}/{text}") }
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

/// Where a task finds its secrets.
pub const SECRETS_FOLDER: &str = "/run/secrets";

/// No config is at the place of another file of the task, nor is one the folder of another.
pub(super) fn distinct_files(
    secrets: &[SecretReference],
    configs: &[ConfigReference],
) -> Result<(), SpecError> {
    let of_secrets = secrets.iter().map(|secret| {
        ("secret and config", path_below(SECRETS_FOLDER, &secret.target), &secret.secret_name)
    });
    let mut earlier: Vec<_> = of_secrets.collect();
    for config in configs {
        let path = config.path();
        let is_within = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let clashes = |other: &str| is_within(&path, other) || is_within(other, &path);
        if let Some((what, _, first)) = earlier.iter().find(|(_, other, _)| clashes(other)) {
            return Err(SpecError::ConflictingTarget {
                what,
                first: (*first).clone(),
                second: config.config_name.clone(),
                target: config.target.clone(),
            });
        }
        earlier.push(("config", path, &config.config_name));
    }
    Ok(())
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
                what: "secret",
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
    fn a_config_has_a_place_of_its_own_among_all_files_of_its_task() {
        let id = [1; 17];
        let secret = |target: &str| SecretReference {
            secret_id: SecretId::from_entropy(id),
            secret_name: "key".parse().unwrap(),
            version: VersionChoice::Follow,
            target: target.parse().unwrap(),
            uid: None,
            gid: None,
            mode: FileMode::OWNER_READS,
            on_change: OnChange::Restart,
        };
        let config = |target: &str| ConfigReference {
            config_id: ConfigId::from_entropy(id),
            config_name: "site".parse().unwrap(),
            target: target.parse().unwrap(),
            uid: None,
            gid: None,
            mode: FileMode::ALL_READ,
        };
        let said = |secrets: &[&str], configs: &[&str]| {
            let secrets: Vec<_> = secrets.iter().map(|target| secret(target)).collect();
            let configs: Vec<_> = configs.iter().map(|target| config(target)).collect();
            distinct_files(&secrets, &configs).map_err(|error| error.to_string())
        };
        // A secret's place is below its folder, a config's below the root.
        assert_eq!(said(&["site", "/etc/key"], &["site", "/etc/site", "/etc/keys"]), Ok(()));
        let two = "config references `site` and `site` have a conflicting target: `/site`";
        assert_eq!(said(&[], &["site", "/site"]).unwrap_err(), two);
        let both = "secret and config references `key` and `site` have a conflicting target: ";
        for (secret, config) in
            [("a", "/run/secrets/a"), ("/etc/a", "etc/a"), ("/etc", "/etc/a"), ("/etc/a", "/etc")]
        {
            assert_eq!(said(&[secret], &[config]).unwrap_err(), format!("{both}`{config}`"));
        }
        assert!(said(&[], &["a/b", "/a"]).is_err());
    }

    #[test]
    fn modes_are_permissions() {
        assert_eq!(FileMode::new(0o440).unwrap().to_string(), "0440");
        assert!(FileMode::new(0o7777).is_ok());
        assert!(FileMode::new(0o10000).is_err());
    }
}
