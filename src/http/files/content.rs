//! `Content`: what is in a file that was found, be it open or kept in memory.
//!
//! Knows neither names nor requests.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use bytes::Bytes;
use rustix::fs::fstat;

use super::cache::Kept;
use super::state::State;

/// The bytes of a file.
#[derive(Debug)]
pub(super) enum Content {
    Open(File),
    Kept(Rc<Kept>),
}

impl Content {
    /// All of it, which is in this state before and behind the reading.
    ///
    /// # Errors
    /// It cannot be read, or has been changed.
    pub(super) fn read(&self, state: &State) -> io::Result<Bytes> {
        let len = usize::try_from(state.len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut bytes = vec![0; len];
        self.read_exact_at(&mut bytes, 0)?;
        if self.state()? != *state {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        Ok(bytes.into())
    }

    /// Fills `buffer` with the bytes from `start` on.
    ///
    /// # Errors
    /// It cannot be read, or there are not so many.
    pub(super) fn read_exact_at(&self, buffer: &mut [u8], start: u64) -> io::Result<()> {
        match self {
            Content::Open(file) => file.read_exact_at(buffer, start),
            Content::Kept(kept) => {
                let start = usize::try_from(start).ok();
                let bytes = start.and_then(|start| kept.bytes.get(start..)?.get(..buffer.len()));
                buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }

    /// The state that the bytes are in just now.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn state(&self) -> io::Result<State> {
        match self {
            Content::Open(file) => Ok(State::of(&fstat(file)?)),
            Content::Kept(kept) => Ok(kept.state.clone()),
        }
    }
}
