//! Everything at once: all the services of this crate, on one reactor.
//!
//! Step four of the story: a listener more is a line more. Whatever the services are, they share
//! one thread, one poller and one read buffer, and none can starve the others. Try it:
//!
//! ```text
//! cargo run --release --example serve -- --stats 5
//! printf 'hello\n' | nc -N 127.0.0.1 7000
//! open http://127.0.0.1:8080          # a page that tells what runs, and how it is doing
//! ```

mod common;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches, Parser, value_parser};

use common::board::{Board, Row};
use windlass::framing::LengthPrefixed;
use windlass::net::{Address, Bind, Listen};
use windlass::protocol::{Announcer, Chargen};
use windlass::{Discard, Echo, Error, Lines, Raw, Reactor, Token};

/// Every service, in the order in which their sockets are announced. The ports leave room for the
/// other examples, so that they run side by side.
const SERVICES: &[Service] = &[
    Service {
        name: "echo",
        about: "echo, of whatever a read returns",
        scheme: "tcp",
        port: 7000,
        open: |reactor, address, _| {
            let listen = Listen::new(address).name("echo");
            reactor.listen(listen, |_| Echo::<Raw>::default())
        },
    },
    Service {
        name: "chat",
        about: "the chat server",
        scheme: "tcp",
        port: 7004,
        open: |reactor, address, _| common::chat::listen(reactor, address, Duration::from_secs(30)),
    },
    Service {
        name: "echo-lines",
        about: "echo, line by line",
        scheme: "tcp",
        port: 7005,
        open: |reactor, address, _| {
            let listen = Listen::new(address).name("echo-lines");
            reactor.listen(listen, |_| Echo::<Lines>::default())
        },
    },
    Service {
        name: "echo-length",
        about: "echo, of frames behind a length of four bytes, big-endian",
        scheme: "tcp",
        port: 7006,
        open: |reactor, address, _| {
            let listen = Listen::new(address).name("echo-length");
            reactor.listen(listen, |_| Echo::<LengthPrefixed>::default())
        },
    },
    Service {
        name: "discard",
        about: "takes everything, and says nothing",
        scheme: "tcp",
        port: 7007,
        open: |reactor, address, _| {
            reactor.listen(Listen::new(address).name("discard"), |_| Discard)
        },
    },
    Service {
        name: "chargen",
        about: "sends for as long as the peer takes it",
        scheme: "tcp",
        port: 7008,
        open: |reactor, address, _| {
            let listen = Listen::new(address).name("chargen");
            reactor.listen(listen, |_| Chargen::endless())
        },
    },
    Service {
        name: "http",
        about: "a page that tells what runs, and how it is doing",
        scheme: "http",
        port: 8080,
        open: |reactor, address, board| board.listen(reactor, address),
    },
    Service {
        name: "udp-echo",
        about: "echo, of each datagram",
        scheme: "udp",
        port: 7000,
        open: |reactor, address, _| {
            let bind = Bind::new(address).name("udp-echo");
            reactor.bind(bind, Echo::<Raw>::default())
        },
    },
    Service {
        name: "announcer",
        about: "tells everybody on the network that this runs; see udp_broadcast",
        scheme: "udp",
        port: 7401,
        open: announce,
    },
    #[cfg(feature = "hub")]
    Service {
        name: "hub",
        about: "publish and subscribe; see udp_hub",
        scheme: "udp",
        port: 7500,
        open: |reactor, address, _| {
            let mut key = [0; 32];
            std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut key)?;
            let hub = windlass::protocol::Hub::new(&key, Default::default());
            reactor.bind(Bind::new(address).name("hub"), hub)
        },
    },
];

/// Announces to the network that the address is on: from 127.0.0.1, to this machine alone.
fn announce(reactor: &mut Reactor, address: Address, _: &Board) -> Result<Token, Error> {
    let is_loopback = address.as_ip().is_some_and(|ip| ip.ip().is_loopback());
    let everybody = if is_loopback {
        Ipv4Addr::new(127, 255, 255, 255)
    } else {
        Ipv4Addr::BROADCAST
    };
    // One process is one sender, as long as it runs.
    let id = u64::from(std::process::id());
    let announcer = Announcer::new(id, "serve")
        .to(SocketAddr::from((everybody, 7400)))
        .every(Duration::from_secs(5));
    let bind = Bind::new(address).name("announcer").broadcast(true);
    reactor.bind(bind, announcer)
}

/// A row of the table.
struct Service {
    /// Also the option that gives it another address.
    name: &'static str,
    about: &'static str,
    scheme: &'static str,
    port: u16,
    open: fn(&mut Reactor, Address, &Board) -> Result<Token, Error>,
}

impl Service {
    fn option(&self) -> Arg {
        Arg::new(self.name)
            .long(self.name)
            .value_name("ADDRESS")
            .value_parser(value_parser!(Address))
            .help(format!("{} [default: HOST:{}]", self.about, self.port))
    }

    fn address(&self, args: &Args, matches: &ArgMatches) -> Address {
        let port = if args.port0 { 0 } else { self.port };
        match matches.get_one::<Address>(self.name) {
            Some(address) => address.clone(),
            None => SocketAddr::new(args.host, port).into(),
        }
    }
}

/// Runs every service on one reactor.
#[derive(Parser)]
struct Args {
    /// Where to listen, unless a service is given an address of its own.
    #[arg(default_value = "127.0.0.1")]
    host: IpAddr,
    /// Let the OS choose the ports.
    #[arg(long)]
    port0: bool,
    /// Log counters every so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u64).range(1..))]
    stats: Option<u64>,
}

fn main() -> ExitCode {
    // The options of the services come from the table.
    let command = Args::command().args(SERVICES.iter().map(Service::option));
    let matches = command.get_matches();
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    common::run(|| serve(&args, &matches))
}

fn serve(args: &Args, matches: &ArgMatches) -> Result<(), Error> {
    let mut reactor = Reactor::new()?;
    let mut board = Board::new(reactor.now());
    // All are opened before one is announced: there is no half of a server.
    let mut listeners = Vec::new();
    for service in SERVICES {
        let address = service.address(args, matches);
        listeners.push((service, (service.open)(&mut reactor, address, &board)?));
    }
    common::drain_on_signals(&mut reactor)?;
    let mut rows = Vec::new();
    for (service, listener) in listeners {
        common::announce(&reactor, service.scheme, listener)?;
        let address = reactor.local_addr(listener)?;
        log::info!("{} on {address}", service.name);
        rows.push(Row {
            name: service.name,
            about: service.about,
            scheme: service.scheme,
            address,
        });
    }
    board.show(&rows);
    run(
        &mut reactor,
        &mut board,
        args.stats.map(Duration::from_secs),
    )
}

/// As `Reactor::run`, and shows the counters: on the page while somebody looks, and in the log
/// every so often.
fn run(reactor: &mut Reactor, board: &mut Board, every: Option<Duration>) -> Result<(), Error> {
    let mut log_at = every.map(|every| reactor.now() + every);
    while !reactor.is_empty() {
        let due = [log_at, board.due()].into_iter().flatten().min();
        reactor.turn(due.map(|due| due.saturating_duration_since(reactor.now())))?;
        board.turn(reactor);
        if log_at.is_some_and(|log_at| log_at <= reactor.now()) {
            log::info!("{}", counters(reactor));
            log_at = every.map(|every| reactor.now() + every);
        }
    }
    Ok(())
}

/// The counters of the services that somebody has used: connections, or datagrams.
fn counters(reactor: &Reactor) -> String {
    let used = reactor
        .services()
        .filter(|service| service.accepted > 0 || service.bytes_in > 0);
    let texts = used.map(|service| {
        let (name, live, accepted) = (service.name, service.live, service.accepted);
        let (bytes_in, bytes_out) = (service.bytes_in, service.bytes_out);
        format!("{name} {live} of {accepted} live, {bytes_in} B in, {bytes_out} B out")
    });
    let turns = reactor.stats().turns;
    format!("{turns} turns; {}", texts.collect::<Vec<_>>().join("; "))
}
