//! Brings manifests into the embedded API server before the ready line.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use kube::Client;
use serde_json::{Value, json};
use tracing::info;

use super::manifest::{Manifest, parse};
use crate::apiserver::resources::{Resource, Scope, find_kind};

/// Reads files, directories (`*.yaml`, `*.yml`, `*.json`, in the order of their names) and `-`.
///
/// # Errors
/// The first path, document or field that cannot be used.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<Manifest>> {
    let mut manifests = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("cannot read manifests from standard input")?;
            manifests.extend(parse("standard input", &text).map_err(anyhow::Error::msg)?);
            continue;
        }
        for file in files(path)? {
            let text =
                std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            manifests.extend(parse(&file.display().to_string(), &text).map_err(anyhow::Error::msg)?);
        }
    }
    for manifest in &manifests {
        resource_of(manifest)?;
    }
    Ok(manifests)
}

fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.with_context(|| format!("cannot read {}", path.display()))?.path();
        let is_manifest = file.extension().is_some_and(|it| it == "yaml" || it == "yml" || it == "json");
        if is_manifest && file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        bail!("{} holds no .yaml, .yml or .json file", path.display());
    }
    files.sort();
    Ok(files)
}

fn resource_of(manifest: &Manifest) -> anyhow::Result<&'static Resource> {
    let text = |key: &str| manifest.object[key].as_str().unwrap_or_default();
    find_kind(text("apiVersion"), text("kind")).with_context(|| {
        format!(
            "{}: no kind {:?} in version {:?}; `kubectl api-resources` lists what this server serves",
            manifest.place,
            text("kind"),
            text("apiVersion")
        )
    })
}

/// Creates every object; Namespaces first, and those that objects name but nobody declares.
///
/// # Errors
/// The first object the API server refuses, with its place and the server's message.
pub async fn apply(client: &Client, manifests: &[Manifest]) -> anyhow::Result<()> {
    let (namespaces, others): (Vec<_>, Vec<_>) =
        manifests.iter().partition(|it| it.object["kind"] == "Namespace" && it.object["apiVersion"] == "v1");
    for manifest in namespaces {
        create(client, manifest).await?;
    }
    for manifest in others {
        let namespaced = resource_of(manifest)?.scope == Scope::Namespaced;
        if let Some(namespace) = manifest.object.pointer("/metadata/namespace").and_then(Value::as_str)
            && namespaced
        {
            ensure_namespace(client, namespace, &manifest.place).await?;
        }
        create(client, manifest).await?;
    }
    Ok(())
}

async fn ensure_namespace(client: &Client, name: &str, place: &str) -> anyhow::Result<()> {
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    match post(client, "/api/v1/namespaces", &body).await {
        Ok(()) => {
            info!(namespace = name, "created the namespace a manifest names");
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(refused(place, error)),
    }
}

async fn create(client: &Client, manifest: &Manifest) -> anyhow::Result<()> {
    let resource = resource_of(manifest)?;
    let path = collection_path(resource, &manifest.object);
    match post(client, &path, &manifest.object).await {
        Ok(()) => Ok(()),
        // Boot objects, such as the namespace `default`, and objects that stand twice: the later manifest wins.
        Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "AlreadyExists" => {
            let name = manifest.object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            let request = http::Request::patch(format!("{path}/{name}?fieldManager=ordinal-up"))
                .header(http::header::CONTENT_TYPE, "application/merge-patch+json")
                .body(manifest.object.to_string().into_bytes())
                .with_context(|| format!("{}: the name cannot stand in a path", manifest.place))?;
            client.request::<Value>(request).await.map(drop).map_err(|error| refused(&manifest.place, error))
        }
        Err(error) => Err(refused(&manifest.place, error)),
    }
}

fn collection_path(resource: &Resource, object: &Value) -> String {
    let root = if resource.group.is_empty() { "/api" } else { "/apis" };
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default");
    match resource.scope {
        Scope::Cluster => format!("{root}/{}/{}", resource.api_version(), resource.plural),
        Scope::Namespaced => {
            format!("{root}/{}/namespaces/{namespace}/{}", resource.api_version(), resource.plural)
        }
    }
}

async fn post(client: &Client, path: &str, body: &Value) -> Result<(), kube::Error> {
    let request = http::Request::post(format!("{path}?fieldManager=ordinal-up&fieldValidation=Strict"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body.to_string().into_bytes())
        .map_err(kube::Error::HttpError)?;
    client.request::<Value>(request).await.map(drop)
}

/// The server's own words behind the place of the object.
fn refused(place: &str, error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => anyhow::anyhow!("{place}: {}", status.message),
        other => anyhow::Error::new(other).context(format!("{place}: the API server did not take it")),
    }
}
