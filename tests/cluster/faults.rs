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
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn start(clients: Vec<Ctl>, value: &'static [u8]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(Mutex::new(BTreeMap::new()));
        let number = Arc::new(AtomicUsize::new(0));
        let threads = clients.into_iter().map(|ctl| {
            let (stop, acknowledged, number) = (stop.clone(), acknowledged.clone(), number.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let name = format!("s{}", number.fetch_add(1, Ordering::Relaxed));
                    let ran = ctl.run_with(&["create", &name, "-", "--timeout", "30s"], value);
                    // A manager that is down for now refuses the connection; that is no loss.
                    if ran.status == 0 {
                        acknowledged.lock().unwrap().insert(name, ran.stdout.trim().to_owned());
                    }
                }
            })
        });
        let threads = threads.collect();
        Self { stop, acknowledged, threads }
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
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

#[test]
fn what_was_acknowledged_survives_kills_under_load() {
    let rounds = form(6, 50);
    let mut lab = Lab::with_managers(PROGRAMS, 3);
    let clients = (0..WRITERS).map(|number| lab.ctl_of(number % 3)).collect();
    let load = Load::start(clients, b"value");
    load.next();
    let mut after_leader = Vec::new();
    for round in 0..rounds {
        let leader = lab.leader();
        let victims: Vec<usize> = match round % 3 {
            0 => vec![leader],
            1 => vec![(leader + 1 + round % 2) % 3],
            _ => vec![0, 1, 2],
        };
        let killed_at = Instant::now();
        for victim in &victims {
            lab.managers[*victim].daemon.kill();
        }
        if victims.len() < 3 {
            let before = load.count();
            until("an acknowledged create", || (load.count() > before).then_some(()));
            if victims[0] == leader {
                after_leader.push(killed_at.elapsed());
            }
        }
        for victim in victims {
            lab.managers[victim].daemon.start_again();
            lab.await_socket(victim);
        }
        load.next();
    }
    let acknowledged = load.end();
    assert_all_there(&lab, &acknowledged);
    tell(rounds, acknowledged.len(), after_leader);
}

#[expect(clippy::print_stderr, reason = "figures for whoever runs the full form")]
fn tell(rounds: usize, creates: usize, mut after: Vec<Duration>) {
    after.sort_unstable();
    let at = |share: usize| after[(after.len() - 1) * share / 100].as_millis();
    eprintln!(
        "{rounds} rounds, {creates} creates acknowledged; leader killed to next acknowledged \
         create: p50 {} ms, p99 {} ms, max {} ms of {}",
        at(50),
        at(99),
        at(100),
        after.len()
    );
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
