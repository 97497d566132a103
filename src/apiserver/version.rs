//! `/version`.

use serde_json::{Value, json};

/// Version of Kubernetes whose behaviour is served, and the build that serves it.
pub const GIT_VERSION: &str = concat!("v1.37.0+ordinal.", env!("CARGO_PKG_VERSION"));

/// The document.
pub fn document() -> Value {
    json!({
        "major": "1",
        "minor": "37",
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, architecture()),
    })
}

/// The architecture in Go's words.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
