//! `HubMessage`: what a [`Hub`](super::Hub) and its subscribers say to each other, as bytes.
//!
//! Pure: knows neither sockets nor time, and of a cookie only its length.

/// One datagram between a hub and somebody who is, or wants to be, a subscriber.
///
/// ```text
/// 0        4         5      6        26
/// | "WLDH" | version | kind | cookie | payload …
/// ```
///
/// The version is 1. What asks is never shorter than what answers it: a hello brings a cookie of
/// zeros along.
///
/// ```
/// use windlass::protocol::HubMessage;
///
/// let hello = HubMessage::Hello.to_bytes();
/// assert_eq!(hello.len(), 26);
/// assert_eq!(HubMessage::parse(&hello), Some(HubMessage::Hello));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HubMessage<'a> {
    /// To the hub: what is my cookie? Kind 1.
    Hello,
    /// To the hub: let me hear, or go on letting me hear. Kind 2.
    Subscribe(Cookie),
    /// To the hub: tell everybody else. Kind 3.
    Publish(Cookie, &'a [u8]),
    /// To the hub: I have heard enough. Kind 4.
    Leave(Cookie),
    /// From the hub: this is your cookie. Kind 129.
    Challenge(Cookie),
    /// From the hub: you are a subscriber, and this is your next cookie. Kind 130.
    Welcome(Cookie),
    /// From the hub: somebody told everybody. Kind 131; its cookie is zeros.
    Message(&'a [u8]),
}

/// What proves that somebody receives what is sent to its address: when it was made, and a keyed
/// digest of that and of the address. Only the hub that made it can tell whether it is one.
pub type Cookie = [u8; COOKIE_LEN];

/// Bytes of a cookie: a time of 4 and a digest of 16.
pub(super) const COOKIE_LEN: usize = 20;
const MAGIC: &[u8; 4] = b"WLDH";
const VERSION: u8 = 1;
/// Bytes before the payload.
pub(super) const HEADER_LEN: usize = 6 + COOKIE_LEN;

impl<'a> HubMessage<'a> {
    /// Reads one. `None` if it is none, or of an unknown version or kind.
    pub fn parse(bytes: &'a [u8]) -> Option<HubMessage<'a>> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let ([VERSION, kind], rest) = rest.split_first_chunk()? else {
            return None;
        };
        let (cookie, payload) = rest.split_first_chunk()?;
        Some(match kind {
            1 => HubMessage::Hello,
            2 => HubMessage::Subscribe(*cookie),
            3 => HubMessage::Publish(*cookie, payload),
            4 => HubMessage::Leave(*cookie),
            129 => HubMessage::Challenge(*cookie),
            130 => HubMessage::Welcome(*cookie),
            131 => HubMessage::Message(payload),
            _ => return None,
        })
    }

    /// Writes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.append_to(&mut bytes);
        bytes
    }

    /// Writes it behind what is there.
    pub(super) fn append_to(&self, bytes: &mut Vec<u8>) {
        let (kind, cookie, payload) = match self {
            HubMessage::Hello => (1, [0; COOKIE_LEN], &[][..]),
            HubMessage::Subscribe(cookie) => (2, *cookie, &[][..]),
            HubMessage::Publish(cookie, payload) => (3, *cookie, *payload),
            HubMessage::Leave(cookie) => (4, *cookie, &[][..]),
            HubMessage::Challenge(cookie) => (129, *cookie, &[][..]),
            HubMessage::Welcome(cookie) => (130, *cookie, &[][..]),
            HubMessage::Message(payload) => (131, [0; COOKIE_LEN], *payload),
        };
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[VERSION, kind]);
        bytes.extend_from_slice(&cookie);
        bytes.extend_from_slice(payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_read_as_it_was_written_and_nothing_shorter_is_one() {
        let cookie = [7; COOKIE_LEN];
        for message in [
            HubMessage::Hello,
            HubMessage::Subscribe(cookie),
            HubMessage::Publish(cookie, b"ahoy"),
            HubMessage::Leave(cookie),
            HubMessage::Challenge(cookie),
            HubMessage::Welcome(cookie),
            HubMessage::Message(b""),
        ] {
            let bytes = message.to_bytes();
            assert_eq!(HubMessage::parse(&bytes), Some(message));
            for len in 0..HEADER_LEN {
                assert_eq!(HubMessage::parse(&bytes[..len]), None);
            }
            for at in 0..6 {
                let mut other = bytes.clone();
                other[at] ^= 64;
                assert_eq!(HubMessage::parse(&other), None, "byte {at}");
            }
        }
    }
}
