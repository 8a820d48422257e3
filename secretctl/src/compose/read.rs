//! From a tree to what it means: keys, one file at a time.
//!
//! Not here: the keys of a service (`service`), merging of files (`merge`).

use std::collections::BTreeMap;

use super::interpolate::{InterpolationError, Variables};
use super::node::{Key, Node, Place, Value};
use super::{ComposeError, Outside, Secret, SecretFrom, Service, Stack};

/// Reads files, one after the other, and gathers what is to be said of them.
pub(super) struct Reader<'a> {
    pub(super) outside: &'a Outside<'a>,
    variables: Variables<'a>,
    warnings: Vec<String>,
}

/// What is to be done with a key of the specification that managers have nothing for.
#[derive(Clone, Copy)]
pub(super) enum Unsupported {
    /// Nothing comes of it, which is said.
    Warn,
    /// Without it something else would run.
    Refuse(&'static str),
}

impl<'a> Reader<'a> {
    pub(super) fn new(outside: &'a Outside<'a>) -> Self {
        let variables = Variables { of: outside.variable, missing: Vec::new() };
        Self { outside, variables, warnings: Vec::new() }
    }

    /// What was gathered.
    pub(super) fn warnings(self) -> Vec<String> {
        let missing = self.variables.missing.into_iter();
        let missing = missing
            .map(|name| format!("the variable {name} is not set: an empty text stands for it"));
        missing.chain(self.warnings).collect()
    }

    pub(super) fn warn(&mut self, place: &Place, text: &str) {
        self.warnings.push(format!("{place}: {text}"));
    }

    /// Reads one file.
    pub(super) fn file(&mut self, root: Node) -> Result<Stack, ComposeError> {
        let mut stack = Stack::default();
        for (key, node) in map(root)? {
            match key.name.as_str() {
                "version" => self.version(&node)?,
                "services" => stack.services = self.each(node, Self::service)?,
                "secrets" => stack.secrets = self.each(node, Self::secret)?,
                // Of the stack, which the command line names.
                "name" => drop(self.text(&node)?),
                "configs" => stack.configs = self.each(node, Self::config)?,
                "include" => self.unsupported(
                    &key,
                    &node,
                    Unsupported::Refuse(
                        "other files are named with `-c`, each after those that it is put over",
                    ),
                )?,
                "networks" | "volumes" | "models" => {
                    self.unsupported(&key, &node, Unsupported::Warn)?;
                }
                _ => unknown(&key, "at the top of a compose file")?,
            }
        }
        Ok(stack)
    }

    fn version(&mut self, node: &Node) -> Result<(), ComposeError> {
        let text = self.text(node)?;
        let major = text.split('.').next().unwrap_or_default();
        if major.parse::<u32>().is_ok_and(|major| major >= 3) {
            return Ok(());
        }
        Err(node.place.wrong(format!("version `{text}` is not read: 3.1 or later, or none at all")))
    }

    /// Reads a map from names to things of one kind.
    fn each<T>(
        &mut self,
        node: Node,
        one: impl Fn(&mut Self, &Key, Node) -> Result<T, ComposeError>,
    ) -> Result<BTreeMap<String, T>, ComposeError> {
        let mut all = BTreeMap::new();
        for (key, node) in map(node)? {
            if !key.name.starts_with("x-") {
                let thing = one(self, &key, node)?;
                all.insert(key.name, thing);
            }
        }
        Ok(all)
    }

    fn service(&mut self, key: &Key, node: Node) -> Result<Service, ComposeError> {
        super::service::read(self, key, node)
    }

    fn secret(&mut self, key: &Key, node: Node) -> Result<Secret, ComposeError> {
        self.valued("secret", key, node)
    }

    /// As a secret, and its value may stand in the file itself.
    fn config(&mut self, key: &Key, node: Node) -> Result<Secret, ComposeError> {
        self.valued("config", key, node)
    }

    fn valued(&mut self, kind: &str, key: &Key, node: Node) -> Result<Secret, ComposeError> {
        let mut from = Vec::new();
        let mut name = None;
        let mut labels = BTreeMap::new();
        for (key, node) in map(node)? {
            match key.name.as_str() {
                "file" => from.push(SecretFrom::File(self.text(&node)?)),
                "content" if kind == "config" => {
                    from.push(SecretFrom::Content(self.text(&node)?));
                }
                "environment" => from.push(SecretFrom::Environment(self.text(&node)?)),
                "external" => {
                    let (external, named) = self.external(node)?;
                    name = named.or(name);
                    from.extend(external.then_some(SecretFrom::External(true)));
                }
                "name" => name = Some(self.text(&node)?),
                "labels" => labels = self.pairs(node)?,
                "driver" | "driver_opts" | "template_driver" => {
                    self.unsupported(
                        &key,
                        &node,
                        Unsupported::Refuse(
                            "values come from a file, a variable, or what is there already",
                        ),
                    )?;
                }
                _ => unknown(&key, if kind == "config" { "in a config" } else { "in a secret" })?,
            }
        }
        let [from] = from.as_slice() else {
            let content = if kind == "config" { "`content`, " } else { "" };
            return Err(key.place.wrong(format!(
                "{kind} `{}` has to have one of {content}`file`, `environment` and `external: true`",
                key.name
            )));
        };
        Ok(Secret { from: from.clone(), name, labels })
    }

    /// `external: true`, or the older form with a name.
    fn external(&mut self, node: Node) -> Result<(bool, Option<String>), ComposeError> {
        if !matches!(node.value, Value::Map(_)) {
            return Ok((self.truth(&node)?, None));
        }
        let mut name = None;
        for (key, node) in map(node)? {
            match key.name.as_str() {
                "name" => name = Some(self.text(&node)?),
                _ => unknown(&key, "in `external`")?,
            }
        }
        Ok((true, name))
    }

    /// A text, with its variables put in.
    pub(super) fn text(&mut self, node: &Node) -> Result<String, ComposeError> {
        match &node.value {
            Value::Scalar(text, _) => {
                let text = self.variables.put_in(text);
                text.map_err(|error: InterpolationError| node.place.wrong(error.to_string()))
            }
            _ => Err(node.place.wrong(format!("expected a text, not {}", node.kind()))),
        }
    }

    /// A text that says something else, by a function that reads it.
    pub(super) fn parsed<T, E: ToString>(
        &mut self,
        node: &Node,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, ComposeError> {
        let text = self.text(node)?;
        parse(&text).map_err(|error| node.place.wrong(error.to_string()))
    }

    pub(super) fn number(&mut self, node: &Node) -> Result<u64, ComposeError> {
        self.parsed(node, |text| {
            text.parse().map_err(|_| format!("expected a number from 0 on, not `{text}`"))
        })
    }

    pub(super) fn truth(&mut self, node: &Node) -> Result<bool, ComposeError> {
        self.parsed(node, |text| match text {
            "true" | "True" | "TRUE" | "yes" | "on" => Ok(true),
            "false" | "False" | "FALSE" | "no" | "off" => Ok(false),
            _ => Err(format!("expected true or false, not `{text}`")),
        })
    }

    pub(super) fn texts(&mut self, node: Node) -> Result<Vec<String>, ComposeError> {
        list(node)?.into_iter().map(|item| self.text(&item)).collect()
    }

    /// `KEY: VALUE` entries, or a list of `KEY=VALUE`; none for a key without a value.
    pub(super) fn settings(
        &mut self,
        node: Node,
    ) -> Result<Vec<(String, Option<String>)>, ComposeError> {
        if let Value::List(items) = node.value {
            let pair = |item| {
                let text = self.text(&item)?;
                Ok(match text.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (text, None),
                })
            };
            return items.into_iter().map(pair).collect();
        }
        let entries = map(node)?.into_iter();
        let pair = |(key, node): (Key, Node)| {
            let value = match node.value {
                Value::Null => None,
                _ => Some(self.text(&node)?),
            };
            Ok((key.name, value))
        };
        entries.map(pair).collect()
    }

    /// Labels.
    pub(super) fn pairs(&mut self, node: Node) -> Result<BTreeMap<String, String>, ComposeError> {
        let settings = self.settings(node)?.into_iter();
        Ok(settings.map(|(key, value)| (key, value.unwrap_or_default())).collect())
    }

    /// A key of the specification that managers have nothing for.
    pub(super) fn unsupported(
        &mut self,
        key: &Key,
        node: &Node,
        what: Unsupported,
    ) -> Result<(), ComposeError> {
        let is_empty = match &node.value {
            Value::Null => true,
            Value::Scalar(..) => false,
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => entries.is_empty(),
        };
        match what {
            _ if is_empty => Ok(()),
            Unsupported::Warn => {
                self.warn(&key.place, &format!("`{}` is not supported and is ignored", key.name));
                Ok(())
            }
            Unsupported::Refuse(why) => {
                Err(key.place.wrong(format!("`{}` is not supported: {why}", key.name)))
            }
        }
    }
}

/// The entries of a map; nothing has none.
pub(super) fn map(node: Node) -> Result<Vec<(Key, Node)>, ComposeError> {
    match node.value {
        Value::Map(entries) => Ok(entries),
        Value::Null => Ok(Vec::new()),
        _ => Err(node.place.wrong(format!("expected a map, not {}", node.kind()))),
    }
}

/// The items of a list; nothing has none.
pub(super) fn list(node: Node) -> Result<Vec<Node>, ComposeError> {
    match node.value {
        Value::List(items) => Ok(items),
        Value::Null => Ok(Vec::new()),
        _ => Err(node.place.wrong(format!("expected a list, not {}", node.kind()))),
    }
}

/// A key that nobody knows, unless it is somebody's own.
pub(super) fn unknown(key: &Key, place: &str) -> Result<(), ComposeError> {
    if key.name.starts_with("x-") {
        return Ok(());
    }
    Err(key.place.wrong(format!("unknown key `{}` {place}", key.name)))
}
