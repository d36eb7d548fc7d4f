//! The one door between threads: mails, wake-ups, and the end of a reactor as seen from outside.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests may use threads; the rules are for the library"
)]

mod common;

use std::io::Write;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use common::{
    End, Script, Server, TOO_LONG, connect, next, next_close, next_open, read_exactly, read_to_end,
};
use windlass::reactor::PostError;
use windlass::{CloseReason, Config, Lines, Reactor, Token};

/// A server whose connections send what is mailed to them.
fn speaker(config: Config) -> (Server, std::sync::mpsc::Receiver<common::Seen>) {
    let (tell, seen) = channel();
    let server = Server::with_config(config, move |reactor| {
        reactor
            .listen("127.0.0.1:0", move |_| {
                Script::<Lines>::new().seen(&tell).on_mail(|mail, cx| {
                    match mail.downcast::<String>() {
                        Ok(text) => {
                            cx.send(text.as_str());
                        }
                        Err(_) => {
                            cx.send("not a text");
                        }
                    }
                })
            })
            .unwrap()
    });
    (server, seen)
}

#[test]
fn a_mail_wakes_a_reactor_that_is_asleep() {
    let (server, seen) = speaker(Config::default());
    let mut client = server.connect();
    let token = next_open(&seen);
    for round in 0..200 {
        let text = format!("{round:04}");
        server.remote.post(token, text.clone()).unwrap();
        assert_eq!(read_exactly(&mut client, 5), format!("{text}\n").as_bytes());
    }
    server.remote.post(token, 7_u8).unwrap();
    assert_eq!(read_exactly(&mut client, 11), b"not a text\n");
    drop(client);
    assert_eq!(server.stop().stats.mails, 201);
}

#[test]
fn every_one_of_ten_thousand_mails_from_four_threads_arrives_in_the_order_of_its_thread() {
    const EACH: usize = 2500;
    let (server, seen) = speaker(Config::default());
    let mut client = server.connect();
    let token = next_open(&seen);
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let remote = server.remote.clone();
            thread::spawn(move || {
                for number in 0..EACH {
                    let mut text = format!("{sender} {number:04}");
                    loop {
                        match remote.post(token, text) {
                            Ok(()) => break,
                            // Full is an answer, and the value comes back.
                            Err(PostError::Full(mail)) => text = *mail.downcast().unwrap(),
                            Err(PostError::Closed(_)) => panic!("it is alive"),
                        }
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let all = read_exactly(&mut client, 4 * EACH * 7);
    for sender in senders {
        sender.join().unwrap();
    }
    let mut next_numbers = [0; 4];
    for line in all.chunks(7) {
        let line = std::str::from_utf8(line).unwrap().trim_end();
        let (sender, number) = line.split_once(' ').unwrap();
        let expected = &mut next_numbers[sender.parse::<usize>().unwrap()];
        assert_eq!(number.parse::<usize>().unwrap(), *expected);
        *expected += 1;
    }
    assert_eq!(next_numbers, [EACH; 4]);
    drop(client);
    let last = server.stop();
    assert_eq!(last.stats.mails, 4 * EACH as u64);
}

#[test]
fn wake_ups_are_coalesced() {
    let mut reactor = Reactor::new().unwrap();
    let (tell, got) = channel();
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let script = Script::<Lines>::new().on_mail(move |mail, _| {
        tell.send(*mail.downcast::<u32>().unwrap()).unwrap();
    });
    let token = reactor
        .adopt("alone", ours, &windlass::Limits::default(), script)
        .unwrap();
    let remote = reactor.remote().unwrap();
    reactor.turn(Some(Duration::ZERO)).unwrap();
    for number in 0..1000_u32 {
        remote.post(token, number).unwrap();
    }
    let before = reactor.stats().turns;
    reactor.turn(Some(TOO_LONG)).unwrap();
    assert_eq!(got.try_iter().count(), 1000, "one turn takes them all");
    assert_eq!(reactor.stats().turns - before, 1);
    // And no wake-up is left over for a mailbox that is empty.
    let began = Instant::now();
    let wait = Duration::from_millis(50);
    reactor.turn(Some(wait)).unwrap();
    assert!(began.elapsed() >= wait);
}

#[test]
fn a_full_mailbox_says_so_and_gives_the_value_back() {
    let config = Config {
        mailbox_len: 4,
        ..Config::default()
    };
    let mut reactor = Reactor::configured(config).unwrap();
    let remote = reactor.remote().unwrap();
    let nobody = Token::from_parts(7, 7);
    for number in 0..4 {
        remote.post(nobody, number).unwrap();
    }
    match remote.post(nobody, 4) {
        Err(PostError::Full(mail)) => assert_eq!(*mail.downcast::<i32>().unwrap(), 4),
        other => panic!("{other:?}"),
    }
    reactor.turn(Some(TOO_LONG)).unwrap();
    assert!(remote.post(nobody, 5).is_ok(), "there is room again");
    assert_eq!(reactor.stats().undeliverable, 4);
}

#[test]
fn mail_beyond_the_budget_of_a_turn_needs_no_further_wake_up() {
    let mut config = Config::default();
    config.budgets.mails = 10;
    let (server, seen) = speaker(config);
    let mut client = server.connect();
    let token = next_open(&seen);
    for number in 0..100 {
        server.remote.post(token, format!("{number:03}")).unwrap();
    }
    let all = read_exactly(&mut client, 400);
    assert!(all.ends_with(b"099\n"));
    drop(client);
    server.stop();
}

#[test]
fn undeliverable_mail_comes_back_to_whoever_asked_for_it() {
    let (tell, told) = channel();
    let (tell_seen, seen) = channel();
    let server = Server::start(move |reactor| {
        reactor.on_undeliverable(move |to, mail| {
            tell.send((to, *mail.downcast::<String>().unwrap()))
                .unwrap();
        });
        reactor
            .listen("127.0.0.1:0", move |_| {
                Script::<Lines>::new().seen(&tell_seen)
            })
            .unwrap()
    });
    drop(server.connect());
    let (gone, _) = next_close(&seen);
    server.remote.post(gone, "too late".to_owned()).unwrap();
    assert_eq!(next(&told), (gone, "too late".to_owned()));
    assert_eq!(server.stop().stats.undeliverable, 1);
}

#[test]
fn a_shutdown_from_another_thread_is_not_refused_by_a_full_mailbox() {
    let config = Config {
        mailbox_len: 2,
        ..Config::default()
    };
    let (server, seen) = speaker(config);
    let mut client = server.connect();
    let token = next_open(&seen);
    let remote = server.remote.clone();
    let flooding = thread::spawn(move || {
        loop {
            if let Err(PostError::Closed(_)) = remote.post(token, "flood".to_owned()) {
                return;
            }
        }
    });
    server.wait_until(|snapshot| snapshot.stats.mails > 10);
    server.remote.shutdown(TOO_LONG);
    let (text, end) = read_to_end(&mut client);
    assert!(!text.is_empty());
    assert_eq!(end, End::Fin);
    drop(client);
    assert_eq!(next_close(&seen).1, CloseReason::Finished);
    server.join();
    // The reactor is gone: the flood ends with `Closed`.
    flooding.join().unwrap();
}

#[test]
fn mail_to_a_reactor_that_is_gone_comes_back() {
    let (server, _seen) = speaker(Config::default());
    let remote = server.remote.clone();
    let listener = server.listener;
    server.stop();
    match remote.post(listener, 42_u64) {
        Err(PostError::Closed(mail)) => assert_eq!(*mail.downcast::<u64>().unwrap(), 42),
        other => panic!("{other:?}"),
    }
    // Of no effect, and of no harm.
    remote.shutdown(Duration::ZERO);
}

#[test]
fn mail_reaches_a_connection_before_its_own_bytes_if_it_was_posted_before() {
    let (server, seen) = speaker(Config::default());
    let mut client = connect(server.address);
    let token = next_open(&seen);
    server.remote.post(token, "first".to_owned()).unwrap();
    assert_eq!(read_exactly(&mut client, 6), b"first\n");
    client.write_all(b"second\n").unwrap();
    assert_eq!(read_exactly(&mut client, 7), b"second\n");
    drop(client);
    server.stop();
}
