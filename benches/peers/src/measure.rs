//! One measurement, and many in turn.
//!
//! The machine's speed drifts, so a time means something only beside the reference's of the same
//! round: what is reported is the ratio of the two, its median and its spread.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::clients::{self, Meter};
use super::load::{self, Timed};
use super::peers::{Peer, Service};
use super::process::{Cores, Server, Used};
use super::workload::{Shape, Workload};

/// What a message cost a server in one round.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) cpu_ns: f64,
    pub(crate) user_ns: f64,
    pub(crate) system_ns: f64,
    pub(crate) per_second: f64,
    /// At a fixed rate alone.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// Where things are, and for how long each is measured.
pub(crate) struct Bench {
    cores: Cores,
    work: PathBuf,
    time: Duration,
}

impl Bench {
    /// `work` is a directory that only this process writes to.
    pub(crate) fn new(work: PathBuf, time: Duration) -> Result<Bench, Box<dyn Error>> {
        let files = work.join("files");
        fs::create_dir_all(&files)?;
        fs::write(files.join("4k.bin"), vec![b'w'; 4 * 1024])?;
        fs::write(files.join("1m.bin"), vec![b'w'; 1024 * 1024])?;
        let cores = Cores::take()?;
        Ok(Bench { cores, work, time })
    }

    pub(crate) fn cost(&self, peer: Peer, workload: Workload) -> Result<Cost, Box<dyn Error>> {
        self.cost_of(
            peer,
            workload.service(),
            workload.timers(),
            workload.shape(),
        )
    }

    pub(crate) fn cost_of(
        &self,
        peer: Peer,
        service: Service,
        timers: usize,
        shape: Shape,
    ) -> Result<Cost, Box<dyn Error>> {
        let server = Server::start(self.cores, peer, service, timers, &self.work)?;
        let address = server.address;
        let mut meter = Window::new(&server, self.time);
        load::run(shape, address, &mut meter)?;
        meter.cost()
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
    Window { since: Instant, used: Used },
}

impl<'a> Window<'a> {
    fn new(server: &'a Server, time: Duration) -> Window<'a> {
        let until = Instant::now() + time.min(WARM_UP);
        Window {
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
        match self.phase {
            Phase::WarmUp { until } if now >= until => {
                let used = self.server.used()?;
                let since = Instant::now();
                self.phase = Phase::Window { since, used };
                self.messages = 0;
                self.times.clear();
            }
            Phase::Window { since, used } if now >= since + self.time => {
                let after = self.server.used()?;
                let each = |ns: f64| ns / self.messages as f64;
                self.cost = Some(Cost {
                    cpu_ns: each(after.cpu_ns - used.cpu_ns),
                    user_ns: each(after.user_ns - used.user_ns),
                    system_ns: each(after.system_ns - used.system_ns),
                    per_second: self.messages as f64 / since.elapsed().as_secs_f64(),
                    ..Cost::default()
                });
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

/// What was measured of one workload: of each peer, round by round.
pub(crate) struct Row {
    pub(crate) workload: Workload,
    pub(crate) rounds: BTreeMap<Peer, Vec<Cost>>,
    /// Why others are not there.
    pub(crate) failed: BTreeMap<Peer, String>,
}

impl Row {
    pub(crate) fn new(workload: Workload) -> Row {
        Row {
            workload,
            rounds: BTreeMap::new(),
            failed: BTreeMap::new(),
        }
    }

    /// One more round of all, who begins being another one each time.
    pub(crate) fn measure(&mut self, bench: &Bench, peers: &[Peer], round: usize) {
        let mut order: Vec<Peer> = peers.to_vec();
        let len = order.len().max(1);
        order.rotate_left(round % len);
        for peer in order {
            if self.failed.contains_key(&peer) {
                continue;
            }
            let workload = match peer {
                Peer::Bare => self.workload.reference(),
                _ => self.workload,
            };
            match bench.cost(peer, workload) {
                Ok(cost) => self.rounds.entry(peer).or_default().push(cost),
                Err(error) => {
                    self.rounds.remove(&peer);
                    self.failed.insert(peer, error.to_string());
                }
            }
        }
    }

    /// CPU time as a multiple of the reference's in the same round.
    pub(crate) fn ratio(&self, peer: Peer) -> Option<Spread> {
        let reference = self.rounds.get(&Peer::Bare)?;
        let rounds = self.rounds.get(&peer)?;
        let ratios = rounds.iter().zip(reference);
        Spread::of(ratios.map(|(cost, bare)| cost.cpu_ns / bare.cpu_ns))
    }

    pub(crate) fn median(&self, peer: Peer, part: impl Fn(&Cost) -> f64) -> Option<f64> {
        Some(Spread::of(self.rounds.get(&peer)?.iter().map(part))?.median)
    }
}

/// The median of some figures, the least and the greatest.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    rounds: usize,
}

impl Spread {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            1 => values[middle],
            _ => (values[middle - 1] + values[middle]) / 2.0,
        };
        let rounds = values.len();
        Some(Spread {
            median,
            min,
            max,
            rounds,
        })
    }

    pub(crate) fn is_one(&self) -> bool {
        self.rounds == 1
    }

    /// Nothing can be told from it.
    pub(crate) fn is_wide(&self) -> bool {
        self.max > self.min * WIDE
    }
}

const WARM_UP: Duration = Duration::from_millis(300);
/// Exchanges of the shorter of two runs below strace.
const FEW: u64 = 200;
/// The highest ratio may be so many times the lowest.
const WIDE: f64 = 1.15;
