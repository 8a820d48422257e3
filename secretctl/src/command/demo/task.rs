//! The task of the demonstration: what it is, and what it says it sees.
//!
//! It never prints the value: it prints a digest of it with a nonce, which only whoever has the
//! value can compare. Not here: running it.

use std::collections::BTreeMap;

use proto::Kind;
use zeroize::Zeroizing;

use crate::error::Error;

/// Where a task's secrets are.
pub(super) const SECRETS: &str = "/run/secrets";

/// The environment variable that names another folder, where nothing can be mounted.
pub(super) const FOLDER: &str = "SECRETS_FOLDER";

/// What the task does: `$0` is the nonce, `$1` the file's name. It stays, so that its secret is in
/// use while it is looked for elsewhere; but not where nobody would end it.
const SCRIPT: &str = "\
set -eu
folder=${SECRETS_FOLDER:-/run/secrets}
echo '== files'
ls -ln \"$folder\"
echo '== mount'
grep \" $folder \" /proc/self/mountinfo || true
echo '== digest'
{ printf %s \"$0\"; cat \"$folder/$1\"; } | sha256sum
echo '== end'
test -n \"${SECRETS_FOLDER:-}\" || exec sleep 1000";

/// The last line but those of later sections.
pub(super) const END: &str = "== end";

/// The command.
pub(super) fn command(nonce: &str, file: &str) -> Vec<String> {
    ["/bin/sh", "-c", SCRIPT, nonce, file].map(str::to_owned).into()
}

/// What the task says it sees.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sight {
    /// The lines of `ls -ln`.
    pub(super) files: Vec<String>,
    /// The filesystem and the options of the mount, if it is one.
    pub(super) mount: Option<Mount>,
    digest: String,
}

/// A mount, by its line of /proc/self/mountinfo.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// The type of the filesystem.
    pub(super) filesystem: String,
    /// Options of the mount, and of the filesystem.
    pub(super) options: Vec<String>,
}

impl Mount {
    /// `36 35 98:0 / /run/secrets ro,nosuid - tmpfs secrets ro,noswap` (proc(5)).
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let (filesystem, _, own) = (after.next()?, after.next()?, after.next()?);
        let mut options: Vec<String> = Vec::new();
        for option in before.split(' ').nth(5)?.split(',').chain(own.split(',')) {
            if !options.iter().any(|known| known == option) {
                options.push(option.to_owned());
            }
        }
        Some(Self { filesystem: filesystem.to_owned(), options })
    }

    /// Whether it has an option.
    pub(super) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|one| one == option)
    }
}

impl Sight {
    /// Reads what the task printed, line by line.
    pub(super) fn parse(lines: &[String]) -> Result<Self, Error> {
        let mut sections: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
        let mut section = "";
        for line in lines {
            match line.strip_prefix("== ") {
                Some(name) => section = name,
                None => sections.entry(section).or_default().push(line),
            }
        }
        let section = |name| sections.get(name).cloned().unwrap_or_default();
        let digest = section("digest").first().and_then(|line| line.split(' ').next());
        let Some(digest) = digest else {
            return Err(Error::failed(Kind::Internal, "the task did not say what it sees")
                .because(format!("it printed: {}", lines.join("; ")))
                .hint("it needs a shell, ls, grep and sha256sum in its path")
                .into());
        };
        Ok(Self {
            files: section("files").into_iter().cloned().collect(),
            mount: section("mount").first().and_then(|line| Mount::parse(line)),
            digest: digest.to_owned(),
        })
    }

    /// Whether the task read this very value.
    pub(super) fn has_value(&self, nonce: &str, value: &[u8]) -> bool {
        let both = Zeroizing::new([nonce.as_bytes(), value].concat());
        proto::hex::encode(&seal::digest_of(&both)) == self.digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_a_task_prints_is_read() {
        // printf n1value | sha256sum
        let text = "\
== files
total 4
-r-------- 1 0 0 5 Jan  1 00:00 db
== mount
36 35 0:41 / /run/secrets ro,nosuid,nodev,noexec,nosymfollow - tmpfs secrets ro,size=4k,noswap
== digest
DIGEST  -
== end";
        let digest = proto::hex::encode(&seal::digest_of(b"n1value"));
        let sight = Sight::parse(&lines(&text.replace("DIGEST", &digest))).unwrap();
        assert_eq!(sight.files.len(), 2);
        let mount = sight.mount.as_ref().unwrap();
        assert_eq!(mount.filesystem, "tmpfs");
        assert!(mount.has("ro") && mount.has("noswap") && mount.has("nosymfollow"));
        assert!(!mount.has("rw"));
        assert!(sight.has_value("n1", b"value"));
        assert!(!sight.has_value("n1", b"other"));
        assert!(!sight.has_value("n2", b"value"));
    }

    #[test]
    fn a_task_that_failed_is_told() {
        let error = Sight::parse(&lines("== files\nls: not found")).unwrap_err();
        assert_eq!(error.to_string(), "the task did not say what it sees");
    }
}
