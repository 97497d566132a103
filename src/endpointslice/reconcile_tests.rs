//! [`SliceController`] against a client whose API server is a list of canned answers.

use std::collections::VecDeque;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};

use super::*;

/// Status code and body; an error is a lost connection.
type Answer = Result<(u16, Value), ()>;

/// Answers requests in order and remembers them as `METHOD path` and body.
#[derive(Clone, Default)]
struct Api {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    requests: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Api {
    fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                let line = format!("{} {}", request.method(), request.uri().path());
                let body = request.into_body().collect().await.expect("a body in memory").to_bytes();
                let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                api.requests.lock().unwrap().push((line, body.clone()));
                let answer = api.answers.lock().unwrap().pop_front().expect("an answer for every request");
                let (code, answer) = answer.map_err(|()| std::io::Error::other("connection lost"))?;
                let answer = if answer.is_string() { stored(body, answer.as_str().unwrap()) } else { answer };
                let response =
                    Response::builder().status(code).body(Body::from(answer.to_string().into_bytes()));
                Ok::<_, std::io::Error>(response.expect("a valid response"))
            }
        });
        Client::new(service, "default")
    }

    /// The body of the request, stored at this resourceVersion.
    fn stores(&self, version: &str) {
        self.answers.lock().unwrap().push_back(Ok((200, json!(version))));
    }

    fn fails(&self, code: u16, cause: &str) {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "", "reason": "",
            "details": {"causes": [{"reason": cause, "message": "", "field": ""}]},
        });
        self.answers.lock().unwrap().push_back(Ok((code, status)));
    }

    fn drops_the_connection(&self) {
        self.answers.lock().unwrap().push_back(Err(()));
    }

    fn last(&self) -> (String, Value) {
        self.requests.lock().unwrap().last().cloned().expect("a request")
    }
}

fn stored(mut object: Value, version: &str) -> Value {
    object["metadata"]["resourceVersion"] = json!(version);
    object["metadata"]["uid"] = json!("slice-uid");
    object
}

fn show(stores: &Stores, object: &Value, version: &str) {
    let slice = serde_json::from_value(stored(object.clone(), version)).expect("a slice");
    stores.slices.apply(SliceView::narrow(slice).expect("one of ours"));
}

fn service() -> ServiceView {
    let service = json!({
        "metadata": {"name": "web", "namespace": "ns", "uid": "s", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"selector": {"app": "web"}, "clusterIP": "None", "ipFamilies": ["IPv4"]},
    });
    ServiceView::narrow(serde_json::from_value(service).expect("a Service"))
}

fn pod(number: u8) -> PodView {
    let pod = json!({
        "metadata": {"name": format!("pod-{number}"), "namespace": "ns", "uid": "p", "labels": {"app": "web"}},
        "spec": {"nodeName": "node", "containers": []},
        "status": {
            "phase": "Running",
            "podIPs": [{"ip": format!("10.0.0.{number}")}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    PodView::narrow(serde_json::from_value(pod).expect("a Pod"))
}

/// A Service with one ready Pod on a known Node.
fn setup() -> (Api, Stores, SliceController, ObjectKey) {
    let (api, stores) = (Api::default(), Stores::default());
    stores.services.apply(service());
    stores.pods.apply(pod(1));
    let node = json!({"metadata": {"name": "node", "uid": "n", "resourceVersion": "1"}});
    stores.nodes.apply(NodeView::narrow(serde_json::from_value(node).expect("a Node")));
    let controller = SliceController::new(api.client(), stores.clone(), 100);
    (api, stores, controller, service().key)
}

#[tokio::test]
async fn a_write_is_waited_for_and_then_found_sufficient() {
    let (api, stores, controller, key) = setup();
    api.stores("7");
    assert_eq!(controller.reconcile(&key).await.unwrap(), Next::OwnWrites);
    let (line, body) = api.last();
    assert_eq!(line, "POST /apis/discovery.k8s.io/v1/namespaces/ns/endpointslices");
    let name = body["metadata"]["name"].as_str().expect("a name of our choice");
    let suffix = name.strip_prefix("web-").expect("the Service's name first");
    assert!(suffix.len() == 5 && suffix.bytes().all(|it| NAME_ALPHABET.contains(&it)), "{name}");
    assert_eq!(body["metadata"]["annotations"][TRIGGER_TIME], "2026-01-01T00:00:00Z");
    assert_eq!(body["endpoints"][0]["addresses"], json!(["10.0.0.1"]));
    assert_eq!(controller.reconcile(&key).await.unwrap(), Next::OwnWrites, "not planned on an old view");
    show(&stores, &body, "7");
    assert_eq!(controller.reconcile(&key).await.unwrap(), Next::Event);
    assert_eq!(api.requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_update_keeps_what_others_put_on_the_slice() {
    let (api, stores, controller, key) = setup();
    api.stores("7");
    controller.reconcile(&key).await.unwrap();
    let mut object = api.last().1;
    object["metadata"]["annotations"]["example.org/a"] = json!("b");
    object["metadata"]["finalizers"] = json!(["example.org/f"]);
    show(&stores, &object, "8");
    stores.pods.apply(pod(2));
    api.stores("9");
    assert_eq!(controller.reconcile(&key).await.unwrap(), Next::OwnWrites);
    let (line, body) = api.last();
    let name = object["metadata"]["name"].as_str().unwrap();
    assert_eq!(line, format!("PUT /apis/discovery.k8s.io/v1/namespaces/ns/endpointslices/{name}"));
    assert_eq!(body["metadata"]["annotations"], json!({"example.org/a": "b"}), "no trigger advanced");
    assert_eq!(body["metadata"]["finalizers"], json!(["example.org/f"]));
    assert_eq!(body["metadata"]["resourceVersion"], "8");
    assert_eq!(body["endpoints"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn conflicts_are_planned_anew_at_once_and_a_terminating_namespace_ends_it() {
    let (api, stores, controller, key) = setup();
    api.fails(409, "");
    assert_eq!(controller.reconcile(&key).await.unwrap(), Next::After(STALE_RETRY), "the name is taken");
    api.stores("7");
    controller.reconcile(&key).await.unwrap();
    show(&stores, &api.last().1, "7");
    for code in [404, 409] {
        stores.pods.apply(pod(2));
        api.fails(code, "");
        assert_eq!(controller.reconcile(&key).await.unwrap(), Next::After(STALE_RETRY), "{code} on update");
    }
    let (api, _, controller, key) = setup();
    api.fails(403, "NamespaceTerminating");
    assert_eq!(controller.reconcile(&key).await.unwrap(), Next::Event);
    api.fails(403, "");
    assert!(controller.reconcile(&key).await.is_err(), "any other refusal is an error");
}

#[tokio::test]
async fn a_creation_of_unknown_outcome_is_not_made_twice() {
    let (api, stores, controller, key) = setup();
    api.drops_the_connection();
    assert!(controller.reconcile(&key).await.is_err());
    let first = api.last().1;
    api.fails(409, "");
    api.answers.lock().unwrap().push_back(Ok((200, stored(first.clone(), "7"))));
    assert_eq!(controller.reconcile(&key).await.unwrap(), Next::After(STALE_RETRY));
    assert_eq!(
        api.requests.lock().unwrap()[1].1["metadata"]["name"],
        first["metadata"]["name"],
        "the same name"
    );
    assert_eq!(controller.reconcile(&key).await.unwrap(), Next::OwnWrites, "it did arrive");
    show(&stores, &first, "7");
    assert_eq!(controller.reconcile(&key).await.unwrap(), Next::Event);
}

#[tokio::test]
async fn a_deletion_names_the_uid_and_not_found_is_success() {
    let (api, stores, controller, key) = setup();
    api.stores("7");
    controller.reconcile(&key).await.unwrap();
    let object = api.last().1;
    show(&stores, &object, "7");
    let mut old = object.clone();
    old["metadata"]["name"] = json!("web-old");
    old["metadata"]["ownerReferences"][0]["uid"] = json!("an older Service");
    show(&stores, &old, "8");
    api.fails(404, "");
    assert_eq!(controller.reconcile(&key).await.unwrap(), Next::Event);
    let (line, body) = api.last();
    assert_eq!(line, "DELETE /apis/discovery.k8s.io/v1/namespaces/ns/endpointslices/web-old");
    assert_eq!(body["preconditions"]["uid"], "slice-uid");
}

#[tokio::test]
async fn an_unmanaged_or_deleted_service_costs_nothing() {
    let (api, stores, controller, key) = setup();
    let mut unmanaged = service();
    unmanaged.selector.clear();
    stores.services.apply(unmanaged);
    assert_eq!(controller.reconcile(&key).await.unwrap(), Next::Event);
    stores.services.delete(&key, 9);
    assert_eq!(controller.reconcile(&key).await.unwrap(), Next::Event);
    assert!(api.requests.lock().unwrap().is_empty());
}
