//! `TCP_DEFER_ACCEPT`, for which neither `std` nor `socket2` has a call.
//!
//! Knows one socket's descriptor, and neither the poller nor tokens. Linux with the feature
//! `defer-accept`; elsewhere it is `Unsupported`.

pub(super) use kind::set;

#[cfg(all(
    feature = "defer-accept",
    any(target_os = "linux", target_os = "android")
))]
mod kind {
    use std::io;
    use std::os::fd::AsFd;
    use std::time::Duration;

    use nix::libc::{self, c_int};
    use nix::sys::socket::{setsockopt, sockopt::SetStruct};

    // nix hands on the bytes of the value: here a number, which is what the kernel reads (tcp(7)).
    #[derive(Clone)]
    struct DeferAccept;
    nix::setsockopt_impl!(
        DeferAccept,
        libc::IPPROTO_TCP,
        libc::TCP_DEFER_ACCEPT,
        c_int,
        SetStruct<'_, c_int>
    );

    /// Sets it, in whole seconds: a part of one counts as one.
    pub(in crate::net) fn set(socket: &impl AsFd, at_most: Duration) -> io::Result<()> {
        let seconds = at_most.as_secs() + u64::from(at_most.subsec_nanos() > 0);
        let seconds = c_int::try_from(seconds).unwrap_or(c_int::MAX);
        Ok(setsockopt(socket, DeferAccept, &seconds)?)
    }
}

#[cfg(not(all(
    feature = "defer-accept",
    any(target_os = "linux", target_os = "android")
)))]
mod kind {
    use std::io;
    use std::os::fd::AsFd;
    use std::time::Duration;

    use crate::net::sockopt::unsupported;

    pub(in crate::net) fn set(_: &impl AsFd, _: Duration) -> io::Result<()> {
        Err(unsupported("TCP_DEFER_ACCEPT"))
    }
}
