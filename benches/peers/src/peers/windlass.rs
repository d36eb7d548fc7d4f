//! Windlass, as its documentation shows it: all limits and checks are on.
//!
//! Knows nothing of what is measured.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use windlass::http::{FileCache, Files, Limits, Response, Router, Server};
use windlass::net::{Bind, Listen};
use windlass::{
    Context, Datagram, DatagramContext, DatagramLimits, DatagramProtocol, Echo, Lines, Protocol,
    Raw, Reactor, TimerId, Token,
};

use super::{BODY, SINK, Served, Service};

/// `deferred`: how long connections that say nothing are kept from us.
pub(crate) fn serve(
    service: Service,
    address: SocketAddr,
    root: &Path,
    deferred: Option<Duration>,
) -> Served {
    let mut reactor = Reactor::new()?;
    match service {
        Service::Echo => reactor.listen(address, |_| Echo::<Raw>::default())?,
        Service::Http | Service::Connect => {
            // As long as nginx and haproxy wait: a bench connects 15,000 before it sends anything.
            let limits = Limits {
                header_timeout: Duration::from_secs(60),
                ..Limits::default()
            };
            let router = Router::new().get("/", |_| Response::text(BODY));
            let server = Server::with_limits(router, limits);
            let listen = Listen::from(address).defer_accept(deferred.unwrap_or_default());
            reactor.listen(listen, move |_| server.clone())?
        }
        Service::Busy => {
            let router = Router::new().get("/", |_| {
                let until = Instant::now() + Duration::from_micros(10);
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
                Response::text(BODY)
            });
            let server = Server::new(router);
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
            let count = super::timers();
            let limits = DatagramLimits {
                max_socket_timers: count,
                ..DatagramLimits::default()
            };
            reactor.bind(Bind::on("127.0.0.1:0")?.limits(limits), Waiting { count })?;
            reactor.listen(address, |_| Watchdog { last: None })?
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

/// Owns the timers that are set besides: they end with their owner, and connections come and go.
struct Waiting {
    count: usize,
}

impl DatagramProtocol for Waiting {
    fn on_open(&mut self, cx: &mut DatagramContext<'_>) {
        for number in 0..self.count as u64 {
            // Within an hour from when it cannot disturb.
            let after = Duration::from_millis(600_000 + (number * 7919) % 3_600_000);
            cx.set_timer(after).expect("its limit is their number");
        }
    }

    fn on_datagram(&mut self, _: Datagram<'_>, _: &mut DatagramContext<'_>) {}
}

/// Echo that puts a timer off with each message.
struct Watchdog {
    last: Option<TimerId>,
}

impl Protocol for Watchdog {
    type Decoder = Raw;
    type Encoder = Raw;

    fn on_frame(&mut self, bytes: &[u8], cx: &mut Context<'_, Raw>) {
        if let Some(timer) = self.last.take() {
            cx.cancel_timer(timer);
        }
        self.last = cx.set_timer(Duration::from_secs(100));
        cx.send(bytes);
    }
}
