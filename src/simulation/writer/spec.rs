//! What kind of producer it is.

use crate::simulation::dice::Dice;
use crate::simulation::plan::ms;
use crate::simulation::writes::BY_ID;
use crate::simulation::{At, MS, SECOND};

/// Clients as far as it matters for new partitions; each is known by what it announces, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Software {
    Java,
    Librdkafka,
    FranzGo,
    Sarama,
    /// Nobody knows it.
    Other,
}

impl Software {
    pub fn name(self) -> &'static str {
        match self {
            Software::Java => "apache-kafka-java",
            Software::Librdkafka => "librdkafka",
            Software::FranzGo => "kgo",
            Software::Sarama => "sarama",
            Software::Other => "model",
        }
    }

    pub fn random(dice: &mut Dice) -> Software {
        let all = [Software::Java, Software::Librdkafka, Software::FranzGo, Software::Sarama];
        if dice.one_in(9) { Software::Other } else { dice.pick(&all) }
    }
}

#[derive(Debug, Clone)]
pub struct Spec {
    pub kmend: usize,
    pub client_id: String,
    pub software: Software,
    pub start: At,
    pub acks: i16,
    pub idempotent: bool,
    /// Requests that may be on their way.
    pub in_flight: usize,
    pub version: i16,
    /// Of its Metadata requests: from 10 on they tell the topic's id.
    pub metadata: i16,
    /// It keeps a connection to another broker as well, without records.
    pub spare: bool,
    pub every: At,
    /// In that time it is never idle.
    pub busy: (At, At),
    /// What has to be sent again goes one by one (Java); else as before, one behind the other.
    pub one_by_one: bool,
    /// What has to be sent again waits for Metadata (franz-go).
    pub waits: bool,
    /// Metadata is asked for at most so often.
    pub least: At,
    /// Metadata is asked for at least so often.
    pub max_age: At,
    pub works_until: At,
    /// After it has died; `None`: never.
    pub restart: Option<At>,
}

impl Spec {
    pub fn random(number: usize, kmends: usize, faults_end: At, dice: &mut Dice) -> Spec {
        let software = Software::random(dice);
        let acks = if dice.one_in(8) { 0 } else { -1 };
        let idempotent = acks != 0 && !dice.one_in(4);
        let from = dice.range(SECOND, faults_end);
        let busy = if dice.one_in(2) { (from, from + dice.range(2, 6) * SECOND) } else { (0, 0) };
        let franz_go = software == Software::FranzGo;
        let version = dice.pick(&[3, 7, 9, 12, 13]);
        Spec {
            kmend: number % kmends,
            client_id: if dice.one_in(6) { "app".into() } else { format!("writer-{number}") },
            software,
            start: dice.range(0, SECOND),
            acks,
            idempotent,
            in_flight: if idempotent { dice.pick(&[1, 2, 5]) } else { 1 },
            version,
            metadata: if version >= BY_ID { 12 } else { dice.pick(&[5, 9, 12]) },
            spare: dice.one_in(2),
            every: dice.pick(&[40 * MS, 150 * MS, 400 * MS, 1100 * MS]),
            busy,
            one_by_one: software == Software::Java,
            waits: franz_go,
            least: if franz_go { 5 * SECOND } else { 100 * MS },
            max_age: dice.pick(&[25 * SECOND, 300 * SECOND, 300 * SECOND]),
            works_until: faults_end + 22 * SECOND,
            restart: (!dice.one_in(4)).then(|| dice.range(200, 3000) * MS),
        }
    }

    pub fn kind(&self) -> String {
        let kind = match (self.acks, self.idempotent) {
            (0, _) => "acks=0",
            (_, true) => "idempotent",
            _ => "not idempotent",
        };
        let (every, busy) = (ms(self.every), format!("{} to {}", ms(self.busy.0), ms(self.busy.1)));
        let spare = if self.spare { ", a spare connection" } else { "" };
        let Spec { software, in_flight, version, .. } = self;
        format!("{kind}, {software:?}, Produce {version}, {in_flight} in flight, each {every}, busy {busy}{spare}")
    }
}
