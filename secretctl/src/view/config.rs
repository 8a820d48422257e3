//! Configs, as they are shown.

use std::collections::BTreeMap;

use proto::id::Timestamp;
use proto::pb;
use serde::Serialize;

/// A config.
#[derive(Debug, Serialize)]
pub(crate) struct Config {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) created_at: String,
    pub(crate) updated_at: String,
    pub(crate) revision: u64,
    pub(crate) bytes: u64,
    pub(crate) used_by: Vec<String>,
    /// The value, if it is asked for and text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<String>,
    /// Else, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data_hex: Option<String>,
}

impl From<pb::ConfigInfo> for Config {
    fn from(info: pb::ConfigInfo) -> Self {
        let has_data = !info.data.is_empty();
        let data = String::from_utf8(info.data.to_vec());
        let (data, data_hex) = match data {
            Ok(text) => (has_data.then_some(text), None),
            Err(_) => (None, Some(proto::hex::encode(&info.data))),
        };
        Self {
            id: info.id,
            name: info.name,
            labels: info.labels,
            created_at: Timestamp(info.created_at).to_rfc3339(),
            updated_at: Timestamp(info.updated_at).to_rfc3339(),
            revision: info.revision,
            bytes: info.bytes,
            used_by: info.used_by,
            data,
            data_hex,
        }
    }
}

/// One config of a service.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ConfigReference {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) target: String,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) mode: String,
}

impl From<pb::ConfigReference> for ConfigReference {
    fn from(reference: pb::ConfigReference) -> Self {
        Self {
            id: reference.config_id,
            name: reference.config_name,
            target: reference.target,
            uid: reference.uid,
            gid: reference.gid,
            mode: format!("{:04o}", reference.mode.unwrap_or(0o444)),
        }
    }
}
