//! The carry-over of a connection: what has arrived and is not yet a frame, or not yet decoded.
//!
//! Knows nothing of where the bytes come from.

use std::mem;

use super::load::Stretch;
use super::{Connection, Event, Flags, Load};
use crate::buffer::{Inbox, Pool};
use crate::close::CloseReason;
use crate::limits::Limits;
use crate::protocol::{Driver, Stop};

impl<D: Driver> Connection<D> {
    /// Takes the carry-over out, to drive it; what is left is put back with `keep_inbox`.
    pub(crate) fn take_inbox(&mut self) -> Inbox {
        self.load
            .as_mut()
            .map(|load| mem::take(&mut load.inbox))
            .unwrap_or_default()
    }

    /// Puts the carry-over back. `stop` says whether it is an unfinished frame, or not yet driven.
    pub(crate) fn keep_inbox(&mut self, inbox: Inbox, stop: Stop, limits: &Limits, tick: u64) {
        let len = inbox.len();
        if let Some(load) = &mut self.load {
            load.inbox = inbox;
        }
        self.kept(len, stop, limits, tick);
    }

    /// Keeps `rest`, which came straight from the read buffer, as carry-over.
    #[inline]
    pub(crate) fn keep_rest(
        &mut self,
        rest: &[u8],
        stop: Stop,
        limits: &Limits,
        loads: &mut Pool<Load>,
        tick: u64,
    ) {
        if rest.is_empty() || !self.state.delivers() {
            self.flags.set(Flags::UNDRIVEN, false);
            return;
        }
        let load = self.load.get_or_insert_with(|| loads.take());
        debug_assert!(
            load.inbox.is_empty(),
            "fresh input is driven directly only without it"
        );
        load.inbox.extend(rest);
        self.kept(rest.len(), stop, limits, tick);
    }

    fn kept(&mut self, len: usize, stop: Stop, limits: &Limits, tick: u64) {
        self.flags
            .set(Flags::UNDRIVEN, len > 0 && stop != Stop::More);
        if len == 0 || stop != Stop::More {
            if let Some(load) = &mut self.load {
                load.frame_since = None;
                load.stretch = None;
            }
            return;
        }
        let max = self.max_pending().unwrap_or(limits.max_inbound);
        if len > max {
            return self.on(Event::Finish(CloseReason::InboundLimit), tick);
        }
        let Some(load) = &mut self.load else { return };
        load.frame_since.get_or_insert(tick);
        if load.stretch.is_none() && limits.min_rate.is_some() {
            load.stretch = Some(Stretch {
                since: tick,
                bytes: 0,
            });
        }
    }

    /// Whether a carry-over comes before what is read next.
    #[inline]
    pub(crate) fn has_inbox(&self) -> bool {
        self.load
            .as_ref()
            .is_some_and(|load| !load.inbox.is_empty())
    }

    /// Appends what was read to the carry-over.
    pub(crate) fn extend_inbox(&mut self, bytes: &[u8]) {
        let load = self.load.as_mut().expect("there is a carry-over");
        load.inbox.extend(bytes);
        if let Some(stretch) = &mut load.stretch {
            stretch.bytes += bytes.len();
        }
        self.flags.set(Flags::UNDRIVEN, true);
    }
}
