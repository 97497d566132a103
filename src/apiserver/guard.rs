//! Who may talk to the loopback socket.
//!
//! kubectl sends no credentials over plain http, so the secret is a base path in the server URL. Because an
//! absent Content-Type is read as JSON, a web page could otherwise post here; requests that name a foreign
//! host (DNS rebinding) or come from a page are refused.

use crate::apiserver::status::Status;
use http::HeaderMap;
use http::header;
use std::net::{IpAddr, SocketAddr};

/// The secret of one listener.
#[derive(Debug, Clone)]
pub struct Guard {
    base_path: String,
    address: SocketAddr,
}

impl Guard {
    /// A guard for `http://{address}/{base_path}`; slashes around the path are ignored.
    pub fn new(base_path: &str, address: SocketAddr) -> Self {
        Self { base_path: format!("/{}", base_path.trim_matches('/')), address }
    }

    /// The secret path; empty when there is none.
    pub fn base(&self) -> &str {
        self.base_path.trim_end_matches('/')
    }

    /// The path below the secret one. 403 for requests of web pages, 401 for every other path.
    ///
    /// `authority`: that of an HTTP/2 request or of an absolute request target.
    pub fn admit<'a>(
        &self,
        path: &'a str,
        authority: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<&'a str, Status> {
        let text = |name: header::HeaderName| headers.get(name).and_then(|it| it.to_str().ok());
        let host = authority.or_else(|| text(header::HOST)).unwrap_or_default();
        if !self.is_our_host(host) {
            return Err(Status::refused("forbidden: this server answers to loopback host names only"));
        }
        let site = headers.get("sec-fetch-site").map(|it| it.as_bytes().to_ascii_lowercase());
        let from_page = headers.contains_key(header::ORIGIN)
            || site.is_some_and(|it| it != b"none" && it != b"same-origin");
        if from_page {
            return Err(Status::refused("forbidden: this server does not answer web pages"));
        }
        if self.base_path == "/" {
            return Ok(path);
        }
        let length = self.base_path.len();
        let Some(head) = path.as_bytes().get(..length) else { return Err(Status::unauthorized()) };
        // Compared without an early exit, so that timing does not tell how much was right.
        let differences = head.iter().zip(self.base_path.as_bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
        let rest = path.get(length..).unwrap_or("?");
        if differences != 0 || !(rest.is_empty() || rest.starts_with('/')) {
            return Err(Status::unauthorized());
        }
        // Twice by clients that put it before a path that we wrote with it.
        let rest =
            rest.strip_prefix(self.base_path.as_str()).filter(|it| it.starts_with('/')).unwrap_or(rest);
        Ok(if rest.is_empty() { "/" } else { rest })
    }

    fn is_our_host(&self, host: &str) -> bool {
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !name.is_empty() && !port.ends_with(']') => (name, port),
            _ => (host, "80"),
        };
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let loopback = name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok_and(|it| it.is_loopback() || it == self.address.ip());
        loopback && port.parse() == Ok(self.address.port())
    }
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
}
