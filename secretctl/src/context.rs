//! Contexts: the clusters this user talks to, and how they are kept.
//!
//! A context is a private folder, `$XDG_CONFIG_HOME/secretd/contexts/NAME`, with three files:
//! `identity.der` (the certificate and its key, PKCS#8, one after the other, so that both change
//! in one step), `ca.der` (the CA's certificate, pinned when the context was made) and
//! `context.json` (what is not secret). `$XDG_CONFIG_HOME/secretd/current` names the chosen one.
//!
//! Not here: enrolling and renewing (`enroll`), connecting (`connection`).
//!
//! Invariant: a folder without `context.json`, which is written last, is no context.

use base64ct::{Base64, Encoding as _};
use std::path::{Path, PathBuf};

use link::Failure;
use link::certificate::PeerCertificate;
use proto::Kind;
use proto::id::{Incarnation, Realm, Timestamp};
use proto::name::OperatorName;
use rustls_pki_types::CertificateDer;
use seal::SigningKeyDer;
use serde::{Deserialize, Serialize};
use sys::file::{FileError, Folder, PRIVATE_FILE_MODE};
use zeroize::Zeroizing;

use crate::error::{Error, chain};

const IDENTITY: &str = "identity.der";
const CA: &str = "ca.der";
const FACTS: &str = "context.json";
const CURRENT: &str = "current";
const LOCK: &str = "lock";

/// Largest file of a context, in bytes: certificates have about 600, a list of managers some
/// hundred.
const FILE_BYTES_MAX: usize = 64 << 10;

/// Characters of a line of PEM (RFC 7468, 2).
const PEM_LINE_CHARS: usize = 64;

/// A context cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContextError {
    /// There is no place for contexts.
    #[error("there is no place for contexts")]
    NoHome,
    /// The name cannot be one.
    #[error("invalid context name `{0}`")]
    Name(String),
    /// It is not there.
    #[error("context `{0}` not found")]
    NotFound(String),
    /// It is there already.
    #[error("context `{0}` already exists")]
    Exists(String),
    /// A file is not usable.
    #[error("context `{name}` cannot be used")]
    File {
        /// Which context.
        name: String,
        /// Why.
        #[source]
        source: FileError,
    },
    /// A file holds something else.
    #[error("context `{name}` is damaged: {what} cannot be read")]
    Damaged {
        /// Which context.
        name: String,
        /// Which file.
        what: &'static str,
    },
}

impl From<ContextError> for Error {
    fn from(error: ContextError) -> Self {
        let (kind, hint) = match &error {
            ContextError::NoHome => {
                (Kind::Precondition, "set HOME or XDG_CONFIG_HOME to an absolute path".to_owned())
            }
            ContextError::Name(_) => (
                Kind::Invalid,
                "1 to 64 of a-z A-Z 0-9 - _ . , starting and ending with a letter or digit".into(),
            ),
            ContextError::NotFound(_) => {
                (Kind::NotFound, "`secretctl context ls` shows those there are".into())
            }
            ContextError::Exists(name) => (
                Kind::Exists,
                format!("choose another name, or remove it with `secretctl context rm {name}`"),
            ),
            ContextError::File { .. } => {
                (Kind::Precondition, "the folder and its files must be this user's alone".into())
            }
            ContextError::Damaged { name, .. } => (
                Kind::Precondition,
                format!("remove it with `secretctl context rm {name}`, and enrol again"),
            ),
        };
        let because = std::error::Error::source(&error).map(chain);
        let mut failure = Failure::new(kind, error.to_string()).hint(hint);
        failure.because = because;
        failure.into()
    }
}

/// What is not secret of a context.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// The cluster, in hex.
    pub(crate) realm: String,
    /// The highest life of the cluster that was seen.
    pub(crate) incarnation: u64,
    /// Managers' addresses, in the order they are tried.
    pub(crate) managers: Vec<String>,
    /// When to renew the certificate, in milliseconds since the epoch.
    pub(crate) renew_at: u64,
}

/// A certificate and its key.
pub(crate) struct OwnIdentity {
    /// The certificate.
    pub(crate) certificate: CertificateDer<'static>,
    /// Its key.
    pub(crate) key: SigningKeyDer,
}

/// A context that was read.
pub(crate) struct Stored {
    /// Its name.
    pub(crate) name: String,
    /// The cluster.
    pub(crate) realm: Realm,
    /// What is not secret.
    pub(crate) facts: Facts,
    /// The CA's certificate.
    pub(crate) ca: CertificateDer<'static>,
    /// The operator's certificate and key.
    pub(crate) identity: OwnIdentity,
    /// What the certificate says.
    pub(crate) says: PeerCertificate,
    folder: Folder,
}

/// Whose a context is now.
pub(crate) enum Taken {
    /// This process's, until this is dropped.
    Here(sys::file::Lock),
    /// Nobody's: another process had renewed it, and it was read again.
    Renewed,
    /// Another process's.
    Elsewhere,
}

impl Stored {
    /// The life of the cluster that was seen last.
    pub(crate) fn incarnation(&self) -> Incarnation {
        Incarnation(self.facts.incarnation)
    }

    /// Remembers a later life of the cluster. Another process that is at it does it as well.
    pub(crate) fn remember(&mut self, incarnation: Incarnation) -> Result<(), ContextError> {
        if incarnation <= self.incarnation() {
            return Ok(());
        }
        self.facts.incarnation = incarnation.0;
        let Ok(_lock) = self.folder.lock(LOCK) else { return Ok(()) };
        self.write_facts()
    }

    /// Puts a renewed certificate in place of the old one, and the CA that signed it: that last, so
    /// that a context which is cut off in between has one that its CA leads to.
    pub(crate) fn renew(
        &mut self,
        identity: OwnIdentity,
        ca: CertificateDer<'static>,
        says: PeerCertificate,
        renew_at: Timestamp,
    ) -> Result<(), ContextError> {
        self.write_identity(&identity)?;
        if ca != self.ca {
            self.folder.replace(CA, PRIVATE_FILE_MODE, &ca).map_err(failed(&self.name))?;
            self.ca = ca;
        }
        self.identity = identity;
        self.says = says;
        self.facts.renew_at = renew_at.0;
        self.write_facts()
    }

    /// Takes the context for this process alone, as it is kept now: a certificate that was renewed since
    /// it was read must not be renewed again, which would supersede the one that is kept.
    pub(crate) fn take(&mut self) -> Result<Taken, ContextError> {
        let Ok(lock) = self.folder.lock(LOCK) else { return Ok(Taken::Elsewhere) };
        let folder = Folder::open_private(self.folder.path()).map_err(failed(&self.name))?;
        let mut kept = read_from(&self.name, folder)?;
        kept.facts.incarnation = kept.facts.incarnation.max(self.facts.incarnation);
        let is_same = kept.says.serial == self.says.serial;
        *self = kept;
        Ok(if is_same { Taken::Here(lock) } else { Taken::Renewed })
    }

    /// Writes it as the docker client and its like read it, into a folder of its own.
    pub(crate) fn export_docker(&self, folder: &Path) -> Result<(), ContextError> {
        let failed = failed(&self.name);
        let folder = Folder::create_private(folder).map_err(&failed)?;
        let OwnIdentity { certificate, key } = &self.identity;
        for (name, label, der) in [
            ("ca.pem", "CERTIFICATE", &*self.ca),
            ("cert.pem", "CERTIFICATE", &**certificate),
            ("key.pem", "PRIVATE KEY", key.expose()),
        ] {
            folder.replace(name, PRIVATE_FILE_MODE, &pem(label, der)).map_err(&failed)?;
        }
        Ok(())
    }

    fn write_identity(&self, identity: &OwnIdentity) -> Result<(), ContextError> {
        write_identity(&self.name, &self.folder, identity)
    }

    fn write_facts(&self) -> Result<(), ContextError> {
        write_facts(&self.name, &self.folder, &self.facts)
    }
}

fn failed(name: &str) -> impl Fn(FileError) -> ContextError {
    move |source| ContextError::File { name: name.to_owned(), source }
}

fn write_identity(name: &str, folder: &Folder, own: &OwnIdentity) -> Result<(), ContextError> {
    let length = own.certificate.len() + own.key.expose().len();
    let mut bytes = Zeroizing::new(Vec::with_capacity(length));
    bytes.extend_from_slice(&own.certificate);
    bytes.extend_from_slice(own.key.expose());
    folder.replace(IDENTITY, PRIVATE_FILE_MODE, &bytes).map_err(failed(name))
}

fn write_facts(name: &str, folder: &Folder, facts: &Facts) -> Result<(), ContextError> {
    let damaged = |_| ContextError::Damaged { name: name.to_owned(), what: FACTS };
    let text = serde_json::to_vec_pretty(facts).map_err(damaged)?;
    folder.replace(FACTS, PRIVATE_FILE_MODE, &text).map_err(failed(name))
}

fn read_from(name: &str, folder: Folder) -> Result<Stored, ContextError> {
    let failed = failed(name);
    let damaged = |what| ContextError::Damaged { name: name.to_owned(), what };
    let facts = folder.read(FACTS, FILE_BYTES_MAX).map_err(&failed)?;
    let facts: Facts = serde_json::from_slice(&facts).map_err(|_| damaged(FACTS))?;
    let ca = folder.read(CA, FILE_BYTES_MAX).map_err(&failed)?;
    let identity = folder.read_private(IDENTITY, FILE_BYTES_MAX).map_err(&failed)?;
    let identity = split_identity(&identity).ok_or_else(|| damaged(IDENTITY))?;
    let says = PeerCertificate::parse(&identity.certificate).map_err(|_| damaged(IDENTITY))?;
    Ok(Stored {
        name: name.to_owned(),
        realm: facts.realm.parse().map_err(|_| damaged(FACTS))?,
        facts,
        ca: CertificateDer::from(ca),
        identity,
        says,
        folder,
    })
}

/// Where contexts are kept.
pub(crate) struct Contexts {
    root: PathBuf,
}

impl Contexts {
    /// Of this user: `$XDG_CONFIG_HOME/secretd`, `~/.config/secretd` without it.
    pub(crate) fn of_user() -> Result<Self, ContextError> {
        let absolute = |name: &str| {
            std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
        };
        let config = absolute("XDG_CONFIG_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".config")))
            .ok_or(ContextError::NoHome)?;
        Ok(Self { root: config.join("secretd") })
    }

    /// The folder of one context, as a path to show.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join("contexts").join(name)
    }

    fn exists(&self, name: &str) -> bool {
        self.path(name).join(FACTS).is_file()
    }

    /// Refuses a name that is taken or cannot be one.
    fn check_free(&self, name: &str) -> Result<(), ContextError> {
        checked(name)?;
        if self.exists(name) { Err(ContextError::Exists(name.to_owned())) } else { Ok(()) }
    }

    /// The folder of all contexts, made if it is missing.
    fn made_folder(&self, name: &str) -> Result<Folder, ContextError> {
        let failed = failed(name);
        if let Some(parent) = self.root.parent() {
            // The user's own folder, with the user's own umask; ours are private.
            std::fs::create_dir_all(parent).map_err(|source| {
                failed(FileError::Failed {
                    operation: sys::file::Operation::Create,
                    path: parent.to_owned(),
                    source,
                })
            })?;
        }
        Folder::create_private(&self.root)
            .and_then(|root| root.create_private_folder("contexts"))
            .map_err(failed)
    }

    /// Makes sure that a context of this name can be kept, before a token is spent on it.
    pub(crate) fn prepare(&self, name: &str) -> Result<(), ContextError> {
        self.check_free(name)?;
        self.made_folder(name).map(|_| ())
    }

    /// Keeps a new context; the first one becomes the current one.
    pub(crate) fn add(
        &self,
        name: &str,
        facts: &Facts,
        ca: &[u8],
        identity: &OwnIdentity,
    ) -> Result<(), ContextError> {
        self.check_free(name)?;
        let is_first = self.names()?.is_empty();
        let folder = self.made_folder(name)?.create_private_folder(name).map_err(failed(name))?;
        let _lock = folder.lock(LOCK).map_err(failed(name))?;
        write_identity(name, &folder, identity)?;
        folder.replace(CA, PRIVATE_FILE_MODE, ca).map_err(failed(name))?;
        write_facts(name, &folder, facts)?;
        if is_first { self.choose(Some(name)) } else { Ok(()) }
    }

    /// Reads a context.
    pub(crate) fn read(&self, name: &str) -> Result<Stored, ContextError> {
        let name = checked(name)?;
        if !self.exists(name) {
            return Err(ContextError::NotFound(name.to_owned()));
        }
        read_from(name, Folder::open_private(self.path(name)).map_err(failed(name))?)
    }

    /// The names of all contexts, sorted.
    pub(crate) fn names(&self) -> Result<Vec<String>, ContextError> {
        let folder = match Folder::open_private(self.root.join("contexts")) {
            Ok(folder) => folder,
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            Err(error) => return Err(failed("*")(error)),
        };
        let entries = folder.entries().map_err(failed("*"))?;
        let names = entries.into_iter().filter_map(|name| name.into_string().ok());
        Ok(names.filter(|name| checked(name).is_ok() && self.exists(name)).collect())
    }

    /// The chosen context, if one is.
    pub(crate) fn current(&self) -> Result<Option<String>, ContextError> {
        let read = Folder::open(&self.root).and_then(|root| root.read(CURRENT, FILE_BYTES_MAX));
        match read {
            Ok(bytes) => Ok(String::from_utf8(bytes).ok().map(|name| name.trim().to_owned())),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(failed(CURRENT)(error)),
        }
    }

    /// Chooses a context, or none.
    pub(crate) fn choose(&self, name: Option<&str>) -> Result<(), ContextError> {
        let failed = failed(name.unwrap_or("-"));
        if let Some(name) = name {
            if !self.exists(checked(name)?) {
                return Err(ContextError::NotFound(name.to_owned()));
            }
            let root = Folder::open_private(&self.root).map_err(&failed)?;
            return root
                .replace(CURRENT, PRIVATE_FILE_MODE, format!("{name}\n").as_bytes())
                .map_err(failed);
        }
        match Folder::open_private(&self.root).and_then(|root| root.remove(CURRENT)) {
            Err(error) if !error.is_not_found() => Err(failed(error)),
            _ => Ok(()),
        }
    }

    /// Removes a context, key and all.
    pub(crate) fn remove(&self, name: &str) -> Result<(), ContextError> {
        let name = checked(name)?;
        if !self.exists(name) {
            return Err(ContextError::NotFound(name.to_owned()));
        }
        if self.current()?.as_deref() == Some(name) {
            self.choose(None)?;
        }
        Folder::open_private(self.root.join("contexts"))
            .and_then(|contexts| contexts.remove_folder(name))
            .map_err(failed(name))
    }
}

/// A name that is one, and so stays inside the folder.
fn checked(name: &str) -> Result<&str, ContextError> {
    match name.parse::<OperatorName>() {
        Ok(_) => Ok(name),
        Err(_) => Err(ContextError::Name(name.to_owned())),
    }
}

/// A certificate and what follows it: DER says where it ends.
fn split_identity(bytes: &[u8]) -> Option<OwnIdentity> {
    let length = der_length(bytes)?;
    let (certificate, key) = bytes.split_at_checked(length)?;
    if key.is_empty() {
        return None;
    }
    Some(OwnIdentity {
        certificate: CertificateDer::from(certificate.to_vec()),
        key: SigningKeyDer::new(Zeroizing::new(Box::from(key))),
    })
}

/// Bytes of the first DER value (X.690 §8.1.3, definite form), tag and length included.
fn der_length(bytes: &[u8]) -> Option<usize> {
    let (first, rest) = bytes.get(1..)?.split_first()?;
    let first = usize::from(*first);
    if first < 0x80 {
        return Some(2 + first);
    }
    let count = first - 0x80;
    if !(1..=4).contains(&count) {
        return None;
    }
    let length = rest.get(..count)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    Some(2 + count + length)
}

/// DER as text (RFC 7468), in memory that is wiped: it may be a key.
fn pem(label: &str, der: &[u8]) -> Zeroizing<Vec<u8>> {
    let length = Base64::encoded_len(der);
    let mut encoded = Zeroizing::new(vec![0; length]);
    // The place is as long as it says.
    let text = Base64::encode(der, &mut encoded).unwrap_or_default();
    // Never moved while it grows: a line's end for each line, and two lines around them.
    let room = length + length / PEM_LINE_CHARS + 2 * label.len() + 40;
    let mut lines = Zeroizing::new(Vec::with_capacity(room));
    lines.extend_from_slice(format!("-----BEGIN {label}-----\n").as_bytes());
    for line in text.as_bytes().chunks(PEM_LINE_CHARS) {
        lines.extend_from_slice(line);
        lines.push(b'\n');
    }
    lines.extend_from_slice(format!("-----END {label}-----\n").as_bytes());
    lines
}

/// Whether a path can be shown as it is.
pub(crate) fn show_path(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use link::certificate::{NewCertificate, issue, make_ca, make_key_pair, make_serial};
    use proto::id::OperatorId;
    use proto::identity::{Identity, Subject};

    use super::*;

    fn made() -> (Facts, Vec<u8>, OwnIdentity) {
        let realm = Realm::from_bytes([1; 16]);
        let (ca, own) = (make_key_pair().unwrap(), make_key_pair().unwrap());
        let end = Timestamp(10_000_000_000);
        let ca_certificate = make_ca(&ca.private, Timestamp(0), end).unwrap();
        let new = NewCertificate {
            identity: Identity {
                realm,
                incarnation: Incarnation(1),
                subject: Subject::Operator(OperatorId::from_entropy([1; 17])),
            },
            public_key: &own.public,
            serial: make_serial(),
            now: Timestamp(0),
            not_after: end,
        };
        let certificate = issue(&ca_certificate, &ca.private, &new).unwrap();
        let facts = Facts {
            realm: realm.to_string(),
            incarnation: 1,
            managers: vec!["a:1".into()],
            renew_at: 5,
        };
        (facts, ca_certificate.to_vec(), OwnIdentity { certificate, key: own.private })
    }

    #[test]
    fn a_context_survives_its_files() {
        let home = tempfile::tempdir().unwrap();
        let contexts = Contexts { root: home.path().join("config/secretd") };
        assert!(contexts.names().unwrap().is_empty());
        assert_eq!(contexts.current().unwrap(), None);
        let (facts, ca, identity) = made();
        contexts.add("prod", &facts, &ca, &identity).unwrap();
        assert_eq!(contexts.current().unwrap().as_deref(), Some("prod"), "the first is chosen");
        let mut stored = contexts.read("prod").unwrap();
        assert_eq!(stored.identity.certificate, identity.certificate);
        assert!(seal::equal(stored.identity.key.expose(), identity.key.expose()));
        assert_eq!(stored.ca.as_ref(), ca);

        stored.remember(Incarnation(3)).unwrap();
        stored.remember(Incarnation(2)).unwrap();
        assert_eq!(contexts.read("prod").unwrap().incarnation(), Incarnation(3));

        contexts.add("second", &facts, &ca, &identity).unwrap();
        assert_eq!(contexts.names().unwrap(), ["prod", "second"]);
        assert_eq!(contexts.current().unwrap().as_deref(), Some("prod"));
        let error = contexts.add("prod", &facts, &ca, &identity).unwrap_err();
        assert!(matches!(error, ContextError::Exists(_)));
        contexts.remove("prod").unwrap();
        assert_eq!(contexts.current().unwrap(), None);
        assert!(matches!(contexts.read("prod"), Err(ContextError::NotFound(_))));
    }

    #[tokio::test]
    async fn a_context_that_another_process_renewed_is_used_and_not_renewed_again() {
        let home = tempfile::tempdir().unwrap();
        let contexts = Contexts { root: home.path().join("secretd") };
        let (facts, ca, identity) = made();
        contexts.add("prod", &facts, &ca, &identity).unwrap();
        let [mut first, mut second, mut third] = [(); 3].map(|()| contexts.read("prod").unwrap());

        let Taken::Here(lock) = first.take().unwrap() else { panic!("nobody has it") };
        assert!(matches!(second.take().unwrap(), Taken::Elsewhere));
        let (_, ca, identity) = made();
        let says = PeerCertificate::parse(&identity.certificate).unwrap();
        let renewed = says.serial;
        first.remember(Incarnation(3)).unwrap();
        first.renew(identity, CertificateDer::from(ca), says, Timestamp(6)).unwrap();
        drop(lock);

        // No manager is there to renew them: that they have changed is seen before one is asked.
        let patience = std::time::Duration::from_millis(1);
        crate::enroll::renew_if_due(&mut second, patience).await.unwrap();
        assert!(crate::enroll::renew_now(&mut third, patience).await.unwrap());
        for stored in [second, third] {
            assert!(stored.says.serial == renewed);
            assert_eq!(stored.ca, first.ca);
            assert_eq!((stored.incarnation(), stored.facts.renew_at), (Incarnation(3), 6));
        }
        let mut again = contexts.read("prod").unwrap();
        assert!(matches!(again.take().unwrap(), Taken::Here(_)), "it is as it was read");
    }

    #[test]
    fn names_stay_inside_the_folder() {
        let home = tempfile::tempdir().unwrap();
        let contexts = Contexts { root: home.path().join("secretd") };
        for bad in ["", ".", "..", "a/b", "-a", "a b"] {
            assert!(matches!(contexts.read(bad), Err(ContextError::Name(_))), "{bad}");
            assert!(matches!(contexts.remove(bad), Err(ContextError::Name(_))), "{bad}");
        }
    }

    #[test]
    fn an_identity_is_two_der_values() {
        assert_eq!(der_length(&[0x30, 0x03, 1, 2, 3, 9]), Some(5));
        assert_eq!(der_length(&[0x30, 0x82, 0x01, 0x00]), Some(260));
        for bad in [&[][..], &[0x30], &[0x30, 0x80], &[0x30, 0x82, 1], &[0x30, 0x85, 1, 1, 1, 1, 1]]
        {
            assert_eq!(der_length(bad), None);
            assert!(split_identity(bad).is_none());
        }
        assert!(split_identity(&[0x30, 0x01, 7]).is_none(), "no key");
    }
}
