//! Ranges of bytes (RFC 9110, section 14).
//!
//! Pure: the value of `Range` and a length in, ranges out. Knows no files.

use std::ops::Range;

use crate::http::fields::elements;

/// What a `Range` asks of a representation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ranges {
    /// The whole: it asks for nothing that we understand, or for more than is reasonable.
    Whole,
    /// These, in the order in which they were asked for. None is empty, and there is at least one.
    Some(Vec<Range<u64>>),
    /// None of what it asks for exists.
    Unsatisfiable,
}

/// Reads the value of `Range`, for a representation of `len` bytes.
///
/// A malformed one is ignored, as a server may (RFC 9110, section 14.2), and so is one that asks
/// for more than `MAX_RANGES` ranges, or for the same bytes again and again: answering costs more
/// than the whole.
pub(super) fn parse(value: &[u8], len: u64) -> Ranges {
    let Some(equals) = value.iter().position(|&byte| byte == b'=') else {
        return Ranges::Whole;
    };
    if !value[..equals].eq_ignore_ascii_case(b"bytes") {
        return Ranges::Whole;
    }
    let mut ranges = Vec::new();
    let mut count = 0;
    for spec in elements(&value[equals + 1..]) {
        count += 1;
        if count > MAX_RANGES {
            return Ranges::Whole;
        }
        match range(spec, len) {
            None => return Ranges::Whole,
            Some(range) if range.is_empty() => {}
            Some(range) => ranges.push(range),
        }
    }
    let total: u64 = ranges
        .iter()
        .map(|range| range.end - range.start)
        .fold(0, u64::saturating_add);
    match ranges.len() {
        _ if count == 0 || total > len => Ranges::Whole,
        // There are no bytes that a `Content-Range` could name.
        0 if len == 0 && is_suffix_only(value) => Ranges::Whole,
        0 => Ranges::Unsatisfiable,
        _ => Ranges::Some(ranges),
    }
}

/// One range; empty if it cannot be satisfied, `None` if it is malformed.
fn range(spec: &[u8], len: u64) -> Option<Range<u64>> {
    let dash = spec.iter().position(|&byte| byte == b'-')?;
    let (first, last) = (&spec[..dash], &spec[dash + 1..]);
    match (first, last) {
        (b"", last) => Some(len.saturating_sub(number(last)?)..len),
        (first, b"") => Some(number(first)?.min(len)..len),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            let end = last.saturating_add(1).min(len);
            (first <= last).then_some(first.min(end)..end)
        }
    }
}

/// A decimal number; one that is too large for us is larger than every file.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0_u64, |number, digit| {
        number
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    }))
}

/// Whether it asks for the last bytes, which an empty representation has, all none of them (RFC
/// 9110, section 14.1.2), unless their number is 0.
fn is_suffix_only(value: &[u8]) -> bool {
    let start = value
        .iter()
        .position(|&byte| byte == b'=')
        .map_or(0, |at| at + 1);
    elements(&value[start..])
        .any(|spec| spec.first() == Some(&b'-') && number(&spec[1..]).is_some_and(|len| len > 0))
}

/// Ranges that one request may ask for.
const MAX_RANGES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(value: &str, len: u64, expected: &[(u64, u64)]) {
        let expected = expected.iter().map(|&(start, end)| start..end).collect();
        assert_eq!(
            parse(value.as_bytes(), len),
            Ranges::Some(expected),
            "{value}"
        );
    }

    #[track_caller]
    fn check_is(value: &str, len: u64, expected: &Ranges) {
        assert_eq!(&parse(value.as_bytes(), len), expected, "{value} of {len}");
    }

    #[test]
    fn the_examples_of_rfc_9110_section_14_1_2_are_understood() {
        check("bytes=0-499", 10_000, &[(0, 500)]);
        check("bytes=500-999", 10_000, &[(500, 1000)]);
        check("bytes=-500", 10_000, &[(9500, 10_000)]);
        check("bytes=9500-", 10_000, &[(9500, 10_000)]);
        check("bytes=0-0,-1", 10_000, &[(0, 1), (9999, 10_000)]);
        check(
            "bytes= 0-999, 4500-5499, -1000",
            10_000,
            &[(0, 1000), (4500, 5500), (9000, 10_000)],
        );
        check("bytes=500-600,601-999", 10_000, &[(500, 601), (601, 1000)]);
    }

    #[test]
    fn a_range_ends_with_the_representation_at_the_latest() {
        check("bytes=5-99999999999999999999999", 10, &[(5, 10)]);
        check("bytes=-99999999999999999999999", 10, &[(0, 10)]);
        check("bytes=0-18446744073709551615", 10, &[(0, 10)]);
        check("BYTES=9-,10-", 10, &[(9, 10)]);
    }

    #[test]
    fn what_does_not_exist_is_unsatisfiable() {
        for value in [
            "bytes=10-",
            "bytes=10-20",
            "bytes=-0",
            "bytes=99999999999999999999999-",
        ] {
            check_is(value, 10, &Ranges::Unsatisfiable);
        }
        check_is("bytes=0-", 0, &Ranges::Unsatisfiable);
        check_is("bytes=-1", 0, &Ranges::Whole);
    }

    #[test]
    fn what_is_malformed_or_of_another_unit_is_ignored() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-4",
            "bytes=1",
            "bytes=1-2-3",
            "bytes=+1-2",
            "bytes=1 -2",
            "bytes=0x1-2",
            "lines=1-2",
            "bytes =1-2",
            "bytes=0-1,x",
        ] {
            check_is(value, 10, &Ranges::Whole);
        }
    }

    #[test]
    fn more_than_is_reasonable_is_answered_with_the_whole() {
        let many = |count: usize| format!("bytes={}", vec!["0-0"; count].join(","));
        check_is(&many(17), 100, &Ranges::Whole);
        check(&many(16), 100, &vec![(0, 1); 16]);
        check_is("bytes=0-,0-", 10, &Ranges::Whole);
    }

    proptest! {
        #[test]
        fn whatever_is_asked_for_lies_within_and_is_no_more_than_the_whole(
            value in "bytes=[0-9,\\- ]{0,40}",
            len in 0_u64..2000,
        ) {
            if let Ranges::Some(ranges) = parse(value.as_bytes(), len) {
                prop_assert!(!ranges.is_empty() && ranges.len() <= MAX_RANGES);
                let is_within = |range: &Range<u64>| range.start < range.end && range.end <= len;
                prop_assert!(ranges.iter().all(is_within));
                let total: u64 = ranges.iter().map(|range| range.end - range.start).sum();
                prop_assert!(total <= len);
            }
        }

        #[test]
        fn any_bytes_are_understood_or_ignored(value in prop::collection::vec(any::<u8>(), 0..64)) {
            parse(&value, 1000);
        }
    }
}
