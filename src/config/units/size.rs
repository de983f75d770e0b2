//! Sizes in bytes: `16KiB`, `100MiB`, `1GiB`; `MB` and friends are decimal, as everywhere else.

use std::fmt;
use std::str::FromStr;

use super::text::{split_number, text_value};

/// A size such as `16KiB`, `100MiB`; bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl ByteSize {
    pub const fn kib(count: u64) -> Self {
        Self(count * 1024)
    }

    pub const fn mib(count: u64) -> Self {
        Self(count * 1024 * 1024)
    }

    /// As a length in memory; what does not fit is the longest length.
    pub fn as_usize(&self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

const VALID: &str = "a size such as 16KiB, 100MiB or 1GiB";

const UNITS: [(&str, u64); 9] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    // Kubernetes' spelling.
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (number, unit) = split_number(text);
        let factor = match unit {
            "" | "B" => 1,
            _ => UNITS
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(unit))
                .map(|(_, factor)| *factor)
                .ok_or_else(|| format!("`{text}` is not {VALID}"))?,
        };
        number
            .parse::<u64>()
            .ok()
            .and_then(|value| value.checked_mul(factor))
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not {VALID}"))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, factor) in UNITS.iter().take(3) {
            if self.0 != 0 && self.0.is_multiple_of(*factor) {
                return write!(f, "{}{name}", self.0 / factor);
            }
        }
        write!(f, "{}B", self.0)
    }
}

text_value!(ByteSize, "ByteSize", "a size such as 16KiB, 100MiB or 1GiB", {
    "type": ["string", "integer"],
    "pattern": "^[0-9]+ ?([KMGkmg]i?[Bb]?|B)?$",
    "minimum": 0,
    "examples": ["16KiB", "100MiB"]
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_the_same_text() {
        for text in ["16KiB", "100MiB", "3GiB", "17B", "0B"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
        assert_eq!("4096".parse(), Ok(ByteSize::kib(4)));
        assert_eq!("64Mi".parse(), Ok(ByteSize::mib(64)));
        assert_eq!("1MB".parse(), Ok(ByteSize(1_000_000)));
    }

    #[test]
    fn says_what_would_be_valid() {
        assert_eq!(
            "4 apples".parse::<ByteSize>().unwrap_err(),
            "`4 apples` is not a size such as 16KiB, 100MiB or 1GiB"
        );
        for text in ["", "MiB", "-1", "99999999999GiB", "1.5MiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }
}
