//! Candidates against the embedded API server, in process, with paused time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::Request;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::client::Body;

use super::*;
use crate::apiserver::{self, ApiServer};
use crate::runtime::Readiness;

/// A process that competes and, when it leads, writes every second.
struct Process {
    stop: CancellationToken,
    /// Its requests never come back.
    cut_off: Arc<AtomicBool>,
    leads: Arc<AtomicBool>,
    /// Writes that were sent and answered.
    writes: Arc<AtomicUsize>,
    readiness: Readiness,
    task: JoinHandle<()>,
}

/// A controller that runs, however it ends.
struct Runs(Arc<AtomicBool>);

impl Runs {
    fn begin(leads: &Arc<AtomicBool>) -> Self {
        leads.store(true, Ordering::SeqCst);
        Self(leads.clone())
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

fn cluster() -> Client {
    Client::new(ApiServer::new(apiserver::Options::default()).router(), "default")
}

/// `client` until `cut_off`, then requests hang.
fn through(client: &Client, cut_off: &Arc<AtomicBool>) -> Client {
    let (client, cut_off) = (client.clone(), cut_off.clone());
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, cut_off) = (client.clone(), cut_off.clone());
        async move {
            if cut_off.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            client.send(request).await
        }
    });
    Client::new(service, namespace)
}

impl Process {
    fn start(cluster: &Client, identity: &str) -> Self {
        let options = Options {
            namespace: "kube-system".to_owned(),
            identity: identity.to_owned(),
            timing: Timing::default(),
            random: || 0.5,
        };
        let (stop, readiness) = (CancellationToken::new(), Readiness::default());
        let (cut_off, leads, writes) = <(Arc<AtomicBool>, Arc<AtomicBool>, Arc<AtomicUsize>)>::default();
        let client = through(cluster, &cut_off);
        let ready = readiness.part("test");
        let (leading, counted, to_end) = (leads.clone(), writes.clone(), stop.clone());
        let (in_lead, ready_in_lead) = (ready.clone(), identity.to_owned());
        let task = tokio::spawn(async move {
            lead(&client, "test", options, ControllerMetrics::default(), ready, to_end, |client, end| {
                let (leading, counted) = (leading.clone(), counted.clone());
                let (ready, name) = (in_lead.clone(), ready_in_lead.clone());
                let runs = Runs::begin(&leading);
                async move {
                    let _runs = runs;
                    ready.set();
                    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
                    let mut number = 0;
                    while !end.is_cancelled() {
                        number += 1;
                        let name = Some(format!("{name}-{number}"));
                        let metadata = ObjectMeta { name, ..ObjectMeta::default() };
                        let map = ConfigMap { metadata, ..ConfigMap::default() };
                        if maps.create(&PostParams::default(), &map).await.is_ok() {
                            counted.fetch_add(1, Ordering::SeqCst);
                        }
                        tokio::time::sleep(Duration::from_secs(1)).await; // allow-sleep: paused clock
                    }
                }
            })
            .await;
        });
        Self { stop, cut_off, leads, writes, readiness, task }
    }

    fn leads(&self) -> bool {
        self.leads.load(Ordering::SeqCst)
    }
}

/// Seconds until `done`, at most `most`.
async fn seconds_until(most: u64, done: impl Fn() -> bool) -> u64 {
    for second in 0..most {
        if done() {
            return second;
        }
        tokio::time::sleep(Duration::from_secs(1)).await; // allow-sleep: paused clock
    }
    panic!("not within {most} seconds")
}

async fn lease(cluster: &Client) -> LeaseSpec {
    let leases: Api<Lease> = Api::namespaced(cluster.clone(), "kube-system");
    leases.get("ordinal-test").await.expect("there is a lease").spec.expect("it has a spec")
}

#[tokio::test(start_paused = true)]
async fn one_of_two_leads_and_gives_the_lease_away_when_it_ends() {
    let cluster = cluster();
    let first = Process::start(&cluster, "first");
    seconds_until(5, || first.leads()).await;
    let second = Process::start(&cluster, "second");
    // Ready to take over, without leading, through many renewals.
    second.readiness.wait().await;
    tokio::time::sleep(Duration::from_secs(300)).await; // allow-sleep: paused clock
    assert!(first.leads() && !second.leads());
    assert_eq!(lease(&cluster).await.holder_identity.as_deref(), Some("first"));

    first.stop.cancel();
    first.task.await.expect("it ends");
    assert_eq!(lease(&cluster).await.holder_identity.as_deref(), Some(""), "released");
    let took = seconds_until(6, || second.leads()).await;
    assert!(took <= 4, "a released lease is taken at the next try, not after {took} s");
    let now = lease(&cluster).await;
    assert_eq!((now.holder_identity.as_deref(), now.lease_transitions), (Some("second"), Some(1)));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_stands_down_before_another_leads() {
    let cluster = cluster();
    let first = Process::start(&cluster, "first");
    seconds_until(5, || first.leads()).await;
    let second = Process::start(&cluster, "second");
    second.readiness.wait().await;

    first.cut_off.store(true, Ordering::SeqCst);
    let before = first.writes.load(Ordering::SeqCst);
    let mut both = 0;
    let mut taken = None;
    for second_number in 0..40 {
        if first.leads() && second.leads() {
            both += 1;
        }
        if second.leads() && taken.is_none() {
            taken = Some(second_number);
        }
        tokio::time::sleep(Duration::from_secs(1)).await; // allow-sleep: paused clock
    }
    // The controller of the test hangs in a request: it is ended 5 s after the deadline at the latest.
    assert_eq!(both, 0);
    let taken = taken.expect("the second one leads");
    assert!((13..=20).contains(&taken), "taken after {taken} s");

    // Back again it stands by; what hung was never sent.
    first.cut_off.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(60)).await; // allow-sleep: paused clock
    assert!(second.leads());
    assert_eq!(first.writes.load(Ordering::SeqCst), before);
    first.readiness.wait().await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_taken_away_ends_the_leader() {
    let cluster = cluster();
    let first = Process::start(&cluster, "first");
    seconds_until(5, || first.leads()).await;
    let leases: Api<Lease> = Api::namespaced(cluster.clone(), "kube-system");
    let mut taken = leases.get("ordinal-test").await.expect("there is a lease");
    taken.spec.get_or_insert_default().holder_identity = Some("a person".to_owned());
    leases.replace("ordinal-test", &PostParams::default(), &taken).await.expect("taken");
    seconds_until(5, || !first.leads()).await;
    let took = seconds_until(30, || first.leads()).await;
    assert!(took >= 12, "the other one has its time: {took} s");
}
