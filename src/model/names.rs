//! Grammars of names, label keys, label values and ports, in upstream's words.
//!
//! Each check returns the complaint, `None` if the text is fine.
//! Source: apimachinery `pkg/util/validation/validation.go`.

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = r"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const SUBDOMAIN_UNDERSCORE: &str = r"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')";
const WILDCARD: &str = r"a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const HTTP_HEADER: &str = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const ENV_NAME: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";

/// Of a port number out of range.
pub const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";

/// `must be no more than N bytes`.
pub fn max_len(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let alnum = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.first().is_some_and(alnum)
        && bytes.last().is_some_and(alnum)
        && bytes.iter().all(|b| alnum(b) || *b == b'-')
}

fn is_name_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

fn first(length_ok: bool, max: usize, shape_ok: bool, message: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !length_ok {
        found.push(max_len(max));
    }
    if !shape_ok {
        found.push(message.to_owned());
    }
    found
}

/// RFC 1123 label, at most 63 bytes.
pub fn dns_label(text: &str) -> Vec<String> {
    first(text.len() <= 63, 63, is_label(text), LABEL)
}

/// RFC 1123 subdomain, at most 253 bytes.
pub fn dns_subdomain(text: &str) -> Vec<String> {
    first(text.len() <= 253, 253, text.split('.').all(is_label), SUBDOMAIN)
}

/// RFC 1123 label; dots alone have a message of their own.
pub fn label_without_dots(text: &str) -> Vec<String> {
    match dns_subdomain(text) {
        complaints if complaints.is_empty() && text.contains('.') => vec!["must not contain dots".to_owned()],
        _ => dns_label(text),
    }
}

/// RFC 1123 subdomain whose labels may have underscores, as names of search domains and services do.
pub fn dns_subdomain_with_underscores(text: &str) -> Vec<String> {
    let is_part = |it: &str| {
        let bytes = it.strip_prefix('_').unwrap_or(it).as_bytes();
        let alnum = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        bytes.first().is_some_and(alnum)
            && bytes.last().is_some_and(alnum)
            && bytes.iter().all(|b| alnum(b) || b"-_".contains(b))
    };
    first(text.len() <= 253, 253, text.split('.').all(is_part), SUBDOMAIN_UNDERSCORE)
}

/// RFC 1123 subdomain with a star in the place of its first label.
pub fn wildcard_dns_subdomain(text: &str) -> Vec<String> {
    let shape = text.strip_prefix("*.").is_some_and(|it| it.split('.').all(is_label));
    first(text.len() <= 253, 253, shape, WILDCARD)
}

/// Name of an HTTP header.
pub fn http_header(text: &str) -> Vec<String> {
    let shape = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if shape { Vec::new() } else { vec![HTTP_HEADER.to_owned()] }
}

/// RFC 1035 label: as RFC 1123, but starting with a letter.
pub fn dns_1035_label(text: &str) -> Vec<String> {
    let letter = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    first(text.len() <= 63, 63, letter && is_label(text), LABEL_1035)
}

/// Label key or annotation key: optional subdomain prefix, slash, name of at most 63 bytes.
pub fn qualified_name(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts[..] {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                found.push("prefix part must be non-empty".to_owned());
            } else {
                found.extend(dns_subdomain(prefix).into_iter().map(|it| format!("prefix part {it}")));
            }
            name
        }
        _ => {
            return vec![format!(
                "a qualified name {QUALIFIED} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        found.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        found.push(format!("name part {}", max_len(63)));
    }
    if !is_name_part(name) {
        found.push(format!("name part {QUALIFIED}"));
    }
    found
}

/// Label value: empty, or at most 63 bytes of name characters.
pub fn label_value(text: &str) -> Vec<String> {
    first(text.len() <= 63, 63, text.is_empty() || is_name_part(text), LABEL_VALUE)
}

/// Key of a `ConfigMap` or `Secret`.
pub fn config_key(text: &str) -> Vec<String> {
    let shape = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let mut found = first(text.len() <= 253, 253, shape, CONFIG_KEY);
    if text == "." {
        found.push("must not be '.'".to_owned());
    } else if text == ".." {
        found.push("must not be '..'".to_owned());
    } else if text.starts_with("..") {
        found.push("must not start with '..'".to_owned());
    }
    found
}

/// Name of an environment variable.
pub fn env_name(text: &str) -> Vec<String> {
    let shape = !text.is_empty() && text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=');
    if shape { Vec::new() } else { vec![ENV_NAME.to_owned()] }
}

/// Name of a container port: IANA service name (RFC 6335 §5.1).
pub fn port_name(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if text.len() > 15 {
        found.push("must be no more than 15 characters".to_owned());
    }
    if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        found.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        found.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        found.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        found.push("must not begin or end with a hyphen".to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammars() {
        type Check = fn(&str) -> Vec<String>;
        #[rustfmt::skip]
        let cases: &[(&str, Check, &str, bool)] = &[
            ("label",            dns_label,      "web-0",               true),
            ("digits first",     dns_label,      "0web",                true),
            ("upper case",       dns_label,      "Web",                 false),
            ("trailing hyphen",  dns_label,      "web-",                false),
            ("dot in a label",   dns_label,      "a.b",                 false),
            ("empty",            dns_label,      "",                    false),
            ("subdomain",        dns_subdomain,  "a.b-c.d",             true),
            ("empty part",       dns_subdomain,  "a..b",                false),
            ("1035",             dns_1035_label, "nginx",               true),
            ("1035 digit first", dns_1035_label, "0nginx",              false),
            ("plain key",        qualified_name, "app",                 true),
            ("prefixed key",     qualified_name, "app.kubernetes.io/x", true),
            ("two slashes",      qualified_name, "a/b/c",               false),
            ("empty prefix",     qualified_name, "/c",                  false),
            ("empty value",      label_value,    "",                    true),
            ("value with space", label_value,    "a b",                 false),
            ("file name",        config_key,     "my.cnf",              true),
            ("parent directory", config_key,     "..",                  false),
            ("port name",        port_name,      "web",                 true),
            ("long port name",   port_name,      "abcdefghijklmnop",    false),
            ("digits only",      port_name,      "80",                  false),
        ];
        for (why, check, text, fine) in cases {
            assert_eq!(check(text).is_empty(), *fine, "{why}: {text:?} gives {:?}", check(text));
        }
    }
}
