//! A broker whose answers are canned: it costs little, so that a proxy before it is the bottleneck.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::Outcome;
use crate::messages::{self, World};
use crate::stream::{self, Stream};

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;

#[derive(Args, Debug, Clone)]
pub struct Options {
    #[arg(long, default_value = "127.0.0.1:21500")]
    pub listen: String,
    /// How many its Metadata names, all of them here.
    #[arg(long, default_value_t = 1)]
    pub brokers: usize,
    #[arg(long, default_value_t = 1)]
    pub topics: usize,
    /// Of each topic.
    #[arg(long, default_value_t = 12)]
    pub partitions: usize,
    /// Certificate and key (PEM) of a TLS listener.
    #[arg(long, num_args = 2)]
    pub tls: Option<Vec<String>>,
    #[arg(long, default_value_t = 2)]
    pub workers: usize,
}

struct Shared {
    world: World,
    answers: Mutex<HashMap<(i16, i16, usize, usize), Bytes>>,
}

pub fn run(options: Options) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(options.workers).enable_all().build()?;
    runtime.block_on(serve(options))
}

async fn serve(options: Options) -> Outcome<()> {
    let (host, port) = options.listen.rsplit_once(':').ok_or("--listen is HOST:PORT")?;
    let port: u16 = port.parse()?;
    let brokers = vec![(host.to_owned(), port); options.brokers];
    let world = World { brokers, topics: options.topics, partitions: options.partitions };
    let acceptor = match options.tls.as_deref() {
        Some([cert, key]) => Some(stream::acceptor(&std::fs::read_to_string(cert)?, &std::fs::read_to_string(key)?)?),
        _ => None,
    };
    let shared = Arc::new(Shared { world, answers: Mutex::default() });
    let listener = TcpListener::bind((host, port)).await?;
    loop {
        let (tcp, _) = listener.accept().await?;
        let (shared, acceptor) = (shared.clone(), acceptor.clone());
        let _ = tcp.set_nodelay(true);
        tokio::spawn(async move {
            let stream = match acceptor {
                None => Stream::Plain(tcp),
                Some(acceptor) => match acceptor.accept(tcp).await {
                    Ok(tls) => Stream::Tls(Box::new(tls.into())),
                    Err(_) => return,
                },
            };
            if let Err(error) = connection(&shared, stream).await {
                eprintln!("kmend-bench broker: {error}");
            }
        });
    }
}

/// Answers in order; small answers to pipelined requests go out together.
async fn connection(shared: &Shared, mut stream: Stream) -> Outcome<()> {
    let mut input = BytesMut::with_capacity(256 * 1024);
    let mut output = BytesMut::new();
    // Of a large request that has been answered so many bytes are still to come.
    let mut skip = 0;
    loop {
        input.reserve(64 * 1024);
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        loop {
            let n = skip.min(input.len());
            let _ = input.split_to(n);
            skip -= n;
            if skip > 0 {
                break;
            }
            let Some(prefix) = input.first_chunk::<4>() else { break };
            let total = 4 + u32::from_be_bytes(*prefix) as usize;
            // A Produce request counts as here when its front is: the rest is not kept.
            if input.len() < total.min(64) || (input.len() < total && api(&input).0 != PRODUCE) {
                break;
            }
            let answer = answer(shared, &input)?;
            if input.len() >= total {
                let _ = input.split_to(total);
            } else {
                skip = total - input.len();
                input.clear();
            }
            answer.write(&mut stream, &mut output).await?;
        }
        if skip == 0 && !output.is_empty() {
            stream.write_all_buf(&mut output).await?;
        }
        stream.flush().await?;
    }
}

struct Answer {
    frame: Bytes,
    correlation: [u8; 4],
}

impl Answer {
    async fn write(self, stream: &mut Stream, output: &mut BytesMut) -> Outcome<()> {
        let at = messages::ANSWER_CORRELATION;
        output.extend_from_slice(self.frame.get(..at).unwrap_or_default());
        output.extend_from_slice(&self.correlation);
        let rest = self.frame.slice(at + 4..);
        if rest.len() <= 4096 {
            output.extend_from_slice(&rest);
            return Ok(());
        }
        stream.write_all_buf(output).await?;
        stream.write_all(&rest).await?;
        Ok(())
    }
}

fn int16(bytes: &[u8], at: usize) -> i16 {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, i16::from_be_bytes)
}

fn int32(bytes: &[u8], at: usize) -> i32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_be_bytes)
}

fn api(frame: &[u8]) -> (i16, i16) {
    (int16(frame, 4), int16(frame, 6))
}

fn answer(shared: &Shared, frame: &[u8]) -> Outcome<Answer> {
    let (api, version) = api(frame);
    let at = messages::REQUEST_CORRELATION;
    let correlation = frame.get(at..at + 4).and_then(|b| b.try_into().ok()).ok_or("a short frame")?;
    let fetch = if api == FETCH { asked(frame, version) } else { (0, 0) };
    let key = (api, version, fetch.0, fetch.1);
    let mut answers = shared.answers.lock().unwrap_or_else(PoisonError::into_inner);
    let frame = match answers.get(&key) {
        Some(frame) => frame.clone(),
        None => {
            let made = messages::answer_to(&shared.world, api, version, fetch)?;
            answers.insert(key, made.clone());
            made
        }
    };
    Ok(Answer { frame, correlation })
}

/// How much a Fetch request asks for: its max bytes, and as many partitions as its min bytes say.
fn asked(frame: &[u8], version: i16) -> (usize, usize) {
    let client = usize::try_from(int16(frame, 12)).unwrap_or(0);
    // The header's tags, then the replica id (before version 15) and the max wait.
    let body = 14 + client + usize::from(version >= 12);
    let at = body + if version < 15 { 8 } else { 4 };
    let number = |at| usize::try_from(int32(frame, at)).unwrap_or(0);
    (number(at + 4), number(at).max(1))
}
