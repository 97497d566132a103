//! What each fuzz target checks, beyond that nothing panics, hangs or grows.
//!
//! octets of the fuzzer ──▶ one function for each target ──▶ the same code that the server runs
//!
//! `zone` is the small cluster that queries are asked of, `seeds` where every target starts.

pub mod seeds;
mod zone;

use std::net::IpAddr;
use std::sync::OnceLock;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::Name;
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder};
use serde::Deserialize as _;

use ordinal::dns::address_name::{dashed_address, pod_address, reverse_name};
use ordinal::dns::config::{CookieConfig, EndpointNames};
use ordinal::dns::cookie::{Cookies, Validity, cookie_option};
use ordinal::dns::model::{Service, Slice};
use ordinal::dns::name::{Label, OwnerName, labels};
use ordinal::dns::records::{EmptyServices, RecordRules, service_entry};
use ordinal::dns::reply::{Entry, MAX_UNASKED, Rcode, everybody};
use ordinal::dns::request::{Received, Request, receive};
use ordinal::dns::respond::{Handled, Transport, respond};
use ordinal::dns::tcp::frames::{Frames, append};
use ordinal::dns::wire::Composer;
use ordinal::k8s::watched::Watched;

use zone::zone;

/// Reading a request: what is read lies within the packet and means the same to hickory-proto.
pub fn message(data: &[u8]) {
    let mut name = OwnerName::ROOT;
    let Received::Query(request) = receive(data, &mut name) else { return };
    assert!(data[12..].starts_with(request.question));
    assert!(request.spelling().eq_ignore_ascii_case(request.name.wire()));
    if let Some(edns) = request.edns
        && !edns.options.is_empty()
    {
        assert!(data.as_ptr_range().contains(&edns.options.as_ptr()));
        assert!(edns.options.as_ptr_range().end <= data.as_ptr_range().end);
    }
    let _ = (request.objection(), request.is_transfer());
    // hickory refuses more (rdata it decodes), never less of the question.
    if let Ok(peer) = Message::from_vec(data) {
        assert_eq!(peer.queries.len(), 1);
        assert_eq!(u16::from(peer.queries[0].query_type), request.rr_type.0);
        let peers = Name::read(&mut BinDecoder::new(request.spelling())).expect("both read it");
        assert_eq!(peer.queries[0].name, peers);
    }
}

/// Names in every notation they come in.
pub fn name(data: &[u8]) {
    let own = OwnerName::read(data);
    if let Ok(own) = &own {
        let wire = own.as_name().wire();
        assert!(data[..wire.len()].eq_ignore_ascii_case(wire));
        assert_eq!(OwnerName::read(wire).as_ref(), Ok(own), "reading again changes nothing");
        assert_eq!(labels(wire).count(), own.as_name().label_count() + 1, "with the root label");
        let peer = Name::read(&mut BinDecoder::new(wire)).expect("hickory reads it");
        assert_eq!(peer.iter().count(), own.as_name().label_count());
        let _ = (own.to_string(), reverse_name(own.as_name()));
        for label in labels(wire) {
            if let Some(address) = pod_address(label)
                && let IpAddr::V4(_) = address
            {
                assert_eq!(dashed_address(address).as_bytes(), label);
            }
        }
    }
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(own) = text.parse::<OwnerName>() {
            assert_eq!(own.to_string().parse::<OwnerName>(), Ok(own));
        }
        if let Ok(label) = text.parse::<Label>() {
            assert!((1..=63).contains(&label.as_bytes().len()));
        }
        if let Ok(address) = text.parse::<IpAddr>()
            // `::ffff:10.1.2.3` is 10.1.2.3, and no address of an endpoint.
            && address == address.to_canonical()
        {
            assert_eq!(pod_address(dashed_address(address).as_bytes()), Some(address));
        }
    }
}

/// Answers of both codecs: hickory-proto decodes them, they say the same, and they fit.
///
/// The octets choose transport, type, EDNS size, and the labels of a name that mostly exists.
pub fn encode(data: &[u8]) {
    let Some(query) = seeds::choose(data) else { return };
    answered(&query.packet, query.transport);
}

/// Any packet, over UDP and TCP.
pub fn handle(data: &[u8]) {
    for transport in [Transport::Udp, Transport::Tcp] {
        answered(data, transport);
    }
}

/// A query with these EDNS octets: extended rcode, version, flags and options.
pub fn edns(data: &[u8]) {
    let Some((head, options)) = data.split_first_chunk::<6>() else { return };
    let options = &options[..options.len().min(usize::from(u16::MAX))];
    let packet = seeds::with_opt(*head, options);
    let reply = answered(&packet, Transport::Udp).expect("a query is answered");
    let well_formed = matches!(receive(&packet, &mut { OwnerName::ROOT }), Received::Query(_));
    match head[3] {
        _ if !well_formed => assert_eq!(reply.metadata.response_code, ResponseCode::FormErr),
        0 => assert_eq!(reply.metadata.response_code, ResponseCode::NoError),
        // hickory-proto reads 16 as BADSIG, which shares the number.
        _ => assert_eq!(u16::from(reply.metadata.response_code), Rcode::BadVers as u16),
    }
    assert_eq!(reply.edns.is_some(), well_formed, "an OPT record for an OPT record");
    if let Some(edns) = &reply.edns {
        assert!(edns.options().as_ref().is_empty(), "no option is echoed");
    }
    if well_formed {
        with_cookies(&packet, options);
    }
}

/// The reply to the same query of a server that hands out cookies.
fn with_cookies(packet: &[u8], options: &[u8]) {
    static COOKIES: OnceLock<Cookies> = OnceLock::new();
    let config = CookieConfig { enabled: true, secret_file: None };
    let cookies = COOKIES.get_or_init(|| Cookies::new(&config).expect("randomness").expect("enabled"));
    let (client, now) = (IpAddr::from([192, 0, 2, 1]), 1_700_000_000);
    let option = cookie_option(options);
    let entry = match &option {
        Err(_) => Entry::Refused(Rcode::FormErr, None),
        Ok(option) => Entry::Admitted(option.map(|it| cookies.answer(&it, client, now).1)),
    };
    let reply = admitted(packet, Transport::Udp, |_| entry).expect("a query is answered");
    let sent = reply.edns.expect("an OPT record for an OPT record").options().as_ref().len();
    assert_eq!(sent, usize::from(matches!(option, Ok(Some(_)))), "a cookie for a cookie");
    if let Entry::Admitted(Some(cookie)) = entry {
        let again = [&[0, 10, 0, 24][..], &cookie].concat();
        let again = cookie_option(&again).expect("well-formed").expect("there");
        assert_eq!(cookies.answer(&again, client, now).0, Validity::Valid);
    }
}

/// The framing of TCP: the first octet says in pieces of which size the others come.
pub fn tcp(data: &[u8]) {
    let Some((size, stream)) = data.split_first() else { return };
    let mut want = Vec::new();
    let mut rest = stream;
    while let Some(([high, low], tail)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((message, tail)) = tail.split_at_checked(length) else { break };
        want.push(message);
        rest = tail;
    }
    let (mut frames, mut got, mut framed) = (Frames::default(), Vec::new(), Vec::new());
    for piece in stream.chunks(usize::from(*size).max(1)) {
        frames.push(piece);
        while frames.has_message() {
            let message = frames.next().expect("it was there");
            assert!(append(&mut framed, message));
            got.push(message.to_vec());
        }
    }
    assert_eq!(got, want);
    assert_eq!(frames.is_empty(), rest.is_empty());
    assert_eq!(framed, stream[..stream.len() - rest.len()]);
}

/// A configuration file: refused with a reason on one line, or checked, printed and read back as it was.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match ordinal::config::parse(text) {
        Err(reason) => assert!(!reason.contains('\n'), "{reason:?}"),
        Ok(config) => {
            let _ = config.validate();
            let printed = serde_json::to_string(&config).expect("plain data");
            assert_eq!(serde_json::from_str(&printed).ok(), Some(config));
        }
    }
}

/// API objects as JSON: a Service and its slices, one after the other. Whatever they say, what is published can be asked.
pub fn objects(data: &[u8]) {
    let mut text = serde_json::Deserializer::from_slice(data);
    let Ok(service) = Watched::<Service>::deserialize(&mut text) else { return };
    let Some(service) = service.view.value else { return };
    let mut slices = Vec::new();
    while let Ok(slice) = Watched::<Slice>::deserialize(&mut text) {
        slices.extend(slice.view.value);
    }
    let slices: Vec<_> = slices.iter().collect();
    for endpoint_names in [EndpointNames::Hostname, EndpointNames::PodName, EndpointNames::Both] {
        for empty_services in [EmptyServices::Published, EmptyServices::Hidden] {
            let rules = RecordRules { endpoint_names, empty_services };
            let Some(entry) = service_entry(&service, &slices, rules) else { continue };
            assert_eq!(entry.endpoints().count(), entry.endpoint_count());
            for endpoint in entry.endpoints() {
                assert!((1..=63).contains(&endpoint.label().len()));
                assert!(endpoint.address_count() > 0);
                assert!(entry.endpoint(endpoint.label()).is_some(), "a published name is found");
            }
            for endpoint in entry.endpoints() {
                let v4 = endpoint.v4().iter().map(|it| IpAddr::V4(*it));
                for address in v4.chain(endpoint.v6().iter().map(|it| IpAddr::V6(*it))) {
                    let named = entry.endpoints_with(address).any(|it| it.label() == endpoint.label());
                    assert!(named, "{address} leads back to its name");
                }
            }
        }
    }
}

/// Octets of the longest RRset of the additional section, more or less: where there is room for it nothing was left out.
const LONGEST_RRSET: usize = 300;

/// Answers a packet with both codecs and checks what holds for every reply.
fn answered(packet: &[u8], transport: Transport) -> Option<Message> {
    admitted(packet, transport, everybody)
}

/// The same for whom `admit` lets in.
fn admitted(
    packet: &[u8],
    transport: Transport,
    admit: impl Fn(Option<&Request<'_>>) -> Entry,
) -> Option<Message> {
    let zone = zone();
    let view = zone.index.view();
    let reply = respond(packet, transport, &view, &zone.zones, 7, &admit);
    let mut out = vec![0xff; if transport == Transport::Udp { 4096 } else { 65_535 }];
    let composed = Composer::new(7).respond(packet, transport, &view, &zone.zones, &mut out, &admit);
    let (reply, composed) = match (reply, composed) {
        (Handled::Here(reply), Handled::Here(composed)) => (reply, composed),
        (Handled::Silence, Handled::Silence) => return None,
        other => panic!("the codecs disagree: {other:?}"),
    };
    assert_eq!((reply.rcode, reply.rr_type), (composed.rcode, composed.rr_type));
    let (reply, composed) = (&reply.octets[..], &out[..composed.len]);
    let longest = reply.len().max(composed.len());
    let mut name = OwnerName::ROOT;
    let limit = match receive(packet, &mut name) {
        Received::Noise => panic!("noise was answered"),
        Received::Unreadable(..) => 12,
        Received::Unasked(_) => MAX_UNASKED,
        Received::Query(request) => usize::from(request.limit(transport, &zone.zones)),
    };
    for octets in [reply, composed] {
        assert!(octets.len() <= limit, "{} octets of {limit}", octets.len());
        assert_eq!(octets[..2], packet[..2], "the id");
        assert_eq!(octets[2] & 0xf9, 0x80 | packet[2] & 0x79, "QR, opcode, RD");
    }
    let decode = |octets: &[u8]| Message::from_vec(octets).unwrap_or_else(|it| panic!("{it}: {octets:02x?}"));
    let (reply, composed) = (decode(reply), decode(composed));
    assert_eq!(reply.metadata.message_type, MessageType::Response);
    // They compress names differently, so a limit cuts them in different places.
    if !reply.metadata.truncation && longest + LONGEST_RRSET <= limit {
        assert_eq!(reply, composed);
    }
    Some(reply)
}
