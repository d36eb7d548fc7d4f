//! `Address`: where a socket listens, connects or sends to, as text and as a value.
//!
//! Knows how addresses are written; opens nothing and resolves nothing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The address of a socket.
///
/// As text: `127.0.0.1:7000`, `[::1]:7000`, `unix:/run/x.sock` (a path), `unix:@name` (Linux's
/// abstract name space). Port 0 asks the OS for a free one. Host names are not resolved: that
/// would block.
///
/// ```
/// # use windlass::net::Address;
/// let address: Address = "unix:@windlass".parse()?;
/// assert_eq!(address, Address::Abstract(b"windlass".to_vec()));
/// assert_eq!(address.to_string(), "unix:@windlass");
/// assert!("localhost".parse::<Address>().is_err());
/// # Ok::<(), windlass::net::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// TCP or UDP over IPv4 or IPv6.
    Ip(SocketAddr),
    /// A Unix socket with a path.
    Unix(PathBuf),
    /// A Unix socket in Linux's abstract name space.
    Abstract(Vec<u8>),
    /// A Unix socket without a name, as the connecting side usually is.
    Unnamed,
}

impl Address {
    /// The IP address and port, if it has them.
    pub fn as_ip(&self) -> Option<SocketAddr> {
        match self {
            Address::Ip(address) => Some(*address),
            Address::Unix(_) | Address::Abstract(_) | Address::Unnamed => None,
        }
    }

    /// Whether it is a multicast group.
    #[inline]
    pub fn is_multicast(&self) -> bool {
        self.as_ip()
            .is_some_and(|address| address.ip().is_multicast())
    }

    /// Whether it is for more than one machine, as far as an address tells: a multicast group, or
    /// 255.255.255.255. Of the broadcast addresses of networks only the OS knows.
    #[inline]
    pub fn is_for_many(&self) -> bool {
        match self.as_ip().map(|address| address.ip()) {
            Some(IpAddr::V4(address)) => address.is_multicast() || address == Ipv4Addr::BROADCAST,
            Some(IpAddr::V6(address)) => address.is_multicast(),
            None => false,
        }
    }

    /// The port, if it has one.
    pub fn port(&self) -> Option<u16> {
        self.as_ip().map(|address| address.port())
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Ip(address)
    }
}

impl From<&Address> for Address {
    fn from(address: &Address) -> Address {
        address.clone()
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Address {
        Address::Unix(path.to_owned())
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let address = match text.strip_prefix("unix:") {
            // Linux would take an empty name for a wish to be given any name (unix(7)).
            Some("" | "@") => None,
            Some(unix) => Some(match unix.strip_prefix('@') {
                Some(name) => Address::Abstract(name.as_bytes().to_vec()),
                None => Address::Unix(PathBuf::from(unix)),
            }),
            None => text.parse().ok().map(Address::Ip),
        };
        address.ok_or_else(|| AddressError {
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Abstract(name) => write!(f, "unix:@{}", name.escape_ascii()),
            Address::Unnamed => f.write_str("unix:"),
        }
    }
}

/// A text that is not an [`Address`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError {
    text: String,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.text;
        write!(
            f,
            "{text:?} is not an address: IP:PORT, [IPv6]:PORT, unix:/PATH or unix:@NAME"
        )
    }
}

impl std::error::Error for AddressError {}

/// Lets an address, or its text, stand for the description of a socket that says nothing else.
macro_rules! from_address {
    ($description:ident) => {
        impl std::str::FromStr for $description {
            type Err = AddressError;

            fn from_str(text: &str) -> Result<$description, AddressError> {
                Ok($description::new(text.parse::<Address>()?))
            }
        }

        impl<'a> TryFrom<&'a str> for $description {
            type Error = AddressError;

            fn try_from(text: &'a str) -> Result<$description, AddressError> {
                text.parse()
            }
        }

        impl<'a> TryFrom<&'a String> for $description {
            type Error = AddressError;

            fn try_from(text: &'a String) -> Result<$description, AddressError> {
                text.parse()
            }
        }

        impl TryFrom<String> for $description {
            type Error = AddressError;

            fn try_from(text: String) -> Result<$description, AddressError> {
                text.parse()
            }
        }

        impl From<Address> for $description {
            fn from(address: Address) -> $description {
                $description::new(address)
            }
        }

        impl<'a> From<&'a Address> for $description {
            fn from(address: &'a Address) -> $description {
                $description::new(address)
            }
        }

        impl From<std::net::SocketAddr> for $description {
            fn from(address: std::net::SocketAddr) -> $description {
                $description::new(address)
            }
        }
    };
}

pub(super) use from_address;

#[cfg(test)]
mod tests {
    use super::Address;
    use crate::net::{Bind, Connect, Listen};

    #[test]
    fn a_unix_address_has_a_name() {
        for text in ["unix:", "unix:@", "unix", "@name", ""] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
        for text in ["unix:/run/x", "unix:x", "unix:@x"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_address_or_its_text_stands_for_a_description() {
        let text = String::from("127.0.0.1:7");
        let address: Address = text.parse().unwrap();
        for listen in [
            Listen::try_from(&*text),
            (&text).try_into(),
            text.clone().try_into(),
        ] {
            assert_eq!(listen.unwrap().address(), &address);
        }
        assert_eq!(Connect::from(&address).address(), &address);
        assert_eq!(Bind::try_from(&text).unwrap().address(), &address);
        assert!(Bind::try_from(String::from("nowhere")).is_err());
    }
}
