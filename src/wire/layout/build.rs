//! Writes layouts down in the order of the fields.

use super::super::walk::{self, Mark, Op};

pub(super) struct Build {
    ops: Vec<Op>,
    flexible: bool,
}

impl Build {
    pub fn new(flexible: bool) -> Build {
        Build { ops: Vec::new(), flexible }
    }

    pub fn finish(self) -> Vec<Op> {
        self.ops
    }

    /// `len` bytes of fixed-size fields that somebody looks at together.
    pub fn fixed(&mut self, mark: Mark, len: usize) -> &mut Self {
        self.ops.push(Op::Fixed { mark, len });
        self
    }

    /// `len` bytes of fixed-size fields that nobody looks at; neighbours become one.
    pub fn skip(&mut self, len: usize) -> &mut Self {
        match self.ops.last_mut() {
            Some(Op::Fixed { mark: Mark::NONE, len: before }) => *before += len,
            _ if len > 0 => self.ops.push(Op::Fixed { mark: Mark::NONE, len }),
            _ => {}
        }
        self
    }

    pub fn string(&mut self, mark: Mark) -> &mut Self {
        self.ops.push(Op::Str { mark, compact: self.flexible });
        self
    }

    pub fn blob(&mut self, mark: Mark, peek: usize) -> &mut Self {
        self.ops.push(Op::Blob { mark, compact: self.flexible, peek });
        self
    }

    pub fn array(&mut self, mark: Mark, element: impl FnOnce(&mut Build)) -> &mut Self {
        let mut b = Build::new(self.flexible);
        element(&mut b);
        // At least one byte an element, or a count could stand for nothing.
        let min = walk::fields(&b.ops).map(|(op, _)| least(op)).sum::<usize>().max(1);
        let body = b.ops.len();
        self.nest(Op::Array { mark, compact: self.flexible, min, body }, b, mark)
    }

    pub fn nullable(&mut self, mark: Mark, content: impl FnOnce(&mut Build)) -> &mut Self {
        let mut b = Build::new(self.flexible);
        content(&mut b);
        let body = b.ops.len();
        self.nest(Op::Nullable { mark, body }, b, mark)
    }

    fn nest(&mut self, open: Op, inside: Build, mark: Mark) -> &mut Self {
        let body = inside.ops.len();
        self.ops.push(open);
        self.ops.extend(inside.ops);
        self.ops.push(Op::End { mark, body });
        self
    }

    /// An array of int32 that nobody looks at.
    pub fn ints(&mut self) -> &mut Self {
        self.array(Mark::NONE, |b| {
            b.skip(4);
        })
    }

    /// The tagged fields that end each struct of a flexible version; nothing in others.
    pub fn tags(&mut self) -> &mut Self {
        self.marked_tags(Mark::NONE)
    }

    pub fn marked_tags(&mut self, mark: Mark) -> &mut Self {
        if self.flexible {
            self.ops.push(Op::Tags { mark });
        }
        self
    }
}

/// The fewest bytes that a field can take.
fn least(op: &Op) -> usize {
    match op {
        Op::Fixed { len, .. } => *len,
        Op::Str { compact: false, .. } => 2,
        Op::Blob { compact: false, .. } | Op::Array { compact: false, .. } => 4,
        Op::Str { .. } | Op::Blob { .. } | Op::Array { .. } | Op::Tags { .. } | Op::Nullable { .. } => 1,
        Op::End { .. } => 0,
    }
}
