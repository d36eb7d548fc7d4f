//! Searching: the one file that looks for bytes in the input, so that a test can count how many
//! bytes were looked at.
//!
//! Knows bytes only: neither frames nor limits.

/// Where `wanted` is first found in `bytes`.
#[inline]
pub(super) fn find_byte(wanted: u8, bytes: &[u8]) -> Option<usize> {
    seen(memchr::memchr(wanted, bytes), bytes)
}

/// Where the first of `wanted` is found in `bytes`.
#[inline]
pub(super) fn find_either(wanted: [u8; 2], bytes: &[u8]) -> Option<usize> {
    seen(memchr::memchr2(wanted[0], wanted[1], bytes), bytes)
}

/// Where the first of `wanted` is found in `bytes`.
#[inline]
pub(super) fn find_any_of_three(wanted: [u8; 3], bytes: &[u8]) -> Option<usize> {
    seen(
        memchr::memchr3(wanted[0], wanted[1], wanted[2], bytes),
        bytes,
    )
}

/// Where the first byte is found in `bytes` that `wanted` marks.
#[inline]
pub(super) fn find_marked(wanted: &[bool; 256], bytes: &[u8]) -> Option<usize> {
    let found = bytes.iter().position(|&byte| wanted[usize::from(byte)]);
    seen(found, bytes)
}

/// How many bytes `bytes` and `pattern` have in common at their beginning.
#[inline]
pub(super) fn common_len(bytes: &[u8], pattern: &[u8]) -> usize {
    let differs = bytes.iter().zip(pattern).position(|(a, b)| a != b);
    let compared_len = bytes.len().min(pattern.len());
    count::add(differs.map_or(compared_len, |at| at + 1));
    differs.unwrap_or(compared_len)
}

#[inline]
fn seen(found: Option<usize>, bytes: &[u8]) -> Option<usize> {
    count::add(found.map_or(bytes.len(), |at| at + 1));
    found
}

#[cfg(not(test))]
mod count {
    #[inline(always)]
    pub(super) fn add(_len: usize) {}
}

/// How many bytes this thread has looked at: what the linearity tests assert on.
#[cfg(test)]
pub(super) mod count {
    use std::cell::Cell;

    thread_local! {
        static SCANNED_LEN: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn add(len: usize) {
        SCANNED_LEN.set(SCANNED_LEN.get() + len);
    }

    /// The bytes looked at since the last call.
    pub(crate) fn take() -> usize {
        SCANNED_LEN.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_looked_at_is_counted_up_to_the_byte_that_was_found() {
        count::take();
        assert_eq!(find_byte(b'c', b"abcdef"), Some(2));
        assert_eq!(count::take(), 3);
        assert_eq!(find_byte(b'x', b"abcdef"), None);
        assert_eq!(count::take(), 6);
        assert_eq!(common_len(b"abx", b"abcd"), 2);
        assert_eq!(count::take(), 3);
    }

    #[test]
    fn every_search_finds_the_first_of_what_it_looks_for() {
        let mut marked = [false; 256];
        for byte in *b"xyz" {
            marked[usize::from(byte)] = true;
        }
        for text in [&b"abzxy"[..], b"", b"abc", b"y"] {
            let expected = text.iter().position(|byte| b"xyz".contains(byte));
            assert_eq!(find_any_of_three(*b"xyz", text), expected);
            assert_eq!(find_marked(&marked, text), expected);
            let expected = text.iter().position(|byte| b"xy".contains(byte));
            assert_eq!(find_either(*b"xy", text), expected);
        }
    }
}
