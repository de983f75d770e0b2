//! Nobody is told while a rebalance runs, and commits go first (rule D3).

use super::app::*;
use super::says::*;
use super::scene::*;
use crate::config::Config;
use crate::config::model::Mode;
use crate::wire::api::ApiKey;

const ALL: [i32; 4] = [0, 1, 2, 3];

/// A member that is due, and another of the same group, which fetches all that it has.
fn due_and_another(scene: &mut Scene) -> (App, App) {
    let mut app = dangling(scene, Who::new(ME), &ALL, &[3]);
    let mut other = App::new(scene, "other", Who::new("other"));
    other.joins(scene, 5, &[5]);
    other.fetches = false;
    live(scene, &mut [&mut app, &mut other], 20);
    app.beats = false;
    live(scene, &mut [&mut app, &mut other], 14);
    assert_eq!(scene.counts(), [1, 0, 0, 0]);
    (app, other)
}

fn is_told(scene: &mut Scene, app: &mut App) -> bool {
    app.beat(scene) == 22
}

#[test]
fn not_while_another_member_joins() {
    let mut scene = Scene::plain();
    let (mut app, mut other) = due_and_another(&mut scene);
    assert!(other.asks_to_join(&mut scene));
    assert!(!is_told(&mut scene, &mut app), "its JoinGroup is on its way");
    let joined = other.who.joined(0, 6, "other");
    scene.line(other.coordinator).answer(&joined);
    assert!(!is_told(&mut scene, &mut app), "it has joined");
    other.generation = 6;
    scene.pass(SECOND);
    assert!(!is_told(&mut scene, &mut app), "still");
    other.syncs(&mut scene, &[5]);
    assert!(is_told(&mut scene, &mut app));
}

#[test]
fn not_while_a_member_is_to_join() {
    let mut scene = Scene::plain();
    let (mut app, mut other) = due_and_another(&mut scene);
    scene.brokers().beat_error = 27;
    assert_eq!(other.beat(&mut scene), 27);
    scene.brokers().beat_error = 0;
    assert!(!is_told(&mut scene, &mut app));
    other.joins(&mut scene, 6, &[5]);
    assert!(is_told(&mut scene, &mut app));
}

#[test]
fn the_brokers_word_stays() {
    let mut scene = Scene::plain();
    let (mut app, _) = due_and_another(&mut scene);
    for error in [14, 16, 22, 25, 27, 82] {
        scene.brokers().beat_error = error;
        assert_eq!(app.beat(&mut scene), error);
    }
    assert!(scene.is_untouched());
    assert_eq!(scene.repairs("told"), 0.0);
}

#[test]
fn an_older_generations_heartbeat_is_not_told() {
    let mut scene = Scene::plain();
    let (mut app, _) = due_and_another(&mut scene);
    app.generation = 4;
    assert!(!is_told(&mut scene, &mut app));
    app.generation = 5;
    assert!(is_told(&mut scene, &mut app));
}

fn buffers(config: &mut Config) {
    config.menders.commit_buffer.mode = Mode::Repair;
    config.menders.commit_buffer.write_behind.enabled = true;
    config.menders.commit_buffer.write_behind.interval = "20s".parse().expect("a duration");
}

#[test]
fn what_was_acknowledged_goes_first() {
    let mut scene = Scene::new(buffers);
    let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
    app.lives(&mut scene, 25);
    // The broker has taken one: what follows is acknowledged at once.
    assert_eq!(app.commits(&mut scene, &[(3, 11)]), 0);
    app.lives(&mut scene, 1);
    assert_eq!(app.commits(&mut scene, &[(3, 12)]), 0);
    let before = scene.brokers().commits.clone();
    assert!(!before.contains(&(ME.into(), 3, 12)), "it is kept for now: {before:?}");
    while app.told.is_empty() {
        assert!(scene.seconds() < 40.0);
        let sent = scene.brokers().commits.contains(&(ME.into(), 3, 12));
        app.lives(&mut scene, 1);
        assert!(sent || app.told.is_empty(), "not before the broker has it");
    }
    assert_eq!(scene.line(app.coordinator).own_commits, [(3, 12)]);
    assert_eq!(scene.counts(), [1, 1, 0, 0]);
}

/// A passing error: it is tried again, for ten seconds at most.
#[test]
fn not_before_the_broker_has_taken_it() {
    for helps in [true, false] {
        let mut scene = Scene::new(buffers);
        let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
        app.lives(&mut scene, 25);
        assert_eq!(app.commits(&mut scene, &[(3, 11)]), 0);
        app.lives(&mut scene, 1);
        assert_eq!(app.commits(&mut scene, &[(3, 12)]), 0);
        scene.brokers().commit_error = 14;
        app.lives(&mut scene, 12);
        assert_eq!((scene.counts(), app.told.len()), ([1, 0, 0, 0], 0));
        assert!(scene.line(app.coordinator).own_commits.contains(&(3, 12)), "it was hurried");
        scene.brokers().commit_error = if helps { 0 } else { 14 };
        app.lives(&mut scene, 6);
        assert_eq!((scene.counts(), app.told.len()), ([1, 1, 0, 0], 1), "{helps}");
    }
}

/// A heartbeat's error that the broker gives is shown as a rebalance; the watchdog's is not.
#[test]
fn commit_buffer_softens_the_brokers_errors_only() {
    let mut scene = Scene::new(|c| c.menders.commit_buffer.mode = Mode::Repair);
    let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
    app.lives(&mut scene, 5);
    assert_eq!(app.commits(&mut scene, &[(3, 11)]), 0);
    scene.brokers().beat_error = 22;
    assert_eq!(app.beat(&mut scene), 27);
    scene.brokers().beat_error = 0;
    app.told.clear();
    app.loses_and_joins(&mut scene, 6, &ALL);
    app.lives(&mut scene, 40);
    let [(_, 22)] = app.told[..] else { panic!("{:?}", app.told) };
    assert!(app.asks_to_join(&mut scene));
    assert!(scene.line(app.coordinator).awaits(ApiKey::JOIN_GROUP));
}
