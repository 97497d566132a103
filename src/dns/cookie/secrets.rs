//! The secrets behind server cookies: read from a file that replicas share, or drawn at random and replaced every day.
//!
//! file, randomness ──▶ [`Cookies`] ──[`Cookies::answer`]──▶ reply
//!
//! Secrets reach no log: an error names the line, never what it says.

use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{CookieOption, Secret, Secrets, Validity};
use crate::dns::config::CookieConfig;

/// How often the file is read again.
const REREAD: Duration = Duration::from_secs(5);
/// How long a random secret is in use (at most 26 hours, RFC 7873 §7.1); the one before it stays accepted as long.
const ROTATE: Duration = Duration::from_secs(24 * 3600);
/// Lines of the file: each is one more hash for a foreign cookie.
const MOST: usize = 8;
/// Octets of the file that are read.
const FILE: u64 = 4096;

/// Why there are no secrets.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The file cannot be read, or the system has no randomness.
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    /// A line is no secret.
    #[error("line {0} is not 32 hexadecimal digits")]
    Line(usize),
    /// There are none, or too many.
    #[error("{0} secrets are not within 1 and {MOST}")]
    Count(usize),
}

/// The secrets of a running server.
pub struct Cookies {
    secrets: ArcSwap<Secrets>,
    /// Where they come from; `None`: drawn at random.
    file: Option<PathBuf>,
}

impl Cookies {
    /// `None` when cookies are switched off.
    ///
    /// # Errors
    /// `dns.cookies.secretFile` cannot be used.
    pub fn new(config: &CookieConfig) -> Result<Option<Self>, SecretsError> {
        if !config.enabled {
            return Ok(None);
        }
        let secrets = match &config.secret_file {
            Some(file) => read(file)?,
            None => Secrets { active: draw()?, accepted: Vec::new() },
        };
        Ok(Some(Self { secrets: ArcSwap::from_pointee(secrets), file: config.secret_file.clone() }))
    }

    /// See [`Secrets::answer`].
    pub fn answer(&self, option: &CookieOption<'_>, client: IpAddr, now: u32) -> (Validity, [u8; 24]) {
        self.secrets.load().answer(option, client, now)
    }

    /// Keeps the secrets current until `stop`.
    pub async fn keep(&self, stop: CancellationToken) {
        let period = if self.file.is_some() { REREAD } else { ROTATE };
        let mut failed = false;
        loop {
            tokio::select! {
                () = tokio::time::sleep(period) => {} // allow-sleep: the period of the task
                () = stop.cancelled() => return,
            }
            let renewed = self.renew();
            match &renewed {
                Ok(true) => info!("cookie secrets replaced"),
                Err(error) if !failed => warn!(%error, "cookie secrets stay as they are"),
                Ok(false) | Err(_) => {}
            }
            failed = renewed.is_err();
        }
    }

    /// Reads the file again, or draws the next secret. Whether something changed.
    fn renew(&self) -> Result<bool, SecretsError> {
        let current = self.secrets.load();
        let next = match &self.file {
            Some(file) => read(file)?,
            None => Secrets { active: draw()?, accepted: vec![current.active] },
        };
        let changed = **current != next;
        if changed {
            self.secrets.store(next.into());
        }
        Ok(changed)
    }
}

fn draw() -> io::Result<Secret> {
    let mut secret = Secret::default();
    getrandom::fill(&mut secret).map_err(io::Error::other)?;
    Ok(secret)
}

fn read(file: &Path) -> Result<Secrets, SecretsError> {
    let mut text = String::new();
    std::fs::File::open(file)?.take(FILE).read_to_string(&mut text)?;
    parse(&text)
}

/// One secret a line; blank lines are skipped.
fn parse(text: &str) -> Result<Secrets, SecretsError> {
    let lines = text.lines().map(str::trim).enumerate().filter(|(_, it)| !it.is_empty());
    let all = lines.map(|(at, line)| secret(line).ok_or(SecretsError::Line(at + 1)));
    let mut accepted = all.collect::<Result<Vec<_>, _>>()?;
    if !(1..=MOST).contains(&accepted.len()) {
        return Err(SecretsError::Count(accepted.len()));
    }
    Ok(Secrets { active: accepted.remove(0), accepted })
}

fn secret(line: &str) -> Option<Secret> {
    let digits = line.bytes().all(|it| it.is_ascii_hexdigit()) && line.len() == 32;
    digits.then(|| u128::from_str_radix(line, 16).ok().map(u128::to_be_bytes))?
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "00112233445566778899aabbccddeeff";
    const B: &str = "FFEEDDCCBBAA99887766554433221100";

    #[test]
    fn files() {
        let both = parse(&format!("\n{A}\n  {B}\n\n")).unwrap();
        assert_eq!((both.active[1], both.accepted[0][0]), (0x11, 0xff));
        assert_eq!(format!("{both:?}"), "Secrets(1 active, 1 accepted)");
        let many = format!("{A}\n").repeat(9);
        for (text, want) in [
            ("", "0 secrets are not within 1 and 8"),
            (&many, "9 secrets are not within 1 and 8"),
            (&format!("{A}\n\n{}", &B[1..]), "line 3 is not 32 hexadecimal digits"),
            ("+0112233445566778899aabbccddeeff", "line 1 is not 32 hexadecimal digits"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), want, "{text:?}");
        }
    }

    #[test]
    fn random_secrets_rotate_and_the_last_one_stays_accepted() {
        assert!(Cookies::new(&CookieConfig::default()).unwrap().is_none());
        let cookies = Cookies::new(&CookieConfig { enabled: true, secret_file: None }).unwrap().unwrap();
        let (client, now) = ("192.0.2.1".parse().unwrap(), 1_700_000_000);
        let ask = |server: &[u8]| cookies.answer(&CookieOption { client: [1; 8], server }, client, now);
        let (_, first) = ask(&[]);
        assert!(cookies.renew().unwrap());
        let (validity, second) = ask(&first[8..]);
        assert!(validity == Validity::Valid && second != first);
        assert!(cookies.renew().unwrap());
        assert_eq!((ask(&first[8..]).0, ask(&second[8..]).0), (Validity::Invalid, Validity::Valid));
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_read_again_when_it_changes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, A).unwrap();
        let config = CookieConfig { enabled: true, secret_file: Some(file.path().to_owned()) };
        let cookies = Cookies::new(&config).unwrap().unwrap();
        let stop = CancellationToken::new();
        let test = async {
            let period = || tokio::time::sleep(REREAD * 2); // allow-sleep: the clock is paused
            for (text, active, accepted) in
                [(format!("{B}\n{A}"), 0xff, 1), (format!("{B}\nbroken"), 0xff, 1), (A.to_string(), 0x00, 0)]
            {
                std::fs::write(&file, &text).unwrap();
                period().await;
                let secrets = cookies.secrets.load();
                assert_eq!((secrets.active[0], secrets.accepted.len()), (active, accepted), "{text}");
            }
            stop.cancel();
        };
        tokio::join!(cookies.keep(stop.clone()), test);
        std::fs::write(&file, "").unwrap();
        assert!(matches!(Cookies::new(&config), Err(SecretsError::Count(0))));
    }
}
