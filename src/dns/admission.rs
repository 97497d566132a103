//! Who gets an answer: cookies and rate limits, before a name is looked at.
//!
//! request, client address ──[`Admission::over_udp`], [`Admission::over_tcp`]──▶ [`Entry`] ──▶ both codecs
//!
//! The rules are pure and live in `dns::cookie` and `dns::rate_limit`; this reads the clocks. With both switched off it
//! costs two comparisons. Over TCP nobody forges an address, so nothing is limited there.
//! Sources: RFC 7873 §5.2, ISC-TN-2012-1.

use std::net::IpAddr;
use std::time::Instant;

use jiff::Timestamp;

use super::cookie::{Cookies, Validity, cookie_option};
use super::rate_limit::{RateLimiter, Verdict};
use super::reply::{Cookie, Entry, Rcode};
use super::request::Request;

/// What is asked of clients.
pub struct Admission {
    cookies: Option<Cookies>,
    limiter: Option<RateLimiter>,
    /// The limiter counts time from here.
    epoch: Instant,
}

impl Admission {
    /// `None`: switched off.
    pub fn new(cookies: Option<Cookies>, limiter: Option<RateLimiter>) -> Self {
        Self { cookies, limiter, epoch: Instant::now() }
    }

    /// Keeps the secrets of cookies current.
    pub fn cookies(&self) -> Option<&Cookies> {
        self.cookies.as_ref()
    }

    /// About a datagram; `None`: its question is not understood.
    #[inline]
    pub fn over_udp(&self, request: Option<&Request<'_>>, client: impl FnOnce() -> IpAddr) -> Entry {
        if self.cookies.is_none() && self.limiter.is_none() {
            return Entry::Admitted(None);
        }
        self.check(request, client())
    }

    #[cold]
    fn check(&self, request: Option<&Request<'_>>, client: IpAddr) -> Entry {
        let (validity, cookie) = match self.cookie(request, client) {
            Ok(found) => found.map_or((None, None), |(validity, cookie)| (Some(validity), Some(cookie))),
            Err(entry) => return entry,
        };
        let Some(limiter) = &self.limiter else { return Entry::Admitted(cookie) };
        if validity == Some(Validity::Valid) {
            return Entry::Admitted(cookie);
        }
        match limiter.check(client, self.epoch.elapsed().as_millis() as u64) {
            Verdict::Send => Entry::Admitted(cookie),
            // The client is real if it can read the cookie that comes with this.
            Verdict::Slip if validity == Some(Validity::Invalid) => Entry::Refused(Rcode::BadCookie, cookie),
            Verdict::Slip => Entry::Slipped(cookie),
            Verdict::Drop => Entry::Silence,
        }
    }

    /// About a message of a connection.
    pub fn over_tcp(&self, request: Option<&Request<'_>>, client: IpAddr) -> Entry {
        match self.cookie(request, client) {
            Ok(found) => Entry::Admitted(found.map(|(_, cookie)| cookie)),
            Err(entry) => entry,
        }
    }

    /// What the cookies of a request are worth, and those of the reply.
    ///
    /// # Errors
    /// The option is malformed.
    fn cookie(
        &self,
        request: Option<&Request<'_>>,
        client: IpAddr,
    ) -> Result<Option<(Validity, Cookie)>, Entry> {
        let (Some(cookies), Some(edns)) = (&self.cookies, request.and_then(|it| it.edns.as_ref())) else {
            return Ok(None);
        };
        let option = cookie_option(edns.options).map_err(|_| Entry::Refused(Rcode::FormErr, None))?;
        // Serial number arithmetic: the seconds may wrap.
        let now = || Timestamp::now().as_second() as u32;
        Ok(option.map(|it| cookies.answer(&it, client, now())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::DnsConfig;
    use crate::dns::config::CookieConfig;
    use crate::dns::name::OwnerName;
    use crate::dns::rate_limit::RateLimitMetrics;
    use crate::dns::request::{Received, receive};

    fn admission(cookies: bool, limit: bool) -> Admission {
        let config = format!("rateLimit: {{enabled: {limit}, responsesPerSecond: 1, slip: 1}}");
        let config: DnsConfig = serde_saphyr::from_str(&config).unwrap();
        let rate_limit = config.check(&[]).unwrap().rate_limit;
        let hasher = foldhash::fast::RandomState::default();
        let limiter = rate_limit.map(|it| RateLimiter::new(it, hasher, RateLimitMetrics::default()));
        let cookies = Cookies::new(&CookieConfig { enabled: cookies, secret_file: None }).unwrap();
        Admission::new(cookies, limiter)
    }

    /// A query for the root with one option of EDNS.
    fn packet(option: &[u8]) -> Vec<u8> {
        let mut packet = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 1];
        packet.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, option.len() as u8]);
        packet.extend(option);
        packet
    }

    fn ask(admission: &Admission, option: &[u8]) -> Entry {
        let packet = packet(option);
        let mut name = OwnerName::ROOT;
        let Received::Query(request) = receive(&packet, &mut name) else { panic!("readable") };
        admission.over_udp(Some(&request), || "192.0.2.1".parse().unwrap())
    }

    fn with_code(value: &[u8]) -> Vec<u8> {
        [&[0, 10, 0, value.len() as u8], value].concat()
    }

    #[test]
    fn switched_off_nothing_is_asked() {
        let admission = admission(false, false);
        for option in [&with_code(&[1; 8])[..], &with_code(&[1; 3]), &[]] {
            assert_eq!(ask(&admission, option), Entry::Admitted(None), "{option:?}");
        }
    }

    #[test]
    fn a_cookie_gets_a_cookie_and_a_broken_one_an_error() {
        let admission = admission(true, false);
        assert_eq!(ask(&admission, &[]), Entry::Admitted(None));
        assert_eq!(ask(&admission, &with_code(&[1; 3])), Entry::Refused(Rcode::FormErr, None));
        let Entry::Admitted(Some(cookie)) = ask(&admission, &with_code(&[1; 8])) else { panic!("admitted") };
        assert_eq!(cookie[..8], [1; 8]);
        assert_eq!(ask(&admission, &with_code(&cookie)), Entry::Admitted(Some(cookie)), "it is valid");
    }

    #[test]
    fn a_valid_cookie_is_not_limited() {
        let admission = admission(true, true);
        let Entry::Admitted(Some(cookie)) = ask(&admission, &with_code(&[1; 8])) else { panic!("admitted") };
        assert_eq!(ask(&admission, &[]), Entry::Slipped(None), "the second in a second");
        assert_eq!(ask(&admission, &with_code(&cookie)), Entry::Admitted(Some(cookie)));
        let foreign = with_code(&[2; 24]);
        assert!(matches!(ask(&admission, &foreign), Entry::Refused(Rcode::BadCookie, Some(_))));
    }
}
