//! The direction of imports and the purity of the parts that decide, read from the sources. Names the file that broke it.

use std::path::{Path, PathBuf};

fn sources() -> Vec<(String, String)> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).expect("readable").map(|it| it.expect("readable").path()) {
            if entry.is_dir() {
                walk(&entry, found);
            } else if entry.extension().is_some_and(|it| it == "rs") {
                found.push(entry);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    found
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&root).expect("below it").to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).expect("readable");
            // Tests may reach further than the code they test.
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
            (name, code)
        })
        .filter(|(name, _)| !name.contains("test"))
        .collect()
}

/// Lines of code that mention `needle`, comments left out.
fn mentions<'a>(code: &'a str, needle: &'a str) -> impl Iterator<Item = &'a str> {
    code.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//"))
        .filter(move |line| line.contains(needle))
}

#[test]
fn parts_import_only_what_lies_below_them() {
    // (part, parts it may import besides itself, model and resources every part may use)
    let allowed = [
        ("model", &[][..]),
        ("dns", &["model", "runtime", "k8s"]),
        ("statefulset", &["model", "runtime", "k8s"]),
        ("endpointslice", &["model", "runtime", "k8s"]),
        ("workload", &["model", "runtime", "k8s"]),
        ("node", &["model", "runtime", "k8s"]),
        ("apiserver", &["model", "http_server"]),
        ("http_server", &[]),
        ("runtime", &["model"]),
        ("k8s", &["model", "runtime"]),
        ("leader", &["runtime"]),
    ];
    let mut broken = Vec::new();
    for (file, code) in sources() {
        let part = file.split('/').next().unwrap_or_default();
        let Some((_, may)) = allowed.iter().find(|(name, _)| *name == part) else { continue };
        for line in mentions(&code, "crate::") {
            for path in line.split("crate::").skip(1) {
                let target: String = path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let known = allowed.iter().any(|(name, _)| *name == target)
                    || ["cli", "config", "components", "up", "run", "lookup", "telemetry"]
                        .contains(&target.as_str());
                if known && target != part && !may.contains(&target.as_str()) {
                    broken.push(format!("src/{file} imports {target}: {line}"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn what_decides_is_pure() {
    let pure = [
        "model/",
        "dns/name.rs",
        "k8s/proxy.rs",
        "dns/address_name.rs",
        "dns/model.rs",
        "dns/narrow.rs",
        "dns/records.rs",
        "dns/entry.rs",
        "dns/ports.rs",
        "dns/linger.rs",
        "dns/cache.rs",
        "dns/expected.rs",
        "dns/freshness.rs",
        "dns/known.rs",
        "dns/objects.rs",
        "dns/pods.rs",
        "dns/scoped.rs",
        "dns/skipped.rs",
        "dns/selection.rs",
        "dns/lookup.rs",
        "dns/explain/mod.rs",
        "dns/explain/sources.rs",
        "dns/explain/absence.rs",
        "dns/respond.rs",
        "dns/forward/onward.rs",
        "dns/hosts/mod.rs",
        "dns/upstream/cache.rs",
        "dns/upstream/message.rs",
        "dns/transfer/mod.rs",
        "dns/transfer/access.rs",
        "dns/transfer/content.rs",
        "dns/transfer/message.rs",
        "dns/transfer/schedule.rs",
        "dns/transfer/slots.rs",
        "statefulset/model.rs",
        "statefulset/view.rs",
        "statefulset/revision.rs",
        "statefulset/desired.rs",
        "statefulset/claim.rs",
        "statefulset/backoff.rs",
        "statefulset/extras.rs",
        "statefulset/rival.rs",
        "statefulset/growth.rs",
        "statefulset/reserved.rs",
        "statefulset/retention.rs",
        "statefulset/plan.rs",
        "statefulset/scale.rs",
        "statefulset/update.rs",
        "statefulset/status.rs",
        "statefulset/conditions.rs",
        "statefulset/trouble.rs",
        "statefulset/defaults.rs",
        "statefulset/selector.rs",
        "workload/model.rs",
        "workload/autoscaler/mod.rs",
        "workload/autoscaler/model.rs",
        "workload/autoscaler/proposal.rs",
        "workload/autoscaler/limits.rs",
        "workload/disruption/mod.rs",
        "workload/claim.rs",
        "workload/hash.rs",
        "workload/replicas/mod.rs",
        "workload/replicas/rank.rs",
        "workload/deployment/mod.rs",
        "workload/deployment/model.rs",
        "workload/deployment/conditions.rs",
        "workload/deployment/resize.rs",
        "workload/deployment/revision.rs",
        "workload/deployment/rolling.rs",
        "endpointslice/model.rs",
        "endpointslice/config.rs",
        "endpointslice/desired.rs",
        "endpointslice/hints/",
        "endpointslice/index/",
        "endpointslice/narrow.rs",
        "endpointslice/object.rs",
        "endpointslice/plan/",
        "endpointslice/subsets.rs",
        "endpointslice/trigger.rs",
        "apiserver/selector.rs",
        "apiserver/patch.rs",
        "apiserver/merge_keys.rs",
        "apiserver/defaults/",
        "apiserver/validate/",
        "apiserver/table/",
        "apiserver/ssa/",
        "apiserver/protobuf/",
        "leader/election.rs",
        "node/lifecycle.rs",
        "node/status.rs",
        "node/schedule.rs",
        "node/address.rs",
        "node/knobs.rs",
        "node/order.rs",
        "up/manifest.rs",
    ];
    let impure = [
        "tokio",
        "kube::Client",
        "async fn",
        "std::env",
        "std::fs",
        "UdpSocket",
        "TcpStream",
        "Instant::now",
        "SystemTime",
        "Timestamp::now",
        "Uuid::new_v4",
        "thread::",
    ];
    let sources = sources();
    let mut broken = Vec::new();
    for prefix in pure {
        let mut found = false;
        for (file, code) in sources.iter().filter(|(file, _)| file.starts_with(prefix)) {
            found = true;
            for needle in impure {
                broken.extend(mentions(code, needle).map(|line| format!("src/{file} uses {needle}: {line}")));
            }
        }
        assert!(found, "no file src/{prefix} any more: update this list");
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
