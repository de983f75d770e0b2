//! One direction: its window, and what goes out before the window's own bytes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::limits::Reservation;
use super::window::{WINDOW, Window};

#[derive(Debug, Default)]
pub struct Pump {
    pub window: Window,
    /// Written before the window's output: rewritten frames, injected requests, local answers.
    side: Vec<u8>,
    side_at: usize,
    /// The sender has finished.
    pub eof: bool,
    /// What a window over [`WINDOW`] holds of the memory budget.
    pub reserved: Option<Reservation>,
    unflushed: bool,
    written: u64,
}

impl Pump {
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
        self.unflushed = false;
        self.rest();
    }

    pub fn has_output(&self) -> bool {
        self.side_at < self.side.len() || !self.window.output().is_empty()
    }

    /// Nothing is held: what was read has been decided upon, written and flushed.
    pub fn is_empty(&self) -> bool {
        !self.has_output() && !self.unflushed && self.window.undecided().is_empty()
    }

    /// Bytes held beyond the window.
    pub fn held(&self) -> usize {
        self.side.capacity()
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
        self.rest();
        Poll::Ready(Ok(()))
    }

    fn rest(&mut self) {
        self.window.rest();
        if self.window.capacity() <= WINDOW {
            self.reserved = None;
        }
    }

    /// Reads once. `Ok(0)`: the sender has finished.
    pub fn poll_fill(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<usize>> {
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
                Poll::Ready(Ok(n))
            }
        }
    }
}
