//! A manager's certificates on disk: its own and the CA's. The private key is in the key file.
//!
//! Invariant: whatever instant a renewal is cut short at, one of the certificates on disk goes
//! with the key in the key file.

use std::sync::Arc;

use link::tls::{OwnCertificate, TlsError};
use rustls_pki_types::CertificateDer;
use seal::SigningKeyDer;
use sys::file::{FileError, Folder, PRIVATE_FILE_MODE};

const CERTIFICATE: &str = "certificate.der";

/// The next certificate, until the key file holds its key.
const NEXT: &str = "certificate-next.der";

const CA: &str = "ca.der";

/// Largest certificate, in bytes: ours have under 1 KiB.
const CERTIFICATE_BYTES_MAX: usize = 16 << 10;

/// The certificates cannot be read, written or used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    /// A file failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// None of the certificates goes with the key.
    #[error(
        "no certificate in the data folder goes with the key in the key file: docs/operations/replace-manager.md"
    )]
    Mismatch(#[source] TlsError),
}

/// A certificate and the CA that signed it.
#[derive(Clone)]
pub(crate) struct Chain {
    pub(crate) leaf: CertificateDer<'static>,
    pub(crate) ca: CertificateDer<'static>,
}

impl Chain {
    /// Writes both, durably.
    pub(crate) fn write(&self, folder: &Folder) -> Result<(), FileError> {
        folder.replace(CA, PRIVATE_FILE_MODE, &self.ca)?;
        folder.replace(CERTIFICATE, PRIVATE_FILE_MODE, &self.leaf)
    }

    /// Reads the certificate that goes with `key`.
    pub(crate) fn read(
        folder: &Folder,
        key: &SigningKeyDer,
    ) -> Result<(Self, Arc<OwnCertificate>), CredentialsError> {
        let ca = CertificateDer::from(folder.read(CA, CERTIFICATE_BYTES_MAX)?);
        let leaf = CertificateDer::from(folder.read(CERTIFICATE, CERTIFICATE_BYTES_MAX)?);
        let mismatch = match OwnCertificate::new(leaf.clone(), ca.clone(), key) {
            Ok(own) => return Ok((Self { leaf, ca }, own)),
            Err(error) => error,
        };
        let leaf = match folder.read(NEXT, CERTIFICATE_BYTES_MAX) {
            Ok(next) => CertificateDer::from(next),
            Err(error) if error.is_not_found() => {
                return Err(CredentialsError::Mismatch(mismatch));
            }
            Err(error) => return Err(error.into()),
        };
        let own = OwnCertificate::new(leaf.clone(), ca.clone(), key)
            .map_err(CredentialsError::Mismatch)?;
        settle(folder)?;
        Ok((Self { leaf, ca }, own))
    }
}

/// Reads the CA's certificate alone: it is there while the key file is locked, too.
pub(crate) fn authority(folder: &Folder) -> Result<CertificateDer<'static>, FileError> {
    folder.read(CA, CERTIFICATE_BYTES_MAX).map(CertificateDer::from)
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

/// Removes both.
pub(crate) fn remove(folder: &Folder) -> Result<(), FileError> {
    for name in [NEXT, CERTIFICATE, CA] {
        folder.remove_if_there(name)?;
    }
    Ok(())
}
