//! Server-sent events as a client sees them (WHATWG HTML, section 9.2), over the network in memory.

#![cfg(feature = "http")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use windlass::Reactor;
use windlass::http::{Event, Feed, FeedLimits, Response, Router, Server, Slow};
use windlass::net::{Memory, MemoryPeer};

const ADDRESS: &str = "10.0.0.1:80";

/// A server whose `/events` is the feed, and where `POST /say` publishes.
struct World {
    memory: Memory,
    reactor: Reactor<Memory>,
    feed: Feed,
}

impl World {
    fn new(limits: FeedLimits) -> World {
        let feed = Feed::with_limits(limits);
        let (subscribed, published) = (feed.clone(), feed.clone());
        let router = Router::new()
            .get("/events", move |request| subscribed.subscribe(request))
            .post("/say", move |request| {
                let text = String::from_utf8_lossy(request.body()).into_owned();
                let id = request.header("X-Id").unwrap_or_default().to_owned();
                published.publish(request.intents(), &Event::new(text).id(id));
                Response::empty(204)
            });
        let memory = Memory::new();
        let mut reactor = Reactor::with_network(memory.clone());
        let server = Server::new(router);
        reactor.listen(ADDRESS, move |_| server.clone()).unwrap();
        World {
            memory,
            reactor,
            feed,
        }
    }

    fn turn(&mut self) {
        for _ in 0..4 {
            self.reactor.turn(Some(Duration::ZERO)).unwrap();
        }
    }

    fn send(&mut self, request: &str) -> MemoryPeer {
        let peer = self.memory.connect_peer(&ADDRESS.parse().unwrap()).unwrap();
        assert_eq!(peer.send(request.as_bytes()), request.len());
        self.turn();
        peer
    }

    /// A client, and the chunks that it has got.
    fn subscribe(&mut self, fields: &str) -> (MemoryPeer, String) {
        let peer = self.send(&format!("GET /events HTTP/1.1\r\nHost: h\r\n{fields}\r\n"));
        let answer = received(&peer);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let (head, rest) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("Content-Type: text/event-stream"), "{head}");
        assert!(head.contains("Cache-Control: no-store"), "{head}");
        (peer, rest.to_owned())
    }

    fn say(&mut self, id: &str, text: &str) {
        let len = text.len();
        let head = format!("POST /say HTTP/1.1\r\nHost: h\r\nX-Id: {id}\r\nContent-Length: {len}");
        let peer = self.send(&format!("{head}\r\n\r\n{text}"));
        assert!(received(&peer).starts_with("HTTP/1.1 204 "));
    }
}

fn received(peer: &MemoryPeer) -> String {
    String::from_utf8(peer.received()).unwrap()
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

#[test]
fn what_is_published_reaches_all_who_have_subscribed_at_once() {
    let mut world = World::new(FeedLimits::default());
    let (anne, first) = world.subscribe("");
    assert_eq!(first, chunk(":\n\n"), "a byte at once");
    let (bert, _) = world.subscribe("");
    assert_eq!(world.feed.subscribers(), 2);
    world.say("7", "ahoy");
    for peer in [&anne, &bert] {
        assert_eq!(received(peer), chunk("id: 7\ndata: ahoy\n\n"));
    }
    drop(bert);
    world.say("8", "again");
    assert_eq!(received(&anne), chunk("id: 8\ndata: again\n\n"));
    assert_eq!(world.feed.subscribers(), 1);
}

#[test]
fn a_feed_is_published_to_from_outside_of_callbacks() {
    let mut world = World::new(FeedLimits::default());
    let (peer, _) = world.subscribe("");
    let feed = &world.feed;
    let event = Event::new("outside");
    world
        .reactor
        .with_intents(|intents| feed.publish(intents, &event));
    world.turn();
    assert_eq!(received(&peer), chunk("data: outside\n\n"));
}

#[test]
fn who_comes_back_is_sent_what_it_has_missed() {
    let mut world = World::new(FeedLimits {
        max_kept_len: 60,
        ..FeedLimits::default()
    });
    let texts = ["1", "2", "3", "4"].map(|id| format!("id: {id}\ndata: number {id}\n\n"));
    for id in ["1", "2", "3", "4"] {
        world.say(id, &format!("number {id}"));
    }
    let (_peer, missed) = world.subscribe("Last-Event-ID: 3\r\n");
    assert_eq!(missed, chunk(&texts[3]));
    let (_peer, missed) = world.subscribe("Last-Event-ID: 4\r\n");
    assert_eq!(missed, chunk(":\n\n"));
    let (_peer, missed) = world.subscribe("Last-Event-ID: 1\r\n");
    assert_eq!(
        missed,
        chunk(&texts[2..].concat()),
        "as far as it is kept: 60 bytes"
    );
}

#[test]
fn a_connection_without_events_gets_a_comment_now_and_then() {
    let mut world = World::new(FeedLimits::default());
    let (peer, _) = world.subscribe("");
    world.memory.advance(Duration::from_secs(10));
    world.say("", "ahoy");
    received(&peer);
    world.memory.advance(Duration::from_secs(14));
    world.turn();
    assert_eq!(received(&peer), "");
    world.memory.advance(Duration::from_secs(1));
    world.turn();
    assert_eq!(received(&peer), chunk(":\n\n"));
}

/// Publishes so much that a peer which takes nothing falls behind, then takes all.
fn fall_behind(world: &mut World) -> (MemoryPeer, String) {
    let (peer, _) = world.subscribe("");
    peer.set_capacity(4096);
    for number in 0..200 {
        world.say(&number.to_string(), &"x".repeat(1000));
    }
    let mut all = String::new();
    loop {
        world.turn();
        let more = received(&peer);
        if more.is_empty() {
            return (peer, all);
        }
        all += &more;
    }
}

#[test]
fn who_does_not_keep_up_is_ended_behind_what_is_queued() {
    let mut world = World::new(FeedLimits {
        max_queued_len: 10_000,
        ..FeedLimits::default()
    });
    let (peer, all) = fall_behind(&mut world);
    assert!(all.contains("id: 0\n") && !all.contains("id: 199\n"));
    assert!(all.ends_with("0\r\n\r\n"), "an orderly end");
    assert!(!peer.is_reset());
    assert_eq!(world.feed.subscribers(), 0);
}

#[test]
fn who_does_not_keep_up_can_be_spared_the_oldest_instead() {
    let limits = FeedLimits {
        max_queued_len: 10_000,
        slow: Slow::SkipOldest,
        ..FeedLimits::default()
    };
    let mut world = World::new(limits);
    let (_peer, all) = fall_behind(&mut world);
    assert!(all.contains("id: 0\n") && all.contains("id: 199\n"));
    assert!(!all.contains("id: 150\n"), "left out");
    assert_eq!(world.feed.subscribers(), 1);
}

#[test]
fn there_are_no_more_subscribers_than_the_limit() {
    let mut world = World::new(FeedLimits {
        max_subscribers: 1,
        ..FeedLimits::default()
    });
    let (peer, _) = world.subscribe("");
    let refused = world.send("GET /events HTTP/1.1\r\nHost: h\r\n\r\n");
    let answer = received(&refused);
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After: 5\r\n"));
    peer.reset();
    world.turn();
    world.subscribe("");
}

#[test]
fn a_shutdown_ends_the_streams_instead_of_waiting_for_them() {
    let mut world = World::new(FeedLimits::default());
    let (peer, _) = world.subscribe("");
    world.reactor.shutdown(Duration::from_secs(10));
    world.turn();
    assert_eq!(received(&peer), "0\r\n\r\n");
    assert!(peer.is_finished());
}

#[test]
fn a_head_has_no_events_and_no_subscriber() {
    let mut world = World::new(FeedLimits::default());
    let peer = world.send("HEAD /events HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(received(&peer).ends_with("\r\n\r\n"));
    assert_eq!(world.feed.subscribers(), 0);
}
