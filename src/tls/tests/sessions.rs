//! What a session carries, and how it ends.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::kit::{Authority, Speaks, handshake, server};
use crate::tls::BUFFER;

#[tokio::test]
async fn both_versions_carry_bytes_both_ways() {
    let authority = Authority::new();
    let leaf = authority.leaf(&["localhost"]);
    let server = server(&leaf.settings());
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let speaks = Speaks { version, ..Speaks::new(&authority) };
        let (client, accepted) = handshake(&server, &speaks).await;
        let (mut client, mut accepted) = (client.unwrap(), accepted.unwrap());
        assert!(accepted.is_tls());
        assert_eq!(client.get_ref().1.protocol_version(), Some(version.version));
        client.write_all(b"ping").await.unwrap();
        client.flush().await.unwrap();
        let mut bytes = [0; 4];
        accepted.read_exact(&mut bytes).await.unwrap();
        accepted.write_all(&bytes).await.unwrap();
        accepted.flush().await.unwrap();
        client.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"ping");
    }
}

/// Java and librdkafka often just close. A client that has only finished still gets its answers.
#[tokio::test]
async fn an_end_without_a_farewell_is_an_end() {
    let authority = Authority::new();
    let leaf = authority.leaf(&["localhost"]);
    let (client, accepted) = handshake(&server(&leaf.settings()), &Speaks::new(&authority)).await;
    let (mut client, mut accepted) = (client.unwrap(), accepted.unwrap());
    client.write_all(b"last").await.unwrap();
    client.flush().await.unwrap();
    // TCP's end, below the session.
    client.get_mut().0.shutdown().await.unwrap();
    let mut all = Vec::new();
    accepted.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"last");
    accepted.write_all(b"answer").await.unwrap();
    accepted.flush().await.unwrap();
    let mut bytes = [0; 6];
    client.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"answer");
}

#[tokio::test]
async fn a_farewell_ends_one_direction() {
    let authority = Authority::new();
    let leaf = authority.leaf(&["localhost"]);
    let (client, accepted) = handshake(&server(&leaf.settings()), &Speaks::new(&authority)).await;
    let (mut client, mut accepted) = (client.unwrap(), accepted.unwrap());
    client.shutdown().await.unwrap();
    assert_eq!(accepted.read(&mut [0; 8]).await.unwrap(), 0);
    accepted.write_all(b"answer").await.unwrap();
    accepted.shutdown().await.unwrap();
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"answer");
}

#[tokio::test]
async fn a_connection_that_is_let_go_says_farewell() {
    let authority = Authority::new();
    let leaf = authority.leaf(&["localhost"]);
    let (client, accepted) = handshake(&server(&leaf.settings()), &Speaks::new(&authority)).await;
    let mut client = client.unwrap();
    drop(accepted.unwrap());
    // Without it: UnexpectedEof.
    assert_eq!(client.read(&mut [0; 8]).await.map_err(|e| e.kind()), Ok::<usize, ErrorKind>(0));
}

/// A client that does not read holds two records here, and whatever the sockets take.
#[tokio::test]
async fn a_slow_reader_holds_little() {
    let authority = Authority::new();
    let leaf = authority.leaf(&["localhost"]);
    let (client, accepted) = handshake(&server(&leaf.settings()), &Speaks::new(&authority)).await;
    let (mut client, mut accepted) = (client.unwrap(), accepted.unwrap());
    let block = vec![7; 1 << 20];
    let mut sent = 0;
    let longest = loop {
        let written = std::future::poll_fn(|cx| {
            let polled = std::pin::Pin::new(&mut accepted);
            std::task::Poll::Ready(tokio::io::AsyncWrite::poll_write(polled, cx, &block))
        });
        match written.await {
            std::task::Poll::Ready(n) => sent += n.unwrap(),
            std::task::Poll::Pending => {
                let crate::tls::Transport::Tls(stream) = &mut accepted else { unreachable!() };
                let tokio_rustls::TlsStream::Server(stream) = stream.as_mut() else { unreachable!() };
                // What is still held is told by what one write of the session's own gives.
                let mut held = Vec::new();
                let session = stream.get_mut().1;
                while session.wants_write() {
                    session.write_tls(&mut held).unwrap();
                }
                break held.len();
            }
        }
    };
    assert!(longest <= BUFFER + 1024, "{longest}");
    let mut bytes = [0; 1024];
    assert!(sent > 0 && client.read(&mut bytes).await.unwrap() > 0);
}
