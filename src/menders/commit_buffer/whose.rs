//! Whose promises an earlier run has left: without the cluster's id none of them is sent (rule C7). A client that
//! reconnects may be minutes from its next Metadata request, and kmend has no login to ask with: so the question
//! rides the client's connection.

use std::time::Duration;

use super::conn::{ANSWER, OnConnection};
use crate::mend::{Cx, Injected};
use crate::wire::api::ApiKey;
use crate::wire::layout;
use crate::wire::splice::Addresses;
use crate::wire::walk;

/// No job has this number.
pub(super) const QUESTION: u64 = u64::MAX;
/// The first with the cluster's id, and old enough for every broker.
const VERSION: i16 = 2;
/// An empty list asks for the brokers only.
const NO_TOPICS: [u8; 4] = [0; 4];
/// After a question that was not answered.
const PAUSE: Duration = Duration::from_secs(5);

impl OnConnection {
    /// Asks for the cluster where this connection carries what an earlier run has promised.
    pub(super) fn ask_whose(&mut self, cx: &mut Cx<'_>) {
        if cx.shared.cluster.id().is_some() || self.asked_whose.is_some_and(|at| cx.now < at + PAUSE) {
            return;
        }
        let book = &self.shared.book;
        let restored = book.of_carrier(cx.conn.number).iter().any(|group| book.any(group, |h| h.client.is_none()));
        if !restored || cx.conn.version(ApiKey::METADATA, (VERSION, VERSION)).is_none() {
            return;
        }
        if cx.inject(QUESTION, ApiKey::METADATA, VERSION, NO_TOPICS.to_vec(), cx.now + ANSWER) {
            self.asked_whose = Some(cx.now);
        }
    }

    pub(super) fn whose_answered(&mut self, cx: &mut Cx<'_>, outcome: Injected<'_>) {
        if let Injected::Answer { frame, body, .. } = outcome
            && let Some(id) = cluster(frame, body)
        {
            cx.shared.cluster.learn(&id);
        }
        self.look(cx);
    }
}

fn cluster(frame: &[u8], body: usize) -> Option<String> {
    let mut frame = frame.to_vec();
    let end = frame.len();
    let mut found = Addresses::new(ApiKey::METADATA, VERSION);
    let (front, _) = layout::metadata_parts(VERSION)?;
    walk::front(front, &mut frame, body, end, &mut found).ok()?.ok()?;
    found.cluster_id.filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use kafka_protocol::messages::MetadataResponse;
    use kafka_protocol::protocol::{Encodable, StrBytes};

    fn answer(id: Option<&'static str>) -> Vec<u8> {
        let mut frame = BytesMut::from(&[0; 4][..]);
        let response = MetadataResponse::default().with_cluster_id(id.map(StrBytes::from_static_str));
        response.encode(&mut frame, VERSION).unwrap();
        frame.to_vec()
    }

    #[test]
    fn the_answer_names_the_cluster() {
        assert_eq!(cluster(&answer(Some("first")), 4).as_deref(), Some("first"));
        assert_eq!(cluster(&answer(None), 4), None);
        let whole = answer(Some("first"));
        assert!((0..whole.len()).all(|cut| cluster(&whole[..cut], 4).is_none_or(|id| id == "first")));
    }
}
