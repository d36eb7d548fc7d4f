//! `Remote` and the mailbox: the one door between threads.
//!
//! A bounded channel and a flag. Knows nothing of what a letter means, nor of who gets it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use crate::net::Wake;
use crate::protocol::Mail;
use crate::token::Token;

/// A handle on a reactor for other threads: `Send`, cheap to clone, never blocking.
///
/// ```no_run
/// use std::time::Duration;
/// use windlass::{Echo, Lines, Reactor};
///
/// // Echoes until a line is typed.
/// let mut reactor = Reactor::new()?;
/// reactor.listen("127.0.0.1:7000", |_| Echo::<Lines>::default())?;
/// let remote = reactor.remote()?;
/// std::thread::spawn(move || {
///     let _ = std::io::stdin().read_line(&mut String::new());
///     remote.shutdown(Duration::from_secs(5));
/// });
/// reactor.run()?;
/// # Ok::<(), windlass::Error>(())
/// ```
#[derive(Clone)]
pub struct Remote {
    sender: SyncSender<Letter>,
    shared: Arc<Shared>,
}

/// A mail under way.
pub(super) struct Letter {
    pub(super) to: Token,
    pub(super) mail: Mail,
}

struct Shared {
    /// Something was posted since the reactor last looked: whoever sets it wakes the reactor, the
    /// others need not.
    is_pending: AtomicBool,
    /// Milliseconds of grace of a shutdown that was asked for, or `NOT_ASKED`.
    shutdown_ms: AtomicU64,
    waker: Arc<dyn Wake>,
}

impl Remote {
    /// Sends a value to the `on_mail` of the entry that `to` names.
    ///
    /// # Errors
    /// The mailbox is full (`Config::mailbox_len`), or the reactor is gone. The value comes back
    /// in either case. Whether the receiver still exists is known only when the mail is taken.
    pub fn post<M: Send + 'static>(&self, to: Token, mail: M) -> Result<(), PostError> {
        let letter = Letter {
            to,
            mail: Box::new(mail),
        };
        match self.sender.try_send(letter) {
            Ok(()) => {
                self.wake();
                Ok(())
            }
            Err(TrySendError::Full(letter)) => Err(PostError::Full(letter.mail)),
            Err(TrySendError::Disconnected(letter)) => Err(PostError::Closed(letter.mail)),
        }
    }

    /// Shuts the reactor down: listeners close, connections finish, and what is left after
    /// `grace` is reset. It is never refused, whatever the mailbox holds.
    pub fn shutdown(&self, grace: Duration) {
        let millis = u64::try_from(grace.as_millis())
            .unwrap_or(u64::MAX)
            .min(NOT_ASKED - 1);
        self.shared.shutdown_ms.store(millis, Ordering::Release);
        self.wake();
    }

    /// Wakes the reactor, unless somebody has done so since it last looked.
    fn wake(&self) {
        if !self.shared.is_pending.swap(true, Ordering::AcqRel) {
            self.shared.waker.wake();
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remote")
    }
}

/// A mail that was not taken.
#[derive(Debug)]
pub enum PostError {
    /// The mailbox is full: the reactor has more to do than it can. Later, or not at all.
    Full(Mail),
    /// The reactor is gone.
    Closed(Mail),
}

impl fmt::Display for PostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PostError::Full(_) => f.write_str("the reactor's mailbox is full"),
            PostError::Closed(_) => f.write_str("the reactor is gone"),
        }
    }
}

impl std::error::Error for PostError {}

/// The reactor's end.
pub(super) struct Mailbox {
    receiver: Receiver<Letter>,
    remote: Remote,
}

impl Mailbox {
    /// A mailbox that holds up to `len` mails.
    pub(super) fn new(len: usize, waker: Arc<dyn Wake>) -> Mailbox {
        let (sender, receiver) = sync_channel(len);
        let shared = Arc::new(Shared {
            is_pending: AtomicBool::new(false),
            shutdown_ms: AtomicU64::new(NOT_ASKED),
            waker,
        });
        Mailbox {
            receiver,
            remote: Remote { sender, shared },
        }
    }

    pub(super) fn remote(&self) -> Remote {
        self.remote.clone()
    }

    /// Whether something was posted. Asking forgets it, so whatever is posted while the mailbox
    /// is being emptied wakes the reactor again.
    #[inline]
    pub(super) fn take_pending(&self) -> bool {
        self.remote.shared.is_pending.load(Ordering::Relaxed)
            && self.remote.shared.is_pending.swap(false, Ordering::AcqRel)
    }

    pub(super) fn take(&self) -> Option<Letter> {
        // Our own `remote` keeps the channel connected: an error means that it is empty.
        self.receiver.try_recv().ok()
    }

    /// The grace of a shutdown that was asked for, once.
    pub(super) fn take_shutdown(&self) -> Option<Duration> {
        let millis = self
            .remote
            .shared
            .shutdown_ms
            .swap(NOT_ASKED, Ordering::AcqRel);
        (millis != NOT_ASKED).then(|| Duration::from_millis(millis))
    }
}

const NOT_ASKED: u64 = u64::MAX;
