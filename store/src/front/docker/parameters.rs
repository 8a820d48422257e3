//! Parameters in paths and queries: axum's, refused as everything else is.

use axum::extract::{FromRequestParts, Path as InPath, Query as InQuery};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::answer::Problem;

/// What stands in a path.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let found = InPath::from_request_parts(parts, state).await;
        let InPath(value) = found.map_err(|refused| Problem::invalid(refused.body_text()))?;
        Ok(Self(value))
    }
}

/// What stands in a query.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let found = InQuery::from_request_parts(parts, state).await;
        let InQuery(value) = found.map_err(|refused| Problem::invalid(refused.body_text()))?;
        Ok(Self(value))
    }
}
