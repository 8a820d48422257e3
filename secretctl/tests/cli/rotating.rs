//! A fake manager's rotation of a secret: takes a payload as a manager does, and opens it; and its
//! comparing of one with what is there.

use link::Failure;
use proto::id::Version;
use proto::identity::Principal;
use proto::pb;
use proto::sealed::{Encapsulation, WrappedKey};
use seal::{Operation, TransitReceiver};

use crate::world::World;

impl World {
    pub(crate) fn compare_key(
        &self,
        request: &pb::GetCompareKeyRequest,
    ) -> Result<pb::CompareKey, Failure> {
        let id = self.find_secret(&request.secret)?;
        let secret = &self.secrets[&id];
        let key = self.bundles[&secret.name].compare_key().expose().to_vec().into();
        Ok(pb::CompareKey { version: secret.current_version, key, id })
    }

    pub(crate) fn compare(
        &self,
        caller: &Principal,
        request: pb::CompareSecretRequest,
    ) -> pb::CompareSecretResponse {
        let secret = &self.secrets[&request.secret];
        assert_eq!(secret.current_version, request.version);
        let encapsulation = Encapsulation::new(request.encapsulation).unwrap();
        let receiver =
            TransitReceiver::set_up(&self.transit, self.realm, *caller, &encapsulation).unwrap();
        let (id, version) = (request.secret.parse().unwrap(), Version(request.version));
        let tag = receiver.open_tag(id, version, &WrappedKey::new(request.sealed_tag).unwrap());
        pb::CompareSecretResponse { same: self.bundles[&secret.name].has_tag(&tag.ok().unwrap()) }
    }

    pub(crate) fn rotate_secret(
        &mut self,
        caller: &Principal,
        request: pb::RotateSecretRequest,
    ) -> Result<pb::RotateSecretResponse, Failure> {
        let id = self.find_secret(&request.secret)?;
        let name = self.secrets[&id].name.clone();
        self.take(caller, Operation::Rotate, &name, request.payload.unwrap())?;
        let at = self.before();
        let info = self.secrets.get_mut(&id).unwrap();
        let mut version = info.versions.last().cloned().unwrap();
        version.version += 1;
        version.created_at = at;
        info.current_version = version.version;
        info.versions.push(version);
        let version = info.current_version;
        let mut services = Vec::new();
        for (service_id, service) in &mut self.services {
            let spec = service.spec.clone().unwrap();
            let secrets = &spec.task.as_ref().unwrap().secrets;
            let follows = |it: &pb::SecretReference| it.secret_id == id && it.pinned_version == 0;
            if !secrets.iter().any(follows) {
                continue;
            }
            service.followed.insert(id.clone(), version);
            service.revision += 1;
            service.previous_spec = Some(spec.clone());
            service.update = self.updates.pop_front();
            let paused = service
                .update
                .as_ref()
                .is_some_and(|update| update.state() == pb::UpdateState::Paused);
            if !paused {
                service.spec_revision = service.revision;
                self.tasks.retain(|task| task.service_id != *service_id);
            }
            services.push(pb::Follower { id: service_id.clone(), name: spec.name, paused });
        }
        for service in &services {
            self.make_tasks(&service.id);
        }
        Ok(pb::RotateSecretResponse { id, name, version, services })
    }
}
