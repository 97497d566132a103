//! Zonal names: the option `zonal` of section 14 of the behaviour.

use super::*;

const OBJECTS: &str = "
    ns prod
    svc prod/web headless http:80
    slice prod/web http:8080 : 10.0.0.1=web-0%us-a 10.0.0.2=web-1%US-B 10.0.0.3=web-2%us-b 10.0.0.4=web-3%us-c!
    slice prod/web http:8080 : fd00::1=web-0%us-a 
    svc prod/plain headless
    slice prod/plain http:8080 : 10.0.1.1%corp.example.com 10.0.1.2
    svc prod/down headless
    slice prod/down : 10.0.2.1=a%us-a!
    svc prod/api 10.96.0.10 http:80
    slice prod/api http:8080 : 10.0.3.1%us-a
    svc prod/ext -> a.example
";

#[test]
fn addresses() {
    Fixture::new("zonal: true", OBJECTS).expect(&[
        ("us-a.pin._zone.web.prod.svc A", "A 10.0.0.1"),
        ("us-a.pin._zone.web.prod.svc AAAA", "AAAA fd00::1"),
        ("US-B.Pin._ZONE.web.prod.svc A", "A 10.0.0.2 A 10.0.0.3"),
        ("us-b.prefer._zone.web.prod.svc A", "A 10.0.0.2 A 10.0.0.3"),
        // Only ready endpoints make a zone.
        ("us-c.pin._zone.web.prod.svc A", "NODATA"),
        ("us-c.prefer._zone.web.prod.svc A", "A 10.0.0.1 A 10.0.0.2 A 10.0.0.3"),
        ("nowhere.pin._zone.web.prod.svc A", "NODATA"),
        ("nowhere.pin._zone.web.prod.svc TXT", "NODATA"),
        ("us-b.pin._zone.web.prod.svc AAAA", "NODATA"),
        // The zone is there, so nothing falls back, whatever the family.
        ("us-b.prefer._zone.web.prod.svc AAAA", "NODATA"),
        ("nowhere.prefer._zone.web.prod.svc AAAA", "AAAA fd00::1"),
        ("us-a.pin._zone.web.prod.svc TXT", "NODATA"),
        // A topology zone may contain dots.
        ("corp.example.com.pin._zone.plain.prod.svc A", "A 10.0.1.1"),
        ("example.com.pin._zone.plain.prod.svc A", "NODATA"),
        ("us-a.pin._zone.plain.prod.svc A", "NODATA"),
        ("us-a.prefer._zone.plain.prod.svc A", "A 10.0.1.1 A 10.0.1.2"),
    ]);
}

#[test]
fn srv_records_are_those_of_the_endpoints_there() {
    let fixture = Fixture::new("zonal: true", OBJECTS);
    let all = "SRV 0 25 8080 web-0.web.prod.svc.Z SRV 0 25 8080 web-1.web.prod.svc.Z SRV 0 25 8080 web-2.web.prod.svc.Z \
               + web-0.web.prod.svc.Z A 10.0.0.1 web-0.web.prod.svc.Z AAAA fd00::1 web-1.web.prod.svc.Z A 10.0.0.2 \
               web-2.web.prod.svc.Z A 10.0.0.3";
    let there = "SRV 0 50 8080 web-1.web.prod.svc.Z SRV 0 50 8080 web-2.web.prod.svc.Z \
                 + web-1.web.prod.svc.Z A 10.0.0.2 web-2.web.prod.svc.Z A 10.0.0.3";
    fixture.expect(&[
        ("us-b.pin._zone.web.prod.svc SRV", there),
        ("us-b.prefer._zone.web.prod.svc SRV", there),
        ("us-z.prefer._zone.web.prod.svc SRV", all),
        ("us-z.pin._zone.web.prod.svc SRV", "NODATA"),
    ]);
}

#[test]
fn existence() {
    let fixture = Fixture::new("zonal: true", OBJECTS);
    fixture.expect(&[
        ("_zone.web.prod.svc A", "NODATA"),
        ("pin._zone.web.prod.svc SRV", "NODATA"),
        ("prefer._zone.web.prod.svc TXT", "NODATA"),
        ("us-a.florp._zone.web.prod.svc A", "NXDOMAIN"),
        ("florp._zone.web.prod.svc A", "NXDOMAIN"),
        ("us-a._zone.web.prod.svc A", "NXDOMAIN"),
        ("us-a.pin.zone.web.prod.svc A", "NXDOMAIN"),
        ("us-a.pin._zone.ghost.prod.svc A", "NXDOMAIN"),
        ("us-a.pin._zone.web.ghost.svc A", "NXDOMAIN"),
        ("us-a.pin._zone.web.prod.pod A", "NXDOMAIN"),
        // Headless services only.
        ("us-a.pin._zone.api.prod.svc A", "NXDOMAIN"),
        ("_zone.api.prod.svc A", "NXDOMAIN"),
        ("us-a.pin._zone.ext.prod.svc A", "NXDOMAIN"),
        // Nothing lies below a name that does not exist (RFC 8020).
        ("down.prod.svc A", "NXDOMAIN/1"),
        ("_zone.down.prod.svc A", "NXDOMAIN"),
        ("us-a.pin._zone.down.prod.svc A", "NXDOMAIN/1"),
        ("us-a.prefer._zone.down.prod.svc A", "NXDOMAIN/1"),
    ]);
    assert!(print(&fixture.ask("us-a.pin._zone.web.prod.svc ANY")).contains("HINFO"));
}

#[test]
fn without_the_option_nothing_of_it_exists() {
    Fixture::new("{}", OBJECTS).expect(&[
        ("us-a.pin._zone.web.prod.svc A", "NXDOMAIN"),
        ("pin._zone.web.prod.svc A", "NXDOMAIN"),
        ("_zone.web.prod.svc A", "NXDOMAIN"),
        ("web-0.web.prod.svc A", "A 10.0.0.1"),
    ]);
}

#[test]
fn a_move_to_another_zone_changes_the_answer_and_the_serial() {
    let mut fixture =
        Fixture::new("zonal: true", "ns prod\nsvc prod/web headless\nslice prod/web : 10.0.0.1=a%x");
    let moved = slice("prod/web", 2, &[":", "10.0.0.1=a%y"]);
    fixture.feed(vec![Input::Slice(Event::Applied(moved))], NOW + 7);
    fixture.expect(&[("x.pin._zone.web.prod.svc A", "NODATA"), ("y.pin._zone.web.prod.svc A", "A 10.0.0.1")]);
    assert_eq!(fixture.index.view().serial(), NOW + 7);
}
