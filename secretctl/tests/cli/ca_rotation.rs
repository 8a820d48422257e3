//! The CA of the fake cluster: one step of its rotation at each look.

use link::Failure;
use proto::{Kind, pb};

use crate::world::{World, refused};

pub(crate) fn straggler(id: &str, name: &str, down: bool) -> pb::CaStraggler {
    pb::CaStraggler { id: id.into(), name: name.into(), down }
}

impl World {
    pub(crate) fn rotate_ca(
        &mut self,
        drop_missing: bool,
    ) -> Result<pb::RotateCaResponse, Failure> {
        let number = self.ca_rotation.as_ref().map_or(0, |rotation| rotation.number);
        let under_way = self.ca_rotation.as_ref().filter(|one| one.ended_at == 0).cloned();
        match (under_way, drop_missing) {
            (Some(mut rotation), true) => {
                rotation.left_behind = (rotation.nodes.len() + rotation.operators.len()) as u64;
                self.end_the_ca_rotation(rotation);
                Ok(pb::RotateCaResponse { number })
            }
            (None, true) => {
                let hint = "`secretctl cluster keys` shows the last one, `secretctl cluster rotate ca` \
                            begins one";
                Err(refused(Kind::Precondition, "no CA rotation is in progress", hint))
            }
            (Some(_), false) => {
                let text = format!("CA rotation {number} is in progress: it waits for node n2");
                let hint = "`secretctl cluster keys` shows how far it is";
                Err(refused(Kind::Precondition, text, hint)
                    .hint("who is gone for good is removed: `secretctl node rm`, `secretctl operator rm`")
                    .hint("or all are left behind: `secretctl cluster rotate ca --drop-missing`"))
            }
            (None, false) => {
                self.ca_rotation = Some(pb::CaRotation {
                    number: number + 1,
                    phase: pb::CaPhase::Managers.into(),
                    new_ca_digest: vec![6; 32].into(),
                    old_ca_digest: vec![2; 32].into(),
                    began_at: self.now,
                    managers: vec![straggler("1", "m1", false)],
                    ..pb::CaRotation::default()
                });
                Ok(pb::RotateCaResponse { number: number + 1 })
            }
        }
    }

    fn end_the_ca_rotation(&mut self, rotation: pb::CaRotation) {
        self.backups.iter_mut().for_each(|backup| backup.former_ca = true);
        self.ca_rotation = Some(pb::CaRotation {
            phase: pb::CaPhase::Complete.into(),
            ended_at: self.now,
            nodes: Vec::new(),
            operators: Vec::new(),
            nodes_left: 0,
            operators_left: 0,
            ..rotation
        });
    }

    /// The next step, as far as those that are away let it.
    pub(crate) fn go_on_with_the_ca(&mut self) {
        let Some(mut rotation) = self.ca_rotation.clone().filter(|one| one.ended_at == 0) else {
            return;
        };
        if rotation.phase() == pb::CaPhase::Managers {
            rotation.phase = pb::CaPhase::Clients.into();
            rotation.managers.clear();
            rotation.nodes = self.away.iter().map(|name| straggler("n", name, true)).collect();
            rotation.operators = vec![straggler("o", "olive", false)];
            // More than are named.
            rotation.nodes_left = self.away.len() as u64 + u64::from(!self.away.is_empty());
            rotation.operators_left = 1;
        } else if self.away.is_empty() {
            return self.end_the_ca_rotation(rotation);
        } else {
            rotation.operators.clear();
            rotation.operators_left = 0;
        }
        self.ca_rotation = Some(rotation);
    }
}
