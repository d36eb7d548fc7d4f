//! How a session answers: at once, piece by piece, or later.
//!
//! Knows how far an answer is, and nothing of how its request came.

use std::mem;
use std::time::Duration;

use super::body::{Body, Make};
use super::exchange::{Content, Exchange, Sending, Sent};
use super::method::{Method, Version};
use super::prepared::Fixed;
use super::response::Response;
use super::session::{Cx, Session};
use super::status::Status;
use super::writer::{Asked, Framing};

impl Session {
    /// Answers if the answer is one of those that only have to be copied. Answers whether it did.
    #[inline(always)]
    pub(super) fn answer_fixed(
        &mut self,
        response: &Response,
        asked: &Asked,
        cx: &mut Cx<'_>,
    ) -> bool {
        if response.closes || self.is_closing() {
            return false;
        }
        let Some(fixed) = Fixed::of(response, asked) else {
            return false;
        };
        let second = cx.unix_time().as_secs();
        if !self.server.prepared.put(fixed, second, cx.out()) {
            self.prepare(fixed, response, cx);
        }
        true
    }

    /// Gives an answer for the first time in this second.
    #[cold]
    fn prepare(&mut self, fixed: Fixed, response: &Response, cx: &mut Cx<'_>) {
        let unix_time = cx.unix_time();
        let body = response.body().unwrap_or_default();
        let framing = Framing::Length(body.len() as u64);
        let (writer, asked) = (&self.server.writer, &Asked::USUAL);
        writer.put(response, body, framing, asked, unix_time, cx.out());
        let write =
            |buf: &mut Vec<u8>| writer.write(response, body, framing, asked, unix_time, buf);
        self.server.prepared.keep(fixed, unix_time.as_secs(), write);
    }

    /// Answers, or begins to.
    pub(super) fn answer(&mut self, mut response: Response, mut asked: Asked, cx: &mut Cx<'_>) {
        if let Some((problem, refusal)) = unsendable(&response, &asked) {
            log::error!("{}: an answer cannot be sent: {problem}", cx.token());
            response = refusal;
        }
        asked.keeps_alive &= !response.closes && !self.is_closing();
        let has_body = response.status.has_body() && asked.method != Method::Head;
        match response.body.as_bytes() {
            Some(body) if body.len() <= LARGE_LEN || !has_body => {
                let len = if response.status.has_body() {
                    body.len()
                } else {
                    0
                };
                let framing = if response.status.has_length() {
                    Framing::Length(len as u64)
                } else {
                    Framing::None
                };
                let body = if has_body { body } else { &[] };
                let unix_time = cx.unix_time();
                let writer = &self.server.writer;
                writer.put(&response, body, framing, &asked, unix_time, cx.out());
                asked.complete(response.status, body.len(), cx.now());
                if !asked.keeps_alive {
                    finish(asked.is_last, cx);
                }
            }
            Some(_) | None => self.begin_answer(response, asked, has_body, cx),
        }
    }

    /// Begins an answer that takes longer.
    fn begin_answer(
        &mut self,
        mut response: Response,
        mut asked: Asked,
        has_body: bool,
        cx: &mut Cx<'_>,
    ) {
        let (content, len) = match mem::take(&mut response.body) {
            Body::Awaited(awaited) => {
                cx.pause();
                let timer = cx.set_interval(LOST_REPLY_PERIOD);
                return self.enter(Exchange::Awaiting {
                    awaited,
                    fields: response.take_fields(),
                    asked,
                    timer,
                });
            }
            Body::Later(wait, make) => {
                cx.pause();
                if cx.set_timer(wait).is_none() {
                    // `max_timers` of the connection leaves us none: nobody would answer.
                    return cx.abort();
                }
                let make = with_fields(make, response.take_fields());
                return self.enter(Exchange::Later { make, asked });
            }
            Body::Switch(driver) => {
                self.put_head(&response, Framing::None, &asked, cx);
                asked.complete(response.status, 0, cx.now());
                return cx.switch(driver);
            }
            Body::Source(source, len) => (Content::Source(source), len),
            Body::File(file) => {
                let len = file.len();
                (Content::File(file), Some(len))
            }
            body @ (Body::Empty | Body::Static(_) | Body::Owned(_) | Body::Shared(_)) => {
                let bytes = body.into_bytes();
                let len = bytes.len() as u64;
                (Content::Bytes(bytes), Some(len))
            }
        };
        let framing = match (len, asked.version) {
            _ if !response.status.has_length() => Framing::None,
            _ if !response.status.has_body() => Framing::Length(0),
            (Some(len), _) => Framing::Length(len),
            (None, Version::Http11) => Framing::Chunked,
            (None, Version::Http10) => Framing::Close,
        };
        asked.keeps_alive &= framing != Framing::Close;
        self.put_head(&response, framing, &asked, cx);
        if !has_body || len == Some(0) {
            asked.complete(response.status, 0, cx.now());
            return self.done(&asked, cx);
        }
        if let Some(record) = &mut asked.record {
            record.begin(response.status);
        }
        cx.pause();
        self.enter(Exchange::Sending(Sending {
            content,
            framing,
            left: len.unwrap_or(0),
            asked,
            timer: None,
        }));
        self.pump(cx);
    }

    fn put_head(&self, response: &Response, framing: Framing, asked: &Asked, cx: &mut Cx<'_>) {
        let unix_time = cx.unix_time();
        let writer = &self.server.writer;
        writer.put(response, &[], framing, asked, unix_time, cx.out());
    }

    /// Sends what there is of a body that is under way, as far as there is room.
    pub(super) fn pump(&mut self, cx: &mut Cx<'_>) {
        let Some(Exchange::Sending(sending)) = self.exchange.as_deref_mut() else {
            return;
        };
        if let Some(timer) = sending.timer.take() {
            cx.cancel_timer(timer);
        }
        let mut scratch = self.server.scratch.take();
        let sent = sending.pump(&mut scratch, cx);
        scratch.shrink_to(MAX_SCRATCH_LEN);
        self.server.scratch.set(scratch);
        match sent {
            Sent::All => {
                if let Some(record) = sending.asked.record.take() {
                    record.complete(cx.now());
                }
                if let Some(Exchange::Sending(Sending { asked, .. })) = self.leave() {
                    self.done(&asked, cx);
                }
            }
            Sent::Full => {}
            Sent::Waits(wait) => sending.timer = cx.set_timer(wait),
            Sent::Failed => cx.abort(),
        }
    }

    /// An answer is complete that was not at first.
    fn done(&mut self, asked: &Asked, cx: &mut Cx<'_>) {
        cx.resume();
        if !asked.keeps_alive || self.is_closing() {
            finish(asked.is_last, cx);
        }
    }

    /// The answer to a request that waited for it is here.
    pub(super) fn answer_late(&mut self, response: Response, asked: Asked, cx: &mut Cx<'_>) {
        cx.resume();
        self.answer(response, asked, cx);
    }

    pub(super) fn answer_awaited(&mut self, response: Response, cx: &mut Cx<'_>) {
        if let Some(Exchange::Awaiting {
            asked,
            timer,
            fields,
            ..
        }) = self.leave()
        {
            if let Some(timer) = timer {
                cx.cancel_timer(timer);
            }
            self.answer_late(response.with_fields(&fields), asked, cx);
        }
    }

    /// Tells the peer of its mistake. The caller sees to it that the connection ends.
    pub(super) fn answer_mistake(&mut self, status: Status, cx: &mut Cx<'_>) {
        let (mut asked, response) = match self.leave() {
            // It was answered already.
            Some(Exchange::Discarding { .. }) => return,
            Some(Exchange::Buffering { asked, .. } | Exchange::Receiving { asked, .. }) => {
                let keeps_alive = false;
                let asked = Asked {
                    keeps_alive,
                    ..asked
                };
                (asked, Response::error(status))
            }
            // What could not be read may be a HEAD, whose answer has no body (RFC 9110, section
            // 9.3.2): none is there that the peer would take for another answer.
            _ => (self.asked_nothing(cx), Response::empty(status)),
        };
        let body = response.body().unwrap_or_default();
        let framing = Framing::Length(body.len() as u64);
        // An answer to HEAD has no body, be the request's as wrong as it may.
        let is_bare = asked.method == Method::Head;
        let body = if is_bare { &[] } else { body };
        let unix_time = cx.unix_time();
        let writer = &self.server.writer;
        writer.put(&response, body, framing, &asked, unix_time, cx.out());
        asked.complete(status, body.len(), cx.now());
    }
}

/// Ends the connection behind the last answer.
fn finish(is_last: bool, cx: &mut Cx<'_>) {
    if is_last {
        cx.finish_both();
    } else {
        cx.finish();
    }
}

/// Why an answer cannot be sent to whoever asked so, and what is sent instead.
fn unsendable(response: &Response, asked: &Asked) -> Option<(String, Response)> {
    let own_mistake = |problem: &str| {
        let response = Response::error(Status::INTERNAL_SERVER_ERROR);
        Some((problem.to_owned(), response))
    };
    if let Some(error) = response.error {
        return own_mistake(&error.to_string());
    }
    let is_success = (200..300).contains(&response.status.code());
    match &response.body {
        Body::Switch(_) if response.status == Status::SWITCHING_PROTOCOLS => {
            // RFC 9110, section 7.8: never without being asked. The fields name the protocol.
            (!asked.upgrades).then(|| {
                let refusal = Response {
                    status: Status::UPGRADE_REQUIRED,
                    fields: response.fields.clone(),
                    ..Response::default()
                };
                ("an upgrade that nobody asked for".to_owned(), refusal)
            })
        }
        Body::Switch(_) if asked.method == Method::Connect && is_success => None,
        Body::Switch(_) => own_mistake("it hands the connection over, which its status does not"),
        // What the real answer is comes later.
        Body::Awaited(_) | Body::Later(..) => None,
        _ if response.status.code() < 200 => own_mistake("it is no final one"),
        // RFC 9110, section 9.3.6: the peer would take what follows for the tunnel's.
        _ if asked.method == Method::Connect && is_success => Some((
            "a success of CONNECT without a tunnel".to_owned(),
            Response::error(Status::NOT_IMPLEMENTED),
        )),
        _ => None,
    }
}

/// What is made later gets the fields that were added to what stood for it.
fn with_fields(make: Make, fields: Vec<u8>) -> Make {
    if fields.is_empty() {
        return make;
    }
    Box::new(move |now| make(now).with_fields(&fields))
}

/// Bytes above which a body is queued piece by piece instead of all at once.
const LARGE_LEN: usize = 32 * 1024;
/// How often it is looked whether somebody can still answer.
const LOST_REPLY_PERIOD: Duration = Duration::from_secs(1);
/// Memory that is kept for the pieces of streamed bodies.
const MAX_SCRATCH_LEN: usize = 256 * 1024;
