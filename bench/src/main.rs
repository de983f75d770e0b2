//! What kmend is measured with. `kmend-bench --help`, and README.md.

mod broker;
mod load;
mod messages;
mod peers;
mod process;
mod real;
mod relay;
mod report;
mod rounds;
mod scale;
mod stream;

use std::process::ExitCode;

use clap::Parser;

/// An error that ends a command: its text is all that anybody needs.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
pub type Outcome<T> = Result<T, Failure>;

#[derive(Parser)]
#[command(name = "kmend-bench", about = "Measures kmend beside raw relays")]
enum Command {
    /// Answers every request from memory: the broker behind which a proxy is the bottleneck.
    Broker(broker::Options),
    /// A relay that understands nothing.
    Relay(relay::Options),
    /// One load against any address; its figures as JSON.
    Load(load::Options),
    /// Workloads by peers, in turn, as a table of medians.
    Run(rounds::Options),
    /// What a request costs with ever more connections, partitions, topics and brokers.
    Scale(scale::Options),
    /// A real broker, with Kafka's own producer and consumer performance tools.
    Real(real::Options),
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Broker(options) => broker::run(options),
        Command::Relay(options) => relay::run(options),
        Command::Load(options) => load::run(&options),
        Command::Run(options) => rounds::run(&options),
        Command::Scale(options) => scale::run(&options),
        Command::Real(options) => real::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kmend-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
