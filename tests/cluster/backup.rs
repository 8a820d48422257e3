//! Backups on real managers: what is in one, who gets it, what it outlives.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use age::secrecy::ExposeSecret as _;
use memchr::memmem;
use proto::sealed::{ALGORITHM_XCHACHA20_POLY1305, FORMAT};
use seal::{KeyMemory, LockedKeyFile};
use serde_json::Value;
use tests::{Ctl, Lab, until};

use crate::PROGRAMS;
use crate::lifecycle::{output, serve};
use crate::locking::{await_locked, unlock};
use crate::rotation::{await_voters, keys, stolen_slot};

const REFUSED: i32 = 1;

/// More than one bucket of padding, so that nothing is like it by chance.
const CANARY: &[u8] = b"canary in a backup: Ticino 1803 / 5be0f7a4c1d92e38";

/// Who can open a backup: the recipient, and the file with the identity.
pub(crate) struct Keeper {
    recipient: String,
    identity: age::x25519::Identity,
    file: PathBuf,
}

impl Keeper {
    pub(crate) fn new(lab: &Lab, name: &str) -> Self {
        let identity = age::x25519::Identity::generate();
        let text = format!("# made by a test\n{}\n", identity.to_string().expose_secret());
        let file = lab.file(&format!("{name}.txt"), text.as_bytes());
        Self { recipient: identity.to_public().to_string(), identity, file }
    }

    pub(crate) fn recipient(&self) -> &str {
        &self.recipient
    }

    fn path(&self) -> &str {
        self.file.to_str().unwrap()
    }

    /// What is under the file's encryption.
    fn opened(&self, file: &Path) -> Vec<u8> {
        let file = BufReader::new(File::open(file).unwrap());
        let decryptor = age::Decryptor::new(file).unwrap();
        let identity: &dyn age::Identity = &self.identity;
        let mut text = Vec::new();
        decryptor.decrypt(std::iter::once(identity)).unwrap().read_to_end(&mut text).unwrap();
        text
    }
}

/// A backup to this keeper; gives its file.
pub(crate) fn back_up(lab: &Lab, ctl: &Ctl, keeper: &Keeper, name: &str) -> PathBuf {
    let file = lab.path().join(name);
    let path = file.to_str().unwrap();
    ctl.ok(&["cluster", "backup", path, "--recipient", &keeper.recipient]);
    file
}

fn check(ctl: &Ctl, keeper: &Keeper, file: &Path) -> Value {
    let file = file.to_str().unwrap();
    ctl.json(&["cluster", "backup", "check", file, "--identity", keeper.path()])
}

fn ids(backups: &Value) -> Vec<String> {
    let all = backups.as_array().unwrap().iter();
    all.map(|backup| backup["id"].as_str().unwrap().to_owned()).collect()
}

/// Memory that remembers where keys were put, so that they can be looked for elsewhere.
struct Places(Mutex<Vec<usize>>);

static PLACES: Places = Places(Mutex::new(Vec::new()));

impl KeyMemory for Places {
    fn take(&self) -> Option<&'static mut [u8; 32]> {
        let slot = Box::leak(Box::new([0; 32]));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(slot.as_ptr().addr());
        Some(slot)
    }

    fn give_back(&self, _: &'static mut [u8; 32]) {}
}

impl Places {
    /// Every key of this process that is not wiped yet, as the kernel shows it.
    fn keys(&self) -> Vec<[u8; 32]> {
        let mut memory = File::open("/proc/self/mem").unwrap();
        let mut keys = Vec::new();
        for place in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let mut key = [0; 32];
            memory.seek(SeekFrom::Start(*place as u64)).unwrap();
            memory.read_exact(&mut key).unwrap();
            if key != [0; 32] {
                keys.push(key);
            }
        }
        keys
    }
}

/// The keys in managers' key files: root keys, log keys, and what is derived from them.
fn keys_of_managers(lab: &Lab) -> Vec<[u8; 32]> {
    seal::install_key_memory(&PLACES);
    let mut keys = Vec::new();
    for manager in &lab.managers {
        let before = PLACES.keys();
        let file = std::fs::read(manager.data.join("keys")).unwrap();
        let contents =
            LockedKeyFile::parse(&file).unwrap().open(&stolen_slot(&manager.data)).unwrap();
        let mut new = PLACES.keys();
        new.retain(|key| !before.contains(key));
        assert!(new.len() >= contents.roots.len() + contents.logs.len(), "they are found here");
        keys.extend(new);
    }
    keys
}

#[test]
fn a_backup_holds_neither_a_value_nor_a_live_key_and_outlives_the_root_key() {
    let lab = Lab::with_managers(PROGRAMS, 3);
    await_voters(&lab);
    let keeper = Keeper::new(&lab, "keeper");
    let secret = lab.ctl().ok_with(&["create", "db_password", "-"], CANARY).trim().to_owned();
    let live_root = keys(&lab)["root_key"].as_str().unwrap().to_owned();

    // Whoever is asked takes it.
    let files: Vec<_> = (0..3)
        .map(|index| back_up(&lab, &lab.ctl_of(index), &keeper, &format!("{index}.age")))
        .collect();
    let known = lab.ctl().json(&["cluster", "backup", "ls"])["backups"].clone();
    assert_eq!(ids(&known).len(), 3);
    let audit = lab.ctl().json(&["cluster", "audit"]);
    let recorded = audit.as_array().unwrap().iter();
    let recorded: Vec<_> = recorded.filter(|it| it["action"] == "record_backup").collect();
    assert_eq!(recorded.len(), 3);
    assert!(recorded.iter().all(|it| it["outcome"] == "ok"), "{recorded:?}");

    let live = keys_of_managers(&lab);
    // How everything begins that is wrapped under it. Its id alone says nothing.
    let live_id = proto::hex::decode::<16>(&live_root).unwrap();
    let wrapped = [&[FORMAT, ALGORITHM_XCHACHA20_POLY1305][..], &live_id].concat();
    for file in &files {
        let (sealed, text) = (std::fs::read(file).unwrap(), keeper.opened(file));
        let there = |what: &[u8]| memmem::find(&text, what).is_some();
        assert!(there(b"db_password") && there(secret.as_bytes()), "the state is in it");
        assert!(!there(CANARY), "a value is not");
        assert!(!there(proto::hex::encode(CANARY).as_bytes()));
        assert!(!live.iter().any(|key| there(key)), "no key of a manager is");
        assert!(!there(&wrapped), "nothing in it is under the live root key");
        assert!(
            memmem::find(&sealed, b"db_password").is_none(),
            "without the keeper nothing shows"
        );
    }

    // It opens as before when the root key is another one, and when it is gone.
    let before = check(&lab.ctl(), &keeper, &files[0]);
    lab.ctl().ok(&["cluster", "rotate", "root-key"]);
    assert_eq!(check(&lab.ctl(), &keeper, &files[0]), before);
    assert_eq!(before["secrets"], 1);
    let foreign = Keeper::new(&lab, "foreign");
    let file = files[0].to_str().unwrap();
    let refused = lab.ctl().refused(
        REFUSED,
        &["cluster", "backup", "check", file, "--identity", foreign.path()],
        b"",
    );
    assert!(refused.contains("it is encrypted to other recipients"), "{refused}");

    // What is removed is named with the backups that have it, until their files are destroyed.
    lab.ctl().ok_with(&["create", "later", "-"], b"value");
    let later = lab.ctl().json(&["rm", "later"]);
    assert_eq!(ids(&later[0]["backups"]), [""; 0], "they were taken before it was made");
    let ran = lab.ctl().run(&["rm", "db_password"]);
    let all = ids(&known);
    assert!(ran.status == 0 && all.iter().all(|id| ran.stderr.contains(id)), "{}", ran.stderr);
    let short = all[1].get(..8).unwrap();
    let forgotten = lab.ctl().ok(&["cluster", "backup", "forget", short]);
    assert_eq!(forgotten.trim(), all[1]);
    let removed = lab.ctl().json(&["ls", "--removed"]);
    let removed = removed.as_array().unwrap().iter().find(|it| it["name"] == "db_password");
    assert_eq!(ids(&removed.unwrap()["backups"]), [all[0].clone(), all[2].clone()]);
}

#[test]
fn only_an_admin_takes_a_backup() {
    let lab = Lab::with_managers(PROGRAMS, 1);
    let keeper = Keeper::new(&lab, "keeper");
    for (name, role) in [("aud", "auditor"), ("dep", "deployer"), ("adm", "admin")] {
        let token = lab.ctl().ok(&["operator", "add", name, "--role", role]);
        let home = lab.path().join(name);
        std::fs::create_dir(&home).unwrap();
        let ctl = lab.ctl().at_home(&home);
        let add = ["context", "add", "here", "--token", "-", "--manager", &lab.address()];
        ctl.ok_with(&add, token.lines().next().unwrap().as_bytes());
        let ctl = ctl.with_context("here");
        if role == "admin" {
            check(&ctl, &keeper, &back_up(&lab, &ctl, &keeper, "b.age"));
            continue;
        }
        let file = lab.path().join("refused.age");
        let take = ["cluster", "backup", file.to_str().unwrap(), "--recipient", &keeper.recipient];
        let refused = ctl.refused(REFUSED, &take, b"");
        assert!(refused.contains("does not allow back_up"), "{refused}");
        assert!(!file.exists());
        let list = ctl.run(&["cluster", "backup", "ls"]);
        assert_eq!(list.status == 0, role == "auditor", "{}", list.stderr);
    }
    let known = lab.ctl().json(&["cluster", "backup", "ls"])["backups"].clone();
    assert_eq!(ids(&known).len(), 1, "of what was refused none is recorded");
    assert!(known[0]["made_by"].as_str().unwrap().starts_with("operator/"), "{known}");
}

/// A task that shows its secret whenever there is a file of that name.
fn witness(lab: &Lab, service: &str, again: &str, secret: &str) {
    let script = format!(
        "echo started; while :; do if test -e {0}; then rm {0}; cat /run/secrets/{secret}; echo; fi; \
         sleep 0.05; done",
        lab.path().join(again).display()
    );
    serve(lab, service, &["--secret", secret], &script);
}

fn empty(data: &Path) {
    for entry in std::fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }
}

/// Starts the first manager on an empty folder, at the address that agents know.
fn start_at(lab: &mut Lab, address: &str) {
    let words = lab.managers[0].daemon.arguments();
    let at = words.iter().position(|word| word == "--listen").unwrap();
    address.clone_into(&mut words[at + 1]);
    lab.managers[0].daemon.start_again();
    lab.await_socket(0);
}

fn restoring<'a>(keeper: &'a Keeper, file: &'a Path) -> [&'a str; 5] {
    ["cluster", "restore", file.to_str().unwrap(), "--identity", keeper.path()]
}

/// Whatever cannot be opened to its end leaves the manager as it was.
fn assert_damaged_changes_nothing(lab: &Lab, keeper: &Keeper, file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() - 40;
    let cut_off = lab.file("cut.age", &bytes[..middle]);
    bytes[middle] ^= 1;
    let changed = lab.file("changed.age", &bytes);
    for bad in [&cut_off, &changed] {
        let why = lab.ctl_of(0).refused(REFUSED, &restoring(keeper, bad), b"");
        assert!(why.contains("the backup cannot be used"), "{why}");
    }
    let foreign = Keeper::new(lab, "foreign");
    let why = lab.ctl_of(0).refused(REFUSED, &restoring(&foreign, file), b"");
    assert!(why.contains("encrypted to other recipients"), "{why}");
    assert!(!lab.managers[0].data.join("keys").exists(), "nothing was restored");
}

/// The agent finds the restored cluster, and its task never noticed.
fn assert_agent_carries_on(lab: &Lab, task: &Value, restored: &Value) {
    lab.await_node("n1", "ready");
    lab.file("again", b"");
    let said = output(lab, "web", 2);
    assert_eq!(said, "started\nvalue of then\n", "it was not restarted");
    let now = lab.await_tasks("web", 1, "running").remove(0);
    assert_eq!(now["id"], task["id"]);
    // What it gets from now on is what was backed up: of the secret that was removed, too.
    witness(lab, "new", "again-2", "kept");
    lab.await_tasks("new", 1, "running");
    lab.file("again-2", b"");
    let said = output(lab, "new", 2);
    assert!(said.contains(std::str::from_utf8(CANARY).unwrap()), "{said}");
    let rm = lab.ctl().json(&["service", "rm", "new"]);
    assert_eq!(rm.as_array().unwrap().len(), 1);
    until("nobody uses it", || (lab.ctl().run(&["rm", "kept"]).status == 0).then_some(()));
    let known = lab.ctl().json(&["ls", "--removed"]);
    assert_eq!(ids(&known[0]["backups"]), [restored["backup"].as_str().unwrap()]);
}

/// A token of before admits nobody; one of now does.
fn assert_tokens_of_now_admit(lab: &mut Lab, address: &str, old_token: &str) {
    lab.managers[2].daemon.start_again();
    lab.await_socket(2);
    let join = |lab: &Lab, token: &str| {
        let words = ["cluster", "join", "--token", token, "--hostname", "m3", address];
        lab.ctl_of(2).run(&words)
    };
    let ran = join(lab, old_token);
    assert!(ran.status != 0 && ran.stderr.contains("token"), "{}", ran.stderr);
    let token = lab.ctl_of(0).ok(&["cluster", "join-token", "manager", "--quiet"]);
    let ran = join(lab, token.trim());
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    until("it votes", || {
        let status = lab.ctl_of(0).json(&["cluster", "status"]);
        let members = status["members"].as_array()?;
        (members.len() == 2 && members.iter().all(|m| m["state"] == "voter")).then_some(())
    });
}

/// One of before that comes back stays away, at this start and at every later one.
fn assert_dead_stay_away(lab: &mut Lab, copy: &Path) {
    std::fs::remove_dir_all(&lab.managers[1].data).unwrap();
    copy_folder(copy, &lab.managers[1].data);
    for _ in 0..2 {
        lab.managers[1].daemon.start_again();
        let ended = lab.managers[1].daemon.wait();
        assert_eq!(ended.code(), Some(77), "{}", lab.managers[1].daemon.log());
    }
    let log = lab.managers[1].daemon.log();
    assert!(log.contains("belongs to incarnation 1; the cluster is now 2"), "{log}");
}

fn copy_folder(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[test]
fn a_cluster_comes_back_from_its_backup_and_its_agent_carries_on() {
    let mut lab = Lab::with_managers(PROGRAMS, 3);
    await_voters(&lab);
    let first = lab.members().into_iter().find(|member| member["hostname"] == "m1").unwrap();
    let address = first["address"].as_str().unwrap().to_owned();
    let keeper = Keeper::new(&lab, "keeper");
    lab.agent("n1");
    lab.ctl().ok_with(&["create", "key", "-"], b"value of then");
    lab.ctl().ok_with(&["create", "kept", "-"], CANARY);
    witness(&lab, "web", "again", "key");
    let task = lab.await_tasks("web", 1, "running").remove(0);
    let old_token = lab.token("manager");
    let old_root = keys(&lab)["root_key"].clone();
    let file = back_up(&lab, &lab.ctl(), &keeper, "b.age");

    // What comes after it: another root key, a secret that is removed, one that is made.
    lab.ctl().ok(&["cluster", "rotate", "root-key"]);
    lab.ctl().ok(&["rm", "kept"]);
    lab.ctl().ok_with(&["create", "lost", "-"], b"value");

    // All disks are gone, but for a copy of one.
    let copy = lab.path().join("copy");
    for manager in &mut lab.managers {
        manager.daemon.kill();
    }
    copy_folder(&lab.managers[1].data, &copy);
    for manager in &lab.managers {
        empty(&manager.data);
    }

    // Damaged files change nothing; then it is the cluster of then, in another life.
    start_at(&mut lab, &address);
    assert_damaged_changes_nothing(&lab, &keeper, &file);
    let words = restoring(&keeper, &file);
    let restored = lab.ctl_of(0).json(&[&words[..], &["--hostname", "m1"]].concat());
    assert_eq!(restored["incarnation"], 2);
    let why = lab.ctl_of(0).refused(REFUSED, &words, b"");
    assert!(why.contains("part of a cluster already"), "{why}");
    let status = lab.ctl_of(0).json(&["cluster", "status"]);
    assert_eq!(status["members"].as_array().unwrap().len(), 1, "{status}");
    assert_ne!(keys(&lab)["root_key"], old_root);
    let unproved = keys(&lab)["removed_without_proof"].clone();
    assert_eq!(unproved.as_array().unwrap().len(), 3, "their disks are out there: {unproved}");
    let names = lab.ctl().ok(&["ls"]);
    assert!(names.contains("kept") && !names.contains("lost"), "{names}");

    assert_agent_carries_on(&lab, &task, &restored);
    assert_tokens_of_now_admit(&mut lab, &address, &old_token);
    assert_dead_stay_away(&mut lab, &copy);
    // It restarts like any other.
    lab.managers[0].daemon.stop();
    lab.managers[0].daemon.start_again();
    lab.await_socket(0);
    lab.await_node("n1", "ready");
}

#[test]
fn a_locked_cluster_is_restored_into_any_later_life_with_a_passphrase() {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    let passphrase = b"correct horse battery staple\n";
    let file = lab.path().join("b.age");
    let path = file.to_str().unwrap();
    lab.ctl().ok(&["cluster", "update", "--autolock", "on"]);
    lab.ctl().ok_with(&["create", "kept", "-"], CANARY);
    lab.ctl().ok_with(&["cluster", "backup", path, "--passphrase"], passphrase);
    let old_realm = lab.ctl().json(&["cluster", "status"])["realm"].clone();
    lab.managers[0].daemon.kill();
    empty(&lab.managers[0].data);
    lab.managers[0].daemon.start_again();
    lab.await_socket(0);
    let restore = ["cluster", "restore", path, "--autolock", "--incarnation", "7"];
    let why = lab.ctl().refused(REFUSED, &restore, b"correct horse battery stable\n");
    assert!(why.contains("the passphrase is another one"), "{why}");
    let text = lab.ctl().ok_with(&[&["--json"], &restore[..]].concat(), passphrase);
    // The key is shown before anything is sent, so it is a line of its own.
    let (key, restored) = text.split_once('\n').unwrap();
    let key: Value = serde_json::from_str(key).unwrap();
    let restored: Value = serde_json::from_str(restored).unwrap();
    assert_eq!((&restored["incarnation"], &restored["realm"]), (&7.into(), &old_realm));
    assert_eq!(key["unlock_key_id"], restored["unlock_key_id"]);
    let key = key["unlock_key"].as_str().unwrap();
    assert_eq!(lab.ctl().json(&["cluster", "status"])["autolock"], true);
    lab.managers[0].daemon.stop();
    lab.managers[0].daemon.start_again();
    await_locked(&lab, 0);
    unlock(&lab, 0, key);
    let ran = lab.ctl().ok(&["ls"]);
    assert!(ran.contains("kept"), "{ran}");
}
