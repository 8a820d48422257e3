//! What an agent asks of a supervisor and what it answers, one packet each.
//!
//! The agent that starts a task is connected to its supervisor's standard input; a later one
//! connects to the socket in the task's folder. A supervisor tells every connection when the task
//! starts and ends, asked or not. Plaintext crosses no connection: the agent writes it into the
//! mount that comes with [`Reply::Mount`].
//!
//! Invariant: a packet has at most [`PACKET_BYTES_MAX`] bytes and becomes a value of these types
//! or an error.

use std::os::fd::{BorrowedFd, OwnedFd};

use proto::id::Timestamp;
use proto::limits::OUTPUT_LINE_BYTES_MAX;
use sys::mount::Kind;
use sys::socket::{Connection, SocketError};

use super::status::Ending;
use super::wire::{self, WireError};
use crate::output::Record;

/// The socket in a task's folder.
pub(crate) const SOCKET: &str = "control.sock";

/// Largest packet, in bytes; within the smallest default of `net.core.wmem_max`.
pub(super) const PACKET_BYTES_MAX: usize = 96 << 10;

/// Bytes of lines in one answer; the rest of the packet is for what goes with each line.
pub(super) const OUTPUT_BYTES_MAX: usize = 64 << 10;

// One line of the greatest length must fit an answer, with all that goes with it.
const _: () = assert!(2 * OUTPUT_LINE_BYTES_MAX <= OUTPUT_BYTES_MAX);

/// What an agent asks. A supervisor of an earlier version closes the connection on what it does not know.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub enum Request {
    /// The files are complete: start the task. Only on standard input, once.
    #[n(0)]
    Start,
    /// How is it? Answered by [`Reply::Phase`].
    #[n(1)]
    Query,
    /// Stop the task; a grace period given here may shorten the declared one.
    #[n(2)]
    Stop {
        /// Milliseconds until SIGKILL; the declared ones if absent.
        #[n(0)]
        grace_ms: Option<u64>,
    },
    /// Records of output from number `from` on, answered by [`Reply::Output`].
    #[n(3)]
    Output {
        /// The first record wanted.
        #[n(0)]
        from: u64,
        /// If there are none yet, answer when there are or the task has ended.
        #[n(1)]
        wait: bool,
    },
    /// Nobody will ask for output any more: a supervisor that stayed for its ring may go.
    #[n(4)]
    Release,
    /// Run this beside the task's program, with the three descriptors that come with the packet for
    /// its streams. The connection is for that command from here on, and answered by
    /// [`Reply::Exec`]; when it is closed the command is killed.
    #[n(5)]
    Exec {
        /// The command and its arguments.
        #[n(0)]
        argv: Vec<String>,
    },
}

/// What a supervisor says.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub enum Reply {
    /// Here is the secrets filesystem to fill; the descriptor comes with the packet.
    #[n(0)]
    Mount {
        /// Which filesystem it is ([`Kind::as_str`]).
        #[n(0)]
        kind: String,
    },
    /// Where the task is.
    #[n(1)]
    Phase(#[n(0)] Phase),
    /// Records of output.
    #[n(2)]
    Output(#[n(0)] Output),
    /// No secrets can be mounted here, and why: the answer to a probe.
    #[n(3)]
    Refused(#[n(0)] String),
    /// Where a command is that was to be run beside the task's program.
    #[n(4)]
    Exec(#[n(0)] ExecPhase),
}

/// Where a command is that an operator runs in a task.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub enum ExecPhase {
    /// It runs.
    #[n(0)]
    Started,
    /// It could not be started: what shells would say, 127 or 126, and why. The last word.
    #[n(1)]
    NotStarted(#[n(0)] i32, #[n(1)] String),
    /// It has ended, with the code that shells would say. The last word.
    #[n(2)]
    Over(#[n(0)] i32),
    /// It was not tried, and why. The last word.
    #[n(3)]
    Refused(#[n(0)] String),
}

/// Where a task is, as its supervisor says.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub enum Phase {
    /// Waits for its files.
    #[n(0)]
    Waiting,
    /// Runs.
    #[n(1)]
    Running {
        /// Since when.
        #[n(0)]
        since: Timestamp,
    },
    /// Was told to stop.
    #[n(2)]
    Stopping {
        /// Since when it runs, if its program was started.
        #[n(0)]
        since: Option<Timestamp>,
    },
    /// Is over, and its secrets are gone.
    #[n(3)]
    Over(#[n(0)] Ending),
}

/// Output, as far as there is any.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Output {
    /// The records; none where they are in files, which are to be read then.
    #[n(0)]
    pub records: Vec<Record>,
    /// The number to ask for next.
    #[n(1)]
    pub next: u64,
    /// No record will follow.
    #[n(2)]
    pub end: bool,
}

/// A packet could not be exchanged.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The connection failed.
    #[error("the connection to the supervisor failed")]
    Socket(#[source] SocketError),
    /// The packet is not understood.
    #[error("cannot understand the supervisor")]
    Wire(#[source] WireError),
    /// The supervisor says something out of turn.
    #[error("the supervisor said {0} out of turn")]
    OutOfTurn(&'static str),
}

impl ProtocolError {
    /// Whether there was nothing to receive, or no room to send, and waiting was not allowed.
    pub(crate) fn is_would_block(&self) -> bool {
        matches!(self, Self::Socket(error) if error.is_would_block())
    }
}

/// Sends one packet.
pub(super) fn send<T: minicbor::Encode<()>>(
    connection: &Connection,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), ProtocolError> {
    connection.send(&wire::encode(message), descriptors).map_err(ProtocolError::Socket)
}

/// Receives one packet and the descriptors that may come with it; `None` when the other end closed.
pub(super) fn receive<T>(
    connection: &Connection,
) -> Result<Option<(T, Vec<OwnedFd>)>, ProtocolError>
where
    T: for<'b> minicbor::Decode<'b, ()>,
{
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    let Some(packet) = connection.receive(&mut buffer).map_err(ProtocolError::Socket)? else {
        return Ok(None);
    };
    let bytes = buffer.get(..packet.bytes).unwrap_or_default();
    Ok(Some((understand(bytes)?, packet.descriptors)))
}

/// Reads one packet.
pub(super) fn understand<'b, T: minicbor::Decode<'b, ()>>(
    packet: &'b [u8],
) -> Result<T, ProtocolError> {
    wire::decode(packet).map_err(ProtocolError::Wire)
}

/// The kind of filesystem that a name stands for.
pub(super) fn kind(name: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind.as_str() == name)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use proto::limits::{EXEC_ARGUMENTS_BYTES_MAX, EXEC_ARGUMENTS_MAX};

    use super::*;
    use crate::output::Stream;

    #[test]
    fn the_largest_answer_fits_a_packet() {
        let (one, other) = sys::socket::pair().unwrap();
        for bytes in [0, 1, OUTPUT_LINE_BYTES_MAX] {
            let line = vec![0xff; bytes];
            let (at, stream) = (Timestamp(u64::MAX), Stream::Stderr);
            let record = Record { number: u64::MAX, at, stream, line };
            let records = vec![record.clone(); OUTPUT_BYTES_MAX / record.cost()];
            let reply = Reply::Output(Output { records, next: u64::MAX, end: true });
            send(&one, &reply, &[]).unwrap();
            let (received, _) = receive::<Reply>(&other).unwrap().unwrap();
            assert_eq!(received, reply);
        }
    }

    #[test]
    fn the_largest_command_fits_a_packet() {
        let (one, other) = sys::socket::pair().unwrap();
        let mut argv = vec!["a".repeat(EXEC_ARGUMENTS_BYTES_MAX / EXEC_ARGUMENTS_MAX - 1)];
        argv.resize(EXEC_ARGUMENTS_MAX, argv[0].clone());
        proto::exec::check_arguments(&argv).unwrap();
        let request = Request::Exec { argv };
        let null = std::fs::File::open("/dev/null").unwrap();
        send(&one, &request, &[null.as_fd(); 3]).unwrap();
        let (received, descriptors) = receive::<Request>(&other).unwrap().unwrap();
        assert_eq!((received, descriptors.len()), (request, 3));
    }

    #[test]
    fn nonsense_is_refused() {
        let (one, other) = sys::socket::pair().unwrap();
        one.send(&[1, 0xff], &[]).unwrap();
        assert!(matches!(receive::<Request>(&other), Err(ProtocolError::Wire(_))));
        one.send(&wire::encode(&9_u8), &[]).unwrap();
        assert!(matches!(receive::<Request>(&other), Err(ProtocolError::Wire(_))));
        drop(one);
        assert!(receive::<Request>(&other).unwrap().is_none());
    }
}
