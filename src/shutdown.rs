//! Signals, in one file behind one interface, with a Unix and a Windows form (rule C9).
//!
//! This only says *that* a signal came. What the first and the second stop mean is the app's business.

use std::io;

/// Why kmend runs: decides what SIGHUP means and what is said at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Run,
    Dev,
}

/// What the outside asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// SIGTERM or SIGINT; in `kmend dev` also SIGHUP, because the terminal has gone.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
}

pub use platform::Signals;

#[cfg(unix)]
mod platform {
    use tokio::signal::unix::{Signal, SignalKind, signal};

    use super::{Event, Kind, io};

    /// The signals of this process. From its creation on, none of them ends it by itself.
    #[derive(Debug)]
    pub struct Signals {
        terminate: Signal,
        interrupt: Signal,
        hang_up: Signal,
        kind: Kind,
    }

    impl Signals {
        /// Must be called within the runtime.
        pub fn new(kind: Kind) -> io::Result<Self> {
            Ok(Self {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                hang_up: signal(SignalKind::hangup())?,
                kind,
            })
        }

        /// The next signal; cancel safe.
        pub async fn next(&mut self) -> Event {
            // `recv` ends only with the runtime: then stopping is right.
            tokio::select! {
                _ = self.terminate.recv() => Event::Stop,
                _ = self.interrupt.recv() => Event::Stop,
                _ = self.hang_up.recv() => match self.kind {
                    Kind::Run => Event::Reload,
                    Kind::Dev => Event::Stop,
                },
            }
        }
    }
}

#[cfg(windows)]
mod platform {
    use tokio::signal::windows::{CtrlBreak, CtrlC, CtrlClose, CtrlShutdown};
    use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown};

    use super::{Event, Kind, io};

    /// The console events of this process. There is no reload by signal on Windows.
    #[derive(Debug)]
    pub struct Signals {
        ctrl_c: CtrlC,
        ctrl_break: CtrlBreak,
        close: CtrlClose,
        shutdown: CtrlShutdown,
    }

    impl Signals {
        /// Must be called within the runtime.
        pub fn new(_: Kind) -> io::Result<Self> {
            Ok(Self { ctrl_c: ctrl_c()?, ctrl_break: ctrl_break()?, close: ctrl_close()?, shutdown: ctrl_shutdown()? })
        }

        /// The next event; cancel safe.
        pub async fn next(&mut self) -> Event {
            tokio::select! {
                _ = self.ctrl_c.recv() => {}
                _ = self.ctrl_break.recv() => {}
                _ = self.close.recv() => {}
                _ = self.shutdown.recv() => {}
            }
            Event::Stop
        }
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    async fn next(signals: &mut Signals) -> Event {
        tokio::time::timeout(Duration::from_secs(5), signals.next()).await.unwrap()
    }

    // One test: the signals reach the whole process.
    #[tokio::test]
    async fn each_signal_has_its_meaning() {
        let mut run = Signals::new(Kind::Run).unwrap();
        kill_process(getpid(), Signal::HUP).unwrap();
        assert_eq!(next(&mut run).await, Event::Reload);
        kill_process(getpid(), Signal::TERM).unwrap();
        assert_eq!(next(&mut run).await, Event::Stop);
        let mut dev = Signals::new(Kind::Dev).unwrap();
        kill_process(getpid(), Signal::HUP).unwrap();
        assert_eq!(next(&mut dev).await, Event::Stop);
        kill_process(getpid(), Signal::INT).unwrap();
        assert_eq!(next(&mut dev).await, Event::Stop);
    }
}
