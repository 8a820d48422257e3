//! Transcripts: what is typed, and exactly what comes back. One file a subject, run against one
//! fake manager from top to bottom.
//!
//! A line begins with what it is: `$` the arguments, `<` standard input (lines joined by newlines,
//! none at the end), `>` standard output, `!` standard error, `=` the exit status if it is not 0,
//! `%` something that happens to the manager, `#` a remark. `SECRETD_REGENERATE=1` writes what
//! comes back into the files.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use link::Failure;
use proto::{Kind, pb};

use crate::fake::Fake;
use crate::program::Place;
use crate::world::{Fault, World};

pub(crate) fn regenerate() -> bool {
    std::env::var_os("SECRETD_REGENERATE").is_some()
}

#[test]
fn transcripts_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 14, "the transcripts are missing");
    let mut wrong = Vec::new();
    for file in files {
        let expected = std::fs::read_to_string(&file).unwrap();
        let actual = play(&expected);
        if regenerate() {
            std::fs::write(&file, actual).unwrap();
        } else if actual != expected {
            wrong.push(format!("{}:\n{}", file.display(), difference(&expected, &actual)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn difference(expected: &str, actual: &str) -> String {
    let pairs = expected.lines().zip(actual.lines()).enumerate();
    for (number, (one, other)) in pairs {
        if one != other {
            return format!("line {}:\n  expected {one}\n  came     {other}", number + 1);
        }
    }
    "one is longer than the other".into()
}

/// Plays a transcript; returns it with what came back.
fn play(text: &str) -> String {
    let place = Place::new();
    let fake = Fake::new();
    let mut serving = Some(fake.serve_unix(&place.socket()));
    let mut out = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let (mark, rest) = line.split_at(line.len().min(2));
        match mark {
            "$ " => {
                out.push_str(line);
                out.push('\n');
                let mut stdin = Vec::new();
                while let Some(next) = lines.peek().filter(|next| next.starts_with('<')) {
                    out.push_str(next);
                    out.push('\n');
                    stdin.push(next.strip_prefix("< ").unwrap_or_default().to_owned());
                    lines.next();
                }
                out.push_str(&answer(&place, &words(rest), &stdin.join("\n")));
            }
            // What came back before.
            "> " | "! " | "= " | ">" | "!" => {}
            "% " => {
                out.push_str(line);
                out.push('\n');
                if rest == "gone" {
                    serving = None;
                    std::fs::remove_file(place.socket()).unwrap();
                } else if let Some((name, contents)) =
                    rest.strip_prefix("file ").and_then(|r| r.split_once(' '))
                {
                    std::fs::write(place.path().join(name), contents).unwrap();
                } else {
                    happen(&fake, rest);
                }
            }
            _ => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    drop(serving);
    out
}

fn answer(place: &Place, args: &[String], stdin: &str) -> String {
    let ran = place.run(args, stdin.as_bytes());
    let mut out = String::new();
    for (mark, text) in [('>', &ran.stdout), ('!', &ran.stderr)] {
        for line in place.normal(text).lines() {
            writeln!(out, "{}", format!("{mark} {line}").trim_end()).unwrap();
        }
    }
    if ran.status != 0 {
        writeln!(out, "= {}", ran.status).unwrap();
    }
    out
}

/// Words as a shell splits them, with single and double quotes.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = None::<String>;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    assert_eq!(words.first().map(String::as_str), Some("secretctl"), "{text}");
    words.split_off(1)
}

/// One moment of a task, as `STATE:MESSAGE`.
fn step(text: &str) -> (proto::task::TaskState, String) {
    let (state, message) = text.split_once(':').unwrap_or((text, ""));
    let known = proto::task::TaskState::ALL;
    let state = known.into_iter().find(|known| known.as_str() == state).unwrap();
    (state, message.to_owned())
}

/// One moment of an update, as `STATE:MESSAGE`.
fn update(text: &str) -> pb::UpdateStatus {
    let (state, message) = text.split_once(':').unwrap();
    let name = format!("UPDATE_STATE_{}", state.to_uppercase());
    pb::UpdateStatus {
        state: pb::UpdateState::from_str_name(&name).unwrap().into(),
        started_at: 1_000,
        completed_at: 0,
        message: message.to_owned(),
    }
}

/// How a manager's next call goes wrong.
fn fault(text: &str) -> Fault {
    let (kind, message) = text.split_once(' ').unwrap_or((text, "something went wrong"));
    match kind {
        "none" => Fault::None,
        "lost" => Fault::LosesAnswer,
        "retired" => Fault::RetiresTransitKey,
        kind => Fault::Says(Failure::new(kind.parse::<Kind>().unwrap(), message)),
    }
}

/// Something happens to managers that unlock one another.
fn happen_among_peers(world: &mut World, verb: &str, rest: &str) {
    match verb {
        "waits" => {
            let (member, from) = rest.split_once(' ').unwrap();
            let (member, asked_at) = (member.parse().unwrap(), world.before());
            let from = from.to_owned();
            world.peers.pending.push(pb::PendingRelease { member, generation: 30, from, asked_at });
        }
        "alarm" => {
            let words: Vec<&str> = rest.split(' ').collect();
            let at = world.before();
            world.peers.alarms.push(pb::ReleaseAlarm {
                member: words[1].parse().unwrap(),
                reason: words[0].to_owned(),
                generation: 30,
                from: words[2].to_owned(),
                first_at: at,
                last_at: at,
                count: 1,
            });
        }
        "peers-say" => rest.clone_into(&mut world.peers_refusal),
        _ => panic!("{verb}"),
    }
}

/// Something happens to the manager.
fn happen(fake: &Fake, what: &str) {
    let mut world = fake.world();
    let (verb, rest) = what.split_once(' ').unwrap_or((what, ""));
    match verb {
        "node" => world.add_node(rest),
        "member" => {
            let id = world.members.len() as u64 + 1;
            world.add_member(id, rest, false);
        }
        "delivered" => {
            let (node, secrets) = rest.split_once(' ').unwrap();
            let secrets = secrets.split(' ').map(str::to_owned).collect();
            world.delivered.insert(node.to_owned(), secrets);
        }
        "silent" => world.silent = rest.split_whitespace().map(|id| id.parse().unwrap()).collect(),
        "away" => world.away.push(rest.to_owned()),
        "damage" => {
            let (member, text) = rest.split_once(' ').unwrap();
            world.damage.insert(member.parse().unwrap(), text.to_owned());
        }
        "phase" => rest.clone_into(&mut world.phase),
        "unlock-key" => {
            let key = seal::UnlockKey::parse(rest.as_bytes()).unwrap();
            world.unlock_key_id = key.id().as_bytes().to_vec().into();
        }
        "command-fails" => rest.clone_into(&mut world.command_fails),
        "slot" => {
            let (kind, word) = rest.split_once(' ').unwrap_or((rest, ""));
            world.add_known_slot(kind, word);
        }
        "waits" | "alarm" | "peers-say" => happen_among_peers(&mut world, verb, rest),
        "down" => {
            let member = world.members.iter_mut().find(|member| member.hostname == rest);
            member.unwrap().reachable = false;
        }
        "foreign-ca" => world.foreign_ca = true,
        "problem" => world.problems.push(pb::Problem {
            severity: "error".into(),
            message: rest.to_owned(),
            hints: vec!["start it".into()],
        }),
        "fault" => world.faults.push_back(fault(rest)),
        "script" => world.script = rest.split("; ").map(step).collect(),
        "update" => {
            world.updates = rest.split("; ").map(update).collect();
            world.services.values_mut().for_each(|info| info.update = None);
        }
        "prints" => {
            let (stream, line) = rest.split_once(' ').unwrap();
            let stream = match stream {
                "stdout" => pb::OutputStream::Stdout,
                "stderr" => pb::OutputStream::Stderr,
                _ => pb::OutputStream::System,
            };
            let at = 1_700_000_000_000 + world.output.len() as u64;
            world.output.push(pb::OutputRecord {
                at,
                stream: stream.into(),
                line: line.as_bytes().to_vec().into(),
                ..Default::default()
            });
        }
        "drops" => world.output.last_mut().unwrap().dropped = rest.parse().unwrap(),
        "audit" => {
            let index = world.audit.len() as u64 + 1;
            let at = world.before();
            world.audit.push(pb::AuditRecord {
                index,
                at,
                caller: "cluster@1".into(),
                action: rest.to_owned(),
                object: "secret/x".into(),
                outcome: "done".into(),
                chain: vec![9; 32].into(),
            });
        }
        other => panic!("unknown: % {other}"),
    }
}
