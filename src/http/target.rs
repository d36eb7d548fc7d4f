//! Request targets and hosts: what stands between the method and the version, and in `Host`.
//!
//! Pure: text in, parts of it out. Knows neither heads nor routes.

use super::error::RequestError;
use super::head::Method;

/// A target, taken apart (RFC 9112, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// The path, `*`, or nothing (CONNECT).
    pub(crate) path: &'a str,
    /// What follows the question mark.
    pub(crate) query: &'a str,
    /// Host and port, if the target names them; they overrule `Host` (RFC 9112, section 3.2.2).
    pub(crate) authority: Option<&'a str>,
}

/// Takes the target of a request with this method apart.
#[inline]
pub(crate) fn parse(method: Method, target: &str) -> Result<Target<'_>, RequestError> {
    // A fragment is never sent; bytes outside of ASCII have to be percent-encoded (RFC 3986).
    if !target
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'#')
    {
        return Err(RequestError::Target);
    }
    if method == Method::Connect {
        return connect(target);
    }
    if target.starts_with('/') {
        return Ok(with_query(target, None));
    }
    other_form(method, target)
}

/// `host:port`, where the port must not be missing (RFC 9112, section 3.2.3).
fn connect(target: &str) -> Result<Target<'_>, RequestError> {
    let port = target.rsplit_once(':').map_or("", |(_, port)| port);
    if port.is_empty() || port.parse() == Ok(0_u16) || !is_authority(target.as_bytes()) {
        return Err(RequestError::Target);
    }
    Ok(Target {
        path: "",
        query: "",
        authority: Some(target),
    })
}

/// The asterisk, which only OPTIONS takes, or the absolute form that proxies are sent.
fn other_form(method: Method, target: &str) -> Result<Target<'_>, RequestError> {
    if target == "*" && method == Method::Options {
        return Ok(with_query(target, None));
    }
    let scheme_len = ["http://", "https://"]
        .into_iter()
        .find(|scheme| {
            let start = target.as_bytes().get(..scheme.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
        })
        .map(str::len)
        .ok_or(RequestError::Target)?;
    let rest = &target[scheme_len..];
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if !is_authority(authority.as_bytes()) {
        return Err(RequestError::Target);
    }
    let mut parsed = with_query(path, Some(authority));
    if parsed.path.is_empty() {
        // RFC 9112, section 3.2.4: OPTIONS without a path is about the server itself.
        let is_about_server = method == Method::Options && parsed.query.is_empty();
        parsed.path = if is_about_server { "*" } else { "/" };
    }
    Ok(parsed)
}

fn with_query<'a>(target: &'a str, authority: Option<&'a str>) -> Target<'a> {
    let (path, query) = match memchr::memchr(b'?', target.as_bytes()) {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (target, ""),
    };
    Target {
        path,
        query,
        authority,
    }
}

/// Whether this is a host, with or without a port (RFC 9110, section 7.2). User names are refused
/// (section 4.2.4), and so is an empty host (section 4.2.1).
pub(crate) fn is_authority(text: &[u8]) -> bool {
    let (host, port) = match text {
        [b'[', rest @ ..] => {
            let Some(end) = memchr::memchr(b']', rest) else {
                return false;
            };
            let address = std::str::from_utf8(&rest[..end]).unwrap_or_default();
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            match &rest[end + 1..] {
                [] => return true,
                [b':', port @ ..] => return is_port(port),
                _ => return false,
            }
        }
        _ => match memchr::memchr(b':', text) {
            Some(colon) => (&text[..colon], &text[colon + 1..]),
            None => (text, &b""[..]),
        },
    };
    !host.is_empty() && host.iter().all(|&byte| is_host_byte(byte)) && is_port(port)
}

/// A port may be empty (RFC 3986, section 3.2.3).
fn is_port(text: &[u8]) -> bool {
    let digit = |number: u32, byte: &u8| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        Some(number * 10 + digit).filter(|&number| number <= u32::from(u16::MAX))
    };
    text.iter().try_fold(0, digit).is_some()
}

/// The characters of a registered name or an IPv4 address (RFC 3986, section 3.2.2).
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: Method, target: &str, expected: Option<(&str, &str, Option<&str>)>) {
        let parsed = parse(method, target).ok();
        let parsed = parsed.map(|target| (target.path, target.query, target.authority));
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
            "/\u{e4}",
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
            "127.0.0.1:80",
            "[::1]",
            "[::1]:8",
            "a%20b",
            "_a",
        ] {
            assert!(is_authority(valid.as_bytes()), "{valid}");
        }
        for invalid in [
            "", ":1", "a b", "a/b", "a:b", "a:1:2", "a@b", "[::1", "[x]", "[::1]x", "a,b\"",
            "a\\b", "a:99999", "\u{e4}",
        ] {
            assert!(!is_authority(invalid.as_bytes()), "{invalid}");
        }
    }
}
