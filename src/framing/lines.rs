//! `Lines`: text lines, the framing of most protocols that a person can type.
//!
//! Knows line ends, not text: a line is bytes, in whatever encoding.

use std::fmt;

use super::oversize::{MAX_FRAME_LEN, Oversized};
use super::scan::{find_byte, find_either};
use super::{Decoded, Decoder, EncodeError, Encoder, Payload, Step};
use crate::buffer::Outbox;

/// Lines that end with LF or CR LF. The line end is not part of the frame.
///
/// | arrives | [`Lines::new`] | [`Lines::strict`] |
/// |---|---|---|
/// | `61 62 0a` | `ab` | error: bare LF |
/// | `61 62 0d 0a` | `ab` | `ab` |
/// | `61 0d 62 0a` | `a\rb` | error: bare CR |
/// | `61 0d 0d 0a` | `a\r` | error: bare CR |
/// | `0a`, `0d 0a` | an empty line | error, an empty line |
/// | `61 62`, end of stream | partial, 2 bytes | partial, 2 bytes |
///
/// | is sent | [`Lines::new`] | with [`Lines::with_crlf`] or [`Lines::strict`] |
/// |---|---|---|
/// | `ab` | `61 62 0a` | `61 62 0d 0a` |
/// | a message with an LF in it, or a CR at its end | refused | refused |
/// | a message with a CR elsewhere | as it is | refused |
///
/// Be strict where a program in between might read the same bytes by other rules: a bare LF that
/// one side takes for a line end and the other does not is how SMTP commands are smuggled.
///
/// A line has at most 8 KiB unless [`Lines::with_max_len`] says otherwise, in both directions.
/// A longer one is an error, or with [`Lines::skip_oversized`] is skipped and reported, once,
/// while the stream goes on.
///
/// ```
/// use windlass::framing::{Decoder, Lines, Step};
///
/// let mut lines = Lines::new();
/// assert_eq!(lines.decode(b"HELLO\r\nWOR")?, Step::Frame { frame: &b"HELLO"[..], consumed: 7 });
/// assert_eq!(lines.decode(b"WOR")?, Step::More { needed: 0 });
/// assert_eq!(lines.decode(b"WORLD\n")?, Step::Frame { frame: &b"WORLD"[..], consumed: 6 });
/// # Ok::<(), windlass::framing::LinesError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    /// Bytes of a line without its end. Invariant: `max_len <= MAX_FRAME_LEN`.
    max_len: usize,
    /// Bytes of the unfinished line that were searched and have no line end among them. Never
    /// more than the next input has, if that begins with the same bytes as it must.
    searched: usize,
    rule: Rule,
    oversized: Oversized,
    /// Whether what stands before the end of the stream is a line without its end.
    accepts_unterminated: bool,
}

/// What ends a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// LF or CR LF is read, LF is written.
    Lenient,
    /// LF or CR LF is read, CR LF is written.
    LenientCrLf,
    /// CR LF is read and written, and neither stands alone.
    Strict,
}

/// What the search for a line's end has found.
enum Found {
    /// The line has `line_len` bytes, and `consumed` with its end.
    Line { line_len: usize, consumed: usize },
    /// More than `max_len` bytes belong to the line.
    Oversized,
    /// The line's end has not arrived.
    Nothing,
}

impl Lines {
    /// Reads LF and CR LF, and writes LF.
    pub const fn new() -> Lines {
        Lines {
            max_len: DEFAULT_MAX_LEN,
            searched: 0,
            rule: Rule::Lenient,
            oversized: Oversized::Refused,
            accepts_unterminated: false,
        }
    }

    /// Reads and writes CR LF, and refuses a CR or an LF that stands alone.
    pub const fn strict() -> Lines {
        let mut lines = Lines::new();
        lines.rule = Rule::Strict;
        lines
    }

    /// Writes CR LF, as most internet protocols demand; what is read does not change.
    pub const fn with_crlf(mut self) -> Lines {
        if matches!(self.rule, Rule::Lenient) {
            self.rule = Rule::LenientCrLf;
        }
        self
    }

    /// Sets how many bytes a line may have, without its end. Default 8 KiB.
    pub const fn with_max_len(mut self, max_len: usize) -> Lines {
        self.max_len = if max_len < MAX_FRAME_LEN {
            max_len
        } else {
            MAX_FRAME_LEN
        };
        self
    }

    /// Skips and reports a line that is too long, instead of refusing it. Its bytes are thrown
    /// away as they come.
    pub const fn skip_oversized(mut self) -> Lines {
        self.oversized = Oversized::Skipped;
        self
    }

    /// Takes what stands behind the last line end, when the stream ends, for a line; otherwise it
    /// is reported as partial, because nobody knows whether it is complete.
    pub const fn accept_unterminated(mut self) -> Lines {
        self.accepts_unterminated = true;
        self
    }

    /// As [`Decoder::decode`], but the frame does not borrow from the decoder.
    #[inline]
    fn step<'a>(&mut self, input: &'a [u8]) -> Result<Step<&'a [u8], LinesError>, LinesError> {
        if self.oversized == Oversized::BeingSkipped {
            return self.skip(input);
        }
        let found = match self.rule {
            Rule::Lenient | Rule::LenientCrLf => self.find_end_lenient(input),
            Rule::Strict => self.find_end_strict(input)?,
        };
        match found {
            Found::Line { line_len, consumed } => {
                self.searched = 0;
                Ok(Step::Frame {
                    frame: &input[..line_len],
                    consumed,
                })
            }
            Found::Nothing => Ok(Step::More { needed: 0 }),
            Found::Oversized => self.on_oversized(),
        }
    }

    #[inline]
    fn find_end_lenient(&mut self, input: &[u8]) -> Found {
        // An LF that could end a line within the limit stands here, or nowhere.
        let window_len = input.len().min(self.max_len + 2);
        let searched = self.searched.min(window_len);
        let Some(offset) = find_byte(b'\n', &input[searched..window_len]) else {
            self.searched = window_len;
            return if self.may_still_fit(&input[..window_len]) {
                Found::Nothing
            } else {
                Found::Oversized
            };
        };
        let line_feed = searched + offset;
        let line_len = match input[..line_feed].last() {
            Some(b'\r') => line_feed - 1,
            _ => line_feed,
        };
        if line_len > self.max_len {
            return Found::Oversized;
        }
        Found::Line {
            line_len,
            consumed: line_feed + 1,
        }
    }

    /// Whether `begun`, which has no LF in it, can be the beginning of a line within the limit.
    #[inline]
    fn may_still_fit(&self, begun: &[u8]) -> bool {
        // One byte beyond the limit may be the CR of the line's end.
        begun.len() <= self.max_len
            || (begun.len() == self.max_len + 1 && begun.last() == Some(&b'\r'))
    }

    #[inline]
    fn find_end_strict(&mut self, input: &[u8]) -> Result<Found, LinesError> {
        let window_len = input.len().min(self.max_len + 1);
        let searched = self.searched.min(window_len);
        match find_either([b'\r', b'\n'], &input[searched..window_len]) {
            Some(offset) => {
                let line_len = searched + offset;
                self.searched = line_len;
                Ok(if is_strict_end(&input[line_len..])? {
                    Found::Line {
                        line_len,
                        consumed: line_len + 2,
                    }
                } else {
                    Found::Nothing
                })
            }
            None if input.len() > self.max_len => Ok(Found::Oversized),
            None => {
                self.searched = window_len;
                Ok(Found::Nothing)
            }
        }
    }

    #[cold]
    fn on_oversized<'a>(&mut self) -> Result<Step<&'a [u8], LinesError>, LinesError> {
        let error = LinesError::TooLong {
            limit: self.max_len,
        };
        if self.oversized == Oversized::Refused {
            return Err(error);
        }
        self.oversized = Oversized::BeingSkipped;
        self.searched = 0;
        // No line end begins within these. What is behind them is for the next call, so that an
        // error there does not hide this report.
        Ok(Step::Skip {
            consumed: self.max_len + 1,
            report: Some(error),
        })
    }

    /// Throws away what there is up to the line's end.
    #[cold]
    fn skip<'a>(&mut self, input: &'a [u8]) -> Result<Step<&'a [u8], LinesError>, LinesError> {
        let (consumed, is_done) = match self.rule {
            Rule::Lenient | Rule::LenientCrLf => match find_byte(b'\n', input) {
                Some(line_feed) => (line_feed + 1, true),
                None => (input.len(), false),
            },
            Rule::Strict => match find_either([b'\r', b'\n'], input) {
                Some(at) if is_strict_end(&input[at..])? => (at + 2, true),
                // All but the CR, whose LF has not arrived.
                Some(at) => (at, false),
                None => (input.len(), false),
            },
        };
        if is_done {
            self.oversized = Oversized::Skipped;
        }
        if consumed == 0 {
            return Ok(Step::More { needed: 2 });
        }
        Ok(Step::Skip {
            consumed,
            report: None,
        })
    }
}

impl Default for Lines {
    fn default() -> Lines {
        Lines::new()
    }
}

impl Decoder for Lines {
    type Frame<'a> = &'a [u8];
    type Error = LinesError;

    #[inline]
    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Decoded<'a, Self> {
        self.step(input)
    }

    fn decode_eof<'a>(&'a mut self, input: &'a [u8]) -> Decoded<'a, Self> {
        if input.is_empty() {
            return Ok(Step::More { needed: 0 });
        }
        let step = self.step(input)?;
        let is_whole_line = self.accepts_unterminated
            && matches!(step, Step::More { .. })
            && self.oversized != Oversized::BeingSkipped;
        if !is_whole_line {
            return Ok(step);
        }
        // The CR that was waiting for its LF belongs to the line, or to nothing.
        if self.rule == Rule::Strict && input.last() == Some(&b'\r') {
            return Err(LinesError::BareCarriageReturn);
        }
        if input.len() > self.max_len {
            return self.on_oversized();
        }
        self.searched = 0;
        Ok(Step::Frame {
            frame: input,
            consumed: input.len(),
        })
    }

    /// The longest line with its end.
    fn max_pending(&self) -> Option<usize> {
        Some(self.max_len + 2)
    }
}

impl<P: Payload> Encoder<P> for Lines {
    #[inline]
    fn encode(&mut self, item: P, out: &mut Outbox) -> Result<(), EncodeError> {
        let line = item.as_bytes();
        if line.len() > self.max_len {
            return Err(EncodeError::TooLong {
                len: line.len(),
                limit: self.max_len,
            });
        }
        let (line_end, forbidden) = match self.rule {
            Rule::Lenient if line.last() == Some(&b'\r') => (&b"\n"[..], Some(line.len() - 1)),
            Rule::Lenient => (&b"\n"[..], None),
            Rule::LenientCrLf | Rule::Strict => (&b"\r\n"[..], find_byte(b'\r', line)),
        };
        // The first of the two is reported.
        let searched = &line[..forbidden.unwrap_or(line.len())];
        if let Some(position) = find_byte(b'\n', searched).or(forbidden) {
            return Err(EncodeError::ContainsDelimiter { position });
        }
        item.put_into(out);
        out.put(line_end);
        Ok(())
    }
}

/// Whether `bytes`, which begin with CR or LF, begin with CR LF; `false` if only the CR is there.
#[inline]
fn is_strict_end(bytes: &[u8]) -> Result<bool, LinesError> {
    match bytes {
        [b'\r', b'\n', ..] => Ok(true),
        [b'\r'] => Ok(false),
        [b'\r', ..] => Err(LinesError::BareCarriageReturn),
        _ => Err(LinesError::BareLineFeed),
    }
}

/// How the peer broke [`Lines`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinesError {
    /// A line has more than `limit` bytes.
    TooLong {
        /// Bytes that a line may have, without its end.
        limit: usize,
    },
    /// An LF without a CR before it, where lines end with CR LF.
    BareLineFeed,
    /// A CR without an LF behind it, where lines end with CR LF.
    BareCarriageReturn,
}

impl fmt::Display for LinesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinesError::TooLong { limit } => write!(f, "a line is longer than {limit} bytes"),
            LinesError::BareLineFeed => f.write_str("a line feed without a carriage return"),
            LinesError::BareCarriageReturn => f.write_str("a carriage return without a line feed"),
        }
    }
}

impl std::error::Error for LinesError {}

const DEFAULT_MAX_LEN: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::scan::count;
    use crate::framing::testing::{Event, check_every_split};

    type Events<'a> = &'a [Event<Vec<u8>, LinesError>];

    const TOO_LONG: LinesError = LinesError::TooLong { limit: 4 };

    fn line(line: &str) -> Event<Vec<u8>, LinesError> {
        Event::Frame(line.into())
    }

    #[track_caller]
    fn check(lines: Lines, input: &str, expected: Events<'_>) {
        check_every_split(|| lines, input.as_bytes(), expected);
    }

    #[track_caller]
    fn check_encoded(mut lines: Lines, item: &str, expected: Result<&str, EncodeError>) {
        let mut out = Outbox::new();
        let result = lines.encode(item, &mut out);
        assert_eq!(result, expected.map(|_| ()));
        assert_eq!(out.to_vec(), expected.unwrap_or("").as_bytes());
    }

    #[test]
    fn a_carriage_return_before_the_line_feed_is_not_part_of_the_line() {
        let expected = [line("ab"), line(""), line("c"), line("")];
        check(Lines::new(), "ab\r\n\nc\n\r\n", &expected);
    }

    #[test]
    fn a_carriage_return_elsewhere_is_part_of_the_line() {
        check(Lines::new(), "a\rb\r\r\n", &[line("a\rb\r")]);
    }

    #[test]
    fn strict_lines_end_with_both_bytes() {
        check(Lines::strict(), "ab\r\n\r\n", &[line("ab"), line("")]);
    }

    #[test]
    fn strict_lines_refuse_a_bare_line_feed() {
        let expected = [line("ab"), Event::Malformed(LinesError::BareLineFeed)];
        check(Lines::strict(), "ab\r\nc\nd\r\n", &expected);
    }

    #[test]
    fn strict_lines_refuse_a_bare_carriage_return() {
        for text in ["a\rb\r\n", "\r\r\n"] {
            let expected = [Event::Malformed(LinesError::BareCarriageReturn)];
            check(Lines::strict(), text, &expected);
        }
    }

    #[test]
    fn a_line_of_exactly_the_limit_passes_with_either_end() {
        for lines in [Lines::new(), Lines::new().skip_oversized()] {
            let expected = [line("abcd"), line("efgh")];
            check(lines.with_max_len(4), "abcd\r\nefgh\n", &expected);
        }
        check(Lines::strict().with_max_len(4), "abcd\r\n", &[line("abcd")]);
    }

    #[test]
    fn a_line_one_byte_longer_than_the_limit_is_refused() {
        for text in ["abcde\n", "abcde\r\n", "abcd\r\r\n", "abcde"] {
            let lines = Lines::new().with_max_len(4);
            check(lines, text, &[Event::Malformed(TOO_LONG)]);
        }
        for text in ["abcde\r\n", "abcde", "abcde\n"] {
            let lines = Lines::strict().with_max_len(4);
            check(lines, text, &[Event::Malformed(TOO_LONG)]);
        }
    }

    #[test]
    fn a_line_is_refused_as_soon_as_it_cannot_fit_any_more() {
        let mut lines = Lines::new().with_max_len(4);
        assert_eq!(lines.decode(b"abcd\r"), Ok(Step::More { needed: 0 }));
        assert_eq!(lines.decode(b"abcd\r\r"), Err(TOO_LONG));
        let mut lines = Lines::new().with_max_len(4);
        assert_eq!(lines.decode(b"abcd"), Ok(Step::More { needed: 0 }));
        assert_eq!(lines.decode(b"abcde"), Err(TOO_LONG));
    }

    #[test]
    fn an_oversized_line_is_skipped_and_reported_once() {
        let lines = Lines::new().with_max_len(4).skip_oversized();
        let expected = [line("a"), Event::Skipped(TOO_LONG), line("b"), line("c")];
        check(lines, "a\nabcdefghi\rjk\nb\nc\n", &expected);
        check(lines, "a\nabcde\r\nb\nc\n", &expected);
    }

    #[test]
    fn two_oversized_lines_are_two_reports() {
        let lines = Lines::strict().with_max_len(4).skip_oversized();
        let skipped = Event::Skipped(TOO_LONG);
        let expected = [skipped.clone(), skipped, line("ok")];
        check(lines, "aaaaaaa\r\nbbbbb\r\nok\r\n", &expected);
    }

    #[test]
    fn a_bare_line_end_is_refused_even_within_a_skipped_line() {
        let lines = Lines::strict().with_max_len(4).skip_oversized();
        for (text, error) in [
            ("abcdefg\nab\r\n", LinesError::BareLineFeed),
            ("abcdefg\rab\r\n", LinesError::BareCarriageReturn),
        ] {
            let expected = [Event::Skipped(TOO_LONG), Event::Malformed(error)];
            check(lines, text, &expected);
        }
    }

    #[test]
    fn the_end_of_the_stream_within_a_skipped_line_adds_nothing_to_its_report() {
        let lines = Lines::new().with_max_len(4).skip_oversized();
        check(lines, "abcdefg", &[Event::Skipped(TOO_LONG)]);
    }

    #[test]
    fn an_unfinished_line_at_the_end_is_partial() {
        check(Lines::new(), "ab\ncd\r", &[line("ab"), Event::Partial(3)]);
        check(
            Lines::strict(),
            "ab\r\nc\r",
            &[line("ab"), Event::Partial(2)],
        );
    }

    #[test]
    fn an_unfinished_line_at_the_end_is_a_line_if_that_is_wanted() {
        let lines = Lines::new().accept_unterminated().with_max_len(4);
        check(lines, "ab\ncd", &[line("ab"), line("cd")]);
        check(lines, "ab\n", &[line("ab")]);
        check(lines, "abc\r", &[line("abc\r")]);
        check(lines, "abcd\r", &[Event::Malformed(TOO_LONG)]);
        check(
            lines.skip_oversized(),
            "abcd\r",
            &[Event::Skipped(TOO_LONG)],
        );
        check(
            Lines::strict().accept_unterminated(),
            "ab\r\ncd",
            &[line("ab"), line("cd")],
        );
        check(
            Lines::strict().accept_unterminated(),
            "ab\r",
            &[Event::Malformed(LinesError::BareCarriageReturn)],
        );
    }

    #[test]
    fn a_limit_of_zero_leaves_empty_lines() {
        let lines = Lines::new().with_max_len(0).skip_oversized();
        let skipped = Event::Skipped(LinesError::TooLong { limit: 0 });
        check(
            lines,
            "\n\r\na\n\n",
            &[line(""), line(""), skipped, line("")],
        );
    }

    #[test]
    fn the_largest_limit_does_not_overflow() {
        for lines in [Lines::new(), Lines::strict()] {
            check(lines.with_max_len(usize::MAX), "ab\r\n", &[line("ab")]);
        }
    }

    /// How many bytes are looked at until a line of `len` bytes, arriving byte by byte, is found.
    fn scanned_len(lines: Lines, len: usize) -> usize {
        let mut input = vec![b'x'; len];
        input.extend(b"\r\n");
        let mut lines = lines.with_max_len(len);
        count::take();
        let mut scanned_len = 0;
        for end in 1..input.len() {
            assert!(matches!(lines.decode(&input[..end]), Ok(Step::More { .. })));
            scanned_len += count::take();
            // On the way already: otherwise a failure would take hours to show.
            assert!(scanned_len <= 3 * end, "{scanned_len} for {end}");
        }
        assert!(matches!(lines.decode(&input), Ok(Step::Frame { .. })));
        scanned_len + count::take()
    }

    #[test]
    fn a_line_of_10_mib_that_arrives_byte_by_byte_is_scanned_once() {
        let len = 10 * 1024 * 1024;
        assert_eq!(scanned_len(Lines::new(), len), len + 2);
    }

    #[test]
    fn a_strict_line_of_1_mib_that_arrives_byte_by_byte_is_scanned_once() {
        let len = 1024 * 1024;
        // The CR is looked at twice, once with its LF.
        assert_eq!(scanned_len(Lines::strict(), len), len + 2);
    }

    #[test]
    fn an_idle_decoder_is_small() {
        assert!(size_of::<Lines>() <= 24);
    }

    #[test]
    fn a_message_is_ended_as_the_rule_says() {
        check_encoded(Lines::new(), "ab", Ok("ab\n"));
        check_encoded(Lines::new(), "a\rb", Ok("a\rb\n"));
        check_encoded(Lines::new().with_crlf(), "ab", Ok("ab\r\n"));
        check_encoded(Lines::strict(), "", Ok("\r\n"));
        check_encoded(Lines::strict().with_crlf(), "ab", Ok("ab\r\n"));
    }

    #[test]
    fn a_message_that_would_be_read_differently_is_refused() {
        let at = |position| Err(EncodeError::ContainsDelimiter { position });
        check_encoded(Lines::new(), "a\nb", at(1));
        check_encoded(Lines::new(), "ab\r", at(2));
        check_encoded(Lines::new(), "a\nb\r", at(1));
        check_encoded(Lines::new().with_crlf(), "a\rb", at(1));
        check_encoded(Lines::strict(), "a\nb\r", at(1));
        check_encoded(Lines::strict(), "\rb\n", at(0));
    }

    #[test]
    fn a_message_beyond_the_limit_is_refused() {
        let lines = Lines::new().with_max_len(4);
        check_encoded(lines, "abcd", Ok("abcd\n"));
        let error = EncodeError::TooLong { len: 5, limit: 4 };
        check_encoded(lines, "abcde", Err(error));
    }
}
