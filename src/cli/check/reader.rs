//! Reading a few old, fixed Kafka structures, with every bound checked.

/// The answer is not what it should be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Garbled;

pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Garbled> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Garbled)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Garbled> {
        self.take(N)?.try_into().map_err(|_| Garbled)
    }

    pub(super) fn i16(&mut self) -> Result<i16, Garbled> {
        self.array().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Garbled> {
        self.array().map(i32::from_be_bytes)
    }

    /// The number of elements that follow; each takes at least `least` bytes, so that a bogus
    /// number is known before anything is made for it.
    pub(super) fn count(&mut self, least: usize) -> Result<usize, Garbled> {
        let count = usize::try_from(self.i32()?).map_err(|_| Garbled)?;
        if count.checked_mul(least).is_none_or(|n| n > self.rest.len()) {
            return Err(Garbled);
        }
        Ok(count)
    }

    pub(super) fn text(&mut self) -> Result<String, Garbled> {
        self.nullable_text()?.ok_or(Garbled)
    }

    pub(super) fn nullable_text(&mut self) -> Result<Option<String>, Garbled> {
        match self.i16()? {
            -1 => Ok(None),
            length => {
                let bytes = self.take(usize::try_from(length).map_err(|_| Garbled)?)?;
                let text = std::str::from_utf8(bytes).map_err(|_| Garbled)?;
                Ok(Some(text.to_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_checked() {
        let mut reader = Reader::new(&[0, 2, b'a', b'b', 0xff, 0xff, 0, 3, b'c']);
        assert_eq!(reader.text(), Ok("ab".to_owned()));
        assert_eq!(reader.nullable_text(), Ok(None));
        assert_eq!(reader.text(), Err(Garbled));
        assert_eq!(Reader::new(&[0x7f, 0xff, 0xff, 0xff, 0]).count(1), Err(Garbled));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff]).count(1), Err(Garbled));
        assert_eq!(Reader::new(&[0, 0, 0, 0]).count(9), Ok(0));
        assert_eq!(Reader::new(&[1]).i32(), Err(Garbled));
    }
}
