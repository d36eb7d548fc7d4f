//! `Acceptor`: a listener in the reactor.
//!
//! Accepts within its budget, asks the governor, and makes an entry of each connection by the
//! user's factory. Knows no concrete protocol.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;

use super::core::{Command, Core, Entry, Outcome};
use super::governor::{Failure, Governor};
use super::service::{Service, add};
use super::stream::StreamEntry;
use super::timers::TimerKey;
use crate::net::{Address, Network, Readiness};
use crate::protocol::IntoDriver;
use crate::token::Token;

/// Who has connected: what a listener's closure is told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Peer {
    /// The peer's address; `Address::Unnamed` for most Unix peers.
    pub address: Address,
    /// The connection that is about to be.
    pub token: Token,
    /// The listener.
    pub listener: Token,
}

/// A listening socket, and what makes protocols for its connections.
pub(super) struct Acceptor<N: Network, F> {
    listener: N::Listener,
    factory: F,
    governor: Governor,
    service: Rc<Service>,
    armed: Option<TimerKey>,
    /// Accepting may succeed; cleared by `WouldBlock` alone.
    is_ready: bool,
    is_queued: bool,
    is_starved: bool,
}

impl<N: Network, F, P> Acceptor<N, F>
where
    F: FnMut(&Peer) -> P,
    P: IntoDriver,
{
    pub(super) fn new(
        listener: N::Listener,
        factory: F,
        governor: Governor,
        service: Rc<Service>,
    ) -> Acceptor<N, F> {
        Acceptor {
            listener,
            factory,
            governor,
            service,
            armed: None,
            is_ready: true,
            is_queued: false,
            is_starved: false,
        }
    }

    fn accept_some(&mut self, token: Token, core: &mut Core<N>) {
        for _ in 0..core.budgets.accepts {
            // The fresh ones are not attached yet, but they count.
            if self.service.is_full.get() {
                // Peers wait in the backlog until enough connections have ended.
                return;
            }
            if !self.governor.has_room(self.service.counters.live.get()) {
                self.service.is_full.set(true);
                return;
            }
            match core.network.accept(&mut self.listener) {
                Ok((stream, address)) => {
                    if self.governor.on_accepted() {
                        log::info!("{}: accepting again", self.service.name);
                    }
                    self.is_starved = false;
                    adopt(
                        &mut self.factory,
                        &mut self.governor,
                        &self.service,
                        token,
                        (stream, address),
                        core,
                    );
                }
                Err(error) => match self.governor.on_error(&error) {
                    Failure::Drained => {
                        self.is_ready = false;
                        return;
                    }
                    Failure::Peer => log::debug!("{}: accept: {error}", self.service.name),
                    Failure::Exhausted { wait, is_first } => {
                        if is_first {
                            core.stats.accept_pauses += 1;
                            log::warn!("{}: accepting is paused: {error}", self.service.name);
                        }
                        if !self.is_starved {
                            self.is_starved = true;
                            core.starved.push(token);
                        }
                        // The backlog gives no second event: without the timer nobody would look.
                        core.disarm(&mut self.armed);
                        let again_at = core.tick_after(wait);
                        core.arm(token, &mut self.armed, Some(again_at));
                        return;
                    }
                },
            }
        }
        // The budget is spent: others first.
        if !self.is_queued {
            self.is_queued = true;
            core.enqueue(token);
        }
    }
}

/// Makes an entry of an accepted connection. It is attached after the acceptor has returned,
/// because the slab that it goes to is the one that the acceptor is in.
fn adopt<N: Network, F, P>(
    factory: &mut F,
    governor: &mut Governor,
    service: &Rc<Service>,
    listener: Token,
    (mut stream, address): (N::Stream, Address),
    core: &mut Core<N>,
) where
    F: FnMut(&Peer) -> P,
    P: IntoDriver,
{
    let token = core.fx.intents.tokens.reserve();
    let ip = address.as_ip().map(|address| address.ip());
    if !governor.admit(token, ip) {
        add(&service.counters.refused, 1);
        core.fx.intents.tokens.release(token);
        core.network.close(stream, true);
        return;
    }
    let peer = Peer {
        address,
        token,
        listener,
    };
    let make = || factory(&peer).into_accepted(&peer.address);
    let made = match panic::catch_unwind(AssertUnwindSafe(make)) {
        Ok(driver) => Some(driver),
        Err(panic) if !core.catch_panics => panic::resume_unwind(panic),
        Err(_) => {
            core.stats.panics += 1;
            add(&service.counters.panics, 1);
            log::error!(
                "{}: the closure that makes a protocol panicked",
                service.name
            );
            None
        }
    };
    let registered = core.network.register(token, &mut stream);
    if let Err(error) = &registered {
        log::warn!(
            "{}: a connection could not be registered: {error}",
            service.name
        );
    }
    match (made, registered) {
        (Some(driver), Ok(())) => {
            add(&service.counters.accepted, 1);
            let entry = StreamEntry::accepted(stream, driver, Rc::clone(service), core.mark);
            core.adopted.push((token, Box::new(entry)));
        }
        _ => {
            governor.on_closed(token);
            core.fx.intents.tokens.release(token);
            core.network.close(stream, true);
        }
    }
}

impl<N: Network, F, P> Entry<N> for Acceptor<N, F>
where
    F: FnMut(&Peer) -> P,
    P: IntoDriver,
{
    fn on_attach(&mut self, token: Token, core: &mut Core<N>) -> Outcome {
        self.accept_some(token, core);
        Outcome::Alive
    }

    fn on_ready(&mut self, token: Token, readiness: Readiness, core: &mut Core<N>) -> Outcome {
        if readiness == Readiness::NONE {
            self.is_queued = false;
        } else {
            self.is_ready = true;
        }
        if self.is_ready {
            self.accept_some(token, core);
        }
        Outcome::Alive
    }

    fn on_deadline(&mut self, token: Token, core: &mut Core<N>) -> Outcome {
        core.forget_fired(&mut self.armed);
        self.accept_some(token, core);
        Outcome::Alive
    }

    fn on_command(&mut self, token: Token, command: Command, core: &mut Core<N>) -> Outcome {
        match command {
            Command::Finish(_) | Command::Abort(_) | Command::Shutdown => {
                core.disarm(&mut self.armed);
                Outcome::Closed
            }
            // A descriptor was freed, or connections have ended.
            Command::Release => {
                self.is_starved = false;
                self.accept_some(token, core);
                Outcome::Alive
            }
            Command::Send(..)
            | Command::Datagram(..)
            | Command::Membership(..)
            | Command::Mail(_)
            | Command::Timer(_)
            | Command::OwnTimer(..)
            | Command::FinishWrites
            | Command::Resume
            | Command::Hold => Outcome::Alive,
        }
    }

    fn on_panic(&mut self, token: Token, core: &mut Core<N>) {
        // The factory's panics are caught where it is called, and nothing else is called.
        log::error!(
            "{}: {token}: a listener panicked: closed",
            self.service.name
        );
        core.disarm(&mut self.armed);
    }

    fn takes_mail(&self) -> bool {
        false
    }

    fn on_peer_closed(&mut self, token: Token) {
        if self.governor.counts_addresses() {
            self.governor.on_closed(token);
        }
    }

    fn release(self: Box<Self>, core: &mut Core<N>) -> Rc<Service> {
        core.network.close_listener(self.listener);
        self.service
    }

    fn service(&self) -> &Rc<Service> {
        &self.service
    }

    fn local_addr(&self, core: &Core<N>) -> io::Result<Address> {
        core.network.listener_addr(&self.listener)
    }
}
