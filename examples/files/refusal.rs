//! What one side tells the other, and its user, when a transfer cannot be.

use std::fmt;
use std::io::{self, ErrorKind};

use rustix::io::Errno;

/// Why, in a form that programs understand. The numbers are those of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    /// The path could name something outside of the root, or is none at all.
    BadPath = 1,
    /// A link on the path leads out of the root.
    Outside = 2,
    NotFound = 3,
    Denied = 4,
    /// It is a directory, a device, …
    NotAFile = 5,
    /// Somebody else is writing it.
    Busy = 6,
    /// The disk is full, or a quota or a limit of the process is reached.
    Full = 7,
    /// The file was changed while it was read.
    Changed = 8,
    /// What was received has another digest than the one that came with it.
    Mismatch = 9,
    /// A message that does not belong there.
    Confused = 10,
    Other = 11,
}

impl Code {
    pub(crate) fn from_byte(byte: u8) -> Code {
        match byte {
            1 => Code::BadPath,
            2 => Code::Outside,
            3 => Code::NotFound,
            4 => Code::Denied,
            5 => Code::NotAFile,
            6 => Code::Busy,
            7 => Code::Full,
            8 => Code::Changed,
            9 => Code::Mismatch,
            10 => Code::Confused,
            _ => Code::Other,
        }
    }
}

/// Why a transfer cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    /// The number of the block that it is about.
    pub(crate) block: Option<u64>,
    /// For people.
    pub(crate) text: String,
}

impl Refusal {
    pub(crate) fn new(code: Code, text: impl Into<String>) -> Refusal {
        Refusal {
            code,
            block: None,
            text: text.into(),
        }
    }

    pub(crate) fn of_block(block: u64) -> Refusal {
        Refusal {
            block: Some(block),
            ..Refusal::new(Code::Mismatch, format!("block {block} has another digest"))
        }
    }

    pub(crate) fn of_whole() -> Refusal {
        Refusal::new(Code::Mismatch, "the file as a whole has another digest")
    }

    pub(crate) fn confused() -> Refusal {
        Refusal::new(Code::Confused, "this message does not belong here")
    }

    pub(crate) fn changed() -> Refusal {
        Refusal::new(Code::Changed, "the file was changed while it was read")
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        match (errno, error.kind()) {
            (Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG), _) => {
                Refusal::new(Code::Full, format!("no room for the file: {error}"))
            }
            (Some(Errno::XDEV | Errno::LOOP), _) => {
                Refusal::new(Code::Outside, "a link on the path may not be followed")
            }
            (Some(Errno::ISDIR), _) => Refusal::new(Code::NotAFile, "it is a directory"),
            (Some(Errno::ROFS), _) | (_, ErrorKind::PermissionDenied) => {
                Refusal::new(Code::Denied, format!("not allowed: {error}"))
            }
            (_, ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Refusal::new(Code::NotFound, "there is no such file or directory")
            }
            // Only what was there once is read.
            (_, ErrorKind::UnexpectedEof) => Refusal::changed(),
            _ => Refusal::new(Code::Other, error.to_string()),
        }
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Refusal {
        io::Error::from(errno).into()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The peer may have written it: nothing in it steers a terminal.
        write!(f, "{}", self.text.escape_debug())
    }
}

impl std::error::Error for Refusal {}
