//! How the cost of a message grows: with connections, with its size, with timers.

use std::error::Error;

use super::measure::{Bench, Spread};
use super::peers::{Peer, Service};
use super::report::{Curve, Report};
use super::workload::{Request, Shape};

/// Measures windlass and the bare loop at each point, and adds three plots to the report.
pub(crate) fn measure(
    bench: &Bench,
    rounds: usize,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    let echo = |connections, len| Shape::Exchange {
        connections,
        request: Request::Bytes(len),
        at_once: 1,
    };
    let connections = [1, 4, 16, 64, 256, 1000, 4000, 15_000];
    let sizes = [16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576];
    let timers = [0, 100, 1000, 10_000, 100_000, 1_000_000];
    let both = [Peer::Bare, Peer::Windlass];
    let mut curve = |title: &'static str,
                     unit: &'static str,
                     peers: &[Peer],
                     points: &[usize],
                     setup: &dyn Fn(usize) -> (Service, usize, Shape)|
     -> Result<(), Box<dyn Error>> {
        for peer in peers {
            let mut measured = Vec::new();
            for point in points {
                eprintln!("growth, {title}: {} at {point}", peer.name());
                let (service, timers, shape) = setup(*point);
                let mut costs = Vec::new();
                for _ in 0..rounds {
                    costs.push(bench.cost_of(*peer, service, timers, shape)?.cpu_ns);
                }
                let cost = Spread::of(costs.into_iter()).ok_or("no round was measured")?;
                measured.push((*point as f64, cost));
            }
            report.curves.push(Curve {
                title,
                unit,
                peer: *peer,
                points: measured,
            });
        }
        Ok(())
    };
    curve(
        "connections",
        "connections",
        &both,
        &connections,
        &|count| (Service::Echo, 0, echo(count, 64)),
    )?;
    curve("message size", "bytes", &both, &sizes, &|len| {
        (
            Service::Echo,
            0,
            echo(if len > 65_536 { 4 } else { 16 }, len),
        )
    })?;
    curve("timers", "timers", &[Peer::Windlass], &timers, &|count| {
        (Service::Timers, count, echo(64, 64))
    })
}
