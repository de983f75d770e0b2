//! What a client fetches, or has asked for, it knows of (rule D1).

use super::app::*;
use super::says::*;
use super::scene::*;
use crate::wire::api::ApiKey;

const ALL: [i32; 4] = [0, 1, 2, 3];

/// Nothing is found for long.
fn is_fine(scene: &mut Scene, app: &mut App) {
    app.lives(scene, 60);
    assert_eq!((scene.counts(), scene.unfetched(&app.who.member)), ([0; 4], vec![]));
    assert!(scene.is_untouched());
}

fn has_lost(scene: &mut Scene, app: &mut App, partitions: &[i32]) {
    app.lives(scene, 40);
    let lost: Vec<i32> = scene.unfetched(&app.who.member).into_iter().map(|(p, _)| p).collect();
    assert_eq!((lost, scene.repairs("reported")), (partitions.to_vec(), 1.0));
}

#[test]
fn what_was_looked_up_is_paused_and_not_lost() {
    for how in 0..3 {
        let mut scene = Scene::plain();
        let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
        let line = app.fetchers[0].line;
        match how {
            0 => app.looks_up(&mut scene, &ALL),
            1 => _ = scene.line(line).ask(ApiKey::LIST_OFFSETS, 7, &list_offsets(TOPIC, &ALL)),
            _ => _ = scene.line(line).ask(ApiKey::OFFSET_FOR_LEADER_EPOCH, 4, &leader_epoch(TOPIC, &ALL)),
        }
        is_fine(&mut scene, &mut app);
        assert_eq!(scene.paused(ME), [0, 1, 2], "{how}");
        assert!(scene.brokers().asked.is_empty(), "nothing is to be asked");
    }
}

#[test]
fn what_was_looked_up_before_it_was_assigned_does_not_count() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
    app.looks_up(&mut scene, &ALL);
    scene.pass(SECOND);
    app.loses_and_joins(&mut scene, 6, &ALL);
    has_lost(&mut scene, &mut app, &[0, 1, 2]);
}

/// The coordinator says what is committed of what the group has: another member's question is not
/// this client's.
#[test]
fn what_another_client_looks_up_does_not_count() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
    let other = App::new(&mut scene, "other", Who::new("other"));
    other.looks_up(&mut scene, &ALL);
    has_lost(&mut scene, &mut app, &[0, 1, 2]);
}

#[test]
fn what_was_fetched_and_is_not_any_more_is_paused() {
    for version in [4, 11, 13] {
        let mut scene = Scene::plain();
        let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
        app.fetchers[0].version = version;
        app.wants(&ALL);
        app.lives(&mut scene, 5);
        assert!(scene.paused(ME).is_empty());
        app.wants(&[3]);
        is_fine(&mut scene, &mut app);
        assert_eq!(scene.paused(ME), [0, 1, 2], "{version}");
        app.wants(&ALL);
        app.lives(&mut scene, 2);
        assert!(scene.paused(ME).is_empty(), "and it goes on");
    }
}

#[test]
fn what_a_session_has_is_fetched_though_no_request_names_it() {
    for version in [11, 13] {
        let mut scene = Scene::plain();
        let mut app = dangling(&mut scene, Who { protocol: EAGER.into(), ..Who::new(ME) }, &ALL, &ALL);
        app.fetchers[0].version = version;
        app.lives(&mut scene, 5);
        // Everything begins anew; the session goes on.
        app.joins(&mut scene, 6, &ALL);
        is_fine(&mut scene, &mut app);
        assert!(scene.paused(ME).is_empty());
    }
}

#[test]
fn what_a_new_session_leaves_out_is_not_fetched() {
    for version in [11, 13] {
        let mut scene = Scene::plain();
        let mut app = dangling(&mut scene, Who { protocol: EAGER.into(), ..Who::new(ME) }, &ALL, &ALL);
        app.fetchers[0].version = version;
        app.lives(&mut scene, 5);
        app.joins(&mut scene, 6, &ALL);
        app.wants(&[3]);
        app.fetchers[0].begins_anew = true;
        has_lost(&mut scene, &mut app, &[0, 1, 2]);
    }
}

/// It asked for what it had before; what it asks for next counts.
#[test]
fn a_long_poll_over_an_assignment_does_not_count() {
    for version in [4, 11, 13] {
        let mut scene = Scene::plain();
        let mut app = dangling(&mut scene, Who { protocol: EAGER.into(), ..Who::new(ME) }, &ALL, &ALL);
        app.fetchers[0].version = version;
        let line = app.fetchers[0].line;
        app.lives(&mut scene, 3);
        scene.line(line).polls_long = true;
        app.fetch(&mut scene);
        scene.pass(SECOND);
        app.joins(&mut scene, 6, &ALL);
        scene.pass(SECOND);
        scene.line(line).poll_ends();
        scene.line(line).polls_long = false;
        app.wants(&[3]);
        has_lost(&mut scene, &mut app, &[0, 1, 2]);
    }
}

#[test]
fn every_version_of_fetch_is_read() {
    for version in [4, 6, 7, 11, 12, 13, 15, 17] {
        for wants in [&ALL[..], &[3]] {
            let mut scene = Scene::plain();
            let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
            app.fetchers[0].version = version;
            app.wants(wants);
            match wants {
                [3] => has_lost(&mut scene, &mut app, &[0, 1, 2]),
                _ => is_fine(&mut scene, &mut app),
            }
        }
    }
}

fn on_two_brokers(scene: &mut Scene, second: &[i32]) -> App {
    scene.brokers().topics.insert(TOPIC.into(), vec![1, 2, 1, 2]);
    let mut app = dangling(scene, Who::new(ME), &ALL, &[0, 2]);
    app.fetcher(scene, 2, 11, second);
    app
}

#[test]
fn what_either_of_two_connections_fetches_is_fetched() {
    let mut scene = Scene::plain();
    let mut app = on_two_brokers(&mut scene, &[1, 3]);
    is_fine(&mut scene, &mut app);

    let mut scene = Scene::plain();
    let mut app = on_two_brokers(&mut scene, &[3]);
    has_lost(&mut scene, &mut app, &[1]);
    let second = app.fetchers[1].line;
    let asked: Vec<_> = scene.brokers().asked.iter().filter(|a| a.api == ApiKey::LIST_OFFSETS).cloned().collect();
    assert!(!asked.is_empty() && asked.iter().all(|a| a.line == second && a.partitions == [1]), "{asked:?}");
}

#[test]
fn partitions_move_to_another_broker() {
    let mut scene = Scene::plain();
    let mut app = on_two_brokers(&mut scene, &[1, 3]);
    app.lives(&mut scene, 5);
    let gone = app.fetchers.pop().expect("the second");
    scene.close(gone.line);
    app.wants(&ALL);
    is_fine(&mut scene, &mut app);
    assert!(scene.paused(ME).is_empty());
    // Also if they are assigned anew with the old connection's end.
    let mut scene = Scene::plain();
    let mut app = on_two_brokers(&mut scene, &[1, 3]);
    app.lives(&mut scene, 5);
    let gone = app.fetchers.pop().expect("the second");
    scene.close(gone.line);
    app.loses_and_joins(&mut scene, 6, &ALL);
    app.wants(&ALL);
    is_fine(&mut scene, &mut app);
}

/// The old leader's connection tells late what it fetched; it is not what is fetched now.
#[test]
fn what_the_old_connection_tells_late_changes_nothing() {
    let mut scene = Scene::plain();
    let mut app = on_two_brokers(&mut scene, &[1, 3]);
    app.lives(&mut scene, 5);
    let old = app.fetchers[1].line;
    scene.line(old).polls_long = true;
    app.fetchers[1].fetch(&mut scene, TOPIC);
    app.wants(&ALL);
    for _ in 0..20 {
        app.lives(&mut scene, 1);
    }
    let new = app.fetchers[0].line;
    scene.line(old).poll_ends();
    let client = crate::mend::ClientKey { client_id: "app".into(), peer: std::net::Ipv4Addr::LOCALHOST.into() };
    for partition in [1, 3] {
        let read = scene.world.env.shared.progress.read_of(&client, &(TOPIC.into(), partition)).expect("it is fetched");
        assert!(read.conn == new && read.asked + SECOND * 2 > scene.now);
    }
}

#[test]
fn a_connection_that_closes_before_its_partitions_are_fetched_elsewhere_is_no_fetch() {
    let mut scene = Scene::plain();
    let mut app = on_two_brokers(&mut scene, &[1, 3]);
    app.lives(&mut scene, 5);
    app.loses_and_joins(&mut scene, 6, &ALL);
    let gone = app.fetchers.pop().expect("the second");
    scene.close(gone.line);
    scene.connect("app", 2, JAVA);
    has_lost(&mut scene, &mut app, &[1, 3]);
}

/// What the connection had before is not what a request asks for that has only begun to arrive.
#[test]
fn half_a_request_asks_for_nothing_yet() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who { protocol: EAGER.into(), ..Who::new(ME) }, &ALL, &ALL);
    app.fetchers[0].version = 4;
    app.lives(&mut scene, 5);
    app.joins(&mut scene, 6, &ALL);
    scene.pass(MS * 100);
    let line = app.fetchers[0].line;
    let line = scene.line(line);
    let request = line.frame(ApiKey::FETCH, 4, &fetch(4, TOPIC, (0, -1), &[3], &[]));
    let (front, rest) = request.split_at(request.len() - 5);
    line.sends_part(front);
    scene.pass(SECOND * 3);
    let line = app.fetchers[0].line;
    scene.line(line).sends_part(rest);
    app.wants(&[3]);
    has_lost(&mut scene, &mut app, &[0, 1, 2]);
}
