//! The CA's rotation.

use proto::{hex, pb};
use serde::Serialize;

use super::at;

/// The CA rotation that was asked for last.
#[derive(Serialize)]
pub(crate) struct CaRotation {
    /// How many were asked for so far.
    pub(crate) number: u64,
    /// `managers`, `clients`, `complete`.
    pub(crate) phase: &'static str,
    pub(crate) complete: bool,
    /// Digests of the CAs' public keys.
    pub(crate) new_ca: String,
    pub(crate) old_ca: String,
    pub(crate) began_at: Option<String>,
    pub(crate) ended_at: Option<String>,
    /// Nodes and operators that had not moved when it ended.
    pub(crate) left_behind: u64,
    pub(crate) waits_for: CaWaitsFor,
}

/// Whom a CA rotation waits for.
#[derive(Serialize)]
pub(crate) struct CaWaitsFor {
    pub(crate) managers: Vec<CaStraggler>,
    /// The first hundred of them.
    pub(crate) nodes: Vec<CaStraggler>,
    pub(crate) operators: Vec<CaStraggler>,
    /// How many there are.
    pub(crate) nodes_left: u64,
    pub(crate) operators_left: u64,
}

/// One that has not moved.
#[derive(Serialize)]
pub(crate) struct CaStraggler {
    pub(crate) id: String,
    /// A hostname, or an operator's name.
    pub(crate) name: String,
    /// A node that is not in touch.
    pub(crate) down: bool,
}

impl CaRotation {
    /// How far it is, for people.
    pub(crate) fn standing(&self) -> String {
        match self.phase {
            "managers" => "the managers get certificates of the next CA".into(),
            "clients" => "agents and operators get certificates of the next CA".into(),
            "complete" => "complete".into(),
            _ => "in a phase that this program does not know".into(),
        }
    }
}

impl CaWaitsFor {
    /// All of them, for people; nothing if it is nobody.
    pub(crate) fn named(&self) -> Vec<String> {
        let shown = |one: &CaStraggler| {
            let down = if one.down { ", which is down" } else { "" };
            format!("{}{down}", one.name)
        };
        let managers = self.managers.iter().map(|one| format!("manager {} ({})", one.id, one.name));
        let nodes = self.nodes.iter().map(|one| format!("node {}", shown(one)));
        let operators = self.operators.iter().map(|one| format!("operator {}", shown(one)));
        let more = |left: u64, named: &[CaStraggler], what: &str| {
            let more = left.saturating_sub(named.len() as u64);
            let plural = if more == 1 { "" } else { "s" };
            (more > 0).then(|| format!("{more} more {what}{plural}"))
        };
        managers
            .chain(nodes)
            .chain(more(self.nodes_left, &self.nodes, "node"))
            .chain(operators)
            .chain(more(self.operators_left, &self.operators, "operator"))
            .collect()
    }
}

/// The rotation of certificates that was asked for last.
#[derive(Serialize)]
pub(crate) struct CertificateRotation {
    /// How many were asked for so far.
    pub(crate) number: u64,
    pub(crate) complete: bool,
    pub(crate) began_at: Option<String>,
    pub(crate) ended_at: Option<String>,
    /// Nodes and operators that had not renewed when it ended.
    pub(crate) left_behind: u64,
    /// Managers, nodes and operators that have renewed, while it is in progress.
    pub(crate) renewed: u64,
    pub(crate) waits_for: CaWaitsFor,
}

impl CertificateRotation {
    /// How far it is, for people.
    pub(crate) fn standing(&self) -> String {
        match self.renewed {
            _ if self.complete => "complete".into(),
            1 => "1 has renewed".into(),
            many => format!("{many} have renewed"),
        }
    }
}

/// What is watched while managers, agents and operators get other certificates.
pub(crate) trait Renewing: Serialize {
    fn number(&self) -> u64;
    fn is_complete(&self) -> bool;
    fn standing(&self) -> String;
    fn waits_for(&self) -> &CaWaitsFor;
}

macro_rules! renewing {
    ($($rotation:ty),*) => {
        $(impl Renewing for $rotation {
            fn number(&self) -> u64 {
                self.number
            }

            fn is_complete(&self) -> bool {
                self.complete
            }

            fn standing(&self) -> String {
                self.standing()
            }

            fn waits_for(&self) -> &CaWaitsFor {
                &self.waits_for
            }
        })*
    };
}

renewing!(CaRotation, CertificateRotation);

impl From<pb::CaStraggler> for CaStraggler {
    fn from(one: pb::CaStraggler) -> Self {
        Self { id: one.id, name: one.name, down: one.down }
    }
}

impl From<pb::CaRotation> for CaRotation {
    fn from(rotation: pb::CaRotation) -> Self {
        let phase = match rotation.phase() {
            pb::CaPhase::Managers => "managers",
            pb::CaPhase::Clients => "clients",
            pb::CaPhase::Complete => "complete",
            pb::CaPhase::Unspecified => "unknown",
        };
        let all = |named: Vec<pb::CaStraggler>| named.into_iter().map(Into::into).collect();
        Self {
            number: rotation.number,
            phase,
            complete: phase == "complete",
            new_ca: hex::encode(&rotation.new_ca_digest),
            old_ca: hex::encode(&rotation.old_ca_digest),
            began_at: at(rotation.began_at),
            ended_at: at(rotation.ended_at),
            left_behind: rotation.left_behind,
            waits_for: CaWaitsFor {
                managers: all(rotation.managers),
                nodes: all(rotation.nodes),
                operators: all(rotation.operators),
                nodes_left: rotation.nodes_left,
                operators_left: rotation.operators_left,
            },
        }
    }
}

impl From<pb::CertificateRotation> for CertificateRotation {
    fn from(rotation: pb::CertificateRotation) -> Self {
        let all = |named: Vec<pb::CaStraggler>| named.into_iter().map(Into::into).collect();
        Self {
            number: rotation.number,
            complete: rotation.ended_at > 0,
            began_at: at(rotation.began_at),
            ended_at: at(rotation.ended_at),
            left_behind: rotation.left_behind,
            renewed: rotation.renewed,
            waits_for: CaWaitsFor {
                managers: all(rotation.managers),
                nodes: all(rotation.nodes),
                operators: all(rotation.operators),
                nodes_left: rotation.nodes_left,
                operators_left: rotation.operators_left,
            },
        }
    }
}
