//! POST `eviction` of a pod: a deletion that asks the pod's disruption budget first.
//!
//! Source: kubernetes `pkg/registry/core/pod/storage/eviction.go`.

use crate::apiserver::delete::{self, DeleteOptions, Propagation};
use crate::apiserver::meta;
use crate::apiserver::object::Object;
use crate::apiserver::request::{Call, Commit, parse_dry_run, require_type};
use crate::apiserver::resources::{self, Resource};
use crate::apiserver::selector::LabelSelector;
use crate::apiserver::server::ApiServer;
use crate::apiserver::status::Status;
use crate::apiserver::store::Writer;
use serde_json::{Value, json};
use std::sync::Arc;

/// Evictions a budget may have under way; beyond it its controller does not keep up.
const DISRUPTED_PODS: usize = 2_000;

fn budgets() -> &'static Resource {
    resources::find("policy", "v1", "poddisruptionbudgets").expect("budgets are served")
}

/// What a budget says about one eviction.
#[derive(Debug, Clone, PartialEq)]
enum Verdict {
    /// Go ahead, nothing to count.
    Free,
    /// Go ahead; the budget's status afterwards.
    Counted(Value),
    /// Not now; why.
    Later(String),
    /// Not yet: nobody has looked at the budget; why.
    Unseen(String),
    /// Not with a budget in this state; why.
    Broken(&'static str),
}

/// Evicts the pod the path names.
pub fn evict(server: &ApiServer, call: &Call) -> Result<Value, Status> {
    let mut eviction = call.object()?;
    if eviction["apiVersion"] == "policy/v1beta1" {
        eviction["apiVersion"] = "policy/v1".into();
    }
    require_type(&mut eviction, "policy/v1", "Eviction")?;
    let named = crate::apiserver::meta::text(&eviction, "name");
    if !named.is_empty() && Some(named) != call.target.name.as_deref() {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let options = &eviction["deleteOptions"];
    let dry_run = options["dryRun"][0].as_str().or_else(|| call.query.get("dryRun"));
    let options = DeleteOptions {
        grace: options["gracePeriodSeconds"].as_i64().map(|it| if it < 0 { 1 } else { it }),
        propagation: Some(Propagation::Background),
        uid: options["preconditions"]["uid"].as_str().map(ToOwned::to_owned),
        version: options["preconditions"]["resourceVersion"].as_str().map(ToOwned::to_owned),
        commit: parse_dry_run(dry_run)?,
    };
    let name = call.target.name.as_deref().unwrap_or_default();
    let mut writer = server.store().write();
    let Some(pod) = writer.get(call.target.resource, &call.target.key()) else {
        return Err(Status::not_found(call.target.resource, name));
    };
    if !ignores_budgets(&pod.value)
        && let Some(budget) = budget_of(&writer, &pod.value)?
    {
        ask(&mut writer, &budget, &pod.value, &server.now_text(), options.commit)?;
    }
    let holds = options.holds(&pod.value);
    if options.commit == Commit::Keep && holds {
        let told = disrupted(&pod.value, &server.now_text());
        writer.put(call.target.resource, told);
    }
    // A version asked for was that of before.
    let options = DeleteOptions { version: options.version.clone().filter(|_| !holds), ..options };
    delete::remove(server, &mut writer, &call.target, &options)?;
    Ok(Status::success(201))
}

/// The pod with the condition that says why it goes.
fn disrupted(pod: &Value, now: &str) -> Value {
    let mut pod = pod.clone();
    let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastTransitionTime": now});
    match pod["status"]["conditions"].as_array_mut() {
        Some(conditions) => {
            conditions.retain(|it| it["type"] != "DisruptionTarget");
            conditions.push(condition);
        }
        None => pod["status"]["conditions"] = json!([condition]),
    }
    pod
}

/// Pods that serve nobody.
fn ignores_budgets(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Pending"))
        || meta::is_terminating(pod)
}

/// The one budget whose selector matches the pod.
fn budget_of(writer: &Writer<'_>, pod: &Value) -> Result<Option<Arc<Object>>, Status> {
    let all = writer.list(budgets(), Some(meta::text(pod, "namespace")));
    let mut found = all.into_iter().filter(|budget| {
        let selector = &budget.value["spec"]["selector"];
        !selector.is_null() && LabelSelector::from_json(selector).is_ok_and(|it| it.matches(pod))
    });
    let first = found.next();
    if found.next().is_some() {
        return Err(Status::untyped(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        ));
    }
    Ok(first)
}

fn ask(
    writer: &mut Writer<'_>,
    budget: &Arc<Object>,
    pod: &Value,
    now: &str,
    commit: Commit,
) -> Result<(), Status> {
    let name = meta::text(&budget.value, "name");
    match judge(&budget.value, pod, now) {
        Verdict::Free => Ok(()),
        Verdict::Later(why) => Err(Status::disruption_budget(&why)),
        Verdict::Unseen(why) => {
            let mut status = Status::disruption_budget(&why);
            status.details["retryAfterSeconds"] = json!(10);
            Err(status)
        }
        Verdict::Broken(why) => Err(Status::forbidden(budgets(), name, why)),
        Verdict::Counted(status) => {
            if commit == Commit::Keep {
                let mut counted = budget.value.clone();
                counted["status"] = status;
                writer.put(budgets(), counted);
            }
            Ok(())
        }
    }
}

fn judge(budget: &Value, pod: &Value, now: &str) -> Verdict {
    let (status, name) = (&budget["status"], meta::text(budget, "name"));
    let number = |key: &str| status[key].as_i64().unwrap_or_default();
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions.clone().any(|it| it["type"] == "Ready" && it["status"] == "True");
    if !ready {
        let always = budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow";
        let enough = number("desiredHealthy") > 0 && number("currentHealthy") >= number("desiredHealthy");
        if always || enough {
            return Verdict::Free;
        }
    }
    if number("observedGeneration") < budget["metadata"]["generation"].as_i64().unwrap_or_default() {
        return Verdict::Unseen(format!(
            "The disruption budget {name} is still being processed by the server."
        ));
    }
    let (allowed, pods) = (number("disruptionsAllowed"), status["disruptedPods"].as_object());
    if allowed < 0 {
        return Verdict::Broken("pdb disruptions allowed is negative");
    }
    if pods.is_some_and(|it| it.len() > DISRUPTED_PODS) {
        return Verdict::Broken(
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        );
    }
    if allowed == 0 {
        let (wanted, healthy) = (number("desiredHealthy"), number("currentHealthy"));
        return Verdict::Later(format!(
            "The disruption budget {name} needs {wanted} healthy pods and has {healthy} currently"
        ));
    }
    let mut counted = status.clone();
    counted["disruptionsAllowed"] = (allowed - 1).into();
    counted["disruptedPods"][meta::text(pod, "name")] = now.into();
    if allowed == 1
        && let Some(conditions) = counted.get_mut("conditions").and_then(Value::as_array_mut)
        && let Some(condition) = conditions.iter_mut().find(|it| it["type"] == "DisruptionAllowed")
    {
        condition["status"] = "False".into();
        condition["reason"] = "InsufficientPods".into();
        condition["lastTransitionTime"] = now.into();
        condition["observedGeneration"] = json!(number("observedGeneration"));
    }
    Verdict::Counted(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_asked() {
        let budget = |spec: Value, status: Value| json!({"metadata": {"name": "b", "generation": 1}, "spec": spec, "status": status});
        let pod = |ready: &str| json!({"metadata": {"name": "p"}, "status": {"conditions": [{"type": "Ready", "status": ready}]}});
        let full = json!({"observedGeneration": 1, "disruptionsAllowed": 0, "desiredHealthy": 2, "currentHealthy": 2});
        let later = |why: &str| Verdict::Later(format!("The disruption budget b {why}"));
        #[rustfmt::skip]
        let cases = [
            ("none left",       budget(json!({}), full.clone()), "True",  later("needs 2 healthy pods and has 2 currently")),
            ("healthy anyway",  budget(json!({}), full.clone()), "False", Verdict::Free),
            ("not looked at",   budget(json!({}), json!({"disruptionsAllowed": 1})), "True",
                Verdict::Unseen("The disruption budget b is still being processed by the server.".to_owned())),
            ("unhealthy",       budget(json!({}), json!({"observedGeneration": 1, "desiredHealthy": 2, "currentHealthy": 1})), "False",
                later("needs 2 healthy pods and has 1 currently")),
            ("always allowed",  budget(json!({"unhealthyPodEvictionPolicy": "AlwaysAllow"}), json!({})), "False", Verdict::Free),
            ("one left",        budget(json!({}), json!({"observedGeneration": 1, "disruptionsAllowed": 1})), "True",
                Verdict::Counted(json!({"observedGeneration": 1, "disruptionsAllowed": 0, "disruptedPods": {"p": "now"}}))),
        ];
        for (why, budget, ready, want) in cases {
            assert_eq!(judge(&budget, &pod(ready), "now"), want, "{why}");
        }
        assert!(ignores_budgets(&json!({"status": {"phase": "Pending"}})));
        assert!(!ignores_budgets(&json!({"status": {"phase": "Running"}})));
    }
}
