//! A TFTP server: files one block at a time, each waiting for its acknowledgement.
//!
//! Step seven of the story: one socket, many peers, each with a small state machine and a timer.
//! RFC 1350 with the options of RFC 2347 to 2349 (`blksize`, `timeout`, `tsize`), in octet mode
//! and, for text, in netascii.
//!
//! ```text
//! cargo run --release --example tftp -- 127.0.0.1:6969 --root /srv/tftp
//! curl -o - tftp://127.0.0.1:6969/hello.txt
//! curl -T upload.bin tftp://127.0.0.1:6969/upload.bin    # with --write
//! ```
//!
//! All transfers share the port that the request was sent to, which the protocol allows: a client
//! takes the port of the first answer for the other end's. Files are small or on a fast disk here:
//! they are read and written in the loop.

mod common;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::mem;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use rustix::fs::{CWD, Mode, OFlags, openat};

use windlass::net::Bind;
use windlass::protocol::{Session, SessionContext, SessionLimits, Sessions};
use windlass::{CloseReason, Datagram, Error, Reactor};

/// Serves the files of a folder over TFTP.
#[derive(Parser)]
struct Args {
    /// Where to listen; port 0 is any free one.
    #[arg(default_value = "127.0.0.1:6969")]
    address: SocketAddr,
    /// The folder whose files are served.
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// Let clients write new files there, up to so many bytes each.
    #[arg(long, value_name = "BYTES", num_args = 0..=1, default_missing_value = "33554432")]
    write: Option<u64>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    common::run(|| serve(args))
}

fn serve(args: Args) -> Result<(), Error> {
    let mut reactor = Reactor::new()?;
    // A folder that is not there would be told to each client, and to nobody here.
    if let Err(error) = fs::read_dir(&args.root) {
        let text = format!("{}: {error}", args.root.display());
        return Err(io::Error::new(error.kind(), text).into());
    }
    let service = Rc::new(Service {
        root: args.root,
        max_write: args.write,
    });
    let limits = SessionLimits {
        max_sessions: 256,
        idle_timeout: Duration::from_secs(30),
        ..SessionLimits::default()
    };
    let open = move |_| Some(Transfer::new(Rc::clone(&service)));
    let tftp = reactor.bind(Bind::new(args.address), Sessions::new(limits, open))?;
    common::drain_on_signals(&mut reactor)?;
    common::announce(&reactor, "udp", tftp)?;
    reactor.run()
}

struct Service {
    root: PathBuf,
    max_write: Option<u64>,
}

/// What a peer may be told to be wrong (RFC 1350, appendix).
type Refusal = (u16, &'static str);

/// The one timer of a transfer.
const RESEND: u32 = 0;

const FAILED: Refusal = (0, "not possible just now");
const NOT_FOUND: Refusal = (1, "file not found");
const NOT_ALLOWED: Refusal = (2, "not allowed");
const FULL: Refusal = (3, "too long, or the disk is full");
const ILLEGAL: Refusal = (4, "illegal operation");
const EXISTS: Refusal = (6, "the file exists");

/// How far a transfer has come.
enum State {
    /// Its request has not come yet.
    New,
    /// We send: block `block` is under way, and it was the last one or not.
    Sending {
        file: Box<dyn Read>,
        /// Bytes of the file; not known of text, which is longer on its way.
        len: Option<u64>,
        block: u16,
        is_last: bool,
    },
    /// We receive: block `block` was the last one that came.
    Receiving {
        file: Box<dyn Write>,
        block: u16,
        left: u64,
        /// Where the file is until it is whole, and where it will be then.
        part: PathBuf,
        path: PathBuf,
    },
    /// The last block was acknowledged, which may have to be done again.
    Dallying,
}

/// One file, one way.
struct Transfer {
    service: Rc<Service>,
    state: State,
    /// What began it.
    request: Vec<u8>,
    block_len: usize,
    timeout: Duration,
    /// What was sent last, to be sent again.
    last: Vec<u8>,
    attempts: u32,
}

/// What a request asks for.
struct Request<'a> {
    is_write: bool,
    is_text: bool,
    name: &'a str,
    options: Vec<(String, &'a str)>,
}

/// How often something is sent before the transfer is given up.
const MAX_ATTEMPTS: u32 = 5;

impl Transfer {
    fn new(service: Rc<Service>) -> Transfer {
        Transfer {
            service,
            state: State::New,
            request: Vec::new(),
            block_len: 512,
            timeout: Duration::from_secs(1),
            last: Vec::new(),
            attempts: 0,
        }
    }

    fn begin(&mut self, packet: &[u8], cx: &mut SessionContext<'_, '_>) -> Result<(), Refusal> {
        self.request = packet.to_vec();
        let request = parse(packet).ok_or(ILLEGAL)?;
        let path = resolve(&self.service.root, request.name).ok_or(NOT_ALLOWED)?;
        let (name, peer) = (request.name.escape_debug(), cx.peer());
        if request.is_write {
            log::info!("{peer} writes {name}");
            let left = self.service.max_write.ok_or(NOT_ALLOWED)?;
            if path.exists() {
                return Err(EXISTS);
            }
            // Under another name until it is whole.
            let port = peer.port();
            let part = path.with_extension(format!("part-{port}"));
            let file = OpenOptions::new().write(true).create_new(true).open(&part);
            let file = file.map_err(|error| refusal(&error))?;
            self.state = State::Receiving {
                file: match request.is_text {
                    true => Box::new(FromNetascii::new(file)),
                    false => Box::new(file),
                },
                block: 0,
                left,
                part,
                path,
            };
        } else {
            log::info!("{peer} reads {name}");
            let file = open(&path).map_err(|error| refusal(&error))?;
            let metadata = file.metadata().map_err(|error| refusal(&error))?;
            if !metadata.is_file() {
                return Err(NOT_FOUND);
            }
            let len = (!request.is_text).then_some(metadata.len());
            self.state = State::Sending {
                file: match request.is_text {
                    true => Box::new(ToNetascii::new(file)),
                    false => Box::new(file),
                },
                len,
                block: 0,
                is_last: false,
            };
        }
        let accepted = self.accept_options(&request);
        match (&self.state, accepted.len() > 2) {
            (_, true) => self.say(accepted, cx),
            (State::Sending { .. }, false) => return self.next_block(cx),
            (_, false) => self.say(acknowledgement(0), cx),
        }
        Ok(())
    }

    /// An OACK of the options that are known; the others are passed over (RFC 2347).
    fn accept_options(&mut self, request: &Request<'_>) -> Vec<u8> {
        let mut accepted = vec![0, 6];
        for (name, value) in &request.options {
            let value = match (name.as_str(), value.parse::<u64>()) {
                ("blksize", Ok(len @ 8..)) => {
                    self.block_len = len.min(MAX_BLOCK_LEN) as usize;
                    self.block_len as u64
                }
                ("timeout", Ok(seconds @ 1..=255)) => {
                    self.timeout = Duration::from_secs(seconds);
                    seconds
                }
                ("tsize", Ok(claimed)) => match &self.state {
                    // curl takes a length of 0 for an error; that of an empty file is not missed.
                    State::Sending { len, .. } => match len {
                        Some(0) | None => continue,
                        Some(len) => *len,
                    },
                    _ => claimed,
                },
                _ => continue,
            };
            accepted.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
        }
        accepted
    }

    /// Sends, and sets the timer that sends it again.
    fn say(&mut self, packet: Vec<u8>, cx: &mut SessionContext<'_, '_>) {
        cx.send(&packet);
        cx.set_timer(RESEND, self.timeout);
        self.last = packet;
        self.attempts = 1;
    }

    fn next_block(&mut self, cx: &mut SessionContext<'_, '_>) -> Result<(), Refusal> {
        let State::Sending {
            file,
            block,
            is_last,
            ..
        } = &mut self.state
        else {
            return Ok(());
        };
        // After block 65,535 comes block 0.
        *block = block.wrapping_add(1);
        let [high, low] = block.to_be_bytes();
        let mut packet = vec![0, 3, high, low];
        let read = file
            .by_ref()
            .take(self.block_len as u64)
            .read_to_end(&mut packet);
        let len = read.map_err(|error| refusal(&error))?;
        *is_last = len < self.block_len;
        self.say(packet, cx);
        Ok(())
    }

    fn on_acknowledged(
        &mut self,
        number: u16,
        cx: &mut SessionContext<'_, '_>,
    ) -> Result<(), Refusal> {
        match &self.state {
            State::Sending { block, is_last, .. } if *block == number => {
                if *is_last {
                    cx.finish();
                    return Ok(());
                }
                self.next_block(cx)
            }
            // An old one: answering it would send everything twice for ever (RFC 1123, 4.2.3.1).
            State::Sending { .. } => Ok(()),
            State::New | State::Receiving { .. } | State::Dallying => Err(ILLEGAL),
        }
    }

    fn on_block(
        &mut self,
        number: u16,
        bytes: &[u8],
        cx: &mut SessionContext<'_, '_>,
    ) -> Result<(), Refusal> {
        let State::Receiving {
            file,
            block,
            left,
            part,
            path,
        } = &mut self.state
        else {
            if matches!(self.state, State::Dallying) {
                cx.send(&self.last);
                return Ok(());
            }
            return Err(ILLEGAL);
        };
        if number != block.wrapping_add(1) {
            if number == *block {
                // Our acknowledgement was lost.
                cx.send(&self.last);
            }
            return Ok(());
        }
        *left = left.checked_sub(bytes.len() as u64).ok_or(FULL)?;
        if bytes.len() > self.block_len {
            return Err(ILLEGAL);
        }
        file.write_all(bytes).map_err(|error| refusal(&error))?;
        *block = number;
        if bytes.len() < self.block_len {
            file.flush().map_err(|error| refusal(&error))?;
            // A rename would replace what another client has written meanwhile.
            fs::hard_link(&*part, &*path).map_err(|error| refusal(&error))?;
            remove(part);
            self.state = State::Dallying;
        }
        self.say(acknowledgement(number), cx);
        Ok(())
    }
}

impl Session for Transfer {
    fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut SessionContext<'_, '_>) {
        let result = match (&self.state, datagram.bytes) {
            (State::New, packet @ [0, 1 | 2, ..]) => self.begin(packet, cx),
            // Not of a transfer that is known: whoever sent it is not to be answered.
            (State::New, _) => {
                cx.finish();
                return;
            }
            // Some clients keep their port for one file after the other.
            (State::Dallying, packet @ [0, 1 | 2, ..]) if packet != self.request => {
                *self = Transfer::new(Rc::clone(&self.service));
                self.begin(packet, cx)
            }
            // The request came twice, or our answer was lost: the timer sends it again.
            (_, [0, 1 | 2, ..]) => Ok(()),
            (_, [0, 3, high, low, bytes @ ..]) => {
                self.on_block(u16::from_be_bytes([*high, *low]), bytes, cx)
            }
            (_, [0, 4, high, low, ..]) => {
                self.on_acknowledged(u16::from_be_bytes([*high, *low]), cx)
            }
            (_, [0, 5, ..]) => {
                cx.finish();
                return;
            }
            _ => Err(ILLEGAL),
        };
        if let Err((code, text)) = result {
            log::info!("{}: {text}", cx.peer());
            let [high, low] = code.to_be_bytes();
            cx.send([&[0, 5, high, low], text.as_bytes(), b"\0"].concat());
            cx.finish();
        }
    }

    fn on_timer(&mut self, _: u32, cx: &mut SessionContext<'_, '_>) {
        let is_over = matches!(self.state, State::Dallying) || self.attempts >= MAX_ATTEMPTS;
        if is_over {
            cx.finish();
            return;
        }
        self.attempts += 1;
        cx.send(&self.last);
        cx.set_timer(RESEND, self.timeout);
    }

    fn on_close(&mut self, reason: CloseReason) {
        log::debug!("a transfer ends: {reason}");
    }
}

impl Drop for Transfer {
    /// What did not become whole goes.
    fn drop(&mut self) {
        if let State::Receiving { part, .. } = &self.state {
            remove(part);
        }
    }
}

fn remove(part: &Path) {
    if let Err(error) = fs::remove_file(part) {
        log::warn!("{}: {error}", part.display());
    }
}

/// Opening a FIFO would wait for its other end, and all transfers with it, but for `NONBLOCK`.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(File::from(openat(CWD, path, flags, Mode::empty())?))
}

/// Text as it is sent: lines end in CR LF, and any other CR is followed by NUL (RFC 1350, section
/// 2, and RFC 854).
struct ToNetascii {
    file: BufReader<File>,
    /// The second half of what was sent last.
    owed: Option<u8>,
}

impl ToNetascii {
    fn new(file: File) -> ToNetascii {
        ToNetascii {
            file: BufReader::new(file),
            owed: None,
        }
    }

    fn next(&mut self) -> io::Result<Option<u8>> {
        if let Some(owed) = self.owed.take() {
            return Ok(Some(owed));
        }
        let Some(&byte) = self.file.fill_buf()?.first() else {
            return Ok(None);
        };
        self.file.consume(1);
        let (byte, owed) = match byte {
            b'\n' => (b'\r', Some(b'\n')),
            b'\r' => (b'\r', Some(0)),
            _ => (byte, None),
        };
        self.owed = owed;
        Ok(Some(byte))
    }
}

impl Read for ToNetascii {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut len = 0;
        for place in out {
            let Some(byte) = self.next()? else { break };
            *place = byte;
            len += 1;
        }
        Ok(len)
    }
}

/// Takes text as it is sent, and keeps it with lines that end in LF.
struct FromNetascii {
    file: File,
    /// A CR came, and what it means shows with the next byte.
    is_after_cr: bool,
}

impl FromNetascii {
    fn new(file: File) -> FromNetascii {
        FromNetascii {
            file,
            is_after_cr: false,
        }
    }
}

impl Write for FromNetascii {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let mut bytes = Vec::with_capacity(text.len() + 1);
        for &byte in text {
            match (mem::replace(&mut self.is_after_cr, byte == b'\r'), byte) {
                (true, b'\n') => bytes.push(b'\n'),
                (true, b'\r' | 0) => bytes.push(b'\r'),
                (true, _) => bytes.extend([b'\r', byte]),
                (false, b'\r') => {}
                (false, _) => bytes.push(byte),
            }
        }
        self.file.write_all(&bytes)?;
        Ok(text.len())
    }

    /// Called at the end.
    fn flush(&mut self) -> io::Result<()> {
        match mem::take(&mut self.is_after_cr) {
            true => self.file.write_all(b"\r"),
            false => Ok(()),
        }
    }
}

fn acknowledgement(number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    vec![0, 4, high, low]
}

fn parse(packet: &[u8]) -> Option<Request<'_>> {
    let is_write = packet[1] == 2;
    let text = str::from_utf8(packet.get(2..)?).ok()?;
    let mut words = text.strip_suffix('\0')?.split('\0');
    let (name, mode) = (words.next()?, words.next()?);
    let is_text = mode.eq_ignore_ascii_case("netascii");
    if !is_text && !mode.eq_ignore_ascii_case("octet") {
        return None;
    }
    let mut options = Vec::new();
    while let (Some(option), Some(value)) = (words.next(), words.next()) {
        options.push((option.to_ascii_lowercase(), value));
    }
    Some(Request {
        is_write,
        is_text,
        name,
        options,
    })
}

/// A file below the root, and nothing else: no way up, no links.
fn resolve(root: &Path, name: &str) -> Option<PathBuf> {
    let relative = Path::new(name.trim_start_matches('/'));
    let mut path = root.to_owned();
    for part in relative.components() {
        let Component::Normal(part) = part else {
            return None;
        };
        path.push(part);
        if path.is_symlink() {
            return None;
        }
    }
    (path != root).then_some(path)
}

fn refusal(error: &io::Error) -> Refusal {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename => NOT_FOUND,
        ErrorKind::PermissionDenied => NOT_ALLOWED,
        ErrorKind::AlreadyExists => EXISTS,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => FULL,
        _ => FAILED,
    }
}

/// The largest block (RFC 2348) that is agreed to.
const MAX_BLOCK_LEN: u64 = 65_464;
