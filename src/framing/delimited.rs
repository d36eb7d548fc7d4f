//! `Delimited`: frames that end with a string of bytes, or with any of several.
//!
//! Knows limits and frames; where a delimiter lies is the business of `delimiters`.

use std::fmt;
use std::sync::Arc;

use super::delimiters::{Delimiters, Match};
use super::oversize::{MAX_FRAME_LEN, Oversized};
use super::{Decoded, Decoder, EncodeError, Encoder, Payload, Step};
use crate::buffer::Outbox;

/// Frames that end with a delimiter, which is not part of the frame.
///
/// | delimiters | arrives | frames |
/// |---|---|---|
/// | `00` | `61 62 00 00 63 00` | `ab`, an empty frame, `c` |
/// | `2d 2d` | `61 2d 62 2d 2d` | `a-b` |
/// | `0d`, `0a`, `0d 0a` | `61 0d 0a 62 0d 63 0a` | `a`, `b`, `c` |
/// | `61 62 63 64`, `62 63` | `78 61 62 63 65` | `xa`, then `e` … |
///
/// A frame ends where the first delimiter begins; of several that begin there, the longest
/// counts. While the bytes that have arrived leave that open (`0d` in the third row), the frame
/// waits for the next byte, or for the end of the stream. What follows the last delimiter when the
/// stream ends is reported as partial.
///
/// | delimiters | is sent | |
/// |---|---|---|
/// | `2d 2d` | `61 62` | `61 62 2d 2d` |
/// | `0d`, `0a`, `0d 0a` | `61 62` | `61 62 0a`: the first that no longer one begins with |
/// | `2d 2d` | `61 2d 2d 62` | refused: the peer would see two frames |
/// | `2d 2d` | `61 62 2d` | refused: the peer would see `ab`, and `-` in front of the next |
///
/// A frame has at most 8 KiB unless [`Delimited::with_max_len`] says otherwise, in both directions.
/// A longer one is an error, or with [`Delimited::skip_oversized`] is skipped and reported, once,
/// while the stream goes on.
///
/// Scanning is linear: a byte is looked at once, and once more for every delimiter that might
/// begin at or shortly before it. A clone is cheap and shares the delimiters.
///
/// ```
/// use windlass::framing::{Decoder, Delimited, Step};
///
/// let mut frames = Delimited::by(b"--")?;
/// assert_eq!(frames.decode(b"ab-"), Ok(Step::More { needed: 0 }));
/// assert_eq!(frames.decode(b"ab--c"), Ok(Step::Frame { frame: &b"ab"[..], consumed: 4 }));
/// # Ok::<(), windlass::framing::EmptyDelimiter>(())
/// ```
#[derive(Clone, Debug)]
pub struct Delimited {
    delimiters: Arc<Delimiters>,
    /// Bytes of a frame without its delimiter. Invariant: `max_len <= MAX_FRAME_LEN`.
    max_len: usize,
    /// Bytes of the unfinished frame at which no delimiter begins.
    searched: usize,
    oversized: Oversized,
}

impl Delimited {
    /// Frames that end with `delimiter`.
    ///
    /// # Errors
    /// The delimiter is empty: every place would be one.
    pub fn by(delimiter: impl AsRef<[u8]>) -> Result<Delimited, EmptyDelimiter> {
        Delimited::by_any([delimiter])
    }

    /// Frames that end with any of `delimiters`.
    ///
    /// ```
    /// use windlass::framing::Delimited;
    ///
    /// let any_line_end = Delimited::by_any(["\n", "\r\n", "\r"])?;
    /// # Ok::<(), windlass::framing::EmptyDelimiter>(())
    /// ```
    ///
    /// # Errors
    /// One of the delimiters is empty, or there is none.
    pub fn by_any<I>(delimiters: I) -> Result<Delimited, EmptyDelimiter>
    where
        I: IntoIterator<Item: AsRef<[u8]>>,
    {
        let delimiters: Vec<I::Item> = delimiters.into_iter().collect();
        match Delimiters::new(delimiters.iter().map(AsRef::as_ref)) {
            Some(delimiters) => Ok(Delimited::of(delimiters)),
            None => Err(EmptyDelimiter),
        }
    }

    /// Frames that end with one certain byte.
    pub fn by_byte(delimiter: u8) -> Delimited {
        Delimited::of(Delimiters::new([&[delimiter][..]]).expect("one byte is not empty"))
    }

    fn of(delimiters: Delimiters) -> Delimited {
        Delimited {
            delimiters: Arc::new(delimiters),
            max_len: DEFAULT_MAX_LEN,
            searched: 0,
            oversized: Oversized::Refused,
        }
    }

    /// Sets how many bytes a frame may have, without its delimiter. Default 8 KiB.
    pub fn with_max_len(mut self, max_len: usize) -> Delimited {
        self.max_len = max_len.min(MAX_FRAME_LEN);
        self
    }

    /// Skips and reports a frame that is too long, instead of refusing it. Its bytes are thrown
    /// away as they come.
    pub fn skip_oversized(mut self) -> Delimited {
        self.oversized = Oversized::Skipped;
        self
    }

    #[inline]
    fn step<'a>(&mut self, input: &'a [u8], is_last: bool) -> Decoded<'a, Delimited> {
        if self.oversized == Oversized::BeingSkipped {
            return Ok(self.skip(input, is_last));
        }
        // A delimiter that ends a frame within the limit begins here, or nowhere.
        let window_len = input.len().min(self.max_len + 1);
        let searched = self.searched.min(window_len);
        let found = self.delimiters.find(input, searched, window_len, is_last);
        match found {
            Match::Delimiter { start, end } => {
                self.searched = 0;
                Ok(Step::Frame {
                    frame: &input[..start],
                    consumed: end,
                })
            }
            Match::Undecided { start } => {
                self.searched = start;
                Ok(Step::More { needed: 0 })
            }
            Match::Nowhere if input.len() > self.max_len => self.on_oversized(),
            Match::Nowhere => {
                self.searched = window_len;
                Ok(Step::More { needed: 0 })
            }
        }
    }

    #[cold]
    fn on_oversized<'a>(&mut self) -> Decoded<'a, Delimited> {
        let error = DelimitedError::TooLong {
            limit: self.max_len,
        };
        if self.oversized == Oversized::Refused {
            return Err(error);
        }
        self.oversized = Oversized::BeingSkipped;
        self.searched = 0;
        Ok(Step::Skip {
            consumed: self.max_len + 1,
            report: Some(error),
        })
    }

    /// Throws away what there is up to the delimiter's end.
    #[cold]
    fn skip<'a>(&mut self, input: &'a [u8], is_last: bool) -> Step<&'a [u8], DelimitedError> {
        let consumed = match self.delimiters.find(input, 0, input.len(), is_last) {
            Match::Delimiter { end, .. } => {
                self.oversized = Oversized::Skipped;
                end
            }
            // What may be the beginning of a delimiter has to be seen again.
            Match::Undecided { start: 0 } => return Step::More { needed: 0 },
            Match::Undecided { start } => start,
            Match::Nowhere => input.len(),
        };
        Step::Skip {
            consumed,
            report: None,
        }
    }
}

impl Decoder for Delimited {
    type Frame<'a> = &'a [u8];
    type Error = DelimitedError;

    #[inline]
    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Decoded<'a, Self> {
        self.step(input, false)
    }

    fn decode_eof<'a>(&'a mut self, input: &'a [u8]) -> Decoded<'a, Self> {
        if input.is_empty() {
            return Ok(Step::More { needed: 0 });
        }
        self.step(input, true)
    }

    /// The longest frame with the longest delimiter.
    fn max_pending(&self) -> Option<usize> {
        Some(self.max_len.saturating_add(self.delimiters.longest_len()))
    }
}

impl<P: Payload> Encoder<P> for Delimited {
    #[inline]
    fn encode(&mut self, item: P, out: &mut Outbox) -> Result<(), EncodeError> {
        let message = item.as_bytes();
        if message.len() > self.max_len {
            return Err(EncodeError::TooLong {
                len: message.len(),
                limit: self.max_len,
            });
        }
        if let Some(position) = self.delimiters.find_in_message(message) {
            return Err(EncodeError::ContainsDelimiter { position });
        }
        item.put_into(out);
        out.put(self.delimiters.written());
        Ok(())
    }
}

/// How the peer broke [`Delimited`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DelimitedError {
    /// A frame has more than `limit` bytes.
    TooLong {
        /// Bytes that a frame may have, without its delimiter.
        limit: usize,
    },
}

impl fmt::Display for DelimitedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DelimitedError::TooLong { limit } => {
                write!(f, "a delimited frame is longer than {limit} bytes")
            }
        }
    }
}

impl std::error::Error for DelimitedError {}

/// A [`Delimited`] cannot be made of an empty delimiter, or of none. The caller is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmptyDelimiter;

impl fmt::Display for EmptyDelimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a delimiter is empty, or there is none")
    }
}

impl std::error::Error for EmptyDelimiter {}

const DEFAULT_MAX_LEN: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::scan::count;
    use crate::framing::testing::{Event, check_every_split};

    const TOO_LONG: DelimitedError = DelimitedError::TooLong { limit: 4 };

    fn by_any(delimiters: &[&str]) -> Delimited {
        Delimited::by_any(delimiters).expect("none is empty")
    }

    fn frame(frame: &str) -> Event<Vec<u8>, DelimitedError> {
        Event::Frame(frame.into())
    }

    #[track_caller]
    fn check(frames: &Delimited, input: &str, expected: &[Event<Vec<u8>, DelimitedError>]) {
        check_every_split(|| frames.clone(), input.as_bytes(), expected);
    }

    #[track_caller]
    fn check_encoded(delimiters: &[&str], item: &str, expected: Result<&str, EncodeError>) {
        let mut out = Outbox::new();
        let result = by_any(delimiters).with_max_len(9).encode(item, &mut out);
        assert_eq!(result, expected.map(|_| ()));
        assert_eq!(out.to_vec(), expected.unwrap_or("").as_bytes());
    }

    #[test]
    fn frames_end_at_the_delimiter_and_do_not_contain_it() {
        let expected = [frame("ab"), frame(""), frame("c")];
        check(&Delimited::by_byte(0), "ab\0\0c\0", &expected);
    }

    #[test]
    fn half_a_delimiter_is_part_of_the_frame() {
        check(&by_any(&["--"]), "a-b--", &[frame("a-b")]);
        check(&by_any(&["aab"]), "aaaab", &[frame("aa")]);
    }

    #[test]
    fn the_longest_of_several_delimiters_counts_wherever_it_is_cut() {
        let expected = [frame("a"), frame("b"), frame("c"), frame("")];
        check(&by_any(&["\r", "\n", "\r\n"]), "a\r\nb\rc\n\r", &expected);
    }

    #[test]
    fn an_earlier_delimiter_wins_over_one_that_is_complete_sooner() {
        let frames = by_any(&["abcd", "bc"]);
        check(&frames, "xabcdy", &[frame("x"), Event::Partial(1)]);
        check(&frames, "xabcey", &[frame("xa"), Event::Partial(2)]);
        check(&frames, "xabc", &[frame("xa")]);
    }

    #[test]
    fn a_delimiter_that_begins_another_one_counts_at_the_end_of_the_stream() {
        check(
            &by_any(&["x", "xyz"]),
            "axy",
            &[frame("a"), Event::Partial(1)],
        );
    }

    #[test]
    fn what_follows_the_last_delimiter_is_partial() {
        check(&by_any(&["--"]), "a--b-", &[frame("a"), Event::Partial(2)]);
    }

    #[test]
    fn a_frame_of_exactly_the_limit_passes() {
        let frames = by_any(&["--"]).with_max_len(4);
        check(
            &frames,
            "abcd--a-c---",
            &[frame("abcd"), frame("a-c"), Event::Partial(1)],
        );
        check(&frames, "abc---", &[frame("abc"), Event::Partial(1)]);
    }

    #[test]
    fn a_frame_one_byte_longer_than_the_limit_is_refused() {
        let frames = by_any(&["--"]).with_max_len(4);
        for text in ["abcde--", "abcd-e--", "abcde", "abcd-"] {
            check(&frames, text, &[Event::Malformed(TOO_LONG)]);
        }
    }

    #[test]
    fn an_oversized_frame_is_skipped_and_reported_once() {
        let frames = by_any(&["-", "-->", "#"]).with_max_len(4).skip_oversized();
        let skipped = Event::Skipped(TOO_LONG);
        for end in ["-", "-->", "#"] {
            let text = format!("abcdefgh{end}ij#");
            check(&frames, &text, &[skipped.clone(), frame("ij")]);
        }
        let frames = by_any(&["-->"]).with_max_len(4).skip_oversized();
        let expected = [skipped.clone(), frame("ok"), skipped];
        check(&frames, "ab--c->--->ok-->abcde-->", &expected);
    }

    #[test]
    fn the_end_of_the_stream_within_a_skipped_frame_adds_nothing_to_its_report() {
        let frames = by_any(&["-->"]).with_max_len(4).skip_oversized();
        check(&frames, "abcdefgh--", &[Event::Skipped(TOO_LONG)]);
    }

    #[test]
    fn the_largest_limit_does_not_overflow() {
        let frames = by_any(&["--"]).with_max_len(usize::MAX);
        check(&frames, "ab--", &[frame("ab")]);
    }

    #[test]
    fn an_empty_delimiter_is_refused() {
        assert_eq!(Delimited::by("").err(), Some(EmptyDelimiter));
        assert_eq!(Delimited::by_any(["a", ""]).err(), Some(EmptyDelimiter));
        assert_eq!(
            Delimited::by_any::<[&str; 0]>([]).err(),
            Some(EmptyDelimiter)
        );
    }

    /// How many bytes are looked at until `frame`, arriving byte by byte, is found.
    fn scanned_len(frames: Delimited, frame: &[u8], delimiter: &[u8]) -> usize {
        let input = [frame, delimiter].concat();
        let mut frames = frames.with_max_len(frame.len());
        count::take();
        let mut scanned_len = 0;
        for end in 1..input.len() {
            assert!(matches!(
                frames.decode(&input[..end]),
                Ok(Step::More { .. })
            ));
            scanned_len += count::take();
            // On the way already: otherwise a failure would take long to show.
            assert!(scanned_len <= 16 * end, "{scanned_len} for {end}");
        }
        assert!(matches!(frames.decode(&input), Ok(Step::Frame { .. })));
        scanned_len + count::take()
    }

    #[test]
    fn a_frame_of_256_kib_that_arrives_byte_by_byte_is_scanned_less_than_three_times() {
        let len = 256 * 1024;
        let plain = vec![b'x'; len];
        let half_delimiters = b"ab-c".repeat(len / 4);
        for frame in [&plain, &half_delimiters] {
            assert!(scanned_len(by_any(&["--"]), frame, b"--") < 3 * len);
            let several = by_any(&["-->", "\r\n", "--!"]);
            assert!(scanned_len(several, frame, b"\r\n") < 3 * len);
        }
    }

    #[test]
    fn a_frame_full_of_half_delimiters_is_scanned_in_proportion_to_the_delimiter() {
        let worst = [b'a'; 16 * 1024];
        let scanned_len = scanned_len(by_any(&["aaab"]), &worst, b"aaab");
        assert!(scanned_len < 4 * 4 * worst.len(), "{scanned_len}");
    }

    #[test]
    fn an_idle_decoder_is_small() {
        assert!(size_of::<Delimited>() <= 32);
    }

    #[test]
    fn a_message_is_ended_by_the_first_delimiter_that_leaves_no_doubt() {
        check_encoded(&["--"], "ab", Ok("ab--"));
        check_encoded(&["--", "+"], "", Ok("--"));
        check_encoded(&["\r", "\r\n", "\n"], "ab", Ok("ab\r\n"));
    }

    #[test]
    fn a_message_that_would_be_read_differently_is_refused() {
        let at = |position| Err(EncodeError::ContainsDelimiter { position });
        check_encoded(&["--"], "a--b", at(1));
        check_encoded(&["--"], "ab-", at(2));
        check_encoded(&["+", "--"], "ab-", Ok("ab-+"));
        check_encoded(&["+", "-+-"], "ab-", at(2));
    }

    #[test]
    fn a_message_beyond_the_limit_is_refused() {
        check_encoded(&["--"], "123456789", Ok("123456789--"));
        let error = EncodeError::TooLong { len: 10, limit: 9 };
        check_encoded(&["--"], "1234567890", Err(error));
    }
}
