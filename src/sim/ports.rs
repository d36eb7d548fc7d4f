//! Simulated listeners and attempts to connect: backlogs, refusals, lost attempts, and accepting.
//!
//! Knows ends, ports and the agenda; what happens on a connection that is made is `streams.rs`.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use super::agenda::{EndId, Happening};
use super::end::{Ear, End, Link, Pipe, Port, Service, Stage, Wrote};
use super::errno;
use super::fabric::{Fabric, Listener};
use super::trace::What;
use crate::net::{Address, Connect, Listen, Readiness};
use crate::token::Token;

impl Fabric {
    pub(super) fn listen(
        &mut self,
        host: usize,
        token: Token,
        listen: &Listen,
    ) -> io::Result<(usize, u32)> {
        if listen.inherited.is_some() {
            return Err(ErrorKind::Unsupported.into());
        }
        let address = self.address_here(host, &listen.address)?;
        let is_taken = |port: &Port| port.host == host && port.address == address;
        if self.ports.iter().any(|(_, port)| is_taken(port)) {
            return Err(ErrorKind::AddrInUse.into());
        }
        self.take_socket(host)?;
        let serial = self.serial();
        let max_live = listen.admission.max_connections;
        let port = self.ports.insert(Port {
            serial,
            host,
            address,
            token,
            service: Rc::new(Service {
                name: listen.name.clone(),
                limits: listen.limits.clone(),
            }),
            backlog: VecDeque::new(),
            max_backlog: (listen.backlog as usize).max(1),
            ear: Ear {
                wants_read: true,
                ..Ear::DEAF
            },
            live: 0,
            resume_at: max_live - (max_live / 16).max(1).min(max_live),
            is_exhausted: false,
        });
        self.log(host, Some(token), What::Listen, 0);
        Ok((port, serial))
    }

    pub(super) fn accept(&mut self, port_key: usize) -> io::Result<EndId> {
        let port = &mut self.ports[port_key];
        let (host, token) = (port.host, Some(port.token));
        self.hosts[host].last_token = token;
        self.hosts[host].last_service = Some(port.service.clone());
        port.is_exhausted = false;
        let is_refused = self.random.chance(self.faults.would_block);
        let port = &mut self.ports[port_key];
        if port.backlog.is_empty() || is_refused {
            port.ear.wants_read = true;
            if !port.backlog.is_empty() {
                let serial = port.serial;
                let wait = self.random.duration(&self.faults.event_delay);
                let happening = Happening::TellListener {
                    port: port_key,
                    serial,
                };
                let ear = &mut self.ports[port_key].ear;
                ear.wants_read = false;
                if !std::mem::replace(&mut ear.is_listed, true) {
                    ear.pending = Readiness::READABLE;
                    self.agenda.push(self.now + wait, happening);
                }
            }
            return Err(ErrorKind::WouldBlock.into());
        }
        if self.hosts[host].sockets >= self.hosts[host].max_sockets
            || self.random.chance(self.faults.exhaust)
        {
            self.ports[port_key].is_exhausted = true;
            let error = errno::TOO_MANY_FILES;
            self.log(host, token, What::AcceptFailed, error as u64);
            return Err(errno::error(error));
        }
        let id = self.ports[port_key].backlog.pop_front();
        let id = id.expect("the backlog was just seen not to be empty");
        self.hosts[host].progress += 1;
        if self.random.chance(self.faults.abort_accept) {
            self.hosts[host].sockets += 1;
            self.close(id, true);
            self.log(host, token, What::AcceptFailed, errno::ABORTED as u64);
            return Err(errno::error(errno::ABORTED));
        }
        self.take_socket(host)?;
        let port = &mut self.ports[port_key];
        port.live += 1;
        let serial = port.serial;
        self.ends[id.key as usize].port = Some((port_key, serial));
        self.log(host, token, What::Accept, u64::from(id.serial));
        Ok(id)
    }

    pub(super) fn register(&mut self, token: Token, id: EndId) {
        let (host, _) = self.touch(id);
        self.ends[id.key as usize].token = Some(token);
        self.log(host, Some(token), What::Register, u64::from(id.serial));
        self.begin_hearing(id);
    }

    pub(super) fn close_listener(&mut self, port: usize) {
        let port = self.ports.remove(port);
        self.log(port.host, Some(port.token), What::CloseListener, 0);
        self.hosts[port.host].sockets -= 1;
        for id in port.backlog {
            if self.end(id).is_some() {
                self.hosts[port.host].sockets += 1;
                self.close(id, true);
            }
        }
    }

    /// Begins to connect.
    pub(super) fn connect(
        &mut self,
        host: usize,
        token: Token,
        connect: &Connect,
    ) -> io::Result<EndId> {
        let (local, remote_host) = match &connect.address {
            Address::Ip(address) => {
                let from = connect.from.map_or(0, |from| from.port());
                let local = SocketAddr::new(ip_of(host), self.port_or_free(host, from));
                (Address::Ip(local), self.host_at(host, address.ip()))
            }
            Address::Unix(_) | Address::Abstract(_) => (Address::Unnamed, Some(host)),
            _ => return Err(ErrorKind::InvalidInput.into()),
        };
        self.take_socket(host)?;
        let service = Rc::new(Service {
            name: connect.name.clone(),
            limits: connect.limits.clone(),
        });
        let remote_host = remote_host.unwrap_or(NOWHERE);
        let id = self.add_end(End {
            remote_host,
            options: connect.options.clone(),
            token: Some(token),
            ..self.new_end(host, local, connect.address.clone(), service)
        });
        // Another attempt has the token of the one before, whose late events are not to be told.
        self.hosts[host].former.retain(|former| *former != token);
        self.log(host, Some(token), What::Connect, u64::from(id.serial));
        if self.random.chance(self.faults.refuse) {
            let error = errno::REFUSED;
            let at = self.now + self.latency() + self.latency();
            self.agenda.push(at, Happening::Outcome { end: id, error });
        } else {
            let at = self.now + self.latency();
            self.agenda
                .push(at, Happening::Attempt { end: id, tries: 0 });
        }
        Ok(id)
    }

    /// An attempt to connect reaches the other host, or is lost.
    pub(super) fn attempt(&mut self, id: EndId, tries: u32) {
        let Some(end) = self.end(id) else { return };
        let (host, remote_host, address) = (end.host, end.remote_host, end.remote.clone());
        let is_lost = remote_host == NOWHERE
            || !self.hosts[remote_host].is_up
            || self.cuts.contains(&(host, remote_host))
            || self.random.chance(self.faults.lose_attempt);
        if is_lost {
            return self.attempt_again(id, tries);
        }
        let fits = |port: &Port| {
            port.host == remote_host
                && match (&port.address, &address) {
                    (Address::Ip(port), Address::Ip(to)) => port.port() == to.port(),
                    (port, to) => port == to,
                }
        };
        let Some(port_key) = self.ports.iter().find(|(_, p)| fits(p)).map(|(key, _)| key) else {
            let error = errno::REFUSED;
            let at = self.now + self.latency();
            return self.agenda.push(at, Happening::Outcome { end: id, error });
        };
        let port = &self.ports[port_key];
        let max = self.faults.max_backlog.unwrap_or(usize::MAX);
        if port.backlog.len() >= port.max_backlog.min(max) {
            return self.attempt_again(id, tries);
        }
        self.establish(id, port_key);
    }

    /// Both ends are there: the other host's waits to be accepted.
    fn establish(&mut self, id: EndId, port_key: usize) {
        let port = &self.ports[port_key];
        let (host, service) = (port.host, Rc::clone(&port.service));
        let near = &self.ends[id.key as usize];
        let (local, remote) = (near.remote.clone(), near.local.clone());
        let near_host = near.host;
        let far = self.add_end(End {
            remote_host: near_host,
            link: Link::Up(id),
            stage: Stage::Up,
            ..self.new_end(host, local, remote, service)
        });
        self.ends[id.key as usize].link = Link::Up(far);
        for end in [id, far] {
            let capacity = self.random.length(&self.faults.buffer_len).max(1);
            self.ends[end.key as usize].inbound.capacity = capacity;
        }
        let at = self.arrival(id, 0);
        self.agenda
            .push(at, Happening::Outcome { end: id, error: 0 });
        if self.random.chance(self.faults.reset) {
            let after = self.random.duration(&self.faults.reset_after);
            self.agenda.push(at + after, Happening::Break { end: id });
        }
        let port = &mut self.ports[port_key];
        port.backlog.push_back(far);
        let serial = port.serial;
        if std::mem::take(&mut port.ear.wants_read) || port.ear.is_listed {
            let listener = Listener::Port {
                port: port_key,
                serial,
            };
            self.edge(listener, Readiness::READABLE);
        }
    }

    /// An attempt was lost: it is repeated after a while, but not for ever.
    fn attempt_again(&mut self, end: EndId, tries: u32) {
        let wait = Duration::from_secs(1 << tries);
        let happening = match tries < MAX_TRIES {
            true => Happening::Attempt {
                end,
                tries: tries + 1,
            },
            false => Happening::Outcome {
                end,
                error: errno::TIMED_OUT,
            },
        };
        self.agenda.push(self.now + wait, happening);
    }

    /// The outcome of an attempt reaches whoever began it.
    pub(super) fn outcome(&mut self, id: EndId, error: i32) {
        let Some(end) = self.end_mut(id) else { return };
        if end.stage != Stage::Connecting {
            return;
        }
        if error != 0 {
            return self.break_off(id, error, false);
        }
        end.stage = Stage::Made;
        end.ear.wants_read = !end.inbound.is_readable();
        let mut readiness = Readiness::WRITABLE;
        if end.inbound.is_readable() {
            readiness = readiness.or(Readiness::READABLE);
        }
        self.edge(Listener::End(id), readiness);
    }

    /// Whether a connection that was begun is made.
    pub(super) fn connected(&mut self, id: EndId) -> io::Result<bool> {
        let (host, token) = self.touch(id);
        let end = &mut self.ends[id.key as usize];
        match &mut end.stage {
            Stage::Connecting => Ok(false),
            Stage::Up => Ok(true),
            Stage::Made => {
                end.stage = Stage::Up;
                self.hosts[host].progress += 1;
                self.log(host, token, What::Connected, 0);
                Ok(true)
            }
            Stage::Broken { error, is_told } => {
                *is_told = true;
                let error = *error;
                self.log(host, token, What::ConnectFailed, error as u64);
                Err(errno::error(error))
            }
        }
    }

    fn new_end(&self, host: usize, local: Address, remote: Address, service: Rc<Service>) -> End {
        End {
            serial: self.next_serial + 1,
            host,
            remote_host: NOWHERE,
            local,
            remote,
            options: crate::net::StreamOptions::default(),
            token: None,
            service,
            port: None,
            link: Link::None,
            stage: Stage::Connecting,
            inbound: Pipe::new(1),
            ear: Ear::DEAF,
            wrote: Wrote::All,
            blocked_since: Duration::ZERO,
            begun_at: self.now,
            fin_sent_at: None,
            read_total: 0,
            void_len: 0,
            is_doomed: false,
            blame: None,
        }
    }

    fn add_end(&mut self, mut end: End) -> EndId {
        end.serial = self.serial();
        let serial = end.serial;
        let key = self.ends.insert(end) as u32;
        EndId { key, serial }
    }

    pub(super) fn take_socket(&mut self, host: usize) -> io::Result<()> {
        let host = &mut self.hosts[host];
        if host.sockets >= host.max_sockets {
            return Err(errno::error(errno::TOO_MANY_FILES));
        }
        host.sockets += 1;
        Ok(())
    }

    /// An address to listen on.
    fn address_here(&mut self, host: usize, address: &Address) -> io::Result<Address> {
        match address {
            Address::Ip(address) if self.host_at(host, address.ip()) == Some(host) => {
                let port = self.port_or_free(host, address.port());
                Ok(Address::Ip(SocketAddr::new(ip_of(host), port)))
            }
            Address::Ip(_) => Err(ErrorKind::AddrNotAvailable.into()),
            Address::Unnamed => Err(ErrorKind::InvalidInput.into()),
            address => Ok(address.clone()),
        }
    }

    /// Which host an IP address means, as seen from one.
    pub(super) fn host_at(&self, from: usize, ip: IpAddr) -> Option<usize> {
        if ip.is_loopback() || ip.is_unspecified() {
            return Some(from);
        }
        (0..self.hosts.len()).find(|host| ip_of(*host) == ip)
    }

    pub(super) fn port_or_free(&mut self, host: usize, port: u16) -> u16 {
        if port != 0 {
            return port;
        }
        let host = &mut self.hosts[host];
        host.next_port = (host.next_port + 1) % (u16::MAX - FIRST_FREE_PORT);
        FIRST_FREE_PORT + host.next_port
    }

    /// A broken end whose peer's host has come back: what it wrote is answered with a reset.
    pub(super) fn answer_the_lost(&mut self, host: usize) {
        let lost = |end: &End| end.link == Link::Lost && end.remote_host == host;
        let ends: Vec<EndId> = self
            .ends
            .iter()
            .filter(|(_, end)| lost(end))
            .map(|(key, end)| EndId {
                key: key as u32,
                serial: end.serial,
            })
            .collect();
        for id in ends {
            let end = &mut self.ends[id.key as usize];
            end.link = Link::Closed;
            if end.void_len > 0 {
                end.is_doomed = true;
                let at = self.now + self.latency();
                let blame = None;
                self.agenda
                    .push(at, Happening::ArriveReset { end: id, blame });
            }
        }
    }
}

/// The address of a host: 10.0.0.1 is the first one's.
pub(super) fn ip_of(host: usize) -> IpAddr {
    let host = host + 1;
    IpAddr::V4(Ipv4Addr::new(10, 0, (host >> 8) as u8, host as u8))
}

/// The host of an address that no host has.
const NOWHERE: usize = usize::MAX;
/// Repetitions of an attempt, as Linux has them by default (`tcp_syn_retries`).
const MAX_TRIES: u32 = 6;
/// The first of the ports for those who do not care (RFC 6335, section 6).
const FIRST_FREE_PORT: u16 = 49_152;
