//! For tests of decoders, yours as well as ours: whatever the way in which a stream is cut, a
//! decoder has to find the same in it.
//!
//! Drives a decoder as a connection does, but knows neither connections nor any framing.

use std::fmt::Debug;

use super::{Decoder, Step};

/// What a decoder made of a stretch of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<F, E> {
    /// A frame.
    Frame(F),
    /// A frame was skipped, and this reported of it.
    Skipped(E),
    /// The peer broke the framing. The last event.
    Malformed(E),
    /// The stream ended within a frame, so many bytes of which are left. The last event.
    Partial(usize),
}

/// Feeds `input` to `decoder`, cut at the positions `cuts`, and lists what comes out, up to and
/// including the end of the stream.
///
/// Frames are kept as an `F` of your choice, such as `Vec<u8>` for framings that lend bytes.
///
/// ```
/// use windlass::framing::{Lines, testing::{Event, events}};
///
/// let events = events::<_, Vec<u8>>(Lines::new(), b"one\ntwo", &[2]);
/// assert_eq!(events, [Event::Frame(b"one".to_vec()), Event::Partial(3)]);
/// ```
///
/// # Panics
/// The decoder broke the contract of [`Decoder`]: it consumed nothing or more than there was,
/// asked for no more than it saw, or asked to keep more than [`Decoder::max_pending`].
#[track_caller]
pub fn events<D, F>(mut decoder: D, input: &[u8], cuts: &[usize]) -> Vec<Event<F, D::Error>>
where
    D: Decoder + 'static,
    for<'a> D::Frame<'a>: Into<F>,
{
    let max_pending = decoder.max_pending().unwrap_or(usize::MAX);
    let mut events = Vec::new();
    let mut start = 0;
    for end in cuts.iter().copied().chain([input.len()]) {
        while start < end {
            let rest = &input[start..end];
            match decoder.decode(rest) {
                Ok(Step::Frame { frame, consumed }) => {
                    events.push(Event::Frame(frame.into()));
                    start += checked(consumed, rest.len());
                }
                Ok(Step::Skip { consumed, report }) => {
                    events.extend(report.map(Event::Skipped));
                    start += checked(consumed, rest.len());
                }
                Ok(Step::More { needed }) => {
                    assert!(
                        needed == 0 || needed > rest.len(),
                        "of {} bytes, {needed} were said to be missing",
                        rest.len()
                    );
                    assert!(
                        rest.len() <= max_pending,
                        "{} bytes are to be kept where at most {max_pending} were announced",
                        rest.len()
                    );
                    break;
                }
                Err(error) => {
                    events.push(Event::Malformed(error));
                    return events;
                }
            }
        }
    }
    finish(&mut decoder, &input[start..], &mut events);
    events
}

/// Checks that `input`, followed by the end of the stream, gives `expected`: in one piece, cut
/// once or twice at all positions, and byte by byte.
///
/// The cost is the cube of the input's length: tens of bytes are plenty.
///
/// ```
/// use windlass::framing::{Lines, testing::{Event, check_every_split}};
///
/// let expected = [Event::Frame(b"one".to_vec()), Event::Frame(b"two".to_vec())];
/// check_every_split(Lines::new, b"one\r\ntwo\n", &expected);
/// ```
///
/// # Panics
/// They differ, or the decoder broke its contract; see [`events`].
#[track_caller]
pub fn check_every_split<D, F>(
    mut decoder: impl FnMut() -> D,
    input: &[u8],
    expected: &[Event<F, D::Error>],
) where
    D: Decoder + 'static,
    D::Error: PartialEq,
    F: PartialEq + Debug,
    for<'a> D::Frame<'a>: Into<F>,
{
    let len = input.len();
    let one_by_one: Vec<usize> = (1..len).collect();
    assert_eq!(
        events(decoder(), input, &one_by_one),
        expected,
        "byte by byte"
    );
    for first in 0..=len {
        for second in first..=len {
            assert_eq!(
                events(decoder(), input, &[first, second]),
                expected,
                "cut at {first} and {second}"
            );
        }
    }
}

/// The end of the stream, with `rest` not yet consumed.
#[track_caller]
fn finish<D, F>(decoder: &mut D, rest: &[u8], events: &mut Vec<Event<F, D::Error>>)
where
    D: Decoder + 'static,
    for<'a> D::Frame<'a>: Into<F>,
{
    let mut rest = rest;
    loop {
        let consumed = match decoder.decode_eof(rest) {
            Ok(Step::Frame { frame, consumed }) => {
                events.push(Event::Frame(frame.into()));
                if consumed == 0 {
                    break;
                }
                consumed
            }
            Ok(Step::Skip { consumed, report }) => {
                events.extend(report.map(Event::Skipped));
                consumed
            }
            Ok(Step::More { .. }) => break,
            Err(error) => {
                events.push(Event::Malformed(error));
                return;
            }
        };
        rest = &rest[checked(consumed, rest.len())..];
    }
    if !rest.is_empty() {
        events.push(Event::Partial(rest.len()));
    }
}

#[track_caller]
fn checked(consumed: usize, len: usize) -> usize {
    assert!(
        (1..=len).contains(&consumed),
        "{consumed} of {len} bytes were consumed"
    );
    consumed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::{Decoded, Raw};

    /// Says what it was told to.
    struct Broken(Option<usize>);

    impl Decoder for Broken {
        type Frame<'a> = &'a [u8];
        type Error = std::convert::Infallible;

        fn decode<'a>(&'a mut self, input: &'a [u8]) -> Decoded<'a, Self> {
            Ok(match self.0 {
                Some(consumed) => Step::Frame {
                    frame: input,
                    consumed,
                },
                None => Step::More { needed: 1 },
            })
        }
    }

    #[test]
    #[should_panic(expected = "0 of 2 bytes were consumed")]
    fn a_frame_of_nothing_is_caught() {
        events::<_, Vec<u8>>(Broken(Some(0)), b"ab", &[]);
    }

    #[test]
    #[should_panic(expected = "3 of 2 bytes were consumed")]
    fn a_frame_of_more_than_there_is_is_caught() {
        events::<_, Vec<u8>>(Broken(Some(3)), b"ab", &[]);
    }

    #[test]
    #[should_panic(expected = "of 2 bytes, 1 were said to be missing")]
    fn waiting_for_what_has_arrived_is_caught() {
        events::<_, Vec<u8>>(Broken(None), b"ab", &[]);
    }

    #[test]
    #[should_panic(expected = "byte by byte")]
    fn frames_that_depend_on_the_split_are_caught() {
        check_every_split(|| Raw, b"ab", &[Event::Frame(b"ab".to_vec())]);
    }
}
