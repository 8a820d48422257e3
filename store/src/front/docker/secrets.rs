//! `/secrets`: what `docker secret create|ls|inspect|rm` ask.
//!
//! Names, sizes and texts are Docker's (swarmkit's `api/validation` and `manager/controlapi`), which
//! are stricter than ours for sizes.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use proto::name::SecretName;
use proto::{Kind, pb};
use seal::Plaintext;
use serde::{Deserialize, Serialize};

use super::answer::{Code, Problem, empty, json};
use super::body::{self, Data};
use super::parameters::{Path, Query};
use super::{Front, filters, time};
use crate::service::NewValue;

/// Docker's bound of a value: it has to be smaller than that.
const VALUE_BYTES_END: usize = 512_000;

/// Swarm's keys of filters.
const FILTERS: &[&str] = &["id", "label", "name", "names"];

/// What a secret is made from. Fields that are not known are passed over, as Docker does.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Spec {
    #[serde(default)]
    name: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    data: Data,
    #[serde(default)]
    driver: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    templating: Option<serde::de::IgnoredAny>,
}

#[derive(Serialize)]
struct Created {
    #[serde(rename = "ID")]
    id: String,
}

/// A secret as it is shown: never with its value.
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
}

impl From<pb::SecretInfo> for Shown {
    fn from(secret: pb::SecretInfo) -> Self {
        Self {
            id: secret.id,
            version: Version { index: secret.revision },
            created_at: time(secret.created_at),
            updated_at: time(secret.updated_at),
            spec: ShownSpec { name: secret.name, labels: secret.labels },
        }
    }
}

fn refused(message: &str) -> Problem {
    Problem::of_swarm(Code::InvalidArgument, message)
}

pub(super) fn name_of(text: &str) -> Result<SecretName, Problem> {
    if text.is_empty() {
        return Err(refused("name must be provided"));
    }
    text.parse().map_err(|_| {
        refused(
            "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end \
             character must be [a-zA-Z0-9]",
        )
    })
}

fn value_of(data: Data) -> Result<Plaintext, Problem> {
    match data {
        Data::Value(value) if value.len() < VALUE_BYTES_END => Ok(value),
        Data::Malformed => Err(Problem::invalid("illegal base64 data")),
        Data::Empty | Data::TooLarge | Data::Value(_) => {
            Err(refused("secret data must be larger than 0 and less than 512000 bytes"))
        }
    }
}

/// `POST /secrets/create`.
pub(super) async fn create(
    State(front): State<Front>,
    Path(route): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if route != "create" {
        return Err(Problem::page_not_found());
    }
    // Before the body: who cannot seal a value does not take it in.
    let (serving, caller) = front.serving().await?;
    let spec: Spec = body::read(&headers, body).await?;
    let name = name_of(&spec.name)?;
    if spec.driver.is_some() {
        return Err(Problem::unimplemented("secretd has no secret drivers"));
    }
    if spec.templating.is_some() {
        return Err(Problem::unimplemented("secretd does not fill in templates"));
    }
    let value = value_of(spec.data)?;
    let new = NewValue { name, labels: spec.labels.unwrap_or_default(), value };
    let text = format!("secret {} already exists", new.name);
    match serving.service.create_from_clear(caller, new).await {
        Ok(created) => Ok(json(StatusCode::CREATED, &Created { id: created.id })),
        Err(failure) if failure.kind == Kind::Exists => {
            Err(Problem::of_swarm(Code::AlreadyExists, &text))
        }
        Err(failure) => Err(failure.into()),
    }
}

/// `GET /secrets`.
pub(super) async fn list(
    State(front): State<Front>,
    Query(query): Query<filters::Query>,
) -> Result<Response, Problem> {
    let filter = Some(asked_for(&query)?);
    let list = front.call(pb::ListSecretsRequest { filter }).await?;
    let shown: Vec<Shown> = list.secrets.into_iter().map(Into::into).collect();
    Ok(json(StatusCode::OK, &shown))
}

/// What a list of secrets, or of configs, is asked for.
pub(super) fn asked_for(query: &filters::Query) -> Result<pb::SecretFilter, Problem> {
    let mut filters = query.filters(FILTERS)?;
    let mut of = |key| filters.remove(key).unwrap_or_default();
    let labels = of("label").into_iter().map(|label| match label.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (label, String::new()),
    });
    Ok(pb::SecretFilter {
        labels: labels.collect(),
        ids: of("id"),
        names: of("names"),
        name_prefixes: of("name"),
    })
}

/// `GET /secrets/{id}`: an id, a name, or the beginning of an id.
pub(super) async fn inspect(
    State(front): State<Front>,
    Path(secret): Path<String>,
) -> Result<Response, Problem> {
    Ok(json(StatusCode::OK, &Shown::from(get(&front, secret).await?)))
}

async fn get(front: &Front, secret: String) -> Result<pb::SecretInfo, Problem> {
    front.find("secret", &secret, pb::GetSecretRequest { secret: secret.clone() }).await
}

/// `DELETE /secrets/{id}`. What only a previous spec refers to goes, as with Docker.
pub(super) async fn remove(
    State(front): State<Front>,
    Path(secret): Path<String>,
) -> Result<Response, Problem> {
    let found = get(&front, secret).await?;
    let (serving, caller) = front.serving().await?;
    let request = pb::RemoveSecretRequest {
        request_key: seal::random::<16>().to_vec().into(),
        secret: found.id.clone(),
        forget_previous: true,
        shred: false,
    };
    match serving.service.route(caller, request).await {
        Ok(_) => Ok(empty(StatusCode::NO_CONTENT)),
        Err(failure) if failure.kind == Kind::InUse && !found.used_by.is_empty() => {
            Err(refused(&in_use(found)))
        }
        Err(failure) => Err(failure.into()),
    }
}

fn in_use(mut secret: pb::SecretInfo) -> String {
    let s = if secret.used_by.len() == 1 { "" } else { "s" };
    secret.used_by.sort();
    let users = secret.used_by.join(", ");
    format!("secret '{}' is in use by the following service{s}: {users}", secret.name)
}

/// `POST /secrets/{id}/update`. Only labels can be changed with Docker, and nothing here yet. A stack that
/// is deployed again sends all of its values again: those may come that are there.
pub(super) async fn update(
    State(front): State<Front>,
    Path(secret): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (serving, caller) = front.serving().await?;
    let spec: Spec = body::read(&headers, body).await?;
    let found = get(&front, secret).await?;
    let is_same = match spec.data {
        Data::Empty => true,
        Data::Value(value) => serving.service.has_value(caller, &found.id, &value).await?,
        Data::Malformed => return Err(Problem::invalid("illegal base64 data")),
        Data::TooLarge => false,
    };
    if found.name != spec.name || !is_same {
        return Err(refused("only updates to Labels are allowed"));
    }
    if spec.labels.unwrap_or_default() != found.labels {
        return Err(Problem::unimplemented("secretd does not change labels of secrets"));
    }
    Ok(empty(StatusCode::OK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sizes_are_dockers_with_its_words() {
        assert!(name_of(&"a".repeat(64)).is_ok());
        assert!(name_of("").unwrap_err().message().ends_with("desc = name must be provided"));
        for wrong in ["-", ".a", "a.", "a/b", "with space", "snowman\u{2603}", &"a".repeat(65)] {
            let said = name_of(wrong).unwrap_err();
            assert!(
                said.message().contains("code = InvalidArgument desc = invalid name"),
                "{wrong}"
            );
        }
        let value = |length| Data::Value(Plaintext::born(length, |_| {}).unwrap());
        assert!(value_of(value(VALUE_BYTES_END - 1)).is_ok());
        for wrong in [Data::Empty, Data::TooLarge, value(VALUE_BYTES_END)] {
            let said = value_of(wrong).err().unwrap();
            assert!(said.message().ends_with("larger than 0 and less than 512000 bytes"));
        }
    }
}
