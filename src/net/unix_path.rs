//! `BoundPath`: the file that a Unix socket leaves in the file system, from its creation to its
//! removal.
//!
//! Knows nothing of connections. A path outlives the process that bound it, so that a server that
//! was killed finds its own in the way; removing somebody else's would cut off a living server.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket};

use super::socket;

/// A socket path that we have bound. Dropping it removes the file, if that is still the one that
/// was bound.
#[derive(Debug)]
pub(super) struct BoundPath {
    path: PathBuf,
    /// Device and inode, to know it again: another server may have put its own in its place.
    identity: Option<(u64, u64)>,
}

impl BoundPath {
    /// Binds `socket` to `path`. A socket that is there already is removed if connecting to it is
    /// refused, which means that nobody listens at it any more.
    ///
    /// # Errors
    /// `AddrInUse` if somebody listens there, or if it is something else than a stream socket;
    /// otherwise the OS's.
    pub(super) fn bind(socket: &Socket, path: &Path) -> io::Result<BoundPath> {
        BoundPath::bind_with(socket, path, socket::open)
    }

    /// The same for a datagram socket.
    ///
    /// # Errors
    /// `AddrInUse` if somebody receives there, or if it is something else than a datagram socket;
    /// otherwise the OS's.
    pub(super) fn bind_datagram(socket: &Socket, path: &Path) -> io::Result<BoundPath> {
        BoundPath::bind_with(socket, path, socket::open_datagram)
    }

    fn bind_with(socket: &Socket, path: &Path, open: Open) -> io::Result<BoundPath> {
        let address = SockAddr::unix(path)?;
        match socket.bind(&address) {
            // Bound first and examined only when it is in the way, so that a usual start never
            // removes anything. Two servers that meet the same stale path at the same moment may
            // still each remove what they find; a lock would be needed to exclude that.
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                if !is_stale(path, &address, open)? {
                    return Err(error);
                }
                fs::remove_file(path)?;
                socket.bind(&address)?;
            }
            result => result?,
        }
        Ok(BoundPath {
            identity: identity(path),
            path: path.to_owned(),
        })
    }
}

/// Opens a socket of the kind that is bound, to try the one that is in the way.
type Open = fn(Domain) -> io::Result<Socket>;

impl Drop for BoundPath {
    fn drop(&mut self) {
        if self.identity.is_none() || identity(&self.path) != self.identity {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            log::warn!("{}: not removed: {error}", self.path.display());
        }
    }
}

/// Whether `path` is a socket that nobody listens at.
fn is_stale(path: &Path, address: &SockAddr, open: Open) -> io::Result<bool> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(false);
    }
    // Only a refusal proves it. EAGAIN is a full backlog, EPROTOTYPE a socket of another type,
    // EACCES somebody else's (unix(7), connect(2)).
    match open(Domain::UNIX)?.connect(address) {
        Ok(()) => Ok(false),
        Err(error) => Ok(error.kind() == ErrorKind::ConnectionRefused),
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
