//! `Session`: the server's side of one connection.
//!
//! One request at a time: while an answer is not complete, nothing more is read. That keeps answers
//! in order, and bounds what a peer can have under way. Knows neither the connection nor the
//! reactor.
//!
//! ```text
//!            head, body here            complete answer
//! waiting ---------------------> call ------------------> waiting
//!    |  head                       ^ \ stream, deferred      ^
//!    v                             |  \                      | sent
//! Buffering, Receiving ------------'   `--> Sending, Awaiting, Later
//!    |                 body is here
//!    | answered before that
//!    v
//! Discarding --- body is here ---> waiting
//! ```

use std::fmt;
use std::mem;
use std::rc::Rc;

use super::body::Nudge;
use super::decoder::{Part, Requests};
use super::error::RequestError;
use super::exchange::{Exchange, Pace};
use super::fields::Fields;
use super::head::Head;
use super::reply::Answer;
use super::request::Request;
use super::response::Response;
use super::server::Shared;
use super::service::{Accept, Flow};
use super::status::Status;
use super::summary::{Expectation, Length};
use super::writer::Asked;
use crate::close::CloseReason;
use crate::limits::Patience;
use crate::net::Address;
use crate::protocol::{Context, Intents, Mail, Protocol, TimerId};

/// The protocol of one connection to a [`Server`](super::Server).
pub struct Session {
    pub(super) server: Rc<Shared>,
    /// `None` between requests, so that an idle connection costs a pointer.
    pub(super) exchange: Option<Box<Exchange>>,
    /// Requests that may still be begun. After the last one, and once the server shuts down, it is
    /// 0: the answer under way is the last one.
    left: u32,
    /// Where the server keeps the peer's address; [`NOBODY`] if it does not.
    peer: u32,
}

pub(super) type Cx<'a> = Context<'a, ()>;

impl Session {
    pub(crate) fn new(server: Rc<Shared>) -> Session {
        Session {
            left: server.limits.max_requests.unwrap_or(u32::MAX),
            server,
            exchange: None,
            peer: NOBODY,
        }
    }

    /// Remembers who the peer is.
    pub(super) fn of(mut self, peer: &Address) -> Session {
        let index = self.server.peers.borrow_mut().insert(peer.clone());
        // There are no more of them than tokens, which fits.
        self.peer = index as u32;
        self
    }

    /// Another request begins.
    #[inline]
    fn begin(&mut self, head: &Head<'_>, cx: &Cx<'_>) -> Asked {
        let mut asked = Asked::by(head);
        if self.server.limits.max_requests.is_some() {
            self.left = self.left.saturating_sub(1);
            asked.keeps_alive &= !self.is_closing();
        }
        if self.server.logs_accesses(cx.unix_time().as_secs()) {
            asked.record = Some(self.server.record(self.peer, Some(head), cx));
        }
        asked
    }

    /// Whether the answer under way is the last one.
    #[inline]
    pub(super) fn is_closing(&self) -> bool {
        self.left == 0
    }

    /// What an answer is given to that no readable request asked for.
    pub(super) fn asked_nothing(&self, cx: &Cx<'_>) -> Asked {
        let is_logged = self.server.logs_accesses(cx.unix_time().as_secs());
        Asked {
            record: is_logged.then(|| self.server.record(self.peer, None, cx)),
            ..Asked::NOTHING
        }
    }

    /// A request is here as a whole.
    #[inline]
    fn on_request(&mut self, head: &Head<'_>, body: &[u8], cx: &mut Cx<'_>) {
        if self.exchange.is_some() {
            return overtaken(cx);
        }
        let asked = self.begin(head, cx);
        let is_plain = head.expectation() == Expectation::None && body.is_empty();
        if !is_plain || self.server.is_full() || asked.record.is_some() {
            let response = match self.refusal_of_head(head) {
                Some(refusal) => refusal,
                None if body.is_empty() => self.call(head, body, Fields::default(), cx),
                None => self.call_with_body(head, body, cx),
            };
            return self.answer(response, asked, cx);
        }
        let mut request = Request::new(head, body, Fields::default(), cx);
        let response = self.server.service.call(&mut request);
        if self.answer_fixed(&response, &asked, cx) {
            // They own nothing, which would have to be found out in order to drop them.
            mem::forget((response, asked));
        } else {
            self.answer(response, asked, cx);
        }
    }

    /// Calls the service.
    fn call(
        &self,
        head: &Head<'_>,
        body: &[u8],
        trailers: Fields<'_>,
        cx: &mut Cx<'_>,
    ) -> Response {
        let mut request = Request::new(head, body, trailers, cx);
        self.server.service.call(&mut request)
    }

    /// A body that is here already is treated as one that is yet to come.
    fn call_with_body(&self, head: &Head<'_>, body: &[u8], cx: &mut Cx<'_>) -> Response {
        let accept = {
            let request = &mut Request::new(head, &[], Fields::default(), cx);
            self.server.service.accept(request)
        };
        match accept {
            Accept::Buffer(limit) if body.len() > self.body_limit(limit) => too_large(),
            Accept::Buffer(_) => self.call(head, body, Fields::default(), cx),
            Accept::Refuse(response) => response,
            Accept::Stream(mut receiver) => match receiver.on_bytes(body, cx) {
                Flow::Answer(response) => response,
                Flow::More | Flow::Pause => receiver.on_end(Fields::default(), cx),
            },
        }
    }

    fn refusal_of_head(&self, head: &Head<'_>) -> Option<Response> {
        if head.expectation() == Expectation::Unknown {
            return Some(Response::error(Status::EXPECTATION_FAILED));
        }
        if self.server.is_full() {
            let wait = Shared::RETRY_AFTER.as_secs().to_string();
            let response = Response::error(Status::SERVICE_UNAVAILABLE);
            return Some(response.header("Retry-After", &wait));
        }
        None
    }

    fn body_limit(&self, limit: Option<usize>) -> usize {
        limit.unwrap_or(self.server.limits.max_body_len)
    }

    /// A head is here, and its body is not, or not all of it.
    fn on_head(&mut self, head: &Head<'_>, cx: &mut Cx<'_>) {
        if self.exchange.is_some() {
            return overtaken(cx);
        }
        let asked = self.begin(head, cx);
        if let Some(refusal) = self.refusal_of_head(head) {
            return self.answer_early(refusal, head, asked, cx);
        }
        let accept = {
            let request = &mut Request::new(head, &[], Fields::default(), cx);
            self.server.service.accept(request)
        };
        let pace = Pace::new(cx.now());
        let exchange = match accept {
            Accept::Refuse(response) => return self.answer_early(response, head, asked, cx),
            Accept::Buffer(limit) => {
                let limit = self.body_limit(limit);
                if matches!(head.length(), Length::Fixed(len) if len > limit as u64) {
                    return self.answer_early(too_large(), head, asked, cx);
                }
                Exchange::Buffering {
                    head: head.as_bytes().to_vec(),
                    body: Vec::new(),
                    limit,
                    asked,
                    pace,
                }
            }
            Accept::Stream(receiver) => Exchange::Receiving {
                receiver,
                asked,
                pace,
                is_paused: false,
            },
        };
        if head.expectation() == Expectation::Continue {
            cx.out().put(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        self.enter(exchange);
    }

    /// Answers before the body is here. The connection can go on only if what is left of the body
    /// is little, and is sure to come: a peer that expects `100 Continue` may not send it.
    fn answer_early(&mut self, response: Response, head: &Head<'_>, asked: Asked, cx: &mut Cx<'_>) {
        let max = self.server.limits.max_discard_len;
        let is_little = match head.length() {
            Length::Fixed(len) => len <= max as u64,
            Length::Chunked => true,
        };
        let keeps_alive = asked.keeps_alive
            && is_little
            && head.expectation() == Expectation::None
            && !response.closes
            && !self.is_closing()
            && response.body.as_bytes().is_some();
        self.answer(
            response,
            Asked {
                keeps_alive,
                is_last: false,
                ..asked
            },
            cx,
        );
        if keeps_alive {
            let pace = Pace::new(cx.now());
            self.enter(Exchange::Discarding { left: max, pace });
        }
    }

    fn on_body(&mut self, bytes: &[u8], end: Option<Fields<'_>>, cx: &mut Cx<'_>) {
        let rate = self.server.limits.min_body_rate;
        let now = cx.now();
        match self.exchange.as_deref_mut() {
            Some(Exchange::Buffering {
                body, limit, pace, ..
            }) => {
                if bytes.len() > limit.saturating_sub(body.len()) {
                    return self.give_up(too_large(), cx);
                }
                if pace.is_too_slow(bytes.len(), now, rate) && end.is_none() {
                    return self.give_up(Response::error(Status::REQUEST_TIMEOUT), cx);
                }
                body.extend_from_slice(bytes);
                if let Some(trailers) = end {
                    self.on_buffered(trailers, cx);
                }
            }
            Some(Exchange::Receiving {
                pace, is_paused, ..
            }) => {
                if mem::take(is_paused) {
                    // The time that we took is not the peer's.
                    *pace = Pace::new(now);
                }
                if pace.is_too_slow(bytes.len(), now, rate) && end.is_none() {
                    return self.give_up(Response::error(Status::REQUEST_TIMEOUT), cx);
                }
                self.on_received(bytes, end, cx);
            }
            Some(Exchange::Discarding { left, pace }) => {
                let is_too_slow = pace.is_too_slow(bytes.len(), now, rate) && end.is_none();
                match left.checked_sub(bytes.len()) {
                    Some(rest) if !is_too_slow => {
                        *left = rest;
                        if end.is_some() {
                            self.leave();
                        }
                    }
                    _ => cx.finish(),
                }
            }
            Some(Exchange::Sending(_) | Exchange::Awaiting { .. } | Exchange::Later { .. })
            | None => overtaken(cx),
        }
    }

    /// The body is put together.
    fn on_buffered(&mut self, trailers: Fields<'_>, cx: &mut Cx<'_>) {
        let Some(Exchange::Buffering {
            head, body, asked, ..
        }) = self.leave()
        else {
            return;
        };
        // It was parsed before, or it would not be here.
        let response = match Head::parse(&head, &self.server.limits) {
            Ok(Some(head)) => self.call(&head, &body, trailers, cx),
            Ok(None) | Err(_) => Response::error(Status::INTERNAL_SERVER_ERROR),
        };
        self.answer(response, asked, cx);
    }

    fn on_received(&mut self, bytes: &[u8], end: Option<Fields<'_>>, cx: &mut Cx<'_>) {
        let Some(Exchange::Receiving {
            receiver,
            is_paused,
            ..
        }) = self.exchange.as_deref_mut()
        else {
            return;
        };
        let flow = if bytes.is_empty() {
            Flow::More
        } else {
            receiver.on_bytes(bytes, cx)
        };
        let response = match (flow, end) {
            (Flow::Answer(response), None) => return self.give_up(response, cx),
            (Flow::Answer(response), Some(_)) => response,
            (Flow::More | Flow::Pause, Some(trailers)) => receiver.on_end(trailers, cx),
            (Flow::More, None) => return,
            (Flow::Pause, None) => {
                *is_paused = true;
                return cx.pause();
            }
        };
        if let Some(Exchange::Receiving { asked, .. }) = self.leave() {
            self.answer(response, asked, cx);
        }
    }

    /// Answers in the middle of a body, and ends the connection.
    fn give_up(&mut self, response: Response, cx: &mut Cx<'_>) {
        let asked = match self.leave() {
            Some(Exchange::Buffering { asked, .. } | Exchange::Receiving { asked, .. }) => asked,
            _ => Asked::NOTHING,
        };
        let keeps_alive = false;
        self.answer(
            response,
            Asked {
                keeps_alive,
                is_last: false,
                ..asked
            },
            cx,
        );
    }

    pub(super) fn enter(&mut self, exchange: Exchange) {
        if self.exchange.replace(Box::new(exchange)).is_none() {
            self.server.active.set(self.server.active.get() + 1);
        }
    }

    pub(super) fn leave(&mut self) -> Option<Exchange> {
        let exchange = self.exchange.take()?;
        self.server.active.set(self.server.active.get() - 1);
        Some(*exchange)
    }
}

impl Protocol for Session {
    type Decoder = Requests;
    type Encoder = ();

    #[inline]
    fn on_frame(&mut self, part: Part<'_>, cx: &mut Cx<'_>) {
        // By reference: a head that is moved out of its part is copied.
        match &part {
            Part::Request { head, body } => self.on_request(head, body, cx),
            Part::Head(head) => self.on_head(head, cx),
            Part::Body { bytes, end } => self.on_body(bytes, *end, cx),
        }
    }

    fn on_malformed(&mut self, error: RequestError, cx: &mut Cx<'_>) {
        log::debug!("{}: {error}", cx.token());
        self.answer_mistake(error.status(), cx);
    }

    fn on_drain(&mut self, cx: &mut Cx<'_>) {
        self.pump(cx);
    }

    fn on_timer(&mut self, _: TimerId, cx: &mut Cx<'_>) {
        match self.exchange.as_deref_mut() {
            Some(Exchange::Sending(sending)) => {
                sending.timer = None;
                self.pump(cx);
            }
            Some(Exchange::Awaiting { awaited, .. }) if awaited.is_lost() => {
                log::error!("{}: a reply was dropped", cx.token());
                self.answer_awaited(Response::error(Status::INTERNAL_SERVER_ERROR), cx);
            }
            Some(Exchange::Later { .. }) => {
                if let Some(Exchange::Later { make, asked }) = self.leave() {
                    self.answer_late(make(cx.now()), asked, cx);
                }
            }
            _ => {}
        }
    }

    fn on_mail(&mut self, mail: Mail, cx: &mut Cx<'_>) {
        let answer = match mail.downcast::<Answer>() {
            Ok(answer) => answer,
            Err(mail) if mail.is::<Nudge>() => return self.pump(cx),
            Err(_) => return log::warn!("{}: mail of an unknown kind", cx.token()),
        };
        match self.exchange.as_deref() {
            Some(Exchange::Awaiting { awaited, .. }) if awaited.is_answered_by(&answer) => {
                self.answer_awaited(answer.into_response(), cx);
            }
            _ => log::debug!("{}: nobody waits for this answer any more", cx.token()),
        }
    }

    #[inline]
    fn patience(&self) -> Option<&Patience> {
        Some(match self.exchange.as_deref() {
            None
            | Some(Exchange::Receiving {
                is_paused: true, ..
            }) => &self.server.waiting,
            Some(
                Exchange::Buffering { .. }
                | Exchange::Receiving { .. }
                | Exchange::Discarding { .. },
            ) => &self.server.receiving,
            Some(Exchange::Sending(_) | Exchange::Awaiting { .. } | Exchange::Later { .. }) => {
                &self.server.answering
            }
        })
    }

    fn on_timeout(&mut self, reason: CloseReason, cx: &mut Cx<'_>) {
        // A connection on which nothing was begun ends in silence: an answer to nothing could be
        // taken for the one to a request that is just leaving (RFC 9110, section 15.5.9).
        if self.exchange.is_some() || reason == CloseReason::TooSlow {
            self.answer_mistake(Status::REQUEST_TIMEOUT, cx);
        }
    }

    fn on_shutdown(&mut self, cx: &mut Cx<'_>) {
        self.left = 0;
        match self.exchange.as_deref_mut() {
            None | Some(Exchange::Discarding { .. }) => cx.finish(),
            Some(Exchange::Sending(sending)) => {
                sending.on_shutdown();
                self.pump(cx);
            }
            _ => {}
        }
    }

    fn on_close(&mut self, _: CloseReason, intents: &mut Intents) {
        if let Some(mut exchange) = self.leave()
            && let Some(record) = exchange.take_record()
        {
            record.end(intents.now());
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.peer != NOBODY {
            self.server.peers.borrow_mut().remove(self.peer as usize);
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("left", &self.left)
            .field("is_between_requests", &self.exchange.is_none())
            .finish_non_exhaustive()
    }
}

/// Somebody resumed a connection that the server had paused for an answer: what comes then has
/// nowhere to go.
#[cold]
fn overtaken(cx: &mut Cx<'_>) {
    log::error!(
        "{}: resumed before its answer was complete: aborted",
        cx.token()
    );
    cx.abort();
}

#[cold]
fn too_large() -> Response {
    Response::error(Status::CONTENT_TOO_LARGE).close()
}

/// The index of no address.
const NOBODY: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use crate::http::{Response, Router, Server};
    use crate::net::{Memory, Network};
    use crate::protocol::{Driver, Effects};

    #[test]
    fn a_session_costs_three_words() {
        assert_eq!(size_of::<super::Session>(), 24);
    }

    #[test]
    fn a_request_without_parameters_allocates_nothing_once_the_queue_has_grown() {
        let server = Server::new(Router::new().get("/", |_| Response::text("home")));
        let mut session = server.session();
        let mut fx = Effects::new(Memory::new().now());
        let mut ask = || {
            session.drive(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", &mut 1, &mut fx);
            let len = fx.out.len();
            fx.out.consume(len);
            len
        };
        let first_len = ask();
        let allocations = allocation_counter::measure(|| assert_eq!(ask(), first_len));
        assert_eq!(allocations.count_total, 0);
    }
}
