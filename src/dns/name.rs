//! Owner-name grammar: names in wire form, folded once.
//!
//! query octets ──[`OwnerName::read`]──▶ [`NameRef`] ──▶ `dns::lookup`
//!
//! A name is a sequence of length-prefixed labels that ends with the root label, at most 255 octets. Folding turns
//! `A`-`Z` into `a`-`z` and touches nothing else, so octets above 0x7f stay distinct (RFC 4343 §3). Labels are compared
//! with their length octet, never as joined text: a label that contains a dot or a NUL is one label and matches nothing
//! in the index, because no label of the index contains one ([`Label`]).
//! Sources: RFC 1035 §3.1, RFC 4343.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// Longest name in octets, the root label included (RFC 1035 §2.3.4).
pub const MAX_NAME: usize = 255;
/// Longest label in octets, without its length octet (RFC 1035 §2.3.4).
pub const MAX_LABEL: usize = 63;

/// Why octets or text are not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The octets end before the root label.
    #[error("name ends before its root label")]
    Unterminated,
    /// A length octet above 63: a compression pointer or a reserved label type.
    #[error("label is longer than 63 octets")]
    LongLabel,
    /// The name exceeds 255 octets.
    #[error("name is longer than 255 octets")]
    LongName,
    /// Text with an empty label (`a..b`), or no text at all.
    #[error("name has an empty label")]
    EmptyLabel,
    /// Text with an octet that no label of ours has: a space, a control character, a backslash, or non-ASCII.
    #[error("name has a character other than letters, digits, '-' and '_'")]
    BadCharacter,
}

/// Octets folded at once.
const BLOCK: usize = 32;

/// An absolute name in wire form, lower case. Lives on the stack: reading a query allocates nothing.
#[derive(Clone, Copy)]
pub struct OwnerName {
    len: u8,
    starts: Starts,
    octets: [u8; BLOCK * (MAX_NAME / BLOCK + 1)],
}

impl OwnerName {
    /// The root: a place to read a name into.
    pub const ROOT: Self = Self { len: 1, starts: Starts::NONE, octets: [0; BLOCK * (MAX_NAME / BLOCK + 1)] };

    /// Reads one uncompressed name from the start of `octets` and folds it, see [`OwnerName::fill`].
    pub fn read(octets: &[u8]) -> Result<Self, NameError> {
        let mut name = Self::ROOT;
        name.fill(octets)?;
        Ok(name)
    }

    /// Reads one uncompressed name from the start of `octets` in place of this one and folds it.
    ///
    /// The first name of a message has nothing before it that a compression pointer could mean, so a pointer is an error.
    /// The length of the result is the number of octets read.
    ///
    /// # Errors
    /// The octets begin with no name; this one is the root then.
    #[inline(always)]
    pub fn fill(&mut self, octets: &[u8]) -> Result<NameRef<'_>, NameError> {
        let available = octets.len().min(MAX_NAME);
        self.octets[..available].copy_from_slice(&octets[..available]);
        let mut labels = 0;
        // Below the size of the buffer, whatever octets of an earlier name are read behind the end of this one.
        let mut at = 0u8;
        loop {
            if let Some(start) = self.starts.octets.get_mut(labels) {
                *start = at;
            }
            let len = self.octets[usize::from(at)];
            if len == 0 {
                break;
            }
            let next = if usize::from(len) <= MAX_LABEL { at.checked_add(1 + len) } else { None };
            let Some(next) = next else { return Err(self.misread(at, octets)) };
            at = next;
            labels += 1;
        }
        if usize::from(at) >= available {
            return Err(self.misread(at, octets));
        }
        // Length octets are at most 63 and so are never taken for letters. Whole blocks: the machine folds one at a time.
        let (blocks, _) = self.octets.as_chunks_mut::<BLOCK>();
        for block in &mut blocks[..=usize::from(at) / BLOCK] {
            block.make_ascii_lowercase();
        }
        self.len = at + 1;
        self.starts.labels = labels as u8;
        Ok(self.as_name())
    }

    /// What is wrong with `octets`, whose label `at` cannot be read.
    #[cold]
    fn misread(&mut self, at: u8, octets: &[u8]) -> NameError {
        *self = Self::ROOT;
        match octets.get(usize::from(at)) {
            None => NameError::Unterminated,
            Some(len) if usize::from(*len) > MAX_LABEL => NameError::LongLabel,
            Some(_) => NameError::LongName,
        }
    }

    /// The name as a borrowed value.
    #[inline]
    pub fn as_name(&self) -> NameRef<'_> {
        NameRef { wire: &self.octets[..usize::from(self.len)], starts: &self.starts }
    }
}

impl FromStr for OwnerName {
    type Err = NameError;

    /// Parses presentation format without escapes; a final dot is optional, `.` is the root.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut wire = Vec::with_capacity(text.len() + 2);
        if !text.is_empty() {
            for label in text.split('.') {
                push_label(&mut wire, label.as_bytes())?;
            }
        }
        wire.push(0);
        Self::read(&wire)
    }
}

fn push_label(wire: &mut Vec<u8>, label: &[u8]) -> Result<(), NameError> {
    if label.is_empty() {
        return Err(NameError::EmptyLabel);
    }
    if label.len() > MAX_LABEL {
        return Err(NameError::LongLabel);
    }
    if !label.iter().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_')) {
        return Err(NameError::BadCharacter);
    }
    wire.push(label.len() as u8);
    wire.extend_from_slice(label);
    Ok(())
}

impl PartialEq for OwnerName {
    fn eq(&self, other: &Self) -> bool {
        self.as_name() == other.as_name()
    }
}

impl Eq for OwnerName {}

impl fmt::Debug for OwnerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.as_name(), f)
    }
}

impl fmt::Display for OwnerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.as_name(), f)
    }
}

/// Where the first labels of a name start, the root label included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Starts {
    octets: [u8; Starts::KNOWN],
    /// How many labels the name has, the root label not counted.
    labels: u8,
}

impl Starts {
    /// With the number of labels they are one machine word.
    const KNOWN: usize = 7;
    /// Of the root.
    const NONE: Self = Self { octets: [0; Self::KNOWN], labels: 0 };

    /// Of a name in wire form.
    pub(super) const fn of(wire: &[u8]) -> Self {
        let (mut starts, mut at) = (Self::NONE, 0);
        while wire[at] != 0 {
            at += 1 + wire[at] as usize;
            starts.labels += 1;
            if (starts.labels as usize) < Self::KNOWN {
                starts.octets[starts.labels as usize] = at as u8;
            }
        }
        starts
    }
}

/// A borrowed absolute name in wire form, lower case.
#[derive(Clone, Copy)]
pub struct NameRef<'a> {
    wire: &'a [u8],
    starts: &'a Starts,
}

impl PartialEq for NameRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.wire == other.wire
    }
}

impl Eq for NameRef<'_> {}

impl Hash for NameRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.wire.hash(state);
    }
}

impl<'a> NameRef<'a> {
    /// The root.
    pub const ROOT: Self = Self { wire: b"\0", starts: &Starts::NONE };

    /// A name that is known when the program is built.
    pub(super) const fn new(wire: &'a [u8], starts: &'a Starts) -> Self {
        Self { wire, starts }
    }

    /// A copy of its own.
    pub fn to_owner(self) -> OwnerName {
        OwnerName::read(self.wire).expect("it has been read before")
    }

    /// The octets, root label included.
    pub fn wire(self) -> &'a [u8] {
        self.wire
    }

    /// The labels left of `apex`, still length-prefixed and without the root; empty at the apex itself.
    /// `None` when the name is not within the zone, see [`NameRef::left_of`].
    pub fn relative_to(self, apex: NameRef<'_>) -> Option<&'a [u8]> {
        self.left_of(apex).map(|it| it.wire)
    }

    /// The labels left of `apex`. `None` when the name is not within the zone. Compared label by label:
    /// `mycluster.local` is not within `cluster.local`.
    #[inline(always)]
    pub fn left_of(self, apex: NameRef<'_>) -> Option<Left<'a>> {
        let cut = self.wire.len().checked_sub(apex.wire.len())?;
        let count = usize::from(self.starts.labels.checked_sub(apex.starts.labels)?);
        let (left, right) = self.wire.split_at(cut);
        let starts_there = match self.starts.octets.get(count) {
            Some(start) => usize::from(*start) == cut,
            None => labels(left).map(|it| 1 + it.len()).sum::<usize>() == cut,
        };
        if starts_there && right == apex.wire {
            Some(Left { wire: left, starts: &self.starts.octets, count })
        } else {
            None
        }
    }

    /// How many labels the name has, the root label not counted.
    pub fn label_count(self) -> usize {
        self.starts.labels.into()
    }
}

/// The labels left of a zone's apex.
#[derive(Debug, Clone, Copy)]
pub struct Left<'a> {
    /// Length-prefixed, without the root.
    pub wire: &'a [u8],
    /// Where each of the first labels starts, and where the last of them ends.
    starts: &'a [u8; Starts::KNOWN],
    /// How many there are.
    pub count: usize,
}

impl<'a> Left<'a> {
    /// How many labels can be asked for: the longest names of the forward zones have five,
    /// `_port._proto.service.namespace.svc`, but for zonal ones.
    pub const KNOWN: usize = 5;

    /// One of the first [`Left::KNOWN`] labels, without its length octet.
    #[inline(always)]
    pub fn label(&self, at: usize) -> &'a [u8] {
        &self.wire[usize::from(self.starts[at]) + 1..usize::from(self.starts[at + 1])]
    }

    /// Neighbours among the first [`Left::KNOWN`] labels, length-prefixed.
    #[inline(always)]
    pub fn labels(&self, range: std::ops::Range<usize>) -> &'a [u8] {
        &self.wire[usize::from(self.starts[range.start])..usize::from(self.starts[range.end])]
    }
}

impl fmt::Display for NameRef<'_> {
    /// Presentation format with `\DDD` for octets outside of printable ASCII and `\` before a dot or backslash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.wire.len() == 1 {
            return f.write_str(".");
        }
        for label in labels(&self.wire[..self.wire.len() - 1]) {
            for &octet in label {
                match octet {
                    b'.' | b'\\' => write!(f, "\\{}", char::from(octet))?,
                    0x21..=0x7e => write!(f, "{}", char::from(octet))?,
                    _ => write!(f, "\\{octet:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl fmt::Debug for NameRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An absolute name in wire form that the index owns, such as the target of an ExternalName service.
#[derive(Clone, PartialEq, Eq)]
pub struct BoxedName {
    wire: Box<[u8]>,
    starts: Starts,
}

impl BoxedName {
    /// The name as a borrowed value.
    pub fn as_name(&self) -> NameRef<'_> {
        NameRef { wire: &self.wire, starts: &self.starts }
    }
}

impl From<&OwnerName> for BoxedName {
    fn from(name: &OwnerName) -> Self {
        Self { wire: name.as_name().wire().into(), starts: name.starts }
    }
}

impl fmt::Display for BoxedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.as_name(), f)
    }
}

impl fmt::Debug for BoxedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.as_name(), f)
    }
}

/// The labels of a length-prefixed sequence without the root label, left to right, without their length octets.
pub fn labels(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = wire;
    std::iter::from_fn(move || {
        let (len, tail) = rest.split_first()?;
        let (label, tail) = tail.split_at_checked(usize::from(*len))?;
        rest = tail;
        Some(label)
    })
}

/// One lower-case label that can stand in the index, without its length octet.
///
/// Built from the name of an API object: 1 to 63 octets of letters, digits, `-` and `_`. Anything else (a pod name with
/// dots, say) could not be asked for by its position and is refused here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label(Box<[u8]>);

impl Label {
    /// The octets of the label.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Label {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let mut wire = Vec::with_capacity(text.len() + 1);
        push_label(&mut wire, text.as_bytes())?;
        wire.remove(0);
        wire.make_ascii_lowercase();
        Ok(Self(wire.into()))
    }
}

/// The key of a Service in the index: `<service>.<namespace>` as two length-prefixed lower-case labels, which is how the
/// two stand in a query. `None` when one of them is no label.
pub fn service_key(service: &str, namespace: &str) -> Option<Vec<u8>> {
    let mut wire = Vec::with_capacity(service.len() + namespace.len() + 2);
    push_label(&mut wire, service.as_bytes()).ok()?;
    push_label(&mut wire, namespace.as_bytes()).ok()?;
    wire.make_ascii_lowercase();
    Some(wire)
}

/// The namespace label of a [`service_key`], without its length octet.
pub fn key_namespace(key: &[u8]) -> &[u8] {
    &key[2 + usize::from(key[0])..]
}

/// Appends a lower-case label that can stand in the index (see [`Label`]), without its length octet.
///
/// Returns its length; `None` leaves the buffer as it was.
pub fn append_label(buffer: &mut Vec<u8>, text: &str) -> Option<u8> {
    if text.is_empty() || text.len() > MAX_LABEL {
        return None;
    }
    let start = buffer.len();
    buffer.extend(text.bytes().map(|it| FOLDED[usize::from(it)]));
    if buffer[start..].contains(&0) {
        buffer.truncate(start);
        return None;
    }
    Some(text.len() as u8)
}

/// Every octet that a label of the index may have, in lower case; zero for the others.
const FOLDED: [u8; 256] = {
    let mut folded = [0; 256];
    let mut at = 0;
    while at < 256 {
        let octet = at as u8;
        if octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_' {
            folded[at] = octet.to_ascii_lowercase();
        }
        at += 1;
    }
    folded
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> OwnerName {
        text.parse().unwrap()
    }

    #[test]
    fn zones_match_by_label() {
        let cases = [
            ("web.cluster.local.", "cluster.local.", Some("\x03web")),
            ("cluster.local.", "cluster.local.", Some("")),
            ("x.mycluster.local.", "cluster.local.", None),
            ("local.", "cluster.local.", None),
            ("WEB.Cluster.LOCAL", "cluster.local", Some("\x03web")),
            ("a.b.", ".", Some("\x01a\x01b")),
        ];
        for (owner, apex, want) in cases {
            let (owner, apex) = (name(owner), name(apex));
            assert_eq!(
                owner.as_name().relative_to(apex.as_name()),
                want.map(str::as_bytes),
                "{owner} in {apex}"
            );
        }
        // A label that merely contains the octets of the zone is not within it.
        let tricky = OwnerName::read(b"\x0fx\x07cluster\x05local\0\0").unwrap();
        assert_eq!(tricky.as_name().relative_to(name("local").as_name()), None);
    }

    #[test]
    fn only_ascii_letters_fold() {
        let upper = OwnerName::read(b"\x03\xc4B.\0").unwrap();
        assert_eq!(upper.as_name().wire(), b"\x03\xc4b.\0");
        assert_ne!(upper, OwnerName::read(b"\x03\xe4b.\0").unwrap());
        assert_eq!(upper.to_string(), "\\196b\\..");
    }

    #[test]
    fn labels_of_the_index() {
        for bad in ["", "a.b", "a\0", "käse", &"x".repeat(64)] {
            assert!(bad.parse::<Label>().is_err(), "{bad:?}");
        }
        assert_eq!("Web-0".parse::<Label>().unwrap().as_bytes(), b"web-0");
        assert_eq!(service_key("Web", "prod").unwrap(), b"\x03web\x04prod");
        assert_eq!(service_key("a.b", "prod"), None);
    }

    proptest! {
        #[test]
        fn reading_never_panics_and_folds_once(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(name) = OwnerName::read(&octets) {
                let wire = name.as_name().wire().to_vec();
                prop_assert!(wire.len() <= MAX_NAME);
                prop_assert!(octets[..wire.len()].eq_ignore_ascii_case(&wire));
                prop_assert_eq!(OwnerName::read(&wire).unwrap(), name);
                let _ = (name.to_string(), name.as_name().label_count());
            }
        }

        #[test]
        fn text_and_wire_agree(labels in proptest::collection::vec("[a-zA-Z0-9_-]{1,63}", 0..4)) {
            let text = format!("{}.", labels.join("."));
            let name: OwnerName = text.parse().unwrap();
            prop_assert_eq!(name.to_string(), text.to_ascii_lowercase());
            prop_assert_eq!(name.as_name().label_count(), labels.len());
        }
    }
}
