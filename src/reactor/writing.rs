//! One write of what is queued to a stream, in the form that costs least.
//!
//! Knows no connection: what follows from a failure is decided by whoever writes.

use std::io::{self, ErrorKind, IoSlice};

use crate::buffer::{FileRange, Front, MAX_SLICES};
use crate::close::CloseReason;
use crate::net::Network;
use crate::protocol::Effects;

/// One write of the front of the queue.
#[inline(always)]
pub(super) fn write<N: Network>(
    network: &mut N,
    stream: &mut N::Stream,
    fx: &Effects,
    input: &[u8],
    budget: &mut usize,
) -> io::Result<usize> {
    if fx.out.in_files() > 0 {
        return write_with_files(network, stream, fx, input, budget);
    }
    let (front, is_all) = fx.out.front(input);
    if is_all {
        network.write(stream, front)
    } else {
        write_vectored(network, stream, fx, input)
    }
}

/// As `write`, of a queue with files in it. Bytes in front of a file wait for its first ones, so
/// that both leave in one segment.
#[inline(never)]
fn write_with_files<N: Network>(
    network: &mut N,
    stream: &mut N::Stream,
    fx: &Effects,
    input: &[u8],
    budget: &mut usize,
) -> io::Result<usize> {
    match fx.out.front_of_files(input) {
        Front::File(range) => {
            let sent = send_file(network, stream, fx, range, *budget)?;
            *budget = budget.saturating_sub(sent);
            Ok(sent)
        }
        Front::BeforeFile(bytes) => network.write_more(stream, bytes),
        Front::Slices => write_vectored(network, stream, fx, input),
    }
}

/// Sends of a file what the kernel takes. The caller resets a connection to which what was
/// announced cannot be sent: the peer must not take what it has for the whole.
fn send_file<N: Network>(
    network: &mut N,
    stream: &mut N::Stream,
    fx: &Effects,
    range: &FileRange,
    max_len: usize,
) -> io::Result<usize> {
    let token = fx.intents.token;
    match network.send_file(stream, &range.file, range.start, range.len.min(max_len)) {
        Ok(0) => log::warn!("{token}: a file that is being sent has become shorter"),
        // The connection is fine: it is the file.
        Err(error) if is_fatal(&error) && matches!(network.connected(stream), Ok(true)) => {
            log::warn!("{token}: a file cannot be sent to its end: {error}");
        }
        result => return result,
    }
    Ok(0)
}

/// Whether an operation has failed for good.
fn is_fatal(error: &io::Error) -> bool {
    error.kind() != ErrorKind::WouldBlock && CloseReason::from(error) != CloseReason::Reset
}

/// Apart, so that the room for so many slices is not made for a write of one.
#[inline(never)]
fn write_vectored<N: Network>(
    network: &mut N,
    stream: &mut N::Stream,
    fx: &Effects,
    input: &[u8],
) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let count = fx.out.gather(input, &mut slices);
    network.write_vectored(stream, &slices[..count])
}
