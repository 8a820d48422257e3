//! Which CAs this manager goes by: what it trusts, and what it shows with its certificate.
//!
//! The state says which there are; they are kept beside the certificate, since a manager that starts
//! has to talk to the others before it has the state. While the CA rotates, a manager whose
//! certificate is of the one before renews it at once, and says which one it presents. When a CA is
//! dropped, connections that began with its certificates are cut, whoever opened them. A rotation of
//! certificates asks this manager to renew, too, and cuts what began with those that it superseded.
//! Not here: renewing (`renew`).
//!
//! Invariants: only a state that a majority confirms changes what is trusted, or a manager that hands
//! out a certificate; what is trusted is durable before it is gone by. What was refused once is for
//! ever, and through restarts: a state that lags has less of it, and every state forgets it in the end.
//! (But of more than [`REFUSED_MAX`] only those of the present state stay.)

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use link::certificate::PeerCertificate;
use link::tls::OwnCertificate;
use link::trust::{Authorities, Trust};
use proto::id::Serial;
use proto::identity::Subject;
use state::Change;
use state::object::ObjectId;
use sys::file::Folder;
use tokio::sync::{Notify, broadcast};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{Manager, ManagerError};
use crate::ca;
use crate::keys::credentials::{self, REFUSED_MAX};
use crate::service::Service;

/// How often the state is looked at though nothing changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The CAs that this manager goes by.
pub(super) struct Known {
    own: Arc<OwnCertificate>,
    trust: Trust,
    authorities: Mutex<Authorities>,
    /// One that was gone by is not any more, and connections of that time were not cut yet.
    owes_cut: AtomicBool,
    /// What is refused could not be kept.
    owes_keeping: AtomicBool,
    /// The certificate is of a CA that another takes the place of.
    pub(super) is_due: Notify,
    /// Another certificate is presented.
    presented: Notify,
}

impl Known {
    pub(super) fn new(own: Arc<OwnCertificate>, trust: Trust, authorities: Authorities) -> Self {
        let authorities = Mutex::new(authorities);
        let (is_due, presented) = (Notify::new(), Notify::new());
        let (owes_cut, owes_keeping) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { own, trust, authorities, owes_cut, owes_keeping, is_due, presented }
    }

    fn now(&self) -> Authorities {
        self.authorities.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether this manager presents a certificate of the newest CA.
    pub(super) fn is_of_newest(&self) -> bool {
        let leaf = self.own.certificate();
        leaf.is_none_or(|leaf| self.now().is_of_newest(&leaf))
    }

    /// Whether the newest of these is one that this manager goes by.
    pub(super) fn has(&self, authorities: &Authorities) -> bool {
        authorities.trusted.last().is_none_or(|ca| self.now().trusted.contains(ca))
    }

    /// This manager presents another certificate.
    pub(super) fn presents_another(&self) {
        self.presented.notify_one();
    }

    /// Refuses these too: kept first, or, where that fails, kept the next time. Whether any is new.
    fn refuse(&self, folder: &Folder, superseded: &BTreeSet<Serial>) -> bool {
        let refused = self.trust.refused();
        let are_more = !refused.is_superset(superseded);
        if !are_more && !self.owes_keeping.load(Ordering::Acquire) {
            return false;
        }
        let all: BTreeSet<_> = refused.union(superseded).copied().collect();
        // Those of long ago have ended long ago, too.
        let all = if all.len() > REFUSED_MAX { superseded.clone() } else { all };
        let kept = credentials::keep_refused(folder, &all);
        if let Err(error) = &kept {
            tracing::error!(%error, "refused_certificates_not_kept");
        }
        self.owes_keeping.store(kept.is_err(), Ordering::Release);
        self.trust.refuse(all);
        are_more
    }

    /// Goes by these from now on: kept first. If one went, what it let in is cut by who follows.
    pub(super) fn go_by(
        &self,
        folder: &Folder,
        authorities: &Authorities,
    ) -> Result<(), ManagerError> {
        let had = self.now();
        if had == *authorities {
            return Ok(());
        }
        credentials::keep_authorities(folder, authorities)?;
        let unusable = |error: link::tls::TlsError| ManagerError::Keys(Box::new(error));
        self.trust.replace(&authorities.trusted).map_err(unusable)?;
        self.own.show(authorities);
        let count = authorities.trusted.len();
        *self.authorities.lock().unwrap_or_else(PoisonError::into_inner) = authorities.clone();
        if had.trusted.iter().any(|ca| !authorities.trusted.contains(ca)) {
            self.owes_cut.store(true, Ordering::Release);
        }
        tracing::info!(trusted = count, "authorities_changed");
        Ok(())
    }
}

/// Follows the state until `stop`.
pub(super) async fn follow(
    manager: Manager,
    service: Arc<Service>,
    known: Arc<Known>,
    stop: CancellationToken,
) {
    let mut changes = service.raft.machine.changes();
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
            () = known.presented.notified() => {}
            next = changes.recv() => match next {
                Ok(changes) if !changes.iter().any(is_of_cluster) => continue,
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
        look(&manager, &service, &known).await;
    }
}

/// Whether the CAs may be others now, or certificates superseded: the cluster or a certificate changed,
/// or a snapshot was installed.
const fn is_of_cluster(change: &Change) -> bool {
    matches!(
        change,
        Change::Updated(ObjectId::Cluster | ObjectId::Certificate(_)) | Change::Replan(None)
    )
}

async fn look(manager: &Manager, service: &Service, known: &Known) {
    let wanted = || ca::authorities(&service.raft.machine.state());
    let differs = |wanted: &Authorities| *wanted != known.now();
    // Not after what waits for a leader.
    cut_superseded(&manager.0.folder, service, known);
    if wanted().as_ref().is_some_and(differs) || known.owes_cut.load(Ordering::Acquire) {
        // A state that lags would bring a CA back that was dropped, and its certificates would stand.
        if service.barrier().await.is_err() {
            return;
        }
        if let Some(wanted) = wanted().filter(differs) {
            let _running = manager.0.running.lock().await;
            if let Err(error) = known.go_by(&manager.0.folder, &wanted) {
                tracing::error!(%error, "authorities_not_changed");
                return;
            }
        }
        if known.owes_cut.swap(false, Ordering::AcqRel) {
            cut_former(service);
        }
    }
    let says = known.own.says();
    if !known.is_of_newest() || says.is_some_and(|says| service.is_to_renew(says.serial)) {
        known.is_due.notify_one();
    } else if let Some(says) = says {
        service.note_use(&says);
    }
}

/// Cuts what began with certificates that were superseded. Managers' are refused in the handshake from
/// now on: Raft takes a manager that its state does not know, and whoever dials looks at no state. They
/// are on disk, too, so that a manager that starts refuses them before it has read its log. A state that
/// lags has fewer of them: the others are refused once it has caught up.
fn cut_superseded(folder: &Folder, service: &Service, known: &Known) {
    let superseded: BTreeMap<_, _> = service.raft.machine.state().superseded().collect();
    let of_managers = superseded.iter().filter(|(_, of)| matches!(of, Subject::Manager(..)));
    let are_more = known.refuse(folder, &of_managers.map(|(serial, _)| *serial).collect());
    service.connections.cut_certified(|shown| superseded.contains_key(&shown.serial));
    if are_more {
        // The other end may have shown one.
        service.raft.pool.cut();
    }
}

/// Cuts what began while the CA that was dropped was trusted: what others opened with a certificate
/// that stands no more, and whatever this manager opened, since the other end may have shown one.
fn cut_former(service: &Service) {
    let standing: BTreeSet<_> =
        service.raft.machine.state().certificates().keys().copied().collect();
    let stands = |certificate: &PeerCertificate| standing.contains(&certificate.serial);
    service.connections.cut_all_but(stands);
    service.raft.pool.cut();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::credentials::Chain;
    use crate::keys::credentials::tests::Ca;

    /// Whoever it hears it from: its renewal may, before its own state tells.
    #[test]
    fn what_a_ca_let_in_is_to_be_cut_once_that_is_not_gone_by() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::create_private(temp.path().join("data")).unwrap();
        let (old, new) = (Ca::new(), Ca::new());
        let first = Authorities::first(old.certificate.clone());
        let (leaf, key) = old.issue();
        Chain { leaf, authorities: first.clone() }.write(&folder).unwrap();
        let (_, own) = Chain::read(&folder, &key.private).unwrap();
        let trust = Trust::new(&first.trusted).unwrap();
        let known = Known::new(own, trust, first);
        let both = old.and(&new);
        known.go_by(&folder, &both).unwrap();
        assert!(!known.owes_cut.load(Ordering::Acquire), "all that stood stands");
        let dropped = Authorities { trusted: vec![new.certificate.clone()], ..both };
        known.go_by(&folder, &dropped).unwrap();
        known.go_by(&folder, &dropped).unwrap();
        assert!(known.owes_cut.load(Ordering::Acquire), "it was not done yet");
    }

    /// A state that lags, or has forgotten, takes nothing back; a start has it before any state.
    #[test]
    fn what_was_refused_is_for_ever() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::create_private(temp.path().join("data")).unwrap();
        let ca = Ca::new();
        let authorities = Authorities::first(ca.certificate.clone());
        let (leaf, key) = ca.issue();
        Chain { leaf, authorities: authorities.clone() }.write(&folder).unwrap();
        let start = || {
            let (_, own) = Chain::read(&folder, &key.private).unwrap();
            let trust = credentials::trust(&folder, &authorities).unwrap();
            Known::new(own, trust, authorities.clone())
        };
        let [one, two] = [1, 2].map(|byte| Serial::from_bytes([byte; 16]));
        let known = start();
        assert!(known.trust.refused().is_empty());
        assert!(known.refuse(&folder, &[one].into()));
        assert!(!known.refuse(&folder, &[one].into()), "nothing new is in it");
        assert!(known.refuse(&folder, &[two].into()));
        assert!(!known.refuse(&folder, &BTreeSet::new()));
        assert_eq!(*known.trust.refused(), [one, two].into());
        assert_eq!(*start().trust.refused(), [one, two].into());
    }

    /// It is refused all the same, and kept once that can be.
    #[test]
    fn what_could_not_be_kept_is_kept_later() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::create_private(temp.path().join("data")).unwrap();
        let ca = Ca::new();
        let authorities = Authorities::first(ca.certificate.clone());
        let (leaf, key) = ca.issue();
        Chain { leaf, authorities: authorities.clone() }.write(&folder).unwrap();
        let (_, own) = Chain::read(&folder, &key.private).unwrap();
        let known = Known::new(own, Trust::new(&authorities.trusted).unwrap(), authorities.clone());
        let serial = Serial::from_bytes([1; 16]);
        // A folder is in the file's place, and something is in that folder.
        let in_the_way = temp.path().join("data/refused-serials");
        std::fs::create_dir_all(in_the_way.join("x")).unwrap();
        assert!(known.refuse(&folder, &[serial].into()));
        assert_eq!(*known.trust.refused(), [serial].into());
        std::fs::remove_dir_all(&in_the_way).unwrap();
        assert!(!known.refuse(&folder, &[serial].into()));
        let trust = credentials::trust(&folder, &authorities).unwrap();
        assert_eq!(*trust.refused(), [serial].into());
    }
}
