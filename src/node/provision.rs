//! What an unbound claim waits for, and what it is filled from. Pure.
//!
//! A claim is bound by hand-made volumes first; what is left here is whether a volume may be made for it. Words of
//! events follow kube-controller-manager, and the external provisioner where it would speak.
//! Source: kube-controller-manager `pkg/controller/volume/persistentvolume/pv_controller.go`;
//! kubernetes-csi/external-provisioner `pkg/controller/controller.go`.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;

use super::events::{Note, Source};
use super::volumes::{self, Request};
use crate::model::snapshots::VolumeSnapshot;

/// Provisioner of classes whose volumes are made by hand only.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
/// Group of snapshots as data sources.
const SNAPSHOT_GROUP: &str = "snapshot.storage.k8s.io";

/// Whether a pod asks for the claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consumer {
    /// A pod mounts it.
    Known,
    /// Nobody does.
    None,
}

/// Where the content of a new volume comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere.
    Empty,
    /// A snapshot of this name.
    Snapshot(String),
    /// Another claim of this name.
    Claim(String),
    /// Something that no provisioner here fills from: somebody else provides the volume.
    Foreign,
}

/// What `claim` is to be filled from.
pub fn origin(claim: &PersistentVolumeClaim) -> Origin {
    let Some(spec) = &claim.spec else { return Origin::Empty };
    let source = spec
        .data_source
        .as_ref()
        .map(|it| (it.api_group.as_deref(), it.kind.as_str(), it.name.as_str()))
        .or_else(|| {
            let source = spec.data_source_ref.as_ref()?;
            Some((source.api_group.as_deref(), source.kind.as_str(), source.name.as_str()))
        });
    match source {
        None => Origin::Empty,
        Some((Some(SNAPSHOT_GROUP), "VolumeSnapshot", name)) => Origin::Snapshot(name.to_owned()),
        Some((None | Some(""), "PersistentVolumeClaim", name)) => Origin::Claim(name.to_owned()),
        Some(_) => Origin::Foreign,
    }
}

/// Whether volumes of the class wait for the first pod.
pub fn waits_for_consumer(class: Option<&StorageClass>) -> bool {
    class.is_some_and(|it| it.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"))
}

/// Whether a volume may be made for a claim of `class` that no existing volume fits; what it waits for if not.
pub fn permission(request: &Request, class: Option<&StorageClass>, consumer: Consumer) -> Result<(), Note> {
    let name = &request.class;
    if name.is_empty() {
        let message = "no persistent volumes available for this claim and no storage class is set".to_owned();
        return Err(Note::normal(Source::Volumes, "FailedBinding", message));
    }
    let Some(class) = class else {
        let message = format!("storageclass.storage.k8s.io {name:?} not found");
        return Err(Note::warning(Source::Volumes, "ProvisioningFailed", message));
    };
    if consumer == Consumer::None && waits_for_consumer(Some(class)) {
        let message = "waiting for first consumer to be created before binding".to_owned();
        return Err(Note::normal(Source::Volumes, "WaitForFirstConsumer", message));
    }
    if class.provisioner == NO_PROVISIONER {
        let message = format!("no volume plugin matched name: {NO_PROVISIONER}");
        return Err(Note::warning(Source::Volumes, "ProvisioningFailed", message));
    }
    Ok(())
}

/// Whether the content of `origin` can be had for `request`; what the claim waits for if not.
///
/// `snapshot` and `claim` are the objects `origin` names, if they exist.
pub fn content(
    origin: &Origin,
    request: &Request,
    snapshot: Option<&VolumeSnapshot>,
    claim: Option<&PersistentVolumeClaim>,
) -> Result<(), Note> {
    let failed = |class: &str, why: &str| {
        let message = format!("failed to provision volume with StorageClass {class:?}: {why}");
        Err(Note::warning(Source::Volumes, "ProvisioningFailed", message))
    };
    let class = request.class.as_str();
    match origin {
        Origin::Empty => Ok(()),
        Origin::Foreign => {
            let message = "Assuming an external populator will provision the volume".to_owned();
            Err(Note::normal(Source::Volumes, "Provisioning", message))
        }
        Origin::Snapshot(name) => {
            let Some(status) = snapshot.map(|it| it.status.clone().unwrap_or_default()) else {
                return failed(
                    class,
                    &format!(
                        "error getting handle for DataSource Type VolumeSnapshot by Name {name}: error getting snapshot {name} from api server: volumesnapshots.snapshot.storage.k8s.io {name:?} not found"
                    ),
                );
            };
            if status.ready_to_use != Some(true) {
                return failed(
                    class,
                    &format!(
                        "error getting handle for DataSource Type VolumeSnapshot by Name {name}: snapshot {name} is not Ready"
                    ),
                );
            }
            let size = status.restore_size.as_ref().map_or(0.0, volumes::bytes);
            if request.size < size {
                return failed(
                    class,
                    &format!(
                        "error getting handle for DataSource Type VolumeSnapshot by Name {name}: requested volume size {} is less than the size {size} for the source snapshot {name}",
                        request.size
                    ),
                );
            }
            Ok(())
        }
        Origin::Claim(name) => {
            let Some(source) = claim else {
                return failed(
                    class,
                    &format!(
                        "error getting PVC {name} from api server: persistentvolumeclaims {name:?} not found"
                    ),
                );
            };
            if !volumes::is_bound(source) {
                return failed(class, &format!("the source claim {name} is not bound"));
            }
            let capacity = source.status.as_ref().and_then(|it| it.capacity.as_ref()?.get("storage"));
            if request.size < capacity.map_or(0.0, volumes::bytes) {
                return failed(class, &format!("the new claim is smaller than the source claim {name}"));
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn request(class: &str, size: f64) -> Request {
        Request { class: class.to_owned(), size, modes: Vec::new(), volume_mode: "Filesystem".to_owned() }
    }

    #[test]
    fn what_a_claim_waits_for() {
        let class = |provisioner: &str, mode: &str| -> StorageClass {
            let class =
                json!({"metadata": {"name": "c"}, "provisioner": provisioner, "volumeBindingMode": mode});
            serde_json::from_value(class).expect("a class")
        };
        let (late, hand) = (class("x/y", "WaitForFirstConsumer"), class(NO_PROVISIONER, "Immediate"));
        let (cloud, none) = (class("kubernetes.io/aws-ebs", "Immediate"), Consumer::None);
        #[rustfmt::skip]
        let cases = [
            ("any provisioner will do",   request("c", 1.0), Some(&cloud), none,            None),
            ("no class",                  request("", 1.0),  None,         none,            Some("FailedBinding")),
            ("a class that is not there", request("c", 1.0), None,         none,            Some("ProvisioningFailed")),
            ("volumes made by hand",      request("c", 1.0), Some(&hand),  none,            Some("ProvisioningFailed")),
            ("no pod yet",                request("c", 1.0), Some(&late),  none,            Some("WaitForFirstConsumer")),
            ("a pod",                     request("c", 1.0), Some(&late),  Consumer::Known, None),
        ];
        for (why, request, class, consumer, want) in cases {
            assert_eq!(permission(&request, class, consumer).err().map(|it| it.reason), want, "{why}");
        }
    }

    #[test]
    fn a_claim_is_restored_from_a_ready_snapshot_that_fits() {
        let snapshot = |status: Value| -> VolumeSnapshot {
            serde_json::from_value(json!({"metadata": {"name": "s"}, "status": status})).expect("a snapshot")
        };
        let claim: PersistentVolumeClaim = serde_json::from_value(json!({"spec": {"dataSource":
            {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"}}}))
        .expect("a claim");
        let origin = origin(&claim);
        assert_eq!(origin, Origin::Snapshot("s".to_owned()));
        let ready = snapshot(json!({"readyToUse": true, "restoreSize": "1Ki"}));
        let fresh = snapshot(json!({"readyToUse": false}));
        let said = |size: f64, snapshot: Option<&VolumeSnapshot>| {
            content(&origin, &request("c", size), snapshot, None).err().map(|it| it.message)
        };
        assert_eq!(said(1024.0, Some(&ready)), None);
        assert!(said(1023.0, Some(&ready)).is_some_and(|it| it.contains("1023 is less than the size 1024")));
        assert!(said(1024.0, Some(&fresh)).is_some_and(|it| it.contains("snapshot s is not Ready")));
        assert!(said(1024.0, None).is_some_and(|it| it.contains("\"s\" not found")));
    }
}
