//! A Deployment that was scaled: its sets follow, in proportion when several have pods.
//!
//! Source: kubernetes `pkg/controller/deployment/sync.go` (`scale`), `util/deployment_util.go` (`FindActiveOrLatest`,
//! `GetReplicaSetProportion`).

use super::model::{DeploymentView, Strategy};
use super::{Draft, Sized, revision};

/// Gives a set a size, and notes for which size of the Deployment.
pub(super) fn to(it: &mut Sized, replicas: u32, sizes: &[(&'static str, String); 2]) {
    it.replicas = replicas;
    for (key, value) in sizes {
        if it.annotation(key) != Some(value.as_str()) {
            it.annotations.insert((*key).to_owned(), value.clone());
        }
    }
}

impl Draft<'_> {
    /// Whether a set with pods was sized for another size of the Deployment.
    pub(super) fn is_scaling(&self) -> bool {
        let desired = |it: &Sized| it.annotation(revision::DESIRED_REPLICAS)?.parse::<u32>().ok();
        let active = self.all().filter(|it| it.replicas > 0);
        active.filter_map(desired).any(|it| it != self.deployment.replicas)
    }

    /// Follows the size of the Deployment with the sets there are.
    pub(super) fn resize(&mut self) {
        let deployment = self.deployment;
        let sizes = revision::sizes(deployment);
        let active = self.all().filter(|it| it.replicas > 0).count();
        if active <= 1 {
            let only = self.current.iter_mut().chain(self.old.iter_mut()).find(|it| it.replicas > 0);
            if active == 1 {
                // Differs: upstream leaves the annotations of a set that has the right size already, and then takes
                // the Deployment for scaling for ever.
                if let Some(it) = only {
                    to(it, deployment.replicas, &sizes);
                }
                return;
            }
            let latest = if self.current.is_some() { self.current.as_mut() } else { self.old.last_mut() };
            if let Some(it) = latest.filter(|it| it.replicas != deployment.replicas) {
                to(it, deployment.replicas, &sizes);
            }
            return;
        }
        if self.current.as_ref().is_some_and(|it| saturated(deployment, it)) {
            self.old.iter_mut().filter(|it| it.replicas > 0).for_each(|it| to(it, 0, &sizes));
            return;
        }
        if matches!(deployment.strategy, Strategy::RollingUpdate { .. }) {
            self.proportionally(&sizes);
        }
    }

    fn proportionally(&mut self, sizes: &[(&'static str, String); 2]) {
        let deployment = self.deployment;
        let allowed = if deployment.replicas > 0 { deployment.max_replicas() } else { 0 };
        let to_add = i64::from(allowed) - i64::from(self.total());
        // Oldest first; the sort below is stable, so ties keep an order by age.
        let mut sets: Vec<&mut Sized> =
            self.old.iter_mut().chain(self.current.as_mut()).filter(|it| it.replicas > 0).collect();
        sets.sort_by(|a, b| {
            let created = |it: &Sized| it.set.as_ref().and_then(|it| it.created);
            let by_age = created(a).cmp(&created(b)).then_with(|| a.name.cmp(&b.name));
            let by_age = if to_add > 0 { by_age.reverse() } else { by_age };
            b.replicas.cmp(&a.replicas).then(by_age)
        });
        let mut added = 0;
        let mut targets: Vec<i64> = sets
            .iter()
            .map(|it| {
                let share = share(deployment, it, to_add, added);
                added += share;
                i64::from(it.replicas) + share
            })
            .collect();
        if let Some(first) = targets.first_mut() {
            *first = (*first + to_add - added).max(0);
        }
        for (it, target) in sets.into_iter().zip(targets) {
            to(it, u32::try_from(target).unwrap_or(0), sizes);
        }
    }
}

/// How much of `to_add` a set gets, of which `added` is given away already.
fn share(deployment: &DeploymentView, it: &Sized, to_add: i64, added: i64) -> i64 {
    let left = to_add - added;
    if to_add == 0 || left == 0 {
        return 0;
    }
    let wanted = fraction(deployment, it);
    if to_add > 0 { wanted.min(left) } else { wanted.max(left) }
}

fn fraction(deployment: &DeploymentView, it: &Sized) -> i64 {
    let size = i64::from(it.replicas);
    if deployment.replicas == 0 {
        return -size;
    }
    let noted = it.annotation(revision::MAX_REPLICAS).and_then(|it| it.parse::<i64>().ok()).unwrap_or(0);
    let before = if noted != 0 { noted } else { i64::from(deployment.status.replicas) };
    if before <= 0 {
        return 0;
    }
    // Half away from zero, in integers.
    let product = size * i64::from(deployment.max_replicas());
    (2 * product + before) / (2 * before) - size
}

/// The current set has all pods it should, and was told so.
fn saturated(deployment: &DeploymentView, current: &Sized) -> bool {
    let desired = current.annotation(revision::DESIRED_REPLICAS).and_then(|it| it.parse::<u32>().ok());
    current.replicas == deployment.replicas
        && desired == Some(deployment.replicas)
        && current.status.available == deployment.replicas
}
