//! Security contexts of pods and containers. Source: `validatePodSpecSecurityContext`, `ValidateSecurityContext`.

use super::{FieldError, between, list, text};
use serde_json::Value;
use std::collections::BTreeSet;

const SYSCTL: &str = r"must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
const NOT_WINDOWS: &str = "cannot be set for a windows pod";

fn id(value: &Value, field: String, errors: &mut Vec<FieldError>) {
    if !value.is_null() {
        between(value, 0, i32::MAX.into(), &field, errors);
    }
}

fn known(value: &Value, field: String, known: &[&str], errors: &mut Vec<FieldError>) {
    if !value.is_null() && !known.contains(&text(value)) {
        errors.push(FieldError::not_supported(field, value.clone(), known));
    }
}

pub fn of_pod(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let context = &spec["securityContext"];
    if context.as_object().is_none_or(serde_json::Map::is_empty) && spec["shareProcessNamespace"] != true {
        return;
    }
    let field = format!("{path}.securityContext");
    for key in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(&context[key], format!("{field}.{key}"), errors);
    }
    for (index, group) in list(&context["supplementalGroups"]).iter().enumerate() {
        id(group, format!("{field}.supplementalGroups[{index}]"), errors);
    }
    if spec["shareProcessNamespace"] == true && spec["hostPID"] == true {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(format!("{field}.shareProcessNamespace"), true, detail));
    }
    sysctls(list(&context["sysctls"]), &field, errors);
    let policies = ["Always", "OnRootMismatch"];
    known(&context["fsGroupChangePolicy"], format!("{field}.fsGroupChangePolicy"), &policies, errors);
    profiles(context, &field, errors);
    let policies = ["Merge", "Strict"];
    known(
        &context["supplementalGroupsPolicy"],
        format!("{field}.supplementalGroupsPolicy"),
        &policies,
        errors,
    );
    let policies = ["MountOption", "Recursive"];
    known(&context["seLinuxChangePolicy"], format!("{field}.seLinuxChangePolicy"), &policies, errors);
}

fn sysctls(all: &[Value], field: &str, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (index, sysctl) in all.iter().enumerate() {
        let (name, field) = (text(&sysctl["name"]), format!("{field}.sysctls[{index}].name"));
        if name.is_empty() {
            errors.push(FieldError::required(field, ""));
        } else if !is_sysctl(name) {
            errors.push(FieldError::invalid(field, name, SYSCTL));
        } else if !seen.insert(name) {
            errors.push(FieldError::duplicate(field, name));
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let alnum = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_part = |it: &str| {
        let bytes = it.as_bytes();
        bytes.first().is_some_and(alnum)
            && bytes.last().is_some_and(alnum)
            && bytes.iter().all(|b| alnum(b) || b"-_".contains(b))
    };
    name.len() <= 253 && name.split(['.', '/']).all(is_part)
}

/// Seccomp and `AppArmor`: a profile of the node's own has to be named, others must not be.
fn profiles(context: &Value, field: &str, errors: &mut Vec<FieldError>) {
    for (key, shown) in [("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")] {
        let profile = &context[key];
        if !profile.is_object() {
            continue;
        }
        let field = format!("{field}.{key}");
        let kinds = ["Localhost", "RuntimeDefault", "Unconfined"];
        match text(&profile["type"]) {
            "" => {
                let detail = format!("type is required when {key} is set");
                errors.push(FieldError::required(format!("{field}.type"), detail));
            }
            it if !kinds.contains(&it) => {
                errors.push(FieldError::not_supported(format!("{field}.type"), it, &kinds));
            }
            _ => {}
        }
        let local = &profile["localhostProfile"];
        let field = format!("{field}.localhostProfile");
        match (profile["type"] == "Localhost", local.is_null()) {
            (true, true) => {
                let detail = format!("must be set when {shown} type is Localhost");
                errors.push(FieldError::required(field, detail));
            }
            (false, false) => {
                let detail = format!("can only be set when {shown} type is Localhost");
                errors.push(FieldError::invalid(field, local.clone(), detail));
            }
            _ => {}
        }
    }
}

pub fn of_container(context: &Value, field: &str, errors: &mut Vec<FieldError>) {
    if !context.is_object() {
        return;
    }
    for key in ["runAsUser", "runAsGroup"] {
        id(&context[key], format!("{field}.{key}"), errors);
    }
    known(&context["procMount"], format!("{field}.procMount"), &["Default", "Unmasked"], errors);
    profiles(context, field, errors);
    if context["allowPrivilegeEscalation"] == false {
        let added = list(&context["capabilities"]["add"]);
        let what = if context["privileged"] == true {
            "`privileged` to true"
        } else if added.iter().any(|it| it == "CAP_SYS_ADMIN") {
            "`capabilities.Add` CAP_SYS_ADMIN"
        } else {
            return;
        };
        let detail = format!("cannot set `allowPrivilegeEscalation` to false and {what}");
        errors.push(FieldError::invalid(field, context.clone(), detail));
    }
}

/// What of the contexts a pod on Windows cannot have.
pub fn not_on_windows(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let of_pod = [
        "appArmorProfile",
        "seLinuxOptions",
        "seccompProfile",
        "fsGroup",
        "fsGroupChangePolicy",
        "sysctls",
        "runAsUser",
        "runAsGroup",
        "supplementalGroups",
        "supplementalGroupsPolicy",
        "seLinuxChangePolicy",
    ];
    for key in of_pod.iter().filter(|it| !spec["securityContext"][**it].is_null()) {
        errors.push(FieldError::forbidden(format!("{path}.securityContext.{key}"), NOT_WINDOWS));
    }
    let of_container = [
        "appArmorProfile",
        "seLinuxOptions",
        "seccompProfile",
        "capabilities",
        "readOnlyRootFilesystem",
        "privileged",
        "allowPrivilegeEscalation",
        "procMount",
        "runAsUser",
        "runAsGroup",
    ];
    for name in ["initContainers", "containers"] {
        for (index, container) in list(&spec[name]).iter().enumerate() {
            let field = format!("{path}.{name}[{index}].securityContext");
            for key in of_container.iter().filter(|it| !container["securityContext"][**it].is_null()) {
                errors.push(FieldError::forbidden(format!("{field}.{key}"), NOT_WINDOWS));
            }
        }
    }
}
