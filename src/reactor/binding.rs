//! What a reactor does with datagram sockets: opens them, and asks them.
//!
//! Knows no concrete protocol.

use bytes::Bytes;

use super::core::Command;
use super::datagram::DatagramEntry;
use super::stats::DatagramStats;
use super::{Error, Reactor};
use crate::close::CloseReason;
use crate::limits::Limits;
use crate::net::{Address, Bind, DatagramOptions, Membership, Network};
use crate::protocol::DatagramProtocol;
use crate::token::{Gone, Token};

impl<N: Network> Reactor<N> {
    /// Opens a datagram socket, served by `protocol`. `on` is an address (`"0.0.0.0:5353"`,
    /// `"unix:/run/x.sock"`, a `SocketAddr`) or a [`Bind`] with options, groups and limits.
    ///
    /// ```no_run
    /// use windlass::{Echo, Raw, Reactor};
    ///
    /// let mut reactor = Reactor::new()?;
    /// let echo = reactor.bind("127.0.0.1:7000", Echo::<Raw>::default())?;
    /// println!("listening on udp://{}", reactor.local_addr(echo)?);
    /// reactor.run()?;
    /// # Ok::<(), windlass::Error>(())
    /// ```
    ///
    /// # Errors
    /// The address is not one, or the OS refuses it, an option or a group.
    pub fn bind<B, P>(&mut self, on: B, protocol: P) -> Result<Token, Error>
    where
        B: TryInto<Bind>,
        Error: From<B::Error>,
        P: DatagramProtocol + 'static,
    {
        let bind: Bind = on.try_into()?;
        self.core.read_clock();
        let token = self.core.fx.intents.tokens.reserve();
        match self.core.network.bind(token, &bind) {
            Ok(socket) => {
                self.attach_datagram(token, socket, bind, protocol);
                self.apply();
                Ok(token)
            }
            Err(source) => {
                self.core.fx.intents.tokens.release(token);
                Err(Error::Bind {
                    address: bind.address.to_string(),
                    source,
                })
            }
        }
    }

    /// Opens a datagram socket under a token that was reserved for it.
    pub(super) fn open_datagram(
        &mut self,
        token: Token,
        bind: Bind,
        mut protocol: Box<dyn DatagramProtocol>,
    ) {
        let opened = if self.core.is_shutting_down {
            Err(CloseReason::Shutdown)
        } else {
            let opened = self.core.network.bind(token, &bind);
            opened.map_err(|error| CloseReason::from(&error))
        };
        match opened {
            Ok(socket) => self.attach_datagram(token, socket, bind, protocol),
            Err(reason) => {
                log::debug!("{}: not opened: {reason}", bind.name);
                self.not_opened(token, |cx| protocol.on_close(reason, cx));
            }
        }
    }

    fn attach_datagram<P: DatagramProtocol + 'static>(
        &mut self,
        token: Token,
        socket: N::Datagram,
        bind: Bind,
        protocol: P,
    ) {
        // Sockets of one name share their counters, as connections do.
        let service = self.service(&bind.name, &Limits::default(), false);
        let entry = DatagramEntry::new(protocol, socket, service, bind.limits, &self.core);
        self.attach(token, Box::new(entry));
    }

    /// Sends a datagram to an address, by one of our sockets.
    ///
    /// # Errors
    /// The socket is closed.
    pub fn send_datagram(
        &mut self,
        by: Token,
        to: impl Into<Address>,
        bytes: impl Into<Bytes>,
    ) -> Result<(), Gone> {
        self.command(by, Command::Datagram(to.into(), bytes.into()))
    }

    /// What a datagram socket has done so far.
    ///
    /// # Errors
    /// The socket is closed, or the token's entry is something else.
    pub fn datagram_stats(&self, token: Token) -> Result<DatagramStats, Error> {
        Ok(self.entry(token)?.datagram_stats(&self.core)?)
    }

    /// The options of a datagram socket, as the OS has them.
    ///
    /// # Errors
    /// The socket is closed, or the OS does not tell.
    pub fn datagram_options(&self, token: Token) -> Result<DatagramOptions, Error> {
        Ok(self.entry(token)?.datagram_options(&self.core)?)
    }

    /// Changes the options of a datagram socket; what is `None` stays as it is.
    ///
    /// # Errors
    /// The socket is closed, or the OS refused an option.
    pub fn set_datagram_options(
        &mut self,
        token: Token,
        options: &DatagramOptions,
    ) -> Result<(), Error> {
        self.entry(token)?;
        let entry = self.entries[token.index()].as_mut().ok_or(Gone)?;
        Ok(entry.set_datagram_options(options, &mut self.core)?)
    }

    /// Joins a multicast group.
    ///
    /// # Errors
    /// The socket is closed, or the OS refused; `InvalidInput` for what is no group.
    pub fn join(&mut self, token: Token, membership: &Membership) -> Result<(), Error> {
        self.change_membership(token, membership, true)
    }

    /// Leaves a multicast group.
    ///
    /// # Errors
    /// The socket is closed, or is no member.
    pub fn leave(&mut self, token: Token, membership: &Membership) -> Result<(), Error> {
        self.change_membership(token, membership, false)
    }

    fn change_membership(
        &mut self,
        token: Token,
        membership: &Membership,
        joins: bool,
    ) -> Result<(), Error> {
        self.entry(token)?;
        let entry = self.entries[token.index()].as_mut().ok_or(Gone)?;
        Ok(entry.change_membership(membership, joins, &mut self.core)?)
    }
}
