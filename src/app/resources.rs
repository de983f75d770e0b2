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
/// A limit so low that less than this is left is not one to work with.
const LEAST: u64 = 8 << 20;
/// What kmend takes besides: before anybody is connected, and between the allocator's blocks; resident, and of
/// the address space.
const OWN: u64 = 24 << 20;
const OWN_ADDRESSES: u64 = 32 << 20;
/// Of the address space what is still to come where more than that is taken at the start: a build for debugging is
/// three times as large.
const GROWTH: u64 = 8 << 20;
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

/// What the system allows this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ceilings {
    /// Of the cgroup: what is resident, and what the kernel holds for its sockets.
    pub resident: Option<u64>,
    /// Of `ulimit -v` (RLIMIT_AS).
    pub address_space: Option<u64>,
    /// Of the address space what is taken already.
    pub mapped: u64,
}

impl Ceilings {
    pub fn now() -> Ceilings {
        let mapped = Taken::now().map_or(0, |t| t.address_space);
        Ceilings { resident: cgroup_limit(), address_space: address_space(), mapped }
    }

    /// 70 % of what a limit leaves besides kmend itself, or 256 MiB where there is none.
    pub fn memory(&self) -> u64 {
        let of = |limit: u64, own: u64| (limit.saturating_sub(own) / 10 * 7).max(LEAST);
        let resident = self.resident.map(|limit| of(limit, OWN));
        let address_space = self.address_space.map(|limit| of(limit, OWN_ADDRESSES.max(self.mapped + GROWTH)));
        resident.into_iter().chain(address_space).min().unwrap_or(MEMORY)
    }
}

#[cfg(unix)]
fn address_space() -> Option<u64> {
    use rustix::process::{Resource, getrlimit};

    getrlimit(Resource::As).current
}

#[cfg(windows)]
fn address_space() -> Option<u64> {
    None
}

/// What this process takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    pub resident: u64,
    pub address_space: u64,
}

impl Taken {
    /// `None` where the system does not tell.
    pub fn now() -> Option<Taken> {
        let mut taken = Taken::of(&fs::read_to_string("/proc/self/status").ok()?)?;
        // In a cgroup v2 of its own, as containers have it, the kernel's buffers count, too.
        let own = Path::new("/sys/fs/cgroup/memory.max").exists();
        let stat = own.then(|| fs::read_to_string("/sys/fs/cgroup/memory.stat").ok()).flatten().unwrap_or_default();
        let sockets = stat.lines().find_map(|l| l.strip_prefix("sock ")?.trim().parse().ok());
        taken.resident += sockets.unwrap_or(0);
        Some(taken)
    }

    /// As `/proc/<pid>/status` says (proc_pid_status(5)).
    fn of(status: &str) -> Option<Taken> {
        let kib = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        };
        Some(Taken { resident: kib("VmRSS")? << 10, address_space: kib("VmSize")? << 10 })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_lowest_limit_counts() {
        let limits = |resident: Option<u64>, address_space: Option<u64>| {
            let mib = |limit: Option<u64>| limit.map(|l| l * MIB);
            Ceilings { resident: mib(resident), address_space: mib(address_space), mapped: 16 * MIB }.memory() / MIB
        };
        assert_eq!(limits(None, None), 256);
        assert_eq!(limits(Some(64), None), 28);
        assert_eq!(limits(Some(1024), None), 700);
        assert_eq!(limits(Some(1024), Some(64)), 22);
        assert_eq!(limits(Some(10), None), 8);
    }

    #[test]
    fn the_system_is_read() {
        let status = "Name:\tkmend\nVmSize:\t   30032 kB\nVmRSS:\t    2048 kB\n";
        let taken = Taken { resident: 2 * MIB, address_space: 30_032 << 10 };
        assert_eq!(Taken::of(status), Some(taken));
        assert_eq!(Taken::of("Name:\tkmend\n"), None);
        #[cfg(target_os = "linux")]
        assert!(Taken::now().is_some_and(|t| t.resident > 0 && t.address_space >= t.resident));
    }
}
