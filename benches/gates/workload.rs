//! `Workload`: what is exchanged, and who serves it.
//!
//! Knows neither how it is counted nor what it may cost.

use std::net::SocketAddr;

use clap::ValueEnum;
use windlass::http::{Response, Router, Server};
use windlass::{Echo, Error, Raw, Reactor};

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
            Workload::Http => REQUEST.to_vec(),
            Workload::HttpPipelined => REQUEST.repeat(PIPELINED),
        }
    }

    /// Messages in that.
    pub(crate) fn messages(self) -> usize {
        match self {
            Workload::HttpPipelined => PIPELINED,
            Workload::Echo | Workload::Http | Workload::UdpEcho => 1,
        }
    }

    /// Whether this answers all that was sent at once.
    pub(crate) fn is_answered(self, received: &[u8]) -> bool {
        let end: &[u8] = match self {
            Workload::Echo | Workload::UdpEcho => MESSAGE,
            Workload::Http | Workload::HttpPipelined => BODY.as_bytes(),
        };
        // All replies are the same.
        let first = received.windows(end.len()).position(|part| part == end);
        first.is_some_and(|at| received.len() == (at + end.len()) * self.messages())
    }

    pub(crate) fn is_datagrams(self) -> bool {
        self == Workload::UdpEcho
    }

    /// Has the reactor serve, and answers where.
    pub(crate) fn serve(self, reactor: &mut Reactor) -> Result<SocketAddr, Error> {
        let on = "127.0.0.1:0";
        let token = match self {
            Workload::Echo => reactor.listen(on, |_| Echo::<Raw>::default())?,
            Workload::UdpEcho => reactor.bind(on, Echo::<Raw>::default())?,
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

const PIPELINED: usize = 16;
const BODY: &str = "Hello, World!";
const MESSAGE: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ.\n";
const REQUEST: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\
    User-Agent: gates/1.0\r\nAccept: */*\r\n\r\n";
