//! The data set as Kubernetes objects, and their way into an API server over plain HTTP.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::dataset::{NAMESPACES, PORT, Service};

/// Endpoints in one slice, as the EndpointSlice controller packs them.
const PER_SLICE: usize = 100;
/// Requests in flight while the data is created.
const THREADS: usize = 4;

/// An object and the path of the collection it is created in.
pub struct Object {
    /// Such as `/api/v1/namespaces/team-0/services`.
    pub collection: String,
    /// The object itself.
    pub body: Value,
}

/// The namespaces, which have to exist before anything else.
pub fn namespaces() -> Vec<Object> {
    (0..NAMESPACES)
        .map(|it| Object {
            collection: "/api/v1/namespaces".to_owned(),
            body: json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("team-{it}")}}),
        })
        .collect()
}

/// The Service and its EndpointSlices, as large as those of a real cluster.
pub fn objects(service: &Service) -> Vec<Object> {
    let Service { name, namespace, addresses } = service;
    let mut all = vec![Object {
        collection: format!("/api/v1/namespaces/{namespace}/services"),
        body: json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
            "spec": {
                "clusterIP": "None", "clusterIPs": ["None"], "selector": {"app": name},
                "ports": [{"name": PORT.0, "protocol": "TCP", "port": PORT.1, "targetPort": PORT.1}],
            },
        }),
    }];
    for number in 0..addresses.len().div_ceil(PER_SLICE) {
        all.push(Object {
            collection: format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"),
            body: slice(service, number),
        });
    }
    all
}

/// The `number`th EndpointSlice of a service.
pub fn slice(service: &Service, number: usize) -> Value {
    let Service { name, namespace, addresses } = service;
    let first = number * PER_SLICE;
    let endpoints: Vec<Value> = (first..addresses.len().min(first + PER_SLICE))
        .map(|pod| {
            json!({
                "addresses": [addresses[pod]],
                "hostname": service.pod(pod),
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": format!("node-{}", pod % 250),
                "zone": format!("zone-{}", pod % 3),
                "targetRef": {"kind": "Pod", "namespace": namespace, "name": service.pod(pod),
                    "uid": format!("00000000-0000-4000-8000-{:012x}", u32::from(addresses[pod]))},
            })
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": slice_name(service, number), "namespace": namespace,
            "labels": {
                "app": name, "kubernetes.io/service-name": name, "service.kubernetes.io/headless": "",
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": PORT.0, "protocol": "TCP", "port": PORT.1}],
    })
}

/// The name of the `number`th EndpointSlice of a service.
pub fn slice_name(service: &Service, number: usize) -> String {
    format!("{}-s{number}", service.name)
}

/// The server's URL in a kubeconfig: the first line `server:`. A whole YAML parser would be much for one line.
///
/// # Errors
/// The file, or that it has no plain HTTP server.
pub fn server_of(kubeconfig: &std::path::Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(kubeconfig).with_context(|| format!("{}", kubeconfig.display()))?;
    let server = text.lines().find_map(|it| it.trim().strip_prefix("server: "));
    match server {
        Some(url) if url.starts_with("http://") => Ok(url.trim_end_matches('/').to_owned()),
        _ => bail!("{}: no http:// server (use `kubectl proxy` for TLS)", kubeconfig.display()),
    }
}

/// Creates everything, some requests at a time.
///
/// # Errors
/// The first object that the server refuses.
pub fn create(server: &str, services: &[Service]) -> anyhow::Result<usize> {
    let agent = agent();
    for object in namespaces() {
        post(&agent, server, &object)?;
    }
    let (next, failed, created) = (Mutex::new(services.iter()), AtomicBool::new(false), Mutex::new(0));
    let worker = || -> anyhow::Result<()> {
        let agent = self::agent();
        while !failed.load(Ordering::Relaxed) {
            let Some(service) = next.lock().expect("unpoisoned").next() else { break };
            let objects = objects(service);
            for object in &objects {
                post(&agent, server, object).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
            }
            *created.lock().expect("unpoisoned") += objects.len();
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().try_for_each(|it| it.join().expect("a worker does not panic"))
    })?;
    Ok(created.into_inner().expect("unpoisoned") + NAMESPACES)
}

/// A client with kept-alive connections that reports statuses as values.
pub fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().new_agent()
}

fn post(agent: &ureq::Agent, server: &str, object: &Object) -> anyhow::Result<()> {
    let url = format!("{server}{}", object.collection);
    let mut answer = agent.post(&url).send_json(&object.body)?;
    let text = answer.body_mut().read_to_string()?;
    // Namespaces may be left from another data set.
    if answer.status().is_success() || (answer.status() == 409 && object.collection.ends_with("/namespaces"))
    {
        return Ok(());
    }
    bail!("POST {}: {}: {text}", object.collection, answer.status())
}

/// Replaces the addresses of one EndpointSlice by a merge patch of its endpoints.
///
/// # Errors
/// What the server said.
pub fn patch_slice(
    agent: &ureq::Agent,
    server: &str,
    service: &Service,
    number: usize,
) -> anyhow::Result<()> {
    let url = format!(
        "{server}/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices/{}",
        service.namespace,
        slice_name(service, number)
    );
    let body = json!({"endpoints": slice(service, number)["endpoints"]});
    let mut answer =
        agent.patch(&url).content_type("application/merge-patch+json").send(body.to_string().as_bytes())?;
    let text = answer.body_mut().read_to_string()?;
    if !answer.status().is_success() {
        bail!("PATCH {url}: {}: {text}", answer.status());
    }
    Ok(())
}
