//! The CA's rotation: making the next one, and what every side is told of the CAs there are.
//!
//! Not here: when it goes on (state), who is told (service, manager).

use std::collections::BTreeMap;

use link::certificate;
use link::trust::{Authorities, Bridge};
use proto::id::{KeyId, Timestamp};
use proto::pb;
use rustls_pki_types::CertificateDer;
use seal::SigningKeyDer;
use state::object::{Blob, Cluster, TransitKey};
use state::{BeginCaRotation, State};

use super::{CA_LIFE_MS, CaError, Founded, announce, found};
use crate::keys::Keyring;

fn der(blob: &Blob) -> CertificateDer<'static> {
    CertificateDer::from(blob.0.to_vec())
}

/// Makes the CA that is to take the place of a cluster's.
pub(crate) fn succeed(
    keyring: &Keyring,
    cluster: &Cluster,
    now: Timestamp,
) -> Result<BeginCaRotation, CaError> {
    let present_key = keyring.ca_key(&cluster.authority)?;
    let root = keyring.root(cluster.active_root)?;
    let Founded { authority, key } = found(cluster.realm, &root, now)?;
    let public_key = certificate::public_key_of(&authority.certificate.0)?;
    let former = der(&cluster.authority.certificate);
    let not_after = now.after_ms(CA_LIFE_MS);
    let bridge = certificate::make_bridge(&former, &present_key, &public_key, now, not_after)?;
    let sign = |(id, transit): (&KeyId, &TransitKey)| {
        Ok::<_, CaError>((*id, announce(cluster.realm, *id, transit, &key)?))
    };
    Ok(BeginCaRotation {
        from: cluster.authority.digest,
        authority,
        bridge: Blob(bridge.to_vec().into()),
        signatures: cluster.transit_keys.iter().map(sign).collect::<Result<_, _>>()?,
    })
}

/// Has every CA that somebody goes by sign a transit key.
pub(crate) fn sign_by_all(
    state: &State,
    keyring: &Keyring,
    id: KeyId,
    transit: &mut TransitKey,
) -> Result<(), CaError> {
    let Some(cluster) = state.cluster() else { return Ok(()) };
    let mut signatures = BTreeMap::new();
    for authority in state.authorities() {
        let key: SigningKeyDer = keyring.ca_key(authority)?;
        signatures.insert(authority.digest, announce(cluster.realm, id, transit, &key)?);
    }
    transit.signatures = Some(signatures);
    Ok(())
}

/// The CAs of a cluster; none before its first command.
pub(crate) fn authorities(state: &State) -> Option<Authorities> {
    let cluster = state.cluster()?;
    let rotations = state.ca_rotations();
    let bridge = match (&rotations.rotation, &rotations.former) {
        (Some(rotation), _) => Some((&rotation.bridge, &cluster.authority.certificate)),
        (None, Some(former)) => Some((&former.bridge, &former.certificate)),
        (None, None) => None,
    };
    Some(Authorities {
        trusted: state.authorities().map(|authority| der(&authority.certificate)).collect(),
        bridge: bridge
            .map(|(bridge, former)| Bridge { certificate: der(bridge), former: der(former) }),
    })
}

/// The CAs, as they are told to whoever enrols.
pub(crate) fn told(authorities: &Authorities) -> pb::Authorities {
    let bytes = |der: &CertificateDer<'_>| bytes::Bytes::copy_from_slice(der);
    let bridge = authorities.bridge.as_ref();
    pb::Authorities {
        trusted: authorities.trusted.iter().map(bytes).collect(),
        bridge: bridge.map(|bridge| bytes(&bridge.certificate)).unwrap_or_default(),
        former: bridge.map(|bridge| bytes(&bridge.former)).unwrap_or_default(),
    }
}

/// The CAs, as they were told. From a manager that the handshake has vouched for; the CA that signed
/// the certificate beside them stands for all where nothing is said.
pub(crate) fn heard(enrolled: &pb::Enrolled) -> Authorities {
    let der = |bytes: &bytes::Bytes| CertificateDer::from(bytes.to_vec());
    let Some(told) = enrolled.authorities.as_ref().filter(|told| !told.trusted.is_empty()) else {
        return Authorities::first(der(&enrolled.ca_certificate));
    };
    let is_there = !told.bridge.is_empty() && !told.former.is_empty();
    Authorities {
        trusted: told.trusted.iter().take(2).map(der).collect(),
        bridge: is_there
            .then(|| Bridge { certificate: der(&told.bridge), former: der(&told.former) }),
    }
}
