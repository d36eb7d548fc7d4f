//! Content codings that a file may lie there in already, and which of them a peer takes.
//!
//! Pure: `Accept-Encoding` in, an order of preference out. Knows no files.

use crate::http::fields::{Fields, elements};

/// A coding whose result lies beside the file (RFC 9110, section 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Brotli,
    Gzip,
}

impl Coding {
    /// As it is named in fields.
    pub(super) fn name(self) -> &'static str {
        match self {
            Coding::Brotli => "br",
            Coding::Gzip => "gzip",
        }
    }

    /// What the name of such a file ends in.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Coding::Brotli => ".br",
            Coding::Gzip => ".gz",
        }
    }
}

/// The codings that the peer likes at least as well as none, best first (RFC 9110, section
/// 12.5.3). Without the field that is none: there are peers that do not know of codings.
pub(super) fn accepted(fields: &Fields<'_>) -> impl Iterator<Item = Coding> + use<> {
    let mut weights = Weights::default();
    for element in fields.get_all("accept-encoding").flat_map(elements) {
        weights.add(element);
    }
    // Not named, it is acceptable, and what is named is better.
    let identity = weights.identity.unwrap_or(1);
    let brotli = (Coding::Brotli, weights.brotli.or(weights.any).unwrap_or(0));
    let gzip = (Coding::Gzip, weights.gzip.or(weights.any).unwrap_or(0));
    let order = if gzip.1 > brotli.1 {
        [gzip, brotli]
    } else {
        [brotli, gzip]
    };
    order
        .into_iter()
        .filter(move |&(_, weight)| weight > 0 && weight >= identity)
        .map(|(coding, _)| coding)
}

/// The weights of the first elements with these names, in thousandths.
#[derive(Default)]
struct Weights {
    brotli: Option<u16>,
    gzip: Option<u16>,
    identity: Option<u16>,
    any: Option<u16>,
}

impl Weights {
    fn add(&mut self, element: &[u8]) {
        let mut parts = element.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let is = |own: &str| name.eq_ignore_ascii_case(own.as_bytes());
        let weight = if is("br") {
            &mut self.brotli
        } else if is("gzip") || is("x-gzip") {
            &mut self.gzip
        } else if is("identity") {
            &mut self.identity
        } else if is("*") {
            &mut self.any
        } else {
            return;
        };
        weight.get_or_insert_with(|| parts.next().map_or(1000, thousandths));
    }
}

/// A weight (RFC 9110, section 12.4.2), in thousandths; 0 if it is malformed.
fn thousandths(parameter: &[u8]) -> u16 {
    let digits = match parameter {
        [b'q' | b'Q', b'=', b'1', rest @ ..] => {
            return if rest.iter().all(|byte| matches!(byte, b'.' | b'0')) {
                1000
            } else {
                0
            };
        }
        [b'q' | b'Q', b'=', b'0', b'.', digits @ ..] if digits.len() <= 3 => digits,
        _ => return 0,
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    let padded = digits.iter().copied().chain([b'0'; 3]).take(3);
    padded.fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expected: &[Coding]) {
        let lines = format!("Accept-Encoding: {value}\r\n");
        let accepted: Vec<Coding> = accepted(&Fields::new(lines.as_bytes())).collect();
        assert_eq!(accepted, expected, "{value}");
    }

    #[test]
    fn the_coding_with_the_greatest_weight_comes_first() {
        use Coding::{Brotli, Gzip};
        check("gzip, br", &[Brotli, Gzip]);
        check("gzip, deflate", &[Gzip]);
        check("x-gzip", &[Gzip]);
        check("br;q=0.5, gzip;q=0.8", &[Gzip, Brotli]);
        check("gzip;q=0.001", &[Gzip]);
        check("GZIP ; Q=1.000", &[Gzip]);
        check("*", &[Brotli, Gzip]);
        check("br;q=0, *", &[Gzip]);
    }

    #[test]
    fn a_coding_that_is_not_wanted_is_not_sent() {
        check("", &[]);
        check("identity", &[]);
        check("gzip;q=0", &[]);
        check("gzip;q=0.000", &[]);
        check("gzip;q=x", &[]);
        check("gzip;q=1.5", &[]);
        check("gzip;q=0.0001", &[]);
        check("identity, gzip;q=0.5", &[]);
        check("*;q=0", &[]);
        assert_eq!(accepted(&Fields::default()).count(), 0, "without the field");
    }
}
