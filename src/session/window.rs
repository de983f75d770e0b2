//! The bytes of one direction between reading and writing.
//!
//! ```text
//!   0        start      ready        end      capacity
//!   | written  | to write | undecided |  room   |
//! ```
//!
//! Bytes are decided upon and changed where they lie, then written from there: nothing is copied.
//! A window is 16 KiB, taken from a pool when bytes arrive and given back when it is empty; it
//! grows only for a frame that must be held whole.

use std::cell::RefCell;

/// Size of a window at rest.
pub const WINDOW: usize = 16 * 1024;

/// Windows kept for reuse.
const POOLED: usize = 32;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug, Default)]
pub struct Window {
    buf: Vec<u8>,
    start: usize,
    ready: usize,
    end: usize,
}

impl Window {
    /// What has been read and not been decided upon.
    pub fn undecided(&self) -> &[u8] {
        self.buf.get(self.ready..self.end).unwrap_or_default()
    }

    pub fn undecided_mut(&mut self) -> &mut [u8] {
        self.buf.get_mut(self.ready..self.end).unwrap_or_default()
    }

    /// Lets the next `n` bytes go.
    pub fn approve(&mut self, n: usize) {
        self.ready = (self.ready + n).min(self.end);
    }

    /// Takes the next `n` bytes out; nothing may be left to write before them.
    pub fn discard(&mut self, n: usize) {
        debug_assert_eq!(self.start, self.ready);
        self.ready = (self.ready + n).min(self.end);
        self.start = self.ready;
    }

    pub fn output(&self) -> &[u8] {
        self.buf.get(self.start..self.ready).unwrap_or_default()
    }

    pub fn wrote(&mut self, n: usize) {
        self.start = (self.start + n).min(self.ready);
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub fn capacity(&self) -> usize {
        self.buf.len()
    }

    /// It holds no memory, and would take some to read into.
    pub fn is_at_rest(&self) -> bool {
        self.buf.is_empty()
    }

    /// Makes sure that `n` undecided bytes fit, growing over [`WINDOW`] if they must.
    pub fn reach(&mut self, n: usize) {
        if self.buf.is_empty() {
            self.buf = take();
        }
        if self.ready + n <= self.buf.len() {
            return;
        }
        self.compact();
        let wanted = self.ready + n;
        if wanted > self.buf.len() {
            // No more than is counted.
            self.buf.reserve_exact(wanted - self.buf.len());
            self.buf.resize(wanted, 0);
        }
    }

    /// Room to read into; at least one byte where the undecided bytes do not fill the window.
    pub fn room(&mut self) -> &mut [u8] {
        if self.buf.is_empty() {
            self.buf = take();
        }
        if self.end == self.buf.len() || self.start == self.end {
            self.compact();
        }
        self.buf.get_mut(self.end..).unwrap_or_default()
    }

    pub fn filled(&mut self, n: usize) {
        self.end = (self.end + n).min(self.buf.len());
    }

    fn compact(&mut self) {
        if self.start > 0 {
            self.buf.copy_within(self.start..self.end, 0);
            self.ready -= self.start;
            self.end -= self.start;
            self.start = 0;
        }
    }

    /// An empty window holds no memory.
    pub fn rest(&mut self) {
        if self.is_empty() && !self.buf.is_empty() {
            give(std::mem::take(&mut self.buf));
            (self.start, self.ready, self.end) = (0, 0, 0);
        }
    }
}

fn take() -> Vec<u8> {
    POOL.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; WINDOW])
}

fn give(buf: Vec<u8>) {
    if buf.len() == WINDOW {
        POOL.with_borrow_mut(|pool| {
            if pool.len() < POOLED {
                pool.push(buf);
            }
        });
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        give(std::mem::take(&mut self.buf));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(w: &mut Window, bytes: &[u8]) {
        let room = w.room();
        room[..bytes.len()].copy_from_slice(bytes);
        w.filled(bytes.len());
    }

    #[test]
    fn keeps_order_through_growth_and_rest() {
        let mut w = Window::default();
        put(&mut w, b"abcdef");
        w.approve(2);
        w.wrote(1);
        w.reach(WINDOW + 10);
        assert_eq!((w.output(), w.undecided()), (&b"b"[..], &b"cdef"[..]));
        assert!(w.capacity() > WINDOW);
        w.wrote(1);
        w.discard(4);
        w.rest();
        assert_eq!((w.capacity(), w.is_empty()), (0, true));
    }
}
