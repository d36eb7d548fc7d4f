//! The examples, run as a user would run them: each test starts the program, reads where it
//! listens, and talks to it over plain sockets.
//!
//! Knows nothing of the library. `cargo test` builds the examples; `cargo test --test examples`
//! alone does not.

mod running;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::{self, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use rustix::process::Signal;
use socket2::{Domain, SockRef, Socket, Type};

use running::{PATIENCE, Running, check_exit, command, tcp};

impl Running {
    #[track_caller]
    fn connect(&self) -> Client {
        Client::connect(&self.addresses[0])
    }
}

/// A client of an example, that does not wait for ever.
struct Client(BufReader<TcpStream>);

impl Client {
    #[track_caller]
    fn connect(address: &str) -> Client {
        Client::new(TcpStream::connect(tcp(address)).expect("it listens"))
    }

    fn new(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream
            .set_write_timeout(Some(PATIENCE))
            .expect("a time-out");
        Client(BufReader::new(stream))
    }

    #[track_caller]
    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0
            .get_mut()
            .write_all(bytes.as_ref())
            .expect("it takes what is sent");
    }

    /// Whether anything comes within that time.
    fn hears_within(&self, time: Duration) -> bool {
        let stream = self.0.get_ref();
        stream.set_read_timeout(Some(time)).expect("a time-out");
        let heard = stream.peek(&mut [0]).is_ok();
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        heard
    }

    fn finish_writes(&self) {
        self.0
            .get_ref()
            .shutdown(Shutdown::Write)
            .expect("it is connected");
    }

    /// The next bytes are `expected`.
    #[track_caller]
    fn expect(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let mut received = vec![0; expected.len()];
        self.0.read_exact(&mut received).expect("an answer");
        assert_eq!(
            received.escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
    }

    /// The peer ends, and nothing comes before that.
    #[track_caller]
    fn expect_end(&mut self) {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).expect("an orderly end");
        assert_eq!(rest.escape_ascii().to_string(), "");
    }

    /// Reads lines up to one that `is_last`.
    #[track_caller]
    fn lines_until(&mut self, is_last: impl Fn(&str) -> bool) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        while !lines.last().is_some_and(|line| is_last(line)) {
            let mut line = String::new();
            let len = self.0.read_line(&mut line).expect("a line");
            assert_ne!(len, 0, "the end, after {} lines", lines.len());
            lines.push(line.trim_end().to_owned());
        }
        lines
    }
}

/// A path for a socket, of this run alone.
fn socket_path(name: &str) -> String {
    let path = env::temp_dir().join(format!("windlass-{name}-{}", process::id()));
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// Enters the chat; answers once that is done.
#[track_caller]
fn enter_chat(address: &str, nick: &str, members: &str) -> Client {
    enter_chat_on(Client::connect(address), nick, members)
}

#[track_caller]
fn enter_chat_on(mut client: Client, nick: &str, members: &str) -> Client {
    client.expect("-- Welcome! What is your name?\n");
    client.send(format!("{nick}\n"));
    client.expect(format!("-- Hello, {nick}! /help says what you can do\n"));
    client.expect(format!("-- In lobby: {members}\n"));
    client
}

const EXAMPLES: [&str; 5] = ["echo", "chat", "forward", "serve", "embed"];
/// Those whose argument is an address.
const WITH_ADDRESS: [&str; 4] = ["echo", "chat", "forward", "embed"];

#[test]
fn help_names_the_default_address() {
    for name in EXAMPLES {
        let output = check_exit(name, &["--help"], 0);
        let help = String::from_utf8(output.stdout).expect("text");
        assert!(help.contains("[default: 127.0.0.1"), "{name}: {help}");
    }
}

#[test]
fn bad_arguments_exit_with_2() {
    for name in EXAMPLES {
        check_exit(name, &["--no-such-option"], 2);
        let output = check_exit(name, &["localhost"], 2);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("localhost"), "{name}: {stderr}");
    }
    check_exit("echo", &["--framing", "nonsense"], 2);
    check_exit("forward", &["--to", "localhost"], 2);
    check_exit("serve", &["--echo", "localhost"], 2);
    check_exit("serve", &["--stats", "0"], 2);
    check_exit("chat", &["--patience", "0"], 2);
}

#[test]
fn a_folder_that_is_not_there_exits_with_1_and_one_line_that_names_it() {
    let listen = "127.0.0.1:0";
    for (name, args) in [
        ("files", ["serve", "/nowhere", "--listen", listen]),
        ("tftp", [listen, "--root", "/nowhere", "--write"]),
    ] {
        let output = check_exit(name, &args, 1);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.starts_with("/nowhere: "), "{name}: {said}");
        assert_eq!(said.lines().count(), 1, "{name}: {said}");
    }
}

#[test]
fn an_address_that_is_taken_exits_with_1_and_one_line_that_names_it() {
    let echo = Running::start("echo", &["127.0.0.1:0"]);
    let taken = echo.address();
    let check = |name, args: &[&str]| {
        let output = check_exit(name, args, 1);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let expected = format!("cannot listen on {taken}: Address already in use (os error 98)\n");
        assert_eq!(stderr, expected, "{name}");
        assert!(output.stdout.is_empty(), "{name} announced a socket");
    };
    for name in WITH_ADDRESS {
        check(name, &[taken]);
    }
    check("serve", &["--port0", "--chargen", taken]);
}

#[test]
fn every_example_listens_on_a_unix_path_and_removes_it_at_its_end() {
    for name in WITH_ADDRESS {
        let path = &socket_path(name);
        let running = Running::start(name, &[&format!("unix:{path}")]);
        assert_eq!(running.addresses, [format!("unix://{path}")]);
        UnixStream::connect(path).expect("it listens");
        running.terminate();
        assert!(!fs::exists(path).expect("a file or none"), "{path}");
    }
}

#[test]
fn echo_sends_back_raw_bytes() {
    let echo = Running::start("echo", &["127.0.0.1:0"]);
    let mut client = echo.connect();
    client.send(b"no line end");
    client.expect(b"no line end");
    client.send(b"and more");
    client.finish_writes();
    client.expect(b"and more");
    client.expect_end();
    echo.terminate();
}

#[test]
fn echo_sends_back_whole_lines() {
    let echo = Running::start("echo", &["127.0.0.1:0", "--framing", "lines"]);
    let mut client = echo.connect();
    client.send("one\r\ntwo\nthr");
    client.expect("one\ntwo\n");
    client.send("ee\n");
    client.expect("three\n");
    drop(client);
    echo.terminate();
}

#[test]
fn echo_sends_back_frames_behind_a_length() {
    let echo = Running::start("echo", &["127.0.0.1:0", "--framing", "length"]);
    let mut client = echo.connect();
    client.send(b"\0\0\0\x03one\0\0\0\0\0\0\0\x03t");
    client.expect(b"\0\0\0\x03one\0\0\0\0");
    client.send(b"wo");
    client.expect(b"\0\0\0\x03two");
    drop(client);
    echo.terminate();
}

/// Begins to receive a large reply, has `end` end the example, and receives the rest.
#[track_caller]
fn check_drain(mut client: Client, end: impl FnOnce()) {
    let body: Vec<u8> = (0..900_000_u32).map(|at| (at / 7) as u8).collect();
    let mut frame = 900_000_u32.to_be_bytes().to_vec();
    frame.extend(body);
    client.send(&frame);
    client.expect(&frame[..1]);
    end();
    client.expect(&frame[1..]);
    client.expect_end();
}

#[test]
fn echo_completes_on_sigterm_the_reply_it_has_begun() {
    let echo = Running::start("echo", &["127.0.0.1:0", "--framing", "length"]);
    check_drain(echo.connect(), || echo.signal(Signal::TERM));
    echo.ends();
}

#[test]
fn echo_drains_on_ctrl_c_as_well() {
    let echo = Running::start("echo", &["127.0.0.1:0", "--framing", "length"]);
    check_drain(echo.connect(), || echo.signal(Signal::INT));
    echo.ends();
}

#[test]
fn chat_tells_everybody_in_the_room_and_nobody_else() {
    let chat = Running::start("chat", &["127.0.0.1:0"]);
    let address = &chat.addresses[0];
    let mut anne = enter_chat(address, "anne", "anne");
    let mut bert = enter_chat(address, "bert", "anne, bert");
    let mut cleo = enter_chat(address, "cleo", "anne, bert, cleo");
    anne.expect("-- bert is here\n-- cleo is here\n");
    bert.expect("-- cleo is here\n");

    anne.send("ahoy\n/me waves\n");
    bert.expect("anne: ahoy\n* anne waves\n");
    cleo.expect("anne: ahoy\n* anne waves\n");

    cleo.send("/join tea\n");
    cleo.expect("-- In tea: cleo\n");
    bert.expect("-- cleo has gone to tea\n");
    anne.expect("-- cleo has gone to tea\n");
    bert.send("/rooms\n/who\nshe has gone\n");
    bert.expect("-- lobby (2), tea (1)\n-- anne, bert\n");
    anne.expect("bert: she has gone\n");

    bert.send("/nick bob\n/join tea\n");
    bert.expect("-- In lobby: anne, bob\n-- In tea: bob, cleo\n");
    anne.expect("-- bert is now bob\n-- bob has gone to tea\n");
    cleo.expect("-- bob is here\n");

    cleo.send("/quit\n");
    cleo.expect("-- Bye!\n");
    cleo.expect_end();
    bert.expect("-- cleo has left\n");
    chat.signal(Signal::TERM);
    bert.expect("-- The server shuts down\n");
    bert.expect_end();
    drop((anne, bert, cleo));
    chat.ends();
}

#[test]
fn chat_refuses_bad_and_taken_names_and_lines_that_are_too_long() {
    let chat = Running::start("chat", &["127.0.0.1:0"]);
    let mut anne = enter_chat(&chat.addresses[0], "anne", "anne");
    let mut other = chat.connect();
    other.expect("-- Welcome! What is your name?\n");
    let rule = "-- A name has 1 to 16 letters (a-z), digits or underscores\n";
    for name in ["two words", "seventeen_letters", "\u{e4}", "/me"] {
        other.send(format!("{name}\n"));
        other.expect(rule);
    }
    other.send("anne\n");
    other.expect("-- anne is taken; choose another name\n");

    anne.send(format!("{}\n", "x".repeat(1025)));
    anne.expect("-- Not sent: a line has at most 1024 bytes\n");
    anne.send("/nowhere\n");
    anne.expect("-- What? Try /help\n");
    // Whoever ends with a half-close, as `nc -N` does, has said all that came before.
    other.send("bert\ngood\x1b[2Jbye");
    other.send("\n");
    other.finish_writes();
    anne.expect("-- bert is here\nbert: good[2Jbye\n-- bert has left\n");
    drop(anne);
    chat.terminate();
}

/// A member who takes next to nothing, because the kernel keeps little for it.
#[track_caller]
fn enter_slowly(address: &str, nick: &str, members: &str) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a buffer's size");
    let to: SocketAddr = tcp(address).parse().expect("an address");
    socket.connect(&to.into()).expect("it listens");
    enter_chat_on(Client::new(socket.into()), nick, members)
}

/// Says more than the kernel and the chat server keep for a slow member.
#[track_caller]
fn say_much(client: &mut Client) {
    let line = format!("{}\n", "y".repeat(1000));
    for _ in 0..10 {
        client.send(line.repeat(1000));
    }
}

#[test]
fn a_slow_member_of_the_chat_is_told_how_much_it_missed() {
    let chat = Running::start("chat", &["127.0.0.1:0"]);
    let mut slow = enter_slowly(&chat.addresses[0], "slow", "slow");
    let mut anne = enter_chat(&chat.addresses[0], "anne", "anne, slow");
    say_much(&mut anne);
    anne.send("/who\n");
    anne.expect("-- anne, slow\n");
    // Its own request is read when there is room for the answer: behind every report.
    slow.send("/who\n");
    let lines = slow.lines_until(|line| line == "-- anne, slow");
    let heard = lines
        .iter()
        .filter(|line| line.starts_with("anne: "))
        .count();
    let report = |line: &String| {
        let missed = line.strip_prefix("-- You were too slow, and missed ")?;
        missed.strip_suffix(" messages")?.parse::<usize>().ok()
    };
    let missed: usize = lines.iter().filter_map(report).sum();
    assert!(missed > 0);
    assert_eq!(heard + missed, 10_000);
    drop((anne, slow));
    chat.terminate();
}

#[test]
fn a_member_of_the_chat_that_takes_nothing_is_put_out_and_the_others_are_told() {
    let chat = Running::start("chat", &["127.0.0.1:0", "--patience", "1"]);
    let slow = enter_slowly(&chat.addresses[0], "slow", "slow");
    let mut anne = enter_chat(&chat.addresses[0], "anne", "anne, slow");
    // A full socket may have room once more for all that is queued, without its peer: then nobody
    // is owed anything until there is more to say.
    for _ in 0..10 {
        say_much(&mut anne);
        if anne.hears_within(Duration::from_secs(2)) {
            break;
        }
    }
    anne.expect("-- slow was too slow, and is out\n");
    drop((anne, slow));
    chat.terminate();
}

/// A forwarder to a server that the test itself plays: the server's end of a connection, and the
/// client's.
struct Forwarded {
    forward: Running,
    client: Client,
    server: Client,
}

#[track_caller]
fn forwarded() -> Forwarded {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let to = listener.local_addr().expect("an address").to_string();
    let forward = Running::start("forward", &["127.0.0.1:0", "--to", &to]);
    let client = forward.connect();
    let (server, _) = listener.accept().expect("a connection");
    Forwarded {
        client,
        server: Client::new(server),
        forward,
    }
}

#[test]
fn forward_passes_on_a_half_close_of_either_side() {
    let Forwarded {
        forward,
        mut client,
        mut server,
    } = forwarded();
    client.send("request");
    client.finish_writes();
    server.expect("request");
    server.expect_end();
    server.send("answer");
    client.expect("answer");
    drop(server);
    client.expect_end();
    forward.terminate();

    let Forwarded {
        forward,
        mut client,
        mut server,
    } = forwarded();
    server.send("greeting");
    server.finish_writes();
    client.expect("greeting");
    client.expect_end();
    client.send("late");
    server.expect("late");
    drop(client);
    server.expect_end();
    forward.terminate();
}

#[test]
fn forward_passes_on_a_reset() {
    let Forwarded {
        forward,
        mut client,
        server,
    } = forwarded();
    let socket = SockRef::from(server.0.get_ref());
    socket.set_linger(Some(Duration::ZERO)).expect("an option");
    drop(server);
    let error = client.0.read(&mut [0]).expect_err("no orderly end");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    forward.terminate();
}

#[test]
fn forward_resets_a_client_whose_server_is_not_there() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let to = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let mut command = command("forward", &["127.0.0.1:0", "--to", &to]);
    command.stderr(Stdio::piped());
    let mut forward = Running::spawn("forward", command, 1);
    let mut client = forward.connect();
    let error = client.0.read(&mut [0]).expect_err("no orderly end");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let mut stderr = forward.child.stderr.take().expect("it is piped");
    forward.terminate();
    let mut log = String::new();
    stderr.read_to_string(&mut log).expect("text");
    assert!(
        log.contains("to the server: connect failed: Connection refused"),
        "{log}"
    );
}

#[test]
fn forward_loses_nothing_when_the_server_is_slower_than_the_client() {
    let Forwarded {
        forward,
        mut client,
        mut server,
    } = forwarded();
    // Much more than may be queued: without back-pressure the connection would be reset.
    let sent: Vec<u8> = (0..32 << 20).map(|at: u32| (at / 5) as u8).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            client.send(&sent);
            client.finish_writes();
        });
        let mut received = Vec::new();
        server.0.read_to_end(&mut received).expect("an orderly end");
        assert!(received == sent, "{} bytes, or others", received.len());
    });
    drop((client, server));
    forward.terminate();
}

#[test]
fn forward_completes_on_sigterm_the_reply_it_has_begun() {
    let echo = Running::start("echo", &["127.0.0.1:0", "--framing", "length"]);
    let forward = Running::start("forward", &["127.0.0.1:0", "--to", echo.address()]);
    check_drain(forward.connect(), || forward.signal(Signal::TERM));
    forward.ends();
    echo.terminate();
}

#[test]
fn a_second_signal_ends_a_drain_at_once() {
    let Forwarded {
        mut forward,
        client,
        mut server,
    } = forwarded();
    forward.signal(Signal::TERM);
    // This is how the drain begins, and nobody ends it.
    server.expect_end();
    forward.signal(Signal::TERM);
    let status = forward.child.wait().expect("it ends");
    assert_eq!(status.code(), Some(1));
    drop(client);
}

/// Whoever sends `sent` is answered with what begins with `reply`.
#[track_caller]
fn check_reply(address: &str, sent: &[u8], reply: &[u8]) {
    let mut client = Client::connect(address);
    client.send(sent);
    client.expect(reply);
}

/// The page names every service, and its counters come as long as one looks.
#[track_caller]
fn check_page(address: &str) {
    let mut client = Client::connect(address);
    client.send("GET / HTTP/1.0\r\n\r\n");
    let mut page = String::new();
    client.0.read_to_string(&mut page).expect("the page");
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    for name in [
        "echo",
        "chat",
        "echo-lines",
        "echo-length",
        "discard",
        "chargen",
        "http",
    ] {
        assert!(page.contains(&format!("data-service=\"{name}\"")), "{name}");
    }
    assert!(
        !page.contains("{{") && !page.contains("src="),
        "nothing is left out or elsewhere"
    );

    let mut client = Client::connect(address);
    client.send("GET /counters HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut turns = Vec::new();
    while turns.len() < 2 {
        let mut line = String::new();
        assert_ne!(client.0.read_line(&mut line).expect("counters"), 0);
        if let Some(json) = line.strip_prefix("data: ") {
            let counters: serde_json::Value = serde_json::from_str(json).expect("JSON");
            assert!(
                counters["services"]["echo"]["accepted"].as_u64() >= Some(1),
                "{json}"
            );
            turns.push(counters["turns"].as_u64().expect("a number"));
        }
    }
    assert!(turns[0] < turns[1], "they move: {turns:?}");
}

#[test]
fn serve_offers_every_service() {
    let chargen = format!("unix:{}", socket_path("chargen"));
    let serve = command(
        "serve",
        &["--port0", "--chargen", &chargen, "--stats", "3600"],
    );
    let sockets = if cfg!(feature = "hub") { 10 } else { 9 };
    let serve = Running::spawn("serve", serve, sockets);
    let [
        echo,
        chat,
        echo_lines,
        echo_length,
        discard,
        chargen,
        http,
        udp_echo,
        ..,
    ] = &serve.addresses[..]
    else {
        panic!("{:?}", serve.addresses);
    };

    check_reply(echo, b"hello", b"hello");
    check_reply(
        chat,
        b"anne\n/quit\n",
        b"-- Welcome! What is your name?\n-- Hello, anne!",
    );
    check_reply(echo_lines, b"one\ntw", b"one\n");
    check_reply(echo_length, b"\0\0\0\x02hi\0", b"\0\0\0\x02hi");
    check_reply(discard, b"anything", b"");
    check_page(http);
    check_datagram(udp_echo, b"ahoy");

    let path = chargen.strip_prefix("unix://").expect("a path");
    let mut client = UnixStream::connect(path).expect("it listens");
    let mut received = vec![0; 74];
    client.read_exact(&mut received).expect("a line");
    // It has no end but that of the server, and that comes between two lines.
    serve.signal(Signal::TERM);
    client.read_to_end(&mut received).expect("an orderly end");
    assert_eq!(received.len() % 74, 0);
    assert!(received.ends_with(b"\r\n"));
    drop(client);
    serve.ends();
}

/// Sends a datagram, and gets the same back.
#[track_caller]
fn check_datagram(address: &str, bytes: &[u8]) {
    assert_eq!(ask(&datagrams(address), bytes), bytes);
}

/// A client of an example that serves datagrams.
#[track_caller]
fn datagrams(address: &str) -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    client.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let address = address.strip_prefix("udp://").expect("a UDP address");
    client.connect(address).expect("an address");
    client
}

/// Sends a datagram, and answers with the next one that comes.
#[track_caller]
fn ask(client: &UdpSocket, bytes: &[u8]) -> Vec<u8> {
    client.send(bytes).expect("it is sent");
    next(client)
}

#[track_caller]
fn next(client: &UdpSocket) -> Vec<u8> {
    let mut bytes = vec![0; 65_536];
    let len = client.recv(&mut bytes).expect("an answer");
    bytes.truncate(len);
    bytes
}

#[test]
fn http_logs_each_request_in_a_line_of_its_own() {
    let common = "127.0.0.1 - - [";
    for (format, beginning) in [("common", common), ("combined", common), ("json", "{")] {
        let mut command = command("http", &["127.0.0.1:0", "--access-log", format]);
        command.stderr(Stdio::piped());
        let mut http = Running::spawn("http", command, 1);
        let mut stderr = http.child.stderr.take().expect("it is piped");
        let mut client = http.connect();
        client.send("GET /plaintext HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        client.lines_until(str::is_empty);
        drop(client);
        http.terminate();
        let mut log = String::new();
        stderr.read_to_string(&mut log).expect("text");
        let line = log.lines().find(|line| line.contains("/plaintext"));
        let is_alone = line.is_some_and(|line| line.starts_with(beginning));
        assert!(is_alone, "{format}: {log}");
    }
}

#[test]
fn http_says_what_it_takes_when_it_echoes_anything() {
    let http = Running::start("http", &["127.0.0.1:0", "--echo-any"]);
    let mut client = http.connect();
    for (method, status) in [("OPTIONS", "204"), ("PUT", "405")] {
        client.send(format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n"));
        let head = client.lines_until(str::is_empty);
        assert!(
            head[0].starts_with(&format!("HTTP/1.1 {status} ")),
            "{head:?}"
        );
        let allow = head.iter().find(|line| line.starts_with("Allow: "));
        assert_eq!(
            allow.map(String::as_str),
            Some("Allow: GET, HEAD, OPTIONS, POST")
        );
    }
    http.terminate();
}

/// Digests on the wire, as another program makes them: files, answers, and uploads that are refused
/// before anything is done with them.
#[cfg(feature = "digest")]
#[test]
fn http_tells_digests_of_files_and_refuses_what_is_not_what_its_digest_says() {
    let root = concat!(env!("CARGO_TARGET_TMPDIR"), "/http-digest");
    fs::create_dir_all(root).expect("a directory");
    let content = "{\"hello\": \"world\"}\n";
    fs::write(format!("{root}/hello.json"), content).expect("a file");
    let http = Running::start("http", &["127.0.0.1:0", "--root", root, "--digest"]);
    let mut client = http.connect();
    let mut ask = |head: &str, fields: &str, body: &str| {
        let len = body.len();
        client.send(format!(
            "{head} HTTP/1.1\r\nHost: h\r\nContent-Length: {len}\r\n{fields}\r\n{body}"
        ));
        let head = client.lines_until(str::is_empty);
        let len = head
            .iter()
            .find_map(|line| line.strip_prefix("Content-Length: "));
        let mut body = vec![0; len.map_or(0, |len| len.parse().expect("a length"))];
        client.0.read_exact(&mut body).expect("a body");
        (head, String::from_utf8(body).expect("text"))
    };
    let digest = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
    let wants = "Want-Repr-Digest: sha-256=1\r\nWant-Content-Digest: sha-256=1\r\n";
    for target in ["/files/hello.json", "/plaintext"] {
        let (head, body) = ask(&format!("GET {target}"), wants, "");
        let digest = match body == content {
            true => digest,
            // "Hello, World!"
            false => "sha-256=:3/1gIbsr1bCvZ2KQgJ7DpTGR3YHH9wpLKGiKNiGCmG8=:",
        };
        for name in ["Repr-Digest", "Content-Digest"] {
            assert!(head.contains(&format!("{name}: {digest}")), "{head:?}");
        }
    }

    let note = |digest: &str| format!("Content-Digest: {digest}\r\n");
    let (head, _) = ask("POST /notes", &note(digest), content);
    assert_eq!(head[0], "HTTP/1.1 201 Created");
    // Digest and note are others': refused, and the note stays.
    for (method, target) in [("PUT", "/notes/1"), ("POST", "/notes"), ("PUT", "/upload")] {
        let (head, body) = ask(
            &format!("{method} {target}"),
            &note(digest),
            "{\"hello\": 1}",
        );
        assert_eq!(head[0], "HTTP/1.1 400 Bad Request", "{target}");
        assert!(body.contains("Wrong digest"), "{body}");
    }
    let (_, notes) = ask("GET /notes", "", "");
    assert_eq!(notes, "{\"1\":{\"hello\":\"world\"}}");
    let (head, body) = ask("PUT /upload", &note(digest), content);
    assert_eq!(head[0], "HTTP/1.1 200 OK");
    assert!(body.contains("\"bytes\":19"), "{body}");
    http.terminate();
}

#[test]
fn udp_broadcast_shows_who_is_there_and_who_is_no_longer() {
    let alone = ["0.0.0.0:0", "--to", "127.255.255.255:9"];
    let mut bert = Running::spawn("udp_broadcast", command("udp_broadcast", &alone), 2);
    let (_, port) = bert.addresses[0].rsplit_once(':').expect("a port");
    let port = port.to_owned();
    // Somebody who announces itself every 10 ms, and does so once.
    let mut announcement = b"WLDA\x01\0\0\0".to_vec();
    announcement.extend([7_u64.to_be_bytes(), 1_u64.to_be_bytes()].as_flattened());
    announcement.extend(10_u32.to_be_bytes());
    announcement.extend(b"brief");
    let client = datagrams(&format!("udp://127.0.0.1:{port}"));
    client.send(&announcement).expect("it is sent");
    bert.line_until(|line| line.ends_with("brief"));
    bert.line_until(|line| line == "0 there");
    // And a second one of the same program.
    let to = format!("127.255.255.255:{port}");
    let args = [&format!("0.0.0.0:{port}"), "--to", &to, "--name", "anne"];
    let anne = Running::spawn("udp_broadcast", command("udp_broadcast", &args), 2);
    bert.line_until(|line| line == "1 there");
    let line = bert.line_until(|_| true);
    assert!(line.ends_with(" anne"), "{line}");
    // She hears herself alone, who does not count.
    anne.terminate();
}

#[test]
#[cfg(feature = "hub")]
fn udp_hub_tells_all_others_what_one_publishes() {
    let hub = Running::start("udp_hub", &["127.0.0.1:0"]);
    let subscribe = || {
        let client = datagrams(&hub.addresses[0]);
        let challenge = ask(&client, &[&b"WLDH\x01\x01"[..], &[0; 20][..]].concat());
        assert_eq!(
            (&challenge[..6], challenge.len()),
            (&b"WLDH\x01\x81"[..], 26)
        );
        let welcome = ask(&client, &[&b"WLDH\x01\x02"[..], &challenge[6..]].concat());
        assert_eq!(&welcome[..6], b"WLDH\x01\x82");
        (client, welcome[6..].to_vec())
    };
    let [(anne, cookie), (bert, _), (carl, _)] = [(); 3].map(|()| subscribe());
    let message = |text: &[u8]| [&b"WLDH\x01\x03"[..], &cookie[..], text].concat();
    anne.send(&message(b"ahoy")).expect("it is sent");
    for other in [&bert, &carl] {
        assert_eq!(&next(other)[26..], b"ahoy");
    }
    // A cookie is good for one address only, and whoever has left hears nothing more.
    bert.send(&message(b"forged")).expect("it is sent");
    let leave = [&b"WLDH\x01\x04"[..], &cookie[..]].concat();
    anne.send(&leave).expect("it is sent");
    let again = ask(&anne, &[&b"WLDH\x01\x01"[..], &[0; 20][..]].concat());
    assert_eq!(&again[..6], b"WLDH\x01\x81");
    carl.set_nonblocking(true).expect("it can wait");
    let heard = carl.recv(&mut [0; 64]).map_err(|error| error.kind());
    assert_eq!(heard, Err(io::ErrorKind::WouldBlock));
    hub.terminate();
}

#[test]
fn tftp_serves_files_and_takes_new_ones() {
    let root = socket_path("tftp-root");
    fs::create_dir_all(&root).expect("a folder");
    let path = |name: &str| format!("{root}/{name}");
    let content: Vec<u8> = (0..700_u32).map(|at| at as u8).collect();
    fs::write(path("read"), &content).expect("it is written");
    let tftp = Running::start("tftp", &["127.0.0.1:0", "--root", &root, "--write"]);
    let address = &tftp.addresses[0];

    let client = datagrams(address);
    let first = ask(&client, b"\0\x01read\0octet\0");
    assert_eq!(first, [&b"\0\x03\0\x01"[..], &content[..512]].concat());
    let second = ask(&client, b"\0\x04\0\x01");
    assert_eq!(second, [&b"\0\x03\0\x02"[..], &content[512..]].concat());
    client.send(b"\0\x04\0\x02").expect("it is sent");

    // The length of the file, the time-out, and nothing of what is not known (RFC 2347, 2349).
    let request = b"\0\x01read\0octet\0tsize\x000\0nonsense\x001\0timeout\x002\0";
    let options = ask(&datagrams(address), request);
    assert_eq!(options, b"\0\x06tsize\x00700\0timeout\x002\0");

    let client = datagrams(address);
    let options = ask(&client, b"\0\x02written\0octet\0blksize\x001024\0");
    assert_eq!(options, b"\0\x06blksize\x001024\0");
    let last = [&b"\0\x03\0\x01"[..], &content[..]].concat();
    assert_eq!(ask(&client, &last), b"\0\x04\0\x01");
    // The acknowledgement may be lost: the same again has the same answer.
    assert_eq!(ask(&client, &last), b"\0\x04\0\x01");
    assert!(fs::read(path("written")).expect("a file") == content);

    for (request, code) in [
        (&b"\0\x01nothing\0octet\0"[..], 1),
        (b"\0\x01../read\0octet\0", 2),
        (b"\0\x02read\0octet\0", 6),
    ] {
        let refusal = ask(&datagrams(address), request);
        assert_eq!(refusal[..4], [0, 5, 0, code], "{}", request.escape_ascii());
    }
    tftp.signal(Signal::TERM);
    tftp.ends();
    fs::remove_dir_all(&root).expect("it is ours");
}

#[test]
fn tftp_translates_text_and_takes_one_file_after_the_other_from_a_port() {
    let root = socket_path("tftp-text");
    fs::create_dir_all(&root).expect("a folder");
    let path = |name: &str| format!("{root}/{name}");
    // The first CR LF is cut by the end of a block.
    let line = [&[b'x'; 511][..], b"\n"].concat();
    fs::write(path("read"), [&line[..], b"a\rb\n"].concat()).expect("it is written");
    let tftp = Running::start("tftp", &["127.0.0.1:0", "--root", &root, "--write"]);
    let client = datagrams(&tftp.addresses[0]);

    // Of how long it will be nothing is said.
    let first = ask(
        &client,
        b"\0\x02one\0NetASCII\0tsize\x001\0blksize\x00512\0",
    );
    assert_eq!(first, b"\0\x06tsize\x001\0blksize\x00512\0");
    let sent = [&line[..511], b"\r"].concat();
    let block = [&b"\0\x03\0\x01"[..], &sent].concat();
    assert_eq!(ask(&client, &block), b"\0\x04\0\x01");
    let block = b"\0\x03\0\x02\na\r\0b\r\n\r";
    assert_eq!(ask(&client, block), b"\0\x04\0\x02");
    let written = fs::read(path("one")).expect("a file");
    assert_eq!(written, [&line[..], b"a\rb\n\r"].concat());

    let first = ask(&client, b"\0\x01read\0netascii\0tsize\x000\0");
    assert_eq!(first, [&b"\0\x03\0\x01"[..], &sent].concat());
    let second = ask(&client, b"\0\x04\0\x01");
    assert_eq!(second, b"\0\x03\0\x02\na\r\0b\r\n");
    client.send(b"\0\x04\0\x02").expect("it is sent");
    tftp.signal(Signal::TERM);
    tftp.ends();
    fs::remove_dir_all(&root).expect("it is ours");
}

#[test]
fn tftp_waits_for_no_fifo_and_replaces_nothing() {
    let root = socket_path("tftp-fifo");
    fs::create_dir_all(&root).expect("a folder");
    let path = |name: &str| format!("{root}/{name}");
    rustix::fs::mkfifoat(rustix::fs::CWD, path("fifo"), rustix::fs::Mode::RWXU).expect("a FIFO");
    let tftp = Running::start("tftp", &["127.0.0.1:0", "--root", &root, "--write"]);
    let address = &tftp.addresses[0];
    // Nobody writes to it, and nobody ever will.
    let refusal = ask(&datagrams(address), b"\0\x01fifo\0octet\0");
    assert_eq!(refusal[..4], [0, 5, 0, 1]);
    let refusal = ask(&datagrams(address), b"\0\x01fifo/x\0octet\0");
    assert_eq!(refusal[..4], [0, 5, 0, 1]);

    let [one, other] = [(); 2].map(|()| datagrams(address));
    for client in [&one, &other] {
        let answer = ask(client, b"\0\x02new\0octet\0");
        assert_eq!(answer, b"\0\x04\0\0");
    }
    assert_eq!(ask(&one, b"\0\x03\0\x01one"), b"\0\x04\0\x01");
    assert_eq!(ask(&other, b"\0\x03\0\x01other")[..4], [0, 5, 0, 6]);
    assert_eq!(fs::read(path("new")).expect("a file"), b"one");
    let left = fs::read_dir(&root).expect("a folder").count();
    assert_eq!(left, 2, "the file and the FIFO");
    tftp.signal(Signal::TERM);
    tftp.ends();
    fs::remove_dir_all(&root).expect("it is ours");
}

#[test]
fn embed_serves_and_ends_when_quit_is_typed() {
    let mut command = command("embed", &["127.0.0.1:0"]);
    command.stdin(Stdio::piped());
    let mut embed = Running::spawn("embed", command, 1);
    let mut client = embed.connect();
    client.send("hello");
    client.expect("hello");
    let mut stdin = embed.child.stdin.take().expect("it is piped");
    stdin.write_all(b"anything\n").expect("it reads");
    client.send("more");
    client.expect("more");
    stdin.write_all(b"quit\n").expect("it reads");
    client.expect_end();
    drop(client);
    embed.ends();
}

#[test]
fn embed_goes_on_when_nobody_is_there_to_type() {
    let embed = Running::start("embed", &["127.0.0.1:0"]);
    for text in ["one", "two"] {
        let mut client = embed.connect();
        client.send(text);
        client.expect(text);
        client.finish_writes();
        client.expect_end();
    }
    embed.terminate();
}
