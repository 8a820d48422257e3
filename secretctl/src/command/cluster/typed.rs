//! What an operator types to open managers: unlock keys and passphrases.
//!
//! A passphrase is turned into a slot's seed here, with what the manager says of the slot, and
//! compared with the slot before anything is sent. Not here: argon2id and spelling (`seal`), the
//! calls (`slots`, `locking`).
//!
//! Invariant: what is typed stays in this program; a seed leaves it over the unix socket of this
//! machine only.

use std::io::{self, IsTerminal as _};

use proto::limits::{PASSPHRASE_BYTES_MAX, PASSPHRASE_CHARACTERS_MIN};
use proto::{Kind, pb};
use seal::{Passphrase, SlotKind, SlotParameters, SlotPublicKey, SpellingError, UnlockKey};
use sys::tty::TtyError;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::{value, view};

/// One line, in memory that never grows and is wiped.
pub(super) struct Line {
    buffer: Zeroizing<Vec<u8>>,
    length: usize,
}

impl Line {
    /// What was typed, without the line's end.
    pub(super) fn line(&self) -> &[u8] {
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
pub(super) fn new_passphrase() -> Result<Line, Error> {
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

pub(super) fn parse(line: &[u8]) -> Result<Passphrase<'_>, Error> {
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
pub(super) fn seed_of(
    slots: &[pb::SlotInfo],
    at_manager: bool,
) -> Result<Zeroizing<[u8; 32]>, Error> {
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

fn public_of(slot: &pb::SlotInfo) -> Result<SlotPublicKey, Error> {
    SlotPublicKey::parse(slot.public_key.clone()).map_err(|_| {
        Error::failed(Kind::Invalid, "the manager sent a slot without a public key")
            .hint("the manager runs another version: docs/operations/upgrade.md")
            .into()
    })
}

/// A slot as people call it.
pub(super) fn shown(slot: &pb::SlotInfo) -> String {
    format!("{} {}", slot.kind, proto::hex::encode(&slot.id))
}
