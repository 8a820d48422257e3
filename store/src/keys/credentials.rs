//! A manager's certificates on disk: its own, the CA's, and which ones of managers it refuses. The
//! private key is in the key file.
//!
//! Invariants: whatever instant a renewal is cut short at, one of the certificates on disk goes
//! with the key in the key file; what was kept as refused is refused from a start's first handshake
//! on, before the log is read.

use std::collections::BTreeSet;
use std::sync::Arc;

use link::tls::{OwnCertificate, TlsError};
use link::trust::{Authorities, Trust};
use proto::id::Serial;
use proto::limits::CERTIFICATES_MAX;
use rustls_pki_types::CertificateDer;
use seal::SigningKeyDer;
use sys::file::{FileError, Folder, PRIVATE_FILE_MODE};

const CERTIFICATE: &str = "certificate.der";

/// The next certificate, until the key file holds its key.
const NEXT: &str = "certificate-next.der";

const CA: &str = "ca.der";

/// The serial numbers of managers' certificates that were superseded, one after the other.
const REFUSED: &str = "refused-serials";

/// Bytes of a serial number.
const SERIAL_BYTES: usize = 16;

/// As many as there can be in the state.
pub(crate) const REFUSED_MAX: usize = CERTIFICATES_MAX;

/// Largest certificate, in bytes: ours have under 1 KiB.
const CERTIFICATE_BYTES_MAX: usize = 16 << 10;

/// The certificates cannot be read, written or used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    /// A file failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is kept of the CAs is something else.
    #[error("what is kept of the cluster's CAs cannot be read: docs/operations/replace-manager.md")]
    Authorities,
    /// What is kept of refused certificates is something else.
    #[error(
        "what is kept of refused certificates, {REFUSED}, cannot be read: docs/operations/replace-manager.md"
    )]
    Refused,
    /// The CAs that are kept are no certificates.
    #[error("what is kept of the cluster's CAs is none: docs/operations/replace-manager.md")]
    Trust(#[source] TlsError),
    /// None of the certificates goes with the key.
    #[error(
        "no certificate in the data folder goes with the key in the key file: docs/operations/replace-manager.md"
    )]
    Mismatch(#[source] TlsError),
}

/// A certificate, and the CAs there are.
#[derive(Clone)]
pub(crate) struct Chain {
    pub(crate) leaf: CertificateDer<'static>,
    pub(crate) authorities: Authorities,
}

impl Chain {
    /// Writes both, durably.
    pub(crate) fn write(&self, folder: &Folder) -> Result<(), FileError> {
        keep_authorities(folder, &self.authorities)?;
        folder.replace(CERTIFICATE, PRIVATE_FILE_MODE, &self.leaf)
    }

    /// Reads the certificate that goes with `key`.
    pub(crate) fn read(
        folder: &Folder,
        key: &SigningKeyDer,
    ) -> Result<(Self, Arc<OwnCertificate>), CredentialsError> {
        let authorities = authorities(folder)?;
        let leaf = CertificateDer::from(folder.read(CERTIFICATE, CERTIFICATE_BYTES_MAX)?);
        let mismatch = match OwnCertificate::of(leaf.clone(), &authorities, key) {
            Ok(own) => return Ok((Self { leaf, authorities }, own)),
            Err(error) => error,
        };
        let leaf = match folder.read(NEXT, CERTIFICATE_BYTES_MAX) {
            Ok(next) => CertificateDer::from(next),
            Err(error) if error.is_not_found() => {
                return Err(CredentialsError::Mismatch(mismatch));
            }
            Err(error) => return Err(error.into()),
        };
        let own = OwnCertificate::of(leaf.clone(), &authorities, key)
            .map_err(CredentialsError::Mismatch)?;
        settle(folder)?;
        Ok((Self { leaf, authorities }, own))
    }
}

/// Reads the CAs alone: they are there while the key file is locked, too.
pub(crate) fn authorities(folder: &Folder) -> Result<Authorities, CredentialsError> {
    let authorities = Authorities::from_bytes(&folder.read(CA, CERTIFICATE_BYTES_MAX)?);
    authorities.ok_or(CredentialsError::Authorities)
}

/// Keeps the CAs that there are, durably.
pub(crate) fn keep_authorities(
    folder: &Folder,
    authorities: &Authorities,
) -> Result<(), FileError> {
    folder.replace(CA, PRIVATE_FILE_MODE, &authorities.to_bytes())
}

/// What a manager goes by before it has read its log: these CAs, but for what is kept as refused.
pub(crate) fn trust(folder: &Folder, authorities: &Authorities) -> Result<Trust, CredentialsError> {
    let trust = Trust::new(&authorities.trusted).map_err(CredentialsError::Trust)?;
    trust.refuse(refused(folder)?);
    Ok(trust)
}

fn refused(folder: &Folder) -> Result<BTreeSet<Serial>, CredentialsError> {
    let bytes = match folder.read(REFUSED, REFUSED_MAX * SERIAL_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(BTreeSet::new()),
        Err(error) => return Err(error.into()),
    };
    let serials = bytes.chunks(SERIAL_BYTES).map(Serial::try_from);
    serials.collect::<Result<_, _>>().map_err(|_| CredentialsError::Refused)
}

/// Keeps which certificates of managers are refused, durably: [`REFUSED_MAX`] at most.
pub(crate) fn keep_refused(folder: &Folder, serials: &BTreeSet<Serial>) -> Result<(), FileError> {
    let bytes: Vec<u8> = serials.iter().flat_map(|serial| *serial.as_bytes()).collect();
    folder.replace(REFUSED, PRIVATE_FILE_MODE, &bytes)
}

/// Keeps the next certificate beside the one in use, before the key file gets its key.
pub(crate) fn stage(folder: &Folder, leaf: &CertificateDer<'_>) -> Result<(), FileError> {
    folder.replace(NEXT, PRIVATE_FILE_MODE, leaf)
}

/// Makes the next certificate the one in use, after the key file has its key.
pub(crate) fn settle(folder: &Folder) -> Result<(), FileError> {
    folder.rename(NEXT, CERTIFICATE)
}

/// Removes a next certificate that never came into use.
pub(crate) fn unstage(folder: &Folder) -> Result<(), FileError> {
    folder.remove_if_there(NEXT)
}

/// Removes all of them.
pub(crate) fn remove(folder: &Folder) -> Result<(), FileError> {
    for name in [NEXT, CERTIFICATE, CA, REFUSED] {
        folder.remove_if_there(name)?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use link::certificate::{self, KeyPairDer, NewCertificate};
    use link::trust::Bridge;
    use proto::id::{Incarnation, MemberId, NodeId, Realm, Timestamp};
    use proto::identity::{Identity, Subject};

    use super::*;

    pub(crate) const REALM: Realm = Realm::from_bytes([1; 16]);
    const ENDS: Timestamp = Timestamp(1_000_000_000);

    /// A CA of one cluster.
    pub(crate) struct Ca {
        pub(crate) pair: KeyPairDer,
        pub(crate) certificate: CertificateDer<'static>,
    }

    impl Ca {
        pub(crate) fn new() -> Self {
            let pair = certificate::make_key_pair().unwrap();
            let certificate = certificate::make_ca(&pair.private, Timestamp(0), ENDS).unwrap();
            Self { pair, certificate }
        }

        /// The certificate of a manager that joined, and its key.
        pub(crate) fn issue(&self) -> (CertificateDer<'static>, KeyPairDer) {
            let pair = certificate::make_key_pair().unwrap();
            let subject = Subject::Manager(NodeId::from_entropy([1; 17]), MemberId(3));
            let identity = Identity { realm: REALM, incarnation: Incarnation(1), subject };
            let new = NewCertificate {
                identity,
                public_key: &pair.public,
                serial: certificate::make_serial(),
                now: Timestamp(0),
                not_after: ENDS,
            };
            (certificate::issue(&self.certificate, &self.pair.private, &new).unwrap(), pair)
        }

        /// Both, and this one's word for the other.
        pub(crate) fn and(&self, next: &Self) -> Authorities {
            let (key, public) = (&self.pair.private, &next.pair.public);
            let bridge =
                certificate::make_bridge(&self.certificate, key, public, Timestamp(0), ENDS);
            let bridge = Bridge { certificate: bridge.unwrap(), former: self.certificate.clone() };
            let trusted = vec![self.certificate.clone(), next.certificate.clone()];
            Authorities { trusted, bridge: Some(bridge) }
        }
    }

    /// Every durable step of a renewal under the same CA, cut off after each: what starts has a
    /// certificate that goes with the key in its key file, the one before or the next.
    #[test]
    fn a_renewal_that_is_cut_short_leaves_a_pair_that_fits() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::create_private(temp.path().join("data")).unwrap();
        let ca = Ca::new();
        let ((first, first_key), (second, second_key)) = (ca.issue(), ca.issue());
        let authorities = Authorities::first(ca.certificate.clone());
        Chain { leaf: first.clone(), authorities }.write(&folder).unwrap();
        let starts = |key: &KeyPairDer, leaf: &CertificateDer<'_>| {
            let (chain, own) = Chain::read(&folder, &key.private).unwrap();
            assert_eq!((chain.leaf.as_ref(), own.certificate().as_ref()), (&**leaf, Some(leaf)));
        };
        starts(&first_key, &first);
        stage(&folder, &second).unwrap();
        starts(&first_key, &first);
        // One that was staged by an earlier try, whose key was lost, is none.
        stage(&folder, &ca.issue().0).unwrap();
        starts(&first_key, &first);
        stage(&folder, &second).unwrap();
        // The key file has the new key now.
        starts(&second_key, &second);
        starts(&second_key, &second);
        stage(&folder, &second).unwrap();
        settle(&folder).unwrap();
        starts(&second_key, &second);
    }

    /// A start that does not know what it refused does not take place.
    #[test]
    fn refused_serials_that_are_damaged_stop_a_start() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::create_private(temp.path().join("data")).unwrap();
        let authorities = Authorities::first(Ca::new().certificate);
        let serials = (0..3).map(|byte| Serial::from_bytes([byte; 16])).collect();
        keep_refused(&folder, &serials).unwrap();
        assert_eq!(*trust(&folder, &authorities).unwrap().refused(), serials);
        folder.replace(REFUSED, PRIVATE_FILE_MODE, &[7; 3 * SERIAL_BYTES - 1]).unwrap();
        assert!(matches!(trust(&folder, &authorities), Err(CredentialsError::Refused)));
        let at_most = vec![7; REFUSED_MAX * SERIAL_BYTES];
        folder.replace(REFUSED, PRIVATE_FILE_MODE, &at_most).unwrap();
        assert!(trust(&folder, &authorities).is_ok());
        let too_many = vec![7; REFUSED_MAX * SERIAL_BYTES + 1];
        folder.replace(REFUSED, PRIVATE_FILE_MODE, &too_many).unwrap();
        assert!(matches!(trust(&folder, &authorities), Err(CredentialsError::File(_))));
    }

    /// Every durable step of a manager that moves to another CA, cut off after each: what starts has
    /// a certificate that goes with its key, and a way to show where it comes from.
    #[test]
    fn a_move_to_another_ca_that_is_cut_short_leaves_a_chain_that_holds() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::create_private(temp.path().join("data")).unwrap();
        let (old, new) = (Ca::new(), Ca::new());
        let (first, first_key) = old.issue();
        let (second, second_key) = new.issue();
        let both = old.and(&new);
        let of_old = vec![old.certificate.clone()];
        let over = both.shown_with(&second);
        let starts = |key: &KeyPairDer, leaf: &CertificateDer<'_>, shown: &[CertificateDer<'_>]| {
            let (chain, own) = Chain::read(&folder, &key.private).unwrap();
            assert_eq!((chain.leaf.as_ref(), own.certificate().as_ref()), (&**leaf, Some(leaf)));
            assert_eq!(chain.authorities.shown_with(leaf), shown);
        };
        let authorities = Authorities::first(old.certificate.clone());
        Chain { leaf: first.clone(), authorities }.write(&folder).unwrap();
        starts(&first_key, &first, &of_old);
        keep_authorities(&folder, &both).unwrap();
        starts(&first_key, &first, &of_old);
        stage(&folder, &second).unwrap();
        starts(&first_key, &first, &of_old);
        // The key file has the new key now; the start itself does the rest.
        starts(&second_key, &second, &over);
        starts(&second_key, &second, &over);
        let dropped = Authorities { trusted: vec![new.certificate.clone()], ..both };
        keep_authorities(&folder, &dropped).unwrap();
        starts(&second_key, &second, &over);
        assert!(matches!(
            Chain::read(&folder, &first_key.private),
            Err(CredentialsError::Mismatch(_) | CredentialsError::File(_))
        ));
        folder.replace(CA, PRIVATE_FILE_MODE, b"something else").unwrap();
        let damaged = Chain::read(&folder, &second_key.private);
        assert!(matches!(damaged, Err(CredentialsError::Authorities)));
    }
}
