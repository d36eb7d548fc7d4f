//! `Workload`: what the clients do.
//!
//! Knows no server.

use clap::ValueEnum;

use super::peers::Service;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Workload {
    /// 64 bytes to and fro over 1 connection.
    #[value(name = "echo-1")]
    Echo1,
    /// 64 bytes to and fro over 64 connections.
    #[value(name = "echo-64")]
    Echo64,
    /// 64 bytes to and fro over 1,000 connections.
    #[value(name = "echo-1000")]
    Echo1000,
    /// 64 bytes to and fro over 15,000 connections.
    #[value(name = "echo-15000")]
    Echo15000,
    /// 16 KiB to and fro over 64 connections.
    #[value(name = "echo-16k")]
    Echo16k,
    /// One connection that sends without a pause, per 16 KiB.
    #[value(name = "bulk")]
    Bulk,
    /// 64 kept connections, each with one request under way.
    #[value(name = "http-plain-64")]
    HttpPlain64,
    /// 512 kept connections, each with one request under way.
    #[value(name = "http-plain-512")]
    HttpPlain512,
    /// 64 connections with 16 requests under way each.
    #[value(name = "http-pipelined")]
    HttpPipelined,
    /// A connection for each request, 64 at a time.
    #[value(name = "http-connect")]
    HttpConnect,
    /// A file of 4 KiB over 64 kept connections.
    #[value(name = "file-4k")]
    File4k,
    /// A file of 1 MiB over 16 kept connections.
    #[value(name = "file-1m")]
    File1m,
    /// One datagram that is sent back, 32 under way.
    #[value(name = "udp-echo")]
    UdpEcho,
    /// Datagrams that are taken, 63 before one asks whether they were.
    #[value(name = "udp-sink")]
    UdpSink,
    /// Echo over 64 connections, each message putting off a timer, beside 100,000 that wait.
    #[value(name = "timers")]
    Timers,
    /// One line to 1,000 members, per member.
    #[value(name = "chat-1000")]
    Chat1000,
    /// 10,000 requests a second over 64 connections: how long they take.
    #[value(name = "http-rate")]
    HttpRate,
    /// 10,000 echoes a second over 64 connections.
    #[value(name = "echo-rate")]
    EchoRate,
    /// 15,000 connections that do nothing: memory of each, before and after an echo.
    #[value(name = "idle-echo")]
    IdleEcho,
    /// 15,000 connections that do nothing: memory of each, before and after a request.
    #[value(name = "idle-http")]
    IdleHttp,
}

/// What a workload's connections do.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    /// So many send so many messages at once, and again when all are answered.
    Exchange {
        connections: usize,
        request: Request,
        at_once: usize,
    },
    /// One sends for as long as the server takes it.
    Bulk,
    /// So many at a time send a request and are closed.
    Connect { connections: usize },
    /// At so many a second, over so many connections.
    Rate {
        connections: usize,
        request: Request,
        per_second: u64,
    },
    /// Datagrams, sent back or taken.
    Datagrams { is_sink: bool },
    /// One line to so many.
    FanOut { members: usize },
    /// So many do nothing; then each sends a message.
    Idle {
        connections: usize,
        request: Request,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// So many bytes, which come back.
    Bytes(usize),
    /// `GET` of a path.
    Get(&'static str),
}

impl Workload {
    pub(crate) fn shape(self) -> Shape {
        let exchange = |connections, request, at_once| Shape::Exchange {
            connections,
            request,
            at_once,
        };
        let rate = |request| Shape::Rate {
            connections: 64,
            request,
            per_second: 10_000,
        };
        let idle = |request| Shape::Idle {
            connections: 15_000,
            request,
        };
        let page = Request::Get("/");
        let small = Request::Bytes(64);
        match self {
            Workload::Echo1 => exchange(1, small, 1),
            Workload::Echo64 | Workload::Timers => exchange(64, small, 1),
            Workload::Echo1000 => exchange(1000, small, 1),
            Workload::Echo15000 => exchange(15_000, small, 1),
            Workload::Echo16k => exchange(64, Request::Bytes(16 * 1024), 1),
            Workload::Bulk => Shape::Bulk,
            Workload::HttpPlain64 => exchange(64, page, 1),
            Workload::HttpPlain512 => exchange(512, page, 1),
            Workload::HttpPipelined => exchange(64, page, 16),
            Workload::HttpConnect => Shape::Connect { connections: 64 },
            Workload::File4k => exchange(64, Request::Get("/4k.bin"), 1),
            Workload::File1m => exchange(16, Request::Get("/1m.bin"), 1),
            Workload::UdpEcho => Shape::Datagrams { is_sink: false },
            Workload::UdpSink => Shape::Datagrams { is_sink: true },
            Workload::Chat1000 => Shape::FanOut { members: 1000 },
            Workload::HttpRate => rate(page),
            Workload::EchoRate => rate(small),
            Workload::IdleEcho => idle(small),
            Workload::IdleHttp => idle(page),
        }
    }

    pub(crate) fn service(self) -> Service {
        match self {
            Workload::Echo1 | Workload::Echo64 | Workload::Echo1000 | Workload::Echo15000 => {
                Service::Echo
            }
            Workload::Echo16k | Workload::Bulk | Workload::EchoRate | Workload::IdleEcho => {
                Service::Echo
            }
            Workload::HttpPlain64 | Workload::HttpPlain512 | Workload::HttpPipelined => {
                Service::Http
            }
            Workload::HttpRate | Workload::IdleHttp => Service::Http,
            Workload::HttpConnect => Service::Connect,
            Workload::File4k | Workload::File1m => Service::Files,
            Workload::UdpEcho | Workload::UdpSink => Service::Udp,
            Workload::Timers => Service::Timers,
            Workload::Chat1000 => Service::Chat,
        }
    }

    /// What all are divided by: the bare loop serves no files, so there it serves the page.
    pub(crate) fn reference(self) -> Workload {
        match self {
            Workload::File4k | Workload::File1m => Workload::HttpPlain64,
            other => other,
        }
    }

    /// Timers that the server has besides.
    pub(crate) fn timers(self) -> usize {
        if self == Workload::Timers { 100_000 } else { 0 }
    }
}
