//! Which member is told, where a client has several (rule D3).

use super::app::*;
use super::says::*;
use super::scene::*;

fn two(scene: &mut Scene, groups: [&str; 2], assigned: [&[i32]; 2], fetches: &[i32]) -> (App, App) {
    for (group, partitions) in groups.iter().zip(assigned) {
        scene.commits(group, partitions, 10);
    }
    scene.produce(&(0..8).collect::<Vec<_>>(), 17);
    let mut a = App::new(scene, "app", Who { group: groups[0].into(), ..Who::new("a") });
    let mut b = App::new(scene, "app", Who { group: groups[1].into(), ..Who::new("b") });
    a.fetcher(scene, 1, 11, fetches);
    assert!(a.asks_to_join(scene) && b.asks_to_join(scene));
    a.is_joined(scene, 5, assigned[0]);
    b.is_joined(scene, 5, assigned[1]);
    (a, b)
}

#[test]
fn the_one_that_has_the_partition_is_told() {
    let mut scene = Scene::plain();
    let (mut a, mut b) = two(&mut scene, [GROUP, GROUP], [&[0, 1], &[2, 3]], &[0, 1, 3]);
    live(&mut scene, &mut [&mut a, &mut b], 60);
    assert_eq!((a.told.len(), b.told.len(), scene.counts()), (0, 1, [1, 1, 0, 0]));
    assert_eq!((scene.unfetched("a"), scene.unfetched("b")), (vec![], vec![(2, Some(7))]));
}

/// A sibling is another partition of the same member.
#[test]
fn another_members_partitions_are_no_siblings() {
    let mut scene = Scene::plain();
    let (mut a, mut b) = two(&mut scene, [GROUP, GROUP], [&[0, 1], &[2, 3]], &[0, 1]);
    live(&mut scene, &mut [&mut a, &mut b], 60);
    assert_eq!(scene.counts(), [0; 4]);
}

#[test]
fn where_two_groups_have_it_nobody_is_told() {
    let mut scene = Scene::plain();
    let (mut a, mut b) = two(&mut scene, [GROUP, "other"], [&[0, 1], &[0, 1]], &[1]);
    live(&mut scene, &mut [&mut a, &mut b], 90);
    assert_eq!((a.told.len(), b.told.len(), scene.counts()), (0, 0, [2, 0, 0, 0]));
    assert_eq!(scene.repairs("ambiguous"), 2.0);
    assert!(scene.is_untouched());
    // Once the other has left there is no doubt.
    b.leaves(&mut scene);
    b.beats = false;
    live(&mut scene, &mut [&mut a, &mut b], 5);
    assert_eq!((a.told.len(), scene.repairs("told")), (1, 1.0));
}

/// What one group's client fetches it does not fetch for the other: but nobody can tell.
#[test]
fn what_either_group_fetches_is_fetched() {
    let mut scene = Scene::plain();
    let (mut a, mut b) = two(&mut scene, [GROUP, "other"], [&[0, 1], &[0, 1]], &[0, 1]);
    live(&mut scene, &mut [&mut a, &mut b], 60);
    assert_eq!(scene.counts(), [0; 4]);
}

#[test]
fn static_members_are_told_too() {
    let mut scene = Scene::plain();
    let who = Who { instance: Some("i-1".into()), ..Who::new(ME) };
    let mut app = dangling(&mut scene, who, &[0, 1, 2, 3], &[3]);
    app.lives(&mut scene, 60);
    assert_eq!((scene.counts(), app.told.len()), ([1, 1, 0, 0], 1));
}

/// Two apps with one name at two addresses are two clients; here they are told apart by their name.
#[test]
fn what_another_client_fetches_is_not_fetched() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who::new(ME), &[0, 1, 2, 3], &[3]);
    let mut other = App::new(&mut scene, "other", Who::new("other"));
    other.beats = false;
    other.fetcher(&mut scene, 1, 11, &[0, 1, 2]);
    live(&mut scene, &mut [&mut app, &mut other], 40);
    assert_eq!(scene.unfetched(ME).len(), 3);
}

#[test]
fn a_member_that_leaves_or_whose_client_goes_is_not_shown_any_more() {
    let mut scene = Scene::scoped();
    let mut app = dangling(&mut scene, Who::new(ME), &[0, 1, 2, 3], &[3]);
    app.lives(&mut scene, 40);
    assert_eq!(scene.unfetched(ME).len(), 3);
    app.leaves(&mut scene);
    app.beats = false;
    app.lives(&mut scene, 3);
    assert_eq!(scene.finding(GROUP, ME), None);

    let mut scene = Scene::scoped();
    let mut app = dangling(&mut scene, Who::new(ME), &[0, 1, 2, 3], &[3]);
    app.lives(&mut scene, 40);
    scene.close(app.coordinator);
    scene.close(app.fetchers[0].line);
    assert_eq!(scene.finding(GROUP, ME), None);
}
