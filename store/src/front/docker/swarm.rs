//! `/swarm`: what `docker swarm join-token|unlock-key|unlock|update|ca` ask.
//!
//! Tokens and unlock keys are ours, as words that docker prints and reads; what Docker can configure and
//! is fixed here is refused when somebody changes it. Making, joining and leaving a cluster is for
//! secretctl. Not here: unlock keys that are made here (`service::made_keys`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use base64ct::{Base64, Encoding as _};
use futures_util::future::BoxFuture;
use link::Failure;
use link::accept::Peer;
use proto::hex::encode;
use proto::identity::{Caller, Principal};
use proto::limits::HISTORY_MAX;
use proto::{Kind, pb};
use seal::UnlockKey;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer::{Problem, empty, json as answered};
use super::body::SWARM_BYTES_MAX;
use super::declaration::or_default;
use super::parameters::{Path, Query};
use super::{Front, body, is_true, time};
use crate::front::grpc::LocalCalls;
use crate::front::{Phase, Serving, Stage};
use crate::service::{CallName, MadeKeys, TlsAnchor, now};

/// A token that is shown is good for so much longer, at least.
const TOKEN_LEFT_MS_MIN: u64 = 600_000;

/// Callers whose tokens are known here; of others new ones are made.
const TOKENS_KNOWN_MAX: usize = 64;

/// How long it is waited for that a manager which was unlocked serves: Docker's patience.
const SERVES_WITHIN: Duration = Duration::from_secs(20);

/// Opens a locked manager's key file, for a local user.
pub(super) type Unlocks =
    Arc<dyn Fn(u32, UnlockKey) -> BoxFuture<'static, Result<(), Failure>> + Send + Sync>;

/// Says whether a user of this machine may.
pub(super) type Admits = Arc<dyn Fn(u32) -> Result<(), Failure> + Send + Sync>;

/// What is kept between requests.
#[derive(Clone)]
pub(super) struct Desk {
    made: MadeKeys,
    tokens: Arc<Mutex<BTreeMap<(Principal, &'static str), ShownToken>>>,
    unlocks: Unlocks,
    pub(super) admits: Admits,
}

/// A join token that was shown, and the request that it was made by.
#[derive(Clone)]
struct ShownToken {
    request_key: [u8; 16],
    id: String,
}

impl Desk {
    pub(super) fn new(calls: impl LocalCalls) -> Self {
        let of_uids = calls.clone();
        let unlocks = move |uid: u32, key: UnlockKey| -> BoxFuture<'static, _> {
            let calls = calls.clone();
            Box::pin(async move {
                calls.admits(uid)?;
                let seed = bytes::Bytes::copy_from_slice(key.expose_seed());
                calls.unlock(uid, pb::UnlockRequest { seed }).await.map(drop)
            })
        };
        Self {
            made: MadeKeys::default(),
            tokens: Arc::default(),
            unlocks: Arc::new(unlocks),
            admits: Arc::new(move |uid| of_uids.admits(uid)),
        }
    }

    /// Whether a user of this machine may use the manager's own sockets.
    pub(super) fn admits(&self, uid: u32) -> Result<(), Failure> {
        (self.admits)(uid)
    }

    /// One that does nothing, for tests.
    #[cfg(test)]
    pub(super) fn idle() -> Self {
        let unlocks = |_, _| -> BoxFuture<'static, _> { Box::pin(std::future::pending()) };
        Self {
            made: MadeKeys::default(),
            tokens: Arc::default(),
            unlocks: Arc::new(unlocks),
            admits: Arc::new(|_| Ok(())),
        }
    }

    fn known(&self, whose: (Principal, &'static str)) -> Option<ShownToken> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(&whose).cloned()
    }

    fn note(&self, whose: (Principal, &'static str), token: ShownToken) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= TOKENS_KNOWN_MAX {
            tokens.pop_first();
        }
        tokens.insert(whose, token);
    }

    /// A join token: the one that this caller was shown before while it is good, else another one.
    async fn token(
        &self,
        (serving, caller): (&Serving, Caller),
        role: &'static str,
        alive: &[pb::JoinTokenInfo],
    ) -> Result<String, Problem> {
        let whose = (caller.principal(), role);
        let known = self.known(whose).filter(|known| is_good(known, alive));
        let again = known.and_then(|known| {
            serving.service.token_again(caller.principal(), known.request_key, &known.id)
        });
        if let Some(token) = again {
            return Ok(token);
        }
        let request_key = seal::random::<16>();
        let request = pb::CreateJoinTokenRequest {
            request_key: request_key.to_vec().into(),
            role: role.into(),
            ..pb::CreateJoinTokenRequest::default()
        };
        let made = serving.service.route(caller, request).await?;
        self.note(whose, ShownToken { request_key, id: made.id });
        Ok(made.token)
    }
}

fn is_good(known: &ShownToken, alive: &[pb::JoinTokenInfo]) -> bool {
    let end = now().0 + TOKEN_LEFT_MS_MIN;
    let is_it = |token: &pb::JoinTokenInfo| token.id == known.id;
    alive.iter().any(|token| is_it(token) && token.uses_left > 0 && token.expires_at > end)
}

/// What of a swarm can be configured with Docker. Here most of it is fixed.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Spec {
    name: String,
    #[serde(deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    orchestration: Orchestration,
    #[serde(deserialize_with = "or_default")]
    raft: RaftSpec,
    #[serde(deserialize_with = "or_default")]
    dispatcher: Dispatcher,
    #[serde(rename = "CAConfig", deserialize_with = "or_default")]
    ca: CaConfig,
    #[serde(deserialize_with = "or_default")]
    task_defaults: BTreeMap<String, Value>,
    #[serde(deserialize_with = "or_default")]
    encryption_config: Encryption,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Orchestration {
    task_history_retention_limit: Option<i64>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RaftSpec {
    snapshot_interval: u64,
    keep_old_snapshots: Option<u64>,
    log_entries_for_slow_followers: u64,
    election_tick: i64,
    heartbeat_tick: i64,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Dispatcher {
    heartbeat_period: i64,
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct CaConfig {
    node_cert_expiry: i64,
    #[serde(
        rename = "ExternalCAs",
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    external: Vec<Value>,
    #[serde(rename = "SigningCACert", skip_serializing)]
    signing_cert: Secretive,
    #[serde(rename = "SigningCAKey", skip_serializing)]
    signing_key: Secretive,
    #[serde(skip_serializing_if = "is_zero")]
    force_rotate: u64,
}

/// A text that is not looked at: it may be a private key.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Option<de::IgnoredAny>")]
struct Secretive(bool);

impl From<Option<de::IgnoredAny>> for Secretive {
    fn from(text: Option<de::IgnoredAny>) -> Self {
        Self(text.is_some())
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Encryption {
    auto_lock_managers: bool,
}

impl Spec {
    /// As the cluster is configured. What there is no such thing of is 0.
    pub(super) fn of(status: &pb::ClusterStatus) -> Self {
        Self {
            name: "default".into(),
            orchestration: Orchestration {
                task_history_retention_limit: i64::try_from(HISTORY_MAX).ok(),
            },
            ca: CaConfig {
                force_rotate: status.ca_rotation.as_ref().map_or(0, |rotation| rotation.number),
                ..CaConfig::default()
            },
            encryption_config: Encryption { auto_lock_managers: status.autolock },
            ..Self::default()
        }
    }

    /// What is to change for another one.
    pub(super) fn changes(&self, new: &Self) -> Result<Changes, Problem> {
        // What is left out stays.
        let limit = new.orchestration.task_history_retention_limit;
        let fixed = [
            (new.name.is_empty() || new.name == self.name, "the name of a swarm"),
            (new.labels == self.labels, "labels of a swarm"),
            (
                limit.is_none() || new.orchestration == self.orchestration,
                "how many finished tasks are kept",
            ),
            (new.raft == self.raft, "when snapshots are made, and the timing of Raft"),
            (new.dispatcher == self.dispatcher, "how often nodes are heard of"),
            (new.ca.node_cert_expiry == self.ca.node_cert_expiry, "how long certificates live"),
            (new.ca.external.is_empty(), "who signs certificates"),
            (new.task_defaults.is_empty(), "defaults of tasks"),
        ];
        if let Some((_, what)) = fixed.iter().find(|(is_same, _)| !is_same) {
            return Err(Problem::unimplemented(&format!("secretd does not change {what}")));
        }
        if new.ca.signing_cert.0 || new.ca.signing_key.0 {
            let text =
                "secretd takes no CA from outside: docker swarm ca --rotate makes another one";
            return Err(Problem::unimplemented(text));
        }
        let (was, is) = (self.encryption_config, new.encryption_config);
        Ok(Changes {
            autolock: (was != is).then_some(is.auto_lock_managers),
            // A count that clients raise: an older one is of a rotation that was made meanwhile.
            rotates_ca: new.ca.force_rotate > self.ca.force_rotate,
        })
    }
}

/// What an update asks for that can be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Changes {
    autolock: Option<bool>,
    rotates_ca: bool,
}

/// How an update is asked for.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Update {
    version: String,
    rotate_worker_token: String,
    rotate_manager_token: String,
    rotate_manager_unlock_key: String,
}

/// Whether another CA takes the place of the present one.
pub(super) fn rotates(status: &pb::ClusterStatus) -> bool {
    status.ca_rotation.as_ref().is_some_and(|rotation| rotation.ended_at == 0)
}

/// What clients compare certificates by.
pub(super) fn tls_info(anchor: &TlsAnchor) -> Value {
    json!({
        "TrustRoot": pem(&anchor.certificate),
        "CertIssuerSubject": base64(&anchor.subject),
        "CertIssuerPublicKey": base64(&anchor.public_key),
    })
}

pub(super) fn base64(bytes: &[u8]) -> String {
    let mut text = vec![0; Base64::encoded_len(bytes)];
    // The place is as long as it says.
    Base64::encode(bytes, &mut text).unwrap_or_default().to_owned()
}

fn pem(der: &[u8]) -> String {
    let mut text = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let encoded = base64(der);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text + "-----END CERTIFICATE-----\n"
}

/// The swarm as an object, without join tokens.
pub(super) fn cluster(status: &pb::ClusterStatus, anchor: &TlsAnchor) -> Value {
    json!({
        "ID": encode(&status.realm),
        // It counts the changes of what can be changed over this API and is compared.
        "Version": { "Index": status.recipients_generation },
        "CreatedAt": time(status.created_at),
        "UpdatedAt": time(status.created_at),
        "Spec": Spec::of(status),
        "TLSInfo": tls_info(anchor),
        "RootRotationInProgress": rotates(status),
        "DefaultAddrPool": null,
        "SubnetSize": 0,
        "DataPathPort": 0,
    })
}

/// How the cluster stands, as far as the caller may know.
pub(super) async fn status_of(
    serving: &Serving,
    caller: Caller,
) -> Result<pb::ClusterStatus, Problem> {
    let service = &serving.service;
    service.authorise(caller, CallName::GetClusterStatus)?;
    Ok(service.get_cluster_status(caller, pb::GetClusterStatusRequest {}).await?)
}

/// An answer with something secret in it: nothing of it is kept for another one.
fn confidential(status: StatusCode, body: &impl Serialize) -> Response {
    let mut response = answered(status, body);
    let headers = response.headers_mut();
    super::answer::uncached(headers);
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// `GET /swarm`. It shows join tokens, so they are made here if there are none that are good.
pub(super) async fn inspect(State(front): State<Front>) -> Result<Response, Problem> {
    let (serving, caller) = front.serving().await?;
    let status = status_of(&serving, caller).await?;
    let mut shown = cluster(&status, &serving.service.tls_anchor()?);
    let mut tokens = json!({ "Worker": "", "Manager": "" });
    if serving.service.may(caller, CallName::CreateJoinToken) {
        let alive = serving.service.route(caller, pb::ListJoinTokensRequest {}).await?.tokens;
        let by = (&*serving, caller);
        tokens = json!({
            "Worker": front.desk.token(by, "agent", &alive).await?,
            "Manager": front.desk.token(by, "manager", &alive).await?,
        });
    }
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("JoinTokens".into(), tokens);
    }
    Ok(confidential(StatusCode::OK, &shown))
}

/// `GET /swarm/unlockkey`.
pub(super) async fn unlock_key(State(front): State<Front>) -> Result<Response, Problem> {
    let (serving, caller) = front.serving().await?;
    let key = serving.service.shown_unlock_key(caller, &front.desk.made).await?;
    let key = key.as_ref().map_or("", |key| key.as_str());
    Ok(confidential(StatusCode::OK, &json!({ "UnlockKey": key })))
}

/// `POST /swarm/…`.
pub(super) async fn post(
    State(front): State<Front>,
    Path(route): Path<String>,
    Query(update): Query<Update>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    match route.as_str() {
        "update" => self::update(&front, &update, &headers, body).await,
        "unlock" => unlock(&front, &headers, body).await,
        "init" | "join" => Err(not_made_here(&front.stage.phase())),
        "leave" => Err(not_left_here(&front.stage.phase())),
        _ => Err(Problem::page_not_found()),
    }
}

/// Why a cluster is neither made nor joined over this API.
fn not_made_here(phase: &Phase) -> Problem {
    match phase {
        Phase::Serving(_) => Problem::unavailable(
            "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and \
             join another one.",
        ),
        Phase::Empty => Problem::unimplemented(
            "on this machine: secretctl cluster init, or secretctl cluster join ADDRESS --token -",
        ),
        other => Problem::of_phase(other),
    }
}

fn not_left_here(phase: &Phase) -> Problem {
    match phase {
        Phase::Serving(_) => Problem::unavailable(
            "You are attempting to leave the swarm on a node that is participating as a manager. On \
             this machine: \"secretctl cluster leave\".",
        ),
        other => Problem::of_phase(other),
    }
}

async fn update(
    front: &Front,
    update: &Update,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (serving, caller) = front.serving().await?;
    let Ok(version) = update.version.parse::<u64>() else {
        return Err(Problem::invalid(format!("invalid swarm version '{}'", update.version)));
    };
    let new: Spec = body::read_up_to(SWARM_BYTES_MAX, headers, body).await?;
    let status = status_of(&serving, caller).await?;
    if status.recipients_generation != version {
        return Err(Problem::out_of_sequence());
    }
    let changes = Spec::of(&status).changes(&new)?;
    let service = &serving.service;
    let rotates_key = is_true(&update.rotate_manager_unlock_key) && status.autolock;
    let change = match changes.autolock {
        Some(true) => Some(pb::LockingChange::On),
        Some(false) => {
            service.stop_locking(caller, version).await.map_err(moved)?;
            None
        }
        None => rotates_key.then_some(pb::LockingChange::Rotate),
    };
    if let Some(change) = change {
        let made = &front.desk.made;
        service.lock_with_made_key(caller, made, change, version).await.map_err(moved)?;
    }
    if changes.rotates_ca {
        let request_key = seal::random::<16>().to_vec().into();
        let request = pb::RotateCaRequest { request_key, drop_missing: false };
        service.route(caller, request).await?;
    }
    for (asked, role) in
        [(&update.rotate_worker_token, "agent"), (&update.rotate_manager_token, "manager")]
    {
        if is_true(asked) {
            revoke_tokens(&serving, caller, role).await?;
        }
    }
    Ok(empty(StatusCode::OK))
}

/// Somebody else changed it meanwhile.
fn moved(failure: Failure) -> Problem {
    if failure.kind == Kind::Conflict { Problem::out_of_sequence() } else { failure.into() }
}

/// Ends every token that admits in a role: with Docker there is one, which is no good any more.
async fn revoke_tokens(serving: &Serving, caller: Caller, role: &str) -> Result<(), Problem> {
    let alive = serving.service.route(caller, pb::ListJoinTokensRequest {}).await?.tokens;
    for token in alive.into_iter().filter(|token| token.role == role) {
        let request_key = seal::random::<16>().to_vec().into();
        let request = pb::RevokeJoinTokenRequest { request_key, id: token.id };
        match serving.service.route(caller, request).await {
            // It ended by itself.
            Err(failure) if failure.kind != Kind::NotFound => return Err(failure.into()),
            _ => {}
        }
    }
    Ok(())
}

/// What is typed to unlock a manager: it goes straight among the keys in memory.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Unlocking {
    unlock_key: Typed,
}

enum Typed {
    Key(UnlockKey),
    Malformed(String),
}

impl Default for Typed {
    fn default() -> Self {
        Self::of("")
    }
}

impl Typed {
    fn of(text: &str) -> Self {
        UnlockKey::parse(text.as_bytes())
            .map_or_else(|error| Self::Malformed(error.to_string()), Self::Key)
    }
}

impl<'de> Deserialize<'de> for Typed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Typed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an unlock key")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Typed, E> {
                Ok(Typed::of(text))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// Opens this manager: for its own machine only.
async fn unlock(front: &Front, headers: &HeaderMap, body: Body) -> Result<Response, Problem> {
    match front.stage.phase() {
        Phase::Locked(_) => {}
        Phase::Serving(_) => return Err(Problem::conflict("swarm is not locked")),
        other => return Err(Problem::of_phase(&other)),
    }
    let Peer::Local { uid } = front.peer else {
        return Err(Problem::forbidden("only the manager's own machine may unlock it"));
    };
    let typed: Unlocking = body::read_up_to(SWARM_BYTES_MAX, headers, body).await?;
    let key = match typed.unlock_key {
        Typed::Key(key) => key,
        Typed::Malformed(why) => {
            return Err(Problem::invalid(format!("invalid key string: {why}")));
        }
    };
    (front.desk.unlocks)(uid, key).await.map_err(|failure| match failure.kind {
        Kind::Denied => Problem::wrong_key(failure),
        _ => failure.into(),
    })?;
    await_serving(&front.stage).await?;
    Ok(empty(StatusCode::OK))
}

/// Waits until what was unlocked has read its log.
async fn await_serving(stage: &Stage) -> Result<(), Problem> {
    let serves = stage.until(|phase| !matches!(phase, Phase::Locked(_) | Phase::Starting));
    match tokio::time::timeout(SERVES_WITHIN, serves).await {
        Ok(Phase::Serving(_)) => Ok(()),
        _ => Err(Problem::of_phase(&stage.phase())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> pb::ClusterStatus {
        pb::ClusterStatus { realm: vec![1; 16].into(), ..Default::default() }
    }

    /// What comes of the shown spec with one field changed.
    fn changed(path: &str, value: Value) -> Result<Changes, String> {
        let before = Spec::of(&status());
        let mut shown = json!(before);
        let mut at = &mut shown;
        for key in path.split('.') {
            at = &mut at[key];
        }
        *at = value;
        let new: Spec = serde_json::from_value(shown).unwrap();
        before.changes(&new).map_err(|problem| problem.message().to_owned())
    }

    #[test]
    fn what_can_be_changed_is_and_the_rest_is_refused() {
        let nothing = Changes { autolock: None, rotates_ca: false };
        assert_eq!(changed("Labels", json!(null)), Ok(nothing));
        let locked = Changes { autolock: Some(true), rotates_ca: false };
        assert_eq!(changed("EncryptionConfig.AutoLockManagers", json!(true)), Ok(locked));
        assert_eq!(changed("Name", json!("")), Ok(Changes { autolock: None, rotates_ca: false }));
        let left_out = changed("Orchestration.TaskHistoryRetentionLimit", json!(null));
        assert_eq!(left_out, Ok(Changes { autolock: None, rotates_ca: false }));
        let rotates = Changes { autolock: None, rotates_ca: true };
        assert_eq!(changed("CAConfig.ForceRotate", json!(1)), Ok(rotates));
        for (path, value, said) in [
            ("Name", json!("other"), "the name of a swarm"),
            ("Labels", json!({ "a": "b" }), "labels of a swarm"),
            ("Orchestration.TaskHistoryRetentionLimit", json!(3), "finished tasks"),
            ("Raft.SnapshotInterval", json!(500), "snapshots"),
            ("Raft.KeepOldSnapshots", json!(2), "snapshots"),
            ("Dispatcher.HeartbeatPeriod", json!(9), "heard of"),
            ("CAConfig.NodeCertExpiry", json!(9), "certificates live"),
            ("CAConfig.ExternalCAs", json!([{ "URL": "https://ca" }]), "who signs"),
            ("CAConfig.SigningCAKey", json!("-----BEGIN"), "no CA from outside"),
            ("TaskDefaults", json!({ "LogDriver": { "Name": "x" } }), "defaults of tasks"),
        ] {
            let refused = changed(path, value).unwrap_err();
            assert!(refused.contains(said), "{path}: {refused}");
        }
    }

    #[test]
    fn a_token_is_shown_again_while_it_is_good() {
        let known = ShownToken { request_key: [1; 16], id: "t1".into() };
        let token = |id: &str, uses_left, left_ms: u64| pb::JoinTokenInfo {
            id: id.into(),
            uses_left,
            expires_at: now().0 + left_ms,
            ..Default::default()
        };
        let long = 2 * TOKEN_LEFT_MS_MIN;
        assert!(is_good(&known, &[token("t0", 1, long), token("t1", 1, long)]));
        for other in [token("t0", 1, long), token("t1", 0, long), token("t1", 1, 1_000)] {
            assert!(!is_good(&known, &[other]));
        }
        assert!(!is_good(&known, &[]), "it was revoked");
    }

    #[test]
    fn callers_whose_tokens_are_known_are_bounded() {
        let desk = Desk::idle();
        for uid in 0..=u32::try_from(TOKENS_KNOWN_MAX).unwrap() {
            let token = ShownToken { request_key: [1; 16], id: uid.to_string() };
            desk.note((Principal::Local { uid }, "agent"), token);
        }
        let last = u32::try_from(TOKENS_KNOWN_MAX).unwrap();
        assert_eq!(
            desk.known((Principal::Local { uid: last }, "agent")).unwrap().id,
            last.to_string()
        );
        assert_eq!(desk.tokens.lock().unwrap().len(), TOKENS_KNOWN_MAX);
    }

    #[test]
    fn an_unlock_key_is_read_or_said_to_be_none() {
        let read = |body: &str| serde_json::from_str::<Unlocking>(body).map(|body| body.unlock_key);
        let key = UnlockKey::make();
        let body = json!({ "UnlockKey": key.expose().as_str() }).to_string();
        assert!(matches!(read(&body).unwrap(), Typed::Key(read) if read.id() == key.id()));
        for none in [r#"{"UnlockKey":"SWMKEY-1-abc"}"#, r#"{"UnlockKey":""}"#, "{}"] {
            assert!(matches!(read(none).unwrap(), Typed::Malformed(_)), "{none}");
        }
        assert!(read(r#"{"UnlockKey":7}"#).is_err());
    }

    #[test]
    fn a_certificate_is_written_in_lines_of_64() {
        let text = pem(&[7; 100]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.first(), Some(&"-----BEGIN CERTIFICATE-----"));
        assert_eq!(lines.last(), Some(&"-----END CERTIFICATE-----"));
        assert_eq!(lines[1..4].iter().map(|line| line.len()).collect::<Vec<_>>(), [64, 64, 8]);
    }
}
