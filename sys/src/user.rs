//! Users and groups of the host, by name or number, as the C library's databases know them.
//!
//! Not here: becoming one ([`crate::process::Program`]).

use std::ffi::CString;
use std::io;
use std::path::PathBuf;

use nix::unistd::{Gid, Group, Uid, getgrouplist};

/// Who a program runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Every group it is in, its own included.
    pub groups: Vec<u32>,
    /// Its home folder, if it has an entry in the user database.
    pub home: Option<PathBuf>,
}

/// A user cannot be resolved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UserError {
    /// No user of that name, and it is not a number.
    #[error("there is no user `{0}` on this host")]
    UnknownUser(String),
    /// No group of that name, and it is not a number.
    #[error("there is no group `{0}` on this host")]
    UnknownGroup(String),
    /// A number that is no user's, without a group beside it. Guessing group 0 would hand out
    /// root's files.
    #[error("user {0} has no entry on this host, so its group is not known: declare `{0}:GROUP`")]
    NoGroup(u32),
    /// The databases could not be read.
    #[error("cannot look up `{name}`")]
    Lookup {
        /// Who was looked up.
        name: String,
        /// The C library's reason.
        #[source]
        source: io::Error,
    },
}

fn lookup(name: &str) -> impl FnOnce(nix::Error) -> UserError {
    let name = name.to_owned();
    move |errno| UserError::Lookup { name, source: errno.into() }
}

/// Resolves `user` or `user:group`, each a name or a number (getpwnam_r(3), getgrnam_r(3)). A
/// group that is given replaces all groups of the user's entry.
///
/// Fails if a name is not known, or a number has no entry and no group is given.
pub fn resolve(text: &str) -> Result<User, UserError> {
    let (name, group) = match text.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (text, None),
    };
    let number = name.parse::<u32>().ok();
    let entry = match number {
        Some(uid) => nix::unistd::User::from_uid(Uid::from_raw(uid)),
        None => nix::unistd::User::from_name(name),
    }
    .map_err(lookup(name))?;
    let uid = match (&entry, number) {
        (Some(entry), _) => entry.uid.as_raw(),
        (None, Some(uid)) => uid,
        (None, None) => return Err(UserError::UnknownUser(name.into())),
    };
    let (gid, groups) = match (group, &entry) {
        (Some(group), _) => {
            let gid = resolve_group(group)?;
            (gid, vec![gid])
        }
        (None, Some(entry)) => (entry.gid.as_raw(), groups_of(entry)?),
        (None, None) => return Err(UserError::NoGroup(uid)),
    };
    Ok(User { uid, gid, groups, home: entry.map(|entry| entry.dir) })
}

/// The uid that this process runs as.
pub fn current_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The user that this process runs as.
///
/// Fails if the user databases cannot be read; that the user has no entry is no error.
pub fn current() -> Result<User, UserError> {
    let (uid, gid) = (current_uid(), rustix::process::getegid().as_raw());
    let entry =
        nix::unistd::User::from_uid(Uid::from_raw(uid)).map_err(lookup(&uid.to_string()))?;
    let groups = match &entry {
        Some(entry) if entry.gid.as_raw() == gid => groups_of(entry)?,
        _ => vec![gid],
    };
    Ok(User { uid, gid, groups, home: entry.map(|entry| entry.dir) })
}

fn resolve_group(text: &str) -> Result<u32, UserError> {
    if let Ok(gid) = text.parse() {
        return Ok(gid);
    }
    let group = Group::from_name(text).map_err(lookup(text))?;
    group.map(|group| group.gid.as_raw()).ok_or_else(|| UserError::UnknownGroup(text.into()))
}

fn groups_of(entry: &nix::unistd::User) -> Result<Vec<u32>, UserError> {
    let name = CString::new(entry.name.as_str())
        .map_err(|_| UserError::UnknownUser(entry.name.clone()))?;
    let groups = getgrouplist(&name, entry.gid).map_err(lookup(&entry.name))?;
    Ok(groups.into_iter().map(Gid::as_raw).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_go_by_name_or_number_with_or_without_group() {
        let by_name = resolve("root").unwrap();
        assert_eq!((by_name.uid, by_name.gid), (0, 0));
        assert!(by_name.groups.contains(&0));
        assert_eq!(resolve("0").unwrap(), by_name);
        let with_group = resolve("root:7").unwrap();
        assert_eq!((with_group.gid, with_group.groups), (7, vec![7]));
        assert_eq!(resolve("0:root").unwrap().gid, 0);
        let numbers = resolve("3999999999:4").unwrap();
        assert_eq!((numbers.uid, numbers.gid, numbers.home), (3_999_999_999, 4, None));
    }

    #[test]
    fn what_is_not_known_is_named() {
        let message = |text: &str| resolve(text).unwrap_err().to_string();
        assert_eq!(message("no-such-user"), "there is no user `no-such-user` on this host");
        assert_eq!(message("root:no-such-group"), "there is no group `no-such-group` on this host");
        assert_eq!(message(""), "there is no user `` on this host");
        assert!(message("3999999999").contains("declare `3999999999:GROUP`"));
    }

    #[test]
    fn the_current_user_is_known() {
        let user = current().unwrap();
        assert_eq!(user.uid, rustix::process::geteuid().as_raw());
        assert!(user.groups.contains(&user.gid));
    }
}
