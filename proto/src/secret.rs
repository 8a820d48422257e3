//! Messages that hold a secret in clear: what `Debug` shows of them.
//!
//! Messages are shown by whoever traces a call, so the generated `Debug` is left out for these
//! (`tests/generated.rs`) and written here. Not here: wiping; the programs' allocator does that.

use core::fmt;

use crate::pb;

impl fmt::Debug for pb::UnlockRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnlockRequest")
    }
}

impl fmt::Debug for pb::EnterShareRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnterShareRequest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_not_shown() {
        let request = pb::UnlockRequest { seed: vec![0xa5; 32].into() };
        assert_eq!(format!("{request:?}"), "UnlockRequest");
        let request = pb::EnterShareRequest { share: b"SECSHARE-1-".to_vec().into() };
        assert_eq!(format!("{request:?}"), "EnterShareRequest");
    }
}
