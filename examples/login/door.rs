//! The door: a protocol that lets nobody through without a password, and then is another one.
//!
//! | the client says | the answer | and then |
//! |---|---|---|
//! | `LOGIN NAME PASSWORD` | `OK` | lines are echoed, those that were sent too early as well |
//! | | `DENIED` | it may try again: the password is wrong, or nobody has that name |
//! | | `BUSY` | it may try again: too many others want to be checked just now |
//! | | `TOO MANY ATTEMPTS` | the end: its address has to wait |
//! | anything else, or a line too long | `MALFORMED` | the end |
//! | nothing that is right, for 10 s | `TOO SLOW` | the end |
//!
//! Knows neither passwords nor how they are checked; the one copy that it makes of one goes to the
//! clerk. (What was read lies in the reactor's buffer until the next read.)

use std::str;
use std::time::Duration;

use windlass::framing::LinesError;
use windlass::net::Address;
use windlass::protocol::auth::Attempts;
use windlass::{Context, Echo, IntoDriver, Lines, Mail, Peer, Protocol, TimerId};
use zeroize::Zeroizing;

use super::clerk::{Desk, Question, Verdict};
use super::users::is_name;

/// One connection that is not logged in.
pub(crate) struct Door {
    desk: Desk,
    attempts: Attempts,
    peer: Address,
    /// Whose password the clerk is asked for. Nothing more is read until he has answered.
    asked: Option<String>,
}

impl Door {
    /// Serves a peer that has just been accepted.
    pub(crate) fn open(desk: &Desk, attempts: &Attempts, peer: &Peer) -> impl IntoDriver + use<> {
        let door = Door {
            desk: desk.clone(),
            attempts: attempts.clone(),
            peer: peer.address.clone(),
            asked: None,
        };
        (Lines::new().with_max_len(MAX_LINE_LEN), Lines::new(), door)
    }

    fn refuse(&mut self, last_words: &str, cx: &mut Context<'_, Lines>) {
        self.asked = None;
        cx.send(last_words);
        cx.finish();
    }
}

impl Protocol for Door {
    type Decoder = Lines;
    type Encoder = Lines;

    fn on_open(&mut self, cx: &mut Context<'_, Lines>) {
        // For all attempts together. It ends with the protocol.
        cx.set_timer(DEADLINE);
    }

    fn on_frame(&mut self, line: &[u8], cx: &mut Context<'_, Lines>) {
        let Some((name, password)) = parse(line) else {
            return self.refuse("MALFORMED", cx);
        };
        if !self.attempts.admit(&self.peer, cx.now()) {
            return self.refuse("TOO MANY ATTEMPTS", cx);
        }
        let question = Question {
            who: cx.token(),
            name: name.to_owned(),
            password: Zeroizing::new(password.to_owned()),
        };
        if self.desk.ask(question) {
            self.asked = Some(name.to_owned());
            cx.pause();
        } else {
            cx.send("BUSY");
        }
    }

    fn on_malformed(&mut self, _: LinesError, cx: &mut Context<'_, Lines>) {
        self.refuse("MALFORMED", cx);
    }

    fn on_mail(&mut self, mail: Mail, cx: &mut Context<'_, Lines>) {
        // If it was given up meanwhile, there is nothing more to say.
        let Some(name) = self.asked.take() else {
            return;
        };
        cx.resume();
        if mail.downcast::<Verdict>().is_ok_and(|mail| mail.is_right) {
            log::info!("{}: {} is logged in", self.peer, name.escape_debug());
            cx.send("OK");
            cx.switch(Echo::<Lines>::default());
        } else {
            // Without the name: sometimes a password is typed in its place.
            log::info!("{}: denied", self.peer);
            cx.send("DENIED");
        }
    }

    fn on_timer(&mut self, _: TimerId, cx: &mut Context<'_, Lines>) {
        self.refuse("TOO SLOW", cx);
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_, Lines>) {
        self.asked = None;
        cx.finish();
    }
}

/// `LOGIN NAME PASSWORD`; the password is all of the rest, spaces included.
fn parse(line: &[u8]) -> Option<(&str, &[u8])> {
    let rest = line.strip_prefix(b"LOGIN ")?;
    let at = rest.iter().position(|&byte| byte == b' ')?;
    let name = str::from_utf8(&rest[..at]).ok()?;
    let password = &rest[at + 1..];
    (is_name(name) && !password.is_empty()).then_some((name, password))
}

/// Bytes of a line, name and password included.
pub(crate) const MAX_LINE_LEN: usize = 512;
/// How long a client may take to log in, the clerk's time included.
const DEADLINE: Duration = Duration::from_secs(10);
