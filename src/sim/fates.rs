//! `Fates`: what became of the datagrams of a world, so that none is missing without a reason.
//!
//! Counts what it is told; knows no rule by which a datagram is lost.

use super::fabric::Fabric;
use super::flight::{Flight, Letter};
use super::trace::What;
use crate::token::Token;

/// What became of the datagrams of a [`World`](super::World).
///
/// Once everything was counted, `copies == received + lost() + under_way`; every world is held to
/// that at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fates {
    /// Datagrams that sockets took to be sent.
    pub sent: u64,
    /// How many that makes on their way: one for each host that a datagram goes to and for each
    /// socket there that shares its address, and one more where it is doubled.
    pub copies: u64,
    /// Received by a reactor, whole or cut off.
    pub received: u64,
    /// Lost on the way, by chance: [`Faults::lose_datagram`](super::Faults::lose_datagram).
    pub lost_by_chance: u64,
    /// Lost because nothing gets through between the hosts.
    pub lost_to_partition: u64,
    /// Lost because the host that sent it, or that it goes to, was down.
    pub lost_to_outage: u64,
    /// Lost because nobody receives at that address.
    pub lost_unclaimed: u64,
    /// Lost because the receiving socket held too many.
    pub lost_for_room: u64,
    /// Lost because the receiving socket was closed before its owner received it.
    pub lost_unread: u64,
    /// In a send buffer, on the way, or waiting to be received.
    pub under_way: u64,
}

impl Fates {
    /// How many were lost, for any reason.
    pub fn lost(&self) -> u64 {
        self.lost_by_chance
            + self.lost_to_partition
            + self.lost_to_outage
            + self.lost_unclaimed
            + self.lost_for_room
            + self.lost_unread
    }
}

/// Why a datagram does not get there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    Chance,
    Partition,
    Outage,
    Unclaimed,
    NoRoom,
    Unread,
}

impl Fabric {
    /// A datagram that is on its way to a host does not get there.
    pub(super) fn lose(&mut self, host: usize, token: Option<Token>, loss: Loss, letter: &Letter) {
        let fates = &mut self.fates;
        let (count, what) = match loss {
            Loss::Chance => (&mut fates.lost_by_chance, What::LostByChance),
            Loss::Partition => (&mut fates.lost_to_partition, What::LostToPartition),
            Loss::Outage => (&mut fates.lost_to_outage, What::LostToOutage),
            Loss::Unclaimed => (&mut fates.lost_unclaimed, What::LostUnclaimed),
            Loss::NoRoom => (&mut fates.lost_for_room, What::LostForRoom),
            Loss::Unread => (&mut fates.lost_unread, What::LostUnread),
        };
        *count += 1;
        self.log(host, token, what, letter.bytes.len() as u64);
    }

    pub(super) fn fates_so_far(&self) -> Fates {
        let flights = self.flights.iter().map(|(_, flight)| match flight {
            Flight::Departure(departure) => departure.copies(),
            Flight::Letter { .. } => 1,
            Flight::Refusal { .. } => 0,
        });
        let sockets = self
            .datagrams
            .iter()
            .map(|(_, socket)| socket.inbound.len());
        Fates {
            under_way: flights.chain(sockets).sum::<usize>() as u64,
            ..self.fates
        }
    }
}
