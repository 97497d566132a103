//! Every combination of pod states and policies, and what a plan may do about it.
//!
//! 22 states of each of 4 ordinals under 26 policies: 6,090,656 plans, each judged by rules that are written down
//! here once more, in the words of the invariants. `ORDINAL_PROOF=full` judges all of them, else every 211th.

use std::sync::Arc;

use super::super::model::{Ordinal, PodManagement, PodView, SetSpec, UpdateStrategy};
use super::super::notation::{NOW, given, pod, release_name, show};
use super::super::plan::{Action, Observed, Phase, Plan, Reason, plan};
use super::{Effort, effort};

/// What one ordinal may look like: absent, or one of seven states at the current, the update or an older revision.
const STATES: [&str; 22] = [
    "", "A", "A!", "A?", "A3", "A-", "Af", "Af-", "B", "B!", "B?", "B3", "B-", "Bf", "Bf-", "C", "C!", "C?",
    "C3", "C-", "Cf", "Cf-",
];
const ORDINALS: usize = 4;
/// Each with both management policies.
const POLICIES: [&str; 13] = [
    "4xA",
    "4xA→B",
    "4xA→B partition=2",
    "4xA→B max=2",
    "4xA→B max=2 partition=1",
    "4xA→B noblock",
    "4xA→B ondelete",
    "4xA→B recreate",
    "4xA→B minready=10",
    "4xA→B minready=10 max=3",
    "2xA→B",
    "2xA→B ondelete",
    "3xA→B start=1",
];
/// Coprime to 22, so that a sample meets every state of every ordinal.
const STRIDE: usize = 211;

struct Case<'a> {
    set: &'a SetSpec,
    pods: [Option<&'a Arc<PodView>>; ORDINALS],
}

impl Case<'_> {
    fn pod(&self, ordinal: u32) -> Option<&Arc<PodView>> {
        self.pods.get(ordinal as usize).copied().flatten()
    }

    fn available(&self, ordinal: u32) -> bool {
        self.pod(ordinal).is_some_and(|it| !it.deleting && it.available(self.set.min_ready_seconds, NOW))
    }

    fn in_range(&self) -> std::ops::Range<u32> {
        self.set.start..self.set.end()
    }

    fn condemned(&self) -> impl DoubleEndedIterator<Item = u32> {
        (0..ORDINALS as u32).filter(|it| !self.in_range().contains(it) && self.pod(*it).is_some())
    }

    fn outdated(&self, ordinal: u32) -> bool {
        self.pod(ordinal).is_some_and(|it| it.revision() != update_name(self.set))
    }

    /// The revision that a new pod of this ordinal gets; `None` where only timing could tell.
    fn revision_of_new(&self, ordinal: u32) -> Option<String> {
        let old = match &self.set.strategy {
            UpdateStrategy::RollingUpdate(Some(it)) => ordinal < self.set.start + it.partition,
            UpdateStrategy::RollingUpdate(None) => return None,
            _ => false,
        };
        Some(if old { release_name('A') } else { update_name(self.set) })
    }

    /// The first rule that `plan` breaks.
    fn broken(&self, plan: &Plan) -> Option<String> {
        let ordered = self.set.management == PodManagement::OrderedReady;
        let recreate = self.set.strategy == UpdateStrategy::Recreate;
        let unavailable = self.in_range().filter(|it| !self.available(*it)).count() as u32;
        let (mut created, mut condemned, mut sound) = (Vec::new(), Vec::new(), Vec::new());
        for step in &plan.steps {
            for action in &step.actions {
                match action {
                    Action::CreatePod { ordinal: Ordinal(it), release } => {
                        if self.pod(*it).is_some() || created.contains(it) {
                            return Some(format!("INV-1: {it} exists"));
                        }
                        if !self.in_range().contains(it) {
                            return Some(format!("{it} is beyond the range"));
                        }
                        if ordered && !(self.set.start..*it).all(|it| self.available(it)) {
                            return Some(format!("INV-6: {it} is created before a lower one is available"));
                        }
                        if self.revision_of_new(*it).is_some_and(|want| want != release.name) {
                            return Some(format!("INV-9: {it} is created at {}", release.name));
                        }
                        created.push(*it);
                    }
                    Action::DeletePod { pod, reason } => {
                        let it = pod.ordinal?.0;
                        let known = self.pod(it)?;
                        if known.uid != pod.uid || known.deleting {
                            return Some(format!("INV-3: {it} is another pod, or terminating"));
                        }
                        match reason {
                            Reason::Ended if !ended(known) => return Some(format!("{it} has not ended")),
                            Reason::Condemned => condemned.push(it),
                            Reason::Outdated | Reason::OutdatedUnavailable
                                if !recreate && !self.in_range().contains(&it) || !self.outdated(it) =>
                            {
                                return Some(format!("INV-7: {it} is up to date or condemned"));
                            }
                            Reason::OutdatedUnavailable if self.available(it) => {
                                return Some(format!("INV-8: {it} is available"));
                            }
                            Reason::Outdated if !recreate => sound.push(it),
                            _ => {}
                        }
                        let moved = matches!(reason, Reason::Outdated | Reason::OutdatedUnavailable);
                        if moved && it < self.set.first_updatable() {
                            return Some(format!("INV-7: {it} lies below the partition"));
                        }
                        if ordered && moved && !recreate && unavailable > 0 {
                            return Some(format!("INV-8: {it} goes while another is not available"));
                        }
                    }
                    Action::CreateClaim { .. } | Action::OwnClaim { .. } => {
                        return Some("INV-5: the set has no claims".into());
                    }
                    _ => {}
                }
            }
        }
        if ordered && created.len() > 1 {
            return Some(format!("INV-6: {created:?} are created at once"));
        }
        if let Some(highest) = self.condemned().next_back()
            && ordered
            && !recreate
            && !condemned.is_empty()
        {
            let healthy =
                self.available(highest) || self.condemned().find(|it| !self.available(*it)) == Some(highest);
            if condemned != [highest] || unavailable > 0 || !healthy {
                return Some(format!("INV-6: {condemned:?} are scaled away"));
            }
        }
        if !sound.is_empty() && unavailable + sound.len() as u32 > self.set.max_unavailable() {
            return Some(format!("INV-8: {sound:?} go while {unavailable} are not available"));
        }
        let lowest = sound.iter().min().copied().unwrap_or(u32::MAX);
        let skipped =
            |it: &u32| *it > lowest && self.outdated(*it) && self.available(*it) && !sound.contains(it);
        if let Some(it) = self.in_range().find(skipped) {
            return Some(format!("INV-7: {it} is higher than {lowest}"));
        }
        if recreate && !created.is_empty() && (0..ORDINALS as u32).any(|it| self.outdated(it)) {
            return Some("an outdated pod exists, yet one is created".into());
        }
        let moves = plan.steps.iter().any(|it| it.phase < Phase::History);
        if !moves && plan.waits.is_empty() && !self.reached() {
            return Some("LIV-1: nothing is done and nothing awaited".into());
        }
        None
    }

    fn reached(&self) -> bool {
        let right = |it: u32| {
            self.available(it)
                && (it < self.set.first_updatable()
                    || self.set.strategy == UpdateStrategy::OnDelete
                    || !self.outdated(it))
        };
        self.condemned().next().is_none() && self.in_range().all(right)
    }
}

fn update_name(set: &SetSpec) -> String {
    let template = &set.template["spec"]["containers"][0]["image"];
    release_name(if template == "registry/B:1" { 'B' } else { 'A' })
}

fn ended(pod: &PodView) -> bool {
    use super::super::model::Phase::{Failed, Succeeded};
    matches!(pod.phase, Failed | Succeeded)
}

/// Judges the cases `from`, `from + step`, … of one policy.
fn judge(policy: &str, from: usize, step: usize) -> usize {
    let all = STATES.len().pow(ORDINALS as u32);
    let (set, Observed { revisions, .. }) = given(policy, "");
    let pods: Vec<Vec<Option<Arc<PodView>>>> = (0..ORDINALS)
        .map(|ordinal| {
            let one = |it: &&str| (!it.is_empty()).then(|| Arc::new(pod(&format!("{ordinal}{it}"))));
            STATES.iter().map(one).collect()
        })
        .collect();
    let mut judged = 0;
    for number in (from..all).step_by(step) {
        let state = |ordinal: usize| number / STATES.len().pow(ordinal as u32) % STATES.len();
        let case = Case { set: &set, pods: std::array::from_fn(|it| pods[it][state(it)].as_ref()) };
        let present = case.pods.iter().flatten().map(|it| Arc::clone(it)).collect();
        let observed = Observed { pods: present, revisions: revisions.clone(), ..Observed::default() };
        let plan = plan(&set, &observed, NOW);
        if let Some(why) = case.broken(&plan) {
            let states: Vec<_> = (0..ORDINALS).map(|it| format!("{it}{}", STATES[state(it)])).collect();
            panic!("{why}\n  {policy} given [{}]: {}", states.join(" "), show(&plan));
        }
        judged += 1;
    }
    judged
}

#[test]
fn no_plan_for_any_state_breaks_a_rule() {
    let step = if effort() == Effort::Small { STRIDE } else { 1 };
    let started = std::time::Instant::now(); // allow-clock: the report says how long it took
    let policies: Vec<_> =
        POLICIES.iter().flat_map(|it| [(*it).to_owned(), format!("{it} parallel")]).collect();
    let judged: usize = std::thread::scope(|scope| {
        let halves = policies.chunks(policies.len().div_ceil(2));
        let workers: Vec<_> = halves
            .map(|half| {
                scope.spawn(move || {
                    half.iter().enumerate().map(|(at, it)| judge(it, at % step, step)).sum::<usize>()
                })
            })
            .collect();
        workers.into_iter().map(|it| it.join().expect("no rule is broken")).sum()
    });
    println!("exhaustive: {judged} plans of {} policies in {:?}", policies.len(), started.elapsed());
}
