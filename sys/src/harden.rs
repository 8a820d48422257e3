//! What every program of secretd does to itself first: no core dumps, no debugger, no new
//! privileges.
//!
//! Tasks must not inherit it. The kernel resets "dumpable" at exec; the core limit is inherited,
//! so only its soft half is lowered and what it was is returned, for whoever starts tasks to put
//! back ([`CoreLimit::apply`]). `no_new_privs` cannot be taken back and is set only where asked.
//!
//! Not here: locking memory ([`crate::slab`]) and wiping it ([`crate::alloc`]).

use core::fmt;
use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// A part of the hardening was refused.
#[derive(Debug, thiserror::Error)]
pub enum HardenError {
    /// The core limit could not be set (setrlimit(2)).
    #[error("cannot set the core limit")]
    CoreLimit(#[source] io::Error),
    /// The process could not be made undumpable (`PR_SET_DUMPABLE`).
    #[error("cannot make this process undumpable")]
    Dumpable(#[source] io::Error),
    /// `no_new_privs` could not be set (`PR_SET_NO_NEW_PRIVS`).
    #[error("cannot give up gaining privileges")]
    NoNewPrivileges(#[source] io::Error),
}

/// Whether programs started from here may gain privileges (setuid files).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewPrivileges {
    /// They may: for a process that starts other people's programs.
    Allow,
    /// They may not, for ever.
    Deny,
}

/// The limit on the size of core dumps, in bytes; `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoreLimit {
    /// What holds now; a process may raise it up to `hard`.
    pub soft: Option<u64>,
    /// The ceiling.
    pub hard: Option<u64>,
}

impl CoreLimit {
    /// This process's limit (getrlimit(2)).
    pub fn current() -> Self {
        let limit = rustix::process::getrlimit(Resource::Core);
        Self { soft: limit.current, hard: limit.maximum }
    }

    /// Makes it this process's limit (setrlimit(2)).
    ///
    /// Fails if it is above the hard limit that holds and this process may not raise that.
    pub fn apply(self) -> Result<(), HardenError> {
        let limit = Rlimit { current: self.soft, maximum: self.hard };
        rustix::process::setrlimit(Resource::Core, limit)
            .map_err(|errno| HardenError::CoreLimit(errno.into()))
    }
}

/// What hardening reached.
#[derive(Debug, Clone, Copy)]
pub struct Hardened {
    /// The core limit as it was before.
    pub inherited_core_limit: CoreLimit,
    /// Whether this process and its children can gain privileges.
    pub new_privileges: NewPrivileges,
}

impl fmt::Display for Hardened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("core limit 0, not dumpable")?;
        match self.new_privileges {
            NewPrivileges::Allow => Ok(()),
            NewPrivileges::Deny => f.write_str(", no new privileges"),
        }
    }
}

/// Hardens this process: soft core limit 0, not dumpable (nobody but root attaches a debugger or
/// reads its /proc entries, and no core is written whatever the limit), and no new privileges if
/// asked (prctl(2)). To be called before the first secret is read and before threads are started.
///
/// Fails if the kernel refuses a part; the process should not go on then.
pub fn harden(new_privileges: NewPrivileges) -> Result<Hardened, HardenError> {
    let inherited_core_limit = CoreLimit::current();
    CoreLimit { soft: Some(0), ..inherited_core_limit }.apply()?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|errno| HardenError::Dumpable(errno.into()))?;
    if new_privileges == NewPrivileges::Deny {
        rustix::thread::set_no_new_privs(true)
            .map_err(|errno| HardenError::NoNewPrivileges(errno.into()))?;
    }
    Ok(Hardened { inherited_core_limit, new_privileges })
}
