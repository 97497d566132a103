//! GET with `watch`: a stream of events from the ring of one kind.
//!
//! Every watcher reads the ring at its own pace, so a slow one costs nothing and loses nothing until it falls
//! off the end; then it gets one ERROR event with code 410 and has to list again. An expired start is
//! answered the same way, not with an HTTP 410: clients only relist on the event.
//!
//! Sources: apiserver `pkg/storage/cacher`, `pkg/endpoints/handlers/watch.go`; KEP-3157 (streaming lists).

use crate::apiserver::list::{Selection, parse_version};
use crate::apiserver::object::Object;
use crate::apiserver::render::{Columns, View, write_value};
use crate::apiserver::request::{Call, Query};
use crate::apiserver::server::{ApiServer, random};
use crate::apiserver::status::Status;
use crate::apiserver::store::{Change, Event, stored_as};
use crate::apiserver::validate::FieldError;
use bytes::Bytes;
use serde_json::json;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Events encoded into one chunk: bounds the buffer of a watcher that catches up.
const BATCH: usize = 128;
/// Time between bookmarks.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// A watch without timeoutSeconds ends after this and up to as long again.
const TIMEOUT_FLOOR: Duration = Duration::from_secs(1_800);

/// What a watch sends first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// Current objects as ADDED, and the closing bookmark if asked for.
    Current,
    /// Nothing: changes from now on.
    Now,
    /// Changes after this version.
    After(u64),
}

fn start_of(query: &Query) -> Result<Start, Status> {
    let matching = query.get("resourceVersionMatch");
    let mut errors = Vec::new();
    if query.get("sendInitialEvents").is_some() {
        if matching.is_none() {
            errors.push(FieldError::forbidden(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        } else if matching != Some("NotOlderThan") {
            let known = ["NotOlderThan"];
            errors.push(FieldError::not_supported(
                "resourceVersionMatch",
                matching.unwrap_or_default(),
                &known,
            ));
        }
    } else if matching.is_some() {
        errors.push(FieldError::forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ));
    }
    if query.get("continue").is_some() {
        errors.push(FieldError::forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden when continue is provided",
        ));
    }
    if !errors.is_empty() {
        return Err(Status::invalid_options("ListOptions", &errors));
    }
    let version = parse_version(query.get("resourceVersion"))?;
    if query.get("sendInitialEvents").is_some() {
        if query.flag("sendInitialEvents") {
            return Ok(Start::Current);
        }
        return Ok(version.filter(|it| *it > 0).map_or(Start::Now, Start::After));
    }
    Ok(match version {
        None | Some(0) => Start::Current,
        Some(version) => Start::After(version),
    })
}

/// One open watch.
pub struct Watcher {
    server: ApiServer,
    view: View,
    namespace: Option<String>,
    selection: Selection,
    columns: Columns,
    initial: VecDeque<Arc<Object>>,
    /// The bookmark that closes the initial events is still to be sent.
    initial_end: bool,
    /// Everything up to this version has been sent.
    cursor: u64,
    changed: watch::Receiver<u64>,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    done: bool,
    shutdown: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Watcher {
    /// Checks the options and takes its place in the ring.
    pub fn open(
        server: &ApiServer,
        call: &Call,
        view: View,
        shutdown: CancellationToken,
    ) -> Result<Self, Status> {
        let start = start_of(&call.query)?;
        let selection = Selection::parse(call)?;
        call.query.number::<i64>("limit")?;
        let timeout = match call.query.number::<i64>("timeoutSeconds")? {
            // Beyond a day nobody can tell, and the clock cannot overflow.
            Some(seconds) if seconds != 0 => {
                Duration::from_secs(u64::try_from(seconds).unwrap_or(0).min(86_400))
            }
            _ => TIMEOUT_FLOOR + Duration::from_secs(random() % TIMEOUT_FLOOR.as_secs()),
        };
        let permit =
            Arc::clone(&server.shared.watches).try_acquire_owned().map_err(|_| Status::too_many_watches())?;
        let resource = stored_as(call.target.resource);
        let bookmarks = call.query.flag("allowWatchBookmarks");
        let changed = server.store().subscribe(resource);
        let namespace = call.target.list_namespace().map(ToOwned::to_owned);
        let (cursor, initial) = match start {
            Start::After(version) => (version, VecDeque::new()),
            Start::Now => (server.store().version(), VecDeque::new()),
            Start::Current => {
                let (version, objects) = server.store().list(resource, namespace.as_deref());
                (version, objects.into_iter().filter(|it| selection.matches(resource, it)).collect())
            }
        };
        let now = Instant::now();
        Ok(Self {
            server: server.clone(),
            view,
            namespace,
            selection,
            columns: Columns::Defined,
            initial,
            initial_end: bookmarks && call.query.flag("sendInitialEvents"),
            cursor,
            changed,
            bookmarks,
            next_bookmark: now + BOOKMARK_EVERY,
            deadline: now + timeout,
            done: false,
            shutdown,
            _permit: permit,
        })
    }

    /// The next chunk: whole lines, at least one. `None` ends the stream.
    pub async fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        while !self.done {
            self.changed.borrow_and_update();
            self.fill(&mut out);
            if !out.is_empty() {
                // What is told is durable.
                let failed = match self.server.store().unsettled() {
                    Some(it) => it.settled().await.is_err(),
                    None => false,
                };
                return (!failed).then(|| out.into());
            }
            if self.done {
                break;
            }
            tokio::select! {
                () = self.shutdown.cancelled() => self.done = true,
                () = tokio::time::sleep_until(self.deadline) => { // allow-sleep: end of the watch
                    self.done = true;
                    if self.bookmarks {
                        self.bookmark(&mut out, false);
                        return Some(out.into());
                    }
                }
                () = tokio::time::sleep_until(self.next_bookmark), if self.bookmarks => { // allow-sleep: bookmark timer
                    self.bookmark(&mut out, false);
                    return Some(out.into());
                }
                changed = self.changed.changed() => self.done = changed.is_err(),
            }
        }
        None
    }

    /// Appends what can be sent now.
    fn fill(&mut self, out: &mut Vec<u8>) {
        if !self.initial.is_empty() {
            let count = self.initial.len().min(BATCH);
            for object in self.initial.drain(..count).collect::<Vec<_>>() {
                self.event(out, "ADDED", &object);
            }
            return;
        }
        if self.initial_end {
            self.initial_end = false;
            self.bookmark(out, true);
            return;
        }
        loop {
            match self.server.store().events_after(self.view.resource, self.cursor, BATCH) {
                Err(expired) => {
                    let status = Status::expired(self.cursor, expired.oldest).to_value();
                    write_value(out, &json!({"type": "ERROR", "object": status}));
                    out.push(b'\n');
                    self.done = true;
                    return;
                }
                Ok((events, reached)) => {
                    self.cursor = reached;
                    for event in &events {
                        self.transition(out, event);
                    }
                    if !out.is_empty() || events.len() < BATCH {
                        return;
                    }
                }
            }
        }
    }

    /// One event as this watcher's selectors see it.
    fn transition(&mut self, out: &mut Vec<u8>, event: &Event) {
        let in_namespace = self.namespace.as_deref().is_none_or(|it| event.object.key.namespace == it);
        if !in_namespace {
            return;
        }
        let matches = |object: &Object| self.selection.matches(self.view.resource, object);
        let before = event.previous.as_deref().is_some_and(matches);
        let after = event.change != Change::Deleted && matches(&event.object);
        match (before, after) {
            (false, false) => {}
            (false, true) => self.event(out, "ADDED", &event.object),
            (true, true) => self.event(out, "MODIFIED", &event.object),
            (true, false) if event.change == Change::Deleted => self.event(out, "DELETED", &event.object),
            (true, false) => {
                // It no longer matches: gone as far as this watcher is concerned, with its old content.
                let Some(previous) = &event.previous else { return };
                let mut value = previous.value.clone();
                value["metadata"]["resourceVersion"] = event.version.to_string().into();
                self.event(out, "DELETED", &Object::new(event.version, value));
            }
        }
    }

    fn event(&mut self, out: &mut Vec<u8>, kind: &str, object: &Object) {
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        self.view.now = self.server.now();
        self.view.object(object, self.columns, out);
        self.columns = Columns::Omitted;
        out.extend_from_slice(b"}\n");
    }

    fn bookmark(&mut self, out: &mut Vec<u8>, initial_events_end: bool) {
        let object = self.view.bookmark(self.cursor, initial_events_end);
        write_value(out, &json!({"type": "BOOKMARK", "object": object}));
        out.push(b'\n');
        self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_watch_starts() {
        #[rustfmt::skip]
        let cases = [
            ("",                                                          Ok(Start::Current)),
            ("resourceVersion=0",                                         Ok(Start::Current)),
            ("resourceVersion=8",                                         Ok(Start::After(8))),
            ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan",  Ok(Start::Current)),
            ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=8", Ok(Start::Current)),
            ("sendInitialEvents=false&resourceVersionMatch=NotOlderThan", Ok(Start::Now)),
            ("sendInitialEvents=true",                                    Err(422)),
            ("sendInitialEvents=true&resourceVersionMatch=Exact",         Err(422)),
            ("resourceVersionMatch=NotOlderThan",                         Err(422)),
        ];
        for (query, want) in cases {
            assert_eq!(start_of(&Query::parse(query)).map_err(|it| it.code), want, "{query}");
        }
    }
}
