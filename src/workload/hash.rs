//! pod-template-hash: the name that a pod template gives to its ReplicaSet, and whether two templates are the same.
//!
//! Upstream hashes a textual dump (`%#v`) of the Go value, so the name depends on the field order of the release that
//! hashes. `template-layout.tsv` beside this file holds the layouts of 1.16 to 1.37; the walk over a template follows
//! them. Names stay opaque to every other part: equality is by template ([`same`]), never by hash.
//! Sources: kubernetes `pkg/controller/controller_utils.go` (`ComputeHash`), `pkg/util/hash`, apimachinery
//! `util/dump`, `util/rand` (`SafeEncodeString`), davecgh/go-spew; `pkg/controller/deployment/util`
//! (`EqualIgnoreHash`), `pkg/api/equality`.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::model::quantity::Quantity;

/// The label that tells the pods of one template from those of another.
pub const LABEL: &str = "pod-template-hash";

/// A Kubernetes release, 1.N.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(u8);

impl Release {
    /// The oldest release whose layout is known.
    pub const FIRST: Self = Self(16);
    /// The newest.
    pub const LAST: Self = Self(37);
}

impl std::str::FromStr for Release {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let minor = text.strip_prefix("1.").and_then(|it| it.parse().ok()).map(Self);
        minor.filter(|it| (Self::FIRST..=Self::LAST).contains(it)).ok_or_else(|| {
            format!("{text:?} is not a release between 1.{} and 1.{}", Self::FIRST.0, Self::LAST.0)
        })
    }
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "1.{}", self.0)
    }
}

/// The hash of `template` (defaults filled in) after `collisions` earlier ones.
pub fn hash(template: &Value, collisions: Option<i32>, release: Release) -> String {
    let mut hasher = Fnv(0x811c_9dc5);
    let mut dump = Dump { out: &mut hasher, release };
    dump.field(&Type::Named("PodTemplateSpec".to_owned()), Some(template));
    if let Some(collisions) = collisions {
        hasher.bytes(&collisions.to_le_bytes());
        hasher.bytes(&[0; 4]);
    }
    safe(hasher.0)
}

/// Digits through the safe alphabet: no vowels, nothing that looks alike.
fn safe(hash: u32) -> String {
    const DIGITS: &[u8; 10] = b"456789bcdf";
    hash.to_string().bytes().map(|it| char::from(DIGITS[usize::from(it - b'0')])).collect()
}

/// FNV-1a, 32 bits.
struct Fnv(u32);

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }
}

impl std::fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

/// A Go type.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Type {
    String,
    Bool,
    /// `int32`, `int64`.
    Integer(String),
    Pointer(Box<Type>),
    Slice(Box<Type>),
    /// Keys are strings.
    Map(String, Box<Type>),
    /// A struct or a named basic type of the layout.
    Named(String),
    /// `types.UID`.
    Uid,
    Time,
    IntOrString,
    Quantity,
}

impl Type {
    fn parse(text: &str) -> Self {
        if let Some(it) = text.strip_prefix('*') {
            return Self::Pointer(Box::new(Self::parse(it)));
        }
        if let Some(it) = text.strip_prefix("[]") {
            return Self::Slice(Box::new(Self::parse(it)));
        }
        if let Some((key, value)) = text.strip_prefix("map[").and_then(|it| it.split_once(']')) {
            let key = if key == "string" { key.to_owned() } else { format!("v1.{key}") };
            return Self::Map(key, Box::new(Self::parse(value)));
        }
        match text {
            "string" => Self::String,
            "bool" => Self::Bool,
            "int32" | "int64" => Self::Integer(text.to_owned()),
            "types.UID" => Self::Uid,
            "Time" | "metav1.Time" => Self::Time,
            "intstr.IntOrString" => Self::IntOrString,
            "resource.Quantity" => Self::Quantity,
            other => Self::Named(other.replace("metav1.", "meta/")),
        }
    }

    /// As `%T` prints it: core and meta packages are both called v1.
    fn name(&self) -> String {
        match self {
            Self::String => "string".to_owned(),
            Self::Bool => "bool".to_owned(),
            Self::Integer(it) => it.clone(),
            Self::Pointer(it) => format!("*{}", it.name()),
            Self::Slice(it) => format!("[]{}", it.name()),
            Self::Map(key, value) => format!("map[{key}]{}", value.name()),
            Self::Named(it) => format!("v1.{}", it.trim_start_matches("meta/")),
            Self::Uid => "types.UID".to_owned(),
            Self::Time => "v1.Time".to_owned(),
            Self::IntOrString => "intstr.IntOrString".to_owned(),
            Self::Quantity => "resource.Quantity".to_owned(),
        }
    }
}

#[derive(Debug)]
struct Field {
    name: String,
    kind: Type,
    /// `None`: embedded, its fields lie in the same JSON object.
    key: Option<String>,
    from: Release,
    to: Release,
}

#[derive(Debug, Default)]
struct Layout {
    structs: HashMap<String, Vec<Field>>,
    /// Other names of basic types.
    names: HashMap<String, Type>,
}

static LAYOUT: LazyLock<Layout> = LazyLock::new(|| Layout::parse(include_str!("template-layout.tsv")));

impl Layout {
    fn parse(text: &str) -> Self {
        let mut layout = Self::default();
        for line in text.lines().filter(|it| !it.starts_with('#') && !it.is_empty()) {
            let columns: Vec<_> = line.split('\t').collect();
            let [owner, field, kind, key, releases] = columns[..] else {
                panic!("a line of the layout has five columns: {line}")
            };
            if field == "=" {
                layout.names.insert(owner.to_owned(), Type::parse(kind));
                continue;
            }
            let (from, to) = releases.split_once('-').unwrap_or(("", ""));
            let release = |text: &str, none| text.parse().map_or(none, Release);
            // Structs of the meta package name their neighbours without a prefix.
            let mut kind = Type::parse(kind);
            if owner.starts_with("meta/") {
                kind = meta(kind);
            }
            layout.structs.entry(owner.to_owned()).or_default().push(Field {
                name: field.to_owned(),
                kind,
                key: (!key.is_empty() && key != "*inline").then(|| key.to_owned()),
                from: release(from, Release::FIRST),
                to: release(to, Release::LAST),
            });
        }
        layout
    }

    fn fields(&self, name: &str, release: Release) -> impl Iterator<Item = &Field> {
        let fields = self.structs.get(name).map_or(&[][..], Vec::as_slice);
        fields.iter().filter(move |it| (it.from..=it.to).contains(&release))
    }

    /// The basic type behind a name; `None` for a struct.
    fn basic(&self, name: &str) -> Option<&Type> {
        self.names.get(name)
    }
}

fn meta(kind: Type) -> Type {
    match kind {
        Type::Named(it) if !it.starts_with("meta/") => Type::Named(format!("meta/{it}")),
        Type::Slice(it) => Type::Slice(Box::new(meta(*it))),
        Type::Pointer(it) => Type::Pointer(Box::new(meta(*it))),
        other => other,
    }
}

struct Dump<'a> {
    out: &'a mut dyn std::fmt::Write,
    release: Release,
}

impl Dump<'_> {
    fn put(&mut self, text: &str) {
        let _ = self.out.write_str(text);
    }

    /// A value with its type before it.
    fn field(&mut self, kind: &Type, value: Option<&Value>) {
        let name = kind.name();
        self.put("(");
        self.put(&name);
        self.put(")");
        self.value(kind, value);
    }

    fn value(&mut self, kind: &Type, value: Option<&Value>) {
        let value = value.filter(|it| !it.is_null());
        match kind {
            Type::String | Type::Uid => self.put(value.and_then(Value::as_str).unwrap_or_default()),
            Type::Bool => self.put(if value == Some(&Value::Bool(true)) { "true" } else { "false" }),
            Type::Integer(_) => {
                let _ = write!(self.out, "{}", value.and_then(Value::as_i64).unwrap_or(0));
            }
            Type::Pointer(to) => match value {
                None => self.put("<nil>"),
                Some(it) => self.value(to, Some(it)),
            },
            Type::Slice(of) => match value.and_then(Value::as_array) {
                None => self.put("<nil>"),
                Some(items) => {
                    self.put("[");
                    for (index, item) in items.iter().enumerate() {
                        self.put(if index == 0 { "" } else { " " });
                        self.value(of, Some(item));
                    }
                    self.put("]");
                }
            },
            Type::Map(_, of) => match value.and_then(Value::as_object) {
                None => self.put("<nil>"),
                Some(entries) => {
                    let mut entries: Vec<_> = entries.iter().collect();
                    entries.sort_unstable_by_key(|it| it.0);
                    self.put("map[");
                    for (index, (key, item)) in entries.into_iter().enumerate() {
                        self.put(if index == 0 { "" } else { " " });
                        self.put(key);
                        self.put(":");
                        self.value(of, Some(item));
                    }
                    self.put("]");
                }
            },
            Type::Named(name) => match LAYOUT.basic(name) {
                Some(basic) => self.value(basic, value),
                None => self.structure(name, value.and_then(Value::as_object)),
            },
            Type::Time => {
                self.put("{Time:(time.Time){wall:(uint64)0 ext:(int64)0 loc:(*time.Location)<nil>}}");
            }
            Type::IntOrString => {
                let (kind, number, text) = match value {
                    Some(Value::String(it)) => (1, 0, it.as_str()),
                    other => (0, other.and_then(Value::as_i64).unwrap_or(0), ""),
                };
                let _ = write!(
                    self.out,
                    "{{Type:(intstr.Type){kind} IntVal:(int32){number} StrVal:(string){text}}}"
                );
            }
            Type::Quantity => {
                let Amount { value, scale, cached, format } = Amount::of(value);
                let _ = write!(
                    self.out,
                    "{{i:(resource.int64Amount){{value:(int64){value} scale:(resource.Scale){scale}}} d:(resource.infDecAmount){{Dec:(*inf.Dec)<nil>}} s:(string){cached} Format:(resource.Format){format}}}"
                );
            }
        }
    }

    fn structure(&mut self, name: &str, value: Option<&Map<String, Value>>) {
        self.put("{");
        for (index, field) in LAYOUT.fields(name, self.release).enumerate() {
            self.put(if index == 0 { "" } else { " " });
            self.put(&field.name);
            self.put(":");
            match &field.key {
                Some(key) => self.field(&field.kind, value.and_then(|it| it.get(key))),
                None => {
                    self.put("(");
                    self.put(&field.kind.name());
                    self.put(")");
                    if let Type::Named(embedded) = &field.kind {
                        self.structure(embedded, value);
                    }
                }
            }
        }
        self.put("}");
    }
}

/// A quantity as apimachinery holds it after parsing its canonical text.
struct Amount {
    value: i64,
    scale: i32,
    /// The text, kept if it was canonical.
    cached: String,
    format: &'static str,
}

impl Amount {
    fn of(value: Option<&Value>) -> Self {
        let text = match value {
            Some(Value::String(it)) => it.clone(),
            Some(Value::Number(it)) => it.to_string(),
            _ => return Self { value: 0, scale: 0, cached: String::new(), format: "" },
        };
        let digits_end =
            text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '-').unwrap_or(text.len());
        let (number, suffix) = text.split_at(digits_end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits: i64 = format!("{whole}{fraction}").parse().unwrap_or(0);
        let decimals = i32::try_from(fraction.len()).unwrap_or(0);
        if text == "0" {
            return Self { value: 0, scale: 0, cached: text, format: "DecimalSI" };
        }
        if let Some(power) = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].iter().position(|it| *it == suffix) {
            let bytes = Quantity::parse(&text).map_or(0, |it| it.millis() / 1000);
            debug_assert!(power < 6, "six suffixes");
            let cached = if fraction.is_empty() && digits % 8 != 0 { text } else { String::new() };
            return Self { value: bytes, scale: 0, cached, format: "BinarySI" };
        }
        let exponent = match suffix {
            "n" => -9,
            "u" => -6,
            "m" => -3,
            "k" => 3,
            "M" => 6,
            "G" => 9,
            "T" => 12,
            "P" => 15,
            "E" => 18,
            _ => 0,
        };
        let scale = exponent - decimals;
        let plain = whole.trim_start_matches('-');
        let canonical =
            scale % 3 == 0 && !format!("{plain}{fraction}").ends_with("000") && !plain.starts_with('0');
        let cached = if canonical { text.clone() } else { String::new() };
        Self { value: digits, scale, cached, format: "DecimalSI" }
    }
}

/// Whether two templates mean the same, but for the hash label: nil and empty are alike, quantities compare by value.
pub fn same(a: &Value, b: &Value) -> bool {
    alike(&Type::Named("PodTemplateSpec".to_owned()), Some(a), Some(b), Place::Template)
}

/// Labels of the template itself are compared without the hash.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Template,
    TemplateMeta,
    TemplateLabels,
    Elsewhere,
}

impl Place {
    fn child(self, key: &str) -> Self {
        match (self, key) {
            (Self::Template, "metadata") => Self::TemplateMeta,
            (Self::TemplateMeta, "labels") => Self::TemplateLabels,
            _ => Self::Elsewhere,
        }
    }
}

fn alike(kind: &Type, a: Option<&Value>, b: Option<&Value>, place: Place) -> bool {
    let (a, b) = (a.filter(|it| !it.is_null()), b.filter(|it| !it.is_null()));
    if a == b && place != Place::TemplateLabels {
        return true;
    }
    match kind {
        Type::String | Type::Uid => {
            a.and_then(Value::as_str).unwrap_or_default() == b.and_then(Value::as_str).unwrap_or_default()
        }
        Type::Bool => (a == Some(&Value::Bool(true))) == (b == Some(&Value::Bool(true))),
        Type::Integer(_) => a.and_then(Value::as_i64).unwrap_or(0) == b.and_then(Value::as_i64).unwrap_or(0),
        Type::Pointer(to) => match (a, b) {
            (Some(a), Some(b)) => alike(to, Some(a), Some(b), place),
            _ => a.is_none() && b.is_none(),
        },
        Type::Slice(of) => {
            let items = |it: Option<&Value>| it.and_then(Value::as_array).cloned().unwrap_or_default();
            let (a, b) = (items(a), items(b));
            a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| alike(of, Some(a), Some(b), Place::Elsewhere))
        }
        Type::Map(_, of) => {
            let entries = |it: Option<&Value>| -> Map<String, Value> {
                let mut map = it.and_then(Value::as_object).cloned().unwrap_or_default();
                if place == Place::TemplateLabels {
                    map.remove(LABEL);
                }
                map
            };
            let (a, b) = (entries(a), entries(b));
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| alike(of, Some(a), Some(b), Place::Elsewhere)))
        }
        Type::Named(name) => match LAYOUT.basic(name) {
            Some(basic) => alike(basic, a, b, place),
            None => alike_structs(name, a, b, place),
        },
        Type::Time => a == b,
        Type::IntOrString => {
            let zero = |it: Option<&Value>| it.is_none_or(|it| *it == 0);
            zero(a) && zero(b)
        }
        Type::Quantity => {
            let amount = |it: Option<&Value>| it.and_then(Quantity::from_json);
            amount(a) == amount(b)
        }
    }
}

fn alike_structs(name: &str, a: Option<&Value>, b: Option<&Value>, place: Place) -> bool {
    let empty = Map::new();
    let map = |it: Option<&'_ Value>| it.and_then(Value::as_object).cloned();
    let (a, b) = (map(a).unwrap_or_else(|| empty.clone()), map(b).unwrap_or(empty));
    let mut known = Vec::new();
    let fields_alike = fields_alike(name, &a, &b, place, &mut known);
    // A field that this build does not know has to be there in both, and equal.
    let unknown = |key: &&String| !known.contains(&key.as_str());
    fields_alike && a.keys().chain(b.keys()).filter(unknown).all(|key| a.get(key) == b.get(key))
}

fn fields_alike(
    name: &str,
    a: &Map<String, Value>,
    b: &Map<String, Value>,
    place: Place,
    known: &mut Vec<&'static str>,
) -> bool {
    let layout: &'static Layout = &LAYOUT;
    layout.structs.get(name).into_iter().flatten().all(|field| match (&field.key, &field.kind) {
        (Some(key), kind) => {
            known.push(key);
            alike(kind, a.get(key), b.get(key), place.child(key))
        }
        (None, Type::Named(embedded)) => fields_alike(embedded, a, b, place, known),
        (None, _) => true,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(labels: Value, container: Value) -> Value {
        let mut it = json!({
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "resources": {},
            "imagePullPolicy": "IfNotPresent",
        });
        json_patch::merge(&mut it, &container);
        json!({
            "metadata": { "labels": labels },
            "spec": {
                "containers": [it], "restartPolicy": "Always", "terminationGracePeriodSeconds": 30,
                "dnsPolicy": "ClusterFirst", "securityContext": {}, "schedulerName": "default-scheduler",
            },
        })
    }

    /// Names that clusters of those releases gave.
    #[test]
    fn names_of_every_release() {
        let port = json!([{ "containerPort": 80, "protocol": "TCP" }]);
        let nginx = |image: &str| {
            let pull = if image.contains(':') { "IfNotPresent" } else { "Always" };
            template(
                json!({"app": "nginx"}),
                json!({"name": "nginx", "image": image, "imagePullPolicy": pull}),
            )
        };
        let version = |version: &str, image: &str| {
            let labels = json!({"app": "nginx", "version": version});
            template(labels, json!({"name": "nginx", "image": image, "ports": port}))
        };
        let my_app = |more: Value| {
            let mut container = json!({"name": "my-app-container", "image": "nginx:1.17"});
            json_patch::merge(&mut container, &more);
            template(json!({"app": "my-app"}), container)
        };
        #[rustfmt::skip]
        let cases = [
            (version("v1", "nginx:1.14.2"), [(18, "5d65f98bd9"), (19, "675745c9cd"), (22, "675745c9cd"), (28, "7b8649bddc"), (33, "9c7c9cdd5"), (34, "7fb466686d"), (35, "7cb764d7f7"), (36, "84f6cf9df8"), (37, "84f6cf9df8")]),
            (version("v2", "nginx:1.19.2"), [(18, "7594578db7"), (19, "f6bf65976"), (22, "f6bf65976"), (28, "8648cd96c5"), (33, "5ccd546fc"), (34, "859cfc6cb"), (35, "559c954469"), (36, "9db68f7fd"), (37, "9db68f7fd")]),
            (nginx("nginx"), [(18, "f89759699"), (19, "6799fc88d8"), (22, "6799fc88d8"), (29, "7854ff8877"), (32, "5869d7778c"), (34, "66686b6766"), (35, "56c45fd5ff"), (36, "7f8fbb96d"), (37, "7f8fbb96d")]),
            (nginx("nginx:1.17"), [(18, "549f5fcb58"), (19, "db749865c"), (22, "db749865c"), (28, "5998599d68"), (32, "59c6bbf478"), (34, "58b86c7c7f"), (35, "59bb65c956"), (36, "cfd458d8f"), (37, "cfd458d8f")]),
            (nginx("nginx:1.18"), [(18, "755c56db9f"), (19, "84b9b46f96"), (22, "84b9b46f96"), (28, "59dc9c9459"), (32, "766f898885"), (34, "77f46c84f6"), (35, "86ccdd6bd5"), (36, "57b6db8b8b"), (37, "57b6db8b8b")]),
            (my_app(json!({"ports": port})), [(18, "5757548fb9"), (19, "57fb9fc94b"), (22, "57fb9fc94b"), (28, "55c5fdd58c"), (32, "7b77f55c85"), (34, "7bf6df5cb"), (35, "85446c8f4f"), (36, "5f8bbc7f4b"), (37, "5f8bbc7f4b")]),
        ];
        for (template, wants) in cases {
            for (minor, want) in wants {
                assert_eq!(hash(&template, None, Release(minor)), want, "1.{minor} of {template}");
            }
        }
        let mut sized = nginx("nginx:1.17");
        sized["spec"]["containers"][0]["resources"] = json!({
            "requests": {"cpu": "200m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "1Gi"},
        });
        assert_eq!(hash(&sized, None, Release::LAST), "78fd84f87f");
        assert_ne!(hash(&sized, Some(0), Release::LAST), "78fd84f87f", "a collision changes it");
    }

    #[test]
    fn every_named_type_is_known() {
        for (owner, fields) in &LAYOUT.structs {
            for field in fields {
                let mut kind = &field.kind;
                while let Type::Pointer(it) | Type::Slice(it) | Type::Map(_, it) = kind {
                    kind = it;
                }
                // No template has managed fields.
                if let Type::Named(name) = kind
                    && name != "meta/ManagedFieldsEntry"
                {
                    let known = LAYOUT.structs.contains_key(name) || LAYOUT.names.contains_key(name);
                    assert!(known, "{owner}.{}: {name}", field.name);
                }
            }
        }
    }

    #[test]
    fn equal_meaning() {
        let of = |more: Value| {
            let mut container = json!({"name": "c", "image": "i"});
            json_patch::merge(&mut container, &more);
            template(json!({"app": "a"}), container)
        };
        let plain = of(json!({}));
        let mut hashed = plain.clone();
        hashed["metadata"]["labels"][LABEL] = json!("abc");
        assert!(same(&plain, &hashed) && same(&hashed, &plain), "the hash label does not count");
        for (why, other, want) in [
            ("another image", json!({"image": "j"}), false),
            ("an empty list", json!({"args": []}), true),
            ("a false", json!({"stdin": false}), true),
            ("an empty map", json!({"resources": {"limits": {}}}), true),
            ("a pointer to nothing", json!({"securityContext": {}}), false),
            ("a field nobody knows", json!({"warp": 9}), false),
        ] {
            assert_eq!(same(&plain, &of(other)), want, "{why}");
        }
        let sized = |text: &str| of(json!({"resources": {"requests": {"memory": text}}}));
        assert!(same(&sized("1Gi"), &sized("1024Mi")), "by value");
        assert!(!same(&sized("1Gi"), &sized("1G")));
        let mut labelled = plain.clone();
        labelled["metadata"]["labels"]["b"] = json!("c");
        assert!(!same(&plain, &labelled));
    }

    #[test]
    fn releases() {
        assert_eq!("1.18".parse(), Ok(Release(18)));
        assert!("1.15".parse::<Release>().is_err());
        assert!("2.18".parse::<Release>().is_err());
    }
}
