//! Jobs and CronJobs, which are stored and never run.
//!
//! Source: `pkg/apis/batch/validation/validation.go`.

use super::{FieldError, immutable, metadata, non_negative, one_of, pod, text};
use serde_json::Value;

/// The five fields of a schedule, or a macro such as `@hourly`.
fn is_schedule(text: &str) -> bool {
    let fields = text.split_whitespace().count();
    text.starts_with('@') || fields == 5 || (fields == 6 && text.starts_with("TZ="))
}

/// `ValidateJob`.
pub fn job(object: &Value, errors: &mut Vec<FieldError>) {
    job_spec(&object["spec"], "spec", errors);
}

fn job_spec(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for key in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        non_negative(&spec[key], format!("{path}.{key}"), errors);
    }
    let template = &spec["template"];
    metadata::labels(&template["metadata"]["labels"], &format!("{path}.template.labels"), errors);
    metadata::annotations(
        &template["metadata"]["annotations"],
        &format!("{path}.template.annotations"),
        errors,
    );
    pod::spec(&template["spec"], &format!("{path}.template.spec"), errors);
    let policy = &template["spec"]["restartPolicy"];
    let field = format!("{path}.template.spec.restartPolicy");
    match text(policy) {
        "OnFailure" | "Never" => {}
        "" | "Always" => {
            errors.push(FieldError::required(field, "valid values: \"OnFailure\", \"Never\""));
        }
        _ => errors.push(FieldError::not_supported(field, policy.clone(), &["OnFailure", "Never"])),
    }
}

/// What of a Job may not change.
pub fn update_job(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    for key in ["selector", "template", "completionMode"] {
        immutable(old, new, &format!("/spec/{key}"), &format!("spec.{key}"), errors);
    }
}

/// `ValidateCronJob`.
pub fn cron_job(object: &Value, errors: &mut Vec<FieldError>) {
    /// Job names are this name and eleven characters more.
    const LONGEST_NAME: usize = 52;
    let name = text(&object["metadata"]["name"]);
    if name.len() > LONGEST_NAME {
        errors.push(FieldError::invalid("metadata.name", name, "must be no more than 52 characters"));
    }
    let spec = &object["spec"];
    match text(&spec["schedule"]) {
        "" => errors.push(FieldError::required("spec.schedule", "")),
        schedule if !is_schedule(schedule) => errors.push(FieldError::invalid(
            "spec.schedule",
            schedule,
            format!("expected exactly 5 fields, found {}: [{schedule}]", schedule.split_whitespace().count()),
        )),
        _ => {}
    }
    for key in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        non_negative(&spec[key], format!("spec.{key}"), errors);
    }
    let policies = ["Allow", "Forbid", "Replace"];
    one_of(&spec["concurrencyPolicy"], "spec.concurrencyPolicy", &policies, errors);
    job_spec(&spec["jobTemplate"]["spec"], "spec.jobTemplate.spec", errors);
}
