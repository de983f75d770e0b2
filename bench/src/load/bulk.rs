//! As many requests as go through in a given time, a few in flight on each connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use super::{Kind, Options, PATIENCE, connect};
use crate::Outcome;
use crate::messages;

pub async fn run(options: &Options, mark: &dyn Fn()) -> Outcome<Value> {
    let mut streams = Vec::new();
    for _ in 0..options.conns {
        streams.push(connect(options).await?);
    }
    let version = if options.version == 0 { messages::newest_fetch() } else { options.version };
    let request = match options.kind {
        Kind::Fetch => messages::fetch_request(version, options.bytes, options.partitions)?,
        Kind::Metadata => messages::all_metadata_request()?,
        _ => messages::produce_request(options.bytes)?,
    };
    let (answers, received) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let stop = Arc::new(AtomicBool::new(false));
    mark();
    let started = Instant::now();
    let mut tasks = Vec::new();
    for stream in streams {
        let free = Arc::new(Semaphore::new(options.depth));
        let (mut reader, mut writer) = tokio::io::split(stream);
        let (answers, received, freed) = (answers.clone(), received.clone(), free.clone());
        tasks.push(tokio::spawn(async move {
            let mut count = |bytes: u64| {
                received.fetch_add(bytes, Ordering::Relaxed);
                answers.fetch_add(1, Ordering::Relaxed);
                freed.add_permits(1);
            };
            // The end of it is the end of the load.
            let _ = read_answers(&mut reader, &mut count).await;
        }));
        let (request, stop) = (request.clone(), stop.clone());
        tasks.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let Ok(more) = free.acquire_many(1).await else { return };
                more.forget();
                // Those that are free go out together.
                let mut bytes = request.clone();
                while let Ok(more) = free.try_acquire() {
                    more.forget();
                    bytes.extend_from_slice(&request);
                }
                if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
                    return;
                }
            }
        }));
    }
    // A machine that stands still for a moment makes it longer, not empty.
    loop {
        tokio::time::sleep(Duration::from_secs_f64(options.secs)).await;
        if answers.load(Ordering::Relaxed) > 0 || started.elapsed() > PATIENCE {
            break;
        }
    }
    let secs = started.elapsed().as_secs_f64();
    let requests = answers.load(Ordering::Relaxed);
    mark();
    stop.store(true, Ordering::Relaxed);
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    let bytes = match options.kind {
        Kind::Fetch | Kind::Metadata => received.load(Ordering::Relaxed),
        _ => requests * request.len() as u64,
    };
    if requests == 0 {
        return Err("nothing was answered".into());
    }
    Ok(json!({ "bytes": bytes, "requests": requests, "secs": secs, "mb_s": bytes as f64 / 1e6 / secs }))
}

/// Reads frames, of any size, and drops them.
async fn read_answers(reader: &mut (impl AsyncRead + Unpin), each: &mut impl FnMut(u64)) -> Outcome<()> {
    let mut buf = vec![0; 256 * 1024];
    let (mut front, mut has, mut left) = ([0; 4], 0, 0);
    let mut size = 0;
    loop {
        let n = reader.read(&mut buf).await?;
        if n == 0 {
            return Ok(());
        }
        let mut bytes = buf.get(..n).unwrap_or_default();
        while !bytes.is_empty() {
            if left == 0 {
                let (byte, rest) = bytes.split_at(1);
                if let (Some(slot), Some(byte)) = (front.get_mut(has), byte.first()) {
                    *slot = *byte;
                }
                (has, bytes) = (has + 1, rest);
                if has == 4 {
                    size = 4 + u64::from(u32::from_be_bytes(front));
                    (has, left) = (0, size as usize - 4);
                }
                continue;
            }
            let n = left.min(bytes.len());
            left -= n;
            bytes = bytes.get(n..).unwrap_or_default();
            if left == 0 {
                each(size);
            }
        }
    }
}
