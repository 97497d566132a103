//! Messages out of a stream of octets: two octets of length, then the message (RFC 1035 §4.2.2).
//!
//! octets in pieces of any size ──[`Frames::push`]──▶ [`Frames::next`] ──▶ whole messages
//!
//! Pure. Holds what has not been taken yet: at most one message and one piece, if the caller takes every whole message
//! before it pushes more.

/// Octets of the length in front of a message.
const LENGTH: usize = 2;

/// Octets received that are not answered yet.
#[derive(Debug, Default)]
pub struct Frames {
    octets: Vec<u8>,
    /// How many of them have been taken.
    taken: usize,
}

impl Frames {
    /// Appends octets in the order they came.
    pub fn push(&mut self, piece: &[u8]) {
        if self.taken > 0 {
            self.octets.drain(..self.taken);
            self.taken = 0;
        }
        self.octets.extend_from_slice(piece);
    }

    /// Takes the next whole message, without its length.
    #[allow(clippy::should_implement_trait, reason = "the message borrows from the buffer, no iterator can")]
    pub fn next(&mut self) -> Option<&[u8]> {
        let end = self.taken + self.whole()?;
        let start = self.taken + LENGTH;
        self.taken = end;
        Some(&self.octets[start..end])
    }

    /// Whether a whole message waits.
    pub fn has_message(&self) -> bool {
        self.whole().is_some()
    }

    /// Nothing waits, not even part of a message. Gives the memory back.
    pub fn is_empty(&mut self) -> bool {
        let empty = self.taken == self.octets.len();
        if empty {
            *self = Self::default();
        }
        empty
    }

    /// Octets of the next message and its length, if all have come.
    fn whole(&self) -> Option<usize> {
        let rest = &self.octets[self.taken..];
        let (length, message) = rest.split_first_chunk::<LENGTH>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        (message.len() >= length).then_some(LENGTH + length)
    }
}

/// Appends `message` with its length; nothing, and `false`, if it is longer than the length can say.
pub fn append(out: &mut Vec<u8>, message: &[u8]) -> bool {
    let Ok(length) = u16::try_from(message.len()) else { return false };
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(message);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_whole_however_the_octets_come_in() {
        let messages = [&b"first"[..], b"", &[7; 300], b"last"];
        let mut stream = Vec::new();
        for message in messages {
            assert!(append(&mut stream, message));
        }
        for size in 1..=stream.len() {
            let (mut frames, mut got) = (Frames::default(), Vec::new());
            for piece in stream.chunks(size) {
                frames.push(piece);
                while let Some(message) = frames.next() {
                    got.push(message.to_vec());
                }
                assert!(!frames.has_message());
            }
            assert_eq!(got, messages, "in pieces of {size}");
            assert!(frames.is_empty());
        }
    }

    #[test]
    fn part_of_a_message_waits() {
        let mut frames = Frames::default();
        for octet in [0, 3, 1, 2] {
            frames.push(&[octet]);
            assert!(frames.next().is_none());
            assert!(!frames.is_empty());
        }
        frames.push(&[3]);
        assert!(frames.has_message());
        assert_eq!(frames.next(), Some(&[1, 2, 3][..]));
        assert!(frames.is_empty());
    }

    #[test]
    fn what_no_length_can_say_is_left_out() {
        let mut out = Vec::new();
        assert!(append(&mut out, &vec![0; 65_535]));
        assert!(!append(&mut out, &vec![0; 65_536]));
        assert_eq!(out.len(), 65_537);
    }
}
