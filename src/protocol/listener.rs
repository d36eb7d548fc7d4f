//! `Listener`: hears announcements, and knows who is there.
//!
//! Knows neither sockets nor the reactor. Whoever is heard may be forged: the table is bounded.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::time::{Duration, Instant};

use super::announcement::Announcement;
use super::datagram::{Datagram, DatagramProtocol};
use super::datagram_context::DatagramContext;
use super::effects::TimerId;
use crate::limits::CENTURY;
use crate::net::Address;

/// What a [`Listener`] has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sighting {
    /// Somebody new is there.
    Appeared(Sighted),
    /// Somebody has something else to say, or says it from elsewhere.
    Changed(Sighted),
    /// Somebody was not heard for too long.
    Expired(Sighted),
}

/// Somebody who was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighted {
    /// Who.
    pub id: u64,
    /// From where, for the last time: the last relay, if there was one.
    pub from: Address,
    /// What was said.
    pub payload: Vec<u8>,
    /// When, for the last time.
    pub heard: Instant,
}

/// What a listener has heard and not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerStats {
    /// Announcements that were taken.
    pub heard: u64,
    /// Announcements that had been heard already, or after a later one.
    pub repeated: u64,
    /// Our own.
    pub own: u64,
    /// Datagrams that are no announcements.
    pub foreign: u64,
    /// Announcements of somebody new for whom the table has no room.
    pub crowded: u64,
    /// Announcements that were passed on.
    pub relayed: u64,
}

/// Hears [`Announcement`]s. Own ones and repetitions are dropped, whoever is not heard for three of
/// the intervals that it announced has expired.
///
/// ```no_run
/// use windlass::Reactor;
/// use windlass::net::Bind;
/// use windlass::protocol::{Listener, Sighting};
///
/// let mut reactor = Reactor::new()?;
/// let listener = Listener::new(|sighting: &Sighting| println!("{sighting:?}"));
/// reactor.bind(Bind::on("0.0.0.0:7400")?.reuse_address(true), listener)?;
/// reactor.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Listener<F> {
    tell: F,
    own: Option<u64>,
    peers: BTreeMap<u64, Known>,
    max_peers: usize,
    patience: Duration,
    relay_to: Vec<Address>,
    stats: ListenerStats,
    /// Set for whoever expires first, or earlier.
    timer: Option<(TimerId, Instant)>,
}

struct Known {
    sighted: Sighted,
    sequence: u64,
    expires: Instant,
}

impl<F: FnMut(&Sighting)> Listener<F> {
    /// A listener that tells `tell` who comes and goes.
    pub fn new(tell: F) -> Listener<F> {
        Listener {
            tell,
            own: None,
            peers: BTreeMap::new(),
            max_peers: 1024,
            patience: Duration::from_secs(60),
            relay_to: Vec::new(),
            stats: ListenerStats::default(),
            timer: None,
        }
    }

    /// The `id` of our own announcer, which is not to be heard.
    #[must_use]
    pub fn own(mut self, id: u64) -> Listener<F> {
        self.own = Some(id);
        self
    }

    /// How many are known at most; more are not heard, and counted. Default 1,024.
    #[must_use]
    pub fn max_peers(mut self, max: usize) -> Listener<F> {
        self.max_peers = max;
        self
    }

    /// How long somebody is remembered who does not say when it will be heard again, and anybody
    /// at most. Default 60 s.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Listener<F> {
        self.patience = patience.min(CENTURY);
        self
    }

    /// Passes on what is new to this address, for as many hops as it has left: to another network,
    /// usually. Loops end by themselves, since nothing is passed on twice.
    #[must_use]
    pub fn relay_to(mut self, address: impl Into<Address>) -> Listener<F> {
        self.relay_to.push(address.into());
        self
    }

    /// Who is there, in the order of their numbers.
    pub fn peers(&self) -> impl Iterator<Item = &Sighted> + '_ {
        self.peers.values().map(|known| &known.sighted)
    }

    /// What was heard so far.
    pub fn stats(&self) -> ListenerStats {
        self.stats
    }

    /// Takes an announcement. Answers when its sender expires, unless it was nothing new.
    fn on_announcement(
        &mut self,
        heard: &Announcement<'_>,
        from: &Address,
        now: Instant,
    ) -> Option<Instant> {
        if self.own == Some(heard.sender) {
            self.stats.own += 1;
            return None;
        }
        // Three intervals: two announcements may be lost.
        let patience = match heard.interval {
            Duration::ZERO => self.patience,
            interval => (interval * 3).min(self.patience),
        };
        let expires = now + patience;
        let is_full = self.peers.len() >= self.max_peers;
        match self.peers.entry(heard.sender) {
            Entry::Vacant(_) if is_full => {
                self.stats.crowded += 1;
                return None;
            }
            Entry::Vacant(vacant) => {
                let known = vacant.insert(Known {
                    sighted: Sighted {
                        id: heard.sender,
                        from: from.clone(),
                        payload: heard.payload.to_vec(),
                        heard: now,
                    },
                    sequence: heard.sequence,
                    expires,
                });
                (self.tell)(&Sighting::Appeared(known.sighted.clone()));
            }
            Entry::Occupied(mut occupied) => {
                let known = occupied.get_mut();
                if heard.sequence <= known.sequence {
                    self.stats.repeated += 1;
                    return None;
                }
                known.sequence = heard.sequence;
                known.expires = expires;
                known.sighted.heard = now;
                let is_other = known.sighted.from != *from;
                if is_other || known.sighted.payload != heard.payload {
                    known.sighted.from = from.clone();
                    known.sighted.payload = heard.payload.to_vec();
                    (self.tell)(&Sighting::Changed(known.sighted.clone()));
                }
            }
        }
        self.stats.heard += 1;
        Some(expires)
    }

    fn relay(&mut self, heard: &Announcement<'_>, cx: &mut DatagramContext<'_>) {
        let Some(hops) = heard.hops.checked_sub(1) else {
            return;
        };
        let bytes = Announcement { hops, ..*heard }.to_bytes();
        for to in &self.relay_to {
            self.stats.relayed += 1;
            cx.send_to(to, &bytes);
        }
    }

    /// Sees to it that the timer is due by then.
    fn arm(&mut self, by: Instant, cx: &mut DatagramContext<'_>) {
        match self.timer {
            Some((_, due)) if due <= by => return,
            Some((timer, _)) => cx.cancel_timer(timer),
            None => {}
        }
        let after = by.saturating_duration_since(cx.now());
        self.timer = cx.set_timer(after).map(|timer| (timer, by));
    }
}

impl<F: FnMut(&Sighting)> DatagramProtocol for Listener<F> {
    fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut DatagramContext<'_>) {
        let Ok(heard) = Announcement::parse(datagram.bytes) else {
            self.stats.foreign += 1;
            return;
        };
        let is_long = heard.payload.len() > Announcement::MAX_PAYLOAD_LEN;
        if datagram.is_truncated() || is_long {
            self.stats.foreign += 1;
            return;
        }
        if let Some(expires) = self.on_announcement(&heard, datagram.from, cx.now()) {
            self.relay(&heard, cx);
            self.arm(expires, cx);
        }
    }

    /// Somebody has expired, or was heard again since the timer was set.
    fn on_timer(&mut self, _: TimerId, cx: &mut DatagramContext<'_>) {
        self.timer = None;
        let now = cx.now();
        let tell = &mut self.tell;
        self.peers.retain(|_, known| {
            let is_there = known.expires > now;
            if !is_there {
                tell(&Sighting::Expired(known.sighted.clone()));
            }
            is_there
        });
        if let Some(first) = self.peers.values().map(|known| known.expires).min() {
            self.arm(first, cx);
        }
    }
}

impl<F> fmt::Debug for Listener<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("peers", &self.peers.len())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}
