//! Columns and cards of text. Not here: printing, and what stands in them.

use std::fmt::Write as _;

/// A table: each column as wide as its widest cell, three spaces between, no lines drawn.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()] }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.into_iter().map(|cell| cell.replace(['\n', '\t'], " ")).collect());
    }

    /// The table as lines.
    pub(crate) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                write!(line, "{cell:<width$}   ").ok();
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// What is known of one object: a line for each fact that there is.
pub(crate) struct Card {
    text: String,
}

impl Card {
    /// Begins with the name.
    pub(crate) fn new(heading: &str) -> Self {
        Self { text: format!("{heading}\n") }
    }

    /// Adds a fact, if there is one.
    pub(crate) fn line(&mut self, key: &str, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            writeln!(self.text, "  {:<18} {value}", format!("{key}:")).ok();
        }
    }

    /// The card as lines.
    pub(crate) fn render(self) -> String {
        self.text
    }
}

/// Names of objects in the order of people: `web2` before `web10`.
pub(crate) fn natural_order(one: &str, other: &str) -> std::cmp::Ordering {
    chunks(one).cmp(&chunks(other)).then_with(|| one.cmp(other))
}

/// Runs of digits by value, the rest without regard to case.
fn chunks(text: &str) -> Vec<(u128, String)> {
    let mut chunks = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (letters, after) = tail.split_at_checked(end).unwrap_or((tail, ""));
        // No digits sort before any.
        let number = if digits.is_empty() {
            0
        } else {
            digits.parse::<u128>().unwrap_or(u128::MAX).saturating_add(1)
        };
        chunks.push((number, letters.to_ascii_lowercase()));
        rest = after;
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["ID", "NAME"]);
        table.row(vec!["1".into(), "ünï".into()]);
        table.row(vec!["1000".into(), String::new()]);
        assert_eq!(table.render(), "ID     NAME\n1      ünï\n1000\n");
    }

    #[test]
    fn numbers_in_names_count() {
        let mut names = vec!["web10", "db", "web2", "Web1", "web", "2", "10"];
        names.sort_by(|one, other| natural_order(one, other));
        assert_eq!(names, ["db", "web", "Web1", "web2", "web10", "2", "10"]);
    }
}
