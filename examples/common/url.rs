//! `Url`: where the examples that are clients ask, and what.
//!
//! Names are resolved here, before anything runs: the library has no resolver, because that would
//! block its loop. Knows nothing of who asks.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

use windlass::net::{Address, AddressError};

/// http://HOST[:PORT][/PATH], or http://unix:/SOCKET[:/PATH].
#[derive(Clone, Debug)]
pub(crate) struct Url {
    pub(crate) text: String,
    pub(crate) address: Address,
    /// As the server is told: host, and port if it is not 80.
    pub(crate) host: String,
    /// Path and query.
    pub(crate) target: String,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Url, String> {
        let rest = text
            .strip_prefix("http://")
            .ok_or("it has to begin with http://")?;
        if rest.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err("there are characters in it that a URL has none of".into());
        }
        let rest = rest.split('#').next().unwrap_or_default();
        if let Some(unix) = rest.strip_prefix("unix:") {
            let (path, target) = unix.split_once(":/").unwrap_or((unix, ""));
            return Ok(Url {
                text: text.to_owned(),
                address: format!("unix:{path}")
                    .parse()
                    .map_err(|error: AddressError| error.to_string())?,
                host: "localhost".into(),
                target: encoded(&format!("/{target}")),
            });
        }
        let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let target = match target.chars().next() {
            Some('/') => target.to_owned(),
            _ => format!("/{target}"),
        };
        if host.contains('@') {
            return Err("a name and a password belong in a field, not in the URL".into());
        }
        let has_port = host
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.ends_with(']'));
        let address = if has_port {
            resolve(host)
        } else {
            resolve(&format!("{host}:80"))
        };
        Ok(Url {
            text: text.to_owned(),
            address: address?.into(),
            host: host.to_owned(),
            target: encoded(&target),
        })
    }
}

/// What is not ASCII is written in ASCII (RFC 3986, section 2.5).
fn encoded(target: &str) -> String {
    let mut text = String::with_capacity(target.len());
    for c in target.chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            let mut buf = [0; 4];
            let bytes = c.encode_utf8(&mut buf).bytes();
            text.extend(bytes.map(|byte| format!("%{byte:02X}")));
        }
    }
    text
}

/// The address of HOST:PORT; of several, one at which a server listens to TCP.
pub(crate) fn resolve(host: &str) -> Result<SocketAddr, String> {
    let (name, port) = host.rsplit_once(':').ok_or("it has no port")?;
    if name.is_empty() {
        return Err("it has no host".into());
    }
    if port.parse::<u16>().is_err() {
        return Err("its port is none".into());
    }
    let addresses = host.to_socket_addrs().map_err(|error| error.to_string())?;
    let addresses: Vec<SocketAddr> = addresses.collect();
    preferred(&addresses).ok_or_else(|| "the host has no address".into())
}

/// The first address at which somebody listens, or else the first one. Most hosts are `localhost`
/// by IPv6 and by IPv4, and most servers there listen to one of the two.
fn preferred(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let answers = |to: &&SocketAddr| TcpStream::connect_timeout(to, PATIENCE).is_ok();
    match addresses {
        [] | [_] => addresses.first().copied(),
        all => all.iter().find(answers).or(all.first()).copied(),
    }
}

/// How long an address may take to answer, of a host that has several.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn of_several_addresses_it_is_the_one_at_which_somebody_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (here, nobody) = (
            listener.local_addr().unwrap(),
            "127.0.0.1:1".parse().unwrap(),
        );
        assert_eq!(preferred(&[nobody, here]), Some(here));
        assert_eq!(preferred(&[here, nobody]), Some(here));
        assert_eq!(preferred(&[nobody]), Some(nobody));
        assert_eq!(preferred(&[nobody, nobody]), Some(nobody));
        assert_eq!(preferred(&[]), None);
    }
}
