//! Prompts at a real terminal: asked twice, not shown, compared.
//!
//! `setsid --ctty` (util-linux) gives the program a pseudoterminal as its controlling terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};

use crate::fake::Fake;
use crate::program::Place;

/// All that a terminal showed, and how far it was looked at.
struct Screen {
    master: File,
    text: String,
    seen: usize,
}

impl Screen {
    /// Reads on until `text` is there after what was looked at before.
    fn wait_for(&mut self, text: &str) {
        loop {
            if let Some(at) = self.text[self.seen..].find(text) {
                self.seen += at + text.len();
                return;
            }
            let mut bytes = [0; 64];
            let count = self.master.read(&mut bytes).unwrap();
            assert!(count > 0, "the terminal closed after {:?}", self.text);
            self.text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
    }
}

/// Answers each prompt with one line; returns what the terminal showed, and the exit status.
fn typed(place: &Place, args: &[&str], lines: &[(&str, &[u8])]) -> (String, String, i32) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let terminal: OwnedFd = ioctl_tiocgptpeer(&master, flags).unwrap();
    let program = place.command();
    let mut command = Command::new("setsid");
    command.arg("--ctty").arg("--wait").arg(program.get_program()).args(args);
    command.env_clear().env("PATH", "/usr/bin:/bin").current_dir(place.path());
    for (key, value) in program.get_envs() {
        command.env(key, value.unwrap());
    }
    command.stdin(Stdio::from(terminal)).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("setsid of util-linux is there");
    // The child has the terminal now; ours would keep it open.
    drop(command);
    let mut screen = Screen { master: File::from(master), text: String::new(), seen: 0 };
    for (prompt, line) in lines {
        screen.wait_for(prompt);
        screen.master.write_all(line).unwrap();
        screen.wait_for("\n");
    }
    let shown = screen.text.clone();
    let output = child.wait_with_output().unwrap();
    let said =
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (shown, said, output.status.code().unwrap_or(-1))
}

/// Of the slot of shares that the fake manager knows.
const SHARES: [&str; 3] = [
    "SECSHARE-1-72N3ZE-3YEHV3-G0820C-5NJXV0-TEERZQ-3NVD9J-YP4MN9-NZ6AQA-M663AR-1XZHAD-3E1H39-DBMMDQ-9N9",
    "SECSHARE-1-72N3ZE-3YEHV3-G0G20E-J0J68K-FN7WMG-WZCZJP-AMBTPW-BB7EZS-PAYSZ8-W9HGGH-JR6N7C-2Y4Q7E-DCK",
    "SECSHARE-1-72N3ZE-3YEHV3-G0R20F-0KKJPB-XR0G0D-HGZ9ZA-MNH0QG-YQMF81-99DZKR-Q5AQXT-GA494G-R263J5-P4P",
];

const FIRST: &str = "value of db: ";
const SECOND: &str = "value of db, again: ";

#[test]
fn a_secret_is_typed_twice_and_not_shown() {
    let (place, fake) = (Place::new(), Fake::new());
    let _serving = fake.serve_unix(&place.socket());
    let lines = [(FIRST, &b"hunter2\n"[..]), (SECOND, b"hunter2\n")];
    let (shown, said, status) = typed(&place, &["create", "db", "-"], &lines);
    assert_eq!((status, shown.contains("hunter")), (0, false), "{said}");
    assert_eq!(shown, format!("{FIRST}\r\n{SECOND}\r\n"));
    assert_eq!(fake.world().values["db"], b"hunter2");
}

#[test]
fn two_that_differ_are_refused() {
    let (place, fake) = (Place::new(), Fake::new());
    let _serving = fake.serve_unix(&place.socket());
    let lines = [(FIRST, &b"hunter2\n"[..]), (SECOND, b"hunter3\n")];
    let (_, said, status) = typed(&place, &["create", "db", "-"], &lines);
    assert_eq!(status, 1);
    assert_eq!(
        said,
        "secretctl: error: the two values that were typed differ\n\
         secretctl: hint: nothing was created; repeat the command\n"
    );
    assert!(fake.world().values.is_empty());
}

#[test]
fn an_interrupt_at_the_prompt_ends_it_quietly() {
    let (place, fake) = (Place::new(), Fake::new());
    let _serving = fake.serve_unix(&place.socket());
    let (_, said, status) = typed(&place, &["create", "db", "-"], &[(FIRST, b"hunt\x03")]);
    assert_eq!((said.as_str(), status), ("", 130));
    let (_, said, status) =
        typed(&place, &["create", "db", "-"], &[(FIRST, b"\n"), (SECOND, b"\n")]);
    assert_eq!(status, 1);
    assert!(said.contains("because the secret is empty"), "{said}");
}

#[test]
fn nobody_types_for_a_manager_that_is_not_there() {
    let place = Place::new();
    let (shown, said, status) = typed(&place, &["create", "db", "-"], &[]);
    assert_eq!((shown.as_str(), status), ("", 69));
    assert!(said.contains("there is no such socket"), "{said}");
}

#[test]
fn an_unlock_key_is_typed_and_not_shown() {
    const WORD: &str =
        "SECKEY-1-000G40-R40M30-E20918-5GR38E-1W8124-GK2GAH-C5RR34-D1P70X-3RFG0R-R0E0";
    const PROMPT: &str = "unlock key 95db0ab91eaa0797d05c784d1cb07b97: ";
    let (place, fake) = (Place::new(), Fake::new());
    let _serving = fake.serve_unix(&place.socket());
    let key = seal::UnlockKey::parse(WORD.as_bytes()).unwrap();
    "locked".clone_into(&mut fake.world().phase);
    fake.world().unlock_key_id = key.id().as_bytes().to_vec().into();
    let line = format!("{WORD}\n");
    let (shown, said, status) = typed(&place, &["cluster", "unlock"], &[(PROMPT, line.as_bytes())]);
    assert_eq!((shown, status), (format!("{PROMPT}\r\n"), 0), "{said}");
    assert!(said.contains("serves again") && !said.contains(&WORD[9..]), "{said}");
    assert_eq!(fake.world().phase, "serving");
}

#[test]
fn a_new_passphrase_is_typed_twice_and_not_shown() {
    const PASSPHRASE: &[u8] = b"correct horse battery\n";
    const PROMPT: &str = "new passphrase, 14 characters or more: ";
    const AGAIN: &str = "the same again: ";
    let (place, fake) = (Place::new(), Fake::new());
    let _serving = fake.serve_unix(&place.socket());
    let add = ["cluster", "unlock-slot", "add", "passphrase"];
    let other = &b"correct horse batterz\n"[..];
    let (_, said, status) = typed(&place, &add, &[(PROMPT, PASSPHRASE), (AGAIN, other)]);
    assert_eq!(status, 1);
    assert!(said.contains("the two passphrases that were typed differ"), "{said}");
    assert!(fake.world().slots.is_empty(), "nothing was sent");
    let (shown, said, status) = typed(&place, &add, &[(PROMPT, PASSPHRASE), (AGAIN, PASSPHRASE)]);
    assert_eq!((shown, status), (format!("{PROMPT}\r\n{AGAIN}\r\n"), 0), "{said}");
    assert!(!said.contains("horse"), "{said}");
    assert_eq!(fake.world().slots.len(), 1);
}

#[test]
fn shares_are_typed_one_after_the_other_and_a_wrong_one_is_asked_for_again() {
    let (place, fake) = (Place::new(), Fake::new());
    let _serving = fake.serve_unix(&place.socket());
    fake.world().add_known_slot("shares", "");
    fake.world().slots[0].works = false;
    let prove = ["cluster", "unlock-slot", "prove", "18b6"];
    let [first, second] = ["share, 1 of 2: ", "share, 2 of 2: "];
    let [one, slip, three] = [SHARES[0], &SHARES[2].replace('G', "H"), SHARES[2]]
        .map(|word| format!("{word}\n").into_bytes());
    let lines = [(first, &one[..]), (second, &one[..]), (second, &slip[..]), (second, &three[..])];
    let (shown, said, status) = typed(&place, &prove, &lines);
    let asked = [first, second, second, second].map(|prompt| format!("{prompt}\r\n")).concat();
    assert_eq!((shown, status), (asked, 0), "{said}");
    assert!(said.contains("share 1 was entered already: 1 others are needed"), "{said}");
    assert!(said.contains("typing slip") && said.contains("it counts as working"), "{said}");
    assert!(!said.contains("72N3ZE"), "{said}");
    assert!(fake.world().slots[0].works);
}
