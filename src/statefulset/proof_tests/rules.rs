//! What a controller may send, judged by what it can see at that moment.
//!
//! The rules are the invariants once more, written against the caches rather than against a plan. They hold for every
//! request, whatever has failed before it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::Value;

use super::super::model::{
    ClaimView, LABEL_REVISION, Ordinal, Phase, PodManagement, PodView, SetSpec, UpdateStrategy,
    parse_pod_name,
};
use super::super::reconcile::Stores;
use super::super::revision;
use super::cluster::{self, NAMESPACE};
use super::gateway::{Call, Site};
use crate::apiserver::ApiServer;
use crate::apiserver::object::Key;
use crate::k8s::watch::parse_version;
use crate::model::ObjectKey;

/// How far each stream has come, by plural name.
pub type Shown = Arc<Mutex<BTreeMap<&'static str, u64>>>;

/// A write of the controller that was answered.
struct Own {
    sync: u64,
    plural: String,
    name: String,
    uid: String,
    version: u64,
    deleted: bool,
}

pub struct Judge {
    stores: Stores,
    shown: Shown,
    server: ApiServer,
    own: Vec<Own>,
    /// Number of the sync under way.
    sync: u64,
    /// The set was looked at uncached in this sync.
    looked: bool,
    /// The writes of a leader that was replaced are judged by uid alone.
    pub set: ObjectKey,
}

fn text<'v>(value: &'v Value, at: &str) -> &'v str {
    value.pointer(at).and_then(Value::as_str).unwrap_or_default()
}

impl Judge {
    pub fn new(stores: Stores, shown: Shown, server: ApiServer) -> Self {
        let set = ObjectKey::new(NAMESPACE, "web");
        Self { stores, shown, server, own: Vec::new(), sync: 0, looked: false, set }
    }

    /// A sync begins.
    pub fn begin(&mut self) {
        self.sync += 1;
        self.looked = false;
        let (stores, shown) = (self.stores.clone(), self.shown.lock().unwrap().clone());
        self.own.retain(|it| !is_shown(&stores, &shown, it));
    }

    /// Which kind of request it is, and what is wrong about it.
    pub fn judge(&mut self, call: &Call) -> (Site, Option<String>) {
        let set = self.stores.sets.get(&self.set);
        if call.method == Method::GET {
            self.looked |= call.plural == "statefulsets";
            return (Site::Other, None);
        }
        let Some(set) = set else {
            return (Site::Other, Some(format!("a write without a set: {call:?}")));
        };
        let (site, verdict) = match (call.method.as_str(), call.plural.as_str()) {
            ("POST", "pods") => (Site::PodCreate, self.pod_create(&set, call)),
            ("PATCH", "pods") => (Site::PodPatch, self.pod_patch(&set, call)),
            ("DELETE", "pods") => self.pod_delete(&set, call),
            ("POST", "persistentvolumeclaims") => (Site::ClaimCreate, self.claim_create(&set, call)),
            ("PUT", "persistentvolumeclaims") => (Site::ClaimUpdate, self.claim_update(&set, call)),
            ("POST", "controllerrevisions") => (Site::RevisionCreate, self.revision_create(&set, call)),
            ("PATCH", "controllerrevisions") => (Site::RevisionUpdate, self.revision_update(&set, call)),
            ("DELETE", "controllerrevisions") => (Site::RevisionDelete, self.revision_delete(&set, call)),
            ("PATCH", "statefulsets") if call.status => (Site::Status, self.status(call)),
            ("POST" | "PATCH", "events") => (Site::Other, Ok(())),
            _ => (Site::Other, Err("INV-5: such a write is never made".to_owned())),
        };
        let told = |why| format!("{why}\n  by {} {} {} {}", call.method, call.plural, call.name, call.body);
        (site, verdict.err().map(told))
    }

    /// Notes what the API server answered.
    pub fn answered(&mut self, call: &Call, answer: &Value) -> Option<String> {
        if call.method == Method::GET || call.plural == "events" {
            return None;
        }
        let deleted = call.method == Method::DELETE;
        let gone = deleted && answer["kind"] == "Status";
        let uid = if gone { text(answer, "/details/uid") } else { text(answer, "/metadata/uid") };
        self.own.push(Own {
            sync: self.sync,
            plural: call.plural.clone(),
            name: call.name.clone(),
            uid: uid.to_owned(),
            version: if gone { 0 } else { parse_version(answer["metadata"]["resourceVersion"].as_str()) },
            deleted,
        });
        None
    }

    fn fresh(&self) -> Result<(), String> {
        let shown = self.shown.lock().unwrap();
        let stale = self.own.iter().find(|it| it.sync < self.sync && !is_shown(&self.stores, &shown, it));
        match stale {
            Some(it) => {
                Err(format!("INV-3: the view does not show the own write to {} {}", it.plural, it.name))
            }
            None => Ok(()),
        }
    }

    fn pod(&self, name: &str) -> Option<Arc<PodView>> {
        self.stores.pods.get(&ObjectKey::new(NAMESPACE, name))
    }

    /// Deleted by us, whether the view shows it or not.
    fn deleted_by_us(&self) -> BTreeSet<&str> {
        self.own.iter().filter(|it| it.deleted && it.plural == "pods").map(|it| it.uid.as_str()).collect()
    }

    fn available(&self, set: &SetSpec, ordinal: u32) -> bool {
        let pod = self.pod(&set.pod_name(Ordinal(ordinal)));
        pod.is_some_and(|it| {
            !it.deleting
                && it.owner.as_ref().is_some_and(|owner| owner.uid == set.uid)
                && it.available(set.min_ready_seconds, cluster::controller_now())
                && !self.deleted_by_us().contains(it.uid.as_str())
        })
    }

    fn unavailable(&self, set: &SetSpec) -> u32 {
        (set.start..set.end()).filter(|it| !self.available(set, *it)).count() as u32
    }

    /// Names of the revisions that record the set's template.
    fn update_names(&self, set: &SetSpec) -> Vec<String> {
        let (_, all) = self.server.store().list(cluster::revisions(), Some(NAMESPACE));
        let same = |it: &Value| revision::encode(&it["data"]) == set.revision_data;
        all.iter().filter(|it| same(&it.value)).map(|it| it.key.name.clone()).collect()
    }

    fn pod_create(&self, set: &SetSpec, call: &Call) -> Result<(), String> {
        self.fresh()?;
        let ordinal = parse_pod_name(&call.name).and_then(|it| it.1).ok_or("a pod without an ordinal")?;
        if self.pod(&call.name).is_some() {
            return Err("INV-1: a pod of that name is known".into());
        }
        if set.deleting || !set.in_range(ordinal) {
            return Err(format!("{ordinal} should not exist"));
        }
        if text(&call.body, "/metadata/ownerReferences/0/uid") != set.uid {
            return Err("INV-4: the set does not own its pod".into());
        }
        if set.management == PodManagement::OrderedReady
            && let Some(it) = (set.start..ordinal.0).find(|it| !self.available(set, *it))
        {
            return Err(format!("INV-6: {it} is not available"));
        }
        let old = match &set.strategy {
            UpdateStrategy::RollingUpdate(Some(it)) => ordinal.0 < set.start + it.partition,
            UpdateStrategy::RollingUpdate(None) => return Ok(()),
            _ => false,
        };
        let image = |template: &Value| text(template, "/spec/containers/0/image").to_owned();
        let update = image(&set.template);
        let key = Key::new(NAMESPACE, set.status.current_revision.as_str());
        let current = self.server.store().get(cluster::revisions(), &key);
        let current =
            current.map_or_else(|| update.clone(), |it| image(&it.value["data"]["spec"]["template"]));
        let want = if old { current } else { update };
        if image(&call.body) == want { Ok(()) } else { Err(format!("INV-9: the image should be {want}")) }
    }

    fn pod_patch(&self, set: &SetSpec, call: &Call) -> Result<(), String> {
        let pod = self.pod(&call.name).ok_or("nothing is known of the pod")?;
        if text(&call.body, "/metadata/uid") != pod.uid {
            return Err("INV-4: the uid is no precondition".into());
        }
        let ours = pod.owner.as_ref().is_some_and(|it| it.uid == set.uid);
        if set.deleting {
            return Err("the set is being deleted".into());
        }
        match call.body.pointer("/metadata/ownerReferences/0") {
            Some(it) if it.get("$patch").is_some() && ours => Ok(()),
            Some(it) if it.get("$patch").is_some() => Err("INV-4: released from somebody else".into()),
            Some(_) if pod.owner.is_some() => Err("INV-4: adopted from somebody else".into()),
            Some(_) if !set.selector.matches(&pod.labels) || pod.parent() != Some(&set.key.name) => {
                Err("INV-4: adopted, although selector or name do not match".into())
            }
            Some(_) if !self.looked => Err("INV-4: adopted without an uncached look at the set".into()),
            Some(_) => Ok(()),
            None if ours => self.fresh(),
            None => Err("INV-4: not our pod".into()),
        }
    }

    fn pod_delete(&self, set: &SetSpec, call: &Call) -> (Site, Result<(), String>) {
        let Some(pod) = self.pod(&call.name) else {
            return (Site::Other, Err("nothing is known of the pod".into()));
        };
        let condemned = pod.ordinal.is_none_or(|it| !set.in_range(it));
        let ended = matches!(pod.phase, Phase::Failed | Phase::Succeeded);
        let site = match (condemned, ended) {
            (true, _) => Site::PodDeleteCondemned,
            (_, true) => Site::PodDeleteEnded,
            _ => Site::PodDeleteOutdated,
        };
        (site, self.may_delete(set, &pod, call, site))
    }

    fn may_delete(&self, set: &SetSpec, pod: &PodView, call: &Call, site: Site) -> Result<(), String> {
        self.fresh()?;
        if set.deleting {
            return Err("the set is being deleted".into());
        }
        if !call.body["gracePeriodSeconds"].is_null() {
            return Err("INV-2: the grace period is the pod's own".into());
        }
        let conditions = &call.body["preconditions"];
        if text(conditions, "/uid") != pod.uid {
            return Err("INV-3: the uid is no precondition".into());
        }
        if pod.owner.as_ref().is_none_or(|it| it.uid != set.uid) {
            return Err("INV-4: not our pod".into());
        }
        if pod.deleting {
            return Err("it is terminating already".into());
        }
        let ordered = set.management == PodManagement::OrderedReady;
        let ordinal = pod.ordinal.map_or(0, |it| it.0);
        let available = pod.available(set.min_ready_seconds, cluster::controller_now());
        let of_status = site == Site::PodDeleteEnded || site == Site::PodDeleteOutdated && !available;
        if of_status && text(conditions, "/resourceVersion") != pod.resource_version {
            return Err("INV-3: the status is no precondition".into());
        }
        if site == Site::PodDeleteCondemned {
            let higher = self.stores.pods.list().into_iter().filter(|it| {
                it.owner.as_ref().is_some_and(|it| it.uid == set.uid)
                    && it.ordinal.is_some_and(|it| !set.in_range(it) && it.0 > ordinal)
            });
            if ordered && set.strategy != UpdateStrategy::Recreate && higher.count() > 0 {
                return Err("INV-6: a higher ordinal is there".into());
            }
            if ordered && set.strategy != UpdateStrategy::Recreate && self.unavailable(set) > 0 {
                return Err("INV-6: one that stays is not available".into());
            }
        }
        if site == Site::PodDeleteOutdated {
            let names = self.update_names(set);
            let label = pod.labels.get(LABEL_REVISION).cloned().unwrap_or_default();
            if names.contains(&label) && has_claims(set, pod) {
                return Err("INV-7: it is up to date".into());
            }
            if ordinal < set.first_updatable() {
                return Err("INV-7: it lies below the partition".into());
            }
            let higher = (ordinal + 1..set.end()).map(|it| set.pod_name(Ordinal(it))).find(|it| {
                self.pod(it).is_some_and(|it| {
                    let at = it.ordinal.map_or(0, |it| it.0);
                    !names.contains(&it.labels.get(LABEL_REVISION).cloned().unwrap_or_default())
                        && self.available(set, at)
                })
            });
            if let Some(higher) = higher.filter(|_| available && set.strategy != UpdateStrategy::Recreate) {
                return Err(format!("INV-7: {higher} is higher"));
            }
            let within = self.unavailable(set) < set.max_unavailable();
            if set.strategy != UpdateStrategy::Recreate && available && !within {
                return Err(format!("INV-8: {} are not available", self.unavailable(set)));
            }
        }
        Ok(())
    }

    fn claim_create(&self, set: &SetSpec, call: &Call) -> Result<(), String> {
        self.fresh()?;
        let known = self.stores.claims.get(&ObjectKey::new(NAMESPACE, call.name.as_str()));
        let mut ordinals = (set.start..set.end()).map(Ordinal);
        let ours = |it: Ordinal| set.claim_templates.iter().any(|t| set.claim_name(t, it) == call.name);
        match known {
            Some(_) => Err("the claim is known".into()),
            None if set.deleting => Err("the set is being deleted".into()),
            None if !ordinals.any(ours) => Err("INV-5: no ordinal in range has that claim".into()),
            None => Ok(()),
        }
    }

    fn claim_update(&self, set: &SetSpec, call: &Call) -> Result<(), String> {
        let key = ObjectKey::new(NAMESPACE, call.name.as_str());
        let known = self.stores.claims.get(&key).ok_or("nothing is known of the claim")?;
        let stored = self.server.store().get(cluster::claims(), &Key::new(NAMESPACE, call.name.as_str()));
        if let Some(stored) = stored {
            let mut old = stored.value.clone();
            let mut new = call.body.clone();
            let fixed = old["metadata"]["resourceVersion"] == new["metadata"]["resourceVersion"];
            for it in [&mut old, &mut new] {
                it["metadata"]["ownerReferences"] = Value::Null;
                it["metadata"]["managedFields"] = Value::Null;
            }
            if fixed && old != new {
                return Err("INV-5: more than the owners changes".into());
            }
        }
        let foreign =
            |it: &ClaimView| it.owners.iter().filter(|it| it.uid != set.uid && it.kind != "Pod").count();
        let kept = call.body["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        let kept = kept.filter(|it| it["uid"] != set.uid.as_str() && it["kind"] != "Pod").count();
        if set.deleting || kept != foreign(&known) {
            return Err("INV-5: owners of others stay".into());
        }
        Ok(())
    }

    fn revision_create(&self, set: &SetSpec, call: &Call) -> Result<(), String> {
        self.fresh()?;
        let data = revision::encode(&call.body["data"]);
        let (_, all) = self.server.store().list(cluster::revisions(), Some(NAMESPACE));
        let owned = |it: &Value| text(it, "/metadata/ownerReferences/0/uid") == set.uid;
        // One of that name answers with AlreadyExists.
        let other = all.iter().find(|it| {
            owned(&it.value) && revision::encode(&it.value["data"]) == data && it.key.name != call.name
        });
        match other {
            Some(it) => Err(format!("INV-10: {} records the template", it.key.name)),
            None => Ok(()),
        }
    }

    fn revision_update(&self, set: &SetSpec, call: &Call) -> Result<(), String> {
        let Some(number) = call.body["revision"].as_i64() else { return Ok(()) };
        self.fresh()?;
        let all = self.stores.revisions.list();
        let mut owned = all.iter().filter(|it| it.owner.as_ref().is_some_and(|it| it.uid == set.uid));
        if owned.any(|it| it.number >= number) {
            Err("INV-11: the number does not grow".into())
        } else {
            Ok(())
        }
    }

    fn revision_delete(&self, set: &SetSpec, call: &Call) -> Result<(), String> {
        let pods = self.stores.pods.list();
        // A pod that is being released is not ours any more.
        let ours = |it: &&Arc<PodView>| {
            it.owner.as_ref().is_some_and(|it| it.uid == set.uid) && set.selector.matches(&it.labels)
        };
        let mut owned = pods.iter().filter(ours);
        if owned.any(|it| it.revision() == call.name) || self.update_names(set).contains(&call.name) {
            return Err("INV-10: the revision is in use".into());
        }
        Ok(())
    }

    fn status(&self, call: &Call) -> Result<(), String> {
        let stored = self.server.store().get(cluster::sets(), &Key::new(NAMESPACE, "web"));
        let Some(stored) = stored else { return Ok(()) };
        if !call.body["metadata"]["resourceVersion"].is_string() {
            return Err("INV-11: the resourceVersion is no precondition".into());
        }
        let same = stored.value["metadata"]["resourceVersion"] == call.body["metadata"]["resourceVersion"];
        let generation = |it: &Value| it["status"]["observedGeneration"].as_i64().unwrap_or(0);
        if same && generation(&call.body) < generation(&stored.value) {
            return Err("INV-11: the observed generation goes backwards".into());
        }
        Ok(())
    }
}

fn is_shown(stores: &Stores, shown: &BTreeMap<&'static str, u64>, own: &Own) -> bool {
    if own.version == 0 {
        let pod = stores.pods.get(&ObjectKey::new(NAMESPACE, own.name.as_str()));
        let revision = stores.revisions.get(&ObjectKey::new(NAMESPACE, own.name.as_str()));
        return pod.is_none_or(|it| it.uid != own.uid) && revision.is_none_or(|it| it.uid != own.uid);
    }
    shown.get(own.plural.as_str()).is_some_and(|it| *it >= own.version)
}

/// Whether the pod mounts the claim of every template.
fn has_claims(set: &SetSpec, pod: &PodView) -> bool {
    let has = |name: &str| pod.claims.iter().any(|it| it.0 == name);
    set.claim_templates.iter().all(|it| has(&it.name))
}
