//! The encoding is injective, and every kind stands in the table.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proto::identity::Subject;

use super::*;

/// Decodes what [`Encoder`] writes: domain, then fields with their tags.
fn decode(encoded: &[u8]) -> Option<Vec<(u8, Vec<u8>)>> {
    fn field<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
        let (tag, after) = rest.split_first()?;
        let (length, after) = after.split_first_chunk::<4>()?;
        let (bytes, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        *rest = after;
        Some((*tag, bytes))
    }
    let mut rest = encoded;
    let mut fields = vec![field(&mut rest).map(|(tag, bytes)| (tag, bytes.to_vec()))?];
    let (format, after) = rest.split_first_chunk::<2>()?;
    assert_eq!(u16::from_be_bytes(*format), FORMAT);
    rest = after;
    while !rest.is_empty() {
        fields.push(field(&mut rest).map(|(tag, bytes)| (tag, bytes.to_vec()))?);
    }
    Some(fields)
}

/// One context of each kind, its fields filled from a small pool so that values recur.
#[expect(clippy::too_many_lines, reason = "a table: one entry for each kind")]
fn samples(n: u8) -> Vec<Context<'static>> {
    let realm = Realm::from_bytes([n; 16]);
    let incarnation = Incarnation(n.into());
    let member = MemberId(u64::from(n) + 1);
    let disk = Disk { realm, incarnation, member };
    let payload_id = PayloadId::from_bytes([n; 16]);
    let key_id = KeyId::from_bytes([n; 16]);
    let node_id = NodeId::from_entropy([n; 17]);
    let secret_id = SecretId::from_entropy([n; 17]);
    let task_id = TaskId::from_entropy([n; 17]);
    let digest: &'static [u8; 32] = Box::leak(Box::new([n; 32]));
    let name: &'static FoldedName =
        Box::leak(Box::new(format!("n{n}").parse::<proto::name::SecretName>().unwrap().folded()));
    let short: &'static [u8; 16] = Box::leak(Box::new([n; 16]));
    let eight: &'static [u8; 8] = Box::leak(Box::new([n; 8]));
    let principal = Principal::Subject(Subject::Agent(node_id));
    let (version, number, index) = (Version(n.into()), u64::from(n), u64::from(n));
    let (term, leader, generation) = (u64::from(n), member, u64::from(n));
    vec![
        Context::Payload { realm, payload_id },
        Context::TransitSetup { realm, transit_key_id: key_id, principal },
        Context::TransitDek {
            realm,
            transit_key_id: key_id,
            payload_id,
            ciphertext_digest: digest,
            operation: if n.is_multiple_of(2) { Operation::Create } else { Operation::Rotate },
            name,
            principal,
        },
        Context::StoredDek { realm, secret_id, version, payload_id, ciphertext_digest: digest },
        Context::CaKey { realm, ca_digest: digest },
        Context::TransitKey { realm, transit_key_id: key_id },
        Context::TransitAnnouncement {
            realm,
            transit_key_id: key_id,
            public_key: digest,
            not_after_ms: number,
        },
        Context::LogRecord { disk, term, leader, index },
        Context::Head { disk, block: number },
        Context::Meta { disk, name: name.as_str() },
        Context::SnapshotChunk { disk, snapshot: short, number, last: n.is_multiple_of(2) },
        Context::KeyFile { disk, generation, header_digest: digest },
        Context::KeyFileSlot { disk, generation, slot_key_id: key_id },
        Context::Session {
            realm,
            incarnation,
            node_id,
            certificate_key_digest: digest,
            session_id: SessionId::from_bytes([n; 16]),
            session_public_key: digest,
        },
        Context::Delivery {
            message_number: number,
            task_id,
            secret_id,
            version,
            payload_id,
            ciphertext_digest: digest,
        },
        Context::RootFetch { realm, incarnation, member, public_key: digest },
        Context::BackupKey {
            realm,
            incarnation,
            backup_id: BackupId::from_bytes([n; 16]),
            copy_digest: digest,
            way: if n.is_multiple_of(2) { BackupWay::Out } else { BackupWay::In },
            public_key: digest,
        },
        Context::RootKey { root_key_id: key_id },
        Context::Token { realm, token_id: TokenId::from_entropy([n; 17]) },
        Context::TokenRequest { realm, principal, request_key: RequestKey::from_bytes([n; 16]) },
        Context::Share { split: eight, number, needed: number, of: number },
        Context::SentUnlockKey { realm, transit_key_id: key_id, unlock_key_id: key_id, principal },
        Context::SentCompareTag { realm, transit_key_id: key_id, secret_id, version, principal },
        Context::KeptUnlockKey { realm, unlock_key_id: key_id },
        Context::ReadBack { realm, unlock_key_id: key_id, principal, public_key: digest },
        Context::BootFile { disk },
        Context::PeerKey { realm, member, peer_key_id: key_id },
        Context::PeerBox { disk, generation, peer_key_id: key_id },
        Context::PeerSlot { disk, generation },
        Context::Release {
            disk,
            generation,
            boot_key_digest: digest,
            box_digest: digest,
            public_key: digest,
            nonce: digest,
            grant: number,
        },
        Context::SameNode { realm, node_id, agent_key_digest: digest },
        Context::ChainLink { previous: digest, term, leader, index },
    ]
}

#[test]
fn every_context_encodes_to_itself_alone() {
    let mut seen: BTreeMap<Vec<u8>, (u8, usize)> = BTreeMap::new();
    for n in 0..50 {
        for (kind, context) in samples(n).iter().enumerate() {
            let clash = seen.insert(context.encode(), (n, kind));
            assert_eq!(clash, None, "{}", context.domain());
        }
    }
}

#[test]
fn every_kind_has_its_own_domain_and_stands_in_the_table() {
    let table = include_str!("../../../docs/design/contexts.md");
    let contexts = samples(1);
    let domains: std::collections::BTreeSet<_> = contexts.iter().map(Context::domain).collect();
    assert_eq!(domains.len(), contexts.len());
    for context in &contexts {
        let fields = decode(&context.encode()).unwrap().len() - 1;
        let row = table.lines().find(|l| l.starts_with(&format!("| `{}` |", context.domain())));
        let row = row.unwrap_or_else(|| panic!("{} is not in the table", context.domain()));
        let listed = row.split('|').nth(2).unwrap().split(',').count();
        assert_eq!(listed, fields, "{row}");
    }
    assert_eq!(table.lines().filter(|l| l.starts_with("| `secretd ")).count(), contexts.len());
}

proptest! {
    #[test]
    fn the_encoding_is_injective(
        one in prop::collection::vec((1_u8..=3, prop::collection::vec(any::<u8>(), 0..6)), 0..5),
        other in prop::collection::vec((1_u8..=3, prop::collection::vec(any::<u8>(), 0..6)), 0..5),
    ) {
        let encode = |fields: &[(u8, Vec<u8>)]| {
            let mut encoder = Encoder::new("domain");
            for (tag, bytes) in fields {
                encoder.field(*tag, bytes);
            }
            encoder.out
        };
        let decoded = decode(&encode(&one)).unwrap();
        prop_assert_eq!(&decoded[1..], &one[..]);
        prop_assert_eq!(encode(&one) == encode(&other), one == other);
    }
}
