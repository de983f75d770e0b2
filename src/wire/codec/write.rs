//! Writes message bodies, plain or flexible (KIP-482).

use super::super::varint;

/// A body that grows.
#[derive(Debug)]
pub(crate) struct Out {
    pub bytes: Vec<u8>,
    flexible: bool,
}

impl Out {
    pub fn new(flexible: bool) -> Out {
        Out { bytes: Vec::with_capacity(256), flexible }
    }

    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub fn i8(&mut self, v: i8) -> &mut Self {
        self.raw(&v.to_be_bytes())
    }

    pub fn i16(&mut self, v: i16) -> &mut Self {
        self.raw(&v.to_be_bytes())
    }

    pub fn i32(&mut self, v: i32) -> &mut Self {
        self.raw(&v.to_be_bytes())
    }

    pub fn i64(&mut self, v: i64) -> &mut Self {
        self.raw(&v.to_be_bytes())
    }

    /// At most 32767 bytes: what came from a frame is no longer.
    pub fn string(&mut self, v: Option<&str>) -> &mut Self {
        match (v, self.flexible) {
            (None, true) => self.raw(&[0]),
            (None, false) => self.i16(-1),
            (Some(v), true) => {
                varint::write(&mut self.bytes, v.len() as u32 + 1);
                self.raw(v.as_bytes())
            }
            (Some(v), false) => self.i16(v.len() as i16).raw(v.as_bytes()),
        }
    }

    pub fn array<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, &T)) -> &mut Self {
        if self.flexible {
            varint::write(&mut self.bytes, items.len() as u32 + 1);
        } else {
            self.i32(items.len() as i32);
        }
        for item in items {
            each(self, item);
        }
        self
    }

    /// No tagged fields.
    pub fn tags(&mut self) -> &mut Self {
        if self.flexible { self.raw(&[0]) } else { self }
    }
}
