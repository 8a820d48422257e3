//! Versions of the API in paths: `/v1.41/secrets` is `/secrets`, as 1.41 has it.

use axum::extract::Request;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;

use super::answer::Problem;

/// The version that is served, and the oldest one that is understood. Minors of version 1.
pub(super) const API: u32 = 50;
pub(super) const API_MIN: u32 = 24;

/// The version that a request named, as its minor of version 1; what has none named none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked(pub(super) u32);

/// The request without its version, if that is one that is served.
pub(super) fn routed(mut request: Request) -> Result<Request, Problem> {
    let Some((version, rest)) = split(request.uri().path()) else { return Ok(request) };
    let asked = Asked(check(version)?);
    let query = request.uri().query().map_or_else(String::new, |query| format!("?{query}"));
    let path = PathAndQuery::try_from(format!("{rest}{query}"));
    let path = path.map_err(|_| Problem::page_not_found())?;
    *request.uri_mut() = Uri::from(path);
    request.extensions_mut().insert(asked);
    Ok(request)
}

/// The version in a path, and what follows it.
fn split(path: &str) -> Option<(&str, &str)> {
    let path = path.strip_prefix("/v")?;
    let (version, rest) = path.split_at(path.find('/')?);
    let is_version = version.split_once('.').is_some_and(|(major, minor)| {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        is_number(major) && is_number(minor)
    });
    is_version.then_some((version, rest))
}

/// The minor of a version that is served.
fn check(version: &str) -> Result<u32, Problem> {
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    // What does not fit is a version of the far future.
    let number = |text: &str| text.parse().unwrap_or(u32::MAX);
    let asked = (number(major), number(minor));
    if asked > (1, API) {
        return Err(Problem::invalid(format!(
            "client version {version} is too new. Maximum supported API version is 1.{API}"
        )));
    }
    if asked < (1, API_MIN) {
        return Err(Problem::invalid(format!(
            "client version {version} is too old. Minimum supported API version is 1.{API_MIN}, \
             please upgrade your client to a newer version"
        )));
    }
    Ok(asked.1)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn route(path: &str) -> Result<String, String> {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        routed(request).map(|request| request.uri().to_string()).map_err(|p| p.message().to_owned())
    }

    #[test]
    fn a_path_goes_on_after_its_version() {
        assert_eq!(route("/v1.24/secrets").as_deref(), Ok("/secrets"));
        assert_eq!(route("/v1.50/secrets/x?a=b%20c").as_deref(), Ok("/secrets/x?a=b%20c"));
        for as_it_is in ["/secrets", "/version", "/v1.50", "/vault/x", "/v1/x", "/v1.x/y"] {
            assert_eq!(route(as_it_is).as_deref(), Ok(as_it_is));
        }
    }

    #[test]
    fn versions_that_are_not_served_are_named_with_those_that_are() {
        for new in ["1.51", "1.99", "2.0", "1.99999999999", "99999999999.1"] {
            let said = route(&format!("/v{new}/secrets")).unwrap_err();
            let expected =
                format!("client version {new} is too new. Maximum supported API version is 1.50");
            assert_eq!(said, expected);
        }
        for old in ["1.23", "1.0", "0.99"] {
            let said = route(&format!("/v{old}/secrets")).unwrap_err();
            assert!(said.starts_with(&format!("client version {old} is too old.")), "{said}");
        }
    }
}
