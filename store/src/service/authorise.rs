//! Authorisation: one table, role × call.
//!
//! Not here: `usable_by` of secrets, which depends on the object (state); by it a deployer rotates
//! only what it may deploy with. The whole table is
//! walked by a test.

use state::object::OperatorRole::{self, Admin, Auditor, Deployer, Writer};

macro_rules! table {
    ($($name:ident, $text:literal: $($role:ident)*;)*) => {
        /// A call of the operators, by name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum CallName {
            $($name,)*
        }

        impl CallName {
            /// Every call.
            #[cfg(test)]
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name in messages, the audit and when forwarding.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            const fn roles(self) -> &'static [OperatorRole] {
                match self { $(Self::$name => &[$($role,)*],)* }
            }
        }
    };
}

table! {
    GetTransitKey, "get_transit_key": Admin Deployer Writer;
    CreateSecret, "create_secret": Admin Deployer Writer;
    RotateSecret, "rotate_secret": Admin Deployer Writer;
    GetCompareKey, "get_compare_key": Admin Deployer;
    CompareSecret, "compare_secret": Admin Deployer;
    ListSecrets, "list_secrets": Admin Deployer Writer Auditor;
    GetSecret, "get_secret": Admin Deployer Writer Auditor;
    RemoveSecret, "remove_secret": Admin Writer;
    ListRemovedSecrets, "list_removed_secrets": Admin Deployer Writer Auditor;
    CreateConfig, "create_config": Admin Deployer;
    ListConfigs, "list_configs": Admin Deployer Writer Auditor;
    GetConfig, "get_config": Admin Deployer Writer Auditor;
    UpdateConfig, "update_config": Admin Deployer;
    RemoveConfig, "remove_config": Admin Deployer;
    CreateService, "create_service": Admin Deployer;
    UpdateService, "update_service": Admin Deployer;
    RemoveService, "remove_service": Admin Deployer;
    ListServices, "list_services": Admin Deployer Writer Auditor;
    GetService, "get_service": Admin Deployer Writer Auditor;
    ListTasks, "list_tasks": Admin Deployer Writer Auditor;
    StreamOutput, "stream_output": Admin Deployer;
    ExecTask, "exec_task": Admin Deployer;
    CreateNetwork, "create_network": Admin Deployer;
    ListNetworks, "list_networks": Admin Deployer Writer Auditor;
    RemoveNetwork, "remove_network": Admin Deployer;
    ListNodes, "list_nodes": Admin Deployer Writer Auditor;
    GetNode, "get_node": Admin Deployer Writer Auditor;
    UpdateNode, "update_node": Admin;
    RemoveNode, "remove_node": Admin;
    GetClusterStatus, "get_cluster_status": Admin Deployer Writer Auditor;
    RemoveMember, "remove_member": Admin;
    SetMemberAddress, "set_member_address": Admin;
    ReplaceMember, "replace_member": Admin;
    UpdateLocking, "update_locking": Admin;
    KeepUnlockKey, "keep_unlock_key": Admin;
    ForgetUnlockKey, "forget_unlock_key": Admin;
    ReadUnlockKey, "read_unlock_key": Admin;
    UpdatePeers, "update_peers": Admin;
    ApproveRelease, "approve_release": Admin;
    ClearAlarm, "clear_alarm": Admin;
    ListSlots, "list_slots": Admin;
    AddSlot, "add_slot": Admin;
    RemoveSlot, "remove_slot": Admin;
    ProveSlot, "prove_slot": Admin;
    CreateJoinToken, "create_join_token": Admin;
    ListJoinTokens, "list_join_tokens": Admin Auditor;
    RevokeJoinToken, "revoke_join_token": Admin;
    AddOperator, "add_operator": Admin;
    ListOperators, "list_operators": Admin Auditor;
    RemoveOperator, "remove_operator": Admin;
    ListAudit, "list_audit": Admin Auditor;
    RotateLogKeys, "rotate_log_keys": Admin;
    RotateRootKey, "rotate_root_key": Admin;
    RotateCa, "rotate_ca": Admin;
    RotateCertificates, "rotate_certificates": Admin;
    GetClusterKeys, "get_cluster_keys": Admin Auditor;
    BackUp, "back_up": Admin;
    ListBackups, "list_backups": Admin Auditor;
    ForgetBackup, "forget_backup": Admin;
}

/// Whether a role allows a call; nobody without a role may anything.
pub(crate) fn is_allowed(role: Option<OperatorRole>, call: CallName) -> bool {
    role.is_some_and(|role| call.roles().contains(&role))
}

/// The roles that allow a call, for people.
pub(crate) fn roles_for(call: CallName) -> String {
    call.roles().iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table once more, as its readers see it: who may do what, a line a role.
    #[test]
    fn the_table_is_what_the_documents_say() {
        let allowed = |role: OperatorRole| -> Vec<&str> {
            let calls = CallName::ALL.iter().filter(|call| is_allowed(Some(role), **call));
            calls.map(|call| call.as_str()).collect()
        };
        assert_eq!(allowed(Admin).len(), CallName::ALL.len(), "an admin may everything");
        let reading = [
            "list_secrets",
            "get_secret",
            "list_removed_secrets",
            "list_configs",
            "get_config",
            "list_services",
            "get_service",
            "list_tasks",
            "list_networks",
            "list_nodes",
            "get_node",
            "get_cluster_status",
        ];
        let expect = |role: OperatorRole, beside: &[&str]| {
            let mut expected: Vec<_> = reading.iter().chain(beside).copied().collect();
            let mut actual = allowed(role);
            expected.sort_unstable();
            actual.sort_unstable();
            assert_eq!(actual, expected, "{}", role.as_str());
        };
        expect(Writer, &["get_transit_key", "create_secret", "rotate_secret", "remove_secret"]);
        expect(
            Deployer,
            &[
                "get_transit_key",
                "create_secret",
                "rotate_secret",
                "get_compare_key",
                "compare_secret",
                "create_service",
                "update_service",
                "remove_service",
                "stream_output",
                "exec_task",
                "create_network",
                "remove_network",
                "create_config",
                "update_config",
                "remove_config",
            ],
        );
        expect(
            Auditor,
            &[
                "list_join_tokens",
                "list_operators",
                "list_audit",
                "get_cluster_keys",
                "list_backups",
            ],
        );
    }

    #[test]
    fn nobody_without_a_role_may_anything() {
        for call in CallName::ALL {
            assert!(!is_allowed(None, *call));
        }
    }
}
