//! The field of 256 elements of FIPS 197 (section 4) and secret sharing over it (A. Shamir, "How to
//! share a secret", 1979), byte by byte.
//!
//! No table and no branch depends on a value: a product is eight masked additions, an inverse a
//! fixed chain of products.

use super::{KEY_BYTES, stack};

/// What the field's polynomial x⁸ + x⁴ + x³ + x + 1 leaves of x⁸.
const REDUCTION: u8 = 0x1b;

/// All ones if the lowest bit is set, else zero. The compiler is not told that there are only two.
fn mask(bit: u8) -> u8 {
    core::hint::black_box(bit & 1).wrapping_neg()
}

/// `a · b`.
pub(super) fn multiply(a: u8, b: u8) -> u8 {
    let (mut product, mut shifted) = (0, a);
    for bit in 0..8 {
        product ^= shifted & mask(b >> bit);
        shifted = shifted << 1 ^ REDUCTION & mask(shifted >> 7);
    }
    product
}

/// `a⁻¹ = a²⁵⁴`; zero for zero.
pub(super) fn inverse(a: u8) -> u8 {
    let mut power = a;
    for _ in 0..6 {
        power = multiply(multiply(power, power), a);
    }
    multiply(power, power)
}

/// The polynomials' values at `x`, one polynomial a byte: `polynomials[i]` are the coefficients of
/// xⁱ. `values` start at zero.
pub(crate) fn evaluate<'a>(
    polynomials: impl DoubleEndedIterator<Item = &'a [u8; KEY_BYTES]>,
    x: u8,
    values: &mut [u8; KEY_BYTES],
) {
    stack::wiped(|| {
        for coefficients in polynomials.rev() {
            for (value, coefficient) in values.iter_mut().zip(coefficients) {
                *value = multiply(*value, x) ^ coefficient;
            }
        }
    });
}

/// The values at zero of the polynomials that go through these points, as many as there are
/// coefficients (Lagrange). `values` start at zero; no two points have the same x, none has zero.
pub(crate) fn interpolate_at_zero(points: &[(u8, &[u8; KEY_BYTES])], values: &mut [u8; KEY_BYTES]) {
    stack::wiped(|| {
        for (x, known) in points {
            let others = points.iter().map(|(other, _)| *other).filter(|other| other != x);
            let weight = others
                .fold(1, |weight, other| multiply(weight, multiply(other, inverse(other ^ x))));
            for (value, known) in values.iter_mut().zip(*known) {
                *value ^= multiply(weight, *known);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the book: a product of polynomials, then the remainder.
    fn product_by_the_book(a: u8, b: u8) -> u8 {
        let mut product = 0_u16;
        for bit in 0..8 {
            if b & 1 << bit != 0 {
                product ^= u16::from(a) << bit;
            }
        }
        for bit in (8..15).rev() {
            if product & 1 << bit != 0 {
                product ^= 0x11b << (bit - 8);
            }
        }
        u8::try_from(product).unwrap()
    }

    #[test]
    fn products_agree_with_fips_197() {
        // Sections 4.2 and 4.2.1: {57}·{83} = {c1}, {57}·{13} = {fe}, and {57} doubled.
        for (by, product) in
            [(0x83, 0xc1), (0x13, 0xfe), (0x02, 0xae), (0x04, 0x47), (0x08, 0x8e), (0x10, 0x07)]
        {
            assert_eq!(multiply(0x57, by), product);
            assert_eq!(multiply(by, 0x57), product);
        }
        // Section 5.1.1: the S-box of {53} is {ed}, and is made of the inverse of {53}, {ca}.
        assert_eq!(inverse(0x53), 0xca);
        let affine = |b: u8| {
            b ^ b.rotate_left(1) ^ b.rotate_left(2) ^ b.rotate_left(3) ^ b.rotate_left(4) ^ 0x63
        };
        assert_eq!(affine(inverse(0x53)), 0xed);
        assert_eq!(affine(inverse(0x00)), 0x63);
    }

    #[test]
    fn every_product_and_every_inverse_is_right() {
        for a in 0..=u8::MAX {
            for b in 0..=u8::MAX {
                assert_eq!(multiply(a, b), product_by_the_book(a, b), "{a:02x} · {b:02x}");
            }
            assert_eq!(multiply(a, inverse(a)), u8::from(a != 0), "{a:02x}");
        }
    }

    #[test]
    fn one_share_of_two_is_any_byte_whatever_the_secret() {
        // Over all polynomials, each value of a share comes up once: it says nothing.
        for secret in 0..=u8::MAX {
            for x in [1, 2, 16, 255] {
                let mut seen = [false; 256];
                for slope in 0..=u8::MAX {
                    let mut share = [0; KEY_BYTES];
                    evaluate([[secret; 32], [slope; 32]].iter(), x, &mut share);
                    assert_eq!(share, [share[0]; 32]);
                    seen[usize::from(share[0])] = true;
                }
                assert!(seen.iter().all(|seen| *seen), "{secret} {x}");
            }
        }
    }

    #[test]
    fn two_shares_of_three_are_any_pair_whatever_the_secret() {
        for secret in [0, 1, 0x53, 0xff] {
            let mut seen = vec![false; 1 << 16];
            for slope in 0..=u8::MAX {
                for curve in 0..=u8::MAX {
                    let at = |x| multiply(multiply(curve, x) ^ slope, x) ^ secret;
                    seen[usize::from(at(3)) << 8 | usize::from(at(7))] = true;
                }
            }
            assert!(seen.iter().all(|seen| *seen), "{secret}");
        }
    }
}
