//! The fuzz targets as ordinary tests: each on some seeds, on the requests of the conformance
//! table, and on what comes of those when they are damaged.
//!
//! libFuzzer, which finds more, is in tests/fuzz. `WINDLASS_FUZZ=20000` tries more inputs of
//! each target here.

#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::{env, fs};

#[path = "fuzzed/connection.rs"]
mod connection;
#[path = "http_conformance/table.rs"]
mod table;
#[path = "fuzzed/targets.rs"]
mod targets;

/// SplitMix64: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % bound.max(1) as u64) as usize
    }
}

/// The files of a folder of seeds, in order.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzzed/seeds");
    let mut paths: Vec<_> = fs::read_dir(folder.join(target))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Some bytes changed, left out, doubled or taken from elsewhere.
fn damaged(random: &mut Random, inputs: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = inputs[random.below(inputs.len())].clone();
    for _ in 0..=random.below(4) {
        let start = random.below(bytes.len() + 1);
        let end = (start + random.below(8)).min(bytes.len());
        match random.below(6) {
            0 => drop(bytes.drain(start..end)),
            1 => {
                let copy = bytes[start..end].to_vec();
                bytes.splice(start..start, copy);
            }
            2 => {
                let other = &inputs[random.below(inputs.len())];
                bytes.truncate(start);
                bytes.extend_from_slice(&other[random.below(other.len())..]);
            }
            3 => bytes.insert(start, random.below(256) as u8),
            _ => {
                let word = WORDS[random.below(WORDS.len())];
                bytes.splice(start..end, word.bytes());
            }
        }
    }
    bytes.truncate(MAX_LEN);
    bytes
}

#[track_caller]
fn check(name: &str) {
    let (_, target) = targets::ALL
        .into_iter()
        .find(|(own, _)| *own == name)
        .unwrap();
    let mut inputs = seeds(name);
    let run = |input: &[u8]| {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
            eprintln!("{name}: \"{}\"", input.escape_ascii());
            resume_unwind(panic);
        }
    };
    let cases = table::cases().into_iter().map(|case| case.request);
    inputs.extend(cases.filter(|request| request.len() <= MAX_LEN));
    for input in &inputs {
        run(input);
    }
    let count = env::var("WINDLASS_FUZZ").map_or(COUNT, |count| count.parse().unwrap());
    let mut random = Random(1);
    for _ in 0..count {
        run(&damaged(&mut random, &inputs));
    }
}

#[test]
fn a_stream_of_requests_is_the_same_however_it_is_cut() {
    check("request_head");
}

#[test]
fn a_chunked_body_is_what_a_simple_reader_finds() {
    check("chunked_body");
}

#[test]
fn a_server_answers_whatever_it_is_sent_as_a_server_should() {
    check("connection");
}

#[test]
fn a_stream_of_answers_is_the_same_however_it_is_cut() {
    check("response");
}

#[test]
fn every_request_of_a_client_has_one_outcome_whatever_the_server_sends() {
    check("client");
}

#[test]
fn no_path_leads_out_of_a_directory() {
    check("static_path");
}

/// Damaged inputs of each target.
const COUNT: usize = 300;
const MAX_LEN: usize = 2048;
const WORDS: [&str; 20] = [
    "\r\n",
    "\n",
    "\r",
    ":",
    " ",
    "0",
    "chunked",
    "gzip",
    "Content-Length: ",
    "Host: h\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "Expect: 100-continue\r\n",
    "HTTP/1.1",
    "HTTP/1.0",
    "\r\n0\r\n\r\n",
    ";a=\"b\"",
    "%2e%2e%2f",
    "../",
    "ffffffffffffffff",
];
