//! Files beneath a root, and files that get their name only when they are whole.
//!
//! Two walls: a path has no way to say "up" or "elsewhere", and the kernel confines the lookup, so
//! that no link leads out. Knows nothing of messages.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use clap::ValueEnum;
use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, flock, fstat, fsync, openat, renameat,
    statat, unlinkat,
};
use rustix::io::Errno;

use super::refusal::{Code, Refusal};

/// A directory, which stays the same one if its name is given to another.
#[derive(Debug)]
pub(crate) struct Store {
    root: OwnedFd,
    /// The kernel cannot confine a lookup: it is done name by name.
    is_stepwise: Cell<bool>,
}

impl Store {
    pub(crate) fn open(root: &Path) -> io::Result<Store> {
        Ok(Store {
            root: openat(CWD, root, DIRECTORY, Mode::empty())?,
            is_stepwise: Cell::new(!cfg!(target_os = "linux")),
        })
    }

    /// Looks names up one by one, as where there is no `openat2`.
    #[cfg(test)]
    pub(crate) fn stepwise(self) -> Store {
        self.is_stepwise.set(true);
        self
    }

    /// Opens a file for reading.
    pub(crate) fn open_file(&self, path: &[u8]) -> Result<File, Refusal> {
        check(path)?;
        let file = File::from(self.open_at(path, READ)?);
        only_files(FileType::from_raw_mode(fstat(&file)?.st_mode))?;
        Ok(file)
    }

    /// Opens a directory; the root by an empty path.
    pub(crate) fn open_directory(&self, path: &[u8]) -> Result<OwnedFd, Refusal> {
        if path.is_empty() {
            return Ok(openat(&self.root, ".", DIRECTORY, Mode::empty())?);
        }
        check(path)?;
        Ok(self.open_at(path, DIRECTORY)?)
    }

    /// Where a file is to be written.
    pub(crate) fn place(&self, path: &[u8]) -> Result<Place, Refusal> {
        check(path)?;
        let (parent, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&b""[..], path),
        };
        Ok(Place {
            directory: self.open_directory(parent)?,
            name: name.to_owned(),
        })
    }

    #[cfg(target_os = "linux")]
    fn open_at(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        use rustix::fs::{ResolveFlags, openat2};

        // No magic links: those of /proc lead anywhere, if it is mounted beneath.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..MAX_TRIES {
            if self.is_stepwise.get() {
                break;
            }
            match openat2(&self.root, path, flags, Mode::empty(), resolve) {
                // Something was moved meanwhile, and the kernel is not sure.
                Err(Errno::AGAIN) => {}
                Err(Errno::NOSYS) => self.is_stepwise.set(true),
                // Some sandboxes refuse every system call that they do not know.
                Err(Errno::PERM) => break,
                opened => return opened,
            }
        }
        self.open_stepwise(path, flags)
    }

    #[cfg(not(target_os = "linux"))]
    fn open_at(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        self.open_stepwise(path, flags)
    }

    /// Name by name, and no link is followed, not even one that stays beneath.
    fn open_stepwise(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let mut names = path.split(|&byte| byte == b'/').peekable();
        let mut opened: Option<OwnedFd> = None;
        while let Some(name) = names.next() {
            let directory = opened.as_ref().unwrap_or(&self.root).as_fd();
            let is_last = names.peek().is_none();
            let flags = if is_last { flags } else { DIRECTORY };
            let next = openat(directory, name, flags | OFlags::NOFOLLOW, Mode::empty());
            let is_link =
                |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
            opened = Some(next.map_err(|error| {
                // A link that had to be a directory is said to be none.
                match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) if is_link(stat) => Errno::LOOP,
                    _ => error,
                }
            })?);
        }
        opened.ok_or(Errno::NOENT)
    }
}

/// Whether a path could be one beneath a root: names with `/` between them.
fn check(path: &[u8]) -> Result<(), Refusal> {
    let bad = |text| Err(Refusal::new(Code::BadPath, text));
    if path.is_empty() {
        return bad("the path is empty");
    }
    if path.contains(&0) {
        return bad("there is a NUL in the path");
    }
    if path[0] == b'/' {
        return bad("the path is absolute");
    }
    for name in path.split(|&byte| byte == b'/') {
        match name {
            b"" => return bad("there is an empty name in the path"),
            b"." | b".." => return bad("there are dots for a name in the path"),
            _ if name.starts_with(b".") && name.ends_with(PART) => {
                return bad("such names are those of files that are not whole");
            }
            _ => {}
        }
    }
    Ok(())
}

fn only_files(kind: FileType) -> Result<(), Refusal> {
    match kind {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(Errno::ISDIR.into()),
        _ => Err(Refusal::new(Code::NotAFile, "it is not a file")),
    }
}

/// How much is on the disk before a file gets its name. There is one thread, and it waits for the
/// disk: what is said of that is what `--help` shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fsync {
    /// What the system has written by then: a power cut may leave the name with other content.
    None,
    /// The content: until the disk has it, everything else in the process waits.
    #[default]
    File,
    /// The content before, and the name after: everything else waits for both.
    Full,
}

/// A name in a directory.
#[derive(Debug)]
pub(crate) struct Place {
    directory: OwnedFd,
    name: Vec<u8>,
}

impl Place {
    /// `name` in a directory of ours, which may lie anywhere.
    pub(crate) fn new(directory: &Path, name: &[u8]) -> Result<Place, Refusal> {
        check(name)?;
        Ok(Place {
            directory: openat(CWD, directory, DIRECTORY, Mode::empty())?,
            name: name.to_owned(),
        })
    }

    /// Opens what there is of the file already, to go on with it: `.NAME.part`, which is ours
    /// alone until this is dropped.
    pub(crate) fn begin(self) -> Result<Partial, Refusal> {
        match statat(&self.directory, &self.name[..], AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                return Err(Errno::ISDIR.into());
            }
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let part_name = [b".", &self.name[..], PART].concat();
        let flags = OFlags::RDWR
            | OFlags::CREATE
            | OFlags::CLOEXEC
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::NOCTTY;
        let mode = Mode::from_raw_mode(0o666);
        let file = File::from(openat(&self.directory, &part_name[..], flags, mode)?);
        let ours = fstat(&file)?;
        only_files(FileType::from_raw_mode(ours.st_mode))?;
        if ours.st_nlink > 1 {
            // What is written to it would be found elsewhere as well.
            return Err(Refusal::new(
                Code::Outside,
                "its part has another name, too",
            ));
        }
        let busy = || Refusal::new(Code::Busy, "somebody else is writing it");
        // The kernel lets go of it however we end.
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(busy()),
            locked => locked?,
        }
        // It may have got its final name between the two calls: then it is no longer ours.
        let named = statat(&self.directory, &part_name[..], AtFlags::SYMLINK_NOFOLLOW);
        if !named.is_ok_and(|named| (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)) {
            return Err(busy());
        }
        Ok(Partial {
            file,
            part_name,
            place: self,
        })
    }
}

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) file: File,
    part_name: Vec<u8>,
    place: Place,
}

impl Partial {
    /// Gives the file its name. One that had it before is replaced, at once or not at all.
    pub(crate) fn finish(&self, how: Fsync) -> Result<(), Refusal> {
        let Place { directory, name } = &self.place;
        if how != Fsync::None
            && let Err(error) = self.file.sync_all()
        {
            // What the disk has refused is taken for written from now on, and would be found right
            // by whoever goes on with it (fsync(2), errors): all of it is to be sent again.
            let _ = unlinkat(directory, &self.part_name[..], AtFlags::empty());
            return Err(error.into());
        }
        renameat(directory, &self.part_name[..], directory, &name[..])?;
        if how == Fsync::Full {
            fsync(directory)?;
        }
        Ok(())
    }
}

/// Opening a FIFO would wait for its other end, but for `NONBLOCK`.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);
/// How often a confined lookup is tried that races with somebody who moves things.
const MAX_TRIES: usize = 8;
/// The end of the names of files that are not whole.
const PART: &[u8] = b".part";
