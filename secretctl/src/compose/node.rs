//! A YAML document as a tree in which every node knows where it stands.
//!
//! Made of the parser's events, not of its types: a key that is not known is refused with its line, and
//! `0440` and `440` are told apart by how they were written. Aliases and merge keys (`<<`) are resolved
//! here. Not here: what the keys mean.
//!
//! Invariant: a tree and what its anchors keep have at most [`NODES_MAX`] nodes and [`TREE_BYTES_MAX`]
//! bytes of text, however aliases multiply.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use granit_parser::{Event, Parser, ScalarStyle, Tag};

use super::ComposeError;

/// Longest file that is read, in bytes: hundreds of services.
pub(crate) const FILE_BYTES_MAX: usize = 1 << 20;

/// Most nodes of a file with its aliases resolved: a few lines can otherwise mean billions.
pub(super) const NODES_MAX: usize = 100_000;

/// Most bytes of text in those nodes: a long text can otherwise stand in every one of them. Room for a
/// file of the longest whose parts are each used some times again.
pub(super) const TREE_BYTES_MAX: usize = 4 * FILE_BYTES_MAX;

/// How deep nodes nest: deeper than any key of the specification, and no deeper than the stack bears.
pub(super) const DEPTH_MAX: usize = 64;

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file, as it was named.
    pub(super) file: Rc<str>,
    /// From 1.
    pub(super) line: usize,
    /// From 1.
    pub(super) column: usize,
}

/// A value, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// A text, and whether it was written without quotes: then it may mean a number or a truth.
    Scalar(String, bool),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file.
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) place: Place,
}

impl Node {
    /// What it is, for messages.
    pub(super) const fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Scalar(..) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    fn size(&self) -> Size {
        let own = Size { nodes: 1, bytes: 0 };
        match &self.value {
            Value::Null => own,
            Value::Scalar(text, _) => Size { bytes: text.len(), ..own },
            Value::List(items) => items.iter().map(Self::size).fold(own, Size::with),
            Value::Map(entries) => entries.iter().fold(own, |sum, (key, node)| {
                sum.with(Size { nodes: 1, bytes: key.name.len() }).with(node.size())
            }),
        }
    }

    fn depth(&self) -> usize {
        1 + match &self.value {
            Value::Null | Value::Scalar(..) => 0,
            Value::List(items) => items.iter().map(Self::depth).max().unwrap_or(0),
            Value::Map(entries) => entries.iter().map(|(_, it)| it.depth()).max().unwrap_or(0),
        }
    }
}

/// How much there is of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
}

impl Size {
    const fn with(self, other: Self) -> Self {
        Self {
            nodes: self.nodes.saturating_add(other.nodes),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

/// Reads the one document of a file.
pub(super) fn parse(file: &Rc<str>, text: &str) -> Result<Node, ComposeError> {
    let start = Place { file: Rc::clone(file), line: 1, column: 1 };
    if text.len() > FILE_BYTES_MAX {
        return Err(start.wrong(format!("the file has more than {FILE_BYTES_MAX} bytes")));
    }
    let (open, anchors, size) = (Vec::new(), BTreeMap::new(), Size::default());
    let mut tree = Tree { file, open, anchors, size, root: None };
    for event in Parser::new_from_str(text) {
        let (event, span) =
            event.map_err(|error| tree.place(*error.marker()).wrong(error.info()))?;
        let place = tree.place(span.start);
        tree.take(event, place)?;
    }
    let empty = || Node { place: start, value: Value::Map(Vec::new()) };
    Ok(tree.root.unwrap_or_else(empty))
}

/// A list or map whose end has not come.
struct Open {
    node: Node,
    anchor: usize,
    /// The key that waits for its value.
    key: Option<Key>,
}

struct Tree<'a> {
    file: &'a Rc<str>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Rc<Node>>,
    size: Size,
    root: Option<Node>,
}

impl Tree<'_> {
    fn place(&self, marker: granit_parser::Marker) -> Place {
        Place { file: Rc::clone(self.file), line: marker.line(), column: marker.col() + 1 }
    }

    fn take(&mut self, event: Event<'_>, place: Place) -> Result<(), ComposeError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                check_tag(tag.as_deref(), &place)?;
                let plain = style == ScalarStyle::Plain;
                let is_null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value =
                    if is_null { Value::Null } else { Value::Scalar(text.into_owned(), plain) };
                let node = Node { place, value };
                self.count(node.size(), &node.place)?;
                self.put(node, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                check_tag(tag.as_deref(), &place)?;
                self.begin(Node { place, value: Value::List(Vec::new()) }, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                check_tag(tag.as_deref(), &place)?;
                self.begin(Node { place, value: Value::Map(Vec::new()) }, anchor)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => {
                    // What is in it was counted as it came.
                    self.count(Size { nodes: 1, bytes: 0 }, &open.node.place)?;
                    self.put(closed(open.node)?, open.anchor)
                }
                None => Ok(()),
            },
            Event::Alias(id) => match self.anchors.get(&id).cloned() {
                Some(node) if self.open.len() + node.depth() > DEPTH_MAX => Err(too_deep(&place)),
                Some(node) => {
                    self.count(node.size(), &place)?;
                    self.put(Rc::unwrap_or_clone(node), 0)
                }
                // What is still open would hold itself.
                None => Err(place.wrong("an alias stands inside of what it names")),
            },
            Event::DocumentStart(..) if self.root.is_some() => {
                Err(place.wrong("there is a second document; a compose file is one"))
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, node: Node, anchor: usize) -> Result<(), ComposeError> {
        if self.open.len() >= DEPTH_MAX {
            return Err(too_deep(&node.place));
        }
        self.open.push(Open { node, anchor, key: None });
        Ok(())
    }

    /// Counts what is about to be kept.
    fn count(&mut self, size: Size, place: &Place) -> Result<(), ComposeError> {
        self.size = self.size.with(size);
        let (what, max) = match self.size {
            Size { nodes, .. } if nodes > NODES_MAX => ("values", NODES_MAX),
            Size { bytes, .. } if bytes > TREE_BYTES_MAX => ("bytes of text", TREE_BYTES_MAX),
            _ => return Ok(()),
        };
        Err(place.wrong(format!("with its aliases the file has more than {max} {what}")))
    }

    /// Puts a node where it belongs; its anchor keeps another one.
    fn put(&mut self, node: Node, anchor: usize) -> Result<(), ComposeError> {
        if anchor != 0 {
            self.count(node.size(), &node.place)?;
            self.anchors.insert(anchor, Rc::new(node.clone()));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.node.value {
            Value::List(items) => items.push(node),
            Value::Map(entries) => match open.key.take() {
                Some(key) => entries.push((key, node)),
                None => open.key = Some(key_of(node)?),
            },
            Value::Null | Value::Scalar(..) => {}
        }
        Ok(())
    }
}

/// A tag would change what is meant (`!reset`, `!override`); those of YAML itself only say it.
fn check_tag(tag: Option<&Tag>, place: &Place) -> Result<(), ComposeError> {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema() => Err(place.wrong("tags are not read")),
        _ => Ok(()),
    }
}

fn too_deep(place: &Place) -> ComposeError {
    place.wrong(format!("it nests deeper than {DEPTH_MAX}"))
}

fn key_of(node: Node) -> Result<Key, ComposeError> {
    match node.value {
        Value::Scalar(name, _) => Ok(Key { name, place: node.place }),
        _ => Err(node.place.wrong(format!("a key is a text, not {}", node.kind()))),
    }
}

/// A map with the maps merged in that `<<` names: its own keys count first, then those of the first.
/// A key that is there twice is refused.
fn closed(node: Node) -> Result<Node, ComposeError> {
    let Value::Map(entries) = node.value else { return Ok(node) };
    let mut own: Vec<(Key, Node)> = Vec::with_capacity(entries.len());
    let mut names = BTreeSet::new();
    let mut merged = Vec::new();
    for (key, value) in entries {
        if key.name == "<<" {
            merged.extend(maps_of(value)?);
        } else if names.insert(key.name.clone()) {
            own.push((key, value));
        } else {
            return Err(key.place.wrong(format!("`{}` is there twice", key.name)));
        }
    }
    for (key, value) in merged {
        if names.insert(key.name.clone()) {
            own.push((key, value));
        }
    }
    Ok(Node { place: node.place, value: Value::Map(own) })
}

/// The entries of a map, or of a list of maps.
fn maps_of(node: Node) -> Result<Vec<(Key, Node)>, ComposeError> {
    match node.value {
        Value::Map(entries) => Ok(entries),
        Value::List(items) if items.iter().all(|item| matches!(item.value, Value::Map(_))) => {
            let maps: Result<Vec<_>, _> = items.into_iter().map(maps_of).collect();
            Ok(maps?.into_iter().flatten().collect())
        }
        _ => Err(node.place.wrong(format!("`<<` takes maps, not {}", node.kind()))),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn parsed(text: &str) -> Result<Node, String> {
        parse(&"c.yml".into(), text).map_err(|error| error.to_string())
    }

    #[test]
    fn every_node_knows_where_it_stands() {
        let Value::Map(entries) = parsed("a:\n  b: 1\n").unwrap().value else { panic!("no map") };
        let (key, node) = &entries[0];
        assert_eq!((key.place.line, key.place.column), (1, 1));
        let Value::Map(inside) = &node.value else { panic!("no map") };
        assert_eq!((inside[0].0.place.line, inside[0].0.place.column), (2, 3));
        assert_eq!(inside[0].1.value, Value::Scalar("1".into(), true));
    }

    #[test]
    fn merge_keys_and_aliases_are_resolved() {
        let text = "x: &base {a: 1, b: 2}\ny:\n  <<: *base\n  b: 3\n";
        let Value::Map(entries) = parsed(text).unwrap().value else { panic!("no map") };
        let Value::Map(y) = &entries[1].1.value else { panic!("no map") };
        let all: Vec<_> = y.iter().map(|(key, node)| (key.name.as_str(), &node.value)).collect();
        let scalar = |text: &str| Value::Scalar(text.into(), true);
        assert_eq!(all, [("b", &scalar("3")), ("a", &scalar("1"))]);
    }

    #[test]
    fn what_is_no_tree_is_refused_with_its_place() {
        for (text, message) in [
            ("a: 1\na: 2\n", "c.yml:2:1: `a` is there twice"),
            ("? [a]\n: b\n", "c.yml:1:3: a key is a text, not a list"),
            ("a: 1\n---\nb: 2\n", "c.yml:2:1: there is a second document; a compose file is one"),
            ("a: &x [*x]\n", "c.yml:1:8: an alias stands inside of what it names"),
            ("<<: 3\n", "c.yml:1:5: `<<` takes maps, not a single value"),
            ("a: !reset null\n", "c.yml:1:11: tags are not read"),
            ("a: !override [1]\n", "c.yml:1:14: tags are not read"),
            ("a: !override {b: 1}\n", "c.yml:1:14: tags are not read"),
            ("a: !override\n  - 1\n", "c.yml:2:3: tags are not read"),
            ("a: !override\n  b: 1\n", "c.yml:2:3: tags are not read"),
        ] {
            assert_eq!(parsed(text).unwrap_err(), message);
        }
        assert!(parsed("a: [").unwrap_err().starts_with("c.yml:"));
        assert!(parsed("a: !!map {b: !!seq [!!int 1]}").is_ok(), "that is what they are");
    }

    #[test]
    fn a_tree_has_its_bounds() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parsed(&nested(DEPTH_MAX)).is_ok());
        assert!(parsed(&nested(DEPTH_MAX + 1)).unwrap_err().contains("nests deeper"));

        let list = |items: usize| format!("[{}]", "1,".repeat(items));
        assert!(parsed(&list(NODES_MAX - 1)).is_ok());
        assert!(parsed(&list(NODES_MAX)).unwrap_err().contains("more than 100000 values"));

        let padded = |bytes: usize| format!("a: 1\n#{}", "x".repeat(bytes - 6));
        assert!(parsed(&padded(FILE_BYTES_MAX)).is_ok());
        assert!(parsed(&padded(FILE_BYTES_MAX + 1)).unwrap_err().contains("1048576 bytes"));
        // A billion laughs.
        let mut laughs = "a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]\n".to_owned();
        for n in 1..10 {
            let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
            writeln!(laughs, "a{n}: &a{n} [{aliases}]").unwrap();
        }
        assert!(parsed(&laughs).unwrap_err().contains("more than 100000 values"));
    }

    #[test]
    fn texts_are_bounded_however_often_they_stand_somewhere() {
        // The text, what its anchor keeps, and each alias; the keys `a` and `b`.
        let piece = TREE_BYTES_MAX / 16;
        let text = |more: &str| {
            format!("a: &a {}\nb: [{}'{more}']\n", "x".repeat(piece), "*a, ".repeat(13))
        };
        let left = TREE_BYTES_MAX - 15 * piece - "ab".len();
        assert!(parsed(&text(&"y".repeat(left))).is_ok());
        let refused = parsed(&text(&"y".repeat(left + 1))).unwrap_err();
        assert!(refused.ends_with("more than 4194304 bytes of text"), "{refused}");
    }

    #[test]
    fn what_nested_anchors_keep_counts() {
        let nested = |inner: &str| {
            let (mut text, depth) = (String::new(), 20);
            (0..depth).for_each(|n| write!(text, "&a{n} [").unwrap());
            text + inner + &"]".repeat(depth)
        };
        assert!(parsed(&nested("1")).is_ok());
        let values = parsed(&nested(&"1,".repeat(NODES_MAX / 10))).unwrap_err();
        assert!(values.ends_with("more than 100000 values"), "{values}");
        let bytes = parsed(&nested(&"x".repeat(TREE_BYTES_MAX / 10))).unwrap_err();
        assert!(bytes.ends_with("more than 4194304 bytes of text"), "{bytes}");
    }
}
