//! `Column`: what is measured: how many connections, and what they do.

use clap::ValueEnum;

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Column {
    /// One connection, messages of 64 bytes.
    #[value(name = "1x64")]
    Single,
    /// 64 connections, messages of 64 bytes.
    #[value(name = "64x64")]
    Some,
    /// 1,000 connections, messages of 64 bytes.
    #[value(name = "1000x64")]
    Many,
    /// 64 connections, messages of 16 KiB.
    #[value(name = "64x16k")]
    Large,
    /// One connection that sends without a pause.
    #[value(name = "stream")]
    Stream,
    /// Connections that send one message and close.
    #[value(name = "connect")]
    Connect,
    /// 64 connections beside many that do nothing.
    #[value(name = "beside-idle")]
    BesideIdle,
    /// Connections that do nothing, whose memory counts.
    #[value(name = "memory")]
    Memory,
}

/// What a column's connections do.
pub(crate) enum Shape {
    /// So many connections send so many bytes again and again, each waiting for its echo.
    Echo {
        connections: usize,
        message_len: usize,
    },
    /// One connection sends for as long as the server takes it.
    Stream,
    /// So many connections at a time send so many bytes, close, and are replaced.
    Connect {
        connections: usize,
        message_len: usize,
    },
    /// Connections do nothing at first, then send one message of so many bytes.
    Idle { message_len: usize },
}

impl Column {
    pub(crate) const ALL: [Column; 8] = [
        Column::Single,
        Column::Some,
        Column::Many,
        Column::Large,
        Column::Stream,
        Column::Connect,
        Column::BesideIdle,
        Column::Memory,
    ];

    pub(crate) fn shape(self) -> Shape {
        let echo = |connections, message_len| Shape::Echo {
            connections,
            message_len,
        };
        match self {
            Column::Single => echo(1, 64),
            Column::Some | Column::BesideIdle => echo(64, 64),
            Column::Many => echo(1000, 64),
            Column::Large => echo(64, 16 * 1024),
            Column::Stream => Shape::Stream,
            Column::Connect => Shape::Connect {
                connections: 64,
                message_len: 64,
            },
            Column::Memory => Shape::Idle { message_len: 64 },
        }
    }

    /// Whether there are idle connections besides.
    pub(crate) fn has_idle(self) -> bool {
        matches!(self, Column::BesideIdle | Column::Memory)
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Column::Single => "1 connection, 64 B",
            Column::Some => "64 x 64 B",
            Column::Many => "1,000 x 64 B",
            Column::Large => "64 x 16 KiB",
            Column::Stream => "stream, per 16 KiB",
            Column::Connect => "connect, one message, close",
            Column::BesideIdle => "64 x 64 B beside idle ones",
            Column::Memory => "memory",
        }
    }
}
