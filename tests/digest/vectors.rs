//! Published vectors: what the crates for the cryptography compute is what everybody computes, and
//! what `Checked` and `Sealed` put into frames is that.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use windlass::framing::{Checked, EndOfStream, LengthPrefixed, Role, Sealed};
use windlass::{Encoder, LengthField};

/// The lines of a file of hexadecimal numbers.
fn lines<const COLUMNS: usize>(text: &str) -> Vec<[Vec<u8>; COLUMNS]> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let columns: Vec<_> = line.split(' ').map(unhex).collect();
            columns.try_into().expect("as many columns in every line")
        })
        .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    if text == "-" {
        return Vec::new();
    }
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn checked_frames_carry_the_digests_that_nist_published() {
    let vectors = lines::<2>(include_str!("sha256.txt"));
    assert_eq!(vectors.len(), 65 + 8);
    let mut frames = Checked::new(LengthPrefixed::default());
    for [message, digest] in vectors {
        let frame = frames.encoded(&message).unwrap();
        let expected = [&message[..], &digest].concat();
        assert_eq!(frame[4..], expected, "{} bytes", message.len());
    }
}

#[test]
fn tags_are_those_of_rfc_4231_and_wycheproof() {
    let vectors = lines::<3>(include_str!("hmac_sha256.txt"));
    assert_eq!(vectors.len(), 7 + 66);
    for (at, [key, message, tag]) in vectors.iter().enumerate() {
        let mac = Hmac::<Sha256>::new_from_slice(key)
            .unwrap()
            .chain_update(message);
        let made = mac.clone().finalize().into_bytes();
        assert_eq!(made[..tag.len()], tag[..], "line {at}");
        for bit in 0..8 * tag.len() {
            let mut forged = tag.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let verdict = mac.clone().verify_truncated_left(&forged);
            assert!(verdict.is_err(), "line {at}, bit {bit}");
        }
    }
}

#[test]
fn the_tags_that_wycheproof_forged_are_refused() {
    let vectors = lines::<3>(include_str!("hmac_sha256_invalid.txt"));
    assert_eq!(vectors.len(), 108);
    for (at, [key, message, forged]) in vectors.iter().enumerate() {
        let mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        let verdict = mac.chain_update(message).verify_truncated_left(forged);
        assert!(verdict.is_err(), "line {at}");
    }
}

/// Made from the tables in the documentation with the `hmac` of Python's library.
#[test]
fn sealed_frames_are_what_the_documentation_says() {
    let key = std::array::from_fn(|at| at as u8);
    let golden = [
        (
            Role::Client,
            "0061686f79923c30a86d364b8adbe6a2ab8ac4d54afee9dbf9fed631688a9664203f275cc1",
            "01947681c53b29395c10cf9a63072a557a0b8f83a15fef9fd11769a071d3c9fa22",
        ),
        (
            Role::Server,
            "0061686f7915d651d010466194822a751a857c0de74c89639cb312d1c168dccd4207b31356",
            "01039168a3fd9ed59f7705368c070f78fb26fc6142a4d6eb9ee422110878c8185f",
        ),
    ];
    for (role, first, end) in golden {
        let framing = LengthPrefixed::new(LengthField::U8);
        let (_, mut sealing) = Sealed::pair(framing, &key, role);
        assert_eq!(sealing.encoded("ahoy").unwrap()[1..], unhex(first));
        assert_eq!(sealing.encoded(EndOfStream).unwrap()[1..], unhex(end));
    }
}
