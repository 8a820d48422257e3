//! Restoring: a cluster of this manager alone, out of a backup.
//!
//! Over the unix socket secretctl brings the copy of the state that was in the backup's file, and
//! its root key, sealed to a key pair that is made here for the call. The copy is read into memory
//! and checked whole; then everything in it is wrapped anew under a new root key, and a data folder
//! is built of it as one of a new life is (`incarnation`): beside, and in one step in its place.
//! Not here: the file (secretctl), what is left out of the copy and what is made of it (state).
//!
//! With a CA of its own the restored cluster trusts nothing that the backup's signed, and has no copy of
//! that one's key.
//!
//! Invariants: nothing is written before the copy is whole and is what its head says; at every
//! instant a start finds an empty manager or the restored one, whole; the backup's root key is gone
//! when the copy is wrapped anew.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, TryStreamExt as _};
use link::Failure;
use link::certificate;
use link::tls::OwnCertificate;
use link::trust::Authorities;
use proto::convert::bytes_16;
use proto::id::{BackupId, Incarnation, KeyId, MemberId, NodeId, Realm, Timestamp};
use proto::identity::{Caller, Subject};
use proto::name::Hostname;
use proto::sealed::{Encapsulation, WrappedKey};
use proto::{Kind, pb};
use rustls_pki_types::CertificateDer;
use seal::{
    BackupCall, BackupRoot, BackupSecretKey, BackupWay, DigestOfPieces, Disk, KeyFileContents,
    KeyFileOwner, LogKey, RootKey, SigningKeyDer,
};
use state::command::{Command, Envelope, LEVEL};
use state::object::{Authority, Digest, TransitKey};
use state::{RestoreCluster, SnapshotError, SnapshotReader, State};
use tonic::Status;

use super::found::first_recipients;
use super::incarnation::{Gate, Life};
use super::serve::{Running, Unsealed};
use super::{ADDRESS, Manager, Shared, listen, local_failure, own_uid};
use crate::ca;
use crate::front::Phase;
use crate::front::grpc::{Incoming, Outgoing};
use crate::keys::{Chain, wrap_anew};
use crate::raft::{Left, Survivor};
use crate::service::{BACKUP_FORMAT, check_address, internal, now, parse_failure};

/// How long the next piece of a backup may take: a person may be asked for a passphrase meanwhile.
const PIECE_WITHIN: Duration = Duration::from_secs(300);

/// What to do after an error that came when the restored cluster may have begun.
const MAY_BE_RESTORED: &str = "the cluster may be restored: start this manager again, and look at \
                               `secretctl cluster status`";

/// A copy that was checked whole, and what opens it.
struct Brought {
    copy: State,
    root: BackupRoot,
    backup: BackupId,
}

fn damaged(what: impl Into<String>) -> Failure {
    Failure::new(Kind::Invalid, "the backup cannot be used")
        .because(what)
        .hint("nothing was restored; `secretctl cluster backup check` says whether a file is whole")
}

fn out_of_order() -> Failure {
    Failure::new(Kind::Invalid, "the messages of this call come in another order")
}

impl Manager {
    /// Restores what comes in; tells the key to seal to, and then what came of it.
    pub(super) async fn restore_from(
        &self,
        mut incoming: Incoming,
        outgoing: &Outgoing,
    ) -> Result<pb::RestoredCluster, Failure> {
        self.0.must_be_empty()?;
        let Some(pb::restore_request::Part::Options(options)) = next(&mut incoming).await? else {
            return Err(out_of_order());
        };
        let secret = BackupSecretKey::make();
        let key = pb::restore_response::Part::PublicKey(secret.public().as_bytes().clone());
        let told = outgoing.send(Ok(pb::RestoreResponse { part: Some(key) })).await;
        told.map_err(|_| Failure::new(Kind::Unavailable, "who asked is gone"))?;
        let brought = receive(&mut incoming, &secret).await?;
        drop(secret);
        self.restore_cluster(options, brought).await
    }

    async fn restore_cluster(
        &self,
        options: pb::RestoreOptions,
        brought: Brought,
    ) -> Result<pb::RestoredCluster, Failure> {
        let shared = &self.0;
        let mut running = shared.running.lock().await;
        shared.must_be_empty()?;
        let listener = listen(shared.options.listen).await.map_err(local_failure)?;
        let listening = listener.local_addr().map_err(|error| internal(&error))?;
        let address = shared.advertised(&options.advertise_address, listening)?;
        check_address(&address)?;
        let of_before = brought.copy.cluster().map(|cluster| cluster.authority.digest);
        let of_before = of_before.ok_or_else(|| damaged("there is no cluster in it"))?;
        let new_ca = options.new_ca;
        shared.clear_unfinished().map_err(local_failure)?;
        let (building, to) = (self.clone(), address.clone());
        let built = tokio::task::spawn_blocking(move || {
            building.0.build_restored(&options, brought, &to, &|_| {})
        });
        let (unsealed, told) = built.await.map_err(|error| internal(&error))??;
        let Disk { realm, incarnation, member } = unsealed.owner.disk;
        let node_id = unsealed.owner.node_id;
        match Running::start(self.clone(), unsealed, listener).await {
            Ok(started) => drop(running.insert(started)),
            Err(error) => {
                // It is restored all the same: the next start serves it.
                shared.end(error.to_string());
                return Err(
                    local_failure(error).hint("the cluster was restored; start this manager again")
                );
            }
        }
        tracing::warn!(
            target: "audit", action = "restore_cluster", %realm, %incarnation, %member, address,
            new_ca, "cluster_restored"
        );
        Ok(pb::RestoredCluster {
            realm: realm.as_bytes().to_vec().into(),
            incarnation: incarnation.0,
            node_id: node_id.to_string(),
            member: member.0,
            address,
            ca_digest: told.authority.0.to_vec().into(),
            former_ca_digest: if new_ca { of_before.0.to_vec() } else { Vec::new() }.into(),
            nodes_to_join: told.nodes_to_join,
            operators_to_enrol: told.operators_to_enrol,
        })
    }
}

/// What comes in of a backup, message by message.
trait Coming: Stream<Item = Result<pb::RestoreRequest, Status>> + Unpin {}

impl<T: Stream<Item = Result<pb::RestoreRequest, Status>> + Unpin> Coming for T {}

async fn next(incoming: &mut impl Coming) -> Result<Option<pb::restore_request::Part>, Failure> {
    let message = tokio::time::timeout(PIECE_WITHIN, incoming.try_next()).await;
    let message = message.map_err(|_| Failure::new(Kind::Timeout, "the backup did not go on"))?;
    let message = message.map_err(|status| {
        tracing::info!(%status, "restore_cut_off");
        Failure::new(Kind::Invalid, "the backup was cut off").hint("nothing was restored")
    })?;
    Ok(message.and_then(|message| message.part))
}

/// Reads the copy to its end, and compares all of it with its head.
async fn receive(incoming: &mut impl Coming, secret: &BackupSecretKey) -> Result<Brought, Failure> {
    use pb::restore_request::Part;
    let Some(Part::Head(head)) = next(incoming).await? else { return Err(out_of_order()) };
    let later = |what: String| {
        Failure::new(Kind::Precondition, "the backup was made by a later version")
            .because(what)
            .hint(
                "restore with secretd of that version, or a later one: docs/operations/restore.md",
            )
    };
    if head.format > BACKUP_FORMAT {
        let what =
            format!("it has format {}, this version reads up to {BACKUP_FORMAT}", head.format);
        return Err(later(what));
    }
    if head.level > u32::from(LEVEL) {
        let what =
            format!("its cluster had reached level {}, this version has {LEVEL}", head.level);
        return Err(later(what));
    }
    let (backup, root) = open_key(&head, secret)?;
    let (mut reader, mut digest, mut bytes) = (SnapshotReader::new(), DigestOfPieces::default(), 0);
    let unread = |error: SnapshotError| match error {
        SnapshotError::Format(_) => later(error.to_string()),
        SnapshotError::Malformed(_) => damaged(error.to_string()),
    };
    // Items that are of no kind that is known here stop it, too.
    loop {
        let piece = match next(incoming).await? {
            Some(Part::Copy(piece)) => piece,
            Some(_) => return Err(out_of_order()),
            None => break,
        };
        bytes += piece.len() as u64;
        if bytes > head.copy_bytes {
            return Err(damaged("it is longer than its head says"));
        }
        digest.add(&piece);
        reader.feed(&piece).map_err(unread)?;
    }
    if bytes != head.copy_bytes || digest.finish()[..] != head.copy_digest[..] {
        return Err(damaged("it is not what its head says"));
    }
    let copy = reader.finish().map_err(unread)?;
    check_copy(&copy, &head, root.id())?;
    Ok(Brought { copy, root, backup })
}

fn open_key(
    head: &pb::BackupHead,
    secret: &BackupSecretKey,
) -> Result<(BackupId, BackupRoot), Failure> {
    let malformed = |error: proto::convert::ParseError| parse_failure(&error);
    let backup: BackupId = bytes_16("id", &head.id).map_err(malformed)?;
    let realm: Realm = bytes_16("realm", &head.realm).map_err(malformed)?;
    let root_id: KeyId = bytes_16("root_key_id", &head.root_key_id).map_err(malformed)?;
    let unsealed = || damaged("its root key was not sealed for this call");
    let digest: &[u8; 32] = head.copy_digest[..].try_into().map_err(|_| unsealed())?;
    let call = BackupCall {
        realm,
        incarnation: Incarnation(head.incarnation),
        backup_id: backup,
        copy_digest: digest,
        way: BackupWay::In,
    };
    let encapsulation = Encapsulation::new(head.encapsulation.clone()).map_err(|_| unsealed())?;
    let sealed = WrappedKey::new(head.sealed_root_key.clone()).map_err(|_| unsealed())?;
    let root = call.open(secret, &encapsulation, &sealed, root_id).map_err(|_| unsealed())?;
    Ok((backup, root))
}

/// The copy is of the cluster that its head names, and opens with its key alone.
fn check_copy(copy: &State, head: &pb::BackupHead, root: KeyId) -> Result<(), Failure> {
    let cluster = copy.cluster().ok_or_else(|| damaged("there is no cluster in it"))?;
    let is_it = cluster.realm.as_bytes()[..] == head.realm[..]
        && cluster.incarnation.0 == head.incarnation
        && copy.index() == head.revision
        && copy.now().0 == head.taken_at;
    if !is_it {
        return Err(damaged("the copy is of something else than its head says"));
    }
    let ca = certificate::public_key_of(&cluster.authority.certificate.0);
    let digest = ca.map(|key| seal::digest_of(&key)).map_err(|_| damaged("it has no CA"))?;
    if head.ca_digest[..] != digest || cluster.authority.digest.0 != digest {
        return Err(damaged("its CA is another one than its head says"));
    }
    if cluster.active_root != root || copy.roots_in_use() != [root] {
        return Err(damaged("something in it is under another root key"));
    }
    Ok(())
}

/// What whoever restored is told of the restored cluster.
struct Told {
    authority: Digest,
    /// Nodes whose agents have to join anew, and operators that have to enrol anew.
    nodes_to_join: u64,
    operators_to_enrol: u64,
}

impl Told {
    fn of(copy: &State, authority: Digest, own_node: NodeId, new_ca: bool) -> Self {
        let count = |count: usize| if new_ca { count as u64 } else { 0 };
        let agents = copy.nodes().iter().filter(|(id, node)| node.has_agent && **id != own_node);
        Self {
            authority,
            nodes_to_join: count(agents.count()),
            operators_to_enrol: count(copy.operators().len()),
        }
    }
}

/// What a restored cluster and its only manager have of their own, beside root and log keys.
struct Made {
    /// The CA that is made in the place of the backup's, if one is.
    authority: Option<Authority>,
    transit_id: KeyId,
    transit: TransitKey,
    tls_key: SigningKeyDer,
    issued: ca::Issued,
    chain: Chain,
    own: Arc<OwnCertificate>,
}

/// Whether a CA's key is the one of its certificate. Its digest is known to people, and its certificate
/// is no secret: who has its key is the CA.
fn has_its_key(authority: &Authority, key: &SigningKeyDer) -> bool {
    let message: [u8; 32] = seal::random();
    let public = certificate::public_key_of(&authority.certificate.0);
    let signature = certificate::sign(key, &message);
    matches!((public, signature), (Ok(public), Ok(signature))
        if certificate::verify(&public, &message, &signature))
}

/// Makes a CA if there is to be another one, a transit key and the manager's certificate.
fn make_for(
    copy: &State,
    root: &RootKey,
    incarnation: Incarnation,
    subject: Subject,
    at: Timestamp,
    new_ca: bool,
) -> Result<Made, Failure> {
    let cluster = copy.cluster().ok_or_else(|| damaged("there is no cluster in it"))?;
    let (realm, of_before) = (cluster.realm, &cluster.authority);
    let key_of_before = root
        .unwrap_ca_key(realm, &of_before.digest.0, &of_before.wrapped_key)
        .map_err(|error| internal(&error))?;
    // Though it is not used any more, it says who made the backup.
    if !has_its_key(of_before, &key_of_before) {
        return Err(damaged("it does not have the key of its CA"));
    }
    let (authority, ca_key) = if new_ca {
        let ca::Founded { authority, key } =
            ca::found(realm, root, at).map_err(|error| internal(&error))?;
        (Some(authority), key)
    } else {
        (None, key_of_before)
    };
    let present = authority.as_ref().unwrap_or(of_before);
    let (transit_id, transit) =
        ca::make_transit_key(realm, root, &ca_key, at).map_err(|error| internal(&error))?;
    let pair = certificate::make_key_pair().map_err(|error| internal(&error))?;
    let what = ca::For { realm, incarnation, subject, public_key: &pair.public, now: at };
    let issued = ca::sign(&present.certificate.0, &ca_key, what);
    let issued = issued.map_err(|error| internal(&error))?;
    let authorities = match &authority {
        Some(new) => Authorities::first(CertificateDer::from(new.certificate.0.to_vec())),
        None => ca::authorities(copy).ok_or_else(|| damaged("it has no CA"))?,
    };
    let chain = Chain { leaf: issued.der.clone(), authorities };
    let own = OwnCertificate::of(chain.leaf.clone(), &chain.authorities, &pair.private)
        .map_err(|error| internal(&error))?;
    Ok(Made { authority, transit_id, transit, tls_key: pair.private, issued, chain, own })
}

impl Shared {
    /// Builds the folder of the restored cluster, and lets it take its place.
    fn build_restored(
        &self,
        options: &pb::RestoreOptions,
        brought: Brought,
        address: &str,
        gate: Gate<'_>,
    ) -> Result<(Unsealed, Told), Failure> {
        let Brought { mut copy, root: backup_root, backup } = brought;
        let cluster =
            copy.cluster().cloned().ok_or_else(|| damaged("there is no cluster in it"))?;
        let realm = cluster.realm;
        let incarnation = incarnation_of(options, cluster.incarnation)?;
        let me = MemberId(copy.index() + 1);
        let generation = cluster.recipients_generation + 1;
        let (list, by) = first_recipients(&options.unlock_public_key, generation)?;
        let recipients = self.key_file.recipients(&list, me).map_err(local_failure)?;
        let (node_id, hostname) = node_of(options, &copy)?;
        let disk = Disk { realm, incarnation, member: me };
        let owner = KeyFileOwner { disk, node_id, generation };

        let at = now().max(copy.now());
        let root = RootKey::make();
        let wrap =
            &mut |place: state::WrapPlace<'_>| wrap_anew(realm, backup_root.root(), &root, place);
        copy.wrap_all_anew(root.id(), wrap)
            .map_err(|_| damaged("a key in it does not open with its root key"))?;
        drop(backup_root);
        let subject = Subject::Manager(node_id, me);
        let Made { authority, transit_id, transit, tls_key, issued, chain, own } =
            make_for(&copy, &root, incarnation, subject, at, options.new_ca)?;
        let present = authority.as_ref().unwrap_or(&cluster.authority).digest;
        let told = Told::of(&copy, present, node_id, options.new_ca);
        let log = Arc::new(LogKey::make());
        let restore = RestoreCluster {
            incarnation,
            backup,
            root: root.id(),
            transit_id,
            transit,
            recipients: list,
            node_id,
            hostname,
            address: address.to_owned(),
            serial: issued.serial,
            certificate: issued.record,
            log_key: log.id(),
            level_max: LEVEL,
            revision: proto::id::Revision(copy.index()),
            taken_at: copy.now(),
            authority,
        };
        let restore = Envelope {
            format: cluster.level,
            request: None,
            caller: Caller::Local { uid: own_uid(), member: me },
            at,
            body: Command::RestoreCluster(Box::new(restore)),
        };
        let contents = KeyFileContents {
            active_root: root.id(),
            roots: vec![root.into()],
            active_log: log.id(),
            logs: vec![log],
            tls_key,
        };
        let life = Life {
            owner: &owner,
            recipients: &recipients,
            contents: &contents,
            chain: &chain,
            note: (ADDRESS, address.to_owned()),
        };
        let left = Left { member: me, address, node_id: node_id.as_str() };
        let survivor = Survivor::of_copy(copy);
        let begin = |disk, keys| survivor.begin(disk, keys, &left, restore);
        self.begin_folder(&life, begin, gate).map_err(|error| {
            let is_stopping = matches!(*self.phase.borrow(), Phase::Stopping);
            let failure = local_failure(error);
            if is_stopping { failure.hint(MAY_BE_RESTORED) } else { failure }
        })?;
        let address = address.to_owned();
        let unsealed =
            Unsealed { owner, recipients, contents, by, brought: None, chain, own, address };
        Ok((unsealed, told))
    }
}

/// The manager's machine, and its name. That of a node that is known stays that node: its agent goes on.
fn node_of(options: &pb::RestoreOptions, copy: &State) -> Result<(NodeId, Hostname), Failure> {
    let hostname = match options.hostname.as_str() {
        "" => sys::host::hostname(),
        given => given.to_owned(),
    };
    let hostname: Hostname =
        proto::convert::text("hostname", &hostname).map_err(|error| parse_failure(&error))?;
    let known = copy.node_by_hostname(hostname.as_str()).map(|(id, _)| id);
    Ok((known.unwrap_or_else(|| NodeId::from_entropy(seal::random())), hostname))
}

/// The life that begins: as asked for, or the one after that of the backup.
fn incarnation_of(
    options: &pb::RestoreOptions,
    of_backup: Incarnation,
) -> Result<Incarnation, Failure> {
    let next = Incarnation(of_backup.0.saturating_add(1));
    match Incarnation(options.incarnation) {
        Incarnation(0) => Ok(next),
        asked if asked >= next => Ok(asked),
        asked => Err(Failure::new(
            Kind::Invalid,
            format!("incarnation {asked} is not above that of the backup, {of_backup}"),
        )
        .hint("leave `--incarnation` out, or give one above every one that agents have seen")),
    }
}

#[cfg(test)]
mod tests;
