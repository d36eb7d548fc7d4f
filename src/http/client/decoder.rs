//! `Responses`: the decoder of answers: heads and bodies out of a stream of bytes.
//!
//! A state machine over what `head.rs` and `chunked.rs` find. Knows no connection, and of the
//! requests only the method of the one that is being answered.

use std::cell::Cell;
use std::rc::Rc;

use super::error::ResponseError;
use super::head::{Head, Length};
use super::limits::Limits;
use crate::framing::{Decoded, Decoder, Step};
use crate::http::chunked::{Chunked, LinesEnd, Piece, end_of_lines};
use crate::http::fields::Fields;
use crate::http::limits::Limits as BodyLimits;
use crate::http::method::Method;
use crate::http::status::Status;

/// What a stream of answers consists of. Interim answers (1xx) are passed over.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// An answer that is here as a whole.
    Response {
        /// Its head.
        head: Head<'a>,
        /// Its body; empty if it has none.
        body: &'a [u8],
    },
    /// The head of an answer whose body follows.
    Head(Head<'a>),
    /// Some of that body.
    Body {
        /// The bytes; there may be none.
        bytes: &'a [u8],
        /// The trailer's fields, if this was the last of it.
        end: Option<Fields<'a>>,
    },
}

/// The decoder of answers (RFC 9112): strict, and linear however the stream is cut.
///
/// ```
/// use std::{cell::Cell, rc::Rc};
/// use windlass::Decoder;
/// use windlass::framing::Step;
/// use windlass::http::{Method, client::{Limits, Part, Responses}};
///
/// let asked = Rc::new(Cell::new(Some(Method::Get)));
/// let mut responses = Responses::new(&Limits::default(), Rc::clone(&asked));
/// let input = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nahoy";
/// match responses.decode(input)? {
///     Step::Frame { frame: Part::Response { head, body }, .. } => {
///         assert_eq!((head.status().code(), body), (200, &b"ahoy"[..]));
///     }
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), windlass::http::client::ResponseError>(())
/// ```
#[derive(Debug)]
pub struct Responses {
    bounds: Rc<Bounds>,
    asked: Rc<Cell<Option<Method>>>,
    /// Whether more had come with the last piece of an answer than that.
    is_followed: Rc<Cell<bool>>,
    interim: u32,
    state: State,
}

/// The limits, and in them those of a chunked body.
#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) limits: Limits,
    body: BodyLimits,
}

impl Bounds {
    pub(super) fn new(limits: Limits) -> Rc<Bounds> {
        let body = BodyLimits {
            max_fields: limits.max_fields,
            max_trailers_len: limits.max_trailers_len,
            ..BodyLimits::default()
        };
        Rc::new(Bounds { limits, body })
    }
}

/// What the stream continues with.
#[derive(Clone, Copy, Debug)]
enum State {
    /// A head, of which so many bytes have no end in them.
    Head { searched: u32 },
    /// A body, of which so many bytes are to come: at least one.
    Fixed { left: u64 },
    /// A chunked body.
    Chunked(Chunked),
    /// A body that ends with the stream.
    UntilClose,
    /// Nothing: that body has ended.
    Ended,
}

impl Default for State {
    fn default() -> State {
        State::Head { searched: 0 }
    }
}

impl Responses {
    /// A decoder with these limits. `asked` holds the method of the request that the next answer
    /// belongs to, on which depends whether it has a body; while it is `None`, nothing is awaited,
    /// and every byte is refused. Whoever takes an answer sets it for the next one.
    pub fn new(limits: &Limits, asked: Rc<Cell<Option<Method>>>) -> Responses {
        Responses::within(Bounds::new(limits.clone()), asked, Rc::default())
    }

    /// As `new`; tells in `is_followed` whether more had come with the last piece of an answer.
    pub(super) fn within(
        bounds: Rc<Bounds>,
        asked: Rc<Cell<Option<Method>>>,
        is_followed: Rc<Cell<bool>>,
    ) -> Responses {
        Responses {
            bounds,
            asked,
            is_followed,
            interim: 0,
            state: State::default(),
        }
    }

    fn head<'a>(&mut self, input: &'a [u8], searched: usize) -> Decoded<'a, Responses> {
        let limits = &self.bounds.limits;
        let Some(asked) = self.asked.get() else {
            return Err(ResponseError::Unasked);
        };
        check_start(input)?;
        let window = &input[..input.len().min(limits.max_head_len)];
        let len = match end_of_lines(window, searched) {
            Some(LinesEnd::At(len)) => len,
            Some(LinesEnd::BareLineFeed) => return Err(ResponseError::LineEnding),
            None if window.len() < limits.max_head_len => {
                // Below the limit of a head, which fits.
                self.state = State::Head {
                    searched: window.len() as u32,
                };
                return Ok(Step::More { needed: 0 });
            }
            None => {
                return Err(ResponseError::HeadTooLong {
                    limit: limits.max_head_len,
                });
            }
        };
        let head = Head::parse(&window[..len], asked, limits)?;
        self.state = State::default();
        if head.status().code() < 200 {
            return self.interim(head.status(), len);
        }
        self.interim = 0;
        let (part, consumed) = match head.length() {
            Length::None | Length::Fixed(0) => (Part::Response { head, body: &[] }, len),
            Length::Fixed(left) => {
                let body = usize::try_from(left)
                    .ok()
                    .and_then(|left| input[len..].get(..left));
                match body {
                    Some(body) => (Part::Response { head, body }, len + body.len()),
                    None => {
                        self.state = State::Fixed { left };
                        (Part::Head(head), len)
                    }
                }
            }
            Length::Chunked => {
                self.state = State::Chunked(Chunked::START);
                (Part::Head(head), len)
            }
            Length::UntilClose => {
                self.state = State::UntilClose;
                (Part::Head(head), len)
            }
        };
        self.is_followed.set(consumed < input.len());
        Ok(Step::Frame {
            frame: part,
            consumed,
        })
    }

    fn interim<'a>(&mut self, status: Status, len: usize) -> Decoded<'a, Responses> {
        if status == Status::SWITCHING_PROTOCOLS {
            return Err(ResponseError::Upgrade);
        }
        self.interim += 1;
        let limit = self.bounds.limits.max_interim;
        if self.interim > limit {
            return Err(ResponseError::TooManyInterim { limit });
        }
        Ok(Step::Skip {
            consumed: len,
            report: None,
        })
    }

    fn fixed<'a>(&mut self, input: &'a [u8], left: u64) -> Decoded<'a, Responses> {
        let len = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        let left = left - len as u64;
        let end = (left == 0).then(Fields::default);
        self.state = match end {
            Some(_) => State::default(),
            None => State::Fixed { left },
        };
        let bytes = &input[..len];
        self.is_followed.set(len < input.len());
        Ok(Step::Frame {
            frame: Part::Body { bytes, end },
            consumed: len,
        })
    }

    fn chunked<'a>(&mut self, input: &'a [u8], mut at: Chunked) -> Decoded<'a, Responses> {
        let piece = at
            .next(input, &self.bounds.body)
            .map_err(ResponseError::Coding)?;
        self.state = State::Chunked(at);
        let (bytes, end, consumed) = match piece {
            Piece::More => return Ok(Step::More { needed: 0 }),
            Piece::Skip(consumed) => {
                return Ok(Step::Skip {
                    consumed,
                    report: None,
                });
            }
            Piece::Data(bytes) => (bytes, None, bytes.len()),
            Piece::End { len, trailers } => {
                self.state = State::default();
                (&[][..], Some(trailers), len)
            }
        };
        self.is_followed.set(consumed < input.len());
        Ok(Step::Frame {
            frame: Part::Body { bytes, end },
            consumed,
        })
    }
}

impl Decoder for Responses {
    type Frame<'a> = Part<'a>;
    type Error = ResponseError;

    #[inline]
    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Decoded<'a, Responses> {
        match self.state {
            State::Head { searched } => self.head(input, searched as usize),
            State::Fixed { left } => self.fixed(input, left),
            State::Chunked(at) => self.chunked(input, at),
            State::UntilClose | State::Ended => Ok(Step::Frame {
                frame: Part::Body {
                    bytes: input,
                    end: None,
                },
                consumed: input.len(),
            }),
        }
    }

    fn decode_eof<'a>(&'a mut self, input: &'a [u8]) -> Decoded<'a, Responses> {
        if !input.is_empty() {
            return self.decode(input);
        }
        if !matches!(self.state, State::UntilClose) {
            return Ok(Step::More { needed: 0 });
        }
        self.state = State::Ended;
        Ok(Step::Frame {
            frame: Part::Body {
                bytes: &[],
                end: Some(Fields::default()),
            },
            consumed: 0,
        })
    }

    fn max_pending(&self) -> Option<usize> {
        let limits = &self.bounds.limits;
        Some(limits.max_head_len.max(limits.max_trailers_len).max(1024))
    }
}

/// What is no HTTP/1 is refused with its first wrong byte: no empty line comes before an answer.
fn check_start(input: &[u8]) -> Result<(), ResponseError> {
    let len = input.len().min(START.len());
    if input[..len] == START[..len] {
        return Ok(());
    }
    Err(if len > NAME_LEN && input.starts_with(&START[..NAME_LEN]) {
        ResponseError::Version
    } else {
        ResponseError::StatusLine
    })
}

/// How every answer begins.
const START: &[u8] = b"HTTP/1.";
/// Bytes of it before the version.
const NAME_LEN: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::testing::{Event, events};

    /// What the answers consist of, however the stream was cut.
    #[derive(Debug, PartialEq)]
    enum Seen {
        Head(u16),
        Body(Vec<u8>),
        End(usize),
    }

    /// Parts, the pieces of a body put together.
    struct Parts(Vec<Seen>);

    impl From<Part<'_>> for Parts {
        fn from(part: Part<'_>) -> Parts {
            Parts(match part {
                Part::Response { head, body } => vec![
                    Seen::Head(head.status().code()),
                    Seen::Body(body.to_vec()),
                    Seen::End(0),
                ],
                Part::Head(head) => vec![Seen::Head(head.status().code())],
                Part::Body { bytes, end } => {
                    let mut all = vec![Seen::Body(bytes.to_vec())];
                    all.extend(end.map(|trailers| Seen::End(trailers.iter().count())));
                    all
                }
            })
        }
    }

    fn limits() -> Limits {
        Limits {
            max_head_len: 150,
            max_fields: 4,
            max_trailers_len: 64,
            max_interim: 2,
            ..Limits::default()
        }
    }

    /// The answers in `input` to requests of that method, and what ended them.
    fn seen(asked: Method, input: &[u8], cuts: &[usize]) -> (String, Option<String>) {
        let asked = Rc::new(Cell::new(Some(asked)));
        let all: Vec<Event<Parts, _>> = events(Responses::new(&limits(), asked), input, cuts);
        let mut text = String::new();
        let mut error = None;
        for event in all {
            match event {
                Event::Frame(Parts(parts)) => {
                    for part in parts {
                        match part {
                            Seen::Head(status) => text += &format!("{status}:"),
                            Seen::Body(bytes) => text += &String::from_utf8_lossy(&bytes),
                            Seen::End(0) => text += ".",
                            Seen::End(trailers) => text += &format!("+{trailers}."),
                        }
                    }
                }
                Event::Skipped(error) => panic!("{error}"),
                Event::Malformed(reason) => error = Some(format!("{reason:?}")),
                Event::Partial(_) => error = Some("Partial".into()),
            }
        }
        (text, error)
    }

    #[track_caller]
    fn check_for(asked: Method, input: &str, expected: &str, error: Option<&str>) {
        let input = input.replace('\n', "\r\n").replace('␊', "\n");
        let input = input.as_bytes();
        let expected = (expected.to_owned(), error.map(str::to_owned));
        assert_eq!(seen(asked, input, &[]), expected, "whole");
        let one_by_one: Vec<usize> = (1..input.len()).collect();
        assert_eq!(seen(asked, input, &one_by_one), expected, "byte by byte");
        for cut in 1..input.len() {
            assert_eq!(seen(asked, input, &[cut]), expected, "cut at {cut}");
        }
    }

    #[track_caller]
    fn check(input: &str, expected: &str) {
        check_for(Method::Get, input, expected, None);
    }

    #[track_caller]
    fn check_refused(input: &str, error: &str) {
        check_for(Method::Get, input, "", Some(error));
    }

    #[test]
    fn a_length_ends_a_body() {
        let two = "HTTP/1.1 200 OK\nContent-Length: 2\n\nhiHTTP/1.1 404 \nContent-Length: 0\n\n";
        check(two, "200:hi.404:.");
        check("HTTP/1.0 200 OK\ncontent-length:2\n\nhi", "200:hi.");
        check("HTTP/1.1 200\nContent-Length: 1\n\nx", "200:x.");
    }

    #[test]
    fn chunks_end_a_body_and_may_have_trailers() {
        let start = "HTTP/1.1 200 OK\nTransfer-Encoding: Chunked\n\n";
        check(&format!("{start}2\nhi\n1;a=b\n!\n0\n\n"), "200:hi!.");
        check(&format!("{start}0\nA: b\nC: d\n\n"), "200:+2.");
        let refused = |rest: &str, error: &str| {
            let input = format!("{start}{rest}");
            check_for(Method::Get, &input, "200:", Some(error));
        };
        refused("x\n", "Coding(ChunkSize)");
        refused("11111111111111111\n", "Coding(ChunkSize)");
        refused("0\nContent-Length: 3\n\n", "Coding(Trailer)");
        refused("0␊", "Coding(ChunkSize)");
    }

    #[test]
    fn the_end_of_the_stream_ends_a_body_without_a_length() {
        check("HTTP/1.1 200 OK\n\nhi", "200:hi.");
        check("HTTP/1.1 200 OK\n\n", "200:.");
        check("HTTP/1.0 500 \nConnection: keep-alive\n\noh", "500:oh.");
    }

    #[test]
    fn answers_to_head_and_certain_statuses_have_no_body() {
        let two = "HTTP/1.1 200 OK\nContent-Length: 9\n\nHTTP/1.1 200 OK\n\n";
        check_for(Method::Head, two, "200:.200:.", None);
        let chunked = "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n";
        check_for(Method::Head, chunked, "200:.", None);
        check(
            "HTTP/1.1 204 \nContent-Length: 0\n\nHTTP/1.1 204 \n\n",
            "204:.204:.",
        );
        check("HTTP/1.1 304 \nContent-Length: 9\n\n", "304:.");
    }

    #[test]
    fn interim_answers_are_passed_over_up_to_a_limit() {
        let interim = "HTTP/1.1 100 Continue\n\n";
        let last = "HTTP/1.1 204 \n\n";
        check(
            &format!("{interim}HTTP/1.1 103 \nLink: a\n\n{last}"),
            "204:.",
        );
        check_refused(&interim.repeat(3), "TooManyInterim { limit: 2 }");
        // For each answer anew.
        let input = format!("{interim}{interim}{last}{interim}{interim}{last}");
        check(&input, "204:.204:.");
    }

    #[test]
    fn what_readers_could_differ_about_is_refused() {
        let line = "HTTP/1.1 200 OK\n";
        for (fields, error) in [
            (
                "Content-Length: 1\nTransfer-Encoding: chunked\n\n",
                "AmbiguousLength",
            ),
            ("Content-Length: 1\nContent-Length: 1\n\n", "ContentLength"),
            ("Content-Length: 1, 1\n\n", "ContentLength"),
            ("Content-Length: +1\n\n", "ContentLength"),
            ("Content-Length: \n\n", "ContentLength"),
            ("Content-Length: 18446744073709551616\n\n", "ContentLength"),
            ("Transfer-Encoding: gzip, chunked\n\n", "TransferEncoding"),
            ("Transfer-Encoding: identity\n\n", "TransferEncoding"),
            ("Transfer-Encoding: xchunked\n\n", "TransferEncoding"),
            (
                "Transfer-Encoding: chunked\nTransfer-Encoding: chunked\n\n",
                "TransferEncoding",
            ),
            ("Content-Length : 1\n\n", "FieldName"),
            (" A: b\n\n", "FieldName"),
            ("A: b\n c\n\n", "FieldName"),
            ("A\n\n", "FieldName"),
            ("A: \0\n\n", "FieldValue"),
            ("A: b␊\n", "LineEnding"),
        ] {
            check_refused(&format!("{line}{fields}"), error);
        }
    }

    #[test]
    fn a_length_where_there_is_no_body_is_refused() {
        check_refused("HTTP/1.1 204 \nContent-Length: 1\n\n", "ContentLength");
        check_refused(
            "HTTP/1.1 204 \nTransfer-Encoding: chunked\n\n",
            "TransferEncoding",
        );
        check_refused("HTTP/1.1 100 \nContent-Length: 1\n\n", "ContentLength");
        check_refused(
            "HTTP/1.0 200 \nTransfer-Encoding: chunked\n\n",
            "TransferEncoding",
        );
    }

    #[test]
    fn what_is_no_answer_is_refused_with_its_first_wrong_byte() {
        check_refused("\nHTTP/1.1 200 OK\n\n", "StatusLine");
        check_refused("ICY 200 OK\n", "StatusLine");
        check_refused("HTTP/2.0 200 OK\n\n", "Version");
        check_refused("HTTP/1.2 200 OK\n\n", "Version");
        check_refused("HTTP/1.1 20 OK\n\n", "StatusLine");
        check_refused("HTTP/1.1 099 OK\n\n", "StatusLine");
        check_refused("HTTP/1.1 2000 OK\n\n", "StatusLine");
        check_refused("HTTP/1.1 101 \nUpgrade: x\n\n", "Upgrade");
    }

    #[test]
    fn limits_hold_for_heads() {
        let long = format!("HTTP/1.1 200 OK\nA: {}", "b".repeat(200));
        check_refused(&long, "HeadTooLong { limit: 150 }");
        let many = format!("HTTP/1.1 200 OK\n{}\n", "A: b\n".repeat(5));
        check_refused(&many, "TooManyFields { limit: 4 }");
    }

    #[test]
    fn bytes_that_nobody_asked_for_are_refused() {
        let asked = Rc::new(Cell::new(None));
        let mut responses = Responses::new(&limits(), asked);
        let refused = responses.decode(b"HTTP/1.1 408 \r\n\r\n");
        assert_eq!(refused.err(), Some(ResponseError::Unasked));
    }

    #[test]
    fn a_body_that_is_cut_off_is_partial_or_not_ended() {
        let fixed = "HTTP/1.1 200 OK\nContent-Length: 9\n\nhi";
        check_for(Method::Get, fixed, "200:hi", None);
        check_for(Method::Get, "HTTP/1.1 200 OK\nA", "", Some("Partial"));
    }
}
