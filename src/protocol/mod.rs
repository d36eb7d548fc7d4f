//! Protocols: what a server says. Frames come in, messages and intents go out.
//!
//! Knows framing, but neither connections nor the reactor: a protocol acts on the world only
//! through the [`Context`] it is given.

mod announcement;
mod announcer;
#[cfg(feature = "digest")]
pub mod auth;
mod chargen;
mod context;
mod datagram;
mod datagram_context;
mod discard;
mod driver;
mod echo;
mod effects;
#[cfg(feature = "hub")]
mod hub;
#[cfg(feature = "hub")]
mod hub_message;
mod listener;
mod sessions;

use std::any::Any;

pub use announcement::{Announcement, AnnouncementError};
pub use announcer::{Announce, Announcer};
pub use chargen::Chargen;
pub use context::Context;
pub use datagram::{Datagram, DatagramProtocol, SendCause, SendError};
pub use datagram_context::DatagramContext;
pub(crate) use datagram_context::{Destination, max_len};
pub use discard::Discard;
pub(crate) use driver::{Driven, Stop};
pub use driver::{Driver, IntoDriver, Stack};
pub use echo::Echo;
pub(crate) use effects::{Control, Effects, Ending, Intent};
pub use effects::{Intents, Sent, TimerId};
#[cfg(feature = "hub")]
pub use hub::{Hub, HubLimits, HubStats};
#[cfg(feature = "hub")]
pub use hub_message::{Cookie, HubMessage};
pub use listener::{Listener, ListenerStats, Sighted, Sighting};
pub use sessions::{Session, SessionContext, SessionLimits, SessionMail, SessionStats, Sessions};

use crate::close::CloseReason;
use crate::framing::Decoder;
use crate::limits::Patience;

/// A message from elsewhere in the program; see `Remote::post` and [`Intents::mail_to`].
/// The receiver downcasts it to the type it expects.
pub type Mail = Box<dyn Any + Send>;

/// What one side of a connection does: the code that a user of this crate writes.
///
/// One value serves one connection. Only [`Protocol::on_frame`] has to be written. Callbacks are
/// never called from within one another: what a callback asks for happens after it has returned.
///
/// ```
/// use windlass::{Context, Protocol, Raw};
///
/// struct Shout;
///
/// impl Protocol for Shout {
///     type Decoder = Raw;
///     type Encoder = Raw;
///
///     fn on_frame(&mut self, bytes: &[u8], cx: &mut Context<'_, Raw>) {
///         cx.send(&bytes.to_ascii_uppercase());
///     }
/// }
/// ```
pub trait Protocol {
    /// How bytes become frames.
    type Decoder: Decoder;
    /// How messages become bytes. Often the same type; the value is another one.
    type Encoder;

    /// The connection is made: accepted, connected, or handed over by another protocol.
    fn on_open(&mut self, cx: &mut Context<'_, Self::Encoder>) {
        let _ = cx;
    }

    /// A frame has arrived.
    fn on_frame(
        &mut self,
        frame: <Self::Decoder as Decoder>::Frame<'_>,
        cx: &mut Context<'_, Self::Encoder>,
    );

    /// The decoder skipped a frame, and the stream goes on behind it.
    fn on_skipped(
        &mut self,
        report: <Self::Decoder as Decoder>::Error,
        cx: &mut Context<'_, Self::Encoder>,
    ) {
        log::debug!("{}: skipped a frame: {report}", cx.token());
    }

    /// The peer broke the framing. What is sent here still reaches the peer; then the connection
    /// finishes, with [`CloseReason::Malformed`].
    fn on_malformed(
        &mut self,
        error: <Self::Decoder as Decoder>::Error,
        cx: &mut Context<'_, Self::Encoder>,
    ) {
        log::debug!("{}: malformed input: {error}", cx.token());
    }

    /// The output had risen above `Limits::high_water` and has fallen below `Limits::low_water`.
    fn on_drain(&mut self, cx: &mut Context<'_, Self::Encoder>) {
        let _ = cx;
    }

    /// A timer set with [`Intents::set_timer`] or [`Intents::set_interval`] is due.
    fn on_timer(&mut self, timer: TimerId, cx: &mut Context<'_, Self::Encoder>) {
        let _ = (timer, cx);
    }

    /// How long the peer is waited for in the present state; asked for after events. `None`: as
    /// the limits of the service say.
    fn patience(&self) -> Option<&Patience> {
        None
    }

    /// The peer has done nothing for too long, or has been too slow, and `reason` says in which
    /// way. What is sent here still reaches the peer; then the connection finishes.
    fn on_timeout(&mut self, reason: CloseReason, cx: &mut Context<'_, Self::Encoder>) {
        let _ = (reason, cx);
    }

    /// A message for this connection has arrived from elsewhere in the program. While the
    /// connection is still being made, that may be before [`Protocol::on_open`].
    fn on_mail(&mut self, mail: Mail, cx: &mut Context<'_, Self::Encoder>) {
        let _ = mail;
        log::warn!("{}: the protocol takes no mail", cx.token());
    }

    /// The peer will send nothing more; it may still be listening. `partial_len` bytes of an
    /// unfinished frame are lost, usually 0.
    ///
    /// Finishes, unless overridden: everything that is queued is sent, then our side ends too.
    /// A protocol that does not finish here can go on sending.
    fn on_eof(&mut self, partial_len: usize, cx: &mut Context<'_, Self::Encoder>) {
        let _ = partial_len;
        cx.finish();
    }

    /// The reactor shuts down. What had arrived by then was delivered.
    ///
    /// Finishes, unless overridden. A protocol that owes the peer something that it has yet to
    /// produce may finish later; the grace period of the shutdown bounds it.
    fn on_shutdown(&mut self, cx: &mut Context<'_, Self::Encoder>) {
        cx.finish();
    }

    /// The connection has ended. Called exactly once, and last. No timer can be set here: whoever
    /// wants to come back later waits with [`Connect::after`](crate::net::Connect::after).
    fn on_close(&mut self, reason: CloseReason, cx: &mut Intents) {
        let _ = (reason, cx);
    }
}
