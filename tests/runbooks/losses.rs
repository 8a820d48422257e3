//! Pages on what is lost, stolen or broken into.

use age::secrecy::ExposeSecret as _;
use tests::{Lab, until};

use crate::PROGRAMS;
use crate::desk::Desk;
use crate::pages::{
    await_phase, await_voters, first_word, key_in, locking, managers, operator, restart, serve,
};
use crate::reader::Page;

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The machine of a manager that is to join: its name, and where it finds the others.
pub(crate) fn joining(lab: &Lab, index: usize, address: &str) -> Desk {
    let join = format!("cluster join --hostname m{}", index + 1);
    let desk = Desk::of_manager(lab, index).with("cluster join", &join);
    desk.with("10.0.0.5:7443", address).with("10.0.0.1:7443", address)
}

/// The token that a command asks for.
pub(crate) fn to_join(text: &str, token: &str) -> Option<String> {
    text.contains("--token -").then(|| token.to_owned())
}

pub(crate) fn evict_node(page: &mut Page) {
    let mut lab = managers(1);
    lab.agent("n1");
    lab.ctl().ok_with(&["create", "db_password", "-"], b"value");
    serve(&lab, "web", "db_password");
    lab.agent("n2");
    let desk = Desk::of_manager(&lab, 0).with("NODE", "n1").with("$NEW", "new");
    let block = page.block("secretctl node rm --force NODE");
    let ran = desk.types(&mut lab, &block);
    let told = format!("{}{}", ran[0].stdout, ran[0].stderr);
    assert!(told.contains("db_password"), "what it had is listed: {told}");
    let block = page.block("printf %s \"$NEW\"");
    desk.types(&mut lab, &block);
    assert_eq!(lab.agents[0].daemon.wait().code(), Some(77));
}

pub(crate) fn alarms(lab: &Lab) -> usize {
    lab.ctl().json(&["cluster", "alarm", "ls"]).as_array().unwrap().len()
}

pub(crate) fn peers(page: &mut Page) {
    let (mut lab, key) = locking(3);
    let desk = Desk::of_manager(&lab, 0).with("10.0.0.3", "127.0.0.1");
    let block = page.block("secretctl cluster update --peers auto");
    desk.types(&mut lab, &block);
    until("the peers open each", || {
        let members = lab.members();
        members.iter().all(|member| !member["peers_since"].is_null()).then_some(())
    });
    page.not_typed("head -c 32 /dev/urandom", "needs a TPM, and systemd");

    lab.ctl().ok(&["cluster", "update", "--peers", "approve"]);
    let turns = |lab: &Lab| lab.managers[2].daemon.log().matches("peers_slot_made_anew").count();
    let turned = turns(&lab);
    lab.managers[2].daemon.stop();
    lab.managers[2].daemon.start_again();
    lab.await_socket(2);
    until("it waits", || {
        lab.ctl().run(&["cluster", "status"]).stdout.contains("waits to be unlocked").then_some(())
    });
    let block = page.block("secretctl cluster status");
    desk.types(&mut lab, &block);
    await_phase(&lab, 2, "serving");
    // A copy that is taken while it turns may have halves of two generations, and asks nobody.
    until("it has turned", || (turns(&lab) > turned).then_some(()));

    // Somebody starts a copy of its disk elsewhere.
    let copy = lab.path().join("copy");
    let data = lab.managers[2].data.clone();
    assert!(
        std::process::Command::new("cp").arg("-a").arg(data).arg(&copy).status().unwrap().success()
    );
    lab.start_manager(&["--data", copy.to_str().unwrap(), "--listen", "127.0.0.2:0"]);
    until("an alarm", || (alarms(&lab) > 0).then_some(()));
    let block = page.block("secretctl cluster alarm ls");
    desk.types(&mut lab, &block);
    let members = lab.members();
    let number =
        members.iter().find(|member| member["hostname"] == "m3").unwrap()["id"].to_string();
    for index in [2, 3] {
        lab.managers[index].daemon.kill();
    }
    let block = page.block("secretctl cluster member rm m3 --lost");
    let ran = desk.types(&mut lab, &block);
    assert_ne!(key_in(&ran[1].stdout), key);
    let desk = desk.with("NUMBER", number.trim_matches('"'));
    let block = page.block("secretctl cluster alarm clear");
    desk.types(&mut lab, &block);
    assert_eq!(alarms(&lab), 0);
    let block = page.block("secretctl cluster update --peers off");
    desk.types(&mut lab, &block);
}

pub(crate) fn replace_manager(page: &mut Page) {
    let mut lab = managers(3);
    let address = lab.address();
    let first = Desk::of_manager(&lab, 0);
    lab.managers[2].daemon.kill();
    let block = page.block("secretctl cluster member rm --lost OLD");
    let token = first_word(&first.with("OLD", "m3").types(&mut lab, &block)[1]);
    let third = joining(&lab, 2, &address);
    let block = page.block("systemctl stop secretd");
    third.types_and_answers(&mut lab, &block, |_, text, _| to_join(text, &token));
    await_voters(&lab, 3);
    let block = page.block("secretctl cluster status");
    third.types(&mut lab, &block);

    // Another machine takes the place of one that is gone.
    let fourth = lab.join();
    await_voters(&lab, 4);
    lab.managers[1].daemon.kill();
    let first = Desk::of_manager(&lab, 0).with("OLD", "m2").with("NEW", "m4");
    let block = page.block("secretctl cluster replace OLD NEW");
    first.types(&mut lab, &block);
    await_voters(&lab, 3);

    let moved = format!("127.0.0.1:{}", free_port());
    lab.managers[fourth].daemon.stop();
    let first = Desk::of_manager(&lab, 0).with("OLD", "m4").with("10.0.0.9:7443", &moved);
    let block = page.block("secretctl cluster member set-address");
    first.types(&mut lab, &block);
}

pub(crate) fn lost_quorum(page: &mut Page) {
    let (mut lab, key) = locking(3);
    let port = free_port();
    let http = format!("127.0.0.1:{port}");
    for word in lab.managers[2].daemon.arguments().iter_mut().filter(|word| *word == "none") {
        word.clone_from(&http);
    }
    restart(&mut lab, 2, "locked");
    lab.ctl_of(2).ok_with(&["cluster", "unlock"], format!("{key}\n").as_bytes());
    await_phase(&lab, 2, "serving");
    for index in [0, 1] {
        lab.managers[index].daemon.kill();
    }
    let desk = Desk::of_manager(&lab, 2).with("127.0.0.1:7444", &http);
    let unlocks = |_: &Lab, text: &mut String, _: &[tests::Ran]| {
        text.contains("cluster unlock").then(|| key.clone())
    };
    for beginning in ["systemctl status secretd", "curl", "systemctl stop secretd"] {
        let block = page.block(beginning);
        desk.types(&mut lab, &block);
    }
    await_phase(&lab, 2, "locked");
    let block = page.block("secretctl cluster unlock");
    desk.types_and_answers(&mut lab, &block, unlocks);
    await_phase(&lab, 2, "serving");
    let block = page.block("journalctl -u secretd -n 20");
    let ran = desk.types_and_answers(&mut lab, &block, unlocks);
    assert!(ran[0].stdout.contains("cluster_forced"), "{ran:?}");
    await_phase(&lab, 2, "serving");

    let block = page.block("secretctl cluster join-token --quiet manager");
    let token = first_word(&desk.types(&mut lab, &block)[0]);
    let first = joining(&lab, 0, &lab.address());
    let block = page.block("systemctl stop secretd");
    first.types_and_answers(&mut lab, &block, |_, text, _| to_join(text, &token));
}

/// Who opens backups: the recipient, and the identity.
fn keeper() -> (String, String) {
    let identity = age::x25519::Identity::generate();
    (identity.to_public().to_string(), identity.to_string().expose_secret().to_owned())
}

pub(crate) fn backup(page: &mut Page) {
    let mut lab = managers(1);
    let ((one, identity), (two, _)) = (keeper(), keeper());
    page.not_typed("age-keygen", "needs age's own program; the test makes its pairs itself");
    let both = format!("--recipient {one} --recipient {two}");
    let desk = Desk::of_manager(&lab, 0).with("--recipient age1… --recipient age1…", &both);
    std::fs::write(desk.folder().join("key.txt"), format!("{identity}\n")).unwrap();
    for beginning in ["secretctl cluster backup monday", "secretctl cluster backup check"] {
        let block = page.block(beginning);
        desk.types(&mut lab, &block);
    }
    let block = page.block("secretctl cluster backup ls");
    desk.types(&mut lab, &block);
    let backups = lab.ctl().json(&["cluster", "backup", "ls"]);
    let desk = desk.with("8f3a", backups["backups"][0]["id"].as_str().unwrap());
    let block = page.block("secretctl cluster backup forget");
    desk.types(&mut lab, &block);
}

/// An empty manager to restore on, with its files.
fn empty(lab: &mut Lab, identity: &str) -> (Desk, usize, String) {
    let address = format!("127.0.0.1:{}", free_port());
    let index = lab.start_manager(&["--listen", &address]);
    let desk = Desk::of_manager(lab, index).with("m1.example:7443", &address);
    std::fs::write(desk.folder().join("key.txt"), format!("{identity}\n")).unwrap();
    std::fs::copy(lab.path().join("monday.age"), desk.folder().join("monday.age")).unwrap();
    (desk, index, address)
}

pub(crate) fn restore(page: &mut Page) {
    let mut lab = Lab::new(PROGRAMS);
    lab.found();
    lab.agent("n2");
    let olive = operator(&mut lab, "olive", "prod");
    let (recipient, identity) = keeper();
    let file = lab.path().join("monday.age");
    lab.ctl().ok(&["cluster", "backup", file.to_str().unwrap(), "--recipient", &recipient]);
    lab.managers[0].daemon.kill();

    let (desk, index, _) = empty(&mut lab, &identity);
    lab.managers[index].daemon.stop();
    for beginning in [
        "systemctl start secretd",
        "secretctl cluster backup check",
        "secretctl cluster restore",
        "secretctl cluster status",
        "secretctl cluster join-token manager",
    ] {
        let block = page.block(beginning);
        desk.types(&mut lab, &block);
    }
    lab.managers[index].daemon.kill();

    let (desk, index, address) = empty(&mut lab, &identity);
    for beginning in ["secretctl cluster restore", "secretctl cluster join-token agent"] {
        let block = page.block(beginning);
        desk.types(&mut lab, &block);
    }
    let block = page.block("systemctl stop secret-agent");
    Desk::of_agent(&lab, 0).types(&mut lab, &block);
    let block = page.block("secretctl operator rm olive");
    let token = first_word(&desk.types(&mut lab, &block)[1]);
    let olive = olive.with("TOKEN", &token).with("m1.example:7443", &address);
    let block = page.block("secretctl context rm prod");
    olive.types(&mut lab, &block);
    lab.managers[index].daemon.kill();

    let (desk, _, _) = empty(&mut lab, &identity);
    let block = page.block("secretctl cluster restore");
    desk.types(&mut lab, &block);
}
