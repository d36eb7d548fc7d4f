//! `FileBody`: a stretch of a file as the body of a response.
//!
//! Reads piece by piece, and knows neither how a file is found nor how its bytes are framed.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

use super::permit::Permit;
use super::pieces::Pieces;

/// Bytes of an open file that are yet to be sent. One descriptor, and no memory of its own.
pub(crate) struct FileBody {
    file: File,
    /// Invariant: `start <= end`.
    left: Range<u64>,
    permit: Option<Box<Permit>>,
}

impl FileBody {
    /// The bytes of `range`; none if it ends before it starts.
    pub(crate) fn new(file: File, range: Range<u64>) -> FileBody {
        let end = range.end.max(range.start);
        FileBody {
            file,
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

    /// The next piece; it is empty if nothing is left.
    ///
    /// # Errors
    /// The file cannot be read, or has become shorter: the rest cannot be sent.
    pub(crate) fn next_piece(&mut self, pieces: &mut Pieces) -> io::Result<Bytes> {
        let len = self.len().min(PIECE_LEN);
        // It is at most PIECE_LEN.
        let piece = pieces.filled(len as usize, |buffer| {
            self.file.read_exact_at(buffer, self.left.start)
        })?;
        self.left.start += len;
        Ok(piece)
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
        self.file
            .read_exact_at(&mut out[start..], self.left.start)?;
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
const PIECE_LEN: u64 = Pieces::MAX_LEN as u64;
