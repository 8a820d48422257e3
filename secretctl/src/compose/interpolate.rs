//! Variables in values, as the compose specification has them.
//!
//! `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:?message}`, `${NAME?message}`,
//! `${NAME:+instead}`, `${NAME+instead}`, and `$$` for a dollar. With a colon an empty variable counts
//! as none. Defaults may hold variables themselves. Not here: where variables come from.
//!
//! Invariant: a text without a dollar comes back as it was.

use super::node::DEPTH_MAX;

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum InterpolationError {
    /// It is no substitution.
    #[error("invalid interpolation format: `{0}`; a dollar that is meant is written `$$`")]
    Format(String),
    /// A variable that has to be there is not.
    #[error("required variable {name} is missing a value{message}")]
    Required {
        /// Which.
        name: String,
        /// What the file says to that, after a colon.
        message: String,
    },
}

/// Where variables come from, and which were asked for in vain.
pub(super) struct Variables<'a> {
    pub(super) of: &'a dyn Fn(&str) -> Option<String>,
    pub(super) missing: Vec<String>,
}

impl Variables<'_> {
    /// Puts variables into a text.
    pub(super) fn put_in(&mut self, text: &str) -> Result<String, InterpolationError> {
        self.at_depth(text, 0)
    }

    fn at_depth(&mut self, text: &str, depth: usize) -> Result<String, InterpolationError> {
        let format = || InterpolationError::Format(text.to_owned());
        if depth > DEPTH_MAX {
            return Err(format());
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some(braced) = after.strip_prefix('{') {
                let (inside, after) = until_closed(braced).ok_or_else(format)?;
                out.push_str(&self.braced(inside, depth).ok_or_else(format)??);
                rest = after;
            } else {
                let (name, after) = name_of(after);
                if name.is_empty() {
                    return Err(format());
                }
                out.push_str(&self.value_of(name));
                rest = after;
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    /// What stands for the inside of `${…}`; none if it is malformed.
    fn braced(&mut self, inside: &str, depth: usize) -> Option<Result<String, InterpolationError>> {
        let (name, rest) = name_of(inside);
        if name.is_empty() {
            return None;
        }
        let (counts_empty, rest) = match rest.strip_prefix(':') {
            Some(rest) => (true, rest),
            None if rest.is_empty() => return Some(Ok(self.value_of(name))),
            None => (false, rest),
        };
        let value = (self.of)(name).filter(|value| !(counts_empty && value.is_empty()));
        let operator = rest.chars().next()?;
        let other = rest.strip_prefix(operator)?;
        match (operator, value) {
            ('-' | '?', Some(value)) => Some(Ok(value)),
            ('-', None) | ('+', Some(_)) => Some(self.at_depth(other, depth + 1)),
            ('+', None) => Some(Ok(String::new())),
            ('?', None) => Some(self.at_depth(other, depth + 1).and_then(|message| {
                let message = if message.is_empty() { message } else { format!(": {message}") };
                Err(InterpolationError::Required { name: name.to_owned(), message })
            })),
            _ => None,
        }
    }

    fn value_of(&mut self, name: &str) -> String {
        (self.of)(name).unwrap_or_else(|| {
            if !self.missing.iter().any(|known| known == name) {
                self.missing.push(name.to_owned());
            }
            String::new()
        })
    }
}

/// The name at the beginning of a text, and what follows it.
fn name_of(text: &str) -> (&str, &str) {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    text.split_at(if starts { end } else { 0 })
}

/// What stands before the brace that closes, and what after it.
fn until_closed(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    let mut before = '\0';
    for (at, c) in text.char_indices() {
        match c {
            '{' if before == '$' => depth += 1,
            '}' if depth == 0 => return Some((text.get(..at)?, text.get(at + 1..)?)),
            '}' => depth -= 1,
            _ => {}
        }
        before = c;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn interpolated(text: &str) -> Result<String, String> {
        let of = |name: &str| match name {
            "SET" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let mut variables = Variables { of: &of, missing: Vec::new() };
        variables.put_in(text).map_err(|error| error.to_string())
    }

    #[test]
    fn every_form_of_the_specification_is_read() {
        for (text, expected) in [
            ("plain", "plain"),
            ("$SET", "value"),
            ("a${SET}b", "avalueb"),
            ("$SET-$UNSET.", "value-."),
            ("$$SET", "$SET"),
            ("${UNSET:-else}", "else"),
            ("${EMPTY:-else}", "else"),
            ("${EMPTY-else}", ""),
            ("${UNSET-else}", "else"),
            ("${SET:-else}", "value"),
            ("${SET:+instead}", "instead"),
            ("${EMPTY:+instead}", ""),
            ("${EMPTY+instead}", "instead"),
            ("${UNSET+instead}", ""),
            ("${SET:?why}", "value"),
            ("${UNSET:-a${SET}b}", "avalueb"),
            ("${UNSET:-${OTHER:-deep}}", "deep"),
            ("${UNSET:-{\"a\": 1}", "{\"a\": 1"),
        ] {
            assert_eq!(interpolated(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, message) in [
            ("${UNSET:?why}", "required variable UNSET is missing a value: why"),
            ("${EMPTY:?}", "required variable EMPTY is missing a value"),
        ] {
            assert_eq!(interpolated(text).unwrap_err(), message, "{text}");
        }
        for text in ["$", "${", "${}", "${SET", "$1", "${SET*x}", "${SET:}", "a$ b", "${-x}"] {
            assert!(interpolated(text).unwrap_err().starts_with("invalid interpolation"), "{text}");
        }
    }

    #[test]
    fn defaults_nest_so_deep_and_no_deeper() {
        let nested = |depth: usize| format!("{}x{}", "${A:-".repeat(depth), "}".repeat(depth));
        assert_eq!(interpolated(&nested(DEPTH_MAX)).as_deref(), Ok("x"));
        assert!(interpolated(&nested(DEPTH_MAX + 1)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[${}:?+A-Z \\-]{0,30}") {
            drop(interpolated(&text));
        }

        #[test]
        fn a_text_without_a_dollar_stays(text in "[^$]{0,40}") {
            prop_assert_eq!(interpolated(&text), Ok(text.clone()));
        }
    }
}
