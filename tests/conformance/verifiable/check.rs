//! What the two programs wrote, one JSON object a line, and what must not be in it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde_json::Value;

use super::VALUES;

type Place = (i64, i64);

#[derive(Debug, Default)]
pub struct Found {
    pub acknowledged: usize,
    pub send_errors: usize,
    /// Acknowledged, and never consumed.
    pub lost: BTreeSet<String>,
    /// Values at more than one place of the log.
    pub twice_in_the_log: usize,
    /// Records that were consumed before.
    pub again: usize,
    /// Within an assignment of a partition: offsets that were skipped, that went back.
    pub gaps: usize,
    pub back: usize,
    /// Committed offsets that went back within an assignment.
    pub commits_back: usize,
    pub commits: usize,
    pub commit_errors: usize,
    pub rebalances: usize,
    pub took: Duration,
}

impl Found {
    pub fn problems(&self) -> Vec<String> {
        let mut all = Vec::new();
        let mut say = |is_wrong: bool, text: String| all.extend(is_wrong.then_some(text));
        say(self.acknowledged != VALUES, format!("{} of {VALUES} values acknowledged", self.acknowledged));
        say(self.send_errors > 0, format!("{} send errors", self.send_errors));
        say(!self.lost.is_empty(), format!("{} lost, first: {:?}", self.lost.len(), self.lost.first()));
        say(self.twice_in_the_log > 0, format!("{} twice in the log", self.twice_in_the_log));
        say(self.gaps > 0, format!("{} gaps", self.gaps));
        say(self.back > 0, format!("{} times back", self.back));
        say(self.commits_back > 0, format!("{} commits back", self.commits_back));
        say(self.commits == 0, "no commit".to_owned());
        all
    }

    pub fn told(&self) -> String {
        format!(
            "{} acknowledged, {} lost, {} twice in the log, {} gaps, {} back; {} delivered again; {} of {} commits refused, {} rebalances, {:.0} s",
            self.acknowledged,
            self.lost.len(),
            self.twice_in_the_log,
            self.gaps,
            self.back,
            self.again,
            self.commit_errors,
            self.commits,
            self.rebalances,
            self.took.as_secs_f64(),
        )
    }
}

/// What a producer and its consumers wrote. A last line that is not whole yet is left out.
pub fn check(producer: &str, consumers: &[String]) -> Found {
    let mut found = Found::default();
    let mut acknowledged = BTreeSet::new();
    for event in events(producer) {
        match text(&event, "name") {
            "producer_send_success" => drop(acknowledged.insert(value(&event))),
            "producer_send_error" => found.send_errors += 1,
            _ => {}
        }
    }
    let mut at: BTreeMap<String, BTreeSet<Place>> = BTreeMap::new();
    let mut seen: HashMap<Place, usize> = HashMap::new();
    for consumer in consumers {
        // Of the partitions that it has just now.
        let mut position: HashMap<i64, i64> = HashMap::new();
        let mut committed: HashMap<i64, i64> = HashMap::new();
        for event in events(consumer) {
            match text(&event, "name") {
                "record_data" => {
                    let place = (number(&event, "partition"), number(&event, "offset"));
                    at.entry(value(&event)).or_default().insert(place);
                    *seen.entry(place).or_default() += 1;
                    match position.insert(place.0, place.1) {
                        Some(last) if place.1 <= last => found.back += 1,
                        Some(last) if place.1 != last + 1 => found.gaps += 1,
                        _ => {}
                    }
                }
                "partitions_assigned" => found.rebalances += 1,
                "partitions_revoked" => {
                    for partition in list(&event, "partitions") {
                        position.remove(&number(partition, "partition"));
                        committed.remove(&number(partition, "partition"));
                    }
                }
                "offsets_committed" => {
                    found.commits += 1;
                    if event["success"] == false {
                        found.commit_errors += 1;
                        continue;
                    }
                    for offset in list(&event, "offsets") {
                        let now = number(offset, "offset");
                        let last = committed.insert(number(offset, "partition"), now);
                        found.commits_back += usize::from(last.is_some_and(|last| now < last));
                    }
                }
                _ => {}
            }
        }
    }
    found.acknowledged = acknowledged.len();
    found.lost = acknowledged.into_iter().filter(|value| !at.contains_key(value)).collect();
    found.twice_in_the_log = at.values().filter(|places| places.len() > 1).count();
    found.again = seen.values().map(|times| times - 1).sum();
    found
}

fn events(text: &str) -> impl Iterator<Item = Value> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok())
}

fn text<'a>(event: &'a Value, name: &str) -> &'a str {
    event[name].as_str().unwrap_or_default()
}

fn value(event: &Value) -> String {
    event["value"].as_str().map_or_else(|| event["value"].to_string(), str::to_owned)
}

fn number(event: &Value, name: &str) -> i64 {
    event[name].as_i64().unwrap_or(-1)
}

fn list<'a>(event: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    event[name].as_array().into_iter().flatten()
}

#[test]
fn each_kind_of_anomaly_is_seen() {
    let sent = |value: &str| {
        format!("{{\"name\":\"producer_send_success\",\"value\":\"{value}\",\"partition\":0,\"offset\":0}}\n")
    };
    let got = |value: &str, offset: i64| {
        format!("{{\"name\":\"record_data\",\"value\":\"{value}\",\"partition\":0,\"offset\":{offset}}}\n")
    };
    let committed = |offset: i64| {
        format!(
            "{{\"name\":\"offsets_committed\",\"success\":true,\"offsets\":[{{\"partition\":0,\"offset\":{offset}}}]}}\n"
        )
    };
    let revoked = "{\"name\":\"partitions_revoked\",\"partitions\":[{\"topic\":\"t\",\"partition\":0}]}\n";
    let producer = sent("a") + &sent("b") + &sent("c");
    let well = [got("a", 0) + &got("b", 1) + &got("c", 2) + &committed(3)];
    let found = check(&producer, &well);
    assert_eq!((found.acknowledged, found.lost.len(), found.twice_in_the_log, found.again), (3, 0, 0, 0));
    assert_eq!((found.gaps, found.back, found.commits, found.commits_back), (0, 0, 1, 0));
    let badly = [got("a", 0) + &got("c", 2) + &got("c", 3) + &got("a", 0) + &committed(4) + &committed(1)];
    let found = check(&producer, &badly);
    assert_eq!(found.lost.into_iter().collect::<Vec<_>>(), ["b"]);
    assert_eq!((found.twice_in_the_log, found.again, found.gaps, found.back, found.commits_back), (1, 1, 1, 1, 1));
    // Where a partition comes back it may begin before its end, and at a later commit.
    let again = [got("a", 0) + &committed(1) + revoked + &got("a", 0) + &committed(0) + "{\"name\":\"record_da"];
    let found = check("", &again);
    assert_eq!((found.again, found.back, found.gaps, found.commits_back), (1, 0, 0, 0));
}
