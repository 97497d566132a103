//! Who may talk to the socket.
//!
//! Over plain http kubectl sends no credentials, so the secret is a base path in the server URL. Because an
//! absent Content-Type is read as JSON, a web page could otherwise post here; requests that name a foreign
//! host (DNS rebinding) or come from a page are refused. Over TLS the secret is a bearer token, which no page has and no
//! browser adds by itself, so any host name will do.

use crate::apiserver::status::Status;
use http::HeaderMap;
use http::header;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// What a request has to show.
#[derive(Clone)]
enum Secret {
    /// It begins the path; with the slash. The address is the only one, besides loopback, that may be asked for.
    Path(String, SocketAddr),
    /// `Authorization: Bearer`.
    Token(String),
}

/// The secret of one listener.
#[derive(Clone)]
pub struct Guard(Secret);

/// Without the secret.
impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Secret::Path(..) => "Guard(path)",
            Secret::Token(_) => "Guard(token)",
        })
    }
}

impl Guard {
    /// A guard for `http://{address}/{base_path}`; slashes around the path are ignored.
    pub fn new(base_path: &str, address: SocketAddr) -> Self {
        Self(Secret::Path(format!("/{}", base_path.trim_matches('/')), address))
    }

    /// A guard for a socket with TLS.
    pub fn with_token(token: &str) -> Self {
        Self(Secret::Token(token.to_owned()))
    }

    /// The secret path; empty when there is none.
    pub fn base(&self) -> &str {
        match &self.0 {
            Secret::Path(path, _) => path.trim_end_matches('/'),
            Secret::Token(_) => "",
        }
    }

    /// The path below the secret one. 403 for requests of web pages, 401 for those without the secret.
    ///
    /// `authority`: that of an HTTP/2 request or of an absolute request target.
    pub fn admit<'a>(
        &self,
        path: &'a str,
        authority: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<&'a str, Status> {
        // RFC 9112 §3.2: whoever sends two means to be read in two ways.
        if headers.get_all(header::HOST).iter().count() > 1 {
            return Err(Status::bad_request("more than one Host"));
        }
        let text = |name: header::HeaderName| headers.get(name).and_then(|it| it.to_str().ok());
        if let Secret::Path(_, address) = &self.0 {
            let host = authority.or_else(|| text(header::HOST)).unwrap_or_default();
            if !is_our_host(host, *address) {
                return Err(Status::refused("forbidden: this server answers to loopback host names only"));
            }
        }
        let site = headers.get("sec-fetch-site").map(|it| it.as_bytes().to_ascii_lowercase());
        let from_page = headers.contains_key(header::ORIGIN)
            || site.is_some_and(|it| it != b"none" && it != b"same-origin");
        if from_page {
            return Err(Status::refused("forbidden: this server does not answer web pages"));
        }
        match &self.0 {
            Secret::Path(base, _) => below(path, base).ok_or_else(Status::unauthorized),
            Secret::Token(token) => {
                let mut shown = headers.get_all(header::AUTHORIZATION).iter();
                let first = shown.next().filter(|_| shown.next().is_none());
                match first.and_then(|it| bearer(it.as_bytes())) {
                    Some(it) if is_same(it, token.as_bytes()) => Ok(path),
                    _ => Err(Status::unauthorized()),
                }
            }
        }
    }
}

/// The part of `path` below the secret `base`.
fn below<'a>(path: &'a str, base: &str) -> Option<&'a str> {
    if base == "/" {
        return Some(path);
    }
    let head = path.as_bytes().get(..base.len())?;
    let rest = path.get(base.len()..).unwrap_or("?");
    if !is_same(head, base.as_bytes()) || !(rest.is_empty() || rest.starts_with('/')) {
        return None;
    }
    // Twice by clients that put it before a path that we wrote with it.
    let rest = rest.strip_prefix(base).filter(|it| it.starts_with('/')).unwrap_or(rest);
    Some(if rest.is_empty() { "/" } else { rest })
}

/// The token of `Bearer TOKEN` (RFC 6750 §2.1); the scheme in any case (RFC 9110 §11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// Compares without an early exit, so that timing does not tell how much was right; the length is no secret.
fn is_same(shown: &[u8], secret: &[u8]) -> bool {
    let differences = shown.iter().zip(secret).fold(0, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
    shown.len() == secret.len() && differences == 0
}

fn is_our_host(host: &str, address: SocketAddr) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && !port.ends_with(']') => (name, port),
        _ => (host, "80"),
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let loopback = name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|it| it.is_loopback() || it == address.ip());
    loopback && port.parse() == Ok(address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_admitted() {
        let guard = Guard::new("s3cret/", "127.0.0.1:7443".parse().unwrap());
        #[rustfmt::skip]
        let cases = [
            ("/s3cret/api/v1", "127.0.0.1:7443", None,                              Ok("/api/v1")),
            ("/s3cret",        "localhost:7443", None,                              Ok("/")),
            ("/s3cret/api",    "[::1]:7443",     None,                              Ok("/api")),
            ("/s3cret/s3cret/openapi/v3", "127.0.0.1:7443", None,                   Ok("/openapi/v3")),
            ("/s3cretx/api",   "127.0.0.1:7443", None,                              Err(401)),
            ("/S3cret/api",    "127.0.0.1:7443", None,                              Err(401)),
            ("/api/v1",        "127.0.0.1:7443", None,                              Err(401)),
            ("/",              "127.0.0.1:7443", None,                              Err(401)),
            ("/s3cret/api",    "127.0.0.1:7444", None,                              Err(403)),
            ("/s3cret/api",    "127.0.0.1",      None,                              Err(403)),
            ("/s3cret/api",    "evil.example:7443", None,                           Err(403)),
            ("/s3cret/api",    "",               None,                              Err(403)),
            ("/s3cret/api",    "127.0.0.1:7443", Some(("origin", "http://a.b")),    Err(403)),
            ("/s3cret/api",    "127.0.0.1:7443", Some(("sec-fetch-site", "cross-site")), Err(403)),
            ("/s3cret/api",    "127.0.0.1:7443", Some(("sec-fetch-site", "none")),  Ok("/api")),
        ];
        for (path, host, extra, want) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            if let Some((name, value)) = extra {
                headers.insert(name, value.parse().unwrap());
            }
            let got = guard.admit(path, None, &headers).map_err(|it| it.code);
            assert_eq!(got, want, "{path} at {host} {extra:?}");
        }
    }

    #[test]
    fn who_has_the_token() {
        let guard = Guard::with_token("5ec3e7");
        assert_eq!(format!("{guard:?}"), "Guard(token)");
        #[rustfmt::skip]
        let cases = [
            (&["Bearer 5ec3e7"][..],                  None,                          Ok("/api/v1")),
            (&["bearer  5ec3e7 "],                    None,                          Ok("/api/v1")),
            (&[],                                     None,                          Err(401)),
            (&["Bearer"],                             None,                          Err(401)),
            (&["Bearer "],                            None,                          Err(401)),
            (&["5ec3e7"],                             None,                          Err(401)),
            (&["Basic 5ec3e7"],                       None,                          Err(401)),
            (&["Bearer 5ec3e"],                       None,                          Err(401)),
            (&["Bearer 5ec3e75"],                     None,                          Err(401)),
            (&["Bearer 5ec3e8"],                      None,                          Err(401)),
            (&["Bearer wrong", "Bearer 5ec3e7"],      None,                          Err(401)),
            (&["Bearer 5ec3e7"], Some(("origin", "https://a.b")),                    Err(403)),
            (&["Bearer 5ec3e7"], Some(("sec-fetch-site", "same-site")),              Err(403)),
        ];
        for (shown, extra, want) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "dev.example".parse().unwrap());
            for it in shown {
                headers.append(header::AUTHORIZATION, it.parse().unwrap());
            }
            if let Some((name, value)) = extra {
                headers.insert(name, value.parse().unwrap());
            }
            let got = guard.admit("/api/v1", None, &headers).map_err(|it| it.code);
            assert_eq!(got, want, "{shown:?} {extra:?}");
            headers.append(header::HOST, "other.example".parse().unwrap());
            assert_eq!(guard.admit("/", None, &headers).unwrap_err().code, 400, "two hosts");
        }
    }
}
