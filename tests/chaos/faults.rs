//! What goes wrong. A fault strikes, lasts some seconds, and is over when its function returns.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::harness::{Kafka, Kmend};
use crate::network::{self, Network, Weather};
use crate::workloads::{Role, Run, partitions};

/// All that can break.
pub struct Stage {
    pub kafka: Kafka,
    pub network: Network,
    pub kmends: Vec<Kmend>,
    /// The journals' file system, which is small.
    pub disk: PathBuf,
}

const FILLER: &str = "filler";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    None,
    BrokerPaused,
    BrokerKilled,
    BrokerRestarted,
    ClusterKilled,
    LeadersMove,
    PartitionsAdded,
    Retention,
    Churn,
    ConsumersKilled,
    KmendPaused,
    KmendKilled,
    KmendRestarted,
    DiskFull,
    Stalled,
    AnswersStalled,
    Resets,
    Refusing,
    Slow,
    Cuts,
    Vanished,
    Lossy,
    Several,
}

impl Fault {
    pub const ALL: [Fault; 23] = [
        Fault::None,
        Fault::BrokerPaused,
        Fault::BrokerKilled,
        Fault::BrokerRestarted,
        Fault::ClusterKilled,
        Fault::LeadersMove,
        Fault::PartitionsAdded,
        Fault::Retention,
        Fault::Churn,
        Fault::ConsumersKilled,
        Fault::KmendPaused,
        Fault::KmendKilled,
        Fault::KmendRestarted,
        Fault::DiskFull,
        Fault::Stalled,
        Fault::AnswersStalled,
        Fault::Resets,
        Fault::Refusing,
        Fault::Slow,
        Fault::Cuts,
        Fault::Vanished,
        Fault::Lossy,
        Fault::Several,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Fault::None => "nothing",
            Fault::BrokerPaused => "a broker stands still for 6 s, twice",
            Fault::BrokerKilled => "a broker is killed and comes back, twice",
            Fault::BrokerRestarted => "a broker restarts in order, twice",
            Fault::ClusterKilled => "all brokers are killed and come back",
            Fault::LeadersMove => "leaders and replicas move, twice",
            Fault::PartitionsAdded => "partitions are added, twice",
            Fault::Retention => "retention evicts what stopped consumers had not read",
            Fault::Churn => "consumers leave and come back, four times",
            Fault::ConsumersKilled => "consumers are killed and replaced, twice",
            Fault::KmendPaused => "kmend stands still for 5 s, twice",
            Fault::KmendKilled => "kmend is killed and comes back, three times",
            Fault::KmendRestarted => "kmend restarts in order, twice",
            Fault::DiskFull => "the journal's disk is full, and consumers come and go",
            Fault::Stalled => "network: nothing passes for 6 s, twice",
            Fault::AnswersStalled => "network: no answers for 6 s, twice",
            Fault::Resets => "network: all connections are reset, six times",
            Fault::Refusing => "network: refused and reset for 4 s, twice",
            Fault::Slow => "network: 80 KB/s, 0.1 s late, for 10 s",
            Fault::Cuts => "network: all connections end in the middle of a frame, six times",
            Fault::Vanished => "network: every packet is lost for 8 s, twice",
            Fault::Lossy => "network: one packet in ten is lost for 12 s",
            Fault::Several => "six of these by chance",
        }
    }

    /// Directly there is nothing that it could break.
    pub fn is_of_kmend(self) -> bool {
        matches!(self, Fault::KmendPaused | Fault::KmendKilled | Fault::KmendRestarted | Fault::DiskFull)
    }

    pub fn strike(self, stage: &Stage, runs: &[&Run], dice: &mut StdRng) {
        match self {
            Fault::None => rest(10_000),
            Fault::Several => {
                for _ in 0..6 {
                    let single: Vec<Fault> = Fault::ALL
                        .into_iter()
                        .filter(|f| !matches!(f, Fault::None | Fault::Several | Fault::ClusterKilled))
                        .collect();
                    if let Some(fault) = single.choose(dice) {
                        fault.once(stage, runs, dice);
                    }
                }
            }
            _ => {
                for n in 0..self.times() {
                    if n > 0 {
                        rest(dice.random_range(1_000..3_000));
                    }
                    self.once(stage, runs, dice);
                }
            }
        }
    }

    fn times(self) -> usize {
        match self {
            Fault::ClusterKilled | Fault::Retention | Fault::DiskFull | Fault::Slow | Fault::Lossy => 1,
            Fault::KmendKilled => 3,
            Fault::Churn => 4,
            Fault::Resets | Fault::Cuts => 6,
            _ => 2,
        }
    }

    fn once(self, stage: &Stage, runs: &[&Run], dice: &mut StdRng) {
        let node = dice.random_range(1..=3);
        let Stage { kafka, network, kmends, disk } = stage;
        match self {
            Fault::None | Fault::Several => {}
            Fault::BrokerPaused => {
                kafka.signal(node, Signal::STOP);
                rest(6_000);
                kafka.signal(node, Signal::CONT);
            }
            Fault::BrokerKilled => {
                kafka.kill(node);
                rest(2_000);
                kafka.start_node(node);
                kafka.wait_for_brokers(3);
            }
            Fault::BrokerRestarted => {
                kafka.stop(node);
                kafka.start_node(node);
                kafka.wait_for_brokers(3);
            }
            Fault::ClusterKilled => {
                (1..=3).for_each(|n| kafka.kill(n));
                (1..=3).for_each(|n| kafka.launch(n));
                kafka.wait_for_brokers(3);
            }
            Fault::LeadersMove => each_topic(runs, |topic| {
                let admin = kafka.admin();
                for p in (0..partitions(&admin, topic)).step_by(2) {
                    admin.move_leader(topic, p, admin.leader_id(topic, p) % 3 + 1);
                }
            }),
            Fault::PartitionsAdded => each_topic(runs, |topic| {
                let admin = kafka.admin();
                admin.add_partitions(topic, partitions(&admin, topic) + 2);
            }),
            Fault::Retention => {
                // Of transactions every record is to come through.
                let read: Vec<&Run> = runs.iter().copied().filter(|run| run.out.is_none()).collect();
                each(&read, |run| run.of(Role::Consumer).for_each(|app| app.tell("pause")));
                rest(3_000);
                each(&read, |run| {
                    let admin = kafka.admin();
                    for p in 0..partitions(&admin, &run.topic) {
                        let end = admin.log_end(&run.topic, p);
                        admin.delete_records(&run.topic, p, (end - 3).max(0));
                    }
                });
                each(&read, |run| run.of(Role::Consumer).for_each(|app| app.tell("resume")));
                rest(2_000);
            }
            Fault::Churn => {
                let n = dice.random_range(0..2);
                each(runs, |run| run.member(n).restart());
                rest(1_000);
            }
            Fault::ConsumersKilled => {
                let n = dice.random_range(0..2);
                each(runs, |run| run.member(n).replace());
                rest(6_000);
            }
            Fault::KmendPaused => {
                kmends.iter().for_each(|k| k.signal(Signal::STOP));
                rest(5_000);
                kmends.iter().for_each(|k| k.signal(Signal::CONT));
            }
            Fault::KmendKilled => {
                for kmend in kmends {
                    kmend.kill();
                    rest(dice.random_range(0..1_500));
                    kmend.launch();
                }
                kmends.iter().for_each(Kmend::wait_ready);
                rest(2_000);
            }
            Fault::KmendRestarted => {
                for kmend in kmends {
                    kmend.terminate();
                    kmend.exit_code(Duration::from_secs(30));
                    kmend.launch();
                    kmend.wait_ready();
                }
                rest(2_000);
            }
            Fault::DiskFull => {
                let filler = disk.join(FILLER);
                fill(&filler);
                for _ in 0..3 {
                    Fault::Churn.once(stage, runs, dice);
                    rest(1_500);
                }
                std::fs::remove_file(&filler).expect("the filler");
                Fault::Churn.once(stage, runs, dice);
            }
            Fault::Stalled => weather(network, Weather::Stalled, 6_000),
            Fault::AnswersStalled => weather(network, Weather::AnswersStalled, 6_000),
            Fault::Slow => weather(network, Weather::Slow, 10_000),
            Fault::Refusing => {
                network.set(Weather::Refusing);
                network.reset();
                rest(4_000);
                network.set(Weather::Clear);
            }
            Fault::Vanished | Fault::Lossy => {
                let (share, ms) = if self == Fault::Vanished { (1.0, 8_000) } else { (0.1, 12_000) };
                network.lose(share);
                rest(ms);
                network::lose_nothing();
            }
            Fault::Resets => {
                network.reset();
                rest(dice.random_range(200..2_000));
            }
            Fault::Cuts => {
                network.cut();
                rest(dice.random_range(500..2_000));
            }
        }
    }
}

fn weather(network: &Network, weather: Weather, ms: u64) {
    network.set(weather);
    rest(ms);
    network.set(Weather::Clear);
}

fn rest(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// The same for all runs at once, so that it comes at the same time for both ways.
fn each(runs: &[&Run], f: impl Fn(&Run) + Sync) {
    std::thread::scope(|threads| {
        for run in runs {
            let f = &f;
            threads.spawn(move || f(run));
        }
    });
}

fn each_topic(runs: &[&Run], f: impl Fn(&str) + Sync) {
    each(runs, |run| run.topics().for_each(|topic| f(topic)));
}

/// Writes until there is no room.
fn fill(file: &Path) {
    let mut filler = std::fs::File::create(file).expect("the filler");
    let zeros = [0; 4096];
    while filler.write_all(&zeros).is_ok() {}
    // Not a byte is left.
    while filler.write_all(&[0]).is_ok() {}
}
