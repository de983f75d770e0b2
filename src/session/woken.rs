//! Who has woken a connection's task. A look at every source costs more than many a request does.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

use super::core::Core;
use super::inflight::Entry;

impl Core {
    /// Whether something may be due earlier than when this was last asked.
    pub fn take_sooner(&mut self) -> bool {
        std::mem::take(&mut self.sooner)
    }

    /// Whoever wakes the task, everything wants a look.
    pub fn needs_every_look(&self) -> bool {
        self.renewal.is_some() || self.close_wanted || self.stirred
    }

    /// An answer made here is next.
    pub fn answers_here(&self) -> bool {
        self.queue.front().is_some_and(Entry::is_local)
    }
}

/// Sources that want a look, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sources(u8);

impl Sources {
    /// The client has sent, or the broker takes again what it sends.
    pub const REQUESTS: Sources = Sources(1);
    /// The broker has answered, or the client takes again what it is sent.
    pub const RESPONSES: Sources = Sources(2);
    /// Mail, the timer, a secret that was waited for, or nobody knows.
    pub const ALL: Sources = Sources(7);

    pub fn has(self, one: Sources) -> bool {
        self.0 & one.0 == one.0
    }
}

/// The wakers of one task's sources.
#[derive(Debug)]
pub(super) struct Woken {
    state: Arc<State>,
    /// The task's own waker: mostly the same at each poll.
    task: Option<Waker>,
    wakers: [Waker; 3],
}

#[derive(Debug, Default)]
struct State {
    sources: AtomicU8,
    task: Mutex<Option<Waker>>,
}

#[derive(Debug)]
struct Source {
    state: Arc<State>,
    bits: Sources,
}

impl Wake for Source {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.state.sources.fetch_or(self.bits.0, Ordering::AcqRel);
        if let Some(task) = &*self.state.task.lock().unwrap_or_else(PoisonError::into_inner) {
            task.wake_by_ref();
        }
    }
}

impl Woken {
    pub fn new() -> Woken {
        let state = Arc::new(State::default());
        let wakers = [Sources::REQUESTS, Sources::RESPONSES, Sources::ALL]
            .map(|bits| Waker::from(Arc::new(Source { state: state.clone(), bits })));
        Woken { state, task: None, wakers }
    }

    /// Who has woken the task since the last call. Whoever wakes it past the wakers here may be anybody.
    pub fn take(&mut self, cx: &Context<'_>) -> Sources {
        if !self.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            self.task = Some(cx.waker().clone());
            self.state.task.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&self.task);
            return Sources::ALL;
        }
        match self.state.sources.swap(0, Ordering::AcqRel) {
            0 => Sources::ALL,
            bits => Sources(bits),
        }
    }

    /// What the requests' direction, the responses', and everything else wait with.
    pub fn contexts(&self) -> [Context<'_>; 3] {
        self.wakers.each_ref().map(Context::from_waker)
    }

    /// Wakes the task once more, for everything.
    pub fn again(&self) {
        let [_, _, all] = &self.wakers;
        all.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn it_tells_who_has_woken_the_task() {
        let task = Arc::new(Task::default());
        let waker = Waker::from(task.clone());
        let cx = Context::from_waker(&waker);
        let mut woken = Woken::new();
        assert_eq!(woken.take(&cx), Sources::ALL, "the first time");
        assert_eq!(woken.take(&cx), Sources::ALL, "past the wakers here");
        let wake = |woken: &Woken, which: &[usize]| {
            let contexts = woken.contexts();
            which.iter().for_each(|n| contexts[*n].waker().wake_by_ref());
        };
        for (which, told) in [
            (&[0][..], Sources::REQUESTS),
            (&[1], Sources::RESPONSES),
            (&[0, 1, 1], Sources(3)),
            (&[2], Sources::ALL),
            (&[0, 2], Sources::ALL),
        ] {
            let before = task.0.load(Ordering::Relaxed);
            wake(&woken, which);
            assert_eq!(task.0.load(Ordering::Relaxed), before + which.len());
            assert_eq!(woken.take(&cx), told, "{which:?}");
        }
        // Another task polls it: whatever was told to the one before is not lost.
        wake(&woken, &[0]);
        let other = Arc::new(Task::default());
        let waker = Waker::from(other.clone());
        let cx = Context::from_waker(&waker);
        assert_eq!(woken.take(&cx), Sources::ALL);
        wake(&woken, &[1]);
        assert_eq!(other.0.load(Ordering::Relaxed), 1);
    }
}
