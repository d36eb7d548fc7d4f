//! `Parts`: several ranges of a file as one body, `multipart/byteranges` (RFC 9110, section 14.6).
//!
//! A source of a known length. Knows neither requests nor responses.

use std::fs::File;
use std::ops::Range;

use crate::http::body::{Pulled, Source};
use crate::http::file::FileBody;

/// For each range a head of its own, and a line that ends them all.
pub(super) struct Parts {
    /// What is yet to be sent, last first.
    rest: Vec<(String, Range<u64>)>,
    end: String,
}

impl Parts {
    /// What stands between the ranges, and how long the body is. `boundary` must not be in the
    /// file; `len` is the file's.
    pub(super) fn new(
        ranges: Vec<Range<u64>>,
        boundary: &str,
        media_type: &str,
        len: u64,
    ) -> (Parts, u64) {
        let end = format!("\r\n--{boundary}--\r\n");
        let mut body_len = end.len() as u64;
        let mut rest: Vec<(String, Range<u64>)> = Vec::with_capacity(ranges.len());
        for range in ranges.into_iter().rev() {
            let content_range = content_range(&range, len);
            let head = format!(
                "\r\n--{boundary}\r\nContent-Type: {media_type}\r\n\
                 Content-Range: {content_range}\r\n\r\n"
            );
            body_len += head.len() as u64 + (range.end - range.start);
            rest.push((head, range));
        }
        (Parts { rest, end }, body_len)
    }

    /// The body, which is read as it is sent.
    pub(super) fn of_file(self, file: File) -> FileParts {
        FileParts {
            file: FileBody::new(file, 0..0),
            parts: self,
        }
    }

    /// The body, of a file that is in memory.
    pub(super) fn of_bytes(mut self, bytes: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        while let Some((head, range)) = self.rest.pop() {
            body.extend_from_slice(head.as_bytes());
            // What is in memory is no longer than that.
            body.extend_from_slice(&bytes[range.start as usize..range.end as usize]);
        }
        body.extend_from_slice(self.end.as_bytes());
        body
    }
}

/// The body, of an open file.
pub(super) struct FileParts {
    file: FileBody,
    parts: Parts,
}

impl Source for FileParts {
    fn pull(&mut self, out: &mut Vec<u8>) -> Pulled {
        if self.file.len() == 0 {
            match self.parts.rest.pop() {
                Some((head, range)) => {
                    out.extend_from_slice(head.as_bytes());
                    self.file.set_range(range);
                }
                None => {
                    out.extend_from_slice(self.parts.end.as_bytes());
                    return Pulled::End;
                }
            }
        }
        match self.file.pull(out) {
            Ok(()) => Pulled::More,
            Err(error) => {
                log::warn!("a file cannot be sent to its end: {error}");
                Pulled::Fail
            }
        }
    }
}

/// The value of `Content-Range` (RFC 9110, section 14.4). `range` is not empty.
pub(super) fn content_range(range: &Range<u64>, len: u64) -> String {
    format!("bytes {}-{}/{len}", range.start, range.end - 1)
}
