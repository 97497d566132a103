//! The watches over a connection that fails: section 12 of the behaviour. Time is paused and moved on by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, future};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use k8s_openapi::api::core::v1::{Namespace, Service as ServiceObject};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::apiserver::{ApiServer, Options};
use crate::dns::freshness::Freshness;
use crate::dns::{Metrics, watch};
use crate::runtime::Readiness;

/// What goes wrong on the connection of the watches.
#[derive(Default)]
struct Faults {
    /// Requests fail.
    down: AtomicBool,
    /// What watches bring is lost, without an error, and so is what they bring later.
    mute: AtomicBool,
    /// Watches are refused: what they ask for is gone.
    gone: AtomicBool,
    /// Ends the watches that are open.
    cut: std::sync::Mutex<CancellationToken>,
    /// Requests that asked for a list.
    lists: std::sync::atomic::AtomicU32,
}

impl Faults {
    fn set(&self, fault: impl Fn(&Self) -> &AtomicBool, on: bool) {
        fault(self).store(on, Ordering::Relaxed);
    }

    fn cut(&self) {
        std::mem::take(&mut *self.cut.lock().unwrap()).cancel();
    }

    fn is(&self, fault: impl Fn(&Self) -> &AtomicBool) -> bool {
        fault(self).load(Ordering::Relaxed)
    }

    fn client(self: &Arc<Self>, inner: &Client) -> Client {
        let (faults, inner) = (Arc::clone(self), inner.clone());
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let (faults, inner) = (Arc::clone(&faults), inner.clone());
            async move {
                if faults.is(|it| &it.down) {
                    return Err(kube::Error::Service("connection refused".into()));
                }
                let watch = request.uri().query().is_some_and(|it| it.contains("watch=true"));
                if !watch {
                    faults.lists.fetch_add(1, Ordering::Relaxed);
                    return Ok(inner.send(request).await?.map(BodyExt::boxed_unsync));
                }
                if faults.is(|it| &it.gone) {
                    let status = json!({"kind": "Status", "status": "Failure", "message": "too old", "reason": "Expired", "code": 410});
                    let event = json!({"type": "ERROR", "object": status}).to_string() + "\n";
                    return Ok(http::Response::new(Body::from(event.into_bytes()).boxed_unsync()));
                }
                let cut = faults.cut.lock().unwrap().clone();
                let response = inner.send(request).await?;
                Ok(response.map(|body| {
                    let frames = body.into_data_stream().take_until(cut.cancelled_owned());
                    let dead = AtomicBool::new(false);
                    let frames = frames.try_filter(move |_| {
                        dead.fetch_or(faults.is(|it| &it.mute), Ordering::Relaxed);
                        future::ready(!dead.load(Ordering::Relaxed))
                    });
                    StreamBody::new(frames.map_ok(Frame::data)).boxed_unsync()
                }))
            }
        });
        Client::new(service, "default")
    }
}

struct Running {
    faults: Arc<Faults>,
    client: Client,
    index: Arc<Index>,
    zones: Zones,
    metrics: Metrics,
    readiness: Readiness,
    shutdown: CancellationToken,
    _inspect: mpsc::Sender<watch::Inspection>,
}

fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

impl Running {
    /// With `prod/web`, whose pod `web-0` has the address 10.0.0.1; `config` is YAML.
    async fn start(config: &str, faults: Faults) -> Self {
        let faults = Arc::new(faults);
        let client = Client::new(ApiServer::new(Options::default()).router(), "default");
        let post = PostParams::default();
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.create(&post, &object(json!({"metadata": {"name": "prod"}}))).await.unwrap();
        let services: Api<ServiceObject> = Api::namespaced(client.clone(), "prod");
        let web = json!({"metadata": {"name": "web"}, "spec": {"clusterIP": "None"}});
        services.create(&post, &object(web)).await.unwrap();
        let config: DnsConfig = serde_saphyr::from_str(config).unwrap();
        let config = DnsConfig { shuffle: Shuffle::Off, ..config };
        let (readiness, shutdown, metrics) =
            (Readiness::default(), CancellationToken::new(), Metrics::default());
        let (inspect, inspections) = mpsc::channel(watch::MAX_INSPECTIONS);
        let (index, zones) = (Arc::new(Index::new(0)), config.check(&[]).unwrap());
        let running = Self {
            faults: Arc::clone(&faults),
            client: client.clone(),
            index: Arc::clone(&index),
            zones,
            metrics: metrics.clone(),
            readiness: readiness.clone(),
            shutdown: shutdown.clone(),
            _inspect: inspect,
        };
        running.slices().create(&post, &object(slice_object("web-1", "10.0.0.1"))).await.unwrap();
        let watched = faults.client(&client);
        let ready = readiness.part("dns");
        tokio::spawn(watch::run(watched, index, config, metrics, inspections, ready, shutdown));
        running
    }

    fn slices(&self) -> Api<EndpointSlice> {
        Api::namespaced(self.client.clone(), "prod")
    }

    async fn readdress(&self, address: &str) {
        let patch = Patch::Merge(json!({"endpoints": slice_object("web-1", address)["endpoints"]}));
        self.slices().patch("web-1", &PatchParams::default(), &patch).await.unwrap();
    }

    fn ask(&self, question: &str) -> String {
        let packet = query(question).to_vec().unwrap();
        let reply =
            respond(&packet, Transport::Tcp, &self.index.view(), &self.zones, 0, everybody).here().unwrap();
        print(&Message::from_vec(&reply.octets).unwrap())
    }

    /// Moves time on until `done`, for ten minutes at most. Returns how long it took.
    async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) -> Duration {
        let began = tokio::time::Instant::now();
        while !done(self) {
            assert!(began.elapsed() < Duration::from_secs(600), "{what}");
            tokio::time::advance(Duration::from_millis(100)).await;
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
        began.elapsed()
    }

    async fn pass(&self, time: Duration) {
        let until = tokio::time::Instant::now() + time;
        self.until("time passes", |_| tokio::time::Instant::now() >= until).await;
    }

    async fn answers(&self, question: &str, want: &str) -> Duration {
        self.until(&format!("{question}: {want}"), |it| it.ask(question) == want).await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn slice_object(name: &str, address: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "hostname": "web-0"}]})
}

const WEB: &str = "web-0.web.prod.svc A";

#[tokio::test(start_paused = true)]
async fn a_resync_finds_what_the_watch_has_lost() {
    let running = Running::start("{sync: {resync: 1m}}", Faults::default()).await;
    running.answers(WEB, "A 10.0.0.1").await;
    running.until("a resync without differences", |it| it.metrics.sync.resyncs() == (1, 0)).await;
    running.faults.set(|it| &it.mute, true);
    running.readdress("10.0.0.2").await;
    running
        .slices()
        .create(&PostParams::default(), &object(slice_object("web-2", "10.0.0.3")))
        .await
        .unwrap();
    let services: Api<ServiceObject> = Api::namespaced(running.client.clone(), "default");
    services.delete("kubernetes", &Default::default()).await.unwrap();
    running.pass(Duration::from_secs(10)).await;
    assert_eq!(running.ask(WEB), "A 10.0.0.1", "nobody has told");
    assert_eq!(running.index.view().freshness(), Freshness::Fresh, "nor failed");
    let took = running.answers(WEB, "A 10.0.0.2 A 10.0.0.3").await;
    assert!(took < Duration::from_secs(70), "{took:?}");
    assert_eq!(running.ask("kubernetes.default.svc A"), "NXDOMAIN");
    assert_eq!(running.metrics.sync.resyncs(), (2, 3));
    running.until("nothing is left to repair", |it| it.metrics.sync.resyncs() == (3, 3)).await;
}

#[tokio::test(start_paused = true)]
async fn a_resync_leaves_alone_what_the_watch_brings_later() {
    let running = Running::start("{sync: {resync: 1m}}", Faults::default()).await;
    running.answers(WEB, "A 10.0.0.1").await;
    let lists = |it: &Running| it.faults.lists.load(Ordering::Relaxed);
    let before = lists(&running);
    running.until("the second list", |it| lists(it) > before).await;
    running.readdress("10.0.0.2").await;
    running.answers(WEB, "A 10.0.0.2").await;
    running.until("the resync ends", |it| it.metrics.sync.resyncs().0 == 1).await;
    assert_eq!((running.metrics.sync.resyncs(), running.ask(WEB)), ((1, 0), "A 10.0.0.2".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_lost_watch_makes_answers_stale_until_it_is_resumed() {
    let running =
        Running::start("{sync: {staleAfter: 1m, maxStale: 5m, resync: 0s}}", Faults::default()).await;
    running.answers(WEB, "A 10.0.0.1").await;
    running.pass(Duration::from_secs(300)).await;
    assert_eq!(running.index.view().freshness(), Freshness::Fresh, "a quiet watch is not a lost one");
    running.faults.set(|it| &it.down, true);
    running.faults.cut();
    running.pass(Duration::from_secs(30)).await;
    assert_eq!(running.index.view().freshness(), Freshness::Fresh);
    running.until("stale", |it| it.index.view().freshness() == Freshness::Stale).await;
    assert_eq!(running.ask(WEB), "A 10.0.0.1", "the last state is served");
    assert!(running.readiness.missing().is_empty(), "readiness stays");
    running.until("too stale", |it| it.index.view().freshness() == Freshness::TooStale).await;
    for question in [WEB, "none.prod.svc A", "1.0.0.10.in-addr.arpa. PTR"] {
        assert_eq!(running.ask(question), "SERVFAIL", "{question}");
    }
    assert_eq!(running.ask("svc A"), "NODATA", "names that need no objects");
    running.readdress("10.0.0.2").await;
    running.faults.set(|it| &it.down, false);
    running.answers(WEB, "A 10.0.0.2").await;
    running.until("fresh", |it| it.index.view().freshness() == Freshness::Fresh).await;
}

#[tokio::test(start_paused = true)]
async fn an_expired_watch_lists_again() {
    let running = Running::start("{sync: {resync: 0s}}", Faults::default()).await;
    running.answers(WEB, "A 10.0.0.1").await;
    running.faults.set(|it| &it.gone, true);
    running.faults.cut();
    running.readdress("10.0.0.2").await;
    running.answers(WEB, "A 10.0.0.2").await;
    running.faults.set(|it| &it.gone, false);
    running.pass(Duration::from_secs(60)).await;
    running.readdress("10.0.0.3").await;
    running.answers(WEB, "A 10.0.0.3").await;
    assert_eq!(running.index.view().freshness(), Freshness::Fresh);
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_given_up() {
    let running = Running::start("{sync: {resync: 0s}}", Faults::default()).await;
    running.answers(WEB, "A 10.0.0.1").await;
    running.faults.set(|it| &it.mute, true);
    running.readdress("10.0.0.2").await;
    running.pass(Duration::from_secs(1)).await;
    // The connections that are open stay silent, new ones work.
    running.faults.set(|it| &it.mute, false);
    let took = running.answers(WEB, "A 10.0.0.2").await;
    assert!((50..=125).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn readiness_says_what_it_waits_for() {
    let down = Faults { down: AtomicBool::new(true), ..Faults::default() };
    let running = Running::start("{}", down).await;
    running.pass(Duration::from_secs(6)).await;
    let waiting = ["dns (waiting for the first list of Namespaces, Services, EndpointSlices)"];
    assert_eq!(running.readiness.missing(), waiting);
    assert_eq!(running.ask(WEB), "SERVFAIL");
    running.faults.set(|it| &it.down, false);
    running.until("ready", |it| it.readiness.missing().is_empty()).await;
    assert_eq!(running.ask(WEB), "A 10.0.0.1");
}

#[tokio::test(start_paused = true)]
async fn what_is_left_out_is_counted_while_it_is_there() {
    let running = Running::start("{sync: {resync: 0s}}", Faults::default()).await;
    running.answers(WEB, "A 10.0.0.1").await;
    let mut registry = prometheus_client::registry::Registry::with_prefix("ordinal");
    running.metrics.register(&mut registry);
    let count = |reason: &str| {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let start = format!("ordinal_dns_skipped_objects{{kind=\"EndpointSlice\",reason=\"{reason}\"}} ");
        text.lines().find_map(|it| it.strip_prefix(&start).map(str::to_owned))
    };
    assert_eq!((count("fqdn_slice"), count("no_service")), (None, None));
    let mut names = slice_object("names", "www.example.com");
    names["addressType"] = json!("FQDN");
    let mut orphan = slice_object("orphan", "10.0.0.9");
    orphan["metadata"]["labels"]["kubernetes.io/service-name"] = json!("none");
    for it in [names, orphan] {
        running.slices().create(&PostParams::default(), &object(it)).await.unwrap();
    }
    running.until("counted", |_| count("no_service").as_deref() == Some("1")).await;
    assert_eq!(count("fqdn_slice").as_deref(), Some("1"));
    running.slices().delete("names", &Default::default()).await.unwrap();
    running.slices().delete("orphan", &Default::default()).await.unwrap();
    running.until("gone", |_| count("no_service").as_deref() == Some("0")).await;
    assert_eq!(count("fqdn_slice").as_deref(), Some("0"));
}
