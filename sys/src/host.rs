//! What the kernel says of the machine: boot id, hostname, release, swap, processors, memory.
//!
//! Small reads of /proc, bounded. Not here: caching; each call reads afresh.

use std::fs::File;
use std::io::{self, Read};

/// The kernel did not say what was asked.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A file of /proc could not be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: &'static str,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// A file of /proc does not say what it should.
    #[error("{path} holds no {what}")]
    Content {
        /// The file.
        path: &'static str,
        /// What was looked for.
        what: &'static str,
    },
}

/// Bytes read of any file of /proc: /proc/meminfo, the longest we read, has 1.6 KiB.
const PROC_BYTES_MAX: u64 = 64 << 10;

fn read(path: &'static str) -> Result<String, HostError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(PROC_BYTES_MAX).read_to_string(&mut text))
        .map_err(|source| HostError::Read { path, source })?;
    Ok(text)
}

/// The random id of this boot of the kernel (random(4)).
pub fn boot_id() -> Result<String, HostError> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    let id = read(PATH)?.trim().to_owned();
    if id.is_empty() { Err(HostError::Content { path: PATH, what: "boot id" }) } else { Ok(id) }
}

/// The hostname (uname(2)).
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The kernel's release, e.g. `6.12.9` (uname(2)).
pub fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Whether any swap is on: pages of a plain tmpfs may reach a disk then (proc_swaps(5)).
pub fn swap_is_on() -> Result<bool, HostError> {
    // The first line is a heading.
    Ok(read("/proc/swaps")?.lines().nth(1).is_some())
}

/// Bytes of memory that the kernel manages (proc_meminfo(5)).
pub fn memory_bytes() -> Result<u64, HostError> {
    const PATH: &str = "/proc/meminfo";
    let text = read(PATH)?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    total
        .and_then(|total| total.trim().strip_suffix("kB"))
        .and_then(|total| total.trim().parse::<u64>().ok())
        .map(|kib| kib.saturating_mul(1024))
        .ok_or(HostError::Content { path: PATH, what: "MemTotal" })
}

/// Bytes of one page of memory: what a file on a memory filesystem is rounded up to.
pub fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}

/// Processors this process may run on (sched_getaffinity(2), limits of its control group).
pub fn cpus() -> u64 {
    std::thread::available_parallelism().map_or(1, |count| count.get() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_can_be_described() {
        assert_eq!(boot_id().unwrap().len(), 36);
        assert_eq!(boot_id().unwrap(), boot_id().unwrap());
        assert!(!hostname().is_empty());
        assert!(kernel().contains('.'));
        assert!(memory_bytes().unwrap() > 1 << 20);
        assert!(cpus() > 0);
        assert!(page_bytes().is_power_of_two());
        swap_is_on().unwrap();
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read("/proc/no-such-file").unwrap_err();
        assert_eq!(error.to_string(), "cannot read /proc/no-such-file");
    }
}
