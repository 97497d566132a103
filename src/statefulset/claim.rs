//! Which pods belong to a set: kept, adopted, released.
//!
//! A pod is kept by owner UID, selector and name together; never by labels or by name alone (INV-4).
//! Whoever adopts must first read the set uncached, and every write names the pod's UID.
//! Sources: kubernetes `pkg/controller/controller_ref_manager.go`, `pkg/controller/statefulset/stateful_set.go`.

use std::sync::Arc;

use super::model::{PodView, SetSpec};

/// The candidates, sorted by what to do with them.
#[derive(Debug, Default)]
pub struct Claimed {
    /// Ours.
    pub kept: Vec<Arc<PodView>>,
    /// Nobody's, and they match: take them.
    pub adopt: Vec<Arc<PodView>>,
    /// Ours by owner reference, but selector or name no longer match: let go.
    pub release: Vec<Arc<PodView>>,
}

/// Decides about `candidates`: pods owned by the set's UID and pods without a controller; others are ignored.
pub fn claim(set: &SetSpec, candidates: impl IntoIterator<Item = Arc<PodView>>) -> Claimed {
    let mut claimed = Claimed::default();
    for pod in candidates {
        let matches = set.selector.matches(&pod.labels)
            && pod.parent() == Some(set.key.name.as_str())
            && pod.key.namespace == set.key.namespace;
        match &pod.owner {
            Some(owner) if owner.uid != set.uid => {}
            Some(_) if matches => claimed.kept.push(pod),
            Some(_) if !set.deleting => claimed.release.push(pod),
            None if matches && !set.deleting && !pod.deleting => claimed.adopt.push(pod),
            Some(_) | None => {}
        }
    }
    claimed
}

#[cfg(test)]
mod tests {
    use super::super::notation::{pod, set};
    use super::*;

    #[test]
    fn claiming() {
        let set = set("3xA");
        let mut deleting = set.clone();
        deleting.deleting = true;
        let ours = pod("0A");
        let edit = |change: &dyn Fn(&mut PodView)| {
            let mut it = ours.clone();
            change(&mut it);
            it
        };
        let orphan = edit(&|it| it.owner = None);
        let foreign = edit(&|it| it.owner.as_mut().unwrap().uid = "other".into());
        let relabelled = edit(&|it| it.labels.clear());
        let renamed = edit(&|it| it.key.name = "web-0-0".into());
        let leaving = edit(&|it| {
            it.owner = None;
            it.deleting = true;
        });
        let stranger = edit(&|it| {
            it.owner = None;
            it.labels.clear();
        });
        let cases = [
            ("an owned pod is kept", &set, &ours, "keep"),
            ("also while the set goes", &deleting, &ours, "keep"),
            ("an orphan is adopted", &set, &orphan, "adopt"),
            ("but never while the set goes", &deleting, &orphan, ""),
            ("nor while the pod goes", &set, &leaving, ""),
            ("nor by name alone", &set, &stranger, ""),
            ("another's pod is ignored", &set, &foreign, ""),
            ("a relabelled pod is released", &set, &relabelled, "release"),
            ("but not while the set goes", &deleting, &relabelled, ""),
            ("a pod named after another set is released", &set, &renamed, "release"),
        ];
        for (why, set, pod, want) in cases {
            let it = claim(set, [Arc::new(pod.clone())]);
            let got = match (it.kept.len(), it.adopt.len(), it.release.len()) {
                (1, 0, 0) => "keep",
                (0, 1, 0) => "adopt",
                (0, 0, 1) => "release",
                _ => "",
            };
            assert_eq!(got, want, "{why}");
        }
    }
}
