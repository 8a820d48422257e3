//! Telling the service manager how this process stands: `sd_notify(3)`'s protocol.
//!
//! A datagram to the socket named in `NOTIFY_SOCKET`; without one nobody wants to know.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The service manager could not be told.
#[derive(Debug, thiserror::Error)]
#[error("cannot tell the service manager at NOTIFY_SOCKET")]
pub struct NotifyError(#[source] io::Error);

/// How this process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Started, and at work.
    Ready,
    /// On its way out.
    Stopping,
}

/// Tells the service manager, if there is one. True if somebody was told.
pub fn notify(standing: Standing) -> Result<bool, NotifyError> {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(false) };
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&name),
    };
    let text: &[u8] = match standing {
        Standing::Ready => b"READY=1",
        Standing::Stopping => b"STOPPING=1",
    };
    let tell = || UnixDatagram::unbound()?.send_to_addr(text, &address?);
    tell().map(|_| true).map_err(NotifyError)
}
