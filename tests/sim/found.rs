//! Seeds that once failed, each under the name of what was wrong. They run in every test, whatever
//! other seeds do.

use windlass::sim::{Faults, Outcome, World, run};

/// The trace may have changed since; that the seed passes is what counts.
fn check(seed: u64, scenario: fn(&mut World) -> Outcome) {
    if let Err(failure) = run(seed, &Faults::from_seed(seed), scenario) {
        panic!("\n{failure}\n");
    }
}

#[test]
fn a_shutdown_long_after_the_last_turn_has_its_whole_grace() {
    check(83, crate::echo::scenario);
}

#[test]
fn a_connection_whose_peer_has_finished_is_not_idle_while_it_sends() {
    check(77, crate::forward::scenario);
}

#[test]
fn an_end_of_stream_behind_a_needless_would_block_is_told() {
    check(415, crate::echo::scenario);
}

#[test]
fn a_shutdown_may_linger_for_a_shorter_time() {
    check(827, crate::forward::scenario);
}

#[test]
fn late_events_of_a_failed_attempt_are_not_told_of_the_next_one() {
    check(3275, crate::outages::scenario);
}

#[test]
fn a_forwarder_waits_for_a_connection_that_is_made_until_it_is_told() {
    check(5_164, crate::forward::scenario);
}

#[test]
fn a_connection_that_is_aborted_while_it_lingers_is_reset() {
    check(24_902, crate::forward::scenario);
}

#[test]
fn a_reader_that_is_often_refused_is_promised_one_event_at_a_time() {
    check(12_429, crate::slow::naps);
}

#[cfg(feature = "digest")]
#[test]
fn a_handshake_that_is_kept_back_is_not_undisturbed() {
    check(3_647, crate::sealed::scenario);
}

#[cfg(feature = "http")]
#[test]
fn a_peer_that_sends_more_with_its_last_request_is_waited_for() {
    check(6_359, crate::http_table::scenario);
}
