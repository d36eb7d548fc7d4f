//! Request targets and hosts: what stands between the method and the version, and in `Host`.
//!
//! Pure: bytes in, parts of them out. Knows neither heads nor routes.

use super::error::RequestError;
use super::method::Method;
use super::scan;

/// A target, taken apart (RFC 9112, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// The path, `*`, or nothing (CONNECT).
    pub(super) path: &'a [u8],
    /// What follows the question mark.
    pub(super) query: &'a [u8],
    /// Host and port, if the target names them; they overrule `Host` (RFC 9112, section 3.2.2).
    pub(super) authority: Option<&'a [u8]>,
}

/// Takes the target of a request with this method apart: any of its four forms, of visible
/// characters.
pub(super) fn parse(method: Method, target: &[u8]) -> Result<Target<'_>, RequestError> {
    if target.contains(&b'#') {
        // A fragment is never sent (RFC 3986, section 3.5).
        return Err(RequestError::Target);
    }
    if method == Method::Connect {
        return connect(target);
    }
    match target {
        [b'/', ..] => Ok(with_query(target, None)),
        b"*" if method == Method::Options => Ok(with_query(target, None)),
        _ => absolute(method, target),
    }
    .and_then(with_good_escapes)
}

/// Two readers that decode `%zz` differently, or differ in what `%2` begins, find different files
/// (RFC 3986, section 2.1). The query is left to whoever reads it: a lone `%` is common there, and
/// says nothing of which resource is meant.
fn with_good_escapes(target: Target<'_>) -> Result<Target<'_>, RequestError> {
    let mut rest = target.path;
    while let Some(at) = memchr::memchr(b'%', rest) {
        rest = behind_escape(&rest[at + 1..]).ok_or(RequestError::Target)?;
    }
    Ok(target)
}

/// What is left behind the two digits of an escape, whose percent sign was there.
fn behind_escape(text: &[u8]) -> Option<&[u8]> {
    match text {
        [high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => Some(rest),
        _ => None,
    }
}

/// `host:port`, where the port must not be missing (RFC 9112, section 3.2.3).
fn connect(target: &[u8]) -> Result<Target<'_>, RequestError> {
    let port = memchr::memrchr(b':', target).map_or(&[][..], |colon| &target[colon + 1..]);
    if port.iter().all(|&digit| digit == b'0') || !is_authority(target) {
        return Err(RequestError::Target);
    }
    Ok(Target {
        path: &[],
        query: &[],
        authority: Some(target),
    })
}

/// The form that proxies are sent (RFC 9112, section 3.2.2).
fn absolute(method: Method, target: &[u8]) -> Result<Target<'_>, RequestError> {
    let scheme_len = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| {
            let start = target.get(..scheme.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        })
        .map(<[u8]>::len)
        .ok_or(RequestError::Target)?;
    let rest = &target[scheme_len..];
    let authority_len = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_len);
    if !is_authority(authority) {
        return Err(RequestError::Target);
    }
    let mut parsed = with_query(path, Some(authority));
    if parsed.path.is_empty() {
        // RFC 9112, section 3.2.4: OPTIONS without a path is about the server itself.
        let is_about_server = method == Method::Options && parsed.query.is_empty();
        parsed.path = if is_about_server { b"*" } else { b"/" };
    }
    Ok(parsed)
}

/// Splits path and query.
fn with_query<'a>(target: &'a [u8], authority: Option<&'a [u8]>) -> Target<'a> {
    let (path, query) = match memchr::memchr(b'?', target) {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (target, &[][..]),
    };
    Target {
        path,
        query,
        authority,
    }
}

/// Whether this is a host, with or without a port (RFC 9110, section 7.2). User names are refused
/// (section 4.2.4), and so is an empty host (section 4.2.1).
pub(super) fn is_authority(text: &[u8]) -> bool {
    if text.first() == Some(&b'[') {
        return is_bracketed(text);
    }
    behind_authority(text).is_some_and(<[u8]>::is_empty)
}

/// What is left behind the host that `text` begins with, and its port; `None` if there is none, or
/// if it is an address of IPv6.
#[inline(always)]
pub(super) fn behind_authority(text: &[u8]) -> Option<&[u8]> {
    let rest = match scan::behind(text, &scan::IS_HOST) {
        rest @ [b'%', ..] => behind_escapes(rest)?,
        rest => rest,
    };
    if rest.len() == text.len() {
        return None;
    }
    match rest {
        [b':', port @ ..] => behind_port(port),
        _ => Some(rest),
    }
}

/// What is left behind the host whose next part `text` is: an escape.
#[cold]
fn behind_escapes(mut text: &[u8]) -> Option<&[u8]> {
    while let [b'%', escape @ ..] = text {
        text = scan::behind(behind_escape(escape)?, &scan::IS_HOST);
    }
    Some(text)
}

/// What is left behind the port that `text` begins with: a number of 16 bits with at most five
/// digits. It may be empty (RFC 3986, section 3.2.3).
#[inline(always)]
fn behind_port(text: &[u8]) -> Option<&[u8]> {
    let rest = scan::behind_digits(text);
    let is_port = match scan::before(text, rest) {
        // In the order of text, which is that of numbers if all have five digits.
        digits @ [_, _, _, _, _] => digits <= &b"65535"[..],
        digits => digits.len() < 5,
    };
    is_port.then_some(rest)
}

/// As [`is_authority`], of an address of IPv6.
#[cold]
fn is_bracketed(text: &[u8]) -> bool {
    let Some(end) = memchr::memchr(b']', text) else {
        return false;
    };
    let address = std::str::from_utf8(&text[1..end]).unwrap_or_default();
    let is_address = address.parse::<std::net::Ipv6Addr>().is_ok();
    match &text[end + 1..] {
        [] => is_address,
        [b':', port @ ..] => is_address && behind_port(port) == Some(&[]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: Method, target: &str, expected: Option<(&str, &str, Option<&str>)>) {
        let text = |bytes| std::str::from_utf8(bytes).unwrap();
        let parsed = parse(method, target.as_bytes()).ok();
        let parsed = parsed.map(|target| {
            let authority = target.authority.map(text);
            (text(target.path), text(target.query), authority)
        });
        assert_eq!(parsed, expected, "{method:?} {target}");
    }

    #[test]
    fn a_target_has_one_of_four_forms() {
        check(Method::Get, "/a?b=c?d", Some(("/a", "b=c?d", None)));
        check(
            Method::Get,
            "http://h:8/a?b",
            Some(("/a", "b", Some("h:8"))),
        );
        check(Method::Get, "HTTPS://h", Some(("/", "", Some("h"))));
        check(Method::Get, "http://h?q", Some(("/", "q", Some("h"))));
        check(Method::Options, "*", Some(("*", "", None)));
        check(Method::Options, "http://h", Some(("*", "", Some("h"))));
        check(Method::Connect, "h:443", Some(("", "", Some("h:443"))));
        check(
            Method::Connect,
            "[::1]:443",
            Some(("", "", Some("[::1]:443"))),
        );
    }

    #[test]
    fn a_form_that_its_method_does_not_take_is_refused() {
        for target in [
            "*",
            "a",
            "h:80",
            "ftp://h/",
            "http:///a",
            "http://u@h/",
            "/a#b",
        ] {
            check(Method::Get, target, None);
        }
        for target in [
            "/",
            "h",
            "h:",
            "h:0",
            "h:65536",
            "h:x",
            "http://h:1",
            ":1",
            "*",
        ] {
            check(Method::Connect, target, None);
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for valid in [
            "a",
            "a.b-c",
            "a:",
            "a:1",
            "a:00080",
            "a:65535",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:8",
            "a%20b",
            "%61%2e:80",
            "_a",
        ] {
            assert!(is_authority(valid.as_bytes()), "{valid}");
        }
        for invalid in [
            "", ":1", "a b", "a/b", "a:b", "a:1:2", "a@b", "[::1", "[x]", "[::1]x", "a,b\"",
            "a\\b", "a%", "a%2", "%zz", "a%2g:80", "a:99999", "a:65536", "a:000080", "\u{e4}",
        ] {
            assert!(!is_authority(invalid.as_bytes()), "{invalid}");
        }
    }
}
