//! `stack`: what compose files declare, made and shown.
//!
//! What they mean is read in `compose`; here files are opened, values read, managers asked. A stack is
//! no object of managers: it is what carries its label, whoever made it.
//!
//! Invariant: nothing is sent before every file is read and found good; what is of another stack, or of
//! none, is not touched.

mod configs;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use link::Failure;
use proto::Kind;
use proto::name::{SecretName, ServiceName};
use proto::pb;
use proto::spec::ServiceSpec;
use seal::Plaintext;
use zeroize::Zeroizing;

use super::service::{self, changed};
use super::{Session, Tally, counted, secret};
use crate::cli::{PsArgs, StackCommand, StackDeployArgs};
use crate::compose::{self, NAMESPACE, Outside, StackSecret, ValueFrom};
use crate::connection::{Connection, ask, request_key};
use crate::error::Error;
use crate::progress::{self, Goal};
use crate::table::{Table, natural_order};
use crate::value;
use crate::view::{self, StackChange};

/// Longest `env_file`, in bytes: all texts of a service are bounded by as much.
const ENV_FILE_BYTES_MAX: usize = proto::limits::SPEC_BYTES_MAX;

const SEE_STACKS: &str = "nothing was changed; docs/operations/stacks.md says what is read";

pub(super) async fn run(session: &Session, command: StackCommand) -> Result<(), Error> {
    match command {
        StackCommand::Deploy(args) => Box::pin(deploy(session, args)).await,
        StackCommand::Ls => ls(session).await,
        StackCommand::Ps { name, all } => ps(session, &name, all).await,
        StackCommand::Services { name } => services(session, &name).await,
        StackCommand::Rm { names } => rm(session, &names).await,
        StackCommand::Config { compose_file } => config(session, &compose_file),
    }
}

fn wrong(message: impl Into<String>, hint: &str) -> Error {
    Error::failed(Kind::Invalid, message).hint(hint).into()
}

/// Reads the files, and says what their author may not have meant.
fn read(session: &Session, files: &[PathBuf]) -> Result<(compose::Stack, PathBuf), Error> {
    if files.len() > compose::FILES_MAX {
        let message = format!("more than {} compose files", compose::FILES_MAX);
        return Err(wrong(message, "put them together"));
    }
    let mut texts = Vec::new();
    for file in files {
        let name = if file == Path::new("-") { "stdin".into() } else { file.display().to_string() };
        let text = text_of(file).map_err(|why| {
            let hint = "name it with `-c FILE`, or pipe it to `-c -`";
            wrong(format!("cannot read the compose file {name}: {why}"), hint)
        })?;
        texts.push((name, text));
    }
    // Never empty: a file that is named `-` is none of standard input.
    let folder = Path::new(".")
        .join(files.first().and_then(|file| file.parent()).unwrap_or_else(|| Path::new("")));
    let env_file = |path: &str| match File::open(folder.join(path)) {
        Ok(file) => bounded(file, ENV_FILE_BYTES_MAX).map(Some).map_err(|error| error.to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    };
    let variable = |name: &str| std::env::var(name).ok();
    let outside = Outside { variable: &variable, env_file: &env_file };
    let texts: Vec<_> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let read = compose::read(&texts, &outside);
    let read = read.map_err(|error| wrong(error.to_string(), SEE_STACKS))?;
    for warning in &read.warnings {
        session.printer.warning(warning);
    }
    Ok((read.stack, folder))
}

/// The text of a compose file, or of standard input.
fn text_of(file: &Path) -> Result<String, io::Error> {
    if file == Path::new("-") {
        return bounded(value::stdin()?, compose::FILE_BYTES_MAX);
    }
    bounded(File::open(file)?, compose::FILE_BYTES_MAX)
}

fn bounded(source: impl Read, bytes_max: usize) -> Result<String, io::Error> {
    let mut text = String::new();
    source.take(bytes_max as u64 + 1).read_to_string(&mut text)?;
    if text.len() > bytes_max {
        return Err(io::Error::other(format!("it has more than {bytes_max} bytes")));
    }
    Ok(text)
}

fn config(session: &Session, files: &[PathBuf]) -> Result<(), Error> {
    let (stack, _) = read(session, files)?;
    let shown = compose::shown(&stack).map_err(|error| {
        Error::failed(Kind::Internal, "the stack cannot be shown").because(error.to_string())
    })?;
    session.printer.json(&shown)
}

/// What was done to a part of a stack.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Create,
    Rotate,
    Update,
    Remove,
}

impl Action {
    /// In lists, and as it is told.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Create => ("create", "Creating"),
            Self::Rotate => ("rotate", "Rotating"),
            Self::Update => ("update", "Updating"),
            Self::Remove => ("remove", "Removing"),
        }
    }
}

/// What was done, told as it is: a line each in docker's words, or one list.
#[derive(Default)]
struct Told {
    done: Vec<StackChange>,
}

impl Told {
    fn say(
        &mut self,
        session: &Session,
        action: Action,
        kind: &'static str,
        name: &str,
        id: &str,
    ) -> Result<(), Error> {
        let (word, verb) = action.words();
        if !session.printer.json {
            let shown =
                if action == Action::Update { format!(" (id: {id})") } else { String::new() };
            session.printer.data(&format!("{verb} {kind} {name}{shown}"))?;
        }
        self.done.push(StackChange {
            action: word,
            kind,
            name: name.to_owned(),
            id: id.to_owned(),
        });
        Ok(())
    }
}

async fn deploy(session: &Session, args: StackDeployArgs) -> Result<(), Error> {
    args.name.parse::<ServiceName>().map_err(|error| {
        wrong(format!("invalid stack name: {error}"), "names of its services begin with it")
    })?;
    let (stack, folder) = read(session, &args.compose_file)?;
    let undeclared = |error: compose::DeclareError| wrong(error.to_string(), SEE_STACKS);
    let secrets = compose::secrets(&args.name, &stack).map_err(undeclared)?;
    let specs = compose::declare(&args.name, &stack, &secrets).map_err(undeclared)?;
    let connection = session.connect().await?;
    let configs = compose::configs(&args.name, &stack).map_err(undeclared)?;
    let configs = configs::prepared(&connection, &args.name, &folder, configs).await?;
    let known = known_secrets(&connection, &secrets).await?;
    check_secrets(&args.name, &secrets, &known)?;
    let mut existing = services_of(&connection).await?;
    existing.sort_by(|one, other| natural_order(name_of(one), name_of(other)));
    check_services(&args.name, &specs, &existing)?;
    let mut steps = Vec::with_capacity(secrets.len());
    for secret in secrets.values() {
        let before = known.get(secret.name.folded().as_str());
        let value = match value_for(&folder, secret) {
            // Who deploys again need not have what was there the first time.
            Err(error) if before.is_some() && !args.rotate_secrets && is_not_there(&error) => {
                session
                    .printer
                    .warning(&format!("secret {} keeps its value: {error}", secret.name));
                None
            }
            value => value?,
        };
        steps.push((secret, before, value));
    }

    let mut deployment = Deployment {
        session,
        connection,
        told: Told::default(),
        changed: BTreeSet::new(),
        rotates: args.rotate_secrets,
        not_compared: 0,
    };
    let is_stale = |info: &&pb::ServiceInfo| {
        args.prune
            && is_of(info, &args.name)
            && !specs.iter().any(|spec| is_named(info, &spec.name))
    };
    let stale: Vec<_> = existing.iter().filter(is_stale).collect();
    let made = deployment.make((configs, steps), &specs, &existing, &stale).await;
    if session.printer.json {
        session.printer.json(&deployment.told.done)?;
    }
    made?;
    deployment.end(args.wait).await
}

/// Whether a value could not be had because there is no such file or variable.
fn is_not_there(error: &Error) -> bool {
    matches!(error, Error::Failed(failure) if failure.kind == Kind::NotFound)
}

/// The value that a secret is declared with; none if that is the cluster's. Read before anything is sent.
fn value_for(folder: &Path, secret: &StackSecret) -> Result<Option<Plaintext>, Error> {
    let name = &secret.name;
    match &secret.from {
        // The value of a secret does not stand in a compose file.
        ValueFrom::Cluster | ValueFrom::Text(_) => Ok(None),
        ValueFrom::File(path) => Ok(Some(value::read(name.as_str(), &folder.join(path))?)),
        ValueFrom::Variable(variable) => {
            let value = std::env::var_os(variable).ok_or_else(|| {
                let message = format!("the variable {variable} is not set");
                Error::failed(Kind::NotFound, message)
                    .because(format!("secret {name} has its value from there"))
                    .hint("export it, or give the secret a `file`")
            })?;
            let value = Zeroizing::new(value.into_vec());
            let value = Plaintext::read_from(value.as_slice()).map_err(|error| {
                Error::failed(Kind::Invalid, format!("no secret in the variable {variable}"))
                    .because(error.to_string())
                    .hint("a secret has 1 byte to 1 MiB")
            })?;
            Ok(Some(value))
        }
    }
}

/// What is being deployed.
struct Deployment<'a> {
    session: &'a Session,
    connection: Connection,
    told: Told,
    /// Ids of services whose tasks may change.
    changed: BTreeSet<String>,
    /// Every secret gets a new version, whatever its value.
    rotates: bool,
    /// Secrets whose values the managers could not compare.
    not_compared: usize,
}

/// A secret, what is there of it, and the value that it gets.
type Step<'a> = (&'a StackSecret, Option<&'a pb::SecretInfo>, Option<Plaintext>);

impl Deployment<'_> {
    /// Makes everything, secrets first; what fails ends it.
    async fn make(
        &mut self,
        (configs, steps): (Vec<configs::Step>, Vec<Step<'_>>),
        specs: &[pb::ServiceSpec],
        existing: &[pb::ServiceInfo],
        stale: &[&pb::ServiceInfo],
    ) -> Result<(), Error> {
        let config_ids = self.configs(configs).await?;
        let mut ids = BTreeMap::new();
        for (secret, before, value) in steps {
            let id = self.secret(secret, before, value).await?;
            ids.insert(secret.name.folded().as_str().to_owned(), id);
        }
        for spec in specs {
            let mut spec = spec.clone();
            for reference in spec.task.iter_mut().flat_map(|task| &mut task.secrets) {
                let id = ids.get(&reference.secret_name.to_ascii_lowercase()).cloned();
                reference.secret_id = id.unwrap_or_default();
            }
            for reference in spec.task.iter_mut().flat_map(|task| &mut task.configs) {
                let id = config_ids.get(&reference.config_name.to_ascii_lowercase()).cloned();
                reference.config_id = id.unwrap_or_default();
            }
            let before = existing.iter().find(|info| is_named(info, &spec.name));
            self.service(before, spec).await?;
        }
        for info in stale {
            remove_service(&self.connection, info).await?;
            self.told.say(self.session, Action::Remove, "service", name_of(info), &info.id)?;
        }
        Ok(())
    }

    /// Makes a secret, gives it another value, or leaves it; its id.
    async fn secret(
        &mut self,
        secret: &StackSecret,
        before: Option<&pb::SecretInfo>,
        value: Option<Plaintext>,
    ) -> Result<String, Error> {
        let name = &secret.name;
        match (before, value) {
            (Some(info), None) => Ok(info.id.clone()),
            (Some(info), Some(value)) if !self.is_another(info, &value).await? => {
                Ok(info.id.clone())
            }
            (Some(info), Some(value)) => {
                let rotated = secret::store_again(&mut self.connection, info, value).await?;
                self.changed.extend(rotated.services.into_iter().map(|service| service.id));
                self.told.say(self.session, Action::Rotate, "secret", name.as_str(), &info.id)?;
                Ok(info.id.clone())
            }
            (None, Some(value)) => {
                let labels = secret.labels.clone();
                let created =
                    secret::store(&mut self.connection, name, value, labels, Vec::new()).await?;
                self.told.say(
                    self.session,
                    Action::Create,
                    "secret",
                    name.as_str(),
                    &created.id,
                )?;
                Ok(created.id)
            }
            (None, None) => Err(missing(name).into()),
        }
    }

    /// Whether a secret is to get this value, as a new version.
    async fn is_another(
        &mut self,
        info: &pb::SecretInfo,
        value: &Plaintext,
    ) -> Result<bool, Error> {
        if self.rotates {
            return Ok(true);
        }
        match secret::has_value(&mut self.connection, info, value).await? {
            Some(true) => {
                self.session.printer.progress(&format!("secret {} is as declared", info.name));
                Ok(false)
            }
            Some(false) => Ok(true),
            None => {
                self.not_compared += 1;
                Ok(false)
            }
        }
    }

    /// Declares a service, or nothing if it is declared so already.
    async fn service(
        &mut self,
        before: Option<&pb::ServiceInfo>,
        spec: pb::ServiceSpec,
    ) -> Result<(), Error> {
        let (session, name) = (self.session, spec.name.clone());
        let Some(before) = before else {
            let request = pb::CreateServiceRequest { request_key: request_key(), spec: Some(spec) };
            let created = ask!(self.connection, control.create_service(request))?;
            self.told.say(session, Action::Create, "service", &name, &created.id)?;
            for warning in &created.warnings {
                session.printer.warning(&format!("service {name}: {warning}"));
            }
            self.changed.insert(created.id);
            return Ok(());
        };
        let over = |info: &pb::ServiceInfo| put_over(spec.clone(), info);
        let old = before.spec.clone().and_then(|spec| ServiceSpec::try_from(spec).ok());
        if old.is_some() && ServiceSpec::try_from(over(before)).ok() == old {
            session.printer.progress(&format!("service {name} is as declared"));
            return Ok(());
        }
        let info = changed(&self.connection, &before.id, |info| Ok(Some(over(info)))).await?;
        self.told.say(session, Action::Update, "service", &name, &info.id)?;
        self.changed.insert(info.id);
        Ok(())
    }

    /// Tells what was left, and waits for what was done.
    async fn end(self, wait: bool) -> Result<(), Error> {
        let printer = self.session.printer;
        if self.not_compared > 0 {
            printer.hint(&format!(
                "{} of the stack kept what is there: the managers are of a version that compares no \
                 values; `--rotate-secrets` gives each the value of its file, as a new version",
                counted(self.not_compared, "secret")
            ));
        }
        let mut tally = Tally::default();
        for id in self.changed.iter().filter(|_| wait) {
            if !tally.is_over() {
                let ended = progress::wait(&self.connection, id, Goal::Declared, printer).await;
                tally.count(printer, ended);
            }
        }
        tally.end()
    }
}

/// What a compose file has no word for stays as it is: what another front keeps, how often a redeploy
/// was forced.
fn put_over(mut spec: pb::ServiceSpec, info: &pb::ServiceInfo) -> pb::ServiceSpec {
    let Some(before) = &info.spec else { return spec };
    spec.extensions.clone_from(&before.extensions);
    if let (Some(task), Some(before)) = (&mut spec.task, &before.task) {
        task.force_update = before.force_update;
        task.networks.clone_from(&before.networks);
    }
    spec
}

/// The secrets of these names that are there, by folded name.
async fn known_secrets(
    connection: &Connection,
    secrets: &BTreeMap<String, StackSecret>,
) -> Result<BTreeMap<String, pb::SecretInfo>, Error> {
    if secrets.is_empty() {
        return Ok(BTreeMap::new());
    }
    let names = secrets.values().map(|secret| secret.name.to_string()).collect();
    let filter = pb::SecretFilter { names, ..Default::default() };
    let request = pb::ListSecretsRequest { filter: Some(filter) };
    let found = ask!(connection, control.list_secrets(request))?.secrets;
    Ok(found.into_iter().map(|info| (info.name.to_ascii_lowercase(), info)).collect())
}

/// Everything that is to be there is, and nothing that is to be changed is somebody else's.
fn check_secrets(
    stack: &str,
    secrets: &BTreeMap<String, StackSecret>,
    known: &BTreeMap<String, pb::SecretInfo>,
) -> Result<(), Error> {
    for secret in secrets.values() {
        let name = secret.name.as_str();
        match (known.get(&name.to_ascii_lowercase()), &secret.from) {
            (None, ValueFrom::Cluster) => {
                return Err(missing(&secret.name).into());
            }
            (Some(info), ValueFrom::File(_) | ValueFrom::Variable(_) | ValueFrom::Text(_))
                if info.labels.get(NAMESPACE).map(String::as_str) != Some(stack) =>
            {
                return Err(foreign("secret", name, stack).into());
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_services(
    stack: &str,
    specs: &[pb::ServiceSpec],
    existing: &[pb::ServiceInfo],
) -> Result<(), Error> {
    for spec in specs {
        let Some(info) = existing.iter().find(|info| is_named(info, &spec.name)) else { continue };
        if !is_of(info, stack) {
            return Err(foreign("service", &spec.name, stack).into());
        }
        // Alone it is good; what stays of the service counts as well.
        compose::check(&put_over(spec.clone(), info)).map_err(|error| {
            wrong(format!("service {}: {}", spec.name, error.reason), SEE_STACKS)
        })?;
    }
    Ok(())
}

fn missing(name: &SecretName) -> Failure {
    Error::failed(Kind::NotFound, format!("secret not found: {name}"))
        .because("the compose file says that it is external")
        .hint(format!("create it first: `secretctl create {name} -`"))
}

fn foreign(kind: &str, name: &str, stack: &str) -> Failure {
    Error::failed(Kind::Exists, format!("{kind} {name} is there and is not of stack {stack}"))
        .because(format!("it lacks the label {NAMESPACE}={stack}; nothing was changed"))
        .hint("deploy under another name, or remove it first")
}

async fn services_of(connection: &Connection) -> Result<Vec<pb::ServiceInfo>, Error> {
    Ok(ask!(connection, control.list_services(pb::ListServicesRequest {}))?.services)
}

fn name_of(info: &pb::ServiceInfo) -> &str {
    info.spec.as_ref().map_or("", |spec| spec.name.as_str())
}

fn is_named(info: &pb::ServiceInfo, name: &str) -> bool {
    name_of(info).eq_ignore_ascii_case(name)
}

fn stack_of(labels: &BTreeMap<String, String>) -> Option<&str> {
    labels.get(NAMESPACE).map(String::as_str).filter(|name| !name.is_empty())
}

fn is_of(info: &pb::ServiceInfo, stack: &str) -> bool {
    info.spec.as_ref().and_then(|spec| stack_of(&spec.labels)) == Some(stack)
}

async fn remove_service(connection: &Connection, info: &pb::ServiceInfo) -> Result<(), Error> {
    let service = info.id.clone();
    let request = pb::RemoveServiceRequest { request_key: request_key(), service };
    ask!(connection, control.remove_service(request)).map(|_| ())
}

async fn ls(session: &Session) -> Result<(), Error> {
    let connection = session.connect().await?;
    let mut stacks: BTreeMap<String, u64> = BTreeMap::new();
    for info in services_of(&connection).await? {
        if let Some(name) = info.spec.as_ref().and_then(|spec| stack_of(&spec.labels)) {
            *stacks.entry(name.to_owned()).or_default() += 1;
        }
    }
    let mut stacks: Vec<_> =
        stacks.into_iter().map(|(name, services)| view::Stack { name, services }).collect();
    stacks.sort_by(|one, other| natural_order(&one.name, &other.name));
    if session.printer.json {
        return session.printer.json(&stacks);
    }
    if session.printer.quiet {
        return secret::ids(session, stacks.into_iter().map(|stack| stack.name));
    }
    let mut table = Table::new(&["NAME", "SERVICES"]);
    for stack in stacks {
        table.row(vec![stack.name, stack.services.to_string()]);
    }
    session.printer.data(&table.render())
}

/// The services of a stack; none is a failure.
async fn of_stack(connection: &Connection, name: &str) -> Result<Vec<pb::ServiceInfo>, Error> {
    let all = services_of(connection).await?;
    let services: Vec<_> = all.into_iter().filter(|info| is_of(info, name)).collect();
    if services.is_empty() {
        return Err(nothing(name).into());
    }
    Ok(services)
}

fn nothing(name: &str) -> Failure {
    Error::failed(Kind::NotFound, format!("nothing found in stack: {name}"))
        .hint("`secretctl stack ls` shows those there are")
}

async fn ps(session: &Session, name: &str, all: bool) -> Result<(), Error> {
    let connection = session.connect().await?;
    let services = of_stack(&connection, name).await?;
    let services = services.into_iter().map(|info| info.id).collect();
    service::ps(session, PsArgs { services, all }).await
}

async fn services(session: &Session, name: &str) -> Result<(), Error> {
    let connection = session.connect().await?;
    let services = of_stack(&connection, name).await?;
    service::list(session, services)
}

async fn rm(session: &Session, names: &[String]) -> Result<(), Error> {
    let connection = session.connect().await?;
    let mut tally = Tally::default();
    let mut told = Told::default();
    for name in names {
        if tally.is_over() {
            break;
        }
        let parts = parts_of(&connection, name).await;
        let Some((services, secrets, configs)) = tally.count(session.printer, parts) else {
            continue;
        };
        for info in services {
            let removed = remove_service(&connection, &info).await;
            if tally.count(session.printer, removed).is_some() {
                told.say(session, Action::Remove, "service", name_of(&info), &info.id)?;
            }
        }
        for info in secrets {
            let request = pb::RemoveSecretRequest {
                request_key: request_key(),
                secret: info.id.clone(),
                ..Default::default()
            };
            let removed = ask!(connection, control.remove_secret(request));
            if tally.count(session.printer, removed).is_some() {
                told.say(session, Action::Remove, "secret", &info.name, &info.id)?;
            }
        }
        for info in configs {
            let removed = configs::remove(&connection, &info).await;
            if tally.count(session.printer, removed).is_some() {
                told.say(session, Action::Remove, "config", &info.name, &info.id)?;
            }
        }
    }
    if session.printer.json {
        session.printer.json(&told.done)?;
    }
    tally.end()
}

/// The services, secrets and configs of a stack.
type Parts = (Vec<pb::ServiceInfo>, Vec<pb::SecretInfo>, Vec<pb::ConfigInfo>);

/// What there is of a stack; nothing is a failure.
async fn parts_of(connection: &Connection, name: &str) -> Result<Parts, Error> {
    let labels = BTreeMap::from([(NAMESPACE.to_owned(), name.to_owned())]);
    let filter = pb::SecretFilter { labels, ..Default::default() };
    let request = pb::ListSecretsRequest { filter: Some(filter) };
    let mut secrets = ask!(connection, control.list_secrets(request))?.secrets;
    secrets.sort_by(|one, other| natural_order(&one.name, &other.name));
    let mut services = services_of(connection).await?;
    services.retain(|info| is_of(info, name));
    services.sort_by(|one, other| natural_order(name_of(one), name_of(other)));
    let configs = configs::of_stack(connection, name).await?;
    if services.is_empty() && secrets.is_empty() && configs.is_empty() {
        return Err(nothing(name).into());
    }
    Ok((services, secrets, configs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_its_bound() {
        assert_eq!(bounded(&b"abcd"[..], 4).unwrap(), "abcd");
        let refused = bounded(&b"abcde"[..], 4).unwrap_err();
        assert_eq!(refused.to_string(), "it has more than 4 bytes");
        assert!(bounded(&b"\xff"[..], 4).is_err());
    }

    #[test]
    fn what_stays_of_a_service_counts_before_anything_is_sent() {
        let spec = |networks: usize| pb::ServiceSpec {
            name: "s_web".into(),
            labels: [(NAMESPACE.to_owned(), "s".to_owned())].into(),
            task: Some(pb::TaskSpec {
                runtime: pb::RuntimeKind::Docker.into(),
                image: "nginx".into(),
                networks: vec!["net".into(); networks],
                ..Default::default()
            }),
            ..Default::default()
        };
        let check = |networks: usize| {
            let existing = pb::ServiceInfo { spec: Some(spec(networks)), ..Default::default() };
            check_services("s", &[spec(0)], &[existing])
        };
        assert!(check(proto::limits::NETWORKS_MAX).is_ok());
        assert!(check(proto::limits::NETWORKS_MAX + 1).is_err());
    }
}
