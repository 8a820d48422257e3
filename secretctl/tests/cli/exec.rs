//! `task exec` against the fake manager, which runs a few commands that the tests know.

use std::io::Write as _;
use std::pin::Pin;
use std::process::Stdio;

use link::Failure;
use proto::exec::{Flow, Taken};
use proto::limits::{EXEC_DATA_BYTES_MAX, EXEC_WINDOW_BYTES};
use proto::pb::exec_input::Input;
use proto::pb::exec_output::Output;
use proto::{Kind, pb};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::fake::Fake;
use crate::program::Place;

pub(crate) type Outputs =
    Pin<Box<dyn futures_util::Stream<Item = Result<pb::ExecOutput, Status>> + Send>>;

type Outgoing = mpsc::Sender<Result<pb::ExecOutput, Status>>;

/// Begins one, as a manager does.
pub(crate) async fn answer(
    fake: &Fake,
    request: Request<Streaming<pb::ExecInput>>,
) -> Result<Response<Outputs>, Status> {
    let (metadata, extensions, mut inputs) = request.into_parts();
    let first = inputs.message().await?.and_then(|first| first.input);
    let Some(Input::Start(start)) = first else { panic!("a command begins with its start") };
    let request = Request::from_parts(metadata, extensions, start);
    let start = fake.answer(request, |world, _, start| {
        let is_known = world.tasks.iter().any(|task| task.id == start.task_id);
        let text = format!("task `{}` not found", start.task_id);
        if is_known { Ok(start) } else { Err(Failure::new(Kind::NotFound, text)) }
    })?;
    let (outgoing, outputs) = mpsc::channel(1);
    tokio::spawn(run(start.into_inner(), inputs, outgoing));
    Ok(Response::new(Box::pin(ReceiverStream::new(outputs))))
}

async fn say(outgoing: &Outgoing, flow: &mut Flow, output: Output) {
    let message = pb::ExecOutput { output: Some(output) };
    flow.output(&message).unwrap();
    // It may be gone.
    outgoing.send(Ok(message)).await.ok();
}

fn data(stream: pb::OutputStream, text: &[u8]) -> Output {
    Output::Data(pb::ExecData { stream: stream.into(), data: text.to_vec().into() })
}

/// `cat`, `count` (bytes of what is typed), `flood` (prints for ever), `sh -c 'echo … >&2; exit N'` as
/// `fail`, and no others.
async fn run(start: pb::ExecStart, mut inputs: Streaming<pb::ExecInput>, outgoing: Outgoing) {
    let mut flow = Flow::new(&start);
    let words: Vec<&str> = start.argv.iter().map(String::as_str).collect();
    let mut ended = pb::ExecEnded::default();
    if !matches!(words[0], "cat" | "count" | "flood" | "fail") {
        (ended.code, ended.reason) = (127, format!("cannot find the command {:?}", words[0]));
        return say(&outgoing, &mut flow, Output::Ended(ended)).await;
    }
    say(&outgoing, &mut flow, Output::Started(pb::ExecStarted {})).await;
    if words[0] == "fail" {
        say(&outgoing, &mut flow, data(pb::OutputStream::Stdout, b"out\n")).await;
        say(&outgoing, &mut flow, data(pb::OutputStream::Stderr, b"err\n")).await;
        ended.code = words[1].parse().unwrap();
        return say(&outgoing, &mut flow, Output::Ended(ended)).await;
    }
    let (mut count, mut taken, mut is_open) = (0, Taken::default(), start.input);
    loop {
        while words[0] == "flood" && flow.output_room() == EXEC_DATA_BYTES_MAX {
            let flood = vec![b'x'; EXEC_DATA_BYTES_MAX];
            say(&outgoing, &mut flow, data(pb::OutputStream::Stdout, &flood)).await;
        }
        if !is_open && words[0] != "flood" {
            break;
        }
        let Ok(Some(message)) = inputs.message().await else { return };
        flow.input(&message).expect("what comes is in order");
        match message.input {
            Some(Input::Data(bytes)) => {
                count += bytes.len();
                if words[0] == "cat" {
                    say(&outgoing, &mut flow, data(pb::OutputStream::Stdout, &bytes)).await;
                }
                if let Some(granted) = taken.note(bytes.len()) {
                    say(&outgoing, &mut flow, Output::Granted(granted)).await;
                }
            }
            Some(Input::End(_)) => is_open = false,
            _ => {}
        }
    }
    if words[0] == "count" {
        let text = format!("{count}\n");
        say(&outgoing, &mut flow, data(pb::OutputStream::Stdout, text.as_bytes())).await;
    }
    say(&outgoing, &mut flow, Output::Ended(ended)).await;
}

/// A fake manager with one task.
fn with_a_task(place: &Place) -> (Fake, impl Drop) {
    let fake = Fake::new();
    let serving = fake.serve_unix(&place.socket());
    let made = place.run(
        &["service", "create", "--name", "web", "--update-monitor", "0s", "--", "/bin/web"]
            .map(str::to_owned),
        b"",
    );
    assert_eq!(made.status, 0, "{}", made.stderr);
    (fake, serving)
}

#[test]
fn what_is_piped_in_is_passed_on_as_it_is_taken() {
    let place = Place::new();
    let _manager = with_a_task(&place);
    let typed = vec![b'a'; 20 * EXEC_WINDOW_BYTES as usize + 1];
    let args = ["task", "exec", "-i", "web.1", "--", "count"].map(str::to_owned);
    let counted = place.run(&args, &typed);
    assert_eq!((counted.status, &*counted.stderr), (0, ""));
    assert_eq!(counted.stdout.trim(), typed.len().to_string());
}

#[test]
fn a_reader_who_has_enough_ends_it() {
    let place = Place::new();
    let _manager = with_a_task(&place);
    let mut command = place.command();
    command.args(["task", "exec", "web.1", "--", "flood"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    std::io::copy(&mut std::io::Read::take(&mut stdout, 5_000_000), &mut std::io::sink()).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{output:?}");
}

#[test]
fn an_interrupt_ends_it_though_nobody_reads_and_nothing_is_typed() {
    let place = Place::new();
    let _manager = with_a_task(&place);
    let mut command = place.command();
    command.args(["task", "exec", "-i", "web.1", "--", "flood"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    // It has come to printing, and nobody reads on.
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0; 1]).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::INT,
    )
    .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
