//! Roles and bindings, which are stored and grant nothing: here everybody may do everything.
//!
//! Source: `pkg/apis/rbac/validation/validation.go`.

use super::{FieldError, list, one_of, required, text};
use serde_json::Value;

const GROUP: &str = "rbac.authorization.k8s.io";

/// `ValidateRole`, `ValidateClusterRole`.
pub fn role(object: &Value, namespaced: bool, errors: &mut Vec<FieldError>) {
    for (index, rule) in list(&object["rules"]).iter().enumerate() {
        let field = format!("rules[{index}]");
        if list(&rule["verbs"]).is_empty() {
            errors.push(FieldError::required(
                format!("{field}.verbs"),
                "verbs must contain at least one value",
            ));
        }
        if !list(&rule["nonResourceURLs"]).is_empty() {
            if namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                errors.push(FieldError::invalid(
                    format!("{field}.nonResourceURLs"),
                    rule["nonResourceURLs"].clone(),
                    detail,
                ));
            }
            continue;
        }
        for (key, detail) in [
            ("apiGroups", "resource rules must supply at least one api group"),
            ("resources", "resource rules must supply at least one resource"),
        ] {
            if list(&rule[key]).is_empty() {
                errors.push(FieldError::required(format!("{field}.{key}"), detail));
            }
        }
    }
}

/// `ValidateRoleBinding`, `ValidateClusterRoleBinding`.
pub fn binding(object: &Value, namespaced: bool, errors: &mut Vec<FieldError>) {
    let role = &object["roleRef"];
    if text(&role["apiGroup"]) != GROUP {
        errors.push(FieldError::not_supported("roleRef.apiGroup", text(&role["apiGroup"]), &[GROUP]));
    }
    let kinds: &[&str] = if namespaced { &["ClusterRole", "Role"] } else { &["ClusterRole"] };
    if !kinds.contains(&text(&role["kind"])) {
        errors.push(FieldError::not_supported("roleRef.kind", text(&role["kind"]), kinds));
    }
    required(role, "name", "roleRef.name", errors);
    for (index, subject) in list(&object["subjects"]).iter().enumerate() {
        let field = format!("subjects[{index}]");
        required(subject, "name", format!("{field}.name"), errors);
        let kind = format!("{field}.kind");
        one_of(&subject["kind"], &kind, &["Group", "ServiceAccount", "User"], errors);
        if subject["kind"] == "ServiceAccount" && !namespaced {
            required(subject, "namespace", format!("{field}.namespace"), errors);
        }
    }
}

/// What a binding grants never changes.
pub fn update_binding(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    if old["roleRef"] != new["roleRef"] {
        errors.push(FieldError::invalid("roleRef", new["roleRef"].clone(), "cannot change roleRef"));
    }
}
