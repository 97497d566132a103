//! What a Deployment does in one step: tables, and every small state.

use super::deployment::{Action, Plan, plan};
use super::notation::{NOW, deployment, sets};

fn show(plan: &Plan) -> String {
    let words = plan.actions.iter().map(|action| match action {
        Action::Create(new) => format!("new→{}", new.replicas),
        Action::Change(it) if it.replicas != it.set.replicas => {
            format!("{}→{}", it.set.key.name.trim_start_matches("web-"), it.replicas)
        }
        Action::Change(it) => format!("{}~", it.set.key.name.trim_start_matches("web-")),
        Action::Delete(set) => format!("-{}", set.key.name.trim_start_matches("web-")),
        Action::Rollback(it) => it.event.1.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

fn check(cases: &[(&str, &str, &str, &str)]) {
    for (why, spec, state, want) in cases {
        let web = deployment(spec);
        let it = plan(&web, &sets(&web, state), NOW);
        assert_eq!(show(&it), *want, "{why}: {spec} given [{state}]");
    }
}

#[test]
fn rolling() {
    #[rustfmt::skip]
    check(&[
        ("a fresh one",                                "3",                              "",                    "new→3"),
        ("nothing to do",                              "3",                              "a3",                  ""),
        ("a new version, within the surge",            "10 surge=3 unavailable=2 template=b", "a10",            "new→3 a→8"),
        ("room above",                                 "10 surge=3 unavailable=2 template=b", "a8 b3:0",        "b→5"),
        ("one with the defaults",                      "3 template=b",                   "a3",                  "new→1"),
        ("per ready pod one less",                     "3 template=b",                   "a3 b1",               "a→2"),
        ("and one more",                               "3 template=b",                   "a2 b1",               "b→2"),
        ("nothing while it is not ready",              "3 template=b",                   "a3 b1:0",             ""),
        ("a third version starts at nothing",          "3 template=c",                   "a3 b1:0",             "new→0 b→0"),
        ("broken old pods first",                      "4 surge=0 unavailable=1 template=b", "a4:2",            "new→0 a→3"),
        ("both zero is one unavailable",               "3 surge=0 unavailable=0 template=b", "a3",              "new→0 a→2"),
        ("an old set whose status trails",             "3 surge=0 unavailable=1 template=b", "a2:3 b0",         "b→1"),
        ("and nothing else until it is true",          "3 surge=0 unavailable=1 template=b", "a2:3 b1:1",       ""),
        ("somebody made it too large",                 "3",                              "a5=3,4",              "a→3"),
        ("back to a version that is there",            "3 template=a",                   "a0 b3",               "a→1"),
        ("nothing is trimmed before it is over",       "3 history=1 template=c",         "a0 b0 c3",            ""),
    ]);
}

#[test]
fn history() {
    for (why, spec, state, want) in [
        ("the lowest revisions go", "3 history=1 template=d", "a0r3 b0r1 c0r2 d3r4", "-b -c"),
        ("but not with pods, and they count", "3 history=1 template=d", "a0/1r1 b0r2 c0r3 d3r4", "-b"),
        ("all of it", "3 history=0 template=b", "a0 b3", "-a"),
    ] {
        let mut web = deployment(spec);
        let state = sets(&web, state);
        (web.status.replicas, web.status.updated, web.status.available) = (3, 3, 3);
        assert_eq!(show(&plan(&web, &state, NOW)), want, "{why}");
    }
}

#[test]
fn recreating() {
    let cases = [
        ("all old ones first", "3 recreate template=b", "a3", 3, "a→0"),
        ("wait for the status", "3 recreate template=b", "a0/1", 0, ""),
        ("wait for the pods", "3 recreate template=b", "a0", 1, ""),
        ("then all at once", "3 recreate template=b", "a0", 0, "new→3"),
        ("back to a version that is there", "3 recreate", "a0 b0", 0, "a→3"),
    ];
    for (why, spec, state, unfinished, want) in cases {
        let web = deployment(spec);
        let mut observed = sets(&web, state);
        observed.unfinished.insert("set-a".into(), unfinished);
        assert_eq!(
            show(&plan(&web, &observed, NOW)).trim_start_matches("a~ ").replace("a~", ""),
            want,
            "{why}"
        );
    }
}

#[test]
fn scaling() {
    #[rustfmt::skip]
    check(&[
        ("one set follows",                     "5",                                  "a3=3,4",                   "a→5"),
        ("to nothing",                          "0",                                  "a3=3,4",                   "a→0"),
        ("in proportion up",                    "15 surge=3 unavailable=2 template=b", "a8=10,13 b5:0=10,13",     "b→7 a→11"),
        ("in proportion down",                  "5 surge=3 unavailable=2 template=b", "a8=10,13 b5:0=10,13",      "b→3 a→5"),
        ("all to nothing",                      "0 surge=3 unavailable=2 template=b", "a8=10,13 b5=10,13",        "b→0 a→0"),
        ("the right size, told wrongly",        "3",                                  "a3=5,7",                   "a~"),
        ("no set is created on the way",        "5 template=b",                       "a3=3,4",                   "a→5"),
        ("paused: sizes follow",                "5 paused template=b",                "a3=3,4",                   "a→5"),
        ("paused: nothing rolls",               "3 paused template=b",                "a3",                       ""),
        ("paused from the start",               "3 paused",                           "",                         ""),
        ("on the way out: nothing",             "5 deleting",                         "a3=3,4",                   ""),
    ]);
}

#[test]
fn revisions() {
    let web = deployment("3");
    let it = plan(&web, &sets(&web, ""), NOW);
    assert_eq!(it.revision, Some(1));
    let back = plan(&web, &sets(&web, "a0r1 b3r2"), NOW);
    assert_eq!(back.revision, Some(3), "a rollback is a revision of its own");
    let Action::Change(change) = &back.actions[0] else { panic!("the current set") };
    assert_eq!(change.annotations["deployment.kubernetes.io/revision-history"], "1");
}

#[test]
fn rollback_by_annotation() {
    for (to, state, want) in [
        ("1", "a0r1 b3r2", "DeploymentRollback"),
        ("0", "a0r1 b3r2", "DeploymentRollback"),
        ("7", "a0r1 b3r2", "DeploymentRollbackRevisionNotFound"),
        ("0", "b3r1", "DeploymentRollbackRevisionNotFound"),
        ("2", "a0r1 b3r2", "DeploymentRollbackTemplateUnchanged"),
    ] {
        let mut web = deployment("3 template=b");
        web.annotations.insert("deprecated.deployment.rollback.to".into(), to.into());
        assert_eq!(show(&plan(&web, &sets(&web, state), NOW)), want, "{to} of {state}");
    }
}

/// WL-3 and WL-7 in every small state: no step asks for more pods than replicas + surge unless there were more already,
/// and none takes an available pod that is needed.
#[test]
fn every_small_state() {
    let mut states = 0;
    for replicas in 0..=4_u32 {
        for (surge, unavailable) in (0..=2).flat_map(|s| (0..=2).map(move |u| (s, u))) {
            let web = deployment(&format!("{replicas} surge={surge} unavailable={unavailable} template=b"));
            for (old, new) in (0..=5_u32).flat_map(|old| (0..=5_u32).map(move |new| (old, new))) {
                for (old_ok, new_ok) in (0..=old).flat_map(|a| (0..=new).map(move |b| (a, b))) {
                    let state = sets(&web, &format!("a{old}:{old_ok} b{new}:{new_ok}"));
                    let it = plan(&web, &state, NOW);
                    let size = |letter: &str, before: u32| {
                        let found = it.actions.iter().find_map(|it| match it {
                            Action::Change(it) if it.set.key.name.ends_with(letter) => Some(it.replicas),
                            _ => None,
                        });
                        found.unwrap_or(before)
                    };
                    let (old_to, new_to) = (size("a", old), size("b", new));
                    let why = format!(
                        "{replicas}+{surge}-{unavailable} a{old}:{old_ok} b{new}:{new_ok}: {}",
                        show(&it)
                    );
                    assert!(old_to + new_to <= web.max_replicas().max(old + new), "above the surge: {why}");
                    // Unready pods of a set go first.
                    let taken =
                        |from: u32, ok: u32, to: u32| from.saturating_sub(to).saturating_sub(from - ok);
                    let left = old_ok + new_ok - taken(old, old_ok, old_to);
                    let before = old_ok + new_ok;
                    assert!(left >= web.min_available().min(before), "below what is needed: {why}");
                    states += 1;
                }
            }
        }
    }
    assert!(states > 19_000, "{states}");
}
