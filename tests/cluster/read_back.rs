//! An unlock key that the cluster keeps: read back through rotations, on record, and forgotten.

use tests::until;

use crate::locking::{await_locked, key_in, three, unlock};

/// Exit status of a refusal.
const REFUSED: i32 = 1;

#[test]
fn an_unlock_key_is_read_back_only_where_that_was_switched_on() {
    let mut lab = three();
    let ctl = lab.ctl();
    let first = key_in(&ctl.ok(&["cluster", "update", "--autolock", "on"]));
    let refusal = ctl.refused(REFUSED, &["cluster", "unlock-key"], b"");
    assert!(refusal.contains("the unlock key cannot be shown"), "{refusal}");

    ctl.ok_with(&["cluster", "update", "--read-back", "on"], first.as_bytes());
    let read = || key_in(&ctl.ok(&["cluster", "unlock-key"]));
    assert_eq!(read(), first);
    let status = ctl.json(&["cluster", "status"]);
    assert_eq!(status["unlock_key_readable"], true);
    assert!(ctl.ok(&["cluster", "status"]).contains("admins can read the unlock key back"));

    // The root key it lies under goes, and it does not go with it.
    ctl.ok(&["cluster", "rotate", "root-key"]);
    assert_eq!(read(), first);
    // The next one is kept as well, and is the one that opens.
    let second = key_in(&ctl.ok(&["cluster", "unlock-key", "--rotate"]));
    assert_ne!(second, first);
    assert_eq!(read(), second);
    let follower = (lab.leader() + 1) % 3;
    lab.managers[follower].daemon.stop();
    lab.managers[follower].daemon.start_again();
    lab.await_socket(follower);
    await_locked(&lab, follower);
    let ctl = lab.ctl_of((follower + 1) % 3);
    unlock(&lab, follower, &key_in(&ctl.ok(&["cluster", "unlock-key"])));

    let readings = |ctl: &tests::Ctl| {
        let audit = ctl.json(&["cluster", "audit", "--limit", "100000"]);
        let records = audit.as_array().unwrap().iter();
        records.filter(|r| r["action"] == "read_unlock_key" && r["outcome"] == "ok").count()
    };
    assert_eq!(readings(&ctl), 4, "each is on record");

    until("it is forgotten, once the manager that was locked answers", || {
        let off = ctl.run(&["cluster", "update", "--read-back", "off"]);
        let left = ctl.json(&["cluster", "status"])["unlock_key_readable"] == true;
        (off.status == 0 || !left).then_some(())
    });
    let refusal = ctl.refused(REFUSED, &["cluster", "unlock-key"], b"");
    assert!(refusal.contains("the unlock key cannot be shown"), "{refusal}");
    assert_eq!(readings(&ctl), 4);
}
