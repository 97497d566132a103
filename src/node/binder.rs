//! Shell of the volume binder: one claim, bound.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::events::{Happening, Reporter};
use super::kubelet::WriteError;
use super::pod::PodView;
use super::recorder::Recorder;
use super::volumes::{
    Binding, ClaimView, ClassView, VolumeView, bind, bound_status, claims, decide, reserve, volume,
    volume_name,
};
use super::{FIELD_MANAGER, claim_bucket};
use crate::k8s::watch::{Store, parse_version};
use crate::model::ObjectKey;
use crate::runtime::barrier::{View, Write};
use crate::runtime::{Barrier, Next, Reconcile};

/// Everything a claim's reconcile may touch.
pub struct Binder {
    client: Client,
    pods: Store<PodView>,
    claims: Store<ClaimView>,
    volumes: Store<VolumeView>,
    classes: Store<ClassView>,
    recorder: Recorder,
    barrier: Barrier,
    claim_view: Arc<dyn View>,
    /// Existing volumes are shared: one claim is decided and reserved at a time.
    deciding: tokio::sync::Mutex<()>,
}

impl Binder {
    /// A binder over these caches.
    pub fn new(
        client: Client,
        pods: Store<PodView>,
        claims: Store<ClaimView>,
        volumes: Store<VolumeView>,
        classes: Store<ClassView>,
        recorder: Recorder,
    ) -> Self {
        let claim_view = Arc::new(claims.clone());
        Self {
            client,
            pods,
            claims,
            volumes,
            classes,
            recorder,
            barrier: Barrier::default(),
            claim_view,
            deciding: tokio::sync::Mutex::default(),
        }
    }

    /// A claim that is gone: its volumes are deleted or released.
    async fn reclaim(&self, key: &ObjectKey) -> Result<Next, WriteError> {
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        let alive = self.claims.get(key);
        for volume in self.volumes.list() {
            let of_key = volume.claim.as_ref().is_some_and(|(claim, uid)| claim == key && uid.is_some());
            if !of_key || alive.as_ref().is_some_and(|it| claims(&volume, it)) {
                continue;
            }
            if volume.deleted_with_claim {
                let preconditions = Preconditions { uid: Some(volume.uid.clone()), resource_version: None };
                let params = DeleteParams::default().preconditions(preconditions);
                let deleted = api.delete(&volume.name, &params).await;
                tolerate(deleted.map(drop), key, "reclaiming")?;
            } else if volume.phase != "Released" {
                self.volume_phase(key, &volume.name, "Released").await?;
            }
        }
        Ok(Next::Event)
    }

    async fn volume_phase(&self, key: &ObjectKey, name: &str, phase: &str) -> Result<(), WriteError> {
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        let patch = json!({"status": {"phase": phase}});
        let patched = api.patch_status(name, &params(), &Patch::Merge(&patch)).await;
        tolerate(patched.map(drop), key, "volume status")
    }

    async fn bind(
        &self,
        claim: &ClaimView,
        name: &str,
        class: Option<&str>,
        capacity: &str,
    ) -> Result<Next, WriteError> {
        let key = &claim.key;
        self.volume_phase(key, name, "Bound").await?;
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &key.namespace);
        let spec: Value = bind(claim, name, class);
        tolerate(api.patch(&key.name, &params(), &Patch::Merge(&spec)).await.map(drop), key, "binding")?;
        let status = bound_status(claim, capacity);
        let written = api.patch_status(&key.name, &params(), &Patch::Merge(&status)).await;
        if let Ok(written) = &written {
            let resource_version = parse_version(written.metadata.resource_version.as_deref());
            let write = Write::Stored { object: key.clone(), resource_version };
            self.barrier.record(key, Arc::clone(&self.claim_view), write);
        }
        tolerate(written.map(drop), key, "claim status")?;
        Ok(Next::OwnWrites)
    }

    fn provisioned(&self, claim: &ClaimView, name: &str) {
        self.recorder.record(Happening {
            involved: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("PersistentVolumeClaim".to_owned()),
                namespace: Some(claim.key.namespace.clone()),
                name: Some(claim.key.name.clone()),
                uid: Some(claim.uid.clone()),
                ..Default::default()
            },
            reporter: Reporter::VolumeBinder,
            warning: false,
            reason: "ProvisioningSucceeded",
            message: format!("Successfully provisioned volume {name}"),
        });
    }
}

impl Reconcile for Binder {
    type Error = WriteError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, WriteError> {
        let Some(claim) = self.claims.get(key) else {
            self.barrier.forget(key);
            return self.reclaim(key).await;
        };
        if self.barrier.waits_for(key).is_some() {
            return Ok(Next::OwnWrites);
        }
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        let deciding = self.deciding.lock().await;
        let (volumes, classes) = (self.volumes.list(), self.classes.list());
        let volumes: Vec<_> = volumes.iter().map(AsRef::as_ref).collect();
        let classes: Vec<_> = classes.iter().map(AsRef::as_ref).collect();
        let used = !self.pods.by_index(&claim_bucket(key)).is_empty();
        match decide(&claim, &volumes, &classes, used) {
            Binding::Done => {
                drop(deciding);
                self.reclaim(key).await
            }
            Binding::Wait => Ok(Next::Event),
            Binding::Existing { volume: name } => {
                let patched = api.patch(&name, &params(), &Patch::Merge(&reserve(&claim))).await;
                let capacity = volumes.iter().find(|it| it.name == name).map(|it| it.capacity.clone());
                tolerate(patched.map(drop), key, "reservation")?;
                self.bind(&claim, &name, None, &capacity.unwrap_or_else(|| claim.request.clone())).await
            }
            Binding::Provision { class } => {
                // A volume of its own: nobody else can take it.
                drop(deciding);
                let made = api.create(&PostParams::default(), &volume(&claim, &class, &classes)).await;
                let name = volume_name(&claim);
                tolerate(made.map(drop), key, "volume")?;
                self.provisioned(&claim, &name);
                self.bind(&claim, &name, Some(&class), &claim.request).await
            }
        }
    }
}

fn params() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// An object that is gone, or made already by an earlier try, is no error.
fn tolerate(result: Result<(), kube::Error>, key: &ObjectKey, what: &'static str) -> Result<(), WriteError> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        Err(source) => Err(WriteError { what, object: key.clone(), source: Box::new(source) }),
        Ok(()) => Ok(()),
    }
}
