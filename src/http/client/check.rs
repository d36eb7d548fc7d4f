//! `Check`: whether an answer is what its digests say, for requests that want to know.
//!
//! Knows what `http::digest` knows; without the feature `digest`, that nobody can want to.

#[cfg(feature = "digest")]
pub(super) use crate::http::digest::Expected as Check;

#[cfg(not(feature = "digest"))]
pub(super) use none::Check;

#[cfg(not(feature = "digest"))]
mod none {
    use crate::http::client::error::DigestError;
    use crate::http::client::head::Head;
    use crate::http::client::request::Request;
    use crate::http::fields::Fields;

    pub(in crate::http::client) enum Check {}

    impl Check {
        pub(in crate::http::client) fn begin(
            _: &Request,
            _: &Head<'_>,
        ) -> Result<Option<Check>, DigestError> {
            Ok(None)
        }

        pub(in crate::http::client) fn update(&mut self, _: &[u8]) {
            match *self {}
        }

        pub(in crate::http::client) fn end(self, _: &Fields<'_>) -> Result<(), DigestError> {
            match self {}
        }
    }
}
