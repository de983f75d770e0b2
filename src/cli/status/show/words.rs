//! Numbers as people read them.

/// With commas: 1,234,567.
pub(super) fn number(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::new();
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0 { format!("-{text}") } else { text }
}

pub(super) fn plural(n: usize, one: &str, many: &str) -> String {
    format!("{} {}", number(i64::try_from(n).unwrap_or(i64::MAX)), if n == 1 { one } else { many })
}

/// Decimal units: 1.5 MB.
pub(super) fn bytes(value: f64) -> String {
    const UNITS: [(f64, &str); 3] = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    match UNITS.iter().find(|(unit, _)| value >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", value / unit),
        None => format!("{value:.0} B"),
    }
}

/// Seconds, as what is short enough to be read.
pub(super) fn latency(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.1} s"),
        s if s >= 1e-3 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.0} µs", s * 1e6),
    }
}

/// The two largest units: 1d 2h, 3m 4s.
pub(super) fn duration(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let mut left = seconds;
    let parts = units.iter().map(|(unit, name)| {
        let n = left / unit;
        left %= unit;
        (n, name)
    });
    let shown: Vec<_> = parts.skip_while(|(n, _)| *n == 0).take(2).filter(|(n, _)| *n > 0).collect();
    if shown.is_empty() {
        return "0s".to_owned();
    }
    shown.iter().map(|(n, name)| format!("{n}{name}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_can_be_read() {
        assert_eq!([number(0), number(999), number(-1_234_567)].join(" "), "0 999 -1,234,567");
        assert_eq!([bytes(0.0), bytes(999.0), bytes(1_500_000.0)].join(", "), "0 B, 999 B, 1.5 MB");
        assert_eq!([latency(0.000_021), latency(0.0124), latency(1.25)].join(", "), "21 µs, 12.4 ms, 1.2 s");
        let durations = [0, 59, 60, 3_661, 93_784, 86_401].map(duration);
        assert_eq!(durations.join(", "), "0s, 59s, 1m, 1h 1m, 1d 2h, 1d");
    }
}
