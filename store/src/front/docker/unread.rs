//! What is left of a request's body when its answer is there: read, if it is little.
//!
//! A request can be refused before its body is read. Clients write the head first and the body after
//! it: one whose connection ends in between sees a broken pipe, and not the refusal. So what is on its way
//! is taken, and thrown away, before the answer is given. Not here: reading a body (`body`).
//!
//! Invariant: of a body that nobody reads, no more than [`BYTES_MAX`] is taken, within [`WITHIN`]; and
//! nothing of one that somebody still reads.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// More than any command sends but one with a value; those say how long they are, and are not waited for.
const BYTES_MAX: u64 = 64 << 10;

/// A client that has sent its head sends such a body at once.
const WITHIN: Duration = Duration::from_secs(1);

/// A body, for who answers its request.
pub(super) struct Lent<B>(Arc<Mutex<B>>);

/// The same body, for when the answer is there.
pub(super) struct Unread<B>(Arc<Mutex<B>>);

impl<B> Lent<B> {
    pub(super) fn of(body: B) -> (Self, Unread<B>) {
        let body = Arc::new(Mutex::new(body));
        (Self(body.clone()), Unread(body))
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Lent<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}

impl<B: Body<Data = Bytes> + Unpin> Unread<B> {
    /// Reads what nobody reads any more.
    pub(super) async fn read(self) {
        let Ok(body) = Arc::try_unwrap(self.0) else { return };
        let mut body = body.into_inner().unwrap_or_else(PoisonError::into_inner);
        if body.size_hint().lower() > BYTES_MAX {
            return;
        }
        let all = async {
            let mut left = BYTES_MAX;
            while let Some(Ok(frame)) =
                std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
            {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                let Some(less) = left.checked_sub(bytes) else { return };
                left = less;
            }
        };
        // Whoever is late is answered all the same.
        let _late = tokio::time::timeout(WITHIN, all).await;
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A body of so many pieces of 32 KiB, and how many of them were taken.
    struct Pieces {
        left: u64,
        taken: Arc<AtomicU64>,
        says_how_long: bool,
    }

    const PIECE: u64 = 32 << 10;

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            if self.left == 0 {
                return Poll::Ready(None);
            }
            self.left -= 1;
            self.taken.fetch_add(1, Ordering::Relaxed);
            Poll::Ready(Some(Ok(Frame::data(vec![0; 32 << 10].into()))))
        }

        fn size_hint(&self) -> SizeHint {
            let exact = SizeHint::with_exact(self.left * PIECE);
            if self.says_how_long { exact } else { SizeHint::new() }
        }
    }

    async fn taken(pieces: u64, says_how_long: bool, is_read: bool) -> u64 {
        let taken = Arc::new(AtomicU64::new(0));
        let (lent, unread) = Lent::of(Pieces { left: pieces, taken: taken.clone(), says_how_long });
        let reader = is_read.then_some(lent);
        unread.read().await;
        drop(reader);
        taken.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn a_little_is_taken_and_nothing_of_what_somebody_reads() {
        for says_how_long in [true, false] {
            assert_eq!(taken(2, says_how_long, false).await, 2, "as much as may be");
            assert_eq!(taken(2, says_how_long, true).await, 0, "it is somebody's");
        }
        assert_eq!(taken(3, true, false).await, 0, "it is said to be more");
        assert_eq!(taken(1_000, false, false).await, 3, "it turns out to be more");
    }
}
