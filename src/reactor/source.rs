//! `SourceEntry`: any descriptor that the poller can watch, with a callback: a timerfd, inotify,
//! a raw socket, another library's event source.
//!
//! Knows nothing of what is behind the descriptor; reading it is the callback's business.

use std::rc::Rc;

use super::core::{Command, Core, Entry, Outcome};
use super::service::{Service, add};
use crate::close::CloseReason;
use crate::net::{EventSource, Interest, Os, Readiness};
use crate::protocol::{Context, Control, Ending, Intent, Mail, TimerId};
use crate::token::Token;

/// What a custom source does.
///
/// Its descriptor is watched edge-triggered: [`Source::on_ready`] has to use it until it answers
/// `WouldBlock`, or say [`Progress::Again`].
///
/// ```
/// use std::io::{ErrorKind, Read};
/// use std::os::unix::net::UnixStream;
/// use windlass::net::{FdSource, Readiness};
/// use windlass::{Context, Progress, Reactor, Source};
///
/// /// Prints what comes through a pipe.
/// struct Pipe(FdSource<UnixStream>);
///
/// impl Source for Pipe {
///     type Io = FdSource<UnixStream>;
///
///     fn io(&mut self) -> &mut FdSource<UnixStream> {
///         &mut self.0
///     }
///
///     fn on_ready(&mut self, _: Readiness, cx: &mut Context<'_, ()>) -> Progress {
///         let mut buf = [0; 512];
///         match self.0.inner_mut().read(&mut buf) {
///             Ok(0) => cx.finish(),
///             Ok(len) => println!("{}", buf[..len].escape_ascii()),
///             Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Drained,
///             Err(_) => cx.abort(),
///         }
///         Progress::Again
///     }
/// }
///
/// let mut reactor = Reactor::new()?;
/// let (ours, mut theirs) = UnixStream::pair()?;
/// ours.set_nonblocking(true)?;
/// reactor.add_source("pipe", Pipe(FdSource::new(ours)))?;
/// std::io::Write::write_all(&mut theirs, b"hello")?;
/// drop(theirs);
/// reactor.run()?; // ends with its last entry
/// # Ok::<(), windlass::Error>(())
/// ```
pub trait Source {
    /// What is watched.
    type Io: EventSource;

    /// The thing that is watched. The same one, always.
    fn io(&mut self) -> &mut Self::Io;

    /// What it is watched for. Asked once.
    fn interest(&self) -> Interest {
        Interest::READABLE
    }

    /// It is watched from now on: the time for a first timer.
    fn on_open(&mut self, cx: &mut Context<'_, ()>) {
        let _ = cx;
    }

    /// It may be ready. Of the context, `send` is of no use here; `finish` or `abort` removes the
    /// source.
    fn on_ready(&mut self, readiness: Readiness, cx: &mut Context<'_, ()>) -> Progress;

    /// A timer is due.
    fn on_timer(&mut self, timer: TimerId, cx: &mut Context<'_, ()>) {
        let _ = (timer, cx);
    }

    /// A message has arrived from elsewhere in the program.
    fn on_mail(&mut self, mail: Mail, cx: &mut Context<'_, ()>) {
        let _ = mail;
        log::warn!("{}: the source takes no mail", cx.token());
    }

    /// The reactor shuts down. The source is removed, unless this is overridden.
    fn on_shutdown(&mut self, cx: &mut Context<'_, ()>) {
        cx.finish();
    }

    /// It was removed. Called exactly once, and last.
    fn on_close(&mut self, reason: CloseReason) {
        let _ = reason;
    }
}

/// How far a source's callback came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// The descriptor answered `WouldBlock`: the next event comes when it is ready again.
    Drained,
    /// There may be more; to be called again after the others.
    Again,
}

/// A custom source in the reactor.
pub(super) struct SourceEntry<S> {
    source: S,
    service: Rc<Service>,
    timers: Vec<TimerId>,
    is_queued: bool,
    /// Its end was told, or is being told.
    is_closed: bool,
}

impl<S: Source> SourceEntry<S> {
    pub(super) fn new(source: S, service: Rc<Service>) -> SourceEntry<S> {
        service.on_opened();
        SourceEntry {
            source,
            service,
            timers: Vec::new(),
            is_queued: false,
            is_closed: false,
        }
    }

    pub(super) fn source_mut(&mut self) -> &mut S {
        &mut self.source
    }

    /// Calls back, and does what the callback asked for.
    fn call(
        &mut self,
        token: Token,
        core: &mut Core<Os>,
        callback: impl FnOnce(&mut S, &mut Context<'_, ()>) -> Progress,
    ) -> Outcome {
        let fx = &mut core.fx;
        fx.intents.token = token;
        fx.intents.timers_left = self
            .service
            .limits
            .max_timers
            .saturating_sub(self.timers.len());
        fx.out.set_limit(0);
        fx.control = Control {
            is_mute: true,
            ..Control::default()
        };
        let progress = callback(&mut self.source, &mut Context::new(fx, &mut ()));
        fx.control.switch = None;
        let control = std::mem::take(&mut fx.control);
        crate::buffer::Reuse::reset(&mut fx.out);
        match control.ending {
            Some(Ending::Finish(reason) | Ending::Abort(reason)) => {
                return self.close(token, reason, core);
            }
            None => {}
        }
        if progress == Progress::Again && !self.is_queued {
            self.is_queued = true;
            core.enqueue(token);
        }
        Outcome::Alive
    }

    fn close(&mut self, token: Token, reason: CloseReason, core: &mut Core<Os>) -> Outcome {
        if std::mem::replace(&mut self.is_closed, true) {
            // It was `on_close` that panicked.
            return Outcome::Closed;
        }
        let cancel = |id| Intent::CancelTimer { owner: token, id };
        core.fx
            .intents
            .list
            .extend(self.timers.drain(..).map(cancel));
        self.service.on_closed(reason);
        self.source.on_close(reason);
        Outcome::Closed
    }
}

impl<S: Source> Entry<Os> for SourceEntry<S> {
    fn on_attach(&mut self, token: Token, core: &mut Core<Os>) -> Outcome {
        self.call(token, core, |source, cx| {
            source.on_open(cx);
            Progress::Drained
        })
    }

    fn on_ready(&mut self, token: Token, readiness: Readiness, core: &mut Core<Os>) -> Outcome {
        if readiness == Readiness::NONE {
            self.is_queued = false;
        }
        self.call(token, core, |source, cx| source.on_ready(readiness, cx))
    }

    fn on_deadline(&mut self, _: Token, _: &mut Core<Os>) -> Outcome {
        Outcome::Alive
    }

    fn on_command(&mut self, token: Token, command: Command, core: &mut Core<Os>) -> Outcome {
        let drained = Progress::Drained;
        match command {
            Command::Mail(mail) => self.call(token, core, |source, cx| {
                source.on_mail(mail, cx);
                drained
            }),
            Command::Timer(id) => self.call(token, core, |source, cx| {
                source.on_timer(id, cx);
                drained
            }),
            Command::Shutdown => self.call(token, core, |source, cx| {
                source.on_shutdown(cx);
                drained
            }),
            Command::OwnTimer(id, true) => {
                self.timers.push(id);
                Outcome::Alive
            }
            Command::OwnTimer(id, false) => {
                self.timers.retain(|own| *own != id);
                Outcome::Alive
            }
            Command::Finish(reason) | Command::Abort(reason) => self.close(token, reason, core),
            Command::Send(..)
            | Command::Datagram(..)
            | Command::Membership(..)
            | Command::FinishWrites
            | Command::Resume
            | Command::Hold
            | Command::Release => Outcome::Alive,
        }
    }

    fn on_panic(&mut self, token: Token, core: &mut Core<Os>) {
        add(&self.service.counters.panics, 1);
        let _ = self.close(token, CloseReason::Panicked, core);
    }

    fn release(mut self: Box<Self>, core: &mut Core<Os>) -> Rc<Service> {
        // Deregistered before it is dropped: unlike our own sockets, the descriptor may live on
        // under another one (dup, fork), and would go on reporting events.
        if let Err(error) = core.network.deregister_source(self.source.io()) {
            log::debug!("{}: deregister: {error}", self.service.name);
        }
        self.service
    }

    fn service(&self) -> &Rc<Service> {
        &self.service
    }
}
