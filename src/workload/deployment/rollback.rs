//! Rollback by annotation, as `extensions/v1beta1` did. kubectl's `rollout undo` does it itself and never comes here.
//!
//! Source: kubernetes `pkg/controller/deployment/rollback.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{Action, Draft, Judged, Missing, Plan, Sized, revision};
use crate::k8s::events::Severity;
use crate::workload::hash;

/// What becomes of the annotation that asks for a rollback.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollback {
    /// Template and annotations to take over; `None`: only the request is removed.
    pub to: Option<(Arc<Value>, BTreeMap<String, String>)>,
    /// What is told.
    pub event: (Severity, &'static str, String),
}

/// Plans a rollback to the revision in `text`; 0 is the one before the last.
pub(super) fn plan(mut draft: Draft<'_>, text: &str) -> Plan {
    draft.number();
    draft.create(Missing::Create);
    let wanted: i64 = text.parse().unwrap_or(0);
    let number =
        |it: &Sized| it.annotation(revision::REVISION).and_then(|it| it.parse::<i64>().ok()).unwrap_or(0);
    let mut numbers: Vec<i64> = draft.all().map(number).collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    let last = numbers.get(1).copied().filter(|it| *it > 0);
    let (name, template) = (&draft.deployment.key.name, &draft.deployment.template);
    let not_found = |message: &str| Rollback {
        to: None,
        event: (Severity::Warning, "DeploymentRollbackRevisionNotFound", message.to_owned()),
    };
    let rollback = match if wanted == 0 { last } else { Some(wanted) } {
        None => not_found("Unable to find last revision."),
        Some(wanted) => {
            let found = draft.all().find(|it| number(it) == wanted).and_then(|it| it.set.as_ref());
            match found {
                None => not_found("Unable to find the revision to rollback to."),
                Some(set) if hash::same(&set.template, template) => Rollback {
                    to: None,
                    event: (
                        Severity::Warning,
                        "DeploymentRollbackTemplateUnchanged",
                        format!(
                            "The rollback revision contains the same template as current deployment {name:?}"
                        ),
                    ),
                },
                Some(set) => Rollback {
                    to: Some((Arc::clone(&set.template), set.annotations.clone())),
                    event: (
                        Severity::Normal,
                        "DeploymentRollback",
                        format!("Rolled back deployment {name:?} to revision {wanted}"),
                    ),
                },
            }
        }
    };
    let mut plan = draft.finish(Judged::No);
    plan.actions.push(Action::Rollback(rollback));
    plan
}
