//! The server: one connection is one request, of a file, for a file, or for a list.

use std::rc::Rc;
use std::time::Duration;

use rustix::fs::{AtFlags, Dir, FileType, statat};
use windlass::net::{Address, Listen, Network};
use windlass::{CloseReason, Context, Error, Limits, Protocol, Reactor, TimerId, Token};

use super::digest::Slices;
use super::refusal::{Code, Refusal};
use super::sink::Sink;
use super::source::Source;
use super::step::{Next, Turns};
use super::store::{Fsync, Store};
use super::wire::{Message, Wire, WireError};

/// What all connections have in common.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) store: Store,
    pub(crate) fsync: Fsync,
    pub(crate) is_read_only: bool,
}

pub(crate) fn listen<N: Network>(
    reactor: &mut Reactor<N>,
    address: Address,
    service: Service,
) -> Result<Token, Error> {
    let service = Rc::new(service);
    let slices = Slices::default();
    let limits = Limits {
        // A client that has vanished does not keep its file busy for long.
        idle_timeout: Some(Duration::from_secs(60)),
        first_byte_timeout: Some(Duration::from_secs(10)),
        ..Limits::default()
    };
    let listen = Listen::new(address).name("files").limits(limits);
    reactor.listen(listen, move |_| Peer {
        service: Rc::clone(&service),
        slices: slices.clone(),
        doing: Doing::Nothing,
        turns: Turns::default(),
    })
}

/// One connection.
#[derive(Debug)]
struct Peer {
    service: Rc<Service>,
    slices: Slices,
    doing: Doing,
    turns: Turns,
}

#[derive(Debug)]
enum Doing {
    Nothing,
    Sending(Source),
    Receiving(Sink),
    Listing(Dir),
    Over,
}

impl Peer {
    fn on_message(
        &mut self,
        message: &Message<'_>,
        cx: &mut Context<'_, Wire>,
    ) -> Result<Next, Refusal> {
        if let Message::Refused(refusal) = message {
            log::info!("{}: the client gives up: {refusal}", cx.token());
            return Ok(Next::Over);
        }
        match &mut self.doing {
            Doing::Nothing => self.begin(message, cx),
            Doing::Sending(source) => source.on_message(message),
            Doing::Receiving(sink) => sink.on_message(message, cx),
            Doing::Listing(_) | Doing::Over => Err(Refusal::confused()),
        }
    }

    fn begin(
        &mut self,
        message: &Message<'_>,
        cx: &mut Context<'_, Wire>,
    ) -> Result<Next, Refusal> {
        let service = &self.service;
        match *message {
            Message::Get { path } => {
                log::info!("{}: get {}", cx.token(), path.escape_ascii());
                let source = Source::new(service.store.open_file(path)?, path, &self.slices)?;
                cx.send(Message::File { len: source.len() });
                self.doing = Doing::Sending(source);
            }
            Message::Put { len, path } => {
                log::info!("{}: put {}, {len} bytes", cx.token(), path.escape_ascii());
                if service.is_read_only {
                    return Err(Refusal::new(Code::Denied, "nothing may be written here"));
                }
                let partial = service.store.place(path)?.begin()?;
                let sink = Sink::new(partial, path, len, service.fsync, &self.slices)?;
                self.doing = Doing::Receiving(sink);
            }
            Message::List { path } => {
                let directory = service.store.open_directory(path)?;
                self.doing = Doing::Listing(Dir::new(directory)?);
            }
            _ => return Err(Refusal::confused()),
        }
        Ok(Next::Again)
    }

    fn work(&mut self, cx: &mut Context<'_, Wire>) -> Result<Next, Refusal> {
        match &mut self.doing {
            Doing::Nothing | Doing::Over => Ok(Next::Wait),
            Doing::Sending(source) => source.work(cx),
            Doing::Receiving(sink) => sink.work(cx),
            Doing::Listing(directory) => list(directory, cx),
        }
    }

    fn conclude(&mut self, result: Result<Next, Refusal>, cx: &mut Context<'_, Wire>) {
        if let Err(refusal) = &result {
            log::info!("{}: refused: {refusal}", cx.token());
        }
        if self.turns.conclude(result, cx) {
            self.doing = Doing::Over;
        }
    }
}

/// Sends some of the entries.
fn list(directory: &mut Dir, cx: &mut Context<'_, Wire>) -> Result<Next, Refusal> {
    for _ in 0..ENTRIES_PER_TURN {
        if !cx.is_writable() {
            return Ok(Next::Wait);
        }
        let Some(entry) = directory.next() else {
            cx.send(Message::End);
            return Ok(Next::Over);
        };
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        // It may be gone by now.
        let Ok(stat) = statat(directory.fd()?, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => b'd',
            FileType::RegularFile => b'f',
            _ => b'o',
        };
        let len = u64::try_from(stat.st_size).unwrap_or_default();
        cx.send(Message::Entry { kind, len, name });
    }
    Ok(Next::Again)
}

impl Protocol for Peer {
    type Decoder = Wire;
    type Encoder = Wire;

    fn on_frame(&mut self, message: Message<'_>, cx: &mut Context<'_, Wire>) {
        let result = self.on_message(&message, cx);
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

    /// Only what is idle ends at once; a transfer ends in order, or with the grace period.
    fn on_shutdown(&mut self, cx: &mut Context<'_, Wire>) {
        if matches!(self.doing, Doing::Nothing | Doing::Over) {
            cx.finish();
        }
    }

    fn on_close(&mut self, reason: CloseReason, cx: &mut windlass::Intents) {
        log::debug!("{}: {reason}", cx.token());
    }
}

const ENTRIES_PER_TURN: usize = 64;
