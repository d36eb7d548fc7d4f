//! `Found`: a file that was found for a request, and the answer that it makes.
//!
//! Conditions, ranges and fields in their order. Knows neither names nor how a file is opened.

use std::ops::Range;
use std::time::Duration;

use super::coding::Coding;
use super::conditions::{Validators, Verdict};
use super::parts::{Parts, content_range};
use super::ranges::{self, Ranges};
use super::root::Opened;
use crate::http::fields::Fields;
use crate::http::method::Method;
use crate::http::request::Request;
use crate::http::response::Response;
use crate::http::status::Status;

/// What a request says besides the name of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// GET or HEAD.
    pub(super) method: Method,
    pub(super) fields: Fields<'a>,
    /// When it came, since 1970.
    pub(super) unix_time: Duration,
}

impl<'a> Asked<'a> {
    pub(super) fn of(request: &Request<'a>) -> Asked<'a> {
        Asked {
            method: request.method(),
            fields: request.head().fields(),
            unix_time: request.unix_time(),
        }
    }
}

/// An open file, and what is told of it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) opened: Opened,
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
        self.opened.metadata.len()
    }

    /// Judges a request by the time of the file's last change.
    pub(super) fn plan(&self, asked: &Asked<'_>) -> Plan {
        self.plan_by(self.validators(asked), asked)
    }

    pub(super) fn validators(&self, asked: &Asked<'_>) -> Validators {
        Validators::new(&self.opened.metadata, self.mark(), asked.unix_time)
    }

    /// What tells its coding from others in an entity tag.
    pub(super) fn mark(&self) -> &'static str {
        self.coding.map_or("", Coding::suffix)
    }

    /// Judges a request by these validators.
    pub(super) fn plan_by(&self, validators: Validators, asked: &Asked<'_>) -> Plan {
        let verdict = validators.verdict(&asked.fields);
        let ranges = validators
            .range(asked.method, &asked.fields)
            .filter(|_| verdict == Verdict::Proceed)
            .map_or(Ranges::Whole, |range| ranges::parse(range, self.len()));
        Plan {
            validators,
            verdict,
            ranges,
        }
    }

    /// Answers as it was planned.
    pub(super) fn answer(self, plan: Plan, asked: &Asked<'_>) -> Response {
        let (coding, varies) = (self.coding, self.varies);
        let mut response = match (plan.verdict, plan.ranges) {
            (Verdict::Failed, _) => return Response::error(Status::PRECONDITION_FAILED),
            (Verdict::NotModified, _) => Response::empty(Status::NOT_MODIFIED),
            (Verdict::Proceed, Ranges::Unsatisfiable) => return self.unsatisfiable(),
            (Verdict::Proceed, Ranges::Whole) => self.whole(),
            (Verdict::Proceed, Ranges::Some(ranges)) => self.part(ranges, asked),
        };
        if plan.verdict == Verdict::Proceed {
            response = response.header("Accept-Ranges", "bytes");
            if let Some(coding) = coding {
                response = response.header("Content-Encoding", coding.name());
            }
        }
        response = response.header("ETag", &plan.validators.entity_tag());
        if let Some(date) = plan.validators.last_modified() {
            response = response.header("Last-Modified", &date);
        }
        if varies {
            response = response.header("Vary", "Accept-Encoding");
        }
        response
    }

    fn whole(self) -> Response {
        let len = self.len();
        Response::file(self.opened.file, 0..len).content_type(self.media_type)
    }

    /// The ranges that are asked for.
    fn part(self, ranges: Vec<Range<u64>>, asked: &Asked<'_>) -> Response {
        let len = self.len();
        let response = match &ranges[..] {
            [range] => Response::file(self.opened.file, range.clone())
                .content_type(self.media_type)
                .header("Content-Range", &content_range(range, len)),
            _ => {
                let boundary = boundary(asked.unix_time, &ranges);
                let (parts, body_len) =
                    Parts::new(self.opened.file, ranges, &boundary, self.media_type, len);
                let media_type = format!("multipart/byteranges; boundary={boundary}");
                Response::stream_of(body_len, parts).header("Content-Type", &media_type)
            }
        };
        response.status(Status::PARTIAL_CONTENT)
    }

    fn unsatisfiable(&self) -> Response {
        Response::error(Status::RANGE_NOT_SATISFIABLE)
            .header("Content-Range", &format!("bytes */{}", self.len()))
            .header("Accept-Ranges", "bytes")
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
