//! Datagrams where there are none: opening such a socket answers `Unsupported`.
//!
//! Knows the networks of this room by their names alone.

use std::io::{self, ErrorKind};

use super::network::SimNet;
use super::record::Record;
use super::replay::Replay;
use crate::net::{
    Address, Bind, DatagramOptions, Datagrams, Membership, Network, Received, Report, Transmit,
};
use crate::token::Token;

/// A datagram socket on a network that has none: there is no such value.
#[derive(Debug)]
pub enum NoDatagram {}

macro_rules! no_datagrams {
    ([$($generics:tt)*] $network:ty) => {
        impl<$($generics)*> Datagrams for $network {
            type Datagram = NoDatagram;

            fn bind(&mut self, _: Token, _: &Bind) -> io::Result<NoDatagram> {
                Err(ErrorKind::Unsupported.into())
            }

            fn receive(&mut self, socket: &mut NoDatagram, _: &mut [u8]) -> io::Result<Received> {
                match *socket {}
            }

            fn transmit(&mut self, socket: &mut NoDatagram, _: &Transmit<'_>) -> io::Result<()> {
                match *socket {}
            }

            fn take_report(&mut self, socket: &mut NoDatagram) -> Option<Report> {
                match *socket {}
            }

            fn close_datagram(&mut self, socket: NoDatagram) {
                match socket {}
            }

            fn datagram_addr(&self, socket: &NoDatagram) -> io::Result<Address> {
                match *socket {}
            }

            fn datagram_peer(&self, socket: &NoDatagram) -> io::Result<Address> {
                match *socket {}
            }

            fn set_datagram_options(
                &mut self,
                socket: &mut NoDatagram,
                _: &DatagramOptions,
            ) -> io::Result<()> {
                match *socket {}
            }

            fn datagram_options(&self, socket: &NoDatagram) -> io::Result<DatagramOptions> {
                match *socket {}
            }

            fn join(&mut self, socket: &mut NoDatagram, _: &Membership) -> io::Result<()> {
                match *socket {}
            }

            fn leave(&mut self, socket: &mut NoDatagram, _: &Membership) -> io::Result<()> {
                match *socket {}
            }
        }
    };
}

no_datagrams!([] SimNet);
no_datagrams!([N: Network] Record<N>);
no_datagrams!([] Replay);
