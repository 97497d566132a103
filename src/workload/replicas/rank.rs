//! Which pods of a set go first.
//!
//! The order compares ages on a logarithmic scale and breaks ties within a bucket by UID, so it is not transitive in
//! every corner; sorting therefore goes by insertion, which needs nothing but answers.
//! Sources: kubernetes `pkg/controller/controller_utils.go` (`ActivePodsWithRanks`); KEP-2185, KEP-2255.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::workload::model::PodView;

/// The `count` pods that go first. `siblings`: active pods of the same Deployment per node.
pub fn first(
    pods: &[Arc<PodView>],
    count: usize,
    siblings: &HashMap<String, usize>,
    now: Timestamp,
) -> Vec<Arc<PodView>> {
    if count >= pods.len() {
        return pods.to_vec();
    }
    let rank = |pod: &PodView| siblings.get(&pod.node).copied().unwrap_or(0);
    let mut sorted: Vec<&Arc<PodView>> = Vec::with_capacity(pods.len());
    for pod in pods {
        let at = sorted.partition_point(|it| !goes_before(pod, rank(pod), it, rank(it), now));
        sorted.insert(at, pod);
    }
    sorted.into_iter().take(count).cloned().collect()
}

fn goes_before(a: &PodView, rank_a: usize, b: &PodView, rank_b: usize, now: Timestamp) -> bool {
    if a.node.is_empty() != b.node.is_empty() {
        return a.node.is_empty();
    }
    let order = a
        .phase
        .cmp(&b.phase)
        .then_with(|| a.ready().cmp(&b.ready()))
        .then_with(|| a.deletion_cost.cmp(&b.deletion_cost))
        .then_with(|| rank_b.cmp(&rank_a));
    if order != Ordering::Equal {
        return order == Ordering::Less;
    }
    if a.ready() && b.ready() && a.ready_since != b.ready_since {
        return younger(a, a.ready_since, b, b.ready_since, now);
    }
    let restarts = b.restarts.cmp(&a.restarts).then_with(|| b.sidecar_restarts.cmp(&a.sidecar_restarts));
    if restarts != Ordering::Equal {
        return restarts == Ordering::Less;
    }
    a.created != b.created && younger(a, a.created, b, b.created, now)
}

/// Whether `a` began later; within a power of two of the age the smaller UID counts as younger, an unset time as now.
fn younger(
    a: &PodView,
    since_a: Option<Timestamp>,
    b: &PodView,
    since_b: Option<Timestamp>,
    now: Timestamp,
) -> bool {
    let (Some(since_a), Some(since_b)) = (since_a, since_b) else { return since_a.is_none() };
    match bucket(since_a, now).cmp(&bucket(since_b, now)) {
        Ordering::Equal => a.uid < b.uid,
        order => order == Ordering::Less,
    }
}

/// log2 of the age in nanoseconds, rounded down; -1 for no age.
fn bucket(since: Timestamp, now: Timestamp) -> i64 {
    let age = now.as_nanosecond() - since.as_nanosecond();
    u128::try_from(age).ok().and_then(u128::checked_ilog2).map_or(-1, i64::from)
}

#[cfg(test)]
mod tests {
    use super::super::super::notation::{NOW, pods};
    use super::*;

    /// `a` goes first in each row, although `b` would by the rule below.
    #[test]
    fn ranking() {
        #[rustfmt::skip] // "a!": not ready, "p": pending, "u": unknown, "-": no node, "$": cost, "~": ready for seconds, "+": restarts, "@": node
        let cases = [
            ("1 no node before having one",            "a-!$9 b!p"),
            ("1 both without: the phase decides",      "a-!p b-!u"),
            ("2 pending before running",               "a!p$9 b!"),
            ("2 unknown before running",               "a!u$9 b!"),
            ("2 pending before unknown",               "a!p$9 b!u"),
            ("3 not ready before ready",               "a!$9 b"),
            ("4 the cheaper one",                      "a$-1~900 b"),
            ("4 costs before neighbours",              "a$1@n2 b$2@n1"),
            ("5 with more siblings on the node",       "a@n1~900 b@n2"),
            ("6 ready for less long",                  "a~10 b~100+9"),
            ("6 the same bucket: by uid",              "a~65 b~60+9"),
            ("6 an unset time is the most recent",     "a~? b~10"),
            ("7 more restarts",                        "a+2^900 b+1"),
            ("8 younger",                              "a^10 b^100"),
            ("8 the same bucket: by uid",              "a^65 b^60"),
        ];
        let siblings: HashMap<String, usize> = [("n1".into(), 3), ("n2".into(), 1)].into();
        for (why, notation) in cases {
            let mut both = pods(notation);
            assert_eq!(&*first(&both, 1, &siblings, NOW)[0].uid, "a", "{why}");
            both.reverse();
            assert_eq!(&*first(&both, 1, &siblings, NOW)[0].uid, "a", "{why}, the other way round");
        }
    }

    #[test]
    fn buckets() {
        let now = NOW;
        let ago = |nanos: i64| now - jiff::SignedDuration::from_nanos(nanos);
        for (age, want) in [(-5, -1), (0, -1), (1, 0), (2, 1), (3, 1), (4, 2), (1_000_000_000, 29)] {
            assert_eq!(bucket(ago(age), now), want, "{age}");
        }
    }
}
