//! Rows of the kinds that own Pods, and of those that watch over them.

use super::{AGE, CONTAINERS, Column, IMAGES, NAME, SELECTOR, created, labels, list, name, number, or_none};
use crate::apiserver::selector::LabelSelector;
use jiff::Timestamp;
use serde_json::Value;

pub const STATEFUL_SET: &[Column] =
    &[NAME, Column::text("Ready", "Number of the pod with ready state."), AGE, CONTAINERS, IMAGES];
pub const DEPLOYMENT: &[Column] = &[
    NAME,
    Column::text("Ready", "Number of the pod with ready state."),
    Column::text("Up-to-date", "Pods that run the newest template."),
    Column::text("Available", "Pods that have been ready long enough."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];
pub const REPLICA_SET: &[Column] = &[
    NAME,
    Column::number("Desired", "Pods that should exist."),
    Column::number("Current", "Pods that exist."),
    Column::number("Ready", "Pods that are ready."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];
pub const DAEMON_SET: &[Column] = &[
    NAME,
    Column::number("Desired", "Nodes that should run the pod."),
    Column::number("Current", "Nodes that run the pod and should."),
    Column::number("Ready", "Nodes whose pod is ready."),
    Column::number("Up-to-date", "Nodes that run the newest template."),
    Column::number("Available", "Nodes whose pod has been ready long enough."),
    Column::text("Node Selector", "Labels of the nodes that run the pod."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];
pub const CONTROLLER_REVISION: &[Column] = &[
    NAME,
    Column::text("Controller", "Controller of the object."),
    Column::number("Revision", "Position in the history, ascending."),
    AGE,
];
pub const AUTOSCALER: &[Column] = &[
    NAME,
    Column::text("Reference", "What is scaled."),
    Column::text("Targets", "Current and target value of each metric."),
    Column::text("MinPods", "Fewest replicas."),
    Column::number("MaxPods", "Most replicas."),
    Column::number("Replicas", "Replicas now."),
    AGE,
];
pub const DISRUPTION_BUDGET: &[Column] = &[
    NAME,
    Column::text("Min Available", "Pods that must stay available."),
    Column::text("Max Unavailable", "Pods that may be unavailable."),
    Column::number("Allowed Disruptions", "Evictions allowed now."),
    AGE,
];

/// Names and images of the template's containers.
fn containers(object: &Value) -> [Value; 2] {
    let containers = list(&object["spec"]["template"]["spec"]["containers"]);
    let join = |field: &str| {
        let texts: Vec<&str> = containers.iter().map(|it| it[field].as_str().unwrap_or_default()).collect();
        Value::from(texts.join(","))
    };
    [join("name"), join("image")]
}

/// A `metav1.LabelSelector`, or the plain map of a `ReplicationController`.
fn selector(object: &Value) -> Value {
    let selector = &object["spec"]["selector"];
    let structured = ["matchLabels", "matchExpressions"].iter().any(|it| !selector[*it].is_null());
    if !structured && selector.as_object().is_some_and(|it| !it.is_empty()) {
        return labels(selector).into();
    }
    match LabelSelector::from_json(selector) {
        Ok(parsed) => or_none(parsed.to_string()).into(),
        Err(_) => "<error>".into(),
    }
}

fn ready(object: &Value) -> Value {
    let ready = object["status"]["readyReplicas"].as_i64().unwrap_or_default();
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or_default();
    format!("{ready}/{wanted}").into()
}

pub fn stateful_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let [containers, images] = containers(object);
    vec![name(object), ready(object), created(object, now), containers, images]
}

pub fn deployment(object: &Value, now: Timestamp) -> Vec<Value> {
    let [containers, images] = containers(object);
    let status = &object["status"];
    vec![
        name(object),
        ready(object),
        number(&status["updatedReplicas"]),
        number(&status["availableReplicas"]),
        created(object, now),
        containers,
        images,
        selector(object),
    ]
}

pub fn replica_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let [containers, images] = containers(object);
    vec![
        name(object),
        number(&object["spec"]["replicas"]),
        number(&object["status"]["replicas"]),
        number(&object["status"]["readyReplicas"]),
        created(object, now),
        containers,
        images,
        selector(object),
    ]
}

pub fn daemon_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let [containers, images] = containers(object);
    let status = &object["status"];
    vec![
        name(object),
        number(&status["desiredNumberScheduled"]),
        number(&status["currentNumberScheduled"]),
        number(&status["numberReady"]),
        number(&status["updatedNumberScheduled"]),
        number(&status["numberAvailable"]),
        labels(&object["spec"]["template"]["spec"]["nodeSelector"]).into(),
        created(object, now),
        containers,
        images,
        selector(object),
    ]
}

pub fn controller_revision(object: &Value, now: Timestamp) -> Vec<Value> {
    let owner = list(&object["metadata"]["ownerReferences"]).iter().find(|it| it["controller"] == true);
    let controller = owner.map_or_else(
        || "<none>".to_owned(),
        |owner| {
            let text = |field: &str| owner[field].as_str().unwrap_or_default();
            let kind = text("kind").to_lowercase();
            match text("apiVersion").split_once('/') {
                Some((group, _)) => format!("{kind}.{group}/{}", text("name")),
                None => format!("{kind}/{}", text("name")),
            }
        },
    );
    vec![name(object), controller.into(), number(&object["revision"]), created(object, now)]
}

pub fn autoscaler(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let text = |field: &str| spec["scaleTargetRef"][field].as_str().unwrap_or_default();
    vec![
        name(object),
        format!("{}/{}", text("kind"), text("name")).into(),
        targets(list(&spec["metrics"]), list(&status["currentMetrics"])).into(),
        spec["minReplicas"].as_i64().map_or_else(|| "<unset>".to_owned(), |it| it.to_string()).into(),
        number(&spec["maxReplicas"]),
        number(&status["currentReplicas"]),
        created(object, now),
    ]
}

fn targets(metrics: &[Value], current: &[Value]) -> String {
    if metrics.is_empty() {
        return "<none>".to_owned();
    }
    let shown: Vec<String> = metrics
        .iter()
        .map(|metric| {
            let source = metric["type"].as_str().unwrap_or_default();
            let key = source[..source.len().min(1)].to_lowercase() + source.get(1..).unwrap_or_default();
            let spec = &metric[key.as_str()];
            let name = spec["name"].as_str().or(spec["metric"]["name"].as_str()).unwrap_or("<unknown>");
            let now = current
                .iter()
                .map(|it| &it[key.as_str()])
                .find(|it| it["name"].as_str().or(it["metric"]["name"].as_str()) == Some(name));
            let value = |of: &Value| {
                of["averageUtilization"]
                    .as_i64()
                    .map(|it| format!("{it}%"))
                    .or_else(|| of["averageValue"].as_str().or(of["value"].as_str()).map(str::to_owned))
            };
            let now = now.and_then(|it| value(&it["current"])).unwrap_or_else(|| "<unknown>".to_owned());
            let target = value(&spec["target"]).unwrap_or_else(|| "<auto>".to_owned());
            if source == "Resource" { format!("{name}: {now}/{target}") } else { format!("{now}/{target}") }
        })
        .collect();
    if shown.len() > 2 {
        format!("{} + {} more...", shown[..2].join(", "), shown.len() - 2)
    } else {
        shown.join(", ")
    }
}

pub fn disruption_budget(object: &Value, now: Timestamp) -> Vec<Value> {
    let limit = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => "N/A".to_owned(),
    };
    vec![
        name(object),
        limit(&object["spec"]["minAvailable"]).into(),
        limit(&object["spec"]["maxUnavailable"]).into(),
        number(&object["status"]["disruptionsAllowed"]),
        created(object, now),
    ]
}
