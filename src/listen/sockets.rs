//! Listening sockets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::config::units::HostPort;
use crate::tls::Transport;

/// Clients that may wait to be accepted: a whole fleet that starts at once.
const BACKLOG: i32 = 1024;

/// A peer that vanished without a word is found out within two minutes.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
const KEEPALIVE_TRIES: u32 = 4;

/// A listening socket on exactly this address. An IPv6 one takes no IPv4 clients, so that
/// `localhost` can have one of each.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    let is_any = address.ip().is_unspecified();
    // `[::]` takes both families; on Windows only when told to.
    if address.is_ipv6() && (cfg!(windows) || !is_any) {
        socket.set_only_v6(!is_any)?;
    }
    // On Windows it would let two programs listen on one address.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The addresses that a configured listen address stands for. `localhost` is both families.
pub fn addresses(address: &HostPort) -> io::Result<Vec<SocketAddr>> {
    if address.host == "localhost" {
        let both = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        return Ok(both.iter().map(|ip| (*ip, address.port).into()).collect());
    }
    let mut found: Vec<SocketAddr> = (address.host.as_str(), address.port).to_socket_addrs()?.collect();
    found.dedup();
    Ok(found)
}

/// Options of an accepted connection: small answers go out at once, dead peers are noticed.
pub fn tune(stream: &tokio::net::TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    // A limit on unacknowledged bytes (TCP_USER_TIMEOUT) would cut readers whose window is closed.
    let keepalive = keepalive.with_retries(KEEPALIVE_TRIES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Ends a connection with a reset: the client sees at once that nobody is there.
pub fn refuse(stream: impl Into<Transport>) {
    let _ = SockRef::from(stream.into().tcp()).set_linger(Some(Duration::ZERO));
}
