//! The messages of a transfer, and how they lie in bytes.
//!
//! Every message is a frame behind a length of four bytes ([`LengthPrefixed`]); numbers are
//! unsigned and big-endian. The first byte of a frame says which message it is:
//!
//! | byte | message | from | what follows |
//! |---|---|---|---|
//! | `01` | Get | client | version `01`, path |
//! | `02` | Put | client | version `01`, length of the file (8), path |
//! | `03` | List | client | version `01`, path of a directory, empty for the root |
//! | `10` | File | source | length of the file (8): the answer to Get |
//! | `11` | Held | sink | digests (32 each, 1 to 64) of the next blocks that it has already |
//! | `12` | Agreed | source | how many of these, from the first, are the source's too (4) |
//! | `13` | Send | sink | the number of the first block that it wants (8): all that were agreed |
//! | `14` | Block | source | its number (8), its digest (32), its bytes |
//! | `15` | Whole | source | digest of the file (32): all blocks were sent |
//! | `16` | Stored | sink | nothing: the file has its final name |
//! | `17` | SendPlain | sink | nothing: it wants all of the file, and no digests |
//! | `18` | Plain | source | length (8): so many bytes follow behind this frame, as they are |
//! | `20` | Entry | server | `d`, `f` or `o` for anything else (1), length (8), name |
//! | `21` | End | source | nothing: there are no further entries, or bytes of the file |
//! | `2f` | Refused | both | code (1), number of a block or all ones (8), text in UTF-8 |
//!
//! The *source* is whoever has the file, the *sink* whoever wants it. Both directions are one
//! conversation: the sink asks about what it holds, 64 blocks at a time, until that ends or
//! differs, and then wants the rest. The digest of a block is SHA-256 of its bytes; the digest of a
//! file is SHA-256 of the length of its path (8), its path as it was asked for, its length (8) and
//! the digests of all blocks: nothing is hashed twice, and whole is only the file that was meant.
//!
//! Knows neither files nor connections.

use std::fmt;
use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use windlass::Outbox;
use windlass::framing::{
    Decoded, Decoder, EncodeError, Encoder, LengthField, LengthPrefixed, LengthPrefixedError, Step,
};

use super::digest::{BLOCK_LEN, DIGEST_LEN, Digest, WINDOW};
use super::refusal::{Code, Refusal};

/// One message; what it says in bytes is borrowed from the frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Get {
        path: &'a [u8],
    },
    Put {
        len: u64,
        path: &'a [u8],
    },
    List {
        path: &'a [u8],
    },
    File {
        len: u64,
    },
    Held {
        digests: &'a [Digest],
    },
    Agreed {
        blocks: u32,
    },
    Send {
        from: u64,
    },
    Block {
        index: u64,
        digest: Digest,
        bytes: &'a [u8],
    },
    Whole {
        digest: Digest,
    },
    Stored,
    SendPlain,
    Plain {
        len: u64,
    },
    /// Some of the bytes behind Plain, which are no frame.
    Bytes(&'a [u8]),
    Entry {
        kind: u8,
        len: u64,
        name: &'a [u8],
    },
    End,
    Refused(Refusal),
}

impl Message<'_> {
    fn parse(frame: &[u8]) -> Option<Message<'_>> {
        let (&kind, rest) = frame.split_first()?;
        Some(match kind {
            1 => Message::Get {
                path: rest.strip_prefix(&[VERSION])?,
            },
            2 => {
                let (len, path) = number(rest.strip_prefix(&[VERSION])?)?;
                Message::Put { len, path }
            }
            3 => Message::List {
                path: rest.strip_prefix(&[VERSION])?,
            },
            0x10 => Message::File { len: last(rest)? },
            0x11 => match rest.as_chunks() {
                (digests @ [_, ..], []) if digests.len() <= WINDOW => Message::Held { digests },
                _ => return None,
            },
            0x12 => Message::Agreed {
                blocks: u32::from_be_bytes(rest.try_into().ok()?),
            },
            0x13 => Message::Send { from: last(rest)? },
            0x14 => {
                let (index, rest) = number(rest)?;
                let (digest, bytes) = rest.split_first_chunk()?;
                Message::Block {
                    index,
                    digest: *digest,
                    bytes,
                }
            }
            0x15 => Message::Whole {
                digest: rest.try_into().ok()?,
            },
            0x16 => rest.is_empty().then_some(Message::Stored)?,
            0x17 => rest.is_empty().then_some(Message::SendPlain)?,
            0x18 => Message::Plain { len: last(rest)? },
            0x20 => {
                let (&kind, rest) = rest.split_first()?;
                let (len, name) = number(rest)?;
                Message::Entry { kind, len, name }
            }
            0x21 => rest.is_empty().then_some(Message::End)?,
            0x2f => {
                let (&code, rest) = rest.split_first()?;
                let (block, text) = number(rest)?;
                Message::Refused(Refusal {
                    code: Code::from_byte(code),
                    block: (block != u64::MAX).then_some(block),
                    text: String::from_utf8_lossy(text).into_owned(),
                })
            }
            _ => return None,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Message::Get { path } => out.extend([&[1, VERSION], *path].concat()),
            Message::Put { len, path } => {
                out.extend([2, VERSION]);
                out.extend(len.to_be_bytes());
                out.extend(*path);
            }
            Message::List { path } => out.extend([&[3, VERSION], *path].concat()),
            Message::File { len } => put(out, 0x10, &len.to_be_bytes()),
            Message::Held { digests } => put(out, 0x11, digests.as_flattened()),
            Message::Agreed { blocks } => put(out, 0x12, &blocks.to_be_bytes()),
            Message::Send { from } => put(out, 0x13, &from.to_be_bytes()),
            Message::Block {
                index,
                digest,
                bytes,
            } => {
                put(out, 0x14, &index.to_be_bytes());
                out.extend(digest);
                out.extend(*bytes);
            }
            Message::Whole { digest } => put(out, 0x15, digest),
            Message::Stored => out.push(0x16),
            Message::SendPlain => out.push(0x17),
            Message::Plain { len } => put(out, 0x18, &len.to_be_bytes()),
            Message::Bytes(bytes) => out.extend(*bytes),
            Message::Entry { kind, len, name } => {
                out.extend([0x20, *kind]);
                out.extend(len.to_be_bytes());
                out.extend(*name);
            }
            Message::End => out.push(0x21),
            Message::Refused(refusal) => {
                out.extend([0x2f, refusal.code as u8]);
                out.extend(refusal.block.unwrap_or(u64::MAX).to_be_bytes());
                out.extend(refusal.text.as_bytes());
            }
        }
    }
}

/// Room in front of a block's bytes, so that a file can be read to where it is sent from.
pub(crate) const BLOCK_HEADER_LEN: usize = 1 + 8 + DIGEST_LEN;

/// Completes a Block whose bytes lie behind [`BLOCK_HEADER_LEN`] bytes of room.
pub(crate) fn complete_block(mut frame: Vec<u8>, index: u64, digest: &Digest) -> Bytes {
    frame[0] = 0x14;
    frame[1..9].copy_from_slice(&index.to_be_bytes());
    frame[9..BLOCK_HEADER_LEN].copy_from_slice(digest);
    Bytes::from(frame)
}

fn put(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    out.push(kind);
    out.extend(bytes);
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), rest))
}

fn last(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// The framing of messages.
#[derive(Debug)]
pub(crate) struct Wire {
    frames: LengthPrefixed,
    /// Bytes that follow as they are.
    plain: u64,
}

impl Default for Wire {
    fn default() -> Wire {
        Wire {
            frames: LengthPrefixed::new(LengthField::U32).with_max_len(MAX_LEN),
            plain: 0,
        }
    }
}

impl Decoder for Wire {
    type Frame<'a> = Message<'a>;
    type Error = WireError;

    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Decoded<'a, Self> {
        if self.plain > 0 && !input.is_empty() {
            let consumed = usize::try_from(self.plain).map_or(input.len(), |n| n.min(input.len()));
            self.plain -= consumed as u64;
            let frame = Message::Bytes(&input[..consumed]);
            return Ok(Step::Frame { frame, consumed });
        }
        Ok(
            match self.frames.decode(input).map_err(WireError::Framing)? {
                Step::Frame { frame, consumed } => {
                    let frame = Message::parse(frame).ok_or(WireError::Unknown)?;
                    if let Message::Plain { len } = frame {
                        self.plain = len;
                    }
                    Step::Frame { frame, consumed }
                }
                Step::Skip { consumed, .. } => Step::Skip {
                    consumed,
                    report: None,
                },
                Step::More { needed } => Step::More { needed },
            },
        )
    }

    fn max_pending(&self) -> Option<usize> {
        self.frames.max_pending()
    }
}

impl Encoder<Message<'_>> for Wire {
    fn encode(&mut self, message: Message<'_>, out: &mut Outbox) -> Result<(), EncodeError> {
        let mut bytes = Vec::new();
        message.write(&mut bytes);
        self.frames.encode(bytes, out)
    }
}

/// A Block that is complete.
impl Encoder<Bytes> for Wire {
    fn encode(&mut self, block: Bytes, out: &mut Outbox) -> Result<(), EncodeError> {
        self.frames.encode(block, out)
    }
}

/// Bytes behind Plain, from where they lie.
pub(crate) struct Stretch<'a> {
    pub(crate) file: &'a Arc<File>,
    pub(crate) start: u64,
    pub(crate) len: usize,
}

impl Encoder<Stretch<'_>> for Wire {
    fn encode(&mut self, stretch: Stretch<'_>, out: &mut Outbox) -> Result<(), EncodeError> {
        out.put_file(stretch.file, stretch.start, stretch.len);
        Ok(())
    }
}

/// How the peer broke the protocol.
#[derive(Debug)]
pub(crate) enum WireError {
    Framing(LengthPrefixedError),
    /// No message of this version.
    Unknown,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::Framing(error) => error.fmt(f),
            WireError::Unknown => f.write_str("no message of this protocol, or another version"),
        }
    }
}

impl std::error::Error for WireError {}

const VERSION: u8 = 1;
/// The longest message is a whole block; a path is shorter anyway.
const MAX_LEN: usize = BLOCK_HEADER_LEN + BLOCK_LEN;
