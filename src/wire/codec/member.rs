//! Who speaks, in the requests of a group's members.

use std::sync::Arc;

use super::super::api::ApiKey;
use super::super::layout::{self, mark};
use super::super::walk::{self, Action, Mark, Visitor};
use super::entry;

/// The sender of a JoinGroup, SyncGroup, Heartbeat, LeaveGroup or ConsumerGroupHeartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Who {
    pub group: Arc<str>,
    /// Empty: it has no id yet. LeaveGroup may name several.
    pub member: Arc<str>,
    pub others: Vec<Arc<str>>,
    /// Or the member's epoch; 0 where the request has none.
    pub generation: i32,
    /// ConsumerGroupHeartbeat: it says what it owns.
    pub tells_owned: bool,
}

impl Who {
    /// Everybody that it names.
    pub fn members(&self) -> impl Iterator<Item = &Arc<str>> {
        std::iter::once(&self.member).chain(&self.others).filter(|m| !m.is_empty())
    }
}

/// Reads a whole request. `None`: it does not fit its layout.
pub fn read(api: ApiKey, version: i16, frame: &mut [u8], body: usize) -> Option<Who> {
    let mut who = Who::default();
    walk::whole(layout::request(api, version)?, frame, body, &mut who).ok()?;
    Some(who)
}

impl Visitor for Who {
    fn string(&mut self, mark: Mark, _at: usize, value: Option<&[u8]>) {
        let text = || -> Arc<str> { String::from_utf8_lossy(value.unwrap_or_default()).into() };
        match mark {
            mark::GROUP => self.group = text(),
            mark::MEMBER if self.member.is_empty() => self.member = text(),
            mark::MEMBER => self.others.push(text()),
            _ => {}
        }
    }

    fn fixed(&mut self, mark: Mark, _at: usize, bytes: &mut [u8]) {
        if mark == mark::GENERATION {
            self.generation = entry::int32(bytes);
        }
    }

    fn array(&mut self, mark: Mark, _at: usize, count: Option<usize>) -> Action {
        self.tells_owned |= mark == mark::TOPICS && count.is_some();
        Action::Keep
    }
}

/// Shows the top-level error code of a whole response; what `change` gives back takes its place.
pub fn error(api: ApiKey, version: i16, frame: &mut [u8], body: usize, change: impl FnMut(i16) -> i16) -> Option<()> {
    let mut visitor = Error { change };
    walk::whole(layout::response(api, version)?, frame, body, &mut visitor).ok()
}

struct Error<F> {
    change: F,
}

impl<F: FnMut(i16) -> i16> Visitor for Error<F> {
    fn fixed(&mut self, mark: Mark, _at: usize, bytes: &mut [u8]) {
        if mark == mark::ERROR
            && let Some(place) = bytes.first_chunk_mut::<2>()
        {
            *place = (self.change)(i16::from_be_bytes(*place)).to_be_bytes();
        }
    }
}
