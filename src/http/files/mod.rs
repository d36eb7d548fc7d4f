//! `Files`: the files of a directory, as resources.
//!
//! A handler like any other. Knows neither connections nor how bodies are sent.

mod cache;
mod coding;
mod conditions;
mod content;
#[cfg(feature = "digest")]
mod digests;
mod found;
#[cfg(feature = "digest")]
mod hashing;
mod media;
mod parts;
mod path;
mod ranges;
mod root;
mod state;

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::rc::Rc;

use rustix::io::Errno;

pub use self::cache::FileCache;
use self::cache::{Cache, Known};
use self::coding::Coding;
use self::content::Content;
#[cfg(feature = "digest")]
pub use self::digests::FileDigests;
use self::found::{Asked, Found};
use self::root::Root;
use super::method::Method;
use super::request::Request;
use super::response::Response;
use super::router::Router;
use super::status::Status;

/// Serves the files of a directory, and nothing else: with [`Router::files`], or in a handler of
/// yours with [`Files::serve`].
///
/// ```no_run
/// use windlass::http::{Files, Router};
///
/// let router = Router::new().files("/static", Files::new("public")?);
/// # drop(router);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// | request | answer |
/// |---|---|
/// | a file | 200 with `Content-Type` by its name, `ETag`, `Last-Modified` |
/// | a directory, without a slash at the end | 301 to the same with a slash |
/// | a directory | its `index.html`, or 404 |
/// | with conditions | 412, 304, or the file, in the order of RFC 9110, section 13.2.2 |
/// | `Range`, if `If-Range` holds | 206 with one range, or up to 16 as `multipart/byteranges` |
/// | ranges of which none exists | 416 with the length |
/// | malformed ranges, more than 16, or together more than the file | the whole file |
/// | several ranges of a file in a coding | the whole file |
/// | `Accept-Encoding`, and `NAME.br` or `NAME.gz` is not older | that, with `Content-Encoding` |
/// | neither GET nor HEAD | 405 with `Allow` |
/// | it may not be read | 403 |
/// | anything else | 404 |
///
/// **Nothing outside of the directory is served.** `..`, encoded slashes, backslashes and NUL name
/// nothing, and Linux itself confines the lookup (`openat2` with `RESOLVE_BENEATH`, since 5.6):
/// symbolic links are followed as long as they stay within. Where the system cannot do that, the
/// path is walked name by name, and no link is followed. FIFOs, devices and sockets are as good as
/// not there, and so are files whose name begins with a dot, except for `.well-known`.
///
/// `ETag` is made of the time of the file's last change and its length. It is strong, unless the
/// file was changed just now: then it could change again without a trace. With the feature `digest`
/// it can be made of the content, and digests of it be told: `Files::digests`.
///
/// **Small files are kept in memory**, and looked at again for each request, so that what is sent
/// is what is there; or only after a while, if that is good enough: [`Files::cache`].
///
/// **The price:** disks are read in the reactor's thread, up to 256 KiB at a time, when the peer
/// can take more. That costs nothing where files are in the page cache; a slow disk or a network
/// file system holds up all connections. A transfer holds one descriptor, and no memory: a file is
/// sent from where it lies (`sendfile`), unless it is small or several ranges of it were asked for.
/// So what is written to it meanwhile may be sent: replace files by renaming new ones. A file that
/// becomes shorter while it is sent ends its connection with a reset, so that the peer does not
/// take what it has for the whole.
#[derive(Debug)]
pub struct Files {
    root: Root,
    serves_hidden: bool,
    serves_encoded: bool,
    cache: Cache,
    #[cfg(feature = "digest")]
    digests: Option<Rc<digests::Digests>>,
}

impl Files {
    /// Those below the directory `root`, which is opened here. If its name is given to another
    /// directory later, this goes on serving the first.
    ///
    /// # Errors
    /// It is no directory, or may not be read.
    pub fn new(root: impl AsRef<Path>) -> io::Result<Files> {
        Ok(Files {
            root: Root::open(root.as_ref())?,
            serves_hidden: false,
            serves_encoded: true,
            cache: Cache::new(FileCache::default()),
            #[cfg(feature = "digest")]
            digests: None,
        })
    }

    /// Whether files and directories whose name begins with a dot are served. Default: not.
    #[must_use]
    pub fn hidden(mut self, serves_hidden: bool) -> Files {
        self.serves_hidden = serves_hidden;
        self
    }

    /// Whether it is looked for files that are compressed already. Default: yes.
    #[must_use]
    pub fn precompressed(mut self, serves_encoded: bool) -> Files {
        self.serves_encoded = serves_encoded;
        self
    }

    /// How small files are kept in memory. Default: as [`FileCache::default`] says, which looks at
    /// the file for each request.
    #[must_use]
    pub fn cache(mut self, cache: FileCache) -> Files {
        self.cache = Cache::new(cache);
        self
    }

    /// Tells digests of the files (RFC 9530), and makes the tags of small ones of their content.
    /// Default: not. [`FileDigests`] says which, when, and at what price.
    #[cfg(feature = "digest")]
    #[must_use]
    pub fn digests(mut self, digests: FileDigests) -> Files {
        self.digests = Some(Rc::new(digests::Digests::new(digests)));
        self
    }

    /// Answers `request` with what `path` names: relative to the root, without a slash at its
    /// beginning, and still percent-encoded, like [`Request::raw_param`].
    pub fn serve(&self, path: &str, request: &Request<'_>) -> Response {
        if !matches!(request.method(), Method::Get | Method::Head) {
            return Response::error(Status::METHOD_NOT_ALLOWED).header("Allow", "GET, HEAD");
        }
        self.find(path, request)
            .unwrap_or_else(|error| refusal(&error))
    }

    fn find(&self, path: &str, request: &Request<'_>) -> io::Result<Response> {
        let Some(named) = path::resolve(path, self.serves_hidden) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let path = match (named.is_directory, &*named.path) {
            (false, path) => Cow::Borrowed(path),
            (true, b"") => Cow::Borrowed(INDEX.as_bytes()),
            (true, path) => Cow::Owned([path, b"/", INDEX.as_bytes()].concat()),
        };
        let asked = Asked::of(request);
        match self.look_up(&path, None, &asked)? {
            Some(found) => Ok(self.answer(&path, found, &asked)),
            // A directory of the index's name.
            None if named.is_directory => Err(io::ErrorKind::NotFound.into()),
            None => Ok(with_slash(request)),
        }
    }

    /// Answers with a file, or what lies there in its place.
    fn answer(&self, path: &[u8], plain: Found, asked: &Asked<'_>) -> Response {
        let found = match self.serves_encoded && asked.named.codings {
            true => coding::accepted(&asked.fields)
                .find_map(|coding| self.look_up_encoded(path, coding, &plain, asked))
                .unwrap_or(plain),
            false => plain,
        };
        #[cfg(feature = "digest")]
        if let Some(digests) = &self.digests {
            return digests.answer(found, asked);
        }
        if let Content::Kept(kept) = &found.content
            && asked.is_for_whole()
        {
            return kept.whole();
        }
        let plan = found.plan(asked);
        found.answer(plan, asked)
    }

    /// What lies at `path`, in a coding or in none; `None` if that is a directory. A small file is
    /// kept.
    fn look_up(
        &self,
        path: &[u8],
        coding: Option<Coding>,
        asked: &Asked<'_>,
    ) -> io::Result<Option<Found>> {
        let look = |name: &[u8]| self.root.state_at(name);
        match self.cache.find(path, coding, asked.now, look) {
            // Not if the clock was set back: its dates would be in the future.
            Known::Kept(kept) if kept.validators.is_settled(asked.unix_time) => {
                return Ok(Some(Found {
                    state: kept.state.clone(),
                    coding,
                    media_type: kept.media_type,
                    varies: self.serves_encoded,
                    content: Content::Kept(kept),
                }));
            }
            Known::Absent => return Err(io::ErrorKind::NotFound.into()),
            Known::Kept(_) | Known::Nothing => {}
        }
        let name = match coding {
            Some(coding) => Cow::Owned([path, coding.suffix().as_bytes()].concat()),
            None => Cow::Borrowed(path),
        };
        let opened = self.root.open_beneath(&name)?;
        if opened.is_directory {
            return Ok(None);
        }
        let mut found = Found {
            content: Content::Open(opened.file),
            state: opened.state,
            coding,
            media_type: media::media_type(path),
            varies: self.serves_encoded,
        };
        if self.cache.takes(found.len())
            && let Some(kept) = found.to_keep(&name, asked)
        {
            self.cache.put(path, coding, Rc::clone(&kept), asked.now);
            found.content = Content::Kept(kept);
        }
        Ok(Some(found))
    }

    /// The file in a coding, unless it is older than what it was made of.
    fn look_up_encoded(
        &self,
        path: &[u8],
        coding: Coding,
        plain: &Found,
        asked: &Asked<'_>,
    ) -> Option<Found> {
        let found = self.look_up(path, Some(coding), asked).ok().flatten();
        let found = found.filter(|found| found.state.is_as_new_as(&plain.state));
        if found.is_none() {
            self.cache.put_absent(path, coding, asked.now);
        }
        found
    }
}

/// Sends the peer to the directory itself, so that relative links on its page lead below it.
fn with_slash(request: &Request<'_>) -> Response {
    let (path, query) = (request.path(), request.head().query());
    let mark = if query.is_empty() { "" } else { "?" };
    if path.starts_with("//") {
        // It would be read as a host.
        return Response::error(Status::NOT_FOUND);
    }
    Response::empty(Status::MOVED_PERMANENTLY).header("Location", &format!("{path}/{mark}{query}"))
}

/// What the peer is told of an error of the file system.
fn refusal(error: &io::Error) -> Response {
    let status = match Errno::from_io_error(error) {
        Some(Errno::ACCESS | Errno::PERM) => Status::FORBIDDEN,
        // A link that leads out is as good as not there, and so is a socket (NXIO).
        Some(
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::LOOP
            | Errno::MLINK
            | Errno::XDEV
            | Errno::NAMETOOLONG
            | Errno::INVAL
            | Errno::NXIO
            | Errno::NODEV
            | Errno::OPNOTSUPP,
        ) => Status::NOT_FOUND,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN) => {
            log::warn!("a file cannot be opened just now: {error}");
            Status::SERVICE_UNAVAILABLE
        }
        None if error.kind() == io::ErrorKind::NotFound => Status::NOT_FOUND,
        _ => {
            log::error!("a file cannot be opened: {error}");
            Status::INTERNAL_SERVER_ERROR
        }
    };
    Response::error(status)
}

impl Router {
    /// Serves files below a prefix such as `/static`, or below `/`: everything there for which
    /// there is no other route.
    ///
    /// # Panics
    /// As [`Router::method`].
    #[must_use]
    pub fn files(self, prefix: &str, files: Files) -> Router {
        let files = Rc::new(files);
        let prefix = prefix.trim_end_matches('/');
        let router = if prefix.is_empty() {
            self
        } else {
            self.get(prefix, |request| with_slash(request))
        };
        let root = Rc::clone(&files);
        let router = router.get(&format!("{prefix}/"), move |request| {
            root.serve("", request)
        });
        let router = if prefix.is_empty() {
            router.directory(with_slash)
        } else {
            router
        };
        router.get(&format!("{prefix}/{{*path}}"), move |request| {
            files.serve(request.raw_param("path"), request)
        })
    }
}

/// What stands for a directory.
const INDEX: &str = "index.html";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::http::Server;
    use crate::net::{Memory, Network};
    use crate::protocol::{Driver, Effects};

    /// A session that serves a directory with `a.txt` in it, and what its callbacks act with.
    fn serving(name: &str, cache: FileCache) -> (PathBuf, impl Driver, Effects) {
        let name = format!("windlass-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("a.txt"), [b'x'; 4096]).unwrap();
        let files = Files::new(&folder).unwrap().cache(cache);
        let server = Server::new(Router::new().files("/", files));
        let mut fx = Effects::new(Memory::new().now());
        // Long after it was written.
        fx.intents.unix_time = Duration::from_secs(4_000_000_000);
        (folder, server.session(), fx)
    }

    /// Asks, and answers how many bytes came back.
    fn exchange(session: &mut impl Driver, fx: &mut Effects, request: &str) -> usize {
        session.drive(request.as_bytes(), &mut 1, fx);
        let len = fx.out.len();
        fx.out.consume(len);
        len
    }

    #[test]
    fn a_file_that_is_kept_costs_no_allocation() {
        let trusting = FileCache {
            valid_for: Duration::from_secs(1),
            ..FileCache::default()
        };
        for (cache, fields) in [
            (FileCache::default(), ""),
            (trusting, "Accept-Encoding: gzip, br\r\n"),
        ] {
            let (folder, mut session, mut fx) = serving("kept", cache);
            let request = format!("GET /a.txt HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
            let mut ask = || exchange(&mut session, &mut fx, &request);
            ask();
            let kept_len = ask();
            assert!(kept_len > 4096);
            let allocations = allocation_counter::measure(|| assert_eq!(ask(), kept_len));
            assert_eq!(allocations.count_total, 0);
            fs::remove_dir_all(folder).unwrap();
        }
    }

    #[test]
    fn that_a_file_is_the_same_costs_one_allocation_and_a_failed_condition_none() {
        let (folder, mut session, mut fx) = serving("same", FileCache::default());
        for (condition, count) in [("If-None-Match: *", 1), ("If-Match: \"x\"", 0)] {
            let request = format!("GET /a.txt HTTP/1.1\r\nHost: h\r\n{condition}\r\n\r\n");
            let mut ask = || exchange(&mut session, &mut fx, &request);
            ask();
            let len = ask();
            assert!(0 < len && len < 4096, "no content");
            let allocations = allocation_counter::measure(|| assert_eq!(ask(), len));
            assert_eq!(allocations.count_total, count, "{condition}");
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_is_kept_is_never_told_to_be_newer_than_its_answer_rfc_9110_8_8_2_1() {
        let (folder, mut session, mut fx) = serving("back", FileCache::default());
        let mut ask = |unix_time| {
            fx.intents.unix_time = Duration::from_secs(unix_time);
            session.drive(b"GET /a.txt HTTP/1.1\r\nHost: h\r\n\r\n", &mut 1, &mut fx);
            let answer = String::from_utf8(fx.out.to_vec()).unwrap();
            fx.out.consume(answer.len());
            answer
        };
        for _ in 0..2 {
            let answer = ask(4_000_000_000);
            assert!(answer.contains("\r\nETag: \""), "{answer}");
        }
        // The clock is set back behind the last change.
        let answer = ask(1000);
        let date = "Thu, 01 Jan 1970 00:16:40 GMT\r\n";
        assert!(answer.contains(&format!("\r\nDate: {date}")), "{answer}");
        assert!(
            answer.contains(&format!("\r\nLast-Modified: {date}")),
            "{answer}"
        );
        assert!(answer.contains("\r\nETag: W/\""), "{answer}");
        fs::remove_dir_all(folder).unwrap();
    }
}
