//! Cutting a connection from outside: both directions fail from then on, and who waits is woken.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// One connection's ear for it.
pub(crate) struct Cut(Pin<Box<WaitForCancellationFutureOwned>>);

impl Cut {
    /// Cut once `token` is cancelled.
    pub(crate) fn by(token: CancellationToken) -> Self {
        Self(Box::pin(token.cancelled_owned()))
    }

    /// An error, if it was cut. Asked before each operation.
    pub(crate) fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.0.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}
