//! A connection that a mender closes at rest, as a broker closes an idle one: the write side is
//! shut, then the client is read until it has finished, so that what it still sends is no reset.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::time::Instant;

use super::bulk::Socket;
use super::driver::Driver;
use super::end::End;

/// How long a client may take to close its side.
const PATIENCE: Duration = Duration::from_secs(5);
/// Reads without a pause.
const READS: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Nudge {
    /// The client's write side of ours is shut.
    shut: bool,
    /// The client has finished.
    finished: bool,
    /// It sent something after the close.
    late: bool,
}

impl<C, U> Driver<C, U>
where
    C: Socket,
    U: Socket,
{
    pub(super) fn begin_nudge(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.timer.as_mut().reset(Instant::now() + PATIENCE);
        self.nudge = Some(Nudge::default());
        self.poll_nudge(cx)
    }

    /// Nothing is forwarded any more, in either direction.
    pub(super) fn poll_nudge(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let nudge = self.nudge.get_or_insert_default();
        let Some(client) = &mut self.client else {
            return Poll::Ready(End::Nudged { late: nudge.late });
        };
        if !nudge.shut {
            nudge.shut = Pin::new(&mut *client).poll_shutdown(cx).is_ready();
        }
        let mut scratch = [0; 1024];
        for read in 0.. {
            if nudge.finished {
                break;
            }
            if read == READS {
                cx.waker().wake_by_ref();
                break;
            }
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut *client).poll_read(cx, &mut buf) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => nudge.late = true,
                Poll::Ready(_) => nudge.finished = true,
            }
        }
        let over = self.timer.as_mut().poll(cx).is_ready();
        let done = nudge.shut && nudge.finished;
        if !over && !done {
            return Poll::Pending;
        }
        Poll::Ready(End::Nudged { late: nudge.late })
    }
}
