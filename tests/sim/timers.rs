//! Timers and limits in virtual time: never early, and late by less than a tick and the poller's
//! rounding.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use windlass::net::{Connect, Listen};
use windlass::sim::{Fault, Faults, Outcome, World, check, seeds};
use windlass::{CloseReason, Context, Intents, Limits, Protocol, Raw, TimerId};

use crate::SEEDS;
use crate::client::Shared;

/// Sets timers of any length, and looks at the clock when they fire.
struct Clock {
    waits: Vec<Duration>,
    set: Vec<(TimerId, Instant)>,
    fired: Rc<RefCell<usize>>,
    notes: Shared,
}

impl Clock {
    fn set_next(&mut self, cx: &mut Context<'_, Raw>) {
        if let Some(wait) = self.waits.pop() {
            let timer = cx.set_timer(wait).expect("few are set");
            self.set.push((timer, cx.now() + wait));
        }
    }
}

impl Protocol for Clock {
    type Decoder = Raw;
    type Encoder = Raw;

    fn on_open(&mut self, cx: &mut Context<'_, Raw>) {
        self.notes.borrow_mut().opened = true;
        (0..4).for_each(|_| self.set_next(cx));
    }

    fn on_timer(&mut self, timer: TimerId, cx: &mut Context<'_, Raw>) {
        let at = self.set.iter().position(|(set, _)| *set == timer);
        let (_, due) = self.set.remove(at.expect("it was set, and fires once"));
        let now = cx.now();
        if now < due || now > due + LATE {
            let text = format!("due at {due:?}, fired at {now:?}");
            self.notes.borrow_mut().complaint = Some(text);
        }
        *self.fired.borrow_mut() += 1;
        cx.send(&b"tick"[..]);
        self.set_next(cx);
        if self.set.is_empty() {
            cx.finish();
        }
    }

    fn on_frame(&mut self, _: &[u8], _: &mut Context<'_, Raw>) {}

    fn on_close(&mut self, reason: CloseReason, _: &mut Intents) {
        self.notes.borrow_mut().closed = Some(reason);
    }
}

/// A tick of the wheel, and a millisecond of the poller.
const LATE: Duration = Duration::from_millis(2);

fn timers(world: &mut World) -> Outcome {
    let (server, client) = (world.host("server"), world.host("client"));
    let faults = [
        Fault::Reset,
        Fault::Refuse,
        Fault::LoseAttempt,
        Fault::AbortAccept,
    ];
    let faults = faults.into_iter().fold(world.faults(), Faults::without);
    world.set_faults(faults);
    let watch = world.watch();
    let server_watch = watch.clone();
    let listen = Listen::new(world.address(server, 7)).name("discard");
    world
        .reactor(server)
        .listen(listen, move |_| server_watch.over(windlass::Discard))
        .expect("the port is free");
    let start = world.random().below(5_000) as u64;
    world.run_for(Duration::from_micros(start))?;
    let mut waits = Vec::new();
    for _ in 0..12 {
        let micros = world.random().length(&(0..=40_000_000)) as u64;
        waits.push(Duration::from_micros(micros));
    }
    let (notes, fired) = (Shared::default(), Rc::default());
    let clock = Clock {
        waits,
        set: Vec::new(),
        fired: Rc::clone(&fired),
        notes: Rc::clone(&notes),
    };
    let connect = Connect::new(world.address(server, 7)).name("clock");
    let clock = watch.over(clock);
    world
        .reactor(client)
        .connect(connect, clock)
        .expect("an address");
    let is_closed = |_: &mut World| notes.borrow().closed.is_some();
    world.run_until(is_closed, Duration::from_secs(2000))?;
    let notes = notes.borrow();
    let complaint = notes.complaint.as_deref();
    world.require(complaint.is_none(), complaint.unwrap_or_default())?;
    world.require(*fired.borrow() == 12, "a timer did not fire")
}

/// Says nothing, and notes when it was told what.
struct Silent(Rc<RefCell<Told>>);

#[derive(Default)]
struct Told {
    opened: Option<Instant>,
    timeouts: Vec<(CloseReason, Instant)>,
    closed: Option<CloseReason>,
}

impl Protocol for Silent {
    type Decoder = Raw;
    type Encoder = Raw;

    fn on_frame(&mut self, _: &[u8], _: &mut Context<'_, Raw>) {}

    fn on_open(&mut self, cx: &mut Context<'_, Raw>) {
        self.0.borrow_mut().opened = Some(cx.now());
    }

    fn on_eof(&mut self, _: usize, _: &mut Context<'_, Raw>) {}

    fn on_timeout(&mut self, reason: CloseReason, cx: &mut Context<'_, Raw>) {
        self.0.borrow_mut().timeouts.push((reason, cx.now()));
    }

    fn on_close(&mut self, reason: CloseReason, _: &mut Intents) {
        self.0.borrow_mut().closed = Some(reason);
    }
}

/// A peer that says nothing is finished after the idle time-out, one that never answers the
/// attempt to connect is given up, each on time.
fn deadlines(world: &mut World) -> Outcome {
    let (server, client) = (world.host("server"), world.host("client"));
    world.set_faults(Faults::none());
    let idle = Duration::from_millis(1 + world.random().below(100_000) as u64);
    let limits = Limits {
        idle_timeout: Some(idle),
        connect_timeout: idle,
        linger_timeout: Duration::from_secs(5),
        ..Limits::default()
    };
    let watch = world.watch().limits(&limits);
    let listen = Listen::new(world.address(server, 7)).limits(limits.clone());
    let told = Rc::<RefCell<Told>>::default();
    let (server_watch, server_told) = (watch.clone(), Rc::clone(&told));
    let silent = move |_: &_| server_watch.over(Silent(Rc::clone(&server_told)));
    world
        .reactor(server)
        .listen(listen, silent)
        .expect("the port is free");
    let start = world.random().below(50_000) as u64;
    world.run_for(Duration::from_micros(start))?;

    let before = world.elapsed();
    let connect = Connect::new(world.address(server, 7));
    let peer = watch.over(Silent(Rc::default()));
    let nobody = "10.0.0.77:7"
        .parse::<std::net::SocketAddr>()
        .expect("an address");
    let failed = Rc::<RefCell<Told>>::default();
    let lonely = watch.over(Silent(Rc::clone(&failed)));
    let nowhere = Connect::new(nobody).limits(limits);
    let reactor = world.reactor(client);
    reactor.connect(connect, peer).expect("an address");
    reactor.connect(nowhere, lonely).expect("an address");
    let is_over = |_: &mut World| failed.borrow().closed.is_some();
    world.run_until(is_over, idle + LATE)?;
    let reason = failed.borrow().closed;
    world.require(
        reason == Some(CloseReason::ConnectTimeout),
        format_args!("{reason:?}"),
    )?;
    world.require(world.elapsed() - before >= idle, "given up too early")?;
    // The silent peer's linger is over some time after the idle time-out.
    let is_over = |_: &mut World| told.borrow().closed.is_some();
    world.run_until(is_over, Duration::from_secs(5) + 4 * LATE)?;
    let told = told.borrow();
    world.require(
        told.closed == Some(CloseReason::IdleTimeout),
        format_args!("{:?}", told.closed),
    )?;
    // Its last word is asked for once, neither early nor late.
    let (Some(opened), [(reason, at)]) = (told.opened, &told.timeouts[..]) else {
        return world.require(false, format_args!("{:?}", told.timeouts));
    };
    let waited = at.saturating_duration_since(opened);
    world.require(
        *reason == CloseReason::IdleTimeout && waited >= idle && waited <= idle + LATE,
        format_args!("{reason:?} after {waited:?} instead of {idle:?}"),
    )
}

#[test]
fn no_timer_is_early_and_none_is_late() {
    check(seeds(SEEDS), timers);
}

#[test]
fn deadlines_are_kept() {
    check(seeds(SEEDS), deadlines);
}
