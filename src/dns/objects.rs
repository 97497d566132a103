//! API objects as the watches read them: the fields that DNS has a use for and nothing else.
//!
//! JSON ──serde──▶ `k8s::watched::Watched` (raw fields ──`dns::narrow`──▶ `dns::model`) ──▶ `dns::watch`
//!
//! The raw forms borrow the text they are read from and skip every other field, so a list page costs little more than its
//! text and no full object ever exists. Absent and `null` are the same, as for Go.

use std::borrow::Cow;
use std::ops::Deref;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::narrow::{self, Narrowed};
use crate::k8s::watched;
use crate::model::ObjectKey;

/// Text that is copied only when it has escapes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// `metadata`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta<'a> {
    /// Absent for cluster-scoped kinds.
    #[serde(borrow)]
    pub namespace: Option<Text<'a>>,
    /// Always present on objects of a server.
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    /// Opaque.
    #[serde(borrow)]
    pub resource_version: Option<Text<'a>>,
    /// Present while the object is being deleted.
    pub deletion_timestamp: Option<IgnoredAny>,
    /// The labels with a meaning.
    #[serde(borrow)]
    pub labels: Option<Labels<'a>>,
    /// The annotations with a meaning.
    #[serde(borrow)]
    pub annotations: Option<Annotations<'a>>,
}

impl Meta<'_> {
    /// Namespace and name; `None` without a name.
    pub fn key(&self) -> Option<ObjectKey> {
        Some(ObjectKey::new(self.namespace.as_deref().unwrap_or_default(), self.name.as_deref()?))
    }

    fn object_meta(&self) -> ObjectMeta {
        let text = |it: &Option<Text<'_>>| it.as_deref().map(str::to_owned);
        ObjectMeta {
            namespace: text(&self.namespace),
            name: text(&self.name),
            resource_version: text(&self.resource_version),
            ..ObjectMeta::default()
        }
    }
}

/// See [`Meta::labels`].
#[derive(Debug, Default, Deserialize)]
pub struct Labels<'a> {
    /// Ties a slice to its Service.
    #[serde(borrow, rename = "kubernetes.io/service-name")]
    pub service_name: Option<Text<'a>>,
}

/// See [`Meta::annotations`].
#[derive(Debug, Default, Deserialize)]
pub struct Annotations<'a> {
    /// Time of the pod or service change that a slice reflects.
    #[serde(borrow, rename = "endpoints.kubernetes.io/last-change-trigger-time")]
    pub trigger_time: Option<Text<'a>>,
}

/// `v1` Namespace.
#[derive(Debug, Default, Deserialize)]
pub struct RawNamespace<'a> {
    #[serde(borrow, default)]
    metadata: Meta<'a>,
}

/// `v1` Service.
#[derive(Debug, Default, Deserialize)]
pub struct RawService<'a> {
    #[serde(borrow, default)]
    metadata: Meta<'a>,
    /// Always present on objects of a server.
    #[serde(borrow)]
    pub spec: Option<RawServiceSpec<'a>>,
}

/// `spec` of a Service.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawServiceSpec<'a> {
    /// `type`.
    #[serde(borrow, rename = "type")]
    pub kind: Option<Text<'a>>,
    /// `None` for a headless service.
    #[serde(borrow, rename = "clusterIP")]
    pub cluster_ip: Option<Text<'a>>,
    /// Every clusterIP.
    #[serde(borrow, rename = "clusterIPs")]
    pub cluster_ips: Option<Vec<Text<'a>>>,
    /// Of a service of type ExternalName.
    #[serde(borrow)]
    pub external_name: Option<Text<'a>>,
    /// Ports.
    #[serde(borrow)]
    pub ports: Option<Vec<RawPort<'a>>>,
    /// Only whether it is there.
    pub selector: Option<AnyKey>,
}

/// A port of a Service or slice.
#[derive(Debug, Default, Deserialize)]
pub struct RawPort<'a> {
    /// Empty or absent for an unnamed port.
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    /// TCP when absent.
    #[serde(borrow)]
    pub protocol: Option<Text<'a>>,
    /// Absent in a slice: every port.
    pub port: Option<i64>,
}

/// `discovery.k8s.io/v1` EndpointSlice.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawSlice<'a> {
    #[serde(borrow, default)]
    metadata: Meta<'a>,
    /// IPv4, IPv6 or FQDN.
    #[serde(borrow)]
    pub address_type: Option<Text<'a>>,
    /// Endpoints.
    #[serde(borrow)]
    pub endpoints: Option<Vec<RawEndpoint<'a>>>,
    /// Ports.
    #[serde(borrow)]
    pub ports: Option<Vec<RawPort<'a>>>,
}

/// An endpoint of a slice.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawEndpoint<'a> {
    /// Addresses.
    #[serde(borrow)]
    pub addresses: Option<Vec<Text<'a>>>,
    /// Conditions.
    #[serde(default)]
    pub conditions: Option<RawConditions>,
    /// The name that the control plane gives it.
    #[serde(borrow)]
    pub hostname: Option<Text<'a>>,
    /// Its topology zone.
    #[serde(borrow)]
    pub zone: Option<Text<'a>>,
    /// What is behind it.
    #[serde(borrow)]
    pub target_ref: Option<RawTarget<'a>>,
}

/// Conditions of an endpoint.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
pub struct RawConditions {
    /// Absent means ready.
    pub ready: Option<bool>,
    /// Whether it serves, terminating or not.
    pub serving: Option<bool>,
    /// Whether it is being deleted.
    pub terminating: Option<bool>,
}

/// `targetRef` of an endpoint.
#[derive(Debug, Default, Deserialize)]
pub struct RawTarget<'a> {
    /// Such as Pod.
    #[serde(borrow)]
    pub kind: Option<Text<'a>>,
    /// Its name.
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
}

/// `v1` Pod.
#[derive(Debug, Default, Deserialize)]
pub struct RawPod<'a> {
    #[serde(borrow, default)]
    metadata: Meta<'a>,
    /// Status.
    #[serde(borrow)]
    pub status: Option<RawPodStatus<'a>>,
}

/// `status` of a Pod.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawPodStatus<'a> {
    /// Phase.
    #[serde(borrow)]
    pub phase: Option<Text<'a>>,
    /// The first address.
    #[serde(borrow, rename = "podIP")]
    pub pod_ip: Option<Text<'a>>,
    /// Every address.
    #[serde(borrow, rename = "podIPs")]
    pub pod_ips: Option<Vec<RawPodIp<'a>>>,
}

/// An entry of `status.podIPs`.
#[derive(Debug, Default, Deserialize)]
pub struct RawPodIp<'a> {
    /// The address.
    #[serde(borrow)]
    pub ip: Option<Text<'a>>,
}

/// `apps/v1` StatefulSet.
#[derive(Debug, Default, Deserialize)]
pub struct RawSet<'a> {
    #[serde(borrow, default)]
    metadata: Meta<'a>,
    /// Always present on objects of a server.
    #[serde(borrow)]
    pub spec: Option<RawSetSpec<'a>>,
}

/// `spec` of a StatefulSet.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawSetSpec<'a> {
    /// Governing service.
    #[serde(borrow)]
    pub service_name: Option<Text<'a>>,
    /// 1 when absent.
    pub replicas: Option<i64>,
    /// Where ordinals start.
    pub ordinals: Option<RawOrdinals>,
}

/// `spec.ordinals` of a StatefulSet.
#[derive(Debug, Default, Deserialize)]
pub struct RawOrdinals {
    /// 0 when absent.
    pub start: Option<i64>,
}

/// Whether a map has any key.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnyKey(pub bool);

impl<'de> Deserialize<'de> for AnyKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = AnyKey;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<AnyKey, A::Error> {
                let mut any = AnyKey(false);
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    any.0 = true;
                }
                Ok(any)
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// A kind of objects as DNS reads it.
pub trait Kind: watched::Kind<View = Narrowed<Self>> {}

impl<T: watched::Kind<View = Narrowed<T>>> Kind for T {}

macro_rules! kinds {
    ($($kind:ident, $raw:ident, $group:literal, $name:literal, $plural:literal, $narrow:path;)*) => {$(
        impl watched::Kind for $kind {
            type Raw<'a> = $raw<'a>;
            type View = Narrowed<Self>;
            const GROUP: &'static str = $group;
            const KIND: &'static str = $name;
            const PLURAL: &'static str = $plural;

            fn reduce(raw: $raw<'_>) -> (ObjectMeta, Narrowed<Self>) {
                (raw.metadata.object_meta(), $narrow(&raw.metadata, &raw))
            }
        }
    )*};
}

use super::model::{Pod, Service, Set, Slice};

kinds! {
    String, RawNamespace, "", "Namespace", "namespaces", narrow::namespace;
    Service, RawService, "", "Service", "services", narrow::service;
    Slice, RawSlice, "discovery.k8s.io", "EndpointSlice", "endpointslices", narrow::slice;
    Pod, RawPod, "", "Pod", "pods", narrow::pod;
    Set, RawSet, "apps", "StatefulSet", "statefulsets", narrow::set;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::watched::Watched;
    use kube::Resource;
    use kube::core::{ObjectList, WatchEvent};

    #[test]
    fn lists_and_events_are_read_without_what_nobody_asks_for() {
        let object = r#"{"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "metadata": {"name": "web-1",
            "namespace": "prod", "resourceVersion": "7", "managedFields": [{"manager": "x", "fieldsV1": {"f:a": {}}}],
            "labels": {"kubernetes.io/service-name": "w\u0065b", "other": "1"}, "annotations": null},
            "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"], "conditions": null}], "ports": null}"#;
        let list =
            format!(r#"{{"metadata": {{"resourceVersion": "9", "continue": "c"}}, "items": [{object}]}}"#);
        let list: ObjectList<Watched<Slice>> = serde_json::from_str(&list).unwrap();
        assert_eq!(list.metadata.continue_.as_deref(), Some("c"));
        let from_list = &list.items[0];
        assert_eq!(from_list.key(), ObjectKey::new("prod", "web-1"));
        assert_eq!(from_list.meta().resource_version.as_deref(), Some("7"));
        let slice = from_list.view.value.as_ref().unwrap();
        assert_eq!((slice.service.as_str(), slice.endpoints.len()), ("web", 1));
        for event in [
            format!(r#"{{"type": "ADDED", "object": {object}}}"#),
            format!(r#"{{"object": {object}, "type": "DELETED"}}"#),
        ] {
            let event: WatchEvent<Watched<Slice>> = serde_json::from_str(&event).unwrap();
            let (WatchEvent::Added(it) | WatchEvent::Deleted(it)) = event else { panic!("{event:?}") };
            assert_eq!(it.view.value.as_ref(), Some(slice));
        }
        assert_eq!(Watched::<Slice>::url_path(&(), None), "/apis/discovery.k8s.io/v1/endpointslices");
        assert_eq!(Watched::<Service>::url_path(&(), None), "/api/v1/services");
    }
}
