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
        let admitted = admitted(request, validity, cookie);
        let Some(limiter) = &self.limiter else { return admitted };
        if validity == Some(Validity::Valid) {
            return admitted;
        }
        match limiter.check(client, self.epoch.elapsed().as_millis() as u64) {
            Verdict::Send => admitted,
            // The client is real if it can read the cookie that comes with this.
            Verdict::Slip if validity == Some(Validity::Invalid) => Entry::Refused(Rcode::BadCookie, cookie),
            Verdict::Slip => Entry::Slipped(cookie),
            Verdict::Drop => Entry::Silence,
        }
    }

    /// About a message of a connection.
    pub fn over_tcp(&self, request: Option<&Request<'_>>, client: IpAddr) -> Entry {
        match self.cookie(request, client) {
            Ok(None) => Entry::Admitted(None),
            Ok(Some((validity, cookie))) => admitted(request, Some(validity), Some(cookie)),
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

/// Who asks nothing wants to know whether its cookie is good (RFC 7873 §5.4); a question is answered either way.
fn admitted(request: Option<&Request<'_>>, validity: Option<Validity>, cookie: Option<Cookie>) -> Entry {
    match validity {
        Some(Validity::Invalid) if request.is_some_and(Request::is_unasked) => {
            Entry::Refused(Rcode::BadCookie, cookie)
        }
        _ => Entry::Admitted(cookie),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::DnsConfig;
    use crate::dns::config::CookieConfig;
    use crate::dns::index::Index;
    use crate::dns::name::OwnerName;
    use crate::dns::rate_limit::RateLimitMetrics;
    use crate::dns::request::{Received, receive};
    use crate::dns::respond::{Transport, respond};
    use crate::dns::wire::Composer;

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

    /// The reply to a request without a question: response code and options in hexadecimal digits.
    fn ask_nothing(admission: &Admission, option: &[u8]) -> (Rcode, Vec<u8>) {
        let mut packet = packet(option);
        packet[5] = 0;
        packet.drain(12..17);
        let zones = DnsConfig::default().check(&[]).unwrap();
        let view = Index::new(0);
        let admit = |it: Option<&Request<'_>>| admission.over_udp(it, || "192.0.2.1".parse().unwrap());
        let reply = respond(&packet, Transport::Udp, &view.view(), &zones, 0, admit).here().unwrap();
        let mut out = [0; 512];
        let composed =
            Composer::new(0).respond(&packet, Transport::Udp, &view.view(), &zones, &mut out, admit);
        assert_eq!(reply.octets, out[..composed.here().unwrap().len], "both codecs");
        assert_eq!(reply.octets[4..10], [0; 6], "no question and no records");
        (reply.rcode, reply.octets.get(27..).unwrap_or_default().to_vec())
    }

    #[test]
    fn a_cookie_may_be_all_that_is_asked_for() {
        let admission = admission(true, false);
        let (rcode, cookie) = ask_nothing(&admission, &with_code(&[1; 8]));
        assert_eq!((rcode, cookie.len(), &cookie[..8]), (Rcode::NoError, 24, &[1; 8][..]));
        assert_eq!(ask_nothing(&admission, &with_code(&cookie)), (Rcode::NoError, cookie.clone()));
        let (rcode, fresh) = ask_nothing(&admission, &with_code(&[1; 24]));
        assert_eq!((rcode, fresh), (Rcode::BadCookie, cookie));
        for option in [&with_code(&[1; 3])[..], &[0, 3, 0, 0], &[]] {
            assert_eq!(ask_nothing(&admission, option), (Rcode::FormErr, Vec::new()), "{option:?}");
        }
        let off = self::admission(false, false);
        assert_eq!(ask_nothing(&off, &with_code(&[1; 8])), (Rcode::FormErr, Vec::new()), "without cookies");
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
