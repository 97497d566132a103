//! DNS cookies: a client that shows the server's cookie can be reached at the address it writes from.
//!
//! options of a request ──[`cookie_option`]──▶ [`CookieOption`] ──[`Secrets::answer`]──▶ [`Validity`], option of the reply
//!
//! Pure: secrets, the client's address and the time are arguments; [`Cookies`] is the shell that holds the secrets.
//! What follows from a [`Validity`] is the caller's: a valid cookie is not rate limited; any other request is answered as if
//! it had none (RFC 7873 §5.2.3 and §5.2.4 leave that to the server), with a fresh cookie to come back with. `BADCOOKIE` is
//! for an invalid cookie whose answer is held back over UDP; a client without one gets what all clients get.
//! Sources: RFC 7873, RFC 9018.

mod secrets;

use std::hash::Hasher as _;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;

pub use secrets::{Cookies, SecretsError};

/// Option code (RFC 7873 §4).
pub const COOKIE: u16 = 10;
/// The only version of a server cookie (RFC 9018 §4.1), with its reserved octets.
const VERSION: [u8; 4] = [1, 0, 0, 0];
/// How old a server cookie may be, in seconds (RFC 9018 §4.3).
const LONGEST: i32 = 3600;
/// From this age on it is replaced, in seconds.
const RENEW: i32 = 1800;
/// How far in the future its time may lie, in seconds: clocks of replicas differ.
const AHEAD: i32 = 300;

/// A secret that replicas share.
pub type Secret = [u8; 16];

/// The COOKIE option has a length that no cookie has: FORMERR (RFC 7873 §5.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// The cookies of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CookieOption<'p> {
    client: [u8; 8],
    /// 8 to 32 octets, or none.
    server: &'p [u8],
}

/// What the cookies of a request say about its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// It has no server cookie yet.
    ClientOnly,
    /// It received an earlier reply at this address.
    Valid,
    /// Its server cookie is foreign, outdated, or made for another address.
    Invalid,
}

/// The first COOKIE option, where there is one; further ones are ignored (RFC 7873 §5.2).
///
/// `options`: those of the request's OPT record, each with its code and length. Whatever follows a cut one is ignored.
///
/// # Errors
/// The reply is FORMERR.
pub fn cookie_option(mut options: &[u8]) -> Result<Option<CookieOption<'_>>, Malformed> {
    while let Some(([code @ .., high, low], rest)) = options.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((value, rest)) = rest.split_at_checked(length) else { break };
        if *code == COOKIE.to_be_bytes() {
            let (client, server) = value.split_first_chunk::<8>().ok_or(Malformed)?;
            let possible = server.is_empty() || (8..=32).contains(&server.len());
            return if possible {
                Ok(Some(CookieOption { client: *client, server }))
            } else {
                Err(Malformed)
            };
        }
        options = rest;
    }
    Ok(None)
}

/// The secrets in force.
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets {
    /// Makes new cookies.
    active: Secret,
    /// Old cookies made with these are still valid.
    accepted: Vec<Secret>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets(1 active, {} accepted)", self.accepted.len())
    }
}

impl Secrets {
    /// What the cookies of a request from `client` are worth, and the value of the reply's option: the client cookie as it
    /// came, and a server cookie. A valid one is repeated until it is half an hour old.
    ///
    /// `now`: Unix time in seconds.
    pub fn answer(&self, option: &CookieOption<'_>, client: IpAddr, now: u32) -> (Validity, [u8; 24]) {
        let mut value = [0; 24];
        value[..8].copy_from_slice(&option.client);
        let (validity, repeated) = self.validate(option, client, now);
        let server = repeated.unwrap_or_else(|| make(&self.active, option.client, VERSION, now, client));
        value[8..].copy_from_slice(&server);
        (validity, value)
    }

    /// The server cookie is given where it can be sent back.
    fn validate(&self, option: &CookieOption<'_>, client: IpAddr, now: u32) -> (Validity, Option<[u8; 16]>) {
        if option.server.is_empty() {
            return (Validity::ClientOnly, None);
        }
        let Ok(server) = <[u8; 16]>::try_from(option.server) else { return (Validity::Invalid, None) };
        let [version @ .., a, b, c, d] = *server.first_chunk::<8>().expect("16 octets are more than eight");
        let time = u32::from_be_bytes([a, b, c, d]);
        // Serial number arithmetic (RFC 1982), so that it goes on when the seconds wrap.
        let age = now.wrapping_sub(time) as i32;
        if version[0] != VERSION[0] || !(-AHEAD..=LONGEST).contains(&age) {
            return (Validity::Invalid, None);
        }
        let made_with = |secret: &Secret| make(secret, option.client, version, time, client) == server;
        if made_with(&self.active) {
            return (Validity::Valid, (version == VERSION && age < RENEW).then_some(server));
        }
        let known = self.accepted.iter().any(made_with);
        (if known { Validity::Valid } else { Validity::Invalid }, None)
    }
}

/// A server cookie (RFC 9018 §4). `version`: with the reserved octets.
fn make(secret: &Secret, client_cookie: [u8; 8], version: [u8; 4], time: u32, client: IpAddr) -> [u8; 16] {
    let mut cookie = [0; 16];
    cookie[..4].copy_from_slice(&version);
    cookie[4..8].copy_from_slice(&time.to_be_bytes());
    let mut hasher = SipHasher24::new_with_key(secret);
    hasher.write(&client_cookie);
    hasher.write(&cookie[..8]);
    match client.to_canonical() {
        IpAddr::V4(it) => hasher.write(&it.octets()),
        IpAddr::V6(it) => hasher.write(&it.octets()),
    }
    cookie[8..].copy_from_slice(&hasher.finish().to_le_bytes());
    cookie
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    fn hex(octets: &[u8]) -> String {
        octets.iter().map(|it| format!("{it:02x}")).collect::<Vec<_>>().concat()
    }

    fn secrets(hex: &[&str]) -> Secrets {
        let mut all = hex.iter().map(|it| octets(it).try_into().unwrap());
        Secrets { active: all.next().unwrap(), accepted: all.collect() }
    }

    /// Answers the cookies in hexadecimal digits.
    fn answer(secrets: &Secrets, cookies: &str, client: &str, now: u32) -> (Validity, String) {
        let cookies = octets(cookies);
        let option = [&[0, 10, 0, cookies.len() as u8], &cookies[..]].concat();
        let option = cookie_option(&option).unwrap().unwrap();
        let (validity, value) = secrets.answer(&option, client.parse().unwrap(), now);
        (validity, hex(&value))
    }

    const FIRST: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
    const OLD: &str = "dd3bdf9344b678b185a6f5cb60fca715";
    const NEW: &str = "445536bcd2513298075a5d379663c962";

    #[test]
    fn examples_of_rfc_9018_appendix_a() {
        use Validity::{ClientOnly, Valid};
        #[rustfmt::skip]
        let cases = [
            ("A.1: a client that has none", &[FIRST][..], "198.51.100.100", 1_559_731_985, ClientOnly,
             "2464c4abcf10c957", "2464c4abcf10c957010000005cf79f111f8130c3eee29480"),
            ("A.2: forty minutes later", &[FIRST], "198.51.100.100", 1_559_734_385, Valid,
             "2464c4abcf10c957010000005cf79f111f8130c3eee29480", "2464c4abcf10c957010000005cf7a871d4a564a1442aca77"),
            ("A.4: a secret rolled over", &[NEW, OLD], "2001:db8:220:1:59de:d0f4:8769:82b8", 1_559_741_961, Valid,
             "22681ab97d52c298010000005cf7c57926556bd0934c72f8", "22681ab97d52c298010000005cf7c609a6bb79d16625507a"),
        ];
        for (why, all, client, now, validity, cookies, want) in cases {
            assert_eq!(answer(&secrets(all), cookies, client, now), (validity, want.to_string()), "{why}");
        }
        // A.3: another client, reserved octets set; the cookie in the example is 6715 s old, so it is only valid earlier.
        let (first, cookies) = (secrets(&[FIRST]), "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5");
        assert_eq!(answer(&first, cookies, "203.0.113.203", 1_559_727_985 + 3600).0, Valid);
        let (late, renewed) = answer(&first, cookies, "203.0.113.203", 1_559_734_700);
        assert_eq!(
            (late, renewed.as_str()),
            (Validity::Invalid, "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e")
        );
    }

    #[test]
    fn a_cookie_is_for_one_client_and_one_time() {
        use Validity::{Invalid, Valid};
        let (made, address) = (1_559_731_985, "198.51.100.100");
        let cookies = "2464c4abcf10c957010000005cf79f111f8130c3eee29480";
        let other_client = cookies.replacen("24", "25", 1);
        let other_version = cookies.replacen("010000005c", "020000005c", 1);
        let other_hash = cookies.replace("9480", "9481");
        let longer = format!("{cookies}00");
        let short = &cookies[..32];
        #[rustfmt::skip]
        let cases = [
            ("at once",                        cookies,        address,                 made,          Valid, true),
            ("as a mapped address",            cookies,        "::ffff:198.51.100.100", made,          Valid, true),
            ("just before half an hour",       cookies,        address,                 made + 1799,   Valid, true),
            ("after half an hour",             cookies,        address,                 made + 1800,   Valid, false),
            ("just within the hour",           cookies,        address,                 made + 3600,   Valid, false),
            ("after the hour",                 cookies,        address,                 made + 3601,   Invalid, false),
            ("five minutes ahead",             cookies,        address,                 made - 300,    Valid, true),
            ("more than that",                 cookies,        address,                 made - 301,    Invalid, false),
            ("from another address",           cookies,        "198.51.100.101",        made,          Invalid, false),
            ("with another client cookie",     &other_client,  address,                 made,          Invalid, false),
            ("of another version",             &other_version, address,                 made,          Invalid, false),
            ("one bit off",                    &other_hash,    address,                 made,          Invalid, false),
            ("of another length",              &longer,        address,                 made,          Invalid, false),
            ("of the shortest length",         short,          address,                 made,          Invalid, false),
        ];
        for (why, cookies, client, now, want, repeated) in cases {
            let (validity, value) = answer(&secrets(&[FIRST]), cookies, client, now);
            assert_eq!((validity, value == cookies), (want, repeated), "{why}");
            // Whatever is answered is valid the next time.
            assert_eq!(answer(&secrets(&[FIRST]), &value, client, now).0, Valid, "{why}");
        }
    }

    #[test]
    fn the_clock_may_wrap() {
        let first = secrets(&[FIRST]);
        let (_, value) = answer(&first, "2464c4abcf10c957", "192.0.2.1", u32::MAX - 10);
        assert_eq!(answer(&first, &value, "192.0.2.1", 20).0, Validity::Valid);
        assert_eq!(answer(&first, &value, "192.0.2.1", 5000).0, Validity::Invalid);
    }

    #[test]
    fn options() {
        let cookie = |length: usize| [&[0, 10, 0, length as u8][..], &vec![7; length]].concat();
        for length in 0..=48 {
            let want = match length {
                8 => Ok(0),
                16..=40 => Ok(length - 8),
                _ => Err(Malformed),
            };
            let got = cookie_option(&cookie(length)).map(|it| it.unwrap().server.len());
            assert_eq!(got, want, "{length} octets");
        }
        assert_eq!(cookie_option(&[]), Ok(None));
        let nsid = [0, 3, 0, 2, 9, 9];
        assert_eq!(cookie_option(&nsid), Ok(None));
        let behind = [&nsid[..], &cookie(16), &cookie(3)].concat();
        assert_eq!(cookie_option(&behind).unwrap().unwrap().server.len(), 8, "only the first one counts");
        assert_eq!(cookie_option(&[0, 10, 0, 9, 1]), Ok(None), "cut");
    }
}
