//! `State`: how a connection begins and ends, for every protocol alike.
//!
//! One pure total function from state and event to state. It knows no sockets, no clock and no
//! buffers: whoever calls it does what the new state demands. The table in ARCHITECTURE.md is
//! this function, and a test holds the two together.

use crate::close::CloseReason;

/// Where a connection stands.
///
/// Told by a byte of its own, not by gaps in what a `CloseReason` may be: it is asked for several
/// times with every event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// We are connecting; what happens next once that succeeded.
    Connecting(Then),
    /// Bytes flow both ways.
    Open,
    /// The peer's FIN has come, and the protocol was told. We may still send.
    ReadClosed,
    /// Our FIN follows what is queued. Frames are still delivered.
    WriteClosing,
    /// Our FIN is out. Frames are still delivered.
    WriteClosed,
    /// No further frame is delivered; what is queued is still owed to the peer.
    Draining {
        /// The peer's FIN has come: nothing can arrive any more.
        peer_done: bool,
        /// Why the connection ends.
        reason: CloseReason,
    },
    /// Our FIN is out. Input is thrown away until the peer's FIN, a byte cap or a deadline,
    /// because closing with unread input makes the kernel send RST, which can destroy our last
    /// reply (RFC 9112, section 9.6).
    Lingering(CloseReason),
    /// Nothing is owed to anyone: the slot may be released.
    Closed(CloseReason),
}

/// What a connection that is not yet made will do first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Open.
    Open,
    /// Send what is queued by then, and end our half.
    WriteClosing,
    /// Send what is queued by then, and end.
    Draining(CloseReason),
}

/// What happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The connection is made.
    Connected,
    /// The peer's FIN was read; or all has come that it will send, as it has said.
    PeerFinished,
    /// Our half is to end, in order.
    FinishWrites,
    /// The connection is to end, in order.
    Finish(CloseReason),
    /// Nothing is queued any more.
    Flushed,
    /// Lingering took too long, or too many bytes.
    LingerOver,
    /// The connection ends now: aborted, reset, failed, timed out.
    Fail(CloseReason),
}

impl State {
    /// The state after `event`.
    pub(crate) fn on(self, event: Event) -> State {
        use Event::{Connected, Fail, Finish, FinishWrites, Flushed, LingerOver, PeerFinished};
        use State::{Closed, Connecting, Draining, Lingering, Open, ReadClosed};
        use State::{WriteClosed, WriteClosing};

        match (self, event) {
            (Connecting(Then::Open), Connected) => Open,
            (Connecting(Then::WriteClosing), Connected) => WriteClosing,
            (Connecting(Then::Draining(reason)), Connected) => Draining {
                reason,
                peer_done: false,
            },
            (Connecting(Then::Open), FinishWrites) => Connecting(Then::WriteClosing),
            (Connecting(Then::Open | Then::WriteClosing), Finish(reason)) => {
                Connecting(Then::Draining(reason))
            }
            (Connecting(Then::WriteClosing), FinishWrites) => self,
            (Connecting(Then::Draining(_)), FinishWrites | Finish(_)) => self,
            (Connecting(_), PeerFinished | Flushed | LingerOver) => self,
            (Connecting(_), Fail(reason)) => Closed(reason),

            (Open, PeerFinished) => ReadClosed,
            (Open, FinishWrites) => WriteClosing,
            (Open, Finish(reason)) => Draining {
                reason,
                peer_done: false,
            },
            (Open, Connected | Flushed | LingerOver) => self,
            (Open, Fail(reason)) => Closed(reason),

            // Both halves end now, and it was the peer who began.
            (ReadClosed, FinishWrites | Finish(CloseReason::Finished)) => Draining {
                reason: CloseReason::PeerFinished,
                peer_done: true,
            },
            (ReadClosed, Finish(reason)) => Draining {
                reason,
                peer_done: true,
            },
            (ReadClosed, Connected | PeerFinished | Flushed | LingerOver) => self,
            (ReadClosed, Fail(reason)) => Closed(reason),

            (WriteClosing, Flushed) => WriteClosed,
            (WriteClosing, PeerFinished) => Draining {
                reason: CloseReason::Finished,
                peer_done: true,
            },
            (WriteClosing, Finish(reason)) => Draining {
                reason,
                peer_done: false,
            },
            (WriteClosing, Connected | FinishWrites | LingerOver) => self,
            (WriteClosing, Fail(reason)) => Closed(reason),

            (WriteClosed, PeerFinished) => Closed(CloseReason::Finished),
            (WriteClosed, Finish(reason)) => Lingering(reason),
            (WriteClosed, Connected | FinishWrites | Flushed | LingerOver) => self,
            (WriteClosed, Fail(reason)) => Closed(reason),

            (Draining { reason, .. }, PeerFinished) => Draining {
                reason,
                peer_done: true,
            },
            (
                Draining {
                    reason,
                    peer_done: true,
                },
                Flushed,
            ) => Closed(reason),
            (
                Draining {
                    reason,
                    peer_done: false,
                },
                Flushed,
            ) => Lingering(reason),
            (Draining { .. }, Connected | FinishWrites | Finish(_) | LingerOver) => self,
            (Draining { .. }, Fail(reason)) => Closed(reason),

            // Everything was handed to the kernel and our FIN is out: whatever happens now, the
            // connection ended for the reason it had. But whoever aborts wants it reset.
            (Lingering(_), Fail(CloseReason::Aborted)) => Closed(CloseReason::Aborted),
            (Lingering(reason), PeerFinished | LingerOver | Fail(_)) => Closed(reason),
            (Lingering(_), Connected | FinishWrites | Finish(_) | Flushed) => self,

            (
                Closed(_),
                Connected | PeerFinished | FinishWrites | Finish(_) | Flushed | LingerOver
                | Fail(_),
            ) => self,
        }
    }

    /// Whether frames are delivered.
    #[inline]
    pub(crate) fn delivers(self) -> bool {
        matches!(self, State::Open | State::WriteClosing | State::WriteClosed)
    }

    /// Whether input is read only to be thrown away.
    pub(crate) fn discards(self) -> bool {
        matches!(
            self,
            State::Draining {
                peer_done: false,
                ..
            } | State::Lingering(_)
        )
    }

    /// Whether the protocol may still send.
    #[inline]
    pub(crate) fn may_send(self) -> bool {
        matches!(
            self,
            State::Open | State::ReadClosed | State::Connecting(Then::Open)
        )
    }

    /// Whether our FIN is out, or nothing can be sent any more.
    pub(crate) fn is_write_closed(self) -> bool {
        matches!(
            self,
            State::WriteClosed | State::Lingering(_) | State::Closed(_)
        )
    }

    /// Whether an empty queue is an event.
    #[inline]
    pub(crate) fn awaits_flush(self) -> bool {
        matches!(self, State::WriteClosing | State::Draining { .. })
    }

    /// Why the connection has ended, if it has.
    pub(crate) fn closed(self) -> Option<CloseReason> {
        match self {
            State::Closed(reason) => Some(reason),
            State::Connecting(_)
            | State::Open
            | State::ReadClosed
            | State::WriteClosing
            | State::WriteClosed
            | State::Draining { .. }
            | State::Lingering(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARCHITECTURE: &str =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/ARCHITECTURE.md"));

    /// Every state, with the name it has in the table. `R` stands for the reason it carries.
    fn states() -> Vec<(&'static str, State)> {
        let reason = CloseReason::IdleTimeout;
        vec![
            ("Connecting", State::Connecting(Then::Open)),
            (
                "Connecting, then WriteClosing",
                State::Connecting(Then::WriteClosing),
            ),
            (
                "Connecting, then Draining(R)",
                State::Connecting(Then::Draining(reason)),
            ),
            ("Open", State::Open),
            ("ReadClosed", State::ReadClosed),
            ("WriteClosing", State::WriteClosing),
            ("WriteClosed", State::WriteClosed),
            (
                "Draining(R)",
                State::Draining {
                    reason,
                    peer_done: false,
                },
            ),
            (
                "Draining(R), peer done",
                State::Draining {
                    reason,
                    peer_done: true,
                },
            ),
            ("Lingering(R)", State::Lingering(reason)),
            ("Closed(R)", State::Closed(reason)),
        ]
    }

    /// Every event, with the heading of its column. `F` is the reason that an event carries.
    fn events() -> Vec<(&'static str, Event)> {
        vec![
            ("Connected", Event::Connected),
            ("PeerFinished", Event::PeerFinished),
            ("FinishWrites", Event::FinishWrites),
            ("Finish(F)", Event::Finish(CloseReason::Malformed)),
            ("Flushed", Event::Flushed),
            ("LingerOver", Event::LingerOver),
            ("Fail(F)", Event::Fail(CloseReason::Reset)),
            ("Fail(Aborted)", Event::Fail(CloseReason::Aborted)),
        ]
    }

    /// The name of a state in the table, given the reason its row had and that of the event.
    fn name(state: State, event: Event) -> String {
        let carried = match event {
            Event::Fail(CloseReason::Aborted) => None,
            Event::Finish(reason) | Event::Fail(reason) => Some(reason),
            _ => None,
        };
        let letter = |reason: CloseReason| {
            if reason == CloseReason::IdleTimeout {
                "R".to_owned()
            } else if Some(reason) == carried {
                "F".to_owned()
            } else {
                format!("{reason:?}")
            }
        };
        match state {
            State::Connecting(Then::Open) => "Connecting".into(),
            State::Connecting(Then::WriteClosing) => "Connecting, then WriteClosing".into(),
            State::Connecting(Then::Draining(reason)) => {
                format!("Connecting, then Draining({})", letter(reason))
            }
            State::Draining { reason, peer_done } => {
                let suffix = if peer_done { ", peer done" } else { "" };
                format!("Draining({}){suffix}", letter(reason))
            }
            State::Lingering(reason) => format!("Lingering({})", letter(reason)),
            State::Closed(reason) => format!("Closed({})", letter(reason)),
            State::Open | State::ReadClosed | State::WriteClosing | State::WriteClosed => {
                format!("{state:?}")
            }
        }
    }

    #[test]
    fn every_pair_of_state_and_event_is_what_the_table_in_the_architecture_says() {
        let cells = |line: &str| -> Vec<String> {
            line.trim()
                .trim_matches('|')
                .split('|')
                .map(|cell| cell.trim().to_owned())
                .collect()
        };
        let mut lines = ARCHITECTURE
            .lines()
            .skip_while(|line| !line.starts_with("| state \\ event |"));
        let headings = cells(lines.next().expect("the table of states is there"));
        let rows: Vec<Vec<String>> = lines
            .skip(1)
            .take_while(|line| line.starts_with('|'))
            .map(cells)
            .collect();
        let names: Vec<&str> = events().iter().map(|(name, _)| *name).collect();
        assert_eq!(headings[1..], names, "the columns are the events, in order");
        let names: Vec<&str> = states().iter().map(|(name, _)| *name).collect();
        let first: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
        assert_eq!(first, names, "the rows are the states, in order");

        for ((state_name, state), row) in states().into_iter().zip(&rows) {
            for ((event_name, event), cell) in events().into_iter().zip(&row[1..]) {
                let next = state.on(event);
                let expected = if next == state {
                    "·".to_owned()
                } else {
                    name(next, event)
                };
                assert_eq!(*cell, expected, "{state_name} on {event_name}");
            }
        }
    }

    #[test]
    fn an_end_that_was_begun_keeps_its_first_reason() {
        for (_, state) in states() {
            let ending = state.on(Event::Finish(CloseReason::Malformed));
            let again = ending.on(Event::Finish(CloseReason::Finished));
            assert_eq!(ending, again);
        }
    }

    #[test]
    fn every_state_can_be_failed_and_a_closed_one_never_changes() {
        for (_, state) in states() {
            let closed = state.on(Event::Fail(CloseReason::Reset));
            assert!(closed.closed().is_some());
            for (_, event) in events() {
                assert_eq!(closed.on(event), closed);
            }
        }
    }

    #[test]
    fn an_abort_is_a_reset_in_every_state_that_has_not_closed() {
        for (name, state) in states() {
            if state.closed().is_none() {
                let aborted = state.on(Event::Fail(CloseReason::Aborted));
                assert_eq!(aborted, State::Closed(CloseReason::Aborted), "{name}");
            }
        }
    }

    #[test]
    fn nothing_can_be_sent_after_our_fin() {
        for (_, state) in states() {
            assert!(!(state.may_send() && state.is_write_closed()));
        }
    }
}
