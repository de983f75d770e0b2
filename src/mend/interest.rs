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

/// The table: what the menders together want to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interests {
    requests: [Treatment; KEYS],
    responses: [Treatment; KEYS],
}

impl Interests {
    pub fn fold(interests: impl IntoIterator<Item = Interest>) -> Interests {
        let mut table = Interests { requests: [Treatment::Skip; KEYS], responses: [Treatment::Skip; KEYS] };
        for interest in interests {
            let (side, api, treatment) = match interest {
                Interest::Request(api, t) => (&mut table.requests, api, t),
                Interest::Response(api, t) => (&mut table.responses, api, t),
            };
            if let Some(slot) = side.get_mut(api.slot()) {
                *slot = treatment.max(*slot);
            }
        }
        table
    }

    pub fn request(&self, api: ApiKey) -> Treatment {
        self.requests.get(api.slot()).copied().unwrap_or_default()
    }

    pub fn response(&self, api: ApiKey) -> Treatment {
        self.responses.get(api.slot()).copied().unwrap_or_default()
    }
}
