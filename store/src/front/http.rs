//! HTTP for machines that watch: `/metrics`, `/livez`, `/readyz`.
//!
//! On a local port without authentication: counts and sizes, no names. Metrics are in the text
//! format of Prometheus (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::fmt::{self, Write as _};
use std::io;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Serving, Stage};
use crate::service::Service;

/// Serves the port until `stop`.
pub(crate) async fn serve(
    stage: Stage,
    listener: TcpListener,
    stop: CancellationToken,
) -> io::Result<()> {
    let routes = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(stage);
    axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// Ready: unlocked, and in touch with a leader that a majority confirms.
async fn ready(State(stage): State<Stage>) -> (StatusCode, String) {
    let ready = match stage.serving() {
        Ok(serving) => serving.service.barrier().await,
        Err(failure) => Err(failure),
    };
    match ready {
        Ok(()) => (StatusCode::OK, "ok\n".into()),
        Err(failure) => (StatusCode::SERVICE_UNAVAILABLE, format!("{failure}\n")),
    }
}

async fn metrics(State(stage): State<Stage>) -> impl IntoResponse {
    let mut page = Page::default();
    let phase = stage.phase().as_str();
    page.one(
        "secretd_phase",
        "gauge",
        "1 for the phase this manager is in.",
        &[(format!("phase=\"{phase}\""), 1)],
    );
    if let Ok(serving) = stage.serving() {
        write_serving(&mut page, &serving);
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page.0)
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn one<V: fmt::Display>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: &[(String, V)],
    ) {
        // Writing to a string cannot fail.
        let _written = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let _written = match labels.as_str() {
                "" => writeln!(self.0, "{name} {value}"),
                labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
            };
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.one(name, "gauge", help, &[(String::new(), value)]);
    }
}

fn write_serving(page: &mut Page, serving: &Serving) {
    let service = &serving.service;
    let raft = &service.raft;
    let leadership = *raft.leadership().borrow();
    page.gauge("secretd_raft_term", "Raft's term.", leadership.term);
    let leading = u64::from(raft.is_leading());
    page.gauge("secretd_raft_leading", "1 if this manager leads with a majority.", leading);
    let leader = leadership.leader.map_or(0, |id| id.0);
    page.gauge("secretd_raft_leader", "The member that leads; 0 if none is known.", leader);
    page.gauge("secretd_raft_applied_index", "The last entry applied.", raft.applied_index());
    let (term, index) = raft.last_entry();
    page.gauge("secretd_raft_last_term", "Term of the last entry in the log.", term);
    page.gauge("secretd_raft_last_index", "The last entry in the log.", index);
    for (figure, value) in raft.log_figures() {
        let help = format!("Since this manager started: {figure} of the log's writer.");
        let samples = [(String::new(), value)];
        page.one(&format!("secretd_log_{figure}_total"), "counter", &help, &samples);
    }
    for (figure, value) in raft.figures() {
        let help = format!("Since this manager started: {figure} of what was proposed here.");
        let samples = [(String::new(), value)];
        page.one(&format!("secretd_raft_{figure}_total"), "counter", &help, &samples);
    }
    let flush = raft.sync_p99_micros();
    page.gauge("secretd_log_sync_p99_microseconds", "Of the last syncs of the log.", flush);
    let free = service.disk_free_bytes();
    page.gauge("secretd_disk_free_bytes", "Room on the disk of the data folder.", free);
    let full = u64::from(service.is_full());
    page.gauge("secretd_disk_full", "1 while growing changes are refused.", full);
    let sessions = serving.dispatcher.session_count() as u64;
    page.gauge("secretd_sessions", "Agents' sessions held by this manager.", sessions);
    let connections = service.connections.count() as u64;
    page.gauge("secretd_connections", "Connections to this manager's port.", connections);
    write_keys(page, service);
    {
        let state = raft.machine.state();
        for (what, count) in [
            ("secrets", state.secrets().len()),
            ("services", state.services().len()),
            ("tasks", state.tasks().len()),
            ("nodes", state.nodes().len()),
        ] {
            let help = format!("How many {what} there are.");
            page.gauge(&format!("secretd_{what}"), &help, count as u64);
        }
        let alarms = state.boot().alarms().len() as u64;
        let help = "Alarms about copies of managers' disks that nobody cleared.";
        page.gauge("secretd_release_alarms", help, alarms);
        let bytes = state.payload_bytes();
        page.gauge("secretd_payload_bytes", "Bytes of sealed payloads held.", bytes);
        let quota = state.cluster().map_or(0, |cluster| cluster.payload_quota_bytes);
        page.gauge("secretd_payload_quota_bytes", "Bytes of sealed payloads allowed.", quota);
    }
    let calls = service.figures.all();
    let labels = |(call, outcome): &(&str, &str)| format!("call=\"{call}\",outcome=\"{outcome}\"");
    let counts: Vec<_> = calls.iter().map(|(key, calls)| (labels(key), calls.count)).collect();
    page.one("secretd_calls_total", "counter", "Calls, by how they ended.", &counts);
    let seconds: Vec<_> =
        calls.iter().map(|(key, calls)| (labels(key), calls.total.as_secs_f64())).collect();
    page.one("secretd_calls_seconds_total", "counter", "Time spent on calls.", &seconds);
    let parts = service.figures.parts();
    let label = |part: &str| format!("part=\"{part}\"");
    let counts: Vec<_> = parts.iter().map(|(part, done)| (label(part), done.count)).collect();
    page.one("secretd_create_parts_total", "counter", "Parts of creates.", &counts);
    let seconds: Vec<_> =
        parts.iter().map(|(part, done)| (label(part), done.total.as_secs_f64())).collect();
    page.one("secretd_create_parts_seconds_total", "counter", "Time spent on them.", &seconds);
}

/// What there is of keys, and how they are locked.
fn write_keys(page: &mut Page, service: &Service) {
    let live = seal::live_secrets();
    let help = "Data keys in memory at this moment: each for the time of one wrap.";
    page.gauge("secretd_live_data_keys", help, live.data_keys as u64);
    let help = "Values in clear in memory at this moment: a manager never has any.";
    page.gauge("secretd_live_values", help, live.values as u64);
    if let Some(free) = crate::memory::free_slots() {
        let help = "Keys that still fit into protected memory; more live in ordinary memory.";
        page.gauge("secretd_key_memory_free", help, free as u64);
    }
    let (autolock, behind) = service.locking_figures();
    let help = "1 if this manager cannot open its key file by itself after a restart.";
    page.gauge("secretd_autolock", help, u64::from(autolock));
    let help = "Changes of the locking that this manager's key file has not followed.";
    page.gauge("secretd_key_file_behind", help, behind);
    let slot = format!("slot=\"{}\"", service.local.unlocked_by);
    let help = "1 for the slot that opened this manager's key file.";
    page.one("secretd_unlocked_by", "gauge", help, &[(slot, 1)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_in_the_text_format() {
        let mut page = Page::default();
        page.gauge("a", "Help.", 3);
        page.one("b", "counter", "More.", &[("x=\"y\"".into(), 1.5)]);
        let expected = "# HELP a Help.\n# TYPE a gauge\na 3\n\
                        # HELP b More.\n# TYPE b counter\nb{x=\"y\"} 1.5\n";
        assert_eq!(page.0, expected);
    }
}
