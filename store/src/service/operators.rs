//! Operators, and the audit.

use link::Failure;
use proto::convert::text;
use proto::id::OperatorId;
use proto::identity::{Caller, Role, Subject};
use proto::name::OperatorName;
use proto::{Kind, pb};
use state::Outcome;
use state::command::{AddOperator, Command};
use state::object::OperatorRole;

use super::secrets::unexpected;
use super::{Service, lookup, mark, parse_failure};

/// How long an operator has to enrol, in milliseconds.
const ENROL_WITHIN_MS: u64 = 24 * 3600 * 1000;

/// Audit records in one answer, unless asked for fewer.
const AUDIT_RECORDS: usize = 1_000;

impl Service {
    pub(super) async fn add_operator(
        &self,
        caller: Caller,
        request: pb::AddOperatorRequest,
    ) -> Result<pb::AddOperatorResponse, Failure> {
        let mark = mark(&caller, &request.request_key, &request)?;
        let name: OperatorName =
            text("name", &request.name).map_err(|error| parse_failure(&error))?;
        let role: OperatorRole = request.role.parse().map_err(|rule| {
            Failure::new(Kind::Invalid, format!("`{}` is not a role", request.role)).hint(rule)
        })?;
        let group = match request.group.as_str() {
            "" => name.clone(),
            group => text("group", group).map_err(|error| parse_failure(&error))?,
        };
        let made = self.make_token(&mark, Role::Operator, ENROL_WITHIN_MS, 1)?;
        let expires_at = made.kept.expires_at;
        let id = OperatorId::from_entropy(seal::random());
        let add = AddOperator { id, name, role, group, token: made.kept };
        match self.propose(caller, Some(mark), Command::AddOperator(add)).await? {
            Outcome::Operator { id } => {
                let token = self.token_of_operator(id).unwrap_or(made.shown.id);
                Ok(pb::AddOperatorResponse {
                    id: id.to_string(),
                    token: self.shown(made.shown, &mark, token)?.reveal(),
                    expires_at: self.token_end(token).unwrap_or(expires_at).0,
                })
            }
            other => Err(unexpected(&other)),
        }
    }

    pub(super) async fn list_operators(
        &self,
        _: Caller,
        _: pb::ListOperatorsRequest,
    ) -> Result<pb::ListOperatorsResponse, Failure> {
        self.barrier().await?;
        let state = self.raft.machine.state();
        let operators = state.operators().iter().map(|(id, operator)| {
            let certificates = state.certificates().values();
            let newest = certificates
                .filter(|c| !c.revoked && c.subject == Subject::Operator(*id))
                .map(|c| c.not_after.0)
                .max();
            pb::OperatorInfo {
                id: id.to_string(),
                name: operator.name.to_string(),
                role: operator.role.as_str().into(),
                group: operator.group.to_string(),
                created_at: operator.created_at.0,
                enrolled: newest.is_some(),
                certificate_not_after: newest.unwrap_or(0),
            }
        });
        Ok(pb::ListOperatorsResponse { operators: operators.collect() })
    }

    pub(super) async fn remove_operator(
        &self,
        caller: Caller,
        request: pb::RemoveOperatorRequest,
    ) -> Result<pb::RemoveOperatorResponse, Failure> {
        self.barrier().await?;
        let mark = mark(&caller, &request.request_key, &request)?;
        let (id, name) = {
            let state = self.raft.machine.state();
            let (id, operator) = lookup::operator(&state, &request.operator)?;
            (id, operator.name.to_string())
        };
        self.propose(caller, Some(mark), Command::RemoveOperator { id }).await?;
        self.connections.cut(|subject| subject == Subject::Operator(id));
        Ok(pb::RemoveOperatorResponse { id: id.to_string(), name })
    }

    pub(super) async fn list_audit(
        &self,
        _: Caller,
        request: pb::ListAuditRequest,
    ) -> Result<pb::ListAuditResponse, Failure> {
        self.barrier().await?;
        let limit = match request.limit as usize {
            0 => AUDIT_RECORDS,
            limit => limit.min(AUDIT_RECORDS),
        };
        let state = self.raft.machine.state();
        let records = state.audit().records().filter(|(record, _)| record.index > request.after);
        let records = records.take(limit).map(|(record, chain)| pb::AuditRecord {
            index: record.index,
            at: record.at.0,
            caller: record.caller.to_string(),
            action: record.action.clone(),
            object: record.object.to_string(),
            outcome: match record.count {
                1 => record.outcome.clone(),
                count => format!("{} ({count} times)", record.outcome),
            },
            chain: chain.0.to_vec().into(),
        });
        Ok(pb::ListAuditResponse { records: records.collect() })
    }
}
