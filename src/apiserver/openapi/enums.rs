//! Fields that take one of a few values: k8s-openapi's schemas leave the values out.
//!
//! Source: the `+enum` types of kubernetes `staging/src/k8s.io/api`.

use serde_json::{Map, Value};

/// (definition, field, [(value, what it does; may be empty)]).
type Row = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const PROTOCOLS: &[(&str, &str)] =
    &[("SCTP", "is the SCTP protocol."), ("TCP", "is the TCP protocol."), ("UDP", "is the UDP protocol.")];
const RECLAIM: &[(&str, &str)] = &[("Delete", ""), ("Recycle", ""), ("Retain", "")];
const VOLUME_MODE: &[(&str, &str)] = &[
    ("Block", "means the volume will not be formatted with a filesystem and will remain a raw block device."),
    ("Filesystem", "means the volume will be or is formatted with a filesystem."),
];
const EFFECTS: &[(&str, &str)] = &[("NoExecute", ""), ("NoSchedule", ""), ("PreferNoSchedule", "")];
const POLICY: &[(&str, &str)] = &[("Delete", ""), ("Retain", "")];

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("io.k8s.api.apps.v1.DeploymentStrategy", "type", &[
        ("Recreate", "Kill all existing pods before creating new ones."),
        ("RollingUpdate", "Replace the old ReplicaSets by new one using rolling update i.e gradually scale down the old ReplicaSets and scale up the new one."),
    ]),
    ("io.k8s.api.apps.v1.DaemonSetUpdateStrategy", "type", &[
        ("OnDelete", "Replace the old daemons only when it's killed"),
        ("RollingUpdate", "Replace the old daemons by new ones using rolling update i.e replace them on each node one after the other."),
    ]),
    ("io.k8s.api.apps.v1.StatefulSetUpdateStrategy", "type", &[
        ("OnDelete", "triggers the legacy behavior. Version tracking and ordered rolling restarts are disabled. Pods are recreated from the StatefulSetSpec when they are manually deleted."),
        ("RollingUpdate", "indicates that update will be applied to all Pods in the StatefulSet with respect to the StatefulSet ordering constraints."),
    ]),
    ("io.k8s.api.apps.v1.StatefulSetSpec", "podManagementPolicy", &[
        ("OrderedReady", "will create pods in strictly increasing order on scale up and strictly decreasing order on scale down, progressing only when the previous pod is ready or terminated."),
        ("Parallel", "will create and delete pods as soon as the stateful set replica count is changed, and will not wait for pods to be ready or complete termination."),
    ]),
    ("io.k8s.api.core.v1.ServiceSpec", "type", &[
        ("ClusterIP", ""), ("ExternalName", ""), ("LoadBalancer", ""), ("NodePort", ""),
    ]),
    ("io.k8s.api.core.v1.ServiceSpec", "sessionAffinity", &[("ClientIP", "is the Client IP based."), ("None", "- no session affinity.")]),
    ("io.k8s.api.core.v1.ServiceSpec", "externalTrafficPolicy", &[("Cluster", ""), ("Local", "")]),
    ("io.k8s.api.core.v1.ServiceSpec", "internalTrafficPolicy", &[("Cluster", ""), ("Local", "")]),
    ("io.k8s.api.core.v1.ServiceSpec", "ipFamilyPolicy", &[("PreferDualStack", ""), ("RequireDualStack", ""), ("SingleStack", "")]),
    ("io.k8s.api.core.v1.ServicePort", "protocol", PROTOCOLS),
    ("io.k8s.api.core.v1.ContainerPort", "protocol", PROTOCOLS),
    ("io.k8s.api.core.v1.Container", "imagePullPolicy", &[("Always", ""), ("IfNotPresent", ""), ("Never", "")]),
    ("io.k8s.api.core.v1.Container", "terminationMessagePolicy", &[("FallbackToLogsOnError", ""), ("File", "")]),
    ("io.k8s.api.core.v1.PodSpec", "restartPolicy", &[("Always", ""), ("Never", ""), ("OnFailure", "")]),
    ("io.k8s.api.core.v1.PodSpec", "dnsPolicy", &[("ClusterFirst", ""), ("ClusterFirstWithHostNet", ""), ("Default", ""), ("None", "")]),
    ("io.k8s.api.core.v1.PodStatus", "phase", &[("Failed", ""), ("Pending", ""), ("Running", ""), ("Succeeded", ""), ("Unknown", "")]),
    ("io.k8s.api.core.v1.NamespaceStatus", "phase", &[("Active", ""), ("Terminating", "")]),
    ("io.k8s.api.core.v1.PersistentVolumeSpec", "persistentVolumeReclaimPolicy", RECLAIM),
    ("io.k8s.api.core.v1.PersistentVolumeSpec", "volumeMode", VOLUME_MODE),
    ("io.k8s.api.core.v1.PersistentVolumeClaimSpec", "volumeMode", VOLUME_MODE),
    ("io.k8s.api.core.v1.PersistentVolumeClaimStatus", "phase", &[("Bound", ""), ("Lost", ""), ("Pending", "")]),
    ("io.k8s.api.core.v1.PersistentVolumeStatus", "phase", &[("Available", ""), ("Bound", ""), ("Failed", ""), ("Pending", ""), ("Released", "")]),
    ("io.k8s.api.core.v1.Taint", "effect", EFFECTS),
    ("io.k8s.api.core.v1.Toleration", "effect", EFFECTS),
    ("io.k8s.api.core.v1.Toleration", "operator", &[("Equal", ""), ("Exists", ""), ("Gt", ""), ("Lt", "")]),
    ("io.k8s.api.core.v1.TopologySpreadConstraint", "whenUnsatisfiable", &[("DoNotSchedule", ""), ("ScheduleAnyway", "")]),
    ("io.k8s.api.batch.v1.CronJobSpec", "concurrencyPolicy", &[
        ("Allow", "allows CronJobs to run concurrently."),
        ("Forbid", "forbids concurrent runs, skipping next run if previous hasn't finished yet."),
        ("Replace", "cancels currently running job and replaces it with a new one."),
    ]),
    ("io.k8s.api.batch.v1.JobSpec", "completionMode", &[("Indexed", ""), ("NonIndexed", "")]),
    ("io.k8s.api.discovery.v1.EndpointSlice", "addressType", &[
        ("FQDN", "represents a FQDN."), ("IPv4", "represents an IPv4 Address."), ("IPv6", "represents an IPv6 Address."),
    ]),
    ("io.k8s.api.networking.v1.HTTPIngressPath", "pathType", &[("Exact", ""), ("ImplementationSpecific", ""), ("Prefix", "")]),
    ("io.k8s.api.storage.v1.StorageClass", "reclaimPolicy", RECLAIM),
    ("io.k8s.api.storage.v1.StorageClass", "volumeBindingMode", &[
        ("Immediate", "indicates that PersistentVolumeClaims should be immediately provisioned and bound. This is the default mode."),
        ("WaitForFirstConsumer", "indicates that PersistentVolumeClaims should not be provisioned and bound until the first Pod is created that references the PeristentVolumeClaim. The volume provisioning and binding will occur during Pod scheduing."),
    ]),
    ("io.k8s.snapshot.storage.v1.VolumeSnapshotClass", "deletionPolicy", POLICY),
    ("io.k8s.snapshot.storage.v1.VolumeSnapshotContentSpec", "deletionPolicy", POLICY),
];

/// Writes the values into the schemas of `definitions`, and into the descriptions the way upstream does.
pub fn add(definitions: &mut Map<String, Value>) {
    for (definition, field, values) in ROWS {
        let pointer = format!("/properties/{field}");
        let Some(schema) = definitions.get_mut(*definition).and_then(|it| it.pointer_mut(&pointer)) else {
            continue;
        };
        schema["enum"] = values.iter().map(|it| it.0).collect();
        let lines: Vec<String> = values
            .iter()
            .map(|(value, text)| format!(" - `{value:?}` {text}").trim_end().to_owned())
            .collect();
        let text = schema["description"].as_str().unwrap_or_default();
        schema["description"] = format!("{text}\n\nPossible enum values:\n{}", lines.join("\n")).into();
    }
}
