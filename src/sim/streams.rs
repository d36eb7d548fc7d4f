//! Simulated connections: what reading, writing and closing do, and what arrives.
//!
//! Knows ends and the agenda; how readiness is told is `readiness.rs`, how connections are made is
//! `ports.rs`.

use std::io::{self, ErrorKind};
use std::time::Duration;

use super::agenda::{EndId, Happening};
use super::end::{End, Fin, Link, Stage, Wrote};
use super::errno;
use super::fabric::{Blame, Fabric, Listener};
use super::failure::Problem;
use super::readiness::BROKEN;
use super::trace::{What, digest};
use crate::net::Readiness;
use crate::token::Token;

impl Fabric {
    pub(super) fn read(&mut self, id: EndId, buf: &mut [u8]) -> io::Result<usize> {
        let (host, token) = self.touch(id);
        let end = &mut self.ends[id.key as usize];
        if let Stage::Broken { error, is_told } = &mut end.stage
            && end.inbound.arrived == 0
        {
            *is_told = true;
            let error = *error;
            self.log(host, token, What::ReadFailed, error as u64);
            return Err(errno::error(error));
        }
        let mut len = end.inbound.arrived.min(buf.len());
        if len == 0 && matches!(end.inbound.fin, Fin::Arrived | Fin::Read) {
            end.inbound.fin = Fin::Read;
            self.hosts[host].progress += 1;
            self.log(host, token, What::ReadEof, 0);
            return Ok(0);
        }
        let is_refused = len > 0 && self.random.chance(self.faults.would_block);
        if len == 0 || is_refused {
            self.ends[id.key as usize].ear.wants_read = true;
            if is_refused {
                self.promise(id, true);
            }
            self.log(host, token, What::ReadBlocked, 0);
            return Err(ErrorKind::WouldBlock.into());
        }
        if !self.short_read_drains && self.random.chance(self.faults.partial_read) {
            len = self.random.length(&(1..=len));
        }
        let end = &mut self.ends[id.key as usize];
        end.inbound.take(&mut buf[..len]);
        end.read_total += len as u64;
        if self.short_read_drains && len < buf.len() {
            // An end of the stream that has arrived was told: whoever was told reads on.
            end.ear.wants_read = !end.inbound.is_readable();
        }
        self.hosts[host].progress += 1;
        self.log_bytes(host, token, What::Read, len as u64, digest(&buf[..len]));
        if self.random.chance(self.faults.buffer_varies) {
            let capacity = self.random.length(&self.faults.buffer_len).max(1);
            self.ends[id.key as usize].inbound.capacity = capacity;
        }
        self.make_room(id);
        Ok(len)
    }

    /// Writes slices that are one after the other in the stream.
    pub(super) fn write<'a>(
        &mut self,
        id: EndId,
        slices: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> io::Result<usize> {
        let (host, token) = self.touch(id);
        let offered: usize = slices.clone().map(<[u8]>::len).sum();
        let end = &mut self.ends[id.key as usize];
        let error = match &mut end.stage {
            Stage::Broken { error, is_told } => {
                *is_told = true;
                *error
            }
            _ if end.fin_sent_at.is_some() => errno::BROKEN_PIPE,
            _ => 0,
        };
        if error != 0 {
            self.log(host, token, What::WriteFailed, error as u64);
            return Err(errno::error(error));
        }
        let room = match end.link {
            Link::Up(peer) => self.end(peer).map_or(usize::MAX, |p| p.inbound.room()),
            Link::Lost => VOID_LEN.saturating_sub(end.void_len),
            Link::Closed | Link::None => usize::MAX,
        };
        let mut len = offered.min(room);
        let is_refused = len > 0 && self.random.chance(self.faults.would_block);
        if len == 0 || is_refused {
            let now = self.now;
            let end = &mut self.ends[id.key as usize];
            end.ear.wants_write = true;
            if end.wrote != Wrote::Nothing {
                end.blocked_since = now;
            }
            end.wrote = Wrote::Nothing;
            if is_refused {
                self.promise(id, false);
            }
            self.log(host, token, What::WriteBlocked, offered as u64);
            return Err(ErrorKind::WouldBlock.into());
        }
        if self.random.chance(self.faults.partial_write) {
            len = self.random.length(&(1..=len));
        }
        let digest = self.put(id, len, slices);
        let end = &mut self.ends[id.key as usize];
        end.wrote = if len == offered {
            Wrote::All
        } else {
            Wrote::Part
        };
        end.ear.wants_write = false;
        self.hosts[host].progress += 1;
        self.log_bytes(host, token, What::Write, len as u64, digest);
        Ok(len)
    }

    /// Puts the first `len` bytes of the slices on their way.
    fn put<'a>(&mut self, id: EndId, len: usize, slices: impl Iterator<Item = &'a [u8]>) -> u64 {
        let end = &mut self.ends[id.key as usize];
        let link = end.link;
        let mut sum = 0_u64;
        let mut left = len;
        let peer = match link {
            Link::Up(peer) => Some(peer),
            _ => None,
        };
        for slice in slices {
            let piece = &slice[..slice.len().min(left)];
            left -= piece.len();
            sum = sum.rotate_left(7) ^ digest(piece);
            if let Some(peer) = peer
                && let Some(peer) = self.end_mut(peer)
            {
                peer.inbound.bytes.extend(piece);
            }
            if left == 0 {
                break;
            }
        }
        match link {
            Link::Up(peer) => self.send_segments(peer, len),
            Link::Lost => self.ends[id.key as usize].void_len += len,
            Link::Closed | Link::None => self.doom(id),
        }
        sum
    }

    /// Lets `len` bytes that were just appended arrive, in one piece or in several.
    fn send_segments(&mut self, to: EndId, len: usize) {
        if self.random.chance(self.faults.deaf) {
            let until = self.now + self.random.duration(&self.faults.deaf_for);
            if let Some(end) = self.end_mut(to) {
                end.inbound.last_at = end.inbound.last_at.max(until);
            }
        }
        let mut left = len;
        for piece in (0..MAX_PIECES).rev() {
            let len = match self.random.chance(self.faults.cut) && piece > 0 {
                true => self.random.length(&(1..=left)),
                false => left,
            };
            let at = self.arrival(to, len);
            self.agenda.push(at, Happening::Arrive { end: to, len });
            left -= len;
            if left == 0 {
                break;
            }
        }
    }

    /// When a segment of `len` bytes that is sent now arrives: not before the ones before it.
    pub(super) fn arrival(&mut self, to: EndId, len: usize) -> Duration {
        let now = self.now;
        let latency = self.latency();
        let bandwidth = self.faults.bandwidth;
        let Some(end) = self.end_mut(to) else {
            return now + latency;
        };
        let pipe = &mut end.inbound;
        let mut sent_at = now;
        if let Some(bandwidth) = bandwidth {
            let takes = len as u64 * 1_000_000_000 / bandwidth.max(1);
            sent_at = pipe.line_free_at.max(now) + Duration::from_nanos(takes);
            pipe.line_free_at = sent_at;
        }
        let at = (sent_at + latency).max(pipe.last_at);
        pipe.last_at = at;
        at
    }

    pub(super) fn latency(&mut self) -> Duration {
        let latency = self.random.duration(&self.faults.latency);
        latency.max(Duration::from_micros(1))
    }

    /// Sends a FIN behind everything that was written.
    pub(super) fn finish(&mut self, id: EndId) -> io::Result<()> {
        let (host, token) = self.touch(id);
        let now = self.now;
        let end = &mut self.ends[id.key as usize];
        if let Stage::Broken { error, is_told } = &mut end.stage {
            *is_told = true;
            return Err(errno::error(*error));
        }
        end.wrote = Wrote::All;
        end.ear.wants_write = false;
        if end.fin_sent_at.is_some() {
            return Ok(());
        }
        end.fin_sent_at = Some(now);
        let link = end.link;
        self.hosts[host].progress += 1;
        self.log(host, token, What::Fin, 0);
        if let Link::Up(peer) = link {
            self.send_fin(peer);
        }
        Ok(())
    }

    fn send_fin(&mut self, to: EndId) {
        let at = self.arrival(to, 0);
        if let Some(end) = self.end_mut(to)
            && end.inbound.fin == Fin::None
        {
            end.inbound.fin = Fin::Sent;
            self.agenda.push(at, Happening::ArriveFin { end: to });
        }
    }

    /// Closes an end and forgets it. As with TCP, unread input makes it a reset (RFC 1122, section
    /// 4.2.2.13), and so does input that is still to come.
    pub(super) fn close(&mut self, id: EndId, reset: bool) {
        let (host, token) = self.touch(id);
        let end = self.ends.remove(id.key as usize);
        self.hosts[host].sockets -= 1;
        self.hosts[host].progress += 1;
        if let Some(token) = token {
            self.forget_token(host, token);
        }
        if let Some((port, serial)) = end.port
            && let Some(port) = self.ports.get_mut(port)
            && port.serial == serial
        {
            port.live -= 1;
        }
        let what = if reset { What::Abort } else { What::Close };
        self.log(host, token, what, end.inbound.bytes.len() as u64);
        if !self.hosts[host].is_up {
            return self.vanish(&end);
        }
        let Link::Up(peer) = end.link else { return };
        let blame = self.blame(&end, reset);
        if let Some(other) = self.end_mut(peer) {
            other.link = Link::Closed;
            other.blame = blame;
        }
        if reset || end.inbound.arrived > 0 || end.stage != Stage::Up {
            self.send_reset(peer, blame);
            return;
        }
        self.send_fin(peer);
        if !end.inbound.bytes.is_empty() {
            // What is under way to us finds nobody, and is answered with a reset.
            let at = end.inbound.last_at.max(self.now) + self.latency();
            self.doom_at(peer, at, blame);
        }
    }

    /// Whether a close that is not a reset destroys what it should not.
    fn blame(&mut self, end: &End, reset: bool) -> Option<u32> {
        let limits = &end.service.limits;
        let linger = match self.hosts[end.host].is_ending {
            true => limits.linger_timeout.min(limits.shutdown_linger),
            false => limits.linger_timeout,
        };
        let lingered = end
            .fin_sent_at
            .is_some_and(|sent_at| self.now.saturating_sub(sent_at) + TICK >= linger);
        let is_excused = reset
            || lingered
            || end.inbound.fin == Fin::Read
            || end.stage != Stage::Up
            || end.read_total > limits.max_linger as u64
            || self.hosts[end.host].is_late;
        if is_excused {
            return None;
        }
        self.blames.push(Blame {
            host: self.hosts[end.host].name.clone(),
            token: end.token,
            service: end.service.name.clone(),
        });
        Some(self.blames.len() as u32 - 1)
    }

    /// The end goes with its host, without a word.
    fn vanish(&mut self, end: &End) {
        if let Link::Up(peer) = end.link
            && let Some(peer) = self.end_mut(peer)
        {
            peer.link = Link::Lost;
        }
    }

    /// A reset on its way, behind what was sent, or, as the kernel drops what it still holds,
    /// ahead of it.
    fn send_reset(&mut self, to: EndId, blame: Option<u32>) {
        let at = match self.random.chance(0.5) {
            true => self.arrival(to, 0),
            false => self.now + self.latency(),
        };
        self.doom_at(to, at, blame);
    }

    /// What an end just wrote is going to be answered with a reset.
    fn doom(&mut self, id: EndId) {
        let blame = self.ends[id.key as usize].blame;
        let at = self.now + self.latency() + self.latency();
        self.doom_at(id, at, blame);
    }

    fn doom_at(&mut self, id: EndId, at: Duration, blame: Option<u32>) {
        if let Some(end) = self.end_mut(id)
            && !std::mem::replace(&mut end.is_doomed, true)
        {
            self.agenda
                .push(at, Happening::ArriveReset { end: id, blame });
        }
    }

    pub(super) fn arrive(&mut self, id: EndId, len: usize) {
        let Some(end) = self.end_mut(id) else { return };
        if matches!(end.stage, Stage::Broken { .. }) {
            return;
        }
        end.inbound.arrived += len;
        assert!(
            end.inbound.arrived <= end.inbound.bytes.len(),
            "what arrives was sent"
        );
        let (host, token) = (end.host, end.token);
        self.log(host, token, What::Arrive, len as u64);
        self.became_readable(id, Readiness::READABLE);
    }

    pub(super) fn arrive_fin(&mut self, id: EndId) {
        let Some(end) = self.end_mut(id) else { return };
        if matches!(end.stage, Stage::Broken { .. }) {
            return;
        }
        end.inbound.fin = Fin::Arrived;
        let (host, token) = (end.host, end.token);
        self.log(host, token, What::FinArrive, 0);
        self.became_readable(id, Readiness::READABLE.or(Readiness::READ_CLOSED));
    }

    /// Tells of new input, if that was asked for. If it was not, its reader has more to read
    /// anyway, or has forgotten so: then it is a suspect.
    ///
    /// An end is told in any case where a short read may be taken for the last one: what excuses
    /// the reader from another read is that no end was hinted at.
    fn became_readable(&mut self, id: EndId, readiness: Readiness) {
        let is_hint = readiness.has(Readiness::READ_CLOSED)
            && (self.short_read_drains || self.random.chance(0.5));
        let Some(end) = self.end_mut(id) else { return };
        let host = end.host;
        if std::mem::take(&mut end.ear.wants_read) || end.ear.is_listed || is_hint {
            self.edge(Listener::End(id), readiness);
        } else if end.token.is_some() && end.stage == Stage::Up {
            self.hosts[host].suspects.push(id);
        }
    }

    /// A reset reaches an end. What was read from the network may be lost with it or not:
    /// operating systems differ.
    pub(super) fn arrive_reset(&mut self, id: EndId, blame: Option<u32>) {
        let keeps_input = self.random.chance(0.5);
        let Some(end) = self.end(id) else { return };
        if matches!(end.stage, Stage::Broken { .. }) {
            return;
        }
        let lost = match keeps_input {
            true => end.inbound.bytes.len() - end.inbound.arrived,
            false => end.inbound.bytes.len(),
        };
        if let Some(blame) = blame
            && lost > 0
        {
            let Blame {
                host,
                token,
                service,
            } = self.blames[blame as usize].clone();
            let token = token.map_or("a socket".to_owned(), |token| token.to_string());
            self.fail(
                Problem::LostBytes,
                format!(
                    "{host} closed {token} ({service}) while its peer had more to send, and the \
                     reset that followed destroyed {lost} bytes that it had sent"
                ),
            );
        }
        self.break_off(id, errno::RESET, keeps_input);
    }

    /// A fault breaks a connection, on both sides.
    pub(super) fn break_connection(&mut self, id: EndId) {
        let Some(end) = self.end(id) else { return };
        let (host, token, link) = (end.host, end.token, end.link);
        self.log(host, token, What::Break, 0);
        for id in [
            Some(id),
            if let Link::Up(peer) = link {
                Some(peer)
            } else {
                None
            },
        ] {
            let Some(id) = id else { continue };
            let keeps_input = self.random.chance(0.5);
            self.break_off(id, errno::RESET, keeps_input);
        }
    }

    /// The connection of an end is no more.
    pub(super) fn break_off(&mut self, id: EndId, error: i32, keeps_input: bool) {
        let Some(end) = self.end_mut(id) else { return };
        if matches!(end.stage, Stage::Broken { .. }) {
            return;
        }
        let is_told = false;
        end.stage = Stage::Broken { error, is_told };
        end.link = Link::Closed;
        let arrived = if keeps_input { end.inbound.arrived } else { 0 };
        end.inbound.bytes.truncate(arrived);
        end.inbound.arrived = arrived;
        end.ear.wants_read = false;
        end.ear.wants_write = false;
        end.wrote = Wrote::All;
        let (host, token) = (end.host, end.token);
        self.log(host, token, What::ResetArrive, error as u64);
        self.edge(Listener::End(id), BROKEN);
    }

    /// Tells the writer at the other end that there is room, if it waits for that and there is.
    fn make_room(&mut self, id: EndId) {
        let end = &self.ends[id.key as usize];
        let Link::Up(peer) = end.link else { return };
        let pipe = &end.inbound;
        // Like a kernel, wait until there is room worth waking somebody for.
        let is_worth_it = pipe.bytes.is_empty() || pipe.room() >= pipe.capacity.div_ceil(3);
        if !is_worth_it {
            return;
        }
        if let Some(writer) = self.end_mut(peer)
            && std::mem::take(&mut writer.ear.wants_write)
        {
            self.edge(Listener::End(peer), Readiness::WRITABLE);
        }
    }

    /// An operation answered `WouldBlock` for no reason; the event comes soon.
    fn promise(&mut self, end: EndId, readable: bool) {
        let ear = &mut self.ends[end.key as usize].ear;
        if std::mem::replace(ear.promised(readable), true) {
            return;
        }
        let wait = self.random.duration(&self.faults.event_delay);
        let happening = Happening::Promise { end, readable };
        self.agenda.push(self.now + wait, happening);
    }

    /// An operation on an end begins.
    pub(super) fn touch(&mut self, id: EndId) -> (usize, Option<Token>) {
        let end = &self.ends[id.key as usize];
        assert_eq!(end.serial, id.serial, "a stream is used by its owner alone");
        let (host, token) = (end.host, end.token);
        let last = &mut self.hosts[host];
        last.last_token = token;
        if last
            .last_service
            .as_ref()
            .is_none_or(|service| !std::rc::Rc::ptr_eq(service, &end.service))
        {
            last.last_service = Some(end.service.clone());
        }
        (host, token)
    }
}

/// Pieces into which one write is cut at most; the last one is the rest.
const MAX_PIECES: usize = 12;
/// Bytes that are taken for a peer that has vanished, as a kernel's buffers take them.
const VOID_LEN: usize = 64 * 1024;
/// The resolution of a reactor's clock.
const TICK: Duration = Duration::from_millis(1);
