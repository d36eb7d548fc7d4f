//! Request paths to names below a root.
//!
//! Pure: text in, bytes out. This is the first of two walls around the root: what it lets through
//! has no way to say "up" or "elsewhere". The second is the kernel's, which knows about links.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named<'a> {
    /// Relative, with `/` between names; empty for the root itself. Invariant: no name is empty,
    /// `.` or `..`, or contains a slash, a backslash or NUL.
    pub(super) path: Cow<'a, [u8]>,
    /// It ends in a slash, so it means a directory.
    pub(super) is_directory: bool,
}

/// What the percent-encoded `path` names, which is relative to the root; `None` if that can be no
/// file to be served. Each part is decoded once, on its own, so an encoded slash divides nothing.
pub(super) fn resolve(path: &str, allows_hidden: bool) -> Option<Named<'_>> {
    let (parts, is_directory) = match path.strip_suffix('/') {
        Some(parts) => (parts, true),
        None => (path, path.is_empty()),
    };
    let is_allowed = |part: &[u8]| is_name(part, allows_hidden);
    let path = if path.is_empty() {
        Cow::default()
    } else if !parts.contains('%') {
        let names = parts.as_bytes();
        let mut all = names.split(|&byte| byte == b'/');
        all.all(is_allowed).then_some(Cow::Borrowed(names))?
    } else {
        let mut names = Vec::with_capacity(parts.len());
        for part in parts.split('/') {
            let start = names.len();
            names.extend(percent_decode_str(part));
            if !is_allowed(&names[start..]) {
                return None;
            }
            names.push(b'/');
        }
        names.pop();
        Cow::Owned(names)
    };
    Some(Named { path, is_directory })
}

/// Whether this may be looked up in a directory.
fn is_name(name: &[u8], allows_hidden: bool) -> bool {
    let is_hidden = name.first() == Some(&b'.') && name != b".well-known";
    let is_dots = name == b"." || name == b"..";
    let is_divided = name.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0));
    !name.is_empty() && !is_dots && !is_divided && (allows_hidden || !is_hidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: Option<(&str, bool)>) {
        let named = resolve(path, false);
        let named = named.map(|named| {
            let path = String::from_utf8(named.path.into_owned()).unwrap();
            (path, named.is_directory)
        });
        let expected = expected.map(|(path, is_directory)| (path.to_owned(), is_directory));
        assert_eq!(named, expected, "{path:?}");
    }

    #[test]
    fn a_path_names_a_file_or_a_directory_below_the_root() {
        check("", Some(("", true)));
        check("a", Some(("a", false)));
        check("a/b.c", Some(("a/b.c", false)));
        check("a/b/", Some(("a/b", true)));
        check("a%20b/%C3%A4", Some(("a b/\u{e4}", false)));
        check(".well-known/x", Some((".well-known/x", false)));
    }

    #[test]
    fn a_path_that_leads_elsewhere_names_nothing() {
        for path in [
            "..",
            ".",
            "../a",
            "a/..",
            "a/../b",
            "a/./b",
            "%2e%2e/a",
            ".%2E",
            "a/%2e",
            "a%2fb",
            "..%2fa",
            "%2Fa",
            "a\\b",
            "..\\a",
            "..%5ca",
            "a%00",
            "%00",
            "/",
            "//",
            "/a",
            "a//b",
            "a//",
            "../",
            "%2e%2e%2f",
        ] {
            check(path, None);
            assert_eq!(resolve(path, true), None, "{path}: hidden or not");
        }
    }

    #[test]
    fn a_path_is_decoded_once() {
        check("%252e%252e", Some(("%2e%2e", false)));
        check("%zz%2", Some(("%zz%2", false)));
    }

    #[test]
    fn hidden_files_are_named_only_where_they_are_allowed() {
        for path in [".env", "a/.git/config", "%2eenv", "..."] {
            check(path, None);
            assert!(resolve(path, true).is_some(), "{path}");
        }
    }
}
