//! Words of a text, split as a shell does. Not here: variables, patterns, substitutions.

/// A quote has no end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a quote is not closed in `{0}`")]
pub(crate) struct OpenQuote(String);

/// Splits a text into words: quotes keep words together, a backslash takes the next character as it is.
pub(crate) fn split(text: &str) -> Result<Vec<String>, OpenQuote> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            (_, Some(open)) if character == open => quote = None,
            ('\'' | '"', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(characters.next()),
            (_, None) if character.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        return Err(OpenQuote(text.to_owned()));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_does() {
        let words = |text| split(text).ok();
        assert_eq!(words("--port 80  -v").unwrap(), ["--port", "80", "-v"]);
        assert_eq!(words(r#"a "b c" 'd "e' f\ g"#).unwrap(), ["a", "b c", "d \"e", "f g"]);
        assert_eq!(words("a '' b").unwrap(), ["a", "", "b"]);
        assert_eq!(words("").unwrap(), [""; 0]);
        assert_eq!(words("a 'b"), None);
    }
}
