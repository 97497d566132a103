//! Probes and lifecycle hooks. Source: `validateProbe`, `validateLifecycle`, `validateHandler`.

use super::{FieldError, invalid_each, list, names, one_of, text};
use crate::apiserver::validate::{non_negative, port_number_or_name};
use serde_json::Value;

/// Ways to find out, in upstream's order.
const HANDLERS: [&str; 5] = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];

/// Everything that watches a container which goes on running.
pub fn check(container: &Value, field: &str, grace: i64, errors: &mut Vec<FieldError>) {
    for hook in ["postStart", "preStop"] {
        let of = &container["lifecycle"][hook];
        if of.is_object() {
            handler(of, grace, &format!("{field}.lifecycle.{hook}"), errors);
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let of = &container[name];
        if of.is_object() {
            probe(of, name == "readinessProbe", grace, &format!("{field}.{name}"), errors);
        }
    }
}

fn probe(probe: &Value, of_readiness: bool, grace: i64, field: &str, errors: &mut Vec<FieldError>) {
    handler(probe, grace, field, errors);
    for key in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        non_negative(&probe[key], format!("{field}.{key}"), errors);
    }
    let seconds = &probe["terminationGracePeriodSeconds"];
    let key = || format!("{field}.terminationGracePeriodSeconds");
    if seconds.as_i64().is_some_and(|it| it <= 0) {
        errors.push(FieldError::invalid(key(), seconds.clone(), "must be greater than 0"));
    }
    if of_readiness {
        if !seconds.is_null() {
            let detail = "must not be set for readinessProbes";
            errors.push(FieldError::invalid(key(), seconds.clone(), detail));
        }
    } else if probe["successThreshold"].as_i64().is_some_and(|it| it != 1) {
        let value = probe["successThreshold"].clone();
        errors.push(FieldError::invalid(format!("{field}.successThreshold"), value, "must be 1"));
    }
}

fn handler(of: &Value, grace: i64, field: &str, errors: &mut Vec<FieldError>) {
    let mut given = HANDLERS.into_iter().filter(|it| of[*it].is_object());
    let Some(first) = given.next() else {
        errors.push(FieldError::required(field, "must specify a handler type"));
        return;
    };
    action(first, &of[first], grace, &format!("{field}.{first}"), errors);
    for other in given {
        let detail = "may not specify more than 1 handler type";
        errors.push(FieldError::forbidden(format!("{field}.{other}"), detail));
    }
}

fn action(kind: &str, action: &Value, grace: i64, field: &str, errors: &mut Vec<FieldError>) {
    match kind {
        "exec" if list(&action["command"]).is_empty() => {
            errors.push(FieldError::required(format!("{field}.command"), ""));
        }
        "httpGet" => {
            if text(&action["path"]).is_empty() {
                errors.push(FieldError::required(format!("{field}.path"), ""));
            }
            port_number_or_name(&action["port"], &format!("{field}.port"), errors);
            one_of(&action["scheme"], &format!("{field}.scheme"), &["HTTP", "HTTPS"], errors);
            for header in list(&action["httpHeaders"]) {
                let name = text(&header["name"]);
                invalid_each(&format!("{field}.httpHeaders"), name, names::http_header(name), errors);
            }
        }
        "tcpSocket" | "grpc" => port_number_or_name(&action["port"], &format!("{field}.port"), errors),
        "sleep" => {
            let seconds = action["seconds"].as_i64().unwrap_or(0);
            if seconds < 0 || seconds > grace {
                let detail =
                    format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                errors.push(FieldError::invalid(field, seconds, detail));
            }
        }
        _ => {}
    }
}
