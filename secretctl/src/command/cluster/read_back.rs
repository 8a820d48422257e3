//! `cluster update --read-back` and `cluster unlock-key`: an unlock key that the cluster keeps.
//!
//! It goes there sealed to the transit key, whose signature is checked first, and comes back sealed
//! to a key pair that is made here for the call. Not here: making and replacing it (`locking`).
//!
//! Invariant: a key is sent only if it is the one in use, and shown only if it is the one that was
//! asked for.

use proto::id::KeyId;
use proto::sealed::{Encapsulation, WrappedKey};
use proto::{Kind, pb};
use seal::{ReadBack, ReadBackSecretKey, TransitSender, UnlockKey};
use tokio::time::{Duration, Instant};

use super::super::Session;
use super::{locking, typed};
use crate::cli::SwitchArg;
use crate::connection::{Connection, ask, request_key};
use crate::error::Error;
use crate::{instant, transit, view};

/// A connection to the transit key, and that key's id.
async fn sender(connection: &Connection) -> Result<TransitSender, Error> {
    let key = ask!(connection, control.get_transit_key(pb::GetTransitKeyRequest {}))?;
    Ok(transit::sender(key, &connection.trust(), instant::now())?)
}

/// Has the cluster keep a key.
pub(super) async fn keep(connection: &Connection, key: &UnlockKey) -> Result<(), Error> {
    let sender = sender(connection).await?;
    let request = pb::KeepUnlockKeyRequest {
        request_key: request_key(),
        unlock_public_key: locking::public_half(key),
        transit_key_id: sender.transit_key_id().as_bytes().to_vec().into(),
        encapsulation: sender.encapsulation().as_bytes().clone(),
        sealed_key: sender.seal_unlock_key(key).as_bytes().clone(),
    };
    ask!(connection, control.keep_unlock_key(request)).map(drop)
}

/// How the next key comes to be kept, where the command that made it ended before that.
const KEEP_LATER: &str = "once all of it is done, have the new unlock key kept: `secretctl cluster update \
                          --read-back on`";

/// Has the cluster keep the key that took the place of one that it kept.
///
/// Last of all: before the managers have new keys, what is committed lies under those of before, and
/// the unlock key that was replaced opens their files. Until then it is refused.
pub(super) async fn keep_next(
    session: &Session,
    connection: &Connection,
    key: &UnlockKey,
    replaced: Result<bool, Error>,
) -> Result<(), Error> {
    let printer = session.printer;
    if !replaced.map_err(keep_later)? {
        printer.warning("the new unlock key is not kept: the managers have keys of before");
        printer.hint(KEEP_LATER);
        return Ok(());
    }
    // The key is in use by now, so a failure ends nothing: told as one, it would say that nothing was
    // changed, and whoever then forgets the key has locked everything.
    match keep(connection, key).await {
        Ok(()) => printer
            .progress("the new unlock key is kept for admins to read back, as the one before was"),
        Err(error) => {
            printer.warning(&format!(
                "the new unlock key is in use and must not be lost, but could not be kept ({error})"
            ));
            printer.hint(KEEP_LATER);
        }
    }
    Ok(())
}

fn keep_later(error: Error) -> Error {
    match error {
        Error::Failed(mut failure) => {
            failure.hints.push(KEEP_LATER.into());
            Error::Failed(failure)
        }
        Error::Interrupted(hint) => {
            let hint = hint.map_or_else(String::new, |hint| format!("{hint}; "));
            Error::Interrupted(Some(format!("{hint}{KEEP_LATER}")))
        }
        error => error,
    }
}

pub(super) async fn update(
    session: &Session,
    switch: SwitchArg,
    wait: Duration,
) -> Result<(), Error> {
    let connection = session.connect().await?;
    let status = locking::status(&connection).await?;
    let printer = session.printer;
    let is_on = status.unlock_key_readable;
    if is_on == (switch == SwitchArg::On) {
        let (state, hint) = if is_on {
            ("kept already", "`secretctl cluster unlock-key` shows it")
        } else {
            ("not kept", "to have it kept: `secretctl cluster update --read-back on`")
        };
        let failure = Error::failed(Kind::Precondition, format!("the unlock key is {state}"));
        return Err(failure.hint(hint).into());
    }
    if switch == SwitchArg::Off {
        let request = pb::ForgetUnlockKeyRequest { request_key: request_key() };
        let epoch = ask!(connection, control.forget_unlock_key(request))?.log_key_epoch;
        let deadline = Instant::now() + wait;
        let following = locking::follow_rotation(session, &connection, epoch, deadline);
        let rotation = locking::watched(following).await?;
        if printer.json {
            return printer.json(&view::ReadBack { read_back: false, rotation: Some(rotation) });
        }
        locking::tell_rotation(session, &rotation);
        printer.progress("the unlock key is kept no more: who has it are those it was given to");
        printer.hint("to be sure of that, replace it: `secretctl cluster unlock-key --rotate`");
        return Ok(());
    }
    let Some(id) = view::some_hex(&status.unlock_key_id) else {
        return Err(Error::failed(Kind::Precondition, "there is no unlock key to keep")
            .hint("to make one: `secretctl cluster update --autolock on`")
            .into());
    };
    let key = typed::unlock_key(&id)?;
    keep(&connection, &key).await?;
    if printer.json {
        return printer.json(&view::ReadBack { read_back: true, rotation: None });
    }
    printer.progress("admins can read the unlock key back: `secretctl cluster unlock-key`");
    printer.progress(
        "it is kept under the root key: who has a manager's memory, or a root key and the state, \
         has it as well",
    );
    Ok(())
}

/// Reads the key back and shows it.
pub(super) async fn show(session: &Session, connection: &Connection) -> Result<(), Error> {
    let sender = sender(connection).await?;
    let secret = ReadBackSecretKey::make();
    let request = pb::ReadUnlockKeyRequest { public_key: secret.public().as_bytes().clone() };
    let answer = ask!(connection, control.read_unlock_key(request))?;
    let wrong = || {
        Error::failed(Kind::Internal, "the unlock key that the manager sent does not open")
            .because("it was sealed for another call, or damaged on its way")
    };
    let encapsulation = Encapsulation::new(answer.encapsulation).map_err(|_| wrong())?;
    let sealed = WrappedKey::new(answer.sealed_key).map_err(|_| wrong())?;
    let call = ReadBack {
        realm: sender.realm(),
        unlock_key_id: KeyId::try_from(&*answer.unlock_key_id).map_err(|_| wrong())?,
        principal: sender.principal(),
        public_key: secret.public().clone(),
    };
    let key = call.open(&secret, &encapsulation, &sealed).map_err(|_| wrong())?;
    locking::show_text(session, &key)?;
    session
        .printer
        .progress(&format!("this is the unlock key {}; the reading is on record", key.id()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_ended_a_command_before_a_key_was_kept_it_says_how_to_have_it_kept() {
        let ends = [
            Error::failed(Kind::Timeout, "not in time").into(),
            Error::Interrupted(Some("they go on".into())),
            Error::Interrupted(None),
        ];
        for end in ends {
            let (_, said) = keep_later(end).telling().unwrap();
            assert!(said.hints.iter().any(|hint| hint.contains("--read-back on")), "{said:?}");
        }
    }
}
