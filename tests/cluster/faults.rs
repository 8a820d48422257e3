//! Managers that are killed while clients write: what was acknowledged is there, once.
//!
//! The short forms run always; `SECRETD_FULL=1` makes them as long as a release wants them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tests::{Ctl, Lab, until};

use crate::PROGRAMS;

/// Clients that write at the same time.
pub(crate) const WRITERS: usize = 4;

/// The short form, or the full one if it was asked for.
pub(crate) fn form<T>(short: T, full: T) -> T {
    if std::env::var_os("SECRETD_FULL").is_some() { full } else { short }
}

/// Clients that create secrets, each at one manager, until they are told to stop.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<BTreeMap<String, String>>>,
    /// When the latest of those that were acknowledged had begun.
    begun: Arc<Mutex<Option<Instant>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn start(clients: Vec<Ctl>, value: &'static [u8]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(Mutex::new(BTreeMap::new()));
        let begun = Arc::new(Mutex::new(None));
        let number = Arc::new(AtomicUsize::new(0));
        let threads = clients.into_iter().map(|ctl| {
            let (stop, acknowledged, number) = (stop.clone(), acknowledged.clone(), number.clone());
            let latest = begun.clone();
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let began = Some(Instant::now());
                    let name = format!("s{}", number.fetch_add(1, Ordering::Relaxed));
                    let ran = ctl.run_with(&["create", &name, "-", "--timeout", "30s"], value);
                    // A manager that is down for now refuses the connection; that is no loss.
                    if ran.status == 0 {
                        acknowledged.lock().unwrap().insert(name, ran.stdout.trim().to_owned());
                        let mut latest = latest.lock().unwrap();
                        *latest = began.max(*latest);
                    }
                }
            })
        });
        let threads = threads.collect();
        Self { stop, acknowledged, begun, threads }
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Whether one that was begun after an instant was acknowledged.
    fn goes_on_after(&self, instant: Instant) -> bool {
        self.begun.lock().unwrap().is_some_and(|begun| begun > instant)
    }

    /// Waits for writes that were begun after this call: each writer has at most one under way.
    pub(crate) fn next(&self) {
        let wanted = self.count() + WRITERS + 1;
        until("the next acknowledged creates", || (self.count() >= wanted).then_some(()));
    }

    /// Waits for so many in all, however long it takes as long as it goes on.
    pub(crate) fn reach(&self, wanted: usize) {
        while self.count() < wanted {
            let now = self.count();
            until("another acknowledged create", || (self.count() > now).then_some(()));
        }
    }

    pub(crate) fn end(mut self) -> BTreeMap<String, String> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        std::mem::take(&mut self.acknowledged.lock().unwrap())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Every acknowledged create is there, under the id that was told, on every manager.
pub(crate) fn assert_all_there(lab: &Lab, acknowledged: &BTreeMap<String, String>) {
    for index in 0..lab.managers.len() {
        let listed = until("a manager lists", || {
            let ran = lab.ctl_of(index).run(&["ls", "--json"]);
            (ran.status == 0).then_some(ran.stdout)
        });
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let listed: Vec<(&str, &str)> = listed
            .as_array()
            .unwrap()
            .iter()
            .map(|secret| (secret["name"].as_str().unwrap(), secret["id"].as_str().unwrap()))
            .collect();
        let by_name: BTreeMap<&str, &str> = listed.iter().copied().collect();
        assert_eq!(by_name.len(), listed.len(), "none is there twice");
        for (name, id) in acknowledged {
            assert_eq!(by_name.get(name.as_str()), Some(&id.as_str()), "{name} on {index}");
        }
    }
}

/// Whom a round kills.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Victims {
    Leader,
    Follower,
    All,
}

/// Choices at random (xorshift64*), the same ones for the same seed.
struct Choices(u64);

impl Choices {
    /// `SECRETD_SEED` repeats a run's choices, though not the instants that they meet.
    fn new() -> Self {
        let given = std::env::var("SECRETD_SEED").ok().map(|seed| seed.parse().unwrap());
        let seed = given.unwrap_or_else(|| u64::from_le_bytes(seal::random()) | 1);
        sys::require::say(&format!("kills under load: SECRETD_SEED={seed}"));
        Self(seed)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % end
    }
}

#[test]
fn what_was_acknowledged_survives_kills_under_load() {
    let rounds = form(6, 50);
    let mut lab = Lab::with_managers(PROGRAMS, 3);
    let clients = (0..WRITERS).map(|number| lab.ctl_of(number % 3)).collect();
    let load = Load::start(clients, b"value");
    let mut choices = Choices::new();
    let mut kinds = Vec::new();
    let mut after: BTreeMap<Victims, Vec<Duration>> = BTreeMap::new();
    for _ in 0..rounds {
        // Each of the three in any three rounds, in any order, and anywhere in the load.
        if kinds.is_empty() {
            kinds = vec![Victims::Leader, Victims::Follower, Victims::All];
        }
        let kind = kinds.swap_remove(choices.below(kinds.len()));
        load.reach(load.count() + WRITERS + 1 + choices.below(3 * WRITERS));
        let leader = lab.leader();
        let victims: Vec<usize> = match kind {
            Victims::Leader => vec![leader],
            Victims::Follower => vec![(leader + 1 + choices.below(2)) % 3],
            Victims::All => vec![0, 1, 2],
        };
        for victim in &victims {
            lab.managers[*victim].daemon.kill();
        }
        let killed_at = Instant::now();
        let goes_on = || load.goes_on_after(killed_at).then(|| killed_at.elapsed());
        let restart = |lab: &mut Lab| {
            for victim in &victims {
                lab.managers[*victim].daemon.start_again();
                lab.await_socket(*victim);
            }
        };
        let gap = if kind == Victims::All {
            restart(&mut lab);
            until("an acknowledged create", goes_on)
        } else {
            let gap = until("an acknowledged create", goes_on);
            restart(&mut lab);
            gap
        };
        after.entry(kind).or_default().push(gap);
        load.next();
    }
    let acknowledged = load.end();
    assert_all_there(&lab, &acknowledged);
    tell(rounds, acknowledged.len(), after);
}

/// From a kill to the next acknowledged create that was begun after it; where all are killed, their
/// restart is in it.
fn tell(rounds: usize, creates: usize, after: BTreeMap<Victims, Vec<Duration>>) {
    sys::require::say(&format!("{rounds} rounds of kills, {creates} creates acknowledged"));
    for (victims, mut gaps) in after {
        gaps.sort_unstable();
        let at = |share: usize| gaps[(gaps.len() * share).div_ceil(100) - 1].as_millis();
        let (p50, p99, max) = (at(50), at(99), at(100));
        sys::require::say(&format!(
            "{victims:?} killed to the next acknowledged create: p50 {p50} ms, p99 {p99} ms, max \
             {max} ms of {}",
            gaps.len()
        ));
    }
}

#[test]
fn the_leader_stays_while_large_secrets_are_written_and_a_manager_joins() {
    const LARGE: &[u8] = &[7; proto::limits::PAYLOAD_BYTES_MAX];
    let wanted = form(24, 512);
    let mut lab = Lab::with_managers(PROGRAMS, 3);
    until("all vote", || {
        let members = lab.members();
        members.iter().all(|member| member["state"] == "voter").then_some(())
    });
    let term = |lab: &Lab| lab.ctl().json(&["cluster", "status"])["term"].clone();
    let before = term(&lab);
    let load = Load::start((0..WRITERS).map(|number| lab.ctl_of(number % 3)).collect(), LARGE);
    load.reach(wanted);
    let joined = lab.join();
    until("the newcomer votes", || {
        let members = lab.members();
        members.iter().all(|member| member["state"] == "voter").then_some(())
    });
    let acknowledged = load.end();
    assert_eq!(term(&lab), before, "no election");
    assert_all_there(&lab, &acknowledged);
    assert_eq!(joined, 3);
}
