//! Everything that goes over the loopback (packet(7)).
//!
//! A value that is cut by the end of a packet is not found whole, but its pieces are.

use std::fs::File;
use std::io::Read as _;
use std::net::UdpSocket;
use std::thread::JoinHandle;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket, sockopt::RcvBufForce,
};
use tests::until;

/// Room for what comes while the thread is not scheduled; what finds none is lost without a word.
const BUFFER_BYTES: usize = 64 << 20;

/// No packet of the loopback is larger.
const PACKET_BYTES_MAX: usize = 1 << 17;

/// The last thing that is captured.
const LAST: &[u8] = b"the laboratory has nothing more to send";

/// A capture that goes on, until it comes upon the last thing that is sent.
pub(crate) struct Wire(JoinHandle<Vec<u8>>);

impl Wire {
    /// Captures from now on, up to [`Self::end`].
    pub(crate) fn listen() -> Self {
        let (kind, flags) = (SockType::Raw, SockFlag::SOCK_CLOEXEC);
        let socket = socket(AddressFamily::Packet, kind, flags, SockProtocol::EthAll).unwrap();
        // Beyond the limit for users (socket(7)).
        setsockopt(&socket, RcvBufForce, &BUFFER_BYTES).unwrap();
        let mut socket = File::from(socket);
        Self(std::thread::spawn(move || {
            let (mut all, mut packet) = (Vec::new(), vec![0; PACKET_BYTES_MAX]);
            loop {
                let read = socket.read(&mut packet).unwrap();
                if memchr::memmem::find(&packet[..read], LAST).is_some() {
                    return all;
                }
                all.extend_from_slice(&packet[..read]);
            }
        }))
    }

    /// Everything that was captured.
    pub(crate) fn end(self) -> Vec<u8> {
        // Again until it was noticed: a packet may be lost.
        until("the capture ends", || {
            send(LAST);
            self.0.is_finished().then_some(())
        });
        self.0.join().unwrap()
    }
}

/// Sends something in clear over the loopback.
pub(crate) fn send(bytes: &[u8]) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(bytes, socket.local_addr().unwrap()).unwrap();
}
