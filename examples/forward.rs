//! A TCP forwarder: what arrives goes to another server, and its answers come back.
//!
//! Step three of the story: two connections that belong together. Everything that happens to one
//! is passed on to the other: bytes, a half-close, a reset, and slowness, because while one of
//! them does not take what is sent to it, the other is not read. Try it, beside `echo`:
//!
//! ```text
//! cargo run --release --example forward -- --to 127.0.0.1:7000
//! printf 'hello\n' | nc -N 127.0.0.1 7002
//! ```

mod common;

use std::process::ExitCode;
use std::rc::Rc;

use bytes::Bytes;
use clap::Parser;

use windlass::net::{Address, Connect, Listen};
use windlass::{CloseReason, Context, Error, Intents, Limits, Protocol, Raw, Reactor, Token};

/// Forwards connections.
#[derive(Parser)]
struct Args {
    /// Where to listen: IP:PORT, [IPv6]:PORT, unix:/PATH or unix:@NAME; port 0 is any free one.
    #[arg(default_value = "127.0.0.1:7002")]
    address: Address,
    /// Where to forward to.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7000")]
    to: Address,
}

/// One of two connections that belong together.
struct Half {
    side: Side,
    /// The other one; `None` until `on_open` has begun to open it.
    partner: Option<Token>,
}

enum Side {
    /// Accepted. The other half leads to where it says.
    Client(Rc<Connect>),
    /// Opened for a client.
    Server,
}

impl Protocol for Half {
    type Decoder = Raw;
    type Encoder = Raw;

    fn on_open(&mut self, cx: &mut Context<'_, Raw>) {
        if let Side::Client(to) = &self.side {
            let server = Half {
                side: Side::Server,
                partner: Some(cx.token()),
            };
            // What is forwarded before the connection is made is queued.
            self.partner = Some(cx.connect(Connect::clone(to), server));
        }
    }

    fn on_frame(&mut self, bytes: &[u8], cx: &mut Context<'_, Raw>) {
        if let Some(partner) = self.partner {
            cx.forward_to(partner, Bytes::copy_from_slice(bytes));
        }
    }

    /// The other direction goes on: many a client sends its request, its FIN, and then waits.
    fn on_eof(&mut self, _partial_len: usize, cx: &mut Context<'_, Raw>) {
        if let Some(partner) = self.partner {
            cx.finish_writes_other(partner);
        }
    }

    /// The server is told that no further request comes; it is its answers that end the pair.
    fn on_shutdown(&mut self, cx: &mut Context<'_, Raw>) {
        match self.side {
            Side::Client(_) => self.on_eof(0, cx),
            Side::Server => {}
        }
    }

    fn on_close(&mut self, reason: CloseReason, cx: &mut Intents) {
        if let CloseReason::ConnectFailed(_) | CloseReason::ConnectTimeout = reason {
            log::warn!("to the server: {reason}");
        }
        let Some(partner) = self.partner else { return };
        if reason.is_clean() {
            cx.finish_other(partner);
        } else {
            // Bytes may be missing: whoever waits for them must not take this for their end.
            cx.abort_other(partner);
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    common::run(|| serve(args))
}

fn serve(args: Args) -> Result<(), Error> {
    let mut reactor = Reactor::new()?;
    // How long there may be silence is for the two ends to say.
    let limits = Limits {
        idle_timeout: None,
        ..Limits::default()
    };
    let listen = Listen::new(args.address)
        .limits(limits.clone())
        .options(common::keepalive());
    let connect = Connect::new(args.to)
        .limits(limits)
        .options(common::keepalive());
    let connect = Rc::new(connect);
    let forward = reactor.listen(listen, move |_| Half {
        side: Side::Client(Rc::clone(&connect)),
        partner: None,
    })?;
    common::drain_on_signals(&mut reactor)?;
    common::announce(&reactor, "tcp", forward)?;
    reactor.run()
}
