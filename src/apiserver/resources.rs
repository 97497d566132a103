//! The kinds this server serves: one constant table, the only place that lists them.
//!
//! kubectl caches discovery per server URL, so the set is fixed per build.

/// One served kind. Everything about it that is not behaviour.
#[derive(Debug, PartialEq, Eq)]
pub struct Resource {
    /// API group, empty for the core group.
    pub group: &'static str,
    /// API version, such as `v1`.
    pub version: &'static str,
    /// Kind, such as `StatefulSet`.
    pub kind: &'static str,
    /// Lower-case plural: the path segment.
    pub plural: &'static str,
    /// Lower-case singular.
    pub singular: &'static str,
    /// Short names kubectl accepts.
    pub short_names: &'static [&'static str],
    /// Discovery categories, such as `all`.
    pub categories: &'static [&'static str],
    /// Cluster or namespace scope.
    pub scope: Scope,
    /// Subresources served besides the object itself.
    pub subresources: &'static [&'static str],
    /// Whether `metadata.generation` is maintained.
    pub generation: bool,
    /// Whether a PUT of a missing object creates it.
    pub create_on_update: bool,
    /// (group, plural) of the resource whose objects this one serves in another shape (`events.k8s.io`).
    pub store_as: Option<(&'static str, &'static str)>,
    /// What clients may do with its objects.
    pub verbs: &'static [&'static str],
}

/// Verbs of stored objects.
pub const VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// Verbs of what is computed when somebody asks.
pub const READ: &[&str] = &["get", "list"];

/// Where objects of a kind live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One object per name in the whole server.
    Cluster,
    /// One object per name in each namespace.
    Namespaced,
}

const fn core(kind: &'static str, plural: &'static str, singular: &'static str) -> Resource {
    resource("", "v1", kind, plural, singular)
}

/// A namespaced resource without anything special.
pub(crate) const fn resource(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
) -> Resource {
    Resource {
        group,
        version,
        kind,
        plural,
        singular,
        short_names: &[],
        categories: &[],
        scope: Scope::Namespaced,
        subresources: &[],
        generation: false,
        create_on_update: false,
        store_as: None,
        verbs: VERBS,
    }
}

const ALL: &[&str] = &["all"];

/// Every served kind, core group first.
pub static RESOURCES: &[Resource] = &[
    Resource {
        short_names: &["ns"],
        scope: Scope::Cluster,
        subresources: &["finalize", "status"],
        verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
        ..core("Namespace", "namespaces", "namespace")
    },
    Resource {
        short_names: &["no"],
        scope: Scope::Cluster,
        subresources: &["status"],
        ..core("Node", "nodes", "node")
    },
    Resource {
        short_names: &["svc"],
        categories: ALL,
        subresources: &["status"],
        create_on_update: true,
        ..core("Service", "services", "service")
    },
    Resource { short_names: &["ep"], create_on_update: true, ..core("Endpoints", "endpoints", "endpoints") },
    Resource {
        short_names: &["po"],
        categories: ALL,
        subresources: &[
            "attach",
            "binding",
            "ephemeralcontainers",
            "eviction",
            "exec",
            "log",
            "portforward",
            "resize",
            "status",
        ],
        generation: true,
        ..core("Pod", "pods", "pod")
    },
    Resource {
        short_names: &["pvc"],
        subresources: &["status"],
        ..core("PersistentVolumeClaim", "persistentvolumeclaims", "persistentvolumeclaim")
    },
    Resource {
        short_names: &["pv"],
        scope: Scope::Cluster,
        subresources: &["status"],
        ..core("PersistentVolume", "persistentvolumes", "persistentvolume")
    },
    Resource { short_names: &["cm"], ..core("ConfigMap", "configmaps", "configmap") },
    core("Secret", "secrets", "secret"),
    Resource {
        short_names: &["sa"],
        subresources: &["token"],
        ..core("ServiceAccount", "serviceaccounts", "serviceaccount")
    },
    Resource { short_names: &["ev"], create_on_update: true, ..core("Event", "events", "event") },
    Resource {
        short_names: &["rc"],
        categories: ALL,
        subresources: &["scale", "status"],
        generation: true,
        ..core("ReplicationController", "replicationcontrollers", "replicationcontroller")
    },
    Resource {
        short_names: &["sts"],
        categories: ALL,
        subresources: &["scale", "status"],
        generation: true,
        ..resource("apps", "v1", "StatefulSet", "statefulsets", "statefulset")
    },
    Resource {
        short_names: &["deploy"],
        categories: ALL,
        subresources: &["scale", "status"],
        generation: true,
        ..resource("apps", "v1", "Deployment", "deployments", "deployment")
    },
    Resource {
        short_names: &["rs"],
        categories: ALL,
        subresources: &["scale", "status"],
        generation: true,
        ..resource("apps", "v1", "ReplicaSet", "replicasets", "replicaset")
    },
    Resource {
        short_names: &["ds"],
        categories: ALL,
        subresources: &["status"],
        generation: true,
        ..resource("apps", "v1", "DaemonSet", "daemonsets", "daemonset")
    },
    resource("apps", "v1", "ControllerRevision", "controllerrevisions", "controllerrevision"),
    Resource {
        short_names: &["hpa"],
        categories: ALL,
        subresources: &["status"],
        ..resource(
            "autoscaling",
            "v2",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            "horizontalpodautoscaler",
        )
    },
    Resource {
        short_names: &["hpa"],
        categories: ALL,
        subresources: &["status"],
        store_as: Some(("autoscaling", "horizontalpodautoscalers")),
        ..resource(
            "autoscaling",
            "v1",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            "horizontalpodautoscaler",
        )
    },
    Resource {
        categories: ALL,
        subresources: &["status"],
        generation: true,
        ..resource("batch", "v1", "Job", "jobs", "job")
    },
    Resource {
        short_names: &["cj"],
        categories: ALL,
        subresources: &["status"],
        generation: true,
        ..resource("batch", "v1", "CronJob", "cronjobs", "cronjob")
    },
    Resource { create_on_update: true, ..resource("coordination.k8s.io", "v1", "Lease", "leases", "lease") },
    Resource {
        generation: true,
        ..resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", "endpointslice")
    },
    Resource {
        short_names: &["ev"],
        create_on_update: true,
        store_as: Some(("", "events")),
        ..resource("events.k8s.io", "v1", "Event", "events", "event")
    },
    Resource {
        short_names: &["pdb"],
        subresources: &["status"],
        generation: true,
        ..resource("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", "poddisruptionbudget")
    },
    Resource {
        short_names: &["sc"],
        scope: Scope::Cluster,
        ..resource("storage.k8s.io", "v1", "StorageClass", "storageclasses", "storageclass")
    },
    Resource {
        short_names: &["vs"],
        subresources: &["status"],
        generation: true,
        ..resource("snapshot.storage.k8s.io", "v1", "VolumeSnapshot", "volumesnapshots", "volumesnapshot")
    },
    Resource {
        short_names: &["vsclass", "vsclasses"],
        scope: Scope::Cluster,
        generation: true,
        ..resource(
            "snapshot.storage.k8s.io",
            "v1",
            "VolumeSnapshotClass",
            "volumesnapshotclasses",
            "volumesnapshotclass",
        )
    },
    Resource {
        short_names: &["vsc", "vscs"],
        scope: Scope::Cluster,
        subresources: &["status"],
        generation: true,
        ..resource(
            "snapshot.storage.k8s.io",
            "v1",
            "VolumeSnapshotContent",
            "volumesnapshotcontents",
            "volumesnapshotcontent",
        )
    },
    Resource {
        short_names: &["ing"],
        subresources: &["status"],
        generation: true,
        ..resource("networking.k8s.io", "v1", "Ingress", "ingresses", "ingress")
    },
    Resource {
        scope: Scope::Cluster,
        generation: true,
        ..resource("networking.k8s.io", "v1", "IngressClass", "ingressclasses", "ingressclass")
    },
    Resource {
        short_names: &["netpol"],
        generation: true,
        ..resource("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", "networkpolicy")
    },
    Resource {
        scope: Scope::Cluster,
        ..resource("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", "clusterrole")
    },
    Resource {
        scope: Scope::Cluster,
        ..resource(
            "rbac.authorization.k8s.io",
            "v1",
            "ClusterRoleBinding",
            "clusterrolebindings",
            "clusterrolebinding",
        )
    },
    resource("rbac.authorization.k8s.io", "v1", "Role", "roles", "role"),
    resource("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", "rolebinding"),
    Resource {
        categories: &["api-extensions"],
        scope: Scope::Cluster,
        subresources: &["status"],
        ..resource("apiregistration.k8s.io", "v1", "APIService", "apiservices", "apiservice")
    },
    Resource {
        scope: Scope::Cluster,
        verbs: READ,
        ..resource("metrics.k8s.io", "v1beta1", "NodeMetrics", "nodes", "")
    },
    Resource { verbs: READ, ..resource("metrics.k8s.io", "v1beta1", "PodMetrics", "pods", "") },
];

impl Resource {
    /// `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `statefulsets.apps`, or `pods` for the core group: how messages name the resource.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `StatefulSet.apps`, or `Pod` for the core group: how validation messages name the kind.
    pub fn qualified_kind(&self) -> String {
        if self.group.is_empty() { self.kind.to_owned() } else { format!("{}.{}", self.kind, self.group) }
    }

    /// Whether its objects are stored; the others are computed when somebody asks.
    pub fn is_stored(&self) -> bool {
        self.verbs.contains(&"create")
    }

    /// Whether the kind has a status that only its `/status` subresource writes.
    pub fn has_status(&self) -> bool {
        self.subresources.contains(&"status")
    }
}

/// The resource at `/apis/{group}/{version}/…/{plural}`; the core group is the empty string.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|it| it.group == group && it.version == version && it.plural == plural)
}

/// The resource that serves `kind` of `api_version` (such as `apps/v1`).
pub fn find_kind(api_version: &str, kind: &str) -> Option<&'static Resource> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    RESOURCES.iter().find(|it| it.group == group && it.version == version && it.kind == kind)
}
