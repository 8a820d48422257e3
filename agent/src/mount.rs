//! Filling a task's secrets filesystem, one value at a time.
//!
//! Where the values come from is behind [`SecretSource`]: each is opened, written once and wiped
//! before the next is opened, so that no more than one is in clear in this process. Not here: the
//! filesystem itself ([`sys::mount`]) and who attaches it ([`crate::supervisor`]).
//!
//! Invariant: a task has exactly the files of its assignment, each with its whole value and its
//! declared owner and mode, or it is not started; never an empty file.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::path::Path;

use bytes::Bytes;
use proto::id::{ConfigId, TaskId};
use proto::limits::{CONFIG_BYTES_MAX, PAYLOAD_BYTES_MAX};
use proto::name::SecretName;
use proto::spec::ConfigReference;
use sys::mount::{Limits, MountError, SecretsMount};

use crate::assignment::{ResolvedReference, SecretVersion};
use crate::supervisor::status::explained;

/// Takes one value in clear. Called exactly once for each that is opened.
pub type Write<'a> = &'a mut dyn FnMut(&[u8]) -> io::Result<()>;

/// The secrets that this node holds, sealed until one is asked for.
pub trait SecretSource: Send + Sync + 'static {
    /// What can be opened now.
    fn held(&self) -> BTreeSet<SecretVersion>;

    /// The most bytes that a value may have, from the length of its ciphertext; `None` if it is not
    /// held.
    fn bytes_max(&self, secret: SecretVersion) -> Option<u64>;

    /// Configs that can be had now.
    fn configs(&self) -> BTreeSet<ConfigId> {
        BTreeSet::new()
    }

    /// The value of a config, if it is held.
    fn config(&self, _: ConfigId) -> Option<Bytes> {
        None
    }

    /// Opens a secret for a task and hands its value to `write`, once; the value is wiped before
    /// this returns.
    fn open(
        &self,
        task_id: TaskId,
        secret: SecretVersion,
        write: Write<'_>,
    ) -> Result<(), SourceError>;
}

/// A value cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It is not held any more.
    #[error("it is not held by this node")]
    NotHeld,
    /// It does not open: it was sealed for somebody or something else.
    #[error("it cannot be opened")]
    CannotOpen,
    /// It was opened and could not be written.
    #[error("it cannot be written")]
    Write(#[source] io::Error),
}

/// A task's files cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// The file cannot be made, or not be given its owner.
    #[error("secret `{secret_name}` cannot be mounted")]
    File {
        /// The secret.
        secret_name: SecretName,
        /// Why.
        #[source]
        source: MountError,
    },
    /// The value cannot be had or written.
    #[error("secret `{secret_name}` version {} cannot be mounted", secret.version)]
    Value {
        /// The secret.
        secret_name: SecretName,
        /// The version it was to have.
        secret: SecretVersion,
        /// Why.
        #[source]
        source: SourceError,
    },
    /// A config's file cannot be made, or not be given its owner.
    #[error("config `{config_name}` cannot be mounted")]
    ConfigFile {
        /// The config.
        config_name: SecretName,
        /// Why.
        #[source]
        source: MountError,
    },
    /// A config cannot be had or written.
    #[error("config `{config_name}` cannot be mounted")]
    Config {
        /// The config.
        config_name: SecretName,
        /// Why.
        #[source]
        source: SourceError,
    },
    /// The source handed over nothing, or more than one value.
    #[error("secret `{secret_name}` has no value")]
    NoValue {
        /// The secret.
        secret_name: SecretName,
    },
}

impl FillError {
    /// What is said to the task's owner.
    pub fn message(&self) -> String {
        let message = explained(self);
        match self {
            Self::File { source: MountError::SetOwner { .. }, .. }
            | Self::ConfigFile { source: MountError::SetOwner { .. }, .. }
                if !is_root() =>
            {
                format!("{message}; an agent without root gives files to its own user only")
            }
            _ => message,
        }
    }
}

/// Only for the hint above: who may do what is tried, not inferred.
fn is_root() -> bool {
    sys::user::current().is_ok_and(|user| user.uid == 0)
}

/// How large the filesystem for these files must be, at most. A secret or config that is not held counts
/// as large as it can be; opening it will fail anyway.
pub fn limits(
    files: &[ResolvedReference],
    configs: &[ConfigReference],
    source: &dyn SecretSource,
) -> Limits {
    let page = sys::host::page_bytes();
    let bytes = |file: &ResolvedReference| {
        let bytes_max = source.bytes_max(file.secret).unwrap_or(PAYLOAD_BYTES_MAX as u64);
        bytes_max.max(1).next_multiple_of(page)
    };
    let config_bytes = |file: &ConfigReference| {
        let bytes = source.config(file.config_id).map_or(CONFIG_BYTES_MAX, |data| data.len());
        (bytes as u64).max(1).next_multiple_of(page)
    };
    let of_secrets = files.iter().map(|file| file.target.as_str());
    let paths = of_secrets.chain(configs.iter().map(|file| file.target.as_str()));
    let folders: BTreeSet<&Path> =
        paths.flat_map(|path| Path::new(path).ancestors().skip(1)).collect();
    let bytes = files.iter().map(bytes).chain(configs.iter().map(config_bytes));
    Limits {
        // A bound of 0 would be none.
        bytes_max: bytes.sum::<u64>().max(page),
        // `ancestors` ends with the root, so the filesystem's own folder is counted.
        inodes_max: (files.len() + configs.len() + folders.len().max(1)) as u64,
    }
}

/// Makes and fills the files of a task whose own user and group are `uid` and `gid`.
///
/// Fails at the first file that cannot be made, saying which; the filesystem is to be thrown away
/// then.
pub fn fill(
    mount: &SecretsMount,
    task_id: TaskId,
    files: &[ResolvedReference],
    (uid, gid): (u32, u32),
    source: &dyn SecretSource,
) -> Result<(), FillError> {
    for file in files {
        let secret_name = || file.secret_name.clone();
        let path = Path::new(file.target.as_str());
        let (uid, gid) = (file.uid.unwrap_or(uid), file.gid.unwrap_or(gid));
        let mut handle = mount
            .create_file(path, uid, gid, file.mode.bits())
            .map_err(|source| FillError::File { secret_name: secret_name(), source })?;
        let mut values = 0;
        let mut write = |value: &[u8]| {
            values += 1;
            // Not every kind of filesystem has a bound of its own.
            if value.is_empty() || value.len() > PAYLOAD_BYTES_MAX || values > 1 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            handle.write_all(value)
        };
        source.open(task_id, file.secret, &mut write).map_err(|source| FillError::Value {
            secret_name: secret_name(),
            secret: file.secret,
            source,
        })?;
        if values != 1 {
            return Err(FillError::NoValue { secret_name: secret_name() });
        }
    }
    Ok(())
}

/// Makes the files of a task's configs, with their values, beside those of its secrets.
pub fn fill_configs(
    mount: &SecretsMount,
    files: &[ConfigReference],
    (uid, gid): (u32, u32),
    source: &dyn SecretSource,
) -> Result<(), FillError> {
    for file in files {
        let config_name = || file.config_name.clone();
        let failed = |source| FillError::Config { config_name: config_name(), source };
        let data = source.config(file.config_id).ok_or_else(|| failed(SourceError::NotHeld))?;
        let (uid, gid) = (file.uid.unwrap_or(uid), file.gid.unwrap_or(gid));
        let mut handle = mount
            .create_file(Path::new(file.target.as_str()), uid, gid, file.mode.bits())
            .map_err(|source| FillError::ConfigFile { config_name: config_name(), source })?;
        handle.write_all(&data).map_err(|error| failed(SourceError::Write(error)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proto::id::{SecretId, Version};
    use proto::spec::FileMode;

    use super::*;

    struct Fixed(u64);

    impl SecretSource for Fixed {
        fn held(&self) -> BTreeSet<SecretVersion> {
            BTreeSet::new()
        }

        fn bytes_max(&self, _: SecretVersion) -> Option<u64> {
            Some(self.0)
        }

        fn open(&self, _: TaskId, _: SecretVersion, _: Write<'_>) -> Result<(), SourceError> {
            Err(SourceError::NotHeld)
        }
    }

    fn file(target: &str) -> ResolvedReference {
        ResolvedReference {
            secret: SecretVersion {
                secret_id: SecretId::from_entropy([1; 17]),
                version: Version(1),
            },
            secret_name: "db".parse().unwrap(),
            target: target.parse().unwrap(),
            uid: None,
            gid: None,
            mode: FileMode::OWNER_READS,
        }
    }

    #[test]
    fn the_filesystem_is_as_large_as_its_files() {
        let page = sys::host::page_bytes();
        let of = |targets: &[&str], bytes| {
            let files: Vec<_> = targets.iter().copied().map(file).collect();
            let limits = limits(&files, &[], &Fixed(bytes));
            (limits.bytes_max / page, limits.inodes_max)
        };
        assert_eq!(of(&[], 1), (1, 1));
        assert_eq!(of(&["a"], page), (1, 2));
        assert_eq!(of(&["a", "b"], page + 1), (4, 3));
        assert_eq!(of(&["x/y/a", "x/b", "c"], 1), (3, 6));
    }
}
