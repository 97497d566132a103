//! Plays a snapshot controller and its storage driver: a snapshot of a bound claim becomes ready after a delay, and its
//! content goes when the snapshot does, if the class says so. Nothing is copied; there is no data.
//!
//! Keys with a namespace are snapshots, keys without one are contents.
//! Differs: no finalizers: what a snapshot leaves behind is removed when its deletion is seen.
//! Source: kubernetes-csi/external-snapshotter `pkg/common-controller/snapshot_controller.go`.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::events::{Note, Recorder, Source};
use super::machine::{exists, is_code, seconds};
use super::objects::{KnownClaim, KnownContent, KnownSnapshot, KnownSnapshotClass};
use super::volumes;
use crate::k8s::watch::{Cached as _, Store};
use crate::model::ObjectKey;
use crate::model::snapshots::{VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent};
use crate::runtime::{Next, Reconcile};

const DEFAULT_ANNOTATION: &str = "snapshot.storage.kubernetes.io/is-default-class";
/// Second look after another writer was faster.
const RECHECK: Duration = Duration::from_millis(100);
/// Second look at a snapshot that cannot be taken.
const PATIENCE: Duration = Duration::from_secs(5);

/// Name of the content of a snapshot that is taken of a claim.
pub fn content_name(uid: &str) -> String {
    format!("snapcontent-{uid}")
}

/// The class a snapshot names, or the default one.
pub fn class_of<'a>(
    snapshot: &VolumeSnapshot,
    classes: &'a [VolumeSnapshotClass],
) -> Result<&'a VolumeSnapshotClass, Note> {
    let is_default = |it: &&VolumeSnapshotClass| {
        let annotations = it.metadata.annotations.as_ref();
        annotations.and_then(|it| it.get(DEFAULT_ANNOTATION)).is_some_and(|it| it == "true")
    };
    match &snapshot.spec.volume_snapshot_class_name {
        Some(name) => classes.iter().find(|it| it.metadata.name.as_ref() == Some(name)).ok_or_else(|| {
            let why = format!("volumesnapshotclass.snapshot.storage.k8s.io {name:?} not found");
            let message = format!("Failed to get snapshot class with error {why}");
            Note::warning(Source::Snapshots, "GetSnapshotClassFailed", message)
        }),
        None => classes.iter().find(is_default).ok_or_else(|| {
            let message =
                "Failed to set default snapshot class with error cannot find default snapshot class";
            Note::warning(Source::Snapshots, "SetDefaultSnapshotClassFailed", message.to_owned())
        }),
    }
}

/// The content of a snapshot of `claim`, if that can be had.
pub fn content(
    snapshot: &VolumeSnapshot,
    class: &VolumeSnapshotClass,
    claim: Option<&PersistentVolumeClaim>,
) -> Result<Value, Note> {
    let meta = &snapshot.metadata;
    let name = snapshot.spec.source.persistent_volume_claim_name.as_deref().unwrap_or_default();
    let failed = |why: &str| {
        let message = format!("Failed to create snapshot content with error {why}");
        Err(Note::warning(Source::Snapshots, "SnapshotContentCreationFailed", message))
    };
    let Some(claim) = claim else {
        return failed(&format!("cannot get claim from snapshot: persistentvolumeclaims {name:?} not found"));
    };
    if !volumes::is_bound(claim) {
        return failed(&format!(
            "the PVC {name} is not yet bound to a PV, will not attempt to take a snapshot"
        ));
    }
    let volume = claim.spec.as_ref().and_then(|it| it.volume_name.as_deref()).unwrap_or_default();
    Ok(json!({
        "apiVersion": "snapshot.storage.k8s.io/v1",
        "kind": "VolumeSnapshotContent",
        "metadata": {"name": content_name(meta.uid.as_deref().unwrap_or_default())},
        "spec": {
            "deletionPolicy": class.deletion_policy,
            "driver": class.driver,
            "source": {"volumeHandle": volume},
            "sourceVolumeMode": claim.spec.as_ref().and_then(|it| it.volume_mode.as_deref()).unwrap_or("Filesystem"),
            "volumeSnapshotClassName": class.metadata.name,
            "volumeSnapshotRef": {
                "apiVersion": "snapshot.storage.k8s.io/v1",
                "kind": "VolumeSnapshot",
                "name": meta.name,
                "namespace": meta.namespace,
                "uid": meta.uid,
                "resourceVersion": meta.resource_version,
            },
        },
    }))
}

/// What the keeper of snapshots reads.
#[derive(Clone)]
pub struct Caches {
    /// What snapshots are taken of.
    pub claims: Store<KnownClaim>,
    /// The snapshots.
    pub snapshots: Store<KnownSnapshot>,
    /// Their contents.
    pub contents: Store<KnownContent>,
    /// Their classes.
    pub classes: Store<KnownSnapshotClass>,
}

/// The part of the node that looks after snapshots.
pub struct Snapshots {
    client: Client,
    recorder: Recorder,
    caches: Caches,
    delay: Duration,
    /// When each snapshot under way was begun, by uid, and the latest message about it.
    begun: Mutex<HashMap<String, (Instant, Option<String>)>>,
}

impl Snapshots {
    /// Over these caches; `delay` is how long a snapshot takes.
    pub fn new(client: Client, recorder: Recorder, caches: Caches, delay: Duration) -> Self {
        Self { client, recorder, caches, delay, begun: Mutex::default() }
    }

    fn api(&self, key: &ObjectKey) -> Api<VolumeSnapshot> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    fn contents(&self) -> Api<VolumeSnapshotContent> {
        Api::all(self.client.clone())
    }

    fn begun<R>(&self, uid: &str, f: impl FnOnce(&mut (Instant, Option<String>)) -> R) -> R {
        let mut begun = self.begun.lock().expect("no code panics while it holds the map");
        f(begun.entry(uid.to_owned()).or_insert_with(|| (Instant::now(), None)))
    }

    /// Tells once why the snapshot is not taken, in its status and an event.
    async fn refuse(&self, key: &ObjectKey, known: &KnownSnapshot, note: Note) -> kube::Result<Next> {
        let message = note.message.clone();
        if self.begun(known.uid(), |it| it.1.replace(message.clone()) != Some(message.clone())) {
            let error = json!({"message": message, "time": seconds(Timestamp::now())});
            let status = Patch::Merge(json!({"status": {"readyToUse": false, "error": error}}));
            self.api(key).patch_status(&key.name, &PatchParams::default(), &status).await?;
            self.recorder.record(&*known.object, note);
        }
        Ok(Next::After(PATIENCE))
    }

    async fn snapshot(&self, key: &ObjectKey) -> kube::Result<Next> {
        let Some(known) = self.caches.snapshots.get(key) else { return Ok(Next::Event) };
        let snapshot = &*known.object;
        let ready = snapshot.status.as_ref().is_some_and(|it| it.ready_to_use == Some(true));
        if ready || snapshot.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Event);
        }
        let name = match &snapshot.spec.source.volume_snapshot_content_name {
            Some(name) => name.clone(),
            None => match self.take(key, &known).await? {
                Ok(name) => name,
                Err(next) => return Ok(next),
            },
        };
        let Some(content) = self.contents().get_opt(&name).await? else {
            let message = format!("VolumeSnapshotContent {name} is missing");
            let note = Note::warning(Source::Snapshots, "SnapshotContentMissing", message);
            return self.refuse(key, &known, note).await;
        };
        let now = Timestamp::now();
        let size = content.status.as_ref().and_then(|it| it.restore_size).unwrap_or(0);
        let content_status = Patch::Merge(json!({"status": {
            "snapshotHandle": format!("snapshot-{}", known.uid()),
            "creationTime": i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX),
            "readyToUse": true,
            "restoreSize": size.max(self.size(&known)),
        }}));
        let params = PatchParams::default();
        self.contents().patch_status(&name, &params, &content_status).await?;
        let restore = match self.claim(&known).and_then(|it| it.object.status.clone()?.capacity) {
            Some(capacity) => json!(capacity.get("storage")),
            None => json!(size.to_string()),
        };
        let status = Patch::Merge(json!({"status": {
            "boundVolumeSnapshotContentName": name,
            "creationTime": seconds(now),
            "readyToUse": true,
            "restoreSize": restore,
            "error": null,
        }}));
        self.api(key).patch_status(&key.name, &params, &status).await?;
        for (reason, what) in [
            ("SnapshotCreated", "was successfully created by the CSI driver"),
            ("SnapshotReady", "is ready to use"),
        ] {
            let note = Note::normal(Source::Snapshots, reason, format!("Snapshot {key} {what}."));
            self.recorder.record(snapshot, note);
        }
        self.begun.lock().expect("no code panics while it holds the map").remove(known.uid());
        Ok(Next::Event)
    }

    fn claim(&self, known: &KnownSnapshot) -> Option<std::sync::Arc<KnownClaim>> {
        let name = known.object.spec.source.persistent_volume_claim_name.as_deref()?;
        self.caches.claims.get(&ObjectKey::new(known.key().namespace, name))
    }

    /// Bytes of the claim a snapshot is taken of.
    fn size(&self, known: &KnownSnapshot) -> i64 {
        let capacity = self.claim(known).and_then(|it| it.object.status.clone()?.capacity);
        capacity.and_then(|it| it.get("storage").map(volumes::bytes)).map_or(0, |it| it as i64)
    }

    /// Makes the content of a snapshot of a claim; its name once the delay is over.
    async fn take(&self, key: &ObjectKey, known: &KnownSnapshot) -> kube::Result<Result<String, Next>> {
        let snapshot = &*known.object;
        let classes: Vec<_> = self.caches.classes.list().iter().map(|it| (*it.object).clone()).collect();
        let class = match class_of(snapshot, &classes) {
            Ok(class) => class,
            Err(note) => return self.refuse(key, known, note).await.map(Err),
        };
        let claim = self.claim(known);
        let made = match content(snapshot, class, claim.as_ref().map(|it| &*it.object)) {
            Ok(made) => made,
            Err(note) => return self.refuse(key, known, note).await.map(Err),
        };
        if snapshot.spec.volume_snapshot_class_name.is_none() {
            let patch = Patch::Merge(json!({"spec": {"volumeSnapshotClassName": class.metadata.name}}));
            self.api(key).patch(&key.name, &PatchParams::default(), &patch).await?;
        }
        let (since, first) = self.begun(known.uid(), |it| {
            let first = it.1.as_deref() != Some("");
            it.1 = Some(String::new());
            (it.0, first)
        });
        if first {
            let message = format!("Waiting for a snapshot {key} to be created by the CSI driver.");
            self.recorder.record(snapshot, Note::normal(Source::Snapshots, "CreatingSnapshot", message));
            let made = serde_json::from_value(made).map_err(kube::Error::SerdeError)?;
            exists(self.contents().create(&PostParams::default(), &made).await)?;
        }
        match self.delay.checked_sub(since.elapsed()).filter(|it| !it.is_zero()) {
            Some(rest) => Ok(Err(Next::After(rest))),
            None => Ok(Ok(content_name(known.uid()))),
        }
    }

    /// A content whose snapshot is gone goes too, if its policy says so.
    async fn content(&self, key: &ObjectKey) -> kube::Result<Next> {
        let Some(known) = self.caches.contents.get(key) else { return Ok(Next::Event) };
        let spec = &known.object.spec;
        let reference = &spec.volume_snapshot_ref;
        let (Some(namespace), Some(name), Some(uid)) =
            (&reference.namespace, &reference.name, &reference.uid)
        else {
            return Ok(Next::Event);
        };
        let current = self.api(&ObjectKey::new(namespace, name)).get_opt(name).await?;
        let alive = current.is_some_and(|it| it.metadata.uid.as_ref() == Some(uid));
        if alive || spec.deletion_policy != "Delete" || known.object.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Event);
        }
        let only = Preconditions { uid: known.object.metadata.uid.clone(), resource_version: None };
        self.contents().delete(&key.name, &DeleteParams::default().preconditions(only)).await?;
        Ok(Next::Event)
    }
}

impl Reconcile for Snapshots {
    type Error = kube::Error;

    async fn reconcile(&self, key: &ObjectKey) -> kube::Result<Next> {
        let done = if key.namespace.is_empty() { self.content(key).await } else { self.snapshot(key).await };
        match done {
            Err(error) if is_code(&error, 404) || is_code(&error, 409) => Ok(Next::After(RECHECK)),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str, default: &str) -> VolumeSnapshotClass {
        let annotations = json!({DEFAULT_ANNOTATION: default});
        let class = json!({"metadata": {"name": name, "annotations": annotations}, "driver": "d", "deletionPolicy": "Delete"});
        serde_json::from_value(class).expect("a class")
    }

    fn snapshot(class: Option<&str>) -> VolumeSnapshot {
        let spec = json!({"source": {"persistentVolumeClaimName": "c"}, "volumeSnapshotClassName": class});
        serde_json::from_value(json!({"metadata": {"name": "s", "namespace": "n", "uid": "u"}, "spec": spec}))
            .expect("a snapshot")
    }

    #[test]
    fn a_snapshot_has_the_class_it_names_or_the_default_one() {
        let (plain, default) = ([class("a", "false")], [class("a", "false"), class("b", "true")]);
        #[rustfmt::skip]
        let cases = [
            (Some("a"), &default[..], Ok("a")), (None, &default[..], Ok("b")),
            (Some("x"), &default[..], Err("GetSnapshotClassFailed")),
            (None,      &plain[..],   Err("SetDefaultSnapshotClassFailed")),
        ];
        for (named, classes, want) in cases {
            let found = class_of(&snapshot(named), classes);
            let found =
                found.as_ref().map(|it| it.metadata.name.as_deref().unwrap_or("")).map_err(|it| it.reason);
            assert_eq!(found, want, "{named:?}");
        }
    }

    #[test]
    fn a_content_needs_a_bound_claim() {
        let (snapshot, class) = (snapshot(Some("a")), class("a", "false"));
        let claim = |phase: &str| -> PersistentVolumeClaim {
            serde_json::from_value(json!({"spec": {"volumeName": "v"}, "status": {"phase": phase}}))
                .expect("a claim")
        };
        let made = content(&snapshot, &class, Some(&claim("Bound"))).expect("bound");
        assert_eq!(made["metadata"]["name"], "snapcontent-u");
        assert_eq!(made["spec"]["source"]["volumeHandle"], "v");
        assert_eq!(made["spec"]["volumeSnapshotRef"]["name"], "s");
        for other in [None, Some(claim("Pending"))] {
            let refused = content(&snapshot, &class, other.as_ref()).expect_err("no volume");
            assert_eq!(refused.reason, "SnapshotContentCreationFailed");
        }
    }
}
