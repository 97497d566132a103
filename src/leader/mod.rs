//! Leader election by Lease: of several processes one runs a controller.
//!
//! Lease ──[`election::Election::look`]──▶ acquire or renew ──▶ [`fence::Fence`] around the controller's client
//!
//! Invariants: a controller runs only between acquiring and losing the lease. Whatever it still does after that, its
//! writes are not sent: the fence shuts by time alone, `renew_deadline` after the last renewal was *asked for*, well before
//! another candidate may take the lease. Safety does not rest on this: every write of a controller carries its own
//! preconditions.
//! Sources: client-go `tools/leaderelection`; the Lease API, coordination.k8s.io/v1.

pub mod election;
pub mod fence;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, info, info_span, warn};

use self::election::{Election, Record, Step, Timing};
use self::fence::Fence;
use crate::runtime::{ControllerMetrics, ReadyHandle};

/// How long a controller that lost the lease may take to end before it is ended.
const END_WITHIN: Duration = Duration::from_secs(5);

/// What one candidate stands for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of this process, unlike that of every other candidate.
    pub identity: String,
    /// Its times.
    pub timing: Timing,
    /// 0 to 1: how long this try waits for the next.
    pub random: fn() -> f64,
}

/// The Lease of a component.
pub fn lease_name(component: &str) -> String {
    format!("ordinal-{component}")
}

/// Runs `controller` whenever this process leads, until `stop`; then it is ended in peace and the lease given away.
///
/// `controller` gets a client whose writes end with the lease, and a token that says when it has to end. `ready` holds
/// while this process is ready to take over, or leads and the controller says so.
pub async fn lead<F>(
    client: &Client,
    component: &'static str,
    options: Options,
    metrics: ControllerMetrics,
    ready: ReadyHandle,
    stop: CancellationToken,
    controller: impl Fn(Client, CancellationToken) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut candidate = Candidate::new(client, component, options);
    let span = info_span!("leader", component);
    metrics.leads(component, false);
    loop {
        let acquired = candidate.acquire(&ready).instrument(span.clone());
        let fence = tokio::select! {
            () = stop.cancelled() => return,
            fence = acquired => fence,
        };
        metrics.leads(component, true);
        let end = CancellationToken::new();
        let mut running = tokio::spawn(controller(fence.around(client), end.clone()));
        let stopped = tokio::select! {
            () = stop.cancelled() => true,
            () = candidate.keep(&fence).instrument(span.clone()) => false,
        };
        end.cancel();
        if stopped {
            // What is under way may finish while the lease is kept.
            tokio::select! {
                _ = &mut running => {}
                () = candidate.keep(&fence).instrument(span.clone()) => end_now(&mut running).await,
            }
            fence.shut();
            candidate.release().instrument(span.clone()).await;
            metrics.leads(component, false);
            return;
        }
        fence.shut();
        metrics.leads(component, false);
        end_now(&mut running).await;
    }
}

async fn end_now(running: &mut JoinHandle<()>) {
    if tokio::time::timeout(END_WITHIN, &mut *running).await.is_err() {
        running.abort();
    }
}

struct Candidate {
    leases: Api<Lease>,
    name: String,
    election: Election,
    options: Options,
    origin: Instant,
    /// The Lease as this process wrote it last.
    held: Option<Lease>,
}

impl Candidate {
    fn new(client: &Client, component: &str, options: Options) -> Self {
        Self {
            leases: Api::namespaced(client.clone(), &options.namespace),
            name: lease_name(component),
            election: Election::new(options.identity.clone(), options.timing.lease_duration),
            options,
            origin: Instant::now(),
            held: None,
        }
    }

    /// Tries until this process leads.
    async fn acquire(&mut self, ready: &ReadyHandle) -> Fence {
        let fence = Fence::shut_at_first();
        let mut told = None;
        loop {
            let began = Instant::now();
            // A request that hangs must not keep others from being tried.
            let tried = tokio::time::timeout(self.options.timing.renew_deadline, self.attempt()).await;
            match tried {
                Ok(Ok(None)) => {
                    fence.open_until(began + self.options.timing.renew_deadline);
                    info!(lease = %self.name, identity = self.options.identity, "leading");
                    return fence;
                }
                Ok(Ok(Some(holder))) => {
                    ready.set();
                    if told.as_ref() != Some(&holder) {
                        info!(lease = %self.name, %holder, "standing by");
                        told = Some(holder);
                    }
                }
                Ok(Err(error)) => {
                    warn!(lease = %self.name, %error, "the lease cannot be acquired, retrying");
                }
                Err(_) => warn!(lease = %self.name, "acquiring the lease takes too long, retrying"),
            }
            tokio::time::sleep(self.options.timing.wait((self.options.random)())).await; // allow-sleep: the retry period
        }
    }

    /// Renews until the lease is lost.
    async fn keep(&mut self, fence: &Fence) {
        loop {
            tokio::time::sleep(self.options.timing.retry_period).await; // allow-sleep: the retry period
            let began = Instant::now();
            match tokio::time::timeout_at(fence.until(), self.attempt()).await {
                Ok(Ok(None)) => fence.open_until(began + self.options.timing.renew_deadline),
                Ok(Ok(Some(holder))) => {
                    warn!(lease = %self.name, %holder, "another process leads");
                    return;
                }
                Ok(Err(error)) if Instant::now() < fence.until() => {
                    warn!(lease = %self.name, %error, "the lease cannot be renewed, retrying");
                }
                Ok(Err(error)) => {
                    warn!(lease = %self.name, %error, "the lease could not be renewed in time: standing down");
                    return;
                }
                Err(_) => {
                    warn!(lease = %self.name, "the lease could not be renewed in time: standing down");
                    return;
                }
            }
        }
    }

    /// Acquires or renews once. `Some`: who leads instead.
    async fn attempt(&mut self) -> Result<Option<String>, kube::Error> {
        // Only what has changed has to be read again.
        if let Some(lease) = &self.held {
            match self.write(lease.clone()).await {
                Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {
                    debug!(lease = %self.name, "the lease changed");
                    self.held = None;
                }
                other => return other,
            }
        }
        match self.leases.get_opt(&self.name).await? {
            Some(lease) => self.write(lease).await,
            None => self.write(Lease::default()).await,
        }
    }

    /// Writes the next record over `lease`, if it may. `Some`: who leads instead.
    async fn write(&mut self, mut lease: Lease) -> Result<Option<String>, kube::Error> {
        let exists = lease.metadata.resource_version.is_some();
        let found = exists.then(|| record(&lease));
        let next = match self.election.look(found.as_ref(), self.origin.elapsed(), Timestamp::now()) {
            Step::Stand => return Ok(found.map(|it| it.holder)),
            Step::Write(next) => next,
        };
        put(&mut lease, &next);
        let params = PostParams::default();
        let written = if exists {
            self.leases.replace(&self.name, &params, &lease).await?
        } else {
            lease.metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            self.leases.create(&params, &lease).await?
        };
        self.held = Some(written);
        Ok(None)
    }

    /// Gives the lease away, if it is still held.
    async fn release(&mut self) {
        let Some(mut lease) = self.held.take() else { return };
        let released = self.election.released(&record(&lease), Timestamp::now());
        put(&mut lease, &released);
        let params = PostParams::default();
        let write = self.leases.replace(&self.name, &params, &lease);
        match tokio::time::timeout(self.options.timing.retry_period, write).await {
            Ok(Ok(_)) => info!(lease = %self.name, "released"),
            Ok(Err(error)) => {
                warn!(lease = %self.name, %error, "the lease could not be released; it runs out");
            }
            Err(_) => warn!(lease = %self.name, "releasing the lease takes too long; it runs out"),
        }
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        duration: Duration::from_secs(u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0)),
        acquired: spec.acquire_time.map(|it| it.0),
        renewed: spec.renew_time.map(|it| it.0),
        transitions: spec.lease_transitions.unwrap_or(0),
    }
}

/// Leaves what others put into the spec as it is.
fn put(lease: &mut Lease, record: &Record) {
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    spec.holder_identity = Some(record.holder.clone());
    spec.lease_duration_seconds = Some(i32::try_from(record.duration.as_secs()).unwrap_or(i32::MAX));
    spec.acquire_time = record.acquired.map(MicroTime);
    spec.renew_time = record.renewed.map(MicroTime);
    spec.lease_transitions = Some(record.transitions);
}

#[cfg(test)]
mod tests;
