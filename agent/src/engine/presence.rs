//! Whether this node's container engine is there, and what it has of ours.
//!
//! One question, asked again and again, answers both. The cluster is told when the engine comes and
//! when it goes; containers of this agent whose tasks are over are removed: left by a machine that
//! crashed, or by an engine that was away when they ended. Not here: which those are
//! ([`crate::worker`]).
//!
//! Invariant: nothing of an engine is touched that has not this node's label.

use std::time::Duration;

use proto::id::TaskId;
use proto::pb;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::{Engine, EngineError, NOTHING, encoded};
use crate::runtime::docker::{NODE_LABEL, Place, TASK_LABEL};
use crate::supervisor::status::explained;
use crate::worker::Handle;

/// The runtime's name in reports.
const RUNTIME: &str = "docker";

/// Between two questions to an engine that is there.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long an engine may take for the first answer, which an agent awaits before it opens a session. A
/// node is down after 15 seconds without one; an engine that is slow is found by the next question.
const FIRST_WITHIN: Duration = Duration::from_secs(1);

/// Before the second question to one that is not, and at most: it is twice as long each time.
const FIRST_AFTER: Duration = Duration::from_millis(500);
const AFTER_MAX: Duration = Duration::from_secs(30);

/// A container of this agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Of which task.
    pub(crate) task_id: TaskId,
    /// The engine's name of it.
    pub(crate) id: String,
}

/// What an engine has of this node's agent.
async fn look(place: &Place) -> Result<Vec<Found>, EngineError> {
    let filters = json!({ "label": [format!("{NODE_LABEL}={}", place.node_id)] });
    let path = format!("/containers/json?all=true&filters={}", encoded(&filters.to_string()));
    let listed = Engine::at(&place.socket).call("GET", &path, NOTHING).await?;
    let containers = listed.as_array().ok_or(EngineError::Malformed("no list of containers"))?;
    let found = containers.iter().filter_map(|container| {
        let labels = container.get("Labels")?;
        // The engine was asked for these alone; that it understood is not taken for granted.
        if labels.get(NODE_LABEL)?.as_str()? != place.node_id.as_str() {
            return None;
        }
        let task_id = labels.get(TASK_LABEL)?.as_str()?.parse().ok()?;
        Some(Found { task_id, id: container.get("Id").and_then(Value::as_str)?.to_owned() })
    });
    Ok(found.collect())
}

/// Removes containers, running or not.
pub(crate) async fn remove(place: Place, leftovers: Vec<Found>) {
    for Found { task_id, id } in leftovers {
        let path = format!("/containers/{}?force=true&v=true", encoded(&id));
        match Engine::at(&place.socket).call("DELETE", &path, NOTHING).await {
            Ok(_) => tracing::info!(task.id = %task_id, container.id = id, "container_removed"),
            Err(error) if error.is_not_found() || error.is_conflict() => {}
            // It is found again.
            Err(error) => {
                let error = explained(&error);
                tracing::warn!(task.id = %task_id, container.id = id, error, "container_stays");
            }
        }
    }
}

/// Looks once, so that the first report is right, if the engine answers soon.
pub(crate) async fn is_there(place: &Place) -> bool {
    timeout(FIRST_WITHIN, look(place)).await.is_ok_and(|looked| looked.is_ok())
}

/// Says in a report whether there is an engine; whether that is news.
pub(crate) fn note(report: &mut pb::Report, is_there: bool) -> bool {
    let was_there = report.runtimes.iter().any(|name| name == RUNTIME);
    if is_there && !was_there {
        report.runtimes.push(RUNTIME.to_owned());
    } else {
        report.runtimes.retain(|name| is_there || name != RUNTIME);
    }
    is_there != was_there
}

/// Looks for ever.
pub(crate) async fn watch(place: Place, worker: Handle, report: watch::Sender<pb::Report>) {
    let mut after = FIRST_AFTER;
    loop {
        let looked = look(&place).await;
        let has_changed = report.send_if_modified(|report| note(report, looked.is_ok()));
        match looked {
            Ok(found) => {
                if has_changed {
                    tracing::info!(socket = %place.socket.display(), "container_engine_found");
                }
                worker.containers_found(found).await;
                after = FIRST_AFTER;
                sleep(LOOK_EVERY).await;
            }
            Err(error) => {
                if has_changed {
                    let error = explained(&error);
                    tracing::warn!(error, "container_engine_gone");
                }
                sleep(after).await;
                after = (after * 2).min(AFTER_MAX);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::id::NodeId;

    use super::super::CALL_WITHIN;
    use super::*;

    #[test]
    fn a_report_says_whether_there_is_an_engine() {
        let mut report = pb::Report { runtimes: vec!["process".into()], ..Default::default() };
        assert!(!note(&mut report, false));
        assert!(note(&mut report, true) && !note(&mut report, true));
        assert_eq!(report.runtimes, ["process", "docker"]);
        assert!(note(&mut report, false));
        assert_eq!(report.runtimes, ["process"]);
    }

    #[tokio::test]
    async fn an_engine_that_hangs_does_not_hold_up_the_first_report() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s.sock");
        let _silent = tokio::net::UnixListener::bind(&socket).unwrap();
        let place = Place { socket, node_id: NodeId::from_entropy([1; 17]) };
        // Long before a question is given up.
        assert_eq!(timeout(CALL_WITHIN / 4, is_there(&place)).await, Ok(false));
    }
}
