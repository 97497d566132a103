//! Faults on purpose, for testing controllers: conflicts, answers that never arrive, watches that end or expire.
//!
//! ```text
//! controller ─▶ kube::Client ─▶ Faults ─▶ router ─▶ ApiServer
//! ```
//!
//! A [`Faults`] stands between a client and the server and does to matching requests what its rules say; requests
//! without a rule pass untouched. The contract of the API holds throughout: events are late or end, but never come
//! twice or in another order.

use crate::apiserver::ApiServer;
use crate::apiserver::resources;
use axum::body::{Body, Bytes};
use futures::StreamExt;
use http::{Method, Request, Response, header};
use http_body_util::BodyExt;
use serde_json::json;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tower::{BoxError, ServiceExt};

/// What requests a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// GET of one object.
    Get,
    /// GET of a collection.
    List,
    /// A watch.
    Watch,
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH, server-side apply included.
    Patch,
    /// DELETE of an object or a collection.
    Delete,
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Refused with this HTTP code and reason; nothing is done. See [`Fault::conflict`] and its siblings.
    Refuse(u16, &'static str),
    /// No answer, only an error of the connection; nothing is done.
    TimeoutLost,
    /// No answer, only an error of the connection; the write is committed.
    TimeoutCommitted,
    /// The true answer, or the start of a watch, this much later.
    Delay(Duration),
    /// Half of the true answer; the write is committed.
    Truncate,
    /// The watch ends after this many events.
    CutAfter(usize),
    /// Every event of the watch comes this much later.
    DelayEvents(Duration),
}

impl Fault {
    /// 409: somebody else changed the object first.
    pub const fn conflict() -> Self {
        Self::Refuse(409, "Conflict")
    }

    /// 429 with `Retry-After: 1`.
    pub const fn too_many_requests() -> Self {
        Self::Refuse(429, "TooManyRequests")
    }

    /// 500.
    pub const fn internal_error() -> Self {
        Self::Refuse(500, "InternalError")
    }

    /// 503.
    pub const fn unavailable() -> Self {
        Self::Refuse(503, "ServiceUnavailable")
    }
}

/// Which requests a fault hits, and how often.
#[derive(Debug, Clone)]
pub struct Rule {
    fault: Fault,
    verb: Option<Verb>,
    plural: Option<String>,
    name: Option<String>,
    subresource: Option<String>,
    skip: usize,
    times: usize,
}

impl Rule {
    /// Hits the next request, whatever it is.
    pub fn new(fault: Fault) -> Self {
        Self { fault, verb: None, plural: None, name: None, subresource: None, skip: 0, times: 1 }
    }

    /// Only requests of this verb.
    #[must_use]
    pub fn verb(mut self, verb: Verb) -> Self {
        self.verb = Some(verb);
        self
    }

    /// Only requests for this resource, such as `statefulsets`.
    #[must_use]
    pub fn resource(mut self, plural: &str) -> Self {
        self.plural = Some(plural.to_owned());
        self
    }

    /// Only requests that name this object in their path.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Only requests for this subresource, such as `status`; without, requests for any and for none.
    #[must_use]
    pub fn subresource(mut self, subresource: &str) -> Self {
        self.subresource = Some(subresource.to_owned());
        self
    }

    /// Lets this many matching requests pass first.
    #[must_use]
    pub fn after(mut self, requests: usize) -> Self {
        self.skip = requests;
        self
    }

    /// Hits this many requests instead of one.
    #[must_use]
    pub fn times(mut self, requests: usize) -> Self {
        self.times = requests;
        self
    }

    fn matches(&self, request: &Seen) -> bool {
        self.verb.is_none_or(|it| it == request.verb)
            && self.plural.as_ref().is_none_or(|it| *it == request.plural)
            && self.name.as_ref().is_none_or(|it| *it == request.name)
            && self.subresource.as_ref().is_none_or(|it| *it == request.subresource)
    }
}

/// A request as the rules see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What it does.
    pub verb: Verb,
    /// Resource of its path.
    pub plural: String,
    /// Object of its path; empty for collections.
    pub name: String,
    /// Subresource of its path; empty for the object itself.
    pub subresource: String,
}

impl Seen {
    /// `None` for paths outside the resources, such as discovery.
    fn read(method: &Method, uri: &http::Uri) -> Option<Self> {
        let segments: Vec<&str> = uri.path().split('/').filter(|it| !it.is_empty()).collect();
        let (["api", _, rest @ ..] | ["apis", _, _, rest @ ..]) = segments.as_slice() else { return None };
        let rest = match rest {
            ["namespaces", _, rest @ ..] if !rest.is_empty() && !matches!(rest, ["status" | "finalize"]) => {
                rest
            }
            rest => rest,
        };
        let part = |index: usize| rest.get(index).copied().unwrap_or_default().to_owned();
        let is_watch = uri.query().is_some_and(|it| it.split('&').any(|it| it.starts_with("watch=")));
        let verb = match *method {
            Method::GET if is_watch => Verb::Watch,
            Method::GET if rest.len() < 2 => Verb::List,
            Method::GET => Verb::Get,
            Method::POST => Verb::Create,
            Method::PUT => Verb::Update,
            Method::PATCH => Verb::Patch,
            Method::DELETE => Verb::Delete,
            _ => return None,
        };
        (!rest.is_empty()).then(|| Self { verb, plural: part(0), name: part(1), subresource: part(2) })
    }
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    fired: Vec<(Seen, Fault)>,
    requests: Vec<Seen>,
}

/// The handle; clones share rules and what happened.
#[derive(Debug, Clone)]
pub struct Faults {
    state: Arc<Mutex<State>>,
    /// Grows when all watches are to end.
    cuts: watch::Sender<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { state: Arc::default(), cuts: watch::Sender::new(0) }
    }
}

impl Faults {
    /// A handle without rules.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a rule; of two that match, the older one hits.
    pub fn add(&self, rule: Rule) {
        self.state().rules.push(rule);
    }

    /// Forgets all rules.
    pub fn clear(&self) {
        self.state().rules.clear();
    }

    /// Ends every open watch, as a restart of an API server does.
    pub fn cut_watches(&self) {
        self.cuts.send_modify(|it| *it += 1);
    }

    /// Makes the server forget the events of a resource, and ends the watches: whoever watches on from where it was
    /// is told 410 Expired and has to list again. False when there is no such resource.
    pub fn expire(&self, server: &ApiServer, plural: &str) -> bool {
        let Some(resource) = resources::RESOURCES.iter().find(|it| it.plural == plural) else { return false };
        server.store().truncate(resource);
        self.cut_watches();
        true
    }

    /// What was done to which request, in order.
    pub fn fired(&self) -> Vec<(Seen, Fault)> {
        self.state().fired.clone()
    }

    /// Every request so far, in order.
    pub fn requests(&self) -> Vec<Seen> {
        self.state().requests.clone()
    }

    /// A client of `server` whose requests meet the faults. There is no socket in between.
    ///
    /// Needs a running tokio runtime, as every [`kube::Client`] does.
    pub fn client(&self, server: &ApiServer, namespace: &str) -> kube::Client {
        let (faults, router) = (self.clone(), server.router());
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let (faults, router) = (faults.clone(), router.clone());
            async move { faults.answer(router, request).await }
        });
        kube::Client::new(service, namespace)
    }

    /// Notes a request; what is to happen to it.
    fn book(&self, seen: &Seen) -> Option<Fault> {
        let mut state = self.state();
        state.requests.push(seen.clone());
        let mut hit = None;
        for rule in state.rules.iter_mut().filter(|it| it.matches(seen)) {
            if rule.skip > 0 {
                rule.skip -= 1;
            } else if hit.is_none() && rule.times > 0 {
                rule.times -= 1;
                hit = Some(rule.fault.clone());
            }
        }
        state.rules.retain(|it| it.times > 0);
        if let Some(fault) = &hit {
            state.fired.push((seen.clone(), fault.clone()));
        }
        hit
    }

    async fn answer(
        &self,
        router: axum::Router,
        request: Request<kube::client::Body>,
    ) -> Result<Response<Body>, BoxError> {
        const TIMEOUT: &str = "deadline has elapsed";
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await?.to_bytes();
        let seen = Seen::read(&parts.method, &parts.uri);
        let fault = seen.as_ref().and_then(|it| self.book(it));
        let is_watch = seen.is_some_and(|it| it.verb == Verb::Watch);
        // Before the request: a cut after it must not be missed.
        let cuts = self.cuts.subscribe();
        let send = async { router.oneshot(Request::from_parts(parts, Body::from(bytes))).await };
        let response = match &fault {
            Some(Fault::Refuse(code, reason)) => return refusal(*code, reason),
            Some(Fault::TimeoutLost) => return Err(TIMEOUT.into()),
            Some(Fault::TimeoutCommitted) => {
                let answer = send.await?;
                answer.into_body().collect().await?;
                return Err(TIMEOUT.into());
            }
            Some(Fault::Delay(delay)) => {
                tokio::time::sleep(*delay).await; // allow-sleep: the delay somebody asked for
                send.await?
            }
            Some(Fault::Truncate) => {
                let (mut parts, body) = send.await?.into_parts();
                parts.headers.remove(header::CONTENT_LENGTH);
                let bytes = body.collect().await?.to_bytes();
                return Ok(Response::from_parts(parts, Body::from(bytes.slice(..bytes.len() / 2))));
            }
            _ => send.await?,
        };
        if !is_watch || !response.status().is_success() {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        Ok(Response::from_parts(parts, events(body, fault.as_ref(), cuts)))
    }
}

/// The stream of a watch, cut and delayed.
fn events(body: Body, fault: Option<&Fault>, cuts: watch::Receiver<u64>) -> Body {
    let left = if let Some(Fault::CutAfter(events)) = fault { *events } else { usize::MAX };
    let delay = if let Some(Fault::DelayEvents(delay)) = fault { *delay } else { Duration::ZERO };
    let state = (body.into_data_stream(), cuts, left);
    let stream = futures::stream::unfold(state, move |(mut body, mut cuts, left)| async move {
        if left == 0 {
            return None;
        }
        let chunk: Bytes = tokio::select! {
            _ = cuts.changed() => return None,
            chunk = body.next() => chunk?.ok()?,
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await; // allow-sleep: the delay somebody asked for
        }
        let ends = chunk.iter().enumerate().filter(|it| *it.1 == b'\n').map(|it| it.0 + 1);
        let ends: Vec<usize> = ends.take(left).collect();
        let chunk = if ends.len() == left { chunk.slice(..*ends.last()?) } else { chunk };
        Some((Ok::<_, std::convert::Infallible>(chunk), (body, cuts, left - ends.len())))
    });
    Body::from_stream(stream)
}

fn refusal(code: u16, reason: &str) -> Result<Response<Body>, BoxError> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "refused on purpose", "reason": reason, "code": code,
    });
    let response = Response::builder().status(code).header(header::CONTENT_TYPE, "application/json");
    let response = if code == 429 { response.header(header::RETRY_AFTER, "1") } else { response };
    Ok(response.body(Body::from(status.to_string()))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::Options;
    use futures::TryStreamExt;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::{Api, PostParams, WatchEvent, WatchParams};
    use kube::runtime::{WatchStreamExt, watcher};

    fn map(name: &str) -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
    }

    fn start() -> (ApiServer, Faults, Api<ConfigMap>) {
        let (server, faults) = (ApiServer::new(Options::default()), Faults::new());
        let api = Api::default_namespaced(faults.client(&server, "default"));
        (server, faults, api)
    }

    #[tokio::test]
    async fn rules_hit_what_they_name_and_as_often() {
        let (_, faults, api) = start();
        faults.add(Rule::new(Fault::conflict()).verb(Verb::Create).resource("configmaps").after(1).times(2));
        let mut codes = Vec::new();
        for name in ["a", "b", "c", "d"] {
            let created = api.create(&PostParams::default(), &map(name)).await;
            codes.push(
                created.err().and_then(|it| if let kube::Error::Api(it) = it { Some(it.code) } else { None }),
            );
        }
        assert_eq!(codes, [None, Some(409), Some(409), None]);
        assert_eq!(faults.fired().len(), 2);
        assert_eq!(faults.requests().len(), 4);
    }

    #[tokio::test]
    async fn timeouts_before_and_after_the_commit() {
        let (_, faults, api) = start();
        for (fault, is_there) in
            [(Fault::TimeoutLost, false), (Fault::TimeoutCommitted, true), (Fault::Truncate, true)]
        {
            faults.add(Rule::new(fault.clone()).verb(Verb::Create));
            let name = format!("{fault:?}").to_lowercase();
            assert!(api.create(&PostParams::default(), &map(&name)).await.is_err(), "{fault:?}");
            assert_eq!(api.get_opt(&name).await.unwrap().is_some(), is_there, "{fault:?}");
        }
    }

    #[tokio::test]
    async fn a_watch_is_cut() {
        let (_, faults, api) = start();
        for name in ["a", "b", "c"] {
            api.create(&PostParams::default(), &map(name)).await.unwrap();
        }
        faults.add(Rule::new(Fault::CutAfter(2)).verb(Verb::Watch));
        let events: Vec<_> =
            api.watch(&WatchParams::default(), "0").await.unwrap().try_collect().await.unwrap();
        assert_eq!(events.len(), 2);
        let stream = api.watch(&WatchParams::default(), "0").await.unwrap();
        faults.cut_watches();
        let events: Vec<WatchEvent<_>> = stream.try_collect().await.unwrap();
        assert!(events.len() <= 3, "{events:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_expired_watcher_lists_again() {
        let (server, faults, api) = start();
        api.create(&PostParams::default(), &map("a")).await.unwrap();
        let mut watch = std::pin::pin!(watcher(api.clone(), watcher::Config::default()).default_backoff());
        while !matches!(watch.try_next().await.unwrap(), Some(watcher::Event::InitDone)) {}
        api.create(&PostParams::default(), &map("b")).await.unwrap();
        assert!(faults.expire(&server, "configmaps"));
        assert!(!faults.expire(&server, "widgets"));
        let mut names = Vec::new();
        while names.last().is_none_or(|it| it != "done") {
            match watch.next().await.unwrap() {
                Ok(watcher::Event::InitApply(map)) => names.push(map.metadata.name.unwrap()),
                Ok(watcher::Event::InitDone) => names.push("done".to_owned()),
                _ => {}
            }
        }
        assert_eq!(names, ["a", "b", "done"]);
    }

    #[test]
    fn paths() {
        let seen = |method: Method, uri: &str| Seen::read(&method, &uri.parse().unwrap());
        let of = |verb, plural: &str, name: &str, subresource: &str| {
            let (plural, name, subresource) = (plural.to_owned(), name.to_owned(), subresource.to_owned());
            Some(Seen { verb, plural, name, subresource })
        };
        assert_eq!(seen(Method::GET, "/api/v1/pods?&limit=5"), of(Verb::List, "pods", "", ""));
        assert_eq!(
            seen(Method::GET, "/api/v1/namespaces/d/pods?watch=true"),
            of(Verb::Watch, "pods", "", "")
        );
        assert_eq!(
            seen(Method::PATCH, "/apis/apps/v1/namespaces/d/statefulsets/s/status"),
            of(Verb::Patch, "statefulsets", "s", "status")
        );
        assert_eq!(seen(Method::GET, "/api/v1/namespaces/d"), of(Verb::Get, "namespaces", "d", ""));
        assert_eq!(seen(Method::GET, "/apis"), None);
    }
}
