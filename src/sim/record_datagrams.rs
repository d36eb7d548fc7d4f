//! How datagrams are recorded, and how they are replayed.
//!
//! Knows the format of their entries, and nothing of what is in them.

use std::io::{self, ErrorKind};
use std::net::IpAddr;

use super::record::{
    BIND, CLOSE_DATAGRAM, JOIN, LEAVE, OK, RECEIVE, REPORT, Record, TRAIN, TRANSMIT, status,
};
use super::replay::Replay;
use crate::close::OsError;
use crate::net::{
    Address, Bind, DatagramOptions, Datagrams, Ecn, Membership, Network, Received, Report, Transmit,
};
use crate::token::Token;

/// A datagram socket of a [`Record`].
#[derive(Debug)]
pub struct RecordDatagram<D> {
    socket: D,
    number: u32,
}

impl<N: Network> Datagrams for Record<N> {
    type Datagram = RecordDatagram<N::Datagram>;

    fn bind(&mut self, token: Token, bind: &Bind) -> io::Result<Self::Datagram> {
        let result = self.network.bind(token, bind);
        let address = result.as_ref().ok().map(|s| self.network.datagram_addr(s));
        let address = address.transpose()?.map(|address| address.to_string());
        let number = self.next_datagram;
        self.next_datagram += 1;
        let address = address.unwrap_or_default();
        self.log(BIND, number, status(&result), address.as_bytes());
        Ok(RecordDatagram {
            socket: result?,
            number,
        })
    }

    fn receive(&mut self, socket: &mut Self::Datagram, buf: &mut [u8]) -> io::Result<Received> {
        let result = self.network.receive(&mut socket.socket, buf);
        let mut bytes = Vec::new();
        if let Ok(received) = &result {
            bytes = envelope(received);
            bytes.extend_from_slice(&buf[..received.len]);
        }
        self.log(RECEIVE, socket.number, status(&result), &bytes);
        result
    }

    fn transmit(&mut self, socket: &mut Self::Datagram, transmit: &Transmit<'_>) -> io::Result<()> {
        let result = self.network.transmit(&mut socket.socket, transmit);
        let bytes = letter(transmit);
        self.log(TRANSMIT, socket.number, status(&result), &bytes);
        result
    }

    fn take_report(&mut self, socket: &mut Self::Datagram) -> Option<Report> {
        let report = self.network.take_report(&mut socket.socket);
        let text = report.as_ref().map(|report| {
            let to = report.to.as_ref().map(Address::to_string);
            format!("{} {}", report.error.raw(), to.unwrap_or_default())
        });
        let text = text.unwrap_or_default();
        self.log(REPORT, socket.number, OK, text.as_bytes());
        report
    }

    fn max_train(&self, socket: &Self::Datagram) -> usize {
        let max = self.network.max_train(&socket.socket);
        self.log(TRAIN, socket.number, OK, &(max as u64).to_le_bytes());
        max
    }

    fn dropped(&self, socket: &Self::Datagram) -> u64 {
        self.network.dropped(&socket.socket)
    }

    fn close_datagram(&mut self, socket: Self::Datagram) {
        self.log(CLOSE_DATAGRAM, socket.number, OK, &[]);
        self.network.close_datagram(socket.socket);
    }

    fn datagram_addr(&self, socket: &Self::Datagram) -> io::Result<Address> {
        self.network.datagram_addr(&socket.socket)
    }

    fn datagram_peer(&self, socket: &Self::Datagram) -> io::Result<Address> {
        self.network.datagram_peer(&socket.socket)
    }

    fn set_datagram_options(
        &mut self,
        socket: &mut Self::Datagram,
        options: &DatagramOptions,
    ) -> io::Result<()> {
        self.network
            .set_datagram_options(&mut socket.socket, options)
    }

    fn datagram_options(&self, socket: &Self::Datagram) -> io::Result<DatagramOptions> {
        self.network.datagram_options(&socket.socket)
    }

    fn join(&mut self, socket: &mut Self::Datagram, membership: &Membership) -> io::Result<()> {
        let result = self.network.join(&mut socket.socket, membership);
        self.log(JOIN, socket.number, status(&result), &[]);
        result
    }

    fn leave(&mut self, socket: &mut Self::Datagram, membership: &Membership) -> io::Result<()> {
        let result = self.network.leave(&mut socket.socket, membership);
        self.log(LEAVE, socket.number, status(&result), &[]);
        result
    }
}

/// A datagram socket in a replay.
#[derive(Debug)]
pub struct ReplayDatagram {
    number: u32,
    address: Address,
    peer: Option<Address>,
}

impl Datagrams for Replay {
    type Datagram = ReplayDatagram;

    fn bind(&mut self, _: Token, bind: &Bind) -> io::Result<ReplayDatagram> {
        let number = self.next_datagram;
        self.next_datagram += 1;
        let address = self.tape().outcome(BIND, number)?.bytes.clone();
        let address = String::from_utf8_lossy(&address).parse();
        Ok(ReplayDatagram {
            number,
            address: address.unwrap_or(Address::Unnamed),
            peer: bind.peer.clone(),
        })
    }

    fn receive(&mut self, socket: &mut ReplayDatagram, buf: &mut [u8]) -> io::Result<Received> {
        let mut tape = self.tape();
        let entry = tape.outcome(RECEIVE, socket.number)?;
        let (mut received, bytes) = opened(&entry.bytes).ok_or(ErrorKind::InvalidData)?;
        received.len = bytes.len().min(buf.len());
        buf[..received.len].copy_from_slice(&bytes[..received.len]);
        Ok(received)
    }

    fn transmit(&mut self, socket: &mut ReplayDatagram, transmit: &Transmit<'_>) -> io::Result<()> {
        let offered = letter(transmit);
        self.tape()
            .compare(TRANSMIT, socket.number, &offered)
            .map(drop)
    }

    fn take_report(&mut self, socket: &mut ReplayDatagram) -> Option<Report> {
        let mut tape = self.tape();
        let entry = tape.outcome(REPORT, socket.number).ok()?;
        let text = String::from_utf8_lossy(&entry.bytes);
        let (code, to) = text.split_once(' ')?;
        Some(Report {
            to: to.parse().ok(),
            error: OsError::from_raw(code.parse().ok()?),
        })
    }

    fn max_train(&self, socket: &ReplayDatagram) -> usize {
        let mut tape = self.tape();
        let entry = tape.outcome(TRAIN, socket.number).ok();
        let max = entry.and_then(|entry| entry.bytes.first_chunk().copied());
        max.map_or(1, |max| u64::from_le_bytes(max) as usize)
    }

    fn close_datagram(&mut self, socket: ReplayDatagram) {
        // A difference is noted; there is nobody to answer.
        let _ = self.tape().outcome(CLOSE_DATAGRAM, socket.number);
    }

    fn datagram_addr(&self, socket: &ReplayDatagram) -> io::Result<Address> {
        Ok(socket.address.clone())
    }

    fn datagram_peer(&self, socket: &ReplayDatagram) -> io::Result<Address> {
        socket
            .peer
            .clone()
            .ok_or_else(|| ErrorKind::NotConnected.into())
    }

    fn set_datagram_options(
        &mut self,
        _: &mut ReplayDatagram,
        _: &DatagramOptions,
    ) -> io::Result<()> {
        Ok(())
    }

    fn datagram_options(&self, _: &ReplayDatagram) -> io::Result<DatagramOptions> {
        Ok(DatagramOptions::default())
    }

    fn join(&mut self, socket: &mut ReplayDatagram, _: &Membership) -> io::Result<()> {
        self.tape().outcome(JOIN, socket.number).map(drop)
    }

    fn leave(&mut self, socket: &mut ReplayDatagram, _: &Membership) -> io::Result<()> {
        self.tape().outcome(LEAVE, socket.number).map(drop)
    }
}

/// What is known of a datagram that was received: a line of numbers, the address that it was sent
/// to, and behind its length the one it came from, because that may be any path.
fn envelope(received: &Received) -> Vec<u8> {
    let to = received.to.map(|to| to.to_string()).unwrap_or_default();
    let interface = received.interface.map_or(-1, i64::from);
    let ecn = received.ecn.map_or(-1, |ecn| {
        ECN.iter().position(|e| *e == ecn).map_or(-1, |e| e as i64)
    });
    let (from, segment_len, datagram_len) = (
        received.from.to_string(),
        received.segment_len,
        received.datagram_len,
    );
    format!(
        "{segment_len} {datagram_len} {interface} {ecn} {} {to}\n{from}",
        from.len()
    )
    .into_bytes()
}

/// Reads an envelope; answers the bytes behind it as well.
fn opened(entry: &[u8]) -> Option<(Received, &[u8])> {
    let end = entry.iter().position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&entry[..end]).ok()?;
    let mut words = line.split(' ');
    let mut number = || words.next()?.parse::<i64>().ok();
    let (segment_len, datagram_len) = (number()?, number()?);
    let (interface, ecn, from_len) = (number()?, number()?, number()?);
    let to: Option<IpAddr> = words.next().and_then(|to| to.parse().ok());
    let (from, bytes) = entry[end + 1..].split_at_checked(usize::try_from(from_len).ok()?)?;
    let from = String::from_utf8_lossy(from).parse();
    let received = Received {
        segment_len: usize::try_from(segment_len).ok()?,
        datagram_len: usize::try_from(datagram_len).ok()?,
        to,
        interface: u32::try_from(interface).ok(),
        ecn: usize::try_from(ecn)
            .ok()
            .and_then(|ecn| ECN.get(ecn).copied()),
        ..Received::single(bytes.len(), from.unwrap_or(Address::Unnamed))
    };
    Some((received, bytes))
}

/// What is sent, with where to and in what pieces.
fn letter(transmit: &Transmit<'_>) -> Vec<u8> {
    let to = transmit.to.map(Address::to_string).unwrap_or_default();
    let segment_len = transmit.segment_len.unwrap_or(0);
    let mut letter = format!("to {to}, {segment_len}: ").into_bytes();
    letter.extend_from_slice(transmit.bytes);
    letter
}

/// The marks, by the numbers that stand for them in a record.
const ECN: [Ecn; 4] = [Ecn::NotCapable, Ecn::Ect0, Ecn::Ect1, Ecn::Congested];
