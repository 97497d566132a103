//! What built-in admission plugins of kube-apiserver do here: defaults and refusals that need other objects.
//!
//! Sources: kubernetes `plugin/pkg/admission/storage/{storageclass/setdefault,storageobjectinuseprotection,
//! persistentvolume/resize}`.

use crate::apiserver::meta;
use crate::apiserver::object::Key;
use crate::apiserver::quantity::Quantity;
use crate::apiserver::resources::{self, Resource};
use crate::apiserver::server::ApiServer;
use crate::apiserver::status::Status;
use crate::apiserver::store::Writer;
use serde_json::{Value, json};

/// Marks the class of claims that name none.
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

fn classes() -> &'static Resource {
    resources::find("storage.k8s.io", "v1", "storageclasses").expect("storage classes are served")
}

/// Completes an object about to be created.
pub fn create(server: &ApiServer, writer: &Writer<'_>, resource: &Resource, object: &mut Value) {
    match (resource.group, resource.kind) {
        ("", "PersistentVolumeClaim") => {
            default_class(writer, object);
            protect(server, object, "kubernetes.io/pvc-protection");
        }
        ("", "PersistentVolume") => protect(server, object, "kubernetes.io/pv-protection"),
        _ => {}
    }
}

/// Claims that name no class get the default one, the newest if there are several.
fn default_class(writer: &Writer<'_>, object: &mut Value) {
    if object["spec"].get("storageClassName").is_some() || !object["spec"].is_object() {
        return;
    }
    let default = writer
        .list(classes(), None)
        .into_iter()
        .filter(|it| it.value["metadata"]["annotations"][DEFAULT_CLASS] == "true")
        .max_by_key(|it| meta::text(&it.value, "creationTimestamp").to_owned());
    if let Some(class) = default {
        object["spec"]["storageClassName"] = meta::text(&class.value, "name").into();
    }
}

/// Whoever asked for protection sees to it that the finalizer goes again.
fn protect(server: &ApiServer, object: &mut Value, finalizer: &str) {
    if server.shared.protect_storage && !meta::finalizers(object).contains(&finalizer) {
        let finalizers = meta::metadata(object).entry("finalizers").or_insert_with(|| json!([]));
        if let Some(list) = finalizers.as_array_mut() {
            list.push(finalizer.into());
        }
    }
}

/// Refuses an update that is well-formed but not allowed now.
pub fn update(writer: &Writer<'_>, resource: &Resource, old: &Value, new: &Value) -> Result<(), Status> {
    if (resource.group, resource.kind) != ("", "PersistentVolumeClaim") {
        return Ok(());
    }
    let requested = |it: &Value| Quantity::from_json(&it["spec"]["resources"]["requests"]["storage"]);
    let grows = match (requested(old), requested(new)) {
        (Some(before), Some(after)) => after > before,
        _ => false,
    };
    if !grows {
        return Ok(());
    }
    let refuse = |why: &str| Err(Status::forbidden(resource, meta::text(old, "name"), why));
    if old["status"]["phase"] != "Bound" {
        return refuse("Only bound persistent volume claims can be expanded");
    }
    let class = old["spec"]["storageClassName"].as_str().unwrap_or_default();
    let class = writer.get(classes(), &Key::new("", class));
    if class.is_some_and(|it| it.value["allowVolumeExpansion"] == true) {
        return Ok(());
    }
    refuse(
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
    )
}
