//! Label selectors: text or `metav1.LabelSelector` in, yes or no per set of labels out.
//!
//! Requirements are sorted by key, as upstream prints them, so `parse(s.to_string()) == s`.
//! Source: apimachinery `pkg/labels/selector.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::names;

/// Longest accepted label selector, in bytes.
pub const MAX_SELECTOR_LEN: usize = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Operator {
    Exists,
    DoesNotExist,
    Equals(String),
    NotEquals(String),
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    GreaterThan(i64),
    LessThan(i64),
}

/// A parsed label selector; the empty one matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelSelector {
    requirements: Vec<(String, Operator)>,
    /// An absent `metav1.LabelSelector` selects nothing at all.
    nothing: bool,
}

impl LabelSelector {
    /// Parses the query-string form: `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
    ///
    /// # Errors
    /// The text of the 400 answer, in upstream's words.
    pub fn parse(text: &str) -> Result<LabelSelector, String> {
        if text.len() > MAX_SELECTOR_LEN {
            return Err(format!(
                "unable to parse requirement: selector is longer than {MAX_SELECTOR_LEN} bytes"
            ));
        }
        let mut parser = Parser { tokens: scan(text), at: 0 };
        Ok(Self::sorted(parser.requirements()?))
    }

    /// Reads a `metav1.LabelSelector`. `null` selects nothing, `{}` everything.
    ///
    /// # Errors
    /// An operator or a key that does not exist in the grammar.
    pub fn from_json(selector: &Value) -> Result<LabelSelector, String> {
        if selector.is_null() {
            return Ok(LabelSelector { requirements: Vec::new(), nothing: true });
        }
        let mut found = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            let value = value.as_str().ok_or_else(|| format!("label {key:?} is not a string"))?;
            found.push(requirement(key, Operator::Equals(value.to_owned()))?);
        }
        for item in selector["matchExpressions"].as_array().into_iter().flatten() {
            let key = item["key"].as_str().unwrap_or_default();
            let values = || -> BTreeSet<String> {
                let values = item["values"].as_array().into_iter().flatten();
                values.filter_map(Value::as_str).map(str::to_owned).collect()
            };
            let operator = match item["operator"].as_str().unwrap_or_default() {
                "In" => Operator::In(values()),
                "NotIn" => Operator::NotIn(values()),
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(format!("{other:?} is not a valid label selector operator")),
            };
            if matches!(&operator, Operator::In(values) | Operator::NotIn(values) if values.is_empty()) {
                return Err(
                    "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"
                        .into(),
                );
            }
            found.push(requirement(key, operator)?);
        }
        Ok(Self::sorted(found))
    }

    fn sorted(mut requirements: Vec<(String, Operator)>) -> LabelSelector {
        requirements.sort_by(|a, b| a.0.cmp(&b.0));
        LabelSelector { requirements, nothing: false }
    }

    /// Whether `metadata.labels` of `object` satisfies every requirement.
    pub fn matches(&self, object: &Value) -> bool {
        self.matches_labels(&object["metadata"]["labels"])
    }

    /// Whether a map of labels satisfies every requirement; `null` is the empty map.
    pub fn matches_labels(&self, labels: &Value) -> bool {
        self.holds(|key| labels.get(key).and_then(Value::as_str))
    }

    /// Whether labels satisfy every requirement, and there is one. Who adopts by labels must not adopt everything by accident.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.is_empty() && self.holds(|key| labels.get(key).map(String::as_str))
    }

    fn holds<'l>(&self, label: impl Fn(&str) -> Option<&'l str>) -> bool {
        !self.nothing
            && self.requirements.iter().all(|(key, operator)| {
                let value = label(key);
                let number = || value.and_then(|it| it.parse::<i64>().ok());
                match operator {
                    Operator::Exists => value.is_some(),
                    Operator::DoesNotExist => value.is_none(),
                    Operator::Equals(want) => value == Some(want),
                    Operator::NotEquals(want) => value != Some(want),
                    Operator::In(set) => value.is_some_and(|it| set.contains(it)),
                    Operator::NotIn(set) => value.is_none_or(|it| !set.contains(it)),
                    Operator::GreaterThan(bound) => number().is_some_and(|it| it > *bound),
                    Operator::LessThan(bound) => number().is_some_and(|it| it < *bound),
                }
            })
    }

    /// Whether there is no requirement, so that everything matches.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, operator)) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            let list = |set: &BTreeSet<String>| set.iter().map(String::as_str).collect::<Vec<_>>().join(",");
            match operator {
                Operator::Exists => write!(f, "{key}")?,
                Operator::DoesNotExist => write!(f, "!{key}")?,
                Operator::Equals(value) => write!(f, "{key}={value}")?,
                Operator::NotEquals(value) => write!(f, "{key}!={value}")?,
                Operator::In(set) => write!(f, "{key} in ({})", list(set))?,
                Operator::NotIn(set) => write!(f, "{key} notin ({})", list(set))?,
                Operator::GreaterThan(bound) => write!(f, "{key}>{bound}")?,
                Operator::LessThan(bound) => write!(f, "{key}<{bound}")?,
            }
        }
        Ok(())
    }
}

/// Checks key and values of one requirement.
fn requirement(key: &str, operator: Operator) -> Result<(String, Operator), String> {
    check_key("key", key)?;
    let values: Vec<&String> = match &operator {
        Operator::Equals(value) | Operator::NotEquals(value) => vec![value],
        Operator::In(set) | Operator::NotIn(set) => set.iter().collect(),
        _ => Vec::new(),
    };
    for (index, value) in values.into_iter().enumerate() {
        let found = names::label_value(value);
        if !found.is_empty() {
            return Err(format!("values[{index}][{key}]: Invalid value: {value:?}: {}", found.join("; ")));
        }
    }
    Ok((key.to_owned(), operator))
}

fn check_key(path: &str, key: &str) -> Result<(), String> {
    let found = names::qualified_name(key);
    if found.is_empty() {
        return Ok(());
    }
    Err(format!("{path}: Invalid value: {key:?}: {}", found.join("; ")))
}

const SYMBOLS: &str = "=!(),><";

/// Splits into runs of operator characters, single punctuation and words.
fn scan(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(head) = rest.chars().next() {
        let len = if SYMBOLS.contains(head) {
            ["==", "!="].iter().find(|it| rest.starts_with(**it)).map_or(1, |it| it.len())
        } else {
            rest.find(|c: char| SYMBOLS.contains(c) || c.is_ascii_whitespace()).unwrap_or(rest.len())
        };
        tokens.push(rest[..len].to_owned());
        rest = rest[len..].trim_start();
    }
    tokens
}

fn is_word(token: &str) -> bool {
    token.chars().next().is_some_and(|it| !SYMBOLS.contains(it))
}

/// Walks the tokens; past the end every token is the empty string.
struct Parser {
    tokens: Vec<String>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> &str {
        self.tokens.get(self.at).map_or("", String::as_str)
    }

    fn take(&mut self) -> String {
        let token = self.peek().to_owned();
        self.at += 1;
        token
    }

    fn requirements(&mut self) -> Result<Vec<(String, Operator)>, String> {
        let mut found = Vec::new();
        loop {
            match self.peek() {
                "" => return Ok(found),
                token if token == "!" || is_word(token) => {}
                token => return Err(format!("found '{token}', expected: !, identifier, or 'end of string'")),
            }
            let one = self.requirement().map_err(|it| format!("unable to parse requirement: {it}"))?;
            found.push(one);
            match self.take().as_str() {
                "" => return Ok(found),
                "," => {
                    let next = self.peek();
                    if next != "!" && !is_word(next) {
                        return Err(format!("found '{next}', expected: identifier after ','"));
                    }
                }
                token => return Err(format!("found '{token}', expected: ',' or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<(String, Operator), String> {
        let negated = self.peek() == "!";
        if negated {
            self.take();
        }
        let key = self.take();
        if !is_word(&key) {
            return Err(format!("found '{key}', expected: identifier"));
        }
        check_key("<nil>", &key)?;
        if matches!(self.peek(), "" | ",") {
            return Ok((key, if negated { Operator::DoesNotExist } else { Operator::Exists }));
        }
        if negated {
            // Upstream drops the `!` in front of a comparison; refusing it cannot select the wrong objects.
            return Err(format!("found '{}', expected: ',' or 'end of string'", self.peek()));
        }
        let operator = match self.take().as_str() {
            "=" | "==" => Operator::Equals(self.exact_value()?),
            "!=" => Operator::NotEquals(self.exact_value()?),
            "in" => Operator::In(self.values()?),
            "notin" => Operator::NotIn(self.values()?),
            ">" => Operator::GreaterThan(self.number()?),
            "<" => Operator::LessThan(self.number()?),
            token => return Err(format!("found '{token}', expected: in, notin, =, ==, !=, gt, lt")),
        };
        requirement(&key, operator)
    }

    fn exact_value(&mut self) -> Result<String, String> {
        if matches!(self.peek(), "" | ",") {
            return Ok(String::new());
        }
        let token = self.take();
        if is_word(&token) { Ok(token) } else { Err(format!("found '{token}', expected: identifier")) }
    }

    fn number(&mut self) -> Result<i64, String> {
        let value = self.exact_value()?;
        value.parse().map_err(|_| {
            format!(
                "values[0]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer"
            )
        })
    }

    /// `(a,b)`; an empty place between commas is the empty value.
    fn values(&mut self) -> Result<BTreeSet<String>, String> {
        let open = self.take();
        if open != "(" {
            return Err(format!("found '{open}' expected: '('"));
        }
        let mut set = BTreeSet::new();
        loop {
            match self.take() {
                token if token == "," => {
                    set.insert(String::new());
                }
                token if token == ")" => {
                    set.insert(String::new());
                    return Ok(set);
                }
                token if is_word(&token) => {
                    set.insert(token);
                    match self.take().as_str() {
                        "," => {}
                        ")" => return Ok(set),
                        token => return Err(format!("found '{token}', expected: ',' or ')'")),
                    }
                }
                token => return Err(format!("found '{token}', expected: ',', ')' or identifier")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn labels() {
        let object = json!({"metadata": {"labels": {"app": "nginx", "tier": "front", "n": "5", "e": ""}}});
        #[rustfmt::skip]
        let cases = [
            ("", true), ("app=nginx", true), ("app==nginx", true), ("app=web", false), ("app!=web", true),
            ("none!=web", true), ("app in (nginx, web)", true), ("app notin (nginx)", false),
            ("none notin (x)", true), ("none in (x)", false), ("app", true), ("!app", false), ("!none", true),
            ("app=nginx,tier=front", true), ("app=nginx,tier=back", false), ("n>4", true), ("n<5", false),
            ("e=", true), ("e in ()", true), (" app = nginx , tier ", true), ("in=x", false), ("notin", false),
        ];
        for (selector, want) in cases {
            let parsed = LabelSelector::parse(selector).unwrap();
            assert_eq!(parsed.matches(&object), want, "{selector}");
        }
    }

    #[test]
    fn label_errors() {
        #[rustfmt::skip]
        let cases = [
            ("=a", "found '=', expected: !, identifier, or 'end of string'"),
            ("a,", "found '', expected: identifier after ','"),
            ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
            ("a=b=c", "found '=', expected: ',' or 'end of string'"),
            ("a=!", "unable to parse requirement: found '!', expected: identifier"),
        ];
        for (selector, want) in cases {
            assert_eq!(LabelSelector::parse(selector).unwrap_err(), want, "{selector}");
        }
        let error = LabelSelector::parse("-a=b").unwrap_err();
        assert!(
            error.starts_with("unable to parse requirement: <nil>: Invalid value: \"-a\": name part must")
        );
        assert!(LabelSelector::parse(&"a".repeat(10_001)).is_err());
    }

    #[test]
    fn labels_from_json() {
        #[rustfmt::skip]
        let cases = [
            (json!({"matchLabels": {"b": "1", "a": "2"}}), "a=2,b=1"),
            (json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["y", "x"]}]}), "a in (x,y)"),
            (json!({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}), "!a"),
        ];
        for (selector, want) in cases {
            assert_eq!(LabelSelector::from_json(&selector).unwrap().to_string(), want);
        }
        assert!(LabelSelector::from_json(&json!({})).unwrap().matches(&json!({})));
        assert!(!LabelSelector::from_json(&Value::Null).unwrap().matches(&json!({})));
        assert!(
            LabelSelector::from_json(&json!({"matchExpressions": [{"key": "a", "operator": "Is"}]})).is_err()
        );
    }

    proptest! {
        #[test]
        fn label_round_trip(terms in prop::collection::vec((
            "[a-z]([a-z.]{0,6}[a-z])?(/[a-z]{1,5})?", 0..6usize, prop::collection::vec("[a-z0-9]{0,3}", 1..4)
        ), 0..5)) {
            let text = terms.iter().map(|(key, operator, values)| match operator {
                0 => key.clone(),
                1 => format!("!{key}"),
                2 => format!("{key}={}", values[0]),
                3 => format!("{key}!={}", values[0]),
                4 => format!("{key} in ({})", values.join(",")),
                _ => format!("{key} notin ({})", values.join(",")),
            }).collect::<Vec<_>>().join(",");
            if let Ok(parsed) = LabelSelector::parse(&text) {
                prop_assert_eq!(&LabelSelector::parse(&parsed.to_string()).unwrap(), &parsed);
            }
        }

        #[test]
        fn never_panics(text in "[a-c=!(), ><\\\\é]{0,24}") {
            let _ = LabelSelector::parse(&text);
        }
    }
}
