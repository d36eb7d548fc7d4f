//! Every limit of a connection and of a listener, met by a peer who reaches it, and by one who
//! only comes near.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests may use threads; the rules are for the library"
)]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use common::{
    End, Framing, Script, Seen, Server, assert_all_closed, connect_narrow, let_pass, next,
    next_close, next_open, read_exactly, read_to_end,
};
use windlass::net::{Listen, StreamOptions};
use windlass::protocol::Chargen;
use windlass::{CloseReason, Echo, LengthPrefixed, Limits, Lines, MinRate, Raw, Sent};

const SHORT: Duration = Duration::from_millis(150);

/// A service whose kernel buffers hold little, so that its own limits are what is met.
fn narrow(limits: Limits) -> Listen {
    Listen::on("127.0.0.1:0")
        .unwrap()
        .limits(limits)
        .options(StreamOptions {
            send_buffer: Some(8192),
            ..StreamOptions::default()
        })
}

/// A server with these limits.
fn start<C: Framing>(
    limits: Limits,
    script: impl Fn(Script<C>) -> Script<C> + Send + 'static,
) -> (Server, Receiver<Seen>) {
    let (tell, seen): (Sender<Seen>, _) = channel();
    let server = Server::start(move |reactor| {
        reactor
            .listen(narrow(limits), move |_| script(Script::new().seen(&tell)))
            .unwrap()
    });
    (server, seen)
}

#[test]
fn slow_readers_cost_no_more_than_their_limits_and_nobody_else_waits_for_them() {
    const READERS: usize = 200;
    let limits = Limits {
        high_water: 32 * 1024,
        low_water: 8 * 1024,
        max_outbound: 64 * 1024,
        ..Limits::default()
    };
    let max_outbound = limits.max_outbound;
    let longest = Arc::new(AtomicUsize::new(0));
    let seen_longest = Arc::clone(&longest);
    let server = Server::start(move |reactor| {
        reactor
            .listen(narrow(limits), move |_| {
                let longest = Arc::clone(&seen_longest);
                // An echo, or for whoever asks, characters without end.
                Script::<Lines>::new()
                    .on_frame(|line, cx| {
                        if line == b"chargen" {
                            while cx.send(&[b'c'; 1000]) == Sent::Queued {}
                        } else {
                            cx.send(line);
                        }
                    })
                    .on_drain(move |cx| {
                        while cx.send(&[b'c'; 1000]) == Sent::Queued {}
                        longest.fetch_max(cx.queued_len(), Ordering::Relaxed);
                    })
            })
            .unwrap()
    });
    let mut client = server.connect();
    let mut echo = |rounds: usize| {
        for round in 0..rounds {
            let line = format!("round {round}\n");
            client.write_all(line.as_bytes()).unwrap();
            assert_eq!(read_exactly(&mut client, line.len()), line.as_bytes());
        }
    };
    echo(10);
    let before = resident();
    let mut readers: Vec<TcpStream> = (0..READERS)
        .map(|_| {
            let mut reader = connect_narrow(server.address);
            reader.write_all(b"chargen\n").unwrap();
            reader
        })
        .collect();
    for _ in 0..5 {
        for reader in &mut readers {
            read_exactly(reader, 5000);
        }
        echo(40);
    }
    let grown = resident().saturating_sub(before);
    // The queue's memory may be twice what is in it.
    let most = READERS * 2 * max_outbound + 8 * 1024 * 1024;
    assert!(grown < most, "{grown} bytes for {READERS} slow readers");
    assert!(longest.load(Ordering::Relaxed) <= max_outbound);
    let stats = server.wait_until(|_| true);
    assert_eq!(stats.services[0].closed_total(), 0);
    drop(readers);
    server.wait_until(|snapshot| snapshot.services[0].live == 1);
    drop(client);
    server.stop();
}

/// Bytes of memory of this process that are its own.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<usize>().unwrap() * 1024
}

#[test]
fn a_reader_that_takes_nothing_is_stalled_and_one_that_takes_a_little_is_not() {
    let limits = Limits {
        stall_timeout: SHORT,
        ..Limits::default()
    };
    let (server, seen) = start(limits, |script: Script<Raw>| {
        script.on_frame(|_, cx| cx.out().put(&[b'x'; 400_000]))
    });
    let mut stalled = connect_narrow(server.address);
    let token = next_open(&seen);
    let mut slow = connect_narrow(server.address);
    next_open(&seen);
    stalled.write_all(b"go").unwrap();
    slow.write_all(b"go").unwrap();
    let mut closed = None;
    let mut len = 0;
    while closed.is_none() {
        // A short pause between sips.
        let_pass(SHORT / 20);
        len += slow.read(&mut [0; 4096]).unwrap();
        closed = seen.try_iter().find(|seen| matches!(seen, Seen::Close(..)));
    }
    assert_eq!(closed, Some(Seen::Close(token, CloseReason::Stalled)));
    assert_eq!(read_to_end(&mut stalled).1, End::Reset);
    read_exactly(&mut slow, 400_000 - len);
    drop(slow);
    assert_eq!(next_close(&seen).1, CloseReason::PeerFinished);
    server.stop();
}

#[test]
fn a_handler_that_writes_past_the_outbound_limit_is_reset_and_others_live() {
    let limits = Limits {
        max_outbound: 100_000,
        ..Limits::default()
    };
    let (server, seen) = start(limits, |script: Script<Lines>| {
        script.on_frame(|line, cx| {
            if line == b"much" {
                let mut queued = 0;
                while cx.send(&[b'x'; 1000]) != Sent::Closed {
                    queued += 1001;
                }
                assert!(queued <= 100_000, "{queued}");
                assert!(cx.queued_len() <= 100_000);
            } else {
                cx.send(line);
            }
        })
    });
    let mut other = server.connect();
    next_open(&seen);
    let mut client = server.connect();
    let token = next_open(&seen);
    client.write_all(b"much\n").unwrap();
    assert_eq!(read_to_end(&mut client), (vec![], End::Reset));
    assert_eq!(next_close(&seen), (token, CloseReason::OutboundLimit));
    other.write_all(b"alive\n").unwrap();
    assert_eq!(read_exactly(&mut other, 6), b"alive\n");
    drop(other);
    server.stop();
}

#[test]
fn the_largest_frames_come_back_whole_however_slowly_they_are_read() {
    const LEN: usize = 1024 * 1024;
    let server = Server::start(|reactor| {
        reactor
            .listen(narrow(Limits::default()), |_| {
                Echo::<LengthPrefixed>::default()
            })
            .unwrap()
    });
    let mut client = connect_narrow(server.address);
    // A small one first, which is still queued when a large one follows.
    let lens = [1, 60_000, LEN, LEN - 1, 60_000, LEN];
    let mut sent = Vec::new();
    for (number, len) in lens.into_iter().enumerate() {
        sent.extend_from_slice(&u32::try_from(len).unwrap().to_be_bytes());
        sent.resize(sent.len() + len, b'a' + number as u8);
    }
    let mut sender = client.try_clone().unwrap();
    let bytes = sent.clone();
    let sending = std::thread::spawn(move || sender.write_all(&bytes).unwrap());
    let mut received = Vec::new();
    while received.len() < sent.len() {
        let more = (sent.len() - received.len()).min(3000);
        received.extend(read_exactly(&mut client, more));
    }
    assert!(received == sent, "what came back is not what was sent");
    sending.join().unwrap();
    server.stop();
}

#[test]
fn on_drain_follows_a_high_water_and_nothing_is_read_in_between() {
    let limits = Limits {
        high_water: 20_000,
        low_water: 5_000,
        ..Limits::default()
    };
    let (server, seen) = start(limits, |script: Script<Lines>| {
        script
            .on_frame(|_, cx| {
                cx.out().put(&[b'x'; 400_000]);
            })
            .on_drain(|cx| assert!(cx.queued_len() <= 5_000))
    });
    let mut client = connect_narrow(server.address);
    let token = next_open(&seen);
    client.write_all(b"one\ntwo\n").unwrap();
    assert_eq!(next(&seen), Seen::Frame(token, b"one".to_vec()));
    read_exactly(&mut client, 300_000);
    assert!(
        seen.try_recv().is_err(),
        "more than the high water is queued"
    );
    read_exactly(&mut client, 100_000);
    assert_eq!(next(&seen), Seen::Drain(token));
    assert_eq!(next(&seen), Seen::Frame(token, b"two".to_vec()));
    read_exactly(&mut client, 400_000);
    assert_eq!(next(&seen), Seen::Drain(token));
    drop(client);
    server.stop();
}

#[test]
fn chargen_delivers_every_line_through_a_slow_reader() {
    const LINES: u64 = 20_000;
    let server = Server::start(|reactor| {
        reactor
            .listen(narrow(Limits::default()), |_| Chargen::lines(LINES))
            .unwrap()
    });
    let mut client = connect_narrow(server.address);
    let (bytes, end) = read_to_end(&mut client);
    assert_eq!((bytes.len() as u64, end), (74 * LINES, End::Fin));
    for (number, line) in bytes.chunks(74).enumerate() {
        assert_eq!(line[0], b' ' + (number % 95) as u8, "line {number}");
        assert_eq!(&line[72..], b"\r\n");
    }
    drop(client);
    assert_all_closed(&server, 1);
    server.stop();
}

#[test]
fn idle_connections_are_finished_and_busy_ones_are_not() {
    let limits = Limits {
        idle_timeout: Some(SHORT),
        ..Limits::default()
    };
    let (server, seen) = start(limits, |script: Script<Lines>| script);
    let mut idle = server.connect();
    let token = next_open(&seen);
    let mut busy = server.connect();
    let other = next_open(&seen);
    let began = Instant::now();
    while began.elapsed() < 3 * SHORT {
        busy.write_all(b"x\n").unwrap();
        read_exactly(&mut busy, 2);
        let_pass(SHORT / 10);
    }
    // Finished, not reset; and the slot is free when the peer has answered.
    assert_eq!(read_to_end(&mut idle), (vec![], End::Fin));
    drop(idle);
    assert_eq!(next_close(&seen), (token, CloseReason::IdleTimeout));
    assert_eq!(read_to_end(&mut busy), (vec![], End::Fin));
    drop(busy);
    assert_eq!(next_close(&seen), (other, CloseReason::IdleTimeout));
    server.stop();
}

#[test]
fn a_peer_that_only_reads_is_not_idle_while_it_does() {
    let limits = Limits {
        idle_timeout: Some(SHORT),
        ..Limits::default()
    };
    for peer_finishes in [false, true] {
        let server = {
            let limits = limits.clone();
            Server::start(move |reactor| {
                reactor
                    .listen(narrow(limits), |_| {
                        Script::<Raw>::new()
                            .on_eof(|_, _| {})
                            .on_open(|cx| {
                                cx.send(&[b'x'; 70_000]);
                            })
                            .on_drain(|cx| {
                                cx.send(&[b'x'; 70_000]);
                            })
                    })
                    .unwrap()
            })
        };
        let mut client = connect_narrow(server.address);
        if peer_finishes {
            client.shutdown(Shutdown::Write).unwrap();
        }
        let began = Instant::now();
        while began.elapsed() < 3 * SHORT {
            read_exactly(&mut client, 10_000);
        }
        let snapshot = server.wait_until(|_| true);
        assert_eq!(snapshot.services[0].closed_total(), 0);
        drop(client);
        assert_all_closed(&server, 1);
        server.stop();
    }
}

#[test]
fn a_peer_has_so_long_for_its_first_byte_whatever_we_greet_it_with() {
    let limits = Limits {
        first_byte_timeout: Some(SHORT),
        ..Limits::default()
    };
    let (server, seen) = start(limits, |script: Script<Lines>| {
        script.on_open(|cx| {
            cx.send("welcome");
        })
    });
    let mut silent = server.connect();
    let token = next_open(&seen);
    let mut prompt = server.connect();
    prompt.write_all(b"x\n").unwrap();
    assert_eq!(read_to_end(&mut silent), (b"welcome\n".to_vec(), End::Fin));
    drop(silent);
    assert_eq!(next_close(&seen), (token, CloseReason::FirstByteTimeout));
    let_pass(2 * SHORT);
    prompt.write_all(b"y\n").unwrap();
    assert_eq!(read_exactly(&mut prompt, 12), b"welcome\nx\ny\n");
    drop(prompt);
    server.stop();
}

#[test]
fn an_honest_slow_upload_passes_where_a_dripping_one_is_too_slow() {
    let limits = Limits {
        min_rate: Some(MinRate {
            bytes: 100,
            per: SHORT,
        }),
        ..Limits::default()
    };
    let (server, seen) = start(limits, |script: Script<Lines>| script);
    let mut drips = server.connect();
    let token = next_open(&seen);
    let mut honest = server.connect();
    let other = next_open(&seen);
    let began = Instant::now();
    let mut sent = 0;
    while began.elapsed() < 4 * SHORT {
        // One byte, and hundreds of them, in the same time.
        let _ = drips.write(b"d");
        honest.write_all(&[b'h'; 60]).unwrap();
        sent += 60;
        let_pass(SHORT / 15);
    }
    honest.write_all(b"\n").unwrap();
    read_exactly(&mut honest, sent + 1);
    drop(drips);
    assert_eq!(next_close(&seen), (token, CloseReason::TooSlow));
    // Between two frames nothing is owed.
    let_pass(2 * SHORT);
    honest.write_all(b"x\n").unwrap();
    assert_eq!(read_exactly(&mut honest, 2), b"x\n");
    drop(honest);
    assert_eq!(next_close(&seen), (other, CloseReason::PeerFinished));
    server.stop();
}

#[test]
fn a_peer_is_not_too_slow_while_it_is_us_who_do_not_read() {
    let limits = Limits {
        min_rate: Some(MinRate {
            bytes: 10,
            per: SHORT,
        }),
        ..Limits::default()
    };
    let (server, seen) = start(limits, |script: Script<Lines>| {
        script.on_mail(|mail, cx| {
            if *mail.downcast_ref::<bool>().unwrap() {
                cx.pause();
            } else {
                cx.resume();
            }
        })
    });
    let mut client = server.connect();
    let token = next_open(&seen);
    client.write_all(b"a line that is ").unwrap();
    server.wait_until(|snapshot| snapshot.services[0].bytes_in == 15);
    server.remote.post(token, true).unwrap();
    server.wait_until(|snapshot| snapshot.stats.mails == 1);
    client.write_all(b"all there\n").unwrap();
    let_pass(3 * SHORT);
    server.remote.post(token, false).unwrap();
    assert_eq!(read_exactly(&mut client, 25), b"a line that is all there\n");
    drop(client);
    assert_eq!(next_close(&seen), (token, CloseReason::PeerFinished));
    server.stop();
}

#[test]
fn what_a_finished_connection_owes_has_to_be_taken_in_time() {
    let limits = Limits {
        drain_timeout: SHORT,
        ..Limits::default()
    };
    let (server, seen) = start(limits, |script: Script<Lines>| {
        script.on_frame(|_, cx| {
            cx.out().put(&[b'x'; 400_000]);
            cx.finish();
        })
    });
    let mut client = connect_narrow(server.address);
    let token = next_open(&seen);
    client.write_all(b"go\n").unwrap();
    assert_eq!(next_close(&seen), (token, CloseReason::DrainTimeout));
    assert_eq!(read_to_end(&mut client).1, End::Reset);
    server.stop();
}

#[test]
fn an_unfinished_frame_beyond_the_inbound_limit_ends_the_connection_in_order() {
    /// Never finds a frame, and knows no bound of its own.
    #[derive(Default)]
    struct Endless;
    impl windlass::Decoder for Endless {
        type Frame<'a> = &'a [u8];
        type Error = std::convert::Infallible;
        fn decode<'a>(&'a mut self, _: &'a [u8]) -> windlass::framing::Decoded<'a, Self> {
            Ok(windlass::Step::More { needed: 0 })
        }
    }
    impl windlass::Encoder<&[u8]> for Endless {
        fn encode(
            &mut self,
            item: &[u8],
            out: &mut windlass::Outbox,
        ) -> Result<(), windlass::framing::EncodeError> {
            out.put(item);
            Ok(())
        }
    }
    let limits = Limits {
        max_inbound: 100_000,
        ..Limits::default()
    };
    let (server, seen) = start(limits, |script: Script<Endless>| script);
    let mut client = server.connect();
    let token = next_open(&seen);
    client.write_all(&[b'x'; 100_000]).unwrap();
    server.wait_until(|snapshot| snapshot.services[0].bytes_in == 100_000);
    assert!(seen.try_recv().is_err());
    client.write_all(b"x").unwrap();
    assert_eq!(read_to_end(&mut client), (vec![], End::Fin));
    drop(client);
    assert_eq!(next_close(&seen), (token, CloseReason::InboundLimit));
    server.stop();
}

#[test]
fn above_its_maximum_a_listener_leaves_peers_in_the_backlog_until_a_sixteenth_has_left() {
    const MAX: usize = 32;
    let (tell, seen) = channel();
    let server = Server::start(move |reactor| {
        let listen = Listen::on("127.0.0.1:0").unwrap().max_connections(MAX);
        reactor
            .listen(listen, move |_| Script::<Lines>::new().seen(&tell))
            .unwrap()
    });
    let mut served: Vec<TcpStream> = (0..MAX).map(|_| server.connect()).collect();
    server.wait_for_entries(MAX + 1);
    let mut waiting: Vec<TcpStream> = (0..2).map(|_| server.connect()).collect();
    for client in &mut waiting {
        client.write_all(b"hello\n").unwrap();
    }
    for _ in 0..MAX {
        next_open(&seen);
    }
    // One leaves: not enough, not even if somebody new comes.
    drop(served.pop());
    next_close(&seen);
    let mut newest = server.connect();
    newest.write_all(b"hello\n").unwrap();
    let first = &mut served[0];
    for _ in 0..10 {
        first.write_all(b"turn\n").unwrap();
        read_exactly(first, 5);
    }
    let snapshot = server.wait_until(|_| true);
    assert_eq!(snapshot.services[0].accepted, MAX as u64);
    // Two have left: that is a sixteenth, and there is room for two.
    drop(served.pop());
    for client in &mut waiting {
        assert_eq!(read_exactly(client, 6), b"hello\n");
    }
    let snapshot = server.wait_until(|snapshot| snapshot.services[0].live == MAX);
    assert_eq!(snapshot.services[0].accepted, MAX as u64 + 2);
    drop(waiting);
    assert_eq!(read_exactly(&mut newest, 6), b"hello\n");
    drop((served, newest));
    server.wait_for_entries(1);
    server.stop();
}

#[test]
fn more_connections_from_one_address_than_allowed_are_refused() {
    let server = Server::start(move |reactor| {
        let listen = Listen::on("127.0.0.1:0").unwrap().max_per_address(3);
        reactor
            .listen(listen, move |_| Script::<Lines>::new())
            .unwrap()
    });
    let mut served: Vec<TcpStream> = (0..3).map(|_| server.connect()).collect();
    server.wait_for_entries(4);
    let mut refused = server.connect();
    assert_eq!(read_to_end(&mut refused), (vec![], End::Reset));
    let snapshot = server.wait_until(|snapshot| snapshot.services[0].refused == 1);
    assert_eq!(snapshot.services[0].accepted, 3);
    drop(served.pop());
    server.wait_for_entries(3);
    let mut welcome = server.connect();
    welcome.write_all(b"hello\n").unwrap();
    assert_eq!(read_exactly(&mut welcome, 6), b"hello\n");
    drop((served, welcome));
    server.stop();
}
