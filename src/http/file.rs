//! `FileBody`: a stretch of a file as the body of a response.
//!
//! Queues it piece by piece, and knows neither how a file is found nor how its bytes are framed.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::permit::Permit;
use crate::buffer::Outbox;

/// Bytes of an open file that are yet to be sent. One descriptor, and no memory of its own.
pub(crate) struct FileBody {
    file: Arc<File>,
    /// Invariant: `start <= end`.
    left: Range<u64>,
    permit: Option<Box<Permit>>,
}

impl FileBody {
    /// The bytes of `range`; none if it ends before it starts.
    pub(crate) fn new(file: File, range: Range<u64>) -> FileBody {
        let end = range.end.max(range.start);
        FileBody {
            file: Arc::new(file),
            left: range.start..end,
            permit: None,
        }
    }

    /// Goes on with this stretch instead.
    pub(crate) fn set_range(&mut self, range: Range<u64>) {
        let end = range.end.max(range.start);
        self.left = range.start..end;
    }

    /// Counts as under way until it is dropped.
    pub(crate) fn hold(&mut self, permit: Box<Permit>) {
        self.permit = Some(permit.join(self.permit.take()));
    }

    /// How many bytes are left.
    pub(crate) fn len(&self) -> u64 {
        self.left.end - self.left.start
    }

    /// Queues the next piece, unless nothing is left; answers how many bytes it has. A large one is
    /// not read, but sent from where it lies.
    ///
    /// # Errors
    /// The file cannot be read, or has become shorter: the rest cannot be sent.
    pub(crate) fn put(&mut self, out: &mut Outbox) -> io::Result<usize> {
        if self.len() > SMALL_LEN {
            // It is at most STRETCH_LEN.
            let len = self.len().min(STRETCH_LEN) as usize;
            out.put_file(&self.file, self.left.start, len);
            self.left.start += len as u64;
            return Ok(len);
        }
        let mut result = Ok(0);
        out.with_buf(|buf| {
            let before = buf.len();
            result = self.pull(buf).map(|()| buf.len() - before);
        });
        result
    }

    /// Appends the next piece, unless nothing is left.
    ///
    /// # Errors
    /// The file cannot be read, or has become shorter: the rest cannot be sent.
    pub(crate) fn pull(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let piece = self.len().min(PIECE_LEN);
        let start = out.len();
        // It is at most PIECE_LEN.
        out.resize(start + piece as usize, 0);
        let read = self.file.read_exact_at(&mut out[start..], self.left.start);
        if read.is_err() {
            out.truncate(start);
        }
        read?;
        self.left.start += piece;
        Ok(())
    }
}

impl fmt::Debug for FileBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "File({} bytes)", self.len())
    }
}

/// Bytes that are read at once.
const PIECE_LEN: u64 = 64 * 1024;
/// Bytes up to which a file is read into the queue, and leaves with its head in one write: so far
/// that costs less than `sendfile`, which hands on whole pages (PERFORMANCE.md).
const SMALL_LEN: u64 = 12 * 1024;
/// Bytes that are queued at once to be sent from where they lie: what a connection may send of
/// files in a turn, by default.
const STRETCH_LEN: u64 = 1024 * 1024;
