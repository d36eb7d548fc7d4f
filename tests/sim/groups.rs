//! A group in datagrams: whoever has joined hears it, long datagrams are told as such or dropped,
//! as was asked for, and what no queue takes is refused; the counters and the callbacks agree.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use windlass::net::{Bind, Membership};
use windlass::sim::{Fault, Outcome, World, check, seeds};
use windlass::{
    Datagram, DatagramContext, DatagramLimits, DatagramProtocol, Oversize, SendCause, TimerId,
};

use crate::SEEDS;
use crate::hosts::give_room;

/// Calls to its group, more at once than its queue takes.
struct Crier(Rc<Cried>);

#[derive(Default)]
struct Cried {
    queued: Cell<u64>,
    full: Cell<u64>,
    is_wrong: Cell<bool>,
}

impl DatagramProtocol for Crier {
    fn on_open(&mut self, cx: &mut DatagramContext<'_>) {
        cx.set_interval(Duration::from_millis(500));
    }

    fn on_datagram(&mut self, _: Datagram<'_>, _: &mut DatagramContext<'_>) {
        self.0.is_wrong.set(true);
    }

    fn on_timer(&mut self, _: TimerId, cx: &mut DatagramContext<'_>) {
        let room = QUEUE - cx.queued();
        for number in 0..2 * QUEUE {
            let len = if number % 2 == 0 { SHORT } else { LONG };
            let cause = cx
                .try_send_to(GROUP, vec![number as u8; len])
                .map_err(|error| error.cause);
            let count = match cause {
                Ok(_) => &self.0.queued,
                Err(SendCause::QueueFull) => &self.0.full,
                Err(_) => return self.0.is_wrong.set(true),
            };
            count.set(count.get() + 1);
            if cause.is_ok() != (number < room) {
                self.0.is_wrong.set(true);
            }
        }
    }
}

/// What a member has heard.
#[derive(Default)]
struct Heard {
    whole: Cell<u64>,
    cut: Cell<u64>,
    is_wrong: Cell<bool>,
}

struct Member {
    group: Option<Membership>,
    heard: Rc<Heard>,
}

impl DatagramProtocol for Member {
    fn on_open(&mut self, cx: &mut DatagramContext<'_>) {
        if let Some(group) = self.group.take() {
            cx.join(group);
        }
    }

    fn on_datagram(&mut self, datagram: Datagram<'_>, _: &mut DatagramContext<'_>) {
        let (count, len, kept) = match datagram.is_truncated() {
            true => (&self.heard.cut, LONG, MAX),
            false => (&self.heard.whole, SHORT, SHORT),
        };
        count.set(count.get() + 1);
        let is_right = datagram.len == len && datagram.bytes.len() == kept;
        let is_ours = datagram.to == Some(GROUP.ip());
        self.heard
            .is_wrong
            .set(self.heard.is_wrong.get() || !(is_right && is_ours));
    }
}

fn scenario(world: &mut World) -> Outcome {
    let cried = Rc::<Cried>::default();
    let crier = world.host("crier");
    give_room(world, crier);
    let limits = DatagramLimits {
        max_queued_datagrams: QUEUE,
        ..DatagramLimits::default()
    };
    let bind = Bind::new(world.address(crier, 0)).limits(limits);
    let protocol = Crier(Rc::clone(&cried));
    let calling = world
        .reactor(crier)
        .bind(bind, protocol)
        .expect("it is free");
    // One is told of what is cut off, one is not, and one is no member.
    let mut members = Vec::new();
    for (name, oversize, joins) in [
        ("anne", Oversize::Deliver, true),
        ("bert", Oversize::Drop, true),
        ("carl", Oversize::Deliver, false),
    ] {
        let host = world.host(name);
        give_room(world, host);
        let limits = DatagramLimits {
            max_datagram: MAX,
            oversize,
            ..DatagramLimits::default()
        };
        let heard = Rc::<Heard>::default();
        let member = Member {
            group: joins.then(|| Membership::of(GROUP.ip())),
            heard: Rc::clone(&heard),
        };
        let bind = Bind::on("0.0.0.0:9").expect("an address").limits(limits);
        let token = world.reactor(host).bind(bind, member).expect("it is free");
        members.push((host, token, heard));
    }
    world.run_until(
        |_| {
            members[..2]
                .iter()
                .all(|(_, _, heard)| heard.whole.get() > 20)
        },
        Duration::from_secs(3_600),
    )?;
    for (nth, (host, token, heard)) in members.iter().enumerate() {
        let stats = world
            .reactor(*host)
            .datagram_stats(*token)
            .expect("it is open");
        let (whole, cut) = (heard.whole.get(), heard.cut.get());
        let is_counted = match nth {
            0 => cut > 0 && (stats.received, stats.truncated) == (whole + cut, cut),
            1 => cut == 0 && stats.truncated > 0 && stats.received == whole + stats.truncated,
            _ => stats.received == 0,
        };
        world.require(
            is_counted && !heard.is_wrong.get(),
            format_args!("member {nth} heard {whole} and {cut}: {stats:?}"),
        )?;
    }
    let stats = world
        .reactor(crier)
        .datagram_stats(calling)
        .expect("it is open");
    let (queued, full) = (cried.queued.get(), cried.full.get());
    let left = stats.sent + stats.storm_guarded + stats.send_errors + stats.queued as u64;
    world.require(
        !cried.is_wrong.get() && full > 0 && stats.queue_dropped == full && left == queued,
        format_args!("{queued} were queued and {full} refused: {stats:?}"),
    )?;
    // A send that found no room is made up for by an event.
    let faults = world.faults();
    let refusals = [Fault::WouldBlock, Fault::SendBuffer, Fault::Congest];
    let blocks = refusals.iter().any(|fault| faults.has(*fault));
    world.require(
        blocks || stats.queued == 0,
        format_args!("nothing was blocked, and {} wait", stats.queued),
    )
}

#[test]
fn members_hear_their_group_and_counters_tell_what_was_cut_dropped_and_refused() {
    check(seeds(SEEDS), scenario);
}

const GROUP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(239, 1, 1, 1)), 9);
/// Datagrams that the crier's queue takes.
const QUEUE: usize = 8;
/// Lengths: of a datagram that fits, of one that does not, and what fits.
const SHORT: usize = 16;
const LONG: usize = 64;
const MAX: usize = 32;
