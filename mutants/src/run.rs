//! Each mutant against the tests that reach it, until one fails.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::list::Mutant;
use crate::reach::{Reach, Test};
use crate::state::{State, Verdict, hash};
use crate::tree::Built;

/// Seeds of each simulation.
const SEEDS: &str = "25";
/// What a mutant may cost in each round, in milliseconds of tests: the nearest are run first for all. One more
/// round has those that are long.
const ROUNDS: [u64; 3] = [400, 4000, u64::MAX];
/// Tests in one process: at first, and where those have passed.
const GROUPS: [(usize, u64); 2] = [(8, 250), (60, 2000)];
/// KiB of address space: a mutant may allocate without end.
const MEMORY: u64 = 6 << 20;
/// Too much processor time.
const SIGXCPU: i32 = 24;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Passed,
    Failed,
    TimedOut,
}

pub fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn next<T>(of: &Mutex<Vec<T>>) -> Option<T> {
    lock(of).pop()
}

/// What a test may take: processor time, for others use the machine too, and time in all but that in which it
/// was not let run, for what only waits.
pub struct Limit {
    cpu: Duration,
    all: Duration,
}

impl Limit {
    pub const NONE: Limit = Limit { cpu: Duration::from_secs(600), all: Duration::from_secs(1800) };

    fn of(usual: u64) -> Limit {
        Limit { cpu: Duration::from_millis(2000 + 3 * usual), all: Duration::from_millis(30_000 + 20 * usual) }
    }
}

pub fn command(built: &Built, binary: usize, names: &[&str], limit: &Limit) -> Command {
    let mut command = Command::new("sh");
    let seconds = limit.cpu.as_secs();
    let limited = format!("ulimit -v {MEMORY}; ulimit -t {seconds}; exec nice -n {} \"$@\"", built.nice);
    command.current_dir(&built.tree).args(["-c", &limited, "sh"]).arg(&built.binaries[binary]);
    command.args(["--exact", "--test-threads=1"]).args(names);
    command.env("KMEND_SEEDS", SEEDS);
    // The same inputs each time, and no files in the tree.
    command.env("PROPTEST_RNG_SEED", "1").env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true");
    command
}

/// How long a process could have run and was not let, on a busy machine: what its threads have waited for a
/// processor, at most. The second number of schedstat, in nanoseconds.
fn starved(process: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let waited = |path: &Path| fs::read_to_string(path).ok()?.split_whitespace().nth(1)?.parse().ok();
    let most = threads.filter_map(|t| waited(&t.path().join("schedstat"))).max();
    Duration::from_nanos(most.unwrap_or_default())
}

/// Runs it, and returns what it has said on its standard output.
pub fn wait(mut command: Command, limit: &Limit, said: &Path) -> Outcome<(Ended, Duration, String)> {
    let file = File::create(said)?;
    let begun = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(file).stderr(Stdio::null()).spawn()?;
    let mut pause = Duration::from_millis(1);
    let ended = loop {
        if let Some(status) = child.try_wait()? {
            break match status.signal() {
                Some(SIGXCPU) => Ended::TimedOut,
                _ if status.success() => Ended::Passed,
                _ => Ended::Failed,
            };
        }
        if begun.elapsed() > limit.all && begun.elapsed().saturating_sub(starved(child.id())) > limit.all {
            child.kill()?;
            child.wait()?;
            break Ended::TimedOut;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    let took = begun.elapsed();
    Ok((ended, took, String::from_utf8_lossy(&fs::read(said)?).into_owned()))
}

struct Work<'a> {
    built: &'a Built,
    reach: &'a Reach,
    scratch: &'a Path,
    /// How many mutants of a file each test has caught.
    catchers: &'a Mutex<HashMap<(String, usize), u32>>,
}

/// Round by round: the nearest tests for all, then more, then those that are long.
pub fn all(
    dir: &Path,
    built: &Built,
    reach: &Reach,
    wanted: Vec<&Mutant>,
    state: &mut State,
    jobs: usize,
    until: Option<Instant>,
) -> Outcome<()> {
    let catchers = Mutex::new(HashMap::new());
    let scratch = dir.join("scratch");
    let work = Work { built, reach, scratch: &scratch, catchers: &catchers };
    let state = Mutex::new(state);
    for round in 0..=ROUNDS.len() {
        let mut queue: Vec<_> = wanted.iter().copied().filter(|m| is_open(&lock(&state), m, built.id)).collect();
        let total = queue.len();
        // Mixed: a run that is stopped says something of all files.
        queue.sort_by_cached_key(|m| hash(m.key().as_bytes()));
        eprintln!("mutants: round {round}, {total} of {}", wanted.len());
        let (queue, errors) = (Mutex::new(queue), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for job in 0..jobs {
                let (work, state, queue, errors) = (&work, &state, &queue, &errors);
                scope.spawn(move || {
                    while until.is_none_or(|u| Instant::now() < u)
                        && let Some(mutant) = next(queue)
                    {
                        let passed = match lock(state).settled(mutant, built.id) {
                            Some(Verdict::Open(passed)) => passed.clone(),
                            _ => Vec::new(),
                        };
                        let done = work.mutant(mutant, round, passed, job);
                        let done = done.and_then(|verdict| lock(state).set(mutant, built.id, verdict));
                        if let Err(error) = done {
                            lock(errors).push(format!("{}: {error}", mutant.key()));
                            return;
                        }
                        let left = lock(queue).len();
                        if left.is_multiple_of(100) {
                            eprintln!("mutants: round {round}, {left} left");
                        }
                    }
                });
            }
        });
        if let Some(error) = lock(&errors).first() {
            return Err(error.clone().into());
        }
    }
    Ok(())
}

fn is_open(state: &State, mutant: &Mutant, build: u64) -> bool {
    matches!(state.settled(mutant, build), None | Some(Verdict::Open(_)))
}

/// How many modules a test and a file have in common: `src/wire/walk.rs`, `wire::walk::tests::short`.
fn nearness(file: &str, test: &str) -> usize {
    let file = file.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    file.split('/').zip(test.split("::")).take_while(|(a, b)| a == b).count()
}

impl Work<'_> {
    fn mutant(&self, mutant: &Mutant, round: usize, passed: Vec<usize>, job: usize) -> Outcome<Verdict> {
        let tests = &self.reach.tests;
        let mut reaching: Vec<usize> = (0..tests.len()).filter(|t| tests[*t].reached.contains(&mutant.id)).collect();
        if reaching.is_empty() {
            return Ok(Verdict::Unreached);
        }
        let known: HashSet<usize> = passed.iter().copied().collect();
        let all = reaching.len();
        {
            let catchers = lock(self.catchers);
            let caught = |t: usize| catchers.get(&(mutant.file.clone(), t)).copied().unwrap_or(0);
            reaching.sort_by_cached_key(|t| {
                let test = &tests[*t];
                (test.is_last(), Reverse(caught(*t)), Reverse(nearness(&mutant.file, &test.name)), test.millis)
            });
        }
        reaching.retain(|t| !known.contains(t) && (round == ROUNDS.len() || !tests[*t].is_last()));
        if let Some(most) = ROUNDS.get(round) {
            let mut cost = 0;
            reaching.retain(|t| {
                let fits = cost < *most;
                cost += tests[*t].millis;
                fits
            });
        }
        let mut passed = passed;
        let mut groups = 0;
        while !reaching.is_empty() {
            let (most, cost) = GROUPS[groups.min(1)];
            groups += 1;
            let group = take(tests, &mut reaching, most, cost);
            if let Some((test, timed_out)) = self.group(mutant, &group, job)? {
                *lock(self.catchers).entry((mutant.file.clone(), test)).or_default() += 1;
                let name = tests[test].name.clone();
                return Ok(if timed_out { Verdict::TimedOut(name) } else { Verdict::Caught(name) });
            }
            passed.extend(group);
        }
        Ok(if passed.len() == all { Verdict::Survived(all) } else { Verdict::Open(passed) })
    }

    /// The test that catches it, and whether that did not end.
    fn group(&self, mutant: &Mutant, group: &[usize], job: usize) -> Outcome<Option<(usize, bool)>> {
        let (ended, said) = self.run(mutant, group, job)?;
        if ended == Ended::Passed {
            return Ok(None);
        }
        let guilty = guilty(&self.reach.tests, group, &said);
        for test in guilty {
            // Alone: another one in the same process must not be what makes it fail.
            let alone = if group.len() == 1 { ended } else { self.run(mutant, &[test], job)?.0 };
            if alone != Ended::Passed {
                return Ok(Some((test, alone == Ended::TimedOut)));
            }
        }
        // What hangs or dies may not say where.
        for test in group.iter().filter(|_| group.len() > 1) {
            let alone = self.run(mutant, &[*test], job)?.0;
            if alone != Ended::Passed {
                return Ok(Some((*test, alone == Ended::TimedOut)));
            }
        }
        Ok(None)
    }

    fn run(&self, mutant: &Mutant, group: &[usize], job: usize) -> Outcome<(Ended, String)> {
        let tests: Vec<&Test> = group.iter().map(|t| &self.reach.tests[*t]).collect();
        let names: Vec<&str> = tests.iter().map(|t| t.name.as_str()).collect();
        let usual: u64 = tests.iter().map(|t| t.millis).sum();
        let limit = Limit::of(usual);
        let mut command = command(self.built, tests[0].binary, &names, &limit);
        command.env("KMEND_MUTANT", mutant.id.to_string());
        let (ended, _, said) = wait(command, &limit, &self.scratch.join(format!("said-{job}")))?;
        Ok((ended, said))
    }
}

/// The next ones that fit into one process: of one binary, long ones by themselves.
fn take(tests: &[Test], from: &mut Vec<usize>, most: usize, cost: u64) -> Vec<usize> {
    let mut group: Vec<usize> = Vec::new();
    let mut sum = 0;
    from.retain(|t| {
        let test = &tests[*t];
        let first = group.first().map(|g| &tests[*g]);
        let fits = first.is_none_or(|f| {
            f.binary == test.binary
                && !f.is_last()
                && !test.is_last()
                && group.len() < most
                && sum + test.millis <= cost
        });
        if fits {
            sum += test.millis;
            group.push(*t);
        }
        !fits
    });
    group
}

/// Those that have failed, and the one that was begun and has not ended.
fn guilty(tests: &[Test], group: &[usize], said: &str) -> Vec<usize> {
    let mut found = Vec::new();
    for line in said.lines().filter_map(|l| l.strip_prefix("test ")) {
        let Some((name, end)) = line.split_once(" ... ") else { continue };
        if end != "ok"
            && let Some(test) = group.iter().find(|t| tests[**t].name == name)
        {
            found.push(*test);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(name: &str, millis: u64) -> Test {
        Test { binary: 0, name: name.to_owned(), millis, reached: Default::default() }
    }

    #[test]
    fn groups_are_small_and_long_ones_alone() {
        let tests = [test("a", 10), test("b", 90), test("c", 20), test("simulation::d", 1), test("e", 1)];
        let mut left = vec![0, 1, 2, 3, 4];
        assert_eq!(take(&tests, &mut left, 8, 100), [0, 1]);
        assert_eq!(take(&tests, &mut left, 8, 100), [2, 4]);
        assert_eq!(take(&tests, &mut left, 8, 100), [3]);
        assert!(left.is_empty());
    }

    #[test]
    fn who_has_failed() {
        let tests = [test("a::b", 1), test("a::c", 1), test("a::d", 1)];
        let said = "\nrunning 3 tests\ntest a::b ... ok\ntest a::c ... FAILED\ntest a::d ... ";
        assert_eq!(guilty(&tests, &[0, 1, 2], said), [1, 2]);
    }

    #[test]
    fn the_nearest_test_is_of_the_same_module() {
        assert_eq!(nearness("src/wire/walk.rs", "wire::walk::tests::short"), 2);
        assert_eq!(nearness("src/wire/layout/mod.rs", "wire::layout::tests::all"), 2);
        assert_eq!(nearness("src/wire/walk.rs", "session::tests::wire"), 0);
    }
}
