//! Where nothing is found, because nothing can be said for certain (rules D1, D2, M5).

use super::app::*;
use super::line::Line;
use super::says::*;
use super::scene::*;
use crate::config::model::{Mode, ModeRule};

const ALL: [i32; 4] = [0, 1, 2, 3];

fn finds_nothing(scene: &mut Scene, app: &mut App, seconds: u64) {
    app.lives(scene, seconds);
    assert_eq!((scene.counts(), app.told.len()), ([0; 4], 0), "{app:?}");
    assert!(scene.lines.values().all(Line::is_untouched));
}

#[test]
fn where_no_sibling_is_fetched() {
    for fetches in [&[][..], &[7]] {
        // Partition 7 is not the member's own.
        let mut scene = Scene::plain();
        let mut app = dangling(&mut scene, Who::new(ME), &ALL, fetches);
        finds_nothing(&mut scene, &mut app, 120);
        assert_eq!(scene.unfetched(ME), []);
        assert!(scene.brokers().asked.is_empty());
    }
}

/// A sibling that was fetched only before the assignment says nothing of it.
#[test]
fn where_nothing_was_fetched_since() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who { protocol: EAGER.into(), ..Who::new(ME) }, &ALL, &ALL);
    app.lives(&mut scene, 10);
    app.joins(&mut scene, 6, &ALL);
    app.wants(&[]);
    app.fetches = false;
    finds_nothing(&mut scene, &mut app, 120);
}

/// Busy with what it has been assigned: it fetches nothing at all for now.
#[test]
fn where_siblings_were_fetched_only_at_first() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
    app.lives(&mut scene, 10);
    app.fetches = false;
    finds_nothing(&mut scene, &mut app, 120);
    app.fetches = true;
    app.lives(&mut scene, 3);
    assert_eq!(scene.unfetched(ME).len(), 3, "now it does without them");
}

#[test]
fn a_franz_go_client_of_a_group_that_did_not_switch_may_be_busy() {
    for protocol in [EAGER, COOPERATIVE] {
        let mut scene = Scene::plain();
        let who = Who { protocol: protocol.into(), ..Who::new(ME) };
        let mut app = App::with(&mut scene, "app", who, FRANZ_GO);
        app.fetcher(&mut scene, 1, 11, &ALL);
        scene.produce(&ALL, 17);
        scene.commits(GROUP, &ALL, 10);
        app.joins(&mut scene, 5, &ALL);
        app.lives(&mut scene, 10);
        app.loses_and_joins(&mut scene, 6, &ALL);
        app.fetches = false;
        finds_nothing(&mut scene, &mut app, 120);
    }
}

#[test]
fn off_is_off_in_a_switched_group_too() {
    for (mode, found) in [(Mode::Off, 0.0), (Mode::Repair, 1.0)] {
        let mut scene =
            Scene::new(|c| c.menders.assignment_watchdog.topics = [(TOPIC.into(), ModeRule { mode })].into());
        scene.brokers().topics.insert(TOPIC.into(), vec![5, 1, 5, 1]);
        let mut app = dangling(&mut scene, Who { protocol: EAGER.into(), ..Who::new(ME) }, &ALL, &[1, 3]);
        app.lives(&mut scene, 10);
        app.who.protocol = COOPERATIVE.into();
        app.loses_and_joins(&mut scene, 6, &ALL);
        app.lives(&mut scene, 60);
        assert_eq!((scene.repairs("reported"), scene.repairs("told")), (found, found));
    }
}

fn switches(scene: &mut Scene, software: &'static str, fetches_before: bool) -> App {
    scene.commits(GROUP, &ALL, 10);
    scene.produce(&ALL, 17);
    let mut app = App::with(scene, "app", Who { protocol: EAGER.into(), ..Who::new(ME) }, software);
    app.fetcher(scene, 1, 11, &ALL);
    app.joins(scene, 5, &ALL);
    app.fetches = fetches_before;
    app.lives(scene, 10);
    app.who.protocol = COOPERATIVE.into();
    app.joins(scene, 6, &ALL);
    app.fetches = false;
    app.lives(scene, 60);
    app
}

#[test]
fn a_franz_go_client_of_a_switched_group_loses_all() {
    let mut scene = Scene::scoped();
    let app = switches(&mut scene, FRANZ_GO, true);
    assert_eq!((scene.counts(), app.told.len()), ([1, 1, 0, 0], 1));
    for (software, fetched) in [(JAVA, true), (FRANZ_GO, false)] {
        let mut scene = Scene::scoped();
        let app = switches(&mut scene, software, fetched);
        assert_eq!((scene.counts(), app.told.len()), ([0; 4], 0));
    }
}

#[test]
fn one_that_only_commits() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[]);
    for offset in 11..100 {
        app.commits(&mut scene, &[(3, offset.min(17))]);
        finds_nothing(&mut scene, &mut app, 1);
    }
}

#[test]
fn an_empty_partition_until_it_is_not() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
    for partition in [0, 1, 2] {
        scene.brokers().ends.insert((TOPIC.into(), partition), 10);
    }
    finds_nothing(&mut scene, &mut app, 90);
    scene.produce(&[1], 1);
    app.lives(&mut scene, 5);
    assert_eq!((scene.unfetched(ME), scene.repairs("reported")), (vec![(1, Some(1))], 1.0));
}

#[test]
fn where_nothing_is_committed_only_what_comes_counts() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
    scene.brokers().committed.clear();
    finds_nothing(&mut scene, &mut app, 90);
    scene.produce(&[0, 2], 3);
    app.lives(&mut scene, 5);
    assert_eq!(scene.unfetched(ME), [(0, Some(3)), (2, Some(3))]);
}

#[test]
fn where_nobody_can_be_asked_only_a_switched_group_shows_it() {
    for switched in [false, true] {
        let mut scene = Scene::plain();
        scene.brokers().topics.insert(TOPIC.into(), vec![5, 1, 5, 1]);
        let protocol = if switched { EAGER } else { COOPERATIVE };
        let mut app = dangling(&mut scene, Who { protocol: protocol.into(), ..Who::new(ME) }, &ALL, &[1, 3]);
        app.lives(&mut scene, 10);
        app.who.protocol = COOPERATIVE.into();
        app.loses_and_joins(&mut scene, 6, &ALL);
        app.lives(&mut scene, 60);
        let expected = if switched { vec![(0, None), (2, None)] } else { vec![] };
        assert_eq!((scene.unfetched(ME), scene.repairs("told")), (expected, f64::from(u8::from(switched))));
    }
}

#[test]
fn connect_and_streams() {
    for (kind, protocol) in [("connect", COOPERATIVE), ("connect", "sessioned"), ("consumer", "stream"), ("", "")] {
        let mut scene = Scene::plain();
        let who = Who { kind: kind.into(), protocol: protocol.into(), ..Who::new(ME) };
        let mut app = dangling(&mut scene, who, &ALL, &[3]);
        finds_nothing(&mut scene, &mut app, 60);
        assert_eq!(scene.finding(GROUP, ME), None);
    }
}

fn with(scene: &mut Scene, client_id: &str, name: &str) -> App {
    scene.brokers().topics.insert(name.into(), vec![1; 4]);
    scene.produce_to(name, &ALL, 17);
    for partition in ALL {
        scene.brokers().committed.insert((GROUP.into(), name.into(), partition), 10);
    }
    let mut app = App::new(scene, client_id, Who { topic: name.into(), ..Who::new(ME) });
    app.fetcher(scene, 1, 11, &[3]);
    app.joins(scene, 5, &ALL);
    app
}

#[test]
fn clients_and_topics_of_streams_and_brokers() {
    for (client_id, topic, found) in [
        ("app", "t", true),
        ("app-StreamThread-1-restore-consumer", "t", false),
        ("app-global-consumer", "t", false),
        ("app", "app-store-changelog", false),
        ("app", "__consumer_offsets", false),
    ] {
        let mut scene = Scene::plain();
        let mut app = with(&mut scene, client_id, topic);
        app.lives(&mut scene, 60);
        assert_eq!((scene.repairs("reported") > 0.0, app.told.len() == 1), (found, found), "{client_id} {topic}");
        assert!(found || scene.is_untouched());
    }
}

#[test]
fn topics_and_clients_have_modes_of_their_own() {
    for (mode, counts, observed) in [(Mode::Off, [0; 4], 0.0), (Mode::Observe, [1, 0, 0, 0], 1.0)] {
        for how in 0..3 {
            let mut scene = Scene::new(|c| {
                let (w, rule) = (&mut c.menders.assignment_watchdog, ModeRule { mode });
                match how {
                    0 => w.topics = [("ord*".into(), rule)].into(),
                    1 => w.clients = [("app".into(), rule)].into(),
                    _ => {
                        let group = w.groups.entry("bill*".into()).or_default();
                        group.mode = Some(mode);
                    }
                }
            });
            let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
            app.lives(&mut scene, 60);
            assert_eq!((scene.counts(), scene.repairs("observed")), (counts, observed), "{how}");
            assert!(scene.is_untouched());
        }
    }
}

/// It joined before kmend saw it: nobody knows what it was assigned.
#[test]
fn a_member_that_was_only_heard_of() {
    let mut scene = Scene::plain();
    scene.produce(&ALL, 17);
    let mut app = App::new(&mut scene, "app", Who::new(ME));
    app.fetcher(&mut scene, 1, 11, &[3]);
    app.generation = 5;
    finds_nothing(&mut scene, &mut app, 90);
}
