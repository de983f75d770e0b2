//! Partitions that are assigned and that their client does not know of (rules D1, D2, D3).

use super::app::*;
use super::says::*;
use super::scene::*;
use crate::config::model::Mode;
use crate::session::tests::kit::in_all_cuts;

pub const ILLEGAL_GENERATION: i16 = 22;
const ALL: [i32; 4] = [0, 1, 2, 3];

#[test]
fn they_are_found_in_time_and_the_member_is_told_once() {
    in_all_cuts(|cuts| {
        let mut scene = Scene::in_cuts(cuts, |_| {});
        let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
        app.lives(&mut scene, 29);
        assert_eq!((scene.finding(GROUP, ME), scene.counts()), (None, [0; 4]), "not before its time");
        app.lives(&mut scene, 6);
        assert_eq!(scene.unfetched(ME), [(0, Some(7)), (1, Some(7)), (2, Some(7))]);
        app.lives(&mut scene, 120);
        assert_eq!(scene.counts(), [1, 1, 0, 0]);
        let [(at, ILLEGAL_GENERATION)] = app.told[..] else { panic!("{:?}", app.told) };
        assert!((30.0..35.0).contains(&at), "{at}");
        assert_eq!(scene.brokers().beats, 155, "the broker has seen every one");
    });
}

#[test]
fn it_is_healed_when_all_of_them_are_fetched() {
    in_all_cuts(|cuts| {
        let mut scene = Scene::in_cuts(cuts, |_| {});
        let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
        app.lives(&mut scene, 40);
        app.loses_and_joins(&mut scene, 6, &ALL);
        app.wants(&[1, 2, 3]);
        app.lives(&mut scene, 3);
        assert_eq!(scene.counts(), [1, 1, 0, 0], "one is missing");
        app.wants(&ALL);
        app.lives(&mut scene, 3);
        assert_eq!((scene.counts(), scene.finding(GROUP, ME)), ([1, 1, 1, 0], None));
        app.lives(&mut scene, 90);
        assert_eq!((scene.counts(), app.told.len()), ([1, 1, 1, 0], 1));
    });
}

#[test]
fn three_times_in_a_row_without_effect_is_enough() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
    for generation in 6..12 {
        app.lives(&mut scene, 40);
        app.loses_and_joins(&mut scene, generation, &ALL);
    }
    assert_eq!((scene.repairs("told"), app.told.len()), (3.0, 3));
    assert!(scene.repairs("gave_up") >= 1.0);
    assert_eq!((scene.repairs("reported"), scene.repairs("healed")), (6.0, 0.0), "it is still shown");
}

#[test]
fn what_helped_once_may_be_tried_again() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
    for generation in 6..12 {
        app.lives(&mut scene, 40);
        app.loses_and_joins(&mut scene, 2 * generation, &ALL);
        app.wants(&ALL);
        app.lives(&mut scene, 5);
        app.wants(&[3]);
        app.loses_and_joins(&mut scene, 2 * generation + 1, &ALL);
    }
    assert_eq!(scene.counts(), [6, 6, 6, 0]);
}

#[test]
fn what_helped_in_the_end_begins_a_new_count() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
    for generation in [6, 7, 8] {
        app.lives(&mut scene, 40);
        app.loses_and_joins(&mut scene, generation, &ALL);
    }
    app.wants(&ALL);
    app.lives(&mut scene, 5);
    assert_eq!((scene.repairs("told"), scene.repairs("healed")), (3.0, 1.0));
    app.wants(&[3]);
    for generation in 9..16 {
        app.loses_and_joins(&mut scene, generation, &ALL);
        app.lives(&mut scene, 40);
    }
    assert_eq!(scene.repairs("told"), 6.0);
}

/// A member whose subscription is the same is given the generation that it had.
#[test]
fn the_same_generation_is_told_once() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
    for _ in 0..4 {
        app.lives(&mut scene, 40);
        app.loses_and_joins(&mut scene, 5, &ALL);
    }
    app.lives(&mut scene, 40);
    assert_eq!((scene.counts(), app.told.len()), ([1, 1, 0, 1], 1));
}

/// The broker has forgotten it: it asks for a new id.
fn comes_back_as(scene: &mut Scene, app: &mut App, member: &str, generation: i32) {
    app.who.owned.clear();
    assert!(app.asks_to_join(scene));
    let forgotten = app.who.joined(25, -1, "");
    assert_eq!(scene.line(app.coordinator).answer(&forgotten), 25);
    app.who.member = String::new();
    assert!(app.asks_to_join(scene));
    app.who.member = member.into();
    app.is_joined(scene, generation, &ALL);
}

#[test]
fn a_member_that_comes_back_under_another_id_is_told_three_times_as_well() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
    for generation in 6..12 {
        app.lives(&mut scene, 40);
        comes_back_as(&mut scene, &mut app, &format!("me-{generation}"), generation);
    }
    assert_eq!((scene.repairs("told"), app.told.len()), (3.0, 3));
    assert_eq!(scene.repairs("reported"), 6.0);
}

#[test]
fn under_another_id_it_is_healed_too() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
    app.lives(&mut scene, 40);
    comes_back_as(&mut scene, &mut app, "me-2", 6);
    app.wants(&ALL);
    app.lives(&mut scene, 5);
    assert_eq!((scene.counts(), scene.finding(GROUP, ME)), ([1, 1, 1, 0], None));
}

/// Older clients do so after ILLEGAL_GENERATION: their old id stays until the broker forgets it.
#[test]
fn one_that_takes_another_id_by_itself_is_told_three_times_as_well() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
    for generation in 6..12 {
        let told = app.told.len();
        app.lives(&mut scene, 40);
        app.who.owned.clear();
        let id = app.who.member.clone();
        let takes_another = app.told.len() > told;
        if takes_another {
            app.who.member = String::new();
        }
        assert!(app.asks_to_join(&mut scene));
        app.who.member = if takes_another { format!("me-{generation}") } else { id };
        app.is_joined(&mut scene, generation, &ALL);
    }
    assert_eq!((scene.repairs("told"), app.told.len()), (3.0, 3));
    app.wants(&ALL);
    app.lives(&mut scene, 5);
    assert_eq!((scene.finding(GROUP, &app.who.member), scene.repairs("healed")), (None, 0.0));
}

#[test]
fn where_it_only_observes_no_byte_changes() {
    in_all_cuts(|cuts| {
        let mut scene = Scene::in_cuts(cuts, |c| c.menders.assignment_watchdog.mode = Mode::Observe);
        let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
        app.lives(&mut scene, 60);
        assert_eq!((scene.counts(), scene.repairs("observed")), ([1, 0, 0, 0], 1.0));
        assert_eq!(scene.unfetched(ME).len(), 3);
        app.loses_and_joins(&mut scene, 6, &ALL);
        app.lives(&mut scene, 40);
        assert_eq!((scene.counts(), scene.repairs("observed")), ([2, 0, 0, 0], 2.0));
        assert!(scene.is_untouched() && app.told.is_empty());
    });
}

#[test]
fn off_is_off() {
    let mut scene = Scene::new(|c| c.menders.assignment_watchdog.mode = Mode::Off);
    let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
    app.lives(&mut scene, 60);
    assert_eq!((scene.counts(), scene.finding(GROUP, ME)), ([0; 4], None));
    assert!(scene.is_untouched() && scene.brokers().asked.is_empty());
}

#[test]
fn only_switched_groups_are_told_by_default() {
    let mut scene = Scene::scoped();
    let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
    app.lives(&mut scene, 60);
    assert_eq!((scene.counts(), scene.unfetched(ME).len()), ([1, 0, 0, 0], 3), "it is shown all the same");

    let mut scene = Scene::scoped();
    let mut app = dangling(&mut scene, Who { protocol: EAGER.into(), ..Who::new(ME) }, &ALL, &ALL);
    app.lives(&mut scene, 10);
    app.who.protocol = COOPERATIVE.into();
    app.loses_and_joins(&mut scene, 6, &ALL);
    app.wants(&[3]);
    app.lives(&mut scene, 40);
    assert_eq!((scene.counts(), app.told.len()), ([1, 1, 0, 0], 1));
}

/// The log grows while nobody reads it, and a partition may be found later than the others.
#[test]
fn the_lag_is_the_present_one() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
    scene.brokers().ends.insert((TOPIC.into(), 2), 10);
    app.lives(&mut scene, 40);
    assert_eq!(scene.unfetched(ME), [(0, Some(7)), (1, Some(7))]);
    scene.produce(&[1, 2], 5);
    app.lives(&mut scene, 5);
    assert_eq!(scene.unfetched(ME), [(0, Some(7)), (1, Some(12)), (2, Some(5))]);
    assert_eq!(scene.counts(), [1, 1, 0, 0], "once for the member and its generation");
}
