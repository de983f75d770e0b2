//! One request at a time, blocking: how long a round trip takes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use serde_json::{Value, json};

use super::{Options, Request};
use crate::Outcome;
use crate::messages;

/// Before these nothing is timed.
const WARM: usize = 200;

pub fn run(options: &Options, mark: &dyn Fn()) -> Outcome<Value> {
    let mut stream = TcpStream::connect(&options.address)?;
    stream.set_nodelay(true)?;
    let mut answer = Vec::new();
    for request in [messages::api_versions_request()?, messages::metadata_request(1)?] {
        exchange(&mut stream, &request, &mut answer)?;
    }
    let request = match options.request {
        Request::Produce => messages::produce_request(options.bytes)?,
        Request::Commit => messages::commit_request()?,
        Request::Metadata => messages::metadata_request(options.partitions)?,
    };
    for _ in 0..WARM {
        exchange(&mut stream, &request, &mut answer)?;
    }
    mark();
    let mut times = Vec::with_capacity(options.count);
    for _ in 0..options.count {
        let began = Instant::now();
        exchange(&mut stream, &request, &mut answer)?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or(0.0);
    Ok(json!({ "requests": times.len(), "p50_us": at(0.5), "p90_us": at(0.9), "p99_us": at(0.99) }))
}

/// Sends a frame; `answer` is what comes back, without its length.
pub fn exchange(stream: &mut TcpStream, frame: &[u8], answer: &mut Vec<u8>) -> Outcome<()> {
    stream.write_all(frame)?;
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    answer.resize(u32::from_be_bytes(size) as usize, 0);
    stream.read_exact(answer)?;
    Ok(())
}
