//! `service logs`: what tasks print, line by line, each with the task it comes from.
//!
//! A task's output is passed on as it is, to the stream it was written to. Not here: keeping and
//! selecting it (the agents do).

use std::collections::BTreeMap;

use proto::Kind;
use proto::id::Timestamp;
use proto::pb;

use super::{Session, counted};
use crate::cli::LogsArgs;
use crate::connection::{Connection, ask};
use crate::error::Error;
use crate::instant;
use crate::message::{Printer, task_stderr};
use crate::view::{self, task_name};

/// Characters of a task's id in a prefix: Docker's number.
const ID_CHARACTERS: usize = 12;

pub(super) async fn run(session: &Session, args: LogsArgs) -> Result<(), Error> {
    let wrong = |message: String, hint: &str| Error::Usage(Error::usage(message).hint(hint));
    let since = match &args.since {
        None => 0,
        Some(since) => {
            let since = instant::parse_since(since, session.now);
            since.map_err(|error| wrong(error, "see `secretctl service logs --help`"))?.0
        }
    };
    let tail = match args.tail.as_str() {
        "all" => None,
        lines => Some(lines.parse::<u64>().map_err(|_| {
            wrong(format!("invalid number of lines `{lines}`"), "give a number, or `all`")
        })?),
    };
    let connection = session.connect().await?;
    let (service_id, task_id) = find(&connection, &args.service).await?;
    let selector = pb::OutputSelector {
        service_id: service_id.clone(),
        task_id,
        follow: args.follow,
        since,
        tail,
        stdout: true,
        stderr: true,
    };
    let mut output = Output {
        connection: &connection,
        printer: session.printer,
        timestamps: args.timestamps,
        prefix: !args.no_prefix,
        service_id,
        tasks: BTreeMap::new(),
        slot_digits: 1,
    };
    tokio::select! {
        ended = output.pass_on(selector) => ended,
        // Whoever follows stops this way.
        _ = tokio::signal::ctrl_c() => Err(Error::Interrupted(None)),
    }
}

/// A service by name or id, or a task by its id or a unique beginning of it.
async fn find(connection: &Connection, wanted: &str) -> Result<(String, String), Error> {
    let request = pb::GetServiceRequest { service: wanted.to_owned() };
    let not_found = match ask!(connection, control.get_service(request)) {
        Ok(service) => return Ok((service.id, String::new())),
        Err(Error::Failed(failure)) if failure.kind == Kind::NotFound => failure,
        Err(error) => return Err(error),
    };
    let request = pb::ListTasksRequest { all: true, ..Default::default() };
    let tasks = ask!(connection, control.list_tasks(request))?.tasks;
    let mut matching = tasks.iter().filter(|task| task.id.starts_with(wanted));
    match (matching.next(), matching.next()) {
        (Some(task), None) => Ok((task.service_id.clone(), task.id.clone())),
        (Some(_), Some(_)) => {
            Err(Error::failed(Kind::Invalid, format!("task id `{wanted}` is ambiguous"))
                .hint("give more of it: `secretctl service ps --json` has whole ids")
                .into())
        }
        (None, _) => {
            Err(Error::failed(Kind::NotFound, format!("no such task or service: {wanted}"))
                .because(not_found.message)
                .hint("`secretctl service ls` and `secretctl service ps` show those there are")
                .into())
        }
    }
}

struct Output<'a> {
    connection: &'a Connection,
    printer: Printer,
    timestamps: bool,
    prefix: bool,
    service_id: String,
    /// By task id: its name, and its node's.
    tasks: BTreeMap<String, (String, String)>,
    slot_digits: usize,
}

impl Output<'_> {
    async fn pass_on(&mut self, selector: pb::OutputSelector) -> Result<(), Error> {
        let mut records = ask!(self.connection, control.stream_output(selector))?;
        self.learn_tasks().await?;
        while let Some(record) =
            records.message().await.map_err(|status| cut_short(status.into()))?
        {
            if !self.tasks.contains_key(&record.task_id) {
                self.learn_tasks().await?;
            }
            self.print(&record)?;
        }
        Ok(())
    }

    /// Names of tasks and nodes; a task that is gone keeps its id for a name.
    async fn learn_tasks(&mut self) -> Result<(), Error> {
        let request = pb::ListTasksRequest {
            service: self.service_id.clone(),
            node: String::new(),
            all: true,
        };
        for task in ask!(self.connection, control.list_tasks(request))?.tasks {
            self.slot_digits = self.slot_digits.max(task.slot.to_string().len());
            let name = task_name(&task);
            let node =
                if task.node_hostname.is_empty() { task.node_id } else { task.node_hostname };
            self.tasks.insert(task.id, (name, node));
        }
        Ok(())
    }

    fn print(&self, record: &pb::OutputRecord) -> Result<(), Error> {
        let unknown = || (record.task_id.clone(), record.node_id.clone());
        let (task, node) = self.tasks.get(&record.task_id).cloned().unwrap_or_else(unknown);
        let stream = record.stream();
        if self.printer.json {
            return self.printer.json_line(&view::OutputLine {
                task_id: record.task_id.clone(),
                task,
                node,
                at: (record.at > 0).then(|| Timestamp(record.at).to_rfc3339()),
                stream: match stream {
                    pb::OutputStream::Stdout => "stdout",
                    pb::OutputStream::Stderr => "stderr",
                    pb::OutputStream::System => "system",
                },
                line: String::from_utf8_lossy(&record.line).into_owned(),
                dropped: record.dropped,
            });
        }
        if record.dropped > 0 {
            let dropped = usize::try_from(record.dropped).unwrap_or(usize::MAX);
            self.printer.warning(&format!("{} of task {task} were lost", counted(dropped, "line")));
        }
        if stream == pb::OutputStream::System {
            self.printer.warning(&String::from_utf8_lossy(&record.line));
            return Ok(());
        }
        let mut line = Vec::with_capacity(record.line.len() + 96);
        if self.timestamps {
            line.extend_from_slice(Timestamp(record.at).to_rfc3339().as_bytes());
            line.push(b' ');
        }
        if self.prefix {
            line.extend_from_slice(self.prefix_of(&record.task_id, &task, &node).as_bytes());
        }
        line.extend_from_slice(&record.line);
        line.push(b'\n');
        if stream == pb::OutputStream::Stderr {
            task_stderr(&line);
            return Ok(());
        }
        self.printer.bytes(&line)
    }

    /// `web.1.<12 characters of its id>@node    | `, padded so that slots of different lengths
    /// line up, as Docker does.
    fn prefix_of(&self, id: &str, name: &str, node: &str) -> String {
        let short: String = id.chars().take(ID_CHARACTERS).collect();
        let slot = name.rsplit_once('.').map_or("", |(_, slot)| slot);
        let padding = " ".repeat(self.slot_digits.saturating_sub(slot.len()));
        format!("{name}.{short}@{node}{padding}    | ")
    }
}

/// A stream that ends early: what came is true, more may be there.
fn cut_short(failure: link::Failure) -> Error {
    let because = failure.because.unwrap_or(failure.message);
    let mut told = Error::failed(failure.kind, "the output was cut short").because(because);
    told.hints = failure.hints;
    told.hint("repeat the command; `--since` leaves out what you have").into()
}
