//! An alarm that ends a turn to the microsecond: a timerfd (Linux), as one more event source.
//!
//! The poller's time-outs are whole milliseconds, which is as long as many an answer takes. Knows
//! nothing of what it wakes for. Where there is none, requests are late by up to 1 ms.

#[cfg(target_os = "linux")]
use std::time::Duration;
use std::time::Instant;

use windlass::Reactor;
use windlass::net::Os;

#[cfg(target_os = "linux")]
mod timer {
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::rc::Rc;
    use std::time::Duration;

    use rustix::time::{
        ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec,
        clock_gettime, timerfd_create, timerfd_settime,
    };
    use windlass::net::{FdSource, Readiness};
    use windlass::{Context, Progress, Source};

    /// A shared descriptor, so that the reactor can watch what we set.
    pub(super) struct Timer(Rc<OwnedFd>);

    impl AsFd for Timer {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    impl Timer {
        pub(super) fn new() -> Option<Timer> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags);
            Some(Timer(Rc::new(timer.ok()?)))
        }

        pub(super) fn share(&self) -> Timer {
            Timer(Rc::clone(&self.0))
        }

        /// The time of the clock that [`Timer::set`] goes by.
        pub(super) fn now() -> Duration {
            let now = clock_gettime(ClockId::Monotonic).try_into();
            now.expect("it counts from the start of the system")
        }

        /// Goes off once; at once, if that is past.
        pub(super) fn set(&self, at: Duration) {
            let setting = Itimerspec {
                it_interval: Timespec::default(),
                it_value: Timespec::try_from(at).unwrap_or_default(),
            };
            // It fails for a time that is none.
            _ = timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &setting);
        }
    }

    /// Has the reactor wake up; nothing needs to be read, since setting it again resets it.
    pub(super) struct Watched(pub(super) FdSource<Timer>);

    impl Source for Watched {
        type Io = FdSource<Timer>;

        fn io(&mut self) -> &mut FdSource<Timer> {
            &mut self.0
        }

        fn on_ready(&mut self, _: Readiness, _: &mut Context<'_, ()>) -> Progress {
            Progress::Drained
        }
    }
}

/// Ends a turn when it goes off.
#[cfg(target_os = "linux")]
pub(crate) struct Alarm {
    timer: timer::Timer,
    /// One moment by both clocks.
    origin: (Instant, Duration),
    set_for: Option<Instant>,
}

#[cfg(target_os = "linux")]
impl Alarm {
    /// `None`: the system has no timer for us.
    pub(crate) fn new(reactor: &mut Reactor<Os>) -> Option<Alarm> {
        let timer = timer::Timer::new()?;
        let watched = windlass::net::FdSource::new(timer.share());
        let watched = timer::Watched(watched);
        reactor.add_source("alarm", watched).ok()?;
        // We may be interrupted between the two readings: the closest of some pairs. The alarm may
        // be late by as much as lies between them, and must not be early.
        let pairs = (0..8).map(|_| {
            let before = timer::Timer::now();
            let now = reactor.with_intents(|cx| cx.now());
            let after = timer::Timer::now();
            (after - before, (now, after))
        });
        let (_, origin) = pairs.min().expect("there are eight");
        Some(Alarm {
            timer,
            origin,
            set_for: None,
        })
    }

    pub(crate) fn set(&mut self, at: Instant) {
        if self.set_for == Some(at) {
            return;
        }
        self.set_for = Some(at);
        let (origin, by_its_clock) = self.origin;
        self.timer
            .set(by_its_clock + at.saturating_duration_since(origin));
    }
}

/// There is none here.
#[cfg(not(target_os = "linux"))]
pub(crate) enum Alarm {}

#[cfg(not(target_os = "linux"))]
impl Alarm {
    pub(crate) fn new(_: &mut Reactor<Os>) -> Option<Alarm> {
        None
    }

    pub(crate) fn set(&mut self, _: Instant) {
        match *self {}
    }
}
