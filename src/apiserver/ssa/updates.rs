//! Managed fields of ordinary writes: who set which field last, outside of server-side apply.
//!
//! A write takes the fields it changes from everybody else, and what it removes nobody owns any more.
//! Source: apimachinery `pkg/util/managedfields`, structured-merge-diff `merge/update.go` (`Update`).

use super::changes::changes;
use super::fields::FieldSet;
use super::{Entry, entries, sort, unowned};
use crate::apiserver::layout::Layout;
use crate::apiserver::merge_keys::Type;
use crate::apiserver::resources::Resource;
use serde_json::{Value, json};

/// Most entries of ordinary writes; the oldest are folded into one beyond it.
const MOST_UPDATES: usize = 10;
/// Who owns the folded ones.
const FOLDED: &str = "ancient-changes";
/// Who owns what an object had when it was first applied.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Who writes.
#[derive(Debug, Clone)]
pub struct Writer {
    /// `fieldManager`, or the product of the User-Agent.
    pub manager: String,
    /// RFC 3339, whole seconds; absent for writes through `scale`, as upstream.
    pub now: Option<String>,
    /// One of our own: what it creates, and the statuses it writes, are not recorded.
    pub is_own: bool,
}

/// Writes into `new` who owns what after a write by `by` to `subresource`.
///
/// An object without managed fields stays without, unless it is being created (`old` is `None`).
pub fn record(resource: &Resource, old: Option<&Value>, new: &mut Value, by: &Writer, subresource: &str) {
    let status = subresource == "status";
    let mut entries = entries(new);
    if by.is_own && (old.is_none() || status) || old.is_some() && entries.is_empty() {
        return;
    }
    let empty = json!({});
    let has_status = resource.has_status();
    let ignored =
        |path: &[String]| unowned(path) || path.len() == 1 && path[0] == "f:status" && has_status && !status;
    let layout = Layout::get().find(&resource.api_version(), resource.kind);
    let changes = changes(Type::of(resource), layout, old.unwrap_or(&empty), new, &ignored);
    let version = resource.api_version();
    let mut mine = None;
    for (index, entry) in entries.iter_mut().enumerate() {
        let raw = &entry.raw;
        if raw["manager"] == by.manager.as_str()
            && raw["operation"] == "Update"
            && raw["apiVersion"] == version
            && raw["subresource"].as_str().unwrap_or_default() == subresource
        {
            mine = Some(index);
        } else {
            entry.owned.0.retain(|it| !changes.set.0.contains(it) && !changes.removed.0.contains(it));
        }
    }
    let now = by.now.clone();
    match mine.map(|index| &mut entries[index]) {
        Some(entry) => {
            let mut owned = entry.owned.clone();
            owned.0.retain(|it| !changes.removed.0.contains(it));
            owned.0.extend(changes.set.0);
            if owned != entry.owned {
                entry.owned = owned;
                entry.raw["time"] = now.into();
            }
        }
        None if !changes.set.0.is_empty() => {
            entries.push(Entry::update(&by.manager, &version, subresource, now, changes.set));
        }
        None => {}
    }
    fold(&mut entries);
    write(entries, new);
}

/// The entry of what an object without managed fields had before its first apply.
pub fn before_first_apply(resource: &Resource, live: &Value) -> Entry {
    let empty = json!({});
    let has_status = resource.has_status();
    let ignored = |path: &[String]| unowned(path) || path.len() == 1 && path[0] == "f:status" && has_status;
    let version = resource.api_version();
    let layout = Layout::get().find(&version, resource.kind);
    let set = changes(Type::of(resource), layout, &empty, live, &ignored).set;
    Entry::update(BEFORE_FIRST_APPLY, &version, "", None, set)
}

/// Folds the oldest ordinary writes into one entry per version until there are few enough.
fn fold(entries: &mut Vec<Entry>) {
    entries.retain(|it| !it.owned.0.is_empty());
    loop {
        let mut updates: Vec<usize> =
            (0..entries.len()).filter(|it| entries[*it].raw["operation"] == "Update").collect();
        if updates.len() <= MOST_UPDATES {
            return;
        }
        updates.sort_by_key(|it| entries[*it].raw["time"].as_str().unwrap_or_default().to_owned());
        let first = updates[0];
        let version = entries[first].raw["apiVersion"].clone();
        let Some(second) = updates[1..].iter().copied().find(|it| entries[*it].raw["apiVersion"] == version)
        else {
            return;
        };
        let merged: FieldSet =
            FieldSet(entries[first].owned.0.union(&entries[second].owned.0).cloned().collect());
        let time = entries[second].raw["time"].as_str().map(str::to_owned);
        let version = version.as_str().unwrap_or_default().to_owned();
        for index in [first.max(second), first.min(second)] {
            entries.remove(index);
        }
        entries.push(Entry::update(FOLDED, &version, "", time, merged));
    }
}

/// Writes the entries that own something into `metadata.managedFields`.
fn write(entries: Vec<Entry>, object: &mut Value) {
    let mut written: Vec<Value> = entries
        .into_iter()
        .filter(|it| !it.owned.0.is_empty())
        .map(|mut it| {
            it.raw["fieldsV1"] = it.owned.encode();
            it.raw
        })
        .collect();
    sort(&mut written);
    let metadata = crate::apiserver::meta::metadata(object);
    if written.is_empty() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".to_owned(), written.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::resources::find_kind;

    fn by(manager: &str) -> Writer {
        Writer { manager: manager.to_owned(), now: Some("2026-01-01T00:00:00Z".to_owned()), is_own: false }
    }

    fn owned(object: &Value, manager: &str) -> Value {
        let entries = object["metadata"]["managedFields"].as_array().unwrap();
        entries
            .iter()
            .find(|it| it["manager"] == manager)
            .map(|it| it["fieldsV1"].clone())
            .unwrap_or_default()
    }

    /// What kube-apiserver 1.36 recorded for the same Deployment, defaults written out.
    #[test]
    fn a_created_deployment() {
        let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "labels": {"app": "d"}},
            "spec": {"progressDeadlineSeconds": 600, "replicas": 1, "revisionHistoryLimit": 10, "selector": {"matchLabels": {"app": "d"}},
                "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}, "type": "RollingUpdate"},
                "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"image": "nginx:1", "imagePullPolicy": "IfNotPresent",
                    "name": "nginx", "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
                    "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler", "securityContext": {},
                    "terminationGracePeriodSeconds": 30}}},
            "status": {"replicas": 1}});
        let resource = find_kind("apps/v1", "Deployment").unwrap();
        record(resource, None, &mut object, &by("kubectl-create"), "");
        let want = json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {"f:progressDeadlineSeconds": {}, "f:replicas": {},
            "f:revisionHistoryLimit": {}, "f:selector": {}, "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}},
            "f:type": {}}, "f:template": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {"f:containers": {
            "k:{\"name\":\"nginx\"}": {".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {}, "f:resources": {},
            "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {}}}, "f:dnsPolicy": {}, "f:restartPolicy": {}, "f:schedulerName": {},
            "f:securityContext": {}, "f:terminationGracePeriodSeconds": {}}}}});
        assert_eq!(owned(&object, "kubectl-create"), want);

        let before = object.clone();
        object["spec"]["replicas"] = 3.into();
        record(resource, Some(&before), &mut object, &Writer { now: None, ..by("kubectl") }, "scale");
        assert_eq!(owned(&object, "kubectl"), json!({"f:spec": {"f:replicas": {}}}));
        assert!(
            owned(&object, "kubectl-create")["f:spec"].get("f:replicas").is_none(),
            "the field changed hands"
        );
        assert_eq!(object["metadata"]["managedFields"][0]["manager"], "kubectl", "no time comes first");
    }

    #[test]
    fn labels_come_and_go() {
        let resource = find_kind("v1", "ConfigMap").unwrap();
        let mut object = json!({"metadata": {"name": "c"}, "data": {"a": "b"}});
        record(resource, None, &mut object, &by("kubectl-create"), "");
        assert_eq!(owned(&object, "kubectl-create"), json!({"f:data": {".": {}, "f:a": {}}}));
        let before = object.clone();
        object["metadata"]["labels"] = json!({"x": "y"});
        record(resource, Some(&before), &mut object, &by("kubectl-label"), "");
        assert_eq!(
            owned(&object, "kubectl-label"),
            json!({"f:metadata": {"f:labels": {".": {}, "f:x": {}}}})
        );
        let before = object.clone();
        object["metadata"].as_object_mut().unwrap().remove("labels");
        record(resource, Some(&before), &mut object, &by("kubectl-label"), "");
        assert_eq!(object["metadata"]["managedFields"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn own_statuses_and_objects_without_entries_are_left_alone() {
        let resource = find_kind("v1", "ConfigMap").unwrap();
        let plain = json!({"metadata": {"name": "c"}, "data": {"a": "b"}});
        let mut object = plain.clone();
        record(resource, None, &mut object, &Writer { is_own: true, ..by("ordinal") }, "");
        assert_eq!(object, plain);
        object["data"]["a"] = "c".into();
        let want = object.clone();
        record(resource, Some(&plain), &mut object, &by("kubectl-edit"), "");
        assert_eq!(object, want);
    }

    #[test]
    fn the_oldest_updates_are_folded() {
        let resource = find_kind("v1", "ConfigMap").unwrap();
        let mut object = json!({"metadata": {"name": "c"}, "data": {"k0": "v"}});
        record(resource, None, &mut object, &by("m00"), "");
        for number in 1..15 {
            let before = object.clone();
            object["data"][format!("k{number}")] = "v".into();
            let now = format!("2026-01-01T00:00:{number:02}Z");
            record(
                resource,
                Some(&before),
                &mut object,
                &Writer { now: Some(now), ..by(&format!("m{number:02}")) },
                "",
            );
        }
        let entries = object["metadata"]["managedFields"].as_array().unwrap();
        assert_eq!(entries.len(), MOST_UPDATES);
        let folded = &owned(&object, FOLDED)["f:data"];
        assert!(
            folded.get("f:k0").is_some() && folded.get("f:k4").is_some() && folded.get("f:k14").is_none(),
            "{folded}"
        );
    }
}
