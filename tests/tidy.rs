//! The project's own rules, checked against the project's own files: what the compiler and clippy
//! cannot see.
//!
//! Every rule is a function from text to complaints. It is applied to the tree once, and to a
//! small bad example, because a check that cannot fail checks nothing. The rules know no item of
//! the library; what they need to know of its shape is read from ARCHITECTURE.md.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "tidy/source.rs"]
mod source;

use source::{Token, starts_with};

/// A Rust file below `src/`.
struct File {
    /// Relative to `src/`, with `/` on every system.
    path: String,
    text: String,
    /// Everything outside of tests.
    code: Vec<Token>,
    test_lines: usize,
}

impl File {
    fn new(path: &str, text: &str) -> File {
        let (code, test_lines) = source::without_tests(&source::tokens(text));
        File {
            path: path.into(),
            text: text.into(),
            code,
            test_lines,
        }
    }

    /// The room that the file stands in: the first part of its path, without `.rs`.
    fn room(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// How deep the file's module lies below the crate's root.
    fn depth(&self) -> usize {
        let parts = self.path.split('/').count();
        let is_its_folder = self.path == "lib.rs" || self.path.ends_with("/mod.rs");
        parts - usize::from(is_its_folder)
    }

    /// The front page of the crate is no room: it only says what is public, and stands above all.
    fn is_front_page(&self) -> bool {
        self.path == "lib.rs"
    }

    fn complain(&self, line: usize, complaint: &str) -> String {
        format!("src/{}:{line}: {complaint}", self.path)
    }
}

/// The floor of each room, as ARCHITECTURE.md has it.
type Floors = BTreeMap<String, u32>;

/// Reads the table whose header begins with `| floor | room |`.
fn floors(architecture: &str) -> Floors {
    let mut floors = Floors::new();
    let table = architecture
        .lines()
        .skip_while(|line| !line.starts_with("| floor | room |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    for row in table {
        let mut cells = row.split('|').skip(1).map(str::trim);
        let floor = cells.next().and_then(|floor| floor.parse().ok());
        let floor = floor.unwrap_or_else(|| panic!("no floor in the row {row:?}"));
        for name in in_backticks(cells.next().unwrap_or_default()) {
            let room = name.trim_end_matches('/').trim_end_matches(".rs");
            let before = floors.insert(room.to_owned(), floor);
            assert_eq!(before, None, "{name} stands in the table twice");
        }
    }
    floors
}

/// The pieces of a line that are set as code.
fn in_backticks(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Imports point down: never up, never to a room on the same floor.
fn check_imports(floors: &Floors, file: &File) -> Vec<String> {
    let mut complaints = Vec::new();
    let Some(own_floor) = floors.get(file.room()) else {
        return complaints;
    };
    for path in source::paths(&file.code) {
        let Some(target) = target_of(&path, file.depth()) else {
            continue;
        };
        let complaint = match floors.get(target) {
            _ if target == file.room() => continue,
            Some(floor) if floor < own_floor => continue,
            Some(floor) => format!("floor {own_floor} must not know `{target}` on floor {floor}"),
            None => format!("`{target}` is no room in the table of ARCHITECTURE.md"),
        };
        complaints.push(file.complain(path.line, &complaint));
    }
    // One import of several items is one mistake.
    complaints.dedup();
    complaints
}

/// What a path names in the root of the crate, if it goes through there. `depth` is that of the
/// file's module.
fn target_of(path: &source::Path, depth: usize) -> Option<&str> {
    let segments: Vec<&str> = path.segments.iter().map(String::as_str).collect();
    let below_root = match segments[..] {
        ["crate", ref rest @ ..] if !rest.is_empty() => rest,
        ["super" | "self", ..] => {
            let climbs = segments
                .iter()
                .take_while(|&&name| name == "super" || name == "self");
            let supers = climbs.clone().filter(|&&name| name == "super").count();
            if supers < depth + path.inline_depth {
                return None;
            }
            &segments[climbs.count()..]
        }
        _ => return None,
    };
    Some(below_root.first().copied().unwrap_or("super"))
}

/// The table and the folder name the same rooms.
fn check_rooms(floors: &Floors, files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files {
        if !file.is_front_page() && !floors.contains_key(file.room()) {
            complaints.push(file.complain(1, "its room is not in the table of ARCHITECTURE.md"));
        }
    }
    for room in floors.keys() {
        if !files.iter().any(|file| file.room() == room) {
            complaints.push(format!("ARCHITECTURE.md: src/ has no room `{room}`"));
        }
    }
    complaints
}

/// A file begins by saying what it is for and what it knows, or must not know.
fn check_header(file: &File) -> Vec<String> {
    let header: Vec<&str> = file
        .text
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .collect();
    if header.iter().filter(|line| !line.trim().is_empty()).count() < 2 {
        return vec![file.complain(1, "a header of at least two lines `//!` is missing")];
    }
    let words = header.join(" ").to_lowercase();
    if !file.is_front_page() && !words.contains("know") && !words.contains("pure") {
        return vec![file.complain(1, "the header does not say what the file must not know")];
    }
    Vec::new()
}

/// A file is one idea.
fn check_len(file: &File) -> Vec<String> {
    let len = file.text.lines().count() - file.test_lines;
    if len > MAX_FILE_LEN {
        let complaint = format!("{len} lines without tests; {MAX_FILE_LEN} are allowed");
        return vec![file.complain(1, &complaint)];
    }
    Vec::new()
}

/// No line is wider than what stands side by side on a screen.
fn check_width(path: &str, text: &str) -> Vec<String> {
    let wide = (1..)
        .zip(text.lines())
        .filter(|(_, line)| line.chars().count() > MAX_WIDTH);
    wide.map(|(number, _)| format!("{path}:{number}: wider than {MAX_WIDTH}"))
        .collect()
}

/// No peer and no condition of the OS may panic the library: `expect` states an invariant,
/// `unwrap` states nothing.
fn check_unwrap(file: &File) -> Vec<String> {
    let calls = file.code.windows(4);
    let calls = calls.filter(|tokens| starts_with(tokens, &[".", "unwrap", "(", ")"]));
    calls
        .map(|tokens| file.complain(tokens[0].line, "`unwrap` in the library"))
        .collect()
}

/// One file polls, and few read the clock: everything else can be run by a simulation. Few make
/// socket options by nix's macros, whose `unsafe` no lint sees.
fn check_boundary(file: &File) -> Vec<String> {
    let mut complaints = Vec::new();
    for path in source::paths(&file.code) {
        let names: Vec<&str> = path.segments.iter().map(String::as_str).collect();
        let polls = matches!(names[..], ["mio", "Poll" | "*", ..]);
        let reads_clock = matches!(names[..], [.., "Instant" | "SystemTime", "now"]);
        if polls && !POLLERS.contains(&file.path.as_str()) {
            complaints.push(file.complain(path.line, "names `mio::Poll`"));
        }
        let makes_option = names.iter().any(|name| name.ends_with("sockopt_impl"));
        if makes_option && !OPTIONS.contains(&file.path.as_str()) {
            complaints.push(file.complain(path.line, "makes a socket option"));
        }
        if reads_clock && !CLOCKS.contains(&file.path.as_str()) {
            complaints.push(file.complain(path.line, "reads the clock"));
        }
    }
    complaints
}

/// Every file that a document names exists.
fn check_links(document: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let folders = ["src/", "tests/", "benches/", "examples/"];
        let named =
            in_backticks(line).filter(|name| folders.iter().any(|folder| name.starts_with(folder)));
        for name in named.filter(|name| !exists(name)) {
            complaints.push(format!("{document}:{number}: there is no `{name}`"));
        }
    }
    complaints
}

/// The table of limits in a document is the one that stands in the code.
fn check_limits(architecture: &str, limits: &str) -> Vec<String> {
    let rows: Vec<&str> = limits
        .lines()
        .filter_map(|line| line.strip_prefix("/// | `"))
        .collect();
    assert!(!rows.is_empty(), "src/limits.rs has its table");
    let is_missing = |row: &&str| !architecture.lines().any(|line| line.ends_with(row));
    let missing = rows.into_iter().filter(is_missing);
    missing
        .map(|row| format!("ARCHITECTURE.md: add `| `{row}` from src/limits.rs"))
        .collect()
}

/// The only file that may name `mio::Poll`.
const POLLERS: [&str; 1] = ["net/os.rs"];
/// The only files that may read the clock.
const CLOCKS: [&str; 3] = ["net/os.rs", "net/memory.rs", "sim/fabric.rs"];
/// The only files that may make a socket option: each says why the kernel may read its value.
const OPTIONS: [&str; 2] = ["net/defer.rs", "net/source_group.rs"];
/// Lines of a file without its tests. What is aimed at is 60 to 400.
const MAX_FILE_LEN: usize = 600;
/// Characters of a line.
const MAX_WIDTH: usize = 100;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All Rust files of a folder, relative to the root, in order. None if there is no such folder.
fn rust_files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(root().join(&folder)) else {
            continue;
        };
        for entry in entries {
            let name = entry.expect("a folder can be listed").file_name();
            let path = folder.join(name);
            // A crate of its own inside a folder has rules of its own.
            if root().join(&path).join("Cargo.toml").exists() {
                continue;
            }
            if path.extension().is_some_and(|extension| extension == "rs") {
                let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
                found.push(parts.join("/"));
            } else if root().join(&path).is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

fn src() -> Vec<File> {
    let paths = rust_files("src");
    paths
        .iter()
        .map(|path| File::new(&path["src/".len()..], &read(path)))
        .collect()
}

#[track_caller]
fn assert_tidy(complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<String> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

mod the_tree {
    use super::*;

    #[test]
    fn imports_point_down() {
        let floors = floors(&read("ARCHITECTURE.md"));
        assert_tidy(src().iter().flat_map(|file| check_imports(&floors, file)));
    }

    #[test]
    fn every_room_stands_in_the_table_and_every_row_in_the_tree() {
        assert_tidy(check_rooms(&floors(&read("ARCHITECTURE.md")), &src()));
    }

    #[test]
    fn every_file_says_what_it_must_not_know() {
        assert_tidy(src().iter().flat_map(check_header));
    }

    #[test]
    fn no_file_is_too_long() {
        assert_tidy(src().iter().flat_map(check_len));
    }

    #[test]
    fn no_line_is_too_wide() {
        let folders = ["src", "tests", "examples", "benches"];
        let files = folders.into_iter().flat_map(rust_files);
        assert_tidy(files.flat_map(|path| check_width(&path, &read(&path))));
    }

    #[test]
    fn the_library_does_not_unwrap() {
        assert_tidy(src().iter().flat_map(check_unwrap));
    }

    #[test]
    fn only_the_network_polls_and_reads_the_clock() {
        assert_tidy(src().iter().flat_map(check_boundary));
    }

    #[test]
    fn the_documents_name_files_that_exist() {
        for document in [
            "ARCHITECTURE.md",
            "CONTRIBUTING.md",
            "PERFORMANCE.md",
            "README.md",
        ] {
            let exists = |name: &str| root().join(name).exists();
            assert_tidy(check_links(document, &read(document), exists));
        }
    }

    #[test]
    fn the_table_of_limits_is_that_of_the_code() {
        assert_tidy(check_limits(
            &read("ARCHITECTURE.md"),
            &read("src/limits.rs"),
        ));
    }
}

mod the_checks {
    use super::*;

    const TABLE: &str = "\
        text\n\
        | floor | room | what lives there | must not know |\n\
        |---|---|---|---|\n\
        | 1 | `token.rs`, `close.rs` | vocabulary | `net/` |\n\
        | 2 | `net/` | sockets | |\n\
        | 3 | `reactor/` | the loop | |\n\
        \n\
        | 9 | `other/` | another table | |\n";

    /// Expects one complaint that contains `expected`, or none if that is empty.
    #[track_caller]
    fn check(complaints: &[String], expected: &str) {
        if expected.is_empty() {
            assert_eq!(complaints, [""; 0]);
        } else {
            assert_eq!(complaints.len(), 1, "{complaints:?}");
            assert!(complaints[0].contains(expected), "{complaints:?}");
        }
    }

    #[track_caller]
    fn check_import(path: &str, code: &str, expected: &str) {
        check(
            &check_imports(&floors(TABLE), &File::new(path, code)),
            expected,
        );
    }

    #[test]
    fn the_table_is_read_row_by_row() {
        let rooms = [("token", 1), ("close", 1), ("net", 2), ("reactor", 3)];
        let expected = rooms.map(|(room, floor)| (room.to_owned(), floor));
        assert_eq!(floors(TABLE), Floors::from(expected));
    }

    #[test]
    fn an_import_from_a_lower_floor_or_the_own_room_is_fine() {
        check_import("net/os.rs", "use crate::token::Token;", "");
        check_import("net/os.rs", "use crate::net::address::Address;", "");
        check_import("net/os.rs", "use super::address::Address;", "");
        check_import("net/mod.rs", "pub(crate) use self::os::Os;", "");
    }

    #[test]
    fn an_import_from_above_is_found() {
        let upward = "src/net/os.rs:2: floor 2 must not know `reactor` on floor 3";
        check_import("net/os.rs", "\nuse crate::reactor::Reactor;", upward);
        check_import("net/os.rs", "\nfn f() { crate::reactor::run() }", upward);
        let among_others = "\nuse crate::{token::Token, reactor::{Core, Entry as _}, close};";
        check_import("net/os.rs", among_others, upward);
    }

    #[test]
    fn an_import_from_the_same_floor_is_found() {
        let sideways = "floor 1 must not know `close` on floor 1";
        check_import("token.rs", "use crate::close::CloseReason;", sideways);
        check_import("token.rs", "use super::close::CloseReason;", sideways);
        check_import(
            "token.rs",
            "mod inner { use super::super::close::A; }",
            sideways,
        );
        check_import(
            "token.rs",
            "mod inner { use super::A; } use super::close::B;",
            sideways,
        );
    }

    #[test]
    fn a_climb_out_of_the_room_is_followed() {
        check_import(
            "net/os.rs",
            "use super::super::reactor::Core;",
            "`reactor` on floor 3",
        );
        check_import(
            "net/mod.rs",
            "use super::reactor::Core;",
            "`reactor` on floor 3",
        );
        check_import(
            "net/os.rs",
            "use self::super::super::reactor::Core;",
            "`reactor`",
        );
        check_import("net/os.rs", "use super::super::token::Token;", "");
    }

    #[test]
    fn an_import_around_the_rooms_is_found() {
        check_import("net/os.rs", "use crate::Reactor;", "`Reactor` is no room");
        check_import("net/os.rs", "use crate::*;", "`*` is no room");
        check_import("net/mod.rs", "use super::*;", "`*` is no room");
    }

    #[test]
    fn comments_literals_and_tests_import_nothing() {
        let import = "use crate::reactor::Core;";
        check_import("net/os.rs", &format!("#![cfg(test)]\n{import}"), "");
        for quiet in [
            format!("// {import}\n/// {import}\n/* /* */ {import} */"),
            format!("const A: &str = \"\\\"{import}\"; const B: &str = r#\"\"{import}\"#;"),
            format!("const C: [char; 2] = ['\"', '\\'']; // {import}"),
            format!("fn f<'a>(x: &'a u8) {{}} // {import}"),
            format!("#[cfg(test)]\nmod tests {{ {import} fn f() {{}} }}"),
            format!("#[cfg(test)]\n{import}"),
        ] {
            check_import("net/os.rs", &quiet, "");
            check_import("net/os.rs", &format!("{quiet}\n{import}"), "reactor");
        }
    }

    #[test]
    fn a_room_without_a_row_and_a_row_without_a_room_are_found() {
        let files = |paths: &[&str]| -> Vec<File> {
            paths.iter().map(|path| File::new(path, "")).collect()
        };
        let all = [
            "lib.rs",
            "token.rs",
            "close.rs",
            "net/mod.rs",
            "reactor/mod.rs",
        ];
        check(&check_rooms(&floors(TABLE), &files(&all)), "");
        check(
            &check_rooms(&floors(TABLE), &files(&all[..4])),
            "no room `reactor`",
        );
        let more = [&all[..], &["attic/mod.rs"]].concat();
        check(
            &check_rooms(&floors(TABLE), &files(&more)),
            "src/attic/mod.rs:1: its room",
        );
    }

    #[test]
    fn a_header_that_is_missing_or_short_or_silent_is_found() {
        let header = |text: &str| check_header(&File::new("net/os.rs", text));
        check(&header("use std::fmt;"), "header of at least two lines");
        check(
            &header("//! Sockets. Knows nothing."),
            "header of at least two lines",
        );
        check(
            &header("//! Sockets. Knows nothing.\n//!\n\n//! More."),
            "at least two lines",
        );
        check(
            &header("//! Sockets.\n//!\n//! And polling."),
            "must not know",
        );
        check(
            &header("//! Sockets.\n//!\n//! Knows nothing of people."),
            "",
        );
        check(&header("//! Arithmetic.\n//! Pure."), "");
    }

    #[test]
    fn a_file_that_is_too_long_is_found_and_tests_do_not_count() {
        let len = |text: &str| check_len(&File::new("net/os.rs", text));
        let code = "fn f() {}\n".repeat(MAX_FILE_LEN);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{code}}}\n");
        check(&len(&format!("{code}{tests}")), "");
        check(&len(&format!("{code}\n{tests}")), "601 lines");
    }

    #[test]
    fn a_line_that_is_too_wide_is_found_and_characters_count_not_bytes() {
        check(
            &check_width("a.rs", &format!("\n{}", "─".repeat(MAX_WIDTH))),
            "",
        );
        check(
            &check_width("a.rs", &format!("\n{}", "─".repeat(MAX_WIDTH + 1))),
            "a.rs:2:",
        );
    }

    #[test]
    fn an_unwrap_is_found_unless_it_is_in_a_test_or_a_comment() {
        let unwrap = |text: &str| check_unwrap(&File::new("net/os.rs", text));
        check(&unwrap("fn f() {\n a\n .unwrap() }"), "src/net/os.rs:3:");
        check(
            &unwrap("/// a.unwrap()\n#[cfg(test)]\nfn f() { a.unwrap() }"),
            "",
        );
        check(&unwrap("fn f() { a.unwrap_or(b) }"), "");
    }

    #[test]
    fn a_further_poller_or_clock_or_maker_of_options_is_found() {
        let boundary = |path: &str, text: &str| check_boundary(&File::new(path, text));
        for polls in [
            "use mio::{Events, Poll};",
            "fn f() { mio::Poll::new() }",
            "use mio::*;",
        ] {
            check(&boundary("net/os.rs", polls), "");
            check(&boundary("net/socket.rs", polls), "names `mio::Poll`");
        }
        for clock in [
            "fn f() { Instant::now() }",
            "fn f() { std::time::SystemTime::now() }",
        ] {
            check(&boundary("net/memory.rs", clock), "");
            check(&boundary("reactor/mod.rs", clock), "reads the clock");
        }
        for option in [
            "nix::setsockopt_impl!(A, 1, 2, u8, B);",
            "use nix::{libc, sockopt_impl};",
        ] {
            check(&boundary("net/defer.rs", option), "");
            check(&boundary("net/sockopt.rs", option), "makes a socket option");
        }
    }

    #[test]
    fn a_dead_link_is_found() {
        let text = "one `src/net/` and\n`src/attic.rs`, `Poll`";
        let links = check_links("A.md", text, |name| name == "src/net/");
        check(&links, "A.md:2: there is no `src/attic.rs`");
    }

    #[test]
    fn a_limit_that_the_document_has_wrong_is_found() {
        let limits = "/// | field | default |\n/// |---|---|\n/// | `a` | 1 |\n/// | `b` | 2 |\n";
        check(&check_limits("| `a` | 1 |\n| `b` | 2 |", limits), "");
        check(
            &check_limits("| `a` | 1 |\n| `b` | 3 |", limits),
            "| `b` | 2 |",
        );
    }
}
