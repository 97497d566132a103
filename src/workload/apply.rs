//! What every controller here does around its writes.
//!
//! Each write is recorded in the own-write barrier before anything else happens. One whose outcome nobody knows (no
//! answer, a broken answer, an error of the server) is remembered, and read past the cache before the key is planned
//! again; the name of a pod that may or may not have been created is used again, so that trying twice makes one pod.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde_json::Value;
use tracing::debug;

use super::model::Owner;
use crate::k8s::events::{Recorder, Severity, Subject, Told};
use crate::k8s::own_writes::OwnWrites;
use crate::k8s::write::{Kind, WriteApi, WriteError, Written};
use crate::model::ObjectKey;
use crate::runtime::Next;
use crate::runtime::barrier::{View, Write};

/// Why a sync ended early.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The owner is not what was observed any more, so nothing may be adopted for it.
    #[error("{0} is gone, replaced or being deleted: nothing is adopted")]
    NotAdopting(ObjectKey),
    /// A name is taken by an object that is not ours.
    #[error("{0} exists and belongs to somebody else")]
    Taken(ObjectKey),
    /// A request failed.
    #[error(transparent)]
    Api(#[from] WriteError),
}

impl ApplyError {
    /// Whether the object or its namespace is on its way out: no fault, and there is nothing to retry.
    pub fn is_farewell(&self) -> bool {
        matches!(self, Self::NotAdopting(_) | Self::Api(WriteError::NamespaceTerminating { .. }))
    }

    /// What the API server said.
    pub fn text(&self) -> String {
        match self {
            Self::Api(error) => error.text(),
            other => other.to_string(),
        }
    }
}

/// A write that may or may not have been committed.
#[derive(Debug, Clone)]
struct Unsure {
    kind: Kind,
    object: ObjectKey,
    /// Of the object that was to be deleted or changed; `None` for a create.
    uid: Option<String>,
}

/// What one controller remembers about its writes.
pub struct Ledger {
    /// Writes that no cache shows yet.
    own: OwnWrites,
    unsure: Mutex<HashMap<ObjectKey, Vec<Unsure>>>,
    /// Names under which an object may still come to be.
    names: Mutex<HashMap<ObjectKey, Vec<String>>>,
}

impl Ledger {
    /// `views`: the cache of each kind that is written.
    pub fn new(views: Vec<(Kind, Arc<dyn View>)>) -> Self {
        Self { own: OwnWrites::new(views), unsure: Mutex::default(), names: Mutex::default() }
    }

    /// A write of `key` that its cache does not show yet.
    pub fn waits_for(&self, key: &ObjectKey) -> Option<Write> {
        self.own.waits_for(key)
    }

    /// Finds out what is known of the earlier writes of `key`. True: the caches do not show them yet, nothing may be planned.
    ///
    /// # Errors
    /// The API server can not be asked.
    pub async fn trails(&self, api: &WriteApi, key: &ObjectKey) -> Result<bool, WriteError> {
        self.settle(api, key).await?;
        let waits = self.waits_for(key);
        if let Some(write) = &waits {
            debug!(?write, "own write not seen yet");
        }
        Ok(waits.is_some())
    }

    /// Remembers a write until the cache shows it.
    pub fn stored(&self, key: &ObjectKey, kind: Kind, object: &ObjectKey, written: &Written) {
        self.own.stored(key, kind, object, written);
    }

    /// Remembers a deletion until the cache shows the object terminating or gone. That it is gone already is fine.
    ///
    /// # Errors
    /// The deletion failed.
    pub fn deleted(
        &self,
        key: &ObjectKey,
        kind: Kind,
        object: &ObjectKey,
        uid: &str,
        result: Result<Written, WriteError>,
    ) -> Result<(), WriteError> {
        let result = self.own.deleted(key, kind, object, uid, result);
        if let Err(error) = &result {
            self.note(key, kind, object, Some(uid), error);
        }
        result
    }

    /// Remembers a write that failed, if it may have been committed all the same.
    pub fn note(
        &self,
        key: &ObjectKey,
        kind: Kind,
        object: &ObjectKey,
        uid: Option<&str>,
        error: &WriteError,
    ) {
        if error.is_unsure() {
            let unsure = Unsure { kind, object: object.clone(), uid: uid.map(str::to_owned) };
            self.unsure
                .lock()
                .expect("no code panics while it holds the map")
                .entry(key.clone())
                .or_default()
                .push(unsure);
        }
    }

    /// Finds out what became of the writes of `key` that nobody knows about.
    ///
    /// # Errors
    /// The API server can not be asked; nothing may be planned then.
    async fn settle(&self, api: &WriteApi, key: &ObjectKey) -> Result<(), WriteError> {
        let open = self.unsure.lock().expect("no code panics while it holds the map").get(key).cloned();
        for it in open.into_iter().flatten() {
            match api.get(it.kind, &it.object).await {
                Ok(found) => {
                    debug!(object = %it.object, "a write of unknown outcome is settled");
                    let version = found.pointer("/metadata/resourceVersion").and_then(Value::as_str);
                    self.own.shows(key, it.kind, &it.object, version.unwrap_or_default());
                }
                Err(WriteError::NotFound { .. }) => match &it.uid {
                    Some(uid) => self.own.gone(key, it.kind, &it.object, uid),
                    None => self.keep_name(key, it.object.name),
                },
                Err(error) => return Err(error),
            }
            self.unsure
                .lock()
                .expect("no code panics while it holds the map")
                .get_mut(key)
                .map(|open| (!open.is_empty()).then(|| open.remove(0)));
        }
        self.unsure.lock().expect("no code panics while it holds the map").retain(|_, it| !it.is_empty());
        Ok(())
    }

    fn keep_name(&self, key: &ObjectKey, name: String) {
        self.names
            .lock()
            .expect("no code panics while it holds the map")
            .entry(key.clone())
            .or_default()
            .push(name);
    }

    /// A name under which an object may still come to be, to be used before any other.
    pub fn take_name(&self, key: &ObjectKey) -> Option<String> {
        let mut names = self.names.lock().expect("no code panics while it holds the map");
        let left = names.get_mut(key)?;
        let name = left.pop();
        if left.is_empty() {
            names.remove(key);
        }
        name
    }

    /// Drops what is remembered for a key whose object is gone.
    pub fn forget(&self, key: &ObjectKey) {
        self.own.forget(key);
        self.unsure.lock().expect("no code panics while it holds the map").remove(key);
        self.names.lock().expect("no code panics while it holds the map").remove(key);
    }
}

/// The object a key stands for, as writes and events mean it.
pub struct Who<'a> {
    /// Its kind.
    pub kind: Kind,
    /// Namespace and name.
    pub key: &'a ObjectKey,
    /// UID.
    pub uid: &'a str,
    /// resourceVersion.
    pub resource_version: &'a str,
    /// The component that tells about it.
    pub component: &'static str,
}

impl Who<'_> {
    /// Leaves an event about it.
    pub fn tell(
        &self,
        events: &Recorder,
        severity: Severity,
        reason: &'static str,
        message: String,
        at: Timestamp,
    ) {
        let subject = Subject {
            api_version: self.kind.api_version,
            kind: self.kind.kind,
            key: self.key.clone(),
            uid: self.uid.to_owned(),
            component: self.component,
        };
        let resource_version = self.resource_version.to_owned();
        events.record(Told { subject, resource_version, severity, reason, message, at });
    }

    /// Reads it past the cache: only one that is still there and stays may adopt.
    ///
    /// # Errors
    /// It does not stay, or can not be read.
    pub async fn still_stays(&self, api: &WriteApi) -> Result<(), ApplyError> {
        if api.stays(self.kind, self.key, self.uid).await? {
            Ok(())
        } else {
            Err(ApplyError::NotAdopting(self.key.clone()))
        }
    }
}

/// What a sync means for its key: one that ended because the object goes waits for the news of that.
///
/// # Errors
/// The sync failed.
pub fn until_gone(synced: Result<Next, ApplyError>) -> Result<Next, ApplyError> {
    match synced {
        Err(error) if error.is_farewell() => {
            debug!(%error, "nothing left to do");
            Ok(Next::Event)
        }
        other => other,
    }
}

/// Whether a raw object is controlled by `uid`.
pub fn is_controlled_by(raw: &Value, uid: &str) -> bool {
    Owner::narrow(raw).is_some_and(|it| it.uid == uid)
}
