//! `cluster unlock-slot`: the slots that operators add, list, prove and take away.
//!
//! A slot's secret is made or asked for here; the cluster gets its public half, and what recovering
//! it needs beside the secret. Not here: what is typed (`typed`), the change of the unlock key
//! (`locking`).
//!
//! Invariant: a secret leaves this program on standard output only, when it was made here.

use std::io;
use std::time::Duration;

use proto::id::{KeyId, Timestamp};
use proto::{Kind, pb};
use seal::{PassphraseCosts, Recipient, Share, SlotCommand, SlotKind, SlotParameters, Split};
use serde::Serialize;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::super::{Session, counted, listed};
use super::locking::{Followed, follow_rotation, follow_sealing, name, tell_rotation, watched};
use super::typed::{new_passphrase, parameters_of, parse, piped_seed, shown, try_out};
use crate::cli::{AddSlotCommand, UnlockSlotCommand};
use crate::connection::{Connection, ask, request_key};
use crate::error::Error;
use crate::table::Table;
use crate::{instant, view};

/// What the managers need beside a command's own time, to be asked and to answer.
const ANSWER_MARGIN: Duration = Duration::from_secs(10);

pub(super) async fn run(session: &Session, command: UnlockSlotCommand) -> Result<(), Error> {
    match command {
        UnlockSlotCommand::Add(AddSlotCommand::Passphrase { generate, wait }) => {
            add_passphrase(session, generate, wait).await
        }
        UnlockSlotCommand::Add(AddSlotCommand::Shares { threshold, shares, wait }) => {
            add_shares(session, threshold, shares, wait).await
        }
        UnlockSlotCommand::Add(AddSlotCommand::Command { path, give_up_after, wait }) => {
            add_command(session, path, give_up_after, wait).await
        }
        UnlockSlotCommand::Ls => ls(session).await,
        UnlockSlotCommand::Rm { id, wait } => rm(session, &id, wait).await,
        UnlockSlotCommand::Prove { id } => prove(session, &id).await,
    }
}

async fn slots(connection: &Connection) -> Result<pb::ListSlotsResponse, Error> {
    ask!(connection, control.list_slots(pb::ListSlotsRequest {}))
}

async fn add_passphrase(session: &Session, generate: bool, wait: Duration) -> Result<(), Error> {
    let connection = session.connect().await?;
    let seen = slots(&connection).await?;
    let typed = if generate { None } else { Some(new_passphrase()?) };
    let made = typed.is_none().then(seal::make_passphrase);
    let text = match (&typed, &made) {
        (Some(typed), _) => typed.line(),
        (None, Some(made)) => made.as_bytes(),
        (None, None) => &[],
    };
    let passphrase = parse(text)?;
    let (costs, slot) = PassphraseCosts::make_slot(&passphrase).map_err(|error| {
        Error::failed(Kind::Invalid, error.to_string())
            .hint("`secretctl cluster unlock-slot add passphrase --generate` makes a good one")
    })?;
    let id = slot.public().id();
    // Before it is sent: what nobody could read is no way in.
    if let Some(made) = &made {
        let view = view::NewPassphrase { passphrase: made, slot_id: id.to_string() };
        show(session, &[made.as_str()], &view)?;
        session
            .printer
            .progress("this passphrase is not shown again, and the cluster does not have it");
        session.printer.hint("write it down where no manager can read it");
    }
    let slot = Recipient::new(slot.public().clone(), &SlotParameters::Passphrase(costs));
    add(session, &connection, &seen, slot, made.is_some(), wait).await
}

async fn add_shares(session: &Session, needed: u8, of: u8, wait: Duration) -> Result<(), Error> {
    let connection = session.connect().await?;
    let seen = slots(&connection).await?;
    let Split { slot, parameters, shares } =
        Split::make(needed, of).map_err(|error| Error::failed(Kind::Invalid, error.to_string()))?;
    let words: Vec<_> = shares.iter().map(Share::expose).collect();
    let words: Vec<&str> = words.iter().map(|word| word.as_str()).collect();
    let id = slot.public().id().to_string();
    show(session, &words, &view::NewShares { shares: &words, needed, slot_id: id })?;
    session.printer.progress(&format!(
        "{needed} of these {of} shares open every manager; they are not shown again, and the \
         cluster has none"
    ));
    session.printer.hint("give each holder one, and keep no two together");
    let slot = Recipient::new(slot.public().clone(), &SlotParameters::Shares(parameters));
    add(session, &connection, &seen, slot, true, wait).await
}

async fn add_command(
    session: &Session,
    path: String,
    give_up_after: Duration,
    wait: Duration,
) -> Result<(), Error> {
    // Part of a second is a second: it is never given less time than was asked for.
    let seconds = give_up_after.as_millis().div_ceil(1_000);
    let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
    let command = SlotCommand::new(path, seconds)
        .map_err(|error| Error::failed(Kind::Invalid, error.to_string()))?;
    let connection = session.connect().await?;
    let seen = slots(&connection).await?;
    let slot = piped_seed(command.path())?;
    let slot = Recipient::new(slot.public().clone(), &SlotParameters::Command(command));
    add(session, &connection, &seen, slot, false, wait).await
}

/// Has a slot put in the list, waits until managers are sealed to it, and tells of it.
async fn add(
    session: &Session,
    connection: &Connection,
    seen: &pb::ListSlotsResponse,
    slot: Recipient,
    was_shown: bool,
    wait: Duration,
) -> Result<(), Error> {
    let (kind, id) = (slot.kind.as_str(), slot.public.id());
    let request = pb::AddSlotRequest {
        request_key: request_key(),
        recipients_generation: seen.recipients_generation,
        kind: kind.into(),
        public_key: slot.public.as_bytes().clone(),
        parameters: slot.parameters.into(),
    };
    let changed = ask!(connection, control.add_slot(request)).map_err(|error| match error {
        Error::Failed(mut failure) if was_shown && !failure.kind.is_retryable() => {
            let hint = "nothing was changed: what was shown opens nothing, forget it";
            failure.hints.push(hint.into());
            Error::Failed(failure)
        }
        error => error,
    })?;
    let followed = watched(follow(session, connection, id, changed, wait)).await?;
    if session.printer.json {
        return session.printer.json_line(&followed);
    }
    // What was shown goes to a file or a printer, and nothing else with it.
    if !was_shown {
        session.printer.data(&id.to_string())?;
    }
    for member in &followed.pending {
        let name = name(member);
        session
            .printer
            .warning(&format!("{name} was down: until it starts once, slot {id} does not open it"));
    }
    session.printer.progress(&format!("slot {id} ({kind}) is added; it was never opened yet"));
    session.printer.hint(&format!("try it now: `secretctl cluster unlock-slot prove {id}`"));
    Ok(())
}

/// Shows what was just made, this once: words, or all of it as JSON.
fn show(session: &Session, words: &[&str], view: &impl Serialize) -> Result<(), Error> {
    if session.printer.json {
        let line = serde_json::to_string(view).map(Zeroizing::new);
        let line = line.map_err(|error| Error::Output(io::Error::other(error)))?;
        return session.printer.secret(&line);
    }
    words.iter().try_for_each(|word| session.printer.secret(word))
}

async fn ls(session: &Session) -> Result<(), Error> {
    let connection = session.connect().await?;
    let listed = slots(&connection).await?.slots;
    if session.printer.json {
        let slots = listed
            .iter()
            .map(|slot| view::ListedSlot { slot: slot.into(), parameters: in_words(slot) });
        return session.printer.json(&slots.collect::<Vec<_>>());
    }
    if session.printer.quiet {
        let ids = listed.iter().filter_map(|slot| view::some_hex(&slot.id));
        return session.printer.data(&ids.collect::<Vec<_>>().join("\n"));
    }
    let mut table = Table::new(&["SLOT", "KIND", "ADDED", "GENERATION", "OPENED", "WORKS", "HOW"]);
    for slot in &listed {
        let ago = |at: u64| instant::ago(Timestamp(at), session.now);
        table.row(vec![
            view::some_hex(&slot.id).unwrap_or_else(|| "-".into()),
            slot.kind.clone(),
            ago(slot.changed_at),
            slot.generation.to_string(),
            if slot.opened_at == 0 { "-".into() } else { ago(slot.opened_at) },
            if slot.works { "yes" } else { "not tried" }.into(),
            in_words(slot),
        ]);
    }
    session.printer.data(&table.render())
}

/// How a slot's key is recovered, for people.
fn in_words(slot: &pb::SlotInfo) -> String {
    let kind = SlotKind::of_name(&slot.kind);
    match kind.map(|kind| SlotParameters::parse(kind, &slot.parameters)) {
        Some(Ok(SlotParameters::UnlockKey(_))) => "a key that was shown once".into(),
        Some(Ok(SlotParameters::File(_))) => "each manager's own seed, in a file".into(),
        Some(Ok(SlotParameters::Passphrase(costs))) => {
            let (kib, passes, lanes) = costs.costs();
            let lanes = counted(usize::try_from(lanes).unwrap_or(usize::MAX), "lane");
            format!("argon2id, {} MiB, {passes} passes, {lanes}", kib >> 10)
        }
        Some(Ok(SlotParameters::Shares(shares))) => {
            format!("{} of {} shares, split {}", shares.needed(), shares.of(), shares.split())
        }
        Some(Ok(SlotParameters::Command(command))) => {
            format!("{}, within {} s", command.path(), command.seconds())
        }
        _ => "not known to this version".into(),
    }
}

/// The one slot whose id begins so.
fn find<'s>(slots: &'s [pb::SlotInfo], id: &str) -> Result<&'s pb::SlotInfo, Error> {
    let ls = "`secretctl cluster unlock-slot ls` lists them";
    let wanted = id.to_ascii_lowercase();
    let begins = |slot: &&pb::SlotInfo| {
        !wanted.is_empty() && proto::hex::encode(&slot.id).starts_with(&wanted)
    };
    let mut found = slots.iter().filter(begins);
    match (found.next(), found.next()) {
        (Some(slot), None) => Ok(slot),
        (Some(_), Some(_)) => Err(Error::failed(Kind::Invalid, "more than one slot begins so")
            .hint("give more of its id")
            .hint(ls)
            .into()),
        (None, _) if id == SlotKind::File.as_str() => Err(Error::failed(
            Kind::Precondition,
            "the managers' own seeds are not taken away here",
        )
        .hint("`secretctl cluster update --autolock on` puts an unlock key in their place")
        .into()),
        (None, _) => {
            Err(Error::failed(Kind::NotFound, format!("slot {id} not found")).hint(ls).into())
        }
    }
}

async fn rm(session: &Session, id: &str, wait: Duration) -> Result<(), Error> {
    let connection = session.connect().await?;
    let seen = slots(&connection).await?;
    let slot = find(&seen.slots, id)?;
    if slot.works && seen.slots.iter().filter(|slot| slot.works).count() == 1 {
        let others: Vec<_> =
            seen.slots.iter().filter(|other| other.id != slot.id).map(shown).collect();
        let failure =
            Error::failed(Kind::Precondition, "the last slot that counts as working stays");
        return Err(match others.first() {
            None => failure
                .because("nothing else opens the managers")
                .hint("add another one first: `secretctl cluster unlock-slot add passphrase`"),
            Some(_) => failure
                .because(format!("never opened since it was added: {}", listed(&others)))
                .hint("try another one first: `secretctl cluster unlock-slot prove`"),
        }
        .into());
    }
    let id = KeyId::try_from(&*slot.id).map_err(|_| {
        Error::from(Error::failed(Kind::Invalid, "the manager sent a slot without an id"))
    })?;
    let request = pb::RemoveSlotRequest {
        request_key: request_key(),
        recipients_generation: seen.recipients_generation,
        id: slot.id.clone(),
    };
    let changed = ask!(connection, control.remove_slot(request))?;
    let followed = watched(follow(session, &connection, id, changed, wait)).await?;
    if session.printer.json {
        return session.printer.json(&followed);
    }
    for member in &followed.pending {
        let name = name(member);
        session
            .printer
            .warning(&format!("{name} was down: until it starts once, slot {id} still opens it"));
    }
    if let Some(rotation) = &followed.log_key_rotation {
        tell_rotation(session, rotation);
    }
    session.printer.progress(&format!("slot {id} is removed"));
    session.printer.hint("what this heals and what not: docs/operations/unlock-slots.md");
    Ok(())
}

/// Waits until every manager that answers has sealed its key file anew and, where a slot was taken
/// away, has a new log key.
async fn follow(
    session: &Session,
    connection: &Connection,
    slot: KeyId,
    change: pb::SlotsChanged,
    wait: Duration,
) -> Result<view::SlotsChanged, Error> {
    let deadline = Instant::now() + wait;
    let generation = change.recipients_generation;
    let status = follow_sealing(session, connection, generation, deadline).await?;
    let followed = Followed::of(&status, generation);
    let rotation = match change.log_key_epoch {
        0 => None,
        number => Some(follow_rotation(session, connection, number, deadline).await?),
    };
    Ok(view::SlotsChanged {
        slot_id: slot.to_string(),
        recipients_generation: generation,
        done: followed.pending.is_empty() && rotation.as_ref().is_none_or(|one| one.complete),
        followed: followed.done,
        pending: followed.pending,
        log_key_rotation: rotation,
    })
}

async fn prove(session: &Session, id: &str) -> Result<(), Error> {
    let mut connection = session.connect().await?;
    let listed = slots(&connection).await?.slots;
    let slot = find(&listed, id)?;
    if let Some(SlotParameters::Command(command)) = parameters_of(slot) {
        // Every manager runs it at the same time.
        connection.wait_at_least(Duration::from_secs(command.seconds().into()) + ANSWER_MARGIN);
        session.printer.progress(&format!("every manager runs {}", command.path()));
    } else {
        try_out(session.printer, slot)?;
    }
    let request = pb::ProveSlotRequest { request_key: request_key(), id: slot.id.clone() };
    let proved = ask!(connection, control.prove_slot(request))?;
    let trials: Vec<_> = proved.trials.iter().map(view::SlotTrial::from).collect();
    let mut failed = Vec::new();
    for trial in &trials {
        let name = format!("manager {} ({})", trial.member, trial.hostname);
        match &trial.reason {
            None => session.printer.progress(&format!("{name}: it opens")),
            Some(reason) if trial.answered => failed.push(format!("{name}: {reason}")),
            Some(reason) => session.printer.warning(&format!("{name} was not tried: {reason}")),
        }
    }
    if !trials.is_empty() && trials.iter().all(|trial| !trial.answered) {
        return Err(Error::failed(Kind::Unavailable, "no manager tried the slot's command")
            .because("they are down, or somebody else is trying one")
            .hint("try again in a moment")
            .into());
    }
    if !failed.is_empty() {
        return Err(Error::failed(Kind::Precondition, "the slot's command does not open it")
            .because(failed.join("; "))
            .hint("it has to open on every manager that answers: docs/operations/unlock-slots.md")
            .into());
    }
    session.printer.progress(&format!("{} opens: it counts as working", shown(slot)));
    if session.printer.json {
        return session.printer.json(&view::Proved { slot_id: view::some_hex(&slot.id), trials });
    }
    Ok(())
}
