//! What a ControllerRevision records, what it is called, and which one a set should move to.
//!
//! A revision is a strategic-merge patch that replaces the pod template and nothing else. Its bytes, and so its
//! hash and name, equal what kube-controller-manager writes, so that either controller can take over from the
//! other without a restart of a pod. They are built from the JSON the API server returned, never from typed
//! structs, which drop fields they do not know.
//!
//! Sources: kubernetes `pkg/controller/history/controller_history.go`,
//! `pkg/controller/statefulset/stateful_set_utils.go`, `stateful_set_control.go` (1.37); Go `encoding/json`.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Map, Number, Value, json};

use super::defaults;
use super::model::{API_VERSION, KIND, LABEL_HASH, Owner, RevisionView, SetSpec};

/// A prefix longer than this is cut from the set's name, in bytes (`ControllerRevisionName`).
const NAME_PREFIX_MAX: usize = 223;

/// What each decimal digit of a hash is printed as (apimachinery `rand.SafeEncodeString`).
const SAFE_DIGITS: [char; 10] = ['4', '5', '6', '7', '8', '9', 'b', 'c', 'd', 'f'];

/// JSON as Go's `encoding/json` writes it from `map[string]any`: compact, keys sorted, `<`, `>`, `&` and the two
/// Unicode line separators escaped, numbers through float64.
pub fn encode(value: &Value) -> String {
    let mut out = String::with_capacity(1024);
    encode_into(value, &mut out);
    out
}

fn encode_into(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(it) => out.push_str(if *it { "true" } else { "false" }),
        Value::Number(it) => encode_number(it, out),
        Value::String(it) => encode_string(it, out),
        Value::Array(items) => {
            out.push('[');
            for (index, it) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                encode_into(it, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            // Sorted here, because the map keeps insertion order if any crate asks serde_json for it.
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|it| it.0);
            out.push('{');
            for (index, (key, it)) in fields.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                encode_string(key, out);
                out.push(':');
                encode_into(it, out);
            }
            out.push('}');
        }
    }
}

fn encode_number(number: &Number, out: &mut String) {
    let Some(it) = number.as_f64() else { return };
    let size = it.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{it:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let sign = if exponent.starts_with('-') { "" } else { "+" };
        let _ = write!(out, "{digits}e{sign}{exponent}");
    } else {
        let _ = write!(out, "{it}");
    }
}

fn encode_string(text: &str, out: &mut String) {
    out.push('"');
    for it in text.chars() {
        match it {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(it));
            }
            _ => out.push(it),
        }
    }
    out.push('"');
}

/// The recorded patch: `spec.template` whole, with the directive to replace.
pub fn patch_of(template: &Value) -> Value {
    let mut template = template.clone();
    if let Value::Object(fields) = &mut template {
        fields.insert("$patch".to_owned(), Value::String("replace".to_owned()));
    }
    json!({ "spec": { "template": template } })
}

/// The bytes a revision of `template` records.
pub fn encode_data(template: &Value) -> String {
    encode(&patch_of(template))
}

/// The template inside a recorded patch; `None` if there is none.
pub fn recorded_template(data: &Value) -> Option<Value> {
    let mut template: Map<String, Value> = data.pointer("/spec/template")?.as_object()?.clone();
    template.remove("$patch");
    Some(Value::Object(template))
}

/// The hash part of a revision's name: FNV-1 over the data and the decimal collision count, printed in decimal
/// and mapped to letters that spell nothing.
pub fn hash(data: &str, collision_count: i32) -> String {
    let mut hash: u32 = 0x811c_9dc5;
    for byte in data.bytes().chain(collision_count.to_string().into_bytes()) {
        hash = hash.wrapping_mul(0x0100_0193) ^ u32::from(byte);
    }
    hash.to_string().bytes().map(|it| SAFE_DIGITS[usize::from(it - b'0')]).collect()
}

/// Name of the revision object of a set.
pub fn name(set: &str, hash: &str) -> String {
    let mut end = set.len().min(NAME_PREFIX_MAX);
    while !set.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}-{hash}", &set[..end])
}

/// A revision as pods are made from it: its name and its template.
#[derive(Debug, PartialEq)]
pub struct Release {
    /// Name of the ControllerRevision, which is also the value of the pods' revision label.
    pub name: String,
    /// The pod template.
    pub template: Value,
}

/// A revision that does not exist yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRevision {
    /// Object name.
    pub name: String,
    /// Value of the hash label.
    pub hash: String,
    /// `revision`.
    pub number: i64,
    /// Encoded data, to compare with an occupant of the name.
    pub data: String,
    /// The whole object, ready to be posted.
    pub object: Value,
}

/// What selecting the update revision takes to write.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The newest revision says what the set says.
    None,
    /// Roll back: an older revision becomes the newest by getting this number.
    Raise {
        /// The older revision.
        revision: Arc<RevisionView>,
        /// Its new number.
        number: i64,
    },
    /// Nothing recorded matches.
    Create(Box<NewRevision>),
}

/// The two revisions of a set, and what it takes to have them.
#[derive(Debug)]
pub struct Selection {
    /// Pods below the partition are made from it.
    pub current: Arc<Release>,
    /// Pods are moved to it.
    pub update: Arc<Release>,
    /// The write that makes `update` the newest revision.
    pub change: Change,
}

/// Selects the update and the current revision. `listed`: revisions of the set or of nobody, in any order.
///
/// Differs: a newest revision of the same meaning is taken before an older one of the same bytes (upstream
/// 1.36.2 has it the other way round), which can only avoid a rollout.
pub fn select(set: &SetSpec, listed: &[Arc<RevisionView>], collision_count: i32) -> Selection {
    let mut sorted: Vec<_> = listed.iter().collect();
    sorted.sort_by(|a, b| (a.number, a.created, &a.key.name).cmp(&(b.number, b.created, &b.key.name)));
    let number = sorted.last().map_or(0, |it| it.number) + 1;
    let newest = sorted.last().filter(|it| same(set, it));
    let (update, change) = if let Some(it) = newest {
        (release(set, it), Change::None)
    } else if let Some(it) = sorted.iter().rev().find(|it| it.data == set.revision_data) {
        (release(set, it), Change::Raise { revision: Arc::clone(it), number })
    } else {
        let new = create(set, number, collision_count);
        let it = Release { name: new.name.clone(), template: set.template.clone() };
        (Arc::new(it), Change::Create(Box::new(new)))
    };
    let current = sorted.iter().find(|it| it.key.name == set.status.current_revision);
    let current = match current {
        Some(it) if it.key.name != update.name => release(set, it),
        _ => Arc::clone(&update),
    };
    Selection { current, update, change }
}

/// A patch that says nothing of the template leaves it as it is.
fn release(set: &SetSpec, it: &RevisionView) -> Arc<Release> {
    let template = it.template.as_ref().unwrap_or(&set.template).clone();
    Arc::new(Release { name: it.key.name.clone(), template })
}

/// Whether a revision records what the set asks for: the same bytes, or the same after defaulting.
fn same(set: &SetSpec, revision: &RevisionView) -> bool {
    let means_the_same =
        |it: &Value| encode(&defaults::template(it)) == encode(&defaults::template(&set.template));
    revision.data == set.revision_data || revision.template.as_ref().is_some_and(means_the_same)
}

fn create(set: &SetSpec, number: i64, collision_count: i32) -> NewRevision {
    let name = name(&set.key.name, &hash(&set.revision_data, collision_count));
    // As upstream, the label keeps the hash of the first attempt when the name is taken and another one is made.
    let hash = hash(&set.revision_data, set.status.collision_count.unwrap_or(0));
    let mut labels = set.template.pointer("/metadata/labels").and_then(Value::as_object).cloned();
    labels.get_or_insert_default().insert(LABEL_HASH.to_owned(), Value::String(hash.clone()));
    let mut metadata = json!({
        "name": name,
        "namespace": set.key.namespace,
        "labels": labels,
        "ownerReferences": [set_reference(set)],
    });
    if !set.annotations.is_empty() {
        metadata["annotations"] = json!(set.annotations);
    }
    let object = json!({
        "apiVersion": API_VERSION,
        "kind": "ControllerRevision",
        "metadata": metadata,
        "data": patch_of(&set.template),
        "revision": number,
    });
    NewRevision { name, hash, number, data: set.revision_data.clone(), object }
}

/// The owner reference that says a set manages an object.
pub fn set_reference(set: &SetSpec) -> Value {
    owner_json(&set_owner(set))
}

/// The same as a value.
pub fn set_owner(set: &SetSpec) -> Owner {
    Owner {
        api_version: API_VERSION.to_owned(),
        kind: KIND.to_owned(),
        name: set.key.name.clone(),
        uid: set.uid.clone(),
        controller: true,
        block: Some(true),
    }
}

/// An owner reference as JSON.
pub fn owner_json(it: &Owner) -> Value {
    let mut json = json!({ "apiVersion": it.api_version, "kind": it.kind, "name": it.name, "uid": it.uid });
    if it.controller {
        json["controller"] = Value::Bool(true);
    }
    if let Some(block) = it.block {
        json["blockOwnerDeletion"] = Value::Bool(block);
    }
    json
}

/// The revisions beyond the history limit, oldest first. `live` tells those in use, which do not count.
pub fn beyond_history(
    limit: i64,
    listed: &[Arc<RevisionView>],
    live: impl Fn(&str) -> bool,
) -> Vec<&Arc<RevisionView>> {
    let Ok(limit) = usize::try_from(limit) else { return Vec::new() };
    let mut dead: Vec<_> = listed.iter().filter(|it| !live(&it.key.name)).collect();
    dead.sort_by(|a, b| (a.number, a.created, &a.key.name).cmp(&(b.number, b.created, &b.key.name)));
    dead.truncate(dead.len().saturating_sub(limit));
    dead
}

#[cfg(test)]
mod tests {
    use super::super::notation::{history, set};
    use super::*;

    fn fixture() -> Value {
        json!({
            "metadata": { "labels": { "app": "foo" }, "annotations": { "test": "value" } },
            "spec": {
                "containers": [{
                    "name": "test", "image": "test", "imagePullPolicy": "Always", "resources": {},
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                }],
                "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
                "securityContext": {}, "terminationGracePeriodSeconds": 30,
            },
        })
    }

    #[test]
    fn hashes_equal_upstream() {
        let mut template = fixture();
        assert_eq!(hash(&encode_data(&template), 0), "776999688b");
        template["metadata"]["creationTimestamp"] = Value::Null;
        assert_eq!(hash(&encode_data(&template), 0), "c77f6d978");
    }

    #[test]
    fn json_is_written_as_go_writes_it() {
        let cases = [
            (json!({"b": 1, "a": [true, null]}), r#"{"a":[true,null],"b":1}"#),
            (json!("<a> & \"b\"\\\n\u{1}\u{2028}é"), r#""\u003ca\u003e \u0026 \"b\"\\\n\u0001\u2028é""#),
            (json!(1.5), "1.5"),
            (json!(1e21), "1e+21"),
            (json!(1e-7), "1e-7"),
            (json!(100_000_000_000_000_000_000_f64), "100000000000000000000"),
            (json!(9_007_199_254_740_993_i64), "9007199254740992"),
            (json!(0), "0"),
            (json!(-3), "-3"),
        ];
        for (value, want) in cases {
            assert_eq!(encode(&value), want);
        }
    }

    #[test]
    fn names_are_cut_to_fit() {
        assert_eq!(name("web", "abc"), "web-abc");
        assert_eq!(name(&"x".repeat(300), "abc").len(), 223 + 4);
    }

    #[test]
    fn selection() {
        #[rustfmt::skip]
        let cases = [
            ("nothing recorded yet",                   "3xA",   "",          "create 1"),
            ("the newest is reused",                   "3xA",   "1A",        "none"),
            ("a new template is recorded",             "3xA→B", "1A",        "create 2"),
            ("a rollback raises the number",           "3xA",   "1A 2B",     "raise 1 to 3"),
            ("of equal numbers the later name counts", "3xA",   "1B 1A",     "any"),
            ("a gap in the numbers stays",             "3xC",   "1A 7B",     "create 8"),
            ("defaults alone make no revision",        "3xA",   "1A*",       "none"),
            ("meaning comes before older bytes",       "3xA",   "1A 2A*",    "none"),
        ];
        for (why, spec, listed, want) in cases {
            let set = set(spec);
            let selection = select(&set, &history(listed), 0);
            let got = match &selection.change {
                Change::None => "none".to_owned(),
                Change::Raise { revision, number } => format!("raise {} to {number}", revision.number),
                Change::Create(it) => format!("create {}", it.number),
            };
            assert!(want == "any" || got == want, "{why}: {spec} given [{listed}]: {got}, not {want}");
        }
    }

    #[test]
    fn history_is_trimmed_from_the_oldest() {
        let listed = history("4D 1A 2B 3C");
        let names = |limit| {
            let beyond = beyond_history(limit, &listed, |it| it == listed[0].key.name);
            beyond.iter().map(|it| it.number).collect::<Vec<_>>()
        };
        assert_eq!(names(0), [1, 2, 3]);
        assert_eq!(names(2), [1]);
        assert_eq!(names(10), Vec::<i64>::new());
        assert_eq!(names(-1), Vec::<i64>::new());
    }
}
