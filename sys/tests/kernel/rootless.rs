//! The same as an ordinary user, in a user namespace of its own.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd as _;
use std::path::Path;

use sys::mount::{Kind, MountError, SecretsMount, can_mount_beneath, detach};
use sys::process::{Exit, fork};
use sys::require::{Need, skip};
use sys::{mountpoint, namespace, socket};

use crate::Test;
use crate::mounts::{LIMITS, fill, mountinfo};

pub(crate) const TESTS: &[Test] = &[
    ("an_ordinary_user_mounts_in_a_user_namespace", an_ordinary_user_mounts_in_a_user_namespace),
    ("who_is_outside_fills_what_is_inside", who_is_outside_fills_what_is_inside),
    ("an_ordinary_user_cannot_mount_outside", an_ordinary_user_cannot_mount_outside),
];

const NOBODY: u32 = 65534;

/// Becomes an ordinary user, if this is root.
pub(crate) fn become_ordinary() -> u32 {
    let uid = rustix::process::geteuid();
    if !uid.is_root() {
        return uid.as_raw();
    }
    let (user, group) = (nix::unistd::Uid::from_raw(NOBODY), nix::unistd::Gid::from_raw(NOBODY));
    nix::unistd::setgroups(&[group]).unwrap();
    nix::unistd::setresgid(group, group, group).unwrap();
    nix::unistd::setresuid(user, user, user).unwrap();
    // Changing users makes a process undumpable, and /proc/self/uid_map root's.
    let dumpable = rustix::process::DumpableBehavior::Dumpable;
    rustix::process::set_dumpable_behavior(dumpable).unwrap();
    NOBODY
}

fn user_namespace(test: &str) -> Option<u32> {
    let uid = become_ordinary();
    match namespace::unshare_user_and_mounts() {
        Ok(()) => Some(uid),
        Err(error) => {
            skip(test, Need::UserNamespaces, &format!("{error:?}"));
            None
        }
    }
}

fn an_ordinary_user_mounts_in_a_user_namespace() {
    let Some(uid) = user_namespace("an_ordinary_user_mounts_in_a_user_namespace") else {
        return;
    };
    let gid = rustix::process::getegid().as_raw();
    assert_eq!(rustix::process::geteuid().as_raw(), uid, "mapped to itself");
    let mount = SecretsMount::create(LIMITS).unwrap();
    assert_ne!(mount.kind(), Kind::TmpfsNoswap, "the kernel refuses it here");
    fill(&mount, "db", (uid, gid), 0o400, b"value");
    let error = mount.create_file(Path::new("other"), uid + 1, gid, 0o400).unwrap_err();
    assert!(matches!(error, MountError::SetOwner { .. }), "{error:?}");
    mount.set_read_only().unwrap();
    let at = Path::new("/run/secrets");
    mountpoint::provide(at).unwrap();
    mount.attach(at).unwrap();
    assert_eq!(fs::read(at.join("db")).unwrap(), b"value");
    assert!(mountinfo("self", at).unwrap().contains("ro,nosuid,nodev,noexec"));
    assert_eq!(fs::write(at.join("db"), "x").unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    mountpoint::hide(Path::new("/var")).unwrap();
    assert_eq!(fs::read_dir("/var").unwrap().count(), 0);
    mount.overwrite().unwrap();
    assert_eq!(fs::read(at.join("db")).unwrap(), [0; 5]);
    detach(at).unwrap();
    assert!(!at.join("db").exists());
    let again = namespace::unshare_mounts();
    assert!(again.is_ok(), "with the capabilities of the new namespace: {again:?}");
}

fn who_is_outside_fills_what_is_inside() {
    let uid = become_ordinary();
    let (outside, inside) = socket::pair().unwrap();
    let child = fork(&[inside.as_fd()], || {
        if user_namespace("who_is_outside_fills_what_is_inside").is_none() {
            return 77;
        }
        let mount = SecretsMount::create(LIMITS).unwrap();
        inside.send(mount.kind().as_str().as_bytes(), &[mount.as_fd()]).unwrap();
        let mut go = [0; 1];
        inside.receive(&mut go).unwrap().unwrap();
        mount.set_read_only().unwrap();
        let at = Path::new("/mnt");
        mount.attach(at).unwrap();
        u8::from(fs::read(at.join("a/db")).unwrap() != b"value")
    })
    .unwrap();
    drop(inside);
    let mut name = [0; 16];
    let Some(mut packet) = outside.receive(&mut name).unwrap() else {
        assert_eq!(child.wait().unwrap(), Exit::Code(77));
        return;
    };
    let name = std::str::from_utf8(&name[..packet.bytes]).unwrap();
    let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == name).unwrap();
    let mount = SecretsMount::from_fd(packet.descriptors.pop().unwrap(), kind).unwrap();
    let gid = rustix::process::getegid().as_raw();
    fill(&mount, "a/db", (uid, gid), 0o400, b"value");
    // The filesystem is the other's: this end may fill it and no more.
    assert!(matches!(mount.set_read_only(), Err(MountError::SetReadOnly { .. })));
    drop(mount);
    outside.send(b"g", &[]).unwrap();
    assert_eq!(child.wait().unwrap(), Exit::Code(0));
}

fn an_ordinary_user_cannot_mount_outside() {
    become_ordinary();
    let error = namespace::unshare_mounts().unwrap_err();
    assert!(error.is_not_permitted(), "{error:?}");
    assert_eq!(can_mount_beneath(), None);
    let error = SecretsMount::create(LIMITS).unwrap_err();
    let MountError::Refused(refusals) = &error else { panic!("{error:?}") };
    assert_eq!(refusals.len(), 3);
    assert!(error.to_string().starts_with("cannot mount secrets: tmpfs-noswap is not possible"));
}
