use serde_json::json;

use super::super::ask::Answer;
use super::*;

fn seen() -> Seen {
    let partition = |nth: i32, state: &str| json!({ "topic": "orders", "partition": nth, "position": 12, "committed": 10, "end": 1012, "lag": 1002, "state": state });
    let status = json!({
        "version": "0.1.0", "commit": "9a063df", "cluster_id": "kT9v", "uptime_seconds": 93_784,
        "upstream": { "up": false, "bootstrap": ["kafka:9092"] },
        "listeners": [{ "address": "127.0.0.1:9092", "node": null }, { "address": "127.0.0.1:9093", "node": 1 }],
        "connections": { "clients": 3, "upstream": 2 }, "log_level": "info",
        "menders": [
            { "name": "offset_reset", "mode": "repair", "outcomes": { "repaired": 3 } },
            { "name": "assignment_watchdog", "mode": "observe", "outcomes": {} },
        ],
        "clients": [
            { "client_id": "pay\u{1b}[2J", "address": "127.0.0.1", "software": "franz-go", "version": "1.16.1", "connections": 2,
              "faults": [{ "what": "loses partitions", "fixed_in": "1.17.0", "mender": "assignment_watchdog" }] },
            { "client_id": "", "address": "127.0.0.1", "software": null, "version": null, "connections": 1, "faults": [] },
        ],
        "clients_omitted": 4,
        "groups": [{ "group": "billing", "protocol": "range", "kind": "classic", "members": [{
            "member": "m-1", "client_id": "pay", "address": "127.0.0.1", "instance": "pod-0", "generation": 7,
            "phase": "stable", "assigned": 2, "unfetched": 1, "paused": 0,
            "partitions": [partition(0, "fetched"), partition(11, "unfetched")],
            "stalled": { "reason": "it neither fetches nor commits", "for_seconds": 192, "lag": 2004 },
        }] }],
        "partitions_omitted": 5,
        "traffic": { "requests": [1.0, 38.2], "request_bytes": [12_000.0], "response_bytes": [1.7e6],
            "upstream_p50": [0.0021], "upstream_p99": [null], "added_p50": [0.000_021], "added_p99": [0.000_11], "new": [] },
        "reload": { "at": 100.0, "ok": false, "changed": [], "needs_restart": [], "error": "line 3: no" },
        "of a newer kmend": true,
    });
    let events: Vec<_> = (0..22)
        .map(|nth| json!({ "id": format!("1-{nth}"), "at": 1_795_226_400.5 + f64::from(nth), "level": if nth == 21 { "WARN" } else { "INFO" },
            "mender": "offset_reset", "text": format!("orders[3]: event {nth}"), "observed": nth == 20 }))
        .collect();
    let read = serde_json::from_value(status.clone()).unwrap();
    let events = serde_json::Value::Array(events);
    let of_events = serde_json::from_value(events.clone()).unwrap();
    Seen { status: Answer { raw: status, read }, events: Answer { raw: events, read: of_events } }
}

#[test]
fn all_facts_are_there() {
    let text = whole(&seen(), Paint(false), 400.0);
    let begins = "\
kmend 0.1.0 (9a063df)  up 1d 2h, log level info
upstream     down: kafka:9092, cluster kT9v
listeners    127.0.0.1:9092, 127.0.0.1:9093 for node 1
connections  3 from clients, 2 to brokers
traffic      38 requests/s, 12.0 kB/s in, 1.7 MB/s out; upstream p50 2.1 ms, p99 -; added p50 21 µs, p99 110 µs
reload       refused 5m ago, nothing has changed: line 3: no
attention    no broker answers; 1 partition is assigned and not fetched; 1 consumer is stalled

REPAIRS
  offset_reset         repair   repaired 3
  assignment_watchdog  observe  nothing yet
  2026-11-21T02:00:21Z  offset_reset         orders[3]: event 21
  2026-11-21T02:00:20Z  offset_reset         observed, not done: orders[3]: event 20
";
    assert!(text.starts_with(begins), "{text}");
    let ends = "
  … 2 older: kmend status --json

GROUPS (1)
  billing  classic, range: 1 member, 2 partitions, lag 2,004
    m-1 (pod-0)  pay at 127.0.0.1  generation 7, stable, 2 assigned, 1 not fetched
      stalled for 3m 12s: it neither fetches nor commits; lag 2,004
      TOPIC   PARTITION  POSITION  COMMITTED   END   LAG  STATE
      orders          0        12         10  1012  1002  fetched
      orders         11        12         10  1012  1002  unfetched
  and 5 partitions more, which kmend does not list

CLIENTS (6)
  CLIENT ID  ADDRESS    SOFTWARE  VERSION  CONNECTIONS
  pay\u{fffd}[2J    127.0.0.1  franz-go  1.16.1             2
    loses partitions, fixed in 1.17.0 (menders.assignment_watchdog)
  (none)     127.0.0.1  -         -                  1
  and 4 more, which kmend does not list
";
    assert!(text.ends_with(ends), "{text}");
}

#[test]
fn colours_only_where_they_are_wanted() {
    let seen = seen();
    assert!(!whole(&seen, Paint(false), 0.0).contains('\x1b'));
    let text = whole(&seen, Paint(true), 0.0);
    assert!(text.contains("\x1b[1;31mdown\x1b[0m") && text.contains("\x1b[33morders[3]: event 21\x1b[0m"), "{text}");
    assert!(!text.contains("\x1b[2J"), "{text}");
}

#[test]
fn every_section_has_its_share_of_a_screen() {
    let seen = seen();
    for height in 0..60 {
        let lines = fitted(&seen, Some("gone"), Paint(false), 0.0, height);
        assert!(lines.len() <= height, "{height}: {lines:#?}");
        let has = |start: &str| lines.iter().any(|line| line.starts_with(start));
        if height >= 20 {
            assert!(has("REPAIRS") && has("GROUPS") && has("CLIENTS") && has("gone"), "{height}: {lines:#?}");
        }
    }
    let all = whole(&seen, Paint(false), 0.0).lines().count();
    assert_eq!(fitted(&seen, None, Paint(false), 0.0, all).len(), all);
    let cut = fitted(&seen, None, Paint(false), 0.0, 24).join("\n");
    assert!(cut.contains("lines more: kmend status"), "{cut}");
}

#[test]
fn a_share_is_fair() {
    assert_eq!(shares(&[2, 30, 4], 12), [2, 6, 4]);
    assert_eq!(shares(&[2, 3], 12), [2, 3]);
    assert_eq!(shares(&[5, 5, 5], 7), [2, 2, 3]);
    assert_eq!(shares(&[], 7), Vec::<usize>::new());
}

#[test]
fn what_an_older_kmend_does_not_say_is_left_out() {
    let status: Status = serde_json::from_value(json!({ "version": "0.0.9" })).unwrap();
    let seen = Seen { status: Answer { raw: json!({}), read: status }, events: Answer::default() };
    let text = whole(&seen, Paint(false), 0.0);
    assert!(text.contains("traffic      nothing yet") && text.contains("GROUPS (0)"), "{text}");
    assert!(serde_json::from_value::<Status>(json!({ "status": "ok" })).is_err());
}
