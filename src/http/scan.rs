//! The bytes of a head and of a trailer: which of them may stand where, and field lines.
//!
//! Looks at each byte once, many at a time where that is possible. Pure: bytes in, what is left of
//! them out. Knows nothing of what a field means.

use super::error::RequestError;

/// Why a scan came to no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The bytes end too early, and have been well-formed so far.
    Unfinished,
    Refused(RequestError),
}

impl From<RequestError> for Stop {
    fn from(error: RequestError) -> Stop {
        Stop::Refused(error)
    }
}

/// What was found, and what is left behind it.
pub(super) type Found<'a> = (&'a [u8], &'a [u8]);

/// A set of bytes.
pub(super) type Set = [bool; 256];

/// What is left of `bytes` behind those of `set` that it begins with.
///
/// What is left is always told by a slice, never by a number: the compiler knows that it is a part
/// of what there was, and checks no bounds.
#[inline(always)]
pub(super) fn behind<'a>(mut bytes: &'a [u8], set: &Set) -> &'a [u8] {
    while let [byte, rest @ ..] = bytes
        && set[usize::from(*byte)]
    {
        bytes = rest;
    }
    bytes
}

/// As [`behind`], where most bytes are usual ones, eight of which are looked at at once.
///
/// `unusual_in` marks, by its highest bit, the lowest byte of a word that may not be in the set;
/// the bits above that one say nothing.
#[inline(always)]
fn behind_usual<'a>(mut bytes: &'a [u8], unusual_in: fn(u64) -> u64, set: &Set) -> &'a [u8] {
    while let Some((word, rest)) = bytes.split_first_chunk::<8>() {
        let unusual = unusual_in(u64::from_le_bytes(*word)) & eight(0x80);
        if unusual == 0 {
            bytes = rest;
            continue;
        }
        bytes = &bytes[(unusual.trailing_zeros() / 8) as usize..];
        match bytes {
            [byte, rest @ ..] if set[usize::from(*byte)] => bytes = rest,
            _ => return bytes,
        }
    }
    behind(bytes, set)
}

/// What `bytes` begins with, if `rest` is what is left of it.
#[inline(always)]
pub(super) fn before<'a>(bytes: &'a [u8], rest: &[u8]) -> &'a [u8] {
    &bytes[..bytes.len() - rest.len()]
}

/// What is left behind the characters of a target's path.
#[inline(always)]
pub(super) fn behind_path(bytes: &[u8]) -> &[u8] {
    let unusual_in = |word| outside(b'&', b'~', word) | is(b'?', word);
    behind_usual(bytes, unusual_in, &IS_PATH)
}

/// What is left behind the characters of a target's query, most of which are not the first ones of
/// ASCII that are visible.
#[inline(always)]
pub(super) fn behind_query(bytes: &[u8]) -> &[u8] {
    behind_usual(bytes, |word| outside(b'$', b'~', word), &IS_TARGET)
}

/// What is left behind the digits of a port.
#[inline(always)]
pub(super) fn behind_digits(bytes: &[u8]) -> &[u8] {
    behind_usual(bytes, |word| outside(b'0', b'9', word), &IS_DIGIT)
}

/// What is left behind a token, most of which is letters of either case.
#[inline(always)]
fn behind_token(bytes: &[u8]) -> &[u8] {
    let unusual_in = |word| outside(b'a', b'z', word | eight(0x20));
    behind_usual(bytes, unusual_in, &IS_TOKEN)
}

/// What is left behind the bytes of a field's value (RFC 9110, section 5.5).
#[inline(always)]
fn behind_value(bytes: &[u8]) -> &[u8] {
    behind_usual(bytes, |word| outside(b' ', b'~', word), &IS_VALUE)
}

/// Marks the lowest byte that is not one of `first` to `last`, which are below 0x80.
///
/// A byte below `first` borrows from the ones above it, never from the ones below; so does one
/// above `last`, and whichever of the two differences a byte of 0x80 or more leaves unmarked, the
/// other one marks.
#[inline(always)]
fn outside(first: u8, last: u8, word: u64) -> u64 {
    word.wrapping_sub(eight(first)) | eight(last).wrapping_sub(word)
}

/// Marks the lowest byte that is `byte`; and ones of 0x80 or more, if that is below.
#[inline(always)]
fn is(byte: u8, word: u64) -> u64 {
    (word ^ eight(byte)).wrapping_sub(eight(1))
}

/// Eight times that byte.
const fn eight(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// The name of the field line that `lines` begins with, and what is left behind its colon; `None`
/// if the lines end there, with an empty one.
///
/// Whitespace before the colon and folded lines are refused (RFC 9112, sections 5.1 and 5.2).
#[inline(always)]
pub(super) fn name(lines: &[u8]) -> Result<Option<Found<'_>>, Stop> {
    let rest = behind_token(lines);
    match rest {
        [b':', value @ ..] if rest.len() < lines.len() => Ok(Some((before(lines, rest), value))),
        _ if lines.starts_with(b"\r\n") => Ok(None),
        _ => Err(not_a_name(lines, rest)),
    }
}

/// Why `lines`, of which `rest` is left behind a token, begins with no field.
#[cold]
fn not_a_name(lines: &[u8], rest: &[u8]) -> Stop {
    match lines {
        [] | [b'\r'] => Stop::Unfinished,
        // Lenient readers take a bare LF for a line's end too, which RFC 9112, section 2.2 permits:
        // two readers that differ there see different requests.
        [b'\r' | b'\n', ..] => Stop::Refused(RequestError::LineEnding),
        _ if rest.is_empty() => Stop::Unfinished,
        _ => Stop::Refused(RequestError::FieldName),
    }
}

/// What is left behind the line whose value `bytes` begins with.
#[inline(always)]
pub(super) fn skip_value(bytes: &[u8]) -> Result<&[u8], Stop> {
    behind_line_end(behind_value(bytes))
}

/// The value that `bytes` begins with, without the whitespace around it, and what is left behind
/// its line.
#[inline]
pub(super) fn value(bytes: &[u8]) -> Result<Found<'_>, Stop> {
    let rest = behind_value(bytes);
    // Spaces and tabs, that is: other whitespace of ASCII is no part of a value.
    let value = before(bytes, rest).trim_ascii();
    Ok((value, behind_line_end(rest)?))
}

/// What is left behind the line's end that has to be here.
#[inline(always)]
fn behind_line_end(bytes: &[u8]) -> Result<&[u8], Stop> {
    match bytes {
        [b'\r', b'\n', rest @ ..] => Ok(rest),
        _ => Err(not_a_line_end(bytes)),
    }
}

#[cold]
fn not_a_line_end(rest: &[u8]) -> Stop {
    match rest {
        [] | [b'\r'] => Stop::Unfinished,
        [b'\n', ..] => Stop::Refused(RequestError::LineEnding),
        _ => Stop::Refused(RequestError::FieldValue),
    }
}

/// The characters of a token (RFC 9110, section 5.6.2).
pub(super) static IS_TOKEN: Set = alphanumerics_and(b"!#$%&'*+-.^_`|~");
/// The characters of a registered name or an IPv4 address (RFC 3986, section 3.2.2), but for what
/// begins an escape.
pub(super) static IS_HOST: Set = alphanumerics_and(b"-._~!$&'()*+,;=");
static IS_DIGIT: Set = {
    let mut set = [false; 256];
    let mut digit = b'0';
    while digit <= b'9' {
        set[digit as usize] = true;
        digit += 1;
    }
    set
};
/// Visible characters of ASCII.
pub(super) static IS_VISIBLE: Set = visible_but(b"");
/// Those that may stand in a target. A fragment is never sent.
static IS_TARGET: Set = visible_but(b"#");
/// Those that may stand in its path. What begins an escape is looked at with care.
static IS_PATH: Set = visible_but(b"#?%");

static IS_VALUE: Set = {
    let mut set = visible_but(b"");
    set[b'\t' as usize] = true;
    set[b' ' as usize] = true;
    let mut byte = 0x80;
    while byte <= 0xff {
        set[byte] = true;
        byte += 1;
    }
    set
};

const fn alphanumerics_and(others: &[u8]) -> Set {
    let mut set = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        set[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < others.len() {
        set[others[index] as usize] = true;
        index += 1;
    }
    set
}

const fn visible_but(others: &[u8]) -> Set {
    let mut set = [false; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        set[byte] = true;
        byte += 1;
    }
    let mut index = 0;
    while index < others.len() {
        set[others[index] as usize] = false;
        index += 1;
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found eight bytes at a time is what is found byte by byte.
    #[test]
    fn many_bytes_at_once_are_told_as_one_is() {
        type Behind = for<'a> fn(&'a [u8]) -> &'a [u8];
        let cases: [(Behind, &Set, &[u8; 5]); 5] = [
            (behind_path, &IS_PATH, b"/a~&_"),
            (behind_query, &IS_TARGET, b"a=%&~"),
            (behind_digits, &IS_DIGIT, b"09185"),
            (behind_token, &IS_TOKEN, b"aZ-z_"),
            (behind_value, &IS_VALUE, b"a \t\x80~"),
        ];
        for (behind_fast, set, usual) in cases {
            // Each byte at each place, before usual bytes and before others.
            for (byte, len, after) in (0..=255_u8)
                .flat_map(|byte| (0..20).map(move |len| (byte, len)))
                .flat_map(|(byte, len)| [0, b'a', 0x7f, 0xff].map(|after| (byte, len, after)))
            {
                let mut bytes: Vec<u8> = usual.iter().copied().cycle().take(len).collect();
                bytes.push(byte);
                bytes.push(after);
                bytes.extend(usual.iter().chain(usual));
                let expected = bytes.iter().position(|&byte| !set[usize::from(byte)]);
                let expected = expected.map_or(&[][..], |at| &bytes[at..]);
                assert_eq!(behind_fast(&bytes), expected, "{byte}, {after} at {len}");
            }
        }
    }

    #[test]
    fn a_run_ends_with_its_set() {
        for len in 0..20 {
            for ending in [&b""[..], b" ", b" and more that follows"] {
                let mut bytes = vec![b't'; len];
                bytes.extend_from_slice(ending);
                assert_eq!(behind(&bytes, &IS_TOKEN), ending);
            }
        }
    }

    #[test]
    fn a_value_is_trimmed() {
        for (line, expected) in [
            ("a: \t b c \t\r\n", "b c"),
            ("a: \t\r\n", ""),
            ("a:b\r\n", "b"),
        ] {
            let bytes = &line.as_bytes()[2..];
            assert_eq!(value(bytes), Ok((expected.as_bytes(), &b""[..])));
            assert_eq!(skip_value(bytes), Ok(&b""[..]));
        }
    }
}
