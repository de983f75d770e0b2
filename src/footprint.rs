//! What the process takes of a pod's memory besides what it holds.
//!
//! The one place with `unsafe`: settings of the allocator and two wishes, none of which can change a byte that
//! anybody reads. Elsewhere than on Linux (and the allocator's part elsewhere than with glibc) they do nothing.
#![allow(unsafe_code)]

/// Before the first thread is made: the allocator keeps one heap for all, and gives back what is free at its end.
///
/// glibc makes a heap for each thread and raises its own thresholds with each large block that is freed: after a
/// crowd of clients it keeps what they took (docs/performance.md).
pub fn settle_allocator() {
    allocator::settle();
}

/// Gives free memory back to the system: after a crowd has gone. It walks over the heap: milliseconds.
pub fn give_back() {
    allocator::give_back();
}

/// Lets go of the program's pages that only the start has needed. What is needed again comes back from the
/// page cache, without a read.
pub fn forget_start() {
    code::forget();
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod allocator {
    use libc::{M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, mallopt};

    const KIB: libc::c_int = 1024;

    pub fn settle() {
        // SAFETY: mallopt takes two numbers, and refuses those that it does not know.
        unsafe {
            mallopt(M_ARENA_MAX, 1);
            mallopt(M_TRIM_THRESHOLD, 256 * KIB);
            mallopt(M_MMAP_THRESHOLD, 128 * KIB);
        }
    }

    pub fn give_back() {
        // SAFETY: it gives back pages that no allocation lies in, under the allocator's own lock.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod allocator {
    pub fn settle() {}

    pub fn give_back() {}
}

#[cfg(target_os = "linux")]
mod code {
    use std::ops::Range;

    use rustix::mm::{Advice, madvise};

    pub fn forget() {
        let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else {
            return;
        };
        for range in maps.lines().filter_map(program) {
            let start = std::ptr::with_exposed_provenance_mut(range.start);
            // SAFETY: the pages are a file's, private, and not writable (nor ever were: the linker writes to others), so
            // that each can be mapped anew from its file. What runs meanwhile faults, and goes on.
            let _ = unsafe { madvise(start, range.len(), Advice::LinuxDontNeed) };
        }
    }

    /// The addresses of a line of `/proc/PID/maps` that stands for a file's code.
    fn program(line: &str) -> Option<Range<usize>> {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let (access, file) = (fields.next()?, fields.nth(3)?);
        let address = |text| usize::from_str_radix(text, 16).ok();
        (access == "r-xp" && file.starts_with('/')).then_some(address(start)?..address(end)?)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn takes_code_and_nothing_else() {
            let line = "55d0-57e0 r-xp 0016f000 fe:01 1234                       /usr/bin/kmend";
            assert_eq!(program(line), Some(0x55d0..0x57e0));
            for other in [
                "55d0-57e0 r--p 0016f000 fe:01 1234 /usr/bin/kmend",
                "55d0-57e0 rw-p 0016f000 fe:01 1234 /usr/bin/kmend",
                "55d0-57e0 rwxp 0016f000 fe:01 1234 /usr/bin/kmend",
                "55d0-57e0 r-xp 00000000 00:00 0 [vdso]",
                "55d0-57e0 r-xp 00000000 00:00 0",
                "",
            ] {
                assert_eq!(program(other), None, "{other}");
            }
        }

        #[test]
        fn goes_on_without_them() {
            forget();
            assert_eq!(std::hint::black_box("still here").len(), 10);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod code {
    pub fn forget() {}
}
