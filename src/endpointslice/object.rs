//! A planned slice as the JSON that is sent. Pure; borrows everything, so that a large slice is not copied first.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::Serialize;

use super::desired::labels;
use super::model::{Endpoint, ServiceView, SliceView, TRIGGER_TIME};
use super::plan::{Content, owned_by, owner};

/// Characters of generated names (apimachinery `util/rand`): no vowels, so no words.
const NAME_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Length of the generated part of a name.
const NAME_SUFFIX: usize = 5;
/// Longest name of an object (RFC 1123 subdomain).
const NAME_LONGEST: usize = 253;

/// Which object a write is about.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// A new slice of this name.
    New(&'a str),
    /// An existing slice, which must be at this version still. Annotations, finalizers and owners of others stay.
    Old(&'a SliceView),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Slice<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Meta<'a>,
    address_type: &'static str,
    endpoints: Vec<ApiEndpoint<'a>>,
    ports: Vec<ApiPort<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    name: &'a str,
    namespace: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_version: Option<&'a str>,
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    finalizers: &'a [String],
    owner_references: Vec<OwnerReference>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiEndpoint<'a> {
    addresses: &'a [String],
    conditions: Conditions,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_ref: Option<TargetRef<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hints: Option<Hints<'a>>,
}

#[derive(Serialize)]
struct Conditions {
    #[serde(skip_serializing_if = "Option::is_none")]
    ready: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serving: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    terminating: Option<bool>,
}

#[derive(Serialize)]
struct TargetRef<'a> {
    kind: &'static str,
    namespace: &'a str,
    name: &'a str,
    uid: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Hints<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    for_zones: Vec<Named<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    for_nodes: Vec<Named<'a>>,
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiPort<'a> {
    name: &'a str,
    protocol: &'a str,
    port: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_protocol: Option<&'a str>,
}

/// The body of a create or replace request.
pub fn body(
    service: &ServiceView,
    content: &Content,
    place: Place<'_>,
    trigger: Option<Timestamp>,
) -> Vec<u8> {
    let (name, old) = match place {
        Place::New(name) => (name, None),
        Place::Old(slice) => (slice.key.name.as_str(), Some(slice)),
    };
    let kept = old.into_iter().flat_map(|it| it.annotations.iter()).filter(|it| it.0 != TRIGGER_TIME);
    let mut annotations: BTreeMap<&str, String> = kept.map(|(key, value)| (key, value.to_owned())).collect();
    annotations.extend(trigger.map(|at| (TRIGGER_TIME, at.to_string())));
    let owners = match old {
        Some(old) if owned_by(old, service) => old.owners.clone(),
        _ => vec![owner(service)],
    };
    let slice = Slice {
        api_version: "discovery.k8s.io/v1",
        kind: "EndpointSlice",
        metadata: Meta {
            name,
            namespace: &service.key.namespace,
            uid: old.map(|it| it.uid.as_str()),
            resource_version: old.map(|it| it.version.as_str()),
            labels: labels(service),
            annotations,
            finalizers: old.map(|it| it.finalizers.as_slice()).unwrap_or_default(),
            owner_references: owners,
        },
        address_type: content.family.as_str(),
        endpoints: content.endpoints.iter().map(|it| endpoint(it)).collect(),
        ports: content
            .ports
            .iter()
            .map(|it| ApiPort {
                name: &it.name,
                protocol: &it.protocol,
                port: it.port,
                app_protocol: it.app_protocol.as_deref(),
            })
            .collect(),
    };
    serde_json::to_vec(&slice).expect("text keys and plain values only")
}

fn endpoint(it: &Endpoint) -> ApiEndpoint<'_> {
    ApiEndpoint {
        addresses: &it.addresses,
        conditions: Conditions {
            ready: it.conditions.ready,
            serving: it.conditions.serving,
            terminating: it.conditions.terminating,
        },
        hostname: it.hostname.as_deref(),
        target_ref: it.target.as_ref().map(|it| TargetRef {
            kind: "Pod",
            namespace: &it.namespace,
            name: &it.name,
            uid: &it.uid,
        }),
        node_name: it.node_name.as_deref(),
        zone: it.zone.as_deref(),
        hints: it.hints.as_ref().map(|it| Hints {
            for_zones: it.zones.iter().map(|name| Named { name }).collect(),
            for_nodes: it.nodes.iter().map(|name| Named { name }).collect(),
        }),
    }
}

/// `<service>-<5 characters>` from random octets. Names are chosen here, so that a creation of unknown outcome can be tried
/// again as itself. A Service name too long for that is cut, as by the API server for `generateName`.
pub fn slice_name(service: &str, random: &[u8]) -> String {
    let letters = random.iter().take(NAME_SUFFIX);
    let suffix: String =
        letters.map(|it| char::from(NAME_ALPHABET[usize::from(*it) % NAME_ALPHABET.len()])).collect();
    let longest = NAME_LONGEST - NAME_SUFFIX - 1;
    let prefix = service.get(..longest).unwrap_or(service);
    format!("{prefix}-{suffix}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::endpointslice::desired::desired;
    use crate::endpointslice::hints::ZoneShares;
    use crate::endpointslice::model::Family;
    use crate::endpointslice::narrow::from_json;
    use crate::endpointslice::plan::plan;

    #[test]
    fn a_written_slice_reads_back_as_planned_and_keeps_what_others_put_there() {
        let service = json!({"metadata": {"name": "web", "namespace": "demo", "uid": "s"},
            "spec": {"selector": {"app": "web"}, "clusterIP": "None", "ipFamilies": ["IPv4"]}});
        let service: ServiceView = from_json(service).unwrap().unwrap();
        let content = Content { family: Family::V4, ports: Vec::new(), endpoints: Vec::new() };
        let at = Timestamp::from_nanosecond(1_500_000_000).unwrap();
        let sent: Value =
            serde_json::from_slice(&body(&service, &content, Place::New("web-1"), Some(at))).unwrap();
        assert_eq!(sent["metadata"]["annotations"], json!({TRIGGER_TIME: "1970-01-01T00:00:01.5Z"}));
        let read: SliceView = from_json(sent).unwrap().unwrap();
        let again = plan(
            &service,
            &[read.clone().into()],
            &desired(&service, &[], |_| None),
            100,
            &ZoneShares::default(),
        );
        assert_eq!(again.writes, []);
        let mut old = read;
        old.annotations = old.annotations.with("mine", "1");
        old.finalizers.push("example.org/f".to_owned());
        old.version = "7".to_owned();
        let sent: Value = serde_json::from_slice(&body(&service, &content, Place::Old(&old), None)).unwrap();
        assert_eq!(sent["metadata"]["annotations"], json!({"mine": "1"}), "no trigger, no annotation");
        assert_eq!(sent["metadata"]["finalizers"], json!(["example.org/f"]));
        assert_eq!(sent["metadata"]["resourceVersion"], "7");
    }

    #[test]
    fn names() {
        assert_eq!(slice_name("web", &[0, 1, 2, 27, 255]), "web-bcdbq");
        assert_eq!(slice_name(&"x".repeat(253), &[0; 5]).len(), 253);
    }
}
