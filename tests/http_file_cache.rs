//! Files that are kept in memory: what is sent is what is there, or was a known time ago. Over the
//! network in memory, from directories of the real file system; time is virtual.

#![cfg(feature = "http")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use windlass::http::{FileCache, Files, Router, Server};

#[path = "http_conformance/answers.rs"]
mod answers;
#[path = "common/folder.rs"]
mod folder;
#[path = "common/http_world.rs"]
mod world;

use answers::{Answer, parse};
use folder::Folder;
use world::{LATE, World};

const SECOND: Duration = Duration::from_secs(1);

impl Folder {
    /// Writes a file, and waits until the clock of the file system has gone on.
    fn put(&self, name: &str, text: &str) {
        let clock = |path: &Path| {
            let metadata = fs::metadata(path).unwrap();
            (metadata.ctime(), metadata.ctime_nsec())
        };
        let (path, other) = (self.path(name), self.0.join("clock"));
        fs::write(&path, text).unwrap();
        while {
            fs::write(&other, "").unwrap();
            clock(&path) == clock(&other)
        } {}
    }
}

/// Serves long after all was written.
fn world(folder: &Folder, cache: FileCache) -> World {
    let files = Files::new(folder.root()).unwrap().cache(cache);
    World::at(Server::new(Router::new().files("/", files)), LATE)
}

fn looking_again() -> FileCache {
    FileCache::default()
}

fn trusting(valid_for: Duration) -> FileCache {
    FileCache {
        valid_for,
        ..FileCache::default()
    }
}

#[track_caller]
fn ask(world: &mut World, method: &str, target: &str, fields: &str) -> Answer {
    world.put(format!(
        "{method} {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n"
    ));
    let received = world.peer.received();
    let (answer, rest) = parse(&received, method == "HEAD").unwrap();
    answer.check().unwrap();
    assert_eq!(rest, b"", "one answer");
    answer
}

#[track_caller]
fn check(world: &mut World, target: &str, fields: &str, status: u16, body: &str) -> Answer {
    let answer = ask(world, "GET", target, fields);
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(
        (answer.status, &*text),
        (status, body),
        "{target} {fields:?}"
    );
    answer
}

/// Whoever has permission for everything is not asked for any.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn what_is_changed_in_any_way_is_noticed_with_the_next_request() {
    let folder = Folder::new("changes");
    folder.put("a", "one");
    let world = &mut world(&folder, looking_again());
    for _ in 0..3 {
        check(world, "/a", "", 200, "one");
    }
    folder.put("a", "two");
    check(world, "/a", "", 200, "two");
    folder.put("b", "six");
    fs::rename(folder.path("b"), folder.path("a")).unwrap();
    check(world, "/a", "", 200, "six");
    folder.put("a", "s");
    check(world, "/a", "", 200, "s");
    fs::remove_file(folder.path("a")).unwrap();
    assert_eq!(ask(world, "GET", "/a", "").status, 404);
    folder.put("a", "again");
    check(world, "/a", "", 200, "again");
    fs::set_permissions(folder.path("a"), fs::Permissions::from_mode(0o0)).unwrap();
    if !is_root() {
        assert_eq!(ask(world, "GET", "/a", "").status, 403);
    }
}

#[test]
fn a_link_that_is_led_outside_leads_nowhere() {
    let folder = Folder::new("links");
    fs::create_dir(folder.path("in")).unwrap();
    folder.put("in/a", "inside");
    fs::create_dir(folder.0.join("out")).unwrap();
    fs::write(folder.0.join("out/a"), "secret").unwrap();
    symlink("in", folder.path("way")).unwrap();
    symlink("in/a", folder.path("a")).unwrap();
    let world = &mut world(&folder, looking_again());
    for target in ["/way/a", "/a"] {
        check(world, target, "", 200, "inside");
        check(world, target, "", 200, "inside");
    }
    for (link, target) in [("way", "../out"), ("a", "../out/a")] {
        fs::remove_file(folder.path(link)).unwrap();
        symlink(target, folder.path(link)).unwrap();
    }
    for target in ["/way/a", "/a"] {
        assert_eq!(ask(world, "GET", target, "").status, 404, "{target}");
    }
    // The same file, moved out: looked at again it is the same, and read again it is not there.
    check(world, "/in/a", "", 200, "inside");
    fs::rename(folder.path("in"), folder.0.join("moved")).unwrap();
    symlink("../moved", folder.path("in")).unwrap();
    world.advance(10 * SECOND);
    assert_eq!(ask(world, "GET", "/in/a", "").status, 404);
}

#[test]
fn for_as_long_as_it_is_valid_a_file_is_not_looked_at() {
    let folder = Folder::new("valid");
    folder.put("a", "one");
    folder.put("b", "b");
    let world = &mut world(&folder, trusting(2 * SECOND));
    check(world, "/a", "", 200, "one");
    check(world, "/b", "", 200, "b");
    folder.put("a", "two");
    fs::remove_file(folder.path("b")).unwrap();
    world.advance(SECOND);
    check(world, "/a", "", 200, "one");
    check(world, "/b", "", 200, "b");
    world.advance(SECOND);
    check(world, "/a", "", 200, "two");
    assert_eq!(ask(world, "GET", "/b", "").status, 404);
    // That there was none is not remembered.
    folder.put("b", "new");
    check(world, "/b", "", 200, "new");
}

#[test]
fn head_conditions_and_ranges_are_answered_from_what_is_kept_as_from_the_file() {
    let folder = Folder::new("same");
    folder.put("a.txt", "0123456789");
    let none = FileCache {
        max_len: 0,
        ..FileCache::default()
    };
    let (read, kept) = (
        &mut world(&folder, none),
        &mut world(&folder, trusting(SECOND)),
    );
    let first = ask(kept, "GET", "/a.txt", "");
    let tag = first.field("etag").unwrap().to_owned();
    let date = first.field("last-modified").unwrap().to_owned();
    let all = [
        String::new(),
        "Range: bytes=2-4\r\n".to_owned(),
        "Range: bytes=20-\r\n".to_owned(),
        format!("Range: bytes=-1\r\nIf-Range: {tag}\r\n"),
        format!("If-None-Match: {tag}\r\n"),
        format!("If-Modified-Since: {date}\r\n"),
        "If-Match: \"x\"\r\n".to_owned(),
    ];
    for fields in &all {
        for method in ["GET", "HEAD"] {
            let (read, kept) = (
                ask(read, method, "/a.txt", fields),
                ask(kept, method, "/a.txt", fields),
            );
            assert_eq!(
                (read.status, &read.body),
                (kept.status, &kept.body),
                "{fields}"
            );
            for name in [
                "content-type",
                "content-length",
                "content-range",
                "accept-ranges",
            ]
            .into_iter()
            .chain(["etag", "last-modified", "vary"])
            {
                assert_eq!(
                    read.field(name),
                    kept.field(name),
                    "{method} {fields} {name}"
                );
            }
        }
    }
    let several = ask(kept, "GET", "/a.txt", "Range: bytes=0-1,8-9\r\n");
    let text = String::from_utf8(several.body).unwrap();
    assert_eq!(several.status, 206);
    assert!(
        text.contains("\r\n\r\n01\r\n--") && text.contains("\r\n\r\n89\r\n--"),
        "{text}"
    );
}

#[test]
fn compressed_forms_are_kept_and_so_is_that_there_are_none() {
    let folder = Folder::new("coded");
    folder.put("a.txt", "plain");
    folder.put("a.txt.gz", "packed");
    let both = "Accept-Encoding: gzip, br\r\n";
    let again = &mut world(&folder, looking_again());
    let valid = &mut world(&folder, trusting(SECOND));
    for _ in 0..2 {
        for world in [&mut *again, &mut *valid] {
            let answer = check(world, "/a.txt", both, 200, "packed");
            assert_eq!(answer.field("content-encoding"), Some("gzip"));
            assert_eq!(
                answer.field("content-type"),
                Some("text/plain; charset=utf-8")
            );
            check(world, "/a.txt", "", 200, "plain");
        }
    }
    folder.put("a.txt.br", "small");
    check(again, "/a.txt", both, 200, "small");
    check(valid, "/a.txt", both, 200, "packed");
    valid.advance(SECOND);
    check(valid, "/a.txt", both, 200, "small");
    // One that is older than what it was made of is not sent.
    folder.put("a.txt", "newer");
    check(again, "/a.txt", both, 200, "newer");
}

#[test]
fn what_does_not_fit_makes_room_and_is_read_again() {
    let folder = Folder::new("room");
    for name in ["a", "b", "c", "d"] {
        folder.put(name, "first");
    }
    let cache = FileCache {
        max_files: 2,
        ..trusting(Duration::from_secs(3600))
    };
    let world = &mut world(&folder, cache);
    for name in ["a", "b", "c", "d"] {
        check(world, &format!("/{name}"), "", 200, "first");
    }
    for name in ["a", "b", "c", "d"] {
        folder.put(name, "second");
    }
    // Two of the four are kept; asked for in this order, those are the last ones.
    check(world, "/d", "", 200, "first");
    check(world, "/a", "", 200, "second");
}

#[test]
fn a_file_that_is_too_large_or_was_changed_just_now_is_not_kept() {
    let folder = Folder::new("unkept");
    folder.put("large", "0123456789");
    let cache = FileCache {
        max_file_len: 9,
        ..trusting(Duration::from_secs(3600))
    };
    let mut late = world(&folder, cache);
    check(&mut late, "/large", "", 200, "0123456789");
    folder.put("large", "9876543210");
    check(&mut late, "/large", "", 200, "9876543210");

    let files = Files::new(folder.root()).unwrap();
    let files = files.cache(trusting(Duration::from_secs(3600)));
    // In 1970 all that there is was changed just now.
    let mut early = World::with(Server::new(Router::new().files("/", files)));
    check(&mut early, "/large", "", 200, "9876543210");
    folder.put("large", "changed");
    check(&mut early, "/large", "", 200, "changed");
}
