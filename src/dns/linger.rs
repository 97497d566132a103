//! Endpoints that left a slice, kept for a moment: perhaps they are on their way to another one.
//!
//! (old slice, new slice, time) ──[`Linger::changed`]──▶ [`Linger`] ──[`Linger::slices`]──▶ `dns::cache`
//!
//! Controllers move endpoints between slices with two writes, and the removal may come first. A ready endpoint that is
//! gone from a slice keeps its records until it shows in another slice of its service, ready or not, or until the slices
//! of the service have been quiet for [`QUIET`], and [`LONGEST`] at most. What an endpoint is told by: its hostname, or its
//! addresses when it has none. An endpoint that stays in its slice and is no longer ready leaves at once, as does
//! everything of a deleted Service or namespace: that is the caller's doing, who asks for no entry then.
//!
//! Pure: time is an argument, since any fixed moment.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::model::{Endpoint, Readiness, Slice};
use crate::model::ObjectKey;

/// How long the slices of a service must not have changed before what left them is dropped.
pub const QUIET: Duration = Duration::from_millis(50);
/// How long an endpoint is kept when the slices of its service change all the time.
pub const LONGEST: Duration = Duration::from_secs(1);

/// The endpoints that are kept, by their service.
#[derive(Debug, Default)]
pub struct Linger {
    services: HashMap<ObjectKey, Leaving>,
}

#[derive(Debug)]
struct Leaving {
    /// Last change of a slice of the service.
    changed: Duration,
    gone: Vec<Gone>,
}

/// What one change took away.
#[derive(Debug)]
struct Gone {
    since: Duration,
    /// The slice as it was, with these endpoints alone. Not empty.
    slice: Slice,
}

/// What makes two endpoints one.
#[derive(PartialEq, Eq, Hash)]
enum Identity<'a> {
    Hostname(&'a str),
    Address(IpAddr),
}

fn identities(endpoint: &Endpoint) -> impl Iterator<Item = Identity<'_>> {
    let hostname = endpoint.hostname.as_deref();
    let addresses = if hostname.is_some() { &[][..] } else { &endpoint.addresses };
    hostname.map(Identity::Hostname).into_iter().chain(addresses.iter().copied().map(Identity::Address))
}

impl Linger {
    /// A slice of `service` has changed, appeared (`old` is `None`) or left (`new` is `None`).
    pub fn changed(&mut self, service: &ObjectKey, old: Option<&Slice>, new: Option<&Slice>, now: Duration) {
        if let Some(leaving) = self.services.get_mut(service) {
            leaving.changed = now;
        }
        let Some(slice) = old.and_then(|old| departed(old, new)) else { return };
        let empty = || Leaving { changed: now, gone: Vec::new() };
        let leaving = self.services.entry(service.clone()).or_insert_with(empty);
        leaving.gone.push(Gone { since: now, slice });
    }

    /// Drops what shows in `current`, all slices of `service`, or has been kept long enough.
    pub fn settle(&mut self, service: &ObjectKey, current: &[Arc<Slice>], now: Duration) {
        let Some(leaving) = self.services.get_mut(service) else { return };
        let quiet = leaving.changed + QUIET;
        leaving.gone.retain(|it| now < quiet.min(it.since + LONGEST));
        let kept = leaving.gone.iter().flat_map(|it| &it.slice.endpoints).flat_map(identities);
        let kept: HashSet<Identity<'_>> = kept.collect();
        let current = current.iter().flat_map(|it| &it.endpoints).flat_map(identities);
        let back: HashSet<Identity<'_>> = current.filter(|it| kept.contains(it)).collect();
        if !back.is_empty() {
            let gone = leaving.gone.iter().filter_map(|it| {
                let slice = only(&it.slice, |endpoint| !identities(endpoint).any(|it| back.contains(&it)))?;
                Some(Gone { since: it.since, slice })
            });
            leaving.gone = gone.collect();
        }
        if leaving.gone.is_empty() {
            self.services.remove(service);
        }
    }

    /// Drops everything of a service that is gone.
    pub fn forget(&mut self, service: &ObjectKey) {
        self.services.remove(service);
    }

    /// What is kept for a service, as slices of its own.
    pub fn slices(&self, service: &ObjectKey) -> impl Iterator<Item = &Slice> {
        self.services.get(service).into_iter().flat_map(|it| &it.gone).map(|it| &it.slice)
    }

    /// When the next endpoint has been kept long enough.
    pub fn deadline(&self) -> Option<Duration> {
        self.services.values().filter_map(Leaving::deadline).min()
    }

    /// The services of which an endpoint has been kept long enough.
    pub fn due(&self, now: Duration) -> impl Iterator<Item = &ObjectKey> {
        let due = move |it: &Leaving| it.deadline().is_some_and(|it| it <= now);
        self.services.iter().filter(move |(_, leaving)| due(leaving)).map(|(service, _)| service)
    }
}

impl Leaving {
    fn deadline(&self) -> Option<Duration> {
        let longest = self.gone.iter().map(|it| it.since + LONGEST).min()?;
        Some(longest.min(self.changed + QUIET))
    }
}

/// The slice with the ready endpoints that `new` does not have, if there are any.
fn departed(old: &Slice, new: Option<&Slice>) -> Option<Slice> {
    let new = new.map_or(&[][..], |it| &it.endpoints);
    // Most changes leave most endpoints in place.
    let same = |(a, b): &(&Endpoint, &Endpoint)| a.hostname == b.hostname && a.addresses == b.addresses;
    let head = old.endpoints.iter().zip(new).take_while(same).count();
    let tail = old.endpoints[head..].iter().rev().zip(new[head..].iter().rev()).take_while(same).count();
    let middle = head..old.endpoints.len() - tail;
    if middle.is_empty() {
        return None;
    }
    let there: HashSet<Identity<'_>> = new.iter().flat_map(identities).collect();
    let mut at = 0;
    only(old, |endpoint| {
        let changed = middle.contains(&at);
        at += 1;
        changed
            && endpoint.readiness == Readiness::Ready
            && !identities(endpoint).any(|it| there.contains(&it))
    })
}

/// The slice with those endpoints alone that `keep` takes; `None` when it takes none.
fn only(slice: &Slice, mut keep: impl FnMut(&Endpoint) -> bool) -> Option<Slice> {
    let (mut endpoints, mut zones) = (Vec::new(), Vec::new());
    for (endpoint, zone) in slice.endpoints_by_zone().filter(|(endpoint, _)| keep(endpoint)) {
        endpoints.push(endpoint.clone());
        zones.push(zone.cloned());
    }
    let topology_zones = if zones.iter().any(Option::is_some) { zones.into() } else { Box::default() };
    (!endpoints.is_empty()).then(|| Slice {
        key: slice.key.clone(),
        service: slice.service.clone(),
        endpoints,
        ports: slice.ports.clone(),
        trigger_time: slice.trigger_time,
        topology_zones,
        left_out: Box::default(),
        seen: slice.seen,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::model::SeenAt;

    /// `10.0.0.1=web-0`: the hostname may be left out; a final `!` means not ready.
    fn slice(endpoints: &str) -> Arc<Slice> {
        let endpoints = endpoints.split_whitespace().map(|word| {
            let ready = word.strip_suffix('!');
            let (address, hostname) = match ready.unwrap_or(word).split_once('=') {
                Some((address, hostname)) => (address, Some(hostname.into())),
                None => (ready.unwrap_or(word), None),
            };
            Endpoint {
                addresses: [address.parse().unwrap()].into_iter().collect(),
                readiness: if ready.is_some() { Readiness::NotReady } else { Readiness::Ready },
                serving: None,
                terminating: None,
                hostname,
                pod: None,
            }
        });
        Arc::new(Slice {
            key: ObjectKey::new("prod", "web-1"),
            service: "web".into(),
            endpoints: endpoints.collect(),
            ports: Default::default(),
            trigger_time: None,
            topology_zones: Box::default(),
            left_out: Box::default(),
            seen: SeenAt::default(),
        })
    }

    fn service() -> ObjectKey {
        ObjectKey::new("prod", "web")
    }

    fn kept(linger: &Linger) -> String {
        let service = service();
        let endpoints = linger.slices(&service).flat_map(|it| &it.endpoints);
        endpoints.map(|it| it.addresses[0].to_string()).collect::<Vec<_>>().join(" ")
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn what_one_change_leaves_behind() {
        #[rustfmt::skip]
        let cases = [
            ("a removed endpoint is kept", "10.0.0.1=a 10.0.0.2=b 10.0.0.3=c", Some("10.0.0.1=a 10.0.0.3=c"), "", "10.0.0.2"),
            ("a deleted slice leaves all", "10.0.0.1=a 10.0.0.2", None, "", "10.0.0.1 10.0.0.2"),
            ("only ready ones have records", "10.0.0.1=a! 10.0.0.2=b", None, "", "10.0.0.2"),
            ("one that is not ready any more leaves at once", "10.0.0.1=a", Some("10.0.0.1=a!"), "", ""),
            ("a new address replaces the old one at once", "10.0.0.1=a", Some("10.0.0.9=a"), "", ""),
            ("without a hostname the address counts", "10.0.0.1 10.0.0.2", Some("10.0.0.2 10.0.0.3"), "", "10.0.0.1"),
            ("one that is in another slice already", "10.0.0.1=a 10.0.0.2=b", Some("10.0.0.2=b"), "10.0.0.1=a", ""),
            ("another slice knows it by another address", "10.0.0.1=a", None, "10.0.0.7=a", ""),
            ("another slice has it, not ready", "10.0.0.1=a", None, "10.0.0.1=a!", ""),
            ("the order means nothing", "10.0.0.1=a 10.0.0.2=b", Some("10.0.0.2=b 10.0.0.1=a"), "", ""),
        ];
        for (why, old, new, others, want) in cases {
            let (old, new) = (slice(old), new.map(slice));
            let mut linger = Linger::default();
            linger.changed(&service(), Some(&old), new.as_deref(), ms(0));
            let current: Vec<Arc<Slice>> = new.into_iter().chain([slice(others)]).collect();
            linger.settle(&service(), &current, ms(0));
            assert_eq!(kept(&linger), want, "{why}");
            assert_eq!(linger.deadline(), (!want.is_empty()).then_some(QUIET), "{why}");
        }
    }

    #[test]
    fn it_ends_when_the_endpoint_turns_up_or_the_slices_are_quiet() {
        let mut linger = Linger::default();
        linger.changed(&service(), Some(&slice("10.0.0.1=a 10.0.0.2=b")), None, ms(0));
        linger.changed(&service(), None, Some(&slice("10.0.0.1=a")), ms(10));
        linger.settle(&service(), &[slice("10.0.0.1=a")], ms(10));
        assert_eq!(kept(&linger), "10.0.0.2", "one has moved");
        assert_eq!(linger.due(ms(59)).count(), 0);
        assert_eq!((linger.deadline(), linger.due(ms(60)).count()), (Some(ms(60)), 1));
        linger.settle(&service(), &[slice("10.0.0.1=a")], ms(60));
        assert_eq!((kept(&linger).as_str(), linger.deadline()), ("", None));
    }

    #[test]
    fn constant_churn_keeps_it_for_a_second() {
        let mut linger = Linger::default();
        linger.changed(&service(), Some(&slice("10.0.0.1=a")), None, ms(5));
        let mut last = 0;
        for now in (5..3000).step_by(20) {
            linger.changed(&service(), Some(&slice("10.0.1.1=x")), Some(&slice("10.0.1.2=x")), ms(now));
            linger.settle(&service(), &[slice("10.0.1.2=x")], ms(now));
            if kept(&linger) == "10.0.0.1" {
                last = now;
            }
        }
        assert_eq!(last, 985);
    }

    #[test]
    fn nothing_outlives_its_service() {
        let mut linger = Linger::default();
        linger.changed(&service(), Some(&slice("10.0.0.1=a")), None, ms(0));
        linger.forget(&service());
        assert_eq!((kept(&linger).as_str(), linger.deadline()), ("", None));
    }
}
