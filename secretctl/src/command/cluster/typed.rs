//! What operators type to open managers: unlock keys, passphrases and shares.
//!
//! A passphrase is turned into a slot's seed here, with what the manager says of the slot, and
//! compared with the slot before anything is sent; a share is compared with its hash. Not here:
//! argon2id, spelling and the field of shares (`seal`), the calls (`slots`, `locking`).
//!
//! Invariant: what is typed stays in this program; a seed or a share leaves it over the unix socket
//! of this machine only.

use std::io::{self, IsTerminal as _};

use proto::limits::{PASSPHRASE_BYTES_MAX, PASSPHRASE_CHARACTERS_MIN, SHARES_MAX};
use proto::{Kind, pb};
use seal::{
    Gathering, Passphrase, Share, ShareError, SlotKind, SlotParameters, SlotPublicKey,
    SlotSecretKey, SpellingError, UnlockKey,
};
use sys::tty::TtyError;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::message::Printer;
use crate::{value, view};

/// Bytes that are read: a passphrase of any length and a byte more, or all shares there can be, a
/// line each.
const TYPED_BYTES_MAX: usize = SHARES_MAX as usize * 128;
const _: () = assert!(TYPED_BYTES_MAX > PASSPHRASE_BYTES_MAX + 2);

/// Bytes of the seed that a command prints.
const SEED_BYTES: usize = 32;

/// What was typed, in memory that never grows and is wiped.
pub(super) struct Line {
    buffer: Zeroizing<Vec<u8>>,
    length: usize,
}

impl Line {
    /// Every byte that was read.
    fn all(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }

    /// What was typed, without the line's end.
    pub(super) fn line(&self) -> &[u8] {
        let line = self.all();
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// Reads it from the terminal or, where there is none, standard input.
    fn read(what: &str, prompt: &str) -> Result<Self, Error> {
        let mut buffer = Zeroizing::new(vec![0; TYPED_BYTES_MAX]);
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

/// A passphrase that was chosen before: typed once.
pub(super) fn existing_passphrase(prompt: &str) -> Result<Line, Error> {
    Line::read("passphrase", prompt)
}

pub(super) fn parse(line: &[u8]) -> Result<Passphrase<'_>, Error> {
    Passphrase::parse(line).map_err(|error| {
        Error::failed(Kind::Invalid, error.to_string()).hint("nothing was sent").into()
    })
}

/// The seed that a command prints, of which a slot is made.
///
/// # Errors
///
/// If standard input is a terminal, or is not one seed.
pub(super) fn piped_seed(path: &str) -> Result<SlotSecretKey, Error> {
    let refused = |message: &str| {
        Error::failed(Kind::Invalid, message)
            .hint(format!("pipe it: `{path} | secretctl cluster unlock-slot add command {path}`"))
            .hint("docs/operations/unlock-slots.md")
    };
    if io::stdin().is_terminal() {
        return Err(refused("the seed is read from standard input, which is a terminal").into());
    }
    let read = Line::read("seed", "")?;
    let seed: &[u8; SEED_BYTES] = read.all().try_into().map_err(|_| {
        let length = read.all().len();
        refused("this is not a seed").because(format!("it has {length} bytes, not {SEED_BYTES}"))
    })?;
    if seed.iter().all(|byte| Some(byte) == seed.first()) {
        return Err(refused("this is not a seed").because("all its bytes are the same").into());
    }
    Ok(SlotSecretKey::derive_from_seed(seed))
}

/// What opens a locked manager, as it was brought.
pub(super) enum Brought {
    /// The seed of one of its slots.
    Seed(Box<Zeroizing<[u8; 32]>>),
    /// Shares of one of its slots.
    Shares(Vec<Share>),
}

impl Brought {
    fn of(key: &UnlockKey) -> Self {
        let mut seed = Box::new(Zeroizing::new([0; 32]));
        seed.copy_from_slice(key.expose_seed());
        Self::Seed(seed)
    }
}

/// Whether something that operators keep opens a locked manager.
pub(super) fn has_operators_slot(status: &pb::LocalStatus) -> bool {
    !status.unlock_key_id.is_empty() || status.key_file_slots.iter().any(is_typed)
}

/// What opens a locked manager, of what an operator types.
pub(super) fn brought_to(status: &pb::LocalStatus) -> Result<Brought, Error> {
    let opens: Vec<_> = status.key_file_slots.iter().filter(|slot| is_typed(slot)).collect();
    match opens.as_slice() {
        // A manager that does not say more than which unlock key it needs.
        [] => unlock_key_seed(view::some_hex(&status.unlock_key_id).as_deref()),
        [key] if is(key, SlotKind::UnlockKey) => {
            unlock_key_seed(view::some_hex(&key.id).as_deref())
        }
        slots => brought(slots, true),
    }
}

/// Has what opens a slot typed, all its shares if it is one of shares.
///
/// # Errors
///
/// If it does not open the slot. Of what opens another one it is said so: two pieces of paper were
/// exchanged. At a terminal a share that is wrong is asked for again: the others are not lost.
pub(super) fn try_out(printer: Printer, slot: &pb::SlotInfo) -> Result<(), Error> {
    let Some(SlotParameters::Shares(parameters)) = parameters_of(slot) else {
        return brought(&[slot], false).map(drop);
    };
    let asks = io::stdin().is_terminal();
    let mut gathering = Gathering::of(parameters);
    while gathering.missing() > 0 {
        let entered = gathering.numbers().count();
        let of = entered + usize::from(gathering.missing());
        let line = Line::read("share", &format!("share, {} of {of}: ", entered + 1))?;
        let taken = shares(line.line())
            .and_then(|shares| shares.into_iter().try_for_each(|one| gathering.add(one).map(drop)));
        match taken {
            Err(error) if asks => printer.warning(&error.to_string()),
            Err(error) => return Err(share_refused(&error)),
            Ok(()) if asks => {}
            Ok(()) => break,
        }
    }
    gathering.combine(&public_of(slot)?).map(drop).map_err(|error| share_refused(&error))
}

fn is(slot: &pb::SlotInfo, kind: SlotKind) -> bool {
    slot.kind == kind.as_str()
}

/// Whether what opens it is typed.
fn is_typed(slot: &pb::SlotInfo) -> bool {
    [SlotKind::UnlockKey, SlotKind::Passphrase, SlotKind::Shares].iter().any(|kind| is(slot, *kind))
}

pub(super) fn parameters_of(slot: &pb::SlotInfo) -> Option<SlotParameters> {
    let kind = SlotKind::of_name(&slot.kind)?;
    SlotParameters::parse(kind, &slot.parameters).ok()
}

/// Reads an unlock key. Which one it is is compared by the manager, which knows older ones, too.
/// The unlock key with this id.
///
/// # Errors
///
/// If it is spelled wrong, or another one.
pub(super) fn unlock_key(id: &str) -> Result<UnlockKey, Error> {
    let line = Line::read("unlock key", &format!("unlock key {id}: "))?;
    let key = UnlockKey::parse(line.line()).map_err(|error| spelled_wrong(&error, Some(id)))?;
    let typed = key.id().to_string();
    if typed == id {
        return Ok(key);
    }
    Err(Error::failed(Kind::Denied, "this is not the unlock key that is in use")
        .because(format!("it is key {typed}; the key in use is {id}"))
        .hint("nothing was sent to the manager")
        .into())
}

fn unlock_key_seed(id: Option<&str>) -> Result<Brought, Error> {
    let prompt = id.map_or_else(|| "unlock key: ".into(), |id| format!("unlock key {id}: "));
    let line = Line::read("unlock key", &prompt)?;
    let key = UnlockKey::parse(line.line()).map_err(|error| spelled_wrong(&error, id))?;
    Ok(Brought::of(&key))
}

fn spelled_wrong(error: &SpellingError, needed: Option<&str>) -> Error {
    let failure = Error::failed(Kind::Invalid, error.to_string());
    let failure = failure.hint("nothing was sent to the manager");
    match needed {
        Some(id) => failure.hint(format!("it needs the unlock key {id}")).into(),
        None => failure.into(),
    }
}

/// Shares as words, one a line.
fn shares(text: &[u8]) -> Result<Vec<Share>, ShareError> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let mut shares = lines.map(Share::parse).collect::<Result<Vec<_>, _>>()?;
    if shares.is_empty() {
        shares.push(Share::parse(text)?);
    }
    Ok(shares)
}

fn share_refused(error: &ShareError) -> Error {
    let message = match error {
        ShareError::Missing { .. } => "too few shares",
        ShareError::OtherKey => "the slot does not open",
        _ => "the share was not taken",
    };
    let failure = Error::failed(Kind::Denied, message).because(error.to_string());
    failure.hint("nothing was sent to the manager").into()
}

/// Reads what opens one of these slots, and recovers the slot's seed or compares the shares.
///
/// # Errors
///
/// If it is a word with a slip in it, or opens none of them. Of an unlock key that reads well it is
/// said which one it is; at a manager by the manager, which knows older ones, too.
fn brought(slots: &[&pb::SlotInfo], at_manager: bool) -> Result<Brought, Error> {
    let of = |kind| slots.iter().copied().filter(move |slot| is(slot, kind));
    let mut names: Vec<_> = slots.iter().map(|slot| shown(slot)).collect();
    names.sort_unstable();
    let opens = names.join(" or ");
    let line = Line::read("secret of a slot", &format!("{opens}: "))?;
    let text = line.line();
    let key_id = of(SlotKind::UnlockKey).next().and_then(|slot| view::some_hex(&slot.id));
    let expects_other_words = of(SlotKind::Passphrase).chain(of(SlotKind::Shares)).next().is_some();
    match UnlockKey::parse(text) {
        Ok(typed) => {
            if at_manager || slots.iter().any(|slot| *slot.id == *typed.id().as_bytes()) {
                return Ok(Brought::of(&typed));
            }
            return Err(opens_none(&format!("this is the unlock key {}", typed.id()), &opens));
        }
        // What does not look like an unlock key is something else, where that is expected.
        Err(SpellingError::Prefix { .. }) if expects_other_words => {}
        Err(error) => return Err(spelled_wrong(&error, key_id.as_deref())),
    }
    let of_shares: Vec<_> = of(SlotKind::Shares).filter_map(parameters_of).collect();
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let is_share =
        !matches!(Share::parse(first), Err(ShareError::Spelling(SpellingError::Prefix { .. })));
    if is_share && !of_shares.is_empty() || of(SlotKind::Passphrase).next().is_none() {
        let shares = shares(text).map_err(|error| share_refused(&error))?;
        return known_shares(&of_shares, shares).map(Brought::Shares);
    }
    seed_of_passphrase(of(SlotKind::Passphrase), &parse(text)?)?
        .map(Brought::Seed)
        .ok_or_else(|| opens_none("this passphrase is another one, or has a slip in it", &opens))
}

/// Shares that are what was handed out for one of these slots.
fn known_shares(slots: &[SlotParameters], shares: Vec<Share>) -> Result<Vec<Share>, Error> {
    for share in &shares {
        let mut refused = None;
        let is_known = slots.iter().any(|slot| {
            let SlotParameters::Shares(parameters) = slot else { return false };
            let answer = parameters.knows(share);
            let is_known = answer.is_ok();
            refused = answer.err();
            is_known
        });
        if let (false, Some(error)) = (is_known, refused) {
            return Err(share_refused(&error));
        }
    }
    Ok(shares)
}

/// The seed of the slot that a passphrase is of; none if it is of none of these.
fn seed_of_passphrase<'s>(
    slots: impl Iterator<Item = &'s pb::SlotInfo>,
    passphrase: &Passphrase<'_>,
) -> Result<Option<Box<Zeroizing<[u8; 32]>>>, Error> {
    for slot in slots {
        let Some(SlotParameters::Passphrase(costs)) = parameters_of(slot) else {
            return Err(Error::failed(Kind::Invalid, format!("{} is damaged", shown(slot)))
                .because("its parameters are not those of a passphrase, or out of bounds")
                .hint("open the manager with another slot: docs/operations/unlock.md")
                .into());
        };
        let seed = costs.expose_seed(passphrase, &public_of(slot)?);
        let seed = seed.map_err(|error| Error::failed(Kind::Unavailable, error.to_string()))?;
        if seed.is_some() {
            return Ok(seed);
        }
    }
    Ok(None)
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
