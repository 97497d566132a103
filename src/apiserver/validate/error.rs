//! One problem with one field, in upstream's words.
//!
//! Source: apimachinery `pkg/util/validation/field/errors.go`.

use serde_json::Value;
use std::fmt;

/// What is wrong with the field: the `reason` of a status cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldErrorReason {
    /// The field has to be set.
    Required,
    /// The value is malformed.
    Invalid,
    /// The same, told without the value.
    Bare,
    /// The value is none of the known ones.
    NotSupported,
    /// The field must not be set, or not be changed.
    Forbidden,
    /// The value must be unique.
    Duplicate,
    /// The value is longer than allowed.
    TooLong,
    /// The list has more items than allowed.
    TooMany,
    /// The value refers to something that does not exist.
    NotFound,
    /// The value has the wrong JSON type.
    TypeInvalid,
}

/// One problem with one field.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    /// Path such as `spec.template.spec.containers[0].name`.
    pub field: String,
    /// Kind of problem.
    pub reason: FieldErrorReason,
    /// The offending value, printed as JSON; unused by Required, Forbidden, TooLong and TooMany.
    pub value: Value,
    /// Explanation, may be empty.
    pub detail: String,
}

impl FieldError {
    /// `Required value: detail`.
    pub fn required(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorReason::Required, field, Value::Null, detail)
    }

    /// `Invalid value: value: detail`.
    pub fn invalid(field: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorReason::Invalid, field, value.into(), detail)
    }

    /// `Invalid value: detail`, where upstream shows no value.
    pub fn bare(field: impl Into<String>, detail: &str) -> Self {
        Self::new(FieldErrorReason::Bare, field, Value::Null, detail)
    }

    /// `Unsupported value: "x": supported values: "a", "b"`; `supported` in upstream's order.
    pub fn not_supported(field: impl Into<String>, value: impl Into<Value>, supported: &[&str]) -> Self {
        let names: Vec<String> = supported.iter().map(|it| format!("{it:?}")).collect();
        let detail =
            if names.is_empty() { String::new() } else { format!("supported values: {}", names.join(", ")) };
        Self::new(FieldErrorReason::NotSupported, field, value.into(), detail)
    }

    /// `Forbidden: detail`.
    pub fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorReason::Forbidden, field, Value::Null, detail)
    }

    /// `Duplicate value: value`.
    pub fn duplicate(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::new(FieldErrorReason::Duplicate, field, value.into(), "")
    }

    /// `Too long: may not be more than max bytes`.
    pub fn too_long(field: impl Into<String>, max: usize) -> Self {
        Self::new(FieldErrorReason::TooLong, field, Value::Null, format!("may not be more than {max} bytes"))
    }

    /// `Too many: actual: must have at most max items`.
    pub fn too_many(field: impl Into<String>, actual: usize, max: usize) -> Self {
        let items = if max == 1 { "item" } else { "items" };
        Self::new(
            FieldErrorReason::TooMany,
            field,
            Value::from(actual),
            format!("must have at most {max} {items}"),
        )
    }

    /// `Not found: value`.
    pub fn not_found(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::new(FieldErrorReason::NotFound, field, value.into(), "")
    }

    fn new(
        reason: FieldErrorReason,
        field: impl Into<String>,
        value: Value,
        detail: impl Into<String>,
    ) -> Self {
        Self { field: field.into(), reason, value, detail: detail.into() }
    }

    /// The text without the field: the `message` of a status cause.
    pub fn message(&self) -> String {
        use FieldErrorReason as R;
        let head = match self.reason {
            R::Required => "Required value".to_owned(),
            R::Forbidden => "Forbidden".to_owned(),
            R::TooLong => "Too long".to_owned(),
            R::Bare => "Invalid value".to_owned(),
            R::Invalid | R::TypeInvalid => format!("Invalid value: {}", shown(&self.value)),
            R::NotSupported => format!("Unsupported value: {}", shown(&self.value)),
            R::Duplicate => format!("Duplicate value: {}", shown(&self.value)),
            R::TooMany => format!("Too many: {}", shown(&self.value)),
            R::NotFound => format!("Not found: {}", shown(&self.value)),
        };
        if self.detail.is_empty() { head } else { format!("{head}: {}", self.detail) }
    }

    /// The `reason` of a status cause, such as `FieldValueInvalid`.
    pub fn reason_str(&self) -> &'static str {
        use FieldErrorReason as R;
        match self.reason {
            R::Required => "FieldValueRequired",
            R::Invalid | R::Bare => "FieldValueInvalid",
            R::NotSupported => "FieldValueNotSupported",
            R::Forbidden => "FieldValueForbidden",
            R::Duplicate => "FieldValueDuplicate",
            R::TooLong => "FieldValueTooLong",
            R::TooMany => "FieldValueTooMany",
            R::NotFound => "FieldValueNotFound",
            R::TypeInvalid => "FieldValueTypeInvalid",
        }
    }
}

/// Strings quoted, everything else as compact JSON; upstream prints an unset value as `null`.
fn shown(value: &Value) -> String {
    value.to_string()
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wording() {
        #[rustfmt::skip]
        let cases = [
            (FieldError::required("spec.selector", ""), "spec.selector: Required value", "FieldValueRequired"),
            (FieldError::required("data", "data is mandatory"), "data: Required value: data is mandatory", "FieldValueRequired"),
            (FieldError::invalid("spec.replicas", -1, "must be greater than or equal to 0"), "spec.replicas: Invalid value: -1: must be greater than or equal to 0", "FieldValueInvalid"),
            (FieldError::not_supported("spec.type", "X", &["b", "a"]), r#"spec.type: Unsupported value: "X": supported values: "b", "a""#, "FieldValueNotSupported"),
            (FieldError::forbidden("spec", "no"), "spec: Forbidden: no", "FieldValueForbidden"),
            (FieldError::duplicate("spec.ports[1].name", "a"), r#"spec.ports[1].name: Duplicate value: "a""#, "FieldValueDuplicate"),
            (FieldError::too_long("metadata.annotations", 262_144), "metadata.annotations: Too long: may not be more than 262144 bytes", "FieldValueTooLong"),
            (FieldError::too_many("endpoints", 1001, 1000), "endpoints: Too many: 1001: must have at most 1000 items", "FieldValueTooMany"),
            (FieldError::not_found("spec.containers[0].volumeMounts[0].name", "www"), r#"spec.containers[0].volumeMounts[0].name: Not found: "www""#, "FieldValueNotFound"),
        ];
        for (error, want, reason) in cases {
            assert_eq!(error.to_string(), want);
            assert_eq!(error.reason_str(), reason);
        }
    }
}
