//! A machine that somebody sits at: a shell, the programs on its PATH, and what stands for the rest.
//!
//! | on a machine | here |
//! | --- | --- |
//! | `systemctl start`, `stop`, `restart` of `secretd` or `secret-agent` | the laboratory's daemon |
//! | `systemctl enable --now` of them | the same as `start` |
//! | `systemctl daemon-reload`, `edit`, `status`; `journalctl` | nothing; what the daemon logged |
//! | `useradd` | nothing |
//! | `ssh HOST COMMAND` | the command, on this machine |
//! | `pass show NAME` | the first answer |
//!
//! What a page writes for its reader to fill in (`TOKEN`, an address, a folder) is exchanged by the
//! desk's table, word for word, and by nothing else. What is asked for is answered on standard input.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tests::{Lab, Ran, until};

use crate::PROGRAMS;
use crate::reader::Block;

const SYSTEMCTL: &str = r#"#!/bin/sh
case $1 in
    daemon-reload|edit|status) exit 0 ;;
esac
printf '%s\n' "$*" > "$DESK/call.new"
mv "$DESK/call.new" "$DESK/call"
read answer < "$DESK/answer"
"#;

const USERADD: &str = "#!/bin/sh\nexit 0\n";

const JOURNALCTL: &str = "#!/bin/sh\ncat \"$DESK/log\"\n";

const SSH: &str = "#!/bin/sh\nshift\nexec \"$@\"\n";

const PASS: &str = "#!/bin/sh\ncat \"$DESK/pass\"\n";

/// Why a manager is started with another command line.
const FORCE: &str = "--force-new-cluster";

/// A machine.
pub(crate) struct Desk {
    folder: PathBuf,
    /// The manager that runs here, by its index in the laboratory.
    manager: Option<usize>,
    /// The agent that runs here.
    agent: Option<usize>,
    context: Option<String>,
    table: Vec<(String, String)>,
}

impl Desk {
    fn new(lab: &Lab, name: &str) -> Self {
        let folder = lab.path().join(format!("desk-{name}"));
        std::fs::create_dir_all(folder.join("bin")).unwrap();
        for program in ["secretd", "secret-agent", "secretctl"] {
            let link = folder.join("bin").join(program);
            if !link.exists() {
                std::os::unix::fs::symlink(PROGRAMS, link).unwrap();
            }
        }
        let scripts = [
            ("systemctl", SYSTEMCTL),
            ("journalctl", JOURNALCTL),
            ("ssh", SSH),
            ("pass", PASS),
            ("useradd", USERADD),
        ];
        for (name, script) in scripts {
            let path = folder.join("bin").join(name);
            std::fs::write(&path, script).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let answer = folder.join("answer");
        if !answer.exists() {
            assert!(Command::new("mkfifo").arg(&answer).status().unwrap().success());
        }
        Self { folder, manager: None, agent: None, context: None, table: Vec::new() }
    }

    /// The machine of a manager.
    pub(crate) fn of_manager(lab: &Lab, index: usize) -> Self {
        let mut desk = Self::new(lab, &format!("m{}", index + 1));
        desk.manager = Some(index);
        let data = lab.managers[index].data.display().to_string();
        let units = desk.folder.join("units").display().to_string();
        desk.with("/var/lib/secretd", &data).with("/run/systemd/system/secretd.service.d", &units)
    }

    /// The machine of an agent.
    pub(crate) fn of_agent(lab: &Lab, index: usize) -> Self {
        let mut desk = Self::new(lab, &lab.agents[index].hostname);
        desk.agent = Some(index);
        let data = lab.agents[index].data.display().to_string();
        desk.with("/var/lib/secret-agent", &data)
    }

    /// A machine of an operator who goes by a context.
    pub(crate) fn of_operator(lab: &Lab, name: &str, context: &str) -> Self {
        let mut desk = Self::new(lab, name);
        desk.context = Some(context.to_owned());
        desk
    }

    /// The same machine, at which secretctl asks another's manager.
    pub(crate) const fn typed_by(mut self, other: &Self) -> Self {
        self.manager = other.manager;
        self
    }

    /// What is typed in place of a word of the page.
    pub(crate) fn with(mut self, word: &str, instead: &str) -> Self {
        self.table.push((word.to_owned(), instead.to_owned()));
        self
    }

    /// A place for files that the commands name.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Types a block; each command must succeed, and say what the page says that it does.
    pub(crate) fn types(&self, lab: &mut Lab, block: &Block) -> Vec<Ran> {
        self.types_and_answers(lab, block, |_, _, _| None)
    }

    /// Types a block, and answers what its commands ask: by the command, and what the block's
    /// commands before it said. What only these said can be filled in, too.
    pub(crate) fn types_and_answers(
        &self,
        lab: &mut Lab,
        block: &Block,
        answer: impl Fn(&Lab, &mut String, &[Ran]) -> Option<String>,
    ) -> Vec<Ran> {
        let mut all = Vec::new();
        for command in &block.commands {
            let mut text = command.text.clone();
            for (word, instead) in &self.table {
                text = text.replace(word, instead);
            }
            let said = answer(lab, &mut text, &all).map(|line| format!("{line}\n"));
            let ran = self.run(lab, &text, &said.unwrap_or_default());
            let told = format!("{}{}", ran.stdout, ran.stderr);
            assert_eq!(ran.status, 0, "line {}: {text}\n{told}", block.line);
            for quoted in &command.quoted {
                assert!(shows(&told, quoted), "{text}: `{quoted}` is not in\n{told}");
            }
            all.push(ran);
        }
        let told: String = all.iter().flat_map(|ran| [ran.stdout.as_str(), &ran.stderr]).collect();
        // Who is at what in a moment is not the same twice.
        let shown = block.shown.iter().filter(|line| !line.contains(": manager "));
        for line in shown.filter(|line| *line != "…") {
            let masked = mask(line);
            let found = told.lines().any(|said| matches(&mask(said), &masked));
            assert!(found, "line {}: the page shows `{line}`, which is not in\n{told}", block.line);
        }
        all
    }

    fn run(&self, lab: &mut Lab, text: &str, stdin: &str) -> Ran {
        std::fs::write(self.folder.join("pass"), stdin).unwrap();
        if let Some(index) = self.manager {
            std::fs::write(self.folder.join("log"), lab.managers[index].daemon.log()).unwrap();
        }
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-c", text])
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", format!("{}:{path}", self.folder.join("bin").display()))
            .env("HOME", &self.folder)
            .env("DESK", &self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(context) = &self.context {
            command.env("SECRETD_CONTEXT", context);
        } else if let Some(index) = self.manager {
            command.env("SECRETD_SOCKET", &lab.managers[index].socket);
        }
        let mut child = command.spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        // Small enough for a pipe; who does not read it closes it.
        pipe.write_all(stdin.as_bytes()).ok();
        drop(pipe);
        let child = std::thread::spawn(move || child.wait_with_output().unwrap());
        until(&format!("`{text}` ends"), || {
            let call = self.folder.join("call");
            if let Ok(words) = std::fs::read_to_string(&call) {
                std::fs::remove_file(&call).unwrap();
                self.systemctl(lab, words.trim());
                std::fs::write(self.folder.join("answer"), "done\n").unwrap();
            }
            child.is_finished().then_some(())
        });
        let output = child.join().unwrap();
        Ran {
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            status: output.status.code().unwrap_or(-1),
        }
    }

    fn systemctl(&self, lab: &mut Lab, words: &str) {
        let (verb, unit) = words.rsplit_once(' ').expect("a verb and a unit");
        let daemon = match (unit, self.manager, self.agent) {
            ("secretd", Some(index), _) => &mut lab.managers[index].daemon,
            ("secret-agent", _, Some(index)) => &mut lab.agents[index].daemon,
            _ => panic!("`systemctl {words}` where that is not"),
        };
        if matches!(verb, "stop" | "restart") {
            daemon.stop();
        }
        if matches!(verb, "start" | "restart" | "enable --now") {
            let drop_in = std::fs::read_to_string(self.folder.join("units/force.conf"));
            daemon.arguments().retain(|word| word != FORCE);
            if drop_in.is_ok_and(|text| text.contains(FORCE)) {
                daemon.arguments().push(FORCE.to_owned());
            }
            daemon.start_again();
            if let ("secretd", Some(index)) = (unit, self.manager) {
                // As the unit's `Type=notify` does.
                lab.await_socket(index);
            }
        }
    }
}

/// Whether text has something in it, `…` being anything. Spaces as in a table do not count, nor do
/// numbers.
fn shows(told: &str, quoted: &str) -> bool {
    let quoted = plain(quoted);
    told.lines().any(|line| {
        let line = plain(line);
        let mut rest = line.as_str();
        quoted.split('…').all(|part| match rest.split_once(part) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        })
    })
}

fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        let c = if c.is_ascii_digit() { '#' } else { c };
        if c != '#' || !plain.ends_with('#') {
            plain.push(c);
        }
    }
    plain
}

/// A line with the words that differ from cluster to cluster taken out: keys, ids, numbers.
fn mask(line: &str) -> String {
    let words = line.split_whitespace().map(|word| {
        let differs = word.starts_with("SECKEY-1-") || word.chars().any(|c| c.is_ascii_digit());
        let end = word.strip_prefix(word.trim_end_matches([';', ':', ','])).unwrap_or_default();
        if differs { format!("#{end}") } else { word.to_owned() }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Whether a line is the one shown, `…` being anything.
fn matches(said: &str, shown: &str) -> bool {
    let Some((before, after)) = shown.split_once('…') else { return said == shown };
    let rest = said.strip_prefix(before.trim_end());
    rest.is_some_and(|rest| rest.ends_with(after))
}
