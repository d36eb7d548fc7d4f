//! Responses on the wire: status line, fields, framing (RFC 9112, sections 4, 6 and 7).
//!
//! Appends to an outbox. Knows neither handlers nor connections.

use std::cell::RefCell;
use std::io::Write;
use std::time::{Duration, Instant, SystemTime};

use super::access::Record;
use super::chunked::is_forbidden_in_trailers;
use super::head::Head;
use super::method::{Method, Version};
use super::response::{Response, check_field, put_field};
use super::status::Status;
use super::summary::Length;
use crate::buffer::Outbox;

/// What the answer to a request has to know of it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) version: Version,
    pub(crate) method: Method,
    /// The connection goes on afterwards.
    pub(crate) keeps_alive: bool,
    /// All is here that the peer will send, as it has said.
    pub(crate) is_last: bool,
    /// The peer would like another protocol.
    pub(crate) upgrades: bool,
    /// What will be logged of it, if accesses are.
    pub(crate) record: Option<Box<Record>>,
}

impl Asked {
    #[inline]
    pub(crate) fn by(head: &Head<'_>) -> Asked {
        Asked {
            version: head.version(),
            method: head.method(),
            keeps_alive: head.keeps_alive(),
            // Not behind a body: old clients send one more line end there (RFC 9112, section 2.2).
            is_last: !head.keeps_alive() && head.length() == Length::Fixed(0),
            upgrades: head.upgrades(),
            record: None,
        }
    }

    /// The answer is complete: `len` bytes of body under this status.
    #[inline]
    pub(crate) fn complete(&mut self, status: Status, len: usize, now: Instant) {
        if let Some(mut record) = self.record.take() {
            record.begin(status);
            record.sent_len = len as u64;
            record.complete(now);
        }
    }

    /// Nothing that could be understood.
    pub(crate) const NOTHING: Asked = Asked {
        version: Version::Http11,
        method: Method::Get,
        keeps_alive: false,
        is_last: false,
        upgrades: false,
        record: None,
    };

    /// What nearly all ask: a GET in HTTP/1.1, on a connection that goes on.
    pub(crate) const USUAL: Asked = Asked {
        version: Version::Http11,
        method: Method::Get,
        keeps_alive: true,
        is_last: false,
        upgrades: false,
        record: None,
    };
}

/// How the peer is told where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none, and no length of one either.
    None,
    /// After so many bytes.
    Length(u64),
    /// By an empty chunk.
    Chunked,
    /// By the connection's end.
    Close,
}

/// Writes heads; keeps what all of them have in common.
#[derive(Debug)]
pub(crate) struct Writer {
    common: RefCell<Common>,
}

/// The beginning of every head that says 200, up to the line behind `Date`.
#[derive(Clone, Copy, Debug)]
struct Common {
    /// The second that it is good for, since 1970.
    second: u64,
    text: [u8; COMMON.len()],
}

impl Writer {
    pub(crate) fn new() -> Writer {
        Writer {
            common: RefCell::new(Common {
                second: u64::MAX,
                text: *COMMON,
            }),
        }
    }

    /// Queues a head, and `body` if it is not to be left out.
    pub(crate) fn put(
        &self,
        response: &Response,
        body: &[u8],
        framing: Framing,
        asked: &Asked,
        unix_time: Duration,
        out: &mut Outbox,
    ) {
        out.with_buf(|buf| self.write(response, body, framing, asked, unix_time, buf));
    }

    /// The date as HTTP writes it.
    pub(crate) fn date(&self, unix_time: Duration) -> [u8; DATE_LEN] {
        let mut common = self.common.borrow_mut();
        common.renew_at(unix_time);
        let mut date = [0; DATE_LEN];
        date.copy_from_slice(&common.text[DATE_START..][..DATE_LEN]);
        date
    }

    /// As `put`, to anywhere.
    pub(crate) fn write(
        &self,
        response: &Response,
        body: &[u8],
        framing: Framing,
        asked: &Asked,
        unix_time: Duration,
        buf: &mut Vec<u8>,
    ) {
        let mut common = self.common.borrow_mut();
        common.renew_at(unix_time);
        let shared = response.shared_fields.as_deref().unwrap_or_default();
        buf.reserve(HEAD_LEN + shared.len() + response.fields.len() + body.len());
        put_start(buf, &common, response.status);
        if let Some(content_type) = response.content_type {
            buf.extend_from_slice(b"Content-Type: ");
            buf.extend_from_slice(content_type.as_bytes());
            buf.extend_from_slice(b"\r\n");
        }
        put_framing(buf, framing);
        put_connection(buf, response.status, asked);
        buf.extend_from_slice(shared);
        buf.extend_from_slice(&response.fields);
        buf.extend_from_slice(b"\r\n");
        buf.extend_from_slice(body);
    }
}

impl Common {
    /// Makes it good for that time; the date is written once per second.
    #[inline]
    fn renew_at(&mut self, unix_time: Duration) {
        if self.second != unix_time.as_secs() {
            self.renew(unix_time.as_secs());
        }
    }

    #[cold]
    fn renew(&mut self, second: u64) {
        self.second = second;
        let since_1970 = Duration::from_secs(second.min(LAST_SECOND));
        let date = httpdate::HttpDate::from(SystemTime::UNIX_EPOCH + since_1970);
        // A date has 29 bytes, for which there is room.
        let mut rest = &mut self.text[DATE_START..];
        let _ = write!(rest, "{date}");
    }
}

#[inline]
fn put_start(buf: &mut Vec<u8>, common: &Common, status: Status) {
    if status == Status::OK {
        buf.extend_from_slice(&common.text);
        return;
    }
    buf.extend_from_slice(b"HTTP/1.1 ");
    put_number(buf, u64::from(status.code()));
    buf.push(b' ');
    buf.extend_from_slice(status.reason().as_bytes());
    buf.extend_from_slice(&common.text[STATUS_LINE_END..]);
}

#[inline]
pub(crate) fn put_framing(buf: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::Length(len) => {
            buf.extend_from_slice(b"Content-Length: ");
            put_number(buf, len);
            buf.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => buf.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Framing::None | Framing::Close => {}
    }
}

/// Says how the connection goes on, where that is not what the version implies (RFC 9112, section
/// 9.3).
#[inline]
fn put_connection(buf: &mut Vec<u8>, status: Status, asked: &Asked) {
    if status == Status::SWITCHING_PROTOCOLS {
        buf.extend_from_slice(b"Connection: upgrade\r\n");
    } else if status == Status::UPGRADE_REQUIRED {
        // Whoever sends Upgrade says so here too (RFC 9110, section 7.8).
        let options: &[u8] = if asked.keeps_alive {
            b"Connection: upgrade\r\n"
        } else {
            b"Connection: close, upgrade\r\n"
        };
        buf.extend_from_slice(options);
    } else if !asked.keeps_alive {
        buf.extend_from_slice(b"Connection: close\r\n");
    } else if asked.version == Version::Http10 {
        buf.extend_from_slice(b"Connection: keep-alive\r\n");
    }
}

/// Appends a decimal number.
#[inline]
fn put_number(buf: &mut Vec<u8>, number: u64) {
    if (10..100).contains(&number) {
        buf.extend_from_slice(&DIGITS[number as usize]);
    } else {
        put_any_number(buf, number);
    }
}

fn put_any_number(buf: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    while number >= 100 {
        start -= 2;
        digits[start..start + 2].copy_from_slice(&DIGITS[(number % 100) as usize]);
        number /= 100;
    }
    start -= 2;
    digits[start..start + 2].copy_from_slice(&DIGITS[number as usize]);
    start += usize::from(number < 10);
    buf.extend_from_slice(&digits[start..]);
}

/// The numbers of two digits.
static DIGITS: [[u8; 2]; 100] = {
    let mut digits = [[b'0'; 2]; 100];
    let mut number = 0;
    while number < digits.len() {
        digits[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    digits
};

/// Appends a chunk (RFC 9112, section 7.1); `bytes` are not empty, which would be the last one.
pub(crate) fn put_chunk(bytes: &[u8], out: &mut Outbox) {
    debug_assert!(!bytes.is_empty(), "an empty chunk ends the body");
    out.with_buf(|buf| {
        buf.reserve(bytes.len() + 20);
        // Appending to a vector does not fail.
        let _ = write!(buf, "{:x}\r\n", bytes.len());
        buf.extend_from_slice(bytes);
        buf.extend_from_slice(b"\r\n");
    });
}

/// Appends the last chunk and the trailer. Fields that cannot be sent there are left out.
pub(crate) fn put_last_chunk(trailers: &[(String, String)], out: &mut Outbox) {
    out.with_buf(|buf| {
        buf.extend_from_slice(b"0\r\n");
        for (name, value) in trailers {
            let problem = match check_field(name, value) {
                Ok(()) if is_forbidden_in_trailers(name.as_bytes()) => {
                    "it has to be in a head".into()
                }
                Ok(()) => {
                    put_field(buf, name, value);
                    continue;
                }
                Err(error) => error.to_string(),
            };
            log::error!("the trailer field {name:?} is left out: {problem}");
        }
        buf.extend_from_slice(b"\r\n");
    });
}

const COMMON: &[u8; 72] =
    b"HTTP/1.1 200 OK\r\nServer: windlass\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
/// Where the status line's end begins in [`COMMON`].
const STATUS_LINE_END: usize = 15;
/// Where the date begins in [`COMMON`].
const DATE_START: usize = 41;
/// Bytes of a date.
const DATE_LEN: usize = 29;
/// The last second that a date of HTTP can name: that of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;
/// What a head without the handler's fields has room in.
const HEAD_LEN: usize = 192;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(response: &Response, framing: Framing, asked: &Asked, expected: &str) {
        let mut out = Outbox::new();
        let body = response.body().unwrap_or_default();
        let unix_time = Duration::from_secs(784_111_777);
        Writer::new().put(response, body, framing, asked, unix_time, &mut out);
        let date = "Server: windlass\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        let expected = expected
            .replace("DATE", date)
            .replace('\n', "\r\n")
            .replace("\r\r", "\r");
        assert_eq!(String::from_utf8(out.to_vec()).unwrap(), expected);
    }

    #[test]
    fn an_answer_has_a_date_and_a_length() {
        let expected = "HTTP/1.1 200 OK\nDATEContent-Type: text/plain; charset=utf-8\n\
                        Content-Length: 2\n\nhi";
        check(
            &Response::text("hi"),
            Framing::Length(2),
            &Asked::USUAL,
            expected,
        );
    }

    #[test]
    fn another_status_has_its_own_line() {
        let response = Response::empty(404).header("A", "b");
        let expected = "HTTP/1.1 404 Not Found\nDATEContent-Length: 0\nA: b\n\n";
        check(&response, Framing::Length(0), &Asked::USUAL, expected);
        let expected = "HTTP/1.1 299 \nDATE\n";
        check(
            &Response::empty(299),
            Framing::None,
            &Asked::USUAL,
            expected,
        );
    }

    #[test]
    fn the_connection_is_told_about_where_the_version_does_not_imply_it() {
        let closes = Asked {
            keeps_alive: false,
            ..Asked::USUAL
        };
        let old = Asked {
            version: Version::Http10,
            ..Asked::USUAL
        };
        let response = Response::empty(204);
        let head = "HTTP/1.1 204 No Content\nDATE";
        check(
            &response,
            Framing::None,
            &closes,
            &format!("{head}Connection: close\n\n"),
        );
        check(
            &response,
            Framing::None,
            &old,
            &format!("{head}Connection: keep-alive\n\n"),
        );
    }

    #[test]
    fn the_date_is_renewed_with_the_second() {
        let mut common = *Writer::new().common.borrow();
        let mut date = |second| {
            common.renew_at(Duration::from_millis(second * 1000 + 999));
            String::from_utf8_lossy(&common.text[DATE_START..DATE_START + 29]).into_owned()
        };
        assert_eq!(date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(date(1), "Thu, 01 Jan 1970 00:00:01 GMT");
        assert_eq!(date(u64::MAX / 1000 - 1), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn chunks_have_a_hexadecimal_size_and_the_last_one_is_empty() {
        let mut out = Outbox::new();
        put_chunk(&[b'a'; 26], &mut out);
        let trailers = [("A", "b"), ("C", "d\r\n"), ("content-Type", "e/f")]
            .map(|(name, value)| (name.into(), value.into()));
        put_last_chunk(&trailers, &mut out);
        let expected = format!("1a\r\n{}\r\n0\r\nA: b\r\n\r\n", "a".repeat(26));
        assert_eq!(out.to_vec(), expected.as_bytes());
    }

    #[test]
    fn a_number_is_written_as_the_standard_library_writes_it() {
        for number in [
            0,
            9,
            10,
            99,
            100,
            101,
            999,
            1000,
            10_000,
            123_456_789,
            u64::MAX,
        ] {
            let mut buf = Vec::new();
            put_number(&mut buf, number);
            assert_eq!(buf, number.to_string().as_bytes());
        }
    }
}
