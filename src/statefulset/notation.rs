//! Sets, pods and plans in a few letters, for the tables of the tests.
//!
//! Set: `3xA→B partition=1 start=5 max=2 minready=10 retain=DR history=2 parallel noblock ondelete recreate claims
//! deleting`: 3 replicas, current revision A, update revision B. Annotations: `unstick budget=2 reserve=1,3-5 manage=Parallel
//! grow=InPlace`.
//! Pods: `0A` pod 0 at revision A, ready for an hour; then `!` running but not ready, `?` pending, `f` failed, `s`
//! succeeded, `-` terminating, a digit: ready for so many seconds, `_` lacks its claim volume, `x` lacks its identity
//! label. Among them `c0` the claim of ordinal 0 (`-` terminating, `~` owned by an earlier pod 0) and `t0`: a pod
//! of somebody else has the name.
//! Revisions: `1A 2B*`: number and template; `*` the same template as another release wrote it.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::extras;
use super::model::{
    ClaimView, LABEL_POD_NAME, LABEL_REVISION, Ordinal, Owner, Phase, PodView, RevisionView, SetSpec,
};
use super::plan::{Action, Cause, Observed, Plan, Reason};
use super::revision::{encode_data, hash, name, recorded_template, set_owner};
use crate::model::ObjectKey;

/// The moment of every test.
pub const NOW: Timestamp = Timestamp::UNIX_EPOCH;

pub fn template(letter: char) -> Value {
    json!({
        "metadata": { "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "c", "image": format!("registry/{letter}:1") }] },
    })
}

pub fn release_name(letter: char) -> String {
    name("web", &hash(&encode_data(&template(letter)), 0))
}

fn letter_of(release: &str) -> char {
    ('A'..='Z').find(|it| release_name(*it) == release).unwrap_or('?')
}

pub fn set_from(raw: Value) -> SetSpec {
    SetSpec::narrow(&raw).expect("the fixture is a StatefulSet")
}

pub fn set(text: &str) -> SetSpec {
    let mut words = text.split_whitespace();
    let (replicas, revisions) = words.next().unwrap().split_once('x').unwrap();
    let (current, update) = revisions.split_once('→').unwrap_or((revisions, revisions));
    let letter = |it: &str| it.chars().next().unwrap();
    let mut raw = json!({
        "metadata": { "name": "web", "namespace": "demo", "uid": "set", "generation": 1, "resourceVersion": "1" },
        "spec": {
            "replicas": replicas.parse::<u32>().unwrap(), "serviceName": "web",
            "selector": { "matchLabels": { "app": "web" } },
            "template": template(letter(update)),
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": {} },
        },
        "status": { "currentRevision": release_name(letter(current)) },
    });
    let retain = |it: char| if it == 'D' { "Delete" } else { "Retain" };
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let number = || json!(value.parse::<i64>().unwrap());
        let spec = &mut raw["spec"];
        match key {
            "partition" => spec["updateStrategy"]["rollingUpdate"]["partition"] = number(),
            "max" => spec["updateStrategy"]["rollingUpdate"]["maxUnavailable"] = number(),
            "start" => spec["ordinals"]["start"] = number(),
            "minready" => spec["minReadySeconds"] = number(),
            "history" => spec["revisionHistoryLimit"] = number(),
            "parallel" => spec["podManagementPolicy"] = json!("Parallel"),
            "noblock" => spec["updateStrategy"] = json!({ "type": "RollingUpdate" }),
            "ondelete" => spec["updateStrategy"] = json!({ "type": "OnDelete" }),
            "recreate" => spec["updateStrategy"] = json!({ "type": "Recreate" }),
            "claims" => {
                spec["volumeClaimTemplates"] = json!([{ "metadata": { "name": "data" }, "spec": {} }]);
            }
            "deleting" => raw["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"),
            "retain" => {
                let letters: Vec<_> = value.chars().collect();
                spec["persistentVolumeClaimRetentionPolicy"] =
                    json!({ "whenDeleted": retain(letters[0]), "whenScaled": retain(letters[1]) });
            }
            "unstick" => annotate(&mut raw, extras::UNSTICK, "outdated"),
            "budget" => annotate(&mut raw, extras::MAX_UNAVAILABLE, value),
            "reserve" => annotate(&mut raw, extras::RESERVE_ORDINALS, value),
            "manage" => annotate(&mut raw, extras::POD_MANAGEMENT_POLICY, value),
            "grow" => {
                annotate(&mut raw, extras::CLAIMS, "{\"data\":{\"storage\":\"2Gi\"}}");
                annotate(&mut raw, extras::CLAIM_UPDATE, value);
            }
            other => panic!("unknown word {other}"),
        }
    }
    set_from(raw)
}

fn annotate(raw: &mut Value, name: &str, value: &str) {
    raw["metadata"]["annotations"][name] = json!(value);
}

fn leading_number(text: &str) -> (u32, &str) {
    let end = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
    (text[..end].parse().unwrap(), &text[end..])
}

pub fn new_pod(ordinal: u32, revision: &str, uid: &str) -> PodView {
    let name = format!("web-{ordinal}");
    PodView {
        key: ObjectKey::new("demo", name.as_str()),
        uid: uid.into(),
        resource_version: "1".into(),
        created: None,
        labels: [("app", "web"), (LABEL_POD_NAME, &name), (LABEL_REVISION, revision)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        owner: Some(set_owner(&set("1xA"))),
        ordinal: Some(Ordinal(ordinal)),
        phase: Phase::Pending,
        ready_condition: false,
        ready_since: None,
        deleting: false,
        ends: None,
        node: None,
        trouble: None,
        claims: vec![("data".into(), format!("data-web-{ordinal}"))],
    }
}

pub fn pod(text: &str) -> PodView {
    let (ordinal, rest) = leading_number(text);
    let mut marks = rest.chars();
    let letter = marks.next().unwrap();
    let mut pod = new_pod(ordinal, &release_name(letter), &format!("uid-{ordinal}"));
    pod.phase = Phase::Running;
    pod.ready_condition = true;
    pod.ready_since = Some(NOW - SignedDuration::from_hours(1));
    for mark in marks {
        match mark {
            '!' => pod.ready_condition = false,
            '?' => (pod.phase, pod.ready_condition) = (Phase::Pending, false),
            'f' => (pod.phase, pod.ready_condition) = (Phase::Failed, false),
            's' => (pod.phase, pod.ready_condition) = (Phase::Succeeded, false),
            '-' => pod.deleting = true,
            '_' => pod.claims.clear(),
            'x' => drop(pod.labels.remove(LABEL_POD_NAME)),
            '0'..='9' => {
                let seconds = i64::from(mark.to_digit(10).unwrap());
                pod.ready_since = Some(NOW - SignedDuration::from_secs(seconds));
            }
            other => panic!("unknown mark {other}"),
        }
    }
    pod
}

pub fn claim(set: &SetSpec, ordinal: Ordinal, owners: &str) -> ClaimView {
    let owner = |word: &str| {
        let mut it = set_owner(set);
        it.controller = !word.ends_with('-');
        let name = word.trim_end_matches(['-', '~']);
        if name == "pod" {
            (it.api_version, it.kind, it.name) = ("v1".into(), "Pod".into(), format!("web-{ordinal}"));
            it.uid = format!("uid-{ordinal}");
        } else if name != "set" {
            it = Owner { kind: "Other".into(), name: name.into(), uid: name.into(), ..it };
        }
        if word.ends_with('~') {
            it.uid.push('~');
        }
        it
    };
    ClaimView {
        key: ObjectKey::new("demo", format!("data-web-{ordinal}")),
        uid: format!("claim-{ordinal}"),
        resource_version: "1".into(),
        deleting: false,
        owners: owners.split_whitespace().map(owner).collect(),
        requested: None,
        class: "fast".into(),
        bound: true,
    }
}

pub fn observed(text: &str) -> Observed {
    let mut observed = Observed::default();
    for word in text.split_whitespace() {
        if let Some(rest) = word.strip_prefix('c') {
            let (ordinal, marks) = leading_number(rest);
            let owners = if marks == "~" { "pod~" } else { "" };
            let mut it = claim(&set("1xA"), Ordinal(ordinal), owners);
            it.deleting = marks == "-";
            observed.claims.insert(it.key.name.clone(), Arc::new(it));
        } else if let Some(rest) = word.strip_prefix('t') {
            observed.taken.insert(Ordinal(leading_number(rest).0));
        } else {
            observed.pods.push(Arc::new(pod(word)));
        }
    }
    observed
}

pub fn history(text: &str) -> Vec<Arc<RevisionView>> {
    let revision = |word: &str| {
        let (number, rest) = leading_number(word);
        let letter = rest.chars().next().unwrap();
        let mut template = template(letter);
        if rest.ends_with('*') {
            template["metadata"]["creationTimestamp"] = Value::Null;
        }
        let patch = super::revision::patch_of(&template);
        let data = encode_data(&template);
        let name = name("web", &hash(&data, 0));
        Arc::new(RevisionView {
            key: ObjectKey::new("demo", name.as_str()),
            uid: format!("uid-{name}"),
            resource_version: "1".into(),
            labels: [("app".to_owned(), "web".to_owned())].into(),
            owner: Some(set_owner(&set("1xA"))),
            created: None,
            number: i64::from(number),
            template: recorded_template(&patch),
            data,
        })
    };
    text.split_whitespace().map(revision).collect()
}

/// A set and what is observed of it, with the revisions the set speaks of already recorded.
pub fn given(spec: &str, pods: &str) -> (SetSpec, Observed) {
    let mut observed = observed(pods);
    let revisions = spec.split_whitespace().next().unwrap().split_once('x').unwrap().1;
    let recorded = revisions.split('→').enumerate().map(|(index, letter)| format!("{}{letter}", index + 1));
    observed.revisions = history(&recorded.collect::<Vec<_>>().join(" "));
    (set(spec), observed)
}

/// The writes of a plan; if there are none, what it waits for; if there is nothing either, `-`.
pub fn show(plan: &Plan) -> String {
    let actions = plan.steps.iter().flat_map(|it| &it.actions).map(show_action);
    let waits = plan.waits.iter().map(|it| {
        let cause = match &it.cause {
            Cause::Terminating | Cause::NotReady | Cause::NotAvailable => "",
            Cause::ClaimTerminating(_) => " claim",
            Cause::ClaimStale(_) => " stale",
            Cause::NameTaken => " taken",
            Cause::NameTooLong => " label",
            Cause::Budget => " budget",
            Cause::BackingOff => " later",
        };
        format!("wait {}{cause}", it.ordinal)
    });
    let mut words: Vec<_> = actions.collect();
    if words.is_empty() {
        words.extend(waits);
    }
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

pub fn show_action(action: &Action) -> String {
    match action {
        Action::RaiseRevision { revision, number } => {
            format!("raise revision {} to {number}", letter_of(&revision.key.name))
        }
        Action::CreateRevision(it) => format!("create revision {}{}", it.number, letter_of(&it.name)),
        Action::DeleteRevision(it) => format!("delete revision {}", letter_of(&it.key.name)),
        Action::CreateClaim { ordinal, .. } => format!("claim {ordinal}"),
        Action::OwnClaim { claim, owners } => {
            let owners: Vec<_> = owners.iter().map(|it| it.kind.as_str()).collect();
            format!("own {} [{}]", claim.key.name, owners.join(" "))
        }
        Action::GrowClaim { claim, size, .. } => format!("grow {} to {size}", claim.key.name),
        Action::CreatePod { ordinal, release } => format!("create {ordinal}{}", letter_of(&release.name)),
        Action::RepairPod(it) => format!("repair {}", it.ordinal.unwrap()),
        Action::DeletePod { pod, reason } => {
            let mark = if *reason == Reason::OutdatedUnavailable { "!" } else { "" };
            format!("delete {}{mark}", pod.ordinal.unwrap())
        }
    }
}
