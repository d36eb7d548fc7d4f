//! The reactor as its embedder sees it: tokens, timers, foreign loops, switching, forwarding.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests may use threads; the rules are for the library"
)]

mod common;

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use common::{
    End, Script, Seen, Server, TOO_LONG, connect, connect_narrow, let_pass, next, next_close,
    next_open, read_exactly, read_to_end,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use windlass::net::{Connect, Keepalive, Listen, Memory, StreamOptions};
use windlass::{
    CloseReason, Discard, Echo, Error, Gone, Limits, Lines, Raw, Reactor, TimerId, Token,
};

/// A reactor with an echo of lines, in this thread, and where it listens.
fn echo(tell: std::sync::mpsc::Sender<Seen>) -> (Reactor, Token, std::net::SocketAddr) {
    let mut reactor = Reactor::new().unwrap();
    let listener = reactor
        .listen("127.0.0.1:0", move |_| Script::<Lines>::new().seen(&tell))
        .unwrap();
    let address = reactor.local_addr(listener).unwrap().as_ip().unwrap();
    (reactor, listener, address)
}

/// Takes turns until so many entries are alive.
fn until_entries(reactor: &mut Reactor, count: usize) {
    reactor
        .run_until(|reactor| reactor.stats().entries == count)
        .unwrap();
}

#[test]
fn a_token_kept_too_long_never_reaches_the_next_tenant_of_its_slot() {
    let (tell, seen) = channel();
    let (mut reactor, _listener, address) = echo(tell);
    let undeliverable = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&undeliverable);
    reactor.on_undeliverable(move |to, mail| {
        kept.borrow_mut()
            .push((to, *mail.downcast::<u32>().unwrap()));
    });
    let first = connect(address);
    until_entries(&mut reactor, 2);
    let old = next_open(&seen);
    drop(first);
    until_entries(&mut reactor, 1);
    assert_eq!(next_close(&seen).0, old);

    let mut second = connect(address);
    until_entries(&mut reactor, 2);
    let new = next_open(&seen);
    assert_eq!(new.slot(), old.slot(), "the slot is used again");
    assert_eq!(reactor.send(old, "to the dead"), Err(Gone));
    assert_eq!(reactor.mail(old, 1_u32), Err(Gone));
    assert_eq!(reactor.finish(old), Err(Gone));
    assert_eq!(reactor.finish_writes(old), Err(Gone));
    assert_eq!(reactor.abort(old), Err(Gone));
    assert_eq!(reactor.resume(old), Err(Gone));
    assert!(matches!(reactor.options(old), Err(Error::Gone)));
    assert!(!reactor.is_alive(old) && reactor.is_alive(new));
    reactor.remote().unwrap().post(old, 2_u32).unwrap();
    reactor.turn(Some(TOO_LONG)).unwrap();
    assert_eq!(*undeliverable.borrow(), [(old, 2)]);
    assert_eq!(reactor.stats().undeliverable, 1);

    assert_eq!(reactor.send(new, "to the living\n"), Ok(()));
    reactor.finish(new).unwrap();
    second.shutdown(Shutdown::Write).unwrap();
    until_entries(&mut reactor, 1);
    let all = read_to_end(&mut second);
    assert_eq!(all, (b"to the living\n".to_vec(), End::Fin));
}

#[test]
fn intents_by_an_old_token_go_nowhere() {
    let (tell, seen) = channel();
    let server = Server::start(move |reactor| {
        let mut old = None;
        reactor
            .listen("127.0.0.1:0", move |peer| {
                let first = *old.get_or_insert(peer.token);
                Script::<Lines>::new()
                    .seen(&tell)
                    .on_frame(move |line, cx| {
                        if cx.token() != first {
                            assert!(!cx.is_alive(first));
                            cx.send_to(first, "lost\n");
                            cx.forward_to(first, "lost\n");
                            cx.mail_to(first, "lost");
                            cx.finish_other(first);
                            cx.abort_other(first);
                        }
                        cx.send(line);
                    })
            })
            .unwrap()
    });
    drop(server.connect());
    let (old, _) = next_close(&seen);
    server.wait_for_entries(1);
    let mut client = server.connect();
    let new = next_open(&seen);
    assert_eq!(old.slot(), new.slot());
    for round in ["one\n", "two\n"] {
        client.write_all(round.as_bytes()).unwrap();
        assert_eq!(read_exactly(&mut client, 4), round.as_bytes());
    }
    drop(client);
    assert_eq!(server.stop().stats.undeliverable, 2);
}

/// Runs a reactor with one connection to itself, whose protocol is `script`, until it ends.
fn run_alone(script: Script<Raw>) {
    let mut reactor = Reactor::new().unwrap();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    reactor
        .adopt("alone", ours, &Limits::default(), script)
        .unwrap();
    reactor.run().unwrap();
    drop(theirs);
    assert_eq!(
        reactor.stats().panics,
        0,
        "an assertion failed in a callback"
    );
}

#[test]
fn a_timer_is_never_early() {
    let waits = [0, 1, 999, 1000, 1001, 2500, 20_000, 33_333].map(Duration::from_micros);
    let set: Rc<RefCell<Vec<(TimerId, Instant)>>> = Rc::default();
    let fired: Rc<RefCell<Vec<Duration>>> = Rc::default();
    let (due, late) = (Rc::clone(&set), Rc::clone(&fired));
    run_alone(
        Script::new()
            .on_open(move |cx| {
                for wait in waits {
                    let id = cx.set_timer(wait).unwrap();
                    due.borrow_mut().push((id, Instant::now() + wait));
                }
            })
            .on_timer(move |id, cx| {
                let set = set.borrow();
                let (_, due) = set.iter().find(|(set, _)| *set == id).unwrap();
                let now = Instant::now();
                // Set by the clock of the turn, which is a little older than ours.
                assert!(now + Duration::from_millis(1) >= *due, "{:?}", *due - now);
                let mut late = late.borrow_mut();
                late.push(now.saturating_duration_since(*due));
                if late.len() == waits.len() {
                    cx.abort();
                }
            }),
    );
    assert_eq!(fired.borrow().len(), waits.len());
}

#[test]
fn an_interval_is_never_early_even_if_it_is_no_whole_number_of_milliseconds() {
    let period = Duration::from_micros(1500);
    let began: Rc<RefCell<Option<Instant>>> = Rc::default();
    let (start, mut count) = (Rc::clone(&began), 0);
    run_alone(
        Script::new()
            .on_open(move |cx| {
                *start.borrow_mut() = Some(cx.now());
                cx.set_interval(period).unwrap();
            })
            .on_timer(move |_, cx| {
                count += 1;
                let since = cx.now() - began.borrow().unwrap();
                assert!(since >= period * count, "{since:?} at firing {count}");
                if count == 40 {
                    cx.abort();
                }
            }),
    );
}

#[test]
fn an_interval_skips_what_a_stall_of_the_loop_has_cost() {
    let period = Duration::from_millis(5);
    let began: Rc<RefCell<Option<Instant>>> = Rc::default();
    let (start, mut count) = (Rc::clone(&began), 0);
    run_alone(
        Script::new()
            .on_open(move |cx| {
                *start.borrow_mut() = Some(cx.now());
                cx.set_interval(period).unwrap();
            })
            .on_timer(move |_, cx| {
                count += 1;
                let since = cx.now() - began.borrow().unwrap();
                match count {
                    3 => let_pass(period * 10),
                    4 => assert!(since >= period * 13, "{since:?}"),
                    10 => {
                        // What was missed is not made up for in a burst.
                        assert!(since >= period * 18, "{since:?}");
                        cx.abort();
                    }
                    _ => {}
                }
            }),
    );
}

#[test]
fn a_timer_cancelled_in_the_turn_in_which_it_is_due_does_not_fire() {
    let ids: Rc<RefCell<Vec<TimerId>>> = Rc::default();
    let mine = Rc::clone(&ids);
    let mut fired = 0;
    run_alone(
        Script::new()
            .on_open(move |cx| {
                for _ in 0..3 {
                    let id = cx.set_timer(Duration::from_millis(5)).unwrap();
                    ids.borrow_mut().push(id);
                }
                let last = cx.set_timer(Duration::from_millis(20)).unwrap();
                ids.borrow_mut().push(last);
            })
            .on_timer(move |id, cx| {
                fired += 1;
                let ids = mine.borrow();
                if id == ids[3] {
                    assert_eq!(fired, 2, "the first one and the last");
                    cx.abort();
                    return;
                }
                for other in &ids[..3] {
                    cx.cancel_timer(*other);
                }
            }),
    );
}

#[test]
fn a_protocol_has_so_many_timers_and_they_end_with_it() {
    let (tell, seen) = channel();
    let server = Server::start(move |reactor| {
        let limits = Limits {
            max_timers: 3,
            ..Limits::default()
        };
        let listen = Listen::on("127.0.0.1:0").unwrap().limits(limits);
        reactor
            .listen(listen, move |_| {
                Script::<Lines>::new()
                    .seen(&tell)
                    .on_frame(|_, cx| {
                        let wait = Duration::from_millis(20);
                        let mut ids = Vec::new();
                        while let Some(id) = cx.set_timer(wait) {
                            ids.push(id);
                        }
                        for id in &ids {
                            cx.cancel_timer(*id);
                        }
                        cx.send(&format!("{}", ids.len()));
                    })
                    .on_mail(|_, cx| {
                        assert!(cx.set_timer(Duration::from_millis(20)).is_some());
                        cx.abort();
                    })
                    .on_timer(|_, _| panic!("all were cancelled, or ended with their owner"))
            })
            .unwrap()
    });
    let mut client = server.connect();
    let token = next_open(&seen);
    for _ in 0..5 {
        client.write_all(b"how many\n").unwrap();
        assert_eq!(read_exactly(&mut client, 2), b"3\n");
    }
    server.remote.post(token, ()).unwrap();
    assert_eq!(next_close(&seen), (token, CloseReason::Aborted));
    let mut next_tenant = server.connect();
    let_pass(Duration::from_millis(40));
    next_tenant.write_all(b"how many\n").unwrap();
    assert_eq!(read_exactly(&mut next_tenant, 2), b"3\n");
    drop(next_tenant);
    assert_eq!(server.stop().stats.panics, 0);
}

#[test]
fn what_begins_between_two_turns_begins_then() {
    // The reactor's own time stands still between its turns.
    let short = Duration::from_millis(100);
    let limits = Limits {
        connect_timeout: short,
        first_byte_timeout: Some(short),
        ..Limits::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, seen) = channel();
    let mut reactor = Reactor::new().unwrap();
    let_pass(2 * short);
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let script = Script::<Raw>::new().seen(&tell);
    let adopted = reactor.adopt("adopted", ours, &limits, script).unwrap();
    assert_eq!(next(&seen), Seen::Open(adopted));
    reactor.turn(Some(Duration::ZERO)).unwrap();
    let error = theirs.read(&mut [0]).unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::WouldBlock,
        "it has had no time at all"
    );

    let_pass(2 * short);
    let script = Script::<Raw>::new().seen(&tell);
    let connect = Connect::new(address).limits(limits);
    let connected = reactor.connect(connect, script).unwrap();
    let opened = |seen: &Seen| *seen == Seen::Open(connected);
    for _ in 0..10 {
        reactor.turn(Some(short / 20)).unwrap();
    }
    assert!(seen.try_iter().any(|seen| opened(&seen)));

    let asked = Instant::now();
    let_pass(short);
    let begun = Instant::now();
    reactor.shutdown(short);
    reactor.run().unwrap();
    assert!(
        begun.elapsed() >= short,
        "{:?} since {asked:?}",
        begun.elapsed()
    );
}

#[test]
fn a_timer_set_between_two_turns_is_not_early_either() {
    let wait = Duration::from_millis(50);
    let (fired, when) = channel();
    let mut reactor = Reactor::new().unwrap();
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let script = Script::<Raw>::new()
        .on_mail(move |_, cx| {
            cx.set_timer(wait);
        })
        .on_timer(move |_, cx| {
            fired.send(Instant::now()).unwrap();
            cx.abort();
        });
    let token = reactor
        .adopt("alone", ours, &Limits::default(), script)
        .unwrap();
    reactor.turn(Some(Duration::ZERO)).unwrap();
    let_pass(2 * wait);
    let set = Instant::now();
    reactor.mail(token, ()).unwrap();
    reactor.run().unwrap();
    assert!(when.recv().unwrap() - set >= wait);
}

#[test]
fn a_reactor_nests_in_a_foreign_loop() {
    let (tell, seen) = channel();
    let mut reactor = Reactor::new().unwrap();
    let listener = reactor
        .listen("127.0.0.1:0", move |_| {
            Script::<Lines>::new()
                .seen(&tell)
                .on_open(|cx| {
                    cx.set_interval(Duration::from_millis(10));
                })
                .on_timer(|_, cx| {
                    cx.send("tick");
                })
        })
        .unwrap();
    let address = reactor.local_addr(listener).unwrap().as_ip().unwrap();
    // Another descriptor of the same loop, whose other end says when it is enough.
    let (theirs, mut ours) = std::os::unix::net::UnixStream::pair().unwrap();
    let client = thread::spawn(move || {
        let mut client = connect(address);
        client.write_all(b"hello\n").unwrap();
        let mut got = Vec::new();
        while got.iter().filter(|byte| **byte == b'\n').count() < 6 {
            got.extend(read_exactly(&mut client, 1));
        }
        ours.write_all(b"enough").unwrap();
        String::from_utf8(got).unwrap()
    });
    let mut turns = 0;
    loop {
        let now = Instant::now();
        let left = reactor
            .next_deadline()
            .map_or(TOO_LONG, |deadline| deadline.saturating_duration_since(now));
        let timeout = Timespec::try_from(left).unwrap();
        let (has_events, is_enough) = {
            let mut fds = [
                PollFd::new(&reactor, PollFlags::IN),
                PollFd::new(&theirs, PollFlags::IN),
            ];
            poll(&mut fds, Some(&timeout)).unwrap();
            (!fds[0].revents().is_empty(), !fds[1].revents().is_empty())
        };
        let is_due = reactor
            .next_deadline()
            .is_some_and(|deadline| deadline <= Instant::now());
        if has_events || is_due {
            reactor.turn(Some(Duration::ZERO)).unwrap();
            turns += 1;
        }
        if is_enough {
            break;
        }
    }
    let got = client.join().unwrap();
    assert!(got.contains("hello\n"), "{got}");
    assert_eq!(got.matches("tick\n").count(), 5);
    assert!(turns < 1000, "{turns} turns: it spins");
    assert!(matches!(next(&seen), Seen::Open(_)));
}

#[test]
fn a_switch_leaves_the_rest_of_the_input_to_the_next_protocol_wherever_it_is_cut() {
    let (tell, seen) = channel();
    let (tell_raw, seen_raw) = channel();
    let server = Server::start(move |reactor| {
        reactor
            .listen("127.0.0.1:0", move |_| {
                let tell_raw = tell_raw.clone();
                Script::<Lines>::new()
                    .seen(&tell)
                    .on_frame(move |line, cx| {
                        if line == b"RAW" {
                            cx.send("OK");
                            let echo = Script::<Raw>::new().seen(&tell_raw);
                            cx.switch(echo.on_open(|cx| {
                                cx.send("<");
                            }));
                        } else {
                            cx.send(line);
                        }
                    })
            })
            .unwrap()
    });
    let input = b"one\r\nRAW\nleft\nover";
    let expected = b"one\nOK\n<left\nover";
    for cut in 0..=input.len() {
        let mut client = server.connect();
        let token = next_open(&seen);
        let (first, second) = input.split_at(cut);
        client.write_all(first).unwrap();
        if cut >= 9 {
            // The first part has been served by then, so that the second one comes alone.
            assert!(matches!(next(&seen), Seen::Frame(..)));
        }
        client.write_all(second).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let (all, end) = read_to_end(&mut client);
        assert_eq!(
            all.escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
        assert_eq!(end, End::Fin, "cut at {cut}");
        assert_eq!(next_close(&seen), (token, CloseReason::Switched));
        assert_eq!(next_open(&seen_raw), token);
        assert_eq!(next_close(&seen_raw), (token, CloseReason::PeerFinished));
    }
    server.stop();
    assert!(seen.try_recv().is_err(), "nothing is told after the switch");
}

#[test]
fn what_was_closed_is_remembered_by_its_counters_as_long_as_there_are_not_many() {
    let mut reactor = Reactor::with_network(Memory::new());
    let kept = reactor.listen("10.0.0.1:7", |_| Discard).unwrap();
    for _ in 0..1000 {
        let token = reactor.listen("10.0.0.1:8", |_| Discard).unwrap();
        reactor.finish(token).unwrap();
        reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    assert!(reactor.services().count() <= 256);
    assert_eq!(reactor.services().next().unwrap().name, "10.0.0.1:7");
    assert!(reactor.is_alive(kept));
}

#[test]
fn mail_to_a_listener_is_undeliverable_whoever_sends_it() {
    let mut reactor = Reactor::with_network(Memory::new());
    let listener = reactor.listen("10.0.0.1:7", |_| Discard).unwrap();
    let letters = Rc::new(RefCell::new(Vec::new()));
    let box_of_dead_letters = Rc::clone(&letters);
    reactor.on_undeliverable(move |to, mail| {
        let text = *mail.downcast::<&str>().unwrap();
        box_of_dead_letters.borrow_mut().push((to, text));
    });
    reactor.mail(listener, "from outside").unwrap();
    reactor.with_intents(|intents| intents.mail_to(listener, "from within"));
    let expected = [(listener, "from outside"), (listener, "from within")];
    assert_eq!(*letters.borrow(), expected);
    assert_eq!(reactor.stats().undeliverable, 2);
}

#[test]
fn the_timers_of_a_protocol_end_when_another_one_takes_over() {
    let memory = Memory::new();
    let mut reactor = Reactor::with_network(memory.clone());
    let limits = Limits {
        max_timers: 2,
        ..Limits::default()
    };
    let listen = Listen::on("10.0.0.1:7").unwrap().limits(limits);
    let fired = Rc::new(RefCell::new(Vec::new()));
    let (tell, wait) = (Rc::clone(&fired), Duration::from_millis(20));
    reactor
        .listen(listen, move |_| {
            let tell = Rc::clone(&tell);
            Script::<Lines>::new()
                .on_open(move |cx| assert!(cx.set_timer(wait).is_some()))
                .on_frame(move |_, cx| {
                    // One is set, and one is asked for in the event of the switch.
                    assert!(cx.set_timer(wait).is_some());
                    let tell = Rc::clone(&tell);
                    let next = Script::<Lines>::new()
                        .on_open(move |cx| {
                            let own = [0; 3].map(|_| cx.set_timer(2 * wait));
                            assert_eq!(own.map(|timer| timer.is_some()), [true, true, false]);
                        })
                        .on_timer(move |_, cx| tell.borrow_mut().push(cx.now()));
                    cx.switch(next);
                })
        })
        .unwrap();
    let peer = memory.connect_peer(&"10.0.0.1:7".parse().unwrap()).unwrap();
    reactor.turn(Some(Duration::ZERO)).unwrap();
    let began = reactor.now();
    peer.send(b"switch\n");
    while reactor.now() - began < 10 * wait {
        reactor.turn(Some(wait)).unwrap();
    }
    assert_eq!(*fired.borrow(), [began + 2 * wait; 2]);
    assert_eq!(reactor.stats().panics, 0);
}

/// A server that passes what it receives on to `to`, and back, with half-closes.
fn forwarder(to: std::net::SocketAddr, limits: Limits) -> Server {
    Server::start(move |reactor| {
        let narrow = StreamOptions {
            send_buffer: Some(8192),
            recv_buffer: Some(8192),
            ..StreamOptions::default()
        };
        let listen = Listen::on("127.0.0.1:0")
            .unwrap()
            .limits(limits.clone())
            .options(narrow.clone());
        reactor
            .listen(listen, move |peer| {
                let inner = peer.token;
                let connect = Connect::new(to)
                    .limits(limits.clone())
                    .options(narrow.clone());
                let outer: Rc<RefCell<Option<Token>>> = Rc::default();
                let (frame_to, eof_to) = (Rc::clone(&outer), Rc::clone(&outer));
                Script::<Raw>::new()
                    .on_open(move |cx| {
                        let back = Script::<Raw>::new()
                            .on_frame(move |bytes, cx| cx.forward_to(inner, bytes.to_vec()))
                            .on_eof(move |_, cx| cx.finish_writes_other(inner));
                        *outer.borrow_mut() = Some(cx.connect(connect.clone(), back));
                    })
                    .on_frame(move |bytes, cx| {
                        cx.forward_to(frame_to.borrow().unwrap(), bytes.to_vec());
                    })
                    .on_eof(move |_, cx| cx.finish_writes_other(eof_to.borrow().unwrap()))
            })
            .unwrap()
    })
}

#[test]
fn a_forwarder_between_a_fast_source_and_a_slow_sink_loses_nothing_and_stays_bounded() {
    const LEN: usize = 8_000_000;
    let limits = Limits {
        high_water: 32 * 1024,
        low_water: 8 * 1024,
        // One filling of the read buffer comes on top of the high water.
        max_outbound: 128 * 1024,
        ..Limits::default()
    };
    let sink = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = forwarder(sink.local_addr().unwrap(), limits);
    let mut source = server.connect();
    let (mut taken, _) = sink.accept().unwrap();
    let pattern = |at: usize| (at.wrapping_mul(2_654_435_761) >> 16) as u8;
    let sending = thread::spawn(move || {
        let all: Vec<u8> = (0..LEN).map(pattern).collect();
        source.write_all(&all).unwrap();
        source.shutdown(Shutdown::Write).unwrap();
        read_to_end(&mut source)
    });
    // Nobody takes anything: the source has to come to rest.
    server.wait_until(|snapshot| snapshot.services[0].bytes_in > 100_000);
    let_pass(Duration::from_millis(100));
    let snapshot = server.wait_until(|_| true);
    let queued = snapshot.services[0].bytes_in - snapshot.services[1].bytes_out;
    assert!(queued <= 128 * 1024, "{queued} bytes are kept");
    let mut at = 0;
    let mut buf = vec![0; 10_000];
    loop {
        let len = taken.read(&mut buf).unwrap();
        if len == 0 {
            break;
        }
        for byte in &buf[..len] {
            assert_eq!(*byte, pattern(at), "at {at}");
            at += 1;
        }
    }
    assert_eq!(at, LEN);
    // The half-close has come through; the other half is open still.
    taken.write_all(b"thank you").unwrap();
    drop(taken);
    assert_eq!(sending.join().unwrap(), (b"thank you".to_vec(), End::Fin));
    server.wait_for_entries(1);
    let last = server.stop();
    for service in &last.services {
        assert_eq!(service.closed_total(), 1);
        assert_eq!(
            service.closed(CloseReason::Finished) + service.closed(CloseReason::PeerFinished),
            1
        );
    }
}

#[test]
fn a_source_that_feeds_two_sinks_waits_for_the_slower_one() {
    const LEN: usize = 3_000_000;
    let (tell, seen) = channel();
    let server = Server::start(move |reactor| {
        let listen = Listen::on("127.0.0.1:0")
            .unwrap()
            .limits(Limits {
                high_water: 32 * 1024,
                low_water: 8 * 1024,
                max_outbound: 256 * 1024,
                ..Limits::default()
            })
            .options(StreamOptions {
                send_buffer: Some(8192),
                ..StreamOptions::default()
            });
        let mut sinks = Vec::new();
        reactor
            .listen(listen, move |peer| {
                // The first two to come are the sinks.
                let to = sinks.clone();
                sinks.push(peer.token);
                Script::<Raw>::new().seen(&tell).on_frame(move |bytes, cx| {
                    for sink in to.iter().take(2) {
                        cx.forward_to(*sink, bytes.to_vec());
                    }
                })
            })
            .unwrap()
    });
    let mut fast = connect_narrow(server.address);
    next_open(&seen);
    let mut slow = connect_narrow(server.address);
    next_open(&seen);
    let mut source = server.connect();
    next_open(&seen);
    let sending = thread::spawn(move || {
        source.write_all(&vec![b'x'; LEN]).unwrap();
        source
    });
    let taking = thread::spawn(move || read_exactly(&mut fast, LEN).len());
    // Meanwhile the slow one does nothing.
    server.wait_until(|snapshot| snapshot.services[0].bytes_in > 32 * 1024);
    let_pass(Duration::from_millis(200));
    assert_eq!(read_exactly(&mut slow, LEN).len(), LEN);
    assert_eq!(taking.join().unwrap(), LEN);
    drop(sending.join().unwrap());
    drop(slow);
    server.wait_for_entries(1);
    server.stop();
}

#[test]
fn socket_options_are_read_back_by_token() {
    let (tell, seen) = channel();
    let (mut reactor, _, address) = echo(tell);
    let _client = connect(address);
    until_entries(&mut reactor, 2);
    let token = next_open(&seen);
    assert!(reactor.options(token).unwrap().nodelay, "the default");
    let wanted = StreamOptions {
        nodelay: false,
        keepalive: Some(Keepalive {
            idle: Duration::from_secs(61),
            interval: Duration::from_secs(7),
            count: 4,
        }),
        recv_buffer: Some(32 * 1024),
        send_buffer: Some(48 * 1024),
        user_timeout: Some(Duration::from_millis(12_345)),
        not_sent_low_water: Some(16 * 1024),
        ttl: Some(44),
        tos: Some(0x20),
        ..StreamOptions::default()
    };
    reactor.set_options(token, &wanted).unwrap();
    let mut got = reactor.options(token).unwrap();
    assert!(got.quick_ack.take().is_some());
    assert_eq!(got, wanted);
}

#[test]
fn options_of_a_listener_are_those_of_its_connections() {
    let (tell, seen) = channel();
    let mut reactor = Reactor::new().unwrap();
    let options = StreamOptions {
        ttl: Some(33),
        send_buffer: Some(20_000),
        ..StreamOptions::default()
    };
    let listen = Listen::on("127.0.0.1:0").unwrap().options(options);
    let listener = reactor
        .listen(listen, move |_| Script::<Raw>::new().seen(&tell))
        .unwrap();
    let address = reactor.local_addr(listener).unwrap().as_ip().unwrap();
    let client = connect(address);
    until_entries(&mut reactor, 2);
    let token = next_open(&seen);
    let got = reactor.options(token).unwrap();
    assert_eq!(
        (got.ttl, got.send_buffer, got.nodelay),
        (Some(33), Some(20_000), true)
    );
    let peer = reactor.peer_addr(token).unwrap().as_ip().unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    assert!(matches!(reactor.options(listener), Err(Error::Io(_))));
}

#[test]
fn a_stream_that_somebody_else_has_connected_is_taken_over() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(elsewhere.local_addr().unwrap()).unwrap();
    let (stream, _) = elsewhere.accept().unwrap();
    let mut reactor = Reactor::new().unwrap();
    client.write_all(b"before it was adopted\n").unwrap();
    let token = reactor
        .adopt(
            "adopted",
            stream,
            &Limits::default(),
            Echo::<Lines>::default(),
        )
        .unwrap();
    let peer = reactor.peer_addr(token).unwrap().as_ip();
    assert_eq!(peer, Some(client.local_addr().unwrap()));
    let reading = thread::spawn(move || {
        client.write_all(b"and after\n").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        read_to_end(&mut client).0
    });
    // With its last connection, the reactor has nothing left to wait for.
    reactor.run().unwrap();
    assert_eq!(
        reading.join().unwrap(),
        b"before it was adopted\nand after\n"
    );
    assert!(reactor.services().any(|service| service.name == "adopted"));
}

#[test]
fn an_inherited_listener_is_served_and_stays_with_whoever_else_has_it() {
    let inherited = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = inherited.local_addr().unwrap();
    let ours = inherited.try_clone().unwrap();
    let server = Server::start(move |reactor| {
        let listen = Listen::inherited(ours).name("inherited");
        reactor
            .listen(listen, |_| Echo::<Lines>::default())
            .unwrap()
    });
    assert_eq!(server.address, address);
    let mut client = connect(address);
    client.write_all(b"hello\n").unwrap();
    assert_eq!(read_exactly(&mut client, 6), b"hello\n");
    drop(client);
    server.stop();
    // It still listens: whoever inherits it next finds those who came meanwhile.
    let _waits = connect(address);
    inherited.set_nonblocking(false).unwrap();
    assert!(inherited.accept().is_ok());
}
