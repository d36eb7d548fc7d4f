//! The peers: who they are, what each can do, and how one is started.
//!
//! One file each. Nothing here measures.

#[cfg(feature = "actix")]
mod actix;
mod bare;
#[path = "../../../echo/bare.rs"]
mod bare_loop;
mod debian;
#[cfg(feature = "hyper")]
mod hyper;
#[cfg(feature = "may")]
mod may;
#[cfg(feature = "monoio")]
mod monoio;
#[cfg(feature = "ntex")]
mod ntex;
#[cfg(feature = "tokio")]
mod tokio;
mod windlass;

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;

use bare_loop::listen;
pub(crate) use debian::find;

pub(crate) type Served = Result<(), Box<dyn Error>>;

/// What a server does for its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Service {
    /// Sends back the bytes that come.
    Echo,
    /// Answers each request with "Hello, World!" and the usual fields.
    Http,
    /// The same, over a connection for each request.
    Connect,
    /// As `Http`, and keeps the core for 10 µs with each request.
    Busy,
    /// Serves the files of a directory.
    Files,
    /// Sends back each datagram, but for those of the length of `SINK`: these it takes.
    Udp,
    /// Sends each line to everybody.
    Chat,
    /// Echo, with as many timers besides as the variable `PEERS_TIMERS` says; each message puts
    /// one of them off.
    Timers,
}

/// A server to be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Peer {
    /// A loop around `mio` that protects from nothing: what all others are divided by.
    Bare,
    Windlass,
    /// The same, told of a connection only when its request is there (`Listen::defer_accept`).
    #[value(name = "windlass-deferred")]
    Deferred,
    Tokio,
    Hyper,
    May,
    Actix,
    Ntex,
    Monoio,
    Nginx,
    H2o,
    Haproxy,
    Lighttpd,
}

impl Peer {
    pub(crate) fn name(self) -> String {
        name(self)
    }

    /// Whether it does that at all.
    pub(crate) fn offers(self, service: Service) -> bool {
        use Service::{Busy, Chat, Connect, Echo, Files, Http, Timers, Udp};
        match self {
            Peer::Bare => !matches!(service, Busy | Files),
            Peer::Windlass => true,
            Peer::Deferred => service == Connect,
            Peer::Tokio => matches!(service, Echo | Udp | Chat | Timers),
            Peer::Monoio => service == Echo,
            Peer::Hyper | Peer::May | Peer::Actix | Peer::Ntex | Peer::Haproxy => {
                matches!(service, Http | Connect)
            }
            Peer::Nginx | Peer::H2o => matches!(service, Http | Connect | Files),
            Peer::Lighttpd => service == Files,
        }
    }

    /// Connections at once, if it cannot have all that are wanted.
    pub(crate) fn max_connections(self) -> Option<usize> {
        (self == Peer::Haproxy).then_some(debian::HAPROXY_CONNECTIONS)
    }

    /// Why it cannot be measured here, if it cannot.
    pub(crate) fn missing(self) -> Option<String> {
        if let Some(program) = debian::program(self) {
            let is_there = debian::find(program).is_some();
            return (!is_there).then(|| format!("{program} is not installed"));
        }
        let is_built = match self {
            Peer::Tokio => cfg!(feature = "tokio"),
            Peer::Hyper => cfg!(feature = "hyper"),
            Peer::May => cfg!(feature = "may"),
            Peer::Actix => cfg!(feature = "actix"),
            Peer::Ntex => cfg!(feature = "ntex"),
            Peer::Monoio => cfg!(feature = "monoio"),
            _ => true,
        };
        (!is_built).then(|| format!("built without the feature {}", self.name()))
    }

    /// How it is started: ours are this program again.
    pub(crate) fn command(
        self,
        service: Service,
        address: SocketAddr,
        work: &Path,
    ) -> Result<Command, Box<dyn Error>> {
        if debian::program(self).is_some() {
            return debian::command(self, address, work);
        }
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", &self.name(), &name(service), &address.to_string()]);
        command.arg(work);
        Ok(command)
    }

    /// Serves until the process is killed. Of the files below `root` if it is to serve files.
    pub(crate) fn serve(self, service: Service, address: SocketAddr, root: &Path) -> Served {
        match self {
            Peer::Bare => bare::serve(service, address),
            Peer::Windlass => windlass::serve(service, address, root, None),
            Peer::Deferred => windlass::serve(service, address, root, Some(PATIENCE)),
            #[cfg(feature = "tokio")]
            Peer::Tokio => tokio::serve(service, address),
            #[cfg(feature = "hyper")]
            Peer::Hyper => hyper::serve(address),
            #[cfg(feature = "may")]
            Peer::May => may::serve(address),
            #[cfg(feature = "actix")]
            Peer::Actix => actix::serve(address),
            #[cfg(feature = "ntex")]
            Peer::Ntex => ntex::serve(address),
            #[cfg(feature = "monoio")]
            Peer::Monoio => monoio::serve(address),
            _ => Err(format!("{} is not served by this program", self.name()).into()),
        }
    }
}

/// As on the command line.
pub(crate) fn name(value: impl ValueEnum) -> String {
    let value = value.to_possible_value().expect("no value is skipped");
    value.get_name().to_owned()
}

/// Timers that are set besides.
fn timers() -> usize {
    let timers = std::env::var("PEERS_TIMERS").ok();
    timers.and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// How long a connection may wait for its request before anybody is told of it.
const PATIENCE: Duration = Duration::from_secs(1);
pub(crate) const BODY: &str = "Hello, World!";
/// Bytes of a datagram that is not sent back.
pub(crate) const SINK: usize = 64;
/// Bytes of one that is.
pub(crate) const ECHO: usize = 63;
