//! What the fake manager knows: a small cluster in memory, with the real transit key at its door.

use std::collections::{BTreeMap, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

use link::Failure;
use link::certificate::{KeyPairDer, make_ca, make_key_pair, sign};
use proto::id::{
    Incarnation, NodeId, OperatorId, Realm, RequestKey, SecretId, ServiceId, TaskId, Timestamp,
    TokenId,
};
use proto::identity::Principal;
use proto::name::SecretName;
use proto::sealed::SealedPayload;
use proto::task::{DesiredState, TaskState};
use proto::{Kind, pb};
use rustls_pki_types::CertificateDer;
use seal::{Context, DekBundle, Operation, TransitReceiver, TransitSecretKey, ciphertext_digest};

const DAY: u64 = 86_400_000;

/// What goes wrong with a call.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Nothing: this call is not the one.
    None,
    /// The manager says so, and does nothing.
    Says(Failure),
    /// The transit key is another one from now on, and nothing is done.
    RetiresTransitKey,
    /// It is done, and the answer is lost.
    LosesAnswer,
}

/// A cluster in memory.
pub(crate) struct World {
    pub(crate) realm: Realm,
    pub(crate) incarnation: Incarnation,
    pub(crate) ca: KeyPairDer,
    pub(crate) ca_certificate: CertificateDer<'static>,
    pub(crate) transit: TransitSecretKey,
    pub(crate) now: u64,
    /// What a manager of another cluster would sign with.
    pub(crate) foreign_ca: bool,
    pub(crate) phase: String,
    /// The unlock key in use, and how often the locking changed.
    pub(crate) unlock_key_id: bytes::Bytes,
    pub(crate) recipients_generation: u64,
    /// The unlock key, if it is kept to be read back.
    pub(crate) kept_unlock_key: Option<seal::UnlockKey>,
    pub(crate) slots: Vec<pb::SlotInfo>,
    /// Why a slot's command opens nothing on the second manager; empty: it does.
    pub(crate) command_fails: String,
    /// Shares that were entered while it was locked.
    pub(crate) entered: Option<pb::EnteredShares>,
    pub(crate) faults: VecDeque<Fault>,
    /// Told once a restore has all of its backup; it is not answered then.
    pub(crate) restore_has_all: Option<std::sync::mpsc::Sender<()>>,
    pub(crate) secrets: BTreeMap<String, pb::SecretInfo>,
    /// Values by name, opened as the manager's own keys can.
    pub(crate) values: BTreeMap<String, Vec<u8>>,
    /// Their data keys.
    pub(crate) bundles: BTreeMap<String, DekBundle>,
    pub(crate) configs: BTreeMap<String, pb::ConfigInfo>,
    pub(crate) services: BTreeMap<String, pb::ServiceInfo>,
    pub(crate) tasks: Vec<pb::TaskInfo>,
    /// The states that tasks go through, one at each look.
    pub(crate) script: Vec<(TaskState, String)>,
    pub(crate) steps: BTreeMap<String, usize>,
    /// What becomes of the next update of a service, one for each look at it.
    pub(crate) updates: VecDeque<pb::UpdateStatus>,
    pub(crate) nodes: BTreeMap<String, pb::NodeInfo>,
    pub(crate) delivered: BTreeMap<String, Vec<String>>,
    pub(crate) members: Vec<pb::MemberInfo>,
    pub(crate) problems: Vec<pb::Problem>,
    pub(crate) tokens: BTreeMap<String, pb::JoinTokenInfo>,
    pub(crate) operators: BTreeMap<String, pb::OperatorInfo>,
    pub(crate) output: Vec<pb::OutputRecord>,
    pub(crate) audit: Vec<pb::AuditRecord>,
    /// What was removed, oldest first.
    pub(crate) removed: Vec<pb::RemovedSecret>,
    pub(crate) backups: Vec<pb::BackupInfo>,
    /// A file that somebody else writes while a backup is taken.
    pub(crate) written_meanwhile: Option<std::path::PathBuf>,
    pub(crate) backup_fault: Option<crate::backups::BackupFault>,
    /// Log key rotations that were asked for, and the last one of each member.
    pub(crate) rotation: u64,
    /// Whether another one follows.
    pub(crate) rotates_again: bool,
    pub(crate) rotated: BTreeMap<u64, u64>,
    /// The root key rotation that was asked for last, and who was removed without proof.
    pub(crate) root_rotation: Option<pb::RootRotation>,
    pub(crate) ca_rotation: Option<pb::CaRotation>,
    pub(crate) certificate_rotation: Option<pb::CertificateRotation>,
    /// Nodes that do not follow to another CA.
    pub(crate) away: Vec<String>,
    pub(crate) unproved: Vec<pb::UnprovedMember>,
    /// Whether managers unlock one another, who waits, and who should not have asked.
    pub(crate) peers: pb::PeersStatus,
    /// Why its peers do not open this manager.
    pub(crate) peers_refusal: String,
    /// Members that do not answer.
    pub(crate) silent: Vec<u64>,
    /// What a check of the records finds, by member.
    pub(crate) damage: BTreeMap<u64, String>,
    /// Answers by request key.
    pub(crate) remembered: BTreeMap<RequestKey, pb::CreateSecretResponse>,
    /// Request keys in the order they came.
    pub(crate) seen: Vec<RequestKey>,
    made: u8,
}

pub(crate) fn clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// A slot of two of three shares: its public half and its parameters.
const SPLIT: (&str, [&str; 4]) = (
    "0020bf620aa8e4ac28b1b1249badd26bca396e7f682df43cade6050c4b77ee467259",
    [
        "834838aa3fb87e747638025860",
        "86e62790dafc4d4c6b0930b42c9d93704fa744cab182f6c20348151a4ee18802",
        "283fe4614739b39f95b470b8d5030275a94e17d4990891655e73b69b2e8e8015",
        "e8791fc4ee84764f920b3f43eea638316eb9dccaa5f026470d9023ef58a0bede",
    ],
);

pub(crate) fn refused(kind: Kind, message: impl Into<String>, hint: &str) -> Failure {
    Failure::new(kind, message).hint(hint)
}

impl World {
    pub(crate) fn listed_slots(&self) -> pb::ListSlotsResponse {
        pb::ListSlotsResponse {
            recipients_generation: self.recipients_generation,
            slots: self.slots.clone(),
        }
    }

    fn slots_changed(&mut self) -> pb::SlotsChanged {
        self.recipients_generation += 1;
        let recipients_generation = self.recipients_generation;
        for member in self.members.iter_mut().filter(|member| member.reachable) {
            member.key_file_generation = recipients_generation;
        }
        pb::SlotsChanged { recipients_generation, log_key_epoch: 0 }
    }

    pub(crate) fn add_slot(&mut self, request: pb::AddSlotRequest) -> pb::SlotsChanged {
        let public = seal::SlotPublicKey::parse(request.public_key.clone()).unwrap();
        assert!(public.can_be_sealed_to());
        self.slots.push(pb::SlotInfo {
            id: public.id().as_bytes().to_vec().into(),
            kind: request.kind,
            generation: self.recipients_generation + 1,
            changed_at: self.before(),
            public_key: request.public_key,
            parameters: request.parameters,
            ..pb::SlotInfo::default()
        });
        self.slots_changed()
    }

    /// Takes a share, whatever it is; with enough of them the manager serves.
    pub(crate) fn enter_share(&mut self, share: &[u8]) -> pb::EnterShareResponse {
        let share = seal::Share::parse(share).unwrap();
        let entered = self.entered.get_or_insert_with(|| pb::EnteredShares {
            slot_id: vec![5; 16].into(),
            needed: share.needed().into(),
            forgotten_in_ms: 562_000,
            ..pb::EnteredShares::default()
        });
        entered.numbers.push(share.number().into());
        let is_enough = entered.numbers.len() == usize::from(share.needed());
        let opened = is_enough
            .then(|| pb::UnlockResponse { slot: "shares".into(), key_id: vec![5; 16].into() });
        let entered = self.entered.clone();
        if is_enough {
            self.phase = "serving".into();
            self.entered = None;
        }
        pb::EnterShareResponse { entered, opened }
    }

    /// A slot that is the same in each run: of an unlock key, of two of three shares that were made
    /// once, or of nothing, with an id alone.
    pub(crate) fn add_known_slot(&mut self, kind: &str, word: &str) {
        let (public_key, parameters) = match kind {
            "unlock-key" => {
                let key = seal::UnlockKey::parse(word.as_bytes()).unwrap();
                (key.slot().public().as_bytes().clone(), bytes::Bytes::new())
            }
            "shares" => {
                let public = proto::hex::decode::<34>(SPLIT.0).unwrap();
                let parameters = proto::hex::decode::<109>(&SPLIT.1.concat()).unwrap();
                (public.to_vec().into(), parameters.to_vec().into())
            }
            "command" => {
                let command = seal::SlotCommand::new(word.to_owned(), 20).unwrap();
                let parameters = seal::SlotParameters::Command(command).to_bytes();
                (bytes::Bytes::new(), parameters.into())
            }
            _ => (bytes::Bytes::new(), bytes::Bytes::new()),
        };
        let public = seal::SlotPublicKey::parse(public_key.clone()).ok();
        let id = public.map_or([5; 16], |public| *public.id().as_bytes());
        self.slots.push(pb::SlotInfo {
            id: id.to_vec().into(),
            kind: kind.to_owned(),
            generation: self.recipients_generation,
            changed_at: self.before(),
            works: true,
            public_key,
            parameters,
            ..pb::SlotInfo::default()
        });
    }

    pub(crate) fn remove_slot(&mut self, request: &pb::RemoveSlotRequest) -> pb::SlotsChanged {
        self.slots.retain(|slot| slot.id != request.id);
        let log_key_epoch = self.rotate_after_a_slot();
        pb::SlotsChanged { log_key_epoch, ..self.slots_changed() }
    }

    pub(crate) fn prove_slot(&mut self, request: &pb::ProveSlotRequest) -> pb::ProveSlotResponse {
        let slot = self.slots.iter_mut().find(|slot| slot.id == request.id).unwrap();
        let kind = slot.kind.clone();
        if kind != "command" {
            slot.works = true;
            return pb::ProveSlotResponse::default();
        }
        let trials = self.members.iter().map(|member| pb::SlotTrial {
            member: member.id,
            hostname: member.hostname.clone(),
            answered: member.reachable,
            reason: match member.id {
                _ if !member.reachable => format!("manager {} is silent", member.id),
                2 => self.command_fails.clone(),
                _ => String::new(),
            },
        });
        pb::ProveSlotResponse { trials: trials.collect() }
    }

    pub(crate) fn new() -> Self {
        let now = clock();
        let ca = make_key_pair().unwrap();
        let end = Timestamp(now + 3_650 * DAY);
        let ca_certificate = make_ca(&ca.private, Timestamp(now), end).unwrap();
        let mut world = Self {
            realm: Realm::from_bytes([1; 16]),
            incarnation: Incarnation(1),
            ca,
            ca_certificate,
            transit: TransitSecretKey::make(),
            now,
            foreign_ca: false,
            phase: "serving".into(),
            unlock_key_id: bytes::Bytes::new(),
            recipients_generation: 1,
            slots: Vec::new(),
            entered: None,
            command_fails: String::new(),
            faults: VecDeque::new(),
            restore_has_all: None,
            secrets: BTreeMap::new(),
            values: BTreeMap::new(),
            bundles: BTreeMap::new(),
            configs: BTreeMap::new(),
            services: BTreeMap::new(),
            tasks: Vec::new(),
            script: vec![(TaskState::Assigned, String::new()), (TaskState::Running, String::new())],
            steps: BTreeMap::new(),
            updates: VecDeque::new(),
            nodes: BTreeMap::new(),
            delivered: BTreeMap::new(),
            members: Vec::new(),
            problems: Vec::new(),
            tokens: BTreeMap::new(),
            operators: BTreeMap::new(),
            output: Vec::new(),
            audit: Vec::new(),
            backups: Vec::new(),
            written_meanwhile: None,
            backup_fault: None,
            removed: Vec::new(),
            rotation: 0,
            rotates_again: false,
            rotated: BTreeMap::new(),
            root_rotation: None,
            peers: pb::PeersStatus { policy: pb::PeerPolicy::Off.into(), ..Default::default() },
            peers_refusal: String::new(),
            kept_unlock_key: None,
            ca_rotation: None,
            certificate_rotation: None,
            away: Vec::new(),
            unproved: Vec::new(),
            silent: Vec::new(),
            damage: BTreeMap::new(),
            remembered: BTreeMap::new(),
            seen: Vec::new(),
            made: 0,
        };
        world.add_node("n1");
        world.add_member(1, "m1", true);
        world
    }

    pub(crate) fn entropy(&mut self) -> [u8; 17] {
        self.made += 1;
        // Large at the front, so that the ids begin differently.
        [self.made.wrapping_mul(29); 17]
    }

    pub(crate) fn behind(&self) -> Option<u64> {
        let rotated = |id: &u64| self.rotated.get(id).copied().unwrap_or(0);
        let mut ids = self.members.iter().map(|member| member.id);
        ids.find(|id| rotated(id) < self.rotation)
    }

    /// A rotation is wanted, or is to follow the one that is in progress.
    pub(crate) fn rotate_after_a_slot(&mut self) -> u64 {
        if self.behind().is_some() {
            self.rotates_again = true;
        } else {
            self.rotation += 1;
        }
        self.rotation + u64::from(self.rotates_again)
    }

    /// One more member has finished the rotation that was asked for, if it answers.
    pub(crate) fn rotate_one(&mut self) {
        let Self { members, rotated, silent, rotation, .. } = self;
        let behind = members.iter().find(|member| {
            rotated.get(&member.id).copied().unwrap_or(0) < *rotation
                && !silent.contains(&member.id)
                && member.reachable
        });
        if let Some(member) = behind {
            rotated.insert(member.id, *rotation);
        }
        if self.rotates_again && self.behind().is_none() {
            self.rotates_again = false;
            self.rotation += 1;
        }
    }

    /// What a member says of its keys.
    pub(crate) fn keys_of(&self, member: &pb::MemberInfo, verify: bool) -> pb::MemberKeys {
        let id = member.id;
        let rotated = self.rotated.get(&id).copied().unwrap_or(0);
        let key = |epoch: u64| {
            let (member, epoch) = (u8::try_from(id).unwrap(), u8::try_from(epoch).unwrap());
            bytes::Bytes::from(vec![member << 4 | epoch; 16])
        };
        let behind = rotated < self.rotation;
        let mut kept = vec![key(rotated)];
        if behind {
            kept.push(key(rotated + 1));
        }
        let silent = self.silent.contains(&id) || !member.reachable;
        let check = verify.then(|| pb::LogCheck {
            first: 1,
            last: 41,
            records: 41,
            snapshot_bytes: 4096,
            damaged: self.damage.get(&id).cloned().unwrap_or_default(),
            finished_at: self.now,
            link: vec![7; 32].into(),
            link_at: 41,
            compared: true,
            ..Default::default()
        });
        let held = pb::HeldKeys {
            member: id,
            root_key_ids: self.root_keys(),
            active_root_key_id: self.root_keys().pop().unwrap(),
            active_log_key_id: kept.last().unwrap().clone(),
            oldest_record: kept[0].clone(),
            small_values: vec![kept[0].clone()],
            head: vec![kept[0].clone()],
            snapshots: Vec::new(),
            log_key_ids: kept,
            doing: if behind { "makes a new log key".into() } else { String::new() },
            failed: String::new(),
            check,
            ..Default::default()
        };
        let waits_for = match (behind, silent) {
            (false, _) => String::new(),
            (true, false) => "it makes a new log key".into(),
            (true, true) => "it does not answer; it rotates once it runs".into(),
        };
        pb::MemberKeys {
            member: id,
            hostname: member.hostname.clone(),
            address: member.address.clone(),
            log_key_epoch: rotated,
            log_key_id: key(rotated),
            log_key_since: self.before(),
            held: (!silent).then_some(held),
            waits_for,
            root_waits_for: self.root_waits_for(id, silent),
        }
    }

    /// Two days ago: what was there before.
    pub(crate) fn before(&self) -> u64 {
        self.now - 2 * DAY - 1_000
    }

    pub(crate) fn add_node(&mut self, hostname: &str) {
        let id = NodeId::from_entropy(self.entropy()).to_string();
        let node = pb::NodeInfo {
            id: id.clone(),
            hostname: hostname.into(),
            state: pb::NodeState::Ready.into(),
            created_at: self.before(),
            updated_at: self.before(),
            revision: 1,
            has_agent: true,
            agent_version: "0.1.0".into(),
            certificate_not_after: self.now + 30 * DAY + 60_000,
            ..Default::default()
        };
        self.nodes.insert(id, node);
    }

    pub(crate) fn add_member(&mut self, id: u64, hostname: &str, leader: bool) {
        let node_id = NodeId::from_entropy(self.entropy()).to_string();
        self.members.push(pb::MemberInfo {
            id,
            node_id,
            hostname: hostname.into(),
            address: format!("10.0.0.{id}:7443"),
            state: pb::MemberState::Voter.into(),
            leader,
            reachable: true,
            matched_index: 40,
            version: "0.1.0".into(),
            level_max: 1,
            disk_free_bytes: 1 << 30,
            memory_protection: "memfd_secret".into(),
            unlocked_by: "file".into(),
            key_file_generation: self.recipients_generation,
            ..Default::default()
        });
    }

    pub(crate) fn status(&self) -> pb::ClusterStatus {
        let leader = self.members.iter().find(|member| member.leader).map_or(0, |member| member.id);
        pb::ClusterStatus {
            realm: self.realm.as_bytes().to_vec().into(),
            incarnation: self.incarnation.0,
            created_at: self.before(),
            leader,
            term: 3,
            root_rotation: self.root_rotation.clone(),
            ca_rotation: self.ca_rotation.clone(),
            certificate_rotation: self.certificate_rotation.clone(),
            applied_index: 41,
            answered_by: 1,
            members: self.members.clone(),
            problems: self.problems.clone(),
            secrets: self.secrets.len() as u64,
            services: self.services.len() as u64,
            tasks: self.tasks.len() as u64,
            nodes: self.nodes.len() as u64,
            payload_bytes: 128 * self.secrets.len() as u64,
            payload_quota_bytes: 1 << 30,
            level: 1,
            autolock: !self.unlock_key_id.is_empty(),
            ca_digest: vec![2; 32].into(),
            root_key_id: vec![3; 16].into(),
            transit_key_id: vec![4; 16].into(),
            recipients_generation: self.recipients_generation,
            slots: self.slots.clone(),
            unlock_key_id: self.unlock_key_id.clone(),
            peers: Some(self.peers.clone()),
            unlock_key_readable: self.kept_unlock_key.is_some(),
        }
    }

    pub(crate) fn approve(
        &mut self,
        request: &pb::ApproveReleaseRequest,
    ) -> Result<pb::PendingRelease, Failure> {
        let (member, from) = (request.member, &request.from);
        let is_it =
            |one: &pb::PendingRelease| one.member == member && one.from.starts_with(&**from);
        let found = self.peers.pending.iter().find(|one| is_it(one)).cloned().ok_or_else(|| {
            let text = format!("manager {member} does not wait for consent at {from}");
            Failure::new(Kind::Precondition, text)
                .because("nothing asked in its name from there within the last minute")
                .hint("`secretctl cluster status` shows who asks, and from where")
        })?;
        self.peers.pending.retain(|one| one.member != member);
        Ok(found)
    }

    pub(crate) fn clear_alarm(&mut self, member: u64) -> Result<pb::ClearAlarmResponse, Failure> {
        let before = self.peers.alarms.len();
        self.peers.alarms.retain(|alarm| alarm.member != member);
        if self.peers.alarms.len() == before {
            let text = format!("there is no alarm of manager {member}");
            return Err(Failure::new(Kind::Precondition, text));
        }
        Ok(pb::ClearAlarmResponse {})
    }

    pub(crate) fn transit_key(&self, caller: &Principal) -> pb::TransitKey {
        let public = self.transit.public();
        let not_after = self.now + 30 * DAY;
        let context = Context::TransitAnnouncement {
            realm: self.realm,
            transit_key_id: public.id(),
            public_key: public.as_bytes(),
            not_after_ms: not_after,
        };
        let foreign = make_key_pair().unwrap();
        let signer = if self.foreign_ca { &foreign } else { &self.ca };
        pb::TransitKey {
            realm: self.realm.as_bytes().to_vec().into(),
            incarnation: self.incarnation.0,
            key_id: public.id().as_bytes().to_vec().into(),
            public_key: public.as_bytes().clone(),
            not_after,
            signature: sign(&signer.private, &context.encode()).unwrap().into(),
            ca_public_key: self.ca.public.clone().into(),
            caller: caller.to_string(),
            further: Vec::new(),
        }
    }

    /// Takes a payload as a manager does, and goes one step further: opens it.
    pub(crate) fn create_secret(
        &mut self,
        caller: &Principal,
        request: pb::CreateSecretRequest,
    ) -> Result<pb::CreateSecretResponse, Failure> {
        let key = RequestKey::try_from(&request.request_key[..]).unwrap();
        self.seen.push(key);
        if let Some(answer) = self.remembered.get(&key) {
            return Ok(answer.clone());
        }
        let taken =
            self.secrets.values().find(|info| info.name.eq_ignore_ascii_case(&request.name));
        if let Some(info) = taken {
            let message = format!("secret `{}` already exists (id {})", info.name, info.id);
            let hint = "to start over, `secretctl rm` it first";
            return Err(refused(Kind::Exists, message, hint));
        }
        let sealed_bytes =
            self.take(caller, Operation::Create, &request.name, request.payload.unwrap())?;
        let id = SecretId::from_entropy(self.entropy()).to_string();
        let version = pb::SecretVersionInfo {
            version: 1,
            created_at: self.before(),
            created_by: caller.to_string(),
            sealed_bytes,
            root_key_id: vec![3; 16].into(),
            state: "live".into(),
        };
        let info = pb::SecretInfo {
            id: id.clone(),
            name: request.name,
            labels: request.labels,
            created_at: self.before(),
            updated_at: self.before(),
            revision: 12,
            current_version: 1,
            versions: vec![version],
            usable_by: request.usable_by,
            used_by: Vec::new(),
        };
        self.secrets.insert(id.clone(), info);
        let answer = pb::CreateSecretResponse { id, version: 1 };
        self.remembered.insert(key, answer.clone());
        Ok(answer)
    }

    /// Opens a payload and keeps its value; how long it is, sealed.
    pub(crate) fn take(
        &mut self,
        caller: &Principal,
        operation: Operation,
        name: &str,
        payload: pb::SealedPayload,
    ) -> Result<u64, Failure> {
        let folded = name.parse::<SecretName>().unwrap().folded();
        let payload: SealedPayload = payload.try_into().unwrap();
        let digest = ciphertext_digest(&payload.ciphertext);
        let receiver =
            TransitReceiver::set_up(&self.transit, self.realm, *caller, &payload.encapsulation)
                .unwrap();
        let open = || {
            receiver
                .open_dek(&payload, &digest, operation, &folded)
                .map_err(|_| refused(Kind::Invalid, "the payload cannot be opened", "seal again"))
        };
        self.bundles.insert(name.to_owned(), open()?);
        let value = open()?.into_dek().open(self.realm, payload.payload_id, &payload.ciphertext);
        self.values.insert(name.to_owned(), value.unwrap().expose().to_vec());
        Ok(payload.ciphertext.as_bytes().len() as u64)
    }

    /// Full id, exact name, unique id prefix, in this order.
    pub(crate) fn find(
        what: &str,
        wanted: &str,
        known: &[(String, String)],
    ) -> Result<String, Failure> {
        let by_id = known.iter().find(|(id, _)| id == wanted);
        let by_name = || known.iter().find(|(_, name)| name.eq_ignore_ascii_case(wanted));
        if let Some((id, _)) = by_id.or_else(by_name) {
            return Ok(id.clone());
        }
        let mut by_prefix = known.iter().filter(|(id, _)| id.starts_with(wanted));
        match (by_prefix.next(), by_prefix.count()) {
            (Some((id, _)), 0) => Ok(id.clone()),
            (Some(_), more) => Err(refused(
                Kind::Invalid,
                format!("{what} `{wanted}` is ambiguous ({} matches found)", more + 1),
                "give more of the id",
            )),
            (None, _) => Err(Failure::new(Kind::NotFound, format!("{what} `{wanted}` not found"))),
        }
    }

    pub(crate) fn find_secret(&self, wanted: &str) -> Result<String, Failure> {
        let known: Vec<_> =
            self.secrets.values().map(|info| (info.id.clone(), info.name.clone())).collect();
        Self::find("secret", wanted, &known)
    }

    pub(crate) fn find_service(&self, wanted: &str) -> Result<String, Failure> {
        let name = |info: &pb::ServiceInfo| info.spec.as_ref().unwrap().name.clone();
        let known: Vec<_> =
            self.services.values().map(|info| (info.id.clone(), name(info))).collect();
        Self::find("service", wanted, &known)
    }

    pub(crate) fn find_node(&self, wanted: &str) -> Result<String, Failure> {
        let known: Vec<_> =
            self.nodes.values().map(|info| (info.id.clone(), info.hostname.clone())).collect();
        Self::find("node", wanted, &known)
    }

    pub(crate) fn create_service(
        &mut self,
        spec: pb::ServiceSpec,
    ) -> Result<pb::CreateServiceResponse, Failure> {
        // What the manager checks: the whole spec.
        let checked = proto::spec::ServiceSpec::try_from(spec.clone());
        checked.map_err(|error| refused(Kind::Invalid, error.to_string(), "see the help"))?;
        let id = ServiceId::from_entropy(self.entropy()).to_string();
        let replicas = match spec.mode {
            Some(pb::service_spec::Mode::Replicas(replicas)) => replicas,
            _ => self.nodes.len() as u64,
        };
        for reference in &spec.task.as_ref().unwrap().secrets {
            let secret = self.secrets.get_mut(&reference.secret_id).unwrap();
            assert_eq!(secret.name, reference.secret_name);
            secret.used_by.push(spec.name.clone());
        }
        let info = pb::ServiceInfo {
            id: id.clone(),
            spec: Some(spec),
            created_at: self.before(),
            updated_at: self.before(),
            revision: 20,
            spec_revision: 20,
            desired_tasks: replicas,
            ..Default::default()
        };
        self.services.insert(id.clone(), info);
        self.make_tasks(&id);
        Ok(pb::CreateServiceResponse { id, warnings: Vec::new() })
    }

    /// Declares a service anew, or goes back; a change of its tasks replaces all of them at once.
    pub(crate) fn update_service(
        &mut self,
        request: pb::UpdateServiceRequest,
    ) -> Result<pb::ServiceInfo, Failure> {
        let id = self.find_service(&request.service)?;
        let update = self.updates.pop_front();
        let info = self.services.get_mut(&id).unwrap();
        if info.revision != request.revision {
            return Err(Failure::new(Kind::Conflict, "revision conflict"));
        }
        assert_eq!(request.rollback, request.spec.is_none(), "a rollback has no spec");
        let Some(spec) = request.spec.or_else(|| info.previous_spec.clone()) else {
            let name = &info.spec.as_ref().unwrap().name;
            let what = format!("service {name} does not have a previous spec");
            let hint = "declare what is wanted: `secretctl service update`";
            return Err(refused(Kind::Precondition, what, hint));
        };
        if let Some(pb::service_spec::Mode::Replicas(replicas)) = spec.mode {
            info.desired_tasks = replicas;
        }
        let before = info.spec.replace(spec.clone()).unwrap();
        info.revision += 1;
        info.update = update;
        if before.task != spec.task {
            info.spec_revision = info.revision;
            self.tasks.retain(|task| task.service_id != id);
        }
        info.previous_spec = Some(before);
        let info = info.clone();
        self.make_tasks(&id);
        Ok(info)
    }

    /// A task for each slot that has none.
    pub(crate) fn make_tasks(&mut self, service_id: &str) {
        let service = self.services[service_id].clone();
        let spec = service.spec.unwrap();
        self.tasks
            .retain(|task| task.service_id != service_id || task.slot <= service.desired_tasks);
        for slot in 1..=service.desired_tasks {
            if self.tasks.iter().any(|task| task.service_id == service_id && task.slot == slot) {
                continue;
            }
            let node = self.nodes.values().next().cloned().unwrap_or_default();
            let id = TaskId::from_entropy(self.entropy()).to_string();
            self.tasks.push(pb::TaskInfo {
                id,
                service_id: service_id.into(),
                service_name: spec.name.clone(),
                slot,
                node_id: node.id,
                node_hostname: node.hostname,
                desired_state: pb::DesiredState::from(DesiredState::Running).into(),
                created_at: self.before(),
                spec_revision: service.spec_revision,
                secrets: spec.task.as_ref().unwrap().secrets.clone(),
                ..Default::default()
            });
        }
    }

    /// The tasks of a service, each one step further than at the last look.
    pub(crate) fn look_at_tasks(&mut self, service: &str) -> Vec<pb::TaskInfo> {
        let before = self.before();
        for task in &mut self.tasks {
            let step = self.steps.entry(task.id.clone()).or_insert(0);
            let (state, message) = &self.script[(*step).min(self.script.len() - 1)];
            *step += 1;
            let failed = matches!(state, TaskState::Failed);
            task.status = Some(pb::TaskStatus {
                task_id: task.id.clone(),
                state: pb::TaskState::from(*state).into(),
                at: before,
                message: message.clone(),
                exit_code: failed.then_some(1),
                mounted: Vec::new(),
            });
        }
        let wanted = |task: &&pb::TaskInfo| service.is_empty() || task.service_id == service;
        self.tasks.iter().filter(wanted).cloned().collect()
    }

    pub(crate) fn new_token_id(&mut self) -> TokenId {
        TokenId::from_entropy(self.entropy())
    }

    pub(crate) fn new_operator_id(&mut self) -> OperatorId {
        OperatorId::from_entropy(self.entropy())
    }
}
