//! `World`: what a `Memory` consists of: ends of connections, listeners, events that wait to be
//! polled, and the time.
//!
//! Knows neither who drives it nor handles: ends and ports are indices, each with one owner.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use slab::Slab;

use super::address::Address;
use super::bind::Bind;
use super::listen::Listen;
use super::options::StreamOptions;
use super::post::Post;
use super::socket::ECONNREFUSED;
use super::{Readiness, Ready};
use crate::token::Token;

#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) elapsed: Duration,
    pub(super) ends: Slab<End>,
    pub(super) ports: Slab<Port>,
    /// At most one for each token: later ones are merged into it.
    pub(super) events: Vec<Ready>,
    pub(super) post: Post,
    /// How many free port numbers were given out.
    free_ports: u16,
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct End {
    pub(super) local: Address,
    pub(super) remote: Address,
    pub(super) options: StreamOptions,
    /// What has arrived and was not read.
    pub(super) inbound: VecDeque<u8>,
    /// How much of it there may be, bytes.
    capacity: usize,
    /// The FIN of the other end has arrived.
    pub(super) is_finished: bool,
    /// We have sent ours.
    has_finished: bool,
    link: Link,
    /// Who hears of events; nobody, if the end is a test's.
    token: Option<Token>,
    /// The next byte to arrive is an event.
    wants_read: bool,
    /// The next room to write is an event.
    wants_write: bool,
}

/// What an end is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// The end with this index.
    Up(usize),
    /// To nothing any more: the other end was closed, after its FIN.
    Closed,
    /// To nothing: the connection was reset.
    Reset,
    /// To nothing: there never was a connection.
    Refused,
}

/// A listener.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) address: Address,
    backlog: VecDeque<usize>,
    max_backlog: usize,
    token: Option<Token>,
    /// The next connection is an event.
    wants_accept: bool,
}

/// Of each end until a test says otherwise.
const CAPACITY: usize = 64 * 1024;
/// The first of the ports for those who do not care (RFC 6335, section 6).
const FIRST_FREE_PORT: u16 = 49_152;

const BROKEN: Readiness = Readiness::READABLE
    .or(Readiness::WRITABLE)
    .or(Readiness::READ_CLOSED)
    .or(Readiness::WRITE_CLOSED)
    .or(Readiness::ERROR);

impl World {
    pub(super) fn listen(&mut self, token: Option<Token>, listen: &Listen) -> io::Result<usize> {
        let address = match &listen.address {
            Address::Unnamed => return Err(ErrorKind::InvalidInput.into()),
            Address::Ip(address) => Address::Ip(self.with_port(*address)),
            address => address.clone(),
        };
        if self.ports.iter().any(|(_, port)| port.address == address) {
            return Err(ErrorKind::AddrInUse.into());
        }
        Ok(self.ports.insert(Port {
            address,
            backlog: VecDeque::new(),
            max_backlog: listen.backlog as usize,
            token,
            wants_accept: true,
        }))
    }

    /// Takes a connection out of a listener's backlog.
    pub(super) fn accept(&mut self, port: usize) -> io::Result<usize> {
        let port = &mut self.ports[port];
        port.backlog.pop_front().ok_or_else(|| {
            port.wants_accept = true;
            ErrorKind::WouldBlock.into()
        })
    }

    pub(super) fn close_listener(&mut self, port: usize) {
        let port = self.ports.remove(port);
        self.forget(port.token);
        for end in port.backlog {
            self.close(end, true);
        }
    }

    /// Connects to whoever listens at `address`, and answers our end.
    pub(super) fn connect(
        &mut self,
        address: &Address,
        from: Option<SocketAddr>,
        options: &StreamOptions,
    ) -> io::Result<usize> {
        let local = match (address, from) {
            (Address::Unnamed, _) => return Err(ErrorKind::InvalidInput.into()),
            (_, Some(from)) => Address::Ip(self.with_port(from)),
            (Address::Ip(to), None) => Address::Ip(self.with_port((to.ip(), 0).into())),
            (Address::Unix(_) | Address::Abstract(_), None) => Address::Unnamed,
        };
        let mut ports = self.ports.iter_mut();
        let Some((_, port)) = ports.find(|(_, port)| port.address == *address) else {
            return Err(io::Error::from_raw_os_error(ECONNREFUSED));
        };
        if port.backlog.len() >= port.max_backlog {
            return Err(io::Error::from_raw_os_error(ECONNREFUSED));
        }
        let theirs = End::new(address.clone(), local.clone(), options, Link::Closed);
        let theirs = self.ends.insert(theirs);
        let ours = End::new(local, address.clone(), options, Link::Up(theirs));
        let ours = self.ends.insert(ours);
        self.ends[theirs].link = Link::Up(ours);

        port.backlog.push_back(theirs);
        if std::mem::take(&mut port.wants_accept) {
            let token = port.token;
            self.tell(token, Readiness::READABLE);
        }
        Ok(ours)
    }

    /// An end whose connection was refused.
    pub(super) fn refused(&mut self, address: &Address, options: &StreamOptions) -> usize {
        let end = End::new(Address::Unnamed, address.clone(), options, Link::Refused);
        self.ends.insert(end)
    }

    /// Events of the end go to `token` from now on; the first tells how things stand.
    pub(super) fn register(&mut self, token: Token, end: usize) {
        let state = &mut self.ends[end];
        state.token = Some(token);
        let mut readiness = Readiness::WRITABLE;
        state.wants_read = state.inbound.is_empty();
        if !state.wants_read {
            readiness = readiness.or(Readiness::READABLE);
        }
        if state.is_finished {
            readiness = readiness.or(Readiness::READABLE).or(Readiness::READ_CLOSED);
        }
        if matches!(state.link, Link::Reset | Link::Refused) {
            readiness = BROKEN;
        }
        self.tell(Some(token), readiness);
    }

    /// Whether the connection has broken.
    pub(super) fn check(&self, end: usize) -> io::Result<()> {
        match self.ends[end].link {
            Link::Up(_) | Link::Closed => Ok(()),
            Link::Reset => Err(ErrorKind::ConnectionReset.into()),
            Link::Refused => Err(io::Error::from_raw_os_error(ECONNREFUSED)),
        }
    }

    pub(super) fn read(&mut self, end: usize, buf: &mut [u8]) -> io::Result<usize> {
        self.check(end)?;
        let state = &mut self.ends[end];
        let count = buf.len().min(state.inbound.len());
        for (to, byte) in buf.iter_mut().zip(state.inbound.drain(..count)) {
            *to = byte;
        }
        state.wants_read = count < buf.len();
        if count == 0 && !buf.is_empty() && !state.is_finished {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.make_room(end);
        Ok(count)
    }

    pub(super) fn write(&mut self, end: usize, bytes: &[u8]) -> io::Result<usize> {
        self.check(end)?;
        if self.ends[end].has_finished {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let Link::Up(other) = self.ends[end].link else {
            // The kernel takes the bytes, and learns from the answer that nobody wants them.
            self.break_off(end);
            return Ok(bytes.len());
        };
        let theirs = &mut self.ends[other];
        let count = bytes.len().min(theirs.room());
        if count == 0 && !bytes.is_empty() {
            self.ends[end].wants_write = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        theirs.inbound.extend(&bytes[..count]);
        if std::mem::take(&mut theirs.wants_read) {
            let token = theirs.token;
            self.tell(token, Readiness::READABLE);
        }
        Ok(count)
    }

    /// Opens a datagram socket.
    pub(super) fn bind(&mut self, token: Option<Token>, bind: &Bind) -> io::Result<usize> {
        let address = match &bind.address {
            Address::Ip(address) => Address::Ip(self.with_port(*address)),
            address => address.clone(),
        };
        let socket = self.post.bind(token, address, bind);
        self.collect_post();
        socket
    }

    /// Closes a datagram socket and forgets it.
    pub(super) fn close_datagram(&mut self, socket: usize) {
        let token = self.post.sockets[socket].token;
        self.post.close(socket);
        self.forget(token);
    }

    /// Queues what datagram sockets have become ready for.
    pub(super) fn collect_post(&mut self) {
        let mut events = std::mem::take(&mut self.post.events);
        for (token, readiness) in events.drain(..) {
            self.tell(Some(token), readiness);
        }
        self.post.events = events;
    }

    /// Sends the FIN of an end.
    pub(super) fn finish(&mut self, end: usize) -> io::Result<()> {
        self.check(end)?;
        if std::mem::replace(&mut self.ends[end].has_finished, true) {
            return Ok(());
        }
        if let Link::Up(other) = self.ends[end].link {
            let theirs = &mut self.ends[other];
            theirs.is_finished = true;
            let token = theirs.token;
            self.tell(token, Readiness::READABLE.or(Readiness::READ_CLOSED));
        }
        Ok(())
    }

    /// Breaks the connection of an end, on both sides.
    pub(super) fn reset(&mut self, end: usize) {
        if let Link::Up(other) = self.ends[end].link {
            self.break_off(other);
        }
        self.break_off(end);
    }

    /// Closes an end and forgets it.
    pub(super) fn close(&mut self, end: usize, reset: bool) {
        let end = self.ends.remove(end);
        self.forget(end.token);
        let Link::Up(other) = end.link else { return };
        if reset || !end.inbound.is_empty() {
            self.break_off(other);
            return;
        }
        let theirs = &mut self.ends[other];
        theirs.is_finished = true;
        theirs.link = Link::Closed;
        // Whoever waits for room waits no longer: the next write tells that nobody reads.
        theirs.wants_write = false;
        let token = theirs.token;
        let readiness = Readiness::READABLE.or(Readiness::WRITABLE);
        self.tell(token, readiness.or(Readiness::READ_CLOSED));
    }

    /// Sets how much both ends of a connection hold.
    pub(super) fn set_capacity(&mut self, end: usize, capacity: usize) {
        self.ends[end].capacity = capacity;
        self.make_room(end);
        if let Link::Up(other) = self.ends[end].link {
            self.ends[other].capacity = capacity;
            self.make_room(other);
        }
    }

    /// Tells the other end that it may write to this one, if that is so and it wants to know.
    fn make_room(&mut self, end: usize) {
        let state = &self.ends[end];
        let Link::Up(other) = state.link else { return };
        if state.room() > 0 && std::mem::take(&mut self.ends[other].wants_write) {
            let token = self.ends[other].token;
            self.tell(token, Readiness::WRITABLE);
        }
    }

    /// A RST arrives. What was not read is lost (RFC 9293, section 3.10.7.4).
    fn break_off(&mut self, end: usize) {
        let state = &mut self.ends[end];
        if matches!(state.link, Link::Reset | Link::Refused) {
            return;
        }
        state.link = Link::Reset;
        state.inbound.clear();
        let token = state.token;
        self.tell(token, BROKEN);
    }

    /// Queues an event, if anybody hears it.
    fn tell(&mut self, token: Option<Token>, readiness: Readiness) {
        let Some(token) = token else { return };
        match self.events.iter_mut().find(|event| event.token == token) {
            Some(event) => event.readiness = event.readiness.or(readiness),
            None => self.events.push(Ready { token, readiness }),
        }
    }

    /// Drops the events of something that is closed.
    fn forget(&mut self, token: Option<Token>) {
        self.events.retain(|event| Some(event.token) != token);
    }

    /// The address, with a free port if it has none.
    fn with_port(&mut self, mut address: SocketAddr) -> SocketAddr {
        if address.port() == 0 {
            let range = u16::MAX - FIRST_FREE_PORT;
            address.set_port(FIRST_FREE_PORT + self.free_ports % range);
            self.free_ports = self.free_ports.wrapping_add(1);
        }
        address
    }
}

impl End {
    fn new(local: Address, remote: Address, options: &StreamOptions, link: Link) -> End {
        End {
            local,
            remote,
            options: options.clone(),
            inbound: VecDeque::new(),
            capacity: CAPACITY,
            is_finished: false,
            has_finished: false,
            link,
            token: None,
            wants_read: true,
            wants_write: false,
        }
    }

    /// How much may arrive still.
    fn room(&self) -> usize {
        self.capacity.saturating_sub(self.inbound.len())
    }
}
