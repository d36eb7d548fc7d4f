//! `DatagramEntry`: a datagram socket in the reactor: receiving, calling back, and its end.
//!
//! Knows no concrete protocol, and no socket but as the network hands it out. What leaves is in
//! `transmit.rs`.

use std::io::{self, ErrorKind};
use std::mem;
use std::rc::Rc;

use bytes::Bytes;

use super::core::{Command, Core, Entry, Outcome};
use super::service::{Service, Tally, add};
use super::stats::DatagramStats;
use super::timers::TimerKey;
use crate::buffer::{Bounds, DatagramQueue};
use crate::close::CloseReason;
use crate::limits::{DatagramLimits, Overflow, Oversize};
use crate::net::{Address, DatagramOptions, Membership, Network, Readiness, Received};
use crate::protocol::{
    Control, Datagram, DatagramContext, DatagramProtocol, Destination, Ending, Intent, TimerId,
    max_len,
};
use crate::rate::{Buckets, Rates};
use crate::token::Token;

/// A datagram socket with the protocol that runs on it.
pub(super) struct DatagramEntry<N: Network, P> {
    pub(super) protocol: P,
    pub(super) socket: Option<N::Datagram>,
    pub(super) service: Rc<Service>,
    pub(super) limits: DatagramLimits,
    /// Lent to the effects while an event is handled.
    queue: DatagramQueue<Destination>,
    pub(super) guard: Buckets,
    pub(super) stats: DatagramStats,
    /// What the poller has reported and no operation has refuted yet: `READABLE` and `WRITABLE`.
    /// Only `WouldBlock` clears a bit.
    pub(super) latch: Readiness,
    pub(super) state: State,
    pub(super) peer: Option<Address>,
    timers: Vec<TimerId>,
    armed: Option<TimerKey>,
    /// The tick at which a socket is tried again that refused for want of memory, which is
    /// followed by no event.
    pub(super) retry_at: Option<u64>,
    /// The tick at which what is queued is given up.
    flush_by: u64,
    /// Failures to receive, one after the other.
    failures: u32,
    is_paused: bool,
    is_queued: bool,
    /// A shutdown is to be told once what has arrived is delivered.
    is_shutdown_due: bool,
}

/// Where a socket receives, and what it has received, until it has nothing more to do.
struct Inbound<'a> {
    buffer: Box<[u8]>,
    bytes: Tally<'a>,
    frames: Tally<'a>,
}

/// How a datagram socket ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// Nothing more is received; what is queued is still sent.
    Draining(CloseReason),
    /// Nothing is owed to anyone.
    Closed(CloseReason),
}

impl<N: Network, P: DatagramProtocol> DatagramEntry<N, P> {
    pub(super) fn new(
        protocol: P,
        socket: N::Datagram,
        service: Rc<Service>,
        limits: DatagramLimits,
        core: &Core<N>,
    ) -> DatagramEntry<N, P> {
        service.on_opened();
        let rates = Rates {
            datagrams_per_second: limits.storm_guard.datagrams_per_second,
            bytes_per_second: limits.storm_guard.bytes_per_second,
            burst: limits.storm_guard.burst,
        };
        let bounds = Bounds {
            max_count: limits.max_queued_datagrams,
            max_len: limits.max_queued_bytes,
            drops_oldest: limits.overflow == Overflow::DropOldest,
        };
        DatagramEntry {
            protocol,
            peer: core.network.datagram_peer(&socket).ok(),
            socket: Some(socket),
            service,
            queue: DatagramQueue::new(bounds),
            guard: Buckets::new(rates, core.fx.intents.now),
            limits,
            stats: DatagramStats::default(),
            latch: Readiness::WRITABLE,
            state: State::Open,
            timers: Vec::new(),
            armed: None,
            retry_at: None,
            flush_by: u64::MAX,
            failures: 0,
            is_paused: false,
            is_queued: false,
            is_shutdown_due: false,
        }
    }

    /// Makes the effects this socket's.
    fn begin(&mut self, token: Token, core: &mut Core<N>) {
        let fx = &mut core.fx;
        let timers_left = self
            .limits
            .max_socket_timers
            .saturating_sub(self.timers.len());
        fx.intents.token = token;
        fx.intents.timers_left = timers_left;
        fx.control = Control {
            is_mute: self.state != State::Open,
            is_paused: self.is_paused,
            ..Control::default()
        };
        fx.max_to_peer = self.peer.as_ref().map(max_len);
        mem::swap(&mut self.queue, &mut fx.datagrams);
    }

    /// Calls back, and does what was asked for about the socket itself.
    #[inline]
    pub(super) fn call(
        &mut self,
        core: &mut Core<N>,
        callback: impl FnOnce(&mut P, &mut DatagramContext<'_>),
    ) {
        callback(
            &mut self.protocol,
            &mut DatagramContext::new(&mut core.fx, None),
        );
        self.settle(core);
    }

    #[inline]
    fn settle(&mut self, core: &mut Core<N>) {
        self.is_paused = core.fx.control.is_paused;
        if let Some(ending) = core.fx.control.ending.take() {
            match ending {
                Ending::Finish(reason) => self.finish(reason, core),
                Ending::Abort(reason) => self.fail(reason),
            }
        }
    }

    fn finish(&mut self, reason: CloseReason, core: &mut Core<N>) {
        if self.state == State::Open {
            self.state = State::Draining(reason);
            self.flush_by = core.tick_after(self.limits.flush_timeout);
            core.fx.control.is_mute = true;
        }
    }

    fn fail(&mut self, reason: CloseReason) {
        if !matches!(self.state, State::Closed(_)) {
            self.state = State::Closed(reason);
        }
    }

    /// Receives and sends until there is nothing to do, a budget is spent, or something was
    /// recorded that others have to see first.
    ///
    /// Answers whether more could be done at once.
    #[inline]
    fn run(&mut self, core: &mut Core<N>) -> bool {
        let service = Rc::clone(&self.service);
        let mut inbound = Inbound {
            // The buffer is taken out for the time, because everything else of the core is needed
            // beside it. After a panic the reactor makes a new one.
            buffer: mem::take(&mut core.read_buffer),
            bytes: Tally::of(&service.counters.bytes_in),
            frames: Tally::of(&service.counters.frames),
        };
        let is_runnable = self.run_with(&mut inbound, core);
        core.read_buffer = inbound.buffer;
        is_runnable
    }

    #[inline]
    fn run_with(&mut self, inbound: &mut Inbound<'_>, core: &mut Core<N>) -> bool {
        let mut bytes = core.budgets.bytes;
        let mut calls = core.budgets.frames;
        loop {
            self.flush(core, &mut calls);
            if matches!(self.state, State::Closed(_)) {
                return false;
            }
            if core.fx.datagrams.is_over() && core.fx.datagrams.take_drained() {
                calls = calls.saturating_sub(1);
                self.call(core, P::on_drain);
                continue;
            }
            let is_ready = self.receives() && self.latch.has(Readiness::READABLE);
            let is_spent = bytes == 0 || calls == 0;
            if self.is_shutdown_due && (is_spent || !is_ready) {
                // What had arrived was delivered, or more of it than one turn's worth.
                self.is_shutdown_due = false;
                calls = calls.max(1);
                self.call(core, P::on_shutdown);
                continue;
            }
            if is_spent {
                add(&self.service.counters.budget_spent, 1);
                return true;
            }
            if !is_ready {
                return false;
            }
            if !core.fx.intents.list.is_empty() {
                return true;
            }
            // As with a train: what several datagrams are answered with leaves together. Each call
            // of the kernel's finds its code where the one before has left it, and like answers to
            // one peer are a train. It is little, so that a callback finds its room in the queue.
            loop {
                self.receive(inbound, core, &mut bytes, &mut calls);
                let is_ready = self.receives() && self.latch.has(Readiness::READABLE);
                let is_spent = bytes == 0 || calls == 0;
                let is_asked = !core.fx.intents.list.is_empty();
                if !is_ready || is_spent || is_asked || !core.fx.datagrams.is_low() {
                    break;
                }
            }
        }
    }

    #[inline]
    fn receives(&self) -> bool {
        self.state == State::Open && !self.is_paused
    }

    #[inline]
    fn receive(
        &mut self,
        inbound: &mut Inbound<'_>,
        core: &mut Core<N>,
        bytes: &mut usize,
        calls: &mut usize,
    ) {
        let Some(socket) = &mut self.socket else {
            return;
        };
        // Looked at where it lies: moving it would cost as much as all the rest.
        match &core.network.receive(socket, &mut inbound.buffer) {
            Ok(received) => {
                self.failures = 0;
                // A datagram costs more than its bytes.
                *bytes = bytes.saturating_sub(received.len);
                self.deliver(received, inbound, core, calls);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                add(&self.service.counters.would_block, 1);
                self.latch = self.latch.without(Readiness::READABLE);
            }
            Err(error) => self.on_receive_error(error, core, calls),
        }
    }

    /// Delivers a datagram, or each of a train.
    #[inline]
    fn deliver(
        &mut self,
        received: &Received,
        inbound: &mut Inbound<'_>,
        core: &mut Core<N>,
        calls: &mut usize,
    ) {
        inbound.bytes.count += received.len as u64;
        let is_whole = received.datagram_len <= received.len;
        let (mut rest, mut count) = (&inbound.buffer[..received.len], 0);
        loop {
            let segment_len = received.segment_len.min(rest.len());
            let (one, others) = rest.split_at(segment_len);
            let len = if is_whole {
                one.len()
            } else {
                received.datagram_len
            };
            count += 1;
            if let Some(one) = self.admitted(one, len) {
                inbound.frames.count += 1;
                self.deliver_one(one, len, received, core);
            }
            rest = others;
            if rest.is_empty() || segment_len == 0 || self.state != State::Open {
                break;
            }
        }
        *calls = calls.saturating_sub(count);
        self.stats.received += count as u64;
    }

    /// As much of a datagram as is to be delivered: all of it, unless it is longer than it may be.
    #[inline]
    fn admitted<'a>(&mut self, bytes: &'a [u8], len: usize) -> Option<&'a [u8]> {
        if len <= self.limits.max_datagram && len <= bytes.len() {
            return Some(bytes);
        }
        self.stats.truncated += 1;
        let max_len = bytes.len().min(self.limits.max_datagram);
        (self.limits.oversize != Oversize::Drop).then(|| &bytes[..max_len])
    }

    #[inline]
    fn deliver_one(&mut self, bytes: &[u8], len: usize, received: &Received, core: &mut Core<N>) {
        let datagram = Datagram {
            bytes,
            len,
            from: &received.from,
            to: received.to,
            interface: received.interface,
            ecn: received.ecn,
        };
        let origin = Some((&received.from, received.local));
        self.protocol
            .on_datagram(datagram, &mut DatagramContext::new(&mut core.fx, origin));
        self.settle(core);
    }

    /// A receive failed: usually because of something that was sent before (recv(2), udp(7)).
    #[cold]
    fn on_receive_error(&mut self, error: &io::Error, core: &mut Core<N>, calls: &mut usize) {
        self.failures += 1;
        if self.take_reports(core, calls) == 0 {
            self.report(self.peer.clone(), error, core, calls);
        }
        if self.failures >= MAX_FAILURES {
            // It is no report, or an endless stream of them: not to be asked for at full speed.
            log::warn!("{}: receive: {error}", self.service.name);
            self.failures = 0;
            self.latch = self.latch.without(Readiness::READABLE);
            self.retry_at = Some(core.tick_after(RETRY_AFTER));
        }
    }

    /// The end of an event: keeps what is left, arms the deadline, or closes.
    #[inline]
    fn end(&mut self, token: Token, core: &mut Core<N>, is_runnable: bool) -> Outcome {
        if let State::Draining(reason) = self.state
            && core.fx.datagrams.is_empty()
        {
            self.state = State::Closed(reason);
        }
        if matches!(self.state, State::Closed(_)) {
            core.fx.datagrams.clear();
        }
        self.stats.queue_dropped += core.fx.datagrams.take_dropped();
        mem::swap(&mut self.queue, &mut core.fx.datagrams);
        if let State::Closed(reason) = self.state {
            return self.close(reason, core);
        }
        if self.queue.is_empty() {
            self.queue.shrink();
        }
        if is_runnable && !mem::replace(&mut self.is_queued, true) {
            core.enqueue(token);
        }
        if self.retry_at.is_some() || self.state != State::Open {
            let retry_at = self.retry_at.unwrap_or(u64::MAX);
            core.arm(token, &mut self.armed, Some(retry_at.min(self.flush_by)));
        }
        Outcome::Alive
    }

    #[cold]
    fn close(&mut self, reason: CloseReason, core: &mut Core<N>) -> Outcome {
        core.disarm(&mut self.armed);
        core.fx.control = Control::default();
        let owner = core.fx.intents.token;
        let cancel = |id| Intent::CancelTimer { owner, id };
        core.fx
            .intents
            .list
            .extend(self.timers.drain(..).map(cancel));
        self.service.on_closed(reason);
        self.protocol.on_close(reason, &mut core.fx.intents);
        Outcome::Closed
    }

    fn obey(&mut self, command: Command, core: &mut Core<N>) {
        match command {
            Command::Send(bytes, _) => self.queue_for(None, bytes, core),
            Command::Datagram(to, bytes) => self.queue_for(Some(to), bytes, core),
            Command::Membership(membership, joins) => {
                if let Err(error) = self.change_membership(&membership, joins, core) {
                    self.call(core, |protocol, cx| {
                        protocol.on_membership_error(&membership, &error, cx);
                    });
                }
            }
            Command::Mail(mail) => self.call(core, |protocol, cx| protocol.on_mail(mail, cx)),
            Command::Timer(id) => self.call(core, |protocol, cx| protocol.on_timer(id, cx)),
            Command::Finish(reason) => self.finish(reason, core),
            Command::Abort(reason) => self.fail(reason),
            Command::Resume => {
                self.is_paused = false;
                core.fx.control.is_paused = false;
            }
            Command::Shutdown => {
                self.latch = self.latch.or(Readiness::READABLE);
                self.is_shutdown_due = true;
            }
            // There are no halves, and nobody is held up: what does not fit is dropped.
            Command::OwnTimer(..) | Command::FinishWrites | Command::Hold | Command::Release => {}
        }
    }

    /// Others' bytes.
    fn queue_for(&mut self, to: Option<Address>, bytes: Bytes, core: &mut Core<N>) {
        let mut cx = DatagramContext::new(&mut core.fx, None);
        match to {
            Some(to) => cx.send_shared_to(to, bytes),
            None => cx.send(bytes),
        };
    }
}

impl<N: Network, P: DatagramProtocol> Entry<N> for DatagramEntry<N, P> {
    fn on_attach(&mut self, token: Token, core: &mut Core<N>) -> Outcome {
        self.begin(token, core);
        self.call(core, P::on_open);
        let is_runnable = self.run(core);
        self.end(token, core, is_runnable)
    }

    #[inline]
    fn on_ready(&mut self, token: Token, readiness: Readiness, core: &mut Core<N>) -> Outcome {
        if readiness == Readiness::NONE {
            self.is_queued = false;
        }
        if readiness.wants_read() {
            self.latch = self.latch.or(Readiness::READABLE);
        }
        if readiness.wants_write() {
            self.latch = self.latch.or(Readiness::WRITABLE);
        }
        self.begin(token, core);
        let is_runnable = self.run(core);
        self.end(token, core, is_runnable)
    }

    fn on_deadline(&mut self, token: Token, core: &mut Core<N>) -> Outcome {
        core.forget_fired(&mut self.armed);
        if self.retry_at.is_some_and(|at| at <= core.tick) {
            self.retry_at = None;
            self.latch = Readiness::READABLE.or(Readiness::WRITABLE);
        }
        self.begin(token, core);
        let is_runnable = self.run(core);
        if let State::Draining(reason) = self.state
            && self.flush_by <= core.tick
        {
            self.fail(reason);
        }
        self.end(token, core, is_runnable)
    }

    fn on_command(&mut self, token: Token, command: Command, core: &mut Core<N>) -> Outcome {
        match command {
            Command::OwnTimer(id, true) => {
                self.timers.push(id);
                return Outcome::Alive;
            }
            Command::OwnTimer(id, false) => {
                self.timers.retain(|own| *own != id);
                return Outcome::Alive;
            }
            _ => {}
        }
        self.begin(token, core);
        self.obey(command, core);
        let is_runnable = self.run(core);
        self.end(token, core, is_runnable)
    }

    fn on_panic(&mut self, token: Token, core: &mut Core<N>) {
        add(&self.service.counters.panics, 1);
        if matches!(self.state, State::Closed(_)) {
            // It was `on_close` that panicked: nothing is called after that.
            return;
        }
        // The queue was lent out; the reactor has thrown it away.
        core.fx.intents.token = token;
        self.state = State::Closed(CloseReason::Panicked);
        let _ = self.close(CloseReason::Panicked, core);
    }

    fn release(self: Box<Self>, core: &mut Core<N>) -> Rc<Service> {
        if let Some(socket) = self.socket {
            core.network.close_datagram(socket);
        }
        self.service
    }

    fn service(&self) -> &Rc<Service> {
        &self.service
    }

    fn is_paused(&self) -> bool {
        self.is_paused
    }

    fn local_addr(&self, core: &Core<N>) -> io::Result<Address> {
        core.network.datagram_addr(self.opened()?)
    }

    fn peer_addr(&self, core: &Core<N>) -> io::Result<Address> {
        core.network.datagram_peer(self.opened()?)
    }

    fn datagram_stats(&self, core: &Core<N>) -> io::Result<DatagramStats> {
        let kernel_dropped = core.network.dropped(self.opened()?);
        Ok(DatagramStats {
            queued: self.queue.count(),
            queued_len: self.queue.len(),
            kernel_dropped,
            ..self.stats.clone()
        })
    }

    fn datagram_options(&self, core: &Core<N>) -> io::Result<DatagramOptions> {
        core.network.datagram_options(self.opened()?)
    }

    fn set_datagram_options(
        &mut self,
        options: &DatagramOptions,
        core: &mut Core<N>,
    ) -> io::Result<()> {
        let socket = self.socket.as_mut().ok_or(ErrorKind::NotConnected)?;
        core.network.set_datagram_options(socket, options)
    }

    fn change_membership(
        &mut self,
        membership: &Membership,
        joins: bool,
        core: &mut Core<N>,
    ) -> io::Result<()> {
        let socket = self.socket.as_mut().ok_or(ErrorKind::NotConnected)?;
        if joins {
            core.network.join(socket, membership)
        } else {
            core.network.leave(socket, membership)
        }
    }
}

impl<N: Network, P> DatagramEntry<N, P> {
    fn opened(&self) -> io::Result<&N::Datagram> {
        self.socket
            .as_ref()
            .ok_or_else(|| ErrorKind::NotConnected.into())
    }
}

/// Failures to receive, one after the other, after which the socket is left alone for a while.
const MAX_FAILURES: u32 = 64;
/// How long a socket is left alone that has no memory, or fails.
pub(super) const RETRY_AFTER: std::time::Duration = std::time::Duration::from_millis(10);
