//! `demo`: one secret's whole way, on a cluster made for it, and a search for it where it must not
//! be.
//!
//! Nothing is staged: the secret is stored as `create` stores it, the service is one like any
//! other, and what the task sees is what it printed. Not here: the cluster itself (`throwaway`).
//!
//! Invariant: a secret that was piped in is neither printed nor written to any disk.

mod folder;
pub(super) mod mount;
mod search;
mod task;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::time::Duration;

use proto::Kind;
use proto::convert::EnumField as _;
use proto::name::SecretName;
use proto::pb;
use proto::spec::{LogPolicy, RestartCondition};
use seal::{Plaintext, ReadError};
use sys::file::Folder;

use self::mount::Mounting;
use self::search::{Needle, Outcome, Search, VALUE_BYTES_MIN};
use self::task::{END, SECRETS, Sight};
use super::{Session, counted, secret};
use crate::cli::DemoArgs;
use crate::connection::{Connection, ask, request_key};
use crate::error::{Error, chain};
use crate::message::Printer;
use crate::throwaway::{Deaths, Throwaway, with};
use crate::value::{self, ValueError};
use crate::{progress, view};

/// The service's name.
const SERVICE: &str = "demo";

/// How long the task may take to say what it sees.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a value is not looked for that was there before.
const WAS_THERE: &str = "the value was there before it was stored: finding it would say nothing";

/// How often a manager that applies what others have committed is looked at again.
const CONTROL_TRIES: u32 = 20;
const CONTROL_EVERY: Duration = Duration::from_millis(100);

pub(super) async fn run(session: &Session, args: &DemoArgs) -> Result<(), Error> {
    let value = Value::read(session.printer)?;
    let mounting = mount::look()?;
    let seen = with(session, Deaths::Fail, async |cluster| {
        Box::pin(Demo { cluster, value, mounting, printer: session.printer }.show(args)).await
    })
    .await?;
    if session.printer.json {
        session.printer.json(&seen)?;
    } else {
        session.printer.progress("all of it held; nothing is left of the cluster");
    }
    Ok(())
}

/// The secret that is shown.
struct Value {
    plaintext: Plaintext,
    is_made: bool,
}

impl Value {
    /// What is piped in, or one that is made.
    fn read(printer: Printer) -> Result<Self, Error> {
        if is_piped() {
            printer.progress("reading the secret from standard input");
            match value::read(SERVICE, Path::new("-")) {
                // A pipe with nothing in it is what programs get that start this one.
                Err(ValueError::Read { source: ReadError::Empty, .. }) => {}
                read => return Ok(Self { plaintext: read?, is_made: false }),
            }
        }
        let text = proto::hex::encode(&seal::random::<16>());
        let plaintext = plaintext(text.as_bytes())?;
        Ok(Self { plaintext, is_made: true })
    }

    fn bytes(&self) -> &[u8] {
        self.plaintext.expose()
    }
}

/// Whether standard input is a pipe, a socket or a file; not a terminal, nor /dev/null.
fn is_piped() -> bool {
    value::stdin().and_then(|stdin| stdin.metadata()).is_ok_and(|metadata| {
        let kind = metadata.file_type();
        kind.is_fifo() || kind.is_socket() || kind.is_file()
    })
}

fn plaintext(bytes: &[u8]) -> Result<Plaintext, Error> {
    Plaintext::born(bytes.len(), |room| room.copy_from_slice(bytes))
        .map_err(|source| ValueError::Read { from: "the demonstration".into(), source }.into())
}

/// Something is not as it should be.
fn broken(what: impl Into<String>, because: impl Into<String>) -> Error {
    Error::failed(Kind::Internal, what)
        .because(because)
        .hint("this should not happen: please report it, with the output of this command")
        .into()
}

/// Where the value is though it was not stored yet.
struct Before {
    on_disk: bool,
    in_memory: bool,
}

struct Demo<'a, 'b> {
    cluster: &'a mut Throwaway<'b>,
    value: Value,
    mounting: Mounting,
    printer: Printer,
}

impl Demo<'_, '_> {
    async fn show(mut self, args: &DemoArgs) -> Result<view::Demo, Error> {
        let weaker = self.mounting.weaknesses();
        for weakness in &weaker {
            self.printer.warning(weakness);
        }
        self.cluster.start_managers(args.managers).await?;
        let needles = self.needles();
        let before = self.look_before(&needles)?;
        let (name, created) = self.store().await?;
        let sight = self.run_task(&name, &created).await?;
        let task = self.judge(&sight)?;
        let disk = self.search_disks(&needles, &before)?;
        let memory = self.search_memory(&needles, &before, &name).await?;
        Ok(view::Demo {
            mode: self.mounting.as_str(),
            weaker,
            managers: self.cluster.managers.len(),
            secret: view::DemoSecret {
                id: created.id,
                name: name.to_string(),
                bytes: self.value.plaintext.len(),
                is_made: self.value.is_made,
            },
            task,
            disk,
            memory,
        })
    }

    fn say(&self, text: &str) -> Result<(), Error> {
        if self.printer.json { Ok(()) } else { self.printer.data(text) }
    }

    /// What is looked for; nothing if it is too short.
    fn needles(&self) -> Vec<Needle> {
        let value = self.value.bytes();
        if value.len() < VALUE_BYTES_MIN { Vec::new() } else { Needle::forms(value) }
    }

    /// Stores the secret as `create` does.
    async fn store(&self) -> Result<(SecretName, pb::CreateSecretResponse), Error> {
        // Such that it is nowhere by chance.
        let name = format!("demo_{}", proto::hex::encode(&seal::random::<4>()));
        let name: SecretName = name
            .parse()
            .map_err(|error: proto::name::NameError| broken("no name", chain(&error)))?;
        let mut connection = self.connect().await?;
        let value = plaintext(self.value.bytes())?;
        let created = secret::store(&mut connection, &name, value, BTreeMap::new(), vec![]).await?;
        let bytes = self.value.plaintext.len();
        let shown = if self.value.is_made {
            format!("made here: {}", String::from_utf8_lossy(self.value.bytes()))
        } else {
            "from standard input, not shown".into()
        };
        self.say(&format!(
            "secret {name}, {bytes} bytes, {shown}\n  sealed here, committed by the managers as {}",
            created.id
        ))?;
        Ok((name, created))
    }

    async fn connect(&self) -> Result<Connection, Error> {
        self.cluster.session().connect().await
    }

    /// Runs the task, and says what it sees.
    async fn run_task(
        &mut self,
        name: &SecretName,
        created: &pb::CreateSecretResponse,
    ) -> Result<(String, Sight), Error> {
        let nonce = proto::hex::encode(&seal::random::<16>());
        let command = task::command(&nonce, name.as_str());
        if !matches!(self.mounting, Mounting::Impossible(_)) {
            self.cluster.start_agent().await?;
        }
        let connection = self.connect().await?;
        let spec = service(name, &created.id, command);
        let request = pb::CreateServiceRequest { request_key: request_key(), spec: Some(spec) };
        let service = ask!(connection, control.create_service(request))?;
        let said = async {
            if let Mounting::Impossible(reason) = &self.mounting {
                return folder::run(self.cluster, reason).await;
            }
            progress::wait(&connection, &service.id, progress::Goal::Declared, self.printer)
                .await?;
            output(&connection, &service.id).await
        };
        let said = tokio::time::timeout(PATIENCE, Box::pin(said)).await;
        let lines =
            said.map_err(|_| broken("the task did not say what it sees", "time is up"))??;
        Ok((nonce, Sight::parse(&lines)?))
    }

    /// Whether the task sees what it should.
    fn judge(&self, (nonce, sight): &(String, Sight)) -> Result<view::DemoTask, Error> {
        let folder = match &self.mounting {
            Mounting::Impossible(_) => format!("\"${}\"", task::FOLDER),
            _ => SECRETS.to_owned(),
        };
        let mut text = format!("a task that uses it sees, by `ls -ln {folder}`");
        for line in &sight.files {
            text.push_str("\n  ");
            text.push_str(line);
        }
        let mount = sight.mount.as_ref();
        if let Some(mount) = mount {
            let options = mount.options.join(",");
            write!(text, "\n  in a mount of its own: {} ({options})", mount.filesystem).ok();
        }
        self.say(&text)?;
        let wanted: &[&str] = match &self.mounting {
            Mounting::Root(sys::mount::Kind::TmpfsNoswap) => {
                &["ro", "nosuid", "nodev", "noexec", "noswap"]
            }
            Mounting::Root(_) | Mounting::User(_) => &["ro", "nosuid", "nodev", "noexec"],
            Mounting::Impossible(_) => &[],
        };
        for option in wanted {
            if !mount.is_some_and(|mount| mount.has(option)) {
                let what = format!("the task's secrets are not mounted `{option}`");
                return Err(broken(what, format!("its mount is {mount:?}")));
            }
        }
        if !sight.has_value(nonce, self.value.bytes()) {
            return Err(broken(
                "the task read another value than was stored",
                "the SHA-256 of a nonce and the value is another one here and there",
            ));
        }
        self.say("  the value it reads is the one that was stored (compared by a salted SHA-256)")?;
        Ok(view::DemoTask {
            files: sight.files.clone(),
            filesystem: mount.map(|mount| mount.filesystem.clone()),
            options: mount.map(|mount| mount.options.clone()).unwrap_or_default(),
            value_is_the_one_stored: true,
        })
    }

    /// Searches everything that the managers have written.
    fn search_disks(&self, needles: &[Needle], before: &Before) -> Result<view::DemoSearch, Error> {
        let place = "the managers' disks";
        if needles.is_empty() {
            return Ok(self.not_searched(place, too_short()));
        }
        if before.on_disk {
            return Ok(self.not_searched(place, WAS_THERE.into()));
        }
        // Something that was never stored, in the same forms: it must be found.
        let marker = seal::random::<24>();
        let markers = Needle::forms(&marker);
        let control = Folder::create_private(self.cluster.layout().of("control"))
            .map_err(|error| no_disk(&chain(&error)))?;
        for (number, marker) in markers.iter().enumerate() {
            control
                .replace(&format!("{number}"), 0o600, marker.bytes())
                .map_err(|error| no_disk(&chain(&error)))?;
        }
        let all: Vec<Needle> = needles
            .iter()
            .chain(&markers)
            .map(|needle| Needle::exactly(needle.form, needle.bytes()))
            .collect();
        let mut search = Search::new(&all);
        let managers = self.cluster.managers.iter().map(|manager| manager.name.as_str());
        for name in managers.chain(["control"]) {
            search
                .folder(&self.cluster.layout().of(name))
                .map_err(|error| no_disk(&error.to_string()))?;
        }
        let outcome = search.end();
        let is_marker = |found: &&usize| **found >= needles.len();
        if outcome.found.keys().filter(is_marker).count() != markers.len() {
            return Err(broken(
                "the search of the managers' disks proves nothing",
                "it did not find all that was planted",
            ));
        }
        refuse_found(place, &outcome, needles)?;
        let what = counted(outcome.files, "file");
        let control = "what was planted among them was found";
        self.searched(place, what, outcome.bytes, control)
    }

    /// Whether the value is there before it was stored, as zeros are, or a common word: finding it
    /// would say nothing then.
    fn look_before(&self, needles: &[Needle]) -> Result<Before, Error> {
        let mut before = Before { on_disk: false, in_memory: false };
        // One that was made is nowhere by chance.
        if self.value.is_made || needles.is_empty() {
            return Ok(before);
        }
        let (mut disks, mut memory) = (Search::new(needles), Search::new(needles));
        for manager in &self.cluster.managers {
            let folder = self.cluster.layout().of(&manager.name);
            disks.folder(&folder).map_err(|error| no_disk(&error.to_string()))?;
            match memory.process(manager.pid) {
                Err(error) if !is_refusal(&error) => return Err(no_memory(&error)),
                // Who may not look now may not look later.
                _ => {}
            }
        }
        before.on_disk = !disks.end().found.is_empty();
        before.in_memory = !memory.end().found.is_empty();
        Ok(before)
    }

    /// Searches the memory of every manager. Each knows the secret's name: that must be found.
    async fn search_memory(
        &self,
        needles: &[Needle],
        before: &Before,
        name: &SecretName,
    ) -> Result<view::DemoSearch, Error> {
        let place = "the managers' memory";
        if needles.is_empty() {
            return Ok(self.not_searched(place, too_short()));
        }
        if before.in_memory {
            return Ok(self.not_searched(place, WAS_THERE.into()));
        }
        let wanted = needles.len();
        let copy = |needle: &Needle| Needle::exactly(needle.form, needle.bytes());
        let mut all: Vec<Needle> = needles.iter().map(copy).collect();
        all.push(Needle::exactly("name", name.as_str().as_bytes()));
        let mut bytes = 0;
        for manager in &self.cluster.managers {
            let mut tries = 0;
            let outcome = loop {
                let mut search = Search::new(&all);
                if let Err(error) = search.process(manager.pid) {
                    if is_refusal(&error) {
                        let why =
                            "this user may not look at it: managers hide it from all but root";
                        return Ok(self.not_searched(place, why.into()));
                    }
                    return Err(no_memory(&error));
                }
                let outcome = search.end();
                refuse_found(place, &outcome, needles)?;
                if outcome.found.contains_key(&wanted) {
                    break outcome;
                }
                // It may be a moment behind the others.
                tries += 1;
                if tries == CONTROL_TRIES {
                    return Err(broken(
                        "the search of the managers' memory proves nothing",
                        format!("it did not find the secret's name in manager {}", manager.name),
                    ));
                }
                tokio::time::sleep(CONTROL_EVERY).await;
            };
            bytes += outcome.bytes;
        }
        let what = counted(self.cluster.managers.len(), "manager");
        self.searched(place, what, bytes, "the secret's name, which they know, was found in each")
    }

    fn searched(
        &self,
        place: &str,
        what: String,
        bytes: u64,
        control: &str,
    ) -> Result<view::DemoSearch, Error> {
        let mib = bytes.div_ceil(1 << 20);
        self.say(&format!(
            "{place}: it is not there\n  searched {what}, {mib} MiB, for it as it is, in hexadecimal \
             and in base64; {control}"
        ))?;
        Ok(view::DemoSearch {
            is_searched: true,
            is_found: Some(false),
            bytes,
            what: Some(what),
            because: None,
        })
    }

    fn not_searched(&self, place: &str, because: String) -> view::DemoSearch {
        self.printer.warning(&format!("not searched: {place}: {because}"));
        view::DemoSearch {
            is_searched: false,
            is_found: None,
            bytes: 0,
            what: None,
            because: Some(because),
        }
    }
}

/// An error if a needle was found.
fn refuse_found(place: &str, outcome: &Outcome, needles: &[Needle]) -> Result<(), Error> {
    let mut found = outcome.found.iter();
    let in_clear = found.find_map(|(number, at)| Some((needles.get(*number)?, at)));
    in_clear.map_or(Ok(()), |(needle, at)| {
        let because = format!("it was found as {} in {at}", needle.form);
        Err(broken(format!("the secret is in clear in {place}"), because))
    })
}

fn too_short() -> String {
    format!("a value of less than {VALUE_BYTES_MIN} bytes is found by chance")
}

/// Whether this user may not look.
fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

fn no_disk(reason: &str) -> Error {
    Error::failed(Kind::Internal, "the managers' folders cannot be searched")
        .because(reason)
        .hint("see whether the temporary folder's filesystem is full")
        .into()
}

fn no_memory(error: &io::Error) -> Error {
    broken("the managers' memory cannot be searched", error.to_string())
}

/// One task that uses the secret, and is not started again.
fn service(name: &SecretName, secret_id: &str, command: Vec<String>) -> pb::ServiceSpec {
    let reference = pb::SecretReference {
        secret_id: secret_id.to_owned(),
        secret_name: name.to_string(),
        target: name.to_string(),
        mode: Some(0o400),
        ..Default::default()
    };
    let task = pb::TaskSpec {
        command,
        secrets: vec![reference],
        restart: Some(pb::RestartPolicy {
            condition: RestartCondition::None.number(),
            ..Default::default()
        }),
        stop_grace_ms: Some(1000),
        logs: LogPolicy::Memory.number(),
        ..Default::default()
    };
    pb::ServiceSpec {
        name: SERVICE.to_owned(),
        task: Some(task),
        mode: Some(pb::service_spec::Mode::Replicas(1)),
        update: Some(pb::UpdateConfig { monitor_ms: 0, ..Default::default() }),
        ..Default::default()
    }
}

/// What the task prints, up to the last line.
async fn output(connection: &Connection, service_id: &str) -> Result<Vec<String>, Error> {
    let selector = pb::OutputSelector {
        service_id: service_id.to_owned(),
        follow: true,
        stdout: true,
        stderr: true,
        ..Default::default()
    };
    let mut records = ask!(connection, control.stream_output(selector))?;
    let mut lines = Vec::new();
    while let Some(record) =
        records.message().await.map_err(|status| Error::from(link::Failure::from(status)))?
    {
        let line = String::from_utf8_lossy(&record.line).into_owned();
        if line == END {
            break;
        }
        lines.push(line);
    }
    Ok(lines)
}
