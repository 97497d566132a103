//! Who owns whom, and what follows from a deletion.
//!
//! Pure: store events in, actions out. An owner is present when an object of its uid, kind and namespace
//! (or of cluster scope) exists; references to kinds this server does not know are left alone.
//! Source: kubernetes `pkg/controller/garbagecollector/garbagecollector.go` (attemptToDeleteItem).

use crate::apiserver::delete::{FOREGROUND, ORPHAN, Propagation, target_of};
use crate::apiserver::gc::waiting_policy;
use crate::apiserver::meta;
use crate::apiserver::request::Target;
use crate::apiserver::resources::{self, Resource, Scope};
use crate::apiserver::store::Change;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};

/// One write of the collector. `uid` is its precondition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Delete a dependent.
    Delete {
        /// The dependent.
        target: Target,
        /// Its uid.
        uid: String,
        /// Policy; `None` keeps the finalizers it has.
        propagation: Option<Propagation>,
    },
    /// Remove references to these owners.
    Forget {
        /// The dependent.
        target: Target,
        /// Its uid.
        uid: String,
        /// Uids of the owners.
        owners: Vec<String>,
    },
    /// Remove a finalizer of the collector.
    Release {
        /// The owner.
        target: Target,
        /// Its uid.
        uid: String,
        /// The finalizer.
        finalizer: &'static str,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    uid: String,
    api_version: String,
    kind: String,
    blocks: bool,
}

#[derive(Debug)]
struct Node {
    target: Target,
    owners: Vec<Owner>,
    terminating: bool,
    foreground: bool,
    orphan: bool,
}

/// All objects by uid, and their dependents.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: HashMap<String, Node>,
    dependents: HashMap<String, BTreeSet<String>>,
}

/// State of a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Solid,
    Waiting,
    Absent,
}

impl Graph {
    /// Adds or replaces an object.
    pub fn insert(&mut self, resource: &'static Resource, object: &Value) {
        let uid = meta::text(object, "uid").to_owned();
        // Events come in numbers and own nothing.
        if uid.is_empty() || resource.kind == "Event" {
            return;
        }
        let owners: Vec<Owner> = object["metadata"]["ownerReferences"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|it| {
                let text = |field: &str| it[field].as_str().unwrap_or_default().to_owned();
                Owner {
                    uid: text("uid"),
                    api_version: text("apiVersion"),
                    kind: text("kind"),
                    blocks: it["blockOwnerDeletion"] == true,
                }
            })
            .collect();
        self.remove(&uid);
        for owner in &owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.clone());
        }
        let finalizers = meta::finalizers(object);
        let node = Node {
            target: target_of(resource, object),
            owners,
            terminating: meta::is_terminating(object),
            foreground: finalizers.contains(&FOREGROUND),
            orphan: finalizers.contains(&ORPHAN),
        };
        self.nodes.insert(uid, node);
    }

    fn remove(&mut self, uid: &str) -> Option<Node> {
        let node = self.nodes.remove(uid)?;
        for owner in &node.owners {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(uid);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
        Some(node)
    }

    /// Takes in one event; the uids that may need something now.
    pub fn observe(&mut self, resource: &'static Resource, object: &Value, change: Change) -> Vec<String> {
        let uid = meta::text(object, "uid").to_owned();
        let mut work: Vec<String> = Vec::new();
        if change == Change::Deleted {
            let owners = self.remove(&uid).map(|it| it.owners).unwrap_or_default();
            work.extend(self.dependents_of(&uid).map(ToOwned::to_owned));
            work.extend(owners.into_iter().map(|it| it.uid).filter(|it| self.is_waiting(it)));
            return work;
        }
        self.insert(resource, object);
        let Some(node) = self.nodes.get(&uid) else { return work };
        work.extend(node.owners.iter().map(|it| it.uid.clone()).filter(|it| self.is_waiting(it)));
        let collects = node.terminating && (node.foreground || node.orphan);
        if collects || !node.owners.is_empty() {
            work.push(uid);
        }
        work
    }

    /// Every uid that may need something: after a fresh start.
    pub fn uids(&self) -> Vec<String> {
        self.nodes
            .iter()
            .filter(|(_, it)| !it.owners.is_empty() || it.terminating)
            .map(|(uid, _)| uid.clone())
            .collect()
    }

    fn dependents_of(&self, uid: &str) -> impl Iterator<Item = &str> {
        self.dependents.get(uid).into_iter().flatten().map(String::as_str)
    }

    fn is_waiting(&self, uid: &str) -> bool {
        self.nodes.get(uid).is_some_and(|it| it.terminating && (it.foreground || it.orphan))
    }

    fn presence(&self, dependent: &Node, owner: &Owner) -> Presence {
        let Some(resource) = resources::find_kind(&owner.api_version, &owner.kind) else {
            return Presence::Solid;
        };
        let Some(node) = self.nodes.get(&owner.uid) else { return Presence::Absent };
        let same_scope =
            resource.scope == Scope::Cluster || node.target.namespace == dependent.target.namespace;
        if node.target.resource.kind != owner.kind || !same_scope {
            return Presence::Absent;
        }
        if node.terminating && node.foreground { Presence::Waiting } else { Presence::Solid }
    }

    /// What to do about one object now.
    pub fn decide(&self, uid: &str) -> Vec<Action> {
        let Some(node) = self.nodes.get(uid) else { return Vec::new() };
        if node.terminating && node.orphan {
            return self.orphan(uid, node);
        }
        if node.terminating && node.foreground {
            return self.foreground(uid, node);
        }
        self.dependent(uid, node).into_iter().collect()
    }

    fn orphan(&self, uid: &str, node: &Node) -> Vec<Action> {
        let mut actions: Vec<Action> = self
            .dependents_of(uid)
            .filter_map(|it| self.nodes.get(it).map(|dependent| (it, dependent)))
            .map(|(it, dependent)| Action::Forget {
                target: dependent.target.clone(),
                uid: it.to_owned(),
                owners: vec![uid.to_owned()],
            })
            .collect();
        actions.push(Action::Release { target: node.target.clone(), uid: uid.to_owned(), finalizer: ORPHAN });
        actions
    }

    fn foreground(&self, uid: &str, node: &Node) -> Vec<Action> {
        let dependents: Vec<(&str, &Node)> =
            self.dependents_of(uid).filter_map(|it| self.nodes.get(it).map(|found| (it, found))).collect();
        let blocked =
            dependents.iter().any(|(_, it)| it.owners.iter().any(|owner| owner.uid == uid && owner.blocks));
        if !blocked {
            return vec![Action::Release {
                target: node.target.clone(),
                uid: uid.to_owned(),
                finalizer: FOREGROUND,
            }];
        }
        dependents.into_iter().filter_map(|(it, dependent)| self.dependent(it, dependent)).collect()
    }

    fn dependent(&self, uid: &str, node: &Node) -> Option<Action> {
        if node.terminating || node.owners.is_empty() {
            return None;
        }
        let presence: Vec<(&Owner, Presence)> =
            node.owners.iter().map(|it| (it, self.presence(node, it))).collect();
        let solid = presence.iter().any(|(_, it)| *it == Presence::Solid);
        let waiting = presence.iter().any(|(_, it)| *it == Presence::Waiting);
        if solid {
            let owners: Vec<String> = presence
                .iter()
                .filter(|(_, it)| *it != Presence::Solid)
                .map(|(owner, _)| owner.uid.clone())
                .collect();
            return (!owners.is_empty()).then(|| Action::Forget {
                target: node.target.clone(),
                uid: uid.to_owned(),
                owners,
            });
        }
        let has_dependents = self.dependents_of(uid).next().is_some();
        let propagation = if waiting { waiting_policy(has_dependents) } else { None };
        Some(Action::Delete { target: node.target.clone(), uid: uid.to_owned(), propagation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// "pod p <- sts s" style objects: `owners` is (kind, uid, blocks).
    fn object(
        kind: &str,
        uid: &str,
        namespace: &str,
        owners: &[(&str, &str, bool)],
        finalizers: &[&str],
    ) -> (&'static Resource, Value) {
        let version = if kind == "Pod" || kind == "Node" { "v1" } else { "apps/v1" };
        let owners: Vec<Value> = owners
            .iter()
            .map(|(kind, uid, blocks)| {
                let version = if *kind == "Node" { "v1" } else { "apps/v1" };
                json!({"apiVersion": version, "kind": kind, "name": uid, "uid": uid, "blockOwnerDeletion": blocks})
            })
            .collect();
        let mut object = json!({"metadata": {"name": uid, "namespace": namespace, "uid": uid,
            "ownerReferences": owners, "finalizers": finalizers}});
        if !finalizers.is_empty() {
            object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        (resources::find_kind(version, kind).unwrap(), object)
    }

    #[test]
    fn what_follows() {
        let set = || object("StatefulSet", "s", "d", &[], &[]);
        let pod = |owners: &[(&str, &str, bool)]| object("Pod", "p", "d", owners, &[]);
        #[rustfmt::skip]
        let cases = [
            ("an owned pod stays",                          vec![set(), pod(&[("StatefulSet", "s", true)])], "p", "-"),
            ("without its owner it goes",                   vec![pod(&[("StatefulSet", "s", true)])], "p", "delete p None"),
            ("an owner in another namespace does not count", vec![object("StatefulSet", "s", "e", &[], &[]), pod(&[("StatefulSet", "s", true)])], "p", "delete p None"),
            ("an owner of another kind does not count",     vec![object("Deployment", "s", "d", &[], &[]), pod(&[("StatefulSet", "s", true)])], "p", "delete p None"),
            ("a cluster-scoped owner counts",               vec![object("Node", "n", "", &[], &[]), pod(&[("Node", "n", true)])], "p", "-"),
            ("kinds that are not served are left alone",    vec![pod(&[("Widget", "w", true)])], "p", "-"),
            ("a second owner keeps it",                     vec![set(), pod(&[("StatefulSet", "s", true), ("StatefulSet", "t", true)])], "p", "forget p [\"t\"]"),
            ("foreground deletes the dependents first",     vec![object("StatefulSet", "s", "d", &[], &[FOREGROUND]), pod(&[("StatefulSet", "s", true)])], "s", "delete p None"),
            ("foreground ends when none blocks",            vec![object("StatefulSet", "s", "d", &[], &[FOREGROUND]), pod(&[("StatefulSet", "s", false)])], "s", "release s foregroundDeletion"),
            ("orphan forgets, then ends",                   vec![object("StatefulSet", "s", "d", &[], &[ORPHAN]), pod(&[("StatefulSet", "s", true)])], "s", "forget p [\"s\"], release s orphan"),
        ];
        for (why, objects, uid, want) in cases {
            let mut graph = Graph::default();
            for (resource, object) in &objects {
                graph.insert(resource, object);
            }
            let shown: Vec<String> = graph
                .decide(uid)
                .iter()
                .map(|it| match it {
                    Action::Delete { uid, propagation, .. } => format!("delete {uid} {propagation:?}"),
                    Action::Forget { uid, owners, .. } => format!("forget {uid} {owners:?}"),
                    Action::Release { uid, finalizer, .. } => format!("release {uid} {finalizer}"),
                })
                .collect();
            let shown = if shown.is_empty() { "-".to_owned() } else { shown.join(", ") };
            assert_eq!(shown, want, "{why}");
        }
    }

    #[test]
    fn a_deletion_asks_about_dependents_and_waiting_owners() {
        let mut graph = Graph::default();
        let (sets, set) = object("StatefulSet", "s", "d", &[], &[]);
        let (pods, pod) = object("Pod", "p", "d", &[("StatefulSet", "s", true)], &[]);
        graph.observe(sets, &set, Change::Added);
        graph.observe(pods, &pod, Change::Added);
        assert_eq!(graph.observe(sets, &set, Change::Deleted), ["p"]);
        let (_, waiting) = object("StatefulSet", "s", "d", &[], &[FOREGROUND]);
        graph.observe(sets, &waiting, Change::Added);
        assert_eq!(graph.observe(pods, &pod, Change::Deleted), ["s"]);
    }
}
