//! The writes of this controller as HTTP requests.
//!
//! Bodies are plain JSON, so that a pod made from a raw template reaches the API server with every field it had.
//! Only the metadata of a response is read.

use http::{Method, Request};
use kube::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::ObjectKey;

/// Its product is our name in managed fields (see `rival`).
const USER_AGENT: &str = concat!("ordinal/", env!("CARGO_PKG_VERSION"), " statefulset-controller");

/// A kind this controller writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// core/v1 Pod.
    Pod,
    /// core/v1 PersistentVolumeClaim.
    Claim,
    /// core/v1 Event.
    Event,
    /// apps/v1 ControllerRevision.
    Revision,
    /// apps/v1 StatefulSet.
    Set,
    /// storage.k8s.io/v1 StorageClass; only ever read.
    StorageClass,
}

impl Kind {
    fn collection(self, namespace: &str) -> String {
        let (group, plural) = match self {
            Self::Pod => ("api/v1", "pods"),
            Self::Claim => ("api/v1", "persistentvolumeclaims"),
            Self::Event => ("api/v1", "events"),
            Self::Revision => ("apis/apps/v1", "controllerrevisions"),
            Self::Set => ("apis/apps/v1", "statefulsets"),
            Self::StorageClass => return "/apis/storage.k8s.io/v1/storageclasses".to_owned(),
        };
        format!("/{group}/namespaces/{namespace}/{plural}")
    }

    fn word(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Claim => "persistentvolumeclaim",
            Self::Event => "event",
            Self::Revision => "controllerrevision",
            Self::Set => "statefulset",
            Self::StorageClass => "storageclass",
        }
    }
}

/// Why a request failed, split by what the reconciler does next.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// 409 AlreadyExists: the name is taken. The cache was behind, or somebody else was first.
    #[error("{kind} {object} already exists", kind = .kind.word())]
    AlreadyExists {
        /// Kind of the object.
        kind: Kind,
        /// The object.
        object: ObjectKey,
        /// What the API server said.
        message: String,
    },
    /// 409: a precondition did not hold. Look again.
    #[error("{kind} {object} changed after it was observed", kind = .kind.word())]
    Stale {
        /// Kind of the object.
        kind: Kind,
        /// The object.
        object: ObjectKey,
        /// What the API server said.
        message: String,
    },
    /// 404: it is gone, or its namespace is.
    #[error("{kind} {object} not found", kind = .kind.word())]
    NotFound {
        /// Kind of the object.
        kind: Kind,
        /// The object.
        object: ObjectKey,
        /// What the API server said.
        message: String,
    },
    /// 403: nothing can be created any more, its namespace is being deleted.
    #[error("the namespace of {kind} {object} is being deleted", kind = .kind.word())]
    NamespaceTerminating {
        /// Kind of the object.
        kind: Kind,
        /// The object.
        object: ObjectKey,
    },
    /// 400, 403, 422: permission, quota or an invalid object. A person has to act.
    #[error("API server rejected the write to {kind} {object}", kind = .kind.word())]
    Rejected {
        /// Kind of the object.
        kind: Kind,
        /// The object.
        object: ObjectKey,
        /// The answer.
        source: Box<kube::Error>,
    },
    /// Anything else. Retry with backoff.
    #[error("API server did not take the request for {kind} {object}", kind = .kind.word())]
    Unavailable {
        /// Kind of the object.
        kind: Kind,
        /// The object.
        object: ObjectKey,
        /// What happened.
        source: Box<kube::Error>,
    },
}

impl ApiError {
    fn new(kind: Kind, object: &ObjectKey, source: kube::Error) -> Self {
        let object = object.clone();
        let kube::Error::Api(status) = &source else {
            return Self::Unavailable { kind, object, source: Box::new(source) };
        };
        let message = status.message.clone();
        match (status.code, status.reason.as_str()) {
            (409, "AlreadyExists") => Self::AlreadyExists { kind, object, message },
            (409, _) => Self::Stale { kind, object, message },
            (404, _) => Self::NotFound { kind, object, message },
            (403, _) if namespace_terminates(status) => Self::NamespaceTerminating { kind, object },
            (400 | 403 | 405 | 413 | 422, _) => Self::Rejected { kind, object, source: Box::new(source) },
            _ => Self::Unavailable { kind, object, source: Box::new(source) },
        }
    }

    /// The object of the request.
    pub fn object(&self) -> &ObjectKey {
        match self {
            Self::AlreadyExists { object, .. }
            | Self::Stale { object, .. }
            | Self::NotFound { object, .. }
            | Self::NamespaceTerminating { object, .. }
            | Self::Rejected { object, .. }
            | Self::Unavailable { object, .. } => object,
        }
    }

    /// What the API server said, for an event.
    pub fn text(&self) -> String {
        match self {
            Self::AlreadyExists { message, .. }
            | Self::Stale { message, .. }
            | Self::NotFound { message, .. } => message.clone(),
            Self::Rejected { source, .. } | Self::Unavailable { source, .. } => match &**source {
                kube::Error::Api(status) => status.message.clone(),
                other => other.to_string(),
            },
            Self::NamespaceTerminating { .. } => self.to_string(),
        }
    }
}

/// Whether the answer is that the namespace is being deleted.
fn namespace_terminates(status: &kube::core::Status) -> bool {
    let causes = status.details.iter().flat_map(|it| &it.causes);
    causes.into_iter().any(|it| it.reason == "NamespaceTerminating")
}

/// The part of a response that matters.
#[derive(Debug, Default, Deserialize)]
pub struct Written {
    /// `metadata`; empty in the Status that some deletions answer with.
    #[serde(default)]
    pub metadata: WrittenMeta,
}

/// `metadata` of a response.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WrittenMeta {
    /// UID.
    pub uid: String,
    /// resourceVersion.
    pub resource_version: String,
    /// Set if the object is terminating.
    pub deletion_timestamp: Option<String>,
}

/// How a patch is meant.
#[derive(Debug, Clone, Copy)]
pub enum Patch {
    /// JSON merge patch.
    Merge,
    /// Strategic merge patch: owner references are merged by UID.
    Strategic,
}

/// The client behind the writes.
#[derive(Clone)]
pub struct WriteApi {
    client: Client,
}

impl WriteApi {
    /// Writes through `client`.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Reads an object past every cache.
    pub async fn get(&self, kind: Kind, object: &ObjectKey) -> Result<Value, ApiError> {
        self.send(kind, object, Method::GET, &path(kind, object), "application/json", Vec::new()).await
    }

    /// Creates the object `body`, which names itself.
    pub async fn create(&self, kind: Kind, object: &ObjectKey, body: &Value) -> Result<Written, ApiError> {
        let path = kind.collection(&object.namespace);
        self.send(kind, object, Method::POST, &path, "application/json", bytes(body)).await
    }

    /// Replaces an object.
    pub async fn replace(&self, kind: Kind, object: &ObjectKey, body: &Value) -> Result<Written, ApiError> {
        self.send(kind, object, Method::PUT, &path(kind, object), "application/json", bytes(body)).await
    }

    /// Patches an object.
    pub async fn patch(
        &self,
        kind: Kind,
        object: &ObjectKey,
        patch: Patch,
        body: &Value,
    ) -> Result<Written, ApiError> {
        let content = match patch {
            Patch::Merge => "application/merge-patch+json",
            Patch::Strategic => "application/strategic-merge-patch+json",
        };
        self.send(kind, object, Method::PATCH, &path(kind, object), content, bytes(body)).await
    }

    /// Merge-patches the status of an object.
    pub async fn patch_status(
        &self,
        kind: Kind,
        object: &ObjectKey,
        body: &Value,
    ) -> Result<Written, ApiError> {
        let path = format!("{}/status", path(kind, object));
        self.send(kind, object, Method::PATCH, &path, "application/merge-patch+json", bytes(body)).await
    }

    /// Deletes the object of this UID and, if given, this resourceVersion; graceful, never forced.
    pub async fn delete(
        &self,
        kind: Kind,
        object: &ObjectKey,
        uid: &str,
        resource_version: Option<&str>,
    ) -> Result<Written, ApiError> {
        let mut preconditions = json!({ "uid": uid });
        if let Some(it) = resource_version {
            preconditions["resourceVersion"] = json!(it);
        }
        let body = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions });
        self.send(kind, object, Method::DELETE, &path(kind, object), "application/json", bytes(&body)).await
    }

    async fn send<T: serde::de::DeserializeOwned>(
        &self,
        kind: Kind,
        object: &ObjectKey,
        method: Method,
        path: &str,
        content: &str,
        body: Vec<u8>,
    ) -> Result<T, ApiError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, content)
            .header(http::header::ACCEPT, "application/json")
            .header(http::header::USER_AGENT, USER_AGENT)
            .body(body)
            .map_err(|it| ApiError::new(kind, object, kube::Error::HttpError(it)))?;
        self.client.request(request).await.map_err(|it| ApiError::new(kind, object, it))
    }
}

fn path(kind: Kind, object: &ObjectKey) -> String {
    format!("{}/{}", kind.collection(&object.namespace), object.name)
}

fn bytes(body: &Value) -> Vec<u8> {
    body.to_string().into_bytes()
}
