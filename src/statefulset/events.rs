//! Events on a set, as kubectl shows them.

use jiff::Timestamp;

use super::model::SetSpec;
use crate::k8s::events::{Recorder, Severity, Subject, Told};
use crate::k8s::kinds::STATEFUL_SETS;

/// The component that events name as their source.
const COMPONENT: &str = "statefulset-controller";

/// Leaves an event on `set`; never waits.
pub fn tell(
    recorder: &Recorder,
    set: &SetSpec,
    severity: Severity,
    reason: &'static str,
    message: String,
    at: Timestamp,
) {
    let subject = Subject {
        api_version: STATEFUL_SETS.api_version,
        kind: STATEFUL_SETS.kind,
        key: set.key.clone(),
        uid: set.uid.clone(),
        component: COMPONENT,
    };
    let resource_version = set.resource_version.clone();
    recorder.record(Told { subject, resource_version, severity, reason, message, at });
}
