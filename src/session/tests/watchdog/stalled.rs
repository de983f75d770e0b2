//! Members that live and do nothing (rule D4).

use super::app::*;
use super::says::*;
use super::scene::*;
use crate::config::assignment_watchdog::StalledScope;
use crate::config::model::Mode;
use crate::mend::Reason;

/// It has fetched all of its partitions and committed 10 of 17 records.
fn busy(scene: &mut Scene) -> App {
    let mut app = dangling(scene, Who::new(ME), &[0, 1], &[0, 1]);
    app.lives(scene, 5);
    assert_eq!(app.commits(scene, &[(0, 12), (1, 12)]), 0);
    app
}

fn refused(scene: &mut Scene, app: &mut App, error: i16) {
    scene.brokers().commit_error = error;
    assert_eq!(app.commits(scene, &[(0, 14)]), error);
    scene.brokers().commit_error = 0;
    app.fetches = false;
}

#[test]
fn after_a_refused_commit_silence_is_found() {
    for error in [22, 25, 27, 29] {
        let mut scene = Scene::plain();
        let mut app = busy(&mut scene);
        refused(&mut scene, &mut app, error);
        app.lives(&mut scene, 58);
        assert_eq!(scene.stalled(ME), None);
        app.lives(&mut scene, 7);
        let found = scene.stalled(ME).expect("found");
        assert_eq!((found.reason, found.lag, scene.repairs("stalled")), (Reason::CommitRefused(error), 10, 1.0));
        app.lives(&mut scene, 300);
        assert_eq!(scene.repairs("stalled"), 1.0);
        assert!(scene.is_untouched(), "it is only shown");
        // Either ends it.
        if error % 2 == 0 {
            assert_eq!(app.commits(&mut scene, &[(0, 13)]), 0);
        } else {
            app.fetch(&mut scene);
        }
        app.lives(&mut scene, 2);
        assert_eq!(scene.stalled(ME), None, "{error}");
        app.fetches = false;
        refused(&mut scene, &mut app, error);
        app.lives(&mut scene, 70);
        assert_eq!(scene.repairs("stalled"), 2.0, "and again");
    }
}

#[test]
fn one_that_goes_on_is_not() {
    for fetches in [true, false] {
        let mut scene = Scene::plain();
        let mut app = busy(&mut scene);
        refused(&mut scene, &mut app, 22);
        for _ in 0..20 {
            if !fetches {
                app.commits(&mut scene, &[(0, 12)]);
            }
            app.fetches = fetches;
            app.lives(&mut scene, 10);
        }
        assert_eq!(scene.repairs("stalled"), 0.0);
    }
}

#[test]
fn who_commits_is_not_even_where_the_quiet_are_wanted() {
    let mut scene = Scene::new(|c| c.menders.assignment_watchdog.stalled_scope = StalledScope::Any);
    let mut app = busy(&mut scene);
    app.fetches = false;
    for _ in 0..10 {
        assert_eq!(app.commits(&mut scene, &[(0, 12)]), 0);
        app.lives(&mut scene, 30);
    }
    assert_eq!((scene.stalled(ME), scene.repairs("stalled")), (None, 0.0));
}

#[test]
fn one_that_is_idle_slow_or_paused_is_found_only_where_that_is_wanted() {
    for scope in [StalledScope::AfterError, StalledScope::Any] {
        let mut scene = Scene::new(|c| c.menders.assignment_watchdog.stalled_scope = scope);
        let mut app = busy(&mut scene);
        app.fetches = false;
        app.lives(&mut scene, 66);
        let found = scene.stalled(ME).map(|s| s.reason);
        assert_eq!(found, (scope == StalledScope::Any).then_some(Reason::Quiet));
        app.lives(&mut scene, 200);
        assert_eq!(scene.repairs("stalled"), f64::from(u8::from(found.is_some())));
    }
}

#[test]
fn errors_that_clients_try_again_after_are_no_reason() {
    for error in [7, 14, 15, 16] {
        let mut scene = Scene::plain();
        let mut app = busy(&mut scene);
        refused(&mut scene, &mut app, error);
        app.lives(&mut scene, 200);
        assert_eq!((scene.stalled(ME), scene.repairs("stalled")), (None, 0.0), "{error}");
    }
}

#[test]
fn after_a_refused_fetch_silence_is_found() {
    for error in [1, 29, 44] {
        let mut scene = Scene::plain();
        let mut app = busy(&mut scene);
        scene.brokers().fetch_error = error;
        app.fetch(&mut scene);
        scene.brokers().fetch_error = 0;
        app.fetches = false;
        app.lives(&mut scene, 66);
        assert_eq!(scene.stalled(ME).map(|s| s.reason), Some(Reason::FetchRefused(error)));
        app.fetches = true;
        app.lives(&mut scene, 2);
        assert_eq!(scene.stalled(ME), None);
        app.fetches = false;
        app.lives(&mut scene, 200);
        assert_eq!(scene.repairs("stalled"), 1.0, "the next Fetch was answered without an error");
    }
}

#[test]
fn a_fetch_error_that_clients_mend_by_themselves_is_no_reason() {
    for error in [3, 5, 6, 9, 74, 75, 76, 100] {
        let mut scene = Scene::plain();
        let mut app = busy(&mut scene);
        scene.brokers().fetch_error = error;
        app.fetch(&mut scene);
        app.fetches = false;
        app.lives(&mut scene, 120);
        assert_eq!(scene.repairs("stalled"), 0.0, "{error}");
    }
}

/// The end of a log that nobody fetches any more is asked for.
#[test]
fn without_lag_it_is_idle() {
    let mut scene = Scene::plain();
    let mut app = busy(&mut scene);
    assert_eq!(app.commits(&mut scene, &[(0, 17), (1, 17)]), 0);
    refused(&mut scene, &mut app, 22);
    app.lives(&mut scene, 200);
    assert_eq!(scene.stalled(ME), None);
    scene.produce(&[1], 4);
    app.lives(&mut scene, 5);
    assert_eq!(scene.stalled(ME).map(|s| s.lag), Some(4));
}

#[test]
fn one_that_does_not_heartbeat_is_dead_and_not_stalled() {
    let mut scene = Scene::plain();
    let mut app = busy(&mut scene);
    refused(&mut scene, &mut app, 22);
    app.beats = false;
    app.lives(&mut scene, 200);
    assert_eq!((scene.stalled(ME), scene.repairs("stalled")), (None, 0.0));
}

#[test]
fn it_is_shown_where_kmend_only_observes_and_not_where_it_is_off() {
    for (mode, found) in [(Mode::Observe, 1.0), (Mode::Off, 0.0)] {
        let mut scene = Scene::new(|c| {
            c.menders.assignment_watchdog.groups.entry(GROUP.into()).or_default().mode = Some(mode);
        });
        let mut app = busy(&mut scene);
        refused(&mut scene, &mut app, 22);
        app.lives(&mut scene, 70);
        assert_eq!(scene.repairs("stalled"), found);
    }
}
