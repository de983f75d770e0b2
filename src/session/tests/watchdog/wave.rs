//! Members that are told together rebalance together, and few are told at a time (rule D3).

use super::app::*;
use super::says::*;
use super::scene::*;
use crate::session::tests::kit::in_all_cuts;
use crate::wire::api::ApiKey;

/// A member of its own client with two partitions, of which it fetches the second.
fn half(scene: &mut Scene, name: &str, first: i32) -> App {
    let partitions = [first, first + 1];
    scene.commits(GROUP, &partitions, 10);
    scene.produce(&partitions, 17);
    let mut app = App::new(scene, name, Who::new(name));
    app.fetcher(scene, 1, 11, &partitions[1..]);
    app
}

fn all_join(scene: &mut Scene, apps: &mut [App], generation: i32) {
    for app in apps.iter_mut() {
        assert!(app.asks_to_join(scene));
    }
    for (app, first) in apps.iter_mut().zip((0..).step_by(2)) {
        app.is_joined(scene, generation, &[first, first + 1]);
    }
}

/// Members that are found at the same time, none of which has heartbeaten since.
fn due(scene: &mut Scene, count: i32, session_ms: i32) -> Vec<App> {
    scene.brokers().topics.insert(TOPIC.into(), vec![1; 2 * count as usize]);
    let mut apps: Vec<App> = (0..count).map(|n| half(scene, &format!("app-{n}"), 2 * n)).collect();
    apps.iter_mut().for_each(|app| app.who.session_ms = session_ms);
    all_join(scene, &mut apps, 5);
    let mut all: Vec<&mut App> = apps.iter_mut().collect();
    live(scene, &mut all, 15);
    all.iter_mut().for_each(|app| app.beats = false);
    live(scene, &mut all, 18);
    assert_eq!(scene.counts(), [count as u32, 0, 0, 0]);
    apps
}

pub fn two_that_are_due(scene: &mut Scene) -> (App, App) {
    let [a, b] = due(scene, 2, 45_000).try_into().expect("two");
    (a, b)
}

fn awaits_join(scene: &mut Scene, app: &App) -> bool {
    scene.line(app.coordinator).awaits(ApiKey::JOIN_GROUP)
}

#[test]
fn the_first_waits_for_the_second() {
    in_all_cuts(|cuts| {
        let mut scene = Scene::in_cuts(cuts, |_| {});
        let (mut a, mut b) = two_that_are_due(&mut scene);
        assert_eq!(a.beat(&mut scene), 22);
        assert!(!a.asks_to_join(&mut scene));
        scene.pass(SECOND * 2);
        assert!(!awaits_join(&mut scene, &a));
        assert_eq!(b.beat(&mut scene), 22);
        assert!(scene.line(a.coordinator).rig.has_mail(), "it is woken");
        scene.settle();
        assert!(awaits_join(&mut scene, &a), "at once");
        assert!(b.asks_to_join(&mut scene), "the last waits for nobody");
        scene.pass(MS * 20);
        for (app, first) in [(&mut a, 0), (&mut b, 2)] {
            app.is_joined(&mut scene, 6, &[first, first + 1]);
            app.beats = true;
            app.wants(&[first, first + 1]);
        }
        live(&mut scene, &mut [&mut a, &mut b], 40);
        assert_eq!(scene.counts(), [2, 2, 2, 0]);
        let rebalances = scene.world.metric("kmend_group_rebalance_causes_total", &[("cause", "repair")]);
        assert_eq!(rebalances, 1.0);
    });
}

/// It was assigned a little later: it will be told soon.
#[test]
fn the_first_waits_for_one_that_is_only_suspected() {
    let mut scene = Scene::plain();
    let (mut a, mut b) = (half(&mut scene, "a", 0), half(&mut scene, "b", 2));
    assert!(a.asks_to_join(&mut scene) && b.asks_to_join(&mut scene));
    a.is_joined(&mut scene, 5, &[0, 1]);
    scene.pass(SECOND * 2);
    b.is_joined(&mut scene, 5, &[2, 3]);
    while a.told.is_empty() {
        live(&mut scene, &mut [&mut a, &mut b], 1);
    }
    assert_eq!((scene.counts(), b.told.len()), ([1, 1, 0, 0], 0));
    assert!(!a.asks_to_join(&mut scene));
    a.beats = false;
    a.fetches = false;
    let waited = live_until(&mut scene, &mut [&mut a, &mut b], 4, |scene| scene.repairs("told") == 2.0);
    assert!(waited > SECOND && awaits_join(&mut scene, &a), "{waited:?}");
}

#[test]
fn it_waits_for_its_time_at_most() {
    for (session, most) in [(45_000, 4500), (10_000, 2500), (6_000, 1500)] {
        let mut scene = Scene::plain();
        let [mut a, mut b] = due(&mut scene, 2, session).try_into().expect("two");
        assert_eq!(a.beat(&mut scene), 22);
        scene.pass(MS * 500);
        assert!(!a.asks_to_join(&mut scene));
        scene.pass(MS * (most - 500 - 1));
        assert!(!awaits_join(&mut scene, &a), "{session}");
        scene.pass(MS);
        assert!(awaits_join(&mut scene, &a), "{session}");
        assert_eq!(b.beat(&mut scene), 0, "a rebalance runs now");
    }
}

#[test]
fn alone_it_does_not_wait() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who::new(ME), &[0, 1], &[1]);
    app.lives(&mut scene, 15);
    app.beats = false;
    app.lives(&mut scene, 18);
    assert_eq!(app.beat(&mut scene), 22);
    assert!(app.asks_to_join(&mut scene));
}

/// What it has not looked up is empty: it is not going to be told.
#[test]
fn nobody_waits_for_one_that_misses_nothing() {
    let mut scene = Scene::plain();
    let (mut a, mut b) = (half(&mut scene, "a", 0), half(&mut scene, "b", 2));
    scene.brokers().ends.insert((TOPIC.into(), 2), 10);
    assert!(a.asks_to_join(&mut scene) && b.asks_to_join(&mut scene));
    a.is_joined(&mut scene, 5, &[0, 1]);
    b.is_joined(&mut scene, 5, &[2, 3]);
    while a.told.is_empty() {
        live(&mut scene, &mut [&mut a, &mut b], 1);
    }
    assert!(a.asks_to_join(&mut scene));
    assert_eq!(scene.counts(), [1, 1, 0, 0]);
}

/// Who joins for other reasons never waits.
#[test]
fn who_was_not_told_does_not_wait() {
    let mut scene = Scene::plain();
    let (mut a, mut b) = two_that_are_due(&mut scene);
    let mut c = half(&mut scene, "app-c", 4);
    assert!(c.asks_to_join(&mut scene), "a new one");
    c.is_joined(&mut scene, 5, &[4, 5]);
    assert!(b.asks_to_join(&mut scene), "one that is due");
    b.is_joined(&mut scene, 5, &[2, 3]);
    assert_eq!(a.beat(&mut scene), 22);
}

#[test]
fn one_whose_other_has_gone_waits_for_its_time_at_most() {
    let mut scene = Scene::plain();
    let (mut a, b) = two_that_are_due(&mut scene);
    assert_eq!(a.beat(&mut scene), 22);
    assert!(!a.asks_to_join(&mut scene));
    scene.close(b.coordinator);
    scene.close(b.fetchers[0].line);
    scene.pass(MS * 4500);
    assert!(awaits_join(&mut scene, &a));
}

/// The client itself goes while its JoinGroup is held.
#[test]
fn one_that_goes_while_it_waits_leaves_nothing_behind() {
    let mut scene = Scene::plain();
    let (mut a, mut b) = two_that_are_due(&mut scene);
    assert_eq!(a.beat(&mut scene), 22);
    assert!(!a.asks_to_join(&mut scene));
    scene.close(a.coordinator);
    scene.close(a.fetchers[0].line);
    assert_eq!(b.beat(&mut scene), 22);
    assert!(b.asks_to_join(&mut scene));
}

#[test]
fn with_no_tokens_left_nobody_waits_in_vain() {
    let mut scene = Scene::plain();
    let mut apps = due(&mut scene, 6, 45_000);
    for app in &mut apps[..3] {
        assert_eq!(app.beat(&mut scene), 22);
        assert!(!app.asks_to_join(&mut scene));
    }
    assert_eq!(apps[3].beat(&mut scene), 22);
    scene.settle();
    for app in &apps[..3] {
        assert!(awaits_join(&mut scene, app), "two are due and cannot be told now");
    }
    assert!(apps[3].asks_to_join(&mut scene));
    assert_eq!([4, 5].map(|n: usize| apps[n].beat(&mut scene)), [0, 0]);
    assert_eq!(scene.counts(), [6, 4, 0, 0]);
}

#[test]
fn a_storm_is_told_bit_by_bit() {
    let count = 50;
    let mut scene = Scene::plain();
    scene.brokers().topics.insert(TOPIC.into(), vec![1; 2 * count as usize]);
    let mut apps: Vec<App> = (0..count).map(|n| half(&mut scene, &format!("app-{n}"), 2 * n)).collect();
    all_join(&mut scene, &mut apps, 5);
    let mut all: Vec<&mut App> = apps.iter_mut().collect();
    live_until(&mut scene, &mut all, 300, |scene| scene.repairs("told") == f64::from(count));
    let mut at: Vec<f64> =
        apps.iter().map(|app| if let [(at, 22)] = app.told[..] { at } else { panic!("{app:?}") }).collect();
    at.sort_by(f64::total_cmp);
    for (i, from) in at.iter().enumerate() {
        for (j, to) in at.iter().enumerate().skip(i) {
            assert!((j - i + 1) as f64 <= 4.0 + (to - from + 0.01) / 5.0, "{from} to {to}: {}", j - i + 1);
        }
    }
    assert!(at[0] < 35.0 && at[count as usize - 1] < 35.0 + 5.0 * f64::from(count - 4), "{at:?}");
    assert!(scene.repairs("throttled") >= 1.0);
}

/// Another group's tokens are its own.
#[test]
fn each_group_has_its_own_tokens() {
    let mut scene = Scene::plain();
    let mut apps = due(&mut scene, 5, 45_000);
    scene.brokers().topics.insert(TOPIC.into(), vec![1; 30]);
    let mut other = half(&mut scene, "other", 20);
    other.who.group = "other".into();
    scene.commits("other", &[20, 21], 10);
    other.joins(&mut scene, 1, &[20, 21]);
    other.lives(&mut scene, 31);
    let mut told: Vec<i16> = apps.iter_mut().map(|app| app.beat(&mut scene)).collect();
    told.sort_unstable();
    assert_eq!(told, [0, 22, 22, 22, 22]);
    other.lives(&mut scene, 4);
    assert_eq!(other.told.len(), 1);
}
