//! One CA takes the place of another: who gets through, before, meanwhile and after.

use std::sync::Arc;

use proto::pb;
use rustls::{CertificateError, ClientConfig, ServerConfig};
use tokio::sync::watch;

use super::*;
use crate::certificate::{KeyPairDer, NewCertificate, issue, make_serial};
use crate::tls::tests::{
    CLUSTER, Ca, NOW, REALM, agent, calling_at, client_refused, manager, server_refused,
    serving_at, shake,
};
use crate::tls::{
    OwnCertificate, client_config, joiner_config, manager_config, noting_client_config, peer_config,
};

/// Two CAs, and what the one says of the other.
struct Turn {
    old: Ca,
    new: Ca,
    authorities: Authorities,
}

impl Turn {
    fn new() -> Self {
        let (old, new) = (Ca::new(), Ca::new());
        let bridge = Bridge { certificate: old.bridge_to(&new), former: old.certificate().clone() };
        let trusted = vec![old.certificate().clone(), new.certificate().clone()];
        let authorities = Authorities { trusted, bridge: Some(bridge) };
        Self { old, new, authorities }
    }

    /// As it is when the old one was dropped.
    fn after(&self) -> Authorities {
        let trusted = vec![self.new.certificate().clone()];
        Authorities { trusted, ..self.authorities.clone() }
    }

    fn shown(&self, (leaf, pair): (CertificateDer<'static>, KeyPairDer)) -> Arc<OwnCertificate> {
        OwnCertificate::of(leaf, &self.authorities, &pair.private).unwrap()
    }
}

fn serves(own: Arc<OwnCertificate>, trust: &Trust) -> Arc<ServerConfig> {
    serving_at(&manager_config(own, trust.clone(), CLUSTER).unwrap(), NOW)
}

fn calls(own: Arc<OwnCertificate>, trust: &Trust) -> Arc<ClientConfig> {
    let met = watch::Sender::new(CLUSTER.incarnation);
    calling_at(&peer_config(own, trust.clone(), CLUSTER, met).unwrap(), NOW)
}

/// A manager that lags, an agent that was down: they know the old CA and no other.
#[test]
fn who_trusts_the_old_ca_only_verifies_a_certificate_of_the_new_one() {
    let turn = Turn::new();
    let old_only = Trust::new([turn.old.certificate()]).unwrap();
    let moved = || turn.shown(turn.new.signs(manager()));
    shake(&calls(turn.old.own(manager()), &old_only), &serves(moved(), &old_only)).agreed();
    // The other way about: as a client.
    let lags = serves(turn.old.own(manager()), &old_only);
    shake(&calls(moved(), &old_only), &lags).agreed();
    // Without the bridge it is a stranger's.
    let bare = || turn.new.own(manager());
    let agent_of_old = calls(turn.old.own(agent()), &old_only);
    server_refused(&agent_of_old, &serves(bare(), &old_only), CertificateError::UnknownIssuer);
    client_refused(&calls(bare(), &old_only), &lags, CertificateError::UnknownIssuer);
}

#[test]
fn a_client_learns_that_its_ca_was_followed_by_another() {
    let turn = Turn::new();
    let met = |own: Arc<OwnCertificate>| {
        let bridged = watch::Sender::new(false);
        let seen = bridged.subscribe();
        let config =
            noting_client_config(turn.old.own(agent()), turn.old.certificate(), CLUSTER, bridged);
        let both = Trust::new(&turn.authorities.trusted).unwrap();
        shake(&calling_at(&config.unwrap(), NOW), &serves(own, &both)).agreed();
        *seen.borrow()
    };
    assert!(!met(turn.shown(turn.old.signs(manager()))), "a manager that has not moved");
    assert!(met(turn.shown(turn.new.signs(manager()))));
}

#[test]
fn tokens_of_either_ca_lead_to_a_manager_that_has_moved() {
    let turn = Turn::new();
    let both = Trust::new(&turn.authorities.trusted).unwrap();
    let moved = serves(turn.shown(turn.new.signs(manager())), &both);
    let joiner = |ca: &Ca| calling_at(&joiner_config(ca.digest(), REALM).unwrap(), NOW);
    shake(&joiner(&turn.old), &moved).agreed();
    shake(&joiner(&turn.new), &moved).agreed();
    server_refused(&joiner(&Ca::new()), &moved, CertificateError::UnknownIssuer);
    // A manager that has not moved cannot show that it is of the new one's cluster.
    let not_moved = serves(turn.shown(turn.old.signs(manager())), &both);
    shake(&joiner(&turn.old), &not_moved).agreed();
    server_refused(&joiner(&turn.new), &not_moved, CertificateError::UnknownIssuer);
}

/// The configurations stay the same: what they go by is exchanged.
#[test]
fn once_the_old_ca_is_dropped_its_certificates_are_refused_both_ways() {
    let turn = Turn::new();
    let trust = Trust::new([turn.old.certificate()]).unwrap();
    let server = |ca: &Ca| serves(turn.shown(ca.signs(manager())), &trust);
    let client = |ca: &Ca| calls(turn.shown(ca.signs(manager())), &trust);
    let (of_old, of_new) = (server(&turn.old), server(&turn.new));
    let (by_old, by_new) = (client(&turn.old), client(&turn.new));
    trust.replace(&turn.authorities.trusted).unwrap();
    for (client, server) in
        [(&by_old, &of_old), (&by_old, &of_new), (&by_new, &of_old), (&by_new, &of_new)]
    {
        shake(client, server).agreed();
    }
    trust.replace(&turn.after().trusted).unwrap();
    shake(&by_new, &of_new).agreed();
    server_refused(&by_new, &of_old, CertificateError::UnknownIssuer);
    client_refused(&by_old, &of_new, CertificateError::UnknownIssuer);
    // An agent that moved trusts the new one alone.
    let config = client_config(turn.new.own(agent()), turn.new.certificate(), CLUSTER).unwrap();
    let agent = calling_at(&config, NOW);
    shake(&agent, &of_new).agreed();
    server_refused(&agent, &of_old, CertificateError::UnknownIssuer);
}

#[test]
fn what_is_shown_with_a_certificate_follows_from_who_signed_it() {
    let turn = Turn::new();
    let (of_old, _) = turn.old.signs(manager());
    let (of_new, _) = turn.new.signs(manager());
    let bridge = turn.authorities.bridge.clone().unwrap();
    let over = vec![bridge.certificate, bridge.former];
    assert_eq!(turn.authorities.shown_with(&of_old), [turn.old.certificate().clone()]);
    assert_eq!(turn.authorities.shown_with(&of_new), over);
    assert_eq!(turn.after().shown_with(&of_new), over, "for tokens and contexts of before");
    let first = Authorities::first(turn.new.certificate().clone());
    assert_eq!(first.shown_with(&of_new), [turn.new.certificate().clone()]);
    assert_eq!(turn.after().issuer_of(&of_old), None);

    // What is shown changes while it serves; certificate and key stay.
    let old_only = Trust::new([turn.old.certificate()]).unwrap();
    let client = calls(turn.old.own(agent()), &old_only);
    let own = turn.new.own(manager());
    let server = serves(own.clone(), &old_only);
    server_refused(&client, &server, CertificateError::UnknownIssuer);
    own.show(&turn.authorities);
    shake(&client, &server).agreed();
}

/// Between the CA that is trusted and a leaf stands a CA that it signed, and nothing else.
#[test]
fn only_a_ca_that_the_trusted_one_signed_is_a_bridge() {
    let turn = Turn::new();
    let old_only = Trust::new([turn.old.certificate()]).unwrap();
    let client = calls(turn.old.own(agent()), &old_only);
    let refused =
        |leaf: (CertificateDer<'static>, KeyPairDer), bridge, former: &Ca, signer: &[u8]| {
            let bridge = Bridge { certificate: bridge, former: former.certificate().clone() };
            let trusted = vec![CertificateDer::from(signer.to_vec())];
            let authorities = Authorities { trusted, bridge: Some(bridge) };
            let own = OwnCertificate::of(leaf.0, &authorities, &leaf.1.private).unwrap();
            server_refused(&client, &serves(own, &old_only), CertificateError::UnknownIssuer);
        };
    // Another CA's word for itself.
    let other = Ca::new();
    let bridge = other.bridge_to(&turn.new);
    refused(turn.new.signs(manager()), bridge, &turn.old, turn.new.certificate());
    // A bridge to another CA than the one that signed.
    let bridge = turn.old.bridge_to(&other);
    refused(turn.new.signs(manager()), bridge, &turn.old, turn.new.certificate());
    // A certificate that is no CA's signs another.
    let (leaf, pair) = turn.old.signs(manager());
    let (public_key, key) = (certificate::make_key_pair().unwrap(), pair.private);
    let new = NewCertificate {
        identity: manager(),
        public_key: &public_key.public,
        serial: make_serial(),
        now: proto::id::Timestamp(NOW),
        not_after: proto::id::Timestamp(NOW + 1_000_000),
    };
    let forged = issue(&leaf, &key, &new).unwrap();
    refused((forged, public_key), leaf.clone(), &turn.old, &leaf);
    // A bridge's own bridge: its path ends at leaves.
    let (second, bridge) = (Ca::new(), turn.old.bridge_to(&turn.new));
    let further = turn.new.bridge_to(&second);
    let chain = Authorities {
        trusted: vec![second.certificate().clone()],
        bridge: Some(Bridge { certificate: further, former: bridge }),
    };
    let (leaf, pair) = second.signs(manager());
    let own = OwnCertificate::of(leaf, &chain, &pair.private).unwrap();
    server_refused(&client, &serves(own, &old_only), CertificateError::UnknownIssuer);
}

/// It is checked at the moment of the handshake, not at one of the leaf's own.
#[test]
fn a_bridge_that_has_ended_leads_nowhere() {
    let turn = Turn::new();
    let old_only = Trust::new([turn.old.certificate()]).unwrap();
    let client = calls(turn.old.own(agent()), &old_only);
    let over = |certificate| {
        let former = turn.old.certificate().clone();
        let bridge = Some(Bridge { certificate, former });
        let authorities = Authorities { bridge, ..turn.after() };
        let (leaf, pair) = turn.new.signs(manager());
        serves(OwnCertificate::of(leaf, &authorities, &pair.private).unwrap(), &old_only)
    };
    shake(&client, &over(turn.old.bridge_until(&turn.new, NOW + 1_000))).agreed();
    let ended = over(turn.old.bridge_until(&turn.new, NOW - 1_000));
    server_refused(&client, &ended, CertificateError::UnknownIssuer);
}

#[test]
fn a_ca_succeeds_another_by_that_ones_word_only() {
    let turn = Turn::new();
    let (old, new) = (turn.old.certificate(), turn.new.certificate());
    let bridge = turn.old.bridge_to(&turn.new);
    assert!(succeeds(old, &bridge, new));
    assert!(!succeeds(new, &bridge, new), "another signed it");
    assert!(!succeeds(new, &bridge, old), "the way back");
    assert!(!succeeds(old, &bridge, Ca::new().certificate()), "it is for another key");
    assert!(!succeeds(old, new, new), "its own word");
    let (leaf, _) = turn.old.signs(agent());
    assert!(!succeeds(old, &leaf, &leaf), "a leaf is no CA");
    assert!(!succeeds(old, b"", new) && !succeeds(b"", &bridge, new));
}

#[test]
fn authorities_are_kept_as_they_are() {
    let turn = Turn::new();
    let first = Authorities::first(turn.old.certificate().clone());
    for authorities in [first, turn.authorities.clone(), turn.after()] {
        let bytes = authorities.to_bytes();
        assert_eq!(Authorities::from_bytes(&bytes), Some(authorities));
        assert_eq!(Authorities::from_bytes(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Authorities::from_bytes(&[&bytes[..], b"x"].concat()), None);
    }
    let two = [&turn.old.certificate()[..], turn.new.certificate()].concat();
    assert_eq!(Authorities::from_bytes(&two), None, "two without a bridge");
    assert_eq!(Authorities::from_bytes(b""), None);
}

#[test]
fn a_pin_is_met_by_its_ca_or_by_the_one_that_succeeds_it() {
    let turn = Turn::new();
    let (old, new) = (turn.old.certificate(), turn.new.certificate());
    let told = |bridge: &[u8], former: &[u8]| pb::Authorities {
        trusted: vec![],
        bridge: bridge.to_vec().into(),
        former: former.to_vec().into(),
    };
    let over = told(&turn.old.bridge_to(&turn.new), old);
    assert!(is_pinned(old, None, &turn.old.digest()));
    assert!(is_pinned(new, Some(&over), &turn.new.digest()));
    assert!(is_pinned(new, Some(&over), &turn.old.digest()));
    assert!(!is_pinned(new, None, &turn.old.digest()), "nothing leads there");
    let other = Ca::new();
    let forged = told(&other.bridge_to(&turn.new), other.certificate());
    assert!(!is_pinned(new, Some(&forged), &turn.old.digest()), "it begins elsewhere");
    let forged = told(&other.bridge_to(&turn.new), old);
    assert!(!is_pinned(new, Some(&forged), &turn.old.digest()), "another signed it");
    assert!(!is_pinned(other.certificate(), Some(&over), &turn.old.digest()), "another CA");
}

/// Which one is refused is exchanged while it serves; others of its CA go on.
#[test]
fn a_certificate_that_is_refused_by_its_number_is_refused_both_ways() {
    let ca = Ca::new();
    let trust = Trust::new([ca.certificate()]).unwrap();
    let (leaked, fresh) = (ca.own(manager()), ca.own(manager()));
    let number = leaked.says().unwrap().serial;
    let [by_leaked, by_fresh] = [&leaked, &fresh].map(|own| calls(own.clone(), &trust));
    let [of_leaked, of_fresh] = [&leaked, &fresh].map(|own| serves(own.clone(), &trust));
    for (client, server) in [(&by_leaked, &of_fresh), (&by_fresh, &of_leaked)] {
        shake(client, server).agreed();
    }
    trust.refuse([number].into());
    assert_eq!(*trust.refused(), [number].into());
    client_refused(&by_leaked, &of_fresh, CertificateError::Revoked);
    server_refused(&by_fresh, &of_leaked, CertificateError::Revoked);
    shake(&by_fresh, &of_fresh).agreed();
    // It is refused though what is trusted changes.
    trust.replace([ca.certificate()]).unwrap();
    client_refused(&by_leaked, &of_fresh, CertificateError::Revoked);
    trust.refuse(BTreeSet::new());
    shake(&by_leaked, &of_fresh).agreed();
}
