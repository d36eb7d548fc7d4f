//! Whether what came back is what the table says.

use crate::answers::{Answer, parse};
use crate::table::Case;

/// What a client got, and how that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The server keeps the connection.
    Kept,
    /// The server has ended it, in order.
    Closed,
    /// Something broke: what is there may be cut off anywhere, or not be there at all.
    Broken,
}

/// Compares what was received with what the table says of the case.
pub(crate) fn judge(case: &Case, received: &[u8], end: End) -> Result<(), String> {
    let (expected, fate) = case
        .expected
        .rsplit_once(' ')
        .unwrap_or(("", case.expected));
    let is_whole = end != End::Broken;
    if is_whole && (end == End::Closed) != (fate == "close") {
        return Err(format!("the connection's fate: {end:?}"));
    }
    let mut rest = received;
    let mut last = None;
    for expected in split_expectations(expected) {
        let (answer, behind) = match parse(rest, expected.starts_with("head")) {
            Ok(parsed) => parsed,
            Err(_) if !is_whole => return Ok(()),
            Err(error) => return Err(error),
        };
        rest = behind;
        compare(&answer, expected.trim_start_matches("head"), is_whole)?;
        if answer.status >= 200 {
            last = Some(answer);
        }
    }
    if !rest.is_empty() {
        return Err("more than was expected".into());
    }
    match last {
        Some(last) if is_whole => {
            let says_close = last.field("connection") == Some("close");
            let is_told = says_close == (end == End::Closed);
            is_told.then_some(()).ok_or("what Connection says".into())
        }
        _ => Ok(()),
    }
}

/// Compares an answer with what is expected: `200=text`.
fn compare(answer: &Answer, expected: &str, is_whole: bool) -> Result<(), String> {
    let (status, body) = match expected.split_once('=') {
        Some((status, body)) => (status, Some(body.replace("\\n", "\r\n"))),
        None => (expected, None),
    };
    if answer.status.to_string() != status {
        return Err(format!("the status {}", answer.status));
    }
    // A body that ends with the connection may have been cut off with it.
    let has_end = ["content-length", "transfer-encoding"]
        .iter()
        .any(|name| answer.field(name).is_some());
    if let Some(body) = body
        && (is_whole || has_end)
        && String::from_utf8_lossy(&answer.body) != body
    {
        return Err("the body".into());
    }
    answer.check()
}

/// Bodies may contain spaces: an answer begins with three digits, or with `head`.
fn split_expectations(expected: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for word in expected.split(' ') {
        let start = word.trim_start_matches("head");
        let is_answer = start.len() >= 3
            && start.bytes().take(3).all(|byte| byte.is_ascii_digit())
            && !start[3..].starts_with(|char: char| char != '=');
        match all.last_mut() {
            Some(last) if !is_answer => *last += &format!(" {word}"),
            _ if word.is_empty() => {}
            _ => all.push(word.to_owned()),
        }
    }
    all
}
