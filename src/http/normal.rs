//! The normal form of a path: what need not be percent-encoded is not.
//!
//! Pure: bytes in, bytes out. Knows neither heads nor routes.

/// `path` without those escapes that stand for a letter, a digit or one of `-._~`: with or without
/// them it is the same path (RFC 9110, section 4.2.3; RFC 3986, section 6.2.2.2). `None` if there
/// are none, as nearly always.
///
/// Nothing else is decoded, so no part of a path is divided or put together, and no escape made.
pub(super) fn unescaped(path: &[u8]) -> Option<Vec<u8>> {
    let mut normal = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, behind)) = rest.split_first() {
        match escape(rest) {
            Some((needless, behind)) => {
                normal.push(needless);
                rest = behind;
            }
            None => {
                normal.push(byte);
                rest = behind;
            }
        }
    }
    (normal.len() < path.len()).then_some(normal)
}

/// What a needless escape at the beginning of `text` stands for, and what follows it.
fn escape(text: &[u8]) -> Option<(u8, &[u8])> {
    let [b'%', high, low, behind @ ..] = text else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    // Two digits make a byte.
    let byte = (digit(*high)? * 16 + digit(*low)?) as u8;
    let is_unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    is_unreserved.then_some((byte, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: Option<&str>) {
        let normal = unescaped(path.as_bytes());
        assert_eq!(normal.as_deref(), expected.map(str::as_bytes), "{path}");
    }

    #[test]
    fn what_is_unreserved_is_decoded_and_nothing_else() {
        check("/%70lain%54ext%30", Some("/plainText0"));
        check("/%2d%2E%5f%7E", Some("/-._~"));
        check("/a%2Fb%61", Some("/a%2Fba"));
        for path in [
            "/",
            "/plain",
            "/%2F%25%20%00%C3%BC%5C%3F%2B",
            "/%",
            "/%6",
            "/%6g",
        ] {
            check(path, None);
        }
    }

    #[test]
    fn no_escape_is_made() {
        check("/%2561", None);
        check("/%25%36%31", Some("/%2561"));
    }
}
