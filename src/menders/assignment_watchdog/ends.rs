//! Asking brokers where the logs end that nobody fetches, on the client's own connections.

use std::collections::HashMap;
use std::sync::Arc;

use super::watch::Key;
use crate::mend::Place;

/// More than one connection is ever asked for at once.
const MOST: usize = 10_000;

/// What is to be asked: whose partitions, by topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub key: Key,
    pub topic: Arc<str>,
    pub partitions: Vec<i32>,
}

/// Waiting questions, by the connection that is to ask.
#[derive(Debug, Default)]
pub struct Questions {
    of_conn: HashMap<u64, Vec<Question>>,
}

impl Questions {
    pub fn ask(&mut self, conn: u64, key: &Key, place: &Place) {
        let questions = self.of_conn.entry(conn).or_default();
        let is_full = questions.len() >= MOST;
        let same = questions.iter_mut().find(|q| q.key == *key && q.topic == place.0);
        match same {
            Some(question) if question.partitions.contains(&place.1) || question.partitions.len() >= MOST => {}
            Some(question) => question.partitions.push(place.1),
            None if is_full => {}
            None => {
                let question = Question { key: key.clone(), topic: place.0.clone(), partitions: vec![place.1] };
                questions.push(question);
            }
        }
    }

    pub fn take(&mut self, conn: u64) -> Vec<Question> {
        self.of_conn.remove(&conn).unwrap_or_default()
    }

    pub fn forget(&mut self, conn: u64) {
        self.of_conn.remove(&conn);
    }
}
