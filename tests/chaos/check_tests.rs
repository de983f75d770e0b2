//! Each anomaly, in the smallest history that has it, and beside it one that is fine.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::check::{Anomaly, check};
use crate::harness::client::Event;
use crate::history::{End, History, Life};

/// Seconds after the beginning.
fn at(seconds: u64) -> Instant {
    static BEGAN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *BEGAN.get_or_init(Instant::now) + Duration::from_secs(seconds)
}

fn life(said: &[(u64, Event)]) -> Life {
    let said = said.iter().map(|(t, e)| (at(*t), e.clone())).collect();
    Life { client: "app".to_owned(), said, end: End::Asked, tells_assignments: true }
}

fn sent(offset: i64, number: i64) -> Event {
    Event::Sent { topic: "t".to_owned(), partition: 0, offset, value: format!("r{number}") }
}

fn handled(offset: i64, number: i64) -> Event {
    Event::Handled { topic: "t".to_owned(), partition: 0, offset, key: format!("k{number}") }
}

fn committed(offset: i64) -> Event {
    Event::Committed { topic: "t".to_owned(), partition: 0, offset }
}

fn assigned() -> Event {
    Event::Note("ASSIGNED 3 0".to_owned())
}

/// Records 0 to 4, all sent, all read.
fn fine() -> History {
    History {
        topic: "t".to_owned(),
        producers: vec![life(&[0, 1, 2, 3, 4].map(|n| (1, sent(n, n))))],
        consumers: vec![life(&[0, 1, 2, 3, 4].map(|n| (2, handled(n, n))))],
        log: BTreeMap::from([(0, (0..5).map(|n| (n, format!("r{n}"))).collect())]),
        is_exact: true,
        is_ordered: true,
        ..History::default()
    }
}

#[track_caller]
fn shows(anomaly: Anomaly, change: impl FnOnce(&mut History)) {
    let mut history = fine();
    change(&mut history);
    let found = check(&history);
    assert!(found.contains_key(&anomaly), "{anomaly}: {found:?}");
}

#[track_caller]
fn shows_nothing(change: impl FnOnce(&mut History)) {
    let mut history = fine();
    change(&mut history);
    assert_eq!(check(&history), BTreeMap::new());
}

fn log(history: &mut History) -> &mut Vec<(i64, String)> {
    history.log.get_mut(&0).unwrap()
}

#[test]
fn what_producers_were_told() {
    shows_nothing(|_| {});
    shows(Anomaly::Lost, |h| drop(log(h).remove(4)));
    // A client that was told no offset knows only that it was taken.
    shows(Anomaly::Lost, |h| h.producers[0].said.push((at(1), sent(-1, 5))));
    shows(Anomaly::Duplicated, |h| log(h).push((5, "r4".to_owned())));
    shows(Anomaly::Reordered, |h| (log(h)[1].1, log(h)[2].1) = ("r2".to_owned(), "r1".to_owned()));
    shows(Anomaly::Phantom, |h| log(h)[3].1 = "r30".to_owned());
    shows_nothing(|h| {
        log(h).drain(..2);
        h.starts.insert(0, 2);
    });
    // A producer that has begun anew sends the same numbers.
    shows_nothing(|h| {
        log(h).push((5, "r0".to_owned()));
        h.consumers[0].said.push((at(2), handled(5, 0)));
        (h.is_exact, h.is_ordered) = (false, false);
    });
}

#[test]
fn what_consumers_read() {
    shows(Anomaly::Phantom, |h| h.consumers[0].said.push((at(2), handled(5, 5))));
    shows(Anomaly::Phantom, |h| h.consumers[0].said[4].1 = handled(4, 3));
    shows(Anomaly::AbortedRead, |h| {
        log(h).remove(2);
        h.hidden.insert(0, vec![2]);
    });
    shows(Anomaly::Skipped, |h| drop(h.consumers[0].said.remove(2)));
    // Somebody else comes to it, much later.
    shows(Anomaly::Skipped, |h| {
        let late = h.consumers[0].said.remove(2).1;
        h.consumers.push(life(&[(20, late)]));
    });
    shows_nothing(|h| {
        h.consumers[0].said.remove(0);
        h.consumers[0].said.remove(0);
        log(h).drain(..2);
        h.starts.insert(0, 2);
    });
    shows(Anomaly::WentBack, |h| h.consumers[0].said.push((at(3), handled(2, 2))));
    shows_nothing(|h| h.consumers[0].said.extend([(at(3), assigned()), (at(3), handled(2, 2))]));
    // Who does not tell of assignments may have had one.
    shows_nothing(|h| {
        h.consumers[0].tells_assignments = false;
        h.consumers[0].said.push((at(3), handled(2, 2)));
    });
    shows(Anomaly::Blocked, |h| h.blocked.push("nobody reads".to_owned()));
    shows(Anomaly::Died, |h| h.consumers[0].end = End::Died);
}

#[test]
fn what_is_committed() {
    let seen =
        |offsets: &'static [i64]| move |h: &mut History| h.committed = offsets.iter().map(|o| (at(3), 0, *o)).collect();
    shows_nothing(seen(&[2, 2, 5]));
    shows(Anomaly::CommitBack, seen(&[4, 3]));
    shows(Anomaly::CommitAhead, |h| {
        drop(h.consumers[0].said.remove(4));
        h.committed.push((at(3), 0, 5));
    });
    let again = |known: i64, from: i64| {
        move |h: &mut History| {
            h.consumers[0].said.push((at(3), committed(known)));
            h.consumers.push(life(&[(6, assigned()), (7, handled(from, from))]));
        }
    };
    shows(Anomaly::CommitLost, again(4, 2));
    shows_nothing(again(4, 4));
}
