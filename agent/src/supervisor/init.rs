//! PID 1 of a task's namespace: starts the task's program, reaps orphans, forwards signals.
//!
//! A fork of the supervisor, so it must stay small: it keeps two descriptors and the definition.
//! When the program ends it says how and ends too, and the kernel kills what is left in the
//! namespace. When the supervisor dies, the kernel kills it, and with it the namespace.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;

use sys::namespace;
use sys::poll::readable;
use sys::process::{self, Child, Program, Signals, fork};
use sys::socket::Connection;

use super::definition::Definition;
use super::status::{Outcome, explained};
use super::wire;

/// SIGCHLD: a child has ended, nothing to forward.
const CHILD: u8 = 17;

/// What init says to the supervisor.
#[derive(Debug, minicbor::Encode, minicbor::Decode)]
pub(super) enum Word {
    /// The program is started.
    #[n(0)]
    Started,
    /// The program has ended, or could not be started.
    #[n(1)]
    Over(#[n(0)] Outcome),
}

/// The task's standard input, output and error.
pub(super) struct Stdio {
    pub(super) input: File,
    pub(super) output: File,
    pub(super) error: File,
}

/// Runs as PID 1 until the program has ended; returns the exit code of the process.
pub(super) fn run(definition: &Definition, supervisor: &Connection, stdio: &Stdio) -> u8 {
    // The supervisor may have died before the kernel was asked to watch it: it says once that it
    // is there, and its silence is an end of file.
    if process::die_with_parent().is_err()
        || !matches!(supervisor.receive(&mut [0; 1]), Ok(Some(_)))
    {
        return 1;
    }
    let outcome = match start(definition, stdio) {
        Ok((program, signals)) => {
            say(supervisor, &Word::Started);
            attend(&program, &signals)
        }
        Err(outcome) => outcome,
    };
    say(supervisor, &Word::Over(outcome));
    0
}

/// If the supervisor does not hear it, it is dead, and so is this process at once.
pub(super) fn say(supervisor: &Connection, word: &Word) {
    supervisor.send(&wire::encode(word), &[]).ok();
}

fn start(definition: &Definition, stdio: &Stdio) -> Result<(Child, Signals), Outcome> {
    let refused = |error: &dyn std::error::Error| Outcome::Refused(explained(error));
    namespace::mount_proc().map_err(|error| refused(&error))?;
    let signals = Signals::block_all().map_err(|error| refused(&error))?;
    let program = program(definition, &definition.argv).map_err(Outcome::Refused)?;
    let (mut reader, writer) = process::pipe(false).map_err(|error| refused(&error))?;
    let keep = [stdio.input.as_fd(), stdio.output.as_fd(), stdio.error.as_fd(), writer.as_fd()];
    let child = fork(&keep, || become_program(&program, stdio, &writer));
    let child = child.map_err(|error| refused(&error))?;
    // The other write end closes when the program is executed; before, it may carry why it is not.
    drop(writer);
    let mut text = String::new();
    match reader.read_to_string(&mut text) {
        Ok(0) => Ok((child, signals)),
        Ok(_) => {
            let exit = child.wait().map_err(|error| refused(&error))?;
            Err(Outcome::NotStarted(exit.shell_code(), text))
        }
        Err(error) => Err(refused(&error)),
    }
}

/// A process of the task, up to its program.
pub(super) fn become_program(program: &Program, stdio: &Stdio, mut failure: &File) -> u8 {
    let (input, output, error) = (stdio.input.as_fd(), stdio.output.as_fd(), stdio.error.as_fd());
    let prepared =
        process::new_session().and_then(|()| process::replace_stdio(input, output, error));
    let (text, code) = match prepared {
        Ok(()) => {
            let error = program.exec();
            (explained(&error), error.shell_code())
        }
        Err(error) => (explained(&error), 126),
    };
    // A pipe has room for one message.
    failure.write_all(text.as_bytes()).ok();
    u8::try_from(code).unwrap_or(126)
}

/// A program as the task's own is run: by the same user, from the same folder, with the same
/// environment and limits.
pub(super) fn program(definition: &Definition, argv: &[String]) -> Result<Program, String> {
    let texts = |texts: &[String]| -> Result<Vec<CString>, String> {
        let texts = texts.iter().map(|text| CString::new(text.as_str()));
        texts.collect::<Result<_, _>>().map_err(|_| "a NUL cannot be passed to a program".into())
    };
    Ok(Program {
        argv: texts(argv)?,
        env: texts(&definition.env)?,
        dir: definition.dir.clone().into(),
        uid: definition.uid,
        gid: definition.gid,
        groups: definition.groups.clone(),
        core_limit: definition.core_limit(),
    })
}

/// Reaps and forwards until the program has ended.
fn attend(program: &Child, signals: &Signals) -> Outcome {
    let failed = |error: &dyn std::error::Error| Outcome::Lost(explained(error));
    loop {
        loop {
            match process::reap_any() {
                Ok(Some((pid, exit))) if pid == program.pid() => return exit.into(),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => return failed(&error),
            }
        }
        if let Err(error) = readable(&[signals.as_fd()], None) {
            return failed(&error);
        }
        loop {
            match signals.next_pending() {
                Ok(Some(CHILD)) => {}
                // It may be gone by now, or not allow it; the grace period goes on either way.
                Ok(Some(number)) => drop(program.signal(number)),
                Ok(None) => break,
                Err(error) => return failed(&error),
            }
        }
    }
}
