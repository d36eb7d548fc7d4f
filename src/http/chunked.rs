//! The chunked transfer coding, piece by piece (RFC 9112, section 7.1).
//!
//! Pure: bytes in, pieces out. Knows neither heads nor connections.
//!
//! ```text
//! "5;a=b" CRLF "hello" CRLF "0" CRLF "X-Sum: 1" CRLF CRLF   the bytes
//! |------------|-----|--------------|----------------|     the pieces
//!  nothing      data  nothing        end, with trailers
//! ```

use memchr::memchr;

use super::error::RequestError;
use super::fields::{Fields, is_token_byte};
use super::limits::Limits;
use super::scan::{self, Stop};

/// Where in a chunked body we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunked {
    /// Before the line with a chunk's size, of which so many bytes have no end in them.
    Size { searched: u16 },
    /// In a chunk, so many bytes before its end.
    Data { left: u64 },
    /// Before the line end behind a chunk.
    DataEnd,
    /// In the trailer, of which so many bytes have no end in them.
    Trailers { searched: u32 },
}

/// What was found next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// So many bytes that are not part of the body.
    Skip(usize),
    /// Bytes of the body.
    Data(&'a [u8]),
    /// The end, `len` bytes long, with the trailer's fields.
    End { len: usize, trailers: Fields<'a> },
    /// Not enough to tell.
    More,
}

impl Chunked {
    pub(crate) const START: Chunked = Chunked::Size { searched: 0 };

    /// Looks at what follows, which is not empty.
    pub(crate) fn next<'a>(
        &mut self,
        input: &'a [u8],
        limits: &Limits,
    ) -> Result<Piece<'a>, RequestError> {
        match *self {
            Chunked::Size { searched } => self.size(input, usize::from(searched)),
            Chunked::Data { left } => {
                let len = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
                let left = left - len as u64;
                *self = if left == 0 {
                    Chunked::DataEnd
                } else {
                    Chunked::Data { left }
                };
                Ok(Piece::Data(&input[..len]))
            }
            Chunked::DataEnd => match input {
                [b'\r', b'\n', ..] => {
                    *self = Chunked::START;
                    Ok(Piece::Skip(2))
                }
                [b'\r'] => Ok(Piece::More),
                _ => Err(RequestError::ChunkEnd),
            },
            Chunked::Trailers { searched } => self.trailers(input, searched as usize, limits),
        }
    }

    fn size<'a>(&mut self, input: &[u8], searched: usize) -> Result<Piece<'a>, RequestError> {
        let window = &input[..input.len().min(MAX_SIZE_LINE_LEN)];
        let Some(end) = memchr(b'\n', &window[searched..]) else {
            if window.len() == MAX_SIZE_LINE_LEN {
                // Digits without an end are a size that is too large; anything else is blamed on
                // the extension.
                size(&window[..MAX_DIGITS + 1])?;
                return Err(RequestError::ChunkExtension {
                    limit: MAX_SIZE_LINE_LEN,
                });
            }
            *self = Chunked::Size {
                searched: window.len() as u16,
            };
            return Ok(Piece::More);
        };
        let len = searched + end + 1;
        let (left, rest) = size(&window[..len])?;
        if !is_extension(rest) {
            return Err(RequestError::ChunkExtension {
                limit: MAX_SIZE_LINE_LEN,
            });
        }
        *self = if left == 0 {
            Chunked::Trailers { searched: 0 }
        } else {
            Chunked::Data { left }
        };
        Ok(Piece::Skip(len))
    }

    fn trailers<'a>(
        &mut self,
        input: &'a [u8],
        searched: usize,
        limits: &Limits,
    ) -> Result<Piece<'a>, RequestError> {
        let window = &input[..input.len().min(limits.max_trailers_len.max(2))];
        match end_of_lines(window, searched) {
            Some(LinesEnd::BareLineFeed) => Err(RequestError::LineEnding),
            Some(LinesEnd::At(len)) => {
                let lines = &window[..len - 2];
                check_trailers(&window[..len], limits)?;
                Ok(Piece::End {
                    len,
                    trailers: Fields::new(lines),
                })
            }
            None if window.len() >= limits.max_trailers_len.max(2) => {
                Err(RequestError::TrailersTooLong {
                    limit: limits.max_trailers_len,
                })
            }
            None => {
                *self = Chunked::Trailers {
                    searched: window.len() as u32,
                };
                Ok(Piece::More)
            }
        }
    }
}

/// How a run of lines ends.
pub(crate) enum LinesEnd {
    /// Behind an empty line, so many bytes from the beginning.
    At(usize),
    /// In a line feed without a carriage return before it.
    BareLineFeed,
}

/// Looks for the empty line that ends a run of lines; the first `searched` bytes hold no line end
/// that was not looked at.
pub(crate) fn end_of_lines(input: &[u8], searched: usize) -> Option<LinesEnd> {
    let mut from = searched;
    while let Some(at) = memchr(b'\n', &input[from..]) {
        let line_feed = from + at;
        match &input[..line_feed] {
            [.., b'\n', b'\r'] | [b'\r'] => return Some(LinesEnd::At(line_feed + 1)),
            [.., b'\r'] => {}
            _ => return Some(LinesEnd::BareLineFeed),
        }
        from = line_feed + 1;
    }
    None
}

/// The number at the beginning of a line, and what follows it.
fn size(line: &[u8]) -> Result<(u64, &[u8]), RequestError> {
    let digits = line
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    if digits == 0 || digits > MAX_DIGITS {
        return Err(RequestError::ChunkSize);
    }
    let text = std::str::from_utf8(&line[..digits]).map_err(|_| RequestError::ChunkSize)?;
    let size = u64::from_str_radix(text, 16).map_err(|_| RequestError::ChunkSize)?;
    let rest = &line[digits..];
    match rest.first() {
        None | Some(b';' | b'\r') => Ok((size, rest)),
        Some(_) => Err(RequestError::ChunkSize),
    }
}

/// Whether this is nothing or well-formed extensions, and the line's end. Whitespace is refused
/// although the grammar knows it as bad: nobody needs it, and readers differ about it.
fn is_extension(mut rest: &[u8]) -> bool {
    while let Some((b';', behind)) = rest.split_first() {
        let Some(behind) = without_token(behind) else {
            return false;
        };
        rest = behind;
        let value = match rest {
            [b'=', b'"', quoted @ ..] => without_quoted(quoted),
            [b'=', token @ ..] => without_token(token),
            _ => continue,
        };
        let Some(behind) = value else { return false };
        rest = behind;
    }
    rest == b"\r\n"
}

fn without_token(text: &[u8]) -> Option<&[u8]> {
    let len = text.iter().take_while(|&&byte| is_token_byte(byte)).count();
    (len > 0).then(|| &text[len..])
}

/// What follows the closing quote (RFC 9110, section 5.6.4).
fn without_quoted(mut text: &[u8]) -> Option<&[u8]> {
    loop {
        match text {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', byte, rest @ ..] | [byte, rest @ ..] => {
                if *byte != b'\t' && (*byte < b' ' || *byte == 0x7f) {
                    return None;
                }
                text = rest;
            }
            [] => return None,
        }
    }
}

/// Refuses trailer fields that are malformed, too many, or decide about framing, routing or the
/// connection (RFC 9110, section 6.5.1).
fn check_trailers(mut lines: &[u8], limits: &Limits) -> Result<(), RequestError> {
    for _ in 0..=limits.max_fields {
        match trailer(lines) {
            Ok(Some(rest)) => lines = rest,
            Ok(None) => return Ok(()),
            Err(Stop::Refused(error)) => return Err(error),
            // A whole run of lines ends within a line only if that has a CR where it must not.
            Err(Stop::Unfinished) => return Err(RequestError::LineEnding),
        }
    }
    Err(RequestError::TooManyFields {
        limit: limits.max_fields,
    })
}

/// What is left behind the trailer field that `lines` begins with; `None` behind the last one.
fn trailer(lines: &[u8]) -> Result<Option<&[u8]>, Stop> {
    let Some((name, value)) = scan::name(lines)? else {
        return Ok(None);
    };
    let rest = scan::skip_value(value)?;
    if is_forbidden_in_trailers(name) {
        return Err(RequestError::Trailer.into());
    }
    Ok(Some(rest))
}

/// Whether a field decides about framing, routing or the connection, so that it has to be in a head
/// (RFC 9110, section 6.5.1).
pub(crate) fn is_forbidden_in_trailers(name: &[u8]) -> bool {
    let is_it = |forbidden: &&str| name.eq_ignore_ascii_case(forbidden.as_bytes());
    FORBIDDEN_TRAILERS.iter().any(is_it)
}

/// Bytes of the line with a chunk's size: digits, extensions and the line's end.
const MAX_SIZE_LINE_LEN: usize = 512;
/// Digits of a chunk's size: those of the largest `u64`.
const MAX_DIGITS: usize = 16;
const FORBIDDEN_TRAILERS: [&str; 14] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The body in `input`, which arrives whole and byte by byte, and what is left of it.
    #[track_caller]
    fn check(input: &str, expected: Result<(&str, &str), RequestError>) {
        let expected = expected.map(|(body, rest)| (body.to_owned(), rest.to_owned()));
        for step in [input.len(), 1] {
            assert_eq!(
                decode(input.as_bytes(), step),
                expected,
                "{input:?} by {step}"
            );
        }
    }

    fn decode(input: &[u8], step: usize) -> Result<(String, String), RequestError> {
        let limits = Limits {
            max_trailers_len: 32,
            ..Limits::default()
        };
        let mut chunked = Chunked::START;
        let mut body = Vec::new();
        let (mut start, mut end) = (0, step.min(input.len()));
        loop {
            let piece = if start < end {
                chunked.next(&input[start..end], &limits)?
            } else {
                Piece::More
            };
            match piece {
                Piece::Skip(len) => start += len,
                Piece::Data(data) => {
                    body.extend_from_slice(data);
                    start += data.len();
                }
                Piece::End { len, .. } => {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    return Ok((text(&body), text(&input[start + len..])));
                }
                Piece::More if end == input.len() => panic!("{chunked:?} at the end"),
                Piece::More => end += 1,
            }
        }
    }

    #[test]
    fn chunks_are_put_together() {
        check("0\r\n\r\n", Ok(("", "")));
        check(
            "3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\nrest",
            Ok(("abc0123456789", "rest")),
        );
        check("00003\r\nabc\r\n0\r\nX: y\r\n\r\n", Ok(("abc", "")));
    }

    #[test]
    fn extensions_are_ignored_if_they_are_well_formed() {
        for extension in [";a", ";a=b", ";a=\"b \\\" c\"", ";a;b=c"] {
            check(
                &format!("1{extension}\r\na\r\n0{extension}\r\n\r\n"),
                Ok(("a", "")),
            );
        }
        let refused = Err(RequestError::ChunkExtension { limit: 512 });
        for extension in [
            ";",
            ";=",
            ";a=",
            ";a=\"b",
            "; a",
            ";a b",
            ";a=\"\u{7}\"",
            ";a\rb",
        ] {
            check(&format!("1{extension}\r\na\r\n0\r\n\r\n"), refused);
        }
        check(&format!("1;{}", "a".repeat(600)), refused);
    }

    #[test]
    fn a_size_is_a_hexadecimal_number_of_64_bits() {
        for size in [
            "",
            "g",
            "-1",
            "+1",
            "0x1",
            " 1",
            "1 ",
            "1\t",
            "11111111111111111",
        ] {
            check(
                &format!("{size}\r\na\r\n0\r\n\r\n"),
                Err(RequestError::ChunkSize),
            );
        }
        check(&"1".repeat(600), Err(RequestError::ChunkSize));
    }

    #[test]
    fn a_chunk_ends_where_its_size_says() {
        check("1\r\nab\r\n0\r\n\r\n", Err(RequestError::ChunkEnd));
        check("1\r\na\n0\r\n\r\n", Err(RequestError::ChunkEnd));
        check("1\r\na\r0\r\n\r\n", Err(RequestError::ChunkEnd));
    }

    #[test]
    fn lines_end_in_cr_lf() {
        check("1\na\r\n0\r\n\r\n", Err(RequestError::ChunkSize));
        check("0\r\n\n", Err(RequestError::LineEnding));
        check("0\r\na: b\n\r\n", Err(RequestError::LineEnding));
    }

    #[test]
    fn a_trailer_is_bounded_and_does_not_frame() {
        check("0\r\nHost: a\r\n\r\n", Err(RequestError::Trailer));
        check("0\r\nContent-Length: 1\r\n\r\n", Err(RequestError::Trailer));
        check("0\r\na b: c\r\n\r\n", Err(RequestError::FieldName));
        let long = format!("0\r\na: {}\r\n\r\n", "b".repeat(40));
        check(&long, Err(RequestError::TrailersTooLong { limit: 32 }));
    }
}
