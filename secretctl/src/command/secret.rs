//! `create`, `rotate`, `ls`, `inspect`, `rm`.
//!
//! Invariant: a value goes from its source into the sealed box; no message, error or log names it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use proto::Kind;
use proto::convert;
use proto::id::{Incarnation, SecretId, Version};
use proto::name::SecretName;
use proto::pb;
use seal::{CompareKey, Operation, Plaintext};

use super::cluster::backup::may_hold;
use super::{Session, Tally, counted, labels, listed, removed};
use crate::cli::{CreateArgs, RmArgs, RotateSecretArgs, SecretCommand};
use crate::connection::{Connection, ask, request_key};
use crate::error::Error;
use crate::progress::{self, Goal};
use crate::table::{Card, Table, natural_order};
use crate::view::{self, Named, RemovedFromAllBut};
use crate::{instant, transit, value};

/// How often a value is sealed again because the transit key was retired meanwhile.
const SEALS_MAX: usize = 3;

pub(super) async fn run(session: &Session, command: SecretCommand) -> Result<(), Error> {
    match command {
        SecretCommand::Create(args) => create(session, args).await,
        SecretCommand::Rotate(args) => rotate(session, args).await,
        SecretCommand::Ls { removed: true, .. } => removed::ls(session).await,
        SecretCommand::Ls { filter, removed: false } => ls(session, &filter).await,
        SecretCommand::Inspect { secrets } => inspect(session, &secrets).await,
        SecretCommand::Rm(args) => rm(session, args).await,
    }
}

/// Where a value comes from. Refuses what would show it to other programs.
fn source<'a>(
    command: &str,
    name: &str,
    file: Option<&'a Path>,
    (value, excess): (Option<&OsString>, &[OsString]),
) -> Result<&'a Path, Error> {
    let pipe_it =
        format!("pipe it: `printf %s \"$VALUE\" | secretctl {command} NAME -`, or name a file");
    let looks_like_value = value.is_some() || !excess.is_empty() || name.contains('=');
    if looks_like_value {
        let failure = Error::usage("refusing to read a secret from an argument")
            .because("arguments are visible in `ps` and in the shell's history")
            .hint(pipe_it)
            .hint(
                "what was typed here is in the history now: if it was a secret, take another one",
            );
        return Err(Error::Usage(failure));
    }
    file.ok_or_else(|| {
        let failure = Error::usage("where is the secret to come from? FILE is missing")
            .because("a secret is read from standard input or a file, never from an argument")
            .hint(pipe_it);
        Error::Usage(failure)
    })
}

async fn create(session: &Session, args: CreateArgs) -> Result<(), Error> {
    let given = (args.value.as_ref(), args.excess.as_slice());
    let file = source("create", &args.name, args.file.as_deref(), given)?;
    let name: SecretName = args.name.parse().map_err(|error: proto::name::NameError| {
        Error::Usage(Error::usage(error.to_string()).hint("see `secretctl create --help`"))
    })?;
    let labels = convert::labels(args.label.iter().cloned().collect()).map_err(|error| {
        Error::Usage(Error::usage(error.to_string()).hint("see `secretctl create --help`"))
    })?;
    let mut connection = session.connect().await?;
    if value::is_typed(file) {
        // Nobody types a secret for a manager that is not there.
        ask!(connection, control.get_transit_key(pb::GetTransitKeyRequest {}))?;
    }
    let plaintext = value::read(name.as_str(), file)?;
    let labels = labels.as_map().clone();
    let created = store(&mut connection, &name, plaintext, labels, args.usable_by).await?;
    if session.printer.json {
        let view = view::CreatedSecret { id: created.id, version: created.version };
        return session.printer.json(&view);
    }
    session.printer.data(&created.id)
}

async fn rotate(session: &Session, args: RotateSecretArgs) -> Result<(), Error> {
    let given = (args.value.as_ref(), args.excess.as_slice());
    let file = source("rotate", &args.name, args.file.as_deref(), given)?;
    let mut connection = session.connect().await?;
    // Before a value is typed, and sealed for the secret's own name.
    let request = pb::GetSecretRequest { secret: args.name.clone() };
    let secret = ask!(connection, control.get_secret(request))?;
    let plaintext = value::read(&secret.name, file)?;
    let rotated = store_again(&mut connection, &secret, plaintext).await?;
    let rotated = view::RotatedSecret::from(rotated);
    tell_rotated(session, &rotated)?;
    let mut tally = Tally::default();
    for service in rotated.services.iter().filter(|_| args.wait) {
        if !tally.is_over() {
            let ended =
                progress::wait(&connection, &service.id, Goal::Declared, session.printer).await;
            tally.count(session.printer, ended);
        }
    }
    tally.end()
}

fn tell_rotated(session: &Session, rotated: &view::RotatedSecret) -> Result<(), Error> {
    if session.printer.json {
        return session.printer.json(rotated);
    }
    if session.printer.quiet {
        return session.printer.data(&rotated.version.to_string());
    }
    session.printer.data(&format!("{} version {}", rotated.name, rotated.version))?;
    if rotated.services.is_empty() {
        session.printer.hint("no service follows it; tasks with a version of their own keep that");
    }
    for service in &rotated.services {
        let name = &service.name;
        if service.paused {
            session.printer.warning(&format!(
                "the update of service {name} is paused: what starts gets the new value, the rest once \
                 that goes on (`secretctl service update {name}`)"
            ));
        } else {
            session.printer.data(&format!("redeploying {name}"))?;
        }
    }
    Ok(())
}

/// Seals a value to the cluster's transit key, and has it stored.
pub(super) async fn store(
    connection: &mut Connection,
    name: &SecretName,
    plaintext: Plaintext,
    labels: BTreeMap<String, String>,
    usable_by: Vec<String>,
) -> Result<pb::CreateSecretResponse, Error> {
    sealed(connection, Operation::Create, name, plaintext, async |connection, payload| {
        let request = pb::CreateSecretRequest {
            request_key: request_key(),
            name: name.to_string(),
            labels: labels.clone(),
            payload: Some(payload),
            usable_by: usable_by.clone(),
        };
        ask!(connection, control.create_secret(request))
    })
    .await
}

/// Seals another value of a secret, and has it stored.
pub(super) async fn store_again(
    connection: &mut Connection,
    secret: &pb::SecretInfo,
    plaintext: Plaintext,
) -> Result<pb::RotateSecretResponse, Error> {
    let name: SecretName = secret.name.parse().map_err(|error: proto::name::NameError| {
        Error::from(
            Error::failed(Kind::Internal, "the manager's answer names no secret")
                .because(error.to_string()),
        )
    })?;
    sealed(connection, Operation::Rotate, &name, plaintext, async |connection, payload| {
        let request = pb::RotateSecretRequest {
            request_key: request_key(),
            secret: secret.id.clone(),
            payload: Some(payload),
        };
        ask!(connection, control.rotate_secret(request))
    })
    .await
}

/// Whether a value is the current one of a secret; none where the managers cannot tell. Its tag is sent,
/// sealed, and nothing else of it.
pub(super) async fn has_value(
    connection: &mut Connection,
    secret: &pb::SecretInfo,
    value: &Plaintext,
) -> Result<Option<bool>, Error> {
    let unusable = |what: &str| {
        Error::from(Error::failed(Kind::Internal, format!("the manager's answer names no {what}")))
    };
    let id: SecretId = secret.id.parse().map_err(|_| unusable("secret"))?;
    for _ in 0..SEALS_MAX {
        let request = pb::GetCompareKeyRequest { secret: secret.id.clone() };
        let key = match ask!(connection, control.get_compare_key(request)) {
            Err(Error::Failed(failure)) if failure.kind == Kind::Unimplemented => return Ok(None),
            answer => answer?,
        };
        let tag = CompareKey::parse(&key.key).map_err(|_| unusable("key"))?.tag(value);
        let (_, sender) = transit_key(connection).await?;
        let request = pb::CompareSecretRequest {
            secret: secret.id.clone(),
            version: key.version,
            transit_key_id: sender.transit_key_id().as_bytes().to_vec().into(),
            encapsulation: sender.encapsulation().as_bytes().clone(),
            sealed_tag: sender.seal_tag(&tag, id, Version(key.version)).as_bytes().clone(),
        };
        match ask!(connection, control.compare_secret(request)) {
            // It has another version by now, or the transit key was retired on the way there.
            Err(Error::Failed(failure)) if failure.kind == Kind::Conflict => {}
            // The leader is of an older version than the one before.
            Err(Error::Failed(failure)) if failure.kind == Kind::Unimplemented => return Ok(None),
            answer => return Ok(Some(answer?.same)),
        }
    }
    let message = format!("secret {} keeps changing", secret.name);
    Err(Error::failed(Kind::Unavailable, message).hint("try again").into())
}

/// Seals a value for one operation on one name, and sends it; again if the key that it was sealed to
/// was retired on the way.
async fn sealed<A>(
    connection: &mut Connection,
    operation: Operation,
    name: &SecretName,
    plaintext: Plaintext,
    send: impl AsyncFn(&Connection, pb::SealedPayload) -> Result<A, Error>,
) -> Result<A, Error> {
    let (mut key_id, mut sender) = transit_key(connection).await?;
    let encrypted = sender.encrypt(plaintext);
    for _ in 0..SEALS_MAX {
        let payload = sender.seal_key(&encrypted, operation, &name.folded());
        let refused = match send(connection, payload.into()).await {
            Err(Error::Failed(failure)) if failure.kind == Kind::Conflict => failure,
            answer => return answer,
        };
        // The key was retired on the way there: the same data key is sealed to the next one.
        let (next_id, next) = transit_key(connection).await?;
        if next_id == key_id {
            return Err(refused.into());
        }
        (key_id, sender) = (next_id, next);
    }
    Err(Error::failed(Kind::Unavailable, "the cluster's transit key keeps changing").into())
}

/// The key that values are sealed to now, checked, and its id.
async fn transit_key(
    connection: &mut Connection,
) -> Result<(bytes::Bytes, seal::TransitSender), Error> {
    let key = ask!(connection, control.get_transit_key(pb::GetTransitKeyRequest {}))?;
    let (id, incarnation) = (key.key_id.clone(), Incarnation(key.incarnation));
    let sender = transit::sender(key, &connection.trust(), instant::now())?;
    connection.saw(incarnation)?;
    Ok((id, sender))
}

/// `--filter` options as the manager takes them.
fn parse_filter(filters: &[String]) -> Result<pb::SecretFilter, Error> {
    let mut filter = pb::SecretFilter::default();
    for text in filters {
        let wrong = || {
            let failure = Error::usage(format!("invalid filter `{text}`"));
            Error::Usage(failure.hint(
                "known filters: name=PREFIX, names=NAME, id=PREFIX, label=KEY, label=KEY=VALUE",
            ))
        };
        let (key, value) = text.split_once('=').ok_or_else(wrong)?;
        match key {
            "name" => filter.name_prefixes.push(value.to_owned()),
            "names" => filter.names.push(value.to_owned()),
            "id" => filter.ids.push(value.to_owned()),
            "label" => {
                let (key, value) = value.split_once('=').unwrap_or((value, ""));
                filter.labels.insert(key.to_owned(), value.to_owned());
            }
            _ => return Err(wrong()),
        }
    }
    Ok(filter)
}

async fn ls(session: &Session, filters: &[String]) -> Result<(), Error> {
    let filter = parse_filter(filters)?;
    let connection = session.connect().await?;
    let request = pb::ListSecretsRequest { filter: Some(filter) };
    let mut secrets = ask!(connection, control.list_secrets(request))?.secrets;
    secrets.sort_by(|one, other| natural_order(&one.name, &other.name));
    if session.printer.json {
        let views: Vec<view::Secret> = secrets.into_iter().map(Into::into).collect();
        return session.printer.json(&views);
    }
    if session.printer.quiet {
        return ids(session, secrets.into_iter().map(|secret| secret.id));
    }
    let mut table = Table::new(&["ID", "NAME", "VERSION", "CREATED", "UPDATED", "USED BY"]);
    for secret in secrets {
        table.row(vec![
            secret.id,
            secret.name,
            secret.current_version.to_string(),
            session.ago(secret.created_at),
            session.ago(secret.updated_at),
            secret.used_by.join(", "),
        ]);
    }
    session.printer.data(&table.render())
}

/// One id a line.
pub(super) fn ids(session: &Session, ids: impl Iterator<Item = String>) -> Result<(), Error> {
    let text: String = ids.map(|id| id + "\n").collect();
    if text.is_empty() { Ok(()) } else { session.printer.data(&text) }
}

async fn inspect(session: &Session, secrets: &[String]) -> Result<(), Error> {
    let connection = session.connect().await?;
    let mut tally = Tally::default();
    let mut views = Vec::new();
    for secret in secrets {
        if tally.is_over() {
            break;
        }
        let request = pb::GetSecretRequest { secret: secret.clone() };
        let answer = ask!(connection, control.get_secret(request));
        if let Some(info) = tally.count(session.printer, answer) {
            views.push(view::Secret::from(info));
        }
    }
    if session.printer.json {
        session.printer.json(&views)?;
    } else {
        for view in views {
            session.printer.data(&card(view))?;
        }
    }
    tally.end()
}

fn card(secret: view::Secret) -> String {
    let mut card = Card::new(&secret.name);
    card.line("id", secret.id);
    card.line("labels", labels(&secret.labels));
    card.line("usable by", secret.usable_by.join(", "));
    card.line("used by", secret.used_by.join(", "));
    card.line("created", secret.created_at.unwrap_or_default());
    card.line("updated", secret.updated_at.unwrap_or_default());
    card.line("revision", secret.revision.to_string());
    for version in secret.versions {
        let current = if version.version == secret.current_version { ", current" } else { "" };
        card.line(
            &format!("version {}", version.version),
            format!(
                "{}{current}, {} bytes sealed under root key {}, by {} at {}",
                version.state,
                version.sealed_bytes,
                version.root_key_id,
                version.created_by,
                version.created_at.unwrap_or_default()
            ),
        );
    }
    card.render()
}

async fn rm(session: &Session, args: RmArgs) -> Result<(), Error> {
    let connection = session.connect().await?;
    let mut tally = Tally::default();
    let mut done = Vec::new();
    for secret in &args.secrets {
        if tally.is_over() {
            break;
        }
        if args.dry_run {
            let outcome = would_remove(session, &connection, secret.clone()).await;
            done.extend(tally.count(session.printer, outcome).map(|named| RemovedFromAllBut {
                id: named.id,
                name: named.name,
                backups: Vec::new(),
                backups_not_remembered: 0,
            }));
            continue;
        }
        let request = pb::RemoveSecretRequest {
            request_key: request_key(),
            secret: secret.clone(),
            forget_previous: args.forget_previous,
            shred: args.shred,
        };
        let answer = ask!(connection, control.remove_secret(request));
        if let Some(answer) = tally.count(session.printer, answer) {
            if !session.printer.json {
                session.printer.data(&answer.name)?;
            }
            let backups: Vec<_> = answer.backups.into_iter().map(Into::into).collect();
            let backups_not_remembered = answer.backups_not_remembered;
            if !args.shred && !session.printer.json {
                may_hold(session, &answer.name, &backups, backups_not_remembered);
            }
            let (id, name) = (answer.id, answer.name);
            done.push(RemovedFromAllBut { id, name, backups, backups_not_remembered });
        }
    }
    if args.shred && !args.dry_run && !done.is_empty() {
        let ids: Vec<_> = done.into_iter().map(|named| named.id).collect();
        shred(session, &connection, &ids, args.no_wait).await?;
        return tally.end();
    }
    if session.printer.json {
        session.printer.json(&done)?;
    } else if !args.dry_run && !done.is_empty() {
        session.printer.hint(
            "managers' disks are rid of it within three weeks (`secretctl ls --removed`); \
             `secretctl rm --shred` and the same name does that now",
        );
    }
    tally.end()
}

/// What was asked to be shredded: watches it, or says where to look.
async fn shred(
    session: &Session,
    connection: &Connection,
    ids: &[String],
    no_wait: bool,
) -> Result<(), Error> {
    let views = if no_wait {
        session.printer.hint("`secretctl ls --removed` shows how far it is");
        removed::of(connection, ids).await?
    } else {
        removed::until_shredded(session, connection, ids).await?
    };
    if session.printer.json { session.printer.json(&views) } else { Ok(()) }
}

/// What `rm` would do: refused if a service uses the secret.
async fn would_remove(
    session: &Session,
    connection: &Connection,
    secret: String,
) -> Result<Named, Error> {
    let info = ask!(connection, control.get_secret(pb::GetSecretRequest { secret }))?;
    if !info.used_by.is_empty() {
        let users = counted(info.used_by.len(), "service");
        let what = format!("secret `{}` is used by {users}: {}", info.name, listed(&info.used_by));
        return Err(Error::failed(Kind::InUse, what)
            .hint("remove the services, or update them to do without it, first")
            .into());
    }
    if !session.printer.json {
        session.printer.data(&format!("would remove {} ({})", info.name, info.id))?;
    }
    Ok(Named { id: info.id, name: info.name })
}
