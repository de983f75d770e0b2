//! One direction after the other: what has been read is decided upon and written, then more is read.

use std::task::{Context, Poll, ready};

use super::bulk::Socket;
use super::core::Wait;
use super::driver::Driver;
use super::end::End;
use super::pump::Pump;

/// Reads of one side before it is the other's turn.
const READS: usize = 8;

/// Writes all that is to be written.
pub(super) fn drain(pump: &mut Pump, to: &mut impl Socket, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
    ready!(pump.poll_bulk(to.plain(), cx))?;
    pump.poll_drain(to, cx)
}

impl<C, U> Driver<C, U>
where
    C: Socket,
    U: Socket,
{
    /// Moves requests until none come, or they have to wait; whether anything moved. `likely`: the client has probably sent.
    pub(super) fn poll_requests(&mut self, likely: bool, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut moved = false;
        for turn in 0..READS {
            let wait = match self.core.requests(&mut self.requests) {
                Ok(wait) => wait,
                Err(end) => {
                    // What was sound before it goes its way, as far as it goes at once.
                    let _ = drain(&mut self.requests, &mut self.upstream, cx);
                    return Err(end);
                }
            };
            self.held[0] = wait == Wait::Held;
            let before = self.requests.has_output();
            let paused = self.requests.wants_drain()
                && drain(&mut self.requests, &mut self.upstream, cx).map_err(End::UpstreamIo)?.is_pending();
            if self.requests.take_written() > 0 {
                self.active = self.core.now();
            }
            self.pause(0, paused);
            let is_owed = wait == Wait::Bytes && !paused && self.core.is_sending(&self.requests);
            self.pace.turn(is_owed.then_some(self.core.seq), self.core.now());
            moved |= before && !paused;
            if paused || wait != Wait::Bytes || self.requests.eof {
                return Ok(moved);
            }
            let Some(client) = &mut self.client else {
                return Ok(moved);
            };
            let passing = if self.upstream.plain().is_some() { self.core.passing_request() } else { 0 };
            let read = self.requests.poll_read(client, passing, likely && turn == 0, cx).map_err(End::ClientIo)?;
            let Poll::Ready((n, past)) = read else {
                return Ok(moved);
            };
            if past {
                self.core.passed_request(n);
            }
            self.env.metrics.request_bytes.inc_by(n as u64);
            self.active = self.core.now();
            self.pace.byte(self.active);
            self.unfinished |= n == 0;
            moved = true;
        }
        self.unfinished = true;
        Ok(true)
    }

    /// Moves responses until none come, or they have to wait; whether anything moved. `likely`: the broker has probably sent.
    pub(super) fn poll_responses(&mut self, likely: bool, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut moved = false;
        for turn in 0..READS {
            let Some(client) = &mut self.client else {
                return Ok(moved);
            };
            let wait = match self.core.responses(&mut self.responses) {
                Ok(wait) => wait,
                Err(end) => {
                    let _ = drain(&mut self.responses, client, cx);
                    return Err(end);
                }
            };
            self.held[1] = wait == Wait::Held;
            let before = self.responses.has_output();
            let paused = self.responses.wants_drain()
                && drain(&mut self.responses, client, cx).map_err(End::ClientIo)?.is_pending();
            let written = self.responses.take_written();
            if written > 0 {
                self.env.metrics.response_bytes.inc_by(written);
                self.active = self.core.now();
            }
            let passing = if client.plain().is_some() { self.core.passing_response() } else { 0 };
            self.pause(1, paused);
            moved |= before && !paused;
            if !paused && before && wait == Wait::Held {
                // There was no room for more answers that are made here.
                continue;
            }
            if paused || wait != Wait::Bytes || self.responses.eof {
                return Ok(moved);
            }
            let likely = likely && turn == 0;
            let read = self.responses.poll_read(&mut self.upstream, passing, likely, cx).map_err(End::UpstreamIo)?;
            let Poll::Ready((n, past)) = read else {
                return Ok(moved);
            };
            if past {
                self.core.passed_response(n);
            }
            self.active = self.core.now();
            self.unfinished |= n == 0;
            moved = true;
        }
        self.unfinished = true;
        Ok(true)
    }
}
