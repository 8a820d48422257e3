//! What keys cannot do: be printed, copied or compared by accident.

use core::fmt::{Debug, Display};
use core::marker::PhantomData;

/// What a type can do: a constant of its own where it can, that of [`Cannot`] where not.
struct Probe<T>(PhantomData<T>);

trait Cannot {
    const DEBUG: bool = false;
    const DISPLAY: bool = false;
    const CLONE: bool = false;
    const EQ: bool = false;
}

impl<T> Cannot for Probe<T> {}

impl<T: Debug> Probe<T> {
    const DEBUG: bool = true;
}

impl<T: Display> Probe<T> {
    const DISPLAY: bool = true;
}

impl<T: Clone> Probe<T> {
    const CLONE: bool = true;
}

impl<T: PartialEq> Probe<T> {
    const EQ: bool = true;
}

macro_rules! abilities {
    ($($name:ty),+ $(,)?) => {
        [$((
            stringify!($name),
            [
                Probe::<$name>::DEBUG,
                Probe::<$name>::DISPLAY,
                Probe::<$name>::CLONE,
                Probe::<$name>::EQ,
            ],
        )),+]
    };
}

#[test]
fn keys_and_secrets_cannot_be_printed_cloned_or_compared() {
    for (name, abilities) in abilities![
        seal::BackupRoot,
        seal::BackupSecretKey,
        seal::ReadBackSecretKey,
        seal::BootEntry,
        seal::BootFile,
        seal::BootFileKey,
        seal::Dek,
        seal::DekBundle,
        seal::FetchSecretKey,
        seal::Gathering,
        seal::KeyFileContents,
        seal::LogKey,
        seal::OwnHalf,
        seal::Passphrase<'static>,
        seal::PeerSecretKey,
        seal::PeersSlot,
        seal::Plaintext,
        seal::ReleaseSecretKey,
        seal::RootKey,
        seal::SessionSecretKey,
        seal::Share,
        seal::SigningKeyDer,
        seal::SlotSecretKey,
        seal::Split,
        seal::TransitSecretKey,
        seal::UnlockKey,
    ] {
        assert_eq!(abilities, [false; 4], "{name}: debug, display, clone, eq");
    }
    // The probe tells what can from what cannot.
    for (name, abilities) in abilities![String, proto::id::KeyId] {
        assert_eq!(abilities, [true; 4], "{name}");
    }
}
