//! Founding a cluster: keys, CA, the first entry, then the key file.
//!
//! The key file comes last: until it is there nothing was promised, and a start that was cut short
//! is thrown away.

use bytes::Bytes;
use link::Failure;
use link::certificate;
use link::tls::OwnCertificate;
use link::trust::Authorities;
use proto::id::{Incarnation, MemberId, NodeId, Realm};
use proto::identity::Subject;
use proto::limits::PAYLOAD_QUOTA_BYTES_DEFAULT;
use proto::name::Hostname;
use proto::pb;
use rustls_pki_types::CertificateDer;
use seal::{Disk, KeyFileContents, KeyFileOwner, LogKey, RootKey, SlotKind};
use state::command::{Command, InitCluster};
use state::object::SlotRecipient;
use sys::file::{FileError, PRIVATE_FILE_MODE};
use tokio::net::TcpListener;

use super::serve::{Running, Unsealed};
use super::{ADDRESS, Manager, UNFINISHED, listen, local_failure};
use crate::ca;
use crate::front::Phase;
use crate::keys::{Chain, KeyFile, SealedKeyFile, recipients};
use crate::service::{check_address, internal, now, parse_failure, unlock_key};

/// The founder's member id. Every later one is the index of the entry that admitted it.
const FOUNDER: MemberId = MemberId(1);

/// The first life of a cluster.
const FIRST: Incarnation = Incarnation(1);

/// Everything of a new cluster that is made before its first entry.
struct Made {
    unsealed: Unsealed,
    init: InitCluster,
    key_file: SealedKeyFile,
}

impl Manager {
    /// Makes a cluster with this manager as its only member.
    pub(super) async fn found(
        &self,
        request: pb::InitRequest,
    ) -> Result<pb::InitResponse, Failure> {
        let shared = &self.0;
        let mut running = shared.running.lock().await;
        shared.must_be_empty()?;
        let listener = listen(shared.options.listen).await.map_err(local_failure)?;
        let listening = listener.local_addr().map_err(|error| internal(&error))?;
        let address = shared.advertised(&request.advertise_address, listening)?;
        check_address(&address)?;

        let folder = &shared.folder;
        let file_failed = |error: FileError| local_failure(error);
        shared.clear_unfinished().map_err(local_failure)?;
        folder.replace(UNFINISHED, PRIVATE_FILE_MODE, b"init").map_err(file_failed)?;
        folder.replace(ADDRESS, PRIVATE_FILE_MODE, address.as_bytes()).map_err(file_failed)?;
        let made = self.make(&request, &address)?;
        let (owner, ca_digest) = (made.unsealed.owner, made.init.authority.digest.0);
        let finished = self.start_founded(&mut running, made, listener).await;
        if let Err(failure) = finished {
            if let Some(running) = running.take() {
                running.stop().await;
            }
            shared.phase.send_replace(Phase::Empty);
            return Err(failure);
        }
        folder.remove_if_there(UNFINISHED).map_err(file_failed)?;
        tracing::info!(realm = %owner.disk.realm, address, "cluster_founded");
        Ok(pb::InitResponse {
            realm: owner.disk.realm.as_bytes().to_vec().into(),
            node_id: owner.node_id.to_string(),
            member: owner.disk.member.0,
            address,
            ca_digest: ca_digest.to_vec().into(),
        })
    }

    /// Serves with what was made, commits the first entry, and keeps the keys.
    async fn start_founded(
        &self,
        running: &mut Option<Running>,
        made: Made,
        listener: TcpListener,
    ) -> Result<(), Failure> {
        let Made { unsealed, init, key_file } = made;
        let (node_id, chain) = (unsealed.owner.node_id, unsealed.chain.clone());
        let started = Running::start(self.clone(), unsealed, listener).await;
        let started = running.insert(started.map_err(local_failure)?);
        let service = started.serving.service.clone();
        let founded = service.raft.found(&init.address, node_id.as_str()).await;
        founded.map_err(|error| internal(&error))?;
        let command = Command::InitCluster(Box::new(init));
        service.propose(service.cluster_caller(), None, command).await?;
        chain.write(&self.0.folder).map_err(local_failure)?;
        self.0.key_file.write(&key_file).map_err(local_failure)
    }

    /// Makes the keys of a cluster and of its founder, and the CA.
    fn make(&self, request: &pb::InitRequest, address: &str) -> Result<Made, Failure> {
        let (list, by) = first_recipients(&request.unlock_public_key, 1)?;
        let recipients = self.0.key_file.recipients(&list, FOUNDER).map_err(local_failure)?;
        let at = now();
        let hostname = match request.hostname.as_str() {
            "" => sys::host::hostname(),
            given => given.to_owned(),
        };
        let hostname: Hostname =
            proto::convert::text("hostname", &hostname).map_err(|error| parse_failure(&error))?;
        let realm = Realm::from_bytes(seal::random());
        let disk = Disk { realm, incarnation: FIRST, member: FOUNDER };
        let node_id = NodeId::from_entropy(seal::random());
        let owner = KeyFileOwner { disk, node_id, generation: 1 };

        let root = RootKey::make();
        let log = LogKey::make();
        let founded = ca::found(realm, &root, at).map_err(|error| internal(&error))?;
        let (transit_id, transit) = ca::make_transit_key(realm, &root, &founded.key, at)
            .map_err(|error| internal(&error))?;
        let pair = certificate::make_key_pair().map_err(|error| internal(&error))?;
        let issued = ca::sign(
            &founded.authority.certificate.0,
            &founded.key,
            ca::For {
                realm,
                incarnation: FIRST,
                subject: Subject::Manager(node_id, FOUNDER),
                public_key: &pair.public,
                now: at,
            },
        );
        let issued = issued.map_err(|error| internal(&error))?;
        let ca = CertificateDer::from(founded.authority.certificate.0.to_vec());
        let chain = Chain { leaf: issued.der, authorities: Authorities::first(ca) };
        let own = OwnCertificate::of(chain.leaf.clone(), &chain.authorities, &pair.private)
            .map_err(|error| internal(&error))?;
        let quota = match request.payload_quota_bytes {
            0 => PAYLOAD_QUOTA_BYTES_DEFAULT,
            given => given,
        };
        let init = InitCluster {
            realm,
            incarnation: FIRST,
            authority: founded.authority,
            root: root.id(),
            transit_id,
            transit,
            recipients: list,
            payload_quota_bytes: quota,
            member: FOUNDER,
            node_id,
            hostname,
            address: address.to_owned(),
            serial: issued.serial,
            certificate: issued.record,
            level_max: state::command::LEVEL,
        };
        let contents = KeyFileContents {
            active_root: root.id(),
            roots: vec![root.into()],
            active_log: log.id(),
            logs: vec![log.into()],
            tls_key: pair.private,
        };
        let key_file = KeyFile::seal(&owner, &recipients, &contents).map_err(local_failure)?;
        let address = address.to_owned();
        let unsealed =
            Unsealed { owner, recipients, contents, by, brought: None, chain, own, address };
        Ok(Made { unsealed, init, key_file })
    }
}

/// Whom key files are sealed to from the start: an operator's unlock key, or each manager's seed if
/// there is none.
pub(super) fn first_recipients(
    unlock_public_key: &Bytes,
    generation: u64,
) -> Result<(Vec<SlotRecipient>, SlotKind), Failure> {
    let own = vec![recipients::own_seed()];
    if unlock_public_key.is_empty() {
        return Ok((own, SlotKind::File));
    }
    let public = unlock_key(unlock_public_key)?;
    Ok((recipients::with_unlock_key(&own, &public, generation), SlotKind::UnlockKey))
}
