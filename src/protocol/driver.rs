//! `Driver`: a decoder, an encoder and a protocol as one thing that takes bytes.
//!
//! Holds the decode loop. Knows nothing of where the bytes come from or go to.

use std::fmt;

use super::context::Context;
use super::effects::{Effects, Ending, Intents, TimerId};
use super::{Mail, Protocol};
use crate::close::CloseReason;
use crate::framing::{Decoder, Step};
use crate::limits::Patience;
use crate::net::Address;

/// A protocol together with its framing, driven by a connection.
///
/// Implemented by [`Stack`] and by `Box<dyn Driver>`; name it to return different protocols from
/// one closure. It is not meant to be implemented elsewhere.
pub trait Driver: sealed::Sealed {
    #[doc(hidden)]
    fn on_open(&mut self, fx: &mut Effects);
    #[doc(hidden)]
    fn drive(&mut self, input: &[u8], budget: &mut usize, fx: &mut Effects) -> Driven;
    #[doc(hidden)]
    fn drive_eof(&mut self, input: &[u8], budget: &mut usize, fx: &mut Effects) -> Driven;
    #[doc(hidden)]
    fn on_eof(&mut self, partial_len: usize, fx: &mut Effects);
    #[doc(hidden)]
    fn on_drain(&mut self, fx: &mut Effects);
    #[doc(hidden)]
    fn on_timer(&mut self, timer: TimerId, fx: &mut Effects);
    #[doc(hidden)]
    fn on_timeout(&mut self, reason: CloseReason, fx: &mut Effects);
    #[doc(hidden)]
    fn on_mail(&mut self, mail: Mail, fx: &mut Effects);
    #[doc(hidden)]
    fn on_shutdown(&mut self, fx: &mut Effects);
    #[doc(hidden)]
    fn on_close(&mut self, reason: CloseReason, intents: &mut Intents);
    #[doc(hidden)]
    fn max_pending(&self) -> Option<usize>;
    #[doc(hidden)]
    fn patience(&self) -> Option<&Patience>;
}

/// What a decode loop did.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Driven {
    /// Bytes of the input that are done with.
    pub(crate) consumed: usize,
    pub(crate) stop: Stop,
}

/// Why a decode loop stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// What is left, if anything, is an unfinished frame.
    More,
    /// The budget of frames is spent.
    Budget,
    /// The protocol asked for something, or too much output is queued.
    Wish,
    /// The decoder refused the input. The protocol was told; the connection has to finish.
    Malformed,
    /// The decoder returned a frame of no bytes, or of more than there are.
    Stuck,
}

/// A decoder, an encoder and a protocol.
///
/// Made from a protocol alone if its codecs have defaults, or from a tuple of all three; see
/// [`IntoDriver`].
#[derive(Debug, Default)]
pub struct Stack<P: Protocol> {
    decoder: P::Decoder,
    encoder: P::Encoder,
    protocol: P,
}

impl<P: Protocol> Stack<P> {
    /// Puts the three together.
    pub fn new(decoder: P::Decoder, encoder: P::Encoder, protocol: P) -> Stack<P> {
        Stack {
            decoder,
            encoder,
            protocol,
        }
    }

    /// The decode loop, by `Decoder::decode` or `Decoder::decode_eof`: two loops, so that the one
    /// which counts is not asked at every step.
    #[inline]
    fn drive_with<const AT_EOF: bool>(
        &mut self,
        input: &[u8],
        budget: &mut usize,
        fx: &mut Effects,
    ) -> Driven {
        let mut consumed = 0;
        let stop = loop {
            let rest = &input[consumed..];
            if rest.is_empty() && !AT_EOF {
                break Stop::More;
            }
            if *budget == 0 {
                break Stop::Budget;
            }
            let step = if AT_EOF {
                self.decoder.decode_eof(rest)
            } else {
                self.decoder.decode(rest)
            };
            let len = match step {
                Ok(Step::More { .. }) => break Stop::More,
                Ok(Step::Frame {
                    frame,
                    consumed: len,
                }) => {
                    // Only at the end of the stream may a frame consist of no bytes, and then it
                    // is the last one.
                    if len > rest.len() || (len == 0 && !AT_EOF) {
                        break Stop::Stuck;
                    }
                    fx.frames += 1;
                    self.protocol
                        .on_frame(frame, &mut Context::new(fx, &mut self.encoder));
                    if len == 0 {
                        break Stop::More;
                    }
                    len
                }
                Ok(Step::Skip {
                    consumed: len,
                    report,
                }) => {
                    if len == 0 || len > rest.len() {
                        break Stop::Stuck;
                    }
                    if let Some(report) = report {
                        let cx = &mut Context::new(fx, &mut self.encoder);
                        self.protocol.on_skipped(report, cx);
                    }
                    len
                }
                Err(error) => {
                    self.protocol
                        .on_malformed(error, &mut Context::new(fx, &mut self.encoder));
                    fx.control.end(Ending::Finish(CloseReason::Malformed));
                    break Stop::Malformed;
                }
            };
            consumed += len;
            *budget -= 1;
            if fx.wants_stop() {
                break Stop::Wish;
            }
        };
        Driven { consumed, stop }
    }
}

impl<P: Protocol> Driver for Stack<P> {
    fn on_open(&mut self, fx: &mut Effects) {
        self.protocol
            .on_open(&mut Context::new(fx, &mut self.encoder));
    }

    #[inline]
    fn drive(&mut self, input: &[u8], budget: &mut usize, fx: &mut Effects) -> Driven {
        self.drive_with::<false>(input, budget, fx)
    }

    fn drive_eof(&mut self, input: &[u8], budget: &mut usize, fx: &mut Effects) -> Driven {
        self.drive_with::<true>(input, budget, fx)
    }

    fn on_eof(&mut self, partial_len: usize, fx: &mut Effects) {
        self.protocol
            .on_eof(partial_len, &mut Context::new(fx, &mut self.encoder));
    }

    fn on_drain(&mut self, fx: &mut Effects) {
        self.protocol
            .on_drain(&mut Context::new(fx, &mut self.encoder));
    }

    fn on_timer(&mut self, timer: TimerId, fx: &mut Effects) {
        self.protocol
            .on_timer(timer, &mut Context::new(fx, &mut self.encoder));
    }

    fn on_timeout(&mut self, reason: CloseReason, fx: &mut Effects) {
        self.protocol
            .on_timeout(reason, &mut Context::new(fx, &mut self.encoder));
    }

    fn on_mail(&mut self, mail: Mail, fx: &mut Effects) {
        self.protocol
            .on_mail(mail, &mut Context::new(fx, &mut self.encoder));
    }

    fn on_shutdown(&mut self, fx: &mut Effects) {
        self.protocol
            .on_shutdown(&mut Context::new(fx, &mut self.encoder));
    }

    fn on_close(&mut self, reason: CloseReason, intents: &mut Intents) {
        self.protocol.on_close(reason, intents);
    }

    fn max_pending(&self) -> Option<usize> {
        self.decoder.max_pending()
    }

    #[inline]
    fn patience(&self) -> Option<&Patience> {
        self.protocol.patience()
    }
}

impl Driver for Box<dyn Driver> {
    fn on_open(&mut self, fx: &mut Effects) {
        (**self).on_open(fx);
    }

    fn drive(&mut self, input: &[u8], budget: &mut usize, fx: &mut Effects) -> Driven {
        (**self).drive(input, budget, fx)
    }

    fn drive_eof(&mut self, input: &[u8], budget: &mut usize, fx: &mut Effects) -> Driven {
        (**self).drive_eof(input, budget, fx)
    }

    fn on_eof(&mut self, partial_len: usize, fx: &mut Effects) {
        (**self).on_eof(partial_len, fx);
    }

    fn on_drain(&mut self, fx: &mut Effects) {
        (**self).on_drain(fx);
    }

    fn on_timer(&mut self, timer: TimerId, fx: &mut Effects) {
        (**self).on_timer(timer, fx);
    }

    fn on_timeout(&mut self, reason: CloseReason, fx: &mut Effects) {
        (**self).on_timeout(reason, fx);
    }

    fn on_mail(&mut self, mail: Mail, fx: &mut Effects) {
        (**self).on_mail(mail, fx);
    }

    fn on_shutdown(&mut self, fx: &mut Effects) {
        (**self).on_shutdown(fx);
    }

    fn on_close(&mut self, reason: CloseReason, intents: &mut Intents) {
        (**self).on_close(reason, intents);
    }

    fn max_pending(&self) -> Option<usize> {
        (**self).max_pending()
    }

    fn patience(&self) -> Option<&Patience> {
        (**self).patience()
    }
}

impl fmt::Debug for dyn Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Driver")
    }
}

/// What a listener's closure may return, and what a connection can be opened with: a
/// [`Protocol`] whose codecs have defaults, a tuple `(decoder, encoder, protocol)`, a [`Stack`],
/// or a `Box<dyn Driver>` where one closure returns different protocols.
///
/// ```no_run
/// use windlass::protocol::{Chargen, Driver, IntoDriver};
/// use windlass::{Echo, Lines, Reactor};
///
/// let mut reactor = Reactor::new()?;
/// // A framing with a setting: one value to decode, one to encode.
/// let short = || Lines::new().with_max_len(80);
/// reactor.listen("127.0.0.1:7000", move |_| (short(), short(), Echo::default()))?;
/// // Every second peer is served by another protocol.
/// let mut count = 0;
/// reactor.listen("127.0.0.1:7001", move |_| -> Box<dyn Driver> {
///     count += 1;
///     match count % 2 {
///         0 => Box::new(Chargen::endless().into_driver()),
///         _ => Box::new(Echo::<Lines>::default().into_driver()),
///     }
/// })?;
/// reactor.run()?;
/// # Ok::<(), windlass::Error>(())
/// ```
pub trait IntoDriver {
    /// The protocol with its framing.
    type Driver: Driver + 'static;

    /// Puts them together.
    fn into_driver(self) -> Self::Driver;

    /// As [`IntoDriver::into_driver`], for a connection that a listener has accepted from `peer`:
    /// for protocols that want to know.
    fn into_accepted(self, peer: &Address) -> Self::Driver
    where
        Self: Sized,
    {
        let _ = peer;
        self.into_driver()
    }
}

impl<P> IntoDriver for P
where
    P: Protocol + 'static,
    P::Decoder: Default,
    P::Encoder: Default,
{
    type Driver = Stack<P>;

    fn into_driver(self) -> Stack<P> {
        Stack::new(P::Decoder::default(), P::Encoder::default(), self)
    }
}

impl<D, E, P> IntoDriver for (D, E, P)
where
    D: Decoder + 'static,
    E: 'static,
    P: Protocol<Decoder = D, Encoder = E> + 'static,
{
    type Driver = Stack<P>;

    fn into_driver(self) -> Stack<P> {
        Stack::new(self.0, self.1, self.2)
    }
}

impl IntoDriver for Box<dyn Driver> {
    type Driver = Box<dyn Driver>;

    fn into_driver(self) -> Box<dyn Driver> {
        self
    }
}

mod sealed {
    /// Keeps `Driver` ours, so that its methods may change.
    pub trait Sealed {}
    impl<P: super::Protocol> Sealed for super::Stack<P> {}
    impl Sealed for Box<dyn super::Driver> {}
}
