//! RFC 8906 §8: the queries that servers are known to answer wrongly or not at all, over UDP and TCP (TST-10).
//!
//! The cases have the names and the expectations of that section; the case of TCP itself is every second row. A summary is
//! printed: `cargo test --lib rfc_8906 -- --nocapture`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use super::sockets::start;
use super::*;

/// What the query is made of besides `SOA cluster.local`.
#[derive(Clone, Copy)]
struct Asked {
    /// The octets with QR to RD and RA to rcode.
    flags: [u8; 2],
    rr_type: u16,
    question: Question,
    /// Payload size, version, EDNS flags, options.
    edns: Option<(u16, u8, u16, &'static [u8])>,
}

#[derive(Clone, Copy, PartialEq)]
enum Question {
    Apex,
    /// A name whose answer fits 512 octets over TCP only.
    Large,
    /// The header alone.
    None,
}

/// What the reply has to be.
#[derive(Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the message")]
struct Expected {
    rcode: u16,
    opcode: u8,
    authoritative: bool,
    /// The SOA, or whatever was asked for, is in the answer section.
    answer: bool,
    truncated: bool,
    recursion_desired: bool,
    checking_disabled: bool,
    /// RA, Z and AD, none of which we may set.
    never: u8,
    /// EDNS version, flags, and octets of options.
    edns: Option<(u8, u16, usize)>,
}

const PLAIN: Asked = Asked { flags: [0, 0], rr_type: 6, question: Question::Apex, edns: None };
const EXPECTED: Expected = Expected {
    rcode: 0,
    opcode: 0,
    authoritative: true,
    answer: true,
    truncated: false,
    recursion_desired: false,
    checking_disabled: false,
    never: 0,
    edns: None,
};
/// No answer, not authoritative.
const ERROR: Expected = Expected { authoritative: false, answer: false, ..EXPECTED };
const BADVERS: u16 = 16;
const OPTION_100: &[u8] = &[0, 100, 0, 0];
/// COOKIE, NSID, EXPIRE, and a client subnet of nothing.
const DEFINED: &[u8] = &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 3, 0, 0, 0, 9, 0, 0, 0, 8, 0, 4, 0, 1, 0, 0];
const DO: u16 = 0x8000;

#[rustfmt::skip]
const BASIC: [(&str, Asked, Expected); 9] = [
    ("8.1.1 the zone",              PLAIN,                                    EXPECTED),
    ("8.1.2 an unknown type",       Asked { rr_type: 1000, ..PLAIN },         Expected { answer: false, ..EXPECTED }),
    ("8.1.3.1 CD=1",                Asked { flags: [0, 0x10], ..PLAIN },      Expected { checking_disabled: true, ..EXPECTED }),
    ("8.1.3.2 AD=1",                Asked { flags: [0, 0x20], ..PLAIN },      EXPECTED),
    ("8.1.3.3 the reserved bit",    Asked { flags: [0, 0x40], ..PLAIN },      EXPECTED),
    ("8.1.3.4 RD=1",                Asked { flags: [1, 0], ..PLAIN },         Expected { recursion_desired: true, ..EXPECTED }),
    ("8.1.4 opcode 15, header",     Asked { flags: [0x78, 0], question: Question::None, ..PLAIN }, Expected { rcode: 4, opcode: 15, ..ERROR }),
    ("8.1.4 opcode 15, question",   Asked { flags: [0x78, 0], ..PLAIN },      Expected { rcode: 4, opcode: 15, ..ERROR }),
    ("8.1.5 all of them at once",   Asked { flags: [1, 0x70], ..PLAIN },      Expected { recursion_desired: true, checking_disabled: true, ..EXPECTED }),
];

#[rustfmt::skip]
const EDNS: [(&str, Asked, Expected); 10] = [
    ("8.2.1 minimal EDNS",          edns(0, 0, &[]),            with_opt(EXPECTED, 0, 0)),
    ("8.2.2 version 1",             edns(1, 0, &[]),            with_opt(Expected { rcode: BADVERS, ..ERROR }, 0, 0)),
    ("8.2.3 an unknown option",     edns(0, 0, OPTION_100),     with_opt(EXPECTED, 0, 0)),
    ("8.2.4 an unknown flag",       edns(0, 0x40, &[]),         with_opt(EXPECTED, 0, 0)),
    ("8.2.5 version 1 and flag",    edns(1, 0x40, &[]),         with_opt(Expected { rcode: BADVERS, ..ERROR }, 0, 0)),
    ("8.2.6 version 1 and option",  edns(1, 0, OPTION_100),     with_opt(Expected { rcode: BADVERS, ..ERROR }, 0, 0)),
    ("8.2.7 a truncated response",  Asked { rr_type: 33, question: Question::Large, ..edns(0, 0, &[]) },
                                                                with_opt(Expected { truncated: true, ..EXPECTED }, 0, 0)),
    ("8.2.8 DO=1",                  edns(0, DO, &[]),           with_opt(EXPECTED, 0, DO)),
    ("8.2.9 version 1 and DO=1",    edns(1, DO, &[]),           with_opt(Expected { rcode: BADVERS, ..ERROR }, 0, DO)),
    ("8.2.10 defined options",      edns(0, 0, DEFINED),        with_opt(EXPECTED, 0, 0)),
];

const fn edns(version: u8, flags: u16, options: &'static [u8]) -> Asked {
    Asked { edns: Some((512, version, flags, options)), ..PLAIN }
}

const fn with_opt(expected: Expected, version: u8, flags: u16) -> Expected {
    Expected { edns: Some((version, flags, 0)), ..expected }
}

impl Asked {
    fn packet(self) -> Vec<u8> {
        let [high, low] = self.flags;
        let counts = [u8::from(self.question != Question::None), u8::from(self.edns.is_some())];
        let mut packet = vec![0x42, 0x42, high, low, 0, counts[0], 0, 0, 0, 0, 0, counts[1]];
        let name: &[u8] = match self.question {
            Question::Apex => b"\x07cluster\x05local\0",
            Question::Large => b"\x03web\x04prod\x03svc\x07cluster\x05local\0",
            Question::None => return packet,
        };
        packet.extend(name);
        packet.extend(self.rr_type.to_be_bytes());
        packet.extend([0, 1]);
        if let Some((size, version, flags, options)) = self.edns {
            packet.extend([0, 0, 41]);
            packet.extend(size.to_be_bytes());
            packet.extend([0, version]);
            packet.extend(flags.to_be_bytes());
            packet.extend((options.len() as u16).to_be_bytes());
            packet.extend(options);
        }
        packet
    }
}

impl Expected {
    /// What a reply is. The OPT record is the last one, as we write it.
    fn of(reply: &[u8], transport: Transport) -> Self {
        let message = Message::from_vec(reply).unwrap();
        let edns = message.edns.as_ref().map(|edns| {
            let at = reply.len() - 11;
            assert_eq!(reply[at..at + 3], [0, 0, 41], "an OPT record without options at the end");
            let flags = u16::from_be_bytes([reply[at + 7], reply[at + 8]]);
            (edns.version(), flags, edns.options().as_ref().len())
        });
        assert!(transport == Transport::Tcp || reply.len() <= 512);
        Self {
            rcode: message.metadata.response_code.into(),
            opcode: reply[2] >> 3 & 0x0f,
            authoritative: message.metadata.authoritative,
            answer: !message.answers.is_empty(),
            truncated: message.metadata.truncation,
            recursion_desired: message.metadata.recursion_desired,
            checking_disabled: message.metadata.checking_disabled,
            never: reply[3] & 0xe0,
            edns,
        }
    }
}

fn udp(server: SocketAddr, packet: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.send(packet).unwrap();
    let mut reply = vec![0; 4096];
    let len = socket.recv(&mut reply).unwrap();
    reply.truncate(len);
    reply
}

fn tcp(server: SocketAddr, packet: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(&[&(packet.len() as u16).to_be_bytes(), packet].concat()).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut reply = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut reply).unwrap();
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn rfc_8906_section_8() {
    let server = start("0s");
    let address = server.address;
    let run = tokio::task::spawn_blocking(move || {
        let mut wrong = Vec::new();
        for (why, asked, want) in BASIC.into_iter().chain(EDNS) {
            for transport in [Transport::Udp, Transport::Tcp] {
                let ask = if transport == Transport::Udp { udp } else { tcp };
                // Nothing is cut over TCP.
                let want = Expected { truncated: want.truncated && transport == Transport::Udp, ..want };
                let got = Expected::of(&ask(address, &asked.packet()), transport);
                let passed = got == want;
                let outcome = if passed { "ok" } else { "WRONG" };
                println!("{why:<30} {transport:?} {outcome}");
                if !passed {
                    wrong.push(format!("{why} over {transport:?}:\n got {got:?}\nwant {want:?}"));
                }
            }
        }
        let cases = (BASIC.len() + EDNS.len()) * 2;
        println!("RFC 8906 section 8: {} of {cases} passed", cases - wrong.len());
        wrong
    });
    let wrong = run.await.unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    server.stop().await;
}
