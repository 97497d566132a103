//! Field numbers of the messages `kubectl autoscale`, `create job`, `create cronjob` and `create role` send.
//!
//! Source: `k8s.io/api/{autoscaling/v1,autoscaling/v2,batch/v1,rbac/v1}/generated.proto`.

use super::Field;
use super::Many::{List, One};
use super::Type::{Flag, Ignored, Number, Object, PlainNumber, PlainObject, Quantity, Text};
use super::messages::{LABEL_SELECTOR, METADATA, POD_TEMPLATE};

/// The fields of a top-level kind, if known.
pub fn find(api_version: &str, kind: &str) -> Option<&'static [Field]> {
    Some(match (api_version, kind) {
        ("autoscaling/v1", "HorizontalPodAutoscaler") => AUTOSCALER_V1,
        ("autoscaling/v2", "HorizontalPodAutoscaler") => AUTOSCALER_V2,
        ("batch/v1", "Job") => JOB,
        ("batch/v1", "CronJob") => CRON_JOB,
        ("rbac.authorization.k8s.io/v1", "Role" | "ClusterRole") => ROLE,
        ("rbac.authorization.k8s.io/v1", "RoleBinding" | "ClusterRoleBinding") => BINDING,
        _ => return None,
    })
}

static REFERENCE: &[Field] = &[(1, "kind", One, Text), (2, "name", One, Text), (3, "apiVersion", One, Text)];

static AUTOSCALER_V1: &[Field] = &[
    METADATA,
    (
        2,
        "spec",
        One,
        PlainObject(&[
            (1, "scaleTargetRef", One, PlainObject(REFERENCE)),
            (2, "minReplicas", One, Number),
            (3, "maxReplicas", One, PlainNumber),
            (4, "targetCPUUtilizationPercentage", One, Number),
        ]),
    ),
    (3, "status", One, Ignored),
];

static AUTOSCALER_V2: &[Field] = &[
    METADATA,
    (
        2,
        "spec",
        One,
        PlainObject(&[
            (1, "scaleTargetRef", One, PlainObject(REFERENCE)),
            (2, "minReplicas", One, Number),
            (3, "maxReplicas", One, PlainNumber),
            (4, "metrics", List, Object(METRIC)),
            (
                5,
                "behavior",
                One,
                Object(&[(1, "scaleUp", One, Object(RULES)), (2, "scaleDown", One, Object(RULES))]),
            ),
        ]),
    ),
    (3, "status", One, Ignored),
];

static METRIC: &[Field] = &[
    (1, "type", One, Text),
    (
        2,
        "object",
        One,
        Object(&[
            (1, "describedObject", One, PlainObject(REFERENCE)),
            (2, "target", One, PlainObject(TARGET)),
            (3, "metric", One, PlainObject(IDENTIFIER)),
        ]),
    ),
    (
        3,
        "pods",
        One,
        Object(&[(1, "metric", One, PlainObject(IDENTIFIER)), (2, "target", One, PlainObject(TARGET))]),
    ),
    (4, "resource", One, Object(&[(1, "name", One, Text), (2, "target", One, PlainObject(TARGET))])),
    (
        5,
        "external",
        One,
        Object(&[(1, "metric", One, PlainObject(IDENTIFIER)), (2, "target", One, PlainObject(TARGET))]),
    ),
    (
        7,
        "containerResource",
        One,
        Object(&[
            (1, "name", One, Text),
            (2, "target", One, PlainObject(TARGET)),
            (3, "container", One, Text),
        ]),
    ),
];

static IDENTIFIER: &[Field] = &[(1, "name", One, Text), (2, "selector", One, Object(LABEL_SELECTOR))];

static TARGET: &[Field] = &[
    (1, "type", One, Text),
    (2, "value", One, Quantity),
    (3, "averageValue", One, Quantity),
    (4, "averageUtilization", One, Number),
];

static RULES: &[Field] = &[
    (1, "selectPolicy", One, Text),
    (
        2,
        "policies",
        List,
        Object(&[
            (1, "type", One, Text),
            (2, "value", One, PlainNumber),
            (3, "periodSeconds", One, PlainNumber),
        ]),
    ),
    (3, "stabilizationWindowSeconds", One, Number),
    (4, "tolerance", One, Quantity),
];

static JOB: &[Field] = &[METADATA, (2, "spec", One, PlainObject(JOB_SPEC)), (3, "status", One, Ignored)];

static JOB_SPEC: &[Field] = &[
    (1, "parallelism", One, Number),
    (2, "completions", One, Number),
    (3, "activeDeadlineSeconds", One, Number),
    (4, "selector", One, Object(LABEL_SELECTOR)),
    (5, "manualSelector", One, Flag),
    (6, "template", One, PlainObject(POD_TEMPLATE)),
    (7, "backoffLimit", One, Number),
    (8, "ttlSecondsAfterFinished", One, Number),
    (9, "completionMode", One, Text),
    (10, "suspend", One, Flag),
];

static CRON_JOB: &[Field] = &[
    METADATA,
    (
        2,
        "spec",
        One,
        PlainObject(&[
            (1, "schedule", One, Text),
            (2, "startingDeadlineSeconds", One, Number),
            (3, "concurrencyPolicy", One, Text),
            (4, "suspend", One, Flag),
            (5, "jobTemplate", One, PlainObject(&[METADATA, (2, "spec", One, PlainObject(JOB_SPEC))])),
            (6, "successfulJobsHistoryLimit", One, Number),
            (7, "failedJobsHistoryLimit", One, Number),
            (8, "timeZone", One, Text),
        ]),
    ),
    (3, "status", One, Ignored),
];

static ROLE: &[Field] = &[
    METADATA,
    (
        2,
        "rules",
        List,
        Object(&[
            (1, "verbs", List, Text),
            (2, "apiGroups", List, Text),
            (3, "resources", List, Text),
            (4, "resourceNames", List, Text),
            (5, "nonResourceURLs", List, Text),
        ]),
    ),
    (3, "aggregationRule", One, Object(&[(1, "clusterRoleSelectors", List, Object(LABEL_SELECTOR))])),
];

static BINDING: &[Field] = &[
    METADATA,
    (
        2,
        "subjects",
        List,
        Object(&[
            (1, "kind", One, Text),
            (2, "apiGroup", One, Text),
            (3, "name", One, Text),
            (4, "namespace", One, Text),
        ]),
    ),
    (
        3,
        "roleRef",
        One,
        PlainObject(&[(1, "apiGroup", One, Text), (2, "kind", One, Text), (3, "name", One, Text)]),
    ),
];
