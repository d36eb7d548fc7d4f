//! `Hub`: clients subscribe and publish over UDP, and the hub tells everybody else.
//!
//! Knows neither sockets nor the reactor, and trusts no sender's address before it has proven
//! itself with a cookie.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::datagram::{Datagram, DatagramProtocol};
use super::datagram_context::DatagramContext;
use super::effects::TimerId;
use super::hub_message::{COOKIE_LEN, Cookie, HEADER_LEN, HubMessage};
use crate::limits::CENTURY;
use crate::net::Address;
use crate::rate::{Buckets, Rates};

/// Relays what each subscriber publishes to all others. See [`HubMessage`] for the wire.
///
/// It is of no use for attacks on third parties: until somebody has proven, by a cookie, that it
/// receives what is sent to its address, it is sent one datagram for each of its own, and none that
/// is longer. A cookie is HMAC-SHA-256 over the address and the time, so that the hub need not
/// remember to whom it gave one.
///
/// ```no_run
/// use windlass::Reactor;
/// use windlass::protocol::{Hub, HubLimits};
///
/// let mut key = [0; 32];
/// std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut key)?;
/// let mut reactor = Reactor::new()?;
/// reactor.bind("0.0.0.0:7500", Hub::new(&key, HubLimits::default()))?;
/// reactor.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Hub {
    mac: Hmac<Sha256>,
    limits: HubLimits,
    subscribers: BTreeMap<SocketAddr, Subscriber>,
    stats: HubStats,
    timer: Option<TimerId>,
    /// The message under way, as it is sent.
    scratch: Vec<u8>,
}

struct Subscriber {
    heard: Instant,
    rate: Buckets,
}

/// The bounds of a [`Hub`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubLimits {
    /// Subscribers at once; more are not welcomed, and counted. Default 1,024.
    pub max_subscribers: usize,
    /// Bytes of a message; longer ones are dropped and counted. Default 1,200, which fits into
    /// every packet.
    pub max_message: usize,
    /// Messages that each subscriber may publish in a second; more are dropped and counted.
    /// Default 100.
    pub messages_per_second: u32,
    /// Bytes of them. Default 64 KiB.
    pub bytes_per_second: u32,
    /// How long a subscriber may be silent before it is forgotten. Default 30 s.
    pub patience: Duration,
    /// How long a cookie is one. Default 60 s.
    pub cookie_lifetime: Duration,
}

impl Default for HubLimits {
    fn default() -> HubLimits {
        HubLimits {
            max_subscribers: 1024,
            max_message: 1200,
            messages_per_second: 100,
            bytes_per_second: 64 * 1024,
            patience: Duration::from_secs(30),
            cookie_lifetime: Duration::from_secs(60),
        }
    }
}

/// What a hub has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubStats {
    /// Messages taken from subscribers.
    pub published: u64,
    /// Datagrams sent because of them.
    pub relayed: u64,
    /// Messages of subscribers that published too fast.
    pub too_fast: u64,
    /// Messages that were too long.
    pub too_long: u64,
    /// Cookies that were none, or too old.
    pub bad_cookies: u64,
    /// Subscriptions for which there was no room.
    pub crowded: u64,
    /// Datagrams that are no messages to a hub.
    pub foreign: u64,
    /// Subscribers that were forgotten because they were silent.
    pub forgotten: u64,
}

impl Hub {
    /// A hub whose cookies are made with `key`: a random one, or a secret that several share.
    pub fn new(key: &[u8; 32], mut limits: HubLimits) -> Hub {
        limits.patience = limits.patience.min(CENTURY);
        // A key is filled up with zeros to the length of a block (RFC 2104, section 2).
        let mut block = [0; 64];
        block[..key.len()].copy_from_slice(key);
        Hub {
            mac: Hmac::new(&block.into()),
            limits,
            subscribers: BTreeMap::new(),
            stats: HubStats::default(),
            timer: None,
            scratch: Vec::new(),
        }
    }

    /// How many subscribers there are.
    pub fn subscribers(&self) -> usize {
        self.subscribers.len()
    }

    /// What it has done so far.
    pub fn stats(&self) -> HubStats {
        self.stats
    }

    /// The digest of an address at a time.
    fn mac(&self, of: SocketAddr, stamp: [u8; 4]) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(&stamp);
        mac.update(&of.port().to_be_bytes());
        match of.ip() {
            IpAddr::V4(ip) => mac.update(&ip.octets()),
            IpAddr::V6(ip) => mac.update(&ip.octets()),
        }
        mac
    }

    fn cookie(&self, of: SocketAddr, now: Duration) -> Cookie {
        // Seconds, of which 32 bits last until 2106 and then begin anew.
        let stamp = (now.as_secs() as u32).to_be_bytes();
        let digest = self.mac(of, stamp).finalize().into_bytes();
        let mut cookie = [0; COOKIE_LEN];
        cookie[..4].copy_from_slice(&stamp);
        cookie[4..].copy_from_slice(&digest[..COOKIE_LEN - 4]);
        cookie
    }

    /// Whether the cookie is one of this address, and not too old.
    fn is_confirmed(&mut self, of: SocketAddr, cookie: &Cookie, now: Duration) -> bool {
        let [a, b, c, d, digest @ ..] = cookie;
        let stamp = [*a, *b, *c, *d];
        let age = (now.as_secs() as u32).wrapping_sub(u32::from_be_bytes(stamp));
        // One from the future is as old as can be.
        let is_fresh = u64::from(age) <= self.limits.cookie_lifetime.as_secs();
        // The comparison takes the same time wherever they differ.
        let is_ours = self.mac(of, stamp).verify_truncated_left(digest).is_ok();
        if !(is_fresh && is_ours) {
            self.stats.bad_cookies += 1;
        }
        is_fresh && is_ours
    }

    fn subscribe(&mut self, who: SocketAddr, cx: &mut DatagramContext<'_>) {
        let now = cx.now();
        let is_known = self.subscribers.contains_key(&who);
        if !is_known && self.subscribers.len() >= self.limits.max_subscribers {
            self.stats.crowded += 1;
            return;
        }
        let rates = Rates {
            datagrams_per_second: self.limits.messages_per_second,
            bytes_per_second: self.limits.bytes_per_second,
            burst: Duration::from_secs(1),
        };
        let subscriber = self.subscribers.entry(who).or_insert_with(|| Subscriber {
            heard: now,
            rate: Buckets::new(rates, now),
        });
        subscriber.heard = now;
        let cookie = self.cookie(who, cx.unix_time());
        self.answer(&HubMessage::Welcome(cookie), cx);
        if self.timer.is_none() {
            self.timer = cx.set_timer(self.limits.patience);
        }
    }

    fn publish(&mut self, who: SocketAddr, payload: &[u8], cx: &mut DatagramContext<'_>) {
        let now = cx.now();
        if payload.len() > self.limits.max_message {
            self.stats.too_long += 1;
            return;
        }
        let Some(subscriber) = self.subscribers.get_mut(&who) else {
            return;
        };
        subscriber.heard = now;
        if !subscriber.rate.admits(now, payload.len()) {
            self.stats.too_fast += 1;
            return;
        }
        subscriber.rate.spend(now, payload.len());
        self.stats.published += 1;
        self.scratch.clear();
        HubMessage::Message(payload).append_to(&mut self.scratch);
        let others = self.subscribers.keys().filter(|other| **other != who);
        if self.scratch.len() < SHARED_MIN_LEN {
            for other in others {
                self.stats.relayed += 1;
                cx.send_to(*other, &self.scratch);
            }
        } else {
            let shared = Bytes::copy_from_slice(&self.scratch);
            for other in others {
                self.stats.relayed += 1;
                cx.send_shared_to(*other, shared.clone());
            }
        }
    }

    fn answer(&mut self, message: &HubMessage<'_>, cx: &mut DatagramContext<'_>) {
        self.scratch.clear();
        message.append_to(&mut self.scratch);
        cx.reply(&self.scratch);
    }
}

impl DatagramProtocol for Hub {
    fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut DatagramContext<'_>) {
        let Address::Ip(who) = datagram.from else {
            self.stats.foreign += 1;
            return;
        };
        let who = *who;
        if datagram.is_truncated() {
            self.stats.too_long += 1;
            return;
        }
        let now = cx.unix_time();
        match HubMessage::parse(datagram.bytes) {
            Some(HubMessage::Hello) => {
                let cookie = self.cookie(who, now);
                self.answer(&HubMessage::Challenge(cookie), cx);
            }
            Some(HubMessage::Subscribe(cookie)) => {
                if self.is_confirmed(who, &cookie, now) {
                    self.subscribe(who, cx);
                }
            }
            Some(HubMessage::Publish(cookie, payload)) => {
                if self.is_confirmed(who, &cookie, now) {
                    self.publish(who, payload, cx);
                }
            }
            Some(HubMessage::Leave(cookie)) => {
                if self.is_confirmed(who, &cookie, now) {
                    self.subscribers.remove(&who);
                }
            }
            Some(HubMessage::Challenge(_) | HubMessage::Welcome(_) | HubMessage::Message(_))
            | None => self.stats.foreign += 1,
        }
    }

    /// Somebody may have been silent for too long.
    fn on_timer(&mut self, _: TimerId, cx: &mut DatagramContext<'_>) {
        let now = cx.now();
        let patience = self.limits.patience;
        let before = self.subscribers.len();
        self.subscribers
            .retain(|_, subscriber| now.saturating_duration_since(subscriber.heard) < patience);
        self.stats.forgotten += (before - self.subscribers.len()) as u64;
        let first = self.subscribers.values().map(|subscriber| subscriber.heard);
        self.timer = first
            .min()
            .and_then(|first| cx.set_timer((first + patience).saturating_duration_since(now)));
    }
}

impl fmt::Debug for Hub {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("subscribers", &self.subscribers.len())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

/// From this length on, a message is shared by all who get it instead of copied for each.
const SHARED_MIN_LEN: usize = HEADER_LEN + 512;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_700_000_000);

    fn hub() -> Hub {
        Hub::new(&[7; 32], HubLimits::default())
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_cookie_is_good_for_its_address_for_its_time() {
        let mut hub = hub();
        let who = at("10.0.0.1:7");
        let cookie = hub.cookie(who, NOW);
        for seconds in [0, 60] {
            assert!(hub.is_confirmed(who, &cookie, NOW + Duration::from_secs(seconds)));
        }
        assert!(!hub.is_confirmed(who, &cookie, NOW + Duration::from_secs(61)));
        assert!(!hub.is_confirmed(who, &cookie, NOW - Duration::from_secs(1)));
        for other in ["10.0.0.1:8", "10.0.0.2:7", "[::ffff:10.0.0.1]:7"] {
            assert!(!hub.is_confirmed(at(other), &cookie, NOW), "{other}");
        }
        for byte in 0..COOKIE_LEN {
            let mut forged = cookie;
            forged[byte] ^= 1;
            assert!(!hub.is_confirmed(who, &forged, NOW), "byte {byte}");
        }
    }

    #[test]
    fn cookies_of_another_key_are_none() {
        let who = at("10.0.0.1:7");
        let cookie = Hub::new(&[8; 32], HubLimits::default()).cookie(who, NOW);
        assert!(!hub().is_confirmed(who, &cookie, NOW));
    }
}
