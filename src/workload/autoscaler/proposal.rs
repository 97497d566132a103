//! One metric into a number of replicas.
//!
//! Pods without a sample and pods that are not ready count as what makes the answer more careful. Integers are cut where
//! upstream cuts them.
//! Source: kubernetes `pkg/controller/podautoscaler/replica_calculator.go`, `metrics/utilization.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::Settings;
use super::model::{Goal, Metric};
use crate::workload::model::{Phase, PodView};

/// What one pod used.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Containers, with cpu and memory in thousandths.
    pub containers: Vec<(String, i64, i64)>,
    /// When it was taken.
    pub at: Timestamp,
    /// Over how long.
    pub window: SignedDuration,
}

impl Sample {
    fn usage(&self, resource: &str, container: Option<&str>) -> Option<i64> {
        let of = |it: &(String, i64, i64)| if resource == "cpu" { it.1 } else { it.2 };
        match container {
            Some(name) => self.containers.iter().find(|it| it.0 == name).map(of),
            None => Some(self.containers.iter().map(of).sum()),
        }
    }
}

/// How far a ratio may be from 1 without consequence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Above.
    pub up: f64,
    /// Below.
    pub down: f64,
}

impl Tolerance {
    fn covers(self, ratio: f64) -> bool {
        (1.0 - self.down..=1.0 + self.up).contains(&ratio)
    }
}

/// A number of replicas, and what the metric was.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// Replicas.
    pub replicas: u32,
    /// Percent of the requests, for a goal in percent.
    pub utilization: Option<i64>,
    /// Average in thousandths.
    pub average: i64,
}

/// What a proposal is made from.
pub struct Facts<'a> {
    /// Pods under the selector.
    pub pods: &'a [Arc<PodView>],
    /// Samples by pod name.
    pub samples: &'a BTreeMap<String, Sample>,
    /// `spec.replicas` of the target.
    pub current: u32,
    /// Ignored deviation.
    pub tolerance: Tolerance,
    /// Times.
    pub settings: &'a Settings,
    /// The time.
    pub now: Timestamp,
}

#[derive(Default)]
struct Groups<'a> {
    ready: usize,
    unready: Vec<&'a str>,
    missing: Vec<&'a str>,
    ignored: Vec<&'a str>,
}

impl<'a> Facts<'a> {
    fn groups(&self, usage: &BTreeMap<&str, i64>, resource: &str) -> Groups<'a> {
        let mut groups = Groups::default();
        for pod in self.pods {
            let name = pod.key.name.as_str();
            if pod.deleting || pod.phase == Phase::Failed {
                groups.ignored.push(name);
            } else if pod.phase == Phase::Pending {
                groups.unready.push(name);
            } else if !usage.contains_key(name) {
                groups.missing.push(name);
            } else if resource == "cpu" && self.too_early(pod) {
                groups.unready.push(name);
            } else {
                groups.ready += 1;
            }
        }
        groups
    }

    /// Whether what the CPU of a pod did says nothing yet: it starts, or was never ready.
    fn too_early(&self, pod: &PodView) -> bool {
        let (Some(ready), Some(started)) = (pod.ready_condition, pod.started) else { return true };
        let changed = pod.ready_since.unwrap_or(Timestamp::MIN);
        let after = |at: Timestamp, by: SignedDuration| at.checked_add(by).unwrap_or(Timestamp::MAX);
        if after(started, self.settings.cpu_initialization) > self.now {
            let sample = self.samples.get(&pod.key.name);
            !ready || sample.is_some_and(|it| it.at < after(changed, it.window))
        } else {
            !ready && after(started, self.settings.initial_readiness_delay) > changed
        }
    }

    /// What the pods of this metric should be.
    ///
    /// # Errors
    /// Why there is no answer, in upstream's words.
    pub fn propose(&self, metric: &Metric) -> Result<Proposal, String> {
        let Metric::Resource { name, container, goal } = metric else {
            return Err("no custom metrics API is registered".to_owned());
        };
        if self.samples.is_empty() {
            return Err(format!(
                "unable to get metrics for resource {name}: no metrics returned from resource metrics API"
            ));
        }
        let mut usage: BTreeMap<&str, i64> = BTreeMap::new();
        for (pod, sample) in self.samples {
            usage.extend(sample.usage(name, container.as_deref()).map(|it| (pod.as_str(), it)));
        }
        if self.pods.is_empty() {
            return Err("no pods returned by selector while calculating replica count".to_owned());
        }
        let groups = self.groups(&usage, name);
        for it in groups.ignored.iter().chain(&groups.unready) {
            usage.remove(it);
        }
        if usage.is_empty() {
            return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
        }
        match goal {
            Goal::Utilization(target) => {
                let requests = self.requests(name, container.as_deref())?;
                self.by(
                    &groups,
                    usage,
                    |usage| utilization(usage, &requests, *target),
                    |missing| requests.get(missing).copied().unwrap_or(0) * (*target).max(100) / 100,
                )
            }
            Goal::Average(target) | Goal::Value(target) => {
                self.by(&groups, usage, |usage| Ok(average(usage, *target)), |_| *target)
            }
        }
    }

    /// The part that goals of both kinds share. `measure`: ratio to the goal, percent, average. `filled`: what a pod
    /// without a sample is taken to use when the set would shrink.
    fn by<'u>(
        &self,
        groups: &Groups<'u>,
        mut usage: BTreeMap<&'u str, i64>,
        measure: impl Fn(&BTreeMap<&'u str, i64>) -> Result<(f64, Option<i64>, i64), String>,
        filled: impl Fn(&str) -> i64,
    ) -> Result<Proposal, String>
    where
        'a: 'u,
    {
        let (ratio, utilization, average) = measure(&usage)?;
        let answer = |replicas: u32| Ok(Proposal { replicas, utilization, average });
        let grows_with_unready = !groups.unready.is_empty() && ratio > 1.0;
        if !grows_with_unready && groups.missing.is_empty() {
            if self.tolerance.covers(ratio) {
                return answer(self.current);
            }
            return answer((ratio * groups.ready as f64).ceil() as u32);
        }
        for pod in &groups.missing {
            if ratio < 1.0 {
                usage.insert(pod, filled(pod));
            } else if ratio > 1.0 {
                usage.insert(pod, 0);
            }
        }
        if grows_with_unready {
            usage.extend(groups.unready.iter().map(|pod| (*pod, 0)));
        }
        let (again, ..) = measure(&usage)?;
        let turned = (ratio < 1.0 && again > 1.0) || (ratio > 1.0 && again < 1.0);
        if self.tolerance.covers(again) || turned {
            return answer(self.current);
        }
        let replicas = (again * usage.len() as f64).ceil() as u32;
        let against = (again < 1.0 && replicas > self.current) || (again > 1.0 && replicas < self.current);
        answer(if against { self.current } else { replicas })
    }

    fn requests(&self, resource: &str, container: Option<&str>) -> Result<BTreeMap<&'a str, i64>, String> {
        let mut all = BTreeMap::new();
        for pod in self.pods {
            let name = pod.key.name.as_str();
            let whole = pod.pod_requests.as_ref().and_then(|it| it.of(resource));
            if let Some(whole) = whole.filter(|_| container.is_none()) {
                all.insert(name, whole);
                continue;
            }
            let mut sum = 0;
            for it in pod.requests.iter().filter(|it| container.is_none_or(|name| name == it.container)) {
                sum += it.of(resource).ok_or_else(|| {
                    format!("missing request for {resource} in container {} of Pod {name}", it.container)
                })?;
            }
            all.insert(name, sum);
        }
        Ok(all)
    }
}

fn utilization(
    usage: &BTreeMap<&str, i64>,
    requests: &BTreeMap<&str, i64>,
    target: i64,
) -> Result<(f64, Option<i64>, i64), String> {
    let known: Vec<_> = usage.iter().filter_map(|(pod, used)| Some((*used, *requests.get(pod)?))).collect();
    let (used, requested) = known.iter().fold((0, 0), |all, it| (all.0 + it.0, all.1 + it.1));
    if requested == 0 {
        return Err("no metrics returned matched known pods".to_owned());
    }
    let percent = used * 100 / requested;
    Ok((percent as f64 / target as f64, Some(percent), used / known.len() as i64))
}

fn average(usage: &BTreeMap<&str, i64>, target: i64) -> (f64, Option<i64>, i64) {
    let average = usage.values().sum::<i64>() / (usage.len() as i64).max(1);
    (average as f64 / target as f64, None, average)
}
