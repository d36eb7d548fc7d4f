//! `FileDigests`: digests of files in answers (RFC 9530), and entity tags made of what is in them.
//!
//! Knows what a request wants and which digests that takes; how they are made is not known here.

use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::conditions::Verdict;
use super::found::{Asked, Found, Plan};
use super::hashing::{Hashing, Job, Progress, Subject, Value};
use crate::http::body::Body;
use crate::http::digest::{Algorithm, Scope};
use crate::http::fields::Fields;
use crate::http::response::{Response, put_field};

/// Which digests [`Files`](super::Files) tells (RFC 9530), and what they may cost. With the feature
/// `digest`; see [`Files::digests`](super::Files::digests).
///
/// | answer | `Repr-Digest` | `Content-Digest` |
/// |---|---|---|
/// | 200 | of the file | the same |
/// | 206, one range | of the whole file | of the range |
/// | 206, several ranges | of the whole file | none |
/// | 200 to HEAD | of the file | none |
/// | 304 | of the file, if it is kept, or small | none |
/// | anything else | none | none |
///
/// A request gets those that it wants (`Want-Repr-Digest`, `Want-Content-Digest`), each by the
/// algorithm that it likes best: `sha-256` or `sha-512`; of equal ones the former. Others do not
/// count, nor do malformed fields. A file that is compressed already (`Content-Encoding`) has the
/// digest of its compressed form: that is the representation.
///
/// ```text
/// GET /hello.json HTTP/1.1
/// Host: h
/// Range: bytes=10-18
/// Want-Content-Digest: sha-256=1
/// Want-Repr-Digest: sha-512=3, sha-256=10, md5=5
///
/// HTTP/1.1 206 Partial Content
/// Content-Type: application/json
/// Content-Length: 9
/// Content-Range: bytes 10-18/19
/// Accept-Ranges: bytes
/// ETag: "RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg="
/// Content-Digest: sha-256=:jjcgBDWNAtbYUXI37CVG3gRuGOAjaaDRGpIUFsdyepQ=:
/// Repr-Digest: sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:
///
/// "world"}
/// ```
///
/// (`Date`, `Server`, `Last-Modified` and `Vary` left out. The file is `{"hello": "world"}` and a
/// line feed, that of RFC 9530, appendix B.3.)
///
/// **HEAD:** a `Content-Digest` would be that of no bytes (RFC 9530, section 2 and appendix B.2).
/// It would verify nothing, and a cache that freshens an answer which it has by one to HEAD (RFC
/// 9111, section 4.3.5) would put it in the place of the right one. So there is none, and for the
/// same reason none in a 304.
///
/// **Tags.** The `ETag` of a file of up to `max_tag_len` bytes is its SHA-256 in base64 (and `.br`
/// or `.gz` if it is compressed): it is the same after a restart, a copy, or on another machine,
/// and another one exactly if the content is. It is strong, unless the file was changed just now (a
/// tenth of a second ago, or two seconds where the file system counts in them) and could change
/// again without a trace.
///
/// **What is hashed** is hashed on the loop, up to `max_hashed` bytes in one turn, for all requests
/// together; who has to wait for the rest is answered when it is there, while others are served.
/// Half of that is for what is small (no more than that half), so that a large file does not hold
/// up the others. Digests are kept, and made again when length, times or inode of a file are
/// others. A file that is changed while it is hashed is sent without digests.
///
/// | field | default | at the bound |
/// |---|---|---|
/// | `max_len` | 256 MiB | a larger file, or range, has no digest |
/// | `max_tag_len` | 64 KiB | a larger file has the tag that it has without digests |
/// | `max_hashed` | 256 KiB | the rest is hashed in later turns |
/// | `max_kept` | 1,024 | those of the file that was not asked for the longest are forgotten |
/// | `max_waiting` | 1,024 | further requests are answered at once, without digests |
/// | `max_wait` | 10 s | the request is answered, without digests; the next one goes on |
///
/// Who is answered without digests gets the tag of time and length, and a condition with the
/// other one does not hold. What is kept of a file takes about 300 bytes; a request that waits, its
/// fields and a descriptor. A large file is hashed at about 128 MiB a second, half of `max_hashed`
/// in a millisecond, and slower while there is much else to do: whoever raises `max_len` may want
/// to raise `max_wait`, too.
///
/// ```no_run
/// use windlass::http::{FileDigests, Files, Router};
///
/// let digests = FileDigests { unasked: true, ..FileDigests::default() };
/// let router = Router::new().files("/", Files::new("public")?.digests(digests));
/// # drop(router);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDigests {
    /// Bytes of the largest file, or range of one, that has a digest.
    pub max_len: u64,
    /// Bytes of the largest file whose `ETag` is made of its content. 0: of none.
    pub max_tag_len: u64,
    /// Bytes that are hashed in one turn, half of them of what is not small; at least 4 KiB. A
    /// mebibyte takes from half a millisecond to three.
    pub max_hashed: usize,
    /// Files whose digests are kept.
    pub max_kept: usize,
    /// Requests that wait for their digests.
    pub max_waiting: usize,
    /// How long a request waits for its digests.
    pub max_wait: Duration,
    /// Who does not say what it wants gets `Repr-Digest` and `Content-Digest` with `sha-256` too,
    /// if they are kept, or of what is small; not in a 304.
    pub unasked: bool,
}

impl Default for FileDigests {
    fn default() -> FileDigests {
        FileDigests {
            max_len: 256 * 1024 * 1024,
            max_tag_len: 64 * 1024,
            max_hashed: 256 * 1024,
            max_kept: 1024,
            max_waiting: 1024,
            max_wait: Duration::from_secs(10),
            unasked: false,
        }
    }
}

/// The digests of the files of one directory.
#[derive(Debug)]
pub(super) struct Digests {
    settings: FileDigests,
    hashing: Hashing,
    waiting: Cell<usize>,
    /// Spreads those that wait over time.
    turns: Cell<u32>,
}

impl Digests {
    pub(super) fn new(settings: FileDigests) -> Digests {
        Digests {
            hashing: Hashing::new(settings.max_hashed.max(MIN_HASHED), settings.max_kept),
            settings,
            waiting: Cell::new(0),
            turns: Cell::new(0),
        }
    }

    /// Answers with a file and the digests that are wanted, or begins to wait for them.
    pub(super) fn answer(self: &Rc<Self>, found: Found, asked: &Asked<'_>) -> Response {
        let errand = Errand {
            wants: self.wants(&asked.fields),
            found,
            made: Vec::new(),
            began: asked.now,
            is_over: false,
            lines: None,
            job: None,
            place: None,
        };
        errand.go_on(self, asked)
    }

    fn wants(&self, fields: &Fields<'_>) -> [Option<Want>; 2] {
        [Scope::Content, Scope::Repr].map(|scope| match scope.wanted(fields) {
            Some(algorithm) => Some(Want {
                algorithm,
                is_asked: true,
            }),
            None if self.settings.unasked && !scope.is_asked_about(fields) => Some(Want {
                algorithm: Algorithm::Sha256,
                is_asked: false,
            }),
            None => None,
        })
    }

    /// How long somebody waits who was too late for the budget of this turn: the more wait, the
    /// longer, so that few of them ask in the same millisecond.
    fn wait(&self) -> Duration {
        let number = self.turns.get().wrapping_add(1);
        self.turns.set(number);
        let span = 1 + self.waiting.get() as u64 / WAITING_PER_MILLI;
        Duration::from_millis(1 + u64::from(number) % span)
    }
}

/// A digest that is to be told.
#[derive(Clone, Copy, Debug)]
struct Want {
    algorithm: Algorithm,
    /// It is worth waiting for.
    is_asked: bool,
}

/// A request on its way to its answer.
struct Errand {
    found: Found,
    /// Of the content, and of the representation.
    wants: [Option<Want>; 2],
    /// What was made for it.
    made: Vec<(Subject, Value)>,
    began: Instant,
    /// No more digests are made for it.
    is_over: bool,
    /// Its fields, once it waits.
    lines: Option<Rc<[u8]>>,
    /// What it waits for.
    job: Option<Job>,
    place: Option<Place>,
}

impl Errand {
    fn go_on(mut self, digests: &Rc<Digests>, asked: &Asked<'_>) -> Response {
        let now = asked.now;
        self.is_over = now.saturating_duration_since(self.began) > digests.settings.max_wait;
        if self.is_over
            && let Some(job) = self.job.take()
        {
            digests.hashing.set_aside(job);
        }
        loop {
            let subject = match self.plan(digests, asked) {
                Ok((plan, values)) => return self.answer(plan, values, asked),
                Err(subject) => subject,
            };
            let job = self.job.take().filter(|job| job.is_of(&subject));
            let job = job.unwrap_or_else(|| digests.hashing.job(subject.clone()));
            let content = &self.found.content;
            let wait = match digests.hashing.advance(&job, content, now) {
                Progress::Done(value) => {
                    self.made.push((subject, value));
                    continue;
                }
                Progress::Moved => NEXT_TURN,
                Progress::Waits => digests.wait(),
            };
            self.job = Some(job);
            if self.place.is_none() {
                self.place = Place::take(digests);
            }
            if self.place.is_some() {
                return self.put_off(wait, digests, asked);
            }
            self.is_over = true;
        }
    }

    /// Goes on in a later turn, when the request itself is gone.
    fn put_off(mut self, wait: Duration, digests: &Rc<Digests>, asked: &Asked<'_>) -> Response {
        let digests = Rc::clone(digests);
        let lines = self.lines.take();
        let lines = lines.unwrap_or_else(|| asked.fields.as_bytes().into());
        let Asked {
            method,
            named,
            unix_time,
            ..
        } = *asked;
        let make = move |now| {
            let asked = Asked {
                method,
                fields: Fields::new(&lines),
                named,
                unix_time,
                now,
            };
            self.lines = Some(Rc::clone(&lines));
            self.go_on(&digests, &asked)
        };
        Response {
            body: Body::Later(wait, Box::new(make)),
            ..Response::default()
        }
    }

    /// What the request comes to, and the values of the digest fields; or the digest that has to be
    /// made before that can be told.
    fn plan(&self, digests: &Digests, asked: &Asked<'_>) -> Result<(Plan, [Value; 2]), Subject> {
        let len = self.found.len();
        let mut validators = self.found.validators(asked);
        let is_settled = validators.is_strong();
        let digest = |range: Range<u64>, algorithm, is_worth_it| {
            let subject = Subject {
                state: self.found.state.clone(),
                range,
                algorithm,
                is_settled,
            };
            self.value(digests, subject, is_worth_it)
        };
        let max_tag_len = digests.settings.max_tag_len;
        if max_tag_len > 0
            && len <= max_tag_len
            && let Some(value) = digest(0..len, Algorithm::Sha256, true)?
        {
            validators = validators.of_content(&value, self.found.mark());
        }
        let plan = self.found.plan_by(validators, asked);
        let is_sent = plan.verdict == Verdict::Proceed;
        let told = |want: Option<Want>, range: Option<Range<u64>>| match (want, range) {
            (Some(want), Some(range)) if want.is_asked || is_sent => {
                let is_small = digests.hashing.is_small(range.end - range.start);
                digest(range, want.algorithm, is_small || want.is_asked && is_sent)
            }
            _ => Ok(None),
        };
        let content = told(self.wants[0], plan.content(asked.method, len))?;
        let repr = told(self.wants[1], plan.is_of_file().then_some(0..len))?;
        Ok((plan, [content, repr]))
    }

    /// A digest, if there is one; what it is of, if it is to be made.
    fn value(
        &self,
        digests: &Digests,
        subject: Subject,
        is_worth_it: bool,
    ) -> Result<Value, Subject> {
        if let Some((_, value)) = self.made.iter().find(|(made, _)| *made == subject) {
            return Ok(value.clone());
        }
        if subject.range == (0..self.found.len())
            && let Some(value) = digests.hashing.kept(&subject.state, subject.algorithm)
        {
            return Ok(Some(value));
        }
        match self.is_over || !is_worth_it || subject.len() > digests.settings.max_len {
            true => Ok(None),
            false => Err(subject),
        }
    }

    fn answer(self, plan: Plan, values: [Value; 2], asked: &Asked<'_>) -> Response {
        let mut response = self.found.answer(plan, asked);
        for (scope, value) in [Scope::Content, Scope::Repr].into_iter().zip(values) {
            if let Some(value) = value {
                put_field(&mut response.fields, scope.field(), &value);
            }
        }
        response
    }
}

/// A place among those that wait. It is free again when this is dropped.
struct Place(Rc<Digests>);

impl Place {
    fn take(digests: &Rc<Digests>) -> Option<Place> {
        let waiting = digests.waiting.get();
        (waiting < digests.settings.max_waiting).then(|| {
            digests.waiting.set(waiting + 1);
            Place(Rc::clone(digests))
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}

/// When there is a new budget, unless virtual time stands still.
const NEXT_TURN: Duration = Duration::ZERO;
/// Of those that wait, so many ask in the same millisecond.
const WAITING_PER_MILLI: u64 = 8;
/// The smallest budget of a turn, in bytes.
const MIN_HASHED: usize = 4 * 1024;
