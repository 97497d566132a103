//! Addresses as records.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::message::{FIXED, IN, POINTER};
use crate::dns::lookup::RrType;

/// Octets of the record of an address with a compressed owner.
const A_RECORD: usize = 2 + FIXED + 4;
const AAAA_RECORD: usize = 2 + FIXED + 16;

/// Everything before the address in its record.
pub type AddressHead = [u8; 2 + FIXED];

/// See [`AddressHead`].
#[inline]
pub fn address_head<A: Address>(owner: u16, ttl: u32) -> AddressHead {
    let mut head = [0; 2 + FIXED];
    head[..2].copy_from_slice(&(POINTER | owner).to_be_bytes());
    head[2..4].copy_from_slice(&A::TYPE.0.to_be_bytes());
    head[4..6].copy_from_slice(&IN);
    head[6..10].copy_from_slice(&ttl.to_be_bytes());
    head[11] = (A::RECORD - 2 - FIXED) as u8;
    head
}

/// Writes the record of one address. `head`: everything before the address.
#[inline]
pub fn write_record<A: Address>(record: &mut [u8], head: &AddressHead, address: A) {
    if let Some((place, rdata)) = record.split_first_chunk_mut() {
        *place = *head;
        address.write(rdata);
    }
}

/// An address on the wire.
pub trait Address: Copy {
    const TYPE: RrType;
    const UNSPECIFIED: Self;
    /// Octets of a record with a compressed owner.
    const RECORD: usize;
    fn write(self, rdata: &mut [u8]);
    fn bits(self) -> u128;
    fn from_bits(bits: u128) -> Self;
}

impl Address for Ipv4Addr {
    const TYPE: RrType = RrType::A;
    const UNSPECIFIED: Self = Self::UNSPECIFIED;
    const RECORD: usize = A_RECORD;

    fn write(self, rdata: &mut [u8]) {
        rdata.copy_from_slice(&self.octets());
    }

    fn bits(self) -> u128 {
        self.to_bits().into()
    }

    fn from_bits(bits: u128) -> Self {
        Self::from_bits(bits as u32)
    }
}

impl Address for Ipv6Addr {
    const TYPE: RrType = RrType::AAAA;
    const UNSPECIFIED: Self = Self::UNSPECIFIED;
    const RECORD: usize = AAAA_RECORD;

    fn write(self, rdata: &mut [u8]) {
        rdata.copy_from_slice(&self.octets());
    }

    fn bits(self) -> u128 {
        self.to_bits()
    }

    fn from_bits(bits: u128) -> Self {
        Self::from_bits(bits)
    }
}
