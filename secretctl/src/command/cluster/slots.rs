//! `cluster unlock-slot`, and what is typed to open a manager: the secrets of slots.
//!
//! A passphrase is asked for and turned into a slot's key here; the cluster gets the key's public
//! half, salt and costs. To open a manager or prove a slot, the same is done again with what the
//! manager says of the slot, and compared, before anything is sent. Not here: argon2id (`seal`),
//! the change of the unlock key (`locking`).
//!
//! Invariant: a passphrase leaves this program on standard output only, when it was made here; a
//! seed over the unix socket of this machine only.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use proto::id::{KeyId, Timestamp};
use proto::limits::{PASSPHRASE_BYTES_MAX, PASSPHRASE_CHARACTERS_MIN};
use proto::{Kind, pb};
use seal::{
    Passphrase, PassphraseCosts, Recipient, SlotKind, SlotParameters, SlotPublicKey, SpellingError,
    UnlockKey,
};
use sys::tty::TtyError;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::super::{Session, counted, listed};
use super::locking::{Followed, PAUSE, name, status};
use crate::cli::{AddSlotCommand, UnlockSlotCommand};
use crate::connection::{Connection, ask, request_key};
use crate::error::Error;
use crate::table::Table;
use crate::{instant, value, view};

pub(super) async fn run(session: &Session, command: UnlockSlotCommand) -> Result<(), Error> {
    match command {
        UnlockSlotCommand::Add(AddSlotCommand::Passphrase { generate, wait }) => {
            add_passphrase(session, generate, wait).await
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
    // Before it is sent: a passphrase that nobody could read is no way in.
    if let Some(made) = &made {
        show(session, made, id)?;
    }
    let recipient = Recipient::new(slot.public().clone(), &SlotParameters::Passphrase(costs));
    let request = pb::AddSlotRequest {
        request_key: request_key(),
        recipients_generation: seen.recipients_generation,
        kind: recipient.kind.as_str().into(),
        public_key: recipient.public.as_bytes().clone(),
        parameters: recipient.parameters.into(),
    };
    let changed = ask!(connection, control.add_slot(request)).map_err(|error| match error {
        Error::Failed(mut failure) if made.is_some() && !failure.kind.is_retryable() => {
            let hint =
                "nothing was changed: the passphrase that was shown opens nothing, forget it";
            failure.hints.push(hint.into());
            Error::Failed(failure)
        }
        error => error,
    })?;
    let followed = follow(session, &connection, id, changed.recipients_generation, wait).await?;
    if session.printer.json {
        return session.printer.json_line(&followed);
    }
    if !generate {
        session.printer.data(&id.to_string())?;
    }
    for member in &followed.pending {
        let name = name(member);
        session.printer.warning(&format!(
            "{name} was down: until it starts once, the passphrase does not open it"
        ));
    }
    session.printer.progress(&format!("the passphrase is slot {id}; it was never opened yet"));
    session.printer.hint(&format!("try it now: `secretctl cluster unlock-slot prove {id}`"));
    Ok(())
}

/// Shows a passphrase that was just made, this once.
fn show(session: &Session, made: &str, id: KeyId) -> Result<(), Error> {
    if session.printer.json {
        let view = view::NewPassphrase { passphrase: made, slot_id: id.to_string() };
        let line = serde_json::to_string(&view).map(Zeroizing::new);
        let line = line.map_err(|error| Error::Output(io::Error::other(error)))?;
        session.printer.secret(&line)?;
    } else {
        session.printer.secret(made)?;
    }
    session
        .printer
        .progress("this passphrase is not shown again, and the cluster does not have it");
    session.printer.hint("write it down where no manager can read it");
    Ok(())
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

fn public_of(slot: &pb::SlotInfo) -> Result<SlotPublicKey, Error> {
    SlotPublicKey::parse(slot.public_key.clone()).map_err(|_| {
        Error::failed(Kind::Invalid, "the manager sent a slot without a public key")
            .hint("the manager runs another version: docs/operations/upgrade.md")
            .into()
    })
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
    let followed = follow(session, &connection, id, changed.recipients_generation, wait).await?;
    if session.printer.json {
        return session.printer.json(&followed);
    }
    for member in &followed.pending {
        let name = name(member);
        session
            .printer
            .warning(&format!("{name} was down: until it starts once, slot {id} still opens it"));
    }
    session.printer.progress(&format!("slot {id} is removed"));
    session.printer.hint(
        "a copy of a key file from before still opens with it: docs/operations/unlock-slots.md",
    );
    Ok(())
}

fn shown(slot: &pb::SlotInfo) -> String {
    format!("{} {}", slot.kind, proto::hex::encode(&slot.id))
}

async fn prove(session: &Session, id: &str) -> Result<(), Error> {
    let connection = session.connect().await?;
    let listed = slots(&connection).await?.slots;
    let slot = find(&listed, id)?;
    // Of what opens another slot it is said so: two pieces of paper were exchanged.
    seed_of(std::slice::from_ref(slot), false)?;
    let request = pb::ProveSlotRequest { request_key: request_key(), id: slot.id.clone() };
    ask!(connection, control.prove_slot(request))?;
    session.printer.progress(&format!("{} opens: it counts as working", shown(slot)));
    Ok(())
}

/// Waits until every manager that answers has sealed its key file anew.
async fn follow(
    session: &Session,
    connection: &Connection,
    slot: KeyId,
    generation: u64,
    wait: Duration,
) -> Result<view::SlotsChanged, Error> {
    let deadline = Instant::now() + wait;
    loop {
        let status = status(connection).await?;
        let followed = Followed::of(&status, generation);
        let waited_for = followed.waited_for();
        if waited_for.is_empty() && status.recipients_generation >= generation {
            let all = counted(followed.done.len() + followed.pending.len(), "manager");
            session.printer.progress(&format!("{} of {all} sealed anew", followed.done.len()));
            return Ok(view::SlotsChanged {
                slot_id: slot.to_string(),
                recipients_generation: generation,
                done: followed.pending.is_empty(),
                followed: followed.done,
                pending: followed.pending,
            });
        }
        if Instant::now() >= deadline {
            return Err(Error::failed(Kind::Timeout, "not every manager has followed in time")
                .because(format!("not sealed anew: {}", listed(&waited_for)))
                .hint("the change is made, and they go on by themselves: see their logs")
                .hint("`secretctl cluster status` shows who is behind")
                .into());
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            _ = tokio::signal::ctrl_c() => return Err(Error::Interrupted(Some(
                "the managers go on by themselves: `secretctl cluster status`".into(),
            ))),
        }
    }
}

/// One line, in memory that never grows and is wiped.
struct Line {
    buffer: Zeroizing<Vec<u8>>,
    length: usize,
}

impl Line {
    /// What was typed, without the line's end.
    fn line(&self) -> &[u8] {
        let line = self.buffer.get(..self.length).unwrap_or_default();
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// Reads it from the terminal or, where there is none, standard input.
    fn read(what: &str, prompt: &str) -> Result<Self, Error> {
        // One more than fits, so that what is too long is seen to be; and a line's end.
        let mut buffer = Zeroizing::new(vec![0; PASSPHRASE_BYTES_MAX + 3]);
        let unread = |reason: String| {
            Error::failed(Kind::Invalid, format!("the {what} could not be read"))
                .because(reason)
                .hint("pipe it, or type it where there is a terminal")
        };
        let length = if io::stdin().is_terminal() {
            match sys::tty::read_secret(prompt, &mut buffer) {
                Ok(length) => length,
                Err(TtyError::Interrupted) => return Err(Error::Interrupted(None)),
                Err(error) => return Err(unread(error.to_string()).into()),
            }
        } else {
            let stdin = value::stdin().map_err(|error| unread(error.to_string()))?;
            read_up_to(stdin, &mut buffer).map_err(|error| unread(error.to_string()))?
        };
        Ok(Self { buffer, length })
    }
}

/// Reads until the end, or until the buffer is full.
fn read_up_to(mut from: impl io::Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// A passphrase for a new slot: what is typed is typed twice.
fn new_passphrase() -> Result<Line, Error> {
    let prompt = format!("new passphrase, {PASSPHRASE_CHARACTERS_MIN} characters or more: ");
    let first = Line::read("passphrase", &prompt)?;
    if io::stdin().is_terminal() {
        let again = Line::read("passphrase", "the same again: ")?;
        if !seal::equal(first.line(), again.line()) {
            return Err(Error::failed(Kind::Invalid, "the two passphrases that were typed differ")
                .hint("nothing was changed; repeat the command")
                .into());
        }
    }
    Ok(first)
}

fn parse(line: &[u8]) -> Result<Passphrase<'_>, Error> {
    Passphrase::parse(line).map_err(|error| {
        Error::failed(Kind::Invalid, error.to_string()).hint("nothing was sent").into()
    })
}

/// Whether something that operators keep opens a locked manager.
pub(super) fn has_operators_slot(status: &pb::LocalStatus) -> bool {
    !status.unlock_key_id.is_empty() || passphrases(&status.key_file_slots).next().is_some()
}

/// The seed that opens a locked manager, of what an operator types.
pub(super) fn seed_for(status: &pb::LocalStatus) -> Result<Zeroizing<[u8; 32]>, Error> {
    let opens: Vec<_> = status
        .key_file_slots
        .iter()
        .filter(|slot| is(slot, SlotKind::UnlockKey) || is(slot, SlotKind::Passphrase))
        .cloned()
        .collect();
    if opens.is_empty() {
        // A manager that does not say more than which unlock key it needs.
        return unlock_key_seed(view::some_hex(&status.unlock_key_id).as_deref());
    }
    match opens.as_slice() {
        [key] if is(key, SlotKind::UnlockKey) => {
            unlock_key_seed(view::some_hex(&key.id).as_deref())
        }
        slots => seed_of(slots, true),
    }
}

fn is(slot: &pb::SlotInfo, kind: SlotKind) -> bool {
    slot.kind == kind.as_str()
}

fn passphrases(slots: &[pb::SlotInfo]) -> impl Iterator<Item = &pb::SlotInfo> {
    slots.iter().filter(|slot| is(slot, SlotKind::Passphrase))
}

/// Reads an unlock key. Which one it is is compared by the manager, which knows older ones, too.
fn unlock_key_seed(id: Option<&str>) -> Result<Zeroizing<[u8; 32]>, Error> {
    let prompt = id.map_or_else(|| "unlock key: ".into(), |id| format!("unlock key {id}: "));
    let line = Line::read("unlock key", &prompt)?;
    let key = UnlockKey::parse(line.line()).map_err(|error| spelled_wrong(&error, id))?;
    Ok(Zeroizing::new(*key.expose_seed()))
}

fn spelled_wrong(error: &SpellingError, needed: Option<&str>) -> Error {
    let failure = Error::failed(Kind::Invalid, error.to_string());
    let failure = failure.hint("nothing was sent to the manager");
    match needed {
        Some(id) => failure.hint(format!("it needs the unlock key {id}")).into(),
        None => failure.into(),
    }
}

/// Reads what opens one of these slots, an unlock key or a passphrase, and recovers its seed.
///
/// # Errors
///
/// If it is an unlock key with a slip in it, or opens none of them. Of an unlock key that reads well
/// it is said which one it is; at a manager by the manager, which knows older ones, too.
fn seed_of(slots: &[pb::SlotInfo], at_manager: bool) -> Result<Zeroizing<[u8; 32]>, Error> {
    let mut names: Vec<_> = slots.iter().map(shown).collect();
    names.sort_unstable();
    let opens = names.join(" or ");
    let line = Line::read("unlock key or passphrase", &format!("{opens}: "))?;
    let key = slots.iter().find(|slot| is(slot, SlotKind::UnlockKey));
    let key_id = key.and_then(|slot| view::some_hex(&slot.id));
    let has_passphrase = passphrases(slots).next().is_some();
    match UnlockKey::parse(line.line()) {
        Ok(typed) => {
            if at_manager || slots.iter().any(|slot| *slot.id == *typed.id().as_bytes()) {
                return Ok(Zeroizing::new(*typed.expose_seed()));
            }
            return Err(opens_none(&format!("this is the unlock key {}", typed.id()), &opens));
        }
        // What does not look like an unlock key is a passphrase, where one is expected.
        Err(SpellingError::Prefix { .. }) if has_passphrase => {}
        Err(error) => return Err(spelled_wrong(&error, key_id.as_deref())),
    }
    let passphrase = parse(line.line())?;
    for slot in passphrases(slots) {
        let parameters = SlotParameters::parse(SlotKind::Passphrase, &slot.parameters);
        let Ok(SlotParameters::Passphrase(costs)) = parameters else {
            return Err(Error::failed(Kind::Invalid, format!("{} is damaged", shown(slot)))
                .because("its parameters are not those of a passphrase, or out of bounds")
                .hint("open the manager with another slot: docs/operations/unlock.md")
                .into());
        };
        let seed = costs.expose_seed(&passphrase, &public_of(slot)?);
        let seed = seed.map_err(|error| Error::failed(Kind::Unavailable, error.to_string()))?;
        if let Some(seed) = seed {
            return Ok(seed);
        }
    }
    Err(opens_none("this passphrase is another one, or has a slip in it", &opens))
}

fn opens_none(what: &str, opens: &str) -> Error {
    Error::failed(Kind::Denied, "it does not open the slot")
        .because(format!("{what}; it opens with {opens}"))
        .hint("every character of a passphrase counts: case, spaces, the keyboard's layout")
        .hint("nothing was sent to the manager")
        .into()
}
