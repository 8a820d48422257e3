//! Damage: one bit of a closed folder is flipped, anywhere.
//!
//! Either everything is read as it was, or the manager's opening is refused with a message that
//! names what is damaged and the runbook: never fewer entries, never wrong bytes, never a panic.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::reader::Found;
use super::{Load, READER, Random, Role, WRITER, is_full, say, seed_of};

/// Words by which a message names what is damaged.
const NAMED: [&str; 7] = [
    "log record",
    "the log ends at record",
    "the head file",
    "the log's `",
    "snapshot-",
    "the log store in /",
    "key file",
];

/// The files of a folder, those of its folders too.
fn files_of(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_of(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Copies a private folder as it is, modes included.
fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    std::fs::set_permissions(to, std::fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copy = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &copy);
        } else {
            std::fs::copy(&path, &copy).unwrap();
        }
    }
}

fn flip(file: &Path, at: u64, bit: u64) {
    let file = File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
}

fn read(base: &Path) -> Found {
    let role = Role::start(READER, &[], base, &base.join("data"), Load::Closed, 0);
    Found::gather(&mut role.unwrap())
}

#[test]
fn a_flipped_bit_is_harmless_or_told() {
    let test = "a_flipped_bit_is_harmless_or_told";
    let seed = seed_of(test);
    let mut random = Random(seed);
    let closed = tempfile::tempdir().unwrap();
    let data = closed.path().join("data");
    let mut writer = Role::start(WRITER, &[], closed.path(), &data, Load::Closed, seed).unwrap();
    while writer.next_line().is_some() {}
    assert!(writer.wait().success());

    let files = files_of(&data);
    let is_data = |path: &Path| path.ends_with("log/db");
    let (db, others): (Vec<_>, Vec<_>) = files.into_iter().partition(|path| is_data(path));
    let copied = |number: u64| {
        let copy = closed.path().join(number.to_string());
        std::fs::create_dir(&copy).unwrap();
        copy_folder(&data, &copy.join("data"));
        std::fs::copy(closed.path().join("seed"), copy.join("seed")).unwrap();
        copy
    };
    let untouched = copied(u64::MAX);
    let whole = read(&untouched);
    assert_eq!((whole.first, whole.end, whole.applied), (31, 105, 30), "{whole:?}");
    assert!(whole.problems.is_empty() && whole.vote == 20, "{whole:?}");

    let flips = if is_full() { 200 } else { 40 };
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    for number in 0..flips {
        // The file with the records every other time; the small ones would hardly ever be hit.
        let file = if number % 2 == 0 {
            &db[0]
        } else {
            &others[usize::try_from(random.below(others.len() as u64)).unwrap()]
        };
        let at = random.below(std::fs::metadata(file).unwrap().len());
        let bit = random.below(8);
        let copy = copied(number);
        let within = file.strip_prefix(closed.path()).unwrap();
        flip(&copy.join(within), at, bit);

        let found = read(&copy);
        let what = format!("flip {number}: bit {bit} of byte {at} of {}", within.display());
        if let Some(refused) = &found.refused {
            assert!(refused.contains("docs/operations/"), "{what}: {refused}");
            let named = NAMED.iter().find(|word| refused.contains(**word));
            let named = named.unwrap_or_else(|| panic!("{what}: {refused}"));
            *outcomes.entry(format!("{named} …")).or_default() += 1;
        } else {
            assert_eq!(found, whole, "{what}");
            *outcomes.entry("harmless".into()).or_default() += 1;
        }
        std::fs::remove_dir_all(&copy).unwrap();
    }
    say(&format!("{test}: {flips} flips: {outcomes:?}"));
    assert!(outcomes.len() > 1, "{outcomes:?}");
}
