//! Windlass, as its documentation shows it: all limits and checks are on.
//!
//! Knows nothing of what is measured.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use windlass::http::{FileCache, Files, Limits, Response, Router, Server};
use windlass::{
    Context, Datagram, DatagramContext, DatagramProtocol, Echo, Lines, Protocol, Raw, Reactor,
    TimerId, Token,
};

use super::{BODY, SINK, Served, Service};

pub(crate) fn serve(service: Service, address: SocketAddr, root: &Path) -> Served {
    let mut reactor = Reactor::new()?;
    match service {
        Service::Echo => reactor.listen(address, |_| Echo::<Raw>::default())?,
        Service::Http => {
            // As long as nginx and haproxy wait: a bench connects 15,000 before it sends anything.
            let limits = Limits {
                header_timeout: Duration::from_secs(60),
                ..Limits::default()
            };
            let router = Router::new().get("/", |_| Response::text(BODY));
            let server = Server::with_limits(router, limits);
            reactor.listen(address, move |_| server.clone())?
        }
        Service::Files => {
            // As nginx's `open_file_cache`, which looks again after 60 s, if that was not changed.
            let cache = FileCache {
                valid_for: Duration::from_secs(60),
                ..FileCache::default()
            };
            let files = Files::new(root)?.cache(cache);
            let server = Server::new(Router::new().files("/", files));
            reactor.listen(address, move |_| server.clone())?
        }
        Service::Udp => reactor.bind(address.to_string().as_str(), SomeBack)?,
        Service::Chat => {
            let members = Rc::new(RefCell::new(Vec::new()));
            reactor.listen(address, move |_| Member(members.clone()))?
        }
        Service::Timers => {
            let mut left = super::timers();
            reactor.listen(address, move |_| {
                let timers = std::mem::take(&mut left);
                Watchdog { timers, last: None }
            })?
        }
    };
    Ok(reactor.run()?)
}

struct SomeBack;

impl DatagramProtocol for SomeBack {
    fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut DatagramContext<'_>) {
        if datagram.bytes.len() != SINK {
            cx.reply(datagram.bytes);
        }
    }
}

/// Knows all members. (Nobody leaves before the end.)
struct Member(Rc<RefCell<Vec<Token>>>);

impl Protocol for Member {
    type Decoder = Lines;
    type Encoder = Lines;

    fn on_open(&mut self, cx: &mut Context<'_, Lines>) {
        self.0.borrow_mut().push(cx.token());
    }

    fn on_frame(&mut self, line: &[u8], cx: &mut Context<'_, Lines>) {
        if let Ok(line) = cx.encoded(line) {
            for &to in self.0.borrow().iter() {
                cx.send_to(to, line.clone());
            }
        }
    }
}

/// Echo that puts a timer off with each message.
struct Watchdog {
    /// So many are set besides.
    timers: usize,
    last: Option<TimerId>,
}

impl Protocol for Watchdog {
    type Decoder = Raw;
    type Encoder = Raw;

    fn on_open(&mut self, cx: &mut Context<'_, Raw>) {
        for number in 0..self.timers {
            // Within an hour from when it cannot disturb.
            let after = Duration::from_millis(600_000 + (number as u64 * 7919) % 3_600_000);
            if cx.set_timer(after).is_none() {
                cx.abort();
            }
        }
    }

    fn on_frame(&mut self, bytes: &[u8], cx: &mut Context<'_, Raw>) {
        if let Some(timer) = self.last.take() {
            cx.cancel_timer(timer);
        }
        self.last = cx.set_timer(Duration::from_secs(100));
        cx.send(bytes);
    }
}
