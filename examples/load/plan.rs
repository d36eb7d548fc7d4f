//! From arguments to what is sent where: requests as bytes, messages in their framing, and who
//! opens which connection.
//!
//! Knows neither when to send nor what is measured.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use serde_json::{Value, json};

#[cfg(feature = "digest")]
use windlass::framing::{Checked, EndOfStream, Role, Sealed};
use windlass::framing::{Decoder, Encoder, LengthField};
use windlass::http::Method;
use windlass::net::{Address, Connect, Network, Os};
use windlass::{
    Budgets, Context, Delimited, Fixed, LengthPrefixed, Limits, Lines, Netstring, Raw, Reactor,
};

#[cfg(feature = "digest")]
use crate::args::digest;
use crate::args::{Common, Framing, HttpArgs, TcpArgs, UdpArgs, token};
use crate::asking::Asking;
use crate::common::url::Url;
use crate::engine::Open;
use crate::http::{self, Expect, Question, Questions};
use crate::lane::{Lane, Run};
use crate::stats::Failure;
use crate::tcp::{Echoed, Message};
use crate::udp;

/// What is to be done.
pub(crate) struct Plan {
    /// In words.
    pub(crate) title: String,
    /// Among whom the connections are shared out, in words.
    pub(crate) servers: Vec<String>,
    kind: Kind,
}

enum Kind {
    Http(Vec<(Address, Rc<Questions>)>),
    Tcp {
        to: Vec<Address>,
        framing: Framing,
        details: Details,
        message: Rc<Message>,
    },
    Udp {
        to: Vec<Address>,
        size: usize,
    },
}

/// What a framing has to be told.
struct Details {
    delimiter: String,
    /// Of both sides.
    #[cfg(feature = "digest")]
    key: Option<[u8; 32]>,
}

impl Plan {
    /// # Errors
    /// What was asked for makes no sense, in words.
    pub(crate) fn http(args: &HttpArgs) -> Result<Plan, String> {
        let body = match &args.body {
            Some(text) => Some(body(text)?),
            None => None,
        };
        let mut asked: Vec<(String, Url, Option<Bytes>)> = args
            .urls
            .iter()
            .map(|url| (args.method.clone(), url.clone(), body.clone()))
            .collect();
        if let Some(path) = &args.file {
            asked.extend(requests_in(path)?);
        }
        let mut servers: Vec<(Address, Vec<Question>)> = Vec::new();
        let mut index_of = HashMap::new();
        for (method, url, body) in &asked {
            let question = question(method, url, body.as_deref(), args);
            let index = *index_of.entry(url.address.clone()).or_insert_with(|| {
                servers.push((url.address.clone(), Vec::new()));
                servers.len() - 1
            });
            servers[index].1.push(question);
        }
        let expect = Expect {
            within: args.answer_timeout,
            status: args.expect_status,
            len: args.expect_length,
            sha256: args.expect_sha256,
        };
        let asked_of: Vec<(Address, Rc<Questions>)> = servers
            .into_iter()
            .map(|(address, all)| {
                let expect = expect.clone();
                (address, Rc::new(Questions { all, expect }))
            })
            .collect();
        let to: Vec<Address> = asked_of
            .iter()
            .map(|(address, _)| address.clone())
            .collect();
        let servers = names(&to, &args.common)?;
        Ok(Plan {
            title: match &asked[..] {
                [(method, url, _)] => match url.address.as_ip() {
                    // By a name, or without a port.
                    Some(ip) if ip.to_string() != url.host => {
                        format!("{method} {} at {ip}", url.text)
                    }
                    _ => format!("{method} {}", url.text),
                },
                _ => {
                    let to = servers.join(", ");
                    format!("{} HTTP requests in turn, to {to}", asked.len())
                }
            },
            servers,
            kind: Kind::Http(asked_of),
        })
    }

    /// # Errors
    /// What was asked for makes no sense, in words.
    pub(crate) fn tcp(args: &TcpArgs) -> Result<Plan, String> {
        let size = args.size as usize;
        let most = match args.framing {
            Framing::Length8 => 0xff,
            Framing::Length16 | Framing::Length16le => 0xffff,
            Framing::Length24 | Framing::Length24le => 0xff_ffff,
            _ => usize::MAX,
        };
        if size > most {
            return Err(format!(
                "a message has at most {most} bytes in that framing"
            ));
        }
        if args.framing == Framing::Fixed && !(size.is_power_of_two() && size <= 65_536) {
            return Err("a fixed size is a power of two, at most 65,536".into());
        }
        if args.delimiter.is_empty() {
            return Err("a delimiter is not empty".into());
        }
        // Letters, of which none is a line's end.
        let avoided = args.delimiter.as_bytes();
        let letters = (b'a'..=b'z').filter(|letter| !avoided.contains(letter));
        let bytes: Vec<u8> = letters.cycle().take(size).collect();
        if bytes.is_empty() {
            return Err("a delimiter leaves some letters for messages".into());
        }
        #[cfg(feature = "digest")]
        let key = key(args)?;
        let servers = names(&args.to, &args.common)?;
        let message = Message {
            bytes: bytes.into(),
            is_stream: args.framing == Framing::Raw,
        };
        Ok(Plan {
            title: format!(
                "{size} bytes, {:?}, to {}",
                args.framing,
                servers.join(", ")
            ),
            servers,
            kind: Kind::Tcp {
                to: args.to.clone(),
                framing: args.framing,
                details: Details {
                    delimiter: args.delimiter.clone(),
                    #[cfg(feature = "digest")]
                    key,
                },
                message: Rc::new(message),
            },
        })
    }

    /// # Errors
    /// What was asked for makes no sense, in words.
    pub(crate) fn udp(args: &UdpArgs) -> Result<Plan, String> {
        if args.common.no_keep_alive {
            return Err("datagrams have no connections, and none for each request".into());
        }
        if args.to.iter().any(|to| to.as_ip().is_none()) {
            return Err("datagrams go to HOST:PORT".into());
        }
        let servers = names(&args.to, &args.common)?;
        Ok(Plan {
            title: format!("{} bytes, UDP, to {}", args.size, servers.join(", ")),
            servers,
            kind: Kind::Udp {
                to: args.to.clone(),
                size: args.size as usize,
            },
        })
    }

    /// The terms of the run, for whoever reads its report.
    pub(crate) fn terms(&self, args: &Common) -> Value {
        json!({
            "connections": args.connections,
            "pipeline": args.pipeline,
            "rate_per_s": args.rate,
            "requests": args.requests,
            "duration_s": args.measured().map(|time| time.as_secs_f64()),
            "think_s": args.think.as_secs_f64(),
            "ramp_up_s": args.ramp_up.as_secs_f64(),
            "warm_up_s": args.warm_up.as_secs_f64(),
            "timeout_s": args.timeout.as_secs_f64(),
            "keep_alive": !args.no_keep_alive,
        })
    }

    /// How many bytes a connection may take from the kernel in one turn. A turn is one moment: if
    /// requests were sent and answers taken twice in it, the latter would have taken no time.
    pub(crate) fn max_received(&self) -> usize {
        match self.kind {
            // One receive; one more would be futile after a short one.
            Kind::Http(_) | Kind::Tcp { .. } => 1,
            // Nothing leaves before the socket is empty: see `udp::bind`.
            Kind::Udp { .. } => Budgets::default().bytes,
        }
    }

    /// Who opens connections.
    pub(crate) fn opener(self, run: &Rc<Run>, args: &Common) -> Open<Os> {
        let run = Rc::clone(run);
        let sources: Vec<SocketAddr> = args
            .source
            .iter()
            .map(|ip| SocketAddr::new(*ip, 0))
            .collect();
        match self.kind {
            Kind::Http(servers) => {
                let longest = servers
                    .iter()
                    .flat_map(|(_, questions)| &questions.all)
                    .map(|question| question.bytes.len())
                    .max();
                let limits = run.limits(longest.unwrap_or(0));
                Box::new(move |reactor, slot, first| {
                    let (address, questions) = &servers[slot as usize % servers.len()];
                    let connect = connect(address, &limits, &sources, slot);
                    let turn = slot / servers.len() as u32;
                    let lane = Lane::new(&run, slot, first);
                    let stack = http::stack(lane, questions, turn);
                    _ = reactor.connect(connect, stack);
                })
            }
            Kind::Tcp {
                to,
                framing,
                details,
                message,
            } => {
                let with = Echoes {
                    limits: run.limits(message.bytes.len() + 64),
                    run,
                    to,
                    sources,
                    message,
                };
                with.framing(framing, details)
            }
            Kind::Udp { to, size } => Box::new(move |reactor, slot, _| {
                let to = &to[slot as usize % to.len()];
                let source = sources.get(slot as usize % sources.len().max(1));
                let lane = Lane::new(&run, slot, None);
                let bind = udp::bind(to, source.copied(), size, &run);
                if let Err(error) = reactor.bind(bind, udp::Asking::new(lane, size)) {
                    run.explain(slot, || error.to_string());
                    run.unopened(slot, reactor.now(), Failure::Connect);
                }
            }),
        }
    }
}

/// What connections to echo servers are opened with.
struct Echoes {
    run: Rc<Run>,
    to: Vec<Address>,
    sources: Vec<SocketAddr>,
    limits: Limits,
    message: Rc<Message>,
}

impl Echoes {
    fn framing<N: Network + 'static>(self, framing: Framing, details: Details) -> Open<N> {
        let max = self.message.bytes.len();
        let length = move |field| LengthPrefixed::new(field).with_max_len(max);
        match framing {
            Framing::Raw => self.by(|| Raw),
            Framing::Lines => self.by(move || Lines::new().with_max_len(max)),
            Framing::Crlf => self.by(move || Lines::new().with_crlf().with_max_len(max)),
            Framing::Delimited => self.by(move || {
                let delimited = Delimited::by(&details.delimiter).expect("it is not empty");
                delimited.with_max_len(max)
            }),
            Framing::Fixed => self.fixed(max),
            Framing::Length8 => self.by(move || length(LengthField::U8)),
            Framing::Length16 => self.by(move || length(LengthField::U16)),
            Framing::Length24 => self.by(move || length(LengthField::U24)),
            Framing::Length32 => self.by(move || length(LengthField::U32)),
            Framing::Length64 => self.by(move || length(LengthField::U64)),
            Framing::Length16le => self.by(move || length(LengthField::U16).little_endian()),
            Framing::Length24le => self.by(move || length(LengthField::U24).little_endian()),
            Framing::Length32le => self.by(move || length(LengthField::U32).little_endian()),
            Framing::Length64le => self.by(move || length(LengthField::U64).little_endian()),
            Framing::Varint => self.by(move || length(LengthField::Varint)),
            Framing::Netstring => self.by(move || Netstring::new().with_max_len(max)),
            #[cfg(feature = "digest")]
            Framing::Checked => self.by(move || {
                let with_digest = LengthPrefixed::new(LengthField::U32).with_max_len(max + 32);
                Checked::new(with_digest)
            }),
            #[cfg(feature = "digest")]
            Framing::Sealed => {
                let key = details
                    .key
                    .expect("the plan has refused that without a key");
                let framing = length(LengthField::U32).with_max_len(max + 33);
                let pair = move || Sealed::pair(framing, &key, Role::Client);
                self.with(pair, |cx| _ = cx.send(EndOfStream))
            }
        }
    }

    /// Messages of one length, which is part of a type: those that a user is likely to want.
    fn fixed<N: Network + 'static>(self, len: usize) -> Open<N> {
        macro_rules! by_len {
            ($($known:literal)*) => {
                match len {
                    $($known => self.by(|| Fixed::<$known>),)*
                    _ => unreachable!("the plan has refused other sizes"),
                }
            };
        }
        by_len!(1 2 4 8 16 32 64 128 256 512 1024 2048 4096 8192 16384 32768 65536)
    }

    /// The same framing both ways.
    fn by<N, C>(self, framing: impl Fn() -> C + 'static) -> Open<N>
    where
        N: Network + 'static,
        C: Decoder + 'static,
        for<'m> C: Encoder<&'m [u8]>,
        for<'f> C::Frame<'f>: AsRef<[u8]>,
    {
        self.with(move || (framing(), framing()), |_| ())
    }

    /// The framing of both ways, and what is sent behind the last message.
    fn with<N, C>(
        self,
        framing: impl Fn() -> (C, C) + 'static,
        farewell: fn(&mut Context<'_, C>),
    ) -> Open<N>
    where
        N: Network + 'static,
        C: Decoder + 'static,
        for<'m> C: Encoder<&'m [u8]>,
        for<'f> C::Frame<'f>: AsRef<[u8]>,
    {
        Box::new(move |reactor: &mut Reactor<N>, slot, first| {
            let address = &self.to[slot as usize % self.to.len()];
            let connect = connect(address, &self.limits, &self.sources, slot);
            let lane = Lane::new(&self.run, slot, first);
            let exchange = Echoed::new(&self.message, farewell);
            let stack = Asking::stack(lane, exchange, framing());
            _ = reactor.connect(connect, stack);
        })
    }
}

fn connect(to: &Address, limits: &Limits, sources: &[SocketAddr], slot: u32) -> Connect {
    let connect = Connect::new(to).limits(limits.clone());
    match sources.get(slot as usize % sources.len().max(1)) {
        Some(source) => connect.from_addr(*source),
        None => connect,
    }
}

/// A request as it is sent.
fn question(method: &str, url: &Url, body: Option<&[u8]>, args: &HttpArgs) -> Question {
    let mut head = format!("{method} {} HTTP/1.1\r\n", url.target);
    let has = |name: &str| {
        args.headers.iter().any(|field| {
            field
                .split(':')
                .next()
                .is_some_and(|known| known.eq_ignore_ascii_case(name))
        })
    };
    if !has("host") {
        head += &format!("Host: {}\r\n", url.host);
    }
    for field in &args.headers {
        head += &format!("{field}\r\n");
    }
    if args.common.no_keep_alive {
        head += "Connection: close\r\n";
    }
    if let Some(body) = body
        && !has("content-length")
    {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    head += "\r\n";
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body.unwrap_or_default());
    let known = Method::ALL.into_iter().find(|known| known.name() == method);
    Question {
        method: known.unwrap_or(Method::Other),
        bytes: bytes.into(),
    }
}

/// The key that was given.
#[cfg(feature = "digest")]
fn key(args: &TcpArgs) -> Result<Option<[u8; 32]>, String> {
    let Some(path) = &args.key_file else {
        return Ok(None);
    };
    if args.framing != Framing::Sealed {
        return Err("a key is for the framing sealed".into());
    }
    let at = |error: String| format!("{}: {error}", path.display());
    let bytes = fs::read(path).map_err(|error| at(error.to_string()))?;
    let key = match <[u8; 32]>::try_from(&bytes[..]) {
        Ok(key) => key,
        Err(_) => {
            let text = str::from_utf8(&bytes).unwrap_or_default().trim();
            digest(text).map_err(|_| at("it holds neither 32 bytes nor their digits".into()))?
        }
    };
    Ok(Some(key))
}

/// The requests in a file.
fn requests_in(path: &Path) -> Result<Vec<(String, Url, Option<Bytes>)>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut requests = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at = |error: String| format!("{}:{}: {error}", path.display(), number + 1);
        let mut parts = line.splitn(3, ' ');
        let method = token(parts.next().unwrap_or_default()).map_err(at)?;
        let url = parts.next().unwrap_or_default().parse().map_err(at)?;
        let body = match parts.next() {
            Some(text) => Some(body(text).map_err(at)?),
            None => None,
        };
        requests.push((method, url, body));
    }
    Ok(requests)
}

/// A body as it was given: itself, or the name of its file behind an @.
fn body(text: &str) -> Result<Bytes, String> {
    match text.strip_prefix('@') {
        Some(path) => fs::read(path)
            .map(Bytes::from)
            .map_err(|error| format!("{path}: {error}")),
        None => Ok(Bytes::copy_from_slice(text.as_bytes())),
    }
}

/// Whom it goes to, in words: somebody, and no more than there are connections.
fn names(to: &[Address], args: &Common) -> Result<Vec<String>, String> {
    if to.is_empty() {
        return Err("there is nothing to ask".into());
    }
    if to.len() > args.connections as usize {
        return Err(format!(
            "{} connections are too few for {} servers",
            args.connections,
            to.len()
        ));
    }
    Ok(to.iter().map(Address::to_string).collect())
}
