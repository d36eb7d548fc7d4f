//! `Nonces`: which signatures were seen, for as long as they are fresh.
//!
//! A bounded table that forgets in the order of time. Knows no signatures but by their names.

use std::collections::{BTreeMap, BTreeSet};

use super::signature::Refused;
use crate::token::Token;

/// The digest of a key's name and a nonce.
pub(super) type Id = [u8; 16];

/// Seconds are those since 1970.
#[derive(Debug)]
pub(super) struct Nonces {
    max: usize,
    by_id: BTreeMap<Id, Entry>,
    by_time: BTreeSet<(u64, Id)>,
}

#[derive(Debug)]
struct Entry {
    /// The last second in which it is remembered.
    until: u64,
    /// The connection whose body is being put together behind this signature.
    claimed_by: Option<Token>,
}

impl Nonces {
    pub(super) fn new(max: usize) -> Nonces {
        Nonces {
            max,
            by_id: BTreeMap::new(),
            by_time: BTreeSet::new(),
        }
    }

    /// Whether it is new, and there is room for it.
    pub(super) fn check(&mut self, id: &Id, now: u64) -> Result<(), Refused> {
        self.forget(now);
        if self.by_id.contains_key(id) {
            return Err(Refused::Replayed);
        }
        if self.by_id.len() >= self.max {
            return Err(Refused::Full);
        }
        Ok(())
    }

    /// Remembers one that was found new.
    pub(super) fn insert(&mut self, id: Id, until: u64, claimed_by: Option<Token>) {
        let old = self.by_id.insert(id, Entry { until, claimed_by });
        if let Some(old) = old {
            self.by_time.remove(&(old.until, id));
        }
        self.by_time.insert((until, id));
    }

    /// Whether it is this connection's, once.
    pub(super) fn claim(&mut self, id: &Id, token: Token) -> bool {
        let entry = self.by_id.get_mut(id);
        entry.is_some_and(|entry| entry.claimed_by.take_if(|own| *own == token).is_some())
    }

    /// A few at a time: as each call adds at most one, that is enough.
    fn forget(&mut self, now: u64) {
        for _ in 0..MAX_FORGOTTEN {
            match self.by_time.first() {
                Some(&(until, id)) if until < now => {
                    self.by_time.remove(&(until, id));
                    self.by_id.remove(&id);
                }
                _ => break,
            }
        }
    }
}

/// Entries that one call forgets.
const MAX_FORGOTTEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_known_until_its_time_is_over() {
        let mut nonces = Nonces::new(2);
        assert_eq!(nonces.check(&[1; 16], 100), Ok(()));
        nonces.insert([1; 16], 400, None);
        nonces.insert([2; 16], 300, None);
        assert_eq!(nonces.check(&[1; 16], 300), Err(Refused::Replayed));
        assert_eq!(nonces.check(&[3; 16], 300), Err(Refused::Full));
        assert_eq!(nonces.check(&[3; 16], 301), Ok(()));
        assert_eq!(nonces.check(&[1; 16], 400), Err(Refused::Replayed));
        assert_eq!(nonces.check(&[1; 16], 401), Ok(()));
        assert_eq!((nonces.by_id.len(), nonces.by_time.len()), (0, 0));
    }
}
