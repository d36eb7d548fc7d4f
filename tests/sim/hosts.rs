//! What happens to the hosts of several scenarios, and to the paths between them.

use std::time::Duration;

use windlass::Config;
use windlass::sim::{Host, Outcome, World};

/// Gives a host a buffer that no datagram is too long for, where that is not what is tested.
pub(crate) fn give_room(world: &mut World, host: Host) {
    let config = Config {
        catch_panics: false,
        ..Config::default()
    };
    world.configure(host, config);
}

/// A host is down for so long, and comes back with nothing on it.
pub(crate) fn stop_for(world: &mut World, host: Host, wait: Duration) -> Outcome {
    world.stop(host);
    world.run_for(wait)?;
    world.restart(host);
    Ok(())
}

/// Nothing passes between two hosts for so long.
pub(crate) fn cut_for(world: &mut World, a: Host, b: Host, wait: Duration) -> Outcome {
    world.partition(a, b);
    world.run_for(wait)?;
    world.heal(a, b);
    Ok(())
}

/// Nothing passes from one host to another for so long.
pub(crate) fn cut_one_way_for(world: &mut World, from: Host, to: Host, wait: Duration) -> Outcome {
    world.partition_one_way(from, to);
    world.run_for(wait)?;
    world.heal(from, to);
    Ok(())
}
