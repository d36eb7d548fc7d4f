//! What is fuzzed: functions from bytes that no peer should be trusted with to nothing. One that
//! panics has found something.
//!
//! Driven by `cargo fuzz` (tests/fuzz), which looks for inputs that reach new code, and by
//! `cargo test` (tests/fuzzed.rs), which tries some thousands without knowing the code.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::OnceLock;

use windlass::framing::testing::{Event, events};
use windlass::http::client::{self, Responses};
use windlass::http::{Files, Limits, Method, Part, RequestError, Requests, Router, Server};

use super::connection::{Tried, try_client, try_server};

/// One that panics has found something.
pub(crate) type Target = fn(&[u8]);

/// Every target, by the name that its binary and its corpus have.
pub(crate) const ALL: [(&str, Target); 6] = [
    ("request_head", request_head),
    ("chunked_body", chunked_body),
    ("connection", connection),
    ("response", response),
    ("client", client_connection),
    ("static_path", static_path),
];

/// A stream of requests is the same however it is cut, and the first head is read as `httparse`,
/// a parser of others, reads it.
pub(crate) fn request_head(data: &[u8]) {
    let whole = requests(data, &[]);
    for cuts in cuts(data) {
        assert_eq!(requests(data, &cuts), whole, "cut at {cuts:?}");
    }
    let Some(Seen::Head { line, fields }) = whole.0.first() else {
        return;
    };
    let mut table = [httparse::EMPTY_HEADER; 128];
    let mut theirs = httparse::Request::new(&mut table);
    // A later minor version, which `httparse` refuses, is taken for the last that is known.
    let mut known = data.to_vec();
    let version = data.windows(8).position(|bytes| bytes == b" HTTP/1.");
    if let Some(minor @ b'2'..=b'9') = version.and_then(|at| known.get_mut(at + 8)) {
        *minor = b'1';
    }
    let parsed = theirs.parse(&known);
    assert!(
        matches!(parsed, Ok(httparse::Status::Complete(_))),
        "{parsed:?}"
    );
    let version = theirs
        .version
        .map_or("", |minor| ["HTTP/1.0", "HTTP/1.1"][usize::from(minor)]);
    let their_line = [
        theirs.method.unwrap_or(""),
        theirs.path.unwrap_or(""),
        version,
    ]
    .join(" ");
    assert_eq!(*line, their_line);
    let their_fields = theirs.headers.iter();
    let their_fields =
        their_fields.map(|field| (field.name.into(), field.value.trim_ascii().into()));
    assert_eq!(*fields, their_fields.collect::<Vec<(String, Vec<u8>)>>());
}

/// A chunked body is the same however it is cut, and what a simple reader finds in it.
pub(crate) fn chunked_body(data: &[u8]) {
    let head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let input = [&head[..], data].concat();
    let whole = requests(&input, &[]);
    for cuts in cuts(&input) {
        assert_eq!(requests(&input, &cuts), whole, "cut at {cuts:?}");
    }
    let mut body = Vec::new();
    for seen in &whole.0[1..] {
        match seen {
            Seen::Body(bytes) => body.extend_from_slice(bytes),
            Seen::End(_) => {
                assert_eq!(Some(body), plain_chunks(data));
                return;
            }
            Seen::Head { .. } => panic!("a head in a body"),
        }
    }
}

/// Whatever a peer sends, and however it is cut: the server neither panics nor hangs, its answers
/// are well-formed as a strict client reads them, and it takes the same requests from it.
pub(crate) fn connection(data: &[u8]) {
    let whole = try_server(&site(), data, &[data.len()]);
    check_answers(data, &whole);
    for cuts in cuts(data) {
        let cut = try_server(&site(), data, &cuts);
        check_answers(data, &cut);
        // A peer that expects `100 Continue` is answered otherwise if its body is here already:
        // there is nothing to be continued, and the connection can go on.
        if data
            .windows(6)
            .any(|word| word.eq_ignore_ascii_case(b"expect"))
        {
            let len = whole.requests.len().min(cut.requests.len());
            assert_eq!(
                whole.requests[..len],
                cut.requests[..len],
                "cut at {cuts:?}"
            );
        } else {
            assert_eq!(whole.requests, cut.requests, "cut at {cuts:?}");
            assert_eq!(
                String::from_utf8_lossy(&whole.answers),
                String::from_utf8_lossy(&cut.answers),
                "cut at {cuts:?}"
            );
        }
    }
}

/// Answers are the same however they are cut, and the first head is read as `httparse` reads it.
pub(crate) fn response(data: &[u8]) {
    let Some((&kind, data)) = data.split_first() else {
        return;
    };
    let asked = if kind & 1 == 1 {
        Method::Head
    } else {
        Method::Get
    };
    let whole = responses(asked, data, &[]);
    for cuts in cuts(data) {
        assert_eq!(responses(asked, data, &cuts), whole, "cut at {cuts:?}");
    }
    let Some(Seen::Head { line, fields }) = whole.0.first() else {
        return;
    };
    let mut data = data;
    loop {
        let mut table = [httparse::EMPTY_HEADER; 128];
        let mut theirs = httparse::Response::new(&mut table);
        let parsed = theirs.parse(data);
        let Ok(httparse::Status::Complete(len)) = parsed else {
            panic!("{parsed:?}");
        };
        if theirs.code.is_some_and(|code| code < 200) {
            data = &data[len..];
            continue;
        }
        assert_eq!(
            *line,
            format!("{} {}", theirs.version.unwrap(), theirs.code.unwrap())
        );
        let their_fields = theirs.headers.iter();
        let their_fields =
            their_fields.map(|field| (field.name.into(), field.value.trim_ascii().into()));
        assert_eq!(*fields, their_fields.collect::<Vec<(String, Vec<u8>)>>());
        return;
    }
}

/// Whatever a server answers: every request of a client has one outcome, in the end.
pub(crate) fn client_connection(data: &[u8]) {
    let whole = try_client(data, &[data.len()]);
    for cuts in cuts(data) {
        let cut = try_client(data, &cuts);
        assert_eq!(cut.len(), whole.len());
        // What is behind an answer that closes is sent again, and meets the same bytes. How far
        // that goes depends on the split; the first answer does not.
        assert_eq!(cut[0], whole[0], "cut at {cuts:?}");
    }
}

/// No path leads out of a directory that is served.
pub(crate) fn static_path(data: &[u8]) {
    static ROOT: OnceLock<std::path::PathBuf> = OnceLock::new();
    let root = ROOT.get_or_init(|| {
        // Below it a file; beside it a secret, to which a link in it leads.
        let folder = option_env!("CARGO_TARGET_TMPDIR")
            .map_or_else(std::env::temp_dir, std::path::PathBuf::from)
            .join("windlass-fuzz");
        let root = folder.join("root");
        std::fs::create_dir_all(root.join("a")).unwrap();
        std::fs::write(root.join("a/b.txt"), "public").unwrap();
        std::fs::write(root.join(".hidden"), SECRET).unwrap();
        std::fs::write(folder.join("secret.txt"), SECRET).unwrap();
        let _ = std::os::unix::fs::symlink("../secret.txt", root.join("link"));
        let _ = std::os::unix::fs::symlink("../..", root.join("a/up"));
        root
    });
    let path: Vec<u8> = data.iter().copied().filter(u8::is_ascii_graphic).collect();
    let request = [b"GET /", &path[..], b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
    let server = Server::new(Router::new().files("/", Files::new(root).unwrap()));
    let tried = try_server(&server, &request, &[request.len()]);
    let secret = SECRET.as_bytes();
    let is_told = tried
        .answers
        .windows(secret.len())
        .any(|window| window == secret);
    assert!(!is_told, "{:?}", String::from_utf8_lossy(&request));
}

/// What a stream consists of, pieces of bodies put together.
#[derive(Debug, PartialEq)]
enum Seen {
    Head {
        line: String,
        fields: Vec<(String, Vec<u8>)>,
    },
    Body(Vec<u8>),
    /// With so many trailers.
    End(usize),
}

/// A frame as what it stands for.
struct Pieces(Vec<Seen>);

fn fields(fields: windlass::http::Fields<'_>) -> Vec<(String, Vec<u8>)> {
    let owned = |(name, value): (&str, &[u8])| (name.to_owned(), value.to_owned());
    fields.iter().map(owned).collect()
}

impl From<Part<'_>> for Pieces {
    fn from(part: Part<'_>) -> Pieces {
        let of = |head: windlass::http::Head<'_>| Seen::Head {
            line: format!(
                "{} {} {}",
                head.method_name(),
                head.target(),
                match head.version() {
                    windlass::http::Version::Http10 => "HTTP/1.0",
                    windlass::http::Version::Http11 => "HTTP/1.1",
                }
            ),
            fields: fields(head.fields()),
        };
        Pieces(match part {
            Part::Request { head, body } => vec![of(head), Seen::Body(body.to_vec()), Seen::End(0)],
            Part::Head(head) => vec![of(head)],
            Part::Body { bytes, end } => body(bytes, end.map(|fields| fields.iter().count())),
        })
    }
}

impl From<client::Part<'_>> for Pieces {
    fn from(part: client::Part<'_>) -> Pieces {
        let of = |head: client::Head<'_>| Seen::Head {
            line: format!(
                "{} {}",
                match head.version() {
                    windlass::http::Version::Http10 => 0,
                    windlass::http::Version::Http11 => 1,
                },
                head.status().code()
            ),
            fields: fields(head.fields()),
        };
        Pieces(match part {
            client::Part::Response { head, body } => {
                vec![of(head), Seen::Body(body.to_vec()), Seen::End(0)]
            }
            client::Part::Head(head) => vec![of(head)],
            client::Part::Body { bytes, end } => {
                body(bytes, end.map(|fields| fields.iter().count()))
            }
        })
    }
}

fn body(bytes: &[u8], end: Option<usize>) -> Vec<Seen> {
    let mut pieces = vec![Seen::Body(bytes.to_vec())];
    pieces.extend(end.map(Seen::End));
    pieces
}

/// What a decoder found, and what it had to complain of.
fn put_together<E: std::fmt::Debug>(all: Vec<Event<Pieces, E>>) -> (Vec<Seen>, Option<String>) {
    let mut seen: Vec<Seen> = Vec::new();
    let mut complaint = None;
    for event in all {
        match event {
            Event::Frame(Pieces(pieces)) => {
                for piece in pieces {
                    match (seen.last_mut(), piece) {
                        (Some(Seen::Body(before)), Seen::Body(bytes)) => before.extend(bytes),
                        (_, piece) => seen.push(piece),
                    }
                }
            }
            Event::Skipped(error) => panic!("{error:?}"),
            Event::Malformed(error) => complaint = Some(format!("{error:?}")),
            Event::Partial(_) => complaint = Some("partial".into()),
        }
    }
    (seen, complaint)
}

fn requests(input: &[u8], cuts: &[usize]) -> (Vec<Seen>, Option<String>) {
    let limits = Limits {
        max_head_len: 2000,
        max_target_len: 1000,
        max_trailers_len: 500,
        ..Limits::default()
    };
    put_together::<RequestError>(events(Requests::new(Rc::new(limits)), input, cuts))
}

fn responses(asked: Method, input: &[u8], cuts: &[usize]) -> (Vec<Seen>, Option<String>) {
    let limits = client::Limits {
        max_head_len: 2000,
        max_trailers_len: 500,
        max_interim: 4,
        ..client::Limits::default()
    };
    let asked = Rc::new(Cell::new(Some(asked)));
    put_together(events(Responses::new(&limits, asked), input, cuts))
}

/// Byte by byte; and in pieces which the data decide about.
fn cuts(data: &[u8]) -> Vec<Vec<usize>> {
    let mut at = 0;
    let mut some = Vec::new();
    for byte in data {
        at += 1 + usize::from(*byte % 61);
        if at >= data.len() {
            break;
        }
        some.push(at);
    }
    // Longer ones have been cut often enough.
    let one_by_one = (1..data.len().min(300)).collect();
    vec![some, one_by_one]
}

/// The body, if this is a complete one without anything unusual in it that only looks so.
fn plain_chunks(mut data: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = data.windows(2).position(|pair| pair == b"\r\n")?;
        let line = std::str::from_utf8(&data[..end]).ok();
        let digits = match line {
            Some(line) => line.split(';').next()?,
            // Extensions may be quoted, and then anything but text.
            None => std::str::from_utf8(data.split(|&byte| byte == b';').next()?).ok()?,
        };
        let size = usize::from_str_radix(digits, 16).ok()?;
        data = &data[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(data.get(..size)?);
        data = data[size..].strip_prefix(b"\r\n")?;
    }
}

/// The answers are those of a server that knows its trade: one for each request, in order, and one
/// more if it refused something.
fn check_answers(data: &[u8], tried: &Tried) {
    let asked = Rc::new(Cell::new(None));
    let mut responses = Responses::new(&client::Limits::default(), Rc::clone(&asked));
    let heads = requests(data, &[]).0.into_iter();
    let lines = heads.filter_map(|seen| match seen {
        Seen::Head { line, .. } => Some(line),
        Seen::Body(_) | Seen::End(_) => None,
    });
    let lines: Vec<String> = lines.collect();
    let mut rest = &tried.answers[..];
    let mut count = 0;
    let mut is_last = false;
    let mut is_within = false;
    let blame = || {
        let data = String::from_utf8_lossy(data);
        format!(
            "{data:?} was answered {:?}",
            String::from_utf8_lossy(&tried.answers)
        )
    };
    use windlass::Decoder;
    use windlass::framing::Step;
    while !rest.is_empty() {
        let is_head = lines
            .get(count)
            .is_some_and(|line| line.starts_with("HEAD "));
        asked.set(Some(if is_head { Method::Head } else { Method::Get }));
        let step = responses
            .decode(rest)
            .unwrap_or_else(|error| panic!("{error}: {}", blame()));
        let consumed = match step {
            Step::Frame { frame, consumed } => {
                let (head, is_end) = match frame {
                    client::Part::Response { head, .. } => (Some(head), true),
                    client::Part::Head(head) => (Some(head), false),
                    client::Part::Body { end, .. } => (None, end.is_some()),
                };
                if let Some(head) = head {
                    assert!(!is_last, "an answer behind the last: {}", blame());
                    is_last = head.header("connection") == Some("close");
                    assert!(head.header("date").is_some(), "{}", blame());
                }
                count += usize::from(is_end);
                is_within = !is_end;
                consumed
            }
            Step::Skip { consumed, .. } => consumed,
            Step::More { .. } => panic!("an answer is cut off: {}", blame()),
        };
        rest = &rest[consumed..];
    }
    // A body that ends with its connection.
    if let Ok(Step::Frame { .. }) = responses.decode_eof(&[]) {
        count += 1;
        is_within = false;
    }
    assert!(!is_within, "a body is cut off: {}", blame());
    // Some are refused before a handler sees them, and one more may be what is no request.
    let expected = tried.requests.len()..=lines.len() + 1;
    assert!(expected.contains(&count), "{count}: {}", blame());
}

fn site() -> Server {
    super::connection::site()
}

/// What nobody is to see.
const SECRET: &str = "the secret of the captain";
