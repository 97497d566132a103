//! What the sets of a Deployment remember in annotations: revision, its history, and the sizes they were given.
//!
//! Sources: kubernetes `pkg/controller/deployment/util/deployment_util.go` (`SetNewReplicaSetAnnotations`,
//! `SetReplicasAnnotations`, `getSkippedAnnotations`).

use std::collections::BTreeMap;

use super::model::DeploymentView;
use crate::workload::model::SetView;

/// The number of a template, on sets and on the Deployment.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// Numbers a set had before.
pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// `spec.replicas` of the Deployment when the set was sized.
pub const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
/// That plus the surge.
pub const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
/// Asks for a rollback (extensions/v1beta1).
pub const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Most characters of the history.
const HISTORY_MAX: usize = 2000;

/// Annotations of one side that are none of the other's business.
pub fn is_own(key: &str) -> bool {
    [LAST_APPLIED, REVISION, REVISION_HISTORY, DESIRED_REPLICAS, MAX_REPLICAS, ROLLBACK_TO].contains(&key)
}

/// The revision of a set; 0 for none.
pub fn revision_of(annotations: &BTreeMap<String, String>) -> i64 {
    annotations.get(REVISION).and_then(|it| it.parse().ok()).unwrap_or(0)
}

/// The number the current template should have: one more than any old one.
pub fn wanted<'a>(old: impl Iterator<Item = &'a SetView>) -> i64 {
    old.map(|it| revision_of(&it.annotations)).max().unwrap_or(0) + 1
}

/// The sizes of the Deployment, for the annotations of a set that is given one.
pub fn sizes(deployment: &DeploymentView) -> [(&'static str, String); 2] {
    [
        (DESIRED_REPLICAS, deployment.replicas.to_string()),
        (MAX_REPLICAS, deployment.max_replicas().to_string()),
    ]
}

/// What has to change in the annotations of the current set: copies from the Deployment, and its revision if `wanted` is
/// higher. A revision it had before goes to the history.
pub fn current(
    deployment: &DeploymentView,
    present: &BTreeMap<String, String>,
    wanted: i64,
) -> BTreeMap<String, String> {
    let mut changes: BTreeMap<String, String> = deployment
        .annotations
        .iter()
        .filter(|(key, value)| !is_own(key) && present.get(*key) != Some(*value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let former = present.get(REVISION).map_or("", String::as_str);
    let number: i64 = match former.parse() {
        Ok(number) => number,
        Err(_) if former.is_empty() => 0,
        // Not ours to overwrite.
        Err(_) => return changes,
    };
    if number < wanted {
        changes.insert(REVISION.to_owned(), wanted.to_string());
        if !former.is_empty() {
            let history = present.get(REVISION_HISTORY).map_or("", String::as_str);
            if let Some(history) = longer(history, former) {
                changes.insert(REVISION_HISTORY.to_owned(), history);
            }
        }
    }
    changes
}

/// The history with one more number; the oldest are dropped when it gets too long.
fn longer(history: &str, number: &str) -> Option<String> {
    if history.is_empty() {
        return Some(number.to_owned());
    }
    let mut numbers: Vec<&str> = history.split(',').collect();
    let mut length = history.len() + number.len() + 1;
    while length > HISTORY_MAX && !numbers.is_empty() {
        length -= numbers.remove(0).len() + 1;
    }
    numbers.push(number);
    (length <= HISTORY_MAX).then(|| numbers.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn annotations_of_the_current_set() {
        let mut web = super::super::super::notation::deployment("3");
        web.annotations = map(&[("team", "a"), (REVISION, "7"), (LAST_APPLIED, "{}")]);
        assert_eq!(current(&web, &map(&[]), 1), map(&[("team", "a"), (REVISION, "1")]));
        assert_eq!(current(&web, &map(&[("team", "a"), (REVISION, "4")]), 3), map(&[]), "it never falls");
        assert_eq!(
            current(&web, &map(&[("team", "a"), (REVISION, "1")]), 3),
            map(&[(REVISION, "3"), (REVISION_HISTORY, "1")]),
            "a rollback"
        );
        assert_eq!(
            current(&web, &map(&[("team", "b"), (REVISION, "3"), (REVISION_HISTORY, "1")]), 5),
            map(&[("team", "a"), (REVISION, "5"), (REVISION_HISTORY, "1,3")])
        );
        assert_eq!(current(&web, &map(&[("team", "a"), (REVISION, "x")]), 5), map(&[]), "not a number");
    }

    #[test]
    fn a_history_drops_its_oldest() {
        let long = vec!["123"; 500].join(",");
        let it = longer(&long, "4567").expect("it fits");
        assert!(it.len() <= HISTORY_MAX && it.ends_with(",123,4567"), "{}", it.len());
    }
}
