//! Static files as a client sees them (RFC 9110, sections 8, 12, 13 and 14), over the network in
//! memory, from directories of the real file system.

#![cfg(feature = "http")]
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and may look at the clock"
)]

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant, SystemTime};

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use windlass::Reactor;
use windlass::http::{Files, Router, Server};
use windlass::net::Address;

#[path = "http_conformance/answers.rs"]
mod answers;
#[path = "common/folder.rs"]
mod folder;
#[path = "common/http_world.rs"]
mod world;

use answers::{Answer, parse};
use folder::Folder;
use world::{LATE, World};

const TEXT: &str = "0123456789abcdefghijklmnopqrstuvwxyz";
const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

impl Folder {
    /// A file that was last modified in 1994.
    fn put(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(modified)
            .unwrap();
    }
}

impl World {
    /// Serves long after all was written.
    fn new(router: Router) -> World {
        World::at(Server::new(router), LATE)
    }

    fn of(folder: &Folder) -> World {
        World::new(Router::new().files("/", Files::new(folder.root()).unwrap()))
    }

    fn exchange(&mut self, request: &str) -> Vec<u8> {
        assert_eq!(self.peer.send(request.as_bytes()), request.len());
        let mut received = Vec::new();
        loop {
            self.reactor.turn(Some(Duration::ZERO)).unwrap();
            let more = self.peer.received();
            if more.is_empty() && !received.is_empty() || self.peer.is_reset() {
                return received;
            }
            received.extend(more);
        }
    }

    #[track_caller]
    fn ask(&mut self, method: &str, target: &str, fields: &str) -> Answer {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        let received = self.exchange(&request);
        let (answer, rest) = parse(&received, method == "HEAD").unwrap();
        answer.check().unwrap();
        assert_eq!(rest, b"", "one answer");
        answer
    }

    #[track_caller]
    fn get(&mut self, target: &str, fields: &str) -> Answer {
        self.ask("GET", target, fields)
    }

    #[track_caller]
    fn check(&mut self, target: &str, fields: &str, status: u16, body: &str) -> Answer {
        let answer = self.get(target, fields);
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!(
            (answer.status, &*text),
            (status, body),
            "{target} {fields:?}"
        );
        answer
    }

    #[track_caller]
    fn status(&mut self, target: &str, fields: &str, status: u16) -> Answer {
        let answer = self.get(target, fields);
        assert_eq!(answer.status, status, "{target} {fields:?}");
        answer
    }
}

#[test]
fn a_file_comes_with_its_type_its_length_and_its_validators() {
    let folder = Folder::new("plain");
    folder.put("a.css", TEXT);
    folder.put("empty", "");
    folder.put("deep/er/\u{e4} b.txt", "deep");
    let mut world = World::of(&folder);
    let answer = world.check("/a.css", "", 200, TEXT);
    assert_eq!(
        answer.field("content-type"),
        Some("text/css; charset=utf-8")
    );
    assert_eq!(answer.field("content-length"), Some("36"));
    assert_eq!(answer.field("last-modified"), Some(MODIFIED));
    assert_eq!(answer.field("accept-ranges"), Some("bytes"));
    let tag = answer.field("etag").unwrap();
    assert!(tag.starts_with('"') && tag.ends_with('"'), "strong: {tag}");
    world.check("/empty", "", 200, "");
    world.check("/deep/er/%C3%A4%20b.txt?query", "", 200, "deep");
    world.status("/none", "", 404);
    world.status("/a.css/", "", 404);
    world.status("/a.css/b", "", 404);
}

#[test]
fn head_is_answered_as_get_without_the_body_rfc_9110_9_3_2() {
    let folder = Folder::new("head");
    folder.put("a.txt", TEXT);
    let mut world = World::of(&folder);
    let mut get = world.get("/a.txt", "");
    let head = world.ask("HEAD", "/a.txt", "");
    assert_eq!(head.status, 200);
    get.body.clear();
    assert_eq!(head, get);
    let ranged = world.ask("HEAD", "/a.txt", "Range: bytes=0-1\r\n");
    assert_eq!(ranged.status, 200, "RFC 9110, 14.2: for GET alone");
}

#[test]
fn other_methods_are_told_which_there_are_rfc_9110_15_5_6() {
    let folder = Folder::new("methods");
    folder.put("a.txt", TEXT);
    let mut world = World::of(&folder);
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let answer = world.ask(method, "/a.txt", "Content-Length: 0\r\n");
        assert_eq!(answer.status, 405);
        assert_eq!(answer.field("allow"), Some("GET, HEAD, OPTIONS"));
    }
    assert_eq!(world.ask("OPTIONS", "/a.txt", "").status, 204);
}

#[test]
fn files_are_found_below_the_prefix_of_a_nested_router() {
    let folder = Folder::new("nested");
    folder.put("index.html", "home");
    folder.put("a.txt", "text");
    let files = || Router::new().files("/", Files::new(folder.root()).unwrap());
    let below = || Router::new().files("/b", Files::new(folder.root()).unwrap());
    for (router, prefix) in [
        (Router::new().nest("/x", files()), "/x"),
        (Router::new().nest("/x/", files()), "/x"),
        (Router::new().nest("/a", below()), "/a/b"),
        (
            Router::new().nest("/a", Router::new().nest("/b", files())),
            "/a/b",
        ),
        (
            Router::new().nest("/a", Router::new().nest("/", files())),
            "/a",
        ),
    ] {
        let mut world = World::new(router);
        let answer = world.ask("GET", &format!("{prefix}/a.txt"), "");
        assert_eq!((answer.status, &answer.body[..]), (200, &b"text"[..]));
        let answer = world.ask("GET", &format!("{prefix}/"), "");
        assert_eq!((answer.status, &answer.body[..]), (200, &b"home"[..]));
        let answer = world.ask("GET", prefix, "");
        assert_eq!(answer.status, 301, "{prefix}");
        assert_eq!(answer.field("location"), Some(&*format!("{prefix}/")));
    }
}

#[test]
fn a_directory_is_its_index_behind_a_slash() {
    let folder = Folder::new("index");
    folder.put("index.html", "home");
    folder.put("sub/index.html", "sub");
    folder.put("a b/index.html", "");
    folder.put("bare/a", "");
    fs::create_dir_all(folder.path("odd/index.html")).unwrap();
    let router = Router::new().files("/files/", Files::new(folder.root()).unwrap());
    let mut world = World::new(router);
    world.check("/files/", "", 200, "home");
    world.check("/files/sub/", "", 200, "sub");
    for (target, location) in [
        ("/files", "/files/"),
        ("/files?a=b", "/files/?a=b"),
        ("/files/sub", "/files/sub/"),
        ("/files/s%75b?q", "/files/s%75b/?q"),
        ("/files/a%20b?q", "/files/a%20b/?q"),
    ] {
        let answer = world.status(target, "", 301);
        assert_eq!(answer.field("location"), Some(location), "{target}");
    }
    world.status("/files/bare/", "", 404);
    world.status("/files/odd/", "", 404);
    world.status("/files//", "", 404);
}

#[test]
fn a_redirect_never_leads_to_another_host() {
    let folder = Folder::new("host");
    folder.put("evil.com/index.html", "");
    let mut world = World::of(&folder);
    for target in [
        "//evil.com",
        "/%2fevil.com",
        "/\\evil.com",
        "//evil.com/%2e%2e",
    ] {
        let answer = world.get(target, "");
        assert_eq!(answer.field("location"), None, "{target}");
        assert_eq!(answer.status, 404, "{target}");
    }
}

#[test]
fn nothing_outside_of_the_root_is_served() {
    let folder = Folder::new("outside");
    folder.put("in/a", "inside");
    fs::write(folder.0.join("secret"), "secret").unwrap();
    fs::create_dir(folder.0.join("beside")).unwrap();
    fs::write(folder.0.join("beside/secret"), "secret").unwrap();
    symlink("../secret", folder.path("out")).unwrap();
    symlink(folder.0.join("secret"), folder.path("absolute")).unwrap();
    symlink("../beside", folder.path("beside")).unwrap();
    symlink("in/../../secret", folder.path("winding")).unwrap();
    symlink("in/a", folder.path("within")).unwrap();
    symlink("loop", folder.path("loop")).unwrap();
    symlink("/proc/self/root", folder.path("magic")).unwrap();
    let mut world = World::of(&folder);
    for target in [
        "/../secret",
        "/in/../../secret",
        "/%2e%2e/secret",
        "/.%2e/secret",
        "/%2e%2e%2fsecret",
        "/..%2fsecret",
        "/in/%2e%2e/%2e%2e/secret",
        "/..%5csecret",
        "/..\\secret",
        "/out",
        "/absolute",
        "/beside/secret",
        "/winding",
        "/loop",
        "/magic/etc/passwd",
        "/%00/../secret",
        "/in/a%00",
        "/in%2fa",
        "//etc/passwd",
        "/./in/a",
        "/in//a",
        "/%252e%252e/secret",
        "/%c0%ae%c0%ae/secret",
        "/out%00.txt",
        "/...//secret",
    ] {
        let answer = world.status(target, "", 404);
        assert!(
            !answer.body.windows(6).any(|part| part == b"secret"),
            "{target}"
        );
    }
    world.check("/in/a", "", 200, "inside");
    world.check("/within", "", 200, "inside");
}

#[test]
fn what_is_no_file_is_as_good_as_not_there_and_never_waited_for() {
    let folder = Folder::new("special");
    let fifo = folder.path("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path("socket")).unwrap();
    folder.put(".env", "secret");
    folder.put(".git/config", "secret");
    folder.put(".well-known/acme", "known");
    let mut world = World::of(&folder);
    for target in ["/fifo", "/socket", "/.env", "/%2eenv", "/.git/config"] {
        world.status(target, "", 404);
    }
    world.check("/.well-known/acme", "", 200, "known");
    let router = Router::new().files("/", Files::new(folder.root()).unwrap().hidden(true));
    World::new(router).check("/.env", "", 200, "secret");
}

#[test]
fn one_range_is_answered_with_206_and_its_place_rfc_9110_14_4() {
    let folder = Folder::new("range");
    folder.put("a.txt", TEXT);
    let mut world = World::of(&folder);
    for (range, body, place) in [
        ("0-4", "01234", "bytes 0-4/36"),
        ("10-", &TEXT[10..], "bytes 10-35/36"),
        ("-3", "xyz", "bytes 33-35/36"),
        ("30-99", "uvwxyz", "bytes 30-35/36"),
        ("-99", TEXT, "bytes 0-35/36"),
        ("99-,0-0", "0", "bytes 0-0/36"),
    ] {
        let answer = world.check("/a.txt", &format!("Range: bytes={range}\r\n"), 206, body);
        assert_eq!(answer.field("content-range"), Some(place));
        assert_eq!(
            answer.field("content-type"),
            Some("text/plain; charset=utf-8")
        );
        assert!(answer.field("etag").is_some() && answer.field("last-modified").is_some());
    }
    let answer = world.status("/a.txt", "Range: bytes=36-\r\n", 416);
    assert_eq!(
        answer.field("content-range"),
        Some("bytes */36"),
        "RFC 9110, 15.5.17"
    );
    for ignored in [
        "Range: bytes=4-2\r\n",
        "Range: lines=1-2\r\n",
        "Range: bytes=0-,0-\r\n",
    ] {
        world.check("/a.txt", ignored, 200, TEXT);
    }
}

#[test]
fn several_ranges_are_parts_of_one_answer_rfc_9110_15_3_7_2() {
    let folder = Folder::new("ranges");
    folder.put("a.txt", TEXT);
    let mut world = World::of(&folder);
    let answer = world.status("/a.txt", "Range: bytes=-2, 0-2 ,5-5\r\n", 206);
    assert_eq!(answer.field("content-range"), None);
    let media_type = answer.field("content-type").unwrap();
    let boundary = media_type
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap();
    let part = |place, bytes| {
        format!(
            "\r\n--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Range: bytes {place}/36\r\n\r\n{bytes}"
        )
    };
    let expected = [part("34-35", "yz"), part("0-2", "012"), part("5-5", "5")].concat();
    let body = String::from_utf8(answer.body.clone()).unwrap();
    assert_eq!(body, format!("{expected}\r\n--{boundary}--\r\n"));
}

#[test]
fn several_ranges_of_a_file_in_a_coding_are_the_whole_file_rfc_9110_15_3_7_2() {
    let folder = Folder::new("ranges-in-a-coding");
    folder.put("a.js", "plain");
    folder.put("a.js.gz", "zipped");
    let mut world = World::of(&folder);
    let several = "Range: bytes=0-0,2-2\r\n";
    let answer = world.check(
        "/a.js",
        &format!("Accept-Encoding: gzip\r\n{several}"),
        200,
        "zipped",
    );
    assert_eq!(answer.field("content-encoding"), Some("gzip"));
    assert_eq!(
        answer.field("content-type"),
        Some("text/javascript; charset=utf-8")
    );
    let answer = world.status("/a.js", several, 206);
    assert_eq!(answer.field("content-encoding"), None);
}

#[test]
fn conditions_are_kept_in_their_order_rfc_9110_13_2_2() {
    let folder = Folder::new("conditions");
    folder.put("a.txt", TEXT);
    let mut world = World::of(&folder);
    let tag = world.get("/a.txt", "").field("etag").unwrap().to_owned();
    let table = [
        (format!("If-None-Match: {tag}\r\n"), 304),
        (format!("If-None-Match: W/{tag}\r\n"), 304),
        ("If-None-Match: *\r\n".to_owned(), 304),
        ("If-None-Match: \"x\"\r\n".to_owned(), 200),
        (
            format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {MODIFIED}\r\n"),
            200,
        ),
        (format!("If-Modified-Since: {MODIFIED}\r\n"), 304),
        (format!("If-Modified-Since: {EARLIER}\r\n"), 200),
        ("If-Modified-Since: now\r\n".to_owned(), 200),
        (format!("If-Match: {tag}\r\n"), 200),
        (format!("If-Match: W/{tag}\r\n"), 412),
        ("If-Match: \"x\"\r\n".to_owned(), 412),
        (format!("If-Match: \"x\"\r\nIf-None-Match: {tag}\r\n"), 412),
        (format!("If-Unmodified-Since: {EARLIER}\r\n"), 412),
        (format!("If-Unmodified-Since: {MODIFIED}\r\n"), 200),
        (
            format!("If-Match: {tag}\r\nIf-Unmodified-Since: {EARLIER}\r\n"),
            200,
        ),
        ("If-Match: \"x\"\r\nRange: bytes=0-1\r\n".to_owned(), 412),
        (format!("If-None-Match: {tag}\r\nRange: bytes=0-1\r\n"), 304),
        (format!("If-Range: {tag}\r\nRange: bytes=0-1\r\n"), 206),
        (format!("If-Range: {MODIFIED}\r\nRange: bytes=0-1\r\n"), 206),
        (format!("If-Range: {EARLIER}\r\nRange: bytes=0-1\r\n"), 200),
        (format!("If-Range: W/{tag}\r\nRange: bytes=0-1\r\n"), 200),
        ("If-Range: \"x\"\r\nRange: bytes=99-\r\n".to_owned(), 200),
        (format!("If-Range: {tag}\r\n"), 200),
    ];
    for (fields, status) in table {
        let answer = world.status("/a.txt", &fields, status);
        if status == 304 {
            assert_eq!(answer.field("etag"), Some(tag.as_str()), "RFC 9110, 15.4.5");
            assert_eq!(answer.field("vary"), Some("Accept-Encoding"));
        }
    }
}

#[test]
fn a_file_that_was_changed_just_now_has_a_weak_tag_rfc_9110_8_8_1() {
    let folder = Folder::new("fresh");
    folder.put("a.txt", TEXT);
    let since_1970 = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let router = || Router::new().files("/", Files::new(folder.root()).unwrap());
    let mut world = World::at(Server::new(router()), since_1970 - Duration::from_secs(1));
    let tag = world.get("/a.txt", "").field("etag").unwrap().to_owned();
    assert!(tag.starts_with("W/"), "{tag}");
    let range = format!("If-Range: {tag}\r\nRange: bytes=0-1\r\n");
    world.status("/a.txt", &range, 200);
    world.status("/a.txt", &format!("If-None-Match: {tag}\r\n"), 304);
    let mut world = World::at(Server::new(router()), since_1970 + Duration::from_secs(3));
    let later = world.get("/a.txt", "").field("etag").unwrap().to_owned();
    assert_eq!(tag, format!("W/{later}"));
}

#[test]
fn another_content_has_another_tag_whatever_its_length_and_date_say() {
    let folder = Folder::new("changed");
    folder.put("a.txt", "one");
    let mut world = World::of(&folder);
    let first = world.get("/a.txt", "").field("etag").unwrap().to_owned();
    // The clock of the file system goes on before the second one is written.
    let changed = |name: &str| {
        use std::os::unix::fs::MetadataExt;
        let metadata = fs::metadata(folder.path(name)).unwrap();
        (metadata.ctime(), metadata.ctime_nsec())
    };
    while changed("a.txt") == {
        folder.put("b.txt", "");
        changed("b.txt")
    } {}
    folder.put("a.txt", "two");
    let answer = world.check("/a.txt", &format!("If-None-Match: {first}\r\n"), 200, "two");
    assert_eq!(answer.field("last-modified"), Some(MODIFIED));
}

#[test]
fn a_file_that_is_compressed_already_is_sent_to_who_takes_it_rfc_9110_12_5_3() {
    let folder = Folder::new("coding");
    folder.put("a.js", "plain");
    folder.put("a.js.gz", "zipped");
    folder.put("a.js.br", "brotli");
    folder.put("b.js", "plain");
    folder.put("b.js.gz", "zipped");
    folder.put("lone.gz", "zipped");
    let mut world = World::of(&folder);
    for (target, accept, coding, body) in [
        ("/a.js", "gzip, deflate, br", Some("br"), "brotli"),
        ("/a.js", "br;q=0.5, gzip", Some("gzip"), "zipped"),
        ("/a.js", "*", Some("br"), "brotli"),
        ("/a.js", "identity", None, "plain"),
        ("/a.js", "br;q=0, gzip;q=0", None, "plain"),
        ("/b.js", "gzip, br", Some("gzip"), "zipped"),
        ("/b.js", "br", None, "plain"),
    ] {
        let fields = format!("Accept-Encoding: {accept}\r\n");
        let answer = world.check(target, &fields, 200, body);
        assert_eq!(answer.field("content-encoding"), coding);
        assert_eq!(
            answer.field("content-type"),
            Some("text/javascript; charset=utf-8")
        );
        assert_eq!(
            answer.field("vary"),
            Some("Accept-Encoding"),
            "RFC 9110, 12.5.5"
        );
    }
    let plain = world.check("/a.js", "", 200, "plain");
    let zipped = world.get("/a.js", "Accept-Encoding: gzip\r\n");
    assert_ne!(
        plain.field("etag"),
        zipped.field("etag"),
        "RFC 9110, 8.8.3.3"
    );
    world.check(
        "/a.js",
        "Accept-Encoding: gzip\r\nRange: bytes=0-1\r\n",
        206,
        "zi",
    );
    world.status("/lone", "Accept-Encoding: gzip\r\n", 404);
    let answer = world.check("/lone.gz", "Accept-Encoding: gzip\r\n", 200, "zipped");
    assert_eq!(answer.field("content-encoding"), None);

    // What was compressed before its source was changed is out of date.
    fs::write(folder.path("a.js"), "newer").unwrap();
    world.check("/a.js", "Accept-Encoding: gzip, br\r\n", 200, "newer");
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_ends_the_connection_with_a_reset() {
    let folder = Folder::new("shrinks");
    folder.put("large", vec![b'x'; 1024 * 1024]);
    let mut world = World::of(&folder);
    world.peer.set_capacity(8 * 1024);
    let request = "GET /large HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(world.peer.send(request.as_bytes()), request.len());
    // One turn accepts, and the next one answers.
    world.reactor.turn(Some(Duration::ZERO)).unwrap();
    world.reactor.turn(Some(Duration::ZERO)).unwrap();
    assert!(!world.peer.received().is_empty(), "it has begun");
    File::options()
        .write(true)
        .open(folder.path("large"))
        .unwrap()
        .set_len(1000)
        .unwrap();
    for _ in 0..100 {
        world.reactor.turn(Some(Duration::ZERO)).unwrap();
        world.peer.received();
    }
    assert!(world.peer.is_reset());
}

#[test]
fn a_large_file_arrives_as_it_is_and_in_pieces() {
    let folder = Folder::new("large");
    let bytes: Vec<u8> = (0..1_000_000_u32)
        .map(|number| (number % 251) as u8)
        .collect();
    folder.put("large.bin", &bytes);
    let mut world = World::of(&folder);
    world.peer.set_capacity(10_000);
    let answer = world.get("/large.bin", "");
    assert!(answer.body == bytes);
    let answer = world.get("/large.bin", "Range: bytes=123456-654321\r\n");
    assert!(answer.body == bytes[123_456..=654_321]);
    let answer = world.get("/large.bin", "Range: bytes=0-299999, 500000-799999\r\n");
    assert!(
        answer
            .body
            .windows(1000)
            .any(|window| window == &bytes[299_000..300_000])
    );
    assert!(
        answer
            .body
            .windows(1000)
            .any(|window| window == &bytes[799_000..800_000])
    );
}

/// Requests for files of all sizes, in one piece, and what their answers have to be.
fn pipeline(bytes: &[u8]) -> (String, Vec<(bool, u16, Vec<u8>)>) {
    let mut text = String::new();
    let mut expected = Vec::new();
    let mut ask = |method: &str, target: &str, fields: &str, status, body: &[u8]| {
        text += &format!("{method} /{target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        expected.push((method == "HEAD", status, body.to_vec()));
    };
    ask("GET", "large", "", 200, bytes);
    ask("HEAD", "large", "", 200, b"");
    ask("GET", "small", "", 200, &bytes[..100]);
    ask(
        "GET",
        "large",
        "Range: bytes=100000-299999\r\n",
        206,
        &bytes[100_000..300_000],
    );
    ask("GET", "none", "", 404, b"Not Found");
    ask("GET", "medium", "", 200, &bytes[..20_000]);
    ask(
        "GET",
        "large",
        "Range: bytes=-9\r\n",
        206,
        &bytes[bytes.len() - 9..],
    );
    ask("GET", "large", "Connection: close\r\n", 200, bytes);
    (text, expected)
}

#[track_caller]
fn check_pipeline(received: &[u8], expected: &[(bool, u16, Vec<u8>)]) {
    let mut rest = received;
    for (index, (is_head, status, body)) in expected.iter().enumerate() {
        let (answer, behind) = parse(rest, *is_head).unwrap();
        answer.check().unwrap();
        assert_eq!(answer.status, *status, "answer {index}");
        assert!(answer.body == *body, "answer {index}");
        rest = behind;
    }
    assert_eq!(rest, b"");
}

#[test]
fn requests_behind_a_large_file_are_answered_in_order_however_slowly_it_is_taken() {
    let folder = Folder::new("pipeline");
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    folder.put("large", &bytes);
    folder.put("small", &bytes[..100]);
    folder.put("medium", &bytes[..20_000]);
    let (text, expected) = pipeline(&bytes);
    for capacity in [1500, 16_384, 100_000, 10_000_000] {
        let mut world = World::of(&folder);
        world.peer.set_capacity(capacity);
        let received = world.exchange(&text);
        check_pipeline(&received, &expected);
    }

    let mut reactor = Reactor::new().unwrap();
    let router = Router::new().files("/", Files::new(folder.root()).unwrap());
    let server = Server::new(router);
    let listener = reactor
        .listen("127.0.0.1:0", move |_| server.clone())
        .unwrap();
    let Address::Ip(address) = reactor.local_addr(listener).unwrap() else {
        unreachable!()
    };
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(text.as_bytes()).unwrap();
    client.set_nonblocking(true).unwrap();
    let mut received = Vec::new();
    let until = Instant::now() + Duration::from_secs(30);
    for size in (1..10_000).cycle() {
        reactor.turn(Some(Duration::ZERO)).unwrap();
        let mut piece = vec![0; size];
        match client.read(&mut piece) {
            Ok(0) => break,
            Ok(len) => received.extend(&piece[..len]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert!(Instant::now() < until);
    }
    check_pipeline(&received, &expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Every file outside holds the word, and no file inside does.
    #[test]
    fn no_path_ever_resolves_to_what_lies_outside_of_the_root(
        paths in prop::collection::vec(path(), 16),
    ) {
        let folder = Folder::new("property");
        folder.put("a/b", "inside");
        fs::write(folder.0.join("secret"), "secret").unwrap();
        symlink("..", folder.path("up")).unwrap();
        symlink("a", folder.path("aside")).unwrap();
        symlink("/", folder.path("top")).unwrap();
        let files = Files::new(folder.root()).unwrap().hidden(true);
        let mut world = World::new(Router::new().files("/", files));
        for path in paths {
            let answer = world.get(&path, "");
            prop_assert!(matches!(answer.status, 200 | 301 | 404), "{} {}", path, answer.status);
            prop_assert!(answer.status != 200 || answer.body == b"inside", "{}", path);
        }
    }
}

/// Paths of the parts that attacks are made of.
fn path() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "a", "b", "up", "aside", "top", "secret", "root", "..", ".", "%2e%2e", ".%2e", "%2f",
        "%5c", "%00", "\\", "", "etc", "passwd", "%25", "2e", "%ff",
    ]);
    let glue = prop::sample::select(vec!["/", "/", "/", "%2f", "//", ""]);
    prop::collection::vec((part, glue), 1..8).prop_map(|parts| {
        let parts: String = parts
            .into_iter()
            .flat_map(|(part, glue)| [part, glue])
            .collect();
        format!("/{parts}")
    })
}
