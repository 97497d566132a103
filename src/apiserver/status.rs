//! `Status`: every answer that is not an object.
//!
//! Reasons, codes and wording follow apimachinery `pkg/api/errors/errors.go`.

use crate::apiserver::resources::Resource;
use crate::apiserver::validate::FieldError;
use serde_json::{Map, Value, json};

/// A failure on its way to the client.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// CamelCase reason that programs compare.
    pub reason: &'static str,
    /// One sentence for people.
    pub message: String,
    /// `details`; null when the reason has none.
    pub details: Value,
}

/// Details that name an object by its resource.
fn named(resource: &Resource, name: &str) -> Value {
    let mut details = Map::new();
    details.insert("name".into(), name.into());
    if !resource.group.is_empty() {
        details.insert("group".into(), resource.group.into());
    }
    details.insert("kind".into(), resource.plural.into());
    Value::Object(details)
}

impl Status {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: json!({}) }
    }

    fn of(mut self, resource: &Resource, name: &str) -> Self {
        self.details = named(resource, name);
        self
    }

    fn causes(mut self, causes: Vec<Value>) -> Self {
        self.details["causes"] = Value::Array(causes);
        self
    }

    /// 404: the object does not exist.
    pub fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} \"{name}\" not found", resource.qualified()))
            .of(resource, name)
    }

    /// 404: nothing is served at this path.
    pub fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    /// 409: the name is taken.
    pub fn already_exists(resource: &Resource, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{} \"{name}\" already exists", resource.qualified()))
            .of(resource, name)
    }

    /// 409: the name is taken by an object on its way out.
    pub fn being_deleted(resource: &Resource, name: &str) -> Self {
        let message = format!("object is being deleted: {} \"{name}\" already exists", resource.qualified());
        Self::new(409, "AlreadyExists", message).of(resource, name)
    }

    /// 409: no free generated name was found.
    pub fn generate_name_conflict(resource: &Resource, name: &str) -> Self {
        let message = format!(
            "{} \"{name}\" already exists, the server was not able to generate a unique name for the object",
            resource.qualified()
        );
        let mut status = Self::new(409, "AlreadyExists", message).of(resource, name);
        status.details["retryAfterSeconds"] = json!(1);
        status
    }

    /// 409 with a reason in words.
    pub fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", resource.qualified());
        Self::new(409, "Conflict", message).of(resource, name)
    }

    /// 409: the object moved on since the caller read it.
    pub fn stale(resource: &Resource, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// 409: a uid or resourceVersion precondition does not hold. `field` is `UID` or `ResourceVersion`.
    pub fn precondition(resource: &Resource, name: &str, field: &str, want: &str, have: &str) -> Self {
        let happened = if field == "UID" { "deleted and then recreated" } else { "modified" };
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": the {field} in the precondition ({want}) does not \
             match the {field} in record ({have}). The object might have been {happened}",
            resource.qualified_kind()
        );
        let mut status = Self::new(409, "Conflict", message).of(resource, name);
        status.details["kind"] = resource.kind.into();
        status
    }

    /// 409: server-side apply met fields of other managers.
    pub fn apply_conflict(message: String, causes: Vec<(String, String)>) -> Self {
        let causes = causes
            .into_iter()
            .map(|(message, field)| json!({"reason": "FieldManagerConflict", "message": message, "field": field}))
            .collect();
        Self::new(409, "Conflict", message).causes(causes)
    }

    /// 422: the object breaks rules of its kind.
    pub fn invalid(resource: &Resource, name: &str, errors: &[FieldError]) -> Self {
        Self::invalid_named(&resource.qualified_kind(), resource.group, resource.kind, name, errors)
    }

    /// The same, said of the resource: what the store itself checks.
    pub fn invalid_resource(resource: &Resource, name: &str, errors: &[FieldError]) -> Self {
        Self::invalid_named(&resource.qualified(), resource.group, resource.plural, name, errors)
    }

    /// 409: a write is for an object with another uid.
    pub fn other_uid(resource: &Resource, namespace: &str, name: &str, want: &str, have: &str) -> Self {
        let plural = resource.plural;
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{plural}/{namespace}/{name}, ResourceVersion: 0, \
             AdditionalErrorMsg: Precondition failed: UID in precondition: {want}, UID in object meta: {have}"
        );
        Self::conflict(resource, name, &why)
    }

    /// 422 about query options rather than an object.
    pub fn invalid_options(kind: &'static str, errors: &[FieldError]) -> Self {
        Self::invalid_named(&format!("{kind}.meta.k8s.io"), "meta.k8s.io", kind, "", errors)
    }

    fn invalid_named(shown: &str, group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let text = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let causes = errors
            .iter()
            .map(|it| json!({"reason": it.reason_str(), "message": it.message(), "field": it.field}))
            .collect();
        let mut status = Self::new(422, "Invalid", format!("{shown} \"{name}\" is invalid: {text}"));
        status.details = json!({"name": name, "kind": kind});
        if !group.is_empty() {
            status.details["group"] = group.into();
        }
        status.causes(causes)
    }

    /// 422: a patch cannot be applied to this object.
    pub fn invalid_patch(message: impl Into<String>) -> Self {
        Self::new(422, "Invalid", message)
    }

    /// 422: the result of a patch does not decode, or has fields it should not have (`fieldValidation=Strict`).
    pub fn unfit_patch(patched: &Value, why: &str) -> Self {
        let error = FieldError::invalid("patch", patched.to_string(), why);
        Self::invalid_named("", "", "", "", &[error])
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self { details: Value::Null, ..Self::new(400, "BadRequest", message) }
    }

    /// 401: no or wrong capability.
    pub fn unauthorized() -> Self {
        Self { details: Value::Null, ..Self::new(401, "Unauthorized", "Unauthorized") }
    }

    /// 403 about one object.
    pub fn forbidden(resource: &Resource, name: &str, why: &str) -> Self {
        Self::new(403, "Forbidden", format!("{} \"{name}\" is forbidden: {why}", resource.qualified()))
            .of(resource, name)
    }

    /// 403: requests a browser page could have caused, or for a foreign host name.
    pub fn refused(message: &str) -> Self {
        Self { details: Value::Null, ..Self::new(403, "Forbidden", message) }
    }

    /// 403: nothing may be created in a namespace that is going away.
    pub fn namespace_terminating(resource: &Resource, name: &str, namespace: &str) -> Self {
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        Self::forbidden(resource, name, &why).causes(vec![json!({
            "reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace",
        })])
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message)
    }

    /// 406.
    pub fn not_acceptable() -> Self {
        let message = "only the following media types are accepted: application/json, \
                       application/json;as=Table;v=v1;g=meta.k8s.io, \
                       application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        Self::new(406, "NotAcceptable", message)
    }

    /// 413.
    pub fn too_large(limit: usize) -> Self {
        Self::new(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {limit}"))
    }

    /// 408: the body did not come in time.
    pub fn body_timeout() -> Self {
        Self { details: Value::Null, ..Self::new(408, "Timeout", "the body of the request took too long") }
    }

    /// 500: what the answer tells cannot be kept.
    pub fn disk_failed() -> Self {
        Self::new(500, "InternalError", "Internal error occurred: the data directory can not be written")
    }

    /// 415: body in a format this verb does not take.
    pub fn unsupported_media(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 410: the version asked for is no longer in the ring.
    pub fn expired(version: u64, oldest: u64) -> Self {
        let message = format!("too old resource version: {version} ({oldest})");
        Self { details: Value::Null, ..Self::new(410, "Expired", message) }
    }

    /// 410: the snapshot behind a continue token is gone.
    pub fn continue_expired() -> Self {
        let message = "The provided continue parameter is too old to display a consistent list result. You can \
                       start a new list without the continue parameter, or use the continue token in this \
                       response to retrieve the remainder of the results. Continuing with the provided token \
                       results in an inconsistent list - objects that were created, modified, or deleted \
                       between the time the first chunk was returned and now may show up in the list.";
        Self { details: Value::Null, ..Self::new(410, "Expired", message) }
    }

    /// 504: the version asked for lies in the future.
    pub fn version_too_large(wanted: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
        let mut status = Self::new(504, "Timeout", message).causes(vec![
            json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}),
        ]);
        status.details["retryAfterSeconds"] = json!(1);
        status
    }

    /// 429: a disruption budget does not allow an eviction now.
    pub fn disruption_budget(why: &str) -> Self {
        let message = "Cannot evict pod as it would violate the pod's disruption budget.";
        // Without retryAfterSeconds, as upstream: clients decide themselves how long they try.
        Self::new(429, "TooManyRequests", message)
            .causes(vec![json!({"reason": "DisruptionBudget", "message": why})])
    }

    /// 429: more watches than the server keeps open.
    pub fn too_many_watches() -> Self {
        let mut status =
            Self::new(429, "TooManyRequests", "too many watches, please close some and try again");
        status.details["retryAfterSeconds"] = json!(1);
        status
    }

    /// 501: a verb that needs a container runtime.
    pub fn not_implemented(verb: &str) -> Self {
        Self::new(501, "NotImplemented", format!("{verb} is not supported by this server"))
    }

    /// 500.
    pub fn internal(message: &str) -> Self {
        Self::new(500, "InternalError", format!("Internal error occurred: {message}"))
            .causes(vec![json!({"message": message})])
    }

    /// 500 without a reason: an applied configuration that does not fit the schema.
    pub fn untyped(message: impl Into<String>) -> Self {
        Self { details: Value::Null, ..Self::new(500, "", message) }
    }

    /// The wire form.
    pub fn to_value(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }

    /// The answer to a deletion that left nothing behind.
    pub fn deleted(resource: &Resource, name: &str, uid: &str) -> Value {
        let mut details = named(resource, name);
        details["uid"] = uid.into();
        json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": details,
        })
    }

    /// The answer of subresources that return nothing of their own.
    pub fn success(code: u16) -> Value {
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::resources;

    #[test]
    fn wording_and_codes() {
        let pods = resources::find("", "v1", "pods").unwrap();
        let sets = resources::find("apps", "v1", "statefulsets").unwrap();
        let negative = FieldError::invalid("spec.replicas", -1, "must be greater than or equal to 0");
        let missing = FieldError::required("spec.selector", "");
        #[rustfmt::skip]
        let cases = [
            (Status::not_found(pods, "x"), 404, "NotFound", r#"pods "x" not found"#),
            (Status::not_found(sets, "x"), 404, "NotFound", r#"statefulsets.apps "x" not found"#),
            (Status::already_exists(pods, "x"), 409, "AlreadyExists", r#"pods "x" already exists"#),
            (Status::stale(pods, "x"), 409, "Conflict", r#"Operation cannot be fulfilled on pods "x": the object has been modified; please apply your changes to the latest version and try again"#),
            (Status::precondition(pods, "x", "UID", "a", "b"), 409, "Conflict", r#"Operation cannot be fulfilled on Pod "x": the UID in the precondition (a) does not match the UID in record (b). The object might have been deleted and then recreated"#),
            (Status::invalid(sets, "x", std::slice::from_ref(&negative)), 422, "Invalid", r#"StatefulSet.apps "x" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"#),
            (Status::invalid(sets, "x", &[negative, missing]), 422, "Invalid", r#"StatefulSet.apps "x" is invalid: [spec.replicas: Invalid value: -1: must be greater than or equal to 0, spec.selector: Required value]"#),
            (Status::namespace_terminating(pods, "x", "n"), 403, "Forbidden", r#"pods "x" is forbidden: unable to create new content in namespace n because it is being terminated"#),
            (Status::expired(3, 9), 410, "Expired", "too old resource version: 3 (9)"),
            (Status::not_implemented("log"), 501, "NotImplemented", "log is not supported by this server"),
        ];
        for (status, code, reason, message) in cases {
            assert_eq!((status.code, status.reason, status.message.as_str()), (code, reason, message));
        }
        let details = Status::not_found(sets, "x").details;
        assert_eq!(details, serde_json::json!({"name": "x", "group": "apps", "kind": "statefulsets"}));
    }
}
