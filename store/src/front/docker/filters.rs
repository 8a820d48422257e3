//! The `filters` of lists: JSON in the query, `{"name":{"db":true}}`, or `{"name":["db"]}` as old
//! clients write it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::answer::Problem;

/// What a list is asked for, as it stands in the query.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Query {
    filters: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    Set(BTreeMap<String, bool>),
    List(Vec<String>),
    None,
}

/// Values by key; no key is without one.
pub(super) type Filters = BTreeMap<String, Vec<String>>;

impl From<Option<String>> for Query {
    fn from(filters: Option<String>) -> Self {
        Self { filters }
    }
}

/// Whether there are all labels that are asked for: `KEY`, or `KEY=VALUE`.
pub(super) fn has_labels(labels: &BTreeMap<String, String>, asked: &[String]) -> bool {
    asked.iter().all(|label| {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        labels.get(key).is_some_and(|has| value.is_empty() || has == value)
    })
}

impl Query {
    #[cfg(test)]
    pub(super) fn of(text: &str) -> Self {
        Self { filters: Some(text.to_owned()) }
    }

    /// The filters, of which all keys are known. As with Docker, a value counts whatever is said of it,
    /// and a key without one asks for nothing.
    pub(super) fn filters(&self, known: &[&str]) -> Result<Filters, Problem> {
        let text = self.filters.as_deref().filter(|text| !text.is_empty()).unwrap_or("{}");
        let filters: Option<BTreeMap<String, Values>> = serde_json::from_str(text)
            .map_err(|_| Problem::invalid("invalid filter: it is not JSON of keys and values"))?;
        let filters = filters.unwrap_or_default();
        if let Some(key) = filters.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(Problem::invalid(format!("invalid filter '{key}'")));
        }
        let values = |values| match values {
            Values::Set(set) => set.into_keys().collect(),
            Values::List(list) => list,
            Values::None => Vec::new(),
        };
        let filters = filters.into_iter().map(|(key, given)| (key, values(given)));
        Ok(filters.filter(|(_, values)| !values.is_empty()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Filters, String> {
        Query::of(text).filters(&["name", "label"]).map_err(|problem| problem.message().to_owned())
    }

    #[test]
    fn both_forms_are_read_and_other_keys_refused() {
        let expected = BTreeMap::from([("name".to_owned(), vec!["a".to_owned(), "b".to_owned()])]);
        assert_eq!(of(r#"{"name":{"a":true,"b":false}}"#), Ok(expected.clone()));
        assert_eq!(of(r#"{"name":["a","b"]}"#), Ok(expected));
        for nothing in ["", "{}", "null", r#"{"name":{},"label":[]}"#, r#"{"name":null}"#] {
            assert_eq!(of(nothing), Ok(Filters::new()), "{nothing}");
        }
        assert_eq!(of(r#"{"colour":{"red":true}}"#), Err("invalid filter 'colour'".into()));
        for wrong in ["[", "[]", r#"{"name":"a"}"#, r#"{"name":{"a":1}}"#, r#"{"name":7}"#] {
            assert!(of(wrong).unwrap_err().starts_with("invalid filter"), "{wrong}");
        }
        assert!(Query::default().filters(&[]).unwrap().is_empty());
    }
}
