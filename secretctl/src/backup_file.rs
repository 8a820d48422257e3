//! What is inside the age file of a backup: a head, the backup's root key, the copy of the state.
//!
//! ```text
//! "secretd-backup/1\n" ‖ length of the head (u32, big endian) ‖ head (protobuf, BackupHead)
//!   ‖ root key (32 bytes) ‖ copy (as long as the head says) ‖ nothing
//! ```
//!
//! The copy is what a manager writes and reads (`state`); here it is bytes of a length and a digest.
//! Not here: the encryption around it (`age_file`).
//!
//! Invariant: what is read back is whole and is what the head says, or an error.

use std::io::{self, Read, Write};

use prost::Message as _;
use proto::limits::BACKUP_CHUNK_BYTES;
use proto::pb::BackupHead;
use seal::{BackupRoot, DigestOfPieces};

/// What it begins with: name and format.
const MAGIC: &[u8; 17] = b"secretd-backup/1\n";

/// Format of the head that this program writes, and the highest that it reads.
pub(crate) const FORMAT: u32 = 1;

/// Longest head, in bytes: it has some 200.
const HEAD_BYTES_MAX: usize = 4096;

/// A backup cannot be read to its end, or is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    /// Reading failed; what does not authenticate fails so, too.
    #[error("it cannot be read to its end")]
    Read(#[source] io::Error),
    /// Something else was encrypted.
    #[error("what is in it is not a backup of secretd")]
    NotABackup,
    /// It is of a later version.
    #[error("it has format {0}, this program reads up to {FORMAT}")]
    Format(u32),
    /// It is shorter or longer than it says, or something else than it says.
    #[error("{0}")]
    Damaged(&'static str),
}

/// Writes all that comes before the copy.
///
/// # Errors
///
/// If it cannot be written.
pub(crate) fn begin(file: &mut impl Write, head: &BackupHead, root: &BackupRoot) -> io::Result<()> {
    let head = head.encode_to_vec();
    let length = u32::try_from(head.len()).map_err(io::Error::other)?;
    file.write_all(MAGIC)?;
    file.write_all(&length.to_be_bytes())?;
    file.write_all(&head)?;
    file.write_all(root.expose())
}

fn exactly<const N: usize>(file: &mut impl Read) -> Result<[u8; N], BackupError> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes).map_err(BackupError::Read)?;
    Ok(bytes)
}

/// Reads all that comes before the copy.
///
/// # Errors
///
/// If it is not the beginning of a backup that this program reads.
pub(crate) fn read_head(file: &mut impl Read) -> Result<(BackupHead, BackupRoot), BackupError> {
    if exactly(file).ok().as_ref() != Some(MAGIC) {
        return Err(BackupError::NotABackup);
    }
    let length = u32::from_be_bytes(exactly(file)?) as usize;
    if length > HEAD_BYTES_MAX {
        return Err(BackupError::Damaged("its head is too long"));
    }
    let mut head = vec![0; length];
    file.read_exact(&mut head).map_err(BackupError::Read)?;
    let head = BackupHead::decode(&*head)
        .map_err(|_| BackupError::Damaged("its head cannot be decoded"))?;
    if head.format > FORMAT {
        return Err(BackupError::Format(head.format));
    }
    let root = BackupRoot::read(|key| file.read_exact(key)).map_err(BackupError::Read)?;
    if root.id().as_bytes()[..] != head.root_key_id[..] {
        return Err(BackupError::Damaged("its key is not the one that its head names"));
    }
    Ok((head, root))
}

/// Bytes of a copy that pass by: as many as the head says, with the digest that it says.
pub(crate) struct Passing {
    left: u64,
    digest: DigestOfPieces,
    expected: Vec<u8>,
}

impl Passing {
    /// None so far.
    pub(crate) fn of(head: &BackupHead) -> Self {
        let (left, expected) = (head.copy_bytes, head.copy_digest.to_vec());
        Self { left, digest: DigestOfPieces::default(), expected }
    }

    /// How many are still to come.
    pub(crate) const fn left(&self) -> u64 {
        self.left
    }

    /// The next ones.
    ///
    /// # Errors
    ///
    /// If they are more than there should be.
    pub(crate) fn pass(&mut self, piece: &[u8]) -> Result<(), BackupError> {
        let left = self.left.checked_sub(piece.len() as u64);
        self.left = left.ok_or(BackupError::Damaged("the copy is longer than its head says"))?;
        self.digest.add(piece);
        Ok(())
    }

    /// There are no more.
    ///
    /// # Errors
    ///
    /// If there should be, or they were other bytes.
    pub(crate) fn end(self) -> Result<(), BackupError> {
        if self.left > 0 {
            return Err(BackupError::Damaged("the copy is shorter than its head says"));
        }
        if self.digest.finish()[..] != self.expected[..] {
            return Err(BackupError::Damaged("the copy is not the one that its head names"));
        }
        Ok(())
    }
}

/// The next piece of the copy; none at its end, which is that of the file.
///
/// The last one is not handed out before that end was read: whoever has it has all, and goes on.
///
/// # Errors
///
/// If it cannot be read, or the file goes on.
pub(crate) fn next_piece(
    file: &mut impl Read,
    passing: &mut Passing,
) -> Result<Option<Vec<u8>>, BackupError> {
    let length = passing.left().min(BACKUP_CHUNK_BYTES as u64);
    if length == 0 {
        return at_end(file).map(|()| None);
    }
    let mut piece = vec![0; usize::try_from(length).unwrap_or(BACKUP_CHUNK_BYTES)];
    file.read_exact(&mut piece).map_err(BackupError::Read)?;
    passing.pass(&piece)?;
    if passing.left() == 0 {
        at_end(file)?;
    }
    Ok(Some(piece))
}

/// The end is authenticated, too: it is read.
fn at_end(file: &mut impl Read) -> Result<(), BackupError> {
    match file.read(&mut [0]).map_err(BackupError::Read)? {
        0 => Ok(()),
        _ => Err(BackupError::Damaged("something follows its end")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(root: &BackupRoot, copy: &[u8]) -> BackupHead {
        BackupHead {
            format: FORMAT,
            root_key_id: root.id().as_bytes().to_vec().into(),
            copy_bytes: copy.len() as u64,
            copy_digest: seal::digest_of(copy).to_vec().into(),
            ..BackupHead::default()
        }
    }

    fn written(head: &BackupHead, root: &BackupRoot, copy: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        begin(&mut file, head, root).unwrap();
        file.extend_from_slice(copy);
        file
    }

    fn read(mut file: &[u8]) -> Result<(BackupHead, Vec<u8>), BackupError> {
        let (head, _) = read_head(&mut file)?;
        let (mut passing, mut copy) = (Passing::of(&head), Vec::new());
        while let Some(piece) = next_piece(&mut file, &mut passing)? {
            copy.extend(piece);
        }
        passing.end().map(|()| (head, copy))
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        for length in [0, 1, BACKUP_CHUNK_BYTES, BACKUP_CHUNK_BYTES + 1, 3 * BACKUP_CHUNK_BYTES] {
            let (root, copy) = (BackupRoot::make(), vec![7; length]);
            let head = head(&root, &copy);
            assert_eq!(read(&written(&head, &root, &copy)).unwrap(), (head, copy), "{length}");
        }
    }

    #[test]
    fn the_last_piece_is_not_handed_out_before_the_end_was_read() {
        let (root, copy) = (BackupRoot::make(), vec![7; BACKUP_CHUNK_BYTES + 1]);
        let mut written = written(&head(&root, &copy), &root, &copy);
        written.push(b'x');
        let mut file = &written[..];
        let (head, _) = read_head(&mut file).unwrap();
        let mut passing = Passing::of(&head);
        assert!(next_piece(&mut file, &mut passing).unwrap().is_some());
        assert!(next_piece(&mut file, &mut passing).is_err());
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let (root, copy) = (BackupRoot::make(), vec![7; 1000]);
        let good = head(&root, &copy);
        let whole = written(&good, &root, &copy);
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length} bytes of it");
        }
        let error = |file: &[u8]| read(file).unwrap_err().to_string();
        assert_eq!(error(&[&whole[..], b"x"].concat()), "something follows its end");
        let mut other = whole.clone();
        *other.last_mut().unwrap() ^= 1;
        assert_eq!(error(&other), "the copy is not the one that its head names");
        let later = BackupHead { format: FORMAT + 1, ..good.clone() };
        let text = error(&written(&later, &root, &copy));
        assert!(text.starts_with("it has format 2"), "{text}");
        let foreign = written(&good, &BackupRoot::make(), &copy);
        assert_eq!(error(&foreign), "its key is not the one that its head names");
        assert_eq!(error(b"-----BEGIN something"), BackupError::NotABackup.to_string());
        let mut long = MAGIC.to_vec();
        long.extend_from_slice(&u32::try_from(HEAD_BYTES_MAX + 1).unwrap().to_be_bytes());
        assert_eq!(error(&long), "its head is too long");
    }
}
