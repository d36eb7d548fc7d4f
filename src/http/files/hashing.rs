//! `Hashing`: digests of files, made a stretch at a time, and kept while the files do not change.
//!
//! Reads files that others have found. Knows neither requests nor responses.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::rc::{Rc, Weak};
use std::time::Instant;

use super::content::Content;
use super::state::State;
use crate::http::digest::{Algorithm, Hasher};

/// What digests are made, and which were.
pub(super) struct Hashing {
    budget: Budget,
    kept: RefCell<Kept>,
    /// Those under way: whoever wants the same one waits for the same job.
    jobs: RefCell<Vec<Weak<RefCell<Work>>>>,
    /// One that somebody had no time to wait for.
    set_aside: Cell<Option<Job>>,
    buffer: RefCell<Vec<u8>>,
}

/// The value of a digest field, such as `sha-256=:...:`; `None` if it cannot be made: the file
/// cannot be read, or was changed meanwhile.
pub(super) type Value = Option<Rc<str>>;

/// How far a digest is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Done(Value),
    /// It goes on, once there is a new budget.
    Moved,
    /// Others have used up the budget.
    Waits,
}

impl Hashing {
    /// Hashes up to `budget` bytes in a turn, half of them of what is not small, and keeps the
    /// digests of up to `max_kept` files.
    pub(super) fn new(budget: usize, max_kept: usize) -> Hashing {
        Hashing {
            budget: Budget::new(budget),
            kept: RefCell::new(Kept::new(max_kept)),
            jobs: RefCell::default(),
            set_aside: Cell::default(),
            buffer: RefCell::default(),
        }
    }

    /// Whether so many bytes are hashed within one turn, unless others come first.
    pub(super) fn is_small(&self, len: u64) -> bool {
        len <= self.budget.half() as u64
    }

    /// The digest of a whole file, if it was made since its last change.
    pub(super) fn kept(&self, state: &State, algorithm: Algorithm) -> Value {
        self.kept.borrow_mut().find(state, algorithm)
    }

    /// The job that makes this digest: one that is under way, or a new one.
    pub(super) fn job(&self, subject: Subject) -> Job {
        let mut jobs = self.jobs.borrow_mut();
        jobs.retain(|job| job.strong_count() > 0);
        let same = jobs.iter().filter_map(Weak::upgrade).find(|job| {
            let work = job.borrow();
            work.subject == subject && work.value.is_none()
        });
        Job(same.unwrap_or_else(|| {
            let work = Rc::new(RefCell::new(Work::new(subject)));
            jobs.push(Rc::downgrade(&work));
            work
        }))
    }

    /// Keeps what was done of a job, in the place of the one before, for whoever asks next.
    pub(super) fn set_aside(&self, job: Job) {
        self.set_aside.set(Some(job));
    }

    /// Goes on with a job, as far as the budget allows. `file` is what it is about.
    pub(super) fn advance(&self, job: &Job, file: &Content, now: Instant) -> Progress {
        let work = &mut *job.0.borrow_mut();
        let is_small = self.is_small(work.subject.len());
        let mut progress = Progress::Waits;
        loop {
            if let Some(value) = &work.value {
                return Progress::Done(value.clone());
            }
            if work.left.is_empty() {
                work.value = Some(self.finish(work, file));
                continue;
            }
            let wanted = (work.left.end - work.left.start).min(BUFFER_LEN as u64);
            // It is at most BUFFER_LEN.
            let len = self.budget.take(wanted as usize, is_small, now);
            if len == 0 {
                return progress;
            }
            let mut buffer = self.buffer.borrow_mut();
            buffer.resize(BUFFER_LEN, 0);
            if let Err(error) = work.hash(file, &mut buffer[..len]) {
                log::warn!("a file cannot be hashed: {error}");
                work.value = Some(None);
            }
            progress = Progress::Moved;
        }
    }

    /// All was read: it counts if the file has not changed meanwhile.
    fn finish(&self, work: &Work, file: &Content) -> Value {
        let Subject {
            state,
            range,
            algorithm,
            is_settled,
        } = &work.subject;
        if file.state().ok()? != *state {
            log::debug!("a file was changed while it was hashed");
            return None;
        }
        let value: Rc<str> = work.hasher.value_of(*algorithm).into();
        if *is_settled && *range == (0..state.len) {
            let mut kept = self.kept.borrow_mut();
            kept.put(state, *algorithm, Rc::clone(&value));
        }
        Some(value)
    }
}

impl fmt::Debug for Hashing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hashing")
            .field("kept", &self.kept.borrow().by_file.len())
            .finish_non_exhaustive()
    }
}

/// What a digest is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) state: State,
    pub(super) range: Range<u64>,
    pub(super) algorithm: Algorithm,
    /// The file cannot change without another `state`. Digests of others are not kept.
    pub(super) is_settled: bool,
}

impl Subject {
    pub(super) fn len(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// A digest that is being made, for all who want it. It ends with the last of them.
#[derive(Clone)]
pub(super) struct Job(Rc<RefCell<Work>>);

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Job").field(&self.0.borrow().left).finish()
    }
}

impl Job {
    pub(super) fn is_of(&self, subject: &Subject) -> bool {
        self.0.borrow().subject == *subject
    }
}

struct Work {
    subject: Subject,
    /// What is yet to be read.
    left: Range<u64>,
    hasher: Hasher,
    value: Option<Value>,
}

impl Work {
    fn new(subject: Subject) -> Work {
        let mut hasher = Hasher::default();
        hasher.begin(subject.algorithm);
        Work {
            left: subject.range.clone(),
            subject,
            hasher,
            value: None,
        }
    }

    fn hash(&mut self, file: &Content, buffer: &mut [u8]) -> io::Result<()> {
        file.read_exact_at(buffer, self.left.start)?;
        self.hasher.update(buffer);
        self.left.start += buffer.len() as u64;
        Ok(())
    }
}

/// Bytes that may still be hashed in this turn. All callbacks of a turn are told the same time.
///
/// Half of them are for what is small: a large file must not hold up the tags of all others.
struct Budget {
    max: usize,
    turn: Cell<Option<Instant>>,
    left: Cell<usize>,
}

impl Budget {
    fn new(max: usize) -> Budget {
        Budget {
            max,
            turn: Cell::new(None),
            left: Cell::new(0),
        }
    }

    fn half(&self) -> usize {
        self.max / 2
    }

    /// Takes what there is, up to `len`.
    fn take(&self, len: usize, is_small: bool, now: Instant) -> usize {
        if self.turn.replace(Some(now)) != Some(now) {
            self.left.set(self.max);
        }
        let kept = if is_small { 0 } else { self.half() };
        let taken = self.left.get().saturating_sub(kept).min(len);
        self.left.set(self.left.get() - taken);
        taken
    }
}

/// The digests of files that have not changed since. Those that were not asked for the longest make
/// room for others.
struct Kept {
    by_file: BTreeMap<(u64, u64), Entry>,
    max: usize,
    /// Counts what is asked for.
    clock: u64,
}

struct Entry {
    state: State,
    sha256: Value,
    sha512: Value,
    used: u64,
}

impl Entry {
    fn value(&mut self, algorithm: Algorithm) -> &mut Value {
        match algorithm {
            Algorithm::Sha256 => &mut self.sha256,
            Algorithm::Sha512 => &mut self.sha512,
        }
    }
}

impl Kept {
    fn new(max: usize) -> Kept {
        Kept {
            by_file: BTreeMap::new(),
            max,
            clock: 0,
        }
    }

    fn find(&mut self, state: &State, algorithm: Algorithm) -> Value {
        self.clock += 1;
        let entry = self.by_file.get_mut(&state.file)?;
        if entry.state != *state {
            self.by_file.remove(&state.file);
            return None;
        }
        entry.used = self.clock;
        entry.value(algorithm).clone()
    }

    fn put(&mut self, state: &State, algorithm: Algorithm, value: Rc<str>) {
        // Removes the entry of another state.
        _ = self.find(state, algorithm);
        if self.max == 0 {
            return;
        }
        // A walk over all is little beside the hashing that was necessary before.
        if self.by_file.len() >= self.max
            && !self.by_file.contains_key(&state.file)
            && let Some((&oldest, _)) = self.by_file.iter().min_by_key(|(_, entry)| entry.used)
        {
            self.by_file.remove(&oldest);
        }
        let used = self.clock;
        let entry = self.by_file.entry(state.file).or_insert_with(|| Entry {
            state: state.clone(),
            sha256: None,
            sha512: None,
            used,
        });
        *entry.value(algorithm) = Some(value);
    }
}

/// Bytes that are read at once.
const BUFFER_LEN: usize = 64 * 1024;
