//! Random writes, faults and ends of the process against a model that says what must, what may and
//! what must not be found afterwards.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::Instant;

use proptest::prelude::*;

use super::super::codec;
use super::super::core::{Core, PAUSE, Write};
use super::flaky::{End, Fault, Flaky};
use super::*;
use crate::config::commit_buffer::Sync;

/// Room for about eight of the promises here, or for two with a long text.
const MAX_BYTES: u64 = 3000;

/// The offset promised for each partition. Each promise here has one of its own.
type State = BTreeMap<i32, i64>;

/// A record in short: partition, and the length of the text of a promise; `None`: settled.
type Short = (i32, Option<u16>);

#[derive(Debug, Clone)]
enum Op {
    Commit(Vec<Vec<Short>>),
    /// A second goes by.
    Wait,
    /// What the next calls of the disk come to.
    Faults(Vec<Option<Fault>>),
    End(End),
}

struct Rig {
    disk: Flaky,
    sync: Sync,
    core: Core,
    now: Instant,
    ticket: u64,
    /// What was told to be there.
    sure: State,
    /// Writes that got `No`, or no answer, and may be there nevertheless.
    maybe: Vec<Vec<Record>>,
    /// Settled in a write that got `No`: gone sooner or later.
    owed: BTreeSet<i32>,
}

fn open(disk: &Flaky, sync: Sync) -> (Core, State) {
    let path = Path::new("commits.log");
    let (core, promises) = Core::open(Box::new(disk.clone()), path, MAX_BYTES, sync, metrics()).unwrap();
    (core, promises.into_iter().map(|p| (p.key.partition, p.offset)).collect())
}

fn apply(state: &mut State, records: &[Record]) {
    for record in records {
        match record {
            Record::Promised(p) => state.insert(p.key.partition, p.offset),
            Record::Settled(key) => state.remove(&key.partition),
        };
    }
}

impl Rig {
    fn new(sync: Sync) -> Rig {
        let disk = Flaky::default();
        let (core, state) = open(&disk, sync);
        assert!(state.is_empty());
        let (sure, maybe, owed) = Default::default();
        Rig { disk, sync, core, now: Instant::now(), ticket: 0, sure, maybe, owed }
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Commit(writes) => self.commit(writes),
            Op::Wait => {
                self.now += PAUSE;
                self.core.tend(self.now);
            }
            Op::Faults(faults) => self.disk.platter().faults = faults.iter().copied().collect(),
            Op::End(end) => self.end(*end),
        }
        if self.disk.platter().is_dead {
            self.end(End::Kill);
        } else {
            self.look();
        }
    }

    fn commit(&mut self, writes: &[Vec<Short>]) {
        let writes: Vec<Write> = writes
            .iter()
            .map(|shorts| {
                self.ticket += 1;
                let record = |(partition, text): &Short| match text {
                    None => settled(*partition),
                    Some(length) => {
                        let metadata = Some("x".repeat(usize::from(*length)).into());
                        Record::Promised(Promise { metadata, ..promise(*partition, self.ticket as i64) })
                    }
                };
                Write { ticket: self.ticket, records: shorts.iter().map(record).collect() }
            })
            .collect();
        let calls = self.disk.platter().calls;
        let verdicts = self.core.commit(&writes, HashMap::new(), self.now);
        assert_eq!(verdicts.len(), writes.len());
        if verdicts.contains(&true) {
            self.maybe.clear();
        }
        let is_tried = self.disk.platter().calls > calls;
        for (write, is_written) in writes.into_iter().zip(verdicts) {
            for record in &write.records {
                match record {
                    Record::Settled(key) if !is_written => self.owed.insert(key.partition),
                    Record::Settled(key) | Record::Promised(Promise { key, .. }) if is_written => {
                        self.owed.remove(&key.partition)
                    }
                    _ => false,
                };
            }
            if is_written {
                apply(&mut self.sure, &write.records);
            } else if is_tried {
                self.maybe.push(write.records);
            }
        }
    }

    /// What the process itself knows to be so by now.
    fn look(&mut self) {
        if self.core.is_sound() {
            if self.sync == Sync::Write {
                // `No`, and not there.
                self.maybe.clear();
            }
            if self.core.owes() == 0 {
                for partition in std::mem::take(&mut self.owed) {
                    self.sure.remove(&partition);
                }
            }
            let contents = self.disk.contents();
            assert_eq!(contents.len() as u64, self.core.file_bytes());
            let scan = codec::scan(&contents, Path::new("")).unwrap();
            assert!(scan.live.values().map(|l| l.size).sum::<u64>() <= MAX_BYTES);
        }
    }

    /// The process ends, and the next one begins.
    fn end(&mut self, end: End) {
        let end = if self.sync == Sync::Write { End::Kill } else { end };
        self.disk.end(end);
        let (core, found) = open(&self.disk, self.sync);
        assert!(self.is_allowed(&found), "{end:?}: {found:#?}\n{:#?}\n{:#?}", self.sure, self.maybe);
        self.core = core;
        self.sure = found;
        self.maybe.clear();
        self.owed.clear();
    }

    /// What is sure, and any of the writes that may be there, each whole and in their order, less any of
    /// what is owed.
    fn is_allowed(&self, found: &State) -> bool {
        let mut possible = BTreeSet::from([self.sure.clone()]);
        for records in &self.maybe {
            let without = possible.clone();
            possible.extend(without.into_iter().map(|mut state| {
                apply(&mut state, records);
                state
            }));
        }
        possible.iter().any(|state| {
            let mut partitions = state.keys().chain(found.keys());
            partitions.all(|p| found.get(p) == state.get(p) || (!found.contains_key(p) && self.owed.contains(p)))
        })
    }
}

fn short() -> impl Strategy<Value = Short> {
    (0..6, prop_oneof![2 => Just(None), 4 => Just(Some(0)), 1 => Just(Some(1100))])
}

fn fault() -> impl Strategy<Value = Option<Fault>> {
    prop_oneof![
        3 => Just(None),
        1 => any::<u8>().prop_map(|part| Some(Fault::Full { part })),
        1 => any::<u8>().prop_map(|part| Some(Fault::Io { part })),
        1 => any::<u8>().prop_map(|part| Some(Fault::Death { part })),
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        Just(End::Kill),
        any::<(u8, u8, bool)>().prop_map(|(which, part, with_zeros)| End::PowerCut { which, part, with_zeros }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    use prop::collection::vec;
    prop_oneof![
        6 => vec(vec(short(), 0..4), 1..4).prop_map(Op::Commit),
        2 => Just(Op::Wait),
        2 => vec(fault(), 1..6).prop_map(Op::Faults),
        1 => end().prop_map(Op::End),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_told_is_kept(ops in prop::collection::vec(op(), 1..40), last in end(), always: bool) {
        let mut rig = Rig::new(if always { Sync::Always } else { Sync::Write });
        for op in &ops {
            rig.run(op);
        }
        rig.end(last);
    }

    #[test]
    fn a_disk_that_works_again_is_used_again(ops in prop::collection::vec(op(), 1..30), always: bool) {
        let mut rig = Rig::new(if always { Sync::Always } else { Sync::Write });
        for op in &ops {
            rig.run(op);
        }
        rig.disk.platter().faults.clear();
        rig.run(&Op::Wait);
        prop_assert_eq!(rig.core.owes(), 0);
        rig.run(&Op::Commit(vec![(0..6).map(|partition| (partition, None)).collect()]));
        prop_assert!(rig.sure.is_empty());
        rig.run(&Op::Commit(vec![vec![(1, Some(0))]]));
        prop_assert_eq!(rig.sure.len(), 1);
        prop_assert!(rig.core.close(rig.now));
        rig.end(End::PowerCut { which: 0, part: 0, with_zeros: false });
    }
}

/// Promises, new ones for old ones, settled ones, a refused one, compactions, a healed disk.
fn script() -> Vec<Op> {
    let mut ops: Vec<Op> =
        (0..4).map(|p| Op::Commit(vec![vec![(p, Some(0))], vec![(p + 1, Some(0)), (p, None)]])).collect();
    ops.push(Op::Commit(vec![vec![(0, Some(1100))], vec![(1, Some(1100)), (4, None)], vec![(2, Some(1100))]]));
    ops.extend((0..12).map(|i| Op::Commit(vec![vec![(i % 3, Some(0)), ((i + 1) % 3, None)]])));
    ops.push(Op::Wait);
    ops.push(Op::Commit(vec![vec![(5, Some(0))]]));
    ops
}

/// At every call of the disk, with nothing, half or all of it done, the process or the machine ends.
#[test]
fn any_call_may_be_the_last() {
    for sync in [Sync::Write, Sync::Always] {
        let mut rig = Rig::new(sync);
        let mut compactions = 0;
        for op in script() {
            let before = rig.core.file_bytes();
            rig.run(&op);
            compactions += usize::from(rig.core.file_bytes() < before);
        }
        assert!(compactions > 0);
        let calls = rig.disk.platter().calls;
        for call in 0..=calls {
            for part in [0, 128, 255] {
                for (which, with_zeros) in [(0, false), (1, false), (2, true), (255, false)] {
                    let end = End::PowerCut { which, part, with_zeros };
                    let mut rig = Rig::new(sync);
                    let mut faults: Vec<Option<Fault>> = vec![None; call];
                    faults.push(Some(Fault::Death { part }));
                    rig.run(&Op::Faults(faults));
                    let is_dead = script().iter().any(|op| {
                        match op {
                            Op::Commit(writes) => rig.commit(writes),
                            _ => rig.core.tend(rig.now),
                        }
                        rig.disk.platter().is_dead
                    });
                    rig.end(if is_dead { end } else { End::Kill });
                    rig.run(&Op::Commit(vec![vec![(0, Some(0))]]));
                    assert!(rig.sure.contains_key(&0));
                    rig.end(end);
                }
            }
        }
    }
}

/// Linux forgets what a failed sync has lost, and the next one succeeds.
#[test]
fn after_a_failed_sync_the_file_is_written_anew() {
    let mut rig = Rig::new(Sync::Always);
    rig.run(&Op::Commit(vec![vec![(0, Some(0)), (1, Some(0))]]));
    rig.run(&Op::Faults(vec![None, Some(Fault::Io { part: 0 })]));
    rig.run(&Op::Commit(vec![vec![(2, Some(0)), (0, None)]]));
    let replacements = rig.disk.platter().replacements;
    rig.run(&Op::Wait);
    assert_eq!(rig.disk.platter().replacements, replacements + 1);
    // Nothing was written since, and the name of the new file is kept all the same.
    rig.end(End::PowerCut { which: 0, part: 0, with_zeros: false });
    assert_eq!(rig.sure.keys().collect::<Vec<_>>(), [&1]);
}
