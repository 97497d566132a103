//! Plans in tables; the notation is explained in `notation`.

use super::notation::{NOW, given, history, observed, set, show};
use super::plan::plan;
use std::time::Duration;

fn check(cases: &[(&str, &str, &str, &str)]) {
    for (why, spec, pods, want) in cases {
        let (set, observed) = given(spec, pods);
        assert_eq!(show(&plan(&set, &observed, NOW)), *want, "{why}: {spec} given [{pods}]");
    }
}

#[test]
#[rustfmt::skip]
fn ordered_ready() {
    check(&[
        ("a fresh set starts at its first ordinal",   "3xA",               "",            "create 0A"),
        ("the next ordinal waits for Ready",          "3xA",               "0A!",         "wait 0"),
        ("a pending pod is not ready",                "3xA",               "0A?",         "wait 0"),
        ("then it comes",                             "3xA",               "0A",          "create 1A"),
        ("a gap is filled before the set grows",      "3xA",               "0A 2A",       "create 1A"),
        ("ordinals.start moves the whole range",      "2xA start=5",       "5A",          "create 6A"),
        ("new top first, then the low ones",          "2xA start=1",       "0A 1A",       "create 2A"),
        ("a moved start removes the low ones",        "2xA start=1",       "0A 1A 2A",    "delete 0"),
        ("scale-down takes the highest condemned",    "1xA",               "0A 1A 2A",    "delete 2"),
        ("one at a time",                             "1xA",               "0A 1A 2A-",   "wait 2"),
        ("an unhealthy pod that stays holds it up",   "1xA",               "0A! 1A 2A",   "wait 0"),
        ("one unhealthy condemned pod may go",        "1xA",               "0A 1A 2A!",   "delete 2"),
        ("of two the lower one holds up the higher",  "1xA",               "0A 1A! 2A!",  "wait 2"),
        ("a healthy one above an unhealthy one goes", "1xA",               "0A 1A! 2A",   "delete 2"),
        ("to nothing",                                "0xA",               "0A",          "delete 0"),
        ("a failed pod is replaced",                  "2xA",               "0Af 1A",      "delete 0"),
        ("a succeeded one, too",                      "2xA",               "0As 1A",      "delete 0"),
        ("but deleted only once",                     "2xA",               "0Af- 1A",     "wait 0"),
        ("a terminating pod is waited for",           "2xA",               "0A- 1A",      "wait 0"),
        ("its name is free only when it is gone",     "1xA",               "t0",          "wait 0 taken"),
        ("the goal",                                  "2xA",               "0A 1A",       "-"),
        ("a deleted set is left to the collector",    "3xA deleting",      "0Af 4A",      "-"),
        ("a lost identity label is written again",    "1xA",               "0Ax",         "repair 0"),
        ("not available, not done",                   "2xA minready=10",   "0A4",         "wait 0"),
        ("available",                                 "2xA minready=4",    "0A4",         "create 1A"),
    ]);
}

#[test]
#[rustfmt::skip]
fn parallel() {
    check(&[
        ("all at once",                              "3xA parallel",        "",               "create 0A, create 1A, create 2A"),
        ("whatever the others do",                   "3xA parallel",        "1A!",            "create 0A, create 2A"),
        ("past an ordinal that can not be",          "3xA parallel",        "t0",             "create 1A, create 2A"),
        ("scale-down all at once",                   "1xA parallel",        "0A! 1A 2A! 3A-", "delete 2, delete 1"),
        ("failed pods",                              "3xA parallel",        "0Af 1As 2A",     "delete 0, delete 1"),
        ("up and down in one go",                    "2xA parallel start=1", "0A 1A",         "create 2A, delete 0"),
    ]);
}

#[test]
#[rustfmt::skip]
fn rolling_update() {
    check(&[
        ("an update starts at the highest ordinal",       "2xA→B",                   "0A 1A",          "delete 1"),
        ("a pod that left returns at the update",         "2xA→B",                   "0A",             "create 1B"),
        ("the next waits for it",                         "2xA→B",                   "0A 1B!",         "wait 1"),
        ("then goes",                                     "2xA→B",                   "0A 1B",          "delete 0"),
        ("nothing goes while the set is incomplete",      "3xA→B",                   "0A 1A!",         "wait 1"),
        ("a broken old pod holds up OrderedReady",        "3xA→B",                   "0A 1A! 2A",      "wait 1"),
        ("partition keeps lower ordinals as is",          "2xA→B partition=1",       "0A 1B",          "-"),
        ("a Pod below partition returns at current",      "2xA→B partition=1",       "1B",             "create 0A"),
        ("one above at update, out of its turn",          "3xA→B",                   "1A 2A",          "create 0B"),
        ("partition counts from the start ordinal",       "3xA→B partition=2 start=4", "4A 5A 6A",     "delete 6"),
        ("a raised partition deletes nothing",            "3xA→B partition=3",       "0B 1B 2B",       "-"),
        ("beyond all replicas",                           "2xA→B partition=9",       "0A 1A",          "-"),
        ("two at a time",                                 "4xA→B max=2",             "0A 1A 2A 3A",    "delete 3, delete 2"),
        ("replacements come in order",                    "4xA→B max=2",             "0A 1A",          "create 2B"),
        ("and nothing goes until all are back",           "4xA→B max=2",             "0A 1A 2B!",      "wait 2"),
        ("without a block: low ones return at current",   "3xA→B noblock",           "1A 2A",          "create 0A"),
        ("without a block: the deleted top at update",    "3xA→B noblock",           "0A 1A",          "create 2B"),
        ("a third revision is outdated, too",             "2xA→B",                   "0C 1B",          "delete 0"),
        ("minReadySeconds slows the rollout",             "2xA→B minready=10",       "0A 1B4",         "wait 1"),
        ("scale-down precedes the update",                "2xA→B",                   "0A 1A 2A",       "delete 2"),
        ("OnDelete deletes nothing",                      "2xA→B ondelete",          "0A 1A",          "-"),
        ("OnDelete creates at the update revision",       "2xA→B ondelete",          "0A",             "create 1B"),
        ("lacking storage is outdated",                   "1xA claims",              "0A_ c0",         "delete 0"),
        ("but not for OnDelete",                          "1xA claims ondelete",     "0A_ c0",         "-"),
    ]);
}

#[test]
#[rustfmt::skip]
fn parallel_update() {
    check(&[
        ("one at a time by default",               "3xA→B parallel",               "0A 1A 2A",        "delete 2"),
        ("the budget is spent",                    "3xA→B parallel",               "0A 1A 2B!",       "wait 2, wait 1 budget"),
        ("broken old pods go whatever the budget", "3xA→B parallel",               "0A! 1A! 2B!",     "delete 1!, delete 0!"),
        ("a broken pod uses up the budget",        "3xA→B parallel",               "0A! 1A 2A",       "delete 0!"),
        ("of two, the rest goes to a sound one",   "3xA→B parallel max=2",         "0A! 1A 2A",       "delete 0!, delete 2"),
        ("below the partition broken pods stay",   "3xA→B parallel partition=2",   "0A! 1A 2A",       "wait 0, wait 2 budget"),
        ("a terminating pod counts",               "3xA→B parallel max=2",         "0A 1A 2A-",       "delete 1"),
        ("a missing pod counts",                   "3xA→B parallel max=2",         "0A 1A",           "create 2B, delete 1"),
        ("without a block pods return at update", "3xA→B parallel noblock",       "1A 2A",           "create 0B"),
        ("a failed pod is deleted once",           "2xA→B parallel",               "0A 1Af",          "delete 1"),
        ("recreate deletes all",                   "2xA→B recreate",               "0A 1A! 2A",       "delete 1, delete 0, delete 2"),
        ("and creates none until they are gone",   "2xA→B recreate",               "0A-",             "wait 0"),
        ("then starts over",                       "2xA→B recreate",               "",                "create 0B"),
    ]);
}

#[test]
#[rustfmt::skip]
fn claims() {
    check(&[
        ("claims come before the pod",                 "1xA claims",                    "",          "claim 0, create 0A"),
        ("an existing claim is used",                  "1xA claims",                    "c0",        "create 0A"),
        ("a terminating claim is waited for",          "1xA claims",                    "c0-",       "wait 0 claim"),
        ("a pending pod gets its claim back",          "1xA claims",                    "0A?",       "claim 0"),
        ("a running one does not",                     "1xA claims",                    "0A",        "-"),
        ("another's claim of an earlier pod is stale", "1xA claims retain=RD",          "c0~",       "wait 0 stale"),
        ("which nobody minds under Retain",            "1xA claims",                    "c0~",       "create 0A"),
        ("the set owns what goes with it",             "1xA claims retain=DR",          "0A c0",     "own data-web-0 [StatefulSet]"),
        ("the owner is set before scale-down",         "0xA claims retain=RD",          "0A c0",     "own data-web-0 [Pod], delete 0"),
        ("claims of all condemned pods first",         "0xA claims retain=RD",          "0A c0 1A c1", "own data-web-1 [Pod], own data-web-0 [Pod], delete 1"),
        ("a stuck claim holds up no other pod",        "2xA claims parallel",           "c0-",       "claim 1, create 1A"),
        ("an unready pod's claim waits its turn",      "1xA claims retain=DR",          "0A! c0",    "wait 0"),
        ("but not in Parallel",                        "1xA claims retain=DR parallel", "0A! c0",    "own data-web-0 [StatefulSet]"),
    ]);
}

#[test]
#[rustfmt::skip]
fn extras() {
    check(&[
        ("a broken outdated pod goes",                   "3xA→B unstick",                 "0A 1A 2C!",   "delete 2!"),
        ("the lowest one only",                          "3xA→B unstick",                 "0A 1A! 2C!",  "delete 1!"),
        ("not one that is being updated",                "3xA→B unstick",                 "0A 1A 2B!",   "wait 2"),
        ("nor below the partition",                      "3xA→B unstick partition=2",     "0A 1A! 2B",   "wait 1"),
        ("nor under OnDelete",                           "3xA→B unstick ondelete",        "0A 1A! 2A",   "wait 1"),
        ("nor a terminating one",                        "3xA→B unstick",                 "0A 1A 2A!-",  "wait 2"),
        ("it comes back at the update",                  "3xA→B unstick noblock",         "1A 2A",       "create 0B"),
        ("a budget where the field is absent",           "4xA→B noblock budget=2",        "0A 1A 2A 3A", "delete 3, delete 2"),
        ("the field comes first",                        "4xA→B max=1 budget=2",          "0A 1A 2A 3A", "delete 3"),
        ("reserved ordinals are left out",               "3xA reserve=1,3-5",             "0A 2A",       "create 6A"),
        ("a pod on one is condemned",                    "2xA reserve=1",                 "0A 1A 2A",    "delete 1"),
        ("but not before the new top is there",          "2xA reserve=1",                 "0A 1A",       "create 2A"),
        ("the partition counts pods",                    "3xA→B reserve=1 partition=1",   "0A 2A 3A",    "delete 3"),
        ("and says what a lost pod comes back at",       "3xA→B reserve=1 partition=2",   "0A 3B",       "create 2A"),
        ("all at once",                                  "2xA manage=Parallel",           "",            "create 0A, create 1A"),
        ("one by one",                                   "2xA parallel manage=OrderedReady", "",         "create 0A"),
        ("nothing in between is understood",             "2xA manage=Burst",              "",            "create 0A"),
    ]);
}

#[test]
fn revisions() {
    #[rustfmt::skip]
    let cases = [
        ("the first revision precedes the first pod", "1xA",             "",      "",            "create revision 1A, create 0A"),
        ("a new template is recorded first",          "1xA→B",           "1A",    "0A",          "create revision 2B, delete 0"),
        ("a rollback raises the number",              "1xB→A",           "1A 2B", "0B",          "raise revision A to 3, delete 0"),
        ("history is trimmed",                        "1xD history=1",   "1A 2B 3C 4D", "0D",    "delete revision A, delete revision B"),
        ("live revisions stay",                       "2xC→D history=0", "1A 2B 3C 4D", "0A 1D", "delete 0, delete revision B"),
        ("of another release, but the same",          "1xA",             "1A*",   "",            "create 0?"),
    ];
    for (why, spec, revisions, pods, want) in cases {
        let mut observed = observed(pods);
        observed.revisions = history(revisions);
        assert_eq!(
            show(&plan(&set(spec), &observed, NOW)),
            want,
            "{why}: {spec} given [{revisions}] [{pods}]"
        );
    }
}

#[test]
fn a_name_too_long_for_a_label_is_reported_and_does_not_loop() {
    let mut set = set("2xA");
    set.key.name = "x".repeat(60);
    let it = plan(&set, &observed(""), NOW);
    assert_eq!(it.warnings.len(), 1);
    assert!(it.warnings[0].message.contains("longer than the 63 characters"), "{:?}", it.warnings);
    assert!(it.requeue_after.is_none());
}

#[test]
fn a_ready_pod_is_looked_at_again_when_it_becomes_available() {
    #[rustfmt::skip]
    let cases = [
        ("1xA minready=10", "0A4", Some(6)),
        ("2xA minready=10 parallel", "0A4 1A7", Some(3)),
        ("1xA minready=10", "0A", None),
        ("1xA minready=10", "0A!", None),
        ("1xA", "0A4", None),
    ];
    for (spec, pods, want) in cases {
        let (set, observed) = given(spec, pods);
        assert_eq!(
            plan(&set, &observed, NOW).requeue_after,
            want.map(Duration::from_secs),
            "{spec} [{pods}]"
        );
    }
}
