//! `Pool`: what the connections of one client share: the requests that wait, and who has room.
//!
//! Decides which connection is woken and when another one is opened. Knows nothing of bytes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use super::decoder::{Bounds, Responses};
use super::receiver::Receiver;
use super::request::Request;
use super::session::Session;
use crate::limits::Patience;
use crate::net::Connect;
use crate::protocol::Intents;
use crate::token::Token;

/// A request that is to be answered.
pub(super) struct Call {
    pub(super) request: Rc<Request>,
    pub(super) receiver: Box<dyn Receiver>,
    pub(super) retries_left: u8,
}

/// One connection, as the others see it.
struct Slot {
    token: Token,
    is_open: bool,
    /// Requests that it can take just now.
    room: usize,
    /// It was told that something waits.
    is_nudged: bool,
}

/// The mail to a connection that something waits.
pub(super) struct Waiting;

pub(super) struct Pool {
    connect: Connect,
    pub(super) host: String,
    pub(super) bounds: Rc<Bounds>,
    /// How long a server is waited for that owes us nothing.
    pub(super) idle: Patience,
    /// One that owes us an answer.
    pub(super) awaiting: Patience,
    /// Memory for the pieces of streamed bodies, lent to whoever is at it.
    pub(super) scratch: Cell<Vec<u8>>,
    // Borrowed within the methods below only, never while a callback runs.
    queue: RefCell<VecDeque<Call>>,
    slots: RefCell<Vec<Slot>>,
    is_closed: Cell<bool>,
}

impl Pool {
    pub(super) fn new(connect: Connect, host: String, bounds: Rc<Bounds>) -> Pool {
        let limits = &bounds.limits;
        let idle = Patience {
            idle: Some(limits.idle_timeout),
            is_passing: true,
            ..Patience::default()
        };
        let awaiting = Patience {
            idle: Some(limits.response_timeout),
            frame: Some(limits.head_timeout),
            is_passing: true,
            ..Patience::default()
        };
        Pool {
            connect,
            host,
            bounds,
            idle,
            awaiting,
            scratch: Cell::default(),
            queue: RefCell::default(),
            slots: RefCell::default(),
            is_closed: Cell::new(false),
        }
    }

    /// Puts a request behind those that wait; `false` if there is no room.
    pub(super) fn push(&self, call: Call) -> bool {
        let mut queue = self.queue.borrow_mut();
        let has_room = queue.len() < self.bounds.limits.max_queued;
        if has_room {
            queue.push_back(call);
        }
        has_room
    }

    /// Puts requests that were sent in vain before those that wait, in their order. They were
    /// taken from there, so the queue exceeds its limit by those under way at most.
    pub(super) fn put_back(&self, calls: impl DoubleEndedIterator<Item = Call>) {
        let mut queue = self.queue.borrow_mut();
        for call in calls.rev() {
            queue.push_front(call);
        }
    }

    /// The request that waits longest, if it `suits`.
    pub(super) fn take_if(&self, suits: impl FnOnce(&Request) -> bool) -> Option<Call> {
        let mut queue = self.queue.borrow_mut();
        let is_taken = queue.front().is_some_and(|call| suits(&call.request));
        if is_taken { queue.pop_front() } else { None }
    }

    /// Everything that waits, if nobody is left who could send it.
    pub(super) fn take_stranded(&self) -> VecDeque<Call> {
        if self.slots.borrow().is_empty() {
            self.queue.take()
        } else {
            VecDeque::new()
        }
    }

    /// Sees to it that what waits is sent: by a connection that has room, or by another one.
    pub(super) fn dispatch(self: &Rc<Pool>, cx: &mut Intents) {
        let mut slots = self.slots.borrow_mut();
        let mut waiting = self.queue.borrow().len();
        // The connection whose callback is running looks by itself when that has returned.
        let own = slots.iter().find(|slot| slot.token == cx.token());
        waiting = waiting.saturating_sub(own.map_or(0, |slot| slot.room));
        for slot in slots.iter_mut() {
            if waiting == 0 {
                return;
            }
            if slot.room == 0 || slot.token == cx.token() {
                continue;
            }
            waiting = waiting.saturating_sub(slot.room);
            if slot.is_open && !slot.is_nudged {
                slot.is_nudged = true;
                cx.mail_to(slot.token, Waiting);
            }
        }
        while waiting > 0 && slots.len() < self.bounds.limits.max_connections.max(1) {
            let token = cx.connect(self.connect.clone(), self.connection());
            slots.push(Slot {
                token,
                is_open: false,
                room: 1,
                is_nudged: false,
            });
            waiting -= 1;
        }
    }

    /// What serves a connection.
    fn connection(self: &Rc<Pool>) -> (Responses, (), Session) {
        let asked = Rc::new(Cell::new(None));
        let is_followed = Rc::new(Cell::new(false));
        let responses = Responses::within(
            Rc::clone(&self.bounds),
            Rc::clone(&asked),
            Rc::clone(&is_followed),
        );
        let session = Session::new(Rc::clone(self), asked, is_followed);
        (responses, (), session)
    }

    /// A connection is open and can take so many requests.
    pub(super) fn has_room(&self, token: Token, room: usize) {
        let mut slots = self.slots.borrow_mut();
        if let Some(slot) = slots.iter_mut().find(|slot| slot.token == token) {
            slot.room = room;
            slot.is_open = true;
            slot.is_nudged = false;
        }
    }

    /// A connection takes no further requests, or has ended.
    pub(super) fn remove(&self, token: Token) {
        self.slots.borrow_mut().retain(|slot| slot.token != token);
    }

    /// Ends the connections that are idle; the others end when they have nothing to do.
    pub(super) fn close(&self, cx: &mut Intents) {
        self.is_closed.set(true);
        for slot in self.slots.borrow().iter() {
            cx.mail_to(slot.token, Waiting);
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    /// Whether it was closed and everything is on its way.
    pub(super) fn is_done(&self) -> bool {
        self.is_closed.get() && self.queue.borrow().is_empty()
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.borrow().len()
    }

    pub(super) fn connections(&self) -> usize {
        self.slots.borrow().len()
    }
}
