//! The parts of the program, and the list that chooses among them. Pure.

use crate::workload;

/// The parts a process can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The DNS server.
    Dns,
    /// The StatefulSet controller.
    StatefulSet,
    /// The EndpointSlice controller.
    EndpointSlice,
    /// A controller that a cluster brings itself.
    Workload(workload::Controller),
    /// The controller that mirrors hand-written Endpoints into EndpointSlices.
    Mirroring,
    /// The controller of legacy Endpoints.
    Endpoints,
}

impl Component {
    /// Every component, in the order they start.
    pub const ALL: [Self; 11] = [
        Self::Workload(workload::Controller::ReplicationController),
        Self::Workload(workload::Controller::ReplicaSet),
        Self::Workload(workload::Controller::Deployment),
        Self::Workload(workload::Controller::Autoscaler),
        Self::Workload(workload::Controller::Disruption),
        Self::Workload(workload::Controller::Metrics),
        Self::StatefulSet,
        Self::EndpointSlice,
        Self::Mirroring,
        Self::Endpoints,
        Self::Dns,
    ];

    /// The name used by `--components`, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::StatefulSet => "statefulset",
            Self::EndpointSlice => "endpointslice",
            Self::Workload(it) => it.name(),
            Self::Mirroring => "endpointslice-mirroring",
            Self::Endpoints => "endpoints",
        }
    }

    /// Whether `*` means it. Two controllers of one kind must not run side by side, so what every cluster has runs there
    /// only when it is named.
    fn on_by_default(self, mode: Mode) -> bool {
        mode == Mode::Up || !matches!(self, Self::Workload(_) | Self::Endpoints)
    }
}

/// Which command the configuration is for; it decides the defaults of addresses and components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `ordinal up`.
    Up,
    /// `ordinal run`.
    Run,
}

/// `*`, names and `-names`, as in kube-controller-manager's `--controllers`; an empty list runs nothing.
///
/// # Errors
/// A name that is none; it lists those there are.
pub fn parse_components(list: &str, mode: Mode) -> Result<Vec<Component>, String> {
    let mut wanted = Vec::new();
    let mut unwanted = Vec::new();
    for item in list.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        if item == "*" {
            wanted.extend(Component::ALL.into_iter().filter(|it| it.on_by_default(mode)));
            continue;
        }
        let (name, into) = match item.strip_prefix('-') {
            Some(name) => (name, &mut unwanted),
            None => (item, &mut wanted),
        };
        match Component::ALL.into_iter().find(|it| it.name() == name) {
            Some(component) => into.push(component),
            None => {
                let known = Component::ALL.map(Component::name).join(", ");
                return Err(format!("{item:?} is not a component; known are {known}, `*` and `-name`"));
            }
        }
    }
    Ok(Component::ALL.into_iter().filter(|it| wanted.contains(it) && !unwanted.contains(it)).collect())
}
