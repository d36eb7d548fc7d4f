//! The clerk: one thread that checks passwords, so that the loop need not.
//!
//! Questions wait in a channel that holds so many and no more; whoever asks beyond that is told so
//! at once. Answers go to the reactor's mailbox. Knows tokens, but no connections.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use windlass::reactor::PostError;
use windlass::{Remote, Token};
use zeroize::Zeroizing;

use super::users::Users;

/// Is this the password of that user?
pub(crate) struct Question {
    /// The connection that waits for the answer.
    pub(crate) who: Token,
    pub(crate) name: String,
    /// Overwritten when it is dropped: right after it was checked, or refused.
    pub(crate) password: Zeroizing<Vec<u8>>,
}

/// The answer, as mail.
pub(crate) struct Verdict {
    pub(crate) is_right: bool,
}

/// Where questions are handed in.
#[derive(Clone)]
pub(crate) struct Desk(SyncSender<Question>);

impl Desk {
    /// A desk on which `len` questions may lie, beside the one that is being answered.
    pub(crate) fn new(len: usize) -> (Desk, Receiver<Question>) {
        let (sender, questions) = sync_channel(len);
        (Desk(sender), questions)
    }

    /// Never waits; answers whether there was room.
    pub(crate) fn ask(&self, question: Question) -> bool {
        match self.0.try_send(question) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => false,
            Err(TrySendError::Disconnected(_)) => {
                log::error!("nobody is there to check passwords");
                false
            }
        }
    }
}

/// Answers questions until nobody can ask any more, or nobody listens.
pub(crate) fn work(questions: &Receiver<Question>, users: &Users, remote: &Remote) {
    // The loop goes first where both want the same core. On Linux this is of the thread alone.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(NICE);
    for question in questions {
        if let Err(PostError::Closed(_)) = answer(question, users, remote) {
            return;
        }
    }
}

/// Answers one. The mailbox finds out whether whoever asked is still there; if it has no room, the
/// answer is lost, which lets nobody in: the connection's deadline ends the wait.
pub(crate) fn answer(question: Question, users: &Users, remote: &Remote) -> Result<(), PostError> {
    let is_right = users.is_right(&question.name, &question.password);
    let who = question.who;
    drop(question);
    remote.post(who, Verdict { is_right })
}

/// Added to the niceness of the thread.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;
