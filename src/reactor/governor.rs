//! `Governor`: which connections a listener takes, and when it does not accept at all.
//!
//! Pure bookkeeping: knows no sockets and no clock. The acceptor does what it says.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::time::Duration;

use crate::net::Admission;
use crate::token::Token;

/// Counts the connections of a listener.
#[derive(Debug)]
pub(super) struct Governor {
    admission: Admission,
    /// Connections per address; empty unless that is limited.
    per_address: BTreeMap<IpAddr, usize>,
    /// Whose address is counted.
    counted: BTreeMap<Token, IpAddr>,
    /// Failures for want of descriptors or memory since the last success.
    failures: u32,
}

/// What a failed accept means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// There is nobody to accept.
    Drained,
    /// That one peer is lost; the next one may be fine.
    Peer,
    /// The process or the system is out of something: wait that long, or until a descriptor is
    /// freed. Says whether an episode begins.
    Exhausted { wait: Duration, is_first: bool },
}

impl Governor {
    pub(super) fn new(admission: Admission) -> Governor {
        Governor {
            admission,
            per_address: BTreeMap::new(),
            counted: BTreeMap::new(),
            failures: 0,
        }
    }

    /// Whether another connection may be accepted while `live` are alive.
    pub(super) fn has_room(&self, live: usize) -> bool {
        live < self.admission.max_connections
    }

    /// Whether a peer at `address` may be served under `token`; if so, it is counted.
    pub(super) fn admit(&mut self, token: Token, address: Option<IpAddr>) -> bool {
        let (Some(max), Some(address)) = (self.admission.max_per_address, address) else {
            return true;
        };
        let count = self.per_address.get(&address).copied().unwrap_or(0);
        if count >= max {
            return false;
        }
        self.per_address.insert(address, count + 1);
        self.counted.insert(token, address);
        true
    }

    /// A connection has ended.
    pub(super) fn on_closed(&mut self, token: Token) {
        let Some(address) = self.counted.remove(&token) else {
            return;
        };
        if let Some(count) = self.per_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&address);
            }
        }
    }

    /// Whether ends of connections have to be told.
    pub(super) fn counts_addresses(&self) -> bool {
        self.admission.max_per_address.is_some()
    }

    /// An accept succeeded. Answers whether that ended an episode of exhaustion.
    pub(super) fn on_accepted(&mut self) -> bool {
        std::mem::take(&mut self.failures) > 0
    }

    /// An accept failed.
    pub(super) fn on_error(&mut self, error: &io::Error) -> Failure {
        if error.kind() == ErrorKind::WouldBlock {
            return Failure::Drained;
        }
        if !is_exhaustion(error) {
            return Failure::Peer;
        }
        let wait = FIRST_WAIT
            .saturating_mul(1 << self.failures.min(8))
            .min(MAX_WAIT);
        let is_first = self.failures == 0;
        self.failures = self.failures.saturating_add(1);
        Failure::Exhausted { wait, is_first }
    }
}

/// Whether the error is about us, not about the peer: EMFILE, ENFILE, ENOBUFS, ENOMEM.
fn is_exhaustion(error: &io::Error) -> bool {
    error.kind() == ErrorKind::OutOfMemory
        || matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
        || error.raw_os_error() == Some(ENOBUFS)
}

/// The same on every Unix.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENOBUFS: i32 = if cfg!(any(target_os = "linux", target_os = "android")) {
    105
} else {
    55
};

/// A listener that cannot accept tries again after this, then after twice as long, …
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// … up to this: a server that has room again serves within it.
const MAX_WAIT: Duration = Duration::from_millis(400);

#[cfg(test)]
mod tests {
    use super::*;

    fn token(slot: u32) -> Token {
        Token::from_parts(slot, 0)
    }

    #[test]
    fn of_an_address_that_is_refused_nothing_is_remembered() {
        let mut governor = Governor::new(Admission {
            max_per_address: Some(0),
            ..Admission::default()
        });
        assert!(!governor.admit(token(0), Some([10, 0, 0, 1].into())));
        assert!(governor.per_address.is_empty() && governor.counted.is_empty());
    }

    #[test]
    fn an_address_has_room_again_when_one_of_its_connections_ends() {
        let admission = Admission {
            max_per_address: Some(2),
            ..Admission::default()
        };
        let mut governor = Governor::new(admission);
        let address = Some(IpAddr::from([127, 0, 0, 1]));
        assert!(governor.admit(token(0), address));
        assert!(governor.admit(token(1), address));
        assert!(!governor.admit(token(2), address));
        assert!(governor.admit(token(3), Some(IpAddr::from([127, 0, 0, 2]))));
        governor.on_closed(token(0));
        assert!(governor.admit(token(2), address));
        for slot in 0..4 {
            governor.on_closed(token(slot));
        }
        assert!(governor.per_address.is_empty() && governor.counted.is_empty());
    }

    #[test]
    fn exhaustion_waits_longer_each_time_and_is_reported_once() {
        let mut governor = Governor::new(Admission::default());
        let full = io::Error::from_raw_os_error(EMFILE);
        let mut last = Duration::ZERO;
        for round in 0..20 {
            let Failure::Exhausted { wait, is_first } = governor.on_error(&full) else {
                panic!("EMFILE is exhaustion");
            };
            assert_eq!(is_first, round == 0);
            assert!(wait >= last && wait <= MAX_WAIT);
            last = wait;
        }
        assert!(governor.on_accepted());
        assert!(!governor.on_accepted());
    }

    #[test]
    fn a_peer_that_left_before_it_was_accepted_is_no_reason_to_wait() {
        let mut governor = Governor::new(Admission::default());
        for kind in [ErrorKind::ConnectionAborted, ErrorKind::ConnectionReset] {
            assert_eq!(governor.on_error(&kind.into()), Failure::Peer);
        }
        assert_eq!(
            governor.on_error(&ErrorKind::WouldBlock.into()),
            Failure::Drained
        );
    }
}
