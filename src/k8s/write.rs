//! Writes of a controller as HTTP requests, for any kind.
//!
//! Bodies are plain JSON, so that an object made from a raw template reaches the API server with every field it had.
//! Only the metadata of a response is read. Errors are split by what a controller does next.

use http::{Method, Request};
use kube::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::ObjectKey;

/// A kind as its requests name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// `apiVersion` of its objects.
    pub api_version: &'static str,
    /// `kind` of its objects.
    pub kind: &'static str,
    /// Path segment of its collections.
    pub plural: &'static str,
    /// How messages call it.
    pub word: &'static str,
}

impl Kind {
    fn collection(self, namespace: &str) -> String {
        let root = if self.api_version.contains('/') { "apis" } else { "api" };
        if namespace.is_empty() {
            return format!("/{root}/{}/{}", self.api_version, self.plural);
        }
        format!("/{root}/{}/namespaces/{namespace}/{}", self.api_version, self.plural)
    }

    fn path(self, object: &ObjectKey) -> String {
        format!("{}/{}", self.collection(&object.namespace), object.name)
    }
}

/// Why a request failed, split by what the controller does next.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// 409 AlreadyExists: the name is taken.
    #[error("{word} {object} already exists")]
    AlreadyExists {
        /// Kind of the object.
        word: &'static str,
        /// The object.
        object: ObjectKey,
        /// What the API server said.
        message: String,
    },
    /// 409: a precondition did not hold. Look again.
    #[error("{word} {object} changed after it was observed")]
    Stale {
        /// Kind of the object.
        word: &'static str,
        /// The object.
        object: ObjectKey,
        /// What the API server said.
        message: String,
    },
    /// 404: it is gone, or its namespace is.
    #[error("{word} {object} not found")]
    NotFound {
        /// Kind of the object.
        word: &'static str,
        /// The object.
        object: ObjectKey,
        /// What the API server said.
        message: String,
    },
    /// 403: nothing can be created any more, its namespace is being deleted.
    #[error("the namespace of {word} {object} is being deleted")]
    NamespaceTerminating {
        /// Kind of the object.
        word: &'static str,
        /// The object.
        object: ObjectKey,
    },
    /// 400, 403, 422: permission, quota or an invalid object. A person has to act.
    #[error("API server rejected the request for {word} {object}")]
    Rejected {
        /// Kind of the object.
        word: &'static str,
        /// The object.
        object: ObjectKey,
        /// The answer.
        source: Box<kube::Error>,
    },
    /// Anything else: whether a write was committed is not known. Retry with backoff.
    #[error("API server did not take the request for {word} {object}")]
    Unavailable {
        /// Kind of the object.
        word: &'static str,
        /// The object.
        object: ObjectKey,
        /// What happened.
        source: Box<kube::Error>,
    },
}

impl WriteError {
    fn new(kind: Kind, object: &ObjectKey, source: kube::Error) -> Self {
        let (word, object) = (kind.word, object.clone());
        let kube::Error::Api(status) = &source else {
            return Self::Unavailable { word, object, source: Box::new(source) };
        };
        let message = status.message.clone();
        match (status.code, status.reason.as_str()) {
            (409, "AlreadyExists") => Self::AlreadyExists { word, object, message },
            (409, _) => Self::Stale { word, object, message },
            (404, _) => Self::NotFound { word, object, message },
            (403, _) if namespace_terminates(status) => Self::NamespaceTerminating { word, object },
            (400 | 403 | 405 | 413 | 422, _) => Self::Rejected { word, object, source: Box::new(source) },
            _ => Self::Unavailable { word, object, source: Box::new(source) },
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

    /// What the API server said, for an event or a condition.
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

    /// Whether the write may have been committed all the same.
    pub fn is_unsure(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
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
    /// Name.
    pub name: String,
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
    /// JSON merge patch (RFC 7386).
    Merge,
    /// Strategic merge patch: owner references are merged by UID.
    Strategic,
    /// JSON patch (RFC 6902).
    Json,
}

/// The client behind the writes of one controller.
#[derive(Clone)]
pub struct WriteApi {
    client: Client,
    user_agent: &'static str,
}

impl WriteApi {
    /// Writes through `client`; the product of `user_agent` is our name in managed fields.
    pub fn new(client: Client, user_agent: &'static str) -> Self {
        Self { client, user_agent }
    }

    /// Reads an object past every cache.
    pub async fn get(&self, kind: Kind, object: &ObjectKey) -> Result<Value, WriteError> {
        self.send(kind, object, Method::GET, &kind.path(object), "application/json", Vec::new()).await
    }

    /// Whether the object of this UID is still there and is not being deleted, read past every cache.
    pub async fn stays(&self, kind: Kind, object: &ObjectKey, uid: &str) -> Result<bool, WriteError> {
        let fresh = match self.get(kind, object).await {
            Err(WriteError::NotFound { .. }) => return Ok(false),
            other => other?,
        };
        let same = fresh.pointer("/metadata/uid").and_then(Value::as_str) == Some(uid);
        Ok(same && fresh.pointer("/metadata/deletionTimestamp").is_none_or(Value::is_null))
    }

    /// Reads a subresource of an object.
    pub async fn get_sub(&self, kind: Kind, object: &ObjectKey, sub: &str) -> Result<Value, WriteError> {
        let path = format!("{}/{sub}", kind.path(object));
        self.send(kind, object, Method::GET, &path, "application/json", Vec::new()).await
    }

    /// Lists the objects of a namespace that a selector in its query form selects.
    pub async fn list(&self, kind: Kind, namespace: &str, selector: &str) -> Result<Value, WriteError> {
        let query: String =
            form_urlencoded::Serializer::new(String::new()).append_pair("labelSelector", selector).finish();
        let path = format!("{}?{query}", kind.collection(namespace));
        let object = ObjectKey::new(namespace, "");
        self.send(kind, &object, Method::GET, &path, "application/json", Vec::new()).await
    }

    /// Creates the object `body`, which names itself.
    pub async fn create(&self, kind: Kind, object: &ObjectKey, body: &Value) -> Result<Written, WriteError> {
        let path = kind.collection(&object.namespace);
        self.send(kind, object, Method::POST, &path, "application/json", bytes(body)).await
    }

    /// Replaces an object.
    pub async fn replace(&self, kind: Kind, object: &ObjectKey, body: &Value) -> Result<Written, WriteError> {
        self.send(kind, object, Method::PUT, &kind.path(object), "application/json", bytes(body)).await
    }

    /// Patches an object.
    pub async fn patch(
        &self,
        kind: Kind,
        object: &ObjectKey,
        patch: Patch,
        body: &Value,
    ) -> Result<Written, WriteError> {
        self.send(kind, object, Method::PATCH, &kind.path(object), content_type(patch), bytes(body)).await
    }

    /// Merge-patches a subresource of an object.
    pub async fn patch_sub(
        &self,
        kind: Kind,
        object: &ObjectKey,
        sub: &str,
        body: &Value,
    ) -> Result<Written, WriteError> {
        let path = format!("{}/{sub}", kind.path(object));
        self.send(kind, object, Method::PATCH, &path, content_type(Patch::Merge), bytes(body)).await
    }

    /// Deletes the object of this UID and, if given, this resourceVersion; graceful, in the background, never forced.
    pub async fn delete(
        &self,
        kind: Kind,
        object: &ObjectKey,
        uid: &str,
        resource_version: Option<&str>,
    ) -> Result<Written, WriteError> {
        let mut preconditions = json!({ "uid": uid });
        if let Some(it) = resource_version {
            preconditions["resourceVersion"] = json!(it);
        }
        let body = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions,
            "propagationPolicy": "Background",
        });
        self.send(kind, object, Method::DELETE, &kind.path(object), "application/json", bytes(&body)).await
    }

    async fn send<T: serde::de::DeserializeOwned>(
        &self,
        kind: Kind,
        object: &ObjectKey,
        method: Method,
        path: &str,
        content: &str,
        body: Vec<u8>,
    ) -> Result<T, WriteError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, content)
            .header(http::header::ACCEPT, "application/json")
            .header(http::header::USER_AGENT, self.user_agent)
            .body(body)
            .map_err(|it| WriteError::new(kind, object, kube::Error::HttpError(it)))?;
        self.client.request(request).await.map_err(|it| WriteError::new(kind, object, it))
    }
}

fn content_type(patch: Patch) -> &'static str {
    match patch {
        Patch::Merge => "application/merge-patch+json",
        Patch::Strategic => "application/strategic-merge-patch+json",
        Patch::Json => "application/json-patch+json",
    }
}

fn bytes(body: &Value) -> Vec<u8> {
    body.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::kinds;
    use super::*;

    #[test]
    fn paths() {
        let key = ObjectKey::new("demo", "a");
        assert_eq!(kinds::PODS.path(&key), "/api/v1/namespaces/demo/pods/a");
        assert_eq!(kinds::REPLICA_SETS.path(&key), "/apis/apps/v1/namespaces/demo/replicasets/a");
        assert_eq!(
            kinds::STORAGE_CLASSES.path(&ObjectKey::new("", "fast")),
            "/apis/storage.k8s.io/v1/storageclasses/fast"
        );
        assert_eq!(kinds::REPLICA_SETS.collection(""), "/apis/apps/v1/replicasets");
    }
}
