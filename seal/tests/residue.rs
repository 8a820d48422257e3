//! What operators type leaves nothing behind in this process's memory.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests, which clippy does not take for tests"
)]

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use seal::{Gathering, Passphrase, PassphraseCosts, Share, Split, UnlockKey};
use zeroize::{Zeroize as _, Zeroizing};

const WINDOW: usize = 16;
const PIECE: usize = 1 << 20;
const MASK: u8 = 0xa5;

/// What is looked for, kept in another form than that.
struct Canary(Vec<u8>);

impl Canary {
    fn of(bytes: &[u8]) -> Self {
        Self(bytes.iter().map(|byte| byte ^ MASK).collect())
    }

    /// In how many places of this process's writable memory any 16 bytes of it stand.
    fn copies(&self) -> usize {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let memory = File::open("/proc/self/mem").unwrap();
        let mut buffer = vec![0; PIECE];
        let mut found = 0;
        for line in maps.lines() {
            let mut words = line.split(' ');
            let (range, permissions) = (words.next().unwrap(), words.next().unwrap());
            if !permissions.starts_with("rw") {
                continue;
            }
            let (from, to) = range.split_once('-').unwrap();
            let [from, to] = [from, to].map(|at| u64::from_str_radix(at, 16).unwrap());
            // Pieces overlap, so that no window is cut.
            for at in (from..to).step_by(PIECE - WINDOW) {
                let Ok(read) = memory.read_at(&mut buffer, at) else { break };
                found += self.copies_in(&buffer[..read]);
                // What was found is not to be found once more, in the buffer.
                buffer.zeroize();
                buffer.resize(PIECE, 0);
            }
        }
        found
    }

    fn copies_in(&self, memory: &[u8]) -> usize {
        let mut found = 0;
        for window in self.0.windows(WINDOW) {
            let first = window[0] ^ MASK;
            let places = memory.windows(WINDOW).filter(|at| {
                at[0] == first && at.iter().zip(window).all(|(byte, masked)| byte ^ MASK == *masked)
            });
            found += places.count();
        }
        found
    }
}

#[test]
fn passphrases_unlock_keys_and_shares_leave_nothing_in_memory() {
    // A planted copy is found, and is no more once it is wiped.
    let mut planted = Zeroizing::new(seal::random::<40>().to_vec());
    let control = Canary::of(&planted);
    assert!(control.copies() >= 1, "the search finds nothing");
    planted.zeroize();

    let typed = seal::make_passphrase();
    let canary = Canary::of(typed.as_bytes());
    let (costs, slot) =
        PassphraseCosts::make_slot(&Passphrase::parse(typed.as_bytes()).unwrap()).unwrap();
    let again = costs.slot(&Passphrase::parse(typed.as_bytes()).unwrap()).unwrap();
    assert_eq!(again.public(), slot.public());
    drop(typed);
    assert_eq!(canary.copies(), 0, "of a passphrase");

    let key = UnlockKey::make();
    let text = key.expose();
    let canary = Canary::of(text.as_bytes());
    let read = UnlockKey::parse(text.as_bytes()).unwrap();
    assert_eq!(read.id(), key.id());
    drop(text);
    assert_eq!(canary.copies(), 0, "of an unlock key's text");

    let split = Split::make(2, 3).unwrap();
    let mut gathering = Gathering::of(split.parameters.clone());
    let mut canaries = Vec::new();
    for share in &split.shares[1..] {
        let text = share.expose();
        canaries.push(Canary::of(text.as_bytes()));
        gathering.add(Share::parse(text.as_bytes()).unwrap()).unwrap();
    }
    assert!(gathering.combine(split.slot.public()).is_ok());
    for canary in canaries {
        assert_eq!(canary.copies(), 0, "of a share's text");
    }
}
