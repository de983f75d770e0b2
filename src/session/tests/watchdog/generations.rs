//! Since when a member holds a partition, over rebalances (rule D1).

use super::app::*;
use super::says::*;
use super::scene::*;

const ALL: [i32; 4] = [0, 1, 2, 3];

/// Fetches all of what it was assigned in generation 5, then only partition 3.
fn then_only_one(scene: &mut Scene, first: &str, second: Who) -> App {
    let mut app = dangling(scene, Who { protocol: first.into(), ..Who::new(ME) }, &ALL, &ALL);
    app.lives(scene, 20);
    app.who = second;
    app.joins(scene, 6, &ALL);
    app.wants(&[3]);
    app.lives(scene, 29);
    assert_eq!(scene.counts(), [0; 4], "not before its time");
    app.lives(scene, 6);
    app
}

fn lost(scene: &Scene) -> Vec<i32> {
    scene.unfetched(ME).into_iter().map(|(p, _)| p).collect()
}

#[test]
fn eager_generations_begin_anew() {
    let mut scene = Scene::plain();
    then_only_one(&mut scene, EAGER, Who { protocol: EAGER.into(), ..Who::new(ME) });
    assert_eq!((lost(&scene), scene.repairs("told")), (vec![0, 1, 2], 1.0));
    assert!(scene.paused(ME).is_empty());
}

#[test]
fn what_a_cooperative_member_says_it_owns_goes_on() {
    for version in 1..=3 {
        let mut scene = Scene::plain();
        let who = Who { owned: ALL.to_vec(), subscription: version, ..Who::new(ME) };
        then_only_one(&mut scene, COOPERATIVE, who);
        assert_eq!((lost(&scene), scene.paused(ME)), (vec![], vec![0, 1, 2]), "{version}");
    }
}

#[test]
fn what_it_does_not_name_begins_anew() {
    let mut scene = Scene::plain();
    then_only_one(&mut scene, COOPERATIVE, Who { owned: vec![0, 3], ..Who::new(ME) });
    assert_eq!((lost(&scene), scene.paused(ME)), (vec![1, 2], vec![0]));
    let mut scene = Scene::plain();
    then_only_one(&mut scene, COOPERATIVE, Who::new(ME));
    assert_eq!(lost(&scene), [0, 1, 2]);
}

#[test]
fn the_first_subscriptions_name_nothing() {
    let mut scene = Scene::plain();
    let who = Who { owned: ALL.to_vec(), subscription: 0, ..Who::new(ME) };
    then_only_one(&mut scene, COOPERATIVE, who);
    assert_eq!(lost(&scene), [0, 1, 2]);
}

/// Clients that move to a cooperative assignor say that they own what they have just given up.
#[test]
fn a_switch_from_eager_to_cooperative_keeps_nothing() {
    let mut scene = Scene::scoped();
    then_only_one(&mut scene, EAGER, Who { owned: ALL.to_vec(), ..Who::new(ME) });
    assert_eq!((lost(&scene), scene.counts()), (vec![0, 1, 2], [1, 1, 0, 0]));
}

#[test]
fn what_was_taken_away_and_comes_back_begins_anew() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who::new(ME), &ALL, &ALL);
    app.lives(&mut scene, 10);
    app.joins(&mut scene, 6, &[2, 3]);
    app.wants(&[2, 3]);
    app.lives(&mut scene, 10);
    app.joins(&mut scene, 7, &ALL);
    app.lives(&mut scene, 35);
    assert_eq!(lost(&scene), [0, 1]);
}

/// It may have looked it up before kmend's time, and paused it.
#[test]
fn what_it_claims_from_before_is_known() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who { owned: ALL.to_vec(), ..Who::new(ME) }, &ALL, &[3]);
    app.lives(&mut scene, 35);
    assert_eq!((lost(&scene), scene.paused(ME)), (vec![], vec![0, 1, 2]));
}

/// Rebalances that come faster than `after` hide nothing for ever.
#[test]
fn what_it_keeps_and_never_fetched_is_found_all_the_same() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
    for generation in 6..10 {
        app.lives(&mut scene, 20);
        app.joins(&mut scene, generation, &ALL);
    }
    assert!(scene.repairs("reported") >= 1.0);
}

#[test]
fn a_member_of_kip_848_is_shown_and_never_told() {
    let mut scene = Scene::plain();
    scene.commits(GROUP, &ALL, 10);
    scene.produce(&ALL, 17);
    let mut app = App::new(&mut scene, "app", Who::new(ME));
    app.fetcher(&mut scene, 1, 13, &[3]);
    app.beats = false;
    app.consumes(&mut scene, 1, Some(&ALL));
    for _ in 0..40 {
        assert_eq!(app.consumes(&mut scene, 1, None), 0);
        app.lives(&mut scene, 1);
    }
    assert_eq!((lost(&scene), scene.counts()), (vec![0, 1, 2], [1, 0, 0, 0]));
    for _ in 0..60 {
        assert_eq!(app.consumes(&mut scene, 1, None), 0);
        app.lives(&mut scene, 1);
    }
    assert!(scene.is_untouched());
    app.wants(&ALL);
    app.consumes(&mut scene, 1, None);
    app.lives(&mut scene, 2);
    assert_eq!((lost(&scene), scene.counts()), (vec![], [1, 0, 0, 0]));
}

#[test]
fn assignments_of_kip_848_change_bit_by_bit() {
    let mut scene = Scene::plain();
    scene.commits(GROUP, &ALL, 10);
    scene.produce(&ALL, 17);
    let mut app = App::new(&mut scene, "app", Who::new(ME));
    app.fetcher(&mut scene, 1, 13, &[0, 1, 2]);
    app.beats = false;
    app.consumes(&mut scene, 1, Some(&[0, 1, 2]));
    app.lives(&mut scene, 10);
    app.consumes(&mut scene, 2, Some(&ALL));
    app.wants(&[2]);
    for _ in 0..40 {
        app.consumes(&mut scene, 2, None);
        app.lives(&mut scene, 1);
    }
    assert_eq!((lost(&scene), scene.paused(ME)), (vec![3], vec![0, 1]));
}
