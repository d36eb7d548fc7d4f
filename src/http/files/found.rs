//! `Found`: a file that was found for a request, and the answer that it makes.
//!
//! Conditions, ranges and fields in their order. Knows neither names nor how a file is opened.

use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::cache::Kept;
use super::coding::Coding;
use super::conditions::{Named, Validators, Verdict};
use super::content::Content;
use super::parts::{Parts, content_range};
use super::ranges::{self, Ranges};
use super::state::State;
use crate::http::fields::Fields;
use crate::http::method::Method;
use crate::http::request::Request;
use crate::http::response::{Response, put_field};
use crate::http::status::Status;

/// What a request says besides the name of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// GET or HEAD.
    pub(super) method: Method,
    pub(super) fields: Fields<'a>,
    /// Which of them there are.
    pub(super) named: Named,
    /// When it came, since 1970.
    pub(super) unix_time: Duration,
    pub(super) now: Instant,
}

impl<'a> Asked<'a> {
    pub(super) fn of(request: &Request<'a>) -> Asked<'a> {
        let fields = request.head().fields();
        Asked {
            method: request.method(),
            fields,
            named: Named::of(&fields),
            unix_time: request.unix_time(),
            now: request.now(),
        }
    }

    /// Whether it can be answered with nothing but the whole file.
    pub(super) fn is_for_whole(&self) -> bool {
        !self.named.conditions && !self.named.range
    }
}

/// A file, and what is told of it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) content: Content,
    pub(super) state: State,
    pub(super) coding: Option<Coding>,
    pub(super) media_type: &'static str,
    /// Another request could be answered with another coding.
    pub(super) varies: bool,
}

/// What a request comes to.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) validators: Validators,
    pub(super) verdict: Verdict,
    /// What is to be sent, if anything is.
    pub(super) ranges: Ranges,
}

#[cfg(feature = "digest")]
impl Plan {
    /// Whether the answer tells of the file, and be it that it is the same.
    pub(super) fn is_of_file(&self) -> bool {
        self.verdict != Verdict::Failed && self.ranges != Ranges::Unsatisfiable
    }

    /// The stretch of the file, which is `len` bytes long, that is all of the content.
    pub(super) fn content(&self, method: Method, len: u64) -> Option<Range<u64>> {
        match &self.ranges {
            _ if method != Method::Get || self.verdict != Verdict::Proceed => None,
            Ranges::Whole => Some(0..len),
            Ranges::Some(ranges) if ranges.len() == 1 => ranges.first().cloned(),
            Ranges::Some(_) | Ranges::Unsatisfiable => None,
        }
    }
}

impl Found {
    pub(super) fn len(&self) -> u64 {
        self.state.len
    }

    /// Judges a request by the time of the file's last change.
    pub(super) fn plan(&self, asked: &Asked<'_>) -> Plan {
        self.plan_by(self.validators(asked), asked)
    }

    pub(super) fn validators(&self, asked: &Asked<'_>) -> Validators {
        match &self.content {
            Content::Open(_) => Validators::new(&self.state, self.mark(), asked.unix_time),
            Content::Kept(kept) => kept.validators.clone(),
        }
    }

    /// What tells its coding from others in an entity tag.
    pub(super) fn mark(&self) -> &'static str {
        self.coding.map_or("", Coding::suffix)
    }

    /// Judges a request by these validators.
    pub(super) fn plan_by(&self, validators: Validators, asked: &Asked<'_>) -> Plan {
        let verdict = match asked.named.conditions {
            true => validators.verdict(&asked.fields),
            false => Verdict::Proceed,
        };
        let range = match asked.named.range && verdict == Verdict::Proceed {
            true => validators.range(asked.method, &asked.fields),
            false => None,
        };
        let ranges = match range.map(|range| ranges::parse(range, self.len())) {
            // Parts lie in a body that is in no coding, and nothing says where a `Content-Encoding`
            // would tell of theirs (RFC 9110, section 15.3.7.2): above all of them, a client would
            // decode their heads, too.
            Some(Ranges::Some(several)) if several.len() > 1 && self.coding.is_some() => {
                Ranges::Whole
            }
            Some(ranges) => ranges,
            None => Ranges::Whole,
        };
        Plan {
            validators,
            verdict,
            ranges,
        }
    }

    /// Answers as it was planned.
    pub(super) fn answer(self, plan: Plan, asked: &Asked<'_>) -> Response {
        let (coding, varies) = (self.coding, self.varies);
        let is_sent = plan.verdict == Verdict::Proceed;
        let mut response = match (plan.verdict, plan.ranges) {
            (Verdict::Failed, _) => return Response::error(Status::PRECONDITION_FAILED),
            (Verdict::NotModified, _) => Response::empty(Status::NOT_MODIFIED),
            (Verdict::Proceed, Ranges::Unsatisfiable) => return self.unsatisfiable(),
            (Verdict::Proceed, Ranges::Whole) => {
                let len = self.len();
                self.stretch(0..len)
            }
            (Verdict::Proceed, Ranges::Some(ranges)) => self.part(ranges, asked),
        };
        put_lines(
            &mut response.fields,
            &plan.validators,
            coding,
            varies,
            is_sent,
        );
        response
    }

    /// What is kept of an open file, unless it was changed just now, or is changed meanwhile.
    pub(super) fn to_keep(&self, name: &[u8], asked: &Asked<'_>) -> Option<Rc<Kept>> {
        let validators = self.validators(asked);
        if !validators.is_settled(asked.unix_time) {
            return None;
        }
        let mut lines = Vec::new();
        put_lines(&mut lines, &validators, self.coding, self.varies, true);
        Some(Rc::new(Kept {
            name: name.into(),
            state: self.state.clone(),
            bytes: self.content.read(&self.state).ok()?,
            media_type: self.media_type,
            lines: lines.into(),
            validators,
        }))
    }

    /// The ranges that are asked for.
    fn part(self, ranges: Vec<Range<u64>>, asked: &Asked<'_>) -> Response {
        let len = self.len();
        let response = match &ranges[..] {
            [range] => {
                let content_range = content_range(range, len);
                let response = self.stretch(range.clone());
                response.header("Content-Range", &content_range)
            }
            _ => {
                let boundary = boundary(asked.unix_time, &ranges);
                let media_type = format!("multipart/byteranges; boundary={boundary}");
                let (parts, body_len) = Parts::new(ranges, &boundary, self.media_type, len);
                let response = match self.content {
                    Content::Open(file) => Response::stream_of(body_len, parts.of_file(file)),
                    Content::Kept(kept) => Response::of(parts.of_bytes(&kept.bytes)),
                };
                response.header("Content-Type", &media_type)
            }
        };
        response.status(Status::PARTIAL_CONTENT)
    }

    /// The bytes of `range`, which is not beyond the end.
    fn stretch(self, range: Range<u64>) -> Response {
        let response = match self.content {
            Content::Open(file) => Response::file(file, range),
            // What is kept is no longer than memory.
            Content::Kept(kept) => {
                Response::of(kept.bytes.slice(range.start as usize..range.end as usize))
            }
        };
        response.content_type(self.media_type)
    }

    fn unsatisfiable(&self) -> Response {
        Response::error(Status::RANGE_NOT_SATISFIABLE)
            .header("Content-Range", &format!("bytes */{}", self.len()))
            .header("Accept-Ranges", "bytes")
    }
}

/// Appends the field lines of a file that is sent, or of which it is told that it is the same.
fn put_lines(
    lines: &mut Vec<u8>,
    validators: &Validators,
    coding: Option<Coding>,
    varies: bool,
    is_sent: bool,
) {
    lines.reserve(LINES_LEN);
    if is_sent {
        put_field(lines, "Accept-Ranges", "bytes");
        if let Some(coding) = coding {
            put_field(lines, "Content-Encoding", coding.name());
        }
    }
    validators.put(lines);
    if varies {
        put_field(lines, "Vary", "Accept-Encoding");
    }
}

/// A line that hardly is in a file: of the time in nanoseconds, and the ranges.
fn boundary(unix_time: Duration, ranges: &[Range<u64>]) -> String {
    let time = unix_time.as_nanos();
    let mix = ranges.iter().fold(0xcbf2_9ce4_8422_2325_u64, |mix, range| {
        let mixed = (mix ^ range.start).wrapping_mul(0x0000_0100_0000_01b3);
        (mixed ^ range.end).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{mix:016x}{time:032x}")
}

/// What the field lines of a file have room in.
const LINES_LEN: usize = 192;
