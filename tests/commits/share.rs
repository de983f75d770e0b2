//! What a proxy cannot see: commits that a client refuses on its own side, before anything reaches the wire. A naive
//! app commits each record of a steady stream while others join and leave without end and one is slow, and is started again whenever it
//! dies. A death without a refused commit at the broker was its client's own doing. With `KMEND_MATRIX=1`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::behind;
use crate::harness::admin::Guest;
use crate::harness::{Client, Opts, caught, eventually, unique};
use crate::relay::JOIN_GROUP;

const PARTITIONS: i32 = 2;
const RUN: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(10);

/// The lives of one app.
#[derive(Debug, Clone, Default)]
pub struct Share {
    pub rebalances: usize,
    pub commits: usize,
    /// Deaths after the broker had refused a commit, and the last one's words.
    pub refused: usize,
    pub refused_text: String,
    /// Deaths without that, and the last one's words.
    pub own: usize,
    pub own_text: String,
}

impl Share {
    pub fn text(&self) -> String {
        let words = |n: usize, text: &str| if n == 0 { n.to_string() } else { format!("{n} ({text})") };
        format!(
            "{} rebalances, {} commits, died of the broker's answer: {}, of its own: {}",
            self.rebalances,
            self.commits,
            words(self.refused, &self.refused_text),
            words(self.own, &self.own_text)
        )
    }
}

/// Apps that are measured with another assignor, too: name in the report, client, `PROPS`.
pub const VARIANTS: [(&str, &str, &str); 1] = [(
    "java, cooperative",
    "java",
    "partition.assignment.strategy=org.apache.kafka.clients.consumer.CooperativeStickyAssignor",
)];

/// One member joins and leaves without end, and another one takes its time to rejoin each time; how many rebalances that made.
/// `now`: the client id of the app that lives.
fn shake(topic: &str, group: &str, now: &Mutex<String>, stop: &AtomicBool) -> usize {
    let admin = behind().kafka.admin();
    let stops = || stop.load(Ordering::SeqCst);
    let joins = || behind().relay.seen(&now.lock().unwrap_or_else(|e| e.into_inner()), JOIN_GROUP).len();
    let is_stable = || admin.membership(group).state == "Stable";
    let mut rebalances = 0;
    eventually(RUN, || stops() || is_stable());
    let slow = Guest::join(&admin, group, topic, PARTITIONS);
    while !stops() {
        let rejoin = |change: &dyn Fn()| {
            eventually(PATIENCE, || stops() || is_stable());
            slow.dawdle();
            let before = joins();
            change();
            eventually(Duration::from_secs(4), || stops() || joins() > before);
            std::thread::sleep(Duration::from_millis(200));
            slow.hurry();
            eventually(Duration::from_secs(10), || stops() || is_stable());
        };
        let guest = Mutex::new(None);
        let mine = || guest.lock().unwrap_or_else(|e| e.into_inner());
        rejoin(&|| *mine() = Some(Guest::join(&admin, group, topic, PARTITIONS)));
        rejoin(&|| drop(mine().take()));
        rebalances += 2;
    }
    rebalances
}

/// One client, for half a minute.
pub fn shaken(client: &str, props: &str, through: bool) -> Share {
    let admin = behind().kafka.admin();
    let topic = unique(&format!("shaken-{client}"));
    let group = format!("{topic}-group");
    admin.create(&topic, PARTITIONS, &[]);
    let kmend = through.then(crate::repairing);
    let servers = kmend.as_ref().map_or_else(|| behind().upstream[0].clone(), |k| k.listen.clone());
    let (stop, now, mut share) = (AtomicBool::new(false), Mutex::new(String::new()), Share::default());
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let admin = behind().kafka.admin();
            while !stop.load(Ordering::SeqCst) {
                (0..PARTITIONS).for_each(|p| {
                    admin.produce(&topic, p, 1);
                });
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let guests = threads.spawn(|| shake(&topic, &group, &now, &stop));
        let began = Instant::now();
        let lives = caught(|| {
            for life in 0.. {
                if began.elapsed() >= RUN {
                    break;
                }
                let id = format!("{topic}-{life}");
                now.lock().unwrap_or_else(|e| e.into_inner()).clone_from(&id);
                let opts = Opts::consume(&servers, &topic, &group).with("CLIENT_ID", &id).with("COMMIT", "each");
                let app = Client::start(client, opts.with("PROPS", props).with("HANDLER_MS", 50));
                let died = || app.errors().into_iter().find(|e| e.starts_with("DIED"));
                eventually(RUN.saturating_sub(began.elapsed()).max(Duration::from_secs(3)), || died().is_some());
                share.commits += app.commits();
                if let Some(text) = died() {
                    let text = text.chars().skip("DIED ".len()).take(140).collect();
                    if behind().relay.refused(&id).is_empty() {
                        (share.own, share.own_text) = (share.own + 1, text);
                    } else {
                        (share.refused, share.refused_text) = (share.refused + 1, text);
                    }
                }
                drop(app);
                // Else the next one waits until the dead one's session is over.
                if admin.membership(&group).members.iter().any(|m| m.client == id) {
                    admin.remove_member(&group, &id);
                }
            }
        });
        stop.store(true, Ordering::SeqCst);
        share.rebalances = guests.join().unwrap_or_default();
        if let Err(text) = lives {
            panic!("{text}");
        }
    });
    if let Some(kmend) = &kmend {
        kmend.allow("");
    }
    let how = if through { "through kmend" } else { "directly" };
    println!("{client} {props}, shaken, {how}: {}", share.text());
    share
}
