//! Keys: a [`Token`] as the machine word that the poller carries for us, and back.
//!
//! Knows neither sockets nor the poller. A poller's word has 64 bits on most machines, which holds
//! a whole token; on machines with a 32-bit word the generation is kept in a table beside it.

use crate::token::Token;

/// The key of the waker. No token has it: a reactor would need 2^32 slots first.
pub(super) const WAKER: mio::Token = mio::Token(usize::MAX);

#[cfg(target_pointer_width = "64")]
pub(super) use packed::Keys;
#[cfg(not(target_pointer_width = "64"))]
pub(super) use tabled::Keys;

#[cfg(target_pointer_width = "64")]
mod packed {
    use super::{Token, WAKER};

    /// Translates between tokens and keys.
    ///
    /// ```text
    /// 63 ──── generation ──── 32 31 ──── slot ──── 0
    /// ```
    #[derive(Debug)]
    pub(in crate::net) struct Keys;

    impl Keys {
        pub(in crate::net) const fn new() -> Keys {
            Keys
        }

        /// The key under which `token` is registered.
        #[inline]
        pub(in crate::net) fn key(&mut self, token: Token) -> mio::Token {
            let key = u64::from(token.generation()) << 32 | u64::from(token.slot());
            let key = mio::Token(key as usize);
            debug_assert_ne!(key, WAKER, "slot 2^32 - 1 is never reached");
            key
        }

        /// The token that `key` stands for.
        #[inline]
        pub(in crate::net) fn token(&self, key: mio::Token) -> Option<Token> {
            let key = key.0 as u64;
            Some(Token::from_parts(key as u32, (key >> 32) as u32))
        }
    }
}

// Compiled for tests everywhere, because hardly anybody has such a machine at hand.
#[cfg(any(test, not(target_pointer_width = "64")))]
mod tabled {
    use super::{Token, WAKER};

    /// Translates between tokens and keys: the key is the slot, and the generation that was
    /// registered last is looked up.
    ///
    /// An event for a slot's former tenant, still on its way when the next one registers, is told
    /// to the next one. That is one needless event, which every receiver has to bear anyway.
    #[derive(Debug)]
    pub(in crate::net) struct Keys {
        /// By slot. As long as the highest slot ever registered, and no shorter afterwards.
        generations: Vec<u32>,
    }

    impl Keys {
        pub(in crate::net) const fn new() -> Keys {
            let generations = Vec::new();
            Keys { generations }
        }

        /// The key under which `token` is registered.
        pub(in crate::net) fn key(&mut self, token: Token) -> mio::Token {
            let slot = token.slot() as usize;
            if slot >= self.generations.len() {
                self.generations.resize(slot + 1, 0);
            }
            self.generations[slot] = token.generation();
            let key = mio::Token(slot);
            debug_assert_ne!(key, WAKER, "slot 2^32 - 1 is never reached");
            key
        }

        /// The token that `key` stands for, if any was registered under it.
        pub(in crate::net) fn token(&self, key: mio::Token) -> Option<Token> {
            let generation = *self.generations.get(key.0)?;
            Some(Token::from_parts(key.0 as u32, generation))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::tabled::Keys as TabledKeys;
    use super::*;

    const TOKENS: [Token; 4] = [
        Token::from_parts(0, 0),
        Token::from_parts(7, 3),
        Token::from_parts(1_000, u32::MAX),
        Token::from_parts(3, 1 << 31),
    ];

    #[test]
    fn a_token_comes_back_whole_from_its_key() {
        let mut keys = Keys::new();
        for token in TOKENS {
            let key = keys.key(token);
            assert_ne!(key, WAKER);
            assert_eq!(keys.token(key), Some(token));
        }
    }

    #[test]
    fn a_token_comes_back_whole_from_a_key_of_32_bits() {
        let mut keys = TabledKeys::new();
        for token in TOKENS {
            let key = keys.key(token);
            assert!(key.0 < 1 << 31);
            assert_eq!(keys.token(key), Some(token));
        }
        assert_eq!(keys.token(WAKER), None);
    }

    #[test]
    fn a_table_answers_with_the_tenant_that_registered_last() {
        let mut keys = TabledKeys::new();
        let key = keys.key(Token::from_parts(5, 1));
        assert_eq!(keys.key(Token::from_parts(5, 2)), key);
        assert_eq!(keys.token(key), Some(Token::from_parts(5, 2)));
    }
}
