//! `Connect`: a connection to be opened: where to, how often to try, with which limits.
//!
//! A description only: it knows no socket.

use std::net::SocketAddr;
use std::time::Duration;

use super::address::{Address, AddressError, from_address};
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
    pub(crate) after: Duration,
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
            after: Duration::ZERO,
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

    /// Waits so long, and never less, before the first attempt. Default: not at all.
    ///
    /// [`Connect::retry`] is for attempts that fail. A connection that was made and then lost is
    /// opened anew by its protocol, in `on_close`; whoever does so without a wait keeps a server
    /// that closes at once, and himself, busy.
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use windlass::net::{Backoff, Connect};
    /// use windlass::{CloseReason, Context, Intents, Lines, Protocol};
    ///
    /// struct Client {
    ///     server: SocketAddr,
    ///     /// Connections that came to nothing, in a row.
    ///     failed: u32,
    /// }
    ///
    /// impl Protocol for Client {
    ///     type Decoder = Lines;
    ///     type Encoder = Lines;
    ///
    ///     fn on_frame(&mut self, _: &[u8], _: &mut Context<'_, Lines>) {
    ///         self.failed = 0;
    ///     }
    ///
    ///     fn on_close(&mut self, reason: CloseReason, cx: &mut Intents) {
    ///         let salt = u64::from(cx.token().generation());
    ///         let wait = Backoff::default().wait(self.failed, salt);
    ///         if let (Some(wait), false) = (wait, reason == CloseReason::Shutdown) {
    ///             let Client { server, failed } = *self;
    ///             let again = Client { server, failed: failed + 1 };
    ///             cx.connect(Connect::new(server).after(wait), again);
    ///         }
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Connect {
        self.after = wait;
        self
    }

    /// Tries again when an attempt fails. The token stays the same, what was sent to it stays
    /// queued, and the protocol hears of the last failure only. What becomes of a connection once
    /// it is made is no failure of an attempt: see [`Connect::after`].
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

from_address!(Connect);

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
