//! Load for echo servers over UDP.
//!
//! Datagrams are numbered, since they may be lost, or overtake one another; one without an answer
//! in time is a failure, and its place is taken by the next. Knows neither when to send nor what
//! is measured.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use windlass::net::{Address, Bind};
use windlass::{
    CloseReason, Datagram, DatagramContext, DatagramLimits, DatagramProtocol, Intents, Mail,
    SendCause, SendError, TimerId,
};

use crate::lane::{Lane, RETRY_AFTER, Run};
use crate::stats::Failure;
use crate::tcp::OTHER_BYTES;

/// Sends datagrams, and compares what comes back.
pub(crate) struct Asking {
    lane: Lane,
    /// The next datagram: its number, and then always the same bytes.
    datagram: Vec<u8>,
    number: u64,
    /// What is without an answer, in the order of its numbers; as many as the lane has.
    sent: VecDeque<Sent>,
    timeout: Duration,
    /// Looks for what has waited for too long.
    watch: Option<TimerId>,
    /// Until then nothing is sent.
    pause: Option<TimerId>,
}

struct Sent {
    number: u64,
    at: Instant,
}

/// A socket for that server alone.
pub(crate) fn bind(to: &Address, source: Option<SocketAddr>, size: usize, run: &Run) -> Bind {
    let is_v4 = to.as_ip().is_some_and(|to| to.is_ipv4());
    let any: SocketAddr = if is_v4 {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let limits = DatagramLimits::default();
    let depth = run.terms.pipeline;
    Bind::new(source.unwrap_or(any))
        .peer(to)
        .name("to the servers")
        .limits(DatagramLimits {
            // So much room that all requests of a turn are little: the reactor keeps them until
            // nothing is left to be received. Sent earlier, they might be answered in the same
            // turn, which is the same moment.
            max_queued_datagrams: limits.max_queued_datagrams.max(depth * 64),
            max_queued_bytes: limits.max_queued_bytes.max(depth.saturating_mul(size) * 64),
            max_socket_timers: limits.max_socket_timers.max(depth + 2),
            ..limits
        })
}

impl Asking {
    pub(crate) fn new(lane: Lane, size: usize) -> Asking {
        let letters = (b'a'..=b'z').cycle();
        Asking {
            datagram: [0; NUMBER_LEN]
                .into_iter()
                .chain(letters)
                .take(size)
                .collect(),
            number: 0,
            sent: VecDeque::with_capacity(lane.run.terms.pipeline),
            timeout: lane.run.terms.timeout,
            watch: None,
            pause: None,
            lane,
        }
    }

    fn send(&mut self, cx: &mut DatagramContext<'_>) {
        self.number += 1;
        self.datagram[..NUMBER_LEN].copy_from_slice(&self.number.to_be_bytes());
        cx.send(&self.datagram);
        self.sent.push_back(Sent {
            number: self.number,
            at: cx.now(),
        });
        self.lane.sent(cx.now(), self.datagram.len());
    }

    /// Sends as much as may be sent.
    fn fill(&mut self, cx: &mut DatagramContext<'_>) {
        while self.pause.is_none() && self.lane.next(cx.token(), cx.now()) {
            self.send(cx);
        }
    }

    fn go_on(&mut self, cx: &mut DatagramContext<'_>) {
        let think = self.lane.run.terms.think;
        if think.is_zero() {
            self.fill(cx);
        } else {
            cx.set_timer(think);
        }
    }

    /// Counts what has waited for too long. Answers whether something has.
    fn expire(&mut self, now: Instant) -> bool {
        let waiting = self.sent.len();
        while let Some(oldest) = self.sent.front()
            && oldest.at + self.timeout <= now
        {
            self.sent.pop_front();
            self.lane.explain(|| "no answer in time".into());
            self.lane.answered(now, Err(Failure::Timeout), 0);
        }
        self.sent.len() < waiting
    }
}

impl DatagramProtocol for Asking {
    fn on_open(&mut self, cx: &mut DatagramContext<'_>) {
        self.lane.on_open();
        let often = (self.timeout / 4).max(Duration::from_millis(1));
        self.watch = cx.set_interval(often);
        self.fill(cx);
    }

    fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut DatagramContext<'_>) {
        let Some((number, bytes)) = datagram.bytes.split_first_chunk() else {
            return;
        };
        let number = u64::from_be_bytes(*number);
        // An answer that comes twice, or too late, is none.
        let Ok(index) = self.sent.binary_search_by_key(&number, |sent| sent.number) else {
            return;
        };
        self.sent.remove(index);
        let verdict = if datagram.len != self.datagram.len() {
            self.lane
                .explain(|| format!("a datagram of {} bytes", datagram.len));
            Err(Failure::Length)
        } else if bytes != &self.datagram[NUMBER_LEN..] {
            self.lane.explain(|| OTHER_BYTES.into());
            Err(Failure::Content)
        } else {
            Ok(())
        };
        self.lane
            .answered_at(index, cx.now(), verdict, datagram.len as u64);
        self.go_on(cx);
    }

    /// Which datagram did not arrive is not told. If nobody receives there, all those are lost that
    /// are without an answer: of some that were sent together, one report is all that comes.
    /// Otherwise it is most probably the oldest.
    fn on_send_error(&mut self, error: &SendError, cx: &mut DatagramContext<'_>) {
        self.lane.explain(|| error.to_string());
        let is_nobody_there = matches!(
            error.cause,
            SendCause::Os(error) if error.kind() == ErrorKind::ConnectionRefused
        );
        let count = if is_nobody_there { self.sent.len() } else { 1 };
        for _ in self.sent.drain(..count.min(self.sent.len())) {
            self.lane.answered(cx.now(), Err(Failure::Unreachable), 0);
        }
        // As many as a CPU can send in vain tell no more than some do; but a constant rate is what
        // was asked for.
        if self.lane.run.is_closed_loop() && self.pause.is_none() {
            self.pause = cx.set_timer(RETRY_AFTER);
        }
        self.go_on(cx);
    }

    fn on_timer(&mut self, timer: TimerId, cx: &mut DatagramContext<'_>) {
        if self.watch != Some(timer) {
            self.pause.take_if(|pause| *pause == timer);
            self.fill(cx);
        } else if self.expire(cx.now()) {
            self.go_on(cx);
        }
    }

    fn on_mail(&mut self, _: Mail, cx: &mut DatagramContext<'_>) {
        if self.lane.next_parked(cx.token(), cx.now()) {
            self.send(cx);
            self.fill(cx);
        }
    }

    fn on_close(&mut self, reason: CloseReason, cx: &mut Intents) {
        self.lane.on_close(reason, cx.now());
    }
}

/// Bytes of the number that a datagram begins with.
const NUMBER_LEN: usize = 8;
