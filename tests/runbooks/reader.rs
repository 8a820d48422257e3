//! What a page tells its reader to type: its `sh` blocks, and the text that it shows after one.
//!
//! Not here: typing it. Invariant: a line is given as it stands in the page, its indentation in a
//! list and its comment taken off; nothing else of it is changed.

use std::path::Path;

/// A page of `docs/operations`.
pub(crate) struct Page {
    name: String,
    blocks: Vec<Block>,
}

/// A `sh` block.
#[derive(Clone)]
pub(crate) struct Block {
    /// The line of its first command in the page.
    pub(crate) line: usize,
    /// Its commands.
    pub(crate) commands: Vec<Command>,
    /// Lines of the `text` block that comes right after it: what it is said to print.
    pub(crate) shown: Vec<String>,
    typed: bool,
}

/// A command, however many lines it has.
#[derive(Clone)]
pub(crate) struct Command {
    /// As it is typed.
    pub(crate) text: String,
    /// What the comment behind it quotes: it is to be in what the command says.
    pub(crate) quoted: Vec<String>,
}

impl Page {
    pub(crate) fn read(name: &str) -> Self {
        let path = folder().join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        let blocks = blocks(&text);
        assert!(!blocks.is_empty(), "{name} has something to type");
        Self { name: name.to_owned(), blocks }
    }

    /// The first block not typed yet that begins so; it counts as typed from now on.
    pub(crate) fn block(&mut self, beginning: &str) -> Block {
        let mut blocks = self.blocks.iter_mut();
        let found = blocks.find(|block| !block.typed && block.begins(beginning));
        let found = found.unwrap_or_else(|| panic!("{}: no block begins {beginning:?}", self.name));
        found.typed = true;
        found.clone()
    }

    /// A block that no test types, and why.
    pub(crate) fn not_typed(&mut self, beginning: &str, reason: &str) {
        assert!(!reason.is_empty());
        self.block(beginning);
    }

    /// That nothing in the page is left.
    pub(crate) fn assert_all_typed(&self) {
        let left = self.blocks.iter().filter(|block| !block.typed);
        let left: Vec<_> = left.map(|block| block.place(&self.name)).collect();
        assert!(left.is_empty(), "nobody types, and nobody says why not:\n{}", left.join("\n"));
    }

    /// Every block, as a test shows where it is.
    pub(crate) fn places(&self) -> Vec<String> {
        self.blocks.iter().map(|block| block.place(&self.name)).collect()
    }
}

impl Block {
    fn begins(&self, beginning: &str) -> bool {
        self.commands.first().is_some_and(|command| command.text.starts_with(beginning))
    }

    fn place(&self, page: &str) -> String {
        let first = self.commands.first().map_or("", |command| command.text.as_str());
        format!("docs/operations/{page}:{}: {first}", self.line)
    }
}

/// Where the runbooks are.
pub(crate) fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations")
}

/// Whether a page has anything to type.
pub(crate) fn has_blocks(text: &str) -> bool {
    text.lines().any(|line| line.trim() == "```sh")
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = text.lines().enumerate();
    // Whether only empty lines came since the last block.
    let mut right_after = false;
    while let Some((number, line)) = lines.next() {
        let Some(kind) = line.trim().strip_prefix("```") else {
            right_after &= line.trim().is_empty();
            continue;
        };
        let inside: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```").collect();
        let indented = line.len() - line.trim_start().len();
        let inside = inside.iter().map(|line| line.get(indented..).unwrap_or(""));
        if kind == "sh" {
            let commands = commands(inside);
            blocks.push(Block { line: number + 2, commands, shown: Vec::new(), typed: false });
        } else if kind == "text"
            && right_after
            && let Some(block) = blocks.last_mut()
        {
            block.shown = inside.map(str::to_owned).collect();
        }
        right_after = kind == "sh";
    }
    blocks
}

/// Lines, those that belong together as one: after a backslash, and up to the end of a here-document.
fn commands<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut lines = lines;
    while let Some(line) = lines.next() {
        let (typed, comment) = line.split_once(" #").unwrap_or((line, ""));
        let mut text = typed.trim_end().to_owned();
        while text.ends_with('\\') {
            text.push('\n');
            text.push_str(lines.next().expect("a line goes on"));
        }
        if text.contains("<<'END'") {
            for line in lines.by_ref() {
                text.push('\n');
                text.push_str(line);
                if line == "END" {
                    break;
                }
            }
        }
        if !text.is_empty() {
            commands.push(Command { text, quoted: quoted(comment) });
        }
    }
    commands
}

/// What stands in backquotes, but for commands.
fn quoted(comment: &str) -> Vec<String> {
    let parts = comment.split('`').skip(1).step_by(2);
    parts.filter(|part| !part.starts_with("secretctl")).map(str::to_owned).collect()
}

#[test]
fn commands_are_read_as_a_shell_would() {
    let page = "1. Say\n\n   ```sh\n   a b   # shows `x: …`, see `secretctl x`\n   \
                c \\\n     > d\n   ```\n\n   ```text\n   x: 1\n   ```\n\nno\n\n```text\ny\n```\n\
                ```sh\ncat <<'END'\ne # f\nEND\ng\n```\n";
    let blocks = blocks(page);
    let texts: Vec<Vec<_>> = blocks
        .iter()
        .map(|block| block.commands.iter().map(|command| command.text.as_str()).collect())
        .collect();
    assert_eq!(texts, [vec!["a b", "c \\\n  > d"], vec!["cat <<'END'\ne # f\nEND", "g"]]);
    assert_eq!(blocks[0].commands[0].quoted, ["x: …"]);
    assert_eq!(blocks[0].shown, ["x: 1"]);
    assert_eq!(blocks[1].shown, Vec::<String>::new());
    assert_eq!((blocks[0].line, blocks[1].line), (4, 19));
}
