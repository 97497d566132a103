//! Who may transfer zones, and who hears of changes.
//!
//! [`TransferConfig`] ──[`Access::check`]──▶ [`Access`] ──▶ `dns::transfer`, `dns::transfer::notify`

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::dns::config::{ConfigError, TransferConfig};

/// Port of a target of NOTIFY that names none.
const DNS_PORT: u16 = 53;

/// The checked `transfer:` section.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    allowed: Vec<IpNet>,
    /// Where NOTIFY goes; empty when it is off.
    pub notify: Vec<SocketAddr>,
}

impl Access {
    /// Reads every entry: an address, a CIDR block, or an address with the port for NOTIFY.
    ///
    /// # Errors
    /// The first entry that is none of them, or `notify` without a single address to send to.
    pub fn check(config: &TransferConfig) -> Result<Self, ConfigError> {
        let mut access = Self::default();
        for (at, text) in config.to.iter().enumerate() {
            let single = text.parse().map(|ip| SocketAddr::new(ip, DNS_PORT)).or_else(|_| text.parse());
            let block = match single {
                Ok(target) => {
                    access.notify.push(target);
                    Ok(IpNet::from(target.ip()))
                }
                Err(_) => text.parse(),
            };
            access.allowed.push(block.map_err(|_| ConfigError {
                key: format!("transfer.to[{at}]"),
                reason: format!("{text:?} is no address, CIDR block or address with a port"),
            })?);
        }
        if !config.notify {
            access.notify.clear();
        } else if access.notify.is_empty() {
            let reason = "no entry of transfer.to is a single address to notify".to_string();
            return Err(ConfigError { key: "transfer.notify".to_string(), reason });
        }
        Ok(access)
    }

    /// Whether `client` may transfer zones. An IPv4 client of an IPv6 socket counts as what it is.
    pub fn allows(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.allowed.iter().any(|it| it.contains(&client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        let to = ["192.0.2.1", "10.1.2.3/8", "2001:db8::/32", "192.0.2.2:5353", "[2001:db9::1]:54", "::1"];
        let mut config = TransferConfig { to: to.map(String::from).to_vec(), notify: true };
        let access = Access::check(&config).unwrap();
        for (client, want) in [
            ("192.0.2.1", true),
            ("192.0.2.2", true),
            ("192.0.2.3", false),
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("::ffff:10.0.0.1", true),
            ("2001:db8::7", true),
            ("2001:db9::1", true),
            ("2001:db9::2", false),
        ] {
            assert_eq!(access.allows(client.parse().unwrap()), want, "{client}");
        }
        let notified = access.notify.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(notified, ["192.0.2.1:53", "192.0.2.2:5353", "[2001:db9::1]:54", "[::1]:53"]);
        config.notify = false;
        assert!(Access::check(&config).unwrap().notify.is_empty());
        assert!(!Access::default().allows("127.0.0.1".parse().unwrap()), "nobody unless named");
    }
}
