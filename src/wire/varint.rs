//! UVARINT: 7 bits per byte, least significant group first, at most 5 bytes (KIP-482).

/// The longest encoding of a 32-bit value.
pub const MAX_LEN: usize = 5;

/// What a prefix of bytes says about the number that starts there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uvarint {
    /// The value and how many bytes it takes.
    Value(u32, usize),
    /// The bytes end before the number does.
    Incomplete,
    /// Longer than 5 bytes, or over 32 bits.
    Invalid,
}

/// Reads the number at the start of `buf`.
pub fn read(buf: &[u8]) -> Uvarint {
    let mut value: u64 = 0;
    for (i, byte) in buf.iter().take(MAX_LEN).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return match u32::try_from(value) {
                Ok(v) => Uvarint::Value(v, i + 1),
                Err(_) => Uvarint::Invalid,
            };
        }
    }
    if buf.len() >= MAX_LEN { Uvarint::Invalid } else { Uvarint::Incomplete }
}

/// Bytes of the shortest encoding.
pub fn len(value: u32) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        0x20_0000..=0xfff_ffff => 4,
        _ => 5,
    }
}

/// Appends the shortest encoding.
pub fn write(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Fills `out` with an encoding of exactly its length; readers accept leading groups of zero.
/// The caller makes sure that the value fits (`len(value) <= out.len() <= 5`).
pub fn write_padded(out: &mut [u8], mut value: u32) {
    let last = out.len().saturating_sub(1);
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = (value as u8 & 0x7f) | if i < last { 0x80 } else { 0 };
        value >>= 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_knows_its_length() {
        for v in [0, 1, 127, 128, 300, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455, 268_435_456, u32::MAX] {
            let mut out = Vec::new();
            write(&mut out, v);
            assert_eq!(out.len(), len(v));
            assert_eq!(read(&out), Uvarint::Value(v, out.len()));
            for cut in 0..out.len() {
                assert_eq!(read(&out[..cut]), Uvarint::Incomplete);
            }
            for n in out.len()..=MAX_LEN {
                let mut padded = vec![0; n];
                write_padded(&mut padded, v);
                assert_eq!(read(&padded), Uvarint::Value(v, n));
            }
        }
    }

    #[test]
    fn refuses_what_is_too_long() {
        assert_eq!(read(&[0x80, 0x80, 0x80, 0x80, 0x80]), Uvarint::Invalid);
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x7f]), Uvarint::Invalid);
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Uvarint::Value(u32::MAX, 5));
    }
}
