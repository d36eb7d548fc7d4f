//! The handshake on the network in memory: who gets in, who does not, and that neither learns more
//! than it should.
//!
//! The attacker knows everything that was sent, but no key. Proofs are made here anew, from the
//! table in the documentation.

#![allow(
    clippy::unwrap_used,
    reason = "a test may; the rule is for the library"
)]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use windlass::framing::{EndOfStream, Role, Sealed, SealedError};
use windlass::net::{Address, Memory, MemoryPeer};
use windlass::protocol::auth::{
    AttemptLimits, Attempts, AuthClient, AuthFailure, AuthFraming, AuthMessage, AuthServer, Key,
};
use windlass::{
    CloseReason, Context, Decoder, Echo, Encoder, Intents, LengthPrefixed, Protocol, Reactor, Step,
};

const ADDRESS: &str = "10.0.0.1:7400";
const KEY: Key = [7; 32];
const SERVER_NONCE: [u8; 32] = [1; 32];
const CLIENT_NONCE: [u8; 32] = [2; 32];

type Frames = Sealed<LengthPrefixed>;
type Failures = Rc<RefCell<Vec<AuthFailure>>>;

/// Says hello before it is asked, then answers each message with its reverse.
struct Reverse;

impl Protocol for Reverse {
    type Decoder = Frames;
    type Encoder = Frames;

    fn on_open(&mut self, cx: &mut Context<'_, Frames>) {
        cx.send("hello");
    }

    fn on_frame(&mut self, frame: &[u8], cx: &mut Context<'_, Frames>) {
        cx.send(frame.iter().rev().copied().collect::<Vec<u8>>());
    }

    fn on_eof(&mut self, _: usize, cx: &mut Context<'_, Frames>) {
        cx.send(EndOfStream);
        cx.finish();
    }
}

struct Rig {
    memory: Memory,
    reactor: Reactor<Memory>,
    failures: Failures,
    /// Which keys were looked for.
    asked: Rc<Cell<usize>>,
}

impl Rig {
    fn new() -> Rig {
        Rig::limited(&Attempts::new(AttemptLimits {
            burst: 1000,
            ..AttemptLimits::default()
        }))
    }

    fn limited(attempts: &Attempts) -> Rig {
        let memory = Memory::new();
        let mut reactor = Reactor::with_network(memory.clone());
        let (failures, asked) = (Failures::default(), Rc::new(Cell::new(0)));
        let (told, counted, attempts) = (failures.clone(), Rc::clone(&asked), attempts.clone());
        let service = move |peer: &windlass::Peer| {
            let (told, counted) = (told.clone(), Rc::clone(&counted));
            let keys = move |id: &[u8]| {
                counted.set(counted.get() + 1);
                (id == b"anne").then_some(KEY)
            };
            AuthServer::new(SERVER_NONCE, keys, |peer| {
                assert_eq!(peer.key_id(), b"anne");
                let (decoder, encoder) = peer.seal(LengthPrefixed::default());
                (decoder, encoder, Reverse)
            })
            .limited(&attempts, &peer.address)
            .on_failure(move |why| told.borrow_mut().push(why))
        };
        reactor.listen(ADDRESS, service).unwrap();
        Rig {
            memory,
            reactor,
            failures,
            asked,
        }
    }

    fn turn(&mut self) {
        for _ in 0..10 {
            self.reactor.turn(Some(Duration::ZERO)).unwrap();
        }
    }

    /// A client that has been challenged.
    fn connect(&mut self) -> MemoryPeer {
        let address: Address = ADDRESS.parse().unwrap();
        let peer = self.memory.connect_peer(&address).unwrap();
        self.turn();
        let challenge = AuthMessage::Challenge {
            nonce: &SERVER_NONCE,
        };
        assert_eq!(peer.received(), message(challenge));
        peer
    }

    /// What the server answers, and whether that was its last word.
    fn answer(&mut self, peer: &MemoryPeer, bytes: &[u8]) -> (Vec<u8>, bool) {
        peer.send(bytes);
        self.turn();
        let answer = peer.received();
        self.turn();
        (answer, peer.is_finished())
    }

    fn take_failures(&mut self, peer: MemoryPeer) -> Vec<AuthFailure> {
        drop(peer);
        self.turn();
        self.failures.take()
    }
}

fn message(message: AuthMessage<'_>) -> Vec<u8> {
    AuthFraming::default().encoded(message).unwrap().to_vec()
}

fn proof(key: &Key, label: &str, key_id: &[u8]) -> [u8; 32] {
    let parts = [
        label.as_bytes(),
        b"\0",
        &SERVER_NONCE,
        &CLIENT_NONCE,
        key_id,
    ];
    let mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.chain_update(parts.concat())
        .finalize()
        .into_bytes()
        .into()
}

fn response(key: &Key, key_id: &[u8]) -> Vec<u8> {
    message(AuthMessage::Response {
        nonce: &CLIENT_NONCE,
        proof: &proof(key, "windlass auth 1 client", key_id),
        key_id,
    })
}

fn welcome() -> Vec<u8> {
    let proof = &proof(&KEY, "windlass auth 1 server", b"anne");
    message(AuthMessage::Welcome { proof })
}

fn refused() -> (Vec<u8>, bool) {
    (message(AuthMessage::Refused), true)
}

/// What seals the client's side after the handshake.
fn session() -> (Frames, Frames) {
    let key = proof(&KEY, "windlass auth 1 session", b"anne");
    Sealed::pair(LengthPrefixed::default(), &key, Role::Client)
}

#[test]
fn who_knows_the_key_gets_in_and_what_follows_is_sealed() {
    let mut rig = Rig::new();
    let peer = rig.connect();
    let (answer, is_last) = rig.answer(&peer, &response(&KEY, b"anne"));
    assert!(!is_last);
    let (mut opening, mut sealing) = session();
    let rest = answer.strip_prefix(&welcome()[..]).unwrap();
    let hello = opening.decode(rest).unwrap();
    assert!(matches!(hello, Step::Frame { frame: b"hello", consumed } if consumed == rest.len()));
    let (answer, _) = rig.answer(&peer, &sealing.encoded("abc").unwrap());
    let frame = opening.decode(&answer).unwrap();
    assert!(matches!(frame, Step::Frame { frame: b"cba", .. }));
    // Both ends are sealed, too.
    peer.send(&sealing.encoded(EndOfStream).unwrap());
    peer.finish();
    rig.turn();
    let end = opening.decode_eof(&peer.received()).map(|_| ());
    assert_eq!((end, opening.decode_eof(b"").map(|_| ())), (Ok(()), Ok(())));
    assert!(rig.take_failures(peer).is_empty());
}

#[test]
fn a_response_and_sealed_frames_in_one_write_are_all_taken() {
    // A client that is sure of its server need not wait.
    let mut rig = Rig::new();
    let peer = rig.connect();
    let (mut opening, mut sealing) = session();
    let bytes = [
        response(&KEY, b"anne"),
        sealing.encoded("abc").unwrap().into(),
    ]
    .concat();
    let (answer, _) = rig.answer(&peer, &bytes);
    let mut rest = answer.strip_prefix(&welcome()[..]).unwrap();
    for expected in [b"hello", &b"cba"[..]] {
        let Ok(Step::Frame { frame, consumed }) = opening.decode(rest) else {
            panic!("{expected:?}");
        };
        assert_eq!(frame, expected);
        rest = &rest[consumed..];
    }
}

#[test]
fn a_wrong_proof_and_an_unknown_key_are_answered_and_told_alike() {
    let mut rig = Rig::new();
    for (key, key_id) in [([8; 32], &b"anne"[..]), (KEY, b"bert"), ([0; 32], b"bert")] {
        let peer = rig.connect();
        assert_eq!(rig.answer(&peer, &response(&key, key_id)), refused());
        assert_eq!(rig.take_failures(peer), [AuthFailure::Denied]);
    }
    assert_eq!(rig.asked.get(), 3);
}

#[test]
fn a_response_with_any_bit_flipped_is_worth_nothing() {
    let right = response(&KEY, b"anne");
    let mut rig = Rig::new();
    // Behind the length and the type, of which a peer may make what it likes.
    for bit in 16..8 * right.len() {
        let mut forged = right.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        let peer = rig.connect();
        assert_eq!(rig.answer(&peer, &forged), refused(), "bit {bit}");
        assert_eq!(rig.take_failures(peer), [AuthFailure::Denied], "bit {bit}");
    }
}

#[test]
fn what_one_side_has_proven_does_not_prove_the_other() {
    let mut rig = Rig::new();
    let peer = rig.connect();
    let reflected = message(AuthMessage::Response {
        nonce: &CLIENT_NONCE,
        proof: &proof(&KEY, "windlass auth 1 server", b"anne"),
        key_id: b"anne",
    });
    assert_eq!(rig.answer(&peer, &reflected), refused());
    assert_eq!(rig.take_failures(peer), [AuthFailure::Denied]);
}

#[test]
fn messages_that_have_no_place_are_refused() {
    let mut rig = Rig::new();
    let challenge = message(AuthMessage::Challenge {
        nonce: &CLIENT_NONCE,
    });
    for bytes in [
        challenge,
        welcome(),
        message(AuthMessage::Refused),
        vec![255],
        vec![1, 9],
    ] {
        let peer = rig.connect();
        assert_eq!(rig.answer(&peer, &bytes), refused(), "{bytes:?}");
        assert_eq!(rig.take_failures(peer), [AuthFailure::Unexpected]);
    }
    assert_eq!(rig.asked.get(), 0);
}

#[test]
fn whoever_does_not_respond_is_reset_at_the_deadline() {
    let mut rig = Rig::new();
    let peer = rig.connect();
    peer.send(&response(&KEY, b"anne")[..50]);
    rig.memory.advance(Duration::from_millis(9_900));
    rig.turn();
    assert!(!peer.is_reset());
    rig.memory.advance(Duration::from_millis(200));
    rig.turn();
    assert!(peer.is_reset());
    assert_eq!(rig.take_failures(peer), [AuthFailure::Deadline]);
}

#[test]
fn the_deadline_ends_with_the_handshake() {
    let mut rig = Rig::new();
    let peer = rig.connect();
    rig.answer(&peer, &response(&KEY, b"anne"));
    rig.memory.advance(Duration::from_secs(60));
    rig.turn();
    assert!(!peer.is_reset() && !peer.is_finished());
}

#[test]
fn a_server_that_does_not_challenge_is_left_at_the_deadline() {
    let mut rig = Rig::new();
    let mute = rig
        .memory
        .listen_peer("10.0.0.9:7400".parse::<Address>().unwrap())
        .unwrap();
    let (heard, failures) = client(&mut rig, &mute.local_addr(), KEY);
    let peer = mute.accept().unwrap();
    rig.memory.advance(Duration::from_millis(9_900));
    rig.turn();
    assert!(!peer.is_reset());
    rig.memory.advance(Duration::from_millis(200));
    rig.turn();
    assert!(peer.is_reset() && heard.borrow().is_empty());
    assert_eq!(*failures.borrow(), [AuthFailure::Deadline]);
}

#[test]
fn an_address_that_tries_too_often_is_refused_unseen_even_with_the_key() {
    let attempts = Attempts::new(AttemptLimits {
        burst: 3,
        ..AttemptLimits::default()
    });
    let mut rig = Rig::limited(&attempts);
    for _ in 0..3 {
        let peer = rig.connect();
        assert_eq!(rig.answer(&peer, &response(&[8; 32], b"anne")), refused());
        assert_eq!(rig.take_failures(peer), [AuthFailure::Denied]);
    }
    let peer = rig.connect();
    assert_eq!(rig.answer(&peer, &response(&KEY, b"anne")), refused());
    assert_eq!(rig.take_failures(peer), [AuthFailure::TooManyAttempts]);
    assert_eq!((rig.asked.get(), attempts.refused()), (3, 1));
    rig.memory.advance(Duration::from_secs(2));
    let peer = rig.connect();
    assert!(!rig.answer(&peer, &response(&KEY, b"anne")).1);
}

/// Sends a word, and notes what comes back.
struct Asks(Rc<RefCell<Vec<Vec<u8>>>>);

impl Protocol for Asks {
    type Decoder = Frames;
    type Encoder = Frames;

    fn on_open(&mut self, cx: &mut Context<'_, Frames>) {
        cx.send("stressed");
        cx.send(EndOfStream);
        cx.finish_writes();
    }

    fn on_frame(&mut self, frame: &[u8], _: &mut Context<'_, Frames>) {
        self.0.borrow_mut().push(frame.to_vec());
    }

    fn on_close(&mut self, reason: CloseReason, _: &mut Intents) {
        assert!(reason.is_clean(), "{reason}");
        self.0.borrow_mut().push(b"closed".to_vec());
    }
}

/// A client of the library, and what becomes of it.
fn client(rig: &mut Rig, to: &Address, key: Key) -> (Rc<RefCell<Vec<Vec<u8>>>>, Failures) {
    let (heard, failures) = (Rc::default(), Failures::default());
    let (notes, told) = (Rc::clone(&heard), failures.clone());
    let client = AuthClient::new(CLIENT_NONCE, "anne", key, move |server| {
        let (decoder, encoder) = server.seal(LengthPrefixed::default());
        (decoder, encoder, Asks(notes))
    });
    let client = client.on_failure(move |why| told.borrow_mut().push(why));
    rig.reactor.connect(to.clone(), client).unwrap();
    rig.turn();
    (heard, failures)
}

#[test]
fn client_and_server_find_each_other() {
    let mut rig = Rig::new();
    let (heard, failures) = client(&mut rig, &ADDRESS.parse().unwrap(), KEY);
    rig.turn();
    let expected: [&[u8]; 3] = [b"hello", b"desserts", b"closed"];
    assert_eq!(*heard.borrow(), expected);
    assert!(failures.borrow().is_empty() && rig.failures.borrow().is_empty());
    let (heard, failures) = client(&mut rig, &ADDRESS.parse().unwrap(), [8; 32]);
    assert_eq!(*failures.borrow(), [AuthFailure::Refused]);
    assert!(heard.borrow().is_empty());
}

#[test]
fn a_server_that_does_not_know_the_key_gets_nothing_sealed() {
    let mut rig = Rig::new();
    let fake = rig
        .memory
        .listen_peer("10.0.0.9:7400".parse::<Address>().unwrap());
    let fake = fake.unwrap();
    let challenge = message(AuthMessage::Challenge {
        nonce: &SERVER_NONCE,
    });
    let reflected = message(AuthMessage::Welcome {
        proof: &proof(&KEY, "windlass auth 1 client", b"anne"),
    });
    let guessed = message(AuthMessage::Welcome { proof: &[0; 32] });
    let attacks = [
        (vec![challenge.clone(), reflected], AuthFailure::Impostor),
        (vec![challenge.clone(), guessed], AuthFailure::Impostor),
        (vec![welcome()], AuthFailure::Unexpected),
        (vec![challenge.clone(), challenge], AuthFailure::Unexpected),
        (vec![vec![77; 200]], AuthFailure::Unexpected),
    ];
    for (messages, expected) in attacks {
        let (heard, failures) = client(&mut rig, &fake.local_addr(), KEY);
        let peer = fake.accept().unwrap();
        let mut received = Vec::new();
        for message in messages {
            peer.send(&message);
            rig.turn();
            received.extend(peer.received());
        }
        assert!(peer.is_finished());
        assert!(received.is_empty() || received == response(&KEY, b"anne"));
        drop(peer);
        rig.turn();
        assert_eq!(*failures.borrow(), [expected]);
        assert!(heard.borrow().is_empty());
    }
}

#[test]
fn echo_over_sealed_answers_every_message_and_its_end_is_taken_for_a_cut() {
    let memory = Memory::new();
    let mut reactor = Reactor::with_network(memory.clone());
    let pair = |role| Sealed::pair(LengthPrefixed::default(), &KEY, role);
    let service = move |_: &windlass::Peer| {
        let (opening, sealing) = pair(Role::Server);
        (opening, sealing, Echo::default())
    };
    reactor.listen(ADDRESS, service).unwrap();
    let peer = memory
        .connect_peer(&ADDRESS.parse::<Address>().unwrap())
        .unwrap();
    let (mut opening, mut sealing) = pair(Role::Client);
    peer.send(&sealing.encoded("ahoy").unwrap());
    peer.send(&sealing.encoded(EndOfStream).unwrap());
    peer.finish();
    for _ in 0..10 {
        reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    let answer = peer.received();
    let frame = opening.decode(&answer).unwrap();
    assert!(matches!(frame, Step::Frame { frame: b"ahoy", consumed } if consumed == answer.len()));
    assert!(peer.is_finished());
    assert_eq!(opening.decode_eof(b""), Err(SealedError::Truncated));
}
