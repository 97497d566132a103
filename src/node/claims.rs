//! Carries out claim binding and what follows from it: protection finalizers, growth, loss, release and removal of
//! volumes.
//!
//! Keys with a namespace are claims, keys without one are volumes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::events::{Note, Recorder, Source};
use super::machine::{exists, is_code};
use super::objects::{KnownClaim, KnownClass, KnownPod, KnownSnapshot, KnownVolume, claim_bucket};
use super::provision::{self, Consumer, Origin};
use super::schedule;
use super::volumes::{self, CLAIM_PROTECTION, Request, VOLUME_PROTECTION};
use crate::k8s::watch::{Cached as _, Store};
use crate::model::ObjectKey;
use crate::runtime::{Next, Reconcile};

const DEFAULT_ANNOTATION: &str = "storageclass.kubernetes.io/is-default-class";
/// Second look after another writer was faster.
const RECHECK: Duration = Duration::from_millis(100);
/// How long a claim waits for volumes of its manifest before one is made: claims and volumes come by different watches.
const SETTLE: Duration = Duration::from_millis(20);
/// Second look at what an unbound claim waits for, in case its source is not watched.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the keeper of claims reads.
#[derive(Clone)]
pub struct Caches {
    /// Who mounts claims.
    pub pods: Store<KnownPod>,
    /// The claims.
    pub claims: Store<KnownClaim>,
    /// The volumes.
    pub volumes: Store<KnownVolume>,
    /// The storage classes.
    pub classes: Store<KnownClass>,
    /// What claims are restored from.
    pub snapshots: Store<KnownSnapshot>,
}

/// What is remembered about an unbound claim.
struct Memory {
    uid: String,
    since: Instant,
    /// Reason and message of the latest event about its waiting.
    told: Option<(&'static str, String)>,
}

/// The part of the node that looks after claims and volumes.
pub struct Claims {
    client: Client,
    recorder: Recorder,
    caches: Caches,
    /// Volumes made by hand that were chosen, by name; the value is the uid of the claim.
    chosen: Mutex<HashMap<String, String>>,
    waiting: Mutex<HashMap<ObjectKey, Memory>>,
}

impl Claims {
    /// Over these caches.
    pub fn new(client: Client, recorder: Recorder, caches: Caches) -> Self {
        Self { client, recorder, caches, chosen: Mutex::default(), waiting: Mutex::default() }
    }

    fn claim_api(&self, key: &ObjectKey) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    fn volume_api(&self) -> Api<PersistentVolume> {
        Api::all(self.client.clone())
    }

    fn default_class(&self) -> String {
        let mut names: Vec<String> = self
            .caches
            .classes
            .list()
            .into_iter()
            .filter(|it| {
                let annotations = it.object.metadata.annotations.as_ref();
                annotations.and_then(|it| it.get(DEFAULT_ANNOTATION)).is_some_and(|it| it == "true")
            })
            .map(|it| it.key().name)
            .collect();
        names.sort_unstable();
        names.into_iter().next().unwrap_or_default()
    }

    fn consumer(&self, key: &ObjectKey) -> Consumer {
        let pods = self.caches.pods.by_index(&claim_bucket(&key.namespace, &key.name));
        let wants = |it: &Arc<KnownPod>| it.object.metadata.deletion_timestamp.is_none();
        if pods.iter().any(wants) { Consumer::Known } else { Consumer::None }
    }

    /// The volume `claim` is to be bound to, if there is one already; only one set aside for it unless `free`.
    fn choose(&self, known: &KnownClaim, request: &Request, free: bool) -> Option<String> {
        let claim = &*known.object;
        let mut chosen = self.chosen.lock().expect("no code panics while it holds the map");
        if let Some((name, _)) = chosen.iter().find(|(_, uid)| *uid == known.uid()) {
            return Some(name.clone());
        }
        let mut fitting: Vec<_> = self
            .caches
            .volumes
            .list()
            .into_iter()
            .filter(|it| !chosen.contains_key(&it.key().name) && volumes::matches(&it.object, claim, request))
            .filter(|it| free || volumes::is_prebound(&it.object, claim))
            .collect();
        // One set aside for this claim first, then the smallest.
        fitting.sort_by(|a, b| {
            let rank =
                |it: &KnownVolume| (!volumes::belongs(&it.object, claim), volumes::capacity(&it.object));
            rank(a)
                .partial_cmp(&rank(b))
                .unwrap_or(std::cmp::Ordering::Equal)
                .then_with(|| a.key().cmp(&b.key()))
        });
        let name = fitting.first()?.key().name;
        chosen.insert(name.clone(), known.uid().to_owned());
        Some(name)
    }

    fn release_choice(&self, volume: &str) {
        self.chosen.lock().expect("no code panics while it holds the map").remove(volume);
    }

    /// What is remembered about a claim that is seen unbound.
    fn remember<R>(&self, key: &ObjectKey, uid: &str, change: impl FnOnce(&mut Memory) -> R) -> R {
        let mut waiting = self.waiting.lock().expect("no code panics while it holds the map");
        let fresh = || Memory { uid: uid.to_owned(), since: Instant::now(), told: None };
        let memory = waiting.entry(key.clone()).or_insert_with(fresh);
        if memory.uid != uid {
            *memory = fresh();
        }
        change(memory)
    }

    /// Says once what the claim waits for.
    fn wait(&self, key: &ObjectKey, known: &KnownClaim, note: Note) -> Next {
        let told = (note.reason, note.message.clone());
        let news = self.remember(key, known.uid(), |it| it.told.replace(told.clone()) != Some(told));
        if news {
            self.recorder.record(&*known.object, note);
        }
        Next::After(PATIENCE)
    }

    async fn bind(&self, key: &ObjectKey, known: &KnownClaim) -> kube::Result<Next> {
        let claim = &*known.object;
        let request = volumes::request(claim, &self.default_class());
        let class = self.caches.classes.get(&ObjectKey::new("", &request.class));
        let class = class.as_ref().map(|it| &*it.object);
        let consumer = self.consumer(key);
        let may_bind = consumer == Consumer::Known || !provision::waits_for_consumer(class);
        let origin = provision::origin(claim);
        let named = claim.spec.as_ref().and_then(|it| it.volume_name.clone()).filter(|it| !it.is_empty());
        let existing = named
            .or_else(|| (origin == Origin::Empty).then(|| self.choose(known, &request, may_bind)).flatten());
        let name = if let Some(name) = existing {
            name
        } else {
            if let Err(note) = provision::permission(&request, class, consumer) {
                return Ok(self.wait(key, known, note));
            }
            if let Err(note) = self.content(key, &origin, &request) {
                return Ok(self.wait(key, known, note));
            }
            let seen = self.remember(key, known.uid(), |it| it.since.elapsed());
            if let Some(rest) = SETTLE.checked_sub(seen).filter(|it| !it.is_zero()) {
                return Ok(Next::After(rest));
            }
            let Some(class) = class else { return Ok(Next::Event) };
            let filled_from = match &origin {
                Origin::Snapshot(name) | Origin::Claim(name) => Some(name.as_str()),
                Origin::Empty | Origin::Foreign => None,
            };
            let volume = volumes::provision(claim, &request, class, filled_from);
            let volume = serde_json::from_value(volume).map_err(kube::Error::SerdeError)?;
            exists(self.volume_api().create(&PostParams::default(), &volume).await)?;
            let name = format!("pvc-{}", known.uid());
            let message = format!("Successfully provisioned volume {name}");
            self.recorder.record(claim, Note::normal(Source::Volumes, "ProvisioningSucceeded", message));
            name
        };
        self.join(key, known, &name, &request).await
    }

    fn content(&self, key: &ObjectKey, origin: &Origin, request: &Request) -> Result<(), Note> {
        let beside = |name: &str| ObjectKey::new(&key.namespace, name);
        let (snapshot, claim) = match origin {
            Origin::Snapshot(name) => (self.caches.snapshots.get(&beside(name)), None),
            Origin::Claim(name) => (None, self.caches.claims.get(&beside(name))),
            Origin::Empty | Origin::Foreign => (None, None),
        };
        let snapshot = snapshot.as_ref().map(|it| &*it.object);
        provision::content(origin, request, snapshot, claim.as_ref().map(|it| &*it.object))
    }

    /// Writes both sides of a binding.
    async fn join(
        &self,
        key: &ObjectKey,
        known: &KnownClaim,
        name: &str,
        request: &Request,
    ) -> kube::Result<Next> {
        let (claim, api) = (&*known.object, self.volume_api());
        let Some(mut volume) = api.get_opt(name).await? else {
            // Named by the user, not made yet: its creation comes as an event.
            self.release_choice(name);
            return Ok(Next::Event);
        };
        let reference = volume.spec.as_ref().and_then(|it| it.claim_ref.as_ref());
        let complete = reference.is_some_and(|it| it.uid.as_deref() == Some(known.uid()));
        if !complete {
            if reference.is_some() && !volumes::belongs(&volume, claim) {
                self.release_choice(name);
                return Ok(Next::Event);
            }
            let mut patch = json!({
                "metadata": {"resourceVersion": volume.metadata.resource_version},
                "spec": {"claimRef": volumes::claim_ref(claim)},
            });
            if reference.is_none() {
                patch["metadata"]["annotations"] = json!({"pv.kubernetes.io/bound-by-controller": "yes"});
            }
            volume = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
        let phase = Patch::Merge(json!({"status": {"phase": "Bound"}}));
        api.patch_status(name, &PatchParams::default(), &phase).await?;
        let claims = self.claim_api(key);
        let patch = Patch::Strategic(volumes::bind_patch(claim, name, request));
        claims.patch(&key.name, &PatchParams::default(), &patch).await?;
        let spec = volume.spec.as_ref();
        let status = volumes::bound_status(
            spec.and_then(|it| it.capacity.as_ref()),
            spec.and_then(|it| it.access_modes.as_ref()),
        );
        claims.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(status)).await?;
        self.release_choice(name);
        self.waiting.lock().expect("no code panics while it holds the map").remove(key);
        Ok(Next::Event)
    }

    async fn claim(&self, key: &ObjectKey) -> kube::Result<Next> {
        let Some(known) = self.caches.claims.get(key) else {
            self.waiting.lock().expect("no code panics while it holds the map").remove(key);
            return Ok(Next::Event);
        };
        let meta = &known.object.metadata;
        if meta.deletion_timestamp.is_some() {
            // A pod without a node never starts on a claim that is going.
            let pods = self.caches.pods.by_index(&claim_bucket(&key.namespace, &key.name));
            let used = pods.iter().any(|it| schedule::is_bound(&it.object));
            let held = meta.finalizers.clone().unwrap_or_default();
            if used || !held.iter().any(|it| it == CLAIM_PROTECTION) {
                return Ok(Next::Event);
            }
            let patch = without(CLAIM_PROTECTION, &held, meta.resource_version.as_deref());
            self.claim_api(key).patch(&key.name, &PatchParams::default(), &patch).await?;
            return Ok(Next::Event);
        }
        match known.object.status.as_ref().and_then(|it| it.phase.as_deref()) {
            Some("Lost") => Ok(Next::Event),
            Some("Bound") => self.bound(key, &known).await,
            _ => self.bind(key, &known).await,
        }
    }

    /// A bound claim may lose its volume, or grow.
    async fn bound(&self, key: &ObjectKey, known: &KnownClaim) -> kube::Result<Next> {
        let claim = &*known.object;
        let params = PatchParams::default();
        let name = claim.spec.as_ref().and_then(|it| it.volume_name.as_deref()).unwrap_or_default();
        let Some(volume) = self.caches.volumes.get(&ObjectKey::new("", name)) else {
            if self.volume_api().get_opt(name).await?.is_some() {
                return Ok(Next::After(RECHECK));
            }
            let lost = Patch::Merge(json!({"metadata": {"uid": known.uid()}, "status": {"phase": "Lost"}}));
            self.claim_api(key).patch_status(&key.name, &params, &lost).await?;
            let message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!".to_owned();
            self.recorder.record(claim, Note::warning(Source::Volumes, "ClaimLost", message));
            return Ok(Next::Event);
        };
        // What a storage driver does: the volume grows, then the claim says so. Volumes made by hand have no driver.
        let driven = volume.object.metadata.annotations.as_ref();
        let driven = driven.is_some_and(|it| it.contains_key(volumes::PROVISIONED_BY));
        let Some(size) = volumes::growth(claim).filter(|_| driven) else { return Ok(Next::Event) };
        let grown = Patch::Merge(json!({"spec": {"capacity": {"storage": size}}}));
        self.volume_api().patch(name, &params, &grown).await?;
        let status = Patch::Merge(json!({"status": {"capacity": {"storage": size}}}));
        self.claim_api(key).patch_status(&key.name, &params, &status).await?;
        Ok(Next::Event)
    }

    async fn volume(&self, key: &ObjectKey) -> kube::Result<Next> {
        let Some(known) = self.caches.volumes.get(key) else { return Ok(Next::Event) };
        let (api, params) = (self.volume_api(), PatchParams::default());
        let spec = known.object.spec.as_ref();
        let phase = known.object.status.as_ref().and_then(|it| it.phase.as_deref()).unwrap_or_default();
        let owner = spec.and_then(|it| it.claim_ref.as_ref());
        let uid = owner.and_then(|it| it.uid.as_deref());
        let claim = owner.and_then(|it| {
            let (namespace, name) = (it.namespace.clone()?, it.name.clone()?);
            self.caches.claims.get(&ObjectKey::new(namespace, name))
        });
        let bound = uid.is_some_and(|uid| claim.is_some_and(|it| it.uid() == uid));
        let meta = &known.object.metadata;
        let held = meta.finalizers.clone().unwrap_or_default();
        let protected = held.iter().any(|it| it == VOLUME_PROTECTION);
        if meta.deletion_timestamp.is_some() {
            if !bound && protected {
                let patch = without(VOLUME_PROTECTION, &held, meta.resource_version.as_deref());
                api.patch(&key.name, &params, &patch).await?;
            }
            return Ok(Next::Event);
        }
        let set = |phase: &str| Patch::Merge(json!({"status": {"phase": phase}}));
        if uid.is_none() {
            if phase != "Available" {
                api.patch_status(&key.name, &params, &set("Available")).await?;
            }
            return Ok(Next::Event);
        }
        // A claim newer than our cache may own it: only a volume that was Bound loses its claim.
        if bound || !matches!(phase, "Bound" | "Released") {
            return Ok(Next::Event);
        }
        if spec.and_then(|it| it.persistent_volume_reclaim_policy.as_deref()) == Some("Delete") {
            let only =
                Preconditions { uid: meta.uid.clone(), resource_version: meta.resource_version.clone() };
            api.delete(&key.name, &DeleteParams::default().preconditions(only)).await?;
        } else if phase != "Released" {
            api.patch_status(&key.name, &params, &set("Released")).await?;
        }
        Ok(Next::Event)
    }
}

/// The merge patch that removes one finalizer.
fn without(finalizer: &str, held: &[String], version: Option<&str>) -> Patch<Value> {
    let left: Vec<&String> = held.iter().filter(|it| *it != finalizer).collect();
    Patch::Merge(json!({"metadata": {"finalizers": left, "resourceVersion": version}}))
}

impl Reconcile for Claims {
    type Error = kube::Error;

    async fn reconcile(&self, key: &ObjectKey) -> kube::Result<Next> {
        let done = if key.namespace.is_empty() { self.volume(key).await } else { self.claim(key).await };
        match done {
            Err(error) if is_code(&error, 404) || is_code(&error, 409) => Ok(Next::After(RECHECK)),
            other => other,
        }
    }
}
