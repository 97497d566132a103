//! RFC 9267: the five groups of mistakes that parsers of DNS messages repeat, as packets (TST-13). One table for each group.
//!
//! Every packet is sent over both transports to both codecs, as it is, cut after every octet, and with QR set, which must
//! be met with silence. Replies are bounded by the limit of the transport.

use super::*;
use crate::dns::name::MAX_NAME;

/// The question `web.prod.svc.cluster.local A`.
const QUESTION: &[u8] = b"\x03web\x04prod\x03svc\x07cluster\x05local\0\0\x01\0\x01";
/// An owner name ends, type A, class IN, TTL 0.
const A: &[u8] = &[0, 1, 0, 1, 0, 0, 0, 0];
/// The root, type OPT, 4096 octets, version 0.
const OPT: &[u8] = &[0, 0, 41, 0x10, 0, 0, 0, 0, 0];
const ZONE: &[u8] = b"\x07cluster\x05local\0";
const A_IN: &[u8] = &[0, 1, 0, 1];

/// A packet: counts, then what follows the header.
fn packet(counts: [u16; 4], parts: &[&[u8]]) -> Vec<u8> {
    let mut packet = vec![0xab, 0xcd, 0, 0];
    packet.extend(counts.iter().flat_map(|it| it.to_be_bytes()));
    packet.extend(parts.concat());
    packet
}

/// One question.
fn asks(parts: &[&[u8]]) -> Vec<u8> {
    packet([1, 0, 0, 0], parts)
}

/// The question, and one additional record.
fn adds(parts: &[&[u8]]) -> Vec<u8> {
    packet([1, 0, 0, 1], &[&[QUESTION], parts].concat())
}

/// `count` labels of `length` octets.
fn labels(count: usize, length: usize) -> Vec<u8> {
    [&[length as u8][..], &vec![b'a'; length]].concat().repeat(count)
}

/// Labels in front of the zone, so that the whole name has `length` octets.
fn long_name(length: usize) -> Vec<u8> {
    let rest = length - ZONE.len();
    let mut name = labels(rest / 64, 63);
    name.extend(labels(usize::from(!rest.is_multiple_of(64)), (rest % 64).saturating_sub(1)));
    [&name, ZONE].concat()
}

fn check(group: &str, cases: &[(&str, Vec<u8>, &str)]) {
    let fixture = Fixture::new("{}", "ns prod\nsvc prod/web headless\nslice prod/web : 10.0.0.1=web-0");
    for (why, packet, want) in cases {
        for transport in [Transport::Udp, Transport::Tcp] {
            let reply = fixture.answer(packet, transport);
            let got = reply.map_or("silence".to_string(), |it| format!("{:?}", it.metadata.response_code));
            assert_eq!(got, *want, "{group}, {why}, {transport:?}");
            let mut response = packet.clone();
            if let Some(flags) = response.get_mut(2) {
                *flags |= 0x80;
                assert!(fixture.answer(&response, transport).is_none(), "{group}, {why}: a response");
            }
            for end in 0..packet.len().min(600) {
                fixture.answer(&packet[..end], transport);
            }
        }
    }
    println!("RFC 9267, {group}: {} packets", cases.len());
}

#[test]
fn section_2_compression_pointers() {
    let third_record =
        packet([1, 0, 2, 1], &[QUESTION, &[0xc0, 55], A, &[0, 0], &[0xc0, 43], A, &[0, 0], OPT, &[0, 0]]);
    #[rustfmt::skip]
    check("compression pointers", &[
        ("to itself",                        asks(&[&[0xc0, 12], A_IN]),                       "FormErr"),
        ("forward",                          asks(&[&[0xc0, 18], A_IN, ZONE]),                 "FormErr"),
        ("beyond the packet",                asks(&[&[0xff, 0xff], A_IN]),                     "FormErr"),
        ("into the header",                  asks(&[&[0xc0, 0], A_IN]),                        "FormErr"),
        ("to a zero in the header",          asks(&[&[0xc0, 2], A_IN]),                        "FormErr"),
        ("behind a label, to that label",    asks(&[b"\x03web", &[0xc0, 12], A_IN]),           "FormErr"),
        ("cut in half",                      asks(&[b"\x03web", &[0xc0]]),                     "FormErr"),
        ("of the reserved type 01",          asks(&[&[0x4c, 12], A_IN]),                       "FormErr"),
        ("of the reserved type 10",          asks(&[&[0x8c, 12], A_IN]),                       "FormErr"),
        ("of an owner to itself",            adds(&[&[0xc0, 43], A, &[0, 0]]),                 "NoError"),
        ("of an owner beyond the packet",    adds(&[&[0xff, 0xff], A, &[0, 0]]),               "NoError"),
        ("of an owner, cut in half",         adds(&[&[0xc0]]),                                 "FormErr"),
        ("of two owners to each other",      third_record,                                     "NoError"),
        ("of an OPT record to the root",     adds(&[&[0xc0, 38], &OPT[1..], &[0, 0]]),         "FormErr"),
        ("in rdata to itself",               adds(&[&[0, 0, 2], &A[2..], &[0, 2, 0xc0, 54]]),  "NoError"),
    ]);
}

#[test]
fn section_3_label_and_name_length() {
    #[rustfmt::skip]
    check("label and name length", &[
        ("a label of 63 octets",             asks(&[&labels(1, 63), ZONE, A_IN]),              "NXDomain"),
        ("a label of 64 octets",             asks(&[&labels(1, 64), ZONE, A_IN]),              "FormErr"),
        ("a label of 191 octets",            asks(&[&labels(1, 191), ZONE, A_IN]),             "FormErr"),
        ("a name of 255 octets",             asks(&[&long_name(MAX_NAME), A_IN]),              "NXDomain"),
        ("a name of 256 octets",             asks(&[&long_name(MAX_NAME + 1), A_IN]),          "FormErr"),
        ("127 labels",                       asks(&[&labels(127, 1), &[0], A_IN]),             "Refused"),
        ("128 labels",                       asks(&[&labels(128, 1), &[0], A_IN]),             "FormErr"),
        ("a name of 4000 octets",            asks(&[&labels(1000, 3), &[0], A_IN]),            "FormErr"),
        ("a label longer than the packet",   asks(&[b"\x3fweb"]),                              "FormErr"),
        ("a label up to the last octet",     asks(&[b"\x03web"]),                              "FormErr"),
        ("a dot inside of a label",          asks(&[b"\x08web.prod\x03svc", ZONE, A_IN]),      "NXDomain"),
        ("an owner longer than the packet",  adds(&[b"\x3fweb"]),                              "FormErr"),
        ("an OPT record with a long owner",  adds(&[&labels(70, 3), OPT, &[0, 0]]),            "FormErr"),
    ]);
}

#[test]
fn section_4_null_terminators() {
    #[rustfmt::skip]
    check("null terminators", &[
        ("no octet after the header",        asks(&[]),                                        "FormErr"),
        ("a name without",                   asks(&[&ZONE[..ZONE.len() - 1]]),                 "FormErr"),
        ("a name that runs into its type",   asks(&[&ZONE[..ZONE.len() - 1], A_IN]),           "FormErr"),
        ("inside of a label",                asks(&[b"\x04we\0b\x04prod\x03svc", ZONE, A_IN]), "NXDomain"),
        ("as a label",                       asks(&[b"\x01\0", ZONE, A_IN]),                   "NXDomain"),
        ("as the end of a label",            asks(&[b"\x04web\0\x04prod\x03svc", ZONE, A_IN]), "NXDomain"),
        ("in the middle of a name",          asks(&[b"\x07cluster\0\x05local\0", A_IN]),       "Refused"),
        ("as the whole name",                asks(&[&[0], A_IN]),                              "Refused"),
        ("an owner without",                 adds(&[b"\x03web"]),                              "FormErr"),
        ("zeros behind the question",        asks(&[QUESTION, &[0; 40]]),                      "NoError"),
    ]);
}

#[test]
fn section_5_data_length() {
    #[rustfmt::skip]
    check("data length", &[
        ("a question cut in its type",       asks(&[ZONE, &[0]]),                              "FormErr"),
        ("a question cut in its class",      asks(&[ZONE, &[0, 1, 0]]),                        "FormErr"),
        ("a record cut in its length",       adds(&[OPT, &[0]]),                               "FormErr"),
        ("an OPT record longer than all",    adds(&[OPT, &[0, 4, 0, 3, 0]]),                   "FormErr"),
        ("an OPT record of 65535 octets",    adds(&[OPT, &[0xff, 0xff]]),                      "FormErr"),
        ("an A record of 65535 octets",      adds(&[&[0], A, &[0xff, 0xff], &[10, 0, 0, 1]]),  "FormErr"),
        ("an A record of three octets",      adds(&[&[0], A, &[0, 3], &[10, 0, 0]]),           "NoError"),
        ("an A record of none",              adds(&[&[0], A, &[0, 0]]),                        "NoError"),
        ("an option longer than its record", adds(&[OPT, &[0, 5, 0, 10, 0, 9, 1]]),            "FormErr"),
        ("an option of 65535 octets",        adds(&[OPT, &[0, 4, 0, 10, 0xff, 0xff]]),         "FormErr"),
        ("an option without length",         adds(&[OPT, &[0, 3, 0, 10, 0]]),                  "FormErr"),
        ("an option beyond its record",      adds(&[OPT, &[0, 4, 0, 10, 0, 4], &[1, 2, 3, 4]]), "FormErr"),
        ("an option up to the last octet",   adds(&[OPT, &[0, 8, 0, 100, 0, 4], &[1, 2, 3, 4]]), "NoError"),
        ("an OPT record shorter than data",  adds(&[OPT, &[0, 0], &[0, 10, 0, 4]]),            "NoError"),
    ]);
}

#[test]
fn section_6_record_counts() {
    let many = [&[0][..], A, &[0, 0]].concat().repeat(300);
    #[rustfmt::skip]
    check("record counts", &[
        ("no question",                      packet([0, 0, 0, 0], &[QUESTION]),                "FormErr"),
        ("two questions, one there",         packet([2, 0, 0, 0], &[QUESTION]),                "FormErr"),
        ("two questions",                    packet([2, 0, 0, 0], &[QUESTION, QUESTION]),      "FormErr"),
        ("65535 questions",                  packet([0xffff, 0, 0, 0], &[QUESTION]),           "FormErr"),
        ("65535 answers, none there",        packet([1, 0xffff, 0, 0], &[QUESTION]),           "FormErr"),
        ("65535 authorities, none there",    packet([1, 0, 0xffff, 0], &[QUESTION]),           "FormErr"),
        ("65535 additionals, none there",    packet([1, 0, 0, 0xffff], &[QUESTION]),           "FormErr"),
        ("65535 of everything",              packet([0xffff; 4], &[QUESTION, &many]),          "FormErr"),
        ("300 records, all there",           packet([1, 100, 100, 100], &[QUESTION, &many]),   "NoError"),
        ("300 records, one missing",         packet([1, 100, 100, 101], &[QUESTION, &many]),   "FormErr"),
        ("an OPT record that is not counted", asks(&[QUESTION, OPT, &[0, 0]]),                 "NoError"),
        ("two OPT records",                  packet([1, 0, 0, 2], &[QUESTION, OPT, &[0, 0], OPT, &[0, 0]]), "FormErr"),
        ("an OPT record as an answer",       packet([1, 1, 0, 0], &[QUESTION, OPT, &[0, 0]]),  "FormErr"),
        ("a header alone that counts",       packet([1, 1, 1, 1], &[]),                        "FormErr"),
        ("half a header",                    packet([1, 0, 0, 0], &[])[..6].to_vec(),          "silence"),
    ]);
}
