//! Sessions over UDP: everybody is served in the end, by a session that is told of nobody else;
//! timers are kept, and whoever is silent is forgotten within a tick.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use windlass::net::Bind;
use windlass::protocol::{Mail, Session, SessionContext, SessionLimits, Sessions};
use windlass::sim::{Fault, Host, Outcome, World, check, seeds};
use windlass::{CloseReason, Datagram, DatagramContext, DatagramProtocol, Intents, TimerId};

use crate::SEEDS;
use crate::hosts::{cut_for, give_room, stop_for};

/// What sessions and peers have to tell.
#[derive(Default)]
struct Notes {
    /// When the callback that runs began.
    now: Cell<Option<Instant>>,
    opened: Cell<usize>,
    closed: Cell<usize>,
    expired: Cell<usize>,
    /// Peers that have had all of their work done.
    done: Cell<usize>,
    /// Whether the server was kept from its deadlines.
    is_late: Cell<bool>,
    complaint: RefCell<Option<String>>,
}

impl Notes {
    fn complain(&self, text: &str) {
        let mut complaint = self.complaint.borrow_mut();
        complaint.get_or_insert_with(|| text.to_owned());
    }
}

/// Does what its peer asks for, one after the other, and says which was the last; 0 asks for
/// nothing.
struct Worker {
    peer: SocketAddr,
    heard: Instant,
    due: Option<Instant>,
    last: u8,
    idle: Duration,
    notes: Rc<Notes>,
}

impl Session for Worker {
    fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut SessionContext<'_, '_>) {
        self.heard = cx.now();
        if cx.peer() != self.peer || datagram.from.as_ip() != Some(self.peer) {
            self.notes.complain("a session was told of another peer");
        }
        let [number, timer, ..] = *datagram.bytes else {
            return self.notes.complain("a request without a number");
        };
        if number == 0 {
            return;
        }
        self.last = self.last.max(number);
        if timer % 2 == 0 {
            cx.cancel_timer(ANSWER);
            self.due = None;
        } else {
            let after = Duration::from_millis(u64::from(timer) * 20);
            cx.set_timer(ANSWER, after);
            // Beside it, one that never comes to anything, and one that does nothing.
            cx.set_timer(FAR, 2 * self.idle);
            cx.set_timer(NEAR, after / 2);
            self.due = Some(cx.now() + after);
        }
        cx.send([self.last]);
        if number == LAST {
            cx.finish();
        }
    }

    fn on_timer(&mut self, timer: u32, cx: &mut SessionContext<'_, '_>) {
        match timer {
            ANSWER => {}
            // Whoever is heard again and again lives to see it.
            NEAR | FAR => {
                let me = cx.token();
                if cx.mail_to(me, timer).is_err() {
                    self.notes.complain("a session that is called is gone");
                }
                return;
            }
            _ => return self.notes.complain("a timer that was not set"),
        }
        let due = self.due.take();
        let is_kept = due.is_some_and(|due| cx.now() >= due);
        let is_late = due.is_some_and(|due| cx.now() > due + LATE);
        if !is_kept || is_late && !self.notes.is_late.get() {
            self.notes.complain("a timer is early, late or nobody's");
        }
        cx.send([self.last]);
    }

    fn on_mail(&mut self, mail: Mail, cx: &mut SessionContext<'_, '_>) {
        if !cx.is_alive(cx.token()) || mail.downcast::<u32>().is_err() {
            self.notes.complain("mail that nobody has sent");
        }
    }

    fn on_close(&mut self, reason: CloseReason) {
        self.notes.closed.set(self.notes.closed.get() + 1);
        if reason != CloseReason::IdleTimeout {
            return;
        }
        self.notes.expired.set(self.notes.expired.get() + 1);
        let now = self.notes.now.get().expect("a callback runs");
        let silent = now.saturating_duration_since(self.heard);
        let is_late = silent > self.idle + LATE && !self.notes.is_late.get();
        if silent < self.idle || is_late {
            self.notes.complain(&format!("forgotten after {silent:?}"));
        }
    }
}

/// Sessions, watched: the time of each callback is known, and their number is compared.
struct Shown<F> {
    sessions: Sessions<F, Worker>,
    max: usize,
    notes: Rc<Notes>,
}

impl<F: FnMut(SocketAddr) -> Option<Worker>> Shown<F> {
    fn compare(&self) {
        let (len, notes) = (self.sessions.len(), &self.notes);
        let (opened, closed) = (notes.opened.get(), notes.closed.get());
        if len + closed != opened {
            notes.complain(&format!("{len} are left of {opened}, {closed} were closed"));
        }
        if len > self.max {
            notes.complain("more sessions than there may be");
        }
    }
}

impl<F: FnMut(SocketAddr) -> Option<Worker>> DatagramProtocol for Shown<F> {
    fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut DatagramContext<'_>) {
        self.notes.now.set(Some(cx.now()));
        self.sessions.on_datagram(datagram, cx);
        self.compare();
    }

    fn on_timer(&mut self, timer: TimerId, cx: &mut DatagramContext<'_>) {
        self.notes.now.set(Some(cx.now()));
        self.sessions.on_timer(timer, cx);
        self.compare();
    }

    fn on_mail(&mut self, mail: Mail, cx: &mut DatagramContext<'_>) {
        self.notes.now.set(Some(cx.now()));
        self.sessions.on_mail(mail, cx);
        self.compare();
    }

    fn on_shutdown(&mut self, cx: &mut DatagramContext<'_>) {
        self.sessions.on_shutdown(cx);
    }

    fn on_close(&mut self, reason: CloseReason, cx: &mut Intents) {
        self.sessions.on_close(reason, cx);
        self.compare();
    }
}

/// Asks for one thing after the other, each until it is done.
struct Peer {
    to: SocketAddr,
    next: u8,
    last: u8,
    timer: u8,
    notes: Rc<Notes>,
}

impl Peer {
    fn ask(&self, cx: &mut DatagramContext<'_>) {
        cx.send_to(self.to, [self.next, self.timer]);
    }
}

impl DatagramProtocol for Peer {
    fn on_open(&mut self, cx: &mut DatagramContext<'_>) {
        self.ask(cx);
        if self.last > 0 {
            cx.intents().set_interval(Duration::from_millis(700));
        }
    }

    fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut DatagramContext<'_>) {
        if self.next > self.last || datagram.bytes != [self.next] {
            return;
        }
        self.next += 1;
        match self.next > self.last {
            true => self.notes.done.set(self.notes.done.get() + 1),
            false => self.ask(cx),
        }
    }

    fn on_timer(&mut self, _: TimerId, cx: &mut DatagramContext<'_>) {
        if self.next <= self.last {
            self.ask(cx);
        }
    }
}

/// A server of sessions that are closed after `idle`.
fn serve(world: &mut World, max: usize, idle: Duration) -> (Host, Rc<Notes>) {
    let server = world.host("server");
    give_room(world, server);
    let notes = Rc::<Notes>::default();
    open(world, server, max, idle, &notes);
    (server, notes)
}

fn open(world: &mut World, server: Host, max: usize, idle: Duration, notes: &Rc<Notes>) {
    let limits = SessionLimits {
        max_sessions: max,
        idle_timeout: idle,
        ..SessionLimits::default()
    };
    let all = Rc::clone(notes);
    let worker = move |peer| {
        all.opened.set(all.opened.get() + 1);
        Some(Worker {
            peer,
            heard: all.now.get().expect("a callback runs"),
            due: None,
            last: 0,
            idle,
            notes: Rc::clone(&all),
        })
    };
    let shown = Shown {
        sessions: Sessions::new(limits, worker),
        max,
        notes: Rc::clone(notes),
    };
    let bind = Bind::new(world.address(server, 7)).name("sessions");
    world.reactor(server).bind(bind, shown).expect("it is free");
}

fn scenario(world: &mut World) -> Outcome {
    let idle = Duration::from_millis(3_000 + world.random().below(9_000) as u64);
    let max = 1 + world.random().below(12);
    let (server, notes) = serve(world, max, idle);
    let client = world.host("client");
    give_room(world, client);
    let count = 1 + world.random().below(12);
    for _ in 0..count {
        let peer = Peer {
            to: world.address(server, 7),
            next: 1,
            last: 1 + world.random().below(20) as u8,
            timer: world.random().below(100) as u8,
            notes: Rc::clone(&notes),
        };
        let bind = Bind::new(world.address(client, 0)).name("peer");
        world.reactor(client).bind(bind, peer).expect("it is free");
    }
    for _ in 0..world.random().below(4) {
        let wait = Duration::from_millis(world.random().below(6_000) as u64);
        match world.random().below(6) {
            0 => {
                stop_for(world, server, wait)?;
                give_room(world, server);
                open(world, server, max, idle, &notes);
            }
            1 => cut_for(world, server, client, wait)?,
            2 => {
                notes.is_late.set(true);
                world.pause(server, wait);
                world.run_for(wait)?;
            }
            3 => {
                notes.is_late.set(true);
                world.jump(server, wait);
            }
            _ => world.run_for(wait)?,
        }
    }
    let is_done = |_: &mut World| notes.done.get() == count;
    world.run_until(is_done, Duration::from_secs(7_200))?;
    // What is under way arrives, and what it begins is forgotten.
    world.run_for(ON_THE_WAY + idle + LATE)?;
    judge(world, &notes)
}

/// Ten thousand peers who say one thing each.
fn crowd(world: &mut World) -> Outcome {
    let faults = world.faults().without(Fault::LoseDatagram);
    world.set_faults(faults.without(Fault::RepeatDatagram));
    let idle = Duration::from_secs(60);
    let (server, notes) = serve(world, COUNT, idle);
    let client = world.host("client");
    give_room(world, client);
    for number in 0..COUNT {
        let peer = Peer {
            to: world.address(server, 7),
            next: 0,
            last: 0,
            timer: 0,
            notes: Rc::clone(&notes),
        };
        let bind = Bind::new(world.address(client, 0)).name("peer");
        world.reactor(client).bind(bind, peer).expect("it is free");
        // No more at once than a socket holds.
        if number % 500 == 0 {
            world.run_for(Duration::from_millis(400))?;
        }
    }
    world.run_for(ON_THE_WAY)?;
    let (opened, closed) = (notes.opened.get(), notes.closed.get());
    world.require(
        opened == COUNT && closed == 0,
        format_args!("{opened} sessions were opened, and {closed} closed"),
    )?;
    world.run_for(idle + LATE)?;
    world.require(notes.expired.get() == COUNT, "not all of them expired")?;
    judge(world, &notes)
}

fn judge(world: &World, notes: &Notes) -> Outcome {
    let complaint = notes.complaint.borrow().clone();
    world.require(complaint.is_none(), complaint.unwrap_or_default())?;
    let left = notes.opened.get() - notes.closed.get();
    world.require(left == 0, format_args!("{left} sessions are left"))
}

#[test]
fn each_peer_is_served_by_a_session_of_its_own_that_ends_when_it_is_silent() {
    check(seeds(SEEDS), scenario);
}

#[test]
fn ten_thousand_sessions_expire_within_a_tick() {
    check(seeds(SEEDS).take(1), crowd);
}

/// The timers of a session.
const ANSWER: u32 = 0;
const NEAR: u32 = 1;
const FAR: u32 = 2;
/// Sessions at once.
const COUNT: usize = 10_000;
/// Work after which a session has nothing left to do.
const LAST: u8 = 20;
/// Longer than anything is on its way.
const ON_THE_WAY: Duration = Duration::from_secs(2);
/// A tick of the wheel, and a millisecond of the poller.
const LATE: Duration = Duration::from_millis(2);
