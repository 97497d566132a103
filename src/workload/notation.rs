//! Pods, sets and Deployments for tests, in a few characters.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::deployment::model::DeploymentView;
use super::deployment::{Observed as Sets, revision};
use super::model::{Owner, Phase, PodView, SetKind, SetView};
use super::replicas::Observed;
use crate::model::ObjectKey;

/// The time in tests.
pub const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

/// A ReplicaSet `web` for pods with the label `app: web`.
pub fn set(replicas: u32) -> SetView {
    let raw = json!({
        "metadata": { "namespace": "demo", "name": "web", "uid": "set", "resourceVersion": "1", "generation": 1 },
        "spec": {
            "replicas": replicas, "selector": { "matchLabels": { "app": "web" } },
            "template": { "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [] } },
        },
    });
    SetView::narrow(SetKind::ReplicaSet, &raw).expect("a set")
}

/// Pods of that set, by UID. After it: `!` not ready, `p` pending, `u` unknown, `f` failed, `d` terminating, `-` no node,
/// `L` without the labels of the template, `@n` node, `$n` deletion cost, `~n` ready for n seconds (`~?` nobody knows),
/// `^n` created n seconds ago, `+n` restarts.
pub fn pods(notation: &str) -> Vec<Arc<PodView>> {
    notation.split_whitespace().map(|it| Arc::new(pod(it))).collect()
}

fn pod(notation: &str) -> PodView {
    let (uid, mut rest) = notation.split_at(1);
    let owner = Owner {
        api_version: "apps/v1".into(),
        kind: "ReplicaSet".into(),
        name: "web".into(),
        uid: "set".into(),
    };
    let ago = |seconds: &str| Some(NOW - SignedDuration::from_secs(seconds.parse().expect("seconds")));
    let mut it = PodView {
        key: ObjectKey::new("demo", format!("web-{uid}")),
        uid: uid.to_owned(),
        resource_version: "1".into(),
        created: ago("1000"),
        labels: [("app".to_owned(), "web".to_owned())].into(),
        owner: Some(owner),
        phase: Phase::Running,
        ready_condition: Some(true),
        ready_since: ago("500"),
        started: ago("1000"),
        deleting: false,
        node: "n".into(),
        deletion_cost: 0,
        restarts: 0,
        sidecar_restarts: 0,
        requests: Vec::new(),
        pod_requests: None,
        simulation: std::collections::BTreeMap::new(),
    };
    while let Some(mark) = rest.chars().next() {
        rest = &rest[1..];
        let word = |rest: &str| {
            let end = rest
                .char_indices()
                .skip(1)
                .find(|(_, c)| "!pufd-L@$~^+".contains(*c))
                .map_or(rest.len(), |x| x.0);
            rest[..end].to_owned()
        };
        let argument = if "@$~^+".contains(mark) { word(rest) } else { String::new() };
        rest = &rest[argument.len()..];
        match mark {
            '!' => it.ready_condition = Some(false),
            'p' => it.phase = Phase::Pending,
            'u' => it.phase = Phase::Unknown,
            'f' => it.phase = Phase::Failed,
            'd' => it.deleting = true,
            '-' => it.node.clear(),
            'L' => it.labels = [("other".to_owned(), "x".to_owned())].into(),
            '@' => it.node = argument,
            '$' => it.deletion_cost = argument.parse().expect("a cost"),
            '~' if argument == "?" => it.ready_since = None,
            '~' => it.ready_since = ago(&argument),
            '^' => it.created = ago(&argument),
            '+' => it.restarts = argument.parse().expect("a count"),
            other => panic!("unknown mark {other} in {notation}"),
        }
    }
    it
}

/// What a set observes when it has those pods.
pub fn observed(notation: &str) -> Observed {
    let all = pods(notation);
    let terminating = all.iter().filter(|it| it.deleting).count() as u32;
    Observed {
        active: all.into_iter().filter(|it| it.active()).collect(),
        terminating,
        ..Observed::default()
    }
}

/// The template of version `letter`.
pub fn template(letter: char) -> Value {
    json!({
        "metadata": { "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "c", "image": letter.to_string() }] },
    })
}

/// A Deployment `web` with template `a`. Words: replicas; `surge=`, `unavailable=` (`25%` or a number, default 25%);
/// `recreate`, `paused`, `deleting`, `history=`, `deadline=` (default 600), `template=`.
pub fn deployment(notation: &str) -> DeploymentView {
    let mut words = notation.split_whitespace();
    let replicas: u32 = words.next().and_then(|it| it.parse().ok()).expect("replicas first");
    let mut raw = json!({
        "metadata": { "namespace": "demo", "name": "web", "uid": "dep", "resourceVersion": "1", "generation": 1 },
        "spec": {
            "replicas": replicas, "selector": { "matchLabels": { "app": "web" } }, "template": template('a'),
            "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10,
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": "25%" } },
        },
        "status": { "observedGeneration": 1 },
    });
    let amount = |it: &str| it.parse::<u32>().map_or_else(|_| json!(it), |it| json!(it));
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match key {
            "surge" => raw["spec"]["strategy"]["rollingUpdate"]["maxSurge"] = amount(value),
            "unavailable" => raw["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] = amount(value),
            "recreate" => raw["spec"]["strategy"] = json!({ "type": "Recreate" }),
            "paused" => raw["spec"]["paused"] = json!(true),
            "deleting" => raw["metadata"]["deletionTimestamp"] = json!("2024-01-01T00:00:00Z"),
            "history" => raw["spec"]["revisionHistoryLimit"] = amount(value),
            "deadline" => raw["spec"]["progressDeadlineSeconds"] = amount(value),
            "template" => raw["spec"]["template"] = template(value.chars().next().expect("a letter")),
            other => panic!("unknown word {other}"),
        }
    }
    DeploymentView::narrow(&raw).expect("a deployment")
}

/// Sets of that Deployment, oldest first: `b10:8` is version b, asks for 10, has 8 available. After it: `r3` revision 3
/// (default: by position), `/7` pods there are (default: as asked for), `=10,13` the sizes it was made for.
pub fn sets(deployment: &DeploymentView, notation: &str) -> Sets {
    let sets = notation.split_whitespace().enumerate().map(|(position, word)| {
        let letter = word.chars().next().expect("a letter");
        let (body, sizes) = word[1..].split_once('=').map_or((&word[1..], None), |it| (it.0, Some(it.1)));
        let (body, revision) = body.split_once('r').map_or((body, None), |it| (it.0, Some(it.1)));
        let (body, have) = body.split_once('/').map_or((body, None), |it| (it.0, Some(it.1)));
        let (asked, available) = body.split_once(':').unwrap_or((body, body));
        let number = |it: &str| it.parse::<u32>().expect("a number");
        let (asked, available) = (number(asked), number(available));
        let have = have.map_or(asked.max(available), number);
        let of_deployment = (deployment.replicas.to_string(), deployment.max_replicas().to_string());
        let (desired, most) = sizes
            .and_then(|it| it.split_once(','))
            .map_or(of_deployment, |it| (it.0.to_owned(), it.1.to_owned()));
        let revision = revision.map_or_else(|| (position + 1).to_string(), str::to_owned);
        let raw = json!({
            "metadata": {
                "namespace": "demo", "name": format!("web-{letter}"), "uid": format!("set-{letter}"),
                "resourceVersion": "1", "generation": 1, "labels": { "app": "web" },
                "creationTimestamp": (NOW - SignedDuration::from_secs(1000 - position as i64)).to_string(),
                "annotations": {
                    revision::REVISION: revision, revision::DESIRED_REPLICAS: desired, revision::MAX_REPLICAS: most,
                },
                "ownerReferences": [
                    { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "dep", "controller": true },
                ],
            },
            "spec": { "replicas": asked, "selector": { "matchLabels": { "app": "web" } }, "template": template(letter) },
            "status": {
                "replicas": have, "readyReplicas": available, "availableReplicas": available, "observedGeneration": 1,
            },
        });
        Arc::new(SetView::narrow(SetKind::ReplicaSet, &raw).expect("a set"))
    });
    Sets { sets: sets.collect(), ..Sets::default() }
}
