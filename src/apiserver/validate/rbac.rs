//! Roles and bindings, which are stored and grant nothing: here everybody may do everything.
//!
//! Source: `pkg/apis/rbac/validation/validation.go`.

use super::{FieldError, invalid_each, label_selector, list, names, one_of, required, text};
use serde_json::{Value, json};

const GROUP: &str = "rbac.authorization.k8s.io";

/// `ValidateRole`, `ValidateClusterRole`.
pub fn role(object: &Value, namespaced: bool, errors: &mut Vec<FieldError>) {
    let aggregation = &object["aggregationRule"];
    if aggregation.is_object() {
        let field = "aggregationRule.clusterRoleSelectors";
        let selectors = list(&aggregation["clusterRoleSelectors"]);
        if selectors.is_empty() {
            let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
            errors.push(FieldError::required(field, detail));
        }
        for (index, selector) in selectors.iter().enumerate() {
            label_selector(selector, &format!("{field}[{index}]"), errors);
        }
    }
    for (index, rule) in list(&object["rules"]).iter().enumerate() {
        let field = format!("rules[{index}]");
        if list(&rule["verbs"]).is_empty() {
            errors.push(FieldError::required(
                format!("{field}.verbs"),
                "verbs must contain at least one value",
            ));
        }
        if !list(&rule["nonResourceURLs"]).is_empty() {
            let regular = ["apiGroups", "resources", "resourceNames"];
            let detail = if namespaced {
                "namespaced rules cannot apply to non-resource URLs"
            } else if regular.iter().any(|it| !list(&rule[*it]).is_empty()) {
                "rules cannot apply to both regular resources and non-resource URLs"
            } else {
                continue;
            };
            let value = rule["nonResourceURLs"].clone();
            errors.push(FieldError::invalid(format!("{field}.nonResourceURLs"), value, detail));
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
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&text(&role["kind"])) {
        errors.push(FieldError::not_supported("roleRef.kind", text(&role["kind"]), kinds));
    }
    required(role, "name", "roleRef.name", errors);
    for (index, subject) in list(&object["subjects"]).iter().enumerate() {
        let field = format!("subjects[{index}]");
        let (kind, name) = (text(&subject["kind"]), text(&subject["name"]));
        let group = match kind {
            "ServiceAccount" => "",
            _ => GROUP,
        };
        required(subject, "name", format!("{field}.name"), errors);
        match kind {
            "ServiceAccount" | "User" | "Group" => {
                if kind == "ServiceAccount" && !name.is_empty() {
                    invalid_each(&format!("{field}.name"), name, names::dns_subdomain(name), errors);
                }
                if text(&subject["apiGroup"]) != group {
                    let value = text(&subject["apiGroup"]);
                    errors.push(FieldError::not_supported(format!("{field}.apiGroup"), value, &[group]));
                }
                if kind == "ServiceAccount" && !namespaced && text(&subject["namespace"]).is_empty() {
                    errors.push(FieldError::required(format!("{field}.namespace"), ""));
                }
            }
            _ => {
                let known = ["ServiceAccount", "User", "Group"];
                one_of(&subject["kind"], &format!("{field}.kind"), &known, errors);
            }
        }
    }
}

/// What a binding grants never changes.
pub fn update_binding(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    if old["roleRef"] != new["roleRef"] {
        // As Go prints it.
        let role = &new["roleRef"];
        let value = json!({"APIGroup": role["apiGroup"], "Kind": role["kind"], "Name": role["name"]});
        errors.push(FieldError::invalid("roleRef", value, "cannot change roleRef"));
    }
}
