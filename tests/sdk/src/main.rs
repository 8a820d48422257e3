//! What a program does that has Docker's SDK, at the socket named in its first argument and with the
//! image in its second: a secret, a service that reads it, its output, a change, and their end.
//!
//! Prints a line for each step. Whatever is not as the SDK has it ends it with an error.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use bollard::models::{
    SecretSpec, ServiceSpec, ServiceSpecMode, ServiceSpecModeReplicated, TaskSpec,
    TaskSpecContainerSpec, TaskSpecContainerSpecFile, TaskSpecContainerSpecSecrets,
};
use bollard::query_parameters::{
    EventsOptionsBuilder, ListSecretsOptionsBuilder, ListServicesOptionsBuilder,
    ListTasksOptionsBuilder, LogsOptionsBuilder, UpdateServiceOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::StreamExt as _;

type Done<T> = Result<T, Box<dyn Error>>;

/// Seconds for an answer.
const WITHIN: u64 = 60;

/// A line of the task's output: that it has read the value, and how long that is.
const SCRIPT: &str = "value=$(cat /run/secrets/db.txt); echo \"read ${#value} characters\"; \
                      exec sleep 1000";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Done<()> {
    let mut arguments = std::env::args().skip(1);
    let socket = arguments.next().ok_or("which socket?")?;
    let image = arguments.next().ok_or("which image?")?;
    let docker = Docker::connect_with_unix(&socket, WITHIN, API_DEFAULT_VERSION)?;
    let docker = docker.negotiate_version().await?;
    println!("version {}", docker.client_version());
    let began = docker.version().await?;
    println!("server {}", began.platform.ok_or("no platform")?.name);

    let labels = HashMap::from([("tier".to_owned(), "data".to_owned())]);
    let secret = SecretSpec {
        name: Some("sdk_db".into()),
        labels: Some(labels),
        // "open sesame"
        data: Some("b3BlbiBzZXNhbWU=".into()),
        ..SecretSpec::default()
    };
    let secret = docker.create_secret(secret).await?.id;
    let filters = HashMap::from([("label", vec!["tier=data"])]);
    let found = ListSecretsOptionsBuilder::new().filters(&filters).build();
    for secret in docker.list_secrets(Some(found)).await? {
        let spec = secret.spec.ok_or("no spec")?;
        println!("secret {} data {:?}", spec.name.ok_or("no name")?, spec.data);
    }

    let spec = declared(&image, &secret);
    let created = docker.create_service(spec, None).await?;
    println!("service warnings {:?}", created.warnings.unwrap_or_default().len());
    until_running(&docker, 1).await?;
    let wanted = LogsOptionsBuilder::new().follow(true).stdout(true).stderr(true).build();
    {
        let mut output = Box::pin(docker.service_logs("sdk_web", Some(wanted)));
        let line = output.next().await.ok_or("no output")??;
        print!("output {line}");
    }

    let before = docker.inspect_service("sdk_web", None).await?;
    let version = before.version.and_then(|version| version.index).ok_or("no version")?;
    let mut spec = before.spec.ok_or("no spec")?;
    spec.mode = Some(replicated(2));
    let options = UpdateServiceOptionsBuilder::new().version(version.try_into()?).build();
    docker.update_service("sdk_web", spec, options, None).await?;
    until_running(&docker, 2).await?;
    let status = ListServicesOptionsBuilder::new().status(true).build();
    for service in docker.list_services(Some(status)).await? {
        let status = service.service_status.ok_or("no status")?;
        println!("replicas {:?} of {:?}", status.running_tasks, status.desired_tasks);
    }
    // They come in the order of their ids, which are random.
    let nodes = docker.list_nodes(None).await?.into_iter();
    let mut hostnames: Vec<_> = nodes.filter_map(|node| node.description?.hostname).collect();
    hostnames.sort();
    for hostname in hostnames {
        println!("node {hostname}");
    }

    let refused =
        docker.delete_secret(&secret).await.err().ok_or("removed from under a service")?;
    println!("refused {refused}");
    docker.delete_service("sdk_web").await?;
    docker.delete_secret("sdk_db").await?;
    events(&docker).await
}

/// What happened to the secret, as it is told afterwards.
async fn events(docker: &Docker) -> Done<()> {
    let filters = HashMap::from([("type", vec!["secret"])]);
    let wanted = EventsOptionsBuilder::new().since("1").filters(&filters).build();
    let mut events = Box::pin(docker.events(Some(wanted)));
    for _ in 0..2 {
        let event = events.next().await.ok_or("no more events")??;
        let actor = event.actor.ok_or("nobody")?;
        let name = actor.attributes.unwrap_or_default().remove("name");
        println!("event {} {}", event.action.ok_or("no action")?, name.unwrap_or_default());
    }
    Ok(())
}

fn replicated(count: i64) -> ServiceSpecMode {
    let replicated = ServiceSpecModeReplicated { replicas: Some(count) };
    ServiceSpecMode { replicated: Some(replicated), ..ServiceSpecMode::default() }
}

fn declared(image: &str, secret: &str) -> ServiceSpec {
    let file = TaskSpecContainerSpecFile {
        name: Some("db.txt".into()),
        uid: Some("0".into()),
        gid: Some("0".into()),
        mode: Some(0o400),
    };
    let secret = TaskSpecContainerSpecSecrets {
        file: Some(file),
        secret_id: Some(secret.into()),
        secret_name: Some("sdk_db".into()),
    };
    let container = TaskSpecContainerSpec {
        image: Some(image.into()),
        command: Some(["sh", "-c", SCRIPT].map(str::to_owned).into()),
        secrets: Some(vec![secret]),
        ..TaskSpecContainerSpec::default()
    };
    ServiceSpec {
        name: Some("sdk_web".into()),
        mode: Some(replicated(1)),
        task_template: Some(TaskSpec { container_spec: Some(container), ..TaskSpec::default() }),
        ..ServiceSpec::default()
    }
}

/// Waits until so many tasks of the service run. The test that started this ends it if they never do.
async fn until_running(docker: &Docker, count: usize) -> Done<()> {
    let filters = HashMap::from([("service", vec!["sdk_web"]), ("desired-state", vec!["running"])]);
    loop {
        let wanted = ListTasksOptionsBuilder::new().filters(&filters).build();
        let tasks = docker.list_tasks(Some(wanted)).await?;
        let states = tasks.into_iter().filter_map(|task| task.status?.state);
        if states.filter(|state| state.to_string() == "running").count() == count {
            println!("running {count}");
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
