//! Backups on real managers: what is in one, who gets it, what it outlives.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use age::secrecy::ExposeSecret as _;
use memchr::memmem;
use proto::sealed::{ALGORITHM_XCHACHA20_POLY1305, FORMAT};
use seal::{KeyMemory, LockedKeyFile};
use serde_json::Value;
use tests::{Ctl, Lab};

use crate::PROGRAMS;
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
