//! How many messages a simulated world carries per second, on one core: lines to an echo server
//! and back, without faults and with all of them.
//!
//! `cargo bench --bench sim --features sim`. Prints one line per case; a message is counted once
//! for each time that it crosses the network.

#![allow(
    clippy::disallowed_methods,
    reason = "a bench measures real time; the rule is for the library"
)]

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use windlass::sim::{Faults, World};
use windlass::{Config, Context, Echo, Lines, Protocol};

/// Keeps so many lines under way until it has seen its share.
struct Client {
    window: usize,
    left: u64,
    seen: Rc<Cell<u64>>,
}

impl Protocol for Client {
    type Decoder = Lines;
    type Encoder = Lines;

    fn on_open(&mut self, cx: &mut Context<'_, Lines>) {
        for _ in 0..self.window {
            cx.send("haul away, and make it fast");
        }
    }

    fn on_frame(&mut self, line: &[u8], cx: &mut Context<'_, Lines>) {
        self.seen.set(self.seen.get() + 1);
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            cx.send(line);
        } else {
            cx.finish();
        }
    }
}

fn measure(name: &str, faults: Faults, clients: u64, window: usize) {
    let mut world = World::with_faults(1, faults);
    let (server, client) = (world.host("server"), world.host("client"));
    world.configure(server, Config::default());
    world.configure(client, Config::default());
    let address = world.address(server, 7);
    world
        .reactor(server)
        .listen(address, |_| Echo::<Lines>::default())
        .expect("the port is free");
    let seen = Rc::new(Cell::new(0));
    for _ in 0..clients {
        let protocol = Client {
            window,
            left: MESSAGES / clients,
            seen: Rc::clone(&seen),
        };
        let reactor = world.reactor(client);
        reactor.connect(address, protocol).expect("an address");
    }
    let began = Instant::now();
    let is_done = |_: &mut World| seen.get() >= MESSAGES / clients * clients;
    if let Err(failure) = world.run_until(is_done, Duration::from_secs(36_000)) {
        println!("{name}: {failure}");
        return;
    }
    let took = began.elapsed().as_secs_f64();
    let messages = 2 * seen.get();
    println!(
        "{name}: {:.0} messages/s ({} lines of trace)",
        messages as f64 / took,
        world.trace_len()
    );
}

fn main() {
    let mild = Faults {
        reset: 0.0,
        refuse: 0.0,
        abort_accept: 0.0,
        ..Faults::default()
    };
    measure("one by one, 1 client", Faults::none(), 1, 1);
    measure("one by one, 100 clients", Faults::none(), 100, 1);
    measure("16 under way, 10 clients", Faults::none(), 10, 16);
    measure("16 under way, 10 clients, all faults", mild, 10, 16);
}

/// Round trips of each case.
const MESSAGES: u64 = 200_000;
