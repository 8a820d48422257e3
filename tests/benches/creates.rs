//! Durable creates: the bare disk, one manager, three managers, etcd.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tests::Lab;
use tokio::runtime::Runtime;

use crate::PROGRAMS;
use crate::client::{Connection, Operator};
use crate::etcd::{self, Etcd};
use crate::figures::{Latencies, cpu_of, metrics};

/// Clients at a time.
const CLIENTS: [usize; 4] = [1, 16, 64, 256];

/// How long each figure is measured.
const FOR: Duration = Duration::from_secs(5);

/// Connections that clients share when there are many.
const CONNECTIONS: usize = 16;

/// What a value of 32 bytes is when it is sealed.
const SEALED_BYTES: usize = 244;

pub(crate) fn table(runtime: &Runtime) {
    bare_disk();
    heading();
    for managers in [1, 3] {
        runtime.block_on(secretd(managers));
    }
    runtime.block_on(etcd());
}

/// Appends of as many bytes as a sealed secret has, each made durable before the next.
fn bare_disk() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let mut file = File::create(folder.path().join("raw")).unwrap();
    let (began, mut latencies) = (Instant::now(), Vec::new());
    while began.elapsed() < FOR / 2 {
        let at = Instant::now();
        file.write_all(&[7; SEALED_BYTES]).unwrap();
        file.sync_data().unwrap();
        latencies.push(at.elapsed());
    }
    let latencies = Latencies::of(latencies);
    println!(
        "bare disk, append and fdatasync one after the other: {:.0}/s, p50 {:.3} ms, p99 {:.3} ms",
        latencies.count() as f64 / began.elapsed().as_secs_f64(),
        latencies.ms(50),
        latencies.ms(99)
    );
}

fn heading() {
    println!(
        "{:<10} {:>7} {:>9} {:>8} {:>8} {:>8} {:>8}  {:>26}",
        "", "clients", "creates/s", "p50 ms", "p90 ms", "p99 ms", "max ms", "cpu µs a create"
    );
}

fn row(name: &str, clients: usize, took: Duration, latencies: &Latencies, cpu: &str) {
    println!(
        "{name:<10} {clients:>7} {:>9.0} {:>8.2} {:>8.2} {:>8.2} {:>8.2}  {cpu:>26}",
        latencies.count() as f64 / took.as_secs_f64(),
        latencies.ms(50),
        latencies.ms(90),
        latencies.ms(99),
        latencies.ms(100),
    );
}

async fn secretd(managers: usize) {
    let mut lab = Lab::new(PROGRAMS);
    let ports: Vec<String> = (0..managers).map(|_| format!("127.0.0.1:{}", port())).collect();
    for (number, port) in ports.iter().enumerate() {
        let index = lab.start_manager(&["--http", port]);
        let name = format!("m{}", number + 1);
        if number == 0 {
            lab.ctl_of(index).ok(&["cluster", "init", "--hostname", &name]);
        } else {
            let (token, address) = (lab.token("manager"), lab.address());
            let join = ["cluster", "join", "--token", &token, "--hostname", &name, &address];
            lab.ctl_of(index).ok(&join);
        }
    }
    tests::until("all managers vote", || {
        lab.members().iter().all(|member| member["state"] == "voter").then_some(())
    });
    let operator = Operator::enrol(&lab).await;
    let leader = lab.leader();
    let address = lab.members()[leader]["address"].as_str().unwrap().to_owned();
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(operator.connect(&address).await);
    }
    let pids: Vec<u32> = lab.managers.iter().map(|manager| manager.daemon.pid()).collect();
    let follower = (leader + 1) % managers;
    for clients in CLIENTS {
        let before = metrics(&ports[leader]).await;
        let cpu = |pid| cpu_of(pid);
        let cpu_before = [cpu(std::process::id()), cpu(pids[leader]), cpu(pids[follower])];
        let began = Instant::now();
        let (latencies, sealing) = drive(clients, &connections).await;
        let took = began.elapsed();
        let cpu_after = [cpu(std::process::id()), cpu(pids[leader]), cpu(pids[follower])];
        let each = |index: usize| {
            let spent = cpu_after[index].saturating_sub(cpu_before[index]);
            spent.as_micros() as f64 / latencies.count() as f64
        };
        let follows = if managers == 1 { String::new() } else { format!(" f {:.0}", each(2)) };
        let cpu = format!("client {:.0} leader {:.0}{follows}", each(0), each(1));
        row(&format!("secretd {managers}"), clients, took, &latencies, &cpu);
        let after = metrics(&ports[leader]).await;
        split(&before, &after, &latencies, sealing);
    }
}

type Metrics = std::collections::BTreeMap<String, f64>;

/// Where the time goes: means of what the client and the leader's own counters say. Replication
/// is what is left of a proposal: the followers' disks, the ways there and back, and whoever of its
/// group is applied before.
fn split(before: &Metrics, after: &Metrics, latencies: &Latencies, sealing: Duration) {
    let grown = |name: &str| {
        let at = |metrics: &Metrics| metrics.get(name).copied().unwrap_or_default();
        at(after) - at(before)
    };
    let seal = sealing.as_secs_f64() * 1e3 / latencies.count() as f64;
    let of_call = |what: &str| grown(&format!("{what}{{call=\"create_secret\",outcome=\"ok\"}}"));
    let call = of_call("secretd_calls_seconds_total") / of_call("secretd_calls_total") * 1e3;
    let part = |part: &str| {
        let of = |what: &str| grown(&format!("secretd_create_parts{what}{{part=\"{part}\"}}"));
        of("_seconds_total") / of("_total") * 1e3
    };
    let groups = grown("secretd_log_groups_total");
    let each = |what: &str| grown(&format!("secretd_log_{what}_microseconds_total")) / groups / 1e3;
    let (propose, append, flush) = (part("propose"), each("put"), each("sync"));
    let raft = |what: &str| grown(&format!("secretd_raft_{what}_total"));
    let queue = raft("queue_nanoseconds") / raft("proposals") / 1e6;
    let apply = raft("apply_nanoseconds") / raft("applied") / 1e6;
    println!(
        "             mean ms: seal {seal:.3}, wire {:.3}, unwrap {:.3}, queue {queue:.3}, append \
         {append:.3}, flush {flush:.3}, replicate {:.3}, apply {apply:.3}; a flush serves {:.1} \
         entries",
        latencies.mean_ms() - call - seal,
        part("unwrap"),
        propose - queue - append - flush - apply,
        grown("secretd_log_entries_total") / groups,
    );
}

/// So many clients, each creating one secret after the other.
async fn drive(clients: usize, connections: &[Connection]) -> (Latencies, Duration) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let began = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let mut connection = connections[client % connections.len()].clone();
            tokio::spawn(async move {
                let (mut latencies, mut sealing) = (Vec::new(), Duration::ZERO);
                while began.elapsed() < FOR {
                    let name = format!("b{}", NUMBER.fetch_add(1, Ordering::Relaxed));
                    let at = Instant::now();
                    let (request, took) = connection.seal(&name);
                    connection.client.create_secret(request).await.unwrap();
                    latencies.push(at.elapsed());
                    sealing += took;
                }
                (latencies, sealing)
            })
        })
        .collect();
    let (mut all, mut sealing) = (Vec::new(), Duration::ZERO);
    for task in tasks {
        let (latencies, took) = task.await.unwrap();
        all.extend(latencies);
        sealing += took;
    }
    (Latencies::of(all), sealing)
}

async fn etcd() {
    let Some(etcd) = Etcd::start(3).await else {
        println!("etcd is not installed: nothing to compare with");
        return;
    };
    let mut connections: Vec<etcd::Client> = Vec::new();
    let leader = etcd.leader().await.unwrap();
    for _ in 0..CONNECTIONS {
        connections.push(etcd.connect(leader).await.unwrap());
    }
    let number = Arc::new(AtomicUsize::new(0));
    for clients in CLIENTS {
        let began = Instant::now();
        let tasks: Vec<_> = (0..clients)
            .map(|client| {
                let mut connection = connections[client % connections.len()].clone();
                let number = number.clone();
                tokio::spawn(async move {
                    let mut latencies = Vec::new();
                    while began.elapsed() < FOR {
                        let key = format!("b{}", number.fetch_add(1, Ordering::Relaxed));
                        let at = Instant::now();
                        assert!(connection.put(key.as_bytes(), &[7; SEALED_BYTES]).await);
                        latencies.push(at.elapsed());
                    }
                    latencies
                })
            })
            .collect();
        let mut all = Vec::new();
        for task in tasks {
            all.extend(task.await.unwrap());
        }
        row("etcd 3", clients, began.elapsed(), &Latencies::of(all), "");
    }
}

fn port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
