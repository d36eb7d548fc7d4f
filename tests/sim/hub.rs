//! The hub between subscribers who come, go, fall silent and are cut off, and a stranger who would
//! like to use it: nobody hears what nobody said, or hears it twice, or is kept when it is silent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use windlass::net::{Address, Bind};
use windlass::protocol::{Hub, HubLimits, HubMessage};
use windlass::sim::{Fault, Host, Outcome, World, check, seeds};
use windlass::{Datagram, DatagramContext, DatagramProtocol, TimerId};

use crate::SEEDS;
use crate::hosts::{cut_for, cut_one_way_for, give_room, stop_for};
use crate::hub_client::{Ledger, Phase, Shared, Stranger, Subscriber};

/// A hub beside a second opinion of who is subscribed, and since when each is silent.
struct Shown {
    hub: Hub,
    limits: HubLimits,
    heard: BTreeMap<SocketAddr, Instant>,
    ledger: Shared,
}

impl Shown {
    /// What the hub may have done about a message, as its counters tell; and that it said no more
    /// than it may.
    fn account(
        &mut self,
        who: SocketAddr,
        bytes: &[u8],
        before: &Counts,
        cx: &DatagramContext<'_>,
    ) {
        let after = Counts::of(&self.hub, cx);
        let is_refused = after.refused != before.refused;
        let count = after.queued - before.queued;
        let len = after.queued_len - before.queued_len;
        let is_proven = match HubMessage::parse(bytes) {
            Some(HubMessage::Subscribe(_)) if !is_refused => {
                self.heard.insert(who, cx.now());
                true
            }
            Some(HubMessage::Publish(..)) if !is_refused => {
                if let Some(heard) = self.heard.get_mut(&who) {
                    *heard = cx.now();
                }
                true
            }
            Some(HubMessage::Leave(_)) if !is_refused => {
                self.heard.remove(&who);
                true
            }
            _ => false,
        };
        let mut ledger = self.ledger.borrow_mut();
        if is_proven && who == ledger.stranger {
            ledger.complain("the stranger was believed");
        }
        if !is_proven && (count > 1 || len > bytes.len()) {
            ledger.complain(&format!("{} bytes answered {} of nobody", len, bytes.len()));
        }
    }

    /// Nobody is to be there by now who has been silent for too long.
    fn look_for_the_silent(&mut self, now: Instant) {
        let late = self.limits.patience + LATE;
        let mut heard = self.heard.values();
        let mut ledger = self.ledger.borrow_mut();
        if !ledger.is_late && heard.any(|heard| now.saturating_duration_since(*heard) > late) {
            ledger.complain("a silent subscriber is kept");
        }
    }

    fn compare(&mut self) {
        let mut ledger = self.ledger.borrow_mut();
        if self.hub.subscribers() != self.heard.len() {
            let (has, should) = (self.hub.subscribers(), self.heard.len());
            ledger.complain(&format!(
                "it has {has} subscribers, and should have {should}"
            ));
        }
        if self.hub.subscribers() > self.limits.max_subscribers {
            ledger.complain("it has more subscribers than it may");
        }
        ledger.subscribed = self.hub.subscribers();
    }
}

/// What a call may change.
struct Counts {
    refused: u64,
    queued: usize,
    queued_len: usize,
}

impl Counts {
    fn of(hub: &Hub, cx: &DatagramContext<'_>) -> Counts {
        let stats = hub.stats();
        Counts {
            refused: stats.bad_cookies + stats.crowded + stats.foreign + stats.too_long,
            queued: cx.queued(),
            queued_len: cx.queued_len(),
        }
    }
}

impl DatagramProtocol for Shown {
    fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut DatagramContext<'_>) {
        let Address::Ip(who) = *datagram.from else {
            return;
        };
        let (bytes, before) = (datagram.bytes, Counts::of(&self.hub, cx));
        self.look_for_the_silent(cx.now());
        self.hub.on_datagram(datagram, cx);
        self.account(who, bytes, &before, cx);
        self.compare();
    }

    fn on_timer(&mut self, timer: TimerId, cx: &mut DatagramContext<'_>) {
        self.look_for_the_silent(cx.now());
        self.hub.on_timer(timer, cx);
        let (now, patience) = (cx.now(), self.limits.patience);
        self.heard
            .retain(|_, heard| now.saturating_duration_since(*heard) < patience);
        self.compare();
    }
}

/// A world with a hub, and those around it.
struct Cast {
    hub: Host,
    clients: Vec<Host>,
    limits: HubLimits,
    ledger: Shared,
}

impl Cast {
    fn open(&self, world: &mut World) {
        give_room(world, self.hub);
        let key = std::array::from_fn(|_| world.random().below(256) as u8);
        let shown = Shown {
            hub: Hub::new(&key, self.limits.clone()),
            limits: self.limits.clone(),
            heard: BTreeMap::new(),
            ledger: Rc::clone(&self.ledger),
        };
        self.ledger.borrow_mut().subscribed = 0;
        let bind = Bind::new(world.address(self.hub, PORT)).name("hub");
        world
            .reactor(self.hub)
            .bind(bind, shown)
            .expect("it is free");
    }

    fn join(&self, world: &mut World, client: usize) {
        let host = self.clients[client];
        give_room(world, host);
        let to = world.address(self.hub, PORT);
        let subscriber = Subscriber::new(client, to, &self.ledger);
        let bind = Bind::new(world.address(host, PORT)).name("subscriber");
        world
            .reactor(host)
            .bind(bind, subscriber)
            .expect("it is free");
    }

    /// One of the things that happen to hosts and to the paths between them.
    fn outage(&self, world: &mut World) -> Outcome {
        let client = world.random().below(self.clients.len());
        let host = self.clients[client];
        let wait = Duration::from_millis(world.random().below(15_000) as u64);
        match world.random().below(6) {
            0 => {
                stop_for(world, self.hub, wait)?;
                self.open(world);
            }
            1 => {
                stop_for(world, host, wait)?;
                self.ledger.borrow_mut().members[client].is_welcome = false;
                self.join(world, client);
            }
            2 => cut_for(world, self.hub, host, wait)?,
            3 => cut_one_way_for(world, self.hub, host, wait)?,
            other => {
                self.ledger.borrow_mut().is_late = true;
                match other {
                    4 => world.pause(self.hub, wait),
                    _ => world.jump(self.hub, wait),
                }
            }
        }
        Ok(())
    }
}

fn scenario(world: &mut World) -> Outcome {
    let has_outages = world.random().chance(0.5);
    if !has_outages && world.random().chance(0.5) {
        let faults = world.faults().without(Fault::LoseDatagram);
        world.set_faults(faults.without(Fault::RepeatDatagram));
    }
    let hub = world.host("hub");
    let clients: Vec<Host> = (0..2 + world.random().below(4))
        .map(|number| world.host(&format!("client{number}")))
        .collect();
    let stranger = world.host("stranger");
    let room = 1 + world.random().below(2 * clients.len());
    let limits = HubLimits {
        max_subscribers: room,
        patience: Duration::from_millis(5_000 + world.random().below(10_000) as u64),
        ..HubLimits::default()
    };
    let ledger = Ledger::new(clients.len(), world.address(stranger, PORT));
    let cast = Cast {
        hub,
        clients,
        limits,
        ledger,
    };
    cast.open(world);
    for client in 0..cast.clients.len() {
        cast.join(world, client);
    }
    give_room(world, stranger);
    let bind = Bind::new(world.address(stranger, PORT)).name("stranger");
    let to = world.address(hub, PORT);
    world
        .reactor(stranger)
        .bind(bind, Stranger::new(to, &cast.ledger))
        .expect("it is free");
    play(world, &cast, has_outages)
}

/// Everybody comes in, things happen, and everybody falls silent.
fn play(world: &mut World, cast: &Cast, has_outages: bool) -> Outcome {
    let ledger = &cast.ledger;
    let expected = cast.limits.max_subscribers.min(cast.clients.len());
    let all_in = |_: &mut World| ledger.borrow().welcome() >= expected;
    world.run_until(all_in, Duration::from_secs(3_600))?;
    ledger.borrow_mut().phase = Phase::Talk;
    if has_outages {
        for _ in 0..1 + world.random().below(4) {
            cast.outage(world)?;
            let pause = world.random().below(3_000) as u64;
            world.run_for(Duration::from_millis(pause))?;
        }
        // Whatever has happened: what is said then is heard again.
        world.run_for(cast.limits.patience + Duration::from_secs(20))?;
        let heard = ledger.borrow().heard;
        let is_heard = |_: &mut World| expected < 2 || ledger.borrow().heard > heard + 5;
        world.run_until(is_heard, Duration::from_secs(3_600))?;
    } else {
        let time = Duration::from_millis(world.random().below(10_000) as u64);
        world.run_for(time)?;
    }
    ledger.borrow_mut().phase = Phase::Silence;
    // What is under way arrives; then the silence is as long as the hub's patience.
    world.run_for(ON_THE_WAY)?;
    world.run_for(cast.limits.patience + LATE)?;
    let faults = world.faults();
    let copies = match faults.has(Fault::RepeatDatagram) {
        // Both what is published and what is relayed may come twice.
        true => 4,
        false => 1,
    };
    let is_clean = !has_outages && !faults.has(Fault::LoseDatagram) && copies == 1;
    let result = ledger.borrow().judge(copies, is_clean);
    world.require(result.is_ok(), result.err().unwrap_or_default())?;
    let left = ledger.borrow().subscribed;
    world.require(left == 0, format_args!("{left} silent ones are left"))
}

#[test]
fn what_is_published_is_heard_once_the_silent_are_forgotten_and_strangers_gain_nothing() {
    check(seeds(SEEDS), scenario);
}

const PORT: u16 = 7500;
/// Longer than anything is on its way.
const ON_THE_WAY: Duration = Duration::from_secs(2);
/// A tick of the wheel, and a millisecond of the poller.
const LATE: Duration = Duration::from_millis(2);
