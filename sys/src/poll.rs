//! Waiting until one of several descriptors has something to say (poll(2)).
//!
//! Not here: an event loop; the supervisor's is its own, and the programs with many connections
//! have tokio.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Waiting failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot wait for descriptors")]
pub struct PollError(#[source] io::Error);

/// Waits until at least one descriptor is readable, closed by its peer or in error, or `timeout`
/// is over (`None` is never); says of each, in order, whether it is. A signal ends the wait early,
/// with nothing readable.
pub fn readable(
    descriptors: &[BorrowedFd<'_>],
    timeout: Option<Duration>,
) -> Result<Vec<bool>, PollError> {
    let mut fds: Vec<PollFd<'_>> =
        descriptors.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let timeout = timeout.map(|timeout| Timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) => Ok(fds.iter().map(|fd| !fd.revents().is_empty()).collect()),
        Err(Errno::INTR) => Ok(vec![false; descriptors.len()]),
        Err(errno) => Err(PollError(errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsFd as _;

    use super::*;
    use crate::process::pipe;

    #[test]
    fn who_can_be_read_is_told_from_who_cannot() {
        let (silent, _silent_writer) = pipe(false).unwrap();
        let (spoken, mut spoken_writer) = pipe(false).unwrap();
        let (closed, closed_writer) = pipe(false).unwrap();
        spoken_writer.write_all(b"x").unwrap();
        drop(closed_writer);
        let fds = [silent.as_fd(), spoken.as_fd(), closed.as_fd()];
        assert_eq!(readable(&fds, None).unwrap(), [false, true, true]);
        assert_eq!(readable(&fds[..1], Some(Duration::ZERO)).unwrap(), [false]);
    }
}
