//! Who is there? Announces this machine to a network, and keeps a table of the others.
//!
//! Two ready-made protocols on two sockets of one reactor. Start it on two machines of a network,
//! or twice on one:
//!
//! ```text
//! cargo run --release --example udp_broadcast -- --name anne
//! cargo run --release --example udp_broadcast -- --name bert
//! ```
//!
//! It broadcasts, which needs no set-up; `--to 239.255.74.0:7400` uses a multicast group instead.
//! `--to 127.255.255.255:7400` stays on one machine. A machine with several networks chooses one
//! with `--interface`, whose number `ip link` shows.

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use windlass::net::{Bind, Interface, Membership};
use windlass::protocol::{Announcer, Listener, Sighted, Sighting};
use windlass::{Error, Reactor};

/// Announces this machine to a network, and shows who else is there.
#[derive(Parser)]
struct Args {
    /// Where to listen; port 0 is any free one.
    #[arg(default_value = "0.0.0.0:7400")]
    address: SocketAddr,
    /// Where to announce: a broadcast address, or a multicast group. By default everybody on the
    /// port that is listened on.
    #[arg(long, value_name = "ADDRESS")]
    to: Vec<SocketAddr>,
    /// The number of the network interface to announce by, and to hear groups on.
    #[arg(long, value_name = "NUMBER")]
    interface: Option<u32>,
    /// Hear groups from this address only (source-specific multicast); more of them may be given.
    #[arg(long, value_name = "IP")]
    source: Vec<IpAddr>,
    /// Pass on what is heard to this address: on another network, usually.
    #[arg(long, value_name = "ADDRESS")]
    relay: Vec<SocketAddr>,
    /// How many relays may pass on what is announced.
    #[arg(long, default_value_t = 0)]
    hops: u8,
    /// What to announce. By default the name of the machine.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Seconds between two announcements.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=3600))]
    interval: u32,
}

fn main() -> ExitCode {
    let args = Args::parse();
    common::run(|| serve(args))
}

fn serve(args: Args) -> Result<(), Error> {
    let id = random()?;
    let mut reactor = Reactor::new()?;

    // Others on this machine may listen too: each hears every broadcast.
    let mut bind = Bind::new(args.address).reuse_address(true);
    let interface = args.interface.map_or(Interface::Any, Interface::Index);
    for group in args.to.iter().filter(|to| to.ip().is_multicast()) {
        let all = Membership::of(group.ip()).on(interface);
        let of = |source: &IpAddr| all.clone().from_source(*source);
        bind = match &args.source[..] {
            [] => bind.join(all),
            sources => sources.iter().map(of).fold(bind, Bind::join),
        };
    }
    let mut table = Table::default();
    let mut listener = Listener::new(move |sighting| table.update(sighting)).own(id);
    for relay in &args.relay {
        listener = listener.relay_to(*relay);
    }
    let listener = reactor.bind(bind.broadcast(true), listener)?;
    let port = reactor.local_addr(listener)?.port().unwrap_or_default();

    let name = args.name.unwrap_or_else(machine);
    let interval = Duration::from_secs(args.interval.into());
    let mut announcer = Announcer::new(id, name).every(interval).hops(args.hops);
    let everybody = [SocketAddr::from((Ipv4Addr::BROADCAST, port))];
    for to in if args.to.is_empty() {
        &everybody
    } else {
        &args.to[..]
    } {
        announcer = announcer.to(*to);
    }
    if let Some(interface) = args.interface {
        announcer = announcer.by(interface);
    }
    let any: IpAddr = match args.address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let bind = Bind::new(SocketAddr::from((any, 0)))
        .name("announcer")
        .broadcast(true);
    let announcer = reactor.bind(bind, announcer)?;

    common::drain_on_signals(&mut reactor)?;
    common::announce(&reactor, "udp", listener)?;
    common::announce(&reactor, "udp", announcer)?;
    reactor.run()
}

/// Who is there, as a table on standard output.
#[derive(Default)]
struct Table {
    peers: BTreeMap<u64, Sighted>,
}

impl Table {
    fn update(&mut self, sighting: &Sighting) {
        match sighting {
            Sighting::Appeared(peer) | Sighting::Changed(peer) => {
                self.peers.insert(peer.id, peer.clone());
            }
            Sighting::Expired(peer) => {
                self.peers.remove(&peer.id);
            }
            _ => return,
        }
        println!("{} there", self.peers.len());
        for peer in self.peers.values() {
            let name = peer.payload.escape_ascii();
            println!("  {:016x}  {:<24} {name}", peer.id, peer.from.to_string());
        }
    }
}

/// A number that nobody else has.
fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}

fn machine() -> String {
    let name = fs::read_to_string("/etc/hostname").unwrap_or_default();
    match name.trim() {
        "" => "somebody".into(),
        name => name.into(),
    }
}
