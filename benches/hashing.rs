//! What hashing a gibibyte does to others on the same reactor: how long an echo takes while nobody
//! hashes, while the example `files` compares a file of 1 GiB with what a client has of it, while
//! it sends one with the digest of each block, while `http::Files` makes the `Repr-Digest` of one
//! of 128 MiB, again and again, and, to show that it would be seen, while 16 MiB are hashed in a
//! callback, as nobody should.
//!
//! `cargo bench --features digest --bench hashing -- [ROUNDS [SECONDS]]`; the five take turns, for
//! so many seconds each. Who has which core is said in `common/beside.rs`. The files are
//! sparse, and lie in the directory for temporary ones. Knows the example's parts.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a bench has threads and a clock; the rules are for the library"
)]

#[allow(dead_code)]
#[path = "../examples/files"]
mod example {
    pub(crate) mod digest;
    pub(crate) mod refusal;
    pub(crate) mod server;
    pub(crate) mod sink;
    pub(crate) mod source;
    pub(crate) mod step;
    pub(crate) mod store;
    pub(crate) mod wire;
}

#[path = "common/beside.rs"]
mod beside;
#[path = "common/machine.rs"]
mod machine;

use std::env;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use windlass::framing::Encoder;
use windlass::http::{FileDigests, Files, Router, Server};
use windlass::{Context, Error, Lines, Outbox, Protocol, Reactor, Remote};

use beside::{Arm, Echoes, Turns};
use example::digest::{BLOCK_LEN, WINDOW, digest_of};
use example::server::Service;
use example::store::{Fsync, Store};
use example::wire::{Message, Wire};
use machine::Core;

const LEN: u64 = 1 << 30;
/// Of what HTTP makes the digest, which it does of half as much in a turn.
const HTTP_LEN: u64 = LEN / 8;
/// What is hashed in a callback, each time.
const AT_ONCE: usize = 16 << 20;

/// What not to do.
struct OnLoop;

impl Protocol for OnLoop {
    type Decoder = Lines;
    type Encoder = Lines;

    fn on_frame(&mut self, _: &[u8], cx: &mut Context<'_, Lines>) {
        let mut hash = Sha256::new();
        for _ in 0..AT_ONCE / BLOCK_LEN {
            hash.update(&[0; BLOCK_LEN][..]);
        }
        black_box(hash.finalize());
        cx.send("done");
    }
}

/// Where they listen: echo, files, http, hashing in a callback.
type Started = ([SocketAddr; 4], Remote);

fn serve(
    root: &Path,
    cores: Option<[Core; 2]>,
    turns: &Turns,
    started: &Sender<Started>,
) -> Result<(), Error> {
    let mut reactor = Reactor::new()?;
    let service = Service {
        store: Store::open(root)?,
        fsync: Fsync::None,
        is_read_only: true,
    };
    let any = "127.0.0.1:0";
    let digests = FileDigests {
        max_len: LEN,
        max_wait: Duration::from_secs(60),
        ..FileDigests::default()
    };
    let router = Router::new().files("/", Files::new(root)?.digests(digests));
    let server = Server::new(router);
    let listeners = [
        example::server::listen(&mut reactor, any.parse().expect("an address"), service)?,
        reactor.listen(any, move |_| server.clone())?,
        reactor.listen(any, |_| OnLoop)?,
    ];
    let [files, http, on_loop] = listeners.map(|listener| {
        let address = reactor.local_addr(listener).expect("it listens");
        address.as_ip().expect("TCP")
    });
    let echo = beside::listen(&mut reactor)?;
    started
        .send(([echo, files, http, on_loop], reactor.remote()?))
        .expect("somebody waits for it");
    if let Some([core, _]) = cores {
        beside::pin(core);
    }
    turns.run(&mut reactor)
}

/// Has a server hash, on this connection, until that is closed; counts the bytes.
type Work = fn(&mut TcpStream, &Path) -> io::Result<()>;

/// Says of a file that is all zeros that its blocks are here.
fn compare(stream: &mut TcpStream, _: &Path) -> io::Result<()> {
    let zeros = digest_of(&vec![0; BLOCK_LEN]);
    let held = encoded(Message::Held {
        digests: &[zeros; WINDOW],
    });
    ask_for_file(stream)?;
    for _ in 0..LEN / (WINDOW * BLOCK_LEN) as u64 {
        stream.write_all(&held)?;
        frame_len(stream)?;
        count(WINDOW * BLOCK_LEN);
    }
    Ok(())
}

/// Takes it, with the digests of its blocks.
fn download(stream: &mut TcpStream, _: &Path) -> io::Result<()> {
    ask_for_file(stream)?;
    stream.write_all(&encoded(Message::Send { from: 0 }))?;
    loop {
        let len = frame_len(stream)?;
        count(len);
        if len < BLOCK_LEN {
            return Ok(());
        }
    }
}

fn ask_for_file(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(&encoded(Message::Get { path: b"sparse" }))?;
    frame_len(stream)?;
    Ok(())
}

fn encoded(message: Message<'_>) -> Vec<u8> {
    let mut out = Outbox::new();
    let encoded = Wire::default().encode(message, &mut out);
    encoded.expect("it fits");
    out.to_vec()
}

/// Takes one message, and answers how long it was.
fn frame_len(stream: &mut TcpStream) -> io::Result<usize> {
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let len = u32::from_be_bytes(len) as usize;
    let mut frame = vec![0; len];
    stream.read_exact(&mut frame)?;
    Ok(len)
}

/// Wants a digest that is not known, because the file is a new one each time.
fn ask_for_digest(stream: &mut TcpStream, root: &Path) -> io::Result<()> {
    let file = File::options().write(true).open(root.join("sparse-http"))?;
    file.set_modified(SystemTime::now() - Duration::from_secs(3600))?;
    let head = "HEAD /sparse-http HTTP/1.1\r\nHost: h\r\nWant-Repr-Digest: sha-256=1\r\n\r\n";
    stream.write_all(head.as_bytes())?;
    let mut answer = [0; 4096];
    let len = stream.read(&mut answer)?;
    if len == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let answer = String::from_utf8_lossy(&answer[..len]);
    assert!(answer.contains("Repr-Digest: "), "{answer}");
    count(HTTP_LEN as usize);
    Ok(())
}

/// Has it done ten times in a second, at most.
fn hash_on_loop(stream: &mut TcpStream, _: &Path) -> io::Result<()> {
    thread::sleep(Duration::from_millis(100));
    stream.write_all(b"hash\n")?;
    stream.read_exact(&mut [0; 5])?;
    count(AT_ONCE);
    Ok(())
}

/// Bytes that were hashed since it was last looked at.
static HASHED: AtomicUsize = AtomicUsize::new(0);

fn count(len: usize) {
    HASHED.fetch_add(len, Ordering::Relaxed);
}

/// Works until the connection that is left in `current` is closed.
fn work(to: SocketAddr, work: Work, root: &Path, current: &Mutex<Option<TcpStream>>) {
    loop {
        let mut stream = TcpStream::connect(to).expect("it listens");
        {
            let mut current = current.lock().expect("no panic");
            let Some(slot) = current.as_mut() else { return };
            *slot = stream.try_clone().expect("a descriptor");
        }
        if work(&mut stream, root).is_err() {
            return;
        }
    }
}

/// A directory with a file of zeros, which takes no room; gone with this.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Folder> {
        let path = env::temp_dir().join(format!("windlass-hashing-{}", std::process::id()));
        fs::create_dir(&path)?;
        for (name, len) in [("sparse", LEN), ("sparse-http", HTTP_LEN)] {
            let path = path.join(name);
            File::create(&path)?.set_len(len)?;
            // The kernel makes pages of it when they are first read, and a virtual machine may have
            // to be given the memory for them: tens of milliseconds, which are no hashing.
            io::copy(&mut File::open(&path)?, &mut io::sink())?;
        }
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn main() {
    // `cargo bench` says `--bench`.
    let mut numbers = env::args().skip(1).filter_map(|arg| arg.parse().ok());
    let rounds: u32 = numbers.next().unwrap_or(10).max(1);
    let duration = Duration::from_secs(numbers.next().unwrap_or(3).max(1).into());

    let folder = Folder::new().expect("there is room");
    let (cores, turns) = (beside::cores(), Turns::default());
    let (started, start) = channel();
    let (root, noted) = (folder.0.clone(), turns.clone());
    let server = thread::spawn(move || serve(&root, cores, &noted, &started).expect("it serves"));
    let ([echo, files, http, on_loop], remote) = start.recv().expect("it starts");
    let mut echoes = Echoes::new(echo, &turns, cores.map(|[_, others]| others));

    let works: [Option<(SocketAddr, Work)>; 5] = [
        None,
        Some((files, compare)),
        Some((files, download)),
        Some((http, ask_for_digest)),
        Some((on_loop, hash_on_loop)),
    ];
    let mut arms = [
        "nobody hashes",
        "files, compared",
        "files, sent",
        "http, Repr-Digest",
        "16 MiB in a callback",
    ]
    .map(Arm::new);
    for _ in 0..rounds {
        for (arm, others) in arms.iter_mut().zip(works) {
            HASHED.store(0, Ordering::Relaxed);
            let idle = TcpStream::connect(echo).expect("it listens");
            let current = Mutex::new(Some(idle));
            thread::scope(|scope| {
                if let Some((to, act)) = others {
                    let (root, current) = (&folder.0, &current);
                    scope.spawn(move || {
                        // Of the thread alone, on Linux. The echo's client goes first.
                        let _ = rustix::process::nice(10);
                        work(to, act, root, current);
                    });
                }
                echoes.run(duration, arm);
                let stream = current.lock().expect("no panic").take();
                let stream = stream.expect("nobody else takes it");
                let _ = stream.shutdown(Shutdown::Both);
            });
            let hashed = HASHED.load(Ordering::Relaxed) >> 20;
            arm.say(format_args!("{hashed} MiB hashed"));
        }
    }
    beside::conclude(&arms);
    remote.shutdown(Duration::from_secs(1));
    drop(echoes);
    server.join().expect("an orderly end");
}
