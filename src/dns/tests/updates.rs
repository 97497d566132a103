//! Changes: sections 9 and 12 of the behaviour.

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
