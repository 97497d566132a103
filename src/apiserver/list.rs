//! GET of a collection: selectors, resource version rules, pages.
//!
//! Sources: apimachinery `pkg/apis/meta/internalversion/validation`; apiserver `pkg/storage/continue.go`.

use crate::apiserver::object::{Key, Object};
use crate::apiserver::render::ListMeta;
use crate::apiserver::request::{Call, Query};
use crate::apiserver::resources::Resource;
use crate::apiserver::selector::{FieldSelector, LabelSelector};
use crate::apiserver::server::ApiServer;
use crate::apiserver::status::Status;
use crate::apiserver::store::stored_as;
use crate::apiserver::validate::FieldError;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::sync::{Arc, MutexGuard, PoisonError};

/// How long the snapshot behind a continue token is kept.
const SNAPSHOT_AGE: SignedDuration = SignedDuration::from_mins(5);
/// Snapshots kept at once; the oldest goes first, its token then reads from the ring.
const SNAPSHOTS: usize = 32;

/// Which objects of a collection are meant.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
    name: Option<String>,
}

impl Selection {
    /// Reads `labelSelector` and `fieldSelector`; a name in the path selects that object.
    pub fn parse(call: &Call) -> Result<Self, Status> {
        let resource = stored_as(call.target.resource);
        let labels = LabelSelector::parse(call.query.get("labelSelector").unwrap_or_default())
            .map_err(Status::bad_request)?;
        let mut text = call.query.get("fieldSelector").unwrap_or_default().to_owned();
        if call.target.resource.group == "events.k8s.io" {
            text = text
                .replace("regarding.", "involvedObject.")
                .replace("reportingController", "reportingComponent");
        }
        let fields = FieldSelector::parse(resource, &text).map_err(Status::bad_request)?;
        Ok(Self { labels, fields, name: call.target.name.clone() })
    }

    /// Whether a stored object is meant.
    pub fn matches(&self, resource: &Resource, object: &Object) -> bool {
        if self.name.as_deref().is_some_and(|it| object.key.name != it) {
            return false;
        }
        if self.labels.is_empty() && self.fields.is_empty() {
            return true;
        }
        let value = object.value.read();
        self.labels.matches(&value) && self.fields.matches(stored_as(resource), &value)
    }

    /// Whether every object is meant.
    pub fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty() && self.name.is_none()
    }
}

/// Which state a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Latest,
    NotOlderThan(u64),
    Exactly(u64),
}

/// Reads resourceVersion, resourceVersionMatch and their forbidden combinations.
fn list_version(query: &Query) -> Result<At, Status> {
    let mut errors = Vec::new();
    let text = query.get("resourceVersion");
    let matching = query.get("resourceVersionMatch");
    if query.has("sendInitialEvents") {
        errors.push(FieldError::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
    }
    if let Some(matching) = matching {
        if text.is_none() {
            errors.push(FieldError::forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        if query.get("continue").is_some() {
            errors.push(FieldError::forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden when continue is provided",
            ));
        }
        if !matches!(matching, "Exact" | "NotOlderThan") {
            let known = ["Exact", "NotOlderThan", ""];
            errors.push(FieldError::not_supported("resourceVersionMatch", matching, &known));
        }
        if matching == "Exact" && text == Some("0") {
            errors.push(FieldError::forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
    }
    if !errors.is_empty() {
        return Err(Status::invalid_options("ListOptions", &errors));
    }
    let version = parse_version(text)?;
    Ok(match (version, matching) {
        (None | Some(0), _) => At::Latest,
        (Some(version), Some("Exact")) => At::Exactly(version),
        (Some(version), _) => At::NotOlderThan(version),
    })
}

/// A resource version of the query, or 400.
pub fn parse_version(text: Option<&str>) -> Result<Option<u64>, Status> {
    text.map(|it| {
        it.parse().map_err(|_| {
            Status::bad_request(format!(
                "invalid resource version: resourceVersion: Invalid value: {it:?}: strconv.ParseUint: parsing {it:?}: invalid syntax"
            ))
        })
    })
    .transpose()
}

/// Lists pinned for their continue tokens.
#[derive(Debug, Default)]
pub struct Snapshots(Vec<Snapshot>);

#[derive(Debug)]
struct Snapshot {
    resource: &'static Resource,
    namespace: Option<String>,
    version: u64,
    taken: Timestamp,
    objects: Arc<Vec<Arc<Object>>>,
}

impl Snapshots {
    fn find(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        version: u64,
    ) -> Option<Arc<Vec<Arc<Object>>>> {
        self.0
            .iter()
            .find(|it| {
                it.version == version
                    && std::ptr::eq(it.resource, resource)
                    && it.namespace.as_deref() == namespace
            })
            .map(|it| Arc::clone(&it.objects))
    }

    fn expire(&mut self, now: Timestamp) {
        self.0.retain(|it| now.duration_since(it.taken) <= SNAPSHOT_AGE);
    }

    fn pin(&mut self, snapshot: Snapshot) {
        if self.find(snapshot.resource, snapshot.namespace.as_deref(), snapshot.version).is_some() {
            return;
        }
        if self.0.len() == SNAPSHOTS {
            self.0.remove(0);
        }
        self.0.push(snapshot);
    }
}

/// The selected objects, of one page if `limit` is set, and the metadata of their list.
pub fn list(
    server: &ApiServer,
    call: &Call,
    selection: &Selection,
) -> Result<(Vec<Arc<Object>>, ListMeta), Status> {
    let resource = stored_as(call.target.resource);
    let namespace = call.target.list_namespace();
    let at = list_version(&call.query)?;
    // As upstream, a negative limit is none.
    let limit = call.query.number::<i64>("limit")?.and_then(|it| usize::try_from(it).ok()).unwrap_or(0);
    call.query.number::<i64>("timeoutSeconds")?;
    let token = call.query.get("continue").map(Token::decode).transpose()?;
    if token.is_some() && !matches!(at, At::Latest) {
        return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
    }
    if token.as_ref().is_some_and(|it| it.version > Some(server.store().version())) {
        return Err(Status::bad_request(
            "continue key is not valid: it names a version that is still to come",
        ));
    }
    let (version, objects, after) = match token {
        Some(Token { version: Some(version), after }) => {
            let pinned = snapshots(server).find(resource, namespace, version);
            let objects = match pinned {
                Some(objects) => objects,
                None => server.store().list_at(resource, namespace, version).map(Arc::new).map_err(|_| {
                    let fresh = Token { version: None, after: after.clone() };
                    let mut status = Status::continue_expired();
                    status.details = json!({"continue": fresh.encode()});
                    status
                })?,
            };
            (version, objects, Some(after))
        }
        Some(Token { version: None, after }) => {
            let (version, objects) = server.store().list(resource, namespace);
            (version, Arc::new(objects), Some(after))
        }
        None => {
            let (version, objects) = at_version(server, resource, namespace, at)?;
            (version, Arc::new(objects), None)
        }
    };
    let start = after.as_ref().map_or(0, |after| objects.partition_point(|it| it.key <= *after));
    let mut matching = objects[start..].iter().filter(|it| selection.matches(resource, it));
    let mut meta = ListMeta { version, ..ListMeta::default() };
    if limit == 0 {
        return Ok((matching.cloned().collect(), meta));
    }
    let page: Vec<Arc<Object>> = matching.by_ref().take(limit).cloned().collect();
    let Some(last) = page.last() else { return Ok((page, meta)) };
    if matching.next().is_some() {
        let after = last.key.clone();
        if selection.is_everything() {
            meta.remaining = Some(objects.len() - start - page.len());
        }
        meta.continuation = Some(Token { version: Some(version), after }.encode());
        snapshots(server).pin(Snapshot {
            resource,
            namespace: namespace.map(ToOwned::to_owned),
            version,
            taken: server.now(),
            objects: Arc::clone(&objects),
        });
    }
    Ok((page, meta))
}

/// The pinned lists that are not too old, for the rest of the statement.
fn snapshots(server: &ApiServer) -> MutexGuard<'_, Snapshots> {
    let mut snapshots = server.shared.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
    snapshots.expire(server.now());
    snapshots
}

fn at_version(
    server: &ApiServer,
    resource: &Resource,
    namespace: Option<&str>,
    at: At,
) -> Result<(u64, Vec<Arc<Object>>), Status> {
    let (current, objects) = server.store().list(resource, namespace);
    match at {
        At::NotOlderThan(wanted) | At::Exactly(wanted) if wanted > current => {
            Err(Status::version_too_large(wanted, current))
        }
        At::Exactly(wanted) => {
            let objects = server.store().list_at(resource, namespace, wanted);
            objects.map(|it| (wanted, it)).map_err(|it| Status::expired(wanted, it.oldest))
        }
        At::Latest | At::NotOlderThan(_) => Ok((current, objects)),
    }
}

/// What a continue token says: resume after this key, in this snapshot or (`None`) in the latest state.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    version: Option<u64>,
    after: Key,
}

impl Token {
    fn encode(&self) -> String {
        let start = format!("{}/{}", self.after.namespace, self.after.name);
        let version = self.version.map_or(json!(-1), Value::from);
        URL_SAFE_NO_PAD.encode(json!({"v": "meta.k8s.io/v1", "rv": version, "start": start}).to_string())
    }

    fn decode(text: &str) -> Result<Self, Status> {
        const VERSION: &str = "meta.k8s.io/v1";
        let parsed = || {
            let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
            let bytes = bytes.ok_or_else(|| "illegal base64 data or content".to_owned())?;
            let token: Value =
                serde_json::from_slice(&bytes).map_err(|_| "illegal base64 data or content".to_owned())?;
            let version = token["v"].as_str().unwrap_or_default();
            if version != VERSION {
                return Err(format!("server does not recognize this encoded version {version}"));
            }
            let at = token["rv"].as_i64().unwrap_or_default();
            if at == 0 {
                return Err(format!("incorrect encoded start resourceVersion (version {VERSION})"));
            }
            let start = token["start"].as_str().unwrap_or_default();
            if start.is_empty() {
                return Err(format!("encoded start key empty (version {VERSION})"));
            }
            let key = start.split_once('/').filter(|it| !it.1.contains('/') && !it.0.starts_with('.'));
            let (namespace, name) = key.ok_or_else(|| start.to_owned())?;
            Ok(Self { version: u64::try_from(at).ok(), after: Key::new(namespace, name) })
        };
        parsed().map_err(|why| {
            Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_options() {
        #[rustfmt::skip]
        let cases = [
            ("",                                                   Ok(At::Latest)),
            ("resourceVersion=0",                                  Ok(At::Latest)),
            ("resourceVersion=0&resourceVersionMatch=NotOlderThan", Ok(At::Latest)),
            ("resourceVersion=7&resourceVersionMatch=NotOlderThan", Ok(At::NotOlderThan(7))),
            ("resourceVersion=7",                                  Ok(At::NotOlderThan(7))),
            ("resourceVersion=7&resourceVersionMatch=Exact",       Ok(At::Exactly(7))),
            ("resourceVersion=0&resourceVersionMatch=Exact",       Err(422)),
            ("resourceVersionMatch=Exact",                         Err(422)),
            ("resourceVersion=7&resourceVersionMatch=Exact&continue=x", Err(422)),
            ("sendInitialEvents=true",                             Err(422)),
            ("resourceVersion=x",                                  Err(400)),
        ];
        for (query, want) in cases {
            assert_eq!(list_version(&Query::parse(query)).map_err(|it| it.code), want, "{query}");
        }
    }

    #[test]
    fn tokens_round_trip() {
        for version in [Some(5), None] {
            let token = Token { version, after: Key::new("ns", "name") };
            assert_eq!(Token::decode(&token.encode()).unwrap(), token);
        }
        assert_eq!(Token::decode("%%%").unwrap_err().code, 400);
    }
}
