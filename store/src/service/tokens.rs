//! Join tokens: making, listing, ending them.
//!
//! A token's id and secret are derived from the request, so that a retry after a lost answer shows
//! the same one. The cluster keeps a hash of the secret, so a token outlives the root key that it was
//! derived from; showing it once more does not.

use std::sync::Arc;

use link::Failure;
use proto::id::{OperatorId, RequestKey, Timestamp, TokenId};
use proto::identity::{Caller, Principal, Role};
use proto::token::JoinToken;
use proto::{Kind, pb};
use seal::RootKey;
use state::Outcome;
use state::command::{Command, CreateToken};
use state::object::{Digest, RequestMark, Token};

use super::root_keys::no_root_key;
use super::secrets::unexpected;
use super::{Service, mark, now, parse_failure};

const HOUR_MS: u64 = 3600 * 1000;

/// The longest a token may live: a token on a wiki page is a way in.
const LIFE_MS_MAX: u64 = 30 * 24 * HOUR_MS;

/// The most a token may be used.
const USES_MAX: u32 = 1_000;

/// How long a token lives, and how often it is used, unless asked otherwise.
const fn defaults(role: Role) -> (u64, u32) {
    match role {
        Role::Agent => (24 * HOUR_MS, 100),
        Role::Manager | Role::Operator | Role::Boot => (HOUR_MS, 1),
    }
}

/// A token as it is shown once, and as it is kept.
pub(super) struct MadeToken {
    pub(super) shown: JoinToken,
    pub(super) kept: CreateToken,
}

impl Service {
    /// Makes the token of a request.
    pub(super) fn make_token(
        &self,
        mark: &RequestMark,
        role: Role,
        life_ms: u64,
        uses: u32,
    ) -> Result<MadeToken, Failure> {
        let cluster = self.cluster()?;
        let root = self.keyring.root(cluster.active_root).map_err(|_| no_root_key())?;
        let (id, secret) = root.derive_token(cluster.realm, mark.principal, mark.key);
        let kept = CreateToken {
            id,
            role,
            hash: Digest(seal::token_hash(cluster.realm, id, &secret)),
            expires_at: now().after_ms(life_ms),
            uses,
        };
        let ca_digest = cluster.authority.digest.0;
        let shown = JoinToken { id, role, realm: cluster.realm, ca_digest, secret };
        Ok(MadeToken { shown, kept })
    }

    /// The token of a request that made the one of this id: now, or when it was tried before. Then
    /// it may have been derived from a root key that is on its way out, or gone.
    pub(super) fn shown(
        &self,
        made: JoinToken,
        mark: &RequestMark,
        id: TokenId,
    ) -> Result<JoinToken, Failure> {
        let named = self.raft.machine.state().token(id).and_then(|token| token.authority);
        let ca_digest = named.map_or(made.ca_digest, |digest| digest.0);
        let made = JoinToken { ca_digest, ..made };
        again(made, mark, id, &self.keyring.roots()).ok_or_else(|| {
            Failure::new(Kind::Precondition, "the token was made, and cannot be shown any more")
                .because("the root key that it was derived from was rotated meanwhile")
                .hint(format!("revoke it, and make another: `secretctl cluster token rm {id}`"))
        })
    }

    pub(super) async fn create_join_token(
        &self,
        caller: Caller,
        request: pb::CreateJoinTokenRequest,
    ) -> Result<pb::CreateJoinTokenResponse, Failure> {
        let mark = mark(&caller, &request.request_key, &request)?;
        let role = match request.role.as_str() {
            "agent" => Role::Agent,
            "manager" => Role::Manager,
            other => {
                return Err(Failure::new(Kind::Invalid, format!("`{other}` does not join"))
                    .hint("a token is for an `agent` or a `manager`"));
            }
        };
        let (life_default, uses_default) = defaults(role);
        let life_ms =
            if request.expires_after_ms == 0 { life_default } else { request.expires_after_ms };
        let uses = if request.uses == 0 { uses_default } else { request.uses };
        if life_ms > LIFE_MS_MAX {
            return Err(Failure::new(Kind::Invalid, "a join token may live 30 days at most"));
        }
        if uses > USES_MAX || (role == Role::Manager && uses > 1) {
            return Err(Failure::new(Kind::Invalid, format!("{uses} uses are too many"))
                .hint("a manager's token is for one use, an agent's for 1000 at most"));
        }
        let made = self.make_token(&mark, role, life_ms, uses)?;
        let expires_at = made.kept.expires_at;
        let outcome = self.propose(caller, Some(mark), Command::CreateToken(made.kept)).await?;
        let Outcome::Token { id } = outcome else { return Err(unexpected(&outcome)) };
        let shown = self.shown(made.shown, &mark, id)?;
        // A retry made no second token: what counts is the first one's end.
        let expires_at = self.token_end(id).unwrap_or(expires_at);
        Ok(pb::CreateJoinTokenResponse {
            id: id.to_string(),
            token: shown.reveal(),
            expires_at: expires_at.0,
            uses,
        })
    }

    /// A join token that was made for a request of this caller's, shown again without anything being
    /// proposed: none if it is not that request's, or the root key that it was derived from is gone.
    pub(crate) fn token_again(
        &self,
        principal: Principal,
        request_key: [u8; 16],
        id: &str,
    ) -> Option<String> {
        let id: TokenId = id.parse().ok()?;
        let cluster = self.cluster().ok()?;
        let state = self.raft.machine.state();
        let token = state.token(id)?;
        let key = RequestKey::from_bytes(request_key);
        let roots = self.keyring.roots();
        let mut derived = roots.iter().map(|root| root.derive_token(cluster.realm, principal, key));
        let (id, secret) = derived.find(|(derived, _)| *derived == id)?;
        let ca_digest = token.authority.unwrap_or(cluster.authority.digest).0;
        let shown = JoinToken { id, role: token.role, realm: cluster.realm, ca_digest, secret };
        Some(shown.reveal())
    }

    /// The token that enrols an operator, while it lives.
    pub(super) fn token_of_operator(&self, operator: OperatorId) -> Option<TokenId> {
        let state = self.raft.machine.state();
        let mut tokens = state.tokens().iter();
        tokens.find(|(_, token)| token.operator == Some(operator)).map(|(id, _)| *id)
    }

    pub(super) fn token_end(&self, id: TokenId) -> Option<Timestamp> {
        self.raft.machine.state().token(id).map(|token| token.expires_at)
    }

    pub(super) async fn list_join_tokens(
        &self,
        _: Caller,
        _: pb::ListJoinTokensRequest,
    ) -> Result<pb::ListJoinTokensResponse, Failure> {
        self.barrier().await?;
        let at = now();
        let state = self.raft.machine.state();
        let admits =
            |token: &Token| token.expires_at > at && token.uses_left > 0 && state.leads_here(token);
        let alive = state.tokens().iter().filter(|(_, token)| admits(token));
        let tokens = alive.map(|(id, token)| pb::JoinTokenInfo {
            id: id.to_string(),
            role: token.role.to_string(),
            created_at: token.created_at.0,
            expires_at: token.expires_at.0,
            uses_left: token.uses_left,
            created_by: token.created_by.to_string(),
        });
        Ok(pb::ListJoinTokensResponse { tokens: tokens.collect() })
    }

    pub(super) async fn revoke_join_token(
        &self,
        caller: Caller,
        request: pb::RevokeJoinTokenRequest,
    ) -> Result<pb::RevokeJoinTokenResponse, Failure> {
        let mark = mark(&caller, &request.request_key, &request)?;
        let id = proto::convert::text("id", &request.id).map_err(|error| parse_failure(&error))?;
        self.propose(caller, Some(mark), Command::RevokeToken { id }).await?;
        Ok(pb::RevokeJoinTokenResponse {})
    }
}

/// The token of this id that a request made: as derived now, or from one of these root keys.
fn again(
    made: JoinToken,
    mark: &RequestMark,
    id: TokenId,
    roots: &[Arc<RootKey>],
) -> Option<JoinToken> {
    if made.id == id {
        return Some(made);
    }
    let mut derived =
        roots.iter().map(|root| root.derive_token(made.realm, mark.principal, mark.key));
    let (id, secret) = derived.find(|(derived, _)| *derived == id)?;
    Some(JoinToken { id, secret, ..made })
}

#[cfg(test)]
mod tests {
    use proto::id::{Realm, RequestKey};
    use proto::identity::Principal;

    use super::*;

    #[test]
    fn a_retry_shows_the_first_token_for_as_long_as_its_root_key_is_there() {
        let realm = Realm::from_bytes([1; 16]);
        let mark = RequestMark {
            principal: Principal::Local { uid: 0 },
            key: RequestKey::from_bytes([2; 16]),
            digest: Digest([3; 32]),
        };
        let (old, new) = (Arc::new(RootKey::make()), Arc::new(RootKey::make()));
        let of = |root: &RootKey| {
            let (id, secret) = root.derive_token(realm, mark.principal, mark.key);
            JoinToken { id, role: Role::Agent, realm, ca_digest: [4; 32], secret }
        };
        let first = of(&old);
        let shown = |roots: &[Arc<RootKey>]| again(of(&new), &mark, first.id, roots);
        let during = shown(&[old.clone(), new.clone()]).expect("it is derived from the old one");
        assert_eq!(during.reveal(), of(&old).reveal());
        assert!(shown(std::slice::from_ref(&new)).is_none(), "another token is not shown for it");
        let same = again(of(&new), &mark, of(&new).id, &[]).expect("nothing was rotated");
        assert_eq!(same.id, of(&new).id);
    }
}
