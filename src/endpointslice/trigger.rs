//! The trigger time: when the change happened that a slice write publishes.
//!
//! Differs: upstream forgets a time whose write failed; here it waits for the write that succeeds.
//! Source: kubernetes `staging/src/k8s.io/endpointslice/trigger_time_tracker.go`.

use std::collections::HashMap;

use jiff::Timestamp;

use super::model::ServiceView;

/// Name of a pod, and when its Ready condition changed last.
pub type Transition = (Box<str>, Option<Timestamp>);

/// What is remembered about one Service.
#[derive(Debug, Default)]
pub struct Tracker {
    /// Ready transition by pod name at the last look; `None` before the first.
    known: Option<HashMap<Box<str>, Timestamp>>,
    pending: Option<Timestamp>,
}

impl Tracker {
    /// Looks at all pods of the Service: the trigger time to write, `None` for none.
    pub fn observe(&mut self, service: &ServiceView, pods: Vec<Transition>) -> Option<Timestamp> {
        let times: HashMap<_, _> = pods.into_iter().filter_map(|(name, at)| Some((name, at?))).collect();
        let trigger = match &self.known {
            None => service.created,
            Some(known) => times
                .iter()
                .filter(|(name, at)| known.get(*name).is_none_or(|before| before < *at))
                .map(|(_, at)| *at)
                .min(),
        };
        self.known = Some(times);
        self.add(trigger)
    }

    /// Looks at some pods, those that changed; one without a time may be gone.
    pub fn observe_some(&mut self, service: &ServiceView, pods: Vec<Transition>) -> Option<Timestamp> {
        let Some(known) = &mut self.known else { return self.observe(service, pods) };
        let mut trigger: Option<Timestamp> = None;
        for (name, at) in pods {
            let before = match at {
                Some(at) => known.insert(name, at),
                None => known.remove(&name),
            };
            let advanced = at.filter(|at| before.is_none_or(|before| before < *at));
            trigger = trigger.into_iter().chain(advanced).min();
        }
        self.add(trigger)
    }

    fn add(&mut self, trigger: Option<Timestamp>) -> Option<Timestamp> {
        self.pending = self.pending.into_iter().chain(trigger).min();
        self.pending
    }

    /// Everything observed so far is published.
    pub fn written(&mut self) {
        self.pending = None;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::endpointslice::narrow::from_json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn pods(times: &[(&str, i64)]) -> Vec<Transition> {
        times.iter().map(|(name, second)| ((*name).into(), (*second > 0).then(|| at(*second)))).collect()
    }

    #[test]
    fn the_earliest_unpublished_change_counts() {
        let service = json!({"metadata": {"name": "web", "creationTimestamp": at(1)}});
        let service: ServiceView = from_json(service).unwrap().unwrap();
        let mut tracker = Tracker::default();
        assert_eq!(tracker.observe(&service, pods(&[("a", 5)])), Some(at(1)), "first look: the Service");
        tracker.written();
        assert_eq!(tracker.observe(&service, pods(&[("a", 5)])), None, "nothing advanced");
        assert_eq!(tracker.observe(&service, pods(&[("a", 9), ("b", 7)])), Some(at(7)), "the earliest");
        assert_eq!(
            tracker.observe(&service, pods(&[("a", 10), ("b", 7)])),
            Some(at(7)),
            "kept until written"
        );
        tracker.written();
        assert_eq!(tracker.observe(&service, pods(&[("b", 7)])), None, "a removed pod has no time");
        assert_eq!(tracker.observe_some(&service, pods(&[("c", 12), ("b", 0)])), Some(at(12)), "some pods");
        tracker.written();
        assert_eq!(tracker.observe_some(&service, pods(&[("b", 7)])), Some(at(7)), "b came back");
        tracker.written();
        assert_eq!(tracker.observe_some(&service, pods(&[("b", 7), ("c", 12)])), None);
    }
}
