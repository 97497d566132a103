//! What users and nodes do in a scenario, and what is there afterwards, in a few words.

use http::Method;
use serde_json::{Value, json};

use super::cluster::{self, NAMESPACE, ready};
use super::world::World;

/// Done once everything is at rest.
#[derive(Debug, Clone)]
pub enum Act {
    Create(Value),
    /// A merge patch of the set.
    Patch(Value),
    /// `/scale`.
    Scale(u32),
    /// `/status`, as an operator would.
    PatchStatus(Value),
    DeletePod(&'static str),
    Fail(&'static str),
    /// Deletes the set without its pods.
    Orphan,
    DeleteSet,
    Relabel(&'static str, &'static str),
    /// Takes away the owner of a pod.
    Disown(&'static str),
    /// The pod is not ready, nor will it be.
    Sicken(&'static str),
    Cure(&'static str),
    /// No node takes the pod.
    Block(&'static str),
    Unblock(&'static str),
    RemoveClaim(&'static str),
    /// Another controller takes the claim.
    TakeClaim(&'static str),
}

pub async fn act(world: &mut World, act: &Act) {
    let text = format!("{act:?}");
    world.log(format!("user: {}", text.chars().take(120).collect::<String>()));
    let cluster = &mut world.cluster;
    let set = format!("/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/web");
    match act {
        Act::Create(set) => cluster.create_set(set.clone()).await,
        Act::Patch(patch) => drop(cluster.patch_set(patch.clone()).await.expect("a valid patch")),
        Act::Scale(replicas) => {
            let scale = json!({ "spec": { "replicas": replicas } });
            cluster.call(Method::PATCH, &format!("{set}/scale"), scale).await.expect("scaled");
        }
        Act::PatchStatus(status) => {
            let status = json!({ "status": status });
            cluster.call(Method::PATCH, &format!("{set}/status"), status).await.expect("a valid status");
        }
        Act::DeletePod(name) => cluster.delete("pods", name).await,
        Act::Fail(name) => cluster.set_phase(name, "Failed"),
        Act::Orphan => cluster.delete_set("Orphan").await,
        Act::DeleteSet => cluster.delete_set("Background").await,
        Act::Relabel(name, label) => {
            cluster.patch("pods", name, json!({ "metadata": { "labels": { "app": label } } })).await;
        }
        Act::Disown(name) => {
            cluster.edit(cluster::pods(), name, |it| it["metadata"]["ownerReferences"] = json!([]));
        }
        Act::Sicken(name) => {
            cluster.held.insert((*name).to_owned());
            if cluster.get(cluster::pods(), name).is_some_and(|it| ready(&it)) {
                cluster.set_ready(name, false);
            }
        }
        Act::Cure(name) => drop(cluster.held.remove(*name)),
        Act::Block(name) => drop(cluster.lost.insert((*name).to_owned())),
        Act::Unblock(name) => drop(cluster.lost.remove(*name)),
        Act::RemoveClaim(name) => cluster.remove(cluster::claims(), name),
        Act::TakeClaim(name) => {
            let map = json!({ "metadata": { "name": "owner" } });
            let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
            let owner = cluster.call(Method::POST, &path, map).await.expect("created");
            let reference = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"],
                "controller": true,
            });
            cluster
                .edit(cluster::claims(), name, |it| it["metadata"]["ownerReferences"] = json!([reference]));
        }
    }
}

/// `0one 1two!~ | 0 1 | 2/1/1/0/2`: pods by ordinal and image, `!` not ready, `~` not owned; claims by ordinal;
/// replicas, ready, available, current, updated.
pub fn shown(world: &World) -> String {
    let ordinal = |it: &Value| {
        let name = it["metadata"]["name"].as_str().unwrap_or_default();
        name.rsplit('-').next().unwrap_or_default().to_owned()
    };
    let pods = world.cluster.list(cluster::pods());
    let pods = pods.iter().map(|it| {
        let image = it["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
        let owned = it["metadata"]["ownerReferences"].as_array().is_some_and(|it| !it.is_empty());
        format!("{}{image}{}{}", ordinal(it), if ready(it) { "" } else { "!" }, if owned { "" } else { "~" })
    });
    let claims = world.cluster.list(cluster::claims());
    let claims = claims.iter().map(ordinal);
    let mut text =
        format!("{} | {}", pods.collect::<Vec<_>>().join(" "), claims.collect::<Vec<_>>().join(" "));
    if let Some(set) = world.cluster.get(cluster::sets(), "web") {
        let of = |it: &str| set["status"][it].as_i64().unwrap_or(0).to_string();
        let counters =
            ["replicas", "readyReplicas", "availableReplicas", "currentReplicas", "updatedReplicas"].map(of);
        text = format!("{text} | {}", counters.join("/"));
    }
    text
}

/// Labels, host name, subdomain and volumes of every owned pod are its own.
pub fn identities(world: &World) -> Result<(), String> {
    for pod in world.cluster.list(cluster::pods()) {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let (_, ordinal) = name.rsplit_once('-').unwrap_or_default();
        let label = |key: &str| pod["metadata"]["labels"][key].as_str().unwrap_or_default();
        let right = label("statefulset.kubernetes.io/pod-name") == name
            && label("apps.kubernetes.io/pod-index") == ordinal
            && !label("controller-revision-hash").is_empty()
            && pod["spec"]["hostname"] == name
            && pod["spec"]["subdomain"] == "web";
        let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
        let mut claims = volumes.filter_map(|it| it["persistentVolumeClaim"]["claimName"].as_str());
        if !right || claims.any(|it| it != format!("data-{name}")) {
            return Err(format!("{name} has lost its identity: {pod}"));
        }
    }
    Ok(())
}
