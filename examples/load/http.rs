//! Load for HTTP/1.1 servers: requests that were written beforehand, and the answers' decoder of
//! the library's client.
//!
//! The client itself is for requests that differ; here they are the same bytes again and again,
//! so that what a request costs is what its answer costs to read. Knows neither when to send nor
//! what is measured.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use windlass::http::Method;
use windlass::http::client::{Head, Limits, Part, ResponseError, Responses};
use windlass::{CloseReason, Context, Intents, Mail, Patience, Protocol, Raw, TimerId};

use crate::lane::Lane;
use crate::stats::Failure;

/// A request as it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) method: Method,
    pub(crate) bytes: Bytes,
}

/// What is asked of one server, and which answers are good.
#[derive(Debug)]
pub(crate) struct Questions {
    /// At least one; asked in turn.
    pub(crate) all: Vec<Question>,
    pub(crate) expect: Expect,
}

/// Which answers are good.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expect {
    /// `None`: 200 to 399.
    pub(crate) status: Option<u16>,
    /// Bytes of the body.
    pub(crate) len: Option<u64>,
    /// Of the body.
    pub(crate) sha256: Option<[u8; 32]>,
}

/// Asks, and checks what is answered.
pub(crate) struct Asking {
    lane: Lane,
    questions: Rc<Questions>,
    /// Which is asked next, and which is answered next.
    next: usize,
    awaited: usize,
    /// What the decoder has to know of the latter.
    asked: Rc<Cell<Option<Method>>>,
    answer: Answer,
}

/// The answer that is being received.
#[derive(Default)]
struct Answer {
    status: u16,
    head_len: u64,
    body_len: u64,
    keeps_alive: bool,
    digest: Option<Sha256>,
}

impl Asking {
    /// What a connection is opened with. `slot` varies what is asked first.
    pub(crate) fn stack(
        lane: Lane,
        questions: &Rc<Questions>,
        slot: u32,
    ) -> (Responses, Raw, Asking) {
        let asked = Rc::new(Cell::new(None));
        let responses = Responses::new(&Limits::default(), Rc::clone(&asked));
        let first = slot as usize % questions.all.len();
        let asking = Asking {
            lane,
            questions: Rc::clone(questions),
            next: first,
            awaited: first,
            asked,
            answer: Answer::default(),
        };
        (responses, Raw, asking)
    }

    #[inline]
    fn send(&mut self, cx: &mut Context<'_, Raw>) {
        let question = &self.questions.all[self.next];
        self.next = self.after(self.next);
        if self.asked.get().is_none() {
            self.asked.set(Some(question.method));
        }
        cx.out().put(&question.bytes);
        self.lane.sent(question.bytes.len());
    }

    /// Sends as much as may be sent.
    #[inline]
    fn fill(&mut self, cx: &mut Context<'_, Raw>) {
        while self.lane.next(cx.token(), cx.now()) {
            self.send(cx);
        }
    }

    #[inline]
    fn after(&self, index: usize) -> usize {
        let next = index + 1;
        if next == self.questions.all.len() {
            0
        } else {
            next
        }
    }

    #[inline]
    fn on_head(&mut self, head: &Head<'_>) {
        self.answer = Answer {
            status: head.status().code(),
            head_len: head.as_bytes().len() as u64,
            body_len: 0,
            keeps_alive: head.keeps_alive(),
            digest: self.questions.expect.sha256.map(|_| Sha256::new()),
        };
    }

    #[inline]
    fn on_bytes(&mut self, bytes: &[u8]) {
        self.answer.body_len += bytes.len() as u64;
        if let Some(digest) = &mut self.answer.digest {
            digest.update(bytes);
        }
    }

    #[inline]
    fn on_end(&mut self, cx: &mut Context<'_, Raw>) {
        let len = self.answer.head_len + self.answer.body_len;
        let verdict = self.verdict();
        self.lane.answered(cx.now(), verdict, len);
        self.awaited = self.after(self.awaited);
        let method = self.questions.all[self.awaited].method;
        self.asked.set(self.lane.is_waiting().then_some(method));
        if !self.answer.keeps_alive || !self.lane.run.terms.keep_alive {
            // It is the server that closes.
            return self.lane.end();
        }
        let think = self.lane.run.terms.think;
        if think.is_zero() {
            self.fill(cx);
        } else {
            cx.set_timer(think);
        }
    }

    #[inline]
    fn verdict(&mut self) -> Result<(), Failure> {
        let (answer, expect) = (&mut self.answer, &self.questions.expect);
        let is_good = match expect.status {
            None => (200..400).contains(&answer.status),
            Some(status) => answer.status == status,
        };
        if !is_good {
            let status = answer.status;
            self.lane.run.explain(|| format!("status {status}"));
            return Err(Failure::Status);
        }
        if expect.len.is_some_and(|len| len != answer.body_len) {
            let len = answer.body_len;
            self.lane.run.explain(|| format!("a body of {len} bytes"));
            return Err(Failure::Length);
        }
        if let (Some(expected), Some(digest)) = (expect.sha256, answer.digest.take())
            && digest.finalize()[..] != expected
        {
            self.lane
                .run
                .explain(|| "a body with another digest".into());
            return Err(Failure::Content);
        }
        Ok(())
    }
}

impl Protocol for Asking {
    type Decoder = Responses;
    type Encoder = Raw;

    fn on_open(&mut self, cx: &mut Context<'_, Raw>) {
        self.lane.on_open();
        self.fill(cx);
    }

    #[inline]
    fn on_frame(&mut self, part: Part<'_>, cx: &mut Context<'_, Raw>) {
        match part {
            Part::Response { head, body } => {
                self.on_head(&head);
                self.on_bytes(body);
                self.on_end(cx);
            }
            Part::Head(head) => self.on_head(&head),
            Part::Body { bytes, end } => {
                self.on_bytes(bytes);
                if end.is_some() {
                    self.on_end(cx);
                }
            }
        }
    }

    fn on_malformed(&mut self, error: ResponseError, cx: &mut Context<'_, Raw>) {
        self.lane.run.explain(|| error.to_string());
        self.lane.failed(cx.now(), Failure::Malformed);
    }

    fn on_timer(&mut self, _: TimerId, cx: &mut Context<'_, Raw>) {
        self.fill(cx);
    }

    fn on_mail(&mut self, _: Mail, cx: &mut Context<'_, Raw>) {
        if self.lane.next_parked(cx.token(), cx.now()) {
            self.send(cx);
            self.fill(cx);
        }
    }

    fn patience(&self) -> Option<&Patience> {
        Some(self.lane.patience())
    }

    fn on_timeout(&mut self, _: CloseReason, cx: &mut Context<'_, Raw>) {
        self.lane.on_timeout(cx.now());
        cx.abort();
    }

    fn on_close(&mut self, reason: CloseReason, cx: &mut Intents) {
        self.lane.on_close(reason, cx.now());
    }
}
