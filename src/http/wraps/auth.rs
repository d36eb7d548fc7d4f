//! Authentication (RFC 9110, section 11): Basic (RFC 7617) and Bearer (RFC 6750).
//!
//! Takes credentials apart. Knows nobody: whether they are good is the user's to say.

use crate::http::base64;
use crate::http::request::Request;
use crate::http::response::Response;
use crate::http::status::Status;

/// Lets those through whose user name and password `check` finds good; others are answered 401.
///
/// `check` should compare secrets in constant time (with the crate `subtle`, say), because how long
/// a comparison takes tells how much of a guess is right; and it must not block: hashing a password
/// properly takes long by design, so do that elsewhere, once, and hand out tokens.
///
/// A guard: strangers are refused before anything of a body is read. For [`Router::guard`] and
/// [`Router::guard_route`].
///
/// [`Router::guard`]: crate::http::Router::guard
/// [`Router::guard_route`]: crate::http::Router::guard_route
pub fn basic_auth(
    realm: &str,
    check: impl Fn(&str, &str) -> bool + 'static,
) -> impl Fn(&mut Request<'_>) -> Result<(), Response> + 'static {
    let challenge = format!("Basic realm={}, charset=\"UTF-8\"", quoted(realm));
    move |request| match basic_credentials(request) {
        Some((user, password)) if check(&user, &password) => Ok(()),
        _ => Err(unauthorized(&challenge)),
    }
}

/// Lets those through whose token `check` finds good; others are answered 401. As for
/// [`basic_auth`], `check` should compare in constant time, and must not block.
pub fn bearer_auth(
    realm: &str,
    check: impl Fn(&str) -> bool + 'static,
) -> impl Fn(&mut Request<'_>) -> Result<(), Response> + 'static {
    let challenge = format!("Bearer realm={}", quoted(realm));
    // RFC 6750, section 3.1: who sent nothing is told nothing.
    let invalid = format!("{challenge}, error=\"invalid_token\"");
    move |request| match bearer_token(request) {
        Some(token) if check(token) => Ok(()),
        Some(_) => Err(unauthorized(&invalid)),
        None => Err(unauthorized(&challenge)),
    }
}

/// The user name and the password that a request was sent with (RFC 7617, section 2).
pub fn basic_credentials(request: &Request<'_>) -> Option<(String, String)> {
    let pair = String::from_utf8(base64::decode(credentials(request, "basic")?)?).ok()?;
    let (user, password) = pair.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// The token that a request was sent with (RFC 6750, section 2.1).
pub fn bearer_token<'a>(request: &Request<'a>) -> Option<&'a str> {
    credentials(request, "bearer")
}

/// What follows the name of the scheme, if it is this one, and there is only one such field.
fn credentials<'a>(request: &Request<'a>, scheme: &str) -> Option<&'a str> {
    let mut values = request.head().fields().get_all("authorization");
    let value = std::str::from_utf8(values.next()?).ok()?;
    let (own, credentials) = value.split_once(' ')?;
    let credentials = credentials.trim_start_matches(' ');
    let is_it = own.eq_ignore_ascii_case(scheme) && values.next().is_none();
    (is_it && !credentials.is_empty()).then_some(credentials)
}

fn unauthorized(challenge: &str) -> Response {
    Response::error(Status::UNAUTHORIZED).header("WWW-Authenticate", challenge)
}

/// A quoted string (RFC 9110, section 5.6.4). Control characters cannot be in one, and are left
/// out.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars().filter(|letter| !letter.is_control()) {
        if matches!(letter, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::ask;
    use crate::http::{Router, Server};

    fn server() -> Server {
        let basic = Router::new()
            .get("/", |request| {
                let (user, _) = basic_credentials(request).unwrap_or_default();
                Response::text(format!("hello, {user}"))
            })
            .guard(basic_auth("a \"b\"\r\n", |user, password| {
                (user, password) == ("Aladdin", "open:sesame")
            }));
        let bearer = Router::new()
            .get("/", |_| Response::text("hello"))
            .guard(bearer_auth("api", |token| token == "good"));
        Server::new(Router::new().nest("/basic", basic).nest("/bearer", bearer))
    }

    #[track_caller]
    fn check(path: &str, fields: &str, status: u16, part: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        let answer = ask(&server(), request.as_bytes());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{fields:?}: {answer}"
        );
        assert!(answer.contains(part), "{fields:?}: {answer}");
    }

    #[test]
    fn basic_credentials_are_checked_rfc_7617() {
        let good = "Authorization: basic QWxhZGRpbjpvcGVuOnNlc2FtZQ==\r\n";
        check("/basic", good, 200, "hello, Aladdin");
        let challenge = "WWW-Authenticate: Basic realm=\"a \\\"b\\\"\", charset=\"UTF-8\"\r\n";
        for bad in [
            "",
            "Authorization: Basic\r\n",
            "Authorization: Basic \r\n",
            "Authorization: Basic QWxhZGRpbjo=\r\n",
            "Authorization: Basic QWxhZGRpbg==\r\n",
            "Authorization: Basic QWxhZGRpbjpvcGVuOnNlc2FtZQ\r\n",
            "Authorization: Bearer QWxhZGRpbjpvcGVuOnNlc2FtZQ==\r\n",
            &good.repeat(2),
        ] {
            check("/basic", bad, 401, challenge);
        }
    }

    #[test]
    fn a_token_is_checked_rfc_6750() {
        check("/bearer", "Authorization: BEARER good\r\n", 200, "hello");
        check(
            "/bearer",
            "",
            401,
            "WWW-Authenticate: Bearer realm=\"api\"\r\n",
        );
        let bad = "Authorization: Bearer bad\r\n";
        check(
            "/bearer",
            bad,
            401,
            "realm=\"api\", error=\"invalid_token\"\r\n",
        );
    }
}
