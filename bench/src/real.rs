//! One real Kafka broker, with Kafka's own performance tools as producer and consumer.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;

use crate::Outcome;
use crate::load;
use crate::messages;
use crate::peers::{self, Peer, Setting, Tls};
use crate::process::Process;
use crate::report::{Figure, Report, Unit};

#[derive(Args, Debug)]
pub struct Options {
    /// The folder with the jars of a broker.
    #[arg(long)]
    pub kafka: PathBuf,
    /// The folder with the jars of Kafka's performance tools; the broker's where it is not given.
    #[arg(long)]
    pub tools: Option<PathBuf>,
    #[arg(long, default_value = "java")]
    pub java: String,
    /// The kmend to measure.
    #[arg(long, default_value = "target/release/kmend")]
    pub kmend: String,
    /// As those of `run`.
    #[arg(long, value_delimiter = ',', default_value = "direct,copy,splice,haproxy,kmend")]
    pub peers: Vec<String>,
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Of records, through each peer, each round and each way (10^6 bytes).
    #[arg(long, default_value_t = 2000)]
    pub megabytes: usize,
    /// Bytes of a record.
    #[arg(long, default_value_t = 1000)]
    pub record: usize,
    /// Where the table goes; it is printed besides.
    #[arg(long)]
    pub out: Option<PathBuf>,
}

/// How long the broker may take to start, and to make a topic.
const PATIENCE: Duration = Duration::from_secs(90);
const PARTITIONS: i32 = 6;
/// What the tools call a megabyte.
const THEIR_MEGABYTE: f64 = 1.048_576;

/// A folder that goes when this does.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A listener of the broker: where it is, and which port it tells its clients.
struct Listener {
    port: u16,
    told: u16,
}

pub fn run(options: &Options) -> Outcome<()> {
    let scratch = Scratch(std::env::temp_dir().join(format!("kmend-bench-{}", std::process::id())));
    fs::create_dir_all(&scratch.0)?;
    // The first is plain. The raw relays rewrite no addresses: each has a listener whose clients are told the relay's.
    let plain = peers::free_port()?;
    let mut listeners = vec![Listener { port: plain, told: plain }];
    let mut planned = Vec::new();
    for name in &options.peers {
        let told = peers::free_port()?;
        let mut port = plain;
        if !["direct", "kmend"].contains(&name.as_str()) {
            port = peers::free_port()?;
            listeners.push(Listener { port, told });
        }
        planned.push((name, format!("127.0.0.1:{port}"), told));
    }
    let _broker = broker(options, &scratch.0, &listeners)?;
    let mut peers = Vec::new();
    for (name, address, port) in &planned {
        let setting = Setting {
            folder: &scratch.0,
            kmend: &options.kmend,
            broker: address,
            tls: Tls::None,
            cert: PathBuf::new(),
            key: PathBuf::new(),
        };
        match Peer::start_at(name, *port, &setting)? {
            Some(peer) => peers.push(peer),
            None => eprintln!("kmend-bench: no {name} here"),
        }
    }
    let mut report = Report::new(options.rounds);
    // A broker that has just started is slow, whoever asks.
    let mut topic = 1;
    let address = format!("127.0.0.1:{plain}");
    let direct = Peer { name: "warm-up".into(), address, process: None, started: Duration::ZERO };
    measure(options, plain, &direct, topic)?;
    for round in 0..options.rounds {
        for n in 0..peers.len() {
            let Some(peer) = peers.get((n + round) % peers.len()) else { continue };
            topic += 1;
            let figures = measure(options, plain, peer, topic).map_err(|e| format!("{}: {e}", peer.name))?;
            for (workload, unit, value) in figures {
                report.add(Figure { workload, unit, peer: peer.name.clone(), round, value });
            }
        }
        eprintln!("kmend-bench: real broker, round {} of {}", round + 1, options.rounds);
    }
    let text = report.text();
    println!("{text}");
    if let Some(out) = &options.out {
        fs::write(out, text)?;
    }
    Ok(())
}

/// One node that is broker and controller, formatted and started; it answers on its first listener.
fn broker(options: &Options, folder: &Path, listeners: &[Listener]) -> Outcome<Process> {
    let controller = peers::free_port()?;
    let (mut own, mut told, mut map) = (String::new(), String::new(), String::new());
    for (n, listener) in listeners.iter().enumerate() {
        own += &format!("L{n}://127.0.0.1:{},", listener.port);
        told += &format!("{}L{n}://127.0.0.1:{}", if n == 0 { "" } else { "," }, listener.told);
        map += &format!("L{n}:PLAINTEXT,");
    }
    let text = format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners={own}CONTROLLER://127.0.0.1:{controller}
advertised.listeners={told}
listener.security.protocol.map={map}CONTROLLER:PLAINTEXT
inter.broker.listener.name=L0
controller.listener.names=CONTROLLER
log.dirs={}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.segment.delete.delay.ms=100
",
        folder.join("data").display()
    );
    let file = folder.join("server.properties");
    fs::write(&file, text)?;
    let mut java = vec![options.java.clone()];
    java.extend(["-Xmx1g", "-XX:+UseSerialGC", "-cp"].map(str::to_owned));
    java.push(options.kafka.join("*").display().to_string());
    let with =
        |more: &[&str]| -> Vec<String> { java.iter().cloned().chain(more.iter().map(|m| (*m).to_owned())).collect() };
    let file = file.display().to_string();
    output(&with(&["kafka.tools.StorageTool", "format", "-t", "kmend-bench-cluster-0A", "-c", &file]))?;
    let log = folder.join("kafka.log");
    let process = Process::start(&with(&["kafka.Kafka", &file]), &log)?;
    let plain = listeners.first().ok_or("no listener")?.port;
    // A topic can be made: it is there.
    create(plain, 0).map_err(|e| {
        let said = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        let last = lines.get(lines.len().saturating_sub(10)..).unwrap_or_default().join("\n");
        format!("the broker does not come up: {e}\n{last}")
    })?;
    Ok(process)
}

/// What a command prints; an error where it fails.
fn output(command: &[String]) -> Outcome<String> {
    let (program, arguments) = command.split_first().ok_or("an empty command")?;
    let out =
        Command::new(program).args(arguments).stdin(Stdio::null()).output().map_err(|e| format!("{program}: {e}"))?;
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    if out.status.success() {
        return Ok(said);
    }
    Err(format!("{} failed: {said}{}", arguments.join(" "), String::from_utf8_lossy(&out.stderr)).into())
}

/// Makes a topic, straight at the broker, as soon as that can.
fn create(port: u16, topic: usize) -> Outcome<()> {
    let began = Instant::now();
    loop {
        let outcome = ask(port, &messages::create_request(topic, PARTITIONS)?).and_then(|a| messages::created(&a));
        match outcome {
            Ok(0) => return Ok(()),
            Ok(code) if began.elapsed() > PATIENCE => return Err(format!("no topic: error {code}").into()),
            Err(error) if began.elapsed() > PATIENCE => return Err(error),
            _ => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

fn ask(port: u16, frame: &[u8]) -> Outcome<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(15)))?;
    let mut answer = Vec::new();
    load::blocking_exchange(&mut stream, frame, &mut answer)?;
    Ok(answer)
}

/// Writes a topic through a peer and reads it through the same.
fn measure(options: &Options, plain: u16, peer: &Peer, number: usize) -> Outcome<Vec<(&'static str, Unit, f64)>> {
    create(plain, number)?;
    let topic = messages::topic(number).0;
    let records = (options.megabytes * 1_000_000 / options.record.max(1)).max(1).to_string();
    let record = options.record.to_string();
    let mut java = vec![options.java.clone()];
    java.extend(["-Xmx512m", "-XX:+UseSerialGC", "-cp"].map(str::to_owned));
    java.push(options.tools.as_ref().unwrap_or(&options.kafka).join("*").display().to_string());
    let common = ["--bootstrap-server", &peer.address, "--topic", &topic, "--num-records", &records];
    let through = |class: &str, more: &[&str]| -> Outcome<(String, f64)> {
        let words = [class].into_iter().chain(common).chain(more.iter().copied());
        let command: Vec<String> = java.iter().cloned().chain(words.map(str::to_owned)).collect();
        let begin = peer.cpu();
        let said = output(&command)?;
        let spent = peer.cpu().saturating_sub(begin).as_secs_f64();
        Ok((said, spent / (options.megabytes as f64 / 1e3)))
    };
    let mut all = Vec::new();
    let mut add = |workload, cpu, speed| {
        all.push((workload, Unit::Throughput, speed));
        if peer.process.is_some() {
            all.push((workload, Unit::CpuPerGigabyte, cpu));
        }
    };
    let properties = ["--command-property", "batch.size=262144", "linger.ms=5", "buffer.memory=67108864"];
    let (said, cpu) = through(
        "org.apache.kafka.tools.ProducerPerformance",
        &[["--throughput", "-1", "--record-size", &record].as_slice(), &properties].concat(),
    )?;
    add("Java producer", cpu, produced(&said).ok_or_else(|| format!("no speed in: {said}"))?);
    let (said, cpu) = through("org.apache.kafka.tools.ConsumerPerformance", &["--timeout", "30000"])?;
    let (count, speed) = consumed(&said).ok_or_else(|| format!("no speed in: {said}"))?;
    if count < records.parse()? {
        return Err(format!("only {count} of {records} records were read").into());
    }
    add("Java consumer", cpu, speed);
    ask(plain, &messages::delete_request(number)?)?;
    Ok(all)
}

/// MB/s in the producer's last line: `... records sent, ... records/sec (N MB/sec), ...`.
fn produced(said: &str) -> Option<f64> {
    let (front, _) = said.rsplit_once(" MB/sec)")?;
    front.rsplit_once('(')?.1.parse::<f64>().ok().map(|n| n * THEIR_MEGABYTE)
}

/// How many records, and MB/s while they were fetched, of the consumer's two lines: names and values.
fn consumed(said: &str) -> Option<(u64, f64)> {
    let mut lines = said.lines().skip_while(|l| !l.contains("fetch.MB.sec"));
    let names: Vec<&str> = lines.next()?.split(", ").collect();
    let values: Vec<&str> = lines.next()?.split(", ").collect();
    let of = |name: &str| values.get(names.iter().position(|n| n.trim() == name)?).map(|v| v.trim());
    let speed = of("fetch.MB.sec")?.parse::<f64>().ok()?;
    Some((of("data.consumed.in.nMsg")?.parse().ok()?, speed * THEIR_MEGABYTE))
}
