//! The system calls themselves: nothing is acknowledged before a real flush, and those that wait
//! together share one.

use std::process::Command;

use sys::require::{Need, skip};

use super::{Load, Role, WRITER};

/// Flushes that 64 entries at once may take; one at a time would take 64.
const SHARED_FLUSHES_MAX: usize = 16;

/// A system call, by the lines of the trace where it began and ended.
#[derive(Debug)]
struct Call {
    thread: String,
    name: String,
    arguments: String,
    began: usize,
    ended: usize,
}

/// The calls of a trace by `strace -f`, whose lines stand in the order of what they tell.
fn calls_of(trace: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    for (line, text) in trace.lines().enumerate() {
        let Some((thread, text)) = text.split_once(' ') else { continue };
        let text = text.trim_start();
        if let Some(resumed) = text.strip_prefix("<... ") {
            let name = resumed.split(' ').next().unwrap();
            let mine = |call: &&mut Call| call.thread == thread && call.name == name;
            let call = calls.iter_mut().rev().find(mine);
            let call = call.unwrap_or_else(|| panic!("line {line} resumes nothing: {text}"));
            call.ended = line;
            assert!(!resumed.contains("= -1"), "{text}");
        } else if let Some((name, arguments)) = text.split_once('(') {
            let unfinished = arguments.contains("<unfinished ...>");
            calls.push(Call {
                thread: thread.to_owned(),
                name: name.to_owned(),
                arguments: arguments.to_owned(),
                began: line,
                ended: if unfinished { usize::MAX } else { line },
            });
        }
    }
    calls
}

/// The trace of a writer, or why there is none.
fn trace() -> Result<String, String> {
    let base = tempfile::tempdir().unwrap();
    let file = base.path().join("trace");
    let file = file.to_str().unwrap();
    let tried = Command::new("strace").args(["-o", file, "true"]).output();
    match tried {
        Ok(output) if output.status.success() => {}
        Ok(output) => return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => return Err(format!("strace: {error}")),
    }
    let calls = "trace=fdatasync,fsync,pwrite64,write,sendto";
    let before = ["strace", "-f", "-y", "-s", "64", "-e", calls, "-o", file];
    let data = base.path().join("data");
    let mut role = Role::start(WRITER, &before, base.path(), &data, Load::Counted, 1).unwrap();
    while role.next_line().is_some() {}
    assert!(role.wait().success());
    Ok(std::fs::read_to_string(file).unwrap())
}

#[test]
fn nothing_is_acknowledged_before_a_flush_and_flushes_are_shared() {
    let test = "nothing_is_acknowledged_before_a_flush_and_flushes_are_shared";
    let trace = match trace() {
        Ok(trace) => trace,
        Err(reason) => return skip(test, Need::Strace, &reason),
    };
    let calls = calls_of(&trace);
    let on_journal = |call: &&Call| call.arguments.contains("/data/journal>");
    let named = |name: &'static str| {
        calls.iter().filter(move |call| call.name == name && on_journal(call)).collect::<Vec<_>>()
    };
    let (writes, flushes) = (named("pwrite64"), named("fdatasync"));
    let told = |word: &str| {
        let word = format!("\"{word}");
        let is_told = |call: &&Call| call.arguments.contains(&word);
        calls.iter().filter(is_told).map(|call| call.began).collect::<Vec<_>>()
    };

    let acked = told("acked ");
    assert_eq!(acked.len(), 10 + 64, "{trace}");
    let mut before = 0;
    for (number, at) in acked.iter().copied().enumerate() {
        // What was written for it had ended when the flush began, and that when it was told.
        let written = writes.iter().filter(|write| write.ended < at).map(|write| write.ended).max();
        let written = written.unwrap();
        let flushed = flushes.iter().any(|flush| written <= flush.began && flush.ended < at);
        assert!(flushed, "acknowledgement {number} came before its flush");
        if number < 10 {
            assert!(written > before, "acknowledgement {number} came before its entry was written");
            before = at;
        }
    }

    let (from, to) = (told("burst\\n")[0], told("burst over")[0]);
    let shared = flushes.iter().filter(|flush| from < flush.began && flush.ended < to).count();
    assert!((1..=SHARED_FLUSHES_MAX).contains(&shared), "{shared} flushes for 64 entries at once");
}
