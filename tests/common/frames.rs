//! HTTP/2 by the frame (RFC 9113 §4, §6), for clients that do what no library would.
#![allow(dead_code, reason = "every test file uses its own part of this")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// What a client says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames.
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;

/// Flags of HEADERS and CONTINUATION; the first is ACK of SETTINGS and PING.
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// A frame as octets.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Empty SETTINGS.
pub fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, 0, b"")
}

/// The field block of a GET over plain HTTP (RFC 7541 §6.1, §6.2.2): nothing of it enters a table.
pub fn get(authority: &str, path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86];
    literal(&mut block, 1, authority);
    literal(&mut block, 4, path);
    block
}

/// A field whose name has an index in the static table.
fn literal(block: &mut Vec<u8>, index: u8, value: &str) {
    block.push(index);
    text(block, value);
}

/// A field with a name of its own.
pub fn field(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    text(block, name);
    text(block, value);
}

/// A string without Huffman coding; lengths by RFC 7541 §5.1 with a prefix of 7 bits.
fn text(block: &mut Vec<u8>, value: &str) {
    let mut length = value.len();
    if length < 127 {
        block.push(u8::try_from(length).expect("below 127"));
    } else {
        block.push(127);
        length -= 127;
        while length >= 128 {
            block.push(u8::try_from(length % 128).expect("below 128") | 128);
            length /= 128;
        }
        block.push(u8::try_from(length).expect("below 128"));
    }
    block.extend(value.as_bytes());
}

/// A connection that has exchanged prefaces.
pub struct Peer {
    stream: TcpStream,
}

impl Peer {
    /// Connects and says the preface with empty SETTINGS.
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        stream.set_write_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        let mut peer = Self { stream };
        assert!(peer.send(&[PREFACE, &settings()].concat()));
        peer
    }

    /// Whether it could be sent.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The next frame; `None` at the end of the connection.
    pub fn receive(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload).ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream) & 0x7fff_ffff, payload })
    }

    /// The next frame of which `wanted` holds; those before it are dropped.
    pub fn receive_until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.receive()?;
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }
}

/// The status of a response's HEADERS, where it is one of the static table; else its first octets say what it is.
pub fn status(frame: &Frame) -> u16 {
    // hpack 0.88: 200, 204, 206, 304, 400, 404, 500 have an index of their own; others follow index 8 as text.
    match frame.payload.as_slice() {
        [0x88, ..] => 200,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x48 | 0x08, 3, digits @ ..] => {
            std::str::from_utf8(&digits[..3]).ok().and_then(|it| it.parse().ok()).unwrap_or(0)
        }
        // Huffman: digits 0 to 2 take five bits, the others six.
        [0x48 | 0x08, length, digits @ ..] if length & 128 != 0 => {
            huffman(&digits[..usize::from(length & 127)])
        }
        _ => 0,
    }
}

/// Three digits in Huffman coding (RFC 7541, appendix B).
fn huffman(bytes: &[u8]) -> u16 {
    let bits: Vec<u8> = bytes.iter().flat_map(|it| (0..8).rev().map(move |bit| it >> bit & 1)).collect();
    let (mut at, mut value) = (0, 0);
    for _ in 0..3 {
        let take =
            |count: usize| bits.iter().skip(at).take(count).fold(0_u16, |sum, it| sum << 1 | u16::from(*it));
        let (digit, length) = match (take(5), take(6)) {
            (short @ 0..=2, _) => (short, 5),
            (_, long @ 0x19..=0x1f) => (long - 0x19 + 3, 6),
            _ => return 0,
        };
        value = value * 10 + digit;
        at += length;
    }
    value
}
