//! What a reactor can do on the operating system's network alone: adopt sockets, watch
//! descriptors, nest in a foreign loop.
//!
//! Knows the real network, but no poller: that is `net/os.rs`.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::service::Service;
use super::source::{Source, SourceEntry};
use super::stream::StreamEntry;
use super::{Config, Error, Reactor};
use crate::limits::Limits;
use crate::net::{Network, Os, OsStream};
use crate::protocol::IntoDriver;
use crate::token::Token;

impl Reactor<Os> {
    /// A reactor on the operating system's network.
    ///
    /// # Errors
    /// The OS refused to make a poller.
    pub fn new() -> Result<Reactor<Os>, Error> {
        Ok(Reactor::with_network(Os::new()?))
    }

    /// As [`Reactor::new`], with settings.
    ///
    /// # Errors
    /// The OS refused to make a poller.
    pub fn configured(config: Config) -> Result<Reactor<Os>, Error> {
        Ok(Reactor::with_config(Os::new()?, config))
    }

    /// Takes over a stream socket that somebody else has connected: a `TcpStream` or
    /// `UnixStream` of `std`, or any descriptor of one. Its options are left as they are.
    ///
    /// # Errors
    /// The OS refused to make it non-blocking, or to watch it.
    pub fn adopt<P: IntoDriver>(
        &mut self,
        name: &str,
        stream: impl Into<OwnedFd>,
        limits: &Limits,
        protocol: P,
    ) -> Result<Token, Error> {
        let mut stream = OsStream::adopt(stream.into())?;
        self.core.read_clock();
        let token = self.core.fx.intents.tokens.reserve();
        if let Err(error) = self.core.network.register(token, &mut stream) {
            self.core.fx.intents.tokens.release(token);
            return Err(error.into());
        }
        let service = self.service(name, limits, false);
        let driver = protocol.into_driver();
        let entry = StreamEntry::accepted(stream, driver, service, self.core.mark);
        self.attach(token, Box::new(entry));
        self.apply();
        Ok(token)
    }

    /// Watches a descriptor, or any other `mio` source, under a token of its own.
    ///
    /// # Errors
    /// The OS refused to watch it.
    pub fn add_source<S: Source + 'static>(
        &mut self,
        name: &str,
        source: S,
    ) -> Result<Token, Error> {
        self.core.read_clock();
        let token = self.core.fx.intents.tokens.reserve();
        let service = self.remember(Service::new(name.to_owned(), Limits::default()));
        let mut entry = SourceEntry::new(source, service);
        let interest = entry.source_mut().interest();
        let io = entry.source_mut().io();
        if let Err(error) = self.core.network.register_source(io, token, interest) {
            self.core.fx.intents.tokens.release(token);
            return Err(error.into());
        }
        self.attach(token, Box::new(entry));
        self.apply();
        Ok(token)
    }
}

/// The poller's own descriptor: it is readable when a turn has events to dispatch, so that the
/// reactor nests in another loop. That loop has to take a turn, with a timeout of zero, when it
/// is readable and at [`Reactor::next_deadline`].
impl AsFd for Reactor<Os> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.core.network.as_fd()
    }
}

impl AsRawFd for Reactor<Os> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
