//! A disk that fails, loses and dies as it is told.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::super::disk::Disk;

/// What one call does instead of what it should. `part` of 255 says how much is done all the same.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    Full {
        part: u8,
    },
    Io {
        part: u8,
    },
    /// The machine or the process ends within this call.
    Death {
        part: u8,
    },
}

#[derive(Debug, Clone, Copy)]
pub enum End {
    /// What was written stays.
    Kill,
    /// What was not synced may be there, or in part, or as zeros.
    PowerCut { which: u8, part: u8, with_zeros: bool },
}

/// One thing that may be found after a power cut: the bytes, and how many of them are certain.
#[derive(Debug, Clone)]
struct Image {
    bytes: Vec<u8>,
    certain: usize,
}

#[derive(Debug, Default)]
pub struct Platter {
    current: Vec<u8>,
    /// So many bytes of the current file have been synced.
    synced: usize,
    /// Bytes that a failed sync has lost, though the process still sees them.
    lost: (usize, usize),
    possible: Vec<Image>,
    pub faults: VecDeque<Option<Fault>>,
    pub is_dead: bool,
    pub calls: usize,
    pub replacements: usize,
}

#[derive(Debug, Clone, Default)]
pub struct Flaky(Arc<Mutex<Platter>>);

fn share(whole: usize, part: u8) -> usize {
    whole * usize::from(part) / 255
}

impl Flaky {
    pub fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap()
    }

    pub fn contents(&self) -> Vec<u8> {
        self.platter().current.clone()
    }

    /// The process ends; what is there when the next one begins.
    pub fn end(&self, end: End) {
        let mut p = self.platter();
        if let End::PowerCut { which, part, with_zeros } = end
            && !p.possible.is_empty()
        {
            let mut image = p.possible[usize::from(which) % p.possible.len()].clone();
            let unsure = image.bytes.len() - image.certain;
            let kept = image.certain + share(unsure, part);
            if with_zeros {
                image.bytes[kept..].fill(0);
            } else {
                image.bytes.truncate(kept);
            }
            p.current = image.bytes;
        }
        p.faults.clear();
        p.is_dead = false;
        p.lost = (0, 0);
        if matches!(end, End::PowerCut { .. }) {
            // After a start of the machine, what is found is what the disk has.
            p.synced = p.current.len();
            p.possible.clear();
            p.note();
        }
    }
}

impl Platter {
    fn note(&mut self) {
        let mut bytes = self.current.clone();
        bytes[self.lost.0..self.lost.1].fill(0);
        self.possible.push(Image { certain: self.synced, bytes });
    }

    fn next(&mut self) -> io::Result<Option<Fault>> {
        self.calls += 1;
        if self.is_dead {
            return Err(io::Error::other("dead"));
        }
        let fault = self.faults.pop_front().flatten();
        self.is_dead = matches!(fault, Some(Fault::Death { .. }));
        Ok(fault)
    }

    fn set_length(&mut self, length: usize) {
        self.current.truncate(length);
        self.synced = self.synced.min(length);
        self.lost = (self.lost.0.min(length), self.lost.1.min(length));
        self.note();
    }

    fn set(&mut self, bytes: &[u8]) {
        self.replacements += 1;
        self.current = bytes.to_vec();
        self.synced = bytes.len();
        self.lost = (0, 0);
        self.note();
    }
}

fn error(fault: Fault) -> io::Error {
    match fault {
        Fault::Full { .. } => io::ErrorKind::StorageFull.into(),
        Fault::Io { .. } | Fault::Death { .. } => io::Error::from_raw_os_error(5),
    }
}

fn part_of(fault: Fault) -> u8 {
    let (Fault::Full { part } | Fault::Io { part } | Fault::Death { part }) = fault;
    part
}

impl Disk for Flaky {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.contents())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut p = self.platter();
        let fault = p.next()?;
        let length = fault.map_or(bytes.len(), |f| share(bytes.len(), part_of(f)));
        p.current.extend_from_slice(&bytes[..length]);
        p.note();
        fault.map_or(Ok(()), |f| Err(error(f)))
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        let mut p = self.platter();
        let fault = p.next()?;
        // One that fails may have worked.
        if fault.is_none_or(|f| part_of(f) > 127) {
            p.set_length(length as usize);
        }
        fault.map_or(Ok(()), |f| Err(error(f)))
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut p = self.platter();
        match p.next()? {
            None => {
                p.synced = p.current.len();
                p.possible.clear();
                p.note();
                Ok(())
            }
            Some(fault) => {
                // The kernel marks the pages as clean and forgets that they never arrived.
                if !matches!(fault, Fault::Death { .. }) {
                    p.lost = (p.synced, p.current.len());
                    p.note();
                }
                Err(error(fault))
            }
        }
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut p = self.platter();
        match p.next()? {
            None => {
                p.set(bytes);
                Ok(())
            }
            Some(fault) => {
                // Only death comes between the rename and the answer.
                if matches!(fault, Fault::Death { part } if part > 127) {
                    p.set(bytes);
                }
                Err(error(fault))
            }
        }
    }
}
