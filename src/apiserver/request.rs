//! What one request asks for: resource, object, options, body. Parsing only; no store, no I/O.

use crate::apiserver::negotiate::Media;
use crate::apiserver::object::Key;
use crate::apiserver::protobuf;
use crate::apiserver::resources::{self, Resource, Scope};
use crate::apiserver::status::Status;
use crate::apiserver::validate::FieldError;
use crate::apiserver::{strict, validate};
use bytes::Bytes;
use http::Method;
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};

/// Query parameters, decoded, in order. Empty pairs (`?&limit=5`) are skipped: kube-rs sends them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Parses the part after `?`.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|it| !it.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (percent_decode(name, Plus::IsSpace), percent_decode(value, Plus::IsSpace))
                })
                .collect(),
        )
    }

    /// First value of a parameter; an empty value counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str()).filter(|it| !it.is_empty())
    }

    /// Whether a boolean parameter is set the way upstream reads it: anything but `false` and `0` is yes, even
    /// no value (apimachinery `pkg/runtime/conversion.go`).
    pub fn flag(&self, name: &str) -> bool {
        let value = self.0.iter().find(|(it, _)| it == name).map(|(_, value)| value);
        value.is_some_and(|it| !it.eq_ignore_ascii_case("false") && it != "0")
    }

    /// Whether the parameter occurs at all.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(it, _)| it == name)
    }

    /// A number, or 400.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Status> {
        self.get(name)
            .map(|it| {
                it.parse().map_err(|_| {
                    Status::bad_request(format!("strconv.ParseInt: parsing {it:?}: invalid syntax"))
                })
            })
            .transpose()
    }
}

/// What `+` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plus {
    /// In a query.
    IsSpace,
    /// In a path.
    IsPlus,
}

/// Decodes `%XX`; malformed escapes stay as they are.
pub fn percent_decode(text: &str, plus: Plus) -> String {
    if !text.contains(['%', '+']) {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let escaped = (bytes[index] == b'%')
            .then(|| text.get(index + 1..index + 3).and_then(|it| u8::from_str_radix(it, 16).ok()))
            .flatten();
        match (escaped, bytes[index]) {
            (Some(byte), _) => {
                decoded.push(byte);
                index += 2;
            }
            (None, b'+') if plus == Plus::IsSpace => decoded.push(b' '),
            (None, byte) => decoded.push(byte),
        }
        index += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// What a path under `/api` or `/apis` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Kind in whose shape the client speaks.
    pub resource: &'static Resource,
    /// Namespace of the path; empty for cluster-scoped kinds and for all namespaces.
    pub namespace: String,
    /// Object, or `None` for the collection.
    pub name: Option<String>,
    /// Subresource, empty for the object itself.
    pub subresource: String,
}

impl Target {
    /// Reads the path segments after `/api/v1` or `/apis/{group}/{version}`.
    pub fn parse(group: &str, version: &str, segments: &[&str]) -> Option<Target> {
        // `namespaces/x/finalize` and `namespaces/x/status` belong to the Namespace itself.
        let (namespace, rest) = match segments {
            ["namespaces", namespace, rest @ ..]
                if !rest.is_empty() && !matches!(rest, ["status" | "finalize"]) =>
            {
                (*namespace, rest)
            }
            rest => ("", rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, None, ""),
            [plural, name] => (*plural, Some(*name), ""),
            [plural, name, subresource] => (*plural, Some(*name), *subresource),
            _ => return None,
        };
        let resource = resources::find(group, version, plural)?;
        let namespaced = resource.scope == Scope::Namespaced;
        if namespaced == namespace.is_empty() && (!namespaced || name.is_some()) {
            return None;
        }
        if !subresource.is_empty() && !resource.subresources.contains(&subresource) {
            return None;
        }
        Some(Target {
            resource,
            namespace: namespace.to_owned(),
            name: name.map(ToOwned::to_owned),
            subresource: subresource.to_owned(),
        })
    }

    /// Key of the object named by the path; the collection has none.
    pub fn key(&self) -> Key {
        Key::new(self.namespace.clone(), self.name.clone().unwrap_or_default())
    }

    /// Whether this collection can be deleted at once: not across namespaces, and no Namespaces.
    pub fn may_delete_all(&self) -> bool {
        let is_one = self.resource.scope == Scope::Cluster || !self.namespace.is_empty();
        is_one && self.resource.verbs.contains(&"deletecollection")
    }

    /// The namespace a list is restricted to.
    pub fn list_namespace(&self) -> Option<&str> {
        (!self.namespace.is_empty()).then_some(self.namespace.as_str())
    }
}

/// Whether a write is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// It is stored.
    Keep,
    /// `dryRun=All`: everything happens except the commit.
    DryRun,
}

/// One request for a resource.
#[derive(Debug, Clone)]
pub struct Call {
    /// What the path names.
    pub target: Target,
    /// Query parameters.
    pub query: Query,
    /// Shape of the answer.
    pub media: Media,
    /// Content-Type without parameters, lower case; `None` when absent.
    pub content_type: Option<String>,
    /// `fieldManager`, or the product of the User-Agent.
    pub manager: String,
    /// Request body as sent.
    pub body: Bytes,
    /// See [`Call::warnings`].
    pub warnings: Arc<Mutex<Vec<String>>>,
}

impl Call {
    /// `dryRun` of the query.
    pub fn commit(&self) -> Result<Commit, Status> {
        parse_dry_run(self.query.get("dryRun"))
    }

    /// The body as a JSON object, with nulls removed, or 400/415.
    pub fn object(&self) -> Result<Value, Status> {
        let mut object = parse_body(self.content_type.as_deref(), &self.body)?;
        crate::apiserver::meta::strip_nulls(&mut object, opaque_field(self.target.resource));
        Ok(object)
    }

    /// The body as an object of the target's kind: missing apiVersion and kind are filled in, others are 400.
    pub fn typed_object(&self) -> Result<Value, Status> {
        let mut object = self.object()?;
        let resource = self.target.resource;
        require_type(&mut object, &resource.api_version(), resource.kind)?;
        // What the kind does not have is not stored, whatever is said about it.
        let unknown = validate::drop_unknown(resource, &mut object).unwrap_or_default();
        if self.validation() != "Ignore" {
            let complaints = strict::complaints(self.content_type.as_deref(), &self.body, &unknown);
            if self.validation() == "Strict" && !complaints.is_empty() {
                return Err(strict::refusal(resource, &complaints));
            }
            self.tell(complaints.iter().flat_map(|it| strict::warnings(it)).collect());
        }
        Ok(object)
    }

    /// `fieldValidation`, `Warn` unless given.
    pub fn validation(&self) -> &str {
        self.query.get("fieldValidation").unwrap_or("Warn")
    }

    /// Keeps what the answer is to tell as warnings.
    pub fn tell(&self, warnings: Vec<String>) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).extend(warnings);
    }

    /// What is odd about the body and the object it made.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Parses a JSON or YAML object by its Content-Type; 415 for other types, 400 when it does not parse.
pub fn parse_body(content_type: Option<&str>, body: &[u8]) -> Result<Value, Status> {
    let object: Value = match content_type {
        None | Some("application/json") => serde_json::from_slice(body).map_err(|error| {
            let what = "couldn't get version/kind; json parse error";
            Status::bad_request(format!("the object provided is unrecognized: {what}: {error}"))
        })?,
        Some("application/yaml" | "text/yaml" | "application/x-yaml") => parse_yaml(body)?,
        Some(protobuf::CONTENT_TYPE) => protobuf::decode(body)?,
        Some(_) => return Err(Status::unsupported_media(&["application/json", "application/yaml"])),
    };
    // As Go decodes it: null leaves an empty object.
    let object = if object.is_null() { Value::Object(serde_json::Map::new()) } else { object };
    if !object.is_object() {
        return Err(Status::bad_request("the request body is not a JSON object"));
    }
    check_shape(&object)?;
    Ok(object)
}

/// What is read before the kind is known must have the right JSON types; the rest is checked by kind.
pub fn check_shape(object: &Value) -> Result<(), Status> {
    let wrong = |path: &str, expected: &str| {
        Err(Status::bad_request(format!(
            "couldn't get version/kind; json parse error: {path} is not {expected}"
        )))
    };
    let is_text = |it: &Value| it.is_null() || it.is_string();
    for field in ["apiVersion", "kind"] {
        if !is_text(&object[field]) {
            return wrong(field, "a string");
        }
    }
    let metadata = &object["metadata"];
    if !metadata.is_null() && !metadata.is_object() {
        return wrong("metadata", "an object");
    }
    for field in ["name", "namespace", "generateName", "uid", "resourceVersion"] {
        if !is_text(&metadata[field]) {
            return wrong(&format!("metadata.{field}"), "a string");
        }
    }
    Ok(())
}

/// The options of every write, as upstream accepts them.
pub fn check_write_options(query: &Query, method: &Method) -> Result<(), Status> {
    const LONGEST: usize = 128;
    let kind = match method.as_str() {
        "PUT" => "UpdateOptions",
        "PATCH" => "PatchOptions",
        "DELETE" => "DeleteOptions",
        _ => "CreateOptions",
    };
    let refused = |error: FieldError| Err(Status::invalid_options(kind, &[error]));
    let known = ["", "Ignore", "Strict", "Warn"];
    let validation = query.get("fieldValidation").unwrap_or_default();
    if !known.contains(&validation) {
        return refused(FieldError::not_supported("fieldValidation", validation, &known));
    }
    let dry_run = query.get("dryRun").unwrap_or_default();
    if query.has("dryRun") && dry_run != "All" {
        return refused(unknown_dry_run(dry_run));
    }
    let manager = query.get("fieldManager").unwrap_or_default();
    if manager.len() > LONGEST {
        return refused(FieldError::too_long("fieldManager", LONGEST));
    }
    if let Some((at, odd)) = manager.char_indices().find(|it| it.1.is_control()) {
        let detail = format!("invalid character U+{:04X} (at position {at})", u32::from(odd));
        return refused(FieldError::invalid("fieldManager", manager, detail));
    }
    Ok(())
}

/// The top-level field whose content is the client's own business.
pub fn opaque_field(resource: &Resource) -> Option<&'static str> {
    (resource.kind == "ControllerRevision").then_some("data")
}

fn unknown_dry_run(value: &str) -> FieldError {
    FieldError::not_supported("dryRun", serde_json::json!([value]), &["All"])
}

/// `All` or nothing. The query has been checked before; what is wrong here comes from `DeleteOptions`.
pub fn parse_dry_run(value: Option<&str>) -> Result<Commit, Status> {
    match value {
        None => Ok(Commit::Keep),
        Some("All") => Ok(Commit::DryRun),
        Some(other) => Err(Status::invalid_options("DeleteOptions", &[unknown_dry_run(other)])),
    }
}

/// Parses a YAML document into JSON.
pub fn parse_yaml(body: &[u8]) -> Result<Value, Status> {
    let text = std::str::from_utf8(body).map_err(|error| Status::bad_request(error.to_string()))?;
    // As Go reads it: of a key that is there twice the last counts.
    let options =
        serde_saphyr::options! { duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| Status::bad_request(format!("error converting YAML to JSON: {error}")))
}

/// Fills in or checks apiVersion and kind.
pub fn require_type(object: &mut Value, api_version: &str, kind: &str) -> Result<(), Status> {
    let sent = (
        object["apiVersion"].as_str().unwrap_or_default().to_owned(),
        object["kind"].as_str().unwrap_or_default().to_owned(),
    );
    if !sent.1.is_empty() && sent.1 != kind || !sent.0.is_empty() && sent.0 != api_version {
        let (version, other) = (&sent.0, &sent.1);
        return Err(Status::bad_request(format!(
            "{other} in version {version:?} cannot be handled as a {kind}: the API version in the data \
             ({version}) or its kind does not match the expected {api_version} {kind}"
        )));
    }
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_leniently() {
        let query = Query::parse("&limit=5&labelSelector=a%3Db%2Cc+in+(d)&watch=1&dryRun=");
        assert_eq!(query.get("limit"), Some("5"));
        assert_eq!(query.get("labelSelector"), Some("a=b,c in (d)"));
        assert!(query.flag("watch"));
        for (text, want) in
            [("w", true), ("w=", true), ("w=maybe", true), ("w=False", false), ("w=0", false), ("", false)]
        {
            assert_eq!(Query::parse(text).flag("w"), want, "{text}");
        }
        assert_eq!(query.get("dryRun"), None);
        assert_eq!(percent_decode("100%", Plus::IsPlus), "100%");
        assert_eq!(percent_decode("a%2", Plus::IsPlus), "a%2");
    }

    #[test]
    fn paths() {
        #[rustfmt::skip]
        let cases = [
            ("",     "pods",                          Some("Pod - - -")),
            ("",     "namespaces/d/pods",             Some("Pod d - -")),
            ("",     "namespaces/d/pods/p",           Some("Pod d p -")),
            ("",     "namespaces/d/pods/p/status",    Some("Pod d p status")),
            ("",     "namespaces",                    Some("Namespace - - -")),
            ("",     "namespaces/d",                  Some("Namespace - d -")),
            ("",     "namespaces/d/finalize",         Some("Namespace - d finalize")),
            ("",     "namespaces/d/status",           Some("Namespace - d status")),
            ("",     "nodes/n/status",                Some("Node - n status")),
            ("apps", "namespaces/d/statefulsets/s/scale", Some("StatefulSet d s scale")),
            ("",     "pods/p",                        None),
            ("",     "namespaces/d/nodes",            None),
            ("",     "namespaces/d/pods/p/scale",     None),
            ("",     "namespaces/d/pods/p/a/b",       None),
            ("",     "widgets",                       None),
        ];
        for (group, path, want) in cases {
            let segments: Vec<&str> = path.split('/').collect();
            let shown = Target::parse(group, "v1", &segments).map(|it| {
                let part = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
                format!(
                    "{} {} {} {}",
                    it.resource.kind,
                    part(&it.namespace),
                    part(it.name.as_deref().unwrap_or_default()),
                    part(&it.subresource)
                )
            });
            assert_eq!(shown.as_deref(), want, "{path}");
        }
    }
}
