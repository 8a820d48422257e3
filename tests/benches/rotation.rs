//! Rotating the root key over many secrets, and creates that go on meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use proto::pb;
use tests::Lab;
use tokio::runtime::Runtime;

use crate::PROGRAMS;
use crate::client::{Connection, Operator, key};
use crate::figures::Latencies;

/// Secrets that are wrapped anew.
const SECRETS: usize = 100_000;

/// Clients that create secrets: to fill the cluster, and to measure.
const CLIENTS: usize = 64;

/// Connections that they share.
const CONNECTIONS: usize = 16;

/// How long creates are measured before the rotation.
const BEFORE: Duration = Duration::from_secs(5);

/// Between two looks at how far the rotation is.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Clients that create until they are told to stop.
struct Load {
    number: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<Vec<Duration>>>,
}

impl Load {
    /// With names from `first` on; up to `last`, if there is one.
    fn start(connections: &[Connection], first: usize, last: usize) -> Self {
        let (number, stop) = (Arc::new(AtomicUsize::new(first)), Arc::new(AtomicBool::new(false)));
        let tasks = (0..CLIENTS).map(|client| {
            let mut connection = connections[client % connections.len()].clone();
            let (number, stop) = (number.clone(), stop.clone());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let next = number.fetch_add(1, Ordering::Relaxed);
                    if next >= last {
                        break;
                    }
                    let (request, _) = connection.seal(&format!("r{next}"));
                    let at = Instant::now();
                    connection.client.create_secret(request).await.unwrap();
                    latencies.push(at.elapsed());
                }
                latencies
            })
        });
        let tasks = tasks.collect();
        Self { number, stop, tasks }
    }

    /// Waits for the last one of each.
    async fn end(self) -> (Latencies, usize) {
        let mut all = Vec::new();
        for task in self.tasks {
            all.extend(task.await.unwrap());
        }
        (Latencies::of(all), self.number.load(Ordering::Relaxed))
    }

    async fn stop(self) -> (Latencies, usize) {
        self.stop.store(true, Ordering::Relaxed);
        self.end().await
    }
}

fn row(what: &str, took: Duration, latencies: &Latencies) -> f64 {
    let rate = latencies.count() as f64 / took.as_secs_f64();
    println!(
        "{what:<28} {rate:>7.0} creates/s, p50 {:.1} ms, p99 {:.1} ms",
        latencies.ms(50),
        latencies.ms(99)
    );
    rate
}

pub(crate) fn table(runtime: &Runtime) {
    for managers in [1, 3] {
        println!("{managers} manager(s), {CLIENTS} clients, {SECRETS} secrets");
        let lab = Lab::with_managers(PROGRAMS, managers);
        tests::until("all managers vote", || {
            lab.members().iter().all(|member| member["state"] == "voter").then_some(())
        });
        runtime.block_on(rotate(&lab));
    }
}

async fn rotate(lab: &Lab) {
    let operator = Operator::enrol(lab).await;
    let address = lab.members()[lab.leader()]["address"].as_str().unwrap().to_owned();
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(operator.connect(&address).await);
    }
    let (_, next) = Load::start(&connections, 0, SECRETS).end().await;

    let (began, load) = (Instant::now(), Load::start(&connections, next, usize::MAX));
    tokio::time::sleep(BEFORE).await;
    let (latencies, next) = load.stop().await;
    let before = row("before", began.elapsed(), &latencies);

    let mut client = operator.connect(&address).await.client;
    let (began, load) = (Instant::now(), Load::start(&connections, next, usize::MAX));
    client.rotate_root_key(pb::RotateRootKeyRequest { request_key: key() }).await.unwrap();
    let mut wrapped = None;
    loop {
        let status = client.get_cluster_status(pb::GetClusterStatusRequest {}).await.unwrap();
        let rotation = status.into_inner().root_rotation.unwrap();
        let is_left = matches!(rotation.phase(), pb::RootPhase::Announced | pb::RootPhase::Active);
        if !is_left {
            wrapped.get_or_insert_with(|| began.elapsed());
        }
        if rotation.phase() == pb::RootPhase::Complete {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let took = began.elapsed();
    let (latencies, _) = load.stop().await;
    let meanwhile = row("during the rotation", began.elapsed(), &latencies);
    println!(
        "all wrapped anew after {:.1} s, complete after {:.1} s; creates went on at {:.0} % of \
         their rate",
        wrapped.unwrap_or(took).as_secs_f64(),
        took.as_secs_f64(),
        meanwhile / before * 100.0
    );
}
