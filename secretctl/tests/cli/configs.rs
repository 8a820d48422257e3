//! The fake manager's configs, and `secretctl config`.

use proto::convert::text;
use proto::id::ConfigId;
use proto::name::SecretName;
use proto::{Kind, pb};

use link::Failure;

use crate::world::{World, refused};

impl World {
    pub(crate) fn create_config(
        &mut self,
        request: pb::CreateConfigRequest,
    ) -> Result<pb::CreateConfigResponse, Failure> {
        text::<SecretName>("name", &request.name)
            .map_err(|error| refused(Kind::Invalid, error.reason, "see the help"))?;
        let is_taken = |info: &&pb::ConfigInfo| info.name.eq_ignore_ascii_case(&request.name);
        if let Some(info) = self.configs.values().find(is_taken) {
            let message = format!("config {} already exists (id {})", info.name, info.id);
            let hint = "a config's value never changes: make another one";
            return Err(refused(Kind::Exists, message, hint));
        }
        let id = ConfigId::from_entropy(self.entropy()).to_string();
        let info = pb::ConfigInfo {
            id: id.clone(),
            name: request.name,
            labels: request.labels,
            created_at: self.before(),
            updated_at: self.before(),
            revision: 30,
            bytes: request.data.len() as u64,
            used_by: Vec::new(),
            data: request.data,
        };
        self.configs.insert(id.clone(), info);
        Ok(pb::CreateConfigResponse { id })
    }

    pub(crate) fn find_config(&self, wanted: &str) -> Result<String, Failure> {
        let known: Vec<_> =
            self.configs.values().map(|info| (info.id.clone(), info.name.clone())).collect();
        Self::find("config", wanted, &known)
    }

    pub(crate) fn get_config(&self, wanted: &str) -> Result<pb::ConfigInfo, Failure> {
        let id = self.find_config(wanted)?;
        let mut info = self.configs[&id].clone();
        let uses = |service: &&pb::ServiceInfo| {
            let task = service.spec.as_ref().and_then(|spec| spec.task.as_ref());
            task.is_some_and(|task| task.configs.iter().any(|it| it.config_id == id))
        };
        let users = self.services.values().filter(uses);
        info.used_by = users.map(|service| service.spec.as_ref().unwrap().name.clone()).collect();
        Ok(info)
    }

    pub(crate) fn list_configs(&self, request: &pb::ListConfigsRequest) -> pb::ListConfigsResponse {
        let filter = request.filter.clone().unwrap_or_default();
        let labelled = |info: &&pb::ConfigInfo| {
            filter.labels.iter().all(|(key, value)| info.labels.get(key) == Some(value))
                && (filter.names.is_empty() || filter.names.contains(&info.name))
        };
        let configs = self.configs.values().filter(labelled).map(|info| pb::ConfigInfo {
            data: bytes::Bytes::new(),
            ..self.get_config(&info.id).unwrap()
        });
        pb::ListConfigsResponse { configs: configs.collect() }
    }

    pub(crate) fn update_config(
        &mut self,
        request: pb::UpdateConfigRequest,
    ) -> Result<pb::ConfigInfo, Failure> {
        let id = self.find_config(&request.config)?;
        let info = self.configs.get_mut(&id).unwrap();
        assert_eq!(info.revision, request.revision);
        info.labels = request.labels;
        Ok(info.clone())
    }

    pub(crate) fn remove_config(
        &mut self,
        request: &pb::RemoveConfigRequest,
    ) -> Result<pb::RemoveConfigResponse, Failure> {
        let info = self.get_config(&request.config)?;
        if !info.used_by.is_empty() {
            let users = info.used_by.join(", ");
            let message =
                format!("config {} is in use by the following service: {users}", info.name);
            return Err(refused(Kind::InUse, message, "remove it from those services first"));
        }
        self.configs.remove(&info.id);
        Ok(pb::RemoveConfigResponse { id: info.id, name: info.name })
    }
}
