//! A restored cluster: what it begins with beside the copy of the state that was in a backup.
//!
//! The copy comes wrapped under the backup's root key; the manager that restores wraps everything
//! anew under a root key of the new cluster's own, and then this command, the first entry of the new
//! log, makes a cluster of that manager of it. Not here: keys, files, the log (store).
//!
//! Where the backup's CA is not to be trusted any more, the restored cluster has another one from its
//! first entry on, to which nothing leads from the one before: whoever is to have a certificate of it
//! joins, or enrols, anew.
//!
//! Invariants: a restored cluster's incarnation is above that of the backup; its only member has an
//! id that no manager had when the backup was taken; no certificate of a manager outlives it, and none
//! at all a restore with another CA.

use minicbor::{Decode, Encode};
use proto::id::{BackupId, Incarnation, KeyId, NodeId, Revision, Serial, Timestamp};
use proto::identity::Subject;
use proto::name::Hostname;

use crate::object::{Authority, Certificate, SlotRecipient, TransitKey};
use crate::state::{Standing, State};

/// What a restored cluster begins with; all of it made by the manager that restores.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RestoreCluster {
    /// Above that of the backup.
    #[n(0)]
    pub incarnation: Incarnation,
    /// The backup.
    #[n(1)]
    pub backup: BackupId,
    /// The root key that everything in the copy is wrapped under by now.
    #[n(2)]
    pub root: KeyId,
    /// Its first transit key's id.
    #[n(3)]
    pub transit_id: KeyId,
    /// Its first transit key.
    #[n(4)]
    pub transit: TransitKey,
    /// Whom key files are sealed to.
    #[n(5)]
    pub recipients: Vec<SlotRecipient>,
    /// The manager's machine: the node of its hostname, if there was one.
    #[n(6)]
    pub node_id: NodeId,
    /// Its hostname.
    #[n(7)]
    pub hostname: Hostname,
    /// Where it is reached.
    #[n(8)]
    pub address: String,
    /// Serial number of its certificate.
    #[n(9)]
    pub serial: Serial,
    /// Its certificate; its member id is the index of this entry.
    #[n(10)]
    pub certificate: Certificate,
    /// The log key that everything on its disk is under.
    #[n(11)]
    pub log_key: KeyId,
    /// The highest format it can apply.
    #[n(12)]
    pub level_max: u16,
    /// The last entry that is in the backup.
    #[n(13)]
    pub revision: Revision,
    /// The time of that entry.
    #[n(14)]
    pub taken_at: Timestamp,
    /// The CA that the cluster has instead of the backup's, its key under the new root key; none if
    /// the backup's stays.
    #[n(15)]
    pub authority: Option<Authority>,
}

/// The last time that the cluster was restored with another CA than its backup's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct MadeAnew {
    /// When.
    #[n(0)]
    pub at: Timestamp,
    /// The entry that restored it: what is of before has a CA of before.
    #[n(1)]
    pub revision: Revision,
}

/// The last time that the cluster was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Restored {
    /// From which backup.
    #[n(0)]
    pub backup: BackupId,
    /// The life that began with it.
    #[n(1)]
    pub incarnation: Incarnation,
    /// When.
    #[n(2)]
    pub at: Timestamp,
    /// The time of the last entry that was in the backup.
    #[n(3)]
    pub taken_at: Timestamp,
}

impl State {
    /// The last time that the cluster was restored; none if it never was.
    pub const fn restored(&self) -> Option<&Restored> {
        self.restored.as_ref()
    }

    /// What the cluster thinks of a certificate that it has no record of, of which its CA says that
    /// it issued it in this life.
    ///
    /// A restored cluster has lost the records of what was issued after the backup was taken: agents
    /// and operators that renewed in between have nothing else to show. Such a certificate stands as
    /// long as its subject does, so evicting or removing that ends it. Whoever has the CA's key, which
    /// is in the backup, can forge one: so it stands only if it ends no later than one that was issued
    /// right before the cluster was restored. Nothing honest ends after that. And it is one of the
    /// backup's CA: once that is dropped none stands, whoever still trusts it and hands it on, and none
    /// if the cluster was restored with another.
    pub fn standing_without_record(
        &self,
        subject: Subject,
        incarnation: Incarnation,
        not_after: Timestamp,
    ) -> Standing {
        let life_ms = Certificate::life_ms(subject.role());
        let lost_it = self.restored.is_some_and(|restored| {
            let former = self.ca_rotations.former.as_ref();
            incarnation < restored.incarnation
                && not_after <= restored.at.after_ms(life_ms)
                && former.is_none_or(|former| former.dropped_at < restored.at)
                && self.ca_rotations.made_anew.is_none_or(|made| made.at < restored.at)
                && !self.has_renewed_since(restored.at, subject)
        });
        let stands = match subject {
            Subject::Agent(node) => self.nodes.get(&node).is_some_and(|node| node.has_agent),
            Subject::Operator(operator) => self.operators.contains_key(&operator),
            Subject::Manager(..) | Subject::Boot(_) => false,
        };
        if lost_it && stands { Standing::Good } else { Standing::Unknown }
    }

    /// Whether a rotation of certificates left somebody one, with a record, or none.
    fn has_renewed_since(&self, at: Timestamp, subject: Subject) -> bool {
        let rotations = &self.certificate_rotations;
        let under_way = rotations.rotation.as_ref();
        rotations.last.is_some_and(|last| last.ended_at > at)
            || under_way.is_some_and(|rotation| rotation.renewed.contains(&subject))
    }

    /// The node that an agent of this hostname joins as, if there is one that waits for its agent:
    /// the cluster was restored with another CA, and its labels and tasks' places are of before.
    pub fn node_that_waits(&self, hostname: &Hostname) -> Option<NodeId> {
        let (id, node) = self.node_by_hostname(hostname.as_str())?;
        node.waits_for_agent().then_some(id)
    }

    /// How many nodes wait for their agents to join anew.
    pub fn nodes_that_wait(&self) -> usize {
        self.nodes.values().filter(|node| node.waits_for_agent()).count()
    }
}
