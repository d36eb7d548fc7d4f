//! `Root`: a directory, and files opened beneath it.
//!
//! The second wall around the root: whatever the names are and wherever links lead, what is opened
//! lies beneath. Knows nothing of requests.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;

use super::state::State;

/// An open directory. It stays the same one if its name is given to another.
#[derive(Debug)]
pub(super) struct Root {
    directory: OwnedFd,
    /// The kernel cannot confine a lookup: it is done name by name.
    is_stepwise: Cell<bool>,
}

/// An open file or directory.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) state: State,
    pub(super) is_directory: bool,
}

impl Root {
    pub(super) fn open(path: &Path) -> io::Result<Root> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, path, flags, Mode::empty())?;
        Ok(Root {
            directory,
            is_stepwise: Cell::new(!cfg!(target_os = "linux")),
        })
    }

    /// Opens what lies at `path`, for reading: names with `/` between them, or nothing for the
    /// root itself.
    ///
    /// # Errors
    /// There is nothing, or it may not be read, or it is neither a file nor a directory: a FIFO, a
    /// device and a socket are as good as not there.
    pub(super) fn open_beneath(&self, path: &[u8]) -> io::Result<Opened> {
        let path = if path.is_empty() { b"." } else { path };
        let file = File::from(self.open_at(path)?);
        let stat = fstat(&file)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if !kind.is_file() && !kind.is_dir() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Opened {
            file,
            state: State::of(&stat),
            is_directory: kind.is_dir(),
        })
    }

    /// The state of what lies at `path`, wherever links lead: to be compared with that of a file
    /// that was opened beneath, not to be told.
    pub(super) fn state_at(&self, path: &[u8]) -> Option<State> {
        let stat = statat(&self.directory, path, AtFlags::empty()).ok()?;
        Some(State::of(&stat))
    }

    #[cfg(target_os = "linux")]
    fn open_at(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        use rustix::fs::{ResolveFlags, openat2};

        // No magic links: those of /proc lead anywhere, if it is mounted beneath.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..MAX_TRIES {
            if self.is_stepwise.get() {
                break;
            }
            match openat2(&self.directory, path, FLAGS, Mode::empty(), resolve) {
                // Something was moved meanwhile, and the kernel is not sure.
                Err(Errno::AGAIN) => {}
                Err(Errno::NOSYS) => self.is_stepwise.set(true),
                // Some sandboxes refuse every system call that they do not know.
                Err(Errno::PERM) => break,
                opened => return opened,
            }
        }
        self.open_stepwise(path)
    }

    #[cfg(not(target_os = "linux"))]
    fn open_at(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.open_stepwise(path)
    }

    /// Name by name, and no link is followed, not even one that stays beneath.
    fn open_stepwise(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let (parents, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&b""[..], path),
        };
        let flags = FLAGS | OFlags::NOFOLLOW;
        let mut parent: Option<OwnedFd> = None;
        for name in parents
            .split(|&byte| byte == b'/')
            .filter(|name| !name.is_empty())
        {
            let directory = parent.as_ref().unwrap_or(&self.directory).as_fd();
            parent = Some(openat(
                directory,
                name,
                flags | OFlags::DIRECTORY,
                Mode::empty(),
            )?);
        }
        let directory = parent.as_ref().unwrap_or(&self.directory).as_fd();
        openat(directory, name, flags, Mode::empty())
    }
}

/// Opening a FIFO would wait for its other end, but for `NONBLOCK`.
const FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);
/// How often a confined lookup is tried that races with somebody who moves things.
const MAX_TRIES: usize = 8;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    /// `root` with a file, a directory with a file, and links; a secret beside it.
    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("windlass-{}-{name}", std::process::id()));
        fs::create_dir_all(path.join("root/sub")).unwrap();
        for file in ["secret", "root/a", "root/sub/b"] {
            fs::write(path.join(file), file).unwrap();
        }
        for (target, link) in [
            ("../secret", "root/out"),
            ("..", "root/up"),
            ("/", "root/top"),
            ("sub", "root/within"),
        ] {
            symlink(target, path.join(link)).unwrap();
        }
        path
    }

    #[track_caller]
    fn check(root: &Root, path: &str, expected: Option<bool>) {
        let opened = root.open_beneath(path.as_bytes()).ok();
        let is_directory = opened.map(|opened| opened.is_directory);
        assert_eq!(is_directory, expected, "{path}");
    }

    fn check_all(root: &Root) {
        check(root, "", Some(true));
        check(root, "a", Some(false));
        check(root, "sub", Some(true));
        check(root, "sub/b", Some(false));
        for outside in [
            "none",
            "a/b",
            "out",
            "up",
            "up/secret",
            "top/etc",
            "within/../../secret",
        ] {
            check(root, outside, None);
        }
    }

    #[test]
    fn the_kernel_confines_the_lookup_and_follows_links_that_stay_within() {
        let folder = folder("confined");
        let root = Root::open(&folder.join("root")).unwrap();
        check_all(&root);
        if !root.is_stepwise.get() {
            check(&root, "within/b", Some(false));
        }
        // The path itself has no dots in it when it comes from a request.
        check(&root, "../secret", None);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn name_by_name_no_link_is_followed() {
        let folder = folder("stepwise");
        let root = Root::open(&folder.join("root")).unwrap();
        root.is_stepwise.set(true);
        check_all(&root);
        check(&root, "within", None);
        check(&root, "within/b", None);
        fs::remove_dir_all(folder).unwrap();
    }
}
