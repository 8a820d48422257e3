//! Panics: a fault of ours ends the process; a fault of a fenced library becomes an error.
//!
//! The programs unwind (not `panic = "abort"`) for one reason: sled panics on some damage, and a
//! damaged disk must be told by a message with a runbook. Any other panic is a broken invariant:
//! the hook says where and aborts, so that no task dies alone while the rest serves on.

use std::cell::Cell;

thread_local! {
    static FENCED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `call`, whose panics somebody above catches: the hook stays silent and does not abort.
pub(crate) fn fence<T>(call: impl FnOnce() -> T) -> T {
    let outer = FENCED.replace(true);
    let value = call();
    FENCED.set(outer);
    value
}

/// Installs the hook. Once, first thing in a program.
pub(crate) fn install_hook() {
    std::panic::set_hook(Box::new(|info| {
        if FENCED.get() {
            tracing::debug!(location = info.location().map(ToString::to_string), "panic_fenced");
            return;
        }
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        // The message of a broken invariant is a constant of the program, never data.
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        let message = text.unwrap_or("a broken invariant");
        tracing::error!(location, message, "process_aborted");
        std::process::abort();
    }));
}
