//! The length prefix: what it may be, and what other protocols look like in its place.

use thiserror::Error;

/// Bytes of the length prefix.
pub const PREFIX: usize = 4;

/// Why a length prefix cannot start a frame. A broker closes the connection on each of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    #[error(
        "looks like a TLS handshake on a plaintext listener: switch TLS off in the client (security.protocol), or point it at a TLS listener"
    )]
    Tls,
    #[error("looks like a TLS alert: this port speaks TLS (upstream.tls.enabled)")]
    TlsAlert,
    #[error("looks like HTTP")]
    Http,
    #[error("negative frame length {0}")]
    Negative(i32),
    #[error("frame of {0} bytes is too short for a Kafka header")]
    TooShort(i32),
    #[error("frame of {0} bytes is over limits.max_frame ({1} bytes)")]
    TooLong(i32, u32),
}

impl FrameError {
    /// A bounded label for metrics.
    pub fn reason(self) -> &'static str {
        match self {
            FrameError::Tls => "tls_on_plaintext",
            FrameError::TlsAlert => "tls_alert",
            FrameError::Http => "http",
            FrameError::Negative(_) => "negative_length",
            FrameError::TooShort(_) => "too_short",
            FrameError::TooLong(..) => "over_max_frame",
        }
    }
}

/// Checks a length prefix. `min` is the shortest frame that makes sense where it stands (a request
/// header is 8 bytes and more, a response header 4, a raw SASL token may be empty).
pub fn check(prefix: [u8; PREFIX], min: u32, max: u32) -> Result<u32, FrameError> {
    let size = i32::from_be_bytes(prefix);
    match u32::try_from(size) {
        Ok(n) if n < min => Err(FrameError::TooShort(size)),
        Ok(n) if n <= max => Ok(n),
        _ if is_tls(prefix) => Err(FrameError::Tls),
        _ if is_http(prefix) => Err(FrameError::Http),
        Ok(_) => Err(FrameError::TooLong(size, max)),
        Err(_) => Err(FrameError::Negative(size)),
    }
}

/// Checks the length prefix of a response. A broker may send whatever size it likes; but what starts
/// like an alert or like HTTP, and would be hundreds of megabytes long, is no Kafka broker's.
pub fn check_response(prefix: [u8; PREFIX], min: u32) -> Result<u32, FrameError> {
    if prefix[0] == 0x15 && prefix[1] == 0x03 && prefix[2] <= 0x04 {
        return Err(FrameError::TlsAlert);
    }
    if is_http(prefix) {
        return Err(FrameError::Http);
    }
    check(prefix, min, i32::MAX as u32)
}

/// A TLS record of type handshake: `16 03 0x`.
fn is_tls(p: [u8; PREFIX]) -> bool {
    p[0] == 0x16 && p[1] == 0x03 && p[2] <= 0x04
}

fn is_http(p: [u8; PREFIX]) -> bool {
    matches!(&p, b"GET " | b"POST" | b"PUT " | b"HEAD" | b"DELE" | b"OPTI" | b"PATC" | b"CONN" | b"PRI " | b"HTTP")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_it_looks_like() {
        let max = 100 << 20;
        assert_eq!(check([0, 0, 0, 20], 8, max), Ok(20));
        assert_eq!(check([0, 0, 0, 0], 8, max), Err(FrameError::TooShort(0)));
        assert_eq!(check([0, 0, 0, 0], 0, max), Ok(0));
        assert_eq!(check([0xff, 0xff, 0xff, 0xff], 0, max), Err(FrameError::Negative(-1)));
        assert_eq!(check(*b"GET ", 8, max), Err(FrameError::Http));
        assert_eq!(check([0x16, 3, 1, 2], 8, max), Err(FrameError::Tls));
        assert_eq!(check([0x10, 0, 0, 0], 8, max), Err(FrameError::TooLong(0x1000_0000, max)));
    }
}
