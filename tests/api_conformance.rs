//! One list of requests, sent to the embedded API server and to kube-apiserver; the answers have to be the same.
//!
//! `tests/fixtures/conformance/*.yaml` holds the cases, `*.json` beside it what kube-apiserver answered, freed of what
//! differs from run to run. The embedded server is compared with those answers. With `KUBEBUILDER_ASSETS` set, or
//! `USE_EXISTING_CLUSTER=true` and `KUBECONFIG`, a real one is too; `ORDINAL_RECORD=1` then writes them anew,
//! `ORDINAL_RECORD=lists,watches` those of two files.
//!
//! A case is a list of steps `[METHOD, PATH, BODY]`. Paths start at a resource of the case's own namespace or with `/`;
//! besides the HTTP methods there are MERGE, STRATEGIC, JSONPATCH and APPLY (patches), TABLE and META (GET in that
//! shape), WATCH (with the number of events to wait for as body), YAML (POST of text) and PICK (GET of a document of
//! lists, of which only the entries named in the body count).
//! A fourth member of a step holds headers of its own; the type of the answer is compared then, too.
//! `{2/metadata/uid}` in a path or a body is what the answer to step 2 of the case (from 0) had there.
//! What is known to differ is listed in `differences.yaml`, each with its reason, and in docs/API.md.

#[path = "common/cluster.rs"]
mod cluster;
mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use cluster::real::{Real, Setup};
use http_body_util::BodyExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use ordinal::apiserver::{ApiServer, Options};
use serde_json::{Value, json};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const META: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
const META_LIST: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";

/// Group and version of each resource that paths may start with.
const GROUPS: &[(&str, &str)] = &[
    ("apis/apps/v1", "statefulsets deployments replicasets daemonsets controllerrevisions"),
    ("apis/autoscaling/v2", "horizontalpodautoscalers"),
    ("apis/batch/v1", "jobs cronjobs"),
    ("apis/networking.k8s.io/v1", "ingresses networkpolicies"),
    ("apis/policy/v1", "poddisruptionbudgets"),
    ("apis/coordination.k8s.io/v1", "leases"),
    ("apis/discovery.k8s.io/v1", "endpointslices"),
    ("apis/rbac.authorization.k8s.io/v1", "roles rolebindings"),
];

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to begin: kube-apiserver tries some writes again for a while.
const START: Duration = Duration::from_secs(40);

struct Target {
    client: kube::Client,
    /// Namespaces of this run.
    prefix: String,
}

fn folder() -> PathBuf {
    common::fixture("conformance")
}

fn url(path: &str, namespace: &str) -> String {
    let path = &path.replace(' ', "%20");
    if path.starts_with('/') {
        return path.replace("{ns}", namespace);
    }
    let plural = path.split(['/', '?']).next().unwrap_or_default();
    let group = GROUPS.iter().find(|it| it.1.split(' ').any(|it| it == plural)).map_or("api/v1", |it| it.0);
    format!("/{group}/namespaces/{namespace}/{}", path.replace("{ns}", namespace))
}

impl Target {
    async fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> http::Response<kube::client::Body> {
        let mut request =
            http::Request::builder().method(method).uri(url).header("User-Agent", "conformance/1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.client.send(request.body(body.into()).expect("a request"));
        let answer = tokio::time::timeout(START, answer).await;
        answer.unwrap_or_else(|_| panic!("no answer to {method} {url}")).expect("an answer")
    }

    /// Sends one step; `before` are the answers to those before it.
    async fn step(&self, step: &Value, namespace: &str, before: &[Value]) -> Value {
        let text = |index: usize| step[index].as_str().unwrap_or_default();
        let kind = text(0);
        let url = url(&filled(text(1), before), namespace);
        let content = match kind {
            "MERGE" => "application/merge-patch+json",
            "STRATEGIC" => "application/strategic-merge-patch+json",
            "JSONPATCH" => "application/json-patch+json",
            "APPLY" => "application/apply-patch+yaml",
            "YAML" => "application/yaml",
            _ => "application/json",
        };
        let method = match kind {
            "MERGE" | "STRATEGIC" | "JSONPATCH" | "APPLY" => "PATCH",
            "YAML" => "POST",
            "TABLE" | "META" | "WATCH" | "PICK" => "GET",
            method => method,
        };
        let mut headers = Vec::new();
        match kind {
            "TABLE" => headers.push(("Accept", TABLE)),
            // Relative paths of collections have no slash.
            "META" => {
                let is_one = text(1).split('?').next().is_some_and(|it| it.contains('/'));
                headers.push(("Accept", if is_one { META } else { META_LIST }));
            }
            _ => {}
        }
        let sent = match &step[2] {
            _ if method == "GET" => String::new(),
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let body = filled(&sent, before).replace("{ns}", namespace).into_bytes();
        let own = step[3].as_object();
        for (name, value) in own.into_iter().flatten() {
            headers.push((name, value.as_str().expect("headers are text")));
        }
        if !body.is_empty() && own.is_none_or(|it| !it.contains_key("Content-Type")) {
            headers.push(("Content-Type", content));
        }
        let response = self.send(method, &url, &headers, body).await;
        let code = response.status().as_u16();
        let warnings: Vec<String> = response
            .headers()
            .get_all("warning")
            .iter()
            .map(|it| it.to_str().unwrap_or_default().to_owned())
            .collect();
        let mut answer = json!({"code": code});
        let answered = response.headers().get("content-type").and_then(|it| it.to_str().ok());
        let answered = answered.unwrap_or_default().to_owned();
        if own.is_some() {
            answer["type"] = answered.as_str().into();
        }
        if !warnings.is_empty() {
            // Endpoints are as deprecated here as there; only kube-apiserver says so each time.
            answer["warnings"] = json!(warnings);
        }
        if kind == "WATCH" && code == 200 {
            let wanted = usize::try_from(step[2].as_u64().unwrap_or(1)).unwrap_or(1);
            answer["events"] = lines(response.into_body(), wanted).await.into();
        } else {
            let whole = tokio::time::timeout(PATIENCE, response.into_body().collect()).await;
            let bytes = match whole {
                Ok(whole) => whole.expect("a whole body").to_bytes(),
                Err(_) => "an answer without end".into(),
            };
            let text = || String::from_utf8_lossy(&bytes).into_owned();
            answer["body"] = match serde_json::from_slice(&bytes) {
                Ok(body) => body,
                Err(_) if answered.starts_with("application/yaml") => {
                    serde_saphyr::from_str(&text()).unwrap_or_default()
                }
                Err(_) => text().into(),
            };
        }
        if kind == "PICK" {
            pick(&mut answer["body"], &step[2]);
        }
        answer
    }

    /// Runs one case in a namespace of its own and returns what was answered, freed of what differs from run to run.
    async fn run(&self, index: usize, case: &Value) -> Vec<Value> {
        let namespace = format!("{}-{index}", self.prefix);
        let object = json!({"metadata": {"name": namespace}}).to_string().into_bytes();
        let json = [("Content-Type", "application/json")];
        let made = self.send("POST", "/api/v1/namespaces", &json, object).await;
        assert_eq!(made.status(), 201, "a namespace for {}", case["case"]);
        let mut answers = Vec::new();
        for step in case["do"].as_array().expect("steps") {
            let answer = self.step(step, &namespace, &answers).await;
            answers.push(answer);
        }
        for answer in &mut answers {
            normalize(answer, &namespace);
        }
        answers
    }
}

/// `text` with what earlier answers said in the place of each `{step/pointer}`.
fn filled(text: &str, before: &[Value]) -> String {
    let mut parts = text.split('{');
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let named = part.split_once('}').and_then(|(name, rest)| {
            let (step, pointer) = name.split_at(name.find('/')?);
            let value = before.get(step.parse::<usize>().ok()?)?["body"].pointer(pointer);
            Some((value.and_then(Value::as_str).unwrap_or("?"), rest))
        });
        match named {
            Some((value, rest)) => filled.extend([value, rest]),
            None => filled.extend(["{", part]),
        }
    }
    filled
}

/// Leaves those entries of the lists of `document` whose name is one of `names`, in the order of their names.
fn pick(document: &mut Value, names: &Value) {
    let name = |it: &Value| {
        [&it["name"], &it["resource"], &it["metadata"]["name"]]
            .into_iter()
            .find_map(|it| it.as_str().map(str::to_owned))
    };
    match document {
        Value::Object(map) => map.values_mut().for_each(|it| pick(it, names)),
        Value::Array(items) => {
            items.retain(|it| {
                name(it).is_none_or(|it| names.as_array().is_some_and(|all| all.iter().any(|one| *one == it)))
            });
            items.sort_by_key(name);
            for item in items {
                pick(item, names);
            }
        }
        _ => {}
    }
}

/// The first `wanted` lines of a stream.
async fn lines(mut body: kube::client::Body, wanted: usize) -> Vec<Value> {
    let mut text = Vec::new();
    let read = async {
        while let Some(Ok(frame)) = body.frame().await {
            text.extend_from_slice(frame.data_ref().map_or(&[][..], |it| it));
            if text.split(|it| *it == b'\n').count() > wanted {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(PATIENCE, read).await;
    text.split(|it| *it == b'\n').filter_map(|it| serde_json::from_slice(it).ok()).take(wanted).collect()
}

/// Puts words in the place of what differs from run to run, and leaves out what no client reads.
fn normalize(value: &mut Value, namespace: &str) {
    match value {
        Value::Object(map) => {
            for name in ["selfLink", "remainingItemCount", "storageVersionHash", "serverAddressByClientCIDRs"]
            {
                map.remove(name);
            }
            for (name, value) in map.iter_mut() {
                let word = match name.as_str() {
                    "uid" | "resourceVersion" | "continue" => Some(name.to_uppercase()),
                    "creationTimestamp"
                    | "deletionTimestamp"
                    | "lastTransitionTime"
                    | "startTime"
                    | "time"
                    | "expirationTimestamp" => Some("TIME".to_owned()),
                    "token" => Some("TOKEN".to_owned()),
                    "clusterIP" | "nodePort" => Some("ALLOCATED".to_owned()),
                    _ => None,
                };
                match (word, &mut *value) {
                    (_, Value::String(text)) if text.is_empty() || text == "None" => {}
                    (Some(word), Value::String(_) | Value::Number(_)) => *value = word.into(),
                    _ => normalize(value, namespace),
                }
                if name == "clusterIPs" && *value != json!(["None"]) {
                    *value = "ALLOCATED".into();
                }
            }
            if let Some(base) = map.get("generateName").and_then(Value::as_str).map(str::to_owned)
                && map.get("name").and_then(Value::as_str).is_some_and(|it| it.starts_with(&base))
            {
                map.insert("name".to_owned(), format!("{base}GENERATED").into());
            }
            if let Some(Value::Array(causes)) = map.get_mut("causes") {
                // Some are told twice, and those of several managers have no order.
                let is_conflict = |it: &Value| it["reason"] == "FieldManagerConflict";
                causes.sort_by_key(|it| is_conflict(it).then(|| it["message"].to_string()));
                let mut seen = Vec::new();
                causes.retain(|it| {
                    !seen.contains(it) && {
                        seen.push(it.clone());
                        true
                    }
                });
            }
            // Columns are told by name, type and priority; their descriptions are prose.
            if map.contains_key("priority") && map.contains_key("format") {
                map.remove("description");
            }
            if let Some(Value::Array(entries)) = map.get_mut("managedFields") {
                // Two of the same second have no order.
                entries.sort_by_key(|it| (it["manager"].to_string(), it["subresource"].to_string()));
            }
            let ages: Vec<usize> =
                map.get("columnDefinitions").and_then(Value::as_array).map_or_else(Vec::new, |it| {
                    it.iter().enumerate().filter(|it| it.1["name"] == "Age").map(|it| it.0).collect()
                });
            if !map.contains_key("columnDefinitions") {
                // Later rows of a watch do without the columns.
                let cells = map.get_mut("cells").and_then(Value::as_array_mut).into_iter().flatten();
                for cell in cells {
                    let is_age = |it: &str| it.strip_suffix('s').is_some_and(|it| it.parse::<u8>().is_ok());
                    if cell.as_str().is_some_and(is_age) {
                        *cell = "AGE".into();
                    }
                }
            }
            for row in map.get_mut("rows").and_then(Value::as_array_mut).into_iter().flatten() {
                for age in &ages {
                    row["cells"][*age] = "AGE".into();
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|it| normalize(it, namespace)),
        Value::String(text) => *text = words(&text.replace(namespace, "NS")),
        _ => {}
    }
}

/// A text with its uids, versions and times replaced.
fn words(text: &str) -> String {
    let is_uid = |it: &str| it.len() == 36 && it.bytes().filter(|it| *it == b'-').count() == 4;
    let word = |it: &str| {
        let bare = it.trim_matches(['"', '\\', ',', '(', ')', ':', '.']);
        let word = if is_uid(bare) {
            "UID"
        } else if bare.len() == 20 && bare.ends_with('Z') && bare.contains('T') {
            "TIME"
        } else if it.starts_with('(') && bare.parse::<u64>().is_ok() {
            "VERSION"
        } else if bare.parse::<std::net::Ipv4Addr>().is_ok_and(|it| it.octets()[0] == 10) {
            "ADDRESS"
        } else {
            return it.to_owned();
        };
        it.replace(bare, word)
    };
    // The difference of two Go structs that some messages end with.
    let text = text.split("\n@@").next().unwrap_or_default();
    if let Some((start, version)) = text.rsplit_once(", current: ")
        && version.parse::<u64>().is_ok()
    {
        return format!("{start}, current: VERSION");
    }
    let text = text.split('"').map(|it| if is_uid(it) { "UID" } else { it }).collect::<Vec<_>>().join("\"");
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Where two answers differ, as paths with both values.
fn differences(path: &str, want: &Value, got: &Value, found: &mut BTreeMap<String, String>) {
    match (want, got) {
        (Value::Object(want), Value::Object(got)) => {
            for name in want.keys().chain(got.keys()) {
                let null = Value::Null;
                let (want, got) = (want.get(name).unwrap_or(&null), got.get(name).unwrap_or(&null));
                differences(&format!("{path}/{name}"), want, got, found);
            }
        }
        (Value::Array(want), Value::Array(got)) if want.len() == got.len() => {
            for (index, (want, got)) in want.iter().zip(got).enumerate() {
                differences(&format!("{path}/{index}"), want, got, found);
            }
        }
        // Go writes empty values of fields that are not left out; nobody can tell them from absent ones.
        _ if !path.contains("/fieldsV1") && is_nothing(want) && is_nothing(got) => {}
        _ if want == got => {}
        (Value::String(want), Value::String(got)) if lasting(want) == lasting(got) => {}
        _ => {
            found.insert(path.to_owned(), format!("kube-apiserver {want}, ours {got}"));
        }
    }
}

/// A text without the uids, times, versions and made-up names of its run, wherever in it they are: kube-apiserver prints
/// whole objects.
fn lasting(text: &str) -> String {
    let is_part = |it: char| it.is_alphanumeric() || "-:_".contains(it);
    let is_uid = |it: &str| it.len() == 36 && it.bytes().filter(|it| *it == b'-').count() == 4;
    let is_time = |it: &str| it.len() == 20 && it.ends_with('Z') && it.contains('T') && it.contains(':');
    let (mut lasting, mut before) = (String::new(), "");
    let mut rest = text;
    while let Some(start) = rest.find(is_part) {
        let (between, from) = rest.split_at(start);
        let (part, after) = from.split_at(from.find(|it| !is_part(it)).unwrap_or(from.len()));
        let is_version = before == "resourceVersion" && part.parse::<u64>().is_ok();
        let is_made_up = part.starts_with("Bad_") && part.len() == 9;
        let told = match part {
            _ if is_uid(part) || is_time(part) || is_version || is_made_up => "*",
            part => part,
        };
        lasting.extend([between, told]);
        // The colon of a member stands alone.
        if part != ":" {
            before = part;
        }
        rest = after;
    }
    lasting + rest
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().all(is_nothing),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(flag) => !flag,
    }
}

/// (file, cases) of the whole suite.
fn suite() -> Vec<(String, Vec<Value>)> {
    let mut files: Vec<_> =
        std::fs::read_dir(folder()).expect("cases").map(|it| it.expect("readable").path()).collect();
    files.sort();
    let is_cases =
        |it: &PathBuf| it.extension().is_some_and(|it| it == "yaml") && !it.ends_with("differences.yaml");
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("readable");
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        (name, serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    };
    files.into_iter().filter(is_cases).map(read).collect()
}

fn recorded(file: &str) -> BTreeMap<String, Value> {
    let text =
        std::fs::read_to_string(folder().join(format!("{file}.json"))).unwrap_or_else(|_| "{}".to_owned());
    serde_json::from_str(&text).expect("JSON")
}

/// What is known to differ.
fn rules() -> Vec<Value> {
    let text = std::fs::read_to_string(folder().join("differences.yaml")).expect("readable");
    serde_saphyr::from_str(&text).expect("YAML")
}

/// Compares every answer; (cases, differences that no rule explains, rules that explained one).
async fn compare(target: &Target, rules: &[Value]) -> (usize, Vec<String>, Vec<usize>) {
    let (mut count, mut wrong, mut used) = (0, Vec::new(), Vec::new());
    for (file, cases) in suite() {
        let recorded = recorded(&file);
        for case in &cases {
            let name = case["case"].as_str().expect("a name");
            let got = target.run(count, case).await;
            count += 1;
            let Some(want) = recorded.get(name) else {
                wrong.push(format!("{file}: {name}: not recorded"));
                continue;
            };
            let mut found = BTreeMap::new();
            differences("", want, &got.into(), &mut found);
            for (path, text) in found {
                let explains = |rule: &Value| {
                    rule["case"].as_str().is_none_or(|it| it == name)
                        && path.contains(rule["path"].as_str().unwrap_or("?"))
                        && rule["says"].as_str().is_none_or(|it| text.contains(it))
                };
                match rules.iter().position(explains) {
                    Some(index) => used.push(index),
                    None => wrong.push(format!("{file}: {name}: {path}: {text}")),
                }
            }
        }
    }
    (count, wrong, used)
}

#[tokio::test]
async fn the_embedded_server_answers_like_kube_apiserver() {
    // Its loops do not run: kube-apiserver alone has no garbage collector either.
    let server = ApiServer::new(Options { protect_storage: true, ..Options::default() });
    let target = Target { client: kube::Client::new(server.router(), "default"), prefix: "case".to_owned() };
    let rules = rules();
    let (count, wrong, used) = compare(&target, &rules).await;
    assert!(wrong.is_empty(), "{} differences in {count} cases:\n{}", wrong.len(), wrong.join("\n"));
    let unused = rules.iter().enumerate().filter(|it| !used.contains(&it.0)).map(|it| it.1);
    let unused: Vec<_> = unused.filter(|it| it["sometimes"] != true).collect();
    assert!(unused.is_empty(), "these differences are gone: {unused:?}");
    println!("{count} cases, {} known differences", rules.len());
}

/// The recorded answers are those of kube-apiserver.
#[tokio::test]
async fn kube_apiserver_still_answers_so() {
    let existing = std::env::var("USE_EXISTING_CLUSTER").is_ok_and(|it| it == "true");
    let assets = cluster::real::assets().filter(|_| !existing);
    let cluster = assets.map(|assets| {
        let mut real = Real::start(&assets, &Setup::default());
        // As bare as the embedded server of the other test: nobody binds pods or collects garbage.
        real.end_rest();
        real
    });
    let path = match &cluster {
        Some(cluster) => cluster.kubeconfig(),
        None if existing => PathBuf::from(std::env::var_os("KUBECONFIG").expect("KUBECONFIG")),
        None => {
            println!("SKIPPED: KUBEBUILDER_ASSETS is not set");
            return;
        }
    };
    let file = Kubeconfig::read_from(path).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    // Answers that ask to try again are answers.
    let mut config = config.expect("a kubeconfig");
    config.default_retry = false;
    let client = kube::Client::try_from(config).expect("a client");
    let prefix = format!("case-{}", std::process::id());
    let target = Target { client, prefix };
    if let Ok(wanted) = std::env::var("ORDINAL_RECORD") {
        let mut count = 0;
        for (file, cases) in suite() {
            if wanted != "1" && !wanted.split(',').any(|it| it == file) {
                continue;
            }
            let mut answers = BTreeMap::new();
            for case in &cases {
                answers
                    .insert(case["case"].as_str().expect("a name").to_owned(), target.run(count, case).await);
                count += 1;
            }
            let lines: Vec<String> = answers
                .iter()
                .map(|(name, answers)| {
                    let answers: Vec<String> = answers.iter().map(ToString::to_string).collect();
                    format!("{}: [\n{}\n]", json!(name), answers.join(",\n"))
                })
                .collect();
            let text = format!("{{\n{}\n}}\n", lines.join(",\n"));
            std::fs::write(folder().join(format!("{file}.json")), text).expect("written");
        }
        println!("{count} cases recorded");
        return;
    }
    // Go's maps have no order.
    let unordered = |it: &Value| it["says"] == "supported values";
    let rules: Vec<Value> = rules().into_iter().filter(unordered).collect();
    let (count, wrong, _) = compare(&target, &rules).await;
    assert!(wrong.is_empty(), "{} differences in {count} cases:\n{}", wrong.len(), wrong.join("\n"));
}
