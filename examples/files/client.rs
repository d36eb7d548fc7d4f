//! The client: one connection for each file, several at a time.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use indicatif::ProgressBar;
use windlass::net::{Address, Connect};
use windlass::{CloseReason, Context, Error, Intents, Protocol, Reactor, TimerId};

use super::digest::Slices;
use super::progress::Board;
use super::refusal::{Code, Refusal};
use super::sink::{Claims, Sink};
use super::source::Source;
use super::step::{Next, Turns};
use super::store::{Fsync, Place};
use super::wire::{Message, Wire, WireError};

/// One thing to be done.
#[derive(Debug)]
pub(crate) enum Job {
    Get {
        remote: Vec<u8>,
        place: Place,
        fsync: Fsync,
        /// Without digests.
        is_plain: bool,
    },
    Put {
        remote: Vec<u8>,
        file: File,
    },
    Verify {
        remote: Vec<u8>,
        file: File,
    },
    List {
        remote: Vec<u8>,
    },
}

impl Job {
    fn remote(&self) -> &[u8] {
        match self {
            Job::Get { remote, .. }
            | Job::Put { remote, .. }
            | Job::Verify { remote, .. }
            | Job::List { remote } => remote,
        }
    }
}

/// What is to be done, or the path of what cannot even begin.
pub(crate) type Jobs = Box<dyn Iterator<Item = Result<Job, (PathBuf, Refusal)>>>;

/// Does all jobs, `parallel` at a time; answers whether all went well.
pub(crate) fn run(address: Address, parallel: u16, jobs: Jobs) -> Result<bool, Error> {
    let mut reactor = Reactor::new()?;
    let client = Rc::new(Client {
        address,
        jobs: RefCell::new(jobs),
        has_failed: Cell::new(false),
        slices: Slices::default(),
        board: Board::default(),
    });
    reactor.with_intents(|cx| {
        for _ in 0..parallel {
            client.next(cx);
        }
    });
    reactor.run()?;
    Ok(!client.has_failed.get())
}

/// What all connections have in common.
struct Client {
    address: Address,
    /// Each opens its files when its turn comes, so that there may be more than can be open.
    jobs: RefCell<Jobs>,
    has_failed: Cell<bool>,
    slices: Slices,
    board: Board,
}

impl Client {
    /// Begins with the next job that can begin, if there is one left.
    fn next(self: &Rc<Client>, cx: &mut Intents) {
        let job = loop {
            match self.jobs.borrow_mut().next() {
                Some(Ok(job)) => break job,
                Some(Err((path, refusal))) => self.fail(path.display(), refusal),
                None => return,
            }
        };
        let name = String::from_utf8_lossy(job.remote())
            .escape_debug()
            .to_string();
        let peer = Peer {
            client: Rc::clone(self),
            name,
            doing: Doing::Asking(job),
            bar: None,
            outcome: None,
            turns: Turns::default(),
        };
        cx.connect(Connect::new(self.address.clone()), peer);
    }

    fn say(&self, line: &str) {
        // Nobody is left to be told of an error here.
        let _ = self.board.say(&mut io::stdout(), line);
    }

    fn fail(&self, name: impl fmt::Display, why: impl fmt::Display) {
        self.has_failed.set(true);
        let _ = self.board.say(&mut io::stderr(), &format!("{name}: {why}"));
    }
}

/// One connection.
struct Peer {
    client: Rc<Client>,
    name: String,
    doing: Doing,
    bar: Option<ProgressBar>,
    outcome: Option<Result<String, String>>,
    turns: Turns,
}

enum Doing {
    Asking(Job),
    Sending(Source),
    Receiving(Sink),
    Comparing {
        file: File,
        claims: Claims,
        here: u64,
        there: u64,
    },
    /// All blocks are the same: that they are those of the file that was meant is still to be told.
    Confirming(Claims),
    Listing,
    Over,
}

impl Peer {
    fn begin(&mut self, cx: &mut Context<'_, Wire>) -> Result<Next, Refusal> {
        match std::mem::replace(&mut self.doing, Doing::Over) {
            Doing::Asking(Job::Put { remote, file }) => {
                let source = Source::new(file, &remote, &self.client.slices)?;
                let len = source.len();
                cx.send(Message::Put { len, path: &remote });
                self.show(len);
                self.doing = Doing::Sending(source);
            }
            Doing::Asking(Job::List { remote }) => {
                cx.send(Message::List { path: &remote });
                self.doing = Doing::Listing;
            }
            doing => {
                if let Doing::Asking(job) = &doing {
                    cx.send(Message::Get { path: job.remote() });
                }
                self.doing = doing;
            }
        }
        Ok(Next::Wait)
    }

    fn show(&mut self, len: u64) {
        self.bar = Some(self.client.board.bar(self.name.clone(), len));
    }

    /// The server has the file, and so many bytes of it.
    fn on_file(&mut self, len: u64) -> Result<Next, Refusal> {
        let slices = &self.client.slices;
        self.doing = match std::mem::replace(&mut self.doing, Doing::Over) {
            Doing::Asking(Job::Get {
                remote,
                place,
                fsync,
                is_plain,
            }) => {
                let new = if is_plain { Sink::plain } else { Sink::new };
                Doing::Receiving(new(place.begin()?, &remote, len, fsync, slices)?)
            }
            Doing::Asking(Job::Verify { remote, file }) => {
                let here = file.metadata()?.len();
                Doing::Comparing {
                    claims: Claims::new(here, &remote, len, slices),
                    file,
                    here,
                    there: len,
                }
            }
            _ => return Err(Refusal::confused()),
        };
        self.show(len);
        Ok(Next::Again)
    }

    fn on_message(
        &mut self,
        message: &Message<'_>,
        cx: &mut Context<'_, Wire>,
    ) -> Result<Next, Refusal> {
        if let Message::Refused(refusal) = message {
            self.outcome = Some(Err(format!("the server says: {refusal}")));
            return Ok(Next::Over);
        }
        match (&mut self.doing, message) {
            (Doing::Asking(_), Message::File { len }) => self.on_file(*len),
            (Doing::Sending(source), message) => {
                let next = source.on_message(message)?;
                if next == Next::Over {
                    self.outcome = Some(Ok(format!("put {}, {} bytes", self.name, source.len())));
                }
                Ok(next)
            }
            (Doing::Receiving(sink), message) => {
                let next = sink.on_message(message, cx)?;
                if next == Next::Over {
                    let (len, kept) = (sink.len(), sink.kept());
                    let text = format!("got {}, {len} bytes, {kept} of them before", self.name);
                    self.outcome = Some(Ok(text));
                }
                Ok(next)
            }
            (Doing::Comparing { claims, .. }, Message::Agreed { blocks }) => {
                claims.on_agreed(*blocks)?;
                Ok(Next::Again)
            }
            (Doing::Confirming(claims), Message::Whole { digest }) => {
                if !claims.is_whole(digest) {
                    return Err(Refusal::of_whole());
                }
                let (name, len, blocks) = (&self.name, claims.position(), claims.agreed());
                let text = format!("verified {name}, {len} bytes in {blocks} blocks");
                self.outcome = Some(Ok(text));
                Ok(Next::Over)
            }
            (Doing::Listing, Message::Entry { kind, len, name }) => {
                let name = String::from_utf8_lossy(name);
                let kind = char::from(*kind).escape_debug();
                self.client
                    .say(&format!("{kind} {len:>15} {}", name.escape_debug()));
                Ok(Next::Wait)
            }
            (Doing::Listing, Message::End) => {
                self.outcome = Some(Ok(String::new()));
                Ok(Next::Over)
            }
            _ => Err(Refusal::confused()),
        }
    }

    fn work(&mut self, cx: &mut Context<'_, Wire>) -> Result<Next, Refusal> {
        let (next, position) = match &mut self.doing {
            Doing::Asking(_) | Doing::Confirming(_) | Doing::Listing | Doing::Over => {
                return Ok(Next::Wait);
            }
            Doing::Sending(source) => (source.work(cx)?, source.position()),
            Doing::Receiving(sink) => (sink.work(cx)?, sink.position()),
            Doing::Comparing { claims, .. } if claims.is_over() => return self.confirm(cx),
            Doing::Comparing { file, claims, .. } => (claims.work(file, cx)?, claims.position()),
        };
        self.move_bar(position);
        Ok(next)
    }

    /// All blocks were asked about: if they are the same, asks for the rest, of which nothing is
    /// left but the digest of the whole.
    fn confirm(&mut self, cx: &mut Context<'_, Wire>) -> Result<Next, Refusal> {
        let doing = std::mem::replace(&mut self.doing, Doing::Over);
        let Doing::Comparing {
            claims,
            here,
            there,
            ..
        } = doing
        else {
            return Err(Refusal::confused());
        };
        if let Some(difference) = difference(&claims, here, there) {
            self.outcome = Some(Err(difference));
            return Ok(Next::Over);
        }
        let from = claims.agreed();
        cx.send(Message::Send { from });
        self.doing = Doing::Confirming(claims);
        Ok(Next::Wait)
    }

    fn move_bar(&self, position: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(position);
        }
    }

    fn conclude(&mut self, result: Result<Next, Refusal>, cx: &mut Context<'_, Wire>) {
        if let Err(refusal) = &result {
            self.outcome = Some(Err(refusal.to_string()));
        }
        if self.turns.conclude(result, cx) {
            self.doing = Doing::Over;
        }
    }
}

/// What comparing has shown, if it is not that all blocks are the same.
fn difference(claims: &Claims, here: u64, there: u64) -> Option<String> {
    let agreed = claims.agreed();
    if here != there {
        return Some(format!(
            "differs: {here} bytes here, {there} there; the first {agreed} blocks are the same"
        ));
    }
    if claims.position() != there {
        return Some(format!("differs: block {agreed} has another digest"));
    }
    None
}

impl Protocol for Peer {
    type Decoder = Wire;
    type Encoder = Wire;

    fn on_open(&mut self, cx: &mut Context<'_, Wire>) {
        let result = self.begin(cx);
        self.conclude(result, cx);
    }

    fn on_frame(&mut self, message: Message<'_>, cx: &mut Context<'_, Wire>) {
        let result = self.on_message(&message, cx);
        if let Doing::Receiving(sink) = &self.doing {
            self.move_bar(sink.position());
        }
        self.conclude(result, cx);
    }

    fn on_malformed(&mut self, error: WireError, cx: &mut Context<'_, Wire>) {
        let refusal = Refusal::new(Code::Confused, error.to_string());
        self.conclude(Err(refusal), cx);
    }

    fn on_timer(&mut self, _: TimerId, cx: &mut Context<'_, Wire>) {
        self.turns.begin();
        let result = self.work(cx);
        self.conclude(result, cx);
    }

    /// In the next turn, or this one could have two steps.
    fn on_drain(&mut self, cx: &mut Context<'_, Wire>) {
        self.conclude(Ok(Next::Again), cx);
    }

    fn on_close(&mut self, reason: CloseReason, cx: &mut Intents) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        match self.outcome.take() {
            Some(Ok(text)) if text.is_empty() => {}
            Some(Ok(text)) => self.client.say(&text),
            Some(Err(text)) => self.client.fail(&self.name, text),
            None => {
                let goes_on = match &self.doing {
                    Doing::Sending(_) => true,
                    Doing::Receiving(sink) => !sink.is_plain(),
                    _ => false,
                };
                let hint = goes_on.then_some("; the same command goes on from there");
                let hint = hint.unwrap_or_default();
                self.client
                    .fail(&self.name, format!("cut off: {reason}{hint}"));
            }
        }
        let client = Rc::clone(&self.client);
        client.next(cx);
    }
}
