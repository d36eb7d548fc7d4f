//! `Expected`: the body of an answer on its way to our client, and what its digests say of it.
//!
//! The client's side of `Verify`. Knows heads of answers, and nothing of who receives a body.

use super::integrity::Wrong;
use super::verify::Check;
use crate::http::client::{DigestError, Head, Length, Request, Verifying};
use crate::http::fields::Fields;
use crate::http::status::Status;

/// A body that is yet to come.
pub(crate) struct Expected(Check);

impl Expected {
    /// What is to be verified of the answer to `request`; nothing, if it does not ask for that, or
    /// if there is no body: its digests would be those of one that is elsewhere.
    pub(crate) fn begin(
        request: &Request,
        head: &Head<'_>,
    ) -> Result<Option<Expected>, DigestError> {
        let is_required = match request.verifies() {
            Verifying::Nothing => return Ok(None),
            Verifying::WhatIsThere => false,
            Verifying::All => true,
        };
        if head.length() == Length::None {
            return Ok(None);
        }
        let is_partial = head.status() == Status::PARTIAL_CONTENT;
        let check = Check::begin(&head.fields(), is_partial, is_required)?;
        // Whoever receives it piece by piece is told before the first one.
        if is_required && !check.is_active() {
            return Err(DigestError::Missing);
        }
        Ok(Some(Expected(check)))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The verdict.
    pub(crate) fn end(mut self, trailers: &Fields<'_>) -> Result<(), DigestError> {
        Ok(self.0.end(trailers)?)
    }
}

impl From<Wrong> for DigestError {
    fn from(wrong: Wrong) -> DigestError {
        match wrong {
            Wrong::Malformed => DigestError::Malformed,
            Wrong::Mismatch => DigestError::Mismatch,
            Wrong::Unverified => DigestError::Missing,
        }
    }
}
