//! Gathering what is written to a connection, so that what is ready at the same time leaves together:
//! one TLS record and one call of the kernel instead of one of each a frame.
//!
//! HTTP/2 flushes after each turn of a connection's task, and that task is woken by each message, ahead
//! of whoever has the next message ready. So a flush here first lets everybody run who is ready to,
//! once, and then writes what has come together. It waits for no time and for nobody: a lone message
//! leaves as soon as nothing else can run. Nagle's algorithm (RFC 896), with the scheduler as its clock.
//!
//! Not here: encryption (below), frames (above). Invariant: after a flush that is ready, nothing that
//! was written is held here, and no copy of it is left in the buffer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are gathered: what a TLS record holds (RFC 8446, 5.1). A write that does not fit beside
/// what is there goes after it, uncopied if it is as large by itself.
const GATHERED_BYTES: usize = 16 << 10;

/// A connection whose writes are gathered until they are flushed.
pub(crate) struct Gather<S> {
    stream: S,
    gathered: Vec<u8>,
    /// How much of it was written already.
    written: usize,
    /// Whether the others have had their turn since the last flush.
    yielded: bool,
}

impl<S> Gather<S> {
    pub(crate) const fn new(stream: S) -> Self {
        Self { stream, gathered: Vec::new(), written: 0, yielded: false }
    }
}

impl<S: AsyncWrite + Unpin> Gather<S> {
    /// Writes what is gathered.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.gathered.get(self.written..).filter(|rest| !rest.is_empty()) {
            let taken = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += taken;
        }
        zeroize::zeroize_bytes(&mut self.gathered);
        self.gathered.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Grows the buffer as vectors do, and never beyond what is gathered: it is kept.
    fn make_room(&mut self, bytes: usize) {
        let needed = self.gathered.len() + bytes;
        if needed > self.gathered.capacity() {
            let grown = needed.next_power_of_two().min(GATHERED_BYTES);
            self.gathered.reserve_exact(grown - self.gathered.len());
        }
    }

    /// Drains if there is no room for `bytes`; false if they are too many to be gathered at all.
    fn poll_room(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<io::Result<bool>> {
        if self.gathered.len() + bytes > GATHERED_BYTES {
            ready!(self.poll_drain(cx))?;
        }
        Poll::Ready(Ok(bytes < GATHERED_BYTES))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gather<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gather<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !ready!(self.poll_room(cx, bytes.len()))? {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        }
        self.make_room(bytes.len());
        self.gathered.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.gathered.is_empty() {
            if !self.yielded {
                self.yielded = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            ready!(self.poll_drain(cx))?;
        }
        self.yielded = false;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = buffers.iter().map(|buffer| buffer.len()).sum();
        if !ready!(self.poll_room(cx, bytes))? {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        }
        self.make_room(bytes);
        for buffer in buffers {
            self.gathered.extend_from_slice(buffer);
        }
        Poll::Ready(Ok(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
