//! Over real sockets, with requests by hand.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::admin::Check;
use crate::config::{Config, Loaded, Provenance};
use crate::telemetry::metrics;

struct Server {
    address: SocketAddr,
    state: Arc<AdminState>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

async fn server() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let running =
        Running::new(Loaded { config: Config::default(), provenance: Provenance::default(), notes: Vec::new() });
    let state = Arc::new(AdminState { registry: metrics::registry(), readiness: Arc::default(), running });
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(serve(listener, Arc::clone(&state), stopped));
    Server { address, state, stop, task }
}

impl Server {
    async fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn get(&self, path: &str) -> String {
        let rest = "Host: localhost\r\nConnection: close\r\n\r\n";
        self.ask(&format!("GET {path} HTTP/1.1\r\n{rest}")).await
    }
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("")
}

#[tokio::test]
async fn health_and_readiness() {
    let server = server().await;
    assert_eq!(status(&server.get("/livez").await), "200");
    let answer = server.get("/readyz").await;
    assert_eq!(status(&answer), "503");
    assert!(answer.contains("[-] listeners\n"), "{answer}");
    for check in [Check::Configuration, Check::Listeners, Check::Journal] {
        server.state.readiness.set(check, true);
    }
    let answer = server.get("/readyz").await;
    assert!(answer.ends_with("\r\n\r\nready\n"), "{answer}");
    let answer = server.get("/readyz?verbose").await;
    assert!(answer.contains("[+] journal\n[-] upstream (does not count"), "{answer}");
}

#[tokio::test]
async fn metrics_in_both_formats() {
    let server = server().await;
    let answer = server.get("/metrics").await;
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(answer.contains("kmend_build_info{"), "{answer}");
    let answer = server
        .ask(
            "GET /metrics HTTP/1.1\r\nHost: [::1]:1\r\nConnection: close\r\n\
             Accept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\n\r\n",
        )
        .await;
    assert!(answer.contains("application/openmetrics-text; version=1.0.0"), "{answer}");
    assert!(answer.ends_with("# EOF\n"), "{answer}");
}

#[tokio::test]
async fn the_configuration_with_its_origins() {
    let server = server().await;
    let answer = server.get("/api/config").await;
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["config"]["limits"]["max_frame"], "100MiB");
    assert_eq!(body["origins"]["limits.max_frame"], "default");
}

#[tokio::test]
async fn mistakes_are_answered_helpfully() {
    let server = server().await;
    let answer = server.get("/status").await;
    assert_eq!(status(&answer), "404");
    assert!(answer.contains("/readyz (?verbose)"), "{answer}");
    let post = "POST /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = server.ask(post).await;
    assert_eq!(status(&answer), "405");
    assert!(answer.contains("allow: GET, HEAD\r\n"), "{answer}");
    let foreign = "GET /api/config HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&server.ask(foreign).await), "421");
    assert_eq!(status(&server.ask("\x16\x03\x01\x02\r\n\r\n").await), "400");
    let long = format!("GET /livez HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    assert_ne!(status(&server.ask(&long[..20_000]).await), "200");
}

#[tokio::test]
async fn one_connection_serves_many_requests_until_the_end() {
    let server = server().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..3 {
        let request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = [0; 1024];
        let length = stream.read(&mut answer).await.unwrap();
        assert!(answer[..length].ends_with(b"ok\n"));
    }
    server.stop.send_replace(true);
    server.task.await.unwrap();
    // The idle connection is closed too.
    let rest = tokio::time::timeout(Duration::from_secs(2), stream.read(&mut [0; 16])).await;
    assert_eq!(rest.unwrap().unwrap(), 0);
}
