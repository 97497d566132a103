//! RollingUpdate: the current set grows as far as the surge allows, old ones shrink as far as availability allows.
//!
//! Source: kubernetes `pkg/controller/deployment/rolling.go`, `util/deployment_util.go` (`NewRSNewReplicas`).

use super::model::DeploymentView;
use super::{Draft, Missing, resize, revision};

/// The size to which a current set of `from` pods may grow when all sets ask for `total`.
pub(super) fn grown(deployment: &DeploymentView, from: u32, total: u32) -> u32 {
    let room = deployment.max_replicas().saturating_sub(total);
    from + room.min(deployment.replicas.saturating_sub(from))
}

impl Draft<'_> {
    /// One step of a rolling update.
    pub(super) fn roll(&mut self) {
        self.create(Missing::Create);
        if self.grow_current() || self.shrink_old() {
            return;
        }
        self.trim_if_complete();
    }

    fn grow_current(&mut self) -> bool {
        let total = self.total();
        let deployment = self.deployment;
        let sizes = revision::sizes(deployment);
        let Some(current) = &mut self.current else { return false };
        let want = if current.replicas > deployment.replicas {
            deployment.replicas
        } else {
            grown(deployment, current.replicas, total)
        };
        let changes = want != current.replicas;
        if changes {
            resize::to(current, want, &sizes);
        }
        changes
    }

    /// Takes pods from old sets: first those that are not available anyway, then as many as can be spared.
    fn shrink_old(&mut self) -> bool {
        let Some(current) = &self.current else { return false };
        if self.old.iter().all(|it| it.replicas == 0) {
            return false;
        }
        let signed = |it: u32| i64::from(it);
        let min_available = signed(self.deployment.min_available());
        let coming = signed(current.replicas) - signed(current.status.available);
        let mut room = signed(self.total()) - min_available - coming;
        if room <= 0 {
            return false;
        }
        // A set that has more available pods than it asks for was just shrunk: its status is not true any more.
        if self.old.iter().any(|it| it.replicas > 0 && it.status.available > it.replicas) {
            return false;
        }
        let available: i64 = self.all().map(|it| signed(it.status.available)).sum();
        let mut spare = available - min_available;
        let sizes = revision::sizes(self.deployment);
        let mut shrunk = false;
        for it in &mut self.old {
            let broken = signed(it.replicas) - signed(it.status.available);
            let cut = broken.min(room);
            if it.replicas > 0 && cut > 0 {
                resize::to(it, it.replicas - cut as u32, &sizes);
                room -= cut;
                shrunk = true;
            }
        }
        for it in &mut self.old {
            let cut = signed(it.replicas).min(spare);
            if cut > 0 {
                resize::to(it, it.replicas - cut as u32, &sizes);
                spare -= cut;
                shrunk = true;
            }
        }
        shrunk
    }
}
