//! Jobs and CronJobs, which are stored and never run.
//!
//! Source: `pkg/apis/batch/validation/validation.go`.

use super::{FieldError, immutable, label_selector, list, metadata, non_negative, one_of, pod, text};
use crate::apiserver::selector::LabelSelector;
use serde_json::{Value, json};

/// What is wrong with a schedule, in the words of upstream's parser.
///
/// Source: `robfig/cron` `ParseStandard`.
fn schedule_error(schedule: &str) -> Option<String> {
    /// (least, most, names) of each field.
    const FIELDS: [(u32, u32, &[&str]); 5] = [
        (0, 59, &[]),
        (0, 23, &[]),
        (1, 31, &[]),
        (1, 12, &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
        (0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
    ];
    if schedule.contains("TZ") {
        return Some("cannot use TZ or CRON_TZ in schedule, use timeZone field instead".to_owned());
    }
    if schedule.starts_with('@') {
        let known = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
        let fine = known.contains(&schedule) || schedule.starts_with("@every ");
        return (!fine).then(|| format!("unrecognized descriptor: {schedule}"));
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Some(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    fields
        .iter()
        .zip(FIELDS)
        .flat_map(|(field, range)| field.split(',').map(move |it| (it, range)))
        .find_map(|(part, (least, most, names))| schedule_part(part, least, most, names))
}

/// One part of a field: `*`, `5`, `1-5`, each with an optional step.
fn schedule_part(part: &str, least: u32, most: u32, names: &[&str]) -> Option<String> {
    let (range, step) = part.split_once('/').map_or((part, None), |it| (it.0, Some(it.1)));
    let number = |it: &str| {
        let named = names.iter().position(|name| it.eq_ignore_ascii_case(name));
        named.and_then(|it| u32::try_from(it).ok()).map(|it| it + least).or_else(|| it.parse().ok())
    };
    let unreadable =
        |it: &str| format!("failed to parse int from {it}: strconv.Atoi: parsing {it:?}: invalid syntax");
    if let Some(step) = step {
        match step.parse::<u32>() {
            Err(_) => return Some(unreadable(step)),
            Ok(0) => return Some(format!("step of range should be a positive number: {part}")),
            Ok(_) => {}
        }
    }
    if matches!(range, "*" | "?") {
        return None;
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let Some(start) = number(first) else { return Some(unreadable(first)) };
    let Some(end) = number(last) else { return Some(unreadable(last)) };
    if start < least {
        Some(format!("beginning of range ({start}) below minimum ({least}): {part}"))
    } else if end > most {
        Some(format!("end of range ({end}) above maximum ({most}): {part}"))
    } else if start > end {
        Some(format!("beginning of range ({start}) beyond end of range ({end}): {part}"))
    } else {
        None
    }
}

/// `ValidateJob`.
pub fn job(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    job_spec(spec, "spec", errors);
    let (selector, labels) = (&spec["selector"], &spec["template"]["metadata"]["labels"]);
    label_selector(selector, "spec.selector", errors);
    let generated = |it: &serde_json::Map<String, Value>| {
        it.len() == 1 && it.contains_key("batch.kubernetes.io/controller-uid")
    };
    if spec["manualSelector"] != true
        && (!selector["matchLabels"].as_object().is_some_and(generated)
            || !selector["matchExpressions"].is_null())
    {
        let detail = "`selector` not auto-generated";
        errors.push(FieldError::invalid("spec.selector", selector.clone(), detail));
        return;
    }
    let parsed = LabelSelector::from_json(selector);
    if selector.is_object() && parsed.is_ok_and(|it| !it.matches(&spec["template"])) {
        let detail = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid("spec.template.metadata.labels", labels.clone(), detail));
    }
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
    let indexed = spec["completionMode"] == "Indexed";
    let mode = &spec["completionMode"];
    if !mode.is_null() && !["NonIndexed", "Indexed"].contains(&text(mode)) {
        let field = format!("{path}.completionMode");
        errors.push(FieldError::not_supported(field, mode.clone(), &["NonIndexed", "Indexed"]));
    }
    if indexed && spec["completions"].is_null() {
        let detail = "when completion mode is Indexed";
        errors.push(FieldError::required(format!("{path}.completions"), detail));
    }
    for key in ["backoffLimitPerIndex", "maxFailedIndexes"] {
        if !spec[key].is_null() && !indexed {
            let value = spec[key].clone();
            errors.push(FieldError::invalid(
                format!("{path}.{key}"),
                value,
                "requires indexed completion mode",
            ));
        }
    }
    failure_policy(spec, path, errors);
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

/// What a Job does about pods that fail, and when it replaces them.
fn failure_policy(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let policy = &spec["podFailurePolicy"];
    let replacement = &spec["podReplacementPolicy"];
    if !replacement.is_null() {
        let known: &[&str] =
            if policy.is_object() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
        if !known.contains(&text(replacement)) {
            let field = format!("{path}.podReplacementPolicy");
            errors.push(FieldError::not_supported(field, replacement.clone(), known));
        }
    }
    if !policy.is_object() {
        return;
    }
    let restart = &spec["template"]["spec"]["restartPolicy"];
    if restart != "Never" {
        let detail = "only \"Never\" is supported when podFailurePolicy is specified";
        let field = format!("{path}.template.spec.restartPolicy");
        errors.push(FieldError::invalid(field, restart.clone(), detail));
    }
    for (index, rule) in list(&policy["rules"]).iter().enumerate() {
        failure_rule(rule, &format!("{path}.podFailurePolicy.rules[{index}]"), errors);
    }
}

fn failure_rule(rule: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let actions = ["Count", "FailIndex", "FailJob", "Ignore"];
    one_of(&rule["action"], &format!("{field}.action"), &actions, errors);
    let codes = &rule["onExitCodes"];
    if codes.is_object() {
        let field = format!("{field}.onExitCodes");
        one_of(&codes["operator"], &format!("{field}.operator"), &["In", "NotIn"], errors);
        let values = list(&codes["values"]);
        if values.is_empty() {
            errors.push(FieldError::invalid(
                format!("{field}.values"),
                json!([]),
                "at least one value is required",
            ));
        }
        for (index, value) in values.iter().enumerate().filter(|it| *it.1 == 0 && codes["operator"] == "In") {
            let detail = "must not be 0 for the In operator";
            errors.push(FieldError::invalid(format!("{field}.values[{index}]"), value.clone(), detail));
        }
    }
    let conditions = !list(&rule["onPodConditions"]).is_empty();
    let detail = match (codes.is_object(), conditions) {
        (false, false) => "specifying one of OnExitCodes and OnPodConditions is required",
        (true, true) => "specifying both OnExitCodes and OnPodConditions is not supported",
        _ => return,
    };
    errors.push(FieldError::bare(field, detail));
}

/// A write of the status.
pub fn job_status(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let status = &new["status"];
    for key in ["active", "succeeded", "failed", "ready"] {
        non_negative(&status[key], format!("status.{key}"), errors);
    }
    let number = |of: &Value, key: &str| of["status"][key].as_i64().unwrap_or(0);
    if !status["ready"].is_null() && number(new, "ready") > number(new, "active") {
        let detail = "cannot set more ready pods than active";
        errors.push(FieldError::invalid("status.ready", number(new, "ready"), detail));
    }
    for key in ["failed", "succeeded"].into_iter().filter(|it| number(new, it) < number(old, it)) {
        let detail = format!("cannot decrease the {key} counter");
        errors.push(FieldError::invalid(format!("status.{key}"), number(new, key), detail));
    }
}

/// What of a Job may not change.
pub fn update_job(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let fixed = old["spec"]["completionMode"] != "Indexed";
    if fixed {
        immutable(old, new, "/spec/completions", "spec.completions", errors);
    }
    immutable(old, new, "/spec/template/metadata", "spec.template.metadata", errors);
    immutable(old, new, "/spec/template/spec", "spec.template.spec", errors);
    for key in ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex"] {
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
        schedule => {
            let error = schedule_error(schedule);
            errors.extend(error.map(|it| FieldError::invalid("spec.schedule", schedule, it)));
        }
    }
    let zone = &spec["timeZone"];
    if !zone.is_null() {
        // Which zones there are is not looked up: it depends on the machine.
        if text(zone).is_empty() {
            let detail = "timeZone must be nil or non-empty string";
            errors.push(FieldError::invalid("spec.timeZone", "", detail));
        }
    }
    for key in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        non_negative(&spec[key], format!("spec.{key}"), errors);
    }
    let policies = ["Allow", "Forbid", "Replace"];
    one_of(&spec["concurrencyPolicy"], "spec.concurrencyPolicy", &policies, errors);
    let job = &spec["jobTemplate"]["spec"];
    job_spec(job, "spec.jobTemplate.spec", errors);
    if job["manualSelector"] == true {
        let field = "spec.jobTemplate.spec.manualSelector";
        errors.push(FieldError::not_supported(field, true, &["nil", "false"]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules() {
        #[rustfmt::skip]
        let cases = [
            ("*/5 0-23/2 1,15 JAN-mar mon", ""),
            ("@every 5m", ""),
            ("@hourly", ""),
            ("* * * * 8", "end of range (8) above maximum (6): 8"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("x * * * *", r#"failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax"#),
            ("* * * * * *", "expected exactly 5 fields, found 6: [* * * * * *]"),
        ];
        for (schedule, want) in cases {
            assert_eq!(schedule_error(schedule).unwrap_or_default(), want, "{schedule}");
        }
    }
}
