//! What tests need of their machine, and how they say that it is not there.
//!
//! A test that cannot run here says so on stderr, one line: `SKIPPED <test>: <reason>`. Where the
//! environment variable `SECRETD_REQUIRE` (words separated by commas or blanks) names the missing
//! thing, the skip is a panic instead, so that a machine meant to run everything cannot skip
//! silently. Not here: production code never asks these questions, it tries.

use std::io::Write as _;

/// Something a test may need, by the word used in `SECRETD_REQUIRE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// To be root in the initial user namespace.
    Root,
    /// To make a user namespace as an ordinary user.
    UserNamespaces,
    /// `memfd_secret(2)`.
    MemfdSecret,
    /// `noswap` on tmpfs.
    Noswap,
    /// The programs of a PostgreSQL server.
    Postgres,
    /// To mount an ext4 filesystem in a file: loop devices and mkfs.ext4.
    LoopDevices,
    /// The program strace, and to be allowed to trace a child.
    Strace,
    /// The library libfaketime, where Debian puts it.
    Faketime,
    /// The docker client.
    Docker,
    /// Docker's engine, and an image for it: dockerd, and a static busybox.
    Dockerd,
    /// Podman, and an image for it: podman, conmon, a runtime, the docker client, a static busybox.
    Podman,
    /// Crates that are not the workspace's: a registry, or what was fetched from one before.
    Crates,
}

impl Need {
    /// The word in `SECRETD_REQUIRE`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::UserNamespaces => "userns",
            Self::MemfdSecret => "memfd_secret",
            Self::Noswap => "noswap",
            Self::Postgres => "postgres",
            Self::LoopDevices => "loop",
            Self::Strace => "strace",
            Self::Faketime => "faketime",
            Self::Docker => "docker",
            Self::Dockerd => "dockerd",
            Self::Podman => "podman",
            Self::Crates => "crates",
        }
    }
}

/// Says that `test` does not run because `need` is missing.
///
/// Panics if `SECRETD_REQUIRE` names the need.
pub fn skip(test: &str, need: Need, reason: &str) {
    let required = std::env::var("SECRETD_REQUIRE").unwrap_or_default();
    let required = required.split([',', ' ']).any(|word| word == need.word());
    assert!(!required, "{test} needs {} (SECRETD_REQUIRE): {reason}", need.word());
    say(&format!("SKIPPED {test}: {reason}"));
}

/// Says a line that is seen whether the test passes or not.
pub fn say(line: &str) {
    // Nothing can be done about a closed stderr.
    writeln!(std::io::stderr(), "{line}").ok();
}

/// Whether this process is root; else says that `test` is skipped.
pub fn root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip(test, Need::Root, "it needs root");
    }
    root
}
