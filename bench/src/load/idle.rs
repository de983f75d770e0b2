//! Connections that are there and say nothing; how soon one more is answered.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Options, connect};
use crate::Outcome;

pub async fn run(options: &Options, mark: &dyn Fn()) -> Outcome<Value> {
    let mut streams = Vec::new();
    for _ in 0..options.conns {
        streams.push(connect(options).await?);
    }
    tokio::time::sleep(Duration::from_secs_f64(options.secs)).await;
    let began = Instant::now();
    streams.push(connect(options).await?);
    let took = began.elapsed();
    mark();
    Ok(json!({ "conns": options.conns, "one_more_ms": took.as_secs_f64() * 1e3 }))
}
