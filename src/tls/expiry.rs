//! When a certificate ends, read from its own bytes: the one field that rustls does not tell.

use rustls::pki_types::CertificateDer;

pub(super) const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
/// The version of an X.509 certificate: `[0] EXPLICIT`.
pub(super) const VERSION: u8 = 0xa0;

/// The end of its validity, in seconds since 1970; `None` where it cannot be read (RFC 5280, 4.1).
pub fn expires(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (certificate, _) = take(certificate.as_ref(), SEQUENCE)?;
    let (to_be_signed, _) = take(certificate, SEQUENCE)?;
    // Version, serial number, signature's algorithm, issuer, validity.
    let rest = take(to_be_signed, VERSION).map_or(to_be_signed, |(_, rest)| rest);
    let (_, rest) = take(rest, INTEGER)?;
    let (_, rest) = take(rest, SEQUENCE)?;
    let (_, rest) = take(rest, SEQUENCE)?;
    let (validity, _) = take(rest, SEQUENCE)?;
    let (_, _, rest) = element(validity)?;
    let (tag, text, _) = element(rest)?;
    time(tag, text)
}

/// The contents of the first element, if it has this tag, and what follows it.
pub(super) fn take(bytes: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, contents, rest) = element(bytes)?;
    (tag == wanted).then_some((contents, rest))
}

/// Tag, contents and the rest, in DER with tags of one byte.
pub(super) fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, first, rest @ ..] = bytes else {
        return None;
    };
    let (length, rest) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        long => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            // Longer than any certificate, or without a length.
            if digits.is_empty() || digits.len() > 3 {
                return None;
            }
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((*tag, contents, rest))
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
pub(super) fn time(tag: u8, text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text.strip_suffix(b"Z")?).ok().filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i64 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    if rest.len() != 10 {
        return None;
    }
    let number = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let (month, day) = (number(0)?, number(2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    Some(days(year, month, day) * 86_400 + number(4)? * 3600 + number(6)? * 60 + number(8)?)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar: whole years first, begun in March so that
/// the leap day is a year's last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // From March on the months' lengths repeat each five: 153 days.
    365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(year: i32, month: u8, day: u8) -> CertificateDer<'static> {
        let mut params = rcgen::CertificateParams::new(vec!["kmend".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(1999, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, month, day);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn the_end_is_read_in_both_forms() {
        // From 2050 on the year has four digits.
        let cases = [
            ((2000, 2, 29), 951_782_400),
            ((2026, 11, 21), 1_795_219_200),
            ((2049, 12, 31), 2_524_521_600),
            ((2050, 1, 1), 2_524_608_000),
            ((2100, 3, 1), 4_107_542_400),
        ];
        for ((year, month, day), wanted) in cases {
            assert_eq!(expires(&certificate(year, month, day)), Some(wanted), "{year}-{month}-{day}");
        }
        assert_eq!(time(UTC_TIME, b"700101000001Z"), Some(1));
        assert_eq!(time(UTC_TIME, b"261121120203Z"), Some(1_795_219_200 + 12 * 3600 + 123));
    }

    #[test]
    fn a_broken_certificate_has_no_end() {
        let whole = certificate(2030, 1, 1);
        for end in 0..whole.len() {
            // Once all that is read is there, nothing behind it matters to us.
            let cut = CertificateDer::from(whole[..end].to_vec());
            assert_eq!(expires(&cut), None, "cut at {end}");
        }
        for wrong in [&b"2611211202Z"[..], b"26112112020aZ", b"261321120203Z", b"261121120203", b""] {
            assert_eq!(time(UTC_TIME, wrong), None);
        }
    }
}
