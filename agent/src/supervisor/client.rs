//! The agent's side of a running supervisor: found by its folder, asked, listened to.
//!
//! Not here: starting one ([`super::launch`]).

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixDatagram as StdUnixDatagram;
use std::process::Child;

use sys::file::Folder;
use sys::socket::{Connection, SocketError};
use tokio::net::UnixDatagram;

use super::launch::Launched;
use super::protocol::{
    self, ExecPhase, Output, PACKET_BYTES_MAX, ProtocolError, Reply, Request, SOCKET,
};

/// A connection to a supervisor.
#[derive(Debug)]
pub struct Supervised {
    connection: Connection,
    /// The same socket for waiting. It keeps packets apart as a datagram socket does, which is the
    /// kind that tokio knows.
    incoming: UnixDatagram,
}

/// A supervisor cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens: the supervisor has ended.
    #[error("the supervisor has ended")]
    NobodyThere,
    /// The connection cannot be made.
    #[error("cannot connect to the supervisor")]
    Connect(#[source] SocketError),
    /// The connection cannot be waited for.
    #[error("cannot wait for the supervisor")]
    Register(#[source] io::Error),
}

impl Supervised {
    fn new(connection: Connection) -> Result<Self, ConnectError> {
        connection.set_nonblocking(true).map_err(ConnectError::Connect)?;
        let incoming = || -> io::Result<UnixDatagram> {
            let fd = connection.as_fd().try_clone_to_owned()?;
            UnixDatagram::from_std(StdUnixDatagram::from(fd))
        };
        let incoming = incoming().map_err(ConnectError::Register)?;
        Ok(Self { connection, incoming })
    }

    /// The connection on which a task was started, and the process to wait for when it closes.
    pub fn of(launched: Launched) -> Result<(Self, Child), ConnectError> {
        Ok((Self::new(launched.connection)?, launched.process))
    }

    /// Connects to the supervisor of the task in `folder`.
    pub fn connect(folder: &Folder) -> Result<Self, ConnectError> {
        match Connection::connect(folder, SOCKET) {
            Ok(connection) => Self::new(connection),
            Err(error) if error.is_nobody_there() => Err(ConnectError::NobodyThere),
            Err(error) => Err(ConnectError::Connect(error)),
        }
    }

    /// Sends a request. Requests are small and few, so that there is always room; where there is
    /// not, the supervisor hangs, and that is an error.
    pub fn request(&self, request: &Request) -> Result<(), ProtocolError> {
        protocol::send(&self.connection, request, &[])
    }

    /// The next thing it says; `None` when it has closed the connection.
    pub async fn next(&self) -> Result<Option<Reply>, ProtocolError> {
        let mut buffer = vec![0; PACKET_BYTES_MAX + 1];
        let received = self.incoming.recv(&mut buffer).await;
        let bytes = match received {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            Err(error) => return Err(ProtocolError::Socket(SocketError::Receive(error))),
        };
        match buffer.get(..bytes) {
            Some([]) => Ok(None),
            Some(packet) if bytes <= PACKET_BYTES_MAX => protocol::understand(packet).map(Some),
            _ => Err(ProtocolError::Socket(SocketError::TooLarge)),
        }
    }

    /// Output from record `from` on; with `wait`, as soon as there is some or there will be no
    /// more. `None` when the supervisor has ended.
    pub async fn output(&self, from: u64, wait: bool) -> Result<Option<Output>, ProtocolError> {
        match self.request(&Request::Output { from, wait }) {
            Err(ProtocolError::Socket(error)) if error.is_closed() => return Ok(None),
            result => result?,
        }
        loop {
            match self.next().await? {
                Some(Reply::Output(output)) => return Ok(Some(output)),
                Some(Reply::Phase(_)) => {}
                Some(Reply::Mount { .. } | Reply::Refused(_)) => {
                    return Err(ProtocolError::OutOfTurn("something about mounting"));
                }
                Some(Reply::Exec(_)) => {
                    return Err(ProtocolError::OutOfTurn("something about a command"));
                }
                None => return Ok(None),
            }
        }
    }

    /// Has a command run beside the task's program, with these streams. The connection is for that
    /// command from here on ([`Self::exec_phase`]).
    pub fn exec(
        &self,
        argv: Vec<String>,
        streams: [BorrowedFd<'_>; 3],
    ) -> Result<(), ProtocolError> {
        protocol::send(&self.connection, &Request::Exec { argv }, &streams)
    }

    /// Where that command is by now, as soon as there is something new; `None` when the supervisor has
    /// closed the connection, as one does that knows of no commands.
    pub async fn exec_phase(&self) -> Result<Option<ExecPhase>, ProtocolError> {
        loop {
            match self.next().await? {
                Some(Reply::Exec(phase)) => return Ok(Some(phase)),
                // Told to everybody, before the command was heard.
                Some(Reply::Phase(_)) => {}
                Some(_) => return Err(ProtocolError::OutOfTurn("nothing of the command")),
                None => return Ok(None),
            }
        }
    }
}
