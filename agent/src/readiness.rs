//! Telling the service manager how far this program is (sd_notify(3)): one datagram.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The agent has its identity and its tasks, and looks for a manager.
pub(crate) const READY: &str = "READY=1";

/// The agent goes.
pub(crate) const STOPPING: &str = "STOPPING=1";

/// Says it to whoever started this program, if they want to know. That nobody listens is no error.
pub(crate) fn tell(state: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name),
        None => SocketAddr::from_pathname(&name),
    };
    let told = address.and_then(|address| {
        UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)
    });
    if let Err(error) = told {
        tracing::warn!(%error, "service_manager_not_told");
    }
}
