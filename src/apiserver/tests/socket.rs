//! The loopback socket.

use super::*;
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
    let serving = tokio::spawn(server.clone().serve(listener, "s3cret".into(), stop.clone()));
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
    let refused = server.serve(listener, "s3cret".into(), CancellationToken::new()).await;
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
}
