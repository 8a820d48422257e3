//! What the machine is: processors, memory, platform.
//!
//! Said once, when the agent joins; the cluster counts on it from then on. Not here: what of it is
//! used.
//!
//! Invariant: what cannot be found out is said to be nothing, so that nothing is placed on it.

use std::fs;

use proto::pb;

/// Where the kernel says how much memory there is (proc_meminfo(5)).
const MEMORY: &str = "/proc/meminfo";

/// This machine, as far as this process may use it.
pub(crate) fn of_this_process() -> pb::Machine {
    let cpus = std::thread::available_parallelism().map_or(0, |count| count.get() as u64);
    let memory = fs::read_to_string(MEMORY).ok().and_then(|text| total_bytes(&text));
    pb::Machine {
        nano_cpus: cpus.saturating_mul(1_000_000_000),
        memory_bytes: memory.unwrap_or(0),
        os: std::env::consts::OS.into(),
        architecture: std::env::consts::ARCH.into(),
    }
}

fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_is_read() {
        let text = "MemTotal:       16303428 kB\nMemFree:         1000 kB\n";
        assert_eq!(total_bytes(text), Some(16_303_428 * 1024));
        for odd in ["", "MemTotal: kB", "MemTotal: 5 MB", "MemFree: 5 kB", "MemTotal: -1 kB"] {
            assert_eq!(total_bytes(odd), None, "{odd}");
        }
    }

    #[test]
    fn this_machine_has_something() {
        let machine = of_this_process();
        assert!(machine.nano_cpus >= 1_000_000_000 && machine.memory_bytes > 0, "{machine:?}");
        assert_eq!(machine.os, "linux");
    }
}
