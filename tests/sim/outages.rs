//! Hosts that stop, pause and come back, partitions, clocks that jump, and too few descriptors:
//! afterwards everything works again, and nothing is left over.

use std::time::Duration;

use windlass::net::{Backoff, Connect, Listen};
use windlass::sim::{Host, Outcome, World, check, seeds};
use windlass::{Echo, Raw};

use crate::SEEDS;
use crate::client::{Cargo, Shared, pieces};
use crate::echo::Client;
use crate::hosts::{cut_for, cut_one_way_for, stop_for};

fn serve(world: &mut World, server: Host) {
    let watch = world.watch();
    let listen = Listen::new(world.address(server, 7)).name("echo");
    world
        .reactor(server)
        .listen(listen, move |_| watch.over(Echo::<Raw>::default()))
        .expect("the port is free");
}

fn call(world: &mut World, client: Host, server: Host) -> Shared {
    let pieces = pieces(world.random(), 5, 10_000);
    let notes = Shared::default();
    let protocol = world.watch().over(Client {
        cargo: Cargo::new(pieces),
        notes: notes.clone(),
    });
    let connect = Connect::new(world.address(server, 7)).retry(Backoff::default());
    world
        .reactor(client)
        .connect(connect, protocol)
        .expect("an address");
    notes
}

pub(crate) fn scenario(world: &mut World) -> Outcome {
    let (server, client) = (world.host("server"), world.host("client"));
    serve(world, server);
    let mut all = Vec::new();
    for _ in 0..1 + world.random().below(8) {
        let wait = Duration::from_millis(world.random().below(2_000) as u64);
        for _ in 0..world.random().below(3) {
            all.push(call(world, client, server));
        }
        match world.random().below(7) {
            0 => {
                stop_for(world, server, wait)?;
                serve(world, server);
            }
            1 => world.pause(server, wait),
            2 => world.pause(client, wait),
            3 => cut_for(world, server, client, wait)?,
            4 => cut_one_way_for(world, client, server, wait)?,
            5 => world.jump(client, wait * 10),
            _ => {
                let max = 1 + world.random().below(4);
                world.set_max_sockets(server, max);
                world.run_for(wait)?;
                world.set_max_sockets(server, usize::MAX);
            }
        }
        let pause = Duration::from_millis(world.random().below(100) as u64);
        world.run_for(pause)?;
    }
    // Everyone is told of an end, however long the limits let that take.
    let all_closed = |_: &mut World| all.iter().all(|notes| notes.borrow().closed.is_some());
    world.run_until(all_closed, Duration::from_secs(7_200))
}

#[test]
fn after_an_outage_everyone_was_told_of_an_end_and_nothing_is_left_over() {
    check(seeds(SEEDS), scenario);
}
