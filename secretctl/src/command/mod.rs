//! What each command does: build a request, send it, show the answer. One file a group.
//!
//! Not here: what can be typed (`cli`), how a manager is found (`connection`), what it looks like
//! on paper (`view`, `table`).

mod cluster;
mod config;
mod context;
#[cfg(feature = "cluster")]
mod demo;
#[cfg(feature = "cluster")]
mod dev;
mod logs;
mod node;
mod operator;
mod removed;
mod secret;
mod service;
mod stack;
mod task;

use std::io::Read as _;

use proto::Kind;
use proto::id::Timestamp;
use proto::token::JoinToken;
use zeroize::Zeroizing;

use crate::cli::{Cli, Command, GlobalArgs};
use crate::connection::Connection;
use crate::error::Error;
use crate::message::Printer;
use crate::{generate, instant, value};

/// What every command has.
pub(crate) struct Session {
    pub(crate) global: GlobalArgs,
    pub(crate) printer: Printer,
    /// When the command began.
    pub(crate) now: Timestamp,
}

impl Session {
    /// Finds the managers to talk to.
    pub(crate) async fn connect(&self) -> Result<Connection, Error> {
        Connection::open(&self.global).await
    }

    /// How long ago something happened, for tables.
    pub(crate) fn ago(&self, ms: u64) -> String {
        instant::ago(Timestamp(ms), self.now)
    }
}

/// Does what was asked for.
pub(crate) async fn run(cli: Cli) -> Result<(), Error> {
    let printer = Printer { json: cli.global.json, quiet: cli.global.quiet };
    let session = Session { global: cli.global, printer, now: instant::now() };
    match cli.command {
        Command::Secret(command) | Command::SecretGroup(command) => {
            secret::run(&session, command).await
        }
        Command::Config(command) => config::run(&session, command).await,
        Command::Service(command) => service::run(&session, command).await,
        Command::Task(command) => task::run(&session, command).await,
        Command::Stack(command) => stack::run(&session, command).await,
        Command::Node(command) => node::run(&session, command).await,
        Command::Cluster(command) => cluster::run(&session, command).await,
        Command::Operator(command) => operator::run(&session, command).await,
        Command::Context(command) => context::run(&session, command).await,
        #[cfg(feature = "cluster")]
        Command::Demo(args) => demo::run(&session, &args).await,
        #[cfg(feature = "cluster")]
        Command::Dev(args) => dev::run(&session, &args).await,
        Command::Completion { shell } => printer.bytes(&generate::completion(shell)),
        Command::Man { dir } => generate::man(dir.as_deref(), printer),
    }
}

/// Counts what went wrong while a command goes through several objects.
///
/// A refusal is told and the next object is tried; when no manager is to be had, the rest would
/// only wait for the same.
#[derive(Default)]
pub(crate) struct Tally {
    refused: bool,
    over: Option<Error>,
}

impl Tally {
    /// The value, or none if there is none.
    pub(crate) fn count<T>(&mut self, printer: Printer, outcome: Result<T, Error>) -> Option<T> {
        match outcome {
            Ok(value) => return Some(value),
            Err(Error::Failed(failure)) if failure.kind.exit_code() == 1 => {
                printer.error(failure.into());
                self.refused = true;
            }
            Err(error) => self.over = Some(error),
        }
        None
    }

    /// Whether the rest need not be tried.
    pub(crate) const fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// Done, or 1 if anything was refused, or what ended it; what was done is shown before.
    pub(crate) fn end(self) -> Result<(), Error> {
        match self.over {
            Some(error) => Err(error),
            None if self.refused => Err(Error::Reported(Kind::Invalid.exit_code())),
            None => Ok(()),
        }
    }
}

/// Longest line of standard input that is read as a token, in bytes. A token has about 260.
const TOKEN_BYTES_MAX: u64 = 1024;

/// A token from an option, or from standard input if that is `-`.
fn read_token(option: &str) -> Result<(JoinToken, Zeroizing<String>), Error> {
    let mut text = Zeroizing::new(String::with_capacity(1024));
    if option == "-" {
        let read =
            value::stdin().and_then(|stdin| stdin.take(TOKEN_BYTES_MAX).read_to_string(&mut text));
        read.map_err(|error| {
            Error::failed(Kind::Invalid, "the token could not be read")
                .because(error.to_string())
                .hint("pipe it, or put it after `--token`")
        })?;
    } else {
        text.push_str(option);
    }
    let token = text.parse::<JoinToken>().map_err(|error| {
        Error::failed(Kind::Invalid, error.to_string()).hint("copy it again, whole, in one word")
    })?;
    Ok((token, text))
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [only] => only.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// `1 secret`, `2 secrets`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Labels on one line.
pub(crate) fn labels(labels: &std::collections::BTreeMap<String, String>) -> String {
    let pair = |(key, value): (&String, &String)| {
        if value.is_empty() { key.clone() } else { format!("{key}={value}") }
    };
    labels.iter().map(pair).collect::<Vec<_>>().join(", ")
}
