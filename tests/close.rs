//! How connections end: nothing that was sent is lost, and every end is told once.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests may use threads; the rules are for the library"
)]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use common::{
    End, Script, Seen, Server, TOO_LONG, assert_all_closed, connect_narrow, next, next_close,
    next_open, read_exactly, read_to_end, reset,
};
use windlass::net::{Listen, StreamOptions};
use windlass::{CloseReason, Limits, Lines, Raw, Reactor};

const REPLY_LEN: usize = 200_000;

/// Answers the first bytes it receives with `REPLY_LEN` bytes, and finishes.
fn refuses(reactor: &mut Reactor, seen: &std::sync::mpsc::Sender<Seen>) -> windlass::Token {
    let seen = seen.clone();
    reactor
        .listen("127.0.0.1:0", move |_| {
            Script::<Raw>::new().seen(&seen).on_frame(|_, cx| {
                cx.send(&vec![b'r'; REPLY_LEN]);
                cx.finish();
            })
        })
        .unwrap()
}

fn send_ten_mebibytes(mut stream: &TcpStream) {
    let chunk = vec![b'x'; 64 * 1024];
    for _ in 0..160 {
        stream.write_all(&chunk).unwrap();
    }
}

#[test]
fn a_reply_before_finish_arrives_whole_though_the_peer_sends_ten_mebibytes_before_it_reads() {
    let (tell, seen) = channel();
    let server = Server::start(move |reactor| refuses(reactor, &tell));
    let mut client = server.connect();
    send_ten_mebibytes(&client);
    let (reply, end) = read_to_end(&mut client);
    assert_eq!((reply.len(), end), (REPLY_LEN, End::Fin));
    drop(client);
    assert_eq!(next_close(&seen).1, CloseReason::Finished);
    server.stop();
}

#[test]
fn a_reply_before_finish_arrives_whole_while_the_peer_goes_on_sending() {
    let (tell, seen) = channel();
    let server = Server::start(move |reactor| refuses(reactor, &tell));
    let mut client = server.connect();
    let sender = client.try_clone().unwrap();
    let sending = thread::spawn(move || send_ten_mebibytes(&sender));
    let (reply, end) = read_to_end(&mut client);
    assert_eq!((reply.len(), end), (REPLY_LEN, End::Fin));
    sending.join().unwrap();
    drop(client);
    assert_eq!(next_close(&seen).1, CloseReason::Finished);
    server.stop();
}

#[test]
fn a_peer_that_finishes_first_still_gets_every_reply() {
    let (tell, seen) = channel();
    let server = Server::start(move |reactor| {
        reactor
            .listen("127.0.0.1:0", move |_| Script::<Lines>::new().seen(&tell))
            .unwrap()
    });
    let mut client = server.connect();
    let mut sent = Vec::new();
    for line in 0..1000 {
        writeln!(sent, "line {line}").unwrap();
    }
    client.write_all(&sent).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut client), (sent, End::Fin));
    assert_eq!(next_close(&seen).1, CloseReason::PeerFinished);
    server.stop();
}

#[test]
fn frames_are_delivered_after_our_half_has_ended() {
    let (tell, seen) = channel();
    let server = Server::start(move |reactor| {
        reactor
            .listen("127.0.0.1:0", move |_| {
                Script::<Lines>::new().seen(&tell).on_open(|cx| {
                    cx.send("hello");
                    cx.finish_writes();
                })
            })
            .unwrap()
    });
    let mut client = server.connect();
    assert_eq!(read_to_end(&mut client), (b"hello\n".to_vec(), End::Fin));
    let token = next_open(&seen);
    for line in ["one", "two", "three"] {
        client.write_all(format!("{line}\n").as_bytes()).unwrap();
        assert_eq!(next(&seen), Seen::Frame(token, line.into()));
    }
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(next(&seen), Seen::Eof(token, 0));
    assert_eq!(next(&seen), Seen::Close(token, CloseReason::Finished));
    // What the echo would have sent after our FIN went nowhere.
    assert_eq!(client.read(&mut [0; 16]).unwrap(), 0);
    server.stop();
}

#[test]
fn both_sides_may_finish_at_once() {
    const ROUNDS: usize = 200;
    let (tell, seen) = channel();
    let server = Server::start(move |reactor| {
        reactor
            .listen("127.0.0.1:0", move |_| {
                Script::<Lines>::new().seen(&tell).on_open(|cx| {
                    cx.send("bye");
                    cx.finish();
                })
            })
            .unwrap()
    });
    for _ in 0..ROUNDS {
        let mut client = server.connect();
        client.write_all(b"bye\n").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&mut client), (b"bye\n".to_vec(), End::Fin));
    }
    for _ in 0..ROUNDS {
        assert_eq!(next_close(&seen).1, CloseReason::Finished);
    }
    assert_all_closed(&server, ROUNDS as u64);
    server.stop();
}

#[test]
fn a_fin_in_the_middle_of_a_frame_is_told_with_the_bytes_that_are_lost() {
    let (tell, seen) = channel();
    let server = Server::start(move |reactor| {
        reactor
            .listen("127.0.0.1:0", move |_| Script::<Lines>::new().seen(&tell))
            .unwrap()
    });
    let mut client = server.connect();
    client.write_all(b"whole\npar").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut client), (b"whole\n".to_vec(), End::Fin));
    let token = next_open(&seen);
    assert_eq!(next(&seen), Seen::Frame(token, b"whole".to_vec()));
    assert_eq!(next(&seen), Seen::Eof(token, 3));
    assert_eq!(next(&seen), Seen::Close(token, CloseReason::Truncated));
    server.stop();
}

#[test]
fn a_fin_in_the_middle_of_a_frame_is_told_after_our_half_has_ended_as_well() {
    let (tell, seen) = channel();
    let server = Server::start(move |reactor| {
        reactor
            .listen("127.0.0.1:0", move |_| {
                Script::<Lines>::new().seen(&tell).on_open(|cx| {
                    cx.finish_writes();
                })
            })
            .unwrap()
    });
    let mut client = server.connect();
    assert_eq!(read_to_end(&mut client), (vec![], End::Fin));
    client.write_all(b"par").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let token = next_open(&seen);
    assert_eq!(next(&seen), Seen::Eof(token, 3));
    assert_eq!(next(&seen), Seen::Close(token, CloseReason::Truncated));
    server.stop();
}

#[test]
fn abort_resets_and_finish_does_not() {
    let (tell, seen) = channel();
    let server = Server::start(move |reactor| {
        reactor
            .listen("127.0.0.1:0", move |_| {
                Script::<Lines>::new().seen(&tell).on_frame(|line, cx| {
                    if line == b"abort" {
                        cx.abort();
                    } else {
                        cx.finish();
                    }
                })
            })
            .unwrap()
    });
    for (word, end, reason) in [
        ("abort", End::Reset, CloseReason::Aborted),
        ("finish", End::Fin, CloseReason::Finished),
    ] {
        let mut client = server.connect();
        client.write_all(format!("{word}\n").as_bytes()).unwrap();
        assert_eq!(read_to_end(&mut client).1, end);
        drop(client);
        assert_eq!(next_close(&seen).1, reason);
    }
    server.stop();
}

/// Stages of a connection at which its peer resets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    BeforeTheFirstByte,
    InTheMiddleOfAFrame,
    WhileOutputIsQueued,
    WhileDraining,
    WhileLingering,
    AfterOurFin,
    AfterItsOwnFin,
}

#[test]
fn a_reset_at_any_stage_is_told_once_and_leaves_nothing_behind() {
    use Stage::{
        AfterItsOwnFin, AfterOurFin, BeforeTheFirstByte, InTheMiddleOfAFrame, WhileDraining,
        WhileLingering, WhileOutputIsQueued,
    };
    const LARGE: usize = 900_000;
    let (tell, seen) = channel();
    let server = Server::start(move |reactor| {
        let listen = Listen::on("127.0.0.1:0").unwrap().options(StreamOptions {
            send_buffer: Some(8192),
            ..StreamOptions::default()
        });
        reactor
            .listen(listen, move |_| {
                Script::<Lines>::new()
                    .seen(&tell)
                    .on_eof(|_, _| {})
                    .on_frame(|line, cx| match line {
                        b"much" => cx.out().put(&vec![b'm'; LARGE]),
                        b"much and finish" => {
                            cx.out().put(&vec![b'm'; LARGE]);
                            cx.finish();
                        }
                        b"finish" => cx.finish(),
                        b"finish writes" => cx.finish_writes(),
                        _ => {}
                    })
            })
            .unwrap()
    });
    let stages = [
        (BeforeTheFirstByte, "", CloseReason::Reset),
        (InTheMiddleOfAFrame, "hel", CloseReason::Reset),
        (WhileOutputIsQueued, "much\n", CloseReason::Reset),
        (WhileDraining, "much and finish\n", CloseReason::Reset),
        (WhileLingering, "finish\n", CloseReason::Finished),
        (AfterOurFin, "finish writes\n", CloseReason::Reset),
        (AfterItsOwnFin, "quiet\n", CloseReason::Reset),
    ];
    let mut count = 0;
    let mut sent_len = 0;
    for round in 0..5 {
        for (stage, sends, reason) in stages {
            let mut client = connect_narrow(server.address);
            let token = next_open(&seen);
            client.write_all(sends.as_bytes()).unwrap();
            sent_len += sends.len() as u64;
            match stage {
                BeforeTheFirstByte => {}
                InTheMiddleOfAFrame => {
                    server.wait_until(|s| s.services[0].bytes_in == sent_len);
                }
                WhileOutputIsQueued | WhileDraining => drop(read_exactly(&mut client, 1)),
                WhileLingering | AfterOurFin => {
                    assert_eq!(read_to_end(&mut client), (vec![], End::Fin));
                }
                AfterItsOwnFin => {
                    client.shutdown(Shutdown::Write).unwrap();
                    while next(&seen) != Seen::Eof(token, 0) {}
                }
            }
            reset(client);
            assert_eq!(
                next_close(&seen),
                (token, reason),
                "{stage:?}, round {round}"
            );
            count += 1;
            assert_all_closed(&server, count);
        }
    }
    server.stop();
    assert!(seen.try_recv().is_err(), "nothing is told after the end");
}

#[test]
fn five_hundred_clients_get_the_replies_that_were_begun_before_a_shutdown() {
    const CLIENTS: usize = 500;
    const LEN: usize = 300_000;
    let (tell, seen) = channel();
    let server = Server::start(move |reactor| {
        let tell = tell.clone();
        reactor
            .listen("127.0.0.1:0", move |_| {
                let tell = tell.clone();
                Script::<Lines>::new().seen(&tell).on_frame(move |_, cx| {
                    cx.out().put(&vec![b'r'; LEN]);
                })
            })
            .unwrap()
    });
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.write_all(b"go\n").unwrap();
    }
    for _ in 0..CLIENTS {
        while !matches!(next(&seen), Seen::Frame(..)) {}
    }
    server.remote.shutdown(TOO_LONG);
    server.wait_until(|snapshot| snapshot.stats.entries <= CLIENTS);
    let refused = TcpStream::connect(server.address);
    assert_eq!(
        refused.unwrap_err().kind(),
        ErrorKind::ConnectionRefused,
        "the listener is closed at once"
    );
    for client in &mut clients {
        let (reply, end) = read_to_end(client);
        assert_eq!((reply.len(), end), (LEN, End::Fin));
    }
    drop(clients);
    let last = server.join();
    assert_eq!(last.stats.entries, 0);
    let service = &last.services[0];
    assert_eq!(service.closed(CloseReason::Finished), CLIENTS as u64);
}

#[test]
fn what_had_arrived_before_a_shutdown_is_served_even_if_it_is_more_than_a_budget() {
    let mut reactor = Reactor::new().unwrap();
    let listener = reactor
        .listen("127.0.0.1:0", |_| Script::<Lines>::new())
        .unwrap();
    let address = reactor.local_addr(listener).unwrap().as_ip().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    let sent: Vec<u8> = (0..5000)
        .flat_map(|n| format!("{n}\n").into_bytes())
        .collect();
    client.write_all(&sent).unwrap();
    while reactor.stats().entries < 2 {
        reactor.turn(None).unwrap();
    }
    reactor.shutdown(TOO_LONG);
    let reading = thread::spawn(move || read_to_end(&mut client));
    reactor.run().unwrap();
    assert_eq!(reading.join().unwrap(), (sent, End::Fin));
}

#[test]
fn what_had_arrived_before_a_shutdown_is_served_even_if_others_have_wishes() {
    const CLIENTS: usize = 20;
    let mut reactor = Reactor::new().unwrap();
    let listener = reactor
        .listen("127.0.0.1:0", |_| {
            Script::<Lines>::new().on_frame(|line, cx| {
                // A wish that is applied after the callback.
                cx.set_timer(Duration::from_secs(60));
                cx.send(line);
            })
        })
        .unwrap();
    let address = reactor.local_addr(listener).unwrap().as_ip().unwrap();
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| common::connect(address)).collect();
    reactor
        .run_until(|reactor| reactor.stats().entries == CLIENTS + 1)
        .unwrap();
    for client in &mut clients {
        client.write_all(b"before the shutdown\n").unwrap();
    }
    reactor.shutdown(TOO_LONG);
    let reading = thread::spawn(move || {
        let read = |client: &mut TcpStream| read_to_end(client);
        clients.iter_mut().map(read).collect::<Vec<_>>()
    });
    reactor.run().unwrap();
    for (reply, end) in reading.join().unwrap() {
        assert_eq!(
            (String::from_utf8(reply).unwrap().as_str(), end),
            ("before the shutdown\n", End::Fin)
        );
    }
}

#[test]
fn what_is_left_when_the_grace_of_a_shutdown_is_over_is_reset() {
    let (tell, seen) = channel();
    let server = Server::start(move |reactor| {
        let listen = Listen::on("127.0.0.1:0").unwrap().options(StreamOptions {
            send_buffer: Some(8192),
            ..StreamOptions::default()
        });
        reactor
            .listen(listen, move |_| {
                Script::<Lines>::new().seen(&tell).on_frame(move |_, cx| {
                    cx.out().put(&vec![b'r'; 900_000]);
                })
            })
            .unwrap()
    });
    let mut client = connect_narrow(server.address);
    client.write_all(b"go\n").unwrap();
    read_exactly(&mut client, 1);
    server.remote.shutdown(Duration::from_millis(50));
    let last = server.join();
    assert_eq!(last.stats.entries, 0);
    assert_eq!(next_close(&seen).1, CloseReason::Shutdown);
    // Not a clean end: the peer must not take what it got for all there was.
    let (reply, end) = read_to_end(&mut client);
    assert!(reply.len() < 900_000);
    assert_eq!(end, End::Reset);
}

#[test]
fn dropping_a_reactor_tells_every_protocol() {
    let (tell, seen) = channel();
    let mut reactor = Reactor::new().unwrap();
    let listener = reactor
        .listen("127.0.0.1:0", move |_| Script::<Lines>::new().seen(&tell))
        .unwrap();
    let address = reactor.local_addr(listener).unwrap().as_ip().unwrap();
    let mut clients: Vec<TcpStream> = (0..10).map(|_| common::connect(address)).collect();
    reactor
        .run_until(|reactor| reactor.stats().entries == 11)
        .unwrap();
    drop(reactor);
    for client in &mut clients {
        assert_eq!(read_to_end(client).0, b"");
    }
    let closes = seen
        .iter()
        .filter(|seen| matches!(seen, Seen::Close(_, CloseReason::Shutdown)));
    assert_eq!(closes.count(), 10);
    let rebound = TcpListener::bind(address);
    assert!(rebound.is_ok(), "the listener is closed: {rebound:?}");
}

#[test]
fn a_panic_ends_only_its_own_connection() {
    let (tell, seen) = channel();
    let server = Server::start(move |reactor| {
        reactor
            .listen("127.0.0.1:0", move |_| {
                Script::<Lines>::new().seen(&tell).on_frame(|line, cx| {
                    assert_ne!(line, b"panic", "as asked");
                    cx.send(line);
                })
            })
            .unwrap()
    });
    let mut other = server.connect();
    next_open(&seen);
    let mut client = server.connect();
    client.write_all(b"panic\nignored\n").unwrap();
    assert_eq!(read_to_end(&mut client), (vec![], End::Reset));
    assert_eq!(next_close(&seen).1, CloseReason::Panicked);
    other.write_all(b"still here\n").unwrap();
    assert_eq!(read_exactly(&mut other, 11), b"still here\n");
    drop(other);
    let last = server.stop();
    assert_eq!(last.stats.panics, 1);
    assert_eq!(last.services[0].panics, 1);
}

#[test]
fn a_panic_in_on_close_is_told_no_second_time_and_counts_stay_right() {
    let (tell, seen) = channel();
    let server = Server::start(move |reactor| {
        reactor
            .listen("127.0.0.1:0", move |_| {
                Script::<Lines>::new()
                    .seen(&tell)
                    .on_close(|_, _| panic!("as asked"))
            })
            .unwrap()
    });
    let other = server.connect();
    next_open(&seen);
    let client = server.connect();
    let token = next_open(&seen);
    drop(client);
    assert_eq!(next_close(&seen).0, token);
    let snapshot = server.wait_until(|snapshot| snapshot.stats.entries == 2);
    assert_eq!(snapshot.services[0].live, 1);
    assert_eq!(snapshot.services[0].closed_total(), 1);
    drop(other);
    let last = server.stop();
    assert_eq!(last.services[0].live, 0);
    assert_eq!(last.services[0].closed_total(), 2);
    let closes = seen.iter().filter(|seen| matches!(seen, Seen::Close(..)));
    assert_eq!(closes.count(), 1, "one besides the first");
}

#[test]
fn a_panic_in_the_closure_that_makes_a_protocol_costs_that_connection_only() {
    let server = Server::start(move |reactor| {
        let mut count = 0;
        reactor
            .listen("127.0.0.1:0", move |_| {
                count += 1;
                assert_ne!(count, 2, "as asked");
                Script::<Lines>::new()
            })
            .unwrap()
    });
    for panics in [false, true, false] {
        let mut client = server.connect();
        if panics {
            assert_eq!(read_to_end(&mut client), (vec![], End::Reset));
        } else {
            client.write_all(b"hi\n").unwrap();
            assert_eq!(read_exactly(&mut client, 3), b"hi\n");
        }
    }
    let last = server.stop();
    assert_eq!((last.stats.panics, last.services[0].accepted), (1, 2));
}

#[test]
fn input_is_no_longer_read_once_a_limit_of_lingering_is_reached() {
    let (tell, seen) = channel();
    let server = Server::start(move |reactor| {
        let listen = Listen::on("127.0.0.1:0").unwrap().limits(Limits {
            max_linger: 100_000,
            ..Limits::default()
        });
        reactor
            .listen(listen, move |_| {
                Script::<Raw>::new()
                    .seen(&tell)
                    .on_frame(|_, cx| cx.finish())
            })
            .unwrap()
    });
    let mut client = server.connect();
    client.write_all(b"x").unwrap();
    assert_eq!(read_to_end(&mut client).1, End::Fin);
    let chunk = [b'x'; 4096];
    let mut sent = 0;
    let error = loop {
        match client.write_all(&chunk) {
            Ok(()) => sent += chunk.len(),
            Err(error) => break error,
        }
    };
    assert!(common::is_reset(&error), "{error}");
    assert!(sent >= 100_000, "{sent}");
    assert_eq!(next_close(&seen).1, CloseReason::Finished);
    server.stop();
}

/// Answers the first bytes with `REPLY_LEN` bytes, and takes them for all that the peer sends.
fn parts(
    reactor: &mut Reactor,
    seen: &std::sync::mpsc::Sender<Seen>,
    listen: Listen,
) -> windlass::Token {
    let seen = seen.clone();
    reactor
        .listen(listen, move |_| {
            Script::<Raw>::new().seen(&seen).on_frame(|_, cx| {
                cx.send(&vec![b'r'; REPLY_LEN]);
                cx.finish_both();
            })
        })
        .unwrap()
}

#[test]
fn a_peer_that_has_said_that_it_sends_no_more_is_not_waited_for() {
    let (tell, seen) = channel();
    let server = Server::start(move |reactor| {
        let listen = Listen::on("127.0.0.1:0").unwrap();
        parts(reactor, &tell, listen)
    });
    let mut client = server.connect();
    client.write_all(b"the last").unwrap();
    // The client has neither read nor ended its half, and the connection is closed.
    assert_eq!(next_close(&seen).1, CloseReason::Finished);
    let (reply, end) = read_to_end(&mut client);
    assert_eq!((reply.len(), end), (REPLY_LEN, End::Fin));
    server.stop();
}

#[test]
fn a_reply_that_does_not_leave_at_once_arrives_though_a_peer_breaks_its_word_to_send_no_more() {
    let (tell, seen) = channel();
    let server = Server::start(move |reactor| {
        let listen = Listen::on("127.0.0.1:0").unwrap().options(StreamOptions {
            send_buffer: Some(8192),
            ..StreamOptions::default()
        });
        parts(reactor, &tell, listen)
    });
    let mut client = connect_narrow(server.address);
    for _ in 0..100 {
        client.write_all(b"not the last").unwrap();
    }
    let (reply, end) = read_to_end(&mut client);
    assert_eq!((reply.len(), end), (REPLY_LEN, End::Fin));
    client.write_all(b"nor this").unwrap();
    drop(client);
    assert_eq!(next_close(&seen).1, CloseReason::Finished);
    server.stop();
}

#[test]
fn a_peer_whose_last_frame_has_bytes_behind_it_is_waited_for() {
    let (tell, seen) = channel();
    let server = Server::start(move |reactor| {
        let listen = Listen::on("127.0.0.1:0").unwrap();
        let factory = move |_: &windlass::Peer| {
            Script::<Lines>::new().seen(&tell).on_frame(|_, cx| {
                cx.send("the last reply");
                cx.finish_both();
            })
        };
        reactor.listen(listen, factory).unwrap()
    });
    let mut client = server.connect();
    client.write_all(b"the last\nand a").unwrap();
    let (reply, end) = read_to_end(&mut client);
    assert_eq!((&reply[..], end), (&b"the last reply\n"[..], End::Fin));
    // A connection that is closed answers the first of these with a reset.
    for _ in 0..10 {
        client.write_all(b"nother").unwrap();
    }
    drop(client);
    assert_eq!(next_close(&seen).1, CloseReason::Finished);
    server.stop();
}

#[test]
fn lingering_has_a_deadline() {
    let (tell, seen) = channel();
    let server = Server::start(move |reactor| {
        let listen = Listen::on("127.0.0.1:0").unwrap().limits(Limits {
            linger_timeout: Duration::from_millis(50),
            ..Limits::default()
        });
        reactor
            .listen(listen, move |_| {
                Script::<Raw>::new()
                    .seen(&tell)
                    .on_frame(|_, cx| cx.finish())
            })
            .unwrap()
    });
    let mut client = server.connect();
    client.write_all(b"x").unwrap();
    // The client holds its half open.
    assert_eq!(next_close(&seen).1, CloseReason::Finished);
    assert_all_closed(&server, 1);
    assert_eq!(read_to_end(&mut client).1, End::Fin);
    server.stop();
}
