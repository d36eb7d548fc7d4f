//! `Workload`: what is exchanged, and who serves it.
//!
//! Knows neither how it is counted nor what it may cost.

use std::net::SocketAddr;

use clap::ValueEnum;
use windlass::http::{Response, Router, Server};
use windlass::net::{Batching, Bind, DatagramOptions};
use windlass::{Datagram, DatagramContext, DatagramProtocol, Echo, Error, Raw, Reactor};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// 64 bytes over TCP, echoed.
    Echo,
    /// A request for a page of a few words.
    Http,
    /// 16 such requests in one write.
    HttpPipelined,
    /// 64 bytes in a datagram, echoed.
    UdpEcho,
    /// 64 such datagrams, taken one by one and answered once.
    UdpSink,
    /// The same as a train (GSO), echoed.
    UdpTrains,
    /// The train, taken and answered once.
    UdpSinkTrains,
}

impl Workload {
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value().expect("no value is skipped");
        value.get_name().to_owned()
    }

    /// What a client sends at once.
    pub(crate) fn request(self) -> Vec<u8> {
        match self {
            Workload::Echo | Workload::UdpEcho => MESSAGE.to_vec(),
            Workload::UdpSink | Workload::UdpTrains | Workload::UdpSinkTrains => {
                MESSAGE.repeat(TRAIN)
            }
            Workload::Http => REQUEST.to_vec(),
            Workload::HttpPipelined => REQUEST.repeat(PIPELINED),
        }
    }

    /// Messages in that.
    pub(crate) fn messages(self) -> usize {
        match self {
            Workload::HttpPipelined => PIPELINED,
            Workload::UdpSink | Workload::UdpTrains | Workload::UdpSinkTrains => TRAIN,
            Workload::Echo | Workload::Http | Workload::UdpEcho => 1,
        }
    }

    /// Whether this answers all that was sent at once.
    pub(crate) fn is_answered(self, received: &[u8]) -> bool {
        let end: &[u8] = match self {
            Workload::UdpSink | Workload::UdpSinkTrains => return received == DONE,
            Workload::Echo | Workload::UdpEcho | Workload::UdpTrains => MESSAGE,
            Workload::Http | Workload::HttpPipelined => BODY.as_bytes(),
        };
        // All replies are the same.
        let first = received.windows(end.len()).position(|part| part == end);
        first.is_some_and(|at| received.len() == (at + end.len()) * self.messages())
    }

    pub(crate) fn is_datagrams(self) -> bool {
        self == Workload::UdpEcho || self.has_trains()
    }

    /// Whether clients send trains. Who does not ask for them receives their datagrams.
    pub(crate) fn has_trains(self) -> bool {
        matches!(
            self,
            Workload::UdpSink | Workload::UdpTrains | Workload::UdpSinkTrains
        )
    }

    /// Has the reactor serve, and answers where.
    pub(crate) fn serve(self, reactor: &mut Reactor) -> Result<SocketAddr, Error> {
        let on = "127.0.0.1:0";
        let token = match self {
            Workload::Echo => reactor.listen(on, |_| Echo::<Raw>::default())?,
            Workload::UdpEcho | Workload::UdpTrains => reactor.bind(on, Echo::<Raw>::default())?,
            Workload::UdpSink => {
                let options = DatagramOptions {
                    batching: Some(Batching::Off),
                    ..DatagramOptions::default()
                };
                let bind = Bind::on(on).expect("it is an address");
                reactor.bind(bind.options(options), Sink::default())?
            }
            Workload::UdpSinkTrains => reactor.bind(on, Sink::default())?,
            Workload::Http | Workload::HttpPipelined => {
                let router = Router::new().get("/plaintext", |_| Response::text(BODY));
                let server = Server::new(router);
                reactor.listen(on, move |_| server.clone())?
            }
        };
        let address = reactor.local_addr(token)?;
        Ok(address.as_ip().expect("it listens on an IP address"))
    }
}

/// Counts what each client has sent by the train.
#[derive(Default)]
struct Sink(usize);

impl DatagramProtocol for Sink {
    fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut DatagramContext<'_>) {
        self.0 += datagram.len;
        if self.0 == TRAIN * MESSAGE.len() {
            self.0 = 0;
            cx.reply(DONE);
        }
    }
}

const PIPELINED: usize = 16;
/// Datagrams of a train: as many as every kernel cuts one into.
const TRAIN: usize = 64;
/// Of a datagram.
pub(crate) const SEGMENT_LEN: usize = MESSAGE.len();
const DONE: &[u8] = b"done";
const BODY: &str = "Hello, World!";
const MESSAGE: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ.\n";
const REQUEST: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\
    User-Agent: gates/1.0\r\nAccept: */*\r\n\r\n";
