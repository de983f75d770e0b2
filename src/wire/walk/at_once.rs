//! Walks over frames that have arrived, as a whole or at their front.

use super::{Op, Progress, Visitor, WalkError, Walker};

/// Walks over a complete frame at once.
pub fn whole<V: Visitor + ?Sized>(
    layout: &'static [Op],
    frame: &mut [u8],
    body: usize,
    visitor: &mut V,
) -> Result<(), WalkError> {
    let end = frame.len();
    let mut walker = Walker::new(layout, body, end);
    let Some(bytes) = frame.get_mut(body..) else {
        return Err(WalkError::Short(end));
    };
    match walker.step(bytes, visitor)?.need {
        None => Ok(()),
        Some(_) => Err(WalkError::Short(end)),
    }
}

/// Walks over the first part of a frame of `end` bytes, of which `frame` has arrived.
/// `Ok(Ok(at))`: the part ends at byte `at`; `Ok(Err(n))`: at least `n` bytes of the frame are needed.
pub fn front<V: Visitor + ?Sized>(
    layout: &'static [Op],
    frame: &mut [u8],
    body: usize,
    end: usize,
    visitor: &mut V,
) -> Result<Result<usize, usize>, WalkError> {
    #[cfg(test)]
    FRONTS.set(FRONTS.get() + 1);
    let mut walker = Walker::new(layout, body, end);
    let Some(bytes) = frame.get_mut(body..) else {
        return Ok(Err(body));
    };
    match walker.step(bytes, visitor) {
        Ok(Progress { consumed, need: Some(need) }) => Ok(Err(body + consumed + need)),
        Ok(Progress { need: None, .. }) => Ok(Ok(end)),
        Err(WalkError::Trailing(at)) => Ok(Ok(at)),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
thread_local! {
    /// How often a front was walked over.
    pub static FRONTS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}
