//! From any state, applying plans reaches the goal, with a crash after any write.
//!
//! A [`World`] is what the API server and the nodes would hold. Plans are applied write by write; after each one
//! the invariants are checked, and at a random one the controller crashes: the rest of the plan, status included,
//! is lost. Between syncs pods start, become ready, finish and go, in random order.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::model::{ClaimView, Ordinal, PodManagement, PodView, RevisionView, SetSpec, UpdateStrategy};
use super::model::{LABEL_POD_NAME, Phase as PodPhase};
use super::notation::{NOW, claim, given, history, new_pod, pod, release_name};
use super::plan::{Action, Observed, Plan, Reason, plan};
use super::{revision, status};

struct World {
    set: SetSpec,
    pods: BTreeMap<Ordinal, PodView>,
    claims: BTreeMap<String, ClaimView>,
    revisions: Vec<RevisionView>,
    now: Timestamp,
    serial: u64,
    /// Rounds in a row in which nothing happened.
    idle: u32,
    /// Everything written or done, for the message of a failure.
    log: Vec<String>,
}

impl World {
    fn observe(&self) -> Observed {
        Observed {
            pods: self.pods.values().cloned().map(Arc::new).collect(),
            claims: self.claims.iter().map(|(name, it)| (name.clone(), Arc::new(it.clone()))).collect(),
            expandable: [("fast".to_owned(), true)].into(),
            revisions: self.revisions.iter().cloned().map(Arc::new).collect(),
            ..Observed::default()
        }
    }

    fn plan(&self) -> Plan {
        plan(&self.set, &self.observe(), self.now)
    }

    fn available(&self, pod: &PodView) -> bool {
        !pod.deleting && pod.available(self.set.min_ready_seconds, self.now)
    }

    fn unavailable(&self) -> u32 {
        let available =
            self.pods.iter().filter(|(ordinal, it)| self.set.in_range(**ordinal) && self.available(it));
        self.set.replicas - u32::try_from(available.count()).unwrap()
    }

    /// One write, as the API server takes it; the asserts are the invariants.
    fn write(&mut self, action: &Action) {
        self.serial += 1;
        let ordered = self.set.management == PodManagement::OrderedReady;
        match action {
            Action::RepairPod(_) => self.relabel(action),
            Action::RaiseRevision { revision, number } => {
                let highest = self.revisions.iter().map(|it| it.number).max().unwrap();
                assert!(*number > highest, "INV-11: the number grows");
                self.revisions.iter_mut().find(|it| it.uid == revision.uid).unwrap().number = *number;
            }
            Action::CreateRevision(new) => {
                let mut it = (*history("1A")[0]).clone();
                it.template = revision::recorded_template(&new.object["data"]);
                assert!(
                    self.revisions.iter().all(|old| old.data != new.data),
                    "INV-10: equal templates never make a second revision"
                );
                (it.key.name, it.data, it.number) = (new.name.clone(), new.data.clone(), new.number);
                it.uid = format!("revision-{}", self.serial);
                self.revisions.push(it);
            }
            Action::DeleteRevision(it) => {
                let used = self.pods.values().any(|pod| pod.revision() == it.key.name);
                assert!(!used, "INV-10: live revisions are never trimmed");
                self.revisions.retain(|old| old.uid != it.uid);
            }
            Action::CreateClaim { ordinal, owners, .. } => {
                let mut it = claim(&self.set, *ordinal, "");
                it.owners.clone_from(owners);
                assert!(self.claims.insert(it.key.name.clone(), it).is_none(), "the claim exists");
            }
            Action::OwnClaim { claim, owners } => {
                self.claims.get_mut(&claim.key.name).unwrap().owners.clone_from(owners);
            }
            Action::GrowClaim { claim, size, .. } => {
                let it = self.claims.get_mut(&claim.key.name).unwrap();
                assert!(it.requested.is_none_or(|it| it < *size), "claims only grow");
                it.requested = Some(*size);
            }
            Action::CreatePod { ordinal, release } => {
                if ordered {
                    let mut lower = self.set.ordinals().take_while(|it| it < ordinal);
                    let ready = lower.all(|it| self.pods.get(&it).is_some_and(|it| self.available(it)));
                    assert!(ready, "INV-6: every lower ordinal is available");
                }
                let it = new_pod(ordinal.0, &release.name, &format!("pod-{}", self.serial));
                assert!(self.pods.insert(*ordinal, it).is_none(), "INV-1: one pod per ordinal");
            }
            Action::DeletePod { pod, reason } => self.delete(pod, *reason),
        }
    }

    fn relabel(&mut self, action: &Action) {
        if let Action::RepairPod(pod) = action {
            let it = self.pods.get_mut(&pod.ordinal.unwrap()).unwrap();
            assert_eq!(it.uid, pod.uid);
            it.labels.insert(LABEL_POD_NAME.into(), it.key.name.clone());
        }
    }

    fn delete(&mut self, pod: &PodView, reason: Reason) {
        let ordinal = pod.ordinal.unwrap();
        let it = &self.pods[&ordinal];
        assert_eq!(it.uid, pod.uid, "INV-3: the pod that was observed");
        assert!(!it.deleting, "a terminating pod is left alone");
        let ordered = self.set.management == PodManagement::OrderedReady;
        match reason {
            Reason::Ended => assert!(matches!(it.phase, PodPhase::Failed | PodPhase::Succeeded)),
            Reason::Condemned => {
                assert!(!self.set.in_range(ordinal));
                if ordered {
                    let outside = |it: &&Ordinal| !self.set.in_range(**it);
                    assert_eq!(self.pods.keys().filter(outside).max(), Some(&ordinal), "INV-6: the highest");
                    assert_eq!(self.unavailable(), 0, "INV-6: every ordinal that stays is available");
                }
            }
            Reason::Outdated | Reason::OutdatedUnavailable => {
                assert_ne!(it.revision(), self.update_revision(), "INV-7: only to move it");
                if !matches!(self.set.strategy, UpdateStrategy::Recreate) {
                    assert!(ordinal.0 >= self.set.first_updatable(), "INV-7: never below partition");
                    let within = self.unavailable() < self.set.max_unavailable();
                    assert!(within || !self.available(it), "INV-8: within the budget");
                }
            }
        }
        let it = self.pods.get_mut(&ordinal).unwrap();
        it.deleting = true;
        // A pod that no node has accepted goes at once.
        if it.phase == PodPhase::Pending {
            self.pods.remove(&ordinal);
        }
    }

    fn update_revision(&self) -> String {
        let newest = self.revisions.iter().max_by_key(|it| it.number).unwrap();
        newest.key.name.clone()
    }

    /// What nodes and garbage collector do with one pod.
    fn kubelet(&mut self, pick: usize) {
        let claims = &self.claims;
        let can_move = |it: &&PodView| it.deleting || !it.ready() && !ended(it);
        let moving: Vec<_> = self.pods.values().filter(can_move).filter_map(|it| it.ordinal).collect();
        let Some(ordinal) = moving.get(pick % moving.len().max(1)).copied() else {
            self.now += SignedDuration::from_secs(5);
            // Two broken condemned pods block OrderedReady, as upstream, until a person deletes one.
            let set = &self.set;
            let stuck = self.pods.iter_mut().find(|(ordinal, it)| !set.in_range(**ordinal) && ended(it));
            if self.idle > 2
                && let Some((ordinal, it)) = stuck
            {
                self.log.push(format!("a person deletes {ordinal}"));
                it.deleting = true;
            }
            return;
        };
        let it = self.pods.get_mut(&ordinal).unwrap();
        if it.deleting {
            self.log.push(format!("gone {ordinal}"));
            let uid = it.uid.clone();
            self.pods.remove(&ordinal);
            self.claims.retain(|_, it| !it.owners.iter().any(|it| it.uid == uid));
        } else {
            let name = format!("data-web-{ordinal}");
            let bound = self.set.claim_templates.is_empty() || claims.contains_key(&name);
            match it.phase {
                PodPhase::Pending if !bound => {}
                PodPhase::Pending => it.phase = PodPhase::Running,
                _ => (it.ready_condition, it.ready_since) = (true, Some(self.now)),
            }
        }
    }

    /// One sync; `crash`: after so many writes.
    fn sync(&mut self, crash: Option<usize>) -> bool {
        let plan = self.plan();
        let actions: Vec<_> = plan.steps.iter().flat_map(|it| &it.actions).cloned().collect();
        let lost = crash.is_some_and(|it| it < actions.len());
        for action in actions.iter().take(crash.unwrap_or(usize::MAX)) {
            self.log.push(super::notation::show_action(action));
            self.write(action);
        }
        check_status(&self.set, &plan.status);
        let changes = status::differs(&self.set.status, &plan.status);
        if !lost {
            assert!(plan.status.observed_generation >= self.set.status.observed_generation, "INV-11");
            self.set.status = plan.status;
        } else {
            self.log.push("crash".into());
        }
        !actions.is_empty() || changes
    }

    fn reached(&self) -> Result<(), String> {
        let set = &self.set;
        let want: Vec<_> = set.ordinals().collect();
        let got: Vec<_> = self.pods.keys().copied().collect();
        if want != got {
            return Err(format!("ordinals {got:?}, not {want:?}"));
        }
        if let Some(it) = self.pods.values().find(|it| !self.available(it)) {
            return Err(format!("{} is not available", it.key));
        }
        if !matches!(set.strategy, UpdateStrategy::OnDelete) {
            let update = self.update_revision();
            let first = set.first_updatable();
            let outdated =
                self.pods.iter().find(|(ordinal, it)| ordinal.0 >= first && it.revision() != update);
            if let Some((ordinal, _)) = outdated {
                return Err(format!("{ordinal} is outdated"));
            }
        }
        let claimed = |it: &Ordinal| self.claims.contains_key(&format!("data-web-{it}"));
        if !set.claim_templates.is_empty() && !want.iter().all(claimed) {
            return Err("a claim is missing".into());
        }
        let status = &set.status;
        if (status.replicas, status.ready_replicas) != (set.replicas, set.replicas) {
            return Err(format!("status {status:?}"));
        }
        let old = self.revisions.len();
        if old > 2 + usize::try_from(set.history_limit).unwrap_or(usize::MAX - 2) + self.pods.len() {
            return Err(format!("{old} revisions"));
        }
        Ok(())
    }
}

/// `it` may not be what the API server would refuse.
fn check_status(set: &SetSpec, it: &super::model::SetStatus) {
    for counter in [it.ready_replicas, it.available_replicas, it.current_replicas, it.updated_replicas] {
        assert!(counter <= it.replicas, "{set:?}: {it:?}");
    }
    assert!(it.available_replicas <= it.ready_replicas, "{it:?}");
}

fn ended(pod: &PodView) -> bool {
    matches!(pod.phase, PodPhase::Failed | PodPhase::Succeeded)
}

fn specs() -> impl Strategy<Value = String> {
    let strategy = prop_oneof![
        Just(String::new()),
        Just("noblock".to_owned()),
        Just("ondelete".to_owned()),
        Just("recreate".to_owned()),
        (0..5_u32).prop_map(|it| format!("partition={it}")),
        (1..4_u32).prop_map(|it| format!("max={it}")),
    ];
    let revisions = prop_oneof![Just("A"), Just("A→B"), Just("B→A"), Just("B→C")];
    let retain = prop_oneof![Just(""), Just("retain=DR"), Just("retain=RD"), Just("retain=DD")];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), 0..3_u32, 0..3_u32);
    let words =
        ["unstick", "budget=2", "reserve=1,3-4", "manage=Parallel", "manage=OrderedReady", "grow=InPlace"];
    let extras = prop::sample::subsequence(words.to_vec(), 0..=3).prop_map(|it| it.join(" "));
    (0..5_u32, revisions, strategy, retain, flags, extras).prop_map(
        |(replicas, revisions, strategy, retain, (parallel, claims, slow, start, history), extras)| {
            let flag = |it: bool, word: &'static str| if it { word } else { "" };
            format!(
                "{replicas}x{revisions} {strategy} {retain} start={start} history={history} {} {} {} {extras}",
                flag(parallel, "parallel"),
                flag(claims, "claims"),
                flag(slow, "minready=7"),
            )
        },
    )
}

fn pods() -> impl Strategy<Value = Vec<String>> {
    let marks = prop::sample::select(vec!["", "", "", "", "!", "?", "f", "s", "-", "!-", "f-", "3", "x"]);
    let one = prop::option::of((prop_oneof![Just('A'), Just('B'), Just('C')], marks));
    prop::collection::vec(one, 7).prop_map(|pods| {
        let pods = pods.into_iter().enumerate();
        pods.filter_map(|(ordinal, it)| it.map(|(letter, marks)| format!("{ordinal}{letter}{marks}")))
            .collect()
    })
}

fn world(spec: &str, pods: &[String], recorded: bool) -> World {
    let (set, observed) = given(spec, "");
    let pods: BTreeMap<_, _> = pods.iter().map(|it| pod(it)).map(|it| (it.ordinal.unwrap(), it)).collect();
    // A pod that runs has its claim; the controller would not give it another one.
    let claims = pods.keys().map(|it| claim(&set, *it, "")).map(|it| (it.key.name.clone(), it)).collect();
    let revisions = if recorded { observed.revisions } else { Vec::new() };
    let revisions = revisions.iter().map(|it| (**it).clone()).collect();
    World { set, pods, claims, revisions, now: NOW, serial: 0, idle: 0, log: Vec::new() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_state_reaches_the_goal(
        spec in specs(), pods in pods(), recorded in any::<bool>(),
        crashes in prop::collection::vec(prop::option::of(0..4_usize), 12),
        picks in prop::collection::vec(0..7_usize, 24),
    ) {
        let mut world = world(&spec, &pods, recorded);
        let (mut crashes, mut picks) = (crashes.into_iter(), picks.into_iter().cycle());
        for _ in 0..400 {
            let wrote = world.sync(crashes.next().flatten());
            let before = (world.log.len(), world.now);
            world.kubelet(picks.next().unwrap());
            let idle = !wrote && world.log.len() == before.0 && world.now != before.1;
            world.idle = if idle { world.idle + 1 } else { 0 };
            // At rest for longer than any pod takes to become available.
            if world.idle > 4 {
                break;
            }
        }
        prop_assert!(world.idle > 4, "{spec} {pods:?} does not come to rest: {:?}", world.log);
        let plan = world.plan();
        prop_assert!(plan.steps.is_empty(), "at rest nothing is written");
        if let Err(why) = world.reached() {
            let waits: Vec<_> = plan.waits.iter().map(ToString::to_string).collect();
            prop_assert!(false, "{spec} {pods:?}: {why}; waits {waits:?}; {:?}", world.log);
        }
    }

    #[test]
    fn a_deleted_set_writes_nothing_but_status(spec in specs(), pods in pods(), recorded in any::<bool>()) {
        let mut world = world(&spec, &pods, recorded);
        world.set.deleting = true;
        prop_assert!(world.plan().steps.is_empty());
    }
}

#[test]
fn a_crash_between_deletion_and_status_brings_no_pod_back_at_the_old_revision() {
    let mut world = world("3xA→B noblock", &["0A".into(), "1A".into(), "2A".into()], true);
    world.sync(None);
    world.pods.retain(|_, it| !it.deleting);
    world.set.status.current_replicas = 3;
    world.sync(None);
    assert_eq!(world.pods[&Ordinal(2)].revision(), release_name('B'));
}
