//! Carries out claim binding and what follows from it: protection finalizers, release and removal of volumes.
//!
//! Keys with a namespace are claims, keys without one are volumes.

use std::collections::HashMap;
use std::sync::Mutex;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::json;

use super::machine::{exists, is_code};
use super::objects::{KnownClaim, KnownClass, KnownPod, KnownVolume, claim_bucket};
use super::schedule;
use super::volumes::{self, CLAIM_PROTECTION, Request, VOLUME_PROTECTION};
use crate::k8s::watch::{Cached as _, Store};
use crate::model::ObjectKey;
use crate::runtime::{Next, Reconcile};

const DEFAULT_ANNOTATION: &str = "storageclass.kubernetes.io/is-default-class";
/// Second look after another writer was faster.
const RECHECK: std::time::Duration = std::time::Duration::from_millis(100);

/// The part of the node that looks after claims and volumes.
pub struct Claims {
    client: Client,
    pods: Store<KnownPod>,
    cache: Store<KnownClaim>,
    volumes: Store<KnownVolume>,
    classes: Store<KnownClass>,
    /// Volumes made by hand that were chosen, by name; the value is the uid of the claim.
    chosen: Mutex<HashMap<String, String>>,
}

impl Claims {
    /// Over these caches.
    pub fn new(
        client: Client,
        pods: Store<KnownPod>,
        claims: Store<KnownClaim>,
        volumes: Store<KnownVolume>,
        classes: Store<KnownClass>,
    ) -> Self {
        Self { client, pods, cache: claims, volumes, classes, chosen: Mutex::default() }
    }

    fn claim_api(&self, key: &ObjectKey) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    fn volume_api(&self) -> Api<PersistentVolume> {
        Api::all(self.client.clone())
    }

    fn default_class(&self) -> String {
        let mut names: Vec<String> = self
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

    /// The volume `claim` is to be bound to, if there is one already.
    fn choose(&self, known: &KnownClaim, request: &Request) -> Option<String> {
        let claim = &*known.object;
        let mut chosen = self.chosen.lock().expect("no code panics while it holds the map");
        if let Some((name, _)) = chosen.iter().find(|(_, uid)| *uid == known.uid()) {
            return Some(name.clone());
        }
        let mut fitting: Vec<_> = self
            .volumes
            .list()
            .into_iter()
            .filter(|it| !chosen.contains_key(&it.key().name) && volumes::matches(&it.object, claim, request))
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

    async fn bind(&self, key: &ObjectKey, known: &KnownClaim) -> kube::Result<Next> {
        let claim = &*known.object;
        let request = volumes::request(claim, &self.default_class());
        let named = claim.spec.as_ref().and_then(|it| it.volume_name.clone()).filter(|it| !it.is_empty());
        let ours = format!("pvc-{}", known.uid());
        let api = self.volume_api();
        let name = match named.or_else(|| self.choose(known, &request)) {
            Some(name) => name,
            None if request.class.is_empty() => return Ok(Next::Event),
            None => {
                let class = self.classes.get(&ObjectKey::new("", &request.class));
                let reclaim = class.and_then(|it| it.object.reclaim_policy.clone());
                let reclaim = reclaim.unwrap_or_else(|| "Delete".to_owned());
                let volume = volumes::provision(claim, &request, &reclaim);
                let volume = serde_json::from_value(volume).map_err(kube::Error::SerdeError)?;
                exists(api.create(&PostParams::default(), &volume).await)?;
                ours.clone()
            }
        };
        let Some(mut volume) = api.get_opt(&name).await? else {
            // Named by the user, not made yet: its creation comes as an event.
            self.chosen.lock().expect("no code panics while it holds the map").remove(&name);
            return Ok(Next::Event);
        };
        let reference = volume.spec.as_ref().and_then(|it| it.claim_ref.as_ref());
        let complete = reference.is_some_and(|it| it.uid.as_deref() == Some(known.uid()));
        if !complete {
            if reference.is_some() && !volumes::belongs(&volume, claim) {
                self.chosen.lock().expect("no code panics while it holds the map").remove(&name);
                return Ok(Next::Event);
            }
            let patch = json!({
                "metadata": {"resourceVersion": volume.metadata.resource_version},
                "spec": {"claimRef": volumes::claim_ref(claim)},
            });
            volume = api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
        let phase = Patch::Merge(json!({"status": {"phase": "Bound"}}));
        api.patch_status(&name, &PatchParams::default(), &phase).await?;
        let claims = self.claim_api(key);
        let patch = Patch::Strategic(volumes::bind_patch(claim, &name, &request));
        claims.patch(&key.name, &PatchParams::default(), &patch).await?;
        let spec = volume.spec.as_ref();
        let status = volumes::bound_status(
            spec.and_then(|it| it.capacity.as_ref()),
            spec.and_then(|it| it.access_modes.as_ref()),
        );
        claims.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(status)).await?;
        self.chosen.lock().expect("no code panics while it holds the map").remove(&name);
        Ok(Next::Event)
    }

    async fn claim(&self, key: &ObjectKey) -> kube::Result<Next> {
        let Some(known) = self.cache.get(key) else { return Ok(Next::Event) };
        let meta = &known.object.metadata;
        if meta.deletion_timestamp.is_some() {
            // A pod without a node never starts on a claim that is going.
            let pods = self.pods.by_index(&claim_bucket(&key.namespace, &key.name));
            let used = pods.iter().any(|it| schedule::is_bound(&it.object));
            let held = meta.finalizers.clone().unwrap_or_default();
            if used || !held.iter().any(|it| it == CLAIM_PROTECTION) {
                return Ok(Next::Event);
            }
            let patch = without(CLAIM_PROTECTION, &held, meta.resource_version.as_deref());
            self.claim_api(key).patch(&key.name, &PatchParams::default(), &patch).await?;
            return Ok(Next::Event);
        }
        if volumes::is_bound(&known.object) {
            return self.resize(key, &known).await;
        }
        self.bind(key, &known).await
    }

    /// What a storage driver does when a claim asks for more than it has: the volume grows, then the claim says so.
    /// Volumes made by hand have no driver.
    async fn resize(&self, key: &ObjectKey, known: &KnownClaim) -> kube::Result<Next> {
        let claim = &*known.object;
        let volume = claim.spec.as_ref().and_then(|it| it.volume_name.as_deref()).unwrap_or_default();
        let Some(size) = volumes::growth(claim).filter(|_| volume == format!("pvc-{}", known.uid())) else {
            return Ok(Next::Event);
        };
        let params = PatchParams::default();
        let grown = Patch::Merge(json!({"spec": {"capacity": {"storage": size}}}));
        self.volume_api().patch(volume, &params, &grown).await?;
        let status = Patch::Merge(json!({"status": {"capacity": {"storage": size}}}));
        self.claim_api(key).patch_status(&key.name, &params, &status).await?;
        Ok(Next::Event)
    }

    async fn volume(&self, key: &ObjectKey) -> kube::Result<Next> {
        let Some(known) = self.volumes.get(key) else { return Ok(Next::Event) };
        let (api, params) = (self.volume_api(), PatchParams::default());
        let spec = known.object.spec.as_ref();
        let phase = known.object.status.as_ref().and_then(|it| it.phase.as_deref()).unwrap_or_default();
        let owner = spec.and_then(|it| it.claim_ref.as_ref());
        let uid = owner.and_then(|it| it.uid.as_deref());
        let claim = owner.and_then(|it| {
            let (namespace, name) = (it.namespace.clone()?, it.name.clone()?);
            self.cache.get(&ObjectKey::new(namespace, name))
        });
        let bound = uid.is_some_and(|uid| claim.is_some_and(|it| it.uid() == uid));
        let meta = &known.object.metadata;
        if meta.deletion_timestamp.is_some() {
            let held = meta.finalizers.clone().unwrap_or_default();
            if !bound && held.iter().any(|it| it == VOLUME_PROTECTION) {
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
fn without(finalizer: &str, held: &[String], version: Option<&str>) -> Patch<serde_json::Value> {
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
