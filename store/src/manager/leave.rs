//! Leaving a cluster for good: out of the members, then the keys, then everything else.

use link::Failure;
use proto::id::RequestKey;
use proto::identity::Caller;
use proto::{Kind, pb};
use sys::file::PRIVATE_FILE_MODE;

use super::{Event, Manager, UNFINISHED, local_failure};
use crate::front::Phase;

impl Manager {
    /// Leaves: the others agree first, unless it is forced. Destroying the key file makes the
    /// rest of the data folder unreadable; it is removed when this manager starts anew.
    pub(super) async fn leave_cluster(
        &self,
        uid: u32,
        request: &pb::LeaveRequest,
    ) -> Result<pb::LeaveResponse, Failure> {
        let shared = &self.0;
        let _running = shared.running.lock().await;
        let phase = shared.phase.borrow().clone();
        match phase {
            Phase::Serving(serving) => {
                let service = &serving.service;
                let remove = pb::RemoveMemberRequest {
                    request_key: RequestKey::from_bytes(seal::random()).as_bytes().to_vec().into(),
                    member: service.raft.me.0,
                    lost: false,
                    leaving: true,
                };
                let caller = Caller::Local { uid, member: service.raft.me };
                match service.route(caller, remove).await {
                    Ok(_) => {}
                    // The leader cuts the connections of who leaves, this answer's among them; a
                    // second try is told that it is done.
                    Err(failure) if failure.kind == Kind::Evicted => {}
                    Err(failure) if request.force => {
                        tracing::warn!(%failure, "left_by_force");
                    }
                    Err(failure) => {
                        return Err(failure.hint(
                            "`--force` leaves all the same; the others then \
                                                 have to remove this manager",
                        ));
                    }
                }
            }
            Phase::Locked(_) if request.force => {}
            Phase::Locked(_) => {
                return Err(Failure::new(Kind::Locked, "this manager is locked")
                    .hint("unlock it first: `secretctl cluster unlock`")
                    .hint("`--force` leaves without telling the others"));
            }
            Phase::Starting => {
                return Err(Failure::new(Kind::Unavailable, "this manager is starting"));
            }
            Phase::Empty => {
                return Err(Failure::new(Kind::Precondition, "this manager is part of no cluster"));
            }
            Phase::Stopping => {
                return Err(Failure::new(Kind::Unavailable, "this manager is stopping"));
            }
        }
        // From here on a start that finds this folder throws away what is left.
        let marked = shared.folder.replace(UNFINISHED, PRIVATE_FILE_MODE, b"left");
        marked.map_err(local_failure)?;
        shared.key_file.destroy().map_err(local_failure)?;
        shared.boot.remove().map_err(local_failure)?;
        // Told by the round that ends; nobody listens when the manager is stopping anyway.
        drop(shared.events.send(Event::Left));
        Ok(pb::LeaveResponse {})
    }
}
