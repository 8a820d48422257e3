//! What `service inspect` shows of a service, as a card. Not here: asking for it, printing.

use std::fmt::Write as _;

use super::replicas;
use crate::command::labels;
use crate::instant::format_duration;
use crate::table::Card;
use crate::view;

/// Processors and memory, as they were asked for; nothing if they were not.
fn reserved(nano_cpus: u64, memory_bytes: u64) -> String {
    let mut parts = Vec::new();
    if nano_cpus > 0 {
        let fraction = format!("{:09}", nano_cpus % 1_000_000_000);
        let number = format!("{}.{fraction}", nano_cpus / 1_000_000_000);
        parts.push(format!("{} processors", number.trim_end_matches('0').trim_end_matches('.')));
    }
    if memory_bytes > 0 {
        let mib = memory_bytes >> 20;
        let whole = mib << 20 == memory_bytes;
        parts.push(if whole { format!("{mib} MiB") } else { format!("{memory_bytes} bytes") });
    }
    parts.join(", ")
}

fn restarts(restart: &view::Restart) -> String {
    let mut text = format!("{}, after {}", restart.condition, format_duration(restart.delay_ms));
    if restart.attempts_max > 0 {
        write!(text, ", at most {} times", restart.attempts_max).ok();
        if restart.window_ms > 0 {
            write!(text, " in {}", format_duration(restart.window_ms)).ok();
        }
    }
    text
}

fn rolls(config: &view::UpdateConfig) -> String {
    let at_a_time = match config.parallelism {
        0 => "all at a time".to_owned(),
        number => format!("{number} at a time"),
    };
    let delay = format_duration(config.delay_ms);
    let monitor = format_duration(config.monitor_ms);
    let (order, action, ratio) = (config.order, config.failure_action, config.max_failure_ratio);
    let tolerated = if ratio > 0.0 { format!(" above {ratio}") } else { String::new() };
    format!(
        "{order}, {at_a_time}, {delay} between, watched for {monitor}, on failures{tolerated}: {action}"
    )
}

pub(super) fn of(service: view::Service) -> String {
    let mut card = Card::new(&service.name);
    card.line("tasks", replicas(&service));
    card.line("id", service.id);
    card.line("labels", labels(&service.labels));
    card.line("mode", service.mode);
    card.line("image", service.image);
    let command: Vec<String> = [service.command, service.args].concat();
    card.line("command", command.join(" "));
    card.line("user", service.user);
    card.line("working directory", service.dir);
    for variable in service.env {
        card.line("environment", variable);
    }
    let owner = |id: Option<u32>| id.map_or_else(|| "task's own".into(), |id| id.to_string());
    for secret in service.secrets {
        let change = match secret.pinned_version {
            Some(_) => "pinned".to_owned(),
            None => format!("on change: {}", secret.on_change),
        };
        card.line(
            "secret",
            format!(
                "{} as /run/secrets/{}, mode {}, uid {}, gid {}, version {}, {change}",
                secret.name,
                secret.target,
                secret.mode,
                owner(secret.uid),
                owner(secret.gid),
                secret.version,
            ),
        );
    }
    for config in service.configs {
        let (uid, gid): (String, String) = (owner(config.uid), owner(config.gid));
        let slash = if config.target.starts_with('/') { "" } else { "/" };
        let (name, target, mode) = (config.name, config.target, config.mode);
        card.line(
            "config",
            format!("{name} as {slash}{target}, mode {mode}, uid {uid}, gid {gid}"),
        );
    }
    card.line("constraints", service.constraints.join(", "));
    card.line("spread over", service.spread_over.join(", "));
    if service.replicas_per_node_max > 0 {
        card.line("most on one node", service.replicas_per_node_max.to_string());
    }
    card.line("reserved", reserved(service.reserved_nano_cpus, service.reserved_memory_bytes));
    if let Some(restart) = &service.restart {
        card.line("restart", restarts(restart));
    }
    for (name, config) in
        [("update", &service.update_config), ("rollback", &service.rollback_config)]
    {
        if let Some(config) = config {
            card.line(name, rolls(config));
        }
    }
    card.line("stop signal", service.stop_signal);
    card.line("stop grace period", service.stop_grace_ms.map(format_duration).unwrap_or_default());
    card.line("logs", service.logs);
    if let Some(update) = service.update {
        card.line("update status", format!("{}: {}", update.state, update.message));
        card.line("update started", update.started_at.unwrap_or_default());
        card.line("update completed", update.completed_at.unwrap_or_default());
    }
    card.line("created", service.created_at.unwrap_or_default());
    card.line("updated", service.updated_at.unwrap_or_default());
    card.line("revision", service.revision.to_string());
    card.render()
}
