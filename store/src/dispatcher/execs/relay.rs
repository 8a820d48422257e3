//! Passing a command's messages on, both ways, between two connections.
//!
//! Each direction waits for its own far end only, and nothing is kept beside the message that is passed:
//! who does not read is granted nothing, and so is sent nothing. Both sides are checked; who does what it
//! may not ends it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use link::Failure;
use proto::exec::Flow;
use proto::{Kind, pb};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

type Outgoing = mpsc::Sender<Result<pb::ExecOutput, Status>>;

/// A conversation that is passed on.
struct Passing {
    flow: Mutex<Flow>,
    /// When something was last said, by either side.
    last: Mutex<Instant>,
}

impl Passing {
    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last(&self) -> MutexGuard<'_, Instant> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on what comes from whoever asked; returns when that has gone, or does what it may not.
    async fn inwards(
        &self,
        mut inputs: impl Stream<Item = Result<pb::ExecInput, Status>> + Unpin,
        further: mpsc::Sender<pb::ExecInput>,
    ) -> Option<Failure> {
        while let Some(Ok(message)) = inputs.next().await {
            if let Err(error) = self.flow().input(&message) {
                return Some(Failure::new(Kind::Invalid, error.to_string()));
            }
            *self.last() = Instant::now();
            if message.input.is_some() && further.send(message).await.is_err() {
                // Why, is what comes back.
                std::future::pending::<()>().await;
            }
        }
        None
    }

    /// Passes on what comes back, to its end.
    async fn outwards(
        &self,
        mut outputs: impl Stream<Item = Result<pb::ExecOutput, Status>> + Unpin,
        outgoing: &Outgoing,
    ) -> Option<Failure> {
        while let Some(next) = outputs.next().await {
            let message = match next {
                Ok(message) => message,
                // In the words of the manager that has the session.
                Err(status) if !status.details().is_empty() => return Some(status.into()),
                Err(_) => break,
            };
            if let Err(error) = self.flow().output(&message) {
                tracing::warn!(%error, "command_out_of_order");
                let text = "the node's agent does not keep to the rules";
                return Some(Failure::new(Kind::Internal, text).because(error.to_string()));
            }
            *self.last() = Instant::now();
            if message.output.is_some() && outgoing.send(Ok(message)).await.is_err() {
                return None;
            }
            if self.flow().is_over() {
                return None;
            }
        }
        Some(
            Failure::new(Kind::Unavailable, "the command was cut off")
                .because("its node is out of touch, or what watched it there has ended")
                .hint("it was killed, or is as soon as its node notices; `secretctl node ls`"),
        )
    }

    async fn idle(&self, idle_max: Duration) -> Option<Failure> {
        loop {
            let until = *self.last() + idle_max;
            sleep_until(until).await;
            if *self.last() + idle_max <= Instant::now() {
                let text = "the command was ended: nothing was said for too long";
                return Some(Failure::new(Kind::Timeout, text).hint("docs/operations/limits.md"));
            }
        }
    }
}

/// Passes messages on until it is over, or one side has gone; then the streams are dropped, which the
/// other sides notice.
pub(super) async fn relay(
    flow: Flow,
    inputs: impl Stream<Item = Result<pb::ExecInput, Status>> + Unpin,
    further: mpsc::Sender<pb::ExecInput>,
    outputs: impl Stream<Item = Result<pb::ExecOutput, Status>> + Unpin,
    outgoing: &Outgoing,
    idle_max: Duration,
) {
    let passing = Passing { flow: Mutex::new(flow), last: Mutex::new(Instant::now()) };
    let failure = tokio::select! {
        failure = passing.inwards(inputs, further) => failure,
        failure = passing.outwards(outputs, outgoing) => failure,
        failure = passing.idle(idle_max) => failure,
        () = outgoing.closed() => None,
    };
    if let Some(failure) = failure {
        // Who has not read what came before may not have room for it, and sees the end.
        let sent = tokio::time::timeout(TELL_WITHIN, outgoing.send(Err(failure.into()))).await;
        drop(sent);
    }
}

/// Time for whoever asked to take why it ends.
const TELL_WITHIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use proto::limits::{EXEC_DATA_BYTES_MAX, EXEC_WINDOW_BYTES};
    use proto::pb::exec_input::Input;
    use proto::pb::exec_output::Output;
    use tokio::task::JoinHandle;
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;

    const IDLE: Duration = Duration::from_secs(7200);

    /// Both far ends of a relay, and the relay.
    struct Ends {
        asker: mpsc::Sender<Result<pb::ExecInput, Status>>,
        told: mpsc::Receiver<Result<pb::ExecOutput, Status>>,
        agent: mpsc::Sender<Result<pb::ExecOutput, Status>>,
        heard: mpsc::Receiver<pb::ExecInput>,
        relay: JoinHandle<()>,
    }

    fn ends() -> Ends {
        ends_within(IDLE)
    }

    fn ends_within(idle_max: Duration) -> Ends {
        let (asker, inputs) = mpsc::channel(1);
        let (outgoing, told) = mpsc::channel(1);
        let (agent, outputs) = mpsc::channel(1);
        let (further, heard) = mpsc::channel(1);
        let flow = Flow::new(&pb::ExecStart { input: true, ..pb::ExecStart::default() });
        let relay = tokio::spawn(async move {
            let (inputs, outputs) = (ReceiverStream::new(inputs), ReceiverStream::new(outputs));
            relay(flow, inputs, further, outputs, &outgoing, idle_max).await;
        });
        Ends { asker, told, agent, heard, relay }
    }

    fn output(output: Output) -> pb::ExecOutput {
        pb::ExecOutput { output: Some(output) }
    }

    fn printed(bytes: usize) -> pb::ExecOutput {
        output(Output::Data(pb::ExecData { stream: 0, data: vec![7; bytes].into() }))
    }

    fn input(input: Input) -> pb::ExecInput {
        pb::ExecInput { input: Some(input) }
    }

    async fn started() -> Ends {
        let mut ends = ends();
        ends.agent.send(Ok(output(Output::Started(pb::ExecStarted {})))).await.unwrap();
        assert!(matches!(told(&mut ends).await, Ok(Output::Started(_))));
        ends
    }

    async fn told(ends: &mut Ends) -> Result<Output, Failure> {
        let next = ends.told.recv().await.expect("something is told");
        next.map(|message| message.output.unwrap()).map_err(Failure::from)
    }

    #[tokio::test]
    async fn both_ways_go_to_the_end() {
        let mut ends = started().await;
        ends.asker.send(Ok(input(Input::Data(b"in".to_vec().into())))).await.unwrap();
        let heard = ends.heard.recv().await.unwrap().input;
        assert!(matches!(heard, Some(Input::Data(data)) if &data[..] == b"in"));
        ends.agent.send(Ok(printed(3))).await.unwrap();
        assert!(matches!(told(&mut ends).await, Ok(Output::Data(data)) if data.data.len() == 3));
        let code = pb::ExecEnded { code: 9, reason: String::new() };
        ends.agent.send(Ok(output(Output::Ended(code)))).await.unwrap();
        assert!(matches!(told(&mut ends).await, Ok(Output::Ended(ended)) if ended.code == 9));
        ends.relay.await.unwrap();
        assert!(ends.told.recv().await.is_none() && ends.heard.recv().await.is_none());
    }

    #[tokio::test]
    async fn when_who_asked_goes_the_agent_is_left() {
        let mut ends = started().await;
        drop(ends.asker);
        assert!(ends.heard.recv().await.is_none());
        ends.relay.await.unwrap();
        assert!(ends.agent.is_closed());
    }

    #[tokio::test]
    async fn when_the_agent_goes_who_asked_is_told() {
        let mut ends = started().await;
        drop(ends.agent);
        let (agent, _) = mpsc::channel(1);
        ends.agent = agent;
        let failure = told(&mut ends).await.unwrap_err();
        assert_eq!(
            (failure.kind, &*failure.message),
            (Kind::Unavailable, "the command was cut off")
        );
        assert!(ends.told.recv().await.is_none());
    }

    #[tokio::test]
    async fn who_reads_nothing_holds_up_the_agent_and_nothing_is_kept() {
        let ends = started().await;
        let mut sent = 0;
        // Two channels of one message each, and the one that is passed on.
        while ends.agent.try_send(Ok(printed(1000))).is_ok() {
            sent += 1;
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            assert!(sent < 10, "it is held up");
        }
        assert!(sent <= 3, "{sent}");
        assert!(!ends.relay.is_finished());
    }

    #[tokio::test]
    async fn who_sends_more_than_was_granted_ends_it() {
        let mut ends = started().await;
        let window = usize::try_from(EXEC_WINDOW_BYTES).unwrap();
        for _ in 0..window / EXEC_DATA_BYTES_MAX {
            let typed = Input::Data(vec![0; EXEC_DATA_BYTES_MAX].into());
            ends.asker.send(Ok(input(typed))).await.unwrap();
            ends.heard.recv().await.unwrap();
        }
        ends.asker.send(Ok(input(Input::Data(vec![0].into())))).await.unwrap();
        let failure = told(&mut ends).await.unwrap_err();
        assert_eq!(failure.kind, Kind::Invalid, "{failure}");
        assert!(ends.heard.recv().await.is_none(), "it was not passed on");

        let mut ends = started().await;
        for _ in 0..window / EXEC_DATA_BYTES_MAX {
            ends.agent.send(Ok(printed(EXEC_DATA_BYTES_MAX))).await.unwrap();
            told(&mut ends).await.unwrap();
        }
        ends.agent.send(Ok(printed(1))).await.unwrap();
        assert_eq!(told(&mut ends).await.unwrap_err().kind, Kind::Internal);
        assert!(ends.heard.recv().await.is_none());
    }

    #[tokio::test]
    async fn silence_ends_it() {
        let mut ends = ends_within(Duration::from_millis(1));
        let failure = told(&mut ends).await.unwrap_err();
        assert_eq!(failure.kind, Kind::Timeout);
        assert!(failure.message.contains("nothing was said for too long"), "{failure}");
        ends.relay.await.unwrap();
        assert!(ends.heard.recv().await.is_none());
    }
}
