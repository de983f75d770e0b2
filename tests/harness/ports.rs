//! Free loopback ports, below the range that the system hands out to outgoing connections.

use std::net::TcpListener;
use std::sync::Mutex;

const FIRST: u16 = 12_000;
const LAST: u16 = 32_000;

/// A free port.
pub fn free() -> u16 {
    range(1)
}

/// The first of `n` neighbouring ports that were free a moment ago and that nobody else in this
/// process was given. Binaries start at different places, so that two of them rarely meet.
pub fn range(n: u16) -> u16 {
    static NEXT: Mutex<Option<u16>> = Mutex::new(None);
    let mut next = NEXT.lock().unwrap_or_else(|e| e.into_inner());
    let start = FIRST + (std::process::id() % 97) as u16 * 200;
    let mut at = next.unwrap_or(start);
    for _ in 0..2_000 {
        if at > LAST - n {
            at = FIRST;
        }
        let taken = (at..at + n).rev().find(|p| TcpListener::bind(("0.0.0.0", *p)).is_err());
        match taken {
            None => {
                *next = Some(at + n);
                return at;
            }
            Some(port) => at = port + 1,
        }
    }
    panic!("no {n} free ports between {FIRST} and {LAST}");
}
