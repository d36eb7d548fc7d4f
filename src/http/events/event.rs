//! `Event`: one server-sent event, and what it looks like on the wire.
//!
//! Pure: values in, text out. Knows nothing of who it goes to.

use std::fmt;
use std::time::Duration;

/// An event of a stream of type `text/event-stream`.
///
/// ```
/// use windlass::http::Event;
///
/// let event = Event::new("{\"bottles\":99}").name("count").id("7");
/// assert_eq!(event.to_string(), "event: count\nid: 7\ndata: {\"bottles\":99}\n\n");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    data: Option<String>,
    name: Option<String>,
    id: Option<String>,
    retry: Option<Duration>,
    comment: Option<String>,
}

impl Event {
    /// An event with this data, of any number of lines. However they end, the client sees `\n`.
    pub fn new(data: impl Into<String>) -> Event {
        Event {
            data: Some(data.into()),
            ..Event::default()
        }
    }

    /// Something that clients pass over: it keeps a connection from looking dead.
    pub fn comment(text: impl Into<String>) -> Event {
        Event {
            comment: Some(text.into()),
            ..Event::default()
        }
    }

    /// With this type: what a browser's `addEventListener` names. Without one it is `message`. Line
    /// ends in it are left out.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Event {
        self.name = Some(one_line(name.into()));
        self
    }

    /// With this id, which a client that comes back sends as `Last-Event-ID`. Line ends and NUL in
    /// it are left out: a client would forget an id with NUL.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Event {
        self.id = Some(one_line(id.into()));
        self
    }

    /// Tells the client how long to wait before it comes back, in whole milliseconds.
    #[must_use]
    pub fn retry(mut self, after: Duration) -> Event {
        self.retry = Some(after);
        self
    }

    /// Its id.
    pub(super) fn own_id(&self) -> Option<&str> {
        self.id.as_deref()
    }
}

/// As it is sent.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.comment.iter().flat_map(|text| lines(text)) {
            writeln!(f, ": {line}")?;
        }
        if let Some(name) = &self.name {
            writeln!(f, "event: {name}")?;
        }
        if let Some(id) = &self.id {
            writeln!(f, "id: {id}")?;
        }
        if let Some(retry) = self.retry {
            writeln!(f, "retry: {}", retry.as_millis())?;
        }
        for line in self.data.iter().flat_map(|data| lines(data)) {
            writeln!(f, "data: {line}")?;
        }
        writeln!(f)
    }
}

fn one_line(mut text: String) -> String {
    text.retain(|letter| !matches!(letter, '\r' | '\n' | '\0'));
    text
}

/// The lines of a text, which end as the format has it: CR LF, CR or LF. There is at least one.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\r', '\n']) else {
            rest = None;
            return Some(text);
        };
        let skipped = if text[end..].starts_with("\r\n") {
            2
        } else {
            1
        };
        rest = Some(&text[end + skipped..]);
        Some(&text[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(event: &Event, expected: &str) {
        assert_eq!(event.to_string(), expected);
    }

    #[test]
    fn data_of_several_lines_has_a_field_for_each() {
        check(&Event::new("one"), "data: one\n\n");
        check(&Event::new(""), "data: \n\n");
        check(
            &Event::new("one\n\ntwo\r\nthree\rfour\n"),
            "data: one\ndata: \ndata: two\ndata: three\ndata: four\ndata: \n\n",
        );
    }

    #[test]
    fn no_value_can_begin_a_field_or_an_event_of_its_own() {
        let event = Event::new("a\n\ndata: b")
            .id("1\n\ndata: c\0")
            .name("x\r\ndata: d");
        let expected = "event: xdata: d\nid: 1data: c\ndata: a\ndata: \ndata: data: b\n\n";
        check(&event, expected);
        check(&Event::comment("a\n\nb"), ": a\n: \n: b\n\n");
    }

    #[test]
    fn the_wait_before_coming_back_is_told_in_milliseconds() {
        let event = Event::default().retry(Duration::from_secs(3));
        check(&event, "retry: 3000\n\n");
    }
}
