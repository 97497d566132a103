//! Durations as people write them in flags, files and annotations: `200ms`, `5s`, `1m30s`.

use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize as _, Deserializer, Serializer};

/// Reads a duration; zero may be written `0`. Never negative.
///
/// # Errors
/// What is wrong, and the accepted form.
pub fn parse(text: &str) -> Result<Duration, String> {
    let text = if text == "0" { "0s" } else { text };
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|it| Duration::try_from(it).ok())
        .ok_or_else(|| format!("{text:?} is not a duration; write it like 200ms, 5s or 1m30s"))
}

/// Text that [`parse`] reads back.
fn print(duration: Duration) -> String {
    format!("{:#}", SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX))
}

/// For `#[serde(with)]`.
///
/// # Errors
/// None of its own.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&print(*duration))
}

/// For `#[serde(with)]`.
///
/// # Errors
/// Text that is no duration.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// The same for keys that may be null.
pub mod option {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    /// For `#[serde(with)]`.
    ///
    /// # Errors
    /// None of its own.
    #[allow(clippy::ref_option, reason = "the signature serde asks for")]
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// For `#[serde(with)]`.
    ///
    /// # Errors
    /// Text that is no duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|it| super::parse(&it)).transpose().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_reads_back() {
        for (text, millis) in
            [("0", 0), ("0s", 0), ("200ms", 200), ("5s", 5000), ("1m30s", 90_000), ("1h", 3_600_000)]
        {
            let duration = parse(text).expect(text);
            assert_eq!(duration, Duration::from_millis(millis), "{text}");
            assert_eq!(parse(&print(duration)), Ok(duration), "{text}");
        }
        for text in ["", "soon", "-5s", "5"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
