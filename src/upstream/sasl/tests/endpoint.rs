//! Tokens from an endpoint.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::config::sasl::OAuth;
use crate::upstream::sasl::token::Endpoint;

/// An endpoint that gives these answers in turn, the last one for ever, and keeps what it was asked.
struct Scripted {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

async fn endpoint(answers: &[(&str, &str)]) -> Scripted {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/oauth/token?tenant=a", listener.local_addr().unwrap());
    let answers: Vec<String> = answers
        .iter()
        .map(|(status, body)| format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
        .collect();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = asked.clone();
    tokio::spawn(async move {
        for turn in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            // Its body is short, and its last field is known.
            while !request.ends_with(b"=everything") {
                let mut piece = [0; 1024];
                match stream.read(&mut piece).await {
                    Ok(n) if n > 0 => request.extend_from_slice(&piece[..n]),
                    _ => break,
                }
            }
            kept.lock().unwrap().push(String::from_utf8(request).unwrap());
            let answer = answers.get(turn).or(answers.last()).unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    Scripted { url, asked }
}

fn client(scripted: &Scripted, dir: &tempfile::TempDir) -> Endpoint {
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "s3cret:/ é\n").unwrap();
    let oauth = OAuth {
        token_url: Some(scripted.url.clone()),
        client_id: Some("my app".into()),
        client_secret_file: Some(secret),
        scope: Some("kafka".into()),
        audience: Some("everything".into()),
        ..OAuth::default()
    };
    Endpoint::new(&oauth).unwrap()
}

#[tokio::test]
async fn asks_once_for_as_long_as_the_token_lasts() {
    let dir = tempfile::tempdir().unwrap();
    let granted = ("200 OK", r#"{"access_token":"a.b-c_d~1+/=","token_type":"bearer","expires_in":3600}"#);
    let scripted = endpoint(&[granted]).await;
    let endpoint = client(&scripted, &dir);
    let both = tokio::join!(endpoint.token(), endpoint.token());
    assert_eq!((both.0.unwrap().as_str(), both.1.unwrap().as_str()), ("a.b-c_d~1+/=", "a.b-c_d~1+/="));
    let asked = scripted.asked.lock().unwrap().clone();
    let [request] = &asked[..] else {
        panic!("asked {} times", asked.len());
    };
    assert!(request.starts_with("POST /oauth/token?tenant=a HTTP/1.1\r\n"), "{request}");
    // `my+app:s3cret%3A%2F+%C3%A9`, RFC 6749, section 2.3.1.
    assert!(
        request
            .to_ascii_lowercase()
            .contains("authorization: basic bxkrYXBwOnMzY3JldCUzQSUyRislQzMlQTk=".to_ascii_lowercase().as_str()),
        "{request}"
    );
    assert!(request.ends_with("\r\n\r\ngrant_type=client_credentials&scope=kafka&audience=everything"), "{request}");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_about_to_end_is_replaced_and_outlives_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let answers = [
        ("200 OK", r#"{"access_token":"first","expires_in":"100"}"#),
        ("503 Service Unavailable", "busy"),
        ("200 OK", r#"{"access_token":"second","expires_in":100}"#),
        ("500 Oops", ""),
    ];
    let scripted = endpoint(&answers).await;
    let endpoint = client(&scripted, &dir);
    let token = async || endpoint.token().await.map(|t| t.to_string());
    assert_eq!(token().await.unwrap(), "first");
    tokio::time::advance(Duration::from_secs(79)).await;
    assert_eq!(token().await.unwrap(), "first");
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(token().await.unwrap(), "first", "the endpoint is busy");
    assert_eq!(token().await.unwrap(), "first");
    assert_eq!(scripted.asked.lock().unwrap().len(), 2, "not asked again at once");
    tokio::time::advance(Duration::from_secs(6)).await;
    assert_eq!(token().await.unwrap(), "second");
    tokio::time::advance(Duration::from_secs(200)).await;
    let error = token().await.unwrap_err().to_string();
    assert!(error.contains("/oauth/token: the token endpoint answered 500") && !error.contains("tenant"), "{error}");
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let long = format!(r#"{{"access_token":"{}"}}"#, "x".repeat(300_000));
    let cases = [
        ("200 OK", "<html>", "no `access_token`"),
        ("200 OK", r#"{"access_token":""}"#, "no bearer token"),
        ("200 OK", r#"{"access_token":"a\u0001auth=Bearer b"}"#, "no bearer token"),
        ("200 OK", r#"{"token":"a"}"#, "no `access_token`"),
        ("200 OK", long.as_str(), "far too long"),
        ("401 Unauthorized", r#"{"error":"invalid_client","error_description":"who?\n"}"#, "401: invalid_client: who?"),
        ("302 Found", "", "answered 302"),
    ];
    for (status, body, expected) in cases {
        let scripted = endpoint(&[(status, body)]).await;
        let error = client(&scripted, &dir).token().await.unwrap_err();
        let said = crate::upstream::chain(&error);
        assert!(said.contains(expected) && !said.contains("s3cret"), "{said}");
    }
    let nobody = Scripted { url: "http://127.0.0.1:1/".into(), asked: Arc::default() };
    let said = client(&nobody, &dir).token().await.unwrap_err().to_string();
    assert!(said.contains("cannot be reached"), "{said}");
}
