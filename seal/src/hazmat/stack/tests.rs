//! Every primitive, run on a stack that was painted: what is below its caller afterwards.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::*;
use super::{DEEP_BYTES, DEEPEST_BYTES, SHALLOW_BYTES, black_box};

const PAINT: u8 = 0xa5;

/// Far more than any primitive uses.
const PAINTED_BYTES: usize = 256 << 10;

/// What a primitive's own frame and that of `wiped` take: they hold pointers and lengths.
const FRAMES_BYTES: usize = 512;

/// What `overwrite` leaves below the part that it overwrites: a pointer or two.
const LEFT_BYTES: usize = 32;

#[inline(never)]
#[expect(clippy::large_stack_arrays, reason = "the stack is what is painted")]
fn paint() {
    let mut area = [PAINT; PAINTED_BYTES];
    black_box(&mut area);
}

/// Runs a primitive, says where its caller's frame is, and stands still, touching no stack, until
/// that is taken away again.
#[inline(never)]
fn stand(primitive: &dyn Fn(), place: &AtomicU64) {
    paint();
    primitive();
    let mark = 0_u8;
    place.store((&raw const mark).addr() as u64, Ordering::SeqCst);
    while place.load(Ordering::SeqCst) != 0 {
        core::hint::spin_loop();
    }
}

/// What is on the stack below the frame that called a primitive, the nearest byte first.
fn below(primitive: impl Fn() + Sync) -> Vec<u8> {
    let place = AtomicU64::new(0);
    let mut bytes = vec![0; PAINTED_BYTES - 1024];
    std::thread::scope(|scope| {
        scope.spawn(|| stand(&primitive, &place));
        let mut mark = 0;
        while mark == 0 {
            std::thread::yield_now();
            mark = place.load(Ordering::SeqCst);
        }
        let from = mark - bytes.len() as u64;
        let read = File::open("/proc/self/mem").unwrap().read_exact_at(&mut bytes, from);
        place.store(0, Ordering::SeqCst);
        read.unwrap();
    });
    bytes.reverse();
    bytes
}

fn assert_wiped(name: &str, wiped_bytes: usize, primitive: impl Fn() + Sync) {
    let bytes = below(primitive);
    let (wiped, deeper) = bytes.split_at(wiped_bytes);
    let is_left = |byte: &&u8| **byte != 0 && **byte != PAINT;
    let unwiped = wiped[FRAMES_BYTES..].iter().filter(|byte| **byte != 0).count();
    assert_eq!(unwiped, 0, "{name}: this part of the stack is overwritten");
    let left = deeper.iter().filter(is_left).count();
    assert!(left <= LEFT_BYTES, "{name}: it went deeper than what is overwritten: {left} bytes");
}

fn discard<T>(made: T) {
    drop(black_box(made));
}

#[test]
fn what_any_primitive_put_on_the_stack_is_overwritten() {
    let key = [7; KEY_BYTES];
    let salt = [8; KEY_BYTES];
    let public = public_key_of(&key);
    assert_wiped("sha256", SHALLOW_BYTES, || discard(sha256(&[&key, &salt])));
    assert_wiped("hmac_sha256", SHALLOW_BYTES, || discard(hmac_sha256(&key, &salt)));
    assert_wiped("hkdf", SHALLOW_BYTES, || hkdf(&key, &salt, &mut [0; KEY_BYTES]));
    assert_wiped("hkdf_of_two", SHALLOW_BYTES, || {
        hkdf_of_two(&salt, &key, &salt, &mut [0; KEY_BYTES]);
    });
    assert_wiped("xchacha_encrypt", SHALLOW_BYTES, || {
        discard(xchacha_encrypt(&key, &[1; NONCE_BYTES], &salt, &mut [3; 100]));
    });
    assert_wiped("xchacha_decrypt", SHALLOW_BYTES, || {
        discard(xchacha_decrypt(&key, &[1; NONCE_BYTES], &salt, &mut [3; 100], &[4; TAG_BYTES]));
    });
    assert_wiped("evaluate", SHALLOW_BYTES, || {
        evaluate([key, salt].iter(), 3, &mut [0; KEY_BYTES]);
    });
    assert_wiped("interpolate_at_zero", SHALLOW_BYTES, || {
        interpolate_at_zero(&[(1, &key), (2, &salt)], &mut [0; KEY_BYTES]);
    });
    assert_wiped("derive_key_pair", DEEP_BYTES, || discard(derive_key_pair(&key)));
    assert_wiped("public_key_of", DEEP_BYTES, || discard(public_key_of(&key)));
    assert_wiped("encapsulate", DEEP_BYTES, || {
        discard(encapsulate(&public, &salt, &mut [0; KEY_BYTES]));
    });
    assert_wiped("decapsulate", DEEP_BYTES, || {
        discard(decapsulate(&key, &public, &salt, &mut [0; KEY_BYTES]));
    });
    let costs = Costs { memory_kib: 64, passes: 3, lanes: 2 };
    assert_wiped("argon2id", DEEPEST_BYTES, || {
        discard(argon2id(costs, &key, &salt, &mut [0; KEY_BYTES]));
    });
}
