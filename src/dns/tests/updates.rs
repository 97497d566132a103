//! Changes: sections 9 and 12 of the behaviour.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const OBJECTS: &str = "
    ns prod
    svc prod/web headless http:80
    slice prod/web http:80 : 10.0.0.1=web-0
    svc prod/api 10.96.0.10 http:80
";

fn serial(fixture: &Fixture) -> u32 {
    fixture.index.view().serial()
}

/// A slice named like the one of line `number` of the fixture.
fn changed(number: usize, endpoints: &[&str]) -> Input {
    let words: Vec<&str> = ["http:80", ":"].iter().chain(endpoints).copied().collect();
    Input::Slice(Event::Applied(slice("prod/web", number, &words)))
}

#[test]
fn forward_and_reverse_follow_a_slice() {
    let mut fixture = Fixture::new("{}", OBJECTS);
    fixture.feed(vec![changed(3, &["10.0.0.2=web-0", "10.0.0.3=web-1"])], NOW + 1);
    fixture.expect(&[
        ("web-0.web.prod.svc A", "A 10.0.0.2"),
        ("web-1.web.prod.svc A", "A 10.0.0.3"),
        ("1.0.0.10.in-addr.arpa. PTR", "NXDOMAIN"),
        ("2.0.0.10.in-addr.arpa. PTR", "PTR web-0.web.prod.svc.Z"),
    ]);
    fixture.feed(vec![Input::Slice(Event::Removed(key("prod/web-3")))], NOW + 2);
    fixture.expect(&[
        ("web-0.web.prod.svc A", "NXDOMAIN"),
        ("web.prod.svc A", "NXDOMAIN/1"),
        ("2.0.0.10.in-addr.arpa. PTR", "NXDOMAIN"),
        ("0.0.10.in-addr.arpa. PTR", "NXDOMAIN"),
        ("api.prod.svc A", "A 10.96.0.10"),
    ]);
}

#[test]
fn a_slice_that_moves_to_another_service_leaves_the_old_one() {
    let mut fixture = Fixture::new("{}", &format!("{OBJECTS}\nsvc prod/new headless"));
    let mut moved = slice("prod/new", 0, &[":", "10.0.0.1=web-0"]);
    moved.key = key("prod/web-3");
    fixture.feed(vec![Input::Slice(Event::Applied(moved))], NOW + 1);
    fixture.expect(&[("web-0.web.prod.svc A", "NXDOMAIN"), ("web-0.new.prod.svc A", "A 10.0.0.1")]);
}

#[test]
fn an_endpoint_that_moves_to_another_slice_never_vanishes() {
    let mut fixture = Fixture::new("{}", OBJECTS);
    let mut step = |at: u64, inputs: Vec<Input>, forward: &str, reverse: &str| {
        fixture.cache.clock(Duration::from_millis(at));
        fixture.feed(inputs, NOW + 1);
        fixture.expect(&[("web-0.web.prod.svc A", forward), ("1.0.0.10.in-addr.arpa. PTR", reverse)]);
        fixture.cache.deadline().map(|it| it.as_millis())
    };
    let (there, pointer) = ("A 10.0.0.1", "PTR web-0.web.prod.svc.Z");
    // Removed from one slice before it is added to another.
    assert_eq!(step(0, vec![changed(3, &[])], there, pointer), Some(50));
    assert_eq!(step(20, vec![changed(9, &["10.0.0.1=web-0"])], there, pointer), None);
    // Gone for good, and not before its time.
    let removed = || vec![Input::Slice(Event::Removed(key("prod/web-9")))];
    assert_eq!(step(100, removed(), there, pointer), Some(150));
    assert_eq!(step(149, vec![], there, pointer), Some(150));
    assert_eq!(step(150, vec![], "NXDOMAIN", "NXDOMAIN"), None);
    // Nothing of a deleted Service is kept.
    step(200, vec![changed(9, &["10.0.0.1=web-0"])], there, pointer);
    step(210, removed(), there, pointer);
    let gone = vec![Input::Service(Event::Removed(key("prod/web")))];
    assert_eq!(step(220, gone, "NXDOMAIN", "NXDOMAIN"), None);
}

#[test]
fn a_namespace_hides_and_shows_its_names() {
    let mut fixture = Fixture::new("{}", OBJECTS);
    fixture.feed(vec![Input::Namespace(Event::Removed(ObjectKey::new("", "prod")))], NOW + 1);
    fixture.expect(&[
        ("prod.svc A", "NXDOMAIN"),
        ("api.prod.svc A", "NXDOMAIN"),
        ("1.0.0.10.in-addr.arpa. PTR", "NXDOMAIN"),
    ]);
    fixture.feed(vec![Input::Namespace(Event::Applied("prod".to_string()))], NOW + 2);
    fixture.expect(&[("api.prod.svc A", "A 10.96.0.10")]);
}

#[test]
fn the_serial_is_the_time_of_the_last_changed_answer() {
    let mut fixture = Fixture::new("{}", OBJECTS);
    assert_eq!(serial(&fixture), NOW);
    fixture.feed(vec![changed(3, &["10.0.0.1=web-0"])], NOW + 5);
    assert_eq!(serial(&fixture), NOW, "the same slice again changes no answer");
    fixture.feed(inputs(OBJECTS), NOW + 6);
    assert_eq!(serial(&fixture), NOW, "nor does an equal list");
    fixture.feed(vec![changed(3, &["10.0.0.1=web-0", "10.0.0.2=web-1!"])], NOW + 7);
    assert_eq!(serial(&fixture), NOW + 7, "a pending name changes a negative TTL");
    fixture.feed(vec![changed(3, &["10.0.0.1=web-0", "10.0.0.2=web-1"])], NOW - 100);
    assert_eq!(serial(&fixture), NOW + 7, "a clock set back does not decrease it");
    fixture.feed(inputs("ns prod"), NOW + 8);
    assert_eq!(serial(&fixture), NOW + 8);
    fixture.expect(&[("api.prod.svc A", "NXDOMAIN")]);
}

#[test]
fn a_relist_shows_the_old_state_until_it_ends() {
    let mut fixture = Fixture::new("{}", OBJECTS);
    let services =
        inputs("svc prod/api 10.96.0.11 http:80").into_iter().filter(|it| matches!(it, Input::Service(_)));
    for input in services {
        let done = matches!(input, Input::Service(Event::ListEnd));
        fixture.feed(vec![input], NOW + 1);
        let want = if done { "A 10.96.0.11" } else { "A 10.96.0.10" };
        fixture.expect(&[("api.prod.svc A", want)]);
    }
    fixture.expect(&[("web.prod.svc A", "NXDOMAIN")]);
}

#[test]
fn triggers_are_reported_once() {
    let mut fixture = Fixture::new("{}", OBJECTS);
    let at: jiff::Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
    let mut stamped = slice("prod/web", 3, &["http:80", ":", "10.0.0.5=web-0"]);
    stamped.trigger_time = Some(at);
    fixture.cache.apply(Input::Slice(Event::Applied(stamped.clone())));
    let published = fixture.cache.publish(&fixture.index, NOW + 1);
    assert_eq!(published.triggers, [(crate::dns::cache::ServiceClass::HeadlessWithSelector, at)]);
    assert_eq!((published.services, published.whole), (1, false));
    fixture.cache.apply(Input::Slice(Event::Applied(stamped)));
    assert_eq!(fixture.cache.publish(&fixture.index, NOW + 2), crate::dns::cache::Published::default());
}

#[test]
fn a_query_sees_one_state_while_the_writer_goes_on() {
    let mut fixture = Fixture::new("{}", OBJECTS);
    let view = fixture.index.view();
    let owner: crate::dns::name::OwnerName = "web.prod".parse().unwrap();
    let key = &owner.as_name().wire()[..owner.as_name().wire().len() - 1];
    assert_eq!(view.service(key).unwrap().endpoint_v4().len(), 1);
    fixture.feed(vec![changed(3, &["10.0.0.2=web-0", "10.0.0.3=web-1"])], NOW + 1);
    assert_eq!(view.service(key).unwrap().endpoint_v4().len(), 1);
    assert_eq!(fixture.index.view().service(key).unwrap().endpoint_v4().len(), 2);
}

/// A random event: which service, which of its slices, and what becomes of it.
#[derive(Debug, Clone)]
enum Step {
    Slice { service: usize, number: usize, endpoints: Vec<String> },
    RemoveSlice { service: usize, number: usize },
    Service { service: usize, kind: usize },
    RemoveService { service: usize },
    Namespace { exists: bool },
}

fn step() -> impl Strategy<Value = Step> {
    // Few addresses and names, so that they collide within and across services.
    let hostname = prop_oneof![Just(""), Just("=a"), Just("=b"), Just("=10-0-0-2")];
    let endpoint = (1..5u8, hostname, prop_oneof![3 => Just(""), 1 => Just("!")])
        .prop_map(|(octet, hostname, ready)| format!("10.0.0.{octet}{hostname}{ready}"));
    let endpoints = proptest::collection::vec(endpoint, 0..4);
    let slice = |(service, number, endpoints)| Step::Slice { service, number, endpoints };
    prop_oneof![
        6 => (0..3usize, 0..3usize, endpoints).prop_map(slice),
        1 => (0..3usize, 0..3usize).prop_map(|(service, number)| Step::RemoveSlice { service, number }),
        3 => (0..3usize, 0..3usize).prop_map(|(service, kind)| Step::Service { service, kind }),
        1 => (0..3usize).prop_map(|service| Step::RemoveService { service }),
        1 => any::<bool>().prop_map(|exists| Step::Namespace { exists }),
    ]
}

const NAMES: [&str; 3] = ["one/s", "two/s", "two/t"];

fn input(step: &Step) -> Input {
    match step {
        Step::Slice { service, number, endpoints } => {
            let words: Vec<&str> =
                ["http:80", ":"].into_iter().chain(endpoints.iter().map(String::as_str)).collect();
            Input::Slice(Event::Applied(slice(NAMES[*service], *number, &words)))
        }
        Step::RemoveSlice { service, number } => {
            Input::Slice(Event::Removed(key(&format!("{}-{number}", NAMES[*service]))))
        }
        Step::Service { service, kind } => {
            let kind = match kind {
                0 => ServiceKind::Headless,
                // May equal an endpoint's address.
                1 => ServiceKind::ClusterIp(vec!["10.0.0.4".parse().unwrap()]),
                _ => ServiceKind::ExternalName("s.one.svc.cluster.local".to_string()),
            };
            Input::Service(Event::Applied(super::service(NAMES[*service], kind, &["http:80"])))
        }
        Step::RemoveService { service } => Input::Service(Event::Removed(key(NAMES[*service]))),
        Step::Namespace { exists: true } => Input::Namespace(Event::Applied("two".to_string())),
        Step::Namespace { exists: false } => Input::Namespace(Event::Removed(ObjectKey::new("", "two"))),
    }
}

/// The reply to every question about the names and addresses that steps can touch.
fn everything(fixture: &Fixture) -> Vec<String> {
    let mut questions: Vec<String> = (1..5).map(|it| format!("{it}.0.0.10.in-addr.arpa. PTR")).collect();
    questions.extend(["0.0.10.in-addr.arpa. TXT", "two.svc A"].map(String::from));
    for service in ["s.one", "s.two", "t.two"] {
        for label in ["", "a.", "b.", "10-0-0-1.", "10-0-0-2.", "_http._tcp.", "_tcp."] {
            questions.extend(["A", "SRV"].map(|it| format!("{label}{service}.svc {it}")));
        }
    }
    questions.iter().map(|it| format!("{it}: {}", print(&fixture.ask(it)))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn single_changes_end_where_a_full_list_would(steps in proptest::collection::vec(step(), 0..25)) {
        let start = "ns one two";
        let mut single = Fixture::new("{}", start);
        let mut whole = Fixture::new("{}", start);
        for it in &steps {
            single.feed(vec![input(it)], NOW);
            whole.cache.apply(input(it));
        }
        // An equal list of one kind makes the cache publish everything it knows as one whole.
        whole.cache.apply(Input::Namespace(Event::ListStart));
        let exists = steps.iter().rev().find_map(|it| if let Step::Namespace { exists } = it { Some(*exists) } else { None });
        let namespaces: &[&str] = if exists.unwrap_or(true) { &["one", "two"] } else { &["one"] };
        for name in namespaces {
            whole.cache.apply(Input::Namespace(Event::Listed((*name).to_string())));
        }
        whole.feed(vec![Input::Namespace(Event::ListEnd)], NOW);
        prop_assert_eq!(everything(&single), everything(&whole));
    }

    #[test]
    fn every_pointer_resolves_to_its_address(steps in proptest::collection::vec(step(), 0..25)) {
        let mut fixture = Fixture::new("{}", "ns one two");
        for it in &steps {
            fixture.feed(vec![input(it)], NOW);
            for octet in 1..5 {
                let reply = fixture.ask(&format!("{octet}.0.0.10.in-addr.arpa. PTR"));
                for pointer in &reply.answers {
                    let RData::PTR(target) = &pointer.data else { panic!("{pointer}") };
                    let forward = print(&fixture.ask(&format!("{target} A")));
                    prop_assert!(forward.contains(&format!("A 10.0.0.{octet}")), "{pointer}: {forward}");
                }
            }
        }
    }
}
