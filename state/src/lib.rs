//! The replicated state machine of secretd.
//!
//! Everything every manager must compute alike: objects, commands, [`apply()`], the orchestrator
//! and scheduler ([`plan()`]), what each node may have ([`assignments`], [`entitled`]), snapshots.
//! Pure: no runtime, file, socket, clock or randomness in its whole dependency tree; time is a
//! field the leader wrote, ids are made before proposing. (The hashes of `table` are keyed at
//! random, which nothing shows.)
//!
//! Not here: whether a caller may ask (store's service layer), cryptography (payloads and keys are
//! opaque and stay sealed), Raft and disk.
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, reason = "this crate applies what the disk and peers bring")]

pub mod command;
pub mod object;

mod apply;
mod assign;
mod audit;
mod backup;
mod boot;
mod ca_rotation;
mod certificate_rotation;
mod incarnation;
mod liveness;
mod log_keys;
mod plan;
mod read_back;
mod refusal;
mod remembered;
mod restore;
mod rollout;
mod root_keys;
mod schedule;
mod shredding;
mod snapshot;
mod state;
mod table;

pub use crate::apply::{Applied, Change, Unapplicable, apply, pass};
pub use crate::assign::{Assignments, assignments, entitled, entitled_to_config};
pub use crate::audit::{AuditLog, AuditRecord};
pub use crate::backup::{Backup, Backups, ForgottenBackups, WrapPlace};
pub use crate::boot::{
    Alarm, AlarmReason, Asked, Boot, BootCommand, BootGeneration, BootKey, CONSENT_MS, Consent,
    GRANT_EVERY_MS, Granted, MemberBoot, NewGeneration, PeerPolicy,
};
pub use crate::ca_rotation::{
    BeginCaRotation, CaPending, CaPhase, CaRotation, CaRotations, FormerCa,
};
pub use crate::certificate_rotation::{
    CertificateRotation, CertificateRotations, CompleteCertificateRotation,
};
pub use crate::incarnation::BeginIncarnation;
pub use crate::liveness::{GRACE_MS, Observed, liveness};
pub use crate::log_keys::{LogKeys, MemberLogKey};
pub use crate::plan::{Plan, Scope, places_wanted, plan};
pub use crate::read_back::{KeptUnlockKey, ReadBackCommand};
pub use crate::refusal::{Refusal, ReleaseRefusal};
pub use crate::remembered::Outcome;
pub use crate::restore::{MadeAnew, RestoreCluster, Restored};
pub use crate::rollout::{MadeBy, UpdateState, UpdateStatus};
pub use crate::root_keys::{
    FinishedRoot, Phase, RootKeys, RootRotation, Unproved, Wrapped, wrap_digest,
};
pub use crate::shredding::{
    Departed, Need, Shredded, Shredding, ShreddingStep, Tombstone, Unnamed, Word, shredding_step,
};
pub use crate::snapshot::{SnapshotError, SnapshotReader};
pub use crate::state::{Standing, State};
