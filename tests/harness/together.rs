//! Stories that share one run: told once, side by side, each under the name of its own test.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, OnceLock};

use super::wait::slot;

/// Runs something once for many tests: where it panics, each of them fails with its words.
pub fn once<T: Clone>(cell: &OnceLock<Result<T, String>>, run: impl FnOnce() -> T) -> T {
    cell.get_or_init(|| caught(run)).clone().unwrap_or_else(|e| panic!("{e}"))
}

/// What it panicked with, as text.
pub fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|e| {
        let text = e.downcast_ref::<String>().cloned();
        text.or_else(|| e.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default()
    })
}

/// Stories that are mostly waiting, told side by side, once: each under the name of its test.
pub struct Together(OnceLock<Vec<(&'static str, Result<(), String>)>>);

impl Together {
    #[allow(clippy::new_without_default)] // a static's value
    pub const fn new() -> Together {
        Together(OnceLock::new())
    }

    /// Tells all of them where that has not been done; fails where the one named so did.
    pub fn tell(&self, name: &str, stories: &[(&'static str, fn())]) {
        let all = self.0.get_or_init(|| {
            let _slot = slot();
            let done = Mutex::new(Vec::new());
            std::thread::scope(|threads| {
                for (name, story) in stories {
                    let done = &done;
                    threads.spawn(move || {
                        let result = caught(story);
                        done.lock().unwrap_or_else(|e| e.into_inner()).push((*name, result));
                    });
                }
            });
            done.into_inner().unwrap_or_else(|e| e.into_inner())
        });
        let (_, result) = all.iter().find(|(n, _)| *n == name).expect("a story of that name");
        if let Err(text) = result {
            panic!("{text}");
        }
    }
}
