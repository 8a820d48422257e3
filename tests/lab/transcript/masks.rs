//! What differs from run to run, or from one docker client to the next, by a name.

/// Characters of an object's id, and of its beginning in a table.
const ID_CHARS: usize = 25;
const SHORT_ID_CHARS: usize = 12;

/// How often a client says how far it is depends on how fast the machine is.
const PROGRESS: [&str; 3] = ["overall progress: ", "1/1: ", "verify: Waiting "];

/// Said by some clients: what a later one will do, and a word more.
const ANNOUNCED: [&str; 2] = ["Since --detach=false was not specified", "In a future release, "];
const POLITE: (&str, &str) = ("Please remember to ", "Remember to ");

/// The lines of an output that always come, with names for what is different each time.
pub(super) fn masked(output: &str) -> Vec<String> {
    let begins = |line: &str, with: &[&str]| with.iter().any(|start| line.starts_with(start));
    let kept = output.lines().filter(|line| !begins(line, &PROGRESS) && !begins(line, &ANNOUNCED));
    let mut heads = "";
    let mut lines: Vec<String> = Vec::new();
    for line in kept {
        lines.push(line_masked(&cells_named(line, heads)));
        if begins(line, &["ID ", "NETWORK ID "]) {
            heads = line;
        }
    }
    // A client goes through a stack in the order of a map of Go, which is another one each time.
    let of_stack = |line: &String| line.starts_with("Creating ") || line.starts_with("Removing ");
    if lines.iter().all(of_stack) {
        lines.sort_unstable();
    }
    lines
}

/// A row of a table with those heads. The beginning of an id, and a version, cannot be told from words
/// elsewhere.
fn cells_named(line: &str, heads: &str) -> String {
    let Some((id, rest)) = line.split_once(' ').filter(|_| !heads.is_empty()) else {
        return line.to_owned();
    };
    let id = if [ID_CHARS, SHORT_ID_CHARS].contains(&id.len()) { "ID" } else { id };
    let rest = match rest.rsplit_once(' ') {
        Some((before, _)) if heads.ends_with("ENGINE VERSION") => format!("{before} VERSION"),
        _ => rest.to_owned(),
    };
    format!("{id} {rest}")
}

fn line_masked(line: &str) -> String {
    if line.starts_with("verify: Service ") && line.ends_with(" converged") {
        // Some clients say which, by the word that was typed or by its id.
        return "verify: Service converged".into();
    }
    let line = tokens_and_keys(&line.replace(POLITE.0, POLITE.1));
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '.');
    let mut text = String::new();
    let mut rest = line.as_str();
    while let Some(start) = rest.find(is_word) {
        let (before, tail) = rest.split_at(start);
        let end = tail.find(|c| !is_word(c)).unwrap_or(tail.len());
        let (word, after) = tail.split_at(end);
        text.push_str(before);
        text.push_str(&word_masked(word, after));
        rest = after;
    }
    text.push_str(rest);
    gaps(&ages(&numbered(&text)))
}

fn word_masked(word: &str, after: &str) -> String {
    let is_id = |word: &str, length: usize| {
        word.len() == length && word.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
    };
    let is_instant = word.len() > 20 && word.ends_with('Z') && word.contains('T');
    if is_id(word, ID_CHARS) {
        return "ID".into();
    } else if is_instant {
        return "TIME".into();
    }
    // A task before its output: `web.1.TASK@NODE`.
    if let Some((task, id)) = word.rsplit_once('.')
        && after.starts_with('@')
        && is_id(id, SHORT_ID_CHARS)
    {
        return format!("{task}.ID");
    }
    if let Some(port) = word.strip_prefix("127.0.0.1:")
        && port.bytes().all(|b| b.is_ascii_digit())
    {
        return "ADDRESS".into();
    }
    word.to_owned()
}

/// What is told from others by its first characters. They are kept.
fn tokens_and_keys(line: &str) -> String {
    let mut text = line.to_owned();
    for (first, name) in
        [("SWMTKN-1-", "TOKEN"), ("SECTKN-1-", "TOKEN"), ("SWMKEY-1-", "KEY"), ("SECKEY-1-", "KEY")]
    {
        if let Some((before, rest)) = text.split_once(first) {
            let (word, after) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
            if word.len() > ID_CHARS {
                text = format!("{before}{first}{name}{after}");
            }
        }
    }
    text
}

/// Places in the log, and instants as Go writes them.
fn numbered(line: &str) -> String {
    if let Some((before, _)) = line.split_once("\"Index\": ") {
        return format!("{before}\"Index\": INDEX");
    }
    match line.split_once("at:") {
        Some((before, _)) if line.ends_with(" utc") => format!("{before}at: TIME"),
        _ => line.to_owned(),
    }
}

/// `3 seconds ago` and its like are `AGO`, whatever state is before it.
fn ages(line: &str) -> String {
    let mut cells: Vec<String> = line.split("   ").map(ToOwned::to_owned).collect();
    for cell in cells.iter_mut().filter(|cell| cell.trim().ends_with(" ago")) {
        let small = cell.to_ascii_lowercase();
        let words = ["less than ", "about "].into_iter().filter_map(|word| small.find(word));
        let start = words.chain(small.find(|c: char| c.is_ascii_digit())).min();
        cell.truncate(start.unwrap_or_default());
        cell.push_str("AGO ");
    }
    cells.join("   ")
}

/// Columns are as wide as what is in them today.
fn gaps(line: &str) -> String {
    let indent = line.len() - line.trim_start().len();
    let (before, rest) = line.split_at(indent);
    let cells = rest.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
    before.to_owned() + &cells.collect::<Vec<_>>().join("   ")
}
