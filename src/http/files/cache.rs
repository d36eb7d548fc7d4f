//! `Cache`: small files that are kept in memory while they stay as they are.
//!
//! Pure: bytes, states and times in, hits and misses out. Opens nothing, and reads no clock.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::mem;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::coding::Coding;
use super::conditions::Validators;
use super::state::State;
use crate::http::body::Body;
use crate::http::response::Response;

/// Which files [`Files`](super::Files) keeps in memory, and for how long that is trusted; see
/// [`Files::cache`](super::Files::cache).
///
/// **As it is by default**, what is sent is what is there: for each request the name is looked
/// up again (one `stat`, which takes the place of opening, looking at, reading and closing, and
/// one look more for each compressed form that the peer would take), and what is kept counts only
/// if file system, inode, length and both times are the same: the time of the last change of any
/// kind is one that nobody can set. What was changed within the last second (two, where the file
/// system counts in seconds) is not kept, since it could change again without a trace. A file that
/// was replaced, changed, removed or forbidden is noticed with the next request.
///
/// Two things a `stat` does not tell: that a program writes to memory that it has mapped onto the
/// file, and that a directory was moved out of the root with a link left in its place (its files
/// are those that were served before). So each is read again after `max_age`.
///
/// **With `valid_for`**, nothing is asked of the file system for so long after a file was
/// looked at: no system call is made but those of the network. The price: for so long an old
/// content is sent, a file that was removed or forbidden is sent still, and one that is
/// compressed already (`NAME.br`) is not noticed. nginx does that with `open_file_cache`,
/// lighttpd for a second.
///
/// That there is no such file is never remembered.
///
/// | field | default | at the bound |
/// |---|---|---|
/// | `max_len` | 8 MiB | those that were not asked for lately make room |
/// | `max_files` | 1,024 | the same |
/// | `max_file_len` | 64 KiB | a larger file is read for each request |
/// | `max_age` | 10 s | the file is read again |
/// | `valid_for` | 0 | the file is looked at again |
///
/// ```no_run
/// use std::time::Duration;
/// use windlass::http::{FileCache, Files};
///
/// let cache = FileCache { valid_for: Duration::from_secs(1), ..FileCache::default() };
/// let files = Files::new("public")?.cache(cache);
/// # drop(files);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileCache {
    /// Bytes that are kept in all, about 500 for the fields and tables of each file included. 0:
    /// none. What is on its way to peers does not count here, but towards their connections.
    pub max_len: usize,
    /// Files that are kept, each with its compressed forms.
    pub max_files: usize,
    /// Bytes of the largest file that is kept.
    pub max_file_len: u64,
    /// How old what was read may be when it is looked at again.
    pub max_age: Duration,
    /// How long a file is not looked at again.
    pub valid_for: Duration,
}

impl Default for FileCache {
    fn default() -> FileCache {
        FileCache {
            max_len: 8 * 1024 * 1024,
            max_files: 1024,
            max_file_len: 64 * 1024,
            max_age: Duration::from_secs(10),
            valid_for: Duration::ZERO,
        }
    }
}

/// A file that is kept, with all that answers need.
#[derive(Debug)]
pub(super) struct Kept {
    /// Where it was found: its path, with the suffix of its coding.
    pub(super) name: Box<[u8]>,
    pub(super) state: State,
    pub(super) bytes: Bytes,
    pub(super) media_type: &'static str,
    pub(super) validators: Validators,
    /// The field lines of an answer that is the whole file.
    pub(super) lines: Rc<[u8]>,
}

impl Kept {
    /// The answer that is the whole file.
    pub(super) fn whole(&self) -> Response {
        Response {
            content_type: Some(self.media_type),
            shared_fields: Some(Rc::clone(&self.lines)),
            body: Body::Shared(self.bytes.clone()),
            ..Response::default()
        }
    }

    fn len(&self) -> usize {
        self.bytes.len() + self.lines.len() + self.name.len() + OVERHEAD_LEN
    }
}

/// What is known of a file.
#[derive(Debug)]
pub(super) enum Known {
    Kept(Rc<Kept>),
    /// It was not there a moment ago.
    Absent,
    Nothing,
}

/// The files that are kept.
#[derive(Debug)]
pub(super) struct Cache {
    settings: FileCache,
    store: RefCell<Store>,
}

impl Cache {
    pub(super) fn new(settings: FileCache) -> Cache {
        Cache {
            settings,
            store: RefCell::default(),
        }
    }

    /// Whether a file of `len` bytes may be kept.
    pub(super) fn takes(&self, len: u64) -> bool {
        let settings = &self.settings;
        len <= settings.max_file_len && len < settings.max_len as u64 && settings.max_files > 0
    }

    /// What is known of a file, in a coding or in none. `look` answers the state of what has a name
    /// just now; it is asked unless that was done a moment ago.
    pub(super) fn find(
        &self,
        path: &[u8],
        coding: Option<Coding>,
        now: Instant,
        look: impl FnOnce(&[u8]) -> Option<State>,
    ) -> Known {
        let store = &mut *self.store.borrow_mut();
        let Some(&place) = store.places.get(path) else {
            return Known::Nothing;
        };
        let slot = &mut store.slots[place];
        let is_within = |since: Instant, span| now.saturating_duration_since(since) < span;
        let form = &mut slot.forms[index(coding)];
        match form {
            Form::Unknown => Known::Nothing,
            Form::Absent(since) if is_within(*since, self.settings.valid_for) => Known::Absent,
            Form::Absent(_) => {
                *form = Form::Unknown;
                Known::Nothing
            }
            Form::Kept {
                kept,
                read,
                looked_at,
            } => {
                if !is_within(*looked_at, self.settings.valid_for) {
                    let is_the_same = is_within(*read, self.settings.max_age)
                        && look(&kept.name).as_ref() == Some(&kept.state);
                    if !is_the_same {
                        store.forget(place, coding);
                        return Known::Nothing;
                    }
                    *looked_at = now;
                }
                slot.was_used = true;
                Known::Kept(Rc::clone(kept))
            }
        }
    }

    /// Keeps a file that was read just now. Its compressed forms are kept while itself is.
    pub(super) fn put(&self, path: &[u8], coding: Option<Coding>, kept: Rc<Kept>, now: Instant) {
        let store = &mut *self.store.borrow_mut();
        let form = Form::Kept {
            kept,
            read: now,
            looked_at: now,
        };
        match store.places.get(path) {
            Some(&place) => store.set(place, coding, form),
            None if coding.is_none() => store.add(path, form),
            None => {}
        }
        store.make_room(&self.settings);
    }

    /// Remembers that a file, which itself is kept, is not there in that coding.
    pub(super) fn put_absent(&self, path: &[u8], coding: Coding, now: Instant) {
        let store = &mut *self.store.borrow_mut();
        let Some(&place) = store.places.get(path) else {
            return;
        };
        // What is known already was not looked at just now.
        let form = &store.slots[place].forms[index(Some(coding))];
        if !matches!(form, Form::Absent(_)) && !self.settings.valid_for.is_zero() {
            store.set(place, Some(coding), Form::Absent(now));
        }
    }
}

/// Files in no order, and where each is.
#[derive(Debug, Default)]
struct Store {
    slots: Vec<Slot>,
    places: BTreeMap<Rc<[u8]>, usize>,
    /// The lengths of all.
    len: usize,
    /// The next one that may have to make room.
    hand: usize,
}

/// A file, itself and compressed.
#[derive(Debug)]
struct Slot {
    path: Rc<[u8]>,
    /// See `index`.
    forms: [Form; 3],
    /// Since the hand came by.
    was_used: bool,
}

#[derive(Debug)]
enum Form {
    Unknown,
    Absent(Instant),
    Kept {
        kept: Rc<Kept>,
        read: Instant,
        looked_at: Instant,
    },
}

impl Form {
    fn len(&self) -> usize {
        match self {
            Form::Kept { kept, .. } => kept.len(),
            Form::Unknown | Form::Absent(_) => 0,
        }
    }
}

impl Store {
    fn add(&mut self, path: &[u8], form: Form) {
        let path: Rc<[u8]> = path.into();
        self.len += form.len();
        self.places.insert(Rc::clone(&path), self.slots.len());
        self.slots.push(Slot {
            path,
            forms: [form, Form::Unknown, Form::Unknown],
            was_used: true,
        });
    }

    fn set(&mut self, place: usize, coding: Option<Coding>, form: Form) {
        self.len += form.len();
        let before = mem::replace(&mut self.slots[place].forms[index(coding)], form);
        self.len -= before.len();
    }

    /// What is wrong of a file is wrong of its compressed forms.
    fn forget(&mut self, place: usize, coding: Option<Coding>) {
        match coding {
            None => self.remove(place),
            Some(_) => self.set(place, coding, Form::Unknown),
        }
    }

    fn remove(&mut self, place: usize) {
        let slot = self.slots.swap_remove(place);
        self.places.remove(&slot.path);
        self.len -= slot.forms.iter().map(Form::len).sum::<usize>();
        if let Some(moved) = self.slots.get(place)
            && let Some(moved_to) = self.places.get_mut(&moved.path)
        {
            *moved_to = place;
        }
    }

    /// Who was used since the hand came by has a second chance.
    fn make_room(&mut self, settings: &FileCache) {
        while !self.slots.is_empty()
            && (self.len > settings.max_len || self.slots.len() > settings.max_files)
        {
            self.hand %= self.slots.len();
            if mem::take(&mut self.slots[self.hand].was_used) {
                self.hand += 1;
            } else {
                self.remove(self.hand);
            }
        }
    }
}

/// Which form of a file is which.
fn index(coding: Option<Coding>) -> usize {
    match coding {
        None => 0,
        Some(Coding::Brotli) => 1,
        Some(Coding::Gzip) => 2,
    }
}

/// What a file takes besides its bytes and lines: about what its tables and tags do.
const OVERHEAD_LEN: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Memory, Network};

    fn kept(number: u64, len: usize) -> Rc<Kept> {
        let state = State::testing(number, len as u64);
        Rc::new(Kept {
            name: number.to_string().into_bytes().into(),
            validators: Validators::new(&state, "", Duration::from_secs(100)),
            state,
            bytes: vec![b'x'; len].into(),
            media_type: "text/plain",
            lines: Rc::from(*b""),
        })
    }

    fn is_kept(cache: &Cache, number: u64, now: Instant) -> bool {
        let look = |_: &[u8]| -> Option<State> { panic!("it is valid for an hour") };
        let path = number.to_string();
        matches!(cache.find(path.as_bytes(), None, now, look), Known::Kept(_))
    }

    fn put(cache: &Cache, number: u64, len: usize, now: Instant) {
        let path = number.to_string();
        cache.put(path.as_bytes(), None, kept(number, len), now);
    }

    fn settings() -> FileCache {
        FileCache {
            max_len: 10_000,
            valid_for: Duration::from_secs(3600),
            ..FileCache::default()
        }
    }

    #[test]
    fn no_more_is_kept_than_the_limits_allow_and_all_of_it_is_found() {
        let (cache, now) = (Cache::new(settings()), Memory::new().now());
        for number in 0..1000 {
            put(&cache, number, (number as usize * 37) % 3000, now);
            put(&cache, number / 2, 100, now);
            let store = cache.store.borrow();
            let forms = store.slots.iter().flat_map(|slot| &slot.forms);
            assert_eq!(store.len, forms.map(Form::len).sum::<usize>());
            assert!(store.len <= 10_000);
            assert!(!store.slots.is_empty());
            assert_eq!(store.places.len(), store.slots.len());
            let mut places = store.places.iter();
            assert!(places.all(|(path, &place)| store.slots[place].path == *path));
        }
    }

    #[test]
    fn who_was_asked_for_lately_has_a_second_chance() {
        let cache = Cache::new(FileCache {
            max_files: 3,
            ..settings()
        });
        let now = Memory::new().now();
        for number in 0..3 {
            put(&cache, number, 10, now);
        }
        put(&cache, 3, 10, now);
        let kept: Vec<u64> = (0..4)
            .filter(|&number| is_kept(&cache, number, now))
            .collect();
        assert_eq!(kept.len(), 3);
        put(&cache, 4, 10, now);
        for number in 5..20 {
            assert!(is_kept(&cache, 4, now), "before {number}");
            put(&cache, number, 10, now);
        }
    }

    #[test]
    fn what_is_gone_or_another_is_forgotten_with_its_compressed_forms() {
        let (cache, now) = (Cache::new(FileCache::default()), Memory::new().now());
        put(&cache, 1, 10, now);
        cache.put(b"1", Some(Coding::Gzip), kept(2, 5), now);
        let same = |number, len| move |_: &[u8]| Some(State::testing(number, len));
        let find = |coding, look: &dyn Fn(&[u8]) -> Option<State>| {
            matches!(cache.find(b"1", coding, now, look), Known::Kept(_))
        };
        assert!(find(None, &same(1, 10)) && find(Some(Coding::Gzip), &same(2, 5)));
        assert!(!find(Some(Coding::Brotli), &same(3, 5)));
        assert!(!find(None, &same(1, 11)));
        assert!(!find(Some(Coding::Gzip), &same(2, 5)));
        assert_eq!(cache.store.borrow().len, 0);
        put(&cache, 1, 10, now);
        assert!(!find(None, &|_| None));
        assert!(!find(None, &same(1, 10)));
    }
}
