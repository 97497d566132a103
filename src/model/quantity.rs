//! Resource quantities: text in, exact value and canonical text out.
//!
//! The API server stores the canonical form (`1024Mi` becomes `1Gi`, `0.5` becomes `500m`), so that equal
//! amounts are equal text. Values are held in units of 10⁻⁹ and rounded up to it.
//! Source: apimachinery `pkg/api/resource/quantity.go`.

use serde_json::Value;

/// What a quantity that does not parse is called.
pub const FORMAT_ERROR: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

const NANO: i128 = 1_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    BinarySi,
    DecimalSi,
    DecimalExponent,
}

/// An amount; ordered by value, whatever it was written as.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Quantity {
    /// `None` if the text is no quantity or does not fit.
    pub fn parse(text: &str) -> Option<Quantity> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let (multiplier, divisor, format) = scale(suffix)?;
        let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
        let below = divisor.checked_mul(10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?)?;
        let above = digits.checked_mul(multiplier)?.checked_mul(NANO)?;
        let nanos = above / below + i128::from(above % below != 0);
        Some(Quantity { nanos: if negative { -nanos } else { nanos }, format })
    }

    /// From a JSON string or number.
    pub fn from_json(value: &Value) -> Option<Quantity> {
        match value {
            Value::String(text) => Quantity::parse(text),
            Value::Number(number) => Quantity::parse(&number.to_string()),
            _ => None,
        }
    }

    /// An amount of so many thousandths, shown with binary or decimal suffixes.
    pub fn from_millis(millis: i64, binary: bool) -> Self {
        let format = if binary { Format::BinarySi } else { Format::DecimalSi };
        Self { nanos: i128::from(millis) * (NANO / 1000), format }
    }

    /// The amount in thousandths, rounded up.
    pub fn millis(&self) -> i64 {
        let per_milli = NANO / 1000;
        let up = i128::from(self.nanos % per_milli > 0);
        i64::try_from(self.nanos / per_milli + up).unwrap_or(i64::MAX)
    }

    /// Whether the amount is less than zero.
    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// Whether the amount is zero.
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// The amount in thousandths, rounded up; the largest number if it does not fit.
    pub fn milli(&self) -> i64 {
        let milli = self.nanos / (NANO / 1000) + i128::from(self.nanos % (NANO / 1000) > 0);
        i64::try_from(milli).unwrap_or(i64::MAX)
    }
}

/// (multiplier, divisor, format) of a suffix.
fn scale(suffix: &str) -> Option<(i128, i128, Format)> {
    let binary = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    if let Some(power) = binary.iter().position(|it| *it == suffix) {
        return Some((1_i128 << (10 * (power + 1)), 1, Format::BinarySi));
    }
    let decimal = ["", "k", "M", "G", "T", "P", "E"];
    if let Some(power) = decimal.iter().position(|it| *it == suffix) {
        return Some((1000_i128.pow(u32::try_from(power).ok()?), 1, Format::DecimalSi));
    }
    let small = ["m", "u", "n"];
    if let Some(power) = small.iter().position(|it| *it == suffix) {
        return Some((1, 1000_i128.pow(u32::try_from(power).ok()? + 1), Format::DecimalSi));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs()).filter(|it| *it < 1 << 80)?;
    Some(if exponent < 0 { (1, power, Format::DecimalExponent) } else { (power, 1, Format::DecimalExponent) })
}

impl std::fmt::Display for Quantity {
    /// The canonical form: no fraction, the largest suffix that keeps it exact.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        // Binary suffixes make no sense below 1024: `0.5Ki` is `512`.
        if self.format == Format::BinarySi && self.nanos.abs() >= 1024 * NANO {
            let mut amount = self.nanos / NANO + i128::from(self.nanos % NANO > 0);
            let mut power = 0;
            while amount % 1024 == 0 && power < 6 {
                amount /= 1024;
                power += 1;
            }
            return write!(f, "{amount}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power]);
        }
        let (mut amount, mut power) = (self.nanos, 0);
        while amount % 1000 == 0 && power < 9 {
            amount /= 1000;
            power += 1;
        }
        match (self.format, power) {
            (Format::DecimalExponent, 3) => write!(f, "{amount}"),
            (Format::DecimalExponent, power) => {
                write!(f, "{amount}e{}", i64::try_from(power).unwrap_or_default() * 3 - 9)
            }
            (_, power) => write!(f, "{amount}{}", ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][power]),
        }
    }
}

/// The canonical text of a quantity; text that is no quantity comes back unchanged.
pub fn canonical(text: &str) -> String {
    Quantity::parse(text).map_or_else(|| text.to_owned(), |it| it.to_string())
}

/// Rewrites a map of quantities (such as `resources.limits`) to canonical strings, numbers included.
pub fn canonicalize_map(map: &mut Value) {
    for value in map.as_object_mut().into_iter().flat_map(|it| it.values_mut()) {
        canonicalize(value);
    }
}

/// Rewrites one quantity to its canonical string; what is no quantity stays for validation to refuse.
pub fn canonicalize(value: &mut Value) {
    if let Some(quantity) = Quantity::from_json(value) {
        *value = Value::String(quantity.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_form() {
        #[rustfmt::skip]
        let cases = [
            ("1", "1"), ("1Gi", "1Gi"), ("1024Mi", "1Gi"), ("1024Ki", "1Mi"), ("0.5", "500m"), ("500m", "500m"),
            ("1000m", "1"), ("1500m", "1500m"), ("1.5Gi", "1536Mi"), ("0.5Gi", "512Mi"), ("512", "512"),
            ("1e3", "1e3"), ("1E3", "1e3"), ("12e4", "120e3"), ("1000k", "1M"), ("100000", "100k"), ("0", "0"), ("0Gi", "0"),
            ("-1", "-1"), ("+5", "5"), (".5", "500m"), ("5.", "5"), ("1n", "1n"), ("0.1n", "1n"), ("10Ei", "10Ei"),
            ("0.5Ki", "512"), ("abc", "abc"), ("1.2.3", "1.2.3"), ("", ""), ("1ki", "1ki"), ("1 Gi", "1 Gi"),
        ];
        for (text, want) in cases {
            assert_eq!(canonical(text), want, "{text:?}");
        }
    }

    #[test]
    fn comparison_is_by_value() {
        let at = |text| Quantity::parse(text).unwrap();
        assert_eq!(at("1Gi"), at("1024Mi"));
        assert!(at("1G") < at("1Gi"));
        assert!(at("-1").is_negative() && at("0").is_zero());
    }
}
