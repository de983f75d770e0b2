//! After a refused Produce request: what may follow it (rule B3).
//!
//! A broker accepts batches of an idempotent producer only in the order of their sequence. So what
//! was pipelined behind a refused batch is refused too, until the producer sends that batch again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::mend::{Batch, Produced};

/// How long a refused batch is waited for; then the bytes pass, and the broker judges.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Half the space of sequences (they wrap at 2^31): further away is before, not behind.
const HALF: i32 = 1 << 30;

/// Producer id, number of the topic on the connection, partition.
type Key = (i64, u32, i32);

#[derive(Debug, Clone, Copy)]
struct Gate {
    epoch: i16,
    /// The lowest refused sequence.
    lowest: i32,
    until: Instant,
}

/// The gates of one connection.
#[derive(Debug, Default)]
pub struct Gates {
    gates: HashMap<Key, Gate>,
}

fn key(partition: &Produced, batch: Batch) -> Key {
    (batch.producer_id, partition.topic.number, partition.partition)
}

/// Sequences run from 0 to 2^31 - 1 and begin again.
fn is_behind(sequence: i32, lowest: i32) -> bool {
    let distance = sequence.wrapping_sub(lowest) & i32::MAX;
    (1..HALF).contains(&distance)
}

impl Gates {
    pub fn is_empty(&self) -> bool {
        self.gates.is_empty()
    }

    /// A request may be refused only if its producer sends every batch again, in order: it is
    /// idempotent, and the broker knows its sequences.
    pub fn is_safe(partitions: &[Produced]) -> bool {
        !partitions.is_empty()
            && partitions.iter().all(|p| p.batch.is_some_and(|b| b.producer_id >= 0 && b.base_sequence > 0))
    }

    /// Refuses a request: all its batches are gated.
    pub fn shut(&mut self, partitions: &[Produced], now: Instant) {
        for partition in partitions {
            let Some(batch) = partition.batch.filter(|b| b.producer_id >= 0) else {
                continue;
            };
            let fresh = Gate { epoch: batch.epoch, lowest: batch.base_sequence, until: now + PATIENCE };
            let gate = self.gates.entry(key(partition, batch)).or_insert(fresh);
            if gate.epoch != batch.epoch {
                *gate = fresh;
            } else if is_behind(gate.lowest, batch.base_sequence) {
                gate.lowest = batch.base_sequence;
            }
        }
    }

    /// What becomes of a request: gates whose batch has come again, or was waited for too long, open.
    pub fn judge(&mut self, partitions: &[Produced], now: Instant) -> Judgement {
        let behind = |p: &&Produced| {
            let gate = p.batch.and_then(|b| self.gates.get(&key(p, b)).filter(|g| g.epoch == b.epoch).map(|g| (b, g)));
            gate.is_some_and(|(b, g)| is_behind(b.base_sequence, g.lowest))
        };
        let until = |p: &Produced| p.batch.and_then(|b| self.gates.get(&key(p, b))).map(|g| g.until);
        // The one that has waited longest decides: then the broker judges.
        let earliest = partitions.iter().filter(behind).filter_map(until).min();
        if earliest.is_some_and(|until| until > now) {
            return Judgement::Refuse;
        }
        for (partition, batch) in partitions.iter().filter_map(|p| p.batch.map(|b| (p, b))) {
            let key = key(partition, batch);
            let opens = |g: &Gate| g.epoch != batch.epoch || g.lowest == batch.base_sequence || g.until <= now;
            if self.gates.get(&key).is_some_and(opens) {
                self.gates.remove(&key);
            }
        }
        if earliest.is_some() { Judgement::PassUnsent } else { Judgement::Pass }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    Pass,
    /// It is behind one that was refused.
    Refuse,
    /// It is behind one that was refused and has not been sent again in all the time.
    PassUnsent,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mend::Topic;

    fn batch(partition: i32, epoch: i16, base_sequence: i32) -> Produced {
        let topic = Topic { number: 0, name: None, id: None };
        Produced { topic, partition, batch: Some(Batch { producer_id: 7, epoch, base_sequence }) }
    }

    fn refuses(gates: &mut Gates, partitions: &[Produced]) -> bool {
        gates.judge(partitions, Instant::now()) == Judgement::Refuse
    }

    #[test]
    fn what_is_behind_waits_for_what_was_refused() {
        let (mut g, now) = (Gates::default(), Instant::now());
        g.shut(&[batch(0, 0, 50)], now);
        assert!(refuses(&mut g, &[batch(0, 0, 60)]));
        assert!(!refuses(&mut g, &[batch(1, 0, 60)]), "another partition");
        assert!(!refuses(&mut g, &[batch(0, 0, 40)]), "what was sent before is no business of the gate");
        assert!(refuses(&mut g, &[batch(0, 0, 60)]), "and does not open it");
        assert!(!refuses(&mut g, &[batch(0, 0, 50)]));
        assert!(g.is_empty() && !refuses(&mut g, &[batch(0, 0, 60)]));
    }

    #[test]
    fn a_request_goes_or_stays_as_a_whole() {
        let (mut g, now) = (Gates::default(), Instant::now());
        g.shut(&[batch(0, 0, 5), batch(1, 0, 9)], now);
        assert!(refuses(&mut g, &[batch(0, 0, 5), batch(1, 0, 10)]));
        assert!(refuses(&mut g, &[batch(0, 0, 6)]), "the gate of partition 0 is still shut");
        assert!(!refuses(&mut g, &[batch(0, 0, 5), batch(1, 0, 9)]));
        assert!(g.is_empty());
    }

    #[test]
    fn opens_for_another_epoch_and_after_a_while() {
        let (mut g, now) = (Gates::default(), Instant::now());
        g.shut(&[batch(0, 0, 50)], now);
        assert!(!refuses(&mut g, &[batch(0, 1, 0)]));
        assert!(g.is_empty());
        g.shut(&[batch(0, 1, 50)], now);
        assert_eq!(g.judge(&[batch(0, 1, 60)], now), Judgement::Refuse);
        assert_eq!(g.judge(&[batch(0, 1, 60)], now + PATIENCE), Judgement::PassUnsent);
        assert!(g.is_empty());
    }

    #[test]
    fn sequences_wrap() {
        let (mut g, now) = (Gates::default(), Instant::now());
        g.shut(&[batch(0, 0, i32::MAX)], now);
        assert!(refuses(&mut g, &[batch(0, 0, 0)]) && refuses(&mut g, &[batch(0, 0, 9)]));
        assert!(!refuses(&mut g, &[batch(0, 0, i32::MAX - 3)]));
        g.shut(&[batch(0, 0, i32::MAX - 3)], now);
        assert!(refuses(&mut g, &[batch(0, 0, i32::MAX)]), "the lowest one counts");
    }

    #[test]
    fn only_sequences_that_the_broker_knows_are_refused() {
        assert!(Gates::is_safe(&[batch(0, 0, 1)]));
        assert!(!Gates::is_safe(&[]) && !Gates::is_safe(&[batch(0, 0, 0)]));
        assert!(!Gates::is_safe(&[batch(0, 0, 3), Produced { batch: None, ..batch(1, 0, 0) }]));
        let foreign = Batch { producer_id: -1, epoch: -1, base_sequence: -1 };
        assert!(!Gates::is_safe(&[Produced { batch: Some(foreign), ..batch(0, 0, 0) }]));
    }
}
