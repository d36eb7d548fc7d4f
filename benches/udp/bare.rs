//! The bare loops: the least that a UDP server on `mio` can do, one by one and by trains.
//!
//! One static buffer, edge-triggered. They protect from nothing: what cannot be sent is lost.

use std::array;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::os::fd::AsRawFd;

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmsg,
    sendmmsg, sendmsg, setsockopt, sockopt,
};

/// Serves until the process is killed.
pub(crate) fn one_by_one(is_sink: bool, announce: impl FnOnce(u16)) -> io::Result<()> {
    let mut socket = UdpSocket::bind(([127, 0, 0, 1], 0).into())?;
    announce(socket.local_addr()?.port());
    let mut buffer = vec![0; 65_536];
    serve(&mut socket, |socket| {
        let (len, from) = socket.recv_from(&mut buffer)?;
        if !is_sink || len == 1 {
            socket.send_to(&buffer[..len], from)?;
        }
        Ok(())
    })
}

/// The same with GRO and GSO.
pub(crate) fn trains(is_sink: bool, announce: impl FnOnce(u16)) -> io::Result<()> {
    let mut socket = UdpSocket::bind(([127, 0, 0, 1], 0).into())?;
    announce(socket.local_addr()?.port());
    setsockopt(&socket, sockopt::UdpGroSegment, &true)?;
    let mut buffer = vec![0; 65_536];
    let mut control = [0; 64];
    serve(&mut socket, |socket| {
        let descriptor = socket.as_raw_fd();
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let control = Some(&mut control[..]);
        let flags = MsgFlags::empty();
        let message = recvmsg::<SockaddrStorage>(descriptor, &mut slices, control, flags)?;
        let (len, from) = (message.bytes, message.address);
        let segment_len = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::UdpGroSegments(len) => u16::try_from(len).ok(),
            _ => None,
        });
        if is_sink && len != 1 {
            return Ok(());
        }
        let slices = [IoSlice::new(&buffer[..len])];
        let trains = segment_len.as_ref().map(ControlMessage::UdpGsoSegments);
        let controls = trains.as_slice();
        sendmsg(descriptor, &slices, controls, flags, from.as_ref())?;
        Ok(())
    })
}

/// Sends what is published to everybody who has subscribed, and believes everybody.
pub(crate) fn fan_out(announce: impl FnOnce(u16)) -> io::Result<()> {
    let mut socket = UdpSocket::bind(([127, 0, 0, 1], 0).into())?;
    announce(socket.local_addr()?.port());
    let mut buffer = vec![0; 65_536];
    let mut everybody: Vec<Option<SockaddrStorage>> = Vec::new();
    let mut headers = MultiHeaders::preallocate(BATCH, None);
    serve(&mut socket, |socket| {
        let (len, from) = socket.recv_from(&mut buffer)?;
        match buffer.get(5) {
            Some(3) => {}
            kind => {
                if kind == Some(&2) {
                    everybody.push(Some(from.into()));
                }
                socket.send_to(&buffer[..len], from)?;
                return Ok(());
            }
        }
        let from = SockaddrStorage::from(from);
        let slices: [_; BATCH] = array::from_fn(|_| [IoSlice::new(&buffer[..len])]);
        for some in everybody.chunks(BATCH) {
            // The one who publishes is left out, in the one batch in which it is.
            let others;
            let to = if some.contains(&Some(from)) {
                others = without(some, from);
                &others[..]
            } else {
                some
            };
            let flags = MsgFlags::empty();
            sendmmsg(socket.as_raw_fd(), &mut headers, &slices, to, [], flags)?;
        }
        Ok(())
    })
}

fn without(some: &[Option<SockaddrStorage>], one: SockaddrStorage) -> Vec<Option<SockaddrStorage>> {
    let others = some.iter().filter(|other| **other != Some(one));
    others.copied().collect()
}

/// Messages of a `sendmmsg`.
const BATCH: usize = 64;

fn serve(
    socket: &mut UdpSocket,
    mut step: impl FnMut(&UdpSocket) -> io::Result<()>,
) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(16);
    poll.registry()
        .register(socket, Token(0), Interest::READABLE)?;
    loop {
        poll.poll(&mut events, None)?;
        loop {
            match step(socket) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
}
