//! Tables of (objects, question, explanation), and that explanations agree with replies.

use super::*;
use crate::dns::explain::http::question;
use crate::dns::explain::{Explanation, Facts, MAX_RECORDS, MAX_SOURCES, explain};
use crate::dns::freshness::Freshness;
use crate::k8s::watched::Watched;

const OBJECTS: &str = "
    ns prod dev
    svc prod/web headless http:80 dns:53/udp
    slice prod/web http:8080 dns:53/udp : 10.0.0.1=web-0@web-0 10.0.0.2=web-1@web-1! 10.0.0.3@web-x 10.0.0.4
    slice prod/web http:8080 : 10.0.0.1=web-0@web-0 10.0.0.9=web-0@other
    slice prod/web admin:9000 : 10.0.0.5=late-0!
    svc prod/api 10.96.0.10,fd00::a http:80 :443
    slice prod/api http:8080 : 10.0.0.1@web-0
    svc prod/empty headless http:80
    svc prod/waiting headless http:80
    slice prod/waiting http:80 : 10.0.1.1=a-0@a-0! 10.0.1.2=a-1@a-1!
    svc prod/drained headless http:80
    slice prod/drained http:80 :
    svc prod/shop -> www.example.com.
    svc prod/inner -> api.prod.svc.cluster.local
    svc prod/lost -> gone.prod.svc.cluster.local
    svc prod/loop -> loop.prod.svc.cluster.local
    svc prod/literal -> 192.0.2.1
    svc prod/odd -> not_a_name!
    slice prod/orphan http:80 : 10.0.2.1=o-0
    svc kept/web 10.96.9.9 http:80
";

impl Fixture {
    fn explain(&self, asked: &str) -> Explanation {
        let (name, rr_type) = asked.split_once(' ').expect(asked);
        let name = if name.ends_with('.') { name.to_string() } else { format!("{name}.cluster.local.") };
        let (name, rr_type) = question(&name, rr_type).unwrap();
        let facts = Facts {
            view: &self.index.view(),
            cache: &self.cache,
            zones: &self.zones,
            config: &self.config,
            now: NOW + 60,
        };
        explain(&facts, name.as_name(), rr_type)
    }
}

/// `missing label: reasons`, or the reasons alone.
fn why(explanation: &Explanation) -> String {
    let reasons = explanation.reasons.join("; ");
    explanation.missing.as_ref().map_or(reasons.clone(), |it| format!("{it}: {reasons}"))
}

#[test]
fn missing_names() {
    let fixture = Fixture::new("{}", OBJECTS);
    #[rustfmt::skip]
    let cases = [
        // From the right: zone, namespace, service, endpoint or port.
        ("web.prod A", "prod: below cluster.local. there are only svc, pod, dns and dns-version, and prod is none of them; \
            names of Service web end in web.prod.svc.cluster.local."),
        ("x.dns A", "x: ns.dns.cluster.local. is the only name below dns.cluster.local."),
        ("x.dns-version TXT", "x: nothing lies below dns-version.cluster.local."),
        ("web.pord.svc A", "pord: namespace pord does not exist"),
        ("web.*.svc A", "*: namespace * does not exist; there are no wildcards, this is an ordinary label"),
        ("prod.web.svc A", "web: namespace web does not exist; there is a Service web in namespace prod: the service stands \
            before the namespace"),
        ("web.kept.svc A", "kept: namespace kept does not exist"),
        ("wbe.prod.svc A", "wbe: service wbe does not exist in namespace prod"),
        ("any.prod.svc A", "any: service any does not exist in namespace prod; there are no wildcards, this is an ordinary label"),
        ("www.example.com.prod.svc A", "com: service com does not exist in namespace prod"),
        ("orphan.prod.svc A", "orphan: service orphan does not exist in namespace prod; EndpointSlice orphan-19 names this \
            Service, but slices alone have no records"),
        ("web-0.prod.svc A", "web-0: service web-0 does not exist in namespace prod; web-0 is an endpoint of Service web: its \
            names end in web.prod.svc.cluster.local."),
        // Services without ready endpoints.
        ("empty.prod.svc A", "empty: service empty exists in namespace prod but is headless and has no ready endpoint: it has no \
            EndpointSlice"),
        ("drained.prod.svc A", "drained: service drained exists in namespace prod but is headless and has no ready endpoint: its \
            EndpointSlices are empty"),
        ("waiting.prod.svc SRV", "waiting: service waiting exists in namespace prod but is headless and has no ready endpoint: \
            a-0 is not ready (slice waiting-10, pod a-0, ready=false), a-1 is not ready (slice waiting-10, pod a-1, ready=false)"),
        ("a-0.waiting.prod.svc A", "waiting: a-0 is not ready (slice waiting-10, pod a-0, ready=false)"),
        ("a-7.waiting.prod.svc A", "waiting: no endpoint of service waiting in namespace prod is called a-7; it has no ready \
            endpoint: a-0 is not ready (slice waiting-10, pod a-0, ready=false), a-1 is not ready (slice waiting-10, pod a-1, \
            ready=false)"),
        ("_http._tcp.waiting.prod.svc SRV", "waiting: service waiting in namespace prod has a port called http (slice \
            waiting-10), but it has no ready endpoint: a-0 is not ready (slice waiting-10, pod a-0, ready=false), a-1 is not \
            ready (slice waiting-10, pod a-1, ready=false)"),
        // Endpoint names.
        ("web-1.web.prod.svc A", "web-1: web-1 is not ready (slice web-3, pod web-1, ready=false)"),
        ("web-7.web.prod.svc A", "web-7: no endpoint of service web in namespace prod is called web-7; ready endpoints: \
            10-0-0-3, 10-0-0-4, web-0"),
        ("10-0-0-1.web.prod.svc A", "10-0-0-1: no endpoint of service web in namespace prod is called 10-0-0-1; the endpoint of \
            address 10.0.0.1 (slice web-3) is called web-0; the endpoint of address 10.0.0.1 (slice web-4) is called web-0"),
        ("web-x.web.prod.svc A", "web-x: no endpoint of service web in namespace prod is called web-x; the endpoint of pod web-x \
            (slice web-3) is called 10-0-0-3; pod names are published with option endpoint-names: pod-name or both"),
        ("http.web.prod.svc A", "http: no endpoint of service web in namespace prod is called http; for the port ask for \
            _http._<protocol>; ready endpoints: 10-0-0-3, 10-0-0-4, web-0"),
        ("*.web.prod.svc A", "*: no endpoint of service web in namespace prod is called *; there are no wildcards, this is an \
            ordinary label; ready endpoints: 10-0-0-3, 10-0-0-4, web-0"),
        ("x.web-0.web.prod.svc A", "x: nothing lies below the endpoint name web-0"),
        ("_http._tcp.web-0.web.prod.svc SRV", "_tcp: nothing lies below the endpoint name web-0"),
        ("a.b.c.web.prod.svc A", "c: service web exists in namespace prod but at most two labels can stand left of it: \
            _<port>._<protocol>"),
        // Ports.
        ("_http._udp.web.prod.svc SRV", "_http: service web in namespace prod has a port called http but not with protocol udp; \
            it has _dns._udp (53), _http._tcp (8080)"),
        ("_smtp._tcp.web.prod.svc SRV", "_smtp: service web in namespace prod has no port called smtp; it has _dns._udp (53), \
            _http._tcp (8080)"),
        ("_admin._tcp.web.prod.svc SRV", "_admin: service web in namespace prod has a port called admin (slice web-5), but it has \
            no ready endpoint: web-1 is not ready (slice web-3, pod web-1, ready=false), late-0 is not ready (slice web-5, \
            ready=false)"),
        ("_tcp._http.api.prod.svc SRV", "_http: the port stands before the protocol: _http._tcp"),
        ("http.tcp.api.prod.svc SRV", "tcp: port and protocol need underscores: _http._tcp"),
        ("_http.tcp.api.prod.svc SRV", "tcp: port and protocol need underscores: _http._tcp"),
        ("_80._tcp.api.prod.svc SRV", "_80: ports are asked for by name: port 80 is called http"),
        ("_http._icmp.api.prod.svc SRV", "_icmp: _http._icmp is no _<port>._<protocol> with protocol tcp, udp or sctp, and \
            endpoint names are one label"),
        ("_udp.api.prod.svc SRV", "_udp: service api in namespace prod has no named port with protocol udp; it has _http._tcp (80)"),
        ("_http.api.prod.svc SRV", "_http: port labels come in pairs, such as _http._tcp; it has _http._tcp (80)"),
        // ExternalName.
        ("literal.prod.svc A", "literal: service literal exists in namespace prod but its externalName \"192.0.2.1\" is an \
            address, which no CNAME record can hold"),
        ("odd.prod.svc A", "odd: service odd exists in namespace prod but its externalName \"not_a_name!\" is no domain name"),
        ("x.shop.prod.svc A", "x: service shop exists in namespace prod but is of type ExternalName, and nothing lies below such \
            a name"),
        ("lost.prod.svc A", "gone: service gone does not exist in namespace prod"),
        // Pod records and addresses.
        ("10-0-0-1.prod.pod A", "prod: pod records are disabled (option pods)"),
        ("2.0.0.10.in-addr.arpa. PTR", "2: 10.0.0.2 is neither a clusterIP nor the address of a ready endpoint of any service; \
            web-1 is not ready (slice web-3, pod web-1, ready=false) of service web in namespace prod"),
        ("1.2.0.10.in-addr.arpa. PTR", "2: 10.0.2.1 is neither a clusterIP nor the address of a ready endpoint of any service; \
            slice orphan-19 in namespace prod has it, but there is no Service orphan"),
        ("9.9.96.10.in-addr.arpa. PTR", "9: 10.96.9.9 is neither a clusterIP nor the address of a ready endpoint of any service"),
        ("168.192.in-addr.arpa. PTR", "192: no address from 192.168.0.0 to 192.168.255.255 has a PTR record"),
        ("x.in-addr.arpa. PTR", "x: x.in-addr.arpa. is no address: names in in-addr.arpa. are four decimal labels of in-addr.arpa \
            or 32 hexadecimal digits of ip6.arpa"),
    ];
    for (question, want) in cases {
        let explanation = fixture.explain(question);
        assert_eq!(why(&explanation), want, "{question}");
        assert_eq!(explanation.rcode.as_deref(), Some("NXDOMAIN"), "{question}");
        assert!(print(&fixture.ask(question)).contains("NXDOMAIN"), "{question}");
    }
}

#[test]
fn other_answers_without_records() {
    let fixture = Fixture::new("{}", OBJECTS);
    #[rustfmt::skip]
    let cases = [
        ("web.prod.svc AAAA", "NOERROR", "the name exists but has no AAAA record; it has A, SRV"),
        ("api.prod.svc TXT", "NOERROR", "the name exists but has no TXT record; it has A, AAAA, SRV"),
        ("prod.svc A", "NOERROR", "the name exists only because names below it can exist (empty non-terminal); it has no records of any type"),
        ("shop.prod.svc A", "NOERROR", "www.example.com. is outside of the served zones and there is no upstream: the resolver follows it"),
        ("shop.prod.svc CNAME", "NOERROR", ""),
        ("loop.prod.svc A", "NOERROR", "the CNAME records form a loop"),
        ("www.example.com. A", "REFUSED", "www.example.com. is outside of the served zones (cluster.local, in-addr.arpa, ip6.arpa) \
            and there is no upstream, so it is refused"),
        ("prod.svc ANY", "NOERROR", "ANY is answered with one HINFO record (RFC 8482); ask for a type"),
        ("web.prod.svc AXFR", "REFUSED", "AXFR asks for a whole zone, not for records of a name; transfers are for the addresses \
            of the option transfer.to"),
    ];
    for (question, rcode, want) in cases {
        let explanation = fixture.explain(question);
        assert_eq!(
            (why(&explanation).as_str(), explanation.rcode.as_deref()),
            (want, Some(rcode)),
            "{question}"
        );
    }
}

#[test]
fn options_that_keep_names_out() {
    #[rustfmt::skip]
    let cases = [
        ("namespaces: [prod]", "web.dev.svc A", "dev: namespace dev does not exist or is not exposed (option namespaces)"),
        ("namespaces: [prod]", "web.no-such.svc A", "no-such: namespace no-such does not exist or is not exposed (option namespaces)"),
        ("hideEmptyServices: true", "lone.prod.svc A", "lone: service lone exists in namespace prod but has no ready endpoint: it \
            has no EndpointSlice and is hidden (option hide-empty-services)"),
        ("endpoints: false", "web.prod.svc A", "web: service web exists in namespace prod but is headless and has no ready \
            endpoint: EndpointSlices are not watched (option endpoints)"),
        ("endpointNames: pod-name", "web-0.both.prod.svc A", "web-0: no endpoint of service both in namespace prod is called web-0; \
            the endpoint of pod web-0 (slice both-4) is called named"),
        ("pods: insecure", "ten-0-0-1.prod.pod A", "ten-0-0-1: ten-0-0-1 is no address; a pod record is named by the address with \
            - for . or :, such as 10-1-2-3"),
        ("pods: insecure", "x.10-0-0-1.prod.pod A", "x: nothing lies below the pod record 10-0-0-1.prod.pod"),
        ("pods: insecure", "10-0-0-1.no.pod A", "no: namespace no does not exist"),
        ("pods: insecure", "10-0-0-1.prod.pod A", "the address is that of the name: no pod is looked at (option pods: insecure)"),
        ("ptr: hostname-only", "7.0.0.10.in-addr.arpa. PTR", "7: the endpoint of web.prod with 10.0.0.7 has no hostname (option \
            ptr: hostname-only)"),
        ("{}", "zone-a.pin._zone.web.prod.svc A", "_zone: zonal names are switched off (option zonal)"),
        ("zonal: true", "zone-a.pin._zone.lone.prod.svc A", "_zone: service lone exists in namespace prod but is not headless, and \
            zonal names are those of headless Services"),
        ("zonal: true", "zone-a.best._zone.web.prod.svc A", "best: zonal names are <topology zone>.pin._zone or <topology \
            zone>.prefer._zone"),
        ("zonal: true", "zone.a.pin._zone.web.prod.svc A", "no ready endpoint of service web in namespace prod is in topology zone \
            zone.a; prefer in place of pin answers with all of them"),
        ("pods: verified", "10-0-0-9.prod.pod A", "10-0-0-9: no running pod of namespace prod has the address 10.0.0.9 (option pods: \
            verified)"),
        ("pendingFromStatefulsets: true", "web-1.web.prod.svc A", "web-1: no endpoint of service web in namespace prod is called \
            web-1; a StatefulSet will bring web-1 (option pending-from-statefulsets); ready endpoints: 10-0-0-7"),
        ("pendingFromStatefulsets: true", "late-0.late.prod.svc A", "late: service late does not exist in namespace prod; a \
            StatefulSet will bring late-0 (option pending-from-statefulsets)"),
        ("selector: team=db", "none.prod.svc A", "none: service none does not exist in namespace prod, or its labels do not match \
            (option selector)"),
        ("selector: team=db", "web.dev.svc A", "web: service web exists in namespace dev but is headless and has no ready endpoint: \
            it has no EndpointSlice with matching labels (option selector)"),
        ("upstream: [192.0.2.1]", "www.example.com. A", "www.example.com. is outside of the served zones (cluster.local, \
            in-addr.arpa, ip6.arpa) so the upstream servers are asked"),
        ("{upstream: [192.0.2.1], fallthrough: [cluster.local]}", "x.prod.svc A", "x: service x does not exist in namespace prod; \
            so the upstream servers are asked (option fallthrough)"),
    ];
    for (config, question, want) in cases {
        let objects = "
            ns prod dev
            svc prod/lone 10.96.0.1 http:80
            svc prod/both headless
            slice prod/both http:80 : 10.0.0.8=named@web-0
            svc prod/web headless http:80
            slice prod/web http:80 : 10.0.0.7@pod-7
            svc dev/web headless http:80
            pod prod/pod-7 10.0.0.7
            set prod/web web 0+3
            set prod/late late 0+1";
        let objects = if config.contains("endpoints: false") {
            objects.lines().filter(|it| !it.contains("slice ")).collect::<Vec<_>>().join("\n")
        } else {
            objects.to_owned()
        };
        assert_eq!(why(&Fixture::new(config, &objects).explain(question)), want, "{config}: {question}");
    }
}

#[test]
fn nothing_is_known_before_the_first_lists() {
    let explanation = Fixture::unsynced("{}").explain("web.prod.svc A");
    assert_eq!(explanation.rcode.as_deref(), Some("SERVFAIL"));
    assert_eq!(explanation.missing, None);
    let want = "not synced: the first full lists have not arrived (Namespaces, Services, EndpointSlices)";
    assert_eq!(explanation.reasons, [want]);
}

/// `service slice pod hostname address age` of each source, `-` for what is absent.
fn sources(explanation: &Explanation) -> Vec<Vec<String>> {
    let or_dash = |it: &Option<String>| it.clone().unwrap_or_else(|| "-".into());
    let shown = explanation.records.iter().map(|record| {
        let shown = record.sources.iter().map(|it| {
            let address = it.address.map(|it| it.to_string());
            let age = it.age_seconds.map(|it| it.to_string());
            let words =
                [it.service.clone(), it.slice.clone(), it.pod.clone(), it.hostname.clone(), address, age];
            words.map(|it| or_dash(&it)).join(" ")
        });
        shown.collect()
    });
    shown.collect()
}

#[test]
fn records_name_their_objects() {
    let fixture = Fixture::new("{}", OBJECTS);
    let (one, again) = ("prod/web web-3 web-0 web-0 10.0.0.1 60", "prod/web web-4 web-0 web-0 10.0.0.1 60");
    let shared = "prod/web web-4 other web-0 10.0.0.9 60";
    let (unnamed, bare) = ("prod/web web-3 web-x - 10.0.0.3 60", "prod/web web-3 - - 10.0.0.4 60");
    let service = "prod/api - - - - 60";
    #[rustfmt::skip]
    let cases: [(&str, &[&[&str]]); 9] = [
        ("web-0.web.prod.svc A", &[&[one, again], &[shared]]),
        ("web.prod.svc A", &[&[one, again], &[unnamed], &[bare], &[shared]]),
        ("_dns._udp.web.prod.svc SRV", &[&[unnamed], &[bare], &[one]]),
        ("api.prod.svc A", &[&[service]]),
        ("_http._tcp.api.prod.svc SRV", &[&[service]]),
        ("10-0-0-1.api.prod.svc A", &[&["prod/api api-7 web-0 - 10.0.0.1 60"]]),
        ("1.0.0.10.in-addr.arpa. PTR", &[&[one, again], &["prod/api api-7 web-0 - 10.0.0.1 60"]]),
        ("10.0.96.10.in-addr.arpa. PTR", &[&[service]]),
        ("inner.prod.svc A", &[&["prod/inner - - - - 60"], &[service]]),
    ];
    for (question, want) in cases {
        assert_eq!(sources(&fixture.explain(question)), want, "{question}");
    }
}

#[test]
fn what_is_left_out_is_told() {
    let mut fixture = Fixture::new("{}", "ns prod\nsvc prod/web headless http:80\nsvc prod/db headless");
    let slice = |name: &str, service: &str, kind: &str, endpoints: &str| {
        let text = format!(
            r#"{{"metadata": {{"namespace": "prod", "name": "{name}", "labels": {{"kubernetes.io/service-name": "{service}"}}}},
                "addressType": "{kind}", "endpoints": {endpoints}, "ports": [{{"name": "http"}}]}}"#
        );
        let read: Watched<Slice> = serde_json::from_str(&text).unwrap();
        Input::Slice(Event::Applied(read.view.value.unwrap()))
    };
    let mixed = r#"[{"addresses": ["10.0.0.1"], "hostname": "web-0"}, {"addresses": ["fd00::1"], "hostname": "web-1"},
        {"addresses": ["10.0.0.3"], "hostname": "web-2", "conditions": {"ready": false, "serving": true, "terminating": true}}]"#;
    let inputs = vec![
        slice("db-x", "db", "FQDN", r#"[{"addresses": ["db.example.com"]}]"#),
        slice("web-x", "web", "IPv4", mixed),
    ];
    fixture.feed(inputs, NOW);
    for (question, want) in [
        (
            "db.prod.svc A",
            "db: service db exists in namespace prod but is headless and has no ready endpoint: its EndpointSlices are empty; \
             left out of slice db-x: FQDN: slices of this address type have no meaning for DNS",
        ),
        (
            "web.prod.svc A",
            "web-2 is not ready (slice web-x, ready=false, serving=true, terminating=true); left out of slice web-x: http: a \
             port without a number has no SRV record; left out of slice web-x: fd00::1: not an address of the slice's family",
        ),
        (
            "_http._tcp.web.prod.svc SRV",
            "_tcp: service web in namespace prod has no port called http; it has no named ports; left out of slice web-x: http: \
             a port without a number has no SRV record; left out of slice web-x: fd00::1: not an address of the slice's family",
        ),
        ("web-0.web.prod.svc A", ""),
    ] {
        assert_eq!(why(&fixture.explain(question)), want, "{question}");
    }
}

#[test]
fn what_others_answer_is_left_open() {
    let config = "{upstream: [192.0.2.1], fallthrough: [cluster.local]}";
    let fixture = Fixture::new(config, "ns prod\nsvc prod/shop -> www.example.com\nsvc prod/web 10.96.0.1");
    for (question, records, open) in [
        ("www.example.com. A", 0, true),
        ("shop.prod.svc A", 1, true),
        ("shop.prod.svc CNAME", 1, false),
        ("nothing.prod.svc A", 0, true),
        ("web.prod.svc A", 1, false),
        ("web.prod.svc TXT", 0, false),
    ] {
        let explanation = fixture.explain(question);
        assert_eq!((explanation.records.len(), explanation.rcode.is_none()), (records, open), "{question}");
    }
}

#[test]
fn stale_data_are_said_to_be_stale() {
    let fixture = Fixture::new("{}", "ns prod\nsvc prod/web 10.96.0.1");
    for (freshness, rcode, want) in [
        (Freshness::Fresh, "NOERROR", ""),
        (Freshness::Stale, "NOERROR", "a watch is lost, so this may be out of date (option stale-after)"),
        (Freshness::TooStale, "SERVFAIL", "a watch is lost for too long (option max-stale)"),
    ] {
        fixture.index.set_freshness(freshness);
        let explanation = fixture.explain("web.prod.svc A");
        assert_eq!((why(&explanation).as_str(), explanation.rcode.as_deref()), (want, Some(rcode)));
    }
}

#[test]
fn verified_pod_records_name_the_pod() {
    let fixture =
        Fixture::new("pods: verified", "ns prod\npod prod/web-0 10.0.0.1,fd00::1\npod prod/web-1 10.0.0.2");
    assert_eq!(sources(&fixture.explain("10-0-0-1.prod.pod A")), [["- - web-0 - 10.0.0.1 -"]]);
}

#[test]
fn explanations_agree_with_replies() {
    for config in
        ["{}", "endpointNames: both", "endpointNames: pod-name", "ptr: hostname-only", "pods: insecure"]
    {
        let fixture = Fixture::new(config, OBJECTS);
        for owner in [
            "",
            "svc",
            "pod",
            "dns",
            "ns.dns",
            "dns-version",
            "prod.svc",
            "web.prod.svc",
            "web-0.web.prod.svc",
            "web-x.web.prod.svc",
            "_http._tcp.web.prod.svc",
            "_tcp.web.prod.svc",
            "api.prod.svc",
            "10-0-0-1.api.prod.svc",
            "_http._tcp.api.prod.svc",
            "inner.prod.svc",
            "lost.prod.svc",
            "loop.prod.svc",
            "shop.prod.svc",
            "10-0-0-1.prod.pod",
            "nothing.prod.svc",
            "1.0.0.10.in-addr.arpa.",
            "3.0.0.10.in-addr.arpa.",
            "10.0.96.10.in-addr.arpa.",
            "10.in-addr.arpa.",
            "example.com.",
        ] {
            for rr_type in ["A", "AAAA", "SRV", "CNAME", "PTR", "NS", "SOA", "TXT", "MX"] {
                let question =
                    if owner.is_empty() { "cluster.local.".into() } else { owner.to_owned() } + " " + rr_type;
                let (reply, explanation) = (fixture.ask(&question), fixture.explain(&question));
                let mut sent: Vec<_> = reply
                    .answers
                    .iter()
                    .map(|it| format!("{} {} {}", it.name, it.record_type(), it.data))
                    .collect();
                let mut told: Vec<_> = explanation
                    .records
                    .iter()
                    .map(|it| format!("{} {} {}", it.owner, it.r#type, it.data.replace('"', "")))
                    .collect();
                sent.sort();
                told.sort();
                assert_eq!(told, sent, "{config}: {question}");
                let rcode = match reply.metadata.response_code {
                    ResponseCode::NoError => "NOERROR",
                    ResponseCode::NXDomain => "NXDOMAIN",
                    _ => "REFUSED",
                };
                assert_eq!(explanation.rcode.as_deref(), Some(rcode), "{config}: {question}");
                let ttl = reply.answers.first().or(reply.authorities.first()).map(|it| it.ttl);
                let ends = reply.authorities.first().map(|it| it.ttl).or(ttl);
                assert_eq!(explanation.ttl, ends, "{config}: {question}");
                let of_objects =
                    explanation.records.iter().filter(|it| it.owner.contains(".svc.") || it.r#type == "PTR");
                for record in of_objects {
                    assert!(!record.sources.is_empty(), "{config}: {question}: nothing behind {record:?}");
                }
                let silent = explanation.records.is_empty() && explanation.reasons.is_empty();
                assert!(!silent, "{config}: {question}: neither a record nor a reason");
                assert_eq!(explanation.missing.is_some(), rcode == "NXDOMAIN", "{config}: {question}");
            }
        }
    }
}

#[test]
fn size_is_bounded() {
    let many = (0..1500)
        .map(|it| format!("10.1.{}.{}=shared", it / 250, it % 250 + 1))
        .collect::<Vec<_>>()
        .join(" ");
    let waiting = (0..50).map(|it| format!("10.2.0.{}=late-{it}!", it + 1)).collect::<Vec<_>>().join(" ");
    let objects = format!(
        "ns prod\nsvc prod/web headless http:80\nslice prod/web http:80 : {many}\nsvc prod/late headless\nslice prod/late : {waiting}"
    );
    let fixture = Fixture::new("{}", &objects);
    let explanation = fixture.explain("web.prod.svc A");
    assert_eq!((explanation.records.len(), explanation.more_records), (MAX_RECORDS, 500));
    assert_eq!(explanation.records[0].data, "10.1.0.1");
    let explanation = fixture.explain("web.prod.svc SRV");
    assert_eq!(explanation.records[0].sources.len() + explanation.records[0].more_sources, 1500);
    assert_eq!(explanation.records[0].sources.len(), MAX_SOURCES);
    let explanation = fixture.explain("late.prod.svc A");
    assert!(explanation.reasons[0].ends_with(" and 40 more"), "{:?}", explanation.reasons);
}

#[test]
fn an_object_that_has_not_changed_keeps_its_age() {
    let objects = "ns prod\nsvc prod/web headless\nslice prod/web : 10.0.0.1=web-0";
    let changed = "ns prod\nsvc prod/web headless\nslice prod/web : 10.0.0.1=web-0 10.0.0.2=web-1";
    let mut fixture = Fixture::new("{}", objects);
    let age = |fixture: &Fixture| fixture.explain("web-0.web.prod.svc A").records[0].sources[0].age_seconds;
    fixture.feed(inputs(objects), NOW + 10);
    assert_eq!(age(&fixture), Some(60), "a full list of the same objects");
    fixture.feed(inputs(changed), NOW + 20);
    assert_eq!(age(&fixture), Some(40), "the slice has changed");
}

#[test]
fn bad_questions() {
    #[rustfmt::skip]
    let cases = [
        ("", "A", "there is no name to look up"),
        ("a..b", "A", "\"a..b\" is not a domain name: name has an empty label"),
        (&"a".repeat(64), "A", "is not a domain name: label is longer than 63 octets"),
        (&"a".repeat(300), "A", "is not a domain name: label is longer than 63 octets"),
        (&"abc.".repeat(70), "A", "is not a domain name: name is longer than 255 octets"),
        ("wéb.prod", "A", "write such labels in their xn-- form"),
        ("web.prod", "FOO", "\"FOO\" is not a record type"),
        ("web.prod", "TYPE70000", "\"TYPE70000\" is not a record type"),
    ];
    for (name, rr_type, want) in cases {
        let got = question(name, rr_type).expect_err(name);
        assert!(got.contains(want), "{name} {rr_type}: {got}");
    }
    for (name, rr_type, want) in
        [("WEB.Prod.", "srv", "web.prod. 33"), (".", "type65", ". 65"), ("a\\.b.c", "ixfr", "a\\.b.c. 251")]
    {
        let (name, rr_type) = question(name, rr_type).unwrap();
        assert_eq!(format!("{name} {}", rr_type.0), want);
    }
}
