//! The page of `serve`: what runs here, and how it is doing just now.
//!
//! The page is one file without anything from elsewhere. Its numbers come as server-sent events,
//! for as long as somebody looks.

use std::cell::RefCell;
use std::fs;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use windlass::http::{Event, Feed, FeedLimits, Response, Router, Server, Slow};
use windlass::net::{Address, Listen};
use windlass::{Error, Reactor, Token};

/// How often whoever looks is sent new numbers.
const PERIOD: Duration = Duration::from_millis(500);

/// The page's server. A clone is another handle on the same.
#[derive(Clone)]
pub(crate) struct Board {
    feed: Feed,
    page: Rc<RefCell<String>>,
    started: Instant,
    due: Instant,
}

/// A row of the page.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) scheme: &'static str,
    pub(crate) address: Address,
}

impl Board {
    pub(crate) fn new(now: Instant) -> Board {
        let limits = FeedLimits {
            // Old numbers are worth nothing.
            max_kept_len: 0,
            slow: Slow::SkipOldest,
            ..FeedLimits::default()
        };
        Board {
            feed: Feed::with_limits(limits),
            page: Rc::default(),
            started: now,
            due: now,
        }
    }

    /// Opens the server.
    pub(crate) fn listen(&self, reactor: &mut Reactor, address: Address) -> Result<Token, Error> {
        let (feed, page) = (self.feed.clone(), Rc::clone(&self.page));
        let router = Router::new()
            .get("/", move |_| {
                Response::html(page.borrow().clone()).header("Content-Security-Policy", POLICY)
            })
            .get("/counters", move |request| feed.subscribe(request))
            .get("/plaintext", |_| Response::text("Hello, World!"));
        let server = Server::new(router);
        let listen = Listen::new(address).name("http");
        reactor.listen(listen, move |_| server.clone())
    }

    /// Says what there is to be shown.
    pub(crate) fn show(&self, rows: &[Row]) {
        let rows: String = rows.iter().map(html_of).collect();
        *self.page.borrow_mut() = PAGE.replace("{{rows}}", &rows);
    }

    /// When there is something to do here; `None` while nobody looks.
    pub(crate) fn due(&self) -> Option<Instant> {
        (self.feed.subscribers() > 0).then_some(self.due)
    }

    /// Sends the counters to whoever looks, if it is time.
    pub(crate) fn turn(&mut self, reactor: &mut Reactor) {
        let now = reactor.now();
        if self.due().is_none_or(|due| now < due) {
            return;
        }
        self.due = now + PERIOD;
        let event = Event::new(self.counters(reactor).to_string());
        reactor.with_intents(|intents| self.feed.publish(intents, &event));
    }

    fn counters(&self, reactor: &Reactor) -> Value {
        let stats = reactor.stats();
        let services = reactor.services().map(|service| {
            let counters = json!({
                "live": service.live,
                "accepted": service.accepted,
                "in": service.bytes_in,
                "out": service.bytes_out,
            });
            (service.name, counters)
        });
        json!({
            "seconds": reactor.now().duration_since(self.started).as_secs_f64(),
            "memory": memory(),
            "entries": stats.entries,
            "turns": stats.turns,
            "events": stats.events,
            "lag": stats.max_lag.as_secs_f64(),
            "services": services.collect::<Map<_, _>>(),
        })
    }
}

/// Resident bytes of this process, where the system tells.
fn memory() -> Option<u64> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

fn html_of(row: &Row) -> String {
    let (name, about, address) = (escape(row.name), escape(row.about), row.address.to_string());
    let try_it = match (address.strip_prefix("unix:"), address.rsplit_once(':')) {
        (Some(path), _) => format!("socat - UNIX-CONNECT:{path}"),
        (None, _) if row.scheme == "http" => format!("curl {address}/plaintext"),
        (None, Some((host, port))) => {
            let flag = if row.scheme == "udp" { "-u " } else { "" };
            format!("nc {flag}{} {port}", host.trim_matches(['[', ']']))
        }
        (None, None) => address.clone(),
    };
    format!(
        "<tr data-service=\"{name}\"><th scope=\"row\">{name}<small>{about}</small></th>\
         <td><span class=\"scheme\">{}</span><code>{}</code></td>\
         <td class=\"number\" data-counter=\"live\">0</td>\
         <td class=\"number\" data-counter=\"accepted\">0</td>\
         <td class=\"number\" data-counter=\"in\">0 B</td>\
         <td class=\"number\" data-counter=\"out\">0 B</td>\
         <td class=\"line\"><svg viewBox=\"0 0 120 28\" preserveAspectRatio=\"none\" \
         aria-hidden=\"true\"><path class=\"base\" d=\"M0 27H120\"/><path class=\"area\"/>\
         <path class=\"stroke\"/></svg></td></tr>\n",
        escape(row.scheme),
        escape(&try_it),
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

/// Nothing comes from elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'";

const PAGE: &str = include_str!("board/page.html");
