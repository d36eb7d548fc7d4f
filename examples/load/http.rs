//! Load for HTTP/1.1 servers: requests that were written beforehand, and the answers' decoder of
//! the library's client.
//!
//! The client itself is for requests that differ; here they are the same bytes again and again,
//! so that what a request costs is what its answer costs to read. Knows neither when to send nor
//! what is measured.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use windlass::http::Method;
use windlass::http::client::{Head, Limits, Part, ResponseError, Responses};
use windlass::{Context, Raw};

use crate::asking::{Asking, Exchange};
use crate::lane::Lane;
use crate::stats::Failure;
use crate::surplus::Watched;

/// A request as it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) method: Method,
    pub(crate) bytes: Bytes,
}

impl Question {
    /// The method and the target.
    fn name(&self) -> String {
        let line = self.bytes.split(|byte| *byte == b'\r').next();
        let line = String::from_utf8_lossy(line.unwrap_or_default());
        line.trim_end_matches(" HTTP/1.1").to_owned()
    }
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
    /// How long it may take from its head to its end.
    pub(crate) within: Option<Duration>,
    /// `None`: 200 to 399.
    pub(crate) status: Option<u16>,
    /// Bytes of the body.
    pub(crate) len: Option<u64>,
    /// Of the body.
    pub(crate) sha256: Option<[u8; 32]>,
}

/// One connection's requests and answers.
pub(crate) struct Http {
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
    /// By when it has to be whole.
    until: Option<Instant>,
    head_len: u64,
    body_len: u64,
    keeps_alive: bool,
    digest: Option<Sha256>,
}

/// What a connection is opened with. `slot` varies what is asked first.
pub(crate) fn stack(
    lane: Lane,
    questions: &Rc<Questions>,
    slot: u32,
) -> (Watched<Responses>, Raw, Asking<Http>) {
    let asked = Rc::new(Cell::new(None));
    let responses = Responses::new(&Limits::default(), Rc::clone(&asked));
    let first = slot as usize % questions.all.len();
    let exchange = Http {
        questions: Rc::clone(questions),
        next: first,
        awaited: first,
        asked,
        answer: Answer::default(),
    };
    Asking::stack(lane, exchange, (responses, Raw))
}

impl Http {
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
    fn on_head(&mut self, head: &Head<'_>, now: Instant) {
        let within = self.questions.expect.within;
        self.answer = Answer {
            until: within.and_then(|within| now.checked_add(within)),
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
    fn verdict(&mut self, lane: &Lane) -> Result<(), Failure> {
        let verdict = self.judge();
        if let Err(why) = verdict {
            lane.explain(|| match &self.questions.all[..] {
                [_] => self.in_words(why),
                all => format!("{}: {}", all[self.awaited].name(), self.in_words(why)),
            });
        }
        verdict
    }

    /// What is wrong with an answer.
    #[inline]
    fn judge(&mut self) -> Result<(), Failure> {
        let (answer, expect) = (&mut self.answer, &self.questions.expect);
        let is_good = match expect.status {
            None => (200..400).contains(&answer.status),
            Some(status) => answer.status == status,
        };
        if !is_good {
            return Err(Failure::Status);
        }
        if expect.len.is_some_and(|len| len != answer.body_len) {
            return Err(Failure::Length);
        }
        if let (Some(expected), Some(digest)) = (expect.sha256, answer.digest.take())
            && digest.finalize()[..] != expected
        {
            return Err(Failure::Content);
        }
        Ok(())
    }

    fn in_words(&self, why: Failure) -> String {
        match why {
            Failure::Status => format!("status {}", self.answer.status),
            Failure::Length => format!("a body of {} bytes", self.answer.body_len),
            _ => "a body with another digest".into(),
        }
    }
}

impl Exchange for Http {
    type Decoder = Responses;
    type Encoder = Raw;

    #[inline]
    fn send(&mut self, cx: &mut Context<'_, Raw>) -> usize {
        let question = &self.questions.all[self.next];
        self.next = self.after(self.next);
        if self.asked.get().is_none() {
            self.asked.set(Some(question.method));
        }
        cx.out().put(&question.bytes);
        question.bytes.len()
    }

    #[inline]
    fn on_frame(asking: &mut Asking<Http>, part: Part<'_>, cx: &mut Context<'_, Raw>) {
        let http = &mut asking.exchange;
        let is_end = match part {
            Part::Response { head, body } => {
                http.on_head(&head, cx.now());
                http.on_bytes(body);
                true
            }
            Part::Head(head) => {
                http.on_head(&head, cx.now());
                false
            }
            Part::Body { bytes, end } => {
                http.on_bytes(bytes);
                end.is_some()
            }
        };
        if is_end {
            asking.on_end(cx);
        } else if http.answer.until.is_some_and(|until| until <= cx.now()) {
            asking.lane.on_timeout(cx.now());
            cx.abort();
        }
    }

    fn failure(error: &ResponseError) -> Failure {
        match error {
            ResponseError::Unasked => Failure::Unasked,
            _ => Failure::Malformed,
        }
    }
}

impl Asking<Http> {
    #[inline]
    fn on_end(&mut self, cx: &mut Context<'_, Raw>) {
        let answer = &self.exchange.answer;
        let len = answer.head_len + answer.body_len;
        let verdict = self.exchange.verdict(&self.lane);
        if !self.answered(verdict, len, 0, cx) {
            return;
        }
        let Asking { lane, exchange, .. } = self;
        if !(exchange.answer.keeps_alive && lane.run.terms.keep_alive) {
            // It is the server that closes.
            lane.end_early();
            exchange.asked.set(None);
            return;
        }
        exchange.awaited = exchange.after(exchange.awaited);
        let method = exchange.questions.all[exchange.awaited].method;
        exchange.asked.set(lane.is_waiting().then_some(method));
        self.go_on(cx);
    }
}
