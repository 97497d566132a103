//! Garbage collection by owner references: the shell around [`graph`](crate::apiserver::graph).
//!
//! Store events go into the graph, the graph says what to do, the actions go back through the store with the
//! uid as precondition. A collector that fell behind the rings starts over from a snapshot.

use crate::apiserver::delete::{self, DeleteOptions, Propagation};
use crate::apiserver::graph::{Action, Graph};
use crate::apiserver::meta;
use crate::apiserver::request::Commit;
use crate::apiserver::server::ApiServer;
use crate::apiserver::store::Writer;
use crate::apiserver::update::{self, Part};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Actions between two chances for other tasks to run.
const ACTIONS_PER_TURN: usize = 32;

/// Collects until `shutdown`.
pub async fn run(server: &ApiServer, shutdown: &CancellationToken) {
    let mut changed = server.store().subscribe_all();
    let mut collector = Collector::default();
    loop {
        changed.borrow_and_update();
        let work = collector.advance(server);
        let mut actions = 0;
        for uid in work {
            for action in collector.graph.decide(&uid) {
                act(server, &action);
                actions += 1;
                if actions % ACTIONS_PER_TURN == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            result = changed.changed() => if result.is_err() { return },
        }
    }
}

/// What the collector knows, and up to which version.
#[derive(Default)]
pub(crate) struct Collector {
    graph: Graph,
    cursor: Option<u64>,
}

impl Collector {
    /// One round at once: brings the graph up to the store and does what follows; how many actions that was.
    #[cfg(test)]
    pub(crate) fn turn(&mut self, server: &ApiServer) -> usize {
        let work = self.advance(server);
        let actions: Vec<_> = work.iter().flat_map(|uid| self.graph.decide(uid)).collect();
        for action in &actions {
            act(server, action);
        }
        actions.len()
    }

    /// Brings the graph up to the store; the uids to look at.
    fn advance(&mut self, server: &ApiServer) -> Vec<String> {
        let mut work = Vec::new();
        let events = self.cursor.map(|version| server.store().all_events_after(version));
        if let Some(Ok((events, reached))) = events {
            // Events come in numbers, own nothing and are owned by nobody.
            for (resource, event) in events.iter().filter(|(resource, _)| resource.kind != "Event") {
                work.extend(self.graph.observe(resource, &event.object.value.head(), event.change));
            }
            self.cursor = Some(reached);
        } else {
            let (version, objects) = server.store().snapshot();
            self.graph = Graph::default();
            for (resource, object) in &objects {
                self.graph.insert(resource, &object.value.head());
            }
            work = self.graph.uids();
            self.cursor = Some(version);
        }
        work.sort_unstable();
        work.dedup();
        work
    }
}

fn act(server: &ApiServer, action: &Action) {
    let mut writer = server.store().write();
    let done = match action {
        Action::Delete { target, uid, propagation } => {
            let options = DeleteOptions {
                propagation: *propagation,
                uid: Some(uid.clone()),
                ..DeleteOptions::default()
            };
            delete::remove(server, &mut writer, target, &options).map(|_| ())
        }
        Action::Forget { target, uid, owners } => edit(&mut writer, target, uid, |object| {
            if let Some(references) = object["metadata"]["ownerReferences"].as_array_mut() {
                references.retain(|it| !owners.iter().any(|owner| it["uid"] == owner.as_str()));
            }
        }),
        Action::Release { target, uid, finalizer } => edit(&mut writer, target, uid, |object| {
            let kept: Vec<String> = meta::finalizers(object)
                .into_iter()
                .filter(|it| it != finalizer)
                .map(ToOwned::to_owned)
                .collect();
            meta::metadata(object).insert("finalizers".into(), json!(kept));
        }),
    };
    if let Err(status) = done {
        // 404 and 409: the object is gone or another one took its name; the events say so.
        tracing::debug!(error = status.message, "garbage collection skipped an object");
    }
}

fn edit(
    writer: &mut Writer<'_>,
    target: &crate::apiserver::request::Target,
    uid: &str,
    change: impl FnOnce(&mut Value),
) -> Result<(), crate::apiserver::status::Status> {
    let Some(old) = writer.get(target.resource, &target.key()) else { return Ok(()) };
    if meta::text(&old.value, "uid") != uid {
        return Ok(());
    }
    let mut new = old.value.clone();
    change(&mut new);
    update::store(writer, target, &old, new, Part::Main, Commit::Keep, None).map(|_| ())
}

/// The policy for a dependent whose owner waits for it.
pub(crate) fn waiting_policy(has_dependents: bool) -> Option<Propagation> {
    has_dependents.then_some(Propagation::Foreground)
}
