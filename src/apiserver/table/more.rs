//! Rows of the kinds that are only stored, and of everything without a row of its own.

use super::{
    AGE, CONTAINERS, Column, IMAGES, NAME, SELECTOR, age, created, list, name, or_none, text_or, timestamp,
};
use crate::apiserver::selector::LabelSelector;
use jiff::Timestamp;
use serde_json::Value;

const PLAIN: &[Column] = &[NAME, AGE];
const CREATED: &[Column] = &[NAME, Column::text("Created At", "When the object was created.")];
const JOB: &[Column] = &[
    NAME,
    Column::text("Status", "State of the job."),
    Column::text("Completions", "Pods that finished, of those that should."),
    Column::text("Duration", "Time from start to end."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];
const CRON_JOB: &[Column] = &[
    NAME,
    Column::text("Schedule", "When jobs are made."),
    Column::text("Timezone", "Time zone of the schedule."),
    Column { type_: "boolean", ..Column::text("Suspend", "Whether no more jobs are made.") },
    Column::number("Active", "Jobs that run."),
    Column::text("Last Schedule", "Time since the last job was made."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];
const INGRESS: &[Column] = &[
    NAME,
    Column::text("Class", "Class of the ingress."),
    Column::text("Hosts", "Hosts that are routed."),
    Column::text("Address", "Address of the load balancer."),
    Column::text("Ports", "Ports of the load balancer."),
    AGE,
];
const INGRESS_CLASS: &[Column] = &[
    NAME,
    Column::text("Controller", "What implements the class."),
    Column::text("Parameters", "Object with more parameters."),
    AGE,
];
const NETWORK_POLICY: &[Column] =
    &[NAME, Column::text("Pod-Selector", "Labels of the pods it is about."), AGE];
const BINDING: &[Column] = &[
    NAME,
    Column::text("Role", "What is granted."),
    AGE,
    Column::text("Users", "Users it is granted to.").wide(),
    Column::text("Groups", "Groups it is granted to.").wide(),
    Column::text("ServiceAccounts", "Accounts it is granted to.").wide(),
];
const API_SERVICE: &[Column] = &[
    NAME,
    Column::text("Service", "What serves the group."),
    Column::text("Available", "Whether it does."),
    AGE,
];
const METRICS: &[Column] = &[
    NAME,
    Column::text("cpu", "Processor use."),
    Column::text("memory", "Memory use."),
    Column::text("Window", "Time the sample covers."),
];

/// Columns by group and kind.
pub fn columns(group: &str, kind: &str) -> &'static [Column] {
    match (group, kind) {
        ("batch", "Job") => JOB,
        ("batch", "CronJob") => CRON_JOB,
        ("networking.k8s.io", "Ingress") => INGRESS,
        ("networking.k8s.io", "IngressClass") => INGRESS_CLASS,
        ("networking.k8s.io", "NetworkPolicy") => NETWORK_POLICY,
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => CREATED,
        ("rbac.authorization.k8s.io", _) => BINDING,
        ("apiregistration.k8s.io", _) => API_SERVICE,
        ("metrics.k8s.io", _) => METRICS,
        _ => PLAIN,
    }
}

/// Cells by group and kind.
pub fn cells(group: &str, kind: &str, object: &Value, now: Timestamp) -> Vec<Value> {
    let mut cells = vec![name(object)];
    cells.extend(match (group, kind) {
        ("batch", "Job") => job(object, now),
        ("batch", "CronJob") => cron_job(object, now),
        ("networking.k8s.io", "Ingress") => ingress(object, now),
        ("networking.k8s.io", "IngressClass") => vec![
            text_or(&object["spec"]["controller"], ""),
            reference(&object["spec"]["parameters"]).into(),
            created(object, now),
        ],
        ("networking.k8s.io", "NetworkPolicy") => {
            vec![selector(&object["spec"]["podSelector"]), created(object, now)]
        }
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => {
            vec![text_or(&object["metadata"]["creationTimestamp"], "")]
        }
        ("rbac.authorization.k8s.io", _) => binding(object, now),
        ("apiregistration.k8s.io", _) => api_service(object, now),
        ("metrics.k8s.io", _) => metrics(object),
        _ => vec![created(object, now)],
    });
    cells
}

fn selector(selector: &Value) -> Value {
    match LabelSelector::from_json(selector) {
        Ok(parsed) => or_none(parsed.to_string()).into(),
        Err(_) => "<error>".into(),
    }
}

fn containers(template: &Value) -> [Value; 2] {
    let containers = list(&template["spec"]["containers"]);
    ["name", "image"].map(|field| {
        let texts: Vec<&str> = containers.iter().map(|it| it[field].as_str().unwrap_or_default()).collect();
        texts.join(",").into()
    })
}

fn job(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    let succeeded = number(&status["succeeded"]);
    let completions = match (spec["completions"].as_i64(), spec["parallelism"].as_i64().unwrap_or(0)) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallel) if parallel > 1 => format!("{succeeded}/1 of {parallel}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let holds = |kind: &str| {
        list(&status["conditions"]).iter().any(|it| it["type"] == kind && it["status"] == "True")
    };
    let state = [("Complete", "Complete"), ("Failed", "Failed"), ("Suspended", "Suspended")]
        .into_iter()
        .find(|it| holds(it.0))
        .map_or("Running", |it| it.1);
    let state = if object["metadata"]["deletionTimestamp"].is_string() { "Terminating" } else { state };
    let started = timestamp(&status["startTime"]);
    let duration = started.map(|since| {
        let end = timestamp(&status["completionTime"]).unwrap_or(now);
        age(Some(since), end)
    });
    let [names, images] = containers(&spec["template"]);
    vec![
        state.into(),
        completions.into(),
        duration.unwrap_or_default().into(),
        created(object, now),
        names,
        images,
        selector(&spec["selector"]),
    ]
}

fn cron_job(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let last = &status["lastScheduleTime"];
    let [names, images] = containers(&spec["jobTemplate"]["spec"]["template"]);
    vec![
        text_or(&spec["schedule"], ""),
        text_or(&spec["timeZone"], "<none>"),
        if spec["suspend"] == true { "True" } else { "False" }.into(),
        list(&status["active"]).len().into(),
        if last.is_string() { age(timestamp(last), now).into() } else { "<none>".into() },
        created(object, now),
        names,
        images,
        selector(&spec["jobTemplate"]["spec"]["selector"]),
    ]
}

fn ingress(object: &Value, now: Timestamp) -> Vec<Value> {
    /// Hosts that are shown one by one.
    const SHOWN: usize = 3;
    let spec = &object["spec"];
    let hosts: Vec<&str> = list(&spec["rules"])
        .iter()
        .filter_map(|it| it["host"].as_str())
        .filter(|it| !it.is_empty())
        .collect();
    let shown = match hosts.len() {
        0 => "*".to_owned(),
        1..=SHOWN => hosts.join(","),
        more => format!("{} + {} more...", hosts[..SHOWN].join(","), more - SHOWN),
    };
    let addresses: Vec<&str> = list(&object["status"]["loadBalancer"]["ingress"])
        .iter()
        .filter_map(|it| it["ip"].as_str().or(it["hostname"].as_str()))
        .collect();
    let ports = if list(&spec["tls"]).is_empty() { "80" } else { "80, 443" };
    vec![
        text_or(&spec["ingressClassName"], "<none>"),
        shown.into(),
        addresses.join(",").into(),
        ports.into(),
        created(object, now),
    ]
}

fn reference(parameters: &Value) -> String {
    let text = |field: &str| parameters[field].as_str().unwrap_or_default();
    match (text("kind"), text("apiGroup")) {
        ("", _) => "<none>".to_owned(),
        (kind, "") => format!("{kind}/{}", text("name")),
        (kind, group) => format!("{kind}.{group}/{}", text("name")),
    }
}

fn binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let text = |field: &str| object["roleRef"][field].as_str().unwrap_or_default();
    let subjects = |kind: &str| -> Value {
        let names: Vec<String> = list(&object["subjects"])
            .iter()
            .filter(|it| it["kind"] == kind)
            .map(|it| {
                let name = it["name"].as_str().unwrap_or_default();
                match (kind, it["namespace"].as_str()) {
                    ("ServiceAccount", namespace) => format!("{}/{name}", namespace.unwrap_or_default()),
                    _ => name.to_owned(),
                }
            })
            .collect();
        names.join(", ").into()
    };
    vec![
        format!("{}/{}", text("kind"), text("name")).into(),
        created(object, now),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

fn api_service(object: &Value, now: Timestamp) -> Vec<Value> {
    let service = &object["spec"]["service"];
    let text = |field: &str| service[field].as_str().unwrap_or_default();
    let local = !service.is_object();
    let available = list(&object["status"]["conditions"])
        .iter()
        .find(|it| it["type"] == "Available")
        .map(|it| &it["status"]);
    vec![
        if local { "Local".into() } else { format!("{}/{}", text("namespace"), text("name")).into() },
        available.map_or_else(|| "Unknown".into(), |it| text_or(it, "Unknown")),
        created(object, now),
    ]
}

/// The sum over the containers is for `kubectl top`; a row shows the first.
fn metrics(object: &Value) -> Vec<Value> {
    let usage =
        if object["usage"].is_object() { &object["usage"] } else { &object["containers"][0]["usage"] };
    vec![text_or(&usage["cpu"], ""), text_or(&usage["memory"], ""), text_or(&object["window"], "")]
}
