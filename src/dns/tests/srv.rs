//! SRV records: section 5 of the behaviour.

use super::*;

const OBJECTS: &str = "
    ns prod
    svc prod/web headless http:80
    slice prod/web http:8080 peer:9000/udp : 10.0.0.1=web-0 10.0.0.2=web-1 10.0.0.3=web-2!
    slice prod/web http:8080 peer:9000/udp : fd00::1=web-0
    svc prod/api 10.96.0.10,fd00::10 http:80 :81 dns:53/udp dns-tcp:53
    slice prod/api http:8080 : 10.0.1.1
    svc prod/split headless http:80
    slice prod/split http:8080 : 10.0.2.1=a
    slice prod/split http:9090 : 10.0.2.2=b
    slice prod/split old:70 : 10.0.2.3=c!
    slice prod/split http:9091 : fd00::2=b
";

#[test]
fn cluster_ip_services() {
    let extra = "+ api.prod.svc.Z A 10.96.0.10 api.prod.svc.Z AAAA fd00::10";
    let fixture = Fixture::new("{}", OBJECTS);
    fixture.expect(&[
        ("_http._tcp.api.prod.svc SRV", &format!("SRV 0 50 80 api.prod.svc.Z {extra}")),
        ("_HTTP._TCP.api.prod.svc SRV", &format!("SRV 0 50 80 api.prod.svc.Z {extra}")),
        ("_dns._udp.api.prod.svc SRV", &format!("SRV 0 50 53 api.prod.svc.Z {extra}")),
        ("_dns._tcp.api.prod.svc SRV", "NXDOMAIN"),
        ("__tcp.api.prod.svc SRV", "NXDOMAIN"),
        ("_._tcp.api.prod.svc SRV", "NXDOMAIN"),
        // Port 53 of both protocols is one record; the weight counts four ports at two addresses.
        ("10-0-1-1.api.prod.svc SRV", "SRV 0 100 8080 10-0-1-1.api.prod.svc.Z + A 10.0.1.1"),
    ]);
    let bare = fixture.ask("api.prod.svc SRV");
    let want = "SRV 0 12 53 api.prod.svc.Z SRV 0 12 80 api.prod.svc.Z SRV 0 12 81 api.prod.svc.Z + A 10.96.0.10 AAAA fd00::10";
    assert_eq!(print(&bare), want);
}

#[test]
fn headless_services() {
    let extra =
        "+ web-0.web.prod.svc.Z A 10.0.0.1 web-0.web.prod.svc.Z AAAA fd00::1 web-1.web.prod.svc.Z A 10.0.0.2";
    Fixture::new("{}", OBJECTS).expect(&[
        (
            "_http._tcp.web.prod.svc SRV",
            &format!("SRV 0 33 8080 web-0.web.prod.svc.Z SRV 0 33 8080 web-1.web.prod.svc.Z {extra}"),
        ),
        (
            "_peer._udp.web.prod.svc SRV",
            &format!("SRV 0 33 9000 web-0.web.prod.svc.Z SRV 0 33 9000 web-1.web.prod.svc.Z {extra}"),
        ),
        (
            "web.prod.svc SRV",
            &format!(
                "SRV 0 16 8080 web-0.web.prod.svc.Z SRV 0 16 9000 web-0.web.prod.svc.Z \
                 SRV 0 16 8080 web-1.web.prod.svc.Z SRV 0 16 9000 web-1.web.prod.svc.Z {extra}"
            ),
        ),
        (
            "web-1.web.prod.svc SRV",
            "SRV 0 50 8080 web-1.web.prod.svc.Z SRV 0 50 9000 web-1.web.prod.svc.Z + A 10.0.0.2",
        ),
        ("_http._udp.web.prod.svc SRV", "NXDOMAIN"),
    ]);
}

#[test]
fn ports_belong_to_the_endpoints_of_their_slice() {
    let fixture = Fixture::new("{}", OBJECTS);
    let reply = fixture.ask("_http._tcp.split.prod.svc SRV");
    let got: Vec<String> = reply.answers.iter().map(|it| record(it, &reply)).collect();
    let want = [
        "SRV 0 20 8080 a.split.prod.svc.Z",
        "SRV 0 20 9090 b.split.prod.svc.Z",
        "SRV 0 20 9091 b.split.prod.svc.Z",
    ];
    assert_eq!(got, want);
    fixture.expect(&[
        ("_old._tcp.split.prod.svc SRV", "NXDOMAIN"),
        ("a.split.prod.svc SRV", "SRV 0 100 8080 a.split.prod.svc.Z + A 10.0.2.1"),
    ]);
}

#[test]
fn targets_are_not_compressed_and_lower_case() {
    let fixture = Fixture::new("{}", OBJECTS);
    let packet = query("_HTTP._tcp.WEB.prod.svc SRV").to_vec().unwrap();
    let reply =
        respond(&packet, Transport::Tcp, &fixture.index.view(), &fixture.zones, 0, everybody).here().unwrap();
    let target = b"\x05web-0\x03web\x04prod\x03svc\x07cluster\x05local\0";
    assert!(reply.octets.windows(target.len()).any(|it| it == target), "RFC 2782: whole names in rdata");
}
