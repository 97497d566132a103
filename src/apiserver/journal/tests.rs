//! A data directory as its user sees it: what was answered is there after any end, and what cannot be trusted is refused
//! and left as it was.

use std::fs;
use std::path::Path;

use http::Method;
use redb::{Database, ReadableDatabase as _};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::disk::{META, OBJECTS};
use super::folder::{Folder, FolderError};
use crate::apiserver::tls::Keys;
use crate::apiserver::{ApiServer, Options};

const FILE: &str = "ordinal.redb";

fn open(path: &Path) -> Result<ApiServer, FolderError> {
    Ok(ApiServer::open(Options::default(), Folder::open(path, "/secret")?))
}

async fn call(server: &ApiServer, method: Method, path: &str, body: &Value) -> (u16, Value) {
    let request =
        http::Request::builder().method(method).uri(path).header("content-type", "application/json");
    let request = request.body(axum::body::Body::from(body.to_string())).unwrap();
    let response = server.router().oneshot(request).await.unwrap();
    let code = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (code, serde_json::from_slice(&bytes).unwrap())
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SERVICES: &str = "/api/v1/namespaces/default/services";

async fn create_map(server: &ApiServer, name: &str) -> Value {
    let body = json!({ "metadata": { "name": name }, "data": { "key": "x".repeat(300) } });
    let (code, created) = call(server, Method::POST, MAPS, &body).await;
    assert_eq!(code, 201, "{created}");
    created
}

async fn create_service(server: &ApiServer, name: &str) -> Value {
    let body = json!({ "metadata": { "name": name }, "spec": { "ports": [{ "port": 80 }] } });
    let (code, created) = call(server, Method::POST, SERVICES, &body).await;
    assert_eq!(code, 201, "{created}");
    created
}

#[test]
fn the_first_keys_stay() {
    let directory = tempfile::tempdir().unwrap();
    let [first, second] = [(); 2].map(|()| Keys::generate(jiff::Timestamp::UNIX_EPOCH).unwrap());
    let keys = |fresh: Option<&Keys>| {
        Folder::open_for_tls(directory.path(), "/secret", fresh.cloned()).unwrap().keys
    };
    assert_eq!(keys(None), None, "served without TLS");
    assert_eq!(keys(Some(&first)), Some(first.clone()));
    assert_eq!(keys(Some(&second)), Some(first), "kubeconfigs go on working");
    assert_eq!(keys(None), None);
}

#[tokio::test]
async fn everything_is_as_before() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("not/there/yet");
    let server = open(&path).unwrap();
    let kept = create_map(&server, "kept").await;
    create_map(&server, "gone").await;
    let deleted = call(&server, Method::DELETE, &format!("{MAPS}/gone"), &json!({})).await;
    assert_eq!(deleted.0, 200);
    let service = create_service(&server, "one").await;
    let (version, before) = server.store().snapshot();
    assert!(matches!(open(&path), Err(FolderError::InUse(_))), "two processes at once");
    drop(server);

    let folder = Folder::open(&path, "/another").unwrap();
    assert_eq!(folder.base_path, "/secret", "kubeconfigs go on working");
    let server = ApiServer::open(Options::default(), folder);
    let (now, after) = server.store().snapshot();
    assert_eq!(now, version, "nothing was written at start");
    let text = |all: &[(
        &'static crate::apiserver::resources::Resource,
        std::sync::Arc<crate::apiserver::object::Object>,
    )]| {
        all.iter()
            .map(|(kind, it)| (kind.kind, it.key.clone(), it.version, it.body.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(text(&after), text(&before));
    assert_eq!(call(&server, Method::GET, &format!("{MAPS}/kept"), &json!({})).await.1, kept);
    assert_eq!(call(&server, Method::GET, &format!("{MAPS}/gone"), &json!({})).await.0, 404);
    // Addresses in use stay in use.
    let address = service["spec"]["clusterIP"].clone();
    let taken =
        json!({ "metadata": { "name": "two" }, "spec": { "clusterIP": address, "ports": [{ "port": 80 }] } });
    assert_eq!(call(&server, Method::POST, SERVICES, &taken).await.0, 422);
    assert_ne!(create_service(&server, "three").await["spec"]["clusterIP"], address);
    // Events are not kept: whoever watched starts over.
    let (_, error) = first_event(&server, &format!("{MAPS}?watch=1&resourceVersion=2")).await;
    assert_eq!(error["object"]["code"], 410, "{error}");
    // New versions follow the old ones.
    let next = create_map(&server, "next").await["metadata"]["resourceVersion"].clone();
    assert!(next.as_str().unwrap().parse::<u64>().unwrap() > version);
}

async fn first_event(server: &ApiServer, path: &str) -> (u16, Value) {
    use futures::StreamExt as _;
    let request = http::Request::get(path).body(axum::body::Body::empty()).unwrap();
    let response = server.router().oneshot(request).await.unwrap();
    let code = response.status().as_u16();
    let chunk = response.into_body().into_data_stream().next().await.unwrap().unwrap();
    let line = chunk.split(|it| *it == b'\n').next().unwrap();
    (code, serde_json::from_slice(line).unwrap())
}

/// A copy of the file, taken when an answer or an event of a watch came, holds what it told.
#[tokio::test]
async fn what_is_told_is_durable() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let server = open(&path).unwrap();
    let copy_has = |turn: usize, name: &str| {
        let copy = directory.path().join(format!("copy-{turn}-{name}"));
        fs::create_dir(&copy).unwrap();
        fs::copy(path.join(FILE), copy.join(FILE)).unwrap();
        let restored = Folder::open(&copy, "/secret").unwrap().restored;
        restored.objects.iter().any(|(_, it)| it.key.name == name)
    };
    for turn in 0..10 {
        create_map(&server, &format!("a{turn}")).await;
        assert!(copy_has(turn, &format!("a{turn}")));
    }
    for turn in 0..10 {
        let version = server.store().version();
        let path = format!("{MAPS}?watch=1&resourceVersion={version}");
        let name = format!("b{turn}");
        let (seen, _) = tokio::join!(first_event(&server, &path), create_map(&server, &name));
        assert_eq!(seen.1["object"]["metadata"]["name"], name.as_str());
        assert!(copy_has(turn, &name));
    }
    // Many at once share groups, and all of them are there.
    let names: Vec<String> = (0..50).map(|it| format!("c{it}")).collect();
    futures::future::join_all(names.iter().map(|it| create_map(&server, it))).await;
    let copied = names.iter().filter(|it| copy_has(99, it));
    assert_eq!(copied.count(), 50);
}

/// Everything below a folder: paths and content.
fn content(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|it| it.unwrap())
        .map(|it| (it.file_name().into_string().unwrap(), fs::read(it.path()).unwrap()))
        .collect();
    all.sort();
    all
}

/// Opens a folder that has to be refused, in one line, and stays as it is.
fn refused(path: &Path) -> FolderError {
    let before = content(path);
    let error = Folder::open(path, "/secret").err().expect("it has to be refused");
    assert!(!error.to_string().contains('\n'), "{error}");
    assert!(content(path) == before, "{error}: the folder was changed");
    error
}

fn filled(path: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = open(path).unwrap();
        for turn in 0..40 {
            create_map(&server, &format!("map-{turn}")).await;
        }
    });
}

#[test]
fn what_is_not_ours_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);

    fs::create_dir(at("foreign")).unwrap();
    fs::write(at("foreign").join("notes.txt"), "mine").unwrap();
    assert!(matches!(refused(&at("foreign")), FolderError::Foreign(_)));

    let zeros = vec![0; 65_536];
    for (name, bytes) in [("empty", &b""[..]), ("text", b"hello\n"), ("zeros", zeros.as_slice())] {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join(FILE), bytes).unwrap();
        assert!(matches!(refused(&at(name)), FolderError::Damaged { .. }), "{name}");
    }

    fs::create_dir(at("other")).unwrap();
    drop(Database::create(at("other").join(FILE)).unwrap());
    assert!(matches!(refused(&at("other")), FolderError::Damaged { .. }), "a database, but not ours");

    let file = at("file");
    fs::write(&file, "a file").unwrap();
    assert!(matches!(Folder::open(&file, "/secret"), Err(FolderError::Io { .. })));

    filled(&at("newer"));
    let database = Database::open(at("newer").join(FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert("format", "2").unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = refused(&at("newer"));
    assert!(matches!(&error, FolderError::Format { found, .. } if found == "2"), "{error}");

    filled(&at("unknown"));
    let database = Database::open(at("unknown").join(FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    let row = [&7_u64.to_le_bytes()[..], b"{}"].concat();
    transaction.open_table(OBJECTS).unwrap().insert("example.com/widgets/default/a", row.as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert!(refused(&at("unknown")).to_string().contains("example.com/widgets"));
}

/// Bits that flip and files that were cut: refused, or harmless.
#[test]
fn damage_is_found_or_harmless() {
    let directory = tempfile::tempdir().unwrap();
    let whole = directory.path().join("whole");
    filled(&whole);
    let bytes = fs::read(whole.join(FILE)).unwrap();
    let rows = |path: &Path| {
        let database = Database::open(path.join(FILE)).unwrap();
        let table = database.begin_read().unwrap().open_table(OBJECTS).unwrap();
        redb::ReadableTable::iter(&table)
            .unwrap()
            .map(|it| it.unwrap())
            .map(|(key, value)| (key.value().to_owned(), value.value().to_owned()))
            .collect::<Vec<_>>()
    };
    let want = rows(&whole);
    // Most of a young file is free space, where damage means nothing.
    let used: Vec<usize> = (0..bytes.len()).filter(|it| bytes[*it] != 0).collect();
    let mut found = 0;
    let cases = 120;
    for case in 0..cases {
        let folder = directory.path().join(format!("case-{case}"));
        fs::create_dir(&folder).unwrap();
        let mut damaged = bytes.clone();
        let at = used[(case * 7_919 * 131) % used.len()];
        if case % 3 == 0 {
            damaged.truncate(at);
        } else {
            let end = (at + 1 + case % 64).min(damaged.len());
            damaged[at..end].iter_mut().for_each(|it| *it ^= 0x5A);
        }
        fs::write(folder.join(FILE), &damaged).unwrap();
        let before = content(&folder);
        match Folder::open(&folder, "/secret") {
            Ok(opened) => {
                drop(opened);
                assert!(rows(&folder) == want, "case {case}: damage at {at} was not found");
            }
            Err(error) => {
                found += 1;
                assert!(!error.to_string().contains('\n'), "{error}");
                assert!(content(&folder) == before, "case {case}: {error}: the folder was changed");
            }
        }
    }
    println!("{found} of {cases} kinds of damage mattered, and were found");
    assert!(found > cases / 2, "{found}");
}
