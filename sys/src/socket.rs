//! Local sockets that keep packets apart and carry descriptors (unix(7), `SOCK_SEQPACKET`).
//!
//! Not here: what the packets say. Sockets are named relative to an open folder, so that neither
//! the length of its path nor what is mounted over it matters.
//!
//! Invariant: a packet is taken whole or refused; descriptors that arrive are close-on-exec and
//! never more than [`DESCRIPTORS_MAX`].

use core::mem::MaybeUninit;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use crate::file::Folder;

/// Descriptors in one packet: the three streams of a command that is run in a task. Else it is one, the
/// secrets mount.
pub const DESCRIPTORS_MAX: usize = 3;

/// A local socket does not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// It could not be made, named or listened on.
    #[error("cannot listen on {name}")]
    Listen {
        /// The socket's name in its folder.
        name: String,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// Nobody listens, or not for us.
    #[error("cannot connect to {name}")]
    Connect {
        /// The socket's name in its folder.
        name: String,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// A pair could not be made.
    #[error("cannot make a pair of sockets")]
    Pair(#[source] io::Error),
    /// No connection could be taken.
    #[error("cannot accept a connection")]
    Accept(#[source] io::Error),
    /// A packet could not be sent.
    #[error("cannot send to the peer")]
    Send(#[source] io::Error),
    /// No packet could be received.
    #[error("cannot receive from the peer")]
    Receive(#[source] io::Error),
    /// A packet is larger than the buffer, or carries too many descriptors.
    #[error("the peer sent more than it may")]
    TooLarge,
    /// The other end's credentials or an option of the socket could not be had.
    #[error("cannot inspect the socket")]
    Inspect(#[source] io::Error),
}

impl SocketError {
    /// Whether the call would have had to wait, or waited out its timeout.
    pub fn is_would_block(&self) -> bool {
        matches!(self, Self::Accept(source) | Self::Send(source) | Self::Receive(source)
            if source.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether the other end has closed the connection.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Send(source) | Self::Receive(source) if matches!(
            source.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset))
    }

    /// Whether nobody listens: the socket is not there, or its owner is gone.
    pub fn is_nobody_there(&self) -> bool {
        matches!(self, Self::Connect { source, .. } if matches!(
            source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused))
    }
}

/// Who is at the other end (`SO_PEERCRED`): as they were when they connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its process.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// What came in one packet.
#[derive(Debug)]
pub struct Packet {
    /// How many bytes of the buffer it fills.
    pub bytes: usize,
    /// The descriptors that came with it.
    pub descriptors: Vec<OwnedFd>,
}

/// One end of a connection.
#[derive(Debug)]
pub struct Connection(OwnedFd);

/// A named socket that waits for connections.
#[derive(Debug)]
pub struct Listener(OwnedFd);

fn socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// The address of a name in an open folder: short, and good whatever hides the folder's path.
fn address(folder: &Folder, name: &str) -> Result<SocketAddrUnix, Errno> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", folder.as_fd().as_raw_fd()))
}

/// A connected pair. Both ends are close-on-exec.
pub fn pair() -> Result<(Connection, Connection), SocketError> {
    let flags = SocketFlags::CLOEXEC;
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map(|(one, other)| (Connection(one), Connection(other)))
        .map_err(|errno| SocketError::Pair(errno.into()))
}

impl Listener {
    /// Names a socket in a folder and listens (bind(2), listen(2)); it does not block in
    /// [`accept`](Self::accept). A name that is taken, also by a socket nobody listens on, is an
    /// error. Who may connect is who may enter the folder.
    pub fn bind(folder: &Folder, name: &str) -> Result<Self, SocketError> {
        let bound = || -> Result<OwnedFd, Errno> {
            let socket = socket()?;
            rustix::net::bind(&socket, &address(folder, name)?)?;
            rustix::net::listen(&socket, 8)?;
            rustix::io::ioctl_fionbio(&socket, true)?;
            Ok(socket)
        };
        bound()
            .map(Self)
            .map_err(|errno| SocketError::Listen { name: name.into(), source: errno.into() })
    }

    /// Takes a waiting connection, if there is one.
    pub fn accept(&self) -> Result<Option<Connection>, SocketError> {
        match rustix::net::accept_with(&self.0, SocketFlags::CLOEXEC) {
            Ok(fd) => Ok(Some(Connection(fd))),
            Err(Errno::WOULDBLOCK | Errno::CONNABORTED) => Ok(None),
            Err(errno) => Err(SocketError::Accept(errno.into())),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Connection {
    /// Connects to a socket by its name in a folder (connect(2)).
    pub fn connect(folder: &Folder, name: &str) -> Result<Self, SocketError> {
        let connected = || -> Result<OwnedFd, Errno> {
            let socket = socket()?;
            rustix::net::connect(&socket, &address(folder, name)?)?;
            Ok(socket)
        };
        connected()
            .map(Self)
            .map_err(|errno| SocketError::Connect { name: name.into(), source: errno.into() })
    }

    /// Takes over one end of a pair that another process made, e.g. standard input.
    ///
    /// Fails if it is not a socket that keeps packets apart.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, SocketError> {
        match sockopt::socket_type(&fd) {
            Ok(SocketType::SEQPACKET) => Ok(Self(fd)),
            Ok(_) => Err(SocketError::Inspect(io::ErrorKind::InvalidInput.into())),
            Err(errno) => Err(SocketError::Inspect(errno.into())),
        }
    }

    /// Gives the descriptor up, e.g. to be a child's standard input.
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Whether calls return `WouldBlock` rather than wait.
    pub fn set_nonblocking(&self, nonblocking: bool) -> Result<(), SocketError> {
        rustix::io::ioctl_fionbio(&self.0, nonblocking)
            .map_err(|errno| SocketError::Inspect(errno.into()))
    }

    /// How long sending and receiving wait before they fail with `WouldBlock`; `None` is for ever.
    pub fn set_timeout(&self, timeout: Option<Duration>) -> Result<(), SocketError> {
        sockopt::set_socket_timeout(&self.0, Timeout::Recv, timeout)
            .and_then(|()| sockopt::set_socket_timeout(&self.0, Timeout::Send, timeout))
            .map_err(|errno| SocketError::Inspect(errno.into()))
    }

    /// Who is at the other end.
    pub fn peer(&self) -> Result<Peer, SocketError> {
        let credentials = sockopt::socket_peercred(&self.0)
            .map_err(|errno| SocketError::Inspect(errno.into()))?;
        Ok(Peer {
            pid: credentials.pid.as_raw_nonzero().get(),
            uid: credentials.uid.as_raw(),
            gid: credentials.gid.as_raw(),
        })
    }

    /// Sends one packet with descriptors (sendmsg(2), `SCM_RIGHTS`). An empty packet cannot be
    /// told from a closed connection, so it is refused.
    pub fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), SocketError> {
        if bytes.is_empty() {
            return Err(SocketError::Send(io::ErrorKind::InvalidInput.into()));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let rights = SendAncillaryMessage::ScmRights(descriptors);
        // The buffer has room for one more than the bound when its alignment happens to fit.
        let fits = descriptors.len() <= DESCRIPTORS_MAX;
        if !(descriptors.is_empty() || fits && control.push(rights)) {
            return Err(SocketError::TooLarge);
        }
        let sent = rustix::io::retry_on_intr(|| {
            rustix::net::sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
        });
        sent.map(drop).map_err(|errno| SocketError::Send(errno.into()))
    }

    /// Receives one packet into `buffer` (recvmsg(2)); `None` when the peer has closed.
    ///
    /// Fails if the packet does not fit or carries too many descriptors; those are closed.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Option<Packet>, SocketError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            let flags = RecvFlags::CMSG_CLOEXEC;
            rustix::net::recvmsg(&self.0, &mut [IoSliceMut::new(buffer)], &mut control, flags)
        });
        let received = match received {
            Ok(received) => received,
            Err(Errno::CONNRESET) => return Ok(None),
            Err(errno) => return Err(SocketError::Receive(errno.into())),
        };
        let descriptors: Vec<OwnedFd> = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(rights) => Some(rights),
                _ => None,
            })
            .flatten()
            .collect();
        let truncated = received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
        if truncated || descriptors.len() > DESCRIPTORS_MAX {
            return Err(SocketError::TooLarge);
        }
        Ok((received.bytes > 0).then_some(Packet { bytes: received.bytes, descriptors }))
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;

    use rustix::io::FdFlags;

    use super::*;

    #[test]
    fn packets_stay_apart_and_carry_descriptors() {
        let (one, other) = pair().unwrap();
        let file = File::open("/proc/version").unwrap();
        one.send(b"first", &[file.as_fd()]).unwrap();
        one.send(b"second", &[]).unwrap();
        let mut buffer = [0; 16];
        let mut first = other.receive(&mut buffer).unwrap().unwrap();
        assert_eq!(&buffer[..first.bytes], b"first");
        let received = first.descriptors.pop().unwrap();
        assert_eq!(rustix::io::fcntl_getfd(&received).unwrap(), FdFlags::CLOEXEC);
        let mut text = String::new();
        File::from(received).read_to_string(&mut text).unwrap();
        assert!(text.starts_with("Linux"));
        let second = other.receive(&mut buffer).unwrap().unwrap();
        assert_eq!(&buffer[..second.bytes], b"second");
        assert!(second.descriptors.is_empty());
        drop(one);
        assert!(other.receive(&mut buffer).unwrap().is_none());
        assert!(other.send(b"x", &[]).unwrap_err().is_closed());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (one, other) = pair().unwrap();
        one.send(b"12345", &[]).unwrap();
        assert!(matches!(other.receive(&mut [0; 4]), Err(SocketError::TooLarge)));
        let file = File::open("/proc/version").unwrap();
        let many = [file.as_fd(); DESCRIPTORS_MAX + 1];
        assert!(matches!(one.send(b"x", &many), Err(SocketError::TooLarge)));
        assert!(one.send(b"x", &many[1..]).is_ok());
        assert!(one.send(b"", &[]).is_err());
    }

    #[test]
    fn too_many_descriptors_of_a_peer_are_refused() {
        let (one, other) = pair().unwrap();
        let file = File::open("/proc/version").unwrap();
        let many = [file.as_fd(); DESCRIPTORS_MAX + 1];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&many)));
        let flags = SendFlags::empty();
        rustix::net::sendmsg(&one, &[IoSlice::new(b"x")], &mut control, flags).unwrap();
        assert!(matches!(other.receive(&mut [0; 4]), Err(SocketError::TooLarge)));
    }

    #[test]
    fn a_named_socket_knows_its_peer_whatever_the_length_of_its_path() {
        let temp = tempfile::tempdir().unwrap();
        let long = temp.path().join("a".repeat(200));
        let folder = Folder::create_private(&long).unwrap();
        assert!(Connection::connect(&folder, "socket").unwrap_err().is_nobody_there());
        let listener = Listener::bind(&folder, "socket").unwrap();
        assert!(listener.accept().unwrap().is_none());
        let client = Connection::connect(&folder, "socket").unwrap();
        let server = listener.accept().unwrap().unwrap();
        let peer = server.peer().unwrap();
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert_eq!(peer.pid.unsigned_abs(), std::process::id());
        client.send(b"x", &[]).unwrap();
        assert_eq!(server.receive(&mut [0; 1]).unwrap().unwrap().bytes, 1);
        drop(listener);
        assert!(Connection::connect(&folder, "socket").unwrap_err().is_nobody_there());
        assert!(Listener::bind(&folder, "socket").is_err());
    }

    #[test]
    fn a_timeout_ends_the_wait() {
        let (one, _other) = pair().unwrap();
        one.set_timeout(Some(Duration::from_millis(1))).unwrap();
        assert!(one.receive(&mut [0; 1]).unwrap_err().is_would_block());
        one.set_timeout(None).unwrap();
        one.set_nonblocking(true).unwrap();
        assert!(one.receive(&mut [0; 1]).unwrap_err().is_would_block());
    }

    #[test]
    fn only_a_socket_that_keeps_packets_apart_is_taken_over() {
        let (one, _other) = pair().unwrap();
        Connection::from_fd(one.into_fd()).unwrap();
        let file = File::open("/proc/version").unwrap();
        assert!(Connection::from_fd(file.into()).is_err());
    }
}
