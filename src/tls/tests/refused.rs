//! Clients that have no session, and what is said of them.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::kit::{Authority, Leaf, Speaks, handshake, pair, server};
use crate::config::model::ListenTls;
use crate::tls::HandshakeError;

/// What is made of a client that sends this and finishes.
async fn said(settings: &ListenTls, bytes: &[u8]) -> HandshakeError {
    let (mut client, accepted) = pair().await;
    client.write_all(bytes).await.unwrap();
    client.shutdown().await.unwrap();
    server(settings).accept(accepted).await.unwrap_err()
}

#[tokio::test]
async fn other_protocols_are_named() {
    let leaf = Authority::new().leaf(&["localhost"]);
    let settings = leaf.settings();
    let listener = "127.0.0.1:9092".parse().unwrap();
    let api_versions = b"\0\0\0\x10\0\x12\0\0\0\0\0\x01\0\x06client";
    let half_a_hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 7, 7, 7, 7, 7];
    let ssl3_hello = [0x80, 0x2e, 1, 3, 0, 0, 0x15, 0, 0, 0, 0x10, 1, 0, 0x80];
    for (bytes, reason, line) in [
        (&api_versions[..], "plaintext_on_tls", "a plaintext client connected to the TLS listener 127.0.0.1:9092"),
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "http_on_tls", "an HTTP client connected to the TLS listener 127.0.0.1:9092"),
        (&b"qwertyuiop"[..], "tls_handshake", "neither TLS nor Kafka"),
        (&half_a_hello[..], "tls_handshake", "hung up"),
        (&ssl3_hello[..], "tls_handshake", "neither TLS nor Kafka"),
        // An alert, and a record that lies about itself.
        (&[0x15, 3, 3, 0, 2, 2, 40][..], "tls_handshake", "HandshakeFailure"),
        (&[0x16, 3, 1, 0xff, 0xff, 1, 0, 0][..], "tls_handshake", "no TLS session"),
        (&b""[..], "closed", "closed the connection"),
    ] {
        let error = said(&settings, bytes).await;
        assert_eq!(error.reason(), reason, "{bytes:?}: {error:?}");
        assert!(error.line(listener).contains(line), "{bytes:?}: {}", error.line(listener));
    }
}

/// A hello of TLS 1.1, as old OpenSSL writes it: no version in common.
#[tokio::test]
async fn an_old_version_is_refused() {
    let leaf = Authority::new().leaf(&["localhost"]);
    let mut body = vec![3, 2];
    body.extend([7; 32]);
    // No session id; one cipher suite of that time; no compression.
    body.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    let mut hello = vec![1, 0, 0, body.len() as u8];
    hello.extend(&body);
    let mut record = vec![0x16, 3, 1, 0, hello.len() as u8];
    record.extend(&hello);
    let error = said(&leaf.settings(), &record).await;
    assert_eq!(error.reason(), "tls_handshake", "{error:?}");
    assert!(error.to_string().contains("no TLS session with it"), "{error}");
}

fn mutual(leaf: &Leaf) -> ListenTls {
    ListenTls { client_ca_file: Some(leaf.file("ca.crt")), ..leaf.settings() }
}

#[tokio::test]
async fn a_certificate_that_is_wanted_must_be_shown() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let leaf = authority.leaf(&["localhost"]);
    let server = server(&mutual(&leaf));
    let (good, foreign) = (authority.leaf(&["app"]), stranger.leaf(&["app"]));
    let old = authority.leaf_with(&["app"], |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    let for_servers = authority.leaf_with(&["app"], |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let with = |shows| Speaks { shows, version, ..Speaks::new(&authority) };
        let (_, accepted) = handshake(&server, &with(Some(&good))).await;
        accepted.unwrap();
        for (shows, reason, text) in [
            (None, "tls_no_certificate", "client_ca_file wants one"),
            (Some(&foreign), "tls_bad_certificate", "no authority of listen.tls.client_ca_file"),
            (Some(&old), "tls_bad_certificate", "it has expired"),
            (Some(&for_servers), "tls_bad_certificate", "clientAuth"),
        ] {
            let (_client, accepted) = handshake(&server, &with(shows)).await;
            let error = accepted.unwrap_err();
            assert_eq!(error.reason(), reason, "{error:?}");
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}

#[tokio::test]
async fn a_client_that_does_not_trust_us_is_told_apart() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (leaf, elsewhere) = (authority.leaf(&["localhost"]), authority.leaf(&["elsewhere"]));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for (leaf, trusts) in [(&leaf, &stranger), (&elsewhere, &authority)] {
            let speaks = Speaks { trusts, shows: None, version };
            let (client, accepted) = handshake(&server(&leaf.settings()), &speaks).await;
            let (_, error) = (client.unwrap_err(), accepted.unwrap_err());
            assert_eq!(error.reason(), "tls_handshake");
            assert!(error.to_string().contains("does not trust kmend's certificate"), "{error}");
        }
    }
}

/// A resumed session would show no certificate.
#[tokio::test]
async fn no_session_is_resumed_where_certificates_are_wanted() {
    let authority = Authority::new();
    let leaf = authority.leaf(&["localhost"]);
    let app = authority.leaf(&["app"]);
    let speaks = Speaks { shows: Some(&app), ..Speaks::new(&authority) };
    for (settings, can_resume) in [(leaf.settings(), true), (mutual(&leaf), false)] {
        let (client, accepted) = handshake(&server(&settings), &speaks).await;
        let (mut client, mut accepted) = (client.unwrap(), accepted.unwrap());
        accepted.shutdown().await.unwrap();
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(client.get_ref().1.tls13_tickets_received() > 0, can_resume);
    }
}
