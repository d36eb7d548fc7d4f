//! Structured fields (RFC 9651): dictionaries, as they are sent.
//!
//! Pure: text in, members out, all of them borrowed. Knows the grammar, and no field.

use std::borrow::Cow;

use crate::http::base64;
use crate::http::fields::{Fields, is_token_byte};

/// A field that is no dictionary, or one of more than [`MAX_PARTS`] parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// `key=value;parameter`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member<'a> {
    pub(super) key: &'a str,
    pub(super) value: Value<'a>,
    pub(super) params: Params<'a>,
    /// Value and parameters as they were sent.
    pub(super) text: &'a str,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Item(Bare<'a>),
    /// An inner list: items with parameters of their own.
    List(Vec<(Bare<'a>, Params<'a>)>),
}

pub(super) type Params<'a> = Vec<(&'a str, Bare<'a>)>;

/// An item without its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bare<'a> {
    Integer(i64),
    /// What stands between the quotation marks, still escaped.
    String(&'a str),
    /// What stands between the colons, still in base64. Invariant: it can be decoded.
    Bytes(&'a str),
    Boolean(bool),
    /// A decimal, a token, a date or a display string: none of ours.
    Other,
}

impl<'a> Bare<'a> {
    pub(super) fn as_bytes(self) -> Option<Vec<u8>> {
        match self {
            Bare::Bytes(text) => base64::decode(text),
            _ => None,
        }
    }

    pub(super) fn as_text(self) -> Option<Cow<'a, str>> {
        match self {
            Bare::String(text) if text.contains('\\') => {
                let mut letters = text.chars();
                let mut plain = String::with_capacity(text.len());
                while let Some(letter) = letters.next() {
                    let escaped = (letter == '\\').then(|| letters.next()).flatten();
                    plain.push(escaped.unwrap_or(letter));
                }
                Some(Cow::Owned(plain))
            }
            Bare::String(text) => Some(Cow::Borrowed(text)),
            _ => None,
        }
    }
}

/// The members of a dictionary: those of all lines, in their order. A later one overrules an
/// earlier one of the same key, which is left out.
///
/// A member does not go on on the next line.
pub(super) fn dictionary<'a>(
    fields: &Fields<'a>,
    name: &str,
) -> Result<Vec<Member<'a>>, Malformed> {
    let mut members: Vec<Member<'a>> = Vec::new();
    for line in fields.get_all(name) {
        let text = std::str::from_utf8(line).map_err(|_| Malformed)?;
        let mut cursor = Cursor { rest: text };
        cursor.skip(" ");
        while !cursor.rest.is_empty() {
            let member = cursor.member()?;
            members.retain(|other| other.key != member.key);
            put(&mut members, member)?;
            cursor.skip(" \t");
            if cursor.rest.is_empty() {
                break;
            }
            cursor.pass(b',')?;
            cursor.skip(" \t");
            if cursor.rest.is_empty() {
                return Err(Malformed);
            }
        }
    }
    Ok(members)
}

fn put<T>(parts: &mut Vec<T>, part: T) -> Result<(), Malformed> {
    if parts.len() >= MAX_PARTS {
        return Err(Malformed);
    }
    parts.push(part);
    Ok(())
}

/// What is left of a text.
struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.rest.as_bytes().first().copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte) && byte.is_ascii();
        if is_next {
            self.rest = &self.rest[1..];
        }
        is_next
    }

    /// The next byte has to be this one.
    fn pass(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.eat(byte) {
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    fn skip(&mut self, letters: &str) {
        self.take(|byte| letters.as_bytes().contains(&byte));
    }

    /// The longest beginning of such bytes, all of them ASCII.
    fn take(&mut self, is_in: impl Fn(u8) -> bool) -> &'a str {
        let bytes = self.rest.bytes();
        let len = bytes
            .take_while(|&byte| byte.is_ascii() && is_in(byte))
            .count();
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        taken
    }

    /// What was passed since `before` was the rest.
    fn since(&self, before: &'a str) -> &'a str {
        &before[..before.len() - self.rest.len()]
    }

    fn member(&mut self) -> Result<Member<'a>, Malformed> {
        let key = self.key()?;
        let (mut start, mut value) = (self.rest, Value::Item(Bare::Boolean(true)));
        if self.eat(b'=') {
            start = self.rest;
            value = match self.peek() {
                Some(b'(') => Value::List(self.list()?),
                _ => Value::Item(self.bare()?),
            };
        }
        let params = self.params()?;
        let text = self.since(start);
        Ok(Member {
            key,
            value,
            params,
            text,
        })
    }

    fn key(&mut self) -> Result<&'a str, Malformed> {
        match self.peek() {
            Some(b'a'..=b'z' | b'*') => Ok(self.take(
                |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*'),
            )),
            _ => Err(Malformed),
        }
    }

    fn params(&mut self) -> Result<Params<'a>, Malformed> {
        let mut params = Params::new();
        while self.eat(b';') {
            self.skip(" ");
            let key = self.key()?;
            let value = match self.eat(b'=') {
                true => self.bare()?,
                false => Bare::Boolean(true),
            };
            put(&mut params, (key, value))?;
        }
        Ok(params)
    }

    fn list(&mut self) -> Result<Vec<(Bare<'a>, Params<'a>)>, Malformed> {
        let mut items = Vec::new();
        self.pass(b'(')?;
        loop {
            self.skip(" ");
            if self.eat(b')') {
                return Ok(items);
            }
            let item = (self.bare()?, self.params()?);
            put(&mut items, item)?;
            if !matches!(self.peek(), Some(b' ' | b')')) {
                return Err(Malformed);
            }
        }
    }

    fn bare(&mut self) -> Result<Bare<'a>, Malformed> {
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'"') => self.string(),
            Some(b':') => {
                self.pass(b':')?;
                let text = self.take(|byte| byte != b':');
                self.pass(b':')?;
                base64::decode(text).ok_or(Malformed)?;
                Ok(Bare::Bytes(text))
            }
            Some(b'?') => {
                self.pass(b'?')?;
                match self.eat(b'1') {
                    true => Ok(Bare::Boolean(true)),
                    false => self.pass(b'0').map(|()| Bare::Boolean(false)),
                }
            }
            Some(b'@') => {
                self.pass(b'@')?;
                match self.number()? {
                    Bare::Integer(_) => Ok(Bare::Other),
                    _ => Err(Malformed),
                }
            }
            Some(b'%') => self.display_string(),
            Some(byte) if byte == b'*' || byte.is_ascii_alphabetic() => {
                self.take(|byte| is_token_byte(byte) || matches!(byte, b':' | b'/'));
                Ok(Bare::Other)
            }
            _ => Err(Malformed),
        }
    }

    /// At most fifteen digits, or twelve and three behind a point.
    fn number(&mut self) -> Result<Bare<'a>, Malformed> {
        let is_negative = self.eat(b'-');
        let digits = self.take(|byte| byte.is_ascii_digit());
        if self.eat(b'.') {
            let places = self.take(|byte| byte.is_ascii_digit());
            let is_valid = (1..=12).contains(&digits.len()) && (1..=3).contains(&places.len());
            return if is_valid {
                Ok(Bare::Other)
            } else {
                Err(Malformed)
            };
        }
        if !(1..=15).contains(&digits.len()) {
            return Err(Malformed);
        }
        let number: i64 = digits.parse().map_err(|_| Malformed)?;
        Ok(Bare::Integer(if is_negative { -number } else { number }))
    }

    fn string(&mut self) -> Result<Bare<'a>, Malformed> {
        self.pass(b'"')?;
        let start = self.rest;
        loop {
            self.take(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'));
            let text = self.since(start);
            if self.eat(b'"') {
                return Ok(Bare::String(text));
            }
            self.pass(b'\\')?;
            if !self.eat(b'"') {
                self.pass(b'\\')?;
            }
        }
    }

    fn display_string(&mut self) -> Result<Bare<'a>, Malformed> {
        self.pass(b'%')?;
        self.pass(b'"')?;
        let text = self.take(|byte| matches!(byte, b' '..=b'~') && byte != b'"');
        self.pass(b'"')?;
        let is_escape = |part: &str| {
            let digits = part.as_bytes().get(..2).unwrap_or_default();
            digits.len() == 2
                && digits
                    .iter()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_valid = text.split('%').skip(1).all(is_escape)
            && percent_encoding::percent_decode_str(text)
                .decode_utf8()
                .is_ok();
        if is_valid {
            Ok(Bare::Other)
        } else {
            Err(Malformed)
        }
    }
}

/// Members of a dictionary, items of a list and parameters of an item: so many of each.
const MAX_PARTS: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(value: &str, expected: Option<usize>) {
        let line = format!("a: {value}\r\n");
        let members = dictionary(&Fields::new(line.as_bytes()), "a");
        assert_eq!(
            members.map(|members| members.len()).ok(),
            expected,
            "{value}"
        );
    }

    #[test]
    fn what_is_a_dictionary_and_what_is_not_rfc_9651_4_2_2() {
        for (value, len) in [
            ("", 0),
            ("a", 1),
            ("a=1, b=-2 ,\tc", 3),
            ("a=1,a=2", 1),
            ("a=?0;b;c=?1", 1),
            ("a=\"x\\\"y\\\\\"", 1),
            ("a=:Zm9v:;p=1.5, b=tok/en:x", 2),
            ("a=@1700000000, b=%\"f%c3%bc\"", 2),
            ("a=(), b=( \"x\";sf  1 ) ;c", 0),
            ("a=(), b=( \"x\";sf  1 );c", 2),
            ("*a_b-c.d*=1", 1),
        ] {
            check(value, (len > 0 || value.is_empty()).then_some(len));
        }
        for value in [
            "a,",
            ",a",
            "a=",
            "A=1",
            "1=a",
            "a b",
            "a=1 b=2",
            "a=:Zm9:",
            "a=:Zh==:",
            "a=:Zg==",
            "a=\"x",
            "a=\"\\x\"",
            "a=1234567890123456",
            "a=1.",
            "a=1.2345",
            "a=--1",
            "a=-",
            "a=(1",
            "a=(1\"x\")",
            "a=((1))",
            "a=?2",
            "a=@1.5",
            "a=%\"%C3\"",
            "a=%\"%ff\"",
            "a=;b",
            "a=\u{fc}",
            "a=\"\u{fc}\"",
            "a;",
            "a;=1",
            "a;B",
        ] {
            check(value, None);
        }
    }

    #[test]
    fn there_are_not_too_many_parts() {
        let many = |count: usize, between: &str| {
            let parts: Vec<String> = (0..count).map(|number| format!("a{number}")).collect();
            parts.join(between)
        };
        check(&many(MAX_PARTS, ","), Some(MAX_PARTS));
        check(&many(MAX_PARTS + 1, ","), None);
        check(&format!("x;{}", many(MAX_PARTS, ";")), Some(1));
        check(&format!("x;{}", many(MAX_PARTS + 1, ";")), None);
        check(&format!("x=({})", many(MAX_PARTS, " ")), Some(1));
        check(&format!("x=({})", many(MAX_PARTS + 1, " ")), None);
    }

    #[test]
    fn several_lines_are_one_dictionary_and_the_last_of_a_key_counts() {
        let fields = Fields::new(b"a: x=1, y=2\r\nb: x=9\r\nA:\r\nA: x=3;p=\"q\\\\\"\r\n");
        let members = dictionary(&fields, "a").unwrap();
        assert_eq!(members.len(), 2);
        assert_eq!((members[0].key, members[1].key), ("y", "x"));
        assert_eq!(members[1].value, Value::Item(Bare::Integer(3)));
        assert_eq!(members[1].text, "3;p=\"q\\\\\"");
        assert_eq!(members[1].params[0].0, "p");
        assert_eq!(members[1].params[0].1.as_text().as_deref(), Some("q\\"));
    }

    proptest! {
        #[test]
        fn whatever_is_sent_nothing_panics_and_what_was_read_is_read_again_from_its_text(
            value in "[ -~]{0,60}|([a-c]=?(:[A-Za-z0-9+/]{4}:|\\(\"[a-z@]\" [0-9]+\\)|\
                -?[0-9.]{1,4}|\"[a\\\\\"]{0,4}\")?[;,] ?){0,6}[a-c]",
        ) {
            let line = format!("a: {value}\r\n");
            if let Ok(members) = dictionary(&Fields::new(line.as_bytes()), "a") {
                for member in &members {
                    let again = match member.text.strip_prefix(';') {
                        Some(_) => format!("a: {}{}\r\n", member.key, member.text),
                        None if member.text.is_empty() => format!("a: {}\r\n", member.key),
                        None => format!("a: {}={}\r\n", member.key, member.text),
                    };
                    let fields = Fields::new(again.as_bytes());
                    let again = dictionary(&fields, "a").unwrap();
                    prop_assert_eq!(&again[0], member);
                }
            }
        }
    }
}
