//! `Session`: the client's side of one connection.
//!
//! Requests go out as far as there is room, answers come back in their order. Knows neither the
//! connection nor the reactor.
//!
//! ```text
//!                  request sent              head
//! Connecting --> idle ---------> awaiting ---------> body
//!                 ^                 |   ^              |
//!                 |   whole answer  |   | more asked   | its end
//!                 `-----------------+---+--------------'
//!                                   | close, mistake, time-out
//!                                   v
//!                 what was not answered: sent again elsewhere, or failed
//! ```

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::check::Check;
use super::decoder::{Part, Responses};
use super::error::{Cause, DigestError, Failure, ResponseError};
use super::head::Head;
use super::pool::{Call, Pool, Waiting};
use super::receiver::{Flow, Response};
use super::request::{Content as RequestContent, Request};
use crate::close::CloseReason;
use crate::http::body::Nudge;
use crate::http::exchange::{Content, Pace, Sending, Sent};
use crate::http::fields::Fields;
use crate::http::method::Method;
use crate::http::writer::{Asked, Framing};
use crate::limits::Patience;
use crate::protocol::{Context, Intents, Mail, Protocol, TimerId};
use crate::token::Token;

type Cx<'a> = Context<'a, ()>;

/// The protocol of one connection of a client.
pub(super) struct Session {
    pool: Rc<Pool>,
    /// The method of the first request in flight, for the decoder.
    asked: Rc<Cell<Option<Method>>>,
    /// Whether more had come with the last piece of an answer: the decoder tells.
    is_followed: Rc<Cell<bool>>,
    /// `None` until the connection is made, and once the pool was told of its end.
    token: Option<Token>,
    /// Requests that were sent and whose answers are not complete, in order.
    in_flight: VecDeque<Flight>,
    /// The body of the last of them, if it is still being sent.
    upload: Option<Box<Sending>>,
    /// Before more of it is sent, what has arrived is looked at.
    is_resting: bool,
    state: State,
    /// Looks after the deadline of the first in flight, or of one before; and when it fires.
    timer: Option<(TimerId, Instant)>,
    /// Why the connection is being reset.
    cause: Option<Cause>,
}

struct Flight {
    call: Call,
    deadline: Option<Instant>,
}

/// How far the answer to the first request in flight is.
enum State {
    /// Nothing of it is here.
    Awaiting,
    /// Its head is.
    Body {
        pace: Pace,
        is_paused: bool,
        keeps_alive: bool,
        /// If its digests are to be verified.
        check: Option<Box<Check>>,
    },
    /// No further answer is taken: the connection is ending.
    Closing,
}

impl Session {
    pub(super) fn new(
        pool: Rc<Pool>,
        asked: Rc<Cell<Option<Method>>>,
        is_followed: Rc<Cell<bool>>,
    ) -> Session {
        Session {
            pool,
            asked,
            is_followed,
            token: None,
            in_flight: VecDeque::new(),
            upload: None,
            is_resting: false,
            state: State::Awaiting,
            timer: None,
            cause: None,
        }
    }

    /// Requests that can be sent now. Behind one that is not idempotent, or whose body is under
    /// way, nothing is (RFC 9112, section 9.3.2).
    fn room(&self) -> usize {
        let is_ending = matches!(self.state, State::Closing);
        let is_safe = |flight: &Flight| {
            let request = &flight.call.request;
            request.is_idempotent() && !request.closes()
        };
        let is_free = self.in_flight.iter().all(is_safe) && self.upload.is_none();
        // What came behind the last answer that was asked for is a mistake, which the decoder is
        // about to find, and no answer to what is asked next (RFC 9112, section 9.2).
        let is_broken = self.in_flight.is_empty() && self.is_followed.get();
        if is_ending || self.cause.is_some() || !is_free || is_broken {
            return 0;
        }
        let max = self.pool.bounds.limits.max_pipelined.max(1);
        max.saturating_sub(self.in_flight.len())
    }

    /// Sends what waits, as far as there is room.
    fn pump(&mut self, cx: &mut Cx<'_>) {
        while self.room() > 0 {
            let is_first = self.in_flight.is_empty();
            if !is_first && !cx.is_writable() {
                break;
            }
            let is_harmless = |request: &Request| request.is_idempotent() && request.is_at_hand();
            let suits = |request: &Request| is_first || is_harmless(request);
            let Some(call) = self.pool.take_if(suits) else {
                break;
            };
            self.put(call, cx);
        }
        if matches!(self.state, State::Closing) {
            return;
        }
        if self.in_flight.is_empty() && self.pool.is_done() {
            return self.close(cx);
        }
        self.pool.has_room(cx.token(), self.room());
        self.watch(cx);
    }

    fn put(&mut self, call: Call, cx: &mut Cx<'_>) {
        let request = Rc::clone(&call.request);
        // What is beyond all time is none.
        let after = request.deadline_after();
        let deadline = after.and_then(|after| cx.now().checked_add(after));
        if self.in_flight.is_empty() {
            self.asked.set(Some(request.method()));
        }
        self.in_flight.push_back(Flight { call, deadline });
        let host = &self.pool.host;
        let content = match request.content() {
            RequestContent::Bytes(bytes) if bytes.len() <= LARGE_LEN => {
                return request.put_head(host, bytes, cx.out());
            }
            RequestContent::Bytes(bytes) => Content::Bytes(bytes.clone()),
            // Such a request is sent once: the source is there.
            RequestContent::Source(source, _) => match source.take() {
                Some(source) => Content::Source(source),
                None => return self.fail(Cause::Source, cx),
            },
        };
        request.put_head(host, &[], cx.out());
        let framing = request.framing();
        let left = match framing {
            Framing::Length(len) => len,
            Framing::None | Framing::Chunked | Framing::Close => 0,
        };
        if framing == Framing::Length(0) {
            return;
        }
        self.upload = Some(Box::new(Sending {
            content,
            framing,
            left,
            asked: Asked::NOTHING,
            timer: None,
        }));
        self.pump_upload(cx);
    }

    /// Sends what there is of a body, as far as there is room.
    fn pump_upload(&mut self, cx: &mut Cx<'_>) {
        let Some(upload) = self.upload.as_deref_mut() else {
            return;
        };
        if let Some(timer) = upload.timer.take() {
            cx.cancel_timer(timer);
        }
        let mut scratch = self.pool.scratch.take();
        let sent = upload.pump(&mut scratch, cx);
        scratch.shrink_to(MAX_SCRATCH_LEN);
        self.pool.scratch.set(scratch);
        match sent {
            Sent::All => self.upload = None,
            Sent::Full => {}
            Sent::Waits(wait) => self.rest(wait, cx),
            Sent::Failed => self.fail(Cause::Source, cx),
        }
    }

    /// Goes on with the body after a while.
    fn rest(&mut self, wait: Duration, cx: &mut Cx<'_>) {
        let Some(upload) = self.upload.as_deref_mut() else {
            return;
        };
        if let Some(timer) = upload.timer.take() {
            cx.cancel_timer(timer);
        }
        upload.timer = cx.set_timer(wait);
        if upload.timer.is_none() {
            // `max_timers` of the connection leaves us none: nobody would go on.
            self.fail(Cause::Source, cx);
        }
    }

    /// The answer to the first request is complete, or fails: takes it off the list.
    fn take_first(&mut self) -> Option<Flight> {
        let first = self.in_flight.pop_front();
        let next = self.in_flight.front();
        self.asked.set(next.map(|next| next.call.request.method()));
        self.state = State::Awaiting;
        first
    }

    fn on_response(&mut self, response: &Response<'_>, cx: &mut Cx<'_>) {
        if let Err(error) = self.verify(response) {
            return self.fail(Cause::Digest(error), cx);
        }
        let Some(first) = self.take_first() else {
            return;
        };
        let keeps_alive = response.head.keeps_alive() && !first.call.request.closes();
        self.before_end(keeps_alive);
        first.call.receiver.on_response(response, cx);
        self.after_end(cx);
    }

    /// Whether a whole answer is what its digests say, if the request wants to know.
    fn verify(&self, response: &Response<'_>) -> Result<(), DigestError> {
        let first = self.in_flight.front();
        let check = first.map(|first| Check::begin(&first.call.request, &response.head));
        match check.transpose()?.flatten() {
            Some(mut check) => {
                check.update(response.body);
                check.end(&response.trailers)
            }
            None => Ok(()),
        }
    }

    fn on_head(&mut self, head: &Head<'_>, cx: &mut Cx<'_>) {
        let Some(first) = self.in_flight.front_mut() else {
            return;
        };
        let check = match Check::begin(&first.call.request, head) {
            Ok(check) => check.map(Box::new),
            Err(error) => return self.fail(Cause::Digest(error), cx),
        };
        self.state = State::Body {
            pace: Pace::new(cx.now()),
            is_paused: false,
            keeps_alive: head.keeps_alive(),
            check,
        };
        let flow = first.call.receiver.on_head(head, cx);
        self.heed(flow, cx);
    }

    fn on_body(&mut self, bytes: &[u8], end: Option<Fields<'_>>, cx: &mut Cx<'_>) {
        let rate = self.pool.bounds.limits.min_body_rate;
        let State::Body {
            pace,
            is_paused,
            keeps_alive,
            check,
        } = &mut self.state
        else {
            return;
        };
        if mem::take(is_paused) {
            // The time that we took is not the server's.
            *pace = Pace::new(cx.now());
        }
        if let Some(check) = check {
            check.update(bytes);
        }
        if pace.is_too_slow(bytes.len(), cx.now(), rate) && end.is_none() {
            return self.fail(Cause::Timeout, cx);
        }
        let (keeps_alive, check) = (*keeps_alive, check.take_if(|_| end.is_some()));
        if !bytes.is_empty()
            && let Some(first) = self.in_flight.front_mut()
        {
            let flow = first.call.receiver.on_bytes(bytes, cx);
            if end.is_none() || flow == Flow::Stop {
                return self.heed(flow, cx);
            }
        }
        let Some(trailers) = end else { return };
        if let Some(Err(error)) = check.map(|check| check.end(&trailers)) {
            return self.fail(Cause::Digest(error), cx);
        }
        let Some(first) = self.take_first() else {
            return;
        };
        self.before_end(keeps_alive && !first.call.request.closes());
        first.call.receiver.on_end(trailers, cx);
        self.after_end(cx);
    }

    /// Does what a receiver wants in the middle of an answer.
    fn heed(&mut self, flow: Flow, cx: &mut Cx<'_>) {
        match (flow, &mut self.state) {
            (Flow::Pause, State::Body { is_paused, .. }) => {
                *is_paused = true;
                cx.pause();
            }
            (Flow::Stop, _) => self.fail(Cause::Stopped, cx),
            (Flow::More | Flow::Pause, _) => {}
        }
    }

    /// An answer is complete; says whether the connection goes on. Known before the callback, which
    /// may send the next request.
    fn before_end(&mut self, keeps_alive: bool) {
        // A server that answers before it has the whole request may not want the rest of it: what
        // is left unsent ends the connection (RFC 9112, section 9.3).
        let is_overtaken = self.in_flight.is_empty() && self.upload.take().is_some();
        if !keeps_alive || is_overtaken {
            self.state = State::Closing;
            if let Some(token) = self.token {
                self.pool.remove(token);
            }
        } else if let Some(token) = self.token {
            self.pool.has_room(token, self.room());
        }
    }

    fn after_end(&mut self, cx: &mut Cx<'_>) {
        if matches!(self.state, State::Closing) {
            // What was sent behind the last answer was not looked at (RFC 9112, section 9.6).
            let calls = mem::take(&mut self.in_flight);
            self.pool
                .put_back(calls.into_iter().map(|flight| flight.call));
            self.pool.dispatch(cx);
            return cx.finish();
        }
        self.pump(cx);
    }

    /// Nothing is to come from either side.
    fn close(&mut self, cx: &mut Cx<'_>) {
        self.state = State::Closing;
        self.pool.remove(cx.token());
        cx.finish();
    }

    /// Gives the connection up. What is in flight is told when it has ended, which is at once.
    fn fail(&mut self, cause: Cause, cx: &mut Cx<'_>) {
        self.cause.get_or_insert(cause);
        self.pool.remove(cx.token());
        cx.abort();
    }

    /// Sees to it that the first request in flight is looked after.
    fn watch(&mut self, cx: &mut Cx<'_>) {
        let Some(deadline) = self.in_flight.front().and_then(|first| first.deadline) else {
            return;
        };
        match self.timer {
            // It looks again when it fires.
            Some((_, at)) if at <= deadline => return,
            Some((timer, _)) => cx.cancel_timer(timer),
            None => {}
        }
        let left = deadline.saturating_duration_since(cx.now());
        self.timer = cx.set_timer(left).map(|timer| (timer, deadline));
    }

    /// Those in flight are not going to be answered here.
    fn settle(&mut self, cause: Cause, cx: &mut Intents) {
        let has_begun = matches!(self.state, State::Body { .. });
        let is_over = cause == Cause::Closed(CloseReason::Shutdown);
        let is_closed = matches!(cause, Cause::Closed(_));
        let mut again = Vec::new();
        let mut failed = Vec::new();
        for (index, flight) in mem::take(&mut self.in_flight).into_iter().enumerate() {
            let mut call = flight.call;
            let request = &call.request;
            // Those behind the first are not to blame for what became of it.
            let may_retry = !is_over && (index > 0 || (is_closed && !has_begun));
            let is_harmless = request.is_idempotent() && request.is_at_hand();
            if may_retry && is_harmless && call.retries_left > 0 {
                call.retries_left -= 1;
                again.push(call);
            } else {
                let is_first = index == 0 || is_closed;
                let aborted = Cause::Closed(CloseReason::Aborted);
                failed.push((call, if is_first { cause } else { aborted }));
            }
        }
        self.pool.put_back(again.into_iter());
        self.pool.dispatch(cx);
        for (call, cause) in failed {
            let is_retryable = call.request.is_idempotent();
            let failure = Failure {
                cause,
                is_retryable,
            };
            call.receiver.on_failure(failure, cx);
        }
    }
}

impl Protocol for Session {
    type Decoder = Responses;
    type Encoder = ();

    fn on_open(&mut self, cx: &mut Cx<'_>) {
        self.token = Some(cx.token());
        self.pump(cx);
    }

    fn on_frame(&mut self, part: Part<'_>, cx: &mut Cx<'_>) {
        match part {
            Part::Response { head, body } => {
                let response = Response {
                    head,
                    body,
                    trailers: Fields::default(),
                };
                self.on_response(&response, cx);
            }
            Part::Head(head) => self.on_head(&head, cx),
            Part::Body { bytes, end } => self.on_body(bytes, end, cx),
        }
    }

    fn on_malformed(&mut self, error: ResponseError, cx: &mut Cx<'_>) {
        log::debug!("{}: {error}", cx.token());
        self.fail(Cause::Response(error), cx);
    }

    fn on_drain(&mut self, cx: &mut Cx<'_>) {
        // Not at once: while too much is queued nothing is read, and an answer that says that the
        // rest is not wanted has to be seen. Connections run between the timers of this turn and
        // those of the next.
        if self.upload.is_some() {
            self.is_resting = true;
            self.rest(Duration::ZERO, cx);
        }
        self.pump(cx);
    }

    fn on_timer(&mut self, timer: TimerId, cx: &mut Cx<'_>) {
        if self.timer.is_some_and(|(own, _)| own == timer) {
            self.timer = None;
            let first = self.in_flight.front();
            let is_past = |deadline| deadline <= cx.now();
            if first.and_then(|first| first.deadline).is_some_and(is_past) {
                return self.fail(Cause::Timeout, cx);
            }
            self.watch(cx);
        } else if let Some(upload) = self.upload.as_deref_mut() {
            upload.timer = None;
            if mem::take(&mut self.is_resting) {
                return self.rest(Duration::ZERO, cx);
            }
            self.pump_upload(cx);
            self.pump(cx);
        }
    }

    fn on_mail(&mut self, mail: Mail, cx: &mut Cx<'_>) {
        if self.token.is_none() {
            // It looks for itself when it is open.
        } else if mail.is::<Waiting>() {
            self.pump(cx);
        } else if mail.is::<Nudge>() {
            self.pump_upload(cx);
            self.pump(cx);
        } else {
            log::warn!("{}: mail of an unknown kind", cx.token());
        }
    }

    #[inline]
    fn patience(&self) -> Option<&Patience> {
        let is_held = matches!(
            self.state,
            State::Body {
                is_paused: true,
                ..
            }
        );
        if is_held || self.upload.is_some() {
            // It is us who are waited for: as long as the connection's limits allow.
            None
        } else if self.in_flight.is_empty() {
            Some(&self.pool.idle)
        } else {
            Some(&self.pool.awaiting)
        }
    }

    fn on_timeout(&mut self, _: CloseReason, cx: &mut Cx<'_>) {
        if self.in_flight.is_empty() {
            self.close(cx);
        } else {
            self.fail(Cause::Timeout, cx);
        }
    }

    fn on_eof(&mut self, _: usize, cx: &mut Cx<'_>) {
        if self.in_flight.is_empty() {
            return self.close(cx);
        }
        let reason = match self.state {
            State::Body { .. } => CloseReason::Truncated,
            State::Awaiting | State::Closing => CloseReason::PeerFinished,
        };
        self.fail(Cause::Closed(reason), cx);
    }

    fn on_shutdown(&mut self, cx: &mut Cx<'_>) {
        if self.in_flight.is_empty() {
            self.close(cx);
        }
    }

    fn on_close(&mut self, reason: CloseReason, cx: &mut Intents) {
        self.pool.remove(cx.token());
        let is_made = self.token.take().is_some();
        let cause = self.cause.take().unwrap_or(Cause::Closed(reason));
        if is_made {
            return self.settle(cause, cx);
        }
        // Whoever has a connection may go on; if nobody has, trying again at once would not help.
        for call in self.pool.take_stranded() {
            let failure = Failure {
                cause,
                is_retryable: true,
            };
            call.receiver.on_failure(failure, cx);
        }
    }
}

impl Drop for Session {
    /// After a panic of a receiver nobody else tells the pool.
    fn drop(&mut self) {
        if let Some(token) = self.token {
            self.pool.remove(token);
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("in_flight", &self.in_flight.len())
            .finish_non_exhaustive()
    }
}

/// Bytes above which a body is queued piece by piece instead of all at once.
const LARGE_LEN: usize = 32 * 1024;
/// Memory that is kept for the pieces of streamed bodies.
const MAX_SCRATCH_LEN: usize = 256 * 1024;
