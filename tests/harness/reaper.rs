//! Leaves nothing behind. Statics (a cluster shared by the tests of a binary) are never dropped, and a
//! test may be killed: one small shell holds a pipe to this process, and when the pipe ends it kills
//! what was registered and removes its folders.

use std::io::Write;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};

const SCRIPT: &str = r#"
trap '' INT TERM HUP
pids= dirs=
while read -r op arg; do
  case $op in
    +) pids="$pids $arg" ;;
    -) left=; for p in $pids; do [ "$p" = "$arg" ] || left="$left $p"; done; pids=$left ;;
    d) dirs="$dirs $arg" ;;
  esac
done
for p in $pids; do kill -9 "$p" 2>/dev/null; done
[ -z "$pids" ] || sleep 0.3
for d in $dirs; do rm -rf "$d"; done
"#;

fn tell(line: &str) {
    static PIPE: OnceLock<Mutex<ChildStdin>> = OnceLock::new();
    let pipe = PIPE.get_or_init(|| {
        // It outlives this process by design, and is nobody's to wait for.
        #[allow(clippy::zombie_processes)]
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            // Not this process's own streams: whoever reads those to their end must not wait for the shell.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh");
        Mutex::new(shell.stdin.take().expect("a pipe"))
    });
    let mut pipe = pipe.lock().unwrap_or_else(|e| e.into_inner());
    writeln!(pipe, "{line}").and_then(|()| pipe.flush()).expect("the reaper lives");
}

/// A child process that is killed, by its pid, when it is dropped or when this process ends.
pub struct Guarded {
    child: Child,
    reaped: bool,
}

impl Guarded {
    /// Starts `command` under guard.
    pub fn spawn(command: &mut Command) -> std::io::Result<Guarded> {
        let child = command.spawn()?;
        tell(&format!("+ {}", child.id()));
        Ok(Guarded { child, reaped: false })
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, once it has ended.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        let status = self.child.try_wait().ok().flatten();
        if status.is_some() && !self.reaped {
            // The pid may belong to somebody else from now on.
            self.reaped = true;
            tell(&format!("- {}", self.child.id()));
        }
        status
    }

    pub fn signal(&mut self, signal: rustix::process::Signal) {
        if self.ended().is_none()
            && let Some(pid) = rustix::process::Pid::from_raw(self.child.id() as i32)
        {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.ended();
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Has `dir` removed when this process ends.
pub fn remove_at_end(dir: &Path) {
    tell(&format!("d {}", dir.display()));
}
