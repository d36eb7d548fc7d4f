//! `Feed`: events that are published to whoever has subscribed.
//!
//! Knows subscribers by their queues and tokens, and nothing of their connections.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;

use super::event::Event;
use crate::http::body::{Nudge, Pulled, Source};
use crate::http::request::Request;
use crate::http::response::Response;
use crate::http::status::Status;
use crate::protocol::Intents;
use crate::token::Token;

/// A stream of server-sent events for any number of clients. A clone is another handle on the same.
///
/// ```
/// use windlass::http::{Event, Feed, Response, Router};
///
/// let feed = Feed::new();
/// let published = feed.clone();
/// let router = Router::new()
///     .get("/events", move |request| feed.subscribe(request))
///     .post("/say", move |request| {
///         let text = String::from_utf8_lossy(request.body()).into_owned();
///         published.publish(request.intents(), &Event::new(text));
///         Response::empty(204)
///     });
/// # drop(router);
/// ```
///
/// An event is encoded once, and shared by all who are to get it. What a client does not take waits
/// in its own queue, which is bounded; [`Slow`] says what happens at the bound. A client that comes
/// back and names the event that it has seen last (`Last-Event-ID`) is sent what it has missed, as
/// far as that is kept; if the event is unknown, all that is kept.
///
/// From another thread, post a mail to a protocol of yours that publishes.
#[derive(Clone)]
pub struct Feed {
    shared: Rc<RefCell<Shared>>,
}

/// The bounds of a [`Feed`].
///
/// | field | default | at the bound |
/// |---|---|---|
/// | `max_subscribers` | 1,024 | 503 with `Retry-After` |
/// | `max_queued_len` | 64 KiB | as `slow` says |
/// | `max_kept_len` | 64 KiB | the oldest events are forgotten |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedLimits {
    /// Clients at a time.
    pub max_subscribers: usize,
    /// Bytes of events that wait for one client. What it missed before it came back is not counted.
    pub max_queued_len: usize,
    /// Bytes of events that are kept for those who come back.
    pub max_kept_len: usize,
    /// What becomes of a client that does not keep up.
    pub slow: Slow,
    /// How long nothing may be sent before a comment is. Default: 15 s.
    pub keep_alive: Duration,
}

/// What becomes of a client whose queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    /// Its stream ends behind what is queued. Browsers come back by themselves, and say what they
    /// have seen last.
    End,
    /// The oldest events that wait for it are left out.
    SkipOldest,
}

impl Default for FeedLimits {
    fn default() -> FeedLimits {
        FeedLimits {
            max_subscribers: 1024,
            max_queued_len: 64 * 1024,
            max_kept_len: 64 * 1024,
            slow: Slow::End,
            keep_alive: Duration::from_secs(15),
        }
    }
}

struct Shared {
    limits: FeedLimits,
    subscribers: Vec<Subscriber>,
    kept: VecDeque<Kept>,
    kept_len: usize,
}

struct Subscriber {
    token: Token,
    /// Held by the response that is sent to it.
    queue: Weak<RefCell<Queue>>,
}

struct Kept {
    id: Option<String>,
    text: Bytes,
}

/// What waits for one client.
#[derive(Default)]
struct Queue {
    texts: VecDeque<Bytes>,
    len: usize,
    is_ended: bool,
}

impl Feed {
    /// One with the default limits.
    pub fn new() -> Feed {
        Feed::with_limits(FeedLimits::default())
    }

    /// One with these limits.
    pub fn with_limits(limits: FeedLimits) -> Feed {
        Feed {
            shared: Rc::new(RefCell::new(Shared {
                limits,
                subscribers: Vec::new(),
                kept: VecDeque::new(),
                kept_len: 0,
            })),
        }
    }

    /// Answers a request with what is published from now on.
    pub fn subscribe(&self, request: &Request<'_>) -> Response {
        let mut shared = self.shared.borrow_mut();
        shared.subscribers.retain(Subscriber::is_there);
        if shared.subscribers.len() >= shared.limits.max_subscribers {
            let response = Response::error(Status::SERVICE_UNAVAILABLE);
            return response.header("Retry-After", RETRY_AFTER);
        }
        let mut queue = Queue::default();
        if let Some(last_id) = request.header("Last-Event-ID") {
            queue.texts.extend(shared.missed_since(last_id));
            queue.len = queue.texts.iter().map(Bytes::len).sum();
        }
        let queue = Rc::new(RefCell::new(queue));
        shared.subscribers.push(Subscriber {
            token: request.token(),
            queue: Rc::downgrade(&queue),
        });
        let subscription = Subscription {
            queue,
            keep_alive: shared.limits.keep_alive,
        };
        Response::stream(subscription)
            .content_type("text/event-stream")
            .header("Cache-Control", "no-store")
            // nginx, as a proxy, would wait for more.
            .header("X-Accel-Buffering", "no")
    }

    /// Sends an event to all who have subscribed: from any callback, or by way of
    /// `Reactor::with_intents` from outside of them.
    pub fn publish(&self, intents: &mut Intents, event: &Event) {
        let text = Bytes::from(event.to_string());
        let mut shared = self.shared.borrow_mut();
        shared.keep(event, &text);
        let limits = shared.limits.clone();
        for token in shared.for_each(|queue| queue.push(&text, &limits)) {
            intents.mail_to(token, Nudge);
        }
    }

    /// Ends all streams behind what is queued; browsers come back.
    pub fn end(&self, intents: &mut Intents) {
        let idle = self
            .shared
            .borrow_mut()
            .for_each(|queue| queue.is_ended = true);
        for token in idle {
            intents.mail_to(token, Nudge);
        }
    }

    /// How many clients there are.
    pub fn subscribers(&self) -> usize {
        let shared = self.shared.borrow();
        shared
            .subscribers
            .iter()
            .filter(|one| one.is_there())
            .count()
    }
}

impl Default for Feed {
    fn default() -> Feed {
        Feed::new()
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed")
            .field("subscribers", &self.subscribers())
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Does something to the queue of each, and answers who had nothing to do before: the others
    /// look at their queues in any case.
    fn for_each(&mut self, mut act: impl FnMut(&mut Queue)) -> Vec<Token> {
        let mut idle = Vec::new();
        self.subscribers.retain(|subscriber| {
            let Some(queue) = subscriber.queue.upgrade() else {
                return false;
            };
            let mut queue = queue.borrow_mut();
            if queue.is_ended {
                return false;
            }
            if queue.texts.is_empty() {
                idle.push(subscriber.token);
            }
            act(&mut queue);
            true
        });
        idle
    }

    fn keep(&mut self, event: &Event, text: &Bytes) {
        self.kept.push_back(Kept {
            id: event.own_id().map(str::to_owned),
            text: text.clone(),
        });
        self.kept_len += text.len();
        while self.kept_len > self.limits.max_kept_len {
            let Some(oldest) = self.kept.pop_front() else {
                break;
            };
            self.kept_len -= oldest.text.len();
        }
    }

    fn missed_since(&self, last_id: &str) -> impl Iterator<Item = Bytes> {
        let seen = self
            .kept
            .iter()
            .rposition(|kept| kept.id.as_deref() == Some(last_id));
        let missed = self.kept.iter().skip(seen.map_or(0, |at| at + 1));
        missed.map(|kept| kept.text.clone())
    }
}

impl Subscriber {
    fn is_there(&self) -> bool {
        self.queue.strong_count() > 0
    }
}

impl Queue {
    fn push(&mut self, text: &Bytes, limits: &FeedLimits) {
        if self.len + text.len() > limits.max_queued_len && !self.texts.is_empty() {
            match limits.slow {
                Slow::End => {
                    self.is_ended = true;
                    return;
                }
                Slow::SkipOldest => {
                    while self.len + text.len() > limits.max_queued_len {
                        let Some(oldest) = self.texts.pop_front() else {
                            break;
                        };
                        self.len -= oldest.len();
                    }
                }
            }
        }
        self.len += text.len();
        self.texts.push_back(text.clone());
    }
}

/// What is sent to one client.
struct Subscription {
    queue: Rc<RefCell<Queue>>,
    keep_alive: Duration,
}

impl Source for Subscription {
    fn pull(&mut self, out: &mut Vec<u8>) -> Pulled {
        let mut queue = self.queue.borrow_mut();
        while out.len() < PIECE_LEN
            && let Some(text) = queue.texts.pop_front()
        {
            queue.len -= text.len();
            out.extend_from_slice(&text);
        }
        if !queue.texts.is_empty() {
            return Pulled::More;
        }
        if queue.is_ended {
            return Pulled::End;
        }
        // The very first piece is one too: whoever waits for a byte has it at once.
        if out.is_empty() {
            out.extend_from_slice(b":\n\n");
        }
        Pulled::Wait(self.keep_alive)
    }

    fn on_shutdown(&mut self) {
        self.queue.borrow_mut().is_ended = true;
    }
}

/// Bytes that are sent at once, and an event.
const PIECE_LEN: usize = 16 * 1024;
/// Seconds until a client that found no room may try again.
const RETRY_AFTER: &str = "5";
