use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use tokio::io::AsyncWriteExt as _;

use super::*;

/// A stream that keeps each write as it came, and takes as much of it as it is told to: none is a
/// stream that is not ready, once.
#[derive(Default)]
struct Kept {
    writes: Vec<Vec<u8>>,
    takes: VecDeque<usize>,
    flushes: usize,
    is_shut: bool,
}

impl AsyncWrite for Kept {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let takes = self.takes.pop_front().unwrap_or(bytes.len()).min(bytes.len());
        if takes == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.writes.push(bytes[..takes].to_vec());
        Poll::Ready(Ok(takes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flushes += 1;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_shut = true;
        Poll::Ready(Ok(()))
    }
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn what_is_ready_at_the_same_time_leaves_together() {
    let woken = Arc::new(Woken::default());
    let waker = woken.clone().into();
    let mut cx = Context::from_waker(&waker);
    let mut gather = Gather::new(Kept::default());
    let write = |gather: &mut Gather<Kept>, cx: &mut Context<'_>, bytes: &[u8]| {
        assert!(matches!(Pin::new(gather).poll_write(cx, bytes), Poll::Ready(Ok(_))));
    };
    for round in 1..=2 {
        write(&mut gather, &mut cx, b"one ");
        write(&mut gather, &mut cx, b"two ");
        assert!(Pin::new(&mut gather).poll_flush(&mut cx).is_pending(), "the others' turn");
        assert_eq!(woken.0.load(Ordering::Relaxed), round, "and then it is ours again");
        let parts = [IoSlice::new(b"three "), IoSlice::new(b"four")];
        let vectored = Pin::new(&mut gather).poll_write_vectored(&mut cx, &parts);
        assert!(matches!(vectored, Poll::Ready(Ok(10))));
        assert_eq!(gather.stream.writes.len(), round - 1);
        assert!(Pin::new(&mut gather).poll_flush(&mut cx).is_ready());
        assert_eq!(gather.stream.writes.len(), round);
        assert_eq!(gather.stream.writes[round - 1], b"one two three four");
        assert_eq!(gather.stream.flushes, round);
        assert!(gather.gathered.is_empty());
    }
    // Nothing to write: nobody is waited for.
    assert!(Pin::new(&mut gather).poll_flush(&mut cx).is_ready());
    assert_eq!(woken.0.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn what_does_not_fit_goes_after_what_is_there() {
    for large in [GATHERED_BYTES - 1, GATHERED_BYTES, GATHERED_BYTES + 1, 3 * GATHERED_BYTES] {
        let mut gather = Gather::new(Kept::default());
        gather.write_all(b"small").await.unwrap();
        gather.write_all(&vec![7; large]).await.unwrap();
        assert_eq!(gather.stream.writes[0], b"small", "{large}");
        assert!(gather.gathered.len() <= GATHERED_BYTES);
        let held = gather.gathered.len();
        assert_eq!(held, if large < GATHERED_BYTES { large } else { 0 }, "{large}");
        gather.flush().await.unwrap();
        assert_eq!(gather.stream.writes[1], vec![7; large]);
    }
}

#[tokio::test]
async fn a_stream_that_takes_little_and_late_gets_everything_once_and_in_order() {
    for seed in 1..=200_usize {
        let pseudo = |n: usize, below: usize| (seed * 7919 + n * 104_729) % 65_537 % below;
        let takes = (0..400).map(|n| pseudo(n, 5_000)).collect();
        let mut gather = Gather::new(Kept { takes, ..Kept::default() });
        let mut sent = Vec::new();
        for n in 0..20 {
            let bytes: Vec<u8> = (0..=u8::MAX).cycle().skip(n).take(pseudo(n, 20_000)).collect();
            gather.write_all(&bytes).await.unwrap();
            sent.extend(bytes);
            if pseudo(n, 3) == 0 {
                gather.flush().await.unwrap();
                assert_eq!(gather.stream.writes.concat(), sent, "a flush leaves nothing behind");
            }
        }
        gather.shutdown().await.unwrap();
        assert!(gather.stream.is_shut);
        assert_eq!(gather.stream.writes.concat(), sent, "nor does an end");
    }
}

#[tokio::test]
async fn a_stream_that_takes_nothing_is_an_error() {
    struct Full;

    impl AsyncWrite for Full {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(0))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    let mut gather = Gather::new(Full);
    gather.write_all(b"bytes").await.unwrap();
    assert_eq!(gather.flush().await.unwrap_err().kind(), io::ErrorKind::WriteZero);
}
