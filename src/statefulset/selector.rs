//! Label selectors of `spec.selector`.
//!
//! Source: apimachinery `LabelSelectorAsSelector`. Differs: the empty selector, which validation refuses,
//! matches nothing instead of everything; adopting by accident is the worse mistake.

use std::collections::BTreeMap;

use serde_json::Value;

/// A parsed selector; all requirements must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// `matchLabels`.
    pub labels: BTreeMap<String, String>,
    expressions: Vec<(String, Requirement)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

impl Selector {
    /// Parses a `LabelSelector` given as JSON.
    ///
    /// # Errors
    /// An operator, key or value that is not understood, in words for the log.
    pub fn parse(raw: &Value) -> Result<Self, String> {
        let mut selector = Self::default();
        for (key, value) in raw.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().ok_or_else(|| format!("matchLabels[{key}] is not a string"))?;
            selector.labels.insert(key.clone(), value.to_owned());
        }
        for it in raw.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let key = it.get("key").and_then(Value::as_str).ok_or("matchExpressions without a key")?;
            let values: Vec<String> = it
                .get("values")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|it| it.as_str().map(str::to_owned))
                .collect();
            let requirement = match it.get("operator").and_then(Value::as_str) {
                Some("In") => Requirement::In(values),
                Some("NotIn") => Requirement::NotIn(values),
                Some("Exists") => Requirement::Exists,
                Some("DoesNotExist") => Requirement::DoesNotExist,
                other => return Err(format!("operator {other:?} of key {key} is not known")),
            };
            selector.expressions.push((key.to_owned(), requirement));
        }
        Ok(selector)
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        if self.labels.is_empty() && self.expressions.is_empty() {
            return false;
        }
        self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.expressions.iter().all(|(key, requirement)| {
                let value = labels.get(key);
                match requirement {
                    Requirement::In(values) => value.is_some_and(|it| values.contains(it)),
                    Requirement::NotIn(values) => value.is_none_or(|it| !values.contains(it)),
                    Requirement::Exists => value.is_some(),
                    Requirement::DoesNotExist => value.is_none(),
                }
            })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors() {
        let labels: BTreeMap<String, String> =
            [("app".into(), "web".into()), ("tier".into(), "db".into())].into();
        let expression = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        let cases = [
            (json!({"matchLabels": {"app": "web"}}), true),
            (json!({"matchLabels": {"app": "web", "x": "y"}}), false),
            (json!({}), false),
            (expression("tier", "In", &["db", "cache"]), true),
            (expression("tier", "NotIn", &["db"]), false),
            (expression("zone", "NotIn", &["db"]), true),
            (expression("app", "Exists", &[]), true),
            (expression("app", "DoesNotExist", &[]), false),
        ];
        for (raw, want) in cases {
            assert_eq!(Selector::parse(&raw).unwrap().matches(&labels), want, "{raw}");
        }
        assert!(Selector::parse(&expression("app", "Gt", &["1"])).is_err());
    }
}
