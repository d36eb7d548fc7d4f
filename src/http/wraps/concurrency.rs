//! A bound on requests at a time, and `Permit`: one of them.
//!
//! Counts. Knows neither what the requests are nor how long they take.

use std::cell::Cell;
use std::rc::Rc;

use crate::http::endpoint::Next;
use crate::http::permit::Permit;
use crate::http::request::Request;
use crate::http::response::Response;
use crate::http::status::Status;

/// Lets `max` requests through at a time; others are answered 503 with `Retry-After`.
///
/// In one thread a request that is answered at once is never at the same time as another. Those
/// that take longer count: answers that are streamed or read from files until they are sent,
/// answers that come later until they are there, uploads in pieces until they are answered.
pub fn concurrency(max: usize) -> impl Fn(&mut Request<'_>, Next<'_>) -> Response + 'static {
    let active = Rc::new(Cell::new(0));
    move |request, next| {
        if active.get() >= max {
            let response = Response::error(Status::SERVICE_UNAVAILABLE);
            return response.header("Retry-After", "1");
        }
        // Taken first: what is within may ask how many there are.
        let permit = Permit::new(&active);
        next.run(request).held_by(permit)
    }
}
