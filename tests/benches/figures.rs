//! Quantiles, the time a process spent on a processor, and what a manager says of itself.

use std::time::Duration;

/// Latencies of one run.
#[derive(Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    /// Their mean, in milliseconds.
    pub(crate) fn mean_ms(&self) -> f64 {
        self.0.iter().sum::<Duration>().as_secs_f64() * 1e3 / self.0.len() as f64
    }

    pub(crate) const fn count(&self) -> usize {
        self.0.len()
    }

    /// Milliseconds that so many of a hundred stay within.
    pub(crate) fn ms(&self, percent: usize) -> f64 {
        let at = (self.0.len().saturating_sub(1)) * percent / 100;
        self.0.get(at).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    }
}

/// Time on a processor of a process and its ended children, user and system.
pub(crate) fn cpu_of(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // Fields after the name, which may hold anything (proc_pid_stat(5)): utime is the 14th of all.
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    // USER_HZ is 100 on every architecture that Linux runs on today.
    Duration::from_millis(ticks * 10)
}

/// Memory of a process that is in use, in MiB.
pub(crate) fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Sums and counts from a manager's `/metrics`, by name and labels as they stand there.
pub(crate) async fn metrics(address: &str) -> std::collections::BTreeMap<String, f64> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    let samples = page.lines().filter(|line| line.starts_with("secretd_"));
    let samples = samples.filter_map(|line| line.rsplit_once(' '));
    samples.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}
