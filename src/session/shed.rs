//! Which connections go when memory is short: those that hold most of it and stand still.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::limits::{Budget, Meter, Reading};

/// Not a byte for so long: whoever reads slowly moves some, and no mender holds a request longer.
const STILL: Duration = Duration::from_secs(5);
/// Who holds less gives nothing worth a connection; tables are larger, for whoever rests has them, too.
const LEAST: u64 = 4 << 10;
const LEAST_TABLES: u64 = 256 << 10;

/// Cuts as few connections as give back `excess` bytes. How many there were.
pub fn cut(budget: &Budget, excess: u64, now: Instant) -> usize {
    let chosen = choose(budget.readings(now), excess);
    chosen.iter().for_each(|meter| meter.cut());
    chosen.len()
}

/// The largest buffers first, then the largest tables. One that moves is never among them: it is held
/// back by what it may read.
fn choose(mut all: Vec<Reading>, excess: u64) -> Vec<Arc<Meter>> {
    all.retain(|r| r.still >= STILL && (r.held >= LEAST || r.tables >= LEAST_TABLES));
    let buffers = |r: &Reading| if r.held >= LEAST { r.held } else { 0 };
    all.sort_by_key(|r| std::cmp::Reverse((buffers(r), r.tables)));
    let mut freed = 0;
    let still_wanted = |r: &Reading| {
        let wanted = freed < excess;
        freed += r.held + r.tables;
        wanted
    };
    all.into_iter().take_while(still_wanted).map(|r| r.meter).collect()
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn the_largest_that_stand_still_go_first() {
        let budget = Budget::new(1 << 30);
        let now = Instant::now() + Duration::from_secs(60);
        let later = |s| now - Duration::from_secs(s);
        let (mailbox, _messages) = mpsc::channel(8);
        let all = [
            (50_000, 0, 60),
            (900_000, 0, 1),
            (200_000, 0, 6),
            (100_000, 7, 30),
            (10, 100_000, 60),
            (5_000, 0, 60),
            (0, 300_000, 60),
        ];
        let enter = |(number, (held, tables, still)): (usize, &(u64, u64, u64))| {
            let mut member = budget.enter(number as u64, mailbox.clone());
            member.note(*held, *tables, later(*still));
            member
        };
        let members: Vec<_> = all.iter().enumerate().map(enter).collect();
        let gone = || -> Vec<usize> { (0..members.len()).filter(|n| members[*n].is_cut()).collect() };
        assert_eq!(cut(&budget, 250_000, now), 2);
        assert_eq!(gone(), [2, 3]);
        // Buffers before tables.
        assert_eq!(cut(&budget, 355_000, now), 4);
        assert_eq!(gone(), [0, 2, 3, 5]);
        // More than all of them hold: neither the one that moves, nor one that holds next to nothing.
        assert_eq!(cut(&budget, u64::MAX, now), 5);
        assert_eq!(gone(), [0, 2, 3, 5, 6]);
        drop(members);
        assert!(budget.readings(now).is_empty());
    }
}
