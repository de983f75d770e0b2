//! Tokens from an endpoint, for client credentials: a small one stands here, and gives tokens that live for four seconds.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::kafka::{PASSWORD, USER};
use crate::harness::secured::token;
use crate::harness::{Way, slot, unique, wait_for};
use crate::pair::PATIENCE;
use crate::raw::{is_alice, topics};
use crate::scripted::Raw;
use crate::{kafka, kmend};

/// Seconds.
const LIFETIME: u64 = 4;

/// What each request said: its head and its body.
type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// Gives everybody who asks a token for Alice; its address, and what it was asked.
fn endpoint() -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Asked::default();
    let seen = asked.clone();
    // It ends with the process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = answer(&stream, &seen);
        }
    });
    (address, asked)
}

fn answer(mut stream: &TcpStream, seen: &Asked) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let lower = head.to_lowercase();
    let length = lower.lines().find_map(|l| l.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    seen.lock().unwrap().push((head, String::from_utf8_lossy(&body).into_owned()));
    let text = json!({ "access_token": token(USER), "token_type": "Bearer", "expires_in": LIFETIME }).to_string();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    )
}

#[test]
fn tokens_come_from_the_endpoint_and_are_kept() {
    let _slot = slot();
    let (address, asked) = endpoint();
    let secret = kafka().authority().keep(&unique("client-secret"), PASSWORD);
    let topics = topics();
    let began = Instant::now();
    let kmend = kmend(Way::Oauth, |config| {
        let oauth = json!({ "token_url": format!("http://{address}/token"), "client_id": "kmend-test",
            "client_secret_file": secret, "scope": "kafka" });
        config["upstream"]["sasl"] = json!({ "mechanism": "OAUTHBEARER", "oauth": oauth });
    });
    let mut all: Vec<Raw> = (0..5).map(|_| Raw::open(&kmend.listen)).collect();
    // Five connections, of each three sessions: two tokens at least.
    wait_for("renewals", PATIENCE, || {
        all.iter_mut().for_each(|raw| is_alice(raw, &topics));
        std::thread::sleep(Duration::from_millis(200));
        (kmend.metrics().sum("kmend_logins_renewed_total", &[]) >= 10.0).then_some(())
    });
    let asked = asked.lock().unwrap();
    // At first, and at most so often as four fifths of a token's life have passed.
    let most = 1 + (began.elapsed().as_millis() / (u128::from(LIFETIME) * 800)) as usize;
    assert!((2..=most).contains(&asked.len()), "{} requests, at most {most}: {asked:?}", asked.len());
    for (head, body) in asked.iter() {
        assert!(head.starts_with("POST /token "), "{head}");
        // kmend-test:alice-secret
        assert!(head.contains("Basic a21lbmQtdGVzdDphbGljZS1zZWNyZXQ="), "{head}");
        assert_eq!(body, "grant_type=client_credentials&scope=kafka");
    }
}
