//! What storage classes allow, read when a claim is to grow and remembered for a while.
//!
//! No watch: only sets that ask for larger claims need it, and only while a claim is too small.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tracing::debug;

use crate::k8s::kinds::STORAGE_CLASSES;
use crate::k8s::write::WriteApi;
use crate::model::ObjectKey;

/// How long an answer holds. Classes hardly ever change.
const REMEMBERED: SignedDuration = SignedDuration::from_secs(60);

/// Whether volumes of a class can grow, and when that was read.
#[derive(Default)]
pub struct Classes(Mutex<HashMap<String, (Timestamp, bool)>>);

impl Classes {
    /// Which of the classes `names` allow volume expansion; those that can not be read are left out.
    pub async fn expandable(
        &self,
        api: &WriteApi,
        names: BTreeSet<String>,
        now: Timestamp,
    ) -> BTreeMap<String, bool> {
        let mut expandable = BTreeMap::new();
        for name in names.into_iter().filter(|it| !it.is_empty()) {
            let known = self.known(&name, now);
            let allows = match known {
                Some(it) => it,
                None => match api.get(STORAGE_CLASSES, &ObjectKey::new("", name.as_str())).await {
                    Ok(class) => class.get("allowVolumeExpansion").and_then(Value::as_bool) == Some(true),
                    Err(error) => {
                        debug!(%error, "storage class not read");
                        continue;
                    }
                },
            };
            if known.is_none() {
                let mut all = self.0.lock().expect("no code panics while it holds the classes");
                all.insert(name.clone(), (now, allows));
            }
            expandable.insert(name, allows);
        }
        expandable
    }

    fn known(&self, name: &str, now: Timestamp) -> Option<bool> {
        let all = self.0.lock().expect("no code panics while it holds the classes");
        all.get(name).filter(|(read, _)| now.duration_since(*read) < REMEMBERED).map(|(_, allows)| *allows)
    }
}
