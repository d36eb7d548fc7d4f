//! What the HTTP server promises of messages, sentence by sentence, and the tests that hold it to
//! that: a table, checked for names that are no test's any more; and the tests that are nowhere
//! else.
//!
//! A name in quotes is a function below `src` or `tests`, or a case of
//! `tests/http_conformance/cases.txt`; cases are also sent split at every position.

#![cfg(feature = "http")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests may start threads and read files"
)]

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use windlass::http::{Reply, Response, Router, Server};

#[path = "common/http_world.rs"]
mod world;

use world::World;

/// What is promised, and by which tests it is held.
const PROMISES: &[(&str, &[&str])] = &[
    // Heads.
    (
        "Request heads are parsed where they lie in the input, and lent",
        &[
            "a_request_that_is_here_is_lent_as_a_whole",
            "a_head_is_taken_apart",
            "a_head_is_read_as_httparse_reads_it_or_refused_for_a_reason",
            "a_head_of_16_kib_that_arrives_byte_by_byte_is_searched_once",
        ],
    ),
    (
        "No allocation per request in the steady state",
        &[
            "a_request_without_parameters_allocates_nothing_once_the_queue_has_grown",
            "a_logger_that_does_not_want_them_costs_no_allocation",
        ],
    ),
    (
        "The target has one of four forms: origin, absolute, authority, asterisk",
        &[
            "a_target_has_one_of_four_forms",
            "a_form_that_its_method_does_not_take_is_refused",
            "a query",
            "the absolute form",
            "the absolute form overrules the host",
            "CONNECT",
            "OPTIONS of the server",
            "the asterisk for GET",
            "the authority form for GET",
            "an escape that is none",
        ],
    ),
    (
        "The rules of versions",
        &[
            "a_version_is_refused_as_such_only_if_it_is_one",
            "HTTP/2.0",
            "HTTP/1.2",
            "no version (HTTP/0.9)",
            "http/1.1",
        ],
    ),
    (
        "Host exactly once and valid; an empty one is 400",
        &[
            "a_host_is_there_once_and_with_http_1_0_it_may_be_missing",
            "a_host_is_a_name_or_an_address_with_or_without_a_port",
            "no host",
            "an empty host",
            "a blank host",
            "two hosts",
            "the same host twice",
            "a host with a user",
            "a host with half an escape",
            "a port too large",
        ],
    ),
    (
        "No whitespace before the colon, no folded lines",
        &[
            "a space before the colon",
            "a tab before the colon",
            "a folded line",
            "a line folded with a tab",
            "a space before the first field",
        ],
    ),
    (
        "No bare CR, no bare LF",
        &[
            "a_line_ends_in_cr_lf",
            "a_bare_line_feed_is_refused_however_the_head_is_cut",
            "a bare CR before",
            "a bare CR in the target",
            "a bare CR in a value",
            "a bare LF behind a field",
            "a head of bare LFs",
        ],
    ),
    // Framing.
    (
        "Content-Length: duplicates, lists, signs, overflow are 400",
        &[
            "a_content_length_is_there_once_and_a_number",
            "equal lengths twice",
            "two lengths",
            "a list of equal lengths",
            "a list of lengths",
            "a length with a plus",
            "a negative length",
            "a length beyond 64 bits",
            "a length that wraps round to 2",
        ],
    ),
    (
        "A length with a transfer coding is 400, and closes",
        &["chunked, and a length", "a length, and chunked"],
    ),
    (
        "A transfer coding other than one final chunked: 400 if malformed, 501 if unknown",
        &[
            "a_transfer_encoding_is_chunked_and_comes_alone",
            "chunked twice",
            "chunked twice in a list",
            "chunked before another",
            "only gzip",
            "gzip before chunked",
            "an unknown coding",
            "an unknown coding before chunked",
            "an empty coding",
            "chunked with a parameter",
        ],
    ),
    (
        "A transfer coding in HTTP/1.0 is 400",
        &["chunked in HTTP/1.0"],
    ),
    (
        "Chunk sizes have bounds and overflow checks",
        &[
            "a_size_is_a_hexadecimal_number_of_64_bits",
            "a_chunk_ends_where_its_size_says",
            "a size of 17 digits",
            "a size beyond 64 bits",
            "a size of 64 bits",
            "a chunk that is too long",
            "a chunk that is too short",
        ],
    ),
    (
        "Chunk extensions are bounded and ignored; a bare `;` and space behind a size are refused",
        &[
            "extensions_are_ignored_if_they_are_well_formed",
            "an extension of 400 bytes",
            "an extension of 600 bytes",
            "an extension without an end",
            "an extension without a name",
            "a space behind the size",
            "a space before an extension",
        ],
    ),
    (
        "Trailers are parsed and bounded; framing fields in them are refused",
        &[
            "a_trailer_is_bounded_and_does_not_frame",
            "a_receiver_sees_the_body_and_its_trailers",
            "a trailer of two",
            "a trailer that is too long",
            "a trailer with a length",
            "a trailer with a coding",
            "a trailer with a host",
        ],
    ),
    (
        "BEL and DEL in values are refused",
        &["a BEL in a value", "a DEL in a value", "a NUL in a value"],
    ),
    (
        "After an error the answer is sent, input is discarded, and the close lingers",
        &[
            "who_goes_on_behind_a_malformed_request_still_gets_its_answer",
            "a good request before a bad one",
            "a_refused_answer_of_our_own_server_is_understood",
        ],
    ),
    (
        "413 for a body announced larger than the limit, before it is read",
        &[
            "a body above the limit, announced",
            "a body above the limit, sent",
            "a body above the limit, in chunks",
            "no continue for a body that is too large",
        ],
    ),
    // Methods.
    (
        "All methods of RFC 9110, and PATCH",
        &[
            "a GET",
            "HEAD",
            "POST without a body",
            "PUT",
            "DELETE",
            "PATCH",
            "OPTIONS",
            "CONNECT",
            "TRACE is off",
        ],
    ),
    (
        "Any other token reaches a router that answers 501 or 405 with Allow",
        &[
            "a_method_without_a_handler_is_told_which_there_are",
            "an unknown method",
            "a method of odd characters",
            "a method in lower case",
            "DELETE where it is not",
        ],
    ),
    (
        "`OPTIONS *` and CONNECT get 200 or 204, 405 or 501; CONNECT without a port 400",
        &[
            "OPTIONS of the server",
            "CONNECT",
            "CONNECT without a port",
            "CONNECT with an empty port",
        ],
    ),
    (
        "TRACE echoes the head without sensitive fields, and is off by default",
        &["a_trace_shows_the_head_without_secrets", "TRACE is off"],
    ),
    (
        "CONNECT and Upgrade hand the connection over with left-over bytes",
        &[
            "a_tunnel_is_left_what_came_behind_connect",
            "an_upgraded_connection_is_left_what_came_behind_the_request",
            "an upgrade that nobody asked for",
            "an upgrade of HTTP/1.0",
        ],
    ),
    // Connections.
    (
        "HTTP/1.0 keeps a connection by its field, 1.1 unless told otherwise",
        &[
            "a GET of HTTP/1.0",
            "keep-alive of HTTP/1.0",
            "Connection: close",
            "close in a list",
            "the_connection_is_told_about_where_the_version_does_not_imply_it",
        ],
    ),
    (
        "Pipelined answers keep their order, and leave together",
        &[
            "two requests",
            "three requests, the second in chunks",
            "pipelined_answers_leave_in_one_write",
            "an_answer_that_is_made_later_keeps_its_place",
        ],
    ),
    (
        "The look-ahead is bounded",
        &["while_an_answer_is_awaited_nothing_more_is_read"],
    ),
    (
        "`Expect: 100-continue` is answered when the handler wants the body; 417 for others",
        &[
            "continue",
            "continue in chunks",
            "no continue for HTTP/1.0",
            "no continue where nobody wants the body",
            "an unknown expectation",
            "continue_is_followed_by_the_answer_when_the_body_has_come",
        ],
    ),
    (
        "HEAD, 1xx, 204 and 304 never carry a body",
        &[
            "HEAD of a stream",
            "no content",
            "not modified",
            "an interim status as the answer",
            "a_head_is_that_of_a_get_without_its_body",
        ],
    ),
    // Bodies.
    (
        "Bodies are put together up to a limit",
        &["a body at the limit", "a body", "chunks"],
    ),
    (
        "Or streamed to the handler, with back-pressure in both directions",
        &[
            "a_receiver_sees_the_body_and_its_trailers",
            "a_receiver_that_pauses_holds_the_peer_up",
            "a_receiver_that_has_enough_ends_the_connection_with_its_answer",
            "a_stream_is_produced_as_the_peer_takes_it",
        ],
    ),
    (
        "Responses: fixed, empty",
        &["an_answer_has_a_date_and_a_length", "HEAD of nothing"],
    ),
    (
        "Streamed: in chunks, or until the close for HTTP/1.0, as the peer takes more",
        &[
            "a stream, and a request behind it",
            "a stream to HTTP/1.0",
            "a stream of known length",
            "a_source_waits_until_its_time_or_a_nudge",
            "a_body_that_cannot_be_produced_is_cut_off",
            "a_large_body_leaves_in_pieces_that_stay_within_the_limits",
        ],
    ),
    (
        "From a file",
        &[
            "a_large_file_arrives_as_it_is_and_in_pieces",
            "a_file_that_shrinks_while_it_is_sent_ends_the_connection_with_a_reset",
        ],
    ),
    (
        "Trailers of responses",
        &[
            "a_source_has_the_last_word_in_its_trailers",
            "chunks_have_a_hexadecimal_size_and_the_last_one_is_empty",
        ],
    ),
    (
        "Deferred: from a timer, another connection, or another thread through the mailbox",
        &[
            "an_answer_that_is_made_later_keeps_its_place",
            "a_reply_answers_from_another_connection",
            "a_reply_answers_from_outside_and_the_connection_goes_on",
            "a_reply_answers_from_another_thread",
        ],
    ),
    (
        "A reply that is dropped answers 500; a client that left makes it Gone",
        &[
            "a_reply_that_is_dropped_answers_500",
            "a_reply_to_a_client_that_has_left_is_gone",
        ],
    ),
    (
        "Server-sent events",
        &[
            "who_comes_back_is_sent_what_it_has_missed",
            "who_does_not_keep_up_is_ended_behind_what_is_queued",
            "no_value_can_begin_a_field_or_an_event_of_its_own",
        ],
    ),
    // Heads of answers.
    (
        "The date is cached, Connection correct",
        &[
            "the_date_is_renewed_with_the_second",
            "the_connection_is_told_about_where_the_version_does_not_imply_it",
            "an_answer_is_there_for_the_second_that_it_was_written_in",
        ],
    ),
    (
        "No value of a handler splits a header or a response",
        &[
            "a_header_that_would_split_the_answer_makes_it_a_500",
            "a_value_cannot_split_the_response",
            "a_header_that_cannot_be_sent_is_remembered",
        ],
    ),
    // Limits.
    (
        "Head 16 KiB, 100 fields (431), target 8 KiB (414)",
        &[
            "what_is_too_long_is_named",
            "a long head",
            "a head that is too long",
            "a head without an end",
            "a hundred fields",
            "one more",
            "a target of 8 KiB",
            "a target of more",
        ],
    ),
    (
        "10 s for a head, from accept or from its first byte (408)",
        &[
            "a_peer_that_sends_nothing_is_left_after_10_s_in_silence",
            "a_head_that_does_not_end_within_10_s_is_answered_408",
            "a_head_has_10_s_from_its_first_byte_even_if_that_begins_an_empty_line",
            "empty_lines_put_the_deadline_of_a_head_off_no_more_than_its_other_bytes_do",
            "a_head_that_trickles_is_answered_408",
            "a_later_head_has_10_s_from_its_first_byte",
        ],
    ),
    (
        "A minimum rate for bodies, keep-alive for 75 s",
        &[
            "a_body_that_nobody_wants_and_that_trickles_ends_the_connection",
            "a_peer_is_not_too_slow_for_what_it_could_not_send_while_a_receiver_paused",
            "a_body_that_trickles_is_answered_408",
            "a_body_that_stalls_for_10_s_is_answered_408",
            "a_connection_without_a_request_is_kept_for_75_s",
        ],
    ),
    (
        "Requests per connection, requests at a time (503 with Retry-After)",
        &[
            "the_last_request_of_a_connection_is_told_so",
            "more_requests_at_once_than_are_allowed_are_answered_503",
        ],
    ),
    (
        "A table in the documentation says what happens at each limit",
        &["the_table_of_limits_is_that_of_the_code"],
    ),
];

#[test]
fn every_promise_is_held_by_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    for folder in ["src", "tests"] {
        read_all(&root.join(folder), &mut sources);
    }
    let cases = fs::read_to_string(root.join("tests/http_conformance/cases.txt")).unwrap();
    let is_case = |name: &str| {
        let start = format!("{name} | ");
        cases.lines().any(|line| line.starts_with(&start))
    };
    let missing: Vec<_> = PROMISES
        .iter()
        .flat_map(|(promise, names)| names.iter().map(move |name| (promise, name)))
        .filter(|(_, name)| !is_case(name) && !sources.contains(&format!("    fn {name}(")))
        .filter(|(_, name)| !sources.contains(&format!("#[test]\nfn {name}(")))
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
    assert!(PROMISES.iter().all(|(_, names)| !names.is_empty()));
}

/// Appends all Rust below a folder.
fn read_all(folder: &Path, sources: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// Sends as much as is taken.
fn send(world: &mut World, bytes: &[u8]) -> usize {
    let sent = world.peer.send(bytes);
    world.turn();
    sent
}

/// A router whose `/` leaves its reply in the cell.
fn waiting() -> (Router, Rc<Cell<Option<Reply>>>) {
    let cell = Rc::new(Cell::new(None));
    let kept = Rc::clone(&cell);
    let router = Router::new().get("/", move |request| {
        let (reply, response) = request.defer();
        kept.set(Some(reply));
        response
    });
    (router, cell)
}

#[test]
fn who_goes_on_behind_a_malformed_request_still_gets_its_answer() {
    let mut world = World::with(Server::new(Router::new()));
    send(&mut world, b"GET / HTTP/1.1\r\nHost : h\r\n\r\n");
    // It knows nothing of its mistake yet: all of this is thrown away.
    let mut sent = 0;
    while sent < 1_000_000 {
        let taken = send(&mut world, &[b'x'; 10_000]);
        assert_ne!(taken, 0, "after {sent} bytes");
        sent += taken;
    }
    assert!(world.peer.is_finished() && !world.peer.is_reset());
    let received = world.peer.received();
    assert!(received.starts_with(b"HTTP/1.1 400 "), "{received:?}");
    world.peer.finish();
    world.turn();
    assert!(!world.peer.is_reset());
}

#[test]
fn while_an_answer_is_awaited_nothing_more_is_read() {
    let (router, cell) = waiting();
    let mut world = World::with(Server::new(router));
    let request = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    send(&mut world, request);
    let capacity = 10_000;
    world.peer.set_capacity(capacity);
    let sent: usize = (0..1000).map(|_| send(&mut world, request)).sum();
    assert_eq!(sent, capacity, "what the network holds");
    assert!(world.peer.received().is_empty());
    let (to, answer) = cell.take().unwrap().into_mail(Response::text("first"));
    world.reactor.mail(to, answer).unwrap();
    world.turn();
    assert!(world.peer.received().ends_with(b"first"));
    // One more was begun, and no more than that.
    assert!(cell.take().is_some());
}

#[test]
fn a_reply_answers_from_another_thread() {
    let (router, cell) = waiting();
    let mut world = World::with(Server::new(router));
    let remote = world.reactor.remote().unwrap();
    send(&mut world, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let reply = cell.take().unwrap();
    let elsewhere = thread::spawn(move || {
        assert!(!reply.is_gone());
        let (to, answer) = reply.into_mail(Response::text("from afar"));
        remote.post(to, answer).is_ok()
    });
    assert!(elsewhere.join().unwrap());
    world.memory.advance(Duration::from_millis(1));
    world.turn();
    let received = world.peer.received();
    assert!(received.ends_with(b"from afar"), "{received:?}");
}
