//! `Requests`: the decoder of requests: heads and bodies out of a stream of bytes.
//!
//! A state machine over what `head.rs` and `chunked.rs` find. Knows no handlers and no connection.

use std::rc::Rc;

use super::chunked::{Chunked, LinesEnd, Piece, end_of_lines};
use super::error::RequestError;
use super::fields::Fields;
use super::head::Head;
use super::limits::Limits;
use super::summary::Length;
use crate::framing::{Decoded, Decoder, Step};

/// What a stream of requests consists of.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// A request that is here as a whole.
    Request {
        /// Its head.
        head: Head<'a>,
        /// Its body; empty if it has none.
        body: &'a [u8],
    },
    /// The head of a request whose body follows.
    Head(Head<'a>),
    /// Some of that body.
    Body {
        /// The bytes; there may be none.
        bytes: &'a [u8],
        /// The trailer's fields, if this was the last of it.
        end: Option<Fields<'a>>,
    },
}

/// The decoder of requests (RFC 9112).
///
/// An unfinished head is searched for its end no more than once. A body is lent as it arrives, so
/// its length is nobody's problem here.
#[derive(Debug, Default)]
pub struct Requests {
    limits: Rc<Limits>,
    state: State,
}

/// What the stream continues with.
#[derive(Clone, Copy, Debug)]
enum State {
    /// A head, of which so many bytes, not counting empty lines before it, have no end in them.
    Head { searched: u32 },
    /// A body, of which so many bytes are to come: at least one.
    Fixed { left: u64 },
    /// A chunked body.
    Chunked(Chunked),
}

impl Default for State {
    fn default() -> State {
        State::Head { searched: 0 }
    }
}

impl Requests {
    /// A decoder with these limits.
    pub fn new(limits: Rc<Limits>) -> Requests {
        Requests {
            limits,
            state: State::default(),
        }
    }

    #[inline]
    fn head<'a>(&mut self, input: &'a [u8], searched: usize) -> Decoded<'a, Requests> {
        match input {
            [b'\r' | b'\n', ..] => self.head_behind_empty_lines(input, searched),
            text => self.head_at_once(text, searched),
        }
    }

    /// Empty lines before a request are passed over (RFC 9112, section 2.2), together with it:
    /// whoever sends nothing else has begun a head, and has to end it in time.
    #[cold]
    fn head_behind_empty_lines<'a>(
        &mut self,
        input: &'a [u8],
        searched: usize,
    ) -> Decoded<'a, Requests> {
        let empty_len = empty_lines_len(input);
        if empty_len > MAX_EMPTY_LINES_LEN {
            return Err(RequestError::RequestLine);
        }
        let text = &input[empty_len..];
        match text {
            [] | [b'\r'] => return Ok(Step::More { needed: 0 }),
            [b'\r' | b'\n', ..] => return Err(RequestError::LineEnding),
            _ => {}
        }
        Ok(match self.head_at_once(text, searched)? {
            Step::Frame { frame, consumed } => Step::Frame {
                frame,
                consumed: empty_len + consumed,
            },
            step @ (Step::Skip { .. } | Step::More { .. }) => step,
        })
    }

    /// `searched` bytes of `text` have no end in them.
    #[inline(always)]
    fn head_at_once<'a>(&mut self, text: &'a [u8], searched: usize) -> Decoded<'a, Requests> {
        if searched > 0
            && end_of_lines(text, searched).is_none()
            && text.len() < self.limits.max_head_len
        {
            return Ok(self.unfinished(text));
        }
        let Some(head) = Head::parse(text, &self.limits)? else {
            // It was parsed as far as it goes, which says nothing of bare line feeds in it.
            return match end_of_lines(text, 0) {
                Some(LinesEnd::BareLineFeed) => Err(RequestError::LineEnding),
                Some(LinesEnd::At(_)) | None => Ok(self.unfinished(text)),
            };
        };
        self.state = State::default();
        let len = head.as_bytes().len();
        let (part, consumed) = match head.length() {
            Length::Fixed(0) => (Part::Request { head, body: &[] }, len),
            Length::Fixed(left) => {
                let body = usize::try_from(left)
                    .ok()
                    .and_then(|left| text[len..].get(..left));
                match body {
                    Some(body) => (Part::Request { head, body }, len + body.len()),
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
        };
        Ok(Step::Frame {
            frame: part,
            consumed,
        })
    }

    fn unfinished<'a>(&mut self, text: &[u8]) -> Step<Part<'a>, RequestError> {
        // Below the limit of a head, which fits.
        self.state = State::Head {
            searched: text.len() as u32,
        };
        Step::More { needed: 0 }
    }

    fn fixed<'a>(&mut self, input: &'a [u8], left: u64) -> Decoded<'a, Requests> {
        let len = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        let left = left - len as u64;
        let end = (left == 0).then(Fields::default);
        self.state = match end {
            Some(_) => State::default(),
            None => State::Fixed { left },
        };
        let frame = Part::Body {
            bytes: &input[..len],
            end,
        };
        Ok(Step::Frame {
            frame,
            consumed: len,
        })
    }

    fn chunked<'a>(&mut self, input: &'a [u8], mut at: Chunked) -> Decoded<'a, Requests> {
        let piece = at.next(input, &self.limits)?;
        self.state = State::Chunked(at);
        Ok(match piece {
            Piece::Skip(consumed) => Step::Skip {
                consumed,
                report: None,
            },
            Piece::Data(bytes) => Step::Frame {
                frame: Part::Body { bytes, end: None },
                consumed: bytes.len(),
            },
            Piece::End { len, trailers } => {
                self.state = State::default();
                Step::Frame {
                    frame: Part::Body {
                        bytes: &[],
                        end: Some(trailers),
                    },
                    consumed: len,
                }
            }
            Piece::More => Step::More { needed: 0 },
        })
    }
}

impl Decoder for Requests {
    type Frame<'a> = Part<'a>;
    type Error = RequestError;

    #[inline]
    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Decoded<'a, Requests> {
        match self.state {
            State::Head { searched } => self.head(input, searched as usize),
            State::Fixed { left } => self.fixed(input, left),
            State::Chunked(at) => self.chunked(input, at),
        }
    }

    fn decode_eof<'a>(&'a mut self, input: &'a [u8]) -> Decoded<'a, Requests> {
        if input.is_empty() {
            return Ok(Step::More { needed: 0 });
        }
        // An unfinished head was only searched for its end. Now is the last time to say what was
        // wrong with it.
        if let State::Head { .. } = self.state {
            self.state = State::default();
            let empty_len = empty_lines_len(input);
            if empty_len == input.len() && empty_len <= MAX_EMPTY_LINES_LEN {
                // Behind the last request, then.
                return Ok(Step::Skip {
                    consumed: empty_len,
                    report: None,
                });
            }
        }
        self.decode(input)
    }

    fn max_pending(&self) -> Option<usize> {
        Some(
            self.limits
                .max_head_len
                .saturating_add(MAX_EMPTY_LINES_LEN)
                .max(self.limits.max_trailers_len)
                .max(1024),
        )
    }
}

/// Bytes of the empty lines that `input` begins with.
fn empty_lines_len(input: &[u8]) -> usize {
    let mut rest = input;
    while let [b'\r', b'\n', behind @ ..] = rest {
        rest = behind;
    }
    input.len() - rest.len()
}

/// Bytes of empty lines that are passed over before a request: eight lines, because careless
/// clients send one behind a body; not any number, because they are nothing that was asked for.
const MAX_EMPTY_LINES_LEN: usize = 8 * 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::testing::{Event, events};

    /// What the parts of a request add up to, however the stream was cut.
    #[derive(Debug, PartialEq)]
    enum Seen {
        Head(String),
        Body(Vec<u8>, Option<usize>),
    }

    impl From<Part<'_>> for Seen {
        fn from(part: Part<'_>) -> Seen {
            match part {
                Part::Request { head, body } => {
                    Seen::Head(format!("{} {} {:?}", head.target(), body.len(), body))
                }
                Part::Head(head) => Seen::Head(head.target().to_owned()),
                Part::Body { bytes, end } => {
                    Seen::Body(bytes.to_vec(), end.map(|trailers| trailers.iter().count()))
                }
            }
        }
    }

    fn seen(input: &str, cuts: &[usize]) -> Vec<Event<Seen, RequestError>> {
        let limits = Limits {
            max_head_len: 128,
            max_trailers_len: 64,
            ..Limits::default()
        };
        events(Requests::new(Rc::new(limits)), input.as_bytes(), cuts)
    }

    #[test]
    fn a_request_that_is_here_is_lent_as_a_whole() {
        let input = "POST /a HTTP/1.0\r\nContent-Length: 2\r\n\r\nhiGET /b HTTP/1.0\r\n\r\n";
        let expected = ["/a 2 [104, 105]", "/b 0 []"];
        let expected = expected.map(|text| Event::Frame(Seen::Head(text.to_owned())));
        assert_eq!(seen(input, &[]), expected);
    }

    #[test]
    fn a_body_that_follows_is_lent_as_it_arrives() {
        let head = "POST /a HTTP/1.0\r\nContent-Length: 3\r\n\r\n";
        let cuts = [head.len(), head.len() + 2];
        let expected = [
            Event::Frame(Seen::Head("/a".into())),
            Event::Frame(Seen::Body(b"ab".to_vec(), None)),
            Event::Frame(Seen::Body(b"c".to_vec(), Some(0))),
        ];
        assert_eq!(seen(&format!("{head}abc"), &cuts), expected);
    }

    #[test]
    fn a_chunked_body_ends_with_its_trailer() {
        let head = "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        let expected = [
            Event::Frame(Seen::Head("/a".into())),
            Event::Frame(Seen::Body(b"ab".to_vec(), None)),
            Event::Frame(Seen::Body(Vec::new(), Some(1))),
        ];
        assert_eq!(
            seen(&format!("{head}2\r\nab\r\n0\r\nA: b\r\n\r\n"), &[]),
            expected
        );
    }

    #[test]
    fn empty_lines_before_a_request_are_passed_over() {
        let input = "\r\n\r\nGET /a HTTP/1.0\r\n\r\n\r\n";
        for cut in 0..input.len() {
            let expected = [Event::Frame(Seen::Head("/a 0 []".into()))];
            assert_eq!(seen(input, &[cut]), expected, "cut at {cut}");
        }
    }

    #[test]
    fn a_head_at_its_limit_is_read_behind_empty_lines() {
        let head = format!("GET /a HTTP/1.0\r\nA: {}\r\n\r\n", "b".repeat(104));
        assert_eq!(head.len(), 128);
        let input = ["\r\n".repeat(8), head].concat();
        for cut in 0..input.len() {
            let expected = [Event::Frame(Seen::Head("/a 0 []".into()))];
            assert_eq!(seen(&input, &[cut]), expected, "cut at {cut}");
        }
        let input = format!("\r\n{input}");
        for cut in 0..input.len() {
            let expected = [Event::Malformed(RequestError::RequestLine)];
            assert_eq!(seen(&input, &[cut]), expected, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_head_that_breaks_off_is_told_however_it_is_cut() {
        let input = "GET  HTTP/1.1\r\nHost: h\r\n";
        for cut in 0..input.len() {
            let expected = [Event::Malformed(RequestError::RequestLine)];
            assert_eq!(seen(input, &[cut]), expected, "cut at {cut}");
        }
    }

    #[test]
    fn a_bare_line_feed_is_refused_however_the_head_is_cut() {
        for input in [
            "GET / HTTP/1.0\n\n",
            "\nGET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.0\r\nA: b\n",
        ] {
            let one_by_one: Vec<usize> = (1..input.len()).collect();
            for cuts in [&[][..], &one_by_one] {
                let seen = seen(input, cuts);
                assert_eq!(
                    seen,
                    [Event::Malformed(RequestError::LineEnding)],
                    "{input:?}"
                );
            }
        }
    }

    #[test]
    fn a_head_of_16_kib_that_arrives_byte_by_byte_is_searched_once() {
        // Parsed anew with every byte, this would take 2^27 steps per head, a hundred times over.
        let head = format!("GET / HTTP/1.0\r\nA: {}\r\n\r\n", "b".repeat(16_000));
        for _ in 0..100 {
            let mut decoder = Requests::default();
            for len in 1..head.len() {
                let step = decoder.decode(&head.as_bytes()[..len]);
                assert!(matches!(step, Ok(Step::More { .. })));
            }
            let step = decoder.decode(head.as_bytes());
            assert!(matches!(step, Ok(Step::Frame { .. })));
        }
    }

    #[test]
    fn a_head_that_never_ends_is_refused_at_its_limit() {
        let input = format!("GET / HTTP/1.0\r\nA: {}", "b".repeat(200));
        let one_by_one: Vec<usize> = (1..input.len()).collect();
        for cuts in [&[][..], &one_by_one] {
            let expected = Event::Malformed(RequestError::HeadTooLong { limit: 128 });
            assert_eq!(seen(&input, cuts), [expected]);
        }
    }
}
