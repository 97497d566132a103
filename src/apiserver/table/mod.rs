//! Rows and columns of `kubectl get`.

use crate::apiserver::resources::Resource;
use jiff::Timestamp;
use serde_json::Value;

/// One `columnDefinitions` entry of a `meta.k8s.io/v1` Table.
#[derive(Debug, PartialEq, Eq)]
pub struct Column {
    /// Heading; kubectl prints it in upper case.
    pub name: &'static str,
    /// OpenAPI type: `string`, `integer` or `boolean`.
    pub type_: &'static str,
    /// OpenAPI format: `name` for the name column, else empty.
    pub format: &'static str,
    /// One sentence.
    pub description: &'static str,
    /// 0 always shown, 1 only with `-o wide`.
    pub priority: i32,
}

/// Columns of a kind, in cell order.
pub fn columns(_resource: &Resource) -> &'static [Column] {
    &[]
}

/// Cells of one object, as many as there are columns.
pub fn cells(_resource: &Resource, _object: &Value, _now: Timestamp) -> Vec<Value> {
    Vec::new()
}

/// `conditions` of the row, for finished Pods.
pub fn conditions(_resource: &Resource, _object: &Value) -> Option<Value> {
    None
}

/// How long ago `since` was, as kubectl prints it.
pub fn age(_since: Option<Timestamp>, _now: Timestamp) -> String {
    String::new()
}
