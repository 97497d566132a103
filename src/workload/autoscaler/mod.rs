//! HorizontalPodAutoscalers: usage of pods in, a size for their target out.
//!
//! [`Observed`] ──[`pass`]──▶ [`Pass`], once per period and autoscaler. A pass is pure: what was proposed before comes in
//! as [`limits::Memory`], which lives in the process; after a restart it starts afresh, as upstream.
//! Invariants: only `/scale` of the target is written, within the bounds, at most once per pass; a size of 0 is left alone.
//! Source: kubernetes `pkg/controller/podautoscaler/horizontal.go` (1.36).

pub mod limits;
pub mod model;
pub mod proposal;
pub mod reconcile;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use self::limits::{Bounds, Memory};
use self::model::{AutoscalerStatus, AutoscalerView, Goal, Metric};
use self::proposal::{Facts, Proposal, Sample, Tolerance};
use super::model::{PodView, say};
use crate::k8s::events::Severity;
use crate::model::quantity::Quantity;

/// How passes are made; the defaults are those of kube-controller-manager.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Between two passes over one autoscaler.
    pub period: SignedDuration,
    /// How long a higher proposal holds the size up.
    pub downscale_window: SignedDuration,
    /// Deviation that is ignored.
    pub tolerance: f64,
    /// How long a pod may take until its CPU means something.
    pub cpu_initialization: SignedDuration,
    /// A pod that was never ready for so long after its start does not count.
    pub initial_readiness_delay: SignedDuration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            period: SignedDuration::from_secs(15),
            downscale_window: SignedDuration::from_secs(300),
            tolerance: 0.1,
            cpu_initialization: SignedDuration::from_secs(300),
            initial_readiness_delay: SignedDuration::from_secs(30),
        }
    }
}

/// The `/scale` of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    /// `spec.replicas`.
    pub replicas: u32,
    /// `status.selector`.
    pub selector: String,
}

/// What a pass looks at.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The target, or why it can not be read.
    pub scale: Result<Scale, String>,
    /// Pods under the selector.
    pub pods: Vec<Arc<PodView>>,
    /// What they used, by name; or why nobody knows.
    pub samples: Result<BTreeMap<String, Sample>, String>,
    /// All autoscalers whose selectors match one of those pods, if there are others.
    pub rivals: Vec<String>,
}

/// What becomes of an autoscaler.
#[derive(Debug, Clone, PartialEq)]
pub struct Pass {
    /// The status to publish.
    pub status: AutoscalerStatus,
    /// The size to ask for, and why.
    pub rescale: Option<(u32, String)>,
    /// What is told: type, reason, message.
    pub events: Vec<(Severity, &'static str, String)>,
}

const ABLE: &str = "AbleToScale";
const ACTIVE: &str = "ScalingActive";
const LIMITED: &str = "ScalingLimited";

/// Decides about one autoscaler. Same arguments, same pass.
pub fn pass(
    it: &AutoscalerView,
    observed: &Observed,
    memory: &mut Memory,
    settings: &Settings,
    now: Timestamp,
) -> Pass {
    let mut pass = Pass { status: it.status.clone(), rescale: None, events: Vec::new() };
    let scale = match &observed.scale {
        Ok(scale) => scale,
        Err(error) => {
            pass.warn("FailedGetScale", error.clone());
            let message = format!("the HPA controller was unable to get the target's current scale: {error}");
            pass.say(ABLE, false, "FailedGetScale", message, now);
            return pass;
        }
    };
    let able = "the HPA controller was able to get the target's current scale".to_owned();
    pass.say(ABLE, true, "SucceededGetScale", able, now);
    let current = scale.replicas;
    if memory.recommendations.is_empty() {
        memory.recommendations.push((now, current));
    }
    pass.status.current = current;
    let (desired, reason) = if current == 0 && it.min != 0 {
        let message = "scaling is disabled since the replica count of the target is zero".to_owned();
        pass.say(ACTIVE, false, "ScalingDisabled", message, now);
        pass.status.metrics.clear();
        (0, String::new())
    } else if current > it.max {
        pass.status.metrics.clear();
        (it.max, "Current number of replicas above Spec.MaxReplicas".to_owned())
    } else if current < it.min {
        pass.status.metrics.clear();
        (it.min, "Current number of replicas below Spec.MinReplicas".to_owned())
    } else {
        match pass.measure(it, observed, scale, settings, now) {
            None => return pass,
            Some((proposed, metric)) => {
                let bounds = Bounds { current, min: it.min, max: it.max };
                let limited = match &it.behavior {
                    None => limits::plain(memory, bounds, proposed, settings, now),
                    Some(rules) => limits::with_behavior(memory, rules, bounds, proposed, settings, now),
                };
                let (reason, message) = limited.able;
                pass.say(ABLE, true, reason, message.to_owned(), now);
                let (reason, message) = limited.limit;
                pass.say(LIMITED, limited.is_limited, reason, message.to_owned(), now);
                let why = if proposed > current {
                    format!("{metric} above target")
                } else {
                    "All metrics below target".to_owned()
                };
                (limited.replicas, why)
            }
        }
    };
    pass.status.desired = desired;
    if desired != current {
        pass.rescale = Some((desired, reason));
    }
    pass
}

impl Pass {
    fn warn(&mut self, reason: &'static str, message: String) {
        self.events.push((Severity::Warning, reason, message));
    }

    /// Sets a condition.
    fn say(&mut self, name: &str, truth: bool, reason: &str, message: String, now: Timestamp) {
        let status = if truth { "True" } else { "False" };
        say(&mut self.status.conditions, name, status, reason, message, now);
    }

    /// The highest proposal of all metrics and its name; `None` if there is none that can be acted on.
    fn measure(
        &mut self,
        it: &AutoscalerView,
        observed: &Observed,
        scale: &Scale,
        settings: &Settings,
        now: Timestamp,
    ) -> Option<(u32, String)> {
        let total = it.metrics.len();
        if scale.selector.is_empty() {
            self.warn("SelectorRequired", "selector is required".to_owned());
            let message = "the HPA target's scale is missing a selector".to_owned();
            self.say(ACTIVE, false, "InvalidSelector", message, now);
            self.warn("FailedComputeMetricsReplicas", "selector is required".to_owned());
            return None;
        }
        if !observed.rivals.is_empty() {
            let text = format!(
                "pods by selector {} are controlled by multiple HPAs: [{}]",
                scale.selector,
                observed.rivals.join(" ")
            );
            self.warn("AmbiguousSelector", text.clone());
            self.say(ACTIVE, false, "AmbiguousSelector", text.clone(), now);
            self.warn("FailedComputeMetricsReplicas", text);
            return None;
        }
        let mut statuses = Vec::new();
        let mut best: Option<(u32, String)> = None;
        let mut first: Option<(&'static str, String, String)> = None;
        let mut failed = 0;
        for metric in &it.metrics {
            match propose(it, metric, observed, scale, settings, now) {
                Ok((proposal, status)) => {
                    statuses.push(status);
                    if best.as_ref().is_none_or(|(replicas, _)| proposal.replicas > *replicas) {
                        best = Some((proposal.replicas, describe(metric)));
                    }
                }
                Err((reason, short, long)) => {
                    failed += 1;
                    statuses.push(json!({ "type": "" }));
                    self.warn(reason, short.clone());
                    first.get_or_insert((reason, short, long));
                }
            }
        }
        self.status.metrics = statuses.into_iter().filter(|it| it["type"] != "").collect();
        let problem = first.map(|(reason, short, long)| {
            let error = format!("invalid metrics ({failed} invalid out of {total}), first error is: {long}");
            (reason, format!("the HPA was unable to compute the replica count: {short}"), error)
        });
        let proposed = best.filter(|(replicas, _)| failed == 0 || *replicas >= scale.replicas);
        match (proposed, problem) {
            (Some((replicas, metric)), _) => {
                let message =
                    format!("the HPA was able to successfully calculate a replica count from {metric}");
                self.say(ACTIVE, true, "ValidMetricFound", message, now);
                Some((replicas, metric))
            }
            (None, problem) => {
                if let Some((reason, message, error)) = problem {
                    self.say(ACTIVE, false, reason, message, now);
                    self.warn("FailedComputeMetricsReplicas", error);
                }
                None
            }
        }
    }

    /// What to say when the target did not take the size.
    pub fn refused(&mut self, before: &AutoscalerView, error: &str, now: Timestamp) {
        let Some((to, reason)) = self.rescale.take() else { return };
        self.status.desired = before.status.desired;
        self.warn("FailedRescale", format!("New size: {to}; reason: {reason}; error: {error}"));
        let message = format!("the HPA controller was unable to update the target scale: {error}");
        self.say(ABLE, false, "FailedUpdateScale", message, now);
    }

    /// What to say when it did.
    pub fn taken(&mut self, now: Timestamp) {
        let Some((to, reason)) = &self.rescale else { return };
        let event = format!("New size: {to}; reason: {reason}");
        let message = format!("the HPA controller was able to update the target scale to {to}");
        self.events.push((Severity::Normal, "SuccessfulRescale", event));
        self.say(ABLE, true, "SucceededRescale", message, now);
        self.status.last_scale = Some(now);
    }
}

fn describe(metric: &Metric) -> String {
    match metric {
        Metric::Resource { name, container: None, goal: Goal::Utilization(_) } => {
            format!("{name} resource utilization (percentage of request)")
        }
        Metric::Resource { name, container: Some(_), goal: Goal::Utilization(_) } => {
            format!("{name} container resource utilization (percentage of request)")
        }
        Metric::Resource { name, container: None, .. } => format!("{name} resource"),
        Metric::Resource { name, .. } => format!("{name} container resource"),
        Metric::Other { source, name, .. } => format!("{} metric {name}", source.to_lowercase()),
    }
}

type Failed = (&'static str, String, String);

fn propose(
    it: &AutoscalerView,
    metric: &Metric,
    observed: &Observed,
    scale: &Scale,
    settings: &Settings,
    now: Timestamp,
) -> Result<(Proposal, Value), Failed> {
    let own = |rules: Option<f64>| rules.unwrap_or(settings.tolerance);
    let tolerance = Tolerance {
        up: own(it.behavior.as_ref().and_then(|it| it.up.tolerance)),
        down: own(it.behavior.as_ref().and_then(|it| it.down.tolerance)),
    };
    match metric {
        Metric::Resource { name, container, goal } => {
            let reason = if container.is_some() {
                "FailedGetContainerResourceMetric"
            } else {
                "FailedGetResourceMetric"
            };
            let what = if matches!(goal, Goal::Utilization(_)) { "utilization" } else { "usage" };
            let failed = |error: String| {
                let short = format!("failed to get {name} {what}: {error}");
                let kind = if container.is_some() { "container" } else { "resource" };
                (reason, short.clone(), format!("failed to get {name} {kind} metric value: {short}"))
            };
            let unable =
                |error: &String| failed(format!("unable to get metrics for resource {name}: {error}"));
            let samples = observed.samples.as_ref().map_err(unable)?;
            let pods = &observed.pods;
            let facts = Facts { pods, samples, current: scale.replicas, tolerance, settings, now };
            let proposal = facts.propose(metric).map_err(failed)?;
            let mut current = json!({ "averageValue": amount(name, proposal.average) });
            if let Some(percent) = proposal.utilization {
                current["averageUtilization"] = json!(percent);
            }
            let status = match container {
                None => json!({ "type": "Resource", "resource": { "name": name, "current": current } }),
                Some(container) => json!({
                    "type": "ContainerResource",
                    "containerResource": { "name": name, "container": container, "current": current },
                }),
            };
            Ok((proposal, status))
        }
        Metric::Other { source, name, goal, raw } => pinned(it, source, name, *goal, raw, scale, tolerance),
    }
}

/// A metric of another source counts only when an annotation says what it is.
fn pinned(
    it: &AutoscalerView,
    source: &str,
    name: &str,
    goal: Goal,
    raw: &Value,
    scale: &Scale,
    tolerance: Tolerance,
) -> Result<(Proposal, Value), Failed> {
    let lower = source.to_lowercase();
    let value = it.annotations.get(&format!("sim.ordinal/metric.{name}")).and_then(|it| Quantity::parse(it));
    let Some(value) = value.map(|it| it.millis()) else {
        let reason = match source {
            "Object" => "FailedGetObjectMetric",
            "Pods" => "FailedGetPodsMetric",
            _ => "FailedGetExternalMetric",
        };
        let short = format!("unable to get metric {name}: no custom metrics API is registered");
        return Err((reason, short.clone(), format!("failed to get {lower} metric value: {short}")));
    };
    let current = f64::from(scale.replicas);
    // A value for each pod, or one for all of them.
    let (target, per_pod) = match goal {
        Goal::Average(target) => (target, true),
        Goal::Value(target) | Goal::Utilization(target) => (target, false),
    };
    let each = if source == "Pods" || !per_pod { 1.0 } else { current.max(1.0) };
    let ratio = value as f64 / each / target.max(1) as f64;
    let within = (1.0 - tolerance.down..=1.0 + tolerance.up).contains(&ratio);
    let replicas = if within { scale.replicas } else { (ratio * current).ceil() as u32 };
    let shown = Quantity::from_millis(value, false).to_string();
    let mut block = raw[lower.as_str()].clone();
    if let Some(block) = block.as_object_mut() {
        block.remove("target");
        let key = if per_pod { "averageValue" } else { "value" };
        block.insert("current".to_owned(), json!({ key: shown }));
    }
    let average = value;
    Ok((Proposal { replicas, utilization: None, average }, json!({ "type": source, lower: block })))
}

/// CPU in decimal, memory in binary units.
fn amount(resource: &str, millis: i64) -> String {
    Quantity::from_millis(millis, resource == "memory").to_string()
}

/// The merge patch for `/status`; `None` if nothing changed.
pub fn status_patch(before: &AutoscalerView, status: &AutoscalerStatus) -> Option<Value> {
    if before.status == *status {
        return None;
    }
    let or_null = |it: Vec<Value>| if it.is_empty() { Value::Null } else { Value::Array(it) };
    let mut patch = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {
            "name": before.key.name, "namespace": before.key.namespace, "uid": before.uid,
            "resourceVersion": before.resource_version,
        },
        "status": {
            "currentReplicas": status.current, "desiredReplicas": status.desired,
            "currentMetrics": or_null(status.metrics.clone()), "conditions": status.conditions,
        },
    });
    if let Some(at) = status.last_scale {
        patch["status"]["lastScaleTime"] = json!(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    }
    Some(patch)
}

#[cfg(test)]
mod tests {
    use super::super::model::Requests;
    use super::super::notation::{NOW, pods};
    use super::*;

    fn autoscaler(spec: Value) -> AutoscalerView {
        let mut raw = json!({
            "metadata": { "namespace": "demo", "name": "web", "uid": "h", "resourceVersion": "1" },
            "spec": {
                "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
                "minReplicas": 2, "maxReplicas": 10,
                "metrics": [{ "type": "Resource", "resource": {
                    "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 50 },
                } }],
            },
        });
        json_patch::merge(&mut raw["spec"], &spec);
        AutoscalerView::narrow(&raw)
    }

    /// Pods in the notation of sets, each with a request of 200m; what each uses, `-` for no sample.
    fn observed(replicas: u32, notation: &str, usage: &str) -> Observed {
        let pods: Vec<_> = pods(notation)
            .into_iter()
            .map(|pod| {
                let mut pod = PodView::clone(&pod);
                pod.requests = vec![Requests { container: "c".into(), cpu: Some(200), memory: None }];
                Arc::new(pod)
            })
            .collect();
        let samples = pods.iter().zip(usage.split_whitespace()).filter_map(|(pod, used)| {
            let used = used.parse().ok()?;
            let window = SignedDuration::from_secs(15);
            Some((pod.key.name.clone(), Sample { containers: vec![("c".into(), used, 0)], at: NOW, window }))
        });
        let samples = Ok(samples.collect());
        let scale = Ok(Scale { replicas, selector: "app=web".into() });
        Observed { scale, pods, samples, rivals: Vec::new() }
    }

    fn reason(pass: &Pass, name: &str) -> String {
        let it = pass.status.conditions.iter().find(|it| it.name == name);
        it.map_or_else(String::new, |it| format!("{} {}", it.status, it.reason))
    }

    #[test]
    fn sizes() {
        #[rustfmt::skip] // replicas, pods, usage in millicores (100 is the goal) → desired, ScalingActive
        let cases = [
            ("on target",                     4, "a b c d",      "100 100 100 100", 4, "True ValidMetricFound"),
            ("within the tolerance",          4, "a b c d",      "109 109 109 109", 4, "True ValidMetricFound"),
            ("half as many too few",          4, "a b c d",      "150 150 150 150", 6, "True ValidMetricFound"),
            ("no more than twice",            4, "a b c d",      "400 400 400 400", 8, "True ValidMetricFound"),
            ("no more than the maximum",      6, "a b c d e f",  "400 400 400 400 400 400", 10, "True ValidMetricFound"),
            ("a missing one uses nothing up", 4, "a b c d",      "150 150 150 -",   5, "True ValidMetricFound"),
            ("a pending one does neither",    2, "a b!p",        "150 900",         2, "True ValidMetricFound"),
            ("no samples",                    2, "a b",          "- -",             0, "False FailedGetResourceMetric"),
            ("above the maximum",            12, "a b",          "1 1",            10, ""),
            ("below the minimum",             1, "a",            "1",               2, ""),
            ("switched off",                  0, "",             "",                0, "False ScalingDisabled"),
        ];
        for (why, replicas, pods, usage, want, active) in cases {
            let it = autoscaler(json!({}));
            let mut memory = Memory {
                recommendations: vec![(NOW - SignedDuration::from_secs(400), 1)],
                ..Memory::default()
            };
            let got = pass(&it, &observed(replicas, pods, usage), &mut memory, &Settings::default(), NOW);
            assert_eq!((got.status.desired, reason(&got, ACTIVE).as_str()), (want, active), "{why}: {got:?}");
        }
    }

    #[test]
    fn shrinking_waits_for_the_window() {
        let it = autoscaler(json!({}));
        let mut memory = Memory::default();
        let idle = observed(6, "a b c d e f", "10 10 10 10 10 10");
        let settings = Settings::default();
        let first = pass(&it, &idle, &mut memory, &settings, NOW);
        assert_eq!((first.status.desired, reason(&first, ABLE).as_str()), (6, "True ScaleDownStabilized"));
        let later = NOW + SignedDuration::from_secs(301);
        let second = pass(&it, &idle, &mut memory, &settings, later);
        assert_eq!(second.status.desired, 2, "{second:?}");
        assert_eq!(reason(&second, LIMITED), "True TooFewReplicas");
        assert_eq!(second.rescale, Some((2, "All metrics below target".to_owned())));
    }

    #[test]
    fn policies_limit_the_speed() {
        let it = autoscaler(json!({ "behavior": {
            "scaleUp": { "policies": [{ "type": "Pods", "value": 1, "periodSeconds": 60 }] },
            "scaleDown": { "stabilizationWindowSeconds": 0, "selectPolicy": "Disabled" },
        } }));
        let (mut memory, settings) = (Memory::default(), Settings::default());
        let busy = observed(4, "a b c d", "400 400 400 400");
        let got = pass(&it, &busy, &mut memory, &settings, NOW);
        assert_eq!((got.status.desired, reason(&got, LIMITED).as_str()), (5, "True ScaleUpLimit"));
        memory.note(it.behavior.as_ref(), 4, 5, NOW);
        let soon = NOW + SignedDuration::from_secs(15);
        let busy = observed(5, "a b c d e", "400 400 400 400 400");
        assert_eq!(pass(&it, &busy, &mut memory, &settings, soon).status.desired, 5, "one a minute");
        let later = NOW + SignedDuration::from_secs(61);
        assert_eq!(pass(&it, &busy, &mut memory, &settings, later).status.desired, 6);
        let idle = observed(5, "a b c d e", "1 1 1 1 1");
        assert_eq!(pass(&it, &idle, &mut memory, &settings, later).status.desired, 5, "never down");
    }

    #[test]
    fn what_is_wrong_is_told_in_the_words_of_upstream() {
        let it = autoscaler(json!({}));
        let mut no_request = observed(2, "a b", "100 100");
        for pod in &mut no_request.pods {
            Arc::make_mut(pod).requests[0].cpu = None;
        }
        let got = pass(&it, &no_request, &mut Memory::default(), &Settings::default(), NOW);
        let texts: Vec<_> = got.events.iter().map(|it| format!("{} {}", it.1, it.2)).collect();
        assert_eq!(
            texts,
            [
                "FailedGetResourceMetric failed to get cpu utilization: missing request for cpu in container c of Pod web-a",
                "FailedComputeMetricsReplicas invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: failed to get cpu utilization: missing request for cpu in container c of Pod web-a",
            ]
        );
        let mut gone = observed(2, "", "");
        gone.scale = Err("deployments.apps \"web\" not found".to_owned());
        let got = pass(&it, &gone, &mut Memory::default(), &Settings::default(), NOW);
        assert_eq!(reason(&got, ABLE), "False FailedGetScale");
        assert_eq!(got.events[0].2, "deployments.apps \"web\" not found");
    }
}
