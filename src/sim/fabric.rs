//! `Fabric`: the state that all hosts of a simulated world share, and how time changes it.
//!
//! Knows sockets as ends and ports, and hosts by their number; it knows no reactor.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use slab::Slab;

use super::agenda::{Agenda, EndId, Happening};
use super::datagrams::{DatagramId, DatagramSocket};
use super::end::{Ear, End, Port};
use super::failure::Problem;
use super::fates::Fates;
use super::faults::Faults;
use super::flight::Flight;
use super::random::Random;
use super::trace::{Line, Trace, What};
use crate::net::Wake;
use crate::token::Token;

#[derive(Debug)]
pub(super) struct Fabric {
    /// Since the world began.
    pub(super) now: Duration,
    /// An instant for that beginning; only differences to it are ever seen.
    pub(super) origin: Instant,
    pub(super) random: Random,
    pub(super) faults: Faults,
    pub(super) agenda: Agenda,
    pub(super) trace: Trace,
    pub(super) hosts: Vec<Host>,
    pub(super) ends: Slab<End>,
    pub(super) ports: Slab<Port>,
    pub(super) datagrams: Slab<DatagramSocket>,
    /// What is under way between them.
    pub(super) flights: Slab<Flight>,
    /// What became of the others.
    pub(super) fates: Fates,
    /// From which host to which nothing gets through.
    pub(super) cuts: BTreeSet<(usize, usize)>,
    /// What could not get through, in order.
    pub(super) held: Vec<Happening>,
    /// Who closed over unread input.
    pub(super) blames: Vec<Blame>,
    /// The first mistake that was seen.
    pub(super) problem: Option<(Problem, String)>,
    pub(super) short_read_drains: bool,
    pub(super) next_serial: u32,
    /// Watched protocols that were not told of their end.
    pub(super) watched: usize,
}

/// A host, without its reactor.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) is_up: bool,
    pub(super) is_paused: bool,
    /// How far its clock is ahead.
    pub(super) skew: Duration,
    /// Its deadlines cannot be held against it: it was paused, or its clock jumped.
    pub(super) is_late: bool,
    /// Its reactor shuts down, and lingers for a shorter time.
    pub(super) is_ending: bool,
    /// Sockets that it may have.
    pub(super) max_sockets: usize,
    pub(super) sockets: usize,
    pub(super) next_port: u16,
    /// Since when it has been asleep, if it is, and until when.
    pub(super) sleep: Sleep,
    /// The time-out of the poll that it is in has passed.
    pub(super) was_over: bool,
    pub(super) waker: Arc<Flag>,
    /// Whose events are told with the next poll.
    pub(super) ready: Vec<Listener>,
    /// Whoever was told something and may not have acted on it.
    pub(super) suspects: Vec<EndId>,
    /// Tokens of sockets that were closed lately.
    pub(super) former: Vec<Token>,
    /// Operations that achieved something.
    pub(super) progress: u64,
    /// The last operation, for whoever looks for the culprit of a spin.
    pub(super) last_token: Option<Token>,
    pub(super) last_service: Option<Rc<super::end::Service>>,
}

/// Who hears an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listener {
    End(EndId),
    Port { port: usize, serial: u32 },
    Datagram(DatagramId),
}

/// Whether a host's reactor waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sleep {
    /// It has something to do.
    Awake,
    /// Until an event, or until then (`None`: for ever).
    Until(Option<Duration>),
}

/// Whoever closed a connection while its peer had more to say.
#[derive(Clone, Debug)]
pub(super) struct Blame {
    pub(super) host: String,
    pub(super) token: Option<Token>,
    pub(super) service: String,
}

/// Whether somebody woke a host since its last poll.
#[derive(Debug, Default)]
pub(super) struct Flag(pub(super) AtomicBool);

impl Wake for Flag {
    fn wake(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Fabric {
    pub(super) fn new(seed: u64, faults: Faults) -> Fabric {
        let mut random = Random::new(seed);
        let short_read_drains = random.chance(0.5);
        Fabric {
            now: Duration::ZERO,
            origin: origin(),
            random,
            short_read_drains: faults.short_read_drains.unwrap_or(short_read_drains),
            faults,
            agenda: Agenda::default(),
            trace: Trace::new(),
            hosts: Vec::new(),
            ends: Slab::new(),
            ports: Slab::new(),
            datagrams: Slab::new(),
            flights: Slab::new(),
            fates: Fates::default(),
            cuts: BTreeSet::new(),
            held: Vec::new(),
            blames: Vec::new(),
            problem: None,
            next_serial: 0,
            watched: 0,
        }
    }

    pub(super) fn add_host(&mut self, name: &str) -> usize {
        self.hosts.push(Host {
            name: name.to_owned(),
            is_up: true,
            is_paused: false,
            skew: Duration::ZERO,
            is_late: false,
            is_ending: false,
            max_sockets: usize::MAX,
            sockets: 0,
            next_port: 0,
            sleep: Sleep::Awake,
            was_over: false,
            waker: Arc::default(),
            ready: Vec::new(),
            suspects: Vec::new(),
            former: Vec::new(),
            progress: 0,
            last_token: None,
            last_service: None,
        });
        self.hosts.len() - 1
    }

    /// Whether a host's reactor has something to do.
    pub(super) fn is_runnable(&self, host: usize) -> bool {
        let host = &self.hosts[host];
        host.is_up
            && !host.is_paused
            && match host.sleep {
                Sleep::Awake => true,
                Sleep::Until(until) => {
                    !host.ready.is_empty()
                        || until.is_some_and(|until| until <= self.now)
                        || host.waker.0.load(Ordering::Acquire)
                }
            }
    }

    /// When the next host wants to be woken.
    pub(super) fn next_wake(&self) -> Option<Duration> {
        let hosts = self.hosts.iter();
        let hosts = hosts.filter(|host| host.is_up && !host.is_paused);
        hosts
            .filter_map(|host| match host.sleep {
                Sleep::Until(until) => until,
                Sleep::Awake => None,
            })
            .min()
    }

    /// Lets the next thing happen.
    pub(super) fn happen(&mut self) {
        let Some(happening) = self.agenda.pop() else {
            return;
        };
        if self.is_cut(happening) {
            self.held.push(happening);
            return;
        }
        match happening {
            Happening::Arrive { end, len } => self.arrive(end, len),
            Happening::ArriveFin { end } => self.arrive_fin(end),
            Happening::ArriveReset { end, blame } => self.arrive_reset(end, blame),
            Happening::Attempt { end, tries } => self.attempt(end, tries),
            Happening::Outcome { end, error } => self.outcome(end, error),
            Happening::Break { end } => self.break_connection(end),
            Happening::Promise { end, readable } => self.keep_promise(end, readable),
            Happening::Tell { end } => self.tell_now(end),
            Happening::TellListener { port, serial } => self.tell_port_now(port, serial),
            Happening::Pass { flight } => self.pass(flight),
            Happening::DatagramPromise { socket, readable } => {
                self.keep_datagram_promise(socket, readable);
            }
            Happening::TellDatagram { socket } => self.tell_datagram_now(socket),
            Happening::Resume { host } => self.hosts[host].is_paused = false,
        }
    }

    /// Whether a partition keeps something from getting through.
    fn is_cut(&self, happening: Happening) -> bool {
        if self.cuts.is_empty() {
            return false;
        }
        let (Happening::Arrive { end, .. }
        | Happening::ArriveFin { end }
        | Happening::ArriveReset { end, .. }
        | Happening::Outcome { end, .. }) = happening
        else {
            return false;
        };
        let end = self.end(end);
        end.is_some_and(|end| self.cuts.contains(&(end.remote_host, end.host)))
    }

    /// Lets through again what a partition held.
    pub(super) fn release_held(&mut self) {
        for happening in std::mem::take(&mut self.held) {
            self.agenda.push_first(self.now, happening);
        }
    }

    #[inline]
    pub(super) fn end(&self, id: EndId) -> Option<&End> {
        let end = self.ends.get(id.key as usize)?;
        (end.serial == id.serial).then_some(end)
    }

    #[inline]
    pub(super) fn end_mut(&mut self, id: EndId) -> Option<&mut End> {
        let end = self.ends.get_mut(id.key as usize)?;
        (end.serial == id.serial).then_some(end)
    }

    /// The readiness of a socket of any kind.
    pub(super) fn ear(&mut self, listener: Listener) -> Option<(usize, &mut Ear)> {
        match listener {
            Listener::End(id) => {
                let end = self.end_mut(id)?;
                end.token?;
                Some((end.host, &mut end.ear))
            }
            Listener::Port { port, serial } => {
                let port = self.ports.get_mut(port)?;
                (port.serial == serial).then_some((port.host, &mut port.ear))
            }
            Listener::Datagram(id) => {
                let socket = self.datagram_mut(id)?;
                Some((socket.host, &mut socket.ear))
            }
        }
    }

    /// Notes the token of a socket that is closed: late events may still name it.
    pub(super) fn forget_token(&mut self, host: usize, token: Token) {
        let former = &mut self.hosts[host].former;
        if former.len() == FORMER_LEN {
            former.remove(0);
        }
        former.push(token);
    }

    pub(super) fn serial(&mut self) -> u32 {
        self.next_serial += 1;
        self.next_serial
    }

    /// Notes a mistake; the first one counts.
    #[cold]
    pub(super) fn fail(&mut self, problem: Problem, text: String) {
        if self.problem.is_none() {
            self.problem = Some((problem, text));
        }
    }

    #[inline]
    pub(super) fn log(&mut self, host: usize, token: Option<Token>, what: What, count: u64) {
        self.log_bytes(host, token, what, count, 0);
    }

    #[inline]
    pub(super) fn log_bytes(
        &mut self,
        host: usize,
        token: Option<Token>,
        what: What,
        count: u64,
        digest: u64,
    ) {
        self.trace.push(Line {
            at: self.now,
            host: host as u16,
            token,
            what,
            count,
            digest,
        });
    }
}

/// An instant to count virtual time from.
#[expect(
    clippy::disallowed_methods,
    reason = "an Instant can be made in no other way; only differences to it are ever seen"
)]
pub(super) fn origin() -> Instant {
    Instant::now()
}

/// Tokens of closed sockets that are remembered for late events.
const FORMER_LEN: usize = 8;
