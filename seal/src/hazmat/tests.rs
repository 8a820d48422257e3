//! Known answers: the primitives do what their standards say (vectors in tests/data).

use proto::hex;
use serde_json::Value;

use super::hpke_base::receive_and_export;
use super::*;

fn vectors(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn tests(vectors: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    let groups = vectors["testGroups"].as_array().unwrap().iter();
    groups.flat_map(|group| group["tests"].as_array().unwrap().iter().map(move |t| (group, t)))
}

fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap().as_bytes();
    text.chunks(2).map(|pair| hex::decode::<1>(str::from_utf8(pair).unwrap()).unwrap()[0]).collect()
}

fn is_valid(test: &Value) -> bool {
    test["result"] == "valid"
}

#[test]
fn xchacha20_poly1305_agrees_with_wycheproof() {
    let vectors = vectors(include_str!("../../tests/data/wycheproof_xchacha20_poly1305_test.json"));
    let mut run = 0;
    for (group, test) in tests(&vectors) {
        // Nonces of other lengths cannot be expressed here: the type is 24 bytes.
        if group["ivSize"] != 192 {
            assert!(!is_valid(test));
            continue;
        }
        let key: [u8; 32] = bytes(&test["key"]).try_into().unwrap();
        let nonce: [u8; 24] = bytes(&test["iv"]).try_into().unwrap();
        let (aad, message, ciphertext) =
            (bytes(&test["aad"]), bytes(&test["msg"]), bytes(&test["ct"]));
        let tag: [u8; 16] = bytes(&test["tag"]).try_into().unwrap();
        let mut buffer = ciphertext.clone();
        let opened = xchacha_decrypt(&key, &nonce, &aad, &mut buffer, &tag);
        assert_eq!(opened.is_ok(), is_valid(test), "{test}");
        if is_valid(test) {
            assert_eq!(buffer, message, "{test}");
            let made = xchacha_encrypt(&key, &nonce, &aad, &mut buffer);
            assert_eq!((buffer, made), (ciphertext, tag), "{test}");
        }
        run += 1;
    }
    assert!(run > 200, "{run} vectors were run");
}

#[test]
fn hkdf_sha256_agrees_with_wycheproof() {
    let vectors = vectors(include_str!("../../tests/data/wycheproof_hkdf_sha256_test.json"));
    let (mut run, mut ours) = (0, 0);
    for (_, test) in tests(&vectors) {
        let (ikm, salt, info) = (bytes(&test["ikm"]), bytes(&test["salt"]), bytes(&test["info"]));
        let mut okm = vec![0; usize::try_from(test["size"].as_u64().unwrap()).unwrap()];
        let expanded = ::hkdf::Hkdf::<sha2::Sha256>::new(Some(&salt), &ikm).expand(&info, &mut okm);
        assert_eq!(expanded.is_ok(), is_valid(test), "{test}");
        if is_valid(test) {
            assert_eq!(okm, bytes(&test["okm"]), "{test}");
            // Our own use: an empty salt and a key of 32 bytes.
            if let (true, Ok(key)) = (salt.is_empty(), ikm.try_into()) {
                let mut okm = vec![0; okm.len()];
                hkdf(&key, &info, &mut okm);
                assert_eq!(okm, bytes(&test["okm"]), "{test}");
                ours += 1;
            }
        }
        run += 1;
    }
    assert!(run > 80 && ours > 0, "{run} vectors were run, {ours} of our form");
}

#[test]
fn x25519_agrees_with_wycheproof() {
    let vectors = vectors(include_str!("../../tests/data/wycheproof_x25519_test.json"));
    let mut run = 0;
    for (_, test) in tests(&vectors) {
        let public: [u8; 32] = bytes(&test["public"]).try_into().unwrap();
        let private: [u8; 32] = bytes(&test["private"]).try_into().unwrap();
        let shared = x25519_dalek::x25519(private, public);
        assert_eq!(shared.to_vec(), bytes(&test["shared"]), "{test}");
        run += 1;
    }
    assert!(run > 500, "{run} vectors were run");
}

#[test]
fn public_keys_that_agree_on_zero_are_refused() {
    // RFC 9180 §7.1.4: the all-zero shared secret must be rejected.
    let mut key = [0; 32];
    assert!(encapsulate(&[0; 32], b"", &mut key).is_err());
    assert!(decapsulate(&[7; 32], &[0; 32], b"", &mut key).is_err());
}

#[test]
fn hpke_agrees_with_rfc_9180() {
    let vector = vectors(include_str!("../../tests/data/rfc9180_a2_1.json"));
    let array = |name: &str| -> [u8; 32] { bytes(&vector[name]).try_into().unwrap() };
    let (private, public) = derive_key_pair(&array("ikmR"));
    // The library keeps private keys clamped (RFC 7748 §5); the RFC prints them as derived.
    let mut clamped = array("skRm");
    clamped[0] &= 0xf8;
    clamped[31] = clamped[31] & 0x7f | 0x40;
    assert_eq!((**private, public), (clamped, array("pkRm")));
    assert_eq!(public_key_of(&private), public);
    for export in vector["exports"].as_array().unwrap() {
        let label = bytes(&export["exporter_context"]);
        let mut exported = [0; 32];
        receive_and_export(&private, &array("enc"), &bytes(&vector["info"]), &label, &mut exported)
            .unwrap();
        assert_eq!(exported.to_vec(), bytes(&export["exported_value"]));
    }
}

#[test]
fn both_ends_of_an_encapsulation_export_one_key() {
    let (private, public) = derive_key_pair(&[7; 32]);
    let (mut sent, mut received) = ([0; 32], [0; 32]);
    let encapsulated = encapsulate(&public, b"info", &mut sent).unwrap();
    decapsulate(&private, &encapsulated, b"info", &mut received).unwrap();
    assert_eq!(sent, received);
    decapsulate(&private, &encapsulated, b"other", &mut received).unwrap();
    assert_ne!(sent, received);
}

#[test]
fn every_bit_of_a_ciphertext_counts() {
    let key = [7; 32];
    let sealed = encrypt(&key, KeyId::from_bytes([3; 16]), b"context", &[b"plain", b"text"]);
    let open = |sealed: &[u8], context: &[u8]| {
        decrypt_in_place(&key, context, &mut sealed.to_vec()).map(|opened| opened.to_vec())
    };
    assert_eq!(open(&sealed, b"context").unwrap(), b"plaintext");
    assert!(open(&sealed, b"contexT").is_err());
    for bit in 0..8 * sealed.len() {
        let mut flipped = sealed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(&flipped, b"context"), Err(OpenError), "bit {bit}");
    }
    for length in 0..sealed.len() {
        assert_eq!(open(&sealed[..length], b"context"), Err(OpenError), "{length} bytes");
    }
    assert_eq!(key_id_of(&sealed), Some(KeyId::from_bytes([3; 16])));
    assert_eq!(key_id_of(&sealed[..10]), None);
}

#[test]
fn no_nonce_is_used_twice() {
    let seal = || encrypt(&[7; 32], KeyId::from_bytes([0; 16]), b"", &[b"same"]);
    let nonces: std::collections::BTreeSet<_> =
        (0..100).map(|_| seal()[AUTHENTICATED_HEADER_BYTES..HEADER_BYTES].to_vec()).collect();
    assert_eq!(nonces.len(), 100);
}

#[test]
fn argon2id_agrees_with_rfc_9106_and_the_reference_implementation() {
    let vectors = vectors(include_str!("../../tests/data/argon2id.json"));
    let number = |value: &Value| u32::try_from(value.as_u64().unwrap()).unwrap();
    let costs = |vector: &Value| Costs {
        memory_kib: number(&vector["memory_kib"]),
        passes: number(&vector["passes"]),
        lanes: number(&vector["lanes"]),
    };
    // The RFC's vector has a secret and associated data, which are not used here.
    let vector = &vectors["rfc9106"];
    let Costs { memory_kib, passes, lanes } = costs(vector);
    let params = argon2::ParamsBuilder::new()
        .m_cost(memory_kib)
        .t_cost(passes)
        .p_cost(lanes)
        .data(argon2::AssociatedData::new(&bytes(&vector["data"])).unwrap())
        .output_len(KEY_BYTES)
        .build()
        .unwrap();
    let secret = bytes(&vector["secret"]);
    let mut tag = [0; KEY_BYTES];
    let mut memory = vec![argon2::Block::new(); params.block_count()];
    argon2::Argon2::new_with_secret(
        &secret,
        argon2::Algorithm::Argon2id,
        argon2::Version::V0x13,
        params,
    )
    .unwrap()
    .hash_password_into_with_memory(
        &bytes(&vector["password"]),
        &bytes(&vector["salt"]),
        &mut tag,
        &mut memory[..],
    )
    .unwrap();
    assert_eq!(tag.to_vec(), bytes(&vector["tag"]));

    let reference = vectors["reference"].as_array().unwrap();
    assert_eq!(reference.len(), 7);
    for vector in reference {
        let text = |name: &str| vector[name].as_str().unwrap().as_bytes();
        let mut tag = [0; KEY_BYTES];
        argon2id(costs(vector), text("password"), text("salt"), &mut tag).unwrap();
        assert_eq!(tag.to_vec(), bytes(&vector["tag"]), "{vector}");
    }
}
