//! Raw relays: what every proxy is measured beside.

use std::io;
use std::os::fd::OwnedFd;

use clap::{Args, ValueEnum};
use rustix::pipe::{PipeFlags, SpliceFlags};
use tokio::io::{Interest, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::Outcome;
use crate::stream;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// tokio's `copy_bidirectional`, 8 KiB each way: the yardstick.
    Copy,
    /// splice(2) through a pipe: no byte reaches the process.
    Splice,
    /// `copy`, with TLS towards the client.
    TlsListen,
    /// `copy`, with TLS towards the broker.
    TlsUpstream,
}

#[derive(Args, Debug)]
pub struct Options {
    #[arg(long)]
    pub listen: String,
    #[arg(long)]
    pub upstream: String,
    #[arg(long, value_enum, default_value = "copy")]
    pub mode: Mode,
    /// Certificate (PEM), and the key where it listens with TLS.
    #[arg(long, num_args = 1..=2)]
    pub tls: Vec<String>,
    #[arg(long, default_value_t = 2)]
    pub workers: usize,
}

pub fn run(options: Options) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(options.workers).enable_all().build()?;
    runtime.block_on(serve(options))
}

async fn serve(options: Options) -> Outcome<()> {
    let pem: Vec<String> = options.tls.iter().map(std::fs::read_to_string).collect::<io::Result<_>>()?;
    let acceptor = match (options.mode, pem.as_slice()) {
        (Mode::TlsListen, [cert, key]) => Some(stream::acceptor(cert, key)?),
        (Mode::TlsListen, _) => return Err("--tls CERTIFICATE KEY".into()),
        _ => None,
    };
    let connector = match (options.mode, pem.as_slice()) {
        (Mode::TlsUpstream, [cert, ..]) => Some(stream::connector(cert)?),
        (Mode::TlsUpstream, _) => return Err("--tls CERTIFICATE".into()),
        _ => None,
    };
    let listener = TcpListener::bind(&options.listen).await?;
    loop {
        let (client, _) = listener.accept().await?;
        let (upstream, mode) = (options.upstream.clone(), options.mode);
        let (acceptor, connector) = (acceptor.clone(), connector.clone());
        tokio::spawn(async move {
            let outcome = async {
                let mut client = client;
                client.set_nodelay(true)?;
                let mut server = TcpStream::connect(upstream).await?;
                server.set_nodelay(true)?;
                match (mode, acceptor, connector) {
                    (Mode::Splice, ..) => {
                        tokio::try_join!(splice(&client, &server), splice(&server, &client))?;
                    }
                    (_, Some(acceptor), _) => {
                        let mut client = acceptor.accept(client).await?;
                        copy_bidirectional(&mut client, &mut server).await?;
                    }
                    (_, _, Some(connector)) => {
                        let name = stream::name().map_err(io::Error::other)?;
                        let mut server = connector.connect(name, server).await?;
                        copy_bidirectional(&mut client, &mut server).await?;
                    }
                    _ => {
                        copy_bidirectional(&mut client, &mut server).await?;
                    }
                }
                Ok::<_, io::Error>(())
            };
            // How a connection ends is nobody's business here.
            let _ = outcome.await;
        });
    }
}

const PIPE: usize = 256 * 1024;

async fn splice(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let (out, into): (OwnedFd, OwnedFd) = rustix::pipe::pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
    let _ = rustix::pipe::fcntl_setpipe_size(&into, PIPE);
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    loop {
        let read = || rustix::pipe::splice(from, None, &into, None, PIPE, flags).map_err(io::Error::from);
        let mut left = from.async_io(Interest::READABLE, read).await?;
        if left == 0 {
            let _ = rustix::net::shutdown(to, rustix::net::Shutdown::Write);
            return Ok(());
        }
        while left > 0 {
            let write = || rustix::pipe::splice(&out, None, to, None, left, flags).map_err(io::Error::from);
            left -= to.async_io(Interest::WRITABLE, write).await?;
        }
    }
}
