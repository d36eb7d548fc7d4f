//! The side that has the file: says which of the sink's blocks are its own too, and sends the rest.
//!
//! One step at a time: a slice of hashing or one block, then it is others' turn. A block is read,
//! hashed and sent as a whole: the more files are under way, the longer a turn takes. A sink that
//! wants no digests gets bytes that are neither read nor hashed, but sent from where they lie.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::io::{pread, retry_on_intr};
use windlass::{Context, Sent};

use super::digest::{
    Digest, Hashing, Root, Slices, block_count, block_len, block_start, digest_of,
};
use super::refusal::{Code, Refusal};
use super::step::Next;
use super::wire::{BLOCK_HEADER_LEN, Message, Stretch, Wire, complete_block};

/// A file on its way out.
#[derive(Debug)]
pub(crate) struct Source {
    file: Arc<File>,
    metadata: Metadata,
    slices: Slices,
    /// Of the blocks that the sink has, or was sent.
    root: Root,
    state: State,
}

#[derive(Debug)]
enum State {
    Idle,
    Comparing {
        digests: Vec<Digest>,
        agreed: usize,
        hashing: Hashing,
    },
    Sending,
    /// Without digests: so many bytes were sent.
    SendingPlain(u64),
    Sent,
}

impl Source {
    /// The file that has, or is to have, that path on the server.
    pub(crate) fn new(file: File, path: &[u8], slices: &Slices) -> Result<Source, Refusal> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(Refusal::new(Code::NotAFile, "it is not a file"));
        }
        Ok(Source {
            root: Root::new(path, metadata.len()),
            file: Arc::new(file),
            metadata,
            slices: slices.clone(),
            state: State::Idle,
        })
    }

    pub(crate) fn len(&self) -> u64 {
        self.metadata.len()
    }

    /// Bytes that the sink has, or was sent.
    pub(crate) fn position(&self) -> u64 {
        match self.state {
            State::SendingPlain(position) => position,
            _ => block_start(self.root.blocks).min(self.len()),
        }
    }

    pub(crate) fn on_message(&mut self, message: &Message<'_>) -> Result<Next, Refusal> {
        match (&self.state, message) {
            (State::Idle, Message::Held { digests }) => {
                let left = block_count(self.len()) - self.root.blocks;
                if digests.len() as u64 > left {
                    return Err(Refusal::confused());
                }
                self.state = State::Comparing {
                    digests: digests.to_vec(),
                    agreed: 0,
                    hashing: Hashing::new(&self.slices),
                };
            }
            (State::Idle, Message::Send { from }) if *from == self.root.blocks => {
                self.state = State::Sending;
            }
            (State::Idle, Message::SendPlain) if self.root.blocks == 0 => {
                self.state = State::SendingPlain(0);
            }
            (State::Sent, Message::Stored) => return Ok(Next::Over),
            _ => return Err(Refusal::confused()),
        }
        Ok(Next::Again)
    }

    /// Does one step.
    pub(crate) fn work(&mut self, cx: &mut Context<'_, Wire>) -> Result<Next, Refusal> {
        match &mut self.state {
            State::Idle | State::Sent => Ok(Next::Wait),
            State::Comparing {
                digests,
                agreed,
                hashing,
            } => {
                let index = self.root.blocks;
                let len = block_len(self.metadata.len(), index);
                let Some(digest) = hashing.advance(&self.file, block_start(index), len)? else {
                    return Ok(Next::Again);
                };
                let is_same = digest == digests[*agreed];
                if is_same {
                    self.root.add(&digest);
                    *agreed += 1;
                }
                if is_same && *agreed < digests.len() {
                    return Ok(Next::Again);
                }
                let blocks = *agreed as u32;
                self.state = State::Idle;
                cx.send(Message::Agreed { blocks });
                Ok(Next::Wait)
            }
            State::Sending | State::SendingPlain(_) if !cx.is_writable() => Ok(Next::Wait),
            State::Sending => self.send_next(cx),
            &mut State::SendingPlain(start) => self.send_plain(start, cx),
        }
    }

    fn send_next(&mut self, cx: &mut Context<'_, Wire>) -> Result<Next, Refusal> {
        let index = self.root.blocks;
        let len = block_len(self.len(), index);
        if len == 0 {
            self.check_unchanged()?;
            self.state = State::Sent;
            let digest = self.root.finish();
            cx.send(Message::Whole { digest });
            return Ok(Next::Wait);
        }
        let frame = self.read_block(block_start(index), len)?;
        let digest = digest_of(&frame[BLOCK_HEADER_LEN..]);
        self.root.add(&digest);
        Ok(after(cx.send(complete_block(frame, index, &digest))))
    }

    /// As `send_next`, without digests. What is written to the file while its last bytes leave is
    /// not noticed.
    fn send_plain(&mut self, start: u64, cx: &mut Context<'_, Wire>) -> Result<Next, Refusal> {
        if start == 0 {
            cx.send(Message::Plain { len: self.len() });
        }
        let len = (self.len() - start).min(MAX_STRETCH_LEN);
        if len == 0 {
            self.check_unchanged()?;
            self.state = State::Sent;
            cx.send(Message::End);
            return Ok(Next::Wait);
        }
        self.state = State::SendingPlain(start + len);
        let file = &self.file;
        // It is at most MAX_STRETCH_LEN.
        let len = len as usize;
        Ok(after(cx.send(Stretch { file, start, len })))
    }

    fn check_unchanged(&self) -> Result<(), Refusal> {
        if self.file.metadata().map(|now| mark(&now))? != mark(&self.metadata) {
            return Err(Refusal::changed());
        }
        Ok(())
    }

    /// Room for a header, and the block behind it: read to where nothing was written before.
    fn read_block(&self, start: u64, len: usize) -> Result<Vec<u8>, Refusal> {
        let frame_len = BLOCK_HEADER_LEN + len;
        let mut frame = Vec::with_capacity(frame_len);
        frame.resize(BLOCK_HEADER_LEN, 0);
        while frame.len() < frame_len {
            let at = start + (frame.len() - BLOCK_HEADER_LEN) as u64;
            if retry_on_intr(|| pread(&self.file, spare_capacity(&mut frame), at))? == 0 {
                return Err(Refusal::changed());
            }
        }
        // There may have been more room than was asked for.
        frame.truncate(frame_len);
        Ok(frame)
    }
}

/// Bytes that are queued at once to be sent from where they lie.
const MAX_STRETCH_LEN: u64 = 1 << 30;

/// What follows when something was sent.
fn after(sent: Sent) -> Next {
    match sent {
        Sent::Queued => Next::Again,
        // `on_drain` calls again.
        Sent::HighWater | Sent::Closed | Sent::Dropped => Next::Wait,
    }
}

/// What shows that a file was written to.
fn mark(metadata: &Metadata) -> (u64, i64, i64) {
    (metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}
