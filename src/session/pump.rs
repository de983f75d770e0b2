//! One direction: its window, and what goes out before the window's own bytes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncWrite, ReadBuf};

use tokio::net::TcpStream;

use super::bulk::{Bulk, Filled, Socket, WORTH};
use super::limits::Account;
use super::window::{WINDOW, Window};

/// Above this what stands before the window is written before more is put there.
const SIDE: usize = 4 * WINDOW;

#[derive(Debug, Default)]
pub struct Pump {
    pub window: Window,
    /// Written before the window's output: rewritten frames, injected requests, local answers.
    side: Vec<u8>,
    side_at: usize,
    /// Written before the side and the window: they are filled only when it is empty.
    bulk: Bulk,
    /// The sender has finished.
    pub eof: bool,
    account: Account,
    /// There was no room to read into: it is to be tried again.
    starved: bool,
    privileged: bool,
    unflushed: bool,
    written: u64,
}

impl Pump {
    /// One whose buffers are counted.
    pub fn new(account: Account) -> Pump {
        Pump { account, ..Pump::default() }
    }

    /// Makes sure that a window of `capacity` is counted before it is filled. `false`: there is no room.
    pub fn reserve(&mut self, capacity: usize) -> bool {
        self.account.reserve(capacity.max(self.window.capacity()) + self.side.capacity())
    }

    /// At the end of a round of work: counts what stays, and `more` that belongs to it. How much it is.
    pub fn settle(&mut self, more: usize) -> u64 {
        self.account.settle(self.window.capacity() + self.side.capacity() + self.bulk.inside() + more);
        self.account.taken()
    }

    /// From here on it reads whatever the budget says: what it has to finish sets others free.
    pub fn never_starves(&mut self) {
        self.privileged = true;
    }

    /// There was no room to read into since the last [`take_starved`](Self::take_starved).
    pub fn is_starved(&self) -> bool {
        self.starved
    }

    /// Whether there was no room to read into since the last call.
    pub fn take_starved(&mut self) -> bool {
        std::mem::take(&mut self.starved)
    }

    /// More may be put before the window's bytes.
    pub fn takes_more(&self) -> bool {
        self.side.len() - self.side_at < SIDE
    }

    /// Bytes written since the last call, also by rounds that did not come to their end.
    pub fn take_written(&mut self) -> u64 {
        std::mem::take(&mut self.written)
    }

    /// Puts `bytes` behind everything that is to be written.
    pub fn insert(&mut self, bytes: &[u8]) {
        let output = self.window.output().len();
        if output > 0 {
            self.side.extend_from_slice(self.window.output());
            self.window.wrote(output);
        }
        self.side.extend_from_slice(bytes);
    }

    /// Replaces the next `n` undecided bytes.
    pub fn replace(&mut self, n: usize, bytes: &[u8]) {
        self.insert(bytes);
        self.window.discard(n);
        // The frame is in memory once, not twice, while it is written.
        self.rest_if_large();
    }

    /// Drops what has been read and not been decided upon.
    pub fn drop_undecided(&mut self) {
        let undecided = self.window.undecided().len();
        self.replace(undecided, &[]);
    }

    /// Drops what is to be written: nobody is there to read it.
    pub fn drop_output(&mut self) {
        let output = self.window.output().len();
        self.window.wrote(output);
        self.side = Vec::new();
        self.side_at = 0;
        self.bulk = Bulk::default();
        self.unflushed = false;
        self.window.rest();
    }

    pub fn has_output(&self) -> bool {
        self.bulk.inside() > 0 || self.side_at < self.side.len() || !self.window.output().is_empty()
    }

    /// Something is to be written, or flushed.
    pub fn wants_drain(&self) -> bool {
        self.unflushed || self.has_output()
    }

    /// Nothing is held: what was read has been decided upon, written and flushed.
    pub fn is_empty(&self) -> bool {
        !self.has_output() && !self.unflushed && self.window.undecided().is_empty()
    }

    /// Writes what has gone past the window, to the same socket that [`poll_drain`](Self::poll_drain) writes to.
    pub fn poll_bulk(&mut self, to: Option<&TcpStream>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while self.bulk.inside() > 0
            && let Some(to) = to
        {
            self.written += ready!(self.bulk.poll_drain(to, cx))? as u64;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once, past the window where it is worth it: `passing` bytes go on whatever they are, and where they go is a plain
    /// socket too. `likely`: there is probably something. How many, and whether they went past; 0: the sender has finished.
    pub fn poll_read(
        &mut self,
        io: &mut impl Socket,
        passing: usize,
        likely: bool,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<(usize, bool)>> {
        if passing >= WORTH
            && let Some(tcp) = io.plain()
            && let Some(n) = ready!(self.poll_past(tcp, passing, cx))?
        {
            return Poll::Ready(Ok((n, true)));
        }
        self.poll_fill(io, likely, cx).map_ok(|n| (n, false))
    }

    /// Reads once past the window: at most `limit` bytes, which pass whatever they are. `None`: they must go through the
    /// window. `Some(0)`: the sender has finished.
    fn poll_past(
        &mut self,
        from: &TcpStream,
        limit: usize,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<Option<usize>>> {
        if self.has_output() || !self.window.undecided().is_empty() {
            return Poll::Ready(Ok(None));
        }
        if !self.privileged && !self.account.has_room() {
            self.starved = true;
            return Poll::Pending;
        }
        match ready!(self.bulk.poll_fill(from, limit, cx))? {
            Filled::Unable => Poll::Ready(Ok(None)),
            Filled::Read(n) => {
                self.eof = n == 0;
                Poll::Ready(Ok(Some(n)))
            }
        }
    }

    /// Writes until nothing is left, then flushes.
    pub fn poll_drain(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        loop {
            let side = self.side.get(self.side_at..).unwrap_or_default();
            let (bytes, is_side) = if side.is_empty() { (self.window.output(), false) } else { (side, true) };
            if bytes.is_empty() {
                break;
            }
            let n = ready!(Pin::new(&mut *io).poll_write(cx, bytes))?;
            if n == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            if is_side {
                self.side_at += n
            } else {
                self.window.wrote(n)
            }
            self.written += n as u64;
            self.unflushed = true;
        }
        if self.side_at > 0 {
            self.side_at = 0;
            self.side = Vec::new();
        }
        if self.unflushed {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.unflushed = false;
        }
        self.window.rest();
        Poll::Ready(Ok(()))
    }

    fn rest_if_large(&mut self) {
        if self.window.capacity() > WINDOW {
            self.window.rest();
        }
    }

    /// Reads once. `Ok(0)`: the sender has finished. Without room in the budget nothing is read.
    pub fn poll_fill(
        &mut self,
        io: &mut impl Socket,
        likely: bool,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<usize>> {
        if self.window.is_at_rest() {
            if !self.privileged && !self.account.has_room() {
                self.starved = true;
                return Poll::Pending;
            }
            // Nobody takes a window for nothing.
            if !likely && let Some(tcp) = io.plain() {
                ready!(tcp.poll_read_ready(cx))?;
            }
        }
        let mut buf = ReadBuf::new(self.window.room());
        let outcome = Pin::new(io).poll_read(cx, &mut buf);
        let n = buf.filled().len();
        self.window.filled(n);
        match outcome {
            Poll::Pending => {
                self.window.rest();
                Poll::Pending
            }
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
            Poll::Ready(Ok(())) => {
                self.eof = n == 0;
                if self.eof {
                    self.window.rest();
                }
                Poll::Ready(Ok(n))
            }
        }
    }
}
