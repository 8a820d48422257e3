//! From the declaration of a service to its task reading the secret.

use std::os::unix::fs::FileTypeExt as _;
use std::time::{Duration, Instant};

use link::rpc::control_client::ControlClient;
use proto::pb;
use tests::Lab;
use tokio::runtime::Runtime;

use crate::PROGRAMS;
use crate::client::{Operator, key};
use crate::figures::Latencies;

/// Services that are declared one after the other.
const ROUNDS: usize = 30;

pub(crate) fn table(runtime: &Runtime) {
    for managers in [1, 3] {
        runtime.block_on(measure(managers));
    }
}

async fn measure(managers: usize) {
    let mut lab = Lab::with_managers(PROGRAMS, managers);
    lab.agent("n1");
    let id = lab.ctl().ok_with(&["create", "key", "-"], b"value");
    let operator = Operator::enrol(&lab).await;
    let mut client = operator.connect(&lab.address()).await.client;
    // A shell opens the pipe for writing once it has read the secret; opening it for reading
    // returns at that instant.
    let pipe = lab.path().join("read");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success() && pipe.metadata().unwrap().file_type().is_fifo());
    let script = format!("read -r value </run/secrets/key; : >{}; exec sleep 1000", pipe.display());
    let mut latencies = Vec::new();
    for round in 0..ROUNDS {
        let name = format!("s{round}");
        let spec = spec(&name, &script, id.trim());
        let request = pb::CreateServiceRequest { request_key: key(), spec: Some(spec) };
        let began = Instant::now();
        client.create_service(request).await.unwrap();
        let pipe = pipe.clone();
        tokio::task::spawn_blocking(move || std::fs::File::open(pipe).unwrap()).await.unwrap();
        latencies.push(began.elapsed());
        remove(&mut client, &name).await;
    }
    let latencies = Latencies::of(latencies);
    println!(
        "{managers} manager(s), service declared to secret read by its task: p50 {:.1} ms, p90 \
         {:.1} ms, max {:.1} ms of {ROUNDS}",
        latencies.ms(50),
        latencies.ms(90),
        latencies.ms(100)
    );
}

async fn remove(client: &mut ControlClient<tonic::transport::Channel>, name: &str) {
    let request = pb::RemoveServiceRequest { request_key: key(), service: name.to_owned() };
    client.remove_service(request).await.unwrap();
    // Its task is gone before the next one starts, so that each has the node for itself.
    loop {
        let tasks = client.list_tasks(pb::ListTasksRequest::default()).await.unwrap().into_inner();
        if tasks.tasks.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn spec(name: &str, script: &str, secret: &str) -> pb::ServiceSpec {
    pb::ServiceSpec {
        name: name.to_owned(),
        mode: Some(pb::service_spec::Mode::Replicas(1)),
        task: Some(pb::TaskSpec {
            command: vec!["sh".into(), "-c".into(), script.to_owned()],
            secrets: vec![pb::SecretReference {
                secret_id: secret.to_owned(),
                secret_name: "key".into(),
                target: "key".into(),
                ..pb::SecretReference::default()
            }],
            ..pb::TaskSpec::default()
        }),
        ..pb::ServiceSpec::default()
    }
}
