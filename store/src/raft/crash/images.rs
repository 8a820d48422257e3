//! Power cuts: what reached the device at a random moment holds all that was acknowledged.
//!
//! The writer's folder is on ext4 in a file. At some moment it is stopped, the file is copied, and
//! the copy is mounted and opened: it is what a power cut at that moment would have left. Stopping
//! a process flushes nothing, and a copy during which the device was written is thrown away. Not
//! here: a device that lies about its cache.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use sys::require::{Need, root, skip};

use super::reader::Found;
use super::{Load, READER, Random, Role, SILENCE_MAX, WRITER, is_full, say, seed_of};

/// Size of the filesystem: a log that is purged, several times over.
const IMAGE_MIB: u64 = 256;

/// A filesystem that a few entries of 1 MiB fill.
const SMALL_IMAGE_MIB: u64 = 48;

/// Mounts the image for the command behind it alone: its mount namespace ends with it.
pub(crate) const MOUNTED: &str = "mount -o loop \"$1\" \"$2\"; shift 2; exec \"$@\"";

/// The same, with room that can be released.
const WITH_BALLAST: &str = "mount -o loop \"$1\" \"$2\"; head -c 16M /dev/zero > \"$2/ballast\"; \
                            shift 2; exec \"$@\"";

/// The same, with that room released.
const BALLAST_RELEASED: &str =
    "mount -o loop \"$1\" \"$2\"; rm \"$2/ballast\"; shift 2; exec \"$@\"";

/// A filesystem in a file, and the folder it is mounted on by whoever uses it.
pub(crate) struct Image {
    file: PathBuf,
    base: PathBuf,
}

impl Image {
    pub(crate) fn make(base: &Path, mib: u64) -> Result<Self, String> {
        let file = base.join("image");
        std::fs::File::create(&file).unwrap().set_len(mib << 20).unwrap();
        std::fs::create_dir_all(base.join("mounted")).unwrap();
        let made = Command::new("mkfs.ext4").arg("-q").arg(&file).output();
        let made = made.map_err(|error| format!("mkfs.ext4: {error}"))?;
        made.status.success().then_some(()).ok_or_else(|| {
            format!("mkfs.ext4: {}", String::from_utf8_lossy(&made.stderr).trim())
        })?;
        Ok(Self { file, base: base.to_owned() })
    }

    pub(crate) fn start(
        &self,
        role: &str,
        script: &str,
        load: Load,
        seed: u64,
    ) -> Result<Role, String> {
        let mounted = self.base.join("mounted");
        let (image, at) = (self.file.to_str().unwrap(), mounted.to_str().unwrap());
        let before = ["unshare", "--mount", "sh", "-ec", script, "sh", image, at];
        Role::start(role, &before, &self.base, &mounted.join("data"), load, seed)
    }

    /// What the loop device has written, once nothing is on its way.
    fn written(&self) -> Option<String> {
        let loops = std::fs::read_dir("/sys/block").unwrap().map(|entry| entry.unwrap().path());
        let device = loops.into_iter().find(|path| {
            std::fs::read_to_string(path.join("loop/backing_file"))
                .is_ok_and(|file| Path::new(file.trim_end()) == self.file)
        });
        let stat = std::fs::read_to_string(device.unwrap().join("stat")).unwrap();
        // Documentation/block/stat.rst: writes, sectors written, requests in flight, flushes.
        let fields: Vec<_> = stat.split_whitespace().collect();
        (fields[8] == "0").then(|| format!("{} {} {}", fields[4], fields[6], fields[15]))
    }

    /// Copies the image of a stopped writer.
    pub(crate) fn copy(&self, base: &Path) -> Self {
        std::fs::create_dir_all(base.join("mounted")).unwrap();
        let copy = Self { file: base.join("image"), base: base.to_owned() };
        let deadline = Instant::now() + SILENCE_MAX;
        loop {
            let before = self.written();
            // A new file each time: the one before may still be attached to its device.
            drop(std::fs::remove_file(&copy.file));
            std::fs::copy(&self.file, &copy.file).unwrap();
            if before.is_some() && before == self.written() {
                return copy;
            }
            assert!(Instant::now() < deadline, "the device was never at rest");
        }
    }
}

/// What a writer was told, and what it asked for.
#[derive(Default)]
struct Ledger {
    acked: BTreeMap<u64, u64>,
    acks: u64,
    purging: Option<u64>,
    purged: Option<u64>,
    voting: u64,
    voted: u64,
    /// Truncations that were asked for: what stays, and the term that follows.
    cuts: Vec<(u64, u64)>,
    /// The last one that was acknowledged.
    cut: Option<(u64, u64)>,
    fatal: Option<String>,
}

impl Ledger {
    fn note_all(&mut self, role: &mut Role) {
        while let Some(line) = role.lines.pop_front() {
            self.note(&line);
        }
    }

    fn note(&mut self, line: &str) {
        if let Some(fatal) = line.strip_prefix("fatal ") {
            self.fatal = Some(fatal.to_owned());
            return;
        }
        let (word, rest) = line.split_once(' ').unwrap();
        let rest: Vec<u64> = rest.split(' ').map(|number| number.parse().unwrap()).collect();
        match (word, &rest[..]) {
            ("acked", &[first, last, term]) => {
                self.acks += 1;
                for index in first..=last {
                    // A truncation that was asked for before may have taken it.
                    let cut = self.cuts.iter().any(|(kept, next)| index > *kept && term < *next);
                    if !cut {
                        self.acked.insert(index, term);
                    }
                }
            }
            ("truncating", &[last, term]) => {
                self.acked.split_off(&(last + 1));
                self.cuts.push((last, term));
            }
            ("truncated", &[last, term]) => self.cut = Some((last, term)),
            ("purging", &[last]) => {
                self.acked = self.acked.split_off(&(last + 1));
                self.purging = Some(last);
            }
            ("purged", &[last]) => self.purged = Some(last),
            ("voting", &[vote]) => self.voting = vote,
            ("voted", &[vote]) => self.voted = vote,
            _ => panic!("{line}"),
        }
    }

    /// What is wrong with what was found; how many acknowledged entries were compared.
    fn compare(&self, found: &Found) -> Result<usize, String> {
        if let Some(refused) = &found.refused {
            return Err(format!("it did not open: {refused}"));
        }
        if let Some(problem) = found.problems.first() {
            return Err(problem.clone());
        }
        let purged = found.first.checked_sub(1);
        if purged < self.purged || purged > self.purging {
            return Err(format!(
                "purged to {purged:?}, not {:?}..={:?}",
                self.purged, self.purging
            ));
        }
        if !(self.voted..=self.voting).contains(&found.vote) {
            return Err(format!("vote {}, not {}..={}", found.vote, self.voted, self.voting));
        }
        for (index, term) in &self.acked {
            if found.records.get(index) != Some(term) {
                let instead = found.records.get(index);
                return Err(format!("entry {index} of term {term} is lost; there is {instead:?}"));
            }
        }
        if let Some((last, term)) = self.cut
            && let Some((index, old)) =
                found.records.range(last + 1..).find(|(_, found)| **found < term)
        {
            return Err(format!("entry {index} of term {old} is back though it was truncated"));
        }
        Ok(self.acked.len())
    }
}

/// Why crash images cannot be made here, if so.
fn missing(base: &Path) -> Option<String> {
    let image = match Image::make(base, SMALL_IMAGE_MIB) {
        Ok(image) => image,
        Err(reason) => return Some(reason),
    };
    let tried = Command::new("unshare")
        .args(["--mount", "sh", "-ec", MOUNTED, "sh"])
        .args([&image.file, &base.join("mounted"), Path::new("true")])
        .output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare: {error}")),
    }
}

pub(crate) fn can_run(test: &str) -> bool {
    if !root(test) {
        return false;
    }
    let base = tempfile::tempdir().unwrap();
    match missing(base.path()) {
        None => true,
        Some(reason) => {
            skip(test, Need::LoopDevices, &reason);
            false
        }
    }
}

/// Waits until every thread of a process is stopped.
pub(crate) fn wait_stopped(pid: u32) {
    let deadline = Instant::now() + SILENCE_MAX;
    let is_running = |task: std::io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(task.unwrap().path().join("stat"));
        // After the name in parentheses: the state.
        stat.is_ok_and(|stat| !stat.rsplit(") ").next().unwrap().starts_with('T'))
    };
    while std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().any(is_running) {
        assert!(Instant::now() < deadline, "the writer did not stop");
        std::thread::yield_now();
    }
}

/// Lets a writer run on to a random moment.
fn run_on(role: &mut Role, ledger: &mut Ledger, load: Load, random: &mut Random) {
    let acks_more = match load {
        Load::Small | Load::Medium => random.below(300),
        _ => random.below(60),
    };
    let target = ledger.acks + 1 + acks_more;
    let deadline = Instant::now() + SILENCE_MAX;
    while ledger.acks < target {
        role.listen(Duration::from_millis(100));
        ledger.note_all(role);
        assert_eq!(ledger.fatal, None);
        assert!(!role.ended && Instant::now() < deadline, "the writer came to an end");
    }
    let moment = Instant::now() + Duration::from_micros(random.below(20_000));
    while Instant::now() < moment {
        role.listen(Duration::from_millis(1));
    }
}

#[test]
fn every_acknowledged_entry_is_in_every_crash_image() {
    let test = "every_acknowledged_entry_is_in_every_crash_image";
    if !can_run(test) {
        return;
    }
    let seed = seed_of(test);
    let mut random = Random(seed);
    let images_each = if is_full() { 10 } else { 2 };
    let (mut whole, mut entries, mut purges, mut cuts) = (0, 0, 0, 0);
    for load in [Load::Small, Load::Medium, Load::Large, Load::Mixed, Load::Turbulent] {
        let base = tempfile::tempdir().unwrap();
        let image = Image::make(base.path(), IMAGE_MIB).unwrap();
        let mut role = image.start(WRITER, MOUNTED, load, random.next()).unwrap();
        let mut ledger = Ledger::default();
        for number in 0..images_each {
            run_on(&mut role, &mut ledger, load, &mut random);
            role.signal("STOP");
            wait_stopped(role.child.id());
            // All that was told before the stop is here: what is in the copy must hold it.
            role.drain();
            ledger.note_all(&mut role);
            let kept = tempfile::tempdir().unwrap();
            let copy = image.copy(kept.path());
            let mut reader = copy.start(READER, MOUNTED, load, 0).unwrap();
            let found = Found::gather(&mut reader);
            drop(reader);
            match ledger.compare(&found) {
                Ok(compared) => entries += compared,
                Err(problem) => panic!(
                    "image {number} of {load:?}, after {} acknowledgements: {problem}",
                    ledger.acks
                ),
            }
            whole += 1;
            role.signal("CONT");
        }
        purges += u64::from(ledger.purged.is_some());
        cuts += ledger.cuts.len();
    }
    say(&format!(
        "{test}: {whole} of {whole} images whole, {entries} acknowledged entries in them"
    ));
    // Nothing was compared in vain.
    assert!(entries > whole && purges > 0 && cuts > 0, "{entries} entries, {purges}, {cuts}");
}

#[test]
fn a_full_disk_stops_the_writer_before_it_acknowledges() {
    let test = "a_full_disk_stops_the_writer_before_it_acknowledges";
    if !can_run(test) {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let image = Image::make(base.path(), SMALL_IMAGE_MIB).unwrap();
    let seed = seed_of(test);
    let mut role = image.start(WRITER, WITH_BALLAST, Load::Large, seed).unwrap();
    let mut ledger = Ledger::default();
    while let Some(line) = role.next_line().filter(|line| line != "stopped") {
        ledger.note(&line);
    }
    drop(role);
    let fatal = ledger.fatal.take().expect("a full disk is told");
    assert!(fatal.contains("No space left on device"), "{fatal}");
    assert!(ledger.acks > 0, "some of it had room");
    // Where there is room again, it goes on with all that was acknowledged.
    let mut reader = image.start(READER, BALLAST_RELEASED, Load::Large, 0).unwrap();
    ledger.compare(&Found::gather(&mut reader)).unwrap();
}
