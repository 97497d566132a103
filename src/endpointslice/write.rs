//! Shell: one slice write, and what its answer means for what we know.

use std::sync::Arc;

use jiff::Timestamp;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::core::{Request, Status};
use kube::{Api, Client};

use super::index::Quarantined;
use super::model::{Endpoint, ServiceView, SliceView};
use super::object::{Place, body};
use super::plan::Content;
use super::spacing::Urgency;
use crate::k8s::limit::Urgent;
use crate::k8s::watched::Watched;

/// How a write ended.
#[derive(Debug)]
pub enum Outcome {
    /// The slice is as written.
    Written(Box<SliceView>),
    /// The slice is gone.
    Gone,
    /// The slice is marked for deletion; a finalizer holds it.
    Held,
    /// The object is not what we know: it has to be read.
    Stale,
    /// There is no such slice.
    Missing,
    /// The name is taken.
    Taken,
    /// The namespace is on its way out, nothing can be created.
    NamespaceTerminates,
    /// The API server refuses these endpoints.
    Refused(Vec<Quarantined>),
    /// It was certainly not made.
    Failed(kube::Error),
    /// It may have been made.
    Unknown(kube::Error),
}

/// Writes to the slices of a cluster.
#[derive(Clone)]
pub struct SliceApi {
    client: Client,
}

impl SliceApi {
    /// Writes through this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    fn api(&self, namespace: &str) -> Api<Watched<SliceView>> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Creates a slice. Returns the outcome and the octets sent.
    pub async fn create(
        &self,
        service: &ServiceView,
        name: &str,
        content: &Content,
        trigger: Option<Timestamp>,
    ) -> (Outcome, usize) {
        let body = body(service, content, Place::New(name), trigger);
        let sent = body.len();
        let path = self.api(&service.key.namespace).resource_url().to_owned();
        let answer = match Request::new(path).create(&PostParams::default(), body) {
            Ok(request) => self.client.request::<Watched<SliceView>>(request).await,
            Err(error) => Err(kube::Error::BuildRequest(error)),
        };
        let outcome = match answer {
            Err(kube::Error::Api(status)) if namespace_terminates(&status) => Outcome::NamespaceTerminates,
            Err(kube::Error::Api(status)) if status.code == 409 => Outcome::Taken,
            answer => outcome(answer, &content.endpoints),
        };
        (outcome, sent)
    }

    /// Replaces a slice that is as we know it; before other requests if it takes endpoints away. Returns the outcome and the octets sent.
    pub async fn update(
        &self,
        service: &ServiceView,
        slice: &SliceView,
        content: &Content,
        trigger: Option<Timestamp>,
        urgency: Urgency,
    ) -> (Outcome, usize) {
        let body = body(service, content, Place::Old(slice), trigger);
        let sent = body.len();
        let path = self.api(&service.key.namespace).resource_url().to_owned();
        let answer = match Request::new(path).replace(&slice.key.name, &PostParams::default(), body) {
            Ok(mut request) => {
                if urgency == Urgency::Removal {
                    request.extensions_mut().insert(Urgent);
                }
                self.client.request::<Watched<SliceView>>(request).await
            }
            Err(error) => Err(kube::Error::BuildRequest(error)),
        };
        let outcome = match answer {
            Err(kube::Error::Api(status)) if status.code == 404 => Outcome::Missing,
            Err(kube::Error::Api(status)) if status.code == 409 => Outcome::Stale,
            answer => outcome(answer, &content.endpoints),
        };
        (outcome, sent)
    }

    /// Deletes a slice that is as we know it: another leader may have begun to use it again.
    pub async fn delete(&self, slice: &SliceView) -> Outcome {
        let resource_version = Some(slice.version.clone()).filter(|it| !it.is_empty());
        let preconditions = Preconditions { uid: Some(slice.uid.clone()), resource_version };
        let params = DeleteParams::default().preconditions(preconditions);
        match self.api(&slice.key.namespace).delete(&slice.key.name, &params).await {
            Ok(_) if slice.finalizers.is_empty() => Outcome::Gone,
            Ok(_) => Outcome::Held,
            Err(kube::Error::Api(status)) if status.code == 404 => Outcome::Gone,
            Err(kube::Error::Api(status)) if status.code == 409 => Outcome::Stale,
            Err(error) => failure(error),
        }
    }

    /// Reads a slice past the cache; `None`: there is none of ours.
    ///
    /// # Errors
    /// The API server does not say. Try again.
    pub async fn read(&self, namespace: &str, name: &str) -> Result<Option<SliceView>, kube::Error> {
        Ok(self.api(namespace).get_opt(name).await?.and_then(|it| it.view))
    }
}

fn outcome(answer: Result<Watched<SliceView>, kube::Error>, endpoints: &[Arc<Endpoint>]) -> Outcome {
    match answer {
        Ok(Watched { view: Some(view), .. }) => Outcome::Written(Box::new(view)),
        // Somebody changed our label on the way in: not ours any more.
        Ok(Watched { view: None, .. }) => Outcome::Stale,
        Err(kube::Error::Api(status)) if status.code == 422 => match refused(&status, endpoints) {
            refused if refused.is_empty() => Outcome::Failed(kube::Error::Api(status)),
            refused => Outcome::Refused(refused),
        },
        Err(error) => failure(error),
    }
}

/// A refusal is certain; a timeout, a broken connection or a server error is not.
fn failure(error: kube::Error) -> Outcome {
    match &error {
        kube::Error::Api(status) if status.code < 500 => Outcome::Failed(error),
        _ => Outcome::Unknown(error),
    }
}

/// The pods whose endpoints the causes of a refusal name: `endpoints[3].addresses[0]` and the like.
fn refused(status: &Status, endpoints: &[Arc<Endpoint>]) -> Vec<Quarantined> {
    let causes = status.details.iter().flat_map(|it| &it.causes);
    let mut refused: Vec<Quarantined> = Vec::new();
    for cause in causes {
        let index = cause.field.strip_prefix("endpoints[").and_then(|it| it.split_once(']'));
        let endpoint = index.and_then(|it| it.0.parse::<usize>().ok()).and_then(|it| endpoints.get(it));
        let pod = endpoint.and_then(|it| it.target.as_ref());
        if let (Some(endpoint), Some(pod)) = (endpoint, pod)
            && refused.iter().all(|it| it.pod != pod.name)
        {
            refused.push(Quarantined { pod: pod.name.clone(), addresses: endpoint.addresses.clone() });
        }
    }
    refused
}

/// Whether a creation was refused because the namespace is on its way out.
pub fn namespace_terminates(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|it| &it.causes);
    status.code == 403 && causes.into_iter().any(|it| it.reason == "NamespaceTerminating")
}
