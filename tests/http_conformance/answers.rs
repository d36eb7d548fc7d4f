//! What a client makes of the answers: a strict reader of responses, written without a look at the
//! library.

/// An answer.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The only value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(own, _)| own == name);
        let first = values.next();
        assert!(values.next().is_none(), "{name} twice");
        first.map(|(_, value)| value.as_str())
    }

    /// What holds for every answer.
    pub(crate) fn check(&self) -> Result<(), String> {
        let has_length = self.field("content-length").is_some();
        let has_coding = self.field("transfer-encoding").is_some();
        if has_length && has_coding {
            return Err("two ways to tell the length (RFC 9112, 6.2)".into());
        }
        if !has_content(self.status) && (has_length || has_coding) && self.status != 304 {
            return Err("a length where there can be no body (RFC 9110, 8.6)".into());
        }
        if self.status >= 200 && self.field("date").is_none_or(|date| date.len() != 29) {
            return Err("no date (RFC 9110, 6.6.1)".into());
        }
        if self.status == 405 && self.field("allow").is_none() {
            return Err("405 without Allow (RFC 9110, 15.5.6)".into());
        }
        Ok(())
    }
}

fn has_content(status: u16) -> bool {
    status >= 200 && status != 204 && status != 304
}

/// Reads the first answer in `bytes`, which answers a HEAD or something else, and what is behind.
pub(crate) fn parse(bytes: &[u8], is_head: bool) -> Result<(Answer, &[u8]), String> {
    let (head, mut rest) = split_at(bytes, b"\r\n\r\n").ok_or("no end of the head")?;
    let head = std::str::from_utf8(head).map_err(|_| "a head that is no text")?;
    if head.replace("\r\n", "").contains(['\r', '\n']) {
        return Err("a bare CR or LF".into());
    }
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let status = line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|line| line.get(..3))
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| format!("the status line {line:?}"))?;
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line
            .split_once(": ")
            .ok_or_else(|| format!("the line {line:?}"))?;
        fields.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let mut answer = Answer {
        status,
        fields,
        body: Vec::new(),
    };
    if !is_head && has_content(status) {
        rest = answer.read_body(rest)?;
    }
    Ok((answer, rest))
}

impl Answer {
    fn read_body<'a>(&mut self, mut rest: &'a [u8]) -> Result<&'a [u8], String> {
        if self.field("transfer-encoding").is_some() {
            loop {
                let (size, behind) = split_at(rest, b"\r\n").ok_or("no end of a size")?;
                let size = std::str::from_utf8(size).map_err(|_| "a size that is no text")?;
                let size = usize::from_str_radix(size, 16).map_err(|error| error.to_string())?;
                let chunk = behind.get(..size).ok_or("a chunk that is too short")?;
                self.body.extend_from_slice(chunk);
                rest = behind[size..]
                    .strip_prefix(b"\r\n")
                    .ok_or("no end of a chunk")?;
                if size == 0 {
                    return Ok(rest);
                }
            }
        }
        let Some(length) = self.field("content-length") else {
            self.body = rest.to_vec();
            return Ok(&[]);
        };
        let length: usize = length.parse().map_err(|_| "a length that is no number")?;
        let body = rest.get(..length).ok_or("a body that is too short")?;
        self.body = body.to_vec();
        Ok(&rest[length..])
    }
}

fn split_at<'a>(bytes: &'a [u8], end: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(end.len()).position(|window| window == end)?;
    Some((&bytes[..at], &bytes[at + end.len()..]))
}
