//! The load tester against servers that demand proof of who sends: frames of `Sealed`.
//!
//! Apart from the other tests of the load tester, because the servers are made of the library.
//! Knows how a key is given to it, and nothing of how it works.

#![cfg(all(feature = "digest", feature = "http"))]
#![allow(
    clippy::disallowed_methods,
    reason = "the server has a thread of its own"
)]

mod running;

use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::{env, fs, process, thread};

use windlass::framing::{Decoder, EndOfStream, LengthPrefixed, Role, Sealed};
use windlass::{CloseReason, Context, Intents, Protocol, Reactor};

use running::check_exit;

const KEY: [u8; 32] = *b"a key that only those tests know";

/// Sends back what comes, and tells how connections end.
struct Vault {
    ends: Sender<CloseReason>,
}

impl Protocol for Vault {
    type Decoder = Sealed<LengthPrefixed>;
    type Encoder = Sealed<LengthPrefixed>;

    fn on_frame(&mut self, frame: &[u8], cx: &mut Context<'_, Self::Encoder>) {
        cx.send(frame);
    }

    fn on_malformed(
        &mut self,
        _: <Self::Decoder as Decoder>::Error,
        _: &mut Context<'_, Self::Encoder>,
    ) {
    }

    fn on_eof(&mut self, _: usize, cx: &mut Context<'_, Self::Encoder>) {
        cx.send(EndOfStream);
        cx.finish();
    }

    fn on_close(&mut self, reason: CloseReason, _: &mut Intents) {
        _ = self.ends.send(reason);
    }
}

fn vault() -> (SocketAddr, Receiver<CloseReason>) {
    let (tell, ends) = mpsc::channel();
    let (say, address) = mpsc::channel();
    thread::spawn(move || {
        let mut reactor = Reactor::new().expect("a reactor");
        let listener = reactor.listen("127.0.0.1:0", move |_| {
            let pair = Sealed::pair(LengthPrefixed::default(), &KEY, Role::Server);
            (pair.0, pair.1, Vault { ends: tell.clone() })
        });
        let address = reactor.local_addr(listener.expect("a port"));
        say.send(address.expect("an address")).expect("it waits");
        reactor.run()
    });
    let address = address.recv().expect("it listens");
    (address.as_ip().expect("it is of TCP"), ends)
}

/// Runs `load` with that key.
#[track_caller]
fn load(to: SocketAddr, key: &[u8], options: &str, status: i32) -> String {
    let name = thread::current().name().unwrap_or("test").to_owned();
    let path = env::temp_dir().join(format!("windlass-{}-{name}.key", process::id()));
    fs::write(&path, key).expect("a file");
    let line = format!("tcp {to} -c 2 --framing sealed {options} --key-file");
    let mut args: Vec<&str> = line.split_whitespace().collect();
    let file = path.to_str().expect("a name");
    args.push(file);
    let output = check_exit("load", &args, status);
    _ = fs::remove_file(path);
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn sealed_messages_are_echoed_on_as_many_connections_as_it_takes() {
    let (to, _ends) = vault();
    let digits: String = KEY.iter().map(|byte| format!("{byte:02x}")).collect();
    load(to, &KEY, "-n 200 -p 3 --max-errors 0", 0);
    load(to, (digits + "\n").as_bytes(), "-n 20 --max-errors 0", 0);
}

#[test]
fn a_connection_for_one_message_ends_with_the_sealed_end_of_its_stream() {
    let (to, ends) = vault();
    let text = load(to, &KEY, "-n 20 --no-keep-alive --max-errors 0", 0);
    for _ in 0..20 {
        assert_eq!(ends.recv(), Ok(CloseReason::PeerFinished), "{text}");
    }
}

#[test]
fn another_key_is_an_error_and_no_key_is_none() {
    let (to, _ends) = vault();
    let text = load(to, &[0; 32], "-n 2", 1);
    assert!(text.contains("there was no good answer"), "{text}");
    let text = load(to, b"short", "", 2);
    assert!(text.contains("neither 32 bytes nor their digits"), "{text}");
    let to = to.to_string();
    let args = ["tcp", &to, "--framing", "sealed"];
    let output = check_exit("load", &args, 2);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("--key-file"), "{text}");
    check_exit("load", &["tcp", &to, "--key-file", "/nowhere"], 2);
}
