//! The table of cases, which says itself how it is to be read: tests/http_conformance/cases.txt.

#![allow(dead_code, reason = "each test uses its own part of this")]

/// A request, and what has to come back.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Where it is written so.
    pub(crate) source: &'static str,
    pub(crate) request: Vec<u8>,
    pub(crate) expected: &'static str,
}

/// The table, which says itself how it is to be read.
pub(crate) fn cases() -> Vec<Case> {
    let blocks = include_str!("cases.txt").split("\n\n");
    let blocks = blocks
        .map(str::trim)
        .filter(|block| !block.starts_with('#'));
    let case = |block: &'static str| {
        let mut lines = block.lines();
        let (name, source) = lines.next()?.split_once(" | ")?;
        let request = bytes(lines.next()?.strip_prefix("> ")?);
        let expected = lines.next()?.strip_prefix("< ")?;
        Some(Case {
            name,
            source,
            request,
            expected,
        })
    };
    blocks
        .map(|block| case(block).unwrap_or_else(|| panic!("{block:?} is no case")))
        .collect()
}

/// The bytes that the text of a case stands for.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(char) = rest.chars().next() {
        rest = &rest[char.len_utf8()..];
        match char {
            '\\' => {
                let escaped = rest.strip_prefix('n');
                bytes.extend_from_slice(if escaped.is_some() { b"\r\n" } else { b"\\" });
                rest = &rest[1..];
            }
            '␊' => bytes.push(b'\n'),
            '␍' => bytes.push(b'\r'),
            '␀' => bytes.push(0),
            '␇' => bytes.push(7),
            '␉' => bytes.push(9),
            '␛' => bytes.push(27),
            '␡' => bytes.push(127),
            'ÿ' => bytes.push(255),
            '{' => {
                let (repeated, behind) = rest.split_once('}').expect("a repetition ends");
                let (unit, count) = repeated.rsplit_once('*').expect("a star");
                let unit = unit.replace("\\n", "\r\n");
                bytes.extend(unit.repeat(count.parse().expect("a number")).bytes());
                rest = behind;
            }
            _ => bytes.extend(char.to_string().bytes()),
        }
    }
    bytes
}
