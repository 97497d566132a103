//! Which objects count: the label selectors that the watches give to the API server.
//!
//! `DnsConfig` ──[`Selection::of`]──▶ [`Selection`] ──▶ `dns::watch`
//!
//! The API server evaluates them, so that an object whose labels change arrives as added or deleted and what is not
//! selected costs nothing here. They are parsed first all the same: a selector that the server would refuse is an error of
//! the configuration, with exit code 2, and no loop of failing requests.

use super::config::{ConfigError, DnsConfig};
use super::narrow::SERVICE_NAME_LABEL;
use crate::model::selector::LabelSelector;

/// Label selectors by kind; `None` selects every object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Of Namespaces.
    pub namespaces: Option<String>,
    /// Of Services.
    pub services: Option<String>,
    /// Of EndpointSlices: at least those that name their Service.
    pub slices: String,
}

impl Selection {
    /// What `config` selects.
    ///
    /// # Errors
    /// A selector outside of the grammar of Kubernetes, or two ways to choose namespaces.
    pub fn of(config: &DnsConfig) -> Result<Self, ConfigError> {
        let namespaces = parse("namespaceSelector", config.namespace_selector.as_deref())?;
        if namespaces.is_some() && !config.namespaces.is_empty() {
            let reason = format!(
                "cannot be used together with namespaces ({}): choose namespaces by label or by name, not both",
                config.namespaces.join(", ")
            );
            return Err(ConfigError { key: "namespaceSelector".to_owned(), reason });
        }
        let services = parse("selector", config.selector.as_deref())?;
        let slices = match &services {
            Some(selector) => format!("{SERVICE_NAME_LABEL},{selector}"),
            None => SERVICE_NAME_LABEL.to_owned(),
        };
        Ok(Self { namespaces, services, slices })
    }
}

/// The selector in the form upstream prints; `None` when it is absent or selects everything.
fn parse(key: &str, text: Option<&str>) -> Result<Option<String>, ConfigError> {
    let Some(text) = text else { return Ok(None) };
    match LabelSelector::parse(text) {
        Ok(selector) if selector.is_empty() => Ok(None),
        Ok(selector) => Ok(Some(selector.to_string())),
        Err(error) => {
            let reason = format!("{text:?} is no label selector: {error}");
            Err(ConfigError { key: key.to_owned(), reason })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(yaml: &str) -> Result<Selection, String> {
        let config: DnsConfig = serde_saphyr::from_str(yaml).unwrap();
        Selection::of(&config).map_err(|it| it.to_string())
    }

    #[test]
    fn selectors_are_given_to_the_server_in_one_form() {
        let none = Selection { namespaces: None, services: None, slices: SERVICE_NAME_LABEL.to_owned() };
        assert_eq!(of("{}").unwrap(), none);
        assert_eq!(of("{selector: '', namespaceSelector: ' '}").unwrap(), none);
        #[rustfmt::skip]
        let cases = [
            ("team=db", "team=db"), ("team == db", "team=db"), ("b!=1,a", "a,b!=1"), ("!legacy", "!legacy"),
            ("env in (prod, test),tier notin (x)", "env in (prod,test),tier notin (x)"),
        ];
        for (text, want) in cases {
            let got = of(&format!("{{selector: '{text}', namespaceSelector: '{text}'}}")).unwrap();
            assert_eq!(got.services.as_deref(), Some(want));
            assert_eq!(got.namespaces.as_deref(), Some(want));
            assert_eq!(got.slices, format!("kubernetes.io/service-name,{want}"));
        }
    }

    #[test]
    fn errors_name_the_key_and_quote_the_text() {
        let cases = [
            (
                "selector: a=b=c",
                "dns.selector: \"a=b=c\" is no label selector: found '=', expected: ',' or 'end of string'",
            ),
            (
                "selector: a in b",
                "dns.selector: \"a in b\" is no label selector: unable to parse requirement: ",
            ),
            (
                "namespaceSelector: -a",
                "dns.namespaceSelector: \"-a\" is no label selector: unable to parse requirement: ",
            ),
            (
                "{namespaceSelector: team=db, namespaces: [prod, dev]}",
                "dns.namespaceSelector: cannot be used together with namespaces (prod, dev): ",
            ),
        ];
        for (yaml, want) in cases {
            let got = of(yaml).expect_err(yaml);
            assert!(got.starts_with(want), "{yaml}: {got}");
        }
    }
}
