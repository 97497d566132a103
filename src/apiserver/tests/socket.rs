//! The loopback socket.

use super::*;
use crate::apiserver::Door;
use futures::StreamExt;
use kube::Config;
use kube::api::{ListParams, WatchParams};
use std::pin::pin;
use tokio::net::TcpListener;

#[tokio::test]
async fn the_secret_path_opens_and_shutdown_closes() {
    let server = ApiServer::new(options());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let serving =
        tokio::spawn(server.clone().serve(listener, Door::SecretPath("s3cret".into()), stop.clone()));
    let client = |path: &str| {
        let url = format!("http://{address}/{path}").parse().unwrap();
        Client::try_from(Config::new(url)).unwrap()
    };
    let maps: Api<ConfigMap> = Api::namespaced(client("wrong"), "default");
    let refused = maps.list(&ListParams::default()).await;
    assert_eq!(status_of(refused), (401, "Unauthorized".into()));
    let maps: Api<ConfigMap> = Api::namespaced(client("s3cret"), "default");
    let object: ConfigMap = serde_json::from_value(config_map("a", "1")).unwrap();
    maps.create(&PostParams::default(), &object).await.unwrap();
    let mut events = pin!(maps.watch(&WatchParams::default(), "0").await.unwrap());
    assert!(events.next().await.unwrap().is_ok());
    stop.cancel();
    while events.next().await.is_some() {}
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn only_loopback_is_served() {
    let server = ApiServer::new(options());
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = server.serve(listener, Door::SecretPath("s3cret".into()), CancellationToken::new()).await;
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come() {
    use tower::ServiceExt;
    let server = ApiServer::new(options());
    let begun = futures::stream::iter([Ok::<_, std::io::Error>("{\"metadata\":")]);
    let cut = futures::stream::iter([Ok("{\"metadata\":"), Err(std::io::Error::other("gone"))]);
    let slow = axum::body::Body::from_stream(begun.chain(futures::stream::pending()));
    for (body, want) in [(slow, (408, "Timeout")), (axum::body::Body::from_stream(cut), (400, "BadRequest"))]
    {
        let request = Request::post("/api/v1/namespaces/default/configmaps").body(body).unwrap();
        let response = server.router().oneshot(request).await.unwrap();
        let code = response.status().as_u16();
        let status = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let status: Value = serde_json::from_slice(&status).unwrap();
        assert_eq!((code, status["reason"].as_str().unwrap()), want, "{status}");
    }
}

/// Seconds until the server ends the connection, and what it sent; its clock runs as fast as it can once the answer begins.
async fn until_closed(path: &str) -> (u64, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = ApiServer::new(options());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server.serve(listener, Door::SecretPath("s3cret".into()), stop.clone()));
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET /s3cret{path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![stream.read_u8().await.unwrap()];
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    stream.read_to_end(&mut answer).await.unwrap();
    let seconds = start.elapsed().as_secs();
    tokio::time::resume();
    stop.cancel();
    serving.await.unwrap().unwrap();
    (seconds, String::from_utf8(answer).unwrap())
}

#[tokio::test]
async fn silence_has_a_limit_and_a_watch_is_none() {
    let (seconds, answer) = until_closed("/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 200") && (90..95).contains(&seconds), "{seconds} s, {answer}");
    let (seconds, answer) =
        until_closed("/api/v1/configmaps?watch=true&resourceVersion=1&timeoutSeconds=600").await;
    assert!(answer.ends_with("\r\n0\r\n\r\n"), "the watch ends whole: {answer}");
    assert!((690..695).contains(&seconds), "{seconds} s: the watch, then silence");
}
