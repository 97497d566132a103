//! Field numbers of the messages kubectl's `create` generators send.
//!
//! Source: `k8s.io/api/{core,apps,policy,authentication,authorization}/v1/generated.proto`.

use super::Field;
use super::Many::{List, One};
use super::Type::{
    BytesMap, Flag, Ignored, IntOrText, Number, Object, PlainFlag, PlainNumber, PlainObject, QuantityMap,
    Text, TextMap, Time,
};

/// The fields of a top-level kind, if known.
pub fn find(api_version: &str, kind: &str) -> Option<&'static [Field]> {
    Some(match (api_version, kind) {
        ("v1", "Namespace") => NAMESPACE,
        ("v1", "ConfigMap") => CONFIG_MAP,
        ("v1", "Secret") => SECRET,
        ("v1", "ServiceAccount") => SERVICE_ACCOUNT,
        ("v1", "Service") => SERVICE,
        ("apps/v1", "Deployment") => DEPLOYMENT,
        ("policy/v1", "PodDisruptionBudget") => POD_DISRUPTION_BUDGET,
        ("authentication.k8s.io/v1", "SelfSubjectReview") => SELF_SUBJECT_REVIEW,
        ("authentication.k8s.io/v1", "TokenRequest") => TOKEN_REQUEST,
        ("authorization.k8s.io/v1", "SelfSubjectAccessReview") => SELF_SUBJECT_ACCESS_REVIEW,
        _ => return super::more::find(api_version, kind),
    })
}

pub(super) const METADATA: Field = (1, "metadata", One, PlainObject(OBJECT_META));

pub(super) static OBJECT_META: &[Field] = &[
    (1, "name", One, Text),
    (2, "generateName", One, Text),
    (3, "namespace", One, Text),
    (4, "selfLink", One, Text),
    (5, "uid", One, Text),
    (6, "resourceVersion", One, Text),
    (7, "generation", One, PlainNumber),
    (8, "creationTimestamp", One, Time),
    (9, "deletionTimestamp", One, Time),
    (10, "deletionGracePeriodSeconds", One, Number),
    (11, "labels", One, TextMap),
    (12, "annotations", One, TextMap),
    (13, "ownerReferences", List, Object(OWNER_REFERENCE)),
    (14, "finalizers", List, Text),
    (17, "managedFields", List, Ignored),
];

static OWNER_REFERENCE: &[Field] = &[
    (1, "kind", One, Text),
    (3, "name", One, Text),
    (4, "uid", One, Text),
    (5, "apiVersion", One, Text),
    (6, "controller", One, Flag),
    (7, "blockOwnerDeletion", One, Flag),
];

static NAMESPACE: &[Field] =
    &[METADATA, (2, "spec", One, PlainObject(&[(1, "finalizers", List, Text)])), (3, "status", One, Ignored)];

static CONFIG_MAP: &[Field] =
    &[METADATA, (2, "data", One, TextMap), (3, "binaryData", One, BytesMap), (4, "immutable", One, Flag)];

static SECRET: &[Field] = &[
    METADATA,
    (2, "data", One, BytesMap),
    (3, "type", One, Text),
    (4, "stringData", One, TextMap),
    (5, "immutable", One, Flag),
];

static LOCAL_REFERENCE: &[Field] = &[(1, "name", One, Text)];

static OBJECT_REFERENCE: &[Field] = &[
    (1, "kind", One, Text),
    (2, "namespace", One, Text),
    (3, "name", One, Text),
    (4, "uid", One, Text),
    (5, "apiVersion", One, Text),
    (6, "resourceVersion", One, Text),
    (7, "fieldPath", One, Text),
];

static SERVICE_ACCOUNT: &[Field] = &[
    METADATA,
    (2, "secrets", List, Object(OBJECT_REFERENCE)),
    (3, "imagePullSecrets", List, Object(LOCAL_REFERENCE)),
    (4, "automountServiceAccountToken", One, Flag),
];

static SERVICE: &[Field] =
    &[METADATA, (2, "spec", One, PlainObject(SERVICE_SPEC)), (3, "status", One, Ignored)];

static SERVICE_SPEC: &[Field] = &[
    (1, "ports", List, Object(SERVICE_PORT)),
    (2, "selector", One, TextMap),
    (3, "clusterIP", One, Text),
    (4, "type", One, Text),
    (5, "externalIPs", List, Text),
    (7, "sessionAffinity", One, Text),
    (8, "loadBalancerIP", One, Text),
    (9, "loadBalancerSourceRanges", List, Text),
    (10, "externalName", One, Text),
    (11, "externalTrafficPolicy", One, Text),
    (12, "healthCheckNodePort", One, PlainNumber),
    (13, "publishNotReadyAddresses", One, PlainFlag),
    (17, "ipFamilyPolicy", One, Text),
    (18, "clusterIPs", List, Text),
    (19, "ipFamilies", List, Text),
    (20, "allocateLoadBalancerNodePorts", One, Flag),
    (21, "loadBalancerClass", One, Text),
    (22, "internalTrafficPolicy", One, Text),
    (23, "trafficDistribution", One, Text),
];

static SERVICE_PORT: &[Field] = &[
    (1, "name", One, Text),
    (2, "protocol", One, Text),
    (3, "port", One, PlainNumber),
    (4, "targetPort", One, IntOrText),
    (5, "nodePort", One, PlainNumber),
    (6, "appProtocol", One, Text),
];

pub(super) static LABEL_SELECTOR: &[Field] = &[
    (1, "matchLabels", One, TextMap),
    (
        2,
        "matchExpressions",
        List,
        Object(&[(1, "key", One, Text), (2, "operator", One, Text), (3, "values", List, Text)]),
    ),
];

static DEPLOYMENT: &[Field] =
    &[METADATA, (2, "spec", One, PlainObject(DEPLOYMENT_SPEC)), (3, "status", One, Ignored)];

static DEPLOYMENT_SPEC: &[Field] = &[
    (1, "replicas", One, Number),
    (2, "selector", One, Object(LABEL_SELECTOR)),
    (3, "template", One, PlainObject(POD_TEMPLATE)),
    (4, "strategy", One, PlainObject(DEPLOYMENT_STRATEGY)),
    (5, "minReadySeconds", One, PlainNumber),
    (6, "revisionHistoryLimit", One, Number),
    (7, "paused", One, PlainFlag),
    (9, "progressDeadlineSeconds", One, Number),
];

static DEPLOYMENT_STRATEGY: &[Field] = &[
    (1, "type", One, Text),
    (
        2,
        "rollingUpdate",
        One,
        Object(&[(1, "maxUnavailable", One, IntOrText), (2, "maxSurge", One, IntOrText)]),
    ),
];

pub(super) static POD_TEMPLATE: &[Field] = &[METADATA, (2, "spec", One, PlainObject(POD_SPEC))];

/// What generators fill in; a pod with more than this comes from a file, and files are sent as JSON.
static POD_SPEC: &[Field] = &[
    (2, "containers", List, Object(CONTAINER)),
    (3, "restartPolicy", One, Text),
    (4, "terminationGracePeriodSeconds", One, Number),
    (5, "activeDeadlineSeconds", One, Number),
    (6, "dnsPolicy", One, Text),
    (7, "nodeSelector", One, TextMap),
    (8, "serviceAccountName", One, Text),
    (9, "serviceAccount", One, Text),
    (10, "nodeName", One, Text),
    (11, "hostNetwork", One, PlainFlag),
    (12, "hostPID", One, PlainFlag),
    (13, "hostIPC", One, PlainFlag),
    (15, "imagePullSecrets", List, Object(LOCAL_REFERENCE)),
    (16, "hostname", One, Text),
    (17, "subdomain", One, Text),
    (19, "schedulerName", One, Text),
    (20, "initContainers", List, Object(CONTAINER)),
    (21, "automountServiceAccountToken", One, Flag),
    (24, "priorityClassName", One, Text),
    (25, "priority", One, Number),
];

static CONTAINER: &[Field] = &[
    (1, "name", One, Text),
    (2, "image", One, Text),
    (3, "command", List, Text),
    (4, "args", List, Text),
    (5, "workingDir", One, Text),
    (6, "ports", List, Object(CONTAINER_PORT)),
    (7, "env", List, Object(&[(1, "name", One, Text), (2, "value", One, Text)])),
    (8, "resources", One, PlainObject(&[(1, "limits", One, QuantityMap), (2, "requests", One, QuantityMap)])),
    (13, "terminationMessagePath", One, Text),
    (14, "imagePullPolicy", One, Text),
    (16, "stdin", One, PlainFlag),
    (17, "stdinOnce", One, PlainFlag),
    (18, "tty", One, PlainFlag),
    (20, "terminationMessagePolicy", One, Text),
];

static CONTAINER_PORT: &[Field] = &[
    (1, "name", One, Text),
    (2, "hostPort", One, PlainNumber),
    (3, "containerPort", One, PlainNumber),
    (4, "protocol", One, Text),
    (5, "hostIP", One, Text),
];

static POD_DISRUPTION_BUDGET: &[Field] = &[
    METADATA,
    (
        2,
        "spec",
        One,
        PlainObject(&[
            (1, "minAvailable", One, IntOrText),
            (2, "selector", One, Object(LABEL_SELECTOR)),
            (3, "maxUnavailable", One, IntOrText),
            (4, "unhealthyPodEvictionPolicy", One, Text),
        ]),
    ),
    (3, "status", One, Ignored),
];

static SELF_SUBJECT_REVIEW: &[Field] = &[METADATA, (2, "status", One, Ignored)];

static TOKEN_REQUEST: &[Field] = &[
    METADATA,
    (
        2,
        "spec",
        One,
        PlainObject(&[
            (1, "audiences", List, Text),
            (3, "boundObjectRef", One, Object(BOUND_REFERENCE)),
            (4, "expirationSeconds", One, Number),
        ]),
    ),
    (3, "status", One, Ignored),
];

static BOUND_REFERENCE: &[Field] =
    &[(1, "kind", One, Text), (2, "apiVersion", One, Text), (3, "name", One, Text), (4, "uid", One, Text)];

static SELF_SUBJECT_ACCESS_REVIEW: &[Field] = &[
    METADATA,
    (
        2,
        "spec",
        One,
        PlainObject(&[
            (1, "resourceAttributes", One, Object(RESOURCE_ATTRIBUTES)),
            (2, "nonResourceAttributes", One, Object(&[(1, "path", One, Text), (2, "verb", One, Text)])),
        ]),
    ),
    (3, "status", One, Ignored),
];

static RESOURCE_ATTRIBUTES: &[Field] = &[
    (1, "namespace", One, Text),
    (2, "verb", One, Text),
    (3, "group", One, Text),
    (4, "version", One, Text),
    (5, "resource", One, Text),
    (6, "subresource", One, Text),
    (7, "name", One, Text),
    (8, "fieldSelector", One, Ignored),
    (9, "labelSelector", One, Ignored),
];
