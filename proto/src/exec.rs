//! How a command that runs in a task is talked to: what may be said, in which order and how much.
//!
//! Four programs are in a row: whoever asked for it, one manager or two, and the agent. Each direction
//! has a window: a side sends at most [`EXEC_WINDOW_BYTES`] more than the other has said it took. What
//! is in between passes messages on and checks both sides by [`Flow`]. Not here: transport, processes.
//!
//! Invariant: what passed a [`Flow`] has the order and the bounds that its far end relies on, whoever
//! sent it; between its two ends a direction holds at most one window.

use crate::convert::ParseError;
use crate::limits::{
    EXEC_ARGUMENTS_BYTES_MAX, EXEC_ARGUMENTS_MAX, EXEC_DATA_BYTES_MAX, EXEC_WINDOW_BYTES,
};
use crate::pb::exec_input::Input;
use crate::pb::exec_output::Output;
use crate::pb::{ExecInput, ExecOutput, ExecStart, OutputStream};

/// What a message costs at least: a window of single bytes is not thousands of times its size in memory.
const COST_MIN: u32 = 64;

/// What a message costs of the window.
fn cost(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX).max(COST_MIN)
}

/// What one side may still send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Credit(u32);

impl Default for Credit {
    /// A whole window: nobody waits before the first byte.
    fn default() -> Self {
        Self(EXEC_WINDOW_BYTES)
    }
}

impl Credit {
    /// Bytes that may be sent now, in one message.
    fn for_one_message(self) -> usize {
        if self.0 < COST_MIN {
            return 0;
        }
        EXEC_DATA_BYTES_MAX.min(usize::try_from(self.0).unwrap_or(usize::MAX))
    }

    /// Takes what a message costs. Fails if it holds nothing, or more than a message may, or than is left.
    fn spend(&mut self, bytes: usize) -> Result<(), ParseError> {
        let wrong = |reason| Err(ParseError::new("data", reason));
        let Some(left) = self.0.checked_sub(cost(bytes)) else {
            return wrong("more than was granted");
        };
        match bytes {
            0 => wrong("a message without any"),
            1..=EXEC_DATA_BYTES_MAX => {
                self.0 = left;
                Ok(())
            }
            _ => wrong("too much for one message"),
        }
    }

    /// Adds what the other side says it took. Fails if that is nothing, or more than was sent.
    fn grant(&mut self, bytes: u64) -> Result<(), ParseError> {
        let more = u32::try_from(bytes).ok().and_then(|bytes| self.0.checked_add(bytes));
        match more.filter(|more| bytes > 0 && *more <= EXEC_WINDOW_BYTES) {
            Some(more) => {
                self.0 = more;
                Ok(())
            }
            None => Err(ParseError::new("granted", "not what was sent")),
        }
    }
}

/// What one side has taken and not said yet: it is said in large pieces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken(u32);

impl Taken {
    /// Notes bytes that were taken; gives what is to be granted now, if anything.
    pub fn note(&mut self, bytes: usize) -> Option<u64> {
        self.0 = self.0.saturating_add(cost(bytes));
        (self.0 >= EXEC_WINDOW_BYTES / 4).then(|| u64::from(core::mem::take(&mut self.0)))
    }
}

/// Where the output's side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Asked,
    Started,
    Over,
}

/// One command's conversation, as its two ends and whoever passes it on see it; it begins after its start.
#[derive(Debug, Clone)]
pub struct Flow {
    input: Credit,
    output: Credit,
    takes_input: bool,
    phase: Phase,
}

impl Flow {
    /// After a command was asked for.
    pub fn new(start: &ExecStart) -> Self {
        let (input, output) = (Credit::default(), Credit::default());
        Self { input, output, takes_input: start.input, phase: Phase::Asked }
    }

    /// Checks a message towards the command.
    ///
    /// # Errors
    ///
    /// If it may not come, or not now.
    pub fn input(&mut self, message: &ExecInput) -> Result<(), ParseError> {
        match &message.input {
            Some(Input::Data(data)) if self.takes_input => self.input.spend(data.len()),
            Some(Input::End(_)) if self.takes_input => {
                self.takes_input = false;
                Ok(())
            }
            Some(Input::Granted(bytes)) => self.output.grant(*bytes),
            // One that a later version has and this does not.
            None => Ok(()),
            Some(Input::Start(_)) => Err(ParseError::new("start", "it was started already")),
            Some(Input::Data(_) | Input::End(_)) => {
                Err(ParseError::new("data", "its standard input is closed"))
            }
        }
    }

    /// Checks a message from the command.
    ///
    /// # Errors
    ///
    /// If it may not come, or not now.
    pub fn output(&mut self, message: &ExecOutput) -> Result<(), ParseError> {
        let wrong = |field, reason| Err(ParseError::new(field, reason));
        match (&message.output, self.phase) {
            (_, Phase::Over) => wrong("output", "it is over"),
            (None, _) => Ok(()),
            (Some(Output::Started(_)), Phase::Asked) => {
                self.phase = Phase::Started;
                Ok(())
            }
            (Some(Output::Data(data)), Phase::Started) => {
                if data.stream() == OutputStream::System {
                    return wrong("stream", "a command has two");
                }
                self.output.spend(data.data.len())
            }
            (Some(Output::Granted(bytes)), Phase::Started) => self.input.grant(*bytes),
            (Some(Output::Ended(_)), _) | (Some(Output::Refused(_)), Phase::Asked) => {
                self.phase = Phase::Over;
                Ok(())
            }
            (Some(Output::ExecId(_)), _) => wrong("exec_id", "it was said already"),
            (Some(Output::Started(_) | Output::Refused(_)), Phase::Started) => {
                wrong("output", "it was started already")
            }
            (Some(Output::Data(_) | Output::Granted(_)), Phase::Asked) => {
                wrong("output", "it was not started")
            }
        }
    }

    /// Bytes of input that may be sent now, in one message.
    pub fn input_room(&self) -> usize {
        self.input.for_one_message()
    }

    /// Bytes of output that may be sent now, in one message.
    pub fn output_room(&self) -> usize {
        self.output.for_one_message()
    }

    /// Whether the last message has come.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }
}

/// Checks a command and its arguments.
///
/// # Errors
///
/// If there is none, or too much of it, or a NUL, which no program can be given.
pub fn check_arguments(argv: &[String]) -> Result<(), ParseError> {
    let wrong = |reason: String| Err(ParseError::new("argv", reason));
    let bytes: usize = argv.iter().map(|argument| argument.len() + 1).sum();
    if argv.first().is_none_or(String::is_empty) {
        return wrong("there is no command".into());
    }
    if argv.len() > EXEC_ARGUMENTS_MAX {
        return wrong(format!("more than {EXEC_ARGUMENTS_MAX} arguments"));
    }
    if bytes > EXEC_ARGUMENTS_BYTES_MAX {
        return wrong(format!("the arguments have more than {EXEC_ARGUMENTS_BYTES_MAX} bytes"));
    }
    if argv.iter().any(|argument| argument.contains('\0')) {
        return wrong("a NUL cannot be passed to a program".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::{ErrorDetail, ExecData, ExecEnded, ExecInputEnd, ExecStarted};

    const WINDOW: usize = EXEC_WINDOW_BYTES as usize;

    fn input(input: Input) -> ExecInput {
        ExecInput { input: Some(input) }
    }

    fn typed(bytes: usize) -> ExecInput {
        input(Input::Data(vec![0; bytes].into()))
    }

    fn output(output: Output) -> ExecOutput {
        ExecOutput { output: Some(output) }
    }

    fn printed(bytes: usize) -> ExecOutput {
        output(Output::Data(ExecData { stream: 0, data: vec![0; bytes].into() }))
    }

    fn flow(takes_input: bool) -> Flow {
        Flow::new(&ExecStart { input: takes_input, ..ExecStart::default() })
    }

    fn started(takes_input: bool) -> Flow {
        let mut flow = flow(takes_input);
        flow.output(&output(Output::Started(ExecStarted {}))).unwrap();
        flow
    }

    #[test]
    fn a_window_is_what_may_be_on_its_way() {
        let mut credit = Credit::default();
        assert_eq!(credit.for_one_message(), EXEC_DATA_BYTES_MAX);
        for _ in 0..WINDOW / EXEC_DATA_BYTES_MAX {
            credit.spend(EXEC_DATA_BYTES_MAX).unwrap();
        }
        assert_eq!(credit.for_one_message(), 0);
        credit.spend(1).unwrap_err();
        credit.grant(100).unwrap();
        assert_eq!(credit.for_one_message(), 100);
        credit.spend(101).unwrap_err();
        credit.spend(100).unwrap();
        // A single byte has a price, too.
        credit.grant(u64::from(COST_MIN) - 1).unwrap();
        assert_eq!(credit.for_one_message(), 0);
        credit.spend(1).unwrap_err();
        credit.grant(1).unwrap();
        credit.spend(1).unwrap();
        assert_eq!(credit.for_one_message(), 0);
        // More than was sent, and nothing.
        credit.grant(u64::from(EXEC_WINDOW_BYTES) + 1).unwrap_err();
        credit.grant(u64::MAX).unwrap_err();
        credit.grant(0).unwrap_err();
        credit.grant(u64::from(EXEC_WINDOW_BYTES)).unwrap();
        assert_eq!(credit, Credit::default());
        credit.spend(EXEC_DATA_BYTES_MAX + 1).unwrap_err();
        credit.spend(0).unwrap_err();
        assert_eq!(credit, Credit::default(), "what was refused cost nothing");
    }

    #[test]
    fn what_was_taken_is_granted_before_the_window_is_empty() {
        let (mut credit, mut taken, mut grants) = (Credit::default(), Taken::default(), 0);
        for _ in 0..1_000 {
            credit.spend(1_000).unwrap();
            if let Some(granted) = taken.note(1_000) {
                credit.grant(granted).unwrap();
                grants += 1;
            }
        }
        assert!((10..20).contains(&grants), "{grants} messages for a megabyte");
    }

    #[test]
    fn input_goes_to_who_takes_it_in_order() {
        let mut flow = started(true);
        flow.input(&typed(1)).unwrap();
        flow.input(&input(Input::Start(ExecStart::default()))).unwrap_err();
        flow.input(&input(Input::End(ExecInputEnd {}))).unwrap();
        flow.input(&typed(1)).unwrap_err();
        flow.input(&input(Input::End(ExecInputEnd {}))).unwrap_err();
        // Output is granted all the same.
        flow.output(&printed(500)).unwrap();
        flow.input(&input(Input::Granted(500))).unwrap();
        flow.input(&input(Input::Granted(1))).unwrap_err();
        started(false).input(&typed(1)).unwrap_err();
        started(false).input(&input(Input::End(ExecInputEnd {}))).unwrap_err();
        started(false).input(&ExecInput { input: None }).unwrap();
    }

    #[test]
    fn input_is_bounded_by_what_the_command_has_read() {
        let mut flow = started(true);
        for _ in 0..WINDOW / EXEC_DATA_BYTES_MAX {
            flow.input(&typed(EXEC_DATA_BYTES_MAX)).unwrap();
        }
        flow.input(&typed(1)).unwrap_err();
        flow.output(&output(Output::Granted(u64::from(COST_MIN)))).unwrap();
        flow.input(&typed(1)).unwrap();
        flow.input(&typed(1)).unwrap_err();
    }

    #[test]
    fn output_comes_between_its_start_and_its_end() {
        let ended = || output(Output::Ended(ExecEnded::default()));
        let refused = || output(Output::Refused(ErrorDetail::default()));
        let start = || output(Output::Started(ExecStarted {}));
        for early in [
            printed(1),
            output(Output::Granted(1)),
            output(Output::ExecId([0; 16].to_vec().into())),
        ] {
            flow(true).output(&early).unwrap_err();
        }
        for last in [ended(), refused()] {
            let mut flow = flow(true);
            assert!(!flow.is_over());
            flow.output(&last).unwrap();
            assert!(flow.is_over());
            for late in [ended(), refused(), start(), printed(1), ExecOutput { output: None }] {
                flow.output(&late).unwrap_err();
            }
        }
        let mut flow = started(true);
        flow.output(&start()).unwrap_err();
        flow.output(&refused()).unwrap_err();
        flow.output(&printed(1)).unwrap();
        let system = ExecData { stream: OutputStream::System.into(), data: vec![0].into() };
        flow.output(&output(Output::Data(system))).unwrap_err();
        flow.output(&printed(EXEC_DATA_BYTES_MAX + 1)).unwrap_err();
        flow.output(&ended()).unwrap();
    }

    #[test]
    fn output_is_bounded_by_what_was_taken() {
        let mut flow = started(false);
        for _ in 0..WINDOW / EXEC_DATA_BYTES_MAX {
            flow.output(&printed(EXEC_DATA_BYTES_MAX)).unwrap();
        }
        flow.output(&printed(1)).unwrap_err();
        flow.input(&input(Input::Granted(100))).unwrap();
        flow.output(&printed(100)).unwrap();
        flow.output(&printed(1)).unwrap_err();
    }

    #[test]
    fn a_command_has_bounds() {
        let check = |argv: &[&str]| {
            let argv: Vec<String> = argv.iter().map(ToString::to_string).collect();
            check_arguments(&argv).map_err(|error| error.reason)
        };
        check(&["sh"]).unwrap();
        assert_eq!(check(&[]).unwrap_err(), "there is no command");
        assert_eq!(check(&["", "a"]).unwrap_err(), "there is no command");
        check(&["a", ""]).unwrap();
        check(&["a"; EXEC_ARGUMENTS_MAX]).unwrap();
        assert_eq!(check(&["a"; EXEC_ARGUMENTS_MAX + 1]).unwrap_err(), "more than 256 arguments");
        let long = "a".repeat(EXEC_ARGUMENTS_BYTES_MAX - 1);
        check(&[&long]).unwrap();
        let longer = format!("{long}a");
        assert_eq!(check(&[&longer]).unwrap_err(), "the arguments have more than 32768 bytes");
        assert_eq!(check(&["a", "b\0c"]).unwrap_err(), "a NUL cannot be passed to a program");
    }
}
