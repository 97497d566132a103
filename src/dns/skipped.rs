//! What DNS leaves out of the objects it is given, and how much of that there is right now.
//!
//! `dns::narrow` ──[`Problem`]──▶ [`Skipped`] ──▶ metrics; the same problems, for one object, ──▶ explanations
//!
//! An object with problems counts once under each of its reasons, from the moment it is seen until it is mended or gone.

use std::collections::HashMap;

use crate::model::ObjectKey;

/// Why something was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A slice of another address type than IPv4 and IPv6.
    FqdnSlice,
    /// A slice without the label that names its Service.
    NoServiceLabel,
    /// A slice whose Service does not exist.
    NoService,
    /// Text that is no address, or not one of the slice's family.
    BadAddress,
    /// A port that stands for every port.
    PortWithoutNumber,
    /// A protocol other than TCP, UDP and SCTP.
    UnknownProtocol,
    /// An `externalName` that is an address.
    ExternalAddress,
    /// An `externalName` that is no domain name.
    ExternalNoName,
    /// A name that cannot be one label.
    NotALabel,
}

impl Reason {
    /// Every reason, in the order of the metric.
    pub const ALL: [Self; 9] = [
        Self::FqdnSlice,
        Self::NoServiceLabel,
        Self::NoService,
        Self::BadAddress,
        Self::PortWithoutNumber,
        Self::UnknownProtocol,
        Self::ExternalAddress,
        Self::ExternalNoName,
        Self::NotALabel,
    ];

    /// The label of the metric.
    pub fn label(self) -> &'static str {
        match self {
            Self::FqdnSlice => "fqdn_slice",
            Self::NoServiceLabel => "no_service_label",
            Self::NoService => "no_service",
            Self::BadAddress => "bad_address",
            Self::PortWithoutNumber => "port_without_number",
            Self::UnknownProtocol => "unknown_protocol",
            Self::ExternalAddress => "external_address",
            Self::ExternalNoName => "external_no_name",
            Self::NotALabel => "not_a_label",
        }
    }

    /// For people: what it is that was left out.
    pub fn words(self) -> &'static str {
        match self {
            Self::FqdnSlice => "slices of this address type have no meaning for DNS",
            Self::NoServiceLabel => "the slice does not say which Service it belongs to",
            Self::NoService => "the Service that the slice names does not exist",
            Self::BadAddress => "not an address of the slice's family",
            Self::PortWithoutNumber => "a port without a number has no SRV record",
            Self::UnknownProtocol => "SRV names exist for TCP, UDP and SCTP only",
            Self::ExternalAddress => "externalName is an address, not a name",
            Self::ExternalNoName => "externalName is no domain name",
            Self::NotALabel => "cannot be a label of a domain name",
        }
    }

    fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// One thing that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Why.
    pub reason: Reason,
    /// What: the text of the object.
    pub detail: Box<str>,
}

impl Problem {
    /// A problem with a part of an object.
    pub fn new(reason: Reason, detail: &str) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// The objects of one kind that have problems.
#[derive(Debug, Default)]
pub struct Skipped {
    /// Bits of the reasons.
    objects: HashMap<ObjectKey, u16>,
    listing: HashMap<ObjectKey, u16>,
}

impl Skipped {
    /// A list begins.
    pub fn list_start(&mut self) {
        self.listing.clear();
    }

    /// An object of the list.
    pub fn listed(&mut self, key: impl FnOnce() -> ObjectKey, problems: &[Problem]) {
        if !problems.is_empty() {
            self.listing.insert(key(), bits(problems));
        }
    }

    /// The list is complete.
    pub fn list_end(&mut self) {
        self.objects = std::mem::take(&mut self.listing);
    }

    /// The object is as told now; no problems: mended or gone. Returns whether that changes a count.
    pub fn applied(&mut self, key: impl FnOnce() -> ObjectKey, problems: &[Problem]) -> bool {
        if !problems.is_empty() {
            let bits = bits(problems);
            self.objects.insert(key(), bits) != Some(bits)
        } else {
            // Nearly always there is nothing to look for.
            !self.objects.is_empty() && self.objects.remove(&key()).is_some()
        }
    }

    /// Number of objects by reason, in the order of [`Reason::ALL`].
    pub fn counts(&self) -> [u32; Reason::ALL.len()] {
        Reason::ALL
            .map(|reason| self.objects.values().filter(|bits| **bits & reason.bit() != 0).count() as u32)
    }
}

fn bits(problems: &[Problem]) -> u16 {
    problems.iter().fold(0, |bits, it| bits | it.reason.bit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_count_once_under_each_reason_while_they_are_there() {
        let mut skipped = Skipped::default();
        let key = |name: &str| ObjectKey::new("prod", name);
        let bad = [
            Problem::new(Reason::BadAddress, "x"),
            Problem::new(Reason::BadAddress, "y"),
            Problem::new(Reason::NotALabel, "a.b"),
        ];
        let count = |skipped: &Skipped, reason: Reason| {
            skipped.counts()[Reason::ALL.iter().position(|it| *it == reason).unwrap()]
        };
        skipped.applied(|| key("a"), &bad);
        skipped.applied(|| key("b"), &bad[..1]);
        assert_eq!((count(&skipped, Reason::BadAddress), count(&skipped, Reason::NotALabel)), (2, 1));
        skipped.applied(|| key("a"), &[]);
        assert_eq!((count(&skipped, Reason::BadAddress), count(&skipped, Reason::NotALabel)), (1, 0));
        skipped.list_start();
        skipped.listed(|| key("c"), &bad[2..]);
        skipped.listed(|| key("d"), &[]);
        assert_eq!(count(&skipped, Reason::BadAddress), 1, "a list counts when it ends");
        skipped.list_end();
        assert_eq!((count(&skipped, Reason::BadAddress), count(&skipped, Reason::NotALabel)), (0, 1));
    }
}
