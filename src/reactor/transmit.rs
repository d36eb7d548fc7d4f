//! What leaves a datagram socket: its queue, the storm guard before it, and what the network has
//! to say about it afterwards.
//!
//! Knows no concrete protocol, and no socket but as the network hands it out.

use std::io::{self, ErrorKind};

use super::core::Core;
use super::datagram::{DatagramEntry, RETRY_AFTER, State};
use super::service::add;
use crate::close::OsError;
use crate::net::{Address, Network, Readiness, Transmit};
use crate::protocol::{DatagramProtocol, Effects, SendCause, SendError};

/// What became of the front of the queue.
enum Sent {
    /// It has left: so many datagrams, so many bytes.
    Left(usize, usize),
    /// It would be too much for everybody.
    HeldBack,
    /// The OS refused it.
    Refused(io::Error),
}

impl<N: Network, P: DatagramProtocol> DatagramEntry<N, P> {
    /// Sends what is queued, as far as the kernel takes it, and as long as there are `calls` left
    /// with which to tell the protocol what went wrong.
    #[inline]
    pub(super) fn flush(&mut self, core: &mut Core<N>, calls: &mut usize) {
        if !core.fx.datagrams.is_empty() {
            self.flush_queue(core, calls);
        }
    }

    fn flush_queue(&mut self, core: &mut Core<N>, calls: &mut usize) {
        // How often the datagram in front was refused for the sake of an earlier one.
        let mut attempts = 0;
        // Datagrams of a train that was refused: they are tried one by one.
        let mut singles = 0;
        while self.latch.has(Readiness::WRITABLE)
            && self.retry_at.is_none()
            && *calls > 0
            && !matches!(self.state, State::Closed(_))
            && !core.fx.datagrams.is_empty()
        {
            match self.send_front(core, singles > 0) {
                Sent::Left(count, len) => {
                    attempts = 0;
                    singles -= count.min(singles);
                    core.fx.datagrams.pop(count);
                    self.stats.sent += count as u64;
                    add(&self.service.counters.bytes_out, len as u64);
                }
                Sent::HeldBack => {
                    singles -= 1.min(singles);
                    self.stats.storm_guarded += 1;
                    self.drop_front(SendCause::StormGuard, core, calls);
                }
                Sent::Refused(error) if error.kind() == ErrorKind::WouldBlock => {
                    add(&self.service.counters.would_block, 1);
                    self.latch = self.latch.without(Readiness::WRITABLE);
                }
                Sent::Refused(error) if is_out_of_memory(&error) => {
                    // No event follows: it is not the socket's buffer that is full.
                    self.retry_at = Some(core.tick_after(RETRY_AFTER));
                }
                Sent::Refused(error) => {
                    if attempts < MAX_ATTEMPTS && self.is_about_another(&error, core, calls) {
                        attempts += 1;
                        continue;
                    }
                    attempts = 0;
                    let train = train_len(&core.network, self.socket.as_ref(), &core.fx);
                    if singles == 0 && train > 1 {
                        singles = train;
                        continue;
                    }
                    singles -= 1.min(singles);
                    self.stats.send_errors += 1;
                    self.drop_front(SendCause::Os(OsError::from(&error)), core, calls);
                }
            }
        }
    }

    /// One attempt to send what is in front.
    #[inline]
    fn send_front(&mut self, core: &mut Core<N>, is_single: bool) -> Sent {
        let Some(socket) = &mut self.socket else {
            return Sent::Refused(ErrorKind::NotConnected.into());
        };
        let max_train = if is_single {
            1
        } else {
            core.network.max_train(socket)
        };
        let Some(mut front) = core.fx.datagrams.front(max_train) else {
            return Sent::Left(0, 0);
        };
        let to = front.to.to.as_ref().or(self.peer.as_ref());
        let is_guarded = to.is_some_and(Address::is_for_many);
        if is_guarded && front.count > 1 {
            front.bytes = &front.bytes[..front.segment_len];
            front.count = 1;
        }
        let now = core.fx.intents.now;
        let (count, len) = (front.count, front.bytes.len());
        let mut transmit = Transmit {
            to: front.to.to.as_ref(),
            bytes: front.bytes,
            segment_len: (count > 1).then_some(front.segment_len),
            from: front.to.from,
            interface: front.to.interface,
            is_broadcast: is_guarded && !to.is_some_and(Address::is_multicast),
        };
        if is_guarded && !self.guard.admits(now, len) {
            return Sent::HeldBack;
        }
        let mut sent = core.network.transmit(socket, &transmit);
        let mut spends = is_guarded;
        if let Err(error) = &sent
            && error.kind() == ErrorKind::PermissionDenied
            && !is_guarded
            && count == 1
        {
            // The broadcast address of a network: so says the kernel, and nobody else knows.
            if !self.guard.admits(now, len) {
                return Sent::HeldBack;
            }
            transmit.is_broadcast = true;
            spends = true;
            sent = core.network.transmit(socket, &transmit);
        }
        match sent {
            Ok(()) => {
                if spends {
                    self.guard.spend(now, len);
                }
                Sent::Left(count, len)
            }
            Err(error) => Sent::Refused(error),
        }
    }

    /// Whether a refusal is about something that was sent before, which the protocol is told: then
    /// the datagram in front was not even looked at.
    #[cold]
    fn is_about_another(
        &mut self,
        error: &io::Error,
        core: &mut Core<N>,
        calls: &mut usize,
    ) -> bool {
        if self.take_reports(core, calls) > 0 {
            return true;
        }
        // What a connected socket is told of its peer is told in place of the next operation.
        let is_of_peer = error.kind() == ErrorKind::ConnectionRefused && self.peer.is_some();
        if is_of_peer {
            self.report(self.peer.clone(), error, core, calls);
        }
        is_of_peer
    }

    /// Tells the protocol what the network has to say. Answers how much that was.
    #[cold]
    pub(super) fn take_reports(&mut self, core: &mut Core<N>, calls: &mut usize) -> usize {
        let mut count = 0;
        while count < MAX_REPORTS
            && let Some(socket) = &mut self.socket
            && let Some(report) = core.network.take_report(socket)
        {
            count += 1;
            self.report(report.to, &report.error.into(), core, calls);
        }
        count
    }

    /// Tells the protocol of something that was sent before and did not arrive.
    #[cold]
    pub(super) fn report(
        &mut self,
        to: Option<Address>,
        error: &io::Error,
        core: &mut Core<N>,
        calls: &mut usize,
    ) {
        self.stats.reports += 1;
        let cause = SendCause::Os(OsError::from(error));
        self.tell(&SendError { to, cause }, core, calls);
    }

    /// Drops the datagram in front, and tells the protocol.
    #[cold]
    fn drop_front(&mut self, cause: SendCause, core: &mut Core<N>, calls: &mut usize) {
        let front = core.fx.datagrams.front(1);
        let to = front.and_then(|front| front.to.to.clone());
        let to = to.or_else(|| self.peer.clone());
        core.fx.datagrams.pop(1);
        self.tell(&SendError { to, cause }, core, calls);
    }

    fn tell(&mut self, error: &SendError, core: &mut Core<N>, calls: &mut usize) {
        *calls = calls.saturating_sub(1);
        self.call(core, |protocol, cx| protocol.on_send_error(error, cx));
    }
}

/// Of how many datagrams the front of the queue consists.
fn train_len<N: Network>(network: &N, socket: Option<&N::Datagram>, fx: &Effects) -> usize {
    let max_train = socket.map_or(1, |socket| network.max_train(socket));
    fx.datagrams.front(max_train).map_or(0, |front| front.count)
}

/// The kernel or the network card has no buffer for it now: `ENOMEM` (12), and `ENOBUFS`, which has
/// another number on every system.
fn is_out_of_memory(error: &io::Error) -> bool {
    let enobufs = if cfg!(any(target_os = "linux", target_os = "android")) {
        105
    } else if cfg!(any(target_os = "illumos", target_os = "solaris")) {
        132
    } else {
        55
    };
    matches!(error.raw_os_error(), Some(code) if code == enobufs || code == 12)
}

/// How often a datagram is tried again that was refused for the sake of an earlier one.
const MAX_ATTEMPTS: usize = 8;
/// Reports that are taken at once; the kernel keeps more, within the socket's receive buffer.
const MAX_REPORTS: usize = 64;
