//! The bytes of a head and of a trailer: which of them may stand where, and field lines.
//!
//! Looks at each byte once, many at a time where that is possible. Pure: bytes in, positions out.
//! Knows nothing of what a field means.

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

/// A set of bytes.
pub(super) type Set = [bool; 256];

/// Where the bytes of `set` that begin at `at` end.
#[inline(always)]
pub(super) fn run(bytes: &[u8], mut at: usize, set: &Set) -> usize {
    // Eight at a time, because that takes one check of the bounds.
    while let Some(&[a, b, c, d, e, f, g, h]) = bytes[at..].first_chunk() {
        let is_in = |byte: u8| set[usize::from(byte)];
        at += match () {
            () if !is_in(a) => return at,
            () if !is_in(b) => return at + 1,
            () if !is_in(c) => return at + 2,
            () if !is_in(d) => return at + 3,
            () if !is_in(e) => return at + 4,
            () if !is_in(f) => return at + 5,
            () if !is_in(g) => return at + 6,
            () if !is_in(h) => return at + 7,
            () => 8,
        };
    }
    while let Some(&byte) = bytes.get(at)
        && set[usize::from(byte)]
    {
        at += 1;
    }
    at
}

/// Whether these bytes are the ones at `at`.
#[inline(always)]
pub(super) fn begins_with<const N: usize>(bytes: &[u8], at: usize, expected: &[u8; N]) -> bool {
    // By number, because arrays are compared byte by byte in a chain of conditions.
    let word = |bytes: &[u8; N]| {
        let mut word = [0; 8];
        word[..N].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    };
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk::<N>);
    found.is_some_and(|found| word(found) == word(expected))
}

/// Where the bytes of a field's value that begin at `at` end (RFC 9110, section 5.5).
#[inline(always)]
fn value_run(bytes: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = bytes[at..].first_chunk::<8>() {
        let stops = controls_in(u64::from_le_bytes(*chunk));
        if stops == 0 {
            at += chunk.len();
            continue;
        }
        at += (stops.trailing_zeros() / 8) as usize;
        if bytes[at] != b'\t' {
            return at;
        }
        at += 1;
    }
    run(bytes, at, &IS_VALUE)
}

/// The highest bit of the lowest byte that is a control character, if there is one; those above it
/// say nothing.
#[inline(always)]
fn controls_in(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    // A byte below 0x20 borrows from the ones above it, never from the ones below.
    let low = word.wrapping_sub(ONES * 0x20) & !word;
    let no_delete = word ^ (ONES * 0x7f);
    let delete = no_delete.wrapping_sub(ONES) & !no_delete;
    (low | delete) & HIGHS
}

/// Where the name of the field line that begins at `at` ends, at its colon; `None` if the lines end
/// there, with an empty one.
///
/// Whitespace before the colon and folded lines are refused (RFC 9112, sections 5.1 and 5.2).
#[inline(always)]
pub(super) fn name_end(bytes: &[u8], at: usize) -> Result<Option<usize>, Stop> {
    let end = run(bytes, at, &IS_TOKEN);
    if end > at && bytes.get(end) == Some(&b':') {
        return Ok(Some(end));
    }
    match &bytes[at..] {
        [b'\r', b'\n', ..] => Ok(None),
        rest => Err(not_a_name(rest, end - at)),
    }
}

#[cold]
fn not_a_name(rest: &[u8], token_len: usize) -> Stop {
    match rest {
        [] | [b'\r'] => Stop::Unfinished,
        // Lenient readers take a bare LF for a line's end too, which RFC 9112, section 2.2 permits:
        // two readers that differ there see different requests.
        [b'\r' | b'\n', ..] => Stop::Refused(RequestError::LineEnding),
        _ if token_len == rest.len() => Stop::Unfinished,
        _ => Stop::Refused(RequestError::FieldName),
    }
}

/// Where the line behind the value that begins at `at` begins.
#[inline(always)]
pub(super) fn skip_value(bytes: &[u8], at: usize) -> Result<usize, Stop> {
    after_line_end(bytes, value_run(bytes, at))
}

/// The value that begins at `at`, without the whitespace around it, and where the next line begins.
#[inline]
pub(super) fn value(bytes: &[u8], at: usize) -> Result<(&[u8], usize), Stop> {
    let end = value_run(bytes, at);
    let next = after_line_end(bytes, end)?;
    // Spaces and tabs, that is: other whitespace of ASCII is no part of a value.
    Ok((bytes[at..end].trim_ascii(), next))
}

/// Where the next line begins, if this one ends at `at`.
#[inline(always)]
fn after_line_end(bytes: &[u8], at: usize) -> Result<usize, Stop> {
    if begins_with(bytes, at, b"\r\n") {
        return Ok(at + 2);
    }
    Err(not_a_line_end(bytes.get(at..).unwrap_or_default()))
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
/// The characters of a registered name or an IPv4 address (RFC 3986, section 3.2.2).
pub(super) static IS_HOST: Set = alphanumerics_and(b"-._~%!$&'()*+,;=");
/// Visible characters of ASCII.
pub(super) static IS_VISIBLE: Set = visible_but(b"");
/// Those that may stand in a target. A fragment is never sent.
pub(super) static IS_TARGET: Set = visible_but(b"#");
/// Those that may stand in its path. What begins an escape is looked at with care.
pub(super) static IS_PATH: Set = visible_but(b"#?%");

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

    #[test]
    fn a_value_ends_at_its_first_control_character_wherever_that_stands() {
        for byte in 0..=255_u8 {
            for len in 0..20 {
                let mut bytes = vec![b'v'; len];
                bytes.push(byte);
                bytes.extend_from_slice(b"\x80 \t\xff more\x7f");
                let is_value = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
                let expected = if is_value { bytes.len() - 1 } else { len };
                assert_eq!(value_run(&bytes, 0), expected, "{byte} at {len}");
            }
        }
    }

    #[test]
    fn a_run_ends_with_its_set() {
        for len in 0..20 {
            for behind in [&b""[..], b" ", b" and more that follows"] {
                let mut bytes = vec![b't'; len];
                bytes.extend_from_slice(behind);
                assert_eq!(run(&bytes, 0, &IS_TOKEN), len);
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
            let bytes = line.as_bytes();
            assert_eq!(value(bytes, 2), Ok((expected.as_bytes(), bytes.len())));
            assert_eq!(skip_value(bytes, 2), Ok(bytes.len()));
        }
    }
}
