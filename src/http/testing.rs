//! A server without a network, for unit tests: bytes in, bytes out.
//!
//! Knows what a connection does with a driver, and nothing of connections.

use super::Server;
use crate::net::{Memory, Network};
use crate::protocol::{Driver, Effects};

/// What a connection to `server` is answered that sends `input` at once, by the time all callbacks
/// have returned.
pub(super) fn ask(server: &Server, input: &[u8]) -> String {
    let mut fx = Effects::new(Memory::new().now());
    let mut session = server.session();
    session.on_open(&mut fx);
    session.drive(input, &mut 1024, &mut fx);
    String::from_utf8(fx.out.to_vec()).expect("the answer is text")
}
