//! `World`: hosts with a reactor each, one network between them, and the scheduler that runs them
//! in an order drawn from the seed.
//!
//! Knows reactors from outside, as their owner does, and no concrete protocol.

use std::cell::{RefCell, RefMut};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::fabric::{Fabric, Sleep};
use super::failure::{Failure, Problem};
use super::fates::Fates;
use super::faults::{Fault, Faults};
use super::network::SimNet;
use super::ports::ip_of;
use super::random::Random;
use super::stuck::Turns;
use super::trace::{Hash, What};
use super::watch::Watch;
use crate::limits::Budgets;
use crate::reactor::{Config, Reactor};

/// A simulated world: hosts, the network between them, and time.
///
/// Everything that happens in it follows from its seed, so that two worlds of the same seed in
/// which the same is done have the same trace. See the [module](super) for how to use one.
///
/// ```
/// use std::time::Duration;
/// use windlass::sim::World;
/// use windlass::{Echo, Lines};
///
/// let mut world = World::new(7);
/// let server = world.host("server");
/// world.reactor(server).listen("0.0.0.0:7", |_| Echo::<Lines>::default())?;
/// world.run_for(Duration::from_secs(1))?;
/// world.end()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct World {
    pub(super) fabric: Rc<RefCell<Fabric>>,
    seed: u64,
    /// `None`: the host is down.
    pub(super) reactors: Vec<Option<Reactor<SimNet>>>,
    pub(super) turns: Vec<Turns>,
    /// What the scenario draws from.
    random: Random,
    /// Faults that are switched off, whatever the scenario wants.
    without: Vec<Fault>,
    /// Hosts that have something to do; kept for its memory.
    runnable: Vec<usize>,
    /// When deadlines were looked at last.
    checked_at: Duration,
}

/// A host of a [`World`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host(pub(super) usize);

impl World {
    /// A world from a seed, with [`Faults::from_seed`].
    pub fn new(seed: u64) -> World {
        World::with_faults(seed, Faults::from_seed(seed))
    }

    /// A world from a seed, with other faults.
    pub fn with_faults(seed: u64, faults: Faults) -> World {
        World::shrunk(seed, faults, &[])
    }

    pub(super) fn shrunk(seed: u64, faults: Faults, without: &[Fault]) -> World {
        let faults = without
            .iter()
            .fold(faults, |faults, fault| faults.without(*fault));
        World {
            fabric: Rc::new(RefCell::new(Fabric::new(seed, faults))),
            seed,
            reactors: Vec::new(),
            turns: Vec::new(),
            random: Random::new(!seed),
            without: without.to_vec(),
            runnable: Vec::new(),
            checked_at: Duration::ZERO,
        }
    }

    /// The host of that name, which is made if there is none. The first one has the address
    /// 10.0.0.1, the next one 10.0.0.2, and so on.
    ///
    /// Its reactor's budgets and its read buffer are drawn from the seed, because what happens at
    /// their bounds is worth testing too. A panic in a callback is not caught.
    pub fn host(&mut self, name: &str) -> Host {
        let known = self
            .fabric()
            .hosts
            .iter()
            .position(|host| host.name == name);
        if let Some(host) = known {
            return Host(host);
        }
        let config = self.random_config();
        let host = Host(self.fabric().add_host(name));
        self.reactors.push(None);
        self.turns.push(Turns::default());
        self.configure(host, config);
        host
    }

    /// Gives a host a new reactor with these settings. Whatever the old one had is reset.
    pub fn configure(&mut self, host: Host, config: Config) {
        let network = SimNet::new(Rc::clone(&self.fabric), host.0);
        self.reactors[host.0] = None;
        self.fabric().hosts[host.0].sleep = Sleep::Awake;
        self.reactors[host.0] = Some(Reactor::with_config(network, config));
    }

    /// A host's reactor.
    ///
    /// # Panics
    /// The host is down: see [`World::stop`].
    pub fn reactor(&mut self, host: Host) -> &mut Reactor<SimNet> {
        // Whatever the caller does to it, it may have something to do afterwards.
        self.fabric().hosts[host.0].sleep = Sleep::Awake;
        let reactor = self.reactors[host.0].as_mut();
        reactor.expect("a host that is used is up")
    }

    /// Does something with a host's reactor; as [`World::reactor`], for whoever wants a value.
    ///
    /// # Panics
    /// The host is down.
    pub fn with<T>(&mut self, host: Host, act: impl FnOnce(&mut Reactor<SimNet>) -> T) -> T {
        act(self.reactor(host))
    }

    /// The address of a port of a host.
    pub fn address(&self, host: Host, port: u16) -> SocketAddr {
        SocketAddr::new(ip_of(host.0), port)
    }

    /// A handle that watches protocols: each one that passes through [`Watch::over`] is held to
    /// the rules of `on_close` and to its limits.
    pub fn watch(&self) -> Watch {
        Watch::new(Rc::clone(&self.fabric))
    }

    /// What the scenario may draw from; it does not disturb what the world draws.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// Changes what goes wrong from now on. Faults that are being switched off to shrink a failure
    /// stay off.
    pub fn set_faults(&mut self, faults: Faults) {
        let without = self.without.iter();
        let faults = without.fold(faults, |faults, fault| faults.without(*fault));
        self.fabric().faults = faults;
    }

    /// What may go wrong now.
    pub fn faults(&self) -> Faults {
        self.fabric().faults.clone()
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The time since the world began.
    pub fn elapsed(&self) -> Duration {
        self.fabric().now
    }

    /// How many connections are open or being opened, counted at both ends.
    pub fn connections(&self) -> usize {
        self.fabric().ends.len()
    }

    /// What became of the datagrams that were sent so far.
    pub fn fates(&self) -> Fates {
        self.fabric().fates_so_far()
    }

    /// The digest of everything that has happened.
    pub fn hash(&self) -> Hash {
        self.fabric().trace.hash()
    }

    /// How many lines the trace has.
    pub fn trace_len(&self) -> u64 {
        self.fabric().trace.len()
    }

    /// The last lines of the trace.
    pub fn last_lines(&self) -> Vec<String> {
        let fabric = self.fabric();
        fabric.trace.last(|host| fabric.hosts[host].name.clone())
    }

    /// Lets one thing happen: something on the network, a turn of a host, or time passing.
    /// Answers whether there was anything.
    ///
    /// # Errors
    /// A rule was broken.
    pub fn step(&mut self) -> Result<bool, Failure> {
        self.step_until(Duration::MAX)
    }

    /// Runs until `is_done` says so.
    ///
    /// # Errors
    /// A rule was broken, or it was not done within `limit`.
    pub fn run_until(
        &mut self,
        mut is_done: impl FnMut(&mut World) -> bool,
        limit: Duration,
    ) -> Result<(), Failure> {
        let until = self.elapsed() + limit;
        while !is_done(self) {
            if !self.step_until(until)? {
                let text = format!("what the run waits for did not happen within {limit:?}");
                return Err(self.failure(Problem::Timeout, text));
            }
        }
        Ok(())
    }

    /// Runs for so long.
    ///
    /// # Errors
    /// A rule was broken.
    pub fn run_for(&mut self, duration: Duration) -> Result<(), Failure> {
        let until = self.elapsed() + duration;
        while self.step_until(until)? {}
        self.fabric().now = until;
        Ok(())
    }

    /// Ends everything in order, and checks that nothing is left over: every reactor shuts down,
    /// with a grace in which everything may take as long as its limits allow.
    ///
    /// # Errors
    /// A rule was broken.
    pub fn end(&mut self) -> Result<(), Failure> {
        self.heal_all();
        for host in (0..self.reactors.len()).map(Host) {
            self.fabric().hosts[host.0].is_paused = false;
            if self.is_up(host) {
                self.reactor(host).shutdown(GRACE);
            }
        }
        let is_empty = |world: &mut World| {
            let mut reactors = world.reactors.iter().flatten();
            reactors.all(Reactor::is_empty)
        };
        let result = self.run_until(is_empty, GRACE + Duration::from_secs(1));
        if let Err(failure) = result {
            return match failure.problem {
                Problem::Timeout => Err(self.failure(Problem::Leak, "no end in sight".into())),
                _ => Err(failure),
            };
        }
        self.check_lag()?;
        let fabric = self.fabric();
        let sockets = fabric.hosts.iter().map(|host| host.sockets);
        let left = fabric.ends.len() + fabric.ports.len() + fabric.datagrams.len();
        let left = left + sockets.sum::<usize>();
        let watched = fabric.watched;
        drop(fabric);
        self.check(left == 0, "sockets are left over", Problem::Leak)?;
        let fates = self.fates();
        let is_known = fates.copies == fates.received + fates.lost() + fates.under_way;
        let text = format_args!("datagrams are unaccounted for: {fates:?}");
        self.check(is_known, text, Problem::LostBytes)?;
        self.check(
            watched == 0,
            "a protocol was not told of its end",
            Problem::Close,
        )
    }

    /// A failure of the scenario's own, unless `holds`.
    ///
    /// # Errors
    /// It does not hold.
    pub fn require(&self, holds: bool, text: impl fmt::Display) -> Result<(), Failure> {
        self.check(holds, text, Problem::Check)
    }

    fn check(&self, holds: bool, text: impl fmt::Display, problem: Problem) -> Result<(), Failure> {
        match holds {
            true => Ok(()),
            false => Err(self.failure(problem, text.to_string())),
        }
    }

    pub(super) fn failure(&self, problem: Problem, text: String) -> Failure {
        Failure {
            problem,
            text: text.into(),
            seed: self.seed,
            at: self.elapsed(),
            hash: self.hash(),
            trace: self.last_lines().into(),
            faults: self.fabric().faults.present().into(),
        }
    }

    fn step_until(&mut self, until: Duration) -> Result<bool, Failure> {
        let mut fabric = self.fabric.borrow_mut();
        self.runnable.clear();
        let hosts = 0..fabric.hosts.len();
        self.runnable
            .extend(hosts.filter(|host| fabric.is_runnable(*host)));
        let now = fabric.now;
        let is_due = fabric.agenda.next_at().is_some_and(|at| at <= now);
        if self.runnable.is_empty() && !is_due {
            let next = [fabric.agenda.next_at(), fabric.next_wake()];
            let Some(next) = next.into_iter().flatten().min() else {
                return Ok(false);
            };
            if next > until {
                return Ok(false);
            }
            fabric.now = next.max(now);
            if next >= self.checked_at + CHECK_EVERY {
                self.checked_at = next;
                fabric.check_deadlines();
            }
            drop(fabric);
            self.seen()?;
            return Ok(true);
        }
        if self.runnable.is_empty() || is_due && fabric.random.chance(0.5) {
            fabric.happen();
            let has_suspects = fabric
                .hosts
                .iter()
                .any(|host| !host.suspects.is_empty() && host.sleep != Sleep::Awake);
            drop(fabric);
            if has_suspects {
                self.check_sleepers();
            }
        } else {
            let host = match self.runnable.len() {
                1 => self.runnable[0],
                count => self.runnable[fabric.random.below(count)],
            };
            drop(fabric);
            self.turn(host)?;
        }
        self.seen()?;
        Ok(true)
    }

    /// Lets a host's reactor take a turn, or fall asleep in it.
    fn turn(&mut self, host: usize) -> Result<(), Failure> {
        {
            let mut fabric = self.fabric.borrow_mut();
            let now = fabric.now;
            let state = &mut fabric.hosts[host];
            if let Sleep::Until(Some(until)) = state.sleep {
                state.was_over = until <= now;
            }
            if state.sleep != Sleep::Awake {
                state.sleep = Sleep::Awake;
                fabric.log(host, None, What::Wake, 0);
            }
        }
        let reactor = self.reactors[host].as_mut();
        let reactor = reactor.expect("a host that is runnable is up");
        self.fabric.borrow_mut().hosts[host].is_ending = reactor.is_shutting_down();
        let result = reactor.turn(None);
        if self.fabric.borrow().hosts[host].sleep != Sleep::Awake {
            self.check_sleeper(host);
            return Ok(());
        }
        if let Err(error) = result {
            return Err(self.failure(Problem::Check, format!("a turn failed: {error}")));
        }
        self.count_turn(host)
    }

    /// Answers with the mistake that was seen, if there was one.
    fn seen(&self) -> Result<(), Failure> {
        if self.fabric.borrow().problem.is_none() {
            return Ok(());
        }
        let problem = self.fabric().problem.take();
        let (problem, text) = problem.expect("it was just seen");
        Err(self.failure(problem, text))
    }

    /// Every timer has to be honoured within a tick, unless its host was kept from it.
    fn check_lag(&self) -> Result<(), Failure> {
        for (host, reactor) in self.reactors.iter().enumerate() {
            let Some(reactor) = reactor else { continue };
            let lag = reactor.stats().max_lag;
            let is_late = self.fabric().hosts[host].is_late;
            let text = format!(
                "{}: a timer was {lag:?} late",
                self.fabric().hosts[host].name
            );
            self.check(is_late || lag <= MAX_LAG, text, Problem::Deadline)?;
        }
        Ok(())
    }

    fn random_config(&mut self) -> Config {
        let random = &mut self.random;
        let lens = [7, 64, 1000, 4096, 65_536, 65_536];
        let bytes = [1, 100, 10_000, 256 * 1024, 256 * 1024];
        let frames = [1, 3, 1024, 1024];
        let accepts = [1, 2, 64];
        let bytes = bytes[random.below(bytes.len())];
        Config {
            read_buffer_len: lens[random.below(lens.len())],
            budgets: Budgets {
                bytes,
                file_bytes: bytes,
                frames: frames[random.below(frames.len())],
                accepts: accepts[random.below(accepts.len())],
                ..Budgets::default()
            },
            catch_panics: false,
            ..Config::default()
        }
    }

    pub(super) fn fabric(&self) -> RefMut<'_, Fabric> {
        self.fabric.borrow_mut()
    }

    pub(super) fn set_reactor(&mut self, host: Host, reactor: Option<Reactor<SimNet>>) {
        self.reactors[host.0] = reactor;
        self.turns[host.0] = Turns::default();
    }

    /// Whether a host is up: it has not been stopped, or was restarted since.
    pub fn is_up(&self, host: Host) -> bool {
        self.reactors[host.0].is_some()
    }

    pub(super) fn new_reactor(&mut self, host: Host) -> Reactor<SimNet> {
        let network = SimNet::new(Rc::clone(&self.fabric), host.0);
        Reactor::with_config(network, self.random_config())
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("seed", &self.seed)
            .field("elapsed", &self.elapsed())
            .finish_non_exhaustive()
    }
}

/// The grace of the shutdown at the end: longer than any default limit.
const GRACE: Duration = Duration::from_secs(300);
/// How late a timer may be: one tick.
const MAX_LAG: Duration = Duration::from_millis(1);
/// How often deadlines are looked at.
const CHECK_EVERY: Duration = Duration::from_secs(1);
