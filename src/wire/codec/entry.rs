//! The fixed fields of partition entries, read and changed in place.
//! Which bytes stand where: `FetchRequest.json`, `FetchResponse.json`, `ListOffsets*.json`,
//! `OffsetFetchResponse.json`; the layouts hand out exactly these bytes.

fn i16_at(b: &[u8], at: usize) -> i16 {
    b.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| i16::from_be_bytes(*b))
}

fn i32_at(b: &[u8], at: usize) -> i32 {
    b.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| i32::from_be_bytes(*b))
}

fn i64_at(b: &[u8], at: usize) -> i64 {
    b.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| i64::from_be_bytes(*b))
}

fn put(b: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = b.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// A partition of a Fetch request.
pub struct FetchPartition<'a> {
    bytes: &'a mut [u8],
    version: i16,
}

impl<'a> FetchPartition<'a> {
    pub fn new(bytes: &'a mut [u8], version: i16) -> Self {
        FetchPartition { bytes, version }
    }

    pub fn index(&self) -> i32 {
        i32_at(self.bytes, 0)
    }

    fn offset_at(&self) -> usize {
        if self.version >= 9 { 8 } else { 4 }
    }

    /// The offset that is asked for.
    pub fn offset(&self) -> i64 {
        i64_at(self.bytes, self.offset_at())
    }

    /// Asks for another offset. The epoch of the last fetched record goes with it: it would make
    /// the broker look for a divergence at the new offset (KIP-595).
    pub fn set_offset(&mut self, offset: i64) {
        let at = self.offset_at();
        put(self.bytes, at, &offset.to_be_bytes());
        if self.version >= 12 {
            put(self.bytes, 16, &(-1i32).to_be_bytes());
        }
    }
}

/// A partition of a Fetch response, up to its log start.
pub struct FetchedPartition<'a> {
    bytes: &'a mut [u8],
}

impl<'a> FetchedPartition<'a> {
    pub fn new(bytes: &'a mut [u8]) -> Self {
        FetchedPartition { bytes }
    }

    pub fn index(&self) -> i32 {
        i32_at(self.bytes, 0)
    }

    pub fn error(&self) -> i16 {
        i16_at(self.bytes, 4)
    }

    pub fn high_watermark(&self) -> i64 {
        i64_at(self.bytes, 6)
    }

    pub fn last_stable_offset(&self) -> i64 {
        i64_at(self.bytes, 14)
    }

    /// `None` below version 5.
    pub fn log_start(&self) -> Option<i64> {
        (self.bytes.len() >= 30).then(|| i64_at(self.bytes, 22))
    }

    /// Makes it a success without records; offsets that are not known stay -1.
    pub fn clear_error(&mut self, high_watermark: i64, last_stable: i64, log_start: i64) {
        put(self.bytes, 4, &0i16.to_be_bytes());
        put(self.bytes, 6, &high_watermark.to_be_bytes());
        put(self.bytes, 14, &last_stable.to_be_bytes());
        if self.bytes.len() >= 30 {
            put(self.bytes, 22, &log_start.to_be_bytes());
        }
    }
}

/// A partition of a ListOffsets request.
pub struct AskedOffset<'a> {
    bytes: &'a mut [u8],
}

impl<'a> AskedOffset<'a> {
    pub fn new(bytes: &'a mut [u8]) -> Self {
        AskedOffset { bytes }
    }

    pub fn index(&self) -> i32 {
        i32_at(self.bytes, 0)
    }

    fn timestamp_at(&self) -> usize {
        self.bytes.len().saturating_sub(8)
    }

    /// -2 earliest, -1 latest, others see `ListOffsetsRequest.json`.
    pub fn timestamp(&self) -> i64 {
        i64_at(self.bytes, self.timestamp_at())
    }

    pub fn set_timestamp(&mut self, timestamp: i64) {
        let at = self.timestamp_at();
        put(self.bytes, at, &timestamp.to_be_bytes());
    }
}

/// A partition of a ListOffsets response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOffset {
    pub index: i32,
    pub error: i16,
    pub offset: i64,
}

impl ListedOffset {
    pub fn read(bytes: &[u8]) -> Self {
        ListedOffset { index: i32_at(bytes, 0), error: i16_at(bytes, 4), offset: i64_at(bytes, 14) }
    }
}

/// A partition of an OffsetFetch response.
pub struct CommittedOffset<'a> {
    bytes: &'a mut [u8],
}

impl<'a> CommittedOffset<'a> {
    pub fn new(bytes: &'a mut [u8]) -> Self {
        CommittedOffset { bytes }
    }

    pub fn index(&self) -> i32 {
        i32_at(self.bytes, 0)
    }

    pub fn offset(&self) -> i64 {
        i64_at(self.bytes, 4)
    }

    /// Moves it; the epoch of the record before it is unknown then (else Java sees a truncation).
    pub fn set_offset(&mut self, offset: i64) {
        put(self.bytes, 4, &offset.to_be_bytes());
        put(self.bytes, 12, &(-1i32).to_be_bytes());
    }
}

/// The error of a partition in an OffsetCommit response.
pub fn committed(bytes: &[u8]) -> i16 {
    i16_at(bytes, 4)
}

/// The leader of a partition in a Metadata response: `(error, index, leader)`.
pub fn metadata_partition(bytes: &[u8]) -> (i16, i32, i32) {
    (i16_at(bytes, 0), i32_at(bytes, 2), i32_at(bytes, 6))
}

/// An int16, int32 or int64 at the start of a marked field.
pub fn int16(bytes: &[u8]) -> i16 {
    i16_at(bytes, 0)
}

pub fn int32(bytes: &[u8]) -> i32 {
    i32_at(bytes, 0)
}

pub fn int64(bytes: &[u8]) -> i64 {
    i64_at(bytes, 0)
}

/// Fetch request: session id and epoch (KIP-227).
pub fn fetch_session(bytes: &[u8]) -> (i32, i32) {
    (i32_at(bytes, 0), i32_at(bytes, 4))
}

/// Fetch response: top-level error and session id.
pub fn fetch_top(bytes: &[u8]) -> (i16, i32) {
    (i16_at(bytes, 0), i32_at(bytes, 2))
}

/// ApiVersions response: key, lowest and highest version.
pub fn api_range(bytes: &[u8]) -> (i16, i16, i16) {
    (i16_at(bytes, 0), i16_at(bytes, 2), i16_at(bytes, 4))
}

/// Lowers the highest version of an ApiVersions entry.
pub fn set_api_max(bytes: &mut [u8], max: i16) {
    put(bytes, 4, &max.to_be_bytes());
}
