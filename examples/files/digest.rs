//! Digests of blocks and files, and hashing a file in slices, so that nobody waits for it.
//!
//! Knows files, but neither messages nor connections.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use sha2::{Digest as _, Sha256};

pub(crate) const DIGEST_LEN: usize = 32;
/// SHA-256.
pub(crate) type Digest = [u8; DIGEST_LEN];

/// Bytes of a block; the last one of a file may be shorter, and none is empty.
pub(crate) const BLOCK_LEN: usize = 256 * 1024;
/// How many blocks are asked about at a time.
pub(crate) const WINDOW: usize = 64;
/// Bytes that are hashed in one turn for all who compare what they hold, together …
const TURN_LEN: usize = 256 * 1024;
/// … unless there are so many of them that each gets only this.
const MIN_SLICE_LEN: usize = 16 * 1024;

pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

/// How many blocks a file of `len` bytes has.
pub(crate) fn block_count(len: u64) -> u64 {
    len.div_ceil(BLOCK_LEN as u64)
}

/// How many bytes block `index` of a file of `len` bytes has.
pub(crate) fn block_len(len: u64, index: u64) -> usize {
    len.saturating_sub(block_start(index)).min(BLOCK_LEN as u64) as usize
}

pub(crate) fn block_start(index: u64) -> u64 {
    index.saturating_mul(BLOCK_LEN as u64)
}

/// How many blocks of a file of `len` bytes are complete in its first `held` bytes.
pub(crate) fn blocks_within(held: u64, len: u64) -> u64 {
    if held >= len {
        block_count(len)
    } else {
        held / BLOCK_LEN as u64
    }
}

/// The digest of a file as it grows: of the path that was asked for, of its length, and of the
/// digests of its blocks. So it is another one if a path or a length was damaged on its way.
#[derive(Debug)]
pub(crate) struct Root {
    hash: Sha256,
    /// Blocks that were added.
    pub(crate) blocks: u64,
}

impl Root {
    pub(crate) fn new(path: &[u8], len: u64) -> Root {
        let mut hash = Sha256::new_with_prefix((path.len() as u64).to_be_bytes());
        hash.update(path);
        hash.update(len.to_be_bytes());
        Root { hash, blocks: 0 }
    }

    pub(crate) fn add(&mut self, block: &Digest) {
        self.hash.update(block);
        self.blocks += 1;
    }

    pub(crate) fn finish(&self) -> Digest {
        self.hash.clone().finalize().into()
    }
}

/// Shares the hashing of one turn among all who hash: what the slices of a reactor have in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slices(Rc<Cell<usize>>);

impl Slices {
    /// Bytes that each may hash in one turn.
    fn slice_len(&self) -> usize {
        (TURN_LEN / self.0.get().max(1)).max(MIN_SLICE_LEN)
    }
}

/// Hashes the blocks of a file one after the other, a slice per turn.
#[derive(Debug)]
pub(crate) struct Hashing {
    slices: Slices,
    hash: Sha256,
    /// Bytes of the present block that are hashed.
    done: usize,
}

impl Hashing {
    pub(crate) fn new(slices: &Slices) -> Hashing {
        slices.0.set(slices.0.get() + 1);
        Hashing {
            slices: slices.clone(),
            hash: Sha256::new(),
            done: 0,
        }
    }

    /// Hashes the next slice of the block of `block_len` bytes at `start`; answers its digest once
    /// it is complete, and begins with the next one then.
    ///
    /// # Errors
    /// The file cannot be read, or is shorter than it was.
    pub(crate) fn advance(
        &mut self,
        file: &File,
        start: u64,
        block_len: usize,
    ) -> io::Result<Option<Digest>> {
        let mut buffer = [0; MIN_SLICE_LEN];
        let end = block_len.min(self.done + self.slices.slice_len());
        while self.done < end {
            let part = &mut buffer[..(end - self.done).min(MIN_SLICE_LEN)];
            file.read_exact_at(part, start + self.done as u64)?;
            self.hash.update(&*part);
            self.done += part.len();
        }
        if self.done < block_len {
            return Ok(None);
        }
        self.done = 0;
        Ok(Some(self.hash.finalize_reset().into()))
    }
}

impl Drop for Hashing {
    fn drop(&mut self) {
        self.slices.0.set(self.slices.0.get() - 1);
    }
}
