//! The row of a Pod. Source: `printPod`.

use super::{AGE, Column, NAME, age, created, list, name, text_or, timestamp};
use jiff::Timestamp;
use serde_json::{Value, json};

pub const COLUMNS: &[Column] = &[
    NAME,
    Column::text("Ready", "The aggregate readiness state of this pod for accepting traffic."),
    Column::text("Status", "The aggregate status of the containers in this pod."),
    Column::text("Restarts", "How often containers were restarted, and when last."),
    AGE,
    Column::text("IP", "Address of the pod.").wide(),
    Column::text("Node", "Node the pod is bound to.").wide(),
    Column::text("Nominated Node", "Node the pod may be bound to after preemption.").wide(),
    Column::text("Readiness Gates", "How many readiness gates are true.").wide(),
];

pub fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let summary = summarize(pod);
    let restarts = match summary.last_restart {
        Some(at) if summary.restarts != 0 => format!("{} ({} ago)", summary.restarts, age(Some(at), now)),
        _ => summary.restarts.to_string(),
    };
    let ip = match list(&pod["status"]["podIPs"]).first() {
        Some(first) => text_or(&first["ip"], "<none>"),
        None => text_or(&pod["status"]["podIP"], "<none>"),
    };
    vec![
        name(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.status.into(),
        restarts.into(),
        created(pod, now),
        ip,
        text_or(&pod["spec"]["nodeName"], "<none>"),
        text_or(&pod["status"]["nominatedNodeName"], "<none>"),
        readiness_gates(pod).into(),
    ]
}

/// Finished Pods are marked so that clients may hide them.
pub fn conditions(pod: &Value) -> Option<Value> {
    let (reason, message) = match pod["status"]["phase"].as_str()? {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
}

struct Summary {
    status: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

fn summarize(pod: &Value) -> Summary {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let phase = status["phase"].as_str().unwrap_or_default();
    let own_reason = status["reason"].as_str().filter(|it| !it.is_empty());
    let mut reason = own_reason.unwrap_or(phase).to_owned();
    if list(&status["conditions"])
        .iter()
        .any(|it| it["type"] == "PodScheduled" && it["reason"] == "SchedulingGated")
    {
        "SchedulingGated".clone_into(&mut reason);
    }
    let init = list(&spec["initContainers"]);
    let sidecar = |name: &Value| init.iter().any(|it| it["name"] == *name && it["restartPolicy"] == "Always");
    let total =
        list(&spec["containers"]).len() + init.iter().filter(|it| it["restartPolicy"] == "Always").count();

    let mut ready = 0;
    let (mut init_restarts, mut init_last) = (0, None);
    let (mut restarts, mut last_restart) = (0, None);
    let mut initializing = false;
    for (index, container) in list(&status["initContainerStatuses"]).iter().enumerate() {
        let count = container["restartCount"].as_i64().unwrap_or_default();
        let ended = timestamp(&container["lastState"]["terminated"]["finishedAt"]);
        let restartable = sidecar(&container["name"]);
        init_restarts += count;
        init_last = init_last.max(ended);
        if restartable {
            restarts += count;
            last_restart = last_restart.max(ended);
        }
        let state = &container["state"];
        let terminated = state.get("terminated").filter(|it| it.is_object());
        if terminated.is_some_and(|it| it["exitCode"].as_i64().unwrap_or_default() == 0) {
            continue;
        }
        if restartable && container["started"] == true {
            ready += usize::from(container["ready"] == true);
            continue;
        }
        let waiting = state["waiting"]["reason"].as_str().filter(|it| !it.is_empty());
        reason = match (terminated, waiting) {
            (Some(terminated), _) => format!("Init:{}", ending(terminated)),
            (None, Some(waiting)) if waiting != "PodInitializing" => format!("Init:{waiting}"),
            _ => format!("Init:{index}/{}", init.len()),
        };
        initializing = true;
        break;
    }
    if initializing && !condition(status, "Initialized") {
        (restarts, last_restart) = (init_restarts, init_last);
    } else {
        let mut has_running = false;
        for container in list(&status["containerStatuses"]).iter().rev() {
            restarts += container["restartCount"].as_i64().unwrap_or_default();
            last_restart = last_restart.max(timestamp(&container["lastState"]["terminated"]["finishedAt"]));
            let state = &container["state"];
            let waiting = state["waiting"]["reason"].as_str().filter(|it| !it.is_empty());
            if let Some(waiting) = waiting {
                waiting.clone_into(&mut reason);
            } else if state["terminated"].is_object() {
                reason = ending(&state["terminated"]);
            } else if container["ready"] == true && state["running"].is_object() {
                has_running = true;
                ready += 1;
            }
        }
        // One container finished, another still runs.
        if reason == "Completed" && has_running {
            (if condition(status, "Ready") { "Running" } else { "NotReady" }).clone_into(&mut reason);
        }
    }
    if pod["metadata"]["deletionTimestamp"].is_string() {
        if own_reason == Some("NodeLost") {
            "Unknown".clone_into(&mut reason);
        } else if !matches!(phase, "Succeeded" | "Failed") {
            "Terminating".clone_into(&mut reason);
        }
    }
    Summary { status: reason, ready, total, restarts, last_restart }
}

fn ending(terminated: &Value) -> String {
    if let Some(reason) = terminated["reason"].as_str().filter(|it| !it.is_empty()) {
        return reason.to_owned();
    }
    match terminated["signal"].as_i64().unwrap_or_default() {
        0 => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or_default()),
        signal => format!("Signal:{signal}"),
    }
}

fn condition(status: &Value, kind: &str) -> bool {
    list(&status["conditions"]).iter().any(|it| it["type"] == kind && it["status"] == "True")
}

fn readiness_gates(pod: &Value) -> String {
    let gates = list(&pod["spec"]["readinessGates"]);
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let passed = gates
        .iter()
        .filter(|gate| gate["conditionType"].as_str().is_some_and(|it| condition(&pod["status"], it)))
        .count();
    format!("{passed}/{}", gates.len())
}
