//! Which messages are looked at, folded into one table that is read once a frame.

use crate::wire::api::{ApiKey, KEYS};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Treatment {
    /// Bytes pass.
    #[default]
    Skip,
    /// A scanner walks the frame as it flows.
    Stream,
    /// Held whole, up to `limits.max_whole_frame`; a longer frame passes unseen.
    Whole,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    Request(ApiKey, Treatment),
    Response(ApiKey, Treatment),
}

/// Some of the menders, by their places in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readers(u64);

impl Readers {
    pub const ALL: Readers = Readers(u64::MAX);

    pub fn has(self, mender: usize) -> bool {
        // There are not nearly as many.
        self.0 & 1u64.wrapping_shl(mender as u32) != 0
    }
}

/// The table: what the menders together want to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interests {
    requests: [Treatment; KEYS],
    responses: [Treatment; KEYS],
    /// Who wants to see which requests.
    readers: [Readers; KEYS],
}

impl Interests {
    /// `menders`: what each of them wants to see, in the chain's order.
    pub fn fold(menders: impl IntoIterator<Item = Vec<Interest>>) -> Interests {
        let none = [Treatment::Skip; KEYS];
        let mut table = Interests { requests: none, responses: none, readers: [Readers::default(); KEYS] };
        for (mender, interests) in menders.into_iter().enumerate() {
            for interest in interests {
                let (side, api, treatment) = match interest {
                    Interest::Request(api, t) => (&mut table.requests, api, t),
                    Interest::Response(api, t) => (&mut table.responses, api, t),
                };
                if let Some(slot) = side.get_mut(api.slot()) {
                    *slot = treatment.max(*slot);
                }
                if let (Interest::Request(..), Some(who)) = (interest, table.readers.get_mut(api.slot())) {
                    who.0 |= 1u64.wrapping_shl(mender as u32);
                }
            }
        }
        table
    }

    /// The menders that want to see these requests.
    pub fn readers(&self, api: ApiKey) -> Readers {
        self.readers.get(api.slot()).copied().unwrap_or_default()
    }

    pub fn request(&self, api: ApiKey) -> Treatment {
        self.requests.get(api.slot()).copied().unwrap_or_default()
    }

    pub fn response(&self, api: ApiKey) -> Treatment {
        self.responses.get(api.slot()).copied().unwrap_or_default()
    }
}
