//! Each fault is seen at work: a world in which nothing else goes wrong, and what its trace shows.
//! A fault that had no effect would make every scenario easier without anybody noticing.

use std::io::{Error, ErrorKind};
use std::time::Duration;

use windlass::net::{Connect, Listen};
use windlass::sim::{Faults, World};
use windlass::{CloseReason, Echo, Limits, Raw};

use crate::client::{Cargo, Shared, patient};
use crate::echo::Client;
use crate::hosts::give_room;

/// What was seen in a world.
struct Seen {
    /// Host, what happened there, and how much of it.
    lines: Vec<(String, String, u64)>,
    /// How long it took.
    elapsed: Duration,
    ends: Vec<Option<CloseReason>>,
}

impl Seen {
    /// How much of something there was each time that it happened.
    fn counts(&self, what: &str) -> Vec<u64> {
        let lines = self.lines.iter().filter(|(_, other, _)| other == what);
        lines.map(|(_, _, count)| *count).collect()
    }

    fn times(&self, what: &str) -> usize {
        self.counts(what).len()
    }

    /// Whether something happened that has the number of such an error.
    fn has_error(&self, what: &str, kind: ErrorKind) -> bool {
        let counts = self.counts(what).into_iter();
        let mut errors = counts.map(|number| Error::from_raw_os_error(number as i32));
        errors.any(|error| error.kind() == kind)
    }
}

/// Clients send a server 10,000 bytes each, which come back. Before, something may be done.
fn play(faults: Faults, clients: usize, limits: &Limits, before: fn(&mut World)) -> Seen {
    let mut world = World::with_faults(3, faults);
    let (server, client) = (world.host("server"), world.host("client"));
    give_room(&mut world, server);
    give_room(&mut world, client);
    let listen = Listen::new(world.address(server, 7)).limits(limits.clone());
    let listener = world
        .reactor(server)
        .listen(listen, |_| Echo::<Raw>::default());
    listener.expect("the port is free");
    let all: Vec<Shared> = (0..clients).map(|_| Shared::default()).collect();
    before(&mut world);
    for notes in &all {
        let connect = Connect::new(world.address(server, 7)).limits(limits.clone());
        let protocol = Client {
            cargo: Cargo::new(vec![vec![7; LEN]]),
            notes: notes.clone(),
        };
        let connected = world.reactor(client).connect(connect, protocol);
        connected.expect("an address");
    }
    let (mut lines, mut len) = (Vec::new(), world.trace_len());
    while all.iter().any(|notes| notes.borrow().closed.is_none()) {
        world.step().expect("no rule is broken");
        let news = (world.trace_len() - len) as usize;
        len = world.trace_len();
        let last = world.last_lines();
        let news = &last[last.len() - news.min(last.len())..];
        lines.extend(news.iter().map(|line| parsed(line)));
    }
    Seen {
        lines,
        elapsed: world.elapsed(),
        ends: all.iter().map(|notes| notes.borrow().closed).collect(),
    }
}

/// A line of the trace: when, the host, maybe a token, what happened, and how much of it.
fn parsed(line: &str) -> (String, String, u64) {
    let mut words = line.split(' ').skip(1);
    let host = words.next().expect("a host").to_owned();
    let what = words.find(|word| word.starts_with(char::is_uppercase));
    let count = words.next().and_then(|count| count.parse().ok());
    (
        host,
        what.expect("a name").to_owned(),
        count.expect("a number"),
    )
}

fn with(faults: Faults) -> Seen {
    play(faults, 1, &patient(), |_| {})
}

#[test]
fn without_faults_a_message_is_one_write_and_one_read() {
    let seen = with(Faults::none());
    for what in ["Write", "Arrive", "Read"] {
        let counts = seen.counts(what);
        assert_eq!(counts, [LEN as u64; 2], "{what}");
    }
    let blocked = [
        "WriteBlocked",
        "ReadFailed",
        "AcceptFailed",
        "ConnectFailed",
    ];
    assert!(blocked.iter().all(|what| seen.times(what) == 0));
    assert!(
        seen.elapsed < Duration::from_millis(5),
        "{:?}",
        seen.elapsed
    );
}

#[test]
fn streams_are_cut_merged_read_and_written_in_part() {
    let none = Faults::none;
    let cut = with(Faults { cut: 1.0, ..none() });
    assert!(cut.times("Arrive") > cut.times("Write"));

    let merged = with(Faults {
        partial_write: 1.0,
        delay_event: 1.0,
        ..none()
    });
    assert!(merged.times("Write") > 2 && merged.times("Read") < merged.times("Arrive"));

    let partial = Faults {
        partial_read: 1.0,
        short_read_drains: Some(false),
        ..none()
    };
    let partial = with(partial);
    assert!(partial.times("Read") > partial.times("Arrive"));

    let refused = Faults {
        would_block: 0.8,
        ..none()
    };
    let refused = play(refused, 5, &patient(), |_| {});
    assert!(refused.times("WriteBlocked") > 5 && refused.times("ReadBlocked") > 5);
    assert_eq!(refused.counts("Read").iter().sum::<u64>(), 10 * LEN as u64);

    let small = with(Faults {
        buffer_len: 50..=50,
        ..none()
    });
    assert!(small.times("WriteBlocked") > 100 && small.counts("Write").iter().all(|n| *n <= 50));
    let varies = Faults {
        buffer_len: 1..=4096,
        buffer_varies: 1.0,
        ..none()
    };
    let mut lens = with(varies).counts("Write");
    lens.sort_unstable();
    lens.dedup();
    assert!(lens.len() > 5, "{lens:?}");
}

#[test]
fn paths_are_slow_narrow_blocked_and_broken() {
    let none = Faults::none;
    let second = Duration::from_secs(1);
    let slow = with(Faults {
        latency: second..=second,
        ..none()
    });
    assert!(slow.elapsed >= 3 * second, "{:?}", slow.elapsed);
    let jitter = Faults {
        latency: Duration::ZERO..=second,
        ..none()
    };
    assert!(with(jitter).elapsed < slow.elapsed);

    // 10,000 bytes there, while they come back.
    let narrow = with(Faults {
        bandwidth: Some(10_000),
        ..none()
    });
    assert!(narrow.elapsed >= 2 * second, "{:?}", narrow.elapsed);

    let deaf = with(Faults {
        deaf: 1.0,
        deaf_for: second..=second,
        ..none()
    });
    assert!(deaf.elapsed >= 2 * second, "{:?}", deaf.elapsed);

    let reset = Faults {
        reset: 1.0,
        reset_after: Duration::ZERO..=Duration::ZERO,
        ..none()
    };
    let reset = with(reset);
    assert_eq!(reset.times("Break"), 1);
    assert!(reset.has_error("ResetArrive", ErrorKind::ConnectionReset));
    assert!(reset.ends[0].is_some_and(|end| !end.is_clean()));
}

#[test]
fn connections_are_refused_lost_made_late_and_not_accepted() {
    let none = Faults::none;
    let refused = with(Faults {
        refuse: 1.0,
        ..none()
    });
    assert!(refused.has_error("ConnectFailed", ErrorKind::ConnectionRefused));

    let lost = Faults {
        lose_attempt: 1.0,
        ..none()
    };
    assert!(with(lost.clone()).has_error("ConnectFailed", ErrorKind::TimedOut));
    let impatient = play(lost, 1, &Limits::default(), |_| {});
    assert_eq!(impatient.ends, [Some(CloseReason::ConnectTimeout)]);

    let half = Faults {
        lose_attempt: 0.5,
        ..none()
    };
    let late = play(half, 10, &patient(), |_| {});
    assert!(late.times("Connected") > 5 && late.elapsed >= Duration::from_secs(1));

    // Four come while nobody accepts: with a backlog of one, three of them have to come again.
    let sleep = |world: &mut World| {
        let server = world.host("server");
        world.pause(server, Duration::from_millis(500));
    };
    for (max_backlog, is_late) in [(None, false), (Some(1), true)] {
        let seen = play(
            Faults {
                max_backlog,
                ..none()
            },
            4,
            &patient(),
            sleep,
        );
        assert_eq!(seen.times("Accept"), 4);
        assert_eq!(
            seen.elapsed >= Duration::from_secs(1),
            is_late,
            "{:?}",
            seen.elapsed
        );
    }

    let exhausted = with(Faults {
        exhaust: 0.9,
        ..none()
    });
    assert!(exhausted.counts("AcceptFailed").contains(&24), "EMFILE");
    assert_eq!(exhausted.times("Accept"), 1);

    let left = with(Faults {
        abort_accept: 1.0,
        ..none()
    });
    assert!(left.has_error("AcceptFailed", ErrorKind::ConnectionAborted));
}

#[test]
fn hang_ups_and_errors_are_told_alone() {
    // The bits of an event: readable, writable, read closed, write closed, error.
    let (hang_up, both_ways, error) = (4, 12, 16);
    let bare = Faults {
        bare_hang_up: 1.0,
        repeat_event: 0.0,
        ..Faults::none()
    };
    let ended = with(bare.clone());
    assert!(
        ended.counts("Event").contains(&hang_up),
        "{:?}",
        ended.counts("Event")
    );
    let broken = Faults {
        reset: 1.0,
        reset_after: Duration::ZERO..=Duration::ZERO,
        ..bare
    };
    let events = play(broken, 20, &patient(), |_| {}).counts("Event");
    assert!(
        events.contains(&both_ways) && events.contains(&error),
        "{events:?}"
    );
}

/// Bytes of a message.
const LEN: usize = 10_000;
