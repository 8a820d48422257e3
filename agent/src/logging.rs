//! Events for operators on standard error, as text or as JSON; and the last one of a process that
//! must not go on.
//!
//! Not here: what is said. No event of this program carries a secret's name, a value or a key.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::LogFormat;

/// Sends events to standard error from now on. Where an embedding program does so already, its
/// way stays.
pub(crate) fn start(format: LogFormat, filter: &str) -> Result<(), ParseError> {
    let events = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(filter)?)
        .with_writer(std::io::stderr)
        .with_target(false);
    // Fails only if there is a way already.
    match format {
        LogFormat::Json => events.json().flatten_event(true).try_init().ok(),
        // The journal stamps lines itself; a person wants to see the time.
        LogFormat::Text
            if std::env::var_os("JOURNAL_STREAM").is_some() && !std::io::stderr().is_terminal() =>
        {
            events.without_time().try_init().ok()
        }
        LogFormat::Text => events.try_init().ok(),
    };
    Ok(())
}

/// A broken invariant ends the process at once, so that no part of it dies alone while the rest
/// goes on. Tasks go on in their own processes, and the next agent finds them.
pub(crate) fn abort_on_panic() {
    std::panic::set_hook(Box::new(|info| {
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        // The message of a broken invariant is a constant of the program, never data.
        let payload = info.payload();
        let message = payload.downcast_ref::<&str>().copied();
        let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        tracing::error!(location, message, "process_aborted");
        std::process::abort();
    }));
}
