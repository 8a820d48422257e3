//! Everything that goes over the loopback (packet(7)).
//!
//! A value that is cut by the end of a packet is not found whole, but its pieces are.

use std::io::Read as _;
use std::net::UdpSocket;
use std::thread::JoinHandle;

use socket2::{Domain, Protocol, Socket, Type};

/// `ETH_P_ALL` of linux/if_ether.h, in network order.
const ALL: i32 = (0x0003_u16).to_be() as i32;

/// Room for what comes while the thread is not scheduled.
const BUFFER_BYTES: usize = 64 << 20;

/// No packet of the loopback is larger.
const PACKET_BYTES_MAX: usize = 1 << 17;

/// The last thing that is captured.
const LAST: &[u8] = b"the laboratory has nothing more to send";

/// A capture that goes on, until it comes upon the last thing that is sent.
pub(crate) struct Wire(JoinHandle<Vec<u8>>);

impl Wire {
    /// Captures from now on, up to what [`Self::end`] sends.
    pub(crate) fn listen() -> Self {
        let mut socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(ALL))).unwrap();
        socket.set_recv_buffer_size(BUFFER_BYTES).unwrap();
        Self(std::thread::spawn(move || {
            let (mut all, mut packet) = (Vec::new(), vec![0; PACKET_BYTES_MAX]);
            loop {
                let read = socket.read(&mut packet).unwrap();
                all.extend_from_slice(&packet[..read]);
                if memchr::memmem::find(&packet[..read], LAST).is_some() {
                    return all;
                }
            }
        }))
    }

    /// Sends the value in clear, and gives everything that was captured, that too.
    pub(crate) fn end(self, value: &[u8]) -> Vec<u8> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for sent in [value, LAST] {
            socket.send_to(sent, socket.local_addr().unwrap()).unwrap();
        }
        self.0.join().unwrap()
    }
}

/// Takes what [`Wire::end`] sent out of what was captured.
pub(crate) fn without_planted(captured: &mut Vec<u8>, value: &[u8]) {
    let from = captured.len().saturating_sub(PACKET_BYTES_MAX);
    while let Some(at) = memchr::memmem::rfind(&captured[from..], value) {
        captured.drain(from + at..from + at + value.len());
    }
}
