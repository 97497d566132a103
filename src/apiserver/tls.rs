//! Certificates and token of the TLS mode.
//!
//! ```text
//! Keys, kept in the data directory ─┬─ certificate of the authority, token ─▶ kubeconfig
//!                                   └─ Keys::acceptor: a certificate of the server ─▶ serve
//! ```
//!
//! The authority signs one certificate with each start, so it names the address of today and does not run out, while
//! kubeconfigs go on trusting the authority. The key of the server never leaves the process, that of the authority only
//! into the data directory. Cipher suites and signatures are those of `ring`, as in the client.
//! Sources: RFC 5280; the serving certificates of kube-apiserver (`pkg/server/options/serving.go`).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// Years the authority lives, which is how long the kubeconfig of a data directory can.
const AUTHORITY_YEARS: i64 = 10;
/// Days a certificate of the server lives; the longest some platforms accept.
const SERVER_DAYS: i64 = 825;
/// Octets of randomness in a token.
const TOKEN_OCTETS: usize = 32;
/// Names under which this machine reaches itself.
const OWN_NAMES: [&str; 3] = ["127.0.0.1", "::1", "localhost"];

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A key or a name that cannot stand in a certificate.
    #[error("the certificate cannot be made")]
    Certificate(#[from] rcgen::Error),
    /// rustls refused the certificate.
    #[error("the certificate cannot be used")]
    Unusable(#[from] rustls::Error),
    /// The system has no randomness.
    #[error("no random token can be made")]
    Random(#[from] getrandom::Error),
}

/// What a kubeconfig trusts and what it shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// Certificate of the authority, PEM.
    pub authority: String,
    /// Its private key, PKCS #8 in PEM.
    pub authority_key: String,
    /// The bearer token, base64url (RFC 4648 §5).
    pub token: String,
}

/// Without the secrets.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("authority", &self.authority).finish_non_exhaustive()
    }
}

impl Keys {
    /// A new authority and a new token.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn generate(now: Timestamp) -> Result<Self, TlsError> {
        let key = KeyPair::generate()?;
        let mut params = authority_params();
        set_validity(&mut params, now, Span::new().years(AUTHORITY_YEARS));
        let authority = params.self_signed(&key)?.pem();
        let mut random = [0; TOKEN_OCTETS];
        getrandom::fill(&mut random)?;
        Ok(Self { authority, authority_key: key.serialize_pem(), token: URL_SAFE_NO_PAD.encode(random) })
    }

    /// Shows a new certificate for loopback, `address` and `names`, which are DNS names and addresses; offers HTTP/2
    /// and HTTP/1.1.
    ///
    /// # Errors
    /// Keys or names that cannot be used.
    pub fn acceptor(
        &self,
        address: IpAddr,
        names: &[String],
        now: Timestamp,
    ) -> Result<TlsAcceptor, TlsError> {
        let mut all: Vec<String> = OWN_NAMES.map(str::to_owned).to_vec();
        all.push(address.to_string());
        all.extend(names.iter().cloned());
        all.sort();
        all.dedup();
        let mut params = CertificateParams::new(all)?;
        set_validity(&mut params, now, Span::new().days(SERVER_DAYS));
        params.distinguished_name = common_name("ordinal");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let issuer = Issuer::new(authority_params(), KeyPair::from_pem(&self.authority_key)?);
        let certificate = params.signed_by(&key, &issuer)?;
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_single_cert(
                    vec![certificate.der().clone()],
                    PrivateKeyDer::Pkcs8(key.serialize_der().into()),
                )?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// All that a certificate of the authority and what it signs have in common.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("ordinal-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// From yesterday, for clocks that are behind, until `span` from today.
fn set_validity(params: &mut CertificateParams, now: Timestamp, span: Span) {
    let today = now.to_zoned(TimeZone::UTC);
    let day = |it: Zoned| {
        rcgen::date_time_ymd(i32::from(it.year()), it.month().unsigned_abs(), it.day().unsigned_abs())
    };
    params.not_before = day(today.saturating_sub(Span::new().days(1)));
    params.not_after = day(today.saturating_add(span));
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    #[test]
    fn tokens_are_long_and_differ() {
        let [one, two] = [(); 2].map(|()| Keys::generate(NOW).unwrap());
        assert_eq!(one.token.len(), 43);
        let plain = |it: u8| it.is_ascii_alphanumeric() || b"-_".contains(&it);
        assert!(one.token.bytes().all(plain), "{}", one.token);
        assert_ne!(one.token, two.token);
        assert_ne!(one.authority, two.authority);
        let shown = format!("{one:?}");
        assert!(!shown.contains(&one.token) && !shown.contains("PRIVATE"), "{shown}");
    }

    #[test]
    fn names_that_cannot_stand_in_a_certificate_are_refused() {
        let keys = Keys::generate(NOW).unwrap();
        let address = "10.0.0.1".parse().unwrap();
        assert!(keys.acceptor(address, &["dev.example".to_owned(), "10.0.0.2".to_owned()], NOW).is_ok());
        assert!(matches!(keys.acceptor(address, &["dév".to_owned()], NOW), Err(TlsError::Certificate(_))));
        let broken = Keys { authority_key: "none".to_owned(), ..keys };
        assert!(matches!(broken.acceptor(address, &[], NOW), Err(TlsError::Certificate(_))));
    }
}
