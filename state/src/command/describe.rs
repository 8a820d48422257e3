//! What a command is called, what it is about, and whether it makes the state larger.
//!
//! Not here: what it does (`apply`).

use super::{AdmitAgent, AdmitManager, Command, CreateToken};
use crate::object::ObjectId;

impl Command {
    /// The name in the audit and in metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::InitCluster(_) => "init_cluster",
            Self::CreateSecret(_) => "create_secret",
            Self::RotateSecret(_) => "rotate_secret",
            Self::RemoveSecret { .. } => "remove_secret",
            Self::CreateService { .. } => "create_service",
            Self::UpdateService { .. } => "update_service",
            Self::RemoveService { .. } => "remove_service",
            Self::RollBackService { .. } => "roll_back_service",
            Self::Plan(_) => "plan",
            Self::ReportTasks(_) => "report_tasks",
            Self::ReportNodes(_) => "report_nodes",
            Self::UpdateNode(_) => "update_node",
            Self::RemoveNode { .. } => "remove_node",
            Self::AdmitAgent(_) => "admit_agent",
            Self::AdmitManager(_) => "admit_manager",
            Self::IssueCertificate { .. } => "issue_certificate",
            Self::CreateToken(_) => "create_token",
            Self::RevokeToken { .. } => "revoke_token",
            Self::AddOperator(_) => "add_operator",
            Self::EnrollOperator { .. } => "enroll_operator",
            Self::RemoveOperator { .. } => "remove_operator",
            Self::AcknowledgeKeys { .. } => "acknowledge_keys",
            Self::SetMemberState { .. } => "set_member_state",
            Self::SetMemberAddress { .. } => "set_member_address",
            Self::RemoveMember { .. } => "remove_member",
            Self::RecordDenials(_) => "record_denials",
            Self::RaiseLevel { .. } => "raise_level",
            Self::CheckDigest { .. } => "check_digest",
            Self::AddTransitKey { .. } => "add_transit_key",
            Self::RetireTransitKey { .. } => "retire_transit_key",
            Self::SetQuota { .. } => "set_quota",
            Self::RotateLogKeys => "rotate_log_keys",
            Self::AcknowledgeLogKey { .. } => "acknowledge_log_key",
            Self::SetRecipients { .. } => "set_recipients",
            Self::ProveSlot { .. } => "prove_slot",
            Self::AnnounceRoot { .. } => "announce_root",
            Self::AcknowledgeRoot { .. } => "acknowledge_root",
            Self::ActivateRoot { .. } => "activate_root",
            Self::Rewrap(_) => "rewrap",
            Self::RetireRoot { .. } => "retire_root",
            Self::AcknowledgeRootDestroyed { .. } => "acknowledge_root_destroyed",
            Self::ShredSecret { .. } => "shred_secret",
            Self::BeginIncarnation(_) => "begin_incarnation",
            Self::Boot(command) => command.name(),
            Self::ReadBack(command) => command.name(),
            Self::RecordBackup { .. } => "record_backup",
            Self::ForgetBackup { .. } => "forget_backup",
            Self::RestoreCluster(_) => "restore_cluster",
            Self::BeginCaRotation(_) => "begin_ca_rotation",
            Self::NoteMoves(_) => "note_moves",
            Self::DropFormerCa => "drop_former_ca",
            Self::BeginCertificateRotation => "begin_certificate_rotation",
            Self::CutFormerCertificates => "cut_former_certificates",
            Self::CreateConfig(_) => "create_config",
            Self::UpdateConfigLabels { .. } => "update_config_labels",
            Self::RemoveConfig { .. } => "remove_config",
            Self::CreateNetwork(_) => "create_network",
            Self::RemoveNetwork { .. } => "remove_network",
            Self::RecordExec { .. } => "exec_task",
        }
    }

    /// What the command is about, as far as it says: what the audit names when it was refused.
    pub const fn object(&self) -> ObjectId {
        match self {
            Self::CreateSecret(secret) => ObjectId::Secret(secret.id),
            Self::RotateSecret(secret) => ObjectId::Secret(secret.id),
            Self::RemoveSecret { id, .. } | Self::ShredSecret { id } => ObjectId::Secret(*id),
            Self::CreateService { id, .. }
            | Self::UpdateService { id, .. }
            | Self::RemoveService { id }
            | Self::RollBackService { id, .. } => ObjectId::Service(*id),
            Self::UpdateNode(update) => ObjectId::Node(update.id),
            Self::RemoveNode { id, .. } => ObjectId::Node(*id),
            Self::AdmitAgent(AdmitAgent { token_id, .. })
            | Self::AdmitManager(AdmitManager { token_id, .. })
            | Self::EnrollOperator { token_id, .. }
            | Self::CreateToken(CreateToken { id: token_id, .. })
            | Self::RevokeToken { id: token_id } => ObjectId::Token(*token_id),
            Self::IssueCertificate { serial, .. } => ObjectId::Certificate(*serial),
            Self::AddOperator(operator) => ObjectId::Operator(operator.id),
            Self::RemoveOperator { id } => ObjectId::Operator(*id),
            Self::AcknowledgeKeys { member, .. }
            | Self::SetMemberState { member, .. }
            | Self::SetMemberAddress { member, .. }
            | Self::RemoveMember { member, .. }
            | Self::AcknowledgeRoot { member, .. }
            | Self::AcknowledgeRootDestroyed { member, .. }
            | Self::AcknowledgeLogKey { member, .. } => ObjectId::Member(*member),
            Self::CreateConfig(config) => ObjectId::Config(config.id),
            Self::UpdateConfigLabels { id, .. } | Self::RemoveConfig { id, .. } => {
                ObjectId::Config(*id)
            }
            Self::CreateNetwork(network) => ObjectId::Network(network.id),
            Self::RemoveNetwork { id } => ObjectId::Network(*id),
            Self::RecordExec { task } => ObjectId::Task(*task),
            Self::Boot(command) => command.object(),
            Self::InitCluster(_)
            | Self::Plan(_)
            | Self::ReportTasks(_)
            | Self::ReportNodes(_)
            | Self::RecordDenials(_)
            | Self::RaiseLevel { .. }
            | Self::CheckDigest { .. }
            | Self::AddTransitKey { .. }
            | Self::RetireTransitKey { .. }
            | Self::SetQuota { .. }
            | Self::RotateLogKeys
            | Self::SetRecipients { .. }
            | Self::ReadBack(_)
            | Self::ProveSlot { .. }
            | Self::AnnounceRoot { .. }
            | Self::ActivateRoot { .. }
            | Self::Rewrap(_)
            | Self::RetireRoot { .. }
            | Self::BeginIncarnation(_)
            | Self::RecordBackup { .. }
            | Self::ForgetBackup { .. }
            | Self::RestoreCluster(_)
            | Self::BeginCaRotation(_)
            | Self::NoteMoves(_)
            | Self::DropFormerCa
            | Self::BeginCertificateRotation
            | Self::CutFormerCertificates => ObjectId::Cluster,
        }
    }

    /// Whether the command makes the state larger: refused while a disk is nearly full, when
    /// removals, statuses and rotation still pass.
    pub const fn grows(&self) -> bool {
        matches!(
            self,
            Self::CreateSecret(_)
                | Self::RotateSecret(_)
                | Self::CreateService { .. }
                | Self::UpdateService { .. }
                | Self::AdmitAgent(_)
                | Self::AdmitManager(_)
                | Self::CreateToken(_)
                | Self::AddOperator(_)
                | Self::CreateNetwork(_)
                | Self::CreateConfig(_)
                | Self::UpdateConfigLabels { .. }
        )
    }
}
