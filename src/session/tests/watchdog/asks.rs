//! kmend's own questions: few, only where they may be asked, and nothing hangs on their answers.

use super::app::*;
use super::broker::Own;
use super::says::*;
use super::scene::*;
use crate::wire::api::ApiKey;

const ALL: [i32; 4] = [0, 1, 2, 3];

/// Partition 3 is led by broker 1, the rest by broker 2, to which only an idle connection leads.
fn asked_on_an_idle_connection(scene: &mut Scene) -> (App, u64) {
    scene.brokers().topics.insert(TOPIC.into(), vec![2, 2, 2, 1]);
    let app = dangling(scene, Who::new(ME), &ALL, &[3]);
    let idle = scene.connect("app", 2, JAVA);
    (app, idle)
}

#[test]
fn answers_that_say_nothing_harm_nobody() {
    for own in [Own::Error(1), Own::Error(3), Own::Error(29), Own::Garbage, Own::Never] {
        let mut scene = Scene::plain();
        let (mut app, _) = asked_on_an_idle_connection(&mut scene);
        scene.brokers().own_ends = own;
        app.lives(&mut scene, 120);
        assert_eq!((scene.counts(), scene.unfetched(ME)), ([0; 4], vec![]), "{own:?}");
        assert!(app.told.is_empty());
        scene.brokers().own_ends = Own::Right;
        scene.lines.values_mut().for_each(|line| line.serve());
        app.lives(&mut scene, 5);
        assert_eq!(scene.repairs("reported"), 1.0, "{own:?}");
    }
}

#[test]
fn nor_do_answers_about_what_is_committed() {
    for own in [Own::Error(16), Own::Error(30), Own::Garbage] {
        let mut scene = Scene::plain();
        let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
        scene.brokers().own_offsets = own;
        app.lives(&mut scene, 120);
        assert_eq!((scene.counts(), scene.unfetched(ME)), ([0; 4], vec![]), "{own:?}");
        assert!(scene.is_untouched());
        scene.brokers().own_offsets = Own::Right;
        app.lives(&mut scene, 5);
        assert_eq!(scene.repairs("reported"), 1.0, "{own:?}");
    }
}

#[test]
fn it_asks_seldom_and_only_for_what_is_suspect() {
    for own in [Own::Right, Own::Error(3), Own::Never] {
        let mut scene = Scene::plain();
        let (mut app, idle) = asked_on_an_idle_connection(&mut scene);
        scene.brokers().own_ends = own;
        app.lives(&mut scene, 14);
        assert!(scene.brokers().asked.is_empty(), "not before half of its time");
        app.lives(&mut scene, 106);
        let asked = scene.brokers().asked.clone();
        assert!(asked.iter().all(|a| a.partitions == [0, 1, 2] && a.topic == TOPIC), "{asked:?}");
        let ends: Vec<_> = asked.iter().filter(|a| a.api == ApiKey::LIST_OFFSETS).collect();
        assert!(ends.iter().all(|a| a.line == idle));
        assert!((20..=36).contains(&ends.len()), "{own:?}: {}", ends.len());
        // What is committed is told once.
        assert_eq!(asked.len() - ends.len(), 1);
        assert!(asked.iter().filter(|a| a.api != ApiKey::LIST_OFFSETS).all(|a| a.line == app.coordinator));
    }
}

#[test]
fn what_cannot_be_read_is_asked_for_seldom_too() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
    scene.brokers().own_offsets = Own::Garbage;
    app.lives(&mut scene, 120);
    assert!((10..=36).contains(&scene.asked(ApiKey::OFFSET_FETCH)));
}

#[test]
fn nothing_is_asked_of_who_fetches_all_or_none() {
    for fetches in [&ALL[..], &[]] {
        let mut scene = Scene::plain();
        let mut app = dangling(&mut scene, Who::new(ME), &ALL, fetches);
        app.lives(&mut scene, 120);
        assert!(scene.brokers().asked.is_empty());
    }
}

/// Nothing goes behind a JoinGroup: its answer may take as long as a rebalance.
#[test]
fn not_on_a_connection_that_may_not_carry_it() {
    let mut scene = Scene::plain();
    let (mut app, idle) = asked_on_an_idle_connection(&mut scene);
    let other = Who { group: "other".into(), ..Who::new("other") };
    scene.line(idle).ask(ApiKey::JOIN_GROUP, 5, &other.join());
    app.lives(&mut scene, 60);
    assert_eq!((scene.asked(ApiKey::LIST_OFFSETS), scene.repairs("reported")), (0, 0.0));
    scene.line(idle).answer(&other.joined(0, 1, "other"));
    app.lives(&mut scene, 5);
    assert!(scene.asked(ApiKey::LIST_OFFSETS) > 0);
    assert_eq!(scene.repairs("reported"), 1.0);
}

/// A connection that has not proven that it may speak.
#[test]
fn not_before_a_broker_has_answered_there() {
    let mut scene = Scene::plain();
    scene.brokers().topics.insert(TOPIC.into(), vec![2, 2, 2, 1]);
    let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
    let silent = scene.bare("app", 2);
    scene.line(silent).holds_back = true;
    let request = kafka_protocol::messages::MetadataRequest::default().with_topics(None);
    scene.line(silent).ask(ApiKey::METADATA, 12, &request);
    app.lives(&mut scene, 60);
    assert_eq!((scene.asked(ApiKey::LIST_OFFSETS), scene.repairs("reported")), (0, 0.0));
}

/// What became of a question that a connection took with it when it closed is asked elsewhere.
#[test]
fn a_question_that_a_connection_takes_with_it_is_asked_again() {
    let mut scene = Scene::plain();
    let (mut app, idle) = asked_on_an_idle_connection(&mut scene);
    scene.brokers().own_ends = Own::Never;
    app.lives(&mut scene, 25);
    assert!(scene.asked(ApiKey::LIST_OFFSETS) > 0);
    scene.close(idle);
    scene.brokers().own_ends = Own::Right;
    scene.connect("app", 2, JAVA);
    app.lives(&mut scene, 10);
    assert_eq!(scene.repairs("reported"), 1.0);
}
