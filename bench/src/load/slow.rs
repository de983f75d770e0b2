//! Readers that take a large Fetch response slowly, with small receive buffers: what waits, waits in the proxy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use super::{Options, greet};
use crate::Outcome;
use crate::messages;

const RECEIVE_BUFFER: u32 = 16 * 1024;
const PAUSE: Duration = Duration::from_millis(100);

pub async fn run(options: &Options, mark: &dyn Fn()) -> Outcome<Value> {
    let address: SocketAddr = options.address.parse()?;
    let version = if options.version == 0 { messages::newest_fetch() } else { options.version };
    let request = messages::fetch_request(version, options.bytes, options.partitions)?;
    let mut streams = Vec::new();
    for _ in 0..options.conns {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        streams.push(greet(options, socket.connect(address).await?).await?);
    }
    mark();
    let until = Instant::now() + Duration::from_secs_f64(options.secs);
    let (received, cut) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut tasks = Vec::new();
    for mut stream in streams {
        let (request, received, cut) = (request.clone(), received.clone(), cut.clone());
        let mut buf = vec![0; (options.rate as f64 * PAUSE.as_secs_f64()) as usize];
        tasks.push(tokio::spawn(async move {
            if stream.write_all(&request).await.is_err() {
                cut.fetch_add(1, Ordering::Relaxed);
                return;
            }
            while Instant::now() < until {
                match tokio::time::timeout(PAUSE, stream.read(&mut buf)).await {
                    Ok(Ok(0) | Err(_)) => {
                        cut.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                    Ok(Ok(n)) => {
                        received.fetch_add(n as u64, Ordering::Relaxed);
                    }
                    Err(_) => {}
                }
                tokio::time::sleep(PAUSE).await;
            }
        }));
    }
    for task in tasks {
        task.await?;
    }
    Ok(json!({ "conns": options.conns, "bytes": received.load(Ordering::Relaxed), "cut": cut.load(Ordering::Relaxed) }))
}
