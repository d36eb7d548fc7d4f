//! The side that wants the file: asks about what it has, takes the rest, and gives the file its
//! name when all of it is right.
//!
//! What is written before that lies under another name, so whatever happens, nothing wrong is ever
//! found under the right one.

use std::fs::File;
use std::os::unix::fs::FileExt;

use windlass::Context;

use super::digest::{
    Digest, Hashing, Root, Slices, WINDOW, block_len, block_start, blocks_within, digest_of,
};
use super::refusal::Refusal;
use super::step::Next;
use super::store::{Fsync, Partial};
use super::wire::{Message, Wire};

/// What one side holds of a file, as it is compared with the other side's.
#[derive(Debug)]
pub(crate) struct Claims {
    /// Bytes of the whole file.
    len: u64,
    /// Blocks that are here, right or wrong.
    held: u64,
    /// Of the blocks that are right.
    root: Root,
    /// Digests of the blocks that are asked about next.
    window: Vec<Digest>,
    is_asking: bool,
    hashing: Option<Hashing>,
}

impl Claims {
    /// `held_len` bytes of the file with that path, which has `len`.
    pub(crate) fn new(held_len: u64, path: &[u8], len: u64, slices: &Slices) -> Claims {
        Claims {
            len,
            held: blocks_within(held_len, len),
            root: Root::new(path, len),
            window: Vec::new(),
            is_asking: false,
            hashing: Some(Hashing::new(slices)),
        }
    }

    /// Blocks that are right.
    pub(crate) fn agreed(&self) -> u64 {
        self.root.blocks
    }

    /// Bytes of them.
    pub(crate) fn position(&self) -> u64 {
        block_start(self.agreed()).min(self.len)
    }

    /// Whether all of the file is right, and that is its digest.
    pub(crate) fn is_whole(&self, digest: &Digest) -> bool {
        self.position() == self.len && self.root.finish() == *digest
    }

    /// Whether nothing is left to be asked.
    pub(crate) fn is_over(&self) -> bool {
        self.hashing.is_none()
    }

    pub(crate) fn on_agreed(&mut self, blocks: u32) -> Result<(), Refusal> {
        let Some(agreed) = self.window.get(..blocks as usize) else {
            return Err(Refusal::confused());
        };
        if !self.is_asking {
            return Err(Refusal::confused());
        }
        for digest in agreed {
            self.root.add(digest);
        }
        if agreed.len() < self.window.len() {
            self.hashing = None;
        }
        self.window.clear();
        self.is_asking = false;
        Ok(())
    }

    /// Hashes a slice, or asks.
    pub(crate) fn work(
        &mut self,
        file: &File,
        cx: &mut Context<'_, Wire>,
    ) -> Result<Next, Refusal> {
        let Some(hashing) = &mut self.hashing else {
            return Ok(Next::Wait);
        };
        if self.is_asking {
            return Ok(Next::Wait);
        }
        let index = self.root.blocks + self.window.len() as u64;
        if index < self.held && self.window.len() < WINDOW {
            let len = block_len(self.len, index);
            let digest = hashing.advance(file, block_start(index), len)?;
            self.window.extend(digest);
            return Ok(Next::Again);
        }
        if self.window.is_empty() {
            self.hashing = None;
            return Ok(Next::Again);
        }
        self.is_asking = true;
        let digests = &self.window;
        cx.send(Message::Held { digests });
        Ok(Next::Wait)
    }
}

/// A file on its way in.
#[derive(Debug)]
pub(crate) struct Sink {
    partial: Partial,
    claims: Claims,
    fsync: Fsync,
    /// Bytes that had not to be sent: once the rest was asked for.
    kept: Option<u64>,
    /// How many bytes have come, if no digests are wanted.
    plain: Option<u64>,
}

impl Sink {
    /// Goes on with what is there of the file with that path, of `len` bytes.
    pub(crate) fn new(
        partial: Partial,
        path: &[u8],
        len: u64,
        fsync: Fsync,
        slices: &Slices,
    ) -> Result<Sink, Refusal> {
        let held_len = partial.file.metadata()?.len();
        Ok(Sink {
            partial,
            claims: Claims::new(held_len, path, len, slices),
            fsync,
            kept: None,
            plain: None,
        })
    }

    /// Takes all of a file of `len` bytes as it comes, without digests. Nothing that is there is
    /// kept, because nothing of it is compared.
    pub(crate) fn plain(
        partial: Partial,
        path: &[u8],
        len: u64,
        fsync: Fsync,
        slices: &Slices,
    ) -> Result<Sink, Refusal> {
        partial.file.set_len(0)?;
        let mut sink = Sink::new(partial, path, len, fsync, slices)?;
        sink.plain = Some(0);
        Ok(sink)
    }

    pub(crate) fn len(&self) -> u64 {
        self.claims.len
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.plain.is_some()
    }

    /// Bytes that are here, and right as far as that is looked at.
    pub(crate) fn position(&self) -> u64 {
        self.plain.unwrap_or_else(|| self.claims.position())
    }

    /// Bytes that had not to be sent.
    pub(crate) fn kept(&self) -> u64 {
        self.kept.unwrap_or_default()
    }

    pub(crate) fn on_message(
        &mut self,
        message: &Message<'_>,
        cx: &mut Context<'_, Wire>,
    ) -> Result<Next, Refusal> {
        let is_receiving = self.kept.is_some() && self.plain.is_none();
        match *message {
            Message::Agreed { blocks } => {
                self.claims.on_agreed(blocks)?;
                Ok(Next::Again)
            }
            Message::Block {
                index,
                ref digest,
                bytes,
            } if is_receiving => {
                self.check_next(index, bytes)?;
                if digest_of(bytes) != *digest {
                    return Err(Refusal::of_block(index));
                }
                self.partial.file.write_all_at(bytes, block_start(index))?;
                self.claims.root.add(digest);
                Ok(Next::Wait)
            }
            Message::Whole { ref digest } if is_receiving => {
                if !self.claims.is_whole(digest) {
                    return Err(Refusal::of_whole());
                }
                self.store(cx)
            }
            Message::Plain { len }
                if self.kept.is_some() && self.plain == Some(0) && len == self.len() =>
            {
                Ok(Next::Wait)
            }
            Message::Bytes(bytes) => {
                let Some(position) = &mut self.plain else {
                    return Err(Refusal::confused());
                };
                self.partial.file.write_all_at(bytes, *position)?;
                *position += bytes.len() as u64;
                Ok(Next::Wait)
            }
            Message::End if self.plain == Some(self.len()) => self.store(cx),
            _ => Err(Refusal::confused()),
        }
    }

    /// Whether a block is the one that has to follow.
    fn check_next(&self, index: u64, bytes: &[u8]) -> Result<(), Refusal> {
        let len = block_len(self.claims.len, index);
        if index != self.claims.agreed() || bytes.len() != len || len == 0 {
            return Err(Refusal::confused());
        }
        Ok(())
    }

    fn store(&self, cx: &mut Context<'_, Wire>) -> Result<Next, Refusal> {
        self.partial.finish(self.fsync)?;
        cx.send(Message::Stored);
        Ok(Next::Over)
    }

    /// Does one step.
    pub(crate) fn work(&mut self, cx: &mut Context<'_, Wire>) -> Result<Next, Refusal> {
        let file = &self.partial.file;
        if self.kept.is_some() || !self.claims.is_over() {
            return self.claims.work(file, cx);
        }
        // Behind what is right there is nothing that counts.
        let kept = self.claims.position();
        file.set_len(kept)?;
        self.kept = Some(kept);
        let from = self.claims.agreed();
        cx.send(if self.is_plain() {
            Message::SendPlain
        } else {
            Message::Send { from }
        });
        Ok(Next::Wait)
    }
}
