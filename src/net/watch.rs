//! `Watch`: whether the poller is to tell that a datagram socket is writable.
//!
//! Decides by what became of what was sent; knows no socket and no poller. Pure.

use std::io::{self, ErrorKind};

use crate::token::Token;

/// How a datagram socket is polled: for reading always, for writing while that is of interest.
///
/// Every datagram that has left makes its socket writable once more, and a poller that is asked for
/// that wakes its owner for each. So it is asked only once the socket has taken nothing, and until
/// it has taken a number of datagrams in a row: two calls for each time that it was full, in place
/// of a poll for each datagram.
#[derive(Debug)]
pub(super) struct Watch {
    /// Whom events are for.
    pub(super) token: Token,
    /// While it is polled for writing: how many datagrams have left since it took nothing.
    calm: Option<u32>,
}

/// What is to be asked of the poller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// To tell when the socket is writable, now or later.
    Begin,
    /// To tell that no more.
    End,
}

impl Watch {
    pub(super) fn new(token: Token) -> Watch {
        Watch { token, calm: None }
    }

    /// Something was to be sent.
    #[inline]
    pub(super) fn on_sent(&mut self, sent: &io::Result<()>) -> Option<Change> {
        match sent {
            Ok(()) if self.calm.is_none() => None,
            sent => self.reconsider(sent),
        }
    }

    #[cold]
    fn reconsider(&mut self, sent: &io::Result<()>) -> Option<Change> {
        match (sent, self.calm) {
            (Ok(()), Some(calm)) if calm + 1 >= CALM => {
                self.calm = None;
                Some(Change::End)
            }
            (Ok(()), calm) => {
                self.calm = calm.map(|calm| calm + 1);
                None
            }
            (Err(error), calm) if error.kind() == ErrorKind::WouldBlock => {
                self.calm = Some(0);
                calm.is_none().then_some(Change::Begin)
            }
            // It says nothing about room.
            (Err(_), _) => None,
        }
    }

    /// The poller did not begin.
    pub(super) fn refused(&mut self) {
        self.calm = None;
    }
}

/// Datagrams, or trains, that leave in a row before a socket counts as one that takes everything.
const CALM: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCKED: fn() -> io::Result<()> = || Err(ErrorKind::WouldBlock.into());

    #[test]
    fn it_begins_with_the_first_refusal_and_ends_when_many_in_a_row_have_left() {
        let mut watch = Watch::new(Token::from_parts(0, 0));
        assert_eq!(watch.on_sent(&Ok(())), None);
        assert_eq!(watch.on_sent(&BLOCKED()), Some(Change::Begin));
        for _ in 0..3 {
            assert_eq!(watch.on_sent(&BLOCKED()), None);
            assert!((1..CALM).all(|_| watch.on_sent(&Ok(())).is_none()));
        }
        assert_eq!(watch.on_sent(&BLOCKED()), None);
        let ends = (1..).find(|_| watch.on_sent(&Ok(())) == Some(Change::End));
        assert_eq!(ends, Some(CALM));
        assert_eq!(watch.on_sent(&Ok(())), None);
        assert_eq!(watch.on_sent(&BLOCKED()), Some(Change::Begin));
    }

    #[test]
    fn what_did_not_begin_begins_with_the_next_refusal() {
        let mut watch = Watch::new(Token::from_parts(0, 0));
        let other = || Err(ErrorKind::ConnectionRefused.into());
        assert_eq!(watch.on_sent(&other()), None);
        assert_eq!(watch.on_sent(&BLOCKED()), Some(Change::Begin));
        watch.refused();
        assert_eq!(watch.on_sent(&BLOCKED()), Some(Change::Begin));
        assert_eq!(watch.on_sent(&other()), None);
    }
}
