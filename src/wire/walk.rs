//! A resumable walk over one message body, driven by a [`layout`](super::layout).
//!
//! The walker is given bytes as they arrive, in any cut, and tells a [`Visitor`] about the fields
//! that the layout marks. It asks for contiguous bytes only where a marked unit needs them (a
//! partition's fixed fields, a topic name); records, unmarked fields and tags' contents flow past.
//! What a visitor changes keeps its length. Every length and count is checked against what is left
//! of the frame, so a frame that the walker accepts cannot make a decoder allocate beyond it.

mod at_once;

use thiserror::Error;

use super::varint::{self, Uvarint};
#[cfg(test)]
pub use at_once::FRONTS;
pub use at_once::{front, whole};

/// Names a field to its visitor; [`Mark::NONE`] means that nobody looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(pub u8);

impl Mark {
    pub const NONE: Mark = Mark(0);
}

/// One step of a layout. What nests stands flat behind what opens it: a walk is a counter and no recursion.
#[derive(Debug)]
pub enum Op {
    /// Neighbouring fields of fixed size, as one unit of `len` bytes.
    Fixed { mark: Mark, len: usize },
    /// STRING or COMPACT_STRING, nullable or not.
    Str { mark: Mark, compact: bool },
    /// BYTES, RECORDS or their compact forms: the length and the first `peek` bytes are shown.
    Blob { mark: Mark, compact: bool, peek: usize },
    /// ARRAY or COMPACT_ARRAY; no element is shorter than `min` bytes. An element's fields are the next `body` steps; an
    /// [`End`](Op::End) follows them.
    Array { mark: Mark, compact: bool, min: usize, body: usize },
    /// A struct behind an int8 that is negative for null, in `body` steps and an [`End`](Op::End). Its visitor hears of an
    /// array of one.
    Nullable { mark: Mark, body: usize },
    /// Tagged fields; contents are skipped.
    Tags { mark: Mark },
    /// An element of `body` steps is over.
    End { mark: Mark, body: usize },
}

/// The fields of one level, each with the steps of what is in it.
pub fn fields(ops: &[Op]) -> impl Iterator<Item = (&Op, &[Op])> {
    let mut rest = ops;
    std::iter::from_fn(move || {
        let (op, behind) = rest.split_first()?;
        let (inside, over) = match op {
            Op::Array { body, .. } | Op::Nullable { body, .. } => (*body, body + 1),
            _ => (0, 0),
        };
        rest = behind.get(over..)?;
        Some((op, behind.get(..inside)?))
    })
}

/// What becomes of a tag's or an array's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Keep,
    /// A tag: give it a number that no client knows and blank its content. An array at the end of
    /// a flexible message: make it empty and blank the rest as the content of such a tag. Both
    /// keep the length.
    Hide,
}

/// A tag number that no message uses (specs count up from 0).
const UNKNOWN_TAG: u8 = 0x7f;

/// Hears of marked fields. Offsets count from the start of the frame.
pub trait Visitor {
    fn fixed(&mut self, _mark: Mark, _at: usize, _bytes: &mut [u8]) {}
    /// `at` is where the length stands, `value` is `None` for null.
    fn string(&mut self, _mark: Mark, _at: usize, _value: Option<&[u8]>) {}
    /// `len` is `None` for null; `length` are the bytes of the length itself.
    fn blob(&mut self, _mark: Mark, _at: usize, _len: Option<usize>, _length: &mut [u8], _peek: &[u8]) {}
    fn array(&mut self, _mark: Mark, _at: usize, _count: Option<usize>) -> Action {
        Action::Keep
    }
    /// An element of the array with this mark has ended.
    fn element_end(&mut self, _mark: Mark) {}
    /// `at` is where the tag's number stands, `content` where its content starts.
    fn tag(&mut self, _mark: Mark, _at: usize, _tag: u32, _content: usize, _size: usize) -> Action {
        Action::Keep
    }
}

/// A visitor that looks at nothing: the walk alone is a check.
pub struct Nobody;
impl Visitor for Nobody {}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WalkError {
    #[error("a length or count at byte {0} exceeds the frame or is negative")]
    Length(usize),
    #[error("the frame ends at byte {0}, in the middle of a field")]
    Short(usize),
    #[error("bytes are left over from byte {0} on")]
    Trailing(usize),
}

/// How far a step came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are finished with, from the start of what was given.
    pub consumed: usize,
    /// `None`: the walk is done. Else so many bytes after `consumed` must be there to go on.
    pub need: Option<usize>,
}

/// Longest STRING that Kafka writes.
const MAX_STRING: usize = i16::MAX as usize;
/// Arrays nest at most four deep in the messages that have layouts.
const DEPTH: usize = 6;

#[derive(Debug, Clone)]
pub struct Walker {
    ops: &'static [Op],
    /// The step that is next.
    pc: usize,
    /// Of each open array the elements still to come after this one.
    after: [usize; DEPTH],
    depth: usize,
    /// Tags still to come in the section that is being read.
    tags: Option<u32>,
    skip: usize,
    blank: bool,
    at: usize,
    end: usize,
}

enum Unit {
    /// Taken; so many bytes.
    Took(usize),
    Need(usize),
}

impl Walker {
    /// A walk over the body that starts at `body` of a frame of `end` bytes.
    pub fn new(layout: &'static [Op], body: usize, end: usize) -> Walker {
        let (skip, at) = (0, body);
        Walker { ops: layout, pc: 0, after: [0; DEPTH], depth: 0, tags: None, skip, blank: false, at, end }
    }

    /// Bytes that flow past before the next decision; the caller may move them without a look,
    /// unless they are being blanked.
    pub fn passing(&self) -> usize {
        if self.blank { 0 } else { self.skip }
    }

    /// Says that `n` of the [`passing`](Self::passing) bytes went by another way.
    pub fn passed(&mut self, n: usize) {
        self.skip -= n.min(self.skip);
        self.at += n;
    }

    /// Offset in the frame of the next byte.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Walks on over `buf`, whose first byte is at [`at`](Self::at).
    pub fn step<V: Visitor + ?Sized>(&mut self, buf: &mut [u8], visitor: &mut V) -> Result<Progress, WalkError> {
        let usable = buf.len().min(self.end.saturating_sub(self.at));
        let Some(buf) = buf.get_mut(..usable) else {
            return Err(WalkError::Short(self.at));
        };
        let mut pos = 0;
        loop {
            if self.skip > 0 {
                let n = self.skip.min(buf.len() - pos);
                if self.blank
                    && let Some(hidden) = buf.get_mut(pos..pos + n)
                {
                    hidden.fill(0);
                }
                self.skip -= n;
                self.at += n;
                pos += n;
                if self.skip > 0 {
                    return self.wait(pos, self.skip.min(1));
                }
                self.blank = false;
            }
            let (Some(op), Some(rest)) = (self.ops.get(self.pc), buf.get_mut(pos..)) else {
                return if self.at == self.end {
                    Ok(Progress { consumed: pos, need: None })
                } else {
                    Err(WalkError::Trailing(self.at))
                };
            };
            match self.unit(op, rest, visitor)? {
                Unit::Took(n) => {
                    self.at += n;
                    pos += n;
                }
                Unit::Need(need) => return self.wait(pos, need),
            }
        }
    }

    fn wait(&self, consumed: usize, need: usize) -> Result<Progress, WalkError> {
        if need > self.end.saturating_sub(self.at) {
            return Err(WalkError::Short(self.end));
        }
        Ok(Progress { consumed, need: Some(need) })
    }

    /// Bytes of the frame from here on.
    pub fn left(&self) -> usize {
        self.end.saturating_sub(self.at)
    }

    fn unit<V: Visitor + ?Sized>(&mut self, op: &'static Op, buf: &mut [u8], v: &mut V) -> Result<Unit, WalkError> {
        match op {
            Op::Fixed { mark: Mark::NONE, len } => {
                self.pc += 1;
                self.pass(0, *len)
            }
            Op::Fixed { mark, len } => {
                let Some(bytes) = buf.get_mut(..*len) else {
                    return Ok(Unit::Need(*len));
                };
                v.fixed(*mark, self.at, bytes);
                self.pc += 1;
                Ok(Unit::Took(*len))
            }
            Op::Str { mark, compact } => self.string(buf, *mark, *compact, v),
            Op::Blob { mark, compact, peek } => self.blob(buf, *mark, *compact, *peek, v),
            Op::Array { mark, compact, min, body } => self.array(buf, *mark, *compact, *min, *body, v),
            Op::Nullable { mark, body } => {
                let Some(presence) = buf.first() else {
                    return Ok(Unit::Need(1));
                };
                let count = (presence.cast_signed() >= 0).then_some(1);
                if *mark != Mark::NONE {
                    v.array(*mark, self.at, count);
                }
                self.open(count.unwrap_or(0), *body)?;
                Ok(Unit::Took(1))
            }
            Op::Tags { mark } => self.tags(buf, *mark, v),
            Op::End { mark, body } => {
                match self.depth.checked_sub(1).and_then(|d| self.after.get_mut(d)) {
                    Some(after) if *after > 0 => {
                        *after -= 1;
                        self.pc -= body;
                    }
                    _ => {
                        self.depth = self.depth.saturating_sub(1);
                        self.pc += 1;
                    }
                }
                if *mark != Mark::NONE {
                    v.element_end(*mark);
                }
                Ok(Unit::Took(0))
            }
        }
    }

    /// Goes on with the first of so many elements, or behind them.
    fn open(&mut self, elements: usize, body: usize) -> Result<(), WalkError> {
        let Some(after) = elements.checked_sub(1) else {
            self.pc += body + 2;
            return Ok(());
        };
        *self.after.get_mut(self.depth).ok_or(WalkError::Length(self.at))? = after;
        self.depth += 1;
        self.pc += 1;
        Ok(())
    }

    /// Takes `taken` bytes now and lets `n` more flow past.
    fn pass(&mut self, taken: usize, n: usize) -> Result<Unit, WalkError> {
        if n > self.left() - taken.min(self.left()) {
            return Err(WalkError::Length(self.at));
        }
        self.skip = n;
        Ok(Unit::Took(taken))
    }

    /// A count or length at the start of `buf`: `(value, bytes)`; `None` for null.
    fn length(
        &self,
        buf: &[u8],
        compact: bool,
        narrow: bool,
    ) -> Result<Result<(Option<usize>, usize), usize>, WalkError> {
        if compact {
            return match varint::read(buf) {
                Uvarint::Value(v, n) => Ok(Ok(((v as usize).checked_sub(1), n))),
                Uvarint::Incomplete => Ok(Err(buf.len() + 1)),
                Uvarint::Invalid => Err(WalkError::Length(self.at)),
            };
        }
        let (value, n) = if narrow {
            let Some(b) = buf.first_chunk::<2>() else {
                return Ok(Err(2));
            };
            (i32::from(i16::from_be_bytes(*b)), 2)
        } else {
            let Some(b) = buf.first_chunk::<4>() else {
                return Ok(Err(4));
            };
            (i32::from_be_bytes(*b), 4)
        };
        match value {
            -1 => Ok(Ok((None, n))),
            v => usize::try_from(v).map(|v| Ok((Some(v), n))).map_err(|_| WalkError::Length(self.at)),
        }
    }

    fn string<V: Visitor + ?Sized>(
        &mut self,
        buf: &mut [u8],
        mark: Mark,
        compact: bool,
        v: &mut V,
    ) -> Result<Unit, WalkError> {
        let (len, n) = match self.length(buf, compact, true)? {
            Ok(found) => found,
            Err(need) => return Ok(Unit::Need(need)),
        };
        let size = len.unwrap_or(0);
        if size > MAX_STRING || n + size > self.left() {
            return Err(WalkError::Length(self.at));
        }
        if mark == Mark::NONE {
            self.pc += 1;
            return self.pass(n, size);
        }
        let Some(bytes) = buf.get(n..n + size) else {
            return Ok(Unit::Need(n + size));
        };
        v.string(mark, self.at, len.map(|_| bytes));
        self.pc += 1;
        Ok(Unit::Took(n + size))
    }

    fn blob<V: Visitor + ?Sized>(
        &mut self,
        buf: &mut [u8],
        mark: Mark,
        compact: bool,
        peek: usize,
        v: &mut V,
    ) -> Result<Unit, WalkError> {
        let (len, n) = match self.length(buf, compact, false)? {
            Ok(found) => found,
            Err(need) => return Ok(Unit::Need(need)),
        };
        let size = len.unwrap_or(0);
        let shown = peek.min(size);
        if n + size > self.left() {
            return Err(WalkError::Length(self.at));
        }
        if mark != Mark::NONE {
            let Some((length, rest)) = buf.get_mut(..n + shown).map(|b| b.split_at_mut(n)) else {
                return Ok(Unit::Need(n + shown));
            };
            v.blob(mark, self.at, len, length, rest);
        }
        self.pc += 1;
        self.pass(n, size)
    }

    fn array<V: Visitor + ?Sized>(
        &mut self,
        buf: &mut [u8],
        mark: Mark,
        compact: bool,
        min: usize,
        body: usize,
        v: &mut V,
    ) -> Result<Unit, WalkError> {
        let (count, n) = match self.length(buf, compact, false)? {
            Ok(found) => found,
            Err(need) => return Ok(Unit::Need(need)),
        };
        let elements = count.unwrap_or(0);
        let least = elements.checked_mul(min).and_then(|b| b.checked_add(n));
        if least.is_none_or(|least| least > self.left()) {
            return Err(WalkError::Length(self.at));
        }
        if mark != Mark::NONE && elements > 0 {
            // Hiding writes up to 8 bytes; an array that can be hidden is longer than that.
            let room = self.left().min(8);
            if buf.len() < room {
                return Ok(Unit::Need(room));
            }
            if v.array(mark, self.at, count) == Action::Hide && compact {
                return self.hide_rest(buf);
            }
        } else if mark != Mark::NONE {
            v.array(mark, self.at, count);
        }
        if body == 1
            && let Some(Op::Fixed { mark: Mark::NONE, len }) = self.ops.get(self.pc + 1)
        {
            self.pc += body + 2;
            return self.pass(n, elements * len);
        }
        self.open(elements, body)?;
        Ok(Unit::Took(n))
    }

    /// Turns everything from here to the end of the frame into an empty array and one unknown tag.
    fn hide_rest(&mut self, buf: &mut [u8]) -> Result<Unit, WalkError> {
        // 1 array + 1 number of tags + 1 tag + k size + content = left
        let left = self.left();
        let k = (1..=varint::MAX_LEN)
            .find(|k| left.checked_sub(3 + k).is_some_and(|size| varint::len(size as u32) <= *k))
            .ok_or(WalkError::Length(self.at))?;
        let size = left - 3 - k;
        let Some(head) = buf.get_mut(..3 + k) else {
            return Ok(Unit::Need(3 + k));
        };
        head.copy_from_slice(&[1, 1, UNKNOWN_TAG, 0, 0, 0, 0, 0][..3 + k]);
        if let Some(number) = head.get_mut(3..) {
            varint::write_padded(number, size as u32);
        }
        self.pc = self.ops.len();
        self.blank = size > 0;
        self.skip = size;
        Ok(Unit::Took(3 + k))
    }

    fn tags<V: Visitor + ?Sized>(&mut self, buf: &mut [u8], mark: Mark, v: &mut V) -> Result<Unit, WalkError> {
        let number = |at: usize, buf: &[u8]| match varint::read(buf) {
            Uvarint::Value(v, n) => Ok(Ok((v, n))),
            Uvarint::Incomplete => Ok(Err(buf.len() + 1)),
            Uvarint::Invalid => Err(WalkError::Length(at)),
        };
        let Some(left) = self.tags else {
            let (count, n) = match number(self.at, buf)? {
                Ok(found) => found,
                Err(need) => return Ok(Unit::Need(need)),
            };
            if count as usize > self.left() {
                return Err(WalkError::Length(self.at));
            }
            if count == 0 {
                self.pc += 1;
            } else {
                self.tags = Some(count);
            }
            return Ok(Unit::Took(n));
        };
        let (tag, a) = match number(self.at, buf)? {
            Ok(found) => found,
            Err(need) => return Ok(Unit::Need(need)),
        };
        let (size, b) = match number(self.at + a, buf.get(a..).unwrap_or_default())? {
            Ok(found) => found,
            Err(need) => return Ok(Unit::Need(a + need)),
        };
        let size = size as usize;
        if a + b + size > self.left() {
            return Err(WalkError::Length(self.at));
        }
        if mark != Mark::NONE && v.tag(mark, self.at, tag, self.at + a + b, size) == Action::Hide {
            // A number may be written in more bytes than it needs.
            if let Some(number) = buf.get_mut(..a) {
                varint::write_padded(number, u32::from(UNKNOWN_TAG));
            }
            self.blank = size > 0;
        }
        self.tags = (left > 1).then(|| left - 1);
        if left == 1 {
            self.pc += 1;
        }
        self.pass(a + b, size)
    }
}
