//! What a scenario can do to a world's hosts and to the paths between them.
//!
//! Knows hosts and paths; what becomes of the connections is the network's business.

use std::time::Duration;

use super::agenda::Happening;
use super::fabric::Sleep;
use super::trace::What;
use super::world::{Host, World};

impl World {
    /// Stops a host, as if its power had failed: its peers hear nothing of it. Its protocols are
    /// told of their end, so that they can be accounted for.
    pub fn stop(&mut self, host: Host) {
        self.fabric().hosts[host.0].is_up = false;
        self.set_reactor(host, None);
        let mut fabric = self.fabric();
        let state = &mut fabric.hosts[host.0];
        state.ready.clear();
        state.suspects.clear();
        state.former.clear();
        fabric.lose_unsent(host.0);
        fabric.log(host.0, None, What::Stop, 0);
    }

    /// Starts a host that was stopped, with a new and empty reactor. What its old peers sent it
    /// meanwhile is answered with a reset.
    pub fn restart(&mut self, host: Host) {
        let reactor = self.new_reactor(host);
        let mut fabric = self.fabric();
        fabric.hosts[host.0].is_up = true;
        fabric.hosts[host.0].sleep = Sleep::Awake;
        fabric.answer_the_lost(host.0);
        fabric.log(host.0, None, What::Restart, 0);
        drop(fabric);
        self.set_reactor(host, Some(reactor));
    }

    /// Keeps a host from running for a while: it is swapped out, or debugged. Its deadlines are
    /// late from then on, which is not held against it.
    pub fn pause(&mut self, host: Host, duration: Duration) {
        let mut fabric = self.fabric();
        fabric.hosts[host.0].is_paused = true;
        fabric.hosts[host.0].is_late = true;
        let at = fabric.now + duration;
        fabric.agenda.push(at, Happening::Resume { host: host.0 });
        fabric.log(host.0, None, What::Pause, duration.as_nanos() as u64);
    }

    /// Sets a host's clock ahead, as when a machine wakes up.
    pub fn jump(&mut self, host: Host, by: Duration) {
        let mut fabric = self.fabric();
        let now = fabric.now;
        let state = &mut fabric.hosts[host.0];
        state.skew += by;
        state.is_late = true;
        if let Sleep::Until(Some(until)) = &mut state.sleep {
            *until = until.saturating_sub(by).max(now);
        }
        fabric.log(host.0, None, What::Jump, by.as_nanos() as u64);
    }

    /// Nothing gets through between two hosts any more, in both directions. Connections live on,
    /// and what is sent meanwhile arrives once the partition is healed.
    pub fn partition(&mut self, one: Host, other: Host) {
        self.partition_one_way(one, other);
        self.partition_one_way(other, one);
    }

    /// Nothing gets through from one host to another any more.
    pub fn partition_one_way(&mut self, from: Host, to: Host) {
        let mut fabric = self.fabric();
        fabric.cuts.insert((from.0, to.0));
        fabric.log(from.0, None, What::Cut, to.0 as u64);
    }

    /// Ends the partitions between two hosts.
    pub fn heal(&mut self, one: Host, other: Host) {
        let mut fabric = self.fabric();
        fabric.cuts.remove(&(one.0, other.0));
        fabric.cuts.remove(&(other.0, one.0));
        fabric.log(one.0, None, What::Heal, other.0 as u64);
        fabric.release_held();
    }

    /// Ends all partitions.
    pub fn heal_all(&mut self) {
        let mut fabric = self.fabric();
        fabric.cuts.clear();
        fabric.release_held();
    }

    /// Limits the sockets that a host may have open: beyond, accepting and connecting fail with
    /// `EMFILE`.
    pub fn set_max_sockets(&mut self, host: Host, max: usize) {
        self.fabric().hosts[host.0].max_sockets = max;
    }
}
