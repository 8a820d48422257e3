//! Programs of this host that a daemon runs with its own rights: whether only root, or the daemon's
//! own user, could have put there what runs.
//!
//! Checked is the path as it is written, part by part, so that nothing on the way to it can be
//! exchanged by somebody else. Access control lists, other mounts over the path and what the program
//! itself reads or starts are its owner's business. Not here: running it.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Permission of the group and of others to write.
const OTHERS_WRITE: u32 = 0o022;
/// In a folder with this bit, entries are changed by their owners only (unlink(2)).
const STICKY: u32 = 0o1000;
/// Permission to run.
const EXECUTE: u32 = 0o111;

/// A program is not to be run.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It cannot be looked at.
    #[error("cannot look at {}", path.display())]
    Look {
        /// What of its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A part of its path is a link, which says nothing of where it leads.
    #[error("{} is a link: name the program by the path that it leads to", path.display())]
    Link {
        /// Which part.
        path: PathBuf,
    },
    /// It is no program.
    #[error("{} is not a file that can be run", path.display())]
    NoProgram {
        /// Its path.
        path: PathBuf,
    },
    /// Somebody else could change it.
    #[error(
        "{} belongs to uid {owner}, who could change what runs: it has to be root's or uid {user}'s",
        path.display()
    )]
    Owner {
        /// Which part of the path.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whose it might be beside root's.
        user: u32,
    },
    /// Somebody else could change it.
    #[error(
        "{} has mode {mode:03o}, so others could change what runs: take write permission from group \
         and others",
        path.display()
    )]
    Writable {
        /// Which part of the path.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// Refuses a program that anybody but root and `user` could have changed.
///
/// # Errors
///
/// Which part of its absolute path is a link, writable by others, or theirs; or that it is no
/// program.
pub fn check(path: &Path, user: u32) -> Result<(), ProgramError> {
    let mut parts: Vec<&Path> = path.ancestors().collect();
    parts.reverse();
    for part in parts {
        let look = part.symlink_metadata();
        let found = look.map_err(|source| ProgramError::Look { path: part.into(), source })?;
        check_part(part, &found, user)?;
        let is_program = found.is_file() && found.mode() & EXECUTE != 0;
        if part == path && !is_program {
            return Err(ProgramError::NoProgram { path: part.into() });
        }
    }
    Ok(())
}

fn check_part(part: &Path, found: &Metadata, user: u32) -> Result<(), ProgramError> {
    let path = part.to_owned();
    if found.file_type().is_symlink() {
        return Err(ProgramError::Link { path });
    }
    let owner = found.uid();
    if owner != 0 && owner != user {
        return Err(ProgramError::Owner { path, owner, user });
    }
    let is_sticky = found.is_dir() && found.mode() & STICKY != 0;
    if found.mode() & OTHERS_WRITE != 0 && !is_sticky {
        return Err(ProgramError::Writable { path, mode: found.mode() & 0o777 });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A program in it, of this user's.
    fn program(place: &Path) -> PathBuf {
        let folder = crate::file::Folder::open(place).unwrap();
        folder.replace("program", 0o700, b"#!/bin/sh\n").unwrap();
        place.join("program")
    }

    /// A folder of this user's, whatever links lead to it.
    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        (folder, path)
    }

    #[test]
    fn a_program_that_others_could_change_is_refused_and_it_is_said_where() {
        let (_folder, place) = folder();
        let own = rustix::process::geteuid().as_raw();
        let inner = place.join("inner");
        std::fs::create_dir(&inner).unwrap();
        let program = program(&inner);
        for (mode, is_program) in [(0o700, true), (0o755, true), (0o600, false)] {
            set_mode(&program, mode);
            let checked = check(&program, own);
            assert_eq!(checked.is_ok(), is_program, "{mode:o}: {checked:?}");
        }
        for mode in [0o720, 0o702] {
            set_mode(&program, mode);
            let error = check(&program, own).unwrap_err();
            assert!(error.to_string().contains(&format!("has mode {mode:03o}")), "{error}");
        }
        set_mode(&program, 0o700);
        set_mode(&inner, 0o777);
        let error = check(&program, own).unwrap_err();
        assert!(matches!(&error, ProgramError::Writable { path, .. } if *path == inner), "{error}");
        set_mode(&inner, 0o1777);
        check(&program, own).unwrap();
        // Another user's, whoever that is.
        let error = check(&program, own.wrapping_add(1));
        assert_eq!(error.is_err(), own != 0, "{error:?}");
    }

    #[test]
    fn links_folders_and_what_is_not_there_are_no_programs() {
        let (_folder, place) = folder();
        let own = rustix::process::geteuid().as_raw();
        let program = program(&place);
        let link = place.join("link");
        symlink(&program, &link).unwrap();
        assert!(matches!(check(&link, own), Err(ProgramError::Link { path }) if path == link));
        let through = place.join("through");
        symlink(&place, &through).unwrap();
        let error = check(&through.join("program"), own);
        assert!(matches!(error, Err(ProgramError::Link { path }) if path == through));
        assert!(matches!(check(&place, own), Err(ProgramError::NoProgram { .. })));
        assert!(matches!(check(&place.join("gone"), own), Err(ProgramError::Look { .. })));
    }

    #[test]
    fn root_is_told_whose_a_foreign_program_is() {
        if !crate::require::root("root_is_told_whose_a_foreign_program_is") {
            return;
        }
        let (_folder, place) = folder();
        let program = program(&place);
        std::os::unix::fs::chown(&program, Some(12_345), None).unwrap();
        let error = check(&program, 0).unwrap_err();
        assert!(matches!(error, ProgramError::Owner { owner: 12_345, user: 0, .. }), "{error}");
        check(&program, 12_345).unwrap();
    }
}
