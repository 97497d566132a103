//! A small cluster with every form of record, read from the objects an API server would send.

use std::sync::OnceLock;

use serde_json::{Value, json};

use ordinal::dns::cache::{Cache, Event, Input};
use ordinal::dns::config::Zones;
use ordinal::dns::index::Index;
use ordinal::dns::model::{Service, Slice};
use ordinal::dns::objects::Kind;
use ordinal::k8s::watched::Watched;

/// What queries are answered from.
pub struct Zone {
    pub index: Index,
    pub zones: Zones,
}

/// Made once. Answers are sorted, so that codecs can be compared.
pub fn zone() -> &'static Zone {
    static ZONE: OnceLock<Zone> = OnceLock::new();
    ZONE.get_or_init(|| {
        let config = "{shuffle: off, pods: insecure, endpointNames: both, maxUdpPayload: 4096}";
        let config: ordinal::dns::DnsConfig = serde_saphyr::from_str(config).expect("valid");
        let own = ["192.0.2.53".parse().expect("valid"), "2001:db8::53".parse().expect("valid")];
        let zones = config.check(&own).expect("valid");
        let (mut cache, index) = (Cache::new(&config), Index::new(1_700_000_000));
        cache.apply(Input::Namespace(Event::ListStart));
        cache.apply(Input::Namespace(Event::Listed("prod".into())));
        cache.apply(Input::Namespace(Event::Listed("empty".into())));
        cache.apply(Input::Namespace(Event::ListEnd));
        cache.apply(Input::Service(Event::ListStart));
        for object in services() {
            cache.apply(Input::Service(Event::Listed(narrowed::<Service>(&object))));
        }
        cache.apply(Input::Service(Event::ListEnd));
        cache.apply(Input::Slice(Event::ListStart));
        for object in slices() {
            cache.apply(Input::Slice(Event::Listed(narrowed::<Slice>(&object))));
        }
        cache.apply(Input::Slice(Event::ListEnd));
        cache.publish(&index, 1_700_000_001);
        Zone { index, zones }
    })
}

/// Through text, as from the network.
fn narrowed<T: Kind>(object: &Value) -> T {
    let watched: Watched<T> = serde_json::from_str(&object.to_string()).expect("an object of this kind");
    watched.view.value.expect("it means something")
}

fn object(name: &str, spec: Value) -> Value {
    json!({"metadata": {"namespace": "prod", "name": name}, "spec": spec})
}

/// Services of every kind; two of them alias each other.
pub fn services() -> Vec<Value> {
    let ports =
        json!([{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}, {"port": 9}]);
    vec![
        object("web", json!({"clusterIP": "None", "ports": ports, "selector": {"app": "web"}})),
        object("big", json!({"clusterIP": "None", "ports": ports})),
        object("api", json!({"clusterIPs": ["10.96.0.10", "fd00::a"], "ports": ports})),
        object("idle", json!({"clusterIP": "None"})),
        object("ext", json!({"type": "ExternalName", "externalName": "www.example.com"})),
        object("in", json!({"type": "ExternalName", "externalName": "web.prod.svc.cluster.local"})),
        object("gone", json!({"type": "ExternalName", "externalName": "nobody.prod.svc.cluster.local"})),
        object("a", json!({"type": "ExternalName", "externalName": "b.prod.svc.cluster.local"})),
        object("b", json!({"type": "ExternalName", "externalName": "a.prod.svc.cluster.local"})),
    ]
}

/// Their slices, of both families.
pub fn slices() -> Vec<Value> {
    let ports = json!([{"name": "http", "port": 8080}, {"name": "dns", "port": 53, "protocol": "UDP"}]);
    let slice = |service: &str, family: &str, endpoints: Value| {
        json!({
            "metadata": {"namespace": "prod", "name": format!("{service}-{family}"),
                "labels": {"kubernetes.io/service-name": service}},
            "addressType": family, "ports": ports, "endpoints": endpoints,
        })
    };
    let endpoint = |at: usize, address: String, ready: bool| {
        json!({"addresses": [address], "hostname": format!("pod-{at}"), "conditions": {"ready": ready},
            "targetRef": {"kind": "Pod", "name": format!("pod-{at}")}})
    };
    let many =
        |count: usize| (0..count).map(|at| endpoint(at, format!("10.1.{}.{}", at / 250, at % 250), at != 2));
    let six = (0..3).map(|at| endpoint(at, format!("fd00:1::{at}"), true)).collect::<Value>();
    let anonymous = json!([{"addresses": ["10.2.0.1"], "targetRef": {"kind": "Pod", "name": "api-abcde"}}]);
    vec![
        slice("web", "IPv4", many(4).collect()),
        slice("web", "IPv6", six),
        slice("big", "IPv4", many(600).collect()),
        slice("api", "IPv4", anonymous),
        slice("idle", "IPv4", json!([endpoint(0, "10.3.0.1".into(), false)])),
    ]
}
