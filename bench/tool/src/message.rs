//! Questions into packets, and the few facts about replies that the tools need.

use anyhow::Context as _;

/// UDP payload size announced in the OPT record.
const PAYLOAD: u16 = 1232;

/// The packet for a line `name type`, with the ID 0 and EDNS.
///
/// # Errors
/// A line that is no question.
pub fn query(line: &str) -> anyhow::Result<Vec<u8>> {
    let (name, rr_type) = line.trim().split_once(' ').with_context(|| format!("no question: {line:?}"))?;
    let rr_type: u16 = match rr_type.trim() {
        "A" => 1,
        "SOA" => 6,
        "PTR" => 12,
        "TXT" => 16,
        "AAAA" => 28,
        "SRV" => 33,
        other => anyhow::bail!("unknown type {other:?} in {line:?}"),
    };
    let mut packet = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in name.trim_end_matches('.').split('.') {
        packet.push(
            u8::try_from(label.len()).ok().filter(|it| (1..64).contains(it)).context("a label's length")?,
        );
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
    packet.extend(rr_type.to_be_bytes());
    packet.extend([0, 1]);
    packet.extend([0, 0, 41]);
    packet.extend(PAYLOAD.to_be_bytes());
    packet.extend([0; 6]);
    Ok(packet)
}

/// Whether `packet` can be a reply at all: header complete, QR set.
pub fn is_reply(packet: &[u8]) -> bool {
    packet.len() >= 12 && packet[2] & 0x80 != 0
}

/// The response code without its extension.
pub fn rcode(reply: &[u8]) -> u8 {
    reply[3] & 0x0f
}

/// The number of answer records.
pub fn answers(reply: &[u8]) -> u16 {
    u16::from_be_bytes([reply[6], reply[7]])
}

/// The rdata of the only answer, if it is one A record.
pub fn only_address(reply: &[u8]) -> Option<std::net::Ipv4Addr> {
    if !is_reply(reply) || rcode(reply) != 0 || answers(reply) != 1 {
        return None;
    }
    let after_name = |from: usize| Some(from + reply.get(from..)?.iter().position(|it| *it == 0)? + 1);
    let owner = after_name(12)? + 4;
    // Most servers point to the name of the question, CoreDNS repeats it.
    let fixed = if *reply.get(owner)? >= 0xc0 { owner + 2 } else { after_name(owner)? };
    let rdata = reply.get(fixed + 10..fixed + 14)?;
    Some(std::net::Ipv4Addr::new(rdata[0], rdata[1], rdata[2], rdata[3]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_becomes_a_packet() {
        let packet = query("a.bc A").unwrap();
        assert_eq!(packet[12..], *b"\x01a\x02bc\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0");
        assert!(query("a.bc").is_err() && query("a..b A").is_err() && query("a ANY").is_err());
    }

    #[test]
    fn the_address_of_a_reply() {
        let mut reply = b"\0\0\x84\0\0\x01\0\x01\0\0\0\0\x01a\0\0\x01\0\x01".to_vec();
        reply.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x05\0\x04\x0a\0\0\x01");
        assert_eq!(only_address(&reply), Some([10, 0, 0, 1].into()));
        assert_eq!(only_address(&reply[..30]), None);
        let mut whole = reply[..19].to_vec();
        whole.extend(b"\x01a\0\0\x01\0\x01\0\0\0\x05\0\x04\x0a\0\0\x01");
        assert_eq!(only_address(&whole), Some([10, 0, 0, 1].into()));
        assert_eq!(only_address(&[]), None);
    }
}
