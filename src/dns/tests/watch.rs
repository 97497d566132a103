//! The watches against an API server in this process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service as ServiceObject};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::apiserver::{ApiServer, Options};
use crate::dns::{Metrics, watch};
use crate::runtime::Readiness;

struct Cluster {
    client: Client,
    index: Arc<Index>,
    zones: Zones,
}

fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn endpoints(addresses: &[&str]) -> Value {
    let all = addresses.iter().enumerate().map(|(ordinal, address)| {
        json!({"addresses": [address], "hostname": format!("web-{ordinal}"), "conditions": {"ready": true}})
    });
    all.collect()
}

impl Cluster {
    async fn create(&self) {
        let post = PostParams::default();
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.create(&post, &object(json!({"metadata": {"name": "prod"}}))).await.unwrap();
        let services: Api<ServiceObject> = Api::namespaced(self.client.clone(), "prod");
        let service =
            json!({"metadata": {"name": "web"}, "spec": {"clusterIP": "None", "selector": {"app": "web"}}});
        services.create(&post, &object(service)).await.unwrap();
        let slice = json!({
            "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "endpoints": endpoints(&["10.0.0.1"]),
        });
        self.slices().create(&post, &object(slice)).await.unwrap();
    }

    fn slices(&self) -> Api<EndpointSlice> {
        Api::namespaced(self.client.clone(), "prod")
    }

    fn ask(&self, question: &str) -> String {
        let packet = query(question).to_vec().unwrap();
        let reply =
            respond(&packet, Transport::Tcp, &self.index.view(), &self.zones, 0, everybody).here().unwrap();
        print(&Message::from_vec(&reply.octets).unwrap())
    }

    async fn until(&self, question: &str, want: &str) {
        let began = Instant::now();
        while self.ask(question) != want {
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "{question}: {}, not {want}",
                self.ask(question)
            );
            tokio::task::yield_now().await;
        }
    }
}

/// A cluster and a server that follows it.
struct Running {
    cluster: Cluster,
    shutdown: CancellationToken,
    watching: tokio::task::JoinHandle<()>,
}

impl Running {
    /// Starts with `prod/web` and its pod `web-0`; `config` is YAML.
    async fn start(config: &str) -> Self {
        let client = Client::new(ApiServer::new(Options::default()).router(), "default");
        let config: DnsConfig = serde_saphyr::from_str(config).unwrap();
        let config = DnsConfig { shuffle: Shuffle::Off, ..config };
        let zones = config.check(&[]).unwrap();
        let cluster = Cluster { client: client.clone(), index: Arc::new(Index::new(0)), zones };
        cluster.create().await;
        assert_eq!(cluster.ask("web-0.web.prod.svc A"), "SERVFAIL");
        let readiness = Readiness::default();
        let ready = readiness.part("dns");
        let (_, inspections) = mpsc::channel(watch::MAX_INSPECTIONS);
        let shutdown = CancellationToken::new();
        let watching = watch::run(
            client,
            cluster.index.clone(),
            config,
            Metrics::default(),
            inspections,
            ready,
            shutdown.clone(),
        );
        let watching = tokio::spawn(watching);
        readiness.wait().await;
        Self { cluster, shutdown, watching }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.watching.await.unwrap();
    }
}

#[tokio::test]
async fn answers_follow_the_api_server() {
    let running = Running::start("{}").await;
    let cluster = &running.cluster;
    assert_eq!(cluster.ask("web-0.web.prod.svc A"), "A 10.0.0.1");
    assert_eq!(cluster.ask("kubernetes.default.svc A"), "A 10.96.0.1");

    let mut slowest = Duration::ZERO;
    for number in 2..50 {
        let addresses = [format!("10.0.1.{number}"), format!("10.0.2.{number}")];
        let mut slice = cluster.slices().get("web-1").await.unwrap();
        slice.endpoints = object(endpoints(&addresses.each_ref().map(String::as_str)));
        cluster.slices().replace("web-1", &PostParams::default(), &slice).await.unwrap();
        let began = Instant::now();
        cluster.until("web-0.web.prod.svc A", &format!("A {}", addresses[0])).await;
        slowest = slowest.max(began.elapsed());
        assert_eq!(cluster.ask("web-1.web.prod.svc A"), format!("A {}", addresses[1]));
    }
    // Far above the goal, so that a loaded machine passes; a rebuild of the whole zone or a polling watch would not.
    assert!(slowest < Duration::from_secs(1), "a change took {slowest:?} to become visible");

    cluster.slices().delete("web-1", &DeleteParams::default()).await.unwrap();
    cluster.until("web-0.web.prod.svc A", "NXDOMAIN").await;
    running.stop().await;
}

/// Labels are changed by a merge patch; `null` removes one.
async fn label<K>(api: Api<K>, name: &str, labels: Value)
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
    api.patch(name, &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test]
async fn labels_of_a_namespace_show_and_hide_all_of_its_names() {
    let running = Running::start("namespaceSelector: team in (db, web),!legacy").await;
    let cluster = &running.cluster;
    let namespaces = || Api::<Namespace>::all(cluster.client.clone());
    let questions = ["prod.svc A", "web.prod.svc A", "web-0.web.prod.svc A", "1.0.0.10.in-addr.arpa. PTR"];
    let shown = ["NODATA", "A 10.0.0.1", "A 10.0.0.1", "PTR web-0.web.prod.svc.Z"];
    let hidden = ["NXDOMAIN"; 4];
    assert_eq!(questions.map(|it| cluster.ask(it)), hidden);
    assert_eq!(cluster.ask("kubernetes.default.svc A"), "NXDOMAIN");
    for (labels, want) in [
        (json!({"team": "db"}), shown),
        (json!({"legacy": ""}), hidden),
        (json!({"legacy": null}), shown),
        (json!({"team": "other"}), hidden),
        (json!({"team": "web"}), shown),
    ] {
        label(namespaces(), "prod", labels).await;
        cluster.until(questions[0], want[0]).await;
        assert_eq!(questions.map(|it| cluster.ask(it)), want);
    }
    running.stop().await;
}

#[tokio::test]
async fn namespaces_are_watched_one_by_one() {
    for namespaces in ["[prod]", "[Default, prod, nowhere]"] {
        let config =
            format!("{{namespaces: {namespaces}, namespacedWatches: true, sync: {{resync: 200ms}}}}");
        let running = Running::start(&config).await;
        let cluster = &running.cluster;
        assert_eq!(cluster.ask("web-0.web.prod.svc A"), "A 10.0.0.1");
        assert_eq!(cluster.ask("prod.svc A"), "NODATA");
        assert_eq!(cluster.ask("kube-system.svc A"), "NXDOMAIN", "not exposed");
        let several = namespaces.contains("nowhere");
        assert_eq!(cluster.ask("nowhere.svc A"), if several { "NODATA" } else { "NXDOMAIN" });
        let api = if several { "A 10.96.0.1" } else { "NXDOMAIN" };
        assert_eq!(cluster.ask("kubernetes.default.svc A"), api);

        let mut slice = cluster.slices().get("web-1").await.unwrap();
        slice.endpoints = object(endpoints(&["10.0.1.7"]));
        cluster.slices().replace("web-1", &PostParams::default(), &slice).await.unwrap();
        cluster.until("web-0.web.prod.svc A", "A 10.0.1.7").await;
        // Longer than it takes to list everything again and to let the watches explain what differs.
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(600) {
            assert_eq!(
                cluster.ask("prod.svc A"),
                "NODATA",
                "a comparison does not lose what was never watched"
            );
            assert_eq!(cluster.ask("web-0.web.prod.svc A"), "A 10.0.1.7");
            tokio::task::yield_now().await;
        }
        cluster.slices().delete("web-1", &DeleteParams::default()).await.unwrap();
        cluster.until("web-0.web.prod.svc A", "NXDOMAIN").await;
        running.stop().await;
    }
}

#[tokio::test]
async fn a_selector_filters_services_and_slices() {
    let running = Running::start("selector: expose=dns").await;
    let cluster = &running.cluster;
    let services = || Api::<ServiceObject>::namespaced(cluster.client.clone(), "prod");
    assert_eq!(cluster.ask("prod.svc A"), "NODATA", "namespaces are not filtered by it");
    assert_eq!(cluster.ask("kubernetes.default.svc A"), "NXDOMAIN");
    label(cluster.slices(), "web-1", json!({"expose": "dns"})).await;
    label(services(), "web", json!({"expose": "dns"})).await;
    cluster.until("web-0.web.prod.svc A", "A 10.0.0.1").await;
    label(cluster.slices(), "web-1", json!({"expose": null})).await;
    cluster.until("1.0.0.10.in-addr.arpa. PTR", "NXDOMAIN").await;
    assert_eq!(cluster.ask("web.prod.svc A"), "NXDOMAIN/1", "a headless service without endpoints");
    label(services(), "web", json!({"expose": "no"})).await;
    cluster.until("web.prod.svc A", "NXDOMAIN").await;
    running.stop().await;
}

fn pod_object(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"nodeName": "node-1", "containers": [{"name": "c", "image": "i"}]}})
}

#[tokio::test]
async fn verified_pods_follow_their_phase() {
    let running = Running::start("pods: verified").await;
    let cluster = &running.cluster;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "prod");
    pods.create(&PostParams::default(), &object(pod_object("p"))).await.unwrap();
    let status = async |status: Value| {
        let patch = Patch::Merge(json!({"status": status}));
        pods.patch_status("p", &PatchParams::default(), &patch).await.unwrap();
    };
    assert_eq!(cluster.ask("10-1-0-1.prod.pod A"), "NXDOMAIN");
    let both = json!([{"ip": "10.1.0.1"}, {"ip": "fd00::1"}]);
    status(json!({"phase": "Running", "podIP": "10.1.0.1", "podIPs": both})).await;
    cluster.until("10-1-0-1.prod.pod A", "A 10.1.0.1").await;
    assert_eq!(cluster.ask("fd00--1.prod.pod AAAA"), "AAAA fd00::1");
    assert_eq!(cluster.ask("10-1-0-1.default.pod A"), "NXDOMAIN");
    for (phase, want) in [
        ("Failed", "NXDOMAIN"),
        ("Running", "A 10.1.0.1"),
        ("Succeeded", "NXDOMAIN"),
        ("Pending", "A 10.1.0.1"),
    ] {
        status(json!({"phase": phase})).await;
        cluster.until("10-1-0-1.prod.pod A", want).await;
    }
    // A pod on a node terminates until its kubelet says that it has ended.
    pods.delete("p", &DeleteParams::default()).await.unwrap();
    status(json!({"message": "ending"})).await;
    assert!(pods.get("p").await.unwrap().metadata.deletion_timestamp.is_some());
    assert_eq!(cluster.ask("10-1-0-1.prod.pod A"), "A 10.1.0.1");
    pods.delete("p", &DeleteParams::default().grace_period(0)).await.unwrap();
    cluster.until("10-1-0-1.prod.pod A", "NXDOMAIN").await;
    running.stop().await;
}

#[tokio::test]
async fn pending_names_follow_the_scale_of_a_stateful_set() {
    let running = Running::start("pendingFromStatefulsets: true").await;
    let cluster = &running.cluster;
    let sets: Api<StatefulSet> = Api::namespaced(cluster.client.clone(), "prod");
    assert_eq!(cluster.ask("web-2.web.prod.svc A"), "NXDOMAIN");
    let set = json!({"metadata": {"name": "web"}, "spec": {"serviceName": "web", "replicas": 3,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod_object("x")["spec"]}}});
    sets.create(&PostParams::default(), &object(set)).await.unwrap();
    cluster.until("web-2.web.prod.svc A", "NXDOMAIN/1").await;
    assert_eq!(cluster.ask("web-0.web.prod.svc A"), "A 10.0.0.1");
    assert_eq!(cluster.ask("web-3.web.prod.svc A"), "NXDOMAIN");
    let scale = Patch::Merge(json!({"spec": {"replicas": 4, "ordinals": {"start": 1}}}));
    sets.patch("web", &PatchParams::default(), &scale).await.unwrap();
    cluster.until("web-4.web.prod.svc A", "NXDOMAIN/1").await;
    sets.delete("web", &DeleteParams::default()).await.unwrap();
    cluster.until("web-4.web.prod.svc A", "NXDOMAIN").await;
    running.stop().await;
}
