//! What a producer makes of its answers.

use kafka_protocol::messages::MetadataResponse;

use super::*;
use crate::simulation::broker::{NOT_LEADER, UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION};
use crate::simulation::wire::decode;

impl Writer {
    /// An answer on `conn` to what was asked there.
    #[allow(clippy::too_many_arguments)]
    pub fn answered(
        &mut self,
        now: At,
        conn: u64,
        asked: &Asked,
        version: i16,
        frame: &[u8],
        body: usize,
        acts: &mut Acts,
    ) {
        let Some(slot) = self.slots.iter().position(|s| s.conn == Some(conn)) else { return };
        match asked {
            Asked::Versions => self.ask(conn, acts),
            Asked::Metadata => {
                self.sees(&decode(frame, body, version), version);
                (self.looking, self.looked) = (false, Some(now));
                self.slots[slot].ready = true;
                if slot == RECORDS && self.spec.idempotent && self.producer.is_none() {
                    let (version, body) = (writes::PRODUCER, writes::ask_producer());
                    acts.push(Act::Send { conn, api: ApiKey::INIT_PRODUCER_ID, version, body, asked: Asked::Producer });
                }
            }
            Asked::Producer => self.producer = Some(writes::producer_told(frame, body, version)),
            Asked::Written(batches) => {
                self.in_flight -= 1;
                let (results, _) = writes::answered(frame, body, version);
                for ((partition, batch), (told, error, _)) in batches.iter().zip(results) {
                    assert_eq!(*partition, told, "the answer names what was asked for");
                    self.written(now, *partition, batch.lines[0].number, error, acts);
                }
            }
            other => panic!("a producer asks nothing like {other:?}"),
        }
        if self.is_up {
            self.go_on(now, acts);
        }
    }

    fn sees(&mut self, message: &MetadataResponse, version: i16) {
        let Some(topic) = message.topics.first() else { return };
        if topic.error_code != 0 {
            self.leaders.clear();
            self.wants_look = true;
            return;
        }
        // Where ids tell, what is older than what it knows is not believed.
        let has_id = version >= 10;
        let number = topic.topic_id.as_bytes()[0].wrapping_sub(wire::TOPIC_ID[0]);
        let number = if has_id { number } else { self.number };
        let mut leaders = vec![-1; topic.partitions.len()];
        for partition in &topic.partitions {
            leaders[partition.partition_index as usize] = partition.leader_id.0;
        }
        if has_id && (number < self.number || (number == self.number && leaders.len() < self.leaders.len())) {
            self.wants_look = true;
            return;
        }
        if leaders.contains(&-1) {
            self.wants_look = true;
        }
        self.leader = leaders.iter().copied().find(|l| *l >= 0).unwrap_or(self.leader);
        (self.number, self.leaders) = (number, leaders);
    }

    fn written(&mut self, now: At, partition: i32, sequence: i32, error: i16, acts: &mut Acts) {
        let queue = self.pending.entry(partition).or_default();
        let Some(at) = queue.iter().position(|p| p.sequence == sequence) else { return };
        match error {
            0 => {
                queue.remove(at);
            }
            // The topic that is there now has no such partition: its app hears that.
            UNKNOWN_TOPIC_OR_PARTITION if (1..=partition as usize).contains(&self.leaders.len()) => {
                queue.remove(at);
            }
            NOT_LEADER | UNKNOWN_TOPIC_OR_PARTITION | UNKNOWN_TOPIC_ID => {
                (queue[at].sent, queue[at].again) = (None, true);
                self.wants_look = true;
                self.not_before = now + BACKOFF;
                acts.push(Act::Timer(BACKOFF, What::Reopen(RECORDS)));
            }
            _ => {
                acts.push(Act::Died("a batch was refused for good"));
                self.end(acts);
            }
        }
    }
}
