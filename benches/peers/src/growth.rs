//! How the cost of a message grows: with connections, with its size, with timers.

use super::measure::Bench;
use super::peers::{Peer, Service};
use super::report::{Curve, Point, Report};
use super::spread::Spread;
use super::workload::{Request, Shape};

/// Something that grows, and what is measured at each of its values.
struct Growth {
    title: &'static str,
    unit: &'static str,
    peers: &'static [Peer],
    values: &'static [usize],
    setup: fn(usize) -> (Service, usize, Shape),
}

/// Measures windlass and the bare loop at each point, and adds three plots to the report.
///
/// Rounds are the outermost, so that what drifts meanwhile bends no curve. A point that cannot be
/// measured is named, and the others go on.
pub(crate) fn measure(bench: &Bench, rounds: usize, report: &mut Report) {
    let mut curves: Vec<Curve> = Vec::new();
    for growth in &GROWTHS {
        curves.extend(growth.peers.iter().map(|peer| growth.curve(*peer)));
    }
    for round in 0..rounds {
        eprintln!("growth: round {} of {rounds}", round + 1);
        let mut at = 0;
        for growth in &GROWTHS {
            let curves = &mut curves[at..at + growth.peers.len()];
            at += curves.len();
            growth.measure(bench, round, curves);
        }
    }
    report.curves = curves;
}

impl Growth {
    fn curve(&self, peer: Peer) -> Curve {
        let values = self.values.iter();
        let points = values.map(|value| Point {
            value: *value as f64,
            costs: Vec::new(),
            ratios: Vec::new(),
            failed: None,
        });
        Curve {
            title: self.title,
            unit: self.unit,
            peer,
            points: points.collect(),
        }
    }

    /// One more round of all points.
    fn measure(&self, bench: &Bench, round: usize, curves: &mut [Curve]) {
        for (index, value) in self.values.iter().enumerate() {
            let (service, timers, shape) = (self.setup)(*value);
            bench.may_repeat(1);
            let mut each = [None; 2];
            let count = curves.len();
            // Neither is always the first.
            for turn in 0..count {
                let which = (turn + round) % count;
                let point = &mut curves[which].points[index];
                if point.failed.is_some() {
                    continue;
                }
                match bench.cost_of(self.peers[which], service, timers, shape) {
                    Ok(cost) => {
                        point.costs.push(cost.each_ns());
                        each[which] = Some(cost.each_ns());
                    }
                    Err(error) => point.failed = Some(error.to_string()),
                }
            }
            if let [Some(bare), Some(ours)] = each {
                curves[1].points[index].ratios.push(ours / bare);
            }
        }
    }
}

impl Point {
    /// Nanoseconds of CPU time of a message.
    pub(crate) fn cost(&self) -> Option<Spread> {
        Spread::of(self.costs.iter().copied())
    }

    /// As a multiple of the bare loop's in the same round.
    pub(crate) fn ratio(&self) -> Option<Spread> {
        Spread::of(self.ratios.iter().copied())
    }
}

fn echo(connections: usize, len: usize) -> Shape {
    Shape::Exchange {
        connections,
        request: Request::Bytes(len),
        at_once: 1,
    }
}

const GROWTHS: [Growth; 3] = [
    Growth {
        title: "connections",
        unit: "connections",
        peers: &[Peer::Bare, Peer::Windlass],
        values: &[1, 4, 16, 64, 256, 1000, 4000, 15_000],
        setup: |count| (Service::Echo, 0, echo(count, 64)),
    },
    Growth {
        title: "message size",
        unit: "bytes",
        peers: &[Peer::Bare, Peer::Windlass],
        values: &[16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576],
        setup: |len| {
            // What is under way fits into the sockets of few.
            let connections = if len > 65_536 { 4 } else { 16 };
            (Service::Echo, 0, echo(connections, len))
        },
    },
    Growth {
        title: "timers",
        unit: "timers",
        peers: &[Peer::Windlass],
        values: &[0, 100, 1000, 10_000, 100_000, 1_000_000],
        setup: |count| (Service::Timers, count, echo(64, 64)),
    },
];
