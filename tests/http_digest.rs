//! Digests over the network in memory: files with the digests that are wanted (RFC 9530), tags made
//! of what is in them, what that may cost whom, and bodies verified however they are split.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::fs::{self, File};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use windlass::Intents;
use windlass::http::digest::{Algorithm, Verify, digests};
use windlass::http::{
    Fields, FileDigests, Files, Flow, Receiver, Response, Router, Server, Service,
};
use windlass::net::MemoryPeer;

#[path = "http_conformance/answers.rs"]
mod answers;
#[path = "common/folder.rs"]
mod folder;
#[path = "common/http_world.rs"]
mod world;

use answers::{Answer, parse};
use folder::Folder;
use world::{LATE, World};

const HELLO: &str = "{\"hello\": \"world\"}\n";
const HELLO_DIGEST: &str = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
const HELLO_TAG: &str = "\"RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=\"";
const WANTS_BOTH: &str = "Want-Repr-Digest: sha-256=1\r\nWant-Content-Digest: sha-256=1\r\n";
const WANTS_REPR: &str = "Want-Repr-Digest: sha-256=1\r\n";
/// Four turns of hashing what is not small.
const LARGE_LEN: usize = 512 * 1024;

impl Folder {
    fn filled(name: &str) -> Folder {
        let folder = Folder::new(name);
        folder.put("hello.json", HELLO);
        folder.put("empty", "");
        folder.put("large", large());
        folder
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    fn files(&self) -> Files {
        self.files_with(FileDigests::default())
    }

    fn files_with(&self, digests: FileDigests) -> Files {
        Files::new(self.root()).unwrap().digests(digests)
    }
}

fn large() -> Vec<u8> {
    (0..LARGE_LEN).map(|at| (at % 251) as u8).collect()
}

impl World {
    /// Serves long after all was written.
    fn new(service: impl Service + 'static) -> World {
        World::at(Server::new(service), LATE)
    }

    fn of(files: Files) -> World {
        World::new(Router::new().files("/", files))
    }

    /// A millisecond passes, and with it a budget.
    fn tick(&mut self) {
        self.advance(Duration::from_millis(1));
    }

    fn send(&mut self, peer: &MemoryPeer, method: &str, target: &str, fields: &str) {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        assert_eq!(peer.send(request.as_bytes()), request.len());
        self.turn();
    }

    fn received(&mut self, peer: &MemoryPeer) -> Vec<u8> {
        let mut received = Vec::new();
        loop {
            self.turn();
            let more = peer.received();
            if more.is_empty() {
                return received;
            }
            received.extend(more);
        }
    }

    /// Takes the answer, and says after how many milliseconds it came.
    #[track_caller]
    fn answer_of(&mut self, peer: &MemoryPeer, method: &str) -> (Answer, u32) {
        for millis in 0..1000 {
            let received = self.received(peer);
            if !received.is_empty() {
                let (answer, rest) = parse(&received, method == "HEAD").unwrap();
                answer.check().unwrap();
                assert_eq!(rest, b"", "one answer");
                return (answer, millis);
            }
            self.tick();
        }
        panic!("no answer");
    }

    #[track_caller]
    fn answer(&mut self, method: &str) -> Answer {
        let peer = Rc::clone(&self.peer);
        self.answer_of(&peer, method).0
    }

    #[track_caller]
    fn ask(&mut self, method: &str, target: &str, fields: &str) -> Answer {
        let peer = Rc::clone(&self.peer);
        self.send(&peer, method, target, fields);
        self.answer(method)
    }

    /// Asks, and expects this status, `Content-Digest` and `Repr-Digest`.
    #[track_caller]
    fn check(
        &mut self,
        request: (&str, &str, &str),
        status: u16,
        content: Option<&str>,
        repr: Option<&str>,
    ) -> Answer {
        let (method, target, fields) = request;
        let answer = self.ask(method, target, fields);
        let digests = [answer.field("content-digest"), answer.field("repr-digest")];
        assert_eq!(
            (answer.status, digests),
            (status, [content, repr]),
            "{request:?}"
        );
        answer
    }

    /// The milliseconds until the answer to a wish for the digest of this file is there.
    #[track_caller]
    fn millis(&mut self, target: &str) -> u32 {
        let peer = self.connect();
        self.tick();
        self.send(&peer, "HEAD", target, WANTS_REPR);
        let (answer, millis) = self.answer_of(&peer, "HEAD");
        assert!(answer.field("repr-digest").is_some());
        millis
    }
}

fn digest(bytes: &[u8]) -> String {
    Algorithm::Sha256.value_of(bytes)
}

#[test]
fn a_file_has_the_digests_that_are_wanted_rfc_9530_b_1_to_b_3() {
    let folder = Folder::filled("wanted");
    let mut world = World::of(folder.files());
    let hello = Some(HELLO_DIGEST);
    world.check(("GET", "/hello.json", ""), 200, None, None);
    let answer = world.check(("GET", "/hello.json", WANTS_BOTH), 200, hello, hello);
    assert_eq!(answer.body, HELLO.as_bytes());
    let wants = "Want-Content-Digest: sha-256=1\r\n";
    world.check(("GET", "/hello.json", wants), 200, hello, None);
    world.check(("HEAD", "/hello.json", WANTS_BOTH), 200, None, hello);
    let empty = digest(b"");
    world.check(
        ("GET", "/empty", WANTS_BOTH),
        200,
        Some(&empty),
        Some(&empty),
    );

    let range = format!("Range: bytes=10-18\r\n{WANTS_BOTH}");
    let part = Some("sha-256=:jjcgBDWNAtbYUXI37CVG3gRuGOAjaaDRGpIUFsdyepQ=:");
    let answer = world.check(("GET", "/hello.json", &range), 206, part, hello);
    assert_eq!(answer.body, &HELLO.as_bytes()[10..]);
    let ranges = format!("Range: bytes=0-1,3-4\r\n{WANTS_BOTH}");
    world.check(("GET", "/hello.json", &ranges), 206, None, hello);
    let none = format!("Range: bytes=99-\r\n{WANTS_BOTH}");
    world.check(("GET", "/hello.json", &none), 416, None, None);
    let same = format!("If-None-Match: {HELLO_TAG}\r\n{WANTS_BOTH}");
    world.check(("GET", "/hello.json", &same), 304, None, hello);
    let other = format!("If-Match: \"x\"\r\n{WANTS_BOTH}");
    world.check(("GET", "/hello.json", &other), 412, None, None);
    world.check(("GET", "/none", WANTS_BOTH), 404, None, None);

    let mut world = World::of(Files::new(folder.root()).unwrap());
    world.check(("GET", "/hello.json", WANTS_BOTH), 200, None, None);
}

/// All that is sent to who asks for that, but for the lines that differ from day to day.
#[test]
fn the_example_in_the_documentation_of_file_digests_is_what_is_sent() {
    let folder = Folder::filled("documented");
    let mut world = World::of(folder.files());
    let peer = Rc::clone(&world.peer);
    let fields = "Range: bytes=10-18\r\nWant-Content-Digest: sha-256=1\r\n\
                  Want-Repr-Digest: sha-512=3, sha-256=10, md5=5\r\n";
    world.send(&peer, "GET", "/hello.json", fields);
    let answer = String::from_utf8(world.received(&peer)).unwrap();
    let varies = ["Date: ", "Server: ", "Last-Modified: ", "Vary: "];
    let lines = answer.split_inclusive("\r\n");
    let lines = lines.filter(|line| !varies.iter().any(|name| line.starts_with(name)));
    let expected = [
        "HTTP/1.1 206 Partial Content\r\n",
        "Content-Type: application/json\r\n",
        "Content-Length: 9\r\n",
        "Content-Range: bytes 10-18/19\r\n",
        "Accept-Ranges: bytes\r\n",
        "ETag: \"RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=\"\r\n",
        "Content-Digest: sha-256=:jjcgBDWNAtbYUXI37CVG3gRuGOAjaaDRGpIUFsdyepQ=:\r\n",
        "Repr-Digest: sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:\r\n",
        "\r\n",
        "\"world\"}\n",
    ];
    assert_eq!(lines.collect::<Vec<_>>(), expected);
}

#[test]
fn the_peer_gets_the_algorithm_that_it_likes_best_rfc_9530_4() {
    let folder = Folder::filled("algorithm");
    let mut world = World::of(folder.files());
    let long = Algorithm::Sha512.value_of(HELLO.as_bytes());
    for (wish, expected) in [
        ("sha-512=1", Some(&*long)),
        ("sha-256=3, sha-512=10", Some(&*long)),
        ("sha-512=3, sha-256=10, unixsum=0", Some(HELLO_DIGEST)),
        ("sha-256=5, sha-512=5", Some(HELLO_DIGEST)),
        ("md5=10, sha-512=1, whatever=7;x", Some(&*long)),
        ("sha-256=0", None),
        ("md5=10", None),
        ("sha-256=11", None),
        ("sha-256", None),
        ("sha-256=1,", None),
    ] {
        let fields = format!("Want-Repr-Digest: {wish}\r\n");
        world.check(("GET", "/hello.json", &fields), 200, None, expected);
    }
}

#[test]
fn who_says_nothing_gets_what_costs_little_if_that_is_configured() {
    let folder = Folder::filled("unasked");
    let mut world = World::of(folder.files_with(FileDigests {
        unasked: true,
        ..FileDigests::default()
    }));
    let hello = Some(HELLO_DIGEST);
    world.check(("GET", "/hello.json", ""), 200, hello, hello);
    world.check(("HEAD", "/hello.json", ""), 200, None, hello);
    let part = digest(b"{\"");
    let range = "Range: bytes=0-1\r\n";
    world.check(("GET", "/hello.json", range), 206, Some(&part), hello);
    let none = "Want-Repr-Digest: sha-256=0\r\n";
    world.check(("GET", "/hello.json", none), 200, hello, None);
    let same = format!("If-None-Match: {HELLO_TAG}\r\n");
    world.check(("GET", "/hello.json", &same), 304, None, None);

    world.check(("GET", "/large", ""), 200, None, None);
    let whole = digest(&large());
    world.check(("HEAD", "/large", WANTS_REPR), 200, None, Some(&whole));
    world.check(("GET", "/large", ""), 200, Some(&whole), Some(&whole));
}

#[test]
fn a_compressed_file_has_the_digest_of_its_compressed_form_rfc_9530_b_4() {
    let folder = Folder::filled("coded");
    // The RFC prints 8B 08 80, which has another digest than the one beside it.
    let brotli = [b"\x0b\x09\x80", HELLO.as_bytes(), b"\x03"].concat();
    folder.put("hello.json.br", brotli);
    let mut world = World::of(folder.files());
    let coded = Some("sha-256=:d435Qo+nKZ+gLcUHn7GQtQ72hiBVAgqoLsZnZPiTGPk=:");
    let fields = format!("Accept-Encoding: br\r\n{WANTS_BOTH}");
    let answer = world.check(("GET", "/hello.json", &fields), 200, coded, coded);
    assert_eq!(answer.field("content-encoding"), Some("br"));
    let tag = "\"d435Qo+nKZ+gLcUHn7GQtQ72hiBVAgqoLsZnZPiTGPk=.br\"";
    assert_eq!(answer.field("etag"), Some(tag));
}

#[test]
fn a_large_file_is_hashed_in_slices_and_nobody_else_waits_for_that() {
    let folder = Folder::filled("slices");
    let mut world = World::of(folder.files());
    let (first, other) = (world.connect(), world.connect());
    world.send(&first, "GET", "/large", WANTS_BOTH);
    assert!(world.received(&first).is_empty());
    // What has to be hashed for its tag, too.
    world.send(&other, "GET", "/hello.json", WANTS_BOTH);
    assert_eq!(world.answer_of(&other, "GET").1, 0);
    // The first slice came with the request.
    let (answer, millis) = world.answer_of(&first, "GET");
    assert_eq!((answer.status, millis), (200, 3));
    let whole = digest(&large());
    assert_eq!(answer.field("repr-digest"), Some(&*whole));
    assert_eq!(answer.field("content-digest"), Some(&*whole));
    assert_eq!(answer.body, large());
    // It is kept; a range of it never is.
    assert_eq!(world.millis("/large"), 0);
    let range = format!("Range: bytes=1-\r\n{WANTS_BOTH}");
    let part = digest(&large()[1..]);
    for _ in 0..2 {
        world.tick();
        world.send(&first, "GET", "/large", &range);
        let (answer, millis) = world.answer_of(&first, "GET");
        assert_eq!((answer.status, millis), (206, 3));
        assert_eq!(answer.field("content-digest"), Some(&*part));
        assert_eq!(answer.field("repr-digest"), Some(&*whole));
    }
}

#[test]
fn who_wants_the_same_waits_for_the_same_and_pipelined_answers_keep_their_order() {
    let folder = Folder::filled("shared");
    let mut world = World::of(folder.files());
    let peers: Vec<MemoryPeer> = (0..5).map(|_| world.connect()).collect();
    for peer in &peers {
        world.send(peer, "HEAD", "/large", WANTS_REPR);
        world.send(peer, "HEAD", "/hello.json", WANTS_REPR);
    }
    for _ in 0..4 {
        world.tick();
    }
    let whole = digest(&large());
    for peer in &peers {
        let received = world.received(peer);
        let (first, rest) = parse(&received, true).unwrap();
        assert_eq!(first.field("repr-digest"), Some(&*whole));
        let (second, rest) = parse(rest, true).unwrap();
        assert_eq!(second.field("repr-digest"), Some(HELLO_DIGEST));
        assert_eq!(rest, b"");
    }
    // What is not kept is made once for all who want it at the same time.
    world.tick();
    let range = format!("Range: bytes=1-\r\n{WANTS_BOTH}");
    for peer in &peers {
        world.send(peer, "GET", "/large", &range);
    }
    for _ in 0..4 {
        world.tick();
    }
    for peer in &peers {
        assert_eq!(world.answer_of(peer, "GET").1, 0);
    }
}

#[test]
fn whoever_cannot_be_served_within_the_limits_is_answered_without_digests() {
    let folder = Folder::filled("limits");
    let large_is = |digests: FileDigests, has_digest: bool| {
        let mut world = World::of(folder.files_with(digests));
        let answer = world.ask("GET", "/large", WANTS_REPR);
        assert_eq!(answer.field("repr-digest").is_some(), has_digest);
        assert_eq!(answer.body, large());
    };
    let usual = FileDigests::default;
    for (max_len, has_digest) in [(LARGE_LEN as u64, true), (LARGE_LEN as u64 - 1, false)] {
        large_is(FileDigests { max_len, ..usual() }, has_digest);
    }
    for (millis, has_digest) in [(3, true), (2, false), (0, false)] {
        let max_wait = Duration::from_millis(millis);
        large_is(
            FileDigests {
                max_wait,
                ..usual()
            },
            has_digest,
        );
    }
    for (max_waiting, has_digest) in [(1, true), (0, false)] {
        large_is(
            FileDigests {
                max_waiting,
                ..usual()
            },
            has_digest,
        );
    }
    // The smallest budget: 2 KiB of a large file in a turn.
    large_is(
        FileDigests {
            max_hashed: 0,
            ..usual()
        },
        true,
    );
}

#[test]
fn what_took_too_long_for_one_request_goes_on_with_the_next() {
    let folder = Folder::filled("aside");
    let mut world = World::of(folder.files_with(FileDigests {
        max_wait: Duration::from_millis(1),
        ..FileDigests::default()
    }));
    let ask = |world: &mut World| {
        world.tick();
        let answer = world.ask("HEAD", "/large", WANTS_REPR);
        answer.field("repr-digest").map(str::to_owned)
    };
    assert_eq!(ask(&mut world), None);
    assert_eq!(ask(&mut world), Some(digest(&large())));
}

#[test]
fn a_place_is_free_again_once_its_peer_has_left() {
    let folder = Folder::filled("places");
    let mut world = World::of(folder.files_with(FileDigests {
        max_waiting: 1,
        ..FileDigests::default()
    }));
    let (first, second) = (world.connect(), world.connect());
    world.send(&first, "HEAD", "/large", WANTS_REPR);
    world.send(&second, "HEAD", "/large", WANTS_REPR);
    let (answer, millis) = world.answer_of(&second, "HEAD");
    assert_eq!((answer.field("repr-digest"), millis), (None, 0));
    first.reset();
    world.turn();
    assert_eq!(world.millis("/large"), 3);
}

#[test]
fn a_digest_is_made_again_when_the_file_is_another_one() {
    let folder = Folder::filled("changed");
    let path = folder.path("large");
    let mut world = World::of(folder.files());
    let mut content = large();
    assert_eq!(world.millis("/large"), 3);
    let check = |world: &mut World, content: &[u8]| {
        let answer = world.ask("HEAD", "/large", WANTS_REPR);
        assert_eq!(answer.field("repr-digest"), Some(&*digest(content)));
        assert_eq!(world.millis("/large"), 0);
    };
    // In place, of the same length.
    content[7] ^= 1;
    fs::write(&path, &content).unwrap();
    check(&mut world, &content);
    // The same, and its time is set back.
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    content[7] ^= 2;
    fs::write(&path, &content).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_modified(modified).unwrap();
    check(&mut world, &content);
    // Longer.
    content.push(b'x');
    fs::write(&path, &content).unwrap();
    check(&mut world, &content);
    // Another file of the same name, length and time.
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    content[8] ^= 1;
    folder.put("other", &content);
    let other = File::options().write(true).open(folder.path("other"));
    other.unwrap().set_modified(modified).unwrap();
    fs::rename(folder.path("other"), &path).unwrap();
    check(&mut world, &content);
    // Touched: nothing is believed but the content.
    let file = File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(world.millis("/large"), 4, "hashed again");
}

#[test]
fn a_file_that_changes_while_it_is_hashed_is_sent_without_digests() {
    let folder = Folder::filled("meanwhile");
    let mut world = World::of(folder.files());
    let peer = world.connect();
    world.send(&peer, "GET", "/large", WANTS_BOTH);
    world.tick();
    let mut content = large();
    content[0] ^= 1;
    folder.put("large", &content);
    let (answer, _) = world.answer_of(&peer, "GET");
    assert_eq!(answer.field("repr-digest"), None);
    assert_eq!(answer.field("content-digest"), None);
    assert_eq!(answer.body, content);
    let whole = digest(&content);
    world.check(("HEAD", "/large", WANTS_REPR), 200, None, Some(&whole));
}

#[test]
fn the_digests_that_were_not_asked_for_the_longest_are_forgotten() {
    let folder = Folder::filled("kept");
    folder.put("second", large());
    folder.put("third", large());
    let mut world = World::of(folder.files_with(FileDigests {
        max_kept: 2,
        ..FileDigests::default()
    }));
    for (target, millis) in [
        ("/large", 3),
        ("/second", 3),
        ("/large", 0),
        ("/third", 3),
        ("/large", 0),
        ("/second", 3),
    ] {
        assert_eq!(world.millis(target), millis, "{target}");
    }
    let max_kept = 0;
    let mut world = World::of(folder.files_with(FileDigests {
        max_kept,
        ..FileDigests::default()
    }));
    for _ in 0..2 {
        assert_eq!(world.millis("/large"), 3);
    }
}

#[test]
fn a_tag_of_content_is_strong_and_changes_exactly_when_the_content_does() {
    let folder = Folder::filled("tags");
    let mut world = World::of(folder.files());
    let tag = |world: &mut World, target: &str| {
        let answer = world.ask("GET", target, "");
        answer.field("etag").unwrap().to_owned()
    };
    assert_eq!(tag(&mut world, "/hello.json"), HELLO_TAG);
    folder.put("copy.json", HELLO);
    assert_eq!(tag(&mut world, "/copy.json"), HELLO_TAG);
    folder.put("hello.json", HELLO);
    assert_eq!(tag(&mut world, "/hello.json"), HELLO_TAG);

    let range = "Range: bytes=0-1\r\n";
    let table = [
        (format!("If-None-Match: {HELLO_TAG}\r\n"), 304, 200),
        (format!("If-None-Match: W/{HELLO_TAG}\r\n"), 304, 200),
        (format!("If-None-Match: \"x\", {HELLO_TAG}\r\n"), 304, 200),
        (format!("If-Match: {HELLO_TAG}\r\n"), 200, 412),
        (format!("If-Match: W/{HELLO_TAG}\r\n"), 412, 412),
        (format!("If-Range: {HELLO_TAG}\r\n{range}"), 206, 200),
        (format!("If-Range: W/{HELLO_TAG}\r\n{range}"), 200, 200),
    ];
    for (fields, status, _) in &table {
        assert_eq!(world.ask("GET", "/hello.json", fields).status, *status);
    }
    let earth = HELLO.replace("world", "earth");
    folder.put("hello.json", &earth);
    let base64 = digest(earth.as_bytes());
    let base64 = base64.split(':').nth(1).unwrap();
    assert_eq!(tag(&mut world, "/hello.json"), format!("\"{base64}\""));
    for (fields, _, status) in &table {
        assert_eq!(world.ask("GET", "/hello.json", fields).status, *status);
    }
}

#[test]
fn a_larger_file_has_the_tag_of_its_time_and_length() {
    let folder = Folder::filled("tagged");
    let tags = |max_tag_len: u64| {
        let mut world = World::of(folder.files_with(FileDigests {
            max_tag_len,
            ..FileDigests::default()
        }));
        ["/hello.json", "/empty", "/large"].map(|target| {
            let answer = world.ask("GET", target, "");
            !answer.field("etag").unwrap().contains('-')
        })
    };
    let hello = HELLO.len() as u64;
    assert_eq!(tags(0), [false, false, false]);
    assert_eq!(tags(hello - 1), [false, true, false]);
    assert_eq!(tags(hello), [true, true, false]);
    assert_eq!(tags(LARGE_LEN as u64), [true, true, true]);
}

#[test]
fn the_tag_of_a_file_that_was_changed_just_now_is_weak_and_the_same_rfc_9110_8_8_1() {
    let folder = Folder::filled("fresh");
    // By this clock the files are from the future.
    let router = Router::new().files("/", folder.files());
    let mut world = World::at(Server::new(router), Duration::from_secs(1));
    let weak = format!("W/{HELLO_TAG}");
    for _ in 0..2 {
        let answer = world.check(
            ("GET", "/hello.json", WANTS_REPR),
            200,
            None,
            Some(HELLO_DIGEST),
        );
        assert_eq!(answer.field("etag"), Some(&*weak));
    }
    let status =
        |world: &mut World, fields: String| world.ask("GET", "/hello.json", &fields).status;
    assert_eq!(
        status(&mut world, format!("If-None-Match: {weak}\r\n")),
        304
    );
    assert_eq!(status(&mut world, format!("If-Match: {weak}\r\n")), 412);
    // What could change without a trace is hashed each time: without a budget, later.
    let peers: Vec<MemoryPeer> = (0..2).map(|_| world.connect()).collect();
    for peer in &peers {
        world.tick();
        world.send(peer, "HEAD", "/large", WANTS_REPR);
        assert_eq!(world.answer_of(peer, "HEAD").1, 3);
    }
}

#[test]
fn small_files_that_are_new_to_the_server_wait_for_their_turn_too() {
    let folder = Folder::filled("many");
    let names: Vec<String> = (0..16).map(|number| format!("/small{number}")).collect();
    for name in &names {
        folder.put(&name[1..], vec![b'x'; 64 * 1024]);
    }
    let mut world = World::of(folder.files());
    let peers: Vec<MemoryPeer> = names.iter().map(|_| world.connect()).collect();
    for (peer, name) in peers.iter().zip(&names) {
        world.send(peer, "HEAD", name, "");
    }
    let mut millis = 0;
    let mut count = 0;
    while count < names.len() {
        let came = peers.iter().filter(|peer| !peer.received().is_empty());
        let came = came.count();
        assert!(came <= 4, "256 KiB in a turn");
        count += came;
        assert!(millis < 100, "{count}");
        millis += 1;
        world.tick();
    }
}

#[test]
fn an_error_has_a_digest_too_rfc_9530_b_10() {
    let body = "{\n  \"title\": \"Not Found\",\n  \
                \"detail\": \"Cannot PATCH a non-existent resource\",\n  \"status\": 404\n}\n";
    let router = Router::new()
        .fallback(move |_| Response::json(body).status(404))
        .wrap(digests());
    let mut world = World::new(router);
    let expected = Some("sha-256=:EXB0S2VF2H7ijkAVJkH1Sm0pBho0iDZcvVUHHXTTZSA=:");
    world.check(("GET", "/a", WANTS_BOTH), 404, expected, expected);
}

#[test]
fn a_body_is_verified_however_its_request_is_split_rfc_9530_b_5_and_b_11() {
    let router = || Router::new().put("/", |_| Response::text("kept"));
    let plain = format!("Repr-Digest: {HELLO_DIGEST}\r\nContent-Length: 19\r\n\r\n{HELLO}");
    let chunked = format!(
        "Transfer-Encoding: chunked\r\nTrailer: Repr-Digest\r\n\r\n\
         8\r\n{}\r\n8\r\n{}\r\n3\r\n{}\r\n0\r\nRepr-Digest: {HELLO_DIGEST}\r\n\r\n",
        &HELLO[..8],
        &HELLO[8..16],
        &HELLO[16..]
    );
    for rest in [plain, chunked] {
        let good = format!("PUT / HTTP/1.1\r\nHost: h\r\n{rest}");
        let wrong = good.replace(" \"w", " \"W");
        for (request, status) in [(good, 200), (wrong, 400)] {
            let mut world = World::new(Verify::new(router()).required());
            for cut in 1..request.len() {
                for part in [&request[..cut], &request[cut..]] {
                    assert_eq!(world.peer.send(part.as_bytes()), part.len());
                    world.turn();
                }
                assert_eq!(
                    world.answer("PUT").status,
                    status,
                    "cut at {cut}: {request}"
                );
            }
        }
    }
}

/// What has come of bodies that were taken for whole.
type Taken = Rc<RefCell<Vec<Vec<u8>>>>;

/// Takes a body piece by piece, and counts it at its end.
struct Taking(Vec<u8>, Taken);

impl Receiver for Taking {
    fn on_bytes(&mut self, bytes: &[u8], _: &mut Intents) -> Flow {
        self.0.extend_from_slice(bytes);
        Flow::More
    }

    fn on_end(&mut self, _: Fields<'_>, _: &mut Intents) -> Response {
        self.1.borrow_mut().push(self.0.clone());
        Response::text("kept")
    }
}

#[test]
fn whatever_bit_is_flipped_on_the_way_no_handler_takes_another_body() {
    let taken = Taken::default();
    let (whole, pieces) = (Rc::clone(&taken), Rc::clone(&taken));
    let router = Router::new()
        .put("/whole", move |request| {
            whole.borrow_mut().push(request.body().to_vec());
            Response::text("kept")
        })
        .receive("PUT", "/pieces", move |_| {
            Ok(Taking(Vec::new(), Rc::clone(&pieces)))
        });
    let server = Server::new(Verify::new(router).required());
    let mut calls = 0;
    for target in ["/whole", "/pieces"] {
        let request = format!(
            "PUT {target} HTTP/1.1\r\nHost: h\r\nContent-Digest: {HELLO_DIGEST}\r\n\
             Content-Length: 19\r\n\r\n{HELLO}"
        );
        for bit in 0..request.len() * 8 {
            let mut bytes = request.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let mut world = World::at(server.clone(), Duration::ZERO);
            for half in bytes.chunks(bytes.len() - 7) {
                world.peer.send(half);
                world.turn();
            }
            let bodies = taken.take();
            calls += bodies.len();
            for body in &bodies {
                assert_eq!(&body[..], HELLO.as_bytes(), "bit {bit} of {request}");
            }
        }
    }
    // A letter of another case, another host.
    assert!(calls > 20, "{calls}: the right ones are taken");
}
