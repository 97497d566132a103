//! Field selectors: text in, yes or no per object out. Label selectors are those of [`crate::model::selector`].
//!
//! Sources: apimachinery `pkg/fields/selector.go`; the fields each kind offers are those of the registries' `GetAttrs` and
//! `AddFieldLabelConversionFunc`.

use crate::apiserver::resources::{Resource, Scope};
use serde_json::Value;

pub use crate::model::selector::LabelSelector;

/// A parsed field selector; the empty one matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSelector {
    /// (field, value, whether it has to be equal).
    terms: Vec<(String, String, bool)>,
}

impl FieldSelector {
    /// Parses `a=b,c==d,e!=f`; `\` escapes `,`, `=` and itself in values.
    ///
    /// # Errors
    /// `field label not supported: X` for a field the resource does not offer.
    pub fn parse(resource: &Resource, text: &str) -> Result<FieldSelector, String> {
        let mut terms = Vec::new();
        let mut parts = split_escaped(text);
        // Upstream sorts them, which shows in which mistake is told.
        parts.sort_unstable();
        for term in parts {
            if term.is_empty() {
                continue;
            }
            let (field, value, equal) = split_term(&term)
                .ok_or_else(|| format!("invalid selector: '{text}'; can't understand '{term}'"))?;
            if !supports(resource, field) {
                return Err(unsupported(resource, field));
            }
            terms.push((field.to_owned(), unescape(value)?, equal));
        }
        Ok(FieldSelector { terms })
    }

    /// Whether `object` satisfies every requirement.
    pub fn matches(&self, resource: &Resource, object: &Value) -> bool {
        self.terms
            .iter()
            .all(|(field, want, equal)| (field_value(resource, object, field) == *want) == *equal)
    }

    /// Whether there is no requirement, so that everything matches.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The name every match must have, if `metadata.name` is required to equal one.
    pub fn name(&self) -> Option<&str> {
        self.terms.iter().find(|it| it.0 == "metadata.name" && it.2).map(|it| it.1.as_str())
    }
}

fn split_escaped(text: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        if c == ',' && !escaped {
            terms.push(String::new());
            continue;
        }
        escaped = c == '\\' && !escaped;
        terms.last_mut().expect("starts with one term").push(c);
    }
    terms
}

fn split_term(term: &str) -> Option<(&str, &str, bool)> {
    let at = term.find(['=', '!'])?;
    let (field, rest) = term.split_at(at);
    for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
        if let Some(value) = rest.strip_prefix(operator) {
            return Some((field, value, equal));
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(next @ ('\\' | ',' | '=')) => out.push(next),
                Some(next) => {
                    return Err(format!("invalid field selector: invalid escape sequence: \\{next}"));
                }
                None => return Err("invalid field selector: invalid escape sequence: \\".into()),
            },
            '=' => {
                return Err(format!(
                    "invalid field selector: unescaped character in value: {}",
                    u32::from(c)
                ));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

/// Kinds that offer names only word it in another way.
fn unsupported(resource: &Resource, field: &str) -> String {
    if resource.kind == "Job" {
        return format!("field label {field:?} not supported for Job");
    }
    let more = [
        "spec.nodeName",
        "spec.unschedulable",
        "spec.type",
        "status.phase",
        "type",
        "status.replicas",
        "reason",
    ];
    if more.iter().any(|it| supports(resource, it)) {
        return format!("field label not supported: {field}");
    }
    format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
}

fn supports(resource: &Resource, field: &str) -> bool {
    let more: &[&str] = match (resource.group, resource.kind) {
        ("", "Pod") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        ("", "Node") => &["spec.unschedulable"],
        ("", "Service") => &["spec.clusterIP", "spec.type"],
        ("", "Namespace") => &["status.phase"],
        ("", "Secret") => &["type"],
        ("", "ReplicationController") => &["status.replicas"],
        ("batch", "Job") => &["status.successful"],
        (_, "Event") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reportingController",
        ],
        _ => &[],
    };
    field == "metadata.name"
        || (field == "metadata.namespace" && resource.scope == Scope::Namespaced)
        || more.contains(&field)
}

/// The selectable value; what is absent compares as upstream's zero value.
fn field_value(resource: &Resource, object: &Value, field: &str) -> String {
    let at = |path: &str| object.pointer(path).cloned().unwrap_or_default();
    let either = |first: &str, second: &str| match text(&at(first)) {
        it if it.is_empty() => text(&at(second)),
        it => it,
    };
    match (resource.kind, field) {
        ("Pod", "status.podIPs") => text(&at("/status/podIPs/0/ip")),
        ("Pod", "spec.hostNetwork") | ("Node", "spec.unschedulable") => {
            at(&format!("/{}", field.replace('.', "/"))).as_bool().unwrap_or_default().to_string()
        }
        ("Job", "status.successful") => at("/status/succeeded").as_i64().unwrap_or_default().to_string(),
        ("ReplicationController", "status.replicas") => {
            at("/status/replicas").as_i64().unwrap_or_default().to_string()
        }
        ("Event", "source") => either("/source/component", "/reportingComponent"),
        ("Event", "reportingComponent" | "reportingController") => {
            either("/reportingComponent", "/reportingController")
        }
        ("Event", field) => {
            let tail = field.split_once('.').filter(|it| it.0 != "metadata").map(|it| it.1);
            match tail {
                Some(tail) => either(&format!("/involvedObject/{tail}"), &format!("/regarding/{tail}")),
                None => text(&at(&format!("/{}", field.replace('.', "/")))),
            }
        }
        (_, field) => text(&at(&format!("/{}", field.replace('.', "/")))),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::resources::find;
    use proptest::prelude::*;
    use serde_json::json;

    proptest! {
        #[test]
        fn never_panics(text in "[a-c=!(), ><\\\\é]{0,24}") {
            let _ = FieldSelector::parse(find("", "v1", "pods").unwrap(), &text);
        }
    }

    #[test]
    fn fields() {
        let pods = find("", "v1", "pods").unwrap();
        let events = find("", "v1", "events").unwrap();
        let pod = json!({"metadata": {"name": "web-0", "namespace": "demo"}, "spec": {"nodeName": "n"},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]}});
        let event =
            json!({"involvedObject": {"name": "web-0", "kind": "Pod"}, "source": {"component": "kubelet"}});
        #[rustfmt::skip]
        let cases = [
            (pods, &pod, "metadata.name=web-0", true), (pods, &pod, "metadata.name!=web-0", false),
            (pods, &pod, "spec.nodeName=n,status.phase!=Failed,status.phase!=Succeeded", true),
            (pods, &pod, "status.podIPs=10.0.0.1", true), (pods, &pod, "spec.hostNetwork=false", true),
            (pods, &pod, "status.nominatedNodeName=", true), (pods, &pod, "metadata.namespace==other", false),
            (events, &event, "involvedObject.name=web-0,involvedObject.kind=Pod", true),
            (events, &event, "source=kubelet", true), (events, &event, "regarding.name=web-1", false),
        ];
        for (resource, object, selector, want) in cases {
            let parsed = FieldSelector::parse(resource, selector).unwrap();
            assert_eq!(parsed.matches(resource, object), want, "{selector}");
        }
        let error = FieldSelector::parse(pods, "spec.foo=1").unwrap_err();
        assert_eq!(error, "field label not supported: spec.foo");
        assert!(FieldSelector::parse(pods, "nothing").is_err());
        assert_eq!(FieldSelector::parse(pods, "metadata.name=a").unwrap().name(), Some("a"));
    }
}
