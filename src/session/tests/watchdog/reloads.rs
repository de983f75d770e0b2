//! A reload ends at once what was begun.

use super::app::*;
use super::says::*;
use super::scene::*;
use crate::config::assignment_watchdog::WatchdogScope;
use crate::config::model::Mode;
use crate::wire::api::ApiKey;

const ALL: [i32; 4] = [0, 1, 2, 3];

#[test]
fn to_off_before_anything_is_found() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
    app.lives(&mut scene, 20);
    let asked = scene.brokers().asked.len();
    scene.reload(|w| w.mode = Mode::Off);
    app.lives(&mut scene, 60);
    assert_eq!((scene.counts(), scene.finding(GROUP, ME)), ([0; 4], None));
    assert_eq!(scene.brokers().asked.len(), asked);
    assert!(scene.is_untouched());
}

#[test]
fn to_off_when_a_member_is_due() {
    for mode in [Mode::Off, Mode::Observe] {
        let mut scene = Scene::plain();
        let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
        app.lives(&mut scene, 20);
        app.beats = false;
        app.lives(&mut scene, 15);
        assert_eq!(scene.counts(), [1, 0, 0, 0]);
        scene.reload(|w| w.mode = mode);
        assert_eq!(app.beat(&mut scene), 0);
        app.beats = true;
        app.lives(&mut scene, 40);
        assert_eq!(scene.finding(GROUP, ME).is_some(), mode == Mode::Observe);
        assert!(scene.is_untouched() && app.told.is_empty());
        scene.reload(|w| w.mode = Mode::Repair);
        app.lives(&mut scene, 5);
        // What it did while nobody looked was not seen: it may have looked it up, and paused it.
        let told = usize::from(mode == Mode::Observe);
        assert_eq!((scene.repairs("told"), app.told.len()), (told as f64, told), "and back");
    }
}

#[test]
fn while_a_heartbeat_is_on_its_way() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
    app.lives(&mut scene, 20);
    app.beats = false;
    app.lives(&mut scene, 15);
    let line = scene.line(app.coordinator);
    line.holds_back = true;
    let beat = line.ask(ApiKey::HEARTBEAT, 3, &app.who.beat(5));
    scene.reload(|w| w.mode = Mode::Off);
    let line = scene.line(app.coordinator);
    line.holds_back = false;
    line.serve();
    assert_eq!(line.reply(beat), Some(0));
    app.beats = true;
    app.lives(&mut scene, 5);
    assert!(scene.is_untouched());
}

#[test]
fn to_another_scope() {
    let mut scene = Scene::plain();
    let mut app = dangling(&mut scene, Who::new(ME), &ALL, &[3]);
    app.lives(&mut scene, 20);
    app.beats = false;
    app.lives(&mut scene, 15);
    scene.reload(|w| w.scope = WatchdogScope::ProtocolSwitch);
    app.beats = true;
    app.lives(&mut scene, 40);
    assert_eq!((scene.counts(), app.told.len()), ([1, 0, 0, 0], 0));
}

#[test]
fn a_held_join_goes_at_its_time_at_the_latest() {
    let mut scene = Scene::plain();
    let (mut a, b) = super::wave::two_that_are_due(&mut scene);
    assert_eq!(a.beat(&mut scene), 22);
    assert!(!a.asks_to_join(&mut scene));
    scene.reload(|w| w.mode = Mode::Off);
    scene.pass(MS * 4500);
    assert!(scene.line(a.coordinator).awaits(ApiKey::JOIN_GROUP));
    a.is_joined(&mut scene, 6, &[0, 1]);
    assert_eq!((a.beat(&mut scene), b.clone().beat(&mut scene)), (0, 0));
}
