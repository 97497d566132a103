//! The configuration, read again while the process runs: on SIGHUP, and when its file has changed.
//!
//! file ──`Reload::read_again`──▶ what is applied at once, and what the log says needs a restart
//!
//! A file that cannot be read or is not valid changes nothing. A ConfigMap that is mounted as a file changes by itself, about
//! a minute after it was applied. `dns.hosts` and `dns.cookies.secretFile` name files that are followed on their own.

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, Interval};
use tracing::{error, info, warn};

use crate::config::{Config, ConfigError};
use crate::telemetry::Logs;

/// How often the file is looked at.
const PERIOD: Duration = Duration::from_secs(10);

/// Keys that take effect at once.
const LIVE: [&str; 1] = ["log.level"];

/// Reads the configuration as the command line and the environment say.
pub type Load = Box<dyn Fn() -> Result<Config, ConfigError> + Send>;

/// See the module.
pub struct Reload {
    load: Load,
    file: Option<PathBuf>,
    /// What the file said when it was last looked at.
    text: Option<String>,
    current: Config,
    logs: Logs,
}

impl Reload {
    /// `current` is in effect and came from `load`, which reads `file` if there is one.
    pub fn new(load: Load, file: Option<PathBuf>, current: Config, logs: Logs) -> Self {
        let text = file.as_deref().and_then(|it| std::fs::read_to_string(it).ok());
        Self { load, file, text, current, logs }
    }

    /// Reads again on SIGHUP and when the file changes, for ever.
    pub async fn follow(mut self) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(signal) => Some(signal),
            Err(error) => {
                warn!(%error, "cannot handle SIGHUP");
                None
            }
        };
        let mut looks = tokio::time::interval_at(Instant::now() + PERIOD, PERIOD);
        while self.changed(&mut hangup, &mut looks).await {
            self.read_again();
        }
    }

    /// Waits until there is a reason to read again.
    async fn changed(&mut self, hangup: &mut Option<Signal>, looks: &mut Interval) -> bool {
        loop {
            let told = async {
                match hangup {
                    Some(signal) => signal.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                told = told => return told.is_some(),
                _ = looks.tick() => {
                    let Some(file) = &self.file else { continue };
                    let text = tokio::fs::read_to_string(file).await.ok();
                    // A file that is away for a moment is being replaced.
                    if text.is_some() && text != self.text {
                        self.text = text;
                        return true;
                    }
                }
            }
        }
    }

    fn read_again(&mut self) {
        let new = match (self.load)() {
            Ok(new) => new,
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::new(error));
                error!(error, "the configuration is left as it was");
                return;
            }
        };
        let changed = differences(&self.current, &new);
        let (live, rest): (Vec<String>, Vec<String>) =
            changed.into_iter().partition(|it| LIVE.contains(&it.as_str()));
        self.logs.set_level(&new.log.level);
        info!(applied = live.join(", "), "the configuration was read again");
        if !rest.is_empty() {
            warn!(keys = rest.join(", "), "changed in the configuration; takes effect with a restart");
        }
        self.current.log.level = new.log.level;
    }
}

/// The keys whose values differ, with dots, sorted.
fn differences(old: &Config, new: &Config) -> Vec<String> {
    let [old, new] = [old, new].map(|it| serde_json::to_value(it).unwrap_or_default());
    let mut keys = Vec::new();
    compare(String::new(), &old, &new, &mut keys);
    keys.sort_unstable();
    keys
}

fn compare(key: String, old: &serde_json::Value, new: &serde_json::Value, keys: &mut Vec<String>) {
    match (old, new) {
        (serde_json::Value::Object(old), serde_json::Value::Object(new)) => {
            for (name, value) in old {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                compare(key, value, new.get(name).unwrap_or(&serde_json::Value::Null), keys);
            }
        }
        _ if old != new => keys.push(key),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_differ_are_named() {
        let config = |text: &str| crate::config::parse(text).expect("valid");
        let differing = |a: &str, b: &str| differences(&config(a), &config(b)).join(" ");
        assert_eq!(differing("{}", "{}"), "");
        assert_eq!(differing("{}", "log: {level: debug}"), "log.level");
        assert_eq!(
            differing("dns: {ttl: 9, tcp: {maxInFlight: 3}}", "dns: {zones: [a]}"),
            "dns.tcp.maxInFlight dns.ttl dns.zones"
        );
        assert_eq!(differing("components: dns", "components: '*'"), "components");
    }
}
