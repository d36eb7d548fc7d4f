//! `Announcement`: "I am here", as bytes: what an [`Announcer`](super::Announcer) sends and a
//! [`Listener`](super::Listener) hears.
//!
//! Pure: knows neither sockets nor time.

use std::fmt;
use std::time::Duration;

/// One announcement.
///
/// ```text
/// 0        4         5      6       8          16         24              28
/// | "WLDA" | version | hops | 0   0 | sender   | sequence | interval, ms  | payload …
/// ```
///
/// Numbers are big-endian, the version is 1.
///
/// ```
/// use std::time::Duration;
/// use windlass::protocol::Announcement;
///
/// let announcement = Announcement {
///     sender: 7,
///     sequence: 1,
///     hops: 0,
///     interval: Duration::from_secs(2),
///     payload: b"printer",
/// };
/// let bytes = announcement.to_bytes();
/// assert_eq!(Announcement::parse(&bytes), Ok(announcement));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement<'a> {
    /// Who sends. Chosen at random at each start, so that a new start is a new sender.
    pub sender: u64,
    /// Counts the sender's announcements, from 1.
    pub sequence: u64,
    /// How many relays may still pass it on.
    pub hops: u8,
    /// When the next one is to be expected. Zero: nobody knows. Whole milliseconds, up to 49 days.
    pub interval: Duration,
    /// What the sender has to say.
    pub payload: &'a [u8],
}

/// Bytes that are no announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnnouncementError {
    /// They do not begin as one, or end too early.
    Foreign,
    /// Of a version that is not known here.
    Version(u8),
}

const MAGIC: &[u8; 4] = b"WLDA";
const VERSION: u8 = 1;
const HEADER_LEN: usize = 28;

impl<'a> Announcement<'a> {
    /// Bytes of the largest payload: with its headers it fits into the smallest packet that every
    /// IPv6 network carries (1,280 bytes, RFC 8200, section 5).
    pub const MAX_PAYLOAD_LEN: usize = 1200;

    /// Reads one.
    ///
    /// # Errors
    /// It is none, or of an unknown version.
    pub fn parse(bytes: &'a [u8]) -> Result<Announcement<'a>, AnnouncementError> {
        let (magic, rest) = part(bytes)?;
        if magic != *MAGIC {
            return Err(AnnouncementError::Foreign);
        }
        let ([version, hops, _, _], rest) = part(rest)?;
        if version != VERSION {
            return Err(AnnouncementError::Version(version));
        }
        let (sender, rest) = part(rest)?;
        let (sequence, rest) = part(rest)?;
        let (interval, payload) = part(rest)?;
        Ok(Announcement {
            sender: u64::from_be_bytes(sender),
            sequence: u64::from_be_bytes(sequence),
            hops,
            interval: Duration::from_millis(u32::from_be_bytes(interval).into()),
            payload,
        })
    }

    /// Writes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN + self.payload.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[VERSION, self.hops, 0, 0]);
        bytes.extend_from_slice(&self.sender.to_be_bytes());
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        let interval = u32::try_from(self.interval.as_millis()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&interval.to_be_bytes());
        bytes.extend_from_slice(self.payload);
        bytes
    }
}

fn part<const LEN: usize>(bytes: &[u8]) -> Result<([u8; LEN], &[u8]), AnnouncementError> {
    match bytes.split_first_chunk() {
        Some((part, rest)) => Ok((*part, rest)),
        None => Err(AnnouncementError::Foreign),
    }
}

impl fmt::Display for AnnouncementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnnouncementError::Foreign => f.write_str("this is no announcement"),
            AnnouncementError::Version(version) => {
                write!(f, "an announcement of the unknown version {version}")
            }
        }
    }
}

impl std::error::Error for AnnouncementError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_its_place() {
        let announcement = Announcement {
            sender: 0x0102_0304_0506_0708,
            sequence: 9,
            hops: 3,
            interval: Duration::from_millis(0x0a0b),
            payload: b"hi",
        };
        let expected =
            b"WLDA\x01\x03\0\0\x01\x02\x03\x04\x05\x06\x07\x08\0\0\0\0\0\0\0\x09\0\0\x0a\x0bhi";
        assert_eq!(announcement.to_bytes(), expected);
        assert_eq!(Announcement::parse(expected), Ok(announcement));
    }

    #[test]
    fn what_is_cut_off_foreign_or_of_another_version_is_refused() {
        let bytes = Announcement {
            sender: 1,
            sequence: 1,
            hops: 0,
            interval: Duration::MAX,
            payload: b"",
        }
        .to_bytes();
        for len in 0..bytes.len() {
            assert_eq!(
                Announcement::parse(&bytes[..len]),
                Err(AnnouncementError::Foreign)
            );
        }
        let mut other = bytes.clone();
        other[4] = 2;
        assert_eq!(
            Announcement::parse(&other),
            Err(AnnouncementError::Version(2))
        );
        other[0] = b'X';
        assert_eq!(Announcement::parse(&other), Err(AnnouncementError::Foreign));
    }
}
