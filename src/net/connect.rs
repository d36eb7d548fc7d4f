//! `Connect`: a connection to be opened: where to, how often to try, with which limits.
//!
//! A description only: it knows no socket.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use super::address::{Address, AddressError};
use super::options::StreamOptions;
use crate::limits::Limits;

/// Describes a connection that we open.
///
/// ```
/// use windlass::net::{Backoff, Connect};
///
/// let connect = Connect::to("127.0.0.1:5432")?.retry(Backoff::default());
/// # Ok::<(), windlass::net::AddressError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Connect {
    pub(crate) address: Address,
    pub(crate) from: Option<SocketAddr>,
    pub(crate) name: String,
    pub(crate) limits: Limits,
    pub(crate) options: StreamOptions,
    pub(crate) retry: Option<Backoff>,
    pub(crate) skip_when_slow: bool,
}

impl Connect {
    /// A connection to `address`, with defaults for everything else.
    pub fn new(address: impl Into<Address>) -> Connect {
        let address = address.into();
        Connect {
            name: format!("to {address}"),
            address,
            from: None,
            limits: Limits::default(),
            options: StreamOptions::default(),
            retry: None,
            skip_when_slow: false,
        }
    }

    /// As [`Connect::new`], from text; see [`Address`].
    ///
    /// # Errors
    /// The text is not an address.
    pub fn to(address: &str) -> Result<Connect, AddressError> {
        address.parse()
    }

    /// Where the connection leads.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The local address to connect from. Default: the OS chooses.
    #[must_use]
    pub fn from_addr(mut self, from: SocketAddr) -> Connect {
        self.from = Some(from);
        self
    }

    /// A name for logs and counters. Default: `to ADDRESS`. Connections with the same name share
    /// their counters.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Connect {
        self.name = name.into();
        self
    }

    /// The bounds of the connection; `Limits::connect_timeout` is for each attempt.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Connect {
        self.limits = limits;
        self
    }

    /// The socket options of the connection.
    #[must_use]
    pub fn options(mut self, options: StreamOptions) -> Connect {
        self.options = options;
        self
    }

    /// Tries again when an attempt fails. The token stays the same, what was sent to it stays
    /// queued, and the protocol hears of the last failure only.
    #[must_use]
    pub fn retry(mut self, backoff: Backoff) -> Connect {
        self.retry = Some(backoff);
        self
    }

    /// As `Listen::skip_when_slow`.
    #[must_use]
    pub fn skip_when_slow(mut self, skip: bool) -> Connect {
        self.skip_when_slow = skip;
        self
    }
}

impl FromStr for Connect {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Connect, AddressError> {
        Ok(Connect::new(text.parse::<Address>()?))
    }
}

impl From<Address> for Connect {
    fn from(address: Address) -> Connect {
        Connect::new(address)
    }
}

impl From<SocketAddr> for Connect {
    fn from(address: SocketAddr) -> Connect {
        Connect::new(address)
    }
}

impl TryFrom<&str> for Connect {
    type Error = AddressError;

    fn try_from(text: &str) -> Result<Connect, AddressError> {
        text.parse()
    }
}

/// How often, and after which waits, something is tried again: waits that double from `first` to
/// `max`, each shortened by up to a quarter so that many clients do not come back at once.
///
/// ```
/// use std::time::Duration;
/// use windlass::net::Backoff;
///
/// let backoff = Backoff { first: Duration::from_millis(100), ..Backoff::default() };
/// let wait = backoff.wait(3, 42).unwrap();
/// assert!(wait > Duration::from_millis(600) && wait <= Duration::from_millis(800));
/// assert_eq!(backoff.wait(backoff.attempts, 42), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure. Default 100 ms.
    pub first: Duration,
    /// The longest wait. Default 30 s.
    pub max: Duration,
    /// Further attempts after the first one. Default 10.
    pub attempts: u32,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff {
            first: Duration::from_millis(100),
            max: Duration::from_secs(30),
            attempts: 10,
        }
    }
}

impl Backoff {
    /// The wait before attempt `attempt` (0 is the first repetition), or `None` if there is to be
    /// no further one. `salt` varies it between clients; the same salt gives the same waits.
    pub fn wait(&self, attempt: u32, salt: u64) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let factor = 1_u32.checked_shl(attempt).unwrap_or(u32::MAX);
        let full = self.first.saturating_mul(factor).min(self.max);
        // SplitMix64's finaliser: any salt, even a small counter, gives well-spread bits.
        let mut bits = salt.wrapping_add(u64::from(attempt).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let shortened = (bits >> 32) as u32 / 4;
        Some(full - full.mul_f64(f64::from(shortened) / f64::from(u32::MAX)))
    }
}
