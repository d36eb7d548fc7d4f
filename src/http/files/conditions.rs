//! Validators of a representation, and conditional requests (RFC 9110, sections 8.8 and 13).
//!
//! Pure: what the file system knows and what the request says in, a verdict out. Opens nothing, and
//! knows no responses.

use std::io::Write;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::state::State;
use crate::http::fields::{Fields, elements};
use crate::http::method::Method;

/// What tells one state of a file from another.
#[derive(Clone, Debug)]
pub(super) struct Validators {
    /// The opaque tag, with its quotation marks.
    tag: Rc<str>,
    is_strong: bool,
    /// Seconds since 1970; never in the future (RFC 9110, section 8.8.2.1).
    modified: Option<u64>,
    /// The file cannot have changed again within the second that `modified` names.
    is_date_strong: bool,
}

/// What the conditions of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The request is to be carried out.
    Proceed,
    /// 304: what the peer has is good.
    NotModified,
    /// 412: it is not what the peer thinks.
    Failed,
}

impl Validators {
    /// Those of a file, at that time since 1970. `mark` tells codings of one file apart.
    ///
    /// The tag is made of the time of the last change of any kind, which nobody can set, and of the
    /// length. It is strong unless the file could change once more without that time changing: the
    /// clock of a file system ticks.
    pub(super) fn new(state: &State, mark: &str, unix_time: Duration) -> Validators {
        let (seconds, nanos) = state.changed();
        let changed = state.changed_since_1970().unwrap_or_default();
        let tick = if nanos == 0 { COARSE_TICK } else { FINE_TICK };
        let modified = state.modified_since_1970();
        let modified = modified.map(|modified| modified.as_secs().min(unix_time.as_secs()));
        Validators {
            tag: format!("\"{seconds:x}.{nanos:x}-{:x}{mark}\"", state.len).into(),
            is_strong: changed + tick <= unix_time,
            modified,
            is_date_strong: changed + Duration::from_secs(1) <= unix_time,
        }
    }

    /// With a tag made of a digest field's value, `sha-256=:...:`, which changes exactly when the
    /// content does. It is as strong as the other one: of a file that could change again without a
    /// trace nobody knows what will be sent.
    #[cfg(feature = "digest")]
    pub(super) fn of_content(mut self, value: &str, mark: &str) -> Validators {
        let digest = value.split(':').nth(1).unwrap_or_default();
        self.tag = ["\"", digest, mark, "\""].concat().into();
        self
    }

    /// Whether the file cannot change without the tag.
    #[cfg(feature = "digest")]
    pub(super) fn is_strong(&self) -> bool {
        self.is_strong
    }

    /// Whether they will be the same at any later time, unless the file is changed.
    pub(super) fn is_settled(&self, unix_time: Duration) -> bool {
        let is_past = |modified| modified < unix_time.as_secs();
        self.is_strong && self.is_date_strong && self.modified.is_none_or(is_past)
    }

    /// Appends `ETag` and `Last-Modified`.
    pub(super) fn put(&self, lines: &mut Vec<u8>) {
        let weak = if self.is_strong { "" } else { "W/" };
        // Appending to a vector does not fail.
        let _ = write!(lines, "ETag: {weak}{}\r\n", self.tag);
        if let Some(modified) = self.modified {
            let since_1970 = Duration::from_secs(modified.min(LAST_SECOND));
            let date = httpdate::HttpDate::from(SystemTime::UNIX_EPOCH + since_1970);
            let _ = write!(lines, "Last-Modified: {date}\r\n");
        }
    }

    /// In the order of RFC 9110, section 13.2.2; `method` is GET or HEAD.
    pub(super) fn verdict(&self, fields: &Fields<'_>) -> Verdict {
        if let Some(matches) = self.matches(fields, "if-match", Comparison::Strong) {
            if !matches {
                return Verdict::Failed;
            }
        } else if let (Some(date), Some(modified)) =
            (date(fields, "if-unmodified-since"), self.modified)
            && modified > date
        {
            return Verdict::Failed;
        }
        if let Some(matches) = self.matches(fields, "if-none-match", Comparison::Weak) {
            if matches {
                return Verdict::NotModified;
            }
        } else if let (Some(date), Some(modified)) =
            (date(fields, "if-modified-since"), self.modified)
            && modified <= date
        {
            return Verdict::NotModified;
        }
        Verdict::Proceed
    }

    /// The value of `Range`, if it is to be looked at (RFC 9110, sections 13.1.5 and 14.2).
    pub(super) fn range<'a>(&self, method: Method, fields: &Fields<'a>) -> Option<&'a [u8]> {
        let value = only(fields, "range")?;
        let holds = match fields.get_all("if-range").next() {
            None => true,
            Some(_) => only(fields, "if-range").is_some_and(|condition| self.is_same(condition)),
        };
        (method == Method::Get && holds).then_some(value)
    }

    /// Whether `If-Range` names exactly this state.
    fn is_same(&self, condition: &[u8]) -> bool {
        if condition.first() == Some(&b'"') {
            return self.is_strong && condition == self.tag.as_bytes();
        }
        let date = parse_date(condition);
        date.is_some() && date == self.modified && self.is_date_strong
    }

    /// Whether a list of entity tags names this state; `None` if there is no such field.
    fn matches(&self, fields: &Fields<'_>, name: &str, comparison: Comparison) -> Option<bool> {
        let mut matches = None;
        for list in fields.get_all(name) {
            let own = list == b"*" || tags(list).any(|tag| self.equals(tag, comparison));
            matches = Some(matches == Some(true) || own);
        }
        matches
    }

    /// RFC 9110, section 8.8.3.2.
    fn equals(&self, tag: &[u8], comparison: Comparison) -> bool {
        let (is_weak, opaque) = match tag.strip_prefix(b"W/") {
            Some(opaque) => (true, opaque),
            None => (false, tag),
        };
        let is_comparable = match comparison {
            Comparison::Weak => true,
            Comparison::Strong => self.is_strong && !is_weak,
        };
        is_comparable && opaque == self.tag.as_bytes()
    }
}

/// Which of the fields that matter to files a request has: one walk over them all, instead of one
/// for each.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Named {
    pub(super) conditions: bool,
    pub(super) range: bool,
    pub(super) codings: bool,
}

impl Named {
    pub(super) fn of(fields: &Fields<'_>) -> Named {
        let mut named = Named::default();
        for (name, _) in fields {
            match name.as_bytes() {
                [b'i' | b'I', b'f' | b'F', b'-', ..] => named.conditions = true,
                [b'r' | b'R', ..] => named.range |= name.eq_ignore_ascii_case("range"),
                [b'a' | b'A', ..] => named.codings |= name.eq_ignore_ascii_case("accept-encoding"),
                _ => {}
            }
        }
        named
    }
}

#[derive(Clone, Copy)]
enum Comparison {
    Strong,
    Weak,
}

/// The tags of a list. None of ours has a comma in it, so one that is cut apart there is none of
/// ours either way.
fn tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    elements(list)
}

/// The value of a field that is there once.
fn only<'a>(fields: &Fields<'a>, name: &str) -> Option<&'a [u8]> {
    let mut values = fields.get_all(name);
    let first = values.next();
    first.filter(|_| values.next().is_none())
}

/// A date in seconds since 1970. One that is malformed or there twice is to be ignored (RFC 9110,
/// sections 13.1.3 and 13.1.4).
fn date(fields: &Fields<'_>, name: &str) -> Option<u64> {
    only(fields, name).and_then(parse_date)
}

fn parse_date(value: &[u8]) -> Option<u64> {
    let date = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
    let since_1970 = date.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(since_1970.as_secs())
}

/// How far apart changes have to be to be told apart, where the file system counts in nanoseconds
/// (it reads a clock that ticks every few milliseconds).
const FINE_TICK: Duration = Duration::from_millis(100);
/// The same, where it counts in seconds.
const COARSE_TICK: Duration = Duration::from_secs(2);
/// The last second that a date of HTTP can name: that of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const LATER: &str = "Sunday, 06-Nov-94 08:49:38 GMT";

    fn strong() -> Validators {
        Validators {
            tag: "\"x\"".into(),
            is_strong: true,
            modified: Some(784_111_777),
            is_date_strong: true,
        }
    }

    fn weak() -> Validators {
        Validators {
            is_strong: false,
            is_date_strong: false,
            ..strong()
        }
    }

    #[track_caller]
    fn check(validators: &Validators, fields: &[(&str, &str)], expected: Verdict) {
        let lines: String = fields
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let verdict = validators.verdict(&Fields::new(lines.as_bytes()));
        assert_eq!(verdict, expected, "{fields:?}");
    }

    #[test]
    fn if_match_compares_strongly_rfc_9110_13_1_1() {
        check(&strong(), &[("If-Match", "\"x\"")], Verdict::Proceed);
        check(&strong(), &[("If-Match", "\"a\", \"x\"")], Verdict::Proceed);
        check(
            &strong(),
            &[("If-Match", "\"a\""), ("If-Match", "\"x\"")],
            Verdict::Proceed,
        );
        check(&strong(), &[("If-Match", "*")], Verdict::Proceed);
        check(&strong(), &[("If-Match", "\"a\"")], Verdict::Failed);
        check(&strong(), &[("If-Match", "W/\"x\"")], Verdict::Failed);
        check(&strong(), &[("If-Match", "x")], Verdict::Failed);
        check(&weak(), &[("If-Match", "\"x\"")], Verdict::Failed);
        check(&weak(), &[("If-Match", "*")], Verdict::Proceed);
    }

    #[test]
    fn if_none_match_compares_weakly_rfc_9110_13_1_2() {
        for tag in ["\"x\"", "W/\"x\"", "*", "\"a\" , W/\"x\""] {
            check(&strong(), &[("If-None-Match", tag)], Verdict::NotModified);
            check(&weak(), &[("If-None-Match", tag)], Verdict::NotModified);
        }
        check(&strong(), &[("If-None-Match", "\"a\"")], Verdict::Proceed);
        check(&strong(), &[("If-None-Match", "")], Verdict::Proceed);
    }

    #[test]
    fn dates_are_compared_in_seconds_rfc_9110_13_1_3_and_13_1_4() {
        check(
            &strong(),
            &[("If-Modified-Since", DATE)],
            Verdict::NotModified,
        );
        check(
            &strong(),
            &[("If-Modified-Since", LATER)],
            Verdict::NotModified,
        );
        check(
            &strong(),
            &[("If-Modified-Since", EARLIER)],
            Verdict::Proceed,
        );
        check(
            &strong(),
            &[("If-Unmodified-Since", DATE)],
            Verdict::Proceed,
        );
        check(
            &strong(),
            &[("If-Unmodified-Since", EARLIER)],
            Verdict::Failed,
        );
        for name in ["If-Modified-Since", "If-Unmodified-Since"] {
            check(&strong(), &[(name, "yesterday")], Verdict::Proceed);
        }
        check(
            &strong(),
            &[("If-Modified-Since", DATE), ("If-Modified-Since", DATE)],
            Verdict::Proceed,
        );
    }

    #[test]
    fn tags_overrule_dates_and_come_in_their_order_rfc_9110_13_2_2() {
        check(
            &strong(),
            &[("If-Match", "\"x\""), ("If-Unmodified-Since", EARLIER)],
            Verdict::Proceed,
        );
        check(
            &strong(),
            &[("If-None-Match", "\"a\""), ("If-Modified-Since", DATE)],
            Verdict::Proceed,
        );
        check(
            &strong(),
            &[("If-None-Match", "\"x\""), ("If-Match", "\"a\"")],
            Verdict::Failed,
        );
        check(
            &strong(),
            &[("If-None-Match", "\"x\""), ("If-Match", "\"x\"")],
            Verdict::NotModified,
        );
        check(
            &strong(),
            &[("If-Unmodified-Since", DATE), ("If-Modified-Since", DATE)],
            Verdict::NotModified,
        );
    }

    #[test]
    fn if_range_takes_what_is_exactly_the_same_rfc_9110_13_1_5() {
        let holds = |validators: &Validators, value: &str| {
            let lines = format!("Range: bytes=0-1\r\nIf-Range: {value}\r\n");
            validators
                .range(Method::Get, &Fields::new(lines.as_bytes()))
                .is_some()
        };
        assert!(holds(&strong(), "\"x\""));
        assert!(holds(&strong(), DATE));
        for other in ["\"a\"", "W/\"x\"", EARLIER, LATER, "*", "x", "\"x\", \"a\""] {
            assert!(!holds(&strong(), other), "{other}");
        }
        for any in ["\"x\"", "W/\"x\"", DATE] {
            assert!(!holds(&weak(), any), "{any}");
        }
    }

    #[test]
    fn a_range_is_looked_at_for_get_alone_rfc_9110_14_2() {
        let fields = Fields::new(b"Range: bytes=0-1\r\n");
        assert!(strong().range(Method::Get, &fields).is_some());
        assert!(strong().range(Method::Head, &fields).is_none());
        let twice = Fields::new(b"Range: bytes=0-1\r\nRange: bytes=0-1\r\n");
        assert!(strong().range(Method::Get, &twice).is_none());
    }
}
