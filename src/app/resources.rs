//! What `auto` limits are derived from: descriptors and memory of this process.

use std::fs;
use std::path::{Path, PathBuf};

/// Descriptors for everything but client connections.
const SPARE: u64 = 64;
/// Descriptors: more are never asked for.
const MOST: u64 = 1 << 20;
/// What macOS grants where its hard limit says "no limit", and MOST is refused (setrlimit(2) there).
#[cfg(unix)]
const OPEN_MAX: u64 = 10_240;
/// Used where no cgroup limits the memory.
const MEMORY: u64 = 256 << 20;
/// A node map with listeners on two families.
const FEW: u64 = 16;

/// How many client connections fit: each takes two descriptors.
pub fn max_connections() -> usize {
    (descriptors().saturating_sub(SPARE) / 2).max(FEW) as usize
}

/// Raises the soft limit of descriptors to the hard one, and says how many there are.
#[cfg(unix)]
fn descriptors() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(1024);
    let wanted = limit.maximum.unwrap_or(MOST).min(MOST);
    [wanted, wanted.min(OPEN_MAX.max(current))]
        .into_iter()
        .find(|&soft| setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum: limit.maximum }).is_ok())
        .unwrap_or(current)
}

/// Sockets are no descriptors on Windows, and nothing limits them for a process.
#[cfg(windows)]
fn descriptors() -> u64 {
    MOST
}

/// 70 % of the cgroup's memory, or 256 MiB where it has no limit.
pub fn memory() -> u64 {
    cgroup_limit().map_or(MEMORY, |limit| limit / 10 * 7)
}

fn cgroup_limit() -> Option<u64> {
    candidates().iter().filter_map(|path| read(path)).min()
}

fn read(path: &Path) -> Option<u64> {
    let limit: u64 = fs::read_to_string(path).ok()?.trim().parse().ok()?;
    // cgroup v1 says "no limit" by a number near 2^63.
    (limit < 1 << 60).then_some(limit)
}

/// The files that may hold the limit: v2, then v1, with the process's own path and at the root (a
/// container sees its own cgroup there).
fn candidates() -> Vec<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut paths =
        vec![PathBuf::from("/sys/fs/cgroup/memory.max"), PathBuf::from("/sys/fs/cgroup/memory/memory.limit_in_bytes")];
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let path = path.trim_start_matches('/');
        if controllers.is_empty() {
            paths.push(Path::new("/sys/fs/cgroup").join(path).join("memory.max"));
        } else if controllers.split(',').any(|c| c == "memory") {
            paths.push(Path::new("/sys/fs/cgroup/memory").join(path).join("memory.limit_in_bytes"));
        }
    }
    paths
}
