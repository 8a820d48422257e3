//! A leader that dies, and a manager that starts again with many secrets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tests::Lab;
use tokio::runtime::Runtime;

use crate::PROGRAMS;
use crate::client::Operator;
use crate::figures::{Latencies, resident_mib};

/// Leaders that are killed.
const ROUNDS: usize = 20;

/// Secrets that a restarted manager holds.
const SECRETS: usize = 100_000;

/// Clients that create them.
const CLIENTS: usize = 256;

pub(crate) fn failover(runtime: &Runtime) {
    let mut lab = Lab::with_managers(PROGRAMS, 3);
    tests::until("all managers vote", || {
        lab.members().iter().all(|member| member["state"] == "voter").then_some(())
    });
    let operator = runtime.block_on(Operator::enrol(&lab));
    let mut latencies = Vec::new();
    for round in 0..ROUNDS {
        let leader = lab.leader();
        let survivor = (leader + 1) % 3;
        let members = lab.members();
        let name = format!("m{}", survivor + 1);
        let member = members.iter().find(|member| member["hostname"] == name.as_str()).unwrap();
        let address = member["address"].as_str().unwrap().to_owned();
        let connection = runtime.block_on(operator.connect(&address));
        lab.managers[leader].daemon.kill();
        let began = Instant::now();
        runtime.block_on(async {
            let mut connection = connection;
            let (request, _) = connection.seal(&format!("f{round}"));
            // The same request until it is answered, as a client does.
            while connection.client.create_secret(request.clone()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        latencies.push(began.elapsed());
        lab.managers[leader].daemon.start_again();
        lab.await_socket(leader);
        tests::until("all managers are in reach", || {
            lab.members().iter().all(|member| member["reachable"] == true).then_some(())
        });
    }
    let latencies = Latencies::of(latencies);
    println!(
        "leader killed to next acknowledged create: p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms of \
         {ROUNDS}",
        latencies.ms(50),
        latencies.ms(99),
        latencies.ms(100)
    );
}

pub(crate) fn table(runtime: &Runtime) {
    let mut lab = Lab::with_managers(PROGRAMS, 1);
    let operator = runtime.block_on(Operator::enrol(&lab));
    let address = lab.address();
    runtime.block_on(async {
        let number = Arc::new(AtomicUsize::new(0));
        let mut tasks = Vec::new();
        let mut connections = Vec::new();
        for _ in 0..16 {
            connections.push(operator.connect(&address).await);
        }
        for client in 0..CLIENTS {
            let mut connection = connections[client % connections.len()].clone();
            let number = number.clone();
            tasks.push(tokio::spawn(async move {
                loop {
                    let next = number.fetch_add(1, Ordering::Relaxed);
                    if next >= SECRETS {
                        return;
                    }
                    let (request, _) = connection.seal(&format!("r{next}"));
                    connection.client.create_secret(request).await.unwrap();
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
    let before = resident_mib(lab.managers[0].daemon.pid());
    lab.managers[0].daemon.stop();
    let began = Instant::now();
    lab.managers[0].daemon.start_again();
    lab.await_socket(0);
    tests::until("it serves", || {
        (lab.ctl().run(&["inspect", "r0", "--timeout", "60s"]).status == 0).then_some(())
    });
    println!(
        "{SECRETS} secrets: started to serving {:.2} s; memory {} MiB, {before} MiB before",
        began.elapsed().as_secs_f64(),
        resident_mib(lab.managers[0].daemon.pid())
    );
}
