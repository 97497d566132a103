//! A message that grows in the caller's buffer, record by record.

use super::Composed;
use super::address::{Address, address_head, write_record};
use crate::dns::config::{Zone, Zones};
use crate::dns::lookup::{NameServer, RrType, Target};
use crate::dns::name::{MAX_NAME, NameRef};
use crate::dns::reply::{Additions, Fixed, Rcode, Soa};
use crate::dns::request::{HEADER, Header, Request};

/// Class IN on the wire.
pub const IN: [u8; 2] = [0, 1];
/// A pointer to an earlier name (RFC 1035 §4.1.4).
pub const POINTER: u16 = 0xc000;
/// Type, class, TTL and length of the rdata.
pub const FIXED: usize = 10;

/// A name and where it stands in the message.
#[derive(Clone, Copy)]
pub struct Owner {
    /// Where it stands.
    pub at: u16,
    /// Octets of it.
    pub len: u16,
}

impl Owner {
    /// Where the apex of a zone that the name is within stands.
    pub fn apex(self, zone: &Zone) -> u16 {
        self.at + self.len - zone.apex().wire().len() as u16
    }
}

#[derive(Clone, Copy)]
pub enum Section {
    Answer = 0,
    Authority = 1,
    Additional = 2,
}

/// A message that grows in the caller's buffer.
pub struct Message<'b> {
    /// The whole buffer.
    pub out: &'b mut [u8],
    /// Octets written.
    pub at: usize,
    /// Octets for everything but the OPT record.
    pub limit: usize,
    /// Records by section.
    pub counts: [u16; 3],
    flags: u8,
    rcode: Rcode,
    /// Octets of the OPT record.
    opt: usize,
}

/// The record does not fit.
pub struct Full;

impl<'b> Message<'b> {
    #[inline(always)]
    pub fn begin(
        request: &Request<'_>,
        fixed: Fixed,
        additions: &Additions<'_>,
        limit: usize,
        out: &'b mut [u8],
    ) -> Self {
        let opt = additions.opt_len(request);
        let at = HEADER + request.question.len();
        out[HEADER..at].copy_from_slice(request.question);
        Self { out, at, limit: limit - opt, counts: [0; 3], flags: fixed.flags, rcode: fixed.rcode, opt }
    }

    pub fn truncated(&mut self) {
        self.flags |= Header::TC;
    }

    #[inline(always)]
    pub fn end(mut self, request: &Request<'_>, additions: &Additions<'_>, zones: &Zones) -> Composed {
        let len = self.at + self.opt;
        if self.opt > 0 {
            additions.put_opt(request, self.rcode, zones, &mut self.out[self.at..len]);
            self.counts[Section::Additional as usize] += 1;
        }
        let [id_high, id_low, high, low] = request.header.reply(self.flags, self.rcode, zones.recursion());
        let [answer, authority, additional] = self.counts.map(u16::to_be_bytes);
        if let Some(header) = self.out.first_chunk_mut::<HEADER>() {
            *header = [
                id_high,
                id_low,
                high,
                low,
                0,
                1,
                answer[0],
                answer[1],
                authority[0],
                authority[1],
                additional[0],
                additional[1],
            ];
        }
        let zone = zones.label_of(None);
        Composed { len, rcode: self.rcode, rr_type: Some(request.rr_type), zone }
    }

    /// Appends one record if it fits; otherwise leaves the message as it was.
    pub fn record(&mut self, section: Section, write: impl FnOnce(&mut Self) -> Result<(), Full>) -> bool {
        let start = self.at;
        let fits = write(self).is_ok();
        if fits {
            self.counts[section as usize] += 1;
        } else {
            self.at = start;
        }
        fits
    }

    #[inline]
    pub fn put(&mut self, octets: &[u8]) -> Result<(), Full> {
        let end = self.at + octets.len();
        if end > self.limit {
            return Err(Full);
        }
        self.out[self.at..end].copy_from_slice(octets);
        self.at = end;
        Ok(())
    }

    /// A character string: its length and its octets.
    pub fn string(&mut self, text: &[u8]) -> Result<(), Full> {
        self.put(&[text.len() as u8])?;
        self.put(text)
    }

    /// Owner, type, class and TTL.
    #[inline]
    pub fn head(&mut self, owner: u16, rr_type: RrType, ttl: u32) -> Result<(), Full> {
        let mut head = [0; FIXED];
        head[..2].copy_from_slice(&(POINTER | owner).to_be_bytes());
        head[2..4].copy_from_slice(&rr_type.0.to_be_bytes());
        head[4..6].copy_from_slice(&IN);
        head[6..].copy_from_slice(&ttl.to_be_bytes());
        self.put(&head)
    }

    /// Room for `count` more records of the answer section, of `size` octets each, if they fit.
    #[inline(always)]
    pub fn answers(&mut self, count: usize, size: usize) -> Option<&mut [u8]> {
        let (start, end) = (self.at, self.at + count * size);
        if end > self.limit {
            return None;
        }
        self.at = end;
        self.counts[Section::Answer as usize] += count as u16;
        self.out.get_mut(start..end)
    }

    /// The labels of a target left of the zone.
    pub fn service_part(&mut self, target: Target<'_>) -> Result<(), Full> {
        if let Some(label) = target.endpoint {
            self.string(label)?;
        }
        self.put(target.service)?;
        self.put(b"\x03svc")
    }

    /// Length and name of a target as rdata. `zone`: where the name of the targets' zone stands already.
    pub fn target(&mut self, target: Target<'_>, zone: &mut Option<u16>) -> Result<(), Full> {
        let length_at = self.at;
        self.put(&[0, 0])?;
        self.service_part(target)?;
        match *zone {
            Some(at) => self.put(&(POINTER | at).to_be_bytes())?,
            None => {
                let at = self.at as u16;
                self.put(target.zone.wire())?;
                *zone = Some(at);
            }
        }
        let length = (self.at - length_at - 2) as u16;
        self.out[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// A chain of CNAME records that begins at `owner`, which is then the last target. Whether all of them fit.
    #[inline]
    pub fn aliases(&mut self, owner: &mut Owner, targets: &[NameRef<'_>], ttl: u32) -> bool {
        targets.is_empty() || targets.iter().all(|target| self.alias(owner, *target, ttl))
    }

    #[cold]
    fn alias(&mut self, owner: &mut Owner, target: NameRef<'_>, ttl: u32) -> bool {
        let mut at = 0;
        let fits = self.record(Section::Answer, |it| {
            it.head(owner.at, RrType::CNAME, ttl)?;
            it.put(&(target.wire().len() as u16).to_be_bytes())?;
            at = it.at as u16;
            it.put(target.wire())
        });
        *owner = Owner { at, len: target.wire().len() as u16 };
        fits
    }

    /// The SOA in the authority section.
    pub fn negative(&mut self, owner: Owner, zone: &Zone, serial: u32, ttl: u32, zones: &Zones) -> bool {
        self.soa(Section::Authority, owner, zone, serial, ttl, zones)
    }

    /// The SOA of the zone that `owner` is within. A zone whose name leaves no room for `hostmaster.` has none.
    pub fn soa(
        &mut self,
        section: Section,
        owner: Owner,
        zone: &Zone,
        serial: u32,
        ttl: u32,
        zones: &Zones,
    ) -> bool {
        if zone.apex().wire().len() + Soa::HOSTMASTER.len() > MAX_NAME {
            return true;
        }
        let apex = owner.apex(zone);
        let pointer = (POINTER | apex).to_be_bytes();
        self.record(section, |it| {
            it.head(apex, RrType::SOA, ttl)?;
            let length = Soa::NAME_SERVER.len() + Soa::HOSTMASTER.len() + 2 * pointer.len() + 20;
            it.put(&(length as u16).to_be_bytes())?;
            it.put(Soa::NAME_SERVER)?;
            it.put(&pointer)?;
            it.put(Soa::HOSTMASTER)?;
            it.put(&pointer)?;
            it.put(&serial.to_be_bytes())?;
            for value in [Soa::REFRESH, Soa::RETRY, Soa::EXPIRE, zones.negative_ttl] {
                it.put(&value.to_be_bytes())?;
            }
            Ok(())
        })
    }

    /// NS records and the addresses of their targets.
    pub fn name_servers(&mut self, owner: Owner, servers: &[NameServer<'_>], zones: &Zones) -> bool {
        // Few, and most often one: glue is looked for by walking the servers again.
        let mut targets = [0u16; 16];
        for (server, target_at) in servers.iter().zip(&mut targets) {
            let fits = self.record(Section::Answer, |it| {
                it.head(owner.at, RrType::NS, zones.ttl)?;
                *target_at = it.at as u16 + 2;
                match server.target {
                    Some(target) => it.target(target, &mut None),
                    None => {
                        let pointer = (POINTER | owner.apex(server.zone)).to_be_bytes();
                        it.put(&((Soa::NAME_SERVER.len() + pointer.len()) as u16).to_be_bytes())?;
                        it.put(Soa::NAME_SERVER)?;
                        it.put(&pointer)
                    }
                }
            });
            if !fits {
                return false;
            }
        }
        for (server, at) in servers.iter().zip(targets) {
            self.glue(at, server.v4, zones.ttl);
            self.glue(at, server.v6, zones.ttl);
        }
        servers.len() <= targets.len()
    }

    /// The address records of one name, all or none.
    #[inline]
    pub fn glue<A: Address>(&mut self, owner: u16, addresses: &[A], ttl: u32) {
        let end = self.at + addresses.len() * A::RECORD;
        if addresses.is_empty() || end > self.limit {
            return;
        }
        let head = address_head::<A>(owner, ttl);
        for (record, address) in self.out[self.at..end].chunks_exact_mut(A::RECORD).zip(addresses) {
            write_record(record, &head, *address);
        }
        self.at = end;
        self.counts[Section::Additional as usize] += addresses.len() as u16;
    }

    /// The same where the name stands too far behind for a pointer: each record repeats it.
    #[cold]
    pub fn far_glue<A: Address>(&mut self, label: &[u8], suffix: &[u8], addresses: &[A], ttl: u32) {
        let (start, count) = (self.at, self.counts[Section::Additional as usize]);
        let head = address_head::<A>(0, ttl);
        let whole = addresses.iter().all(|address| {
            let mut rdata = [0; 16];
            let rdata = &mut rdata[..A::RECORD - head.len()];
            address.write(rdata);
            self.record(Section::Additional, |it| {
                it.string(label)?;
                it.put(suffix)?;
                // Without the pointer.
                it.put(&head[2..])?;
                it.put(rdata)
            })
        });
        if !whole {
            self.at = start;
            self.counts[Section::Additional as usize] = count;
        }
    }
}
