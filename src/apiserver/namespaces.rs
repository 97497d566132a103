//! What happens to namespaces: each gets its `default` ServiceAccount, and a deleted one is emptied.
//!
//! Source: kubernetes `pkg/controller/namespace/deletion/namespaced_resources_deleter.go`.

use crate::apiserver::boot::ensure;
use crate::apiserver::delete::{self, DeleteOptions, target_of};
use crate::apiserver::meta;
use crate::apiserver::object::Key;
use crate::apiserver::request::Commit;
use crate::apiserver::resources::{self, Resource};
use crate::apiserver::server::ApiServer;
use crate::apiserver::store::Change;
use crate::apiserver::update::{self, Part};
use serde_json::json;
use std::collections::BTreeSet;
use tokio_util::sync::CancellationToken;

/// Finalizer of this loop in `spec.finalizers`.
const FINALIZER: &str = "kubernetes";
/// Deletions between two chances for other tasks to run.
const DELETIONS_PER_TURN: usize = 32;

fn kind(name: &str) -> &'static Resource {
    resources::find_kind("v1", name).expect("core kinds are served")
}

/// Works until `shutdown`.
pub async fn run(server: &ApiServer, shutdown: &CancellationToken) {
    let (namespaces, accounts) = (kind("Namespace"), kind("ServiceAccount"));
    let mut namespace_changed = server.store().subscribe(namespaces);
    let mut account_changed = server.store().subscribe(accounts);
    let mut any_changed = server.store().subscribe_all();
    let mut cursors = (None, server.store().version());
    let mut terminating = BTreeSet::new();
    loop {
        namespace_changed.borrow_and_update();
        account_changed.borrow_and_update();
        any_changed.borrow_and_update();
        note_namespaces(server, namespaces, &mut cursors.0, &mut terminating);
        cursors.1 = restore_accounts(server, accounts, cursors.1);
        for name in terminating.clone() {
            if empty(server, &name).await == Progress::Gone {
                terminating.remove(&name);
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = namespace_changed.changed() => {}
            _ = account_changed.changed() => {}
            _ = any_changed.changed(), if !terminating.is_empty() => {}
        }
    }
}

/// Follows the Namespace kind: new ones get their account, deleted ones are queued.
fn note_namespaces(
    server: &ApiServer,
    namespaces: &'static Resource,
    cursor: &mut Option<u64>,
    terminating: &mut BTreeSet<String>,
) {
    let events = cursor.map(|version| server.store().events_after(namespaces, version, usize::MAX));
    let objects = if let Some(Ok((events, reached))) = events {
        *cursor = Some(reached);
        events.into_iter().filter(|it| it.change != Change::Deleted).map(|it| it.object).collect()
    } else {
        let (version, objects) = server.store().list(namespaces, None);
        *cursor = Some(version);
        objects
    };
    for object in objects {
        let name = meta::text(&object.value, "name");
        if meta::is_terminating(&object.value) {
            terminating.insert(name.to_owned());
        } else {
            ensure_account(server, name);
        }
    }
}

fn ensure_account(server: &ApiServer, namespace: &str) {
    if server.store().get(kind("ServiceAccount"), &Key::new(namespace, "default")).is_some() {
        return;
    }
    let found = server.store().get(kind("Namespace"), &Key::new("", namespace));
    if found.is_some_and(|it| !meta::is_terminating(&it.value)) {
        ensure(server, "v1", "ServiceAccount", namespace, json!({"metadata": {"name": "default"}}));
    }
}

/// Brings back deleted `default` accounts; the version looked at.
fn restore_accounts(server: &ApiServer, accounts: &'static Resource, cursor: u64) -> u64 {
    let Ok((events, reached)) = server.store().events_after(accounts, cursor, usize::MAX) else {
        let (version, all) = server.store().list(kind("Namespace"), None);
        for namespace in all {
            ensure_account(server, meta::text(&namespace.value, "name"));
        }
        return version;
    };
    for event in events {
        if event.change == Change::Deleted && meta::text(&event.object.value, "name") == "default" {
            ensure_account(server, meta::text(&event.object.value, "namespace"));
        }
    }
    reached
}

/// How far the deletion of a namespace is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Content is left, or finalizers of others.
    Waiting,
    /// It no longer exists, or is not terminating.
    Gone,
}

/// Deletes what is left in a namespace; when nothing is, takes the finalizer away.
async fn empty(server: &ApiServer, name: &str) -> Progress {
    let namespaces = kind("Namespace");
    let Some(found) = server.store().get(namespaces, &Key::new("", name)) else { return Progress::Gone };
    if !meta::is_terminating(&found.value) {
        return Progress::Gone;
    }
    let content = server.store().namespace_content(name);
    if content.is_empty() {
        let mut writer = server.store().write();
        let Some(old) = writer.get(namespaces, &Key::new("", name)) else { return Progress::Gone };
        let mut namespace = old.value.clone();
        if let Some(finalizers) = namespace["spec"]["finalizers"].as_array_mut() {
            finalizers.retain(|it| it != FINALIZER);
        }
        let target = target_of(namespaces, &namespace);
        if let Err(status) =
            update::store(&mut writer, &target, &old, namespace, Part::Narrow, Commit::Keep, None)
        {
            tracing::warn!(object.name = name, error = status.message, "namespace not finalized");
        }
        return Progress::Waiting;
    }
    let mut deletions = 0;
    for (resource, object) in content {
        if meta::is_terminating(&object.value) {
            continue;
        }
        let options = DeleteOptions {
            uid: Some(meta::text(&object.value, "uid").to_owned()),
            ..DeleteOptions::default()
        };
        {
            let mut writer = server.store().write();
            if let Err(status) =
                delete::remove(server, &mut writer, &target_of(resource, &object.value), &options)
            {
                tracing::debug!(error = status.message, "namespace deletion skipped an object");
            }
        }
        deletions += 1;
        if deletions % DELETIONS_PER_TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    Progress::Waiting
}
