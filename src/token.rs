//! `Token`: the name of anything that lives in a reactor, and the allocator of such names.
//!
//! Knows nothing of what a token stands for: listener, connection, datagram socket and custom
//! source look alike.

use std::fmt;

use slab::Slab;

/// Names one entry of a reactor (a listener, a connection, a datagram socket, a custom source) for
/// the whole of its life, and nothing else afterwards.
///
/// A token is a 32-bit slot and a 32-bit generation. The slot is reused after the entry is gone,
/// the generation is not: a token that was kept too long is answered with [`Gone`] and never
/// reaches the slot's next tenant. (After 2^32 further entries a generation comes round again.)
///
/// ```
/// # use windlass::Token;
/// let token = Token::from_parts(3, 7);
/// assert_eq!((token.slot(), token.generation()), (3, 7));
/// assert_eq!(token.to_string(), "3.7");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    slot: u32,
    generation: u32,
}

impl Token {
    /// Makes a token from its two numbers. It is of use only to tests and to other networks: a
    /// token that no reactor handed out answers [`Gone`].
    pub const fn from_parts(slot: u32, generation: u32) -> Token {
        Token { slot, generation }
    }

    /// The index of the entry; small, and reused.
    pub const fn slot(self) -> u32 {
        self.slot
    }

    /// Which tenant of the slot is meant.
    pub const fn generation(self) -> u32 {
        self.generation
    }

    /// The slot as an index.
    pub(crate) const fn index(self) -> usize {
        self.slot as usize
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({self})")
    }
}

/// The entry that a token named has ended. Not a fault: peers leave at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the token's entry has ended")
    }
}

impl std::error::Error for Gone {}

/// Hands out tokens and remembers which are alive.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    /// The generation of each slot that is taken.
    slots: Slab<u32>,
    /// Given to the next token, whatever its slot.
    next_generation: u32,
}

impl Tokens {
    pub(crate) fn reserve(&mut self) -> Token {
        let generation = self.next_generation;
        self.next_generation = generation.wrapping_add(1);
        let slot = self.slots.insert(generation);
        let slot = u32::try_from(slot).expect("a process has fewer than 2^32 descriptors");
        Token { slot, generation }
    }

    /// Frees the slot for another tenant.
    pub(crate) fn release(&mut self, token: Token) {
        assert!(self.is_alive(token), "{token} is released once");
        self.slots.remove(token.index());
    }

    #[inline]
    pub(crate) fn is_alive(&self, token: Token) -> bool {
        self.slots.get(token.index()) == Some(&token.generation)
    }

    /// The token whose slot is `slot` now, if the slot is taken.
    pub(crate) fn at(&self, slot: usize) -> Option<Token> {
        let generation = *self.slots.get(slot)?;
        Some(Token {
            slot: slot as u32,
            generation,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_released_slot_is_reused_under_another_generation() {
        let mut tokens = Tokens::default();
        let first = tokens.reserve();
        tokens.release(first);
        let second = tokens.reserve();
        assert_eq!(first.slot(), second.slot());
        assert!(!tokens.is_alive(first));
        assert!(tokens.is_alive(second));
        assert_eq!(tokens.at(second.index()), Some(second));
    }

    #[test]
    fn generations_wrap_without_a_panic() {
        let mut tokens = Tokens {
            next_generation: u32::MAX,
            ..Tokens::default()
        };
        let last = tokens.reserve();
        let first = tokens.reserve();
        assert_eq!((last.generation(), first.generation()), (u32::MAX, 0));
    }
}
