//! One measurement, and many in turn.
//!
//! The machine's speed drifts within seconds, and now and then somebody else has a core, so a time
//! means something only beside the reference's just before and just after it: what is reported is
//! the ratio to these two, over many short rounds. Few long ones told little: within a window of
//! seconds the machine changes as much as between two of them, and a longer one averages over that
//! without ending it, while the reference lies farther and farther away.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::clients::{self, Meter};
use super::load::{self, Timed};
use super::machine;
use super::peers::{Peer, Service};
use super::process::{Cores, Server, Used};
use super::spread::Spread;
use super::workload::{Shape, Workload};

/// What a server did in one window of time, and what that cost.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) messages: f64,
    pub(crate) seconds: f64,
    pub(crate) cpu_ns: f64,
    pub(crate) user_ns: f64,
    pub(crate) system_ns: f64,
    /// At a fixed rate alone.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// The share of the window for which others had one of the two cores, or the host did.
    pub(crate) foreign: f64,
}

impl Cost {
    /// CPU time of a message.
    pub(crate) fn each_ns(&self) -> f64 {
        self.cpu_ns / self.messages
    }

    pub(crate) fn is_disturbed(&self) -> bool {
        self.foreign > DISTURBED
    }
}

/// Where things are, and for how long each is measured.
pub(crate) struct Bench {
    cores: Cores,
    work: PathBuf,
    time: Duration,
    /// Windows that may be measured again because they were disturbed.
    again: Cell<usize>,
}

impl Bench {
    /// `work` is a directory that only this process writes to.
    pub(crate) fn new(work: PathBuf, time: Duration) -> Result<Bench, Box<dyn Error>> {
        let files = work.join("files");
        fs::create_dir_all(&files)?;
        fs::write(files.join("4k.bin"), vec![b'w'; 4 * 1024])?;
        fs::write(files.join("1m.bin"), vec![b'w'; 1024 * 1024])?;
        let cores = Cores::take()?;
        Ok(Bench {
            cores,
            work,
            time,
            again: Cell::new(0),
        })
    }

    /// So many windows may be measured once more from now on.
    pub(crate) fn may_repeat(&self, windows: usize) {
        self.again.set(windows);
    }

    pub(crate) fn cost(&self, peer: Peer, workload: Workload) -> Result<Cost, Box<dyn Error>> {
        self.cost_of(
            peer,
            workload.service(),
            workload.timers(),
            workload.shape(),
        )
    }

    /// A server of its own for each window: how the memory of a process happens to lie is one of
    /// the things that differ. A window that others disturbed is measured again, while that may be
    /// done; which one counts is decided by what others did, not by what came out.
    pub(crate) fn cost_of(
        &self,
        peer: Peer,
        service: Service,
        timers: usize,
        shape: Shape,
    ) -> Result<Cost, Box<dyn Error>> {
        let window = || {
            let server = self.serve(peer, service, timers)?;
            let mut meter = Window::new(self.cores, &server, self.time);
            load::run(shape, server.address, &mut meter)?;
            meter.cost()
        };
        let mut calmest = window()?;
        while calmest.is_disturbed() && self.again.get() > 0 {
            self.again.set(self.again.get() - 1);
            let again = window()?;
            if again.foreign < calmest.foreign {
                calmest = again;
            }
        }
        Ok(calmest)
    }

    pub(crate) fn serve(
        &self,
        peer: Peer,
        service: Service,
        timers: usize,
    ) -> Result<Server, Box<dyn Error>> {
        Server::start(self.cores, peer, service, timers, &self.work)
    }

    pub(crate) fn cores(&self) -> Cores {
        self.cores
    }

    /// System calls per message of a single client, which sends when the server has gone to sleep.
    pub(crate) fn system_calls(
        &self,
        peer: Peer,
        workload: Workload,
    ) -> Result<f64, Box<dyn Error>> {
        let shape = match workload.shape() {
            Shape::Exchange {
                request, at_once, ..
            } => Shape::Exchange {
                connections: 1,
                request,
                at_once,
            },
            Shape::Datagrams { .. } => workload.shape(),
            _ => return Err("only exchanges are counted".into()),
        };
        let counts = self.work.join("strace.out");
        let mut calls = [0.0; 2];
        let mut messages = [0; 2];
        for (index, exchanges) in [FEW, 3 * FEW].into_iter().enumerate() {
            let server =
                Server::start_traced(self.cores, peer, workload.service(), &self.work, &counts)?;
            let address = server.address;
            let mut meter = Counting {
                server: &server,
                messages: 0,
                left: exchanges,
            };
            load::run(shape, address, &mut meter)?;
            messages[index] = meter.messages;
            server.end_traced()?;
            let table = fs::read_to_string(&counts)?;
            let total = table.lines().find(|line| line.ends_with(" total"));
            let total = total.and_then(|line| line.split_ascii_whitespace().nth(3)?.parse().ok());
            calls[index] = total.ok_or("strace has counted nothing")?;
        }
        Ok((calls[1] - calls[0]) / (messages[1] - messages[0]) as f64)
    }

    /// Bytes of memory of an idle connection: before it has sent anything, and after a message.
    pub(crate) fn memory(
        &self,
        peer: Peer,
        workload: Workload,
    ) -> Result<[f64; 2], Box<dyn Error>> {
        let Shape::Idle {
            connections,
            request,
        } = workload.shape()
        else {
            return Err("memory is that of idle connections".into());
        };
        if let Some(max) = peer.max_connections().filter(|max| *max < connections) {
            return Err(format!("it takes {max} connections").into());
        }
        let server = Server::start(self.cores, peer, workload.service(), 0, &self.work)?;
        let exchange = load::exchange(server.address, request, 1)?;
        server.wait_until_idle()?;
        let before = server.anonymous_len()?;
        let per_connection = |server: &Server| -> Result<f64, Box<dyn Error>> {
            server.wait_until_idle()?;
            Ok((server.anonymous_len()? - before) / connections as f64)
        };
        let mut idle = Vec::with_capacity(connections);
        for _ in 0..connections {
            idle.push(clients::connect(server.address)?);
        }
        let never_sent = per_connection(&server)?;
        for stream in &mut idle {
            clients::ask(stream, &exchange)?;
        }
        Ok([never_sent, per_connection(&server)?])
    }

    pub(crate) fn work(&self) -> &Path {
        &self.work
    }
}

/// Counts what happens in a window of time.
struct Window<'a> {
    cores: Cores,
    server: &'a Server,
    time: Duration,
    phase: Phase,
    messages: u64,
    times: Vec<u32>,
    /// The clock is read once in so many messages.
    until_look: u32,
    cost: Option<Cost>,
}

enum Phase {
    WarmUp { until: Instant },
    Window { from: Reading },
}

/// What was used up to now.
#[derive(Clone, Copy)]
struct Reading {
    at: Instant,
    server: Used,
    load_ns: f64,
    idle_ns: [f64; 2],
}

impl Reading {
    fn take(cores: Cores, server: &Server) -> io::Result<Reading> {
        Ok(Reading {
            at: Instant::now(),
            server: server.used()?,
            load_ns: machine::cpu_ns(std::process::id())? as f64,
            idle_ns: cores.idle_ns()?,
        })
    }

    fn cost_since(&self, from: &Reading, messages: u64) -> Cost {
        let time = self.at - from.at;
        let time_ns = time.as_secs_f64() * 1e9;
        let cpu_ns = self.server.cpu_ns - from.server.cpu_ns;
        let ours_ns = [cpu_ns, self.load_ns - from.load_ns];
        let foreign = (0..2).map(|core| {
            let idle_ns = self.idle_ns[core] - from.idle_ns[core];
            1.0 - (idle_ns + ours_ns[core]) / time_ns
        });
        Cost {
            messages: messages as f64,
            seconds: time.as_secs_f64(),
            cpu_ns,
            user_ns: self.server.user_ns - from.server.user_ns,
            system_ns: self.server.system_ns - from.server.system_ns,
            foreign: foreign.fold(0.0, f64::max),
            ..Cost::default()
        }
    }
}

impl<'a> Window<'a> {
    fn new(cores: Cores, server: &'a Server, time: Duration) -> Window<'a> {
        let until = Instant::now() + time.min(WARM_UP);
        Window {
            cores,
            server,
            time,
            phase: Phase::WarmUp { until },
            messages: 0,
            times: Vec::new(),
            until_look: 0,
            cost: None,
        }
    }

    fn cost(mut self) -> Result<Cost, Box<dyn Error>> {
        let mut cost = self.cost.ok_or("the load has ended early")?;
        if self.messages == 0 {
            return Err("nothing was answered".into());
        }
        self.times.sort_unstable();
        let at = |share: f64| {
            let index = (self.times.len() as f64 * share) as usize;
            self.times.get(index).map_or(0.0, |&ns| f64::from(ns) / 1e3)
        };
        (cost.p50_us, cost.p99_us) = (at(0.5), at(0.99));
        Ok(cost)
    }
}

impl Meter for Window<'_> {
    fn add(&mut self, messages: u64) {
        self.messages += messages;
    }

    fn is_over(&mut self) -> io::Result<bool> {
        if self.until_look > 0 {
            self.until_look -= 1;
            return Ok(false);
        }
        self.until_look = 16;
        let now = Instant::now();
        match &self.phase {
            Phase::WarmUp { until } if now >= *until => {
                let from = Reading::take(self.cores, self.server)?;
                self.phase = Phase::Window { from };
                self.messages = 0;
                self.times.clear();
            }
            Phase::Window { from } if now >= from.at + self.time => {
                let after = Reading::take(self.cores, self.server)?;
                self.cost = Some(after.cost_since(from, self.messages));
                return Ok(true);
            }
            Phase::WarmUp { .. } | Phase::Window { .. } => {}
        }
        Ok(false)
    }
}

impl Timed for Window<'_> {
    fn took(&mut self, time: Duration) {
        self.times
            .push(u32::try_from(time.as_nanos()).unwrap_or(u32::MAX));
    }
}

/// So many exchanges, each when the server sleeps.
struct Counting<'a> {
    server: &'a Server,
    messages: u64,
    left: u64,
}

impl Meter for Counting<'_> {
    fn add(&mut self, messages: u64) {
        self.messages += messages;
        self.left = self.left.saturating_sub(1);
    }

    fn is_over(&mut self) -> io::Result<bool> {
        Ok(self.left == 0)
    }

    fn before_sending(&mut self) {
        // A server that never sleeps is asked all the same.
        for _ in 0..1000 {
            if self.server.is_asleep() {
                return;
            }
            thread::yield_now();
        }
    }
}

impl Timed for Counting<'_> {
    fn took(&mut self, _: Duration) {}
}

/// One window of one peer, between two of the reference.
#[derive(Clone, Copy)]
pub(crate) struct Figure {
    pub(crate) round: usize,
    pub(crate) cost: Cost,
    /// CPU time of a message, as a multiple of the reference's in the windows before and after.
    pub(crate) ratio: Option<f64>,
}

/// What was measured of one workload: of each peer, round by round.
pub(crate) struct Row {
    pub(crate) workload: Workload,
    pub(crate) figures: BTreeMap<Peer, Vec<Figure>>,
    /// Why others are not there.
    pub(crate) failed: BTreeMap<Peer, String>,
}

impl Row {
    pub(crate) fn new(workload: Workload) -> Row {
        Row {
            workload,
            figures: BTreeMap::new(),
            failed: BTreeMap::new(),
        }
    }

    /// One more round of all, who begins being another one each time. The reference has a window
    /// before and behind each, since the machine's speed has changed when the round is over.
    pub(crate) fn measure(&mut self, bench: &Bench, peers: &[Peer], round: usize) {
        let others = peers.iter().copied().filter(|peer| *peer != Peer::Bare);
        let mut order: Vec<Peer> = others.collect();
        let len = order.len().max(1);
        order.rotate_left(round % len);
        bench.may_repeat(order.len().div_ceil(2));
        let mut before = self.cost(bench, Peer::Bare);
        for peer in order {
            let cost = self.cost(bench, peer);
            let after = self.cost(bench, Peer::Bare);
            let each = [before, after]
                .into_iter()
                .flatten()
                .map(|bare| bare.each_ns());
            let count = each.clone().count();
            let bare_ns = (count > 0).then(|| each.sum::<f64>() / count as f64);
            self.add(peer, round, cost, bare_ns);
            // The reference beside itself: what differs then is noise.
            self.add(Peer::Bare, round, after, before.map(|bare| bare.each_ns()));
            before = after.or(before);
        }
    }

    fn cost(&mut self, bench: &Bench, peer: Peer) -> Option<Cost> {
        if self.failed.contains_key(&peer) {
            return None;
        }
        let workload = match peer {
            Peer::Bare => self.workload.reference(),
            _ => self.workload,
        };
        match bench.cost(peer, workload) {
            Ok(cost) => Some(cost),
            Err(error) => {
                self.figures.remove(&peer);
                self.failed.insert(peer, error.to_string());
                None
            }
        }
    }

    fn add(&mut self, peer: Peer, round: usize, cost: Option<Cost>, beside_ns: Option<f64>) {
        if let Some(cost) = cost {
            let ratio = beside_ns.map(|beside| cost.each_ns() / beside);
            let figures = self.figures.entry(peer).or_default();
            figures.push(Figure { round, cost, ratio });
        }
    }

    /// CPU time of a message as a multiple of the reference's.
    pub(crate) fn ratio(&self, peer: Peer) -> Option<Spread> {
        Spread::of(self.of(peer).iter().filter_map(|figure| figure.ratio))
    }

    /// The same as a multiple of what windlass took in the same round.
    pub(crate) fn beside_windlass(&self, peer: Peer) -> Option<Spread> {
        let ours = |round| {
            let mut ours = self.of(Peer::Windlass).iter();
            ours.find(|figure| figure.round == round)?.ratio
        };
        let figures = self.of(peer).iter();
        Spread::of(figures.filter_map(|figure| Some(figure.ratio? / ours(figure.round)?)))
    }

    pub(crate) fn median(&self, peer: Peer, part: impl Fn(&Cost) -> f64) -> Option<f64> {
        let parts = self.of(peer).iter().map(|figure| part(&figure.cost));
        Some(Spread::of(parts)?.median)
    }

    /// Over all windows, since the clock's ticks are too coarse for one: the share of the CPU time
    /// that was the server's own code.
    pub(crate) fn user_share(&self, peer: Peer) -> f64 {
        let sum = |part: fn(&Cost) -> f64| -> f64 {
            let figures = self.of(peer).iter();
            figures.map(|figure| part(&figure.cost)).sum()
        };
        let user_ns = sum(|cost| cost.user_ns);
        user_ns / (user_ns + sum(|cost| cost.system_ns))
    }

    /// Windows that were disturbed, although they were the calmer ones, and all of them.
    pub(crate) fn disturbed(&self) -> (usize, usize) {
        let all = || self.figures.values().flatten();
        let disturbed = all().filter(|figure| figure.cost.is_disturbed());
        (disturbed.count(), all().count())
    }

    fn of(&self, peer: Peer) -> &[Figure] {
        self.figures.get(&peer).map_or(&[], Vec::as_slice)
    }
}

const WARM_UP: Duration = Duration::from_millis(100);
/// Exchanges of the shorter of two runs below strace.
const FEW: u64 = 200;
/// The share of a window that others may have. The clock's ticks tell 0.04 of 250 ms apart.
const DISTURBED: f64 = 0.1;
