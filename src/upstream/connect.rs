//! TCP to one of several addresses: they are tried one after the other, without waiting long for
//! one that does not answer (RFC 8305 in small).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// The head start of each attempt before the next one joins.
const HEAD_START: Duration = Duration::from_millis(250);

/// A broker that vanished without a word is found out within two minutes.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
const KEEPALIVE_TRIES: u32 = 4;

/// The first connection that comes about; the caller bounds the time.
pub(super) async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    let mut waiting = interleave(addresses).into_iter();
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "no address");
    loop {
        let next = waiting.next();
        if next.is_none() && attempts.is_empty() {
            return Err(last_error);
        }
        let others = next.is_some();
        if let Some(address) = next {
            attempts.spawn(TcpStream::connect(address));
        }
        let head_start = async {
            if others && waiting.len() > 0 {
                tokio::time::sleep(HEAD_START).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            Some(done) = attempts.join_next() => match done {
                Ok(Ok(stream)) => {
                    prepare(&stream)?;
                    return Ok(stream);
                }
                Ok(Err(error)) => last_error = error,
                Err(error) => last_error = io::Error::other(error),
            },
            () = head_start => {}
        }
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    let keepalive = keepalive.with_retries(KEEPALIVE_TRIES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// The families in turn, beginning with the one that the resolver prefers.
fn interleave(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else {
        return Vec::new();
    };
    let (preferred, other): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.iter().copied().partition(|address| address.is_ipv6() == first.is_ipv6());
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    let mut mixed = Vec::with_capacity(addresses.len());
    loop {
        let before = mixed.len();
        mixed.extend(preferred.next());
        mixed.extend(other.next());
        if mixed.len() == before {
            return mixed;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn families_take_turns() {
        let parse = |texts: &[&str]| -> Vec<SocketAddr> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        let given = parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"]);
        let wanted = parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]);
        assert_eq!(interleave(&given), wanted);
        assert!(interleave(&[]).is_empty());
    }

    #[tokio::test]
    async fn a_dead_address_does_not_hide_a_living_one() {
        let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let living = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = [dead.local_addr().unwrap(), living.local_addr().unwrap()];
        drop(dead);
        let stream = connect(&addresses).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addresses[1]);
        assert!(stream.nodelay().unwrap());
        assert!(connect(&addresses[..1]).await.is_err());
        assert!(connect(&[]).await.is_err());
    }
}
