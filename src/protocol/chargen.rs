//! `Chargen`: sends for as long as the peer takes it (after RFC 864).
//!
//! A producer that lives from back-pressure alone: it knows no time, and holds nothing back
//! itself.

use super::{Context, Protocol, Sent};
use crate::framing::Raw;

/// Sends the characters of RFC 864, 72 to a line, as fast as the peer takes them, up to a total.
///
/// It fills the queue up to the high water and goes on when `on_drain` says that there is room.
///
/// ```no_run
/// use windlass::{Reactor, protocol::Chargen};
///
/// let mut reactor = Reactor::new()?;
/// reactor.listen("127.0.0.1:9019", |_| Chargen::endless())?;
/// reactor.run()?;
/// # Ok::<(), windlass::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Chargen {
    /// Lines still to be sent; `None`: without end.
    left: Option<u64>,
    line: u64,
}

impl Chargen {
    /// Sends without end.
    pub fn endless() -> Chargen {
        Chargen {
            left: None,
            line: 0,
        }
    }

    /// Sends so many lines of 74 bytes, and finishes.
    pub fn lines(count: u64) -> Chargen {
        Chargen {
            left: Some(count),
            line: 0,
        }
    }

    fn produce(&mut self, cx: &mut Context<'_, Raw>) {
        while self.left != Some(0) {
            let mut line = [0; LINE_LEN + 2];
            for (column, byte) in line[..LINE_LEN].iter_mut().enumerate() {
                *byte = b' ' + ((self.line + column as u64) % PRINTABLE) as u8;
            }
            line[LINE_LEN..].copy_from_slice(b"\r\n");
            self.line += 1;
            self.left = self.left.map(|left| left - 1);
            match cx.send(&line) {
                Sent::Queued => {}
                // `on_drain` will call again.
                Sent::HighWater => return,
                Sent::Closed | Sent::Dropped => return,
            }
        }
        cx.finish();
    }
}

impl Protocol for Chargen {
    type Decoder = Raw;
    type Encoder = Raw;

    fn on_open(&mut self, cx: &mut Context<'_, Raw>) {
        self.produce(cx);
    }

    fn on_frame(&mut self, _: &[u8], _: &mut Context<'_, Raw>) {}

    fn on_drain(&mut self, cx: &mut Context<'_, Raw>) {
        self.produce(cx);
    }
}

/// Characters of a line (RFC 864).
const LINE_LEN: usize = 72;
/// Printable ASCII characters, the space included.
const PRINTABLE: u64 = 95;
