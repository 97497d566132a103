//! Another StatefulSet controller at work on the same set.
//!
//! Two of them undo each other's status and both create pods. The field managers of the status tell: whoever wrote it
//! last left a stamp, and both stamps come from the clock of the API server. A stamp of kube-controller-manager from before
//! our first write is how every take-over begins; one that is newer than ours means that both run.
//! Source: apimachinery `ManagedFieldsEntry`.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::model::SetSpec;
use super::plan::Warning;

/// What we call ourselves in managed fields: the product of the User-Agent.
pub const MANAGER: &str = "ordinal";
/// What the stock controller is called there.
const STOCK: &str = "kube-controller-manager";
/// How long the other one has to be quiet before we go on.
const QUIET: SignedDuration = SignedDuration::from_mins(5);

/// Who wrote the status of a set, and when last, by the clock of the API server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StatusWriters {
    /// We did.
    pub ours: Option<Timestamp>,
    /// The stock controller did.
    pub stock: Option<Timestamp>,
}

impl StatusWriters {
    /// Reads `metadata.managedFields`.
    pub fn narrow(managed_fields: Option<&Value>) -> Self {
        let entries = managed_fields.and_then(Value::as_array).into_iter().flatten();
        let mut writers = Self::default();
        for it in entries.filter(|it| it["subresource"] == "status") {
            let at = it["time"].as_str().and_then(|it| it.parse().ok());
            match it["manager"].as_str() {
                Some(MANAGER) => writers.ours = writers.ours.max(at),
                Some(STOCK) => writers.stock = writers.stock.max(at),
                _ => {}
            }
        }
        writers
    }
}

/// How long to leave `set` alone, and what to say, because the stock controller wrote its status after we did.
pub fn rival(set: &SetSpec, now: Timestamp) -> Option<(Duration, Warning)> {
    let StatusWriters { ours: Some(ours), stock: Some(stock) } = set.status_writers else { return None };
    let until = stock.checked_add(QUIET).ok().filter(|it| stock > ours && *it > now)?;
    let message = format!(
        "{STOCK} wrote the status of this StatefulSet after {MANAGER} did: two controllers are at work; start {STOCK} with --controllers=*,-statefulset-controller. Nothing is done here until it has been quiet for 5 minutes"
    );
    let pause = until.duration_since(now).unsigned_abs();
    Some((pause, Warning { reason: "ConflictingController", message }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::notation::set;
    use super::*;

    #[test]
    fn only_a_stock_controller_that_writes_after_us_is_a_rival() {
        let entry = |manager: &str, subresource: &str, time: &str| json!({ "manager": manager, "subresource": subresource, "time": time });
        let (early, late) = ("1970-01-01T00:00:00Z", "1970-01-01T00:00:09Z");
        let now: Timestamp = "1970-01-01T00:00:10Z".parse().unwrap();
        let cases = [
            ("nobody wrote yet", vec![], None),
            ("a take-over begins", vec![entry(STOCK, "status", late)], None),
            ("it goes on", vec![entry(STOCK, "status", early), entry(MANAGER, "status", late)], None),
            ("both run", vec![entry(STOCK, "status", late), entry(MANAGER, "status", early)], Some(299)),
            (
                "others may write what they like",
                vec![entry("kubectl", "status", late), entry(MANAGER, "status", early)],
                None,
            ),
            (
                "the spec is not the status",
                vec![entry(STOCK, "", late), entry(MANAGER, "status", early)],
                None,
            ),
        ];
        for (why, entries, want) in cases {
            let mut set = set("1xA");
            set.status_writers = StatusWriters::narrow(Some(&json!(entries)));
            assert_eq!(rival(&set, now).map(|it| it.0.as_secs()), want, "{why}");
            assert_eq!(rival(&set, now + QUIET), None, "{why}, and then quiet");
        }
    }
}
