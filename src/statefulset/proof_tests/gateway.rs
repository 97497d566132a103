//! The way from a controller to the API server, which fails where it is told to.
//!
//! Every request is judged by [`rules`](super::rules) before anything else happens to it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tower::{BoxError, ServiceExt as _};

use super::rules::Judge;

/// A kind of write (FLT-1, FLT-2 hit each of them).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    RevisionCreate,
    RevisionUpdate,
    RevisionDelete,
    ClaimCreate,
    ClaimUpdate,
    PodCreate,
    PodPatch,
    PodDeleteCondemned,
    PodDeleteOutdated,
    PodDeleteEnded,
    Status,
    /// An uncached look, or a write that no rule allows.
    Other,
}

impl Site {
    pub const ALL: [Self; 11] = [
        Self::RevisionCreate,
        Self::RevisionUpdate,
        Self::RevisionDelete,
        Self::ClaimCreate,
        Self::ClaimUpdate,
        Self::PodCreate,
        Self::PodPatch,
        Self::PodDeleteCondemned,
        Self::PodDeleteOutdated,
        Self::PodDeleteEnded,
        Self::Status,
    ];
}

/// When the controller dies (FLT-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The write is never sent.
    Before,
    /// It is committed, the answer never arrives.
    Committed,
    /// The answer arrives, and nothing comes after it.
    Answered,
}

/// What the API server says instead (FLT-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Conflict,
    AlreadyExists,
    /// Where the write is about an object, somebody removes the object first.
    NotFound,
    Forbidden,
    Invalid,
    TooManyRequests,
    InternalError,
    Unavailable,
    /// No answer; the write is committed.
    TimeoutCommitted,
    /// No answer; the write is lost.
    TimeoutLost,
    /// The true answer, 30 seconds late.
    Slow,
    /// Half of the true answer.
    Truncated,
}

impl Answer {
    pub const ALL: [Self; 12] = [
        Self::Conflict,
        Self::AlreadyExists,
        Self::NotFound,
        Self::Forbidden,
        Self::Invalid,
        Self::TooManyRequests,
        Self::InternalError,
        Self::Unavailable,
        Self::TimeoutCommitted,
        Self::TimeoutLost,
        Self::Slow,
        Self::Truncated,
    ];

    fn status(self) -> Option<(u16, &'static str)> {
        Some(match self {
            Self::Conflict => (409, "Conflict"),
            Self::AlreadyExists => (409, "AlreadyExists"),
            Self::NotFound => (404, "NotFound"),
            Self::Forbidden => (403, "Forbidden"),
            Self::Invalid => (422, "Invalid"),
            Self::TooManyRequests => (429, "TooManyRequests"),
            Self::InternalError => (500, "InternalError"),
            Self::Unavailable => (503, "ServiceUnavailable"),
            _ => return None,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Crash(Moment),
    Answer(Answer),
}

/// A fault that waits for its write.
#[derive(Debug, Clone)]
pub struct Trap {
    /// Which kind of write; `None`: any.
    pub site: Option<Site>,
    /// How many of them pass first.
    pub after: usize,
    pub fault: Fault,
}

/// What outlives a crash of the controller.
#[derive(Default)]
pub struct Record {
    pub traps: Vec<Trap>,
    /// Faults that happened.
    pub fired: Vec<(Site, Fault)>,
    /// Writes sent, in order.
    pub writes: Vec<Site>,
    /// Everything that happened, for the message of a failure and for comparing histories.
    pub log: Vec<String>,
    /// Rules that were broken.
    pub broken: Vec<String>,
}

pub type SharedRecord = Arc<Mutex<Record>>;

pub struct Gateway {
    router: axum::Router,
    pub record: SharedRecord,
    pub judge: Mutex<Judge>,
    name: &'static str,
    /// Fires when the controller is to die.
    pub crash: Notify,
    /// It dies at its next request.
    doomed: Mutex<bool>,
}

/// A request as the rules see it.
#[derive(Debug)]
pub struct Call {
    pub method: Method,
    pub plural: String,
    pub name: String,
    pub status: bool,
    pub body: Value,
}

impl Call {
    fn read(parts: &http::request::Parts, bytes: &[u8]) -> Self {
        let path: Vec<_> = parts.uri.path().split('/').filter(|it| !it.is_empty()).collect();
        let at = path.iter().position(|it| *it == "namespaces").map_or(path.len(), |it| it + 2);
        let body: Value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
        let named = path.get(at + 1).map(|it| (*it).to_owned());
        let in_body = || body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        Self {
            method: parts.method.clone(),
            plural: path.get(at).copied().unwrap_or_default().to_owned(),
            name: named.unwrap_or_else(in_body),
            status: path.get(at + 2) == Some(&"status"),
            body,
        }
    }
}

impl Gateway {
    pub fn new(name: &'static str, router: axum::Router, record: SharedRecord, judge: Judge) -> Arc<Self> {
        let (crash, doomed) = (Notify::new(), Mutex::new(false));
        Arc::new(Self { router, record, judge: Mutex::new(judge), name, crash, doomed })
    }

    pub fn client(self: &Arc<Self>) -> Client {
        let gateway = Arc::clone(self);
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let gateway = Arc::clone(&gateway);
            async move { gateway.answer(request).await }
        });
        Client::new(service, "default")
    }

    /// Whether the controller is to die as soon as it has done what it does.
    pub fn doomed(&self) -> bool {
        *self.doomed.lock().unwrap()
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap()
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> Result<Response<Body>, BoxError> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await?.to_bytes();
        let call = Call::read(&parts, &bytes);
        if self.doomed() {
            return self.die().await;
        }
        let path = parts.uri.path().to_owned();
        let (site, problem) = self.judge.lock().unwrap().judge(&call);
        let fault = self.book(&call, site, problem);
        let send = |delay: Duration| async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await; // allow-sleep: the clock is paused
            }
            let response = self.router.clone().oneshot(Request::from_parts(parts, Body::from(bytes))).await?;
            let (parts, body) = response.into_parts();
            Ok::<_, BoxError>((parts, axum::body::to_bytes(body, usize::MAX).await?))
        };
        let deliver = |(parts, bytes): (http::response::Parts, bytes::Bytes)| {
            let mut problem = None;
            if parts.status.is_success() {
                let answer = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
                problem = self.judge.lock().unwrap().answered(&call, &answer);
            }
            self.record().broken.extend(problem);
            let line = format!("{}  = {}", self.name, parts.status.as_u16());
            self.record().log.push(line);
            Ok(Response::from_parts(parts, Body::from(bytes)))
        };
        match fault {
            None => deliver(send(Duration::ZERO).await?),
            Some(Fault::Crash(Moment::Before)) => self.die().await,
            Some(Fault::Crash(Moment::Committed)) => {
                send(Duration::ZERO).await?;
                self.die().await
            }
            Some(Fault::Crash(Moment::Answered)) => {
                *self.doomed.lock().unwrap() = true;
                deliver(send(Duration::ZERO).await?)
            }
            Some(Fault::Answer(Answer::Slow)) => deliver(send(Duration::from_secs(30)).await?),
            Some(Fault::Answer(Answer::TimeoutLost)) => Err("deadline has elapsed".into()),
            Some(Fault::Answer(Answer::TimeoutCommitted)) => {
                send(Duration::ZERO).await?;
                Err("deadline has elapsed".into())
            }
            Some(Fault::Answer(Answer::Truncated)) => {
                let (mut parts, bytes) = send(Duration::ZERO).await?;
                parts.headers.remove(http::header::CONTENT_LENGTH);
                Ok(Response::from_parts(parts, Body::from(bytes.slice(..bytes.len() / 2))))
            }
            Some(Fault::Answer(Answer::NotFound)) if call.method == Method::DELETE => {
                let force = json!({ "gracePeriodSeconds": 0, "propagationPolicy": "Background" });
                let request = Request::builder().method(Method::DELETE).uri(path);
                let request = request.header(http::header::CONTENT_TYPE, "application/json");
                self.router.clone().oneshot(request.body(Body::from(force.to_string()))?).await?;
                deliver(send(Duration::ZERO).await?)
            }
            Some(Fault::Answer(answer)) => {
                let (code, reason) = answer.status().expect("the others are handled above");
                let message = format!("{} \"{}\" is refused for the test", call.plural, call.name);
                let status = json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": message, "reason": reason, "code": code,
                });
                let response = Response::builder().status(code).header("content-type", "application/json");
                let response = if code == 429 { response.header("retry-after", "1") } else { response };
                Ok(response.body(Body::from(status.to_string()))?)
            }
        }
    }

    /// Notes a request; the fault that waited for it, if any.
    fn book(&self, call: &Call, site: Site, problem: Option<String>) -> Option<Fault> {
        let mut record = self.record();
        record.broken.extend(problem);
        let mut fault = None;
        if site != Site::Other {
            record.writes.push(site);
            for trap in &mut record.traps {
                if trap.site.is_none_or(|it| it == site) {
                    if trap.after > 0 {
                        trap.after -= 1;
                    } else if fault.is_none() {
                        fault = Some(trap.fault);
                        trap.after = usize::MAX;
                    }
                }
            }
            record.traps.retain(|it| it.after < usize::MAX / 2);
        }
        if let Some(fault) = fault {
            record.fired.push((site, fault));
        }
        let told = fault.map(|it| format!(" {it:?}")).unwrap_or_default();
        let line = format!("{} {site:?} {} {}{told}", self.name, call.method, call.name);
        record.log.push(line);
        fault
    }

    async fn die(&self) -> Result<Response<Body>, BoxError> {
        self.crash.notify_one();
        std::future::pending().await
    }
}
