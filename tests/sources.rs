//! Any descriptor can join: a timerfd, inotify, a socket of a kind that the reactor does not know.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests may use threads; the rules are for the library"
)]

mod common;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use common::{Script, TOO_LONG, next};
use rustix::fs::inotify;
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use socket2::{Domain, Socket, Type};
use windlass::net::{FdSource, Interest, Readiness};
use windlass::{CloseReason, Context, Error, Lines, Mail, Progress, Reactor, Source, TimerId};

/// A source made of a descriptor and a closure.
struct On<T: AsFd, F> {
    io: FdSource<T>,
    ready: F,
    closed: Sender<CloseReason>,
}

impl<T: AsFd, F> Source for On<T, F>
where
    F: FnMut(&mut T, Readiness, &mut Context<'_, ()>) -> Progress,
{
    type Io = FdSource<T>;

    fn io(&mut self) -> &mut FdSource<T> {
        &mut self.io
    }

    fn on_ready(&mut self, readiness: Readiness, cx: &mut Context<'_, ()>) -> Progress {
        (self.ready)(self.io.inner_mut(), readiness, cx)
    }

    fn on_close(&mut self, reason: CloseReason) {
        self.closed.send(reason).unwrap();
    }
}

#[test]
fn a_timerfd_is_a_source_and_is_not_called_after_it_has_finished() {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK).unwrap();
    let period = Timespec::try_from(Duration::from_millis(2)).unwrap();
    let setting = Itimerspec {
        it_interval: period,
        it_value: period,
    };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &setting).unwrap();
    let duplicate = timer.try_clone().unwrap();
    let (closed, reasons) = channel();
    let mut fired = 0;
    let mut reactor = Reactor::new().unwrap();
    let token = reactor
        .add_source(
            "timer",
            On {
                io: FdSource::new(timer),
                closed,
                ready: move |timer: &mut OwnedFd, _, cx: &mut Context<'_, ()>| {
                    let mut count = [0; 8];
                    match rustix::io::read(timer, &mut count) {
                        Ok(_) => fired += u64::from_ne_bytes(count),
                        Err(Errno::AGAIN) => return Progress::Drained,
                        Err(error) => panic!("{error}"),
                    }
                    if fired >= 3 {
                        cx.finish();
                    }
                    Progress::Again
                },
            },
        )
        .unwrap();
    reactor.run().unwrap();
    assert_eq!(next(&reasons), CloseReason::Finished);
    assert!(!reactor.is_alive(token));
    // The descriptor lives on and fires, but is not watched any more.
    let stats = reactor.stats();
    reactor.turn(Some(Duration::from_millis(10))).unwrap();
    assert_eq!(reactor.stats().events, stats.events);
    let mut count = [0; 8];
    assert!(rustix::io::read(&duplicate, &mut count).is_ok());
    assert!(reasons.recv().is_err(), "told once");
}

#[test]
fn inotify_is_a_source() {
    let folder = std::env::temp_dir().join(format!("windlass-inotify-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&watch, &folder, inotify::WatchFlags::CLOSE_WRITE).unwrap();
    let (closed, reasons) = channel();
    let (tell, names) = channel();
    let mut reactor = Reactor::new().unwrap();
    reactor
        .add_source(
            "inotify",
            On {
                io: FdSource::new(watch),
                closed,
                ready: move |watch: &mut OwnedFd, _, cx: &mut Context<'_, ()>| {
                    let mut buf = [MaybeUninit::uninit(); 1024];
                    let mut reader = inotify::Reader::new(watch, &mut buf);
                    loop {
                        match reader.next() {
                            Ok(event) => {
                                let name = event.file_name().unwrap().to_str().unwrap();
                                tell.send(name.to_owned()).unwrap();
                                if name == "last" {
                                    cx.finish();
                                }
                            }
                            Err(Errno::AGAIN) => return Progress::Drained,
                            Err(error) => panic!("{error}"),
                        }
                    }
                },
            },
        )
        .unwrap();
    reactor.turn(Some(Duration::ZERO)).unwrap();
    fs::write(folder.join("first"), "1").unwrap();
    fs::write(folder.join("last"), "2").unwrap();
    reactor.run().unwrap();
    assert_eq!(
        (next(&names), next(&names)),
        ("first".into(), "last".into())
    );
    assert_eq!(next(&reasons), CloseReason::Finished);
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_socket_of_packets_is_a_source_beside_streams() {
    let (ours, theirs) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None).unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_read_timeout(Some(TOO_LONG)).unwrap();
    let (closed, reasons) = channel();
    let mut reactor = Reactor::new().unwrap();
    reactor
        .add_source(
            "packets",
            On {
                io: FdSource::new(ours),
                closed,
                ready: |socket: &mut Socket, _, cx: &mut Context<'_, ()>| {
                    let mut packet = [0; 100];
                    match socket.read(&mut packet) {
                        Ok(0) => cx.finish(),
                        Ok(len) => {
                            packet[..len].reverse();
                            socket.send(&packet[..len]).unwrap();
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {
                            return Progress::Drained;
                        }
                        Err(error) => panic!("{error}"),
                    }
                    Progress::Again
                },
            },
        )
        .unwrap();
    for packet in ["one", "two", "three"] {
        theirs.send(packet.as_bytes()).unwrap();
    }
    // Boundaries are kept: this is no stream.
    let reading = std::thread::spawn(move || {
        let mut got = Vec::new();
        for _ in 0..3 {
            let mut packet = [0; 100];
            let len = (&theirs).read(&mut packet).unwrap();
            got.push(String::from_utf8(packet[..len].to_vec()).unwrap());
        }
        got
    });
    reactor.run().unwrap();
    assert_eq!(reading.join().unwrap(), ["eno", "owt", "eerht"]);
    assert_eq!(next(&reasons), CloseReason::Finished);
}

/// A source that says what it is called with.
struct Talkative {
    io: FdSource<OwnedFd>,
    said: Sender<String>,
}

impl Source for Talkative {
    type Io = FdSource<OwnedFd>;

    fn io(&mut self) -> &mut FdSource<OwnedFd> {
        &mut self.io
    }

    fn interest(&self) -> Interest {
        Interest::READABLE | Interest::WRITABLE
    }

    fn on_ready(&mut self, readiness: Readiness, cx: &mut Context<'_, ()>) -> Progress {
        if readiness.has(Readiness::WRITABLE) {
            self.say("writable");
            cx.set_timer(Duration::from_millis(1)).unwrap();
        }
        Progress::Drained
    }

    fn on_timer(&mut self, _: TimerId, cx: &mut Context<'_, ()>) {
        self.say("timer");
        cx.set_timer(Duration::from_secs(60)).unwrap();
        let token = cx.token();
        cx.mail_to(token, "to myself");
    }

    fn on_mail(&mut self, mail: Mail, cx: &mut Context<'_, ()>) {
        self.say(mail.downcast_ref::<&str>().unwrap());
        cx.shutdown(Duration::from_secs(1));
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_, ()>) {
        self.say("shutdown");
        cx.finish();
    }

    fn on_close(&mut self, reason: CloseReason) {
        self.say(reason.name());
        panic!("as asked");
    }
}

impl Talkative {
    fn say(&self, what: &str) {
        self.said.send(what.to_owned()).unwrap();
    }
}

#[test]
fn a_source_has_timers_mail_and_one_end_even_if_its_last_callback_panics() {
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let (said, hear) = channel();
    let mut reactor = Reactor::new().unwrap();
    let io = FdSource::new(OwnedFd::from(ours));
    reactor
        .add_source("talkative", Talkative { io, said })
        .unwrap();
    reactor.run().unwrap();
    let heard: Vec<String> = hear.iter_to_end();
    assert_eq!(
        heard,
        ["writable", "timer", "to myself", "shutdown", "finished"]
    );
    let service = reactor.services().next().unwrap();
    assert_eq!((service.live, service.closed_total()), (0, 1));
}

/// What a channel still holds when its senders are gone, or none comes any more.
trait IterToEnd<T> {
    fn iter_to_end(&self) -> Vec<T>;
}

impl<T> IterToEnd<T> for std::sync::mpsc::Receiver<T> {
    fn iter_to_end(&self) -> Vec<T> {
        self.try_iter().collect()
    }
}

#[test]
fn a_source_that_always_wants_more_does_not_keep_others_from_their_turn() {
    let zero = fs::File::open("/dev/null").unwrap();
    let mut reactor = Reactor::new().unwrap();
    let (closed, _reasons) = channel();
    // A regular file cannot be watched; neither can this: it is always ready.
    let refused = reactor.add_source(
        "file",
        On {
            io: FdSource::new(zero),
            closed: closed.clone(),
            ready: |_: &mut fs::File, _, _: &mut Context<'_, ()>| Progress::Drained,
        },
    );
    assert!(matches!(refused, Err(Error::Io(_))));
    assert_eq!(reactor.stats().entries, 0);

    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.write_all(b"x").unwrap();
    reactor
        .add_source(
            "greedy",
            On {
                io: FdSource::new(ours),
                closed,
                ready: |_: &mut std::os::unix::net::UnixStream, _, _: &mut Context<'_, ()>| {
                    Progress::Again
                },
            },
        )
        .unwrap();
    let listener = reactor
        .listen("127.0.0.1:0", |_| Script::<Lines>::new())
        .unwrap();
    let address = reactor.local_addr(listener).unwrap().as_ip().unwrap();
    let remote = reactor.remote().unwrap();
    let client = std::thread::spawn(move || {
        let mut client = common::connect(address);
        client.write_all(b"hello\n").unwrap();
        let got = common::read_exactly(&mut client, 6);
        drop(client);
        remote.shutdown(TOO_LONG);
        got
    });
    reactor.run().unwrap();
    assert_eq!(client.join().unwrap(), b"hello\n");
}

/// Sets a timer when it is watched, and ends when that is due.
struct Brief(FdSource<std::os::unix::net::UnixStream>);

impl Source for Brief {
    type Io = FdSource<std::os::unix::net::UnixStream>;

    fn io(&mut self) -> &mut Self::Io {
        &mut self.0
    }

    fn on_open(&mut self, cx: &mut Context<'_, ()>) {
        assert!(cx.is_alive(cx.token()));
        assert!(cx.set_timer(Duration::from_millis(5)).is_some());
    }

    fn on_ready(&mut self, _: Readiness, _: &mut Context<'_, ()>) -> Progress {
        panic!("nothing is sent");
    }

    fn on_timer(&mut self, _: TimerId, cx: &mut Context<'_, ()>) {
        cx.finish();
    }
}

#[test]
fn a_source_sets_its_first_timer_when_it_is_watched() {
    let mut reactor = Reactor::new().unwrap();
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    reactor
        .add_source("brief", Brief(FdSource::new(ours)))
        .unwrap();
    reactor.run().unwrap();
    assert_eq!(
        (reactor.stats().timers_fired, reactor.stats().panics),
        (1, 0)
    );
}
