//! The protocol of the chat server, which `chat` runs alone and `serve` beside others.

mod hall;

use std::cell::RefCell;
use std::fmt::Display;
use std::rc::Rc;
use std::time::Duration;

use windlass::framing::{Encoder, LinesError};
use windlass::net::{Address, Listen};
use windlass::{CloseReason, Context, Error, Intents, Limits, Lines, Protocol, Reactor, Token};

use hall::{Hall, Seat, is_name};

/// Opens a chat server. Whoever takes nothing of what is sent for as long as `patience` is out.
pub(crate) fn listen(
    reactor: &mut Reactor,
    address: Address,
    patience: Duration,
) -> Result<Token, Error> {
    let limits = Limits {
        stall_timeout: patience,
        // Who gives a name may listen in silence for ever.
        first_byte_timeout: Some(Duration::from_secs(60)),
        idle_timeout: None,
        ..Limits::default()
    };
    let listen = Listen::new(address)
        .name("chat")
        .limits(limits)
        .options(super::keepalive())
        // A slow member misses messages, rather than having us keep them all.
        .skip_when_slow(true);

    let hall = Rc::new(RefCell::new(Hall::default()));
    reactor.listen(listen, move |_| {
        let lines = Lines::new().with_max_len(MAX_LINE_LEN).skip_oversized();
        let member = Member {
            hall: Rc::clone(&hall),
            seat: None,
        };
        (lines, Lines::new(), member)
    })
}

/// One connection.
struct Member {
    /// Shared by all members. Callbacks never run inside one another, so no borrow meets another.
    hall: Rc<RefCell<Hall>>,
    /// `None` until a name is given.
    seat: Option<Seat>,
}

impl Protocol for Member {
    type Decoder = Lines;
    type Encoder = Lines;

    fn on_open(&mut self, cx: &mut Context<'_, Lines>) {
        cx.send("-- Welcome! What is your name?");
    }

    fn on_frame(&mut self, line: &[u8], cx: &mut Context<'_, Lines>) {
        let text = printable(line);
        let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
        match (word, &self.seat) {
            ("", _) => {}
            ("/help", _) => HELP.iter().for_each(|line| reply(cx, line)),
            ("/quit", _) => self.quit(cx),
            (_, None) => self.enter(&text, cx),
            ("/join", Some(_)) => self.join(rest, cx),
            ("/nick", Some(_)) => self.rename(rest, cx),
            ("/rooms", Some(_)) => reply(cx, self.hall.borrow().rooms()),
            ("/who", Some(seat)) => reply(cx, self.hall.borrow().names(&seat.room)),
            ("/me", Some(seat)) => self.tell(&seat.room, format!("* {} {rest}", seat.nick), cx),
            (_, Some(_)) if word.starts_with('/') => reply(cx, "What? Try /help"),
            (_, Some(seat)) => self.tell(&seat.room, format!("{}: {text}", seat.nick), cx),
        }
    }

    fn on_skipped(&mut self, _: LinesError, cx: &mut Context<'_, Lines>) {
        reply(
            cx,
            format_args!("Not sent: a line has at most {MAX_LINE_LEN} bytes"),
        );
    }

    fn on_drain(&mut self, cx: &mut Context<'_, Lines>) {
        let missed = cx.take_missed();
        if missed > 0 {
            reply(
                cx,
                format_args!("You were too slow, and missed {missed} messages"),
            );
        }
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_, Lines>) {
        reply(cx, "The server shuts down");
        cx.finish();
    }

    fn on_close(&mut self, reason: CloseReason, cx: &mut Intents) {
        let how = match reason {
            CloseReason::Stalled | CloseReason::OutboundLimit => "was too slow, and is out",
            reason if reason.is_clean() => "has left",
            _ => "has vanished",
        };
        self.leave(how, cx);
    }
}

impl Member {
    fn enter(&mut self, nick: &str, cx: &mut Context<'_, Lines>) {
        if self.may_be_called(nick, cx) {
            reply(
                cx,
                format_args!("Hello, {nick}! /help says what you can do"),
            );
            self.tell(LOBBY, format!("-- {nick} is here"), cx);
            self.sit(nick, LOBBY, cx);
        }
    }

    fn join(&mut self, room: &str, cx: &mut Context<'_, Lines>) {
        if !is_name(room) {
            reply(cx, NAME_RULE);
        } else if let Some(seat) = self.leave(&format!("has gone to {room}"), cx) {
            self.tell(room, format!("-- {} is here", seat.nick), cx);
            self.sit(&seat.nick, room, cx);
        }
    }

    fn rename(&mut self, nick: &str, cx: &mut Context<'_, Lines>) {
        if self.may_be_called(nick, cx)
            && let Some(seat) = self.leave(&format!("is now {nick}"), cx)
        {
            self.sit(nick, &seat.room, cx);
        }
    }

    fn quit(&mut self, cx: &mut Context<'_, Lines>) {
        // Now, not in `on_close`: the client may take its time to close.
        self.leave("has left", cx);
        reply(cx, "Bye!");
        cx.finish();
    }

    fn may_be_called(&self, nick: &str, cx: &mut Context<'_, Lines>) -> bool {
        let is_taken = self.hall.borrow().is_taken(nick);
        if !is_name(nick) {
            reply(cx, NAME_RULE);
        } else if is_taken {
            reply(cx, format_args!("{nick} is taken; choose another name"));
        }
        is_name(nick) && !is_taken
    }

    fn sit(&mut self, nick: &str, room: &str, cx: &mut Context<'_, Lines>) {
        let seat = Seat {
            nick: nick.into(),
            room: room.into(),
        };
        self.hall.borrow_mut().insert(&seat, cx.token());
        self.seat = Some(seat);
        let names = self.hall.borrow().names(room);
        reply(cx, format_args!("In {room}: {names}"));
    }

    /// Answers where that was, if anywhere.
    fn leave(&mut self, how: &str, cx: &mut Intents) -> Option<Seat> {
        let seat = self.seat.take()?;
        self.hall.borrow_mut().remove(&seat);
        self.tell(&seat.room, format!("-- {} {how}", seat.nick), cx);
        Some(seat)
    }

    /// Tells everybody else in a room.
    fn tell(&self, room: &str, text: String, cx: &mut Intents) {
        // Encoded once: what is queued to each member is a reference to the same bytes.
        let line = Lines::new().encoded(text);
        let line = line.expect("printable text is one line, and a short one");
        let speaker = cx.token();
        for member in self.hall.borrow().members(room) {
            if member != speaker {
                cx.send_to(member, line.clone());
            }
        }
    }
}

/// Says something as the server.
fn reply(cx: &mut Context<'_, Lines>, text: impl Display) {
    cx.send(format!("-- {text}"));
}

/// What may be shown on somebody's terminal: text without control characters, so that nobody can
/// clear the screen of all others.
fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.trim().chars().filter(|c| !c.is_control()).collect()
}

/// The room that everybody enters first.
const LOBBY: &str = "lobby";
/// Bytes of a line that a member may send.
const MAX_LINE_LEN: usize = 1024;
const NAME_RULE: &str = "A name has 1 to 16 letters (a-z), digits or underscores";
const HELP: [&str; 7] = [
    "/join ROOM  go to another room",
    "/rooms      which rooms there are",
    "/who        who is in this room",
    "/nick NAME  change your name",
    "/me DOES    say what you do",
    "/quit       leave",
    "Anything else is said to everybody in the room.",
];
