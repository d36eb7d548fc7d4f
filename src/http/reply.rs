//! `Reply`: the right to answer a request later, from anywhere.
//!
//! Two ends of one thread of interest: the handle, and what the connection remembers of it. Knows
//! neither of the places that a reply may come from.

use std::fmt;
use std::sync::{Arc, Weak};

use bytes::Bytes;

use super::body::Body;
use super::permit::Permit;
use super::response::Response;
use super::status::Status;
use crate::protocol::Intents;
use crate::token::{Gone, Token};

/// The right to answer a request, once, later: from a timer, another connection, or another
/// thread. Made by `Request::defer`.
///
/// One that is dropped answers 500, within a second. Until the answer comes nothing more is read
/// from the peer, and no time-out ends the connection.
pub struct Reply {
    token: Token,
    link: Arc<()>,
}

impl Reply {
    /// Makes the right, and what the connection remembers of it.
    pub(crate) fn new(token: Token) -> (Reply, Awaited) {
        let link = Arc::new(());
        let awaited = Awaited {
            link: Arc::downgrade(&link),
            permit: None,
        };
        (Reply { token, link }, awaited)
    }

    /// The connection that is to be answered.
    pub fn token(&self) -> Token {
        self.token
    }

    /// Whether the peer has left, so that nobody waits for the answer. From any thread.
    pub fn is_gone(&self) -> bool {
        Arc::weak_count(&self.link) == 0
    }

    /// Answers, from within any callback of the reactor. The response has to be complete: one that
    /// is a stream, is deferred again or hands the connection over becomes a 500.
    ///
    /// # Errors
    /// The peer has left.
    pub fn send(self, cx: &mut Intents, response: Response) -> Result<(), Gone> {
        if self.is_gone() {
            return Err(Gone);
        }
        let (token, answer) = self.into_mail(response);
        cx.mail_to(token, answer);
        Ok(())
    }

    /// The answer as a mail, for `Remote::post`: to whom, and what. A mail that is dropped on its
    /// way answers 500.
    pub fn into_mail(self, response: Response) -> (Token, Answer) {
        (self.token, Answer::new(response, self.link))
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

/// What a connection remembers of a reply that it waits for.
pub(crate) struct Awaited {
    link: Weak<()>,
    permit: Option<Box<Permit>>,
}

impl Awaited {
    /// Whether nobody is left who could answer.
    pub(crate) fn is_lost(&self) -> bool {
        self.link.strong_count() == 0
    }

    /// What is never answered: it stands for what is to come.
    pub(crate) fn nothing() -> Awaited {
        Awaited {
            link: Weak::new(),
            permit: None,
        }
    }

    /// Counts as under way until it is dropped.
    pub(crate) fn hold(&mut self, permit: Box<Permit>) {
        self.permit = Some(permit.join(self.permit.take()));
    }

    /// What it is counted by.
    pub(crate) fn into_permit(self) -> Option<Box<Permit>> {
        self.permit
    }

    /// Whether `answer` is the one.
    pub(crate) fn is_answered_by(&self, answer: &Answer) -> bool {
        self.link.as_ptr() == Arc::as_ptr(&answer.link)
    }
}

/// A deferred answer on its way to its connection.
#[derive(Debug)]
pub struct Answer {
    status: Status,
    content_type: Option<&'static str>,
    fields: Vec<u8>,
    body: Bytes,
    closes: bool,
    link: Arc<()>,
}

impl Answer {
    fn new(response: Response, link: Arc<()>) -> Answer {
        let mut response = match (&response.error, response.body.as_bytes()) {
            (None, Some(_)) => response,
            (error, _) => {
                log::error!("a deferred answer is incomplete or invalid ({error:?}): 500");
                Response::error(Status::INTERNAL_SERVER_ERROR)
            }
        };
        response.own_fields();
        Answer {
            status: response.status,
            content_type: response.content_type,
            fields: response.fields,
            body: response.body.into_bytes(),
            closes: response.closes,
            link,
        }
    }

    pub(crate) fn into_response(self) -> Response {
        Response {
            status: self.status,
            content_type: self.content_type,
            fields: self.fields,
            shared_fields: None,
            body: Body::Shared(self.body),
            closes: self.closes,
            error: None,
        }
    }
}
