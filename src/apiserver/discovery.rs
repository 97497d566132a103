//! Discovery documents: the legacy lists (kubectl 1.20, kube-rs) and the aggregated ones (kubectl ≥ 1.27).

use crate::apiserver::resources::{RESOURCES, Resource, Scope};
use crate::apiserver::reviews::{REVIEWS, Review};
use serde_json::{Value, json};

/// (verbs, kind served, its group, its version) of a subresource; an empty kind is that of the parent.
fn subresource(name: &str) -> (&'static [&'static str], &'static str, &'static str, &'static str) {
    match name {
        "scale" => (&["get", "patch", "update"], "Scale", "autoscaling", "v1"),
        "eviction" => (&["create"], "Eviction", "policy", "v1"),
        "binding" => (&["create"], "Binding", "", "v1"),
        "token" => (&["create"], "TokenRequest", "authentication.k8s.io", "v1"),
        "log" => (&["get"], "", "", ""),
        "attach" => (&["create", "get"], "PodAttachOptions", "", "v1"),
        "exec" => (&["create", "get"], "PodExecOptions", "", "v1"),
        "portforward" => (&["create", "get"], "PodPortForwardOptions", "", "v1"),
        "finalize" => (&["update"], "", "", ""),
        _ => (&["get", "patch", "update"], "", "", ""),
    }
}

/// Every served (group, version), core first, each once, in table order.
pub fn group_versions() -> Vec<(&'static str, &'static str)> {
    let mut all = Vec::new();
    let resources = RESOURCES.iter().map(|it| (it.group, it.version));
    for group_version in resources.chain(REVIEWS.iter().map(|it| (it.group, it.version))) {
        if !all.contains(&group_version) {
            all.push(group_version);
        }
    }
    all
}

fn in_group<'a>(group: &'a str, version: &'a str) -> impl Iterator<Item = &'static Resource> + 'a {
    RESOURCES.iter().filter(move |it| it.group == group && it.version == version)
}

fn reviews_in<'a>(group: &'a str, version: &'a str) -> impl Iterator<Item = &'static Review> + 'a {
    REVIEWS.iter().filter(move |it| it.group == group && it.version == version)
}

fn joined(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// `/api`.
pub fn api_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

fn group_body(group: &str) -> Value {
    let versions: Vec<Value> = group_versions()
        .into_iter()
        .filter(|(it, _)| *it == group)
        .map(|(group, version)| json!({"groupVersion": joined(group, version), "version": version}))
        .collect();
    json!({"name": group, "preferredVersion": versions[0], "versions": versions})
}

/// `/apis`.
pub fn groups() -> Value {
    let mut names: Vec<&str> =
        group_versions().into_iter().map(|(group, _)| group).filter(|it| !it.is_empty()).collect();
    names.dedup();
    let groups: Vec<Value> = names.into_iter().map(group_body).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/{group}`; `None` when it is not served.
pub fn group(name: &str) -> Option<Value> {
    if name.is_empty() || !group_versions().iter().any(|(it, _)| *it == name) {
        return None;
    }
    let mut group = group_body(name);
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    Some(group)
}

/// `/api/v1`, `/apis/{group}/{version}`; `None` when it is not served.
pub fn resource_list(group: &str, version: &str) -> Option<Value> {
    if !group_versions().contains(&(group, version)) {
        return None;
    }
    let mut resources = Vec::new();
    for resource in in_group(group, version) {
        let namespaced = resource.scope == Scope::Namespaced;
        let mut entry = json!({
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": namespaced,
            "kind": resource.kind,
            "verbs": resource.verbs,
        });
        if !resource.short_names.is_empty() {
            entry["shortNames"] = json!(resource.short_names);
        }
        if !resource.categories.is_empty() {
            entry["categories"] = json!(resource.categories);
        }
        resources.push(entry);
        for name in resource.subresources {
            let (verbs, kind, group, version) = subresource(name);
            let mut entry = json!({
                "name": format!("{}/{name}", resource.plural),
                "singularName": "",
                "namespaced": namespaced,
                "kind": if kind.is_empty() { resource.kind } else { kind },
                "verbs": verbs,
            });
            if !group.is_empty() {
                entry["group"] = group.into();
                entry["version"] = version.into();
            }
            resources.push(entry);
        }
    }
    for review in reviews_in(group, version) {
        resources.push(json!({
            "name": review.plural,
            "singularName": review.kind.to_ascii_lowercase(),
            "namespaced": false,
            "kind": review.kind,
            "verbs": ["create"],
        }));
    }
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": joined(group, version),
        "resources": resources,
    }))
}

/// Which root an aggregated document describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// `/api`: the core group.
    Api,
    /// `/apis`: all others.
    Apis,
}

/// The aggregated document of a root in version `v2` or `v2beta1`; both have the same fields.
pub fn aggregated(root: Root, document_version: &str) -> Value {
    let mut names: Vec<&str> = group_versions()
        .into_iter()
        .map(|(group, _)| group)
        .filter(|it| it.is_empty() == (root == Root::Api))
        .collect();
    names.dedup();
    let items: Vec<Value> = names
        .into_iter()
        .map(|name| {
            let versions: Vec<Value> = group_versions()
                .into_iter()
                .filter(|(group, _)| *group == name)
                .map(|(group, version)| {
                    let kinds = in_group(group, version).map(aggregated_resource);
                    let reviews = reviews_in(group, version).map(|it| {
                        json!({
                            "resource": it.plural,
                            "responseKind": kind_of("", "", it.kind),
                            "scope": "Cluster",
                            "singularResource": it.kind.to_ascii_lowercase(),
                            "verbs": ["create"],
                        })
                    });
                    let resources: Vec<Value> = kinds.chain(reviews).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if name.is_empty() {
                json!({"creationTimestamp": null})
            } else {
                json!({"name": name, "creationTimestamp": null})
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{document_version}"),
        "metadata": {},
        "items": items,
    })
}

fn kind_of(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

fn aggregated_resource(resource: &'static Resource) -> Value {
    let subresources: Vec<Value> = resource
        .subresources
        .iter()
        .map(|name| {
            let (verbs, kind, group, version) = subresource(name);
            let response =
                if kind.is_empty() { kind_of("", "", resource.kind) } else { kind_of(group, version, kind) };
            json!({"subresource": name, "responseKind": response, "verbs": verbs})
        })
        .collect();
    let mut entry = json!({
        "resource": resource.plural,
        // As upstream: an empty group and version are those of the list.
        "responseKind": kind_of("", "", resource.kind),
        "scope": if resource.scope == Scope::Namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs,
    });
    for (field, values) in [("shortNames", resource.short_names), ("categories", resource.categories)] {
        if !values.is_empty() {
            entry[field] = json!(values);
        }
    }
    if !subresources.is_empty() {
        entry["subresources"] = subresources.into();
    }
    entry
}

/// The Content-Type of an aggregated document; clients tell the shapes apart by it.
pub fn aggregated_content_type(document_version: &str) -> String {
    format!("application/json;g=apidiscovery.k8s.io;v={document_version};as=APIGroupDiscoveryList")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_list_the_same() {
        for (group, version) in group_versions() {
            let legacy = resource_list(group, version).unwrap();
            let names = legacy["resources"].as_array().unwrap();
            let plain = names.iter().filter(|it| !it["name"].as_str().unwrap().contains('/')).count();
            let root = if group.is_empty() { Root::Api } else { Root::Apis };
            let document = aggregated(root, "v2");
            let item = document["items"]
                .as_array()
                .unwrap()
                .iter()
                .find(|it| it["metadata"]["name"].as_str().unwrap_or_default() == group)
                .unwrap();
            assert_eq!(item["versions"][0]["resources"].as_array().unwrap().len(), plain, "{group}");
        }
    }

    #[test]
    fn groups_are_listed_once() {
        let groups = groups();
        let names: Vec<&str> =
            groups["groups"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
        let mut unique = names.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), names.len());
        assert!(group("nope").is_none());
    }
}
