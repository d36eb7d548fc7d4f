//! The set of delimiters of a `Delimited`, and the search for the first of them.
//!
//! Knows where a delimiter lies in a stretch of bytes, but nothing of frames and limits.

use super::scan::{common_len, find_any_of_three, find_byte, find_either, find_marked};

/// At least one delimiter, none of them empty.
#[derive(Debug)]
pub(super) struct Delimiters {
    /// The longest first: it wins where several match.
    all: Vec<Box<[u8]>>,
    /// The bytes that a delimiter begins with.
    starts: Starts,
    /// Index in `all` of the delimiter that ends a message.
    written: usize,
}

/// The bytes that a delimiter may begin with, as the fastest search for them wants them.
#[derive(Debug)]
enum Starts {
    One(u8),
    Two([u8; 2]),
    Three([u8; 3]),
    Many(Box<[bool; 256]>),
}

/// What the search for a delimiter has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// The first delimiter lies at `start..end`.
    Delimiter { start: usize, end: usize },
    /// A delimiter may begin at `start`, or a longer one than is seen there; nothing does before.
    Undecided { start: usize },
    /// No delimiter begins in what was searched.
    Nowhere,
}

impl Delimiters {
    /// `None` if there is none, or one of them is empty.
    pub(super) fn new<'d>(delimiters: impl IntoIterator<Item = &'d [u8]>) -> Option<Delimiters> {
        let mut all: Vec<Box<[u8]>> = delimiters.into_iter().map(Box::from).collect();
        if all.is_empty() || all.iter().any(|delimiter| delimiter.is_empty()) {
            return None;
        }
        // The first that no other one begins with: behind a CR that ends a message, an LF that
        // begins the next one would be taken for a part of CR LF. The longest always qualifies.
        let is_clear = |at: usize| {
            let mut others = all.iter().filter(|other| other.len() > all[at].len());
            !others.any(|other| other.starts_with(&all[at]))
        };
        let written = (0..all.len()).find(|&at| is_clear(at));
        let written = all[written.expect("no delimiter begins with the longest")].clone();

        all.sort_by_key(|delimiter| std::cmp::Reverse(delimiter.len()));
        let written = all.iter().position(|delimiter| *delimiter == written);
        Some(Delimiters {
            starts: Starts::of(&all),
            written: written.expect("sorting loses nothing"),
            all,
        })
    }

    /// Looks for the first delimiter that begins in `bytes[from..until]`; it may end behind that.
    ///
    /// Where several begin, the longest one is meant. If it cannot be told yet, because `bytes`
    /// end within one that would win, the answer is `Undecided`; unless `is_last` says that
    /// nothing will follow.
    #[inline]
    pub(super) fn find(&self, bytes: &[u8], from: usize, until: usize, is_last: bool) -> Match {
        let mut from = from;
        while let Some(offset) = self.starts.find(&bytes[from..until]) {
            let start = from + offset;
            match self.match_at(bytes, start, is_last) {
                Match::Nowhere => from = start + 1,
                found => return found,
            }
        }
        Match::Nowhere
    }

    /// The longest delimiter at `start`.
    #[inline]
    fn match_at(&self, bytes: &[u8], start: usize, is_last: bool) -> Match {
        let rest = &bytes[start..];
        for delimiter in &self.all {
            let len = common_len(rest, delimiter);
            if len == delimiter.len() {
                let end = start + len;
                return Match::Delimiter { start, end };
            }
            if len == rest.len() && !is_last {
                return Match::Undecided { start };
            }
        }
        Match::Nowhere
    }

    /// Where in `message` a reader would see a delimiter, or might, once `message` is followed by
    /// the one that is [`written`](Delimiters::written) and by any other message.
    #[inline]
    pub(super) fn find_in_message(&self, message: &[u8]) -> Option<usize> {
        match self.find(message, 0, message.len(), false) {
            Match::Nowhere => None,
            Match::Delimiter { start, .. } => Some(start),
            Match::Undecided { start } => self.find_across(message, start),
        }
    }

    /// As `find_in_message`, when `message` ends with what may be the beginning of a delimiter.
    #[cold]
    fn find_across(&self, message: &[u8], start: usize) -> Option<usize> {
        let tail = &message[start..];
        let ended = [tail, self.written()].concat();
        match self.find(&ended, 0, tail.len(), false) {
            Match::Nowhere => None,
            Match::Delimiter { start: at, .. } | Match::Undecided { start: at } => Some(start + at),
        }
    }

    /// The delimiter that ends a message.
    #[inline]
    pub(super) fn written(&self) -> &[u8] {
        &self.all[self.written]
    }

    /// Bytes of the longest delimiter.
    #[inline]
    pub(super) fn longest_len(&self) -> usize {
        self.all[0].len()
    }
}

impl Starts {
    fn of(delimiters: &[Box<[u8]>]) -> Starts {
        let mut bytes: Vec<u8> = delimiters.iter().map(|delimiter| delimiter[0]).collect();
        bytes.sort_unstable();
        bytes.dedup();
        match bytes[..] {
            [one] => Starts::One(one),
            [one, two] => Starts::Two([one, two]),
            [one, two, three] => Starts::Three([one, two, three]),
            _ => {
                let mut marked = Box::new([false; 256]);
                for byte in bytes {
                    marked[usize::from(byte)] = true;
                }
                Starts::Many(marked)
            }
        }
    }

    #[inline]
    fn find(&self, bytes: &[u8]) -> Option<usize> {
        match self {
            Starts::One(byte) => find_byte(*byte, bytes),
            Starts::Two(wanted) => find_either(*wanted, bytes),
            Starts::Three(wanted) => find_any_of_three(*wanted, bytes),
            Starts::Many(marked) => find_marked(marked, bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delimiters(all: &[&str]) -> Delimiters {
        Delimiters::new(all.iter().map(|text| text.as_bytes())).expect("none is empty")
    }

    #[track_caller]
    fn check(all: &[&str], text: &str, expected: Match) {
        let found = delimiters(all).find(text.as_bytes(), 0, text.len(), false);
        assert_eq!(found, expected);
    }

    #[test]
    fn the_earliest_delimiter_is_found_and_the_longest_there() {
        let expected = Match::Delimiter { start: 1, end: 3 };
        check(&["\r", "\n", "\r\n"], "a\r\nb\n", expected);
        let expected = Match::Delimiter { start: 1, end: 2 };
        check(&["\r", "\n", "\r\n"], "a\rb\r\n", expected);
    }

    #[test]
    fn what_might_become_an_earlier_or_longer_delimiter_is_waited_for() {
        check(&["\r", "\r\n"], "a\r", Match::Undecided { start: 1 });
        check(&["abcd", "bc"], "xabc", Match::Undecided { start: 1 });
        let expected = Match::Delimiter { start: 2, end: 4 };
        check(&["abcd", "bc"], "xabce", expected);
    }

    #[test]
    fn at_the_end_what_is_there_decides() {
        let find =
            |all: &[&str], text: &str| delimiters(all).find(text.as_bytes(), 0, text.len(), true);
        let expected = Match::Delimiter { start: 1, end: 2 };
        assert_eq!(find(&["\r", "\r\n"], "a\r"), expected);
        let expected = Match::Delimiter { start: 2, end: 4 };
        assert_eq!(find(&["abcd", "bc"], "xabc"), expected);
        assert_eq!(find(&["ab"], "xa"), Match::Nowhere);
    }

    #[test]
    fn any_number_of_first_bytes_is_searched_for() {
        let all = ["a", "b", "c", "d", "e"];
        for count in 1..=all.len() {
            for (at, _) in all.iter().enumerate().take(count) {
                let text = format!("xy{}", all[at]);
                let expected = Match::Delimiter { start: 2, end: 3 };
                check(&all[..count], &text, expected);
            }
        }
    }

    #[test]
    fn an_empty_delimiter_or_none_at_all_is_no_set() {
        assert!(Delimiters::new([]).is_none());
        assert!(Delimiters::new([&b"a"[..], b""]).is_none());
    }

    #[test]
    fn the_delimiter_that_is_written_is_no_beginning_of_another() {
        assert_eq!(delimiters(&["\r", "\r\n", "\n"]).written(), b"\r\n");
        assert_eq!(delimiters(&["\n", "\r", "\r\n"]).written(), b"\n");
        assert_eq!(delimiters(&["x", "x"]).written(), b"x");
    }

    #[test]
    fn a_message_that_forms_a_delimiter_with_what_follows_it_is_found_out() {
        assert_eq!(delimiters(&["aa"]).find_in_message(b"xa"), Some(1));
        assert_eq!(delimiters(&["ab"]).find_in_message(b"xa"), None);
        assert_eq!(delimiters(&["\n", "x\ny"]).find_in_message(b"abx"), Some(2));
        assert_eq!(delimiters(&["\n", "x\ny"]).find_in_message(b"xab"), None);
        assert_eq!(delimiters(&["aab"]).find_in_message(b"aaaa"), None);
    }
}
