//! The certificates of the fake cluster: one step of their rotation at each look.

use link::Failure;
use proto::{Kind, pb};

use crate::ca_rotation::straggler;
use crate::world::{World, refused};

impl World {
    pub(crate) fn rotate_certificates(
        &mut self,
        cut_missing: bool,
    ) -> Result<pb::RotateCertificatesResponse, Failure> {
        let number = self.certificate_rotation.as_ref().map_or(0, |rotation| rotation.number);
        let under_way = self.certificate_rotation.clone().filter(|one| one.ended_at == 0);
        let keys = "`secretctl cluster keys` shows how far it is";
        match (under_way, cut_missing) {
            (Some(mut rotation), true) => {
                rotation.left_behind = rotation.nodes_left + rotation.operators_left;
                self.end_the_certificate_rotation(&rotation);
                Ok(pb::RotateCertificatesResponse { number })
            }
            (None, true) => {
                let text = "no certificate rotation is in progress";
                Err(refused(Kind::Precondition, text, keys))
            }
            (Some(_), false) => {
                let text =
                    format!("certificate rotation {number} is in progress: it waits for node n2");
                Err(refused(Kind::Precondition, text, keys)
                    .hint("who is gone for good is removed: `secretctl node rm`, `secretctl operator rm`")
                    .hint(
                        "or all are left behind: `secretctl cluster rotate certificates --cut-missing`",
                    ))
            }
            (None, false) => {
                let away = self.away.len() as u64;
                self.certificate_rotation = Some(pb::CertificateRotation {
                    number: number + 1,
                    began_at: self.now,
                    managers: vec![straggler("1", "m1", false)],
                    nodes: self.away.iter().map(|name| straggler("n", name, true)).collect(),
                    nodes_left: away,
                    operators: vec![straggler("o", "olive", false)],
                    operators_left: 1,
                    ..pb::CertificateRotation::default()
                });
                Ok(pb::RotateCertificatesResponse { number: number + 1 })
            }
        }
    }

    fn end_the_certificate_rotation(&mut self, rotation: &pb::CertificateRotation) {
        self.certificate_rotation = Some(pb::CertificateRotation {
            number: rotation.number,
            began_at: rotation.began_at,
            ended_at: self.now,
            left_behind: rotation.left_behind,
            ..pb::CertificateRotation::default()
        });
    }

    /// The next step, as far as those that are away let it.
    pub(crate) fn go_on_with_certificates(&mut self) {
        let Some(mut rotation) = self.certificate_rotation.clone().filter(|one| one.ended_at == 0)
        else {
            return;
        };
        if !rotation.managers.is_empty() {
            rotation.managers.clear();
            rotation.renewed = 1;
        } else if !rotation.operators.is_empty() {
            rotation.operators.clear();
            rotation.operators_left = 0;
            rotation.renewed = 2;
        } else if rotation.nodes.is_empty() {
            return self.end_the_certificate_rotation(&rotation);
        }
        self.certificate_rotation = Some(rotation);
    }
}
