//! `Pieces`: memory for pieces of files on their way to the kernel.
//!
//! What the kernel has taken serves again, so that nothing is cleared or copied for a piece. Knows
//! nothing of files.

use std::io;

use bytes::{Bytes, BytesMut};

/// Buffers of one length, some of them on their way, some free.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    /// Each once more: one that nobody else holds is free.
    all: Vec<Bytes>,
}

impl Pieces {
    /// A piece of `len` bytes (at most [`Pieces::MAX_LEN`]), all of which `fill` writes.
    ///
    /// # Errors
    /// Those of `fill`.
    pub(crate) fn filled(
        &mut self,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> io::Result<()>,
    ) -> io::Result<Bytes> {
        let free = self.all.iter().position(Bytes::is_unique);
        let used = free.and_then(|index| self.all.swap_remove(index).try_into_mut().ok());
        let mut buffer = used.unwrap_or_else(|| BytesMut::zeroed(Pieces::MAX_LEN));
        fill(&mut buffer[..len])?;
        let whole = buffer.freeze();
        let piece = whole.slice(..len);
        if self.all.len() < MAX_KEPT {
            self.all.push(whole);
        }
        Ok(piece)
    }

    /// Bytes of a piece.
    pub(crate) const MAX_LEN: usize = 64 * 1024;
}

/// Buffers that are remembered: what one connection has on its way, and another one.
const MAX_KEPT: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(pieces: &mut Pieces, len: usize, byte: u8) -> Bytes {
        let fill = |buffer: &mut [u8]| {
            buffer.fill(byte);
            Ok(())
        };
        pieces.filled(len, fill).expect("it does not fail")
    }

    #[test]
    fn memory_serves_again_once_its_piece_is_gone_and_not_before() {
        let mut pieces = Pieces::default();
        let first = filled(&mut pieces, 10, 1);
        let second = filled(&mut pieces, 20, 2);
        assert_eq!((&first[..], &second[..]), (&[1; 10][..], &[2; 20][..]));
        let address = first.as_ptr();
        assert_ne!(address, second.as_ptr());
        drop(first);
        let third = filled(&mut pieces, Pieces::MAX_LEN, 3);
        assert_eq!(third.as_ptr(), address);
        assert_eq!((third.len(), &second[..]), (Pieces::MAX_LEN, &[2; 20][..]));
    }

    #[test]
    fn however_many_are_on_their_way_few_are_remembered() {
        let mut pieces = Pieces::default();
        let all: Vec<Bytes> = (0..20).map(|byte| filled(&mut pieces, 5, byte)).collect();
        assert!(
            all.iter()
                .zip(0..)
                .all(|(piece, byte)| piece[..] == [byte; 5])
        );
        assert_eq!(pieces.all.len(), MAX_KEPT);
    }

    #[test]
    fn a_piece_that_cannot_be_filled_is_none() {
        let mut pieces = Pieces::default();
        let failed = pieces.filled(5, |_| Err(io::ErrorKind::UnexpectedEof.into()));
        assert!(failed.is_err());
        assert!(pieces.all.is_empty());
    }
}
