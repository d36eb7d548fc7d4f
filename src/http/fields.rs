//! `Fields`: the field lines of a head or a trailer, where they lie.
//!
//! Splits on demand what was validated before, so that no table of them has to be kept. Knows
//! nothing of what a field means.

use std::fmt;

use memchr::memchr;

use super::scan;

/// Header or trailer fields, in the order in which they were sent (RFC 9110, section 5).
///
/// Looking one up walks over the lines: cheap for the few that a handler asks for.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    /// Lines `name: value`, each ended by CR LF. Invariant: valid.
    lines: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of lines that were found valid.
    pub(crate) fn new(lines: &'a [u8]) -> Fields<'a> {
        Fields { lines }
    }

    /// The lines as they were sent.
    #[cfg(feature = "digest")]
    pub(crate) fn as_bytes(&self) -> &'a [u8] {
        self.lines
    }

    /// The first value of a field, if it is UTF-8. Names are compared without regard to case.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.get_all(name)
            .next()
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All values of a field, as bytes: they may contain anything from 0x80 up.
    pub fn get_all<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.iter()
            .filter(move |(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// All fields: name and value, without the whitespace around it.
    pub fn iter(&self) -> FieldsIter<'a> {
        FieldsIter { rest: self.lines }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

impl<'a> IntoIterator for &Fields<'a> {
    type Item = (&'a str, &'a [u8]);
    type IntoIter = FieldsIter<'a>;

    fn into_iter(self) -> FieldsIter<'a> {
        self.iter()
    }
}

impl fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lossy = |(name, value)| (name, String::from_utf8_lossy(value));
        f.debug_map().entries(self.iter().map(lossy)).finish()
    }
}

/// The iterator of [`Fields::iter`].
#[derive(Clone, Debug)]
pub struct FieldsIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for FieldsIter<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<(&'a str, &'a [u8])> {
        let end = memchr(b'\n', self.rest)?;
        let (line, rest) = self.rest.split_at(end + 1);
        self.rest = rest;
        let line = line.strip_suffix(b"\r\n")?;
        let colon = memchr(b':', line)?;
        let name = std::str::from_utf8(&line[..colon]).ok()?;
        Some((name, line[colon + 1..].trim_ascii()))
    }
}

/// The elements of a list (RFC 9110, section 5.6.1), without the whitespace around them; empty
/// elements are passed over. Not for lists of quoted strings.
pub(crate) fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// Whether `text` is a token (RFC 9110, section 5.6.2): at least one of its characters.
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_token_byte(byte))
}

pub(crate) fn is_token_byte(byte: u8) -> bool {
    scan::IS_TOKEN[usize::from(byte)]
}

/// Whether `text` may stand as a field's value: visible characters, spaces, tabs, obs-text (RFC
/// 9110, section 5.5), and no whitespace around it.
pub(crate) fn is_value(text: &[u8]) -> bool {
    let is_valid = |&byte: &u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    text.iter().all(is_valid) && text.trim_ascii().len() == text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_name_without_regard_to_case_and_trimmed() {
        let fields = Fields::new(b"Host: a\r\nX-Empty:\r\nx-one: \t1 2\t \r\nX-ONE:3\r\n");
        assert_eq!(fields.get("HOST"), Some("a"));
        assert_eq!(fields.get("x-empty"), Some(""));
        assert_eq!(fields.get("x-one"), Some("1 2"));
        assert_eq!(fields.get("x"), None);
        let all: Vec<&[u8]> = fields.get_all("x-one").collect();
        assert_eq!(all, [&b"1 2"[..], b"3"]);
        assert_eq!(fields.iter().count(), 4);
    }

    #[test]
    fn a_value_that_is_not_utf8_is_there_as_bytes() {
        let fields = Fields::new(b"a: \xff\r\n");
        assert_eq!(fields.get("a"), None);
        assert_eq!(fields.get_all("a").next(), Some(&b"\xff"[..]));
    }

    #[test]
    fn a_list_has_elements_between_commas() {
        let all: Vec<&[u8]> = elements(b" a,, b ,").collect();
        assert_eq!(all, [b"a", b"b"]);
    }

    #[test]
    fn a_value_has_no_line_ends_controls_or_outer_whitespace() {
        for valid in ["", "a", "a b\tc", "\u{fc}"] {
            assert!(is_value(valid.as_bytes()), "{valid:?}");
        }
        for invalid in [
            "a\r\nb", "a\nb", "a\rb", "\0", "\u{7f}", "\u{7}", " a", "a ",
        ] {
            assert!(!is_value(invalid.as_bytes()), "{invalid:?}");
        }
    }
}
