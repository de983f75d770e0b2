//! Modes `observe` and `off`: every byte is the client's or the broker's.

use std::time::Duration;

use super::rig::*;
use crate::config::model::Mode;
use crate::session::tests::kit::in_all_cuts;

#[test]
fn not_a_byte_is_added_or_changed() {
    in_all_cuts(|cuts| {
        for mode in [Mode::Observe, Mode::Off] {
            for software in [JAVA, KGO, LIBRDKAFKA] {
                let world = world_with(|c| c.mode = mode);
                let mut line = Line::new(&world, cuts.clone(), software);
                line.join();
                line.serve();
                line.answers();
                for bytes in [&mut line.sent, &mut line.forwarded, &mut line.answered, &mut line.got] {
                    bytes.clear();
                }
                for n in 1..60 {
                    if n == 20 {
                        line.grow(3);
                    }
                    if n % 30 == 0 {
                        line.metadata();
                    }
                    line.produce(9, &[(0, 0, n)]);
                    line.fetch(12, 0, -1, &[0]);
                    line.beat();
                    line.pass_served(Duration::from_millis(200));
                }
                // Twice more: it is said once.
                line.metadata();
                line.metadata();
                line.answers();
                assert!(line.sent == line.forwarded && line.answered == line.got);
                assert!(line.polls() == 0 && !line.closed);
                let (added, observed) = if mode == Mode::Observe { (2.0, 1.0) } else { (0.0, 0.0) };
                assert_eq!(world.metric("kmend_partitions_added_total", &[]), added);
                assert_eq!(nudges(&world, "none", "observed"), observed, "{mode:?}");
                assert_eq!(made(&world), 0.0);
            }
        }
    });
}
