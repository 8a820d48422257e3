//! The secrets filesystem, mount points and hidden folders, as root in a mount namespace.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use rustix::mount::MountPropagationFlags;
use sys::mount::{Kind, Limits, MountError, SecretsMount, can_mount_beneath, detach};
use sys::require::{Need, root, skip};
use sys::{mountpoint, namespace, process};

use crate::Test;

pub(crate) const TESTS: &[Test] = &[
    ("a_secrets_mount_from_birth_to_end", a_secrets_mount_from_birth_to_end),
    ("tmpfs_is_mounted_without_swap", tmpfs_is_mounted_without_swap),
    ("the_bounds_of_the_filesystem_hold", the_bounds_of_the_filesystem_hold),
    ("files_stay_below_the_mount", files_stay_below_the_mount),
    ("a_symlink_is_never_mounted_over", a_symlink_is_never_mounted_over),
    ("a_mount_is_replaced_in_place", a_mount_is_replaced_in_place),
    ("a_missing_mount_point_is_provided", a_missing_mount_point_is_provided),
    ("a_hidden_folder_is_empty_and_read_only", a_hidden_folder_is_empty_and_read_only),
    ("a_copy_is_mounted_apart_and_restricted", a_copy_is_mounted_apart_and_restricted),
    ("open_files_read_zeros_after_the_end", open_files_read_zeros_after_the_end),
];

pub(crate) const LIMITS: Limits = Limits { bytes_max: 64 << 10, inodes_max: 16 };

pub(crate) fn fill(mount: &SecretsMount, path: &str, owner: (u32, u32), mode: u32, bytes: &[u8]) {
    let mut file = mount.create_file(Path::new(path), owner.0, owner.1, mode).unwrap();
    let born = file.metadata().unwrap();
    assert_eq!((born.uid(), born.gid(), born.mode() & 0o7777), (owner.0, owner.1, mode));
    assert_eq!(born.len(), 0);
    file.write_all(bytes).unwrap();
}

/// The line of /proc/PID/mountinfo for a mount point, the last one if they are stacked.
pub(crate) fn mountinfo(pid: &str, at: &Path) -> Option<String> {
    let at = at.to_str().unwrap();
    let info = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    info.lines().rev().find(|line| line.split(' ').nth(4) == Some(at)).map(str::to_owned)
}

fn private_mounts(test: &str) -> bool {
    if !root(test) {
        return false;
    }
    match namespace::unshare_mounts() {
        Ok(()) => true,
        Err(error) => {
            skip(test, Need::Root, &format!("root may not mount here: {error:?}"));
            false
        }
    }
}

fn a_secrets_mount_from_birth_to_end() {
    if !private_mounts("a_secrets_mount_from_birth_to_end") {
        return;
    }
    // A strange umask must not matter.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let temp = tempfile::tempdir().unwrap();
    let at = temp.path();
    let mount = SecretsMount::create(LIMITS).unwrap();
    fill(&mount, "db_password", (1234, 5678), 0o440, b"correct horse");
    fill(&mount, "tls/server/key.pem", (0, 0), 0o400, b"key");
    let open = mount.create_file(Path::new("open"), 0, 0, 0o400).unwrap();
    let error = mount.set_read_only().unwrap_err();
    assert!(error.is_busy(), "{error:?}");
    drop(open);
    mount.set_read_only().unwrap();
    assert!(mountinfo("self", at).is_none());
    mount.attach(at).unwrap();

    assert_eq!(fs::read(at.join("db_password")).unwrap(), b"correct horse");
    let folder = at.join("tls/server").metadata().unwrap();
    assert_eq!((folder.uid(), folder.mode() & 0o7777), (0, 0o755));
    assert_eq!(at.metadata().unwrap().mode() & 0o7777, 0o755);
    let line = mountinfo("self", at).unwrap();
    let (mount_options, super_options) = line.split_once(" - ").unwrap();
    for option in ["ro", "nosuid", "nodev", "noexec", "nosymfollow"] {
        let options = mount_options.split(' ').nth(5).unwrap();
        assert!(options.split(',').any(|o| o == option), "{option} in {line}");
    }
    assert!(super_options.split([',', ' ']).any(|o| o == "ro"), "{line}");
    for refused in [
        fs::remove_file(at.join("db_password")),
        File::create(at.join("new")).map(drop),
        File::options().write(true).open(at.join("db_password")).map(drop),
        fs::create_dir(at.join("folder")),
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    }
    let parent = rustix::process::getppid().unwrap().as_raw_nonzero().to_string();
    assert!(mountinfo(&parent, at).is_none(), "the host must not see it");

    mount.overwrite().unwrap();
    assert_eq!(fs::read(at.join("db_password")).unwrap(), [0; 13]);
    assert_eq!(fs::read(at.join("tls/server/key.pem")).unwrap(), [0; 3]);
    detach(at).unwrap();
    assert!(mountinfo("self", at).is_none());
    assert_eq!(fs::read_dir(at).unwrap().count(), 0);
}

fn tmpfs_is_mounted_without_swap() {
    if !private_mounts("tmpfs_is_mounted_without_swap") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let mount = SecretsMount::create(LIMITS).unwrap();
    if mount.kind() != Kind::TmpfsNoswap {
        return skip(
            "tmpfs_is_mounted_without_swap",
            Need::Noswap,
            "this kernel took another kind",
        );
    }
    mount.attach(temp.path()).unwrap();
    let has_noswap = || {
        let line = mountinfo("self", temp.path()).unwrap();
        line.rsplit(' ').next().unwrap().split(',').any(|option| option == "noswap")
    };
    assert!(has_noswap());
    mount.set_read_only().unwrap();
    mount.overwrite().unwrap();
    assert!(has_noswap(), "reconfiguring must not turn swap on");
    let fd = rustix::io::fcntl_dupfd_cloexec(&mount, 0).unwrap();
    SecretsMount::from_fd(fd, Kind::TmpfsNoswap).unwrap();
}

fn the_bounds_of_the_filesystem_hold() {
    if !private_mounts("the_bounds_of_the_filesystem_hold") {
        return;
    }
    let mount = SecretsMount::create(LIMITS).unwrap();
    if mount.kind() == Kind::Ramfs {
        return skip("the_bounds_of_the_filesystem_hold", Need::Noswap, "ramfs has no bounds");
    }
    fill(&mount, "fits", (0, 0), 0o400, &vec![1; 64 << 10]);
    let mut file = mount.create_file(Path::new("full"), 0, 0, 0o400).unwrap();
    assert_eq!(file.write_all(b"x").unwrap_err().kind(), ErrorKind::StorageFull);
    // Root folder, two files: 13 more.
    for i in 0..13 {
        fill(&mount, &format!("{i}"), (0, 0), 0o400, b"");
    }
    let error = mount.create_file(Path::new("one-too-many"), 0, 0, 0o400).unwrap_err();
    assert!(matches!(error, MountError::CreateFile { .. }), "{error:?}");
}

fn files_stay_below_the_mount() {
    if !private_mounts("files_stay_below_the_mount") {
        return;
    }
    let mount = SecretsMount::create(LIMITS).unwrap();
    for bad in ["", "/etc/x", "../x", "a/../../x", "."] {
        let error = mount.create_file(Path::new(bad), 0, 0, 0o400).unwrap_err();
        assert!(matches!(error, MountError::NotBelow(_)), "{bad}: {error:?}");
    }
    fill(&mount, "a", (0, 0), 0o400, b"x");
    for taken in ["a", "a/b"] {
        let error = mount.create_file(Path::new(taken), 0, 0, 0o400).unwrap_err();
        assert!(matches!(error, MountError::CreateFile { .. }), "{taken}: {error:?}");
    }
    // A link that somebody put there leads nowhere.
    rustix::fs::symlinkat("/tmp", &mount, "link").unwrap();
    assert!(mount.create_file(Path::new("link/x"), 0, 0, 0o400).is_err());
}

fn a_symlink_is_never_mounted_over() {
    if !private_mounts("a_symlink_is_never_mounted_over") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    fs::create_dir(at("real")).unwrap();
    symlink("real", at("link")).unwrap();
    fs::create_dir(at("real/inner")).unwrap();
    fs::write(at("file"), "").unwrap();
    let mount = SecretsMount::create(LIMITS).unwrap();
    assert!(matches!(mount.attach(&at("link")), Err(MountError::Symlink(_))));
    assert!(matches!(mount.attach(&at("link/inner")), Err(MountError::Symlink(_))));
    assert!(matches!(mount.attach(&at("none")), Err(MountError::NoMountPoint(_))));
    assert!(matches!(mount.attach(&at("file")), Err(MountError::NotAFolder(_))));
    assert!(matches!(mountpoint::provide(&at("link")), Err(MountError::Symlink(_))));
    assert!(matches!(mountpoint::provide(&at("link/new")), Err(MountError::Symlink(_))));
    assert!(matches!(mountpoint::hide(&at("link")), Err(MountError::Symlink(_))));
    mount.attach(&at("real/inner")).unwrap();
}

fn a_mount_is_replaced_in_place() {
    if !private_mounts("a_mount_is_replaced_in_place") {
        return;
    }
    assert_eq!(can_mount_beneath(), Some(true), "the kernels we test on are newer than 6.5");
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("db");
    let [old, new] = [b"one", b"two"].map(|value| {
        let mount = SecretsMount::create(LIMITS).unwrap();
        fill(&mount, "db", (0, 0), 0o400, value);
        mount.set_read_only().unwrap();
        mount
    });
    old.attach(temp.path()).unwrap();
    new.attach_beneath(temp.path()).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"one");
    detach(temp.path()).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"two");
}

fn a_missing_mount_point_is_provided() {
    if !private_mounts("a_missing_mount_point_is_provided") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let run = temp.path().join("run");
    for folder in ["", "dir", "dir/mounted"] {
        fs::create_dir(run.join(folder)).unwrap();
    }
    let inner = SecretsMount::create(LIMITS).unwrap();
    fill(&inner, "deep", (0, 0), 0o444, b"deep");
    inner.attach(&run.join("dir/mounted")).unwrap();
    fs::write(run.join("file"), "old").unwrap();
    symlink("file", run.join("link")).unwrap();
    let _socket = UnixListener::bind(run.join("socket")).unwrap();

    let at = run.join("secrets");
    mountpoint::provide(&at).unwrap();
    assert_eq!(fs::read_dir(&at).unwrap().count(), 0);
    assert_eq!(fs::read(run.join("dir/mounted/deep")).unwrap(), b"deep");
    assert_eq!(fs::read_to_string(run.join("link")).unwrap(), "old");
    std::os::unix::net::UnixStream::connect(run.join("socket")).unwrap();
    // It is the old file, not a copy: what is written reaches the folder underneath.
    fs::write(run.join("file"), "new").unwrap();
    let mount = SecretsMount::create(LIMITS).unwrap();
    fill(&mount, "db", (0, 0), 0o400, b"value");
    mount.attach(&at).unwrap();
    assert_eq!(fs::read(at.join("db")).unwrap(), b"value");
    detach(&at).unwrap();
    // Provided once, it is simply there.
    mountpoint::provide(&at).unwrap();
    detach(&run).unwrap();
    assert!(!at.exists(), "the folder underneath is untouched");
    assert_eq!(fs::read_to_string(run.join("file")).unwrap(), "new");
}

fn a_hidden_folder_is_empty_and_read_only() {
    if !private_mounts("a_hidden_folder_is_empty_and_read_only") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let folder = sys::file::Folder::create_private(temp.path().join("agent")).unwrap();
    folder.replace("key", 0o600, b"key").unwrap();
    mountpoint::hide(folder.path()).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let error = fs::write(folder.path().join("new"), "").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
    // Who had it open goes on.
    folder.replace("status", 0o600, b"done").unwrap();
    assert_eq!(folder.read("key", 3).unwrap(), b"key");
    mountpoint::hide(&temp.path().join("none")).unwrap();
}

fn open_files_read_zeros_after_the_end() {
    if !private_mounts("open_files_read_zeros_after_the_end") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let mount = SecretsMount::create(LIMITS).unwrap();
    let value = vec![7; 5000];
    fill(&mount, "big", (0, 0), 0o400, &value);
    mount.set_read_only().unwrap();
    mount.attach(temp.path()).unwrap();
    let mut open = File::open(temp.path().join("big")).unwrap();
    mount.overwrite().unwrap();
    detach(temp.path()).unwrap();
    let mut read = Vec::new();
    open.read_to_end(&mut read).unwrap();
    assert_eq!(read, vec![0; 5000]);
}

/// As it goes into a container: a copy at a place apart in the namespace of another process, bound there
/// by somebody who gives the bind fewer attributes.
fn a_copy_is_mounted_apart_and_restricted() {
    if !private_mounts("a_copy_is_mounted_apart_and_restricted") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let own = temp.path().join("own");
    let place = temp.path().join("place");
    let bound = temp.path().join("bound");
    fs::create_dir(&own).unwrap();
    fs::create_dir(&bound).unwrap();
    // What follows this namespace must not follow the place.
    let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", shared).unwrap();
    let (mut told, telling) = process::pipe(false).unwrap();
    let (waits, go) = process::pipe(false).unwrap();
    let follower = process::fork(&[telling.as_fd(), waits.as_fd()], || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        (&telling).write_all(b".").unwrap();
        // Until the other end is closed.
        (&waits).read_exact(&mut [0]).unwrap_err();
        0
    });
    let follower = follower.unwrap();
    told.read_exact(&mut [0]).unwrap();
    let follows = |at: &Path| mountinfo(&follower.pid().to_string(), at).is_some();

    let mount = SecretsMount::create(LIMITS).unwrap();
    fill(&mount, "db", (0, 0), 0o400, b"correct horse");
    mount.set_read_only().unwrap();
    mount.attach(&own).unwrap();
    let copy = mount.copy().unwrap();
    let pid = std::process::id().try_into().unwrap();
    let attach = || {
        let at = mountpoint::provide_apart(&place, "m").unwrap();
        copy.attach(&at).unwrap();
        at
    };
    let at = namespace::Mounts::of(pid).unwrap().within(attach).unwrap();
    assert_eq!(fs::read(at.join("db")).unwrap(), b"correct horse");
    assert_eq!(fs::metadata(&place).unwrap().mode() & 0o7777, 0o700);
    assert!(follows(&place) && !follows(&at), "the place is seen elsewhere, what is in it is not");

    rustix::mount::mount_bind(&at, &bound).unwrap();
    let fewer = rustix::mount::MountFlags::BIND | rustix::mount::MountFlags::RDONLY;
    rustix::mount::mount_remount(&bound, fewer, c"").unwrap();
    let line = || mountinfo("self", &bound).unwrap();
    assert!(!line().contains("nosuid"), "{}", line());
    sys::mount::restrict(&bound).unwrap();
    assert!(line().contains(" ro,nosuid,nodev,noexec,relatime,nosymfollow "), "{}", line());
    // A name with all that the kernel writes in another way, and what looks like it.
    let odd = temp.path().join("a b\t\\040\n\\");
    fs::create_dir(&odd).unwrap();
    rustix::mount::mount_bind(&at, &odd).unwrap();
    let mut places = mountpoint::mounts_of(pid, mount.device().unwrap()).unwrap();
    places.sort();
    assert_eq!(places, [odd, bound.clone(), own, at]);

    mountpoint::take_away(&place).unwrap();
    mountpoint::take_away(&place).unwrap();
    assert!(!place.exists() && !follows(&place));
    assert_eq!(fs::read(bound.join("db")).unwrap(), b"correct horse");
    mount.overwrite().unwrap();
    assert_eq!(fs::read(bound.join("db")).unwrap(), [0; 13]);
    drop(go);
    follower.wait().unwrap();
}
