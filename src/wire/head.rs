//! Request and response headers, read in place.

use thiserror::Error;

use super::api::ApiKey;
use super::varint::{self, Uvarint};

/// Size prefix, key, version, correlation id, length of the client id: what every request starts with.
pub const REQUEST_FIXED: usize = 14;
/// Size prefix and correlation id.
pub const RESPONSE_FIXED: usize = 8;

/// A request's header. Offsets count from the start of the frame, its size prefix included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHead {
    pub api: ApiKey,
    pub version: i16,
    pub correlation: i32,
    /// Where the client id stands (empty when it is null).
    pub client_id: (usize, usize),
    /// Where the body starts.
    pub body: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeadError {
    /// More bytes are needed; at least this many from the start of the frame.
    #[error("incomplete")]
    Incomplete(usize),
    #[error("a header that does not fit its frame, or has invalid lengths")]
    Malformed,
}

/// Reads the header at the start of `frame`, which begins with its size prefix and is `total`
/// bytes long when complete.
pub fn request(frame: &[u8], total: usize) -> Result<RequestHead, HeadError> {
    // A header v0 (ControlledShutdown v0 of old brokers) has no client id; no client sends it.
    if total < REQUEST_FIXED {
        return Err(HeadError::Malformed);
    }
    let Some(fixed) = frame.first_chunk::<REQUEST_FIXED>() else {
        return Err(HeadError::Incomplete(REQUEST_FIXED));
    };
    let [_, _, _, _, k0, k1, v0, v1, c0, c1, c2, c3, l0, l1] = *fixed;
    let api = ApiKey(i16::from_be_bytes([k0, k1]));
    let version = i16::from_be_bytes([v0, v1]);
    let correlation = i32::from_be_bytes([c0, c1, c2, c3]);
    let id_len = match i16::from_be_bytes([l0, l1]) {
        -1 => 0,
        n => usize::try_from(n).map_err(|_| HeadError::Malformed)?,
    };
    let client_id = (REQUEST_FIXED, REQUEST_FIXED + id_len);
    let mut body = client_id.1;
    if body > total {
        return Err(HeadError::Malformed);
    }
    if frame.len() < body {
        return Err(HeadError::Incomplete(body));
    }
    if api.is_flexible(version) {
        body = skip_tags(frame, body, total)?;
    }
    Ok(RequestHead { api, version, correlation, client_id, body })
}

/// Where a response's body starts, counted from the start of the frame.
pub fn response_body(frame: &[u8], total: usize, api: ApiKey, version: i16) -> Result<usize, HeadError> {
    if total < RESPONSE_FIXED {
        return Err(HeadError::Malformed);
    }
    if api.response_header_has_tags(version) { skip_tags(frame, RESPONSE_FIXED, total) } else { Ok(RESPONSE_FIXED) }
}

/// The correlation id of a response that has at least [`RESPONSE_FIXED`] bytes.
pub fn correlation(frame: &[u8]) -> Option<i32> {
    frame.get(4..8)?.first_chunk::<4>().map(|b| i32::from_be_bytes(*b))
}

/// The end of the tagged fields that start at `at`.
fn skip_tags(frame: &[u8], at: usize, total: usize) -> Result<usize, HeadError> {
    let mut at = at;
    let count = uvarint(frame, &mut at, total)?;
    for _ in 0..count {
        uvarint(frame, &mut at, total)?;
        let size = uvarint(frame, &mut at, total)? as usize;
        at = at.checked_add(size).filter(|end| *end <= total).ok_or(HeadError::Malformed)?;
        if frame.len() < at {
            return Err(HeadError::Incomplete(at));
        }
    }
    Ok(at)
}

fn uvarint(frame: &[u8], at: &mut usize, total: usize) -> Result<u32, HeadError> {
    let end = frame.len().min(total);
    match varint::read(frame.get(*at..end).unwrap_or_default()) {
        Uvarint::Value(v, n) => {
            *at += n;
            Ok(v)
        }
        Uvarint::Incomplete if frame.len() < total => Err(HeadError::Incomplete(end + 1)),
        Uvarint::Incomplete | Uvarint::Invalid => Err(HeadError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(body: &[u8]) -> Vec<u8> {
        [&(body.len() as i32).to_be_bytes()[..], body].concat()
    }

    #[test]
    fn reads_v1_and_v2_at_every_cut() {
        let v1 = frame(&[0, 3, 0, 1, 0, 0, 0, 7, 0, 2, b'm', b'e', 9]);
        let v2 = frame(&[0, 3, 0, 12, 0, 0, 0, 7, 0, 2, b'm', b'e', 1, 5, 2, 0, 0, 9]);
        let null = frame(&[0, 3, 0, 12, 0, 0, 0, 7, 0xff, 0xff, 0, 9]);
        for (f, body) in [(v1, 16), (v2, 21), (null, 15)] {
            let head = request(&f, f.len()).unwrap();
            assert_eq!((head.api, head.correlation, head.body), (ApiKey::METADATA, 7, body));
            for cut in 0..body {
                assert!(matches!(request(&f[..cut], f.len()), Err(HeadError::Incomplete(n)) if n > cut), "{cut}");
            }
        }
    }

    #[test]
    fn refuses_lengths_that_lie() {
        let id = frame(&[0, 3, 0, 1, 0, 0, 0, 7, 0x7f, 0xff, b'm']);
        assert_eq!(request(&id, id.len()), Err(HeadError::Malformed));
        let tag = frame(&[0, 3, 0, 12, 0, 0, 0, 7, 0, 0, 1, 0, 0xff, 0x7f, 0]);
        assert_eq!(request(&tag, tag.len()), Err(HeadError::Malformed));
        let endless = frame(&[0, 3, 0, 12, 0, 0, 0, 7, 0, 0, 0x80]);
        assert_eq!(request(&endless, endless.len()), Err(HeadError::Malformed));
        assert_eq!(request(&[0, 0, 0, 3], 7), Err(HeadError::Malformed));
    }
}
