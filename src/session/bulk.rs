//! Bytes that nobody looks at move from socket to socket through a pipe, by splice(2): they are never copied
//! into this process. Linux, plaintext on both sides; everywhere else they go through the window.

use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::core::Core;
use super::request::RequestState;
use super::response::ResponseState;
use crate::tls::Transport;

impl Core {
    /// So many bytes of the request at hand pass, whatever they are.
    pub(super) fn passing_request(&self) -> usize {
        match &self.request {
            RequestState::Pass(left) => *left,
            RequestState::Produce(state) => state.0.passing(),
            RequestState::Fetch(state) => state.0.passing(),
            RequestState::Head | RequestState::Swallow(_) | RequestState::Gather(_) => 0,
        }
    }

    /// `n` of them have gone another way.
    pub(super) fn passed_request(&mut self, n: usize) {
        match &mut self.request {
            RequestState::Pass(left) => *left -= n.min(*left),
            RequestState::Produce(state) => state.0.passed(n),
            RequestState::Fetch(state) => state.0.passed(n),
            RequestState::Head | RequestState::Swallow(_) | RequestState::Gather(_) => {}
        }
    }

    /// So many bytes of the response at hand pass, whatever they are.
    pub(super) fn passing_response(&self) -> usize {
        match &self.response {
            ResponseState::Pass(left) => *left,
            ResponseState::Fetch(state) => state.0.passing(),
            ResponseState::ShareFetch(walker) => walker.passing(),
            ResponseState::Topics(state) => state.0.passing(),
            ResponseState::Head | ResponseState::Swallow(_) => 0,
        }
    }

    /// `n` of them have gone another way.
    pub(super) fn passed_response(&mut self, n: usize) {
        match &mut self.response {
            ResponseState::Pass(left) => *left -= n.min(*left),
            ResponseState::Fetch(state) => state.0.passed(n),
            ResponseState::ShareFetch(walker) => walker.passed(n),
            ResponseState::Topics(state) => state.0.passed(n),
            ResponseState::Head | ResponseState::Swallow(_) => {}
        }
    }
}

/// One side of a connection.
pub trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// The socket itself, where what is written to it is what goes over the wire.
    fn plain(&self) -> Option<&TcpStream> {
        None
    }

    /// Reading waits for nothing but what comes, and writing for nothing but room.
    fn is_split(&self) -> bool {
        self.plain().is_some()
    }
}

impl Socket for Transport {
    fn plain(&self) -> Option<&TcpStream> {
        match self {
            Transport::Plain(tcp) => Some(tcp),
            Transport::Tls(_) => None,
        }
    }
}

#[cfg(test)]
impl Socket for tokio::io::DuplexStream {
    fn is_split(&self) -> bool {
        true
    }
}

#[cfg(test)]
impl Socket for TcpStream {
    fn plain(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

/// From so many bytes on: below, a read and a write of the window cost less.
pub const WORTH: usize = 32 * 1024;

/// What became of an attempt to read into the pipe.
pub enum Filled {
    /// So many bytes; 0: the sender has finished.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    Read(usize),
    /// It cannot be done here, or not now: the window takes them.
    Unable,
}

#[cfg(test)]
thread_local! {
    /// Bytes that have gone past a window.
    pub static MOVED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    /// There are no pipes.
    pub static DENIED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// What is under way in one direction.
#[derive(Debug, Default)]
pub struct Bulk {
    pipe: Option<pipe::Pipe>,
    /// Bytes in the pipe.
    inside: usize,
    /// The system cannot splice these sockets.
    unable: bool,
}

impl Bulk {
    pub fn inside(&self) -> usize {
        self.inside
    }

    /// Reads once, at most `limit` bytes, into an empty pipe.
    pub fn poll_fill(&mut self, from: &TcpStream, limit: usize, cx: &mut Context<'_>) -> Poll<std::io::Result<Filled>> {
        if self.unable || self.inside > 0 {
            return Poll::Ready(Ok(Filled::Unable));
        }
        #[cfg(test)]
        if DENIED.get() {
            return Poll::Ready(Ok(Filled::Unable));
        }
        let Some(pipe) = self.pipe.take().or_else(pipe::take) else {
            return Poll::Ready(Ok(Filled::Unable));
        };
        let filled = pipe.poll_fill(from, limit, cx);
        match &filled {
            Poll::Ready(Ok(Filled::Read(n))) if *n > 0 => {
                self.inside = *n;
                self.pipe = Some(pipe);
                #[cfg(test)]
                MOVED.set(MOVED.get() + n);
            }
            Poll::Ready(Ok(Filled::Unable)) => self.unable = true,
            // Who has nothing in it needs none.
            _ => pipe::give(pipe),
        }
        filled
    }

    /// Writes what is in the pipe; so many bytes at once.
    pub fn poll_drain(&mut self, to: &TcpStream, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        let mut written = 0;
        while self.inside > 0 {
            let Some(pipe) = &self.pipe else { break };
            match pipe.poll_drain(to, self.inside, cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => {
                    self.inside -= n.min(self.inside);
                    written += n;
                }
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                // It is told of what was written even so.
                Poll::Pending if written > 0 => return Poll::Ready(Ok(written)),
                Poll::Pending => return Poll::Pending,
            }
        }
        if let Some(pipe) = self.pipe.take() {
            pipe::give(pipe);
        }
        Poll::Ready(Ok(written))
    }
}

#[cfg(target_os = "linux")]
mod pipe {
    use std::cell::RefCell;
    use std::io;
    use std::os::fd::OwnedFd;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, ready};

    use rustix::pipe::{PipeFlags, SpliceFlags};
    use tokio::io::Interest;
    use tokio::net::TcpStream;

    use super::Filled;

    /// How much one call moves.
    const SIZE: usize = 256 * 1024;
    /// Pipes kept for reuse.
    const POOLED: usize = 8;
    /// All that there may be, each with two descriptors: beyond, slow readers are served through windows.
    const MOST: usize = 1024;

    static PIPES: AtomicUsize = AtomicUsize::new(0);

    thread_local! {
        static POOL: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
    }

    #[derive(Debug)]
    pub struct Pipe {
        out: OwnedFd,
        into: OwnedFd,
    }

    impl Drop for Pipe {
        fn drop(&mut self) {
            PIPES.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// An empty one. `None`: there are enough, or no descriptors.
    pub fn take() -> Option<Pipe> {
        if let Some(pipe) = POOL.with_borrow_mut(Vec::pop) {
            return Some(pipe);
        }
        if PIPES.fetch_add(1, Ordering::Relaxed) >= MOST {
            PIPES.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let Ok((out, into)) = rustix::pipe::pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC) else {
            PIPES.fetch_sub(1, Ordering::Relaxed);
            return None;
        };
        // Where the system grants no more, it moves less at once.
        let _ = rustix::pipe::fcntl_setpipe_size(&into, SIZE);
        Some(Pipe { out, into })
    }

    /// Takes back an empty one.
    pub fn give(pipe: Pipe) {
        POOL.with_borrow_mut(|pool| {
            if pool.len() < POOLED {
                pool.push(pipe);
            }
        });
    }

    const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

    impl Pipe {
        pub fn poll_fill(&self, from: &TcpStream, limit: usize, cx: &mut Context<'_>) -> Poll<io::Result<Filled>> {
            loop {
                ready!(from.poll_read_ready(cx))?;
                let limit = limit.min(SIZE);
                let splice = || Ok(rustix::pipe::splice(from, None, &self.into, None, limit, FLAGS)?);
                match from.try_io(Interest::READABLE, splice) {
                    Ok(n) => return Poll::Ready(Ok(Filled::Read(n))),
                    Err(e) if is_again(&e) => {}
                    Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
                        return Poll::Ready(Ok(Filled::Unable));
                    }
                    Err(e) => return Poll::Ready(Err(e)),
                }
            }
        }

        pub fn poll_drain(&self, to: &TcpStream, inside: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
            loop {
                ready!(to.poll_write_ready(cx))?;
                let splice = || Ok(rustix::pipe::splice(&self.out, None, to, None, inside, FLAGS)?);
                match to.try_io(Interest::WRITABLE, splice) {
                    Err(e) if is_again(&e) => {}
                    outcome => return Poll::Ready(outcome),
                }
            }
        }
    }

    fn is_again(e: &io::Error) -> bool {
        matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
    }
}

#[cfg(not(target_os = "linux"))]
mod pipe {
    use std::io;
    use std::task::{Context, Poll};

    use tokio::net::TcpStream;

    use super::Filled;

    #[derive(Debug)]
    pub enum Pipe {}

    pub fn take() -> Option<Pipe> {
        None
    }

    pub fn give(pipe: Pipe) {
        match pipe {}
    }

    impl Pipe {
        pub fn poll_fill(&self, _: &TcpStream, _: usize, _: &mut Context<'_>) -> Poll<io::Result<Filled>> {
            match *self {}
        }

        pub fn poll_drain(&self, _: &TcpStream, _: usize, _: &mut Context<'_>) -> Poll<io::Result<usize>> {
            match *self {}
        }
    }
}
