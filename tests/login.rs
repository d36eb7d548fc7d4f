//! The example `login`: who gets in, who does not, and that nobody else waits for that.
//!
//! Most of it runs on the network in memory, with the clerk's part done by the test, one question
//! at a time; the last tests run the example as a user would.

#![allow(
    clippy::unwrap_used,
    reason = "a test may; the rule is for the library"
)]

mod running;

/// Its parts.
#[allow(dead_code)]
#[path = "../examples/login"]
mod example {
    pub(crate) mod clerk;
    pub(crate) mod door;
    pub(crate) mod users;
}

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;
use std::{env, fs, process, thread};

use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, Version};
use windlass::net::{Address, Memory, MemoryPeer};
use windlass::protocol::auth::{AttemptLimits, Attempts};
use windlass::{Echo, Lines, Reactor};

use example::clerk::{self, Desk, Question};
use example::door::{Door, MAX_LINE_LEN};
use example::users::{Users, UsersError};
use running::{PATIENCE, Running, command};

const LOGIN: &str = "10.0.0.1:7200";
const ECHO: &str = "10.0.0.1:7201";
const RIGHT: &[u8] = b"LOGIN anne correct horse\n";
const WRONG: &[u8] = b"LOGIN anne wrong\n";

// --- What the tests share ---------------------------------------------------------------------

/// A line of a file of users, that costs next to nothing to check.
fn user(name: &str, password: &str) -> String {
    user_at(name, password, Algorithm::Argon2id, 8)
}

fn user_at(name: &str, password: &str, algorithm: Algorithm, kib: u32) -> String {
    let costs = Params::new(kib, 1, 1, None).unwrap();
    let argon2 = Argon2::new(algorithm, Version::default(), costs);
    let hash: PasswordHash = argon2.hash_password(password.as_bytes()).unwrap();
    format!("{name}:{hash}\n")
}

/// A server whose clerk does nothing by himself.
struct Rig {
    memory: Memory,
    reactor: Reactor<Memory>,
    questions: Receiver<Question>,
    users: Users,
    attempts: Attempts,
    undeliverable: Rc<Cell<usize>>,
}

impl Rig {
    /// With a desk for `len` questions.
    fn new(len: usize) -> Rig {
        Rig::limited(len, 1_000_000)
    }

    fn limited(len: usize, burst: u32) -> Rig {
        let memory = Memory::new();
        let mut reactor = Reactor::with_network(memory.clone());
        let (desk, questions) = Desk::new(len);
        let attempts = Attempts::new(AttemptLimits {
            burst,
            ..AttemptLimits::default()
        });
        let limiting = attempts.clone();
        reactor
            .listen(LOGIN, move |peer| Door::open(&desk, &limiting, peer))
            .unwrap();
        reactor.listen(ECHO, |_| Echo::<Lines>::default()).unwrap();
        let undeliverable = Rc::new(Cell::new(0));
        let counted = Rc::clone(&undeliverable);
        reactor.on_undeliverable(move |_, _| counted.set(counted.get() + 1));
        Rig {
            memory,
            reactor,
            questions,
            users: Users::parse(&user("anne", "correct horse")).unwrap(),
            attempts,
            undeliverable,
        }
    }

    fn turn(&mut self) {
        for _ in 0..10 {
            self.reactor.turn(Some(Duration::ZERO)).unwrap();
        }
    }

    fn connect(&mut self) -> MemoryPeer {
        self.connect_to(LOGIN)
    }

    fn connect_to(&mut self, address: &str) -> MemoryPeer {
        let address: Address = address.parse().unwrap();
        let peer = self.memory.connect_peer(&address).unwrap();
        self.turn();
        peer
    }

    /// Sends, and answers what comes back without the clerk.
    fn say(&mut self, peer: &MemoryPeer, bytes: &[u8]) -> String {
        assert_eq!(peer.send(bytes), bytes.len());
        self.turn();
        heard(peer)
    }

    /// The clerk answers what lies on his desk; answers how many questions that were.
    fn work(&mut self) -> usize {
        let remote = self.reactor.remote().unwrap();
        let mut answered = 0;
        loop {
            match self.questions.try_recv() {
                Ok(question) => clerk::answer(question, &self.users, &remote).unwrap(),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => panic!("nobody can ask any more"),
            }
            answered += 1;
        }
        self.turn();
        answered
    }

    /// What is answered to a first line of a new connection, with the clerk's help.
    #[track_caller]
    fn check(&mut self, line: &[u8], answer: &str) {
        let peer = self.connect();
        assert_eq!(self.say(&peer, line), "", "before the clerk has answered");
        assert_eq!(self.work(), 1);
        assert_eq!(heard(&peer), answer);
    }

    /// Listeners are entries as well, as is every connection that has not ended.
    fn connections(&self) -> usize {
        self.reactor.stats().entries - 2
    }
}

fn heard(peer: &MemoryPeer) -> String {
    String::from_utf8(peer.received()).unwrap()
}

// --- The door ---------------------------------------------------------------------------------

#[test]
fn the_right_password_lets_in_and_nothing_else_does() {
    let mut rig = Rig::new(1);
    rig.check(RIGHT, "OK\n");
    rig.check(b"LOGIN anne correct horse\r\n", "OK\n");
    rig.check(WRONG, "DENIED\n");
    rig.check(b"LOGIN anne correct horse \n", "DENIED\n");
    rig.check(b"LOGIN anne  correct horse\n", "DENIED\n");
    rig.check(b"LOGIN anne correct hors\n", "DENIED\n");
    rig.check(b"LOGIN anne \xff\x00\n", "DENIED\n");
}

#[test]
fn a_name_that_nobody_has_is_answered_as_a_wrong_password_is_and_costs_the_clerk_as_much() {
    let mut rig = Rig::new(1);
    rig.check(b"LOGIN bert correct horse\n", "DENIED\n");
    rig.check(b"LOGIN ANNE correct horse\n", "DENIED\n");
    let (known, unknown) = (rig.users.hash_for("anne"), rig.users.hash_for("bert"));
    assert_eq!(known.params, unknown.params);
}

#[test]
fn whoever_was_denied_may_try_again_on_the_same_connection() {
    let mut rig = Rig::new(1);
    let peer = rig.connect();
    for _ in 0..3 {
        assert_eq!(rig.say(&peer, WRONG), "");
        rig.work();
        assert_eq!(heard(&peer), "DENIED\n");
    }
    assert_eq!(rig.say(&peer, RIGHT), "");
    rig.work();
    assert_eq!(heard(&peer), "OK\n");
}

#[test]
fn what_is_sent_too_early_is_left_to_the_echo_byte_by_byte() {
    let mut rig = Rig::new(1);
    // More behind it than a line of a login may have, and a line that looks like one.
    let long = [&b"x".repeat(2 * MAX_LINE_LEN), &b"\n"[..]].concat();
    let behind = [&long[..], RIGHT, b"half a li"].concat();
    let all = [RIGHT, &behind].concat();
    for first in [RIGHT.len(), RIGHT.len() + 1, all.len() - 1, all.len()] {
        let peer = rig.connect();
        peer.send(&all[..first]);
        assert_eq!(rig.say(&peer, &all[first..]), "");
        assert_eq!(rig.work(), 1, "a line behind the first is no login");
        let echoed = String::from_utf8([&b"OK\n"[..], &long, RIGHT].concat()).unwrap();
        assert_eq!(heard(&peer), echoed, "cut after {first}");
        assert_eq!(rig.say(&peer, b"ne\n"), "half a line\n");
        // It is the echo that answers to its end.
        peer.finish();
        rig.turn();
        assert!(peer.is_finished());
        assert!(!peer.is_reset());
    }
}

#[test]
fn behind_a_wrong_password_the_next_line_is_another_attempt() {
    let mut rig = Rig::new(1);
    let peer = rig.connect();
    let both = [WRONG, RIGHT, b"ahoy\n"].concat();
    assert_eq!(rig.say(&peer, &both), "");
    // One at a time: the desk has room for one, and is not asked for two.
    assert_eq!(rig.work(), 1);
    assert_eq!(heard(&peer), "DENIED\n");
    assert_eq!(rig.work(), 1);
    assert_eq!(heard(&peer), "OK\nahoy\n");
}

#[test]
fn a_desk_that_is_full_is_told_at_once_and_the_attempt_may_be_made_again() {
    let mut rig = Rig::new(2);
    let peers: Vec<_> = (0..5).map(|_| rig.connect()).collect();
    let answers: Vec<_> = peers.iter().map(|peer| rig.say(peer, RIGHT)).collect();
    assert_eq!(answers, ["", "", "BUSY\n", "BUSY\n", "BUSY\n"]);
    assert_eq!(rig.work(), 2);
    assert_eq!(
        (heard(&peers[0]), heard(&peers[4])),
        ("OK\n".into(), String::new())
    );
    assert_eq!(rig.say(&peers[4], RIGHT), "");
    rig.work();
    assert_eq!(heard(&peers[4]), "OK\n");
}

#[test]
fn an_address_that_tries_too_often_has_to_wait_whatever_it_says() {
    let mut rig = Rig::limited(10, 3);
    for _ in 0..3 {
        rig.check(WRONG, "DENIED\n");
    }
    let peer = rig.connect();
    assert_eq!(rig.say(&peer, RIGHT), "TOO MANY ATTEMPTS\n");
    assert!(peer.is_finished());
    assert_eq!(rig.work(), 0, "the clerk does not hear of it");
    assert_eq!(rig.attempts.refused(), 1);
    rig.memory.advance(Duration::from_secs(1));
    rig.check(RIGHT, "OK\n");
}

#[test]
fn what_is_no_login_ends_the_connection_with_a_word() {
    let mut rig = Rig::new(1);
    let overlong = [b"LOGIN anne ", &b"x".repeat(MAX_LINE_LEN)[..], b"\n"].concat();
    let lines: [&[u8]; 11] = [
        b"\n",
        b"LOGIN\n",
        b"LOGIN anne\n",
        b"LOGIN anne \n",
        b"LOGIN  password\n",
        b"LOGIN a:b password\n",
        b"LOGIN \xff password\n",
        b"login anne correct horse\n",
        b"GET / HTTP/1.1\r\n",
        &overlong,
        // Nobody waits for the end of a line that is too long already.
        &overlong[..MAX_LINE_LEN + 2],
    ];
    for line in lines {
        let peer = rig.connect();
        assert_eq!(
            rig.say(&peer, line),
            "MALFORMED\n",
            "{}",
            line.escape_ascii()
        );
        assert!(peer.is_finished());
    }
    assert_eq!(rig.work(), 0);
    // The longest that there is.
    let longest = [&overlong[..MAX_LINE_LEN], b"\n"].concat();
    rig.check(&longest, "DENIED\n");
}

#[test]
fn whoever_takes_too_long_is_told_however_often_he_tries() {
    let mut rig = Rig::new(1);
    let (silent, busy) = (rig.connect(), rig.connect());
    for _ in 0..9 {
        rig.memory.advance(Duration::from_secs(1));
        assert_eq!(rig.say(&busy, WRONG), "");
        rig.work();
        assert_eq!(heard(&busy), "DENIED\n");
    }
    rig.memory.advance(Duration::from_secs(2));
    rig.turn();
    for peer in [silent, busy] {
        assert_eq!(heard(&peer), "TOO SLOW\n");
        assert!(peer.is_finished());
    }
    // It is the door's deadline, not the echo's.
    let peer = rig.connect();
    assert_eq!(rig.say(&peer, RIGHT), "");
    rig.work();
    assert_eq!(heard(&peer), "OK\n");
    rig.memory.advance(Duration::from_secs(60));
    rig.turn();
    assert_eq!(rig.say(&peer, b"ahoy\n"), "ahoy\n");
}

#[test]
fn a_verdict_for_a_client_that_is_gone_changes_nothing() {
    for password in [RIGHT, WRONG] {
        // With a FIN or a reset: nothing is read meanwhile, so that the verdict finds it out.
        for is_reset in [false, true] {
            let mut rig = Rig::new(1);
            let peer = rig.connect();
            rig.say(&peer, password);
            if is_reset {
                peer.reset();
            }
            drop(peer);
            rig.turn();
            assert_eq!(rig.work(), 1);
            assert_eq!(rig.connections(), 0);
            rig.check(RIGHT, "OK\n");
        }
        // Its deadline came first, and its token names nobody any more.
        let mut rig = Rig::new(1);
        let peer = rig.connect();
        rig.say(&peer, password);
        drop(peer);
        rig.memory.advance(Duration::from_secs(11));
        rig.turn();
        assert_eq!(rig.connections(), 0);
        // The slot has a new tenant, who is asked nothing and told nothing.
        let other = rig.connect();
        assert_eq!(rig.work(), 1);
        assert_eq!(rig.undeliverable.get(), 1);
        assert_eq!(heard(&other), "");
        assert_eq!(rig.connections(), 1);
    }
}

#[test]
fn a_verdict_that_comes_after_the_deadline_does_not_let_in() {
    let mut rig = Rig::new(1);
    let peer = rig.connect();
    rig.say(&peer, RIGHT);
    rig.memory.advance(Duration::from_secs(11));
    rig.turn();
    assert_eq!(heard(&peer), "TOO SLOW\n");
    // It lingers until the peer's FIN: the token is still its.
    assert_eq!(rig.connections(), 1);
    rig.work();
    assert_eq!(rig.say(&peer, b"ahoy\n"), "");
    assert_eq!(rig.undeliverable.get(), 0);
}

#[test]
fn a_shutdown_waits_for_no_verdict() {
    let mut rig = Rig::new(1);
    let peer = rig.connect();
    rig.say(&peer, RIGHT);
    rig.reactor.shutdown(Duration::from_secs(10));
    rig.turn();
    assert!(peer.is_finished());
    rig.work();
    assert_eq!(heard(&peer), "");
}

/// Wrong logins, 6,400 of them, beside an echo which must not wait for any. Answers how many were
/// put to the clerk, who answers none of them, and how many were refused.
fn flood(rig: &mut Rig, refusal: &str) -> (u32, u32) {
    let other = rig.connect_to(ECHO);
    let (mut asked, mut refused) = (0, 0);
    for round in 0..100 {
        // As many as a listener accepts in a turn.
        let peers: Vec<_> = (0..64).map(|_| rig.connect()).collect();
        for peer in &peers {
            peer.send(WRONG);
        }
        other.send(b"anybody\n");
        rig.reactor.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(other.received(), b"anybody\n", "round {round}");
        for peer in &peers {
            match heard(peer) {
                answer if answer.is_empty() => asked += 1,
                answer if answer == refusal => refused += 1,
                answer => panic!("{answer}"),
            }
        }
    }
    (asked, refused)
}

#[test]
fn while_logins_flood_in_every_line_is_echoed_in_the_turn_in_which_it_comes() {
    let mut rig = Rig::new(32);
    assert_eq!(flood(&mut rig, "BUSY\n"), (32, 6400 - 32));
    assert_eq!(rig.work(), 32);
}

#[test]
fn a_flood_from_one_address_is_refused_unheard_but_for_its_allowance() {
    let mut rig = Rig::limited(32, 10);
    // What was not asked was not hashed: nobody but the clerk does that.
    assert_eq!(flood(&mut rig, "TOO MANY ATTEMPTS\n"), (10, 6400 - 10));
    assert_eq!((rig.work(), rig.attempts.refused()), (10, 6390));
}

// --- The file of users ------------------------------------------------------------------------

#[test]
fn a_file_of_users_is_refused_at_the_line_that_is_wrong_without_saying_what_it_says() {
    let good = user("anne", "secret");
    let dear = user_at("bert", "secret", Algorithm::Argon2id, 16);
    let other_kind = user_at("bert", "secret", Algorithm::Argon2i, 8);
    let immense = good.replace("m=8,", "m=4294967295,");
    let without = good.rsplit_once('$').unwrap().0;
    for (text, line) in [
        (String::new(), 0),
        ("# nobody\n\n".into(), 0),
        (format!("# who\n\n{good}secret\n"), 4),
        (format!("{good}bert:secret\n"), 2),
        (format!("{good}:secret\n"), 2),
        (format!("{good}{good}"), 2),
        (format!("{good}{dear}"), 2),
        (format!("{good}{other_kind}"), 2),
        (format!("{good}a b{}", &good[4..]), 2),
        (format!("{good}{}", &good[4..]), 2),
        (immense, 1),
        (without.into(), 1),
    ] {
        let error: UsersError = Users::parse(&text)
            .err()
            .unwrap_or_else(|| panic!("{text}"));
        assert_eq!(error.line, line, "{text}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let users = format!("# who\n\n{good}{}", user("bert", "other"));
    let users = Users::parse(&users).unwrap();
    assert!(users.is_right("bert", b"other") && !users.is_right("bert", b"secret"));
}

// --- As a user would run it -------------------------------------------------------------------

/// A folder of its own, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = env::temp_dir().join(format!("windlass-login-{}-{name}", process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// Writes a file of users.
    fn users(&self, text: &str) -> PathBuf {
        let path = self.0.join("users");
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn hash(arguments: &[&str], password: &[u8]) -> Output {
    let mut child = command("login", &[&["hash"], arguments].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Where the name alone is wrong, it may have ended before.
    let _ = child.stdin.take().unwrap().write_all(password);
    child.wait_with_output().unwrap()
}

fn serve(users: &Path, options: &[&str]) -> process::Command {
    let mut command = command("login", &["serve"]);
    command
        .arg(users)
        .args(["--listen", "127.0.0.1:0"])
        .args(options);
    command
}

/// Says everything, and answers all that comes back.
fn converse(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(running::tcp(address)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_hash_that_was_printed_lets_its_user_in_and_no_secret_is_logged() {
    let folder = Folder::new("whole");
    let output = hash(&["anne"], b"correct horse\n");
    assert!(output.status.success());
    let line = String::from_utf8(output.stdout).unwrap();
    assert!(
        line.starts_with("anne:$argon2id$v=19$m=19456,t=2,p=1$"),
        "{line}"
    );
    let mut serve = serve(&folder.users(&line), &["--echo", "127.0.0.1:0"]);
    serve.env("RUST_LOG", "trace").stderr(Stdio::piped());
    let mut running = Running::spawn("login", serve, 2);
    let mut log = running.child.stderr.take().unwrap();
    // Before the log fills the pipe.
    let log = thread::Builder::new().spawn(move || {
        let mut text = String::new();
        log.read_to_string(&mut text).unwrap();
        text
    });
    let (login, echo) = (&running.addresses[0], &running.addresses[1]);
    let all = [RIGHT, b"ahoy\n"].concat();
    assert_eq!(converse(login, &all), "OK\nahoy\n");
    assert_eq!(converse(login, b"LOGIN anne hunter2\n"), "DENIED\n");
    assert_eq!(converse(login, b"LOGIN hunter2 hunter2\n"), "DENIED\n");
    assert_eq!(converse(login, b"hunter2\n"), "MALFORMED\n");
    assert_eq!(converse(echo, b"ahoy\n"), "ahoy\n");
    running.terminate();
    let log = log.unwrap().join().unwrap();
    assert!(log.contains("anne is logged in"), "{log}");
    for secret in ["correct horse", "hunter2", line.trim_end(), "argon2id"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

#[test]
fn the_same_password_has_another_hash_each_time_and_one_that_fits_no_line_has_none() {
    let [first, second] = [(), ()].map(|()| hash(&[], b"correct horse").stdout);
    assert!(first.starts_with(b"$argon2id$") && first != second);
    let too_long = b"x".repeat(MAX_LINE_LEN + 1);
    for (arguments, password) in [
        (&["anne"][..], &b""[..]),
        (&["anne"], b"\n"),
        (&["anne"], &too_long),
        (&["an ne"], b"password"),
        (&["an:ne"], b"password"),
    ] {
        let output = hash(arguments, password);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
}

#[test]
fn it_ends_while_passwords_wait_to_be_checked() {
    let folder = Folder::new("ends");
    // Each of these takes a good while.
    let users = folder.users(&user_at("anne", "x", Algorithm::Argon2id, 64 * 1024));
    let running = Running::spawn("login", serve(&users, &[]), 1);
    let mut streams = Vec::new();
    for _ in 0..10 {
        let mut stream = TcpStream::connect(running.address()).unwrap();
        stream.write_all(WRONG).unwrap();
        streams.push(stream);
    }
    drop(streams);
    running.terminate();
}
