//! `Extras`: what a UDP socket can do beyond `recvfrom` and `sendto`, where it can.
//!
//! One face for systems and builds with control messages, and for those without. Knows one socket,
//! and neither the poller nor tokens.

pub(super) use kind::Extras;

#[cfg(all(feature = "udp-batch", any(target_os = "linux", target_os = "android")))]
mod kind {
    use std::io::{self, ErrorKind};
    use std::net::{IpAddr, SocketAddr, UdpSocket};

    use socket2::Domain;

    use crate::net::bind::{Batching, DatagramOptions};
    use crate::net::datagrams::{Received, Report, Transmit};
    use crate::net::packets::{self, Packets};
    use crate::net::trains::{Change, Trains};

    /// Control messages, and when to use them.
    #[derive(Debug)]
    pub(in crate::net) struct Extras {
        packets: Box<Packets>,
        trains: Trains,
    }

    impl Extras {
        /// Prepares a socket. `has_address`: it is bound to one address, which is therefore known.
        pub(in crate::net) fn open(
            socket: &UdpSocket,
            domain: Domain,
            has_address: bool,
            options: &DatagramOptions,
        ) -> io::Result<Extras> {
            let batching = options.batching.unwrap_or(Batching::Auto);
            let mut extras = Extras {
                packets: Box::new(Packets::new(domain)),
                trains: Trains::new(batching),
            };
            Packets::set_reports(socket, domain)?;
            if options.packet_info.unwrap_or(!has_address) {
                extras.packets.set_info(socket, true)?;
            }
            if batching == Batching::On {
                extras.packets.set_trains(socket, true)?;
            }
            Ok(extras)
        }

        pub(in crate::net) fn set_options(
            &mut self,
            socket: &UdpSocket,
            options: &DatagramOptions,
        ) -> io::Result<()> {
            if let Some(on) = options.packet_info {
                self.packets.set_info(socket, on)?;
            }
            if let Some(batching) = options.batching {
                self.packets.set_trains(socket, batching == Batching::On)?;
                self.trains = Trains::new(batching);
            }
            Ok(())
        }

        pub(in crate::net) fn read_options(&self, options: &mut DatagramOptions) {
            options.packet_info = Some(self.packets.has_info);
            options.batching = Some(self.trains.batching());
        }

        /// Whether to receive by [`Extras::receive`].
        #[inline]
        pub(in crate::net) fn is_used(&self) -> bool {
            self.packets.is_used()
        }

        /// Receives with control messages.
        pub(in crate::net) fn receive(
            &mut self,
            socket: &UdpSocket,
            buf: &mut [u8],
            own: Option<IpAddr>,
        ) -> io::Result<Received> {
            if self.packets.has_trains && buf.len() < MIN_TRAIN_BUFFER_LEN {
                self.packets.set_trains(socket, false)?;
                self.trains.unsupported();
            }
            let received = self.packets.receive(socket, buf);
            if received.is_err() {
                self.trains.on_pause();
            }
            let mut received = received?;
            if own.is_some() {
                received.to = received.to.or(own);
                // The OS sends from there anyway.
                received.local = None;
            }
            if self.packets.has_trains {
                let is_train = received.segment_len < received.len;
                if self.trains.on_trial(is_train) == Some(Change::End) {
                    self.packets.set_trains(socket, false)?;
                }
            } else if received.datagram_len == received.len
                && let Some(from) = received.from.as_ip()
            {
                self.on_received(socket, from, received.len, buf.len());
            }
            Ok(received)
        }

        /// A single datagram was received.
        #[inline]
        pub(in crate::net) fn on_received(
            &mut self,
            socket: &UdpSocket,
            from: SocketAddr,
            len: usize,
            buf_len: usize,
        ) {
            if self.trains.on_single(from, len) == Some(Change::Begin)
                && (buf_len < MIN_TRAIN_BUFFER_LEN
                    || self.packets.set_trains(socket, true).is_err())
            {
                self.trains.unsupported();
            }
        }

        /// There was nothing to receive.
        #[inline]
        pub(in crate::net) fn on_pause(&mut self) {
            self.trains.on_pause();
        }

        #[inline]
        pub(in crate::net) fn max_train(&self) -> usize {
            self.trains.max_train()
        }

        /// Whether a datagram has to be sent by [`Extras::transmit`].
        #[inline]
        pub(in crate::net) fn is_needed(transmit: &Transmit<'_>) -> bool {
            transmit.segment_len.is_some()
                || transmit.from.is_some()
                || transmit.interface.is_some()
        }

        /// Sends with control messages.
        pub(in crate::net) fn transmit(
            &mut self,
            socket: &UdpSocket,
            to: Option<SocketAddr>,
            transmit: &Transmit<'_>,
        ) -> io::Result<()> {
            let sent = self.packets.transmit(socket, to, transmit);
            // A network card without checksums (EIO), or a path whose packets are shorter than one
            // segment (EINVAL): trains are over.
            if let Err(error) = &sent
                && transmit.segment_len.is_some()
                && (error.kind() == ErrorKind::InvalidInput || error.raw_os_error() == Some(EIO))
            {
                log::info!("trains of datagrams are not sent any more: {error}");
                self.trains.refused();
            }
            sent
        }

        pub(in crate::net) fn take_report(socket: &UdpSocket) -> Option<Report> {
            packets::take_report(socket)
        }

        pub(in crate::net) fn dropped(&self) -> u64 {
            self.packets.dropped()
        }
    }

    /// The kernel puts up to 64 KiB together; what does not fit would be lost.
    const MIN_TRAIN_BUFFER_LEN: usize = 65_535;
    /// The same on every system.
    const EIO: i32 = 5;
}

#[cfg(not(all(feature = "udp-batch", any(target_os = "linux", target_os = "android"))))]
mod kind {
    use std::io;
    use std::net::{IpAddr, SocketAddr, UdpSocket};

    use socket2::Domain;

    use crate::net::bind::{Batching, DatagramOptions};
    use crate::net::datagrams::{Received, Report, Transmit};
    use crate::net::sockopt;

    /// Nothing.
    #[derive(Debug)]
    pub(in crate::net) struct Extras;

    impl Extras {
        pub(in crate::net) fn open(
            socket: &UdpSocket,
            _: Domain,
            _: bool,
            options: &DatagramOptions,
        ) -> io::Result<Extras> {
            let mut extras = Extras;
            extras.set_options(socket, options)?;
            Ok(extras)
        }

        pub(in crate::net) fn set_options(
            &mut self,
            _: &UdpSocket,
            options: &DatagramOptions,
        ) -> io::Result<()> {
            if options.packet_info == Some(true) {
                return Err(sockopt::unsupported("IP_PKTINFO"));
            }
            if options.batching == Some(Batching::On) {
                return Err(sockopt::unsupported("UDP_GRO"));
            }
            Ok(())
        }

        pub(in crate::net) fn read_options(&self, options: &mut DatagramOptions) {
            options.packet_info = Some(false);
            options.batching = Some(Batching::Off);
        }

        #[inline]
        pub(in crate::net) fn is_used(&self) -> bool {
            false
        }

        pub(in crate::net) fn receive(
            &mut self,
            _: &UdpSocket,
            _: &mut [u8],
            _: Option<IpAddr>,
        ) -> io::Result<Received> {
            Err(sockopt::unsupported("recvmsg"))
        }

        #[inline]
        pub(in crate::net) fn on_received(
            &mut self,
            _: &UdpSocket,
            _: SocketAddr,
            _: usize,
            _: usize,
        ) {
        }

        #[inline]
        pub(in crate::net) fn on_pause(&mut self) {}

        #[inline]
        pub(in crate::net) fn max_train(&self) -> usize {
            1
        }

        /// An address to send from can be left to the OS, an interface cannot.
        #[inline]
        pub(in crate::net) fn is_needed(transmit: &Transmit<'_>) -> bool {
            transmit.segment_len.is_some() || transmit.interface.is_some()
        }

        pub(in crate::net) fn transmit(
            &mut self,
            _: &UdpSocket,
            _: Option<SocketAddr>,
            _: &Transmit<'_>,
        ) -> io::Result<()> {
            Err(sockopt::unsupported("IP_PKTINFO"))
        }

        pub(in crate::net) fn take_report(_: &UdpSocket) -> Option<Report> {
            None
        }

        pub(in crate::net) fn dropped(&self) -> u64 {
            0
        }
    }
}
