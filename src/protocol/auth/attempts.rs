//! `Attempts`: how often an address may try.
//!
//! Knows addresses and time as it is told, and nothing of what is tried.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::net::Address;
use crate::rate::{Buckets, Rates};

/// Limits how often each address may try to prove who it is. A clone is another handle on the same.
///
/// An IPv6 address counts with its network of 64 bits, which is what one customer has. Addresses
/// are remembered until they may try as often as in the beginning, and no more than
/// [`AttemptLimits::max_addresses`] of them: those for which there is no room share one allowance.
/// Peers without an IP address (Unix sockets) share one, too.
///
/// ```
/// use windlass::net::Address;
/// use windlass::protocol::auth::{AttemptLimits, Attempts};
///
/// let attempts = Attempts::new(AttemptLimits { burst: 2, ..AttemptLimits::default() });
/// # #[allow(clippy::disallowed_methods)]
/// let now = std::time::Instant::now();
/// let address = Address::Ip("192.0.2.1:4711".parse()?);
/// assert!(attempts.admit(&address, now) && attempts.admit(&address, now));
/// assert!(!attempts.admit(&address, now));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone)]
pub struct Attempts {
    // Borrowed within single calls that call nobody.
    table: Rc<RefCell<Table>>,
}

/// The bounds of [`Attempts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptLimits {
    /// Attempts of an address in a second, in the long run; at least 1 counts. Default 1.
    pub per_second: u32,
    /// Attempts of an address at once, after a silence; at least 1 counts. Default 10.
    pub burst: u32,
    /// Addresses that are remembered. Default 4,096, which take 0.5 to 0.7 MiB.
    pub max_addresses: usize,
}

impl Default for AttemptLimits {
    fn default() -> AttemptLimits {
        AttemptLimits {
            per_second: 1,
            burst: 10,
            max_addresses: 4096,
        }
    }
}

struct Table {
    limits: AttemptLimits,
    addresses: BTreeMap<IpAddr, Buckets>,
    /// Of all those for whom there is no room.
    others: Option<Buckets>,
    /// When those that need not be remembered were last looked for.
    swept: Option<Instant>,
    refused: u64,
}

impl Attempts {
    /// Limits as given.
    pub fn new(limits: AttemptLimits) -> Attempts {
        let table = Table {
            limits,
            addresses: BTreeMap::new(),
            others: None,
            swept: None,
            refused: 0,
        };
        Attempts {
            table: Rc::new(RefCell::new(table)),
        }
    }

    /// Whether `address` may try now; if so, that is counted as an attempt.
    #[must_use]
    pub fn admit(&self, address: &Address, now: Instant) -> bool {
        self.table.borrow_mut().admit(address, now)
    }

    /// Attempts that were not admitted so far.
    pub fn refused(&self) -> u64 {
        self.table.borrow().refused
    }

    /// Addresses that are remembered now.
    pub fn addresses(&self) -> usize {
        self.table.borrow().addresses.len()
    }
}

impl Default for Attempts {
    fn default() -> Attempts {
        Attempts::new(AttemptLimits::default())
    }
}

impl fmt::Debug for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempts")
            .field("addresses", &self.addresses())
            .field("refused", &self.refused())
            .finish_non_exhaustive()
    }
}

impl Table {
    fn admit(&mut self, address: &Address, now: Instant) -> bool {
        let rates = rates(self.limits);
        let fresh = || Buckets::new(rates, now);
        let key = address.as_ip().map(|address| network(address.ip()));
        let is_known = key.is_some_and(|key| self.addresses.contains_key(&key));
        if !is_known && self.addresses.len() >= self.limits.max_addresses {
            self.sweep(now);
        }
        let has_room = self.addresses.len() < self.limits.max_addresses;
        let buckets = match key {
            Some(key) if is_known || has_room => self.addresses.entry(key).or_insert_with(fresh),
            _ => self.others.get_or_insert_with(fresh),
        };
        let is_admitted = buckets.admits(now, 0);
        if is_admitted {
            buckets.spend(now, 0);
        } else {
            self.refused += 1;
        }
        is_admitted
    }

    /// Forgets those whose allowance is whole again. At most once a second, because it looks at
    /// all of them.
    fn sweep(&mut self, now: Instant) {
        let is_early = self
            .swept
            .is_some_and(|swept| now.saturating_duration_since(swept) < SWEEP_PERIOD);
        if !is_early {
            self.swept = Some(now);
            self.addresses.retain(|_, buckets| !buckets.is_rested(now));
        }
    }
}

fn rates(limits: AttemptLimits) -> Rates {
    let per_second = limits.per_second.max(1);
    let burst = Duration::from_secs(limits.burst.max(1).into()) / per_second;
    Rates {
        datagrams_per_second: per_second,
        bytes_per_second: 0,
        burst,
    }
}

/// What one customer has.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let bits = address.to_bits() & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
    }
}

const SWEEP_PERIOD: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        #[expect(
            clippy::disallowed_methods,
            reason = "an Instant is made in no other way"
        )]
        Instant::now()
    }

    fn at(text: &str) -> Address {
        Address::Ip(text.parse().expect("an address"))
    }

    fn passed(attempts: &Attempts, address: &Address, now: Instant) -> usize {
        (0..1000).filter(|_| attempts.admit(address, now)).count()
    }

    #[test]
    fn each_address_has_a_burst_and_then_its_rate() {
        let (attempts, now) = (Attempts::default(), start());
        let (anne, bert) = (at("192.0.2.1:1"), at("192.0.2.2:1"));
        assert_eq!(passed(&attempts, &anne, now), 10);
        assert_eq!(passed(&attempts, &bert, now), 10, "another one's");
        assert_eq!(passed(&attempts, &at("192.0.2.1:2"), now), 0, "the port");
        assert_eq!(passed(&attempts, &anne, now + Duration::from_secs(3)), 3);
        assert_eq!(passed(&attempts, &anne, now + Duration::from_secs(60)), 10);
        assert_eq!(attempts.refused(), 990 + 990 + 1000 + 997 + 990);
    }

    #[test]
    fn a_network_of_64_bits_and_a_mapped_address_are_one() {
        let (attempts, now) = (Attempts::default(), start());
        assert_eq!(passed(&attempts, &at("[2001:db8::1]:1"), now), 10);
        assert_eq!(passed(&attempts, &at("[2001:db8::ffff:0:0:2]:1"), now), 0);
        assert_eq!(passed(&attempts, &at("[2001:db8:0:1::1]:1"), now), 10);
        assert_eq!(passed(&attempts, &at("192.0.2.1:1"), now), 10);
        assert_eq!(passed(&attempts, &at("[::ffff:192.0.2.1]:1"), now), 0);
    }

    #[test]
    fn memory_is_bounded_and_who_finds_no_room_shares() {
        let limits = AttemptLimits {
            max_addresses: 3,
            ..AttemptLimits::default()
        };
        let (attempts, now) = (Attempts::new(limits), start());
        let others: usize = (0..100)
            .map(|n| passed(&attempts, &at(&format!("10.0.0.{n}:1")), now))
            .sum();
        assert_eq!(others, 3 * 10 + 10);
        assert_eq!(attempts.addresses(), 3);
        // Once they have been silent for long enough there is room again.
        let later = now + Duration::from_secs(11);
        assert_eq!(passed(&attempts, &at("10.0.1.1:1"), later), 10);
        assert_eq!(attempts.addresses(), 1);
    }

    #[test]
    fn peers_without_an_address_share_an_allowance() {
        let (attempts, now) = (Attempts::default(), start());
        assert_eq!(passed(&attempts, &Address::Unnamed, now), 10);
        assert_eq!(passed(&attempts, &Address::Unnamed, now), 0);
        assert_eq!(attempts.addresses(), 0);
    }
}
