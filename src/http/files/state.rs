//! `State`: what a file system tells of a file, by which its states are told apart.
//!
//! Pure: what was looked up by others in, comparisons out. Opens nothing.

use std::time::Duration;

use rustix::fs::Stat;

/// What tells one state of a file from another, as far as the file system tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// The file system and the number in it.
    pub(super) file: (u64, u64),
    pub(super) len: u64,
    /// When the content was changed, as far as is told, in seconds and nanoseconds.
    modified: (i64, i64),
    /// When anything was, which nobody can set.
    changed: (i64, i64),
}

impl State {
    #[allow(
        clippy::useless_conversion,
        clippy::unnecessary_fallible_conversions,
        reason = "the types of the fields differ from system to system"
    )]
    pub(super) fn of(stat: &Stat) -> State {
        let nanos = |nanos: Option<i64>| nanos.unwrap_or_default();
        State {
            file: (
                stat.st_dev.try_into().unwrap_or_default(),
                stat.st_ino.try_into().unwrap_or_default(),
            ),
            len: stat.st_size.try_into().unwrap_or_default(),
            modified: (
                stat.st_mtime.into(),
                nanos(stat.st_mtime_nsec.try_into().ok()),
            ),
            changed: (
                stat.st_ctime.into(),
                nanos(stat.st_ctime_nsec.try_into().ok()),
            ),
        }
    }

    /// One of a file that is not there.
    #[cfg(test)]
    pub(super) fn testing(number: u64, len: u64) -> State {
        State {
            file: (1, number),
            len,
            modified: (1, 0),
            changed: (1, 0),
        }
    }

    /// When anything was changed, in seconds and nanoseconds.
    pub(super) fn changed(&self) -> (i64, i64) {
        self.changed
    }

    /// When anything was changed, since 1970.
    pub(super) fn changed_since_1970(&self) -> Option<Duration> {
        since_1970(self.changed)
    }

    /// When the content was changed, since 1970.
    pub(super) fn modified_since_1970(&self) -> Option<Duration> {
        since_1970(self.modified)
    }

    /// Whether its content is not older than that of another file.
    pub(super) fn is_as_new_as(&self, other: &State) -> bool {
        self.modified >= other.modified
    }
}

fn since_1970((seconds, nanos): (i64, i64)) -> Option<Duration> {
    let nanos = u32::try_from(nanos)
        .ok()
        .filter(|&nanos| nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(seconds).ok()?, nanos))
}
