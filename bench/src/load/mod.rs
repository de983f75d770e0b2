//! Load: requests that are encoded once.

mod bulk;
mod idle;
mod latency;
mod slow;

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Outcome;
use crate::messages;
use crate::stream::{self, Stream};

pub use latency::exchange as blocking_exchange;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Produce,
    Fetch,
    /// Requests for all topics.
    Metadata,
    /// One request at a time, each timed: `--request` says which.
    Latency,
    /// Readers that take `--rate` bytes a second of a large Fetch response.
    Slow,
    /// Connections that have said hello and then nothing.
    Idle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Request {
    Produce,
    Commit,
    Metadata,
}

#[derive(Args, Debug, Clone)]
pub struct Options {
    #[arg(value_enum)]
    pub kind: Kind,
    #[arg(long)]
    pub address: String,
    #[arg(long, default_value_t = 1)]
    pub conns: usize,
    /// Requests in flight on each connection.
    #[arg(long, default_value_t = 1)]
    pub depth: usize,
    /// Of records, in each request or response.
    #[arg(long, default_value_t = 100)]
    pub bytes: usize,
    #[arg(long, default_value_t = 1)]
    pub partitions: usize,
    /// Version of Fetch; 0: the newest.
    #[arg(long, default_value_t = 0)]
    pub version: i16,
    #[arg(long, default_value_t = 3.0)]
    pub secs: f64,
    /// How many requests are timed.
    #[arg(long, default_value_t = 4000)]
    pub count: usize,
    #[arg(long, value_enum, default_value = "produce")]
    pub request: Request,
    /// Bytes a second of a slow reader.
    #[arg(long, default_value_t = 65_536)]
    pub rate: usize,
    /// The certificate (PEM) of a TLS listener.
    #[arg(long)]
    pub tls: Option<String>,
}

impl Options {
    pub fn new(kind: Kind, address: &str) -> Options {
        Options {
            kind,
            address: address.to_owned(),
            conns: 1,
            depth: 1,
            bytes: 100,
            partitions: 1,
            version: 0,
            secs: 3.0,
            count: 4000,
            request: Request::Produce,
            rate: 65_536,
            tls: None,
        }
    }
}

pub fn run(options: &Options) -> Outcome<()> {
    println!("{}", once(options, &|| {})?);
    Ok(())
}

/// Runs it on a runtime of its own; `mark` is called when the connections stand and, by loads that are over at a given
/// time, when they are and the connections still stand.
pub fn once(options: &Options, mark: &dyn Fn()) -> Outcome<Value> {
    // The thread that called is its only one, so that it stays where that was pinned to.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match options.kind {
        Kind::Produce | Kind::Fetch | Kind::Metadata => runtime.block_on(bulk::run(options, mark)),
        Kind::Latency => latency::run(options, mark),
        Kind::Slow => runtime.block_on(slow::run(options, mark)),
        Kind::Idle => runtime.block_on(idle::run(options, mark)),
    }
}

/// A peer that is full may leave a connection without an answer for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that has said hello and asked for metadata, as every client does.
async fn connect(options: &Options) -> Outcome<Stream> {
    let connect = async {
        let tcp = TcpStream::connect(&options.address).await?;
        tcp.set_nodelay(true)?;
        greet(options, tcp).await
    };
    tokio::time::timeout(PATIENCE, connect).await.map_err(|_| "a new connection is not answered")?
}

async fn greet(options: &Options, tcp: TcpStream) -> Outcome<Stream> {
    let mut stream = match &options.tls {
        None => Stream::Plain(tcp),
        Some(pem) => {
            let tls = stream::connector(&std::fs::read_to_string(pem)?)?.connect(stream::name()?, tcp).await?;
            Stream::Tls(Box::new(tls.into()))
        }
    };
    for request in [messages::api_versions_request()?, messages::metadata_request(1)?] {
        exchange(&mut stream, &request).await?;
    }
    Ok(stream)
}

/// Sends a frame and reads the answer's, which it drops.
async fn exchange(stream: &mut Stream, frame: &[u8]) -> Outcome<usize> {
    stream.write_all(frame).await?;
    stream.flush().await?;
    let mut size = [0; 4];
    stream.read_exact(&mut size).await?;
    let size = u32::from_be_bytes(size) as usize;
    let mut answer = vec![0; size];
    stream.read_exact(&mut answer).await?;
    Ok(4 + size)
}

/// How long it takes until Metadata is answered by what is being started at `address`.
pub fn first_metadata(address: &str, tls: Option<String>, limit: Duration) -> Outcome<Duration> {
    let started = Instant::now();
    let options = Options { tls, ..Options::new(Kind::Idle, address) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        loop {
            match connect(&options).await {
                Ok(_) => return Ok(started.elapsed()),
                Err(error) if started.elapsed() > limit => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    })
}
