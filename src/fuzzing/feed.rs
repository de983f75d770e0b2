//! The fuzzer's bytes, taken one after the other as decisions. Where they are used up everything is
//! 0, which is always the plainest choice: short inputs mean ordinary conversations.

#[derive(Debug, Clone)]
pub struct Feed<'a>(&'a [u8]);

impl<'a> Feed<'a> {
    pub fn new(bytes: &'a [u8]) -> Feed<'a> {
        Feed(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    /// Little endian.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// At most `n` bytes.
    pub fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A piece whose length stands before it, in one byte.
    pub fn piece(&mut self) -> &'a [u8] {
        let n = self.byte();
        self.bytes(n.into())
    }

    /// A piece whose length stands before it, in two bytes.
    pub fn long_piece(&mut self) -> &'a [u8] {
        let n = self.u16();
        self.bytes(n.into())
    }

    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub fn pick<'b, T>(&mut self, from: &'b [T]) -> &'b T {
        &from[usize::from(self.byte()) % from.len()]
    }
}
