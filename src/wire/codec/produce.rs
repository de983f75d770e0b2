//! What stands before the topics of a Produce request (`ProduceRequest.json`).
//!
//! It is read by hand: for two fields of each request of a producer no walk is set up.

use crate::wire::varint::{self, Uvarint};
use crate::wire::walk::WalkError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProduceFront {
    /// There is a transactional id.
    pub transactional: bool,
    pub acks: i16,
}

/// Reads it from a frame of `total` bytes of which `frame` has arrived; `body` is where its body starts.
/// `Ok(Err(n))`: at least `n` bytes of the frame are needed.
pub fn front(frame: &[u8], version: i16, body: usize, total: usize) -> Result<Result<ProduceFront, usize>, WalkError> {
    let frame = frame.get(..total).unwrap_or(frame);
    let left = total.saturating_sub(body);
    let here = frame.get(body..).unwrap_or_default();
    let (id, skipped) = match version {
        ..3 => (None, 0),
        3..9 => match here.first_chunk::<2>().map(|b| i16::from_be_bytes(*b)) {
            None => return needs(body + 2, total),
            Some(-1) => (None, 2),
            Some(len) => (Some(usize::try_from(len).map_err(|_| WalkError::Length(body))?), 2),
        },
        9.. => match varint::read(here) {
            Uvarint::Incomplete => return needs(body + here.len() + 1, total),
            Uvarint::Invalid => return Err(WalkError::Length(body)),
            Uvarint::Value(len, n) => ((len as usize).checked_sub(1), n),
        },
    };
    let size = id.unwrap_or(0);
    if size > i16::MAX as usize || skipped + size > left {
        return Err(WalkError::Length(body));
    }
    let acks = body + skipped + size;
    match frame.get(acks..).and_then(|b| b.first_chunk::<2>()) {
        None => needs(acks + 2, total),
        Some(bytes) => Ok(Ok(ProduceFront { transactional: id.is_some(), acks: i16::from_be_bytes(*bytes) })),
    }
}

fn needs(n: usize, total: usize) -> Result<Result<ProduceFront, usize>, WalkError> {
    if n > total { Err(WalkError::Short(total)) } else { Ok(Err(n)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(version: i16, id: Option<&str>, acks: i16) -> Vec<u8> {
        let mut frame = b"head".to_vec();
        match (version, id) {
            (..3, _) => {}
            (3..9, None) => frame.extend((-1i16).to_be_bytes()),
            (3..9, Some(id)) => frame.extend((id.len() as i16).to_be_bytes()),
            (9.., id) => varint::write(&mut frame, id.map_or(0, |id| id.len() as u32 + 1)),
        }
        if version >= 3 {
            frame.extend(id.unwrap_or_default().as_bytes());
        }
        frame.extend(acks.to_be_bytes());
        frame.extend(b"and so on");
        frame
    }

    #[test]
    fn reads_every_version_at_every_cut() {
        let long = "x".repeat(200);
        for version in 0..14 {
            for id in [None, Some(""), Some("a transaction"), Some(long.as_str())] {
                for acks in [-1, 0, 1] {
                    let frame = frame(version, id, acks);
                    let total = frame.len();
                    let whole = ProduceFront { transactional: version >= 3 && id.is_some(), acks };
                    let ends = total - b"and so on".len();
                    for cut in 4..=total {
                        let read = front(&frame[..cut], version, 4, total).unwrap();
                        match read {
                            Ok(read) => assert!(cut >= ends && read == whole, "{version} {id:?} {cut}: {read:?}"),
                            Err(need) => assert!(cut < need && need <= ends, "{version} {id:?} {cut}: {need}"),
                        }
                    }
                    for short in 4..ends {
                        assert!(front(&frame[..short], version, 4, short).is_err(), "{version} {id:?} {short}");
                    }
                }
            }
        }
    }

    #[test]
    fn refuses_lengths_that_lie() {
        for (version, lie) in
            [(3, &[0x7f, 0xff][..]), (3, &[0xff, 0xfe]), (9, &[0xff, 0xff, 0xff, 0xff, 0x0f]), (9, &[0x80; 5])]
        {
            let frame = [lie, &[0; 20]].concat();
            assert!(front(&frame, version, 0, frame.len()).is_err(), "{version} {lie:?}");
        }
    }
}
