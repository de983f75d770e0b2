//! Durations: `500ms`, `5s`, `11m`, `2h`, `7d`.

use std::fmt;
use std::str::FromStr;

use super::text::{split_number, text_value};

/// A duration such as `500ms`, `5s`, `11m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub std::time::Duration);

impl Duration {
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(std::time::Duration::from_millis(milliseconds))
    }

    pub const fn is_zero(&self) -> bool {
        self.0.is_zero()
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

const VALID: &str = "a duration such as 500ms, 5s, 11m or 2h";

/// Units in milliseconds, from the largest to the smallest: printing takes the first that divides.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (number, unit) = split_number(text);
        if number == "0" && unit.is_empty() {
            return Ok(Self(std::time::Duration::ZERO));
        }
        if unit.is_empty() && !number.is_empty() {
            return Err(format!("`{text}` has no unit: expected {VALID} (perhaps {number}s)"));
        }
        let factor = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, factor)| *factor)
            .ok_or_else(|| format!("`{text}` is not {VALID}"))?;
        let milliseconds = if number.contains('.') {
            let value: f64 = number.parse().map_err(|_| format!("`{text}` is not {VALID}"))?;
            (value * factor as f64).round() as u64
        } else {
            number
                .parse::<u64>()
                .ok()
                .and_then(|value| value.checked_mul(factor))
                .ok_or_else(|| format!("`{text}` is not {VALID}"))?
        };
        if milliseconds > 3650 * 86_400_000 {
            return Err(format!("`{text}` is longer than ten years"));
        }
        Ok(Self::from_millis(milliseconds))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis() as u64;
        if milliseconds == 0 {
            return f.write_str("0s");
        }
        // Days are for reading only: `11m` and `48h` are what people expect to see again.
        for (name, factor) in UNITS.iter().skip(1) {
            if milliseconds.is_multiple_of(*factor) {
                return write!(f, "{}{name}", milliseconds / factor);
            }
        }
        write!(f, "{milliseconds}ms")
    }
}

text_value!(Duration, "Duration", "a duration such as 500ms, 5s, 11m or 2h", {
    "type": "string",
    "pattern": "^([0-9]+(\\.[0-9]+)?(ms|s|m|h|d)|0)$",
    "examples": ["500ms", "5s", "11m"]
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_the_same_text() {
        for text in ["500ms", "5s", "11m", "2h", "1500ms", "0s", "48h"] {
            assert_eq!(text.parse::<Duration>().unwrap().to_string(), text);
        }
        assert_eq!("1.5s".parse::<Duration>(), Ok(Duration::from_millis(1500)));
        assert_eq!("7d".parse::<Duration>().unwrap().to_string(), "168h");
        assert_eq!("90s".parse::<Duration>().unwrap().to_string(), "90s");
    }

    #[test]
    fn says_what_would_be_valid() {
        assert_eq!(
            "5".parse::<Duration>().unwrap_err(),
            "`5` has no unit: expected a duration such as 500ms, 5s, 11m or 2h (perhaps 5s)"
        );
        assert_eq!(
            "5 parsecs".parse::<Duration>().unwrap_err(),
            "`5 parsecs` is not a duration such as 500ms, 5s, 11m or 2h"
        );
        for text in ["", "s", "-5s", "5ss", "1.2.3s", "99999999999999999999s"] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }
}
