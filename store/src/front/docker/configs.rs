//! `/configs`: what `docker config create|ls|inspect|rm` ask.
//!
//! Names, sizes and texts are Docker's, as those of secrets. A config is no secret: it is read into an
//! ordinary buffer, and who inspects one is shown its value. A list has none of the values, of which all
//! configs of a cluster have as many bytes as a message may not have.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use base64ct::{Base64, Encoding as _};
use proto::{Kind, pb};
use serde::{Deserialize, Serialize};

use super::answer::{Code, Problem, empty, json};
use super::body;
use super::parameters::{Path, Query};
use super::secrets::{asked_for, name_of};
use super::swarm::base64;
use super::{Front, filters, time};

/// Docker's bound of a value: it has to be smaller than that.
const VALUE_BYTES_END: usize = 1_024_000;

/// What a config is made from. Fields that are not known are passed over, as Docker does.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Spec {
    #[serde(default)]
    name: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    /// Base64, of any bytes.
    #[serde(default)]
    data: Option<String>,
    #[serde(default)]
    templating: Option<serde::de::IgnoredAny>,
}

/// Of which version a change is.
#[derive(Deserialize)]
pub(super) struct Update {
    #[serde(default)]
    version: String,
}

#[derive(Serialize)]
struct Created {
    #[serde(rename = "ID")]
    id: String,
}

/// A config as it is shown.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    #[serde(rename = "ID")]
    id: String,
    version: Version,
    created_at: String,
    updated_at: String,
    spec: ShownSpec,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    index: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShownSpec {
    name: String,
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    data: String,
}

impl From<pb::ConfigInfo> for Shown {
    fn from(config: pb::ConfigInfo) -> Self {
        Self {
            id: config.id,
            version: Version { index: config.revision },
            created_at: time(config.created_at),
            updated_at: time(config.updated_at),
            spec: ShownSpec {
                name: config.name,
                labels: config.labels,
                data: base64(&config.data),
            },
        }
    }
}

fn refused(message: &str) -> Problem {
    Problem::of_swarm(Code::InvalidArgument, message)
}

/// The bytes of a text in Base64; none of none.
fn decoded(text: Option<&str>) -> Result<Vec<u8>, Problem> {
    let text = text.unwrap_or_default();
    // What the decoder needs; it says how much of it there is.
    let mut bytes = vec![0; text.len() / 4 * 3];
    let length = match Base64::decode(text, &mut bytes) {
        Ok(decoded) => decoded.len(),
        Err(_) => return Err(Problem::invalid("illegal base64 data")),
    };
    bytes.truncate(length);
    Ok(bytes)
}

fn value_of(text: Option<&str>) -> Result<Vec<u8>, Problem> {
    let value = decoded(text)?;
    if (1..VALUE_BYTES_END).contains(&value.len()) {
        return Ok(value);
    }
    Err(refused("config data must be larger than 0 and less than 1024000 bytes"))
}

/// `POST /configs/create`.
pub(super) async fn create(
    State(front): State<Front>,
    Path(route): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if route != "create" {
        return Err(Problem::page_not_found());
    }
    let (serving, caller) = front.serving().await?;
    let spec: Spec = body::read(&headers, body).await?;
    let name = name_of(&spec.name)?;
    if spec.templating.is_some() {
        return Err(Problem::unimplemented("secretd does not fill in templates"));
    }
    let request = pb::CreateConfigRequest {
        request_key: seal::random::<16>().to_vec().into(),
        name: name.to_string(),
        labels: spec.labels.unwrap_or_default(),
        data: value_of(spec.data.as_deref())?.into(),
    };
    match serving.service.route(caller, request).await {
        Ok(created) => Ok(json(StatusCode::CREATED, &Created { id: created.id })),
        Err(failure) if failure.kind == Kind::Exists => {
            let text = format!("config {name} already exists");
            Err(Problem::of_swarm(Code::AlreadyExists, &text))
        }
        Err(failure) => Err(failure.into()),
    }
}

/// `GET /configs`.
pub(super) async fn list(
    State(front): State<Front>,
    Query(query): Query<filters::Query>,
) -> Result<Response, Problem> {
    let filter = Some(asked_for(&query)?);
    let list = front.call(pb::ListConfigsRequest { filter }).await?;
    let shown: Vec<Shown> = list.configs.into_iter().map(Into::into).collect();
    Ok(json(StatusCode::OK, &shown))
}

/// `GET /configs/{id}`: an id, a name, or the beginning of an id.
pub(super) async fn inspect(
    State(front): State<Front>,
    Path(config): Path<String>,
) -> Result<Response, Problem> {
    Ok(json(StatusCode::OK, &Shown::from(get(&front, config).await?)))
}

async fn get(front: &Front, config: String) -> Result<pb::ConfigInfo, Problem> {
    front.find("config", &config, pb::GetConfigRequest { config: config.clone() }).await
}

/// `DELETE /configs/{id}`. What only a previous spec refers to goes, as with Docker.
pub(super) async fn remove(
    State(front): State<Front>,
    Path(config): Path<String>,
) -> Result<Response, Problem> {
    let found = get(&front, config).await?;
    let (serving, caller) = front.serving().await?;
    let request = pb::RemoveConfigRequest {
        request_key: seal::random::<16>().to_vec().into(),
        config: found.id.clone(),
        forget_previous: true,
    };
    match serving.service.route(caller, request).await {
        Ok(_) => Ok(empty(StatusCode::NO_CONTENT)),
        Err(failure) if failure.kind == Kind::InUse && !found.used_by.is_empty() => {
            let s = if found.used_by.len() == 1 { "" } else { "s" };
            let (name, users) = (&found.name, found.used_by.join(", "));
            let text = format!("config '{name}' is in use by the following service{s}: {users}");
            Err(refused(&text))
        }
        Err(failure) => Err(failure.into()),
    }
}

/// `POST /configs/{id}/update`. Only labels can be changed. A stack that is deployed again sends all of
/// its configs again: those may come that are there.
pub(super) async fn update(
    State(front): State<Front>,
    Path(config): Path<String>,
    Query(update): Query<Update>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (serving, caller) = front.serving().await?;
    let Ok(revision @ 1..) = update.version.parse::<u64>() else {
        return Err(Problem::invalid(format!("invalid config version '{}'", update.version)));
    };
    let spec: Spec = body::read(&headers, body).await?;
    let found = get(&front, config).await?;
    let data = decoded(spec.data.as_deref())?;
    if found.name != spec.name || !(data.is_empty() || data == found.data) {
        return Err(refused("only updates to Labels are allowed"));
    }
    let request = pb::UpdateConfigRequest {
        request_key: seal::random::<16>().to_vec().into(),
        config: found.id,
        revision,
        labels: spec.labels.unwrap_or_default(),
    };
    match serving.service.route(caller, request).await {
        Ok(_) => Ok(empty(StatusCode::OK)),
        Err(failure) if failure.kind == Kind::Conflict => Err(Problem::out_of_sequence()),
        Err(failure) => Err(failure.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_base64_within_dockers_bounds() {
        assert_eq!(value_of(Some("AP8A")).unwrap(), [0, 255, 0]);
        let value = |length: usize| value_of(Some(&base64(&vec![7; length])));
        assert_eq!(value(VALUE_BYTES_END - 1).unwrap().len(), VALUE_BYTES_END - 1);
        for wrong in [value_of(None), value_of(Some("")), value(VALUE_BYTES_END)] {
            let said = wrong.unwrap_err();
            assert!(said.message().ends_with("larger than 0 and less than 1024000 bytes"));
        }
        for wrong in ["a", "ab==cd==", "-_8=", "AP8A\n"] {
            assert_eq!(value_of(Some(wrong)).unwrap_err().message(), "illegal base64 data");
        }
    }
}
