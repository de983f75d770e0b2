//! Healthy apps that look like sick ones, and what a broker or a client may say.

use kafka_protocol::messages::MetadataRequest;

use super::app::*;
use super::says::*;
use super::scene::*;
use crate::config::model::Mode;
use crate::wire::api::ApiKey;

const ALL: [i32; 4] = [0, 1, 2, 3];

/// It has fetched both of its partitions, and its newest commit was refused.
fn refused(scene: &mut Scene, who: Who) -> App {
    let mut app = dangling(scene, who, &[0, 1], &[0, 1]);
    app.lives(scene, 5);
    scene.brokers().commit_error = 22;
    assert_eq!(app.commits(scene, &[(0, 14)]), 22);
    scene.brokers().commit_error = 0;
    app
}

/// Java and librdkafka leave their group by themselves when the app is busy for longer than it said.
#[test]
fn an_app_may_be_busy_for_as_long_as_it_said() {
    for (rebalance_ms, session_ms, quiet, found) in
        [(300_000, 45_000, 290, 0.0), (300_000, 45_000, 310, 1.0), (120_000, 120_000, 70, 1.0)]
    {
        let mut scene = Scene::plain();
        let mut app = refused(&mut scene, Who { rebalance_ms, session_ms, ..Who::new(ME) });
        app.fetches = false;
        app.lives(&mut scene, quiet);
        assert_eq!(scene.repairs("stalled"), found, "{rebalance_ms} {session_ms} {quiet}");
    }
}

#[test]
fn a_refusal_that_it_went_on_after_is_no_reason() {
    for (fetches, found) in [(30, 1.0), (620, 0.0)] {
        let mut scene = Scene::plain();
        let mut app = refused(&mut scene, Who::new(ME));
        app.lives(&mut scene, fetches);
        app.fetches = false;
        app.lives(&mut scene, 70);
        assert_eq!(scene.repairs("stalled"), found, "{fetches}");
    }
}

#[test]
fn no_offset_is_too_large_or_too_small() {
    for (end, committed, found) in [(i64::MAX, 0, true), (i64::MAX, i64::MAX, false), (i64::MIN, 14, false)] {
        let mut scene = Scene::plain();
        let mut app = dangling(&mut scene, Who::new(ME), &[0, 1], &[0, 1]);
        for partition in [0, 1] {
            scene.brokers().ends.insert((TOPIC.to_owned(), partition), end);
        }
        app.lives(&mut scene, 5);
        assert_eq!(app.commits(&mut scene, &[(0, committed), (1, committed)]), 0);
        scene.brokers().commit_error = 22;
        app.commits(&mut scene, &[(0, 1)]);
        app.fetches = false;
        app.lives(&mut scene, 70);
        assert_eq!(scene.stalled(ME).is_some(), found, "{end} {committed}");
        assert!(scene.lines.values().all(|line| line.rig.end.is_none()));
    }
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
    scene.commits(GROUP, &ALL, 0);
    for partition in ALL {
        scene.brokers().ends.insert((TOPIC.to_owned(), partition), i64::MAX);
    }
    app.lives(&mut scene, 40);
    assert_eq!(scene.counts(), [1, 1, 0, 0]);
}

/// What it looked up while nobody watched it may have paused.
#[test]
fn what_was_assigned_while_it_was_off_is_not_judged() {
    for off in [true, false] {
        let mut scene = Scene::new(|c| {
            // Groups are followed.
            c.menders.commit_buffer.mode = Mode::Observe;
            c.menders.assignment_watchdog.mode = if off { Mode::Off } else { Mode::Repair };
        });
        let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[0, 1, 2]);
        app.lives(&mut scene, 20);
        scene.reload(|w| w.mode = Mode::Repair);
        app.fetchers[0].begins_anew = true;
        scene.line(app.coordinator).ask(ApiKey::METADATA, 12, &MetadataRequest::default().with_topics(None));
        app.lives(&mut scene, 60);
        assert_eq!((scene.repairs("reported"), app.told.len()), if off { (0.0, 0) } else { (1.0, 1) });
        // From the next assignment on.
        app.loses_and_joins(&mut scene, 6, &ALL);
        app.fetchers[0].begins_anew = true;
        app.looks_up(&mut scene, &[0, 1, 2]);
        app.lives(&mut scene, 40);
        assert_eq!(scene.unfetched(ME).len(), 1);
    }
}

#[test]
fn one_that_begins_just_before_it_is_told_is_not_told() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
    app.lives(&mut scene, 20);
    app.beats = false;
    app.lives(&mut scene, 15);
    app.looks_up(&mut scene, &ALL);
    assert_eq!(app.beat(&mut scene), 0);
    assert_eq!(scene.counts(), [1, 0, 0, 0]);
}

/// Two that swap what neither reads must not do so for ever.
#[test]
fn what_went_to_another_is_no_sign_that_it_helped() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who::new(ME), &[0, 1], &[1]);
    let mut told = 0;
    for generation in 0..6 {
        app.lives(&mut scene, 40);
        told = app.told.len();
        let next = if generation % 2 == 0 { [2, 1] } else { [0, 1] };
        scene.commits(GROUP, &[2], 10);
        scene.brokers().ends.insert((TOPIC.to_owned(), 2), 17);
        app.loses_and_joins(&mut scene, 6 + generation, &next);
        app.looks_up(&mut scene, &[1]);
    }
    assert_eq!(told, 3);
}

/// After kmend was restarted the broker says all that such a member has, as if it were new.
#[test]
fn a_kip_848_member_that_was_there_before_may_have_paused_what_it_has() {
    let mut scene = Scene::plain();
    scene.commits(GROUP, &ALL, 10);
    scene.produce(&ALL, 17);
    let mut app = App::new(&mut scene, "app", Who::new(ME));
    app.beats = false;
    app.fetcher(&mut scene, 1, 11, &[0, 1, 2]);
    app.generation = 5;
    for seconds in 0..60 {
        assert_eq!(app.consumes(&mut scene, 5, (seconds == 1).then_some(&ALL[..])), 0);
        app.lives(&mut scene, 1);
    }
    assert_eq!((scene.unfetched(ME), scene.paused(ME)), (Vec::new(), vec![3]));
    // What it is given later it has to begin with.
    scene.produce(&[4], 17);
    scene.commits(GROUP, &[4], 10);
    for _ in 0..40 {
        app.consumes(&mut scene, 6, Some(&[0, 1, 2, 3, 4]));
        app.lives(&mut scene, 1);
    }
    assert_eq!(scene.unfetched(ME), [(4, Some(7))]);
}

/// It was acknowledged: nothing tells the app to stop.
#[test]
fn a_refusal_that_it_does_not_hear_of_is_no_reason() {
    for (mode, found) in [(Mode::Repair, 0.0), (Mode::Off, 1.0)] {
        let mut scene = Scene::new(|c| c.menders.commit_buffer.mode = mode);
        let mut app = dangling(&mut scene, Who::new(ME), &[0, 1], &[0, 1]);
        app.lives(&mut scene, 5);
        scene.brokers().commit_error = 22;
        let answer = app.commits(&mut scene, &[(0, 14)]);
        assert_eq!(answer == 0, mode == Mode::Repair);
        app.fetches = false;
        app.lives(&mut scene, 70);
        assert_eq!(scene.repairs("stalled"), found);
    }
}

/// A partition of a topic that is gone is refused in each commit, and the others are taken.
#[test]
fn a_commit_of_which_some_is_taken_is_not_refused() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who::new(ME), &[0, 1], &[0, 1]);
    app.lives(&mut scene, 5);
    scene.brokers().refused_partition = Some((1, 3));
    assert_eq!(app.commits(&mut scene, &[(0, 14), (1, 14)]), 3);
    app.fetches = false;
    app.lives(&mut scene, 70);
    assert_eq!(scene.repairs("stalled"), 0.0);
}

/// An app that lives in a group that was kept open by other connections of the same name.
#[test]
fn what_was_found_of_one_that_is_dead_is_not_shown() {
    let mut scene = Scene::plain();
    let mut app = refused(&mut scene, Who { session_ms: 300_000, rebalance_ms: 300_000, ..Who::new(ME) });
    app.fetches = false;
    app.lives(&mut scene, 70);
    let shown = |scene: &Scene| {
        let status = crate::mend::view::status(&scene.world.env.shared, scene.now);
        status.groups.iter().flat_map(|g| &g.members).filter(|m| m.stalled.is_some()).count()
    };
    assert_eq!(shown(&scene), 1);
    // The connection of its heartbeats has gone, another one of the same client stays.
    scene.close(app.coordinator);
    scene.pass(SECOND * 400);
    assert_eq!((scene.stalled(ME).is_some(), shown(&scene)), (true, 0));
}
