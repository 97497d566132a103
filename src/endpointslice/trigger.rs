//! The trigger time: when the change happened that a slice write publishes.
//!
//! Differs: upstream forgets a time whose write failed; here it waits for the write that succeeds.
//! Source: kubernetes `staging/src/k8s.io/endpointslice/trigger_time_tracker.go`.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::model::{PodView, ServiceView};

/// What is remembered about one Service.
#[derive(Debug, Default)]
pub struct Tracker {
    /// Ready transition by pod name at the last look; `None` before the first.
    known: Option<HashMap<String, Timestamp>>,
    pending: Option<Timestamp>,
}

impl Tracker {
    /// Looks at the pods of the Service: the trigger time to write, `None` for none.
    pub fn observe(&mut self, service: &ServiceView, pods: &[Arc<PodView>]) -> Option<Timestamp> {
        let times: HashMap<_, _> =
            pods.iter().filter_map(|it| Some((it.key.name.clone(), it.ready_since?))).collect();
        let trigger = match &self.known {
            None => service.created,
            Some(known) => times
                .iter()
                .filter(|(name, at)| known.get(*name).is_none_or(|before| before < *at))
                .map(|(_, at)| *at)
                .min(),
        };
        self.known = Some(times);
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

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn pods(times: &[(&str, i64)]) -> Vec<Arc<PodView>> {
        let pod = |(name, second): &(&str, i64)| {
            Arc::new(PodView::narrow(serde_json::from_value(json!({
                "metadata": {"name": name},
                "status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": at(*second)}]},
            })).unwrap()))
        };
        times.iter().map(pod).collect()
    }

    #[test]
    fn the_earliest_unpublished_change_counts() {
        let service = json!({"metadata": {"name": "web", "creationTimestamp": at(1)}});
        let service = ServiceView::narrow(serde_json::from_value(service).unwrap());
        let mut tracker = Tracker::default();
        assert_eq!(tracker.observe(&service, &pods(&[("a", 5)])), Some(at(1)), "first look: the Service");
        tracker.written();
        assert_eq!(tracker.observe(&service, &pods(&[("a", 5)])), None, "nothing advanced");
        assert_eq!(tracker.observe(&service, &pods(&[("a", 9), ("b", 7)])), Some(at(7)), "the earliest");
        assert_eq!(
            tracker.observe(&service, &pods(&[("a", 10), ("b", 7)])),
            Some(at(7)),
            "kept until written"
        );
        tracker.written();
        assert_eq!(tracker.observe(&service, &pods(&[("b", 7)])), None, "a removed pod has no time");
    }
}
