//! Section 8 of the behaviour in mode `verified`, and pending names of StatefulSets (section 10).

use super::*;

const VERIFIED: &str = "
    ns prod dev
    svc prod/web headless
    pod prod/a 10.0.0.1,fd00::1
    pod prod/host-1 192.168.0.1
    pod prod/host-2 192.168.0.1
    pod dev/b 10.0.0.2
    pod gone/c 10.0.0.3
";

#[test]
fn verified_names_are_those_of_pods() {
    Fixture::new("{pods: verified}", VERIFIED).expect(&[
        ("10-0-0-1.prod.pod A", "A 10.0.0.1"),
        ("10-0-0-1.prod.pod AAAA", "NODATA"),
        ("10-0-0-1.prod.pod TXT", "NODATA"),
        ("10-0-0-1.prod.pod ANY", "HINFO \"RFC8482\""),
        ("fd00--1.prod.pod AAAA", "AAAA fd00::1"),
        ("fd00--1.prod.pod A", "NODATA"),
        ("fd00-0-0-0-0-0-0-1.prod.pod AAAA", "AAAA fd00::1"),
        ("FD00-0--0001.prod.pod AAAA", "AAAA fd00::1"),
        ("192-168-0-1.prod.pod A", "A 192.168.0.1"),
        // Of another namespace, of no pod, of a namespace that does not exist.
        ("10-0-0-1.dev.pod A", "NXDOMAIN"),
        ("10-0-0-2.dev.pod A", "A 10.0.0.2"),
        ("10-0-0-9.prod.pod A", "NXDOMAIN"),
        ("10-0-0-3.gone.pod A", "NXDOMAIN"),
        ("010-0-0-1.prod.pod A", "NXDOMAIN"),
        ("a.prod.pod A", "NXDOMAIN"),
        ("x.10-0-0-1.prod.pod A", "NXDOMAIN"),
        // Empty non-terminals.
        ("pod A", "NODATA"),
        ("prod.pod A", "NODATA"),
        ("gone.pod A", "NXDOMAIN"),
        // Plain pods have no reverse name.
        ("1.0.0.10.in-addr.arpa. PTR", "NXDOMAIN"),
    ]);
}

#[test]
fn an_address_follows_its_pods() {
    let mut fixture = Fixture::new("{pods: verified}", VERIFIED);
    let serial = |fixture: &Fixture| fixture.index.view().serial();
    let pods = |fixture: &mut Fixture, event, now| fixture.feed(vec![Input::Pod(event)], now);
    pods(&mut fixture, Event::Removed(key("prod/host-1")), NOW + 1);
    fixture.expect(&[("192-168-0-1.prod.pod A", "A 192.168.0.1")]);
    pods(&mut fixture, Event::Removed(key("prod/host-2")), NOW + 2);
    fixture.expect(&[("192-168-0-1.prod.pod A", "NXDOMAIN")]);
    pods(&mut fixture, Event::Applied(pod("prod/a", "10.0.0.7,fd00::1")), NOW + 3);
    fixture.expect(&[
        ("10-0-0-1.prod.pod A", "NXDOMAIN"),
        ("10-0-0-7.prod.pod A", "A 10.0.0.7"),
        ("fd00--1.prod.pod AAAA", "AAAA fd00::1"),
    ]);
    assert_eq!(serial(&fixture), NOW + 3);
    pods(&mut fixture, Event::Applied(pod("prod/a", "10.0.0.7,fd00::1")), NOW + 4);
    assert_eq!(serial(&fixture), NOW + 3, "the same pod again changes no answer");
    fixture.feed(vec![Input::Namespace(Event::Removed(ObjectKey::new("", "prod")))], NOW + 5);
    fixture.expect(&[("10-0-0-7.prod.pod A", "NXDOMAIN")]);
}

#[test]
fn hidden_namespaces_have_no_pods() {
    Fixture::new("{pods: verified, namespaces: [dev]}", VERIFIED).expect(&[
        ("10-0-0-2.dev.pod A", "A 10.0.0.2"),
        ("10-0-0-1.prod.pod A", "NXDOMAIN"),
        ("prod.pod A", "NXDOMAIN"),
    ]);
}

#[test]
fn nothing_is_known_before_pods_are_listed() {
    let mut fixture = Fixture::unsynced("{pods: verified}");
    let without = inputs("ns prod").into_iter().filter(|it| !matches!(it, Input::Pod(_)));
    fixture.feed(without.collect(), NOW);
    fixture.expect(&[("10-0-0-1.prod.pod A", "SERVFAIL"), ("pod A", "NODATA")]);
    assert_eq!(fixture.cache.waiting_for().collect::<Vec<_>>(), ["Pods"]);
}

const SETS: &str = "
    ns prod
    svc prod/web headless http:80
    svc prod/api 10.96.0.10 http:80
    svc prod/ext -> www.example.com
    slice prod/web http:80 : 10.0.0.1=web-0
    set prod/web web 0+3
    set prod/more web 5+2
    set prod/api api 0+1
    set prod/ext ext 0+1
    set prod/none none 0+1
    set gone/db db 0+1
";

#[test]
fn names_inside_the_range_of_a_set_are_pending() {
    let fixture = Fixture::new("{pendingFromStatefulsets: true}", SETS);
    fixture.expect(&[
        ("web-0.web.prod.svc A", "A 10.0.0.1"),
        ("web-1.web.prod.svc A", "NXDOMAIN/1"),
        ("WEB-2.web.prod.svc SRV", "NXDOMAIN/1"),
        ("web-3.web.prod.svc A", "NXDOMAIN"),
        ("web-01.web.prod.svc A", "NXDOMAIN"),
        ("more-4.web.prod.svc A", "NXDOMAIN"),
        ("more-5.web.prod.svc A", "NXDOMAIN/1"),
        ("more-6.web.prod.svc A", "NXDOMAIN/1"),
        ("more-7.web.prod.svc A", "NXDOMAIN"),
        // Nothing becomes an empty non-terminal by it.
        ("x.web-1.web.prod.svc A", "NXDOMAIN"),
        ("web-1.prod.svc A", "NXDOMAIN"),
        ("api-0.api.prod.svc A", "NXDOMAIN/1"),
        ("web-1.api.prod.svc A", "NXDOMAIN"),
        // Nothing is ever below an alias; a service may still come, a namespace that is not exposed never tells.
        ("ext-0.ext.prod.svc A", "NXDOMAIN"),
        ("none-0.none.prod.svc A", "NXDOMAIN/1"),
        ("none.prod.svc A", "NXDOMAIN"),
        ("db-0.db.gone.svc A", "NXDOMAIN"),
    ]);
    Fixture::new("{}", SETS).expect(&[("web-1.web.prod.svc A", "NXDOMAIN")]);
    Fixture::new("{pendingFromStatefulsets: true, pendingTtl: 0}", SETS)
        .expect(&[("web-1.web.prod.svc A", "NXDOMAIN/0")]);
}

#[test]
fn pending_names_follow_the_scale_of_the_set() {
    let mut fixture = Fixture::new("{pendingFromStatefulsets: true}", "ns prod\nsvc prod/web headless");
    fixture.expect(&[("web-0.web.prod.svc A", "NXDOMAIN"), ("web.prod.svc A", "NXDOMAIN/1")]);
    let mut sets = |event, cases: &[(&str, &str)]| {
        fixture.feed(vec![Input::Set(event)], NOW);
        fixture.expect(cases);
    };
    sets(
        Event::Applied(set("prod/web", "web", "0+1")),
        &[("web-0.web.prod.svc A", "NXDOMAIN/1"), ("web-1.web.prod.svc A", "NXDOMAIN")],
    );
    sets(
        Event::Applied(set("prod/web", "web", "1+1")),
        &[("web-0.web.prod.svc A", "NXDOMAIN"), ("web-1.web.prod.svc A", "NXDOMAIN/1")],
    );
    sets(Event::Applied(set("prod/web", "other", "1+1")), &[("web-1.web.prod.svc A", "NXDOMAIN")]);
    sets(Event::Applied(set("prod/web", "web", "1+1")), &[("web-1.web.prod.svc A", "NXDOMAIN/1")]);
    sets(Event::Removed(key("prod/web")), &[("web-1.web.prod.svc A", "NXDOMAIN")]);
}
