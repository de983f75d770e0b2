//! OffsetCommit and OffsetFetch.

use kafka_protocol::messages::{OffsetCommitRequest, OffsetFetchRequest};

use super::*;

impl Broker {
    pub(super) fn commit(&mut self, now: At, to: ReplyTo, request: &OffsetCommitRequest, away: Option<i16>) {
        let member = request.member_id.to_string();
        let generation = request.generation_id_or_member_epoch;
        let instance = request.group_instance_id.as_deref();
        let error = away.unwrap_or_else(|| self.group.may_commit(now, &member, generation, instance));
        let mut results = Vec::new();
        for partition in request.topics.iter().flat_map(|t| &t.partitions) {
            let index = partition.partition_index;
            let before = self.group.offsets.get(&index).copied().unwrap_or(-1);
            if error == 0 {
                self.group.offsets.insert(index, partition.committed_offset);
                // Who only commits has read it elsewhere.
                self.logs.has(index, partition.committed_offset);
            }
            results.push((index, error));
            self.news.push(News::Judged(Judged {
                to,
                member: member.clone(),
                generation,
                partition: index,
                before,
                offset: partition.committed_offset,
                error,
                state: self.group.state,
            }));
        }
        self.out.push((to, Reply::Commit(results)));
    }

    pub(super) fn fetch(&mut self, to: ReplyTo, request: &OffsetFetchRequest, away: Option<i16>) {
        let mut asked: Vec<i32> = Vec::new();
        let mut all = false;
        if to.version >= 8 {
            for group in &request.groups {
                match &group.topics {
                    Some(topics) => asked.extend(topics.iter().flat_map(|t| &t.partition_indexes)),
                    None => all = true,
                }
            }
        } else {
            match &request.topics {
                Some(topics) => asked.extend(topics.iter().flat_map(|t| &t.partition_indexes)),
                None => all = true,
            }
        }
        if all {
            asked = self.group.offsets.keys().copied().collect();
        }
        let offset = |p: i32| self.group.offsets.get(&p).copied().unwrap_or(-1);
        self.news.push(News::Asked(to));
        let reply = match away {
            Some(error) => Reply::Fetch(error, Vec::new()),
            None => Reply::Fetch(0, asked.iter().map(|p| (*p, offset(*p))).collect()),
        };
        self.out.push((to, reply));
    }
}
