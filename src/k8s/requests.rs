//! Counts what a process asks of the API server.
//!
//! Requests ──[`RequestMetrics`]──▶ `kube::Client`
//!
//! A watch counts when its response begins. Labels are closed sets: methods of the API and the status codes it uses.
//! Source: client-go `tools/metrics` (`rest_client_requests_total`, `rest_client_request_duration_seconds`).

use http::{Method, Request};
use kube::Client;
use kube::client::Body;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

/// `ordinal_api_*`. Clones share the numbers.
#[derive(Debug, Clone)]
pub struct RequestMetrics {
    requests: Family<Outcome, Counter>,
    duration: Family<Asked, Histogram>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    method: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    method: &'static str,
}

impl Default for RequestMetrics {
    fn default() -> Self {
        let buckets = || Histogram::new(exponential_buckets(0.001, 4.0, 8));
        Self { requests: Family::default(), duration: Family::new_with_constructor(buckets) }
    }
}

impl RequestMetrics {
    /// Adds the series to a registry whose prefix is `ordinal`.
    pub fn register(&self, registry: &mut Registry) {
        let api = registry.sub_registry_with_prefix("api");
        api.register(
            "requests",
            "Requests to the API server by method and status code; code `error`: no response",
            self.requests.clone(),
        );
        api.register_with_unit(
            "request_duration",
            "Time until the response of the API server began",
            Unit::Seconds,
            self.duration.clone(),
        );
    }

    /// `client`, whose requests are counted.
    pub fn around(&self, client: &Client) -> Client {
        let (metrics, inner) = (self.clone(), client.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (metrics, inner) = (metrics.clone(), inner.clone());
            async move {
                let (method, began) = (method(request.method()), Instant::now());
                let response = inner.send(request).await;
                let code = response.as_ref().map_or("error", |it| code(it.status().as_u16()));
                metrics.requests.get_or_create(&Outcome { method, code }).inc();
                metrics.duration.get_or_create(&Asked { method }).observe(began.elapsed().as_secs_f64());
                response
            }
        });
        Client::new(service, client.default_namespace())
    }
}

fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

fn code(code: u16) -> &'static str {
    match code {
        200 => "200",
        201 => "201",
        202 => "202",
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        409 => "409",
        410 => "410",
        422 => "422",
        429 => "429",
        500 => "500",
        503 => "503",
        504 => "504",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_are_counted_by_what_became_of_them() {
        let service = tower::service_fn(|request: Request<Body>| async move {
            let code = if request.method() == Method::PATCH { 409 } else { 200 };
            let mut response = http::Response::new(Body::empty());
            *response.status_mut() = code.try_into().expect("a status code");
            Ok::<_, kube::Error>(response)
        });
        let metrics = RequestMetrics::default();
        let client = metrics.around(&Client::new(service, "default"));
        for method in [Method::GET, Method::GET, Method::PATCH] {
            let request = Request::builder().method(method).body(Body::empty()).expect("a request");
            client.send(request).await.expect("a response");
        }
        let mut registry = Registry::with_prefix("ordinal");
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
        for line in [
            "ordinal_api_requests_total{method=\"GET\",code=\"200\"} 2",
            "ordinal_api_requests_total{method=\"PATCH\",code=\"409\"} 1",
            "ordinal_api_request_duration_seconds_count{method=\"GET\"} 2",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
