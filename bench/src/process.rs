//! Processes under measurement: their start, their end, and what the operating system counts of them.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::Outcome;

/// A child that ends with this.
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts `command`; what it says goes to `log`.
    pub fn start(command: &[String], log: &Path) -> Outcome<Process> {
        let (program, arguments) = command.split_first().ok_or("an empty command")?;
        let out = fs::File::create(log)?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(out.try_clone()?)
            .stdout(out)
            .spawn()
            .map_err(|e| format!("{program}: {e}"))?;
        Ok(Process { child })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU time of all its threads so far.
    pub fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).into_iter().flatten().flatten();
        let each = |path: &Path| {
            let text = fs::read_to_string(path.join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        };
        Duration::from_nanos(tasks.filter_map(|t| each(&t.path())).sum())
    }

    /// A line of `/proc/PID/status` in KiB: `VmRSS`, `VmHWM`.
    pub fn memory(&self, key: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'));
        line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }

    /// Keeps all its threads on these cores; none: on any.
    pub fn pin(&self, cores: &[usize]) {
        for task in fs::read_dir(format!("/proc/{}/task", self.pid())).into_iter().flatten().flatten() {
            let pid = task.file_name().to_str().and_then(|s| s.parse().ok()).and_then(Pid::from_raw);
            if let Some(pid) = pid {
                let _ = sched_setaffinity(Some(pid), &set(cores));
            }
        }
    }
}

/// Keeps the calling thread on these cores; none: on any.
pub fn pin_self(cores: &[usize]) {
    let _ = sched_setaffinity(None, &set(cores));
}

fn set(cores: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    if cores.is_empty() {
        (0..std::thread::available_parallelism().map_or(2, usize::from).max(2)).for_each(|c| set.set(c));
    }
    cores.iter().for_each(|c| set.set(*c));
    set
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
